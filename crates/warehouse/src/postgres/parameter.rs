//! Values that a client hands in for `$1` and its like, as constants of a statement.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use bytes::{Buf, Bytes};
use chrono::{DateTime, NaiveDate};
use flywheel_base::{Error, Result};

use super::kind::Kind;
use super::value::{DAYS_TO_1970, DAYS_TO_2000, Form, MICROS_TO_2000};
use super::{list, numeric, span};
use crate::Parameter;

/// The most digits of a decimal.
const DIGITS_MAX: u8 = 38;

/// The number of the type that a client is told for a value of one of ours; `catalogue` says that only the catalogue is asked.
pub(crate) fn type_of(kind: &DataType, catalogue: bool) -> u32 {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let list = list::list_of(type_of(item.data_type(), catalogue));
            list.unwrap_or_else(|| Kind::Json.oid())
        }
        kind if catalogue => Kind::of_catalogue(kind).oid(),
        kind => Kind::of(kind).oid(),
    }
}

/// The number of the type of a list of such values.
pub(crate) fn list_of(item: u32) -> u32 {
    list::list_of(item).unwrap_or_else(|| Kind::Json.oid())
}

/// The number of the type that a cast in PostgreSQL's words makes: `int4`, `text[]`. What is looked up by its name is a text.
pub(crate) fn type_of_cast(word: &str) -> Option<u32> {
    let word = word.trim().to_ascii_lowercase();
    if let Some(item) = word.strip_suffix("[]") {
        return type_of_cast(item).and_then(list::list_of);
    }
    let zoned = word.ends_with("with time zone");
    let bare = word.split('(').next().unwrap_or_default().trim();
    let bare = bare.trim_matches('"');
    Some(match bare.strip_prefix("pg_catalog.").unwrap_or(bare) {
        "boolean" | "bool" => 16,
        "bytea" => 17,
        "bigint" | "int8" => 20,
        "smallint" | "int2" => 21,
        "int" | "integer" | "int4" => 23,
        "text" | "varchar" | "character varying" | "char" | "character" | "bpchar" | "name"
        | "string" | "regclass" | "regtype" | "regnamespace" | "regproc" | "regrole" => 25,
        "oid" => 26,
        "json" => 114,
        "real" | "float4" => 700,
        "double" | "double precision" | "float8" | "float" => 701,
        "date" => 1_082,
        "time" | "time without time zone" => 1_083,
        "timestamptz" | "timestamp with time zone" => 1_184,
        "timestamp" if zoned => 1_184,
        "timestamp" | "timestamp without time zone" => 1_114,
        "interval" => 1_186,
        "numeric" | "decimal" | "dec" => 1_700,
        "uuid" => 2_950,
        "jsonb" => 3_802,
        _ => return None,
    })
}

/// The value of a parameter, from its bytes; none are NULL. `oid` is the type that was told for it; texts and types that are
/// not known are texts.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the bytes are no value of the type, or the type has none that can be handed in;
/// [`flywheel_base::ErrorKind::Exhausted`] for a list that is too long.
pub fn constant(oid: u32, form: Form, bytes: Option<&[u8]>) -> Result<Parameter> {
    let Some(item) = list::item_of(oid) else { return single(oid, form, bytes) };
    let items = match bytes {
        None => None,
        Some(bytes) => {
            let items = list::items(form, bytes).ok_or_else(|| {
                misfit().hint("Lists have one dimension here: {1,2}, and none in them.")
            })?;
            let one = |value: &Option<Bytes>| single(item, form, value.as_deref());
            Some(items.iter().map(one).collect::<Result<Vec<_>>>()?)
        }
    };
    Parameter::list(&kind_of(item), items)
}

