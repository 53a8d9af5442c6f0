//! Joins in the order that makes the fewest rows, whatever order a query names its tables in.
//!
//! The engine joins tables as they are written. Where `sales` meets `inventory` by item before the few customers that are asked for are
//! known, hundreds of millions of rows are made and thrown away. Here the tables of inner joins are taken apart, the rows of each
//! possible step are estimated, and the joins are put together again if another order makes far fewer:
//!
//! ```text
//! ((sales ⋈ inventory) ⋈ days) ⋈ customers   ─►   ((customers ⋈ sales) ⋈ days) ⋈ inventory
//! ```
//! An order that is nearly as good stays as it is written, because estimates are no more than that. What is known of a table: its rows,
//! and the least and the greatest value of its whole numbers and dates, which bound how many different ones there are. Where anything
//! is not known (a table of others, a function as table), nothing changes.
//!
//! # Source
//! The cost of an order is the sum of the rows of its steps (C_out of Cluet & Moerkotte 1995); orders are searched greedily from each
//! table as the first (minimum selectivity as in Swami 1989), and the size of a join is that of System R (Selinger et al. 1979).

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Operator, Projection};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::lake_table::LakeTable;

/// The least tables whose order is a question.
const TABLES_MIN: usize = 3;
/// The most; a set of them is the bits of a number, and a search takes the cube of this.
const TABLES_MAX: usize = 40;
/// The steps of an order as written must make at least so many rows to be worth a thought.
const ROWS_MIN: f64 = 100_000.0;
/// How many times fewer rows another order has to make.
const GAIN_MIN: f64 = 2.0;
/// The part of the rows that an equality keeps where nothing is known of the values.
const EQUAL_SHARE: f64 = 0.1;
/// The part that any other condition keeps.
const OTHER_SHARE: f64 = 1.0 / 3.0;

/// The rule; it must come after the one that moves conditions to their tables.
#[derive(Debug)]
pub(crate) struct FewestRows;

impl OptimizerRule for FewestRows {
    fn name(&self) -> &'static str {
        "fewest_rows"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        arranged(plan)
    }
}

/// A plan all of whose joins are in order. A join within a chain of joins is not looked at by itself again.
fn arranged(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    plan.transform_down(|node| match looked_at(&node)? {
        Looked::NoChain => Ok(Transformed::no(node)),
        Looked::Stays => Ok(Transformed::new(node, false, TreeNodeRecursion::Jump)),
        Looked::Better(plan) => Ok(Transformed::new(*plan, true, TreeNodeRecursion::Jump)),
    })
}

/// What is to be done with a plan.
enum Looked {
    /// It is no chain of joins whose rows can be told; what is below it may be.
    NoChain,
    /// It is a chain, and it and what is below it are as they should be.
    Stays,
    /// It is a chain, and this is better.
    Better(Box<LogicalPlan>),
}

fn looked_at(plan: &LogicalPlan) -> Result<Looked> {
    let Some(chain) = Chain::of(plan)? else { return Ok(Looked::NoChain) };
    let better = chain.with_arranged_tables()?;
    Ok(better.map_or(Looked::Stays, |plan| Looked::Better(Box::new(plan))))
}

/// Inner joins of tables, taken apart.
struct Chain<'p> {
    /// The plan as it is written.
    written: &'p LogicalPlan,
    tables: Vec<Table<'p>>,
    /// The order as it is written.
    order: Step,
    /// Columns of two tables that must be equal.
    links: Vec<Link>,
    /// All other conditions of the joins.
    conditions: Vec<Condition>,
}

/// One side of a chain: anything that is no inner join.
struct Table<'p> {
    plan: &'p LogicalPlan,
    /// The rows it has, with its conditions.
    rows: f64,
    /// The rows it has without them.
    all: f64,
}

/// What is joined with what.
enum Step {
    Table(usize),
    Join(Box<Step>, Box<Step>),
}

/// An equality of two tables.
struct Link {
    sides: [Side; 2],
}

