//! The `parquet` source: columns as the files declare them, new files by incremental reads.
//!
//! Field metadata is left out (a `PARQUET:field_id` that travels on misleads other readers). A column
//! whose type differs from the table's is converted value by value; a value that would change is set aside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use arrow::array::{Array, ArrayRef, BooleanArray, StringArray, new_null_array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, cast_with_options, filter};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ReadRequest, Source, SourceConfig, SourceContext};
use crate::column::{ColumnBuilder, Misfit, Parsing};
use crate::files::{
    self, FileReader, FileSettings, FileState, Files, Fill, NewColumns, Resume, Sample,
    VisibleFile, hash_all,
};
use crate::page::{Column, PageBuilder, TableSchema, raw};

/// Values converted one by one where Arrow has no exact conversion.
const CONVERT: CastOptions<'static> =
    CastOptions { safe: true, format_options: FormatOptions::new() };

/// A folder of Parquet files.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parquet {
    /// The folder, relative to the project; the project itself if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// The files of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetStream {
    /// The file, or a pattern of files: `orders/**/*.parquet`.
    pub path: String,
    /// The form of file names that hold a date, `%Y-%m-%d.parquet`: a file is read from its date on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<String>,
    /// What happens to a column the table does not know yet.
    #[serde(default)]
    pub new_columns: NewColumns,
    /// Whether each row carries its file and row number, in the columns `_file` and `_line`.
    #[serde(default)]
    pub lineage_columns: bool,
}

impl SourceConfig for Parquet {
    type Stream = ParquetStream;

    const ABOUT: &'static str = "Parquet files, one or many, with their own column types";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Files::<ParquetFormat>::new(ctx, self.folder)))
    }
}

/// The Parquet format.
pub(crate) struct ParquetFormat {
    stream: ParquetStream,
    page_rows: usize,
}

impl files::Format for ParquetFormat {
    type Stream = ParquetStream;

    const NAME: &'static str = "parquet";
    const EXTENSIONS: &'static [&'static str] = &["parquet"];
    const GROWS: bool = false;

    fn new(stream: ParquetStream, request: &ReadRequest) -> Result<Self> {
        Ok(Self { stream, page_rows: request.page_rows.max(1) })
    }

    fn settings(&self) -> FileSettings {
        FileSettings {
            path: self.stream.path.clone(),
            dated: self.stream.dated.clone(),
            new_columns: self.stream.new_columns,
            lineage: self.stream.lineage_columns,
        }
    }

    fn sample(&self, file: &VisibleFile, _: usize, sample: &mut Sample) -> Result<()> {
        for field in open(file)?.schema().fields() {
            sample.fix(field.name(), plain_type(field.data_type()));
        }
        Ok(())
    }

    fn open(&self, file: &VisibleFile, resume: Option<Resume>) -> Result<Box<dyn FileReader>> {
        let whole = hash_all(&file.path, file.mtime)?;
        let row = resume.map_or(0, |resume| resume.state.offset);
        let builder = open(file)?;
        let schema = builder.schema();
        let columns = schema.fields().iter();
        let columns = columns.map(|f| Column::arrow(f.name(), plain_type(f.data_type()))).collect();
        let skip = usize::try_from(row).unwrap_or(usize::MAX);
        let rows = builder
            .with_batch_size(self.page_rows)
            .with_offset(skip)
            .build()
            .map_err(|error| damaged(file, error))?;
        Ok(Box::new(ParquetReader { file: file.clone(), columns, rows, row, whole, told: false }))
    }
}

fn open(file: &VisibleFile) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let handle =
        File::open(&file.path).map_err(|error| Error::io("read the file", &file.path, error))?;
    ParquetRecordBatchReaderBuilder::try_new(handle).map_err(|error| damaged(file, error))
}

fn damaged(
    file: &VisibleFile,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::corrupt(format!("the file {} is not readable Parquet", file.name))
        .caused_by(error)
        .hint("Copy it again; if it is still being written, rename it when it is complete.")
}

