//! The database of the store: SQLite in a file, or a schema of a PostgreSQL that is shared.
//!
//! Modules ask both in the same words: a [`Connection`] runs and prepares statements, a [`Statement`] takes [`params!`] and
//! gives [`Row`]s. SQL is SQLite's where the two differ; [`dialect`] says what is put in other words. What a statement is
//! and in which order rows come is the same on both: numbers have 64 bits, texts are compared by their bytes.
//!
//! SQLite is asked as it was before there was another: the same statements, prepared and kept by its own driver.

mod dialect;
mod postgres;
mod value;

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use flywheel_base::ErrorKind;
use rusqlite::OpenFlags;

pub use postgres::{Dial, Dialed, Dialing, Shared};
pub(crate) use postgres::{Epoch, Session, taken_over};
pub(crate) use value::{Cell, Kind, Params, Row, ToSql, Value};

use crate::{BUSY_TIMEOUT_MS, schema};

/// The parameters of a statement, whatever their types.
macro_rules! params {
    ($($parameter:expr),* $(,)?) => {
        &[$(&$parameter as &dyn $crate::engine::ToSql),*] as &[&dyn $crate::engine::ToSql]
    };
}
pub(crate) use params;

/// What a database answers where it cannot do what is asked.
#[derive(Debug)]
pub(crate) enum Error {
    /// SQLite says no.
    Lite(rusqlite::Error),
    /// PostgreSQL says no, or cannot be heard.
    Postgres(tokio_postgres::Error),
    /// The connection is gone.
    Lost(flywheel_base::Error),
    /// One that says all there is to say.
    Ours(flywheel_base::Error),
    /// A column is not as it was written.
    Unreadable {
        /// Its number, from 0.
        column: usize,
        /// Why it cannot be read.
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// A value that cannot be written.
    Unwritable(Box<dyn StdError + Send + Sync>),
    /// There is no row where there is always one.
    NoRow,
    /// Nothing is to be kept of what was changed; not a failure of the database.
    Undone,
}

/// What the database answers.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lite(error) => fmt::Display::fmt(error, f),
            Self::Postgres(error) => match error.as_db_error() {
                Some(said) => write!(f, "{} ({})", said.message(), said.code().code()),
                None => fmt::Display::fmt(error, f),
            },
            Self::Lost(error) | Self::Ours(error) => f.write_str(error.message()),
            Self::Unreadable { column, cause } => write!(f, "column {column}: {cause}"),
            Self::Unwritable(cause) => fmt::Display::fmt(cause, f),
            Self::NoRow => f.write_str("a query gave no row"),
            Self::Undone => f.write_str("nothing is kept"),
        }
    }
}

// What PostgreSQL says besides its message may repeat values of rows, so it is no cause.
impl StdError for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Lite(error)
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<flywheel_base::Error> for Error {
    fn from(error: flywheel_base::Error) -> Self {
        Self::Ours(error)
    }
}

impl Error {
    /// One that says all there is to say.
    pub(crate) fn ours(error: flywheel_base::Error) -> Self {
        Self::Ours(error)
    }

    /// Whether the connection cannot be used any more.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Postgres(error) => match error.code() {
                // The server ends the connection: it shuts down, it crashed, or the transaction was silent for too long.
                Some(state) => {
                    let code = state.code();
                    code.starts_with("57P") || code.starts_with("08") || code == "25P03"
                }
                None => {
                    error.is_closed()
                        || error.source().is_some_and(|cause| cause.is::<std::io::Error>())
                }
            },
            _ => false,
        }
    }

    /// Whether the database does not answer for now.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.is_lost()
            || matches!(self, Self::Ours(error) if error.kind() == ErrorKind::Unavailable)
    }

    /// The error of the store that could not do something in a place.
    pub(crate) fn of_store(self, doing: &str, place: &str) -> flywheel_base::Error {
        let (kind, hint) = match &self {
            Self::Lite(error) => lite_hint(error),
            Self::Postgres(error) => match error.code() {
                Some(state) => postgres_hint(state.code()),
                None => (ErrorKind::Unavailable, LOST),
            },
            Self::Lost(_) => (ErrorKind::Unavailable, LOST),
            _ => BUG,
        };
        let what = format!("metadata: cannot {doing} in {place}");
        match self {
            // It has its own hint.
            Self::Ours(error) | Self::Lost(error) => error.context(what),
            other => flywheel_base::Error::new(kind, what).hint(hint).caused_by(other),
        }
    }
}

