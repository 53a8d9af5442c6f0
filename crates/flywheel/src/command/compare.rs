//! `flywheel compare`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::Access;
use flywheel_runtime::compare::tables::{Question, SchemaKind, Tables, compare_tables};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// Options of `flywheel compare`.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// What should be: schema.table of the lake, or connection:table
    left: String,
    /// What is compared with it, named alike
    right: String,
    /// The columns that identify a row, separated by commas; a database's primary key if absent
    #[arg(long, value_delimiter = ',')]
    key: Vec<String>,
    /// Columns that are not compared, separated by commas
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
    /// Of how many keys the values that differ are shown, at most 200
    #[arg(long, default_value_t = 20)]
    show: usize,
}

impl Runs for Compare {
    const ABOUT: &'static str =
        "Compares two tables of the lake or of connections: columns, rows and values by key";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Write).await?;
        let progress = Progress::new(app.output, "compare");
        let question = Question {
            left: &self.left,
            right: &self.right,
            key: &self.key,
            skip: &self.skip,
            shown: self.show,
        };
        let compared = compare_tables(&workspace, &question, &progress).await;
        drop(progress);
        let compared = compared?;
        let exit = if compared.is_equal() { Exit::Done } else { Exit::Failed };
        if app.output.format == Format::Json {
            app.output.json(&compared)?;
            return Ok(exit);
        }
        let mut grid = Grid::new(&["what", "left", "right", "name"]);
        let of = |what: &str, left: Option<String>, right: Option<String>, name: &str| {
            let text = Option::unwrap_or_default;
            vec![what.to_owned(), text(left), text(right), name.to_owned()]
        };
        let rows = &compared.found.rows;
        grid.row(of("rows", Some(rows.left.to_string()), Some(rows.right.to_string()), ""));
        for one in &compared.schema {
            let what = match one.kind {
                SchemaKind::Missing => "column missing on the right",
                SchemaKind::Extra => "column only on the right",
                SchemaKind::Different => "column of another type",
                SchemaKind::NotCompared => "column not compared",
            };
            grid.row(of(what, one.left.clone(), one.right.clone(), &one.column));
        }
        for one in compared.found.keys.iter().take(self.show) {
            let kind = serde_json::to_value(one.kind).unwrap_or_default();
            let what = format!("row {} on the right", kind.as_str().unwrap_or_default());
            grid.row(of(&what, None, None, &one.key));
        }
        for range in &compared.found.ranges {
            let name = format!("{} to {}", range.range.low, range.range.high);
            grid.row(of("range differs as a whole", None, None, &name));
        }
        for one in &compared.values {
            let name = format!("{}: {}", one.key, one.column);
            grid.row(of("value differs", one.left.clone(), one.right.clone(), &name));
        }
        app.output.grid(&grid)?;
        app.output.message(&summary(&compared));
        Ok(exit)
    }
}

fn summary(compared: &Tables) -> String {
    let rows = compared.found.keys.len();
    let ranges = compared.found.ranges.len();
    let columns = compared.columns.len();
    match compared.is_equal() {
        true => format!("equal: {columns} columns of {} rows", compared.found.rows.left),
        false => format!("{rows} rows and {ranges} ranges differ in {columns} compared columns"),
    }
}
