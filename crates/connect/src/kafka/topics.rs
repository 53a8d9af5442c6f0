//! Administration of topics: make, list, describe, change, remove.

use std::collections::BTreeMap;
use std::fmt;

use flywheel_base::{Error, ErrorKind, Result, suggest, task};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use serde::Serialize;
use serde_json::Value;

use super::Kafka;
use super::client::{Cluster, Isolation, Watch, is_internal};
use crate::queue::{TOPIC_NAME_MAX, check_topic_name};
use crate::source::settings;

/// The group of readers that only look.
const LOOKER: &str = "admin";

/// The value of partitions and of copies that leaves them to the brokers.
const BROKERS_CHOICE: i32 = -1;

/// What the name of a topic begins with that is only tried and never made.
const TRIED: &str = "flywheel-tries-";

/// A topic to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions it has; the brokers' default if not given.
    pub partitions: Option<u32>,
    /// How many brokers hold a copy of each; the brokers' default if not given.
    pub replication: Option<u16>,
    /// Settings such as `retention.ms`; the brokers' defaults where not given.
    pub config: BTreeMap<String, String>,
}

/// Whether a topic had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was not there.
    Now,
    /// It was there as it is wanted.
    Before,
}

/// A topic in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicName {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: usize,
}

/// All about a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions, by number.
    pub partitions: Vec<TopicPartition>,
    /// Its settings, by name.
    pub config: BTreeMap<String, TopicSetting>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicPartition {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it, if one does; a journal has none.
    pub leader: Option<i32>,
    /// The brokers that hold a copy.
    pub replicas: Vec<i32>,
    /// Those of them that are in step.
    pub in_sync: Vec<i32>,
    /// The first offset that is kept.
    pub earliest: i64,
    /// The offset that the next message gets.
    pub latest: i64,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicSetting {
    /// The value; nothing if it is secret.
    pub value: Option<String>,
    /// Whether it was set for this topic, not for all.
    pub own: bool,
}

/// What to change of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicChange {
    /// How many partitions it shall have; more than now.
    pub partitions: Option<u32>,
    /// Settings to set; nothing takes a setting back to the brokers' default.
    pub config: BTreeMap<String, Option<String>>,
}

/// The topics of a cluster.
pub struct Topics {
    cluster: Cluster,
    admin: AdminClient<Watch>,
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topics({:?})", self.cluster)
    }
}

impl Topics {
    /// Takes the settings of a `kafka` connection; nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the settings are not those of a `kafka` connection.
    pub fn of(connection: Value) -> Result<Self> {
        let kafka: Kafka = settings("connection", connection)
            .map_err(|error| error.context("kafka connection"))?;
        Self::new(&kafka.cluster()?)
    }

    pub(crate) fn new(cluster: &Cluster) -> Result<Self> {
        Ok(Self { admin: cluster.admin()?, cluster: cluster.clone() })
    }

    fn options(&self) -> AdminOptions {
        let timeout = self.cluster.timeout();
        AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
    }

    /// The outcome of a request about one topic.
    fn outcome(
        &self,
        doing: &str,
        found: Result<Vec<TopicResult>, KafkaError>,
    ) -> Result<Result<(), Code>> {
        let found = found.map_err(|error| self.fail(doing, &error))?;
        Ok(match found.into_iter().next() {
            Some(Err((_, code))) => Err(code),
            Some(Ok(_)) | None => Ok(()),
        })
    }

    fn fail(&self, doing: &str, error: &KafkaError) -> Error {
        self.cluster.fail(doing, error, Some(&**self.admin.inner().context()))
    }

