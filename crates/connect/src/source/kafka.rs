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

use async_trait::async_trait;
use flywheel_base::{ErrorKind, Result, task};
use futures::stream::BoxStream;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{
    ChangesRequest, Lag, ReadRequest, Source, SourceConfig, SourceContext, StreamInfo, settings,
};
use crate::files::pages;
use crate::kafka::{Client, Cluster};
use crate::page::Page;
use crate::queue::{DISCOVER_TOPICS_MAX, Stored, TopicRead, TopicStream, described, positions};

pub use crate::kafka::Kafka;

/// The group of readers that only look.
const READER: &str = "reader";

impl SourceConfig for Kafka {
    type Stream = TopicStream;

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
        pages(TopicRead::new(Box::new(self.cluster.clone()), request))
    }

    fn hears_of_reads(&self) -> bool {
        true
    }

    async fn lag(&self, request: &ChangesRequest) -> Result<Vec<Option<Lag>>> {
        let positions = positions(request)?;
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
            let stream: TopicStream = settings("stream", request_of.stream.clone())?;
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
    described(&|| Box::new(cluster.clone()), topic, rows, columns)
}

#[cfg(test)]
pub(crate) mod tests;
