//! dbt's property files brought into the form that is checked: what people write in several ways is
//! written in one, and what means nothing here is left out.

use std::sync::Arc;

use flywheel_base::suggest;
use serde_json::Value as Json;

use super::{render_text, versions};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::file::SourceFile;
use crate::model::Vars;
use crate::template::Macros;
use crate::yaml::{Key, Node, Style, Value};

/// Lists of a property file that describe what is not ours to build.
const LISTS_PASSED_OVER: &[&str] =
    &["macros", "saved_queries", "tests", "data_tests", "groups", "analyses", "functions"];

/// What people note about a model, source, table or column without changing it.
const NOTES: &[&str] = &[
    "docs",
    "meta",
    "access",
    "group",
    "latest_version",
    "deprecation_date",
    "time_spine",
    "primary_entity",
    "semantic_model",
    "metrics",
    "agg_time_dimension",
    "quote",
    "policy_tags",
    "granularity",
    "entity",
    "dimension",
    "derived_semantics",
    "loader",
    "quoting",
    "external",
    "database",
    "overrides",
    "loaded_at_field",
    "loaded_at_query",
    "versions",
    "primary_key",
    "tests_to_run",
];

/// Keys of a model's entry, for warnings of others.
const MODEL_KEYS: &[&str] = &[
    "name",
    "description",
    "config",
    "tests",
    "data_tests",
    "columns",
    "constraints",
    "relation",
    "latest_version",
    "versions",
    "deprecation_date",
];

/// Keys of a column's entry.
const COLUMN_KEYS: &[&str] =
    &["name", "description", "data_type", "constraints", "tests", "data_tests", "config", "tags"];

/// Keys of a source's entry.
const SOURCE_KEYS: &[&str] = &[
    "name",
    "schema",
    "description",
    "tables",
    "config",
    "tags",
    "enabled",
    "data_tests",
    "tests",
    "freshness",
    "loaded_at_field",
];

/// Keys of a source table's entry.
const TABLE_KEYS: &[&str] = &[
    "name",
    "identifier",
    "description",
    "tests",
    "data_tests",
    "columns",
    "config",
    "tags",
    "freshness",
    "loaded_at_field",
];

/// Keys of a property file.
const ROOT_KEYS: &[&str] = &["version", "models", "sources"];

/// The tests whose arguments are known here.
const OWN_TESTS: &[&str] = &["unique", "not_null", "accepted_values", "relationships", "custom"];

/// Arguments of a test that are settings.
const TEST_SETTINGS: &[&str] = &[
    "severity",
    "where",
    "error_if",
    "warn_if",
    "limit",
    "enabled",
    "store_failures",
    "fail_calc",
    "store_failures_as",
    "tags",
    "meta",
];

/// What a property file holds besides properties.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// Snapshots declared in YAML, with `relation`.
    pub(crate) snapshots: Vec<Node>,
    /// Unit tests.
    pub(crate) unit_tests: Vec<Node>,
    /// Semantic models, with the metrics beside them.
    pub(crate) semantic_models: Vec<Node>,
    /// Metrics.
    pub(crate) metrics: Vec<Node>,
    /// Models that say themselves what their columns mean.
    pub(crate) semantic_columns: Vec<Node>,
    /// What reads models outside of the project.
    pub(crate) exposures: Vec<Node>,
}

/// The file that is brought into its form.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// The file.
    pub(crate) file: &'a SourceFile,
    /// Whether it is one of dbt's projects, in which other tools leave keys of their own.
    pub(crate) dbt: bool,
}

