//! The rows of a batch as messages of PostgreSQL's protocol, in both forms of its values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    LargeBinaryArray, LargeStringArray, RecordBatch, Time64MicrosecondArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Schema,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use flywheel_base::{Error, Result};

use super::kind::Kind;
use super::numeric;
use crate::failure::from_arrow;
use crate::text::texts;

/// Days from the first one of the common era to 1970.
pub(super) const DAYS_TO_1970: i32 = 719_163;
/// Days from 1970 to 2000, where PostgreSQL begins to count.
pub(super) const DAYS_TO_2000: i32 = 10_957;
/// The same in microseconds.
pub(super) const MICROS_TO_2000: i64 = 946_684_800_000_000;
/// Floats are written with an exponent from this power of ten on, as PostgreSQL does.
const EXPONENT_MAX: i32 = 15;
/// The same for floats of four bytes.
const EXPONENT_MAX_SINGLE: i32 = 6;
/// And below this one.
const EXPONENT_MIN: i32 = -4;

/// The form in which values are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As people read them.
    #[default]
    Text,
    /// As machines do.
    Binary,
}

impl Form {
    /// The form of a code of the protocol.
    #[must_use]
    pub fn of(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Text),
            1 => Some(Self::Binary),
            _ => None,
        }
    }

    /// The code of the protocol.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// A column in the type whose values are written.
