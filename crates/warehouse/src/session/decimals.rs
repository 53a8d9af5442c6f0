//! Compares decimals with what stands beside them as it was written.
//!
//! In a query `572.8` is a float. To compare it with a decimal the engine makes a decimal with 15 digits after the point of it, and what
//! a float holds of a larger number are not the digits that were written: `revenue = 572.8` found no row. So, before the engine decides
//! on types:
//!
//! ```text
//! decimal = 572.8      ─►   decimal = 572.8 as decimal(4, 1)       a number that was written is exact
//! decimal = double     ─►   cast(decimal as double) = double       what is a float already is compared as one
//! ```
//! Spans of time beside [differences](super::durations) are found here, too, because all comparisons are looked at.
//! Only comparisons are touched: what `revenue * 1.1` and `coalesce(revenue, 0.5)` are stays the engine's choice.

use std::iter;
use std::mem;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, i256};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr_schema::cast_subquery;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, Subquery, cast};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::utils::NamePreserver;

use super::durations;

/// Digits of the largest whole number.
const WHOLE_DIGITS_MAX: i16 = 20;

/// The rule; it must come before the one that gives what is compared one type.
#[derive(Debug)]
pub(crate) struct DecimalsAsWritten;

impl AnalyzerRule for DecimalsAsWritten {
    fn name(&self) -> &'static str {
        "decimals_as_written"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(in_plan)?.data)
    }
}

/// The columns that the expressions of one node of a plan are about.
///
/// # Errors
/// Those of the engine for a table with two columns of one name.
pub(super) fn schema_of(plan: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = plan {
        let name = scan.table_name.clone();
        schema.merge(&DFSchema::try_from_qualified_schema(name, &scan.source.schema())?);
    }
    Ok(schema)
}

/// The comparisons of one node of a plan.
fn in_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = schema_of(&plan)?;
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(as_written(expr, &schema)?.update_data(|expr| name.restore(expr)))
    })?;
    plan.transform_data(|plan| {
        let mut join = match plan {
            LogicalPlan::Join(join) => join,
            other => return Ok(Transformed::no(other)),
        };
        // The sides of `using` are compared, too, and are no comparison.
        let left: &DFSchema = join.left.schema();
        let right: &DFSchema = join.right.schema();
        let mut changed = false;
        for (own, other) in &mut join.on {
            if let (Ok(one), Ok(two)) = (own.get_type(left), other.get_type(right)) {
                changed |= align(&mut [own, other], &[one, two]);
            }
        }
        Ok(told(LogicalPlan::Join(join), changed))
    })
}

/// The comparisons of an expression, at any depth.
///
/// # Errors
/// Those of the engine for a subquery that cannot be cast.
pub(crate) fn as_written(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| compared(expr, schema))
}

/// One comparison.
fn compared(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(mut pair) if compares(pair.op) => {
            let changed = typed(vec![pair.left.as_mut(), pair.right.as_mut()], schema);
            told(Expr::BinaryExpr(pair), changed)
        }
        Expr::Between(mut range) => {
            let parts = vec![range.expr.as_mut(), range.low.as_mut(), range.high.as_mut()];
            let changed = typed(parts, schema);
            told(Expr::Between(range), changed)
        }
        Expr::InList(mut list) => {
            let parts = iter::once(list.expr.as_mut()).chain(&mut list.list).collect();
            let changed = typed(parts, schema);
            told(Expr::InList(list), changed)
        }
        Expr::Case(mut case) => {
            let mut changed = false;
            if let Some(operand) = &mut case.expr {
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                changed = typed(iter::once(operand.as_mut()).chain(whens).collect(), schema);
            }
            told(Expr::Case(case), changed)
        }
        Expr::InSubquery(mut within) => {
            let changed = with_subquery(&mut within.expr, &mut within.subquery, schema)?;
            told(Expr::InSubquery(within), changed)
        }
        Expr::SetComparison(mut set) => {
            let changed = with_subquery(&mut set.expr, &mut set.subquery, schema)?;
            told(Expr::SetComparison(set), changed)
        }
        other => Transformed::no(other),
    })
}

fn told<T>(data: T, changed: bool) -> Transformed<T> {
    Transformed::new(data, changed, TreeNodeRecursion::Continue)
}

