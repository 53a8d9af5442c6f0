//! The embedded journal: topics of messages in a folder, a queue without a server.
//!
//! ```text
//! journal/orders/topic.json                       its settings
//!                lock                             held by the one writer
//!                00000000000000000000.journal     messages from offset 0 on
//!                00000000000000048211.journal     messages from offset 48211 on; the last one grows
//! ```
//! A segment is made of frames (`frame`), and readers see what lies before the last whole commit
//! frame. A commit frame is written after its messages are on disk and carries the checkpoint of the
//! sync, so rows and position become visible and durable in one step. What a crash leaves behind the
//! last commit is cut off by the next writer; damage before it stops everybody with the place. The last segment may end
//! with zeroes, which are room for what comes.

mod config;
pub(crate) mod erase;
pub(crate) mod events;
mod frame;
pub(crate) mod newest;
mod reader;
mod segment;
mod taken;
pub(crate) mod topics;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, ErrorKind, Result, quantity, suggest};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use writer::TopicWriter;

use self::segment::Segment;
use crate::destination::Checkpoint;
use crate::queue::{Extent, check_topic_name};

/// How large a segment grows unless the connection says otherwise.
const SEGMENT_BYTES: u64 = 64 << 20;

/// The sizes of segments that make sense.
const SEGMENT_BYTES_RANGE: (u64, u64) = (1 << 10, 1 << 40);

/// How often a topic is looked at whose files a writer changes meanwhile.
const LOOKS_MAX: usize = 3;

/// A journal.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// The folder of the topics, relative to the project. It is made by the first write.
    pub path: PathBuf,
    /// How large a file of messages grows before the next one is begun, `64MiB` if not given.
    #[serde(default)]
    pub segment_bytes: Option<String>,
    /// How long messages are kept at least, `7d`; for ever if not given. Whole files are removed, by
    /// the next write into the topic.
    #[serde(default)]
    pub retention_age: Option<String>,
    /// How many bytes of a topic are kept at least, `1GiB`; without limit if not given. The oldest file is
    /// removed once the others hold so much; what was written last stays, however large it is.
    #[serde(default)]
    pub retention_bytes: Option<String>,
}

/// The folder of a journal, and what its topics have in common.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The path as the settings have it, for messages.
    name: String,
    segment_bytes: u64,
    retention_ms: Option<i64>,
    retention_bytes: Option<u64>,
}

impl Journal {
    /// Checks the settings; does no I/O.
    pub(crate) fn folder(&self, base_dir: &Path) -> Result<Folder> {
        if self.path.as_os_str().is_empty() {
            return Err(Error::invalid("the journal's `path` is empty")
                .hint("Set a folder, for example `path: journal`."));
        }
        let size = |what: &str, text: &Option<String>| {
            let found = text.as_deref().map(quantity::size_bytes).transpose();
            found.map_err(|error| error.context(format!("`{what}`")))
        };
        let segment_bytes = size("segment_bytes", &self.segment_bytes)?.unwrap_or(SEGMENT_BYTES);
        check_segment_bytes(segment_bytes)?;
        let age = self.retention_age.as_deref().map(quantity::duration_us).transpose();
        let age = age.map_err(|error| error.context("`retention_age`"))?;
        if age.is_some_and(|age| age <= 0) {
            return Err(Error::invalid("`retention_age` has to be longer than nothing")
                .hint("Set a duration such as 7d, or leave it out to keep messages for ever."));
        }
        Ok(Folder {
            path: base_dir.join(&self.path),
            name: self.path.display().to_string(),
            segment_bytes,
            retention_ms: age.map(|micros| (micros / 1_000).max(1)),
            retention_bytes: size("retention_bytes", &self.retention_bytes)?,
        })
    }
}

/// How much of a file can be copied while a topic's writer is at it: what is committed. Nothing if it is no file that
/// a writer could be at, or if that cannot be told: then it is copied as it is.
///
/// A file that only grows could be copied without that. Where the writer has left room the end of a file may be there
/// before what lies ahead of it, for whoever reads beside the writer.
#[must_use]
pub fn committed_bytes(path: &Path) -> Option<u64> {
    segment::is_named_so(path).then_some(())?;
    let segments = segment::list(path.parent()?).ok()?;
    let last = segments.last().filter(|last| last.path == path)?;
    (0..LOOKS_MAX).find_map(|_| last.scan().ok()).map(|scan| scan.end)
}

/// Refuses a size of segments that makes no sense.
fn check_segment_bytes(bytes: u64) -> Result<()> {
    let (least, most) = SEGMENT_BYTES_RANGE;
    if (least..=most).contains(&bytes) {
        return Ok(());
    }
    Err(Error::invalid(format!("segments of {bytes} bytes are not possible"))
        .hint("Set a size from 1KiB to 1024GiB."))
}

impl Folder {
    /// Proves that the folder is one, or could be made.
    pub(crate) fn check(&self) -> Result<()> {
        match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(Error::invalid(format!("the journal {} is no folder", self.name))
                .hint("Set the connection's `path` to a folder.")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("look at the journal", &self.path, error)),
        }
    }

    /// The topics by name.
    pub(crate) fn topics(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(Error::io("list the journal", &self.path, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("list the journal", &self.path, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let topic = check_topic_name(&name).is_ok() && entry.path().is_dir();
            if topic && !segment::list(&entry.path())?.is_empty() {
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }

    /// The folder of a topic; the name is checked, so that it leads nowhere else.
    fn topic(&self, name: &str) -> Result<PathBuf> {
        check_topic_name(name)?;
        Ok(self.path.join(name))
    }

    /// The segments of a topic, oldest first.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such topic, with the nearest name.
    fn segments(&self, name: &str) -> Result<Vec<Segment>> {
        let found = segment::list(&self.topic(name)?)?;
        if !found.is_empty() {
            return Ok(found);
        }
        let error =
            Error::not_found(format!("there is no topic \"{name}\" in the journal {}", self.name));
        let known = self.topics()?;
        if known.is_empty() {
            return Err(
                error.hint("The first write into a topic makes it; see the connection's `path`.")
            );
        }
        Err(error.hint(suggest::hint(name, known.iter().map(String::as_str))))
    }

    /// Does something with the segments of a topic; again if retention may have removed one meanwhile,
    /// or if a writer may have replaced what it had not committed, which looks like damage.
    fn with_segments<T>(
        &self,
        name: &str,
        mut work: impl FnMut(&[Segment]) -> Result<T>,
    ) -> Result<T> {
        for _ in 1..LOOKS_MAX {
            match work(&self.segments(name)?) {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {}
                done => return done,
            }
        }
        work(&self.segments(name)?)
    }

    /// What a topic holds.
    pub(crate) fn extent(&self, name: &str) -> Result<Extent> {
        self.with_segments(name, |segments| {
            let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
                return Err(Error::not_found(format!("there is no topic \"{name}\"")));
            };
            Ok(Extent { low: first.base, high: last.scan()?.next })
        })
    }

    /// The last checkpoint of a sync in a topic; nothing if there is no such topic yet.
    pub(crate) fn checkpoint(&self, name: &str, app: &str) -> Result<Option<Checkpoint>> {
        if segment::list(&self.topic(name)?)?.is_empty() {
            return Ok(None);
        }
        self.with_segments(name, |segments| match segments.last() {
            Some(last) => Ok(last.scan()?.checkpoints.remove(app)),
            None => Ok(None),
        })
    }
}

#[cfg(test)]
mod tests;
