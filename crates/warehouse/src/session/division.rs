//! Division of whole numbers: to a whole number, as SQL's standard has it, or exactly, as in databases
//! whose projects of dbt's are read as they are.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans `//` between whole numbers as a division of whole numbers, and `/` as one of floating-point numbers
/// where it is exact.
#[derive(Debug)]
pub(crate) struct Division {
    /// Whether `7 / 2` is 3.5.
    pub(crate) exact: bool,
}

impl ExprPlanner for Division {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        // A column of an outer query has no type here; it is left as it is.
        let whole = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_integer());
        if !whole(&expr.left) || !whole(&expr.right) {
            return Ok(PlannerResult::Original(expr));
        }
        let divided = |left: Expr, right: Expr| {
            let made = BinaryExpr::new(Box::new(left), Operator::Divide, Box::new(right));
            PlannerResult::Planned(Expr::BinaryExpr(made))
        };
        Ok(match expr.op {
            BinaryOperator::Divide if self.exact => {
                divided(cast(expr.left, DataType::Float64), cast(expr.right, DataType::Float64))
            }
            BinaryOperator::DuckIntegerDivide => divided(expr.left, expr.right),
            _ => PlannerResult::Original(expr),
        })
    }
}
