//! One decoder for each column: from the fields of a block to an Arrow array.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use flywheel_base::{Error, Result};

use super::block::Block;
use super::kind::{UUID_LENGTH, Wire, write_uuid};
use crate::column::{ColumnBuilder, ColumnType, Misfit, Parsing, Scalar};
use crate::postgres::{EPOCH_DAYS, EPOCH_US, NotDecimal, decimal};

/// The first day a date can be, 0001-01-01, in days from 1970.
const DAY_MIN: i32 = -719_162;

/// The last day a date can be, 9999-12-31.
const DAY_MAX: i32 = 2_932_896;

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

/// The rows of a page that do not fit, each with the first column that does not.
#[derive(Debug, Default)]
pub(super) struct Bad(pub(super) BTreeMap<usize, (usize, Misfit)>);

impl Bad {
    /// Sets a row aside.
    pub(super) fn add(&mut self, row: usize, column: usize, misfit: Misfit) {
        self.0.entry(row).or_insert((column, misfit));
    }
}

/// Collects one column of a page.
pub(super) trait Decoder: Send {
    /// Adds the column `at` of a block whose first row is row `first` of the page. A value that does
    /// not fit is in the column as "no value" and its row in `bad`.
    fn decode(&mut self, block: &Block, at: usize, first: usize, bad: &mut Bad);

    /// Hands over the column and starts anew.
    fn finish(&mut self) -> Result<ArrayRef>;
}

/// The decoder for values that arrive as `wire` and become `kind`.
pub(super) fn decoder(wire: Wire, kind: ColumnType, allow_nan: bool) -> Box<dyn Decoder> {
    match (wire, kind) {
        (Wire::Bool, ColumnType::Bool) => Box::new(Bools::default()),
        (Wire::Int2, ColumnType::Int32) => Primitive::boxed(kind, Int2),
        (Wire::Int4, ColumnType::Int32) => Primitive::boxed(kind, Int4),
        (Wire::Int8, ColumnType::Int64) => Primitive::boxed(kind, Int8),
        (Wire::Oid, ColumnType::Int64) => Primitive::boxed(kind, Oid),
        (Wire::Float4, ColumnType::Float64) => Primitive::boxed(kind, Float4 { allow_nan }),
        (Wire::Float8, ColumnType::Float64) => Primitive::boxed(kind, Float8 { allow_nan }),
        (Wire::Date, ColumnType::Date) => Primitive::boxed(kind, Day),
        (Wire::Moment, ColumnType::Timestamp) => Primitive::boxed(kind, Moment),
        (Wire::Numeric, ColumnType::Decimal { precision, scale }) => {
            Primitive::boxed(kind, Decimal { precision, scale })
        }
        (Wire::Text | Wire::Json, ColumnType::Text) | (Wire::Json, ColumnType::Json) => {
            Box::new(Texts::new(Form::Text))
        }
        (Wire::Jsonb, ColumnType::Text | ColumnType::Json) => Box::new(Texts::new(Form::Jsonb)),
        (Wire::Uuid, ColumnType::Text) => Box::new(Texts::new(Form::Uuid)),
        (Wire::Bytea, ColumnType::Binary) => Box::new(Texts::new(Form::Bytes)),
        _ => Box::new(Cast {
            wire,
            builder: ColumnBuilder::new(kind, 0),
            parsing: Parsing { allow_nan, ..Parsing::default() },
            rows: 0,
        }),
    }
}

/// Why a value is not one of the column.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Form,
    NotFinite,
    Infinity,
    Range,
}

impl Fault {
    fn misfit(self, kind: ColumnType) -> Misfit {
        match self {
            Self::Form => Misfit::new("type-mismatch", format!("not a value of type {kind}")),
            Self::NotFinite => Misfit::new(
                "not-finite",
                "NaN or an infinity (set `allow_nan` to keep it in a column of floats)",
            ),
            Self::Infinity | Self::Range => {
                let what = match (self, kind) {
                    (Self::Infinity, ColumnType::Decimal { .. }) => "NaN or an infinity",
                    (Self::Infinity, _) => "infinity",
                    (_, ColumnType::Date | ColumnType::Timestamp) => "a year outside 1 to 9999",
                    _ => "this value",
                };
                let reason =
                    format!("{kind} cannot hold {what} (declare the column as text to keep it)");
                Misfit::new("out-of-range", reason)
            }
        }
    }
}

