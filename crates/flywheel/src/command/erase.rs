//! `flywheel erase`.

use std::io::{IsTerminal as _, Read as _};

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result, Secret};
use flywheel_runtime::Access;
use flywheel_runtime::erase::{self, Erased, Place, Plan, Remains, Request};
use flywheel_runtime::halt::COMMAND_LINE;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// Bytes of stdin that are read for a key.
const STDIN_BYTES_MAX: u64 = 64 << 10;

/// Options of `flywheel erase`.
#[derive(Debug, Args)]
pub(crate) struct Erase {
    #[command(subcommand)]
    verb: Verb,
}

/// Whom it is about.
#[derive(Debug, Args)]
struct Subject {
    /// The person's key as it landed, as in `erasure.keys` of flywheel.yaml; `-` or nothing reads it from stdin, so that no
    /// history of commands keeps it
    #[arg(long, value_name = "KEY", default_value = "-", hide_default_value = true)]
    subject: String,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows where a person is and what would be done, with numbers of rows; writes nothing
    Plan {
        #[command(flatten)]
        subject: Subject,
    },
    /// Erases a person, history included, and keeps them out; run again, it goes on where it was cut off
    Run {
        #[command(flatten)]
        subject: Subject,
        /// Why, such as the number of the person's request; it is kept, so it must not name the person
        #[arg(long)]
        reason: String,
    },
    /// Lists who was erased, by tokens that tell nothing of them
    Status,
    /// Lets rows of a person who was erased land again
    Allow {
        #[command(flatten)]
        subject: Subject,
    },
}

impl Runs for Erase {
    const ABOUT: &'static str = "Erases a person from every table, log and history, and keeps them out of what lands afterwards";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::Plan { subject } => {
                let subject = subject.key(&app)?;
                let workspace = app.open(Access::Read).await?;
                let plan = Box::pin(erase::plan(&workspace, &subject)).await?;
                print_plan(&app, &plan)?;
                Ok(Exit::Done)
            }
            Verb::Run { subject, reason } => {
                let subject = subject.key(&app)?;
                let workspace = app.open(Access::Write).await?;
                let request = Request { subject: &subject, reason: &reason, who: COMMAND_LINE };
                let progress = Progress::new(app.output, "erase");
                let erased = Box::pin(erase::erase(&workspace, &request, &progress)).await?;
                drop(progress);
                print_erased(&app, &erased)?;
                Ok(if erased.remains.is_empty() { Exit::Done } else { Exit::Failed })
            }
            Verb::Status => status(&app).await,
            Verb::Allow { subject } => {
                let subject = subject.key(&app)?;
                let workspace = app.open(Access::Write).await?;
                app.output.message(&match erase::allow(&workspace, &subject, COMMAND_LINE)? {
                    Some(token) => format!("{token}: rows of this person land again"),
                    None => "nothing to do: rows of this person land".to_owned(),
                });
                Ok(Exit::Done)
            }
        }
    }
}

impl Subject {
    /// The key, from the command line or from stdin without the newline that editors put at its end.
    fn key(&self, app: &App) -> Result<Secret> {
        if self.subject != "-" {
            return Ok(Secret::new(self.subject.clone()));
        }
        if std::io::stdin().is_terminal() {
            app.output.message("the key of the person, then Enter and Ctrl-D:");
        }
        let mut text = String::new();
        let read = std::io::stdin().lock().take(STDIN_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| {
            Error::invalid("the key cannot be read from stdin")
                .caused_by(error)
                .hint("Pipe the key into the command, or give it with --subject.")
        })?;
        Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
    }
}

async fn status(app: &App) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let header = ["token", "status", "kept out", "asked by", "reason", "asked at", "ended at"];
    let mut grid = Grid::new(&header);
    for one in workspace.store.erasures()? {
        grid.row(vec![
            one.token,
            one.status.word().to_owned(),
            if one.suppressed { "yes" } else { "no" }.to_owned(),
            one.asked_by,
            one.reason,
            one.asked_at.to_string(),
            one.ended_at.map(|at| at.to_string()).unwrap_or_default(),
        ]);
    }
    app.output.grid(&grid)?;
    Ok(Exit::Done)
}

fn print_plan(app: &App, plan: &Plan) -> Result<()> {
    if app.output.format == Format::Json {
        return app.output.json(plan);
    }
    app.output.grid(&places(&plan.places))?;
    if let Some(token) = &plan.token {
        app.output.message(&format!("an erasure of this person was begun before: {token}"));
    }
    list(app, "built anew", &plan.models);
    list(app, "fitted anew", &plan.learners);
    remains(app, &plan.remains);
    list(app, "not reached, look there yourself", &plan.beyond);
    Ok(())
}

fn print_erased(app: &App, erased: &Erased) -> Result<()> {
    if app.output.format == Format::Json {
        return app.output.json(erased);
    }
    app.output.grid(&places(&erased.places))?;
    list(app, "built anew", &erased.models);
    list(app, "fitted anew", &erased.learners);
    remains(app, &erased.remains);
    list(app, "not reached, look there yourself", &erased.beyond);
    let said = match erased.remains.is_empty() {
        true => "erased, and kept out from now on",
        false => {
            "kept out from now on, and not erased everywhere: see above, and run it again then"
        }
    };
    app.output.message(&format!("{}: {said}", erased.token));
    Ok(())
}

fn places(all: &[Place]) -> Grid {
    let mut grid = Grid::new(&["place", "columns", "#rows", "what"]);
    for one in all {
        grid.row(vec![
            one.place.clone(),
            one.columns.join(", "),
            one.rows.to_string(),
            one.what.to_owned(),
        ]);
    }
    grid
}

fn remains(app: &App, all: &[Remains]) {
    let all: Vec<String> = all.iter().map(|one| format!("{}: {}", one.place, one.why)).collect();
    list(app, "not erased by this", &all);
}

fn list(app: &App, what: &str, all: &[String]) {
    if all.is_empty() {
        return;
    }
    app.output.message(&format!("{what}:"));
    for one in all {
        app.output.message(&format!("  {one}"));
    }
}
