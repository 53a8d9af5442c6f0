//! Models with versions: one entry of a property file describes several models.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::template::{Macros, Versions};
use crate::yaml::{Key, Node, Value};

/// Replaces entries with `versions:` by one for each version, and notes what `ref()` means.
pub(super) fn expand(models: &mut Vec<Node>, macros: &mut Arc<Macros>) {
    let mut all = Vec::with_capacity(models.len());
    for model in models.drain(..) {
        match model.get("versions").map(Node::items).filter(|versions| !versions.is_empty()) {
            None => all.push(model),
            Some(versions) => all.extend(versioned(&model, versions, macros)),
        }
    }
    *models = all;
}

/// A version as dbt writes it behind `_v`.
fn word(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

fn versioned(model: &Node, versions: &[Node], macros: &mut Arc<Macros>) -> Vec<Node> {
    let Some(name) = model.get("name").and_then(Node::text) else { return vec![model.clone()] };
    let mut known = Versions { latest: String::new(), all: BTreeMap::new() };
    let mut made = Vec::new();
    let mut newest: Option<(f64, String)> = None;
    for version in versions {
        let Some(v) = version.get("v").and_then(word) else { continue };
        let file = version.get("defined_in").and_then(Node::text);
        let own = file.map_or_else(|| format!("{name}_v{v}"), str::to_owned).to_ascii_lowercase();
        let number = v.parse::<f64>().unwrap_or(f64::MIN);
        if newest.as_ref().is_none_or(|(before, _)| *before <= number) {
            newest = Some((number, v.clone()));
        }
        known.all.insert(v, own.clone());
        made.push(entry(model, version, &own));
    }
    let latest = model.get("latest_version").and_then(word);
    let latest = latest.or_else(|| newest.map(|(_, v)| v)).and_then(|v| known.all.get(&v).cloned());
    if let Some(latest) = latest {
        known.latest = latest;
        Arc::make_mut(macros).add_versions(name, known);
    }
    made
}

/// The entry of one version: what the model says, and what the version says over it.
fn entry(model: &Node, version: &Node, name: &str) -> Node {
    let Value::Map(common) = &model.value else { return model.clone() };
    let mut entries: Vec<(Key, Node)> = Vec::new();
    for (key, value) in common {
        let value = match key.name.as_str() {
            "versions" | "latest_version" => continue,
            "name" => Node { value: Value::Text(name.to_owned()), ..value.clone() },
            "columns" => columns(value, version.get("columns")),
            key => version.get(key).unwrap_or(value).clone(),
        };
        entries.push((key.clone(), value));
    }
    let Value::Map(own) = &version.value else { return model.clone() };
    for (key, value) in own {
        let there = entries.iter().any(|(known, _)| known.name == key.name);
        match key.name.as_str() {
            "v" | "defined_in" | "deprecation_date" => {}
            "columns" if !there => entries.push((key.clone(), columns(value, Some(value)))),
            _ if !there => entries.push((key.clone(), value.clone())),
            _ => {}
        }
    }
    Node { value: Value::Map(entries), ..model.clone() }
}

/// The columns of a version: `include: all`, without those of `exclude`, and its own.
fn columns(common: &Node, own: Option<&Node>) -> Node {
    let Some(own) = own else { return common.clone() };
    let name = |node: &Node| node.get("name").and_then(Node::text).map(str::to_owned);
    let rule = own.items().iter().find(|item| item.get("include").is_some());
    let listed = |key: &str| -> Vec<String> {
        let node = rule.and_then(|rule| rule.get(key));
        let one = node.and_then(Node::text).map(str::to_owned).into_iter();
        let many = node.map(Node::items).unwrap_or_default().iter();
        one.chain(many.filter_map(|item| item.text().map(str::to_owned))).collect()
    };
    let (include, exclude) = (listed("include"), listed("exclude"));
    let all = include.iter().any(|word| word == "all" || word == "*");
    let others: Vec<Node> =
        own.items().iter().filter(|item| item.get("include").is_none()).cloned().collect();
    let replaced: Vec<Option<String>> = others.iter().map(name).collect();
    let kept = common.items().iter().filter(|column| {
        let name = name(column);
        let named = |list: &[String]| name.as_ref().is_some_and(|name| list.contains(name));
        (all || named(&include)) && !named(&exclude) && !replaced.contains(&name)
    });
    let mut items: Vec<Node> = kept.cloned().collect();
    items.extend(others);
    Node { value: Value::List(items), ..common.clone() }
}
