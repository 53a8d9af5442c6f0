//! `flywheel sync`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::{Access, run};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// Options of `flywheel sync`.
#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// The syncs to run; all if none is named
    names: Vec<String>,
    /// Reads streams of changes (`read: cdc`) whole again, for logs that were lost
    #[arg(long)]
    restart: bool,
}

impl Runs for Sync {
    const ABOUT: &'static str = "Lands new rows of the connections in the lake";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Write).await?;
        let progress = Progress::new(app.output, "sync");
        let landed = run::sync(&workspace, &self.names, self.restart, &progress).await;
        drop(progress);
        let landed = landed?;
        if app.output.format == Format::Json {
            app.output.json(&landed)?;
            return Ok(Exit::Done);
        }
        let mut grid = Grid::new(&["table", "#rows read", "#landed", "#quarantined", "#version"]);
        for one in &landed {
            grid.row(vec![
                one.table.clone(),
                one.rows_in.to_string(),
                one.rows_out.to_string(),
                one.rows_rejected.to_string(),
                one.version.map_or_else(String::new, |version| version.to_string()),
            ]);
        }
        app.output.grid(&grid)?;
        let bad: u64 = landed.iter().map(|one| one.rows_rejected).sum();
        if bad > 0 {
            app.output.message(&format!(
                "{bad} rows were set aside; look with `flywheel quarantine list`"
            ));
        }
        Ok(Exit::Done)
    }
}
