//! Which days are holidays, and on which people work: China, the United States, England and Wales.
//!
//! ```text
//! announced table (China) ─┐
//! moon and sun (China)    ─┼─► Year ─► Day { kind, holiday }
//! rules (US, UK)          ─┘
//! ```
//! China's State Council announces each November which days of the next year are off and which weekend days are worked
//! instead (调休); those of [`ANNOUNCED`] are a table. Outside of it the festivals are computed, and only the days
//! that the law itself gives are off: how they will be joined with weekends nobody can compute.

mod cn;
mod lunar;
mod span;
mod uk;
mod us;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::{Datelike, Days, NaiveDate, Weekday};

use crate::{Error, Result, suggest};

pub use cn::ANNOUNCED;
pub use span::DaySpan;

/// The years whose holidays are known; outside of them a day is only of the week.
pub const YEARS: RangeInclusive<i32> = 2000..=2099;

/// Whose holidays count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HolidayCalendar {
    /// Public holidays of mainland China, with the weekend days that are worked instead.
    Cn,
    /// Federal holidays of the United States, also on the days they are observed on, and Black Friday.
    Us,
    /// Bank holidays of England and Wales, also on the days they are moved to, and Black Friday.
    Uk,
}

/// A day that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holiday {
    /// Its name in files, kebab-case.
    pub name: &'static str,
    /// Its name in English.
    pub en: &'static str,
    /// Its name in Chinese.
    pub zh: &'static str,
}

/// What is done on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DayKind {
    /// Work, from Monday to Friday.
    Workday,
    /// A Saturday or Sunday that is no holiday.
    Weekend,
    /// Off, for a holiday; also a weekend day that lies in one.
    Holiday,
    /// A weekend day on which people work for a day off elsewhere.
    MakeUp,
}

/// A day in a calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// What is done on it.
    pub kind: DayKind,
    /// The name it has; of a day of shopping also where people work.
    pub holiday: Option<&'static Holiday>,
}

/// The days of a year that are not what their weekday says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Year {
    days: BTreeMap<NaiveDate, Day>,
}

impl DayKind {
    /// The word for it, kebab-case.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Workday => "workday",
            Self::Weekend => "weekend",
            Self::Holiday => "holiday",
            Self::MakeUp => "make-up-workday",
        }
    }

    /// Whether people work.
    #[must_use]
    pub fn is_worked(self) -> bool {
        matches!(self, Self::Workday | Self::MakeUp)
    }

    /// What a date is by its weekday alone.
    #[must_use]
    pub fn of_week(date: NaiveDate) -> Self {
        match date.weekday() {
            Weekday::Sat | Weekday::Sun => Self::Weekend,
            _ => Self::Workday,
        }
    }
}

impl HolidayCalendar {
    /// Every calendar, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Cn, Self::Us, Self::Uk];

    /// Its name in files and in SQL.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cn => "cn",
            Self::Us => "us",
            Self::Uk => "uk",
        }
    }

    /// The calendar of that name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] with the nearest name.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word).ok_or_else(|| {
            let known = Self::ALL.map(Self::word);
            Error::not_found(format!("there is no calendar of holidays \"{word}\""))
                .hint(suggest::hint(word, known))
        })
    }

    /// Every day of a year that has a name or is worked against its weekday; none outside of [`YEARS`].
    ///
    /// # Cost
    /// Some hundred steps: keep the year when many of its days are asked for.
    #[must_use]
    pub fn year(self, year: i32) -> Year {
        let mut found = Year::default();
        if YEARS.contains(&year) {
            match self {
                Self::Cn => cn::fill(year, &mut found),
                Self::Us => us::fill(year, &mut found),
                Self::Uk => uk::fill(year, &mut found),
            }
        }
        found
    }

    /// What one date is.
    #[must_use]
    pub fn day(self, date: NaiveDate) -> Day {
        self.year(date.year()).day(date)
    }
}

impl Year {
    /// What a date of this year is.
    #[must_use]
    pub fn day(&self, date: NaiveDate) -> Day {
        let plain = Day { kind: DayKind::of_week(date), holiday: None };
        self.days.get(&date).copied().unwrap_or(plain)
    }

    /// The days with a name or of another kind than their weekday, ascending.
    pub fn days(&self) -> impl Iterator<Item = (NaiveDate, Day)> {
        self.days.iter().map(|(date, day)| (*date, *day))
    }

    fn off(&mut self, date: Option<NaiveDate>, holiday: &'static Holiday) {
        let day = Day { kind: DayKind::Holiday, holiday: Some(holiday) };
        // Of two holidays on one day the first that is told gives the name.
        if let Some(date) = date {
            self.days.entry(date).or_insert(day);
        }
    }

    /// A day that has a name and changes nobody's work.
    fn named(&mut self, date: Option<NaiveDate>, holiday: &'static Holiday) {
        if let Some(date) = date {
            let day = Day { kind: DayKind::of_week(date), holiday: Some(holiday) };
            self.days.entry(date).or_insert(day);
        }
    }

    fn is_off(&self, date: NaiveDate) -> bool {
        self.days.get(&date).is_some_and(|day| day.kind == DayKind::Holiday)
    }
}

/// The Friday after the fourth Thursday of November.
const BLACK_FRIDAY: Holiday =
    Holiday { name: "black-friday", en: "Black Friday", zh: "黑色星期五" };

fn black_friday(year: i32) -> Option<NaiveDate> {
    nth(year, 11, Weekday::Thu, 4)?.succ_opt()
}

/// The `n`-th such weekday of a month, counted from 1.
fn nth(year: i32, month: u32, weekday: Weekday, n: u8) -> Option<NaiveDate> {
    NaiveDate::from_weekday_of_month_opt(year, month, weekday, n)
}

/// The last such weekday of a month.
fn last(year: i32, month: u32, weekday: Weekday) -> Option<NaiveDate> {
    nth(year, month, weekday, 5).or_else(|| nth(year, month, weekday, 4))
}

fn is_weekend(date: NaiveDate) -> bool {
    DayKind::of_week(date) == DayKind::Weekend
}

/// Easter Sunday of the Gregorian calendar.
///
/// # Source
/// The anonymous algorithm of *Nature*, 1876, as in Meeus, *Astronomical Algorithms*, ch. 8.
#[must_use]
pub fn easter(year: i32) -> Option<NaiveDate> {
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let f = (b + 8) / 25;
    let g = (b - f + 1) / 3;
    let h = (19 * a + b - b / 4 - g + 15) % 30;
    let l = (32 + 2 * (b % 4) + 2 * (c / 4) - h - c % 4) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let sum = h + l - 7 * m + 114;
    let (month, day) = (u32::try_from(sum / 31).ok()?, u32::try_from(sum % 31 + 1).ok()?);
    NaiveDate::from_ymd_opt(year, month, day)
}

fn later(date: Option<NaiveDate>, days: u64) -> Option<NaiveDate> {
    date?.checked_add_days(Days::new(days))
}

fn earlier(date: Option<NaiveDate>, days: u64) -> Option<NaiveDate> {
    date?.checked_sub_days(Days::new(days))
}

#[cfg(test)]
mod tests;
