//! From a query's plan to the columns each of its output columns is made of.
//!
//! The analysed, un-optimised plan is walked bottom-up. Each node yields, by position, what its columns
//! are made of and what decides about each of them alone ([`Flow`]): the condition of its `CASE`, the
//! partition of its window, the filters of the subquery it is. What decides which rows there are
//! (filters, join and grouping keys, sort orders) decides about every column and is kept beside them.
//! Names are bound already, so the answer is exact, and nothing is run.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Case, InSubquery, WindowFunctionParams};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, JoinType, LogicalPlan};
use datafusion::logical_expr::{RecursiveQuery, SortExpr, Subquery, TableScan, Unnest, Window};
use flywheel_base::{Error, ErrorKind, Result};
use serde::Serialize;

/// How deep plans and expressions may be nested; deeper ones are refused rather than overflow the stack.
const DEPTH_MAX: usize = 400;

/// The function whose answer is made of what a learner has learned as well.
const PREDICT: &str = "predict";

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
    /// In a `GROUP BY`, a `DISTINCT` or a union that removes doubles.
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

/// What one output column is made of, and what decides about it alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// The columns its values are made of.
    pub(crate) direct: Origins,
    /// The columns that decide about it and not about the rows.
    pub(crate) own: Influences,
}

/// What a query's columns are made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traced {
    /// By position, what makes each output column.
    pub(crate) columns: Vec<Flow>,
    /// What decides which rows there are, and so about every column.
    pub(crate) rows: Influences,
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
    columns: &'a [Flow],
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    fn find(&self, column: &Column) -> Option<&Flow> {
        let index = self.schema.maybe_index_of_column(column)?;
        self.columns.get(index)
    }

    fn find_outer(&self, column: &Column) -> Option<&Flow> {
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
    recursive: BTreeMap<String, Vec<Flow>>,
    /// What decides which rows of the query under way there are.
    rows: Influences,
    depth: usize,
}

impl Tracer {
    fn plan(&mut self, plan: &LogicalPlan, outer: Option<&Scope<'_>>) -> Result<Traced> {
        let columns = self.node(plan, outer)?;
        Ok(Traced { columns, rows: std::mem::take(&mut self.rows) })
    }

    fn node(&mut self, plan: &LogicalPlan, outer: Option<&Scope<'_>>) -> Result<Vec<Flow>> {
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

    fn node_inner(&mut self, plan: &LogicalPlan, outer: Option<&Scope<'_>>) -> Result<Vec<Flow>> {
        match plan {
            LogicalPlan::TableScan(scan) => Ok(self.scan(scan)),
            LogicalPlan::Projection(node) => {
                let input = self.node(&node.input, outer)?;
                self.expressions(&node.expr, scope(&node.input, &input, outer))
            }
            LogicalPlan::Filter(node) => {
                let input = self.node(&node.input, outer)?;
                let inner = scope(&node.input, &input, outer);
                self.decide(&node.predicate, inner, Influence::Filter)?;
                Ok(input)
            }
            LogicalPlan::Sort(node) => {
                let input = self.node(&node.input, outer)?;
                let inner = scope(&node.input, &input, outer);
                for sort in &node.expr {
                    self.decide(&sort.expr, inner, Influence::Sort)?;
                }
                Ok(input)
            }
            LogicalPlan::Join(node) => self.join(node, outer),
            LogicalPlan::Aggregate(node) => self.aggregate(node, outer),
            LogicalPlan::Window(node) => self.window(node, outer),
            LogicalPlan::Union(node) => {
                let mut columns: Vec<Flow> = Vec::new();
                for input in &node.inputs {
                    union(&mut columns, self.node(input, outer)?);
                }
                Ok(columns)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                // Without one of its columns there would be other rows.
                let columns = self.node(input, outer)?;
                for column in &columns {
                    note(&mut self.rows, column, Influence::Group);
                }
                Ok(columns)
            }
            LogicalPlan::Distinct(Distinct::On(node)) => {
                let input = self.node(&node.input, outer)?;
                let inner = scope(&node.input, &input, outer);
                for expr in &node.on_expr {
                    self.decide(expr, inner, Influence::Group)?;
                }
                for sort in node.sort_expr.iter().flatten() {
                    self.decide(&sort.expr, inner, Influence::Sort)?;
                }
                self.expressions(&node.select_expr, inner)
            }
            LogicalPlan::Unnest(node) => self.unnest(node, outer),
            LogicalPlan::RecursiveQuery(node) => self.recursive_query(node, outer),
            LogicalPlan::Values(node) => Ok(vec![Flow::default(); node.schema.fields().len()]),
            LogicalPlan::EmptyRelation(node) => {
                Ok(vec![Flow::default(); node.schema.fields().len()])
            }
            other => self.other(other, outer),
        }
    }

    fn scan(&self, scan: &TableScan) -> Vec<Flow> {
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
            Flow { direct: Origins::from([(origin, Transform::Identity)]), own: Influences::new() }
        };
        scan.projected_schema.fields().iter().map(|field| origin(field.name())).collect()
    }

