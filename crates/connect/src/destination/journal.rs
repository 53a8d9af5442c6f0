//! The `journal` destination: rows as JSON messages of a topic in a folder, without a server.
//!
//! ```text
//! writer()  lock the topic; cut off what a crashed writer left; the last checkpoint is known
//! write()   messages behind the last commit       (nobody sees them)
//! commit()  messages on disk ─► commit with the checkpoint on disk      (all or nothing)
//! ```
//! The checkpoint stands in the topic itself, so a commit that is repeated after a crash is
//! recognised, and a topic that is copied takes its checkpoints along.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, Result, task};

use super::{
    Checkpoint, Destination, DestinationConfig, DestinationContext, Guarantee, Progress, Refused,
    WriteMode, WriteRequest, Writer, Written, check_mode,
};
use crate::journal::{Folder, TopicWriter};
use crate::output::check_json_columns;
use crate::queue::{Encoder, TopicTarget, check_topic_name};
use crate::source::settings;

pub use crate::journal::Journal;

/// The write modes it can do.
const MODES: &[WriteMode] = &[WriteMode::Append, WriteMode::Merge, WriteMode::Mirror];

impl DestinationConfig for Journal {
    type Target = TopicTarget;

    const ABOUT: &'static str = "messages of a topic in a folder, without a server";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::Transaction;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(Topics { folder: self.folder(&ctx.base_dir)? }))
    }
}

/// The topics of a journal.
#[derive(Clone, Debug)]
struct Topics {
    folder: Folder,
}

/// The settings of a target, checked.
fn target(request: &WriteRequest) -> Result<TopicTarget> {
    let target: TopicTarget = settings("target", request.target.clone())?;
    check_topic_name(&target.topic)?;
    Ok(target)
}

#[async_trait]
impl Destination for Topics {
    async fn check(&self) -> Result<()> {
        let folder = self.folder.clone();
        task::compute(move || folder.check()).await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        let (folder, target, app) = (self.folder.clone(), target(request)?, request.app.clone());
        let committed = task::compute(move || folder.checkpoint(&target.topic, &app)).await?;
        Ok(Progress { committed, staged: None })
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        check_mode("journal", MODES, request.mode)?;
        let (folder, target, request) = (self.folder.clone(), target(request)?, request.clone());
        let writer = task::compute(move || JournalWriter::open(&folder, target, &request)).await?;
        Ok(Box::new(writer))
    }
}

/// An open write.
struct JournalWriter {
    topic: String,
    app: String,
    encoder: Encoder,
    /// The open topic; nothing after a failure.
    log: Option<TopicWriter>,
    counts: Written,
}

impl JournalWriter {
    fn open(folder: &Folder, target: TopicTarget, request: &WriteRequest) -> Result<Self> {
        let by_key = matches!(request.mode, WriteMode::Merge | WriteMode::Mirror);
        if by_key && request.key.is_empty() {
            return Err(Error::invalid(format!("mode {} needs a key", request.mode))
                .hint("Set `key` to the columns that identify a row."));
        }
        check_json_columns(&target.json_columns, &request.schema)?;
        let create = target.create.clone().unwrap_or_default();
        let mut config = create.config;
        if by_key {
            config.entry("cleanup.policy".to_owned()).or_insert_with(|| "compact".to_owned());
        }
        let now_ms = request.now.micros().div_euclid(1_000);
        let log = TopicWriter::open(folder, &target.topic, &config, now_ms)?;
        if by_key && !log.config.compact {
            let topic = &target.topic;
            return Err(Error::invalid(format!(
                "mode {} needs a compacted topic, which \"{topic}\" is not",
                request.mode
            ))
            .hint("Write into another topic, which is made as one, or with `append`."));
        }
        let keyed = by_key || log.config.compact;
        let encoder = Encoder::new(request, &target, keyed, log.config.message_bytes_max);
        let (topic, app) = (target.topic, request.app.clone());
        Ok(Self { topic, app, encoder, log: Some(log), counts: Written::default() })
    }

    /// Works on the topic away from the async threads; after an error nothing more is taken.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut TopicWriter) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(mut log) = self.log.take() else {
            let topic = &self.topic;
            return Err(Error::unavailable(format!("the write into \"{topic}\" failed before"))
                .hint("Open a new writer; it goes on from the last commit."));
        };
        let (log, done) = task::compute(move || {
            let done = work(&mut log)?;
            Ok((log, done))
        })
        .await?;
        self.log = Some(log);
        Ok(done)
    }
}

#[async_trait]
impl Writer for JournalWriter {
    async fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let (encoder, batch) = (self.encoder.clone(), batch.clone());
        let encode = move |log: &mut TopicWriter| {
            encoder.encode(&batch, |key, value| log.append(key, value))
        };
        let (refused, sent) = self.work(encode).await?;
        self.counts.rows_written += sent.rows_written;
        self.counts.rows_deleted += sent.rows_deleted;
        Ok(refused)
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        let (app, checkpoint) = (self.app.clone(), checkpoint.clone());
        let counts = std::mem::take(&mut self.counts);
        self.work(move |log| {
            let known = log.checkpoint(&app);
            if known.is_some_and(|known| checkpoint.sequence <= known.sequence) {
                log.abort()?;
                return Ok(Written { skipped: true, ..Written::default() });
            }
            log.commit(&app, &checkpoint)?;
            Ok(counts)
        })
        .await
    }

    async fn finish(mut self: Box<Self>) -> Result<Written> {
        self.work(TopicWriter::abort).await?;
        Ok(Written::default())
    }
}

#[cfg(test)]
mod tests;
