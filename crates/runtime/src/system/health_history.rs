//! `system.health_history`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "health_history",
    about: "One row per asset and day with a run, for 400 days: how healthy it was. Key: kind, name, day.",
    columns: &[
        ("kind", Text, "what kind of asset it is, as in system.assets"),
        ("name", Text, "its name; schema.table for tables"),
        ("day", Moment, "midnight of the day, in UTC, by the logical clock"),
        ("health", Number, "how healthy it was, from 0 to 100"),
        ("at", Moment, "when that was noted: after a run, at most once an hour"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |one: flywheel_state::HealthScore| {
        json!({
            "kind": one.kind, "name": one.name, "day": one.day, "health": one.health, "at": one.at,
        })
    };
    Ok(workspace.store.health_history()?.into_iter().map(row).collect())
}
