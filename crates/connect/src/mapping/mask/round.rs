//! `round(2)`, `round(month)`: numbers and dates with less in them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate};
use flywheel_base::{Error, Result, suggest};

use super::{Mask, MaskKind};
use crate::column::DAY_US;
use crate::mapping::form::{Arguments, Parameter};

/// How many places before or after the point can be named.
const PLACES_MAX: i64 = 18;
/// Days from 0001-01-01 to 1970-01-01.
const EPOCH_DAYS_FROM_CE: i32 = 719_163;
/// Parts of time that can be rounded down to.
const PARTS: [&str; 6] = ["year", "quarter", "month", "week", "day", "hour"];

/// What is left of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Places(i32),
    Part(&'static str),
}

/// Rounds numbers, and dates and moments down.
#[derive(Debug)]
pub(crate) struct Round(Left);

impl MaskKind for Round {
    const ABOUT: &'static str = "Rounds numbers to n places after the point, or before it if n is \
                                 negative (round(-3): thousands); dates and moments down to their year, \
                                 quarter, month, week, day or hour.";
    const PARAMETERS: &'static [Parameter] = &[Parameter::text(
        "to",
        "Places after the point, as in 2 or -3; or year, quarter, month, week, day, hour.",
    )];
    const DISTINCT: bool = false;

    fn build(arguments: &Arguments) -> Result<Self> {
        let Some(to) = arguments.text("to") else {
            return Err(
                arguments.absent("to", "Write round(-3) for thousands, round(month) for dates.")
            );
        };
        if let Some(part) = PARTS.iter().find(|part| **part == to) {
            return Ok(Self(Left::Part(part)));
        }
        if to.starts_with(|c: char| c.is_alphabetic()) {
            return Err(arguments.wrong("to", to, suggest::hint(to, PARTS)));
        }
        let places = arguments.number("to", -PLACES_MAX..=PLACES_MAX)?.unwrap_or_default();
        Ok(Self(Left::Places(i32::try_from(places).unwrap_or_default())))
    }
}

impl Mask for Round {
    fn text(&self, _: &str) -> Option<String> {
        Some(super::MASKED.to_owned())
    }

    fn column(&self, column: &ArrayRef, _: Option<&StringArray>) -> Result<ArrayRef> {
        let column = &super::in_usual_units(column)?;
        let kind = column.data_type();
        Ok(match (self.0, kind) {
            (Left::Places(places), DataType::Int64) => Arc::new(
                column.as_primitive::<Int64Type>().unary::<_, Int64Type>(|n| whole(n, places)),
            ),
            (Left::Places(places), DataType::Int32) => {
                Arc::new(column.as_primitive::<Int32Type>().unary::<_, Int32Type>(|n| {
                    let rounded = whole(i64::from(n), places);
                    i32::try_from(rounded).unwrap_or_else(|_| {
                        i32::try_from(floor(i64::from(n), places)).unwrap_or_default()
                    })
                }))
            }
            (Left::Places(places), DataType::Float64) => Arc::new(
                column.as_primitive::<Float64Type>().unary::<_, Float64Type>(|n| float(n, places)),
            ),
            (Left::Places(places), DataType::Decimal128(precision, scale)) => {
                let digits = i32::from(*scale) - places;
                let limit = 10_i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
                let rounded: Decimal128Array = column
                    .as_primitive::<Decimal128Type>()
                    .unary::<_, Decimal128Type>(|n| {
                    let near = nearest(n, digits);
                    if near.unsigned_abs() < limit.unsigned_abs() { near } else { down(n, digits) }
                });
                Arc::new(rounded.with_data_type(kind.clone()))
            }
            (Left::Part(part), DataType::Date32) => Arc::new(
                column.as_primitive::<Date32Type>().unary::<_, Date32Type>(|day| start(day, part)),
            ),
            (Left::Part(part), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                let rounded = column
                    .as_primitive::<TimestampMicrosecondType>()
                    .unary::<_, TimestampMicrosecondType>(|micros| moment(micros, part));
                Arc::new(rounded.with_data_type(kind.clone()))
            }
            (left, kind) => {
                let (wanted, written) = match left {
                    Left::Places(_) => ("numbers", "int64 or decimal(12,2)"),
                    Left::Part(_) => ("dates and moments", "date or timestamp"),
                };
                return Err(Error::invalid(format!("round is for {wanted} here, not for {kind}"))
                    .hint(format!("Declare the column's type, such as {written}.")));
            }
        })
    }

    fn reads_text(&self) -> bool {
        false
    }

    fn keeps_type(&self) -> bool {
        true
    }
}

/// A whole number with zeros in its last places; what would be too large is rounded down.
fn whole(n: i64, places: i32) -> i64 {
    let near = nearest(i128::from(n), -places);
    i64::try_from(near).unwrap_or_else(|_| floor(n, places))
}

fn floor(n: i64, places: i32) -> i64 {
    i64::try_from(down(i128::from(n), -places)).unwrap_or_default()
}

/// The nearest multiple of ten to the power of `digits`, halves away from zero.
fn nearest(n: i128, digits: i32) -> i128 {
    let Some(step) = step(digits) else { return if digits > 0 { 0 } else { n } };
    let rest = n % step;
    let away = if rest.unsigned_abs() * 2 >= step.unsigned_abs() { step * n.signum() } else { 0 };
    (n - rest).saturating_add(away)
}

/// The multiple of ten to the power of `digits` next to `n` towards zero.
fn down(n: i128, digits: i32) -> i128 {
    step(digits).map_or(if digits > 0 { 0 } else { n }, |step| n - n % step)
}

fn step(digits: i32) -> Option<i128> {
    u32::try_from(digits)
        .ok()
        .filter(|digits| *digits > 0)
        .and_then(|digits| 10_i128.checked_pow(digits))
}

fn float(n: f64, places: i32) -> f64 {
    let factor = 10_f64.powi(places.abs());
    let rounded = match places >= 0 {
        true => (n * factor).round() / factor,
        false => (n / factor).round() * factor,
    };
    // A number too large to be scaled has nothing after the point.
    if rounded.is_finite() { rounded } else { n }
}

/// The first day of the part of time a day is in.
fn start(day: i32, part: &str) -> i32 {
    let Some(date) = NaiveDate::from_num_days_from_ce_opt(day.saturating_add(EPOCH_DAYS_FROM_CE))
    else {
        return day;
    };
    let back = match part {
        "year" => date.ordinal0(),
        "quarter" => {
            let first = NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1);
            first.map_or(0, |first| date.ordinal0() - first.ordinal0())
        }
        "month" => date.day0(),
        "week" => date.weekday().num_days_from_monday(),
        _ => 0,
    };
    day.saturating_sub(i32::try_from(back).unwrap_or_default())
}

/// The first microsecond of the part of time a moment is in, in UTC.
fn moment(micros: i64, part: &str) -> i64 {
    const HOUR_US: i64 = DAY_US / 24;
    if part == "hour" {
        return micros - micros.rem_euclid(HOUR_US);
    }
    let day = micros.div_euclid(DAY_US);
    if DateTime::from_timestamp_micros(micros).is_none() {
        return micros;
    }
    i32::try_from(day).map_or(micros, |day| i64::from(start(day, part)) * DAY_US)
}
