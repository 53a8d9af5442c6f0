//! A program's output, line by line, and no line longer than allowed.

use flywheel_base::{Error, Result};
use tokio::io::AsyncBufReadExt as _;

use super::Running;
use crate::page::RAW_BYTES_MAX;

/// How a line was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// All of it is there.
    Whole,
    /// It is longer than allowed; only its begin is there.
    TooLong,
}

/// A line of which the end is not read yet.
#[derive(Debug, Default)]
pub(super) struct Begun {
    bytes: Vec<u8>,
    length: usize,
}

impl Begun {
    /// Adds what was read; of a line beyond `limit` only the begin is kept.
    fn add(&mut self, part: &[u8], limit: usize) {
        self.length += part.len();
        let mut room = limit;
        if self.length > limit {
            room = RAW_BYTES_MAX;
            self.bytes.truncate(room);
        }
        let kept = part.len().min(room.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(part.get(..kept).unwrap_or_default());
    }

    /// Hands the line over.
    fn take(&mut self, line: &mut Vec<u8>, limit: usize) -> Line {
        line.clear();
        std::mem::swap(line, &mut self.bytes);
        if std::mem::take(&mut self.length) > limit { Line::TooLong } else { Line::Whole }
    }

    /// How long it is so far.
    pub(super) fn length(&self) -> usize {
        self.length
    }
}

impl Running {
    /// Puts the next line into `line`, without its end; nothing after the last one.
    ///
    /// A last line without end counts only if the program ended well: it may be cut off.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Unavailable`] if the program is silent for too long, and as
    /// [`Running::finish`].
    pub(crate) async fn line(&mut self, line: &mut Vec<u8>) -> Result<Option<Line>> {
        loop {
            if let Some(kind) = self.whole_line(line) {
                return Ok(Some(kind));
            }
            self.fill().await?;
            if self.stdout.buffer().is_empty() {
                self.silent = true;
                if self.begun.length() == 0 {
                    line.clear();
                    return Ok(None);
                }
                self.finish().await?;
                return Ok(self.last_line(line));
            }
        }
    }

    /// Puts the next line into `line`, if all of it has been read; keeps what there is of it if not.
    pub(super) fn whole_line(&mut self, line: &mut Vec<u8>) -> Option<Line> {
        let limit = self.program.limits.line_bytes_max;
        let buffer = self.stdout.buffer();
        let end = memchr::memchr(b'\n', buffer);
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        self.begun.add(part, limit);
        let used = part.len() + usize::from(end.is_some());
        self.stdout.consume(used);
        end?;
        let kind = self.begun.take(line, limit);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(kind)
    }

    /// Puts the last line into `line`, if there is one that has no end.
    pub(super) fn last_line(&mut self, line: &mut Vec<u8>) -> Option<Line> {
        let limit = self.program.limits.line_bytes_max;
        (self.begun.length() > 0).then(|| self.begun.take(line, limit))
    }

    /// Waits until output is there, or its end.
    pub(super) async fn fill(&mut self) -> Result<()> {
        if !self.stdout.buffer().is_empty() {
            return Ok(());
        }
        loop {
            let before = self.stderr.words();
            let limit = self.program.limits.timeout;
            match tokio::time::timeout(limit, self.stdout.fill_buf()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(self.broken(error)),
                // Who still talks on stderr is at work.
                Err(_) if self.stderr.words() != before => {}
                Err(_) => return Err(self.silence("wrote nothing").await),
            }
        }
    }

    /// The error of an output that cannot be read.
    pub(super) fn broken(&self, error: std::io::Error) -> Error {
        let name = &self.program.name;
        Error::unavailable(format!("the output of {name} broke off")).caused_by(error)
    }
}
