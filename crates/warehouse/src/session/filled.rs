//! Keeps what a side of a join is known to be from being believed of the joined rows.
//!
//! An outer join fills the columns of a side with nulls where no row matches. The engine (DataFusion 55.2,
//! `EquivalenceGroup::join`) goes on to take a column of that side for a constant, or for equal to an expression, if it was
//! below the join: sorts by such a column are left out, and groups and windows over it are ended too early. So above a
//! side that is filled stands a node that passes rows on and tells nothing of its columns but their order.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinSide, JoinType, Statistics};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

/// The rule that sets the nodes; it must be the first, because others believe what they are told.
#[derive(Debug)]
pub(crate) struct ToldAboveJoins;

impl PhysicalOptimizerRule for ToldAboveJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let sides: &[JoinSide] = match join_type(plan.as_ref()) {
                Some(JoinType::Left) => &[JoinSide::Right],
                Some(JoinType::Right) => &[JoinSide::Left],
                Some(JoinType::Full) => &[JoinSide::Left, JoinSide::Right],
                _ => return Ok(Transformed::no(plan)),
            };
            let children = plan.children().into_iter().zip([JoinSide::Left, JoinSide::Right]);
            let children = children.map(|(child, side)| match sides.contains(&side) {
                true => FilledExec::over(child),
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

/// Passes rows on and tells nothing of their columns but their order.
struct FilledExec {
    below: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl FilledExec {
    /// Such a node over a plan, or the plan itself if it tells nothing else.
    fn over(below: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let told = below.equivalence_properties();
        if told.eq_group().is_empty() && told.constants().is_empty() {
            return Arc::clone(below);
        }
        Arc::new(Self::new(Arc::clone(below)))
    }

    fn new(below: Arc<dyn ExecutionPlan>) -> Self {
        let orders = below.equivalence_properties().oeq_class().iter().cloned();
        let told = EquivalenceProperties::new_with_orderings(below.schema(), orders);
        let properties = PlanProperties::clone(below.properties()).with_eq_properties(told);
        Self { below, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for FilledExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilledExec").field("below", &self.below).finish_non_exhaustive()
    }
}

impl DisplayAs for FilledExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilledExec")
    }
}

impl ExecutionPlan for FilledExec {
    fn name(&self) -> &'static str {
        "FilledExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.below]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(below), true) => Ok(Arc::new(Self::new(below))),
            _ => Err(DataFusionError::Internal("FilledExec has one child".to_owned())),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.below.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        below: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(below
            .first()
            .map_or_else(|| Arc::new(Statistics::new_unknown(&self.below.schema())), Arc::clone))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}
