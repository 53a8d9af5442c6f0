//! The narrowest type that holds every value of a sample without losing anything.
//!
//! "Without losing" is strict: `00123` and `+4930…` are text, a number with more digits than a double
//! keeps is text, `1E5` is text (it may be a product code), a column of dates and moments is text.

use super::{ColumnType, builder::Parsing};
use super::{number, time};

/// Digits a double always keeps.
const FLOAT_DIGITS: usize = 15;

/// What one value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Empty,
    /// A whole number that fits 64 bits.
    Int,
    /// A whole number with more digits than a double keeps.
    WideInt,
    /// A number that a double keeps.
    Float,
    /// A truth value.
    Bool,
    /// A date.
    Date,
    /// A moment at midnight, where a date cannot be told from it.
    Midnight,
    /// A moment without zone.
    Local,
    /// A moment with zone.
    Zoned,
    /// A JSON object or list.
    Json,
    /// Bytes.
    Binary,
    /// Anything else.
    Text,
}

impl Kind {
    /// What a text looks like.
    pub(crate) fn of_text(text: &str, parsing: &Parsing) -> Self {
        if parsing.null(text, ColumnType::Int64) {
            return Self::Empty;
        }
        let text = text.trim_ascii();
        if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            return Self::Bool;
        }
        match text.as_bytes().first() {
            Some(b'0'..=b'9' | b'-' | b'.') => {}
            _ if parsing.allow_nan && text.parse::<f64>().is_ok_and(|v| !v.is_finite()) => {
                return Self::Float;
            }
            _ => return Self::of_pattern(text, parsing),
        }
        let number = match parsing.decimal_comma {
            true => number::pointed(text).map_or(Self::Text, |text| Self::of_number(&text)),
            false => Self::of_number(text),
        };
        match number {
            Self::Text => Self::of_time(text, parsing),
            kind => kind,
        }
    }

    /// What a number looks like that is written as in JSON, where `1e5` cannot be a code.
    pub(crate) fn of_json_number(text: &str) -> Self {
        match Self::of_number(text) {
            Self::Text
                if digits(text) <= FLOAT_DIGITS && text.parse().is_ok_and(f64::is_finite) =>
            {
                Self::Float
            }
            kind => kind,
        }
    }

    /// What a text of digits, sign and point looks like.
    fn of_number(text: &str) -> Self {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = match unsigned.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (unsigned, None),
        };
        let (fraction, exponent) = match fraction.and_then(|f| f.split_once(['e', 'E'])) {
            Some((fraction, exponent)) => (Some(fraction), Some(exponent)),
            None => (fraction, None),
        };
        let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let count = whole.len() + fraction.map_or(0, str::len);
        let padded = whole.len() > 1 && whole.starts_with('0');
        if padded || count == 0 || !numeric(whole) || !fraction.is_none_or(numeric) {
            return Self::Text;
        }
        match (fraction, exponent) {
            (None, _) if text == "-0" => Self::Text,
            (None, _) if count <= FLOAT_DIGITS => Self::Int,
            (None, _) if text.parse::<i64>().is_ok() => Self::WideInt,
            (None, _) => Self::Text,
            (Some(_), exponent) => {
                let finite = text.parse().is_ok_and(f64::is_finite);
                let fits = digits(text) <= FLOAT_DIGITS && finite;
                if fits && exponent.is_none_or(|e| !e.is_empty()) {
                    Self::Float
                } else {
                    Self::Text
                }
            }
        }
    }

    fn of_time(text: &str, parsing: &Parsing) -> Self {
        let dashed = text.as_bytes().get(4) == Some(&b'-');
        if parsing.date_pattern.is_none()
            && dashed
            && text.len() == 10
            && time::date(text).is_some()
        {
            return Self::Date;
        }
        if parsing.timestamp_pattern.is_none()
            && dashed
            && let Some(moment) = time::moment(text)
        {
            return match (moment.finer, moment.zoned) {
                (true, _) => Self::Text,
                (false, true) => Self::Zoned,
                (false, false) => Self::Local,
            };
        }
        Self::of_pattern(text, parsing)
    }

    fn of_pattern(text: &str, parsing: &Parsing) -> Self {
        let date = parsing.date_pattern.as_deref();
        if date.is_some_and(|pattern| time::date_as(text, pattern).is_some()) {
            return Self::Date;
        }
        let timestamp = parsing.timestamp_pattern.as_deref();
        if timestamp.is_some_and(|pattern| time::moment_as(text, pattern).is_some()) {
            return Self::Local;
        }
        Self::Text
    }
}

