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
    /// Bytes behind it, which nobody reads.
    pub(super) tail: u64,
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
        let name = entry.file_name();
        let base = name.to_str().and_then(|name| name.strip_suffix(ENDING));
        if let Some(base) = base.and_then(|base| base.parse::<i64>().ok()) {
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
        // What a reader sees has to outlive a loss of power as well.
        match file.sync_data() {
            Err(error) if error.kind() != Io::ReadOnlyFilesystem => {
                return Err(Error::io("sync", &self.path, error));
            }
            _ => {}
        }
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
            next: first.next,
            created: first.millis,
            checkpoints: first.checkpoints,
            taken: first.taken,
        };
        let mut next = first.next;
        while self.step(&mut frames)? == Step::Whole {
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
        scan.tail = frames.length - scan.end;
        if frames.at < frames.length && self.has_commit(frames.at, frames.length)? {
            return Err(self.damaged(frames.at, next));
        }
        Ok(scan)
    }

    /// Whether a commit that was written as a whole begins at byte `from` or later.
    fn has_commit(&self, from: u64, length: u64) -> Result<bool> {
        let file = File::open(&self.path).map_err(|error| Error::io("open", &self.path, error))?;
        let finder = memchr::memmem::Finder::new(&COMMIT_MARK);
        let mut window = vec![0; LOOK_BYTES + COMMIT_MARK.len()];
        let mut at = from;
        while at < length {
            let bytes = usize::try_from(length - at).unwrap_or(usize::MAX).min(window.len());
            let Some(seen) = window.get_mut(..bytes) else { break };
            file.read_exact_at(seen, at).map_err(|error| self.unread(error))?;
            for found in finder.find_iter(seen) {
                let mark = at + found as u64;
                let begin = mark.saturating_sub(HEAD_BYTES as u64);
                if begin >= from && self.is_commit(&file, begin, length)? {
                    return Ok(true);
                }
            }
            at += LOOK_BYTES as u64;
        }
        Ok(false)
    }

    /// Whether a commit that says of itself that it begins at `begin` is there up to its end.
    fn is_commit(&self, file: &File, begin: u64, length: u64) -> Result<bool> {
        let (mut bytes, mut own) = ([0; 4], [0; 8]);
        let own_at = begin + (HEAD_BYTES + COMMIT_MARK.len()) as u64;
        if own_at + own.len() as u64 > length {
            return Ok(false);
        }
        file.read_exact_at(&mut bytes, begin).map_err(|error| self.unread(error))?;
        file.read_exact_at(&mut own, own_at).map_err(|error| self.unread(error))?;
        let end = begin + HEAD_BYTES as u64 + u64::from(u32::from_le_bytes(bytes));
        Ok(u64::from_le_bytes(own) == begin && end <= length)
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
        .hint("Restore the file from a backup. To go on without its messages, move it away and set the stream's `on_gap: skip`; if it was the last file, reset the stream's position as well.")
    }
}
