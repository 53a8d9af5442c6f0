//! The one writer of a topic.
//!
//! ```text
//! open    lock; make what is missing; cut off what is behind the last commit
//! append  messages behind the last commit, which nobody sees
//! commit  sync ─► commit frame ─► sync ─► begin a segment if this one is full ─► retention
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use flywheel_base::{Error, ErrorKind, Result};

use super::Folder;
use super::config::{self, TopicConfig};
use super::frame::{Commit, MAGIC, Stored, put_commit, put_message};
use super::segment::{self, Scan, Segment};
use super::taken::{Key, Known, Taken};
use crate::destination::Checkpoint;
use crate::output::{create_folder, replace_file, sync_folder, try_lock};

/// The file that the writer of a topic holds locked.
pub(super) const LOCK: &str = "lock";

/// Bytes of messages that are collected before they go to the file.
const BUFFER_BYTES: usize = 256 << 10;

/// An open topic, for this writer alone.
#[derive(Debug)]
pub(crate) struct TopicWriter {
    folder: PathBuf,
    name: String,
    pub(crate) config: TopicConfig,
    /// Locked as long as it is open.
    _lock: File,
    file: File,
    segment: Segment,
    /// What is committed in the segment.
    held: Scan,
    buffer: Vec<u8>,
    /// Where the next byte goes.
    at: u64,
    /// The offset of the next message.
    next: i64,
    /// The moment of the messages, in milliseconds since 1970.
    now_ms: i64,
    /// Requests with a key that are committed.
    known: Known,
    /// Those whose messages are behind the last commit.
    noted: Vec<Taken>,
}

impl TopicWriter {
    /// Opens a topic for writing and makes it, with `config`, if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if somebody else writes it; [`ErrorKind::Corrupt`] if it is damaged.
    pub(crate) fn open(
        folder: &Folder,
        name: &str,
        config: &BTreeMap<String, String>,
        now_ms: i64,
    ) -> Result<Self> {
        let topic = folder.topic(name)?;
        create_folder(&topic)?;
        let lock = lock(&topic, name)?;
        let settings = match TopicConfig::read(folder, &topic)? {
            Some(settings) => settings,
            None => {
                let settings = TopicConfig::of(folder, config)?;
                replace_file(&topic.join(config::FILE), &TopicConfig::text(config)?)?;
                settings
            }
        };
        let segment = match segment::list(&topic)?.pop() {
            Some(last) => last,
            None => {
                begin(&topic, &Commit { next: 0, millis: now_ms, ..Commit::default() })?;
                Segment { base: 0, path: segment::path(&topic, 0) }
            }
        };
        let (file, mut held) = take(&segment, name)?;
        let mut known = Known::default();
        known.extend(std::mem::take(&mut held.taken));
        let mut writer = Self {
            folder: topic,
            name: name.to_owned(),
            config: settings,
            _lock: lock,
            at: held.end,
            next: held.next,
            file,
            segment,
            held,
            buffer: Vec::new(),
            now_ms,
            known,
            noted: Vec::new(),
        };
        writer.roll()?;
        writer.forget()?;
        Ok(writer)
    }

    /// The last checkpoint of a sync.
    pub(crate) fn checkpoint(&self, app: &str) -> Option<&Checkpoint> {
        self.held.checkpoints.get(app)
    }