    fn join(&mut self, join: &Join, outer: Option<&Scope<'_>>) -> Result<Vec<Flow>> {
        let left = self.node(&join.left, outer)?;
        let beside = scope(&join.left, &left, outer);
        // A lateral subquery refers to the columns on its left as outer ones.
        let right_outer = if is_lateral(&join.right) { Some(&beside) } else { outer };
        let right = self.node(&join.right, right_outer)?;
        for (a, b) in &join.on {
            self.decide(a, beside, Influence::Join)?;
            self.decide(b, scope(&join.right, &right, outer), Influence::Join)?;
        }
        if let Some(filter) = &join.filter {
            let both = [left.clone(), right.clone()].concat();
            let schema = join.left.schema().join(join.right.schema()).map_err(internal)?;
            let inner = Scope { schema: &schema, columns: &both, outer };
            self.decide(filter, inner, Influence::Join)?;
        }
        let marked = |mut columns: Vec<Flow>| {
            columns.push(Flow::default());
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

    fn aggregate(&mut self, node: &Aggregate, outer: Option<&Scope<'_>>) -> Result<Vec<Flow>> {
        let input = self.node(&node.input, outer)?;
        let inner = scope(&node.input, &input, outer);
        let mut columns = Vec::new();
        for expr in grouping_set_to_exprlist(&node.group_expr).map_err(internal)? {
            self.decide(expr, inner, Influence::Group)?;
            columns.push(self.expression(expr, inner)?);
        }
        if matches!(node.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
            columns.push(Flow::default());
        }
        columns.extend(self.expressions(&node.aggr_expr, inner)?);
        Ok(columns)
    }

    fn window(&mut self, node: &Window, outer: Option<&Scope<'_>>) -> Result<Vec<Flow>> {
        let mut columns = self.node(&node.input, outer)?;
        let inner = scope(&node.input, &columns, outer);
        let added = self.expressions(&node.window_expr, inner)?;
        columns.extend(added);
        Ok(columns)
    }

    fn unnest(&mut self, node: &Unnest, outer: Option<&Scope<'_>>) -> Result<Vec<Flow>> {
        let input = self.node(&node.input, outer)?;
        let unnested = |index: &usize| {
            node.struct_type_columns.contains(index)
                || node.list_type_columns.iter().any(|(list, _)| list == index)
        };
        Ok(node
            .dependency_indices
            .iter()
            .map(|index| {
                let flow = input.get(*index).cloned().unwrap_or_default();
                if unnested(index) { through(flow, Transform::Computed) } else { flow }
            })
            .collect())
    }

    /// The recursive term reads its own columns: it is walked until nothing new appears.
    fn recursive_query(
        &mut self,
        node: &RecursiveQuery,
        outer: Option<&Scope<'_>>,
    ) -> Result<Vec<Flow>> {
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
    fn other(&mut self, plan: &LogicalPlan, outer: Option<&Scope<'_>>) -> Result<Vec<Flow>> {
        let width = plan.schema().fields().len();
        let mut below = Vec::new();
        for input in plan.inputs() {
            below.extend(self.node(input, outer)?);
        }
        if below.len() == width {
            return Ok(below);
        }
        let mut all = Flow::default();
        for flow in below {
            merge(&mut all, through(flow, Transform::Computed));
        }
        Ok(vec![all; width])
    }

    fn expressions(&mut self, exprs: &[Expr], scope: Scope<'_>) -> Result<Vec<Flow>> {
        exprs.iter().map(|expr| self.expression(expr, scope)).collect()
    }

    /// What the value of `expr` is made of, and what decides about it.
    fn expression(&mut self, expr: &Expr, scope: Scope<'_>) -> Result<Flow> {
        self.descend()?;
        let flow = self.expression_inner(expr, scope);
        self.depth -= 1;
        flow
    }

    fn expression_inner(&mut self, expr: &Expr, scope: Scope<'_>) -> Result<Flow> {
        match expr {
            Expr::Column(column) => Ok(scope.find(column).cloned().unwrap_or_default()),
            Expr::OuterReferenceColumn(_, column) => {
                Ok(scope.find_outer(column).cloned().unwrap_or_default())
            }
            Expr::Alias(alias) => self.expression(&alias.expr, scope),
            Expr::Case(case) => match membership_of(case) {
                Some(inside) => self.membership(&inside.subquery, &inside.expr, scope),
                None => self.case(case, scope),
            },
            Expr::AggregateFunction(function) => {
                let params = &function.params;
                let mut flow = self.combine(params.args.iter(), scope, Transform::Aggregate)?;
                if let Some(filter) = &params.filter {
                    self.influence(&mut flow.own, filter, scope, Influence::Filter)?;
                }
                self.sorts(&mut flow.own, &params.order_by, scope)?;
                Ok(flow)
            }
            Expr::WindowFunction(function) => self.window_function(&function.params, scope),
            Expr::ScalarFunction(function) if function.name() == PREDICT => {
                let mut flow = self.combine(function.args.iter(), scope, Transform::Computed)?;
                if let Some(Expr::Literal(learner, _)) = function.args.first()
                    && let Some(learner) = learner.try_as_str().flatten()
                {
                    let (table, column) = (format!("learn.{learner}"), "score".to_owned());
                    flow.direct.insert(TableColumn { table, column }, Transform::Computed);
                }
                Ok(flow)
            }
            Expr::ScalarSubquery(subquery) => {
                let (columns, rows) = self.apart(subquery, scope)?;
                let first = columns.into_iter().next().unwrap_or_default();
                let mut flow = through(first, Transform::Computed);
                flow.own.extend(rows);
                Ok(flow)
            }
            Expr::Exists(exists) => {
                // Whether there is a row does not depend on what is selected of it.
                let (_, rows) = self.apart(&exists.subquery, scope)?;
                Ok(Flow { direct: Origins::new(), own: rows })
            }
            Expr::InSubquery(inside) => self.membership(&inside.subquery, &inside.expr, scope),
            Expr::SetComparison(set) => self.membership(&set.subquery, &set.expr, scope),
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
    ) -> Result<Flow> {
        let mut all = Flow::default();
        for expr in exprs {
            merge(&mut all, through(self.expression(expr, scope)?, transform));
        }
        Ok(all)
    }

    fn case(&mut self, case: &Case, scope: Scope<'_>) -> Result<Flow> {
        let then = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
        let values = then.chain(case.else_expr.as_deref());
        let mut flow = self.combine(values, scope, Transform::Computed)?;
        let conditions = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
        for condition in case.expr.as_deref().into_iter().chain(conditions) {
            self.influence(&mut flow.own, condition, scope, Influence::Condition)?;
        }
        Ok(flow)
    }

    fn window_function(&mut self, params: &WindowFunctionParams, scope: Scope<'_>) -> Result<Flow> {
        let mut flow = self.combine(params.args.iter(), scope, Transform::Window)?;
        for expr in &params.partition_by {
            self.influence(&mut flow.own, expr, scope, Influence::Window)?;
        }
        if let Some(filter) = &params.filter {
            self.influence(&mut flow.own, filter, scope, Influence::Filter)?;
        }
        self.sorts(&mut flow.own, &params.order_by, scope)?;
        Ok(flow)
    }

    /// A test against a subquery: its columns decide, they do not become part of the value.
    fn membership(&mut self, subquery: &Subquery, value: &Expr, scope: Scope<'_>) -> Result<Flow> {
        let (columns, rows) = self.apart(subquery, scope)?;
        let mut flow = through(self.expression(value, scope)?, Transform::Computed);
        for column in &columns {
            note(&mut flow.own, column, Influence::Condition);
        }
        flow.own.extend(rows);
        Ok(flow)
    }

    /// The columns of a subquery, and what decides about its rows, which are not those around it.
    fn apart(&mut self, subquery: &Subquery, scope: Scope<'_>) -> Result<(Vec<Flow>, Influences)> {
        let around = std::mem::take(&mut self.rows);
        let columns = self.node(&subquery.subquery, Some(&scope));
        let rows = std::mem::replace(&mut self.rows, around);
        Ok((columns?, rows))
    }

    fn sorts(&mut self, into: &mut Influences, sorts: &[SortExpr], scope: Scope<'_>) -> Result<()> {
        sorts.iter().try_for_each(|sort| self.influence(into, &sort.expr, scope, Influence::Sort))
    }

    /// Notes that `expr` decides which rows there are.
    fn decide(&mut self, expr: &Expr, scope: Scope<'_>, how: Influence) -> Result<()> {
        let mut rows = std::mem::take(&mut self.rows);
        let noted = self.influence(&mut rows, expr, scope, how);
        rows.append(&mut self.rows);
        self.rows = rows;
        noted
    }

    /// Notes that `expr` decides.
    fn influence(
        &mut self,
        into: &mut Influences,
        expr: &Expr,
        scope: Scope<'_>,
        how: Influence,
    ) -> Result<()> {
        let flow = self.expression(expr, scope)?;
        note(into, &flow, how);
        Ok(())
    }
}

/// Notes what decides through the value of `flow`. A condition within a filter is a part of the filter.
fn note(into: &mut Influences, flow: &Flow, how: Influence) {
    into.extend(flow.direct.keys().map(|column| (column.clone(), how)));
    into.extend(flow.own.iter().map(|(column, own)| match own {
        Influence::Condition => (column.clone(), how),
        own => (column.clone(), *own),
    }));
}

/// Whether a side of a join is a lateral subquery, perhaps under another name.
fn is_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(_) => true,
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        _ => false,
    }
}

fn scope<'a>(
    input: &'a LogicalPlan,
    columns: &'a [Flow],
    outer: Option<&'a Scope<'a>>,
) -> Scope<'a> {
    Scope { schema: input.schema(), columns, outer }
}

