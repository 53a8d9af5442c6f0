//! `system.actions`.

use flywheel_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::ColumnType::{Integer, Moment, Text};
use super::SystemTable;

/// One delivery that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionRow {
    /// The idempotency key the receiver got.
    pub key: String,
    /// The decision.
    pub decision_id: String,
    /// The policy.
    pub policy: String,
    /// The turn that decided.
    pub turn: i64,
    /// The action resource it left through.
    pub action: String,
    /// `delivered`, `dead` or `discarded`.
    pub status: String,
    /// How often it was tried.
    pub attempts: i64,
    /// The logical moment it ended.
    pub ended_at: Option<Timestamp>,
    /// What the receiver answered.
    pub receipt: Option<String>,
    /// Why it was given up.
    pub error: Option<String>,
}

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "actions",
    about: "One row per delivery that ended, delivered or given up. Key: key.",
    columns: &[
        ("key", Text, "the idempotency key the receiver got"),
        ("decision_id", Text, "the decision"),
        ("policy", Text, "the policy"),
        ("turn", Integer, "the turn that decided"),
        ("action", Text, "the action resource it left through"),
        ("status", Text, "delivered or dead"),
        ("attempts", Integer, "how often it was tried"),
        ("ended_at", Moment, "the logical moment it ended"),
        ("receipt", Text, "what the receiver answered"),
        ("error", Text, "why it was given up"),
    ],
};
