//! One table's share of an answer: its rows, aggregated to what is asked for.
//!
//! ```text
//! plain      rows ─ period, dimensions ─► values
//! windowed   rows ─ days or periods ─► atoms ─ calendar ─► values of the periods whose window holds them
//! ```

use flywheel_base::{Error, Result};
use flywheel_project::Project;
use flywheel_project::metric::{Expression, Semantics};
use flywheel_project::resource::semantic::{Aggregate, Grain, Measure, Take};

use super::expand::{Follow, Leaf, Span};
use super::resolve::{By, Question, measure_of, time_of};
use super::rows::Rows;
use super::time::{Length, as_moment};

/// What parts are rendered with.
pub(super) struct Context<'a, 'q> {
    pub(super) project: &'q Project,
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
    /// The grain by which `atoms`, or else `values`, name their time in `t`; none without time.
    pub(super) grain: Option<Grain>,
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
    pub(super) fn render<'q>(&self, context: &Context<'a, 'q>, number: usize) -> Result<Rendered> {
        let Some((_, first)) = self.leaves.first() else {
            return Err(Error::internal("a part of an answer without leaves"));
        };
        let alias = format!("f{number}");
        let rows = Rows::new(context.project, context.semantics, first.metric.0.view, &alias)?;
        let mut draft = Draft { context, part: self, first, rows, number, groups: Vec::new() };
        draft.groups()?;
        let windowed = draft.by_time() && (first.span != Span::Period || !first.shift.is_zero());
        match windowed {
            true => draft.windowed(),
            false => draft.plain(),
        }
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
    !matches!(measure.aggregate, Aggregate::CountDistinct | Aggregate::Median)
}

struct Draft<'a, 'q, 'p> {
    context: &'p Context<'a, 'q>,
    part: &'p Part<'a>,
    first: &'p Leaf<'a>,
    rows: Rows<'a, 'q>,
    number: usize,
    /// What is grouped by besides time: the column's name and its SQL.
    groups: Vec<(String, String)>,
}

