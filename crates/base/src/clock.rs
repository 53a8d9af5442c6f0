//! Time as an argument.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A moment in UTC, in microseconds since 1970-01-01T00:00:00Z (Arrow's `Timestamp(Microsecond, UTC)`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

impl Timestamp {
    /// Takes microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Days since the epoch, rounded down (Arrow's `Date32`).
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(DAY_US)
    }

    /// The start of day number `day` since the epoch.
    #[must_use]
    pub const fn from_day(day: i64) -> Self {
        Self(day * DAY_US)
    }

    /// This moment moved by `micros`, saturating at the ends of time.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// This moment moved by whole days.
    #[must_use]
    pub const fn plus_days(self, days: i64) -> Self {
        self.plus_micros(days.saturating_mul(DAY_US))
    }

    /// Parses `2024-05-01`, `2024-05-01 12:30:00` or RFC 3339; a text without zone is UTC.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] if the text is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(moment.timestamp_micros()));
        }
        for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"] {
            if let Ok(moment) = chrono::NaiveDateTime::parse_from_str(text, format) {
                return Ok(Self(moment.and_utc().timestamp_micros()));
            }
        }
        if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return Ok(Self(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()));
        }
        Err(Error::invalid(format!("\"{text}\" is not a date or time"))
            .hint("Write 2024-05-01, 2024-05-01 12:30:00 or 2024-05-01T12:30:00Z."))
    }

    /// The calendar date in UTC, `YYYY-MM-DD`.
    #[must_use]
    pub fn date(self) -> String {
        self.datetime().format("%Y-%m-%d").to_string()
    }

    /// The moment as chrono's type; times outside its range clamp to the epoch.
    #[must_use]
    pub fn datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.datetime().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// Where the time comes from; a replay passes its own.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where real time enters")]
    fn now(&self) -> Timestamp {
        Timestamp(Utc::now().timestamp_micros())
    }
}

/// A clock that stands still until it is moved: replays, simulations and tests.
#[derive(Debug, Default)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// Starts at `at`.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.micros()))
    }

    /// Moves to `at`.
    pub fn move_to(&self, at: Timestamp) {
        self.0.store(at.micros(), Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_times_and_zones_parse_to_the_same_moment() {
        let midnight = Timestamp::parse("2024-05-01").unwrap();
        assert_eq!(midnight, Timestamp::parse("2024-05-01 00:00:00").unwrap());
        assert_eq!(midnight, Timestamp::parse("2024-05-01T02:00:00+02:00").unwrap());
        assert_eq!(
            (midnight.to_string(), midnight.date()),
            ("2024-05-01T00:00:00Z".into(), "2024-05-01".into())
        );
        assert!(Timestamp::parse("May").unwrap_err().hint_text().is_some());
    }

    #[test]
    fn days_before_the_epoch_round_down() {
        assert_eq!(Timestamp::from_micros(-1).day(), -1);
        assert_eq!(Timestamp::from_day(-1).date(), "1969-12-31");
    }
}
