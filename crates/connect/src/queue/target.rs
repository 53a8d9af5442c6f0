//! The settings of a topic that rows are written into, of whatever queue.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where rows go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicTarget {
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
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::Gzip => "gzip",
            Self::None => "none",
        }
    }
}
