//! The `kafka` action: a message of a topic per delivery.
//!
//! The brokers have a message on all of their replicas in sync before it counts as delivered, and take no message of one
//! attempt twice. A later attempt is a new message with the same header `Idempotency-Key`, by which readers tell it.
//! Nothing is sent before the topic is known, so that a cluster that is away has seen nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flywheel_base::{Error, Result, task};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Action, ActionConfig, ActionContext, Delivery, Outcome};
use crate::kafka::{Cluster, Kafka, Sender};
use crate::queue::check_topic_name;

/// How long one look for answers lasts.
const LOOK: Duration = Duration::from_millis(10);

/// How much longer than a message may take its answer is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// Sends deliveries as messages of a Kafka topic.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaAction {
    /// The cluster, with the settings of a connection of type `kafka`: `{brokers: [kafka1:9092]}`.
    pub cluster: Kafka,
    /// The topic, which has to be there.
    pub topic: String,
    /// The field of the payload that is the messages' key, such as `unit_id` or `run.runId`: messages with the same
    /// key keep their order. Without, the key is that of the delivery.
    #[serde(default)]
    pub key: Option<String>,
}

impl ActionConfig for KafkaAction {
    const ABOUT: &'static str = "sends deliveries as messages of a Kafka topic";

    fn build(self, _: &ActionContext) -> Result<Box<dyn Action>> {
        check_topic_name(&self.topic)?;
        let key = match self.key.as_deref().map(str::trim) {
            Some(path) if path.split('.').any(str::is_empty) => {
                return Err(Error::invalid(format!("the `key` \"{path}\" names no field"))
                    .hint("Write a field of the payload, such as unit_id or run.runId."));
            }
            path => path.map(str::to_owned),
        };
        let cluster = self.cluster.cluster()?;
        let open = Arc::default();
        Ok(Box::new(Messages { cluster, topic: self.topic, key, open }))
    }
}

struct Messages {
    cluster: Cluster,
    topic: String,
    key: Option<String>,
    /// The client, made when it is first needed; one batch at a time.
    open: Arc<Mutex<Option<Sender>>>,
}

/// A message that is ready to be sent.
struct Message {
    key: String,
    delivery: String,
    body: String,
}

#[async_trait]
impl Action for Messages {
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let messages: Vec<Message> = batch.iter().map(|delivery| self.message(delivery)).collect();
        let (cluster, topic, open) =
            (self.cluster.clone(), self.topic.clone(), Arc::clone(&self.open));
        let sent = task::compute(move || {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            let sender = match open.take() {
                Some(sender) => sender,
                None => cluster.sender()?,
            };
            let outcomes = send(&cluster, &sender, &topic, &messages);
            // A client that can do nothing more is not used again.
            if sender.client().fatal_error().is_none() {
                *open = Some(sender);
            }
            Ok(outcomes)
        })
        .await;
        sent.unwrap_or_else(|error| {
            vec![Outcome::Unreached { reason: error.message().to_owned() }; batch.len()]
        })
    }
}

impl Messages {
    fn message(&self, delivery: &Delivery) -> Message {
        let field = self.key.as_ref().and_then(|path| {
            path.split('.').try_fold(&delivery.payload, |value, part| value.get(part))
        });
        let key = match field {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => delivery.key.clone(),
            Some(other) => other.to_string(),
        };
        Message { key, delivery: delivery.key.clone(), body: delivery.payload.to_string() }
    }
}

/// Sends messages and waits until the brokers have them, or say why not.
fn send(cluster: &Cluster, sender: &Sender, topic: &str, messages: &[Message]) -> Vec<Outcome> {
    if let Err(error) = cluster.ready(sender, topic) {
        let reason = error.message().to_owned();
        return vec![Outcome::Unreached { reason }; messages.len()];
    }
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut under_way: BTreeMap<usize, usize> = BTreeMap::new();
    let deadline = Instant::now() + cluster.timeout() + GRACE;
    for (index, message) in messages.iter().enumerate() {
        let number = sender.context().number();
        loop {
            let headers = OwnedHeaders::new()
                .insert(Header { key: "Idempotency-Key", value: Some(&message.delivery) })
                .insert(Header { key: "content-type", value: Some("application/json") });
            let record = BaseRecord::with_opaque_to(topic, number)
                .key(message.key.as_str())
                .payload(message.body.as_str())
                .headers(headers);
            match sender.send(record) {
                Ok(()) => {
                    under_way.insert(number, index);
                    break;
                }
                Err((KafkaError::MessageProduction(Code::QueueFull), _))
                    if Instant::now() < deadline =>
                {
                    sender.poll(LOOK);
                }
                Err((error, _)) => {
                    outcomes.insert(index, refused(cluster, sender, topic, &error));
                    break;
                }
            }
        }
    }
    while !under_way.is_empty() && Instant::now() < deadline {
        sender.poll(LOOK);
        for (number, told) in sender.context().take() {
            let Some(index) = under_way.remove(&number) else { continue };
            let outcome = match told {
                Ok(place) => Outcome::Delivered { receipt: format!("{topic} {place}") },
                Err(error) => refused(cluster, sender, topic, &error),
            };
            outcomes.insert(index, outcome);
        }
    }
    let silent = || Outcome::Retry {
        reason: format!("the brokers did not say whether they have the message of \"{topic}\""),
        after: None,
    };
    (0..messages.len()).map(|index| outcomes.remove(&index).unwrap_or_else(silent)).collect()
}

