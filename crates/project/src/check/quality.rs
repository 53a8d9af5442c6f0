//! Quality files: the table, its checks, and the tests that a build makes of them; dictionaries.

use std::collections::BTreeSet;

use flywheel_base::suggest;
use regex::Regex;
use serde_json::Value as Json;

use super::Check;
use super::sync::at;
use crate::diagnostic::Diagnostic;
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::model::{CustomTest, Failures, ModelTest, TestKind, Threshold};
use crate::quality::{self, Dialect, Place, Rule, check_names};
use crate::resource::properties::Severity;
use crate::resource::quality::{Metric, Quality, QualityCheck, Unit};
use crate::template::{self, Reference};
use crate::yaml::{Node, Step};

impl Check<'_> {
    /// Checks every dictionary.
    pub(super) fn dictionaries(&mut self) {
        let loaded = self.loaded;
        for (name, read) in &loaded.dictionaries {
            let values = &read.value.values;
            let node = read.node.find(&[Step::Key("values")]);
            if values.is_empty() {
                let message = format!("dictionary \"{name}\" has no codes, so nothing is valid");
                let hint = "List them under `values`.";
                self.push(&read.file, Diagnostic::error(node.span, message).hint(hint));
            }
            let mut seen = BTreeSet::new();
            for (index, value) in values.iter().enumerate() {
                let span = node.items().get(index).map_or(node.span, |node| node.span);
                if !matches!(value, Json::String(_) | Json::Number(_) | Json::Bool(_)) {
                    let message = format!("{value} is no code of dictionary \"{name}\"");
                    let hint = "Codes are texts, numbers or booleans.";
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                } else if !seen.insert(plain(value)) {
                    let message =
                        format!("dictionary \"{name}\" has the code {} twice", plain(value));
                    let hint = "Remove one of them.";
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                }
            }
            for code in read.value.labels.keys().filter(|code| !seen.contains(*code)) {
                let span = at(read.node.find(&[Step::Key("labels")]), code);
                let message = format!("\"{code}\" has a label and is no code of \"{name}\"");
                let hint = suggest::hint(code, seen.iter().map(String::as_str));
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
        }
    }

    /// Checks every quality file.
    pub(super) fn qualities(&mut self) {
        let loaded = self.loaded;
        for (name, read) in &loaded.qualities {
            let id = NodeId::new(NodeKind::Quality, name);
            let dialect = self.quality_subject(read, &id);
            if read.value.checks.is_empty() {
                let message = format!("quality \"{name}\" promises nothing");
                let hint = "Add a check under `checks`, or remove the file.";
                let span = at(&read.node, "checks");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
            let names = check_names(&read.value);
            let mut seen = BTreeSet::new();
            for (index, (check, check_name)) in read.value.checks.iter().zip(&names).enumerate() {
                let node = read.node.find(&[Step::Key("checks"), Step::Item(index)]);
                if check_name.trim().is_empty() || !seen.insert(check_name) {
                    let message = format!("quality \"{name}\" has two checks \"{check_name}\"");
                    let hint = "Give one of them a `name` of its own.";
                    let span = at(node, "name");
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                }
                let Some(dialect) = dialect else { continue };
                let before = self.checked.out.len();
                self.quality_check(read, check, node, dialect);
                let table = self.checked.quality_tables.get(name).cloned();
                if let Some(table) = table.filter(|_| self.checked.out.len() == before) {
                    self.quality_test(read, check, check_name, node, &table);
                }
            }
        }
    }

    /// Which table it is about, and the engine that computes its figures.
    fn quality_subject(&mut self, read: &Read<Quality>, id: &NodeId) -> Option<Dialect> {
        let quality = &read.value;
        let span = at(&read.node, "quality");
        match (&quality.table, &quality.connection) {
            (Some(table), None) => {
                if !quality.stream.is_empty() {
                    let message = "`stream` says what is read of a connection, and none is named";
                    let hint = "Remove it, or name the `connection` instead of the `table`.";
                    let span = at(&read.node, "stream");
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                }
                let span = at(&read.node, "table");
                let node = self.test_target(&read.file, table, span)?;
                self.checked.graph.link(&node, id);
                self.checked.quality_tables.insert(quality.quality.clone(), node);
                Some(Dialect::Lake)
            }
            (None, Some(name)) => {
                let span = at(&read.node, "connection");
                if !self.declared(NodeKind::Connection, name) {
                    let message = format!("no connection \"{name}\"");
                    let hint = self.near(&[NodeKind::Connection], name);
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    return None;
                }
                self.checked.graph.link(&NodeId::new(NodeKind::Connection, name), id);
                if quality.stream.is_empty() {
                    let message = format!("what of the connection \"{name}\" is checked?");
                    let hint = "Add `stream`, such as `stream: {table: public.orders}`.";
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    return None;
                }
                let connector = &self.loaded.connections.get(name)?.value.connector;
                let dialect = Dialect::of(connector);
                let table = quality.stream.get("table").is_some_and(Json::is_string);
                if dialect.is_some() && !table && !quality.stream.contains_key("query") {
                    let message = "neither a table nor a query of the database is named";
                    let hint = "Write `stream: {table: …}` or `stream: {query: …}`.";
                    let span = at(&read.node, "stream");
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    return None;
                }
                Some(dialect.unwrap_or(Dialect::Lake))
            }
            (both, _) => {
                let message = match both {
                    Some(_) => "a quality file has both `table` and `connection`",
                    None => "a quality file names no table",
                };
                let hint = "Give `table: ref('orders')` for one of the lake, or `connection` and `stream` for one outside.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                None
            }
        }
    }

    /// What can be said about a check without running it.
    fn quality_check(
        &mut self,
        read: &Read<Quality>,
        check: &QualityCheck,
        node: &Node,
        dialect: Dialect,
    ) {
        let mistakes = mistakes(check);
        for (key, message, hint) in mistakes {
            self.push(&read.file, Diagnostic::error(at(node, key), message).hint(hint));
        }
        let arguments = node.find(&[Step::Key("arguments")]);
        if let Some(name) = &check.arguments.dictionary
            && !self.declared(NodeKind::Dictionary, name)
        {
            let message = format!("no dictionary \"{name}\"");
            let hint = self.near(&[NodeKind::Dictionary], name);
            let span = at(arguments, "dictionary");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
        if let Some(pattern) = &check.arguments.pattern
            && let Err(error) = Regex::new(pattern)
        {
            // Other engines know forms that this one does not; only what no engine reads is a mistake.
            let syntax = matches!(error, regex::Error::Syntax(_));
            if syntax && dialect == Dialect::Lake {
                let text = error.to_string();
                let why = text.lines().last().unwrap_or_default().trim().to_owned();
                let message = format!("`pattern` is no regular expression: {why}");
                let hint = "Mend it; in single quotes YAML leaves backslashes as they are.";
                let span = at(arguments, "pattern");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
        }
        if let Some(to) = check.arguments.to.as_deref().filter(|_| dialect == Dialect::Lake) {
            let outside = read.value.connection.is_some();
            let span = at(arguments, "to");
            if outside {
                let message = "unmatchedValues needs the other table, and files have only one";
                let hint = "Land both in the lake, and check the landed table.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            } else if let Some(other) = self.test_target(&read.file, to, span) {
                let id = NodeId::new(NodeKind::Quality, &read.value.quality);
                self.checked.graph.link(&other, &id);
            }
        }
        if check.query.is_none() && dialect == Dialect::Sqlite {
            let codes = |_: &str| Ok(Vec::new());
            let other = |to: &str| Ok(to.to_owned());
            let place = Place {
                dialect,
                table: "t",
                now: Some(0),
                other: &other,
                hidden: &[],
                codes: &codes,
            };
            if check.arguments.pattern.is_some()
                && let Err(error) = quality::compile(check, &place)
            {
                let hint = error.hint_text().unwrap_or_default().to_owned();
                let diagnostic = Diagnostic::error(at(arguments, "pattern"), error.message());
                self.push(&read.file, diagnostic.hint(hint));
            }
        }
    }

    /// Makes the test that decides whether a build publishes the table.
    fn quality_test(
        &mut self,
        read: &Read<Quality>,
        check: &QualityCheck,
        check_name: &str,
        node: &Node,
        table: &NodeId,
    ) {
        let Some(text) = &read.value.table else { return };
        let severity = severity(check);
        let templated = format!("{{{{ {} }}}}", bare(text));
        // What people wrote as plain SQL may hold what a template would read; a query is a template.
        let raw = check.query.is_none();
        let table_text = if raw { raw_hole(&templated) } else { templated };
        let other = |to: &str| {
            let templated = format!("{{{{ {} }}}}", bare(to));
            Ok(if raw { raw_hole(&templated) } else { templated })
        };
        let dictionaries = &self.loaded.dictionaries;
        let codes = |name: &str| {
            // One that is not there has been reported.
            Ok(dictionaries.get(name).map(|read| read.value.values.clone()).unwrap_or_default())
        };
        let table_text = table_text.as_str();
        let of_lake = Place {
            dialect: Dialect::Lake,
            table: table_text,
            now: None,
            other: &other,
            hidden: &read.value.hidden,
            codes: &codes,
        };
        let made = quality::breach(check, &of_lake);
        let sql = match made {
            Ok(Some(sql)) if raw => format!("{{% raw %}}{sql}{{% endraw %}}"),
            Ok(Some(sql)) => sql,
            Ok(None) => return,
            Err(error) => {
                let hint = error.hint_text().unwrap_or_default().to_owned();
                let span = at(node, "metric");
                self.push(&read.file, Diagnostic::error(span, error.message()).hint(hint));
                return;
            }
        };
        let scan = match template::scan(&sql, &self.loaded.vars, &self.loaded.macros) {
            Ok(scan) => scan,
            Err(fault) => {
                let span = at(node, if raw { "metric" } else { "query" });
                let diagnostic = fault.into_diagnostic(|_| span);
                self.push(&read.file, diagnostic);
                return;
            }
        };
        let (mut refs, mut sources) = (BTreeSet::new(), BTreeSet::new());
        for reference in &scan.references {
            match reference {
                Reference::Ref(name) => {
                    refs.insert(name.clone());
                }
                Reference::Source(source, table) => {
                    sources.insert((source.clone(), table.clone()));
                }
            }
        }
        if !raw {
            let id = NodeId::new(NodeKind::Quality, &read.value.quality);
            let query = node.get("query").map_or(node.span, |node| node.span);
            for reference in &scan.references {
                self.refer(&id, reference, &read.file, query);
            }
        }
        let tests = match table.kind {
            NodeKind::Model => {
                &mut self.checked.described.entry(table.name.clone()).or_default().tests
            }
            NodeKind::Source => match self.checked.sources.get_mut(&table.name) {
                Some(source) => &mut source.tests,
                None => return,
            },
            // What learners write is not built; `flywheel quality run` looks at it.
            _ => return,
        };
        tests.push(ModelTest {
            name: test_name(&read.value.quality, check_name),
            model: table.name.clone(),
            target: table.clone(),
            column: check.column.clone(),
            kind: TestKind::Custom(CustomTest {
                test: "quality".to_owned(),
                sql,
                refs,
                sources,
                macros: std::sync::Arc::clone(&self.loaded.macros),
            }),
            severity,
            condition: None,
            threshold: Threshold::default(),
            failures: Failures::default(),
            file: read.file.path.clone(),
            line: first_line(node, &read.file),
        });
    }
}

/// The name of the test that a build makes of a check.
pub(crate) fn test_name(quality: &str, check: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = format!("quality_{quality}_{check}").chars().map(clean).collect();
    // Names that differ only in what is no letter stay apart.
    match name == format!("quality_{quality}_{check}") {
        true => name,
        false => {
            let digest = flywheel_base::digest::short(&[check.as_bytes()]);
            format!("{name}_{}", digest.get(..6).unwrap_or(&digest))
        }
    }
}

/// What a breach does.
pub(crate) fn severity(check: &QualityCheck) -> Severity {
    let only_watched = check.monitor.is_some() && matches!(Rule::of(check), Ok(None));
    let usual = if only_watched { Severity::Warn } else { Severity::Error };
    check.severity.unwrap_or(usual)
}

fn bare(table: &str) -> &str {
    table.trim().trim_start_matches("{{").trim_end_matches("}}").trim()
}

/// A template expression in the middle of text that is no template.
fn raw_hole(expression: &str) -> String {
    format!("{{% endraw %}}{expression}{{% raw %}}")
}

fn first_line(node: &Node, file: &SourceFile) -> usize {
    let line = at(node, "metric").line;
    line.clamp(1, file.text.lines().count().max(1))
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What is wrong with a check on its own: the key it is about, the message, the hint.
fn mistakes(check: &QualityCheck) -> Vec<(&'static str, String, String)> {
    let mut found: Vec<(&'static str, String, String)> = Vec::new();
    let mut add = |key: &'static str, message: &str, hint: &str| {
        found.push((key, message.to_owned(), hint.to_owned()));
    };
    let rule = match Rule::of(check) {
        Ok(rule) => rule,
        Err(error) => {
            add("metric", error.message(), error.hint_text().unwrap_or_default());
            return found;
        }
    };
    match (check.metric, &check.query) {
        (Some(_), Some(_)) => {
            add("query", "a check has both `metric` and `query`", "Write two checks.");
        }
        (None, None) => add(
            "name",
            "a check has neither `metric` nor `query`",
            "Give a metric such as `nullValues`, or SQL that gives a number.",
        ),
        (None, Some(query)) if query.trim().is_empty() => {
            add("query", "the SQL is empty", "Write a SELECT, for instance after `|`.");
        }
        _ => {}
    }
    if rule.is_none() && check.monitor.is_none() {
        add(
            "metric",
            "a check does not say what its figure must be",
            "Add an operator such as `mustBe: 0`, or a `monitor`.",
        );
    }
    if check.query.as_ref().is_some_and(|query| query.contains("{property}"))
        && check.column.is_none()
    {
        add("query", "`{property}` stands for the column, and none is named", "Add `column:`.");
    }
    if let Some(monitor) = &check.monitor {
        let share = monitor.false_alarms.value();
        if !(0.001..=0.2).contains(&share) {
            add(
                "monitor",
                "`falseAlarms` lies outside of 0.1% to 20%",
                "1% calls one ordinary figure in a hundred an anomaly.",
            );
        }
        if monitor.window.is_some_and(|window| !(7..=365).contains(&window)) {
            add("monitor", "`window` lies outside of 7 to 365", "Leave it out, or give 56.");
        }
        if monitor.history.is_some_and(|history| !(7..=365).contains(&history)) {
            add("monitor", "`history` lies outside of 7 to 365", "Leave it out, or give 14.");
        }
        if let (Some(history), Some(window)) = (monitor.history, monitor.window)
            && history > window
        {
            add("monitor", "`history` is longer than `window`", "A verdict would never come.");
        }
    }
    let Some(metric) = check.metric else {
        if check.unit == Unit::Percent {
            add("unit", "`unit: percent` is for metrics that count rows", "Compute it in SQL.");
        }
        return found;
    };
    if check.unit == Unit::Percent && !metric.counts_rows() {
        add("unit", &format!("{} is no share of rows", metric.word()), "Remove `unit`.");
    }
    let arguments = &check.arguments;
    match metric {
        Metric::RowCount if check.column.is_some() => {
            add("column", "rowCount is about the table", "Remove `column`.");
        }
        Metric::DuplicateValues if check.column.is_none() && arguments.properties.is_empty() => {
            add(
                "metric",
                "duplicateValues names no column",
                "Add `column`, or several under `arguments: {properties: […]}`.",
            );
        }
        Metric::RowCount | Metric::DuplicateValues => {}
        other if check.column.is_none() => {
            add("metric", &format!("{} names no column", other.word()), "Add `column`.");
        }
        _ => {}
    }
    let takes: &[(&str, bool, Metric)] = &[
        ("missingValues", arguments.missing_values.is_some(), Metric::MissingValues),
        ("validValues", arguments.valid_values.is_some(), Metric::InvalidValues),
        ("dictionary", arguments.dictionary.is_some(), Metric::InvalidValues),
        ("pattern", arguments.pattern.is_some(), Metric::InvalidValues),
        ("minLength", arguments.min_length.is_some(), Metric::InvalidValues),
        ("maxLength", arguments.max_length.is_some(), Metric::InvalidValues),
        ("properties", !arguments.properties.is_empty(), Metric::DuplicateValues),
        ("to", arguments.to.is_some(), Metric::UnmatchedValues),
        ("field", arguments.field.is_some(), Metric::UnmatchedValues),
        ("after", arguments.after.is_some(), Metric::LateValues),
        ("maxDelay", arguments.max_delay.is_some(), Metric::LateValues),
    ];
    for (key, _, of) in takes.iter().filter(|(_, given, of)| *given && *of != metric) {
        add(
            "arguments",
            &format!("{} does not take `{key}`", metric.word()),
            &format!("It belongs to {}.", of.word()),
        );
    }
    let missing = match metric {
        Metric::InvalidValues => {
            let says = arguments.valid_values.is_some()
                || arguments.dictionary.is_some()
                || arguments.pattern.is_some()
                || arguments.min_length.is_some()
                || arguments.max_length.is_some();
            (!says).then_some(
                "Add `arguments` with validValues, dictionary, pattern, minLength or maxLength.",
            )
        }
        Metric::UnmatchedValues => {
            arguments.to.is_none().then_some("Add `arguments: {to: …, field: …}`.")
        }
        Metric::LateValues => {
            let short = arguments.max_delay.is_none_or(|delay| delay.micros < 1_000_000);
            short.then_some("Add `arguments: {maxDelay: 2h}`, a second or more.")
        }
        _ => None,
    };
    if let Some(hint) = missing {
        add("metric", &format!("{} does not say what is wanted", metric.word()), hint);
    }
    if let (Some(least), Some(most)) = (arguments.min_length, arguments.max_length)
        && least > most
    {
        add("arguments", "`minLength` is above `maxLength`, so nothing is valid", "Swap them.");
    }
    found
}
