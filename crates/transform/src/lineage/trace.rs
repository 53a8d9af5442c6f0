//! From a query's plan to the columns each of its output columns is made of.
//!
//! The analysed, un-optimised plan is walked bottom-up. Each node yields, by position, what its
//! columns are made of ([`Origins`]), and beside that the columns that decide which rows there are
//! or which branch is taken: filters, join and grouping keys, sort orders, conditions of `CASE`.
//! Names are bound already, so the answer is exact, and nothing is run.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::{Case, WindowFunctionParams};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, JoinType, LogicalPlan};
use datafusion::logical_expr::{RecursiveQuery, SortExpr, Subquery, TableScan, Unnest, Window};
use flywheel_base::{Error, ErrorKind, Result};
use serde::Serialize;

/// How deep plans and expressions may be nested; deeper ones are refused rather than overflow the stack.
const DEPTH_MAX: usize = 400;

/// How often a recursive query is walked until its columns no longer change.
const RECURSIONS_MAX: usize = 32;

/// What happens to a value on its way; of several steps the last in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// The value is passed on as it is.
    Identity,
    /// The value goes into an expression of one row.
    #[serde(rename = "transform")]
    Computed,
    /// The value goes into a window function.
    Window,
    /// The value goes into an aggregate of many rows.
    Aggregate,
}

/// How a column decides about rows without becoming part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Influence {
    /// In a `WHERE`, `HAVING` or `FILTER`.
    Filter,
    /// In the condition of a join.
    Join,
    /// In a `GROUP BY` or `DISTINCT ON`.
    Group,
    /// In an `ORDER BY`.
    Sort,
    /// In the partition of a window.
    Window,
    /// In the condition of a `CASE`.
    Condition,
}

/// A column of a table, by the names SQL uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TableColumn {
    /// The table, `schema.name`.
    pub table: String,
    /// The column.
    pub column: String,
}

/// What one output column is made of; empty for a constant.
pub(crate) type Origins = BTreeMap<TableColumn, Transform>;

/// Columns that decide about rows, with the way they do it.
pub(crate) type Influences = BTreeSet<(TableColumn, Influence)>;

/// What a query's columns are made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traced {
    /// By position, the origins of each output column.
    pub(crate) columns: Vec<Origins>,
    /// What decided about rows on the way.
    pub(crate) influences: Influences,
}

/// Traces a plan down to the tables it scans.
///
/// # Errors
/// [`ErrorKind::Exhausted`] if the query is nested too deeply.
pub(crate) fn trace(plan: &LogicalPlan) -> Result<Traced> {
    Tracer::default().plan(plan, None)
}

/// The columns an expression may refer to, inner ones first.
#[derive(Clone, Copy)]
struct Scope<'a> {
    schema: &'a DFSchema,
    columns: &'a [Origins],
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    fn find(&self, column: &Column) -> Option<&Origins> {
        let index = self.schema.maybe_index_of_column(column)?;
        self.columns.get(index)
    }

    fn find_outer(&self, column: &Column) -> Option<&Origins> {
        let mut scope = self.outer;
        while let Some(outer) = scope {
            if let Some(found) = outer.find(column) {
                return Some(found);
            }
            scope = outer.outer;
        }
        None
    }
}

#[derive(Default)]
struct Tracer {
    /// Columns of the recursive queries around this node, by name.
    recursive: BTreeMap<String, Vec<Origins>>,
    influences: Influences,
    depth: usize,
}

impl Tracer {
    fn plan(&mut self, plan: &LogicalPlan, outer: Option<&Scope<'_>>) -> Result<Traced> {
        let columns = self.node(plan, outer)?;
        Ok(Traced { columns, influences: std::mem::take(&mut self.influences) })
    }

    fn node(&mut self, plan: &LogicalPlan, outer: Option<&Scope<'_>>) -> Result<Vec<Origins>> {
        self.descend()?;
        let columns = self.node_inner(plan, outer);
        self.depth -= 1;
        columns
    }