/// What the values of a type are here; texts and what is not known are texts.
fn kind_of(oid: u32) -> DataType {
    match oid {
        16 => DataType::Boolean,
        17 => DataType::Binary,
        20 | 26 => DataType::Int64,
        21 | 23 => DataType::Int32,
        700 => DataType::Float32,
        701 => DataType::Float64,
        1082 => DataType::Date32,
        1083 => DataType::Time64(TimeUnit::Nanosecond),
        1114 | 1184 => DataType::Timestamp(TimeUnit::Microsecond, None),
        1186 => DataType::Interval(IntervalUnit::MonthDayNano),
        1700 => DataType::Decimal128(DIGITS_MAX, 0),
        _ => DataType::Utf8,
    }
}

/// The value of a parameter that is no list.
fn single(oid: u32, form: Form, bytes: Option<&[u8]>) -> Result<Parameter> {
    let text = match (bytes, form) {
        (None, _) => None,
        (Some(bytes), Form::Text) => Some(utf8(bytes)?),
        (Some(bytes), Form::Binary) => Some(from_binary(oid, bytes)?),
    };
    let kind = kind_of(oid);
    let Some(text) = text.as_deref() else { return Parameter::new(&kind, None) };
    match oid {
        16 => Parameter::new(&kind, Some(flag(text)?)),
        17 if form == Form::Text => Parameter::new(&kind, Some(&bytea(text)?)),
        1082 if form == Form::Text => Parameter::new(&kind, Some(day(text.trim()))),
        1186 if form == Form::Text => {
            Parameter::new(&kind, Some(&span::read(text).ok_or_else(misfit)?))
        }
        1700 => decimal(text.trim()),
        2950 => Parameter::new(&kind, Some(&uuid(text)?)),
        _ if kind == DataType::Utf8 => Parameter::new(&kind, Some(text)),
        _ => Parameter::new(&kind, Some(text.trim())),
    }
}

/// A decimal with as many places as it has.
fn decimal(text: &str) -> Result<Parameter> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'));
    if !plain {
        return Parameter::new(&DataType::Float64, Some(text));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.trim_start_matches(['-', '+']).len() + fraction.len();
    let precision = u8::try_from(digits).ok().filter(|digits| *digits <= DIGITS_MAX);
    let scale = i8::try_from(fraction.len()).map_err(|_| misfit())?;
    let precision = precision.ok_or_else(misfit)?.max(1);
    Parameter::new(&DataType::Decimal128(precision, scale), Some(text))
}

/// The day of a text that may say a time or a zone behind it, as JDBC's drivers do: `2024-02-29 +00`.
fn day(text: &str) -> &str {
    let Some((day, behind)) = text.split_at_checked("2024-02-29".len()) else { return text };
    let begins = behind.starts_with([' ', 'T', '+', '-', 'Z']);
    let rest =
        |sign: char| sign.is_ascii_digit() || matches!(sign, ' ' | ':' | '.' | '+' | '-' | 'Z');
    match begins && behind.chars().skip(1).all(rest) {
        true => day,
        false => text,
    }
}

fn utf8(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).map_err(|_| misfit())?;
    match text.contains('\0') {
        true => Err(misfit()),
        false => Ok(text.to_owned()),
    }
}

fn flag(text: &str) -> Result<&'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Ok("true"),
        "f" | "false" | "n" | "no" | "off" | "0" => Ok("false"),
        _ => Err(misfit()),
    }
}

