//! One table inside the process: its newest snapshot, and the single lane its writers queue in.
//!
//! A write reads the head, writes data files, and publishes one commit. If another process was
//! faster, the write is decided again on the new head, a few times. In the process itself the lane
//! keeps writers from ever meeting.

mod changes;
mod decide;
mod edit;
mod frozen;
mod history;
mod keep;
mod load;
mod merge;
mod parked;
mod staged;
mod waiting;
mod widen;

pub(crate) mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use flywheel_base::{Clock, Error, ErrorKind, Result, Timestamp, entropy};
use object_store::ObjectStore;

use crate::data_file::DataWriter;
use crate::log::Log;
use crate::shape::Fit;
use crate::snapshot::Snapshot;
use crate::write::{Commit, Write};
use crate::{Checkpoint, CommitRecord, Location};

pub use self::changes::DELETED;
pub(crate) use self::changes::changes;
use self::decide::Prepared;
pub(crate) use self::decide::{Change, Waits};
pub use self::edit::Verb;
pub(crate) use self::edit::{Assigned, Clause, Editing, Steps, unknown_column};
pub use self::history::{VALID_FROM, VALID_TO, dated};
pub use self::load::Load;
pub use self::parked::Reading;
pub(crate) use self::waiting::Newest;

/// How often a write is decided again after another process was faster.
const ATTEMPTS_MAX: usize = 20;
/// The longest pause before another attempt, in milliseconds. Each lasts by chance up to twice as long as the one before,
/// so that of two writers not always the same one is late.
const PAUSE_MAX_MS: u64 = 128;
/// How many older snapshots are kept for time travel.
const PINNED_MAX: usize = 8;
/// A checkpoint is written when a version is divisible by this.
const CHECKPOINT_EVERY: i64 = 100;

/// What a lane needs from the lake.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) root: std::path::PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: Arc<crate::engine::Engine>,
}

