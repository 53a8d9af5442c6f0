//! The one writer of a topic.
//!
//! ```text
//! open    lock; make what is missing; cut off what is behind the last commit
//! append  messages behind the last commit, which nobody sees
//! commit  room ─► sync ─► commit frame ─► sync ─► begin a segment if this one is full ─► retention
//! close   give back the room
//! ```
//! Room is what a writer of many small commits keeps ahead of them: zeroes at the end of the file, of more bytes each
//! time. A sync of bytes that replace others is one write. One of a file that has grown makes its new length durable
//! as well: one more write that waits for the first, or a commit of the file system's own journal, which waits for what
//! others have put into new files ([decision 0018](../../../../../docs/decisions/0018-room-in-segments.md)).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
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

/// How much room is made at first, and at most: twice as much each time.
const ROOM_BYTES: (u64, u64) = (64 << 10, 4 << 20);

/// After how many bytes room is tried for again that was not to be had.
pub(super) const ROOM_AGAIN_BYTES: u64 = 64 << 10;

/// Below so much room, more is made. A commit frame takes less, unless it has very many keys.
const ROOM_LOW: u64 = 4 << 10;

/// What room is filled with.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// How room is made.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// How many bytes of it are made next.
    bytes: u64,
    /// From which byte of the file on.
    from: u64,
}

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
    /// How long the file is: behind `at` are zeroes.
    length: u64,
    /// How room is made; none if there is to be none.
    room: Option<Room>,
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
            length: held.length,
            room: None,
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

    /// Keeps room ahead of what is written, for a writer that stays and commits often; first after so many bytes.
    pub(super) fn keep_room(&mut self, after: u64) {
        self.room = Some(Room { bytes: ROOM_BYTES.0, from: self.at + after });
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
        self.length = self.length.max(self.at);
        self.buffer.clear();
        Ok(())
    }

    /// Sees to it that there is room behind what was written; the sync that comes makes it durable as well.
    fn make_room(&mut self) {
        let low = |room: &Room| self.length < self.at + ROOM_LOW && self.at >= room.from;
        let Some(room) = self.room.filter(low) else { return };
        // A segment that is full gets no more messages.
        let most = self.config.segment_bytes.max(self.at) + ROOM_LOW;
        let wanted = (self.at + room.bytes).min(most).next_multiple_of(ROOM_LOW);
        match fill(&self.file, self.length, wanted) {
            Ok(()) => {
                self.length = self.length.max(wanted);
                self.room = Some(Room { bytes: (room.bytes * 2).min(ROOM_BYTES.1), ..room });
            }
            Err(error) => {
                // What is left of the disk is for messages, which need no room.
                tracing::debug!(topic = self.name, %error, "no room is kept in the topic's file");
                self.keep_room(ROOM_AGAIN_BYTES);
                if let Err(error) = self.file.set_len(self.length) {
                    tracing::debug!(topic = self.name, %error, "some room stays in the topic's file");
                }
            }
        }
    }

    /// Takes back what was appended since the last commit, and the room behind it.
    pub(crate) fn abort(&mut self) -> Result<()> {
        self.buffer.clear();
        self.noted.clear();
        self.next = self.held.next;
        self.file
            .set_len(self.held.end)
            .and_then(|()| self.file.seek(SeekFrom::Start(self.held.end)))
            .map_err(|error| self.fail("cut off", error))?;
        (self.at, self.length) = (self.held.end, self.held.end);
        Ok(())
    }

    /// Makes what was appended visible and durable, together with the checkpoint of a sync.
    pub(crate) fn commit(&mut self, app: &str, checkpoint: &Checkpoint) -> Result<()> {
        // A commit that is whole says that the messages before it are on disk.
        if self.next > self.held.next {
            self.flush()?;
            self.make_room();
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
        // Only the last segment has room: what comes next begins where this one ends.
        if self.length > self.held.end {
            self.abort()?;
            self.file.sync_data().map_err(|error| self.fail("sync", error))?;
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
        (self.at, self.length) = (held.end, held.length);
        (self.file, self.segment, self.held) = (file, segment, held);
        self.room = self.room.map(|room| Room { from: 0, ..room });
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
            if *segment == self.segment {
                // Room is no message.
                sizes.push(self.held.end);
                continue;
            }
            let found = fs::metadata(&segment.path);
            sizes.push(found.map_err(|error| Error::io("look at", &segment.path, error))?.len());
        }
        let (mut total, mut removed) = (sizes.iter().sum::<u64>(), 0);
        // The newest batch is kept whatever its size: nobody could have read it yet.
        let newest = if self.held.next == self.segment.base { 2 } else { 1 };
        let last = segments.len().saturating_sub(newest);
        let pairs = segments.iter().zip(segments.iter().skip(1)).zip(sizes).enumerate();
        for (at, ((segment, next), size)) in pairs {
            // Messages of a segment are older than the next one.
            let old = match age {
                Some(age) => next.created()? <= self.now_ms - age,
                None => false,
            };
            let spare = most.is_some_and(|most| at < last && total - size >= most);
            if !old && !spare {
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
        // The next writer would do it, and would call it the rest of a crash. Room is for one that goes on.
        if self.length > self.held.end
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
    let length = if held.tail > 0 { held.end } else { held.length };
    Ok((file, Scan { tail: 0, length, ..held }))
}

/// Fills a file with zeroes from one byte to another, behind its end.
fn fill(file: &File, from: u64, to: u64) -> std::io::Result<()> {
    let mut at = from;
    while at < to {
        let left = usize::try_from(to - at).unwrap_or(usize::MAX);
        let some = ZEROES.get(..left).unwrap_or(&ZEROES);
        file.write_all_at(some, at)?;
        at += some.len() as u64;
    }
    Ok(())
}

/// Begins a segment with all checkpoints and keys: it is there as a whole or not at all.
fn begin(topic: &Path, first: &Commit) -> Result<()> {
    let mut bytes = MAGIC.to_vec();
    put_commit(&mut bytes, MAGIC.len() as u64, first)?;
    replace_file(&segment::path(topic, first.next), &bytes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use serde_json::Value;

    use super::super::Journal;
    use super::*;
    use crate::Position;

    #[test]
    fn a_disk_that_is_full_costs_the_room_and_no_message() {
        let place = tempfile::tempdir().unwrap();
        let journal = Journal { path: "j".into(), ..Journal::default() };
        let folder = journal.folder(place.path()).unwrap();
        let mut writer = TopicWriter::open(&folder, "t", &BTreeMap::new(), 0).unwrap();
        writer.keep_room(0);
        let write = |writer: &mut TopicWriter, sequence| {
            writer.append(None, Some(b"{}")).unwrap();
            let position = Position(Value::Null);
            writer.commit("s", &Checkpoint { sequence, position }).unwrap();
            fs::metadata(&writer.segment.path).unwrap().len()
        };
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut writer.file, full);
        let length = writer.length;
        writer.make_room();
        writer.file = file;
        assert_eq!(writer.length, length);
        // It is not tried for again before a good many messages were written without.
        let length = write(&mut writer, 1);
        assert_eq!(length, writer.held.end);
        writer.append(None, Some(&[b'x'; ROOM_AGAIN_BYTES as usize])).unwrap();
        assert!(write(&mut writer, 2) > writer.held.end);
        assert_eq!(folder.extent("t").unwrap().high, 3);
    }
}
