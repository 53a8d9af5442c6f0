//! The frames that segments are made of.
//!
//! ```text
//! segment   "FWJRNL01", frame …                       the first frame is a commit
//! frame     length u32, CRC32C u32 of length and payload, payload
//! message   0, offset i64, milliseconds i64, key, value, count u32, (name, value) …
//! commit    1, mark, its own place in the file u64, JSON: next offset, moment, checkpoints, requests with a key
//! ```
//! The segment that is being written may end with zeroes, which are room for what comes: a frame has a payload, so its
//! length is never zero.
//! Numbers are little-endian. A text or value is its length as i32 and its bytes; −1 is no value.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};

use crc::{CRC_32_ISCSI, Crc, Table};
use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::taken::Taken;
use crate::destination::Checkpoint;
use crate::queue::Header;

/// What a segment begins with.
pub(super) const MAGIC: [u8; 8] = *b"FWJRNL01";

/// Bytes of a frame before its payload.
pub(super) const HEAD_BYTES: usize = 8;

/// What a commit's payload begins with: its kind and a mark to look for behind damage.
pub(super) const COMMIT_MARK: [u8; 16] = *b"\x01flywheel-commit";

/// What a message's payload begins with.
const MESSAGE: u8 = 0;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What a commit says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Commit {
    /// The offset after the last message.
    pub(super) next: i64,
    /// When it was made, in milliseconds since 1970.
    pub(super) millis: i64,
    /// The checkpoints by sync: that of the commit, or in the first frame of a segment all.
    pub(super) checkpoints: BTreeMap<String, Checkpoint>,
    /// Requests with a key whose messages it makes visible; in the first frame of a segment all that are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) taken: Vec<Taken>,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    pub(super) offset: i64,
    pub(super) millis: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Vec<Header<'a>>,
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(&length);
    digest.update(payload);
    digest.finalize()
}

/// Puts a frame behind what is in `out`; `fill` writes its payload.
fn frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    let filled = fill(out);
    let payload = out.get(start + HEAD_BYTES..).unwrap_or_default();
    let head = filled.and_then(|()| {
        let length = u32::try_from(payload.len()).map_err(|_| too_large())?.to_le_bytes();
        let [a, b, c, d] = length;
        let [e, f, g, h] = checksum(length, payload).to_le_bytes();
        Ok([a, b, c, d, e, f, g, h])
    });
    match (head, out.get_mut(start..start + HEAD_BYTES)) {
        (Ok(head), Some(place)) => {
            place.copy_from_slice(&head);
            Ok(())
        }
        (head, _) => {
            out.truncate(start);
            head.map(|_| ())
        }
    }
}

fn too_large() -> Error {
    Error::invalid("a message is larger than a journal takes")
        .hint("Leave out the largest columns.")
}

fn put(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<()> {
    let length = bytes.map_or(Ok(-1), |bytes| i32::try_from(bytes.len()));
    out.extend_from_slice(&length.map_err(|_| too_large())?.to_le_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
    Ok(())
}

/// Puts a message behind what is in `out`.
pub(super) fn put_message(out: &mut Vec<u8>, message: &Stored<'_>) -> Result<()> {
    frame(out, |out| {
        out.push(MESSAGE);
        out.extend_from_slice(&message.offset.to_le_bytes());
        out.extend_from_slice(&message.millis.to_le_bytes());
        put(out, message.key)?;
        put(out, message.value)?;
        let count = u32::try_from(message.headers.len()).map_err(|_| too_large())?;
        out.extend_from_slice(&count.to_le_bytes());
        for header in &message.headers {
            put(out, Some(header.name.as_bytes()))?;
            put(out, header.value)?;
        }
        Ok(())
    })
}

/// Puts a commit behind what is in `out`; it will begin at byte `at` of its file.
pub(super) fn put_commit(out: &mut Vec<u8>, at: u64, commit: &Commit) -> Result<()> {
    frame(out, |out| {
        out.extend_from_slice(&COMMIT_MARK);
        out.extend_from_slice(&at.to_le_bytes());
        serde_json::to_writer(out, commit)
            .map_err(|error| Error::internal("a commit cannot be written").caused_by(error))
    })
}

/// Reads the parts of a payload, one after the other.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    #[expect(clippy::option_option, reason = "no part, and a part without value")]
    fn bytes(&mut self) -> Option<Option<&'a [u8]>> {
        let length = i32::from_le_bytes(self.array()?);
        if length < 0 {
            return Some(None);
        }
        let (head, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(head))
    }
}

