//! `system.credits`.

use flywheel_base::Timestamp;
use serde::Serialize;

use super::ColumnType::{Integer, Moment, Number, Text};
use super::SystemTable;

/// The share of one success that each descriptive method gives to one action before it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CreditRow {
    /// Follows from policy, event and decision.
    pub(crate) credit_id: String,
    /// The policy whose success it is.
    pub(crate) policy: String,
    /// The event.
    pub(crate) event_id: String,
    /// Whose event it is.
    pub(crate) unit_id: String,
    /// When it happened.
    pub(crate) occurred_at: Timestamp,
    /// What it is worth.
    pub(crate) value: Option<f64>,
    /// The decision that gets the share.
    pub(crate) decision_id: String,
    /// Its policy.
    pub(crate) touched_policy: String,
    /// What was chosen.
    pub(crate) action: String,
    /// The action resource by which it left; none if it was only answered.
    pub(crate) channel: Option<String>,
    /// When it was decided.
    pub(crate) touched_at: Timestamp,
    /// The share by `last-touch`.
    pub(crate) last_touch: f64,
    /// The share by `first-touch`.
    pub(crate) first_touch: f64,
    /// The share by `linear`.
    pub(crate) linear: f64,
    /// The share by `time-decay`.
    pub(crate) time_decay: f64,
    /// The share by `position`.
    pub(crate) position: f64,
    /// The turn that saw the event.
    pub(crate) turn: i64,
    /// The logical moment it was seen.
    pub(crate) recorded_at: Timestamp,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "credits",
    about: "One row per success and action before it: the share of the credit by each descriptive method, which sum to 1 \
            over a success. It says what came before what, not what caused it. Key: credit_id.",
    columns: &[
        ("credit_id", Text, "follows from policy, event and decision"),
        ("policy", Text, "the policy whose success it is"),
        ("event_id", Text, "the event"),
        ("unit_id", Text, "whose event it is"),
        ("occurred_at", Moment, "when it happened"),
        ("value", Number, "what it is worth"),
        ("decision_id", Text, "the decision that gets the share"),
        ("touched_policy", Text, "the policy of the decision"),
        ("action", Text, "what was chosen"),
        ("channel", Text, "the action resource by which it left; none if it was only answered"),
        ("touched_at", Moment, "when it was decided"),
        ("last_touch", Number, "share by last-touch"),
        ("first_touch", Number, "share by first-touch"),
        ("linear", Number, "share by linear"),
        ("time_decay", Number, "share by time-decay"),
        ("position", Number, "share by position"),
        ("turn", Integer, "the turn that saw the event"),
        ("recorded_at", Moment, "the logical moment it was seen"),
    ],
};
