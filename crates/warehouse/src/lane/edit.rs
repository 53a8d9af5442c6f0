//! Applies an edit: which rows of a table change and to what was found by a query on its head; here
//! the files that hold them are rewritten, copy-on-write.
//!
//! The query's rows come sorted by file and place, so that a file is read once, beside them: rows that
//! change are changed where they are, rows that go are left out, all others are copied. A file that no
//! row names is not opened. Rows that are new come last.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, new_null_array,
};
use arrow::compute::{concat_batches, filter_record_batch, interleave};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use flywheel_base::{Error, Result, suggest};
use futures::{StreamExt, TryStreamExt};

use super::keep::changed;
use super::{Change, Surroundings, Waits};
use crate::data_file::{self, DataWriter};
use crate::failure::from_arrow;
use crate::shape::assign;
use crate::snapshot::{DataFile, Snapshot};
use crate::write::Commit;
use crate::{Location, RowStream};

/// From this many rows on, what was rewritten of a file stays a file of its own, so that files that
/// were apart by key stay apart.
const ROWS_APART: u64 = 8_192;
/// Columns before the assigned values: file, place and number of the clause.
const PLACES: usize = 3;

/// A statement that changes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `CREATE TABLE`
    Create,
    /// `INSERT INTO`
    Insert,
    /// `UPDATE`
    Update,
    /// `DELETE FROM`
    Delete,
    /// `MERGE INTO`
    Merge,
    /// `TRUNCATE`
    Truncate,
}

impl Verb {
    /// The statement's name in the table's history and in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Merge => "merge",
            Self::Truncate => "truncate",
        }
    }

    /// Delta's own word.
    fn delta(self) -> &'static str {
        match self {
            Self::Create | Self::Insert => "WRITE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Merge => "MERGE",
            Self::Truncate => "TRUNCATE",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An assignment: a column of the table, and the place of its value among those of the query.
pub(crate) type Assigned = (String, usize);

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    /// It goes.
    Delete,
    /// It stays, with other values.
    Update(Vec<Assigned>),
    /// It is new; columns without a value are NULL.
    Insert(Vec<Assigned>),
}

/// What an edit does to a table at one version.
#[derive(Debug)]
pub(crate) enum Steps {
    /// All rows go.
    Empty,
    /// These rows come; each value is a column.
    Insert {
        /// The values of the table's columns.
        values: Vec<Assigned>,
        /// The rows.
        rows: RowStream,
    },
    /// Rows change by clauses.
    Change {
        /// By number.
        clauses: Vec<Clause>,
        /// Columns by which a message names a row.
        named: Vec<String>,
        /// Whether a row that is found twice is a mistake.
        once: bool,
        /// File, place, number of the clause, then the values; sorted by file and place, with rows that
        /// are new, which have neither, at the end.
        rows: RowStream,
    },
}

/// An edit that can be decided on every head.
#[async_trait]
pub(crate) trait Editing: fmt::Debug + Send + Sync {
    /// The statement.
    fn verb(&self) -> Verb;

    /// Whether rows of the table may change or go; else some are only added.
    fn changes_rows(&self) -> bool;

    /// What it does to the table as it is now; called again if another process was faster.
    async fn steps(&self, head: &Arc<Snapshot>) -> Result<Steps>;
}

/// Decides an edit on top of `head`.
pub(crate) async fn decide(
    around: &Surroundings,
    edit: &dyn Editing,
    head: &Arc<Snapshot>,
    writer: &mut DataWriter,
) -> Result<Change> {
    if edit.changes_rows() {
        head.require_not_append_only()?;
    }
    let mut done = Done::default();
    match edit.steps(head).await? {
        Steps::Empty => {
            done.deleted = head.rows().unwrap_or_default();
            done.files.clone_from(&head.files);
        }
        Steps::Insert { values, mut rows } => {
            let clauses = vec![Clause::Insert(values)];
            let table = Table::new(head, clauses, &rows.schema(), 0)?;
            while let Some(batch) = rows.try_next().await? {
                let clauses = Int64Array::from(vec![0; batch.num_rows()]);
                done.inserted += batch.num_rows() as u64;
                writer.write(table.inserted(&batch, &clauses)?).await?;
            }
        }
        Steps::Change { clauses, named, once, rows } => {
            let table = Table::new(head, clauses, &rows.schema(), PLACES)?;
            let twice = once.then_some(named);
            let mut work = Work { around, table, twice, cursor: Cursor::new(rows), done };
            work.run(writer).await?;
            done = work.done;
        }
    }
    Ok(Change {
        adds: writer.finish().await?,
        removes: done.files,
        schema: None,
        commit: Commit {
            rows_written: done.inserted + done.updated,
            rows_updated: done.updated,
            rows_deleted: done.deleted,
            ..Commit::default()
        },
        delta_operation: edit.verb().delta(),
        data_change: true,
        always: false,
        waiting: Waits::Same,
    })
}

