//! One write into a topic: transactions of messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result, task};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::state;
use crate::destination::{Checkpoint, Refused, WriteMode, WriteRequest, Writer, Written};
use crate::kafka::topics::{TopicSpec, Topics};
use crate::kafka::{Cluster, Isolation, Producer};
use crate::output::check_json_columns;
use crate::queue::{Encoder, OVERHEAD_BYTES, TopicTarget};

/// The largest message of a topic whose settings this user may not see: the brokers' default.
const MESSAGE_BYTES: usize = 1_048_588;

/// The largest message the library can be told of.
const MESSAGE_BYTES_MAX: usize = 1_000_000_000;

/// How long one look for answers lasts.
const LOOK: Duration = Duration::from_millis(10);

/// How long a failed write is taken back; after that the brokers' timeout does it.
const GIVE_UP: Duration = Duration::from_secs(2);

/// Messages after which answers are looked at.
const ANSWER_EACH: usize = 1_000;

/// What a write needs on a blocking thread.
struct Shared {
    cluster: Cluster,
    producer: Producer,
    target: TopicTarget,
    name: state::Name,
    encoder: Encoder,
}

/// An open write.
pub(super) struct KafkaWriter {
    shared: Arc<Shared>,
    committed: Option<i64>,
    open: bool,
    broken: bool,
    counts: Written,
}

impl KafkaWriter {
    /// Opens a write: makes what is missing, fences older writers, finds the last checkpoint.
    pub(super) async fn open(
        cluster: &Cluster,
        target: TopicTarget,
        request: &WriteRequest,
    ) -> Result<Self> {
        let by_key = matches!(request.mode, WriteMode::Merge | WriteMode::Mirror);
        if by_key && request.key.is_empty() {
            return Err(Error::invalid(format!("mode {} needs a key", request.mode))
                .hint("Set `key` to the columns that identify a row."));
        }
        check_json_columns(&target.json_columns, &request.schema)?;
        let topics = Topics::new(cluster)?;
        ensure(cluster, &topics, &target, by_key).await?;
        let replication = target.create.as_ref().and_then(|create| create.replication);
        state::prepare(cluster, &topics, replication).await?;
        let settings = match topics.config(&target.topic).await {
            Ok(settings) => settings,
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::debug!(topic = target.topic, error = %error, "settings not visible");
                Default::default()
            }
            Err(error) => return Err(error),
        };
        let value = |name: &str| settings.get(name).and_then(|setting| setting.value.as_deref());
        let compacted = value("cleanup.policy").map(|policy| policy.contains("compact"));
        if by_key && compacted == Some(false) {
            let topic = &target.topic;
            return Err(Error::invalid(format!(
                "mode {} needs a compacted topic, which \"{topic}\" is not",
                request.mode
            ))
            .hint(format!("flywheel topic alter {topic} --config cleanup.policy=compact, or write with `append`.")));
        }
        let limit = value("max.message.bytes").and_then(|value| value.parse::<usize>().ok());
        let message_bytes_max = limit.unwrap_or(MESSAGE_BYTES).min(MESSAGE_BYTES_MAX);
        let name = state::Name::new(&request.app, &target.topic);
        // The library's limit is that of a whole request and has to hold our checkpoints, too.
        let largest = message_bytes_max.max(MESSAGE_BYTES).to_string();
        let batch = message_bytes_max.saturating_sub(OVERHEAD_BYTES).clamp(1, MESSAGE_BYTES);
        let more = [
            ("compression.type", target.compression.name().to_owned()),
            ("message.max.bytes", largest),
            ("batch.size", batch.to_string()),
        ];
        let keyed = by_key || compacted == Some(true);
        let encoder = Encoder::new(request, &target, keyed, message_bytes_max);
        let shared = Shared {
            producer: cluster.writer(&name.transaction(cluster), &more)?,
            cluster: cluster.clone(),
            target,
            name,
            encoder,
        };
        let (shared, committed) = task::compute(move || {
            let committed = shared.start()?;
            Ok((Arc::new(shared), committed))
        })
        .await?;
        Ok(Self { shared, committed, open: false, broken: false, counts: Written::default() })
    }

    fn usable(&self) -> Result<()> {
        if self.broken {
            let topic = &self.shared.target.topic;
            return Err(Error::unavailable(format!("the write into \"{topic}\" failed before"))
                .hint("Open a new writer; it goes on from the last commit."));
        }
        Ok(())
    }

    async fn take(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let (shared, batch, open) = (Arc::clone(&self.shared), batch.clone(), self.open);
        let (refused, sent) = task::compute(move || {
            if !open {
                shared.begin()?;
            }
            shared.send_rows(&batch)
        })
        .await?;
        self.open = true;
        self.counts.rows_written += sent.rows_written;
        self.counts.rows_deleted += sent.rows_deleted;
        Ok(refused)
    }

    async fn store(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        let (shared, open) = (Arc::clone(&self.shared), self.open);
        self.open = false;
        let counts = std::mem::take(&mut self.counts);
        if self.committed.is_some_and(|committed| checkpoint.sequence <= committed) {
            task::compute(move || if open { shared.abort() } else { Ok(()) }).await?;
            return Ok(Written { skipped: true, ..Written::default() });
        }
        let (sequence, checkpoint) = (checkpoint.sequence, checkpoint.clone());
        task::compute(move || shared.commit(&checkpoint, open)).await?;
        self.committed = Some(sequence);
        Ok(counts)
    }

    /// After an error nothing more is taken, and what was sent is taken back if that still goes.
    async fn break_off(&mut self) {
        self.broken = true;
        let shared = Arc::clone(&self.shared);
        if let Err(error) = task::compute(move || shared.give_up()).await {
            tracing::debug!(error = %error, "an open transaction is left to the brokers' timeout");
        }
    }
}