    /// The offset of the next message.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next
    }

    /// Says at which moment the messages are that come now, in milliseconds since 1970.
    pub(crate) fn at_moment(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// Puts a message behind the others; nobody sees it before the commit.
    pub(crate) fn append(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        let (offset, millis) = (self.next, self.now_ms);
        let message = Stored { offset, millis, key, value, headers: Vec::new() };
        put_message(&mut self.buffer, &message)?;
        self.next += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// What was taken under a key before, committed or not: the digest of its messages and the offset of the first.
    pub(super) fn taken(&self, key: Key) -> Option<(u64, i64)> {
        let noted = self.noted.iter().find(|one| one.0 == key);
        noted.map(|one| (one.1, one.2)).or_else(|| self.known.get(key))
    }

    /// Notes under which key the messages come that are appended next.
    pub(super) fn note(&mut self, key: Key, content: u64) {
        self.noted.push(Taken(key, content, self.next));
    }

    fn fail(&self, doing: &str, error: std::io::Error) -> Error {
        let message = Error::io(doing, &self.segment.path, error);
        message.context(format!("writing into the topic \"{}\"", self.name))
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|error| self.fail("write", error))?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Takes back what was appended since the last commit.
    pub(crate) fn abort(&mut self) -> Result<()> {
        self.buffer.clear();
        self.noted.clear();
        self.next = self.held.next;
        self.file
            .set_len(self.held.end)
            .and_then(|()| self.file.seek(SeekFrom::Start(self.held.end)))
            .map_err(|error| self.fail("cut off", error))?;
        self.at = self.held.end;
        Ok(())
    }

    /// Makes what was appended visible and durable, together with the checkpoint of a sync.
    pub(crate) fn commit(&mut self, app: &str, checkpoint: &Checkpoint) -> Result<()> {
        // A commit that is whole says that the messages before it are on disk.
        if self.next > self.held.next {
            self.flush()?;
            self.file.sync_data().map_err(|error| self.fail("sync", error))?;
        }
        let checkpoints = BTreeMap::from([(app.to_owned(), checkpoint.clone())]);
        let taken = std::mem::take(&mut self.noted);
        let commit = Commit { next: self.next, millis: self.now_ms, checkpoints, taken };
        put_commit(&mut self.buffer, self.at, &commit)?;
        self.flush()?;
        self.file.sync_data().map_err(|error| self.fail("sync", error))?;
        (self.held.end, self.held.next) = (self.at, self.next);
        self.held.checkpoints.extend(commit.checkpoints);
        self.known.extend(commit.taken);
        // The commit has happened; what is left to do the next one does as well.
        if let Err(error) = self.roll().and_then(|()| self.forget()) {
            tracing::warn!(topic = self.name, error = %error, "a full file of the topic stays");
        }
        Ok(())
    }

    /// Begins a new segment if this one is full, or so old that it would never be forgotten.
    fn roll(&mut self) -> Result<()> {
        let old =
            self.config.retention_ms.is_some_and(|age| self.held.created <= self.now_ms - age);
        let full = self.held.end >= self.config.segment_bytes;
        if !full && (!old || self.held.next == self.segment.base) {
            return Ok(());
        }
        // A segment of nothing but commits is written anew under its name.
        let base = self.held.next;
        let first = Commit {
            next: base,
            millis: self.now_ms,
            checkpoints: self.held.checkpoints.clone(),
            taken: self.known.newest(self.config.segment_bytes / 2),
        };
        begin(&self.folder, &first)?;
        let segment = Segment { base, path: segment::path(&self.folder, base) };
        let (file, mut held) = take(&segment, &self.name)?;
        held.taken.clear();
        (self.at, self.file, self.segment, self.held) = (held.end, file, segment, held);
        Ok(())
    }

    /// Removes the oldest segments that nobody has to keep.
    fn forget(&mut self) -> Result<()> {
        let (age, most) = (self.config.retention_ms, self.config.retention_bytes);
        if age.is_none() && most.is_none() {
            return Ok(());
        }
        let segments = segment::list(&self.folder)?;
        let mut sizes = Vec::with_capacity(segments.len());
        for segment in &segments {
            let found = fs::metadata(&segment.path);
            sizes.push(found.map_err(|error| Error::io("look at", &segment.path, error))?.len());
        }
        let (mut total, mut removed) = (sizes.iter().sum::<u64>(), 0);
        for ((segment, next), size) in segments.iter().zip(segments.iter().skip(1)).zip(sizes) {
            // Messages of a segment are older than the next one.
            let old = match age {
                Some(age) => next.created()? <= self.now_ms - age,
                None => false,
            };
            if !old && most.is_none_or(|most| total <= most) {
                break;
            }
            fs::remove_file(&segment.path)
                .map_err(|error| Error::io("remove", &segment.path, error))?;
            total -= size;
            removed += 1;
        }
        if removed > 0 {
            tracing::info!(topic = self.name, files = removed, "retention removed messages");
            sync_folder(&self.folder)?;
        }
        Ok(())
    }
}

impl Drop for TopicWriter {
    fn drop(&mut self) {
        // The next writer would do it, and would call it the rest of a crash.
        if self.at > self.held.end
            && let Err(error) = self.abort()
        {
            tracing::debug!(topic = self.name, error = %error, "an open write is left to the next");
        }
    }
}

/// Locks a topic.
pub(super) fn lock(topic: &Path, name: &str) -> Result<File> {
    let path = topic.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| Error::io("open", &path, error))?;
    match try_lock(&lock) {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Conflict, format!("the topic \"{name}\" is being written"))
                .hint("One write at a time goes into a topic of a journal: run again when the other one has ended."))
        }
        Err(fs::TryLockError::Error(error)) => Err(Error::io("lock", &path, error)),
    }
}

/// Opens a segment behind its last commit and cuts off what comes after.
fn take(segment: &Segment, name: &str) -> Result<(File, Scan)> {
    let held = segment.scan()?;
    let path = &segment.path;
    let mut file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|error| Error::io("open", path, error))?;
    if held.tail > 0 {
        tracing::warn!(
            topic = name,
            file = %path.display(),
            at = held.end,
            bytes = held.tail,
            "a write that was not committed is cut off"
        );
        file.set_len(held.end)
            .and_then(|()| file.sync_data())
            .map_err(|error| Error::io("cut off", path, error))?;
    }
    file.seek(SeekFrom::Start(held.end)).map_err(|error| Error::io("seek in", path, error))?;
    Ok((file, Scan { tail: 0, ..held }))
}

/// Begins a segment with all checkpoints and keys: it is there as a whole or not at all.
fn begin(topic: &Path, first: &Commit) -> Result<()> {
    let mut bytes = MAGIC.to_vec();
    put_commit(&mut bytes, MAGIC.len() as u64, first)?;
    replace_file(&segment::path(topic, first.next), &bytes)
}
