//! `system.link_audit`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "link_audit",
    about: "One row per field that a link wrote to one of its two systems, oldest first. Key: link, tag, side, field.",
    columns: &[
        ("link", Text, "the link"),
        ("run_id", Text, "the run that wrote"),
        ("at", Moment, "when, by the logical clock"),
        ("tag", Text, "the write"),
        ("record", Text, "the link's key of the record"),
        ("id", Text, "the record's id on that side, if it was known"),
        ("side", Text, "left or right"),
        ("field", Text, "the field"),
        ("before", Text, "what the side had, as JSON"),
        ("after", Text, "what it got, as JSON"),
        ("rule", Text, "why: copy, the rule that decided, answer or revert"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |row: flywheel_state::LinkAudit| {
        json!({
            "link": row.link, "run_id": row.run_id, "at": row.at, "tag": row.tag, "record": row.record,
            "id": row.id, "side": row.side, "field": row.field, "before": row.before.to_string(),
            "after": row.after.to_string(), "rule": row.rule,
        })
    };
    Ok(workspace.store.link_audit(None)?.into_iter().map(row).collect())
}
