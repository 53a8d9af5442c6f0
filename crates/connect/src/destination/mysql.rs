//! The `mysql` destination: tables of a MySQL or MariaDB server.
//!
//! Rows and checkpoint are one transaction, so a row has its effect exactly once. MySQL ends a
//! transaction at every DDL statement; tables are therefore made and altered before rows are
//! written, and a batch that brings a new column rolls back, alters, and writes again what was not
//! committed. A replacement is staged in `<table>__flywheel_staging` and swapped in by one
//! `RENAME TABLE`.
//!
//! ```text
//! write ──► rows in an open transaction ──commit──► rows + checkpoint durable
//!             └ new column: ROLLBACK, ALTER TABLE, write the same rows again
//! ```

mod encode;
mod refuse;
mod state;
mod table;
mod write;

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use self::state::State;
use self::table::Table;
use self::write::MySqlWriter;
use super::{
    Destination, DestinationConfig, DestinationContext, Guarantee, Progress, WriteMode,
    WriteRequest, Writer,
};
use crate::source::mysql::{MySql, Purpose, Server};
use crate::source::settings;

/// The table of one target.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MySqlTarget {
    /// The table; made if it is not there. Text in its key becomes `VARCHAR(255)`, other text
    /// `LONGTEXT`.
    pub table: String,
    /// The database of the table, the connection's if not given. The positions are kept there, too,
    /// in the table `_flywheel_sync_state`.
    #[serde(default)]
    pub database: Option<String>,
}

impl DestinationConfig for MySql {
    type Target = MySqlTarget;

    const ABOUT: &'static str = "tables of a MySQL or MariaDB server";
    const MODES: &'static [WriteMode] =
        &[WriteMode::Append, WriteMode::Replace, WriteMode::Merge, WriteMode::Mirror];
    const GUARANTEE: Guarantee = Guarantee::Transaction;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        let server = Server::new(&self, &ctx.base_dir, Purpose::Write)?;
        Ok(Box::new(Tables { server }))
    }
}

/// A server that is written into.
#[derive(Debug)]
struct Tables {
    server: Server,
}

/// A target with the names made out.
struct Named {
    database: String,
    table: String,
    state: State,
}

impl Tables {
    fn named(&self, request: &WriteRequest) -> Result<Named> {
        let target: MySqlTarget = settings("target", request.target.clone())?;
        let database = match target.database {
            Some(database) => database,
            None => self.server.database()?.to_owned(),
        };
        if target.table.is_empty() {
            return Err(Error::invalid("the target names no table").hint("Set `table`."));
        }
        let state = State::new(&database, &request.app, &target.table)?;
        Ok(Named { database, table: target.table, state })
    }
}

#[async_trait]
impl Destination for Tables {
    async fn check(&self) -> Result<()> {
        let state = State::new(self.server.database()?, "", "")?;
        let mut connection = self.server.connect().await?;
        state.ensure(&mut connection).await?;
        state.check(&mut connection).await?;
        connection.close().await;
        Ok(())
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        let named = self.named(request)?;
        let mut connection = self.server.connect().await?;
        let mut progress = named.state.progress(&mut connection).await?;
        if progress.staged.is_some() && !named.is_staged(&mut connection).await? {
            // The swap was the last thing done before a crash.
            progress.committed = progress.staged.take();
        }
        connection.close().await;
        Ok(progress)
    }

    async fn forget_staged(&self, request: &WriteRequest) -> Result<()> {
        let named = self.named(request)?;
        let mut connection = self.server.connect().await?;
        named.state.forget_staged(&mut connection).await?;
        connection.close().await;
        Ok(())
    }

    async fn ready(&self, request: &WriteRequest) -> Result<()> {
        let named = self.named(request)?;
        let mut connection = self.server.connect().await?;
        let found = Table::find(&mut connection, &named.database, &named.table).await?;
        connection.close().await;
        found.map_or(Ok(()), |table| table.check(&request.schema, request.mode, &request.key))
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        let named = self.named(request)?;
        Ok(Box::new(MySqlWriter::open(self.server.clone(), named, request).await?))
    }
}

#[cfg(test)]
mod tests;
