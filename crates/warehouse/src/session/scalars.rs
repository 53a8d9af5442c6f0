//! Subqueries that are one value, put into the plan as that value before it is optimised.
//!
//! `where at >= (select max(at) from …)` is how an increment says what is new. The engine computes
//! the value when it runs the plan, after the files were chosen; with the value in place, the bounds
//! in the log choose the files, and what is old is not even opened.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use datafusion::physical_plan::collect;
use futures::FutureExt;
use futures::future::BoxFuture;

/// The values of subqueries, by their plans.
type Values = HashMap<Arc<LogicalPlan>, ScalarValue>;

/// The plan with every value in place that a condition compares with and that does not depend on the
/// row. A subquery that cannot be answered stays; the engine says why when it gets there.
pub(super) fn resolved<'a>(
    state: &'a SessionState,
    plan: &'a LogicalPlan,
) -> BoxFuture<'a, Result<LogicalPlan>> {
    async move {
        let mut values = Values::new();
        for subquery in wanted(plan)? {
            if let Some(value) = value_of(state, &subquery).await {
                values.insert(subquery, value);
            }
        }
        if values.is_empty() { Ok(plan.clone()) } else { replaced(plan.clone(), &values) }
    }
    .boxed()
}

/// The subqueries in conditions that are one value and the same for every row, each once.
fn wanted(plan: &LogicalPlan) -> Result<Vec<Arc<LogicalPlan>>> {
    let mut found: Vec<Arc<LogicalPlan>> = Vec::new();
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(TreeNodeRecursion::Continue) };
        filter.predicate.apply(|expression| {
            if let Expr::ScalarSubquery(subquery) = expression
                && subquery.outer_ref_columns.is_empty()
                && !found.contains(&subquery.subquery)
            {
                found.push(Arc::clone(&subquery.subquery));
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// The value of a subquery; none if it fails or has several rows, which the engine will report.
async fn value_of(state: &SessionState, subquery: &LogicalPlan) -> Option<ScalarValue> {
    let answer = async {
        let plan = resolved(state, subquery).await?;
        let plan = state.create_physical_plan(&plan).await?;
        collect(plan, state.task_ctx()).await
    };
    let batches = match answer.await {
        Ok(batches) => batches,
        Err(error) => {
            tracing::debug!(%error, "a subquery stays in its plan");
            return None;
        }
    };
    let kind = subquery.schema().field(0).data_type();
    let mut rows = batches.iter().filter(|batch| batch.num_rows() > 0);
    let value = match rows.next() {
        None => ScalarValue::try_from(kind).ok()?,
        Some(batch) if batch.num_rows() == 1 => {
            ScalarValue::try_from_array(batch.column(0), 0).ok()?
        }
        Some(_) => return None,
    };
    (rows.next().is_none() && value.data_type() == *kind).then_some(value)
}

fn replaced(plan: LogicalPlan, values: &Values) -> Result<LogicalPlan> {
    let plan = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
        let predicate = filter.predicate.transform_down(|expression| {
            let Expr::ScalarSubquery(subquery) = &expression else {
                return Ok(Transformed::no(expression));
            };
            Ok(match values.get(&subquery.subquery) {
                Some(value) => Transformed::yes(Expr::Literal(value.clone(), None)),
                None => Transformed::no(expression),
            })
        })?;
        let changed = predicate.transformed;
        let filter = LogicalPlan::Filter(Filter::try_new(predicate.data, filter.input)?);
        Ok(if changed { Transformed::yes(filter) } else { Transformed::no(filter) })
    })?;
    Ok(plan.data)
}
