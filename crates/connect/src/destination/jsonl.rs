//! The `jsonl` destination: one JSON object per line, every column in each.
//!
//! Whole numbers and decimals are numbers with all their digits, moments and dates ISO texts, bytes
//! base64, nested values objects and lists. The `jsonl` source reads it back with the columns declared;
//! bytes need its `base64: true`.

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result, suggest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destination, DestinationConfig, DestinationContext, Guarantee, Refused, WriteMode};
use crate::column::Misfit;
use crate::output::{
    Cell, Cells, Compression, Encoder, MODES, OutputFolder, OutputFormat, Packed, Sink,
    column_error, is_json, push_json, push_text, refuse_cells,
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
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let unknown = |name: &&String| !names.is_empty() && !names.contains(&name.as_str());
        match self.target.json_columns.iter().find(unknown) {
            Some(name) => Err(Error::invalid(format!(
                "`json_columns` names \"{name}\", which the rows do not have"
            ))
            .hint(suggest::hint(name, names))),
            None => Ok(()),
        }
    }

    fn refuse(&self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let json = &self.target.json_columns;
        refuse_cells(batch, |name, cell| match cell {
            Cell::Text(text) if json.iter().any(|column| column == name) && !is_json(text) => {
                Err(Misfit::new("invalid-json", "a text in one of `json_columns` that is not JSON"))
            }
            Cell::Float(_) | Cell::Date(_) | Cell::Moment(..) | Cell::Nested(..) => {
                push_json(cell, &mut Vec::new())
            }
            _ => Ok(()),
        })
    }

    fn start(&self, sink: Sink, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        let mut names = Vec::with_capacity(schema.fields().len());
        for (at, field) in schema.fields().iter().enumerate() {
            let mut name = vec![if at == 0 { b'{' } else { b',' }];
            push_text(field.name(), &mut name).map_err(|misfit| Error::internal(misfit.reason))?;
            name.push(b':');
            let json = self.target.json_columns.contains(field.name());
            names.push((name, json));
        }
        let file = Packed::new(sink, self.target.compression)?;
        Ok(Box::new(LinesEncoder { file, names, buffer: Vec::with_capacity(BUFFER_BYTES * 2) }))
    }
}

struct LinesEncoder {
    file: Packed,
    /// What stands before each value, and whether its texts are JSON.
    names: Vec<(Vec<u8>, bool)>,
    buffer: Vec<u8>,
}

impl Encoder for LinesEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            columns.push(Cells::of(array).map_err(|error| column_error(field.name(), error))?);
        }
        for row in 0..batch.num_rows() {
            if columns.is_empty() {
                self.buffer.push(b'{');
            }
            for (column, (name, json)) in columns.iter().zip(&self.names) {
                self.buffer.extend_from_slice(name);
                let outcome = column.cell(row).and_then(|cell| match cell {
                    Cell::Text(text) if *json => {
                        // A line end in JSON is always a blank between values.
                        let one_line = text.bytes().map(|byte| match byte {
                            b'\n' | b'\r' => b' ',
                            byte => byte,
                        });
                        self.buffer.extend(one_line);
                        Ok(())
                    }
                    cell => push_json(cell, &mut self.buffer),
                });
                outcome.map_err(|misfit| Error::internal(misfit.reason))?;
            }
            self.buffer.extend_from_slice(b"}\n");
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
