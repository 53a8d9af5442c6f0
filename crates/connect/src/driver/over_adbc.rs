//! Links over ADBC, by a driver that is a shared library.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError};

use adbc_core::error::{Error as AdbcError, Status};
use adbc_core::options::{AdbcVersion, OptionConnection, OptionDatabase, OptionValue};
use adbc_core::{Connection, Database, Driver, LOAD_FLAG_DEFAULT, Optionable, Statement};
use adbc_driver_manager::{ManagedConnection, ManagedDatabase, ManagedDriver, ManagedStatement};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatchReader, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result, Secret};

use super::open::Rows;
use super::{Argument, Dialect, Link, Open, Refusal};

/// What opens links to a database by ADBC.
pub(crate) struct AdbcOpen {
    /// The driver's file, or its name.
    pub(crate) driver: String,
    pub(crate) entrypoint: Option<String>,
    pub(crate) options: Vec<(OptionDatabase, Secret)>,
    /// What must be in no message.
    pub(crate) hidden: Vec<Secret>,
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
}

impl Open for AdbcOpen {
    fn kind(&self) -> &'static str {
        "adbc"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn numbered(&self, dialect: Dialect) -> bool {
        dialect == Dialect::Postgres
    }

    fn open(&self) -> Result<(Box<dyn Link>, Dialect)> {
        let fail = |error: AdbcError| refusal(&self.name, &self.hidden, &error).error;
        let mut driver = loaded(&self.driver, self.entrypoint.as_deref())?;
        let options = self
            .options
            .iter()
            .map(|(key, value)| (key.clone(), OptionValue::String(value.expose().to_owned())));
        let database = driver.new_database_with_opts(options).map_err(fail)?;
        let connection = database.new_connection().map_err(fail)?;
        let link = AdbcLink {
            database,
            connection,
            in_transaction: false,
            name: self.name.clone(),
            hidden: self.hidden.clone(),
        };
        Ok((Box::new(link), self.dialect))
    }
}

/// The driver of that name or file; it is loaded once and stays loaded to the end of the process. Its rows
/// go on in pages, without being copied, and its own code frees them and what it keeps for each thread:
/// all of that outlives connections, and must not outlive the code.
fn loaded(driver: &str, entrypoint: Option<&str>) -> Result<ManagedDriver> {
    static LOADED: Mutex<BTreeMap<(String, Option<String>), ManagedDriver>> =
        Mutex::new(BTreeMap::new());
    let mut drivers = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (driver.to_owned(), entrypoint.map(str::to_owned));
    if let Some(driver) = drivers.get(&key) {
        return Ok(driver.clone());
    }
    let made = ManagedDriver::load_from_name(
        driver,
        entrypoint.map(str::as_bytes),
        AdbcVersion::V110,
        LOAD_FLAG_DEFAULT,
        None,
    )
    .map_err(|error| {
        Error::invalid(format!("the ADBC driver {driver} cannot be loaded"))
            .caused_by(Error::invalid(error.message))
            .hint(
                "Set `driver` to the shared library of the driver, or to the name of its manifest.",
            )
    })?;
    drivers.insert(key, made.clone());
    Ok(made)
}

struct AdbcLink {
    database: ManagedDatabase,
    connection: ManagedConnection,
    in_transaction: bool,
    name: String,
    hidden: Vec<Secret>,
}

fn refusal(name: &str, hidden: &[Secret], error: &AdbcError) -> Refusal {
    let letter = |letter: &c_char| char::from(u8::try_from(*letter).unwrap_or(0));
    let mut state: String = error.sqlstate.iter().map(letter).collect();
    if state.chars().any(|letter| !letter.is_ascii_alphanumeric()) || state == "00000" {
        state = match error.status {
            Status::Integrity => "23000",
            Status::InvalidData => "22000",
            Status::IO | Status::Timeout => "08000",
            Status::Unauthenticated | Status::Unauthorized => "28000",
            _ => "",
        }
        .to_owned();
    }
    let mut said = error.message.clone();
    for secret in hidden.iter().filter(|secret| !secret.expose().is_empty()) {
        said = said.replace(secret.expose(), "***");
    }
    Refusal::new(name, &state, said)
}

/// Arguments as the one row that a statement is bound to.
fn bound(arguments: &[Argument]) -> Result<RecordBatch, Refusal> {
    let columns = arguments.iter().enumerate().map(|(at, argument)| {
        let array: ArrayRef = match argument {
            Argument::Int(value) => Arc::new(Int64Array::from(vec![*value])),
            Argument::Float(value) => Arc::new(Float64Array::from(vec![*value])),
            Argument::Text(text) => Arc::new(StringArray::from(vec![text.as_str()])),
        };
        (format!("{}", at + 1), array)
    });
    RecordBatch::try_from_iter(columns).map_err(|error| {
        let error = Error::internal("arguments form no row").caused_by(error);
        Refusal { data: false, error }
    })
}

