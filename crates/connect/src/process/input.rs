//! A program's input, written while its output is read, so that neither has to wait for the other.

use std::io;

use flywheel_base::{Error, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

use super::{Line, Running};

/// What is done with a line that a program writes while it is fed.
pub(super) type Hear<'a> = &'a mut (dyn FnMut(&[u8], Line) -> Result<()> + Send);

/// What moved while a program was fed.
enum Moved {
    /// It took so many bytes.
    Took(io::Result<usize>),
    /// It wrote something, or closed its output.
    Spoke(io::Result<bool>),
    /// Nothing, for as long as it may be silent.
    Nothing,
}

impl Running {
    /// Writes `bytes` into the program's input and hands the lines that it writes meanwhile to `hear`.
    ///
    /// # Errors
    /// Those of `hear`; [`flywheel_base::ErrorKind::Unavailable`] if the program takes nothing for too
    /// long or ends before it has taken everything, and as [`Running::finish`].
    pub(crate) async fn feed(&mut self, mut bytes: &[u8], hear: Hear<'_>) -> Result<()> {
        let limit = self.program.limits.timeout;
        while !bytes.is_empty() {
            self.hear_lines(hear)?;
            let before = self.stderr.words();
            let Some(stdin) = &mut self.stdin else {
                return Err(Error::internal("a program was fed after the end of its input"));
            };
            let moved = tokio::select! {
                took = stdin.write(bytes) => Moved::Took(took),
                spoke = self.stdout.fill_buf(), if !self.silent => {
                    Moved::Spoke(spoke.map(|bytes| !bytes.is_empty()))
                }
                () = tokio::time::sleep(limit) => Moved::Nothing,
            };
            match moved {
                Moved::Took(Ok(count)) if count > 0 => {
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                // Who closes the input says why by its end.
                Moved::Took(_) => return Err(self.turned_away(hear).await),
                Moved::Spoke(Ok(more)) => self.silent = !more,
                Moved::Spoke(Err(error)) => return Err(self.broken(error)),
                // Who still talks on stderr is at work.
                Moved::Nothing if self.stderr.words() != before => {}
                Moved::Nothing => return Err(self.silence("took nothing").await),
            }
        }
        Ok(())
    }

    /// Writes the first `bytes` of the program's input without reading its output, which may be no text.
    ///
    /// # Errors
    /// As [`Running::feed`].
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.silent = true;
        let sent = self.feed(bytes, &mut |_, _| Ok(())).await;
        self.silent = false;
        sent
    }

    /// Ends the program's input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Ends the program's input, hands the rest of its lines to `hear`, and proves that it ended well.
    ///
    /// # Errors
    /// Those of `hear`, and as [`Running::line`].
    pub(crate) async fn close(&mut self, hear: Hear<'_>) -> Result<()> {
        self.end_input();
        loop {
            self.hear_lines(hear)?;
            self.fill().await?;
            if self.stdout.buffer().is_empty() {
                break;
            }
        }
        self.silent = true;
        self.finish().await?;
        let mut line = Vec::new();
        match self.last_line(&mut line) {
            Some(kind) => hear(&line, kind),
            None => Ok(()),
        }
    }

    /// Hands over the lines that have been read.
    fn hear_lines(&mut self, hear: Hear<'_>) -> Result<()> {
        let mut line = Vec::new();
        while let Some(kind) = self.whole_line(&mut line) {
            hear(&line, kind)?;
        }
        // A line without end would be waited for in vain.
        if self.begun.length() > self.program.limits.line_bytes_max {
            let name = &self.program.name;
            return Err(Error::exhausted(format!("{name} writes a line that is too long"))
                .hint("Its messages have to be shorter than the connection's `line_bytes_max`."));
        }
        Ok(())
    }

    /// The error of a program that takes no more input.
    async fn turned_away(&mut self, hear: Hear<'_>) -> Error {
        match Box::pin(self.close(hear)).await {
            Err(error) => error,
            Ok(()) => {
                let name = &self.program.name;
                Error::unavailable(format!("{name} ended before it had read all of its input"))
            }
        }
    }
}
