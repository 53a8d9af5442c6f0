//! From Arrow columns to the rows of a binary `COPY`, each value checked against the column it goes
//! into, so that the server rarely has to refuse one.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float64Array, Int64Array, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float64Type, Int64Type, Schema,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result};
use memchr::memchr;
use serde::de::IgnoredAny;

use crate::column::{DECIMAL_DIGITS_MAX, whole};
use crate::postgres::{EPOCH_DAYS, EPOCH_US, PgType, write_decimal};

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

/// The first day the server knows, 4713-11-24 before Christ, in days from 1970.
const DAY_MIN: i32 = -2_440_588;

/// The first moment the server knows, in microseconds from 1970.
const MOMENT_MIN: i64 = DAY_MIN as i64 * DAY_US;

/// The day that is too late for the server, in days from 1970.
const DAY_END: i32 = 2_145_042_906;

/// The largest magnitude up to which every whole number is a double.
const FLOAT_WHOLE_MAX: u64 = 1 << 53;

/// The most bytes of one text or value of bytes.
const VALUE_BYTES_MAX: usize = (1 << 30) - 1;

/// A column in one of a few types.
#[derive(Debug)]
pub(super) enum Values {
    Bool(BooleanArray),
    Int(Int64Array),
    Float(Float64Array),
    Decimal(Decimal128Array, i8),
    Text(StringArray),
    Bytes(BinaryArray),
    Date(Date32Array),
    Moment(TimestampMicrosecondArray),
    Time(Time64MicrosecondArray),
}

/// The form a value is sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// With precision and scale if the column has them.
    Numeric(Option<(u8, u8)>),
    /// With the most characters if the column has a most.
    Text(Option<usize>),
    Json,
    Jsonb,
    Uuid,
    Bytea,
    Date,
    Moment,
    Time,
}

/// Why a row is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) reason: &'static str,
}

impl Fault {
    const RANGE: Self =
        Self { code: "out-of-range", reason: "the column cannot hold this value without loss" };
    const FORM: Self = Self { code: "type-mismatch", reason: "not a value of the column's type" };
    const LONG: Self = Self { code: "too-long", reason: "the text is longer than the column" };
    const NUL: Self = Self {
        code: "invalid-text",
        reason: "the text has a NUL character, which PostgreSQL cannot store",
    };
    /// A missing value where one is needed.
    pub(super) const NULL: Self =
        Self { code: "null-value", reason: "no value in a column that needs one" };
}

/// The type of a new column for values of an Arrow type.
pub(super) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 => "bigint".to_owned(),
        DataType::UInt64 => "numeric(20,0)".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => match u8::try_from(*scale) {
            Ok(scale) => format!("numeric({precision},{scale})"),
            Err(_) => "numeric".to_owned(),
        },
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        DataType::Timestamp(_, None) => "timestamp without time zone".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".to_owned(),
        DataType::Dictionary(_, values) => sql_type(values),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::Struct(_)
        | DataType::Map(..) => "jsonb".to_owned(),
        _ => "text".to_owned(),
    }
}

/// The form for values of an Arrow type in a column of a type; none if only the server can convert,
/// which then gets the form of the Arrow type itself.
pub(super) fn direct(data_type: &DataType, target: &PgType) -> Option<Form> {
    let family = family(data_type);
    let is = |name| target.is(name);
    let numbers = matches!(family, Family::Int | Family::Float | Family::Decimal);
    Some(match family {
        Family::Bool if is("bool") => Form::Bool,
        _ if numbers && is("int2") => Form::Int2,
        _ if numbers && is("int4") => Form::Int4,
        _ if numbers && is("int8") => Form::Int8,
        Family::Int | Family::Float if is("float8") => Form::Float8,
        Family::Float if is("float4") => Form::Float4,
        Family::Int | Family::Decimal if is("numeric") => match target.decimal() {
            None if target.modifier >= 0 => return None,
            limits => Form::Numeric(limits),
        },
        Family::Text if is("text") => Form::Text(None),
        Family::Text if is("varchar") || is("bpchar") => Form::Text(target.characters_max()),
        Family::Text | Family::Nested if is("json") => Form::Json,
        Family::Text | Family::Nested if is("jsonb") => Form::Jsonb,
        Family::Nested if is("text") => Form::Text(None),
        Family::Text if is("uuid") => Form::Uuid,
        Family::Bytes if is("bytea") => Form::Bytea,
        Family::Date | Family::Moment if is("date") => Form::Date,
        Family::Date | Family::Moment if is("timestamp") || is("timestamptz") => Form::Moment,
        Family::Time if is("time") => Form::Time,
        _ => return None,
    })
}

