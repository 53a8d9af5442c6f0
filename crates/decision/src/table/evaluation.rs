//! `system.evaluations`.

use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::ColumnType::{Integer, Moment, Number, Text};
use super::SystemTable;

/// How good an artifact was, by one measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRow {
    /// The turn that judged.
    pub turn: i64,
    /// The logical moment.
    pub at: Timestamp,
    /// The learner.
    pub learner: String,
    /// The artifact's digest.
    pub artifact: String,
    /// `fit` (held-back data) or `reality` (what happened after the answer was given).
    pub against: String,
    /// The measure, such as `ndcg@10`, `mase`, `coverage`.
    pub measure: String,
    /// Its value.
    pub value: Option<f64>,
    /// The same measure for the simple answer it must beat: popularity, the last value, the base rate.
    pub baseline: Option<f64>,
    /// How many users, series or rows it was taken over.
    pub count: i64,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "evaluations",
    about: "One row per artifact, turn and measure: how good it was on held-back data and in reality.",
    columns: &[
        ("turn", Integer, "the turn that judged"),
        ("at", Moment, "the logical moment"),
        ("learner", Text, "the learner"),
        ("artifact", Text, "the artifact's digest"),
        ("against", Text, "fit (held-back data) or reality (what happened after)"),
        ("measure", Text, "the measure, such as ndcg@10, mase, coverage"),
        ("value", Number, "its value"),
        ("baseline", Number, "the same measure for the simple answer it must beat"),
        ("count", Integer, "how many users, series or rows it was taken over"),
    ],
};
