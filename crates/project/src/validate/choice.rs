//! `oneOf` and `anyOf`: which of several shapes was meant.

use serde_json::{Map, Value as Json};

use super::{Place, Walk, words};
use crate::yaml::{Node, Value};

/// A branch that is a mapping with one key: `{candidates: …}`.
struct Variant<'a> {
    key: &'a str,
    schema: &'a Json,
}

impl<'a> Walk<'a, '_> {
    pub(super) fn check_choice(&mut self, node: &Node, branches: &'a [Json], place: &Place) {
        if let Some(keys) = required_keys(branches) {
            self.check_exactly_one(node, &keys, place);
            return;
        }
        let branches: Vec<&'a Json> = branches.iter().map(|branch| self.resolved(branch)).collect();
        if let Some(allowed) = all_constants(&branches) {
            if matches!(node.value, Value::List(_) | Value::Map(_) | Value::Null) {
                let expected = "one of ".to_owned() + &allowed.join(", ");
                self.wrong_type(node, &expected, &Map::new(), place);
            } else {
                self.check_constant(node, &allowed, place);
            }
            return;
        }
        let variants: Vec<Variant<'a>> = branches.iter().filter_map(|b| variant(b)).collect();
        if variants.len() == branches.len() {
            self.check_variant(node, &variants, place);
            return;
        }
        self.check_nearest(node, &branches, place);
    }

    /// The schema behind `$ref`s.
    fn resolved(&self, schema: &'a Json) -> &'a Json {
        let mut schema = schema;
        for _ in 0..super::REFERENCES_MAX {
            match schema.as_object().and_then(|object| self.target(object)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn check_exactly_one(&mut self, node: &Node, keys: &[&str], place: &Place) {
        let given: Vec<&str> = keys.iter().copied().filter(|key| node.get(key).is_some()).collect();
        let list = listed(keys);
        let place = place.words(self.rules.subject);
        match given.as_slice() {
            [_] => {}
            [] => {
                let message = format!("{place} must have exactly one of {list}, found none");
                let hint = format!("Add one of {list}.");
                self.report(words::start(node), message, Some(hint));
            }
            [_, second, ..] => {
                let span = node.entry(second).map_or(node.span, |(key, _)| key.span);
                let found = given.join(" and ");
                let message = format!("{place} must have exactly one of {list}, found {found}");
                self.report(
                    span,
                    message,
                    Some("Keep one and move the other to a file of its own.".to_owned()),
                );
            }
        }
    }

    fn check_variant(&mut self, node: &Node, variants: &[Variant<'a>], place: &Place) {
        let keys: Vec<&str> = variants.iter().map(|variant| variant.key).collect();
        let list = listed(&keys);
        let Value::Map(entries) = &node.value else {
            let expected = format!("a mapping with exactly one of {list}");
            self.wrong_type(node, &expected, &Map::new(), place);
            return;
        };
        for (key, value) in entries {
            match variants.iter().find(|variant| variant.key == key.name) {
                Some(variant) => self.check(value, variant.schema, &Place::Key(key.name.clone())),
                None => self.unknown_key(key, keys.iter().copied(), place),
            }
        }
        if entries.len() != 1 {
            let span = entries.get(1).map_or(node.span, |(key, _)| key.span);
            let place = place.words(self.rules.subject);
            let found = entries.iter().map(|(key, _)| key.name.as_str()).collect::<Vec<_>>();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(" and ") };
            let message = format!("{place} must have exactly one of {list}, found {found}");
            self.report(span, message, Some("Keep exactly one.".to_owned()));
        }
    }

    /// Reports the mistakes of the branch that fits best.
    fn check_nearest(&mut self, node: &Node, branches: &[&'a Json], place: &Place) {
        let fitting: Vec<&'a Json> =
            branches.iter().copied().filter(|branch| fits(branch, &node.value)).collect();
        if fitting.is_empty() {
            let objects = branches.iter().filter_map(|branch| branch.as_object());
            let expected: Vec<String> =
                branches.iter().map(|branch| expected(branch)).filter(|w| !w.is_empty()).collect();
            let empty = Map::new();
            let first = objects.clone().next().unwrap_or(&empty);
            self.wrong_type(node, &expected.join(" or "), first, place);
            return;
        }
        let mut best: Option<Vec<crate::diagnostic::Diagnostic>> = None;
        for branch in fitting {
            let mut found = Vec::new();
            let mut walk =
                Walk { rules: self.rules, found: &mut found, references: self.references };
            walk.check(node, branch, place);
            if best.as_ref().is_none_or(|best| found.len() < best.len()) {
                best = Some(found);
            }
        }
        self.found.extend(best.into_iter().flatten());
    }
}

/// Whether a branch can be meant by a value of this type.
fn fits(branch: &Json, value: &Value) -> bool {
    if all_constants(&[branch]).is_some() {
        return !matches!(value, Value::List(_) | Value::Map(_) | Value::Null);
    }
    branch.as_object().is_none_or(|branch| words::accepts(branch, value))
}

fn expected(branch: &Json) -> String {
    match all_constants(&[branch]) {
        Some(allowed) => format!("one of {}", allowed.join(", ")),
        None => branch.as_object().map(words::types).unwrap_or_default(),
    }
}

fn listed(keys: &[&str]) -> String {
    keys.join(", ")
}

/// The keys of branches that say nothing but `{"required": [key]}`.
fn required_keys(branches: &[Json]) -> Option<Vec<&str>> {
    let key = |branch: &Json| {
        let object = branch.as_object().filter(|object| object.len() == 1)?;
        match object.get("required")?.as_array()?.as_slice() {
            [key] => Some(key.as_str()?.to_owned()),
            _ => None,
        }
    };
    let all = branches.iter().all(|branch| key(branch).is_some());
    let keys = branches.iter().filter_map(|branch| branch["required"][0].as_str());
    (all && !branches.is_empty()).then(|| keys.collect())
}

/// The texts of branches that all are constants.
fn all_constants<'a>(branches: &[&'a Json]) -> Option<Vec<&'a str>> {
    let mut all = Vec::new();
    for branch in branches {
        let object = branch.as_object()?;
        match words::constants(object) {
            Some(texts) => all.extend(texts),
            None => all.extend(all_constants(
                &object.get("oneOf")?.as_array()?.iter().collect::<Vec<_>>(),
            )?),
        }
    }
    Some(all)
}

fn variant(branch: &Json) -> Option<Variant<'_>> {
    let object = branch.as_object()?;
    let properties = object.get("properties")?.as_object().filter(|p| p.len() == 1)?;
    let closed = object.get("additionalProperties") == Some(&Json::Bool(false));
    let required = object.get("required").and_then(Json::as_array).is_some_and(|r| r.len() == 1);
    let (key, schema) = properties.iter().next()?;
    (closed && required).then_some(Variant { key, schema })
}
