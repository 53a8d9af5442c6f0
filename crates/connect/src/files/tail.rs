//! Logs that grow and are rotated: which generation of a log each file is, and where it is read on.
//!
//! A log is known by its node on the disk, its first bytes and the bytes before the place it was read
//! to. So a renamed log goes on where it stood, a copy or a compressed one is known by its content, and
//! a log that was cut back to nothing is a new one. Old generations are finished before new ones begin.
//! Of a log that is still written only whole lines are taken.
//!
//! ```text
//! rename:        app.log ──► app.log.1 (same node)            app.log (another node): new
//! copytruncate:  app.log ──► app.log.1 (same content)         app.log (same node, shorter): new
//! compression:   app.log.1 ──► app.log.1.gz (same content when unpacked)
//! ```

mod claim;

use std::collections::BTreeSet;
use std::io::{self, Read};

use encoding_rs::{Encoding, UTF_8};
use flywheel_base::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use self::claim::{Claim, claim, content};
use super::VisibleFile;
use super::input::{compressed, unpacked};
use super::state::{FileState, Resume, Stored, digest};

/// Bytes at the start and before the place read to that tell one log from another.
const MARK_BYTES: u64 = 1 << 10;

/// Bytes looked through at a time for the last end of a line.
const BLOCK_BYTES: u64 = 64 << 10;

/// Logs that are gone and still remembered, because a compressed copy may turn up.
const GONE_MAX: usize = 1_000;

/// Endings of compressed logs.
const PACKED: [&str; 3] = [".gz", ".zst", ".zstd"];

/// What tells a log from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogState {
    /// Its node on the disk.
    node: String,
    /// Its name when it was last seen.
    name: String,
    /// Its first bytes.
    head: Mark,
    /// The bytes before the place it was read to.
    last: Mark,
    /// Whether it was not there any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

/// Some bytes of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    bytes: u64,
    digest: String,
}

impl Mark {
    fn of(bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(bytes);
        Self { bytes: bytes.len() as u64, digest: digest(&hasher) }
    }
}

/// What is to be read, and what became of the logs.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The files that have something new, oldest first; those of a known log with where to go on.
    pub(super) files: Vec<(VisibleFile, Option<Resume>)>,
    /// What is remembered from now on.
    pub(super) stored: Stored,
    /// What a person should know: code, file, message.
    pub(super) notices: Vec<(&'static str, String, String)>,
    /// Whether what is remembered has changed.
    pub(super) changed: bool,
    /// The logs that are still there.
    there: BTreeSet<String>,
}

/// A file as it was found.
struct Found {
    file: VisibleFile,
    node: String,
    packed: bool,
}

/// Finds out which log each file is.
///
/// # Errors
/// [`ErrorKind::Conflict`] if a log is rotated at the same time.
pub(super) fn plan(stored: &Stored, files: Vec<VisibleFile>) -> Result<Plan> {
    let mut stored = stored.clone();
    let mut plan = Plan::default();
    let mut found = Vec::new();
    let files = files.into_iter().filter_map(|file| file.followed().transpose());
    let files: Vec<VisibleFile> = files.collect::<Result<_>>()?;
    let names: BTreeSet<String> = files.iter().map(|file| file.name.clone()).collect();
    for file in files {
        let plain = plain_name(&file.name);
        // While a log is being compressed both are there, and the plain one is whole.
        if plain != file.name && names.contains(plain) {
            continue;
        }
        found.extend(look(file)?);
    }
    let claims = claim(&stored, &found, &mut plan)?;
    let mut known = Vec::new();
    let mut new = Vec::new();
    for (found, claimed) in found.into_iter().zip(claims) {
        match claimed {
            Claim::Log(key) => known.push((key, found)),
            Claim::New => new.push(found),
            Claim::Copy => {}
        }
    }
    known.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, found) in known {
        let Some(state) = stored.files.get_mut(&key) else { continue };
        plan.changed |= renamed(state, &found);
        plan.there.insert(key.clone());
        if let Some((file, resume)) = rest(&key, found, state, &mut plan.changed)? {
            plan.files.push((file, Some(resume)));
        }
    }
    new.sort_by(|a, b| {
        // Of files written at the same moment the one with the higher number is older.
        let name = |found: &Found| plain_name(&found.file.name).to_owned();
        let (a_name, b_name) = (name(a), name(b));
        (a.file.mtime, b_name.len(), &b_name).cmp(&(b.file.mtime, a_name.len(), &a_name))
    });
    for mut found in new {
        if !found.packed {
            found.file.size = whole_lines(&found.file, 0)?;
        }
        if found.file.size > 0 {
            stored.logs += 1;
            found.file.key = format!("log {:08}", stored.logs);
            plan.files.push((found.file, None));
        }
    }
    forget(&mut stored, &mut plan);
    plan.stored = stored;
    Ok(plan)
}

/// A name without the ending of compressed files.
fn plain_name(name: &str) -> &str {
    PACKED.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

fn look(file: VisibleFile) -> Result<Option<Found>> {
    let Some(node) = file.node.clone() else {
        return Err(Error::invalid(format!("{} is not a file of a folder", file.name)).hint(
            "Logs are followed in folders: leave out `tail`, objects are read when they change.",
        ));
    };
    let mut head = Vec::new();
    match file.bytes(0) {
        Ok(bytes) => {
            bytes.take(4).read_to_end(&mut head).map_err(|error| file.fail(error))?;
        }
        // It was renamed since it was listed; the next read finds it under its other name.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return Err(Error::invalid(format!("the log {} is written in UTF-16", file.name)).hint(
            "Logs are followed in UTF-8 only; let the program write it, or leave out `tail`.",
        ));
    }
    Ok(Some(Found { packed: compressed(&head), file, node }))
}

