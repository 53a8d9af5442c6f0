//! Values as JSON text, nested ones included.

use arrow::array::{Array, ArrayRef, AsArray, UnionArray};
use arrow::datatypes::DataType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cell::{Cell, Cells, date_text, decimal_text, float_text, moment_text};
use crate::column::Misfit;

/// Bytes as base64.
pub(crate) fn base64_text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Adds a value to a JSON text. Numbers keep all their digits, bytes are base64.
pub(crate) fn push_json(cell: Cell<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Cell::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Cell::Float(value) if value.is_finite() => {
            out.extend_from_slice(float_text(value).as_bytes());
        }
        Cell::Float(_) => return Err(Misfit::new("not-finite", "JSON has no NaN and no infinity")),
        Cell::Decimal(value, scale) => out.extend_from_slice(decimal_text(value, scale).as_bytes()),
        Cell::Text(text) => push_text(text, out)?,
        Cell::Bytes(bytes) => push_text(&base64_text(bytes), out)?,
        Cell::Date(days) => push_text(&date_text(days)?, out)?,
        Cell::Moment(micros, zoned) => push_text(&moment_text(micros, 'T', zoned)?, out)?,
        Cell::Nested(array, row) => push_nested(array, row, out)?,
    }
    Ok(())
}

/// Adds a text in quotes.
pub(crate) fn push_text(text: &str, out: &mut Vec<u8>) -> Result<(), Misfit> {
    serde_json::to_writer(out, text).map_err(wrong)
}

fn wrong(error: impl std::fmt::Display) -> Misfit {
    Misfit::new("type-mismatch", format!("it cannot be written as JSON: {error}"))
}

fn push_nested(array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match array.data_type() {
        DataType::List(_) => push_list(&array.as_list::<i32>().value(row), out),
        DataType::LargeList(_) => push_list(&array.as_list::<i64>().value(row), out),
        DataType::FixedSizeList(..) => push_list(&array.as_fixed_size_list().value(row), out),
        DataType::Struct(fields) => {
            out.push(b'{');
            let columns = array.as_struct().columns();
            for (at, (field, column)) in fields.iter().zip(columns).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                push_text(field.name(), out)?;
                out.push(b':');
                push_one(&column.slice(row, 1), out)?;
            }
            out.push(b'}');
            Ok(())
        }
        DataType::Map(..) => {
            let map = array.as_map().value(row);
            let (keys, values) = (map.column(0), map.column(1));
            push_map(keys, values, out)
        }
        DataType::Union(..) => match array.as_any().downcast_ref::<UnionArray>() {
            Some(union) => push_one(&union.value(row), out),
            None => Err(wrong("it is not a union")),
        },
        other => Err(wrong(other)),
    }
}

fn push_one(one: &ArrayRef, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let cells = Cells::of(one).map_err(wrong)?;
    push_json(cells.cell(0)?, out)
}

fn push_list(values: &ArrayRef, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let cells = Cells::of(values).map_err(wrong)?;
    out.push(b'[');
    for row in 0..values.len() {
        if row > 0 {
            out.push(b',');
        }
        push_json(cells.cell(row)?, out)?;
    }
    out.push(b']');
    Ok(())
}

/// A map is an object if its keys are texts, else a list of pairs.
fn push_map(keys: &ArrayRef, values: &ArrayRef, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let (names, values) = (Cells::of(keys).map_err(wrong)?, Cells::of(values).map_err(wrong)?);
    let texts = matches!(names, Cells::Text(_));
    out.push(if texts { b'{' } else { b'[' });
    for row in 0..keys.len() {
        if row > 0 {
            out.push(b',');
        }
        if !texts {
            out.push(b'[');
        }
        push_json(names.cell(row)?, out)?;
        out.push(if texts { b':' } else { b',' });
        push_json(values.cell(row)?, out)?;
        if !texts {
            out.push(b']');
        }
    }
    out.push(if texts { b'}' } else { b']' });
    Ok(())
}

/// Whether a text is JSON.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
