//! Which days belong to a named day: a holiday, a weekend day that is worked, or a day of the project's own.
//!
//! A day has one mark at most: the named day itself before the days around another, the project's own before holidays, and
//! calendars in the order of the learner's file.

use std::collections::BTreeMap;

use chrono::{Datelike, Days, NaiveDate};
use flywheel_algo::forecast::days::{Mark, Place};
use flywheel_base::holiday::{DayKind, HolidayCalendar, Year};
use flywheel_base::{Error, Result, Timestamp};
use flywheel_project::resource::learner::ForecastCalendar;
use flywheel_project::resource::project_file::OwnDay;

/// Days before a named day that it may move.
const LEAD_DAYS: u32 = 3;
/// Days after it.
const LAG_DAYS: u32 = 2;
/// A run of one name that is interrupted by no more days goes on: Mid-Autumn may lie inside National Day.
const PAUSE_DAYS: i64 = 2;

/// The marks of some days on end.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    first: i64,
    days: Vec<Option<Mark>>,
    names: Vec<String>,
}

impl Marks {
    /// The marks from one day to another, in days since the epoch, both in it.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the project's own days are asked for and it has none.
    pub(super) fn of(
        calendars: &[ForecastCalendar],
        own: &BTreeMap<String, OwnDay>,
        first: i64,
        last: i64,
    ) -> Result<Self> {
        if calendars.is_empty() {
            return Ok(Self::default());
        }
        let mut lists: Vec<Vec<(i64, String)>> = Vec::new();
        // A little more on both sides, so that a run is seen from its first day.
        let around = u32::max(LEAD_DAYS, LAG_DAYS) + 31;
        let (from, to) = (first - i64::from(around), last + i64::from(around));
        let mut names = Vec::new();
        if calendars.contains(&ForecastCalendar::Own) {
            if own.is_empty() {
                return Err(Error::invalid(
                    "calendar: own, but flywheel.yaml declares no days of its own",
                )
                .hint("Declare them: `calendar: {days: {double-eleven: {on: [\"11-11\"]}}}`."));
            }
            for (name, day) in own {
                names.push(format!("own {name} {:?}", day.on));
                lists.push(own_days(name, day, from, to));
            }
        }
        for calendar in calendars {
            let calendar = match calendar {
                ForecastCalendar::Cn => HolidayCalendar::Cn,
                ForecastCalendar::Us => HolidayCalendar::Us,
                ForecastCalendar::Uk => HolidayCalendar::Uk,
                ForecastCalendar::Own => continue,
            };
            names.push(calendar.word().to_owned());
            lists.push(holidays(calendar, from, to));
        }
        let mut found: BTreeMap<i64, Mark> = BTreeMap::new();
        let runs: Vec<Run> = lists.iter().flat_map(|list| runs(list)).collect();
        for run in &runs {
            for day in &run.days {
                let place = Place::On(u32::try_from(day - run.first()).unwrap_or_default());
                found.entry(*day).or_insert_with(|| run.mark(place));
            }
        }
        for distance in 1..=u32::max(LEAD_DAYS, LAG_DAYS) {
            let away = i64::from(distance);
            for run in runs.iter().filter(|run| !run.is_made_up()) {
                if distance <= LEAD_DAYS {
                    let mark = || run.mark(Place::Before(distance));
                    found.entry(run.first() - away).or_insert_with(mark);
                }
                if distance <= LAG_DAYS {
                    let mark = || run.mark(Place::After(distance));
                    found.entry(run.last() + away).or_insert_with(mark);
                }
            }
        }
        let days = (first..=last).map(|day| found.get(&day).cloned()).collect();
        Ok(Self { first, days, names })
    }

    /// Whether no day has a mark.
    pub(super) fn is_empty(&self) -> bool {
        self.days.iter().all(Option::is_none)
    }

    /// What was looked at: calendars, and the project's own days with when they are.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The marks of a series of so many days whose last one is `through`, and of all days behind it.
    pub(super) fn through(&self, through: i64, days: usize) -> Vec<Option<Mark>> {
        let begin = through - i64::try_from(days).unwrap_or_default() + 1;
        let skipped = usize::try_from(begin - self.first).ok();
        match skipped.and_then(|skipped| self.days.get(skipped..)) {
            Some(rest) if rest.len() >= days => rest.to_vec(),
            // Without a calendar no day has a mark.
            _ => vec![None; days],
        }
    }
}

/// Days of one name that follow each other.
struct Run {
    name: String,
    days: Vec<i64>,
}

impl Run {
    fn first(&self) -> i64 {
        self.days.first().copied().unwrap_or_default()
    }

    fn last(&self) -> i64 {
        self.days.last().copied().unwrap_or_default()
    }

    /// Whether it is only worked for a day off elsewhere, which nobody looks forward to.
    fn is_made_up(&self) -> bool {
        self.name.ends_with(DayKind::MakeUp.word())
    }

