//! Property files: they describe models and sources that exist, and their tests make sense.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::suggest;

use super::sync::at;
use super::{Check, Described};
use crate::dbt;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeInfo, NodeKind};
use crate::load::{Loaded, Read};
use crate::model::{self, CustomTest, ModelTest, Settings, TestKind, Threshold, test_name};
use crate::names;
use crate::resource::properties::{
    ColumnProperties, Properties, Severity, SourceTable, Test, TestArguments, TestName,
};
use crate::source::Source;
use crate::template;
use crate::yaml::{Node, Step};

impl Check<'_> {
    /// Notes the source tables that property files declare.
    pub(super) fn declare_sources(&mut self) {
        let loaded = self.loaded;
        for read in &loaded.properties {
            for (index, properties) in read.value.sources.iter().enumerate() {
                let node = read.node.find(&[Step::Key("sources"), Step::Item(index)]);
                let schema = properties.schema.clone().unwrap_or_else(|| properties.name.clone());
                if let Some(problem) = names::problem(&schema) {
                    let message = format!("schema \"{schema}\" is not a good name: it {problem}");
                    let span =
                        at(node, if properties.schema.is_some() { "schema" } else { "name" });
                    self.push(&read.file, Diagnostic::error(span, message).hint(names::HINT));
                }
                let before =
                    self.checked.source_schemas.insert(properties.name.clone(), schema.clone());
                if let Some(before) = before.filter(|before| *before != schema) {
                    let message = format!(
                        "source \"{}\" means schema \"{before}\" elsewhere and \"{schema}\" here",
                        properties.name
                    );
                    let hint = "Give both the same schema, or rename one.";
                    self.push(&read.file, Diagnostic::error(at(node, "name"), message).hint(hint));
                }
                for (index, table) in properties.tables.iter().enumerate() {
                    let node = node.find(&[Step::Key("tables"), Step::Item(index)]);
                    let name = (properties.name.as_str(), schema.as_str());
                    self.declare_table(name, table, read, node);
                }
            }
        }
    }

    fn declare_table(
        &mut self,
        (source_name, schema): (&str, &str),
        table: &SourceTable,
        read: &Read<Properties>,
        node: &Node,
    ) {
        let span = at(node, "name");
        let called = table.identifier.as_ref().unwrap_or(&table.name);
        if called != &table.name {
            let key = (source_name.to_owned(), table.name.clone());
            self.checked.identifiers.insert(key, called.clone());
        }
        let relation = format!("{schema}.{called}");
        let id = NodeId::new(NodeKind::Source, &relation);
        let source =
            self.checked.sources.entry(relation).or_insert_with(|| Source::new(schema, called));
        if let Some((file, line)) = &source.declared_in {
            let message = format!("{id} is declared twice");
            let hint = format!("Remove one of them; the other is in {file}:{line}.");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return;
        }
        source.declared_in = Some((read.file.path.clone(), span.line));
        source.description.clone_from(&table.description);
        source.columns.clone_from(&table.columns);
        source.freshness.clone_from(&table.freshness);
        // A table that one of the project's own models or seeds makes is read after it was made.
        let made_by = self
            .loaded
            .models
            .values()
            .find(|read| read.value.schema == schema && read.value.table() == called);
        if let Some(model) = made_by {
            self.checked.graph.link(&NodeId::new(NodeKind::Model, &model.value.name), &id);
        }
        let landed = source_landed(self.checked.sources.get(&id.name));
        let info = NodeInfo {
            file: (!landed).then(|| read.file.path.clone()),
            source: Some(source_name.to_owned()),
            ..NodeInfo::default()
        };
        match landed {
            true => self.checked.graph.note_source(&id, source_name),
            false => self.checked.graph.add(id, info),
        }
    }

    /// Reads descriptions and tests, once every model and source is known.
    pub(super) fn properties(&mut self) {
        let loaded = self.loaded;
        let mut described: BTreeMap<&str, String> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for read in &loaded.properties {
            for (index, model) in read.value.models.iter().enumerate() {
                let node = read.node.find(&[Step::Key("models"), Step::Item(index)]);
                let span = at(node, "name");
                if !self.declared(NodeKind::Model, &model.name) {
                    let message = format!("no model is named \"{}\"", model.name);
                    let hint = self.near(&[NodeKind::Model], &model.name);
                    // dbt builds without what describes nothing, such as a model that was removed.
                    let told = match loaded.layout.dbt {
                        true => Diagnostic::warning(span, message),
                        false => Diagnostic::error(span, message),
                    };
                    self.push(&read.file, told.hint(hint));
                    continue;
                }
                if let Some(other) = described.get(model.name.as_str()) {
                    let message = format!("model \"{}\" is described twice", model.name);
                    let hint = format!("Merge the two; the other is in {other}.");
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    continue;
                }
                described.insert(&model.name, format!("{}:{}", read.file.path, span.line));
                let target = NodeId::new(NodeKind::Model, &model.name);
                let mut tests = Tests {
                    file: &read.file,
                    target: &target,
                    table: format!("ref({})", dbt::quoted(&model.name)),
                    names: &mut names,
                    made: Vec::new(),
                };
                self.tests(&mut tests, None, &model.tests, node);
                self.columns(&mut tests, &model.columns, node);
                let made = tests.made;
                let described = Described {
                    description: model.description.clone(),
                    columns: model.columns.clone(),
                    constraints: model.constraints.clone(),
                    tests: made,
                    unit_tests: Vec::new(),
                };
                self.checked.described.insert(model.name.clone(), described);
            }
            self.source_tests(read, &mut names);
        }
    }

    fn source_tests(&mut self, read: &Read<Properties>, names: &mut BTreeMap<String, usize>) {
        for (index, properties) in read.value.sources.iter().enumerate() {
            let schema = properties.schema.as_ref().unwrap_or(&properties.name);
            let node = read.node.find(&[Step::Key("sources"), Step::Item(index)]);
            for (index, table) in properties.tables.iter().enumerate() {
                let node = node.find(&[Step::Key("tables"), Step::Item(index)]);
                let called = table.identifier.as_ref().unwrap_or(&table.name);
                let relation = format!("{schema}.{called}");
                let target = NodeId::new(NodeKind::Source, &relation);
                let (source, table_name) =
                    (dbt::quoted(&properties.name), dbt::quoted(&table.name));
                let mut tests = Tests {
                    file: &read.file,
                    target: &target,
                    table: format!("source({source}, {table_name})"),
                    names,
                    made: Vec::new(),
                };
                self.tests(&mut tests, None, &table.tests, node);
                self.columns(&mut tests, &table.columns, node);
                let made = tests.made;
                if let Some(source) = self.checked.sources.get_mut(&relation) {
                    source.tests.extend(made);
                }
            }
        }
    }

    fn columns(&mut self, tests: &mut Tests<'_>, columns: &[ColumnProperties], node: &Node) {
        let mut seen = BTreeSet::new();
        for (index, column) in columns.iter().enumerate() {
            let node = node.find(&[Step::Key("columns"), Step::Item(index)]);
            if !seen.insert(column.name.as_str()) {
                let message =
                    format!("column \"{}\" of {} is described twice", column.name, tests.target);
                let hint = "Merge the two.";
                self.push(tests.file, Diagnostic::error(at(node, "name"), message).hint(hint));
            }
            self.tests(tests, Some(&column.name), &column.tests, node);
        }
    }

    fn tests(&mut self, tests: &mut Tests<'_>, column: Option<&str>, list: &[Test], node: &Node) {
        let key = if node.get("data_tests").is_some() { "data_tests" } else { "tests" };
        for (test, node) in list.iter().zip(node.find(&[Step::Key(key)]).items()) {
            let none = TestArguments::default();
            let (name, arguments) = match test {
                Test::Name(name) => (*name, &none),
                Test::With(map) => match map.iter().next() {
                    Some((name, arguments)) => (*name, arguments),
                    None => continue,
                },
            };
            if arguments.config.enabled == Some(false) {
                continue;
            }
            if column.is_none() && name != TestName::Custom {
                let message = format!("the test on {} needs a column", tests.target);
                let hint = "Put it below the column, under `columns:`.";
                self.push(tests.file, Diagnostic::error(node.span, message).hint(hint));
                continue;
            }
            let kind = match name {
                TestName::Custom => self.custom_test(tests, column, arguments, node),
                _ => self.test_kind(tests.file, name, arguments, node),
            };
            let threshold = self.threshold(tests.file, arguments, node);
            if let (Some(kind), Some(threshold)) = (kind, threshold) {
                let none = Settings::default();
                let defaults = self.loaded.test_defaults.get(&tests.file.path).unwrap_or(&none);
                let line = node.span.line;
                if defaults.enabled != Some(false) || arguments.config.enabled == Some(true) {
                    tests.add(self.loaded, column, kind, (arguments, defaults), threshold, line);
                }
            }
        }
    }

    fn test_kind(
        &mut self,
        file: &SourceFile,
        name: TestName,
        arguments: &TestArguments,
        node: &Node,
    ) -> Option<TestKind> {
        let mut refuse = |message: &str, hint: &str| {
            self.push(file, Diagnostic::error(node.span, message).hint(hint));
            None
        };
        match name {
            // Made by `custom_test`, which knows the tested table.
            TestName::Custom => None,
            TestName::Unique => Some(TestKind::Unique),
            TestName::NotNull => Some(TestKind::NotNull),
            TestName::AcceptedValues if arguments.values.is_empty() => refuse(
                "accepted_values lists no values",
                "Write accepted_values: {values: [placed, shipped]}.",
            ),
            TestName::AcceptedValues => {
                Some(TestKind::AcceptedValues { values: arguments.values.clone() })
            }
            TestName::Relationships => match (&arguments.to, &arguments.field) {
                (Some(to), Some(field)) => {
                    let span = node.get("relationships").map_or(node.span, |node| at(node, "to"));
                    let to = self.test_target(file, to, span)?;
                    Some(TestKind::Relationships { to, field: field.clone() })
                }
                _ => refuse(
                    "relationships needs `to` and `field`",
                    "Write relationships: {to: ref('customers'), field: customer_id}.",
                ),
            },
        }
    }

    fn threshold(
        &mut self,
        file: &SourceFile,
        arguments: &TestArguments,
        node: &Node,
    ) -> Option<Threshold> {
        let config = &arguments.config;
        let none = Settings::default();
        let defaults = self.loaded.test_defaults.get(&file.path).unwrap_or(&none);
        let read = |text: &Option<String>, weaker: &Option<String>| {
            text.as_deref().or(weaker.as_deref()).map(str::parse).transpose()
        };
        let error_if = read(&config.error_if, &defaults.error_if);
        match (error_if, read(&config.warn_if, &defaults.warn_if)) {
            (Ok(error_if), Ok(warn_if)) => {
                Some(Threshold { error_if, warn_if, limit: config.limit.or(defaults.limit) })
            }
            (Err(error), _) | (_, Err(error)) => {
                let hint = error.hint_text().unwrap_or_default().to_owned();
                self.push(file, Diagnostic::error(node.span, error.message()).hint(hint));
                None
            }
        }
    }

    /// A test that is a macro of the project or of a package: the template that calls it.
    fn custom_test(
        &mut self,
        tests: &Tests<'_>,
        column: Option<&str>,
        arguments: &TestArguments,
        node: &Node,
    ) -> Option<TestKind> {
        let macros = &self.loaded.macros;
        let test = arguments.test.clone().unwrap_or_default();
        let (package, name) = test.split_once('.').unwrap_or(("", &test));
        let own = macros.dbt.as_ref().is_some_and(|dbt| dbt.project == package);
        let package = if own { "" } else { package };
        let found = [package, "dbt"].into_iter().find(|p| macros.has(p, &format!("test_{name}")));
        let Some(package) = found else {
            let known =
                ["unique", "not_null", "accepted_values", "relationships"].map(str::to_owned);
            let mut known = Vec::from(known);
            known
                .extend(macros.names("").filter_map(|n| Some(n.strip_prefix("test_")?.to_owned())));
            for package in macros.packages() {
                let names = macros.names(package).filter_map(|name| name.strip_prefix("test_"));
                known.extend(names.map(|name| format!("{package}.{name}")));
            }
            let hint = suggest::hint(&test, known.iter().map(String::as_str));
            let message = format!("no test is named \"{test}\"");
            self.push(tests.file, Diagnostic::error(node.span, message).hint(hint));
            return None;
        };
        let sql = call_of_test(package, name, &tests.table, column, arguments);
        let scan = match template::scan(&sql, &self.loaded.vars, macros) {
            Ok(scan) => scan,
            Err(fault) => {
                self.push(tests.file, fault.into_diagnostic(|_| node.span));
                return None;
            }
        };
        for reference in &scan.references {
            self.resolve(reference, tests.file, node.span)?;
        }
        let (refs, sources) = model::split(scan.references);
        let macros = std::sync::Arc::clone(macros);
        Some(TestKind::Custom(CustomTest { test, sql, refs, sources, macros }))
    }

    /// What `to: ref('x')` means.
    pub(super) fn test_target(
        &mut self,
        file: &SourceFile,
        to: &str,
        span: Span,
    ) -> Option<NodeId> {
        let bare = to.trim().trim_start_matches("{{").trim_end_matches("}}");
        let found =
            template::scan(&format!("{{{{ {bare} }}}}"), &self.loaded.vars, &self.loaded.macros);
        let references = found.map(|scan| scan.references).unwrap_or_default();
        match references.first() {
            Some(reference) if references.len() == 1 => self.resolve(reference, file, span),
            _ => {
                let message = format!("\"{to}\" is not one table");
                let hint = "Write ref('model') or source('raw', 'table').";
                self.push(file, Diagnostic::error(span, message).hint(hint));
                None
            }
        }
    }
}

