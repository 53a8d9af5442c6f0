//! Events on disk until they are delivered: a folder of files whose names are in the order of time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flywheel_base::{Error, Result, Timestamp};
use flywheel_connect::replace_file;
use serde_json::Value;

/// How many files a queue holds; beyond it the oldest go.
const FILES_MAX: usize = 10_000;

/// What the name of a file of events ends in.
const ENDING: &str = ".jsonl";

/// Tells apart what is queued within one microsecond.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A queue of events.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    folder: PathBuf,
}

impl Queue {
    /// The queue in a folder, which need not be there.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A name for events of this moment, later than all given before.
    pub(super) fn name(at: Timestamp) -> String {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed) % 1_000_000;
        format!("{:020}-{number:06}{ENDING}", at.micros().max(0))
    }

    /// Puts events on disk, all or none.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn put(&self, name: &str, events: &[Value]) -> Result<()> {
        let mut text = String::new();
        for event in events {
            text.push_str(&event.to_string());
            text.push('\n');
        }
        replace_file(&self.folder.join(name), text.as_bytes())?;
        self.shorten()
    }

    /// The names of all files, oldest first.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let listed = match fs::read_dir(&self.folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &self.folder, error)),
        };
        let mut names = Vec::new();
        for entry in listed {
            let entry = entry.map_err(|error| Error::io("list", &self.folder, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A file that begins with a dot is one under way.
            if name.ends_with(ENDING) && !name.starts_with('.') {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The events of a file.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if it is not as it was written, else those of the file system.
    pub(super) fn read(&self, name: &str) -> Result<Vec<Value>> {
        let path = self.folder.join(name);
        let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
        let event = |line: &str| {
            serde_json::from_str(line).map_err(|error| {
                Error::corrupt(format!("{} holds a line that is no event", path.display()))
                    .caused_by(error)
                    .hint("Remove the file: other events wait behind it.")
            })
        };
        text.lines().map(event).collect()
    }

    /// Takes a file out.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn shorten(&self) -> Result<()> {
        let names = self.names()?;
        let many = names.len().saturating_sub(FILES_MAX);
        for name in names.iter().take(many) {
            self.remove(name)?;
        }
        if many > 0 {
            tracing::warn!(dropped = many, folder = %self.folder.display(), "events of OpenLineage are dropped: nobody takes them");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_come_out_in_the_order_they_went_in_and_a_torn_one_is_not_seen() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::new(folder.path().join("q"));
        assert!(queue.names().unwrap().is_empty());
        let at = Timestamp::parse("2024-05-01").unwrap();
        for number in 0..3 {
            queue.put(&Queue::name(at), &[json!({"n": number}), json!({"m": number})]).unwrap();
        }
        fs::write(queue.folder().join(".x.jsonl.tmp"), "{").unwrap();
        fs::write(queue.folder().join(".y.jsonl"), "{").unwrap();
        let names = queue.names().unwrap();
        let read: Vec<Value> =
            names.iter().map(|name| queue.read(name).unwrap()[0]["n"].clone()).collect();
        assert_eq!(read, [json!(0), json!(1), json!(2)]);
        queue.remove(&names[0]).unwrap();
        queue.remove(&names[0]).unwrap();
        assert_eq!(queue.names().unwrap().len(), 2);
        fs::write(queue.folder().join(&names[1]), "{\"n\":").unwrap();
        assert!(queue.read(&names[1]).unwrap_err().hint_text().is_some());
    }
}
