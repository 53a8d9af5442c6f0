//! Clients of a cluster, and what every one of them is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flywheel_base::{Error, Result, Secret, suggest};
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::fail::{self, Heard};
use crate::queue::Extent;

/// How long to wait before asking again for what is being made.
pub(crate) const POLL: Duration = Duration::from_millis(25);

/// Events about the connection that are looked at after a failure.
const EVENTS_MAX: usize = 100;

/// Kibibytes of messages that a reader holds ahead.
const AHEAD_KIB: &str = "65536";

/// How long a broker waits for new messages before it says that there are none.
const FETCH_WAIT_MS: &str = "20";

/// Kibibytes of messages that a writer holds until the brokers have them.
const QUEUE_KIB: &str = "65536";

/// How long a writer collects messages into one request.
const LINGER_MS: &str = "20";

/// A reader's client.
pub(crate) type Client = BaseConsumer<Watch>;

/// A writer's client.
pub(crate) type Producer = BaseProducer<Deliveries>;

/// The checked settings of a connection.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) brokers: String,
    pub(super) sasl: Option<(String, Secret)>,
    pub(super) client_id: String,
    pub(super) prefix: String,
    pub(super) state_topic: String,
    pub(super) timeout: Duration,
    pub(super) transaction_timeout: Duration,
    pub(super) properties: BTreeMap<String, String>,
}

/// A cluster that can be connected to.
#[derive(Clone)]
pub(crate) struct Cluster {
    settings: Settings,
    /// What all clients have in common; holds the password.
    common: ClientConfig,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({})", self.settings.brokers)
    }
}

/// Which messages a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Those of committed transactions, up to the first open one.
    Committed,
    /// All.
    All,
}

/// Hears what a client says about its connections.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    heard: Mutex<Heard>,
}

impl Watch {
    fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Watch {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = %error, reason, "librdkafka");
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let code = fail::code(&error);
        // That all are down says less than why one is.
        if heard.code.is_none() || code != Some(Code::AllBrokersDown) {
            *heard = Heard { code, reason: Some(reason.to_owned()) };
        }
    }
}

impl ConsumerContext for Watch {}

/// Hears what becomes of messages on their way.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    watch: Watch,
    failed: Mutex<Option<KafkaError>>,
}

impl Deliveries {
    /// The first failure since the last time it was asked for.
    pub(crate) fn take_failed(&self) -> Option<KafkaError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            // What a failed transaction takes with it says less than what failed first.
            failed.get_or_insert_with(|| error.clone());
        }
    }
}

/// A client that sends single messages, outside of transactions.
pub(crate) type Sender = BaseProducer<Reports>;

/// What became of a message: its partition and offset, or why it did not arrive.
type Report = std::result::Result<String, KafkaError>;

/// Hears what becomes of each single message.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    watch: Watch,
    told: Mutex<Vec<(usize, Report)>>,
    numbers: AtomicUsize,
}

