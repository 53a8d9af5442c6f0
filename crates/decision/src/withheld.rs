//! What of a decision is told to callers who may not read the rows of its audience.

use serde_json::{Map, Value};

/// What every payload has and every caller knows.
const IDS: [&str; 3] = ["unit_id", "decision_id", "action"];

/// A payload without what is a column of the unit's; none if either is no object.
#[must_use]
pub fn without_columns(payload: &str, features: &str) -> Option<String> {
    let mut payload: Map<String, Value> = serde_json::from_str(payload).ok()?;
    let features: Map<String, Value> = serde_json::from_str(features).ok()?;
    let held: Vec<&Value> = features.values().filter(|value| !value.is_null()).collect();
    payload.retain(|name, value| IDS.contains(&name.as_str()) || !tells(value, &held));
    Some(Value::Object(payload).to_string())
}

/// Whether one of these values is in a payload's, at any depth.
fn tells(value: &Value, held: &[&Value]) -> bool {
    let inside = match value {
        Value::Array(values) => values.iter().any(|value| tells(value, held)),
        Value::Object(fields) => fields.values().any(|value| tells(value, held)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    inside || held.contains(&value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_without_the_columns_has_none_of_them_at_any_depth() {
        let payload = json!({
            "unit_id": "u1", "decision_id": "d1", "action": "send", "code": "SPRING", "mail": "a@b.c",
            "to": [{"mail": "a@b.c", "kind": "home"}], "lines": {"first": ["a@b.c"]}, "tags": ["x", {"y": 1}],
        });
        let features = json!({"unit_id": "u1", "mail": "a@b.c", "none": null});
        let kept = without_columns(&payload.to_string(), &features.to_string()).unwrap();
        let kept: Value = serde_json::from_str(&kept).unwrap();
        let expected = json!({
            "unit_id": "u1", "decision_id": "d1", "action": "send", "code": "SPRING", "tags": ["x", {"y": 1}],
        });
        assert_eq!(kept, expected);
    }
}
