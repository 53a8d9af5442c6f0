//! Records as two systems exchange them, and when two values of a field are the same.
//!
//! Systems do not give back what was written to the last byte: an empty text comes back as null or is
//! left out, `10` as `10.0`. Such a difference must not look like an edit, or two systems would answer
//! each other for ever. So values are compared by their canonical form.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use flywheel_base::digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The fields of a record. A field that is missing is blank; a reader has to ask for every field that
/// is synchronised, because what it leaves out counts as emptied.
pub type Record = BTreeMap<String, Value>;

/// One of the two systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The system that is named first.
    Left,
    /// The other one.
    Right,
}

impl Side {
    /// Both, left first.
    pub const BOTH: [Self; 2] = [Self::Left, Self::Right];

    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// `left` or `right`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// One thing for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair<T> {
    /// That of the left side.
    pub left: T,
    /// That of the right side.
    pub right: T,
}

impl<T> Pair<T> {
    /// The one of `side`.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    /// The one of `side`, to be changed.
    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }
}

static NULL: Value = Value::Null;

/// The value of a field; null if the record does not have it.
#[must_use]
pub fn value<'a>(record: &'a Record, field: &str) -> &'a Value {
    record.get(field).unwrap_or(&NULL)
}

/// Whether there is nothing in it: null, a text without a visible character, an empty list or object.
/// `0` and `false` are values.
#[must_use]
pub fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether two values mean the same: all blanks are one, numbers are compared as numbers, lists in
/// their order, everything else exactly.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    a == b || canonical(a) == canonical(b)
}

/// The text that two values share exactly when they are [`same`].
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// A digest of all fields that are not blank; equal for records that are the same in every field.
#[must_use]
pub fn fingerprint(record: &Record) -> u64 {
    let mut parts = Vec::new();
    for (field, value) in record.iter().filter(|(_, value)| !is_blank(value)) {
        parts.push(field.clone().into_bytes());
        parts.push(canonical(value).into_bytes());
    }
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    digest::hash64(&slices)
}

/// Which of two values comes first, if they can be ordered: numbers, texts (so ISO dates too) or
/// booleans among themselves.
#[must_use]
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(x), Value::Number(y)) => match (whole(x), whole(y)) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => x.as_f64()?.partial_cmp(&y.as_f64()?),
        },
        _ => None,
    }
}

/// The largest power of two below which every whole `f64` is exact as `i128`.
const WHOLE_MAX: f64 = 1.0e38;

fn whole(number: &serde_json::Number) -> Option<i128> {
    if let Some(whole) = number.as_i64() {
        return Some(i128::from(whole));
    }
    if let Some(whole) = number.as_u64() {
        return Some(i128::from(whole));
    }
    let real = number.as_f64()?;
    (real.fract() == 0.0 && real.abs() < WHOLE_MAX).then_some(real as i128)
}

fn write(value: &Value, text: &mut String) {
    match value {
        blank if is_blank(blank) => text.push_str("null"),
        Value::Number(number) => match whole(number) {
            Some(whole) => text.push_str(&whole.to_string()),
            None => text.push_str(&number.to_string()),
        },
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> =
                fields.iter().filter(|(_, value)| !is_blank(value)).collect();
            text.push('{');
            for (index, (field, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(field.as_str()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_system_gives_back_differently_is_the_same() {
        for (a, b) in [
            (json!(null), json!("")),
            (json!("  "), json!([])),
            (json!(10), json!(10.0)),
            (json!(-0.0), json!(0)),
            (json!({"a": 1, "b": ""}), json!({"b": null, "a": 1.0})),
        ] {
            assert!(same(&a, &b), "{a} {b}");
        }
        let left = Record::from([("a".into(), json!(1)), ("b".into(), json!(""))]);
        let right = Record::from([("a".into(), json!(1.0))]);
        assert_eq!(fingerprint(&left), fingerprint(&right));
    }

    #[test]
    fn values_are_not_blank_and_not_each_other() {
        for (a, b) in [
            (json!(0), json!(null)),
            (json!(false), json!(null)),
            (json!("10"), json!(10)),
            (json!("a"), json!("A")),
            (json!(["a", "b"]), json!(["b", "a"])),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64)),
            (json!(0.1), json!(0.2)),
        ] {
            assert!(!same(&a, &b), "{a} {b}");
        }
        assert_ne!(
            fingerprint(&Record::from([("ab".into(), json!("c"))])),
            fingerprint(&Record::from([("a".into(), json!("bc"))]))
        );
    }

    #[test]
    fn only_values_of_one_kind_are_ordered() {
        assert_eq!(compare(&json!(2), &json!(10.5)), Some(Ordering::Less));
        assert_eq!(compare(&json!("2024-01-02"), &json!("2024-01-10")), Some(Ordering::Less));
        assert_eq!(compare(&json!("2"), &json!(10)), None);
        assert_eq!(compare(&json!([1]), &json!([2])), None);
    }
}
