//! The changes of one table: gathered as they come, handed over as pages.

mod columns;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flywheel_base::{Error, Result, Timestamp};
use mysql_async::Value as SqlValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cascade::Cascade;
use crate::column::{ColumnType, Misfit, Parsing, Scalar};
use crate::page::{Column, DELETED_COLUMN, Notice, Page, PageBuilder, Position, TableSchema, raw};
use crate::source::mysql::binlog::{Change, ChangeLog, Gtids, LogPosition, LogRow, LogValue};
use crate::source::mysql::relation::Relation;
use crate::source::mysql::value::{Wire, bare, push, shown};
use crate::source::mysql::{MySqlStream, ZeroDates};
use crate::source::{ChangesPage, ReadRequest};
use crate::stop::{Fate, Stop};

/// Digits behind the second of a moment that are kept.
const MOMENT_DIGITS: u8 = 6;

/// Microseconds in a second.
const SECOND_US: i64 = 1_000_000;

/// What is kept between two reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    /// Where the first read of the whole table stands; none once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<Value>,
    /// The transactions that are stored, or were there when the whole read began.
    log: LogPosition,
    /// The columns of the pages and their types, which only ever become wider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<(String, ColumnType)>,
    /// The columns by which rows are told apart, in the order of their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Vec<String>>,
    /// Columns of the pages that are gone or have another name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
    /// The old and the new names of columns of which no row has come yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    renamed: Vec<(String, String)>,
    /// Columns whose values have another type than the pages, and which it was when that was told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    retyped: BTreeMap<String, ColumnType>,
    /// What was in the log when the whole read began, until that is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_from: Option<LogPosition>,
    /// The foreign keys that were told of because the log does not have what they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cascades: Vec<String>,
    /// Why the table is followed no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopped: Option<Stop>,
}

impl Stored {
    /// Nothing has been read, and the log goes on behind `log`.
    pub(super) fn new(log: LogPosition) -> Self {
        Self {
            snapshot: Some(Value::Null),
            log,
            columns: Vec::new(),
            key: None,
            gone: Vec::new(),
            renamed: Vec::new(),
            retyped: BTreeMap::new(),
            read_from: None,
            cascades: Vec::new(),
            stopped: None,
        }
    }

    /// Reads a position.
    pub(super) fn of(position: &Position) -> Result<Self> {
        serde_json::from_value(position.0.clone()).map_err(|error| {
            Error::invalid("the stored position is not one of a log of MySQL")
                .caused_by(error)
                .hint("Delete the stream's position to read it whole again.")
        })
    }

    /// The transactions that are stored.
    pub(super) fn place(&self) -> &LogPosition {
        &self.log
    }

    /// Why the table is followed no further, if it is not.
    pub(super) fn stopped(&self) -> Option<&Stop> {
        self.stopped.as_ref()
    }

    /// Stops where it stands, because of `error`; gives what is said of it and the position.
    pub(super) fn stop(mut self, error: Error) -> Result<(Error, Position)> {
        let stop = Stop::at(self.log.text(), &error);
        let error = stop.first(error);
        self.stopped = Some(stop);
        Ok((error, self.position()?))
    }

    fn position(&self) -> Result<Position> {
        serde_json::to_value(self)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))
    }
}

