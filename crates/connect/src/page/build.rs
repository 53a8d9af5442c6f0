//! A page under construction.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flywheel_base::{Error, Result};

use super::{
    FILE_COLUMN, LINE_COLUMN, Notice, Origin, Page, Position, RAW_BYTES_MAX, Rejected, without_line,
};
use crate::column::{ColumnBuilder, ColumnType, Misfit, wider_in_file};
use crate::source::PAGE_BYTES_DEFAULT;

/// What a value takes in memory beside its text.
const VALUE_BYTES: usize = 8;

/// One column of the table a stream is read into.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    /// Its name in source and table.
    pub(crate) name: String,
    /// Its type here.
    pub(crate) kind: ColumnType,
    /// Its Arrow type, which differs from the kind's only where a file brings Arrow types.
    pub(crate) data_type: DataType,
    /// Whether a row without a value is set aside.
    pub(crate) not_null: bool,
    /// Whether the user declared it.
    pub(crate) declared: bool,
}

impl Column {
    /// A column whose type was inferred.
    pub(crate) fn inferred(name: impl Into<String>, kind: ColumnType) -> Self {
        let name = name.into();
        Self { name, kind, data_type: kind.arrow(), not_null: false, declared: false }
    }

    /// A column of a file that has Arrow types of its own.
    pub(crate) fn arrow(name: impl Into<String>, data_type: DataType) -> Self {
        let name = name.into();
        Self { name, kind: ColumnType::Text, data_type, not_null: false, declared: false }
    }

    /// The column with a type that holds what it held and values of `kind`; none if it has such a type
    /// already, was declared, or there is no such type.
    pub(crate) fn widened(&self, kind: ColumnType) -> Option<Self> {
        let wide = self.kind.common(kind).filter(|wide| *wide != self.kind && !self.declared)?;
        Some(Self { kind: wide, data_type: wide.arrow(), ..self.clone() })
    }

    /// The column of a file with a type that holds what it held and values of `given`; none if it holds
    /// them already, was declared, or there is no such type.
    pub(crate) fn holding(&self, given: &DataType) -> Option<Self> {
        let wide = wider_in_file(&self.data_type, given).filter(|_| !self.declared)?;
        Some(Self { not_null: self.not_null, ..Self::arrow(&self.name, wide) })
    }

    /// What the reader is told of a column that became wider.
    pub(crate) fn widening(&self, before: ColumnType) -> String {
        let Self { name, kind, .. } = self;
        format!(
            "the column \"{name}\" was widened: it holds {kind} from here on, and held {before}"
        )
    }

    /// A column the user declared.
    pub(crate) fn declared(column: &crate::DeclaredColumn) -> Self {
        let not_null = column.not_null;
        let inferred = Self::inferred(&column.name, column.kind);
        Self { not_null, declared: true, ..inferred }
    }

    /// How its type is stored in a position.
    pub(crate) fn type_text(&self) -> String {
        if self.kind.arrow() == self.data_type {
            return self.kind.to_string();
        }
        self.data_type.to_string()
    }

    /// The column as it could be declared, if its type has a name here.
    pub(crate) fn declarable(&self) -> Option<crate::DeclaredColumn> {
        let typed = self.kind.arrow() == self.data_type;
        typed.then(|| crate::DeclaredColumn::new(&self.name, self.kind))
    }

    /// Why a value does not fit, with what to do about it if the type was inferred.
    pub(crate) fn explain(&self, misfit: Misfit) -> Misfit {
        // An error cell is one in every type; its own reason says what to do.
        if self.declared || matches!(misfit.code, "page-too-large" | "not-finite" | "cell-error") {
            return misfit;
        }
        let Misfit { code, reason } = misfit;
        let hint =
            "the type was inferred from the first rows; declare the column as text to keep it";
        Misfit { code, reason: format!("{reason} ({hint})") }
    }
}

