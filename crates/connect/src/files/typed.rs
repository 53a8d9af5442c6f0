//! Files that bring Arrow types of their own: columns as the file declares them.
//!
//! Field metadata is left out (a `PARQUET:field_id` that travels on misleads other readers). A column of
//! numbers that holds more than the table's gives the table a wider type, unless that was declared. Any other
//! column whose type differs from the table's is converted value by value; a value that would change is
//! set aside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, StringArray, new_null_array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, cast_with_options, filter};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result};

use super::{FileReader, FileState, Fill, VisibleFile};
use crate::column::{ColumnBuilder, Misfit, Parsing};
use crate::page::{Column, PageBuilder, TableSchema, raw};

/// Values converted one by one where Arrow has no exact conversion.
const CONVERT: CastOptions<'static> =
    CastOptions { safe: true, format_options: FormatOptions::new() };

/// The type without the metadata of nested fields.
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    let plain = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::new(field.name(), plain_type(field.data_type()), field.is_nullable()))
    };
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect::<Fields>()),
        DataType::List(field) => DataType::List(plain(field)),
        DataType::LargeList(field) => DataType::LargeList(plain(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain(field), *size),
        DataType::Map(field, sorted) => DataType::Map(plain(field), *sorted),
        other => other.clone(),
    }
}

/// The type of a column of a file. Unsigned numbers of 64 bits are decimals, which hold all of them; whole
/// numbers of a table do not.
pub(crate) fn column_type(data_type: &DataType) -> DataType {
    match plain_type(data_type) {
        DataType::UInt64 => DataType::Decimal128(20, 0),
        other => other,
    }
}

/// The rows of a file as batches; an error is the last item.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Reads a file whose columns have Arrow types.
pub(crate) struct TypedReader {
    file: VisibleFile,
    columns: Vec<Column>,
    rows: Batches,
    /// Rows that were handed over.
    row: u64,
    whole: FileState,
    told: bool,
}

impl TypedReader {
    /// Starts behind the first `row` rows, which `rows` leaves out.
    pub(crate) fn new(
        file: VisibleFile,
        schema: &Schema,
        rows: Batches,
        row: u64,
        whole: FileState,
    ) -> Self {
        let columns = schema.fields().iter();
        let columns =
            columns.map(|f| Column::arrow(f.name(), column_type(f.data_type()))).collect();
        Self { file, columns, rows, row, whole, told: false }
    }
}

/// The first misfit of each row of a batch, with its column.
pub(crate) type Misfits = BTreeMap<usize, (String, Misfit)>;

/// The arrays of a batch in the table's columns and types, and the rows that do not fit; `file` is
/// where the batch comes from.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a column's type cannot become the table's.
pub(crate) fn fit(
    batch: &RecordBatch,
    schema: &TableSchema,
    file: &str,
) -> Result<(Vec<ArrayRef>, Misfits)> {
    let mut misfits = Misfits::new();
    let mut arrays = Vec::with_capacity(schema.columns().len());
    for column in schema.columns() {
        let array = match batch.column_by_name(&column.name) {
            None => new_null_array(&column.data_type, batch.num_rows()),
            Some(array) => convert(array, column, file, &mut misfits)?,
        };
        if column.not_null {
            for row in (0..batch.num_rows()).filter(|row| array.is_null(*row)) {
                let reason = "no value in a column that is required";
                let misfit = Misfit::new("null-value", reason);
                misfits.entry(row).or_insert_with(|| (column.name.clone(), misfit));
            }
        }
        arrays.push(array);
    }
    Ok((arrays, misfits))
}

/// The arrays without the rows that do not fit.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] if they cannot be filtered.
pub(crate) fn without(
    mut arrays: Vec<ArrayRef>,
    rows: usize,
    misfits: &Misfits,
) -> Result<Vec<ArrayRef>> {
    if !misfits.is_empty() {
        let keep: BooleanArray = (0..rows).map(|row| Some(!misfits.contains_key(&row))).collect();
        for array in &mut arrays {
            *array = filter(array, &keep)
                .map_err(|error| Error::internal("rows cannot be filtered").caused_by(error))?;
        }
    }
    Ok(arrays)
}

/// An array in the type of its column.
fn convert(
    array: &ArrayRef,
    column: &Column,
    file: &str,
    misfits: &mut Misfits,
) -> Result<ArrayRef> {
    if array.data_type() == &column.data_type {
        return Ok(Arc::clone(array));
    }
    if let Some(texts) = array.as_any().downcast_ref::<StringArray>()
        && column.kind.arrow() == column.data_type
    {
        return parse(texts, column, misfits);
    }
    let fail = |error| {
        let (from, to) = (array.data_type(), &column.data_type);
        let name = &column.name;
        let hint = match (from, to) {
            (DataType::Duration(_), _) => {
                "Declare the column as int64, which holds a duration as a number of its unit."
            }
            (_, DataType::Utf8) => "Leave it undeclared, or read those files into another table.",
            _ => "Declare the column as text, or read those files into another table.",
        };
        Error::invalid(format!(
            "the column \"{name}\" of {file} has type {from}, which cannot become {to}"
        ))
        .caused_by(error)
        .hint(hint)
    };
    let converted = cast_with_options(array, &column.data_type, &CONVERT).map_err(fail)?;
    if column.data_type.is_nested() {
        return Ok(converted);
    }
    let back = cast_with_options(&converted, array.data_type(), &CONVERT).map_err(fail)?;
    let changed = distinct(&back, array).map_err(fail)?;
    for row in (0..array.len()).filter(|row| changed.value(*row)) {
        let reason = format!("{} cannot hold this value unchanged", column.type_text());
        let misfit = Misfit::new("out-of-range", reason);
        misfits.entry(row).or_insert_with(|| (column.name.clone(), misfit));
    }
    Ok(converted)
}

