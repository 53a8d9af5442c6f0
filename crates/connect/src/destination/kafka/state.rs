//! Checkpoints: messages of a compacted topic, written in the same transactions as the rows.

use std::collections::BTreeMap;
use std::time::Instant;

use flywheel_base::{Error, Result};
use rdkafka::message::Message as _;
use rdkafka::producer::Producer as _;
use serde::{Deserialize, Serialize};

use super::READER;
use crate::destination::Checkpoint;
use crate::kafka::topics::{TopicSpec, Topics};
use crate::kafka::{Client, Cluster, Isolation, PartitionReader};
use crate::queue::Span;

/// The partition of the checkpoints; there is only one.
pub(super) const PARTITION: i32 = 0;

/// Settings of the topic: only the newest checkpoint of each sync stays, and it stays for ever.
const CONFIG: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "86400000"),
];

/// Whose checkpoint it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    app: String,
    topic: String,
}

/// A checkpoint as it is stored.
#[derive(Serialize, Deserialize)]
struct Record {
    app: String,
    topic: String,
    #[serde(flatten)]
    checkpoint: Checkpoint,
}

impl Name {
    pub(super) fn new(app: &str, topic: &str) -> Self {
        Self { app: app.to_owned(), topic: topic.to_owned() }
    }

    /// The key of its messages.
    pub(super) fn key(&self) -> String {
        serde_json::json!([self.app, self.topic]).to_string()
    }

    /// The name of its transactions.
    pub(super) fn transaction(&self, cluster: &Cluster) -> String {
        cluster.named(&format!("{}.{}", self.app, self.topic))
    }

    /// A checkpoint as a message.
    pub(super) fn value(&self, checkpoint: &Checkpoint) -> Result<String> {
        let (app, topic) = (self.app.clone(), self.topic.clone());
        serde_json::to_string(&Record { app, topic, checkpoint: checkpoint.clone() })
            .map_err(|error| Error::internal("a checkpoint cannot be written").caused_by(error))
    }

    /// What a message says.
    fn parse(&self, topic: &str, offset: i64, value: &[u8]) -> Result<Checkpoint> {
        let record: Record = serde_json::from_slice(value).map_err(|error| {
            let app = &self.app;
            Error::corrupt(format!("the checkpoint of {app} in the topic \"{topic}\" at offset {offset} is not one"))
                .caused_by(error)
                .hint("Somebody else wrote into that topic; send a message without value under that key to start anew.")
        })?;
        Ok(record.checkpoint)
    }
}

/// Makes the topic of checkpoints if it is not there, and proves that it keeps them.
pub(super) async fn prepare(
    cluster: &Cluster,
    topics: &Topics,
    replication: Option<u16>,
) -> Result<()> {
    let name = cluster.state_topic().to_owned();
    let known = topics.list().await?.iter().any(|topic| topic.name == name);
    if !known {
        let config: BTreeMap<String, String> =
            CONFIG.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let spec = TopicSpec { name, partitions: Some(1), replication, config };
        return topics.create(&spec).await.map(drop);
    }
    let found = topics.config(&name).await?;
    let policy = found.get("cleanup.policy").and_then(|setting| setting.value.as_deref());
    if policy == Some("compact") {
        return Ok(());
    }
    let policy = policy.unwrap_or_default();
    Err(Error::invalid(format!(
        "the topic \"{name}\" would lose checkpoints: its cleanup.policy is \"{policy}\""
    ))
    .hint(format!("flywheel topic alter {name} --config cleanup.policy=compact")))
}

/// The last checkpoint, after ending what a crashed writer left open.
pub(super) fn settled(cluster: &Cluster, name: &Name) -> Result<Option<Checkpoint>> {
    read(cluster, name, || {
        let producer = cluster.writer(&name.transaction(cluster), &[])?;
        producer
            .init_transactions(cluster.timeout())
            .map_err(|error| cluster.fail_producer("ending an open write", &error, &producer))
    })
}

/// The last committed checkpoint. `settle` is called if one of ours is there of which it is not known
/// whether it was committed.
pub(super) fn read(
    cluster: &Cluster,
    name: &Name,
    settle: impl FnOnce() -> Result<()>,
) -> Result<Option<Checkpoint>> {
    let topic = cluster.state_topic();
    let client = cluster.reader(&cluster.named(READER), Isolation::All)?;
    if cluster.partitions(&client, topic)?.is_none() {
        return Ok(None);
    }
    let committed = cluster.reader(&cluster.named(READER), Isolation::Committed)?;
    let all = cluster.extent(&client, topic, PARTITION)?;
    let mut seen = cluster.extent(&committed, topic, PARTITION)?;
    // Behind the first open transaction, whoever's it is, readers of committed messages see nothing.
    if seen.high < all.high && pending(cluster, name, seen.high, all.high)? {
        settle()?;
        seen.high = wait(cluster, &committed, all.high)?;
    }
    drop((client, committed));
    let mut reader =
        PartitionReader::new(cluster, topic, &cluster.named(READER), Isolation::Committed)?;
    reader.begin(Span { partition: PARTITION, from: seen.low, to: seen.high })?;
    let (key, mut last) = (name.key(), None);
    while let Some(message) = reader.next()? {
        if message.key() == Some(key.as_bytes()) {
            let offset = message.offset();
            last = message.payload().map(|value| (offset, value.to_vec()));
        }
    }
    last.map(|(offset, value)| name.parse(topic, offset, &value)).transpose()
}

/// Whether a checkpoint of ours is among the messages that are not yet known to be committed.
fn pending(cluster: &Cluster, name: &Name, from: i64, to: i64) -> Result<bool> {
    let topic = cluster.state_topic();
    let mut reader = PartitionReader::new(cluster, topic, &cluster.named(READER), Isolation::All)?;
    reader.begin(Span { partition: PARTITION, from, to })?;
    let key = name.key();
    while let Some(message) = reader.next()? {
        if message.key() == Some(key.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waits until every transaction before `offset` has ended.
fn wait(cluster: &Cluster, client: &Client, offset: i64) -> Result<i64> {
    let started = Instant::now();
    loop {
        let extent = cluster.extent(client, cluster.state_topic(), PARTITION)?;
        if extent.high >= offset {
            return Ok(extent.high);
        }
        if started.elapsed() > cluster.timeout() {
            return Err(Error::unavailable(format!(
                "another write is open in the topic \"{}\", so that the last checkpoint cannot be told",
                cluster.state_topic()
            ))
            .hint("Its run crashed or is about to commit; run that sync again, or wait for its `transaction_timeout`."));
        }
        std::thread::park_timeout(crate::kafka::POLL);
    }
}
