//! The server's values: the types they land in, how they are decoded, and their form in a position.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use chrono::NaiveDate;
use flywheel_base::{Error, Result, Timestamp, quantity};
use mysql_async::Value as SqlValue;
use mysql_async::consts::{ColumnFlags, ColumnType as SqlType};
use serde_json::{Value, json};

use super::ZeroDates;
use crate::column::{ColumnBuilder, ColumnType, DECIMAL_DIGITS_MAX, Misfit, Parsing, Scalar};

/// The number of the character set that means "bytes".
const BINARY_CHARSET: u16 = 63;

/// Digits behind the point that the server counts as "as many as there are".
const DIGITS_FREE: u8 = 31;

/// Bits that a signed whole number has beside its sign.
const INT_BITS: u32 = 63;

/// Microseconds in a second.
const SECOND_US: i64 = 1_000_000;

/// What the server sends for a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Int,
    Float,
    Decimal {
        scale: u8,
    },
    Text,
    /// `ENUM` and `SET`: text that is ordered by its number.
    Choice,
    Json,
    Binary,
    Geometry,
    Date,
    Moment {
        digits: u8,
    },
    Time {
        digits: u8,
    },
    Bit,
    /// MariaDB's `UUID`: a text for whoever asks, bytes in the log.
    Uuid,
    /// MariaDB's `INET4`, likewise.
    Inet4,
    /// MariaDB's `INET6`, likewise.
    Inet6,
}

/// What a column of a result is, and the type it lands in.
pub(super) fn typed(column: &mysql_async::Column) -> (Wire, ColumnType) {
    let flags = column.flags();
    let unsigned = flags.contains(ColumnFlags::UNSIGNED_FLAG);
    let binary = column.character_set() == BINARY_CHARSET;
    let digits = if column.decimals() >= DIGITS_FREE { 6 } else { column.decimals() };
    if flags.contains(ColumnFlags::ENUM_FLAG) || flags.contains(ColumnFlags::SET_FLAG) {
        return (Wire::Choice, ColumnType::Text);
    }
    match column.column_type() {
        SqlType::MYSQL_TYPE_TINY
        | SqlType::MYSQL_TYPE_SHORT
        | SqlType::MYSQL_TYPE_INT24
        | SqlType::MYSQL_TYPE_YEAR => (Wire::Int, ColumnType::Int32),
        SqlType::MYSQL_TYPE_LONG if !unsigned => (Wire::Int, ColumnType::Int32),
        SqlType::MYSQL_TYPE_LONG => (Wire::Int, ColumnType::Int64),
        SqlType::MYSQL_TYPE_LONGLONG if !unsigned => (Wire::Int, ColumnType::Int64),
        SqlType::MYSQL_TYPE_LONGLONG => {
            (Wire::Int, ColumnType::Decimal { precision: 20, scale: 0 })
        }
        SqlType::MYSQL_TYPE_FLOAT | SqlType::MYSQL_TYPE_DOUBLE => {
            (Wire::Float, ColumnType::Float64)
        }
        SqlType::MYSQL_TYPE_DECIMAL | SqlType::MYSQL_TYPE_NEWDECIMAL => {
            let scale = column.decimals();
            // The length counts the point and, unless unsigned, the sign.
            let signs = u32::from(scale > 0) + u32::from(!unsigned);
            let precision = column.column_length().saturating_sub(signs);
            (Wire::Decimal { scale }, decimal(precision, scale))
        }
        SqlType::MYSQL_TYPE_DATE | SqlType::MYSQL_TYPE_NEWDATE => (Wire::Date, ColumnType::Date),
        SqlType::MYSQL_TYPE_DATETIME
        | SqlType::MYSQL_TYPE_DATETIME2
        | SqlType::MYSQL_TYPE_TIMESTAMP
        | SqlType::MYSQL_TYPE_TIMESTAMP2 => (Wire::Moment { digits }, ColumnType::Timestamp),
        SqlType::MYSQL_TYPE_TIME | SqlType::MYSQL_TYPE_TIME2 => {
            (Wire::Time { digits }, ColumnType::Text)
        }
        SqlType::MYSQL_TYPE_BIT => (
            Wire::Bit,
            match column.column_length() {
                1 => ColumnType::Bool,
                ..=INT_BITS => ColumnType::Int64,
                _ => ColumnType::Binary,
            },
        ),
        SqlType::MYSQL_TYPE_JSON => (Wire::Json, ColumnType::Json),
        SqlType::MYSQL_TYPE_GEOMETRY | SqlType::MYSQL_TYPE_VECTOR => {
            (Wire::Geometry, ColumnType::Binary)
        }
        SqlType::MYSQL_TYPE_NULL => (Wire::Text, ColumnType::Text),
        _ if binary => (Wire::Binary, ColumnType::Binary),
        _ => (Wire::Text, ColumnType::Text),
    }
}

