//! `system.audit`: there for those alone who may read the audit log.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_state::AuditRow;
use flywheel_warehouse::TableName;
use serde_json::{Value, json};

use super::RUNS_MAX;
use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: NAME,
    about: "One row per thing that somebody did, newest first, of the newest 10,000. There for administrators alone, and \
            for tokens of theirs that may audit. Key: number.",
    columns: &[
        ("number", Integer, "its number, from 1 without gaps"),
        ("at", Moment, "when, by the machine's clock"),
        ("who", Text, "a user's name, or a token's as user/token"),
        ("what", Text, "what was done"),
        ("object", Text, "to what"),
        ("detail", Text, "more about it, as JSON"),
        ("digest", Text, "a digest of all of this and of the row before"),
    ],
};

/// Its name, without the schema.
pub(super) const NAME: &str = "audit";

/// Its name in SQL.
pub(crate) fn name() -> TableName {
    TableName::new("system", NAME)
}

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |row: AuditRow| {
        json!({
            "number": row.number, "at": row.at, "who": row.who, "what": row.what, "object": row.object,
            "detail": row.detail.to_string(), "digest": row.digest,
        })
    };
    Ok(workspace.store.audit_rows(None, RUNS_MAX)?.into_iter().map(row).collect())
}
