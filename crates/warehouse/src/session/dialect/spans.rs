//! Spans of time that an expression tells: `interval (n) day`, `n * interval '1 day'`, `to_days(n)`.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Interval, Value};

use super::number;

/// A span in words of ours, if the expression is one that the engine does not know.
pub(super) fn stretched(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Interval(Interval {
            value, leading_field: Some(field), last_field: None, ..
        }) => {
            let told = matches!(
                value.as_ref(),
                Expr::Nested(_)
                    | Expr::Identifier(_)
                    | Expr::CompoundIdentifier(_)
                    | Expr::Function(_)
                    | Expr::Cast { .. }
            );
            let unit = unit(&field.to_string())?;
            told.then(|| spans(value, 1, &unit))
        }
        Expr::BinaryOp { left, op: BinaryOperator::Multiply, right } => {
            let (count, span) = match (left.as_ref(), right.as_ref()) {
                (Expr::Interval(_), Expr::Interval(_)) => return None,
                (count, Expr::Interval(span)) | (Expr::Interval(span), count) => (count, span),
                _ => return None,
            };
            let (times, unit) = width(span)?;
            Some(spans(count, times, &unit))
        }
        _ => None,
    }
}

/// How many of which unit an interval is that names one: `INTERVAL '2 days'`, `INTERVAL 2 DAY`.
pub(super) fn width(span: &Interval) -> Option<(i64, String)> {
    let Expr::Value(value) = span.value.as_ref() else { return None };
    let (Value::SingleQuotedString(text) | Value::Number(text, _)) = &value.value else {
        return None;
    };
    let text = match &span.leading_field {
        Some(field) => format!("{text} {field}"),
        None => text.clone(),
    };
    let (count, word) = text.trim().split_once(' ')?;
    Some((count.parse().ok()?, unit(word.trim())?))
}

/// A unit of spans, in lower case and for one of it.
pub(super) fn unit(word: &str) -> Option<String> {
    let word = word.to_lowercase();
    let one = word.strip_suffix('s').unwrap_or(&word);
    let known = ["year", "quarter", "month", "week", "day", "hour", "minute", "second"];
    let fine = ["millisecond", "microsecond"];
    (known.contains(&one) || fine.contains(&one)).then(|| one.to_owned())
}

/// `count` times `times` of a unit; NULL where the count is.
pub(super) fn spans(count: &Expr, times: i64, unit: &str) -> String {
    let (unit, times) = match unit {
        "quarter" => ("month", times.saturating_mul(3)),
        unit => (unit, times),
    };
    match number(count) {
        Some(count) => format!("INTERVAL '{} {unit}'", count.saturating_mul(times)),
        None => format!("CAST(CAST(({count}) * {times} AS varchar) || ' {unit}' AS interval)"),
    }
}