/// One side of an equality.
struct Side {
    table: usize,
    value: Expr,
    /// How many different values it can have.
    values: Option<f64>,
}

/// A condition that holds over several tables.
struct Condition {
    tables: u64,
    holds: Expr,
}

/// Tables that are joined already.
#[derive(Clone, Copy)]
struct Joined {
    tables: u64,
    rows: f64,
    /// The rows of all steps so far.
    cost: f64,
}

impl<'p> Chain<'p> {
    /// The chain whose last join a plan is; none if it is no inner join, of too few tables, or of such that nothing is known of.
    fn of(plan: &'p LogicalPlan) -> Result<Option<Self>> {
        if !matches!(plan, LogicalPlan::Join(join) if is_plain(join)) {
            return Ok(None);
        }
        let (mut sides, mut joins) = (Vec::new(), Vec::new());
        let order = taken_apart(plan, &mut sides, &mut joins);
        if !(TABLES_MIN..=TABLES_MAX).contains(&sides.len()) {
            return Ok(None);
        }
        let mut tables = Vec::with_capacity(sides.len());
        for plan in sides {
            let (Some(rows), Some(all)) = (rows(plan)?, rows_of_all(plan)?) else {
                return Ok(None);
            };
            tables.push(Table { plan, rows: rows.max(1.0), all: all.max(1.0) });
        }
        let mut chain =
            Self { written: plan, tables, order, links: Vec::new(), conditions: Vec::new() };
        for join in joins {
            for (left, right) in &join.on {
                chain.add(left.clone().eq(right.clone()))?;
            }
            for condition in join.filter.iter().flat_map(split_conjunction) {
                chain.add(condition.clone())?;
            }
        }
        // What is drawn by chance is drawn once for each row of the join it is written at.
        let steady = !chain.conditions.iter().any(|condition| condition.holds.is_volatile())
            && !chain
                .links
                .iter()
                .flat_map(|link| &link.sides)
                .any(|side| side.value.is_volatile());
        Ok(Some(chain).filter(|_| steady))
    }

    /// Takes in a condition of a join.
    fn add(&mut self, condition: Expr) -> Result<()> {
        if let Expr::BinaryExpr(both) = &condition
            && both.op == Operator::Eq
            && let (Some(left), Some(right)) = (self.side(&both.left)?, self.side(&both.right)?)
            && left.table != right.table
        {
            self.links.push(Link { sides: [left, right] });
            return Ok(());
        }
        self.conditions.push(Condition { tables: self.tables_of(&condition), holds: condition });
        Ok(())
    }

    /// An expression as the side of an equality; none unless it is of one table.
    fn side(&self, value: &Expr) -> Result<Option<Side>> {
        let of = self.tables_of(value);
        if of.count_ones() != 1 {
            return Ok(None);
        }
        let table = of.trailing_zeros() as usize;
        let Some(from) = self.tables.get(table) else { return Ok(None) };
        let values = match plain(value) {
            Some(column) => values(from.plan, &column)?,
            None => None,
        };
        Ok(Some(Side { table, value: value.clone(), values }))
    }

    /// The tables whose columns an expression has.
    fn tables_of(&self, value: &Expr) -> u64 {
        let columns = value.column_refs();
        let has =
            |table: &Table<'_>| columns.iter().any(|column| table.plan.schema().has_column(column));
        let found = self.tables.iter().enumerate().filter(|(_, table)| has(table));
        found.fold(0, |all, (place, _)| all | bit(place))
    }