const BUG: (ErrorKind, &str) =
    (ErrorKind::Internal, "This is a bug of Flywheel; please report it.");

const LOST: &str =
    "The connection broke off; nothing half-done is kept. It is opened again by the next call.";

fn lite_hint(error: &rusqlite::Error) -> (ErrorKind, &'static str) {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::ReadOnly | Code::PermissionDenied | Code::CannotOpen) => {
            (ErrorKind::Denied, "Check the owner and the mode of the .flywheel folder.")
        }
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
            (ErrorKind::Unavailable, "Another program holds the database; end it or wait.")
        }
        Some(Code::DiskFull) => (ErrorKind::Exhausted, "Free space on that file system."),
        // SQLite says no more than this when a full disk has no room for its shared index either.
        Some(Code::SystemIoFailure) => {
            (ErrorKind::Exhausted, "Free space on that file system; if there is, check the disk.")
        }
        Some(Code::NotADatabase | Code::DatabaseCorrupt) => (
            ErrorKind::Corrupt,
            "Restore the file from a backup; rows of the lake are not affected.",
        ),
        _ => BUG,
    }
}

/// By the code of PostgreSQL, as its manual lists them in appendix A.
fn postgres_hint(code: &str) -> (ErrorKind, &'static str) {
    match code {
        "28P01" | "28000" | "42501" => (
            ErrorKind::Denied,
            "Let the user of `metadata` own the schema, or GRANT it CREATE and USAGE there.",
        ),
        "25P03" => (ErrorKind::Unavailable, LOST),
        "25006" => (ErrorKind::Denied, "The server only reads; connect to the primary server."),
        "42P06" => {
            (ErrorKind::Conflict, "A schema of that name is there already; rename or drop it.")
        }
        "55P03" | "57014" | "40001" | "40P01" => (
            ErrorKind::Unavailable,
            "Another program holds the schema; end it or wait. pg_locks shows who.",
        ),
        "53100" => (ErrorKind::Exhausted, "Free space on the disk of the server."),
        "22021" | "22P05" => (
            ErrorKind::Invalid,
            "PostgreSQL keeps no NUL character, and its database has to be of the encoding UTF8.",
        ),
        "54000" => (
            ErrorKind::Invalid,
            "A name is too long: PostgreSQL looks up names of at most about 2,700 bytes.",
        ),
        "3F000" | "42P01" | "42703" => (
            ErrorKind::Corrupt,
            "The schema is not as Flywheel made it: restore it from a backup. Rows of the lake are not affected.",
        ),
        _ => match code.get(..2) {
            Some("08" | "57") => (ErrorKind::Unavailable, LOST),
            Some("53") => (ErrorKind::Unavailable, "The server has reached a limit; see its log."),
            Some("XX" | "58") => (ErrorKind::Corrupt, "See the server's log before anything else."),
            _ => BUG,
        },
    }
}

/// An open database.
#[derive(Debug)]
pub(crate) enum Connection {
    /// A file.
    Lite(Box<rusqlite::Connection>),
    /// A schema.
    Postgres(Box<Session>),
}

/// A statement that can be run several times.
pub(crate) enum Statement<'c> {
    /// Of SQLite.
    Lite(rusqlite::CachedStatement<'c>),
    /// Of PostgreSQL, which prepares it once its parameters are known.
    Postgres(&'c Session, String),
}

/// Rows, each as something else.
pub(crate) struct MappedRows<'s, F> {
    rows: Rows<'s>,
    map: F,
}

enum Rows<'s> {
    Lite(rusqlite::Rows<'s>),
    Postgres(std::vec::IntoIter<tokio_postgres::Row>),
}

