//! `system.schedule_runs`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_state::ScheduledRun;
use serde_json::{Value, json};

use super::RUNS_MAX;
use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "schedule_runs",
    about: "One row per run of a schedule, newest moment first, for 400 days. Key: id.",
    columns: &[
        ("id", Text, "the run of the schedule"),
        ("schedule", Text, "the schedule"),
        ("moment", Moment, "the moment it is for"),
        ("cause", Text, "time, change, lag, manual, webhook or backfill"),
        ("status", Text, "waiting, running, succeeded, failed, blocked, cancelled or skipped"),
        ("attempt", Integer, "the number of the newest attempt; 0 before the first"),
        ("due_at", Moment, "when it may start, or start again"),
        ("asked_by", Text, "who asked for it"),
        ("started_at", Moment, "when the newest attempt started"),
        ("ended_at", Moment, "when it ended"),
        ("run_id", Text, "the run of the newest attempt, in system.runs and system.run_logs"),
        ("error_class", Text, "the class of its error"),
        ("error", Text, "why it failed, or was left out"),
        ("attempts", Text, "attempts that have ended, as JSON"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |run: ScheduledRun| {
        json!({
            "id": run.id, "schedule": run.schedule, "moment": run.moment, "cause": run.cause.name(),
            "status": run.status.name(), "attempt": run.attempt, "due_at": run.due_at, "asked_by": run.asked_by,
            "started_at": run.started_at, "ended_at": run.ended_at, "run_id": run.run_id,
            "error_class": run.error_class, "error": run.error, "attempts": json!(run.attempts).to_string(),
        })
    };
    Ok(workspace.store.schedule_runs(None, RUNS_MAX)?.into_iter().map(row).collect())
}
