//! The settings of a stream that reads a topic, of whatever queue.

use flywheel_base::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// What one stream reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicStream {
    /// The topic.
    pub topic: String,
    /// What a message's value is.
    #[serde(default)]
    pub format: Format,
    /// The columns with what the queue knows of a message; partition, offset, timestamp and key if not
    /// given. They are called `_partition`, `_offset`, `_timestamp`, `_key`, `_headers`, `_topic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Vec<Metadata>>,
    /// The name of the column with the message's key, `_key` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_column: Option<String>,
    /// What a message's key is.
    #[serde(default)]
    pub key_format: KeyFormat,
    /// Where a read without position starts: `earliest`, `latest`, or a moment, `2024-05-01`. A read
    /// in full starts at the earliest message, partitions that are added later at their start.
    #[serde(default)]
    pub start: Start,
    /// What happens if retention removed messages that were not read.
    #[serde(default)]
    pub on_gap: OnGap,
    /// What becomes of a message without value, by which a compacted topic says that a key is gone.
    #[serde(default)]
    pub tombstones: Tombstones,
    /// Whether declared columns of bytes are written as base64 in JSON, as destinations of
    /// messages do it.
    #[serde(default)]
    pub base64: bool,
    /// The consumer group that is told how far the read has come, for Kafka's own tools. What is
    /// read never depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What a message's value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A JSON object; its members become columns.
    #[default]
    Json,
    /// A text in UTF-8; it becomes the column `value`.
    Text,
    /// Bytes; they become the column `value`.
    Bytes,
}

/// What a message's key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyFormat {
    /// A text in UTF-8.
    #[default]
    Text,
    /// Bytes.
    Bytes,
}

/// What a queue knows of a message besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Metadata {
    /// The topic.
    Topic,
    /// The partition.
    Partition,
    /// The offset within the partition.
    Offset,
    /// When it was made or appended, to the millisecond.
    Timestamp,
    /// The key.
    Key,
    /// The headers, as a JSON list of names and values.
    Headers,
}

/// What happens if retention removed messages that were not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnGap {
    /// The read stops and names the offsets.
    #[default]
    Fail,
    /// The read goes on behind them, with a notice.
    Skip,
}

/// What becomes of a message without value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tombstones {
    /// It is set aside.
    #[default]
    Reject,
    /// It is left out.
    Skip,
    /// It becomes a row that is marked in the column `_deleted`; only its key has a value.
    Mark,
}

/// Where a read without position starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Start {
    /// At the first message that is kept.
    #[default]
    Earliest,
    /// Behind the last message there is.
    Latest,
    /// At the first message of this moment or later.
    At(Timestamp),
}

impl From<Start> for String {
    fn from(start: Start) -> Self {
        match start {
            Start::Earliest => "earliest".to_owned(),
            Start::Latest => "latest".to_owned(),
            Start::At(moment) => moment.to_string(),
        }
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            moment => Timestamp::parse(moment).map(Self::At).map_err(|_| {
                serde::de::Error::custom(format!(
                    "`start` of \"{moment}\" is neither `earliest` nor `latest` nor a moment such as 2024-05-01T10:00:00Z"
                ))
            }),
        }
    }
}

impl JsonSchema for Start {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "earliest, latest, or a moment such as 2024-05-01T10:00:00Z",
        })
    }
}