/// The columns of the table a stream is read into.
#[derive(Clone, Debug)]
pub(crate) struct TableSchema {
    columns: Vec<Column>,
    places: HashMap<String, usize>,
    lineage: bool,
    arrow: SchemaRef,
}

impl TableSchema {
    /// Puts columns together.
    pub(crate) fn new(columns: Vec<Column>, lineage: bool) -> Self {
        let places = columns.iter().enumerate().map(|(at, c)| (c.name.clone(), at)).collect();
        let mut fields: Vec<Field> =
            columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), true)).collect();
        if lineage {
            fields.push(Field::new(FILE_COLUMN, DataType::Utf8, true));
            fields.push(Field::new(LINE_COLUMN, DataType::Int64, true));
        }
        Self { columns, places, lineage, arrow: Arc::new(Schema::new(fields)) }
    }

    /// The same with more columns at the end.
    pub(crate) fn extended(&self, more: Vec<Column>) -> Self {
        let mut columns = self.columns.clone();
        columns.extend(more);
        Self::new(columns, self.lineage)
    }

    /// The same with other types for the columns that have the names of `wider`.
    pub(crate) fn widened(&self, wider: &[Column]) -> Self {
        let columns = self.columns.iter().map(|column| {
            wider.iter().find(|wide| wide.name == column.name).unwrap_or(column).clone()
        });
        Self::new(columns.collect(), self.lineage)
    }

    /// The columns, without those of lineage.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Where a column stands.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The schema of the pages.
    pub(crate) fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }
}

/// Collects rows until a page is full.
#[derive(Debug)]
pub(crate) struct PageBuilder {
    source: &'static str,
    pub(crate) columns: Vec<ColumnBuilder>,
    lineage: Option<[ColumnBuilder; 2]>,
    ready: Option<RecordBatch>,
    rows: usize,
    rows_max: usize,
    bytes: usize,
    bytes_max: usize,
    origin: Vec<Origin>,
    next_line: u64,
    rejected: Vec<Rejected>,
    notices: Vec<Notice>,
}