/// A decimal as far as there is one; wider numbers are kept as text.
fn decimal(precision: u32, scale: u8) -> ColumnType {
    match u8::try_from(precision) {
        Ok(precision @ 1..=DECIMAL_DIGITS_MAX) if scale <= precision => {
            ColumnType::Decimal { precision, scale }
        }
        _ => ColumnType::Text,
    }
}

/// Adds a value to its column.
pub(super) fn push(
    value: &SqlValue,
    wire: Wire,
    zero_dates: ZeroDates,
    builder: &mut ColumnBuilder,
) -> Result<(), Misfit> {
    let kind = builder.kind();
    let parsing = Parsing::default();
    let mut text = String::new();
    let scalar = match value {
        SqlValue::NULL => Scalar::Null,
        SqlValue::Int(value) => Scalar::Int(*value),
        SqlValue::UInt(value) => whole(*value, &mut text),
        SqlValue::Float(value) => Scalar::Float(f64::from(*value)),
        SqlValue::Double(value) => Scalar::Float(*value),
        SqlValue::Bytes(bytes) => match wire {
            Wire::Binary | Wire::Geometry => Scalar::Bytes(bytes),
            Wire::Bit if kind == ColumnType::Binary => Scalar::Bytes(bytes),
            Wire::Bit => {
                let number = bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
                whole(number, &mut text)
            }
            _ => {
                let found = std::str::from_utf8(bytes)
                    .map_err(|_| Misfit::new("invalid-utf8", "a text that is not valid UTF-8"))?;
                match wire {
                    Wire::Decimal { .. } => Scalar::Number(found),
                    Wire::Json => Scalar::Json(found),
                    _ => Scalar::Text(found),
                }
            }
        },
        SqlValue::Date(year, month, day, hour, minute, second, micros)
            if matches!(kind, ColumnType::Date | ColumnType::Timestamp) =>
        {
            if *month == 0 || *day == 0 {
                match zero_dates {
                    ZeroDates::Null => Scalar::Null,
                    ZeroDates::Reject => {
                        let reason = "a date that is none, such as 0000-00-00; set `zero_dates: \
                                      null` to read it as no value";
                        return Err(Misfit::new("zero-date", reason));
                    }
                }
            } else {
                let date =
                    NaiveDate::from_ymd_opt(i32::from(*year), u32::from(*month), u32::from(*day));
                let moment = date.and_then(|date| {
                    let time = (u32::from(*hour), u32::from(*minute), u32::from(*second));
                    date.and_hms_micro_opt(time.0, time.1, time.2, *micros)
                });
                let moment = moment.ok_or_else(|| {
                    Misfit::new("invalid-date", "a date that is not in the calendar")
                })?;
                Scalar::Timestamp(moment.and_utc().timestamp_micros())
            }
        }
        SqlValue::Date(..) | SqlValue::Time(..) => {
            text = printed(value, wire);
            Scalar::Text(&text)
        }
    };
    builder.push(scalar, &parsing)
}

/// An unsigned number, as text where it is too large for a signed one.
fn whole(value: u64, text: &mut String) -> Scalar<'_> {
    match i64::try_from(value) {
        Ok(value) => Scalar::Int(value),
        Err(_) => {
            *text = value.to_string();
            Scalar::Number(text)
        }
    }
}