/// Brings a property file into the form that is checked. A test is known by the macro it is; other names
/// stay as they are, for the check to refuse.
pub(crate) fn normalise(
    setting: Setting<'_>,
    root: &mut Node,
    macros: &mut Arc<Macros>,
    out: &mut Diagnostics,
) -> Extra {
    let mut extra = Extra::default();
    let Value::Map(entries) = &mut root.value else { return extra };
    let mut more = Vec::new();
    entries.retain_mut(|(key, node)| match key.name.as_str() {
        "seeds" | "snapshots" => {
            if let Value::List(items) = &mut node.value {
                if key.name == "snapshots" {
                    let declared = items.iter().filter(|item| item.get("relation").is_some());
                    extra.snapshots.extend(declared.cloned());
                }
                more.append(items);
            }
            false
        }
        "unit_tests" => take(node, &mut extra.unit_tests),
        "semantic_models" => take(node, &mut extra.semantic_models),
        "metrics" => take(node, &mut extra.metrics),
        "exposures" => take(node, &mut extra.exposures),
        name => !LISTS_PASSED_OVER.contains(&name),
    });
    if !more.is_empty() {
        match entries.iter_mut().find(|(key, _)| key.name == "models") {
            Some((_, Node { value: Value::List(items), .. })) => items.append(&mut more),
            _ => {
                let (span, style) = (root.span, Style::Plain);
                let node = Node { value: Value::List(more), span, style };
                entries.push((Key { name: "models".to_owned(), span }, node));
            }
        }
    }
    // `models:` without anything below it, as generators of files write it.
    entries.retain(|(key, node)| node.value != Value::Null || key.name == "version");
    for (key, node) in entries {
        // dbt takes `version: 2` and "2".
        if key.name == "version"
            && let Value::Text(text) = &node.value
            && let Ok(number) = text.trim().parse()
        {
            node.value = Value::Int(number);
        }
        let Value::List(items) = &mut node.value else { continue };
        if key.name == "models" {
            if setting.dbt {
                fold_names(items);
            }
            versions::expand(items, macros);
            let means = |item: &&Node| item.get("semantic_model").is_some();
            extra.semantic_columns.extend(items.iter().filter(means).cloned());
        }
        let mut prune = Prune { setting, out };
        for item in items {
            match key.name.as_str() {
                "models" => {
                    prune.keys(item, MODEL_KEYS, "a model");
                    prune.below(item, "columns", COLUMN_KEYS, "a column");
                    described(setting.file, item, macros, prune.out);
                }
                "sources" => {
                    prune.keys(item, SOURCE_KEYS, "a source");
                    prune.below(item, "tables", TABLE_KEYS, "a table");
                    if let Value::Map(entries) = &mut item.value
                        && let Some((_, tables)) =
                            entries.iter_mut().find(|(key, _)| key.name == "tables")
                        && let Value::List(tables) = &mut tables.value
                    {
                        for table in tables {
                            prune.below(table, "columns", COLUMN_KEYS, "a column");
                        }
                    }
                    source(setting.file, item, macros, prune.out);
                }
                _ => {}
            }
        }
    }
    Prune { setting, out }.keys(root, ROOT_KEYS, "a property file");
    extra
}

/// Gives models the names they have here: those of their files in lower case, as SQL folds them.
fn fold_names(items: &mut [Node]) {
    for item in items {
        let Value::Map(entries) = &mut item.value else { continue };
        for (_, node) in entries.iter_mut().filter(|(key, _)| key.name == "name") {
            if let Value::Text(name) = &mut node.value {
                name.make_ascii_lowercase();
            }
        }
    }
}

/// Moves the items of a list out of the file.
fn take(node: &mut Node, to: &mut Vec<Node>) -> bool {
    if let Value::List(items) = &mut node.value {
        to.append(items);
    }
    false
}

/// Leaves out keys that nothing reads, with a warning: dbt runs such a project, so it is not refused here either.
struct Prune<'a> {
    setting: Setting<'a>,
    out: &'a mut Diagnostics,
}

impl Prune<'_> {
    fn keys(&mut self, node: &mut Node, known: &[&str], what: &str) {
        let Value::Map(entries) = &mut node.value else { return };
        if !self.setting.dbt {
            return;
        }
        entries.retain(|(key, _)| {
            let name = key.name.as_str();
            let all = known.iter().chain(NOTES).copied();
            if all.clone().any(|known| known == name) {
                return true;
            }
            let message = format!("nothing reads \"{name}\" of {what}");
            let hint = match suggest::nearest(name, all) {
                Some(near) => format!("Did you mean \"{near}\"?"),
                None => "Put notes for people and other tools under `meta:`.".to_owned(),
            };
            self.out.push(self.setting.file, Diagnostic::warning(key.span, message).hint(hint));
            false
        });
    }

    fn below(&mut self, node: &mut Node, list: &str, known: &[&str], what: &str) {
        let Value::Map(entries) = &mut node.value else { return };
        let found = entries.iter_mut().find(|(key, _)| key.name == list);
        if let Some((_, Node { value: Value::List(items), .. })) = found {
            items.iter_mut().for_each(|item| self.keys(item, known, what));
        }
    }
}

