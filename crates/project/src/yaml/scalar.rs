//! What a plain scalar means.

use super::Value;

/// Resolves a plain scalar by YAML 1.2's core schema, leaving numbers that may be identifiers as text.
pub(crate) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).unwrap_or_else(|| Value::Text(text.to_owned()))
}

fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let whole = digits.split(['.', 'e', 'E']).next().unwrap_or("");
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    let starts_right = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if leading_zero || !starts_right || !digits.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Value::Int);
    }
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if !digits.contains('.') || !digits.chars().all(plain) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers_and_identifiers_stay_text() {
        let check = |text: &str, expected: Value| assert_eq!(resolve(text), expected, "{text}");
        check("0", Value::Int(0));
        check("-17", Value::Int(-17));
        check("+5", Value::Int(5));
        check("0.25", Value::Float(0.25));
        check("1.0e5", Value::Float(100_000.0));
        check(".5", Value::Float(0.5));
        check("true", Value::Bool(true));
        check("~", Value::Null);
        for text in [
            "00123",
            "1e5",
            "0x1F",
            "1_000",
            "yes",
            "no",
            "on",
            "1.2.3",
            "9223372036854775808",
            "2024-01-01",
            ".",
            "-",
            "+",
            "1e999",
            ".inf",
            ".nan",
            "007.5",
            "12:30",
            "1.0e999",
        ] {
            check(text, Value::Text(text.to_owned()));
        }
    }
}
