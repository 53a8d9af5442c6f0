//! `flywheel metadata`.

use clap::{Args, Subcommand, ValueEnum};
use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_runtime::metadata::{self, Direction, Moved};
use serde_json::json;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel metadata`.
#[derive(Debug, Args)]
pub(crate) struct Metadata {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Copies all of it into the schema that flywheel.yaml names, or back into a file, and counts the rows on both sides; what was moved is kept under another name
    Move {
        /// Where it is to be
        #[arg(long)]
        to: Store,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Store {
    /// The schema of a PostgreSQL that `metadata:` of flywheel.yaml names
    Postgres,
    /// The file .flywheel/meta.db
    Sqlite,
}

impl Runs for Metadata {
    const ABOUT: &'static str =
        "Moves what the project knows about its own work into PostgreSQL or back";

    async fn run(self, app: App) -> Result<Exit> {
        let Verb::Move { to } = self.verb;
        let dir = app.dir()?;
        let file = Project::file_of(&dir, &app.choices)?;
        let direction = match to {
            Store::Postgres => Direction::ToPostgres,
            Store::Sqlite => Direction::ToSqlite,
        };
        let work = move || metadata::move_to(&dir, &file, direction);
        let Moved { from, to, kept, tables } = flywheel_base::task::compute(work).await?;
        let rows: u64 = tables.iter().map(|table| table.rows).sum();
        if app.output.format == Format::Json {
            let counted: serde_json::Map<_, _> =
                tables.into_iter().map(|table| (table.table, table.rows.into())).collect();
            app.output.json(&json!({
                "from": from, "to": to, "kept": kept, "rows": rows, "tables": counted,
            }))?;
            return Ok(Exit::Done);
        }
        let mut grid = Grid::new(&["table", "#rows"]);
        for table in tables.iter().filter(|table| table.rows > 0) {
            grid.row(vec![table.table.clone(), table.rows.to_string()]);
        }
        app.output.grid(&grid)?;
        app.output.message(&format!(
            "moved {rows} rows from {from} to {to}; what was there is kept as {kept}"
        ));
        if direction == Direction::ToSqlite {
            app.output.message("take `metadata` out of flywheel.yaml now; until then every command refuses to guess which one is meant");
        }
        Ok(Exit::Done)
    }
}
