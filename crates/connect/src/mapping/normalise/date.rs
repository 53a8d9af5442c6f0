//! `date`, `date(dmy)`: calendar dates in ISO form, `2024-05-01`.
//!
//! A date with two readings is set aside: `03/04/2024` is read only if the order is given. A date with
//! dots and the year last is day first, as everywhere it is written so. Two digits of a year up to
//! the pivot (68) are of this century, the others of the last, as POSIX has it. The time of day and
//! its zone are left out: the day is the one that is written.

mod layout;

use std::borrow::Cow;

use chrono::{Days, NaiveDate};
use flywheel_base::{Result, suggest};

use super::{Normal, Normalise, NormaliserKind, text};
use crate::column::Misfit;
use crate::mapping::form::{Arguments, Parameter};

/// The last day a spreadsheet knows, 9999-12-31.
const SERIAL_MAX: u64 = 2_958_465;
/// The serial of 29 February 1900, a day that spreadsheets believe in.
const SERIAL_OF_NO_DAY: u64 = 60;
/// The last two digits of a year that belong to this century.
const PIVOT: i64 = 68;
/// The words an argument may be.
const LAYOUTS: [&str; 5] = ["dmy", "mdy", "ymd", "excel", "excel1904"];

/// The order of day, month and year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    DayMonthYear,
    MonthDayYear,
    YearMonthDay,
}

/// The day a spreadsheet counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serials {
    From1900,
    From1904,
}

/// Gives dates the ISO form.
#[derive(Debug)]
pub(crate) struct Date {
    order: Option<Order>,
    serials: Option<Serials>,
    pivot: i32,
}

impl NormaliserKind for Date {
    const ABOUT: &'static str = "Gives dates the form 2024-05-01. Read are ISO dates, 2024年5月1日, 1 May \
                                 2024, 1.5.2024 and more; 03/04/2024 only as date(dmy) or date(mdy), \
                                 days counted by a spreadsheet only as date(excel).";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::texts("layout", "dmy, mdy or ymd: the order; excel or excel1904: serial days."),
        Parameter::named("pivot", "Two digits of a year up to this one are of this century; 68."),
    ];

    fn build(arguments: &Arguments) -> Result<Self> {
        let mut date = Self { order: None, serials: None, pivot: 0 };
        for layout in arguments.texts("layout") {
            let twice = match layout {
                "dmy" => date.order.replace(Order::DayMonthYear).is_some(),
                "mdy" => date.order.replace(Order::MonthDayYear).is_some(),
                "ymd" => date.order.replace(Order::YearMonthDay).is_some(),
                "excel" => date.serials.replace(Serials::From1900).is_some(),
                "excel1904" => date.serials.replace(Serials::From1904).is_some(),
                other => {
                    return Err(arguments.wrong("layout", other, suggest::hint(other, LAYOUTS)));
                }
            };
            if twice {
                return Err(arguments.wrong("layout", layout, "Give one order and one calendar."));
            }
        }
        let pivot = arguments.number("pivot", 0..=99)?.unwrap_or(PIVOT);
        date.pivot = i32::try_from(pivot).unwrap_or_default();
        Ok(date)
    }
}

impl Normalise for Date {
    fn normalise<'a>(&self, original: &'a str) -> Normal<'a> {
        let plain = text::plain(original);
        let trimmed = text::trimmed(&plain);
        if trimmed.is_empty() {
            return Ok(None);
        }
        let day = self.day(trimmed)?;
        let iso = day.format("%Y-%m-%d").to_string();
        Ok(Some(text::kept(original, Cow::Owned(iso))))
    }
}

impl Date {
    fn day(&self, written: &str) -> Result<NaiveDate, Misfit> {
        if let Some(count) = serial(written) {
            if let Some(serials) = self.serials
                && count <= SERIAL_MAX
            {
                return spreadsheet_day(count, serials);
            }
            if written.bytes().all(|byte| byte.is_ascii_digit()) {
                return self.compact(written);
            }
        }
        let parts = layout::read(written)?;
        self.assemble(parts)
    }

