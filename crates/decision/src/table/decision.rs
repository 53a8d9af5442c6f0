//! `system.decisions`.

use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::ColumnType::{Integer, Moment, Number, Text};
use super::SystemTable;

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRow {
    /// Follows from policy, moment and unit.
    pub decision_id: String,
    /// The turn that decided.
    pub turn: i64,
    /// The policy.
    pub policy: String,
    /// A digest of the policy's file as it was.
    pub policy_version: String,
    /// Whom it is about.
    pub unit_id: String,
    /// The logical moment.
    pub decided_at: Timestamp,
    /// `treatment`, `holdout`, or `global_holdout` of units that no policy treats.
    pub arm: String,
    /// What was chosen; `none` in the holdouts.
    pub action: String,
    /// How likely this choice was, given everything known before the draw: in an arm of the policy given that the unit is not
    /// in the global holdout, and there the share of that.
    pub propensity: f64,
    /// Chosen items with their scores, reasons and propensities, as JSON.
    pub items: Option<String>,
    /// How many candidates there were.
    pub candidates: i64,
    /// A digest of the candidates.
    pub candidates_digest: String,
    /// The ids of the candidates, best first, as a JSON array, where each decision has its own items.
    #[serde(default)]
    pub candidate_ids: Option<String>,
    /// The probability of each candidate before the draw, given that the unit is treated, as a JSON object;
    /// none where each decision has its own items.
    pub chances: Option<String>,
    /// The artifact that scored, if any.
    pub artifact: Option<String>,
    /// The number of the canary in which a challenger decided; none if the champion did.
    #[serde(default)]
    pub canary: Option<i64>,
    /// What was known of the unit, as JSON.
    pub features: String,
    /// A digest of the features.
    pub features_digest: String,
    /// The seed of this decision's draws, in hex.
    pub seed: String,
    /// The global holdout it was drawn under, as JSON; none without one.
    #[serde(default)]
    pub global_holdout: Option<String>,
    /// What treating the unit costs, where the policy has a budget; none in the holdouts.
    #[serde(default)]
    pub cost: Option<f64>,
    /// What is sent, as JSON; none in the holdout.
    pub payload: Option<String>,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "decisions",
    about: "One row per decision, written before anything leaves. Key: decision_id.",
    columns: &[
        ("decision_id", Text, "follows from policy, moment and unit"),
        ("turn", Integer, "the turn that decided"),
        ("policy", Text, "the policy"),
        ("policy_version", Text, "digest of the policy as it was"),
        ("unit_id", Text, "whom it is about"),
        ("decided_at", Moment, "the logical moment"),
        ("arm", Text, "treatment, holdout, or global_holdout of units that no policy treats"),
        ("action", Text, "what was chosen; none in the holdout"),
        ("propensity", Number, "how likely this choice was before the draw"),
        ("items", Text, "chosen items with scores, reasons and propensities, as JSON"),
        ("candidates", Integer, "how many candidates there were"),
        ("candidates_digest", Text, "digest of the candidates"),
        ("candidate_ids", Text, "ids of a recommender's candidates, best first, as a JSON array"),
        ("chances", Text, "probability of each candidate before the draw, if treated, as JSON"),
        ("artifact", Text, "digest of the artifact that scored"),
        ("canary", Integer, "the canary in which a challenger decided; none if the champion did"),
        ("features", Text, "what was known of the unit, as JSON"),
        ("features_digest", Text, "digest of the features"),
        ("seed", Text, "seed of this decision's draws, in hex"),
        (
            "global_holdout",
            Text,
            "share and salt of the global holdout it was drawn under, as JSON",
        ),
        (
            "cost",
            Number,
            "what is taken off the policy's budget; none in the holdouts, or without one",
        ),
        ("payload", Text, "what is sent, as JSON; none in the holdout"),
    ],
};