/// The digits of a number that carry its value.
fn digits(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    mantissa
        .bytes()
        .skip_while(|byte| !matches!(byte, b'1'..=b'9'))
        .filter(u8::is_ascii_digit)
        .count()
}

/// What has been seen of one column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inference {
    seen: Vec<Kind>,
}

impl Inference {
    /// Takes note of one value.
    pub(crate) fn see(&mut self, kind: Kind) {
        if kind != Kind::Empty && !self.seen.contains(&kind) {
            self.seen.push(kind);
        }
    }

    /// Whether no value was seen.
    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// The narrowest type for all values seen.
    pub(crate) fn resolve(&self) -> ColumnType {
        let only = |kinds: &[Kind]| self.seen.iter().all(|kind| kinds.contains(kind));
        if self.seen.is_empty() {
            return ColumnType::Text;
        }
        if only(&[Kind::Int, Kind::WideInt]) {
            return ColumnType::Int64;
        }
        if only(&[Kind::Int, Kind::Float]) {
            return ColumnType::Float64;
        }
        if self.seen.contains(&Kind::Json) {
            return ColumnType::Json;
        }
        match self.seen.as_slice() {
            [Kind::Bool] => ColumnType::Bool,
            [Kind::Date] | [Kind::Midnight] => ColumnType::Date,
            [Kind::Date, Kind::Midnight] | [Kind::Midnight, Kind::Date] => ColumnType::Date,
            [Kind::Midnight, Kind::Local] | [Kind::Local, Kind::Midnight] => ColumnType::Timestamp,
            [Kind::Local] | [Kind::Zoned] => ColumnType::Timestamp,
            [Kind::Binary] => ColumnType::Binary,
            _ => ColumnType::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(texts: &[&str]) -> String {
        let mut inference = Inference::default();
        for text in texts {
            inference.see(Kind::of_text(text, &Parsing::default()));
        }
        inference.resolve().to_string()
    }

    #[test]
    fn nothing_that_would_change_a_value_is_inferred() {
        for (texts, expected) in [
            (&["00123", "45678"][..], "text"),
            (&["+49301234567"], "text"),
            (&["9007199254740993", "1"], "int64"),
            (&["9223372036854775808"], "text"),
            (&["9007199254740993", "1.5"], "text"),
            (&["1", "2.5", "", "-3"], "float64"),
            (&["0.12345678901234567890"], "text"),
            (&["1E5", "2E7"], "text"),
            (&["1.5e3"], "float64"),
            (&["-0"], "text"),
            (&["0", "10", "-7"], "int64"),
            (&["true", "FALSE", ""], "bool"),
            (&["0", "1", "yes"], "text"),
            (&["2024-02-29", ""], "date"),
            (&["2024-02-29", "2024-02-29 10:00"], "text"),
            (&["2024-02-29 10:00:00", "2024-03-01 10:00"], "timestamp"),
            (&["2024-02-29T10:00:00Z", "2024-02-29T10:00:00"], "text"),
            (&["2024-02-29T10:00:00.123456789Z"], "text"),
            (&["20240229"], "int64"),
            (&["1,234"], "text"),
            (&["NaN", "1.5"], "text"),
            (&["Alice", "1"], "text"),
            (&["", ""], "text"),
            (&[".5", "1."], "float64"),
            (&[".", "-"], "text"),
        ] {
            assert_eq!(infer(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn json_numbers_may_have_exponents_but_keep_their_digits() {
        assert_eq!(Kind::of_json_number("1e5"), Kind::Float);
        assert_eq!(Kind::of_json_number("9007199254740993"), Kind::WideInt);
        assert_eq!(Kind::of_json_number("18446744073709551616"), Kind::Text);
        assert_eq!(Kind::of_json_number("1e999"), Kind::Text);
    }
}
