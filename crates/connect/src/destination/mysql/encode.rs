//! Arrow values as SQL literals, and whether a column of the target keeps them whole.
//!
//! The server rounds 1.5 into a whole number and cuts the fraction of a second without an error even
//! in strict mode, so those are checked here. A text with a quote or a backslash is sent as
//! hexadecimal digits, which mean the same in every `sql_mode`.

use std::fmt::Write as _;

use arrow::array::{
    Array, ArrayRef, AsArray as _, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int64Array, LargeBinaryArray, LargeStringArray, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Datelike as _, NaiveDate, Timelike as _};
use flywheel_base::{Error, Result};
use mysql_async::consts::ColumnType as SqlType;

use crate::column::Misfit;

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

/// The years the server's dates can have.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;

/// The day that dates are counted from.
const EPOCH_FROM_CE: i32 = 719_163;

/// Digits behind the point that the server counts as "as many as there are".
const DIGITS_FREE: u8 = 31;

/// What a column of the target can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Everything the server does not refuse.
    Any,
    /// Whole numbers.
    Whole,
    /// Numbers with so many digits behind the point.
    Scale(u8),
    /// Numbers of single precision.
    Single,
    /// Numbers of double precision.
    Double,
    /// Times with so many digits behind the second.
    Digits(u8),
    /// Days.
    Day,
}

impl Fit {
    /// What a column of a result keeps.
    pub(super) fn of(column: &mysql_async::Column) -> Self {
        let digits = if column.decimals() >= DIGITS_FREE { 6 } else { column.decimals() };
        match column.column_type() {
            SqlType::MYSQL_TYPE_TINY
            | SqlType::MYSQL_TYPE_SHORT
            | SqlType::MYSQL_TYPE_INT24
            | SqlType::MYSQL_TYPE_LONG
            | SqlType::MYSQL_TYPE_LONGLONG
            | SqlType::MYSQL_TYPE_YEAR
            | SqlType::MYSQL_TYPE_BIT => Self::Whole,
            SqlType::MYSQL_TYPE_DECIMAL | SqlType::MYSQL_TYPE_NEWDECIMAL => {
                Self::Scale(column.decimals())
            }
            SqlType::MYSQL_TYPE_FLOAT => Self::Single,
            SqlType::MYSQL_TYPE_DOUBLE => Self::Double,
            SqlType::MYSQL_TYPE_DATE | SqlType::MYSQL_TYPE_NEWDATE => Self::Day,
            SqlType::MYSQL_TYPE_DATETIME
            | SqlType::MYSQL_TYPE_DATETIME2
            | SqlType::MYSQL_TYPE_TIMESTAMP
            | SqlType::MYSQL_TYPE_TIMESTAMP2
            | SqlType::MYSQL_TYPE_TIME
            | SqlType::MYSQL_TYPE_TIME2 => Self::Digits(digits),
            _ => Self::Any,
        }
    }
}

/// The values of one column, ready to be written as literals.
#[derive(Debug)]
pub(super) enum Cells {
    Nothing,
    Bool(BooleanArray),
    Int(Int64Array),
    Single(Float32Array),
    Double(Float64Array),
    Decimal(Decimal128Array),
    Text(StringArray),
    LargeText(LargeStringArray),
    Bytes(BinaryArray),
    LargeBytes(LargeBinaryArray),
    Date(Date32Array),
    Moment(TimestampMicrosecondArray),
    Nanos(TimestampNanosecondArray),
    Time(Time64MicrosecondArray),
}

/// The type that a column's values are brought into first; none if it cannot be written.
pub(super) fn plain(data_type: &DataType) -> Option<DataType> {
    use DataType as Type;
    Some(match data_type {
        Type::Null
        | Type::Boolean
        | Type::Int64
        | Type::Float32
        | Type::Float64
        | Type::Decimal128(..)
        | Type::Utf8
        | Type::LargeUtf8
        | Type::Binary
        | Type::LargeBinary
        | Type::Date32
        | Type::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
        | Type::Time64(TimeUnit::Microsecond) => data_type.clone(),
        Type::Int8 | Type::Int16 | Type::Int32 | Type::UInt8 | Type::UInt16 | Type::UInt32 => {
            Type::Int64
        }
        Type::UInt64 => Type::Decimal128(20, 0),
        Type::Float16 => Type::Float32,
        Type::Decimal32(precision, scale) | Type::Decimal64(precision, scale) => {
            Type::Decimal128(*precision, *scale)
        }
        Type::Utf8View => Type::LargeUtf8,
        Type::BinaryView | Type::FixedSizeBinary(_) => Type::LargeBinary,
        Type::Date64 => Type::Timestamp(TimeUnit::Microsecond, None),
        Type::Timestamp(_, zone) => Type::Timestamp(TimeUnit::Microsecond, zone.clone()),
        Type::Time32(_) => Type::Time64(TimeUnit::Microsecond),
        Type::Dictionary(_, values) => plain(values)?,
        _ => return None,
    })
}

