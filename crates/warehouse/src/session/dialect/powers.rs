//! `a ^ b`, which is a power in PostgreSQL and DuckDB. The parser takes it for another operator that binds less than
//! `+` and `*`, so what stands around it is put where it belongs: `2 * 3 ^ 2 + 1` is `2 * power(3, 2) + 1`.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};
use flywheel_base::Result;

use super::parsed;

/// Writes a power as the function that it is here, as a floating-point number. Inner expressions come first.
pub(super) fn written(expr: &mut Expr) -> Result<()> {
    let Expr::BinaryOp { left, op: BinaryOperator::BitwiseXor, right } = expr else {
        return Ok(());
    };
    let mut before = std::mem::replace(left.as_mut(), Expr::value(Value::Null));
    let mut behind = std::mem::replace(right.as_mut(), Expr::value(Value::Null));
    let base = last(&mut before);
    let exponent = first(&mut behind);
    *base = parsed(&format!("power(CAST(({base}) AS double), ({exponent}))"))?;
    *exponent = before;
    *expr = behind;
    Ok(())
}

/// Whether an operator binds less than a power; brackets are nodes of their own.
fn is_looser(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::DuckIntegerDivide
            | BinaryOperator::MyIntegerDivide
            | BinaryOperator::Modulo
            | BinaryOperator::StringConcat
            | BinaryOperator::Xor
            | BinaryOperator::BitwiseAnd
            | BinaryOperator::PGBitwiseShiftLeft
            | BinaryOperator::PGBitwiseShiftRight
    )
}

/// What stands last in an expression.
fn last(expr: &mut Expr) -> &mut Expr {
    if !goes_on(expr) {
        return expr;
    }
    match expr {
        Expr::BinaryOp { right, .. } => last(right),
        whole => whole,
    }
}

/// What stands first in an expression.
fn first(expr: &mut Expr) -> &mut Expr {
    if !goes_on(expr) {
        return expr;
    }
    match expr {
        Expr::BinaryOp { left, .. } => first(left),
        whole => whole,
    }
}

/// Whether an expression is of two that an operator joins which binds less than a power.
fn goes_on(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op, .. } if is_looser(op))
}
