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

mod state;
mod writer;

use async_trait::async_trait;
use flywheel_base::{Error, Result, task};

use super::{
    Destination, DestinationConfig, DestinationContext, Guarantee, Progress, WriteMode,
    WriteRequest, Writer, check_mode,
};
use crate::kafka::{Cluster, Isolation};
use crate::queue::{TopicTarget, check_topic_name};
use crate::source::settings;

pub use crate::kafka::Kafka;

/// The write modes it can do.
const MODES: &[WriteMode] = &[WriteMode::Append, WriteMode::Merge, WriteMode::Mirror];

/// The group of readers of checkpoints.
const READER: &str = "positions";

impl DestinationConfig for Kafka {
    type Target = TopicTarget;

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
    fn target(&self, request: &WriteRequest) -> Result<TopicTarget> {
        let target: TopicTarget = settings("target", request.target.clone())?;
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