    /// The plan in a better order, its tables arranged as well; none if neither is better than it is written.
    fn with_arranged_tables(&self) -> Result<Option<LogicalPlan>> {
        let mut changed = false;
        let mut tables = Vec::with_capacity(self.tables.len());
        for table in &self.tables {
            let inner = arranged(table.plan.clone())?;
            changed |= inner.transformed;
            tables.push(Arc::new(inner.data));
        }
        let better = self.better();
        if better.is_none() && !changed {
            return Ok(None);
        }
        let Some(order) = better else {
            // Its tables alone have changed: their columns are the same, so the joins above them are.
            return with_tables(self.written, &mut tables.into_iter()).map(Some);
        };
        let Some(joined) = self.together(&order, &tables)? else { return Ok(None) };
        let columns = self.written.schema().iter().map(|field| Expr::Column(Column::from(field)));
        Ok(Some(LogicalPlan::Projection(Projection::try_new(columns.collect(), Arc::new(joined))?)))
    }

    /// The order that is far better than the one that is written.
    fn better(&self) -> Option<Vec<usize>> {
        let written = self.cost(&self.order)?.cost;
        if written < ROWS_MIN {
            return None;
        }
        let orders = (0..self.tables.len()).filter_map(|first| self.beginning_with(first));
        let (order, cost) = orders.min_by(|one, other| one.1.total_cmp(&other.1))?;
        (cost * GAIN_MIN < written).then_some(order)
    }

    /// What an order costs; none if two of its tables have no equality between them.
    fn cost(&self, step: &Step) -> Option<Joined> {
        match step {
            Step::Table(place) => self.alone(*place),
            Step::Join(left, right) => self.step(self.cost(left)?, self.cost(right)?),
        }
    }

    /// The cheapest way to take in the tables from one on, each time the one that makes the fewest rows.
    fn beginning_with(&self, first: usize) -> Option<(Vec<usize>, f64)> {
        let mut joined = self.alone(first)?;
        let mut order = vec![first];
        while order.len() < self.tables.len() {
            let rest = (0..self.tables.len()).filter(|place| joined.tables & bit(*place) == 0);
            let steps =
                rest.filter_map(|place| Some((place, self.step(joined, self.alone(place)?)?)));
            let (place, next) = steps.min_by(|one, other| one.1.rows.total_cmp(&other.1.rows))?;
            order.push(place);
            joined = next;
        }
        Some((order, joined.cost))
    }

    fn alone(&self, place: usize) -> Option<Joined> {
        let table = self.tables.get(place)?;
        Some(Joined { tables: bit(place), rows: table.rows, cost: 0.0 })
    }

    /// Two sides joined; none if no equality is between them, because all rows with all rows is no step that is taken freely.
    fn step(&self, left: Joined, right: Joined) -> Option<Joined> {
        let pairs = self.links.iter().filter_map(|link| link.between(left, right));
        let pairs: Vec<[&Side; 2]> = pairs.collect();
        let told = telling(&pairs);
        if told.is_empty() {
            return None;
        }
        let all = |side: &Side| self.tables.get(side.table).map_or(1.0, |table| table.all);
        let (mut share, mut most) = (1.0_f64, [1.0_f64; 2]);
        let mut seen = 0;
        for [one, other] in &told {
            let larger = all(one).max(all(other));
            let values = match (one.values, other.values) {
                (Some(one), Some(other)) => one.max(other),
                (Some(known), None) | (None, Some(known)) => known,
                // A key and what refers to it.
                (None, None) => larger,
            };
            share *= values.clamp(1.0, larger);
            for (side, most) in [one, other].into_iter().zip(&mut most) {
                if seen & bit(side.table) == 0 {
                    seen |= bit(side.table);
                    *most *= all(side);
                }
            }
        }
        if told.len() > 1 {
            // A key of several columns has no more values than the side has rows in which each is once.
            share = most.into_iter().fold(share, f64::min);
        }
        let rows = (left.rows * right.rows / share).max(1.0);
        let tables = left.tables | right.tables;
        Some(Joined { tables, rows, cost: left.cost + right.cost + rows })
    }

