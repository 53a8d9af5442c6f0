//! The `mysql` source: tables, views and queries of a MySQL or MariaDB server.
//!
//! A read is one `START TRANSACTION WITH CONSISTENT SNAPSHOT`: every row is as it was at one moment,
//! and rows that are written meanwhile belong to the next read. Rows come in the order of the key,
//! each page by a query of its own behind the last key, so that a read which broke off goes on
//! exactly there. The session's time zone is UTC, so a `TIMESTAMP` is the moment it is; a `DATETIME`
//! has no zone and is read as UTC.

pub mod binlog;

mod connection;
mod health;
mod log;
mod parallel;
mod range;
mod read;
mod relation;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use flywheel_base::{Result, Secret};
use futures::stream::{self, BoxStream, StreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use self::binlog::ChangeLog;
pub(crate) use self::connection::{
    Connection, Outcome, Purpose, Server, is_deadlock, quoted, server_code,
};
use self::read::MySqlRead;
use self::relation::Relation;
use super::{
    ChangesPage, ChangesRequest, Filled, Lag, ReadRequest, Source, SourceConfig, SourceContext,
    StreamInfo,
};
use crate::column::ColumnType;
use crate::health::Health;
use crate::page::{Column, Page, TableSchema};

/// A MySQL or MariaDB server.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MySql {
    /// Everything in one, `mysql://user:password@host:3306/database`; the other keys win over it.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub url: Option<Secret>,
    /// The host, `127.0.0.1` if not given.
    #[serde(default)]
    pub host: Option<String>,
    /// The port, 3306 if not given.
    #[serde(default)]
    pub port: Option<u16>,
    /// The database whose tables are meant.
    #[serde(default)]
    pub database: Option<String>,
    /// The user.
    #[serde(default)]
    pub user: Option<String>,
    /// The password; take it from a secret.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// How the connection is encrypted; `disable` on the own machine and `verify` elsewhere if not
    /// given.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// A file with the certificates (PEM) that `tls: verify` trusts besides the public ones,
    /// relative to the project.
    #[serde(default)]
    pub tls_ca: Option<PathBuf>,
    /// How long to wait for a connection, `10s` if not given.
    #[serde(default)]
    pub connect_timeout: Option<String>,
    /// How long to wait for the next rows or the end of a statement, `10m` if not given.
    #[serde(default)]
    pub read_timeout: Option<String>,
    /// How often an idle connection is probed, `60s` if not given.
    #[serde(default)]
    pub keepalive: Option<String>,
    /// What becomes of dates such as `0000-00-00`; `reject` if not given.
    #[serde(default, deserialize_with = "zero_dates")]
    pub zero_dates: Option<ZeroDates>,
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Not at all.
    Disable,
    /// Encrypted, but whoever answers is believed.
    Require,
    /// Encrypted, and the server's certificate is checked.
    Verify,
}

/// What becomes of a date that is none, such as `0000-00-00`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ZeroDates {
    /// The row is set aside.
    #[default]
    Reject,
    /// It is read as "no value".
    Null,
}

/// What one stream reads.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MySqlStream {
    /// The table or view.
    #[serde(default)]
    pub table: Option<String>,
    /// A SELECT whose rows are read instead of a table.
    #[serde(default)]
    pub query: Option<String>,
    /// The database of the table, the connection's if not given.
    #[serde(default)]
    pub database: Option<String>,
    /// The columns that identify a row, without missing values; needed for incremental reads of
    /// views and queries, and for their full reads to go on where they broke off.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// An SQL condition on the rows of the table, `created_at >= '2024-01-01'`.
    #[serde(default, rename = "where")]
    pub condition: Option<String>,
    /// How many connections a full read uses, 1 if not given. Each has a snapshot of its own: they
    /// are proven to show one moment where the server tells (MariaDB with binary log), otherwise a
    /// notice says that rows changed in between may be from either moment.
    #[serde(default)]
    pub parallel: Option<usize>,
    /// What becomes of dates such as `0000-00-00`; as the connection says if not given.
    #[serde(default, deserialize_with = "zero_dates")]
    pub zero_dates: Option<ZeroDates>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// In YAML the word `null` is no value, and here it is meant.
