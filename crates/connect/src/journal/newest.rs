//! The newest messages of every topic, for whoever wants to see whether theirs has arrived.

use std::path::Path;

use flywheel_base::{ErrorKind, Result, Timestamp};

use super::Journal;
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
        let extent = match folder.extent(&topic) {
            // It is not there yet, or was removed since.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            extent => extent?,
        };
        let stream =
            TopicStream { topic: topic.clone(), on_gap: OnGap::Skip, ..TopicStream::default() };
        let mut reader = folder.open(&stream)?;
        let from = extent.high.saturating_sub(i64::from(most)).max(extent.low);
        reader.begin(Span { partition: 0, from, to: extent.high })?;
        while reader.next(&mut |message| {
            let millis = message.millis.unwrap_or_default();
            found.push(JournalMessage {
                topic: topic.clone(),
                offset: message.offset,
                at: Timestamp::from_micros(millis.saturating_mul(1_000)),
                text: message.value.map(|value| String::from_utf8_lossy(value).into_owned()),
            });
        })? {}
    }
    Ok(found)
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
    }
}
