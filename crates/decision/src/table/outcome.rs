//! `system.outcomes`.

use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::ColumnType::{Flag, Integer, Moment, Number, Text};
use super::SystemTable;

/// One success, joined to the decision it is counted for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// Follows from decision and event.
    pub outcome_id: String,
    /// The decision it is counted for.
    pub decision_id: String,
    /// The policy.
    pub policy: String,
    /// Whose event it is.
    pub unit_id: String,
    /// The event.
    pub event_id: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// What it is worth.
    pub value: Option<f64>,
    /// `decision-id` if the event names its decision, `after-window` if it does and came after the window, so that it is
    /// not measured; else `window`.
    pub attribution: String,
    /// The turn that saw it.
    pub turn: i64,
    /// The logical moment it was seen.
    pub recorded_at: Timestamp,
    /// Whether it was seen only after the window had closed.
    pub late: bool,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "outcomes",
    about: "One row per event counted for a decision, late ones included. Key: outcome_id.",
    columns: &[
        ("outcome_id", Text, "follows from decision and event"),
        ("decision_id", Text, "the decision it is counted for"),
        ("policy", Text, "the policy"),
        ("unit_id", Text, "whose event it is"),
        ("event_id", Text, "the event"),
        ("occurred_at", Moment, "when it happened"),
        ("value", Number, "what it is worth"),
        (
            "attribution",
            Text,
            "decision-id if the event names its decision, after-window if it does and came after the window, so that it is not measured; else window",
        ),
        ("turn", Integer, "the turn that saw it"),
        ("recorded_at", Moment, "the logical moment it was seen"),
        ("late", Flag, "whether it was seen only after the window had closed"),
    ],
};
