//! Administration of a journal's topics, in the words in which those of Kafka are administered.
//!
//! A topic is removed oldest messages first, as retention does it, so that a crash in between leaves a
//! topic that can be read, or none.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flywheel_base::{Error, ErrorKind, Result, Timestamp, task};
use serde_json::Value;

use super::config::{self, TopicConfig};
use super::writer::{LOCK, lock};
use super::{Folder, Journal, TopicWriter, segment};
use crate::kafka::topics::{
    Created, Topic, TopicChange, TopicName, TopicPartition, TopicSetting, TopicSpec,
};
use crate::output::{replace_file, sync_folder};
use crate::source::settings;

/// The topics of a journal.
#[derive(Clone, Debug)]
pub struct JournalTopics {
    folder: Folder,
}

impl JournalTopics {
    /// Takes the settings of a `journal` connection, whose paths begin in `base_dir`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the settings are not those of a `journal` connection.
    pub fn of(connection: Value, base_dir: &Path) -> Result<Self> {
        let journal: Journal = settings("connection", connection)
            .map_err(|error| error.context("journal connection"))?;
        Ok(Self { folder: journal.folder(base_dir)? })
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = self.folder.clone();
        task::compute(move || work(&folder)).await
    }

    /// Makes a topic. One that is there as it is wanted is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it is there with other settings, or somebody writes into it;
    /// [`ErrorKind::Invalid`] if a journal cannot have it that way.
    pub async fn create(&self, spec: &TopicSpec, now: Timestamp) -> Result<Created> {
        let spec = spec.clone();
        self.work(move |folder| {
            let name = &spec.name;
            one_partition(name, spec.partitions)?;
            if spec.replication.is_some_and(|copies| copies != 1) {
                return Err(Error::invalid(format!(
                    "the topic \"{name}\" of a journal cannot have copies"
                ))
                .hint("Leave the replication out; `flywheel backup` copies the journal, too."));
            }
            if !segment::list(&folder.topic(name)?)?.is_empty() {
                compare(folder, &spec)?;
                return Ok(Created::Before);
            }
            TopicConfig::of(folder, &spec.config)?;
            TopicWriter::open(folder, name, &spec.config, now.micros().div_euclid(1_000))?;
            // Settings that an earlier attempt has left are not those that were asked for.
            compare(folder, &spec)?;
            Ok(Created::Now)
        })
        .await
    }

    /// All topics by name.
    ///
    /// # Errors
    /// The kind of the I/O error.
    pub async fn list(&self) -> Result<Vec<TopicName>> {
        let names = self.work(|folder| folder.topics()).await?;
        Ok(names.into_iter().map(|name| TopicName { name, partitions: 1 }).collect())
    }

    /// The messages and settings of a topic.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such topic; [`ErrorKind::Corrupt`] if it is damaged.
    pub async fn describe(&self, name: &str) -> Result<Topic> {
        let name = name.to_owned();
        self.work(move |folder| describe(folder, &name)).await
    }

    /// Changes the settings of a topic; others stay.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such topic; [`ErrorKind::Invalid`] if it cannot have the
    /// settings; [`ErrorKind::Conflict`] if somebody writes into it.
    pub async fn alter(&self, name: &str, change: &TopicChange) -> Result<Topic> {
        let (name, change) = (name.to_owned(), change.clone());
        self.work(move |folder| {
            one_partition(&name, change.partitions)?;
            folder.segments(&name)?;
            let topic = folder.topic(&name)?;
            let _lock = lock(&topic, &name)?;
            let mut own = TopicConfig::own(&topic)?.unwrap_or_default();
            let before = TopicConfig::of(folder, &own)?;
            for (key, value) in &change.config {
                match value {
                    Some(value) => own.insert(key.clone(), value.clone()),
                    None => own.remove(key),
                };
            }
            let after = TopicConfig::of(folder, &own)?;
            let extent = folder.extent(&name)?;
            if after.compact && !before.compact && extent.high > 0 {
                return Err(Error::invalid(format!(
                    "the topic \"{name}\" has messages already, some of which may have no key or be gone, as a compacted topic cannot have it"
                ))
                .hint("Make another topic with cleanup.policy=compact and write into that one."));
            }
            replace_file(&topic.join(config::FILE), &TopicConfig::text(&own)?)?;
            describe(folder, &name)
        })
        .await
    }

