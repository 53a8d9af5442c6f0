//! The `parquet` source: columns as the files declare them, new files by incremental reads.
//!
//! A column of numbers gets the least type that holds those of all files, unless its type was declared.
//! Where there is none, a column whose type differs from the table's is converted value by value; a value
//! that would change is set aside.

use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use ::parquet::errors::ParquetError;
use arrow::datatypes::SchemaRef;
use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ReadRequest, Source, SourceConfig, SourceContext};
use crate::files::{
    self, FileReader, FileSettings, Files, NewColumns, Resume, Sample, TypedReader, VisibleFile,
    column_type, hash_all,
};
use crate::objects::{FilePlace, Object};

/// A folder of Parquet files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Parquet(pub FilePlace);

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
        Ok(Box::new(Files::<ParquetFormat>::new(ctx, self.0)?))
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
            tail: false,
        }
    }

    fn sample(&self, file: &VisibleFile, _: usize, sample: &mut Sample) -> Result<()> {
        let schema = match file.object() {
            Some(object) => footer(file, object)?,
            None => Arc::clone(open(file)?.schema()),
        };
        for field in schema.fields() {
            sample.fix(field.name(), column_type(field.data_type()));
        }
        Ok(())
    }

    fn open(&self, file: &VisibleFile, resume: Option<Resume>) -> Result<Box<dyn FileReader>> {
        let file = &file.on_disk()?;
        let whole = hash_all(file)?;
        let row = resume.map_or(0, |resume| resume.state.offset);
        let builder = open(file)?;
        let schema = Arc::clone(builder.schema());
        let skip = usize::try_from(row).unwrap_or(usize::MAX);
        let rows = builder
            .with_batch_size(self.page_rows)
            .with_offset(skip)
            .build()
            .map_err(|error| damaged(file, error))?;
        let name = file.clone();
        let rows = rows.map(move |batch| batch.map_err(|error| damaged(&name, error)));
        Ok(Box::new(TypedReader::new(file.clone(), &schema, Box::new(rows), row, whole)))
    }
}

fn open(file: &VisibleFile) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let handle =
        File::open(&file.path).map_err(|error| Error::io("read the file", &file.path, error))?;
    ParquetRecordBatchReaderBuilder::try_new(handle).map_err(|error| damaged(file, error))
}

/// The columns of an object, of which only the end is read.
fn footer(file: &VisibleFile, object: &Object) -> Result<SchemaRef> {
    let found = ArrowReaderMetadata::load(object, ArrowReaderOptions::new());
    match found {
        Ok(found) => Ok(Arc::clone(found.schema())),
        Err(ParquetError::External(inner)) => Err(match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(inner) => damaged(file, inner),
        }),
        Err(error) => Err(damaged(file, error)),
    }
}

fn damaged(
    file: &VisibleFile,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::corrupt(format!("the file {} is not readable Parquet", file.name))
        .caused_by(error)
        .hint("Copy it again; if it is still being written, rename it when it is complete.")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use ::parquet::arrow::ArrowWriter;
    use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StructArray, UInt64Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::record_batch::RecordBatch;
    use serde_json::json;

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
    async fn a_later_file_with_wider_numbers_widens_the_column() {
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let narrow = file(&[("a", narrow)]);
        let wide = file(&[("a", ints(vec![1 << 40]))]);
        let folder = Folder::new(&[("1.parquet", &narrow)]);
        let mut request = request("parquet", json!({"path": "*.parquet"}));
        let pages = read(&folder, "parquet", &request).await.unwrap();
        assert_eq!(pages[0].batch.schema().field(0).data_type(), &DataType::Int32);
        request.from = pages.last().map(|page| page.position.clone());
        folder.write("2.parquet", &wide);
        let again: ArrayRef = Arc::new(Int32Array::from(vec![3]));
        folder.write("3.parquet", &file(&[("a", again)]));
        let pages = read(&folder, "parquet", &request).await.unwrap();
        assert!(codes(&pages).is_empty(), "{:?}", pages[0].rejected);
        assert_eq!(cells(&pages), [["1099511627776"], ["3"]]);
        let told: Vec<&str> =
            pages.iter().flat_map(|page| &page.notices).map(|n| n.message.as_str()).collect();
        assert_eq!(
            told,
            ["the column \"a\" was widened: it holds Int64 from here on, and held Int32"]
        );
        for page in &pages {
            assert_eq!(page.batch.schema().field(0).data_type(), &DataType::Int64);
        }
        request.from = pages.last().map(|page| page.position.clone());
        folder.write("4.parquet", &wide);
        let pages = read(&folder, "parquet", &request).await.unwrap();
        assert!(pages[0].notices.is_empty(), "it is wide by now: {:?}", pages[0].notices);
        // Read whole, all rows have one type; one that was declared stays.
        request.from = None;
        let pages = read(&folder, "parquet", &request).await.unwrap();
        assert_eq!(cells(&pages), [["1"], ["1099511627776"], ["3"], ["1099511627776"]]);
        assert_eq!(pages[0].batch.schema().field(0).data_type(), &DataType::Int64);
        request.columns = vec![DeclaredColumn::new("a", ColumnType::Int32)];
        let pages = read(&folder, "parquet", &request).await.unwrap();
        assert_eq!(cells(&pages), [["1"], ["3"]]);
        assert_eq!(codes(&pages), ["out-of-range", "out-of-range"]);
    }

    #[tokio::test]
    async fn large_unsigned_numbers_are_kept() {
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
        let folder = Folder::new(&[("1.parquet", &file(&[("n", large)]))]);
        let request = request("parquet", json!({"path": "*.parquet"}));
        let pages = read(&folder, "parquet", &request).await.unwrap();
        assert_eq!(cells(&pages), [["1"], ["18446744073709551615"]]);
        assert_eq!(pages[0].batch.schema().field(0).data_type(), &DataType::Decimal128(20, 0));
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
