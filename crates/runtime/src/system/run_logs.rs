//! `system.run_logs`.

use flywheel_base::{Result, Timestamp};
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::{Workspace, run_log};

/// The logs of how many runs are shown.
const LOGS_MAX: u32 = 500;
/// How many lines are shown.
const LINES_MAX: usize = 200_000;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "run_logs",
    about: "One row per line of the logs of the newest 500 runs. Key: run_id, line.",
    columns: &[
        ("run_id", Text, "the run"),
        ("line", Integer, "the line's number, from 1"),
        ("at", Moment, "when, by the machine's clock"),
        ("level", Text, "info, warn or error"),
        ("text", Text, "what happened"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for run in workspace.store.runs(LOGS_MAX)? {
        for (index, line) in
            run_log::read(&workspace.ours(), &run.run_id, 0)?.into_iter().enumerate()
        {
            if rows.len() == LINES_MAX {
                return Ok(rows);
            }
            rows.push(json!({
                "run_id": run.run_id, "line": index + 1, "at": Timestamp::parse(&line.at).ok(),
                "level": line.level, "text": line.text,
            }));
        }
    }
    Ok(rows)
}
