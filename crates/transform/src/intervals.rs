//! Which times of a model with batches are built: the ledger behind `system.intervals`.
//!
//! An interval holds its first moment and not its last. What is built is kept with the build that did it,
//! so a promotion or a rollback of an environment moves it along. A batch counts as built once it is
//! over; what is missing between batches is built with the next increment.

use std::fmt;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Timelike, Utc};
use flywheel_base::{Error, Result, Timestamp};
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::{BatchSize, IncrementalStrategy, Model, Project};
use flywheel_state::Store;
use serde::Serialize;

use crate::build::BuildOptions;
use crate::build::plan::Plan;
use crate::names;

/// How many intervals are kept of a model; beyond, the oldest are put together.
const SPANS_MAX: usize = 1_000;

/// A stretch of time: `from` belongs to it, `to` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Interval {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

impl Interval {
    /// An interval.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it ends before it begins.
    pub fn new(from: Timestamp, to: Timestamp) -> Result<Self> {
        match from < to {
            true => Ok(Self { from, to }),
            false => Err(Error::invalid(format!("the interval from {from} to {to} is empty"))
                .hint("Name a later end; the end itself is not part of it.")),
        }
    }

    /// The least number of whole batches that hold it.
    fn outward(self, size: BatchSize) -> Self {
        let end = start_of(size, self.to);
        let to = if end == self.to { end } else { after(size, end) };
        Self { from: start_of(size, self.from), to }
    }
}

/// An interval that is built, and when that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    interval: Interval,
    built_at: Timestamp,
}

/// Intervals that are built: in order, and none of them within another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals {
    spans: Vec<Span>,
}

impl Intervals {
    /// Reads the text; nothing if another program version wrote it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut spans = Vec::new();
        for part in text.split_whitespace() {
            let moments: Option<Vec<Timestamp>> = part
                .split(',')
                .map(|micros| micros.parse().ok().map(Timestamp::from_micros))
                .collect();
            let [from, to, built_at]: [Timestamp; 3] = moments?.try_into().ok()?;
            spans.push(Span { interval: Interval { from, to }, built_at });
        }
        Some(Self { spans })
    }

    /// The first moment that is built.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.spans.first().map(|span| span.interval.from)
    }

    /// Whether nothing is built.
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Notes that `new` was built; what was built earlier of the same time is forgotten.
    pub(crate) fn add(&mut self, new: Interval, built_at: Timestamp) {
        if new.from >= new.to {
            return;
        }
        let mut spans = Vec::with_capacity(self.spans.len() + 2);
        for span in &self.spans {
            let old = span.interval;
            if old.from < new.from {
                let interval = Interval { to: old.to.min(new.from), ..old };
                spans.push(Span { interval, ..*span });
            }
            if old.to > new.to {
                let interval = Interval { from: old.from.max(new.to), ..old };
                spans.push(Span { interval, ..*span });
            }
        }
        spans.push(Span { interval: new, built_at });
        spans.sort_by_key(|span| span.interval);
        self.spans.clear();
        for span in spans {
            match self.spans.last_mut() {
                Some(last)
                    if last.interval.to == span.interval.from && last.built_at == span.built_at =>
                {
                    last.interval.to = span.interval.to;
                }
                _ => self.spans.push(span),
            }
        }
        self.put_oldest_together();
    }

    /// Forgets when the oldest intervals were built, not that they were.
    fn put_oldest_together(&mut self) {
        let mut at = 0;
        while self.spans.len() > SPANS_MAX && at + 1 < self.spans.len() {
            let second = self.spans.get(at + 1).copied();
            let (Some(first), Some(second)) = (self.spans.get_mut(at), second) else { break };
            if first.interval.to != second.interval.from {
                at += 1;
                continue;
            }
            first.built_at = first.built_at.max(second.built_at);
            first.interval.to = second.interval.to;
            self.spans.remove(at + 1);
        }
    }

    /// What is missing from `begin`, or else from what is built first, until `until`.
    pub(crate) fn gaps(&self, begin: Option<Timestamp>, until: Timestamp) -> Vec<Interval> {
        let Some(mut from) = begin.or_else(|| self.first()) else { return Vec::new() };
        let mut gaps = Vec::new();
        for span in &self.spans {
            let to = span.interval.from.min(until);
            if from < to {
                gaps.push(Interval { from, to });
            }
            from = from.max(span.interval.to);
        }
        if from < until {
            gaps.push(Interval { from, to: until });
        }
        gaps
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, span) in self.spans.iter().enumerate() {
            let Interval { from, to } = span.interval;
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{},{},{}", from.micros(), to.micros(), span.built_at.micros())?;
        }
        Ok(())
    }
}

/// What an increment of a model with batches builds again: everything from `since` on, and `gaps` before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// What is missing before.
    pub(crate) gaps: Vec<Interval>,
    /// Where the last batches begin.
    pub(crate) since: Timestamp,
}

