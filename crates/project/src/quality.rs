//! Checks of data as SQL of the engine where the table lies, and what a figure must be.
//!
//! ```text
//! QualityCheck ─ compile ─► Figure: a condition of bad rows, an expression, or a query of its own
//!              ─ Rule    ─► whether the figure is as promised
//! ```
//! Conditions and expressions of one table share a scan ([`scan`]), so that a file of twenty checks costs
//! a database one pass. Nothing here runs SQL. Shares are computed from two counts by whoever reads the
//! answer, so that no engine divides, least of all by zero.

mod dialect;
mod rule;

use flywheel_base::{Error, Result};
use serde_json::Value as Json;

pub use dialect::Dialect;
pub use rule::Rule;

use crate::resource::quality::{Metric, Quality, QualityCheck, Unit};

/// How many failing rows are shown.
pub const SAMPLE_ROWS: usize = 5;

/// Seconds a `maxDelay` has at least, since not every engine counts finer.
const SECOND_MICROS: i64 = 1_000_000;

/// Where a check looks.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The engine.
    pub dialect: Dialect,
    /// The table as the engine's SQL writes it.
    pub table: &'a str,
    /// The present moment, in microseconds since 1970; none if the SQL is to be the same at any time,
    /// which a check that looks at the clock refuses.
    pub now: Option<i64>,
    /// What another table is called in SQL.
    pub other: &'a dyn Fn(&str) -> Result<String>,
    /// Columns that are not shown.
    pub hidden: &'a [String],
    /// The codes of a dictionary.
    pub codes: &'a dyn Fn(&str) -> Result<Vec<Json>>,
}

/// How a figure is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figure {
    /// How many rows fulfil this condition.
    Rows(String),
    /// What this expression over all rows gives.
    Expression(String),
    /// What this query gives: the columns `bad` and `total`.
    Pair(String),
    /// What this query gives in the first column of its first row.
    Value(String),
}

/// A check in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// How the figure is found.
    pub figure: Figure,
    /// The table, with the condition of rows that count: what stands after `FROM`.
    pub from: String,
    /// A query that shows failing rows; none if there are none to show.
    pub sample: Option<String>,
}

