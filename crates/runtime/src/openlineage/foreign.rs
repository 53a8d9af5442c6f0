//! What other tools told of their jobs: `system.foreign_lineage`, and its place in the graph of columns.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_decision::table::ColumnType::{Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_transform::{AssetKind, ColumnGraph, ColumnKey, EdgeKind};
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, streams};
use super::settle::places;
use crate::Workspace;

/// The most edges that are read into the graph.
const EDGES_MAX: usize = 1_000_000;

/// The definition of `system.foreign_lineage`.
pub const TABLE: SystemTable = SystemTable {
    name: "foreign_lineage",
    about: "One row per way from a data set to another that an event of OpenLineage told of. Key: edge_id.",
    columns: &[
        ("edge_id", Text, "follows from the job and both ends"),
        ("job_namespace", Text, "the job's namespace"),
        ("job", Text, "the job"),
        (
            "from_namespace",
            Text,
            "the namespace of what is read; none for a job that reads nothing",
        ),
        ("from_name", Text, "what is read"),
        ("from_field", Text, "its column; none if only the data sets are known"),
        (
            "to_namespace",
            Text,
            "the namespace of what is written; none for a job that writes nothing",
        ),
        ("to_name", Text, "what is written"),
        ("to_field", Text, "its column; none if only the data sets are known"),
        ("kind", Text, "what happens on the way: identity, transform, aggregate, filter, join, …"),
        ("told_at", Moment, "when the event says that it happened"),
        ("producer", Text, "who told it"),
    ],
};

/// One way from a data set to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EdgeRow {
    pub(super) edge_id: String,
    pub(super) job_namespace: String,
    pub(super) job: String,
    pub(super) from_namespace: Option<String>,
    pub(super) from_name: Option<String>,
    pub(super) from_field: Option<String>,
    pub(super) to_namespace: Option<String>,
    pub(super) to_name: Option<String>,
    pub(super) to_field: Option<String>,
    pub(super) kind: String,
    pub(super) told_at: Timestamp,
    pub(super) producer: String,
}

impl EdgeRow {
    /// Gives the row the id that follows from what it says.
    pub(super) fn identified(mut self) -> Self {
        let end = |text: &Option<String>| text.clone().unwrap_or_default();
        let parts = [
            self.job_namespace.clone(),
            self.job.clone(),
            end(&self.from_namespace),
            end(&self.from_name),
            end(&self.from_field),
            end(&self.to_namespace),
            end(&self.to_name),
            end(&self.to_field),
            self.kind.clone(),
        ];
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        self.edge_id = digest::short(&parts);
        self
    }
}

/// The ids of all rows.
pub(super) async fn known(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let rows = columns(workspace, "edge_id", 1).await?;
    Ok(rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect())
}

