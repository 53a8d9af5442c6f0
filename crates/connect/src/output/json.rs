//! Values as JSON text, nested ones included.

use arrow::array::{Array, ArrayRef, AsArray, UnionArray};
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use flywheel_base::{Error, Result as BaseResult, suggest};

use super::cell::{Cell, Cells, date_text, decimal_text, float_text, moment_text};
use super::{column_error, refuse_cells};
use crate::column::Misfit;
use crate::destination::Refused;

/// Rows as JSON objects of one line, every column in each.
#[derive(Debug)]
pub(crate) struct JsonRows {
    /// What stands before each value, and whether its texts are JSON.
    names: Vec<(Vec<u8>, bool)>,
}

impl JsonRows {
    /// Prepares rows of these columns; the texts of `json_columns` are written as the JSON they are.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if a name cannot be written.
    pub(crate) fn new(schema: &Schema, json_columns: &[String]) -> BaseResult<Self> {
        let mut names = Vec::with_capacity(schema.fields().len());
        for (at, field) in schema.fields().iter().enumerate() {
            let mut name = vec![if at == 0 { b'{' } else { b',' }];
            push_text(field.name(), &mut name).map_err(|misfit| Error::internal(misfit.reason))?;
            name.push(b':');
            names.push((name, json_columns.contains(field.name())));
        }
        Ok(Self { names })
    }

    /// The values of a batch with these columns.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a type has no such form.
    pub(crate) fn cells(batch: &RecordBatch) -> BaseResult<Vec<Cells>> {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        columns
            .map(|(field, array)| {
                Cells::of(array).map_err(|error| column_error(field.name(), error))
            })
            .collect()
    }

    /// Adds a row, which none of the refused ones may be.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if it is one.
    pub(crate) fn push(&self, columns: &[Cells], row: usize, out: &mut Vec<u8>) -> BaseResult<()> {
        if columns.is_empty() {
            out.push(b'{');
        }
        for (column, (name, json)) in columns.iter().zip(&self.names) {
            out.extend_from_slice(name);
            let outcome = column.cell(row).and_then(|cell| match cell {
                Cell::Text(text) if *json => {
                    // A line end in JSON is always a blank between values.
                    let one_line = text.bytes().map(|byte| match byte {
                        b'\n' | b'\r' => b' ',
                        byte => byte,
                    });
                    out.extend(one_line);
                    Ok(())
                }
                cell => push_json(cell, out),
            });
            outcome.map_err(|misfit| Error::internal(misfit.reason))?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// Refuses `json_columns` that the rows do not have.
pub(crate) fn check_json_columns(json_columns: &[String], schema: &Schema) -> BaseResult<()> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let unknown = |name: &&String| !names.is_empty() && !names.contains(&name.as_str());
    match json_columns.iter().find(unknown) {
        Some(name) => Err(Error::invalid(format!(
            "`json_columns` names \"{name}\", which the rows do not have"
        ))
        .hint(suggest::hint(name, names))),
        None => Ok(()),
    }
}

/// The rows that cannot be JSON objects.
pub(crate) fn refuse_json(
    batch: &RecordBatch,
    json_columns: &[String],
) -> BaseResult<Vec<Refused>> {
    refuse_cells(batch, |name, cell| match cell {
        Cell::Text(text) if json_columns.iter().any(|column| column == name) && !is_json(text) => {
            Err(Misfit::new("invalid-json", "a text in one of `json_columns` that is not JSON"))
        }
        Cell::Float(_) | Cell::Date(_) | Cell::Moment(..) | Cell::Nested(..) => {
            push_json(cell, &mut Vec::new())
        }
        _ => Ok(()),
    })
}

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
