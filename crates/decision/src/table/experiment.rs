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
    /// `outcome`, `value`, the name of a guardrail or of a declared metric, or what was before the first decision:
    /// `outcome-before`, `value-before`.
    pub metric: String,
    /// What the metric is: `share`, `value`, `guardrail`, `ratio`, `quantile`, or `before`.
    #[serde(default)]
    pub kind: Option<String>,
    /// The variant.
    pub variant: String,
    /// The variant it is compared with.
    pub control: String,
    /// Units of the variant whose window has closed.
    pub units: i64,
    /// Units of the control.
    pub control_units: i64,
    /// The metric, variant: a decision, of a ratio or quantile itself, and a unit where it is about the time before.
    pub rate: Option<f64>,
    /// The metric, control.
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
    /// How many units got more than one variant.
    #[serde(default)]
    pub several: Option<i64>,
    /// The probability of a difference at least this large, at whichever look, before the first decision, where there can
    /// be none.
    #[serde(default)]
    pub p_value: Option<f64>,
    /// `open`, `better`, `worse`, `safe`, `breached`, `unmeasured` or `split-broken`; before the first decision `balanced` or
    /// `biased`.
    pub standing: String,
    /// Since when the experiment is not what it began as.
    #[serde(default)]
    pub changed_at: Option<Timestamp>,
    /// In which keys of its file, with commas between them.
    #[serde(default)]
    pub changed: Option<String>,
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
        (
            "metric",
            Text,
            "outcome, value, the name of a guardrail or declared metric, or outcome-before and value-before: what units did in a window before their first decision",
        ),
        ("kind", Text, "share, value, guardrail, ratio, quantile or before"),
        ("variant", Text, "the variant"),
        ("control", Text, "the variant it is compared with"),
        ("units", Integer, "units of the variant with a decision whose window has closed"),
        ("control_units", Integer, "units of the control"),
        (
            "rate",
            Number,
            "the metric a decision, variant; of a ratio or quantile itself, before a unit",
        ),
        ("control_rate", Number, "the same of the control"),
        ("difference", Number, "variant less control, what the pre-period explains taken out"),
        (
            "lower",
            Number,
            "lower end of its interval, which stays valid however often one looks: 95 % for all variants, the outcome, its value and all declared metrics together; of what was before 99.9 % for each",
        ),
        ("upper", Number, "upper end of that interval"),
        ("variance_saved", Number, "share of variance that the pre-period took away; none without"),
        ("split_p", Number, "probability of a split at least this uneven if assignment works"),
        (
            "several",
            Integer,
            "units that got more than one variant; they are not among units, unless declared",
        ),
        (
            "p_value",
            Number,
            "probability that units differ so much at any look by what they did before the first decision, where there can be none",
        ),
        (
            "standing",
            Text,
            "open (not known yet), better, worse; a guardrail: safe, breached; before: balanced, biased (p_value below 0.001); split-broken if split_p is below 0.001; unmeasured if it could not be read",
        ),
        (
            "changed_at",
            Moment,
            "since when the experiment is not what it began as; none while it is. What it shows mixes before and after",
        ),
        (
            "changed",
            Text,
            "keys of its file that have changed since it began, with commas between them",
        ),
    ],
};