/// Makes the topic if it is not there and the target says how.
async fn ensure(
    cluster: &Cluster,
    topics: &Topics,
    target: &TopicTarget,
    by_key: bool,
) -> Result<()> {
    let (asked, topic) = (cluster.clone(), target.topic.clone());
    let missing = task::compute(move || {
        let client = asked.reader(&asked.named(super::READER), Isolation::Committed)?;
        let there = asked.partitions(&client, &topic)?.is_some();
        Ok((!there).then(|| asked.no_topic(&client, &topic)))
    })
    .await?;
    let Some(missing) = missing else { return Ok(()) };
    let Some(create) = &target.create else {
        let near = missing.hint_text().unwrap_or_default().to_owned();
        return Err(missing.hint(format!("{near} Or make it: set the target's `create: {{partitions: 1}}`, or use `flywheel topic create`.")));
    };
    let mut config = create.config.clone();
    if by_key {
        config.entry("cleanup.policy".to_owned()).or_insert_with(|| "compact".to_owned());
    }
    let spec = TopicSpec {
        name: target.topic.clone(),
        partitions: create.partitions,
        replication: create.replication,
        config,
    };
    topics.create(&spec).await.map(drop)
}

impl Shared {
    fn doing(&self) -> String {
        format!("writing into the topic \"{}\"", self.target.topic)
    }

    fn fail(&self, error: &KafkaError) -> Error {
        self.cluster.fail_producer(&self.doing(), error, &self.producer)
    }

    /// Fences older writers of this sync and finds the last checkpoint.
    fn start(&self) -> Result<Option<i64>> {
        self.producer
            .init_transactions(self.cluster.timeout())
            .map_err(|error| self.fail(&error))?;
        // What was open is ended by now.
        let committed = state::read(&self.cluster, &self.name, || Ok(()))?;
        Ok(committed.map(|checkpoint| checkpoint.sequence))
    }

    fn begin(&self) -> Result<()> {
        self.producer.begin_transaction().map_err(|error| self.fail(&error))
    }

    /// Takes back what was sent since the last commit.
    fn abort(&self) -> Result<()> {
        // The library waits for answers that only come while somebody looks at them.
        self.drain()?;
        self.producer.abort_transaction(self.cluster.timeout()).map_err(|error| self.fail(&error))
    }

