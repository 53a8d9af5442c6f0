//! Rows as JSON objects, the way web APIs take them.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result, Timestamp};
use serde_json::{Map, Number, Value};

use crate::column::Misfit;

/// Digits a JSON number keeps in every program that reads it as a double.
const NUMBER_DIGITS_MAX: usize = 15;

/// A row, or the column that cannot be sent.
pub(crate) type Object = Result<Map<String, Value>, (String, Misfit)>;

/// Proves that every column has a form in JSON.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] that names the column.
pub(crate) fn check_types(schema: &Schema) -> Result<()> {
    for field in schema.fields() {
        if matches!(
            field.data_type(),
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        ) {
            return Err(Error::invalid(format!(
                "the column \"{}\" holds bytes, which JSON cannot carry",
                field.name()
            ))
            .hint(
                "Leave it out, or encode it as text first, for example with encode(…, 'base64').",
            ));
        }
    }
    Ok(())
}

/// The rows of a batch; columns named in `json` hold JSON texts that are sent as what they mean.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] if a column cannot be read.
pub(crate) fn objects(batch: &RecordBatch, json: &BTreeSet<String>) -> Result<Vec<Object>> {
    let mut rows: Vec<Object> = (0..batch.num_rows()).map(|_| Ok(Map::new())).collect();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let name = field.name();
        let cell = cells(column, json.contains(name))?;
        for (at, row) in rows.iter_mut().enumerate() {
            let Ok(object) = row else { continue };
            if column.is_null(at) {
                object.insert(name.clone(), Value::Null);
                continue;
            }
            match cell(at) {
                Ok(value) => {
                    object.insert(name.clone(), value);
                }
                Err(misfit) => *row = Err((name.clone(), misfit)),
            }
        }
    }
    Ok(rows)
}

type Cells<'a> = Box<dyn Fn(usize) -> Result<Value, Misfit> + 'a>;

/// How the values of a column are read.
fn cells(column: &ArrayRef, json: bool) -> Result<Cells<'_>> {
    macro_rules! whole {
        ($kind:ty) => {{
            let values = column.as_primitive::<$kind>();
            Box::new(move |at| Ok(Value::from(values.value(at))))
        }};
    }
    let cells: Cells<'_> = match column.data_type() {
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::UInt8 => whole!(UInt8Type),
        DataType::UInt16 => whole!(UInt16Type),
        DataType::UInt32 => whole!(UInt32Type),
        DataType::UInt64 => whole!(UInt64Type),
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            Box::new(move |at| finite(f64::from(values.value(at))))
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            Box::new(move |at| finite(values.value(at)))
        }
        DataType::Boolean => {
            let values = column.as_boolean();
            Box::new(move |at| Ok(Value::Bool(values.value(at))))
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let values = column.as_primitive::<TimestampMicrosecondType>();
            Box::new(move |at| {
                Ok(Value::String(Timestamp::from_micros(values.value(at)).to_string()))
            })
        }
        kind => {
            let number = matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..));
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column, &options)
                .map_err(|error| Error::internal("a column has no text form").caused_by(error))?;
            Box::new(move |at| {
                let text = formatter.value(at).to_string();
                if number {
                    return Ok(decimal(text));
                }
                if json {
                    return serde_json::from_str(&text).map_err(|error| {
                        Misfit::new("invalid-json", format!("not JSON: {error}"))
                    });
                }
                Ok(Value::String(text))
            })
        }
    };
    Ok(cells)
}

fn finite(value: f64) -> Result<Value, Misfit> {
    Number::from_f64(value)
        .map(Value::Number)
        .ok_or_else(|| Misfit::new("not-finite", "NaN or an infinity, which JSON cannot carry"))
}

/// A decimal as a number where every reader keeps its digits, otherwise as text.
fn decimal(text: String) -> Value {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let number = (digits <= NUMBER_DIGITS_MAX).then(|| serde_json::from_str(&text).ok()).flatten();
    number.unwrap_or(Value::String(text))
}