/// What was done so far.
#[derive(Debug, Default)]
struct Done {
    files: Vec<Arc<DataFile>>,
    inserted: u64,
    updated: u64,
    deleted: u64,
}

/// An edit under way.
struct Work<'a> {
    around: &'a Surroundings,
    table: Table,
    /// Columns that name a row which must not be found twice; none if it may.
    twice: Option<Vec<String>>,
    cursor: Cursor,
    done: Done,
}

impl Work<'_> {
    async fn run(&mut self, writer: &mut DataWriter) -> Result<()> {
        let mut apart = 0;
        while let Some(file) = self.cursor.file().await? {
            self.rewrite(file, writer).await?;
            if writer.rows - apart >= ROWS_APART {
                writer.end_file().await?;
                apart = writer.rows;
            }
        }
        while let Some(batch) = self.cursor.rest().await? {
            let clauses = integers(&batch, 2)?.clone();
            self.done.inserted += batch.num_rows() as u64;
            writer.write(self.table.inserted(&batch, &clauses)?).await?;
        }
        Ok(())
    }

    /// Copies one file with its changes.
    async fn rewrite(&mut self, number: i64, writer: &mut DataWriter) -> Result<()> {
        let found = usize::try_from(number).ok().and_then(|at| self.table.head.files.get(at));
        let file = Arc::clone(found.ok_or_else(|| Error::internal("a row is in no file"))?);
        let schema = SchemaRef::clone(&self.table.head.schema);
        let mut batches = data_file::read(&self.around.store, &file, &schema).await?;
        let mut from = 0;
        while let Some(batch) = batches.try_next().await? {
            let to = from + batch.num_rows() as i64;
            let changes = self.cursor.take(number, to).await?;
            let batch = match changes {
                Some(changes) => self.edited(&batch, from, &changes)?,
                None => batch,
            };
            writer.write(batch).await?;
            from = to;
        }
        if self.cursor.file().await? == Some(number) {
            return Err(changed(&file));
        }
        self.done.files.push(file);
        Ok(())
    }

    /// A batch of the table, whose first row is at `from` in its file, with its changes.
    fn edited(
        &mut self,
        batch: &RecordBatch,
        from: i64,
        changes: &RecordBatch,
    ) -> Result<RecordBatch> {
        let (rows, clauses) = (integers(changes, 1)?, integers(changes, 2)?);
        let mut stay = vec![true; batch.num_rows()];
        let mut hits: Vec<Hit> = Vec::with_capacity(changes.num_rows());
        for (change, (row, clause)) in rows.values().iter().zip(clauses.values()).enumerate() {
            let row = usize::try_from(row - from).ok().filter(|row| *row < batch.num_rows());
            let row = row.ok_or_else(|| Error::internal("the rows of an edit are not sorted"))?;
            if hits.last().is_some_and(|last| last.row == row) {
                match &self.twice {
                    Some(named) => return Err(self.table.found_twice(batch, row, named)),
                    None => continue,
                }
            }
            let clause = self.table.number(*clause)?;
            hits.push(Hit { row, change, clause });
            match self.table.clauses.get(clause) {
                Some(Resolved::Delete) => {
                    stay[row] = false;
                    self.done.deleted += 1;
                }
                Some(Resolved::Update(_)) => self.done.updated += 1,
                _ => return Err(Error::internal("a row that is there is inserted")),
            }
        }
        let batch = self.table.updated(batch, changes, &hits)?;
        if stay.iter().all(|stay| *stay) {
            return Ok(batch);
        }
        filter_record_batch(&batch, &BooleanArray::from(stay)).map_err(from_arrow)
    }
}

/// A row of a batch that is changed.
struct Hit {
    /// Its place in the batch.
    row: usize,
    /// The place of its change.
    change: usize,
    clause: usize,
}

/// A clause over places of columns.
#[derive(Debug)]
enum Resolved {
    Delete,
    Update(Vec<(usize, usize)>),
    Insert(Vec<(usize, usize)>),
}

/// The table as it is, with the clauses of an edit.
#[derive(Debug)]
struct Table {
    head: Arc<Snapshot>,
    clauses: Vec<Resolved>,
    /// Columns of the query before the values.
    before: usize,
}