    /// The joins in an order; none if it cannot be said so, or a condition would be lost, which cannot be.
    fn together(
        &self,
        order: &[usize],
        tables: &[Arc<LogicalPlan>],
    ) -> Result<Option<LogicalPlan>> {
        let mut order = order.iter().copied();
        let Some(first) = order.next() else { return Ok(None) };
        let (Some(mut joined), Some(mut built)) = (self.alone(first), tables.get(first).cloned())
        else {
            return Ok(None);
        };
        let mut open: Vec<&Condition> = self.conditions.iter().collect();
        let mut used = 0;
        for place in order {
            let (Some(alone), Some(table)) = (self.alone(place), tables.get(place)) else {
                return Ok(None);
            };
            let Some(next) = self.step(joined, alone) else { return Ok(None) };
            // The engine keeps the left side in memory where it does not know better.
            let grown_left = joined.rows <= alone.rows;
            let mut on = Vec::new();
            for link in &self.links {
                let [one, other] = &link.sides;
                let there = |side: &Side| joined.tables & bit(side.table) != 0;
                let (inner, outer) = if one.table == place && there(other) {
                    (one, other)
                } else if other.table == place && there(one) {
                    (other, one)
                } else {
                    continue;
                };
                used += 1;
                let (inner, outer) = (inner.value.clone(), outer.value.clone());
                on.push(if grown_left { (outer, inner) } else { (inner, outer) });
            }
            let (now, later): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|condition| condition.tables & !next.tables == 0);
            open = later;
            let filter = now.into_iter().map(|condition| condition.holds.clone()).reduce(Expr::and);
            let (left, right) = match grown_left {
                true => (built, Arc::clone(table)),
                false => (Arc::clone(table), built),
            };
            let join = Join::try_new(
                left,
                right,
                on,
                filter,
                JoinType::Inner,
                JoinConstraint::On,
                NullEquality::NullEqualsNothing,
                false,
            );
            // Of two columns of one name a projection may have left out one.
            let Ok(join) = join else { return Ok(None) };
            built = Arc::new(LogicalPlan::Join(join));
            joined = next;
        }
        let whole = open.is_empty() && used == self.links.len();
        Ok(whole.then(|| Arc::unwrap_or_clone(built)))
    }
}

impl Link {
    /// Its sides, the one of `left` first; none if it is not between the two.
    fn between(&self, left: Joined, right: Joined) -> Option<[&Side; 2]> {
        let [one, other] = &self.sides;
        let crosses = |one: &Side, other: &Side| {
            left.tables & bit(one.table) != 0 && right.tables & bit(other.table) != 0
        };
        match (crosses(one, other), crosses(other, one)) {
            (true, _) => Some([one, other]),
            (false, true) => Some([other, one]),
            (false, false) => None,
        }
    }
}

/// The equalities that leave out rows: not those of a column whose other side is equal already to the one of another, as in
/// `l.part = p.part and l.part = s.part` where `p` and `s` are joined by their parts. Those of two tables with most of them
/// come first, because they are one key.
fn telling<'l>(pairs: &[[&'l Side; 2]]) -> Vec<[&'l Side; 2]> {
    let tables = |pair: &[&Side; 2]| pair.map(|side| side.table);
    let mut sorted: Vec<(usize, [&Side; 2])> = pairs
        .iter()
        .map(|pair| (pairs.iter().filter(|other| tables(other) == tables(pair)).count(), *pair))
        .collect();
    sorted.sort_by_key(|(together, _)| std::cmp::Reverse(*together));
    let mut told: Vec<[&Side; 2]> = Vec::new();
    for (_, pair) in sorted {
        let [one, other] = pair;
        let known = told.iter().any(|[first, second]| {
            (second.value == other.value && first.table != one.table)
                || (first.value == one.value && second.table != other.table)
        });
        if !known {
            told.push(pair);
        }
    }
    told
}

/// The set that has one table.
fn bit(place: usize) -> u64 {
    1_u64.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0)
}

/// Whether rows of both sides stay where conditions hold, and nothing else happens.
fn is_plain(join: &Join) -> bool {
    join.join_type == JoinType::Inner
        && join.null_equality == NullEquality::NullEqualsNothing
        && !join.null_aware
}

