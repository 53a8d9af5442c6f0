//! From a write to the change of a table: which files come, which go, which columns change.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use flywheel_base::{Error, Result, Timestamp};
use futures::StreamExt;
use serde_json::json;

use super::edit::{self, Editing};
use super::history::{self, Versions};
use super::keep::Condition;
use super::staged::Staged;
use super::{Label, Lane, Surroundings, merge, waiting};
use crate::data_file::{DataWriter, unique};
use crate::log::Log;
use crate::log::action::{Add, Format, Line, MARK, Mark, Metadata, Protocol, Remove, Txn, Waiting};
use crate::shape::{self, Fit};
use crate::snapshot::{DataFile, Snapshot};
use crate::write::{Commit, Duplicates, Write, WriteMode};
use crate::{Checkpoint, Location};

/// A write whose rows have left the caller's stream: it can be decided again on a newer head.
#[derive(Debug)]
pub(crate) struct Prepared {
    around: Surroundings,
    log: Log,
    work: Work,
    /// Files of the last decision, for clearing up.
    writer: Option<DataWriter>,
}

#[derive(Debug)]
enum Work {
    /// Files are written; they are added, and with `replace` everything before them is removed.
    Files { adds: Vec<Add>, fit: Fit, rows: u64, replace: bool, base: Option<String> },
    /// Rows are at hand; which files they change is found on every head.
    Merge(Staged),
    /// Changes are at hand; they are put beside the files.
    Changes(Staged),
    /// Changes that wait in these files are at hand; which files they change is found on every head.
    Fold(Staged, Vec<String>),
    /// Rows are at hand; which versions they end is found on every head.
    History(Staged, Versions),
    /// Rows that satisfy a condition go.
    Delete(String),
    /// A statement; which rows it changes is found on every head.
    Edit(Arc<dyn Editing>),
}

/// What a commit changes.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) adds: Vec<Add>,
    pub(crate) removes: Vec<Arc<DataFile>>,
    /// The new columns, if they change or the table is made.
    pub(crate) schema: Option<arrow::datatypes::SchemaRef>,
    pub(crate) commit: Commit,
    /// Delta's own word for what was done.
    pub(crate) delta_operation: &'static str,
    /// False for maintenance, which changes no row.
    pub(crate) data_change: bool,
    /// Whether to commit even if nothing changes: a replaced table is fresh, even if it stays empty.
    pub(crate) always: bool,
    /// What becomes of changes that wait.
    pub(crate) waiting: Waits,
}

/// What a commit makes of the changes that wait.
#[derive(Debug, Default)]
pub(crate) enum Waits {
    /// They wait on.
    #[default]
    Same,
    /// These wait from here on.
    Now(Waiting),
    /// None do: they are merged, or every row went.
    Nothing,
}

impl Work {
    /// Whether it is right on a table with changes that wait: what else is written would lie below older changes.
    fn goes_with_waiting(&self) -> bool {
        matches!(self, Self::Files { replace: true, .. } | Self::Changes(_) | Self::Fold(..))
    }
}

impl Prepared {
    /// Takes the rows: into files for appends and replaces, into memory or a spill file for merges.
    pub(crate) async fn new(
        around: &Surroundings,
        log: &Log,
        head: Option<&Arc<Snapshot>>,
        write: Write,
    ) -> Result<Self> {
        if let Some(head) = head {
            head.require_writable()?;
        }
        let mut made = Self {
            around: around.clone(),
            log: log.clone(),
            work: Work::Delete(String::new()),
            writer: None,
        };
        let taken = made.take(head, write).await;
        match taken {
            Ok(work) => {
                made.work = work;
                Ok(made)
            }
            Err(error) => {
                made.discard().await;
                Err(error)
            }
        }
    }

    /// A statement that changes rows.
    pub(crate) fn edit(around: &Surroundings, log: &Log, edit: Arc<dyn Editing>) -> Self {
        Self { around: around.clone(), log: log.clone(), work: Work::Edit(edit), writer: None }
    }

    /// The merge of changes that wait in `files`; `write` has them as rows.
    pub(crate) async fn fold(
        lane: &Lane,
        head: &Arc<Snapshot>,
        write: Write,
        keyed: merge::Keyed,
        files: Vec<String>,
    ) -> Result<Self> {
        let staged =
            Staged::take(&lane.around, &lane.log.location, Some(head), write, keyed).await?;
        Ok(Self {
            around: lane.around.clone(),
            log: lane.log.clone(),
            work: Work::Fold(staged, files),
            writer: None,
        })
    }