/// Lets values pass through another step.
fn through(flow: Flow, step: Transform) -> Flow {
    let direct = flow.direct.into_iter().map(|(column, before)| (column, before.max(step)));
    Flow { direct: direct.collect(), own: flow.own }
}

/// Adds `more`; of two ways from one column the stronger counts.
fn merge(all: &mut Flow, more: Flow) {
    for (column, transform) in more.direct {
        let entry = all.direct.entry(column).or_insert(transform);
        *entry = (*entry).max(transform);
    }
    all.own.extend(more.own);
}

/// Adds the columns of another branch of a union, by position.
pub(super) fn union(all: &mut Vec<Flow>, more: Vec<Flow>) {
    if all.is_empty() {
        *all = more;
        return;
    }
    for (column, flow) in all.iter_mut().zip(more) {
        merge(column, flow);
    }
}

fn internal(error: datafusion::error::DataFusionError) -> Error {
    Error::internal("cannot trace the plan of a query").caused_by(error)
}

/// The `x in (select …)` that a case stands for, where the warehouse says apart from it when that is not known: `case when x in (…)
/// then true when … then null else false end`.
fn membership_of(case: &Case) -> Option<&InSubquery> {
    let [(when, then), (_, unknown)] = case.when_then_expr.as_slice() else { return None };
    let Expr::InSubquery(inside) = when.as_ref() else { return None };
    let is_told = |expr: &Expr, known: bool| matches!(expr, Expr::Literal(ScalarValue::Boolean(told), _) if told.is_some() == known);
    let other = case.else_expr.as_deref()?;
    let same = is_told(then, true) && is_told(unknown, false) && is_told(other, true);
    (case.expr.is_none() && same).then_some(inside)
}
