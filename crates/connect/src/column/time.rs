//! Dates and moments from text.
//!
//! The ISO forms are read by hand because every row has one; any other form goes through the
//! pattern the user declares.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// Days from 0001-01-01 to 1970-01-01.
const EPOCH_DAYS_FROM_CE: i32 = 719_163;

/// Microseconds in a second.
pub(crate) const SECOND_US: i64 = 1_000_000;

/// Microseconds in a day.
pub(crate) const DAY_US: i64 = 86_400 * SECOND_US;

/// A moment read from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Microseconds since the epoch; a text without zone is UTC.
    pub(crate) micros: i64,
    /// Whether the text names its zone.
    pub(crate) zoned: bool,
    /// Whether the text had more than microseconds.
    pub(crate) finer: bool,
}

/// Reads `2024-05-01`, `2024/05/01` or `20240501` as days since the epoch.
pub(crate) fn date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    match bytes.len() {
        10 if bytes[4] == bytes[7] && matches!(bytes[4], b'-' | b'/') => {
            days(number(bytes, 0, 4)?, number(bytes, 5, 2)?, number(bytes, 8, 2)?)
        }
        8 => days(number(bytes, 0, 4)?, number(bytes, 4, 2)?, number(bytes, 6, 2)?),
        _ => None,
    }
}

/// Reads a date in a chrono pattern.
pub(crate) fn date_as(text: &str, pattern: &str) -> Option<i32> {
    NaiveDate::parse_from_str(text, pattern).ok().map(days_of)
}

/// Days since the epoch of a calendar date.
pub(crate) fn days_of(date: NaiveDate) -> i32 {
    use chrono::Datelike;
    date.num_days_from_ce() - EPOCH_DAYS_FROM_CE
}

/// Reads an ISO 8601 or RFC 3339 moment: date, `T` or a space, time, and perhaps a zone.
pub(crate) fn moment(text: &str) -> Option<Moment> {
    let bytes = text.as_bytes();
    if bytes.len() < 16 || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let day = date(text.get(..10)?)?;
    let (hour, minute) = (number(bytes, 11, 2)?, number(bytes, 14, 2)?);
    if bytes[13] != b':' {
        return None;
    }
    let mut at = 16;
    let mut second = 0;
    if bytes.get(at) == Some(&b':') {
        second = number(bytes, at + 1, 2)?;
        at += 3;
    }
    let (fraction_us, finer, after) = fraction(bytes, at)?;
    let zone_s = zone(bytes, after)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    let local = i64::from(day) * DAY_US + seconds * SECOND_US + fraction_us;
    let micros = local - i64::from(zone_s.unwrap_or(0)) * SECOND_US;
    Some(Moment { micros, zoned: zone_s.is_some(), finer })
}

/// Reads a moment in a chrono pattern, with or without zone.
pub(crate) fn moment_as(text: &str, pattern: &str) -> Option<i64> {
    if let Ok(moment) = DateTime::parse_from_str(text, pattern) {
        return Some(moment.timestamp_micros());
    }
    if let Ok(moment) = NaiveDateTime::parse_from_str(text, pattern) {
        return Some(moment.and_utc().timestamp_micros());
    }
    date_as(text, pattern).map(|days| i64::from(days) * DAY_US)
}

/// Reads `.123456` at `at`: microseconds, whether digits were cut off, and where it ends.
fn fraction(bytes: &[u8], at: usize) -> Option<(i64, bool, usize)> {
    if !matches!(bytes.get(at), Some(b'.' | b',')) {
        return Some((0, false, at));
    }
    let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let mut micros = 0;
    let mut finer = false;
    for (place, byte) in bytes[at + 1..at + 1 + digits].iter().enumerate() {
        if place < 6 {
            micros = micros * 10 + i64::from(byte - b'0');
        } else {
            finer |= *byte != b'0';
        }
    }
    for _ in digits..6 {
        micros *= 10;
    }
    Some((micros, finer, at + 1 + digits))
}

/// Reads the rest of a moment as a zone: nothing, `Z`, ` UTC`, `+02`, `+0200` or `+02:00`, in seconds.
fn zone(bytes: &[u8], at: usize) -> Option<Option<i32>> {
    let rest = bytes.get(at..)?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let (sign, rest) = match rest {
        [] => return Some(None),
        b"Z" | b"z" | b"UTC" => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest.len() {
        2 => (number(rest, 0, 2)?, 0),
        4 => (number(rest, 0, 2)?, number(rest, 2, 2)?),
        5 if rest[2] == b':' => (number(rest, 0, 2)?, number(rest, 3, 2)?),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(Some(sign * (hours * 3600 + minutes * 60)))
}

/// The number in `count` digits from `at`.
fn number(bytes: &[u8], at: usize, count: usize) -> Option<i32> {
    let mut value = 0;
    for byte in bytes.get(at..at + count)? {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i32::from(digit);
    }
    Some(value)
}

/// Days since the epoch of a date of the Gregorian calendar, if it exists.
fn days(year: i32, month: i32, day: i32) -> Option<i32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i32::from(leap),
        _ => return None,
    };
    if day < 1 || day > length {
        return None;
    }
    // Years start in March here, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era_years = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era_years * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_chrono_over_400_years() {
        let mut day = NaiveDate::from_ymd_opt(1899, 12, 25).unwrap();
        for _ in 0..150_000 {
            assert_eq!(date(&day.format("%Y-%m-%d").to_string()), Some(days_of(day)), "{day}");
            day = day.succ_opt().unwrap();
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in ["2023-02-29", "2024-13-01", "2024-00-10", "2024-04-31", "2024-1-1", "24-01-01"]
        {
            assert_eq!(date(text), None, "{text}");
        }
        assert_eq!(date("2024/02/29"), date("20240229"));
    }

    #[test]
    fn moments_carry_zone_and_fraction() {
        let at = |text: &str| moment(text).map(|moment| moment.micros);
        assert_eq!(at("1970-01-01T00:00:01Z"), Some(SECOND_US));
        assert_eq!(at("1970-01-01 02:00:00+02:00"), Some(0));
        assert_eq!(at("1970-01-01 02:00:00.5+0200"), Some(500_000));
        assert_eq!(at("1970-01-01 00:01"), Some(60 * SECOND_US));
        assert!(moment("1970-01-01 00:00:00.1234567").unwrap().finer);
        assert!(!moment("1970-01-01 00:00:00").unwrap().zoned);
        for text in
            ["1970-01-01", "1970-01-01 25:00", "1970-01-01 00:00:00 CET", "1970-01-01 00:00."]
        {
            assert_eq!(at(text), None, "{text}");
        }
        assert_eq!(moment_as("01.02.2024 13:45", "%d.%m.%Y %H:%M"), at("2024-02-01 13:45"));
    }
}
