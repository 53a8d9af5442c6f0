//! A planned query, and running it within the memory limit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use flywheel_base::task::TaskSet;
use flywheel_base::{ErrorKind, Result, digest};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::allowance::{self, Allowance, Budget};
use super::sight::SeenExec;
use super::{scalars, texts};
use crate::failure::from_engine;
use crate::{RowStream, TableName, shape};

/// What makes many rows of few: between two batches of its input others would wait for as long as that takes.
const MULTIPLYING: [&str; 5] =
    [HASH_JOIN, "CrossJoinExec", "NestedLoopJoinExec", "SortMergeJoinExec", "UnnestExec"];
/// The join that cannot spill.
const HASH_JOIN: &str = "HashJoinExec";
/// The sort-merge join needs at least two partitions to be chosen.
const PARTITIONS_MIN: usize = 2;

/// Rows of a batch when memory is short: every spill file that is merged holds some batches in memory.
const BATCH_ROWS_SORTED: usize = 1_024;
/// How long to wait at a time for the tasks of a refused plan to end.
const RELEASE_WAIT: Duration = Duration::from_millis(2);
/// How often to wait.
const RELEASE_WAITS_MAX: usize = 50;

/// One planned statement; it may be run several times and reads the same versions each time.
#[derive(Clone)]
pub struct Query {
    state: SessionState,
    plan: LogicalPlan,
    schema: SchemaRef,
    tables: BTreeSet<TableName>,
    /// What a run may take.
    allowance: Option<Arc<Allowance>>,
}

