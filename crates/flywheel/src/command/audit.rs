//! `flywheel audit`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_runtime::Access;
use flywheel_state::AUDIT_HEAD_PASSED;
use serde_json::json;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Notes of a log that did not end as its head said that are told, the newest ones.
const PASSED_MAX: u32 = 10;

/// Options of `flywheel audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows who did what in the server, newest first
    List {
        /// How many entries
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Proves that no entry was changed, removed, inserted or moved
    Verify,
}

impl Runs for Audit {
    const ABOUT: &'static str =
        "Shows who did what in the server, and proves that the log is as it was written";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        match self.verb {
            Verb::List { limit } => {
                let mut grid = Grid::new(&["#number", "at", "who", "what", "object", "detail"]);
                for row in workspace.store.audit_rows(None, limit)? {
                    grid.row(vec![
                        row.number.to_string(),
                        row.at.to_string(),
                        row.who,
                        row.what,
                        row.object,
                        row.detail.to_string(),
                    ]);
                }
                app.output.grid(&grid)?;
                Ok(Exit::Done)
            }
            Verb::Verify => match workspace.store.verify_audit()? {
                Ok(entries) if app.output.format == Format::Json => {
                    let passed = workspace.store.audit_rows_of(AUDIT_HEAD_PASSED, PASSED_MAX)?;
                    let passed: Vec<i64> = passed.iter().map(|row| row.number).collect();
                    app.output.json(&json!({"ok": true, "entries": entries, "passed": passed}))?;
                    Ok(Exit::Done)
                }
                Ok(entries) => {
                    for row in workspace.store.audit_rows_of(AUDIT_HEAD_PASSED, PASSED_MAX)? {
                        app.output.message(&format!(
                            "warning: entry {} at {} notes that the log did not end as audit.head said: {}",
                            row.number, row.at, row.detail
                        ));
                    }
                    app.output.line(&format!("all {entries} entries are as they were written"))?;
                    Ok(Exit::Done)
                }
                Err(broken) => {
                    if app.output.format == Format::Json {
                        app.output.json(
                            &json!({"ok": false, "number": broken.number, "detail": broken.what}),
                        )?;
                    } else {
                        app.output.line(&format!("entry {}: {}", broken.number, broken.what))?;
                    }
                    Ok(Exit::Failed)
                }
            },
        }
    }
}
