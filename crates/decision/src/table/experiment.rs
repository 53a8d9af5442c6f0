//! `system.experiments`.

use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::ColumnType::{Integer, Moment, Number, Text};
use super::SystemTable;

/// One variant beside the control, by one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRow {
    /// The turn that looked.
    pub turn: i64,
    /// The logical moment.
    pub at: Timestamp,
    /// The policy.
    pub policy: String,
    /// What names the split: another salt, share or variant begins a new comparison.
    pub split: String,
    /// `outcome`, `value`, or a guardrail's name.
    pub metric: String,
    /// The variant.
    pub variant: String,
    /// The variant it is compared with.
    pub control: String,
    /// Units of the variant whose window has closed.
    pub units: i64,
    /// Units of the control.
    pub control_units: i64,
    /// The metric a decision, variant.
    pub rate: Option<f64>,
    /// The metric a decision, control.
    pub control_rate: Option<f64>,
    /// Variant less control; with what the pre-period explains taken out, if there is one.
    pub difference: Option<f64>,
    /// The lower end of its always-valid interval.
    pub lower: Option<f64>,
    /// The upper end.
    pub upper: Option<f64>,
    /// The share of variance that the pre-period took away.
    pub variance_saved: Option<f64>,
    /// The probability of a split at least this uneven if assignment works.
    pub split_p: Option<f64>,
    /// `open`, `better`, `worse`, `safe`, `breached` or `split-broken`.
    pub standing: String,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "experiments",
    about: "One row per experiment, turn, metric and variant: how it stands beside the control. Key: policy, turn, metric, variant.",
    columns: &[
        ("turn", Integer, "the turn that looked"),
        ("at", Moment, "the logical moment"),
        ("policy", Text, "the policy"),
        ("split", Text, "names salt, variants and shares; another one begins a new comparison"),
        ("metric", Text, "outcome, value, or a guardrail's name"),
        ("variant", Text, "the variant"),
        ("control", Text, "the variant it is compared with"),
        ("units", Integer, "units of the variant with a decision whose window has closed"),
        ("control_units", Integer, "units of the control"),
        ("rate", Number, "the metric a decision, variant"),
        ("control_rate", Number, "the metric a decision, control"),
        ("difference", Number, "variant less control, what the pre-period explains taken out"),
        (
            "lower",
            Number,
            "lower end of its interval, which stays valid however often one looks: 95 % for all variants together",
        ),
        ("upper", Number, "upper end of that interval"),
        ("variance_saved", Number, "share of variance that the pre-period took away; none without"),
        ("split_p", Number, "probability of a split at least this uneven if assignment works"),
        (
            "standing",
            Text,
            "open (not known yet), better, worse; a guardrail: safe, breached; split-broken if split_p is below 0.001",
        ),
    ],
};
