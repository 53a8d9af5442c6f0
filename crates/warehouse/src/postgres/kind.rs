//! Types of PostgreSQL, and which of them our values have there.

use arrow::datatypes::DataType;

/// A type of PostgreSQL that our values have there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`
    Bool,
    /// `bytea`
    Bytea,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `oid`: the number of something in the catalogue
    Oid,
    /// `bigint`
    Int8,
    /// `text`
    Text,
    /// `json`: what has parts
    Json,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `interval`
    Interval,
    /// `numeric`
    Numeric,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Bool,
        Self::Bytea,
        Self::Int2,
        Self::Int4,
        Self::Int8,
        Self::Oid,
        Self::Text,
        Self::Json,
        Self::Float4,
        Self::Float8,
        Self::Date,
        Self::Time,
        Self::Timestamp,
        Self::Timestamptz,
        Self::Interval,
        Self::Numeric,
    ];

    /// The type that a column of ours has there.
    #[must_use]
    pub fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Boolean => Self::Bool,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => Self::Int2,
            DataType::Int32 | DataType::UInt16 => Self::Int4,
            DataType::Int64 | DataType::UInt32 => Self::Int8,
            DataType::Float16 | DataType::Float32 => Self::Float4,
            DataType::Float64 => Self::Float8,
            DataType::UInt64
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => Self::Numeric,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytea,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::Timestamptz,
            DataType::Duration(_) | DataType::Interval(_) => Self::Interval,
            DataType::Dictionary(_, value) => Self::of(value),
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..) => Self::Json,
            _ => Self::Text,
        }
    }

    /// As [`Kind::of`], of a statement that reads nothing but the catalogue, where what has this type numbers things.
    #[must_use]
    pub fn of_catalogue(kind: &DataType) -> Self {
        match kind {
            DataType::UInt32 => Self::Oid,
            kind => Self::of(kind),
        }
    }

    /// Its number in `pg_type`.
    #[must_use]
    pub fn oid(self) -> u32 {
        match self {
            Self::Bool => 16,
            Self::Bytea => 17,
            Self::Int8 => 20,
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Text => 25,
            Self::Oid => 26,
            Self::Json => 114,
            Self::Float4 => 700,
            Self::Float8 => 701,
            Self::Date => 1082,
            Self::Time => 1083,
            Self::Timestamp => 1114,
            Self::Timestamptz => 1184,
            Self::Interval => 1186,
            Self::Numeric => 1700,
        }
    }

    /// The bytes of a value; -1 where they vary.
    #[must_use]
    pub fn size(self) -> i16 {
        match self {
            Self::Bool => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Oid | Self::Float4 | Self::Date => 4,
            Self::Int8 | Self::Float8 | Self::Time | Self::Timestamp | Self::Timestamptz => 8,
            Self::Interval => 16,
            Self::Bytea | Self::Text | Self::Json | Self::Numeric => -1,
        }
    }

    /// Its name in `pg_type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Bytea => "bytea",
            Self::Int8 => "int8",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Oid => "oid",
            Self::Text => "text",
            Self::Json => "json",
            Self::Float4 => "float4",
            Self::Float8 => "float8",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::Interval => "interval",
            Self::Numeric => "numeric",
        }
    }

    /// Its name in SQL.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int8 => "bigint",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Time => "time without time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::Timestamptz => "timestamp with time zone",
            other => other.name(),
        }
    }

    /// The function that reads its binary form: its number in `pg_proc`, and its name. Clients tell types apart by it.
    pub(super) fn reader(self) -> (u32, &'static str) {
        match self {
            Self::Bool => (2_436, "boolrecv"),
            Self::Bytea => (2_412, "bytearecv"),
            Self::Int8 => (2_408, "int8recv"),
            Self::Int2 => (2_404, "int2recv"),
            Self::Int4 => (2_406, "int4recv"),
            Self::Oid => (2_418, "oidrecv"),
            Self::Text => (2_414, "textrecv"),
            Self::Json => (323, "json_recv"),
            Self::Float4 => (2_424, "float4recv"),
            Self::Float8 => (2_426, "float8recv"),
            Self::Date => (2_468, "date_recv"),
            Self::Time => (2_470, "time_recv"),
            Self::Timestamp => (2_474, "timestamp_recv"),
            Self::Timestamptz => (2_476, "timestamptz_recv"),
            Self::Interval => (2_478, "interval_recv"),
            Self::Numeric => (2_460, "numeric_recv"),
        }
    }

    /// What sort of type it is: `N` for numbers, `S` for texts.
    pub(super) fn category(self) -> &'static str {
        match self {
            Self::Bool => "B",
            Self::Bytea | Self::Json => "U",
            Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Oid
            | Self::Float4
            | Self::Float8
            | Self::Numeric => "N",
            Self::Text => "S",
            Self::Date | Self::Time | Self::Timestamp | Self::Timestamptz => "D",
            Self::Interval => "T",
        }
    }
}

/// What a type says beside its number: digits and places of a `numeric`; -1 for all others.
#[must_use]
pub fn modifier(kind: &DataType) -> i32 {
    match kind {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => match u16::try_from(*scale) {
            Ok(scale) => ((i32::from(*precision) << 16) | i32::from(scale)) + 4,
            Err(_) => -1,
        },
        DataType::Dictionary(_, value) => modifier(value),
        _ => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_says_its_digits_and_numbers_of_the_catalogue_are_told_apart() {
        assert_eq!(modifier(&DataType::Decimal128(20, 3)), ((20 << 16) | 3) + 4);
        assert_eq!(modifier(&DataType::Utf8), -1);
        assert_eq!(Kind::of(&DataType::UInt32), Kind::Int8);
        assert_eq!(Kind::of_catalogue(&DataType::UInt32), Kind::Oid);
        assert_eq!(Kind::of_catalogue(&DataType::Int64), Kind::Int8);
    }
}