    /// Whether changes that wait need not be merged before it is published.
    pub(crate) fn goes_with_waiting(&self) -> bool {
        self.work.goes_with_waiting()
    }

    /// Files that are written already, by `writer`.
    pub(crate) fn files(
        lane: &Lane,
        writer: DataWriter,
        adds: Vec<Add>,
        fit: Fit,
        replace: bool,
        base: Option<String>,
    ) -> Self {
        let rows = writer.rows;
        Self {
            around: lane.around.clone(),
            log: lane.log.clone(),
            work: Work::Files { adds, fit, rows, replace, base },
            writer: Some(writer),
        }
    }

    async fn take(&mut self, head: Option<&Arc<Snapshot>>, write: Write) -> Result<Work> {
        match write.mode.clone() {
            WriteMode::Append => self.write_files(head, write, false).await,
            WriteMode::Replace => self.write_files(head, write, true).await,
            WriteMode::Merge { key, duplicates } => {
                let keyed = merge::Keyed { key, duplicates, deleted: None, chained: false };
                Ok(Work::Merge(
                    Staged::take(&self.around, &self.log.location, head, write, keyed).await?,
                ))
            }
            WriteMode::MergeChanges { key, duplicates, deleted } => {
                let deleted = Some(deleted);
                let keyed = merge::Keyed { key, duplicates, deleted, chained: false };
                Ok(Work::Merge(
                    Staged::take(&self.around, &self.log.location, head, write, keyed).await?,
                ))
            }
            WriteMode::Changes { key, deleted } => {
                let (duplicates, deleted) = (Duplicates::KeepLast, Some(deleted));
                let keyed = merge::Keyed { key, duplicates, deleted, chained: false };
                Ok(Work::Changes(
                    Staged::take(&self.around, &self.log.location, head, write, keyed).await?,
                ))
            }
            WriteMode::History { key, deleted, at, complete, dated } => {
                let versions = Versions { at, complete, dated };
                let rows = history::begun(&self.log.location, write.rows, versions)?;
                let write = Write { rows, ..write };
                let duplicates = Duplicates::KeepLast;
                let keyed = merge::Keyed { key, duplicates, deleted, chained: true };
                let staged =
                    Staged::take(&self.around, &self.log.location, head, write, keyed).await?;
                Ok(Work::History(staged, versions))
            }
            WriteMode::DeleteWhere { condition } => Ok(Work::Delete(condition)),
        }
    }

    async fn write_files(
        &mut self,
        head: Option<&Arc<Snapshot>>,
        mut write: Write,
        replace: bool,
    ) -> Result<Work> {
        let location = self.log.location.clone();
        let fresh = replace && write.schema_change == crate::SchemaChange::Add;
        let table = head.map(|head| &head.schema).filter(|_| !fresh);
        let mut fit = shape::fit(&location, table, &write.rows.schema(), write.schema_change)?;
        if let Some(head) = head.filter(|head| fresh && head.schema == fit.schema) {
            fit.schema = Arc::clone(&head.schema);
            fit.changed = false;
        }
        if fit.widens {
            return Err(changed_meanwhile(&location));
        }
        let mut writer = self.new_writer(head, &fit);
        while let Some(batch) = write.rows.next().await {
            let written = match batch.and_then(|batch| shape::convert(&fit, &batch)) {
                Ok(batch) => writer.write(batch).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                self.writer = Some(writer);
                return Err(error.context(format!("table \"{location}\"")));
            }
        }
        let finished = writer.finish().await;
        let rows = writer.rows;
        self.writer = Some(writer);
        let adds = finished.map_err(|error| error.context(format!("table \"{location}\"")))?;
        let base = head.map(|head| head.metadata.schema_string.clone());
        Ok(Work::Files { adds, fit, rows, replace, base })
    }

    fn new_writer(&self, head: Option<&Arc<Snapshot>>, fit: &Fit) -> DataWriter {
        new_writer(&self.around, &self.log, head, fit)
    }

