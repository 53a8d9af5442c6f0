//! Databases that are reached by a driver of theirs: what `odbc` and `adbc` share.
//!
//! ```text
//! source/odbc, destination/odbc ─┐                      ┌─ link over ODBC (feature `odbc`)
//!                                ├─ read, write ─ Link ─┤
//! source/adbc, destination/adbc ─┘                      └─ link over ADBC (feature `adbc`)
//! ```
//! A [`Link`] runs statements; everything else is SQL that databases have in common, with what they say
//! differently in [`Dialect`]. The settings are always there, so that a project is checked the same
//! everywhere; a build without the feature says how to get it.

#[cfg(any(feature = "odbc", feature = "adbc"))]
mod dialect;
#[cfg(feature = "adbc")]
pub(crate) mod over_adbc;
#[cfg(feature = "odbc")]
pub(crate) mod over_odbc;
#[cfg(any(feature = "odbc", feature = "adbc"))]
mod read;
#[cfg(all(test, feature = "odbc", feature = "adbc"))]
pub(crate) mod tests;
#[cfg(any(feature = "odbc", feature = "adbc"))]
mod values;
#[cfg(any(feature = "odbc", feature = "adbc"))]
mod write;

#[cfg(not(all(feature = "odbc", feature = "adbc")))]
use flywheel_base::Error;
use flywheel_base::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

#[cfg(any(feature = "odbc", feature = "adbc"))]
pub(crate) use self::open::{Argument, Database, Link, Open, Refusal, database};
use crate::destination::WriteMode;

/// The write modes of databases with transactions.
pub(crate) const MODES: &[WriteMode] =
    &[WriteMode::Append, WriteMode::Replace, WriteMode::Merge, WriteMode::Mirror];

/// Which words of SQL a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// PostgreSQL and what speaks like it.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
    /// DuckDB.
    Duckdb,
    /// Microsoft SQL Server.
    SqlServer,
    /// Oracle.
    Oracle,
    /// Any other; the words of the SQL standard.
    Standard,
}

/// What one stream reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriverStream {
    /// The table or view, `table` or `schema.table`, with upper and lower case as the database has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// A SELECT whose rows are read instead of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The columns that identify a row, without missing values; those of the table's primary key if the
    /// database tells it. Incremental reads need it, and full reads to go on where they broke off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
    /// A condition in SQL that the rows have to meet, `status <> 'draft'`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// The table that rows are written into.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriverTarget {
    /// The table, `table` or `schema.table`; it is created if it does not exist.
    pub table: String,
}

/// How to get a build that has a connector which this one lacks.
#[cfg(not(all(feature = "odbc", feature = "adbc")))]
pub(crate) fn lacking(name: &str) -> Error {
    Error::invalid(format!("this build of flywheel has no {name} connections"))
        .hint(crate::source::how_to_get(name))
}

/// Reads a text as a secret.
pub(crate) fn secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

#[cfg(any(feature = "odbc", feature = "adbc"))]
mod open {
    //! The seam between SQL and drivers.

    use std::fmt;
    use std::sync::Arc;

    use arrow::array::RecordBatchReader;
    use arrow::datatypes::SchemaRef;
    use arrow::record_batch::RecordBatch;
    use async_trait::async_trait;
    use flywheel_base::{Error, ErrorKind, Result, task};
    use futures::stream::BoxStream;

    use super::read::{DriverRead, discover};
    use super::write::{Session, forget_staged, progress};
    use super::{Dialect, MODES};
    use crate::blocking::SessionWriter;
    use crate::connections::Connections;
    use crate::destination::{Destination, Progress, WriteRequest, Writer, check_mode};
    use crate::files::pages;
    use crate::page::Page;
    use crate::source::{ReadRequest, Source, StreamInfo};