/// A model that is built in batches of time.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    size: BatchSize,
    lookback: u32,
    /// The first moment that is to be built, if it is declared.
    pub(crate) begin: Option<Timestamp>,
}

impl Batches {
    /// Those of `model`; none if it is not built that way.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if its `begin` is no date.
    pub(crate) fn of(model: &Model) -> Result<Option<Self>> {
        let config = &model.config;
        let (Materialized::Incremental, IncrementalStrategy::Microbatch, Some(size)) =
            (config.materialized, config.incremental_strategy, config.batch_size)
        else {
            return Ok(None);
        };
        let begin = config.begin.as_deref().map(Timestamp::parse).transpose();
        let begin = begin.map_err(|error| error.context("its begin"))?;
        let begin = begin.map(|begin| start_of(size, begin));
        Ok(Some(Self { size, lookback: config.lookback, begin }))
    }

    /// The first moment of the batch that is not over yet.
    pub(crate) fn until(&self, now: Timestamp) -> Timestamp {
        start_of(self.size, now)
    }

    /// The first moment of the batch in which `at` lies.
    pub(crate) fn start(&self, at: Timestamp) -> Timestamp {
        start_of(self.size, at)
    }

    /// What an increment builds.
    pub(crate) fn window(&self, built: &Intervals, now: Timestamp) -> Window {
        let since = before(self.size, self.until(now), self.lookback);
        Window { gaps: built.gaps(self.begin, since), since }
    }

    /// What is built, where a build of an older program did not note it: everything until then.
    pub(crate) fn assumed(&self, built_at: Timestamp) -> Intervals {
        let to = self.until(built_at);
        let from = self.begin.unwrap_or_else(|| before(self.size, to, 1));
        let mut built = Intervals::default();
        built.add(Interval { from, to }, built_at);
        built
    }

    /// `interval` in whole batches.
    pub(crate) fn outward(&self, interval: Interval) -> Interval {
        interval.outward(self.size)
    }
}