/// Collects the tables and the joins of a chain, through projections that only leave out columns.
fn taken_apart<'p>(
    plan: &'p LogicalPlan,
    tables: &mut Vec<&'p LogicalPlan>,
    joins: &mut Vec<&'p Join>,
) -> Step {
    match inner(plan) {
        Some(join) => {
            joins.push(join);
            let left = taken_apart(&join.left, tables, joins);
            let right = taken_apart(&join.right, tables, joins);
            Step::Join(Box::new(left), Box::new(right))
        }
        None => {
            tables.push(plan);
            Step::Table(tables.len() - 1)
        }
    }
}

/// The join that a plan is, below projections that only leave out columns.
fn inner(plan: &LogicalPlan) -> Option<&Join> {
    match plan {
        LogicalPlan::Join(join) if is_plain(join) => Some(join),
        LogicalPlan::Projection(projection)
            if projection.expr.iter().all(|one| matches!(one, Expr::Column(_))) =>
        {
            inner(&projection.input)
        }
        _ => None,
    }
}

/// The same joins over other plans of their tables, in the order in which [`taken_apart`] finds them.
fn with_tables(
    plan: &LogicalPlan,
    tables: &mut impl Iterator<Item = Arc<LogicalPlan>>,
) -> Result<LogicalPlan> {
    if inner(plan).is_none() {
        return Ok(tables.next().map_or_else(|| plan.clone(), Arc::unwrap_or_clone));
    }
    let mut inputs = Vec::new();
    for input in plan.inputs() {
        inputs.push(with_tables(input, tables)?);
    }
    plan.with_new_exprs(plan.expressions(), inputs)
}

/// The rows that a plan has, as far as it can be told.
fn rows(plan: &LogicalPlan) -> Result<Option<f64>> {
    Ok(match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(all) = rows_of_all(plan)? else { return Ok(None) };
            let mut share = 1.0;
            for condition in &scan.filters {
                share *= kept(condition, plan)?;
            }
            Some(scan.fetch.map_or(all * share, |most| (all * share).min(most as f64)))
        }
        LogicalPlan::Filter(filter) => {
            // The conditions of a scan are said again above it, because the scan may let some rows through.
            let input = match filter.input.as_ref() {
                LogicalPlan::TableScan(scan) if scan.fetch.is_none() => rows_of_all(&filter.input)?,
                input => rows(input)?,
            };
            match input {
                Some(rows) => Some(rows * kept(&filter.predicate, &filter.input)?),
                None => None,
            }
        }
        LogicalPlan::Projection(projection) => rows(&projection.input)?,
        LogicalPlan::SubqueryAlias(alias) => rows(&alias.input)?,
        LogicalPlan::Sort(sort) => {
            rows(&sort.input)?.map(|rows| sort.fetch.map_or(rows, |most| rows.min(most as f64)))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let Some(rows) = rows(&aggregate.input)? else { return Ok(None) };
            let mut groups = Some(1.0);
            for group in &aggregate.group_expr {
                let of = match plain(group) {
                    Some(column) => values(&aggregate.input, &column)?,
                    None => None,
                };
                groups = groups.zip(of).map(|(all, more)| all * more);
            }
            Some(groups.map_or(rows, |groups: f64| groups.min(rows)))
        }
        LogicalPlan::EmptyRelation(empty) => Some(f64::from(u8::from(empty.produce_one_row))),
        LogicalPlan::Values(values) => Some(values.values.len() as f64),
        LogicalPlan::Join(join) => {
            let (Some(left), Some(right)) = (rows(&join.left)?, rows(&join.right)?) else {
                return Ok(None);
            };
            match join.join_type {
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                    Some(left)
                }
                JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark => Some(right),
                JoinType::Inner if !join.on.is_empty() => Some(left.max(right)),
                JoinType::Inner => Some(left * right),
                JoinType::Full => Some(left + right),
            }
        }
        _ => None,
    })
}

