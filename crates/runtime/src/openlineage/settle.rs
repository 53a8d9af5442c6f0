//! The end of a run: events get columns, lineage and SQL, and are sent.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::Result;
use flywheel_transform::{AssetKind, ColumnGraph, EdgeKind, Mark};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::dataset::{Dataset, streams, table, tables};
use super::event::{add, add_to};
use super::send::Sender;
use super::{GRACE, declared};
use crate::system::tables::{Seen, seen};
use crate::{Workspace, lineage};

/// How many steps within one asset are followed to what it really reads.
const INNER_STEPS_MAX: usize = 4;

/// Runs that end at once are settled one after the other, so that no event is sent by two of them.
static SETTLING: Mutex<()> = Mutex::const_new(());

/// Completes the events that wait and sends what there is, for a short time; never fails.
pub(crate) async fn settle(workspace: &Workspace) {
    if declared(workspace).is_none() {
        return;
    }
    let _settling = SETTLING.lock().await;
    let sender = match Sender::new(workspace) {
        Ok(sender) => sender,
        Err(error) => {
            tracing::warn!(error = %error.report(), "events of OpenLineage are not sent");
            return;
        }
    };
    if let Err(error) = Box::pin(complete(workspace, &sender)).await {
        tracing::warn!(error = %error.report(), "events of OpenLineage wait as they are");
    }
    sender.send(GRACE).await;
}

/// Moves what waits in `plain` to those who are told.
async fn complete(workspace: &Workspace, sender: &Sender) -> Result<()> {
    let names = sender.plain.names()?;
    if names.is_empty() {
        return Ok(());
    }
    let knowledge = match Knowledge::gather(workspace).await {
        Ok(knowledge) => Some(knowledge),
        // An event without columns is better than none.
        Err(error) => {
            tracing::warn!(error = %error.report(), "events of OpenLineage are sent without columns");
            None
        }
    };
    for name in names {
        let mut events = sender.plain.read(&name)?;
        if let Some(knowledge) = &knowledge {
            events.iter_mut().for_each(|event| knowledge.complete(event));
        }
        sender.queue(&name, &events)?;
        sender.plain.remove(&name)?;
    }
    Ok(())
}

/// What is known of tables and their columns.
struct Knowledge {
    namespace: String,
    /// Tables that readers see.
    seen: BTreeMap<String, Seen>,
    graph: ColumnGraph,
    /// The nodes of each asset's columns, in their order.
    columns: BTreeMap<String, Vec<usize>>,
    /// What streams outside are called.
    streams: BTreeMap<String, Dataset>,
    /// The SQL of models.
    sql: BTreeMap<String, String>,
    lake: String,
}