/// Whether a sync lands the table.
fn source_landed(source: Option<&Source>) -> bool {
    source.is_some_and(|source| source.landed_by.is_some())
}

/// The tests of one target while they are collected.
struct Tests<'a> {
    file: &'a SourceFile,
    target: &'a NodeId,
    /// The target as templates write it.
    table: String,
    names: &'a mut BTreeMap<String, usize>,
    made: Vec<ModelTest>,
}

impl Tests<'_> {
    fn add(
        &mut self,
        loaded: &Loaded,
        column: Option<&str>,
        kind: TestKind,
        (arguments, defaults): (&TestArguments, &Settings),
        threshold: Threshold,
        line: usize,
    ) {
        let mut name = match &arguments.name {
            Some(name) => name.clone(),
            None => test_name(self.target, column, &kind),
        };
        let count = self.names.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            name = format!("{name}_{count}");
        }
        let config = &arguments.config;
        let settings = Settings {
            store_failures: config.store_failures.or(defaults.store_failures),
            fail_calc: config.fail_calc.clone().or_else(|| defaults.fail_calc.clone()),
            ..Settings::default()
        };
        let failures = loaded.failures(&name, &settings);
        let written = Some(arguments.severity).filter(|severity| *severity == Severity::Warn);
        let severity = config.severity.or(written).or(defaults.severity).unwrap_or_default();
        self.made.push(ModelTest {
            name,
            model: self.target.name.clone(),
            target: self.target.clone(),
            column: column.map(str::to_owned),
            kind,
            severity,
            condition: arguments.config.condition.clone().or_else(|| arguments.condition.clone()),
            threshold,
            failures,
            file: self.file.path.clone(),
            line,
        });
    }
}

/// The template that calls a test: `{{ dbt_utils.test_accepted_range(model=ref('orders'), …) }}`.
fn call_of_test(
    package: &str,
    name: &str,
    table: &str,
    column: Option<&str>,
    arguments: &TestArguments,
) -> String {
    let condition = arguments.config.condition.as_ref().or(arguments.condition.as_ref());
    let table = match condition {
        Some(condition) => format!(
            "'(select * from ' ~ {table} ~ {} ~ ') tested'",
            dbt::quoted(&format!(" where {condition}\n"))
        ),
        None => table.to_owned(),
    };
    let mut given = vec![format!("model={table}")];
    given.extend(column.map(|column| format!("column_name={}", dbt::quoted(column))));
    let own = arguments.arguments.iter();
    given.extend(own.map(|(name, value)| format!("{name}={}", dbt::literal(value))));
    let prefix = if package.is_empty() { String::new() } else { format!("{package}.") };
    format!("{{{{ {prefix}test_{name}({}) }}}}", given.join(", "))
}
