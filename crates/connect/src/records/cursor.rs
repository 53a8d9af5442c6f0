//! The value an incremental read follows: its order, and looking back from it.

use std::cmp::Ordering;

use flywheel_base::{Error, Result, Timestamp, quantity};
use serde::{Deserialize, Serialize};

/// Numbers above this are milliseconds, below it seconds: the year 5138 and March 1973.
const SECONDS_MAX: f64 = 1e11;

/// What a value looks like, the least telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Neither of the others.
    Text,
    /// A number.
    Number,
    /// A date or a time.
    Moment,
}

/// A value as the API writes it: a text, or the text of a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Cursor(pub(crate) String);

impl Cursor {
    /// Which of two values is later: moments by time, numbers by size, others as text. A moment is
    /// later than what is none, so that one wrong value does not hide all that come after it.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        if let (Ok(a), Ok(b)) = (self.0.parse::<i64>(), other.0.parse::<i64>()) {
            return a.cmp(&b);
        }
        if let (Ok(a), Ok(b)) = (self.0.parse::<f64>(), other.0.parse::<f64>()) {
            return a.total_cmp(&b);
        }
        match (moment(&self.0), moment(&other.0)) {
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (None, None) => self.0.cmp(&other.0),
        }
    }

    /// What the value looks like.
    pub(crate) fn rank(&self) -> Rank {
        if moment(&self.0).is_some() {
            Rank::Moment
        } else if self.0.parse::<f64>().is_ok() {
            Rank::Number
        } else {
            Rank::Text
        }
    }

    /// The value that lies `lag` before this one, written alike.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the lag does not fit the value.
    pub(crate) fn back(&self, lag: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("the lag \"{lag}\" does not fit the cursor"))
                .hint("Write a duration such as 2h for moments, a number for numbers.")
        };
        if let Ok(number) = self.0.parse::<i64>() {
            let steps = match lag.trim().parse::<i64>() {
                Ok(steps) => steps,
                Err(_) => {
                    let us = quantity::duration_us(lag).map_err(|_| wrong())?;
                    us / if (number as f64) < SECONDS_MAX { 1_000_000 } else { 1_000 }
                }
            };
            return Ok(Self(number.saturating_sub(steps).to_string()));
        }
        let earlier = moment(&self.0).ok_or_else(wrong)?;
        let earlier = earlier.plus_micros(-quantity::duration_us(lag).map_err(|_| wrong())?);
        Ok(Self(if self.0.len() <= 10 { earlier.date() } else { earlier.to_string() }))
    }

    /// The value as microseconds since the epoch, if it is a moment.
    pub(crate) fn micros(&self) -> Option<i64> {
        if let Ok(number) = self.0.parse::<i64>() {
            return number.checked_mul(if (number as f64) < SECONDS_MAX {
                1_000_000
            } else {
                1_000
            });
        }
        moment(&self.0).map(Timestamp::micros)
    }
}

/// A moment, also with the zone `+0000` that has no colon.
fn moment(text: &str) -> Option<Timestamp> {
    let utc = text.strip_suffix("+0000").map(|local| format!("{local}Z"));
    Timestamp::parse(utc.as_deref().unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(text: &str) -> Cursor {
        Cursor(text.to_owned())
    }

    #[test]
    fn values_compare_as_what_they_are() {
        for (earlier, later) in [
            ("9", "10"),
            ("2024-05-01T10:00:00+02:00", "2024-05-01T09:00:00Z"),
            ("2024-05-01", "2024-05-01T00:00:00.001Z"),
            ("2024-05-01T10:00:00.000+0000", "2024-05-01T10:00:00.500Z"),
            ("a", "b"),
            ("not a date", "2024-05-01"),
            ("99999999", "2024-05-01"),
            ("9007199254740992", "9007199254740993"),
        ] {
            assert_eq!(
                cursor(earlier).compare(&cursor(later)),
                Ordering::Less,
                "{earlier} {later}"
            );
        }
    }

    #[test]
    fn a_lag_keeps_the_form() {
        assert_eq!(cursor("2024-05-02").back("1d").unwrap(), cursor("2024-05-01"));
        assert_eq!(
            cursor("2024-05-01T00:30:00Z").back("1h").unwrap(),
            cursor("2024-04-30T23:30:00Z")
        );
        assert_eq!(cursor("1714557600000").back("1s").unwrap(), cursor("1714557599000"));
        assert_eq!(cursor("1714557600").back("60000000us").unwrap(), cursor("1714557540"));
        assert_eq!(cursor("10").back("3").unwrap(), cursor("7"));
        assert!(cursor("abc").back("1h").is_err());
    }
}
