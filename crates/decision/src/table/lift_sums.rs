//! `system.lift_sums`.

use serde::{Deserialize, Serialize};

use super::ColumnType::{Integer, Number, Text};
use super::SystemTable;

/// What is known for good of one unit in one arm of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LiftSumRow {
    /// The policy.
    pub(crate) policy: String,
    /// The unit.
    pub(crate) unit_id: String,
    /// The arm.
    pub(crate) arm: String,
    /// The split of an experiment.
    pub(crate) split: Option<String>,
    /// The variant of it.
    pub(crate) variant: Option<String>,
    /// The share of the holdout under which they were made.
    pub(crate) holdout: Option<f64>,
    /// Decisions that no event can be counted for any more.
    pub(crate) decisions: i64,
    /// Those of them with an outcome.
    pub(crate) converted: i64,
    /// The value of their outcomes; none without one.
    pub(crate) value: Option<f64>,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "lift_sums",
    about: "Sums of old decisions that no event can be counted for any more, so that lift is measured without reading \
            them again. Key: policy, unit_id, arm, split, variant, holdout.",
    columns: &[
        ("policy", Text, "the policy"),
        ("unit_id", Text, "the unit"),
        ("arm", Text, "`treatment` or `holdout`"),
        (
            "split",
            Text,
            "of an experiment: what names the split of its units, as `candidates_digest` of decisions does",
        ),
        ("variant", Text, "of an experiment: the variant"),
        (
            "holdout",
            Number,
            "the share of the holdout under which they were made; none if nobody knows it any more",
        ),
        ("decisions", Integer, "decisions that are summed up here"),
        ("converted", Integer, "those of them with an outcome"),
        ("value", Number, "the value of their outcomes; none without one"),
    ],
};
