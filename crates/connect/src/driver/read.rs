//! Reading: one query whose rows stream, in an order that the next read can go on in.
//!
//! The position is the row's values of cursor and key, so that any number of rows may share a cursor
//! value. A relation without key is read as the database gives it; a read of it that broke off goes on
//! after as many rows.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono::{NaiveDateTime, TimeDelta};
use flywheel_base::{Error, Result, quantity, statement, suggest};
use serde_json::{Value, json};

use super::open::Rows;
use super::values::{argument, kept, texts};
use super::{Argument, Dialect, DriverStream, Link, Open};
use crate::column::ColumnType;
use crate::connections::Admitted;
use crate::files::{PageRead, fit, plain_type, whole_row_text, without};
use crate::keyset::Keyset;
use crate::missing::Missing;
use crate::page::{Column, Page, PageBuilder, TableSchema, raw, without_line};
use crate::source::{ReadMode, ReadRequest, StreamInfo, settings};

/// How moments are kept in positions.
const MOMENT: &str = "%Y-%m-%d %H:%M:%S%.f";

/// A table or query as it is read.
struct Relation {
    /// What it is called in messages.
    name: String,
    /// What stands behind FROM.
    from: String,
    /// Its columns as the driver gives them.
    given: SchemaRef,
    key: Vec<String>,
}

/// A read of one table or query.
pub(super) struct DriverRead {
    open: Arc<dyn Open>,
    stream: DriverStream,
    request: ReadRequest,
    reading: Option<Reading>,
    ended: bool,
    _admitted: Admitted,
}

struct Reading {
    relation: Relation,
    schema: TableSchema,
    rows: Rows,
    /// Rows that have arrived; the last of them are only handed over once it is known what follows.
    waiting: VecDeque<RecordBatch>,
    over: bool,
    page: PageBuilder,
    stored: Keyset<Value>,
    /// Rows of a relation without key that an earlier read had.
    skip: u64,
    /// Whether rows without a value in the cursor, the first of the order, may be read by more than one read.
    comes_again: bool,
}

/// The lake's type of a column.
fn column_of(name: &str, kind: &DataType) -> Column {
    let known = match kind {
        DataType::Boolean => ColumnType::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            ColumnType::Int32
        }
        DataType::Int64 | DataType::UInt32 => ColumnType::Int64,
        DataType::UInt64 => ColumnType::Decimal { precision: 20, scale: 0 },
        DataType::Float16 | DataType::Float32 | DataType::Float64 => ColumnType::Float64,
        DataType::Decimal128(precision, scale) if *scale >= 0 => ColumnType::Decimal {
            precision: *precision,
            scale: u8::try_from(*scale).unwrap_or_default(),
        },
        DataType::Date32 | DataType::Date64 => ColumnType::Date,
        DataType::Timestamp(..) => ColumnType::Timestamp,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => ColumnType::Binary,
        kind if kind.is_nested() => return Column::arrow(name, plain_type(kind)),
        _ => ColumnType::Text,
    };
    Column::inferred(name, known)
}

fn parts(table: &str) -> (Option<&str>, &str) {
    match table.rsplit_once('.') {
        Some((schema, table)) => (Some(schema), table),
        None => (None, table),
    }
}

impl Relation {
    fn of(
        open: &dyn Open,
        link: &mut dyn Link,
        dialect: Dialect,
        stream: &DriverStream,
    ) -> Result<Self> {
        let (name, from) = match (&stream.table, &stream.query) {
            (Some(table), None) if !table.trim().is_empty() => {
                (table.clone(), dialect.table(table))
            }
            (None, Some(query)) => {
                let query = match dialect {
                    Dialect::Mysql => statement::bare_mysql(query),
                    _ => statement::bare(query),
                };
                let named = if dialect == Dialect::Oracle { "q" } else { "AS q" };
                ("the query".to_owned(), format!("(\n{query}\n) {named}"))
            }
            _ => {
                return Err(Error::invalid("a stream reads a table or a query, one of both")
                    .hint("Set `table: NAME` or `query: SELECT …`."));
            }
        };
        let looked = link.columns(&format!("SELECT * FROM {from} WHERE 1 = 0"));
        let given = looked.map_err(|refusal| {
            Error::from(refusal).context(format!("{name} of {}", open.name()))
        })?;
        let mut key = Vec::new();
        for column in &stream.primary_key {
            key.push(known(&given, &name, column)?);
        }
        if let (true, Some(table)) = (key.is_empty(), &stream.table) {
            key = primary_key(open, link, dialect, table)?;
            key.retain(|column| given.field_with_name(column).is_ok());
        }
        Ok(Self { name, from, given, key })
    }
}

