//! Parts, the calendar and formulas as one statement.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, suggest};
use flywheel_project::metric::Semantics;
use flywheel_project::resource::semantic::Grain;

use super::expand::{Formula, Plan};
use super::part::{Context, Part, Rendered};
use super::resolve::{By, Question};
use super::time::{Length, MOMENT, as_moment};
use super::{CompiledMetrics, MetricColumn, Tables};
use crate::testing::quoted;

/// How many rows an answer may be limited to.
const LIMIT_MAX: u64 = 1_000_000;

/// Parts that are grouped alike, brought together.
struct Gathered {
    grouping: Vec<usize>,
    parts: Vec<(usize, Vec<usize>)>,
}

/// Writes the statement.
pub(super) fn render<'a>(
    tables: Tables<'_>,
    semantics: &Semantics<'a>,
    question: &Question<'a>,
    plan: &Plan<'a>,
) -> Result<CompiledMetrics> {
    let context = Context { tables, semantics, question };
    let parts = Part::divide(&plan.leaves)?;
    let mut rendered = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter().enumerate() {
        rendered.push(part.render(&context, number + 1)?);
    }
    let mut with = Vec::new();
    calendar(&context, &parts, &rendered, &mut with)?;
    let mut gathered: Vec<Gathered> = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let leaves = part.leaves.iter().map(|(at, _)| *at).collect();
        match gathered.iter_mut().find(|known| known.grouping == part.grouping()) {
            Some(known) => known.parts.push((number + 1, leaves)),
            None => gathered.push(Gathered {
                grouping: part.grouping().to_vec(),
                parts: vec![(number + 1, leaves)],
            }),
        }
    }
    // The grouping of the question comes first: the others are looked up by it.
    gathered.sort_by_key(|group| std::cmp::Reverse(group.grouping.len()));
    for (index, group) in gathered.iter().enumerate() {
        let fill = question.fill && group.grouping.len() == question.by.len();
        with.push((format!("g{}", index + 1), gather(question, group, fill)));
    }
    let (columns, select) = shown(question, plan);
    let mut sql = String::new();
    for (index, (name, query)) in with.iter().enumerate() {
        sql.push_str(if index == 0 { "WITH " } else { ",\n" });
        sql.push_str(&format!("{name} AS (\n  {query}\n)"));
    }
    sql.push_str(&format!("\nSELECT {}\nFROM {}", select.join(", "), from(question, &gathered)?));
    finish(question, &columns, &mut sql)?;
    let notes = question.notes.clone();
    Ok(CompiledMetrics { sql, columns, notes })
}

/// Adds the parts, and the calendar between those that make it and those that need it.
fn calendar<'a>(
    context: &Context<'a, '_>,
    parts: &[Part<'a>],
    rendered: &[Rendered],
    with: &mut Vec<(String, String)>,
) -> Result<()> {
    let question = context.question;
    for (number, part) in rendered.iter().enumerate() {
        match &part.atoms {
            Some(atoms) => with.push((format!("a{}", number + 1), atoms.clone())),
            None => with.push((format!("p{}", number + 1), part.values.clone())),
        }
    }
    let needed = question.fill || rendered.iter().any(|part| part.atoms.is_some());
    let Some(grain) = question.grain.filter(|_| needed) else { return Ok(()) };
    let known = question.range.from.is_some() && question.range.to.is_some();
    if !known {
        let mut extents = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            extents.extend(part.extent(context, number + 1)?);
        }
        let bound = |function: &str, column: &str| {
            question.calendar.period(grain, &format!("{function}(b.{column})"))
        };
        let bounds = format!(
            "SELECT {} AS lo, {} AS hi FROM (\n  {}\n  ) AS b",
            bound("min", "lo"),
            bound("max", "hi"),
            extents.join("\n  UNION ALL\n  ")
        );
        with.push(("bounds".to_owned(), bounds));
    }
    let of = |bound: &Option<String>, column: &str, back: &str| match bound {
        Some(bound) => {
            let moment = format!("{}{back}", as_moment(bound));
            question.calendar.period(grain, &as_moment(&moment))
        }
        None => column.to_owned(),
    };
    let low = of(&question.range.from, "lo", "");
    let high = of(&question.range.to, "hi", " - INTERVAL '1 microsecond'");
    let step = Length::of(grain.step());
    let step = match step {
        Length { months, days: 0, seconds: 0 } => format!("{months} months"),
        Length { days, seconds: 0, .. } => format!("{days} days"),
        Length { seconds, .. } => format!("{seconds} seconds"),
    };
    let from = if known { "" } else { " FROM bounds" };
    let kind = if grain.is_within_day() { MOMENT } else { "DATE" };
    let series = format!(
        "SELECT CAST(s.t AS {kind}) AS t FROM (SELECT unnest(generate_series({low}, {high}, INTERVAL '{step}')) AS t{from}) AS s"
    );
    with.push(("calendar".to_owned(), series));
    for (number, part) in rendered.iter().enumerate() {
        if part.atoms.is_some() {
            with.push((format!("p{}", number + 1), part.values.clone()));
        }
    }
    Ok(())
}

