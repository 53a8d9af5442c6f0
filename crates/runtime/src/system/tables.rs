//! `system.tables`.

use std::collections::BTreeMap;

use flywheel_base::{ErrorKind, Result};
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_state::{MadeKind, Publication};
use flywheel_warehouse::{Location, TableState};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "tables",
    about: "One row per table or view that readers see. Key: name.",
    columns: &[
        ("name", Text, "schema.table, as in SQL"),
        (
            "kind",
            Text,
            "landed, model, view, learner, system, or table for what SQL statements made",
        ),
        ("location", Text, "the Delta table's folder, from the project folder; none for a view"),
        ("version", Integer, "the version readers see; none if the lake has lost it"),
        ("rows", Integer, "how many rows, if known; count(*) tells it while changes wait"),
        ("files", Integer, "how many data files"),
        ("size_bytes", Integer, "the size of the data files"),
        (
            "waiting_changes",
            Integer,
            "how many changes wait to be merged into the data files; readers see them all the same",
        ),
        ("committed_at", Moment, "when that version was committed, by the logical clock"),
    ],
};

/// Tables whose state is read at the same time.
const STATES_BESIDE_MAX: usize = 16;

/// A table or view as readers see it.
pub(crate) struct Seen {
    /// `landed`, `table`, `model`, `view`, `learner` or `system`.
    pub(crate) kind: &'static str,
    /// Where it lies; none for a view.
    pub(crate) location: Option<Location>,
    /// What is known of the version that readers see; none for a view, and for a table that is lost.
    pub(crate) state: Option<TableState>,
}

/// Every table and view that readers see, by its name in SQL.
pub(crate) async fn seen(workspace: &Workspace) -> Result<BTreeMap<String, Seen>> {
    let mut all = BTreeMap::new();
    let published = workspace.store.publications()?;
    let holds = workspace.store.holds()?;
    for at in workspace.lake.locations().await? {
        let Some((schema, table)) =
            at.as_str().split_once('/').filter(|(_, table)| !table.contains('/'))
        else {
            continue;
        };
        let kind = match schema {
            "learn" => "learner",
            "system" => "system",
            _ => "landed",
        };
        let name = format!("{schema}.{table}");
        let state = match holds.iter().find(|hold| hold.name == name) {
            Some(hold) => match hold.version {
                Some(version) => Some(workspace.lake.state_at(&at, version).await?),
                None => None,
            },
            None => workspace.lake.head(&at).await?,
        };
        if let Some(state) = state {
            all.insert(name, Seen { kind, location: Some(at), state: Some(state) });
        }
    }
    // Most tables of a project are models: their states are read beside each other.
    let states = published.into_iter().map(|publication| published_as(workspace, publication));
    let states: Vec<Result<(String, Seen)>> =
        stream::iter(states).buffered(STATES_BESIDE_MAX).collect().await;
    for state in states {
        let (name, seen) = state?;
        all.insert(name, seen);
    }
    for made in workspace.store.made()? {
        match made.kind {
            MadeKind::View => {
                all.entry(made.name).or_insert(Seen { kind: "view", location: None, state: None });
            }
            // What statements write is no sync's.
            MadeKind::Table => {
                if let Some(seen) = all.get_mut(&made.name).filter(|seen| seen.kind == "landed") {
                    seen.kind = "table";
                }
            }
            MadeKind::Schema => {}
        }
    }
    Ok(all)
}

/// What readers see of a model.
async fn published_as(workspace: &Workspace, publication: Publication) -> Result<(String, Seen)> {
    let name = publication.name;
    let (Some(location), Some(version)) = (publication.location, publication.version) else {
        return Ok((name, Seen { kind: "view", location: None, state: None }));
    };
    let at = Location::new(location)?;
    let state = match workspace.lake.state_at(&at, version).await {
        Ok(state) => Some(state),
        // A table that the lake lost is named all the same, and costs nobody the others: the next build
        // makes it anew.
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok((name, Seen { kind: "model", location: Some(at), state }))
}

/// Its rows.
pub(super) async fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let seen = seen(workspace).await?;
    let lake = &workspace.project.file.lake;
    let row = |(name, seen): (String, Seen)| match (seen.location, seen.state) {
        (Some(at), Some(state)) => json!({
            "name": name, "kind": seen.kind, "location": format!("{lake}/{at}"),
            "version": state.version, "rows": state.rows, "files": state.files, "size_bytes": state.bytes,
            "waiting_changes": state.waiting.rows, "committed_at": state.committed_at,
        }),
        (Some(at), None) => {
            json!({"name": name, "kind": seen.kind, "location": format!("{lake}/{at}")})
        }
        _ => json!({"name": name, "kind": seen.kind}),
    };
    Ok(seen.into_iter().map(row).collect())
}
