//! One write into one table, from its opening to its end; blocking.

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, ErrorKind, Result, Timestamp, suggest};
use rusqlite::Connection;

use super::rows::{Rows, Verb};
use super::shape::{self, Table};
use super::state::{self, Kind};
use super::{OWN_PREFIX, open};

use crate::blocking;
use crate::destination::{Checkpoint, NewTargetColumns, Refused, WriteMode, WriteRequest, Written};
use crate::source::sqlite::{Database, quoted};

/// A write that is open.
pub(super) struct Session {
    database: Database,
    connection: Connection,
    app: String,
    mode: WriteMode,
    key: Vec<String>,
    /// The key that a table of a replacement gets if it is made.
    declared: Vec<String>,
    deleted: Option<String>,
    new_columns: NewTargetColumns,
    now: Timestamp,
    /// The columns as far as they are known without rows, without the mark of deleted rows.
    schema: SchemaRef,
    /// The table of the request.
    target: String,
    /// The table that rows go into: the target, or its staging.
    into: String,
    /// That table as it is; none while it does not exist.
    table: Option<Table>,
    /// Whether a transaction is open.
    writing: bool,
    written: Written,
}

impl Session {
    /// Opens a table.
    pub(super) fn open(database: Database, target: String, request: &WriteRequest) -> Result<Self> {
        let keyed = matches!(request.mode, WriteMode::Merge | WriteMode::Mirror);
        if keyed && request.key.is_empty() {
            return Err(Error::invalid(format!("{} needs a key to find rows by", request.mode))
                .hint("Declare the sync's `key`: the columns that identify a row."));
        }
        let connection = open(&database, true)?;
        let replace = request.mode == WriteMode::Replace;
        // A replacement takes rows away for a moment; nothing may cascade from that.
        connection
            .pragma_update(None, "foreign_keys", !replace)
            .map_err(|error| database.fail(error))?;
        let mark = request.deleted.as_ref().filter(|_| request.mode == WriteMode::Mirror);
        let mut session = Self {
            into: if replace { format!("{OWN_PREFIX}staging_{target}") } else { target.clone() },
            app: request.app.clone(),
            mode: request.mode,
            key: if keyed { request.key.clone() } else { Vec::new() },
            declared: if replace { request.key.clone() } else { Vec::new() },
            deleted: mark.cloned(),
            new_columns: request.new_columns,
            now: request.now,
            schema: std::sync::Arc::new(without(&request.schema, mark)),
            table: None,
            writing: false,
            written: Written::default(),
            database,
            connection,
            target,
        };
        session.refresh()?;
        session.check()?;
        Ok(session)
    }

    fn load(&self, name: &str) -> Result<Option<Table>> {
        Table::load(&self.database, &self.connection, name)
    }

    /// Looks at the table again.
    fn refresh(&mut self) -> Result<()> {
        self.table = self.load(&self.into)?;
        Ok(())
    }

    /// Proves that the rows fit the table, as far as that is known without rows.
    fn check(&self) -> Result<()> {
        check_names(&self.schema)?;
        let Some(table) = self.load(&self.target)? else { return Ok(()) };
        if self.new_columns == NewTargetColumns::Fail {
            for field in self.schema.fields().iter().filter(|field| !table.computes(field.name())) {
                self.known(&table, field)?;
            }
        }
        if self.key.is_empty() {
            return Ok(());
        }
        for name in &self.key {
            if !table.has(name) {
                return Err(
                    no_column(&table, name).hint("The columns of the key have to be there.")
                );
            }
        }
        table.check_key(&self.database, &self.connection, &self.key)
    }

