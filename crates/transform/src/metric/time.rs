//! Periods, spans and the range of a question as SQL.

use chrono::{NaiveDate, Weekday};
use flywheel_base::{Error, Result, Timestamp};
use flywheel_project::resource::semantic::{Grain, Offset, TimeSpan};

/// The type moments have in generated SQL: microseconds reach beyond any sensible date.
pub(super) const MOMENT: &str = "TIMESTAMP(6)";

/// A length of time in calendar units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Length {
    pub(super) months: i64,
    pub(super) days: i64,
    pub(super) seconds: i64,
}

impl Length {
    pub(super) fn of(span: TimeSpan) -> Self {
        let (months, days, seconds) = span.parts();
        Self { months, days, seconds }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            months: self.months + other.months,
            days: self.days + other.days,
            seconds: self.seconds + other.seconds,
        }
    }

    pub(super) fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// `base` moved by the length, later with `+` and earlier with `-`.
    pub(super) fn moved(self, base: &str, sign: char) -> String {
        let mut sql = base.to_owned();
        for (count, unit) in
            [(self.months, "months"), (self.days, "days"), (self.seconds, "seconds")]
        {
            if count != 0 {
                sql = format!("{sql} {sign} INTERVAL '{count} {unit}'");
            }
        }
        sql
    }
}

/// How much earlier an offset is for periods of a grain. A year of weeks is 52 of them, so that weekdays match.
pub(super) fn shift(offset: Offset, grain: Option<Grain>, range: &Range) -> Result<Length> {
    let year = |span: TimeSpan| Length::of(span) == Length { months: 12, ..Length::default() };
    match (offset, grain) {
        (Offset::Previous, Some(grain)) => Ok(Length::of(grain.step())),
        (Offset::Span(span), Some(Grain::Week)) if year(span) => {
            Ok(Length { days: 364, ..Length::default() })
        }
        (Offset::Span(span), _) => Ok(Length::of(span)),
        (Offset::Previous, None) => range.length.ok_or_else(|| {
            Error::invalid("what was before is only known for a period").hint(
                "Group by time, as in --by time:month, or ask for a period: --during 2024-03.",
            )
        }),
    }
}

/// When what counts begins and ends, as SQL of dates or moments.
#[derive(Clone, Debug, Default)]
pub(super) struct Range {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// How long it is.
    pub(super) length: Option<Length>,
}

impl Range {
    /// The range between two texts.
    pub(super) fn between(from: Option<&str>, to: Option<&str>) -> Result<Self> {
        let (first, last) = (from.map(moment).transpose()?, to.map(moment).transpose()?);
        let mut length = None;
        if let (Some(first), Some(last)) = (&first, &last) {
            if first.at >= last.at {
                return Err(Error::invalid("the range is empty: it ends before it begins").hint(
                    "`to` is the first moment that no longer counts, so it comes after `from`.",
                ));
            }
            length = Some(match (first.first_of_month(), last.first_of_month()) {
                (Some(a), Some(b)) => Length { months: b - a, ..Length::default() },
                _ => {
                    let seconds = last.at.micros().saturating_sub(first.at.micros()) / 1_000_000;
                    match seconds % 86_400 {
                        0 => Length { days: seconds / 86_400, ..Length::default() },
                        _ => Length { seconds, ..Length::default() },
                    }
                }
            });
        }
        Ok(Self { from: first.map(|m| m.sql), to: last.map(|m| m.sql), length })
    }

    /// The range of a period.
    pub(super) fn during(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("\"{text}\" is no period"))
                .hint("Write 2024, 2024-Q1, 2024-03, 2024-W05 or 2024-03-15.")
        };
        let number = |part: &str| part.parse::<u32>().map_err(|_| wrong());
        let parts: Vec<&str> = text.trim().split('-').collect();
        let year = parts.first().filter(|y| y.len() == 4 && y.bytes().all(|b| b.is_ascii_digit()));
        let year = year.ok_or_else(wrong)?;
        let (from, length) = match parts.as_slice() {
            [_] => (format!("DATE '{year}-01-01'"), Length { months: 12, ..Length::default() }),
            [_, part] if part.starts_with(['Q', 'q']) => {
                let quarter = number(&part[1..])?;
                if !(1..=4).contains(&quarter) {
                    return Err(wrong());
                }
                let month = quarter * 3 - 2;
                (format!("DATE '{year}-{month:02}-01'"), Length { months: 3, ..Length::default() })
            }
            [_, part] if part.starts_with(['W', 'w']) => {
                let week = number(&part[1..])?;
                if !(1..=53).contains(&week) {
                    return Err(wrong());
                }
                let of: i32 = year.parse().map_err(|_| wrong())?;
                if NaiveDate::from_isoywd_opt(of, week, Weekday::Mon).is_none() {
                    return Err(Error::invalid(format!("the year {year} has no week {week}"))
                        .hint("By ISO 8601 it has 52 weeks; week 1 of the next year follows."));
                }
                // The 4th of January is always in week 1.
                let days = (week - 1) * 7;
                let first =
                    format!("CAST(date_trunc('week', CAST('{year}-01-04' AS {MOMENT})) AS DATE)");
                (
                    format!("{first} + INTERVAL '{days} days'"),
                    Length { days: 7, ..Length::default() },
                )
            }
            [_, month] => {
                let month = number(month)?;
                if !(1..=12).contains(&month) {
                    return Err(wrong());
                }
                (format!("DATE '{year}-{month:02}-01'"), Length { months: 1, ..Length::default() })
            }
            [_, _, _] => {
                let day = moment(text).map_err(|_| wrong())?;
                (day.sql, Length { days: 1, ..Length::default() })
            }
            _ => return Err(wrong()),
        };
        let to = length.moved(&from, '+');
        Ok(Self { from: Some(from), to: Some(to), length: Some(length) })
    }
}

