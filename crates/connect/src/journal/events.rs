//! Events that programs hand in one by one: each is on disk before it is acknowledged.
//!
//! One thread per topic writes. What arrives while it waits for the disk goes into the next commit together, so
//! the disk is asked twice per commit, not twice per event. A request with a key that comes again, as after an answer
//! that got lost, is answered as before and not kept again: its key is on disk with its messages.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_base::{Clock, Error, ErrorKind, Gather, GatherLimits, Result};
use serde_json::Value;

use super::taken::{Key, content_of, key_of};
use super::writer::ROOM_AGAIN_BYTES;
use super::{Folder, Journal, TopicWriter};
use crate::Position;
use crate::destination::Checkpoint;
use crate::queue::check_topic_name;

/// Under which name commits of events are noted in a topic.
const APP: &str = "events";

/// What waits for one topic, and the messages of one commit.
const LIMITS: GatherLimits = GatherLimits { waiting_max: 1_024, weight_max: 50_000 };
/// Topics that are open at most.
const TOPICS_MAX: usize = 256;
/// The longest key of a request, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Messages that belong together, and the sender's name for them.
#[derive(Debug)]
struct Request {
    key: Option<Key>,
    /// Whether the key alone says what it is: what comes again under it may be written otherwise.
    named: bool,
    messages: Vec<Vec<u8>>,
}

/// What became of messages that were handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the first message.
    pub first_offset: i64,
    /// Whether they were there already, from an earlier request with this key.
    pub repeated: bool,
}

/// The writer of a topic and what waits for it.
type Writing = Arc<Gather<Request, Appended>>;

/// The topics of a journal that events are handed to.
#[derive(Debug)]
pub struct JournalEvents {
    folder: Folder,
    clock: Arc<dyn Clock>,
    topics: Mutex<BTreeMap<String, Writing>>,
}

impl JournalEvents {
    /// Takes the settings of a `journal` connection, whose paths begin in `base_dir`; does no I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a setting is wrong.
    pub fn open(journal: &Journal, base_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { folder: journal.folder(base_dir)?, clock, topics: Mutex::default() })
    }

    /// Appends messages to a topic, which is made if it is not there. All of them are on disk when it
    /// returns the offset of the first, or none is visible. Of requests with the same `key` only the first is kept,
    /// as long as the key is known: the newest 100,000 of a topic are.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name no topic can have, for a message that the topic cannot have, and for a key
    /// that was used for other messages; [`ErrorKind::Conflict`] while another process writes the topic;
    /// [`ErrorKind::Unavailable`] if too much waits; [`ErrorKind::Exhausted`] if the disk is full, after which the
    /// next call tries again.
    pub async fn append(
        &self,
        topic: &str,
        key: Option<&str>,
        messages: Vec<Vec<u8>>,
    ) -> Result<Appended> {
        self.ask(topic, (key, false), messages).await
    }

    /// As [`Self::append`], but that what comes again under a key is there already whatever it says: other systems tell
    /// of one delivery with small differences.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn append_delivery(
        &self,
        topic: &str,
        delivery: &str,
        messages: Vec<Vec<u8>>,
    ) -> Result<Appended> {
        self.ask(topic, (Some(delivery), true), messages).await
    }

    async fn ask(
        &self,
        topic: &str,
        (key, named): (Option<&str>, bool),
        messages: Vec<Vec<u8>>,
    ) -> Result<Appended> {
        check_topic_name(topic)?;
        if key.is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            return Err(Error::invalid(format!(
                "the key of a request has to have 1 to {KEY_BYTES_MAX} bytes"
            ))
            .hint(
                "Use something like a UUID, made once for each request and sent with each try.",
            ));
        }
        let writing = self.writing(topic)?;
        writing.ask(Request { key: key.map(key_of), named, messages }).await
    }

    fn writing(&self, topic: &str) -> Result<Writing> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writing) = topics.get(topic) {
            return Ok(Arc::clone(writing));
        }
        if topics.len() >= TOPICS_MAX {
            return Err(Error::exhausted(format!("{TOPICS_MAX} topics are open already")).hint(
                "Send events of several kinds to one topic, with a field that tells them apart.",
            ));
        }
        let (folder, clock, name) =
            (self.folder.clone(), Arc::clone(&self.clock), topic.to_owned());
        let mut place = Place::default();
        let writing = Arc::new(Gather::start(
            format!("topic \"{topic}\""),
            LIMITS,
            |request: &Request| request.messages.len(),
            move |group| write(&mut place, &folder, clock.as_ref(), &name, &group),
        )?);
        topics.insert(topic.to_owned(), Arc::clone(&writing));
        Ok(writing)
    }
}

