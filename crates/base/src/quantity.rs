//! Durations and sizes as people write them: `90s`, `7d`, `256MiB`.

use crate::{Error, Result};

/// Parses a duration into microseconds: a number and one of `us ms s m h d w`.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] if the text is not a number with a unit or does not fit.
pub fn duration_us(text: &str) -> Result<i64> {
    let (number, unit) = split(text);
    let factor = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        "w" => 604_800_000_000,
        _ => 0,
    };
    let value = number.parse::<i64>().ok().filter(|_| factor > 0);
    value.and_then(|value| value.checked_mul(factor)).ok_or_else(|| {
        Error::invalid(format!("\"{text}\" is not a duration"))
            .hint("Write a whole number and a unit: 30s, 15m, 12h, 7d or 2w.")
    })
}

/// Parses a size into bytes: a number and one of `B KB MB GB KiB MiB GiB`.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] if the text is not a number with a unit or does not fit.
pub fn size_bytes(text: &str) -> Result<u64> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "B" | "" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    let value = number.parse::<u64>().ok().filter(|_| factor > 0);
    value.and_then(|value| value.checked_mul(factor)).ok_or_else(|| {
        Error::invalid(format!("\"{text}\" is not a size"))
            .hint("Write a whole number and a unit: 512KiB, 256MiB or 2GiB.")
    })
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_units() {
        assert_eq!(duration_us("7d").unwrap(), 604_800_000_000);
        assert_eq!(duration_us("90 s").unwrap(), 90_000_000);
        assert_eq!(size_bytes("256MiB").unwrap(), 268_435_456);
    }

    #[test]
    fn nonsense_and_overflow_are_refused_with_a_hint() {
        for text in ["", "d", "1.5d", "5 parsecs", "9223372036854775807w", "-1s"] {
            assert!(duration_us(text).unwrap_err().hint_text().is_some(), "{text}");
        }
        assert!(size_bytes("12 elephants").is_err());
    }
}
