//! The `sqlite` destination: tables of a SQLite file; rows and checkpoint in one transaction.
//!
//! ```text
//! write ─► BEGIN IMMEDIATE (once) ─► rows, one statement each ─► commit: checkpoint, COMMIT
//! replace: rows ─► _flywheel_staging_<table>, committed step by step
//!          finish: one transaction that empties the table, moves the staged rows in, drops the staging
//! ```
//! The database is locked for other writers from the first row after a commit to the next commit;
//! readers go on. A row that a constraint does not let in is refused alone: SQLite takes back one
//! statement, not the transaction.
//!
//! | column | stored as | declared as |
//! |---|---|---|
//! | whole numbers | integer | `INTEGER` |
//! | `decimal(p,s)`, p ≤ 15 | a number | `DECIMAL(p,s)` |
//! | wider decimals, unsigned 64 bit | text with all digits | `DECIMAL_TEXT(p,s)` |
//! | `bool` | 0 or 1 | `BOOLEAN` |
//! | `date`, `timestamp` | ISO 8601 text, UTC | `DATE`, `TIMESTAMP` |
//! | nested values | JSON text | `JSON` |
//!
//! Tables are not `STRICT`, because strict tables know none of these declarations; the `sqlite` source
//! reads the declared types back, value by value the same.

mod rows;
mod session;
mod shape;
mod state;

use std::path::PathBuf;

use async_trait::async_trait;
use flywheel_base::{Error, Result, task};
use rusqlite::{Connection, OpenFlags};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::session::Session;
use self::shape::Table;
use super::{
    Destination, DestinationConfig, DestinationContext, Guarantee, Progress, WriteMode,
    WriteRequest, Writer, check_mode,
};
use crate::blocking::SessionWriter;
use crate::source::settings;
use crate::source::sqlite::{Database, Sqlite};

/// What every table of ours begins with.
const OWN_PREFIX: &str = "_flywheel_";

/// The table that rows are written into.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteTarget {
    /// The table; it is created if it does not exist.
    pub table: String,
}

impl DestinationConfig for Sqlite {
    type Target = SqliteTarget;

    const ABOUT: &'static str = "tables of a SQLite database file";
    const MODES: &'static [WriteMode] =
        &[WriteMode::Append, WriteMode::Replace, WriteMode::Merge, WriteMode::Mirror];
    const GUARANTEE: Guarantee = Guarantee::Transaction;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        let database = self.database(&ctx.base_dir)?;
        Ok(Box::new(Tables { database }))
    }
}

struct Tables {
    database: Database,
}

/// Opens a database for writing; creates it if `create` says so.
fn open(database: &Database, create: bool) -> Result<Connection> {
    let path = &database.path;
    let folder = path.parent().map_or_else(PathBuf::new, ToOwned::to_owned);
    if create {
        std::fs::create_dir_all(&folder)
            .map_err(|error| Error::io("create the folder", &folder, error))?;
    }
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    let connection = database.connect(flags)?;
    // A commit that is acknowledged is on the disk, also in WAL mode.
    connection.pragma_update(None, "synchronous", "FULL").map_err(|error| database.fail(error))?;
    Ok(connection)
}

/// The name of the table of a request.
fn table(request: &WriteRequest) -> Result<String> {
    let SqliteTarget { table } = settings("target", request.target.clone())?;
    let lower = table.to_ascii_lowercase();
    if table.trim().is_empty() || table.contains('\0') {
        return Err(Error::invalid("`table` is empty").hint("Name the table to write into."));
    }
    if lower.starts_with(OWN_PREFIX) || lower.starts_with("sqlite_") {
        return Err(Error::invalid(format!("the table \"{table}\" cannot be written into"))
            .hint("Names with _flywheel_ or sqlite_ in front are reserved; choose another one."));
    }
    Ok(table)
}

#[async_trait]
impl Destination for Tables {
    async fn check(&self) -> Result<()> {
        let database = self.database.clone();
        task::compute(move || {
            if !database.path.exists() {
                let folder = database.path.parent().map_or_else(PathBuf::new, ToOwned::to_owned);
                let there = folder.ancestors().find(|f| f.exists()).unwrap_or(&folder);
                return tempfile::tempfile_in(there).map(drop).map_err(|error| {
                    Error::io("write into the folder", there, error)
                        .hint("Set the connection's `path` to a file that can be created.")
                });
            }
            // The lock proves that the file can be written; nothing is.
            open(&database, false)?
                .execute_batch("BEGIN IMMEDIATE; ROLLBACK")
                .map_err(|error| database.fail(error))
        })
        .await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        let (database, table, app) = (self.database.clone(), table(request)?, request.app.clone());
        task::compute(move || {
            if !database.path.exists() {
                return Ok(Progress::default());
            }
            state::progress(&database, &open(&database, false)?, &app, &table)
        })
        .await
    }

    async fn forget_staged(&self, request: &WriteRequest) -> Result<()> {
        let (database, table, app) = (self.database.clone(), table(request)?, request.app.clone());
        task::compute(move || {
            state::forget_staged(&database, &open(&database, false)?, &app, &table)
        })
        .await
    }

    async fn ready(&self, request: &WriteRequest) -> Result<()> {
        if !matches!(request.mode, WriteMode::Merge | WriteMode::Mirror) {
            return Ok(());
        }
        let (database, table, key) = (self.database.clone(), table(request)?, request.key.clone());
        task::compute(move || {
            if !database.path.exists() {
                return Ok(());
            }
            let connection = open(&database, false)?;
            match Table::load(&database, &connection, &table)? {
                Some(found) => found.check_key(&database, &connection, &key),
                None => Ok(()),
            }
        })
        .await
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        check_mode("sqlite", <Sqlite as DestinationConfig>::MODES, request.mode)?;
        let (database, table, request) = (self.database.clone(), table(request)?, request.clone());
        SessionWriter::open(move || Session::open(database, table, &request)).await
    }
}

#[cfg(test)]
mod tests;
