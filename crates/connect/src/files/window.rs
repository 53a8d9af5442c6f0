//! A sliding view of a text, for formats whose rows are lines.

use flywheel_base::Result;

use super::input::Input;
use super::state::FileState;

/// Bytes the view begins with.
const WINDOW_BYTES: usize = 256 << 10;

/// The mark some programs put before UTF-8.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// The text from the next row on, as far as it has been read.
pub(crate) struct Window {
    input: Input,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    limit: usize,
    offset: u64,
    line: u64,
}

impl Window {
    /// Opens a view that grows to `limit` bytes, at decoded byte `offset` and `line`.
    pub(crate) fn new(input: Input, limit: usize, offset: u64, line: u64) -> Result<Self> {
        let buffer = vec![0; WINDOW_BYTES.min(limit.max(BOM.len() + 1))];
        let mut window =
            Self { input, buffer, start: 0, end: 0, ended: false, limit, offset, line };
        if offset == 0 {
            while window.end < BOM.len() && window.fill()? {}
            if window.data().starts_with(BOM) {
                window.consume(BOM.len(), 0);
            }
        }
        Ok(window)
    }

    /// The text in view.
    pub(crate) fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether the view reaches to the end of the file.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Whether the view cannot grow any more.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start >= self.limit
    }

    /// The line at the start of the view, counted from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The decoded byte at the start of the view.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the text was made from another encoding.
    pub(crate) fn transcoded(&self) -> bool {
        self.input.transcoded()
    }

    /// Moves the start of the view.
    pub(crate) fn consume(&mut self, bytes: usize, lines: u64) {
        let bytes = bytes.min(self.end - self.start);
        self.start += bytes;
        self.offset += bytes as u64;
        self.line += lines;
    }

    /// Reads more; false at the end of the file.
    pub(crate) fn fill(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let size = (self.buffer.len() * 2).min(self.limit.max(self.buffer.len() + 1));
            self.buffer.resize(size, 0);
        }
        let read = self.input.read(&mut self.buffer[self.end..])?;
        self.end += read;
        self.ended = read == 0;
        Ok(read > 0)
    }

    /// Leaves out everything up to and including the next `end`, however far it is, and gives the
    /// first bytes of it for the record.
    pub(crate) fn skip_line(&mut self, end: u8) -> Result<Vec<u8>> {
        let kept = self.data().len().min(crate::page::RAW_BYTES_MAX);
        let raw = self.data()[..kept].to_vec();
        loop {
            if let Some(at) = memchr::memchr(end, self.data()) {
                self.consume(at + 1, 1);
                return Ok(raw);
            }
            self.consume(self.data().len(), 0);
            if !self.fill()? {
                self.line += 1;
                return Ok(raw);
            }
        }
    }

    /// What the file's bytes were as far as they were read, and how far the rows came.
    pub(crate) fn state(&self, done: bool) -> Result<FileState> {
        let state = self.input.state(done)?;
        Ok(FileState { offset: self.offset, line: self.line, ..state })
    }
}