/// One stream of a log.
pub(super) struct Table {
    stream: usize,
    place: (String, String),
    /// Its settings.
    pub(super) settings: MySqlStream,
    /// What becomes of dates that are none.
    pub(super) zero: ZeroDates,
    /// What is read, and how.
    pub(super) request: ReadRequest,
    /// The table as it is now.
    pub(super) relation: Relation,
    /// Where the whole read stands; none once it is over.
    pub(super) snapshot: Option<Value>,
    /// The transactions that are not for it.
    pub(super) seen: Gtids,
    /// The position of the last page.
    pub(super) told: Gtids,
    columns: Vec<Column>,
    schema: TableSchema,
    page: PageBuilder,
    /// The names of the columns of the last row, to see that they change.
    names: Option<Arc<[String]>>,
    /// Whether they may be others from here on.
    stale: bool,
    /// Columns that got another name since the last row.
    renamed: Vec<(String, String)>,
    /// Columns of the pages that are gone or have another name.
    gone: Vec<String>,
    /// Columns whose type is another one than that of the pages, and which it was when that was told.
    retyped: BTreeMap<String, ColumnType>,
    /// Columns that became wider since the last page.
    widened: Vec<String>,
    /// The columns by which rows are told apart, once they are known.
    key: Option<Vec<String>>,
    /// What was in the log when the whole read began; changes of columns in it are in the read.
    read_from: Option<Gtids>,
    /// The foreign keys whose changes the log does not have.
    cascades: Vec<String>,
    /// What the next page says of them.
    warning: Option<String>,
    bytes: usize,
    line: u64,
    /// When the newest of the rows was committed.
    at_s: Option<u32>,
    in_transaction: bool,
    handed: bool,
    /// Why it is followed no further, if only a whole read mends it.
    stop: Option<Stop>,
    /// What became of it, once its last page was handed over.
    fate: Option<Fate>,
}

impl Table {
    /// Starts with no rows.
    pub(super) fn new(
        stream: usize,
        place: (String, String),
        settings: MySqlStream,
        zero: ZeroDates,
        request: &ReadRequest,
        relation: Relation,
        stored: Stored,
    ) -> Result<Self> {
        let seen = Gtids::of(&stored.log)?;
        let column = |(name, kind): &(String, ColumnType)| match request
            .columns
            .iter()
            .find(|column| column.name == *name)
        {
            Some(declared) => Column::declared(declared),
            None => Column::inferred(name, *kind),
        };
        let columns: Vec<Column> = stored.columns.iter().map(column).collect();
        let schema = with_deleted(&columns);
        Ok(Self {
            stream,
            place,
            settings,
            zero,
            request: request.clone(),
            relation,
            snapshot: stored.snapshot,
            told: seen.clone(),
            seen,
            page: PageBuilder::new("mysql", &schema, request.page_rows).limited(request.page_bytes),
            columns,
            schema,
            names: None,
            stale: false,
            renamed: stored.renamed,
            gone: stored.gone,
            retyped: stored.retyped,
            widened: Vec::new(),
            key: stored.key,
            read_from: stored.read_from.as_ref().map(Gtids::of).transpose()?,
            cascades: stored.cascades,
            warning: None,
            bytes: 0,
            line: 0,
            at_s: None,
            in_transaction: false,
            handed: false,
            stop: None,
            fate: None,
        })
    }

    /// Database and table.
    pub(super) fn place(&self) -> (String, String) {
        self.place.clone()
    }

    /// Begins a whole read; the changes of columns that are in `log` are in it.
    pub(super) fn reads_from(&mut self, log: Gtids) {
        self.read_from = Some(log);
    }

    /// Whether the change of columns that `log` is at is in the whole read.
    pub(super) fn has_read(&self, log: &ChangeLog) -> bool {
        self.read_from.as_ref().is_some_and(|from| log.is_in(from))
    }

    /// Says why the log of the table ends.
    pub(super) fn stopped(&mut self, why: &str) {
        let file = self.relation.name.clone();
        self.page.notice("table-stopped", &file, format!("the table {why}"));
    }

    /// Whether the table is still followed.
    pub(super) fn goes_on(&self) -> bool {
        self.fate.is_none()
    }

    /// The page after which the table is followed no further, because of `error`; all of it in `reached` is in this page or in
    /// earlier ones.
    ///
    /// # Errors
    /// `error`, if it is not one of this table alone.
    pub(super) fn last_page(&mut self, error: Error, reached: &Gtids) -> Result<ChangesPage> {
        let Some(fate) = Fate::of(&error, self.snapshot.is_none()) else { return Err(error) };
        self.fate = Some(fate);
        let before = self.told.clone();
        let (mut reached, mut notices) = (reached, Vec::new());
        if fate == Fate::Waits || self.in_transaction {
            // Rows of the transaction under way are not told from those before it.
            notices = self.page.finish(&self.schema, Position(Value::Null))?.notices;
            (self.bytes, self.at_s) = (0, None);
            (self.in_transaction, self.handed) = (false, false);
            reached = &before;
        }
        if fate == Fate::Waits {
            return Ok(ChangesPage::last(self.stream, Position(Value::Null), error));
        }
        let stop = Stop::at(self.told.either(reached).position().text(), &error);
        let error = stop.first(error);
        self.stop = Some(stop);
        let mut page = self.page(reached)?;
        page.page.notices.extend(notices);
        page.stopped = Some(error);
        Ok(page)
    }

