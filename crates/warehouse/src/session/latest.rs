//! The first row of a subquery that depends on the row around it, as in
//! `(select status from orders o where o.customer = c.id order by o.placed_at desc limit 1)`.
//!
//! The engine (DataFusion 55.2) makes a join of such a subquery if it is an aggregate, and has no plan for one with a limit. What is first
//! in an order is an aggregate, too:
//!
//! ```text
//! select x from … order by k limit 1   ─►   select first_value(x order by k) from …
//! ```
//! A subquery that does not depend on the row stays as it is: it is found once, and fast. So do those in which what depends on
//! the row lies below windows, groups, unions and the like: the engine would take conditions out from under them, though they
//! see other rows then.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::first_value;
use datafusion::logical_expr::{
    Expr, FetchType, LogicalPlan, LogicalPlanBuilder, SkipType, Subquery,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::utils::NamePreserver;

/// The rule.
#[derive(Debug)]
pub(crate) struct FirstIsAggregate;

impl AnalyzerRule for FirstIsAggregate {
    fn name(&self) -> &'static str {
        "first_is_aggregate"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(in_plan)?.data)
    }
}

/// The subqueries of one node of a plan.
fn in_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        if !expr.exists(|expr| Ok(matches!(expr, Expr::ScalarSubquery(_))))? {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        let told = expr.transform_up(|expr| match expr {
            Expr::ScalarSubquery(subquery) if !subquery.outer_ref_columns.is_empty() => {
                let Some(plan) = first(&subquery.subquery)? else {
                    return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
                };
                let subquery = Subquery { subquery: Arc::new(plan), ..subquery };
                Ok(Transformed::yes(Expr::ScalarSubquery(subquery)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(told.update_data(|expr| name.restore(expr)))
    })
}

/// The first row of a sorted plan as an aggregate; none if the plan is something else.
fn first(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Limit(limit) = plan else { return Ok(None) };
    let one = matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1)));
    if !one || !matches!(limit.get_skip_type()?, SkipType::Literal(0)) {
        return Ok(None);
    }
    // What is sorted by and not asked for is left out again.
    let (value, below) = match limit.input.as_ref() {
        LogicalPlan::Projection(projection) => {
            (projection.expr.first().cloned(), projection.input.as_ref())
        }
        other => (other.schema().columns().into_iter().next().map(Expr::Column), other),
    };
    let (Some(value), LogicalPlan::Sort(sort)) = (value, below) else { return Ok(None) };
    // What asks for no column of the row around it the engine has a plan for.
    if plan.all_out_ref_exprs().is_empty() || !is_plain(&sort.input) {
        return Ok(None);
    }
    let (mut value, mut keys, mut rows) = (value.unalias(), sort.expr.clone(), &sort.input);
    if let LogicalPlan::Projection(projection) = sort.input.as_ref() {
        let made_of = projection.expr.iter().map(|expr| expr.clone().unalias());
        let columns: HashMap<Column, Expr> =
            projection.schema.columns().into_iter().zip(made_of).collect();
        value = replaced(value, &columns)?;
        for key in &mut keys {
            key.expr = replaced(key.expr.clone(), &columns)?;
        }
        rows = &projection.input;
    }
    let aggregate = vec![first_value(value, keys)];
    let rows = LogicalPlanBuilder::from(Arc::clone(rows));
    Ok(Some(rows.aggregate(Vec::<Expr>::new(), aggregate)?.build()?))
}

/// Whether all that depends on a row around a plan may be asked of the plan's rows as well.
fn is_plain(plan: &LogicalPlan) -> bool {
    let passes = match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => true,
        LogicalPlan::Join(join) => join.join_type == JoinType::Inner,
        _ => false,
    };
    plan.all_out_ref_exprs().is_empty() || (passes && plan.inputs().into_iter().all(is_plain))
}

/// An expression over what columns are made of.
fn replaced(expr: Expr, columns: &HashMap<Column, Expr>) -> Result<Expr> {
    let replaced = expr.transform_down(|expr| {
        let made_of = match &expr {
            Expr::Column(column) => columns.get(column),
            _ => None,
        };
        Ok(match made_of {
            Some(made_of) => Transformed::new(made_of.clone(), true, TreeNodeRecursion::Jump),
            None => Transformed::no(expr),
        })
    });
    Ok(replaced?.data)
}
