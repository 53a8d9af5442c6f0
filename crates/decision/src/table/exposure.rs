//! `system.exposures`: rows of [`ReportedRow`](super::ReportedRow).

use super::ColumnType::{Integer, Moment, Text};
use super::SystemTable;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "exposures",
    about: "One row per message that somebody saw what was decided, handed in by POST /v1/exposures and read by a turn. A decision and its item count once, when they were first told of; further ones are repeated. Key: offset.",
    columns: &[
        ("offset", Integer, "the place in the topic exposures, from 0"),
        ("arrived_at", Moment, "when it was handed in, by the machine's clock"),
        ("report_id", Text, "follows from decision and item; missing if the decision is unknown"),
        ("decision_id", Text, "the decision it names"),
        ("policy", Text, "the policy of that decision; missing if there is none"),
        ("unit_id", Text, "whom the decision was about, else whom the exposure names"),
        ("item", Text, "the item that was seen; missing if it names none"),
        (
            "at",
            Moment,
            "when it was seen; when it was handed in if it says nothing or a later moment",
        ),
        (
            "status",
            Text,
            "taken, repeated, unknown-decision, other-unit, other-policy or unreadable",
        ),
        ("reason", Text, "why it does not count"),
        ("turn", Integer, "the turn that read it"),
        ("recorded_at", Moment, "the logical moment it was read"),
    ],
};
