//! Functions that are a calculation, a pattern or a span here.

use datafusion::sql::sqlparser::ast::{Expr, Value};

use super::super::clocks;
use super::spans::{spans, unit, width};

/// The call in words of ours, if it is known.
pub(super) fn calculated(name: &str, arguments: &[&Expr]) -> Option<String> {
    match (name, arguments) {
        ("clock_timestamp" | "transaction_timestamp" | "statement_timestamp", []) => {
            Some("now()".to_owned())
        }
        (
            "to_years" | "to_quarters" | "to_months" | "to_weeks" | "to_days" | "to_hours"
            | "to_minutes" | "to_seconds" | "to_milliseconds" | "to_microseconds",
            [count],
        ) => Some(spans(count, 1, &unit(name.strip_prefix("to_")?)?)),
        ("make_timestamp", [year, month, day, hour, minute, second]) => Some(format!(
            "(CAST(make_date({year}, {month}, {day}) AS timestamp) + CAST(CAST(({hour}) * 3600 + \
             ({minute}) * 60 + ({second}) AS varchar) || ' second' AS interval))"
        )),
        ("time_bucket", [interval @ Expr::Interval(span), time]) => {
            // Months are counted from a year's first day, everything else from a Monday.
            let (_, unit) = width(span)?;
            let months = ["year", "quarter", "month"].contains(&unit.as_str());
            let origin = if months { "2000-01-01" } else { "2000-01-03" };
            Some(format!(
                "date_bin({interval}, CAST({time} AS timestamp), TIMESTAMP '{origin} 00:00:00')"
            ))
        }
        ("timezone", [zone, time]) => Some(clocks::call(time, zone)),
        ("mod", [a, b]) => Some(format!("(({a}) % ({b}))")),
        ("div", [a, b]) => Some(format!("((({a}) - ({a}) % ({b})) / ({b}))")),
        ("sign", [a]) => Some(format!(
            "CASE WHEN ({a}) > 0 THEN 1 WHEN ({a}) < 0 THEN -1 WHEN ({a}) = 0 THEN 0 END"
        )),
        ("width_bucket", [value, low, high, count]) => Some(format!(
            "CASE WHEN ({value}) < ({low}) THEN 0 WHEN ({value}) >= ({high}) THEN ({count}) + 1 ELSE \
             CAST(floor((CAST({value} AS double) - ({low})) / (CAST({high} AS double) - ({low})) \
             * ({count})) AS bigint) + 1 END"
        )),
        ("regexp_full_match", [text, pattern]) => {
            Some(format!("regexp_like({text}, concat('^(?:', {pattern}, ')$'))"))
        }
        ("regexp_substr", [text, pattern]) => {
            Some(format!("regexp_match({text}, concat('(', {pattern}, ')'))[1]"))
        }
        ("format" | "printf", [pattern, values @ ..]) => formatted(pattern, values),
        _ => None,
    }
}

/// A text with values in the places of `{}` or `%s`; none if it has other marks, or not as many.
fn formatted(pattern: &Expr, values: &[&Expr]) -> Option<String> {
    let Expr::Value(pattern) = pattern else { return None };
    let Value::SingleQuotedString(pattern) = &pattern.value else { return None };
    let mark = if pattern.contains("{}") { "{}" } else { "%s" };
    let parts: Vec<&str> = pattern.split(mark).collect();
    let other = parts.iter().any(|part| part.contains(['{', '}', '%']));
    if other || parts.len() != values.len() + 1 {
        return None;
    }
    let mut pieces = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        pieces.push(format!("'{}'", part.replace('\'', "''")));
        pieces.extend(values.get(at).map(|value| format!("CAST({value} AS varchar)")));
    }
    Some(format!("concat({})", pieces.join(", ")))
}