impl AdbcLink {
    fn refusal(&self, error: &AdbcError) -> Refusal {
        refusal(&self.name, &self.hidden, error)
    }

    fn statement(
        &mut self,
        sql: &str,
        arguments: &[Argument],
    ) -> Result<ManagedStatement, Refusal> {
        let made = self.connection.new_statement();
        let mut statement = made.map_err(|error| self.refusal(&error))?;
        statement.set_sql_query(sql).map_err(|error| self.refusal(&error))?;
        if !arguments.is_empty() {
            statement.prepare().map_err(|error| self.refusal(&error))?;
            statement.bind(bound(arguments)?).map_err(|error| self.refusal(&error))?;
        }
        Ok(statement)
    }

    /// Some drivers do not get over a statement that the database refused, outside of a transaction too:
    /// then the next statement has a new connection.
    fn renewed<T>(&mut self, done: Result<T, Refusal>) -> Result<T, Refusal> {
        if done.is_err() && !self.in_transaction {
            match self.database.new_connection() {
                Ok(connection) => self.connection = connection,
                Err(error) => return Err(self.refusal(&error)),
            }
        }
        done
    }

    fn columns_of(&mut self, sql: &str) -> Result<SchemaRef, Refusal> {
        let mut statement = self.statement(sql, &[])?;
        let rows = statement.execute().map_err(|error| self.refusal(&error))?;
        Ok(rows.schema())
    }

    fn answer(&mut self, sql: &str, arguments: &[Argument]) -> Result<Vec<RecordBatch>, Refusal> {
        let mut statement = self.statement(sql, arguments)?;
        let rows = statement.execute().map_err(|error| self.refusal(&error))?;
        let mut batches = Vec::new();
        for batch in rows {
            batches.push(batch.map_err(|error| {
                let error = Error::invalid(format!("an answer of {} cannot be read", self.name))
                    .caused_by(error);
                Refusal { data: false, error }
            })?);
        }
        Ok(batches)
    }

    fn done(&mut self, sql: &str, arguments: &[Argument]) -> Result<Option<u64>, Refusal> {
        let mut statement = self.statement(sql, arguments)?;
        let touched = statement.execute_update().map_err(|error| self.refusal(&error))?;
        Ok(touched.and_then(|rows| u64::try_from(rows).ok()))
    }

    fn commits_itself(&mut self, itself: bool) -> Result<(), Refusal> {
        let value = OptionValue::String(itself.to_string());
        let set = self.connection.set_option(OptionConnection::AutoCommit, value);
        set.map_err(|error| self.refusal(&error))
    }
}

/// Rows with what they come from, which has to live as long.
struct Held {
    rows: Box<dyn RecordBatchReader + Send>,
    _statement: ManagedStatement,
    _connection: ManagedConnection,
}

impl Iterator for Held {
    type Item = std::result::Result<RecordBatch, arrow::error::ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next()
    }
}

impl RecordBatchReader for Held {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

impl Link for AdbcLink {
    fn columns(&mut self, sql: &str) -> Result<SchemaRef, Refusal> {
        let columns = self.columns_of(sql);
        self.renewed(columns)
    }

    fn stream(
        mut self: Box<Self>,
        sql: &str,
        arguments: &[Argument],
        _: usize,
        _: usize,
    ) -> Result<Rows, Refusal> {
        let mut statement = self.statement(sql, arguments)?;
        let rows = statement.execute().map_err(|error| self.refusal(&error))?;
        Ok(Box::new(Held { rows, _statement: statement, _connection: self.connection }))
    }

    fn rows(&mut self, sql: &str, arguments: &[Argument]) -> Result<Vec<RecordBatch>, Refusal> {
        let answer = self.answer(sql, arguments);
        self.renewed(answer)
    }

    fn run(&mut self, sql: &str, arguments: &[Argument]) -> Result<Option<u64>, Refusal> {
        let done = self.done(sql, arguments);
        self.renewed(done)
    }

    fn run_each(&mut self, sql: &str, batch: &RecordBatch) -> Result<(), Refusal> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut statement = self.statement(sql, &[])?;
        statement.prepare().map_err(|error| self.refusal(&error))?;
        statement.bind(batch.clone()).map_err(|error| self.refusal(&error))?;
        statement.execute_update().map(drop).map_err(|error| self.refusal(&error))
    }

    fn begin(&mut self) -> Result<(), Refusal> {
        self.commits_itself(false)?;
        self.in_transaction = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        self.connection.commit().map_err(|error| self.refusal(&error))?;
        self.in_transaction = false;
        self.commits_itself(true)
    }

    fn roll_back(&mut self) -> Result<(), Refusal> {
        self.in_transaction = false;
        self.connection.rollback().map_err(|error| self.refusal(&error))?;
        self.commits_itself(true)
    }
}

/// A connection by the settings of a project.
pub(crate) fn open(open: AdbcOpen) -> Arc<dyn Open> {
    Arc::new(open)
}
