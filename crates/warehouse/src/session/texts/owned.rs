//! Copies texts before they are kept, so that what is kept is what is counted.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

/// The joins that keep the whole of their first input.
const KEEPING: [&str; 3] = ["HashJoinExec", "CrossJoinExec", "NestedLoopJoinExec"];

/// The plan in which joins keep texts of their own instead of views of pages. To be made last: nothing is moved
/// through the new nodes.
pub(crate) fn owned(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        if !KEEPING.contains(&plan.name()) {
            return Ok(Transformed::no(plan));
        }
        let mut children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
        match children.first_mut() {
            Some(kept) if shows_views(kept.as_ref()) => {
                *kept = Arc::new(OwnedExec { below: Arc::clone(kept) });
            }
            _ => return Ok(Transformed::no(plan)),
        }
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(plan.replace_children(children, anew)?))
    })
    .data()
}

/// Whether there are views of texts anywhere in a plan.
pub(crate) fn has_views(plan: &dyn ExecutionPlan) -> bool {
    shows_views(plan) || plan.children().into_iter().any(|child| has_views(child.as_ref()))
}

fn shows_views(plan: &dyn ExecutionPlan) -> bool {
    plan.schema().fields().iter().any(|field| *field.data_type() == DataType::Utf8View)
}

/// Passes rows on, with texts that share their memory with no other batch.
#[derive(Debug)]
struct OwnedExec {
    below: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for OwnedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedExec")
    }
}

impl ExecutionPlan for OwnedExec {
    fn name(&self) -> &'static str {
        "OwnedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.below.properties()
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
            (Some(below), true) => Ok(Arc::new(Self { below })),
            _ => Err(DataFusionError::Internal("OwnedExec has one child".to_owned())),
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
        let rows = self.below.execute(partition, context)?;
        let schema = rows.schema();
        let rows = rows.map(|batch| batch.and_then(|batch| own(&batch)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// The same rows, with texts in buffers of their own.
fn own(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        _ => Arc::clone(column),
    });
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &rows)?)
}
