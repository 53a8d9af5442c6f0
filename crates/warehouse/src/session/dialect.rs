//! Words of other databases in the words of ours: functions that projects written for DuckDB, PostgreSQL
//! and the like use and that our engine calls otherwise.
//!
//! A statement is translated before it is planned, so everything behind it (types, lineage, fingerprints)
//! sees our own functions only. What is not known here stays as it is.

mod calls;
mod clauses;
mod kinds;
mod picture;
mod powers;
mod series;
mod spans;

use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, UnaryOperator, Value, VisitMut,
    visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use flywheel_base::{Error, Result};

use self::calls::calculated;
use self::clauses::Clauses;
use self::spans::{spans, stretched};
use super::clocks;
use super::outputs::OwnColumns;
use super::using::SharedColumns;
use super::windows::NamedWindows;
use crate::failure::from_engine;

/// Functions that only have another name here.
const RENAMED: &[(&str, &str)] = &[
    ("any_value", "first_value"),
    ("approx_count_distinct", "approx_distinct"),
    ("arbitrary", "first_value"),
    ("booland_agg", "bool_and"),
    ("boolor_agg", "bool_or"),
    ("ceiling", "ceil"),
    ("editdist3", "levenshtein"),
    ("first", "first_value"),
    ("greatest_common_divisor", "gcd"),
    ("group_concat", "string_agg"),
    ("last", "last_value"),
    ("lcase", "lower"),
    ("len", "length"),
    ("list", "array_agg"),
    ("list_min", "array_min"),
    ("list_value", "make_array"),
    ("listagg", "string_agg"),
    ("logical_and", "bool_and"),
    ("logical_or", "bool_or"),
    ("ord", "ascii"),
    ("prefix", "starts_with"),
    ("quantile_cont", "percentile_cont"),
    ("regexp_matches", "regexp_like"),
    ("split", "string_to_array"),
    ("str_split", "string_to_array"),
    ("string_split", "string_to_array"),
    ("strlen", "octet_length"),
    ("suffix", "ends_with"),
    ("ucase", "upper"),
    ("unicode", "ascii"),
];

/// Parts of a date that are functions elsewhere, and what `date_part` calls them.
const PARTS: &[(&str, &str)] = &[
    ("year", "year"),
    ("quarter", "quarter"),
    ("month", "month"),
    ("week", "week"),
    ("weekofyear", "week"),
    ("day", "day"),
    ("dayofmonth", "day"),
    ("dayofweek", "dow"),
    ("isodow", "isodow"),
    ("dayofyear", "doy"),
    ("weekday", "dow"),
    ("hour", "hour"),
    ("minute", "minute"),
    ("second", "second"),
    ("epoch", "epoch"),
];

/// Translates every expression of a statement.
pub(super) fn translate(statement: &mut Statement) -> Result<()> {
    match statement {
        Statement::Statement(sql) => expressions(sql.as_mut()),
        Statement::Explain(explain) => translate(&mut explain.statement),
        _ => Ok(()),
    }
}

/// The most digits that a 64-bit float holds for sure.
const FLOAT_DIGITS: usize = 15;

/// The most digits of a decimal.
const DECIMAL_DIGITS_MAX: usize = 38;

