//! PostgreSQL's `numeric` in its binary form: digits of base 10,000, a weight and a scale.

/// The base of a digit.
const BASE: u128 = 10_000;

/// The sign of a negative number.
const NEGATIVE: u16 = 0x4000;

/// The signs of NaN and of the infinities have these bits.
const SPECIAL: u16 = 0xC000;

/// The sign of the positive infinity.
const INFINITY: u16 = 0xD000;

/// The sign of the negative infinity.
const NEGATIVE_INFINITY: u16 = 0xF000;

/// Digits of base 10,000 that fit an `i128` for certain.
const SAFE_DIGITS: usize = 9;

/// Powers of ten up to the largest in an `i128`.
const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut at = 1;
    while at < 39 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Why a `numeric` is not the wanted decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDecimal {
    /// NaN or an infinity.
    NotFinite,
    /// More digits before or after the point than the decimal has.
    Range,
    /// Not the binary form of a `numeric`.
    Form,
}

/// The head of a `numeric`: number of digits, weight of the first, sign, digits shown after the point.
fn head(bytes: &[u8]) -> Option<(usize, i32, u16, usize)> {
    let (head, digits) = bytes.split_first_chunk::<8>()?;
    let word =
        |at: usize| Some(u16::from_be_bytes([head.get(at).copied()?, head.get(at + 1).copied()?]));
    let count = usize::from(word(0)?);
    let weight = i32::from(word(2)? as i16);
    (digits.len() == count * 2).then_some(())?;
    Some((count, weight, word(4)?, usize::from(word(6)?)))
}

fn digits(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.get(8..).unwrap_or_default().chunks_exact(2).map(|pair| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    })
}

/// The value times 10^`scale`, which has to be a whole number of at most `precision` digits.
pub(crate) fn decimal(bytes: &[u8], precision: u8, scale: u8) -> Result<i128, NotDecimal> {
    let (count, weight, sign, _) = head(bytes).ok_or(NotDecimal::Form)?;
    if sign & SPECIAL == SPECIAL {
        return Err(NotDecimal::NotFinite);
    }
    let mut value: i128 = 0;
    if count <= 4 {
        // The common case in the machine's own width.
        let small = digits(bytes).fold(0u64, |value, digit| value * 10_000 + u64::from(digit));
        value = i128::from(small);
    } else if count <= SAFE_DIGITS {
        for digit in digits(bytes) {
            value = value * 10_000 + i128::from(digit);
        }
    } else {
        return wide(bytes, weight, scale).and_then(|value| signed(value, precision, sign));
    }
    if value == 0 {
        return Ok(0);
    }
    let count = i32::try_from(count).map_err(|_| NotDecimal::Form)?;
    let shift = i32::from(scale) + 4 * (weight + 1 - count);
    let power = usize::try_from(shift.unsigned_abs()).ok().and_then(|at| POWERS.get(at)).copied();
    let value = match (shift >= 0, power) {
        (true, Some(power)) => value.checked_mul(power).ok_or(NotDecimal::Range)?,
        (false, Some(power)) if value % power == 0 => value / power,
        _ => return Err(NotDecimal::Range),
    };
    signed(value, precision, sign)
}

/// The value with its sign, if it has at most `precision` digits.
fn signed(value: i128, precision: u8, sign: u16) -> Result<i128, NotDecimal> {
    if POWERS.get(usize::from(precision)).is_some_and(|limit| value >= *limit) {
        return Err(NotDecimal::Range);
    }
    Ok(if sign == NEGATIVE { -value } else { value })
}

/// The value times 10^`scale` of more digits than fit one after the other: those of base 10,000 can
/// have zeros on both sides that the decimal does not have.
fn wide(bytes: &[u8], weight: i32, scale: u8) -> Result<i128, NotDecimal> {
    let mut value: i128 = 0;
    let mut exponent = 4 * weight + i32::from(scale);
    for digit in digits(bytes) {
        let digit = i128::from(digit);
        let power = usize::try_from(exponent.unsigned_abs()).ok().and_then(|at| POWERS.get(at));
        let part = match (exponent >= 0, power) {
            _ if digit == 0 => Some(0),
            (true, Some(power)) => digit.checked_mul(*power),
            (false, Some(power)) if digit % power == 0 => Some(digit / power),
            _ => None,
        };
        value = part.and_then(|part| value.checked_add(part)).ok_or(NotDecimal::Range)?;
        exponent -= 4;
    }
    Ok(value)
}

