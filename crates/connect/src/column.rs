//! The types a column of an outside system can have here, and how a value of it is made.
//!
//! A type is written as a short text in YAML (`int64`, `decimal(12,2)`). A value that does not fit
//! its column is never bent until it fits: the row is set aside with the column and the reason.

mod builder;
mod infer;
mod known;
mod least;
mod number;
mod time;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, TimeUnit};
use flywheel_base::{Error, Result, suggest};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub(crate) use builder::{ColumnBuilder, Misfit, Parsing, Scalar};
pub(crate) use infer::{Inference, Kind};
pub use known::KnownTypes;
pub(crate) use least::{common, wider, wider_in_file};
pub(crate) use number::whole;
pub(crate) use time::DAY_US;

/// The most digits a `decimal` can hold.
pub const DECIMAL_DIGITS_MAX: u8 = 38;

/// The names a type can have, for hints.
const TYPE_NAMES: [&str; 10] = [
    "text",
    "int64",
    "int32",
    "float64",
    "decimal(18,2)",
    "bool",
    "date",
    "timestamp",
    "json",
    "binary",
];

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ColumnType {
    /// Text, kept to the last character.
    Text,
    /// A whole number from -2^63 to 2^63-1.
    Int64,
    /// A whole number from -2^31 to 2^31-1.
    Int32,
    /// A double-precision number; NaN and infinities only where they are allowed.
    Float64,
    /// An exact decimal number.
    Decimal {
        /// How many digits in all, 1 to 38.
        precision: u8,
        /// How many of them stand after the point.
        scale: u8,
    },
    /// True or false.
    Bool,
    /// A calendar date.
    Date,
    /// A moment in UTC, to the microsecond.
    Timestamp,
    /// A JSON value, kept as its text.
    Json,
    /// Bytes.
    Binary,
}

impl ColumnType {
    /// The Arrow type that holds it.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Int64 => DataType::Int64,
            Self::Int32 => DataType::Int32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => {
                DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(i8::MAX))
            }
            Self::Bool => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Binary => DataType::Binary,
        }
    }

    /// The type whose values an Arrow type holds; none if there is no such type here.
    #[must_use]
    pub fn of(arrow: &DataType) -> Option<Self> {
        Some(match arrow {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Int64 | DataType::UInt32 => Self::Int64,
            DataType::Int32 | DataType::Int16 | DataType::Int8 => Self::Int32,
            DataType::Float64 | DataType::Float32 => Self::Float64,
            DataType::Boolean => Self::Bool,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(..) => Self::Timestamp,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Binary,
            DataType::Decimal128(precision, scale) => {
                Self::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }
            }
            _ => return None,
        })
    }

    /// Why a field of a JSON object with this value would set its row aside if it were landed in a column of this type, as
    /// a code and a sentence without the value; nothing if it lands.
    #[must_use]
    pub fn misfit(self, value: &serde_json::Value) -> Option<(&'static str, String)> {
        use serde_json::Value;
        let text;
        let scalar = match value {
            Value::Null => return None,
            // Every value is JSON.
            _ if self == Self::Json => return None,
            Value::Bool(value) => Scalar::Bool(*value),
            Value::String(value) => Scalar::Text(value),
            Value::Number(number) => {
                text = number.to_string();
                Scalar::Number(&text)
            }
            Value::Array(_) | Value::Object(_) => {
                text = value.to_string();
                Scalar::Json(&text)
            }
        };
        let pushed = ColumnBuilder::new(self, 1).push(scalar, &Parsing::default());
        pushed.err().map(|misfit| (misfit.code, misfit.reason))
    }

    /// The least type that holds every value of both without loss, if there is one: what a column of
    /// pages becomes whose type was widened in the source.
    pub(crate) fn common(self, other: Self) -> Option<Self> {
        if self == other {
            return Some(self);
        }
        Some(match common(&self.arrow(), &other.arrow())? {
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::Float64 => Self::Float64,
            DataType::Decimal128(precision, scale) => {
                Self::Decimal { precision, scale: u8::try_from(scale).ok()? }
            }
            _ => return None,
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Int64 => "int64",
            Self::Int32 => "int32",
            Self::Float64 => "float64",
            Self::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Json => "json",
            Self::Binary => "binary",
        })
    }
}

impl FromStr for ColumnType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.trim() {
            "text" => Self::Text,
            "int64" => Self::Int64,
            "int32" => Self::Int32,
            "float64" => Self::Float64,
            "bool" => Self::Bool,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "json" => Self::Json,
            "binary" => Self::Binary,
            other => return decimal(other),
        })
    }
}

