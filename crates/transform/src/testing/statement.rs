//! Tests as SQL: queries that count failures, as few as give every answer, and queries that show
//! failing rows.

use arrow::datatypes::{DataType, Schema};
use flywheel_base::{Error, Result, statement, suggest};
use serde_json::Value as Json;

use super::run::Kept;
use super::{Check, CheckKind};
use crate::report::TestScope;

/// How many columns put a sample in order.
const ORDER_COLUMNS_MAX: usize = 8;

/// Where a test looks for rows.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    /// The tested table in SQL, quoted.
    pub(super) table: &'a str,
    /// The table of new rows in SQL, if only those need a look.
    pub(super) batch: Option<&'a str>,
    /// The columns of the tested table.
    pub(super) schema: &'a Schema,
    /// Columns of which a merge keeps every value unique.
    pub(super) merge_key: &'a [String],
    /// The tables that have every value they had when the old rows passed.
    pub(super) kept: &'a Kept,
}

impl Target<'_> {
    /// Whether every value that old rows found in this column is still there.
    fn keeps(&self, table: &str, field: &str) -> bool {
        self.kept.get(table).is_some_and(|of| of.as_ref().is_none_or(|of| of == field))
    }
}

/// A check in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The condition of a failing row, if one row is enough to tell.
    pub(super) row_condition: Option<String>,
    /// The table whose rows are looked at.
    pub(super) from: String,
    /// Whether those are all rows.
    pub(super) scope: TestScope,
    /// The query whose rows are the failures.
    pub(super) failing: String,
    /// The query for a sample of failing rows.
    pub(super) sample: String,
    /// SQL over the failing rows that says how many failures they are; none counts them.
    pub(super) calc: Option<String>,
    /// How many failing rows are looked at.
    pub(super) limit: Option<u64>,
}

/// A query whose rows are failures, and how many failures they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<'a> {
    query: &'a str,
    calc: Option<&'a str>,
    limit: Option<u64>,
}

impl Statement {
    /// A query that needs the whole table.
    fn whole(target: &Target<'_>, failing: String, sample: String) -> Self {
        let (from, scope) = (target.table.to_owned(), TestScope::Table);
        Self { row_condition: None, from, scope, failing, sample, calc: None, limit: None }
    }

    /// What is counted.
    pub(super) fn counted(&self) -> Counted<'_> {
        Counted { query: &self.failing, calc: self.calc.as_deref(), limit: self.limit }
    }
}

/// `"schema"."name"` for a table named `schema.name`.
pub(crate) fn quoted_table(name: &str) -> String {
    name.splitn(2, '.').map(quoted).collect::<Vec<_>>().join(".")
}

/// A quoted identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Writes `check` as SQL; none if it holds by construction.
pub(super) fn statement(check: &Check, target: &Target<'_>) -> Result<Option<Statement>> {
    let Some(statement) = plain_statement(check, target)? else { return Ok(None) };
    let Some(calc) = check.failures.calc.clone() else { return Ok(Some(statement)) };
    // Failures that are computed from rows need all of them, in a query of their own.
    let limit = check.threshold.limit;
    Ok(Some(Statement { row_condition: None, calc: Some(calc), limit, ..statement }))
}

fn plain_statement(check: &Check, target: &Target<'_>) -> Result<Option<Statement>> {
    let column = |name: &str| find(check, target.schema, name).map(quoted);
    let from = target.batch.unwrap_or(target.table);
    let scope = if target.batch.is_some() { TestScope::NewRows } else { TestScope::Table };
    let made = match &check.kind {
        CheckKind::NotNull { column: name } => {
            by_row(check, target, from, &format!("{} IS NULL", column(name)?))
        }
        CheckKind::AcceptedValues { column: name, values } => {
            let column = column(name)?;
            let text = is_text(target.schema, name);
            // NULL in the list would make NOT IN true for nothing; NULLs are not tested anyway.
            let values = values.iter().filter(|value| !value.is_null());
            let values: Vec<String> = values.map(|value| literal(value, text)).collect();
            let condition = match values.is_empty() {
                true => format!("{column} IS NOT NULL"),
                false => format!("{column} NOT IN ({})", values.join(", ")),
            };
            let statement = by_row(check, target, from, &condition);
            let grouped = format!(
                "SELECT {column} AS value, count(*) AS n_records FROM {} WHERE {condition} GROUP BY {column}",
                source(check, from)
            );
            let sample = format!("{grouped} ORDER BY n_records DESC, value");
            Statement { failing: grouped, sample, ..statement }
        }
        CheckKind::Unique { column: name } => {
            let column = column(name)?;
            if target.batch.is_some() && target.merge_key == [name.clone()] {
                return Ok(None);
            }
            unique(check, target, &column)
        }
        CheckKind::Relationships { column: name, to, field } => {
            // Where rows of the other table may have vanished, the old rows have to be looked at as well.
            let batch = target.batch.filter(|_| target.keeps(to, field));
            let (column, field) = (column(name)?, quoted(field));
            let failing = format!(
                "SELECT child.{column} AS from_field FROM {} AS child WHERE child.{column} IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM {} AS parent WHERE parent.{field} = child.{column})",
                source(check, batch.unwrap_or(target.table)),
                quoted_table(to)
            );
            let sample = format!("SELECT DISTINCT from_field FROM ({failing}) ORDER BY from_field");
            let scope = if batch.is_some() { TestScope::NewRows } else { TestScope::Table };
            return Ok(Some(Statement { scope, ..Statement::whole(target, failing, sample) }));
        }
        CheckKind::Singular { sql } => {
            let failing = statement::bare(sql).to_owned();
            // A line comment at the end must not swallow what is put after the query.
            let sample = format!("SELECT * FROM (\n{failing}\n)");
            return Ok(Some(Statement::whole(target, failing, sample)));
        }
    };
    Ok(Some(Statement { scope, ..made }))
}

