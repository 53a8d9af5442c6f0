//! Running what lies below a table seen in part, without showing any of it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
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
use flywheel_base::{Error, ErrorKind};
use futures::StreamExt;

use crate::TableName;
use crate::failure::from_engine;

/// A leaf for every rule of the optimiser and for EXPLAIN: neither predicates nor limits are moved below
/// it, and neither statistics nor counts come out of it.
pub(crate) struct SeenExec {
    name: TableName,
    schema: SchemaRef,
    below: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl SeenExec {
    pub(super) fn new(name: TableName, schema: SchemaRef, below: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = below.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(SchemaRef::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { name, schema, below, properties: Arc::new(properties) }
    }

    /// What lies below such a leaf, for those who may look: not EXPLAIN.
    pub(crate) fn below_of(plan: &dyn ExecutionPlan) -> Option<&Arc<dyn ExecutionPlan>> {
        (plan as &dyn Any).downcast_ref::<Self>().map(|seen| &seen.below)
    }
}

impl fmt::Debug for SeenExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeenExec").field("name", &self.name).finish_non_exhaustive()
    }
}

impl DisplayAs for SeenExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeenExec: table={}", self.name)
    }
}

impl ExecutionPlan for SeenExec {
    fn name(&self) -> &'static str {
        "SeenExec"
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
        let below = reset_plan_states(Arc::clone(&self.below))?;
        Ok(Arc::new(Self::new(self.name.clone(), SchemaRef::clone(&self.schema), below)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let name = self.name.clone();
        let rows = self.below.execute(partition, context).map_err(|e| hushed(e, &name))?;
        let (schema, target) = (SchemaRef::clone(&self.schema), SchemaRef::clone(&self.schema));
        let rows = rows.map(move |batch| {
            let batch = batch.map_err(|error| hushed(error, &name))?;
            let count = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.columns().to_vec();
            RecordBatch::try_new_with_options(SchemaRef::clone(&target), columns, &count).map_err(
                |_| {
                    DataFusionError::External(Box::new(Error::internal(format!(
                        "table {name} is not what its rule was planned for"
                    ))))
                },
            )
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// What may be told of an error below: its kind, and never a value, which could be a hidden one.
pub(super) fn hushed(error: DataFusionError, name: &TableName) -> DataFusionError {
    let error = from_engine(error);
    let told = match error.kind() {
        ErrorKind::Exhausted => {
            let text = format!("the rows of table {name} that its rule lets through");
            return DataFusionError::ResourcesExhausted(text);
        }
        kind @ (ErrorKind::Corrupt | ErrorKind::Unavailable | ErrorKind::NotFound) => {
            Error::new(kind, format!("table {name} cannot be read"))
                .hint("Ask whoever keeps the project to run `flywheel sql` over it.")
        }
        _ => Error::invalid(format!("the rule of table {name} cannot be evaluated for its rows"))
            .hint(
                "Ask whoever declared the rule: its expression fails for a row, also without it.",
            ),
    };
    DataFusionError::External(Box::new(told))
}
