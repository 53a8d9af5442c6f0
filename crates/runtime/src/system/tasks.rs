//! `system.tasks`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use super::RUNS_MAX;
use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "tasks",
    about: "One row per task of a run. Key: run_id, position.",
    columns: &[
        ("run_id", Text, "the run"),
        ("position", Integer, "its place within the run, from 0"),
        ("kind", Text, "sync, build, learn, decide, …"),
        ("name", Text, "the resource it worked on"),
        ("status", Text, "running, succeeded, failed, skipped, warned or interrupted"),
        ("started_at", Moment, "when it started, by the machine's clock"),
        ("duration_ms", Number, "how long it took"),
        ("rows_in", Integer, "rows read"),
        ("rows_out", Integer, "rows written"),
        ("rows_rejected", Integer, "rows set aside"),
        ("rows_filtered", Integer, "rows left out by the stream's condition, of a sync"),
        ("rows_superseded", Integer, "rows that a later one with their key replaced, of a sync"),
        (
            "balance",
            Text,
            "whether every row read was written, set aside, filtered, replaced by a later one with its \
             key, only told of a deletion, or was there already: balanced, lost or more; empty where \
             that is not counted (histories, merges into other systems)",
        ),
        ("error", Text, "why it failed"),
        ("detail", Text, "more about it, as JSON"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |task: flywheel_state::Task| {
        json!({
            "run_id": task.run_id, "position": task.position, "kind": task.kind, "name": task.name,
            "status": task.status, "started_at": task.started_at, "duration_ms": task.duration_ms,
            "rows_in": task.outcome.rows_in, "rows_out": task.outcome.rows_out,
            "rows_rejected": task.outcome.rows_rejected,
            "rows_filtered": task.outcome.detail.get("filtered"),
            "rows_superseded": task.outcome.detail.get("superseded"),
            "balance": task.outcome.detail.get("balance"), "error": task.outcome.error,
            "detail": task.outcome.detail.to_string(),
        })
    };
    Ok(workspace.store.tasks(RUNS_MAX)?.into_iter().map(row).collect())
}
