//! Where rows and columns come from.
//!
//! Column lineage is read from the analysed plan of each model, planned over empty tables with the
//! columns of what it reads. It works before anything is built and costs about a millisecond a model.
//!
//! ```text
//! project ─ planner ─► columns of each model ─┐
//! syncs, tests, metrics, learners, policies ──┴─ collect ─► ColumnGraph: one graph, both directions
//! ```

mod collect;
mod expression;
mod graph;
mod landing;
mod measured;
mod planner;
mod trace;
mod wheel;

use std::collections::{BTreeSet, VecDeque};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use flywheel_base::{Error, Result, suggest};
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::{Model, NodeId, NodeKind, Project};
use flywheel_warehouse::Query;
use serde::Serialize;

pub(crate) use self::planner::Planner;
use crate::{World, names};

pub use collect::column_graph;
pub use graph::{
    AssetKind, ColumnEdge, ColumnGraph, ColumnKey, ColumnNode, Direction, EdgeKind, Mark, Part,
};
pub use trace::{Influence, TableColumn, Transform};

/// How the names of tables begin that are semantic views.
pub(crate) const METRICS: &str = "metrics.";

/// How many steps a column's lineage may have.
const STEPS_MAX: usize = 10_000;

/// The graph of everything that depends on something.
#[derive(Clone, Debug, Serialize)]
pub struct Lineage {
    /// Every node, by kind and name.
    pub nodes: Vec<LineageNode>,
    /// Every edge, in the direction data flows.
    pub edges: Vec<LineageEdge>,
}

/// A node of the graph.
#[derive(Clone, Debug, Serialize)]
pub struct LineageNode {
    /// What identifies it.
    pub id: NodeId,
    /// Its name in SQL, `schema.name`, if it is a table.
    pub table: Option<String>,
    /// The file that declares it, relative to the project folder.
    pub file: Option<String>,
    /// How a model is stored.
    pub materialized: Option<Materialized>,
    /// A model's SQL, with its references resolved.
    pub sql: Option<String>,
}

/// An edge of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineageEdge {
    /// What is read.
    pub from: NodeId,
    /// What reads it.
    pub to: NodeId,
}

/// Where the columns of one model come from.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnLineage {
    /// The model, `schema.name`.
    pub model: String,
    /// Its columns, in their order.
    pub columns: Vec<ColumnOrigins>,
    /// Columns that decide which rows there are, or which branch of a `CASE` is taken.
    pub influences: Vec<Influenced>,
    /// Those of them that decide which rows there are, and so about every column.
    pub rows: Vec<Influenced>,
}

/// Where one column of a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnOrigins {
    /// The column.
    pub column: String,
    /// What it is computed by, as far as it can be told in one expression.
    pub expression: Option<String>,
    /// The columns it is made of; none for a constant.
    pub origins: Vec<Origin>,
    /// The columns that decide about it alone: in the condition of a `CASE`, the partition of a window.
    pub conditions: Vec<Influenced>,
}

/// A column another one is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The column.
    #[serde(flatten)]
    pub from: TableColumn,
    /// What happens to its values.
    pub transform: Transform,
}

/// A column that decides about rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Influenced {
    /// The column.
    #[serde(flatten)]
    pub by: TableColumn,
    /// How it decides.
    pub how: Influence,
}

/// One step of a column's way from the landed tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineageStep {
    /// The model or table, `schema.name`.
    pub node: String,
    /// What it is: a model, a semantic view that one reads, a learner's table or a landed table.
    pub kind: NodeKind,
    /// The column.
    pub column: String,
    /// What happens to values on their way into it; identity for a landed table.
    pub transform: Transform,
    /// What it is computed by, if that can be told in one expression.
    pub expression: Option<String>,
    /// The columns it is made of; none for a landed table.
    pub upstream: Vec<Origin>,
    /// Columns that decide which rows of the model there are.
    pub influences: Vec<Influenced>,
}

/// The project's graph with the SQL of its models.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a model's template cannot be rendered.
pub fn lineage(project: &Project) -> Result<Lineage> {
    let mut nodes = Vec::new();
    for (id, info) in project.graph.nodes() {
        let model = project.models.get(&id.name).filter(|_| id.kind == NodeKind::Model);
        let sql = match model.filter(|model| model.config.enabled) {
            Some(model) => Some(names::render_model(project, model, false)?),
            None => None,
        };
        let is_table = matches!(id.kind, NodeKind::Source | NodeKind::Model | NodeKind::Learner);
        nodes.push(LineageNode {
            id: id.clone(),
            table: is_table.then(|| names::relation(project, id)),
            file: info.file.clone(),
            materialized: model.map(|model| model.config.materialized),
            sql,
        });
    }
    let edge = |(from, to): (&NodeId, &NodeId)| LineageEdge { from: from.clone(), to: to.clone() };
    Ok(Lineage { nodes, edges: project.graph.edges().map(edge).collect() })
}

