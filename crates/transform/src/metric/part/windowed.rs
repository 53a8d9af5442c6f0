//! Parts over windows: atoms first, then every period of the calendar with the atoms its window holds.

use flywheel_base::{Error, Result};
use flywheel_project::resource::semantic::{Aggregate, Grain};

use super::super::expand::Span;
use super::super::resolve::measure_of;
use super::super::time::{Length, as_moment};
use super::draft::Draft;
use super::{Rendered, aggregate, group_by, pick, select};

impl Draft<'_, '_, '_> {
    /// Leaves over windows: atoms first, then every period with the atoms its window holds.
    pub(super) fn windowed(mut self) -> Result<Rendered> {
        let question = self.context.question;
        let grain = question.grain.ok_or_else(|| Error::internal("a window without periods"))?;
        // A window that ends with the range need not begin where a period does.
        let rolling = matches!(self.first.span, Span::Rolling(_));
        let cut = rolling && grain > Grain::Day && question.range.to.is_some();
        let aligned = !cut && aligned(grain, self.first.span, self.first.shift);
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
            return Ok(Rendered { atoms: Some(atoms), values: sql });
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
                // Those of the days of a window do not say what that of the window is: its values do.
                Aggregate::CountDistinct | Aggregate::Median | Aggregate::Quantile => {
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
            Aggregate::Median | Aggregate::Quantile => {}
            _ => atoms.push_str(&group_by(&columns)),
        }
        let sql = select(&groups, &values, &joined, &[]) + &group_by(&groups);
        Ok(Rendered { atoms: Some(atoms), values: sql })
    }

    /// The earliest moment that any window looks at, if the question has a beginning.
    pub(super) fn lower_bound(&mut self, grain: Grain, moment: &str) -> Result<Vec<String>> {
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
    pub(super) fn calendar_join(&self, grain: Grain, aligned: bool) -> String {
        let calendar = self.context.question.calendar;
        let start = self.first.shift.moved("s.t", '-');
        if aligned && self.first.span == Span::Period {
            return format!("a.t = {start}");
        }
        let end = Length::of(grain.step()).moved(&start, '+');
        // What is as of a period's end is as of the range's end where that comes before.
        let to = self.context.question.range.to.as_ref().filter(|_| grain > Grain::Day && !aligned);
        let (end, day) = match (to, self.first.span) {
            (Some(to), Span::Rolling(_) | Span::ToDate(_)) => {
                let to = self.first.shift.moved(to, '-');
                (format!("LEAST({}, {})", as_moment(&end), as_moment(&to)), "1 microsecond")
            }
            _ => (end, "1 days"),
        };
        let low = match self.first.span {
            Span::Cumulative => return format!("a.t < {end}"),
            Span::Period => start,
            Span::Rolling(window) => Length::of(window).moved(&end, '-'),
            Span::ToDate(period) => {
                // As of the period's last day.
                let last = match grain.is_within_day() {
                    true => start,
                    false => format!("{end} - INTERVAL '{day}'"),
                };
                calendar.period(period, &as_moment(&last))
            }
        };
        format!("a.t >= {low} AND a.t < {end}")
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
