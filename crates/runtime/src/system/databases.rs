//! `system.databases`: there for those alone who may operate.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Flag, Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use flywheel_warehouse::TableName;
use serde_json::{Value, json};

use crate::Workspace;
use crate::databases::{Database, known};

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: NAME,
    about: "One row per connection and per store of ours, as each was when it was asked last: the server asks every five \
            minutes, and when *Operations* is told to. What a database does not tell is null. There for those alone who may \
            operate. Key: own, name.",
    columns: &[
        ("own", Flag, "whether it is a store of ours"),
        ("name", Text, "the connection; metadata, lake, journal or disk of our own"),
        ("kind", Text, "the type of the connection; the name of our own"),
        (
            "reachable",
            Flag,
            "whether it answered; null if its type tells nothing, so that it is not asked",
        ),
        ("last_error_kind", Text, "the kind of the error when it last did not answer"),
        ("last_error", Text, "what was said then"),
        ("last_error_at", Moment, "when that was"),
        ("version", Text, "the version of the server"),
        ("connections", Integer, "how many connections are open, those of others included"),
        ("connections_max", Integer, "how many may be"),
        ("size_bytes", Integer, "the size of the database or store; of the disk, all of it"),
        ("free_bytes", Integer, "how much room there is, of the disk"),
        ("tables", Integer, "how many tables, of the lake"),
        ("files", Integer, "how many files, of our own"),
        ("slots", Integer, "how many replication slots the server has"),
        ("slot", Text, "the slot that keeps the most of the log"),
        ("slot_active", Flag, "whether somebody reads from it just now"),
        ("slot_kept_bytes", Integer, "how much of the log it keeps"),
        ("slot_behind_bytes", Integer, "how far what was read from it is behind"),
        ("log_position", Text, "where the log of changes ends"),
        ("log_bytes", Integer, "the size of the log of changes that is kept, of MariaDB and MySQL"),
        ("log_kept_s", Integer, "for how many seconds it is kept; null if for ever"),
        ("active_queries", Integer, "statements under way that the connection's user may see"),
        ("slow_queries", Integer, "those of them that have been for a minute or longer"),
        ("took_ms", Number, "how long the answer took"),
        ("checked_at", Moment, "when it was asked"),
    ],
};

/// Its name, without the schema.
pub(super) const NAME: &str = "databases";

/// Its name in SQL.
pub(crate) fn name() -> TableName {
    TableName::new("system", NAME)
}

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    Ok(known(workspace)?.iter().map(row).collect())
}

fn row(one: &Database) -> Value {
    let (health, slot, error) = (&one.health, one.slot(), one.error.as_ref());
    json!({
        "own": one.own, "name": one.name, "kind": one.kind, "reachable": one.reachable,
        "last_error_kind": error.map(|error| &error.kind), "last_error": error.map(|error| &error.text),
        "last_error_at": error.map(|error| &error.at), "version": health.version,
        "connections": health.connections, "connections_max": health.connections_max,
        "size_bytes": health.size_bytes, "free_bytes": one.free_bytes, "tables": one.tables, "files": one.files,
        // Whether a server has slots is known of those that have any.
        "slots": slot.map(|_| health.slots.len()), "slot": slot.map(|slot| &slot.name),
        "slot_active": slot.map(|slot| slot.active), "slot_kept_bytes": slot.and_then(|slot| slot.kept_bytes),
        "slot_behind_bytes": slot.and_then(|slot| slot.behind_bytes), "log_position": health.log_position,
        "log_bytes": health.log_bytes, "log_kept_s": health.log_kept_s,
        "active_queries": health.active_queries, "slow_queries": health.slow_queries,
        "took_ms": one.took_ms, "checked_at": one.checked_at,
    })
}