    /// Decides on `head`, writing files if the decision needs it.
    pub(crate) async fn decide(&mut self, head: Option<&Arc<Snapshot>>) -> Result<Change> {
        if let Some(head) = head {
            head.require_writable()?;
            if head.waiting.is_some() && !self.work.goes_with_waiting() {
                return Err(waiting_meanwhile(&self.log.location));
            }
        }
        match &self.work {
            Work::Files { adds, fit, rows, replace, base } => {
                let now = head.map(|head| &head.metadata.schema_string);
                if now != base.as_ref() {
                    return Err(changed_meanwhile(&self.log.location));
                }
                files_change(head, adds, fit, *rows, *replace)
            }
            Work::Merge(staged) => {
                let fit = staged.fit(&self.log.location, head)?;
                let mut writer = self.new_writer(head, &fit);
                let change = merge::decide(&self.around, staged, fit, head, &mut writer).await;
                self.writer = Some(writer);
                change
            }
            Work::Changes(staged) => {
                let Some(head) = head else { return Err(changed_meanwhile(&self.log.location)) };
                head.require_not_append_only()?;
                let fit = staged.fit(&self.log.location, Some(head))?;
                if !waiting::takes(head, staged, &fit) {
                    return Err(changed_meanwhile(&self.log.location));
                }
                let mut writer = waiting::writer(&self.around, &self.log, head, &fit.schema);
                let change = waiting::append(staged, &fit, head, &mut writer).await;
                self.writer = Some(writer);
                change
            }
            Work::Fold(staged, files) => {
                let Some(rest) = head.and_then(|head| waiting::without(head, files)) else {
                    // Another process has merged them.
                    return Ok(Change::default());
                };
                let fit = staged.fit(&self.log.location, head)?;
                let mut writer = self.new_writer(head, &fit);
                let change = merge::decide(&self.around, staged, fit, head, &mut writer).await;
                self.writer = Some(writer);
                Ok(Change { waiting: rest, ..change? })
            }
            Work::History(staged, versions) => {
                let fit = staged.fit(&self.log.location, head)?;
                let mut writer = self.new_writer(head, &fit);
                let around = &self.around;
                let change =
                    history::decide(around, staged, *versions, fit, head, &mut writer).await;
                self.writer = Some(writer);
                change
            }
            Work::Delete(condition) => {
                let Some(head) = head else {
                    return Err(Error::not_found(format!(
                        "table \"{}\" does not exist",
                        self.log.location
                    ))
                    .hint("There is nothing to delete from."));
                };
                head.require_not_append_only()?;
                let condition = Condition::new(&self.around.engine, head, condition)?;
                let mut writer = self.same_writer(head)?;
                let change = condition.decide(&self.around.store, head, &mut writer).await;
                self.writer = Some(writer);
                change
            }
            Work::Edit(edit) => {
                let head = head.ok_or_else(|| super::missing(&self.log.location))?;
                let mut writer = self.same_writer(head)?;
                let change = edit::decide(&self.around, edit.as_ref(), head, &mut writer).await;
                self.writer = Some(writer);
                change
            }
        }
    }

    /// A writer of files with the columns the table has.
    fn same_writer(&self, head: &Arc<Snapshot>) -> Result<DataWriter> {
        let refuse = crate::SchemaChange::Refuse;
        let fit = shape::fit(&self.log.location, Some(&head.schema), &head.schema, refuse)?;
        Ok(self.new_writer(Some(head), &fit))
    }

    /// Another process was faster: files of a decision on the old head are of no use.
    pub(crate) async fn retry(&mut self) {
        if !matches!(self.work, Work::Files { .. }) {
            self.discard().await;
        }
    }

    /// Leaves the files where they are, as a commit may name them.
    pub(crate) fn keep(&mut self) {
        self.writer = None;
    }

    /// Removes files that will not be committed.
    pub(crate) async fn discard(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.discard().await;
        }
    }
}

/// A writer of data files for the commit after `head`.
pub(crate) fn new_writer(
    around: &Surroundings,
    log: &Log,
    head: Option<&Arc<Snapshot>>,
    fit: &Fit,
) -> DataWriter {
    let version = head.map_or(0, |head| head.version + 1);
    DataWriter::new(
        Arc::clone(&around.store),
        log.folder.clone(),
        Arc::clone(&fit.schema),
        version,
        around.clock.now(),
    )
}

/// The columns are not those that the write was made for.
pub(super) fn changed_meanwhile(location: &Location) -> Error {
    Error::new(
        flywheel_base::ErrorKind::Unavailable,
        format!("the columns of table \"{location}\" were changed by another program meanwhile"),
    )
    .hint("Run it again.")
}

/// Changes wait on a head on which none did when the write was made.
fn waiting_meanwhile(location: &Location) -> Error {
    Error::new(
        flywheel_base::ErrorKind::Unavailable,
        format!("another program has added changes to table \"{location}\" meanwhile"),
    )
    .hint("Run it again.")
}

