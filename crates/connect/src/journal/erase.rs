//! Taking what a person said or did out of messages that are kept.
//!
//! Commits say at which byte of their file they begin, and readers go on by offset. So a message is not removed: what it
//! says is blanked, byte for byte, and everything else stays where it is. The file is written anew beside the old one and
//! takes its place in one step, so that a crash leaves one of both, whole.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result};

use super::frame::{Step, Stored, message_of, put_message};
use super::segment::Segment;
use super::writer::lock;
use super::{Folder, Journal};
use crate::output::sync_folder;
use crate::queue::Header;

/// What the name of a file ends with that is being written anew.
const ENDING: &str = ".erased";

/// Whether a message is found or blanked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasing {
    /// Messages are counted; nothing is written.
    Count,
    /// They are blanked.
    Blank,
}

/// The messages of a journal of which a part, its key, its value or a header, is `meant`: how many each topic has, by its
/// name. With [`Erasing::Blank`] all their parts are blanked: a JSON object becomes an empty one, anything else blanks.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a setting of the journal is wrong;
/// [`flywheel_base::ErrorKind::Conflict`] if somebody writes into a topic with such messages;
/// [`flywheel_base::ErrorKind::Corrupt`] if a topic is damaged; else those of the file system. What was blanked until then
/// stays blank.
/// # Cost
/// One reading of all files, and one writing of those with such messages.
pub fn erase(
    journal: &Journal,
    base_dir: &Path,
    meant: &dyn Fn(&[u8]) -> bool,
    erasing: Erasing,
) -> Result<Vec<(String, u64)>> {
    let folder = journal.folder(base_dir)?;
    let mut found = Vec::new();
    for topic in folder.topics()? {
        let count = match erasing {
            Erasing::Count => messages(&folder, &topic, meant)?,
            Erasing::Blank => blank(&folder, &topic, meant)?,
        };
        if count > 0 {
            found.push((topic, count));
        }
    }
    Ok(found)
}

/// How many messages of a topic are meant.
fn messages(folder: &Folder, topic: &str, meant: &dyn Fn(&[u8]) -> bool) -> Result<u64> {
    folder.with_segments(topic, |segments| {
        let mut count = 0;
        for segment in segments {
            count += places(segment, meant)?.len() as u64;
        }
        Ok(count)
    })
}

/// Blanks the messages of a topic that are meant; returns how many there were.
fn blank(folder: &Folder, topic: &str, meant: &dyn Fn(&[u8]) -> bool) -> Result<u64> {
    let at = folder.topic(topic)?;
    let leftovers = leftovers(&at)?;
    if leftovers.is_empty() && messages(folder, topic, meant)? == 0 {
        return Ok(0);
    }
    // Whoever writes has the last file open, and would go on in the old one.
    let _alone = lock(&at, topic)?;
    for path in leftovers {
        fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
    }
    let mut count = 0;
    for segment in folder.segments(topic)? {
        let frames = places(&segment, meant)?;
        if !frames.is_empty() {
            rewrite(&segment, &at, &frames)?;
            count += frames.len() as u64;
        }
    }
    Ok(count)
}