impl Knowledge {
    async fn gather(workspace: &Workspace) -> Result<Self> {
        let project = &workspace.project;
        let graph = lineage::graph(workspace).await?;
        let mut columns: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, node) in graph.nodes().iter().enumerate() {
            let is_table =
                matches!(node.key.kind, AssetKind::Source | AssetKind::Model | AssetKind::Learner);
            if is_table && node.key.column.is_some() {
                columns.entry(node.key.asset.clone()).or_default().push(number);
            }
        }
        let mut sql = BTreeMap::new();
        if declared(workspace).is_some_and(|declared| declared.sql) {
            let nodes = flywheel_transform::lineage(project)?.nodes;
            sql.extend(nodes.into_iter().filter_map(|node| node.table.zip(node.sql)));
        }
        Ok(Self {
            namespace: tables(project),
            seen: seen(workspace).await?,
            graph,
            columns,
            streams: streams(project),
            sql,
            lake: project.lake_dir().display().to_string(),
        })
    }

    fn complete(&self, event: &mut Value) {
        let job = event.pointer("/job/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(sql) = job.strip_prefix("model.").and_then(|model| self.sql.get(model))
            && let Some(Value::Object(facets)) = event.pointer_mut("/job/facets")
        {
            add(facets, "sql", json!({"query": sql, "dialect": "datafusion"}));
        }
        for (place, written) in [("inputs", false), ("outputs", true)] {
            let sets = event.get_mut(place).and_then(Value::as_array_mut);
            for set in sets.into_iter().flatten() {
                let ours = set.get("namespace").and_then(Value::as_str) == Some(&self.namespace);
                let name = set.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                if ours {
                    self.describe(set, &name, written);
                }
            }
        }
    }

    /// Adds what is known of a table.
    fn describe(&self, set: &mut Value, name: &str, written: bool) {
        let seen = self.seen.get(name);
        let fields: Vec<Value> = match seen.and_then(|seen| seen.state.as_ref()) {
            Some(state) => {
                let fields = state.schema.fields().iter();
                fields
                    .map(|field| {
                        let kind = field.data_type().to_string().to_lowercase();
                        json!({"name": field.name(), "type": kind})
                    })
                    .collect()
            }
            // Of a view the names are known.
            None => self
                .columns
                .get(name)
                .into_iter()
                .flatten()
                .filter_map(|number| self.graph.nodes().get(*number)?.key.column.as_ref())
                .map(|column| json!({"name": column}))
                .collect(),
        };
        if !fields.is_empty() {
            add_to(set, "facets", "schema", json!({"fields": fields}));
        }
        if let Some(at) = seen.and_then(|seen| seen.location.as_ref()) {
            let path = format!("{}/{at}", self.lake);
            let link = json!([{"namespace": "file", "name": path, "type": "LOCATION"}]);
            add_to(set, "facets", "symlinks", json!({"identifiers": link}));
        }
        if !written {
            return;
        }
        let mut made = Map::new();
        for number in self.columns.get(name).into_iter().flatten() {
            let Some(node) = self.graph.nodes().get(*number) else { continue };
            let Some(column) = &node.key.column else { continue };
            let masked = matches!(node.mark, Some(Mark::Masked(_)));
            let inputs = self.inputs(*number, masked);
            // Inputs of a learner are columns of it only to us.
            let inner = node.key.kind == AssetKind::Learner && column.contains('.');
            if !inputs.is_empty() && !inner {
                made.insert(column.clone(), json!({"inputFields": inputs}));
            }
        }
        if !made.is_empty() {
            add_to(set, "facets", "columnLineage", json!({"fields": made}));
        }
    }

    /// The columns that one is made of, each with all that happens on the way.
    fn inputs(&self, node: usize, masked: bool) -> Vec<Value> {
        let mut found: BTreeMap<(Dataset, String), BTreeSet<EdgeKind>> = BTreeMap::new();
        self.follow(node, None, INNER_STEPS_MAX, &mut found);
        found
            .into_iter()
            .map(|((set, field), kinds)| {
                let steps: Vec<Value> = kinds
                    .into_iter()
                    .map(|kind| {
                        let (of, subtype) = transformation(kind);
                        json!({"type": of, "subtype": subtype, "description": kind.word(), "masking": masked && kind.is_direct()})
                    })
                    .collect();
                json!({"namespace": set.namespace, "name": set.name, "field": field, "transformations": steps})
            })
            .collect()
    }

    fn follow(
        &self,
        node: usize,
        on_the_way: Option<EdgeKind>,
        steps: usize,
        found: &mut BTreeMap<(Dataset, String), BTreeSet<EdgeKind>>,
    ) {
        let Some(own) = self.graph.nodes().get(node) else { return };
        for edge in self.graph.inputs(node) {
            let Some(from) = self.graph.nodes().get(edge.from) else { continue };
            let kind = on_the_way.map_or(edge.kind, |later| later.max(edge.kind));
            if from.key.asset == own.key.asset && from.key.kind == own.key.kind {
                if steps > 0 {
                    self.follow(edge.from, Some(kind), steps - 1, found);
                }
                continue;
            }
            // Other tools know tables: what a model reads of a metric is what the metric is made of.
            let of_metrics = matches!(
                from.key.kind,
                AssetKind::Metric | AssetKind::Measure | AssetKind::Dimension
            );
            if of_metrics {
                // Metrics are made of each other without circles, and not deeply.
                self.follow(edge.from, Some(kind), steps, found);
                continue;
            }
            let Some(column) = &from.key.column else { continue };
            let set = match from.key.kind {
                AssetKind::Source | AssetKind::Model | AssetKind::Learner => {
                    Dataset { namespace: self.namespace.clone(), name: from.key.asset.clone() }
                }
                AssetKind::Outside => match self.streams.get(&from.key.asset) {
                    Some(set) => set.clone(),
                    None => Dataset { namespace: "file".to_owned(), name: from.key.asset.clone() },
                },
                _ => continue,
            };
            found.entry((set, column.clone())).or_default().insert(kind);
        }
    }
}

/// What OpenLineage calls a step.
fn transformation(kind: EdgeKind) -> (&'static str, &'static str) {
    match kind {
        EdgeKind::Identity => ("DIRECT", "IDENTITY"),
        EdgeKind::Transform | EdgeKind::Learn => ("DIRECT", "TRANSFORMATION"),
        EdgeKind::Aggregate | EdgeKind::Window => ("DIRECT", "AGGREGATION"),
        EdgeKind::Filter | EdgeKind::Check => ("INDIRECT", "FILTER"),
        EdgeKind::Join => ("INDIRECT", "JOIN"),
        EdgeKind::Group => ("INDIRECT", "GROUP_BY"),
        EdgeKind::Sort => ("INDIRECT", "SORT"),
        EdgeKind::Partition => ("INDIRECT", "WINDOW"),
        EdgeKind::Condition => ("INDIRECT", "CONDITION"),
    }
}

/// The name of a table of ours that other tools know by another one: its place in the lake.
pub(super) fn places(workspace: &Workspace, names: &BTreeSet<String>) -> BTreeMap<Dataset, String> {
    let project = &workspace.project;
    let lake = project.lake_dir().display().to_string();
    let mut all = BTreeMap::new();
    for name in names {
        all.insert(table(project, name), name.clone());
        let path = format!("{lake}/{}", name.replacen('.', "/", 1));
        all.insert(Dataset { namespace: "file".to_owned(), name: path }, name.clone());
    }
    all
}
