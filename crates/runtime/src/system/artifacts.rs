//! `system.artifacts`.

use std::collections::BTreeMap;

use flywheel_base::{Result, Timestamp};
use flywheel_decision::table::ColumnType::{Flag, Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_state::Artifact;
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
        ("version", Integer, "the fit's number among those of the learner, from 1"),
        ("turn", Integer, "the turn that fitted it"),
        ("digest", Text, "the content address of its bytes in .flywheel/artifacts"),
        ("champion", Flag, "whether it is the one that is served, scored and decided with"),
        ("pinned", Flag, "whether the learner is held at it until flywheel learn unpin"),
        ("detail", Text, "inputs, options and evaluation, as JSON"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let all = workspace.store.artifacts()?;
    let pins = workspace.store.pins()?;
    // The oldest come first, so that the newest one of each stays.
    let mut served: BTreeMap<String, Timestamp> =
        all.iter().map(|artifact| (artifact.learner.clone(), artifact.fitted_at)).collect();
    for pin in &pins {
        let pinned = |one: &Artifact| one.learner == pin.learner && one.fitted_at == pin.fitted_at;
        if all.iter().any(pinned) {
            served.insert(pin.learner.clone(), pin.fitted_at);
        }
    }
    let mut versions: BTreeMap<String, i64> = BTreeMap::new();
    let mut row = |a: Artifact| {
        let version = versions.entry(a.learner.clone()).or_default();
        *version += 1;
        let champion = served.get(&a.learner) == Some(&a.fitted_at);
        let held = pins.iter().any(|pin| pin.held && pin.learner == a.learner);
        json!({
            "learner": a.learner, "kind": a.kind, "fitted_at": a.fitted_at, "version": *version, "turn": a.turn,
            "digest": a.digest, "champion": champion, "pinned": champion && held, "detail": a.detail.to_string(),
        })
    };
    Ok(all.into_iter().map(&mut row).collect())
}
