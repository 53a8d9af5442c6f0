//! A tree against a JSON Schema: every mistake with its place.
//!
//! serde stops at the first mistake and knows no places, so it only has the last word, after the
//! tree passed its schema.

mod choice;
mod words;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use flywheel_base::suggest;
use regex::Regex;
use schemars::Schema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::file::SourceFile;
use crate::secret;
use crate::yaml::{Key, Node, Value};

/// How many `$ref`s may follow each other.
const REFERENCES_MAX: usize = 32;

/// What a tree is checked against.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// What is being declared, for messages: `sync "orders"`.
    pub subject: &'a str,
    /// The schema, with its `$defs`.
    pub schema: &'a Schema,
    /// Whether a reference such as `${env:PORT}` may stand for any scalar.
    pub secrets: bool,
}

/// Checks `node` and reports every mistake; true if there is none.
pub fn validate(file: &SourceFile, node: &Node, rules: Rules<'_>, out: &mut Diagnostics) -> bool {
    let mut found = Vec::new();
    let mut walk = Walk { rules, found: &mut found, references: 0 };
    walk.check(node, rules.schema.as_value(), &Place::Whole);
    let clean = found.is_empty();
    for diagnostic in found {
        out.push(file, diagnostic);
    }
    clean
}

/// Checks `node` and turns it into a `T`; `None` if a mistake was reported.
pub fn read<T: DeserializeOwned>(
    file: &SourceFile,
    node: &Node,
    rules: Rules<'_>,
    out: &mut Diagnostics,
) -> Option<T> {
    if !validate(file, node, rules, out) {
        return None;
    }
    match serde_json::from_value(node.to_json()) {
        Ok(value) => Some(value),
        Err(error) => {
            let message = format!("{} cannot be read: {error}", rules.subject);
            out.push(file, Diagnostic::error(node.span, message));
            None
        }
    }
}

/// How a node is named in a message.
enum Place {
    Whole,
    Key(String),
    Item(String),
}

impl Place {
    fn words(&self, subject: &str) -> String {
        match self {
            Self::Whole => subject.to_owned(),
            Self::Key(key) => format!("\"{key}\""),
            Self::Item(key) => format!("an item of \"{key}\""),
        }
    }

    fn item(&self, subject: &str) -> Self {
        match self {
            Self::Whole => Self::Item(subject.to_owned()),
            Self::Key(key) | Self::Item(key) => Self::Item(key.clone()),
        }
    }
}

/// A walk down a tree and its schema.
struct Walk<'a, 'f> {
    rules: Rules<'a>,
    found: &'f mut Vec<Diagnostic>,
    references: usize,
}

