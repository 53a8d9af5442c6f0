//! PostgreSQL's types: how a column is asked for, in which form its values arrive, and what they
//! become.

use chrono::DateTime;
use flywheel_base::Timestamp;
use serde_json::{Value, json};

use crate::column::ColumnType;
use crate::postgres::{EPOCH_DAYS, EPOCH_US, PgType, numeric_text, quoted};

/// How the values of a column arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Bytea,
    Date,
    Moment,
    Uuid,
    /// JSON that the server has checked or made.
    Json,
    Jsonb,
    Text,
    /// The text of a number.
    NumberText,
}

/// How a column of a table is read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The expression in the SELECT list.
    pub(super) expression: String,
    /// The form of its values.
    pub(super) wire: Wire,
    /// What they become unless the column is declared.
    pub(super) kind: ColumnType,
}

impl PgType {
    /// How a column of this type is read that nobody declared.
    pub(super) fn natural(&self, name: &str) -> Reading {
        let column = quoted(name);
        let plain = |wire, kind| Reading { expression: column.clone(), wire, kind };
        let text =
            |expression: String| Reading { expression, wire: Wire::Text, kind: ColumnType::Text };
        let cast = || text(format!("{column}::text"));
        if self.category == "A" || self.form == "c" {
            let expression = format!("pg_catalog.to_json({column})::text");
            return Reading { expression, wire: Wire::Json, kind: ColumnType::Json };
        }
        if self.form == "e" {
            return plain(Wire::Text, ColumnType::Text);
        }
        if !self.built_in {
            return cast();
        }
        match self.name.as_str() {
            "bool" => plain(Wire::Bool, ColumnType::Bool),
            "int2" => plain(Wire::Int2, ColumnType::Int32),
            "int4" => plain(Wire::Int4, ColumnType::Int32),
            "int8" => plain(Wire::Int8, ColumnType::Int64),
            "oid" => plain(Wire::Oid, ColumnType::Int64),
            "float4" => plain(Wire::Float4, ColumnType::Float64),
            "float8" => plain(Wire::Float8, ColumnType::Float64),
            "numeric" => match self.decimal() {
                Some((precision, scale)) => {
                    plain(Wire::Numeric, ColumnType::Decimal { precision, scale })
                }
                None => cast(),
            },
            "bytea" => plain(Wire::Bytea, ColumnType::Binary),
            "date" => plain(Wire::Date, ColumnType::Date),
            "timestamp" | "timestamptz" => plain(Wire::Moment, ColumnType::Timestamp),
            "uuid" => plain(Wire::Uuid, ColumnType::Text),
            "json" => plain(Wire::Json, ColumnType::Json),
            "jsonb" => plain(Wire::Jsonb, ColumnType::Json),
            "text" | "varchar" | "bpchar" | "name" => plain(Wire::Text, ColumnType::Text),
            // The cast of an address to text adds a mask that the address does not have.
            "inet" => text(format!("pg_catalog.inet_out({column})::text")),
            _ => cast(),
        }
    }

    /// How it is read into a column declared as `kind`.
    pub(super) fn declared(&self, name: &str, kind: ColumnType) -> Reading {
        let natural = self.natural(name);
        let cast = |wire| Reading { expression: format!("{}::text", quoted(name)), wire, kind };
        match (natural.wire, kind) {
            (Wire::Text | Wire::Json | Wire::Jsonb | Wire::Uuid, _) if self.name != "numeric" => {
                Reading { kind, ..natural }
            }
            (_, ColumnType::Text | ColumnType::Json) => cast(Wire::Text),
            _ if self.name == "numeric" => match kind {
                ColumnType::Decimal { .. } => {
                    Reading { expression: quoted(name), wire: Wire::Numeric, kind }
                }
                _ => cast(Wire::NumberText),
            },
            _ => Reading { kind, ..natural },
        }
    }
}

