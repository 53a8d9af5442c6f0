//! Keeps what a side of a join or a union is known to be from being believed of all rows.
//!
//! An outer join fills the columns of a side with nulls where no row matches. The engine (DataFusion 55.2,
//! `EquivalenceGroup::join`) goes on to take a column of that side for a constant, or for equal to an expression, if it was
//! below the join: sorts by such a column are left out, and groups and windows over it are ended too early. So above a
//! side that is filled stands a node that passes rows on and tells nothing of its columns but their order.
//!
//! `select 'web' as shop, … union all select 'store', …` has one value of `shop` in each partition, and different ones in
//! different partitions. The engine (`add_sort_above`, mended in its later versions) leaves such a column out of sorts, as if it
//! were the same everywhere: the best rows of one partition then decide which rows of another are left out, and rows of a
//! limit are wrong. So above a union stands a node that does not tell of such columns.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinSide, JoinType};
use datafusion::error::Result;
use datafusion::physical_expr::{AcrossPartitions, EquivalenceProperties};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};

use super::pass::{Pass, PassExec};

/// The engine's rule that makes constants of aggregates that tables know beforehand.
pub(crate) const FINDS_CONSTANTS: &str = "aggregate_statistics";

/// The rule that sets the nodes. It comes once constants are known, and before all rules that believe what they are told.
#[derive(Debug)]
pub(crate) struct ToldAboveJoins;

impl PhysicalOptimizerRule for ToldAboveJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            if differs_by_partition(&plan) {
                return Ok(Transformed::yes(PassExec::<United>::over(plan)));
            }
            let sides: &[JoinSide] = match join_type(plan.as_ref()) {
                Some(JoinType::Left) => &[JoinSide::Right],
                Some(JoinType::Right) => &[JoinSide::Left],
                Some(JoinType::Full) => &[JoinSide::Left, JoinSide::Right],
                _ => return Ok(Transformed::no(plan)),
            };
            let children = plan.children().into_iter().zip([JoinSide::Left, JoinSide::Right]);
            let children = children.map(|(child, side)| match sides.contains(&side) {
                true => Filled::over(child),
                false => Arc::clone(child),
            });
            let children = children.collect();
            let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            Ok(Transformed::yes(plan.replace_children(children, anew)?))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "told_above_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// How a join joins; none if the plan is none.
fn join_type(plan: &dyn ExecutionPlan) -> Option<JoinType> {
    let plan = plan as &dyn Any;
    let by_hash = plan.downcast_ref::<HashJoinExec>().map(|join| *join.join_type());
    let by_order = || plan.downcast_ref::<SortMergeJoinExec>().map(SortMergeJoinExec::join_type);
    let by_pairs = || plan.downcast_ref::<NestedLoopJoinExec>().map(|join| *join.join_type());
    by_hash.or_else(by_order).or_else(by_pairs)
}

/// Whether a plan is a union of parts each of which has one value of a column, and not all the same.
fn differs_by_partition(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let is_union = (plan.as_ref() as &dyn Any).is::<UnionExec>();
    let differs = |across: &AcrossPartitions| *across == AcrossPartitions::Heterogeneous;
    let constants = || plan.equivalence_properties().constants();
    is_union && constants().iter().any(|one| differs(&one.across_partitions))
}

/// Passes rows on and tells nothing of their columns but their order.
#[derive(Debug)]
struct Filled;

impl Filled {
    /// Such a node over a plan, or the plan itself if it tells nothing else.
    fn over(below: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let told = below.equivalence_properties();
        if told.eq_group().is_empty() && told.constants().is_empty() {
            return Arc::clone(below);
        }
        PassExec::<Self>::over(Arc::clone(below))
    }
}

impl Pass for Filled {
    const NAME: &'static str = "FilledExec";
    const HANDS_DOWN: bool = true;

    fn properties(below: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
        let orders = below.equivalence_properties().oeq_class().iter().cloned();
        let told = EquivalenceProperties::new_with_orderings(below.schema(), orders);
        Arc::new(PlanProperties::clone(below.properties()).with_eq_properties(told))
    }
}

/// Passes rows on and does not tell of columns that are the same in a partition, and not in all of them.
#[derive(Debug)]
struct United;

impl Pass for United {
    const NAME: &'static str = "UnitedExec";
    const HANDS_DOWN: bool = true;
    // The first rows of a partition are found by fewer columns there, and would leave out those of others.
    const LIMITED_BELOW: bool = false;

    fn properties(below: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
        let mut told = below.equivalence_properties().clone();
        told.clear_per_partition_constants();
        Arc::new(PlanProperties::clone(below.properties()).with_eq_properties(told))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

    use super::*;

    #[test]
    fn the_engine_has_the_rule() {
        let rules = PhysicalOptimizer::new().rules;
        assert_eq!(rules.iter().filter(|rule| rule.name() == FINDS_CONSTANTS).count(), 1);
    }
}