/// The offset and moment of a message; nothing if the payload is none.
pub(super) fn place_of(payload: &[u8]) -> Option<(i64, i64)> {
    let mut parts = Parts(payload);
    let [kind] = parts.array()?;
    if kind != MESSAGE {
        return None;
    }
    Some((parts.number()?, parts.number()?))
}

/// The message of a payload; nothing if it is none.
pub(super) fn message_of(payload: &[u8]) -> Option<Stored<'_>> {
    let (offset, millis) = place_of(payload)?;
    let mut parts = Parts(payload.get(17..)?);
    let (key, value) = (parts.bytes()?, parts.bytes()?);
    let mut headers = Vec::new();
    for _ in 0..u32::from_le_bytes(parts.array()?) {
        let name = std::str::from_utf8(parts.bytes()??).ok()?;
        headers.push(Header { name, value: parts.bytes()? });
    }
    Some(Stored { offset, millis, key, value, headers })
}

/// The commit of a payload that begins at byte `at` of its file; nothing if it is none.
pub(super) fn commit_of(payload: &[u8], at: u64) -> Option<Commit> {
    let mut parts = Parts(payload.strip_prefix(&COMMIT_MARK)?);
    (u64::from_le_bytes(parts.array()?) == at).then_some(())?;
    serde_json::from_slice(parts.0).ok()
}

/// What comes next in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A frame whose checksum is right.
    Whole,
    /// Nothing: the segment ends behind a frame.
    End,
    /// A frame that is cut off or is not as it was written.
    Broken,
}

/// Reads the frames of a segment, one after the other.
#[derive(Debug)]
pub(super) struct Frames {
    file: BufReader<File>,
    payload: Vec<u8>,
    /// Where the frame in hand begins.
    pub(super) at: u64,
    /// Where the next one begins.
    pub(super) next_at: u64,
    /// How long the file was when it was opened.
    pub(super) length: u64,
}

impl Frames {
    /// Begins with the first `length` bytes of a file; nothing if it does not begin like a segment.
    pub(super) fn new(file: File, length: u64) -> io::Result<Option<Self>> {
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut magic = [0; MAGIC.len()];
        if length < MAGIC.len() as u64 {
            return Ok(None);
        }
        file.read_exact(&mut magic)?;
        let at = MAGIC.len() as u64;
        let payload = Vec::new();
        Ok((magic == MAGIC).then_some(Self { file, payload, at, next_at: at, length }))
    }

    /// The payload of the frame in hand.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Goes back before the frame in hand and reads anew what is there now.
    pub(super) fn back(&mut self) -> io::Result<()> {
        self.next_at = self.at;
        self.file.seek(SeekFrom::Start(self.at)).map(drop)
    }

    /// Forces to the device what the file has.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.get_ref().sync_data()
    }

    /// Takes the next frame in hand.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        match self.take() {
            // A writer has just taken back what it had not committed.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Step::Broken),
            done => done,
        }
    }

    fn take(&mut self) -> io::Result<Step> {
        self.at = self.next_at;
        let left = self.length.saturating_sub(self.at);
        if left == 0 {
            return Ok(Step::End);
        }
        if left < HEAD_BYTES as u64 {
            return Ok(Step::Broken);
        }
        let (mut length, mut sum) = ([0; 4], [0; 4]);
        self.file.read_exact(&mut length)?;
        self.file.read_exact(&mut sum)?;
        let bytes = u32::from_le_bytes(length);
        if u64::from(bytes) > left - HEAD_BYTES as u64 {
            return Ok(Step::Broken);
        }
        self.payload.resize(bytes as usize, 0);
        self.file.read_exact(&mut self.payload)?;
        if checksum(length, &self.payload) != u32::from_le_bytes(sum) {
            return Ok(Step::Broken);
        }
        self.next_at = self.at + HEAD_BYTES as u64 + u64::from(bytes);
        Ok(Step::Whole)
    }
}
