//! An output in which lines and messages of Arrow's IPC format follow each other.
//!
//! A message begins with the byte 0xFF, with which no line of text can begin. It is read as a whole and
//! its lengths are proved before anything of it is decoded.

use arrow::ipc::{MessageHeader, RecordBatch, root_as_message};
use flywheel_base::{Error, Result};
use tokio::io::AsyncBufReadExt as _;

use super::{Line, Running};

/// What a message begins with.
const CONTINUATION: [u8; 4] = [0xFF; 4];

/// Continuation and length of the metadata.
const HEAD_BYTES: usize = 8;

/// The longest metadata of a message; a schema of ten thousand columns has about one megabyte.
const METADATA_BYTES_MAX: usize = 64 << 20;

/// The longest body of a message.
const BODY_BYTES_MAX: usize = 1 << 30;

/// What comes next in an output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A line of text.
    Line(Line),
    /// A message that begins a stream of batches with its columns.
    Schema,
    /// Another message.
    Message,
    /// The end of a stream of batches.
    End,
}

impl Running {
    /// Puts the next line or message into `bytes`; nothing after the last one.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a message is none, [`flywheel_base::ErrorKind::Exhausted`]
    /// if it is too large, and as [`Running::line`].
    pub(crate) async fn part(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Part>> {
        bytes.clear();
        self.fill().await?;
        if self.stdout.buffer().first() != CONTINUATION.first() {
            return Ok(self.line(bytes).await?.map(Part::Line));
        }
        self.exactly(HEAD_BYTES, bytes).await?;
        let head = |from: usize| -> [u8; 4] {
            let word = bytes.get(from..from + 4).and_then(|word| word.try_into().ok());
            word.unwrap_or_default()
        };
        if head(0) != CONTINUATION {
            return Err(self.no_message("it does not begin as one"));
        }
        let length = u32::from_le_bytes(head(4)) as usize;
        if length == 0 {
            return Ok(Some(Part::End));
        }
        if length > METADATA_BYTES_MAX {
            return Err(self.too_large(METADATA_BYTES_MAX));
        }
        self.exactly(length, bytes).await?;
        let metadata = bytes.get(HEAD_BYTES..).unwrap_or_default();
        let message =
            root_as_message(metadata).map_err(|_| self.no_message("its metadata are none"))?;
        let Ok(body) = usize::try_from(message.bodyLength()) else {
            return Err(self.no_message("its length is negative"));
        };
        if body > BODY_BYTES_MAX {
            return Err(self.too_large(BODY_BYTES_MAX));
        }
        let part = match message.header_type() {
            MessageHeader::Schema => Part::Schema,
            _ => Part::Message,
        };
        let batch = message
            .header_as_record_batch()
            .or_else(|| message.header_as_dictionary_batch().and_then(|batch| batch.data()));
        if let Some(why) = batch.and_then(|batch| flaw(&batch, body)) {
            return Err(self.no_message(why));
        }
        self.exactly(body, bytes).await?;
        Ok(Some(part))
    }

    /// Adds the next `count` bytes to `bytes`; room is made for no more than what has come.
    async fn exactly(&mut self, count: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let mut left = count;
        while left > 0 {
            self.fill().await?;
            let buffer = self.stdout.buffer();
            if buffer.is_empty() {
                self.silent = true;
                // A program that failed says why.
                self.finish().await?;
                return Err(self.no_message("the output ends within it"));
            }
            let part = buffer.get(..left.min(buffer.len())).unwrap_or_default();
            bytes.extend_from_slice(part);
            let used = part.len();
            self.stdout.consume(used);
            left -= used;
        }
        Ok(())
    }

    fn no_message(&self, why: &str) -> Error {
        let name = &self.program.name;
        Error::invalid(format!("{name} sends an Arrow message that cannot be read: {why}"))
            .hint("Write nothing but Arrow streams and lines of JSON to stdout; what people shall read belongs on stderr.")
    }

    fn too_large(&self, limit: usize) -> Error {
        let name = &self.program.name;
        let limit = limit >> 20;
        Error::exhausted(format!("{name} sends an Arrow message of more than {limit} MiB"))
            .hint("Send smaller batches; `batch_rows` of the request is a good size.")
    }
}

/// What is wrong with the lengths of a batch, before they are believed.
fn flaw(batch: &RecordBatch<'_>, body: usize) -> Option<&'static str> {
    if batch.compression().is_some() {
        return Some("its buffers are compressed, which is not taken");
    }
    if batch.length() < 0 {
        return Some("its number of rows is negative");
    }
    for node in batch.nodes().into_iter().flatten() {
        if node.length() < 0 || node.null_count() < 0 || node.null_count() > node.length() {
            return Some("a column of it has an impossible length");
        }
    }
    for buffer in batch.buffers().into_iter().flatten() {
        let (from, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let end = from.ok().zip(length.ok()).and_then(|(from, length)| from.checked_add(length));
        if end.is_none_or(|end| end > body) {
            return Some("a column of it lies outside of it");
        }
    }
    None
}
