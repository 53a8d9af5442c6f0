//! `system.reported_outcomes`.

use flywheel_base::Timestamp;
use serde::Serialize;

use super::ColumnType::{Integer, Moment, Number, Text};
use super::SystemTable;

/// One message of a program about a decision, and what became of it. [`system.exposures`](super::exposure) has the same
/// rows, with the item in the place of event and value.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ReportedRow {
    /// Its place in the topic.
    pub(crate) offset: i64,
    /// When it was handed in.
    pub(crate) arrived_at: Timestamp,
    /// Follows from the decision and what is said of it; none if no decision is known.
    pub(crate) report_id: Option<String>,
    /// The decision it names.
    pub(crate) decision_id: Option<String>,
    /// The policy of that decision.
    pub(crate) policy: Option<String>,
    /// Whom the decision was about.
    pub(crate) unit_id: Option<String>,
    /// The event.
    pub(crate) event_id: Option<String>,
    /// The item that was seen.
    pub(crate) item: Option<String>,
    /// When it happened.
    pub(crate) at: Option<Timestamp>,
    /// What it is worth.
    pub(crate) value: Option<f64>,
    /// What became of it.
    pub(crate) status: String,
    /// Why it does not count.
    pub(crate) reason: Option<String>,
    /// The turn that read it.
    pub(crate) turn: i64,
    /// The logical moment it was read.
    pub(crate) recorded_at: Timestamp,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "reported_outcomes",
    about: "One row per outcome that a program handed in by POST /v1/outcomes and a turn has read, with what became of it. Those that are taken are counted in system.outcomes. Key: offset.",
    columns: &[
        ("offset", Integer, "the place in the topic outcomes, from 0"),
        ("arrived_at", Moment, "when it was handed in, by the machine's clock"),
        ("report_id", Text, "follows from decision and event; missing if the decision is unknown"),
        ("decision_id", Text, "the decision it names"),
        ("policy", Text, "the policy of that decision; missing if there is none"),
        ("unit_id", Text, "whom the decision was about, else whom the outcome names"),
        ("event_id", Text, "the event it names, else a digest of all it says"),
        (
            "at",
            Moment,
            "when it happened; when it was handed in if it says nothing or a later moment",
        ),
        ("value", Number, "what it is worth"),
        (
            "status",
            Text,
            "taken, repeated, unknown-decision, other-unit, other-policy, no-outcome, too-late or unreadable; only what is taken counts",
        ),
        ("reason", Text, "why it does not count"),
        ("turn", Integer, "the turn that read it"),
        ("recorded_at", Moment, "the logical moment it was read"),
    ],
};
