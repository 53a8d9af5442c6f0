//! A cluster as one of the queues whose topics can be read.

use std::collections::BTreeMap;

use flywheel_base::Result;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{Cluster, Isolation, PartitionReader};
use crate::queue::{Extent, Header, Message, Queue, Span, TopicReader, TopicStream};

/// The group of readers that only look.
const READER: &str = "reader";

impl Queue for Cluster {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn open(&self, stream: &TopicStream) -> Result<Box<dyn TopicReader>> {
        let group = stream.group.clone().unwrap_or_else(|| self.named(READER));
        let reader = PartitionReader::new(self, &stream.topic, &group, Isolation::Committed)?;
        Ok(Box::new(reader))
    }
}

impl TopicReader for PartitionReader {
    fn extents(&mut self) -> Result<BTreeMap<i32, Extent>> {
        let mut extents = BTreeMap::new();
        for partition in self.cluster.partitions_of(&self.client, &self.topic)? {
            let extent = self.cluster.extent(&self.client, &self.topic, partition)?;
            extents.insert(partition, extent);
        }
        Ok(extents)
    }

    fn at_moment(&mut self, partitions: &[i32], millis: i64) -> Result<BTreeMap<i32, i64>> {
        let topic = &self.topic;
        let doing = format!("the offsets of the topic \"{topic}\" at `start`");
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let asked = partitions.iter().try_for_each(|partition| {
            list.add_partition_offset(topic, *partition, Offset::Offset(millis))
        });
        let found = asked
            .and_then(|()| self.client.offsets_for_times(list, self.cluster.timeout()))
            .map_err(|error| self.cluster.fail_client(&doing, &error, &self.client))?;
        let mut first = BTreeMap::new();
        for element in found.elements() {
            element
                .error()
                .map_err(|error| self.cluster.fail_client(&doing, &error, &self.client))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                // Nothing is so young; the plan cuts it to the end.
                _ => i64::MAX,
            };
            first.insert(element.partition(), offset);
        }
        Ok(first)
    }

    fn begin(&mut self, span: Span) -> Result<()> {
        Self::begin(self, span)
    }

    fn next(&mut self, take: &mut dyn FnMut(&Message<'_>)) -> Result<bool> {
        let Some(message) = Self::next(self)? else { return Ok(false) };
        let headers = message.headers().map(|headers| {
            let lent = headers.iter();
            lent.map(|header| Header { name: header.key, value: header.value }).collect()
        });
        take(&Message {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            millis: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: headers.unwrap_or_default(),
        });
        Ok(true)
    }
}
