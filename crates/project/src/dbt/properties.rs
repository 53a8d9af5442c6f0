//! dbt's property files brought into the form that is checked: what people write in several ways is
//! written in one, and what means nothing here is left out.

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::file::SourceFile;
use crate::template::Macros;
use crate::yaml::{Key, Node, Style, Value};

/// Lists of a property file that describe what is not ours to build.
const LISTS_PASSED_OVER: &[&str] = &[
    "macros",
    "exposures",
    "semantic_models",
    "metrics",
    "saved_queries",
    "groups",
    "analyses",
    "functions",
];

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
    "data_type",
    "quote",
    "policy_tags",
    "granularity",
    "entity",
    "dimension",
    "constraints",
    "loader",
    "quoting",
    "identifier",
    "external",
    "database",
    "overrides",
    "freshness",
    "loaded_at_field",
    "loaded_at_query",
];

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
    "tags",
    "meta",
];

/// What a property file holds besides properties.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// Snapshots declared in YAML, with `relation`.
    pub(crate) snapshots: Vec<Node>,
}

/// Brings a property file into the form that is checked. A test is known by the macro it is; other names
/// stay as they are, for the check to refuse.
pub(crate) fn normalise(
    file: &SourceFile,
    root: &mut Node,
    macros: &Macros,
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
        "unit_tests" => {
            for unit in node.items() {
                let name = unit.get("name").and_then(Node::text).unwrap_or("without a name");
                let message = format!("the unit test \"{name}\" is not run");
                let hint = "Run it with dbt, or write what it checks as a test in tests/.";
                out.push(file, Diagnostic::warning(unit.span, message).hint(hint));
            }
            false
        }
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
    for (key, node) in entries {
        let Value::List(items) = &mut node.value else { continue };
        for item in items {
            match key.name.as_str() {
                "models" => described(file, item, macros, out),
                "sources" => source(file, item, macros, out),
                _ => {}
            }
        }
    }
    extra
}

fn source(file: &SourceFile, node: &mut Node, macros: &Macros, out: &mut Diagnostics) {
    let inherited = freshness(node);
    forget(node, &["config", "tags", "enabled", "data_tests", "tests"]);
    let Value::Map(entries) = &mut node.value else { return };
    for (key, tables) in entries {
        let Value::List(tables) = &mut tables.value else { continue };
        if key.name != "tables" {
            continue;
        }
        for table in tables {
            let own = freshness(table);
            let tests = own.or_else(|| inherited.clone()).unwrap_or_default();
            described(file, table, macros, out);
            forget(table, &["config", "tags"]);
            add_tests(table, tests);
        }
    }
}

/// The tests that `freshness` asks for. They warn and never stop a build, as in dbt, where only
/// `dbt source freshness` looks at them.
fn freshness(node: &Node) -> Option<Vec<Node>> {
    let config = node.get("config");
    let find = |key: &str| node.get(key).or_else(|| config.and_then(|config| config.get(key)));
    let rules = find("freshness")?;
    let field = find("loaded_at_field").and_then(Node::text);
    let Some(field) = field else { return Some(Vec::new()) };
    let mut tests = Vec::new();
    for rule in ["warn_after", "error_after"] {
        let Some(limit) = rules.get(rule) else { continue };
        let (Some(count), Some(period)) = (limit.get("count"), limit.get("period")) else {
            continue;
        };
        let span = limit.span;
        let text = |text: &str| node_of(Value::Text(text.to_owned()), span);
        let mut arguments =
            vec![("field", text(field)), ("count", count.clone()), ("period", period.clone())];
        if let Some(filter) = rules.get("filter") {
            arguments.push(("filter", filter.clone()));
        }
        tests.push(custom(
            text("freshness"),
            map_of(arguments, span),
            vec![("severity", text("warn"))],
            span,
        ));
    }
    Some(tests)
}

fn add_tests(table: &mut Node, mut tests: Vec<Node>) {
    if tests.is_empty() {
        return;
    }
    let span = table.span;
    let Value::Map(entries) = &mut table.value else { return };
    let found =
        entries.iter_mut().find(|(key, _)| matches!(key.name.as_str(), "tests" | "data_tests"));
    match found {
        Some((_, Node { value: Value::List(items), .. })) => items.append(&mut tests),
        _ => entries
            .push((Key { name: "tests".to_owned(), span }, node_of(Value::List(tests), span))),
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
    settings.retain(|(key, value)| {
        let hint = match key.name.as_str() {
            "tags" | "meta" | "store_failures_as" => return false,
            "store_failures" if value.value == Value::Bool(false) => return false,
            "store_failures" => "Failing rows are counted; its query shows them.",
            "fail_calc" => "Rows are counted: let the test return one for each failure.",
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