    /// Whether the table has the column or may get it.
    fn known(&self, table: &Table, field: &Field) -> Result<bool> {
        match self.new_columns {
            _ if table.has(field.name()) => Ok(true),
            NewTargetColumns::Add | NewTargetColumns::Ignore => Ok(false),
            NewTargetColumns::Fail => Err(no_column(table, field.name())),
        }
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|error| self.database.fail(error))
    }

    /// Starts the transaction that ends with the next commit.
    fn begin(&mut self) -> Result<()> {
        if self.writing {
            return Ok(());
        }
        self.run("BEGIN IMMEDIATE")?;
        self.writing = true;
        self.written = Written::default();
        if self.mode == WriteMode::Replace && self.progress()?.staged.is_none() {
            // Left by a write of somebody else, or by one whose state was removed.
            self.run(&format!("DROP TABLE IF EXISTS {}", quoted(&self.into)))?;
        }
        self.refresh()
    }

    fn roll_back(&mut self) -> Result<()> {
        if self.writing {
            self.writing = false;
            self.run("ROLLBACK")?;
        }
        self.refresh()
    }

    fn end(&mut self) -> Result<Written> {
        self.run("COMMIT")?;
        self.writing = false;
        Ok(std::mem::take(&mut self.written))
    }

    fn progress(&self) -> Result<crate::destination::Progress> {
        state::progress(&self.database, &self.connection, &self.app, &self.target)
    }

    /// Takes rows.
    fn write_rows(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        self.begin()?;
        let schema = without(&batch.schema(), self.deleted.as_ref());
        check_names(&schema)?;
        let places = self.shape(&schema, batch)?;
        for name in &self.key {
            if !schema.fields().iter().any(|field| field.name() == name) {
                return Err(Error::invalid(format!("the rows lack the key column \"{name}\""))
                    .hint("Map the column, or declare another `key`."));
            }
        }
        let Some(table) = self.table.clone() else {
            return Err(Error::internal("a table was created and is not there"));
        };
        let marks = self.marks(batch)?;
        let mut rows =
            Rows::new(&self.database, &self.connection, &table, &self.key, batch, &places)?;
        let mut refused = Vec::new();
        for row in 0..batch.num_rows() {
            let marked =
                marks.as_ref().is_some_and(|marks| marks.is_valid(row) && marks.value(row));
            let verb = match self.mode {
                _ if marked => Verb::Delete,
                WriteMode::Merge | WriteMode::Mirror => Verb::Merge,
                WriteMode::Append | WriteMode::Replace => Verb::Insert,
            };
            match rows.run(row, verb)? {
                Ok(effect) => {
                    self.written.rows_written += effect.inserted + effect.updated;
                    self.written.rows_updated += effect.updated;
                    self.written.rows_deleted += effect.deleted;
                }
                Err(row) => refused.push(row),
            }
        }
        Ok(refused)
    }

    /// Creates the table or adds columns as needed; gives the places of the columns that are written.
    fn shape(&mut self, schema: &Schema, batch: &RecordBatch) -> Result<Vec<usize>> {
        self.create(schema)?;
        let mut places = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let Some(table) = self.table.as_ref().filter(|table| !table.computes(field.name()))
            else {
                continue;
            };
            if !self.known(table, field)? {
                if self.new_columns == NewTargetColumns::Ignore {
                    continue;
                }
                let (table, column) = (quoted(&self.into), quoted(field.name()));
                let declared = shape::declaration(field.data_type());
                self.run(&format!("ALTER TABLE {table} ADD COLUMN {column} {declared}"))?;
                self.refresh()?;
            }
            places.extend(batch.schema().index_of(field.name()));
        }
        Ok(places)
    }

    /// Creates the table that rows go into, if it does not exist.
    fn create(&mut self, schema: &Schema) -> Result<()> {
        if self.table.is_some() {
            return Ok(());
        }
        let replaced = self.mode == WriteMode::Replace && self.load(&self.target)?.is_some();
        let sql = if replaced {
            shape::create_like(&self.database, &self.connection, &self.target, &self.into)?
        } else {
            let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
            for field in schema.fields() {
                if !fields.iter().any(|known| known.name() == field.name()) {
                    fields.push(std::sync::Arc::clone(field));
                }
            }
            if fields.is_empty() {
                return Ok(());
            }
            let schema = Schema::new(fields);
            // Keyed rows have a key anyway; a replacement needs none.
            let declared = &self.declared;
            let whole = declared.iter().all(|name| schema.field_with_name(name).is_ok());
            let key = if !declared.is_empty() && whole { declared } else { &self.key };
            shape::create(&self.into, &schema, key)
        };
        self.run(&sql)?;
        self.refresh()
    }

    /// The marks of deleted rows.
    fn marks(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let Some(name) = &self.deleted else { return Ok(None) };
        match batch.column_by_name(name) {
            Some(column) if column.data_type() == &DataType::Boolean => {
                Ok(Some(column.as_boolean().clone()))
            }
            Some(column) => Err(Error::invalid(format!(
                "the column \"{name}\" marks deleted rows and has type {}",
                column.data_type()
            ))
            .hint("Cast it to bool in the sync's mapping.")),
            None => Err(Error::invalid(format!("the rows lack the column \"{name}\""))
                .hint("It marks deleted rows: map it, or write with mode merge.")),
        }
    }

    /// Commits what was written since the last commit.
    fn commit_rows(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        self.begin()?;
        let progress = self.progress()?;
        let known = [progress.committed, progress.staged];
        if known.iter().flatten().any(|known| checkpoint.sequence <= known.sequence) {
            self.roll_back()?;
            return Ok(Written { skipped: true, ..Written::default() });
        }
        let kind = if self.mode == WriteMode::Replace { Kind::Staged } else { Kind::Committed };
        self.create(&Schema::empty())?;
        let (app, table) = (self.app.as_str(), self.target.as_str());
        let place = (app, table, kind);
        state::store(&self.database, &self.connection, place, checkpoint, self.now)?;
        let written = self.end()?;
        // Staged rows count when they are visible.
        Ok(if kind == Kind::Staged { Written::default() } else { written })
    }

    /// Ends the write; a replacement is swapped in.
    fn finish_write(&mut self) -> Result<Written> {
        self.roll_back()?;
        if self.mode != WriteMode::Replace {
            return Ok(Written::default());
        }
        let Some(staged) = self.progress()?.staged else { return Ok(Written::default()) };
        self.begin()?;
        if self.table.is_some() {
            self.swap().map_err(|error| match error.kind() {
                ErrorKind::Invalid => Error::blocked(format!(
                    "the staged rows do not fit the table \"{}\" any more",
                    self.target
                ))
                .caused_by(error)
                .hint("The old rows are still there; undo the change of the table, or drop it."),
                _ => error,
            })?;
        }
        state::forget_staged(&self.database, &self.connection, &self.app, &self.target)?;
        let place = (self.app.as_str(), self.target.as_str(), Kind::Committed);
        state::store(&self.database, &self.connection, place, &staged, self.now)?;
        self.end()
    }

    /// Moves the staged rows in, within the open transaction.
    fn swap(&mut self) -> Result<()> {
        let Some(staging) = self.table.clone() else { return Ok(()) };
        let (from, to) = (quoted(&self.into), quoted(&self.target));
        let fail = |error| self.database.fail(error);
        let Some(target) = self.load(&self.target)? else {
            let count = format!("SELECT count(*) FROM {from}");
            let rows: i64 =
                self.connection.query_row(&count, [], |row| row.get(0)).map_err(fail)?;
            self.written.rows_written = u64::try_from(rows).unwrap_or_default();
            return self.run(&format!("ALTER TABLE {from} RENAME TO {to}"));
        };
        // The table itself stays, with its indexes, triggers, views and whoever refers to it.
        for column in staging.columns.iter().filter(|column| !target.has(column)) {
            let sql = "SELECT type FROM pragma_table_info(?1) WHERE name = ?2";
            let declared: String = self
                .connection
                .query_row(sql, [&self.into, column], |row| row.get(0))
                .map_err(fail)?;
            self.run(&format!("ALTER TABLE {to} ADD COLUMN {} {declared}", quoted(column)))?;
        }
        let columns = staging.columns.iter().map(|column| quoted(column));
        let columns = columns.collect::<Vec<_>>().join(", ");
        self.run(&format!("DELETE FROM {to}"))?;
        let rows = self
            .connection
            .execute(&format!("INSERT INTO {to} ({columns}) SELECT {columns} FROM {from}"), [])
            .map_err(fail)?;
        self.written.rows_written = rows as u64;
        self.run(&format!("DROP TABLE {from}"))
    }
}