/// Reads texts as values of a declared type.
fn parse(texts: &StringArray, column: &Column, misfits: &mut Misfits) -> Result<ArrayRef> {
    let mut builder = ColumnBuilder::new(column.kind, texts.len());
    for (row, text) in texts.iter().enumerate() {
        let outcome = match text {
            Some(text) => builder.push_text(text, &Parsing::default()),
            None => {
                builder.push_null();
                Ok(())
            }
        };
        if let Err(misfit) = outcome {
            builder.push_null();
            misfits.entry(row).or_insert_with(|| (column.name.clone(), misfit));
        }
    }
    builder.finish(0)
}

/// A row as JSON, for those that are set aside.
pub(crate) fn whole_row_text(batch: &RecordBatch, row: usize) -> String {
    let mut object = serde_json::Map::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let text = match ArrayFormatter::try_new(column, &FormatOptions::default()) {
            Ok(_) if column.is_null(row) => serde_json::Value::Null,
            Ok(formatter) => formatter.value(row).to_string().into(),
            Err(_) => serde_json::Value::Null,
        };
        object.insert(field.name().clone(), text);
    }
    serde_json::Value::Object(object).to_string()
}

/// The same, cut off at the length the quarantine keeps.
pub(crate) fn row_text(batch: &RecordBatch, row: usize) -> String {
    raw(&whole_row_text(batch, row))
}

impl FileReader for TypedReader {
    fn fill(
        &mut self,
        schema: &TableSchema,
        ignored: &BTreeSet<String>,
        page: &mut PageBuilder,
    ) -> Result<Fill> {
        let unknown = |c: &&Column| schema.place(&c.name).is_none() && !ignored.contains(&c.name);
        let new: Vec<Column> = self.columns.iter().filter(unknown).cloned().collect();
        if !new.is_empty() {
            return Ok(Fill::NewColumns(new));
        }
        let wide = |own: &Column| {
            let place = schema.place(&own.name)?;
            schema.columns().get(place)?.holding(&own.data_type)
        };
        let wider: Vec<Column> = self.columns.iter().filter_map(wide).collect();
        if !wider.is_empty() {
            return Ok(Fill::WiderColumns(wider));
        }
        if page.rows() > 0 {
            return Ok(Fill::PageFull);
        }
        if !self.told {
            self.told = true;
            let has = |name: &str| self.columns.iter().any(|column| column.name == name);
            for column in schema.columns().iter().filter(|column| !has(&column.name)) {
                let message =
                    format!("the file has no column \"{}\"; it is left empty", column.name);
                page.notice("missing-column", &self.file.name, message);
            }
        }
        let Some(batch) = self.rows.next() else { return Ok(Fill::FileEnd) };
        let batch = batch?;
        let (arrays, misfits) = fit(&batch, schema, &self.file.name)?;
        let mut lines = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let line = self.row + row as u64 + 1;
            match misfits.get(&row) {
                None => lines.push(line),
                Some((column, misfit)) => {
                    let text = row_text(&batch, row);
                    page.reject(&self.file.name, Some(line), Some(column), misfit.clone(), text);
                }
            }
        }
        let arrays = without(arrays, batch.num_rows(), &misfits)?;
        self.row += batch.num_rows() as u64;
        page.take(schema, arrays, &self.file.name, &lines)?;
        Ok(Fill::PageFull)
    }

    fn state(&self, done: bool) -> Result<FileState> {
        Ok(FileState { offset: self.row, line: self.row + 1, done, ..self.whole.clone() })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::DurationSecondArray;

    use super::*;
    use crate::{ColumnType, DeclaredColumn};

    #[test]
    fn a_duration_is_a_number_and_no_text() {
        let took: ArrayRef = Arc::new(DurationSecondArray::from(vec![90]));
        let field = Field::new("took", took.data_type().clone(), true);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![took]).unwrap();
        let fitted = |kind| {
            let column = Column::declared(&DeclaredColumn::new("took", kind));
            fit(&batch, &TableSchema::new(vec![column], false), "a.parquet")
        };
        let (arrays, misfits) = fitted(ColumnType::Int64).unwrap();
        assert!(misfits.is_empty() && arrays[0].is_valid(0));
        let error = fitted(ColumnType::Text).unwrap_err();
        assert!(error.hint_text().unwrap().contains("int64"), "{error:?}");
    }
}
