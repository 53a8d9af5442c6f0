//! When something is due: cron expressions in a time zone, and intervals.
//!
//! A moment that a change of clocks leaves out or repeats is decided by one rule, that of Vixie cron. An expression
//! that names its hours follows the clock on the wall: a time that is left out is due when the clocks have moved
//! on, a time that comes twice is due the first time. An expression for every hour follows time itself: it is due
//! in each hour that passes, however it is called.

pub mod quiet;

use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone,
    Timelike,
};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::{Error, Result, Timestamp, suggest};

/// How many days are looked at for the next moment: every 29 February that is a Sunday comes within 40 years.
const DAYS_MAX: u32 = 41 * 366;
/// Minutes that clocks are moved at most; Samoa left out a whole day.
const GAP_MINUTES_MAX: i64 = 26 * 60;
/// The shortest interval, in microseconds.
const EVERY_MIN_US: i64 = 1_000_000;

/// Sunday, where it ends a week; where it begins one it is 0.
const SUNDAY: u32 = 7;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A cron expression: minute, hour, day of the month, month and day of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
    last_day: bool,
}

/// Which values of a field count: a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Whether it is written with a star, so that it does not restrict.
    star: bool,
}

impl Field {
    fn has(self, value: u32) -> bool {
        self.bits & (1 << value) != 0
    }

    fn values(self) -> impl DoubleEndedIterator<Item = u32> {
        (0..64).filter(move |value| self.has(*value))
    }
}

/// What the values of a field are called and may be.
struct Kind {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
    /// The value of the first word.
    first: u32,
}

const MINUTE: Kind = Kind { name: "minute", least: 0, most: 59, words: &[], first: 0 };
const HOUR: Kind = Kind { name: "hour", least: 0, most: 23, words: &[], first: 0 };
const DAY: Kind = Kind { name: "day of the month", least: 1, most: 31, words: &[], first: 0 };
const MONTH: Kind = Kind { name: "month", least: 1, most: 12, words: &MONTHS, first: 1 };
const WEEKDAY: Kind =
    Kind { name: "day of the week", least: 0, most: SUNDAY, words: &WEEKDAYS, first: 0 };

impl Kind {
    fn value(&self, text: &str) -> Result<u32> {
        let lower = text.to_ascii_lowercase();
        if let Some(at) = self.words.iter().position(|word| *word == lower) {
            return Ok(self.first + u32::try_from(at).unwrap_or_default());
        }
        let value = text.parse::<u32>().ok().filter(|v| (self.least..=self.most).contains(v));
        value.ok_or_else(|| {
            let names = match self.words {
                [first, .., last] => format!(", or {first} to {last}"),
                _ => String::new(),
            };
            Error::invalid(format!("the {} cannot be \"{text}\"", self.name))
                .hint(format!("Write a number from {} to {}{names}.", self.least, self.most))
        })
    }

    fn field(&self, text: &str) -> Result<Field> {
        let mut bits = 0_u64;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (part, None),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (self.least, self.most),
                Some((from, to)) => (self.value(from)?, self.value(to)?),
                None if step.is_some() => (self.value(range)?, self.most),
                None => self.value(range).map(|value| (value, value))?,
            };
            let is_week = self.most == SUNDAY;
            let to = if is_week && to == 0 && from > 0 { SUNDAY } else { to };
            if from > to {
                let (least, last) = (self.least, if is_week { SUNDAY - 1 } else { self.most });
                return Err(Error::invalid(format!(
                    "the {} \"{range}\" runs backwards",
                    self.name
                ))
                .hint(format!("Write two parts: {from}-{last},{least}-{to}.")));
            }
            let step = match step.map(str::parse::<u32>) {
                None => 1,
                Some(Ok(step)) if (1..=self.most).contains(&step) => step,
                Some(_) => {
                    return Err(Error::invalid(format!(
                        "the {} has the step \"{part}\"",
                        self.name
                    ))
                    .hint(format!("Write a step from 1 to {}, such as */5.", self.most)));
                }
            };
            for value in (from..=to).step_by(step as usize) {
                bits |= 1 << value;
            }
        }
        Ok(Field { bits, star: text.starts_with('*') })
    }
}

