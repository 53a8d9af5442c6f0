//! Keeps conditions that arise while a query runs from landing on another column of the same name.
//!
//! Of the side of a join that is kept in memory follows what the other side's keys must be, and of the best rows of a
//! limit what further ones must be. The engine hands such conditions down the plan to the scans, which leave out files
//! and groups of rows. On the way (DataFusion 55.2, `FilterRemapper`) it looks a column up by its name and takes the
//! first one. Below a join of tables that both have an `id`, the condition on one was handed to the other: rows got
//! lost. So the rule does not run on a plan in which such a column has a namesake beside it.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

/// The engine's rule that hands down conditions that arise while a query runs.
pub(crate) const HANDS_DOWN: &str = "FilterPushdown(Post)";

/// The engine's rule, where names tell columns apart.
#[derive(Debug)]
pub(crate) struct WhereNamesTell(pub(crate) Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for WhereNamesTell {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (mut twice, mut asked) = (HashSet::new(), HashSet::new());
        named(&plan, &mut twice, &mut asked);
        match twice.is_disjoint(&asked) {
            true => self.0.optimize(plan, config),
            false => Ok(plan),
        }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Adds the names that several columns of one node have, and those of columns that conditions may be about.
fn named(plan: &Arc<dyn ExecutionPlan>, twice: &mut HashSet<String>, asked: &mut HashSet<String>) {
    let schema = plan.schema();
    let mut once = HashSet::new();
    for field in schema.fields() {
        if !once.insert(field.name()) {
            twice.insert(field.name().clone());
        }
    }
    let mut ask = |expr: &Arc<dyn PhysicalExpr>| {
        asked.extend(collect_columns(expr).iter().map(|column| column.name().to_owned()));
    };
    let node = plan.as_ref() as &dyn Any;
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        for (left, right) in join.on() {
            ask(left);
            ask(right);
        }
    } else if let Some(sort) = node.downcast_ref::<SortExec>() {
        sort.expr().iter().for_each(|by| ask(&by.expr));
    } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        aggregate.aggr_expr().iter().flat_map(|one| one.expressions()).for_each(|expr| ask(&expr));
        renamed(aggregate.group_expr().expr()).for_each(&mut ask);
    } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let made = projection.expr().iter();
        made.filter(|one| !keeps_name(&one.expr, &one.alias)).for_each(|one| ask(&one.expr));
    }
    for child in plan.children() {
        named(child, twice, asked);
    }
}

/// Expressions under another name: a condition on that name is one on what they are made of.
fn renamed(
    exprs: &[(Arc<dyn PhysicalExpr>, String)],
) -> impl Iterator<Item = &Arc<dyn PhysicalExpr>> {
    exprs.iter().filter(|(expr, alias)| !keeps_name(expr, alias)).map(|(expr, _)| expr)
}

fn keeps_name(expr: &Arc<dyn PhysicalExpr>, alias: &str) -> bool {
    expr.downcast_ref::<Column>().is_some_and(|column| column.name() == alias)
}
