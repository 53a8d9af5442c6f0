//! YAML of few forms: maps and lists in blocks, every text that could be something else in quotes.

use serde_json::{Map, Value as Json};

/// The keys that come first, in their order.
const FIRST: [&str; 10] =
    ["stream", "name", "host", "port", "database", "options", "target", "read", "write", "key"];

/// Writes a document.
pub(crate) fn document(entries: &[(String, Json)]) -> String {
    let mut out = String::new();
    for (key, value) in entries {
        entry(&mut out, 0, key, value);
    }
    out
}

/// The keys of a map as people write them: what it is comes first.
fn ordered(entries: &Map<String, Json>) -> Vec<(&String, &Json)> {
    let place = |key: &str| FIRST.iter().position(|known| *known == key).unwrap_or(FIRST.len());
    let mut entries: Vec<(&String, &Json)> = entries.iter().collect();
    entries.sort_by_key(|(key, _)| place(key));
    entries
}

fn entry(out: &mut String, depth: usize, key: &str, value: &Json) {
    let indent = "  ".repeat(depth);
    out.push_str(&format!("{indent}{}:", scalar(&Json::String(key.to_owned()))));
    match value {
        Json::Object(entries) if !entries.is_empty() => {
            out.push('\n');
            for (key, value) in ordered(entries) {
                entry(out, depth + 1, key, value);
            }
        }
        Json::Array(items) if items.iter().any(Json::is_object) => {
            out.push('\n');
            for value in items {
                item(out, depth + 1, value);
            }
        }
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(scalar).collect();
            out.push_str(&format!(" [{}]\n", items.join(", ")));
        }
        value => out.push_str(&format!(" {}\n", scalar(value))),
    }
}

fn item(out: &mut String, depth: usize, value: &Json) {
    let Json::Object(entries) = value else {
        out.push_str(&format!("{}- {}\n", "  ".repeat(depth), scalar(value)));
        return;
    };
    let mut text = String::new();
    for (key, value) in ordered(entries) {
        entry(&mut text, depth + 1, key, value);
    }
    let indent = "  ".repeat(depth);
    // The first key stands behind the dash.
    let rest = text.strip_prefix(&format!("{indent}  ")).unwrap_or(&text);
    out.push_str(&format!("{indent}- {rest}"));
}

/// A value in one line of YAML; a text without quotes where it stays the same text.
#[must_use]
pub fn scalar(value: &Json) -> String {
    match value {
        Json::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a text is the same text without quotes.
fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !words.contains(&text.to_lowercase().as_str())
}
