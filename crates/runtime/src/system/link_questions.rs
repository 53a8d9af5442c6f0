//! `system.link_questions`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Flag, Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "link_questions",
    about: "One row per thing that a person has to decide for a link, oldest first. Key: link, id.",
    columns: &[
        ("link", Text, "the link"),
        ("id", Text, "names the question"),
        ("kind", Text, "conflict, match or delete"),
        ("record", Text, "the record or records it is about"),
        ("detail", Text, "what it is about, as JSON"),
        ("asked_at", Moment, "when it was asked first"),
        ("answer", Text, "what the person said, as JSON"),
        ("open", Flag, "whether the last run asked it"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |q: flywheel_state::LinkQuestion| {
        json!({
            "link": q.link, "id": q.id, "kind": q.kind, "record": q.record, "detail": q.detail.to_string(),
            "asked_at": q.asked_at, "answer": q.answer.map(|answer| answer.to_string()), "open": q.open,
        })
    };
    Ok(workspace.store.link_questions(None)?.into_iter().map(row).collect())
}