struct Moment {
    at: Timestamp,
    sql: String,
    date: Option<(i64, i64, i64)>,
}

impl Moment {
    /// The number of the month, counted from year 0, if it is the first day of one.
    fn first_of_month(&self) -> Option<i64> {
        self.date.filter(|(_, _, day)| *day == 1).map(|(year, month, _)| year * 12 + month)
    }
}

fn moment(text: &str) -> Result<Moment> {
    let text = text.trim();
    let at = Timestamp::parse(text).map_err(|error| {
        error.hint("Write a date such as 2024-01-31, or a moment such as 2024-01-31T12:00:00Z.")
    })?;
    if !text.contains(':') {
        let text = at.date();
        let mut parts = text.split('-').map(|part| part.parse::<i64>().ok());
        let date = match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()) {
            (Some(year), Some(month), Some(day)) => Some((year, month, day)),
            _ => None,
        };
        return Ok(Moment { at, sql: format!("DATE '{text}'"), date });
    }
    // The engine reads the moment in the form that the clock prints, without its zone.
    let utc = at.datetime().naive_utc().to_string().replace(' ', "T");
    Ok(Moment { at, sql: format!("CAST('{utc}' AS {MOMENT})"), date: None })
}

/// The calendar of a project.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calendar {
    /// How many months the fiscal year begins after the calendar year.
    pub(super) fiscal_months: i64,
}

impl Calendar {
    /// The beginning of the period a moment lies in; a date from days on.
    pub(super) fn period(self, grain: Grain, moment: &str) -> String {
        let start = self.start(grain, moment);
        if grain <= Grain::Day { start } else { format!("CAST({start} AS DATE)") }
    }

    /// The same, but a moment from weeks on: what every row is grouped by need not be a date yet.
    pub(super) fn start(self, grain: Grain, moment: &str) -> String {
        match grain {
            Grain::Day => format!("CAST({moment} AS DATE)"),
            Grain::FiscalQuarter => self.fiscal("quarter", moment),
            Grain::FiscalYear => self.fiscal("year", moment),
            Grain::Minute
            | Grain::Hour
            | Grain::Week
            | Grain::Month
            | Grain::Quarter
            | Grain::Year => {
                format!("date_trunc('{}', {moment})", grain.word())
            }
        }
    }

    fn fiscal(self, word: &str, moment: &str) -> String {
        let months = self.fiscal_months;
        if months == 0 {
            return format!("date_trunc('{word}', {moment})");
        }
        // Whole months first: a year's end moved by months is not always one.
        format!(
            "(date_trunc('{word}', date_trunc('month', {moment}) - INTERVAL '{months} months') \
             + INTERVAL '{months} months')"
        )
    }
}

/// A date or moment as a moment.
pub(super) fn as_moment(sql: &str) -> String {
    format!("CAST({sql} AS {MOMENT})")
}

#[cfg(test)]
mod tests {
    use super::Range;

    #[test]
    fn only_long_years_have_a_week_53() {
        for week in ["2020-W53", "2026-W53", "2015-w53", "2024-W52", "2024-W1"] {
            assert!(Range::during(week).is_ok(), "{week}");
        }
        for week in ["2024-W53", "2021-W53"] {
            let error = Range::during(week).unwrap_err();
            assert!(error.message().contains("has no week 53"), "{error}");
        }
        for week in ["2024-W0", "2024-W54", "2024-W"] {
            let error = Range::during(week).unwrap_err();
            assert!(error.message().contains("is no period"), "{error}");
        }
    }
}