fn expressions(part: &mut impl VisitMut) -> Result<()> {
    super::unpivot::write_out(part)?;
    if let ControlFlow::Break(error) = part.visit(&mut Clauses) {
        return Err(error);
    }
    if let ControlFlow::Break(error) = series::named(part) {
        return Err(error);
    }
    if let ControlFlow::Break(error) = part.visit(&mut SharedColumns) {
        return Err(error);
    }
    if let ControlFlow::Break(error) = part.visit(&mut NamedWindows) {
        return Err(error);
    }
    if let ControlFlow::Break(error) = part.visit(&mut OwnColumns) {
        return Err(error);
    }
    let walked = visit_expressions_mut(part, |expr| {
        regroup(expr);
        if let Err(error) = powers::written(expr) {
            return ControlFlow::Break(error);
        }
        if let Expr::SimilarTo { .. } = expr {
            return ControlFlow::Break(similar_to());
        }
        if let Expr::Cast { data_type, .. } = expr
            && let Some(kind) = kinds::ours(data_type)
        {
            *data_type = kind;
        }
        let said = exact(expr).or_else(|| stretched(expr)).or_else(|| several(expr));
        if let Some(text) = said.or_else(|| clocks::written(expr)) {
            match parsed(&text) {
                Ok(made) => *expr = made,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        if let Err(error) = by_backslash(expr) {
            return ControlFlow::Break(error);
        }
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let Some(name) = plain_name(function) else { return ControlFlow::Continue(()) };
        let said = match pictured(&name, function) {
            Ok(None) => discrete(&name, function).or_else(|| rewritten(&name, function)),
            Ok(said) => said,
            Err(error) => return ControlFlow::Break(error),
        };
        if let Some(text) = said {
            match parsed(&text) {
                Ok(made) => *expr = made,
                Err(error) => return ControlFlow::Break(error),
            }
        } else {
            renamed(&name, function);
        }
        ControlFlow::Continue(())
    });
    match walked {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Databases do not agree on what a pattern of SIMILAR TO is: for PostgreSQL `%` is any text, for DuckDB it is a regular expression.
fn similar_to() -> Error {
    Error::invalid("SIMILAR TO is not supported").hint(
        "Write regexp_like(text, '^(?:pattern)$') for a regular expression, or text LIKE 'pattern' for one with % and _.",
    )
}

/// `(a, b) in (select x, y …)`, for which the engine takes one column alone, by one value that has both. Where one of the two is NULL,
/// the whole is, so that what is not found beside it is unknown and not false.
fn several(expr: &Expr) -> Option<String> {
    let Expr::InSubquery { expr: row, subquery, negated } = expr else { return None };
    let Expr::Tuple(parts) = row.as_ref() else { return None };
    let columns: Vec<String> = (1..=parts.len()).map(|at| format!("\"part {at}\"")).collect();
    let parts: Vec<String> = parts.iter().map(|part| format!("({part})")).collect();
    let whole = |parts: &[String]| {
        let missing: Vec<String> = parts.iter().map(|part| format!("{part} IS NULL")).collect();
        let (missing, parts) = (missing.join(" OR "), parts.join(", "));
        format!("CASE WHEN {missing} THEN NULL ELSE struct({parts}) END")
    };
    let not = if *negated { "NOT " } else { "" };
    Some(format!(
        "({} {not}IN (SELECT {} FROM ({subquery}) AS \"rows looked for\" ({})))",
        whole(&parts),
        whole(&columns),
        columns.join(", ")
    ))
}

/// Gives back what `IS DISTINCT FROM` took: the parser reads everything behind `FROM` as its right side, though
/// `AND` and `OR` bind less. Inner expressions come first; brackets are nodes of their own and stay.
fn regroup(expr: &mut Expr) {
    let looser: fn(&BinaryOperator) -> bool = match expr {
        Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..)
        | Expr::UnaryOp { op: UnaryOperator::Not, .. } => {
            |op| matches!(op, BinaryOperator::And | BinaryOperator::Or)
        }
        Expr::BinaryOp { op: BinaryOperator::And, .. } => |op| *op == BinaryOperator::Or,
        _ => return,
    };
    let Some(last) = last_operand(expr) else { return };
    if !matches!(last, Expr::BinaryOp { op, .. } if looser(op)) {
        return;
    }
    let mut above = std::mem::replace(last, Expr::value(Value::Null));
    let below = std::mem::replace(expr, Expr::value(Value::Null));
    put_first(&mut above, looser, below);
    *expr = above;
}

/// What stands last in an expression and is no bracket.
fn last_operand(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::IsDistinctFrom(_, last)
        | Expr::IsNotDistinctFrom(_, last)
        | Expr::UnaryOp { expr: last, .. }
        | Expr::BinaryOp { right: last, .. } => Some(last),
        _ => None,
    }
}

/// Puts `below`, whose last operand is missing, where the first operand of `tree` is, and that one into it.
fn put_first(tree: &mut Expr, looser: fn(&BinaryOperator) -> bool, mut below: Expr) {
    match tree {
        Expr::BinaryOp { left, op, .. } if looser(op) => put_first(left, looser, below),
        first => {
            if let Some(last) = last_operand(&mut below) {
                std::mem::swap(last, first);
            }
            *first = below;
        }
    }
}

/// Gives a pattern of LIKE the backslash in the place of another escape character, which the engine does not know.
fn by_backslash(expr: &mut Expr) -> Result<()> {
    let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) = expr
    else {
        return Ok(());
    };
    let escape = match escape_char.as_ref().map(|said| &said.value) {
        Some(Value::SingleQuotedString(escape)) if escape != "\\" => escape.clone(),
        _ => return Ok(()),
    };
    let mut signs = escape.chars();
    // What is longer is refused by the engine.
    let (escape, None) = (signs.next(), signs.next()) else { return Ok(()) };
    let said = match (&**pattern, escape) {
        (Expr::Value(value), escape) if matches!(value.value, Value::SingleQuotedString(_)) => {
            let Value::SingleQuotedString(text) = &value.value else { return Ok(()) };
            format!("'{}'", escaped_anew(text, escape).replace('\'', "''"))
        }
        (pattern, None) => format!("replace({pattern}, '\\', '\\\\')"),
        // The character itself, which is written twice, keeps away while it is exchanged.
        (pattern, Some(escape)) => {
            let escape = if escape == '\'' { "''".to_owned() } else { escape.to_string() };
            format!(
                "replace(replace(replace(replace({pattern}, '\\', '\\\\'), '{escape}{escape}', chr(1)), \
                 '{escape}', '\\'), chr(1), '{escape}')"
            )
        }
    };
    **pattern = parsed(&said)?;
    *escape_char = None;
    Ok(())
}

/// A pattern of LIKE with the backslash as its escape character.
fn escaped_anew(pattern: &str, escape: Option<char>) -> String {
    let mut made = String::with_capacity(pattern.len());
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        let (sign, escaped) = match Some(sign) == escape {
            true => match signs.next() {
                Some(next) => (next, true),
                None => (sign, false),
            },
            false => (sign, false),
        };
        if sign == '\\' || (escaped && matches!(sign, '%' | '_')) {
            made.push('\\');
        }
        made.push(sign);
    }
    made
}