    /// Digits without anything between.
    fn compact(&self, digits: &str) -> Result<NaiveDate, Misfit> {
        let number = |from: usize, to: usize| {
            digits.get(from..to).and_then(|part| part.parse::<i32>().ok()).unwrap_or_default()
        };
        match (digits.len(), self.order) {
            (8, order) => {
                let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
                let swapped = match order {
                    Some(Order::DayMonthYear) => Some((number(4, 8), number(2, 4), number(0, 2))),
                    Some(Order::MonthDayYear) => Some((number(4, 8), number(0, 2), number(2, 4))),
                    _ => None,
                };
                let usual = |year: i32| (1800..2200).contains(&year);
                match swapped {
                    Some((year, month, day)) if usual(year) && !usual(number(0, 4)) => {
                        exact(year, month, day)
                    }
                    Some((year2, month2, day2)) if exact(year, month, day).is_err() => {
                        exact(year2, month2, day2)
                    }
                    _ => exact(year, month, day),
                }
            }
            (6, Some(order)) => {
                let parts = [number(0, 2), number(2, 4), number(4, 6)];
                self.ordered(parts, order)
            }
            (6, None) => Err(ambiguous()),
            (5, _) => Err(Misfit::new(
                "date-serial",
                "five digits, as spreadsheets count days; write date(excel) to read them",
            )),
            _ => Err(form()),
        }
    }

    fn assemble(&self, parts: layout::Parts) -> Result<NaiveDate, Misfit> {
        match parts {
            layout::Parts::Named { day, month, year, short } => {
                exact(if short { self.century(year) } else { year }, month, day)
            }
            layout::Parts::YearFirst([year, month, day]) => exact(year, month, day),
            layout::Parts::YearLast { first, second, year, dots } => {
                let order = match self.order {
                    Some(order @ (Order::DayMonthYear | Order::MonthDayYear)) => order,
                    _ if dots => Order::DayMonthYear,
                    _ if first == second || first > 12 => Order::DayMonthYear,
                    _ if second > 12 => Order::MonthDayYear,
                    _ => return Err(ambiguous()),
                };
                match order {
                    Order::MonthDayYear => exact(year, first, second),
                    _ => exact(year, second, first),
                }
            }
            layout::Parts::Short(parts) => match self.order {
                Some(order) => self.ordered(parts, order),
                None => Err(ambiguous()),
            },
        }
    }

    /// Three numbers of two digits in a given order.
    fn ordered(&self, [a, b, c]: [i32; 3], order: Order) -> Result<NaiveDate, Misfit> {
        match order {
            Order::DayMonthYear => exact(self.century(c), b, a),
            Order::MonthDayYear => exact(self.century(c), a, b),
            Order::YearMonthDay => exact(self.century(a), b, c),
        }
    }

    fn century(&self, year: i32) -> i32 {
        if year <= self.pivot { 2000 + year } else { 1900 + year }
    }
}

/// A whole number of days, perhaps with a time of day behind the point.
fn serial(written: &str) -> Option<u64> {
    let (whole, fraction) = written.split_once('.').unwrap_or((written, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(fraction)).then(|| whole.parse().ok()).flatten()
}

/// The day a spreadsheet means by a number.
fn spreadsheet_day(count: u64, serials: Serials) -> Result<NaiveDate, Misfit> {
    let impossible = || Misfit::new("date-impossible", "no day of a spreadsheet has this number");
    let (year, month, day, days) = match serials {
        Serials::From1904 => (1904, 1, 1, count),
        Serials::From1900 if count == 0 || count == SERIAL_OF_NO_DAY => return Err(impossible()),
        Serials::From1900 if count < SERIAL_OF_NO_DAY => (1899, 12, 31, count),
        Serials::From1900 => (1899, 12, 30, count),
    };
    NaiveDate::from_ymd_opt(year, month, day)
        .and_then(|start| start.checked_add_days(Days::new(days)))
        .filter(|day| day.format("%Y").to_string().len() == 4)
        .ok_or_else(impossible)
}

/// A day of the calendar.
fn exact(year: i32, month: i32, day: i32) -> Result<NaiveDate, Misfit> {
    if year == 0 && month == 0 && day == 0 {
        return Err(Misfit::new(
            "date-zero",
            "a date of zeros; add null_if(0000-00-00) before date",
        ));
    }
    let part = |number: i32| u32::try_from(number).ok();
    let date = part(month).zip(part(day));
    date.filter(|_| (1..=9999).contains(&year))
        .and_then(|(month, day)| NaiveDate::from_ymd_opt(year, month, day))
        .ok_or_else(|| Misfit::new("date-impossible", "no calendar has this day"))
}

fn ambiguous() -> Misfit {
    Misfit::new("date-ambiguous", "two readings; write date(dmy), date(mdy) or date(ymd)")
}

fn form() -> Misfit {
    Misfit::new("date-form", "not a date in any layout that is known")
}
