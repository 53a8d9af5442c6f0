//! Column types from the JSON schemas that programs send.

use serde_json::Value;

use crate::column::{ColumnType, DECIMAL_DIGITS_MAX};

/// How deep alternatives may hold alternatives.
const DEPTH_MAX: usize = 8;

/// A field and the type that holds all of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypedField {
    pub(crate) name: String,
    pub(crate) kind: ColumnType,
}

/// The fields of records that fit a schema.
pub(crate) fn fields(schema: &Value) -> Vec<TypedField> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let typed = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| TypedField { name: name.clone(), kind: column_type(property) });
    typed.collect()
}

/// The narrowest type that holds every value that fits the schema.
pub(crate) fn column_type(schema: &Value) -> ColumnType {
    let mut found = Vec::new();
    alternatives(schema, 0, &mut found);
    found.into_iter().reduce(joined).unwrap_or(ColumnType::Json)
}

/// The types of a schema's alternatives, without `null`.
fn alternatives(schema: &Value, depth: usize, found: &mut Vec<ColumnType>) {
    for key in ["anyOf", "oneOf", "allOf"] {
        if let (Some(list), true) = (schema.get(key).and_then(Value::as_array), depth < DEPTH_MAX) {
            list.iter().for_each(|one| alternatives(one, depth + 1, found));
            return;
        }
    }
    match schema.get("type") {
        Some(Value::String(name)) => found.extend(single(name, schema)),
        Some(Value::Array(names)) => {
            found.extend(names.iter().filter_map(Value::as_str).filter_map(|n| single(n, schema)));
        }
        // Without a type, any value may come.
        _ => found.push(ColumnType::Json),
    }
}

fn single(name: &str, schema: &Value) -> Option<ColumnType> {
    Some(match name {
        "null" => return None,
        "boolean" => ColumnType::Bool,
        "integer" => whole(schema),
        "number" => number(schema),
        "string" => text(schema),
        _ => ColumnType::Json,
    })
}

/// A type for the values of both.
fn joined(a: ColumnType, b: ColumnType) -> ColumnType {
    use ColumnType::{Decimal, Float64, Int64, Json, Text};
    match (a, b) {
        (a, b) if a == b => a,
        (Json, _) | (_, Json) => Json,
        (Int64, Float64) | (Float64, Int64) => Float64,
        (Int64, Decimal { scale, .. }) | (Decimal { scale, .. }, Int64) => {
            Decimal { precision: DECIMAL_DIGITS_MAX, scale }
        }
        (Decimal { scale: a, .. }, Decimal { scale: b, .. }) => {
            Decimal { precision: DECIMAL_DIGITS_MAX, scale: a.max(b) }
        }
        _ => Text,
    }
}

fn whole(schema: &Value) -> ColumnType {
    let bounds = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
    let digits = bounds.iter().filter_map(|key| schema.get(key)).map(|bound| {
        match (bound.as_i64(), bound.as_u64(), bound.as_f64()) {
            (None, Some(_), _) => 20,
            // 2^63 as a double is the bound of what fits, less exactly.
            (None, None, Some(bound)) if bound.abs() > 9_223_372_036_854_775_808.0 => {
                DECIMAL_DIGITS_MAX
            }
            _ => 0,
        }
    });
    match digits.max() {
        None | Some(0) => ColumnType::Int64,
        Some(precision) => ColumnType::Decimal { precision, scale: 0 },
    }
}

fn number(schema: &Value) -> ColumnType {
    if schema.get("airbyte_type").and_then(Value::as_str) == Some("integer") {
        return ColumnType::Int64;
    }
    match schema.get("multipleOf").and_then(Value::as_f64) {
        Some(step) if step > 0.0 => decimal(step, schema),
        _ => ColumnType::Float64,
    }
}

/// A decimal with as many digits after the point as the step has.
fn decimal(step: f64, schema: &Value) -> ColumnType {
    // Written without exponent, a double shows the digits it was given with.
    let step = step.to_string();
    let scale = step.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let Ok(scale) = u8::try_from(scale) else { return ColumnType::Text };
    let before = digits_before(schema);
    let precision = before.map_or(DECIMAL_DIGITS_MAX, |digits| digits.saturating_add(scale));
    if scale > DECIMAL_DIGITS_MAX {
        // More digits than a decimal has: the text keeps them.
        return ColumnType::Text;
    }
    ColumnType::Decimal { precision: precision.clamp(scale.max(1), DECIMAL_DIGITS_MAX), scale }
}