    fn descend(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth <= DEPTH_MAX {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Exhausted, "the query is nested too deeply to be traced")
            .hint("Split the model into several that ref() each other."))
    }

    fn node_inner(
        &mut self,
        plan: &LogicalPlan,
        outer: Option<&Scope<'_>>,
    ) -> Result<Vec<Origins>> {
        match plan {
            LogicalPlan::TableScan(scan) => Ok(self.scan(scan)),
            LogicalPlan::Projection(node) => {
                let input = self.node(&node.input, outer)?;
                self.expressions(&node.expr, scope(&node.input, &input, outer))
            }
            LogicalPlan::Filter(node) => {
                let input = self.node(&node.input, outer)?;
                let inner = scope(&node.input, &input, outer);
                self.influence(&node.predicate, inner, Influence::Filter)?;
                Ok(input)
            }
            LogicalPlan::Sort(node) => {
                let input = self.node(&node.input, outer)?;
                self.sorts(&node.expr, scope(&node.input, &input, outer))?;
                Ok(input)
            }
            LogicalPlan::Join(node) => self.join(node, outer),
            LogicalPlan::Aggregate(node) => self.aggregate(node, outer),
            LogicalPlan::Window(node) => self.window(node, outer),
            LogicalPlan::Union(node) => {
                let mut columns: Vec<Origins> = Vec::new();
                for input in &node.inputs {
                    union(&mut columns, self.node(input, outer)?);
                }
                Ok(columns)
            }
            LogicalPlan::Distinct(Distinct::On(node)) => {
                let input = self.node(&node.input, outer)?;
                let inner = scope(&node.input, &input, outer);
                for expr in &node.on_expr {
                    self.influence(expr, inner, Influence::Group)?;
                }
                self.sorts(node.sort_expr.as_deref().unwrap_or_default(), inner)?;
                self.expressions(&node.select_expr, inner)
            }
            LogicalPlan::Unnest(node) => self.unnest(node, outer),
            LogicalPlan::RecursiveQuery(node) => self.recursive_query(node, outer),
            LogicalPlan::Values(node) => Ok(vec![Origins::new(); node.schema.fields().len()]),
            LogicalPlan::EmptyRelation(node) => {
                Ok(vec![Origins::new(); node.schema.fields().len()])
            }
            other => self.other(other, outer),
        }
    }

    fn scan(&self, scan: &TableScan) -> Vec<Origins> {
        if let Some(columns) = self.recursive.get(scan.table_name.table()) {
            return match &scan.projection {
                None => columns.clone(),
                Some(indices) => {
                    indices.iter().map(|i| columns.get(*i).cloned().unwrap_or_default()).collect()
                }
            };
        }
        let table = match scan.table_name.schema() {
            Some(schema) => format!("{schema}.{}", scan.table_name.table()),
            None => scan.table_name.table().to_owned(),
        };
        let origin = |column: &str| {
            let origin = TableColumn { table: table.clone(), column: column.to_owned() };
            Origins::from([(origin, Transform::Identity)])
        };
        scan.projected_schema.fields().iter().map(|field| origin(field.name())).collect()
    }

    fn join(&mut self, join: &Join, outer: Option<&Scope<'_>>) -> Result<Vec<Origins>> {
        let left = self.node(&join.left, outer)?;
        let right = self.node(&join.right, outer)?;
        for (a, b) in &join.on {
            self.influence(a, scope(&join.left, &left, outer), Influence::Join)?;
            self.influence(b, scope(&join.right, &right, outer), Influence::Join)?;
        }
        if let Some(filter) = &join.filter {
            let both = [left.clone(), right.clone()].concat();
            let schema = join.left.schema().join(join.right.schema()).map_err(internal)?;
            let inner = Scope { schema: &schema, columns: &both, outer };
            self.influence(filter, inner, Influence::Join)?;
        }
        let marked = |mut columns: Vec<Origins>| {
            columns.push(Origins::new());
            columns
        };
        Ok(match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => left,
            JoinType::RightSemi | JoinType::RightAnti => right,
            JoinType::LeftMark => marked(left),
            JoinType::RightMark => marked(right),
            _ => [left, right].concat(),
        })
    }

    fn aggregate(&mut self, node: &Aggregate, outer: Option<&Scope<'_>>) -> Result<Vec<Origins>> {
        let input = self.node(&node.input, outer)?;
        let inner = scope(&node.input, &input, outer);
        let mut columns = Vec::new();
        for expr in grouping_set_to_exprlist(&node.group_expr).map_err(internal)? {
            self.influence(expr, inner, Influence::Group)?;
            columns.push(self.expression(expr, inner)?);
        }
        if matches!(node.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
            columns.push(Origins::new());
        }
        columns.extend(self.expressions(&node.aggr_expr, inner)?);
        Ok(columns)
    }

    fn window(&mut self, node: &Window, outer: Option<&Scope<'_>>) -> Result<Vec<Origins>> {
        let mut columns = self.node(&node.input, outer)?;
        let inner = scope(&node.input, &columns, outer);
        let added = self.expressions(&node.window_expr, inner)?;
        columns.extend(added);
        Ok(columns)
    }

    fn unnest(&mut self, node: &Unnest, outer: Option<&Scope<'_>>) -> Result<Vec<Origins>> {
        let input = self.node(&node.input, outer)?;
        let unnested = |index: &usize| {
            node.struct_type_columns.contains(index)
                || node.list_type_columns.iter().any(|(list, _)| list == index)
        };
        Ok(node
            .dependency_indices
            .iter()
            .map(|index| {
                let origins = input.get(*index).cloned().unwrap_or_default();
                if unnested(index) { through(origins, Transform::Computed) } else { origins }
            })
            .collect())
    }

    /// The recursive term reads its own columns: it is walked until nothing new appears.
    fn recursive_query(
        &mut self,
        node: &RecursiveQuery,
        outer: Option<&Scope<'_>>,
    ) -> Result<Vec<Origins>> {
        let mut columns = self.node(&node.static_term, outer)?;
        let before = self.recursive.insert(node.name.clone(), columns.clone());
        for _ in 0..RECURSIONS_MAX {
            let mut next = columns.clone();
            union(&mut next, self.node(&node.recursive_term, outer)?);
            if next == columns {
                break;
            }
            columns = next;
            self.recursive.insert(node.name.clone(), columns.clone());
        }
        match before {
            Some(before) => self.recursive.insert(node.name.clone(), before),
            None => self.recursive.remove(&node.name),
        };
        Ok(columns)
    }

    /// Nodes that pass columns through by position (aliases, limits, repartitioning, distinct), and
    /// unknown ones, of which every column depends on all columns below.
    fn other(&mut self, plan: &LogicalPlan, outer: Option<&Scope<'_>>) -> Result<Vec<Origins>> {
        let width = plan.schema().fields().len();
        let mut below = Vec::new();
        for input in plan.inputs() {
            below.extend(self.node(input, outer)?);
        }
        if below.len() == width {
            return Ok(below);
        }
        let mut all = Origins::new();
        for origins in below {
            merge(&mut all, through(origins, Transform::Computed));
        }
        Ok(vec![all; width])
    }

    fn expressions(&mut self, exprs: &[Expr], scope: Scope<'_>) -> Result<Vec<Origins>> {
        exprs.iter().map(|expr| self.expression(expr, scope)).collect()
    }

    /// What the value of `expr` is made of; conditions on the way are noted as influences.
    fn expression(&mut self, expr: &Expr, scope: Scope<'_>) -> Result<Origins> {
        self.descend()?;
        let origins = self.expression_inner(expr, scope);
        self.depth -= 1;
        origins
    }

    fn expression_inner(&mut self, expr: &Expr, scope: Scope<'_>) -> Result<Origins> {
        match expr {
            Expr::Column(column) => Ok(scope.find(column).cloned().unwrap_or_default()),
            Expr::OuterReferenceColumn(_, column) => {
                Ok(scope.find_outer(column).cloned().unwrap_or_default())
            }
            Expr::Alias(alias) => self.expression(&alias.expr, scope),
            Expr::Case(case) => self.case(case, scope),
            Expr::AggregateFunction(function) => {
                let params = &function.params;
                if let Some(filter) = &params.filter {
                    self.influence(filter, scope, Influence::Filter)?;
                }
                self.sorts(&params.order_by, scope)?;
                self.combine(params.args.iter(), scope, Transform::Aggregate)
            }
            Expr::WindowFunction(function) => self.window_function(&function.params, scope),
            Expr::ScalarSubquery(subquery) => {
                let columns = self.subquery(subquery, scope)?;
                Ok(through(columns.into_iter().next().unwrap_or_default(), Transform::Computed))
            }
            Expr::Exists(exists) => self.membership(&exists.subquery, None, scope),
            Expr::InSubquery(inside) => {
                self.membership(&inside.subquery, Some(&inside.expr), scope)
            }
            Expr::SetComparison(set) => self.membership(&set.subquery, Some(&set.expr), scope),
            other => {
                let mut children = Vec::new();
                other
                    .apply_children(|child| {
                        children.push(child);
                        Ok(TreeNodeRecursion::Continue)
                    })
                    .map_err(internal)?;
                self.combine(children.into_iter(), scope, Transform::Computed)
            }
        }
    }

    fn combine<'a>(
        &mut self,
        exprs: impl Iterator<Item = &'a Expr>,
        scope: Scope<'_>,
        transform: Transform,
    ) -> Result<Origins> {
        let mut all = Origins::new();
        for expr in exprs {
            merge(&mut all, through(self.expression(expr, scope)?, transform));
        }
        Ok(all)
    }

    fn case(&mut self, case: &Case, scope: Scope<'_>) -> Result<Origins> {
        if let Some(base) = &case.expr {
            self.influence(base, scope, Influence::Condition)?;
        }
        for (when, _) in &case.when_then_expr {
            self.influence(when, scope, Influence::Condition)?;
        }
        let then = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
        let values = then.chain(case.else_expr.as_deref());
        self.combine(values, scope, Transform::Computed)
    }

    fn window_function(
        &mut self,
        params: &WindowFunctionParams,
        scope: Scope<'_>,
    ) -> Result<Origins> {
        for expr in &params.partition_by {
            self.influence(expr, scope, Influence::Window)?;
        }
        if let Some(filter) = &params.filter {
            self.influence(filter, scope, Influence::Filter)?;
        }
        self.sorts(&params.order_by, scope)?;
        self.combine(params.args.iter(), scope, Transform::Window)
    }

    /// A test against a subquery: its columns decide, they do not become part of the value.
    fn membership(
        &mut self,
        subquery: &Subquery,
        value: Option<&Expr>,
        scope: Scope<'_>,
    ) -> Result<Origins> {
        for origins in self.subquery(subquery, scope)? {
            self.note(&origins, Influence::Condition);
        }
        match value {
            Some(value) => Ok(through(self.expression(value, scope)?, Transform::Computed)),
            None => Ok(Origins::new()),
        }
    }

    fn subquery(&mut self, subquery: &Subquery, scope: Scope<'_>) -> Result<Vec<Origins>> {
        self.node(&subquery.subquery, Some(&scope))
    }

    fn sorts(&mut self, sorts: &[SortExpr], scope: Scope<'_>) -> Result<()> {
        sorts.iter().try_for_each(|sort| self.influence(&sort.expr, scope, Influence::Sort))
    }

    fn influence(&mut self, expr: &Expr, scope: Scope<'_>, how: Influence) -> Result<()> {
        let origins = self.expression(expr, scope)?;
        self.note(&origins, how);
        Ok(())
    }

    fn note(&mut self, origins: &Origins, how: Influence) {
        self.influences.extend(origins.keys().map(|column| (column.clone(), how)));
    }
}

fn scope<'a>(
    input: &'a LogicalPlan,
    columns: &'a [Origins],
    outer: Option<&'a Scope<'a>>,
) -> Scope<'a> {
    Scope { schema: input.schema(), columns, outer }
}

/// Lets origins pass through another step.
fn through(origins: Origins, step: Transform) -> Origins {
    origins.into_iter().map(|(column, before)| (column, before.max(step))).collect()
}

/// Adds `more`; of two ways from one column the stronger counts.
fn merge(all: &mut Origins, more: Origins) {
    for (column, transform) in more {
        let entry = all.entry(column).or_insert(transform);
        *entry = (*entry).max(transform);
    }
}

/// Adds the columns of another branch of a union, by position.
fn union(all: &mut Vec<Origins>, more: Vec<Origins>) {
    if all.is_empty() {
        *all = more;
        return;
    }
    for (column, origins) in all.iter_mut().zip(more) {
        merge(column, origins);
    }
}

fn internal(error: datafusion::error::DataFusionError) -> Error {
    Error::internal("cannot trace the plan of a query").caused_by(error)
}