/// Reads values of one fixed form.
trait Reader: Send {
    type Arrow: ArrowPrimitiveType;

    fn read(&self, bytes: &[u8]) -> Result<<Self::Arrow as ArrowPrimitiveType>::Native, Fault>;
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Form)
}

struct Int2;

impl Reader for Int2 {
    type Arrow = Int32Type;

    fn read(&self, bytes: &[u8]) -> Result<i32, Fault> {
        fixed(bytes).map(|bytes| i16::from_be_bytes(bytes).into())
    }
}

struct Int4;

impl Reader for Int4 {
    type Arrow = Int32Type;

    fn read(&self, bytes: &[u8]) -> Result<i32, Fault> {
        fixed(bytes).map(i32::from_be_bytes)
    }
}

struct Int8;

impl Reader for Int8 {
    type Arrow = Int64Type;

    fn read(&self, bytes: &[u8]) -> Result<i64, Fault> {
        fixed(bytes).map(i64::from_be_bytes)
    }
}

struct Oid;

impl Reader for Oid {
    type Arrow = Int64Type;

    fn read(&self, bytes: &[u8]) -> Result<i64, Fault> {
        fixed(bytes).map(|bytes| u32::from_be_bytes(bytes).into())
    }
}

fn finite(value: f64, allow_nan: bool) -> Result<f64, Fault> {
    if value.is_finite() || allow_nan { Ok(value) } else { Err(Fault::NotFinite) }
}

struct Float4 {
    allow_nan: bool,
}

impl Reader for Float4 {
    type Arrow = Float64Type;

    fn read(&self, bytes: &[u8]) -> Result<f64, Fault> {
        fixed(bytes).and_then(|bytes| finite(f32::from_be_bytes(bytes).into(), self.allow_nan))
    }
}

struct Float8 {
    allow_nan: bool,
}

impl Reader for Float8 {
    type Arrow = Float64Type;

    fn read(&self, bytes: &[u8]) -> Result<f64, Fault> {
        fixed(bytes).and_then(|bytes| finite(f64::from_be_bytes(bytes), self.allow_nan))
    }
}

struct Day;

impl Reader for Day {
    type Arrow = Date32Type;

    fn read(&self, bytes: &[u8]) -> Result<i32, Fault> {
        let days = fixed(bytes).map(i32::from_be_bytes)?;
        if matches!(days, i32::MIN | i32::MAX) {
            return Err(Fault::Infinity);
        }
        let days = days.checked_add(EPOCH_DAYS).ok_or(Fault::Range)?;
        if (DAY_MIN..=DAY_MAX).contains(&days) { Ok(days) } else { Err(Fault::Range) }
    }
}

struct Moment;

impl Reader for Moment {
    type Arrow = TimestampMicrosecondType;

    fn read(&self, bytes: &[u8]) -> Result<i64, Fault> {
        let micros = fixed(bytes).map(i64::from_be_bytes)?;
        if matches!(micros, i64::MIN | i64::MAX) {
            return Err(Fault::Infinity);
        }
        let micros = micros.checked_add(EPOCH_US).ok_or(Fault::Range)?;
        let first = i64::from(DAY_MIN) * DAY_US;
        let last = (i64::from(DAY_MAX) + 1) * DAY_US;
        if (first..last).contains(&micros) { Ok(micros) } else { Err(Fault::Range) }
    }
}

struct Decimal {
    precision: u8,
    scale: u8,
}

impl Reader for Decimal {
    type Arrow = Decimal128Type;

    fn read(&self, bytes: &[u8]) -> Result<i128, Fault> {
        decimal(bytes, self.precision, self.scale).map_err(|why| match why {
            NotDecimal::NotFinite => Fault::Infinity,
            NotDecimal::Range => Fault::Range,
            NotDecimal::Form => Fault::Form,
        })
    }
}

/// A column of numbers.
struct Primitive<R: Reader> {
    kind: ColumnType,
    data_type: DataType,
    reader: R,
    values: Vec<<R::Arrow as ArrowPrimitiveType>::Native>,
    nulls: NullBufferBuilder,
}

