//! Schemas and values in words.

use serde_json::{Map, Value as Json};

use crate::diagnostic::Span;
use crate::yaml::{Node, Value};

/// How many characters of a text are repeated in a message.
const SHOWN_MAX: usize = 60;

/// Whether the schema's `type` allows the value; no type allows all.
pub(super) fn accepts(schema: &Map<String, Json>, value: &Value) -> bool {
    let names = type_names(schema);
    names.is_empty()
        || names.iter().any(|name| {
            matches!(
                (*name, value),
                ("null", Value::Null)
                    | ("boolean", Value::Bool(_))
                    | ("integer" | "number", Value::Int(_))
                    | ("number", Value::Float(_))
                    | ("string", Value::Text(_))
                    | ("array", Value::List(_))
                    | ("object", Value::Map(_))
            )
        })
}

fn type_names(schema: &Map<String, Json>) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(name)) => vec![name.as_str()],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What the schema's `type` allows, in words.
pub(super) fn types(schema: &Map<String, Json>) -> String {
    let names = type_names(schema);
    let known = names.iter().filter(|name| **name != "null").map(|name| match *name {
        "boolean" => "true or false".to_owned(),
        "integer" => "a whole number".to_owned(),
        "number" => "a number".to_owned(),
        "string" => "text".to_owned(),
        "array" => list(schema),
        "object" => "a mapping".to_owned(),
        other => other.to_owned(),
    });
    known.collect::<Vec<_>>().join(" or ")
}

fn list(schema: &Map<String, Json>) -> String {
    let item = schema.get("items").and_then(|items| items.get("type")).and_then(Json::as_str);
    match item {
        Some("string") => "a list of text".to_owned(),
        Some("integer" | "number") => "a list of numbers".to_owned(),
        _ => "a list".to_owned(),
    }
}

/// The value's kind in words.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => format!("the number {value}"),
        Value::Float(value) => format!("the number {value}"),
        Value::Text(text) => format!("the text \"{}\"", shortened(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}

/// A scalar as it is compared with the constants of a schema.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(text) => shortened(text),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}

/// The first line of a text, cut to a length fit for a message.
pub(super) fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    if line.len() == text.len() && line.chars().count() <= SHOWN_MAX {
        return line.to_owned();
    }
    line.chars().take(SHOWN_MAX).chain(['…']).collect()
}

/// The values a schema lists, if it lists text.
pub(super) fn constants(schema: &Map<String, Json>) -> Option<Vec<&str>> {
    if let Some(constant) = schema.get("const") {
        return constant.as_str().map(|text| vec![text]);
    }
    let listed = schema.get("enum")?.as_array()?;
    let texts: Vec<&str> = listed.iter().filter_map(Json::as_str).collect();
    (texts.len() == listed.iter().filter(|value| !value.is_null()).count()).then_some(texts)
}

/// The schema's description as one line.
pub(super) fn description(schema: &Map<String, Json>) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    let first = text.split("\n\n").next().unwrap_or(text);
    Some(first.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// How a value of the wrong type is mended.
pub(super) fn type_hint(schema: &Map<String, Json>, node: &Node) -> Option<String> {
    let names = type_names(schema);
    let wants = |name: &str| names.contains(&name);
    match &node.value {
        Value::Null => Some("Give it a value, or remove the key.".to_owned()),
        Value::Text(text) if wants("boolean") => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" => {
                Some("Write true; only true and false are truth values.".to_owned())
            }
            "no" | "off" | "n" => {
                Some("Write false; only true and false are truth values.".to_owned())
            }
            _ => Some("Write true or false, without quotes.".to_owned()),
        },
        Value::Text(text) if wants("integer") || wants("number") => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(format!("Write {number}, without quotes.")),
            _ => description(schema),
        },
        Value::Bool(_) | Value::Int(_) | Value::Float(_) if wants("string") => {
            Some("Put it between quotes, so that it stays text.".to_owned())
        }
        Value::Float(_) if wants("integer") => Some("Write it without a fraction.".to_owned()),
        Value::Text(text) if wants("array") => {
            Some(format!("Write a list: [{}].", shortened(text)))
        }
        _ if names == ["object"] => Some("Write it as lines of `key: value`.".to_owned()),
        Value::Map(_) if wants("array") => {
            Some("Start each item with a dash, as in `- name: x`.".to_owned())
        }
        _ => description(schema),
    }
}

/// Where a mistake about a whole mapping is shown: at its first key.
pub(super) fn start(node: &Node) -> Span {
    match &node.value {
        Value::Map(entries) => entries.first().map_or(node.span, |(key, _)| key.span),
        _ => node.span,
    }
}