impl Cells {
    /// Takes the values of a column.
    pub(super) fn of(name: &str, array: &ArrayRef) -> Result<Self> {
        let Some(wanted) = plain(array.data_type()) else { return Err(unwritable(name, array)) };
        let cast;
        let array = if *array.data_type() == wanted {
            array
        } else {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast = cast_with_options(array, &wanted, &options).map_err(|error| {
                Error::invalid(format!("a value of column \"{name}\" is out of range"))
                    .caused_by(error)
            })?;
            &cast
        };
        let found = match &wanted {
            DataType::Null => Some(Self::Nothing),
            DataType::Boolean => array.as_boolean_opt().cloned().map(Self::Bool),
            DataType::Int64 => array.as_primitive_opt().cloned().map(Self::Int),
            DataType::Float32 => array.as_primitive_opt().cloned().map(Self::Single),
            DataType::Float64 => array.as_primitive_opt().cloned().map(Self::Double),
            DataType::Decimal128(..) => array.as_primitive_opt().cloned().map(Self::Decimal),
            DataType::Utf8 => array.as_string_opt().cloned().map(Self::Text),
            DataType::LargeUtf8 => array.as_string_opt().cloned().map(Self::LargeText),
            DataType::Binary => array.as_binary_opt().cloned().map(Self::Bytes),
            DataType::LargeBinary => array.as_binary_opt().cloned().map(Self::LargeBytes),
            DataType::Date32 => array.as_primitive_opt().cloned().map(Self::Date),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                array.as_primitive_opt().cloned().map(Self::Nanos)
            }
            DataType::Timestamp(..) => array.as_primitive_opt().cloned().map(Self::Moment),
            _ => array.as_primitive_opt().cloned().map(Self::Time),
        };
        found.ok_or_else(|| unwritable(name, array))
    }

    /// Whether there is no value.
    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Nothing => true,
            Self::Bool(array) => array.is_null(row),
            Self::Int(array) => array.is_null(row),
            Self::Single(array) => array.is_null(row),
            Self::Double(array) => array.is_null(row),
            Self::Decimal(array) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::LargeText(array) => array.is_null(row),
            Self::Bytes(array) => array.is_null(row),
            Self::LargeBytes(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Moment(array) => array.is_null(row),
            Self::Nanos(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
        }
    }

    /// Writes a value as a literal.
    pub(super) fn literal(&self, row: usize, fit: Fit, sql: &mut String) -> Result<(), Misfit> {
        if self.is_null(row) {
            sql.push_str("NULL");
            return Ok(());
        }
        match self {
            Self::Nothing => sql.push_str("NULL"),
            Self::Bool(array) => sql.push(if array.value(row) { '1' } else { '0' }),
            Self::Int(array) => int(array.value(row), fit, sql)?,
            Self::Single(array) => {
                let value = array.value(row);
                double(f64::from(value), &value.to_string(), fit, sql)?;
            }
            Self::Double(array) => {
                let value = array.value(row);
                double(value, &value.to_string(), fit, sql)?;
            }
            Self::Decimal(array) => decimal(array, row, fit, sql)?,
            Self::Text(array) => text(array.value(row), fit, sql)?,
            Self::LargeText(array) => text(array.value(row), fit, sql)?,
            Self::Bytes(array) => bytes(array.value(row), sql),
            Self::LargeBytes(array) => bytes(array.value(row), sql),
            Self::Date(array) => date(array.value(row), sql)?,
            Self::Moment(array) => moment(array.value(row), fit, sql)?,
            Self::Nanos(array) => {
                let value = array.value(row);
                if value % 1_000 != 0 {
                    return Err(loses("a moment more precise than a microsecond"));
                }
                moment(value / 1_000, fit, sql)?;
            }
            Self::Time(array) => time(array.value(row), fit, sql)?,
        }
        Ok(())
    }
}

