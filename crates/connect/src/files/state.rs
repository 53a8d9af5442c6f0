//! What a position remembers of a file, and what has become of the file since.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::VisibleFile;
use super::input::compressed;
use super::tail::LogState;
use crate::page::Position;

/// Hex digits of a digest that are kept: 128 bits.
const DIGEST_HEX: usize = 32;

/// Bytes hashed at a time.
const HASH_BYTES: usize = 256 << 10;

/// How far a file has been read, and what its bytes were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileState {
    /// Bytes the digest covers; of a file read to its end, its size.
    pub(crate) size: u64,
    /// When the file was last written.
    pub(crate) mtime: i64,
    /// The entity tag of the object, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<String>,
    /// The digest of the first `size` bytes.
    pub(crate) digest: String,
    /// Decoded bytes (or rows, where there are no lines) that are committed.
    pub(crate) offset: u64,
    /// The line that comes next.
    pub(crate) line: u64,
    /// Whether the file was read to its end.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) done: bool,
    /// Whether its last line had no end, so that growth may change that line.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) open: bool,
    /// What tells it from other logs, if it is followed as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<Box<LogState>>,
    /// What was found out about its form, so that growth does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) form: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(value: &u64) -> bool {
    *value == 0
}

/// Where to go on in a file.
#[derive(Clone, Debug)]
pub(crate) struct Resume {
    /// What is known of it.
    pub(crate) state: FileState,
    /// The hash of its first `state.size` bytes, ready for more.
    pub(crate) hasher: blake3::Hasher,
}

/// What has become of a file since it was last read.
#[derive(Debug)]
pub(crate) enum Standing {
    /// The same bytes, read to the end.
    Unchanged,
    /// The bytes that were read are the same; there may be more.
    Continues(Box<Resume>),
    /// Bytes that were read are not the same any more.
    Changed,
}

/// Compares a file with what is remembered of it.
pub(crate) fn standing(file: &VisibleFile, state: &FileState, grows: bool) -> Result<Standing> {
    let same_version = match (&file.etag, &state.etag) {
        (Some(now), Some(then)) => now == then,
        _ => state.mtime == file.mtime,
    };
    if state.done && state.size == file.size && same_version {
        return Ok(Standing::Unchanged);
    }
    if file.size < state.size {
        return Ok(Standing::Changed);
    }
    let prefix = prefix(file, state.size)?;
    if digest(&prefix.hasher) != state.digest {
        return Ok(Standing::Changed);
    }
    if state.done && file.size == state.size {
        return Ok(Standing::Unchanged);
    }
    let grown = state.done && file.size > state.size;
    let line_ended = matches!(prefix.next, Some(b'\n' | b'\r'));
    if grown && (!grows || (state.open && (compressed(&prefix.head) || !line_ended))) {
        return Ok(Standing::Changed);
    }
    Ok(Standing::Continues(Box::new(Resume { state: state.clone(), hasher: prefix.hasher })))
}

/// The text form of a digest.
pub(crate) fn digest(hasher: &blake3::Hasher) -> String {
    let mut hex = hasher.finalize().to_hex().to_string();
    hex.truncate(DIGEST_HEX);
    hex
}

struct Prefix {
    hasher: blake3::Hasher,
    head: [u8; 4],
    next: Option<u8>,
}

/// Hashes the first `size` bytes of a file.
fn prefix(file: &VisibleFile, size: u64) -> Result<Prefix> {
    let fail = |error| file.fail(error);
    let mut reader = file.bytes(0)?;
    let mut found = Prefix { hasher: blake3::Hasher::new(), head: [0; 4], next: None };
    let mut buffer = vec![0; HASH_BYTES];
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(HASH_BYTES).min(HASH_BYTES);
        let read = reader.read(&mut buffer[..want]).map_err(fail)?;
        if read == 0 {
            break;
        }
        if left == size {
            let head = read.min(4);
            found.head[..head].copy_from_slice(&buffer[..head]);
        }
        found.hasher.update(&buffer[..read]);
        left -= read as u64;
    }
    if reader.read(&mut buffer[..1]).map_err(fail)? == 1 {
        found.next = buffer.first().copied();
    }
    Ok(found)
}

/// The position of a read of files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// The columns and their types, as found so far.
    pub(crate) schema: Vec<(String, String)>,
    /// The files read.
    pub(crate) files: BTreeMap<String, FileState>,
    /// How many logs were found so far.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) logs: u64,
    /// Whether the read that made it came to its end.
    #[serde(default)]
    pub(crate) complete: bool,
}

impl Stored {
    /// Reads a position.
    pub(crate) fn from_position(position: &Position) -> Result<Self> {
        serde_json::from_value(position.0.clone()).map_err(|error| {
            Error::corrupt("the stored position is not one of a file source")
                .caused_by(error)
                .hint("Was the stream moved to another source type? Then read it from its start with `flywheel sync NAME --restart`.")
        })
    }

    /// Writes a position.
    pub(crate) fn to_position(&self) -> Result<Position> {
        serde_json::to_value(self)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))
    }
}
