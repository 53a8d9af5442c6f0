//! `system.outbox`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "outbox",
    about: "One row per delivery that has not ended, or ended without being delivered. Key: key.",
    columns: &[
        ("key", Text, "the idempotency key"),
        ("policy", Text, "the policy that decided"),
        ("turn", Integer, "the turn that decided"),
        ("decision_id", Text, "the decision"),
        ("action", Text, "the action resource it leaves through"),
        (
            "status",
            Text,
            "waiting for approval, pending, sending (leased, or cut off), dead, or discarded until `system.actions` shows it",
        ),
        ("attempts", Integer, "how often it was tried"),
        ("due_at", Moment, "when it may be tried next"),
        ("error", Text, "why it is not delivered"),
        ("payload", Text, "what is sent, as JSON"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |entry: flywheel_state::OutboxEntry| {
        json!({
            "key": entry.key, "policy": entry.policy, "turn": entry.turn, "decision_id": entry.decision_id,
            "action": entry.action, "status": entry.status.name(), "attempts": entry.attempts,
            "due_at": entry.due_at, "error": entry.error, "payload": entry.payload.to_string(),
        })
    };
    Ok(workspace.store.undelivered()?.into_iter().map(row).collect())
}