/// Replaces templates in descriptions, `{{ doc('x') }}`, by what they give. One that cannot be read stays
/// as it is, with a warning: nothing but a note depends on it.
pub(crate) fn render_notes(
    file: &SourceFile,
    node: &mut Node,
    vars: &Vars,
    macros: &Arc<Macros>,
    out: &mut Diagnostics,
) {
    match &mut node.value {
        Value::List(items) => {
            items.iter_mut().for_each(|item| render_notes(file, item, vars, macros, out));
        }
        Value::Map(entries) => {
            for (key, item) in entries {
                match &mut item.value {
                    Value::Text(text) if key.name == "description" && text.contains("{{") => {
                        match render_text(text, vars, macros) {
                            Ok(rendered) => *text = rendered.trim().to_owned(),
                            Err(fault) => {
                                let told = fault.into_diagnostic(|_| item.span);
                                let warning = Diagnostic::warning(item.span, told.message);
                                out.push(file, Diagnostic { hint: told.hint, ..warning });
                                // So that nobody reads it as a template again.
                                *text = text.replace("{{", "{ {");
                            }
                        }
                    }
                    _ => render_notes(file, item, vars, macros, out),
                }
            }
        }
        _ => {}
    }
}

fn source(file: &SourceFile, node: &mut Node, macros: &Macros, out: &mut Diagnostics) {
    let inherited = Fresh::of(node);
    forget(node, &["config", "tags", "enabled", "data_tests", "tests", "freshness"]);
    let Value::Map(entries) = &mut node.value else { return };
    for (key, tables) in entries {
        let Value::List(tables) = &mut tables.value else { continue };
        if key.name != "tables" {
            continue;
        }
        for table in tables {
            let fresh = Fresh::of(table).over(&inherited).into_node(table.span);
            described(file, table, macros, out);
            forget(table, &["config", "tags", "freshness"]);
            if let (Some(fresh), Value::Map(entries)) = (fresh, &mut table.value) {
                let key = Key { name: "freshness".to_owned(), span: fresh.span };
                entries.push((key, fresh));
            }
        }
    }
}

/// What a source or a table says about how old its rows may be; each part may be the source's.
#[derive(Clone, Default)]
struct Fresh {
    /// `freshness:`; `null` takes it back.
    rules: Option<Node>,
    field: Option<Node>,
    query: Option<Node>,
}

impl Fresh {
    fn of(node: &Node) -> Self {
        let config = node.get("config");
        let find = |key: &str| {
            node.get(key).or_else(|| config.and_then(|config| config.get(key))).cloned()
        };
        Self {
            rules: find("freshness"),
            field: find("loaded_at_field"),
            query: find("loaded_at_query"),
        }
    }

    fn over(self, weaker: &Self) -> Self {
        Self {
            rules: self.rules.or_else(|| weaker.rules.clone()),
            field: self.field.or_else(|| weaker.field.clone()),
            query: self.query.or_else(|| weaker.query.clone()),
        }
    }

    fn into_node(self, span: crate::diagnostic::Span) -> Option<Node> {
        let rules = self.rules?;
        let Value::Map(rules) = rules.value else { return None };
        let mut entries: Vec<(Key, Node)> = rules
            .into_iter()
            // A limit without a count is none, as dbt has it.
            .filter(|(_, node)| node.value != Value::Null && node.value != Value::Map(Vec::new()))
            .collect();
        if entries.is_empty() {
            return None;
        }
        for (name, node) in [("loaded_at_field", self.field), ("loaded_at_query", self.query)] {
            let node = node.filter(|node| node.value != Value::Null);
            entries.extend(node.map(|node| (Key { name: name.to_owned(), span: node.span }, node)));
        }
        Some(node_of(Value::Map(entries), span))
    }
}

