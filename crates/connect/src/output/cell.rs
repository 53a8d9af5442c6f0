//! The values of a column in the few kinds that every text format, sheet and database knows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float64Array, Int64Array, PrimitiveArray, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowTimestampType, DataType, Date32Type, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta};
use flywheel_base::{Error, Result};

use crate::column::Misfit;

/// The last year that four digits can write.
const YEAR_MAX: i32 = 9999;

/// One value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A double.
    Float(f64),
    /// An exact number: its digits, and how many of them stand after the point.
    Decimal(i128, i8),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Days since the epoch.
    Date(i32),
    /// Microseconds since the epoch, and whether they are in UTC.
    Moment(i64, bool),
    /// A list, a struct, a map or a union: the array and the row.
    Nested(&'a ArrayRef, usize),
}

/// The values of one column.
#[derive(Debug)]
pub(crate) enum Cells {
    /// None at all.
    Null,
    /// Truth values.
    Bool(BooleanArray),
    /// Whole numbers.
    Int(Int64Array),
    /// Doubles.
    Float(Float64Array),
    /// Exact numbers.
    Decimal(Decimal128Array, i8),
    /// Texts.
    Text(StringArray),
    /// Bytes.
    Bytes(BinaryArray),
    /// Dates.
    Date(Date32Array),
    /// Moments.
    Moment {
        /// In the unit of the column.
        values: Int64Array,
        /// That unit.
        unit: TimeUnit,
        /// Whether they are in UTC.
        zoned: bool,
    },
    /// Lists, structs, maps, unions.
    Nested(ArrayRef),
}

impl Cells {
    /// Reads a column.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if its type has no such form.
    pub(crate) fn of(array: &ArrayRef) -> Result<Self> {
        let to = |to: DataType| {
            cast(array, &to).map_err(|error| {
                let from = array.data_type();
                Error::invalid(format!("values of type {from} cannot be written")).caused_by(error)
            })
        };
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => {
                Self::Int(to(DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            DataType::UInt64 => Self::decimal(&to(DataType::Decimal128(20, 0))?, 0),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                Self::Float(to(DataType::Float64)?.as_primitive::<Float64Type>().clone())
            }
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => {
                Self::decimal(&to(DataType::Decimal128(*precision, *scale))?, *scale)
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Self::Text(to(DataType::Utf8)?.as_string::<i32>().clone())
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => {
                Self::Bytes(to(DataType::Binary)?.as_binary::<i32>().clone())
            }
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().clone()),
            DataType::Date64 => Self::of(&to(DataType::Date32)?)?,
            DataType::Timestamp(unit, zone) => {
                let zoned = zone.is_some();
                let values = match unit {
                    TimeUnit::Second => moments::<TimestampSecondType>(array),
                    TimeUnit::Millisecond => moments::<TimestampMillisecondType>(array),
                    TimeUnit::Microsecond => moments::<TimestampMicrosecondType>(array),
                    TimeUnit::Nanosecond => moments::<TimestampNanosecondType>(array),
                };
                Self::Moment { values, unit: *unit, zoned }
            }
            DataType::Dictionary(_, value) => Self::of(&to((**value).clone())?)?,
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..)
            | DataType::Union(..) => Self::Nested(Arc::clone(array)),
            _ => Self::Text(shown(array)?),
        })
    }

    fn decimal(array: &ArrayRef, scale: i8) -> Self {
        Self::Decimal(array.as_primitive::<arrow::datatypes::Decimal128Type>().clone(), scale)
    }

    /// The value of a row.
    pub(crate) fn cell(&self, row: usize) -> Result<Cell<'_>, Misfit> {
        let null = match self {
            Self::Null => true,
            Self::Bool(values) => values.is_null(row),
            Self::Int(values) | Self::Moment { values, .. } => values.is_null(row),
            Self::Float(values) => values.is_null(row),
            Self::Decimal(values, _) => values.is_null(row),
            Self::Text(values) => values.is_null(row),
            Self::Bytes(values) => values.is_null(row),
            Self::Date(values) => values.is_null(row),
            Self::Nested(values) => values.is_null(row),
        };
        if null {
            return Ok(Cell::Null);
        }
        Ok(match self {
            Self::Null => Cell::Null,
            Self::Bool(values) => Cell::Bool(values.value(row)),
            Self::Int(values) => Cell::Int(values.value(row)),
            Self::Float(values) => Cell::Float(values.value(row)),
            Self::Decimal(values, scale) => Cell::Decimal(values.value(row), *scale),
            Self::Text(values) => Cell::Text(values.value(row)),
            Self::Bytes(values) => Cell::Bytes(values.value(row)),
            Self::Date(values) => Cell::Date(values.value(row)),
            Self::Moment { values, unit, zoned } => {
                Cell::Moment(micros(values.value(row), *unit)?, *zoned)
            }
            Self::Nested(array) => Cell::Nested(array, row),
        })
    }
}