/// The type without the metadata of nested fields.
fn plain_type(data_type: &DataType) -> DataType {
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

struct ParquetReader {
    file: VisibleFile,
    columns: Vec<Column>,
    rows: ParquetRecordBatchReader,
    /// Rows that were handed over.
    row: u64,
    whole: FileState,
    told: bool,
}

/// The first misfit of each row of a batch, with its column.
type Misfits = BTreeMap<usize, (String, Misfit)>;

impl ParquetReader {
    /// The arrays of a batch in the table's columns and types, and the rows that do not fit.
    fn arrays(
        &self,
        batch: &RecordBatch,
        schema: &TableSchema,
    ) -> Result<(Vec<ArrayRef>, Misfits)> {
        let mut misfits = Misfits::new();
        let mut arrays = Vec::with_capacity(schema.columns().len());
        for column in schema.columns() {
            let array = match batch.column_by_name(&column.name) {
                None => new_null_array(&column.data_type, batch.num_rows()),
                Some(array) => self.convert(array, column, &mut misfits)?,
            };
            if column.not_null {
                for row in (0..batch.num_rows()).filter(|row| array.is_null(*row)) {
                    let reason = "no value in a column declared `not_null`";
                    let misfit = Misfit::new("null-value", reason);
                    misfits.entry(row).or_insert_with(|| (column.name.clone(), misfit));
                }
            }
            arrays.push(array);
        }
        Ok((arrays, misfits))
    }

    /// An array in the type of its column.
    fn convert(
        &self,
        array: &ArrayRef,
        column: &Column,
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
            Error::invalid(format!(
                "the column \"{name}\" of {} has type {from}, which cannot become {to}",
                self.file.name
            ))
            .caused_by(error)
            .hint("Declare the column as text, or read those files into another table.")
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
fn row_text(batch: &RecordBatch, row: usize) -> String {
    let mut object = serde_json::Map::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let text = match ArrayFormatter::try_new(column, &FormatOptions::default()) {
            Ok(_) if column.is_null(row) => serde_json::Value::Null,
            Ok(formatter) => formatter.value(row).to_string().into(),
            Err(_) => serde_json::Value::Null,
        };
        object.insert(field.name().clone(), text);
    }
    raw(&serde_json::Value::Object(object).to_string())
}

impl FileReader for ParquetReader {
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
        let batch = batch.map_err(|error| damaged(&self.file, error))?;
        let (mut arrays, misfits) = self.arrays(&batch, schema)?;
        let keep: BooleanArray =
            (0..batch.num_rows()).map(|row| Some(!misfits.contains_key(&row))).collect();
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
        if !misfits.is_empty() {
            for array in &mut arrays {
                *array = filter(array, &keep)
                    .map_err(|error| Error::internal("rows cannot be filtered").caused_by(error))?;
            }
        }
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
    use std::collections::HashMap;

    use ::parquet::arrow::ArrowWriter;
    use arrow::array::{Float64Array, Int32Array, Int64Array, StructArray};
    use arrow::datatypes::Schema;
    use serde_json::json;

    use super::*;
    use crate::source::contract::{Folder, cells, codes, read, request};
    use crate::{ColumnType, DeclaredColumn};

    fn file(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
        let id = HashMap::from([("PARQUET:field_id".to_owned(), "7".to_owned())]);
        let field = |(name, array): &(&str, ArrayRef)| {
            Field::new(*name, array.data_type().clone(), true).with_metadata(id.clone())
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    fn ints(values: Vec<i64>) -> ArrayRef {
        Arc::new(Int64Array::from(values))
    }

    #[tokio::test]
    async fn types_are_kept_without_field_metadata_also_in_nested_fields() {
        let id = HashMap::from([("PARQUET:field_id".to_owned(), "3".to_owned())]);
        let inner = Field::new("x", DataType::Int32, true).with_metadata(id);
        let inside: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(Arc::new(inner), inside)]));
        let bytes = file(&[("a", ints(vec![1, 2])), ("s", nested)]);
        let folder = Folder::new(&[("1.parquet", &bytes)]);
        let request = request("parquet", json!({"path": "*.parquet"}));
        let pages = read(&folder, "parquet", &request).await.unwrap();
        let schema = pages[0].batch.schema();
        assert!(schema.fields().iter().all(|field| field.metadata().is_empty()));
        let DataType::Struct(fields) = schema.field(1).data_type() else { panic!("{schema}") };
        assert!(fields[0].metadata().is_empty());
        assert_eq!(cells(&pages), [["1", "{x: 1}"], ["2", "{x: 2}"]]);
    }

    #[tokio::test]
    async fn a_new_file_of_another_type_is_converted_or_its_rows_set_aside() {
        let folder = Folder::new(&[("1.parquet", &file(&[("a", ints(vec![1, 2]))]))]);
        let mut request = request("parquet", json!({"path": "*.parquet"}));
        let pages = read(&folder, "parquet", &request).await.unwrap();
        request.from = pages.last().map(|page| page.position.clone());
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![3.0, 3.5, 4.0]));
        let more = file(&[("a", floats), ("b", ints(vec![7, 8, 9]))]);
        folder.write("2.parquet", &more);
        let pages = read(&folder, "parquet", &request).await.unwrap();
        assert_eq!(cells(&pages), [["3", "7"], ["4", "9"]]);
        assert_eq!(codes(&pages), ["out-of-range"]);
        assert_eq!(pages[0].rejected[0].raw, r#"{"a":"3.5","b":"8"}"#);
    }

    #[tokio::test]
    async fn declared_decimals_are_exact_and_a_cut_file_is_an_error() {
        let prices: ArrayRef = Arc::new(Float64Array::from(vec![1.25, 2.0]));
        let bytes = file(&[("price", prices)]);
        let folder = Folder::new(&[("1.parquet", &bytes)]);
        let mut request = request("parquet", json!({"path": "*.parquet"}));
        request.columns =
            vec![DeclaredColumn::new("price", ColumnType::Decimal { precision: 9, scale: 2 })];
        assert_eq!(cells(&read(&folder, "parquet", &request).await.unwrap()), [["1.25"], ["2.00"]]);
        folder.write("1.parquet", &bytes[..bytes.len() / 2]);
        let error = read(&folder, "parquet", &request).await.unwrap_err();
        assert_eq!(error.kind(), flywheel_base::ErrorKind::Corrupt);
    }
}
