//! `system.drift`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "drift",
    about: "One row per measure of a learner that got worse in reality. Key: learner, measure, until.",
    columns: &[
        ("learner", Text, "the learner"),
        ("measure", Text, "the measure, as in system.evaluations"),
        ("at", Moment, "the logical moment at which it was found"),
        ("since", Moment, "from which reading on it is worse"),
        ("until", Moment, "the moment of the reading that proved it"),
        ("before", Number, "the mean of the readings before"),
        ("after", Number, "the mean of those that are worse"),
        ("readings", Integer, "how many are worse"),
        ("detector", Text, "page-hinkley (few turns, large) or adwin (many turns, small)"),
        ("artifact", Text, "digest of the artifact that was served when it was found"),
        ("answer", Text, "told, retrain or last-good"),
        ("reason", Text, "what was done, and why"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |one: flywheel_state::Drift| {
        json!({
            "learner": one.learner, "measure": one.measure, "at": one.at, "since": one.since, "until": one.until,
            "before": one.before, "after": one.after, "readings": one.values, "detector": one.detector,
            "artifact": one.artifact, "answer": one.answer, "reason": one.reason,
        })
    };
    Ok(workspace.store.drifts()?.into_iter().map(row).collect())
}