/// The rows that a plan has if no condition leaves any out.
fn rows_of_all(plan: &LogicalPlan) -> Result<Option<f64>> {
    Ok(match plan {
        LogicalPlan::TableScan(scan) => {
            let Ok(table) = source_as_provider(&scan.source) else { return Ok(None) };
            table.downcast_ref::<LakeTable>().and_then(LakeTable::rows).map(|rows| rows as f64)
        }
        LogicalPlan::Filter(filter) => rows_of_all(&filter.input)?,
        LogicalPlan::Projection(projection) => rows_of_all(&projection.input)?,
        LogicalPlan::SubqueryAlias(alias) => rows_of_all(&alias.input)?,
        other => rows(other)?,
    })
}

/// How many different values a column can have; none if nothing is known.
fn values(plan: &LogicalPlan, column: &Column) -> Result<Option<f64>> {
    Ok(match plan {
        LogicalPlan::TableScan(scan) => {
            let Ok(table) = source_as_provider(&scan.source) else { return Ok(None) };
            let table = table.downcast_ref::<LakeTable>();
            table.and_then(|table| table.span(&column.name)).map(|span| span as f64)
        }
        LogicalPlan::Filter(filter) => values(&filter.input, column)?,
        LogicalPlan::Sort(sort) => values(&sort.input, column)?,
        LogicalPlan::Projection(projection) => {
            let Ok(place) = projection.schema.index_of_column(column) else { return Ok(None) };
            match projection.expr.get(place).and_then(plain) {
                Some(column) => values(&projection.input, &column)?,
                None => None,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Ok(place) = alias.schema.index_of_column(column) else { return Ok(None) };
            let column = Column::from(alias.input.schema().qualified_field(place));
            values(&alias.input, &column)?
        }
        LogicalPlan::Aggregate(aggregate) => {
            let Ok(place) = aggregate.schema.index_of_column(column) else { return Ok(None) };
            match aggregate.group_expr.get(place).and_then(plain) {
                Some(column) => values(&aggregate.input, &column)?,
                None => None,
            }
        }
        LogicalPlan::Join(join) => match join.left.schema().has_column(column) {
            true => values(&join.left, column)?,
            false => values(&join.right, column)?,
        },
        _ => None,
    })
}

/// The part of the rows of a plan for which a condition holds.
fn kept(condition: &Expr, of: &LogicalPlan) -> Result<f64> {
    let mut share = 1.0;
    for condition in split_conjunction(condition) {
        share *= match condition {
            Expr::BinaryExpr(both) if both.op == Operator::Eq => {
                equal(&[&both.left, &both.right], of)?
            }
            Expr::BinaryExpr(both) if both.op == Operator::Or => {
                (kept(&both.left, of)? + kept(&both.right, of)?).min(1.0)
            }
            Expr::InList(list) if !list.negated => {
                (equal(&[&list.expr], of)? * list.list.len() as f64).min(1.0)
            }
            Expr::Literal(ScalarValue::Boolean(Some(true)), _)
            | Expr::IsNotNull(_)
            | Expr::Not(_) => 1.0,
            _ => OTHER_SHARE,
        };
    }
    Ok(share)
}

/// The part of the rows in which a column has one value; the first of the sides that is a column with known values tells.
fn equal(sides: &[&Expr], of: &LogicalPlan) -> Result<f64> {
    for side in sides {
        if let Some(column) = plain(side)
            && let Some(values) = values(of, &column)?
        {
            return Ok(1.0 / values.max(1.0));
        }
    }
    Ok(EQUAL_SHARE)
}

/// An expression as the column it is, whatever it is called and however wide it is read.
fn plain(expression: &Expr) -> Option<Column> {
    match expression {
        Expr::Column(column) => Some(column.clone()),
        Expr::Alias(alias) => plain(&alias.expr),
        Expr::Cast(cast) if cast.field.data_type().is_integer() => plain(&cast.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
