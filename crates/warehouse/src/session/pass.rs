//! Nodes of ours in a plan that pass rows on, each with something of its own to say or to do.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, Statistics,
};

/// What such a node is. All of them pass on every row, in order.
pub(super) trait Pass: fmt::Debug + Send + Sync + 'static {
    /// How EXPLAIN calls it.
    const NAME: &'static str;
    /// Whether conditions are handed down through it.
    const HANDS_DOWN: bool = false;
    /// Whether a limit may be put below it, and a sort that ends at one.
    const LIMITED_BELOW: bool = true;

    /// What it tells of its rows.
    fn properties(below: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
        Arc::clone(below.properties())
    }

    /// What it does with rows.
    fn rows(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        rows
    }
}

/// A node that passes rows on.
#[derive(Debug)]
pub(super) struct PassExec<P: Pass> {
    below: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    is: std::marker::PhantomData<P>,
}

impl<P: Pass> PassExec<P> {
    /// One over a plan.
    pub(super) fn over(below: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let properties = P::properties(&below);
        Arc::new(Self { below, properties, is: std::marker::PhantomData })
    }
}

impl<P: Pass> DisplayAs for PassExec<P> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(P::NAME)
    }
}

impl<P: Pass> ExecutionPlan for PassExec<P> {
    fn name(&self) -> &'static str {
        P::NAME
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
            (Some(below), true) => Ok(Self::over(below)),
            _ => Err(DataFusionError::Internal(format!("{} has one child", P::NAME))),
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
        Ok(P::rows(self.below.execute(partition, context)?))
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
        P::LIMITED_BELOW
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
        match P::HANDS_DOWN {
            true => FilterDescription::from_children(filters, &self.children()),
            false => Ok(FilterDescription::all_unsupported(&filters, &self.children())),
        }
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
