//! The `postgres` destination: rows into tables of a PostgreSQL database.
//!
//! A commit is one transaction: the rows, the columns that were added for them, and the checkpoint in
//! `_flywheel_sync_state` beside the table.
//!
//! ```text
//! append, replace ──► COPY BINARY into the table ──────────────┐ refused? back to the savepoint,
//! merge, mirror   ──► COPY BINARY into a temporary table ──►   │ then the batch is halved until
//!                     DELETE marked, INSERT … ON CONFLICT      ┘ only the bad rows are left out
//! ```
//! `replace` collects rows in `<table>__flywheel_staging`, a logged table, so that a commit survives a
//! crash of the server. The swap at the end is one transaction, too: the old table is dropped and the
//! new one takes its name, its indexes' names, owner, rights, comment, sequences and foreign keys.
//! Where something hangs on the old table that a new one would not have (views, triggers, policies,
//! publications, references to it, partitions, storage settings) or it belongs to somebody else, the
//! rows are replaced inside the old table instead, by DELETE and INSERT in one transaction.

mod batch;
mod encode;
mod refuse;
mod state;
mod swap;
mod target;
mod writer;

use async_trait::async_trait;
use flywheel_base::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::state::State;
use self::target::{TableName, Target};
use super::{
    Destination, DestinationConfig, DestinationContext, Guarantee, Progress, WriteMode,
    WriteRequest, Writer,
};
use crate::postgres::Server;
use crate::source::settings;

pub use crate::postgres::Postgres;

/// Where rows go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresTarget {
    /// The table, `schema.table`, or `table` if it is or shall be on the search path. It is made if
    /// it does not exist; its schema has to.
    pub table: String,
}

impl DestinationConfig for Postgres {
    type Target = PostgresTarget;

    const ABOUT: &'static str = "tables of a PostgreSQL database";
    const MODES: &'static [WriteMode] =
        &[WriteMode::Append, WriteMode::Replace, WriteMode::Merge, WriteMode::Mirror];
    const GUARANTEE: Guarantee = Guarantee::Transaction;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(Database { server: self.server(&ctx.base_dir)? }))
    }
}

/// A database that can be written.
#[derive(Clone, Debug)]
struct Database {
    server: Server,
}

fn target_of(request: &WriteRequest) -> Result<PostgresTarget> {
    settings("target", request.target.clone())
}

#[async_trait]
impl Destination for Database {
    async fn check(&self) -> Result<()> {
        let session = self.server.connect().await?;
        // A standby answers, too, and refuses the first row.
        session.execute("BEGIN READ WRITE; ROLLBACK").await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        let session = self.server.connect().await?;
        let name = TableName::find(&session, &target_of(request)?.table).await?;
        let mut progress = State::new(&request.app, &name).progress(&session).await?;
        if Target::find(&session, &name.staging()).await?.is_none() {
            progress.staged = None;
        }
        Ok(progress)
    }

    async fn forget_staged(&self, request: &WriteRequest) -> Result<()> {
        let session = self.server.connect().await?;
        let name = TableName::find(&session, &target_of(request)?.table).await?;
        State::new(&request.app, &name).forget_staged(&session).await
    }

    async fn ready(&self, request: &WriteRequest) -> Result<()> {
        let session = self.server.connect().await?;
        let name = TableName::find(&session, &target_of(request)?.table).await?;
        match Target::find(&session, &name).await? {
            Some(target) if matches!(request.mode, WriteMode::Merge | WriteMode::Mirror) => {
                writer::prove_key(&session, &target, &name, request).await
            }
            _ => Ok(()),
        }
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        let session = self.server.connect().await?;
        let name = TableName::find(&session, &target_of(request)?.table).await?;
        Ok(Box::new(writer::PgWriter::open(session, name, request.clone()).await?))
    }
}

#[cfg(test)]
mod tests;
