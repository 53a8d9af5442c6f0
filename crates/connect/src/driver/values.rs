//! Values on their way to and from a driver, in the few types that every driver takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder,
    Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flywheel_base::{Error, Result};
use serde_json::{Value, json};

use super::{Argument, Dialect};
use crate::column::Misfit;
use crate::output::{Cell, Cells, date_text, decimal_text, moment_text, push_json};

/// The first row of a batch's column as a whole number; none if it is empty or missing.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if it is no whole number.
pub(super) fn whole(batch: &RecordBatch, column: usize) -> Result<Option<i64>> {
    let wrong = || Error::corrupt("the database counts in something other than whole numbers");
    if batch.num_rows() == 0 {
        return Ok(None);
    }
    let cells = Cells::of(batch.column(column))?;
    match cells.cell(0).map_err(|_| wrong())? {
        Cell::Null => Ok(None),
        Cell::Int(value) => Ok(Some(value)),
        Cell::Decimal(value, 0) => i64::try_from(value).map(Some).map_err(|_| wrong()),
        Cell::Text(text) => text.trim().parse().map(Some).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// The texts of a column; empty where there are none.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the column has a type that is never text.
pub(super) fn texts(batch: &RecordBatch, column: usize) -> Result<Vec<Option<String>>> {
    let cells = Cells::of(batch.column(column))?;
    let text = |row| match cells.cell(row) {
        Ok(Cell::Text(text)) => Ok(Some(text.to_owned())),
        Ok(Cell::Bytes(bytes)) => Ok(Some(String::from_utf8_lossy(bytes).into_owned())),
        Ok(Cell::Null) => Ok(None),
        _ => {
            Err(Error::corrupt("the database gives another thing than text where text was stored"))
        }
    };
    (0..batch.num_rows()).map(text).collect()
}

/// A value that orders a read, as a position keeps it.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if values of its type are in no order that is known here.
pub(super) fn kept(array: &ArrayRef, row: usize, column: &str) -> Result<Value> {
    let fail = |misfit: Misfit| {
        Error::invalid(format!("the column \"{column}\" cannot order a read: {}", misfit.reason))
            .hint("Choose another `primary_key` or `cursor`.")
    };
    let cells = Cells::of(array)?;
    Ok(match cells.cell(row).map_err(fail)? {
        Cell::Null => Value::Null,
        Cell::Bool(value) => json!(i64::from(value)),
        Cell::Int(value) => json!(value),
        Cell::Float(value) => json!(value),
        Cell::Decimal(value, scale) => json!(decimal_text(value, scale)),
        Cell::Text(text) => json!(text),
        Cell::Date(days) => json!(date_text(days).map_err(fail)?),
        Cell::Moment(micros, _) => json!(moment_text(micros, ' ', false).map_err(fail)?),
        Cell::Bytes(_) | Cell::Nested(..) => {
            return Err(fail(Misfit::new("type-mismatch", "its values have no order")));
        }
    })
}

/// A kept value as an argument; none if it is missing.
pub(super) fn argument(kept: &Value) -> Option<Argument> {
    match kept {
        Value::Null => None,
        Value::Bool(value) => Some(Argument::Int(i64::from(*value))),
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => Argument::Int(whole),
            None => Argument::Float(number.as_f64().unwrap_or_default()),
        }),
        Value::String(text) => Some(Argument::Text(text.clone())),
        other => Some(Argument::Text(other.to_string())),
    }
}

/// What is wrong with a row, and in which column.
pub(super) type Misfits = BTreeMap<usize, (String, Misfit)>;