/// The form of an Arrow type itself.
pub(super) fn natural(data_type: &DataType) -> Form {
    match family(data_type) {
        Family::Bool => Form::Bool,
        Family::Int => Form::Int8,
        Family::Float => Form::Float8,
        Family::Decimal => Form::Numeric(None),
        Family::Text | Family::Nested => Form::Text(None),
        Family::Bytes => Form::Bytea,
        Family::Date => Form::Date,
        Family::Moment => Form::Moment,
        Family::Time => Form::Time,
    }
}

impl Form {
    /// The form in the table that rows wait in: one the server takes without looking at the value.
    pub(super) fn staged(self) -> Self {
        match self {
            Self::Json | Self::Jsonb | Self::Text(_) => Self::Text(None),
            other => other,
        }
    }

    /// The type of a column there.
    pub(super) fn staged_type(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Numeric(_) => "numeric",
            Self::Text(_) | Self::Json | Self::Jsonb => "text",
            Self::Uuid => "uuid",
            Self::Bytea => "bytea",
            Self::Date => "date",
            Self::Moment => "timestamp with time zone",
            Self::Time => "time without time zone",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Bool,
    Int,
    Float,
    Decimal,
    Text,
    Nested,
    Bytes,
    Date,
    Moment,
    Time,
}

fn family(data_type: &DataType) -> Family {
    match data_type {
        DataType::Boolean => Family::Bool,
        DataType::UInt64 => Family::Decimal,
        other if other.is_integer() => Family::Int,
        other if other.is_floating() => Family::Float,
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Family::Decimal,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Family::Bytes,
        DataType::Date32 | DataType::Date64 => Family::Date,
        DataType::Timestamp(..) => Family::Moment,
        DataType::Time32(_) | DataType::Time64(_) => Family::Time,
        DataType::Dictionary(_, values) => family(values),
        other if other.is_nested() => Family::Nested,
        _ => Family::Text,
    }
}

impl Values {
    /// Brings a column into one of the few types.
    pub(super) fn of(name: &str, array: &ArrayRef) -> Result<Self> {
        let to = match (family(array.data_type()), array.data_type()) {
            (Family::Bool, _) => DataType::Boolean,
            (Family::Int, _) => DataType::Int64,
            (Family::Float, _) => DataType::Float64,
            (Family::Decimal, DataType::UInt64) => DataType::Decimal128(20, 0),
            (
                Family::Decimal,
                DataType::Decimal32(precision, scale)
                | DataType::Decimal64(precision, scale)
                | DataType::Decimal128(precision, scale)
                | DataType::Decimal256(precision, scale),
            ) => DataType::Decimal128((*precision).min(DECIMAL_DIGITS_MAX), *scale),
            (Family::Nested, _) => return Ok(Self::Text(json(array)?)),
            (Family::Bytes, _) => DataType::Binary,
            (Family::Date, _) => DataType::Date32,
            (Family::Moment, DataType::Timestamp(_, zone)) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            (Family::Time, _) => DataType::Time64(TimeUnit::Microsecond),
            (_, DataType::Dictionary(_, values)) => {
                return Self::of(name, &converted(name, array, values)?);
            }
            (_, DataType::Null) => {
                return Ok(Self::Text(
                    new_null_array(&DataType::Utf8, array.len()).as_string::<i32>().clone(),
                ));
            }
            _ => DataType::Utf8,
        };
        let array = converted(name, array, &to)?;
        Ok(match &to {
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>().clone()),
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(_, scale) => {
                Self::Decimal(array.as_primitive::<Decimal128Type>().clone(), *scale)
            }
            DataType::Binary => Self::Bytes(array.as_binary::<i32>().clone()),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().clone()),
            DataType::Timestamp(..) => {
                Self::Moment(array.as_primitive::<TimestampMicrosecondType>().clone())
            }
            DataType::Time64(_) => {
                Self::Time(array.as_primitive::<Time64MicrosecondType>().clone())
            }
            _ => Self::Text(array.as_string::<i32>().clone()),
        })
    }

    /// Whether a row has no value.
    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::Int(array) => array.is_null(row),
            Self::Float(array) => array.is_null(row),
            Self::Decimal(array, _) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Bytes(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Moment(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
        }
    }

    /// Adds the value of a row, which is there, with its length before it.
    pub(super) fn put(&self, row: usize, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Self::Bool(array) if form == Form::Bool => {
                put(out, &[u8::from(array.value(row))]);
                Ok(())
            }
            Self::Int(array) => int(array.value(row), form, out),
            Self::Float(array) => float(array.value(row), form, out),
            Self::Decimal(array, scale) => decimal(array.value(row), *scale, form, out),
            Self::Text(array) => text(array.value(row), form, out),
            Self::Bytes(array) if form == Form::Bytea => {
                let bytes = array.value(row);
                if bytes.len() > VALUE_BYTES_MAX {
                    return Err(Fault::LONG);
                }
                put(out, bytes);
                Ok(())
            }
            Self::Date(array) => {
                let day = array.value(row);
                match form {
                    Form::Date => date(day, out),
                    _ => moment(i64::from(day).checked_mul(DAY_US).ok_or(Fault::RANGE)?, form, out),
                }
            }
            Self::Moment(array) => {
                let micros = array.value(row);
                if form != Form::Date {
                    return moment(micros, form, out);
                }
                // A date has no time of day to lose.
                if micros.rem_euclid(DAY_US) != 0 {
                    return Err(Fault::RANGE);
                }
                date(i32::try_from(micros.div_euclid(DAY_US)).map_err(|_| Fault::RANGE)?, out)
            }
            Self::Time(array) if form == Form::Time => {
                put(out, &array.value(row).to_be_bytes());
                Ok(())
            }
            _ => Err(Fault::FORM),
        }
    }
}