    /// Takes note of foreign keys whose changes the log does not have; each is told of once.
    pub(super) fn warn(&mut self, found: &[Cascade]) {
        let fresh = found.iter().filter(|one| !self.cascades.contains(&one.name));
        let fresh: Vec<String> =
            fresh.map(|one| format!("\"{}\" to \"{}\"", one.name, one.parent)).collect();
        if !fresh.is_empty() {
            self.warning = Some(format!(
                "the server's log does not have the rows that CASCADE and SET NULL change or \
                 remove here, by the foreign key {}; find and mend them with `flywheel reconcile \
                 --repair`",
                fresh.join(", ")
            ));
        }
        self.cascades = found.iter().map(|one| one.name.clone()).collect();
    }

    fn warned(&mut self) -> Option<Notice> {
        let message = self.warning.take()?;
        let code = "rows-not-logged".to_owned();
        Some(Notice { code, file: self.relation.name.clone(), message })
    }

    /// The rows that a change makes: a changed key is a row that is gone and a new one.
    pub(super) fn rows_of(&self, change: Change) -> Vec<(bool, LogRow)> {
        match change {
            Change::Insert(row) => vec![(false, row)],
            Change::Delete(row) => vec![(true, row)],
            Change::Update { before, after } => {
                let key = &self.relation.primary_key;
                if key.iter().any(|name| before.value(name) != after.value(name)) {
                    return vec![(true, before), (false, after)];
                }
                vec![(false, after)]
            }
        }
    }

    /// Adds a row of the transaction under way.
    pub(super) fn gather(&mut self, row: &LogRow, deleted: bool) -> Result<()> {
        self.in_transaction = true;
        self.line += 1;
        let bytes = row.values.iter().map(size).sum();
        self.bytes += bytes;
        let name = self.relation.name.clone();
        match self.add(row, deleted) {
            Ok(()) => self.page.commit(&name, self.line, bytes),
            Err((column, misfit)) => {
                self.page.rollback();
                let column = self.columns.get(column).map(|column| column.name.clone());
                let retyped = column.as_ref().is_some_and(|name| self.retyped.contains_key(name));
                let misfit = if retyped { of_another_type(&misfit) } else { misfit };
                let text = raw(&row_text(row));
                self.page.reject(&name, Some(self.line), column.as_deref(), misfit, text);
                Ok(())
            }
        }
    }

    fn add(&mut self, row: &LogRow, deleted: bool) -> Result<(), (usize, Misfit)> {
        let places = self.columns.iter().zip(&mut self.page.columns).enumerate();
        for (place, (column, builder)) in places {
            let told = !deleted || self.relation.primary_key.contains(&column.name);
            let value = row.value(&column.name).filter(|_| told).unwrap_or(&LogValue::Null);
            if column.not_null && *value == LogValue::Null && !deleted {
                let reason = "no value in a column that is required";
                return Err((place, Misfit::new("null-value", reason)));
            }
            let known = self.relation.columns.iter().find(|known| known.column.name == column.name);
            let wire = known.map_or_else(|| wire_for(value, column.kind), |known| known.wire);
            let zero = if column.not_null { ZeroDates::Reject } else { self.zero };
            let value = sql_value(value, wire, column.kind);
            push(&value, wire, zero, builder).map_err(|misfit| (place, misfit))?;
        }
        let last = self.page.columns.last_mut();
        let pushed = last.map(|column| column.push(Scalar::Bool(deleted), &Parsing::default()));
        pushed.unwrap_or(Ok(())).map_err(|misfit| (self.columns.len(), misfit))
    }

