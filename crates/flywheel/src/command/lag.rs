//! `flywheel lag`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::{Access, lag};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel lag`.
#[derive(Debug, Args)]
pub(crate) struct Lag {
    /// The syncs; all if none is named
    names: Vec<String>,
}

impl Runs for Lag {
    const ABOUT: &'static str = "Shows how far each stream is behind its source";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        let lags = lag::lag(&workspace, &self.names).await?;
        let failed = lags.iter().any(|lag| lag.error.is_some());
        let exit = if failed { Exit::Failed } else { Exit::Done };
        if app.output.format == Format::Json {
            app.output.json(&lags)?;
            return Ok(exit);
        }
        let mut grid = Grid::new(&["stream", "read", "#behind", "of", "last success", "#ago"]);
        for lag in &lags {
            let unknown = || "–".to_owned();
            grid.row(vec![
                lag.name.clone(),
                lag.read.clone(),
                lag.behind.map_or_else(unknown, |behind| behind.to_string()),
                lag.unit.clone().unwrap_or_default(),
                lag.last_at.clone().unwrap_or_else(|| "never".to_owned()),
                lag.age_s.map_or_else(unknown, |seconds| format!("{seconds:.0} s")),
            ]);
        }
        app.output.grid(&grid)?;
        for lag in &lags {
            if let Some(failure) = &lag.failure {
                app.output.message(&format!("{}: the last run failed: {failure}", lag.name));
            }
            if let Some(error) = &lag.error {
                app.output.message(&format!("{}: {error}", lag.name));
            }
        }
        Ok(exit)
    }
}