/// What an error means: never, or later.
fn refused(cluster: &Cluster, sender: &Sender, topic: &str, error: &KafkaError) -> Outcome {
    let doing = format!("sending a message to the topic \"{topic}\"");
    let reason = cluster.fail_sender(&doing, error, sender).message().to_owned();
    let never = matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::InvalidMessage
                | Code::InvalidMessageSize
                | Code::InvalidRecord
                | Code::TopicAuthorizationFailed
        )
    );
    match never {
        true => Outcome::Rejected { reason },
        false => Outcome::Retry { reason, after: None },
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::message::{Headers as _, Message as _};
    use serde_json::json;

    use super::*;
    use crate::action::ActionEntry;
    use crate::kafka::testing;

    fn action(settings: Value) -> Result<Box<dyn Action>> {
        let context = ActionContext { base_dir: "/".into(), ..Default::default() };
        ActionEntry::named("kafka").unwrap().build(settings, &context)
    }

    fn delivery(key: &str, payload: Value) -> Delivery {
        Delivery { key: key.to_owned(), payload, group: "thank/1".to_owned() }
    }

    /// Key, body and idempotency key of the messages of a topic.
    fn read(topic: &str, count: usize) -> Vec<(String, Value, String)> {
        let client: BaseConsumer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", testing::server().brokers())
            .set("group.id", "reader")
            .create()
            .unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).unwrap();
        client.assign(&list).unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            let message = client.poll(Duration::from_secs(30)).unwrap().unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let headers = message.headers().unwrap();
            let own = headers.iter().find(|header| header.key == "Idempotency-Key").unwrap();
            found.push((
                text(message.key().unwrap()),
                serde_json::from_slice(message.payload().unwrap()).unwrap(),
                text(own.value.unwrap()),
            ));
        }
        found
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_delivery_is_a_message_under_its_key_and_a_too_large_one_is_refused() {
        let topic = testing::topic(1).await;
        let settings =
            json!({ "cluster": testing::connection(), "topic": topic, "key": "unit.id" });
        let action = action(settings).unwrap();
        let batch = [
            delivery("d1", json!({ "unit": { "id": "anna" }, "text": "嗨" })),
            delivery("d2", json!({ "text": "x".repeat(2 << 20) })),
            delivery("d3", json!({ "text": "no unit" })),
        ];
        let outcomes = action.deliver(&batch).await;
        assert!(matches!(&outcomes[0], Outcome::Delivered { receipt } if receipt.contains(&topic)));
        assert!(matches!(&outcomes[1], Outcome::Rejected { .. }), "{:?}", outcomes[1]);
        assert!(matches!(&outcomes[2], Outcome::Delivered { .. }), "{:?}", outcomes[2]);
        let again = action.deliver(&batch[..1]).await;
        assert!(matches!(&again[0], Outcome::Delivered { .. }), "{again:?}");
        let read = read(&topic, 3);
        let keys: Vec<(&str, &str)> =
            read.iter().map(|(key, _, own)| (key.as_str(), own.as_str())).collect();
        assert_eq!(keys, [("anna", "d1"), ("d3", "d3"), ("anna", "d1")]);
        assert_eq!(read[0].1["text"], "嗨");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_or_a_cluster_that_is_not_there_has_seen_nothing() {
        let missing =
            json!({ "cluster": testing::connection(), "topic": "no-such-topic-of-actions" });
        let outcomes = action(missing).unwrap().deliver(&[delivery("d1", json!({ "a": 1 }))]).await;
        let reason = |outcome: &Outcome| match outcome {
            Outcome::Unreached { reason } => reason.clone(),
            other => panic!("{other:?}"),
        };
        assert!(reason(&outcomes[0]).contains("no-such-topic-of-actions"), "{outcomes:?}");
        let away =
            json!({ "cluster": { "brokers": ["127.0.0.1:1"], "timeout": "300ms" }, "topic": "t" });
        let outcomes = action(away).unwrap().deliver(&[delivery("d1", json!({}))]).await;
        assert!(!reason(&outcomes[0]).is_empty());
    }

    #[test]
    fn impossible_settings_are_refused_before_anything_is_sent() {
        for (settings, word) in [
            (json!({ "cluster": { "brokers": ["a:1"] }, "topic": "a b" }), "a b"),
            (json!({ "cluster": { "brokers": [] }, "topic": "t" }), "brokers"),
            (json!({ "cluster": { "brokers": ["a:1"] }, "topic": "t", "key": "a..b" }), "a..b"),
            (json!({ "cluster": { "brokers": ["a:1"] } }), "topic"),
        ] {
            let Err(error) = action(settings.clone()) else { panic!("{settings}") };
            assert!(error.report().contains(word), "{settings}: {}", error.report());
        }
    }
}