/// Where the messages of a topic go.
#[derive(Debug, Default)]
struct Place {
    open: Option<TopicWriter>,
    /// Whether the disk was full at the last write: some file systems say so only when they are to make durable what
    /// they had taken before, so room could be what there is none for.
    full: bool,
}

/// Writes a group, and answers each request of it.
fn write(
    place: &mut Place,
    folder: &Folder,
    clock: &dyn Clock,
    topic: &str,
    group: &[Request],
) -> Vec<Result<Appended>> {
    // After an error, or if this panics, it stays closed: what was not committed is cut off when it is opened again.
    let open = match place.open.take() {
        Some(writer) => Ok(writer),
        None => open(folder, clock, topic, place.full),
    };
    match open.and_then(|writer| commit(writer, clock, topic, group)) {
        Ok((writer, answers)) => {
            *place = Place { open: Some(writer), full: false };
            answers
        }
        Err(error) => {
            place.full = error.kind() == ErrorKind::Exhausted;
            let error = match error.hint_text() {
                Some(_) => error,
                None if error.kind() == ErrorKind::Exhausted => {
                    error.hint("Free space on that file system.")
                }
                None => error.hint("Nothing of this request was kept; send it again."),
            };
            group.iter().map(|_| Err(error.again())).collect()
        }
    }
}

/// Opens a topic for events: they come one by one, so there is room for them.
fn open(folder: &Folder, clock: &dyn Clock, topic: &str, full: bool) -> Result<TopicWriter> {
    let mut writer = TopicWriter::open(folder, topic, &BTreeMap::new(), millis(clock))?;
    writer.keep_room(if full { ROOM_AGAIN_BYTES } else { 0 });
    Ok(writer)
}

fn millis(clock: &dyn Clock) -> i64 {
    clock.now().micros().div_euclid(1_000)
}

/// Appends and commits the messages of a group. A request that cannot be taken fails alone.
fn commit(
    mut writer: TopicWriter,
    clock: &dyn Clock,
    topic: &str,
    group: &[Request],
) -> Result<(TopicWriter, Vec<Result<Appended>>)> {
    writer.at_moment(millis(clock));
    let before = writer.next_offset();
    let mut answers = Vec::with_capacity(group.len());
    for request in group {
        answers.push(match check(&writer, topic, request) {
            Ok(None) => {
                let first_offset = writer.next_offset();
                if let Some(key) = request.key {
                    writer.note(key, content_of(&request.messages));
                }
                for message in &request.messages {
                    writer.append(None, Some(message))?;
                }
                Ok(Appended { first_offset, repeated: false })
            }
            Ok(Some(first_offset)) => Ok(Appended { first_offset, repeated: true }),
            Err(error) => Err(error),
        });
    }
    let sequence = writer.next_offset();
    if sequence > before {
        writer.commit(APP, &Checkpoint { sequence, position: Position(Value::Null) })?;
    }
    Ok((writer, answers))
}

