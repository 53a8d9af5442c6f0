//! The `sqlite` source: tables, views and queries of a SQLite file, opened for reading only.
//!
//! Columns get the type the table declares, and every value is checked against it, because SQLite
//! lets any value into any column. An incremental read follows a cursor column and breaks ties by
//! the key, so its position stays small however many rows share a cursor value.

mod read;
mod relation;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result, quantity, task};
use futures::stream::BoxStream;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::read::SqliteRead;
use self::relation::Relation;
pub(crate) use self::relation::quoted;
use super::{Filled, ReadRequest, Source, SourceConfig, SourceContext, StreamInfo};
use crate::column::ColumnType;
use crate::files::pages;
use crate::health::Health;
use crate::page::{Column, Page, TableSchema};

/// How long a lock is waited for unless the connection says otherwise.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A SQLite database file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sqlite {
    /// The database file, relative to the project.
    pub path: PathBuf,
    /// How long to wait while another program has the database locked, `5s` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_timeout: Option<String>,
}

/// What one stream reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteStream {
    /// The table or view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// A SELECT whose rows are read instead of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The columns that identify a row, without missing values; needed for incremental reads of
    /// views and queries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
}

impl SourceConfig for Sqlite {
    type Stream = SqliteStream;

    const ABOUT: &'static str = "tables and queries of a SQLite database file";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.database(&ctx.base_dir)?))
    }
}

impl Sqlite {
    /// The database that the settings mean; does no I/O.
    pub(crate) fn database(&self, base_dir: &Path) -> Result<Database> {
        let timeout = match &self.busy_timeout {
            None => BUSY_TIMEOUT,
            Some(text) => Duration::from_micros(quantity::duration_us(text)?.unsigned_abs()),
        };
        let name = self.path.display().to_string();
        Ok(Database { path: base_dir.join(&self.path), name, timeout })
    }
}

/// A database that can be opened.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// Where its file is.
    pub(crate) path: PathBuf,
    /// Its path as the settings have it, for messages.
    pub(crate) name: String,
    timeout: Duration,
}