/// A model, seed, snapshot or table: its notes, columns and tests.
fn described(file: &SourceFile, node: &mut Node, macros: &Macros, out: &mut Diagnostics) {
    forget(node, &["relation"]);
    let Value::Map(entries) = &mut node.value else { return };
    // `tests` beside `data_tests` would be one key twice.
    let both =
        ["tests", "data_tests"].iter().all(|name| entries.iter().any(|(k, _)| k.name == *name));
    if both && let Some(at) = entries.iter().position(|(key, _)| key.name == "tests") {
        let (key, _) = entries.remove(at);
        let hint = "Move them to data_tests.";
        out.push(
            file,
            Diagnostic::error(key.span, "both tests and data_tests are given").hint(hint),
        );
    }
    for (key, node) in entries {
        match (key.name.as_str(), &mut node.value) {
            ("tests" | "data_tests", Value::List(tests)) => {
                tests.iter_mut().for_each(|node| test(file, node, macros, out));
            }
            ("columns", Value::List(columns)) => {
                for column in columns {
                    described(file, column, macros, out);
                    forget(column, &["config", "tags"]);
                }
            }
            _ => {}
        }
    }
}

/// Drops notes and the named keys.
fn forget(node: &mut Node, keys: &[&str]) {
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|(key, value)| {
            let name = key.name.as_str();
            // An empty list, as generators of files write it, says nothing.
            let nothing = value.value == Value::Null && name != "name";
            !NOTES.contains(&name) && !keys.contains(&name) && !nothing
        });
    }
}

/// Writes a test in one way: a bare name, or the name with arguments in which settings lie in `config`
/// and, for a test that is a macro, everything else in `arguments`.
fn test(file: &SourceFile, node: &mut Node, macros: &Macros, out: &mut Diagnostics) {
    let is_macro = |name: &str| {
        let own = format!("test_{name}");
        name.contains('.') || macros.has("", &own) || macros.has("dbt", &own)
    };
    let span = node.span;
    let text = |text: &str| node_of(Value::Text(text.to_owned()), span);
    match &mut node.value {
        Value::Text(name) if is_macro(name) => {
            let name = text(name);
            *node = custom(name, map_of(Vec::new(), span), Vec::new(), span);
        }
        Value::Map(entries) => {
            // `- {name: x, test_name: unique, column_name: …}`: all on one level.
            if let Some(at) = entries.iter().position(|(key, _)| key.name == "test_name")
                && let (key, Node { value: Value::Text(name), .. }) = entries.remove(at)
            {
                let rest = Value::Map(std::mem::take(entries));
                let key = Key { name, span: key.span };
                *entries = vec![(key, node_of(rest, span))];
            }
            // `- unique:` with `config:` beside it instead of below.
            if entries.len() > 1 {
                let beside: Vec<(Key, Node)> = entries.drain(1..).collect();
                if let Some((_, first)) = entries.first_mut() {
                    match &mut first.value {
                        Value::Map(inner) => inner.extend(beside),
                        Value::Null => first.value = Value::Map(beside),
                        _ => entries.extend(beside),
                    }
                }
            }
            let [(key, arguments)] = entries.as_mut_slice() else { return };
            if arguments.value == Value::Null {
                arguments.value = Value::Map(Vec::new());
            }
            let Value::Map(given) = &mut arguments.value else { return };
            if key.name == "custom" {
                return;
            }
            hoist(file, given, out);
            if OWN_TESTS.contains(&key.name.as_str()) {
                let notes = ["description", "column_name", "quote"];
                given.retain(|(key, _)| !notes.contains(&key.name.as_str()));
                return;
            }
            if !is_macro(&key.name) {
                return;
            }
            let mut kept = Vec::new();
            let mut own = Vec::new();
            for (key, value) in given.drain(..) {
                match key.name.as_str() {
                    "config" | "name" => kept.push((key, value)),
                    "description" => {}
                    _ => own.push((key, value)),
                }
            }
            let arguments = node_of(Value::Map(own), span);
            let mut made = custom(text(&key.name), arguments, Vec::new(), span);
            if let Value::Map(entries) = &mut made.value
                && let Some((_, Node { value: Value::Map(inner), .. })) = entries.first_mut()
            {
                inner.extend(kept);
            }
            *node = made;
        }
        _ => {}
    }
}

