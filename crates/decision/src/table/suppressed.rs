//! `system.suppressed`.

use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::ColumnType::{Integer, Moment, Text};
use super::SystemTable;

/// How many units of its audience a policy left out in a turn, for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuppressedRow {
    /// The turn that decided.
    pub turn: i64,
    /// The logical moment.
    pub at: Timestamp,
    /// The policy.
    pub policy: String,
    /// Why: `per_unit_every`, `consent`, `quiet_hours` (no time zone), `contact`, `per_turn`, `budget`, `stock` or `nothing`.
    pub reason: String,
    /// How many; whoever is left out for several reasons is counted under the first of them.
    pub units: i64,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "suppressed",
    about: "One row per policy, turn and reason: how many units of the audience were not decided for.",
    columns: &[
        ("turn", Integer, "the turn that decided"),
        ("at", Moment, "the logical moment"),
        ("policy", Text, "the policy"),
        (
            "reason",
            Text,
            "per_unit_every, consent, quiet_hours (no time zone), contact, per_turn, budget, stock or nothing",
        ),
        ("units", Integer, "how many; each is counted under the first reason that holds"),
    ],
};
