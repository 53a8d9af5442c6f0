//! `date_shift(key=…, by=customer_id)`: dates moved by days nobody knows.
//!
//! All dates of one unit move by the same number of days, so that the time between them stays true;
//! the number follows from key and unit and is never 0.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, TimeUnit, TimestampMicrosecondType,
};
use flywheel_base::{Error, Result};

use super::keyed::Keyed;
use super::{Mask, MaskKind};
use crate::column::DAY_US;
use crate::mapping::form::{Arguments, KEY, Parameter};

/// How far dates move unless another number of days is given.
const DAYS: i64 = 30;
/// The farthest dates can move.
const DAYS_MAX: i64 = 3_660;
/// The days that dates have, 0001-01-01 to 9999-12-31, as days from 1970: others are read by few systems.
const CALENDAR: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

/// Moves dates and moments.
#[derive(Debug)]
pub(crate) struct DateShift {
    key: Keyed,
    by: String,
    days: i64,
}

impl MaskKind for DateShift {
    const ABOUT: &'static str = "Moves dates and moments by up to 30 days, never by none: all rows with \
                                 the same value in the column `by` by the same number of days, so that \
                                 the time between two of their dates stays true.";
    const PARAMETERS: &'static [Parameter] = &[
        KEY,
        Parameter::text("by", "The column of the source whose rows move together, customer_id."),
        Parameter::text("days", "How far dates move at most, in days; 30 if not given."),
    ];
    const DISTINCT: bool = false;

    fn build(arguments: &Arguments) -> Result<Self> {
        let Some(by) = arguments.text("by") else {
            return Err(arguments
                .absent("by", "Name the column whose rows move together, as in by=customer_id."));
        };
        let days = arguments.number("days", 1..=DAYS_MAX)?.unwrap_or(DAYS);
        let key = Keyed::derived(arguments.key()?, "date_shift")?;
        Ok(Self { key, by: by.to_owned(), days })
    }
}

impl Mask for DateShift {
    fn text(&self, _: &str) -> Option<String> {
        Some(super::MASKED.to_owned())
    }

    fn column(&self, column: &ArrayRef, units: Option<&StringArray>) -> Result<ArrayRef> {
        let units = units.ok_or_else(|| {
            Error::invalid(format!("there is no column \"{}\" to shift dates by", self.by))
                .hint("Name a column of the source in by=.")
        })?;
        let column = &super::in_usual_units(column)?;
        let kind = column.data_type();
        Ok(match kind {
            DataType::Date32 => Arc::new(self.shift::<Date32Type>(column, units, |day, days| {
                let moved = i64::from(day).checked_add(days).filter(|day| CALENDAR.contains(day));
                moved.and_then(|day| i32::try_from(day).ok())
            })),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Arc::new(
                self.shift::<TimestampMicrosecondType>(column, units, |micros, days| {
                    let moved = micros.checked_add(days * DAY_US);
                    moved.filter(|micros| CALENDAR.contains(&micros.div_euclid(DAY_US)))
                })
                .with_data_type(kind.clone()),
            ),
            _ => {
                return Err(Error::invalid(format!(
                    "date_shift is for dates and moments, not for {kind}"
                ))
                .hint("Declare the column's type as date or timestamp."));
            }
        })
    }

    fn unit(&self) -> Option<&str> {
        Some(&self.by)
    }

    fn reads_text(&self) -> bool {
        false
    }

    fn keeps_type(&self) -> bool {
        true
    }
}

impl DateShift {
    /// Moves every value; one that would leave the calendar becomes no value.
    fn shift<T: ArrowPrimitiveType>(
        &self,
        column: &ArrayRef,
        units: &StringArray,
        add: impl Fn(T::Native, i64) -> Option<T::Native>,
    ) -> PrimitiveArray<T> {
        let values = column.as_primitive::<T>().iter().zip(units);
        values.map(|(value, unit)| add(value?, self.days_of(unit))).collect()
    }

    /// The days of a unit: from `-days` to `days`, without 0.
    fn days_of(&self, unit: Option<&str>) -> i64 {
        let given: &[u8] = if unit.is_some() { b"=" } else { b"-" };
        let digest = self.key.digest(&[given, unit.unwrap_or_default().as_bytes()]);
        let mut first = [0; 8];
        first.copy_from_slice(digest.first_chunk::<8>().unwrap_or(&[0; 8]));
        let range = self.days.unsigned_abs() * 2;
        let drawn = i64::try_from(u64::from_le_bytes(first) % range).unwrap_or_default();
        if drawn < self.days { drawn - self.days } else { drawn - self.days + 1 }
    }
}
