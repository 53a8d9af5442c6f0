//! `flywheel migrate`.

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result};
use flywheel_runtime::migrate::{self, PlannedStream, Verified};
use flywheel_runtime::{Access, Workspace};
use serde_json::json;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// How many keys are shown of each kind of difference.
const KEYS_SHOWN: usize = 10;

/// Options of `flywheel migrate`.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says what would be made, replaced and read, and what stands in the way; writes nothing
    Plan {
        /// The sync whose tables move
        name: String,
    },
    /// Loads the target; run again, it catches up with what has changed since
    Run {
        /// The sync whose tables move
        name: String,
    },
    /// Compares both sides row by row
    Verify {
        /// The sync whose tables move
        name: String,
        /// Columns that are not compared
        #[arg(long)]
        skip: Vec<String>,
    },
    /// Brings the last changes over, compares both sides and, if they are equal, lets changes flow back
    Cutover {
        /// The sync whose tables move
        name: String,
        /// Says that nobody writes to the source any more
        #[arg(long)]
        frozen: bool,
        /// Columns that are not compared
        #[arg(long)]
        skip: Vec<String>,
    },
    /// After a cutover: brings the target's changes into the source, so that people can go back to it
    Rollback {
        /// The sync whose tables move
        name: String,
        /// Says that nobody writes to the target any more
        #[arg(long)]
        frozen: bool,
        /// Columns that are not compared
        #[arg(long)]
        skip: Vec<String>,
    },
    /// After a cutover: gives the way back up
    Finish {
        /// The sync whose tables move
        name: String,
    },
    /// Shows how far all migrations are
    List,
}

impl Runs for Migrate {
    const ABOUT: &'static str =
        "Moves tables to another system for good, proves it, and keeps a way back";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::Plan { name } => {
                let workspace = app.open(Access::Read).await?;
                plan(&app, &migrate::plan(&workspace, &name).await?)
            }
            Verb::Run { name } => {
                let workspace = app.open(Access::Write).await?;
                let progress = Progress::new(app.output, "migrate");
                let landed = migrate::run(&workspace, &name, &progress).await;
                drop(progress);
                super::sync::show(&app, &landed?)
            }
            Verb::Verify { name, skip } => {
                let workspace = app.open(Access::Write).await?;
                let found = compare(&app, &workspace, &name, &skip).await?;
                if found.iter().all(Verified::is_equal) {
                    migrate::verified(&workspace, &name, &found)?;
                }
                shown(&app, &found)
            }
            Verb::Cutover { name, frozen, skip } => {
                require(frozen, "source", &name, "cutover")?;
                cutover(&app, &name, &skip).await
            }
            Verb::Rollback { name, frozen, skip } => {
                require(frozen, "target", &name, "rollback")?;
                let workspace = app.open(Access::Write).await?;
                let progress = Progress::new(app.output, "migrate");
                let found = migrate::rollback(&workspace, &name, &skip, &progress).await;
                drop(progress);
                let exit = shown(&app, &found?)?;
                app.output.message(match exit {
                    Exit::Done => "rolled back: people can work with the source again",
                    _ => "not rolled back: the sides differ",
                });
                Ok(exit)
            }
            Verb::Finish { name } => {
                let workspace = app.open(Access::Write).await?;
                migrate::finish(&workspace, &name).await?;
                app.output.message("finished: nothing flows any more");
                Ok(Exit::Done)
            }
            Verb::List => list(&app).await,
        }
    }
}

fn require(frozen: bool, side: &str, name: &str, verb: &str) -> Result<()> {
    if frozen {
        return Ok(());
    }
    Err(Error::blocked(format!("the {side} may still be written while the last changes come over"))
        .hint(format!(
            "Stop everything that writes to the {side}, then run `flywheel migrate {verb} {name} --frozen`."
        )))
}

async fn cutover(app: &App, name: &str, skip: &[String]) -> Result<Exit> {
    let workspace = app.open(Access::Write).await?;
    let progress = Progress::new(app.output, "migrate");
    let prepared = migrate::prepare_cutover(&workspace, name, skip, &progress).await;
    drop(progress);
    let prepared = prepared?;
    let exit = shown(app, &prepared.verified)?;
    if exit != Exit::Done {
        app.output.message("not cut over: the sides differ");
        return Ok(exit);
    }
    for notice in &prepared.notices {
        app.output.message(notice);
    }
    // The sync that flows back was just written: the project is read anew, by its only writer.
    drop(workspace);
    let workspace = app.open(Access::Write).await?;
    let progress = Progress::new(app.output, "migrate");
    let completed = migrate::complete_cutover(&workspace, name, &progress).await;
    drop(progress);
    let refused = completed?;
    if refused > 0 {
        app.output.message(&format!(
            "{refused} rows of the target do not fit into the old system as they are, so that changes of \
             them do not flow back; see `flywheel quarantine list`"
        ));
    }
    app.output.message(&match &prepared.back {
        Some(path) => format!(
            "cut over: people can work with the target. Its changes flow back with every `flywheel sync`, by {}",
            path.display()
        ),
        None => "cut over: people can work with the target. Nothing flows back".to_owned(),
    });
    Ok(Exit::Done)
}

