//! Rows of a binary `COPY` as they arrive, with every field's place.
//!
//! The wire is row by row, Arrow is column by column: a block of rows is first cut into fields, then
//! each column walks down its fields in a loop of its own.

use flywheel_base::{Error, Result};

/// What a binary `COPY` begins with.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The length of signature, flags and extension length.
const HEADER: usize = 19;

/// Rows of a block at most.
pub(super) const BLOCK_ROWS: usize = 1024;

/// A block ends when it has this many bytes, however few its rows are.
const BLOCK_BYTES: usize = 1 << 20;

/// Where a field's bytes are.
#[derive(Clone, Copy, Debug)]
struct Field {
    start: usize,
    /// -1 for "no value".
    length: i32,
}

/// Some rows.
#[derive(Debug)]
pub(super) struct Block {
    data: Vec<u8>,
    fields: Vec<Field>,
    width: usize,
    rows: usize,
    /// Where the first byte is that belongs to no complete row.
    parsed: usize,
    begun: bool,
    ended: bool,
}

impl Block {
    /// A block of rows of `width` fields.
    pub(super) fn new(width: usize) -> Self {
        Self {
            data: Vec::new(),
            fields: Vec::new(),
            width,
            rows: 0,
            parsed: 0,
            begun: false,
            ended: false,
        }
    }

    /// Complete rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the complete rows.
    pub(super) fn bytes(&self) -> usize {
        self.parsed
    }

    /// Takes over bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// Cuts what arrived into rows, until the block has `rows_max`; says whether it is full.
    pub(super) fn parse(&mut self, rows_max: usize) -> Result<bool> {
        if !self.begun {
            if self.data.len() < HEADER {
                return Ok(false);
            }
            if !self.data.starts_with(SIGNATURE) {
                return Err(damaged("it does not begin as a COPY"));
            }
            // No extension is defined, so that its length is 0.
            self.parsed = HEADER;
            self.begun = true;
        }
        while self.rows < rows_max.min(BLOCK_ROWS) && self.parsed < BLOCK_BYTES {
            if !self.row()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes one row; says whether there was a complete one.
    fn row(&mut self) -> Result<bool> {
        let mut at = self.parsed;
        let Some(count) = word(&self.data, at) else { return Ok(false) };
        if count == -1 {
            self.ended = true;
            return Ok(false);
        }
        if usize::try_from(count) != Ok(self.width) || self.ended {
            return Err(damaged("a row has another number of columns"));
        }
        at += 2;
        let fields = self.fields.len();
        for _ in 0..self.width {
            let Some(length) = long(&self.data, at) else {
                self.fields.truncate(fields);
                return Ok(false);
            };
            at += 4;
            self.fields.push(Field { start: at, length });
            at += usize::try_from(length).unwrap_or(0);
        }
        if at > self.data.len() {
            self.fields.truncate(fields);
            return Ok(false);
        }
        self.rows += 1;
        self.parsed = at;
        Ok(true)
    }

    /// Forgets the complete rows.
    pub(super) fn clear(&mut self) {
        self.data.drain(..self.parsed);
        self.fields.clear();
        self.rows = 0;
        self.parsed = 0;
    }

    /// Starts with the next `COPY`, after the end of one.
    pub(super) fn restart(&mut self) -> Result<()> {
        let rest = self.data.len() - self.parsed;
        if !self.ended || self.rows > 0 || rest > 2 {
            return Err(damaged("it ended in the middle of a row"));
        }
        self.data.clear();
        self.parsed = 0;
        (self.begun, self.ended) = (false, false);
        Ok(())
    }

    /// The values of a column, from the first row on.
    pub(super) fn column(&self, at: usize) -> impl Iterator<Item = Option<&[u8]>> {
        let fields = self.fields.get(at..).unwrap_or_default();
        fields.iter().step_by(self.width.max(1)).map(|field| self.bytes_of(*field))
    }

    /// One value.
    pub(super) fn value(&self, row: usize, column: usize) -> Option<&[u8]> {
        self.fields.get(row * self.width + column).and_then(|field| self.bytes_of(*field))
    }

    fn bytes_of(&self, field: Field) -> Option<&[u8]> {
        let length = usize::try_from(field.length).ok()?;
        self.data.get(field.start..field.start + length)
    }
}

fn word(data: &[u8], at: usize) -> Option<i16> {
    data.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(i16::from_be_bytes)
}

fn long(data: &[u8], at: usize) -> Option<i32> {
    data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes)
}

fn damaged(what: &str) -> Error {
    Error::corrupt(format!("what the server sends is not a binary COPY: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 8]);
        for row in rows {
            bytes.extend((row.len() as i16).to_be_bytes());
            for value in *row {
                bytes.extend(value.map_or(-1, |value| value.len() as i32).to_be_bytes());
                bytes.extend(value.unwrap_or_default());
            }
        }
        bytes.extend((-1i16).to_be_bytes());
        bytes
    }

    #[test]
    fn rows_are_the_same_however_the_bytes_are_cut() {
        let bytes = copy(&[&[Some(b"ab"), None], &[Some(b""), Some(b"c")], &[None, None]]);
        for cut in 1..bytes.len() {
            let mut block = Block::new(2);
            for part in bytes.chunks(cut) {
                block.append(part);
                block.parse(10).unwrap();
            }
            assert_eq!(block.rows(), 3);
            let first: Vec<_> = block.column(0).collect();
            assert_eq!(first, [Some(&b"ab"[..]), Some(b""), None]);
            assert_eq!(block.value(1, 1), Some(&b"c"[..]));
            block.clear();
            block.restart().unwrap();
        }
    }

    #[test]
    fn a_copy_that_is_cut_off_or_no_copy_is_damage() {
        let bytes = copy(&[&[Some(b"ab")]]);
        let mut block = Block::new(1);
        block.append(&bytes[..bytes.len() - 2]);
        assert!(!block.parse(10).unwrap());
        block.clear();
        assert!(block.restart().is_err());
        let mut block = Block::new(2);
        block.append(&bytes);
        assert!(block.parse(10).is_err());
        let mut block = Block::new(1);
        block.append(&[b'x'; 30]);
        assert!(block.parse(10).is_err());
    }
}