/// Digits before the point of the largest value allowed, if there is a limit on both sides.
fn digits_before(schema: &Value) -> Option<u8> {
    let bound = |inclusive: &str, exclusive: &str| {
        let inclusive = schema.get(inclusive).and_then(Value::as_f64).map(|max| max.abs() + 1.0);
        inclusive.or_else(|| schema.get(exclusive).and_then(Value::as_f64).map(f64::abs))
    };
    let above = bound("maximum", "exclusiveMaximum")?;
    let below = bound("minimum", "exclusiveMinimum").unwrap_or(above);
    let digits = above.max(below).log10().ceil();
    // A double is not exact: one digit more costs nothing.
    (digits.is_finite() && digits < 38.0)
        .then(|| if digits < 15.0 { digits.max(1.0) } else { digits + 1.0 } as u8)
}

fn text(schema: &Value) -> ColumnType {
    let named = |key: &str| schema.get(key).and_then(Value::as_str);
    match (named("airbyte_type"), named("format")) {
        (Some("big_integer"), _) => ColumnType::Decimal { precision: DECIMAL_DIGITS_MAX, scale: 0 },
        (Some(kind), _) if kind.starts_with("timestamp") => ColumnType::Timestamp,
        (Some(kind), _) if kind.starts_with("time") => ColumnType::Text,
        (_, Some("date-time")) => ColumnType::Timestamp,
        (_, Some("date")) => ColumnType::Date,
        _ => ColumnType::Text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_become_the_narrowest_type_that_loses_nothing() {
        for (schema, expected) in [
            (json!({"type": "integer"}), "int64"),
            (
                json!({"type": ["null", "integer"], "minimum": -2147483648, "maximum": 2147483647}),
                "int64",
            ),
            (
                json!({"type": "integer", "minimum": -9223372036854775808_i64, "maximum": 9223372036854775807_i64}),
                "int64",
            ),
            (
                json!({"type": "integer", "minimum": 0, "maximum": 18446744073709551615_u64}),
                "decimal(20,0)",
            ),
            (json!({"type": "integer", "minimum": 0, "maximum": 1e30}), "decimal(38,0)"),
            (json!({"type": ["null", "number"]}), "float64"),
            (json!({"type": "number", "multipleOf": 0.01}), "decimal(38,2)"),
            (
                json!({"type": "number", "multipleOf": 0.01, "exclusiveMaximum": true}),
                "decimal(38,2)",
            ),
            (
                json!({"type": "number", "multipleOf": 1e-9, "minimum": -100, "maximum": 100}),
                "decimal(12,9)",
            ),
            (
                json!({"type": "number", "exclusiveMaximum": 1e8, "exclusiveMinimum": -1e8, "multipleOf": 0.0001}),
                "decimal(12,4)",
            ),
            (json!({"type": "number", "multipleOf": 1e-40}), "text"),
            (json!({"type": "string"}), "text"),
            (json!({"type": "string", "format": "date-time"}), "timestamp"),
            (json!({"type": ["string", "null"], "format": "date"}), "date"),
            (json!({"type": "string", "format": "time"}), "text"),
            (
                json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
                "timestamp",
            ),
            (
                json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]}),
                "text",
            ),
            (json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "float64"),
            (json!({"type": ["integer", "string"]}), "text"),
            (json!({"type": ["boolean", "null"]}), "bool"),
            (json!({"type": ["object", "null"], "properties": {"a": {"type": "integer"}}}), "json"),
            (json!({"type": ["array", "string"]}), "json"),
            (json!({}), "json"),
            (json!({"$ref": "#/definitions/a"}), "json"),
            (json!({"type": "null"}), "json"),
            (json!({"type": "number", "airbyte_type": "integer"}), "int64"),
            (
                json!({"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"}),
                "timestamp",
            ),
            (json!({"type": "string", "airbyte_type": "big_integer"}), "decimal(38,0)"),
        ] {
            assert_eq!(column_type(&schema).to_string(), expected, "{schema}");
        }
    }
}
