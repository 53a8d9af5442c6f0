//! `system.alerts`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_state::Alert;
use serde_json::{Value, json};

use super::RUNS_MAX;
use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "alerts",
    about: "One row per alert and action it leaves by, newest first, for 400 days. Key: key.",
    columns: &[
        ("key", Text, "the idempotency key"),
        (
            "kind",
            Text,
            "failed, late or recovered of a schedule; raised or recovered of an alert's file",
        ),
        ("schedule", Text, "the schedule; empty if an alert's file says what is told"),
        ("scheduled_run", Text, "the run of the schedule, in system.schedule_runs"),
        ("alert", Text, "the alert whose file says what is told; none of a schedule"),
        ("subject", Text, "what that alert tells of"),
        ("action", Text, "the action it leaves by"),
        ("status", Text, "pending, delivered or dead"),
        ("attempts", Integer, "how often it was tried"),
        ("made_at", Moment, "when it was made"),
        ("due_at", Moment, "when it may be tried next"),
        ("ended_at", Moment, "when it was delivered or given up"),
        ("receipt", Text, "what the receiver answered"),
        ("error", Text, "why it is not delivered"),
        ("payload", Text, "what is sent, as JSON"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |alert: Alert| {
        json!({
            "key": alert.key, "kind": alert.kind, "schedule": alert.schedule, "scheduled_run": alert.scheduled_run,
            "alert": alert.alert, "subject": alert.subject,
            "action": alert.action, "status": alert.status.name(), "attempts": alert.attempts,
            "made_at": alert.made_at, "due_at": alert.due_at, "ended_at": alert.ended_at,
            "receipt": alert.receipt, "error": alert.error, "payload": alert.payload.to_string(),
        })
    };
    Ok(workspace.store.alerts(RUNS_MAX)?.into_iter().map(row).collect())
}