impl PageBuilder {
    /// Starts a page of at most `rows_max` rows.
    pub(crate) fn new(source: &'static str, schema: &TableSchema, rows_max: usize) -> Self {
        let builder = |column: &Column| ColumnBuilder::new(column.kind, rows_max.min(1 << 16));
        let lineage = schema.lineage.then(|| {
            [ColumnBuilder::new(ColumnType::Text, 0), ColumnBuilder::new(ColumnType::Int64, 0)]
        });
        Self {
            source,
            columns: schema.columns.iter().map(builder).collect(),
            lineage,
            ready: None,
            rows: 0,
            rows_max: rows_max.max(1),
            bytes: 0,
            bytes_max: PAGE_BYTES_DEFAULT,
            origin: Vec::new(),
            next_line: 0,
            rejected: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Ends the page when its text has this many bytes, however few its rows are.
    pub(crate) fn limited(self, bytes_max: usize) -> Self {
        Self { bytes_max: bytes_max.max(1), ..self }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that were set aside so far.
    pub(crate) fn rejected(&self) -> usize {
        self.rejected.len()
    }

    /// Whether nothing at all is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0 && self.rejected.is_empty() && self.notices.is_empty()
    }

    /// Whether the next row belongs to the next page.
    pub(crate) fn is_full(&self) -> bool {
        self.rows + self.rejected.len() >= self.rows_max
            || self.bytes >= self.bytes_max
            || self.ready.is_some()
    }

    /// Completes the row whose values were pushed; `bytes` is its size in the source.
    pub(crate) fn commit(&mut self, file: &str, line: u64, bytes: usize) -> Result<()> {
        let follows = self.next_line == line && self.origin.last().is_some_and(|o| o.file == file);
        if !follows {
            self.origin.push(Origin { row: self.rows, file: file.to_owned(), line });
        }
        if let Some([files, lines]) = &mut self.lineage {
            let parsing = crate::column::Parsing::default();
            let line = crate::column::Scalar::Int(i64::try_from(line).unwrap_or(i64::MAX));
            files
                .push_text(file, &parsing)
                .and_then(|()| lines.push(line, &parsing))
                .map_err(|misfit| Error::exhausted(misfit.reason))?;
        }
        self.rows += 1;
        // A value takes at least its place in an array, however short its text is.
        self.bytes += bytes + VALUE_BYTES * self.columns.len();
        self.next_line = line + 1;
        Ok(())
    }

    /// Takes back the values pushed since the last completed row.
    pub(crate) fn rollback(&mut self) {
        for column in &mut self.columns {
            column.truncate(self.rows);
        }
    }

    /// Sets a row aside.
    pub(crate) fn reject(
        &mut self,
        file: &str,
        line: Option<u64>,
        column: Option<&str>,
        misfit: Misfit,
        raw: String,
    ) {
        self.bytes += raw.len().min(RAW_BYTES_MAX);
        self.rejected.push(Rejected {
            source: Cow::Borrowed(self.source),
            file: file.to_owned(),
            line,
            column: column.map(str::to_owned),
            code: Cow::Borrowed(misfit.code),
            reason: misfit.reason,
            raw,
            destination: None,
        });
    }

    /// Takes the place of the row that was set aside last, which is another one in every read that meets
    /// the row, into the reason, so that the quarantine knows the row by what is in it and has it once.
    pub(crate) fn name_last(&mut self, name: &str, place: &str, whole: &str) {
        if let Some(last) = self.rejected.last_mut() {
            last.file = without_line(name, whole);
            last.line = None;
            last.reason = format!("{} ({place})", last.reason);
        }
    }

    /// Says something about the read.
    pub(crate) fn notice(&mut self, code: &str, file: &str, message: impl Into<String>) {
        let notice =
            Notice { code: code.to_owned(), file: file.to_owned(), message: message.into() };
        tracing::debug!(source = self.source, code, file, "notice");
        self.notices.push(notice);
    }

    /// Takes over rows that already are arrays, without lineage columns; they fill the page.
    pub(crate) fn take(
        &mut self,
        schema: &TableSchema,
        mut arrays: Vec<ArrayRef>,
        file: &str,
        lines: &[u64],
    ) -> Result<()> {
        for line in lines {
            self.commit(file, *line, 0)?;
        }
        if let Some([files, line_numbers]) = &mut self.lineage {
            arrays.push(files.finish(0)?);
            arrays.push(line_numbers.finish(0)?);
        }
        self.ready = Some(batch(schema, arrays, self.rows)?);
        Ok(())
    }

    /// Hands over the page and starts the next one with the same columns.
    pub(crate) fn finish(&mut self, schema: &TableSchema, position: Position) -> Result<Page> {
        let batch = match self.ready.take() {
            Some(batch) => batch,
            None if self.rows == 0 => RecordBatch::new_empty(Arc::clone(&schema.arrow)),
            None => {
                let lineage = self.lineage.iter_mut().flatten();
                let arrays = self.columns.iter_mut().chain(lineage).map(|c| c.finish(self.rows));
                batch(schema, arrays.collect::<Result<_>>()?, self.rows)?
            }
        };
        self.rows = 0;
        self.bytes = 0;
        Ok(Page {
            batch,
            origin: std::mem::take(&mut self.origin),
            rejected: std::mem::take(&mut self.rejected),
            notices: std::mem::take(&mut self.notices),
            position,
        })
    }

    /// Gives the columns that a longer schema adds to the next page.
    pub(crate) fn widen(&mut self, schema: &TableSchema) {
        for column in schema.columns.iter().skip(self.columns.len()) {
            self.columns.push(ColumnBuilder::new(column.kind, 0));
        }
    }
}

fn batch(schema: &TableSchema, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(&schema.arrow), arrays, &options)
        .map_err(|error| Error::internal("a page's columns do not form a batch").caused_by(error))
}
