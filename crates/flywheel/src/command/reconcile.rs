//! `flywheel reconcile`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::{Access, compare};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// How many keys are shown of each table.
const KEYS_SHOWN: usize = 20;

/// Options of `flywheel reconcile`.
#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// The syncs whose landed tables are compared; all that read PostgreSQL, MySQL or MariaDB if none
    /// is named
    names: Vec<String>,
    /// Only these streams
    #[arg(long = "stream")]
    streams: Vec<String>,
    /// Columns that are not compared
    #[arg(long)]
    skip: Vec<String>,
    /// Makes the lake equal: reads rows that differ again, removes those the source does not have
    #[arg(long)]
    repair: bool,
}

impl Runs for Reconcile {
    const ABOUT: &'static str =
        "Compares landed tables with their databases, down to the rows that differ";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Write).await?;
        let progress = Progress::new(app.output, "reconcile");
        let options = compare::Options {
            syncs: &self.names,
            streams: &self.streams,
            skip: &self.skip,
            repair: self.repair,
            // Streams that are named are meant; of a sync, what can be compared is.
            lenient: self.streams.is_empty(),
        };
        let compared = compare::compare(&workspace, &options, &progress).await;
        drop(progress);
        let compared = compared?;
        let equal = compared.iter().all(compare::Comparison::is_equal);
        let exit = if equal { Exit::Done } else { Exit::Failed };
        if app.output.format == Format::Json {
            app.output.json(&compared)?;
            return Ok(exit);
        }
        let headers = [
            "table",
            "#source rows",
            "#lake rows",
            "#differ",
            "#queries",
            "#mended",
            "not compared",
        ];
        let mut grid = Grid::new(&headers);
        for one in &compared {
            let differ = one.found.keys.len() + one.found.ranges.len();
            grid.row(vec![
                one.table.clone(),
                one.found.rows.left.to_string(),
                one.found.rows.right.to_string(),
                differ.to_string(),
                one.found.queries.to_string(),
                one.mended.to_string(),
                one.skipped.join(", "),
            ]);
        }
        app.output.grid(&grid)?;
        for one in compared.iter().filter(|one| !one.is_equal()) {
            let mut shown = Grid::new(&["table", "key", "in the lake it is"]);
            for difference in one.found.keys.iter().take(KEYS_SHOWN) {
                let kind = serde_json::to_value(difference.kind).unwrap_or_default();
                let kind = kind.as_str().unwrap_or_default().to_owned();
                shown.row(vec![one.table.clone(), difference.key.clone(), kind]);
            }
            for range in &one.found.ranges {
                let kind = serde_json::to_value(range.kind).unwrap_or_default();
                let kind = kind.as_str().unwrap_or_default().to_owned();
                let keys = format!("{} to {}", range.range.low, range.range.high);
                shown.row(vec![one.table.clone(), keys, kind]);
            }
            app.output.grid(&shown)?;
        }
        Ok(exit)
    }
}
