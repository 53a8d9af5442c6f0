//! Questions about the graph of columns: what a column is made of, and what is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use flywheel_base::Result;
use flywheel_transform::{ColumnEdge, ColumnGraph, ColumnKey, Direction, EdgeKind, Mark, Part};
use serde::Serialize;
use tracing::debug;

use crate::{Workspace, openlineage};

/// A question about the graph of columns.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is asked for, as [`ColumnGraph::find`] takes it.
    pub of: String,
    /// Which ways; both if empty.
    pub directions: Vec<Direction>,
    /// How many steps at most; without it all.
    pub depth: Option<usize>,
    /// Whether columns are shown where a whole asset is asked for.
    pub columns: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What was asked for, by full name.
    pub of: Vec<String>,
    /// The columns, or the assets if a whole one was asked for; those asked for first, then the nearest.
    pub nodes: Vec<Found>,
    /// How they lead to one another, in the direction data flows.
    pub edges: Vec<Leads>,
    /// Whether more lies behind the depth that was asked for.
    pub cut: bool,
    /// What could not be traced.
    pub notes: Vec<String>,
}

/// A column or an asset that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its full name.
    pub id: String,
    /// What it is.
    #[serde(flatten)]
    pub key: ColumnKey,
    /// How many steps away it is.
    pub steps: usize,
    /// What it is computed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Whether its values are not for everyone, and why.
    #[serde(flatten)]
    pub mark: Option<Mark>,
}

/// How one leads to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leads {
    /// What is read.
    pub from: String,
    /// What it goes into.
    pub to: String,
    /// What happens on the way.
    pub kind: EdgeKind,
    /// Whether values flow, rather than decide.
    pub direct: bool,
}

/// The graph of columns of the project, with what other tools told of theirs.
///
/// # Errors
/// Those of the lake.
pub async fn graph(workspace: &Workspace) -> Result<ColumnGraph> {
    let mut graph = Box::pin(flywheel_transform::column_graph(workspace.world())).await?;
    Box::pin(openlineage::foreign::add(workspace, &mut graph)).await?;
    Ok(graph)
}

/// Answers a question.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] with the nearest name if nothing is called so; those of the lake.
pub async fn ask(workspace: &Workspace, question: &Question) -> Result<Answer> {
    let graph = graph(workspace).await?;
    let watch = Instant::now();
    let answer = answer(&graph, question);
    let answer_ms = watch.elapsed().as_secs_f64() * 1_000.0;
    debug!(
        nodes = graph.nodes().len(),
        edges = graph.edges().len(),
        answer_ms,
        "a question about lineage"
    );
    answer
}

/// Answers a question from a graph.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] with the nearest name if nothing is called so.
pub fn answer(graph: &ColumnGraph, question: &Question) -> Result<Answer> {
    let start = graph.find(&question.of)?;
    let both = [Direction::Upstream, Direction::Downstream];
    let directions =
        if question.directions.is_empty() { &both[..] } else { question.directions.as_slice() };
    let mut whole = Part::default();
    let mut known: BTreeMap<usize, usize> = BTreeMap::new();
    let mut edges = BTreeSet::new();
    for direction in directions {
        let part = graph.around(&start, *direction, question.depth.unwrap_or(usize::MAX));
        whole.cut |= part.cut;
        edges.extend(part.edges);
        for (node, steps) in part.nodes {
            let nearest = known.entry(node).or_insert_with(|| {
                whole.nodes.push((node, steps));
                steps
            });
            *nearest = (*nearest).min(steps);
        }
    }
    whole.nodes.sort_by_key(|(node, _)| (known.get(node).copied(), *node));
    whole.edges = edges.into_iter().collect();
    // A whole table is asked for: what it has to do with others is told by table.
    let one = start.len() == 1 && has_column(graph, &start);
    let by_asset = !one && !question.columns;
    let nodes = whole.nodes.iter().filter_map(|(number, _)| {
        let node = graph.nodes().get(*number)?;
        let (mut key, mut expression) = (node.key.clone(), node.expression.clone());
        if by_asset {
            (key.column, expression) = (None, None);
        }
        let mark = if by_asset { None } else { node.mark.clone() };
        let steps = known.get(number).copied().unwrap_or_default();
        Some(Found { id: key.to_string(), key, steps, expression, mark })
    });
    let mut seen = BTreeSet::new();
    let nodes: Vec<Found> = nodes.filter(|found| seen.insert(found.id.clone())).collect();
    let name = |number: usize| {
        let key = &graph.nodes().get(number)?.key;
        Some(if by_asset { key.asset_shown() } else { key.to_string() })
    };
    let lead = |edge: &ColumnEdge| {
        let (from, to) = (name(edge.from)?, name(edge.to)?);
        Some(Leads { from, to, kind: edge.kind, direct: edge.kind.is_direct() })
    };
    let leads = whole.edges.iter().filter_map(|number| lead(graph.edges().get(*number)?));
    let mut seen = BTreeSet::new();
    let edges = leads
        .filter(|leads| !by_asset || leads.from != leads.to)
        .filter(|leads| seen.insert(leads.clone()))
        .collect();
    let mut of: Vec<String> = start.iter().filter_map(|number| name(*number)).collect();
    of.dedup();
    Ok(Answer { of, nodes, edges, cut: whole.cut, notes: graph.notes.clone() })
}