impl<'a> Walk<'a, '_> {
    fn check(&mut self, node: &Node, schema: &'a Json, place: &Place) {
        let Json::Object(schema) = schema else { return };
        if let Some(target) = self.target(schema) {
            if self.references < REFERENCES_MAX {
                self.references += 1;
                self.check(node, target, place);
                self.references -= 1;
            }
            return;
        }
        if self.rules.secrets && node.text().is_some_and(secret::is_reference) {
            return;
        }
        if !words::accepts(schema, &node.value) {
            self.wrong_type(node, &words::types(schema), schema, place);
            return;
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(Json::Array(branches)) = schema.get(key) {
                self.check_choice(node, branches, place);
            }
        }
        for branch in schema.get("allOf").and_then(Json::as_array).into_iter().flatten() {
            self.check(node, branch, place);
        }
        if let Some(allowed) = words::constants(schema) {
            self.check_constant(node, &allowed, place);
        }
        match &node.value {
            Value::Text(text) => self.check_text(node, text, schema, place),
            Value::Int(number) => self.check_number(node, *number as f64, schema, place),
            Value::Float(number) => self.check_number(node, *number, schema, place),
            Value::List(items) => self.check_list(node, items, schema, place),
            Value::Map(entries) => self.check_map(node, entries, schema, place),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The schema a `$ref` points to.
    fn target(&self, schema: &Map<String, Json>) -> Option<&'a Json> {
        let name = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        self.rules.schema.as_value().get("$defs")?.get(name)
    }

    fn wrong_type(
        &mut self,
        node: &Node,
        expected: &str,
        schema: &Map<String, Json>,
        place: &Place,
    ) {
        let place = place.words(self.rules.subject);
        let found = words::found(&node.value);
        let message = format!("{place} must be {expected}, found {found}");
        self.report(node.span, message, words::type_hint(schema, node));
    }

    fn check_constant(&mut self, node: &Node, allowed: &[&str], place: &Place) {
        let written = words::written(&node.value);
        if !allowed.contains(&written.as_str()) {
            let place = place.words(self.rules.subject);
            let hint = suggest::hint(&written, allowed.iter().copied());
            self.report(node.span, format!("{place} cannot be \"{written}\""), Some(hint));
        }
    }

    fn check_text(&mut self, node: &Node, text: &str, schema: &Map<String, Json>, place: &Place) {
        let pattern = schema.get("pattern").and_then(Json::as_str);
        let pattern = pattern.and_then(compiled);
        let too_short = schema
            .get("minLength")
            .and_then(Json::as_u64)
            .is_some_and(|least| (text.chars().count() as u64) < least);
        if too_short {
            let place = place.words(self.rules.subject);
            self.report(node.span, format!("{place} is empty"), words::description(schema));
        } else if pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
            let place = place.words(self.rules.subject);
            let shown = words::shortened(text);
            let hint = words::description(schema)
                .or_else(|| pattern.map(|pattern| format!("It has to match {pattern}.")));
            self.report(node.span, format!("{place} cannot be \"{shown}\""), hint);
        }
    }

    fn check_number(
        &mut self,
        node: &Node,
        number: f64,
        schema: &Map<String, Json>,
        place: &Place,
    ) {
        let limit = |key: &str| schema.get(key).and_then(Json::as_f64);
        let low = limit("minimum").filter(|least| number < *least).map(|n| ("at least", n));
        let high = limit("maximum").filter(|most| number > *most).map(|n| ("at most", n));
        let above = limit("exclusiveMinimum").filter(|n| number <= *n).map(|n| ("more than", n));
        let below = limit("exclusiveMaximum").filter(|n| number >= *n).map(|n| ("less than", n));
        for (words, bound) in [low, high, above, below].into_iter().flatten() {
            let place = place.words(self.rules.subject);
            let message = format!("{place} must be {words} {bound}, found {number}");
            self.report(node.span, message, words::description(schema));
        }
    }

    fn check_list(
        &mut self,
        node: &Node,
        items: &[Node],
        schema: &'a Map<String, Json>,
        place: &Place,
    ) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
        let count = items.len() as u64;
        let place_words = place.words(self.rules.subject);
        if let Some(least) = bound("minItems").filter(|least| count < *least) {
            let message = match count {
                0 => format!("{place_words} is an empty list"),
                _ => format!("{place_words} must have at least {least} items, found {count}"),
            };
            self.report(node.span, message, words::description(schema));
        }
        if let Some(most) = bound("maxItems").filter(|most| count > *most) {
            let message = format!("{place_words} must have at most {most} items, found {count}");
            self.report(node.span, message, words::description(schema));
        }
        if let Some(inner) = schema.get("items") {
            let place = place.item(self.rules.subject);
            for item in items {
                self.check(item, inner, &place);
            }
        }
    }

    fn check_map(
        &mut self,
        node: &Node,
        entries: &[(Key, Node)],
        schema: &'a Map<String, Json>,
        place: &Place,
    ) {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object);
        let rest = schema.get("additionalProperties");
        for (key, value) in entries {
            let inner = Place::Key(key.name.clone());
            match properties.and_then(|properties| properties.get(&key.name)) {
                Some(property) => self.check(value, property, &inner),
                None if rest == Some(&Json::Bool(false)) => {
                    let known = properties.unwrap_or(&empty).keys().map(String::as_str);
                    self.unknown_key(key, known, place);
                }
                None => {
                    if let Some(rest) = rest {
                        self.check(value, rest, &inner);
                    }
                }
            }
        }
        for name in schema.get("required").and_then(Json::as_array).into_iter().flatten() {
            let Some(name) = name.as_str() else { continue };
            if node.get(name).is_none() {
                let property = properties.and_then(|properties| properties.get(name));
                let about = property.and_then(Json::as_object).and_then(words::description);
                let subject = place.words(self.rules.subject);
                let lacks = if subject.starts_with("the options of ") { "lack" } else { "lacks" };
                let message = format!("{subject} {lacks} \"{name}\"");
                self.report(words::start(node), message, about);
            }
        }
        self.check_count(node, entries.len() as u64, schema, place);
    }

    fn check_count(&mut self, node: &Node, count: u64, schema: &Map<String, Json>, place: &Place) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
        let few = bound("minProperties").is_some_and(|least| count < least);
        let many = bound("maxProperties").is_some_and(|most| count > most);
        if few || many {
            let place = place.words(self.rules.subject);
            let wanted = if few { bound("minProperties") } else { bound("maxProperties") };
            let wanted = wanted.unwrap_or_default();
            let words = if few { "at least" } else { "at most" };
            let message = format!("{place} must have {words} {wanted} key, found {count}");
            self.report(words::start(node), message, words::description(schema));
        }
    }

    fn unknown_key<'k>(
        &mut self,
        key: &Key,
        known: impl Iterator<Item = &'k str> + Clone,
        place: &Place,
    ) {
        let message =
            format!("unknown key \"{}\" in {}", key.name, place.words(self.rules.subject));
        self.report(key.span, message, Some(suggest::hint(&key.name, known)));
    }

    fn report(&mut self, span: Span, message: String, hint: Option<String>) {
        self.found.push(Diagnostic { hint, ..Diagnostic::error(span, message) });
    }
}

/// The pattern as it is run; `None` if our engine cannot run it, which leaves the text to the struct,
/// and that has the last word. Patterns come from schemas, which are few, so all are kept.
fn compiled(pattern: &str) -> Option<Regex> {
    static KEPT: Mutex<BTreeMap<String, Option<Regex>>> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = kept.get(pattern) {
        return regex.clone();
    }
    let regex = Regex::new(pattern).ok();
    kept.insert(pattern.to_owned(), regex.clone());
    regex
}