async fn compare(
    app: &App,
    workspace: &Workspace,
    name: &str,
    skip: &[String],
) -> Result<Vec<Verified>> {
    let progress = Progress::new(app.output, "migrate");
    migrate::verify(workspace, name, skip, &progress).await
}

fn plan(app: &App, planned: &[PlannedStream]) -> Result<Exit> {
    if app.output.format == Format::Json {
        app.output.json(&planned)?;
        return Ok(Exit::Done);
    }
    let headers = [
        "stream",
        "target",
        "#rows",
        "#rows there",
        "#rows that go",
        "what happens",
        "read",
        "#reading takes",
        "#requests",
        "#worker",
    ];
    let mut grid = Grid::new(&headers);
    let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    for one in planned {
        grid.row(vec![
            one.stream.clone(),
            one.target.clone(),
            number(one.rows),
            number(one.target_rows),
            number(one.deletes),
            one.changes.join("; "),
            one.read.clone(),
            one.read_s.map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.1} s")),
            requests(one),
            one.worker.to_string(),
        ]);
    }
    app.output.grid(&grid)?;
    if let Some(one) = planned.first() {
        app.output.message(&format!("within the sync's limits: {}", one.share));
    }
    for one in planned {
        for warning in &one.warnings {
            app.output.message(&format!("stream {}: {warning}", one.stream));
        }
    }
    Ok(Exit::Done)
}

/// How many requests a stream takes, where they are counted.
fn requests(one: &PlannedStream) -> String {
    let said = [(one.read_requests, "to read"), (one.write_requests, "to write")];
    let said = said.into_iter().filter_map(|(count, what)| Some(format!("{} {what}", count?)));
    said.collect::<Vec<_>>().join(", ")
}

fn shown(app: &App, found: &[Verified]) -> Result<Exit> {
    let equal = found.iter().all(Verified::is_equal);
    let exit = if equal { Exit::Done } else { Exit::Failed };
    if app.output.format == Format::Json {
        app.output.json(&found)?;
        return Ok(exit);
    }
    let headers = [
        "stream",
        "#source rows",
        "#target rows",
        "#missing",
        "#extra",
        "#changed",
        "not compared",
    ];
    let mut grid = Grid::new(&headers);
    for one in found {
        let difference = &one.difference;
        grid.row(vec![
            one.stream.clone(),
            one.rows_source.to_string(),
            one.rows_target.to_string(),
            difference.missing.to_string(),
            difference.extra.to_string(),
            difference.changed.to_string(),
            one.skipped.join(", "),
        ]);
    }
    app.output.grid(&grid)?;
    for one in found {
        let difference = &one.difference;
        let kinds = [
            ("missing in the target", &difference.missing_keys),
            ("only in the target", &difference.extra_keys),
            ("with other values", &difference.changed_keys),
        ];
        for (what, keys) in kinds {
            if !keys.is_empty() {
                let first: Vec<&str> = keys.iter().map(String::as_str).take(KEYS_SHOWN).collect();
                app.output.message(&format!("{}: {what}: {}", one.stream, first.join(" · ")));
            }
        }
        if let Some(columns) = difference.in_columns() {
            app.output.message(&format!("{}: values differ in: {columns}", one.stream));
        }
        if one.rows_rejected > 0 {
            app.output.message(&format!(
                "{}: {} rows of the source cannot be read, so they are not in the target; see \
                 `flywheel quarantine list`, mend them or declare their columns as text, or leave \
                 them out with `only` or `where`",
                one.stream, one.rows_rejected
            ));
        }
        if one.rows_rejected_target > 0 {
            app.output.message(&format!(
                "{}: {} rows of the target cannot be read, so they are not compared",
                one.stream, one.rows_rejected_target
            ));
        }
    }
    Ok(exit)
}

async fn list(app: &App) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let migrations = workspace.store.migrations()?;
    if app.output.format == Format::Json {
        let all: Vec<_> = migrations
            .iter()
            .map(|one| {
                json!({
                    "sync": one.sync, "phase": one.phase.name(),
                    "since": one.changed_at.to_string(), "detail": one.detail,
                })
            })
            .collect();
        app.output.json(&all)?;
        return Ok(Exit::Done);
    }
    let mut grid = Grid::new(&["migration", "phase", "since"]);
    for one in migrations {
        grid.row(vec![one.sync, one.phase.to_string(), one.changed_at.to_string()]);
    }
    app.output.grid(&grid)?;
    Ok(Exit::Done)
}
