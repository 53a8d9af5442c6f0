//! `system.events`.

use flywheel_base::Result;
use flywheel_connect::journal_newest;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::{Workspace, events};

/// How many events of each topic are shown.
const EVENTS_MAX: u32 = 10_000;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "events",
    about: "One row per event that the server took, the newest 10,000 of each topic, seen as soon as they are acknowledged. Key: topic, offset.",
    columns: &[
        ("topic", Text, "the topic"),
        ("offset", Integer, "the place in the topic, from 0"),
        ("at", Moment, "when it was taken, by the machine's clock"),
        ("event", Text, "the event, as JSON"),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let journal = events::journal(workspace)?;
    let newest = journal_newest(&journal, workspace.dir(), None, EVENTS_MAX)?;
    let row = |one: flywheel_connect::JournalMessage| json!({"topic": one.topic, "offset": one.offset, "at": one.at, "event": one.text});
    Ok(newest.into_iter().map(row).collect())
}
