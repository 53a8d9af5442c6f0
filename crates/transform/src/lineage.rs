//! Where rows and columns come from.
//!
//! Column lineage is read from the analysed plan of each model, planned over empty tables with the
//! columns of what it reads. It works before anything is built and costs about a millisecond a model.

mod expression;
mod trace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use flywheel_base::{Error, Result, suggest};
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::{Model, NodeId, NodeKind, Project};
use flywheel_warehouse::{Catalog, Query, Session, TableName};
use serde::Serialize;

use crate::{World, names, order};

pub use trace::{Influence, TableColumn, Transform};

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
    /// What it is: a model, a learner's table or a landed table.
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
    planner.columns(&model.relation())
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
    planner.walk(&model.relation(), column)
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
    let influences = traced.influences.into_iter().map(|(by, _)| by);
    Ok(traced.columns.into_iter().flat_map(BTreeMap::into_keys).chain(influences).collect())
}

/// Plans models over empty tables.
pub(crate) struct Planner<'a> {
    world: World<'a>,
    pub(crate) reads: order::Edges,
    queries: BTreeMap<String, Query>,
    pub(crate) schemas: BTreeMap<String, SchemaRef>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(world: World<'a>) -> Result<Self> {
        let mut reads = order::Edges::new();
        for model in world.project.models.values().filter(|model| model.config.enabled) {
            let read = names::read_by(world.project, &model.refs, &model.sources)?;
            reads.insert(model.relation(), read);
        }
        Ok(Self { world, reads, queries: BTreeMap::new(), schemas: BTreeMap::new() })
    }

    /// Plans a model and everything it reads.
    async fn plan(&mut self, model: &str) -> Result<()> {
        let above: BTreeSet<String> =
            order::ancestors(model, &self.reads).into_iter().map(str::to_owned).collect();
        let (models, tables): (BTreeSet<String>, BTreeSet<String>) = above
            .into_iter()
            .chain([model.to_owned()])
            .partition(|name| self.reads.contains_key(name));
        self.land(tables).await?;
        for wave in order::arrange(&models, &self.reads, &order::Edges::new())? {
            for name in wave {
                self.plan_one(&name).await?;
            }
        }
        Ok(())
    }

    /// Looks up the columns of landed tables.
    pub(crate) async fn land(&mut self, tables: impl IntoIterator<Item = String>) -> Result<()> {
        for table in tables {
            let location = names::plain_location(&table)?;
            let head = self.world.lake.head(&location).await?.ok_or_else(|| {
                Error::not_found(format!(
                    "table \"{table}\" does not exist yet, so its columns are unknown"
                ))
                .hint("Run `flywheel sync` first.")
            })?;
            self.schemas.insert(table, head.schema);
        }
        Ok(())
    }

    pub(crate) async fn plan_one(&mut self, name: &str) -> Result<()> {
        let Some(model) = names::model(self.world.project, name) else { return Ok(()) };
        let sql = names::render_model(self.world.project, model, false)?;
        let context =
            |error: Error| error.context(format!("model \"{}\" ({})", model.name, model.path));
        let query = self.session(name)?.query(&sql).await.map_err(context)?;
        self.schemas.insert(name.to_owned(), query.schema());
        self.queries.insert(name.to_owned(), query);
        Ok(())
    }

    /// A session over what the model `name` reads, empty.
    pub(crate) fn session(&self, name: &str) -> Result<Session> {
        let mut catalog = Catalog::new();
        for read in self.reads.get(name).into_iter().flatten() {
            if let Some(schema) = self.schemas.get(read) {
                catalog.memory(&TableName::parse(read)?, SchemaRef::clone(schema), Vec::new());
            }
        }
        self.world.lake.session(catalog)
    }

    pub(crate) fn columns(&self, model: &str) -> Result<ColumnLineage> {
        let Some(query) = self.queries.get(model) else {
            return Err(Error::internal(format!("model \"{model}\" was not planned")));
        };
        let traced = trace::trace(query.plan())?;
        let schema = query.schema();
        let columns = schema.fields().iter().zip(traced.columns).enumerate();
        let columns = columns.map(|(index, (field, origins))| ColumnOrigins {
            column: field.name().clone(),
            expression: expression::of(query.plan(), index),
            origins: origins
                .into_iter()
                .map(|(from, transform)| Origin { from, transform })
                .collect(),
        });
        let influences = traced.influences.into_iter().map(|(by, how)| Influenced { by, how });
        Ok(ColumnLineage {
            model: model.to_owned(),
            columns: columns.collect(),
            influences: influences.collect(),
        })
    }

    fn walk(&self, model: &str, column: &str) -> Result<Vec<LineageStep>> {
        let mut traced: BTreeMap<String, ColumnLineage> = BTreeMap::new();
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
            if !self.queries.contains_key(&node) {
                steps.push(landed(node, column));
                continue;
            }
            if !traced.contains_key(&node) {
                traced.insert(node.clone(), self.columns(&node)?);
            }
            let Some(lineage) = traced.get(&node) else { continue };
            let Some(found) = lineage.columns.iter().find(|found| found.column == column) else {
                let known: Vec<&str> = lineage.columns.iter().map(|c| c.column.as_str()).collect();
                return Err(Error::not_found(format!(
                    "model \"{node}\" has no column \"{column}\""
                ))
                .hint(suggest::hint(&column, known.iter().copied())));
            };
            for origin in &found.origins {
                let next = (origin.from.table.clone(), origin.from.column.clone());
                if seen.insert(next.clone()) {
                    open.push_back(next);
                }
            }
            let strongest = found.origins.iter().map(|origin| origin.transform).max();
            steps.push(LineageStep {
                node,
                kind: NodeKind::Model,
                column,
                transform: strongest.unwrap_or(Transform::Computed),
                expression: found.expression.clone(),
                upstream: found.origins.clone(),
                influences: lineage.influences.clone(),
            });
        }
        Ok(steps)
    }
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
