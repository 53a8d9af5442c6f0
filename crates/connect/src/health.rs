//! How a database that is read does, as far as it tells those who may read it.

use serde::{Deserialize, Serialize};

/// From how many seconds on a statement counts as slow.
pub const SLOW_S: u32 = 60;

/// What a database says of itself; what it does not tell, or not to the connection's user, is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The version of the server or of the library that reads the file.
    pub version: Option<String>,
    /// How many connections are open, those of others included.
    pub connections: Option<u64>,
    /// How many may be.
    pub connections_max: Option<u64>,
    /// The size of the database.
    pub size_bytes: Option<u64>,
    /// What keeps the server's log of changes, what keeps the most first.
    pub slots: Vec<Slot>,
    /// Where the log of changes ends.
    pub log_position: Option<String>,
    /// The size of the log of changes that is kept.
    pub log_bytes: Option<u64>,
    /// How long the log of changes is kept.
    pub log_kept_s: Option<u64>,
    /// How many statements are under way, beside the one that asks.
    pub active_queries: Option<u64>,
    /// How many of them have been for [`SLOW_S`] or longer.
    pub slow_queries: Option<u64>,
}

/// A replication slot: the server keeps its log until whoever has the slot has read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody reads from it just now.
    pub active: bool,
    /// How much of the log it keeps.
    pub kept_bytes: Option<u64>,
    /// How far what was read from it is behind.
    pub behind_bytes: Option<u64>,
}
