//! Reading one partition from an offset up to another.

use std::time::Instant;

use flywheel_base::{Error, Result};
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::client::{Client, Cluster, Isolation};
use super::fail::code;
use crate::queue::Span;

/// How long one look for a message lasts.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// Reads spans of one topic, one after the other, so that the order of all messages is always the
/// same.
pub(crate) struct PartitionReader {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) topic: String,
    /// What is being read; `from` is the next offset.
    span: Option<Span>,
    /// When a message came last.
    since: Instant,
}

impl PartitionReader {
    /// Makes a reader; does no I/O that is waited for.
    pub(crate) fn new(
        cluster: &Cluster,
        topic: &str,
        group: &str,
        isolation: Isolation,
    ) -> Result<Self> {
        Ok(Self {
            cluster: cluster.clone(),
            client: cluster.reader(group, isolation)?,
            topic: topic.to_owned(),
            span: None,
            since: Instant::now(),
        })
    }

    /// Begins with a span.
    pub(crate) fn begin(&mut self, span: Span) -> Result<()> {
        self.since = Instant::now();
        if span.from < span.to {
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition_offset(&self.topic, span.partition, Offset::Offset(span.from))
                .and_then(|()| self.client.assign(&list))
                .map_err(|error| {
                    self.cluster.fail_client(&self.doing(span), &error, &self.client)
                })?;
        }
        self.span = Some(span);
        Ok(())
    }

    fn doing(&self, span: Span) -> String {
        format!("partition {} of the topic \"{}\"", span.partition, self.topic)
    }

    /// The next message of the span, or nothing at its end.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Unavailable`] if no message comes for the connection's timeout;
    /// [`flywheel_base::ErrorKind::Blocked`] if retention is faster than the read.
    pub(crate) fn next(&mut self) -> Result<Option<BorrowedMessage<'_>>> {
        let Some(span) = &mut self.span else { return Ok(None) };
        let doing = format!("partition {} of the topic \"{}\"", span.partition, self.topic);
        // Time without an answer counts, not time in which nobody asked.
        self.since = Instant::now();
        while span.from < span.to {
            match self.client.poll(LOOK) {
                Some(Ok(message)) if message.partition() != span.partition => {}
                Some(Ok(message)) => {
                    span.from = message.offset() + 1;
                    if message.offset() >= span.to {
                        break;
                    }
                    return Ok(Some(message));
                }
                // What is left are the marks of transactions, and messages that were never committed
                // or are compacted away; unless the partition has become shorter.
                Some(Err(KafkaError::PartitionEOF(partition))) if partition == span.partition => {
                    let extent = self.cluster.extent(&self.client, &self.topic, partition)?;
                    if extent.high >= span.to {
                        break;
                    }
                    return Err(Error::unavailable(format!("{doing} ends before offset {}", span.to))
                        .hint("A broker that was behind has become its leader; the read goes on when it has caught up."));
                }
                Some(Err(error)) => match code(&error) {
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                        return Err(Error::blocked(format!(
                            "{doing}: retention removes messages faster than they are read, offset {} is gone",
                            span.from
                        ))
                        .hint("Raise the topic's retention.ms or retention.bytes, or set the stream's `on_gap: skip`."));
                    }
                    None
                    | Some(
                        Code::BrokerTransportFailure
                        | Code::AllBrokersDown
                        | Code::Resolve
                        | Code::OperationTimedOut
                        | Code::NotLeaderForPartition
                        | Code::LeaderNotAvailable
                        | Code::FencedLeaderEpoch
                        | Code::UnknownLeaderEpoch,
                    ) if self.since.elapsed() < self.cluster.timeout() => {}
                    _ => return Err(self.cluster.fail_client(&doing, &error, &self.client)),
                },
                None => {}
            }
            if self.since.elapsed() >= self.cluster.timeout() {
                let error = KafkaError::MessageConsumption(Code::OperationTimedOut);
                return Err(self.cluster.fail_client(&doing, &error, &self.client));
            }
        }
        span.from = span.to;
        Ok(None)
    }
}
