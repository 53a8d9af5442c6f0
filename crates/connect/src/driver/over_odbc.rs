//! Links over ODBC, by the system's driver manager.
//!
//! Values come as texts in UTF-16, which every driver makes of every type, and are read here as the types
//! that the database tells: a value that does not fit sets its row aside instead of ending the read.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryBuilder, RecordBatchReader, StringBuilder};
use arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result, Secret};
use odbc_api::buffers::{BufferDesc, ColumnarDynBuffer};
use odbc_api::parameter::{InputParameter, VarBinaryBox, VarWCharBox, WithDataType};
use odbc_api::{
    BlockCursor, Connection, ConnectionOptions, Cursor, DataType, Error as OdbcError,
    IntoParameter, OwnedCursor, ResultSetMetadata, environment,
};

use super::open::Rows;
use super::{Argument, Dialect, Link, Open, Refusal};
use crate::output::{Cell, Cells, date_text, decimal_text, moment_text};

/// Rows of a small answer that are fetched at once.
const ANSWER_ROWS: usize = 100;

/// Characters of a value that is neither text nor binary: numbers, dates, identifiers.
const SHORT_CHARACTERS: usize = 64;

/// How long opening a connection may take, in seconds.
const LOGIN_SECONDS: u32 = 30;

/// What opens links to a database by ODBC.
pub(crate) struct OdbcOpen {
    /// What the driver manager is given; holds the password.
    pub(crate) connection: Secret,
    /// What must be in no message.
    pub(crate) hidden: Vec<Secret>,
    pub(crate) name: String,
    pub(crate) dialect: Option<Dialect>,
    pub(crate) text_bytes: usize,
}

impl OdbcOpen {
    fn refusal(&self, error: &OdbcError) -> Refusal {
        refusal(&self.name, &self.hidden, error)
    }
}

impl Open for OdbcOpen {
    fn kind(&self) -> &'static str {
        "odbc"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn numbered(&self, _: Dialect) -> bool {
        false
    }

    fn open(&self) -> Result<(Box<dyn Link>, Dialect)> {
        let environment = environment().map_err(|error| self.refusal(&error).error)?;
        let options = ConnectionOptions {
            login_timeout_sec: Some(LOGIN_SECONDS),
            ..ConnectionOptions::default()
        };
        let connection = environment
            .connect_with_connection_string(self.connection.expose(), options)
            .map_err(|error| self.refusal(&error).error)?;
        let dialect = match self.dialect {
            Some(dialect) => dialect,
            None => {
                let told = connection.database_management_system_name();
                Dialect::named(&told.map_err(|error| self.refusal(&error).error)?)
            }
        };
        let link = OdbcLink {
            connection,
            name: self.name.clone(),
            hidden: self.hidden.clone(),
            text_bytes: self.text_bytes,
        };
        Ok((Box::new(link), dialect))
    }
}

struct OdbcLink {
    connection: Connection<'static>,
    name: String,
    hidden: Vec<Secret>,
    text_bytes: usize,
}

fn refusal(name: &str, hidden: &[Secret], error: &OdbcError) -> Refusal {
    let mut state = String::new();
    if let OdbcError::Diagnostics { record, .. } = error {
        record.state.as_str().clone_into(&mut state);
    }
    let mut said = error.to_string();
    for secret in hidden.iter().filter(|secret| !secret.expose().is_empty()) {
        said = said.replace(secret.expose(), "***");
    }
    Refusal::new(name, &state, said)
}

fn parameters(arguments: &[Argument]) -> Vec<Box<dyn InputParameter>> {
    let parameter = |argument: &Argument| -> Box<dyn InputParameter> {
        match argument {
            Argument::Int(value) => Box::new(*value),
            Argument::Float(value) => Box::new(*value),
            Argument::Text(text) => Box::new(VarWCharBox::from_str_slice(text)),
        }
    };
    arguments.iter().map(parameter).collect()
}

impl OdbcLink {
    fn refusal(&self, error: &OdbcError) -> Refusal {
        refusal(&self.name, &self.hidden, error)
    }

    fn described(&self, set: &mut impl ResultSetMetadata) -> Result<Vec<Described>, Refusal> {
        self.describing().described(set)
    }

