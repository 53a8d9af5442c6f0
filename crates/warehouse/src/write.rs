//! What a caller asks to be written, and what became of it.

use std::collections::BTreeMap;

use flywheel_base::Timestamp;

use crate::{Checkpoint, RowStream};

/// One write, published as one commit or not at all.
#[derive(Debug)]
pub struct Write {
    /// How the rows meet what is in the table.
    pub mode: WriteMode,
    /// The rows.
    pub rows: RowStream,
    /// The application's id and its checkpoint after these rows.
    pub checkpoint: Option<(String, Checkpoint)>,
    /// What is being done, for the history: `sync`, `build`, `merge changes`.
    pub operation: String,
    /// What to do if the rows have columns, or types, the table does not have.
    pub schema_change: SchemaChange,
    /// Kept with the commit and given back by the history.
    pub properties: BTreeMap<String, serde_json::Value>,
}

impl Write {
    /// A write of `rows` in `mode` that refuses new columns and carries no checkpoint.
    pub fn new(mode: WriteMode, rows: RowStream, operation: impl Into<String>) -> Self {
        Self {
            mode,
            rows,
            checkpoint: None,
            operation: operation.into(),
            schema_change: SchemaChange::Refuse,
            properties: BTreeMap::new(),
        }
    }

    /// Commits `checkpoint` of application `app` with the rows.
    #[must_use]
    pub fn checkpoint(mut self, app: impl Into<String>, checkpoint: Checkpoint) -> Self {
        self.checkpoint = Some((app.into(), checkpoint));
        self
    }

    /// Whether rows that stay have to get the types of the given ones, where those are wider.
    pub(crate) fn widens(&self) -> bool {
        let keeps = !matches!(self.mode, WriteMode::Replace | WriteMode::DeleteWhere { .. });
        keeps && self.schema_change == SchemaChange::Add
    }

    /// Lets new columns be added to the table, and columns get wider types.
    #[must_use]
    pub fn add_columns(mut self) -> Self {
        self.schema_change = SchemaChange::Add;
        self
    }

    /// Keeps `value` under `name` in the table's history.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: serde_json::Value) -> Self {
        self.properties.insert(name.into(), value);
        self
    }
}

/// How rows meet what is in the table. A table that does not exist is created by every mode but
/// [`WriteMode::DeleteWhere`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// The rows are added.
    Append,
    /// The rows take the place of everything; an empty result leaves an empty table with its columns.
    Replace,
    /// A row takes the place of the row with the same key, or is added. A column the rows do not have
    /// keeps its value in rows that are updated.
    Merge {
        /// The columns that identify a row; none of them may be NULL.
        key: Vec<String>,
        /// What to do if two of the given rows have one key.
        duplicates: Duplicates,
    },
    /// Like [`WriteMode::Merge`], where a row whose boolean column `deleted` is true removes the row
    /// with its key instead. The column itself is not stored.
    MergeChanges {
        /// The columns that identify a row; none of them may be NULL.
        key: Vec<String>,
        /// What to do if two of the given rows have one key.
        duplicates: Duplicates,
        /// The boolean column that marks a deletion; NULL means false.
        deleted: String,
    },
    /// Like [`WriteMode::MergeChanges`], where the last row of a key wins and the changes are only put beside the data
    /// files, so that a commit costs as much as its changes and not as much as the files they fall into. Readers of the
    /// lake see the table as if they were merged; other programs see it without them until
    /// [`crate::Lake::merge_changes`] merges them, as does every other write. Rows that lack a column of the table are
    /// merged at once.
    Changes {
        /// The columns that identify a row; none of them may be NULL.
        key: Vec<String>,
        /// The boolean column that marks a deletion; NULL means false.
        deleted: String,
    },
    /// Every version of a row is kept, with the moments from which and until which it holds in the
    /// columns [`crate::VALID_FROM`] and [`crate::VALID_TO`]. Of two given rows with one key and moment the later
    /// wins; one that equals its open version changes nothing. A version that began after a change that ends it,
    /// by a clock that differs, ends a microsecond after it began; the change is skipped if what it leads to is
    /// what the table has.
    History {
        /// The columns that identify a row, over all its versions; none of them may be NULL.
        key: Vec<String>,
        /// The boolean column that marks a row that has ended; NULL means false.
        deleted: Option<String>,
        /// The moment of the change, where rows do not tell theirs.
        at: Timestamp,
        /// Whether the given rows are all there are, so that others have ended.
        complete: bool,
        /// Whether the rows tell their moments, as [`crate::dated`] adds them: then several changes of a key,
        /// in the order they came, are as many versions.
        dated: bool,
    },
    /// Rows for which this SQL condition is true are removed; the write's own rows must be empty.
    DeleteWhere {
        /// A condition over the table's columns, such as `customer_id in ('a', 'b')`.
        condition: String,
    },
}

/// What to do if two of the rows given to a merge have one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// The write fails and names the table and an example key.
    Refuse,
    /// The later row in stream order wins; the others are counted as superseded.
    KeepLast,
}

/// What to do if the rows have columns the table does not have, or types its columns cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// The write fails and names the columns.
    Refuse,
    /// The columns are added; older rows have NULL there. A column whose type cannot hold that of the rows
    /// gets the least type that holds both, if there is one: its data files are written anew, once, in a
    /// commit before that of the rows. With [`WriteMode::Replace`] the table takes
    /// the columns of the rows exactly, as no older row remains.
    Add,
}

/// What became of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The table's version after the write.
    pub version: i64,
    /// Rows that were given and are now in the table (new and updated ones).
    pub rows_written: u64,
    /// Those of them that took the place of a row with the same key.
    pub rows_updated: u64,
    /// Given rows that lost against a later row with the same key.
    pub rows_superseded: u64,
    /// Given rows, the last with their keys, that only said that their row is gone.
    pub rows_marked: u64,
    /// Rows that were in the table and are no longer, without a successor.
    pub rows_deleted: u64,
    /// Data files the commit added.
    pub files_added: u64,
    /// Data files the commit removed, which older versions may still read.
    pub files_removed: u64,
    /// Data files of the version before that are still the table's.
    pub files_kept: u64,
    /// True if the checkpoint's sequence was committed before, so that nothing was done.
    pub skipped: bool,
}
