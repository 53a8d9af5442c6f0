//! `flywheel vacuum`.

use clap::Args;
use flywheel_base::{Result, quantity};
use flywheel_project::resource::quantity::Duration;
use flywheel_runtime::{Access, upkeep};
use serde_json::json;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel vacuum`.
#[derive(Debug, Args)]
pub(crate) struct Vacuum {
    /// The tables, `schema.table`; all of the lake if none is named
    tables: Vec<String>,
    /// For how long older versions stay, `7d`; what keep_versions in flywheel.yaml says if not given
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    keep: Option<Duration>,
    /// Shows what would be removed, and removes nothing
    #[arg(long)]
    dry_run: bool,
}

impl Runs for Vacuum {
    const ABOUT: &'static str = "Removes what only versions of tables need that are too old to be read; turns, syncs and builds do so, too";

    async fn run(self, app: App) -> Result<Exit> {
        let access = if self.dry_run { Access::Read } else { Access::Write };
        let workspace = app.open(access).await?;
        let cleared = upkeep::vacuum(&workspace, &self.tables, self.keep, self.dry_run).await?;
        if app.output.format == Format::Json {
            app.output.json(&json!({"dry_run": self.dry_run, "tables": cleared}))?;
            return Ok(Exit::Done);
        }
        let mut grid = Grid::new(&["table", "#oldest version", "#files", "#MiB", "#log files"]);
        for one in &cleared {
            grid.row(vec![
                one.location.clone(),
                one.oldest_version.to_string(),
                one.files.to_string(),
                mebibytes(one.bytes),
                one.log_files.to_string(),
            ]);
        }
        app.output.grid(&grid)?;
        let bytes: u64 = cleared.iter().map(|one| one.bytes).sum();
        let verb = if self.dry_run { "would be removed" } else { "were removed" };
        app.output.message(&format!("{} MiB {verb}", mebibytes(bytes)));
        Ok(Exit::Done)
    }
}

fn duration(text: &str) -> Result<Duration> {
    quantity::duration_us(text).map(|micros| Duration { micros })
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
