//! Keeps an aggregate from making groups that the join above it does not ask for.
//!
//! `where quantity < (select avg(quantity) from lines l where l.part = p.part)` becomes a join with the averages of *all* parts,
//! also where a condition on `p` leaves a few. The groups are those of the join's key, so rows of other keys can be left out before
//! they are grouped: the other side's filtered table is asked a second time, for its keys alone, and rows without one are dropped.
//!
//! ```text
//! Join k = g                         Join k = g
//!   … Filter(parts) …        ─►        … Filter(parts) …
//!   Aggregate by g                     Aggregate by g
//!     lines                              LeftSemi g = k
//!                                          lines
//!                                          Filter(parts), its k
//! ```
//! It is done where the filtered table is small beside the grouped one, so that asking it twice costs next to nothing.
//!
//! # Source
//! Magic sets, as Mumick & Pirahesh 1994 have them in SQL.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::lake_table::LakeTable;

/// The name that the asked keys have in a plan; no table of a user can have it.
const ASKED: &str = "asked keys";
/// Tables of fewer rows are grouped faster than anything is thought about.
const ROWS_MIN: usize = 100_000;
/// How many times as many rows the grouped table must have as the filtered one.
const TIMES_MIN: usize = 4;

/// The rule; it must come after those that move conditions to their tables.
#[derive(Debug)]
pub(crate) struct OnlyAskedGroups;

impl OptimizerRule for OnlyAskedGroups {
    fn name(&self) -> &'static str {
        "only_asked_groups"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = &plan else { return Ok(Transformed::no(plan)) };
        if join.null_equality != NullEquality::NullEqualsNothing || join.null_aware {
            return Ok(Transformed::no(plan));
        }
        // A side may lose rows that match nothing if such rows are not in the answer.
        let (left, right) = match join.join_type {
            JoinType::Inner => (true, true),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                (false, true)
            }
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                (true, false)
            }
            JoinType::Full => (false, false),
        };
        for (own, other) in &join.on {
            let (Expr::Column(of_left), Expr::Column(of_right)) = (own, other) else { continue };
            if right && let Some(less) = asked(&join.right, of_right, &join.left, of_left)? {
                return rebuilt(join, Arc::clone(&join.left), Arc::new(less));
            }
            if left && let Some(less) = asked(&join.left, of_left, &join.right, of_right)? {
                return rebuilt(join, Arc::new(less), Arc::clone(&join.right));
            }
        }
        Ok(Transformed::no(plan))
    }
}

/// The same join of other sides.
fn rebuilt(
    join: &Join,
    left: Arc<LogicalPlan>,
    right: Arc<LogicalPlan>,
) -> Result<Transformed<LogicalPlan>> {
    let join = LogicalPlan::Join(Join { left, right, ..join.clone() });
    Ok(Transformed::yes(join.recompute_schema()?))
}

/// The grouped side with only the groups whose keys the other side has; none if it groups nothing, or nothing is won.
fn asked(
    grouped: &LogicalPlan,
    group: &Column,
    asking: &LogicalPlan,
    key: &Column,
) -> Result<Option<LogicalPlan>> {
    let Some((aggregate, _)) = aggregate_of(grouped, group)? else { return Ok(None) };
    let Some(rows) = plain_rows(&aggregate.input)?.filter(|rows| *rows >= ROWS_MIN) else {
        return Ok(None);
    };
    let Some(found) = source(asking, key)? else { return Ok(None) };
    if found.rows.saturating_mul(TIMES_MIN) > rows {
        return Ok(None);
    }
    let named = Expr::Column(found.key).alias(ASKED);
    let keys = LogicalPlanBuilder::from(found.plan).project([named])?.alias(ASKED)?.build()?;
    within(grouped, group, &keys)
}

/// The aggregate whose group a column is, through projections, conditions and aliases, with the column of its input that is grouped by.
fn aggregate_of<'p>(
    plan: &'p LogicalPlan,
    column: &Column,
) -> Result<Option<(&'p Aggregate, Column)>> {
    match plan {
        LogicalPlan::Projection(projection) => match below(projection, column)? {
            Some(column) => aggregate_of(&projection.input, &column),
            None => Ok(None),
        },
        LogicalPlan::SubqueryAlias(alias) => {
            let column = unaliased(alias, column)?;
            aggregate_of(&alias.input, &column)
        }
        // What is asked of a group does not change by there being fewer of them.
        LogicalPlan::Filter(filter) => aggregate_of(&filter.input, column),
        LogicalPlan::Aggregate(aggregate) => {
            let place = aggregate.schema.index_of_column(column)?;
            // With grouping sets a row belongs to several groups.
            let whole = !matches!(aggregate.group_expr.first(), Some(Expr::GroupingSet(_)));
            let group = aggregate.group_expr.get(place).filter(|_| whole);
            Ok(group.and_then(plain).map(|column| (aggregate, column)))
        }
        _ => Ok(None),
    }
}