    /// Makes a topic and waits until it can be used. One that is there as it is wanted is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it is there with other partitions or settings;
    /// [`ErrorKind::Invalid`] if the brokers refuse the settings; [`ErrorKind::Unavailable`] if they
    /// do not answer.
    pub async fn create(&self, spec: &TopicSpec) -> Result<Created> {
        check_topic_name(&spec.name)?;
        let doing = format!("making the topic \"{}\"", spec.name);
        let partitions = match spec.partitions {
            Some(0) => return Err(no_partitions(&spec.name)),
            Some(count) => i32::try_from(count).map_err(|_| no_partitions(&spec.name))?,
            None => BROKERS_CHOICE,
        };
        let copies = spec.replication.map_or(BROKERS_CHOICE, i32::from);
        let mut topic = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(copies));
        for (name, value) in &spec.config {
            topic = topic.set(name, value);
        }
        let options = self.options();
        let made = self.admin.create_topics([&topic], &options).await;
        match self.outcome(&doing, made)? {
            Ok(()) => {
                let (cluster, name) = (self.cluster.clone(), spec.name.clone());
                task::compute(move || {
                    let client = cluster.reader(&cluster.named(LOOKER), Isolation::All)?;
                    wait_for(&cluster, &client, &name)
                })
                .await?;
                Ok(Created::Now)
            }
            Err(Code::TopicAlreadyExists) => {
                self.compare(spec).await?;
                Ok(Created::Before)
            }
            Err(code) => {
                let given = spec.config.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                Err(self.refused(&doing, code, &given.collect()).await)
            }
        }
    }

    /// The error of settings that the brokers refuse. The library drops what they say about it, so that each
    /// setting is tried by itself.
    async fn refused(&self, doing: &str, code: Code, given: &BTreeMap<&str, &str>) -> Error {
        let error = self.cluster.fail_code(doing, code);
        if given.is_empty() || !matches!(code, Code::InvalidConfig | Code::PolicyViolation) {
            return error;
        }
        let wrong = match self.wrong_ones(given).await {
            Ok(wrong) => wrong,
            Err(unknown) => {
                tracing::debug!(error = %unknown, "which setting is refused is not known");
                Vec::new()
            }
        };
        if wrong.is_empty() {
            let all: Vec<String> =
                given.iter().map(|(name, value)| format!("{name}={value}")).collect();
            return error.hint(format!(
                "Each of these settings is allowed by itself, or cannot be tried, but not all of them: \
                 {}. The log of the brokers says why.",
                all.join(", ")
            ));
        }
        let known = self.known_settings().await;
        let mut hints = Vec::new();
        for (name, value, code) in &wrong {
            hints.push(match known.get(*name) {
                _ if *code == Code::PolicyViolation => {
                    format!("A policy of the brokers does not allow {name}={value}.")
                }
                None if !known.is_empty() => {
                    let alike = suggest::hint(name, known.keys().map(String::as_str));
                    format!("Topics have no setting {name}. {alike}")
                }
                Some(TopicSetting { value: Some(usual), .. }) => format!(
                    "{name} does not take the value \"{value}\"; another topic has \"{usual}\"."
                ),
                _ => format!("{name} is no setting of topics, or does not take \"{value}\"."),
            });
        }
        let names: Vec<&str> = wrong.iter().map(|(name, ..)| *name).collect();
        Error::invalid(format!("{doing}: the brokers refuse the setting {}", names.join(", ")))
            .caused_by(wrong.first().map_or(code, |(_, _, code)| *code).to_string())
            .hint(hints.join(" "))
    }

    /// Those of the settings that the brokers refuse for a topic that has nothing but one of them, and how.
    async fn wrong_ones<'s>(
        &self,
        given: &BTreeMap<&'s str, &'s str>,
    ) -> Result<Vec<(&'s str, &'s str, Code)>> {
        let settings = given.iter().enumerate();
        let tried: BTreeMap<String, (&'s str, &'s str)> =
            settings.map(|(at, (name, value))| (format!("{TRIED}{at}"), (*name, *value))).collect();
        let topics: Vec<NewTopic<'_>> = tried
            .iter()
            .map(|(topic, (name, value))| {
                let copies = TopicReplication::Fixed(BROKERS_CHOICE);
                NewTopic::new(topic, BROKERS_CHOICE, copies).set(name, value)
            })
            .collect();
        let options = self.options().validate_only(true);
        let found = self.admin.create_topics(&topics, &options).await;
        let found = found.map_err(|error| self.fail("trying settings of topics", &error))?;
        let refused = found.into_iter().filter_map(|one| {
            let (topic, code) = one.err()?;
            let (name, value) = tried.get(&topic)?;
            let of_setting = matches!(code, Code::InvalidConfig | Code::PolicyViolation);
            of_setting.then_some((*name, *value, code))
        });
        let mut refused: Vec<_> = refused.collect();
        refused.sort_unstable_by_key(|(name, ..)| *name);
        Ok(refused)
    }

    /// The settings that topics have here; none if no topic can be looked at.
    async fn known_settings(&self) -> BTreeMap<String, TopicSetting> {
        let found = match self.list().await {
            Ok(topics) => match topics.first() {
                Some(topic) => self.config(&topic.name).await,
                None => Ok(BTreeMap::new()),
            },
            Err(error) => Err(error),
        };
        // Who may make topics need not be allowed to look at others.
        found.unwrap_or_else(|error| {
            tracing::debug!(%error, "the settings of another topic cannot be read");
            BTreeMap::new()
        })
    }

    /// Refuses a topic that is there in another way than it is wanted.
    async fn compare(&self, spec: &TopicSpec) -> Result<()> {
        let found = self.describe(&spec.name).await?;
        let mut other = Vec::new();
        let count = found.partitions.len();
        if spec.partitions.is_some_and(|wanted| usize::try_from(wanted).ok() != Some(count)) {
            other.push(format!("{count} partitions"));
        }
        let copies = found.partitions.first().map_or(0, |partition| partition.replicas.len());
        if spec.replication.is_some_and(|wanted| usize::from(wanted) != copies) {
            other.push(format!("replication {copies}"));
        }
        for (name, wanted) in &spec.config {
            let value = found.config.get(name).and_then(|setting| setting.value.as_ref());
            if value != Some(wanted) {
                other.push(format!("{name}={}", value.map_or("", String::as_str)));
            }
        }
        if other.is_empty() {
            return Ok(());
        }
        let name = &spec.name;
        Err(Error::new(
            ErrorKind::Conflict,
            format!("the topic \"{name}\" is there already with {}", other.join(", ")),
        )
        .hint(format!("Change it by `flywheel topic alter`, or choose another name than {name}.")))
    }

    /// All topics by name, without those of the cluster itself.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the brokers do not answer.
    pub async fn list(&self) -> Result<Vec<TopicName>> {
        let cluster = self.cluster.clone();
        task::compute(move || {
            let client = cluster.reader(&cluster.named(LOOKER), Isolation::All)?;
            let topics = cluster.topics(&client)?.into_iter();
            Ok(topics
                .filter(|(name, _)| !is_internal(name))
                .map(|(name, partitions)| TopicName { name, partitions: partitions.len() })
                .collect())
        })
        .await
    }

    /// The partitions and settings of a topic.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such topic; [`ErrorKind::Unavailable`] if the brokers
    /// do not answer.
    pub async fn describe(&self, name: &str) -> Result<Topic> {
        let (cluster, topic) = (self.cluster.clone(), name.to_owned());
        let partitions = task::compute(move || partitions(&cluster, &topic)).await?;
        Ok(Topic { name: name.to_owned(), partitions, config: self.config(name).await? })
    }

    /// The settings of a topic.
    pub(crate) async fn config(&self, name: &str) -> Result<BTreeMap<String, TopicSetting>> {
        let doing = format!("the settings of the topic \"{name}\"");
        let (resource, options) = ([ResourceSpecifier::Topic(name)], self.options());
        let found = self.admin.describe_configs(resource.iter(), &options).await;
        let found = found.map_err(|error| self.fail(&doing, &error))?;
        let resource = match found.into_iter().next() {
            Some(Ok(resource)) => resource,
            Some(Err(code)) => return Err(self.cluster.fail_code(&doing, code)),
            None => return Err(Error::internal(format!("{doing}: no answer"))),
        };
        let entries = resource.entries.into_iter().map(|entry| {
            let own = entry.source == ConfigSource::DynamicTopic;
            let value = if entry.is_sensitive { None } else { entry.value };
            (entry.name, TopicSetting { value, own })
        });
        Ok(entries.collect())
    }

    /// Adds partitions to a topic and changes its settings; other settings stay.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such topic; [`ErrorKind::Invalid`] if it would lose
    /// partitions or the brokers refuse a setting.
    pub async fn alter(&self, name: &str, change: &TopicChange) -> Result<Topic> {
        let found = self.describe(name).await?;
        let doing = format!("changing the topic \"{name}\"");
        let options = self.options();
        if !change.config.is_empty() {
            // The brokers take the settings of a topic as a whole: what is not sent is lost.
            let own = found.config.iter().filter(|(_, setting)| setting.own);
            let mut wanted: BTreeMap<&str, &str> = own
                .filter_map(|(name, setting)| Some((name.as_str(), setting.value.as_deref()?)))
                .collect();
            for (name, value) in &change.config {
                match value {
                    Some(value) => wanted.insert(name, value),
                    None => wanted.remove(name.as_str()),
                };
            }
            self.validate(name, &doing, &wanted).await?;
            let mut config = AlterConfig::new(ResourceSpecifier::Topic(name));
            for (name, value) in &wanted {
                config = config.set(name, value);
            }
            let altered = self.admin.alter_configs([&config], &options).await;
            altered.map_err(|error| self.fail(&doing, &error))?;
            self.wait_for_config(name, &wanted).await?;
        }
        let count = found.partitions.len();
        let wanted = change.partitions.and_then(|wanted| usize::try_from(wanted).ok());
        match wanted {
            Some(wanted) if wanted < count => {
                return Err(Error::invalid(format!(
                    "the topic \"{name}\" has {count} partitions and cannot have fewer"
                ))
                .hint("Make another topic and copy the messages into it."));
            }
            Some(wanted) if wanted > count => {
                let more = NewPartitions::new(name, wanted);
                let added = self.admin.create_partitions([&more], &options).await;
                if let Err(code) = self.outcome(&doing, added)? {
                    return Err(self.cluster.fail_code(&doing, code));
                }
                let (cluster, topic) = (self.cluster.clone(), name.to_owned());
                task::compute(move || {
                    let client = cluster.reader(&cluster.named(LOOKER), Isolation::All)?;
                    wait(&cluster, &topic, || {
                        Ok(cluster.partitions_of(&client, &topic)?.len() >= wanted)
                    })
                })
                .await?;
            }
            _ => {}
        }
        self.describe(name).await
    }

    /// Proves that the brokers take settings. The library drops what they say about a change of
    /// settings, but not what they say about a new topic that is only tried.
    async fn validate(&self, name: &str, doing: &str, wanted: &BTreeMap<&str, &str>) -> Result<()> {
        let tried: String = TRIED.chars().chain(name.chars()).take(TOPIC_NAME_MAX).collect();
        let one = TopicReplication::Fixed(BROKERS_CHOICE);
        let mut topic = NewTopic::new(&tried, BROKERS_CHOICE, one);
        for (name, value) in wanted {
            topic = topic.set(name, value);
        }
        let options = self.options().validate_only(true);
        let tried = self.admin.create_topics([&topic], &options).await;
        match self.outcome(doing, tried)? {
            Err(code @ (Code::InvalidConfig | Code::PolicyViolation)) => {
                Err(self.refused(doing, code, wanted).await)
            }
            // Who may change a topic need not be allowed to make one.
            _ => Ok(()),
        }
    }

    /// Waits until the topic has these settings and no others of its own.
    async fn wait_for_config(&self, name: &str, wanted: &BTreeMap<&str, &str>) -> Result<()> {
        let started = std::time::Instant::now();
        loop {
            let found = self.config(name).await?;
            let own = found.iter().filter(|(_, setting)| setting.own).count();
            let value = |name: &str| found.get(name).and_then(|setting| setting.value.as_deref());
            if own == wanted.len()
                && wanted.iter().all(|(name, wanted)| value(name) == Some(*wanted))
            {
                return Ok(());
            }
            if started.elapsed() > self.cluster.timeout() {
                let missing: Vec<&str> = wanted
                    .iter()
                    .filter(|(name, wanted)| value(name) != Some(**wanted))
                    .map(|(name, _)| *name)
                    .collect();
                if missing.is_empty() {
                    return Err(late(name));
                }
                return Err(late(name).hint(format!(
                    "These settings are not as they shall be: {}. The brokers take their time, or refuse \
                     the change: the user needs the right ALTER_CONFIGS on the topic.",
                    missing.join(", ")
                )));
            }
            tokio::time::sleep(super::client::POLL).await;
        }
    }

    /// Removes a topic with all its messages.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such topic; [`ErrorKind::Denied`] if the brokers do
    /// not allow it.
    pub async fn delete(&self, name: &str) -> Result<()> {
        check_topic_name(name)?;
        let doing = format!("removing the topic \"{name}\"");
        let deleted = self.admin.delete_topics(&[name], &self.options()).await;
        match self.outcome(&doing, deleted)? {
            Ok(()) => {
                let (cluster, topic) = (self.cluster.clone(), name.to_owned());
                task::compute(move || {
                    let client = cluster.reader(&cluster.named(LOOKER), Isolation::All)?;
                    wait(&cluster, &topic, || Ok(!cluster.topics(&client)?.contains_key(&topic)))
                })
                .await
            }
            Err(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                let (cluster, topic) = (self.cluster.clone(), name.to_owned());
                task::compute(move || {
                    let client = cluster.reader(&cluster.named(LOOKER), Isolation::All)?;
                    Err(cluster.no_topic(&client, &topic))
                })
                .await
            }
            Err(code) => Err(self.cluster.fail_code(&doing, code)),
        }
    }

    /// Removes the messages before an offset, as retention does it.
    #[cfg(test)]
    pub(crate) async fn forget_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(offset)).unwrap();
        self.admin.delete_records(&list, &self.options()).await.unwrap();
    }
}