/// The keys of a grouping, as parts call them.
fn keys(question: &Question<'_>, grouping: &[usize]) -> Vec<String> {
    let key = |at: &usize| match question.by.get(*at) {
        Some(By::Time) => "t".to_owned(),
        _ => format!("d{at}"),
    };
    grouping.iter().map(key).collect()
}

/// Brings parts together: a row of each key that any of them has, with the values of all. What is a full
/// join of aggregates on null-safe keys, written so that any number of parts costs one pass.
fn gather(question: &Question<'_>, group: &Gathered, fill: bool) -> String {
    let keys = keys(question, &group.grouping);
    let values: Vec<usize> = group.parts.iter().flat_map(|(_, leaves)| leaves.clone()).collect();
    // Parts group by moments; the few rows that are left become dates.
    let dated = question.grain.is_some_and(|grain| grain > Grain::Day);
    let row = |of: &dyn Fn(usize) -> bool| {
        let values = values.iter().map(|at| match of(*at) {
            true => format!("v{at}"),
            false => format!("NULL AS v{at}"),
        });
        let keys = keys.iter().map(|key| match key.as_str() {
            "t" if dated => "CAST(t AS DATE) AS t".to_owned(),
            key => key.to_owned(),
        });
        keys.chain(values).collect::<Vec<_>>().join(", ")
    };
    if let ([(number, _)], false) = (group.parts.as_slice(), fill) {
        return format!("SELECT {} FROM p{number}", row(&|_| true));
    }
    let mut all: Vec<String> = group
        .parts
        .iter()
        .map(|(number, leaves)| {
            format!("SELECT {} FROM p{number}", row(&|at| leaves.contains(&at)))
        })
        .collect();
    if fill {
        let others: Vec<&str> = keys.iter().filter(|key| *key != "t").map(String::as_str).collect();
        let columns = row(&|_| false);
        all.push(match others.is_empty() {
            true => format!("SELECT {columns} FROM calendar"),
            false => {
                let list = others.join(", ");
                let each: Vec<String> =
                    group.parts.iter().map(|(n, _)| format!("SELECT {list} FROM p{n}")).collect();
                format!(
                    "SELECT {columns} FROM (SELECT DISTINCT {list} FROM ({}) AS e) AS k CROSS JOIN calendar",
                    each.join(" UNION ALL ")
                )
            }
        });
    }
    let values: Vec<String> = values.iter().map(|at| format!("max(u.v{at}) AS v{at}")).collect();
    let columns = keys.iter().map(|key| format!("u.{key}")).chain(values).collect::<Vec<_>>();
    let mut sql = format!(
        "SELECT {} FROM (\n  {}\n  ) AS u",
        columns.join(", "),
        all.join("\n  UNION ALL\n  ")
    );
    if !keys.is_empty() {
        sql.push_str(&format!(
            " GROUP BY {}",
            (1..=keys.len()).map(|at| at.to_string()).collect::<Vec<_>>().join(", ")
        ));
    }
    sql
}

