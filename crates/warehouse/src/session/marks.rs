//! Whether there are rows, as a value: `exists (…)` and `x in (select …)` where they are no condition of their own.
//!
//! As conditions they become joins. Elsewhere the engine (DataFusion 55.2) goes wrong:
//!
//! - Within a condition, as in `x not in (select …) or …`, it takes what is not known for false. Where `x` or one of the others
//!   is NULL, `not` makes a yes of it, and rows are found that must not be. [`UnknownStaysUnknown`] says it so that it cannot
//!   be misunderstood:
//!
//! ```text
//! x not in (select y …)  ─►  case when x in (select y …) then false
//!                                 when exists (… where y is null) or x is null and exists (…) then null else true end
//! ```
//! - Among the columns of a query, as in `select exists (…)` or `sum(case when x in (…) …)`, it has no plan. [`MarkedRows`] has what
//!   is asked joined there, too, by the engine's own rule for conditions: a column says of each row whether it has a partner.
//!
//! What does not depend on the row is counted once: `(select count(1) from (… limit 1)) > 0`.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Case, Exists, InSubquery};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Subquery,
    lit, when,
};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::utils::NamePreserver;
use datafusion::optimizer::{AnalyzerRule, ApplyOrder, OptimizerConfig, OptimizerRule};

/// The engine's rule that makes joins of such conditions, before which [`MarkedRows`] comes.
pub(crate) const JOINS_CONDITIONS: &str = "decorrelate_predicate_subquery";

/// The rule that says when it is not known whether a value is among others.
#[derive(Debug)]
pub(crate) struct UnknownStaysUnknown;

impl AnalyzerRule for UnknownStaysUnknown {
    fn name(&self) -> &'static str {
        "unknown_stays_unknown"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(in_plan)?.data)
    }
}

/// The rule that joins what is asked among columns.
#[derive(Debug)]
pub(crate) struct MarkedRows;

impl OptimizerRule for MarkedRows {
    fn name(&self) -> &'static str {
        "marked_rows"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let mut below = match &plan {
            LogicalPlan::Projection(projection) => Arc::clone(&projection.input),
            LogicalPlan::Aggregate(aggregate) => Arc::clone(&aggregate.input),
            _ => return Ok(Transformed::no(plan)),
        };
        let names = NamePreserver::new(&plan);
        let marked = plan.map_expressions(|expr| {
            if !asks(&expr)? {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let condition = Expr::IsNotNull(Box::new(expr));
            let filter = LogicalPlan::Filter(Filter::try_new(condition, Arc::clone(&below))?);
            let joined = DecorrelatePredicateSubquery::new().rewrite(filter, config)?.data;
            let (value, input) = taken(joined)?;
            below = input;
            Ok(Transformed::yes(name.restore(value)))
        })?;
        if !marked.transformed {
            return Ok(marked);
        }
        let (exprs, input) = (marked.data.expressions(), Arc::unwrap_or_clone(below));
        Ok(Transformed::yes(marked.data.with_new_exprs(exprs, vec![input])?))
    }
}

/// The value that a condition of [`MarkedRows`] asks for, and the rows that it is asked of.
fn taken(plan: LogicalPlan) -> Result<(Expr, Arc<LogicalPlan>)> {
    // Columns that were joined are left out above it.
    let plan = match plan {
        LogicalPlan::Projection(projection) => Arc::unwrap_or_clone(projection.input),
        other => other,
    };
    match plan {
        LogicalPlan::Filter(Filter { predicate: Expr::IsNotNull(value), input, .. }) => {
            Ok((*value, input))
        }
        _ => Err(DataFusionError::Internal("a condition became something else".to_owned())),
    }
}

/// Whether an expression asks for rows.
fn asks(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_) | Expr::Exists(_))))
}

/// What one node of a plan asks.
fn in_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let is_condition = match &plan {
        LogicalPlan::Filter(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => false,
        _ => return Ok(Transformed::no(plan)),
    };
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        if !asks(&expr)? {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        let told = match is_condition {
            true => condition(expr, true, &schema)?,
            false => value(expr, &schema)?,
        };
        Ok(told.update_data(|expr| name.restore(expr)))
    })?;
    match plan.transformed {
        true => plan.map_data(LogicalPlan::recompute_schema),
        false => Ok(plan),
    }
}

/// A condition. Where it decides alone what it does not know leaves a row out as false does; `alone` says whether it must
/// hold by itself, in which case the engine joins by it.
fn condition(expr: Expr, alone: bool, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(pair) if matches!(pair.op, Operator::And | Operator::Or) => {
            let alone = alone && pair.op == Operator::And;
            let left = condition(*pair.left, alone, schema)?;
            let right = condition(*pair.right, alone, schema)?;
            let changed = left.transformed || right.transformed;
            let pair = BinaryExpr::new(Box::new(left.data), pair.op, Box::new(right.data));
            Ok(Transformed::new_transformed(Expr::BinaryExpr(pair), changed))
        }
        Expr::InSubquery(within) if alone || !within.negated => {
            Ok(Transformed::no(Expr::InSubquery(within)))
        }
        Expr::Exists(exists) if alone => Ok(Transformed::no(Expr::Exists(exists))),
        Expr::Not(of) if alone && matches!(*of, Expr::InSubquery(_) | Expr::Exists(_)) => {
            Ok(Transformed::no(Expr::Not(of)))
        }
        other => value(other, schema),
    }
}

