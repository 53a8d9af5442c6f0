//! The lines of a Delta log, as far as this crate reads and writes them.

use std::collections::BTreeMap;

use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Checkpoint;

/// The key of our own part of a commit's `commitInfo`.
pub(crate) const MARK: &str = "flywheel";
/// The tag of a data file's BLAKE3 digest.
pub(crate) const DIGEST_TAG: &str = "flywheel.blake3";

/// One line: exactly one of the fields is there, or none for an action we do not know.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Line {
    #[serde(rename = "commitInfo", default, skip_serializing_if = "Option::is_none")]
    pub(crate) commit_info: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Protocol>,
    #[serde(rename = "metaData", default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) txn: Option<Txn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) add: Option<Add>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remove: Option<Remove>,
    #[serde(default, skip_serializing)]
    pub(crate) sidecar: Option<Value>,
}

/// What a program must understand to read or write the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub(crate) min_reader_version: i32,
    pub(crate) min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) writer_features: Option<Vec<String>>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            min_reader_version: 1,
            min_writer_version: 2,
            reader_features: None,
            writer_features: None,
        }
    }
}

/// The table's columns and settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) format: Format,
    pub(crate) schema_string: String,
    #[serde(default)]
    pub(crate) partition_columns: Vec<String>,
    #[serde(default)]
    pub(crate) configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_time: Option<i64>,
}

/// The format of the data files; always Parquet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) provider: String,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

/// How far an application has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Txn {
    pub(crate) app_id: String,
    pub(crate) version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_updated: Option<i64>,
}

/// A data file that belongs to the table from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    /// Relative to the table's folder, URI-encoded.
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) partition_values: BTreeMap<String, Option<String>>,
    pub(crate) size: i64,
    pub(crate) modification_time: i64,
    #[serde(default)]
    pub(crate) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_vector: Option<Value>,
}

/// A data file that no longer belongs to the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    /// Relative to the table's folder, URI-encoded.
    pub(crate) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_timestamp: Option<i64>,
    #[serde(default)]
    pub(crate) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<i64>,
}

/// Our own part of `commitInfo`: all that the newest commit must tell without its ancestors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// When, by the lake's clock, in microseconds.
    pub(crate) at: i64,
    pub(crate) operation: String,
    /// Every application's last checkpoint, carried on by every commit.
    #[serde(default)]
    pub(crate) checkpoints: BTreeMap<String, Checkpoint>,
    #[serde(default)]
    pub(crate) rows_in: Option<u64>,
    #[serde(default)]
    pub(crate) rows_out: Option<u64>,
    #[serde(default)]
    pub(crate) properties: BTreeMap<String, Value>,
    /// The changes that wait beside the data files, carried on by every commit until they are merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<Waiting>,
}

/// Changes that lie beside a table's data files until they are merged into them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    /// The columns that identify a row.
    pub(crate) key: Vec<String>,
    /// The files of changes, the oldest first. No key is twice in one of them.
    pub(crate) files: Vec<WaitingFile>,
}

/// A file of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingFile {
    /// Relative to the table's folder.
    pub(crate) path: String,
    /// In bytes.
    pub(crate) size: i64,
    /// How many changes it has.
    pub(crate) rows: u64,
    /// The BLAKE3 digest in hexadecimal digits.
    #[serde(default)]
    pub(crate) digest: Option<String>,
}

impl WaitingFile {
    /// The file as if it were a data file of the table.
    pub(crate) fn add(&self) -> Add {
        Add {
            path: self.path.clone(),
            partition_values: BTreeMap::new(),
            size: self.size,
            modification_time: 0,
            data_change: false,
            stats: None,
            tags: Some(BTreeMap::from([(DIGEST_TAG.to_owned(), self.digest.clone())])),
            deletion_vector: None,
        }
    }
}

/// The files of changes that a commit of ours names.
pub(crate) fn waiting_files(info: &Value) -> Option<Vec<WaitingFile>> {
    mark_of(info).map(|mark| mark.waiting.map_or_else(Vec::new, |waiting| waiting.files))
}

/// Our mark in a `commitInfo`, if this crate wrote it.
pub(crate) fn mark_of(info: &Value) -> Option<Mark> {
    info.get(MARK).and_then(|mark| Mark::deserialize(mark).ok())
}

/// When a commit was made: by our clock, else by the time Delta writers store.
pub(crate) fn time_of(info: &Value) -> Option<Timestamp> {
    if let Some(mark) = mark_of(info) {
        return Some(Timestamp::from_micros(mark.at));
    }
    let millis = info.get("inCommitTimestamp").or_else(|| info.get("timestamp"))?.as_i64()?;
    Some(Timestamp::from_micros(millis.saturating_mul(1_000)))
}
