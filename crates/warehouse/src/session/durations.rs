//! Compares how long something took with spans of time: `delivered_at - ordered_at > interval '2 days'`.
//!
//! The difference of two moments is a number of microseconds, or the like. A span has months, days and what is left, and the
//! engine (DataFusion 55.2) compares these one after the other, as if a hundred days of difference were none and what is left:
//! every difference was shorter than one day. So a span that stands beside a difference becomes one. A day has 24 hours and a
//! month 30 days, as in PostgreSQL. Of spans that are computed the seconds are compared.

use std::mem;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::functions::expr_fn::date_part;
use datafusion::logical_expr::{Expr, lit};

/// As many days has a month that is compared.
const MONTH_DAYS: i128 = 30;
/// The length of a day.
const DAY_NANOS: i128 = 86_400_000_000_000;

/// Lets spans be differences if others of what is compared are; whether anything changed.
pub(super) fn align(parts: &mut [&mut Expr], types: &[DataType]) -> bool {
    let Some(unit) = types.iter().find_map(unit_of).filter(|_| types.iter().any(is_span)) else {
        return false;
    };
    let spans = parts.iter().zip(types).filter(|(_, kind)| is_span(kind));
    let lengths: Option<Vec<Expr>> = spans.map(|(part, _)| length(part, unit)).collect();
    match lengths {
        Some(lengths) => {
            let spans = parts.iter_mut().zip(types).filter(|(_, kind)| is_span(kind));
            for ((part, _), length) in spans.zip(lengths) {
                **part = length;
            }
        }
        None => {
            for (part, kind) in parts.iter_mut().zip(types) {
                if is_span(kind) || unit_of(kind).is_some() {
                    **part = date_part(lit("epoch"), mem::take(&mut **part));
                }
            }
        }
    }
    true
}

/// The unit of a difference.
fn unit_of(kind: &DataType) -> Option<TimeUnit> {
    match kind {
        DataType::Duration(unit) => Some(*unit),
        _ => None,
    }
}

fn is_span(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_))
}

/// A span that was written as a difference; none if it is not a whole number of the unit.
fn length(span: &Expr, unit: TimeUnit) -> Option<Expr> {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(span)), _) = span else { return None };
    let days = i128::from(span.months) * MONTH_DAYS + i128::from(span.days);
    let nanos = days * DAY_NANOS + i128::from(span.nanoseconds);
    let one: i128 = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    let length = i64::try_from(nanos / one).ok().filter(|_| nanos % one == 0);
    let value = match unit {
        TimeUnit::Second => ScalarValue::DurationSecond(Some(length?)),
        TimeUnit::Millisecond => ScalarValue::DurationMillisecond(Some(length?)),
        TimeUnit::Microsecond => ScalarValue::DurationMicrosecond(Some(length?)),
        TimeUnit::Nanosecond => ScalarValue::DurationNanosecond(Some(length?)),
    };
    Some(Expr::Literal(value, None))
}