/// A value, which may be true, false or not known.
fn value(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_down(|expr| {
        let told = match expr {
            Expr::InSubquery(within) => known(within, schema)?,
            Expr::Exists(Exists { subquery, negated }) if subquery.outer_ref_columns.is_empty() => {
                let found = found(Arc::clone(&subquery.subquery), &subquery)?;
                Transformed::yes(if negated { Expr::Not(Box::new(found)) } else { found })
            }
            Expr::Case(case) if case.expr.is_none() => cases(case, schema)?,
            other => return Ok(Transformed::no(other)),
        };
        Ok(Transformed::new(told.data, told.transformed, TreeNodeRecursion::Jump))
    })
}

/// What follows from conditions of which one that is not known does not hold. What [`known`] makes stays as it is, too, since
/// a plan is told more than once.
fn cases(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = false;
    let mut pairs = Vec::new();
    for (when, then) in case.when_then_expr {
        let (when, then) = (condition(*when, false, schema)?, value(*then, schema)?);
        changed |= when.transformed || then.transformed;
        pairs.push((Box::new(when.data), Box::new(then.data)));
    }
    let mut last = None;
    if let Some(other) = case.else_expr {
        let other = value(*other, schema)?;
        changed |= other.transformed;
        last = Some(Box::new(other.data));
    }
    Ok(Transformed::new_transformed(Expr::Case(Case::new(None, pairs, last)), changed))
}

/// Whether a value is among others, and that it is not known if it is not.
fn known(within: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let InSubquery { expr, subquery, negated } = within;
    let others = &subquery.subquery;
    let mut unknown = Vec::new();
    if others.schema().fields().iter().any(|field| field.is_nullable()) {
        unknown.push(found(Arc::new(nulls(others)?), &subquery)?);
    }
    if expr.nullable(schema).unwrap_or(true) {
        unknown.push(Expr::IsNull(expr.clone()).and(found(Arc::clone(others), &subquery)?));
    }
    let Some(unknown) = unknown.into_iter().reduce(Expr::or) else {
        return Ok(Transformed::no(Expr::InSubquery(InSubquery { expr, subquery, negated })));
    };
    let within = Expr::InSubquery(InSubquery { expr, subquery, negated: false });
    let told = when(within, lit(!negated))
        .when(unknown, lit(ScalarValue::Boolean(None)))
        .otherwise(lit(negated))?;
    Ok(Transformed::yes(told))
}

/// Those rows of a subquery of one column in which it is NULL.
fn nulls(plan: &Arc<LogicalPlan>) -> Result<LogicalPlan> {
    let (value, input) = match plan.as_ref() {
        LogicalPlan::Projection(projection) => {
            (projection.expr.first().cloned(), &projection.input)
        }
        other => (other.schema().columns().into_iter().next().map(Expr::Column), plan),
    };
    let Some(value) = value else {
        return Err(DataFusionError::Plan("a subquery has no column".to_owned()));
    };
    let is_null = value.unalias().is_null();
    // One condition, because the engine takes it apart to find what depends on the row around it.
    let (condition, input) = match input.as_ref() {
        LogicalPlan::Filter(filter) => (filter.predicate.clone().and(is_null), &filter.input),
        _ => (is_null, input),
    };
    Ok(LogicalPlan::Filter(Filter::try_new(condition, Arc::clone(input))?))
}

/// Whether a plan has a row, which may depend on the same columns around it as the subquery that it was made of.
fn found(plan: Arc<LogicalPlan>, of: &Subquery) -> Result<Expr> {
    if !of.outer_ref_columns.is_empty() {
        let subquery = Subquery { subquery: plan, ..of.clone() };
        return Ok(Expr::Exists(Exists { subquery, negated: false }));
    }
    let one = LogicalPlanBuilder::from(plan).limit(0, Some(1))?;
    let counted = one.aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64))])?.build()?;
    let subquery = Subquery { subquery: Arc::new(counted), ..of.clone() };
    Ok(Expr::ScalarSubquery(subquery).gt(lit(0_i64)))
}

#[cfg(test)]
mod tests {
    use datafusion::optimizer::Optimizer;

    use super::*;

    #[test]
    fn the_engine_has_the_rule() {
        let rules = Optimizer::new().rules;
        assert_eq!(rules.iter().filter(|rule| rule.name() == JOINS_CONDITIONS).count(), 1);
    }
}