/// What may give no row.
pub(crate) trait OptionalExtension<T> {
    /// None where there is no row.
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Makes the file of a database if there is none, for its owner and group alone: what is known of users and deliveries is not for
/// everybody on the machine. What SQLite puts beside it is as open as the file itself. Where it cannot be made, SQLite says why.
pub(crate) fn make(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    drop(std::fs::OpenOptions::new().write(true).create_new(true).mode(0o660).open(path));
}

impl Connection {
    /// Opens a file to be written, or makes it.
    pub(crate) fn file(path: &Path) -> Result<Self> {
        make(path);
        let connection = rusqlite::Connection::open(path)?;
        connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(Self::Lite(Box::new(connection)))
    }

    /// Opens a file that is there, without changing anything of it.
    pub(crate) fn existing(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::with(path, flags)
    }

    /// Opens a file that is there, to be read only.
    pub(crate) fn reading(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::with(path, flags)
    }

    fn with(path: &Path, flags: OpenFlags) -> Result<Self> {
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
        Ok(Self::Lite(Box::new(connection)))
    }

    /// A schema; connects when it is first asked.
    pub(crate) fn shared(shared: &Shared) -> Self {
        Self::Postgres(Box::new(Session::new(shared)))
    }

    /// The version of the layout; 0 where there is none yet.
    pub(crate) fn layout(&self) -> Result<i64> {
        match self {
            Self::Lite(lite) => {
                Ok(lite.pragma_query_value(None, "user_version", |row| row.get(0))?)
            }
            Self::Postgres(session) => Ok(session.layout()?.unwrap_or_default()),
        }
    }

    /// Brings the log of a file into it, without waiting for anybody.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        match self {
            Self::Lite(lite) => {
                lite.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
                Ok(())
            }
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Brings it to the newest layout.
    pub(crate) fn migrate(&self) -> Result<()> {
        match self {
            Self::Lite(lite) => {
                let transaction = immediate(lite)?;
                schema::migrate(lite)?;
                transaction.commit()?;
                Ok(())
            }
            Self::Postgres(session) => session.migrate(),
        }
    }

    /// Runs `work` in one durable transaction, after all that others committed before it. A holder that lost the project
    /// to another one is refused.
    pub(crate) fn write<T>(
        &self,
        epoch: Option<Epoch>,
        work: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Lite(lite) => {
                let transaction = immediate(lite)?;
                let value = work(self)?;
                transaction.commit()?;
                Ok(value)
            }
            Self::Postgres(session) => {
                let transaction = session.begin(epoch)?;
                let value = work(self)?;
                transaction.commit()?;
                Ok(value)
            }
        }
    }

    /// Runs `work`, which only reads, on the rows as they are at one moment.
    pub(crate) fn snapshot<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        match self {
            Self::Lite(lite) => {
                let behavior = rusqlite::TransactionBehavior::Deferred;
                let _snapshot = rusqlite::Transaction::new_unchecked(lite, behavior)?;
                work(self)
            }
            Self::Postgres(session) => {
                let _snapshot = session.snapshot()?;
                work(self)
            }
        }
    }

    /// Gives a schema another name; a file is renamed where it is closed.
    pub(crate) fn rename(&self, to: &str) -> Result<()> {
        match self {
            Self::Lite(_) => {
                Err(Error::ours(flywheel_base::Error::internal("a file is no schema")))
            }
            Self::Postgres(session) => session.rename(to),
        }
    }

    /// Lets numbers that are given to rows go on after those that there are.
    pub(crate) fn numbers_go_on(&self) -> Result<()> {
        match self {
            // It gives the next one to the largest.
            Self::Lite(_) => Ok(()),
            Self::Postgres(session) => session.numbers_go_on(),
        }
    }

    /// Writes everything anew, so that what was deleted or changed before is in no page; false if somebody still reads an
    /// older state.
    pub(crate) fn scrub(&self) -> Result<bool> {
        match self {
            Self::Lite(lite) => {
                // What a page had before is wiped, not only left unused.
                lite.pragma_update(None, "secure_delete", true)?;
                lite.execute_batch("VACUUM")?;
                let busy: i64 =
                    lite.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
                Ok(busy == 0)
            }
            Self::Postgres(session) => session.scrub().map(|()| true),
        }
    }

    /// Runs a statement; returns how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        params.bind(|values| match self {
            Self::Lite(lite) => Ok(lite.execute(sql, rusqlite::params_from_iter(values))?),
            Self::Postgres(session) => session.execute(sql, values),
        })
    }

    /// The first row of a query, as something else.
    pub(crate) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        params.bind(|values| match self {
            Self::Lite(lite) => {
                let mut statement = lite.prepare(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                map(&Row::Lite(rows.next()?.ok_or(Error::NoRow)?))
            }
            Self::Postgres(session) => {
                let rows = session.query(sql, values)?;
                map(&Row::Postgres(rows.first().ok_or(Error::NoRow)?))
            }
        })
    }

    /// A statement, prepared once as long as the connection is open.
    pub(crate) fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        Ok(match self {
            Self::Lite(lite) => Statement::Lite(lite.prepare_cached(sql)?),
            Self::Postgres(session) => Statement::Postgres(session, sql.to_owned()),
        })
    }

    /// The number that the last row got which was added without one.
    pub(crate) fn last_insert_rowid(&self) -> Result<i64> {
        match self {
            Self::Lite(lite) => Ok(lite.last_insert_rowid()),
            Self::Postgres(session) => session.last_number(),
        }
    }

    /// A number that is another one once anybody else has written.
    pub(crate) fn data_version(&self) -> Result<i64> {
        match self {
            Self::Lite(lite) => {
                let mut statement = lite.prepare_cached("PRAGMA data_version")?;
                Ok(statement.query_row([], |row| row.get(0))?)
            }
            Self::Postgres(session) => session.changes(),
        }
    }

    /// Whether `INSERT OR REPLACE` only replaces the row of the same key, and not others that are in the way.
    pub(crate) fn replaces_by_key(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

fn immediate(lite: &rusqlite::Connection) -> Result<rusqlite::Transaction<'_>> {
    let behavior = rusqlite::TransactionBehavior::Immediate;
    Ok(rusqlite::Transaction::new_unchecked(lite, behavior)?)
}

