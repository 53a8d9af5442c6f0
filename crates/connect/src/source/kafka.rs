//! The `kafka` source: the messages of a topic.
//!
//! A read is a batch with an end: from the position up to the last stable offsets at its start.
//! Partitions are read one after the other, so that the same messages always make the same rows.
//! The position holds the next offset of every partition and is committed with the rows, so that
//! each message has its effect once, whatever Kafka's own group offsets say; those are only told
//! afterwards, for the tools that show a lag ([`Source::acknowledge`]).
//!
//! ```text
//! messages ─► JSON objects with partition, offset, … ─► columns ─► rows, rejected rows ─► pages
//! ```

mod plan;
mod read;
mod record;

use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result, Timestamp, task};
use futures::stream::BoxStream;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use self::plan::Stored;
use self::read::KafkaRead;
use super::{
    ChangesRequest, Lag, ReadRequest, Source, SourceConfig, SourceContext, StreamInfo, settings,
};
use crate::files::{PageRead as _, pages};
use crate::kafka::{Client, Cluster};
use crate::page::{Column, Page};

pub use crate::kafka::Kafka;

/// Messages of a topic that are looked at to discover its columns.
const DISCOVER_ROWS: usize = 200;

/// Topics whose messages are looked at.
const DISCOVER_TOPICS_MAX: usize = 200;

/// The group of readers that only look.
const READER: &str = "reader";

/// What one stream reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaStream {
    /// The topic.
    pub topic: String,
    /// What a message's value is.
    #[serde(default)]
    pub format: Format,
    /// The columns with what Kafka knows of a message; partition, offset, timestamp and key if not
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
    /// Whether declared columns of bytes are written as base64 in JSON, as the `kafka` destination
    /// does it.
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

/// What Kafka knows of a message besides its value.
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

impl SourceConfig for Kafka {
    type Stream = KafkaStream;

    const ABOUT: &'static str = "the messages of a Kafka topic";

    fn build(self, _: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Topics { cluster: self.cluster()? }))
    }
}

/// The topics of a cluster.
#[derive(Clone, Debug)]
struct Topics {
    cluster: Cluster,
}

#[async_trait]
impl Source for Topics {
    async fn check(&self) -> Result<()> {
        let cluster = self.cluster.clone();
        task::compute(move || {
            let client =
                cluster.reader(&cluster.named(READER), crate::kafka::Isolation::Committed)?;
            cluster.topics(&client).map(drop)
        })
        .await
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let cluster = self.cluster.clone();
        task::compute(move || discover(&cluster)).await
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        pages(KafkaRead::new(&self.cluster, request))
    }

    fn hears_of_reads(&self) -> bool {
        true
    }

    async fn lag(&self, request: &ChangesRequest) -> Result<Vec<Option<Lag>>> {
        let positions: Vec<Option<Stored>> = request
            .streams
            .iter()
            .map(|stream| stream.from.as_ref().and_then(|position| Stored::of(position).ok()))
            .collect();
        let cluster = self.cluster.clone();
        task::compute(move || {
            let group = cluster.named(READER);
            let client = cluster.reader(&group, crate::kafka::Isolation::Committed)?;
            let of = |stored: Option<Stored>| stored.map(|at| behind(&cluster, &client, &at));
            positions.into_iter().map(|stored| of(stored).transpose()).collect()
        })
        .await
    }

    async fn acknowledge(&self, request: &ChangesRequest) -> Result<()> {
        let mut commits = Vec::new();
        for request_of in &request.streams {
            let Some(position) = &request_of.from else { continue };
            let stream: KafkaStream = settings("stream", request_of.stream.clone())?;
            let stored = Stored::of(position)?;
            let group = stream.group.unwrap_or_else(|| self.cluster.named(&request.name));
            commits.push((group, stored));
        }
        let cluster = self.cluster.clone();
        task::compute(move || {
            commits.iter().try_for_each(|(group, stored)| tell(&cluster, group, stored))
        })
        .await
    }
}

