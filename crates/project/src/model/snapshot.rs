//! Snapshots: tables that keep every state their rows ever had.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a snapshot finds out what changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The columns that identify a row.
    pub unique_key: Vec<String>,
    /// How a changed row is known.
    pub strategy: SnapshotStrategy,
    /// The column that says when a row changed; always there for `timestamp`.
    pub updated_at: Option<String>,
    /// The columns that are compared by `check`; all if empty.
    pub check_columns: Vec<String>,
    /// What happens to rows that vanish.
    pub hard_deletes: HardDeletes,
}

/// How a snapshot knows a changed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotStrategy {
    /// Its `updated_at` is later.
    Timestamp,
    /// One of `check_cols` differs.
    Check,
}

/// What a snapshot does with rows that vanish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HardDeletes {
    /// Nothing: the last state stays valid.
    #[default]
    Ignore,
    /// The last state ends when the row is missed.
    Invalidate,
    /// It ends, and a state `dbt_is_deleted` begins.
    NewRecord,
}
