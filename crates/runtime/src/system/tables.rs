//! `system.tables`.

use std::collections::BTreeMap;

use flywheel_base::Result;
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use serde_json::{Value, json};

use crate::Workspace;

/// Its definition.
pub(super) const TABLE: SystemTable = SystemTable {
    name: "tables",
    about: "One row per table or view that readers see. Key: name.",
    columns: &[
        ("name", Text, "schema.table, as in SQL"),
        ("kind", Text, "landed, model, view, learner or system"),
        ("location", Text, "the Delta table's folder, from the project folder; none for a view"),
        ("version", Integer, "the version readers see"),
        ("rows", Integer, "how many rows, if known"),
        ("files", Integer, "how many data files"),
        ("size_bytes", Integer, "the size of the data files"),
        ("committed_at", Moment, "when that version was committed, by the logical clock"),
    ],
};

/// Its rows.
pub(super) async fn rows(workspace: &Workspace) -> Result<Vec<Value>> {
    let mut rows = BTreeMap::new();
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
            rows.insert(name.clone(), row(workspace, &name, kind, at.as_str(), &state));
        }
    }
    for publication in published {
        let name = publication.name;
        let (Some(location), Some(version)) = (publication.location, publication.version) else {
            rows.insert(name.clone(), json!({"name": name, "kind": "view"}));
            continue;
        };
        let at = flywheel_warehouse::Location::new(location)?;
        let state = workspace.lake.state_at(&at, version).await?;
        rows.insert(name.clone(), row(workspace, &name, "model", at.as_str(), &state));
    }
    Ok(rows.into_values().collect())
}

fn row(
    workspace: &Workspace,
    name: &str,
    kind: &str,
    at: &str,
    state: &flywheel_warehouse::TableState,
) -> Value {
    json!({
        "name": name, "kind": kind, "location": format!("{}/{at}", workspace.project.file.lake),
        "version": state.version, "rows": state.rows, "files": state.files, "size_bytes": state.bytes,
        "committed_at": state.committed_at,
    })
}