impl<'a, 'p> Draft<'a, '_, 'p> {
    fn groups(&mut self) -> Result<()> {
        for at in &self.first.grouping {
            let Some(By::Dimension(group)) = self.context.question.by.get(*at) else { continue };
            let path = self.context.semantics.path(self.first.metric.0.view, &group.parts)?;
            let mut sql = self.rows.column(&path)?;
            if let Some(grain) = group.grain {
                sql = self.context.question.calendar.period(grain, &sql);
            }
            self.groups.push((format!("d{at}"), sql));
        }
        Ok(())
    }

    fn by_time(&self) -> bool {
        let by = &self.context.question.by;
        self.first.grouping.iter().any(|at| by.get(*at) == Some(&By::Time))
    }

    /// The moment a row is counted by, if it is needed.
    fn moment(&mut self) -> Result<String> {
        let (name, dimension) = time_of(self.first.metric.0)?;
        Ok(self.rows.moment(name, dimension))
    }

    /// The conditions that every row must fulfil, the leaves' own left out.
    fn common(&mut self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        if let Some(filter) = &self.context.question.filter {
            all.push(self.rows.condition(filter)?);
        }
        if let Some(follow) = self.first.conversion.clone() {
            all.push(self.followed(&follow)?);
        }
        Ok(all)
    }

    /// The conditions of one leaf.
    fn own(&mut self, leaf: &Leaf<'a>) -> Result<Option<String>> {
        let mut all = Vec::new();
        for text in &leaf.filters {
            let parsed = Expression::parse(text).map_err(|mistake| mistake.into_error(text))?;
            all.push(self.rows.condition(&parsed)?);
        }
        Ok((!all.is_empty()).then(|| all.join(" AND ")))
    }

    /// The range of the question, moved by the leaf's shift.
    fn range(&mut self, widen: bool) -> Result<Vec<String>> {
        let range = &self.context.question.range;
        let (from, to) = (range.from.clone().filter(|_| !widen), range.to.clone());
        let mut all = Vec::new();
        for (bound, sign) in [(from, ">="), (to, "<")] {
            let Some(bound) = bound else { continue };
            let moment = self.moment()?;
            let bound = self.first.shift.moved(&bound, '-');
            all.push(format!("{moment} {sign} {}", as_moment(&bound)));
        }
        Ok(all)
    }

    /// Whether a row was followed by one of another table.
    fn followed(&mut self, follow: &Follow<'a>) -> Result<String> {
        let context = self.context;
        let (view, other) = (self.first.metric.0.view, follow.to.view);
        let mut to =
            Rows::new(context.project, context.semantics, other, &format!("c{}", self.number))?;
        let mut all = Vec::new();
        let keys = |view: &flywheel_project::resource::semantic::Semantic, name: &str| {
            view.entities.get(name).map(|entity| entity.columns(name)).unwrap_or_default()
        };
        for (left, right) in keys(view, follow.entity).iter().zip(keys(other, follow.entity)) {
            all.push(format!("{} = {}", to.key(&right), self.rows.key(left)));
        }
        let before = self.moment()?;
        let (name, dimension) = time_of(follow.to)?;
        let after = to.moment(name, dimension);
        all.push(format!("{after} >= {before}"));
        all.push(format!("{after} <= {}", Length::of(follow.within).moved(&before, '+')));
        if view.semantic == other.semantic {
            // A row does not follow itself.
            let primary = view.entities.iter().find(|(_, entity)| {
                entity.kind == flywheel_project::resource::semantic::EntityKind::Primary
            });
            match primary.map(|(name, entity)| entity.columns(name)) {
                Some(columns) => {
                    let same =
                        columns.iter().map(|c| format!("{} = {}", to.key(c), self.rows.key(c)));
                    let same: Vec<String> = same.collect();
                    all.push(format!("NOT ({})", same.join(" AND ")));
                }
                None => all.push(format!("{after} > {before}")),
            }
        }
        if let Some(text) = &follow.to.metric.filter {
            let parsed = Expression::parse(text).map_err(|mistake| mistake.into_error(text))?;
            all.push(to.condition(&parsed)?);
        }
        Ok(format!("EXISTS (SELECT 1 FROM {} WHERE {})", to.from(), all.join(" AND ")))
    }

    /// Leaves without a window: one pass over the rows.
    fn plain(mut self) -> Result<Rendered> {
        let grain = self.context.question.grain.filter(|_| self.by_time());
        let mut columns = self.grouped();
        if let Some(grain) = grain {
            let moment = self.moment()?;
            columns.push(("t".to_owned(), self.context.question.calendar.period(grain, &moment)));
        }
        if measure_of(self.first.metric.0)?.1.over_time.is_some() {
            return self.at_one_moment(&columns, grain);
        }
        let mut conditions = self.common()?;
        conditions.extend(self.range(false)?);
        let leaves = self.part.leaves.clone();
        let (mut values, mut present) = (Vec::new(), Vec::new());
        let mut every = true;
        for (at, leaf) in &leaves {
            let (name, measure) = measure_of(leaf.metric.0)?;
            let value = self.rows.measure(name);
            let own = self.own(leaf)?;
            every &= own.is_some();
            // A single leaf filters its rows; several filter what each adds up.
            match own {
                Some(own) if leaves.len() == 1 => {
                    conditions.push(own);
                    values.push((format!("v{at}"), aggregate(measure, value.as_deref())));
                }
                Some(own) => {
                    let filter = format!(" FILTER (WHERE {own})");
                    let mut sql = aggregate(measure, value.as_deref()) + &filter;
                    if matches!(measure.aggregate, Aggregate::Count | Aggregate::CountDistinct) {
                        sql = format!("NULLIF({sql}, 0)");
                    }
                    values.push((format!("v{at}"), sql));
                    present.push(format!("count(*){filter} > 0"));
                }
                None => values.push((format!("v{at}"), aggregate(measure, value.as_deref()))),
            }
        }
        let mut sql = select(&columns, &values, &self.rows.from(), &conditions);
        if !columns.is_empty() {
            sql.push_str(&group_by(&columns));
            if every && !present.is_empty() {
                sql.push_str(&format!("\n  HAVING {}", present.join(" OR ")));
            }
        }
        Ok(Rendered { atoms: None, values: sql, grain })
    }

    /// What cannot be added up over time: rows of one moment of each period.
    fn at_one_moment(
        mut self,
        columns: &[(String, String)],
        grain: Option<Grain>,
    ) -> Result<Rendered> {
        let (mut inner, partition) = self.snapshot(columns)?;
        let mut over: Vec<String> = partition;
        if let Some((_, period)) = columns.iter().find(|(name, _)| name == "t") {
            over.insert(0, period.clone());
        }
        let extreme = self.extreme(&over)?;
        inner.push(("picked".to_owned(), extreme));
        let conditions = self.range(false)?;
        let from = format!("({}) AS s", select(&[], &inner, &self.rows.from(), &conditions));
        let outer: Vec<(String, String)> =
            columns.iter().map(|(name, _)| (name.clone(), format!("s.{name}"))).collect();
        let values = self.outer_values("s")?;
        let mut sql = select(&outer, &values, &from, &["s.picked".to_owned(), "s.kept".to_owned()]);
        if !outer.is_empty() {
            sql.push_str(&group_by(&outer));
        }
        Ok(Rendered { atoms: None, values: sql, grain })
    }

    /// The columns of rows of which one moment counts, and those each of which has its own moment.
    fn snapshot(
        &mut self,
        columns: &[(String, String)],
    ) -> Result<(Vec<(String, String)>, Vec<String>)> {
        let mut inner = columns.to_vec();
        let moment = self.snapshot_moment()?;
        inner.push(("at".to_owned(), moment));
        let mut kept = self.common()?;
        let leaves = self.part.leaves.clone();
        kept.extend(self.own(self.first)?);
        inner.push((
            "kept".to_owned(),
            if kept.is_empty() { "TRUE".to_owned() } else { kept.join(" AND ") },
        ));
        for (at, leaf) in &leaves {
            let value = self.rows.measure(measure_of(leaf.metric.0)?.0);
            inner.push((format!("m{at}"), value.unwrap_or_else(|| "1".to_owned())));
        }
        let mut per = Vec::new();
        let view = self.first.metric.0.view;
        let over_time = measure_of(self.first.metric.0)?.1.over_time.clone();
        for word in over_time.map(|over| over.per).unwrap_or_default() {
            let path = self.context.semantics.path(view, &[word])?;
            per.push(self.rows.column(&path)?);
        }
        Ok((inner, per))
    }

    /// The moment of a snapshot, as exact as its time is known.
    fn snapshot_moment(&mut self) -> Result<String> {
        let (_, dimension) = time_of(self.first.metric.0)?;
        let moment = self.moment()?;
        Ok(match dimension.grain {
            Some(grain) => as_moment(&self.context.question.calendar.period(grain, &moment)),
            None => moment,
        })
    }

    /// Whether a row lies at the first or last moment of its window.
    fn extreme(&mut self, over: &[String]) -> Result<String> {
        let moment = self.snapshot_moment()?;
        Ok(pick(self.take()?, &moment, over))
    }

    fn take(&self) -> Result<Take> {
        Ok(measure_of(self.first.metric.0)?
            .1
            .over_time
            .as_ref()
            .map_or(Take::Last, |over| over.take))
    }

    /// The values of rows that were prepared with their measures as columns.
    fn outer_values(&self, from: &str) -> Result<Vec<(String, String)>> {
        let mut values = Vec::new();
        for (at, leaf) in &self.part.leaves {
            let (_, measure) = measure_of(leaf.metric.0)?;
            values.push((format!("v{at}"), aggregate(measure, Some(&format!("{from}.m{at}")))));
        }
        Ok(values)
    }

    /// Leaves over windows: atoms first, then every period with the atoms its window holds.
    fn windowed(mut self) -> Result<Rendered> {
        let question = self.context.question;
        let grain = question.grain.ok_or_else(|| Error::internal("a window without periods"))?;
        let aligned = aligned(grain, self.first.span, self.first.shift);
        let base = if aligned { grain } else { Grain::Day };
        let moment = self.moment()?;
        let mut columns = self.grouped();
        columns.push(("t".to_owned(), question.calendar.period(base, &moment)));
        let mut conditions = self.range(true)?;
        conditions.extend(self.lower_bound(grain, &moment)?);
        let (_, measure) = measure_of(self.first.metric.0)?;
        let measure = measure.clone();
        let mut atoms;
        let groups: Vec<(String, String)> = self
            .groups
            .iter()
            .map(|(name, _)| (name.clone(), format!("a.{name}")))
            .chain([("t".to_owned(), "s.t".to_owned())])
            .collect();
        let calendar = self.calendar_join(grain, aligned);
        let name = format!("a{}", self.number);
        let joined = format!("calendar AS s JOIN {name} AS a ON {calendar}");
        if measure.over_time.is_some() {
            let (mut inner, per) = self.snapshot(&columns)?;
            let mut over = vec!["s.t".to_owned()];
            for (index, sql) in per.iter().enumerate() {
                inner.push((format!("p{index}"), sql.clone()));
                over.push(format!("a.p{index}"));
            }
            atoms = select(&[], &inner, &self.rows.from(), &conditions);
            let picked = pick(self.take()?, "a.\"at\"", &over);
            let mut prepared = groups.clone();
            prepared.push(("kept".to_owned(), "a.kept".to_owned()));
            prepared.push(("picked".to_owned(), picked));
            for (at, _) in &self.part.leaves {
                prepared.push((format!("m{at}"), format!("a.m{at}")));
            }
            let from = format!("({}) AS s", select(&[], &prepared, &joined, &[]));
            let outer: Vec<(String, String)> =
                groups.iter().map(|(name, _)| (name.clone(), format!("s.{name}"))).collect();
            let values = self.outer_values("s")?;
            let picked = ["s.picked".to_owned(), "s.kept".to_owned()];
            let sql = select(&outer, &values, &from, &picked) + &group_by(&outer);
            return Ok(Rendered { atoms: Some(atoms), values: sql, grain: Some(base) });
        }
        conditions.extend(self.common()?);
        conditions.extend(self.own(self.first)?);
        let leaves = self.part.leaves.clone();
        let (mut partial, mut values) = (Vec::new(), Vec::new());
        for (at, leaf) in &leaves {
            let (name, measure) = measure_of(leaf.metric.0)?;
            let value = self.rows.measure(name);
            let value = value.as_deref().unwrap_or("1");
            let column = format!("m{at}");
            match measure.aggregate {
                Aggregate::CountDistinct | Aggregate::Median => {
                    partial.push((column, value.to_owned()));
                    values.push((format!("v{at}"), aggregate(measure, Some(&format!("a.m{at}")))));
                }
                Aggregate::Average => {
                    partial.push((column, format!("sum(CAST({value} AS DOUBLE))")));
                    partial.push((format!("n{at}"), format!("count({value})")));
                    values.push((
                        format!("v{at}"),
                        format!("sum(a.m{at}) / NULLIF(sum(a.n{at}), 0)"),
                    ));
                }
                Aggregate::Count => {
                    partial.push((column, aggregate(measure, Some(value))));
                    values.push((format!("v{at}"), format!("sum(a.m{at})")));
                }
                Aggregate::Sum | Aggregate::Min | Aggregate::Max => {
                    partial.push((column, aggregate(measure, Some(value))));
                    values.push((format!("v{at}"), aggregate(measure, Some(&format!("a.m{at}")))));
                }
            }
        }
        atoms = select(&columns, &partial, &self.rows.from(), &conditions);
        match measure.aggregate {
            Aggregate::CountDistinct => atoms = atoms.replacen("SELECT", "SELECT DISTINCT", 1),
            Aggregate::Median => {}
            _ => atoms.push_str(&group_by(&columns)),
        }
        let sql = select(&groups, &values, &joined, &[]) + &group_by(&groups);
        Ok(Rendered { atoms: Some(atoms), values: sql, grain: Some(base) })
    }

    /// The earliest moment that any window looks at, if the question has a beginning.
    fn lower_bound(&mut self, grain: Grain, moment: &str) -> Result<Vec<String>> {
        let question = self.context.question;
        let Some(from) = question.range.from.clone() else { return Ok(Vec::new()) };
        let start = question.calendar.period(grain, &as_moment(&from));
        let start = self.first.shift.moved(&start, '-');
        let low = match self.first.span {
            Span::Cumulative => return Ok(Vec::new()),
            // A period that is cut is compared with one that is cut alike.
            Span::Period => self.first.shift.moved(&from, '-'),
            Span::Rolling(window) => Length::of(window).moved(&start, '-'),
            Span::ToDate(period) => question.calendar.period(period, &as_moment(&start)),
        };
        Ok(vec![format!("{moment} >= {}", as_moment(&low))])
    }

    /// Which atoms count for a period of the calendar.
    fn calendar_join(&self, grain: Grain, aligned: bool) -> String {
        let calendar = self.context.question.calendar;
        let start = self.first.shift.moved("s.t", '-');
        if aligned && self.first.span == Span::Period {
            return format!("a.t = {start}");
        }
        let end = Length::of(grain.step()).moved(&start, '+');
        let low = match self.first.span {
            Span::Cumulative => return format!("a.t < {end}"),
            Span::Period => start,
            Span::Rolling(window) => Length::of(window).moved(&end, '-'),
            Span::ToDate(period) => {
                // As of the period's last day.
                let last = match grain.is_within_day() {
                    true => start,
                    false => format!("{end} - INTERVAL '1 days'"),
                };
                calendar.period(period, &as_moment(&last))
            }
        };
        format!("a.t >= {low} AND a.t < {end}")
    }

    fn grouped(&self) -> Vec<(String, String)> {
        self.groups.clone()
    }
}