    /// Takes back what was sent after an error, if that goes quickly.
    fn give_up(&self) -> Result<()> {
        if self.producer.client().fatal_error().is_some() {
            return Ok(());
        }
        self.producer.purge(PurgeConfig::default().queue().inflight());
        drop(self.producer.flush(GIVE_UP));
        self.producer.context().take_failed();
        self.producer.abort_transaction(GIVE_UP).map_err(|error| self.fail(&error))
    }

    /// Sends the rows that can be sent.
    fn send_rows(&self, batch: &RecordBatch) -> Result<(Vec<Refused>, Written)> {
        let mut messages = 0;
        let done = self.encoder.encode(batch, |key, value| {
            self.send(&self.target.topic, None, key, value)?;
            if messages % ANSWER_EACH == 0 {
                self.producer.poll(Duration::ZERO);
            }
            messages += 1;
            Ok(())
        })?;
        self.failed()?;
        Ok(done)
    }

    /// Hands one message to the library, waiting while it has too many.
    fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
    ) -> Result<()> {
        let (mut since, mut waiting) = (Instant::now(), self.producer.in_flight_count());
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
            (record.partition, record.key, record.payload) = (partition, key, payload);
            let Err((error, _)) = self.producer.send(record) else { return Ok(()) };
            if error != KafkaError::MessageProduction(Code::QueueFull) {
                self.failed()?;
                return Err(self.fail(&error));
            }
            self.producer.poll(LOOK);
            self.failed()?;
            let now = self.producer.in_flight_count();
            if now < waiting {
                since = Instant::now();
            }
            waiting = now;
            if since.elapsed() > self.cluster.timeout() {
                return Err(self.fail(&KafkaError::Flush(Code::OperationTimedOut)));
            }
        }
    }

    /// The error of a message that did not arrive, or of a client that can do nothing more.
    fn failed(&self) -> Result<()> {
        if let Some(error) = self.producer.context().take_failed() {
            return Err(self.fail(&error));
        }
        match self.producer.client().fatal_error() {
            Some((code, _)) => Err(self.fail(&KafkaError::Global(code))),
            None => Ok(()),
        }
    }

    /// Waits until the brokers have every message.
    fn drain(&self) -> Result<()> {
        let (mut since, mut waiting) = (Instant::now(), self.producer.in_flight_count());
        while waiting > 0 {
            // Not having come to the end is not yet an error.
            drop(self.producer.flush(LOOK));
            self.failed()?;
            let now = self.producer.in_flight_count();
            if now < waiting {
                since = Instant::now();
            }
            waiting = now;
            if since.elapsed() > self.cluster.timeout() {
                return Err(self.fail(&KafkaError::Flush(Code::OperationTimedOut)));
            }
        }
        self.failed()
    }

    /// Commits rows and checkpoint.
    fn commit(&self, checkpoint: &Checkpoint, open: bool) -> Result<()> {
        if !open {
            self.begin()?;
        }
        let (key, value) = (self.name.key(), self.name.value(checkpoint)?);
        let topic = self.cluster.state_topic();
        self.send(topic, Some(state::PARTITION), Some(key.as_bytes()), Some(value.as_bytes()))?;
        self.drain()?;
        let started = Instant::now();
        loop {
            match self.producer.commit_transaction(self.cluster.timeout()) {
                Ok(()) => return Ok(()),
                // Whether it was committed is not known before it is asked for once more.
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && started.elapsed() < self.cluster.timeout() => {}
                Err(error) => return Err(self.fail(&error)),
            }
        }
    }
}

#[async_trait]
impl Writer for KafkaWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        self.usable()?;
        let taken = self.take(batch).await;
        if taken.is_err() {
            self.break_off().await;
        }
        taken
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        self.usable()?;
        let stored = self.store(checkpoint).await;
        if stored.is_err() {
            self.break_off().await;
        }
        stored
    }

    async fn finish(mut self: Box<Self>) -> Result<Written> {
        self.usable()?;
        if self.open {
            let shared = Arc::clone(&self.shared);
            task::compute(move || shared.abort()).await?;
        }
        Ok(Written::default())
    }
}
