//! The columns of rows as a JSON Schema, the way programs that take rows read it.

use arrow::datatypes::{DataType, Field, Schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

/// How exact numbers with digits after the point are announced to a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decimals {
    /// As numbers with `multipleOf`, from which programs make exact columns.
    #[default]
    Exact,
    /// As numbers, for programs that read them as doubles and then find that 12.3 is no multiple of
    /// 0.01.
    Plain,
}

/// Whose words a schema uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// Singer's.
    Singer(Decimals),
    /// Airbyte's.
    Airbyte,
}

/// The properties of rows with these columns; those of `json_columns` hold any JSON, those of `key`
/// always have a value.
pub(crate) fn properties(
    schema: &Schema,
    key: &[String],
    json_columns: &[String],
    words: Words,
) -> Map<String, Value> {
    let property = |field: &Field| {
        let mut property = if json_columns.contains(field.name()) {
            json!({ "type": ["object", "array", "string", "number", "boolean"] })
        } else {
            of_type(field.data_type(), words)
        };
        if !key.contains(field.name()) {
            nullable(&mut property);
        }
        property
    };
    schema.fields().iter().map(|field| (field.name().clone(), property(field))).collect()
}

/// Lets a property have no value.
fn nullable(property: &mut Value) {
    let Some(kind) = property.get_mut("type") else { return };
    *kind = match std::mem::take(kind) {
        Value::Array(mut kinds) => {
            kinds.insert(0, json!("null"));
            Value::Array(kinds)
        }
        kind => json!(["null", kind]),
    };
}

/// What a value of a type is, as it is written by `crate::output`.
fn of_type(data_type: &DataType, words: Words) -> Value {
    match data_type {
        DataType::Boolean => json!({ "type": "boolean" }),
        kind if kind.is_integer() => json!({ "type": "integer" }),
        kind if kind.is_floating() => json!({ "type": "number" }),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => decimal(*scale, words),
        DataType::Date32 | DataType::Date64 => json!({ "type": "string", "format": "date" }),
        DataType::Timestamp(_, zone) => {
            let mut moment = json!({ "type": "string", "format": "date-time" });
            if words == Words::Airbyte {
                let with = if zone.is_some() { "with" } else { "without" };
                moment["airbyte_type"] = json!(format!("timestamp_{with}_timezone"));
            }
            moment
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            json!({ "type": "string", "contentEncoding": "base64" })
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let mut items = of_type(item.data_type(), words);
            nullable(&mut items);
            json!({ "type": "array", "items": items })
        }
        DataType::Struct(fields) => {
            let fields = Schema::new(fields.clone());
            json!({ "type": "object", "properties": properties(&fields, &[], &[], words) })
        }
        // Only with texts as keys it is an object.
        DataType::Map(..) => json!({ "type": ["object", "array"] }),
        DataType::Dictionary(_, value) => of_type(value, words),
        _ => json!({ "type": "string" }),
    }
}

fn decimal(scale: i8, words: Words) -> Value {
    if scale <= 0 {
        return json!({ "type": "integer" });
    }
    let mut number = json!({ "type": "number" });
    // Read from its text it is the double nearest to the step.
    let step = format!("1e-{scale}").parse::<f64>().ok().and_then(Number::from_f64);
    if let (Words::Singer(Decimals::Exact), Some(step)) = (words, step) {
        number["multipleOf"] = Value::Number(step);
    }
    number
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;

    use super::*;
    use crate::feed::fields;

    fn check(data_type: DataType, expected: &Value) {
        let schema = Schema::new(vec![Field::new("c", data_type, true)]);
        let found = properties(&schema, &[], &[], Words::Singer(Decimals::Exact));
        assert_eq!(&found["c"], expected);
    }

    #[test]
    fn types_are_announced_as_what_is_written() {
        check(DataType::Int32, &json!({ "type": ["null", "integer"] }));
        check(
            DataType::Decimal128(12, 2),
            &json!({ "type": ["null", "number"], "multipleOf": 0.01 }),
        );
        check(DataType::Decimal128(20, 0), &json!({ "type": ["null", "integer"] }));
        let item = Arc::new(Field::new("item", DataType::Date32, true));
        check(
            DataType::List(item),
            &json!({ "type": ["null", "array"],
                     "items": { "type": ["null", "string"], "format": "date" } }),
        );
    }

    #[test]
    fn keys_have_values_and_json_may_be_anything() {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("tags", DataType::Utf8, true),
        ]);
        let (key, json_columns) = (["id".to_owned()], ["tags".to_owned()]);
        let found = properties(&schema, &key, &json_columns, Words::Airbyte);
        assert_eq!(found["id"], json!({ "type": "integer" }));
        assert_eq!(found["tags"]["type"][0], json!("null"));
    }

    #[test]
    fn what_is_announced_is_read_as_the_same_type() {
        for (data_type, expected) in [
            (DataType::Int64, "int64"),
            (DataType::Float64, "float64"),
            (DataType::Decimal128(12, 3), "decimal(38,3)"),
            (DataType::Boolean, "bool"),
            (DataType::Date32, "date"),
            (DataType::Timestamp(TimeUnit::Microsecond, None), "timestamp"),
            (DataType::Utf8, "text"),
        ] {
            let schema = Schema::new(vec![Field::new("c", data_type, true)]);
            let found = properties(&schema, &[], &[], Words::Singer(Decimals::Exact));
            let read = fields(&json!({ "properties": found }));
            assert_eq!(read[0].kind.to_string(), expected);
        }
    }
}