/// A column of the relation.
fn known(given: &SchemaRef, relation: &str, column: &str) -> Result<String> {
    let names = given.fields().iter().map(|field| field.name().as_str());
    if names.clone().any(|name| name == column) {
        return Ok(column.to_owned());
    }
    Err(Error::invalid(format!("{relation} has no column \"{column}\""))
        .hint(suggest::hint(column, names)))
}

/// The primary key of a table, if the database tells it.
fn primary_key(
    open: &dyn Open,
    link: &mut dyn Link,
    dialect: Dialect,
    table: &str,
) -> Result<Vec<String>> {
    let (schema, name) = parts(table);
    let Some(sql) = dialect.key(open.numbered(dialect), schema.is_some()) else {
        return Ok(Vec::new());
    };
    let mut arguments = vec![Argument::Text(name.to_owned())];
    if let (Some(schema), false) = (schema, matches!(dialect, Dialect::Sqlite | Dialect::Oracle)) {
        arguments.push(Argument::Text(schema.to_owned()));
    }
    match link.rows(&sql, &arguments) {
        Ok(batches) => {
            let mut key = Vec::new();
            for batch in &batches {
                key.extend(texts(batch, 0)?.into_iter().flatten());
            }
            Ok(key)
        }
        // Not every database tells it this way; then the stream has to.
        Err(refusal) if refusal.answered() => {
            tracing::debug!(database = open.name(), error = %refusal.error, "no primary key told");
            Ok(Vec::new())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// The tables and views of a database.
pub(super) fn discover(open: &dyn Open) -> Result<Vec<StreamInfo>> {
    let (mut link, dialect) = open.open()?;
    let listed = link.rows(dialect.tables(), &[]).map_err(|refusal| {
        Error::from(refusal).hint("This database does not list its tables in a way that is known here: name the `table` of a stream.")
    })?;
    let mut names = Vec::new();
    let here = current_schema(link.as_mut(), dialect)?;
    for batch in &listed {
        for (schema, table) in texts(batch, 0)?.into_iter().zip(texts(batch, 1)?) {
            let Some(table) = table else { continue };
            names.push(
                match schema.filter(|schema| !schema.is_empty() && Some(schema) != here.as_ref()) {
                    Some(schema) => format!("{schema}.{table}"),
                    None => table,
                },
            );
        }
    }
    let mut streams = Vec::new();
    for name in names {
        let stream = DriverStream { table: Some(name.clone()), ..DriverStream::default() };
        match Relation::of(open, link.as_mut(), dialect, &stream) {
            Ok(relation) => streams.push(describe(name, &stream, &relation)?),
            // A view may read a table that is gone; the others are there all the same.
            Err(error) => {
                tracing::warn!(source = open.kind(), table = %name, %error, "left out of discovery");
            }
        }
    }
    Ok(streams)
}

/// The schema that a table's name without one is looked up in.
fn current_schema(link: &mut dyn Link, dialect: Dialect) -> Result<Option<String>> {
    let sql = match dialect {
        Dialect::Postgres | Dialect::Duckdb => "SELECT current_schema()",
        Dialect::Mysql => "SELECT database()",
        Dialect::SqlServer => "SELECT schema_name()",
        _ => return Ok(None),
    };
    let found = link.rows(sql, &[])?;
    let first = found.iter().find(|batch| batch.num_rows() > 0);
    Ok(match first {
        Some(batch) => texts(batch, 0)?.into_iter().next().flatten(),
        None => None,
    })
}

fn describe(name: String, stream: &DriverStream, relation: &Relation) -> Result<StreamInfo> {
    let fields = relation.given.fields().iter();
    let columns: Vec<Column> = fields.map(|f| column_of(f.name(), f.data_type())).collect();
    let timed = |column: &&Column| matches!(column.kind, ColumnType::Timestamp | ColumnType::Date);
    let cursors = columns.iter().filter(timed).map(|column| column.name.clone()).collect();
    let schema = TableSchema::new(columns, false);
    let stream = serde_json::to_value(stream)
        .map_err(|error| Error::internal("a stream's settings are no JSON").caused_by(error))?;
    Ok(StreamInfo {
        name,
        stream,
        schema: Arc::clone(schema.arrow()),
        columns: schema.columns().iter().filter_map(Column::declarable).collect(),
        primary_key: relation.key.clone(),
        cursors,
        rows: None,
        bytes: None,
        unread: None,
    })
}

/// A statement under construction.
struct Query {
    dialect: Dialect,
    numbered: bool,
    arguments: Vec<Argument>,
}

impl Query {
    fn place(&mut self, value: &Value, kind: &DataType) -> String {
        match argument(value) {
            Some(argument) => {
                self.arguments.push(argument);
                self.dialect.place(self.numbered, self.arguments.len(), kind)
            }
            None => "NULL".to_owned(),
        }
    }

    /// The condition for rows behind `values` in the order of `columns`.
    fn behind(&mut self, columns: &[(String, DataType)], values: &[Value]) -> String {
        let (Some((name, kind)), Some(value)) = (columns.first(), values.first()) else {
            return "1 = 0".to_owned();
        };
        let (more_columns, more_values) =
            (columns.get(1..).unwrap_or_default(), values.get(1..).unwrap_or_default());
        let name = self.dialect.quoted(name);
        if value.is_null() {
            // Missing values come first.
            if more_columns.is_empty() {
                return format!("{name} IS NOT NULL");
            }
            let rest = self.behind(more_columns, more_values);
            return format!("({name} IS NULL AND {rest} OR {name} IS NOT NULL)");
        }
        let greater = self.place(value, kind);
        if more_columns.is_empty() {
            return format!("{name} > {greater}");
        }
        let same = self.place(value, kind);
        let rest = self.behind(more_columns, more_values);
        format!("({name} > {greater} OR {name} = {same} AND {rest})")
    }
}

impl DriverRead {
    /// Prepares a read; does no I/O.
    pub(super) fn new(
        open: Arc<dyn Open>,
        request: ReadRequest,
        admitted: Admitted,
    ) -> Result<Self> {
        let stream = settings("stream", request.stream.clone())?;
        Ok(Self { open, stream, request, reading: None, ended: false, _admitted: admitted })
    }

    fn start(&self) -> Result<Reading> {
        let (mut link, dialect) = self.open.open()?;
        let relation = Relation::of(self.open.as_ref(), link.as_mut(), dialect, &self.stream)?;
        let order = self.order(&relation)?;
        let stored = Keyset::<Value>::of(&self.request, self.open.kind())?;
        let mut stored = stored.ordered(order.clone(), &relation.name)?;
        let schema = self.columns(&relation)?;
        let order = order_types(&relation, dialect, order)?;
        let missing =
            self.without_cursor(link.as_mut(), dialect, (&relation, &order), &mut stored)?;
        let again = missing.as_ref().is_some_and(|missing| missing.again);
        let (sql, arguments) = self.query(&relation, dialect, &order, (&stored, again))?;
        let (rows, bytes) = (self.request.page_rows.max(1), self.request.page_bytes);
        let rows = link.stream(&sql, &arguments, rows, bytes)?;
        let mut page = PageBuilder::new(self.open.kind(), &schema, self.request.page_rows);
        let skip = if stored.order.is_empty() { stored.rows } else { 0 };
        if skip > 0 {
            page.notice(
                "resumed-without-key",
                &relation.name,
                "the read goes on after as many rows as it had read; without a key the database \
                 does not promise their order: set `primary_key`",
            );
        }
        if let Some(missing) = missing {
            page.notice(missing.code, &relation.name, missing.message);
        }
        let (waiting, over) = (VecDeque::new(), false);
        let incremental = matches!(self.request.mode, ReadMode::Incremental { .. });
        let comes_again = incremental && !self.request.write_appends;
        Ok(Reading { relation, schema, rows, waiting, over, page, stored, skip, comes_again })
    }

    /// The table's columns: as they are declared, or as the driver gives them.
    fn columns(&self, relation: &Relation) -> Result<TableSchema> {
        for declared in &self.request.columns {
            known(&relation.given, &relation.name, &declared.name)?;
        }
        let of = |name: &str, kind: &DataType| {
            let declared = self.request.columns.iter().find(|column| column.name == name);
            declared.map_or_else(|| column_of(name, kind), Column::declared)
        };
        let fields = relation.given.fields().iter();
        Ok(TableSchema::new(fields.map(|f| of(f.name(), f.data_type())).collect(), false))
    }

    /// The columns that order the read.
    fn order(&self, relation: &Relation) -> Result<Vec<String>> {
        let ReadMode::Incremental { cursor, .. } = &self.request.mode else {
            return Ok(relation.key.clone());
        };
        if relation.key.is_empty() {
            return Err(Error::invalid(format!(
                "{} has no key to read it by steps",
                relation.name
            ))
            .hint("Set the stream's `primary_key`, or read it with mode full."));
        }
        let Some(cursor) = cursor else {
            let names: Vec<&str> =
                relation.given.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::invalid(format!(
                "an incremental read of {} needs a cursor",
                relation.name
            ))
            .hint(format!(
                "Set `cursor` to a column that grows with every change, one of: {}.",
                names.join(", ")
            )));
        };
        let cursor = known(&relation.given, &relation.name, cursor)?;
        let key = relation.key.iter().filter(|key| **key != cursor).cloned();
        Ok(std::iter::once(cursor.clone()).chain(key).collect())
    }

    /// What becomes of the rows without a value in the cursor; a key that is the cursor has one in each row.
    fn without_cursor(
        &self,
        link: &mut dyn Link,
        dialect: Dialect,
        (relation, order): (&Relation, &[(String, DataType)]),
        stored: &mut Keyset<Value>,
    ) -> Result<Option<Missing>> {
        let (ReadMode::Incremental { .. }, [(cursor, _), _, ..]) = (&self.request.mode, order)
        else {
            return Ok(None);
        };
        let given = self.stream.condition.as_ref();
        let given = given.map_or_else(String::new, |given| format!("({given}\n) AND "));
        let (from, name) = (&relation.from, dialect.quoted(cursor));
        let counted =
            link.rows(&format!("SELECT COUNT(*) FROM {from} WHERE {given}{name} IS NULL"), &[])?;
        let mut count = 0;
        for batch in counted.iter().filter(|batch| batch.num_rows() > 0) {
            // Some databases give an exact number, some a float, some drivers a text.
            let number = cast(batch.column(0), &DataType::Float64).map_err(|error| {
                Error::invalid(format!("{} does not tell how many rows it has", relation.name))
                    .caused_by(error)
            })?;
            count += number.as_primitive::<Float64Type>().value(0) as u64;
        }
        Ok(stored.meet(count, cursor, self.request.write_appends))
    }

    /// The query of what is behind the position, and of the rows without a value in the cursor if they are to come `again`.
    fn query(
        &self,
        relation: &Relation,
        dialect: Dialect,
        order: &[(String, DataType)],
        (stored, again): (&Keyset<Value>, bool),
    ) -> Result<(String, Vec<Argument>)> {
        let numbered = self.open.numbered(dialect);
        let mut query = Query { dialect, numbered, arguments: Vec::new() };
        let mut conditions = Vec::new();
        if let Some(given) = &self.stream.condition {
            conditions.push(format!("({given}\n)"));
        }
        if let (Some(from), Some((name, kind))) = (self.look_back(stored, order)?, order.first()) {
            let (name, from) = (dialect.quoted(name), query.place(&from, kind));
            conditions.push(match again {
                true => format!("({name} >= {from} OR {name} IS NULL)"),
                false => format!("{name} >= {from}"),
            });
        } else if !stored.after.is_empty() && !order.is_empty() {
            if stored.after.len() != order.len() {
                return Err(Error::corrupt("the stored position has no value for its key"));
            }
            let behind = match (again, stored.after.first(), order.first()) {
                // All that have no value and, if that is where the read stands, all others.
                (true, Some(Value::Null), _) => None,
                (true, _, Some((name, _))) => {
                    let behind = query.behind(order, &stored.after);
                    Some(format!("({behind} OR {} IS NULL)", dialect.quoted(name)))
                }
                _ => Some(query.behind(order, &stored.after)),
            };
            conditions.extend(behind);
        }
        let mut sql = format!("SELECT * FROM {}", relation.from);
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if let Some((first, _)) = order.first() {
            let first = dialect.quoted(first);
            sql.push_str(" ORDER BY ");
            if matches!(self.request.mode, ReadMode::Incremental { .. }) {
                // Databases differ in where missing values come.
                sql.push_str(&format!("CASE WHEN {first} IS NULL THEN 0 ELSE 1 END, "));
            }
            let names: Vec<String> = order.iter().map(|(name, _)| dialect.quoted(name)).collect();
            sql.push_str(&names.join(", "));
        }
        Ok((sql, query.arguments))
    }

    /// Where a read begins that looks back before the last cursor value.
    fn look_back(
        &self,
        stored: &Keyset<Value>,
        order: &[(String, DataType)],
    ) -> Result<Option<Value>> {
        let ReadMode::Incremental { lag: Some(lag), .. } = &self.request.mode else {
            return Ok(None);
        };
        if self.request.write_appends {
            return Err(Error::invalid("a read that looks back cannot be appended")
                .hint("Rows would be there twice: write with `merge`, or leave out `lag`."));
        }
        let (Some(last), Some((_, kind)), true) =
            (stored.after.first(), order.first(), stored.complete)
        else {
            return Ok(None);
        };
        let wrong = || {
            Error::invalid(format!("the lag \"{lag}\" does not fit the cursor"))
                .hint("Write a duration such as 2h for dates and times, a number for numbers.")
        };
        let micros = || quantity::duration_us(lag).map_err(|_| wrong());
        Ok(Some(match (kind, last) {
            (_, Value::Null) => return Ok(None),
            (DataType::Timestamp(..) | DataType::Date32, Value::String(text)) => {
                let day = matches!(kind, DataType::Date32);
                let moment = if day { format!("{text} 00:00:00") } else { text.clone() };
                let moment = NaiveDateTime::parse_from_str(&moment, MOMENT).map_err(|_| wrong())?;
                let form = if day { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M:%S%.6f" };
                let back = moment - TimeDelta::microseconds(micros()?);
                json!(back.format(form).to_string())
            }
            (_, Value::Number(number)) => match (number.as_i64(), lag.trim().parse::<i64>()) {
                (Some(whole), Ok(steps)) => json!(whole.saturating_sub(steps)),
                // A number is written as a duration by whoever knows only durations.
                (Some(whole), Err(_)) => json!(whole.saturating_sub(micros()? / 1_000_000)),
                (None, _) => {
                    let steps: f64 = lag.trim().parse().map_err(|_| wrong())?;
                    json!(number.as_f64().unwrap_or_default() - steps)
                }
            },
            _ => return Err(wrong()),
        }))
    }
}

/// The columns of the order with their types.
fn order_types(
    relation: &Relation,
    dialect: Dialect,
    order: Vec<String>,
) -> Result<Vec<(String, DataType)>> {
    let of = |name: String| {
        let field = relation.given.field_with_name(&name);
        let kind = field.map_or(DataType::Null, |field| field.data_type().clone());
        let timed = matches!(kind, DataType::Date32 | DataType::Timestamp(..));
        if timed && dialect == Dialect::Sqlite {
            return Err(Error::invalid(format!(
                "SQLite keeps the values of \"{name}\" as texts, which a driver gives as dates"
            ))
            .hint(
                "Read the file with `type: sqlite`, or by a `query` that casts the column to text.",
            ));
        }
        Ok((name, kind))
    };
    order.into_iter().map(of).collect()
}

impl Reading {
    /// Takes batches until at least one waits behind the first, or there are no more.
    fn fetch(&mut self, page_rows: usize) -> Result<()> {
        while !self.over && self.waiting.len() < 2 {
            let Some(batch) = self.rows.next() else {
                self.over = true;
                break;
            };
            let mut batch = batch.map_err(|error| {
                Error::invalid(format!("rows of {} cannot be read", self.relation.name))
                    .caused_by(error)
                    .hint("If a value is longer than the driver's buffers, raise `text_bytes`; if it fits no type, read it by a `query` that casts it to text.")
            })?;
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(batch.num_rows());
            self.skip -= skipped as u64;
            batch = batch.slice(skipped, batch.num_rows() - skipped);
            let mut from = 0;
            while from < batch.num_rows() {
                let rows = page_rows.min(batch.num_rows() - from);
                let part = batch.slice(from, rows);
                // A slice would keep the whole batch in memory, and count as it.
                let part = match rows == batch.num_rows() {
                    true => part,
                    false => concat_batches(&batch.schema(), [&part]).map_err(|error| {
                        Error::internal("rows of a driver cannot be divided").caused_by(error)
                    })?,
                };
                self.waiting.push_back(part);
                from += rows;
            }
        }
        Ok(())
    }

    /// Puts rows into the page; says whether they move the position.
    fn put(&mut self, batch: &RecordBatch) -> Result<bool> {
        let name = &self.relation.name;
        let (arrays, misfits) = fit(batch, &self.schema, name)?;
        let mut lines = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let line = self.stored.rows + row as u64 + 1;
            match misfits.get(&row) {
                None => lines.push(line),
                Some((column, misfit)) => {
                    let misfit = crate::column::Misfit::new(misfit.code, misfit.reason.clone());
                    let text = whole_row_text(batch, row);
                    let cursor = self.stored.order.first().filter(|_| self.comes_again);
                    let cursor = cursor.and_then(|cursor| batch.column_by_name(cursor));
                    // The number that a row has in one of several reads that meet it says nothing.
                    match cursor.is_some_and(|cursor| cursor.is_null(row)) {
                        true => {
                            let name = without_line(name, &text);
                            self.page.reject(&name, None, Some(column), misfit, raw(&text));
                        }
                        false => {
                            self.page.reject(name, Some(line), Some(column), misfit, raw(&text));
                        }
                    }
                }
            }
        }
        let arrays = without(arrays, batch.num_rows(), &misfits)?;
        self.page.take(&self.schema, arrays, name, &lines)?;
        let last = batch.num_rows().saturating_sub(1);
        let mut after = Vec::with_capacity(self.stored.order.len());
        for column in &self.stored.order {
            let array = batch.column_by_name(column).ok_or_else(|| {
                Error::internal("a column of the order is not in the driver's rows")
            })?;
            let natural = self.relation.given.field_with_name(column);
            let natural = natural.map_or(DataType::Utf8, |field| field.data_type().clone());
            let value = array.slice(last, 1);
            let typed = cast(&value, &natural).map_err(|error| {
                Error::invalid(format!("the column \"{column}\" cannot order a read"))
                    .caused_by(error)
            })?;
            if value.is_valid(0) && typed.is_null(0) {
                return Err(Error::invalid(format!(
                    "a value of the column \"{column}\" is not of its type, {natural}"
                ))
                .hint("Choose another `primary_key` or `cursor`."));
            }
            after.push(kept(&typed, 0, column)?);
        }
        // Rows without a cursor that come again move nothing.
        let known = self.stored.after.first().is_some_and(|value| !value.is_null());
        let moves = !(self.comes_again && known && after.first().is_some_and(Value::is_null));
        if moves {
            self.stored.after = after;
        }
        self.stored.rows += batch.num_rows() as u64;
        Ok(moves)
    }
}

impl PageRead for DriverRead {
    fn next_page(&mut self) -> Result<Option<Page>> {
        if self.ended {
            return Ok(None);
        }
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => self.start()?,
        };
        let was_complete = reading.stored.complete;
        reading.fetch(self.request.page_rows.max(1))?;
        let batch = reading.waiting.pop_front();
        if batch.is_none() && was_complete && reading.page.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        let moves = match &batch {
            Some(batch) => reading.put(batch)?,
            None => true,
        };
        self.ended = reading.over && reading.waiting.is_empty();
        // If it breaks off among rows that move nothing, the next read begins as this one did.
        reading.stored.complete = self.ended || (was_complete && !moves);
        let position = reading.stored.position()?;
        let page = reading.page.finish(&reading.schema, position)?;
        self.reading = Some(reading);
        Ok(Some(page))
    }
}