/// Files that an attempt which was cut off had begun: they hold what is to be gone.
fn leftovers(topic: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("list the topic", topic, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(topic).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.to_str().is_some_and(|name| name.ends_with(ENDING)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The messages of a segment that are meant: where the frame of each begins, and the blank frame that is as long.
fn places(segment: &Segment, meant: &dyn Fn(&[u8]) -> bool) -> Result<Vec<(u64, Vec<u8>)>> {
    // What lies behind the last commit is read by nobody, and cut off by the next writer.
    let mut frames = segment.open()?;
    let mut found = Vec::new();
    loop {
        match segment.step(&mut frames)? {
            Step::Whole => {}
            Step::End => return Ok(found),
            Step::Broken => break,
        }
        let Some(message) = message_of(frames.payload()) else { continue };
        let values = message.headers.iter().filter_map(|header| header.value);
        let mut parts = message.key.into_iter().chain(message.value).chain(values);
        if parts.any(meant) {
            found.push((frames.at, blanked(&message)?));
        }
    }
    // Damage is no end: what lies behind it was not looked at.
    segment.scan()?;
    Ok(found)
}

/// The frame of a message that says nothing, as long as the one it takes the place of.
fn blanked(message: &Stored<'_>) -> Result<Vec<u8>> {
    let key = message.key.map(nothing);
    let value = message.value.map(nothing);
    let values: Vec<Option<Vec<u8>>> =
        message.headers.iter().map(|header| header.value.map(nothing)).collect();
    let headers = message.headers.iter().zip(&values);
    let headers =
        headers.map(|(header, value)| Header { name: header.name, value: value.as_deref() });
    let blank = Stored {
        offset: message.offset,
        millis: message.millis,
        key: key.as_deref(),
        value: value.as_deref(),
        headers: headers.collect(),
    };
    let mut frame = Vec::new();
    put_message(&mut frame, &blank)?;
    Ok(frame)
}

/// As many bytes that say nothing: an empty object in the place of an object, so that whoever reads JSON can go on.
fn nothing(bytes: &[u8]) -> Vec<u8> {
    let mut blank = vec![b' '; bytes.len()];
    if bytes.trim_ascii_start().starts_with(b"{")
        && let Some(object) = blank.get_mut(..2)
    {
        object.copy_from_slice(b"{}");
    }
    blank
}

/// Writes a segment anew with these frames in the place of those that begin where they do.
fn rewrite(segment: &Segment, topic: &Path, frames: &[(u64, Vec<u8>)]) -> Result<()> {
    let path = &segment.path;
    let mut name = path.clone().into_os_string();
    name.push(ENDING);
    let beside = PathBuf::from(name);
    fs::copy(path, &beside).map_err(|error| Error::io("copy", path, error))?;
    let failed = |error| Error::io("write", &beside, error);
    let file = OpenOptions::new().write(true).open(&beside).map_err(failed)?;
    for (at, frame) in frames {
        file.write_all_at(frame, *at).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    fs::rename(&beside, path).map_err(|error| Error::io("rename", &beside, error))?;
    sync_folder(topic)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flywheel_base::ErrorKind;

    use super::super::TopicWriter;
    use super::super::newest::newest;
    use super::*;
    use crate::destination::Checkpoint;
    use crate::page::Position;

    fn journal() -> Journal {
        Journal { path: "j".into(), segment_bytes: Some("1KiB".to_owned()), ..Journal::default() }
    }

    fn write(dir: &Path, sequence: i64, values: &[&str]) {
        let folder = journal().folder(dir).unwrap();
        let mut writer = TopicWriter::open(&folder, "clicks", &BTreeMap::new(), 1).unwrap();
        for value in values {
            writer.append(Some(b"ann@example.org"), Some(value.as_bytes())).unwrap();
        }
        let position = Position(serde_json::json!(sequence));
        writer.commit("s", &Checkpoint { sequence, position }).unwrap();
    }

    fn texts(dir: &Path) -> Vec<String> {
        let newest = newest(&journal(), dir, None, 1_000).unwrap();
        newest.into_iter().map(|one| one.text.unwrap().trim().to_owned()).collect()
    }

    fn holds(part: &[u8], needle: &[u8]) -> bool {
        part.windows(needle.len()).any(|bytes| bytes == needle)
    }

    #[test]
    fn a_person_is_taken_out_of_every_file_and_the_others_stay_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("{{\"who\":\"bob\",\"text\":\"{}\"}}", "x".repeat(900));
        write(dir.path(), 1, &["{\"who\":\"canary\"}", "{\"who\":\"bob\"}"]);
        write(dir.path(), 2, &[long.as_str(), "canary says hello"]);
        write(dir.path(), 3, &["{\"who\":\"bob\"}"]);
        let meant = |part: &[u8]| holds(part, b"canary");
        let count = |erasing| erase(&journal(), dir.path(), &meant, erasing).unwrap();
        assert_eq!(count(Erasing::Count), [("clicks".to_owned(), 2)]);
        assert_eq!(count(Erasing::Blank), [("clicks".to_owned(), 2)]);
        assert!(count(Erasing::Blank).is_empty(), "the second time there is nothing to do");
        let seen = texts(dir.path());
        assert_eq!(seen, ["{}", "{\"who\":\"bob\"}", long.as_str(), "", "{\"who\":\"bob\"}"]);
        for entry in fs::read_dir(dir.path().join("j/clicks")).unwrap() {
            assert!(!holds(&fs::read(entry.unwrap().path()).unwrap(), b"canary"));
        }
        // Whoever writes next finds a whole topic.
        write(dir.path(), 4, &["{\"who\":\"eve\"}"]);
        assert_eq!(texts(dir.path()).len(), 6);
    }

    #[test]
    fn a_topic_that_is_written_is_left_alone_and_what_a_crash_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, &["{\"who\":\"canary\"}"]);
        let topic = dir.path().join("j/clicks");
        let left = topic.join("00000000000000000000.journal.erased");
        fs::write(&left, "canary").unwrap();
        let meant = |part: &[u8]| holds(part, b"canary");
        let blank = || erase(&journal(), dir.path(), &meant, Erasing::Blank);
        let folder = journal().folder(dir.path()).unwrap();
        let writer = TopicWriter::open(&folder, "clicks", &BTreeMap::new(), 1).unwrap();
        assert_eq!(blank().unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(texts(dir.path()), ["{\"who\":\"canary\"}"]);
        drop(writer);
        assert_eq!(blank().unwrap(), [("clicks".to_owned(), 1)]);
        assert!(!left.exists() && texts(dir.path()) == ["{}"]);
    }
}