/// The name of each check, in order: its own, or one made of metric and column.
#[must_use]
pub fn check_names(quality: &Quality) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(quality.checks.len());
    for check in &quality.checks {
        let made = || {
            let metric = check.metric.map_or("query", Metric::word);
            let mut name = String::new();
            for letter in metric.chars() {
                if letter.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_lowercase());
            }
            let columns = check.column.iter().chain(&check.arguments.properties);
            for column in columns {
                name.push('_');
                name.push_str(column);
            }
            name
        };
        let own = check.name.clone();
        let base = own.clone().unwrap_or_else(made);
        let mut name = base.clone();
        let mut number = 2;
        while own.is_none() && names.contains(&name) {
            name = format!("{base}_{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

/// Writes `check` in the SQL of its place.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the check lacks something or the engine cannot do it; those of
/// `other` and `codes`.
pub fn compile(check: &QualityCheck, place: &Place<'_>) -> Result<Compiled> {
    let from = match &check.condition {
        Some(condition) => format!("{} WHERE ({}\n)", place.table, condition.trim()),
        None => place.table.to_owned(),
    };
    if let Some(query) = &check.query {
        let property = check.column.as_deref().map(|column| place.dialect.quoted(column));
        let query = query.replace("{object}", place.table);
        let query = query.replace("{property}", property.as_deref().unwrap_or("{property}"));
        let query = place.dialect.bare(&query).to_owned();
        return Ok(Compiled { figure: Figure::Value(query), from, sample: None });
    }
    let metric = check.metric.ok_or_else(|| {
        Error::invalid("a check has neither metric nor query").hint("Give one of them.")
    })?;
    if metric == Metric::RowCount {
        let figure = Figure::Expression("count(*)".to_owned());
        return Ok(Compiled { figure, from, sample: None });
    }
    if metric == Metric::DuplicateValues {
        return duplicates(check, place, from);
    }
    let name = check.column.as_deref().ok_or_else(|| {
        Error::invalid(format!("{} is about a column, and none is named", metric.word()))
            .hint("Add `column:`.")
    })?;
    let column = place.dialect.quoted(name);
    let expression = match metric {
        Metric::Freshness => Some(format!("max({column})")),
        Metric::DistinctValues => Some(format!("count(DISTINCT {column})")),
        Metric::Sum => Some(format!("sum({column})")),
        Metric::Average => Some(place.dialect.average(&column)),
        _ => None,
    };
    if let Some(expression) = expression {
        let figure = Figure::Expression(expression);
        return Ok(Compiled { figure, from, sample: None });
    }
    let failing = match metric {
        Metric::NullValues => format!("{column} IS NULL"),
        Metric::MissingValues => missing(check, place.dialect, &column),
        Metric::InvalidValues => invalid(check, place, &column)?,
        Metric::LateValues => late(check, place, &column)?,
        Metric::UnmatchedValues => {
            return unmatched(check, place, from, name, &column);
        }
        other => return Err(Error::internal(format!("{} has no condition", other.word()))),
    };
    let joined = if check.condition.is_some() { "AND" } else { "WHERE" };
    let sample = format!("SELECT * FROM {from} {joined} ({failing}) LIMIT {SAMPLE_ROWS}");
    Ok(Compiled { figure: Figure::Rows(failing), from, sample: Some(sample) })
}

/// One query over `from`: the number of rows, and what each figure is, in order.
#[must_use]
pub fn scan(from: &str, figures: &[&Figure]) -> String {
    let one = |(at, figure): (usize, &&Figure)| match figure {
        Figure::Rows(failing) => {
            format!(", coalesce(sum(CASE WHEN {failing} THEN 1 ELSE 0 END), 0) AS f{at}")
        }
        Figure::Expression(expression) => format!(", {expression} AS f{at}"),
        Figure::Pair(_) | Figure::Value(_) => format!(", NULL AS f{at}"),
    };
    let all: String = figures.iter().enumerate().map(one).collect();
    format!("SELECT count(*) AS total{all} FROM {from}")
}

/// A query of the lake that returns rows exactly if the check is broken: the failing rows where each is a
/// failure, else the figure. This is what a build runs before it publishes. None if the verdict depends on
/// the clock or on earlier figures.
///
/// # Errors
/// Those of [`compile`].
pub fn breach(check: &QualityCheck, place: &Place<'_>) -> Result<Option<String>> {
    let timed = match check.metric {
        Some(Metric::Freshness) => true,
        Some(Metric::LateValues) => check.arguments.after.is_none(),
        _ => false,
    };
    let Some(rule) = Rule::of(check)?.filter(|_| !timed) else { return Ok(None) };
    let compiled = compile(check, place)?;
    let from = &compiled.from;
    let none = matches!(rule, Rule::Be(most) | Rule::LessOrEqual(most) if most == 0.0);
    let value = match (&compiled.figure, check.unit) {
        (Figure::Rows(failing), _) if none => {
            let joined = if check.condition.is_some() { "AND" } else { "WHERE" };
            let hidden: Vec<String> =
                place.hidden.iter().map(|name| place.dialect.quoted(name)).collect();
            let shown = match hidden.is_empty() {
                true => "*".to_owned(),
                false => format!("* EXCLUDE ({})", hidden.join(", ")),
            };
            return Ok(Some(format!("SELECT {shown} FROM {from} {joined} ({failing})")));
        }
        (Figure::Rows(failing), unit) => {
            let bad = format!("coalesce(sum(CASE WHEN {failing} THEN 1 ELSE 0 END), 0)");
            let value = share(&bad, "count(*)", unit);
            format!("SELECT {value} AS value FROM {from}")
        }
        (Figure::Expression(expression), _) => format!("SELECT {expression} AS value FROM {from}"),
        (Figure::Pair(pair), unit) => {
            format!("SELECT {} AS value FROM (\n{pair}\n) AS pair", share("bad", "total", unit))
        }
        (Figure::Value(query), _) => query.clone(),
    };
    let broken = rule.broken("CAST(figure.value AS double)");
    Ok(Some(format!("SELECT figure.value FROM (\n{value}\n) AS figure(value) WHERE {broken}")))
}

/// A number of rows, or their share of all in percent.
fn share(bad: &str, total: &str, unit: Unit) -> String {
    match unit {
        Unit::Rows => bad.to_owned(),
        Unit::Percent => format!(
            "CASE WHEN {total} = 0 THEN 0.0 ELSE 100.0 * CAST({bad} AS double) / {total} END"
        ),
    }
}

fn duplicates(check: &QualityCheck, place: &Place<'_>, from: String) -> Result<Compiled> {
    let columns: Vec<&String> = match check.arguments.properties.as_slice() {
        [] => check.column.iter().collect(),
        several => several.iter().collect(),
    };
    if columns.is_empty() {
        return Err(Error::invalid("duplicateValues names no column")
            .hint("Add `column:`, or several under `arguments: {properties: […]}`."));
    }
    let quoted: Vec<String> = columns.iter().map(|name| place.dialect.quoted(name)).collect();
    let list = quoted.join(", ");
    // A key that is missing in part identifies nothing, so it repeats nothing.
    let known: Vec<String> = quoted.iter().map(|column| format!("{column} IS NOT NULL")).collect();
    let joined = if check.condition.is_some() { "AND" } else { "WHERE" };
    let groups = format!(
        "SELECT {list}, count(*) AS n_records FROM {from} {joined} {} GROUP BY {list} HAVING count(*) > 1",
        known.join(" AND ")
    );
    let pair = format!(
        "SELECT d.bad, t.total FROM (SELECT coalesce(sum(g.n_records - 1), 0) AS bad FROM (\n{groups}\n) AS g) AS d \
         CROSS JOIN (SELECT count(*) AS total FROM {from}) AS t"
    );
    let sample = format!("{groups} ORDER BY n_records DESC, {list} LIMIT {SAMPLE_ROWS}");
    Ok(Compiled { figure: Figure::Pair(pair), from, sample: Some(sample) })
}

fn unmatched(
    check: &QualityCheck,
    place: &Place<'_>,
    from: String,
    name: &str,
    column: &str,
) -> Result<Compiled> {
    let to = check.arguments.to.as_deref().ok_or_else(|| {
        Error::invalid("unmatchedValues names no other table")
            .hint("Add `arguments: {to: …, field: …}`.")
    })?;
    let field = place.dialect.quoted(check.arguments.field.as_deref().unwrap_or(name));
    let to = (place.other)(to)?;
    let children = format!("SELECT * FROM {from}");
    let orphans = format!(
        "FROM (\n{children}\n) AS child WHERE child.{column} IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM {to} AS parent WHERE parent.{field} = child.{column})"
    );
    let pair = format!(
        "SELECT d.bad, t.total FROM (SELECT count(*) AS bad {orphans}) AS d \
         CROSS JOIN (SELECT count(*) AS total FROM {from}) AS t"
    );
    let sample = format!("SELECT child.* {orphans} LIMIT {SAMPLE_ROWS}");
    Ok(Compiled { figure: Figure::Pair(pair), from, sample: Some(sample) })
}

fn missing(check: &QualityCheck, dialect: Dialect, column: &str) -> String {
    let usual = vec![Json::Null, Json::String(String::new())];
    let values = check.arguments.missing_values.as_ref().unwrap_or(&usual);
    let mut parts = Vec::new();
    if values.iter().any(Json::is_null) {
        parts.push(format!("{column} IS NULL"));
    }
    if let Some(listed) = listed(values, dialect, column) {
        parts.push(format!("{} IN ({})", listed.column, listed.values));
    }
    match parts.is_empty() {
        true => "1 = 0".to_owned(),
        false => parts.join(" OR "),
    }
}

fn invalid(check: &QualityCheck, place: &Place<'_>, column: &str) -> Result<String> {
    let (dialect, arguments) = (place.dialect, &check.arguments);
    let mut valid = arguments.valid_values.clone();
    if let Some(dictionary) = &arguments.dictionary {
        valid.get_or_insert_default().extend((place.codes)(dictionary)?);
    }
    let mut parts = Vec::new();
    if let Some(values) = &valid {
        parts.push(match listed(values, dialect, column) {
            Some(listed) => format!("{} NOT IN ({})", listed.column, listed.values),
            None => "1 = 1".to_owned(),
        });
    }
    let text = dialect.text(column);
    if let Some(pattern) = &arguments.pattern {
        parts.push(dialect.unlike(&text, pattern)?);
    }
    let length = dialect.length(&text);
    if let Some(least) = arguments.min_length {
        parts.push(format!("{length} < {least}"));
    }
    if let Some(most) = arguments.max_length {
        parts.push(format!("{length} > {most}"));
    }
    if parts.is_empty() {
        return Err(Error::invalid("invalidValues does not say what is valid").hint(
            "Add `arguments` with validValues, dictionary, pattern, minLength or maxLength.",
        ));
    }
    Ok(format!("{column} IS NOT NULL AND ({})", parts.join(" OR ")))
}

fn late(check: &QualityCheck, place: &Place<'_>, column: &str) -> Result<String> {
    let delay = check.arguments.max_delay.map(|delay| delay.micros / SECOND_MICROS);
    let Some(delay) = delay.filter(|delay| *delay > 0) else {
        return Err(Error::invalid("lateValues does not say how late is still in time")
            .hint("Add `arguments: {maxDelay: 2h}`, a second or more."));
    };
    match &check.arguments.after {
        Some(after) => Ok(place.dialect.later(column, &place.dialect.quoted(after), delay)),
        None => {
            let now = place.now.ok_or_else(|| Error::internal("a check needs to know the time"))?;
            Ok(place.dialect.before(column, now.div_euclid(SECOND_MICROS) - delay))
        }
    }
}

struct Listed {
    column: String,
    values: String,
}

/// A list of values, and the column as it is compared with them: as text, unless all are numbers or
/// booleans. None if nothing but NULL is listed.
fn listed(values: &[Json], dialect: Dialect, column: &str) -> Option<Listed> {
    let values: Vec<&Json> = values.iter().filter(|value| !value.is_null()).collect();
    if values.is_empty() {
        return None;
    }
    if values.iter().all(|value| value.is_number()) {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        return Some(Listed { column: column.to_owned(), values: values.join(", ") });
    }
    if values.iter().all(|value| value.is_boolean()) {
        let values: Vec<&str> =
            values.iter().map(|value| dialect.boolean(value.as_bool() == Some(true))).collect();
        return Some(Listed { column: column.to_owned(), values: values.join(", ") });
    }
    let text = |value: &&Json| match value {
        Json::String(text) => dialect.literal(text),
        other => dialect.literal(&other.to_string()),
    };
    let values: Vec<String> = values.iter().map(text).collect();
    Some(Listed { column: dialect.text(column), values: values.join(", ") })
}

#[cfg(test)]
mod tests;
