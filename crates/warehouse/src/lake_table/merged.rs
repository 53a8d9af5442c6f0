//! Running a scan of a table with changes that wait: the rows of its files that no change takes the place of, then the
//! rows that the newest changes made.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType, reset_plan_states,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use flywheel_base::Error;
use futures::{StreamExt, stream};
use object_store::ObjectStore;

use crate::failure::from_arrow;
use crate::lane::Newest;
use crate::shape;

/// A leaf for every rule of the optimiser: what is moved below it would have to hold for changes, too. Its partitions are
/// those of the files, and the changes come last in the last one, so that small tables have one order of rows.
pub(super) struct MergedExec {
    schema: SchemaRef,
    /// The rows of the files, with the columns of the key.
    files: Arc<dyn ExecutionPlan>,
    newest: Arc<Newest>,
    store: Arc<dyn ObjectStore>,
    properties: Arc<PlanProperties>,
}

impl MergedExec {
    pub(super) fn new(
        schema: SchemaRef,
        files: Arc<dyn ExecutionPlan>,
        newest: Arc<Newest>,
        store: Arc<dyn ObjectStore>,
    ) -> Self {
        let partitions = files.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(SchemaRef::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { schema, files, newest, store, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for MergedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergedExec").field("files", &self.files).finish_non_exhaustive()
    }
}

impl DisplayAs for MergedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergedExec: files_of_changes={}", self.newest.files())
    }
}

impl ExecutionPlan for MergedExec {
    fn name(&self) -> &'static str {
        "MergedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let files = reset_plan_states(Arc::clone(&self.files))?;
        let (newest, store) = (Arc::clone(&self.newest), Arc::clone(&self.store));
        Ok(Arc::new(Self::new(SchemaRef::clone(&self.schema), files, newest, store)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = SchemaRef::clone(&self.schema);
        let (newest, target) = (Arc::clone(&self.newest), SchemaRef::clone(&self.schema));
        let kept = self.files.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            unhidden(&newest, &target, &batch).map_err(external)
        });
        let is_last = partition + 1 == self.files.output_partitioning().partition_count();
        let changed = match is_last {
            true => self.newest.rows(&self.store, &self.schema),
            false => stream::empty().boxed(),
        };
        let rows = kept.chain(changed.map(|batch| batch.map_err(external)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// The rows of a batch of a data file that hold, without columns that nobody asked for.
fn unhidden(
    newest: &Newest,
    schema: &SchemaRef,
    batch: &RecordBatch,
) -> flywheel_base::Result<RecordBatch> {
    let shown = newest.shown(batch)?;
    let rows = filter_record_batch(batch, &shown).map_err(from_arrow)?;
    shape::conform(schema, &rows)
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