/// Parses `decimal(precision,scale)`, the only type with arguments.
fn decimal(text: &str) -> Result<ColumnType> {
    let unknown = || {
        Error::invalid(format!("\"{text}\" is not a column type"))
            .hint(suggest::hint(text, TYPE_NAMES))
    };
    let inner = text
        .strip_prefix("decimal(")
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(unknown)?;
    let (precision, scale) = inner.split_once(',').ok_or_else(unknown)?;
    let precision = precision.trim().parse::<u8>().map_err(|_| unknown())?;
    let scale = scale.trim().parse::<u8>().map_err(|_| unknown())?;
    if precision == 0 || precision > DECIMAL_DIGITS_MAX || scale > precision {
        return Err(Error::invalid(format!("\"{text}\" is not a possible decimal")).hint(
            "Write decimal(p,s) with 1 to 38 digits in all and at most that many after the point.",
        ));
    }
    Ok(ColumnType::Decimal { precision, scale })
}

impl TryFrom<String> for ColumnType {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ColumnType> for String {
    fn from(kind: ColumnType) -> Self {
        kind.to_string()
    }
}

impl JsonSchema for ColumnType {
    fn schema_name() -> Cow<'static, str> {
        "ColumnType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "text, int64, int32, float64, decimal(p,s), bool, date, timestamp, json or binary",
            "pattern": r"^(text|int64|int32|float64|decimal\(\d{1,2}, ?\d{1,2}\)|bool|date|timestamp|json|binary)$",
        })
    }
}

/// A column whose type the user declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredColumn {
    /// The name in the source; for nested JSON the path with dots, `address.city`.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Whether a row without a value is set aside; a file without the column is then refused.
    #[serde(default)]
    pub not_null: bool,
    /// Whether the target has it from an earlier read: where the source lacks it now, it was dropped
    /// there, and its name is not wrong.
    #[serde(skip)]
    pub landed: bool,
}

impl DeclaredColumn {
    /// Declares a column that may be empty.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        Self { name: name.into(), kind, not_null: false, landed: false }
    }

    /// Whether a table that lacks it can be read all the same.
    #[must_use]
    pub fn may_be_gone(&self) -> bool {
        self.landed && !self.not_null
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_survive_their_text_form() {
        for text in TYPE_NAMES {
            assert_eq!(text.parse::<ColumnType>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn two_types_have_the_least_one_that_holds_both_or_none() {
        for (a, b, expected) in [
            ("int32", "int64", "int64"),
            ("int32", "float64", "float64"),
            ("int32", "decimal(20,0)", "decimal(20,0)"),
            ("int64", "decimal(20,2)", "decimal(21,2)"),
            ("decimal(9,2)", "decimal(12,2)", "decimal(12,2)"),
            ("decimal(9,2)", "decimal(9,4)", "decimal(11,4)"),
            ("decimal(38,2)", "decimal(38,4)", "none"),
            ("int64", "float64", "none"),
            ("int64", "text", "none"),
            ("date", "timestamp", "none"),
            ("text", "text", "text"),
        ] {
            let (one, two): (ColumnType, ColumnType) = (a.parse().unwrap(), b.parse().unwrap());
            let told = |kind: Option<ColumnType>| {
                kind.map_or_else(|| "none".to_owned(), |k| k.to_string())
            };
            assert_eq!(told(one.common(two)), expected, "{a} and {b}");
            assert_eq!(told(two.common(one)), expected, "{b} and {a}");
        }
    }

    #[test]
    fn a_field_fits_if_a_sync_would_land_it() {
        use serde_json::json;
        for (kind, value, fits) in [
            ("text", json!("a"), true),
            ("text", json!(1), true),
            ("text", json!(null), true),
            ("int64", json!(7), true),
            ("int64", json!("7"), true),
            ("int64", json!(7.5), false),
            ("int64", json!(true), false),
            ("int32", json!(3_000_000_000_u32), false),
            ("decimal(6,2)", json!(12.5), true),
            ("decimal(6,2)", json!(123_456.5), false),
            ("bool", json!(true), true),
            ("bool", json!("perhaps"), false),
            ("date", json!("2024-05-01"), true),
            ("timestamp", json!("2024-05-01T12:30:00Z"), true),
            ("timestamp", json!("yesterday"), false),
            ("timestamp", json!(1_714_566_600), false),
            ("timestamp", json!({}), false),
            ("json", json!("a"), true),
            ("json", json!([1]), true),
        ] {
            let kind: ColumnType = kind.parse().unwrap();
            assert_eq!(kind.misfit(&value).is_none(), fits, "{kind} and {value}");
        }
    }

    #[test]
    fn a_wrong_type_gets_a_hint() {
        let error = "int46".parse::<ColumnType>().unwrap_err();
        assert_eq!(error.hint_text(), Some("Did you mean \"int64\"?"));
        for text in ["decimal(0,0)", "decimal(39,2)", "decimal(5,6)", "decimal(5)", "decimal"] {
            assert!(text.parse::<ColumnType>().unwrap_err().hint_text().is_some(), "{text}");
        }
    }
}
