//! JSON texts in one form for all that mean the same.
//!
//! A system that keeps documents apart from text writes them anew: `jsonb` of PostgreSQL and `JSON` of MySQL
//! put members in an order of their own, set other spaces and write numbers differently. Members are sorted
//! here, numbers lose zeros that say nothing and no digit, and texts their escapes.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// How deep a document may be nested to be given another form.
const DEPTH_MAX: usize = 128;

/// The one form of a JSON text; a text that is none, or is nested too deep, as it is.
#[must_use]
pub fn canonical(text: &str) -> String {
    let mut form = String::with_capacity(text.len());
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) if write(value.get(), 0, &mut form) => form,
        _ => text.to_owned(),
    }
}

/// Writes a value without white space around it; false if it cannot be written.
fn write(text: &str, depth: usize, form: &mut String) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    match text.as_bytes().first() {
        Some(b'{') => {
            let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
                return false;
            };
            form.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                form.push_str(if at > 0 { "," } else { "" });
                if !string(name, form) {
                    return false;
                }
                form.push(':');
                if !write(value.get(), depth + 1, form) {
                    return false;
                }
            }
            form.push('}');
            true
        }
        Some(b'[') => {
            let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else { return false };
            form.push('[');
            for (at, value) in items.iter().enumerate() {
                form.push_str(if at > 0 { "," } else { "" });
                if !write(value.get(), depth + 1, form) {
                    return false;
                }
            }
            form.push(']');
            true
        }
        Some(b'"') => serde_json::from_str::<String>(text).is_ok_and(|value| string(&value, form)),
        Some(b'-' | b'0'..=b'9') => {
            form.push_str(&number(text));
            true
        }
        _ => {
            form.push_str(text);
            true
        }
    }
}

/// Writes a text in quotes.
fn string(value: &str, form: &mut String) -> bool {
    let written = serde_json::to_string(value);
    written.is_ok_and(|written| {
        form.push_str(&written);
        true
    })
}

/// A number as its digits and the power of ten they are multiplied by.
fn number(text: &str) -> String {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let Ok(exponent) = exponent.strip_prefix('+').unwrap_or(exponent).parse::<i64>() else {
        return text.to_owned();
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return "0".to_owned();
    }
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let zeros = length(digits).saturating_sub(length(kept));
    let shift = exponent.saturating_sub(length(fraction)).saturating_add(zeros);
    let sign = if text.starts_with('-') { "-" } else { "" };
    format!("{sign}{kept}e{shift}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_that_mean_the_same_have_one_form() {
        for (one, other) in [
            (
                r#"{"城市":"上海","tags":["a",1,null]}"#,
                r#"{"tags": ["a", 1, null], "城市": "上海"}"#,
            ),
            (r#"{"a":1.10,"b":1e3}"#, r#" {"b": 1000, "a": 1.1} "#),
            (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#),
            (r#"["\u4e0a\/"]"#, r#"["上/"]"#),
            ("-0.50", "-5E-1"),
            ("0.0", "0"),
            ("[ ]", "[]"),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one}");
        }
    }

    #[test]
    fn documents_that_differ_stay_apart() {
        for (one, other) in [
            ("12345678901234567890123", "12345678901234567890124"),
            ("1", "\"1\""),
            ("[1,2]", "[2,1]"),
            ("{\"a\":null}", "{}"),
            ("10", "1"),
            ("{broken", "{ broken"),
            ("0.1", "0.10000000000000001"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one}");
        }
        let deep = "[".repeat(5_000) + &"]".repeat(5_000);
        assert_eq!(canonical(&deep), deep);
    }
}
