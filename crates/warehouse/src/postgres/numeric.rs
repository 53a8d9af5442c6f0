//! The binary form of `numeric`: digits to the base of 10,000.

use bytes::{Buf, BufMut, BytesMut};
use flywheel_base::{Error, Result};

/// Decimal digits of one digit of the form.
const DIGITS: usize = 4;
const NEGATIVE: u16 = 0x4000;
const POSITIVE: u16 = 0;
/// The most places that a value which comes in may have.
const PLACES_MAX: u16 = 1_000;
/// The most digits to the base of 10,000 of a value that comes in.
const WORDS_MAX: u16 = 64;

/// Writes a decimal number, as people write it without an exponent.
pub(super) fn write(text: &str, out: &mut BytesMut) -> Result<()> {
    let broken = || Error::internal("a number has no form in PostgreSQL's protocol");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (POSITIVE, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut padded = "0".repeat((DIGITS - whole.len() % DIGITS) % DIGITS);
    padded.push_str(whole);
    let before = padded.len() / DIGITS;
    padded.push_str(fraction);
    padded.push_str(&"0".repeat((DIGITS - fraction.len() % DIGITS) % DIGITS));
    let mut words = Vec::with_capacity(padded.len() / DIGITS);
    for word in padded.as_bytes().chunks(DIGITS) {
        let mut value = 0_u16;
        for byte in word {
            if !byte.is_ascii_digit() {
                return Err(broken());
            }
            value = value * 10 + u16::from(byte - b'0');
        }
        words.push(value);
    }
    let leading = words.iter().take_while(|word| **word == 0).count();
    let trailing = words.iter().rev().take_while(|word| **word == 0).count();
    let kept = words.get(leading..words.len().saturating_sub(trailing)).unwrap_or_default();
    let weight = match kept.is_empty() {
        true => 0,
        false => {
            i16::try_from(before).map_err(|_| broken())?
                - i16::try_from(leading).map_err(|_| broken())?
                - 1
        }
    };
    out.put_i16(i16::try_from(kept.len()).map_err(|_| broken())?);
    out.put_i16(weight);
    out.put_u16(if kept.is_empty() { POSITIVE } else { sign });
    out.put_u16(u16::try_from(fraction.len()).map_err(|_| broken())?);
    for word in kept {
        out.put_u16(*word);
    }
    Ok(())
}

/// Reads a decimal number; none if the bytes are none, or say that it is no number.
pub(super) fn read(mut bytes: &[u8]) -> Option<String> {
    if bytes.remaining() < 8 {
        return None;
    }
    let (count, weight, sign, places) =
        (bytes.get_u16(), bytes.get_i16(), bytes.get_u16(), bytes.get_u16());
    let fits = count <= WORDS_MAX && places <= PLACES_MAX && weight.unsigned_abs() <= WORDS_MAX;
    if !fits || !matches!(sign, POSITIVE | NEGATIVE) || bytes.remaining() != usize::from(count) * 2
    {
        return None;
    }
    let words: Vec<u16> = (0..count).map(|_| bytes.get_u16()).collect();
    if words.iter().any(|word| *word > 9_999) {
        return None;
    }
    // The digit that stands at a power of 10,000.
    let word = |power: i16| {
        let at = usize::try_from(i32::from(weight) - i32::from(power)).ok();
        at.and_then(|at| words.get(at)).copied().unwrap_or(0)
    };
    let mut whole = String::new();
    for power in (0..=weight.max(0)).rev() {
        whole.push_str(&format!("{:04}", word(power)));
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let places = usize::from(places);
    let mut fraction = String::new();
    let mut power = -1_i16;
    while fraction.len() < places {
        fraction.push_str(&format!("{:04}", word(power)));
        power -= 1;
    }
    fraction.truncate(places);
    let sign = if sign == NEGATIVE { "-" } else { "" };
    let point = if places == 0 { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_as_it_was() {
        for text in [
            "0",
            "1",
            "-1",
            "10000",
            "9999",
            "123456789012345678",
            "0.5",
            "0.00001",
            "-0.10",
            "100.00",
            "12345.678",
            "0.000",
        ] {
            let mut out = BytesMut::new();
            write(text, &mut out).unwrap();
            assert_eq!(read(&out).as_deref(), Some(text), "{out:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let mut out = BytesMut::new();
        assert!(write("1e5", &mut out).is_err());
        for bytes in
            [&b""[..], b"\0\x01\0\0\0\0\0\0", b"\0\0\0\0\xc0\0\0\0", b"\xff\xff\0\0\0\0\0\0"]
        {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }
}
