//! What the tests of source, destination and topics share: one broker, a topic for each test, and a
//! plain writer of messages.

use std::sync::OnceLock;
use std::time::Duration;

use flywheel_testkit::Kafka as Broker;
use rdkafka::config::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use super::Cluster;
use super::topics::{Created, TopicSpec, Topics};

static SERVER: OnceLock<Broker> = OnceLock::new();

/// How long a test waits for the broker at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// The broker of this test binary.
pub(crate) fn server() -> &'static Broker {
    SERVER.get_or_init(Broker::start)
}

/// The settings of a connection to it.
pub(crate) fn connection() -> Value {
    json!({ "brokers": [server().brokers()] })
}

/// The cluster behind a connection.
pub(crate) fn cluster(connection: Value) -> Cluster {
    crate::source::settings::<super::Kafka>("connection", connection).unwrap().cluster().unwrap()
}

/// The topics of the broker.
pub(crate) fn topics() -> Topics {
    Topics::of(connection()).unwrap()
}

/// Makes a topic.
pub(crate) async fn topic(partitions: u32) -> String {
    topic_with(partitions, &[]).await
}

/// Makes a topic with settings.
pub(crate) async fn topic_with(partitions: u32, config: &[(&str, &str)]) -> String {
    let name = server().topic();
    let config = config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let spec = TopicSpec {
        name: name.clone(),
        partitions: Some(partitions),
        replication: Some(1),
        config,
    };
    assert_eq!(topics().create(&spec).await.unwrap(), Created::Now);
    name
}

/// A message to be written: the partition, the key, the value.
pub(crate) type Plain<'a> = (i32, Option<&'a str>, Option<&'a [u8]>);

/// A writer that does nothing but write.
pub(crate) fn producer(settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server().brokers()).set("linger.ms", "0");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Writes messages.
pub(crate) fn send_by(producer: &BaseProducer, topic: &str, messages: &[Plain<'_>]) {
    for (partition, key, value) in messages {
        let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic).partition(*partition);
        (record.key, record.payload) = (*key, *value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Writes messages outside of transactions.
pub(crate) fn send(topic: &str, messages: &[Plain<'_>]) {
    send_by(&producer(&[]), topic, messages);
}

/// Writes values to partition 0.
pub(crate) fn send_values(topic: &str, values: &[&str]) {
    let messages: Vec<Plain<'_>> =
        values.iter().map(|value| (0, None, Some(value.as_bytes()))).collect();
    send(topic, &messages);
}

/// Writes one message with headers.
pub(crate) fn send_with_headers(topic: &str, value: &str, headers: OwnedHeaders) {
    let producer = producer(&[]);
    let record: BaseRecord<'_, str, str> =
        BaseRecord::to(topic).partition(0).payload(value).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

/// A writer with an open transaction that has written `values`.
pub(crate) fn open_transaction(topic: &str, id: &str, values: &[&str]) -> BaseProducer {
    let producer = producer(&[("transactional.id", id)]);
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    let messages: Vec<Plain<'_>> =
        values.iter().map(|value| (0, Some("k"), Some(value.as_bytes()))).collect();
    send_by(&producer, topic, &messages);
    producer
}