fn converted(name: &str, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    // Unsafe conversions answer "no value" for what does not fit.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(|error| {
        Error::invalid(format!("column \"{name}\" ({}) cannot be sent", array.data_type()))
            .caused_by(error)
            .hint("Map the column to another type, or leave it out.")
    })
}

/// Nested values as JSON.
fn json(array: &ArrayRef) -> Result<StringArray> {
    let fail = |error| Error::internal("nested values do not become JSON").caused_by(error);
    let schema = Schema::new(vec![Field::new("v", array.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(array)]).map_err(fail)?;
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(&batch).map_err(fail)?;
    writer.finish().map_err(fail)?;
    let text = String::from_utf8(writer.into_inner())
        .map_err(|error| Error::internal("nested values do not become text").caused_by(error))?;
    let value = |line: &str| {
        let inner = line.strip_prefix("{\"v\":").and_then(|rest| rest.strip_suffix('}'));
        inner.map(str::to_owned)
    };
    Ok(text.lines().map(value).collect())
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn int(value: i64, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
    match form {
        Form::Int8 => put(out, &value.to_be_bytes()),
        Form::Int4 => put(out, &i32::try_from(value).map_err(|_| Fault::RANGE)?.to_be_bytes()),
        Form::Int2 => put(out, &i16::try_from(value).map_err(|_| Fault::RANGE)?.to_be_bytes()),
        Form::Float8 if value.unsigned_abs() <= FLOAT_WHOLE_MAX => {
            put(out, &(value as f64).to_be_bytes());
        }
        Form::Float8 => return Err(Fault::RANGE),
        Form::Numeric(_) => return decimal(value.into(), 0, form, out),
        _ => return Err(Fault::FORM),
    }
    Ok(())
}

fn float(value: f64, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
    match form {
        Form::Float8 => put(out, &value.to_be_bytes()),
        Form::Float4 => {
            let narrow = value as f32;
            if narrow.is_infinite() && value.is_finite() {
                return Err(Fault::RANGE);
            }
            put(out, &narrow.to_be_bytes());
        }
        _ => return int(whole(value).ok_or(Fault::RANGE)?, form, out),
    }
    Ok(())
}

fn decimal(value: i128, scale: i8, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
    match form {
        Form::Numeric(None) => {
            if write_decimal(out, value, scale) {
                Ok(())
            } else {
                Err(Fault::RANGE)
            }
        }
        Form::Numeric(Some((precision, wanted))) => {
            let (value, wanted) = (rescaled(value, scale, wanted)?, wanted as i8);
            if value.unsigned_abs() >= 10u128.pow(u32::from(precision.min(DECIMAL_DIGITS_MAX))) {
                return Err(Fault::RANGE);
            }
            if write_decimal(out, value, wanted) { Ok(()) } else { Err(Fault::RANGE) }
        }
        _ => {
            let value = rescaled(value, scale, 0)?;
            int(i64::try_from(value).map_err(|_| Fault::RANGE)?, form, out)
        }
    }
}

/// `value` · 10^-`scale` with another scale, without losing a digit.
fn rescaled(value: i128, scale: i8, wanted: u8) -> Result<i128, Fault> {
    let shift = i32::from(wanted) - i32::from(scale);
    let power = 10i128.checked_pow(shift.unsigned_abs()).ok_or(Fault::RANGE)?;
    if shift >= 0 {
        return value.checked_mul(power).ok_or(Fault::RANGE);
    }
    if value % power != 0 {
        return Err(Fault::RANGE);
    }
    Ok(value / power)
}

fn text(value: &str, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
    let bytes = value.as_bytes();
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(Fault::LONG);
    }
    if memchr(0, bytes).is_some() {
        return Err(Fault::NUL);
    }
    match form {
        Form::Text(None) => put(out, bytes),
        Form::Text(Some(most)) => {
            // Spaces at the end do not count, as the server sees it.
            if bytes.len() > most && value.trim_end_matches(' ').chars().count() > most {
                return Err(Fault::LONG);
            }
            put(out, bytes);
        }
        Form::Json | Form::Jsonb => {
            serde_json::from_str::<IgnoredAny>(value).map_err(|_| Fault::FORM)?;
            if form == Form::Json {
                put(out, bytes);
            } else {
                out.extend_from_slice(&(bytes.len() as i32 + 1).to_be_bytes());
                out.push(1);
                out.extend_from_slice(bytes);
            }
        }
        Form::Uuid => put(out, &uuid(value).ok_or(Fault::FORM)?),
        _ => return Err(Fault::FORM),
    }
    Ok(())
}

/// The bytes of a UUID: 32 hexadecimal digits, perhaps with hyphens and in braces.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let mut bytes = [0; 16];
    let mut digits = text.bytes().filter(|byte| *byte != b'-');
    let mut digit = || {
        let digit = char::from(digits.next()?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    for byte in &mut bytes {
        *byte = digit()? << 4 | digit()?;
    }
    digits.next().is_none().then_some(bytes)
}

fn date(day: i32, out: &mut Vec<u8>) -> Result<(), Fault> {
    if !(DAY_MIN..DAY_END).contains(&day) {
        return Err(Fault::RANGE);
    }
    put(out, &(day - EPOCH_DAYS).to_be_bytes());
    Ok(())
}

fn moment(micros: i64, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
    if form != Form::Moment {
        return Err(Fault::FORM);
    }
    if micros < MOMENT_MIN {
        return Err(Fault::RANGE);
    }
    put(out, &(micros - EPOCH_US).to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: &str, form: Form) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        text(value, form, &mut out).map(|()| out.split_off(4))
    }

    #[test]
    fn values_that_a_column_cannot_hold_are_refused_before_they_are_sent() {
        let mut out = Vec::new();
        assert_eq!(int(40_000, Form::Int2, &mut out), Err(Fault::RANGE));
        assert_eq!(int(i64::MAX, Form::Float8, &mut out), Err(Fault::RANGE));
        assert_eq!(float(1.5, Form::Int4, &mut out), Err(Fault::RANGE));
        assert_eq!(float(1e300, Form::Float4, &mut out), Err(Fault::RANGE));
        assert_eq!(decimal(12_345, 2, Form::Numeric(Some((4, 2))), &mut out), Err(Fault::RANGE));
        assert_eq!(decimal(12_345, 3, Form::Numeric(Some((9, 2))), &mut out), Err(Fault::RANGE));
        assert_eq!(decimal(15, 1, Form::Int4, &mut out), Err(Fault::RANGE));
        assert_eq!(moment(i64::MIN, Form::Moment, &mut out), Err(Fault::RANGE));
        assert_eq!(date(i32::MIN, &mut out), Err(Fault::RANGE));
        assert!(out.is_empty());
        assert_eq!(sent("a\0b", Form::Text(None)), Err(Fault::NUL));
        assert_eq!(sent("äöü", Form::Text(Some(2))), Err(Fault::LONG));
        assert_eq!(sent("{", Form::Jsonb), Err(Fault::FORM));
        assert_eq!(sent("abc", Form::Uuid), Err(Fault::FORM));
    }

    #[test]
    fn texts_take_the_form_of_their_column() {
        assert_eq!(sent("äö  ", Form::Text(Some(2))).unwrap(), "äö  ".as_bytes());
        assert_eq!(sent("[1]", Form::Jsonb).unwrap(), b"\x01[1]");
        let uuid = sent("{00112233-4455-6677-8899-aabbccddeeff}", Form::Uuid).unwrap();
        assert_eq!(uuid, (0..16).map(|at| at * 17).collect::<Vec<u8>>());
    }
}
