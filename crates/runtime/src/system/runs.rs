//! `system.runs`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use super::RUNS_MAX;
use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "runs",
    about: "One row per run, newest first. Key: run_id.",
    columns: &[
        ("run_id", Text, "the run"),
        ("kind", Text, "turn, sync, build, …"),
        ("turn", Integer, "the turn it belongs to"),
        ("logical_at", Moment, "the moment it worked for"),
        ("status", Text, "running, succeeded, failed or interrupted"),
        ("started_at", Moment, "when it started, by the machine's clock"),
        ("ended_at", Moment, "when it ended, by the machine's clock"),
        ("duration_ms", Number, "how long it took"),
        ("error", Text, "why it failed"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let runs = workspace.store.runs(RUNS_MAX)?;
    let row = |run: flywheel_state::Run| {
        let duration =
            run.ended_at.map(|end| (end.micros() - run.started_at.micros()) as f64 / 1_000.0);
        json!({
            "run_id": run.run_id, "kind": run.kind, "turn": run.turn, "logical_at": run.logical_at,
            "status": run.status, "started_at": run.started_at, "ended_at": run.ended_at,
            "duration_ms": duration, "error": run.error,
        })
    };
    Ok(runs.into_iter().map(row).collect())
}