/// Where the messages of a request are already; nothing if they are new.
fn check(writer: &TopicWriter, topic: &str, request: &Request) -> Result<Option<i64>> {
    if writer.config.compact {
        return Err(Error::invalid(format!(
            "the topic \"{topic}\" is compacted: its messages need keys, which events have not"
        ))
        .hint("Send the events to another topic."));
    }
    let most = writer.config.message_bytes_max;
    if let Some(message) = request.messages.iter().find(|message| message.len() > most) {
        return Err(Error::invalid(format!(
            "an event has {} bytes, more than the {most} that the topic \"{topic}\" takes",
            message.len()
        ))
        .hint("Raise the topic's max.message.bytes with `flywheel topic alter`, or send less."));
    }
    let Some(key) = request.key else { return Ok(None) };
    match writer.taken(key) {
        None => Ok(None),
        Some((content, first)) if request.named || content == content_of(&request.messages) => {
            Ok(Some(first))
        }
        Some(_) => Err(Error::invalid(format!(
            "the key of the request was used for other events of the topic \"{topic}\" before"
        ))
        .hint("Make a new key for each request; send the same one only with the same events.")),
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::SystemClock;

    use super::*;

    #[tokio::test]
    async fn what_is_acknowledged_is_there_in_order_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { path: "journal".into(), ..Journal::default() };
        let events =
            Arc::new(JournalEvents::open(&journal, dir.path(), Arc::new(SystemClock)).unwrap());
        let sends = (0..200_i64).map(|n| {
            let events = Arc::clone(&events);
            async move {
                let messages = vec![format!("{{\"n\":{n}}}").into_bytes(); 2];
                events.append("clicks", None, messages).await.unwrap().first_offset
            }
        });
        let mut offsets = futures::future::join_all(sends).await;
        offsets.sort_unstable();
        let expected: Vec<i64> = (0..200).map(|n| 2 * n).collect();
        assert_eq!(offsets, expected);
        drop(events);
        let extent = journal.folder(dir.path()).unwrap().extent("clicks").unwrap();
        assert_eq!((extent.low, extent.high), (0, 400));
    }

    #[tokio::test]
    async fn a_topic_that_somebody_else_writes_is_a_conflict_until_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { path: "journal".into(), ..Journal::default() };
        let folder = journal.folder(dir.path()).unwrap();
        let other = TopicWriter::open(&folder, "clicks", &BTreeMap::new(), 0).unwrap();
        let events = JournalEvents::open(&journal, dir.path(), Arc::new(SystemClock)).unwrap();
        let one = || vec![b"{}".to_vec()];
        let error = events.append("clicks", None, one()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        drop(other);
        assert_eq!(events.append("clicks", None, one()).await.unwrap().first_offset, 0);
        let error = events.append("../x", None, one()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    fn messages(values: &[&str]) -> Vec<Vec<u8>> {
        values.iter().map(|value| value.as_bytes().to_vec()).collect()
    }

    fn opened(dir: &Path, segment_bytes: &str) -> JournalEvents {
        let segment_bytes = Some(segment_bytes.to_owned());
        let journal = Journal { path: "journal".into(), segment_bytes, ..Journal::default() };
        JournalEvents::open(&journal, dir, Arc::new(SystemClock)).unwrap()
    }

    #[tokio::test]
    async fn what_is_sent_again_under_its_key_is_kept_once_also_after_a_restart_and_a_new_segment()
    {
        let dir = tempfile::tempdir().unwrap();
        let first = Appended { first_offset: 0, repeated: false };
        let again = Appended { repeated: true, ..first };
        let two = || messages(&["{\"n\":1}", "{\"n\":2}"]);
        {
            let events = opened(dir.path(), "1KiB");
            assert_eq!(events.append("clicks", Some("a"), two()).await.unwrap(), first);
            assert_eq!(events.append("clicks", Some("a"), two()).await.unwrap(), again);
            // The file is full after this.
            let long = format!("{{\"text\":\"{}\"}}", "x".repeat(2_000));
            events.append("clicks", Some("long"), messages(&[&long])).await.unwrap();
            events.append("clicks", None, messages(&["{}"])).await.unwrap();
        }
        let folder = Journal { path: "journal".into(), ..Journal::default() };
        let folder = folder.folder(dir.path()).unwrap();
        assert!(folder.segments("clicks").unwrap().len() > 1);
        // The writer's thread lets the topic go once its queue is gone.
        while let Err(error) = TopicWriter::open(&folder, "clicks", &BTreeMap::new(), 0) {
            assert_eq!(error.kind(), ErrorKind::Conflict);
            std::thread::yield_now();
        }
        let events = opened(dir.path(), "1KiB");
        assert_eq!(events.append("clicks", Some("a"), two()).await.unwrap(), again);
        let other = events.append("clicks", Some("a"), messages(&["{}"])).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Invalid);
        let told = events.append_delivery("clicks", "a", messages(&["{\"n\":3}"])).await;
        assert_eq!(told.unwrap(), again);
        assert_eq!(events.append("other", Some("a"), two()).await.unwrap(), first);
        assert_eq!(folder.extent("clicks").unwrap().high, 4);
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_taken_fails_alone() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { path: "journal".into(), ..Journal::default() };
        let folder = journal.folder(dir.path()).unwrap();
        let config = BTreeMap::from([("max.message.bytes".to_owned(), "10".to_owned())]);
        drop(TopicWriter::open(&folder, "small", &config, 0).unwrap());
        let long = Request { key: None, named: false, messages: messages(&["{\"n\":1000000}"]) };
        let short = |key| Request { key, named: false, messages: messages(&["{}"]) };
        let key = Some(key_of("k"));
        let group = [short(None), long, short(key), short(key)];
        let mut place = Place::default();
        let answers = write(&mut place, &folder, &SystemClock, "small", &group);
        let said: Vec<_> =
            answers.iter().map(|one| one.as_ref().map(|one| one.first_offset).ok()).collect();
        assert_eq!(said, [Some(0), None, Some(1), Some(1)]);
        assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(folder.extent("small").unwrap().high, 2);
        // A group of nothing new needs no commit.
        let again = write(&mut place, &folder, &SystemClock, "small", &[short(key)]);
        assert!(again[0].as_ref().unwrap().repeated);
    }
}
