//! `flywheel act`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::{Access, outbox};
use serde_json::json;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// Options of `flywheel act`.
#[derive(Debug, Args)]
pub(crate) struct Act {}

impl Runs for Act {
    const ABOUT: &'static str =
        "Lets actions leave that are due, once; `flywheel serve` does it by itself";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Write).await?;
        let progress = Progress::new(app.output, "act");
        let acted = Box::pin(outbox::act(&workspace, &progress)).await;
        drop(progress);
        let acted = acted?;
        if app.output.format == Format::Json {
            app.output.json(&json!({
                "delivered": acted.delivered, "retried": acted.retried, "dead": acted.dead, "halted": acted.halted,
            }))?;
        } else {
            let mut grid = Grid::new(&["#delivered", "#to be tried again", "#dead"]);
            let counts = [acted.delivered, acted.retried, acted.dead];
            grid.row(counts.map(|count| count.to_string()).to_vec());
            app.output.grid(&grid)?;
        }
        let waits = !(acted.not_set_up.is_empty() && acted.not_looked_up.is_empty());
        let stopped = acted.halted.is_some() || waits;
        Ok(if stopped { Exit::Blocked } else { Exit::Done })
    }
}