fn files_change(
    head: Option<&Arc<Snapshot>>,
    adds: &[Add],
    fit: &Fit,
    rows: u64,
    replace: bool,
) -> Result<Change> {
    let mut removes = Vec::new();
    let mut deleted = 0;
    if let Some(head) = head.filter(|_| replace) {
        head.require_not_append_only()?;
        deleted = head.rows().unwrap_or_default();
        removes.clone_from(&head.files);
    }
    Ok(Change {
        adds: adds.to_vec(),
        removes,
        schema: (fit.changed || head.is_none()).then(|| Arc::clone(&fit.schema)),
        commit: Commit { rows_written: rows, rows_deleted: deleted, ..Commit::default() },
        delta_operation: "WRITE",
        data_change: true,
        always: replace,
        waiting: if replace { Waits::Nothing } else { Waits::Same },
    })
}

impl Change {
    /// Whether a commit would change nothing.
    pub(crate) fn is_nothing(&self) -> bool {
        let waits_on = matches!(self.waiting, Waits::Same);
        let no_files = self.adds.is_empty() && self.removes.is_empty();
        !self.always && no_files && self.schema.is_none() && waits_on
    }

    /// The lines of the commit.
    pub(crate) fn lines(
        &self,
        head: Option<&Snapshot>,
        now: Timestamp,
        checkpoint: Option<(String, Checkpoint)>,
        label: &Label,
    ) -> Result<Vec<Line>> {
        let millis = now.micros() / 1_000;
        let mut lines = vec![Line {
            commit_info: Some(self.info(head, now, checkpoint.as_ref(), label)),
            ..Line::default()
        }];
        if head.is_none() {
            lines.push(Line { protocol: Some(Protocol::default()), ..Line::default() });
        }
        if let Some(schema) = &self.schema {
            let metadata = metadata(head, schema, millis)?;
            lines.push(Line { metadata: Some(metadata), ..Line::default() });
        }
        if let Some((app_id, checkpoint)) = checkpoint {
            let txn = Txn { app_id, version: checkpoint.sequence, last_updated: Some(millis) };
            lines.push(Line { txn: Some(txn), ..Line::default() });
        }
        for file in &self.removes {
            let remove = Remove {
                path: file.add.path.clone(),
                deletion_timestamp: Some(millis),
                data_change: self.data_change,
                extended_file_metadata: Some(true),
                partition_values: Some(file.add.partition_values.clone()),
                size: Some(file.add.size),
            };
            lines.push(Line { remove: Some(remove), ..Line::default() });
        }
        for add in &self.adds {
            let add = Add { data_change: self.data_change, ..add.clone() };
            lines.push(Line { add: Some(add), ..Line::default() });
        }
        Ok(lines)
    }

    fn info(
        &self,
        head: Option<&Snapshot>,
        now: Timestamp,
        checkpoint: Option<&(String, Checkpoint)>,
        label: &Label,
    ) -> serde_json::Value {
        let mut checkpoints = head.map(|head| head.checkpoints.clone()).unwrap_or_default();
        checkpoints.extend(checkpoint.cloned());
        let commit = &self.commit;
        let mark = Mark {
            at: now.micros(),
            operation: label.operation.clone(),
            checkpoints,
            rows_in: Some(commit.rows_written),
            rows_out: Some(commit.rows_updated + commit.rows_deleted),
            properties: label.properties.clone(),
            waiting: match &self.waiting {
                Waits::Same => head.and_then(|head| head.waiting.clone()),
                Waits::Now(waiting) => Some(waiting.clone()),
                Waits::Nothing => None,
            },
        };
        json!({
            "timestamp": now.micros() / 1_000,
            "operation": self.delta_operation,
            "operationParameters": {},
            "isBlindAppend": self.removes.is_empty(),
            "engineInfo": concat!("flywheel/", env!("CARGO_PKG_VERSION")),
            "operationMetrics": {
                "numFiles": self.adds.len().to_string(),
                "numRemovedFiles": self.removes.len().to_string(),
                "numOutputRows": commit.rows_written.to_string(),
            },
            MARK: mark,
        })
    }
}

fn metadata(
    head: Option<&Snapshot>,
    schema: &arrow::datatypes::SchemaRef,
    now: i64,
) -> Result<Metadata> {
    let encode = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::internal("the columns cannot be described to Delta").caused_by(error)
    };
    let delta: StructType = schema.as_ref().try_into_kernel().map_err(|e| encode(Box::new(e)))?;
    let schema_string = serde_json::to_string(&delta).map_err(|e| encode(Box::new(e)))?;
    Ok(match head {
        Some(head) => Metadata { schema_string, ..head.metadata.clone() },
        None => Metadata {
            id: unique(),
            name: None,
            description: None,
            format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
            schema_string,
            partition_columns: Vec::new(),
            configuration: BTreeMap::new(),
            created_time: Some(now),
        },
    })
}
