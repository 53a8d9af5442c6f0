//! SQLite's values: their types as columns declare them, and their form in a position.

use flywheel_base::{Error, Result, Timestamp, quantity};
use rusqlite::types::{Value as SqlValue, ValueRef};
use serde_json::{Value, json};

use crate::column::{ColumnType, Kind, Misfit, Scalar};

/// The latest whole number of seconds that is read as a moment: the end of the year 9999.
const SECONDS_MAX: i64 = 253_402_300_799;

/// Microseconds in a second.
const SECOND_US: i64 = 1_000_000;

/// The type a declaration such as `VARCHAR(40)` or `NUMERIC(10,2)` stands for; none if its values
/// have to tell.
pub(super) fn declared_type(declaration: &str) -> Option<ColumnType> {
    let text = declaration.trim().to_ascii_uppercase();
    let name = text.split('(').next().unwrap_or_default().trim();
    let has = |part: &str| name.contains(part);
    if has("BOOL") {
        return Some(ColumnType::Bool);
    }
    if name == "NUMERIC" || name == "DECIMAL" {
        return text.replacen(name, "decimal", 1).to_ascii_lowercase().parse().ok();
    }
    // The destination's decimals of more digits than SQLite's numbers keep: texts, compared as such.
    if name == "DECIMAL_TEXT" {
        return text.replacen(name, "decimal", 1).to_ascii_lowercase().parse().ok();
    }
    if has("TIMESTAMP") || has("DATETIME") {
        return Some(ColumnType::Timestamp);
    }
    if name == "DATE" {
        return Some(ColumnType::Date);
    }
    if has("JSON") {
        return Some(ColumnType::Json);
    }
    if has("INT") {
        return Some(ColumnType::Int64);
    }
    if has("CHAR") || has("CLOB") || has("TEXT") || has("UUID") || name == "TIME" {
        return Some(ColumnType::Text);
    }
    if has("BLOB") || has("BINARY") {
        return Some(ColumnType::Binary);
    }
    (has("REAL") || has("FLOA") || has("DOUB")).then_some(ColumnType::Float64)
}

/// What a value looks like to the inference of types.
pub(super) fn kind(value: ValueRef<'_>) -> Kind {
    match value {
        ValueRef::Null => Kind::Empty,
        ValueRef::Integer(value) if value.unsigned_abs() < 1_000_000_000_000_000 => Kind::Int,
        ValueRef::Integer(_) => Kind::WideInt,
        ValueRef::Real(_) => Kind::Float,
        ValueRef::Text(_) => Kind::Text,
        ValueRef::Blob(_) => Kind::Binary,
    }
}

/// A value on its way into a column. A whole number in a column of moments is seconds.
pub(super) fn scalar(value: ValueRef<'_>, kind: ColumnType) -> Result<Scalar<'_>, Misfit> {
    Ok(match (value, kind) {
        (ValueRef::Null, _) => Scalar::Null,
        (ValueRef::Integer(seconds), ColumnType::Timestamp) => {
            if !(-SECONDS_MAX..=SECONDS_MAX).contains(&seconds) {
                let reason = "a whole number too large for seconds; declare the column as int64";
                return Err(Misfit::new("out-of-range", reason));
            }
            Scalar::Timestamp(seconds * SECOND_US)
        }
        (ValueRef::Integer(value), _) => Scalar::Int(value),
        (ValueRef::Real(value), _) => Scalar::Float(value),
        (ValueRef::Text(bytes), _) => match std::str::from_utf8(bytes) {
            Ok(text) => Scalar::Text(text),
            Err(_) => return Err(Misfit::new("invalid-utf8", "a text that is not valid UTF-8")),
        },
        (ValueRef::Blob(bytes), _) => Scalar::Bytes(bytes),
    })
}

/// A value as it is kept in a position.
pub(super) fn to_json(value: ValueRef<'_>) -> Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => json!(value),
        ValueRef::Real(value) => json!({ "real": value }),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(error) => {
                return Err(Error::invalid("a key or cursor is a text that is not valid UTF-8")
                    .caused_by(error)
                    .hint("Mend that value, or follow another column."));
            }
        },
        ValueRef::Blob(bytes) => json!({ "blob": hex(bytes) }),
    })
}

