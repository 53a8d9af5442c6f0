//! Predicates that may be evaluated on rows the reader does not see, because nothing can be learned by it:
//! they cannot fail, whatever a value is, and have no effect but their answer.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

/// Whether `filter` compares columns with values of their own types, joined by AND, OR and NOT, and nothing
/// else. A conversion can fail, so even one that the engine added makes it unfit; `masked` columns are not
/// what they are below.
pub(super) fn leakproof(filter: &Expr, schema: &DFSchema, masked: &dyn Fn(&str) -> bool) -> bool {
    let column = |expr: &Expr| match expr {
        Expr::Column(column) if !masked(&column.name) => {
            expr.get_type(schema).ok().filter(|kind| !kind.is_nested())
        }
        _ => None,
    };
    let value = |expr: &Expr| match expr {
        Expr::Literal(value, _) => Some(ScalarValue::data_type(value)),
        _ => None,
    };
    let alike = |left: &Expr, right: &Expr| {
        let (left, right) =
            (column(left).or_else(|| value(left)), column(right).or_else(|| value(right)));
        left.is_some() && left == right
    };
    match filter {
        Expr::Literal(ScalarValue::Boolean(_), _) => true,
        Expr::Column(_) => column(filter).is_some(),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            leakproof(left, schema, masked) && leakproof(right, schema, masked)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => compares(*op) && alike(left, right),
        Expr::Not(inner) => leakproof(inner, schema, masked),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => column(inner).is_some(),
        Expr::Between(between) => {
            alike(&between.expr, &between.low) && alike(&between.expr, &between.high)
        }
        Expr::InList(list) => list.list.iter().all(|one| alike(&list.expr, one)),
        _ => false,
    }
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}