impl Cron {
    /// Parses five fields with `*`, lists, ranges, steps and English names; `L` is the month's last day, 7 is Sunday
    /// too, and `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` stand for what they say.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] that names the field, or if no day ever fits, such as 30 February.
    pub fn parse(text: &str) -> Result<Self> {
        let fields = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let parts: Vec<&str> = fields.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(Error::invalid(format!(
                "\"{text}\" is not a cron expression: it has {} fields",
                parts.len()
            ))
            .hint("Write minute, hour, day, month and day of the week: \"30 2 * * mon-fri\" is 02:30 on work days."));
        };
        let named = |error: Error| error.context(format!("\"{text}\" is not a cron expression"));
        let last_day = day.eq_ignore_ascii_case("l");
        let days = if last_day { "31" } else { day };
        let mut weekdays = WEEKDAY.field(weekday).map_err(named)?;
        // Sunday is 0 and 7.
        weekdays.bits = (weekdays.bits & 0x7f) | ((weekdays.bits >> 7) & 1);
        let cron = Self {
            minutes: MINUTE.field(minute).map_err(named)?,
            hours: HOUR.field(hour).map_err(named)?,
            days: DAY.field(days).map_err(named)?,
            months: MONTH.field(month).map_err(named)?,
            weekdays,
            last_day,
        };
        let longest = |month| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let days = || cron.days.values();
        let fits = cron.last_day
            || !cron.weekdays.star
            || cron.months.values().any(|month| days().any(|day| day <= longest(month)));
        if !fits {
            return Err(Error::invalid(format!("\"{text}\" is never due"))
                .hint("No such month has such a day; L stands for the last day of a month."));
        }
        Ok(cron)
    }

    fn fits(&self, date: NaiveDate) -> bool {
        if !self.months.has(date.month()) {
            return false;
        }
        let of_month = if self.last_day {
            date.succ_opt().is_none_or(|next| next.month() != date.month())
        } else {
            self.days.has(date.day())
        };
        let of_week = self.weekdays.has(date.weekday().num_days_from_sunday());
        // As every cron: two restrictions are alternatives, one alone counts.
        if self.days.star || self.weekdays.star { of_month && of_week } else { of_month || of_week }
    }

    /// The moments of a day on the wall, not sorted where clocks are moved.
    fn moments(&self, date: NaiveDate, zone: Tz) -> Vec<Timestamp> {
        let every_hour = self.hours.star;
        let mut found = Vec::new();
        for hour in self.hours.values() {
            for minute in self.minutes.values() {
                let Some(time) = NaiveTime::from_hms_opt(hour, minute, 0) else { continue };
                let wall = date.and_time(time);
                match zone.from_local_datetime(&wall) {
                    chrono::MappedLocalTime::Single(one) => found.push(stamp(&one)),
                    chrono::MappedLocalTime::Ambiguous(first, second) => {
                        found.push(stamp(&first));
                        if every_hour {
                            found.push(stamp(&second));
                        }
                    }
                    chrono::MappedLocalTime::None if every_hour => {}
                    chrono::MappedLocalTime::None => {
                        found.extend(after_gap(wall, zone).as_ref().map(stamp));
                    }
                }
            }
        }
        found
    }
}

fn stamp(moment: &DateTime<Tz>) -> Timestamp {
    Timestamp::from_micros(moment.timestamp_micros())
}

/// When clocks that leave a time out have moved on.
fn after_gap(wall: NaiveDateTime, zone: Tz) -> Option<DateTime<Tz>> {
    (1..=GAP_MINUTES_MAX).find_map(|minutes| {
        let later = wall.checked_add_signed(TimeDelta::minutes(minutes))?;
        zone.from_local_datetime(&later).earliest()
    })
}