/// A call of a function that takes a picture of a moment, `YYYY-MM-DD`, by the form that the engine knows.
fn pictured(name: &str, function: &Function) -> Result<Option<String>> {
    let Some(all) = arguments(function) else { return Ok(None) };
    let [value, format] = all.as_slice() else { return Ok(None) };
    let Expr::Value(format) = *format else { return Ok(None) };
    let Value::SingleQuotedString(text) = &format.value else { return Ok(None) };
    // Spans are told by one of these words.
    let word = text.eq_ignore_ascii_case("pretty") || text.eq_ignore_ascii_case("ISO8601");
    if word || text.contains('%') {
        return Ok(None);
    }
    match name {
        "to_char" => picture::written(&value.to_string(), text),
        "to_date" | "to_timestamp" => Ok(picture::read(text, name == "to_timestamp")?
            .map(|form| format!("{name}({value}, '{}')", form.replace('\'', "''")))),
        _ => Ok(None),
    }
}

/// A number with a point and more digits than a float holds, as the decimal that it is.
fn exact(expr: &Expr) -> Option<String> {
    let Expr::Value(value) = expr else { return None };
    let Value::Number(text, _) = &value.value else { return None };
    let (whole, fraction) = text.split_once('.')?;
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let significant = match whole.is_empty() {
        true => fraction.trim_start_matches('0').len(),
        false => whole.len() + fraction.len(),
    };
    let precision = whole.len() + fraction.len();
    let fits = significant > FLOAT_DIGITS && precision <= DECIMAL_DIGITS_MAX;
    fits.then(|| format!("CAST('{text}' AS DECIMAL({precision}, {}))", fraction.len()))
}

/// One expression.
pub(super) fn parsed(text: &str) -> Result<Expr> {
    let parser = DFParserBuilder::new(text).with_dialect(&GenericDialect {}).build();
    parser.and_then(|mut parser| parser.parse_into_expr()).map(|e| e.expr).map_err(from_engine)
}

/// The function's name if it has no schema, in lower case.
fn plain_name(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(ident.value.to_lowercase()),
        _ => None,
    }
}

/// Gives a function the name it has here, and its arguments the form they have here.
fn renamed(name: &str, function: &mut Function) {
    let Some((_, ours)) = RENAMED.iter().find(|(theirs, _)| *theirs == name) else { return };
    function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(*ours))]);
    if *ours != "string_agg" {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    if list.args.len() == 1 {
        let comma = Expr::value(Value::SingleQuotedString(",".to_owned()));
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(comma)));
    }
    // `listagg(x, ',') within group (order by y)`
    let order = std::mem::take(&mut function.within_group);
    if !order.is_empty() {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
}

/// The arguments as SQL, if they are plain expressions.
fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if !list.clauses.is_empty() || list.duplicate_treatment.is_some() {
        return None;
    }
    let plain = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect()
}