    /// Removes a topic with all its messages and the positions of the syncs that wrote into it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such topic; [`ErrorKind::Conflict`] if somebody writes
    /// into it.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.work(move |folder| {
            let segments = folder.segments(&name)?;
            let topic = folder.topic(&name)?;
            let held = lock(&topic, &name)?;
            let remove = |path: &Path| match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io("remove", path, error))
                }
                _ => Ok(()),
            };
            let Some((last, older)) = segments.split_last() else { return Ok(()) };
            for segment in older {
                remove(&segment.path)?;
            }
            sync_folder(&topic)?;
            remove(&topic.join(config::FILE))?;
            remove(&last.path)?;
            sync_folder(&topic)?;
            remove(&topic.join(LOCK))?;
            drop(held);
            // Something that is not ours may lie in the folder; the topic is gone all the same.
            if let Err(error) = fs::remove_dir(&topic) {
                tracing::warn!(topic = name, %error, "the folder of a removed topic stays");
            }
            Ok(())
        })
        .await
    }
}

fn one_partition(name: &str, partitions: Option<u32>) -> Result<()> {
    if partitions.is_none_or(|count| count == 1) {
        return Ok(());
    }
    Err(Error::invalid(format!("the topic \"{name}\" of a journal has one partition"))
        .hint("Leave the partitions out."))
}

/// Refuses a topic that is there in another way than it is wanted.
fn compare(folder: &Folder, spec: &TopicSpec) -> Result<()> {
    let name = &spec.name;
    TopicConfig::of(folder, &spec.config)?;
    let found = describe(folder, name)?.config;
    let value = |key: &str| found.get(key).and_then(|setting| setting.value.as_deref());
    let other = spec.config.iter().filter(|(key, wanted)| value(key) != Some(wanted.as_str()));
    let other: Vec<String> =
        other.map(|(key, _)| format!("{key}={}", value(key).unwrap_or_default())).collect();
    if other.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("the topic \"{name}\" is there already with {}", other.join(", ")),
    )
    .hint(format!("Change it by `flywheel topic alter`, or choose another name than {name}.")))
}