/// When clocks show a time first, and when last.
fn on_clocks(wall: NaiveDateTime, zone: Tz) -> Option<(Timestamp, Timestamp)> {
    let (first, last) = match zone.from_local_datetime(&wall) {
        chrono::MappedLocalTime::Single(one) => (one, one),
        chrono::MappedLocalTime::Ambiguous(first, last) => (first, last),
        chrono::MappedLocalTime::None => after_gap(wall, zone).map(|one| (one, one))?,
    };
    Some((stamp(&first), stamp(&last)))
}

/// When something is due, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timing {
    /// By a cron expression on the clocks of a place.
    Cron {
        /// The expression.
        cron: Cron,
        /// The place.
        zone: Tz,
    },
    /// Every so many microseconds, counted from 1970-01-01T00:00:00Z, so that its moments do not depend on when
    /// somebody began to count.
    Every {
        /// The interval in microseconds.
        micros: i64,
    },
}

impl Timing {
    /// A cron expression on the clocks of `zone`, such as `Asia/Shanghai`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] if either cannot be read.
    pub fn cron(text: &str, zone: &str) -> Result<Self> {
        Ok(Self::Cron { cron: Cron::parse(text)?, zone: time_zone(zone)? })
    }

    /// An interval of at least a second.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] if it is shorter.
    pub fn every(micros: i64) -> Result<Self> {
        if micros < EVERY_MIN_US {
            return Err(Error::invalid("an interval is at least a second")
                .hint("Write a whole number and a unit: 30s, 15m, 1h or 1d."));
        }
        Ok(Self::Every { micros })
    }

    /// The first moment after `after`; none if there is none within 40 years.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { micros } => {
                let count = after.micros().div_euclid(*micros).checked_add(1)?;
                count.checked_mul(*micros).map(Timestamp::from_micros)
            }
            Self::Cron { cron, zone } => {
                // Clocks that are moved at midnight put a moment into the day before.
                let start = wall_date(after, *zone).pred_opt()?;
                days(start, |date| date.checked_add_days(Days::new(1)))
                    .filter(|date| cron.fits(*date))
                    .find_map(|date| {
                        cron.moments(date, *zone).into_iter().filter(|at| *at > after).min()
                    })
            }
        }
    }

    /// The last moment that is not after `until`; none if there is none within 40 years.
    #[must_use]
    pub fn last(&self, until: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { micros } => {
                let count = until.micros().div_euclid(*micros);
                count.checked_mul(*micros).map(Timestamp::from_micros)
            }
            Self::Cron { cron, zone } => {
                let start = wall_date(until, *zone).succ_opt()?;
                days(start, |date| date.checked_sub_days(Days::new(1)))
                    .filter(|date| cron.fits(*date))
                    .find_map(|date| {
                        cron.moments(date, *zone).into_iter().filter(|at| *at <= until).max()
                    })
            }
        }
    }

    /// The first and the last moment of a span as people write it: each as [`Timestamp::parse`] reads it, but on the
    /// clocks of the expression where the text names no zone. A day without a time is a whole one. Without an end it is
    /// `now`, as it is for a day that has begun and not ended.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] if a text is no date or time.
    pub fn span(
        &self,
        from: &str,
        to: Option<&str>,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp)> {
        let (from, _) = self.written(from)?;
        let Some(to) = to else { return Ok((from, now)) };
        let (begins, ends) = self.written(to)?;
        Ok((from, if begins <= now { ends.min(now) } else { ends }))
    }

    /// The first and the last moment that a text names.
    fn written(&self, text: &str) -> Result<(Timestamp, Timestamp)> {
        let text = text.trim();
        let utc = Timestamp::parse(text)?;
        if DateTime::parse_from_rfc3339(text).is_ok() {
            return Ok((utc, utc));
        }
        let zone = match self {
            Self::Cron { zone, .. } => *zone,
            Self::Every { .. } => Tz::UTC,
        };
        let wall = utc.datetime().naive_utc();
        let whole_day = NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok();
        let moments = on_clocks(wall, zone).and_then(|(first, last)| {
            if !whole_day {
                return Some((first, last));
            }
            let (next, _) = on_clocks(wall.checked_add_days(Days::new(1))?, zone)?;
            Some((first, next.plus_micros(-1)))
        });
        moments.ok_or_else(|| {
            Error::invalid(format!("no clock of {zone} shows \"{text}\""))
                .hint("Write a day that there was, such as 2024-05-01.")
        })
    }
}