fn compares(operator: Operator) -> bool {
    matches!(
        operator,
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

/// Aligns what is compared with each other. What has no type here is refused by the rule that follows, in its words.
fn typed(mut parts: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types: Result<Vec<DataType>> = parts.iter().map(|part| part.get_type(schema)).collect();
    types.is_ok_and(|types| align(&mut parts, &types))
}

fn is_float(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

/// Lets floats that were written be decimals if the others are, and decimals be floats if one of the others is one; whether
/// anything changed.
fn align(parts: &mut [&mut Expr], types: &[DataType]) -> bool {
    if durations::align(parts, types) {
        return true;
    }
    if !types.iter().any(DataType::is_decimal) || !types.iter().any(is_float) {
        return false;
    }
    let written: Vec<Option<Written>> = parts.iter().map(|part| Written::of(part)).collect();
    if types.iter().zip(&written).all(|(kind, written)| !is_float(kind) || written.is_some()) {
        let is_wide = is_wide(types, &written);
        for (part, written) in parts.iter_mut().zip(written) {
            if let Some(written) = written {
                **part = written.literal(is_wide);
            }
        }
        return true;
    }
    let float =
        if types.contains(&DataType::Float64) { DataType::Float64 } else { DataType::Float32 };
    for (part, kind) in parts.iter_mut().zip(types) {
        if kind.is_decimal() {
            **part = cast(mem::take(&mut **part), float.clone());
        }
    }
    true
}

/// As [`align`], of an expression and the one column of a subquery.
fn with_subquery(expr: &mut Expr, subquery: &mut Subquery, schema: &DFSchema) -> Result<bool> {
    let Ok(kind) = expr.get_type(schema) else { return Ok(false) };
    let Some(column) = subquery.subquery.schema().fields().first() else { return Ok(false) };
    let column = column.data_type().clone();
    if is_float(&kind) && column.is_decimal() {
        match Written::of(expr) {
            Some(written) => *expr = written.literal(is_wide(&[column], &[Some(written)])),
            None => *subquery = cast_subquery(subquery.clone(), &kind)?,
        }
        return Ok(true);
    }
    if kind.is_decimal() && is_float(&column) {
        *expr = cast(mem::take(expr), column);
        return Ok(true);
    }
    Ok(false)
}

/// Whether a decimal of the usual width cannot hold all digits of what is compared.
fn is_wide(types: &[DataType], written: &[Option<Written>]) -> bool {
    let of_type = |kind: &DataType| match kind {
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale) => Some((*digits, *scale)),
        _ => None,
    };
    let (mut whole_digits, mut fraction_digits) = (0, 0);
    let of_written = written.iter().flatten().map(|written| (written.digits, written.scale));
    for (digits, scale) in types.iter().filter_map(of_type).chain(of_written) {
        whole_digits = whole_digits.max(i16::from(digits) - i16::from(scale));
        fraction_digits = fraction_digits.max(i16::from(scale));
    }
    if types.iter().any(DataType::is_integer) {
        whole_digits = whole_digits.max(WHOLE_DIGITS_MAX);
    }
    whole_digits + fraction_digits > i16::from(DECIMAL128_MAX_PRECISION)
}

/// A number as it was written, whole, with the place of its point.
#[derive(Clone, Copy, Debug)]
struct Written {
    value: i128,
    digits: u8,
    scale: i8,
}

impl Written {
    /// The number that an expression is; none if it is computed, or has more digits than a decimal.
    fn of(expr: &Expr) -> Option<Self> {
        let number = match expr {
            Expr::Literal(ScalarValue::Float64(Some(number)), _) => *number,
            Expr::Negative(inside) => match inside.as_ref() {
                Expr::Literal(ScalarValue::Float64(Some(number)), _) => -*number,
                _ => return None,
            },
            _ => return None,
        };
        if !number.is_finite() {
            return None;
        }
        // The shortest text that stands for this float and no other, without an exponent. Numbers with so many digits that it
        // is not the one that was written were made decimals before.
        let text = number.abs().to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((text.as_str(), ""));
        let whole = whole.trim_start_matches('0');
        let digits = u8::try_from((whole.len() + fraction.len()).max(1)).ok()?;
        if digits > DECIMAL128_MAX_PRECISION {
            return None;
        }
        let value: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let value = if number.is_sign_negative() { -value } else { value };
        Some(Self { value, digits, scale: i8::try_from(fraction.len()).ok()? })
    }

    fn literal(self, is_wide: bool) -> Expr {
        let Self { value, digits, scale } = self;
        let exact = match is_wide {
            true => ScalarValue::Decimal256(Some(i256::from_i128(value)), digits, scale),
            false => ScalarValue::Decimal128(Some(value), digits, scale),
        };
        Expr::Literal(exact, None)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::lit;

    use super::*;

    #[test]
    fn a_float_is_the_decimal_that_was_written() {
        let literal = |number: f64| Written::of(&lit(number)).map(|written| written.literal(false));
        let decimal = |value, digits, scale| {
            let value = ScalarValue::Decimal128(Some(value), digits, scale);
            Some(Expr::Literal(value, None))
        };
        for (number, expected) in [
            (572.8, decimal(5_728, 4, 1)),
            (-572.8, decimal(-5_728, 4, 1)),
            (0.05, decimal(5, 2, 2)),
            (999_999_999.99, decimal(99_999_999_999, 11, 2)),
            (0.0, decimal(0, 1, 0)),
            (-0.0, decimal(0, 1, 0)),
            (5.0, decimal(5, 1, 0)),
            (1e-7, decimal(1, 7, 7)),
            (1e37, decimal(10_i128.pow(37), 38, 0)),
            (1e38, None),
            (1e-39, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(literal(number), expected, "{number}");
        }
        let minus = Expr::Negative(Box::new(lit(0.5)));
        assert_eq!(Written::of(&minus).map(|one| one.literal(false)), decimal(-5, 1, 1));
    }

    #[test]
    fn only_what_is_too_long_together_is_wide() {
        let wide = |kind: DataType, number: f64| {
            let written = Written::of(&lit(number));
            is_wide(&[kind, DataType::Float64], &[None, written])
        };
        assert!(!wide(DataType::Decimal128(38, 10), 0.5));
        assert!(wide(DataType::Decimal128(38, 10), 0.123_456_789_012));
        assert!(wide(DataType::Decimal128(38, 10), 1e30));
        assert!(!wide(DataType::Decimal128(12, 2), 1e30));
    }
}