/// Whether windows begin and end where periods do, so that atoms can be whole periods.
fn aligned(grain: Grain, span: Span, shift: Length) -> bool {
    if grain.is_within_day() || grain == Grain::Day {
        return true;
    }
    let step = Length::of(grain.step());
    let shifted = shift.is_zero()
        || match grain {
            Grain::Week => shift.months == 0 && shift.seconds == 0 && shift.days % 7 == 0,
            _ => {
                shift.days == 0
                    && shift.seconds == 0
                    && step.months > 0
                    && shift.months % step.months == 0
            }
        };
    shifted
        && match span {
            Span::Period | Span::Cumulative => true,
            Span::ToDate(period) => grain.nests_in(period),
            Span::Rolling(window) => {
                let window = Length::of(window);
                match grain {
                    Grain::Week => {
                        window.months == 0 && window.days % 7 == 0 && window.seconds == 0
                    }
                    _ => {
                        window.days == 0
                            && window.seconds == 0
                            && step.months > 0
                            && window.months % step.months == 0
                    }
                }
            }
        }
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
fn aggregate(measure: &Measure, value: Option<&str>) -> String {
    let value = value.unwrap_or("*");
    match measure.aggregate {
        Aggregate::Sum => format!("sum({value})"),
        Aggregate::Count => format!("count({value})"),
        Aggregate::CountDistinct => format!("count(DISTINCT {value})"),
        Aggregate::Average => format!("avg(CAST({value} AS DOUBLE))"),
        Aggregate::Min => format!("min({value})"),
        Aggregate::Max => format!("max({value})"),
        Aggregate::Median => format!("median(CAST({value} AS DOUBLE))"),
    }
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