impl Table {
    /// Finds the columns the clauses assign to, and checks that they take what is assigned.
    fn new(
        head: &Arc<Snapshot>,
        clauses: Vec<Clause>,
        given: &Schema,
        before: usize,
    ) -> Result<Self> {
        let table = Self { head: Arc::clone(head), clauses: Vec::new(), before };
        let places = |assigned: Vec<Assigned>| {
            assigned
                .into_iter()
                .map(|(name, value)| Ok((table.assignable(&name, given, before + value)?, value)))
                .collect::<Result<Vec<_>>>()
        };
        let clauses = clauses
            .into_iter()
            .map(|clause| {
                Ok(match clause {
                    Clause::Delete => Resolved::Delete,
                    Clause::Update(assigned) => Resolved::Update(places(assigned)?),
                    Clause::Insert(assigned) => Resolved::Insert(places(assigned)?),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { clauses, ..table })
    }

    fn location(&self) -> &Location {
        &self.head.location
    }

    /// The place of a column that takes the values at `place` of the query.
    fn assignable(&self, name: &str, given: &Schema, place: usize) -> Result<usize> {
        let schema = &self.head.schema;
        let column = schema.index_of(name).map_err(|_| unknown_column(&self.head, name))?;
        let value = given
            .fields()
            .get(place)
            .ok_or_else(|| Error::internal("an assignment has no value"))?;
        assign::check(self.location(), schema.field(column), value.data_type())?;
        Ok(column)
    }

    fn number(&self, clause: i64) -> Result<usize> {
        usize::try_from(clause)
            .ok()
            .filter(|clause| *clause < self.clauses.len())
            .ok_or_else(|| Error::internal("a row has no clause"))
    }

    /// The batch with the values that updates assign to its rows.
    fn updated(
        &self,
        batch: &RecordBatch,
        changes: &RecordBatch,
        hits: &[Hit],
    ) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        for (column, field) in self.head.schema.fields().iter().enumerate() {
            let assigns = |clause: &Resolved| match clause {
                Resolved::Update(assigned) => assigned.iter().any(|(to, _)| *to == column),
                _ => false,
            };
            if !self.clauses.iter().any(assigns) {
                continue;
            }
            let mut places: Vec<(usize, usize)> = (0..batch.num_rows()).map(|at| (0, at)).collect();
            let mut values = Values::new(field, Arc::clone(batch.column(column)), changes);
            for hit in hits {
                let Some(Resolved::Update(assigned)) = self.clauses.get(hit.clause) else {
                    continue;
                };
                let Some((_, value)) = assigned.iter().find(|(to, _)| *to == column) else {
                    continue;
                };
                let source = values.source(self.before + value)?;
                places[hit.row] = (source, hit.change);
            }
            if let Some(mixed) = values.mixed(&places)? {
                assign::check_nulls(self.location(), field, &mixed)?;
                columns[column] = mixed;
            }
        }
        RecordBatch::try_new(batch.schema(), columns).map_err(from_arrow)
    }

    /// New rows; columns to which their clause assigns nothing are NULL.
    fn inserted(&self, changes: &RecordBatch, clauses: &Int64Array) -> Result<RecordBatch> {
        let schema = &self.head.schema;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for (column, field) in schema.fields().iter().enumerate() {
            let mut places = vec![(0, 0); changes.num_rows()];
            let mut values = Values::new(field, new_null_array(field.data_type(), 1), changes);
            for (row, clause) in clauses.values().iter().enumerate() {
                let clause = self.number(*clause)?;
                let Some(Resolved::Insert(assigned)) = self.clauses.get(clause) else {
                    return Err(Error::internal("a row that is not there is changed"));
                };
                if let Some((_, value)) = assigned.iter().find(|(to, _)| *to == column) {
                    places[row] = (values.source(self.before + value)?, row);
                }
            }
            let mixed = match values.mixed(&places)? {
                Some(mixed) => mixed,
                None => new_null_array(field.data_type(), changes.num_rows()),
            };
            assign::check_nulls(self.location(), field, &mixed)?;
            columns.push(mixed);
        }
        RecordBatch::try_new(SchemaRef::clone(schema), columns).map_err(from_arrow)
    }

    /// The standard's cardinality rule: which of two rows should win is nowhere said.
    fn found_twice(&self, batch: &RecordBatch, row: usize, named: &[String]) -> Error {
        let value = |name: &String| {
            let column = batch.column_by_name(name)?;
            let value = ScalarValue::try_from_array(column, row).ok()?;
            Some(format!("{name} = {value}"))
        };
        let row: Vec<String> = named.iter().filter_map(value).collect();
        let which = match row.is_empty() {
            true => String::new(),
            false => format!(" with {}", row.join(", ")),
        };
        Error::invalid(format!(
            "the row{which} of table \"{}\" is matched by more than one source row",
            self.location().table()
        ))
        .hint("Make the source unique by what it is joined on, for instance with group by.")
    }
}

/// The sources of a column's values: what is there, and what is assigned, converted once.
struct Values<'a> {
    field: &'a Field,
    changes: &'a RecordBatch,
    sources: Vec<(usize, ArrayRef)>,
}

impl<'a> Values<'a> {
    fn new(field: &'a Field, there: ArrayRef, changes: &'a RecordBatch) -> Self {
        Self { field, changes, sources: vec![(usize::MAX, there)] }
    }

