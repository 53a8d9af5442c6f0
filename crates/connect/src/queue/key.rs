//! The key of a message: from the columns that identify a row.

use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result, suggest};

use crate::column::Misfit;
use crate::output::{Cell, Cells, column_error, date_text, moment_text, push_json, push_text};

/// The columns that identify the rows of a batch.
pub(crate) struct Keys {
    columns: Vec<(String, Cells)>,
}

impl Keys {
    /// Finds them.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the batch lacks one.
    pub(crate) fn of(batch: &RecordBatch, key: &[String]) -> Result<Self> {
        let schema = batch.schema();
        let mut columns = Vec::with_capacity(key.len());
        for name in key {
            let Some(array) = batch.column_by_name(name) else {
                let names = schema.fields().iter().map(|field| field.name().as_str());
                let names: Vec<&str> = names.collect();
                return Err(Error::invalid(format!(
                    "the rows have no column \"{name}\" of the key"
                ))
                .hint(suggest::hint(name, names)));
            };
            let cells = Cells::of(array).map_err(|error| column_error(name, error))?;
            columns.push((name.clone(), cells));
        }
        Ok(Self { columns })
    }

    /// The key of a row: the text of a single column, an object of several; nothing if the single
    /// column has no value. An error names the column.
    pub(crate) fn key(&self, row: usize) -> Result<Option<Vec<u8>>, (String, Misfit)> {
        let at = |name: &str| {
            let name = name.to_owned();
            move |misfit: Misfit| (name, misfit)
        };
        let mut out = Vec::new();
        if let [(name, cells)] = self.columns.as_slice() {
            match cells.cell(row).map_err(at(name))? {
                Cell::Null => return Ok(None),
                Cell::Text(text) => out.extend_from_slice(text.as_bytes()),
                Cell::Bytes(bytes) => out.extend_from_slice(bytes),
                Cell::Date(days) => out.extend(date_text(days).map_err(at(name))?.bytes()),
                Cell::Moment(micros, zoned) => {
                    out.extend(moment_text(micros, 'T', zoned).map_err(at(name))?.bytes());
                }
                other => push_json(other, &mut out).map_err(at(name))?,
            }
            return Ok(Some(out));
        }
        if self.columns.is_empty() {
            return Ok(None);
        }
        for (place, (name, cells)) in self.columns.iter().enumerate() {
            out.push(if place == 0 { b'{' } else { b',' });
            push_text(name, &mut out).map_err(at(name))?;
            out.push(b':');
            push_json(cells.cell(row).map_err(at(name))?, &mut out).map_err(at(name))?;
        }
        out.push(b'}');
        Ok(Some(out))
    }

    /// The first column without a value in a row.
    pub(crate) fn missing(&self, row: usize) -> Option<&str> {
        let missing =
            self.columns.iter().find(|(_, cells)| matches!(cells.cell(row), Ok(Cell::Null)));
        missing.map(|(name, _)| name.as_str())
    }
}