impl Database {
    /// Opens it for reading.
    fn open(&self) -> Result<Connection> {
        // SQLite says "cannot open" for every reason; the file system knows which.
        std::fs::File::open(&self.path)
            .map_err(|error| Error::io("open the database", Path::new(&self.name), error))?;
        self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// Opens a connection; waits for locks as long as the settings say.
    pub(crate) fn connect(&self, flags: OpenFlags) -> Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&self.path, flags).map_err(|error| self.fail(error))?;
        connection.busy_timeout(self.timeout).map_err(|error| self.fail(error))?;
        Ok(connection)
    }

    /// The error that tells the caller what to do about it.
    pub(crate) fn fail(&self, error: rusqlite::Error) -> Error {
        let name = &self.name;
        let made = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::unavailable(format!(
                "the database {name} is locked by another program"
            ))
            .hint("It is tried again later; raise `busy_timeout` if writers hold it for long."),
            Some(ErrorCode::NotADatabase) => {
                Error::corrupt(format!("the file {name} is not a SQLite database"))
                    .hint("Check the connection's `path`; an encrypted database cannot be read.")
            }
            Some(ErrorCode::DatabaseCorrupt) => {
                Error::corrupt(format!("the database {name} is damaged"))
                    .hint("Run `PRAGMA integrity_check` on it, or restore a backup.")
            }
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                Error::new(ErrorKind::Denied, format!("the database {name} cannot be opened")).hint(
                    "A database in WAL mode needs a writable folder even for reading; check its rights.",
                )
            }
            Some(ErrorCode::SystemIoFailure) => {
                Error::unavailable(format!("the database {name} cannot be read"))
            }
            Some(ErrorCode::DiskFull) => {
                Error::exhausted(format!("the disk of the database {name} is full"))
                    .hint("Free some space; nothing since the last commit is in the database.")
            }
            Some(ErrorCode::OutOfMemory | ErrorCode::TooBig) => {
                Error::exhausted(format!("a value in {name} is too large"))
            }
            _ => Error::invalid(format!("SQLite refuses a statement on {name}")),
        };
        made.caused_by(error)
    }

    fn discover(&self) -> Result<Vec<StreamInfo>> {
        let connection = self.open()?;
        let mut streams = Vec::new();
        for table in relation::tables(self, &connection)? {
            let stream = SqliteStream { table: Some(table.clone()), ..SqliteStream::default() };
            let relation = Relation::of(self, &connection, &stream, &[])?;
            streams.push(self.describe(&connection, table, relation));
        }
        Ok(streams)
    }

    /// The columns that SQLite computes, by their tables.
    fn fills(&self) -> Result<BTreeMap<String, Vec<Filled>>> {
        let connection = self.open()?;
        let fail = |error| self.fail(error);
        let mut all = BTreeMap::new();
        for table in relation::tables(self, &connection)? {
            let sql = "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden IN (2, 3)";
            let mut statement = connection.prepare(sql).map_err(fail)?;
            let filled = |row: &rusqlite::Row<'_>| {
                row.get(0).map(|column| Filled { column, computed: true })
            };
            let computed: Vec<Filled> =
                statement.query_map([&table], filled).and_then(Iterator::collect).map_err(fail)?;
            if !computed.is_empty() {
                all.insert(table, computed);
            }
        }
        Ok(all)
    }

    fn describe(&self, connection: &Connection, table: String, relation: Relation) -> StreamInfo {
        let columns: Vec<Column> = relation.columns.into_iter().map(|(_, column)| column).collect();
        let growing = if relation.growing_key { relation.primary_key.clone() } else { Vec::new() };
        let timed =
            |column: &&Column| matches!(column.kind, ColumnType::Timestamp | ColumnType::Date);
        let times = columns.iter().filter(timed).map(|column| column.name.clone());
        // The largest row number is read from the end of the tree; counting would read all of it.
        let sql = format!("SELECT max(rowid) FROM {}", relation.from);
        let rows: Option<i64> = connection.query_row(&sql, [], |row| row.get(0)).ok().flatten();
        let cursors = times.chain(growing).collect();
        let schema = TableSchema::new(columns, false);
        StreamInfo {
            stream: json!({ "table": table }),
            name: table,
            schema: std::sync::Arc::clone(schema.arrow()),
            columns: schema.columns().iter().filter_map(Column::declarable).collect(),
            primary_key: relation.primary_key,
            cursors,
            rows: rows.and_then(|rows| u64::try_from(rows).ok()),
            bytes: None,
            unread: None,
        }
    }
}

#[async_trait]
impl Source for Database {
    async fn check(&self) -> Result<()> {
        let database = self.clone();
        task::compute(move || {
            let connection = database.open()?;
            relation::tables(&database, &connection).map(drop)
        })
        .await
    }

    async fn fills(&self) -> Result<BTreeMap<String, Vec<Filled>>> {
        let database = self.clone();
        task::compute(move || database.fills()).await
    }

    async fn health(&self) -> Result<Option<Health>> {
        let database = self.clone();
        task::compute(move || {
            let connection = database.open()?;
            relation::tables(&database, &connection)?;
            // What was committed last may still be beside the file.
            let beside = format!("{}-wal", database.path.display());
            let size = |path: &Path| std::fs::metadata(path).map_or(0, |about| about.len());
            Ok(Some(Health {
                version: Some(rusqlite::version().to_owned()),
                size_bytes: Some(size(&database.path) + size(Path::new(&beside))),
                ..Health::default()
            }))
        })
        .await
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let database = self.clone();
        task::compute(move || Database::discover(&database)).await
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        pages(SqliteRead::new(self.clone(), request.clone()))
    }
}

#[cfg(test)]
mod tests;