    fn mark(&self, place: Place) -> Mark {
        Mark { day: self.name.clone(), place }
    }
}

/// The runs of each name, by name and day.
fn runs(days: &[(i64, String)]) -> Vec<Run> {
    let mut sorted: Vec<&(i64, String)> = days.iter().collect();
    sorted.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
    let mut runs: Vec<Run> = Vec::new();
    for (day, name) in sorted {
        match runs.last_mut() {
            Some(run) if run.name == *name && day - run.last() <= PAUSE_DAYS => run.days.push(*day),
            _ => runs.push(Run { name: name.clone(), days: vec![*day] }),
        }
    }
    runs
}

fn own_days(name: &str, own: &OwnDay, from: i64, to: i64) -> Vec<(i64, String)> {
    let falls = |date: NaiveDate| own.on.iter().any(|span| span.0.contains(date));
    let on = |day: &i64| date(*day).is_some_and(falls);
    (from..=to).filter(on).map(|day| (day, name.to_owned())).collect()
}

fn holidays(calendar: HolidayCalendar, from: i64, to: i64) -> Vec<(i64, String)> {
    let mut year: Option<(i32, Year)> = None;
    let mut found = Vec::new();
    for day in from..=to {
        let Some(date) = date(day) else { continue };
        let known = match year.take() {
            Some((number, known)) if number == date.year() => known,
            _ => calendar.year(date.year()),
        };
        let what = known.day(date);
        year = Some((date.year(), known));
        let name = match (what.holiday, what.kind) {
            (Some(holiday), _) => holiday.name,
            (None, DayKind::MakeUp) => DayKind::MakeUp.word(),
            (None, _) => continue,
        };
        found.push((day, format!("{}.{name}", calendar.word())));
    }
    found
}

/// A day since the epoch as a date.
fn date(day: i64) -> Option<NaiveDate> {
    let epoch = Timestamp::from_day(0).datetime().date_naive();
    match u64::try_from(day) {
        Ok(days) => epoch.checked_add_days(Days::new(days)),
        Err(_) => epoch.checked_sub_days(Days::new(day.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> i64 {
        Timestamp::parse(text).unwrap().day()
    }

    fn own() -> BTreeMap<String, OwnDay> {
        serde_json::from_value(serde_json::json!({
            "double-eleven": {"on": ["11-11"]}, "opening": {"on": ["2025-10-07"]},
        }))
        .unwrap()
    }

    #[test]
    fn a_holiday_marks_its_days_and_those_around_it() {
        let calendars = [ForecastCalendar::Cn, ForecastCalendar::Own];
        let marks = Marks::of(&calendars, &own(), day("2025-01-01"), day("2025-12-31")).unwrap();
        let at = |text: &str| {
            let found = marks.days[usize::try_from(day(text) - day("2025-01-01")).unwrap()].clone();
            found.map(|mark| (mark.day, mark.place))
        };
        let spring = |place| Some(("cn.spring-festival".to_owned(), place));
        assert_eq!(at("2025-01-28"), spring(Place::On(0)));
        assert_eq!(at("2025-02-04"), spring(Place::On(7)));
        assert_eq!(at("2025-01-27"), spring(Place::Before(1)));
        assert_eq!(at("2025-02-06"), spring(Place::After(2)));
        assert_eq!(at("2025-02-07"), None);
        // A weekend day that is worked is that before it is a day before the festival.
        assert_eq!(at("2025-01-26"), Some(("cn.make-up-workday".to_owned(), Place::On(0))));
        assert_eq!(at("2025-11-11"), Some(("double-eleven".to_owned(), Place::On(0))));
        // Mid-Autumn lies inside National Day, which goes on behind it; the project's own day comes first.
        assert_eq!(at("2025-10-06"), Some(("cn.mid-autumn".to_owned(), Place::On(0))));
        assert_eq!(at("2025-10-07"), Some(("opening".to_owned(), Place::On(0))));
        assert_eq!(at("2025-10-08"), Some(("cn.national".to_owned(), Place::On(7))));
    }

    #[test]
    fn a_series_gets_the_marks_of_its_own_days() {
        let own = own();
        let marks = Marks::of(&[ForecastCalendar::Own], &own, day("2025-11-01"), day("2025-11-30"))
            .unwrap();
        let five = marks.through(day("2025-11-11"), 5);
        assert_eq!(five[4].as_ref().map(|mark| mark.place), Some(Place::On(0)));
        assert_eq!(five.len(), 5 + 19);
        assert_eq!(Marks::default().through(100, 5), vec![None; 5]);
    }

    #[test]
    fn days_of_its_own_that_a_project_does_not_have_are_refused() {
        let error = Marks::of(&[ForecastCalendar::Own], &BTreeMap::new(), 0, 9).unwrap_err();
        assert!(error.message().contains("declares no days"), "{error}");
    }
}
