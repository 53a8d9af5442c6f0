//! `system.promotions`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "promotions",
    about: "One row per change of who decides for a policy, oldest first. Key: policy, number.",
    columns: &[
        ("policy", Text, "the policy"),
        ("number", Integer, "its number among those of the policy, from 1"),
        ("at", Moment, "the logical moment"),
        (
            "learner",
            Text,
            "the learner that decides from then on; of an experiment, the variant that everybody gets",
        ),
        ("artifact", Text, "digest of the artifact it is held at; none if it goes on learning"),
        (
            "declared",
            Text,
            "the learner the policy's file named, or the digest of its experiment's split; another one there ends the promotion",
        ),
        ("undoes", Integer, "the promotion that this takes back; none if it is one itself"),
        ("reason", Text, "why"),
        ("evidence", Text, "estimates and refusals it rests on, as JSON"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |p: flywheel_state::Promotion| {
        json!({
            "policy": p.policy, "number": p.number, "at": p.at, "learner": Some(p.learner).filter(|one| !one.is_empty()), "artifact": p.artifact,
            "declared": p.declared, "undoes": p.undoes, "reason": p.reason, "evidence": p.evidence.to_string(),
        })
    };
    Ok(workspace.store.promotions()?.into_iter().map(row).collect())
}
