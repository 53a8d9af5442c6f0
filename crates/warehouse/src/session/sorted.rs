//! Sorts rows once more where a plan asks for an order that it is not told of.
//!
//! The engine (DataFusion 55.2) hands the sort of an answer down through what keeps the order of rows, and leaves it out where
//! they have it already. That is right, but not everything between tells of it, and at the end a plan is refused
//! (`SanityCheckPlan`) whose orders are not told:
//!
//! - the right side of a join forgets what is constant there (`EquivalenceClass::try_with_offset`), such as the count of a whole
//!   table, which is known before the query runs: `select n from (select count(*) n from a) join b on b.id < n … order by n`;
//! - a union forgets which of its columns are equal, as in `select id, id as number … union all … order by number`.
//!
//! So where an order is still missing when all sorts are where the engine wants them, stands one more. It comes before limits are handed
//! down, so that none is applied below it to rows of another order. Plans that would have passed stay as they are.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::{LexOrdering, OrderingRequirements};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// The engine's rule that sets sorts, after which this one comes.
pub(crate) const SETS_SORTS: &str = "EnsureRequirements";

/// The rule.
#[derive(Debug)]
pub(crate) struct SortedAsAsked;

impl PhysicalOptimizerRule for SortedAsAsked {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let mut children: Vec<Arc<dyn ExecutionPlan>> =
                plan.children().into_iter().map(Arc::clone).collect();
            let mut sorted = false;
            for (child, asked) in children.iter_mut().zip(plan.required_input_ordering()) {
                let Some(order) = asked.map(OrderingRequirements::into_single) else { continue };
                let told = child.equivalence_properties();
                if told.ordering_satisfy_requirement(order.clone())? {
                    continue;
                }
                let sort = SortExec::new(LexOrdering::from(order), Arc::clone(child));
                *child = Arc::new(sort.with_preserve_partitioning(true));
                sorted = true;
            }
            if !sorted {
                return Ok(Transformed::no(plan));
            }
            let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            Ok(Transformed::yes(plan.replace_children(children, anew)?))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "sorted_as_asked"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

    use super::*;

    #[test]
    fn the_engine_has_the_rule() {
        let rules = PhysicalOptimizer::new().rules;
        assert_eq!(rules.iter().filter(|rule| rule.name() == SETS_SORTS).count(), 1);
    }
}
