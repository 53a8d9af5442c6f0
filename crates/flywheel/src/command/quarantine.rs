//! `flywheel quarantine`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result};
use flywheel_runtime::access::Reading;
use flywheel_runtime::halt::COMMAND_LINE;
use flywheel_runtime::quarantine::mend::{self, Edit, Tried};
use flywheel_runtime::{Access, Workspace, quarantine, run};
use serde_json::{Value, json};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// How many rows `list` shows.
const SHOWN_MAX: usize = 200;

/// Options of `flywheel quarantine`.
#[derive(Debug, Args)]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows rows that were set aside, with file, line and reason
    List {
        /// Shows also rows that were replayed or discarded, or superseded by a later read of the whole stream
        #[arg(long)]
        all: bool,
    },
    /// Reads the rows again, after the files or the declared columns were mended
    Replay {
        /// Only rows of this sync
        #[arg(long)]
        sync: Option<String>,
    },
    /// Lands open rows with other values; what was kept of them stays, with what was given
    Edit {
        /// The rows, by the ids that `list` shows: of one stream, and of one kind of mistake if there are several
        #[arg(required = true)]
        rows: Vec<String>,
        /// A value of a column, `amount=12.50`; `amount=` gives an empty text
        #[arg(long, value_name = "COLUMN=VALUE")]
        set: Vec<String>,
        /// A column that has no value
        #[arg(long, value_name = "COLUMN")]
        unset: Vec<String>,
        /// Lands them also over newer rows of their keys, which are lost by it
        #[arg(long)]
        force: bool,
        /// Only says what would land, or why it still does not fit; writes nothing
        #[arg(long = "try")]
        attempt: bool,
    },
    /// Gives single open rows up, for a reason that is kept with them
    Dismiss {
        /// The rows, by the ids that `list` shows
        #[arg(required = true)]
        rows: Vec<String>,
        /// Why they are not wanted
        #[arg(long)]
        reason: String,
    },
    /// Marks open rows as not wanted
    Discard {
        /// Only rows of this sync; events that were handed in if it is empty, those of one topic if no sync is called so
        #[arg(long)]
        sync: Option<String>,
    },
}

impl Runs for Quarantine {
    const ABOUT: &'static str = "Shows, mends, replays and discards rows that were set aside";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::List { all } => {
                let workspace = app.open(Access::Read).await?;
                let condition = if all { "true" } else { "status = 'open'" };
                let sql = format!(
                    "select quarantine_id, sync, stream, file, line, \"column\", code, reason, raw, status from system.quarantine
                     where {condition} order by sync, stream, file, line limit {SHOWN_MAX}"
                );
                let query = workspace.session_for(&sql, &Reading::Owner).await?.query(&sql).await?;
                app.output.batches(&query.schema(), &query.collect().await?)?;
                Ok(Exit::Done)
            }
            Verb::Replay { sync } => {
                let workspace = app.open(Access::Write).await?;
                let progress = Progress::new(app.output, "quarantine");
                let replayed = run::quarantine_replay(&workspace, sync.as_deref(), &progress).await;
                drop(progress);
                let replayed = replayed?;
                app.output.message(&format!(
                    "{} rows landed, {} stay in quarantine",
                    replayed.landed, replayed.still_bad
                ));
                Ok(if replayed.still_bad == 0 { Exit::Done } else { Exit::Failed })
            }
            Verb::Edit { rows, set, unset, force, attempt } => {
                let set = given(&set, &unset)?;
                let edit = Edit { rows, set, by: COMMAND_LINE.to_owned(), force };
                if attempt {
                    let workspace = app.open(Access::Read).await?;
                    let tried = Box::pin(mend::attempt(&workspace, &edit)).await?;
                    return show(&app, &tried);
                }
                let workspace = app.open(Access::Write).await?;
                let progress = Progress::new(app.output, "quarantine");
                let mended = Box::pin(run::quarantine_edit(&workspace, &edit, &progress)).await;
                drop(progress);
                let mended = mended?;
                let columns: Vec<&String> = edit.set.keys().collect();
                let detail = json!({"rows": edit.rows, "columns": columns, "force": force});
                note(&workspace, "quarantine edit", &detail)?;
                app.output.message(&format!(
                    "{} rows landed, {} still do not fit",
                    mended.landed, mended.still_bad
                ));
                Ok(if mended.still_bad == 0 { Exit::Done } else { Exit::Failed })
            }
            Verb::Dismiss { rows, reason } => {
                let workspace = app.open(Access::Write).await?;
                let progress = Progress::new(app.output, "quarantine");
                let done =
                    run::quarantine_dismiss(&workspace, &rows, &reason, COMMAND_LINE, &progress)
                        .await;
                drop(progress);
                let done = done?;
                note(&workspace, "quarantine dismiss", &json!({"rows": rows, "reason": reason}))?;
                app.output.message(&format!("{done} rows dismissed"));
                Ok(Exit::Done)
            }
            Verb::Discard { sync } => {
                let workspace = app.open(Access::Write).await?;
                let discarded = quarantine::discard(&workspace, sync.as_deref()).await?;
                app.output.message(&format!("{discarded} rows discarded"));
                Ok(Exit::Done)
            }
        }
    }
}

/// Values by the names of columns.
fn given(set: &[String], unset: &[String]) -> Result<BTreeMap<String, Option<String>>> {
    let mut given = BTreeMap::new();
    for text in set {
        let Some((column, value)) = text.split_once('=') else {
            return Err(Error::invalid(format!("\"{text}\" gives no value"))
                .hint("Write --set amount=12.50, or --unset amount for no value."));
        };
        given.insert(column.to_owned(), Some(value.to_owned()));
    }
    for column in unset {
        if given.insert(column.clone(), None).is_some() {
            return Err(Error::invalid(format!("the column \"{column}\" is given twice")));
        }
    }
    Ok(given)
}

/// Says what would become of rows.
fn show(app: &App, tried: &[Tried]) -> Result<Exit> {
    let fits = tried.iter().all(|one| one.fits);
    if app.output.format == Format::Json {
        app.output.json(&tried)?;
    } else {
        let mut grid = Grid::new(&["row", "fits", "column", "reason", "lands"]);
        for one in tried {
            let values = one.lands.iter().map(|(column, value)| match value {
                Value::String(text) => format!("{column}={text}"),
                other => format!("{column}={other}"),
            });
            grid.row(vec![
                one.quarantine_id.clone(),
                if one.fits { "yes" } else { "no" }.to_owned(),
                one.column.clone().unwrap_or_default(),
                one.reason.clone().unwrap_or_default(),
                values.collect::<Vec<_>>().join(" "),
            ]);
        }
        app.output.grid(&grid)?;
    }
    Ok(if fits { Exit::Done } else { Exit::Failed })
}

/// Notes in the audit log what was done by hand; not with which values.
fn note(workspace: &Workspace, what: &str, detail: &Value) -> Result<()> {
    let (at, object) = (workspace.machine.now(), "system.quarantine");
    workspace.store.audit(at, COMMAND_LINE, what, object, detail)
}
