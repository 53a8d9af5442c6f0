//! The frame of a container file: its header, and where its blocks begin.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use flywheel_base::{Error, Result};
use serde_json::Value;

use super::{NAME_ATTRIBUTE, damaged};
use crate::files::VisibleFile;

/// The first bytes of a container file.
const MAGIC: &[u8; 4] = b"Obj\x01";

/// Bytes of the mark that ends the header and every block.
const SYNC_BYTES: usize = 16;

/// The longest text in a header that is read.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// The most bytes of a number.
const NUMBER_BYTES_MAX: u32 = 10;

/// What is known of a file before its rows are decoded.
pub(super) struct Frame {
    /// The header, up to its mark.
    pub(super) header: Vec<u8>,
    /// The names that columns had before Avro, where they differ.
    pub(super) names: Vec<Option<String>>,
    /// Where each block begins, and the rows before it.
    blocks: Vec<(u64, u64)>,
    /// Rows in all.
    pub(super) rows: u64,
    /// Bytes in all.
    pub(super) size: u64,
}

impl Frame {
    /// Goes through the blocks without decoding them.
    pub(super) fn prove(file: &VisibleFile) -> Result<Self> {
        let fail = |error| Error::io("read the file", &file.path, error);
        let bytes = File::open(&file.path).map_err(fail)?;
        let mut bytes = Bytes { inner: BufReader::new(bytes), at: 0, file };
        let (sync, schema) = bytes.header()?;
        let header = bytes.at;
        let mut frame = Self {
            header: Vec::new(),
            names: names(file, &schema)?,
            blocks: Vec::new(),
            rows: 0,
            size: file.size,
        };
        while bytes.at < file.size {
            frame.blocks.push((bytes.at, frame.rows));
            let count = bytes.count()?;
            let size = bytes.count()?;
            bytes.skip(size)?;
            if bytes.take(SYNC_BYTES)? != sync {
                let why = format!("the block that ends at byte {} has a wrong mark", bytes.at);
                return Err(damaged(file, why));
            }
            frame.rows = frame.rows.checked_add(count).ok_or_else(|| bytes.broken())?;
        }
        bytes.inner.seek(SeekFrom::Start(0)).map_err(fail)?;
        bytes.at = 0;
        frame.header = bytes.take(usize::try_from(header).unwrap_or(usize::MAX))?;
        Ok(frame)
    }

    /// The blocks that hold the row and those after it; blocks without rows are left out.
    pub(super) fn blocks_from(&self, row: u64) -> Vec<Block> {
        let ends = self.blocks.iter().skip(1).copied().chain([(self.size, self.rows)]);
        let blocks = self.blocks.iter().zip(ends).map(|((start, first), (end, after))| Block {
            start: *start,
            end,
            first: *first,
            rows: after.saturating_sub(*first),
        });
        blocks.filter(|block| block.rows > 0 && block.first + block.rows > row).collect()
    }
}

/// One block of a file.
pub(super) struct Block {
    /// Where it begins.
    pub(super) start: u64,
    /// Where it ends.
    pub(super) end: u64,
    /// The rows before it.
    pub(super) first: u64,
    /// Its rows.
    pub(super) rows: u64,
}

/// The names that the columns of a schema had before Avro.
fn names(file: &VisibleFile, schema: &[u8]) -> Result<Vec<Option<String>>> {
    let schema: Value = serde_json::from_slice(schema).map_err(|error| damaged(file, error))?;
    let Some(fields) = schema.get("fields").and_then(Value::as_array) else {
        return Err(Error::invalid(format!("the rows of {} are not records", file.name))
            .hint("Only Avro files of records have columns; wrap the values into a record."));
    };
    if let Some(name) = holds_itself(&schema, "", &mut Vec::new()) {
        return Err(Error::invalid(format!(
            "the schema of {} is recursive: the record \"{name}\" holds itself",
            file.name
        ))
        .hint(
            "Recursive schemas are not read, as no column has room for them; write the file without \
             that field, or with its value as text.",
        ));
    }
    let name = |field: &Value| field.get(NAME_ATTRIBUTE)?.as_str().map(str::to_owned);
    Ok(fields.iter().map(name).collect())
}