/// The plan of [`aggregate_of`] with the rows of its input that have one of the keys.
fn within(plan: &LogicalPlan, column: &Column, keys: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::Projection(projection) => {
            let Some(column) = below(projection, column)? else { return Ok(None) };
            within(&projection.input, &column, keys)?
                .map(|input| {
                    let (expr, schema) = (projection.expr.clone(), Arc::clone(&projection.schema));
                    Projection::try_new_with_schema(expr, Arc::new(input), schema)
                })
                .transpose()?
                .map(LogicalPlan::Projection)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let column = unaliased(alias, column)?;
            within(&alias.input, &column, keys)?
                .map(|input| SubqueryAlias::try_new(Arc::new(input), alias.alias.clone()))
                .transpose()?
                .map(LogicalPlan::SubqueryAlias)
        }
        LogicalPlan::Filter(filter) => within(&filter.input, column, keys)?
            .map(|input| Filter::try_new(filter.predicate.clone(), Arc::new(input)))
            .transpose()?
            .map(LogicalPlan::Filter),
        LogicalPlan::Aggregate(aggregate) => {
            let Some((_, group)) = aggregate_of(plan, column)? else { return Ok(None) };
            let keys_column = Column::new(Some(ASKED), ASKED);
            let input = LogicalPlanBuilder::from(Arc::clone(&aggregate.input))
                .join(keys.clone(), JoinType::LeftSemi, (vec![group], vec![keys_column]), None)?
                .build()?;
            let (groups, sums) = (aggregate.group_expr.clone(), aggregate.aggr_expr.clone());
            let schema = Arc::clone(&aggregate.schema);
            let less = Aggregate::try_new_with_schema(Arc::new(input), groups, sums, schema)?;
            Some(LogicalPlan::Aggregate(less))
        }
        _ => None,
    })
}

/// A filtered table among whose keys are all of a column.
struct Source {
    plan: LogicalPlan,
    key: Column,
    /// How many rows the table has without the filter.
    rows: usize,
}

/// The smallest filtered table that has every value of `column`; none if no condition leaves any out.
fn source(plan: &LogicalPlan, column: &Column) -> Result<Option<Source>> {
    match plan {
        LogicalPlan::Projection(projection) => match below(projection, column)? {
            Some(column) => source(&projection.input, &column),
            None => Ok(None),
        },
        LogicalPlan::SubqueryAlias(alias) => {
            let column = unaliased(alias, column)?;
            source(&alias.input, &column)
        }
        LogicalPlan::Filter(filter) => {
            // Asked twice, a condition that is drawn by chance would leave out something else.
            let steady = !filter.predicate.is_volatile();
            let rows = plain_rows(&filter.input)?.filter(|_| steady);
            match rows {
                Some(rows) => Ok(Some(Source { plan: plan.clone(), key: column.clone(), rows })),
                None => source(&filter.input, column),
            }
        }
        LogicalPlan::TableScan(scan) if !scan.filters.is_empty() => {
            let steady = !scan.filters.iter().any(Expr::is_volatile);
            let rows = plain_rows(plan)?.filter(|_| steady);
            Ok(rows.map(|rows| Source { plan: plan.clone(), key: column.clone(), rows }))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let place = aggregate.schema.index_of_column(column)?;
            match aggregate.group_expr.get(place).and_then(plain) {
                Some(column) => source(&aggregate.input, &column),
                None => Ok(None),
            }
        }
        LogicalPlan::Join(join) => {
            // Rows of a side that is filled where nothing matches have nulls, which match nothing above.
            let (left, right) = match join.join_type {
                JoinType::Inner => (true, true),
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => (true, false),
                JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => (false, true),
                _ => return Ok(None),
            };
            let equal = matches!(
                join.join_type,
                JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi
            );
            let mut found = Vec::new();
            let mut look = |plan: &LogicalPlan, column: &Column| -> Result<()> {
                found.extend(source(plan, column)?);
                Ok(())
            };
            if left && join.left.schema().has_column(column) {
                look(&join.left, column)?;
            } else if right && join.right.schema().has_column(column) {
                look(&join.right, column)?;
            }
            // What is joined by equality has the values of both sides.
            for (of_left, of_right) in join.on.iter().filter(|_| equal) {
                match (of_left, of_right) {
                    (Expr::Column(one), Expr::Column(two)) if one == column => {
                        look(&join.right, two)?;
                    }
                    (Expr::Column(one), Expr::Column(two)) if two == column => {
                        look(&join.left, one)?;
                    }
                    _ => {}
                }
            }
            Ok(found.into_iter().min_by_key(|source| source.rows))
        }
        _ => Ok(None),
    }
}

/// The rows of the one lake table that a plan reads through projections and conditions; none for any other plan.
fn plain_rows(plan: &LogicalPlan) -> Result<Option<usize>> {
    let (mut rows, mut is_plain) = (None, true);
    plan.apply(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                let table = source_as_provider(&scan.source)?;
                rows = table.downcast_ref::<LakeTable>().and_then(LakeTable::rows);
                // Which rows a limit lets through is not the same twice.
                is_plain &= scan.fetch.is_none();
            }
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            }
            _ => is_plain = false,
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(rows.filter(|_| is_plain))
}

/// The column of a projection's input that one of its columns is; none if it is computed.
fn below(projection: &Projection, column: &Column) -> Result<Option<Column>> {
    let place = projection.schema.index_of_column(column)?;
    Ok(projection.expr.get(place).and_then(plain))
}

/// The column of an alias' input that one of its columns is.
fn unaliased(alias: &SubqueryAlias, column: &Column) -> Result<Column> {
    let place = alias.schema.index_of_column(column)?;
    let input: &DFSchema = alias.input.schema();
    Ok(Column::from(input.qualified_field(place)))
}

/// An expression as the column it is, whatever it is called.
fn plain(expression: &Expr) -> Option<Column> {
    match expression {
        Expr::Column(column) => Some(column.clone()),
        Expr::Alias(alias) => plain(&alias.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
