//! `EXCEPT ALL` and `INTERSECT ALL`, which count how often a row is there.
//!
//! The engine (DataFusion 55.2) makes joins of them that do not count: one row on the right side took away all that are equal to it on
//! the left, and none was left over. So equal rows are numbered on both sides, and the number is one more column by which they are
//! joined:
//!
//! ```text
//! a, a, b  except all  a, c   ─►   a 1, a 2, b 1  without  a 1, c 1   ─►   a, b
//! ```
//! Without ALL the left side has each row once, and nothing has to be counted.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{JoinType, NullEquality, internal_datafusion_err};
use datafusion::error::Result;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, Join, LogicalPlan, Projection, Window};
use datafusion::optimizer::AnalyzerRule;

/// The rule.
#[derive(Debug)]
pub(crate) struct EqualRowsCounted;

impl AnalyzerRule for EqualRowsCounted {
    fn name(&self) -> &'static str {
        "equal_rows_counted"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(counted)?.data)
    }
}

/// One node of a plan.
fn counted(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let join = match plan {
        LogicalPlan::Join(join) if counts(&join) => join,
        other => return Ok(Transformed::no(other)),
    };
    let columns: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let (of_left, of_right) = join.on.iter().cloned().unzip();
    let (left, left_number) = numbered(&join.left, of_left)?;
    let (right, right_number) = numbered(&join.right, of_right)?;
    let mut on = join.on.clone();
    on.push((left_number, right_number));
    let join = LogicalPlan::Join(Join { left, right, on, ..join }).recompute_schema()?;
    let made = Projection::try_new(columns, Arc::new(join))?;
    Ok(Transformed::yes(LogicalPlan::Projection(made)))
}

/// Whether a join is what the engine makes of such an operation, and not counted yet. Nothing else joins where both are NULL before a
/// plan is made cheaper, and no query is a bare window.
fn counts(join: &Join) -> bool {
    join.null_equality == NullEquality::NullEqualsNull
        && matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_) | LogicalPlan::Window(_))
}

/// Rows with the number that each has among those equal to it, and that number.
fn numbered(rows: &Arc<LogicalPlan>, equal: Vec<Expr>) -> Result<(Arc<LogicalPlan>, Expr)> {
    let number = row_number().partition_by(equal).build()?;
    let window = Window::try_new(vec![number], Arc::clone(rows))?;
    let column = window.schema.columns().pop();
    let column = column.ok_or_else(|| internal_datafusion_err!("a window without columns"))?;
    Ok((Arc::new(LogicalPlan::Window(window)), Expr::Column(column)))
}