/// A table of this lake.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) log: Log,
    around: Surroundings,
    queue: tokio::sync::Mutex<()>,
    head: Mutex<Option<Arc<Snapshot>>>,
    pinned: Mutex<BTreeMap<i64, Arc<Snapshot>>>,
    records: Mutex<BTreeMap<i64, CommitRecord>>,
    /// Every snapshot handed out, so that maintenance knows which files queries may still read.
    handed_out: Mutex<Vec<Weak<Snapshot>>>,
    /// Files of changes that are being merged beside the queue, so that nobody puts them together meanwhile.
    merging: Mutex<BTreeSet<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    pub(crate) fn new(log: Log, around: Surroundings) -> Self {
        Self {
            log,
            around,
            queue: tokio::sync::Mutex::new(()),
            head: Mutex::new(None),
            pinned: Mutex::new(BTreeMap::new()),
            records: Mutex::new(BTreeMap::new()),
            handed_out: Mutex::new(Vec::new()),
            merging: Mutex::default(),
        }
    }

    fn location(&self) -> &Location {
        &self.log.location
    }

    /// The newest snapshot, other processes' commits included.
    pub(crate) async fn head(&self) -> Result<Option<Arc<Snapshot>>> {
        let known = locked(&self.head).clone();
        let fresh = match &known {
            Some(known) => self.log.follow(known).await?,
            None => self.log.load(None).await?.map(Arc::new),
        };
        if let (Some(known), Some(fresh)) = (&known, &fresh) {
            if Arc::ptr_eq(known, fresh) {
                return Ok(Some(Arc::clone(known)));
            }
            if fresh.version <= known.version {
                self.forget();
            }
        }
        Ok(self.remember(fresh))
    }

    /// The table was made anew below us: nothing known of its past holds.
    fn forget(&self) {
        locked(&self.pinned).clear();
        locked(&self.records).clear();
        *locked(&self.head) = None;
    }

    fn remember(&self, fresh: Option<Arc<Snapshot>>) -> Option<Arc<Snapshot>> {
        let mut head = locked(&self.head);
        let newer = match (&*head, &fresh) {
            (Some(known), Some(fresh)) => fresh.version > known.version,
            _ => true,
        };
        if newer {
            head.clone_from(&fresh);
        }
        if let Some(fresh) = &fresh {
            self.track(fresh);
        }
        fresh
    }

    fn track(&self, snapshot: &Arc<Snapshot>) {
        let mut handed_out = locked(&self.handed_out);
        handed_out.retain(|weak| weak.strong_count() > 0);
        handed_out.push(Arc::downgrade(snapshot));
    }

    /// The table at `version`, or at its head.
    pub(crate) async fn at(&self, version: Option<i64>) -> Result<Arc<Snapshot>> {
        let head = self.head().await?.ok_or_else(|| self.missing())?;
        let Some(version) = version.filter(|version| *version != head.version) else {
            return Ok(head);
        };
        if let Some(snapshot) = locked(&self.pinned).get(&version) {
            return Ok(Arc::clone(snapshot));
        }
        let loaded = self.log.load(Some(version)).await?.ok_or_else(|| self.missing())?;
        let snapshot = Arc::new(loaded);
        self.track(&snapshot);
        let mut pinned = locked(&self.pinned);
        while pinned.len() >= PINNED_MAX {
            pinned.pop_first();
        }
        pinned.insert(version, Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn missing(&self) -> Error {
        missing(self.location())
    }

    /// Every commit that is still kept, in order.
    pub(crate) async fn history(&self) -> Result<Vec<CommitRecord>> {
        if self.head().await?.is_none() {
            return Err(self.missing());
        }
        let known: BTreeSet<i64> = locked(&self.records).keys().copied().collect();
        let fresh = self.log.records(&known).await?;
        let mut records = locked(&self.records);
        records.extend(fresh.into_iter().map(|record| (record.version, record)));
        Ok(records.values().cloned().collect())
    }

    /// Writes and publishes one commit.
    pub(crate) async fn write(&self, mut write: Write) -> Result<Commit> {
        let _lane = self.queue.lock().await;
        let head = self.head().await?;
        if let Some(done) = self.committed_before(head.as_ref(), write.checkpoint.as_ref()) {
            return Ok(done);
        }
        let head = Box::pin(self.make_way(head, &mut write)).await?;
        let head =
            if write.widens() { Box::pin(self.widen(&write.rows.schema())).await? } else { head };
        let checkpoint = write.checkpoint.clone();
        let label =
            Label { operation: write.operation.clone(), properties: write.properties.clone() };
        let prepared = Prepared::new(&self.around, &self.log, head.as_ref(), write).await?;
        Box::pin(self.publish_or_discard(prepared, checkpoint, &label)).await
    }

    /// Changes rows as a statement says and publishes one commit. What the statement reads of this table
    /// is what it changes: no writer of this process comes in between, and after one of another process
    /// it is decided again.
    pub(crate) async fn edit(&self, edit: Arc<dyn Editing>) -> Result<Commit> {
        let _lane = self.queue.lock().await;
        let head = self.head().await?.ok_or_else(|| self.missing())?;
        head.require_writable()?;
        // The places of rows that an edit names are those of data files.
        Box::pin(self.fold()).await?;
        let label = Label { operation: edit.verb().name().to_owned(), properties: BTreeMap::new() };
        let prepared = Prepared::edit(&self.around, &self.log, edit);
        Box::pin(self.publish_or_discard(prepared, None, &label)).await
    }

    /// Makes the table from `write`, which appends; `None` if there is one.
    pub(crate) async fn create(&self, write: Write) -> Result<Option<Commit>> {
        let _lane = self.queue.lock().await;
        if self.head().await?.is_some() {
            return Ok(None);
        }
        let label = Label { operation: write.operation.clone(), properties: BTreeMap::new() };
        let prepared = Prepared::new(&self.around, &self.log, None, write).await?;
        Box::pin(self.publish_or_discard(prepared, None, &label)).await.map(Some)
    }

    /// Publishes files that were written outside the lane.
    async fn commit_prepared(
        &self,
        prepared: Prepared,
        checkpoint: Option<(String, Checkpoint)>,
        operation: &str,
    ) -> Result<Commit> {
        let _lane = self.queue.lock().await;
        if !prepared.goes_with_waiting() {
            Box::pin(self.fold()).await?;
        }
        let label = Label { operation: operation.to_owned(), properties: BTreeMap::new() };
        Box::pin(self.publish_or_discard(prepared, checkpoint, &label)).await
    }

    async fn publish_or_discard(
        &self,
        mut prepared: Prepared,
        checkpoint: Option<(String, Checkpoint)>,
        label: &Label,
    ) -> Result<Commit> {
        let outcome = self.publish(&mut prepared, checkpoint, label).await;
        if outcome.is_err() {
            prepared.discard().await;
        }
        outcome
    }

    /// A writer of data files for the commit after `head`.
    fn new_writer(&self, head: Option<&Arc<Snapshot>>, fit: &Fit) -> DataWriter {
        decide::new_writer(&self.around, &self.log, head, fit)
    }

    async fn publish(
        &self,
        prepared: &mut Prepared,
        checkpoint: Option<(String, Checkpoint)>,
        label: &Label,
    ) -> Result<Commit> {
        let mut last = None;
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                pause(attempt).await?;
            }
            let head = self.head().await?;
            if let Some(done) = self.committed_before(head.as_ref(), checkpoint.as_ref()) {
                prepared.discard().await;
                return Ok(done);
            }
            let change = prepared.decide(head.as_ref()).await?;
            if change.is_nothing() && checkpoint.is_none() {
                let (version, files) = head.map_or((0, 0), |head| (head.version, head.files.len()));
                return Ok(Commit { version, files_kept: files as u64, ..change.commit });
            }
            let version = head.as_ref().map_or(0, |head| head.version + 1);
            let files = head.as_ref().map_or(0, |head| head.files.len());
            let commit = Commit {
                version,
                files_added: change.adds.len() as u64,
                files_removed: change.removes.len() as u64,
                files_kept: files.saturating_sub(change.removes.len()) as u64,
                ..change.commit.clone()
            };
            let lines = change.lines(
                head.as_deref(),
                self.around.clock.now(),
                checkpoint.clone(),
                label,
            )?;
            match self.log.publish(version, &lines).await {
                Ok(()) => {
                    self.after(version).await;
                    return Ok(commit);
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    prepared.retry().await;
                    last = Some(error);
                }
                Err(error) => return Err(self.undecided(version, prepared, error).await),
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("table \"{}\" is written by another program all the time", self.location()),
        )
        .hint("Let one program write it, or try again when the other one pauses.")
        .caused_by(last.unwrap_or_else(|| Error::internal("no attempt was made"))))
    }

    /// A commit that failed after it got its name is visible: its files must stay.
    async fn undecided(&self, version: i64, prepared: &mut Prepared, error: Error) -> Error {
        match self.log.identity(version).await {
            Ok(None) => error,
            _ => {
                prepared.keep();
                error.context(format!(
                    "version {version} of table \"{}\" is visible but may not survive a power cut",
                    self.location()
                ))
            }
        }
    }

    /// What a write whose checkpoint is committed already amounts to.
    fn committed_before(
        &self,
        head: Option<&Arc<Snapshot>>,
        checkpoint: Option<&(String, Checkpoint)>,
    ) -> Option<Commit> {
        let (head, (app, checkpoint)) = (head?, checkpoint?);
        let known = head.checkpoints.get(app)?;
        let skipped = checkpoint.sequence <= known.sequence;
        skipped.then(|| Commit { version: head.version, skipped: true, ..Commit::default() })
    }

    /// The commit is durable; what fails now must not be taken for its failure.
    async fn after(&self, version: i64) {
        if let Err(error) = self.head().await {
            tracing::warn!(table = %self.location(), error = %error, "new head cannot be read");
        }
        if version > 0
            && version % CHECKPOINT_EVERY == 0
            && let Err(error) = self.checkpoint(version).await
        {
            tracing::warn!(table = %self.location(), error = %error, "no checkpoint written");
        }
    }

    /// Publishes a change of maintenance, which no writer may come between.
    pub(crate) async fn publish_upkeep(
        &self,
        base: &Snapshot,
        change: &Change,
        operation: &str,
    ) -> Result<i64> {
        let label = Label { operation: operation.to_owned(), properties: BTreeMap::new() };
        let lines = change.lines(Some(base), self.around.clock.now(), None, &label)?;
        self.log.publish(base.version + 1, &lines).await?;
        self.after(base.version + 1).await;
        Ok(base.version + 1)
    }

    fn now(&self) -> Timestamp {
        self.around.clock.now()
    }
}

/// Waits before another attempt at a commit.
async fn pause(attempt: usize) -> Result<()> {
    let most = (1_u64 << attempt.min(16)).min(PAUSE_MAX_MS) * 1_000;
    let micros = u64::from_le_bytes(entropy::bytes::<8>()?) % most;
    tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
    Ok(())
}

fn missing(location: &Location) -> Error {
    Error::not_found(format!("table \"{location}\" does not exist"))
        .hint("Run the sync or the model that makes it.")
}

/// How a commit is called in the history.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) operation: String,
    pub(crate) properties: BTreeMap<String, serde_json::Value>,
}