    fn describing(&self) -> Describing {
        Describing {
            name: self.name.clone(),
            hidden: self.hidden.clone(),
            text_bytes: self.text_bytes,
        }
    }
}

/// What it takes to describe the columns of an answer.
struct Describing {
    name: String,
    hidden: Vec<Secret>,
    text_bytes: usize,
}

impl Describing {
    fn refusal(&self, error: &OdbcError) -> Refusal {
        refusal(&self.name, &self.hidden, error)
    }

    fn described(&self, set: &mut impl ResultSetMetadata) -> Result<Vec<Described>, Refusal> {
        let count = set.num_result_cols().map_err(|error| self.refusal(&error))?;
        let mut columns = Vec::new();
        for number in 1..=u16::try_from(count).unwrap_or(0) {
            let name = set.col_name(number).map_err(|error| self.refusal(&error))?;
            let kind = set.col_data_type(number).map_err(|error| self.refusal(&error))?;
            let text_bytes = self.text_bytes;
            columns.push(Described { name, kind, text_bytes });
        }
        Ok(columns)
    }
}

/// A column as the driver describes it.
struct Described {
    name: String,
    kind: DataType,
    text_bytes: usize,
}

impl Described {
    /// The type of its values.
    fn arrow(&self) -> ArrowType {
        match self.kind {
            DataType::Bit => ArrowType::Boolean,
            DataType::TinyInt | DataType::SmallInt | DataType::Integer => ArrowType::Int32,
            DataType::BigInt => ArrowType::Int64,
            DataType::Float { .. } | DataType::Real | DataType::Double => ArrowType::Float64,
            DataType::Numeric { precision: precision @ 1..=38, scale: scale @ 0..=38 }
            | DataType::Decimal { precision: precision @ 1..=38, scale: scale @ 0..=38 } => {
                let scale = i8::try_from(scale).unwrap_or_default();
                let precision = u8::try_from(precision).unwrap_or(38);
                ArrowType::Decimal128(precision.max(scale.unsigned_abs()), scale)
            }
            DataType::Date => ArrowType::Date32,
            DataType::Timestamp { .. } => ArrowType::Timestamp(TimeUnit::Microsecond, None),
            _ if self.is_binary() => ArrowType::Binary,
            _ => ArrowType::Utf8,
        }
    }

    fn is_binary(&self) -> bool {
        matches!(
            self.kind,
            DataType::Binary { .. } | DataType::Varbinary { .. } | DataType::LongVarbinary { .. }
        )
    }

    /// Room for its largest value.
    fn room(&self) -> BufferDesc {
        let most = self.text_bytes;
        match self.kind {
            DataType::Binary { length } | DataType::Varbinary { length } => BufferDesc::Binary {
                max_bytes: length.map_or(most, |length| length.get().min(most)),
            },
            DataType::LongVarbinary { .. } => BufferDesc::Binary { max_bytes: most },
            DataType::Char { .. }
            | DataType::WChar { .. }
            | DataType::Varchar { .. }
            | DataType::WVarchar { .. } => BufferDesc::WText {
                max_str_len: self.kind.utf16_len().map_or(most, |length| length.get().min(most)),
            },
            // What drivers say of the length of long texts is their default, not a limit.
            DataType::LongVarchar { .. }
            | DataType::WLongVarchar { .. }
            | DataType::Unknown
            | DataType::Other { .. } => BufferDesc::WText { max_str_len: most },
            _ => BufferDesc::WText {
                max_str_len: self
                    .kind
                    .display_size()
                    .map_or(SHORT_CHARACTERS, |size| size.get().max(SHORT_CHARACTERS)),
            },
        }
    }
}

