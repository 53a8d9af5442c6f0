//! Keeps conditions that arise while a query runs from landing on another column of the same name.
//!
//! Of the side of a join that is kept in memory follows what the other side's keys must be, and of the best rows of a
//! limit what further ones must be. The engine hands such conditions down the plan to the scans, which leave out files
//! and groups of rows. On the way (DataFusion 55.2, `FilterRemapper`) it looks a column up by its name and takes the
//! first one. Below a join of tables that both have an `id`, the condition on one was handed to the other: rows got
//! lost. So a condition that may be about a column with a namesake somewhere on the way down is not handed down: below
//! where it arises stands a node that lets none through. Where the namesake is on the other side of the join that the
//! condition comes from, as in `on t.id = s.id` of two tables, they do not meet.

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
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use super::pass::{Pass, PassExec};

/// The engine's rule that hands down conditions that arise while a query runs.
pub(crate) const HANDS_DOWN: &str = "FilterPushdown(Post)";

/// How the names of nodes that join end.
const JOIN: &str = "JoinExec";

/// The engine's rule, where names tell columns apart.
#[derive(Debug)]
pub(crate) struct WhereNamesTell(pub(crate) Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for WhereNamesTell {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.optimize(parted(plan)?.0, config)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Passes rows on, and no condition down.
#[derive(Debug)]
struct Parted;

impl Pass for Parted {
    const NAME: &'static str = "PartedExec";
}

/// What a condition can meet on its way down from above a part of a plan.
#[derive(Default)]
struct Below {
    /// Names that several columns have at one place.
    twice: HashSet<String>,
    /// Columns that have another name above, and the names of those that they are made of.
    renamed: Vec<(String, HashSet<String>)>,
}

impl Below {
    fn add(&mut self, other: Self) {
        self.twice.extend(other.twice);
        self.renamed.extend(other.renamed);
    }

    /// Whether a condition on these columns, handed down from above, would meet a namesake of one of them.
    fn confuses<'a>(&self, asked: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>) -> bool {
        let mut asked = names(asked);
        loop {
            let before = asked.len();
            for (name, made_of) in &self.renamed {
                if asked.contains(name) {
                    asked.extend(made_of.iter().cloned());
                }
            }
            if asked.len() == before {
                return !asked.is_disjoint(&self.twice);
            }
        }
    }
}

/// The plan in which no condition meets a namesake, and what one from above it can still meet.
fn parted(plan: Arc<dyn ExecutionPlan>) -> Result<(Arc<dyn ExecutionPlan>, Below)> {
    let below = plan.children().into_iter().map(|child| parted(Arc::clone(child)));
    let (mut children, below): (Vec<_>, Vec<Below>) =
        below.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let mut all = Below::default();
    let mut part = |side: usize, confused: bool| {
        if let Some(child) = children.get_mut(side).filter(|_| confused) {
            *child = PassExec::<Parted>::over(Arc::clone(child));
        }
    };
    let node = plan.as_ref() as &dyn Any;
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        // The first side is kept in memory, and the second one is told of it.
        let told = join.on().iter().map(|(_, told)| told);
        part(1, below.get(1).is_some_and(|side| side.confuses(told)));
    } else if let Some(sort) = node.downcast_ref::<SortExec>().filter(|sort| sort.fetch().is_some())
    {
        let by = sort.expr().iter().map(|by| &by.expr);
        part(0, below.first().is_some_and(|child| child.confuses(by)));
    } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        let of: Vec<_> = aggregate.aggr_expr().iter().flat_map(|one| one.expressions()).collect();
        part(0, below.first().is_some_and(|child| child.confuses(&of)));
        all.renamed =
            renamed(aggregate.group_expr().expr().iter().map(|(expr, name)| (expr, name)));
    } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        all.renamed = renamed(projection.expr().iter().map(|one| (&one.expr, &one.alias)));
    }
    if plan.name().ends_with(JOIN) {
        // It may leave out one of two columns of a name, and is still looked through by that name.
        all.twice.extend(repeated(plan.children().into_iter().flat_map(names_of)));
    }
    all.twice.extend(repeated(names_of(&plan)));
    below.into_iter().for_each(|child| all.add(child));
    let same = plan.children().into_iter().zip(&children).all(|(old, new)| Arc::ptr_eq(old, new));
    if same {
        return Ok((plan, all));
    }
    let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    Ok((plan.replace_children(children, anew)?, all))
}

/// The columns of a node's answer, each name as often as it occurs.
fn names_of(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    plan.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn repeated(names: impl IntoIterator<Item = String>) -> HashSet<String> {
    let mut once = HashSet::new();
    names.into_iter().filter(|name| !once.insert(name.clone())).collect()
}

/// The names of the columns in these expressions.
fn names<'a>(exprs: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>) -> HashSet<String> {
    let columns = exprs.into_iter().flat_map(collect_columns);
    columns.map(|column| column.name().to_owned()).collect()
}

/// Those of these expressions that are no columns of their own names.
fn renamed<'a>(
    exprs: impl Iterator<Item = (&'a Arc<dyn PhysicalExpr>, &'a String)>,
) -> Vec<(String, HashSet<String>)> {
    let others = exprs.filter(|(expr, name)| !keeps_name(expr, name));
    others.map(|(expr, name)| (name.clone(), names([expr]))).collect()
}

fn keeps_name(expr: &Arc<dyn PhysicalExpr>, alias: &str) -> bool {
    expr.downcast_ref::<Column>().is_some_and(|column| column.name() == alias)
}