fn unwritable(name: &str, array: &ArrayRef) -> Error {
    let kind = array.data_type();
    Error::invalid(format!("column \"{name}\" of type {kind} cannot be written to MySQL"))
        .hint("Turn it into text or JSON in the mapping, or leave it out.")
}

fn loses(reason: &'static str) -> Misfit {
    Misfit::new("loses-digits", format!("{reason}; the column of the target would round it"))
}

fn put(sql: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    sql.write_fmt(arguments).unwrap_or_default();
}

fn int(value: i64, fit: Fit, sql: &mut String) -> Result<(), Misfit> {
    let wide = i128::from(value);
    let exact = match fit {
        Fit::Single => (value as f32) as i128 == wide,
        Fit::Double => (value as f64) as i128 == wide,
        _ => true,
    };
    if !exact {
        return Err(loses("a whole number with more digits than a floating-point number has"));
    }
    put(sql, format_args!("{value}"));
    Ok(())
}

/// `shown` is the shortest text that means the value.
fn double(value: f64, shown: &str, fit: Fit, sql: &mut String) -> Result<(), Misfit> {
    if !value.is_finite() {
        return Err(Misfit::new("not-finite", "NaN or an infinity, which MySQL does not have"));
    }
    match fit {
        Fit::Whole if value.fract() != 0.0 => Err(loses("a number that is not whole")),
        Fit::Scale(scale) => {
            if fraction(shown).len() > usize::from(scale) {
                return Err(loses("a number with more digits behind the point"));
            }
            sql.push_str(shown);
            Ok(())
        }
        Fit::Single if f64::from(value as f32) != value => {
            Err(loses("a number of double precision"))
        }
        _ => {
            put(sql, format_args!("{value:e}"));
            Ok(())
        }
    }
}

fn decimal(array: &Decimal128Array, row: usize, fit: Fit, sql: &mut String) -> Result<(), Misfit> {
    let shown = array.value_as_string(row);
    let digits = match fit {
        Fit::Whole => 0,
        Fit::Scale(scale) => usize::from(scale),
        _ => usize::MAX,
    };
    if fraction(&shown).len() > digits {
        return Err(loses("a number with more digits behind the point"));
    }
    sql.push_str(&shown);
    Ok(())
}

/// The digits behind the point, without the zeros at their end.
fn fraction(number: &str) -> &str {
    number.split_once('.').map_or("", |(_, digits)| digits).trim_end_matches('0')
}

fn text(value: &str, fit: Fit, sql: &mut String) -> Result<(), Misfit> {
    let digits_max = match fit {
        Fit::Whole => Some(0),
        Fit::Scale(digits) | Fit::Digits(digits) => Some(usize::from(digits)),
        _ => None,
    };
    if digits_max.is_some_and(|max| fraction(value.trim()).len() > max) {
        return Err(loses("a value with more digits behind the point"));
    }
    if fit == Fit::Day
        && value.get(10..).is_some_and(|rest| rest.contains(|c| matches!(c, '1'..='9')))
    {
        return Err(loses("a date with a time of day"));
    }
    quote(value, sql);
    Ok(())
}

/// Writes a text as a literal that means itself in every `sql_mode`.
pub(super) fn quote(value: &str, sql: &mut String) {
    if memchr::memchr3(b'\'', b'\\', 0, value.as_bytes()).is_some() {
        sql.push_str("_utf8mb4 ");
        bytes(value.as_bytes(), sql);
        return;
    }
    sql.push('\'');
    sql.push_str(value);
    sql.push('\'');
}

fn bytes(value: &[u8], sql: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    sql.push_str("X'");
    for byte in value {
        for half in [byte >> 4, byte & 15] {
            sql.push(DIGITS.get(usize::from(half)).copied().unwrap_or('0'));
        }
    }
    sql.push('\'');
}

fn out_of_years() -> Misfit {
    Misfit::new("out-of-range", "a date outside of the years 0 to 9999")
}

fn date(days: i32, sql: &mut String) -> Result<(), Misfit> {
    let day = days.checked_add(EPOCH_FROM_CE).and_then(NaiveDate::from_num_days_from_ce_opt);
    let day = day.filter(|day| YEARS.contains(&day.year())).ok_or_else(out_of_years)?;
    put(sql, format_args!("'{:04}-{:02}-{:02}'", day.year(), day.month(), day.day()));
    Ok(())
}

