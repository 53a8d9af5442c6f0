//! `system.attribution`.

use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::ColumnType::{Day, Flag, Integer, Moment, Number, Text};
use super::SystemTable;

/// What one method credits to an action of one day, as known at the last turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttributionRow {
    /// The turn that looked.
    pub turn: i64,
    /// The logical moment.
    pub at: Timestamp,
    /// The policy whose successes are credited.
    pub policy: String,
    /// The method.
    pub method: String,
    /// Whether the method only describes what came before what; false for `incremental` alone.
    pub descriptive: bool,
    /// The policy that gets the credit.
    pub touched_policy: String,
    /// What it chose.
    pub action: String,
    /// The action resource by which it left; none if it was only answered.
    pub channel: Option<String>,
    /// The day of the decisions that get the credit, in UTC.
    pub day: String,
    /// `incremental`: decisions in treatment whose window has closed, over which it is spread; else those that share
    /// in a success.
    pub touches: i64,
    /// Credited successes; `incremental`: decisions with an outcome beyond those that would have had one anyway.
    pub outcomes: Option<f64>,
    /// Lower end of its 95 % interval; for `incremental` alone.
    pub lower: Option<f64>,
    /// Upper end of its 95 % interval.
    pub upper: Option<f64>,
    /// Credited value.
    pub value: Option<f64>,
    /// Lower end of its 95 % interval; for `incremental` alone.
    pub value_lower: Option<f64>,
    /// Upper end of its 95 % interval.
    pub value_upper: Option<f64>,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "attribution",
    about: "What each method of a policy's `attribution` credits to actions, by day of the decision, as known at the last \
            turn. Only `incremental` says what was caused; all others are descriptive. Key: policy, method, \
            touched_policy, action, channel, day.",
    columns: &[
        ("turn", Integer, "the turn that looked"),
        ("at", Moment, "the logical moment"),
        ("policy", Text, "the policy whose successes are credited"),
        ("method", Text, "incremental, last-touch, first-touch, linear, time-decay or position"),
        (
            "descriptive",
            Flag,
            "whether it only says what came before what; false for incremental alone",
        ),
        ("touched_policy", Text, "the policy that gets the credit"),
        ("action", Text, "what it chose"),
        ("channel", Text, "the action resource by which it left; none if it was only answered"),
        ("day", Day, "the day of the decisions that get the credit, in UTC"),
        (
            "touches",
            Integer,
            "incremental: decisions in treatment whose window has closed; else decisions that share in a success",
        ),
        (
            "outcomes",
            Number,
            "credited successes; incremental: decisions with an outcome beyond those that would have had one anyway, none \
             if that cannot be known",
        ),
        ("lower", Number, "incremental: lower end of its 95 % interval"),
        ("upper", Number, "incremental: upper end of its 95 % interval"),
        ("value", Number, "credited value; none without one"),
        ("value_lower", Number, "incremental: lower end of its 95 % interval"),
        ("value_upper", Number, "incremental: upper end of its 95 % interval"),
    ],
};
