//! Which known log a file is: by its node on the disk, else by its content.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flywheel_base::{Error, Result};

use super::{Found, LogState, Mark, Plan};
use crate::files::VisibleFile;
use crate::files::input::unpacked;
use crate::files::state::{FileState, Stored};

/// Bytes in which a file has to agree with a log to be taken for a copy of it in the making.
const COPY_BYTES: u64 = 64 << 10;

/// What a file is.
pub(super) enum Claim {
    /// A generation that is known.
    Log(String),
    /// One that is not.
    New,
    /// A copy of one that is read elsewhere.
    Copy,
}

/// Says of every file what it is.
pub(super) fn claim(stored: &Stored, found: &[Found], plan: &mut Plan) -> Result<Vec<Claim>> {
    let logs: BTreeMap<&String, (&FileState, &LogState)> = stored
        .files
        .iter()
        .filter_map(|(key, state)| Some((key, (state, state.log.as_deref()?))))
        .collect();
    let mut claims: Vec<Option<Claim>> = Vec::new();
    let mut taken: BTreeMap<&String, usize> = BTreeMap::new();
    for (at, found) in found.iter().enumerate() {
        let mut claimed = None;
        for (key, (state, log)) in &logs {
            if log.node != found.node || taken.contains_key(*key) {
                continue;
            }
            let same =
                state.done && state.size == found.file.size && state.mtime == found.file.mtime;
            if same || (state.offset > 0 && continues(found, state, log)?) {
                claimed = Some((*key).clone());
                taken.insert(*key, at);
                break;
            }
        }
        claims.push(claimed.map(Claim::Log));
    }
    for (at, found) in found.iter().enumerate() {
        if claims.get(at).is_some_and(Option::is_some) {
            continue;
        }
        let mut best: Option<&String> = None;
        for (key, (state, log)) in &logs {
            let longer =
                best.and_then(|best| logs.get(best)).is_none_or(|b| state.offset > b.0.offset);
            if longer && state.offset > 0 && continues(found, state, log)? {
                best = Some(*key);
            }
        }
        let claimed = match best {
            Some(key) if !taken.contains_key(key) => {
                taken.insert(key, at);
                Claim::Log(key.clone())
            }
            // A file under the name that a log had before it was renamed is what came after it.
            Some(key) if is_successor(found, &logs, &taken, key) => Claim::New,
            Some(_) => Claim::Copy,
            None => Claim::New,
        };
        if let Some(slot) = claims.get_mut(at) {
            *slot = Some(claimed);
        }
    }
    // A copy in the making agrees with its log as far as it goes.
    for (at, found_at) in found.iter().enumerate() {
        let fresh = matches!(claims.get(at), Some(Some(Claim::New)));
        let followed = logs.values().any(|(_, log)| log.name == found_at.file.name);
        if !fresh || followed || found_at.packed || found_at.file.size == 0 {
            continue;
        }
        for other in taken.values().filter_map(|other| found.get(*other)) {
            if !other.packed
                && other.file.name != found_at.file.name
                && other.file.size >= found_at.file.size
                && agree(&found_at.file, &other.file)?
            {
                let message = format!("looks like a copy of {}, which is read", other.file.name);
                plan.notices.push(("copy-of-log", found_at.file.name.clone(), message));
                if let Some(slot) = claims.get_mut(at) {
                    *slot = Some(Claim::Copy);
                }
                break;
            }
        }
    }
    Ok(claims.into_iter().map(|claim| claim.unwrap_or(Claim::New)).collect())
}

/// Whether a file has the name that the log `key` had before it was found under another one.
fn is_successor(
    found: &Found,
    logs: &BTreeMap<&String, (&FileState, &LogState)>,
    taken: &BTreeMap<&String, usize>,
    key: &String,
) -> bool {
    taken.contains_key(key) && logs.get(key).is_some_and(|(_, log)| log.name == found.file.name)
}

/// Whether a file is a log with the bytes that were read of it, and perhaps more.
fn continues(found: &Found, state: &FileState, log: &LogState) -> Result<bool> {
    if !found.packed && found.file.size < state.offset {
        return Ok(false);
    }
    let Some(head) = content(found, 0, log.head.bytes)? else { return Ok(false) };
    if Mark::of(&head) != log.head {
        return Ok(false);
    }
    let from = state.offset.saturating_sub(log.last.bytes);
    let Some(last) = content(found, from, log.last.bytes)? else { return Ok(false) };
    Ok(Mark::of(&last) == log.last)
}

/// Some unpacked bytes of a file; none if it has not that many, or cannot be unpacked so far.
pub(super) fn content(found: &Found, from: u64, length: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    if found.packed {
        let mut all = unpacked(&found.file)?;
        let read = io::copy(&mut Read::by_ref(&mut all).take(from), &mut io::sink())
            .and_then(|_| all.take(length).read_to_end(&mut bytes));
        // One that is still written ends too early; the next read looks again.
        if read.is_err() {
            return Ok(None);
        }
    } else {
        let all = found.file.bytes(from)?;
        all.take(length).read_to_end(&mut bytes).map_err(|error| found.file.fail(error))?;
    }
    Ok((bytes.len() as u64 == length).then_some(bytes))
}

/// Whether two files begin alike, as far as the first goes.
fn agree(file: &VisibleFile, other: &VisibleFile) -> Result<bool> {
    let start = |of: &VisibleFile| {
        let mut bytes = Vec::new();
        let length = file.size.min(COPY_BYTES);
        of.bytes(0)?.take(length).read_to_end(&mut bytes).map_err(|error| of.fail(error))?;
        Ok::<_, Error>(bytes)
    };
    Ok(start(file)? == start(other)?)
}