/// How many messages come after a position, those of partitions it does not know included.
fn behind(cluster: &Cluster, client: &Client, stored: &Stored) -> Result<Lag> {
    let mut behind = 0;
    for partition in cluster.partitions_of(client, &stored.topic)? {
        let extent = cluster.extent(client, &stored.topic, partition)?;
        let next = stored.next.get(&partition).copied().unwrap_or_default().max(extent.low);
        behind += u64::try_from(extent.high - next).unwrap_or_default();
    }
    Ok(Lag { behind, unit: "messages" })
}

/// Tells a consumer group how far the read has come.
fn tell(cluster: &Cluster, group: &str, stored: &Stored) -> Result<()> {
    let mut list = TopicPartitionList::new();
    let doing = format!("the offsets of the consumer group \"{group}\"");
    for (partition, offset) in &stored.next {
        list.add_partition_offset(&stored.topic, *partition, Offset::Offset(*offset))
            .map_err(|error| cluster.fail(&doing, &error, None))?;
    }
    if list.count() == 0 {
        return Ok(());
    }
    let client = cluster.reader(group, crate::kafka::Isolation::Committed)?;
    client
        .commit(&list, CommitMode::Sync)
        .map_err(|error| cluster.fail_client(&doing, &error, &client))
}

/// The topics, with the columns that their first messages show.
fn discover(cluster: &Cluster) -> Result<Vec<StreamInfo>> {
    let client = cluster.reader(&cluster.named(READER), crate::kafka::Isolation::Committed)?;
    let mut found = Vec::new();
    for (topic, partitions) in cluster.topics(&client)? {
        if crate::kafka::is_internal(&topic) || topic == cluster.state_topic() {
            continue;
        }
        let columns = found.len() < DISCOVER_TOPICS_MAX;
        match about(cluster, &client, topic, &partitions, columns) {
            Ok(info) => found.push(info),
            // It was removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What there is to say of one topic.
fn about(
    cluster: &Cluster,
    client: &Client,
    topic: String,
    partitions: &[i32],
    columns: bool,
) -> Result<StreamInfo> {
    let mut rows = 0;
    for partition in partitions {
        let extent = cluster.extent(client, &topic, *partition)?;
        rows += u64::try_from(extent.high - extent.low).unwrap_or(0);
    }
    let mut info = StreamInfo {
        stream: json!({ "topic": topic }),
        name: topic,
        schema: std::sync::Arc::new(arrow::datatypes::Schema::empty()),
        columns: Vec::new(),
        primary_key: Vec::new(),
        cursors: Vec::new(),
        rows: Some(rows),
        bytes: None,
    };
    if columns {
        look(cluster, &mut info)?;
    }
    Ok(info)
}

/// Finds the columns of a topic, and whether its messages are JSON at all.
fn look(cluster: &Cluster, info: &mut StreamInfo) -> Result<()> {
    for format in [Format::Json, Format::Text, Format::Bytes] {
        if format != Format::Json {
            info.stream["format"] = json!(format);
        }
        let request = ReadRequest {
            page_rows: DISCOVER_ROWS,
            // Only what messages show is read; the moment is not looked at.
            ..ReadRequest::full(info.stream.clone(), Timestamp::from_micros(0))
        };
        let mut read = KafkaRead::new(cluster, &request)?;
        let page = read.next_page()?;
        let readable =
            page.as_ref().is_none_or(|page| page.batch.num_rows() > 0 || page.rejected.is_empty());
        if let Some(page) = &page {
            info.schema = page.batch.schema();
        }
        info.columns = read.columns().iter().filter_map(Column::declarable).collect();
        if readable {
            return Ok(());
        }
    }
    Ok(())
}

fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::corrupt("the stored position is not one of a kafka source").caused_by(error)
}

#[cfg(test)]
pub(crate) mod tests;