fn zero_dates<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ZeroDates>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or(ZeroDates::Null)))
}

impl SourceConfig for MySql {
    type Stream = MySqlStream;

    const ABOUT: &'static str = "tables and queries of a MySQL or MariaDB server";
    const CDC: bool = true;
    const CAPPED: bool = true;

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        let zero_dates = self.zero_dates.unwrap_or_default();
        let server = Server::new(&self, &ctx.base_dir, Purpose::Read)?;
        let server = server.capped(ctx.connections.clone());
        Ok(Box::new(Reader { server, zero_dates }))
    }
}

/// A server that is read from.
struct Reader {
    server: Server,
    zero_dates: ZeroDates,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("server", &self.server).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for Reader {
    async fn check(&self) -> Result<()> {
        let database = self.server.database()?;
        let mut connection = self.server.connect().await?;
        relation::tables(&mut connection, database).await?;
        connection.close().await;
        Ok(())
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let database = self.server.database()?;
        let mut connection = self.server.connect().await?;
        let mut streams = Vec::new();
        for table in relation::tables(&mut connection, database).await? {
            let stream = MySqlStream { table: Some(table.clone()), ..MySqlStream::default() };
            match Relation::of(&mut connection, &self.server, &stream, &[]).await {
                Ok(relation) => streams.push(describe(table, relation)),
                // A view may name a table that is gone; the other tables are there all the same.
                Err(error) if connection.is_usable() => {
                    tracing::warn!(source = "mysql", %table, %error, "left out of discovery");
                }
                Err(error) => return Err(error),
            }
        }
        connection.close().await;
        Ok(streams)
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        match MySqlRead::new(&self.server, self.zero_dates, request) {
            Ok(read) => stream::try_unfold(read, |mut read| async move {
                Ok(read.next_page().await?.map(|page| (page, read)))
            })
            .boxed(),
            Err(error) => stream::once(async move { Err(error) }).boxed(),
        }
    }

    async fn check_log(&self) -> Result<()> {
        ChangeLog::end_of(&self.server).await.map(drop)
    }

    async fn unfollowed(&self) -> Result<BTreeMap<String, String>> {
        let mut connection = self.server.connect().await?;
        let versioned = relation::versioned(&mut connection, self.server.database()?).await?;
        connection.close().await;
        let why = "is system-versioned, so that its log has rows of the past among those of now";
        Ok(versioned.into_iter().map(|table| (table, why.to_owned())).collect())
    }

    async fn fills(&self) -> Result<BTreeMap<String, Vec<Filled>>> {
        let mut connection = self.server.connect().await?;
        let computed = relation::computed(&mut connection, self.server.database()?).await?;
        connection.close().await;
        let mut all: BTreeMap<String, Vec<Filled>> = BTreeMap::new();
        for (table, column) in computed {
            all.entry(table).or_default().push(Filled { column, computed: true });
        }
        Ok(all)
    }

    async fn lag(&self, request: &ChangesRequest) -> Result<Vec<Option<Lag>>> {
        log::lag(&self.server, request).await
    }

    async fn health(&self) -> Result<Option<Health>> {
        health::health(&self.server).await.map(Some)
    }

    fn changes<'a>(&'a self, request: &'a ChangesRequest) -> BoxStream<'a, Result<ChangesPage>> {
        log::changes(&self.server, self.zero_dates, request)
    }
}

fn describe(table: String, relation: Relation) -> StreamInfo {
    let growing = if relation.growing_key { relation.primary_key.clone() } else { Vec::new() };
    let (rows, bytes) = (relation.rows, relation.bytes);
    let columns: Vec<Column> = relation.columns.into_iter().map(|column| column.column).collect();
    let timed = |column: &&Column| matches!(column.kind, ColumnType::Timestamp | ColumnType::Date);
    let times = columns.iter().filter(timed).map(|column| column.name.clone());
    let cursors = times.chain(growing).collect();
    let schema = TableSchema::new(columns, false);
    StreamInfo {
        stream: json!({ "table": table }),
        name: table,
        schema: std::sync::Arc::clone(schema.arrow()),
        columns: schema.columns().iter().filter_map(Column::declarable).collect(),
        primary_key: relation.primary_key,
        cursors,
        rows,
        bytes,
        unread: None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
