//! `system.artifacts`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "artifacts",
    about: "One row per fit of a learner. Key: learner, fitted_at.",
    columns: &[
        ("learner", Text, "the learner"),
        (
            "kind",
            Text,
            "recommend, segment, forecast, score, value, uplift, lookalike, hours, onnx or bandit",
        ),
        ("fitted_at", Moment, "the logical moment of the fit"),
        ("turn", Integer, "the turn that fitted it"),
        ("digest", Text, "the content address of its bytes in .flywheel/artifacts"),
        ("detail", Text, "inputs, options and evaluation, as JSON"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |a: flywheel_state::Artifact| {
        json!({
            "learner": a.learner, "kind": a.kind, "fitted_at": a.fitted_at, "turn": a.turn,
            "digest": a.digest, "detail": a.detail.to_string(),
        })
    };
    Ok(workspace.store.artifacts()?.into_iter().map(row).collect())
}