/// Adds the foreign data sets to the graph. What they call by our names is ours.
pub(crate) async fn add(workspace: &Workspace, graph: &mut ColumnGraph) -> Result<()> {
    let list = "job_namespace, job, from_namespace, from_name, from_field, to_namespace, to_name, to_field, kind";
    let rows = columns(workspace, list, 9).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut tables: BTreeMap<String, AssetKind> = BTreeMap::new();
    let mut fields: BTreeMap<(AssetKind, String), Vec<String>> = BTreeMap::new();
    for node in graph.nodes() {
        let kind = node.key.kind;
        if matches!(kind, AssetKind::Source | AssetKind::Model | AssetKind::Learner) {
            tables.insert(node.key.asset.clone(), kind);
        }
        if let Some(column) = &node.key.column {
            fields.entry((kind, node.key.asset.clone())).or_default().push(column.clone());
        }
    }
    let names: BTreeSet<String> = tables.keys().cloned().collect();
    let places = places(workspace, &names);
    let outside: BTreeMap<Dataset, String> =
        streams(&workspace.project).into_iter().map(|(asset, set)| (set, asset)).collect();
    let end = |namespace: &Option<String>, name: &Option<String>| {
        let set = Dataset { namespace: namespace.clone()?, name: name.clone()? };
        if let Some(table) = places.get(&set) {
            return Some((*tables.get(table)?, table.clone()));
        }
        if let Some(asset) = outside.get(&set) {
            return Some((AssetKind::Outside, asset.clone()));
        }
        Some((AssetKind::Foreign, format!("{}/{}", set.namespace, set.name)))
    };
    for row in rows {
        let [
            job_namespace,
            job,
            from_namespace,
            from_name,
            from_field,
            to_namespace,
            to_name,
            to_field,
            kind,
        ] = row.as_slice()
        else {
            continue;
        };
        let from = end(from_namespace, from_name);
        let to = end(to_namespace, to_name);
        let kind = kind_of(kind.as_deref().unwrap_or_default());
        let job = || {
            let name = |text: &Option<String>| text.clone().unwrap_or_default();
            (AssetKind::Foreign, format!("{}/{}", name(job_namespace), name(job)))
        };
        // A job that only reads or only writes is an end itself.
        let (from, to) = match (from, to) {
            (Some(from), Some(to)) => (from, to),
            (Some(from), None) => (from, job()),
            (None, Some(to)) => (job(), to),
            (None, None) => continue,
        };
        let ends = |graph: &mut ColumnGraph,
                    (kind, asset): &(AssetKind, String),
                    field: &Option<String>| {
            let key = |column: &str| ColumnKey::new(*kind, asset.as_str(), column);
            match (field, fields.get(&(*kind, asset.clone()))) {
                (Some(field), _) => vec![graph.add(key(field))],
                // Of a table whose columns are known any may be meant.
                (None, Some(columns)) => {
                    columns.iter().map(|column| graph.add(key(column))).collect()
                }
                (None, None) => vec![graph.add(ColumnKey::whole(*kind, asset.as_str()))],
            }
        };
        let from = ends(graph, &from, from_field);
        let to = ends(graph, &to, to_field);
        if from.len().saturating_mul(to.len()) > EDGES_MAX {
            graph.notes.push(
                "a job of another tool has too many columns on both sides to be drawn".to_owned(),
            );
            continue;
        }
        for from in &from {
            for to in &to {
                graph.link(*from, *to, kind);
            }
        }
    }
    graph.spread_marks();
    Ok(())
}

fn kind_of(word: &str) -> EdgeKind {
    match word {
        "identity" => EdgeKind::Identity,
        "aggregate" => EdgeKind::Aggregate,
        "window" => EdgeKind::Window,
        "filter" => EdgeKind::Filter,
        "join" => EdgeKind::Join,
        "group" => EdgeKind::Group,
        "sort" => EdgeKind::Sort,
        "partition" => EdgeKind::Partition,
        "condition" => EdgeKind::Condition,
        _ => EdgeKind::Transform,
    }
}

/// Columns of the table as text, a list per row; nothing if the table was never made.
async fn columns(
    workspace: &Workspace,
    list: &str,
    width: usize,
) -> Result<Vec<Vec<Option<String>>>> {
    if workspace.lake.head(&TABLE.location()?).await?.is_none() {
        return Ok(Vec::new());
    }
    let sql =
        format!("select {list} from system.foreign_lineage order by edge_id limit {EDGES_MAX}");
    let query = workspace.lake_session().await?.query(&sql).await?;
    let mut rows = Vec::new();
    for batch in query.collect().await? {
        let texts = batch
            .columns()
            .iter()
            .map(|column| arrow::compute::cast(column, &DataType::Utf8))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| Error::internal("a text of the lineage is none").caused_by(error))?;
        for row in 0..batch.num_rows() {
            let mut cells = Vec::with_capacity(width);
            for text in &texts {
                let text = text.as_string::<i32>();
                let value =
                    (!arrow::array::Array::is_null(text, row)).then(|| text.value(row).to_owned());
                cells.push(value);
            }
            rows.push(cells);
        }
    }
    Ok(rows)
}
