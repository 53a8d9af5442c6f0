//! `system.followed_syncs`.

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;
use crate::follow::followed::{Followed, followed};

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "followed_syncs",
    about: "One row per sync that a server follows, as it stands now. Key: sync.",
    columns: &[
        ("sync", Text, "the sync"),
        (
            "state",
            Text,
            "stopped, starting, following, failing, partial, waiting, paused or failed",
        ),
        ("since", Moment, "since when it is followed without an end"),
        ("run_id", Text, "the run that follows it, or that did, in system.runs"),
        ("committed_at", Moment, "when rows were last committed"),
        (
            "reached",
            Moment,
            "everything that was in the source at this moment is committed, of all streams",
        ),
        ("rows", Integer, "rows read since it is followed"),
        ("rows_per_second", Number, "rows read in a second, over the last few seconds"),
        ("attempt", Integer, "how often it failed in a row"),
        ("next_at", Moment, "when it is tried again"),
        ("reason", Text, "why it waits or is paused"),
        ("paused_by", Text, "who paused it"),
        ("error", Text, "why it is tried again, or why it failed for good"),
        (
            "aside",
            Text,
            "what is set aside while the rest goes on, by the names of tasks, with commas between them",
        ),
    ],
};

/// Its rows.
pub(super) fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let row = |one: Followed| {
        let failing = one.failing().cloned();
        let aside: Vec<&str> = one.aside().map(|(name, _)| name.as_str()).collect();
        let aside = (!aside.is_empty()).then(|| aside.join(", "));
        json!({
            "sync": one.sync, "state": one.state, "since": one.since, "run_id": one.run_id,
            "committed_at": one.committed_at, "reached": one.reached(), "rows": one.rows(),
            "rows_per_second": one.rows_per_second, "attempt": failing.as_ref().map(|one| one.attempt),
            "next_at": failing.and_then(|one| one.next_at), "reason": one.reason, "paused_by": one.by,
            "error": one.trouble(), "aside": aside,
        })
    };
    Ok(followed(workspace)?.into_iter().map(row).collect())
}