/// Where each column of a model comes from, one step up. The model is named `name` or `schema.name`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is no such model or a table it depends on has not
/// landed; [`flywheel_base::ErrorKind::Invalid`] if a model's SQL cannot be planned.
pub async fn model_columns(world: World<'_>, model: &str) -> Result<ColumnLineage> {
    let model = find(world.project, model)?;
    let mut planner = Planner::new(world)?;
    planner.plan(&model.relation()).await?;
    planner.columns(&model.relation()).cloned()
}

/// The way of one column of a model down to the landed tables, nearest steps first.
///
/// # Errors
/// As [`model_columns`]; also [`flywheel_base::ErrorKind::NotFound`] if the model has no such column.
pub async fn column_lineage(
    world: World<'_>,
    model: &str,
    column: &str,
) -> Result<Vec<LineageStep>> {
    let model = find(world.project, model)?;
    let mut planner = Planner::new(world)?;
    planner.plan(&model.relation()).await?;
    walk(&planner, &model.relation(), column)
}

/// What leads to each column of a query: the column, what happens on the way, and the column it comes from.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Exhausted`] if the query is nested too deeply.
pub fn traced_edges(query: &Query) -> Result<Vec<(String, EdgeKind, TableColumn)>> {
    let traced = trace::trace(query.plan())?;
    let schema = query.schema();
    let mut edges = BTreeSet::new();
    for (field, flow) in schema.fields().iter().zip(traced.columns) {
        let direct = flow.direct.into_iter().map(|(from, kind)| (EdgeKind::from(kind), from));
        let own = flow.own.into_iter().chain(traced.rows.iter().cloned());
        let own = own.map(|(from, how)| (EdgeKind::from(how), from));
        edges.extend(direct.chain(own).map(|(kind, from)| (field.name().clone(), kind, from)));
    }
    Ok(edges.into_iter().collect())
}

fn find<'a>(project: &'a Project, name: &str) -> Result<&'a Model> {
    let by_relation = names::model(project, name);
    by_relation.or_else(|| project.models.get(name)).ok_or_else(|| {
        let known: Vec<String> = project.models.values().map(Model::relation).collect();
        Error::not_found(format!("no model is named \"{name}\""))
            .hint(suggest::hint(name, known.iter().map(String::as_str)))
    })
}

/// Whether the answer of a query depends on when it is run, or on chance.
pub(crate) fn depends_on_time(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(function) = expr {
                    found |= function.func.signature().volatility != Volatility::Immutable;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    // A plan that cannot be walked is taken for one that may change.
    found || walked.is_err()
}

/// Every column that a query reads, for its values or to decide about rows.
pub(crate) fn columns_of(query: &Query) -> Result<BTreeSet<TableColumn>> {
    let traced = trace::trace(query.plan())?;
    let deciding = |influences: trace::Influences| influences.into_iter().map(|(by, _)| by);
    let columns = traced.columns.into_iter();
    let read = columns.flat_map(|flow| flow.direct.into_keys().chain(deciding(flow.own)));
    Ok(read.chain(deciding(traced.rows)).collect())
}

/// The steps from a model's column to the landed tables.
fn walk(planner: &Planner<'_>, model: &str, column: &str) -> Result<Vec<LineageStep>> {
    let project = planner.world.project;
    let mut steps = Vec::new();
    let mut seen = BTreeSet::from([(model.to_owned(), column.to_owned())]);
    let mut open = VecDeque::from([(model.to_owned(), column.to_owned())]);
    while let Some((node, column)) = open.pop_front() {
        if steps.len() >= STEPS_MAX {
            return Err(Error::exhausted(format!(
                "the lineage of \"{model}\" has more than {STEPS_MAX} steps"
            ))
            .hint("Ask for a column of a model further upstream."));
        }
        let Some(lineage) = planner.models.get(&node) else {
            steps.push(landed(node, column));
            continue;
        };
        let Some(found) = lineage.columns.iter().find(|found| found.column == column) else {
            let known: Vec<&str> = lineage.columns.iter().map(|c| c.column.as_str()).collect();
            return Err(Error::not_found(format!("model \"{node}\" has no column \"{column}\""))
                .hint(suggest::hint(&column, known.iter().copied())));
        };
        for origin in &found.origins {
            let next = (origin.from.table.clone(), origin.from.column.clone());
            if seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
        let strongest = found.origins.iter().map(|origin| origin.transform).max();
        let is_view = node.starts_with(METRICS) && names::model(project, &node).is_none();
        steps.push(LineageStep {
            kind: if is_view { NodeKind::Semantic } else { NodeKind::Model },
            node,
            column,
            transform: strongest.unwrap_or(Transform::Computed),
            expression: found.expression.clone(),
            upstream: found.origins.clone(),
            influences: lineage.influences.clone(),
        });
    }
    Ok(steps)
}

/// The last step: a column that landed, or that a learner wrote.
fn landed(node: String, column: String) -> LineageStep {
    let kind = if node.starts_with("learn.") { NodeKind::Learner } else { NodeKind::Source };
    LineageStep {
        node,
        kind,
        column,
        transform: Transform::Identity,
        expression: None,
        upstream: Vec::new(),
        influences: Vec::new(),
    }
}