fn moments<T: ArrowTimestampType>(array: &ArrayRef) -> Int64Array {
    let values: &PrimitiveArray<T> = array.as_primitive();
    values.reinterpret_cast()
}

fn micros(value: i64, unit: TimeUnit) -> Result<i64, Misfit> {
    let factor = match unit {
        TimeUnit::Second => 1_000_000,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => return Ok(value),
        TimeUnit::Nanosecond if value % 1_000 == 0 => return Ok(value / 1_000),
        TimeUnit::Nanosecond => {
            return Err(Misfit::new("out-of-range", "a moment finer than microseconds"));
        }
    };
    value.checked_mul(factor).ok_or_else(|| Misfit::new("out-of-range", "a moment too far away"))
}

/// Values of any other type as Arrow shows them: times of day, intervals, wide decimals.
fn shown(array: &ArrayRef) -> Result<StringArray> {
    let fail = |error| {
        let from = array.data_type();
        Error::invalid(format!("values of type {from} cannot be written")).caused_by(error)
    };
    let formatter = ArrayFormatter::try_new(array, &FormatOptions::default()).map_err(fail)?;
    let mut texts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        let text = if array.is_null(row) {
            None
        } else {
            Some(formatter.value(row).try_to_string().map_err(fail)?)
        };
        texts.push(text);
    }
    Ok(StringArray::from(texts))
}

/// An exact number as text.
pub(crate) fn decimal_text(value: i128, scale: i8) -> String {
    let digits = value.unsigned_abs().to_string();
    let sign = if value < 0 { "-" } else { "" };
    let Ok(places) = usize::try_from(scale) else {
        let zeros = if value == 0 { 0 } else { usize::from(scale.unsigned_abs()) };
        return format!("{sign}{digits}{}", "0".repeat(zeros));
    };
    if places == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    format!("{sign}{whole}.{fraction}")
}

/// A double as the shortest text that reads back as the same double, with a point or an exponent.
pub(crate) fn float_text(value: f64) -> String {
    format!("{value:?}")
}

/// The calendar date of a day, if four digits can write its year.
fn date(days: i32) -> Result<NaiveDate, Misfit> {
    NaiveDate::from_ymd_opt(1970, 1, 1)
        .and_then(|epoch| epoch.checked_add_signed(TimeDelta::days(i64::from(days))))
        .filter(|date| (0..=YEAR_MAX).contains(&date.year()))
        .ok_or_else(|| Misfit::new("out-of-range", "a date outside of the years 0 to 9999"))
}

/// A date as ISO text.
pub(crate) fn date_text(days: i32) -> Result<String, Misfit> {
    Ok(date(days)?.format("%Y-%m-%d").to_string())
}

/// A moment as ISO text with `separator` between date and time, and `Z` behind it if it is in UTC.
pub(crate) fn moment_text(micros: i64, separator: char, zoned: bool) -> Result<String, Misfit> {
    let at = DateTime::from_timestamp_micros(micros)
        .filter(|at| (0..=YEAR_MAX).contains(&at.year()))
        .ok_or_else(|| Misfit::new("out-of-range", "a moment outside of the years 0 to 9999"))?;
    let fraction = match micros.rem_euclid(1_000_000) {
        0 => String::new(),
        fraction => format!(".{fraction:06}"),
    };
    let zone = if zoned { "Z" } else { "" };
    let (date, time) = (at.format("%Y-%m-%d"), at.format("%H:%M:%S"));
    Ok(format!("{date}{separator}{time}{fraction}{zone}"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{TimestampNanosecondArray, TimestampSecondArray, UInt64Array};

    use super::*;

    #[test]
    fn exact_numbers_keep_their_digits_and_places() {
        assert_eq!(decimal_text(1250, 2), "12.50");
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(0, 2), "0.00");
        assert_eq!(decimal_text(i128::MAX, 0), i128::MAX.to_string());
        assert_eq!(decimal_text(-12, -3), "-12000");
        let cells = Cells::of(&(Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef)).unwrap();
        let Cell::Decimal(value, 0) = cells.cell(0).unwrap() else { panic!("{cells:?}") };
        assert_eq!(value, i128::from(u64::MAX));
    }

    #[test]
    fn moments_never_lose_digits_or_wrap_around() {
        assert_eq!(moment_text(-1, 'T', true).unwrap(), "1969-12-31T23:59:59.999999Z");
        assert_eq!(moment_text(0, ' ', false).unwrap(), "1970-01-01 00:00:00");
        assert_eq!(moment_text(i64::MAX, ' ', false).unwrap_err().code, "out-of-range");
        assert_eq!(date_text(i32::MIN).unwrap_err().code, "out-of-range");
        let fine: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_001]));
        let cells = Cells::of(&fine).unwrap();
        assert!(matches!(cells.cell(0), Ok(Cell::Moment(1, false))));
        assert_eq!(cells.cell(1).unwrap_err().code, "out-of-range");
        let far: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
        assert_eq!(Cells::of(&far).unwrap().cell(0).unwrap_err().code, "out-of-range");
    }
}