/// A check that looks at one row at a time.
fn by_row(check: &Check, target: &Target<'_>, from: &str, failing: &str) -> Statement {
    let rows = format!("SELECT * FROM {} WHERE {failing}", source(check, from));
    let sample = format!("{rows}{}", order(target.schema));
    let row_condition = match &check.condition {
        Some(condition) => format!("({condition}\n) AND {failing}"),
        None => failing.to_owned(),
    };
    // A subquery is not allowed inside FILTER, so such a check gets a query of its own.
    let subquery = check.condition.as_ref().is_some_and(|c| c.to_lowercase().contains("select"));
    let row_condition = (!subquery).then_some(row_condition);
    let scope = TestScope::Table;
    let from = from.to_owned();
    Statement { row_condition, from, scope, sample, failing: rows, calc: None, limit: None }
}

/// An order of rows by their first plain columns, so that a sample is the same each time.
fn order(schema: &Schema) -> String {
    let plain = schema.fields().iter().filter(|field| !field.data_type().is_nested());
    let columns: Vec<String> =
        plain.take(ORDER_COLUMNS_MAX).map(|field| quoted(field.name())).collect();
    if columns.is_empty() { String::new() } else { format!(" ORDER BY {}", columns.join(", ")) }
}

fn unique(check: &Check, target: &Target<'_>, column: &str) -> Statement {
    let from = source(check, target.table);
    let among = match target.batch {
        Some(batch) => format!(" AND {column} IN (SELECT {column} FROM {batch})"),
        None => String::new(),
    };
    let failing = format!(
        "SELECT {column} AS unique_field, count(*) AS n_records FROM {from} WHERE {column} IS NOT NULL{among} \
         GROUP BY {column} HAVING count(*) > 1"
    );
    let sample = format!("{failing} ORDER BY n_records DESC, unique_field");
    Statement::whole(target, failing, sample)
}

/// The column as the table spells it: exactly, or but for capitals.
fn find<'a>(check: &Check, schema: &'a Schema, name: &str) -> Result<&'a str> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    let exact = names().find(|known| *known == name);
    if let Some(found) = exact.or_else(|| names().find(|k| k.eq_ignore_ascii_case(name))) {
        return Ok(found);
    }
    let known: Vec<&str> = names().collect();
    let subject = check.subject.as_deref().unwrap_or("the table");
    Err(Error::invalid(format!("test \"{}\": {subject} has no column \"{name}\"", check.name))
        .hint(suggest::hint(name, known.iter().copied())))
}

/// The rows a check is about: the table, or those that meet the check's `where`.
fn source(check: &Check, table: &str) -> String {
    match &check.condition {
        Some(condition) => format!("(SELECT * FROM {table} WHERE {condition}\n)"),
        None => table.to_owned(),
    }
}

/// One query over `from` that counts the failing rows of several checks, a column for each.
pub(super) fn scan(from: &str, conditions: &[&str]) -> String {
    let count =
        |(i, condition): (usize, &&str)| format!("count(*) FILTER (WHERE {condition}) AS f{i}");
    let counts: Vec<String> = conditions.iter().enumerate().map(count).collect();
    format!("SELECT {} FROM {from}", counts.join(", "))
}

/// One query that counts the rows of several queries, a row `(position, failures)` for each.
pub(super) fn counts(queries: &[Counted<'_>]) -> String {
    let count = |(i, counted): (usize, &Counted<'_>)| {
        let Counted { query, calc, limit } = counted;
        let Some(calc) = calc else {
            return format!(
                "SELECT {i} AS position, count(*) AS failures FROM (\n{query}\n) AS q{i}"
            );
        };
        let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
        format!(
            "SELECT {i} AS position, CAST(coalesce({calc}\n, 0) AS bigint) AS failures \
             FROM (SELECT * FROM (\n{query}\n) AS r{i}{limit}) AS q{i}"
        )
    };
    queries.iter().enumerate().map(count).collect::<Vec<_>>().join("\nUNION ALL\n")
}

fn is_text(schema: &Schema, column: &str) -> bool {
    let field = schema.fields().iter().find(|field| field.name() == column);
    field.is_some_and(|field| {
        matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    })
}

/// A value of a list in YAML as SQL; numbers are quoted for a column of text, as dbt does.
fn literal(value: &Json, text: bool) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
    match value {
        Json::String(value) => quote(value),
        Json::Null => "NULL".to_owned(),
        other if text => quote(&other.to_string()),
        other => other.to_string(),
    }
}