/// A date or time as the server prints it.
pub(super) fn printed(value: &SqlValue, wire: Wire) -> String {
    let mut text = String::new();
    let (clock, micros, digits) = match (value, wire) {
        (SqlValue::Date(year, month, day, ..), Wire::Date) => {
            return format!("{year:04}-{month:02}-{day:02}");
        }
        (SqlValue::Date(year, month, day, hour, minute, second, micros), wire) => {
            let digits = if let Wire::Moment { digits } = wire { digits } else { 6 };
            let clock = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
            (clock, micros, digits)
        }
        (SqlValue::Time(negative, days, hours, minutes, seconds, micros), wire) => {
            let digits = if let Wire::Time { digits } = wire { digits } else { 6 };
            let sign = if *negative { "-" } else { "" };
            let hours = days * 24 + u32::from(*hours);
            (format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"), micros, digits)
        }
        _ => return text,
    };
    text.push_str(&clock);
    if digits > 0 {
        let fraction = format!("{micros:06}");
        text.push('.');
        text.push_str(fraction.get(..usize::from(digits)).unwrap_or(&fraction));
    }
    text
}

/// What the server prints for bytes that only its log has; none if `wire` is not of that kind.
pub(super) fn bare(bytes: &[u8], wire: Wire) -> Option<String> {
    match wire {
        Wire::Uuid if bytes.len() == 16 => {
            let mut text = hex(bytes);
            for place in [8, 13, 18, 23] {
                text.insert(place, '-');
            }
            Some(text)
        }
        Wire::Inet4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        Wire::Inet6 => Some(inet6(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// An address as MariaDB prints it: a single zero is left out, too, and four numbers stand at the end
/// of every address that is one of version 4.
fn inet6(bytes: [u8; 16]) -> String {
    let words = Ipv6Addr::from(bytes).segments();
    // The longest row of zeros, as its start and length.
    let (mut gap, mut run) = ((0_usize, 0_usize), (0, 0));
    for (at, word) in words.iter().enumerate() {
        run = if *word == 0 { (run.0, run.1 + 1) } else { (at + 1, 0) };
        if run.1 > gap.1 {
            gap = run;
        }
    }
    let (start, length) = gap;
    let mapped = length == 5 && words.get(5) == Some(&u16::MAX);
    let dotted = start == 0 && (length == 6 || mapped);
    let mut text = String::new();
    for (at, word) in words.iter().enumerate() {
        if (start..start + length).contains(&at) {
            if at == start {
                text.push_str(if at == 0 { "::" } else { ":" });
            }
        } else if at == 6 && dotted {
            let [.., a, b, c, d] = bytes;
            text.push_str(&Ipv4Addr::new(a, b, c, d).to_string());
            break;
        } else {
            // Writing to a text cannot fail.
            write!(text, "{word:x}").unwrap_or_default();
            if at < 7 {
                text.push(':');
            }
        }
    }
    text
}

/// About how many bytes a value has.
pub(super) fn size(value: &SqlValue) -> usize {
    match value {
        SqlValue::Bytes(bytes) => bytes.len(),
        _ => 8,
    }
}

/// A value as JSON for a row that is set aside.
pub(super) fn shown(value: &SqlValue, wire: Wire) -> Value {
    match value {
        SqlValue::NULL => Value::Null,
        SqlValue::Int(value) => json!(value),
        SqlValue::UInt(value) => json!(value),
        SqlValue::Float(value) => json!(value),
        SqlValue::Double(value) => json!(value),
        SqlValue::Bytes(bytes) if matches!(wire, Wire::Binary | Wire::Geometry | Wire::Bit) => {
            format!("x'{}'", hex(bytes.get(..64).unwrap_or(bytes))).into()
        }
        SqlValue::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        SqlValue::Date(..) | SqlValue::Time(..) => printed(value, wire).into(),
    }
}

/// A value as it is kept in a position; bytes as hexadecimal digits.
pub(super) fn to_json(value: &SqlValue, wire: Wire) -> Result<Value> {
    Ok(match value {
        SqlValue::Float(value) => json!(f64::from(*value)),
        SqlValue::Bytes(bytes) if wire == Wire::Binary => hex(bytes).into(),
        SqlValue::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(error) => {
                return Err(Error::invalid("a key or cursor is a text that is not valid UTF-8")
                    .caused_by(error)
                    .hint("Mend that value, or follow another column."));
            }
        },
        other => shown(other, wire),
    })
}

/// A value read from a position, to be put in the place of [`placeholder`].
pub(super) fn from_json(value: &Value) -> Result<SqlValue> {
    let number = |number: &serde_json::Number| {
        let whole = number.as_i64().map(SqlValue::Int);
        whole
            .or_else(|| number.as_u64().map(SqlValue::UInt))
            .or_else(|| number.as_f64().map(SqlValue::Double))
    };
    let found = match value {
        Value::Null => Some(SqlValue::NULL),
        Value::Number(value) => number(value),
        Value::String(text) => Some(SqlValue::Bytes(text.clone().into_bytes())),
        _ => None,
    };
    found.ok_or_else(|| Error::corrupt("the stored position has a value that is not one of MySQL"))
}

/// The placeholder of a value from a position. Without its type the server would compare a decimal
/// as a double, and bytes as text.
pub(super) fn placeholder(wire: Wire) -> Cow<'static, str> {
    match wire {
        Wire::Decimal { scale } => format!("CAST(? AS DECIMAL(65,{scale}))").into(),
        Wire::Binary => "UNHEX(?)".into(),
        Wire::Date => "CAST(? AS DATE)".into(),
        Wire::Moment { .. } => "CAST(? AS DATETIME(6))".into(),
        Wire::Time { .. } => "CAST(? AS TIME(6))".into(),
        _ => "?".into(),
    }
}

/// The cursor value that lies `lag` before `value`.
pub(super) fn back(value: &Value, wire: Wire, lag: &str) -> Result<Value> {
    let wrong = || {
        Error::invalid(format!("the lag \"{lag}\" does not fit the cursor"))
            .hint("Write a duration such as 2h for dates and times, a number for numbers.")
    };
    let number = || lag.trim().parse::<i64>().ok();
    Ok(match value {
        Value::Null => Value::Null,
        Value::Number(at) => match (at.as_i64(), at.as_u64(), at.as_f64()) {
            (Some(at), _, _) => {
                let steps = match number() {
                    Some(steps) => steps,
                    None => quantity::duration_us(lag).map_err(|_| wrong())? / SECOND_US,
                };
                json!(at.saturating_sub(steps))
            }
            (_, Some(at), _) => {
                let steps =
                    number().and_then(|steps| u64::try_from(steps).ok()).ok_or_else(wrong)?;
                json!(at.saturating_sub(steps))
            }
            (_, _, Some(at)) => json!(at - lag.trim().parse::<f64>().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        },
        Value::String(text) if matches!(wire, Wire::Date | Wire::Moment { .. }) => {
            let moment = Timestamp::parse(&text.replacen(' ', "T", 1))
                .or_else(|_| Timestamp::parse(text))
                .map_err(|_| wrong())?;
            let earlier = moment.plus_micros(-quantity::duration_us(lag).map_err(|_| wrong())?);
            let mut shown = earlier.datetime().format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            if wire == Wire::Date {
                shown.truncate(10);
            }
            shown.into()
        }
        _ => return Err(wrong()),
    })
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_position() {
        for (value, wire) in [
            (SqlValue::NULL, Wire::Int),
            (SqlValue::Int(i64::MIN), Wire::Int),
            (SqlValue::UInt(u64::MAX), Wire::Int),
            (SqlValue::Double(0.1), Wire::Float),
            (SqlValue::Double(5.0), Wire::Float),
            (SqlValue::Bytes("é".into()), Wire::Text),
        ] {
            let text = to_json(&value, wire).unwrap().to_string();
            assert_eq!(from_json(&serde_json::from_str(&text).unwrap()).unwrap(), value);
        }
        let bytes = to_json(&SqlValue::Bytes(vec![0, 255]), Wire::Binary).unwrap();
        assert_eq!((bytes, &*placeholder(Wire::Binary)), (json!("00ff"), "UNHEX(?)"));
        assert!(to_json(&SqlValue::Bytes(vec![255]), Wire::Text).is_err());
    }

    #[test]
    fn dates_and_times_are_printed_as_the_server_does() {
        let moment = SqlValue::Date(2024, 5, 1, 10, 0, 0, 120_000);
        assert_eq!(printed(&moment, Wire::Moment { digits: 2 }), "2024-05-01 10:00:00.12");
        assert_eq!(printed(&moment, Wire::Date), "2024-05-01");
        let time = SqlValue::Time(true, 34, 22, 59, 59, 0);
        assert_eq!(printed(&time, Wire::Time { digits: 0 }), "-838:59:59");
    }

    #[test]
    fn bytes_of_the_log_are_printed_as_the_server_does() {
        let bytes: Vec<u8> = (0..16).map(|at| at * 17).collect();
        let uuid = bare(&bytes, Wire::Uuid);
        assert_eq!(uuid.as_deref(), Some("00112233-4455-6677-8899-aabbccddeeff"));
        assert_eq!(bare(&[10, 0, 0, 1], Wire::Inet4).as_deref(), Some("10.0.0.1"));
        assert_eq!(bare(&[10, 0, 0, 1], Wire::Inet6), None);
        assert_eq!(bare(&bytes, Wire::Binary), None);
        // Words of addresses, and what MariaDB 10.11 prints for them.
        for (words, printed) in [
            ([0, 0, 0, 0, 0, 0, 0, 0], "::"),
            ([0, 0, 0, 0, 0, 0, 0, 1], "::1"),
            ([0, 0, 0, 0, 0, 0, 0, 0x100], "::100"),
            ([0, 0, 0, 0, 0, 0, 1, 2], "::0.1.0.2"),
            ([0, 0, 0, 0, 0, 0, 1, 0], "::0.1.0.0"),
            ([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304], "::ffff:1.2.3.4"),
            ([0, 0, 0, 0, 0, 0xffff, 0, 0], "::ffff:0.0.0.0"),
            ([0, 0, 0, 0, 0, 0xfffe, 0x102, 0x304], "::fffe:102:304"),
            ([0, 0, 0, 0, 0xffff, 0, 0x102, 0x304], "::ffff:0:102:304"),
            ([0x64, 0xff9b, 0, 0, 0, 0, 0x102, 0x304], "64:ff9b::102:304"),
            ([1, 0, 0, 0, 0, 0, 0, 0], "1::"),
            ([1, 0, 0, 2, 0, 0, 0, 3], "1:0:0:2::3"),
            ([1, 0, 2, 3, 4, 5, 6, 7], "1::2:3:4:5:6:7"),
            ([0, 1, 2, 3, 4, 5, 6, 7], "::1:2:3:4:5:6:7"),
            ([1, 2, 3, 4, 5, 6, 7, 0], "1:2:3:4:5:6:7::"),
            ([0, 0, 1, 0, 0, 1, 0, 0], "::1:0:0:1:0:0"),
            ([0xfe80, 0, 0, 0, 0, 0, 0, 0xabcd], "fe80::abcd"),
        ] {
            let bytes = words.map(u16::to_be_bytes).concat();
            assert_eq!(bare(&bytes, Wire::Inet6).as_deref(), Some(printed));
        }
    }

    #[test]
    fn a_lag_moves_the_cursor_back_in_its_own_form() {
        let moment = Wire::Moment { digits: 6 };
        assert_eq!(
            back(&json!("2024-05-01 00:30:00.500000"), moment, "1h").unwrap(),
            json!("2024-04-30 23:30:00.500000")
        );
        assert_eq!(back(&json!("2024-05-02"), Wire::Date, "1d").unwrap(), json!("2024-05-01"));
        assert_eq!(back(&json!(10), Wire::Int, "3").unwrap(), json!(7));
        assert!(back(&json!("abc"), Wire::Text, "1h").is_err());
        assert!(back(&json!("2024-05-02"), Wire::Date, "3").is_err());
    }
}
