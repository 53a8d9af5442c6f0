//! The `avro` source: Avro object container files, with the types they declare.
//!
//! Logical types become dates, moments, times, decimals; UUIDs and enums become text, and so do what no
//! table has a type for: durations, in their ISO form, and decimals of more than 38 digits. Records, arrays
//! and maps keep their structure, unless one of those is in them; then they become JSON text, and so does a
//! union of more than one type with "no value". The
//! frame of a file (every block whole and with its mark) is proved before the first row is read,
//! because a file that is cut off between two rows would otherwise pass as a shorter one.

mod frame;

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, IntervalMonthDayNanoType, IntervalUnit, Schema, SchemaRef,
};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow_avro::codec::Tz;
use arrow_avro::reader::ReaderBuilder;
use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::frame::{Block, Frame};
use super::{ReadRequest, Source, SourceConfig, SourceContext};
use crate::files::{
    self, FileReader, FileSettings, Files, NewColumns, Resume, Sample, TypedReader, VisibleFile,
    hash_all, plain_type,
};
use crate::objects::FilePlace;
use crate::output::{Cells, push_json};

/// The attribute of a field that keeps a name Avro does not allow.
pub(crate) const NAME_ATTRIBUTE: &str = "flywheel.name";

/// The most rows of a block; more is a number that was broken.
const BLOCK_ROWS_MAX: usize = 1 << 28;

/// A folder of Avro files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Avro(pub FilePlace);

/// The files of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AvroStream {
    /// The file, or a pattern of files: `events/**/*.avro`.
    pub path: String,
    /// The form of file names that hold a date, `%Y-%m-%d.avro`: a file is read from its date on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<String>,
    /// What happens to a column the table does not know yet.
    #[serde(default)]
    pub new_columns: NewColumns,
    /// Whether each row carries its file and row number, in the columns `_file` and `_line`.
    #[serde(default)]
    pub lineage_columns: bool,
}

impl SourceConfig for Avro {
    type Stream = AvroStream;

    const ABOUT: &'static str = "Avro container files, one or many, with their own column types";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Files::<AvroFormat>::new(ctx, self.0)?))
    }
}

/// The Avro format.
pub(crate) struct AvroFormat {
    stream: AvroStream,
    page_rows: usize,
}

impl files::Format for AvroFormat {
    type Stream = AvroStream;

    const NAME: &'static str = "avro";
    const EXTENSIONS: &'static [&'static str] = &["avro"];
    const GROWS: bool = false;

    fn new(stream: AvroStream, request: &ReadRequest) -> Result<Self> {
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
        let file = &file.on_disk()?;
        let frame = Frame::prove(file)?;
        for field in rows(file, &frame, 0, self.page_rows)?.1.fields() {
            sample.fix(field.name(), field.data_type().clone());
        }
        Ok(())
    }

    fn open(&self, file: &VisibleFile, resume: Option<Resume>) -> Result<Box<dyn FileReader>> {
        let file = &file.on_disk()?;
        let whole = hash_all(file)?;
        let row = resume.map_or(0, |resume| resume.state.offset);
        let frame = Frame::prove(file)?;
        let (rows, schema) = rows(file, &frame, row, self.page_rows)?;
        Ok(Box::new(TypedReader::new(file.clone(), &schema, rows, row, whole)))
    }
}