    /// A value for a place in a statement.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) enum Argument {
        Int(i64),
        Float(f64),
        Text(String),
    }

    /// What a database says no to.
    #[derive(Debug)]
    pub(crate) struct Refusal {
        /// Whether it is about the values, not about the statement or the connection.
        pub(crate) data: bool,
        pub(crate) error: Error,
    }

    impl Refusal {
        /// Makes an error of what a driver says.
        pub(crate) fn new(name: &str, state: &str, said: String) -> Self {
            let class = state.get(..2).unwrap_or_default();
            let lacks = matches!(state, "42P01" | "42S02") || said.contains("no such table");
            let unopened = class == "IM"
                || said.contains("open lib")
                || said.contains("source name not found");
            let data = matches!(class, "22" | "23") || said.contains("constraint failed");
            let (kind, what, hint) = match class {
                _ if lacks => (
                    ErrorKind::NotFound,
                    "has no such table",
                    "Check the table's name and schema; upper and lower case count.",
                ),
                "08" | "57" => (
                    ErrorKind::Unavailable,
                    "cannot be reached",
                    "Check the address, and whether the database runs.",
                ),
                "28" => (ErrorKind::Denied, "refuses the login", "Check user and password."),
                "40" => (
                    ErrorKind::Conflict,
                    "could not go on beside another transaction",
                    "It is tried again.",
                ),
                "53" => (
                    ErrorKind::Exhausted,
                    "has run out of something",
                    "Free space or memory of the database.",
                ),
                _ if unopened => (
                    ErrorKind::Invalid,
                    "cannot be opened by its driver",
                    "Check the driver's name and that it is installed: `odbcinst -q -d` lists those of ODBC.",
                ),
                "HY" if state.starts_with("HYT") => (
                    ErrorKind::Unavailable,
                    "does not answer in time",
                    "Check the address, and whether the database runs.",
                ),
                _ => (ErrorKind::Invalid, "refuses a statement", ""),
            };
            let mut error = Error::new(kind, format!("the database {name} {what}"))
                .caused_by(Error::invalid(said));
            if !hint.is_empty() {
                error = error.hint(hint);
            }
            Self { data, error }
        }

        /// Whether the database answered at all.
        pub(crate) fn answered(&self) -> bool {
            matches!(self.error.kind(), ErrorKind::Invalid | ErrorKind::NotFound)
        }
    }

    impl From<Refusal> for Error {
        fn from(refusal: Refusal) -> Self {
            refusal.error
        }
    }

    /// Rows of a query.
    pub(crate) type Rows = Box<dyn RecordBatchReader + Send>;

    /// An open connection; every call blocks.
    pub(crate) trait Link: Send {
        /// Rows of a query, perhaps as texts whatever their types, in batches of at most so many rows and bytes where the driver lets choose.
        ///
        /// # Errors
        /// What the database says.
        fn stream(
            self: Box<Self>,
            sql: &str,
            arguments: &[Argument],
            rows_max: usize,
            bytes_max: usize,
        ) -> Result<Rows, Refusal>;

        /// The columns of a query, with the types that the database tells.
        ///
        /// # Errors
        /// As [`Link::stream`].
        fn columns(&mut self, sql: &str) -> Result<SchemaRef, Refusal>;

        /// All rows of a small query; perhaps no batch if it has none.
        ///
        /// # Errors
        /// As [`Link::stream`].
        fn rows(&mut self, sql: &str, arguments: &[Argument]) -> Result<Vec<RecordBatch>, Refusal>;

        /// Runs a statement; tells how many rows it touched, if the driver knows.
        ///
        /// # Errors
        /// As [`Link::stream`].
        fn run(&mut self, sql: &str, arguments: &[Argument]) -> Result<Option<u64>, Refusal>;

        /// Runs a statement once for each row of a batch, whose columns are its arguments.
        ///
        /// # Errors
        /// As [`Link::stream`]; which rows had their effect then is not known.
        fn run_each(&mut self, sql: &str, batch: &RecordBatch) -> Result<(), Refusal>;

        /// Begins a transaction.
        ///
        /// # Errors
        /// As [`Link::stream`].
        fn begin(&mut self) -> Result<(), Refusal>;

        /// Ends it, with its effects.
        ///
        /// # Errors
        /// As [`Link::stream`].
        fn commit(&mut self) -> Result<(), Refusal>;

        /// Ends it, without.
        ///
        /// # Errors
        /// As [`Link::stream`].
        fn roll_back(&mut self) -> Result<(), Refusal>;
    }

    /// What opens links to one database.
    pub(crate) trait Open: Send + Sync {
        /// The kind of connection, for rows that are set aside.
        fn kind(&self) -> &'static str;

        /// The database in messages.
        fn name(&self) -> &str;

        /// How places of arguments are written.
        fn numbered(&self, dialect: Dialect) -> bool;

        /// Opens a link; blocks.
        ///
        /// # Errors
        /// What is wrong with driver, address or login.
        fn open(&self) -> Result<(Box<dyn Link>, Dialect)>;
    }

    /// The source and destination over a driver.
    pub(crate) fn database(open: Arc<dyn Open>, connections: Connections) -> Database {
        Database { open, connections }
    }

    /// A database that is read and written by a driver.
    pub(crate) struct Database {
        open: Arc<dyn Open>,
        connections: Connections,
    }

    impl fmt::Debug for Database {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "Database({} {})", self.open.kind(), self.open.name())
        }
    }

    #[async_trait]
    impl Source for Database {
        async fn check(&self) -> Result<()> {
            let _admitted = self.connections.one().await?;
            let open = Arc::clone(&self.open);
            task::compute(move || open.open().map(drop)).await
        }

        async fn discover(&self) -> Result<Vec<StreamInfo>> {
            let _admitted = self.connections.one().await?;
            let open = Arc::clone(&self.open);
            task::compute(move || discover(open.as_ref())).await
        }

        fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
            use futures::StreamExt as _;
            let start = async move {
                let admitted = self.connections.one().await?;
                DriverRead::new(Arc::clone(&self.open), request.clone(), admitted)
            };
            futures::stream::once(start).flat_map(pages).boxed()
        }
    }

    #[async_trait]
    impl Destination for Database {
        async fn check(&self) -> Result<()> {
            Source::check(self).await
        }

        async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
            let (open, request) = (Arc::clone(&self.open), request.clone());
            task::compute(move || progress(open.as_ref(), &request)).await
        }

        async fn forget_staged(&self, request: &WriteRequest) -> Result<()> {
            let (open, request) = (Arc::clone(&self.open), request.clone());
            task::compute(move || forget_staged(open.as_ref(), &request)).await
        }

        async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
            check_mode(self.open.kind(), MODES, request.mode)?;
            let (open, request) = (Arc::clone(&self.open), request.clone());
            SessionWriter::open(move || Session::open(open.as_ref(), &request)).await
        }
    }
}
