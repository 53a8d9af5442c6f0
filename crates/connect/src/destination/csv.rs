//! The `csv` destination: files that read back to the last character.
//!
//! No value is nothing between the delimiters, an empty text is `""`, as PostgreSQL writes them; what
//! has a delimiter, a quote, a line end or a blank at an end is in quotes. Moments are ISO 8601,
//! decimals have all their places, bytes are base64, nested values are JSON. The `csv` source reads it
//! all back with `exact: true` and the columns declared.

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destination, DestinationConfig, DestinationContext, Guarantee, Refused, WriteMode};
use crate::column::Misfit;
use crate::output::{
    Cell, Cells, Compression, Encoder, MODES, OutputFolder, OutputFormat, Packed, Sink,
    base64_text, check_header, column_error, date_text, decimal_text, float_text, moment_text,
    push_json, refuse_cells,
};
use crate::source::csv::{Csv, sign};

/// Bytes of rows that are collected before they are compressed and written.
const BUFFER_BYTES: usize = 64 << 10;

/// The file that rows are written into.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvTarget {
    /// The file, `out/orders.csv`. Mode `replace` swaps this file; mode `append` adds one file per
    /// commit beside it, `out/orders-000001.csv`.
    pub path: String,
    /// How files are compressed; `.gz` or `.zst` is added to their names.
    #[serde(default)]
    pub compression: Compression,
    /// The sign between fields, or `tab`; a comma if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// What happens to texts that a spreadsheet would take for a formula.
    #[serde(default)]
    pub formulas: Formulas,
}

/// What happens to texts that begin like a formula: with `=`, `+`, `-`, `@`, a tab or a line end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Formulas {
    /// They are written as they are, so that they read back as they were.
    #[default]
    Keep,
    /// An apostrophe is put before them, so that a spreadsheet shows and does not run them.
    Escape,
}

impl DestinationConfig for Csv {
    type Target = CsvTarget;

    const ABOUT: &'static str = "CSV files, plain or compressed";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::AtomicFiles;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(OutputFolder::<CsvOutput>::new(ctx, self.0)?))
    }
}

struct CsvOutput {
    target: CsvTarget,
    delimiter: u8,
}

impl OutputFormat for CsvOutput {
    type Target = CsvTarget;

    const NAME: &'static str = "csv";
    const ENDINGS: &'static [&'static str] = &["csv", "tsv", "txt"];

    fn new(target: CsvTarget) -> Result<Self> {
        let delimiter = sign("delimiter", target.delimiter.as_deref())?.unwrap_or(b',');
        if delimiter == b'"' {
            return Err(Error::invalid("`delimiter` is the sign around fields")
                .hint("Write a comma, a semicolon, a bar or tab."));
        }
        Ok(Self { target, delimiter })
    }

    fn path(&self) -> &str {
        &self.target.path
    }

    fn compression(&self) -> Compression {
        self.target.compression
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        check_header(schema)
    }

    fn refuse(&self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        refuse_cells(batch, |_, cell| match cell {
            Cell::Date(days) => date_text(days).map(drop),
            Cell::Moment(micros, zoned) => moment_text(micros, 'T', zoned).map(drop),
            Cell::Nested(..) => push_json(cell, &mut Vec::new()),
            _ => Ok(()),
        })
    }

    fn start(&self, sink: Sink, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        let mut encoder = CsvEncoder {
            file: Packed::new(sink, self.target.compression)?,
            delimiter: self.delimiter,
            formulas: self.target.formulas,
            buffer: Vec::with_capacity(BUFFER_BYTES * 2),
        };
        for (at, field) in schema.fields().iter().enumerate() {
            if at > 0 {
                encoder.buffer.push(self.delimiter);
            }
            encoder.text(field.name());
        }
        encoder.buffer.push(b'\n');
        Ok(Box::new(encoder))
    }
}

struct CsvEncoder {
    file: Packed,
    delimiter: u8,
    formulas: Formulas,
    buffer: Vec<u8>,
}

impl CsvEncoder {
    /// Adds a text, in quotes where it would read back as something else.
    fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let escaped = self.formulas == Formulas::Escape
            && matches!(bytes.first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n'));
        let special = |byte: &u8| *byte == self.delimiter || matches!(byte, b'"' | b'\n' | b'\r');
        let blank = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
        let quoted = bytes.is_empty()
            || blank(bytes.first())
            || blank(bytes.last())
            || bytes.iter().any(special);
        if quoted {
            self.buffer.push(b'"');
        }
        if escaped {
            self.buffer.push(b'\'');
        }
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(b'"', rest) {
            let (before, after) = rest.split_at(at + 1);
            self.buffer.extend_from_slice(before);
            self.buffer.push(b'"');
            rest = after;
        }
        self.buffer.extend_from_slice(rest);
        if quoted {
            self.buffer.push(b'"');
        }
    }

    fn cell(&mut self, cell: Cell<'_>) -> Result<(), Misfit> {
        match cell {
            Cell::Null => {}
            Cell::Text(text) => self.text(text),
            Cell::Bool(value) => self.plain(if value { "true" } else { "false" }),
            Cell::Int(value) => self.plain(&value.to_string()),
            Cell::Float(value) => self.plain(&float_text(value)),
            Cell::Decimal(value, scale) => self.plain(&decimal_text(value, scale)),
            Cell::Date(days) => self.plain(&date_text(days)?),
            Cell::Moment(micros, zoned) => self.plain(&moment_text(micros, 'T', zoned)?),
            // Even no bytes are a value.
            Cell::Bytes([]) => self.buffer.extend_from_slice(b"\"\""),
            Cell::Bytes(bytes) => self.plain(&base64_text(bytes)),
            Cell::Nested(..) => {
                let mut json = Vec::new();
                push_json(cell, &mut json)?;
                self.text(&String::from_utf8_lossy(&json));
            }
        }
        Ok(())
    }

    /// Adds a text of our own making; a delimiter such as `-` or `.` can still be in it.
    fn plain(&mut self, text: &str) {
        let quoted = text.as_bytes().contains(&self.delimiter);
        if quoted {
            self.buffer.push(b'"');
        }
        self.buffer.extend_from_slice(text.as_bytes());
        if quoted {
            self.buffer.push(b'"');
        }
    }
}

impl Encoder for CsvEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            columns.push(Cells::of(array).map_err(|error| column_error(field.name(), error))?);
        }
        for row in 0..batch.num_rows() {
            for (at, column) in columns.iter().enumerate() {
                if at > 0 {
                    self.buffer.push(self.delimiter);
                }
                column
                    .cell(row)
                    .and_then(|cell| self.cell(cell))
                    .map_err(|misfit| Error::internal(misfit.reason))?;
            }
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
