//! `flywheel quarantine`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_runtime::access::Reading;
use flywheel_runtime::{Access, quarantine, run};

use super::Runs;
use crate::app::{App, Exit};
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
        /// Shows also rows that were replayed or discarded
        #[arg(long)]
        all: bool,
    },
    /// Reads the rows again, after the files or the declared columns were mended
    Replay {
        /// Only rows of this sync
        #[arg(long)]
        sync: Option<String>,
    },
    /// Marks open rows as not wanted
    Discard {
        /// Only rows of this sync; events that were handed in if it is empty, those of one topic if no sync is called so
        #[arg(long)]
        sync: Option<String>,
    },
}

impl Runs for Quarantine {
    const ABOUT: &'static str = "Shows, replays and discards rows that were set aside";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::List { all } => {
                let workspace = app.open(Access::Read).await?;
                let condition = if all { "true" } else { "status = 'open'" };
                let sql = format!(
                    "select sync, stream, file, line, \"column\", code, reason, raw, status from system.quarantine
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
            Verb::Discard { sync } => {
                let workspace = app.open(Access::Write).await?;
                let discarded = quarantine::discard(&workspace, sync.as_deref()).await?;
                app.output.message(&format!("{discarded} rows discarded"));
                Ok(Exit::Done)
            }
        }
    }
}