fn natural(columns: &[Described]) -> SchemaRef {
    let field = |column: &Described| Field::new(&column.name, column.arrow(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Rows of a query, fetched block by block.
struct Fetched<C: Cursor> {
    cursor: BlockCursor<C, ColumnarDynBuffer>,
    columns: Vec<Described>,
    schema: SchemaRef,
    name: String,
    hidden: Vec<Secret>,
}

impl<C: Cursor> Fetched<C> {
    fn new(
        cursor: C,
        columns: Vec<Described>,
        (rows_max, bytes_max): (usize, usize),
        (name, hidden): (String, Vec<Secret>),
    ) -> Result<Self, Refusal> {
        let rooms: Vec<BufferDesc> = columns.iter().map(Described::room).collect();
        let row: usize = rooms.iter().map(|room| room.bytes_per_row()).sum();
        let rows = (bytes_max / row.max(1)).clamp(1, rows_max.max(1));
        let buffer = ColumnarDynBuffer::from_descs(rows, rooms);
        let cursor = cursor.bind_buffer(buffer).map_err(|error| refusal(&name, &hidden, &error))?;
        let field = |column: &Described| {
            let kind = if column.is_binary() { ArrowType::Binary } else { ArrowType::Utf8 };
            Field::new(&column.name, kind, true)
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        Ok(Self { cursor, columns, schema, name, hidden })
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, Refusal> {
        let fetched = self.cursor.fetch_with_truncation_check(true);
        let fail = |what: &str| Refusal { data: false, error: Error::corrupt(what.to_owned()) };
        let Some(block) = fetched.map_err(|error| refusal(&self.name, &self.hidden, &error))?
        else {
            return Ok(None);
        };
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.iter().enumerate() {
            if column.is_binary() {
                let values = block.column(at).as_binary();
                let values = values.ok_or_else(|| fail("a driver's bytes are in no buffer"))?;
                let mut builder = BinaryBuilder::new();
                values.iter().for_each(|value| builder.append_option(value));
                arrays.push(Arc::new(builder.finish()));
                continue;
            }
            let values = block.column(at).as_wide_text();
            let values = values.ok_or_else(|| fail("a driver's texts are in no buffer"))?;
            let mut builder = StringBuilder::new();
            for row in 0..values.len() {
                match values.get(row) {
                    None => builder.append_null(),
                    // A half of a character cannot be kept; the rest of the text can.
                    Some(units) => builder.append_value(String::from_utf16_lossy(units)),
                }
            }
            arrays.push(Arc::new(builder.finish()));
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| {
            let error = Error::internal("rows of a driver form no batch").caused_by(error);
            Refusal { data: false, error }
        })?;
        Ok(Some(batch))
    }
}

impl<C: Cursor> Iterator for Fetched<C> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batch().transpose()?;
        Some(batch.map_err(|refusal| ArrowError::ExternalError(Box::new(refusal.error))))
    }
}

impl<C: Cursor> RecordBatchReader for Fetched<C> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// A value of a row as an argument of its own type.
fn valued(array: &ArrayRef, cells: &Cells, row: usize) -> Result<Box<dyn InputParameter>, Refusal> {
    let typed = |text: Option<String>, kind: DataType| -> Box<dyn InputParameter> {
        let text = match text {
            Some(text) => VarWCharBox::from_str_slice(&text),
            None => VarWCharBox::null(),
        };
        Box::new(WithDataType::new(text, kind))
    };
    let misfit = |misfit: crate::column::Misfit| {
        let error = Error::invalid(misfit.reason);
        Refusal { data: true, error }
    };
    let cell = cells.cell(row).map_err(misfit)?;
    let text = match cell {
        Cell::Decimal(value, scale) => Some(decimal_text(value, scale)),
        Cell::Date(days) => Some(date_text(days).map_err(misfit)?),
        Cell::Moment(micros, _) => Some(moment_text(micros, ' ', false).map_err(misfit)?),
        _ => None,
    };
    Ok(match array.data_type() {
        ArrowType::Boolean => {
            let values = array.as_boolean();
            let value =
                (!matches!(cell, Cell::Null)).then(|| odbc_api::Bit::from_bool(values.value(row)));
            Box::new(value.into_parameter())
        }
        ArrowType::Int32 | ArrowType::Int64 => {
            let value = if let Cell::Int(value) = cell { Some(value) } else { None };
            Box::new(value.into_parameter())
        }
        ArrowType::Float64 => {
            let value = if let Cell::Float(value) = cell { Some(value) } else { None };
            Box::new(value.into_parameter())
        }
        ArrowType::Binary => match cell {
            Cell::Bytes(bytes) => Box::new(VarBinaryBox::from_vec(bytes.to_vec())),
            _ => Box::new(VarBinaryBox::null()),
        },
        ArrowType::Decimal128(precision, scale) => typed(
            text,
            DataType::Decimal { precision: usize::from(*precision), scale: i16::from(*scale) },
        ),
        ArrowType::Date32 => typed(text, DataType::Date),
        ArrowType::Timestamp(..) => typed(text, DataType::Timestamp { precision: 6 }),
        _ => match cell {
            Cell::Text(text) => Box::new(VarWCharBox::from_str_slice(text)),
            _ => Box::new(VarWCharBox::null()),
        },
    })
}

impl Link for OdbcLink {
    fn columns(&mut self, sql: &str) -> Result<SchemaRef, Refusal> {
        let found = self.connection.execute(sql, (), None);
        let found = found.map_err(|error| self.refusal(&error))?;
        let mut cursor = found.ok_or_else(|| no_rows(&self.name))?;
        Ok(natural(&self.described(&mut cursor)?))
    }

    fn stream(
        self: Box<Self>,
        sql: &str,
        arguments: &[Argument],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Rows, Refusal> {
        let describing = self.describing();
        let Self { connection, name, hidden, .. } = *self;
        let found = connection.into_cursor(sql, parameters(arguments).as_slice(), None);
        let found = found.map_err(|error| refusal(&name, &hidden, &error.error))?;
        let mut cursor: OwnedCursor<Connection<'static>> = found.ok_or_else(|| no_rows(&name))?;
        let columns = describing.described(&mut cursor)?;
        Ok(Box::new(Fetched::new(cursor, columns, (rows_max, bytes_max), (name, hidden))?))
    }

    fn rows(&mut self, sql: &str, arguments: &[Argument]) -> Result<Vec<RecordBatch>, Refusal> {
        let found = self.connection.execute(sql, parameters(arguments).as_slice(), None);
        let found = found.map_err(|error| self.refusal(&error))?;
        let mut cursor = found.ok_or_else(|| no_rows(&self.name))?;
        let columns = self.described(&mut cursor)?;
        let about = (self.name.clone(), self.hidden.clone());
        let mut fetched = Fetched::new(cursor, columns, (ANSWER_ROWS, 16 << 20), about)?;
        let mut batches = Vec::new();
        while let Some(batch) = fetched.batch()? {
            batches.push(batch);
        }
        Ok(batches)
    }

    fn run(&mut self, sql: &str, arguments: &[Argument]) -> Result<Option<u64>, Refusal> {
        let mut statement = self.connection.preallocate().map_err(|error| self.refusal(&error))?;
        match statement.execute(sql, parameters(arguments).as_slice()) {
            Ok(cursor) => drop(cursor),
            Err(error) => return Err(self.refusal(&error)),
        }
        let touched = statement.row_count().map_err(|error| self.refusal(&error))?;
        Ok(touched.map(|rows| rows as u64))
    }

    fn run_each(&mut self, sql: &str, batch: &RecordBatch) -> Result<(), Refusal> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let prepared = self.connection.prepare(sql);
        let mut statement = prepared.map_err(|error| self.refusal(&error))?;
        let cells = batch.columns().iter().map(Cells::of).collect::<Result<Vec<_>>>();
        let cells = cells.map_err(|error| Refusal { data: false, error })?;
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().zip(&cells);
            let values = values.map(|(array, cells)| valued(array, cells, row));
            let values = values.collect::<Result<Vec<_>, Refusal>>()?;
            match statement.execute(values.as_slice()) {
                Ok(cursor) => drop(cursor),
                Err(error) => return Err(self.refusal(&error)),
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Refusal> {
        self.connection.set_autocommit(false).map_err(|error| self.refusal(&error))
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        self.connection.commit().map_err(|error| self.refusal(&error))?;
        self.connection.set_autocommit(true).map_err(|error| self.refusal(&error))
    }

    fn roll_back(&mut self) -> Result<(), Refusal> {
        self.connection.rollback().map_err(|error| self.refusal(&error))?;
        self.connection.set_autocommit(true).map_err(|error| self.refusal(&error))
    }
}

fn no_rows(name: &str) -> Refusal {
    let error = Error::invalid(format!("a statement for {name} gives no rows"))
        .hint("A stream's `query` is a SELECT.");
    Refusal { data: false, error }
}

/// A connection by the settings of a project.
pub(crate) fn open(open: OdbcOpen) -> Arc<dyn Open> {
    Arc::new(open)
}