/// Takes note of a log's present name and node.
fn renamed(state: &mut FileState, found: &Found) -> bool {
    let Some(log) = state.log.as_deref_mut() else { return false };
    let now = (found.node.clone(), found.file.name.clone());
    if (log.node.clone(), log.name.clone()) == now && !log.gone {
        return false;
    }
    (log.node, log.name) = now;
    log.gone = false;
    true
}

/// What there is to read of a known log, and from where on.
fn rest(
    key: &str,
    found: Found,
    state: &mut FileState,
    changed: &mut bool,
) -> Result<Option<(VisibleFile, Resume)>> {
    let Found { mut file, packed, .. } = found;
    file.key = key.to_owned();
    if packed {
        if state.done && state.size == file.size && state.mtime == file.mtime {
            return Ok(None);
        }
        match more(&file, state.offset)? {
            More::Yes => {}
            More::Unfinished => return Ok(None),
            More::No => {
                // It was read to its end before it was compressed.
                (state.size, state.mtime, state.done) = (file.size, file.mtime, true);
                *changed = true;
                return Ok(None);
            }
        }
    }
    let mut state = state.clone();
    if packed {
        state.size = 0;
    } else {
        file.size = whole_lines(&file, state.offset)?;
        if file.size <= state.offset {
            return Ok(None);
        }
        state.size = state.offset;
    }
    state.done = false;
    Ok(Some((file, Resume { state, hasher: blake3::Hasher::new() })))
}

/// What is in a compressed log behind a place.
enum More {
    Yes,
    No,
    /// It is still written.
    Unfinished,
}

fn more(file: &VisibleFile, offset: u64) -> Result<More> {
    let mut all = unpacked(file)?;
    let skipped = io::copy(&mut Read::by_ref(&mut all).take(offset), &mut io::sink());
    let mut next = Vec::new();
    match skipped.and_then(|_| all.take(1).read_to_end(&mut next)) {
        Ok(0) => Ok(More::No),
        Ok(_) => Ok(More::Yes),
        Err(_) => Ok(More::Unfinished),
    }
}

/// The size of a file up to its last end of a line behind `from`; `from` if there is none.
fn whole_lines(file: &VisibleFile, from: u64) -> Result<u64> {
    let mut end = file.size;
    while end > from {
        let start = end.saturating_sub(BLOCK_BYTES).max(from);
        let mut block = Vec::new();
        let bytes = file.bytes(start)?;
        bytes.take(end - start).read_to_end(&mut block).map_err(|error| file.fail(error))?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(from)
}

/// Takes note of logs that are gone, and forgets the oldest of them.
fn forget(stored: &mut Stored, plan: &mut Plan) {
    let mut gone = Vec::new();
    for (key, state) in &mut stored.files {
        let offset = state.offset;
        let Some(log) = state.log.as_deref_mut() else { continue };
        if plan.there.contains(key) {
            continue;
        }
        if !log.gone {
            log.gone = true;
            plan.changed = true;
            let message = format!(
                "the log is gone; lines that were written after byte {offset} are read if a copy turns up"
            );
            plan.notices.push(("log-gone", log.name.clone(), message));
        }
        gone.push(key.clone());
    }
    let over = gone.len().saturating_sub(GONE_MAX);
    for key in gone.into_iter().take(over) {
        stored.files.remove(&key);
        plan.changed = true;
    }
}

/// What a log is known by after it was read up to `state.offset`.
pub(super) fn remember(
    file: &VisibleFile,
    state: FileState,
    before: Option<&FileState>,
) -> Result<FileState> {
    let node = file.node.clone().unwrap_or_default();
    let packed = file.packed()?;
    let found = Found { file: file.clone(), node: node.clone(), packed };
    // To unpack a log up to its middle for every page would take too long; its size tells enough.
    let last_bytes = if packed { 0 } else { state.offset.min(MARK_BYTES) };
    let bytes = state.offset.min(MARK_BYTES);
    let known = before.and_then(|state| state.log.as_deref()).filter(|log| log.head.bytes >= bytes);
    let mark = |from, bytes| {
        content(&found, from, bytes)?.map(|bytes| Mark::of(&bytes)).ok_or_else(|| {
            let what = format!("the log {} became shorter while it was read", file.name);
            Error::new(ErrorKind::Conflict, what).hint("Run it again.")
        })
    };
    let head = match known {
        Some(log) => log.head.clone(),
        None => mark(0, bytes)?,
    };
    let last = match last_bytes {
        0 => Mark::of(&[]),
        bytes => mark(state.offset - bytes, bytes)?,
    };
    let log = LogState { node, name: file.name.clone(), head, last, gone: false };
    Ok(FileState { log: Some(Box::new(log)), digest: String::new(), ..state })
}

/// Refuses what cannot be followed as a log.
pub(crate) fn check(tail: bool, encoding: Option<&'static Encoding>) -> Result<()> {
    match encoding {
        Some(encoding) if tail && encoding != UTF_8 => {
            Err(Error::invalid(format!("a log in {} cannot be followed", encoding.name()))
                .hint("Let the program write UTF-8, or leave out `tail`."))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
