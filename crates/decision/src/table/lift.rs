//! `system.lift`.

use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::ColumnType::{Integer, Moment, Number, Text};
use super::SystemTable;

/// What a policy changed so far, as known at one turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiftRow {
    /// The turn that looked.
    pub turn: i64,
    /// The logical moment.
    pub at: Timestamp,
    /// The policy; `*` is all of them together, the units of the holdout of all policies beside everybody else.
    pub policy: String,
    /// Decisions made in this turn.
    pub decisions: i64,
    /// Decisions so far under the present share of the holdout whose window has closed: those that are measured.
    pub measured: i64,
    /// Units in the treatment arm among the measured.
    pub treated_units: i64,
    /// Units in the holdout among the measured.
    pub holdout_units: i64,
    /// Share of measured decisions with an outcome, treatment.
    pub treated_rate: Option<f64>,
    /// Share of measured decisions with an outcome, holdout.
    pub holdout_rate: Option<f64>,
    /// Treatment rate minus holdout rate.
    pub lift: Option<f64>,
    /// Lower end of its 95 % interval.
    pub lower: Option<f64>,
    /// Upper end of its 95 % interval.
    pub upper: Option<f64>,
    /// Value per decision in treatment minus that in the holdout.
    pub value_lift: Option<f64>,
    /// Lower end of its 95 % interval.
    pub value_lower: Option<f64>,
    /// Upper end of its 95 % interval.
    pub value_upper: Option<f64>,
    /// Probability of an arm split at least this uneven if assignment works (sample ratio check).
    pub split_p: Option<f64>,
    /// The artifact that scored this turn's decisions.
    pub artifact: Option<String>,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "lift",
    about: "One row per policy and turn: what the policy changed so far, against its holdout; policy * is all of them together against the holdout of all policies, by windows of a unit instead of decisions. Key: policy, turn.",
    columns: &[
        ("turn", Integer, "the turn that looked"),
        ("at", Moment, "the logical moment"),
        ("policy", Text, "the policy; * is all policies together"),
        ("decisions", Integer, "decisions made in this turn"),
        ("measured", Integer, "decisions under the present holdout whose window has closed"),
        ("treated_units", Integer, "units in the treatment arm among the measured"),
        ("holdout_units", Integer, "units in the holdout among the measured"),
        ("treated_rate", Number, "share of measured decisions with an outcome, treatment"),
        ("holdout_rate", Number, "share of measured decisions with an outcome, holdout"),
        ("lift", Number, "treatment rate minus holdout rate"),
        ("lower", Number, "lower end of its 95 % interval, units as clusters"),
        ("upper", Number, "upper end of its 95 % interval, units as clusters"),
        ("value_lift", Number, "value per decision in treatment minus that in the holdout"),
        ("value_lower", Number, "lower end of its 95 % interval"),
        ("value_upper", Number, "upper end of its 95 % interval"),
        ("split_p", Number, "probability of a split at least this uneven if assignment works"),
        ("artifact", Text, "digest of the artifact that scored this turn's decisions"),
    ],
};
