//! One table's share of an answer: its rows, aggregated to what is asked for.
//!
//! ```text
//! plain      rows ─ period, dimensions ─► values
//! windowed   rows ─ days or periods ─► atoms ─ calendar ─► values of the periods whose window holds them
//! ```

mod draft;
mod plain;
mod windowed;

use flywheel_base::{Error, Result};
use flywheel_project::metric::Semantics;
use flywheel_project::resource::semantic::{Aggregate, Measure, QuantileMethod, Take};

use draft::Draft;

use super::Tables;
use super::expand::{Leaf, Span};
use super::resolve::{Question, measure_of};
use super::rows::Rows;

/// What parts are rendered with.
pub(super) struct Context<'a, 'q> {
    pub(super) tables: Tables<'q>,
    pub(super) semantics: &'q Semantics<'a>,
    pub(super) question: &'q Question<'a>,
}

/// Leaves that are computed from the same rows.
pub(super) struct Part<'a> {
    /// The leaves, by their position in the plan.
    pub(super) leaves: Vec<(usize, Leaf<'a>)>,
}

/// A part as SQL.
pub(super) struct Rendered {
    /// A query that must come before the calendar, for what is windowed.
    pub(super) atoms: Option<String>,
    /// The query with a row for each combination of what is grouped by.
    pub(super) values: String,
}

impl<'a> Part<'a> {
    /// Divides leaves into parts, in their order.
    pub(super) fn divide(leaves: &[Leaf<'a>]) -> Result<Vec<Self>> {
        let mut parts: Vec<Self> = Vec::new();
        for (at, leaf) in leaves.iter().enumerate() {
            let mut home = None;
            for (index, part) in parts.iter().enumerate() {
                let Some((_, first)) = part.leaves.first() else { continue };
                if together(first, leaf)? {
                    home = Some(index);
                    break;
                }
            }
            match home.and_then(|index| parts.get_mut(index)) {
                Some(part) => part.leaves.push((at, leaf.clone())),
                None => parts.push(Self { leaves: vec![(at, leaf.clone())] }),
            }
        }
        Ok(parts)
    }

    /// The positions of what the part is grouped by.
    pub(super) fn grouping(&self) -> &[usize] {
        self.leaves.first().map_or(&[], |(_, leaf)| leaf.grouping.as_slice())
    }

    /// The part as SQL; `number` names its tables.
    pub(super) fn render(&self, context: &Context<'a, '_>, number: usize) -> Result<Rendered> {
        let mut draft = self.draft(context, number, "f")?;
        draft.groups()?;
        match draft.is_windowed() {
            true => draft.windowed(),
            false => draft.plain(),
        }
    }

    /// The first and the last moment of the part's rows, if it is grouped by time.
    pub(super) fn extent(
        &self,
        context: &Context<'a, '_>,
        number: usize,
    ) -> Result<Option<String>> {
        let draft = self.draft(context, number, "e")?;
        if draft.by_time() { draft.extent().map(Some) } else { Ok(None) }
    }

    fn draft<'q, 'p>(
        &'p self,
        context: &'p Context<'a, 'q>,
        number: usize,
        alias: &str,
    ) -> Result<Draft<'a, 'q, 'p>> {
        let Some((_, first)) = self.leaves.first() else {
            return Err(Error::internal("a part of an answer without leaves"));
        };
        let alias = format!("{alias}{number}");
        let rows = Rows::new(context.tables, context.semantics, first.metric.0.view, &alias)?;
        Ok(Draft { context, part: self, first, rows, number, groups: Vec::new() })
    }
}

