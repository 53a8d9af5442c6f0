//! The `parquet` destination: columns with the types they have, without field metadata.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow::datatypes::{DataType, IntervalUnit, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destination, DestinationConfig, DestinationContext, Guarantee, Refused, WriteMode};
use crate::output::{Encoder, MODES, OutputFolder, OutputFormat, Sink, column_error};
use crate::source::parquet::Parquet;

/// The most rows of a row group.
const GROUP_ROWS_MAX: usize = 1 << 20;

/// A row group ends when its rows take this much memory.
const GROUP_BYTES_MAX: usize = 64 << 20;

/// The file that rows are written into.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetTarget {
    /// The file, `out/orders.parquet`. Mode `replace` swaps this file; mode `append` adds one file per
    /// commit beside it, `out/orders-000001.parquet`.
    pub path: String,
    /// How pages are compressed.
    #[serde(default)]
    pub compression: Pack,
}

/// How pages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pack {
    /// With zstd.
    #[default]
    Zstd,
    /// With snappy.
    Snappy,
    /// Not at all.
    None,
}

impl DestinationConfig for Parquet {
    type Target = ParquetTarget;

    const ABOUT: &'static str = "Parquet files with the columns' own types";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::AtomicFiles;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(OutputFolder::<ParquetOutput>::new(ctx, self.0)?))
    }
}

struct ParquetOutput {
    target: ParquetTarget,
}

impl OutputFormat for ParquetOutput {
    type Target = ParquetTarget;

    const NAME: &'static str = "parquet";
    const ENDINGS: &'static [&'static str] = &["parquet"];

    fn new(target: ParquetTarget) -> Result<Self> {
        Ok(Self { target })
    }

    fn path(&self) -> &str {
        &self.target.path
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        check_types(schema)
    }

    fn refuse(&self, _: &RecordBatch) -> Result<Vec<Refused>> {
        Ok(Vec::new())
    }

    fn start(&self, sink: Sink, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        encoder(sink, schema, self.target.compression)
    }
}

/// Names the first column whose type Parquet does not have.
pub(crate) fn check_types(schema: &Schema) -> Result<()> {
    for field in schema.fields() {
        let alone = Schema::new(vec![field.as_ref().clone()]);
        let what = || Error::invalid(format!("Parquet has no type for {}", field.data_type()));
        // The schema has a form for it, which the writer does not know.
        if *field.data_type() == DataType::Interval(IntervalUnit::MonthDayNano) {
            return Err(column_error(field.name(), what()));
        }
        ArrowSchemaConverter::new()
            .convert(&alone)
            .map_err(|error| column_error(field.name(), what().caused_by(error)))?;
    }
    Ok(())
}

/// Starts a Parquet file; also for rows that are staged on their way into another format.
pub(crate) fn encoder(sink: Sink, schema: &SchemaRef, pack: Pack) -> Result<Box<dyn Encoder>> {
    let compression = match pack {
        Pack::Zstd => Compression::ZSTD(ZstdLevel::default()),
        Pack::Snappy => Compression::SNAPPY,
        Pack::None => Compression::UNCOMPRESSED,
    };
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
        .build();
    let path = sink.path().to_owned();
    let writer = ArrowWriter::try_new(sink, Arc::clone(schema), Some(properties))
        .map_err(|error| failed(&path, error))?;
    Ok(Box::new(ParquetEncoder { writer, path }))
}

struct ParquetEncoder {
    writer: ArrowWriter<Sink>,
    path: PathBuf,
}

impl Encoder for ParquetEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|error| failed(&self.path, error))?;
        if self.writer.in_progress_size() > GROUP_BYTES_MAX {
            self.writer.flush().map_err(|error| failed(&self.path, error))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Sink> {
        let Self { writer, path } = *self;
        writer.into_inner().map_err(|error| failed(&path, error))
    }
}

/// The error of a write; a full disk comes wrapped in one of Parquet's.
fn failed(path: &Path, error: ParquetError) -> Error {
    let invalid = || Error::invalid("the rows cannot be written as Parquet");
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => Sink::fail(path, *error),
            Err(inner) => invalid().caused_by(inner),
        },
        error => invalid().caused_by(error),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn a_column_that_parquet_has_no_type_for_is_named() {
        let duration = DataType::Interval(IntervalUnit::MonthDayNano);
        let fields =
            vec![Field::new("id", DataType::Int64, true), Field::new("took", duration, true)];
        let error = check_types(&Schema::new(fields)).unwrap_err();
        assert!(error.report().contains("\"took\""), "{}", error.report());
    }
}