/// The full name of a record that holds itself, however deep; `open` are those around `schema`.
fn holds_itself(schema: &Value, namespace: &str, open: &mut Vec<String>) -> Option<String> {
    let named = |name: &str| {
        let name = full_name(name, namespace);
        Some(name).filter(|name| open.contains(name))
    };
    let object = match schema {
        Value::String(name) => return named(name),
        Value::Array(branches) => {
            return branches.iter().find_map(|branch| holds_itself(branch, namespace, open));
        }
        Value::Object(object) => object,
        _ => return None,
    };
    match object.get("type")? {
        Value::String(kind) if kind == "record" || kind == "error" => {
            let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
            let name = full_name(object.get("name")?.as_str()?, own);
            let inner = name.rsplit_once('.').map_or("", |(inner, _)| inner).to_owned();
            open.push(name);
            let fields = object.get("fields").and_then(Value::as_array).into_iter().flatten();
            let found = fields
                .filter_map(|field| field.get("type"))
                .find_map(|of| holds_itself(of, &inner, open));
            open.pop();
            found
        }
        Value::String(kind) if kind == "array" => {
            holds_itself(object.get("items")?, namespace, open)
        }
        Value::String(kind) if kind == "map" => {
            holds_itself(object.get("values")?, namespace, open)
        }
        Value::String(name) => named(name),
        of => holds_itself(of, namespace, open),
    }
}

/// A name with its namespace.
fn full_name(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

struct Bytes<'a> {
    inner: BufReader<File>,
    at: u64,
    file: &'a VisibleFile,
}

impl Bytes<'_> {
    fn broken(&self) -> Error {
        damaged(self.file, format!("it is cut off or broken at byte {}", self.at))
    }

    /// The mark and the schema.
    fn header(&mut self) -> Result<(Vec<u8>, Vec<u8>)> {
        if self.file.size < MAGIC.len() as u64 || self.take(MAGIC.len())? != MAGIC {
            return Err(damaged(self.file, "it does not begin like an Avro container file"));
        }
        let mut schema = Vec::new();
        loop {
            let count = self.number()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                // The size of the entries follows, for readers that skip them.
                self.number()?;
            }
            for _ in 0..count.unsigned_abs() {
                let key = self.text()?;
                let value = self.text()?;
                if key == b"avro.schema" {
                    schema = value;
                }
            }
        }
        Ok((self.take(SYNC_BYTES)?, schema))
    }

    fn text(&mut self) -> Result<Vec<u8>> {
        let length = self.count()?;
        if length > HEADER_BYTES_MAX {
            return Err(self.broken());
        }
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        if self.file.size.saturating_sub(self.at) < count as u64 {
            return Err(self.broken());
        }
        let mut bytes = vec![0; count];
        self.inner.read_exact(&mut bytes).map_err(|error| self.broken().caused_by(error))?;
        self.at += count as u64;
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        if self.file.size.saturating_sub(self.at) < count {
            return Err(self.broken());
        }
        let step = i64::try_from(count).map_err(|_| self.broken())?;
        self.inner.seek_relative(step).map_err(|error| self.broken().caused_by(error))?;
        self.at += count;
        Ok(())
    }

    /// A number that is not negative.
    fn count(&mut self) -> Result<u64> {
        u64::try_from(self.number()?).map_err(|_| self.broken())
    }

    /// A zigzag number of 7-bit groups, the lowest first.
    fn number(&mut self) -> Result<i64> {
        let mut value: u64 = 0;
        for group in 0..NUMBER_BYTES_MAX {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            value |= u64::from(byte & 0x7f) << (group * 7).min(63);
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(self.broken())
    }
}
