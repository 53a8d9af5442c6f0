//! Segments: the files of a topic, and what is committed in them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind as Io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result};

use super::frame::{COMMIT_MARK, Commit, Frames, HEAD_BYTES, Step, commit_of, place_of};
use super::taken::Taken;
use crate::destination::Checkpoint;

/// What the name of a segment ends with.
const ENDING: &str = ".journal";

/// Bytes that are looked through at once for a commit behind damage.
const LOOK_BYTES: usize = 1 << 20;

/// What lies behind the last frame that is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rest {
    /// Whether a commit is there that was written as a whole.
    commit: bool,
    /// The byte behind the last one that is not zero; 0 if all are.
    written: u64,
}

/// One file of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// The offset of its first message.
    pub(super) base: i64,
    pub(super) path: PathBuf,
}

/// What is committed in a segment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scan {
    /// The byte behind the last commit.
    pub(super) end: u64,
    /// Bytes behind it that were written and not committed, which nobody reads. Zeroes at the end of the file are
    /// room for what comes.
    pub(super) tail: u64,
    /// How long the file is, with that room.
    pub(super) length: u64,
    /// The offset after the last committed message.
    pub(super) next: i64,
    /// When the segment was begun.
    pub(super) created: i64,
    /// The last checkpoint of each sync.
    pub(super) checkpoints: BTreeMap<String, Checkpoint>,
    /// Requests with a key, oldest first.
    pub(super) taken: Vec<Taken>,
}

/// The path of a segment.
pub(super) fn path(topic: &Path, base: i64) -> PathBuf {
    topic.join(format!("{base:020}{ENDING}"))
}

/// The offset that the name of a segment says; nothing if a file with that name is none.
fn base_of(name: &str) -> Option<i64> {
    name.strip_suffix(ENDING)?.parse().ok()
}

/// Whether a file has the name of a segment.
pub(super) fn is_named_so(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).and_then(base_of).is_some()
}

/// The segments in the folder of a topic, oldest first; none if there is no such folder.
pub(super) fn list(topic: &Path) -> Result<Vec<Segment>> {
    let fail = |error| Error::io("list the topic", topic, error);
    let entries = match fs::read_dir(topic) {
        Ok(entries) => entries,
        Err(error) if error.kind() == Io::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if let Some(base) = entry.file_name().to_str().and_then(base_of) {
            found.push(Segment { base, path: entry.path() });
        }
    }
    found.sort();
    Ok(found)
}

impl Segment {
    /// Opens the segment for reading.
    pub(super) fn open(&self) -> Result<Frames> {
        let file = File::open(&self.path).map_err(|error| Error::io("open", &self.path, error))?;
        let length = file.metadata().map_err(|error| self.unread(error))?.len();
        let frames = Frames::new(file, length).map_err(|error| self.unread(error))?;
        frames.ok_or_else(|| self.damaged(0, self.base))
    }

    /// When the segment was begun.
    pub(super) fn created(&self) -> Result<i64> {
        let mut frames = self.open()?;
        Ok(self.first(&mut frames)?.millis)
    }

    fn first(&self, frames: &mut Frames) -> Result<Commit> {
        let step = self.step(frames)?;
        let first = (step == Step::Whole).then(|| commit_of(frames.payload(), frames.at));
        let first = first.flatten().filter(|first| first.next == self.base);
        first.ok_or_else(|| self.damaged(frames.at, self.base))
    }

    pub(super) fn step(&self, frames: &mut Frames) -> Result<Step> {
        frames.step().map_err(|error| self.unread(error))
    }

