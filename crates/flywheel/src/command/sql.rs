//! `flywheel sql`.

use std::io::Read;

use clap::Args;
use flywheel_base::{Error, Result, Timestamp};
use flywheel_runtime::{Access, At};

use super::Runs;
use crate::app::{App, Exit};

/// Options of `flywheel sql`.
#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// The query; `-` reads it from stdin
    query: String,
    /// Shows tables as they were: a table version (the query then reads one table) or a moment
    #[arg(long, value_name = "VERSION|TIMESTAMP")]
    at: Option<String>,
}

impl Runs for Sql {
    const ABOUT: &'static str = "Runs a query over landed tables, models and system tables";

    async fn run(self, app: App) -> Result<Exit> {
        let mut text = self.query;
        if text == "-" {
            text.clear();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| Error::invalid("stdin is no text").caused_by(e))?;
        }
        let workspace = app.open(Access::Read).await?;
        let session = match &self.at {
            None => workspace.session().await?,
            Some(at) => workspace.session_at(&parse_at(at)?, &text).await?,
        };
        let query = session.query(&text).await?;
        let batches = query.collect().await?;
        app.output.batches(&query.schema(), &batches)?;
        Ok(Exit::Done)
    }
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
