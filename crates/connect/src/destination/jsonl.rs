//! The `jsonl` destination: one JSON object per line, every column in each.
//!
//! Whole numbers and decimals are numbers with all their digits, moments and dates ISO texts, bytes
//! base64, nested values objects and lists. The `jsonl` source reads it back with the columns declared;
//! bytes need its `base64: true`.

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flywheel_base::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destination, DestinationConfig, DestinationContext, Guarantee, Refused, WriteMode};
use crate::output::{
    Compression, Encoder, JsonRows, MODES, OutputFolder, OutputFormat, Packed, Sink,
    check_json_columns, refuse_json,
};
use crate::source::jsonl::JsonLines;

/// Bytes of rows that are collected before they are compressed and written.
const BUFFER_BYTES: usize = 64 << 10;

/// The file that rows are written into.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonLinesTarget {
    /// The file, `out/events.jsonl`. Mode `replace` swaps this file; mode `append` adds one file per
    /// commit beside it, `out/events-000001.jsonl`.
    pub path: String,
    /// How files are compressed; `.gz` or `.zst` is added to their names.
    #[serde(default)]
    pub compression: Compression,
    /// The columns of text that hold JSON and are written as such, not as text; the JSON value `null`
    /// reads back as no value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json_columns: Vec<String>,
}

impl DestinationConfig for JsonLines {
    type Target = JsonLinesTarget;

    const ABOUT: &'static str = "JSON Lines files, plain or compressed";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::AtomicFiles;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(OutputFolder::<LinesOutput>::new(ctx, self.0)?))
    }
}

struct LinesOutput {
    target: JsonLinesTarget,
}

impl OutputFormat for LinesOutput {
    type Target = JsonLinesTarget;

    const NAME: &'static str = "jsonl";
    const ENDINGS: &'static [&'static str] = &["jsonl", "ndjson"];

    fn new(target: JsonLinesTarget) -> Result<Self> {
        Ok(Self { target })
    }

    fn path(&self) -> &str {
        &self.target.path
    }

    fn compression(&self) -> Compression {
        self.target.compression
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        check_json_columns(&self.target.json_columns, schema)
    }

    fn refuse(&self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        refuse_json(batch, &self.target.json_columns)
    }

    fn start(&self, sink: Sink, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        let rows = JsonRows::new(schema, &self.target.json_columns)?;
        let file = Packed::new(sink, self.target.compression)?;
        Ok(Box::new(LinesEncoder { file, rows, buffer: Vec::with_capacity(BUFFER_BYTES * 2) }))
    }
}

struct LinesEncoder {
    file: Packed,
    rows: JsonRows,
    buffer: Vec<u8>,
}

impl Encoder for LinesEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = JsonRows::cells(batch)?;
        for row in 0..batch.num_rows() {
            self.rows.push(&columns, row, &mut self.buffer)?;
            self.buffer.push(b'\n');
            if self.buffer.len() >= BUFFER_BYTES {
                self.file.add(&self.buffer)?;
                self.buffer.clear();
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Sink> {
        self.file.add(&self.buffer)?;
        self.file.finish()
    }
}