fn moment(micros: i64, fit: Fit, sql: &mut String) -> Result<(), Misfit> {
    let moment = DateTime::from_timestamp_micros(micros).ok_or_else(out_of_years)?;
    if !YEARS.contains(&moment.year()) {
        return Err(out_of_years());
    }
    match fit {
        Fit::Day if micros.rem_euclid(DAY_US) != 0 => {
            return Err(loses("a moment with a time of day"));
        }
        Fit::Digits(digits) => whole_second_parts(micros, digits)?,
        _ => {}
    }
    let (year, month, day) = (moment.year(), moment.month(), moment.day());
    let (hour, minute, second) = (moment.hour(), moment.minute(), moment.second());
    put(sql, format_args!("'{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"));
    finish_fraction(micros, sql);
    Ok(())
}

fn time(micros: i64, fit: Fit, sql: &mut String) -> Result<(), Misfit> {
    if let Fit::Digits(digits) = fit {
        whole_second_parts(micros, digits)?;
    }
    let seconds = micros.div_euclid(1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    put(sql, format_args!("'{hour:02}:{minute:02}:{second:02}"));
    finish_fraction(micros, sql);
    Ok(())
}

/// Whether a column with that many digits behind the second keeps the value.
fn whole_second_parts(micros: i64, digits: u8) -> Result<(), Misfit> {
    let step = 10_i64.pow(6 - u32::from(digits.min(6)));
    if micros.rem_euclid(step) != 0 {
        return Err(loses("a time with more digits behind the second"));
    }
    Ok(())
}

fn finish_fraction(micros: i64, sql: &mut String) {
    match micros.rem_euclid(1_000_000) {
        0 => sql.push('\''),
        fraction => put(sql, format_args!(".{fraction:06}'")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "called with arrays made in place")]
    fn literals(array: ArrayRef, fit: Fit) -> Vec<String> {
        let cells = Cells::of("c", &array).unwrap();
        let literal = |row| {
            let mut sql = String::new();
            cells.literal(row, fit, &mut sql).map_or_else(|misfit| misfit.code.into(), |()| sql)
        };
        (0..array.len()).map(literal).collect()
    }

    #[test]
    fn texts_mean_themselves_whatever_they_hold() {
        let array = StringArray::from(vec!["plain é", "it's", "a\\", "", "'; DROP TABLE t; --"]);
        let found = literals(Arc::new(array), Fit::Any);
        assert_eq!(&found[..4], ["'plain é'", "_utf8mb4 X'69742773'", "_utf8mb4 X'615C'", "''"]);
        assert!(!found[4].contains("DROP"));
    }

    #[test]
    fn values_a_column_would_round_are_refused() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.5, f64::NAN, 0.1]));
        assert_eq!(
            literals(Arc::clone(&floats), Fit::Whole),
            ["1e0", "loses-digits", "not-finite", "loses-digits"]
        );
        assert_eq!(literals(Arc::clone(&floats), Fit::Scale(1)), ["1", "1.5", "not-finite", "0.1"]);
        assert_eq!(literals(floats, Fit::Single)[3], "loses-digits");
        let decimals =
            Decimal128Array::from(vec![150, 155]).with_precision_and_scale(9, 2).unwrap();
        assert_eq!(literals(Arc::new(decimals), Fit::Scale(1)), ["1.50", "loses-digits"]);
        let moments: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, 1, 500_000, -1]));
        assert_eq!(
            literals(Arc::clone(&moments), Fit::Digits(1))[2],
            "'1970-01-01 00:00:00.500000'"
        );
        assert_eq!(
            literals(Arc::clone(&moments), Fit::Digits(6))[3],
            "'1969-12-31 23:59:59.999999'"
        );
        assert_eq!(literals(moments, Fit::Day)[1], "loses-digits");
        let texts = StringArray::from(vec!["1.50", "1.55", "7"]);
        assert_eq!(literals(Arc::new(texts), Fit::Scale(1)), ["'1.50'", "loses-digits", "'7'"]);
        let ints = Int64Array::from(vec![(1 << 53) + 1, 1 << 53]);
        assert_eq!(literals(Arc::new(ints), Fit::Double), ["loses-digits", "9007199254740992"]);
    }
}
