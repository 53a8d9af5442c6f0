//! `system.reads`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_state::READ_DAYS_MAX;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "reads",
    about: "One row per table, reader and day, for 400 days. Key: asset, reader, via, day.",
    columns: &[
        ("asset", Text, "the table or metric that was read"),
        ("reader", Text, "the user, or the model or learner that read it"),
        ("via", Text, "by what: sql, metric, query (a published one), build or learn"),
        ("day", Moment, "midnight of the day, in UTC"),
        ("count", Integer, "how often"),
        ("last_at", Moment, "the last time"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let from = workspace.now().plus_micros(-READ_DAYS_MAX * 86_400_000_000);
    let row = |read: flywheel_state::Read| {
        json!({
            "asset": read.asset, "reader": read.reader, "via": read.via, "day": read.day, "count": read.count,
            "last_at": read.last_at,
        })
    };
    Ok(workspace.store.reads_since(from)?.into_iter().map(row).collect())
}