/// The day that calendars of a zone show at a moment.
#[must_use]
pub fn wall_date(at: Timestamp, zone: Tz) -> NaiveDate {
    at.datetime().with_timezone(&zone).date_naive()
}

fn days(
    start: NaiveDate,
    step: impl Fn(NaiveDate) -> Option<NaiveDate>,
) -> impl Iterator<Item = NaiveDate> {
    std::iter::successors(Some(start), move |date| step(*date)).take(DAYS_MAX as usize)
}

/// The zone of that name in the time zone database.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] with the nearest name.
pub fn time_zone(name: &str) -> Result<Tz> {
    name.parse::<Tz>().map_err(|_| {
        let known = TZ_VARIANTS.iter().map(|zone| zone.name());
        Error::invalid(format!("there is no time zone \"{name}\"")).hint(format!(
            "{} Names are those of the time zone database, such as Asia/Shanghai, Europe/Berlin or UTC.",
            suggest::hint(name, known)
        ))
    })
}

/// A moment as clocks of a zone show it, with the difference to UTC: `2024-05-01 08:00 +08:00`.
#[must_use]
pub fn on_the_wall(at: Timestamp, zone: Tz) -> String {
    let wall = at.datetime().with_timezone(&zone);
    let form = if wall.second() == 0 { "%Y-%m-%d %H:%M %:z" } else { "%Y-%m-%d %H:%M:%S %:z" };
    wall.format(form).to_string()
}

/// Moments that calendars reach, in microseconds either side of the epoch: 250,000 years.
const REACHED_US: u64 = 7_900_000_000_000_000_000;

/// What clocks of a zone show at a moment, written as if they were clocks of UTC. Moments beyond all calendars stay.
#[must_use]
pub fn shown_at(at: Timestamp, zone: Tz) -> Timestamp {
    if at.micros().unsigned_abs() > REACHED_US {
        return at;
    }
    let offset = zone.offset_from_utc_datetime(&at.datetime().naive_utc()).fix();
    at.plus_micros(i64::from(offset.local_minus_utc()) * 1_000_000)
}

/// The moment at which clocks of a zone show what `shown` is as one of UTC: the first one if they show it twice, and if they
/// leave it out, the one that it would have been without the change. Moments beyond all calendars stay.
#[must_use]
pub fn moment_of(shown: Timestamp, zone: Tz) -> Timestamp {
    if shown.micros().unsigned_abs() > REACHED_US {
        return shown;
    }
    let wall = shown.datetime().naive_utc();
    let offset = match zone.offset_from_local_datetime(&wall).earliest() {
        Some(offset) => offset.fix(),
        None => zone.offset_from_utc_datetime(&(wall - TimeDelta::days(1))).fix(),
    };
    shown.plus_micros(-i64::from(offset.local_minus_utc()) * 1_000_000)
}

/// The hour that clocks of a zone show: the day of the week from Monday, 0 to 6, and the hour, 0 to 23.
#[must_use]
pub fn wall_hour(at: Timestamp, zone: Tz) -> (usize, usize) {
    let wall = at.datetime().with_timezone(&zone);
    (wall.weekday().num_days_from_monday() as usize, wall.hour() as usize)
}

#[cfg(test)]
mod tests;