    /// Finds the last commit.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if something before a commit is not as it was written.
    pub(super) fn scan(&self) -> Result<Scan> {
        let mut frames = self.open()?;
        let first = self.first(&mut frames)?;
        let mut scan = Scan {
            end: frames.next_at,
            tail: 0,
            length: frames.length,
            next: first.next,
            created: first.millis,
            checkpoints: first.checkpoints,
            taken: first.taken,
        };
        let mut next = first.next;
        // Whether the frame in hand is looked at for the second time.
        let mut again = false;
        loop {
            if self.step(&mut frames)? != Step::Whole {
                let rest = self.rest(frames.at, frames.length)?;
                if !rest.commit {
                    scan.tail = rest.written.saturating_sub(scan.end);
                    break;
                }
                if again {
                    return Err(self.damaged(frames.at, next));
                }
                // A writer may have gone on between the two looks. Then what it wrote first is there by now.
                frames.back().map_err(|error| self.unread(error))?;
                again = true;
                continue;
            }
            again = false;
            if let Some((offset, _)) = place_of(frames.payload()) {
                if offset != next {
                    return Err(self.damaged(frames.at, next));
                }
                next += 1;
                continue;
            }
            let commit = commit_of(frames.payload(), frames.at);
            let Some(commit) = commit.filter(|commit| commit.next == next) else {
                return Err(self.damaged(frames.at, next));
            };
            (scan.end, scan.next) = (frames.next_at, next);
            scan.checkpoints.extend(commit.checkpoints);
            scan.taken.extend(commit.taken);
        }
        // What a reader has seen has to outlive a loss of power as well, also if its writer has not come to that yet.
        match frames.sync() {
            Err(error) if error.kind() != Io::ReadOnlyFilesystem => {
                Err(Error::io("sync", &self.path, error))
            }
            _ => Ok(scan),
        }
    }

    /// What lies between byte `from` and the end.
    fn rest(&self, from: u64, length: u64) -> Result<Rest> {
        let file = File::open(&self.path).map_err(|error| Error::io("open", &self.path, error))?;
        let finder = memchr::memmem::Finder::new(&COMMIT_MARK);
        let mut window = vec![0; LOOK_BYTES + COMMIT_MARK.len()];
        let (mut at, mut rest) = (from, Rest::default());
        while at < length {
            let bytes = usize::try_from(length - at).unwrap_or(usize::MAX).min(window.len());
            let Some(seen) = window.get_mut(..bytes) else { break };
            match file.read_exact_at(seen, at) {
                // A writer has just taken back what it had not committed, or the room that was left.
                Err(error) if error.kind() == Io::UnexpectedEof => break,
                read => read.map_err(|error| self.unread(error))?,
            }
            if let Some(last) = seen.iter().rposition(|byte| *byte != 0) {
                rest.written = at + last as u64 + 1;
                for found in finder.find_iter(seen) {
                    let mark = at + found as u64;
                    let begin = mark.saturating_sub(HEAD_BYTES as u64);
                    if begin >= from && self.is_commit(&file, begin, length)? {
                        rest.commit = true;
                        return Ok(rest);
                    }
                }
            }
            at += LOOK_BYTES as u64;
        }
        Ok(rest)
    }

    /// Whether a commit that says of itself that it begins at `begin` is there up to its end.
    ///
    /// In room, of one that was cut off the rest is zero, in whole blocks of the device in any order. Its JSON has no zero.
    fn is_commit(&self, file: &File, begin: u64, length: u64) -> Result<bool> {
        let (mut bytes, mut own) = ([0; 4], [0; 8]);
        let own_at = begin + (HEAD_BYTES + COMMIT_MARK.len()) as u64;
        let json_at = own_at + own.len() as u64;
        if json_at > length {
            return Ok(false);
        }
        let read = file.read_exact_at(&mut bytes, begin);
        let read = read.and_then(|()| file.read_exact_at(&mut own, own_at)).and_then(|()| {
            let bytes = u32::from_le_bytes(bytes);
            let end = begin + HEAD_BYTES as u64 + u64::from(bytes);
            if bytes == 0 || u64::from_le_bytes(own) != begin || end > length {
                return Ok(false);
            }
            let json_bytes = usize::try_from(end.saturating_sub(json_at)).unwrap_or(usize::MAX);
            let mut json = vec![0; json_bytes];
            file.read_exact_at(&mut json, json_at)?;
            Ok(!json.contains(&0))
        });
        match read {
            Err(error) if error.kind() == Io::UnexpectedEof => Ok(false),
            read => read.map_err(|error| self.unread(error)),
        }
    }

    fn unread(&self, error: std::io::Error) -> Error {
        Error::io("read", &self.path, error)
    }

    /// The error of a frame that is not as it was written.
    pub(super) fn damaged(&self, at: u64, offset: i64) -> Error {
        Error::corrupt(format!(
            "the journal's file {} is damaged at byte {at}: messages from offset {offset} on cannot be read",
            self.path.display()
        ))
        .hint("Restore the file from a backup. To go on without its messages, move it away and set the stream's `on_gap: skip`; if it was the last file, read the stream from its start as well: `flywheel sync NAME --restart`.")
    }
}
