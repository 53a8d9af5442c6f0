//! Column builders that can take a value back.
//!
//! A row is pushed column by column; when a late column does not fit, the earlier ones are cut back
//! to the rows before it, so that a row is in a page wholly or not at all.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, NullBufferBuilder, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flywheel_base::{Error, Result, Timestamp};
use serde::de::IgnoredAny;

use super::ColumnType;
use super::number::{self, NotNumber};
use super::time::{self, DAY_US};

/// Why a value is not in its column: a kebab-case code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// What went wrong, for counting.
    pub(crate) code: &'static str,
    /// What went wrong, for a person.
    pub(crate) reason: String,
}

impl Misfit {
    /// Makes one.
    pub(crate) fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    fn form(kind: ColumnType) -> Self {
        Self::new("type-mismatch", format!("not a value of type {kind}"))
    }

    fn range(kind: ColumnType) -> Self {
        Self::new("out-of-range", format!("{kind} cannot hold this value without losing digits"))
    }

    fn number(kind: ColumnType, why: NotNumber) -> Self {
        match why {
            NotNumber::Form => Self::form(kind),
            NotNumber::Range => Self::range(kind),
        }
    }
}

/// How text becomes values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parsing {
    /// The texts that mean "no value" in every column; without any, only an empty text in a column
    /// that is not text.
    pub(crate) nulls: Option<Vec<String>>,
    /// Whether NaN and infinities are values.
    pub(crate) allow_nan: bool,
    /// Whether `1,5` is one and a half.
    pub(crate) decimal_comma: bool,
    /// The pattern of dates, if not ISO.
    pub(crate) date_pattern: Option<String>,
    /// The pattern of timestamps, if not ISO.
    pub(crate) timestamp_pattern: Option<String>,
    /// Whether bytes are written as base64.
    pub(crate) base64: bool,
}

impl Parsing {
    /// Whether `text` stands for no value in a column of type `kind`.
    pub(crate) fn null(&self, text: &str, kind: ColumnType) -> bool {
        if !matches!(kind, ColumnType::Text | ColumnType::Binary) && text.trim_ascii().is_empty() {
            return true;
        }
        self.nulls.as_ref().is_some_and(|nulls| nulls.iter().any(|null| null == text))
    }
}

