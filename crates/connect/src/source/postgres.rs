//! The `postgres` source: tables, views and queries of a PostgreSQL database.
//!
//! Rows come by `COPY … (FORMAT BINARY)` and are decoded column by column. What is read, and what a
//! position means:
//!
//! ```text
//! has a key   ──► ordered by it, cut into ranges of the key ─┐  position: the last row's key
//! incremental ──► ordered by (cursor, key), one range       ─┤  position: the last row's (cursor, key)
//! no key      ──► cut into ranges of pages on disk (ctid)   ─┘  position: only "done" or "not done"
//! ```
//!
//! A full read with several ranges exports the snapshot of its first connection; `parallel`
//! connections read range after range in that one snapshot, and the pages are handed over in the
//! order of the ranges. The snapshot ends with the read. A read that broke off goes on behind the
//! last key in a new snapshot: a row whose key stays the same is read once, never twice and never
//! left out, whatever changed in between; changes behind the key are seen, those before it are not.
//! That is why ranges follow the key and not the place on disk, which every update moves. A table
//! without key cannot be continued; the read says so instead of guessing.

mod block;
mod decode;
mod discover;
mod health;
mod kind;
mod log;
mod plan;
mod read;
mod relation;
mod rows;

use std::collections::BTreeMap;

use async_trait::async_trait;
use flywheel_base::Result;
use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::log::Readers;
use super::{
    ChangesPage, ChangesRequest, Filled, Lag, ReadRequest, Source, SourceConfig, SourceContext,
    StreamInfo,
};
use crate::health::Health;
use crate::page::Page;
use crate::postgres::Server;

pub use crate::postgres::Postgres;

/// Connections of a full read unless the stream says otherwise.
const PARALLEL: usize = 2;

/// Connections of a full read at most.
const PARALLEL_MAX: usize = 8;

/// About how many rows a range of a full read has unless the stream says otherwise.
const CHUNK_ROWS: u64 = 100_000;

/// What one stream reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresStream {
    /// The table or view, `schema.table`, or `table` if it is on the search path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// A SELECT whose rows are read instead of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The columns that identify a row, without missing values; needed for incremental reads of
    /// views and queries, and to continue a full read of them that broke off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
    /// A condition in SQL that the rows have to meet, `status <> 'draft'`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// About how many rows a range of a full read has, 100000 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_rows: Option<u64>,
    /// How many connections a full read uses, 1 to 8, 2 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<usize>,
    /// Whether NaN and infinities are values of columns of floats; otherwise such rows are set aside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_nan: bool,
}

impl SourceConfig for Postgres {
    type Stream = PostgresStream;

    const ABOUT: &'static str = "tables, views and queries of a PostgreSQL database";
    const CDC: bool = true;
    const CAPPED: bool = true;

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        let server = self.server(&ctx.base_dir)?.capped(ctx.connections.clone());
        Ok(Box::new(Database { server, readers: Readers::default() }))
    }
}

/// A database that can be read.
#[derive(Clone, Debug)]
struct Database {
    server: Server,
    readers: Readers,
}

#[async_trait]
impl Source for Database {
    async fn check(&self) -> Result<()> {
        let session = self.server.connect().await?;
        session.execute("SELECT 1").await
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        discover::discover(&self.server).await
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        read::pages(&self.server, request)
    }

    fn changes<'a>(&'a self, request: &'a ChangesRequest) -> BoxStream<'a, Result<ChangesPage>> {
        log::changes(&self.server, &self.readers, request)
    }

    async fn check_log(&self) -> Result<()> {
        log::check(&self.server).await
    }

    async fn unfollowed(&self) -> Result<BTreeMap<String, String>> {
        discover::unfollowed(&self.server).await
    }

    async fn fills(&self) -> Result<BTreeMap<String, Vec<Filled>>> {
        discover::fills(&self.server).await
    }

    async fn acknowledge(&self, request: &ChangesRequest) -> Result<()> {
        log::acknowledge(&self.server, &self.readers, request).await
    }

    async fn lag(&self, request: &ChangesRequest) -> Result<Vec<Option<Lag>>> {
        log::lag(&self.server, request).await
    }

    async fn forget(&self, name: &str) -> Result<()> {
        log::forget(&self.server, name).await
    }

    async fn health(&self) -> Result<Option<Health>> {
        health::health(&self.server).await.map(Some)
    }
}

#[cfg(test)]
pub(crate) mod tests;