fn fingerprint_of(plan: &LogicalPlan) -> String {
    let mut text = plan.display_indent().to_string();
    let listed = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Values(values) = node {
            // The display shows the first rows only.
            text.push_str(&format!("\n{:?}", values.values));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(listed.is_ok(), "the visitor does not fail");
    digest::hex(&[text.as_bytes()])
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
        Ok(Self { state, plan, schema: Arc::new(schema), tables, allowance: None })
    }

    /// The same query, each run of which takes no more than that.
    pub(super) fn within(mut self, allowance: Option<Arc<Allowance>>) -> Self {
        if let Some(most) = allowance.as_ref().and_then(|one| one.memory_bytes) {
            self.state = allowance::within_memory(self.state, most);
        }
        self.allowance = allowance;
        self
    }

    /// The same query as a step of something that has its place already: what it finds is no answer.
    pub(super) fn of_steps(mut self) -> Self {
        self.allowance = self.allowance.map(|one| Arc::new(one.of_steps()));
        self
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
        fingerprint_of(&self.plan)
    }

    /// As [`Query::fingerprint`], of the optimised plan: two queries of which one was only written
    /// otherwise mostly have the same; two that differ in rows or values never do.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the plan cannot be optimised, such as for a wrong constant.
    pub fn normal_fingerprint(&self) -> Result<String> {
        Ok(fingerprint_of(&self.state.optimize(&self.plan).map_err(from_engine)?))
    }

    /// Runs the query and reads its answer into memory.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] if it needs more memory than the lake allows, even with joins that
    /// spill, or more of anything than its reader may take; [`ErrorKind::Corrupt`] if a data file is
    /// damaged; [`ErrorKind::Invalid`] if a value cannot be computed.
    pub async fn collect(&self) -> Result<Vec<RecordBatch>> {
        let Some(allowance) = &self.allowance else { return self.gathered().await };
        // Rows are counted as they are found, so that too many are never held.
        if allowance.rows.is_some() {
            return self.stream().await?.collect().await;
        }
        let mut budget = Budget::begin(allowance, &self.state.runtime_env().memory_pool).await?;
        budget.spend(Box::pin(self.gathered())).await
    }

    async fn gathered(&self) -> Result<Vec<RecordBatch>> {
        let before = self.reserved();
        let plan = self.quick().await?;
        let outcome = self.run(&self.state, &plan)?.try_collect().await;
        let Some(error) = refused(&outcome, &plan) else { return outcome };
        // The refused plan holds on to what it has built until it is gone.
        drop((plan, outcome));
        self.sorted(&error, before).await?.collect().await
    }

    /// Runs the query and streams its answer; a refused hash join is retried before the first row.
    ///
    /// # Errors
    /// As [`Query::collect`], here or in the stream.
    pub async fn stream(&self) -> Result<RowStream> {
        let Some(allowance) = &self.allowance else { return self.begun().await };
        let mut budget = Budget::begin(allowance, &self.state.runtime_env().memory_pool).await?;
        let rows = budget.spend(Box::pin(self.begun())).await?;
        let rows = stream::unfold(Some((rows, budget)), |left| async move {
            let (mut rows, mut budget) = left?;
            match budget.next(&mut rows).await? {
                Ok(batch) => Some((Ok(batch), Some((rows, budget)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(RowStream::new(self.schema(), rows))
    }

    /// The rows, with the first of them found.
    async fn begun(&self) -> Result<RowStream> {
        let before = self.reserved();
        let plan = self.quick().await?;
        let mut rows = self.run(&self.state, &plan)?;
        let first = rows.next().await.transpose();
        let Some(error) = refused(&first, &plan) else {
            let first = first.transpose();
            return Ok(RowStream::new(self.schema(), stream::iter(first).chain(rows)));
        };
        drop((plan, rows, first));
        self.sorted(&error, before).await
    }

    /// As [`Query::stream`], as a task of its own, so that rows are found while those before them are worked on.
    /// It ends when the stream is dropped.
    #[must_use]
    pub fn stream_apart(&self) -> RowStream {
        let query = self.clone();
        let (sender, receiver) = mpsc::channel(1);
        let mut tasks = TaskSet::default();
        let found = async move {
            let mut rows = query.stream().await?;
            while let Some(batch) = rows.next().await {
                if sender.send(batch?).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        tasks.start(found.in_current_span());
        let rows = stream::unfold((receiver, Some(tasks)), |(mut receiver, tasks)| async move {
            if let Some(batch) = receiver.recv().await {
                return Some((Ok(batch), (receiver, tasks)));
            }
            // The end, or what kept the task from it.
            let error = tasks?.join().await.err()?;
            Some((Err(error), (receiver, None)))
        });
        RowStream::new(self.schema(), rows)
    }

    /// The plan that is tried first: texts are views.
    async fn quick(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.resolved(&self.state).await?;
        let viewed = async {
            let Some(plan) = texts::viewed(&plan)? else { return Ok(None) };
            let plan = self.state.create_physical_plan(&plan).await?;
            texts::owned(plan).map(Some)
        };
        let made = match viewed.await {
            Ok(Some(made)) => made,
            Ok(None) => self.state.create_physical_plan(&plan).await.map_err(from_engine)?,
            Err(error) => {
                tracing::debug!(%error, "a query is planned over plain texts");
                self.state.create_physical_plan(&plan).await.map_err(from_engine)?
            }
        };
        yielding(made)
    }

    /// The plan over plain texts.
    async fn plain(&self, state: &SessionState) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.resolved(state).await?;
        yielding(state.create_physical_plan(&plan).await.map_err(from_engine)?)
    }

    async fn resolved(&self, state: &SessionState) -> Result<LogicalPlan> {
        let explains = matches!(self.plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
        match explains {
            true => Ok(self.plan.clone()),
            false => scalars::resolved(state, &self.plan).await.map_err(from_engine),
        }
    }

    fn reserved(&self) -> usize {
        self.state.runtime_env().memory_pool.reserved()
    }

    /// Runs the same query over plain texts and with joins that can spill, once the first plan's tasks have
    /// let go of what they had reserved beyond `before`.
    async fn sorted(&self, refusal: &str, before: usize) -> Result<RowStream> {
        tracing::info!(refusal, "query is retried with sort-merge joins over plain texts");
        for _ in 0..RELEASE_WAITS_MAX {
            if self.reserved() <= before {
                break;
            }
            tokio::time::sleep(RELEASE_WAIT).await;
        }
        let mut config = self.state.config().clone();
        config.options_mut().optimizer.prefer_hash_join = false;
        let partitions = config.target_partitions().max(PARTITIONS_MIN);
        let batch_size = config.batch_size().min(BATCH_ROWS_SORTED);
        let config = config.with_target_partitions(partitions).with_batch_size(batch_size);
        let state =
            SessionStateBuilder::new_from_existing(self.state.clone()).with_config(config).build();
        let plan = self.plain(&state).await?;
        self.run(&state, &plan)
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

/// Why a plan was refused memory, if one of plain texts and joins that can spill might not be; and why one over views
/// failed otherwise, since some function may know plain texts alone.
fn refused<T>(outcome: &Result<T>, plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let error = outcome.as_ref().err()?;
    let again = match error.kind() {
        ErrorKind::Exhausted => hash_joins(plan) || texts::has_views(plan.as_ref()),
        ErrorKind::Internal | ErrorKind::Invalid => texts::has_views(plan.as_ref()),
        _ => false,
    };
    again.then(|| error.report())
}

/// Whether a plan has the join that cannot spill, also below what EXPLAIN does not show.
fn hash_joins(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut below = plan.children().into_iter().chain(SeenExec::below_of(plan.as_ref()));
    plan.name() == HASH_JOIN || below.any(hash_joins)
}

/// Lets a plan make room for others after every few batches, also where rows are multiplied: the engine asks
/// for that at the leaves only, so a runaway join could neither be ended nor be worked beside.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|plan| {
        Ok(if MULTIPLYING.contains(&plan.name()) {
            let yields: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(plan));
            Transformed::yes(yields)
        } else {
            Transformed::no(plan)
        })
    });
    Ok(wrapped.map_err(from_engine)?.data)
}

#[cfg(test)]
mod tests;