/// The hexadecimal digits of bytes that are written `\x00ff`, or as signs with `\000` for those that are none.
fn bytea(text: &str) -> Result<String> {
    if let Some(digits) = text.strip_prefix("\\x") {
        return Ok(digits.chars().filter(|sign| !sign.is_whitespace()).collect());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        match rest {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => return Err(misfit()),
        }
    }
    Ok(hexadecimal(&bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An identifier as PostgreSQL writes it, whatever brackets and strokes it came with.
fn uuid(text: &str) -> Result<String> {
    let text = text.trim();
    let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: String = bare.chars().filter(|sign| *sign != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(misfit());
    }
    let digits = digits.to_ascii_lowercase();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    Ok([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

fn misfit() -> Error {
    // The value itself is nobody's business: messages go into logs.
    Error::invalid("the bytes of a parameter are no value of its type")
}

fn unknown(kind: &str) -> Error {
    Error::invalid(format!("no parameter can be of the type {kind}"))
        .hint("Hand it in as a text and cast it in the statement.")
}

/// A value as people write it, from its binary form.
fn from_binary(oid: u32, bytes: &[u8]) -> Result<String> {
    let mut rest = bytes;
    let sized = |size: usize| if bytes.len() == size { Ok(()) } else { Err(misfit()) };
    Ok(match oid {
        16 => {
            sized(1)?;
            (rest.get_u8() != 0).to_string()
        }
        17 => hexadecimal(bytes),
        20 => {
            sized(8)?;
            rest.get_i64().to_string()
        }
        21 => {
            sized(2)?;
            rest.get_i16().to_string()
        }
        23 => {
            sized(4)?;
            rest.get_i32().to_string()
        }
        26 => {
            sized(4)?;
            rest.get_u32().to_string()
        }
        700 => {
            sized(4)?;
            rest.get_f32().to_string()
        }
        701 => {
            sized(8)?;
            rest.get_f64().to_string()
        }
        1082 => {
            sized(4)?;
            let days = rest.get_i32().checked_add(DAYS_TO_2000 + DAYS_TO_1970);
            days.and_then(NaiveDate::from_num_days_from_ce_opt).ok_or_else(misfit)?.to_string()
        }
        1083 => {
            sized(8)?;
            let micros = rest.get_i64();
            if !(0..=86_400_000_000).contains(&micros) {
                return Err(misfit());
            }
            let seconds = micros / 1_000_000;
            format!(
                "{:02}:{:02}:{:02}.{:06}",
                seconds / 3_600,
                seconds / 60 % 60,
                seconds % 60,
                micros % 1_000_000
            )
        }
        1114 | 1184 => {
            sized(8)?;
            let micros = rest.get_i64().checked_add(MICROS_TO_2000);
            let moment = micros.and_then(DateTime::from_timestamp_micros).ok_or_else(misfit)?;
            let zone = if oid == Kind::Timestamptz.oid() { "Z" } else { "" };
            format!("{}{zone}", moment.format("%Y-%m-%dT%H:%M:%S%.6f"))
        }
        1700 => numeric::read(bytes).ok_or_else(misfit)?,
        2950 => {
            sized(16)?;
            hexadecimal(bytes)
        }
        1186 => {
            sized(16)?;
            let (micros, days, months) = (rest.get_i64(), rest.get_i32(), rest.get_i32());
            span::write(months, days, micros)
        }
        // The version of the form stands before the text.
        3802 => utf8(bytes.strip_prefix(&[1_u8]).ok_or_else(misfit)?)?,
        // Texts are the same in both forms.
        0 | 18 | 19 | 25 | 114 | 705 | 1042 | 1043 => utf8(bytes)?,
        _ => return Err(unknown(&format!("with the number {oid}, in binary form"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(oid: u32, bytes: &[u8]) -> String {
        from_binary(oid, bytes).unwrap()
    }

    #[test]
    fn binary_values_are_read() {
        assert_eq!(text(20, &(-7_i64).to_be_bytes()), "-7");
        assert_eq!(text(23, &7_i32.to_be_bytes()), "7");
        assert_eq!(text(16, &[1]), "true");
        assert_eq!(text(701, &0.1_f64.to_be_bytes()), "0.1");
        assert_eq!(text(1082, &1_i32.to_be_bytes()), "2000-01-02");
        assert_eq!(text(1114, &500_000_i64.to_be_bytes()), "2000-01-01T00:00:00.500000");
        assert_eq!(text(1184, &0_i64.to_be_bytes()), "2000-01-01T00:00:00.000000Z");
        assert_eq!(text(1700, &[0, 1, 0, 0, 0, 0, 0, 1, 0, 5]), "5.0");
        assert_eq!(text(2950, &[0x1f; 16]), "1f".repeat(16));
        assert_eq!(text(17, &[0, 255]), "00ff");
        let span = [&3_000_000_i64.to_be_bytes()[..], &[0, 0, 0, 2, 0, 0, 0, 14][..]].concat();
        assert_eq!(text(1186, &span), "14 mons 2 days 3000000 us");
        assert_eq!(text(25, "两".as_bytes()), "两");
    }

    #[test]
    fn a_value_becomes_a_constant_of_the_type_that_was_told() {
        for (oid, text) in [
            (16, "t"),
            (20, " 42 "),
            (21, "-1"),
            (701, "1.5e3"),
            (1082, "2024-02-29"),
            (1082, "2024-02-29 +00"),
            (1082, "2024-02-29 10:00:00.5+02:00"),
            (1114, "2024-02-29 10:00:00"),
            (1184, "2024-02-29 10:00:00+02:00"),
            (1700, "10.505"),
            (1700, "1e3"),
            (17, "\\x00FF"),
            (17, "a\\\\b\\377"),
            (1083, "12:34:56.5"),
            (1186, "1 year 2 mons 3 days 01:02:03.0005"),
            (2950, "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}"),
            (114, "{\"a\": 1}"),
            (1007, "{1,NULL,3}"),
            (1009, "{a,\"b,c\"}"),
            (1231, "{1.5,20}"),
            (25, "x' or 1 = 1 --"),
            (0, "anything"),
        ] {
            let made = constant(oid, Form::Text, Some(text.as_bytes()));
            assert!(made.is_ok(), "{oid}: {text}: {made:?}");
        }
        assert!(constant(20, Form::Text, None).is_ok());
    }

    #[test]
    fn bytes_that_are_no_value_are_refused() {
        let cases: [(u32, Form, &[u8]); 17] = [
            (16, Form::Text, b"maybe"),
            (20, Form::Text, b"1 or 1 = 1"),
            (20, Form::Binary, b"1"),
            (23, Form::Text, b"4000000000"),
            (1082, Form::Binary, &[0x7f, 0xff, 0xff, 0xff]),
            (1082, Form::Text, b"2024-02-29 noon"),
            (1700, Form::Binary, &[0]),
            (25, Form::Text, &[0xff]),
            (25, Form::Text, b"a\0b"),
            (600, Form::Binary, &[0; 16]),
            (17, Form::Text, b"\\x0"),
            (17, Form::Text, b"a\\9"),
            (1083, Form::Text, b"25:00"),
            (1186, Form::Text, b"soon"),
            (2950, Form::Text, b"4000000000"),
            (1007, Form::Text, b"{1,{2}}"),
            (1007, Form::Binary, b"1"),
        ];
        for (oid, form, bytes) in cases {
            let error = constant(oid, form, Some(bytes)).unwrap_err();
            assert!(!error.report().contains("4000000000"), "{}", error.report());
        }
    }

    #[test]
    fn the_type_of_a_cast_is_known_by_its_words() {
        for (word, expected) in [
            ("INT", Some(23)),
            ("DECIMAL(10,2)", Some(1_700)),
            ("TIMESTAMP(3) WITH TIME ZONE", Some(1_184)),
            ("pg_catalog.int8", Some(20)),
            ("TEXT[]", Some(1_009)),
            ("UUID", Some(2_950)),
            ("STRUCT<a INT>", None),
        ] {
            assert_eq!(type_of_cast(word), expected, "{word}");
        }
        assert_eq!(type_of(&DataType::new_list(DataType::Int32, true), false), 1_007);
        assert_eq!(type_of(&DataType::UInt32, true), Kind::Oid.oid());
        assert_eq!(list_of(Kind::Text.oid()), 1_009);
    }
}
