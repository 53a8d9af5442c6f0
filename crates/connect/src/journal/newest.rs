//! The newest messages of every topic, for whoever wants to see whether theirs has arrived, and those between two offsets,
//! for whoever goes on where it had come to.

use std::ops::Range;
use std::path::Path;

use flywheel_base::{ErrorKind, Result, Timestamp};

use super::{Folder, Journal};
use crate::queue::{OnGap, Queue as _, Span, TopicStream};

/// A message of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalMessage {
    /// The topic.
    pub topic: String,
    /// Its place in the topic.
    pub offset: i64,
    /// When it was written, by the clock of whoever wrote it.
    pub at: Timestamp,
    /// What it says; none for a tombstone. Bytes that are not UTF-8 are replaced.
    pub text: Option<String>,
}

/// The newest `most` messages of `topic`, oldest first; without one, those of each topic, topics by name.
///
/// # Errors
/// [`ErrorKind::Invalid`] if a setting of the journal is wrong, [`ErrorKind::Corrupt`] if a topic is damaged, else
/// those of the file system.
/// # Cost
/// One reading of the last file of each topic, more where it holds fewer messages.
pub fn newest(
    journal: &Journal,
    base_dir: &Path,
    topic: Option<&str>,
    most: u32,
) -> Result<Vec<JournalMessage>> {
    let folder = journal.folder(base_dir)?;
    let mut found = Vec::new();
    let topics = match topic {
        Some(topic) => vec![topic.to_owned()],
        None => folder.topics()?,
    };
    for topic in topics {
        // It is not there yet, or was removed since.
        let Some(held) = held(&folder, &topic)? else { continue };
        let from = held.end.saturating_sub(i64::from(most)).max(held.start);
        read(&folder, &topic, from..held.end, &mut found)?;
    }
    Ok(found)
}

/// The offsets that a topic holds messages of; none if there is no such topic yet. What is read up to their end is there
/// whatever is written meanwhile.
///
/// # Errors
/// As [`newest`].
pub fn offsets(journal: &Journal, base_dir: &Path, topic: &str) -> Result<Option<Range<i64>>> {
    held(&journal.folder(base_dir)?, topic)
}

/// The messages of a topic at these offsets, oldest first; those that retention has removed are left out.
///
/// # Errors
/// As [`newest`]; [`ErrorKind::NotFound`] if there is no such topic.
pub fn between(
    journal: &Journal,
    base_dir: &Path,
    topic: &str,
    offsets: Range<i64>,
) -> Result<Vec<JournalMessage>> {
    let mut found = Vec::new();
    read(&journal.folder(base_dir)?, topic, offsets, &mut found)?;
    Ok(found)
}

fn held(folder: &Folder, topic: &str) -> Result<Option<Range<i64>>> {
    match folder.extent(topic) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        extent => extent.map(|extent| Some(extent.low..extent.high)),
    }
}

fn read(
    folder: &Folder,
    topic: &str,
    offsets: Range<i64>,
    found: &mut Vec<JournalMessage>,
) -> Result<()> {
    let stream =
        TopicStream { topic: topic.to_owned(), on_gap: OnGap::Skip, ..TopicStream::default() };
    let mut reader = folder.open(&stream)?;
    reader.begin(Span { partition: 0, from: offsets.start, to: offsets.end })?;
    while reader.next(&mut |message| {
        let millis = message.millis.unwrap_or_default();
        found.push(JournalMessage {
            topic: topic.to_owned(),
            offset: message.offset,
            at: Timestamp::from_micros(millis.saturating_mul(1_000)),
            text: message.value.map(|value| String::from_utf8_lossy(value).into_owned()),
        });
    })? {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flywheel_base::FixedClock;

    use super::*;
    use crate::JournalEvents;

    #[tokio::test]
    async fn the_newest_of_each_topic_are_found_at_once_across_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let segment_bytes = Some("1KiB".to_owned());
        let journal = Journal { path: "journal".into(), segment_bytes, ..Journal::default() };
        assert_eq!(newest(&journal, dir.path(), None, 3).unwrap(), []);
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let events =
            JournalEvents::open(&journal, dir.path(), Arc::new(FixedClock::new(at))).unwrap();
        for n in 0..30 {
            let event = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(100));
            events.append("many", None, vec![event.into_bytes()]).await.unwrap();
        }
        events.append("few", None, vec![b"{}".to_vec()]).await.unwrap();
        let found = newest(&journal, dir.path(), None, 12).unwrap();
        let places: Vec<_> = found.iter().map(|one| (one.topic.as_str(), one.offset)).collect();
        let mut expected = vec![("few", 0)];
        expected.extend((18..30).map(|offset| ("many", offset)));
        assert_eq!(places, expected);
        assert_eq!(newest(&journal, dir.path(), Some("many"), 12).unwrap(), found[1..]);
        assert_eq!(newest(&journal, dir.path(), Some("none"), 12).unwrap(), []);
        assert!(found.iter().all(|one| one.at == at));
        assert!(found[12].text.as_deref().unwrap().starts_with("{\"n\":29,"));
        assert_eq!(offsets(&journal, dir.path(), "many").unwrap(), Some(0..30));
        assert_eq!(offsets(&journal, dir.path(), "none").unwrap(), None);
        let some = between(&journal, dir.path(), "many", 20..23).unwrap();
        assert_eq!(some, found[3..6]);
        assert_eq!(between(&journal, dir.path(), "many", 30..30).unwrap(), []);
    }
}
