//! Exact numbers from text: whole, decimal and floating.

use std::borrow::Cow;

use super::DECIMAL_DIGITS_MAX;

/// Why a text is not the wanted number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotNumber {
    /// It is not a number at all, or not of that form.
    Form,
    /// It is a number the type cannot hold without loss.
    Range,
}

/// The largest magnitude up to which every whole number is a double.
const FLOAT_WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads a whole number; a sign may lead it.
pub(crate) fn int64(text: &str) -> Result<i64, NotNumber> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return Err(NotNumber::Form);
    }
    let mut value: i64 = 0;
    // Eighteen digits cannot overflow, so that the common case has no checks.
    if digits.len() <= 18 {
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(NotNumber::Form);
            }
            value = value * 10 + i64::from(digit);
        }
        return Ok(if negative { -value } else { value });
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(NotNumber::Form);
    }
    text.parse::<i64>().map_err(|_| NotNumber::Range)
}

/// Reads a finite or, if `allow_nan`, any double.
pub(crate) fn float64(text: &str, allow_nan: bool) -> Result<f64, NotNumber> {
    let value = text.parse::<f64>().map_err(|_| NotNumber::Form)?;
    if value.is_finite() || (allow_nan && !text.bytes().any(|byte| byte.is_ascii_digit())) {
        return Ok(value);
    }
    Err(NotNumber::Range)
}

/// A number that is written with a comma before its decimals, and points, if any, between its thousands,
/// as one with a point before them; none if a point stands elsewhere, where it would be read as another number.
pub(crate) fn pointed(text: &str) -> Option<Cow<'_, str>> {
    let (whole, fraction) = match text.split_once(',') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None if !text.contains('.') => return Some(text.into()),
        None => (text, None),
    };
    if fraction.is_some_and(|fraction| fraction.contains(['.', ','])) {
        return None;
    }
    if whole.contains('.') {
        let mut groups = whole.strip_prefix(['-', '+']).unwrap_or(whole).split('.');
        let digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
        let first = groups.next().unwrap_or_default();
        let leads = (1..=3).contains(&first.len()) && !first.starts_with('0') && digits(first);
        if !leads || !groups.all(|group| group.len() == 3 && digits(group)) {
            return None;
        }
    }
    let mut number = whole.replace('.', "");
    if let Some(fraction) = fraction {
        number.push('.');
        number.push_str(fraction);
    }
    Some(number.into())
}

/// The whole number `value` is, if it is one that a double holds exactly.
pub(crate) fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= FLOAT_WHOLE_MAX).then_some(value as i64)
}

/// The double that is exactly `value`.
pub(crate) fn exact_float(value: i64) -> Option<f64> {
    let float = value as f64;
    (float.abs() <= FLOAT_WHOLE_MAX).then_some(float)
}

/// Reads a decimal number of `precision` digits, `scale` of them after the point, without rounding.
pub(crate) fn decimal(text: &str, precision: u8, scale: u8) -> Result<i128, NotNumber> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => {
            let exponent = text.get(at + 1..).unwrap_or_default();
            (
                text.get(..at).unwrap_or_default(),
                exponent.parse::<i32>().map_err(|_| NotNumber::Form)?,
            )
        }
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let mut digits: i128 = 0;
    let mut shift = exponent;
    let (mut seen, mut point) = (false, false);
    let mut overflow = false;
    for byte in mantissa {
        match byte {
            b'0'..=b'9' => {
                seen = true;
                shift = shift.saturating_sub(i32::from(point));
                match digits.checked_mul(10).and_then(|d| d.checked_add(i128::from(byte - b'0'))) {
                    Some(value) => digits = value,
                    None => overflow = true,
                }
            }
            b'.' if !point => point = true,
            _ => return Err(NotNumber::Form),
        }
    }
    if !seen {
        return Err(NotNumber::Form);
    }
    if overflow {
        return Err(NotNumber::Range);
    }
    let value = rescale(digits, shift.saturating_add(i32::from(scale)))?;
    if value.unsigned_abs() >= 10u128.pow(u32::from(precision.min(DECIMAL_DIGITS_MAX))) {
        return Err(NotNumber::Range);
    }
    Ok(if negative { -value } else { value })
}

/// `digits · 10^shift`, if that is a whole number that fits.
fn rescale(mut digits: i128, shift: i32) -> Result<i128, NotNumber> {
    if digits == 0 {
        return Ok(0);
    }
    if shift >= 0 {
        let factor = u32::try_from(shift).ok().and_then(|shift| 10i128.checked_pow(shift));
        return factor.and_then(|factor| digits.checked_mul(factor)).ok_or(NotNumber::Range);
    }
    for _ in 0..shift.unsigned_abs().min(u32::from(DECIMAL_DIGITS_MAX) + 1) {
        if digits % 10 != 0 {
            return Err(NotNumber::Range);
        }
        digits /= 10;
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_exact_to_the_last_digit() {
        assert_eq!(int64("9007199254740993"), Ok(9_007_199_254_740_993));
        assert_eq!(int64("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(int64("9223372036854775808"), Err(NotNumber::Range));
        for text in ["", "-", "1.0", "12a", "0x10", "1 2", "١"] {
            assert_eq!(int64(text), Err(NotNumber::Form), "{text}");
        }
    }

    #[test]
    fn decimals_never_round() {
        assert_eq!(decimal("12.50", 12, 2), Ok(1250));
        assert_eq!(decimal("-.5", 12, 2), Ok(-50));
        assert_eq!(decimal("1.500", 12, 2), Ok(150));
        assert_eq!(decimal("1.5e3", 12, 2), Ok(150_000));
        assert_eq!(decimal("15000e-3", 12, 2), Ok(1500));
        assert_eq!(decimal("1.505", 12, 2), Err(NotNumber::Range));
        assert_eq!(decimal("1000", 4, 2), Err(NotNumber::Range));
        assert_eq!(decimal("1e999999999", 38, 2), Err(NotNumber::Range));
        assert_eq!(decimal("1e-999999999", 38, 2), Err(NotNumber::Range));
        assert_eq!(decimal("99999999999999999999999999999999999999", 38, 0).map(|v| v % 10), Ok(9));
        for text in ["", ".", "1.2.3", "abc", "1e", "--1"] {
            assert_eq!(decimal(text, 12, 2), Err(NotNumber::Form), "{text}");
        }
    }

    #[test]
    fn a_point_is_between_thousands_where_decimals_have_a_comma() {
        for (text, expected) in [
            ("1,5", "1.5"),
            ("-2.000", "-2000"),
            ("1.234.567,89", "1234567.89"),
            ("+12", "+12"),
            (",5", ".5"),
        ] {
            assert_eq!(pointed(text).as_deref(), Some(expected), "{text}");
        }
        for text in
            ["1.5", "12.50", "0.500", "1.2345", "1234.567", "1,234.50", "1,2,3", ".5", "1..5"]
        {
            assert_eq!(pointed(text), None, "{text}");
        }
    }

    #[test]
    fn floats_are_finite_unless_allowed() {
        for text in ["NaN", "inf", "-Infinity"] {
            assert_eq!(float64(text, false), Err(NotNumber::Range), "{text}");
            assert!(float64(text, true).is_ok(), "{text}");
        }
        assert_eq!(float64("1e999", true), Err(NotNumber::Range));
        assert_eq!((whole(3.0), whole(3.5), whole(1e300)), (Some(3), None, None));
    }
}