pub(super) enum Column {
    Bool(BooleanArray),
    Oid(UInt32Array),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Whole(UInt64Array),
    Decimal(Decimal128Array),
    Wide(Decimal256Array),
    Text(LargeStringArray),
    Bytea(LargeBinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    /// A moment, and whether it has a time zone.
    Moment(TimestampMicrosecondArray, bool),
    Interval(IntervalMonthDayNanoArray),
    /// What has parts, as its JSON, and what has no other form.
    Said(Vec<Option<String>>),
}

impl Column {
    fn of(array: &ArrayRef, told: Kind) -> Result<Self> {
        let to = |kind: &DataType| {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, kind, &options).map_err(from_arrow)
        };
        Ok(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => {
                Self::Int2(to(&DataType::Int16)?.as_primitive::<Int16Type>().clone())
            }
            DataType::Int32 | DataType::UInt16 => {
                Self::Int4(to(&DataType::Int32)?.as_primitive::<Int32Type>().clone())
            }
            DataType::UInt32 if told == Kind::Oid => {
                Self::Oid(array.as_primitive::<UInt32Type>().clone())
            }
            DataType::Int64 | DataType::UInt32 => {
                Self::Int8(to(&DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            DataType::UInt64 => Self::Whole(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float16 | DataType::Float32 => {
                Self::Float4(to(&DataType::Float32)?.as_primitive::<Float32Type>().clone())
            }
            DataType::Float64 => Self::Float8(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
                let wide = DataType::Decimal128(*precision, *scale);
                Self::Decimal(to(&wide)?.as_primitive::<Decimal128Type>().clone())
            }
            DataType::Decimal128(..) => {
                Self::Decimal(array.as_primitive::<Decimal128Type>().clone())
            }
            DataType::Decimal256(..) => Self::Wide(array.as_primitive::<Decimal256Type>().clone()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Self::Text(to(&DataType::LargeUtf8)?.as_string::<i64>().clone())
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => {
                Self::Bytea(to(&DataType::LargeBinary)?.as_binary::<i64>().clone())
            }
            DataType::Date32 | DataType::Date64 => {
                Self::Date(to(&DataType::Date32)?.as_primitive::<Date32Type>().clone())
            }
            DataType::Time32(_) | DataType::Time64(_) => {
                let micros = DataType::Time64(TimeUnit::Microsecond);
                Self::Time(to(&micros)?.as_primitive::<Time64MicrosecondType>().clone())
            }
            DataType::Timestamp(_, zone) => {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                let moments = to(&micros)?.as_primitive::<TimestampMicrosecondType>().clone();
                Self::Moment(moments, zone.is_some())
            }
            DataType::Interval(_) | DataType::Duration(_) => {
                let whole = DataType::Interval(IntervalUnit::MonthDayNano);
                Self::Interval(to(&whole)?.as_primitive::<IntervalMonthDayNanoType>().clone())
            }
            DataType::Dictionary(_, value) => return Self::of(&to(value.as_ref())?, told),
            other => {
                let schema = Schema::new(vec![Field::new("x", other.clone(), true)]);
                let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(array)]);
                let mut said = Vec::with_capacity(array.len());
                texts(&batch.map_err(from_arrow)?, |row| said.extend(row))?;
                Self::Said(said)
            }
        })
    }

    pub(super) fn is_missing(&self, row: usize) -> bool {
        match self {
            Self::Bool(values) => values.is_null(row),
            Self::Oid(values) => values.is_null(row),
            Self::Int2(values) => values.is_null(row),
            Self::Int4(values) => values.is_null(row),
            Self::Int8(values) => values.is_null(row),
            Self::Float4(values) => values.is_null(row),
            Self::Float8(values) => values.is_null(row),
            Self::Whole(values) => values.is_null(row),
            Self::Decimal(values) => values.is_null(row),
            Self::Wide(values) => values.is_null(row),
            Self::Text(values) => values.is_null(row),
            Self::Bytea(values) => values.is_null(row),
            Self::Date(values) => values.is_null(row),
            Self::Time(values) => values.is_null(row),
            Self::Moment(values, _) => values.is_null(row),
            Self::Interval(values) => values.is_null(row),
            Self::Said(values) => values.get(row).is_none_or(Option::is_none),
        }
    }

    /// Writes a value as people read it.
    pub(super) fn text(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        let text = match self {
            Self::Bool(values) => {
                out.put_u8(if values.value(row) { b't' } else { b'f' });
                return Ok(());
            }
            Self::Text(values) => {
                out.put_slice(values.value(row).as_bytes());
                return Ok(());
            }
            Self::Said(values) => {
                out.put_slice(values.get(row).and_then(Option::as_deref).unwrap_or("").as_bytes());
                return Ok(());
            }
            Self::Oid(values) => values.value(row).to_string(),
            Self::Int2(values) => values.value(row).to_string(),
            Self::Int4(values) => values.value(row).to_string(),
            Self::Int8(values) => values.value(row).to_string(),
            Self::Whole(values) => values.value(row).to_string(),
            Self::Decimal(values) => values.value_as_string(row),
            Self::Wide(values) => values.value_as_string(row),
            Self::Float4(values) => {
                let value = values.value(row);
                let plain = value.to_string();
                float(f64::from(value), &plain, &format!("{value:e}"), EXPONENT_MAX_SINGLE)
            }
            Self::Float8(values) => {
                let value = values.value(row);
                float(value, &value.to_string(), &format!("{value:e}"), EXPONENT_MAX)
            }
            Self::Bytea(values) => {
                let value = values.value(row);
                let mut text = String::with_capacity(2 + 2 * value.len());
                text.push_str("\\x");
                let digit = |bits: u8| char::from_digit(u32::from(bits), 16).unwrap_or('0');
                for byte in value {
                    text.push(digit(byte >> 4));
                    text.push(digit(byte & 15));
                }
                text
            }
            Self::Date(values) => {
                let day = day(values.value(row))?;
                let (text, era) = calendar_day(day);
                format!("{text}{era}")
            }
            Self::Time(values) => clock(values.value(row)),
            Self::Moment(values, zoned) => moment(values.value(row), *zoned)?,
            Self::Interval(values) => {
                let value = values.value(row);
                interval(value.months, value.days, value.nanoseconds)
            }
        };
        out.put_slice(text.as_bytes());
        Ok(())
    }

    /// Writes a value as machines read it.
    pub(super) fn binary(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        match self {
            Self::Bool(values) => out.put_u8(u8::from(values.value(row))),
            Self::Oid(values) => out.put_u32(values.value(row)),
            Self::Int2(values) => out.put_i16(values.value(row)),
            Self::Int4(values) => out.put_i32(values.value(row)),
            Self::Int8(values) => out.put_i64(values.value(row)),
            Self::Float4(values) => out.put_f32(values.value(row)),
            Self::Float8(values) => out.put_f64(values.value(row)),
            Self::Whole(values) => numeric::write(&values.value(row).to_string(), out)?,
            Self::Decimal(values) => numeric::write(&values.value_as_string(row), out)?,
            Self::Wide(values) => numeric::write(&values.value_as_string(row), out)?,
            Self::Bytea(values) => out.put_slice(values.value(row)),
            Self::Date(values) => {
                out.put_i32(values.value(row).checked_sub(DAYS_TO_2000).ok_or_else(far)?);
            }
            Self::Time(values) => out.put_i64(values.value(row)),
            Self::Moment(values, _) => {
                out.put_i64(values.value(row).checked_sub(MICROS_TO_2000).ok_or_else(far)?);
            }
            Self::Interval(values) => {
                let value = values.value(row);
                out.put_i64(value.nanoseconds / 1_000);
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            Self::Text(_) | Self::Said(_) => self.text(row, out)?,
        }
        Ok(())
    }
}

/// The columns of a batch, to be written as the types that were told for them.
pub(super) fn columns(batch: &RecordBatch, kinds: &[Kind]) -> Result<Vec<Column>> {
    let told = kinds.iter().copied().chain(std::iter::repeat(Kind::Text));
    batch.columns().iter().zip(told).map(|(array, kind)| Column::of(array, kind)).collect()
}

/// Writes every row of a batch as a message; `kinds` has the type that was told for each column, `forms` its form.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] for a moment that PostgreSQL's calendar does not reach,
/// [`flywheel_base::ErrorKind::Exhausted`] for a row that is too long for the protocol.
pub fn data_rows(
    batch: &RecordBatch,
    kinds: &[Kind],
    forms: &[Form],
    out: &mut BytesMut,
) -> Result<()> {
    let columns = columns(batch, kinds)?;
    let count = count(&columns)?;
    for row in 0..batch.num_rows() {
        out.put_u8(b'D');
        let message = out.len();
        out.put_i32(0);
        out.put_i16(count);
        for (at, column) in columns.iter().enumerate() {
            if column.is_missing(row) {
                out.put_i32(-1);
                continue;
            }
            let place = out.len();
            out.put_i32(0);
            match forms.get(at).copied().unwrap_or_default() {
                Form::Text => column.text(row, out)?,
                Form::Binary => column.binary(row, out)?,
            }
            // A value's length leaves itself out, a message's does not.
            set_length(out, place, 4)?;
        }
        set_length(out, message, 0)?;
    }
    Ok(())
}

/// How many columns there are, as the protocol says it.
pub(super) fn count(columns: &[Column]) -> Result<i16> {
    i16::try_from(columns.len()).map_err(|_| {
        let message = format!("{} columns are too many for PostgreSQL's protocol", columns.len());
        Error::exhausted(message).hint("Name the columns that are needed.")
    })
}

/// Puts in the length of what was written since `place`, without `less` of it.
pub(super) fn set_length(out: &mut BytesMut, place: usize, less: usize) -> Result<()> {
    let length = i32::try_from(out.len() - place - less)
        .map_err(|_| Error::exhausted("a row is too long for PostgreSQL's protocol"))?;
    if let Some(bytes) = out.get_mut(place..place + 4) {
        bytes.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn far() -> Error {
    Error::invalid("a moment lies outside of PostgreSQL's calendar")
        .hint("Cast the column to a text.")
}

/// A float in PostgreSQL's words: shortest, with an exponent where it is large or small.
fn float(value: f64, plain: &str, scientific: &str, exponent_max: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let Some((digits, exponent)) = scientific.split_once('e') else { return plain.to_owned() };
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent >= exponent_max || exponent < EXPONENT_MIN => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => plain.to_owned(),
    }
}

fn day(days: i32) -> Result<NaiveDate> {
    let day = days.checked_add(DAYS_TO_1970).and_then(NaiveDate::from_num_days_from_ce_opt);
    day.ok_or_else(far)
}

/// A day, and what follows it and its time if it lies before the common era.
fn calendar_day(day: NaiveDate) -> (String, &'static str) {
    let (year, era) = if day.year() > 0 { (day.year(), "") } else { (1 - day.year(), " BC") };
    (format!("{year:04}-{:02}-{:02}", day.month(), day.day()), era)
}

/// A time of the day without the zeros at its end.
fn clock(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{}", part(fraction))
}

/// A part of a second, in microseconds, with its point.
fn part(micros: i64) -> String {
    match micros {
        0 => String::new(),
        micros => format!(".{micros:06}").trim_end_matches('0').to_owned(),
    }
}

fn moment(micros: i64, zoned: bool) -> Result<String> {
    let moment = DateTime::from_timestamp_micros(micros).ok_or_else(far)?;
    let (day, era) = calendar_day(moment.date_naive());
    let time = moment.time();
    let seconds = i64::from(time.num_seconds_from_midnight());
    let of_day = seconds * 1_000_000 + micros.rem_euclid(1_000_000);
    let zone = if zoned { "+00" } else { "" };
    Ok(format!("{day} {}{zone}{era}", clock(of_day)))
}

/// A span of time: `1 year 2 mons 3 days 04:05:06.7`.
fn interval(months: i32, days: i32, nanoseconds: i64) -> String {
    let mut parts = Vec::new();
    // What follows a part with a minus says that it has none.
    let mut behind_minus = false;
    for (count, one) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            let sign = if behind_minus && count > 0 { "+" } else { "" };
            let plural = if count == 1 { "" } else { "s" };
            parts.push(format!("{sign}{count} {one}{plural}"));
            behind_minus = count < 0;
        }
    }
    let micros = nanoseconds / 1_000;
    if micros != 0 || parts.is_empty() {
        let sign = match (micros < 0, behind_minus) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let micros = i64::try_from(micros.unsigned_abs()).unwrap_or(i64::MAX);
        parts.push(format!("{sign}{}", clock(micros)));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use arrow::array::{NullArray, StringArray};
    use arrow::datatypes::IntervalMonthDayNano;

    use super::*;

    /// The values of a column of one row, in both forms.
    fn sent(array: ArrayRef) -> (String, Vec<u8>) {
        let kind = Kind::of(array.data_type());
        sent_as(kind, array)
    }

    fn sent_as(kind: Kind, array: ArrayRef) -> (String, Vec<u8>) {
        let schema = Schema::new(vec![Field::new("x", array.data_type().clone(), true)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap();
        let value = |form| {
            let mut out = BytesMut::new();
            data_rows(&batch, &[kind], &[form], &mut out).unwrap();
            assert_eq!(out[0], b'D');
            let length = i32::from_be_bytes(out[1..5].try_into().unwrap());
            assert_eq!(usize::try_from(length).unwrap() + 1, out.len());
            out[11..].to_vec()
        };
        (String::from_utf8(value(Form::Text)).unwrap(), value(Form::Binary))
    }

    #[test]
    fn values_have_postgresqls_forms() {
        let moment = 1_709_210_096_500_000_i64;
        let since_2000 = moment - MICROS_TO_2000;
        let zoned = TimestampMicrosecondArray::from(vec![moment]).with_timezone("UTC");
        let span = IntervalMonthDayNano::new(14, 3, 3_723_000_500_000);
        let mut span_bytes = 3_723_000_500_i64.to_be_bytes().to_vec();
        span_bytes.extend(3_i32.to_be_bytes());
        span_bytes.extend(14_i32.to_be_bytes());
        let cases: Vec<(ArrayRef, &str, Vec<u8>)> = vec![
            (Arc::new(BooleanArray::from(vec![true])), "t", vec![1]),
            (Arc::new(Int16Array::from(vec![-2])), "-2", (-2_i16).to_be_bytes().to_vec()),
            (Arc::new(UInt32Array::from(vec![u32::MAX])), "4294967295", {
                i64::from(u32::MAX).to_be_bytes().to_vec()
            }),
            (Arc::new(Float64Array::from(vec![1e20])), "1e+20", 1e20_f64.to_be_bytes().to_vec()),
            (Arc::new(Float64Array::from(vec![0.1])), "0.1", 0.1_f64.to_be_bytes().to_vec()),
            (Arc::new(StringArray::from(vec!["两"])), "两", "两".as_bytes().to_vec()),
            (
                Arc::new(LargeBinaryArray::from(vec![Some(&b"\x00\xff"[..])])),
                "\\x00ff",
                vec![0, 255],
            ),
            (Arc::new(Date32Array::from(vec![10_958])), "2000-01-02", 1_i32.to_be_bytes().to_vec()),
            (Arc::new(Date32Array::from(vec![-DAYS_TO_1970])), "0001-12-31 BC", {
                (-DAYS_TO_1970 - DAYS_TO_2000).to_be_bytes().to_vec()
            }),
            (Arc::new(zoned), "2024-02-29 12:34:56.5+00", since_2000.to_be_bytes().to_vec()),
            (
                Arc::new(IntervalMonthDayNanoArray::from(vec![span])),
                "1 year 2 mons 3 days 01:02:03.0005",
                span_bytes,
            ),
        ];
        for (array, text, binary) in cases {
            let kind = array.data_type().clone();
            assert_eq!(sent(array), (text.to_owned(), binary), "{kind}");
        }
        assert_eq!(float(f64::NAN, "", "", 15), "NaN");
        assert_eq!(float(0.000_01, "0.00001", "1e-5", 15), "1e-05");
        assert_eq!(interval(0, 0, -1_000_000_000), "-00:00:01");
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(-14, 3, 7_200_000_000_000), "-1 years -2 mons +3 days 02:00:00");
        assert_eq!(interval(0, -1, 7_200_000_000_000), "-1 days +02:00:00");
    }

    #[test]
    fn a_decimal_tells_its_digits_and_keeps_all_of_them() {
        let kind = DataType::Decimal128(20, 3);
        let array = Decimal128Array::from(vec![-12_345_678_i128]);
        let array = array.with_precision_and_scale(20, 3).unwrap();
        let (text, binary) = sent(Arc::new(array));
        assert_eq!(text, "-12345.678");
        // How many digits to the base of 10,000, the power of the first one, the sign, the places, the digits.
        let words = [3_u16, 1, 0x4000, 3, 1, 2_345, 6_780];
        assert_eq!(binary, words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
        assert_eq!(Kind::of(&kind), Kind::Numeric);
    }

    #[test]
    fn a_number_of_the_catalogue_has_four_bytes() {
        let array = || Arc::new(UInt32Array::from(vec![u32::MAX]));
        let said = "4294967295".to_owned();
        assert_eq!(sent_as(Kind::Oid, array()), (said.clone(), vec![255; 4]));
        assert_eq!(sent(array()), (said, i64::from(u32::MAX).to_be_bytes().to_vec()));
    }

    #[test]
    fn a_missing_value_has_no_bytes() {
        let array: ArrayRef = Arc::new(NullArray::new(1));
        let schema = Schema::new(vec![Field::new("x", DataType::Null, true)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap();
        let mut out = BytesMut::new();
        data_rows(&batch, &[Kind::Text], &[Form::Text], &mut out).unwrap();
        assert_eq!(&out[..], b"D\0\0\0\x0a\0\x01\xff\xff\xff\xff");
    }
}
