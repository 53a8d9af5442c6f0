//! Tables in Markdown from a JSON Schema: one for the struct, one for each struct it mentions.

use serde_json::{Map, Value};

/// What is written for a key without a default that may be left out.
const NO_DEFAULT: &str = "";

/// Tables of all keys of a schema and of the structs below it.
pub(super) fn tables(schema: &Value) -> String {
    let mut text = object(schema, "");
    let definitions = schema.get("$defs").and_then(Value::as_object);
    for (name, definition) in definitions.into_iter().flatten() {
        text.push_str(&object(definition, name));
    }
    text
}

/// One struct, or one enum with its values.
fn object(schema: &Value, name: &str) -> String {
    let mut text = String::new();
    if !name.is_empty() {
        text.push_str(&format!("\n### {name}\n\n{}\n", description(schema)));
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |key: &str| required.is_some_and(|keys| keys.iter().any(|other| other == key));
        text.push_str("\n| key | type | default | what it means |\n|---|---|---|---|\n");
        for (key, property) in properties {
            let default = if is_required(key) { "required".to_owned() } else { default(property) };
            let about = cell(&description(property));
            text.push_str(&format!("| `{key}` | {} | {default} | {about} |\n", kind(property)));
        }
    }
    text.push_str(&values(schema));
    text
}

/// The values of an enum, or the keys of a choice between structs.
fn values(schema: &Value) -> String {
    let mut text = String::new();
    for branch in branches(schema) {
        let Some(value) = branch.get("const").and_then(Value::as_str) else {
            for (key, property) in
                branch.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                text.push_str(&format!(
                    "\n- `{key}` ({}): {}",
                    kind(property),
                    description(branch)
                ));
            }
            continue;
        };
        text.push_str(&format!("\n- `{value}`: {}", description(branch)));
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    list("oneOf").or_else(|| list("anyOf")).into_iter().flatten()
}

/// The type of a property in a word or two.
fn kind(property: &Value) -> String {
    if let Some(reference) = property.get("$ref").and_then(Value::as_str) {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if property.get("type") == Some(&"array".into()) {
        return format!(
            "list of {}",
            property.get("items").map_or_else(|| "anything".to_owned(), kind)
        );
    }
    let named = match property.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let named: Vec<&str> = named.into_iter().filter(|name| *name != "null").collect();
    if !named.is_empty() {
        return named.join(" or ");
    }
    let inner: Vec<String> =
        branches(property).map(kind).filter(|name| name != "null" && name != "anything").collect();
    if inner.is_empty() { "anything".to_owned() } else { inner.join(" or ") }
}

fn default(property: &Value) -> String {
    match property.get("default") {
        None | Some(Value::Null) => NO_DEFAULT.to_owned(),
        Some(Value::Array(list)) if list.is_empty() => NO_DEFAULT.to_owned(),
        Some(Value::Object(map)) if *map == Map::new() => NO_DEFAULT.to_owned(),
        Some(value) => format!("`{value}`"),
    }
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Text that stays within its cell.
pub(super) fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_types_defaults_and_values_are_listed() {
        let text = tables(&json!({
            "properties": {
                "name": {"type": "string", "description": "The name."},
                "top": {"type": "integer", "default": 20, "description": "How\nmany."},
                "note": {"type": ["string", "null"]},
                "read": {"$ref": "#/$defs/Read", "default": "full"},
                "columns": {"type": "array", "items": {"$ref": "#/$defs/Column"}, "default": []},
                "lag": {"anyOf": [{"$ref": "#/$defs/Duration"}, {"type": "null"}]},
            },
            "required": ["name"],
            "$defs": {"Read": {"description": "What is read.", "oneOf": [
                {"const": "full", "description": "Everything."},
            ]}},
        }));
        for line in [
            "| `name` | string | required | The name. |",
            "| `top` | integer | `20` | How many. |",
            "| `note` | string |  |  |",
            "| `read` | Read | `\"full\"` |  |",
            "| `columns` | list of Column |  |  |",
            "| `lag` | Duration |  |  |",
            "### Read",
            "- `full`: Everything.",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
    }
}