    /// The number of the source that is column `place` of the changes.
    fn source(&mut self, place: usize) -> Result<usize> {
        if let Some(found) = self.sources.iter().position(|(known, _)| *known == place) {
            return Ok(found);
        }
        let given = self
            .changes
            .columns()
            .get(place)
            .ok_or_else(|| Error::internal("an assignment has no value"))?;
        self.sources.push((place, assign::convert(self.field, given)?));
        Ok(self.sources.len() - 1)
    }

    /// The values at these places; none if nothing is assigned.
    fn mixed(&self, places: &[(usize, usize)]) -> Result<Option<ArrayRef>> {
        if self.sources.len() == 1 {
            return Ok(None);
        }
        let sources: Vec<&dyn Array> =
            self.sources.iter().map(|(_, array)| array.as_ref()).collect();
        interleave(&sources, places).map(Some).map_err(from_arrow)
    }
}

/// A column that is not in the table.
pub(crate) fn unknown_column(head: &Snapshot, name: &str) -> Error {
    let known: Vec<&str> = head.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let table = head.location.table();
    let made = Error::invalid(format!("table \"{table}\" has no column \"{name}\""));
    match known.iter().find(|known| known.to_lowercase() == name.to_lowercase()) {
        Some(known) => made.hint(format!(
            "Write \"{known}\" in double quotes: SQL folds unquoted names to lower case."
        )),
        None => made.hint(suggest::hint(name, known)),
    }
}

/// Reads the changes in their order.
struct Cursor {
    rows: RowStream,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    at: usize,
}

impl Cursor {
    fn new(rows: RowStream) -> Self {
        Self { rows, batch: None, at: 0 }
    }

    /// The batch that has the next row.
    async fn fill(&mut self) -> Result<Option<RecordBatch>> {
        while self.batch.as_ref().is_none_or(|batch| self.at >= batch.num_rows()) {
            self.batch = self.rows.next().await.transpose()?;
            self.at = 0;
            if self.batch.is_none() {
                return Ok(None);
            }
        }
        Ok(self.batch.clone())
    }

    /// The file of the next row; none if it is new or there is none.
    async fn file(&mut self) -> Result<Option<i64>> {
        let Some(batch) = self.fill().await? else { return Ok(None) };
        let files = integers(&batch, 0)?;
        Ok(files.is_valid(self.at).then(|| files.value(self.at)))
    }

    /// The changes of `file` before its row `end`.
    async fn take(&mut self, file: i64, end: i64) -> Result<Option<RecordBatch>> {
        let mut taken = Vec::new();
        while let Some(batch) = self.fill().await? {
            let (files, rows) = (integers(&batch, 0)?, integers(&batch, 1)?);
            let from = self.at;
            let within = |at: &usize| {
                files.is_valid(*at) && files.value(*at) == file && rows.value(*at) < end
            };
            self.at =
                (from..batch.num_rows()).find(|at| !within(at)).unwrap_or_else(|| batch.num_rows());
            if self.at > from {
                taken.push(batch.slice(from, self.at - from));
            }
            if self.at < batch.num_rows() {
                break;
            }
        }
        match taken.first() {
            None => Ok(None),
            Some(first) => concat_batches(&first.schema(), &taken).map(Some).map_err(from_arrow),
        }
    }

    /// The rest of a batch, whose rows are all new.
    async fn rest(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.fill().await? else { return Ok(None) };
        let rest = batch.slice(self.at, batch.num_rows() - self.at);
        self.at = batch.num_rows();
        if integers(&rest, 0)?.null_count() < rest.num_rows() {
            return Err(Error::internal("the rows of an edit are not sorted"));
        }
        Ok(Some(rest))
    }
}

fn integers(batch: &RecordBatch, column: usize) -> Result<&Int64Array> {
    let found = batch.columns().get(column).filter(|c| *c.data_type() == DataType::Int64);
    let found = found.ok_or_else(|| Error::internal("the rows of an edit have no place"))?;
    Ok(found.as_primitive::<Int64Type>())
}
