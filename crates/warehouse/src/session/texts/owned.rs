//! Copies texts before they are kept, so that what is kept is what is counted.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use crate::session::pass::{Pass, PassExec};

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
                *kept = PassExec::<Owned>::over(Arc::clone(kept));
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
struct Owned;

impl Pass for Owned {
    const NAME: &'static str = "OwnedExec";

    fn rows(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let schema = rows.schema();
        let rows = rows.map(|batch| batch.and_then(|batch| own(&batch)));
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
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