/// `percentile_disc(0.5) within group (order by x)` and `quantile_disc(x, 0.5)`: the first of the sorted values up to which lies that
/// share of them. And `mode() within group (order by x)`, which is `mode(x)` here.
fn discrete(name: &str, function: &Function) -> Option<String> {
    if function.over.is_some() {
        return None;
    }
    let all = arguments(function)?;
    let (value, share, order) = match (name, all.as_slice(), function.within_group.as_slice()) {
        ("mode", [], [by]) => {
            let rows = function.filter.as_ref().map(|filter| format!(" FILTER (WHERE {filter})"));
            return Some(format!("mode({}){}", by.expr, rows.unwrap_or_default()));
        }
        ("percentile_disc", [share], [by]) => (&by.expr, *share, by.to_string()),
        ("quantile_disc", [value, share], []) => (*value, *share, value.to_string()),
        _ => return None,
    };
    let rows = match &function.filter {
        Some(filter) => format!("({value}) IS NOT NULL AND ({filter})"),
        None => format!("({value}) IS NOT NULL"),
    };
    Some(format!(
        "array_element(array_agg({value} ORDER BY {order}) FILTER (WHERE {rows}), \
         greatest(1, CAST(ceil(({share}) * count(*) FILTER (WHERE {rows})) AS bigint)))"
    ))
}

/// A part of a date, as a text or as a bare word.
pub(super) fn part_of(expr: &Expr) -> Option<String> {
    let word = match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            _ => return None,
        },
        Expr::Identifier(ident) if ident.quote_style.is_none() => ident.value.clone(),
        _ => return None,
    };
    let word = word.to_lowercase();
    let word = word.strip_suffix('s').unwrap_or(&word);
    let full = match word {
        "yy" | "yyyy" => "year",
        "qq" | "q" => "quarter",
        "mm" | "mon" => "month",
        "ww" | "wk" => "week",
        "dd" | "d" => "day",
        "hh" => "hour",
        "mi" => "minute",
        "ss" | "sec" => "second",
        word => word,
    };
    let known = ["year", "quarter", "month", "week", "day", "hour", "minute", "second"];
    known.contains(&full).then(|| full.to_owned())
}

/// A whole number, if the expression is one.
fn number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|number| -number),
        Expr::Nested(inner) => number(inner),
        _ => None,
    }
}

/// Whether an expression is a text that begins as a date does: `'1900-01-01 00:00'`.
fn is_dated(expr: &Expr) -> bool {
    let Expr::Value(value) = expr else { return false };
    let Value::SingleQuotedString(text) = &value.value else { return false };
    let begins = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.len() >= 10 && text.bytes().take(10).enumerate().all(begins)
}

fn is_format(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(&value.value, Value::SingleQuotedString(text) if text.contains('%')))
}

/// How many boundaries of `part` lie between two moments.
fn difference(part: &str, from: &Expr, to: &Expr) -> String {
    let (from, to) = (format!("CAST({from} AS timestamp)"), format!("CAST({to} AS timestamp)"));
    let years = format!("(date_part('year', {to}) - date_part('year', {from}))");
    let seconds = match part {
        "year" => return format!("CAST({years} AS bigint)"),
        "quarter" | "month" => {
            let per_year = if part == "month" { 12 } else { 4 };
            return format!(
                "CAST({years} * {per_year} + date_part('{part}', {to}) - date_part('{part}', {from}) AS bigint)"
            );
        }
        "week" => 604_800,
        "day" => 86_400,
        "hour" => 3_600,
        "minute" => 60,
        _ => 1,
    };
    let at = |time: &str| format!("date_part('epoch', date_trunc('{part}', {time}))");
    format!("CAST(({} - {}) / {seconds} AS bigint)", at(&to), at(&from))
}

/// A moment moved by a number of parts.
fn moved(part: &str, count: &Expr, from: &Expr, back: bool) -> String {
    let sign = if back { '-' } else { '+' };
    format!("({from} {sign} {})", spans(count, 1, part))
}