    /// Whether a page is full.
    pub(super) fn full(&self) -> bool {
        self.page.is_full()
    }

    /// Whether a page ends with its transaction.
    pub(super) fn ends_pages(&self) -> bool {
        self.request.by_transaction && !self.page.is_empty()
    }

    /// Bytes gathered.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is something to hand over.
    pub(super) fn waits(&self) -> bool {
        !self.page.is_empty()
    }

    /// Whether what is gathered can be handed over without the rest of a transaction.
    pub(super) fn settled(&self) -> bool {
        !self.in_transaction
    }

    /// Ends the transaction; says whether a page is due because rows of it were handed over.
    pub(super) fn commit(&mut self, at_s: u32) -> bool {
        if std::mem::take(&mut self.in_transaction) {
            self.at_s = Some(at_s);
        }
        std::mem::take(&mut self.handed)
    }

    /// Hands over what is gathered; all in `reached` is in this page or in earlier ones.
    pub(super) fn page(&mut self, reached: &Gtids) -> Result<ChangesPage> {
        let position = if self.in_transaction {
            self.handed = true;
            Position(Value::Null)
        } else {
            self.told = self.told.either(reached);
            self.position()?
        };
        self.bytes = 0;
        let committed_at =
            self.at_s.take().map(|at| Timestamp::from_micros(i64::from(at) * SECOND_US));
        let mut page = self.page.finish(&self.schema, position)?;
        page.notices.extend(self.warned());
        let widened = std::mem::take(&mut self.widened);
        Ok(ChangesPage { stream: self.stream, page, committed_at, widened, stopped: None })
    }

    /// A page of a whole read as one of changes.
    pub(super) fn whole_page(&mut self, mut page: Page, columns: &[Column]) -> Result<ChangesPage> {
        let complete = page.position.0.get("complete").and_then(Value::as_bool) == Some(true);
        self.snapshot = Some(page.position.0).filter(|_| !complete);
        self.columns = columns.to_vec();
        self.retyped.clear();
        self.schema = with_deleted(columns);
        self.page = PageBuilder::new("mysql", &self.schema, self.request.page_rows)
            .limited(self.request.page_bytes);
        if self.key.is_none() {
            let mut key = self.relation.primary_key.clone();
            key.sort_unstable();
            self.key = Some(key);
        }
        page.position = if complete {
            self.position()?
        } else {
            let (snapshot, key) = (self.snapshot.clone(), self.key.clone());
            let read_from = self.read_from.as_ref().map(Gtids::position);
            let cascades = self.cascades.clone();
            Stored { snapshot, key, read_from, cascades, ..Stored::new(self.seen.position()) }
                .position()?
        };
        page.notices.extend(self.warned());
        let rows = page.batch.num_rows();
        let mut arrays = page.batch.columns().to_vec();
        arrays.push(Arc::new(BooleanArray::from(vec![false; rows])));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(self.schema.arrow());
        page.batch =
            RecordBatch::try_new_with_options(schema, arrays, &options).map_err(|error| {
                Error::internal("a page's columns do not form a batch").caused_by(error)
            })?;
        Ok(ChangesPage {
            stream: self.stream,
            page,
            committed_at: None,
            widened: Vec::new(),
            stopped: None,
        })
    }

    fn position(&self) -> Result<Position> {
        let columns = self.columns.iter().map(|column| (column.name.clone(), column.kind));
        let read_from = self.read_from.as_ref().filter(|from| !self.told.covers(from));
        Stored {
            snapshot: None,
            log: self.told.position(),
            columns: columns.collect(),
            key: self.key.clone(),
            gone: self.gone.clone(),
            renamed: self.renamed.clone(),
            retyped: self.retyped.clone(),
            read_from: read_from.map(Gtids::position),
            cascades: self.cascades.clone(),
            stopped: self.stop.clone(),
        }
        .position()
    }
}