impl Reports {
    /// A number for a message, which no other message of this client has.
    pub(crate) fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// What was told since the last time.
    pub(crate) fn take(&self) -> Vec<(usize, Report)> {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let report = match result {
            Ok(message) => Ok(format!("{}/{}", message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push((number, report));
    }
}

impl Cluster {
    /// Checks that the library takes the settings; does no I/O.
    pub(super) fn new(settings: Settings) -> Result<Self> {
        let mut common = ClientConfig::new();
        for (name, value) in &settings.properties {
            common.set(name, value);
        }
        let millis = settings.timeout.as_millis().max(1_000).to_string();
        common
            .set("bootstrap.servers", &settings.brokers)
            .set("client.id", &settings.client_id)
            .set("socket.connection.setup.timeout.ms", &millis)
            .set("log.connection.close", "false");
        if let Some((user, password)) = &settings.sasl {
            common
                .set("security.protocol", "sasl_plaintext")
                .set("sasl.mechanism", "PLAIN")
                .set("sasl.username", user)
                .set("sasl.password", password.expose());
        }
        let cluster = Self { settings, common };
        cluster
            .common
            .create_native_config()
            .map(drop)
            .map_err(|error| cluster.fail("the connection", &error, None))?;
        Ok(cluster)
    }

    /// How long the brokers may take to answer.
    pub(crate) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// The topic of checkpoints.
    pub(crate) fn state_topic(&self) -> &str {
        &self.settings.state_topic
    }

    /// A name of a consumer group or a transaction.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}.{name}", self.settings.prefix)
    }

    /// The error that tells the caller what to do about it.
    pub(crate) fn fail(&self, doing: &str, error: &KafkaError, watch: Option<&Watch>) -> Error {
        let heard = watch.map(Watch::heard).unwrap_or_default();
        fail::fail(&self.settings.brokers, doing, error, &heard)
    }

    /// The error of a code.
    pub(crate) fn fail_code(&self, doing: &str, code: Code) -> Error {
        fail::of_code(&self.settings.brokers, doing, code)
    }

    /// The error of a reader's client; hears first what it has to say.
    pub(crate) fn fail_client(&self, doing: &str, error: &KafkaError, client: &Client) -> Error {
        // Lines of the log lie between the events, and look like the end of them.
        for _ in 0..EVENTS_MAX {
            drop(client.poll(Duration::ZERO));
        }
        self.fail(doing, error, Some(&**client.context()))
    }

    /// The error of a writer's client.
    pub(crate) fn fail_producer(
        &self,
        doing: &str,
        error: &KafkaError,
        client: &Producer,
    ) -> Error {
        use rdkafka::producer::Producer as _;
        for _ in 0..EVENTS_MAX {
            client.poll(Duration::ZERO);
        }
        // A client that can do nothing more knows why.
        if let Some((code, reason)) = client.client().fatal_error() {
            return self.fail_code(doing, code).caused_by(reason);
        }
        self.fail(doing, error, Some(&client.context().watch))
    }

    fn create<C, T>(&self, config: &ClientConfig, context: C) -> Result<T>
    where
        C: ClientContext,
        T: FromClientConfigAndContext<C>,
    {
        config
            .create_with_context(context)
            .map_err(|error| self.fail("the connection", &error, None))
    }

    /// A client that reads, and that commits offsets for `group` if it is told to.
    pub(crate) fn reader(&self, group: &str, isolation: Isolation) -> Result<Client> {
        let mut config = self.common.clone();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("fetch.wait.max.ms", FETCH_WAIT_MS)
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.max.messages.kbytes", AHEAD_KIB)
            .set("check.crcs", "true")
            .set(
                "isolation.level",
                match isolation {
                    Isolation::Committed => "read_committed",
                    Isolation::All => "read_uncommitted",
                },
            );
        self.create(&config, Watch::default())
    }

    /// A client that writes in transactions; it is not ready before its transactions are.
    pub(crate) fn writer(&self, id: &str, more: &[(&str, String)]) -> Result<Producer> {
        let mut config = self.common.clone();
        let transaction = self.settings.transaction_timeout.as_millis();
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", transaction.to_string())
            .set("enable.idempotence", "true")
            .set("delivery.report.only.error", "true")
            .set("queue.buffering.max.kbytes", QUEUE_KIB)
            .set("linger.ms", LINGER_MS)
            .set("partitioner", "murmur2_random");
        for (name, value) in more {
            config.set(*name, value);
        }
        self.create(&config, Deliveries::default())
    }

    /// A client that sends single messages: each is on all replicas in sync, or is told to have failed.
    pub(crate) fn sender(&self) -> Result<Sender> {
        let mut config = self.common.clone();
        config
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", self.settings.timeout.as_millis().to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KIB)
            .set("linger.ms", "0")
            .set("partitioner", "murmur2_random");
        self.create(&config, Reports::default())
    }

    /// Whether a topic is there and can be written by a client that has sent nothing yet.
    pub(crate) fn ready(&self, sender: &Sender, topic: &str) -> Result<()> {
        use rdkafka::producer::Producer as _;
        let doing = format!("the topic \"{topic}\"");
        let found = sender
            .client()
            .fetch_metadata(Some(topic), self.timeout())
            .map_err(|error| self.fail_sender(&doing, &error, sender))?;
        match found.topics().first().map(|about| about.error().map(Code::from)) {
            Some(None) => Ok(()),
            Some(Some(Code::UnknownTopic | Code::UnknownTopicOrPartition)) | None => {
                Err(Error::not_found(format!(
                    "there is no topic \"{topic}\" on {}",
                    self.settings.brokers
                ))
                .hint("Make it with `flywheel topic create`."))
            }
            Some(Some(code)) => Err(self.fail_code(&doing, code)),
        }
    }

    /// The error of a client that sends single messages.
    pub(crate) fn fail_sender(&self, doing: &str, error: &KafkaError, sender: &Sender) -> Error {
        use rdkafka::producer::Producer as _;
        for _ in 0..EVENTS_MAX {
            sender.poll(Duration::ZERO);
        }
        if let Some((code, reason)) = sender.client().fatal_error() {
            return self.fail_code(doing, code).caused_by(reason);
        }
        self.fail(doing, error, Some(&sender.context().watch))
    }

    /// A client that administers topics.
    pub(crate) fn admin(&self) -> Result<AdminClient<Watch>> {
        self.create(&self.common, Watch::default())
    }

    /// Every topic with its partitions, those of the cluster itself too.
    pub(crate) fn topics(&self, client: &Client) -> Result<BTreeMap<String, Vec<i32>>> {
        let found = self.metadata(client, None)?;
        let topics = found.topics().iter();
        Ok(topics
            .map(|topic| {
                let mut partitions: Vec<i32> = topic.partitions().iter().map(|p| p.id()).collect();
                partitions.sort_unstable();
                (topic.name().to_owned(), partitions)
            })
            .collect())
    }

    /// What the brokers know of one topic or of all.
    pub(crate) fn metadata(&self, client: &Client, topic: Option<&str>) -> Result<Metadata> {
        client
            .fetch_metadata(topic, self.timeout())
            .map_err(|error| self.fail_client("the list of topics", &error, client))
    }

    /// The partitions of a topic, once each has a leader; nothing if there is no such topic.
    pub(crate) fn partitions(&self, client: &Client, topic: &str) -> Result<Option<Vec<i32>>> {
        super::check_topic_name(topic)?;
        let started = Instant::now();
        loop {
            let found = self.metadata(client, Some(topic))?;
            let Some(about) = found.topics().first() else { return Ok(None) };
            let error = about.error().map(Code::from);
            let leaders = about.partitions().iter().all(|partition| partition.leader() >= 0);
            match error {
                Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => return Ok(None),
                None if leaders && !about.partitions().is_empty() => {
                    let mut found: Vec<i32> = about.partitions().iter().map(|p| p.id()).collect();
                    found.sort_unstable();
                    return Ok(Some(found));
                }
                None | Some(Code::LeaderNotAvailable) if started.elapsed() < self.timeout() => {
                    std::thread::park_timeout(POLL);
                }
                None => {
                    return Err(Error::unavailable(format!(
                        "a partition of the topic \"{topic}\" has no leader"
                    ))
                    .hint("Look after the brokers that hold it."));
                }
                Some(code) => return Err(self.fail_code(&format!("the topic \"{topic}\""), code)),
            }
        }
    }

    /// The partitions of a topic that has to be there.
    pub(crate) fn partitions_of(&self, client: &Client, topic: &str) -> Result<Vec<i32>> {
        match self.partitions(client, topic)? {
            Some(partitions) => Ok(partitions),
            None => Err(self.no_topic(client, topic)),
        }
    }

    /// The error that a topic is not there, with the nearest one that is.
    pub(crate) fn no_topic(&self, client: &Client, topic: &str) -> Error {
        let known = self.topics(client).unwrap_or_default();
        let names = known.keys().map(String::as_str).filter(|name| !is_internal(name));
        Error::not_found(format!("there is no topic \"{topic}\" on {}", self.settings.brokers))
            .hint(suggest::hint(topic, names))
    }

    /// The messages that a partition holds for this client.
    pub(crate) fn extent(&self, client: &Client, topic: &str, partition: i32) -> Result<Extent> {
        let (low, high) =
            client.fetch_watermarks(topic, partition, self.timeout()).map_err(|error| {
                let doing = format!("the offsets of partition {partition} of \"{topic}\"");
                self.fail_client(&doing, &error, client)
            })?;
        Ok(Extent { low: low.max(0), high: high.max(0) })
    }
}

/// Whether a topic is one of the cluster's own.
pub(crate) fn is_internal(name: &str) -> bool {
    name.starts_with("__")
}
