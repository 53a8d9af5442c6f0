//! `flywheel sql`.

use std::io::Read;

use clap::Args;
use flywheel_base::{Error, Result, Timestamp};
use flywheel_runtime::access::{Reader, Reading};
use flywheel_runtime::edit::Done;
use flywheel_runtime::{Access, At, Silent, Workspace, catalogue, edit};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::selection::InEnvironment;

/// Options of `flywheel sql`.
#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// A query, or one statement that changes rows (INSERT, UPDATE, DELETE, MERGE, TRUNCATE) or makes, changes
    /// or drops a schema, view or table; `-` reads it from stdin
    #[arg(value_name = "STATEMENT")]
    query: String,
    /// Shows tables as they were: a table version (the query then reads one table) or a moment
    #[arg(long, value_name = "VERSION|TIMESTAMP")]
    at: Option<String>,
    /// Changes a table that a sync lands, too; the sync goes on from where it was
    #[arg(long, conflicts_with = "at")]
    landed: bool,
    /// Reads as a user or role of the server does, by the project's rules: a user, a role, or user/role
    #[arg(long = "as", value_name = "USER|ROLE", conflicts_with = "landed")]
    reader: Option<String>,
    #[command(flatten)]
    environment: InEnvironment,
}

impl Runs for Sql {
    const ABOUT: &'static str = "Runs a query over landed tables, models and system tables, or changes rows, tables and views";

    async fn run(self, app: App) -> Result<Exit> {
        let mut text = self.query;
        if text == "-" {
            text.clear();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| Error::invalid("stdin is no text").caused_by(e))?;
        }
        if edit::is_change(&text) {
            if self.at.is_some() {
                return Err(Error::invalid("what a table was cannot be changed").hint(
                    "Leave out --at: INSERT, UPDATE, DELETE and MERGE change what it is now.",
                ));
            }
            if let Some(reader) = &self.reader {
                return Err(Error::invalid(format!("\"{reader}\" only reads"))
                    .hint("Leave out --as: rules say what is read, not what is changed."));
            }
            if self.environment.is_other() {
                return Err(Error::invalid("a statement that changes rows is for no environment")
                    .hint("Leave out --environment: landed tables, and what statements make, are the same in all of them."));
            }
            let workspace = app.open(Access::Write).await?;
            let who = catalogue::reader();
            let options =
                edit::Options { reading: &Reading::Owner, who: &who, landed: self.landed };
            let done = Box::pin(edit::edit(&workspace, &text, options, &Silent)).await?;
            show(&app, &done)?;
            return Ok(Exit::Done);
        }
        let workspace = self.environment.open(&app, Access::Read).await?;
        let reading = reading(&workspace, self.reader.as_deref())?;
        let text = workspace.expanded_for(&text, &reading)?;
        let session = match &self.at {
            None => workspace.session_for(&text, &reading).await?,
            Some(at) => workspace.session_at(&parse_at(at)?, &text, &reading).await?,
        };
        let query = session.query(&text).await?;
        let batches = query.collect().await?;
        let tables: Vec<String> = query.tables().iter().map(ToString::to_string).collect();
        catalogue::note_reads(&workspace, &tables, &catalogue::reader(), "sql");
        app.output.batches(&query.schema(), &batches)?;
        Ok(Exit::Done)
    }
}

/// On whose behalf rows are read: the project's own, unless a reader is named.
pub(super) fn reading(workspace: &Workspace, reader: Option<&str>) -> Result<Reading> {
    match reader {
        None => Ok(Reading::Owner),
        Some(reader) => Reader::named(workspace, reader).map(Reading::As),
    }
}

/// Shows what became of a statement that changes something.
fn show(app: &App, done: &Done) -> Result<()> {
    if app.output.format == Format::Json {
        return app.output.json(&done.to_json());
    }
    let edited = match done {
        Done::Edited(edited) => edited,
        Done::Defined(defined) => {
            let mut grid = Grid::new(&["statement", "name", "changed", "dropped"]);
            grid.row(vec![
                defined.statement.to_owned(),
                defined.name.clone(),
                if defined.changed { "yes" } else { "no" }.to_owned(),
                defined.dropped.join(", "),
            ]);
            return app.output.grid(&grid);
        }
    };
    let commit = &edited.commit;
    let mut grid = Grid::new(&[
        "statement",
        "table",
        "#version",
        "#inserted",
        "#updated",
        "#deleted",
        "#files kept",
        "#files rewritten",
        "#files written",
    ]);
    grid.row(vec![
        edited.verb.name().to_owned(),
        edited.table.to_string(),
        commit.version.to_string(),
        edited.rows_inserted().to_string(),
        commit.rows_updated.to_string(),
        commit.rows_deleted.to_string(),
        commit.files_kept.to_string(),
        commit.files_removed.to_string(),
        commit.files_added.to_string(),
    ]);
    app.output.grid(&grid)
}

fn parse_at(text: &str) -> Result<At> {
    if let Ok(version) = text.parse::<i64>() {
        return Ok(At::Version(version));
    }
    if let Some((table, version)) = text.split_once('@') {
        let version = version.parse::<i64>().map_err(|e| {
            Error::invalid(format!("\"{version}\" is no table version"))
                .hint("Write raw.orders@3.")
                .caused_by(e)
        })?;
        return Ok(At::TableVersion(flywheel_warehouse::TableName::parse(table)?, version));
    }
    Timestamp::parse(text).map(At::Moment).map_err(|e| {
        e.hint("Write a table version such as 3, or a moment such as 2024-05-01 or 2024-05-01T12:00:00Z.")
    })
}