fn has_column(graph: &ColumnGraph, start: &[usize]) -> bool {
    let first = start.first().and_then(|number| graph.nodes().get(*number));
    // A metric has no columns and is as small as one.
    first.is_some_and(|node| {
        node.key.column.is_some() || node.key.kind == flywheel_transform::AssetKind::Metric
    })
}

impl Answer {
    /// The answer as a diagram of Mermaid: values by whole arrows, what only decides by dotted ones.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        let numbers: BTreeMap<&str, usize> =
            self.nodes.iter().enumerate().map(|(at, found)| (found.id.as_str(), at)).collect();
        for (number, found) in self.nodes.iter().enumerate() {
            let asset = found.key.asset_shown();
            let label = match &found.key.column {
                Some(column) => format!("{}<br/>{}", escaped(&asset), escaped(column)),
                None => escaped(&asset),
            };
            let mark = if found.mark.is_some() { " 🔒" } else { "" };
            text.push_str(&format!("  n{number}[\"{label}{mark}\"]\n"));
        }
        for edge in &self.edges {
            let ends = numbers.get(edge.from.as_str()).zip(numbers.get(edge.to.as_str()));
            let Some((from, to)) = ends else { continue };
            let arrow = if edge.direct { "-->" } else { "-.->" };
            text.push_str(&format!("  n{from} {arrow}|{}| n{to}\n", edge.kind.word()));
        }
        text
    }
}

/// A text between double quotes of Mermaid.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use flywheel_transform::AssetKind;

    use super::*;

    fn graph() -> ColumnGraph {
        let mut graph = ColumnGraph::default();
        let amount = graph.add(ColumnKey::new(AssetKind::Source, "raw.orders", "amount"));
        let status = graph.add(ColumnKey::new(AssetKind::Source, "raw.orders", "a \"b\""));
        let revenue = graph.add(ColumnKey::new(AssetKind::Model, "mart.sales", "revenue"));
        let count = graph.add(ColumnKey::new(AssetKind::Model, "mart.sales", "orders"));
        graph.link(amount, revenue, EdgeKind::Aggregate);
        graph.link(status, revenue, EdgeKind::Filter);
        graph.link(status, count, EdgeKind::Filter);
        graph.mark(amount, Mark::Masked("redact".to_owned()));
        graph.spread_marks();
        graph
    }

    fn ask(of: &str, columns: bool) -> Answer {
        let of = of.to_owned();
        answer(&graph(), &Question { of, directions: Vec::new(), depth: None, columns }).unwrap()
    }

    #[test]
    fn a_column_is_answered_by_columns_and_a_table_by_tables() {
        let column = ask("sales.revenue", false);
        let edges: Vec<String> = column
            .edges
            .iter()
            .map(|edge| format!("{} {} {}", edge.from, edge.kind.word(), edge.to))
            .collect();
        assert_eq!(
            edges,
            [
                "raw.orders.amount aggregate mart.sales.revenue",
                "raw.orders.a \"b\" filter mart.sales.revenue"
            ]
        );
        let table = ask("mart.sales", false);
        let ids: Vec<&str> = table.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["mart.sales", "raw.orders"]);
        assert_eq!(table.edges.len(), 2, "one of each kind: {:?}", table.edges);
        assert_eq!(ask("mart.sales", true).edges.len(), 3);
    }

    #[test]
    fn a_diagram_shows_marks_and_dots_what_only_decides() {
        let drawn = ask("sales.revenue", false).mermaid();
        assert!(drawn.starts_with("flowchart LR\n  n0[\"mart.sales<br/>revenue 🔒\"]"), "{drawn}");
        assert!(drawn.contains("raw.orders<br/>a &quot;b&quot;"), "{drawn}");
        assert!(
            drawn.contains("-->|aggregate| n0") && drawn.contains("-.->|filter| n0"),
            "{drawn}"
        );
    }
}
