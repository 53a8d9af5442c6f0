//! Events that programs hand in one by one: each is on disk before it is acknowledged.
//!
//! One thread per topic writes. What arrives while it waits for the disk goes into the next commit together, so
//! the disk is asked twice per commit, not twice per event.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use flywheel_base::{Clock, Error, ErrorKind, Result};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Folder, Journal, TopicWriter};
use crate::Position;
use crate::destination::Checkpoint;
use crate::queue::check_topic_name;

/// Under which name commits of events are noted in a topic.
const APP: &str = "events";

/// Requests that wait for one topic at most; more are refused rather than kept in memory.
const WAITING_MAX: usize = 1_024;
/// Messages of one commit at most.
const COMMIT_MESSAGES_MAX: usize = 50_000;
/// Topics that are open at most.
const TOPICS_MAX: usize = 256;

struct Request {
    messages: Vec<Vec<u8>>,
    done: oneshot::Sender<Result<i64>>,
}

/// The topics of a journal that events are handed to.
#[derive(Debug)]
pub struct JournalEvents {
    folder: Folder,
    clock: Arc<dyn Clock>,
    topics: Mutex<BTreeMap<String, mpsc::SyncSender<Request>>>,
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
    /// returns the offset of the first, or none is visible.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name no topic can have; [`ErrorKind::Conflict`] while another process
    /// writes the topic; [`ErrorKind::Unavailable`] if too much waits; [`ErrorKind::Exhausted`] if the disk is
    /// full, after which the next call tries again.
    pub async fn append(&self, topic: &str, messages: Vec<Vec<u8>>) -> Result<i64> {
        check_topic_name(topic)?;
        let (done, answer) = oneshot::channel();
        self.send(topic, Request { messages, done })?;
        answer.await.unwrap_or_else(|_| {
            Err(Error::unavailable(format!("the writer of the topic \"{topic}\" has ended"))
                .hint("Send the events again."))
        })
    }

    fn send(&self, topic: &str, request: Request) -> Result<()> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.contains_key(topic) {
            if topics.len() >= TOPICS_MAX {
                return Err(Error::exhausted(format!("{TOPICS_MAX} topics are open already"))
                    .hint("Send events of several kinds to one topic, with a field that tells them apart."));
            }
            let (sender, receiver) = mpsc::sync_channel(WAITING_MAX);
            let (folder, clock, name) =
                (self.folder.clone(), Arc::clone(&self.clock), topic.to_owned());
            thread::Builder::new()
                .name("flywheel-events".to_owned())
                .spawn(move || write(&folder, clock.as_ref(), &name, &receiver))
                .map_err(|error| {
                    Error::exhausted("no thread for the writer of a topic").caused_by(error)
                })?;
            topics.insert(topic.to_owned(), sender);
        }
        let Some(sender) = topics.get(topic) else {
            return Err(Error::internal(format!("the topic \"{topic}\" has no writer")));
        };
        match sender.try_send(request) {
            Ok(()) => Ok(()),
            Err(mpsc::TrySendError::Full(_)) => Err(Error::unavailable(format!(
                "more than {WAITING_MAX} requests wait for the topic \"{topic}\""
            ))
            .hint("Send events in batches, and try again in a moment.")),
            Err(mpsc::TrySendError::Disconnected(_)) => {
                topics.remove(topic);
                Err(Error::unavailable(format!("the writer of the topic \"{topic}\" has ended"))
                    .hint("Send the events again."))
            }
        }
    }
}

/// Writes what arrives until nobody can send any more.
fn write(folder: &Folder, clock: &dyn Clock, topic: &str, requests: &mpsc::Receiver<Request>) {
    let mut open = None;
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        let mut messages = group.iter().map(|request| request.messages.len()).sum::<usize>();
        while messages < COMMIT_MESSAGES_MAX
            && let Ok(next) = requests.try_recv()
        {
            messages += next.messages.len();
            group.push(next);
        }
        let outcome = commit(&mut open, folder, clock, topic, &group);
        if outcome.is_err() {
            // What was not committed is cut off when it is opened again.
            open = None;
        }
        for (index, request) in group.into_iter().enumerate() {
            let answer = match &outcome {
                Ok(offsets) => Ok(offsets.get(index).copied().unwrap_or_default()),
                Err(error) => Err(again(error)),
            };
            // Whoever has gone away meanwhile asks again.
            if request.done.send(answer).is_err() {
                tracing::debug!(topic, "nobody waits for an acknowledgement");
            }
        }
    }
}

/// Appends and commits the messages of a group; the offset of each request's first message.
fn commit(
    open: &mut Option<TopicWriter>,
    folder: &Folder,
    clock: &dyn Clock,
    topic: &str,
    group: &[Request],
) -> Result<Vec<i64>> {
    let now_ms = clock.now().micros().div_euclid(1_000);
    let writer = match open {
        Some(writer) => writer,
        None => open.insert(TopicWriter::open(folder, topic, &BTreeMap::new(), now_ms)?),
    };
    writer.at_moment(now_ms);
    let mut offsets = Vec::with_capacity(group.len());
    for request in group {
        offsets.push(writer.next_offset());
        for message in &request.messages {
            writer.append(None, Some(message))?;
        }
    }
    let sequence = writer.next_offset();
    writer.commit(APP, &Checkpoint { sequence, position: Position(Value::Null) })?;
    Ok(offsets)
}

/// The same error for each who waits.
fn again(error: &Error) -> Error {
    let hint = match (error.hint_text(), error.kind()) {
        (Some(hint), _) => hint.to_owned(),
        (None, ErrorKind::Exhausted) => "Free space on that file system.".to_owned(),
        (None, _) => "Nothing of this request was kept; send it again.".to_owned(),
    };
    Error::new(error.kind(), error.message()).hint(hint)
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
                events.append("clicks", messages).await.unwrap()
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
        let error = events.append("clicks", vec![b"{}".to_vec()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        drop(other);
        assert_eq!(events.append("clicks", vec![b"{}".to_vec()]).await.unwrap(), 0);
        let error = events.append("../x", vec![b"{}".to_vec()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
