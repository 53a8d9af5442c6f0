//! Values that a client hands in for `$1` and its like, as constants of a statement.

use arrow::datatypes::{DataType, TimeUnit};
use bytes::Buf;
use chrono::{DateTime, NaiveDate};
use flywheel_base::{Error, Result};

use super::numeric;
use super::value::{DAYS_TO_1970, DAYS_TO_2000, Form, Kind, MICROS_TO_2000};
use crate::Parameter;

/// The most digits of a decimal.
const DIGITS_MAX: u8 = 38;

/// The value of a parameter, from its bytes; none are NULL. `oid` is the type that was told for it; texts and types that are
/// not known are texts.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the bytes are no value of the type, or the type has none that can be handed in.
pub fn constant(oid: u32, form: Form, bytes: Option<&[u8]>) -> Result<Parameter> {
    let text = match (bytes, form) {
        (None, _) => None,
        (Some(bytes), Form::Text) => Some(utf8(bytes)?),
        (Some(bytes), Form::Binary) => Some(from_binary(oid, bytes)?),
    };
    let text = text.as_deref();
    match oid {
        16 => {
            let flag = text.map(flag).transpose()?;
            Parameter::new(&DataType::Boolean, flag)
        }
        20 | 26 => Parameter::new(&DataType::Int64, text.map(str::trim)),
        21 | 23 => Parameter::new(&DataType::Int32, text.map(str::trim)),
        700 | 701 => Parameter::new(&DataType::Float64, text.map(str::trim)),
        1082 => Parameter::new(&DataType::Date32, text.map(str::trim)),
        1114 | 1184 => {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
            Parameter::new(&kind, text.map(str::trim))
        }
        1700 => decimal(text.map(str::trim)),
        17 => Err(unknown("bytea")),
        _ => Parameter::new(&DataType::Utf8, text),
    }
}

/// A decimal with as many places as it has.
fn decimal(text: Option<&str>) -> Result<Parameter> {
    let Some(text) = text else {
        return Parameter::new(&DataType::Decimal128(DIGITS_MAX, 0), None);
    };
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
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
            let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
            parts.join("-")
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
        assert_eq!(text(2950, &[0x11; 16]), "11111111-1111-1111-1111-111111111111");
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
            (1114, "2024-02-29 10:00:00"),
            (1184, "2024-02-29 10:00:00+02:00"),
            (1700, "10.505"),
            (1700, "1e3"),
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
        let cases: [(u32, Form, &[u8]); 9] = [
            (16, Form::Text, b"maybe"),
            (20, Form::Text, b"1 or 1 = 1"),
            (20, Form::Binary, b"1"),
            (23, Form::Text, b"4000000000"),
            (1082, Form::Binary, &[0x7f, 0xff, 0xff, 0xff]),
            (1700, Form::Binary, &[0]),
            (25, Form::Text, &[0xff]),
            (25, Form::Text, b"a\0b"),
            (600, Form::Binary, &[0; 16]),
        ];
        for (oid, form, bytes) in cases {
            let error = constant(oid, form, Some(bytes)).unwrap_err();
            assert!(!error.report().contains("4000000000"), "{}", error.report());
        }
    }
}