/// Puts what lies under `arguments` on the level above, and settings under `config`.
fn hoist(file: &SourceFile, given: &mut Vec<(Key, Node)>, out: &mut Diagnostics) {
    if let Some(at) = given.iter().position(|(key, _)| key.name == "arguments")
        && let (_, Node { value: Value::Map(inner), .. }) = given.remove(at)
    {
        given.extend(inner);
    }
    let mut settings = Vec::new();
    let mut kept = Vec::new();
    for (key, node) in given.drain(..) {
        match (key.name.as_str(), node.value.clone()) {
            ("config", Value::Map(inner)) => settings.extend(inner),
            (name, _) if TEST_SETTINGS.contains(&name) => settings.push((key, node)),
            _ => kept.push((key, node)),
        }
    }
    settings.retain(|(key, _)| {
        let hint = match key.name.as_str() {
            "tags" | "meta" | "group" | "schema" | "database" | "alias" => return false,
            // Failing rows are always kept in a table, if they are kept.
            "store_failures_as" => return false,
            "sql_header" => "Leave it out; a query needs no settings of its own.",
            _ => return true,
        };
        let message = format!("the setting \"{}\" of a test has no effect", key.name);
        out.push(file, Diagnostic::warning(key.span, message).hint(hint));
        false
    });
    for (key, node) in &mut settings {
        // dbt takes both `ERROR` and `error`, and a condition that looks like a number.
        if let ("severity", Value::Text(text)) = (key.name.as_str(), &mut node.value) {
            *text = text.to_lowercase();
        }
        if let ("fail_calc", Value::Int(number)) = (key.name.as_str(), &node.value) {
            node.value = Value::Text(number.to_string());
        }
    }
    if let Some((first, node)) = settings.first() {
        let (span, style) = (first.span, node.style);
        let config = Node { value: Value::Map(settings), span, style };
        kept.push((Key { name: "config".to_owned(), span }, config));
    }
    *given = kept;
}

fn custom(
    test: Node,
    arguments: Node,
    config: Vec<(&str, Node)>,
    span: crate::diagnostic::Span,
) -> Node {
    let mut entries = vec![("test", test), ("arguments", arguments)];
    if !config.is_empty() {
        entries.push(("config", map_of(config, span)));
    }
    map_of(vec![("custom", map_of(entries, span))], span)
}

fn map_of(entries: Vec<(&str, Node)>, span: crate::diagnostic::Span) -> Node {
    let entries = entries.into_iter();
    let entries =
        entries.map(|(name, node)| (Key { name: name.to_owned(), span: node.span }, node));
    node_of(Value::Map(entries.collect()), span)
}

fn node_of(value: Value, span: crate::diagnostic::Span) -> Node {
    Node { value, span, style: Style::Plain }
}

/// A value of a property file as it is written in a template: `ref('x')` is a call, all else a literal.
pub(crate) fn literal(value: &Json) -> String {
    match value {
        Json::Null => "none".to_owned(),
        Json::String(text) => {
            let bare = text.trim();
            let call = |word: &str| bare.starts_with(word) && bare.ends_with(')');
            if let Some(inner) = bare.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
                inner.trim().to_owned()
            } else if call("ref(") || call("source(") || call("var(") {
                bare.to_owned()
            } else {
                quoted(text)
            }
        }
        Json::Array(items) => {
            format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Json::Object(map) => {
            let pairs =
                map.iter().map(|(key, value)| format!("{}: {}", quoted(key), literal(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A text as a literal of a template.
pub(crate) fn quoted(text: &str) -> String {
    let mut made = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => made.extend(['\\', c]),
            '\n' => made.push_str("\\n"),
            '\r' => made.push_str("\\r"),
            '\t' => made.push_str("\\t"),
            c => made.push(c),
        }
    }
    made.push('\'');
    made
}