fn describe(folder: &Folder, name: &str) -> Result<Topic> {
    let extent = folder.extent(name)?;
    let topic = folder.topic(name)?;
    let own = TopicConfig::own(&topic)?.unwrap_or_default();
    let setting = |(key, value): (&str, String)| {
        (key.to_owned(), TopicSetting { value: Some(value), own: own.contains_key(key) })
    };
    let config: BTreeMap<String, TopicSetting> =
        TopicConfig::of(folder, &own)?.values().into_iter().map(setting).collect();
    let partition = TopicPartition {
        partition: 0,
        leader: None,
        replicas: Vec::new(),
        in_sync: Vec::new(),
        earliest: extent.low,
        latest: extent.high,
    };
    Ok(Topic { name: name.to_owned(), partitions: vec![partition], config })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn topics(folder: &tempfile::TempDir) -> JournalTopics {
        JournalTopics::of(json!({ "path": "journal" }), folder.path()).unwrap()
    }

    fn spec(name: &str, config: &[(&str, &str)]) -> TopicSpec {
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        TopicSpec { name: name.to_owned(), config: config.collect(), ..TopicSpec::default() }
    }

    fn change(key: &str, value: Option<&str>) -> TopicChange {
        let config = BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]);
        TopicChange { partitions: None, config }
    }

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    #[tokio::test]
    async fn a_topic_is_made_once_described_changed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let topics = topics(&folder);
        assert!(topics.list().await.unwrap().is_empty());
        let wanted = spec("orders", &[("retention.ms", "86400000")]);
        assert_eq!(topics.create(&wanted, NOW).await.unwrap(), Created::Now);
        assert_eq!(topics.create(&wanted, NOW).await.unwrap(), Created::Before);
        let other = spec("orders", &[("retention.ms", "5")]);
        let error = topics.create(&other, NOW).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("retention.ms=86400000"), "{error}");
        let names: Vec<_> = topics.list().await.unwrap();
        assert_eq!(names, [TopicName { name: "orders".to_owned(), partitions: 1 }]);
        let found = topics.describe("orders").await.unwrap();
        assert_eq!(found.partitions[0].leader, None);
        let places = (found.partitions[0].earliest, found.partitions[0].latest);
        assert_eq!((found.partitions.len(), places), (1, (0, 0)));
        let own: Vec<_> = found.config.iter().filter(|(_, setting)| setting.own).collect();
        assert_eq!((own.len(), own[0].0.as_str()), (1, "retention.ms"));
        assert_eq!(found.config["cleanup.policy"].value.as_deref(), Some("delete"));
        let found =
            topics.alter("orders", &change("segment.bytes", Some("1048576"))).await.unwrap();
        assert_eq!(found.config["segment.bytes"].value.as_deref(), Some("1048576"));
        assert!(found.config["retention.ms"].own);
        let found = topics.alter("orders", &change("retention.ms", None)).await.unwrap();
        assert_eq!(found.config["retention.ms"].value.as_deref(), Some("-1"));
        assert!(!found.config["retention.ms"].own);
        topics.delete("orders").await.unwrap();
        assert!(topics.list().await.unwrap().is_empty());
        assert!(!folder.path().join("journal/orders").exists());
        // Nothing of the old topic is in a new one.
        assert_eq!(topics.create(&spec("orders", &[]), NOW).await.unwrap(), Created::Now);
        assert!(!topics.describe("orders").await.unwrap().config["segment.bytes"].own);
    }

    #[tokio::test]
    async fn what_a_journal_cannot_do_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let topics = topics(&folder);
        topics.create(&spec("orders", &[]), NOW).await.unwrap();
        let error = topics.describe("order").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.hint_text(), Some("Did you mean \"orders\"?"));
        assert_eq!(topics.delete("order").await.unwrap_err().kind(), ErrorKind::NotFound);
        for wrong in [
            TopicSpec { partitions: Some(3), ..spec("a", &[]) },
            TopicSpec { replication: Some(3), ..spec("a", &[]) },
            spec("a", &[("retention.hours", "5")]),
            spec("../a", &[]),
        ] {
            let error = topics.create(&wrong, NOW).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.hint_text().is_some(), "{error:?}");
        }
        assert_eq!(topics.list().await.unwrap().len(), 1, "nothing was made");
        let more = TopicChange { partitions: Some(2), ..TopicChange::default() };
        assert_eq!(topics.alter("orders", &more).await.unwrap_err().kind(), ErrorKind::Invalid);
        let unknown = topics.alter("orders", &change("colour", Some("red"))).await.unwrap_err();
        assert!(unknown.message().contains("colour"), "{unknown}");
    }

    #[tokio::test]
    async fn a_topic_with_messages_cannot_become_compacted_and_a_written_one_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let topics = topics(&folder);
        topics.create(&spec("orders", &[]), NOW).await.unwrap();
        let compact = change("cleanup.policy", Some("compact"));
        topics.alter("orders", &compact).await.unwrap();
        topics.alter("orders", &change("cleanup.policy", None)).await.unwrap();
        let mut writer = TopicWriter::open(&topics.folder, "orders", &BTreeMap::new(), 5).unwrap();
        writer.append(None, Some(b"{}")).unwrap();
        let checkpoint = crate::destination::Checkpoint {
            sequence: 1,
            position: crate::page::Position(json!(1)),
        };
        writer.commit("app", &checkpoint).unwrap();
        assert_eq!(topics.describe("orders").await.unwrap().partitions[0].latest, 1);
        assert_eq!(topics.delete("orders").await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(topics.alter("orders", &compact).await.unwrap_err().kind(), ErrorKind::Conflict);
        drop(writer);
        let error = topics.alter("orders", &compact).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains("another topic"), "{error:?}");
        topics.delete("orders").await.unwrap();
    }
}
