//! The `avro` destination: object container files that every Avro program reads.
//!
//! Decimals, dates, times, moments and UTC have their logical types; nested values keep their
//! structure. A column whose name Avro does not allow gets one that it does, and keeps its own in an
//! attribute that the `avro` source reads.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow_avro::compression::CompressionCodec;
use arrow_avro::errors::AvroError;
use arrow_avro::writer::format::AvroOcfFormat;
use arrow_avro::writer::{Writer as AvroWriter, WriterBuilder};
use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destination, DestinationConfig, DestinationContext, Guarantee, Refused, WriteMode};
use crate::output::{Encoder, MODES, OutputFolder, OutputFormat, Sink, column_error};
use crate::source::avro::{Avro, NAME_ATTRIBUTE};

/// Rows of one block.
const BLOCK_ROWS: usize = 4_096;

/// The file that rows are written into.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AvroTarget {
    /// The file, `out/events.avro`. Mode `replace` swaps this file; mode `append` adds one file per
    /// commit beside it, `out/events-000001.avro`.
    pub path: String,
    /// How blocks are compressed.
    #[serde(default)]
    pub compression: AvroCodec,
}

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AvroCodec {
    /// With deflate, which every Avro program reads.
    #[default]
    Deflate,
    /// With snappy.
    Snappy,
    /// With zstd.
    Zstd,
    /// Not at all.
    None,
}

impl AvroCodec {
    fn codec(self) -> Option<CompressionCodec> {
        match self {
            Self::Deflate => Some(CompressionCodec::Deflate),
            Self::Snappy => Some(CompressionCodec::Snappy),
            Self::Zstd => Some(CompressionCodec::ZStandard),
            Self::None => None,
        }
    }
}

impl DestinationConfig for Avro {
    type Target = AvroTarget;

    const ABOUT: &'static str = "Avro container files with the columns' own types";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::AtomicFiles;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(OutputFolder::<AvroOutput>::new(ctx, self.0)?))
    }
}

struct AvroOutput {
    target: AvroTarget,
}

impl OutputFormat for AvroOutput {
    type Target = AvroTarget;

    const NAME: &'static str = "avro";
    const ENDINGS: &'static [&'static str] = &["avro"];

    fn new(target: AvroTarget) -> Result<Self> {
        Ok(Self { target })
    }

    fn path(&self) -> &str {
        &self.target.path
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        for field in schema.fields() {
            let alone = avro_schema(&Schema::new(vec![field.as_ref().clone()]));
            WriterBuilder::new(alone.as_ref().clone())
                .build::<_, AvroOcfFormat>(Vec::new())
                .map_err(|error| {
                    let what = format!("Avro has no type for {}", field.data_type());
                    column_error(field.name(), Error::invalid(what).caused_by(error))
                })?;
        }
        Ok(())
    }

    fn refuse(&self, _: &RecordBatch) -> Result<Vec<Refused>> {
        Ok(Vec::new())
    }

    fn start(&self, sink: Sink, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        let path = sink.path().to_owned();
        let schema = avro_schema(schema);
        let writer = WriterBuilder::new(schema.as_ref().clone())
            .with_compression(self.target.compression.codec())
            .build::<_, AvroOcfFormat>(sink)
            .map_err(|error| failed(&path, error))?;
        Ok(Box::new(AvroEncoder { writer, schema, path }))
    }
}

/// The columns with names and types that Avro has.
fn avro_schema(schema: &Schema) -> SchemaRef {
    let mut taken = BTreeSet::new();
    let fields = schema.fields().iter().map(|field| {
        let name = allowed(field.name(), &mut taken);
        let mut metadata = HashMap::new();
        if name != *field.name() {
            // Attributes are JSON, so that a column called 7 stays a text.
            let quoted = serde_json::Value::String(field.name().clone()).to_string();
            metadata.insert(NAME_ATTRIBUTE.to_owned(), quoted);
        }
        Field::new(name, avro_type(field.data_type()), true).with_metadata(metadata)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A name of letters, digits and `_` that none of the others has.
fn allowed(name: &str, taken: &mut BTreeSet<String>) -> String {
    let sign = |char: char| if char.is_ascii_alphanumeric() { char } else { '_' };
    let mut base: String = name.chars().map(sign).collect();
    if !base.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        base.insert(0, '_');
    }
    let mut candidate = base.clone();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{base}_{number}");
        number += 1;
    }
    candidate
}

/// The type that is written for one that Avro does not have.
fn avro_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, value) => avro_type(value),
        DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Utf8View => DataType::Utf8,
        other => other.clone(),
    }
}

struct AvroEncoder {
    writer: AvroWriter<Sink, AvroOcfFormat>,
    schema: SchemaRef,
    path: PathBuf,
}

impl Encoder for AvroEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let wrong = |error| Error::internal("columns do not form a batch").caused_by(error);
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
            columns.push(cast(array, field.data_type()).map_err(wrong)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(wrong)?;
        let mut at = 0;
        while at < batch.num_rows() {
            let count = BLOCK_ROWS.min(batch.num_rows() - at);
            let block = batch.slice(at, count);
            self.writer.write(&block).map_err(|error| failed(&self.path, error))?;
            at += count;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Sink> {
        self.writer.finish().map_err(|error| failed(&self.path, error))?;
        Ok(self.writer.into_inner())
    }
}

/// The error of a write; a full disk comes wrapped in one of Avro's.
fn failed(path: &Path, error: AvroError) -> Error {
    let invalid = || Error::invalid("the rows cannot be written as Avro");
    match error {
        AvroError::IoError(_, error) => Sink::fail(path, error),
        AvroError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => Sink::fail(path, *error),
            Err(inner) => invalid().caused_by(inner),
        },
        error => invalid().caused_by(error),
    }
}
