//! The `kafka` destination: rows as JSON messages of a topic.
//!
//! A commit is one Kafka transaction: the rows, and the checkpoint as a message of the compacted
//! topic `flywheel-positions`, under the key of sync and topic. Group offsets inside the transaction
//! would do for the number but not for the position: brokers cut their text off at 4 KB and forget
//! them after a week without commits.
//!
//! ```text
//! writer()  fence older writers of the sync, end what they left open; read the last checkpoint
//! write()   begin ─► messages …                   (nobody who reads committed messages sees them)
//! commit()  checkpoint ─► commit                  (all or nothing)
//! ```
//! The name of the transaction follows from sync and topic: a run that was thought dead and wakes up
//! is refused by the brokers. A row that a topic cannot take is found before it is sent, because one
//! refused message would undo the whole transaction.

mod key;
mod state;
mod writer;

use std::collections::BTreeMap;

use async_trait::async_trait;
use flywheel_base::{Error, Result, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Destination, DestinationConfig, DestinationContext, Guarantee, Progress, WriteMode,
    WriteRequest, Writer, check_mode,
};
use crate::kafka::{Cluster, Isolation, check_topic_name};
use crate::source::settings;

pub use crate::kafka::Kafka;

/// The write modes it can do.
const MODES: &[WriteMode] = &[WriteMode::Append, WriteMode::Merge, WriteMode::Mirror];

/// The group of readers of checkpoints.
const READER: &str = "positions";

/// Where rows go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaTarget {
    /// The topic. `merge` and `mirror` need a compacted one: a row is a message with its key, a
    /// deleted row one without value. A row takes the place of the whole row before it.
    pub topic: String,
    /// How the topic is made if it is not there; if not given, it has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<CreateTopic>,
    /// The columns of text that hold JSON and are written as such, not as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json_columns: Vec<String>,
    /// How messages are compressed.
    #[serde(default)]
    pub compression: Compression,
}

/// How a topic is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTopic {
    /// How many partitions it has, the brokers' default if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// How many brokers hold a copy, the brokers' default if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<u16>,
    /// Settings of the topic, `retention.ms: "86400000"`. With `merge` and `mirror` it is compacted
    /// unless `cleanup.policy` says otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// How messages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// By LZ4, which costs little.
    #[default]
    Lz4,
    /// By Zstandard, which makes them smallest.
    Zstd,
    /// By Snappy.
    Snappy,
    /// By gzip.
    Gzip,
    /// Not at all.
    None,
}

impl Compression {
    /// The library's name of it.
    fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::Gzip => "gzip",
            Self::None => "none",
        }
    }
}

impl DestinationConfig for Kafka {
    type Target = KafkaTarget;

    const ABOUT: &'static str = "messages of a Kafka topic";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::Transaction;

    fn build(self, _: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(Topics { cluster: self.cluster()? }))
    }
}

/// The topics of a cluster.
#[derive(Clone, Debug)]
struct Topics {
    cluster: Cluster,
}

impl Topics {
    /// The settings of a target, checked.
    fn target(&self, request: &WriteRequest) -> Result<KafkaTarget> {
        let target: KafkaTarget = settings("target", request.target.clone())?;
        check_topic_name(&target.topic)?;
        if target.topic == self.cluster.state_topic() {
            return Err(Error::invalid(format!(
                "the topic \"{}\" holds the checkpoints and takes no rows",
                target.topic
            ))
            .hint("Choose another topic, or another `state_topic` of the connection."));
        }
        Ok(target)
    }
}

#[async_trait]
impl Destination for Topics {
    async fn check(&self) -> Result<()> {
        let cluster = self.cluster.clone();
        task::compute(move || {
            let client = cluster.reader(&cluster.named(READER), Isolation::Committed)?;
            cluster.topics(&client).map(drop)
        })
        .await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        let target = self.target(request)?;
        let name = state::Name::new(&request.app, &target.topic);
        let cluster = self.cluster.clone();
        let committed = task::compute(move || state::settled(&cluster, &name)).await?;
        Ok(Progress { committed, staged: None })
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        check_mode("kafka", MODES, request.mode)?;
        let target = self.target(request)?;
        Ok(Box::new(writer::KafkaWriter::open(&self.cluster, target, request).await?))
    }
}

#[cfg(test)]
mod tests;