/// The rows as a driver takes them, and those that no database takes.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a column's type cannot be written.
pub(super) fn prepared(dialect: Dialect, batch: &RecordBatch) -> Result<(RecordBatch, Misfits)> {
    let mut misfits = Misfits::new();
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let array = column(dialect, field.name(), array, &mut misfits)?;
        fields.push(Field::new(field.name(), array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| Error::internal("rows for a driver form no batch").caused_by(error))?;
    Ok((batch, misfits))
}

/// How the values of a column are handed over.
enum Form {
    Bool(BooleanBuilder),
    Flag(Int32Builder),
    Int(Int64Builder),
    Float(Float64Builder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Moment(TimestampMicrosecondBuilder),
}

impl Form {
    fn of(dialect: Dialect, cells: &Cells, array: &ArrayRef) -> Result<Self> {
        let sqlite = dialect == Dialect::Sqlite;
        Ok(match cells {
            Cells::Bool(_) if matches!(dialect, Dialect::Sqlite | Dialect::Oracle) => {
                Self::Flag(Int32Builder::new())
            }
            Cells::Bool(_) => Self::Bool(BooleanBuilder::new()),
            Cells::Int(_) => Self::Int(Int64Builder::new()),
            Cells::Float(_) => Self::Float(Float64Builder::new()),
            Cells::Decimal(..) if !sqlite => {
                let (precision, scale) = match array.data_type() {
                    DataType::Decimal32(precision, scale)
                    | DataType::Decimal64(precision, scale)
                    | DataType::Decimal128(precision, scale) => (*precision, *scale),
                    _ => (20, 0),
                };
                let builder = Decimal128Builder::new().with_precision_and_scale(precision, scale);
                Self::Decimal(builder.map_err(|error| {
                    Error::internal("a decimal column has an impossible type").caused_by(error)
                })?)
            }
            Cells::Bytes(_) => Self::Bytes(BinaryBuilder::new()),
            Cells::Date(_) if !sqlite => Self::Date(Date32Builder::new()),
            Cells::Moment { .. } if !sqlite => Self::Moment(TimestampMicrosecondBuilder::new()),
            _ => Self::Text(StringBuilder::new()),
        })
    }

    fn push(&mut self, cell: Cell<'_>) -> Result<(), Misfit> {
        match (self, cell) {
            (Self::Bool(to), Cell::Bool(value)) => to.append_value(value),
            (Self::Flag(to), Cell::Bool(value)) => to.append_value(i32::from(value)),
            (Self::Int(to), Cell::Int(value)) => to.append_value(value),
            (Self::Float(_), Cell::Float(value)) if !value.is_finite() => {
                return Err(Misfit::new(
                    "not-finite",
                    "not every database has infinite numbers or NaN",
                ));
            }
            (Self::Float(to), Cell::Float(value)) => to.append_value(value),
            (Self::Decimal(to), Cell::Decimal(value, _)) => to.append_value(value),
            (Self::Bytes(to), Cell::Bytes(bytes)) => to.append_value(bytes),
            (Self::Date(to), Cell::Date(days)) => {
                date_text(days)?;
                to.append_value(days);
            }
            (Self::Moment(to), Cell::Moment(micros, _)) => {
                moment_text(micros, ' ', false)?;
                to.append_value(micros);
            }
            (Self::Text(to), cell) => to.append_value(text(cell)?),
            (form, _) => form.push_null(),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            Self::Bool(to) => to.append_null(),
            Self::Flag(to) => to.append_null(),
            Self::Int(to) => to.append_null(),
            Self::Float(to) => to.append_null(),
            Self::Decimal(to) => to.append_null(),
            Self::Text(to) => to.append_null(),
            Self::Bytes(to) => to.append_null(),
            Self::Date(to) => to.append_null(),
            Self::Moment(to) => to.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Bool(mut to) => Arc::new(to.finish()),
            Self::Flag(mut to) => Arc::new(to.finish()),
            Self::Int(mut to) => Arc::new(to.finish()),
            Self::Float(mut to) => Arc::new(to.finish()),
            Self::Decimal(mut to) => Arc::new(to.finish()),
            Self::Text(mut to) => Arc::new(to.finish()),
            Self::Bytes(mut to) => Arc::new(to.finish()),
            Self::Date(mut to) => Arc::new(to.finish()),
            Self::Moment(mut to) => Arc::new(to.finish()),
        }
    }
}

fn text(cell: Cell<'_>) -> Result<String, Misfit> {
    Ok(match cell {
        Cell::Text(text) => text.to_owned(),
        Cell::Decimal(value, scale) => decimal_text(value, scale),
        Cell::Date(days) => date_text(days)?,
        Cell::Moment(micros, zoned) => moment_text(micros, ' ', zoned)?,
        other => {
            let mut bytes = Vec::new();
            push_json(other, &mut bytes)?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
    })
}

fn column(
    dialect: Dialect,
    name: &str,
    array: &ArrayRef,
    misfits: &mut Misfits,
) -> Result<ArrayRef> {
    let cells = Cells::of(array)?;
    let mut form = Form::of(dialect, &cells, array)?;
    for row in 0..array.len() {
        let pushed = match cells.cell(row) {
            Ok(Cell::Null) => {
                form.push_null();
                continue;
            }
            Ok(cell) => form.push(cell),
            Err(misfit) => Err(misfit),
        };
        if let Err(misfit) = pushed {
            form.push_null();
            misfits.entry(row).or_insert_with(|| (name.to_owned(), misfit));
        }
    }
    Ok(form.finish())
}