fn damaged(
    file: &VisibleFile,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::corrupt(format!("the file {} is not readable Avro", file.name))
        .caused_by(error)
        .hint("Copy it again; if it is still being written, rename it when it is complete.")
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// The rows of a file behind the first `row`, and their columns.
///
/// Each block is decoded by a reader of its own that is asked for exactly the block's rows, once: the
/// decoder runs for ever on a block that holds more bytes than its rows need.
fn rows(
    file: &VisibleFile,
    frame: &Frame,
    row: u64,
    page_rows: usize,
) -> Result<(Batches, SchemaRef)> {
    let empty = ReaderBuilder::new()
        .with_tz(Tz::Utc)
        .build(Cursor::new(frame.header.clone()))
        .map_err(|error| damaged(file, error))?;
    let schema = landed_schema(&empty.schema(), &frame.names);
    let (name, landed, header) = (file.clone(), Arc::clone(&schema), frame.header.clone());
    let mut blocks = frame.blocks_from(row).into_iter();
    let mut ready: Option<RecordBatch> = None;
    let batches = std::iter::from_fn(move || {
        loop {
            if let Some(batch) = ready.take().filter(|batch| batch.num_rows() > 0) {
                let count = batch.num_rows().min(page_rows.max(1));
                ready = Some(batch.slice(count, batch.num_rows() - count));
                let page = landed_batch(&batch.slice(0, count), &landed);
                return Some(page.map_err(|error| damaged(&name, error)));
            }
            let block = blocks.next()?;
            match decode(&name, &header, &block) {
                Ok(batch) => {
                    let skip = usize::try_from(row.saturating_sub(block.first))
                        .unwrap_or(usize::MAX)
                        .min(batch.num_rows());
                    ready = Some(batch.slice(skip, batch.num_rows() - skip));
                }
                Err(error) => {
                    blocks = Vec::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    });
    Ok((Box::new(batches), schema))
}

/// The rows of one block.
fn decode(file: &VisibleFile, header: &[u8], block: &Block) -> Result<RecordBatch> {
    let fail = |error| Error::io("read the file", &file.path, error);
    let rows = usize::try_from(block.rows).ok().filter(|rows| *rows <= BLOCK_ROWS_MAX);
    let Some(rows) = rows else {
        return Err(damaged(file, format!("a block claims to have {} rows", block.rows)));
    };
    let mut bytes = File::open(&file.path).map_err(fail)?;
    bytes.seek(SeekFrom::Start(block.start)).map_err(fail)?;
    let text = Cursor::new(header.to_vec())
        .chain(BufReader::new(bytes.take(block.end.saturating_sub(block.start))));
    let mut reader = ReaderBuilder::new()
        .with_batch_size(rows)
        .with_tz(Tz::Utc)
        .build(text)
        .map_err(|error| damaged(file, error))?;
    let batch = reader.next().transpose().map_err(|error| damaged(file, error))?;
    match batch.filter(|batch| batch.num_rows() == rows) {
        Some(batch) => Ok(batch),
        None => Err(damaged(file, format!("some of the {rows} rows of a block are missing"))),
    }
}

/// The columns as they land: plain types, with the names they had before Avro.
fn landed_schema(schema: &Schema, names: &[Option<String>]) -> SchemaRef {
    let fields = schema.fields().iter().enumerate().map(|(at, field)| {
        let name = names.get(at).cloned().flatten().unwrap_or_else(|| field.name().clone());
        Field::new(name, landed_type(field), true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn is_uuid(field: &Field) -> bool {
    let uuid = |key: &str| field.metadata().get(key).is_some_and(|value| value.contains("uuid"));
    field.data_type() == &DataType::FixedSizeBinary(16)
        && (uuid("ARROW:extension:name") || uuid("logicalType"))
}

fn landed_type(field: &Field) -> DataType {
    match field.data_type() {
        DataType::FixedSizeBinary(_) if is_uuid(field) => DataType::Utf8,
        DataType::Dictionary(..) | DataType::Union(..) => DataType::Utf8,
        DataType::FixedSizeBinary(_) => DataType::Binary,
        other if is_only_text(other) => DataType::Utf8,
        other => plain_type(other),
    }
}

/// Whether no table has a type for all values of `data_type`.
fn is_only_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) | DataType::Decimal256(..) | DataType::Union(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| is_only_text(field.data_type())),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => is_only_text(field.data_type()),
        _ => false,
    }
}

fn landed_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let source = batch.schema();
    let fields = source.fields().iter().zip(schema.fields());
    let columns = fields.zip(batch.columns()).map(|((from, to), array)| {
        if is_uuid(from) {
            return Ok(uuids(array));
        }
        match from.data_type() {
            DataType::Interval(_) => durations(array),
            of if of.is_nested() && to.data_type() == &DataType::Utf8 => json_texts(array),
            _ if array.data_type() == to.data_type() => Ok(Arc::clone(array)),
            _ => cast(array, to.data_type())
                .map_err(|error| Error::invalid("a value cannot be read").caused_by(error)),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect::<Result<_>>()?;
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Error::internal("columns do not form a batch").caused_by(error))
}

/// UUIDs in their usual text form.
fn uuids(array: &ArrayRef) -> ArrayRef {
    let values = array.as_fixed_size_binary();
    let text = |row: usize| {
        let mut text = String::with_capacity(36);
        for (at, byte) in values.value(row).iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        text
    };
    let texts = (0..array.len()).map(|row| array.is_valid(row).then(|| text(row)));
    Arc::new(StringArray::from_iter(texts))
}

/// Durations in their ISO form, `P1M2DT3.004S`.
fn durations(array: &ArrayRef) -> Result<ArrayRef> {
    let array = cast(array, &DataType::Interval(IntervalUnit::MonthDayNano))
        .map_err(|error| Error::invalid("a duration cannot be read").caused_by(error))?;
    let values = array.as_primitive::<IntervalMonthDayNanoType>();
    let text = |row: usize| {
        let value = values.value(row);
        let sign = if value.nanoseconds < 0 { "-" } else { "" };
        let nanos = value.nanoseconds.unsigned_abs();
        let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let fraction = match fraction {
            0 => String::new(),
            fraction => format!(".{fraction:09}").trim_end_matches('0').to_owned(),
        };
        format!("P{}M{}DT{sign}{seconds}{fraction}S", value.months, value.days)
    };
    let texts = (0..values.len()).map(|row| values.is_valid(row).then(|| text(row)));
    Ok(Arc::new(StringArray::from_iter(texts)))
}

/// Values of many types as JSON; "no value" stays none.
fn json_texts(array: &ArrayRef) -> Result<ArrayRef> {
    let cells = Cells::of(array)?;
    let mut texts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        let mut text = Vec::new();
        let pushed = cells.cell(row).and_then(|cell| push_json(cell, &mut text));
        pushed.map_err(|misfit| Error::invalid(misfit.reason))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        texts.push(Some(text).filter(|text| text != "null"));
    }
    Ok(Arc::new(StringArray::from(texts)))
}

#[cfg(test)]
pub(crate) mod tests;