/// The columns of the answer, and their SQL.
fn shown(question: &Question<'_>, plan: &Plan<'_>) -> (Vec<MetricColumn>, Vec<String>) {
    let (mut columns, mut select) = (Vec::new(), Vec::new());
    let all: Vec<usize> = (0..question.by.len()).collect();
    for (by, key) in question.by.iter().zip(keys(question, &all)) {
        let labels = match by {
            By::Dimension(group) => group.labels.clone(),
            By::Time => BTreeMap::new(),
        };
        let name = by.column().to_owned();
        columns.push(MetricColumn { name, metric: None, unit: None, labels });
        select.push(format!("g1.{key} AS {}", quoted(by.column())));
    }
    for shown in &plan.shown {
        let unit = shown.metric.metric.unit.clone().filter(|_| shown.has_unit);
        let metric = Some(shown.metric.name.to_owned());
        let name = shown.column.clone();
        columns.push(MetricColumn { name, metric, unit, labels: BTreeMap::new() });
        select.push(format!("{} AS {}", formula(&shown.formula), quoted(&shown.column)));
    }
    (columns, select)
}

fn formula(formula_of: &Formula) -> String {
    match formula_of {
        Formula::Leaf(at) => format!("v{at}"),
        Formula::Divide(a, b) => {
            format!("(CAST({} AS DOUBLE) / NULLIF(CAST({} AS DOUBLE), 0))", formula(a), formula(b))
        }
        Formula::Minus(a, b) => format!("({} - {})", formula(a), formula(b)),
        Formula::Default(inner, value) => format!("coalesce({}, {value})", formula(inner)),
        Formula::Derived(expression, inputs) => {
            let bound = expression.sql(&mut |name| {
                let found = inputs.get(&name.text());
                found.map(formula).ok_or_else(|| Error::internal("a derived metric lost an input"))
            });
            bound.unwrap_or_else(|_| "NULL".to_owned())
        }
    }
}

/// The groupings, each looked up by the first.
fn from(question: &Question<'_>, gathered: &[Gathered]) -> Result<String> {
    if gathered.is_empty() {
        return Err(Error::internal("an answer without parts"));
    }
    let mut sql = "g1".to_owned();
    for (index, group) in gathered.iter().enumerate().skip(1) {
        let alias = format!("g{}", index + 1);
        let keys = keys(question, &group.grouping);
        match keys.is_empty() {
            true => sql.push_str(&format!("\n  CROSS JOIN {alias}")),
            false => {
                let on =
                    keys.iter().map(|key| format!("g1.{key} IS NOT DISTINCT FROM {alias}.{key}"));
                let on: Vec<String> = on.collect();
                sql.push_str(&format!("\n  LEFT JOIN {alias} ON {}", on.join(" AND ")));
            }
        }
    }
    Ok(sql)
}

/// Conditions on the answer, its order and its length.
fn finish(question: &Question<'_>, columns: &[MetricColumn], sql: &mut String) -> Result<()> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let column = |word: &str| -> Result<String> {
        let by_word = question.metrics.iter().find(|metric| metric.words().contains(&word));
        let name = by_word.map_or(word, |metric| metric.name);
        match names.contains(&name) {
            true => Ok(quoted(name)),
            false => Err(Error::not_found(format!("the answer has no column \"{word}\""))
                .hint(suggest::hint(word, names.iter().copied()))),
        }
    };
    if let Some(having) = &question.having {
        let condition = having.sql(&mut |name| column(&name.text()))?;
        *sql = format!("SELECT * FROM (\n{sql}\n) AS answer\nWHERE {condition}");
    }
    let mut order = Vec::new();
    for word in &question.order {
        let (word, direction) = match word.strip_prefix('-') {
            Some(word) => (word, "DESC"),
            None => (word.as_str(), "ASC"),
        };
        order.push(format!("{} {direction} NULLS LAST", column(word.trim())?));
    }
    // What is equal in the asked order has an order, too.
    for by in &question.by {
        order.push(format!("{} ASC NULLS LAST", quoted(by.column())));
    }
    if !order.is_empty() {
        sql.push_str(&format!("\nORDER BY {}", order.join(", ")));
    }
    if let Some(limit) = question.limit {
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Error::invalid(format!(
                "the limit {limit} is not between 1 and {LIMIT_MAX}"
            ))
            .hint("Ask for fewer rows, or for all of them without a limit."));
        }
        sql.push_str(&format!("\nLIMIT {limit}"));
    }
    Ok(())
}