/// Refuses an interval of which the models that are built know nothing.
pub(crate) fn require_times(plan: &Plan<'_>, options: &BuildOptions<'_>) -> Result<()> {
    if options.interval.is_none() {
        return Ok(());
    }
    if options.full_refresh {
        return Err(Error::invalid("an interval is to be built, and everything anew")
            .hint("Leave out either --from and --to, or --full-refresh."));
    }
    let selected = plan.selected.iter().filter_map(|name| plan.models.get(name).copied());
    let (known, unknown): (Vec<&Model>, Vec<&Model>) = selected
        .filter(|model| model.config.materialized == Materialized::Incremental)
        .partition(|model| model.config.event_time.is_some());
    let hint = "Set event_time in its config to the column that says when a row happened.";
    match unknown.first() {
        Some(model) if !plan.whole => Err(Error::invalid(format!(
            "model \"{}\" ({}) does not say when its rows happened",
            model.name, model.path
        ))
        .hint(hint)),
        _ if known.is_empty() => Err(Error::invalid(
            "an interval is to be built, and no selected model is incremental with event_time",
        )
        .hint(hint)),
        _ => Ok(()),
    }
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IntervalRow {
    /// The environment.
    pub environment: String,
    /// The model, `schema.name`.
    pub model: String,
    /// The interval.
    #[serde(flatten)]
    pub interval: Interval,
    /// When it was built, by the logical clock; none if it is missing.
    pub built_at: Option<Timestamp>,
}

/// Which times of each model with batches are built and which are missing, in each environment.
///
/// # Errors
/// The store's own; [`flywheel_base::ErrorKind::Invalid`] if a model's `begin` is no date.
pub fn intervals(project: &Project, store: &Store, now: Timestamp) -> Result<Vec<IntervalRow>> {
    let mut rows = Vec::new();
    for environment in store.environments()? {
        for build in store.builds_of(&environment.name)? {
            let built = build.intervals.as_deref().and_then(Intervals::parse);
            let (Some(built), Some(model)) = (built, names::model(project, &build.name)) else {
                continue;
            };
            let row = |interval, built_at| IntervalRow {
                environment: environment.name.clone(),
                model: build.name.clone(),
                interval,
                built_at,
            };
            let mut own: Vec<IntervalRow> =
                built.spans.iter().map(|span| row(span.interval, Some(span.built_at))).collect();
            if let Some(batches) = Batches::of(model)? {
                let gaps = built.gaps(batches.begin, batches.until(now)).into_iter();
                own.extend(gaps.map(|gap| row(gap, None)));
            }
            own.sort_by_key(|row| row.interval);
            rows.extend(own);
        }
    }
    Ok(rows)
}

/// The first moment of the batch in which `at` lies, in UTC.
fn start_of(size: BatchSize, at: Timestamp) -> Timestamp {
    let moment = at.datetime();
    let date = moment.date_naive();
    let hour = if size == BatchSize::Hour { moment.hour() } else { 0 };
    let date = match size {
        BatchSize::Hour | BatchSize::Day => Some(date),
        BatchSize::Month => date.with_day(1),
        BatchSize::Year => NaiveDate::from_ymd_opt(date.year(), 1, 1),
    };
    let start = date.and_then(|date| date.and_hms_opt(hour, 0, 0));
    start.map_or(at, |start| timestamp(start.and_utc()))
}

/// The first moment of the batch after the one that starts at `start`.
fn after(size: BatchSize, start: Timestamp) -> Timestamp {
    let moment = start.datetime();
    let next = match size {
        BatchSize::Hour => moment.checked_add_signed(chrono::TimeDelta::hours(1)),
        BatchSize::Day => moment.checked_add_days(Days::new(1)),
        BatchSize::Month => moment.checked_add_months(Months::new(1)),
        BatchSize::Year => moment.checked_add_months(Months::new(12)),
    };
    next.map_or(start, timestamp)
}

/// The first moment of the batch that lies `count` batches before the one that starts at `start`.
fn before(size: BatchSize, start: Timestamp, count: u32) -> Timestamp {
    let moment = start.datetime();
    let earlier = match size {
        BatchSize::Hour => moment.checked_sub_signed(chrono::TimeDelta::hours(i64::from(count))),
        BatchSize::Day => moment.checked_sub_days(Days::new(u64::from(count))),
        BatchSize::Month => moment.checked_sub_months(Months::new(count)),
        BatchSize::Year => moment.checked_sub_months(Months::new(count.saturating_mul(12))),
    };
    earlier.map_or(start, timestamp)
}

fn timestamp(moment: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(moment.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn interval(from: &str, to: &str) -> Interval {
        Interval::new(at(from), at(to)).unwrap()
    }

    fn told(intervals: &[Interval]) -> Vec<String> {
        intervals.iter().map(|one| format!("{}..{}", one.from.date(), one.to.date())).collect()
    }

    #[test]
    fn what_is_built_again_takes_the_place_of_what_was_and_gaps_are_what_is_left() {
        let mut built = Intervals::default();
        assert!(built.gaps(None, at("2024-05-10")).is_empty(), "nothing is known to be missing");
        assert_eq!(
            told(&built.gaps(Some(at("2024-05-01")), at("2024-05-03"))),
            ["2024-05-01..2024-05-03"]
        );
        built.add(interval("2024-05-03", "2024-05-06"), at("2024-06-01"));
        built.add(interval("2024-05-08", "2024-05-09"), at("2024-06-01"));
        let gaps = |built: &Intervals| told(&built.gaps(Some(at("2024-05-01")), at("2024-05-10")));
        assert_eq!(
            gaps(&built),
            ["2024-05-01..2024-05-03", "2024-05-06..2024-05-08", "2024-05-09..2024-05-10"]
        );
        built.add(interval("2024-05-04", "2024-05-05"), at("2024-06-02"));
        assert_eq!(built.spans.len(), 4, "the middle is newer than what surrounds it: {built}");
        assert_eq!(Intervals::parse(&built.to_string()), Some(built.clone()));
        built.add(interval("2024-05-01", "2024-05-10"), at("2024-06-03"));
        assert_eq!((built.spans.len(), gaps(&built).len()), (1, 0));
        assert_eq!(Intervals::parse("1,2"), None);
        assert_eq!(Intervals::parse(""), Some(Intervals::default()));
    }

    #[test]
    fn a_ledger_does_not_grow_for_ever() {
        let mut built = Intervals::default();
        let day = |n: i64| at("2020-01-01").plus_micros(n * 86_400_000_000);
        for n in 0..3 * i64::try_from(SPANS_MAX).unwrap() {
            built.add(Interval { from: day(n), to: day(n + 1) }, day(n + 1));
        }
        assert!(built.spans.len() <= SPANS_MAX);
        assert!(built.gaps(Some(day(0)), day(100)).is_empty());
    }

    #[test]
    fn batches_begin_where_their_calendar_says() {
        let cases = [
            (BatchSize::Hour, "2024-03-31 13:00:00", "2024-03-31 12:00:00"),
            (BatchSize::Day, "2024-03-31", "2024-03-30"),
            (BatchSize::Month, "2024-03-01", "2024-02-01"),
            (BatchSize::Year, "2024-01-01", "2023-01-01"),
        ];
        for (size, start, earlier) in cases {
            assert_eq!(start_of(size, at("2024-03-31 13:45:00")), at(start), "{size:?}");
            assert_eq!(before(size, at(start), 1), at(earlier), "{size:?}");
            assert_eq!(after(size, at(earlier)), at(start), "{size:?}");
        }
        let odd = interval("2024-05-01 10:00:00", "2024-05-02 00:00:01");
        assert_eq!(told(&[odd.outward(BatchSize::Day)]), ["2024-05-01..2024-05-03"]);
        assert!(Interval::new(at("2024-05-02"), at("2024-05-02")).is_err());
    }
}