impl Statement<'_> {
    /// Runs it; returns how many rows it changed.
    pub(crate) fn execute(&mut self, params: impl Params) -> Result<usize> {
        params.bind(|values| match self {
            Self::Lite(lite) => Ok(lite.execute(rusqlite::params_from_iter(values))?),
            Self::Postgres(session, sql) => session.execute(sql, values),
        })
    }

    /// Its first row, as something else.
    pub(crate) fn query_row<T>(
        &mut self,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        params.bind(|values| match self {
            Self::Lite(lite) => {
                let mut rows = lite.query(rusqlite::params_from_iter(values))?;
                map(&Row::Lite(rows.next()?.ok_or(Error::NoRow)?))
            }
            Self::Postgres(session, sql) => {
                let rows = session.query(sql, values)?;
                map(&Row::Postgres(rows.first().ok_or(Error::NoRow)?))
            }
        })
    }

    /// Its rows, each as something else.
    pub(crate) fn query_map<T, F: FnMut(&Row<'_>) -> Result<T>>(
        &mut self,
        params: impl Params,
        map: F,
    ) -> Result<MappedRows<'_, F>> {
        // What was bound is the statement's own from then on.
        let rows = params.bind(move |values| {
            Ok::<_, Error>(match self {
                Self::Lite(lite) => Rows::Lite(lite.query(rusqlite::params_from_iter(values))?),
                Self::Postgres(session, sql) => {
                    Rows::Postgres(session.query(sql, values)?.into_iter())
                }
            })
        })?;
        Ok(MappedRows { rows, map })
    }

    /// Whether it gives a row.
    pub(crate) fn exists(&mut self, params: impl Params) -> Result<bool> {
        params.bind(|values| match self {
            Self::Lite(lite) => Ok(lite.exists(rusqlite::params_from_iter(values))?),
            Self::Postgres(session, sql) => Ok(!session.query(sql, values)?.is_empty()),
        })
    }
}

impl<T, F: FnMut(&Row<'_>) -> Result<T>> Iterator for MappedRows<'_, F> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match &mut self.rows {
            Rows::Lite(rows) => match rows.next() {
                Ok(row) => row.map(|row| (self.map)(&Row::Lite(row))),
                Err(error) => Some(Err(error.into())),
            },
            Rows::Postgres(rows) => rows.next().map(|row| (self.map)(&Row::Postgres(&row))),
        }
    }
}