/// A value read from a position.
pub(super) fn from_json(value: &Value) -> Result<SqlValue> {
    let real = || value.get("real")?.as_f64().map(SqlValue::Real);
    let blob = || unhex(value.get("blob")?.as_str()?).map(SqlValue::Blob);
    let found = match value {
        Value::Null => Some(SqlValue::Null),
        Value::Number(number) => number.as_i64().map(SqlValue::Integer),
        Value::String(text) => Some(SqlValue::Text(text.clone())),
        _ => real().or_else(blob),
    };
    found.ok_or_else(|| Error::corrupt("the stored position has a value that is not one of SQLite"))
}

/// The cursor value that lies `lag` before `value`.
pub(super) fn back(value: &SqlValue, lag: &str) -> Result<SqlValue> {
    let wrong = || {
        Error::invalid(format!("the lag \"{lag}\" does not fit the cursor"))
            .hint("Write a duration such as 2h for dates and times, a number for numbers.")
    };
    match value {
        SqlValue::Null => Ok(SqlValue::Null),
        SqlValue::Integer(number) => {
            let steps = match lag.trim().parse::<i64>() {
                Ok(steps) => steps,
                Err(_) => quantity::duration_us(lag).map_err(|_| wrong())? / SECOND_US,
            };
            Ok(SqlValue::Integer(number.saturating_sub(steps)))
        }
        SqlValue::Real(number) => {
            Ok(SqlValue::Real(number - lag.trim().parse::<f64>().map_err(|_| wrong())?))
        }
        SqlValue::Text(text) => {
            let moment = Timestamp::parse(text).map_err(|_| wrong())?;
            let earlier = moment.plus_micros(-quantity::duration_us(lag).map_err(|_| wrong())?);
            // As long as the original up to the seconds, so that texts compare as times do.
            let shown = earlier.datetime().format("%Y-%m-%d %H:%M:%S").to_string();
            let shown = if text.as_bytes().get(10) == Some(&b'T') {
                shown.replacen(' ', "T", 1)
            } else {
                shown
            };
            let length = text.len().min(shown.len());
            Ok(SqlValue::Text(shown.get(..length).unwrap_or(&shown).to_owned()))
        }
        SqlValue::Blob(_) => Err(wrong()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = (0..text.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// A value as JSON for a row that is set aside.
pub(super) fn shown(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => json!(value),
        ValueRef::Real(value) => json!(value),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into(),
        ValueRef::Blob(bytes) => format!("x'{}'", hex(bytes.get(..64).unwrap_or(bytes))).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_stand_for_types() {
        for (declaration, expected) in [
            ("INTEGER", "int64"),
            ("NVARCHAR(160)", "text"),
            ("NUMERIC(10,2)", "decimal(10,2)"),
            ("decimal(10, 2)", "decimal(10,2)"),
            ("DECIMAL_TEXT(38,2)", "decimal(38,2)"),
            ("DATETIME", "timestamp"),
            ("DATE", "date"),
            ("double precision", "float64"),
            ("BOOLEAN", "bool"),
            ("blob", "binary"),
        ] {
            let kind = declared_type(declaration).map(|kind| kind.to_string());
            assert_eq!(kind.as_deref(), Some(expected), "{declaration}");
        }
        assert_eq!((declared_type("NUMERIC"), declared_type("")), (None, None));
    }

    #[test]
    fn values_survive_a_position() {
        for value in [
            SqlValue::Null,
            SqlValue::Integer(i64::MIN),
            SqlValue::Real(0.1),
            SqlValue::Text("é".into()),
            SqlValue::Blob(vec![0, 255]),
        ] {
            let stored = to_json(ValueRef::from(&value)).unwrap();
            assert_eq!(from_json(&stored).unwrap(), value);
        }
    }

    #[test]
    fn a_lag_moves_the_cursor_back_in_its_own_form() {
        let text = |text: &str| SqlValue::Text(text.to_owned());
        assert_eq!(back(&text("2024-05-02"), "1d").unwrap(), text("2024-05-01"));
        assert_eq!(
            back(&text("2024-05-01T00:30:00.5Z"), "1h").unwrap(),
            text("2024-04-30T23:30:00")
        );
        assert_eq!(back(&SqlValue::Integer(10), "3").unwrap(), SqlValue::Integer(7));
        assert!(back(&text("abc"), "1h").is_err());
    }
}
