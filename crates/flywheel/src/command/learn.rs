//! `flywheel learn`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_decision::pin::Pinned;
use flywheel_runtime::task::learn::Fits;
use flywheel_runtime::{Access, pin, run};
use serde_json::{Value, json};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// Options of `flywheel learn`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Learn {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The learners to fit now; those that are due if none is named
    names: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves one artifact of a learner, and does not fit it again until it is let go
    Pin {
        /// The learner
        name: String,
        /// The artifact: its version or the beginning of its digest, as in system.artifacts; the one in use if absent
        #[arg(value_name = "DIGEST|VERSION")]
        artifact: Option<String>,
        /// Why, for the record
        #[arg(long, default_value = "pinned by hand")]
        reason: String,
    },
    /// Lets a pinned learner go: it is due at once, and what it was pinned to is served until it is fitted
    Unpin {
        /// The learner
        name: String,
        /// Why, for the record
        #[arg(long, default_value = "let go by hand")]
        reason: String,
    },
    /// Takes a learner back to the artifact before the one in use, and pins it there
    Rollback {
        /// The learner
        name: String,
        /// Why, for the record
        #[arg(long, default_value = "taken back by hand")]
        reason: String,
    },
}

impl Runs for Learn {
    const ABOUT: &'static str =
        "Fits learners and scores their tables, and says which artifact is served";

    async fn run(self, app: App) -> Result<Exit> {
        let names = self.names;
        match self.verb {
            None => fit(&app, &names).await,
            Some(Verb::Pin { name, artifact, reason }) => {
                let workspace = app.open(Access::Write).await?;
                pinned(&app, &pin::pin(&workspace, &name, artifact.as_deref(), &reason).await?)
            }
            Some(Verb::Rollback { name, reason }) => {
                let workspace = app.open(Access::Write).await?;
                pinned(&app, &pin::roll_back(&workspace, &name, &reason).await?)
            }
            Some(Verb::Unpin { name, reason }) => {
                let workspace = app.open(Access::Write).await?;
                pin::unpin(&workspace, &name, &reason).await?;
                app.output.message(&format!(
                    "{name} is let go: it is fitted at the next turn, and served as it is until then"
                ));
                Ok(Exit::Done)
            }
        }
    }
}

/// Says what is served from now on.
fn pinned(app: &App, made: &Pinned) -> Result<Exit> {
    if app.output.format == Format::Json {
        app.output.json(&json!({
            "learner": made.learner, "before": made.before.digest, "now": made.now.digest, "rows": made.rows,
        }))?;
        return Ok(Exit::Done);
    }
    let back = made.rows.map_or_else(String::new, |rows| {
        format!(
            ", not {:.12}; learn.{} has its {rows} rows again",
            made.before.digest, made.learner
        )
    });
    app.output.message(&format!(
        "{} is pinned to artifact {:.12} of {}{back}",
        made.learner, made.now.digest, made.now.fitted_at
    ));
    app.output.message(&format!("it is not fitted until `flywheel learn unpin {}`", made.learner));
    Ok(Exit::Done)
}

async fn fit(app: &App, names: &[String]) -> Result<Exit> {
    let workspace = app.open(Access::Write).await?;
    let progress = Progress::new(app.output, "learn");
    let fits = run::learn(&workspace, names, &progress).await;
    drop(progress);
    let Fits { learned, errors } = fits?;
    let mut grid = Grid::new(&["learner", "artifact", "#rows in", "#scores", "detail"]);
    for one in &learned {
        let artifact: String = one.artifact.chars().take(12).collect();
        grid.row(vec![
            one.learner.clone(),
            if app.output.format == Format::Table { artifact } else { one.artifact.clone() },
            one.rows_in.to_string(),
            one.rows_out.to_string(),
            if app.output.format == Format::Table {
                short(&one.detail)
            } else {
                one.detail.to_string()
            },
        ]);
    }
    let mut errors = errors.into_iter();
    let first = errors.next();
    if first.is_none() || !learned.is_empty() || app.output.format == Format::Json {
        app.output.grid(&grid)?;
    }
    if app.output.format == Format::Table {
        for one in &learned {
            choice(app, &one.learner, &one.detail)?;
        }
    }
    if first.is_none() && learned.is_empty() {
        app.output.message(if names.is_empty() {
            "no learner is due; name one to fit it now"
        } else {
            "no learner was fitted"
        });
    }
    // The first one is said last, by whoever turns it into the exit code.
    for error in errors {
        app.output.message(&error.report());
    }
    first.map_or(Ok(Exit::Done), Err)
}

/// The detail of a fit without the candidates that a choice was made from, which are a table of their own.
fn short(detail: &Value) -> String {
    let mut detail = detail.clone();
    if let Some(choice) = detail.get_mut("choice").and_then(Value::as_object_mut) {
        choice.remove("tried");
    }
    detail.to_string()
}

/// What `algorithm: auto` of a learner was chosen from, if it was chosen from anything.
fn choice(app: &App, learner: &str, detail: &Value) -> Result<()> {
    let Some(choice) = detail.get("choice") else { return Ok(()) };
    let text = |of: &Value, key: &str| match of.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    app.output.message(&format!("{learner}: {}", text(choice, "reason")));
    let Some(tried) = choice.get("tried").and_then(Value::as_array) else { return Ok(()) };
    let by = format!("#{}", text(choice, "by"));
    let mut grid = Grid::new(&["candidate", "options", &by, "#± ndcg@10", "#coverage", "left out"]);
    for one in tried {
        grid.row(
            ["algorithm", "options", "value", "margin", "coverage", "left_out"]
                .map(|key| text(one, key))
                .to_vec(),
        );
    }
    app.output.grid(&grid)
}