/// The hexadecimal digits.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The hexadecimal form of bytes.
fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// A value for a row that is set aside, or for a position: a number, a truth value or a text.
pub(super) fn shown(wire: Wire, bytes: &[u8]) -> Value {
    /// How much of a value of bytes is shown.
    const BYTES_SHOWN: usize = 64;
    let value = match wire {
        Wire::Bool => bytes.first().map(|byte| json!(*byte != 0)),
        Wire::Int2 => array(bytes).map(|bytes| json!(i16::from_be_bytes(bytes))),
        Wire::Int4 => array(bytes).map(|bytes| json!(i32::from_be_bytes(bytes))),
        Wire::Int8 => array(bytes).map(|bytes| json!(i64::from_be_bytes(bytes))),
        Wire::Oid => array(bytes).map(|bytes| json!(u32::from_be_bytes(bytes))),
        Wire::Float4 => array(bytes).map(|bytes| float(f32::from_be_bytes(bytes).into())),
        Wire::Float8 => array(bytes).map(|bytes| float(f64::from_be_bytes(bytes))),
        Wire::Numeric => numeric_text(bytes).map(Value::from),
        Wire::Bytea => {
            Some(format!("\\x{}", hex(bytes.get(..BYTES_SHOWN).unwrap_or(bytes))).into())
        }
        Wire::Date => array(bytes).map(|bytes| date(i32::from_be_bytes(bytes)).into()),
        Wire::Moment => array(bytes).map(|bytes| moment(i64::from_be_bytes(bytes)).into()),
        Wire::Uuid => Some(uuid(bytes).into()),
        Wire::Jsonb => Some(String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).into()),
        Wire::Text | Wire::Json | Wire::NumberText => Some(String::from_utf8_lossy(bytes).into()),
    };
    value.unwrap_or_else(|| format!("\\x{}", hex(bytes)).into())
}

fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::from)
}

fn date(days: i32) -> String {
    match days {
        i32::MAX => return "infinity".to_owned(),
        i32::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let seconds = (i64::from(days) + i64::from(EPOCH_DAYS)) * 86_400;
    match DateTime::from_timestamp(seconds, 0) {
        Some(moment) => moment.format("%Y-%m-%d").to_string(),
        None => format!("day {days} from 2000-01-01"),
    }
}

fn moment(micros: i64) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => match micros.checked_add(EPOCH_US).and_then(DateTime::from_timestamp_micros) {
            Some(moment) => Timestamp::from_micros(moment.timestamp_micros()).to_string(),
            None => format!("{micros} µs from 2000-01-01"),
        },
    }
}

/// A UUID as the server prints it.
fn uuid(bytes: &[u8]) -> String {
    let mut text = [0; UUID_LENGTH];
    match write_uuid(bytes, &mut text) {
        true => String::from_utf8_lossy(&text).into_owned(),
        false => hex(bytes),
    }
}

/// The length of a UUID's text.
pub(super) const UUID_LENGTH: usize = 36;

/// Writes the text of a UUID; says whether `bytes` are one.
pub(super) fn write_uuid(bytes: &[u8], text: &mut [u8; UUID_LENGTH]) -> bool {
    let Some(bytes) = array::<16>(bytes) else { return false };
    let mut at = 0;
    for (place, byte) in bytes.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text[at] = b'-';
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(modifier: i32) -> String {
        let built_in = true;
        let (form, category) = ("b".to_owned(), "N".to_owned());
        let of = PgType { name: "numeric".into(), built_in, form, category, modifier };
        of.natural("n").kind.to_string()
    }

    #[test]
    fn declared_numerics_are_decimals_and_others_text() {
        let modifier = |precision: i32, scale: i32| (precision << 16 | (scale & 0x7ff)) + 4;
        assert_eq!(numeric(modifier(12, 2)), "decimal(12,2)");
        assert_eq!(numeric(modifier(38, 38)), "decimal(38,38)");
        for modifier in [-1, modifier(39, 2), modifier(3, -2), modifier(2, 5)] {
            assert_eq!(numeric(modifier), "text");
        }
    }

    #[test]
    fn a_uuid_is_written_as_the_server_prints_it() {
        let bytes: Vec<u8> = (0..16).map(|at| at * 17).collect();
        assert_eq!(uuid(&bytes), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(uuid(&bytes[..4]), "00112233");
    }
}
