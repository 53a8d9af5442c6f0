//! Days of a project's own, as people write them: `11-11` each year, `2026-05-03` once, `06-16..06-18`.

use std::fmt;

use chrono::{Datelike, NaiveDate};

use crate::{Error, Result};

/// Days from one to another, each year or in one year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DaySpan {
    year: Option<i32>,
    /// Month and day.
    first: (u32, u32),
    last: (u32, u32),
}

impl DaySpan {
    /// Parses `MM-DD`, `YYYY-MM-DD`, or two of one kind with `..` between.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] if it is no date, runs backwards, or goes beyond the end of a year.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::invalid(format!("\"{text}\" is no day: {why}")).hint(
                "Write 11-11 for each year, 2026-05-03 for once, or 06-16..06-18 for several days of one year.",
            )
        };
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let (from_year, first) = day(from.trim()).ok_or_else(|| wrong("no such date"))?;
        let (to_year, last) = day(to.trim()).ok_or_else(|| wrong("no such date"))?;
        if from_year != to_year {
            return Err(wrong("it begins and ends in different years"));
        }
        if first > last {
            return Err(wrong("it runs backwards"));
        }
        Ok(Self { year: from_year, first, last })
    }

    /// Whether a date lies in it.
    #[must_use]
    pub fn contains(self, date: NaiveDate) -> bool {
        let day = (date.month(), date.day());
        self.year.is_none_or(|year| year == date.year()) && (self.first..=self.last).contains(&day)
    }

    /// Its year if it has one, and first and last day as month times 100 plus day.
    #[must_use]
    pub fn bounds(self) -> (Option<i32>, u32, u32) {
        let number = |(month, day)| month * 100 + day;
        (self.year, number(self.first), number(self.last))
    }
}

impl fmt::Display for DaySpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |(month, day): (u32, u32)| match self.year {
            Some(year) => format!("{year:04}-{month:02}-{day:02}"),
            None => format!("{month:02}-{day:02}"),
        };
        f.write_str(&day(self.first))?;
        if self.first != self.last { write!(f, "..{}", day(self.last)) } else { Ok(()) }
    }
}

/// A year, if one is written, with month and day.
fn day(text: &str) -> Option<(Option<i32>, (u32, u32))> {
    let digits = |text: &str, count: usize| {
        (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u32>().ok())
            .flatten()
    };
    let parts: Vec<&str> = text.split('-').collect();
    let (year, month, day) = match parts.as_slice() {
        [month, day] => (None, digits(month, 2)?, digits(day, 2)?),
        [year, month, day] => {
            (Some(i32::try_from(digits(year, 4)?).ok()?), digits(month, 2)?, digits(day, 2)?)
        }
        _ => return None,
    };
    // 29 February comes in some years, so a day of each year may be one.
    NaiveDate::from_ymd_opt(year.unwrap_or(2000), month, day)?;
    Some((year, (month, day)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(span: &str, date: &str) -> bool {
        DaySpan::parse(span).unwrap().contains(date.parse().unwrap())
    }

    #[test]
    fn a_day_comes_each_year_or_once() {
        assert!(contains("11-11", "2019-11-11") && contains("11-11", "2026-11-11"));
        assert!(!contains("11-11", "2026-11-12"));
        assert!(contains("2026-05-03", "2026-05-03") && !contains("2026-05-03", "2025-05-03"));
        assert!(contains("06-16..06-18", "2024-06-17") && !contains("06-16..06-18", "2024-06-19"));
        assert!(contains("02-29", "2024-02-29"));
    }

    #[test]
    fn what_is_no_day_says_how_to_write_one() {
        for (text, why) in [
            ("13-01", "no such date"),
            ("2023-02-29", "no such date"),
            ("1-1", "no such date"),
            ("", "no such date"),
            ("双11", "no such date"),
            ("11-12..11-11", "runs backwards"),
            ("2024-12-30..2025-01-02", "different years"),
            ("11-11..2025-11-12", "different years"),
        ] {
            let error = DaySpan::parse(text).unwrap_err();
            assert!(error.message().contains(why), "{text}: {error}");
            assert!(error.hint_text().unwrap().contains("11-11"));
        }
    }

    #[test]
    fn a_span_is_written_as_it_was_read() {
        for text in ["11-11", "2026-05-03", "06-16..06-18", "2026-01-01..2026-01-09"] {
            assert_eq!(DaySpan::parse(text).unwrap().to_string(), text);
        }
    }
}
