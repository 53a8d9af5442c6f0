//! `system.erasures`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Flag, Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_state::Erasure;
use flywheel_warehouse::TableName;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: NAME,
    about: "One row per person who was erased; the person's key is nowhere in it. There for administrators alone, and for \
            tokens of theirs that may audit. Key: token.",
    columns: &[
        ("token", Text, "what stands in the place of the key, in decisions and what came of them"),
        ("status", Text, "running, incomplete (something remains) or done"),
        ("kept_out", Flag, "whether rows of the person do not land again"),
        ("asked_by", Text, "who asked for it"),
        ("reason", Text, "why, such as the number of the request"),
        ("asked_at", Moment, "when it was first asked for"),
        ("ended_at", Moment, "when it was last finished"),
        ("remaining", Integer, "how many places remain, when it was last finished"),
        ("detail", Text, "what was erased where, and what remains, as JSON"),
    ],
};

/// Its name, without the schema.
pub(super) const NAME: &str = "erasures";

/// Its name in SQL.
pub(crate) fn name() -> TableName {
    TableName::new("system", NAME)
}

/// Its rows, oldest first.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    Ok(workspace.store.erasures()?.iter().map(row).collect())
}

fn row(one: &Erasure) -> Value {
    let remaining = one.detail.get("remains").and_then(Value::as_array).map(Vec::len);
    json!({
        "token": one.token, "status": one.status.word(), "kept_out": one.suppressed,
        "asked_by": one.asked_by, "reason": one.reason, "asked_at": one.asked_at,
        "ended_at": one.ended_at, "remaining": remaining, "detail": one.detail.to_string(),
    })
}
