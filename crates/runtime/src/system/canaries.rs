//! `system.canaries`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "canaries",
    about: "One row per move of a challenger on trial, oldest first. Key: policy, number.",
    columns: &[
        ("policy", Text, "the policy"),
        ("number", Integer, "the move's number among those of the policy, from 1"),
        ("at", Moment, "the logical moment"),
        ("canary", Integer, "the trial: the number of the move that started it"),
        ("move", Text, "started, raised, promoted or rolled-back"),
        ("learner", Text, "the challenger's learner"),
        ("artifact", Text, "digest of the artifact it is held at; none if it goes on learning"),
        ("share", Number, "the share of units it decides for from then on"),
        ("declared", Text, "the learner the policy's file named; another one there ends the trial"),
        ("reason", Text, "why"),
        ("evidence", Text, "estimates it rests on, as JSON"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |made: flywheel_state::CanaryMove| {
        json!({
            "policy": made.policy, "number": made.number, "at": made.at, "canary": made.canary, "move": made.kind.name(),
            "learner": made.learner, "artifact": made.artifact, "share": made.share, "declared": made.declared,
            "reason": made.reason, "evidence": made.evidence.to_string(),
        })
    };
    Ok(workspace.store.canaries()?.into_iter().map(row).collect())
}
