//! Semantic models of Apache Ossie (Open Semantic Interchange, OSI), in and out.
//!
//! ```text
//! model.yaml ─ import ─► metrics/NAME.yaml   a semantic view for each data set, with its metrics
//! project    ─ export ─► one document: a data set for each semantic view
//! ```
//! The format knows tables, keys, row expressions and metrics as SQL. What it has no word for (metrics over time,
//! shares, conversions, units, owners, names in two languages) travels in `custom_extensions` of the vendor
//! `FLYWHEEL`, which everybody else passes by. An import trusts such a note only where the rest of the document still
//! says what was exported with it: what somebody changed in another tool wins.
//!
//! # Source
//! <https://github.com/apache/ossie>, `core-spec/spec.md` and `core-spec/ossie-schema.json`.

mod aggregate;
mod export;
mod import;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value as Json};

pub use export::{Exported, export};
pub use import::{Options, import};

use crate::datax::document;
use crate::names;
use crate::resource::semantic::EntityKind;

/// The version that is written; those that begin with `0.1` and `0.2` are read.
pub const VERSION: &str = "0.2.0.dev0";

/// Who writes our notes.
const VENDOR: &str = "FLYWHEEL";

/// The dialect that is written, and the one that is read before all others.
const DIALECT: &str = "ANSI_SQL";

/// A document as YAML.
#[must_use]
pub fn text(written: &Json) -> String {
    let empty = Map::new();
    let entries = written.as_object().unwrap_or(&empty);
    let mut entries: Vec<(String, Json)> =
        entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    entries.sort_by_key(|(key, _)| key != "version");
    document(&entries)
}

/// A key of a view as the format tells keys.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Keyed {
    kind: EntityKind,
    columns: Vec<String>,
}

/// A resource without what says nothing: absent values, empty lists and maps, and words that are the default.
fn tidied<T: serde::Serialize>(value: &T) -> Map<String, Json> {
    let Ok(Json::Object(entries)) = serde_json::to_value(value) else { return Map::new() };
    let says = |key: &str, value: &Json| match value {
        Json::Null => false,
        Json::Array(items) => !items.is_empty(),
        Json::Object(entries) => !entries.values().all(Json::is_null),
        Json::String(text) => {
            !matches!((key, text.as_str()), ("type", "categorical") | ("certification", "draft"))
        }
        _ => true,
    };
    let bare = |value: Json| match value {
        Json::Object(entries) => {
            Json::Object(entries.into_iter().filter(|(_, value)| !value.is_null()).collect())
        }
        other => other,
    };
    let kept = entries.into_iter().filter(|(key, value)| says(key, value));
    kept.map(|(key, value)| (key, bare(value))).collect()
}

/// A name of ours for one of theirs: lower case, with underscores.
fn plain(name: &str) -> String {
    names::plain(name, "m_", NAME_CHARS_MAX)
}

/// How long a name of ours may get here, so that there is room for a number behind it.
const NAME_CHARS_MAX: usize = 56;

/// Whether a text is a column's name and nothing else.
fn is_column(text: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(letter)
}