impl<R: Reader + 'static> Primitive<R> {
    fn boxed(kind: ColumnType, reader: R) -> Box<dyn Decoder> {
        let (values, nulls) = (Vec::new(), NullBufferBuilder::new(0));
        Box::new(Self { kind, data_type: kind.arrow(), reader, values, nulls })
    }
}

impl<R: Reader> Decoder for Primitive<R> {
    fn decode(&mut self, block: &Block, at: usize, first: usize, bad: &mut Bad) {
        self.values.reserve(block.rows());
        for (row, bytes) in block.column(at).enumerate() {
            let value = bytes.map(|bytes| self.reader.read(bytes));
            if let Some(Ok(value)) = value {
                self.values.push(value);
                self.nulls.append_non_null();
                continue;
            }
            self.values.push(Default::default());
            self.nulls.append_null();
            if let Some(Err(fault)) = value {
                bad.add(first + row, at, fault.misfit(self.kind));
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let values = std::mem::take(&mut self.values);
        let array = PrimitiveArray::<R::Arrow>::try_new(values.into(), self.nulls.finish());
        let array = array.map_err(broken)?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

/// A column of truth values.
struct Bools {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

impl Default for Bools {
    fn default() -> Self {
        Self { values: BooleanBufferBuilder::new(0), nulls: NullBufferBuilder::new(0) }
    }
}

impl Decoder for Bools {
    fn decode(&mut self, block: &Block, at: usize, first: usize, bad: &mut Bad) {
        for (row, bytes) in block.column(at).enumerate() {
            match bytes {
                Some([value]) => {
                    self.values.append(*value != 0);
                    self.nulls.append_non_null();
                }
                other => {
                    self.values.append(false);
                    self.nulls.append_null();
                    if other.is_some() {
                        bad.add(first + row, at, Fault::Form.misfit(ColumnType::Bool));
                    }
                }
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(BooleanArray::new(self.values.finish(), self.nulls.finish())))
    }
}

/// What the bytes of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Jsonb,
    Uuid,
    Bytes,
}

/// A column of texts or bytes.
struct Texts {
    form: Form,
    ends: Vec<i32>,
    data: Vec<u8>,
    nulls: NullBufferBuilder,
}

impl Texts {
    fn new(form: Form) -> Self {
        Self { form, ends: vec![0], data: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    fn each(
        &mut self,
        block: &Block,
        at: usize,
        first: usize,
        bad: &mut Bad,
        mut add: impl FnMut(&mut Vec<u8>, &[u8]) -> bool,
    ) {
        self.ends.reserve(block.rows());
        for (row, bytes) in block.column(at).enumerate() {
            let Some(bytes) = bytes else {
                self.nulls.append_null();
                self.ends.push(self.ends.last().copied().unwrap_or(0));
                continue;
            };
            self.nulls.append_non_null();
            if !add(&mut self.data, bytes) {
                bad.add(first + row, at, Fault::Form.misfit(ColumnType::Text));
            }
            match i32::try_from(self.data.len()) {
                Ok(end) => self.ends.push(end),
                Err(_) => {
                    let end = self.ends.last().copied().unwrap_or(0);
                    self.data.truncate(usize::try_from(end).unwrap_or(0));
                    self.ends.push(end);
                    let reason = "more than 2 GiB of text in one page";
                    bad.add(first + row, at, Misfit::new("page-too-large", reason));
                }
            }
        }
    }

    /// Finds texts that are not UTF-8, which a database in SQL_ASCII can have.
    fn check(&mut self, rows: usize, at: usize, first: usize, bad: &mut Bad) {
        let from = self.ends.len() - 1 - rows;
        for row in 0..rows {
            let place = |at: usize| {
                self.ends.get(at).and_then(|end| usize::try_from(*end).ok()).unwrap_or(0)
            };
            let range = place(from + row)..place(from + row + 1);
            let Some(text) = self.data.get_mut(range) else { continue };
            if std::str::from_utf8(text).is_err() {
                text.fill(b'?');
                let reason = "a text that is not valid UTF-8";
                bad.add(first + row, at, Misfit::new("invalid-utf8", reason));
            }
        }
    }
}

impl Decoder for Texts {
    fn decode(&mut self, block: &Block, at: usize, first: usize, bad: &mut Bad) {
        let before = self.data.len();
        match self.form {
            Form::Text | Form::Bytes => self.each(block, at, first, bad, |data, bytes| {
                data.extend_from_slice(bytes);
                true
            }),
            Form::Jsonb => self.each(block, at, first, bad, |data, bytes| {
                let [1, text @ ..] = bytes else { return false };
                data.extend_from_slice(text);
                true
            }),
            Form::Uuid => self.each(block, at, first, bad, |data, bytes| {
                let mut text = [0; UUID_LENGTH];
                let whole = write_uuid(bytes, &mut text);
                if whole {
                    data.extend_from_slice(&text);
                }
                whole
            }),
        }
        let added = self.data.get(before..).unwrap_or_default();
        if self.form != Form::Bytes && !added.is_ascii() {
            self.check(block.rows(), at, first, bad);
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let ends =
            OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.ends, vec![0])));
        let data = Buffer::from_vec(std::mem::take(&mut self.data));
        let nulls = self.nulls.finish();
        if self.form == Form::Bytes {
            return Ok(Arc::new(BinaryArray::try_new(ends, data, nulls).map_err(broken)?));
        }
        Ok(Arc::new(StringArray::try_new(ends, data, nulls).map_err(broken)?))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Misfit> {
    std::str::from_utf8(bytes)
        .map_err(|_| Misfit::new("invalid-utf8", "a text that is not valid UTF-8"))
}

/// A column that was declared with another type than it has in the database.
struct Cast {
    wire: Wire,
    builder: ColumnBuilder,
    parsing: Parsing,
    rows: usize,
}

impl Cast {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        let kind = self.builder.kind();
        let fault = |fault: Fault| fault.misfit(kind);
        let mut uuid = [0; UUID_LENGTH];
        let scalar = match self.wire {
            Wire::Bool => Scalar::Bool(bytes != [0]),
            Wire::Int2 => Scalar::Int(Int2.read(bytes).map_err(fault)?.into()),
            Wire::Int4 => Scalar::Int(Int4.read(bytes).map_err(fault)?.into()),
            Wire::Int8 => Scalar::Int(Int8.read(bytes).map_err(fault)?),
            Wire::Oid => Scalar::Int(Oid.read(bytes).map_err(fault)?),
            Wire::Float4 => Scalar::Float(Float4 { allow_nan: true }.read(bytes).map_err(fault)?),
            Wire::Float8 => Scalar::Float(Float8 { allow_nan: true }.read(bytes).map_err(fault)?),
            Wire::Date => Scalar::Timestamp(i64::from(Day.read(bytes).map_err(fault)?) * DAY_US),
            Wire::Moment => Scalar::Timestamp(Moment.read(bytes).map_err(fault)?),
            Wire::Bytea => Scalar::Bytes(bytes),
            Wire::Uuid if write_uuid(bytes, &mut uuid) => Scalar::Text(utf8(&uuid)?),
            Wire::Numeric | Wire::Uuid => return Err(fault(Fault::Form)),
            Wire::Json => Scalar::Json(utf8(bytes)?),
            Wire::Jsonb => Scalar::Json(utf8(bytes.get(1..).unwrap_or_default())?),
            Wire::Text => Scalar::Text(utf8(bytes)?),
            Wire::NumberText => Scalar::Number(utf8(bytes)?),
        };
        self.builder.push(scalar, &self.parsing)
    }
}

impl Decoder for Cast {
    fn decode(&mut self, block: &Block, at: usize, first: usize, bad: &mut Bad) {
        for (row, bytes) in block.column(at).enumerate() {
            match bytes.map(|bytes| self.push(bytes)) {
                Some(Ok(())) => {}
                None => self.builder.push_null(),
                Some(Err(misfit)) => {
                    self.builder.truncate(self.rows);
                    self.builder.push_null();
                    bad.add(first + row, at, misfit);
                }
            }
            self.rows += 1;
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        self.rows = 0;
        self.builder.finish(0)
    }
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("a page's column does not form an array").caused_by(error)
}
