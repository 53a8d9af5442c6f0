//! Adds up a log's actions to the table they describe.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoArrow as _;
use flywheel_base::{Error, Result, Timestamp};
use object_store::ObjectMeta;
use object_store::path::Path;
use tokio::sync::OnceCell;

use super::action::{self, Line, Metadata, Protocol, Txn, Waiting};
use super::{Log, identity_of, modified};
use crate::Checkpoint;
use crate::shape;
use crate::snapshot::{DataFile, Snapshot};

/// The table so far.
#[derive(Debug)]
pub(crate) struct Replay {
    folder: Path,
    version: i64,
    at: Timestamp,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    /// The schema of `metadata`, if it is known already.
    schema: Option<SchemaRef>,
    files: BTreeMap<String, Arc<DataFile>>,
    checkpoints: BTreeMap<String, Checkpoint>,
    /// Changes that wait beside the files. Another program's commit leaves them as they are.
    waiting: Option<Waiting>,
    identity: String,
    /// Whether a commit of ours was seen, whose checkpoints are complete.
    marked: bool,
}

impl Replay {
    pub(crate) fn new(log: &Log) -> Self {
        Self {
            folder: log.folder.clone(),
            version: -1,
            at: Timestamp::default(),
            protocol: None,
            metadata: None,
            schema: None,
            files: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            waiting: None,
            identity: String::new(),
            marked: false,
        }
    }

    /// Goes on where a snapshot ends.
    pub(crate) fn from_snapshot(last: &Snapshot) -> Self {
        let files = last.files.iter().map(|file| (file.add.path.clone(), Arc::clone(file)));
        Self {
            folder: last.folder.clone(),
            version: last.version,
            at: last.committed_at,
            protocol: Some(last.protocol.clone()),
            metadata: Some(last.metadata.clone()),
            schema: Some(SchemaRef::clone(&last.schema)),
            files: files.collect(),
            checkpoints: last.checkpoints.clone(),
            waiting: last.waiting.clone(),
            identity: last.identity.clone(),
            marked: true,
        }
    }

    /// Whether the checkpoints are complete.
    pub(crate) fn marked(&self) -> bool {
        self.marked
    }

    /// Takes a checkpoint's lines, which come in no order.
    pub(crate) fn restore(&mut self, version: i64, lines: Vec<Line>) -> Result<()> {
        self.version = version;
        for line in lines {
            if line.sidecar.is_some() {
                return Err(Error::invalid("the log has checkpoints in sidecar files").hint(
                    "Rewrite the checkpoint as a classic one, without the feature v2Checkpoint.",
                ));
            }
            self.take(line)?;
        }
        Ok(())
    }

    /// Takes the commit that made `version`.
    pub(crate) fn apply(
        &mut self,
        version: i64,
        lines: Vec<Line>,
        meta: &ObjectMeta,
    ) -> Result<()> {
        self.version = version;
        self.identity = identity_of(meta);
        self.at = modified(meta);
        let info = lines.iter().find_map(|line| line.commit_info.as_ref());
        if let Some(info) = info {
            self.at = action::time_of(info).unwrap_or(self.at);
            if let Some(mark) = action::mark_of(info) {
                self.checkpoints = mark.checkpoints;
                self.waiting = mark.waiting;
                self.marked = true;
            }
        }
        let (removes, others): (Vec<Line>, Vec<Line>) =
            lines.into_iter().partition(|line| line.remove.is_some());
        for line in removes.into_iter().chain(others) {
            self.take(line)?;
        }
        Ok(())
    }

    fn take(&mut self, line: Line) -> Result<()> {
        if let Some(remove) = line.remove {
            self.files.remove(&remove.path);
        }
        if let Some(add) = line.add {
            let file = DataFile::new(&self.folder, add)?;
            self.files.insert(file.add.path.clone(), Arc::new(file));
        }
        if let Some(txn) = line.txn {
            self.take_txn(txn);
        }
        self.protocol = line.protocol.or_else(|| self.protocol.take());
        if line.metadata.is_some() && line.metadata != self.metadata {
            self.metadata = line.metadata;
            self.schema = None;
        }
        Ok(())
    }

    /// A `txn` another program wrote has a sequence but no position we could know.
    fn take_txn(&mut self, txn: Txn) {
        let known = self.checkpoints.get(&txn.app_id).map(|checkpoint| checkpoint.sequence);
        if known.is_none_or(|sequence| sequence < txn.version) {
            let position = serde_json::Value::Null;
            self.checkpoints.insert(txn.app_id, Checkpoint { sequence: txn.version, position });
        }
    }

    /// Takes positions from an older commit of ours, where the sequences agree.
    pub(crate) fn adopt_mark(&mut self, lines: &[Line], meta: &ObjectMeta) -> bool {
        let info = lines.iter().find_map(|line| line.commit_info.as_ref());
        if self.identity.is_empty() {
            self.identity = identity_of(meta);
            self.at = info.and_then(action::time_of).unwrap_or_else(|| modified(meta));
        }
        let Some(mark) = info.and_then(action::mark_of) else { return false };
        for (app, checkpoint) in mark.checkpoints {
            match self.checkpoints.get(&app) {
                Some(known) if known.sequence > checkpoint.sequence => {}
                _ => {
                    self.checkpoints.insert(app, checkpoint);
                }
            }
        }
        self.waiting = mark.waiting;
        self.marked = true;
        true
    }

    /// The table, once everything is added up.
    pub(crate) fn finish(self, log: &Log, version: i64) -> Result<Snapshot> {
        let location = log.location.clone();
        let damaged = |what: &str| {
            Error::corrupt(format!("the log of table \"{location}\" has no {what}"))
                .hint("Restore the table's folder from a backup.")
        };
        let protocol = self.protocol.ok_or_else(|| damaged("protocol"))?;
        let metadata = self.metadata.ok_or_else(|| damaged("columns"))?;
        let schema = match self.schema {
            Some(schema) => schema,
            None => Arc::new(
                schema_of(&metadata)
                    .map_err(|error| damaged("columns that can be read").caused_by(error))?,
            ),
        };
        let stale = self.version != version;
        debug_assert!(!stale, "replayed {} instead of {version}", self.version);
        let mut files: Vec<Arc<DataFile>> = self.files.into_values().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Snapshot {
            location,
            folder: self.folder,
            version,
            committed_at: self.at,
            protocol,
            metadata,
            schema,
            files,
            checkpoints: self.checkpoints,
            waiting: self.waiting,
            identity: self.identity,
            newest: OnceCell::new(),
        })
    }
}

/// The Arrow schema of a table's columns, as queries see it.
fn schema_of(metadata: &Metadata) -> Result<Schema> {
    let delta: StructType = serde_json::from_str(&metadata.schema_string)
        .map_err(|error| Error::corrupt("the schema is not JSON").caused_by(error))?;
    let arrow: Schema = (&delta)
        .try_into_arrow()
        .map_err(|error| Error::corrupt("the schema has an unknown type").caused_by(error))?;
    Ok(shape::without_metadata(&arrow))
}