/// Whether two leaves can be computed together. Those over a window must have the same filters, and only
/// what can be added up is.
fn together(a: &Leaf<'_>, b: &Leaf<'_>) -> Result<bool> {
    let (first, second) = (measure_of(a.metric.0)?.1, measure_of(b.metric.0)?.1);
    let time = |leaf: &Leaf<'_>, measure: &Measure| {
        measure.time.clone().or_else(|| leaf.metric.0.view.time.clone())
    };
    let same = a.metric.0.view.semantic == b.metric.0.view.semantic
        && time(a, first) == time(b, second)
        && first.over_time == second.over_time
        && a.span == b.span
        && a.shift == b.shift
        && a.grouping == b.grouping
        && a.conversion == b.conversion;
    let plain = a.span == Span::Period && a.shift.is_zero() && first.over_time.is_none();
    Ok(same && (plain || (a.filters == b.filters && adds_up(first) && adds_up(second))))
}

fn adds_up(measure: &Measure) -> bool {
    measure.aggregate != Aggregate::CountDistinct && !measure.aggregate.is_quantile()
}

fn pick(take: Take, moment: &str, over: &[String]) -> String {
    let function = match take {
        Take::First => "min",
        Take::Last => "max",
    };
    let partition = match over.is_empty() {
        true => String::new(),
        false => format!("PARTITION BY {}", over.join(", ")),
    };
    format!("{moment} = {function}({moment}) OVER ({partition})")
}

/// The aggregate of a value; without one, of rows.
pub(super) fn aggregate(measure: &Measure, value: Option<&str>) -> String {
    aggregate_where(measure, value, None)
}

/// As [`aggregate`], of the rows that fulfil a condition.
fn aggregate_where(measure: &Measure, value: Option<&str>, condition: Option<&str>) -> String {
    let value = value.unwrap_or("*");
    let number = format!("CAST({value} AS DOUBLE)");
    let approximate = measure.method == Some(QuantileMethod::Approximate);
    let sql = match measure.aggregate {
        Aggregate::Sum => format!("sum({value})"),
        Aggregate::Count => format!("count({value})"),
        Aggregate::CountDistinct => format!("count(DISTINCT {value})"),
        Aggregate::Average => format!("avg({number})"),
        Aggregate::Min => format!("min({value})"),
        Aggregate::Max => format!("max({value})"),
        Aggregate::Median | Aggregate::Quantile => match (measure.p, approximate) {
            (None, false) => format!("median({number})"),
            (None, true) => format!("approx_median({number})"),
            (Some(p), true) => format!("approx_percentile_cont({number}, {p})"),
            (Some(p), false) => return quantile(&number, p, condition),
        },
    };
    match condition {
        Some(condition) => format!("{sql} FILTER (WHERE {condition})"),
        None => sql,
    }
}

/// The quantile of every value. The engine's own goes only so many millionths of the way between two values, which
/// shows where they lie far apart.
fn quantile(number: &str, p: f64, condition: Option<&str>) -> String {
    let condition = condition.map(|own| format!(" AND ({own})")).unwrap_or_default();
    let rows = format!("FILTER (WHERE {number} IS NOT NULL{condition})");
    let sorted = format!("array_sort(array_agg({number}) {rows})");
    let place = format!("(CAST(count({number}) {rows} AS DOUBLE) - 1) * {p}");
    let at = |round: &str| format!("array_element({sorted}, CAST({round}({place}) AS BIGINT) + 1)");
    let (low, high) = (at("floor"), at("ceil"));
    format!("({low} + ({place} - floor({place})) * ({high} - {low}))")
}

fn select(
    groups: &[(String, String)],
    values: &[(String, String)],
    from: &str,
    conditions: &[String],
) -> String {
    let columns: Vec<String> =
        groups.iter().chain(values).map(|(name, sql)| format!("{sql} AS \"{name}\"")).collect();
    let mut sql = format!("SELECT {}\n  FROM {from}", columns.join(", "));
    if !conditions.is_empty() {
        sql.push_str(&format!("\n  WHERE {}", conditions.join("\n    AND ")));
    }
    sql
}

fn group_by(columns: &[(String, String)]) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let list: Vec<String> = (1..=columns.len()).map(|at| at.to_string()).collect();
    format!("\n  GROUP BY {}", list.join(", "))
}
