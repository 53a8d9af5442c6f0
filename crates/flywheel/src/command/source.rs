//! `flywheel source`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_runtime::{Access, FreshnessStatus, run};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel source`.
#[derive(Debug, Args)]
pub(crate) struct Source {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows how old the newest row of each source is that declares how old it may be
    Freshness {
        /// Sources to look at: source:shop, source:shop.orders, +model
        #[arg(long, short, num_args = 1..)]
        select: Vec<String>,
        /// Sources to leave out, in the same words
        #[arg(long, num_args = 1..)]
        exclude: Vec<String>,
    },
}

impl Runs for Source {
    const ABOUT: &'static str = "Shows how fresh sources are, against what their files allow";

    async fn run(self, app: App) -> Result<Exit> {
        let Verb::Freshness { select, exclude } = self.verb;
        let workspace = app.open(Access::Read).await?;
        let outcomes = run::freshness(&workspace, &select, &exclude).await?;
        if app.output.format == Format::Json {
            app.output.json(&outcomes)?;
        } else {
            let mut grid = Grid::new(&["table", "status", "loaded at", "#age (s)"]);
            for outcome in &outcomes {
                grid.row(vec![
                    outcome.table.clone(),
                    outcome.status.name().to_owned(),
                    outcome.loaded_at.clone().unwrap_or_default(),
                    outcome.age_s.map_or_else(String::new, |age| age.to_string()),
                ]);
            }
            app.output.grid(&grid)?;
            for outcome in &outcomes {
                if let Some(error) = &outcome.error {
                    app.output.message(&format!("{}: {error}", outcome.table));
                }
            }
            if outcomes.is_empty() {
                app.output.message("no source declares `freshness`");
            }
        }
        let stale = outcomes.iter().any(|outcome| outcome.status == FreshnessStatus::Error);
        Ok(if stale { Exit::Failed } else { Exit::Done })
    }
}
