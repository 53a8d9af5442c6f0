//! `system.approvals`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Flag, Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use flywheel_state::Approval;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "approvals",
    about: "One row per delivery that waits for a person, or waited in the last 400 days. Key: key.",
    columns: &[
        ("key", Text, "the delivery's idempotency key"),
        ("policy", Text, "the policy that decided"),
        ("turn", Integer, "the turn that decided"),
        ("unit_id", Text, "the unit that was decided for"),
        ("compared", Text, "the value that is compared with the policy's bound"),
        ("amount", Number, "that value, as edited; none if there is no number"),
        ("by_other", Flag, "whether somebody else has to approve than who had a hand in it"),
        ("status", Text, "waiting, approved, rejected or expired"),
        ("asked_at", Moment, "when it began to wait"),
        ("expires_at", Moment, "when it ends unapproved; none if it waits until somebody decides"),
        ("decided_by", Text, "who decided"),
        ("decided_at", Moment, "when"),
        ("reason", Text, "why"),
        ("quantity", Number, "how much is ordered, as edited; none if it is no order"),
        ("edits", Text, "who changed the quantity, oldest first, as JSON"),
        ("payload", Text, "what is sent, as JSON"),
        ("original", Text, "what was decided to be sent, as JSON"),
    ],
};

/// How many rows are shown.
const ROWS_MAX: u32 = 100_000;

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |one: Approval| {
        json!({
            "key": one.key, "policy": one.policy, "turn": one.turn, "unit_id": one.unit, "compared": one.of,
            "amount": one.amount, "by_other": one.by_other, "status": one.status.word(), "asked_at": one.asked_at,
            "expires_at": one.expires_at, "decided_by": one.decided_by, "decided_at": one.decided_at,
            "reason": one.reason, "quantity": one.line.map(|line| line.quantity),
            "edits": json!(one.edits).to_string(), "payload": one.payload.to_string(),
            "original": one.original.to_string(),
        })
    };
    Ok(workspace.store.approvals(None, None, ROWS_MAX)?.into_iter().map(row).collect())
}
