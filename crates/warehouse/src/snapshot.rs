//! A table pinned to a version: its columns, files and checkpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::MemoryPool;
use flywheel_base::{Error, Result, Timestamp};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::OnceCell;

use crate::lane::Newest;
use crate::log::action::{Add, Metadata, Protocol, Waiting};
use crate::log::stats::FileStats;
use crate::{Checkpoint, Location, TableState, WaitingChanges};

/// Table features whose data files read like any other.
const READABLE: [&str; 3] = ["timestampNtz", "vacuumProtocolCheck", "v2Checkpoint"];
/// Table features this crate's writes cannot break.
const WRITABLE: [&str; 4] = ["appendOnly", "invariants", "timestampNtz", "vacuumProtocolCheck"];

/// A data file of a table.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// What the log says of it.
    pub(crate) add: Add,
    /// Where it lies in the store.
    pub(crate) path: Path,
    stats: OnceLock<FileStats>,
}

impl DataFile {
    pub(crate) fn new(folder: &Path, add: Add) -> Result<Self> {
        let relative = Path::from_url_path(&add.path);
        let absolute = add.path.contains("://") || add.path.starts_with('/');
        match relative {
            Ok(relative) if !absolute => {
                let path = folder.parts().chain(relative.parts()).collect();
                Ok(Self { add, path, stats: OnceLock::new() })
            }
            _ => Err(Error::invalid(format!("data file \"{}\" lies outside its table", add.path))
                .hint("Shallow clones are not supported; copy the table in full.")),
        }
    }

    /// The parsed statistics.
    pub(crate) fn stats(&self, schema: &SchemaRef) -> &FileStats {
        self.stats.get_or_init(|| FileStats::parse(self.add.stats.as_deref(), schema))
    }

    /// The number of rows, if the log tells.
    pub(crate) fn rows(&self, schema: &SchemaRef) -> Option<u64> {
        match self.add.deletion_vector {
            None => self.stats(schema).rows,
            Some(_) => None,
        }
    }
}

/// A table at one version.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) location: Location,
    /// The table's folder in the store.
    pub(crate) folder: Path,
    pub(crate) version: i64,
    pub(crate) committed_at: Timestamp,
    pub(crate) protocol: Protocol,
    pub(crate) metadata: Metadata,
    pub(crate) schema: SchemaRef,
    /// Sorted by path, which is commit order for files of this crate: the row order without ORDER BY
    /// does not depend on how the log was read.
    pub(crate) files: Vec<Arc<DataFile>>,
    pub(crate) checkpoints: BTreeMap<String, Checkpoint>,
    /// Changes that are not merged into the files yet: the table's rows are those of both.
    pub(crate) waiting: Option<Waiting>,
    /// What those changes amount to, once somebody had to know.
    pub(crate) newest: OnceCell<Arc<Newest>>,
    /// Tells this head commit's file from another one of the same version.
    pub(crate) identity: String,
}

impl Snapshot {
    /// The number of rows, if every file tells and no changes wait.
    pub(crate) fn rows(&self) -> Option<u64> {
        if self.waiting.is_some() {
            return None;
        }
        self.files.iter().map(|file| file.rows(&self.schema)).sum()
    }

    /// The files of the changes that wait, the oldest first.
    pub(crate) fn waiting_files(&self) -> Result<Vec<Arc<DataFile>>> {
        let files = self.waiting.iter().flat_map(|waiting| &waiting.files);
        files.map(|file| DataFile::new(&self.folder, file.add()).map(Arc::new)).collect()
    }

    /// The changes that wait, the newest of each key; none if none wait. They are looked at once and kept.
    ///
    /// # Errors
    /// Those of the store; [`flywheel_base::ErrorKind::Exhausted`] if their keys do not fit into memory.
    pub(crate) async fn newest(
        &self,
        store: &Arc<dyn ObjectStore>,
        memory: &Arc<dyn MemoryPool>,
    ) -> Result<Option<Arc<Newest>>> {
        let Some(waiting) = &self.waiting else { return Ok(None) };
        let find = || async {
            let files = self.waiting_files()?;
            Newest::find(store, memory, &self.schema, &waiting.key, files).await.map(Arc::new)
        };
        self.newest.get_or_try_init(find).await.map(|newest| Some(Arc::clone(newest)))
    }

    /// What others may know.
    pub(crate) fn state(&self) -> TableState {
        TableState {
            version: self.version,
            committed_at: self.committed_at,
            schema: SchemaRef::clone(&self.schema),
            rows: self.rows(),
            files: self.files.len(),
            bytes: self.files.iter().map(|file| file.add.size.unsigned_abs()).sum(),
            checkpoints: self.checkpoints.clone(),
            waiting: self.waiting.as_ref().map_or_else(WaitingChanges::default, |waiting| {
                WaitingChanges {
                    files: waiting.files.len(),
                    rows: waiting.files.iter().map(|file| file.rows).sum(),
                    bytes: waiting.files.iter().map(|file| file.size.unsigned_abs()).sum(),
                }
            }),
        }
    }

    /// Whether the files can be read as plain Parquet.
    pub(crate) fn plain(&self) -> bool {
        let protocol = &self.protocol;
        let features = protocol.reader_features.iter().flatten();
        let known = match protocol.min_reader_version {
            1 => true,
            3 => features.clone().all(|feature| {
                READABLE.contains(&feature.as_str()) || feature == "deletionVectors"
            }),
            _ => false,
        };
        let mapped = self.metadata.configuration.get("delta.columnMapping.mode");
        known
            && mapped.is_none_or(|mode| mode == "none")
            && self.files.iter().all(|file| file.add.deletion_vector.is_none())
    }

    /// Refuses tables whose rules this crate's writes could break.
    pub(crate) fn require_writable(&self) -> Result<()> {
        let protocol = &self.protocol;
        let unknown = match protocol.min_writer_version {
            ..=2 => None,
            7 => protocol
                .writer_features
                .iter()
                .chain(protocol.reader_features.iter())
                .flatten()
                .find(|feature| !WRITABLE.contains(&feature.as_str()))
                .cloned(),
            version => Some(format!("writer version {version}")),
        };
        let reason = if let Some(feature) = unknown {
            format!("uses the Delta feature {feature}")
        } else if !self.plain() {
            "uses deletion vectors or column mapping".to_owned()
        } else if !self.metadata.partition_columns.is_empty() {
            "is partitioned".to_owned()
        } else if self.metadata.schema_string.contains("delta.invariants") {
            "has Delta invariants".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("table \"{}\" {reason} and can only be read", self.location))
            .hint("Write it with the program that made it, or write to a table of your own."))
    }

    /// Whether rows may be removed.
    pub(crate) fn require_not_append_only(&self) -> Result<()> {
        let append_only = self.metadata.configuration.get("delta.appendOnly");
        if append_only.is_none_or(|value| value != "true") {
            return Ok(());
        }
        Err(Error::invalid(format!("table \"{}\" is append-only", self.location))
            .hint("Append to it, or drop its property delta.appendOnly."))
    }
}
