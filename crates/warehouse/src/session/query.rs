//! A planned query, and running it within the memory limit.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use flywheel_base::{Error, ErrorKind, Result, digest};
use futures::{StreamExt, TryStreamExt, stream};

use crate::failure::from_engine;
use crate::{RowStream, TableName, shape};

/// The join that cannot spill.
const HASH_JOIN: &str = "HashJoinExec";
/// The sort-merge join needs at least two partitions to be chosen.
const PARTITIONS_MIN: usize = 2;

/// One planned statement; it may be run several times and reads the same versions each time.
pub struct Query {
    state: SessionState,
    plan: LogicalPlan,
    schema: SchemaRef,
    tables: BTreeSet<TableName>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl Query {
    pub(super) fn new(
        state: SessionState,
        plan: LogicalPlan,
        tables: BTreeSet<TableName>,
    ) -> Result<Self> {
        let plan = match plan {
            // The engine analyses what EXPLAIN explains itself, to show every step.
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => plan,
            plan => state
                .analyzer()
                .execute_and_check(plan, state.config_options(), |_, _| {})
                .map_err(from_engine)?,
        };
        let schema = shape::without_views(plan.schema().as_arrow());
        Ok(Self { state, plan, schema: Arc::new(schema), tables })
    }

    /// The columns of the answer.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The analysed plan, not yet optimised, with its views expanded: what lineage is read from.
    #[must_use]
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// Every table and view the statement reads, with what its views read.
    #[must_use]
    pub fn tables(&self) -> BTreeSet<TableName> {
        self.tables.clone()
    }

    /// A digest of the analysed plan with its views expanded: comments, white space and the case of
    /// unquoted names do not change it; tables, columns, literals and output names do, table versions
    /// do not.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = self.plan.display_indent().to_string();
        let listed = self.plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Values(values) = node {
                // The display shows the first rows only.
                text.push_str(&format!("\n{:?}", values.values));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        debug_assert!(listed.is_ok(), "the visitor does not fail");
        digest::hex(&[text.as_bytes()])
    }

    /// Runs the query and reads its answer into memory.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] if it needs more memory than the lake allows, even with joins that
    /// spill; [`ErrorKind::Corrupt`] if a data file is damaged; [`ErrorKind::Invalid`] if a value
    /// cannot be computed.
    pub async fn collect(&self) -> Result<Vec<RecordBatch>> {
        let plan = self.physical(&self.state).await?;
        match self.run(&self.state, &plan)?.try_collect().await {
            Err(error) if spills_if_sorted(&error, &plan) => {
                let (state, plan) = self.sorted().await?;
                self.run(&state, &plan)?.try_collect().await
            }
            outcome => outcome,
        }
    }

    /// Runs the query and streams its answer; a refused hash join is retried before the first row.
    ///
    /// # Errors
    /// As [`Query::collect`], here or in the stream.
    pub async fn stream(&self) -> Result<RowStream> {
        let plan = self.physical(&self.state).await?;
        let mut rows = self.run(&self.state, &plan)?;
        let first = match rows.next().await {
            Some(Err(error)) if spills_if_sorted(&error, &plan) => {
                let (state, plan) = self.sorted().await?;
                return self.run(&state, &plan);
            }
            first => first,
        };
        Ok(RowStream::new(self.schema(), stream::iter(first).chain(rows)))
    }

    async fn physical(&self, state: &SessionState) -> Result<Arc<dyn ExecutionPlan>> {
        state.create_physical_plan(&self.plan).await.map_err(from_engine)
    }

    /// The same query with joins that can spill.
    async fn sorted(&self) -> Result<(SessionState, Arc<dyn ExecutionPlan>)> {
        tracing::info!("query is retried with sort-merge joins, as a hash join was refused memory");
        let mut config = self.state.config().clone();
        config.options_mut().optimizer.prefer_hash_join = false;
        let partitions = config.target_partitions().max(PARTITIONS_MIN);
        let config = config.with_target_partitions(partitions);
        let state =
            SessionStateBuilder::new_from_existing(self.state.clone()).with_config(config).build();
        let plan = self.physical(&state).await?;
        Ok((state, plan))
    }

    fn run(&self, state: &SessionState, plan: &Arc<dyn ExecutionPlan>) -> Result<RowStream> {
        let rows: SendableRecordBatchStream =
            execute_stream(Arc::clone(plan), state.task_ctx()).map_err(from_engine)?;
        let schema = self.schema();
        let target = SchemaRef::clone(&schema);
        let rows = rows.map(move |batch| {
            let batch = batch.map_err(from_engine)?;
            shape::relabel(&target, &batch)
        });
        Ok(RowStream::new(schema, rows))
    }
}

/// Whether an error would not have happened with joins that can spill.
fn spills_if_sorted(error: &Error, plan: &Arc<dyn ExecutionPlan>) -> bool {
    error.kind() == ErrorKind::Exhausted
        && displayable(plan.as_ref()).indent(false).to_string().contains(HASH_JOIN)
}
