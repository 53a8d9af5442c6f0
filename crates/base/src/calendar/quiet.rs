//! Hours of the day in which something has to wait, on the clocks of a zone.

use chrono::{NaiveDateTime, NaiveTime};
use chrono_tz::Tz;

use super::on_clocks;
use crate::{Error, Result, Timestamp};

/// Hours of each day, from one time of day until another; they may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    from: NaiveTime,
    to: NaiveTime,
}

impl QuietHours {
    /// The hours from one time of day, such as `21:00`, until another, such as `08:00`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] if one is no time of day, or both are the same.
    pub fn parse(from: &str, to: &str) -> Result<Self> {
        let hours = Self { from: time_of_day(from)?, to: time_of_day(to)? };
        if hours.from == hours.to {
            return Err(Error::invalid(format!("hours from {from} to {to} are none"))
                .hint("Write for example from: \"21:00\" and to: \"08:00\"."));
        }
        Ok(hours)
    }

    /// When the hours are over that a moment lies in; none if it lies outside.
    ///
    /// An end that a change of clocks leaves out is when the clocks have moved on.
    #[must_use]
    pub fn until(&self, at: Timestamp, zone: Tz) -> Option<Timestamp> {
        let wall = at.datetime().with_timezone(&zone).naive_local();
        let (date, time) = (wall.date(), wall.time());
        let over_midnight = self.from > self.to;
        let last_day = if over_midnight && time >= self.from {
            date.succ_opt()?
        } else if time < self.to && (over_midnight || time >= self.from) {
            date
        } else {
            return None;
        };
        let (first, last) = on_clocks(NaiveDateTime::new(last_day, self.to), zone)?;
        [first, last].into_iter().find(|end| *end > at)
    }
}

/// A time of day with hours and minutes.
fn time_of_day(text: &str) -> Result<NaiveTime> {
    NaiveTime::parse_from_str(text.trim(), "%H:%M").map_err(|_| {
        Error::invalid(format!("\"{text}\" is no time of day"))
            .hint("Write hours and minutes, from \"00:00\" to \"23:59\", in quotes.")
    })
}

#[cfg(test)]
mod tests {
    use super::super::time_zone;
    use super::*;

    fn check(hours: (&str, &str), zone: &str, at: &str, until: Option<&str>) {
        let hours = QuietHours::parse(hours.0, hours.1).unwrap();
        let found = hours.until(Timestamp::parse(at).unwrap(), time_zone(zone).unwrap());
        assert_eq!(found, until.map(|until| Timestamp::parse(until).unwrap()), "{at} in {zone}");
    }

    #[test]
    fn hours_over_midnight_end_in_the_morning() {
        let night = ("21:00", "08:00");
        check(night, "Asia/Shanghai", "2024-05-01 12:59:59", None);
        check(night, "Asia/Shanghai", "2024-05-01 13:00:00", Some("2024-05-02 00:00:00"));
        check(night, "Asia/Shanghai", "2024-05-01 23:59:59", Some("2024-05-02 00:00:00"));
        check(night, "Asia/Shanghai", "2024-05-02 00:00:00", None);
    }

    #[test]
    fn hours_within_a_day_end_on_it() {
        let noon = ("12:00", "14:00");
        check(noon, "UTC", "2024-05-01 11:59:59", None);
        check(noon, "UTC", "2024-05-01 12:00:00", Some("2024-05-01 14:00:00"));
        check(noon, "UTC", "2024-05-01 14:00:00", None);
    }

    #[test]
    fn the_end_follows_the_clock_on_the_wall_when_clocks_change() {
        let night = ("21:00", "08:00");
        // Clocks go forward on 2024-03-31 and back on 2024-10-27.
        check(night, "Europe/Berlin", "2024-03-30 20:30:00", Some("2024-03-31 06:00:00"));
        check(night, "Europe/Berlin", "2024-10-26 20:30:00", Some("2024-10-27 07:00:00"));
        // 02:30 is left out: the hours are over when the clocks have moved on.
        let early = ("22:00", "02:30");
        check(early, "Europe/Berlin", "2024-03-31 00:30:00", Some("2024-03-31 01:00:00"));
        // 02:30 comes twice: within the second hour of two the second one ends it.
        check(early, "Europe/Berlin", "2024-10-27 00:10:00", Some("2024-10-27 00:30:00"));
        check(early, "Europe/Berlin", "2024-10-27 01:10:00", Some("2024-10-27 01:30:00"));
    }

    #[test]
    fn what_is_no_time_of_day_is_refused() {
        for (from, to) in [("9 pm", "08:00"), ("21:00", "24:00"), ("08:00", "08:00")] {
            assert!(QuietHours::parse(from, to).unwrap_err().hint_text().is_some(), "{from} {to}");
        }
    }
}