/// The columns of the pages with the one that tells which rows are gone.
fn with_deleted(columns: &[Column]) -> TableSchema {
    let mut columns = columns.to_vec();
    columns.push(Column::inferred(DELETED_COLUMN, ColumnType::Bool));
    TableSchema::new(columns, false)
}

/// What the server would send for a value of a column that it has no more.
fn plain_wire(value: &LogValue) -> Wire {
    match value {
        LogValue::Null | LogValue::Text(_) => Wire::Text,
        LogValue::Int(_) | LogValue::UInt(_) => Wire::Int,
        LogValue::Float(_) => Wire::Float,
        LogValue::Bytes(_) => Wire::Binary,
    }
}

/// What the server would have sent for a value of a column of the pages that it has no more.
fn wire_for(value: &LogValue, kind: ColumnType) -> Wire {
    match (value, kind) {
        (LogValue::Text(_), ColumnType::Date) => Wire::Date,
        (LogValue::Text(_), ColumnType::Timestamp) => Wire::Moment { digits: MOMENT_DIGITS },
        (LogValue::Text(_), ColumnType::Json) => Wire::Json,
        (LogValue::Text(text), ColumnType::Decimal { .. }) => {
            let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            Wire::Decimal { scale: u8::try_from(scale).unwrap_or(u8::MAX) }
        }
        (LogValue::UInt(_), ColumnType::Binary) => Wire::Bit,
        _ => plain_wire(value),
    }
}

/// Says what to do about a value that does not fit since its column has another type.
fn of_another_type(misfit: &Misfit) -> Misfit {
    let hint = "the column has another type than when it was read whole; read it whole again to \
                take it over";
    Misfit::new(misfit.code, format!("{} ({hint})", misfit.reason))
}

/// A value of the log as the server would send it.
fn sql_value(value: &LogValue, wire: Wire, kind: ColumnType) -> SqlValue {
    match value {
        LogValue::Null => SqlValue::NULL,
        LogValue::UInt(number) if wire == Wire::Bit && kind == ColumnType::Binary => {
            SqlValue::Bytes(number.to_be_bytes().to_vec())
        }
        LogValue::Int(number) => SqlValue::Int(*number),
        LogValue::UInt(number) => SqlValue::UInt(*number),
        LogValue::Float(number) => SqlValue::Double(*number),
        LogValue::Bytes(bytes) => {
            SqlValue::Bytes(bare(bytes, wire).map_or_else(|| bytes.clone(), String::into_bytes))
        }
        LogValue::Text(text) => {
            let dated = matches!(wire, Wire::Date | Wire::Moment { .. });
            let date = if dated { date(text) } else { None };
            date.unwrap_or_else(|| SqlValue::Bytes(text.clone().into_bytes()))
        }
    }
}

/// `2024-05-01 10:00:00.5` in parts, whether or not it is in the calendar.
fn date(text: &str) -> Option<SqlValue> {
    let (day, clock) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let mut parts = day.splitn(3, '-');
    let (year, month, date) = (parts.next()?, parts.next()?, parts.next()?);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut times = clock.splitn(3, ':');
    let (hour, minute, second) = (times.next()?, times.next()?, times.next()?);
    Some(SqlValue::Date(
        year.parse().ok()?,
        month.parse().ok()?,
        date.parse().ok()?,
        hour.parse().ok()?,
        minute.parse().ok()?,
        second.parse().ok()?,
        format!("{fraction:0<6}").parse().ok()?,
    ))
}

/// About how many bytes a value has.
fn size(value: &LogValue) -> usize {
    match value {
        LogValue::Text(text) => text.len(),
        LogValue::Bytes(bytes) => bytes.len(),
        _ => 8,
    }
}

/// A row that is set aside, as JSON.
fn row_text(row: &LogRow) -> String {
    let mut object = serde_json::Map::new();
    for (name, value) in row.columns.iter().zip(&row.values) {
        let wire = plain_wire(value);
        object.insert(name.clone(), shown(&sql_value(value, wire, ColumnType::Text), wire));
    }
    Value::Object(object).to_string()
}