fn no_partitions(name: &str) -> Error {
    Error::invalid(format!("the topic \"{name}\" cannot have that many partitions"))
        .hint("Set a number from 1 on.")
}

fn late(name: &str) -> Error {
    Error::unavailable(format!(
        "the brokers took the change of the topic \"{name}\" and have not made it yet"
    ))
    .hint("Look at it again in a while: flywheel topic describe.")
}

/// Waits until the brokers know a topic.
fn wait_for(cluster: &Cluster, client: &super::Client, name: &str) -> Result<()> {
    wait(cluster, name, || Ok(cluster.partitions(client, name)?.is_some()))
}

fn wait(cluster: &Cluster, name: &str, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = std::time::Instant::now();
    while !ready()? {
        if started.elapsed() > cluster.timeout() {
            return Err(late(name));
        }
        std::thread::park_timeout(super::client::POLL);
    }
    Ok(())
}

/// The partitions of a topic, with what they hold.
fn partitions(cluster: &Cluster, topic: &str) -> Result<Vec<TopicPartition>> {
    let client = cluster.reader(&cluster.named(LOOKER), Isolation::All)?;
    let known = cluster.partitions_of(&client, topic)?;
    let metadata = cluster.metadata(&client, Some(topic))?;
    let mut found = Vec::with_capacity(known.len());
    for about in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let extent = cluster.extent(&client, topic, about.id())?;
        found.push(TopicPartition {
            partition: about.id(),
            leader: Some(about.leader()).filter(|leader| *leader >= 0),
            replicas: about.replicas().to_vec(),
            in_sync: about.isr().to_vec(),
            earliest: extent.low,
            latest: extent.high,
        });
    }
    found.sort_by_key(|partition| partition.partition);
    Ok(found)
}

#[cfg(test)]
mod tests;