/// The value as PostgreSQL prints it.
pub(crate) fn numeric_text(bytes: &[u8]) -> Option<String> {
    let (_, weight, sign, shown) = head(bytes)?;
    match sign {
        INFINITY => return Some("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Some("-Infinity".to_owned()),
        sign if sign & SPECIAL == SPECIAL => return Some("NaN".to_owned()),
        _ => {}
    }
    let digits: Vec<u16> = digits(bytes).collect();
    let digit = |place: i32| {
        usize::try_from(weight - place).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let whole: String = (0..=weight.max(0)).rev().map(|at| format!("{:04}", digit(at))).collect();
    let trimmed = whole.trim_start_matches('0');
    text.push_str(if trimmed.is_empty() { "0" } else { trimmed });
    if shown > 0 {
        let groups = i32::try_from(shown.div_ceil(4)).ok()?;
        let fraction: String = (1..=groups).map(|at| format!("{:04}", digit(-at))).collect();
        text.push('.');
        text.push_str(fraction.get(..shown)?);
    }
    Some(text)
}

/// Adds `value` · 10^-`scale` with its length before it, as `COPY` takes it; says whether it could.
pub(crate) fn write_decimal(out: &mut Vec<u8>, value: i128, scale: i8) -> bool {
    let (value, scale) = match usize::try_from(scale) {
        Ok(scale) => (Some(value), scale),
        Err(_) => {
            let power = POWERS.get(usize::from(scale.unsigned_abs()));
            (power.and_then(|power| value.checked_mul(*power)), 0)
        }
    };
    let (Some(value), Some(power)) = (value, POWERS.get(scale)) else { return false };
    let power = power.unsigned_abs();
    let (mut whole, mut fraction) = (value.unsigned_abs() / power, value.unsigned_abs() % power);
    // At most ten digits of base 10,000 on either side of the point.
    let mut groups = [0u16; 20];
    let mut first = 10;
    while whole > 0 && first > 0 {
        first -= 1;
        if let Some(group) = groups.get_mut(first) {
            *group = (whole % BASE) as u16;
        }
        whole /= BASE;
    }
    let mut weight = 9 - first as i16;
    let mut end = 10;
    let mut left = scale;
    while left > 0 && fraction > 0 {
        let group = if left >= 4 {
            let unit = POWERS.get(left - 4).map_or(1, |power| power.unsigned_abs());
            let group = fraction / unit;
            fraction %= unit;
            left -= 4;
            group
        } else {
            let group = fraction * POWERS.get(4 - left).map_or(1, |power| power.unsigned_abs());
            (fraction, left) = (0, 0);
            group
        };
        if let Some(place) = groups.get_mut(end) {
            *place = group as u16;
        }
        end += 1;
    }
    let mut used = groups.get(first..end).unwrap_or_default();
    while let [0, rest @ ..] = used {
        used = rest;
        weight -= 1;
    }
    while let [rest @ .., 0] = used {
        used = rest;
    }
    if used.is_empty() {
        weight = 0;
    }
    let sign = if value < 0 { NEGATIVE } else { 0 };
    out.extend_from_slice(&(8 + 2 * used.len() as i32).to_be_bytes());
    out.extend_from_slice(&(used.len() as u16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(scale as u16).to_be_bytes());
    for group in used {
        out.extend_from_slice(&group.to_be_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: i128, scale: i8) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(write_decimal(&mut out, value, scale));
        let length = i32::from_be_bytes(out[..4].try_into().unwrap());
        assert_eq!(length as usize, out.len() - 4);
        out.split_off(4)
    }

    #[test]
    fn decimals_survive_their_binary_form_to_the_last_digit() {
        let largest = POWERS[38] - 1;
        for value in [0, 1, -1, 9, 10_000, 99_999, 123_456_789, -1_000_000, largest, -largest] {
            for scale in [0u8, 1, 2, 3, 4, 5, 8, 17, 36, 37, 38] {
                let bytes = written(value, scale as i8);
                assert_eq!(decimal(&bytes, 38, scale), Ok(value), "{value} {scale}");
            }
        }
        assert_eq!(decimal(&written(12, -2), 38, 0), Ok(1_200));
    }

    #[test]
    fn decimals_are_written_as_the_server_prints_them() {
        for (value, scale, expected) in [
            (12_345, 2, "123.45"),
            (-5, 3, "-0.005"),
            (0, 2, "0.00"),
            (100_000_000, 0, "100000000"),
            (1, 6, "0.000001"),
            (10_001, 4, "1.0001"),
        ] {
            assert_eq!(numeric_text(&written(value, scale)).unwrap(), expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let nan = [0, 0, 0, 0, 0xC0, 0, 0, 0];
        assert_eq!(decimal(&nan, 38, 2), Err(NotDecimal::NotFinite));
        assert_eq!(numeric_text(&nan).as_deref(), Some("NaN"));
        assert_eq!(decimal(&written(12_345, 3), 10, 2), Err(NotDecimal::Range));
        assert_eq!(decimal(&written(12_340, 3), 10, 2), Ok(1_234));
        assert_eq!(decimal(&written(12_345, 2), 4, 2), Err(NotDecimal::Range));
        assert_eq!(decimal(&written(POWERS[38] - 1, 0), 38, 1), Err(NotDecimal::Range));
        for bytes in [&[][..], &[0, 1], &[0, 2, 0, 0, 0, 0, 0, 0, 0, 1], &[255; 9]] {
            assert_eq!(decimal(bytes, 38, 2), Err(NotDecimal::Form), "{bytes:?}");
        }
    }
}