/// The call in words of ours, if it needs more than another name.
fn rewritten(name: &str, function: &Function) -> Option<String> {
    let plain = function.filter.is_none() && function.over.is_none();
    let all = arguments(function)?;
    let arguments = all.as_slice();
    if let ([date], true) = (arguments, plain)
        && let Some((_, part)) = PARTS.iter().find(|(theirs, _)| *theirs == name)
    {
        return Some(format!("CAST(date_part('{part}', {date}) AS bigint)"));
    }
    match (name, arguments) {
        ("datediff" | "date_diff" | "timestampdiff", [first, from, to]) => {
            match (part_of(first), part_of(to)) {
                (Some(part), _) => Some(difference(&part, from, to)),
                // BigQuery: the later moment first, the part last.
                (None, Some(part)) => Some(difference(&part, from, first)),
                _ => None,
            }
        }
        ("datediff", [to, from]) => Some(difference("day", from, to)),
        ("dateadd" | "date_add" | "timestampadd", [part, count, from]) => {
            Some(moved(&part_of(part)?, count, from, false))
        }
        ("date_add", [from, by @ Expr::Interval(_)]) => Some(format!("({from} + {by})")),
        ("date_sub", [from, by @ Expr::Interval(_)]) => Some(format!("({from} - {by})")),
        ("date_add", [from, days]) => Some(moved("day", days, from, false)),
        ("date_sub", [from, days]) => Some(moved("day", days, from, true)),
        ("strftime", [format, time]) if is_format(format) => {
            Some(format!("to_char(CAST({time} AS timestamp), {format})"))
        }
        ("strftime", [time, format]) => Some(format!("to_char({time}, {format})")),
        ("strptime", [text, format]) => {
            Some(format!("CAST(to_timestamp({text}, {format}) AS timestamp)"))
        }
        ("monthname", [date]) => Some(format!("to_char({date}, '%B')")),
        ("dayname", [date]) => Some(format!("to_char({date}, '%A')")),
        ("last_day", [date]) => Some(format!(
            "CAST(date_trunc('month', {date}) + INTERVAL '1 month' - INTERVAL '1 day' AS date)"
        )),
        ("date", [date]) => Some(format!("CAST({date} AS date)")),
        ("iff" | "if", [condition, yes, no]) => {
            Some(format!("CASE WHEN {condition} THEN {yes} ELSE {no} END"))
        }
        // A text that is a date: the engine takes it for a date beside one in CASE, not in coalesce.
        ("coalesce", [first, rest @ ..]) if rest.iter().any(|value| is_dated(value)) => {
            let rest = rest.iter().map(|value| match is_dated(value) {
                true => format!(", CASE WHEN false THEN {first} ELSE {value} END"),
                false => format!(", {value}"),
            });
            Some(format!("coalesce({first}{})", rest.collect::<String>()))
        }
        ("zeroifnull", [value]) => Some(format!("coalesce({value}, 0)")),
        ("nullifzero", [value]) => Some(format!("nullif({value}, 0)")),
        ("div0", [a, b]) => Some(format!("CASE WHEN {b} = 0 THEN 0 ELSE {a} / {b} END")),
        ("charindex", [part, text]) => Some(format!("strpos({text}, {part})")),
        ("regexp_extract", [text, pattern]) => Some(extracted(text, pattern, 0)),
        ("regexp_extract", [text, pattern, group]) => {
            Some(extracted(text, pattern, number(group)?))
        }
        ("count_if" | "countif", [condition]) => {
            let over = function.over.as_ref().map(|over| format!(" OVER {over}"));
            let filter = function.filter.as_ref().map(|f| format!(" FILTER (WHERE {f})"));
            Some(format!(
                "count(CASE WHEN {condition} THEN 1 END){}{}",
                filter.unwrap_or_default(),
                over.unwrap_or_default()
            ))
        }
        ("arg_max" | "max_by", [value, by]) if plain => {
            Some(format!("first_value({value} ORDER BY {by} DESC NULLS LAST)"))
        }
        ("arg_min" | "min_by", [value, by]) if plain => {
            Some(format!("first_value({value} ORDER BY {by} ASC NULLS LAST)"))
        }
        ("getdate" | "sysdate" | "get_current_timestamp", []) => {
            Some("CAST(now() AS timestamp)".to_owned())
        }
        ("gen_random_uuid", []) => Some("uuid()".to_owned()),
        _ => calculated(name, arguments),
    }
}

/// The part of a text that a pattern, or one of its groups, finds; the empty text if there is none.
fn extracted(text: &Expr, pattern: &Expr, group: i64) -> String {
    format!(
        "CASE WHEN {text} IS NULL THEN NULL ELSE coalesce(regexp_match({text}, concat('(', {pattern}, ')'))[{}], '') END",
        group + 1
    )
}
