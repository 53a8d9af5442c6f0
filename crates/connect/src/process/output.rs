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

impl Running {
    /// Puts the next line into `line`, without its end; nothing after the last one.
    ///
    /// A last line without end counts only if the program ended well: it may be cut off.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Unavailable`] if the program is silent for too long, and as
    /// [`Running::finish`].
    pub(crate) async fn line(&mut self, line: &mut Vec<u8>) -> Result<Option<Line>> {
        line.clear();
        let limit = self.program.limits.line_bytes_max;
        let (mut length, mut kind) = (0_usize, Line::Whole);
        loop {
            self.fill().await?;
            let buffer = self.stdout.buffer();
            if buffer.is_empty() {
                if length == 0 {
                    return Ok(None);
                }
                self.finish().await?;
                return Ok(Some(kind));
            }
            let end = memchr::memchr(b'\n', buffer);
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            length += part.len();
            if length > limit {
                kind = Line::TooLong;
                line.truncate(RAW_BYTES_MAX);
            }
            let room = if kind == Line::TooLong { RAW_BYTES_MAX } else { limit };
            let kept = part.len().min(room.saturating_sub(line.len()));
            line.extend_from_slice(part.get(..kept).unwrap_or_default());
            let used = part.len() + usize::from(end.is_some());
            self.stdout.consume(used);
            if end.is_some() {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(kind));
            }
        }
    }

    /// Waits until output is there, or its end.
    async fn fill(&mut self) -> Result<()> {
        if !self.stdout.buffer().is_empty() {
            return Ok(());
        }
        loop {
            let before = self.stderr.words();
            let limit = self.program.limits.timeout;
            match tokio::time::timeout(limit, self.stdout.fill_buf()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    let name = &self.program.name;
                    return Err(Error::unavailable(format!("the output of {name} broke off"))
                        .caused_by(error));
                }
                // Who still talks on stderr is at work.
                Err(_) if self.stderr.words() != before => {}
                Err(_) => return Err(self.silence("wrote nothing").await),
            }
        }
    }
}