/// One value on its way into a column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A double.
    Float(f64),
    /// A number as written.
    Number(&'a str),
    /// A text.
    Text(&'a str),
    /// Microseconds since the epoch.
    Timestamp(i64),
    /// The text of a JSON value.
    Json(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

#[derive(Debug)]
enum Values {
    Bytes { ends: Vec<i32>, data: Vec<u8> },
    Int64(Vec<i64>),
    Int32(Vec<i32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    Bool(Vec<bool>),
}

/// Collects the values of one column of a page.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    kind: ColumnType,
    values: Values,
    nulls: NullBufferBuilder,
}

impl ColumnBuilder {
    /// Starts a column.
    pub(crate) fn new(kind: ColumnType, capacity: usize) -> Self {
        let values = match kind {
            ColumnType::Text | ColumnType::Json | ColumnType::Binary => {
                let mut ends = Vec::with_capacity(capacity + 1);
                ends.push(0);
                Values::Bytes { ends, data: Vec::new() }
            }
            ColumnType::Int64 | ColumnType::Timestamp => {
                Values::Int64(Vec::with_capacity(capacity))
            }
            ColumnType::Int32 | ColumnType::Date => Values::Int32(Vec::with_capacity(capacity)),
            ColumnType::Float64 => Values::Float64(Vec::with_capacity(capacity)),
            ColumnType::Decimal { .. } => Values::Decimal(Vec::with_capacity(capacity)),
            ColumnType::Bool => Values::Bool(Vec::with_capacity(capacity)),
        };
        Self { kind, values, nulls: NullBufferBuilder::new(capacity) }
    }

    /// The column's type.
    pub(crate) fn kind(&self) -> ColumnType {
        self.kind
    }

    /// Forgets every value after the first `rows`.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if self.nulls.len() <= rows {
            return;
        }
        self.nulls.truncate(rows);
        match &mut self.values {
            Values::Bytes { ends, data } => {
                ends.truncate(rows + 1);
                data.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Int64(values) => values.truncate(rows),
            Values::Int32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal(values) => values.truncate(rows),
            Values::Bool(values) => values.truncate(rows),
        }
    }

    /// Adds "no value".
    pub(crate) fn push_null(&mut self) {
        self.nulls.append_null();
        match &mut self.values {
            Values::Bytes { ends, data } => ends.push(data.len() as i32),
            Values::Int64(values) => values.push(0),
            Values::Int32(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values) => values.push(0),
            Values::Bool(values) => values.push(false),
        }
    }

    /// Adds the value a text stands for.
    pub(crate) fn push_text(&mut self, text: &str, parsing: &Parsing) -> Result<(), Misfit> {
        if parsing.null(text, self.kind) {
            self.push_null();
            return Ok(());
        }
        let kind = self.kind;
        match kind {
            ColumnType::Binary if parsing.base64 => {
                let bytes = STANDARD.decode(text.trim_ascii()).map_err(|error| {
                    Misfit::new("type-mismatch", format!("not base64: {error}"))
                })?;
                return self.bytes(&bytes);
            }
            ColumnType::Text | ColumnType::Binary => return self.bytes(text.as_bytes()),
            ColumnType::Json => {
                serde_json::from_str::<IgnoredAny>(text)
                    .map_err(|error| Misfit::new("type-mismatch", format!("not JSON: {error}")))?;
                return self.bytes(text.as_bytes());
            }
            _ => {}
        }
        let text = text.trim_ascii();
        match kind {
            ColumnType::Int64 | ColumnType::Int32 => {
                let text = point(text, parsing).ok_or_else(|| Misfit::form(kind))?;
                let value = number::int64(&text).map_err(|why| Misfit::number(kind, why))?;
                self.int(value)
            }
            ColumnType::Float64 => {
                let text = point(text, parsing).ok_or_else(|| Misfit::form(kind))?;
                let value = number::float64(&text, parsing.allow_nan).map_err(|why| match why {
                    NotNumber::Form => Misfit::form(kind),
                    NotNumber::Range => Misfit::new("not-finite", "NaN or an infinity"),
                })?;
                self.float(value)
            }
            ColumnType::Decimal { precision, scale } => {
                let text = point(text, parsing).ok_or_else(|| Misfit::form(kind))?;
                let value = number::decimal(&text, precision, scale)
                    .map_err(|why| Misfit::number(kind, why))?;
                self.decimal(value)
            }
            ColumnType::Bool => self.bool(truth(text).ok_or_else(|| Misfit::form(kind))?),
            ColumnType::Date => {
                let days = match &parsing.date_pattern {
                    Some(pattern) => time::date_as(text, pattern),
                    None => time::date(text).or_else(|| midnight(time::moment(text)?.micros)),
                };
                self.int32(days.ok_or_else(|| Misfit::form(kind))?)
            }
            _ => {
                let micros = match &parsing.timestamp_pattern {
                    Some(pattern) => time::moment_as(text, pattern),
                    None => time::moment(text)
                        .map(|moment| moment.micros)
                        .or_else(|| time::date(text).map(|days| i64::from(days) * DAY_US)),
                };
                self.int64(micros.ok_or_else(|| Misfit::form(kind))?)
            }
        }
    }

    /// Adds a value that already has a type of its own.
    pub(crate) fn push(&mut self, scalar: Scalar<'_>, parsing: &Parsing) -> Result<(), Misfit> {
        let kind = self.kind;
        match (kind, scalar) {
            (_, Scalar::Null) => {
                self.push_null();
                Ok(())
            }
            (ColumnType::Json, Scalar::Json(text)) => self.bytes(text.as_bytes()),
            (_, Scalar::Text(text)) => self.push_text(text, parsing),
            (ColumnType::Binary, Scalar::Bytes(bytes)) => self.bytes(bytes),
            (_, Scalar::Bytes(_)) => Err(Misfit::new("type-mismatch", "bytes that are not text")),
            (ColumnType::Text, Scalar::Json(text) | Scalar::Number(text)) => {
                self.bytes(text.as_bytes())
            }
            (ColumnType::Text | ColumnType::Json, scalar) => self.display(scalar),
            (ColumnType::Bool, Scalar::Bool(value)) => self.bool(value),
            (ColumnType::Bool, Scalar::Int(value @ (0 | 1))) => self.bool(value == 1),
            (ColumnType::Date, Scalar::Timestamp(micros)) => {
                self.int32(midnight(micros).ok_or_else(|| {
                    Misfit::new("out-of-range", "a date column, but a time of day")
                })?)
            }
            (ColumnType::Timestamp, Scalar::Timestamp(micros)) => self.int64(micros),
            (
                ColumnType::Int64
                | ColumnType::Int32
                | ColumnType::Float64
                | ColumnType::Decimal { .. },
                Scalar::Int(_) | Scalar::Float(_) | Scalar::Number(_),
            ) => self.number(scalar, parsing),
            _ => Err(Misfit::form(kind)),
        }
    }

    /// Adds a number to a column of numbers.
    fn number(&mut self, scalar: Scalar<'_>, parsing: &Parsing) -> Result<(), Misfit> {
        let kind = self.kind;
        match (kind, scalar) {
            (ColumnType::Float64, Scalar::Int(value)) => {
                self.float(number::exact_float(value).ok_or_else(|| Misfit::range(kind))?)
            }
            (ColumnType::Float64, Scalar::Float(value)) => {
                if !value.is_finite() && !parsing.allow_nan {
                    return Err(Misfit::new("not-finite", "NaN or an infinity"));
                }
                self.float(value)
            }
            (ColumnType::Decimal { .. }, Scalar::Int(value)) => {
                self.push_text(&value.to_string(), &Parsing::default())
            }
            (ColumnType::Decimal { .. }, Scalar::Float(value)) => {
                self.push_text(&value.to_string(), &Parsing::default())
            }
            (ColumnType::Int64 | ColumnType::Int32, Scalar::Int(value)) => self.int(value),
            (ColumnType::Int64 | ColumnType::Int32, Scalar::Float(value)) => {
                self.int(number::whole(value).ok_or_else(|| Misfit::form(kind))?)
            }
            (ColumnType::Int64 | ColumnType::Int32, Scalar::Number(text)) => {
                match number::int64(text) {
                    Ok(value) => self.int(value),
                    // 3.0 and 3e2 are whole numbers, too.
                    Err(why) => match number::decimal(text, 19, 0) {
                        Ok(value) => {
                            self.int(i64::try_from(value).map_err(|_| Misfit::range(kind))?)
                        }
                        Err(_) => Err(Misfit::number(kind, why)),
                    },
                }
            }
            (_, Scalar::Number(text)) => self
                .push_text(text, &Parsing { allow_nan: parsing.allow_nan, ..Parsing::default() }),
            _ => Err(Misfit::form(kind)),
        }
    }

    /// Adds the text form of a value.
    fn display(&mut self, scalar: Scalar<'_>) -> Result<(), Misfit> {
        let mut text = Vec::with_capacity(32);
        let written = match scalar {
            Scalar::Bool(value) => write!(text, "{value}"),
            Scalar::Int(value) => write!(text, "{value}"),
            Scalar::Float(value) => write!(text, "{value}"),
            Scalar::Timestamp(micros) => write!(text, "{}", Timestamp::from_micros(micros)),
            Scalar::Number(value) | Scalar::Text(value) | Scalar::Json(value) => {
                write!(text, "{value}")
            }
            Scalar::Null | Scalar::Bytes(_) => Ok(()),
        };
        written.map_err(|error| Misfit::new("type-mismatch", error.to_string()))?;
        self.bytes(&text)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        let Values::Bytes { ends, data } = &mut self.values else {
            return Err(Misfit::form(self.kind));
        };
        let end = i32::try_from(data.len() + bytes.len())
            .map_err(|_| Misfit::new("page-too-large", "more than 2 GiB of text in one page"))?;
        data.extend_from_slice(bytes);
        ends.push(end);
        self.nulls.append_non_null();
        Ok(())
    }

    fn int(&mut self, value: i64) -> Result<(), Misfit> {
        if self.kind == ColumnType::Int32 {
            let value = i32::try_from(value).map_err(|_| Misfit::range(self.kind))?;
            return self.int32(value);
        }
        self.int64(value)
    }

    fn int64(&mut self, value: i64) -> Result<(), Misfit> {
        let Values::Int64(values) = &mut self.values else { return Err(Misfit::form(self.kind)) };
        values.push(value);
        self.nulls.append_non_null();
        Ok(())
    }

    fn int32(&mut self, value: i32) -> Result<(), Misfit> {
        let Values::Int32(values) = &mut self.values else { return Err(Misfit::form(self.kind)) };
        values.push(value);
        self.nulls.append_non_null();
        Ok(())
    }

    fn float(&mut self, value: f64) -> Result<(), Misfit> {
        let Values::Float64(values) = &mut self.values else { return Err(Misfit::form(self.kind)) };
        values.push(value);
        self.nulls.append_non_null();
        Ok(())
    }

    fn decimal(&mut self, value: i128) -> Result<(), Misfit> {
        let Values::Decimal(values) = &mut self.values else { return Err(Misfit::form(self.kind)) };
        values.push(value);
        self.nulls.append_non_null();
        Ok(())
    }

    fn bool(&mut self, value: bool) -> Result<(), Misfit> {
        let Values::Bool(values) = &mut self.values else { return Err(Misfit::form(self.kind)) };
        values.push(value);
        self.nulls.append_non_null();
        Ok(())
    }

    /// Hands over the column and starts anew.
    pub(crate) fn finish(&mut self, capacity: usize) -> Result<ArrayRef> {
        let full = std::mem::replace(self, Self::new(self.kind, capacity));
        full.into_array().map_err(|error| {
            Error::internal("a page's column does not form an array").caused_by(error)
        })
    }

    fn into_array(mut self) -> Result<ArrayRef, arrow::error::ArrowError> {
        let nulls: Option<NullBuffer> = self.nulls.finish();
        Ok(match (self.kind, self.values) {
            (ColumnType::Binary, Values::Bytes { ends, data }) => Arc::new(BinaryArray::try_new(
                OffsetBuffer::new(ScalarBuffer::from(ends)),
                Buffer::from_vec(data),
                nulls,
            )?),
            (_, Values::Bytes { ends, data }) => Arc::new(StringArray::try_new(
                OffsetBuffer::new(ScalarBuffer::from(ends)),
                Buffer::from_vec(data),
                nulls,
            )?),
            (ColumnType::Timestamp, Values::Int64(values)) => Arc::new(
                TimestampMicrosecondArray::try_new(values.into(), nulls)?.with_timezone("UTC"),
            ),
            (_, Values::Int64(values)) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
            (ColumnType::Date, Values::Int32(values)) => {
                Arc::new(Date32Array::try_new(values.into(), nulls)?)
            }
            (_, Values::Int32(values)) => Arc::new(Int32Array::try_new(values.into(), nulls)?),
            (_, Values::Float64(values)) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
            (kind, Values::Decimal(values)) => {
                let array = Decimal128Array::try_new(values.into(), nulls)?;
                Arc::new(array.with_data_type(kind.arrow()))
            }
            (_, Values::Bool(values)) => Arc::new(BooleanArray::new(values.into(), nulls)),
        })
    }
}

/// `1.234,5` as `1234.5` where the file writes decimals so; none if it is no such number.
fn point<'a>(text: &'a str, parsing: &Parsing) -> Option<Cow<'a, str>> {
    if parsing.decimal_comma { number::pointed(text) } else { Some(text.into()) }
}

/// The day a moment is the start of.
fn midnight(micros: i64) -> Option<i32> {
    (micros.rem_euclid(DAY_US) == 0).then(|| i32::try_from(micros.div_euclid(DAY_US)).ok())?
}

/// The truth value a word stands for.
pub(crate) fn truth(text: &str) -> Option<bool> {
    const TRUE: [&str; 5] = ["true", "1", "t", "yes", "y"];
    const FALSE: [&str; 5] = ["false", "0", "f", "no", "n"];
    if TRUE.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Some(true);
    }
    FALSE.iter().any(|word| text.eq_ignore_ascii_case(word)).then_some(false)
}
