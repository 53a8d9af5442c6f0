//! What is known of a table: its state at a version, its history, and notices about it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::datatypes::SchemaRef;
use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Location;

/// How far an application has come, committed with the rows it wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Counts the application's commits to this table; a write whose sequence is not larger than the
    /// committed one is skipped.
    pub sequence: i64,
    /// The application's own position (an offset, a cursor, a log position); never interpreted here.
    pub position: serde_json::Value,
}

/// A table at one version.
#[derive(Clone, Debug)]
pub struct TableState {
    /// The Delta version.
    pub version: i64,
    /// When that version was committed, by the lake's clock.
    pub committed_at: Timestamp,
    /// The columns.
    pub schema: SchemaRef,
    /// The number of rows; `None` if a file written by another program does not tell, or changes wait.
    pub rows: Option<u64>,
    /// The number of data files.
    pub files: usize,
    /// The size of the data files in bytes.
    pub bytes: u64,
    /// The last committed checkpoint of every application that wrote one.
    pub checkpoints: BTreeMap<String, Checkpoint>,
    /// The changes that are not merged into the data files yet.
    pub waiting: WaitingChanges,
}

/// Changes that lie beside a table's data files until they are merged into them. Readers of the lake see the table as if
/// they were merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitingChanges {
    /// Their files.
    pub files: usize,
    /// How many they are; a key that changed in several commits counts as often.
    pub rows: u64,
    /// The size of their files in bytes.
    pub bytes: u64,
}

/// One entry of a table's history.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitRecord {
    /// The Delta version this commit made.
    pub version: i64,
    /// When it was committed, by the clock of the lake that wrote it.
    pub at: Timestamp,
    /// What was done, in the writer's words.
    pub operation: String,
    /// Rows in the files the commit added; `None` if not told.
    pub rows_in: Option<u64>,
    /// Rows in the files the commit removed; `None` if not told.
    pub rows_out: Option<u64>,
    /// The properties given with the write; empty for other programs' commits.
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// All that a table is read from, at one version: what a backup takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The table.
    pub location: Location,
    /// The version; what comes after it is not in the files.
    pub version: i64,
    /// The table's folder.
    pub folder: PathBuf,
    /// The files, of the log and of rows. No file with such a name ever changes, but it may go away.
    pub files: Vec<FrozenFile>,
    /// Data files that the version is read from and that are not there.
    pub gone: Vec<String>,
}

/// A file of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenFile {
    /// The path below the table's folder, with `/` between the parts.
    pub name: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The BLAKE3 digest in hexadecimal digits that was committed with the file; none if it was not told.
    pub digest: Option<String>,
}

/// Something a person should know about the lake, such as a torn commit that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The table it is about.
    pub table: Location,
    /// What was found.
    pub what: String,
    /// The file the evidence was moved to, relative to the lake's root.
    pub moved_to: Option<String>,
    /// What it means for the user and what to do.
    pub meaning: String,
}
