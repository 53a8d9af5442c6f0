//! What a source hands over: rows, where they came from, what was set aside, and the position that
//! is true once all of it is committed.

mod build;

use std::borrow::Cow;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result, digest};
use serde::{Deserialize, Serialize};

pub(crate) use build::{Column, PageBuilder, TableSchema};

/// How much of a row that was set aside is kept.
pub const RAW_BYTES_MAX: usize = 4 * 1024;

/// The name of the lineage column that holds the file.
pub const FILE_COLUMN: &str = "_file";

/// The name of the lineage column that holds the line.
pub const LINE_COLUMN: &str = "_line";

/// The boolean column of changes that tells the rows that are gone.
pub const DELETED_COLUMN: &str = "_deleted";

/// Rows read together, and the position that is true once they are committed.
///
/// The caller commits `batch`, `rejected` and `position` in one act; then a crash neither loses nor
/// repeats a row. A page may have no rows: it then carries notices or a newer position.
#[derive(Debug)]
pub struct Page {
    /// The rows. From one page to the next the schema can gain columns, and a column of numbers a type
    /// that holds more; it never loses one or changes it otherwise.
    pub batch: RecordBatch,
    /// Where the rows came from, as runs of consecutive lines.
    pub origin: Vec<Origin>,
    /// The rows that could not be decoded.
    pub rejected: Vec<Rejected>,
    /// What a person should know about the read; nothing was lost.
    pub notices: Vec<Notice>,
    /// Where to go on after this page.
    pub position: Position,
}

impl Page {
    /// The file (or table) and line (or row number) of a row of this page.
    #[must_use]
    pub fn trace(&self, row: usize) -> Option<(&str, u64)> {
        let run = self.origin.iter().rev().find(|run| run.row <= row)?;
        Some((&run.file, run.line + (row - run.row) as u64))
    }

    /// Leaves only the rows that are marked; they keep where they came from.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if there are not as many marks as rows.
    pub fn keep(&mut self, kept: &BooleanArray) -> Result<()> {
        self.batch = filter_record_batch(&self.batch, kept)
            .map_err(|error| Error::internal("rows of a page are not marked").caused_by(error))?;
        self.origin = surviving(&self.origin, kept);
        Ok(())
    }
}

/// Where the rows that are left came from.
pub(crate) fn surviving(origin: &[Origin], kept: &BooleanArray) -> Vec<Origin> {
    let mut runs: Vec<Origin> = Vec::new();
    let mut left = 0;
    for (place, run) in origin.iter().enumerate() {
        let end = origin.get(place + 1).map_or(kept.len(), |next| next.row);
        let mut follows = false;
        for row in run.row..end {
            if !kept.value(row) {
                follows = false;
                continue;
            }
            if !follows {
                let line = run.line + (row - run.row) as u64;
                runs.push(Origin { row: left, file: run.file.clone(), line });
            }
            follows = true;
            left += 1;
        }
    }
    runs
}

/// A run of rows that came from consecutive lines of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The first row of the run within the page, counted from 0.
    pub row: usize,
    /// The file, relative to the project folder, or the table.
    pub file: String,
    /// The line of the first row, counted from 1; the row number where there are no lines.
    pub line: u64,
}

/// A row that is set aside, with all that is needed to find and mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The source's name, `csv`.
    pub source: Cow<'static, str>,
    /// The file, relative to the project folder, or the table.
    pub file: String,
    /// The line, counted from 1; the row number where there are no lines.
    pub line: Option<u64>,
    /// The column that does not fit, if it is one.
    pub column: Option<String>,
    /// What went wrong, kebab-case, for counting.
    pub code: Cow<'static, str>,
    /// What went wrong, for a person.
    pub reason: String,
    /// The row as read, cut off at [`RAW_BYTES_MAX`].
    pub raw: String,
    /// The destination that refused a row which was read well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

impl Rejected {
    /// The row as one that `destination` refused after it was read well.
    #[must_use]
    pub fn refused_by(self, destination: &str) -> Self {
        Self { destination: Some(destination.to_owned()), ..self }
    }
}

/// Something worth knowing that is not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What happened, kebab-case, for counting.
    pub code: String,
    /// The file or table.
    pub file: String,
    /// What happened, for a person.
    pub message: String,
}

/// Where a read stands. Opaque to everybody but the source that made it; small, and JSON, so that
/// it can be stored in the same commit as the rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub serde_json::Value);

/// What a row that has no line of its own is of, for the quarantine, which knows it by this and by its content. Of a long
/// row that keeps only the beginning, so a digest of the `whole` tells those apart that begin alike.
pub(crate) fn without_line(name: &str, whole: &str) -> String {
    if whole.len() <= RAW_BYTES_MAX {
        return name.to_owned();
    }
    format!("{name} #{}", digest::short(&[whole.as_bytes()]))
}

/// `text` cut off at [`RAW_BYTES_MAX`], on a character border.
pub(crate) fn raw(text: &str) -> String {
    if text.len() <= RAW_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = RAW_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}