impl blocking::Session for Session {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        self.write_rows(batch)
    }

    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        self.commit_rows(checkpoint)
    }

    fn finish(&mut self) -> Result<Written> {
        self.finish_write()
    }
}

/// A schema without the column that marks deleted rows.
fn without(schema: &Schema, mark: Option<&String>) -> Schema {
    let fields = schema.fields().iter().filter(|field| Some(field.name()) != mark);
    Schema::new(fields.cloned().collect::<Vec<_>>())
}

fn no_column(table: &Table, name: &str) -> Error {
    let hint = suggest::hint(name, table.columns.iter().map(String::as_str));
    Error::invalid(format!("the table \"{}\" has no column \"{name}\"", table.name))
        .hint(format!("{hint} Leave the column out, or let `new_columns` add it."))
}

/// Refuses names of columns that SQLite takes for the same.
fn check_names(schema: &Schema) -> Result<()> {
    let mut names: Vec<String> =
        schema.fields().iter().map(|field| field.name().to_ascii_lowercase()).collect();
    if names.iter().any(|name| name.is_empty() || name.contains('\0')) {
        return Err(Error::invalid("a column of the rows has an empty name").hint("Rename it."));
    }
    names.sort();
    match names.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => Err(Error::invalid(format!(
            "two columns are called {:?}, which SQLite compares without case",
            pair.first().map_or("", String::as_str)
        ))
        .hint("Rename one of them in the sync's mapping.")),
        None => Ok(()),
    }
}
