//! Published queries: parameters that are declared and used, values that fit their types, SQL that can be read.

use std::collections::BTreeSet;
use std::error::Error as _;

use flywheel_base::{Error, Result, suggest};

use super::Check;
use super::column::type_problem;
use super::query::inside;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::names;
use crate::published::places;
use crate::resource::query::{PublishedQuery, QueryParameter, RESERVED, TIMEOUT_MAX};
use crate::template::{self, LEARNER_SCHEMA, RenderContext};
use crate::yaml::{Node, Step};

impl Check<'_> {
    pub(super) fn queries(&mut self) {
        let loaded = self.loaded;
        for (name, read) in &loaded.queries {
            let id = NodeId::new(NodeKind::Query, name);
            let sql = read.node.find(&[Step::Key("sql")]);
            self.query(&id, &read.value.sql, &read.file, sql);
            for (index, parameter) in read.value.parameters.iter().enumerate() {
                let node = read.node.find(&[Step::Key("parameters"), Step::Item(index)]);
                self.parameter(read, index, parameter, node);
            }
            if let Some(timeout) = read.value.timeout
                && !(1..=TIMEOUT_MAX.micros).contains(&timeout.micros)
            {
                let message = format!("query \"{name}\" cannot have this timeout");
                let hint = "Write one from 1ms to 10m, such as 30s.";
                self.push(
                    &read.file,
                    Diagnostic::error(at(&read.node, "timeout"), message).hint(hint),
                );
            }
            let told = self.sql_reads(&id, read, sql);
            self.used(read, sql, &told);
        }
    }

    fn parameter(
        &mut self,
        read: &Read<PublishedQuery>,
        index: usize,
        parameter: &QueryParameter,
        node: &Node,
    ) {
        let (file, name) = (&read.file, &parameter.name);
        let span = at(node, "name");
        if let Some(problem) = names::problem(name) {
            let message = format!("parameter \"{name}\" is not a good name: it {problem}");
            self.push(file, Diagnostic::error(span, message).hint(names::HINT));
        }
        if RESERVED.contains(&name.as_str()) {
            let message = format!("no parameter can be called \"{name}\"");
            let hint = "Its address says by this name how much of the answer is given, and in which form: choose another one.";
            self.push(file, Diagnostic::error(span, message).hint(hint));
        }
        if read.value.parameters.iter().take(index).any(|other| other.name == *name) {
            let message = format!("parameter \"{name}\" is declared twice");
            self.push(file, Diagnostic::error(span, message).hint("Remove one of them."));
        }
        let kind = &parameter.column_type;
        let hint = type_problem(kind).or_else(|| {
            (kind == "binary").then(|| "Bytes have no form in an address: use text.".to_owned())
        });
        if let Some(hint) = hint {
            let message = format!("parameter \"{name}\" cannot have the type \"{kind}\"");
            self.push(file, Diagnostic::error(at(node, "type"), message).hint(hint));
            return;
        }
        if parameter.default.is_none() {
            return;
        }
        let span = at(node, "default");
        let Some(text) = parameter.default_text() else {
            let message = format!("the default of parameter \"{name}\" is not one value");
            let hint = "Write a text, a number, true or false.";
            self.push(file, Diagnostic::error(span, message).hint(hint));
            return;
        };
        let Some(forms) = self.connectors.queries else { return };
        if let Err(error) = (forms.value)(parameter, &text) {
            let hint = error.hint_text().map(str::to_owned);
            let message = format!("the default of parameter \"{name}\": {}", error.message());
            self.push(file, Diagnostic { hint, ..Diagnostic::error(span, message) });
        }
    }

    /// Each place for a value has a parameter, and each parameter a place.
    fn used(&mut self, read: &Read<PublishedQuery>, node: &Node, told: &BTreeSet<String>) {
        let (query, sql) = (&read.value, read.value.sql.as_str());
        let text = SourceFile::new(&read.file.path, sql);
        let written = places(sql);
        let mut seen = BTreeSet::new();
        let all = written.iter().map(|(name, at)| {
            (name, inside(node, sql, text.span(*at, name.len().saturating_add(1))))
        });
        // What a macro writes has no place here.
        for (name, span) in all.chain(told.iter().map(|name| (name, node.span))) {
            if !seen.insert(name) || query.parameter(name).is_some() {
                continue;
            }
            let message = format!("the SQL takes ${name}, which is no parameter");
            let known = query.parameters.iter().map(|one| one.name.as_str());
            let hint = match suggest::nearest(name, known) {
                Some(near) => format!("Did you mean ${near}?"),
                None => format!("Declare it: `parameters: [{{name: {name}, type: text}}]`."),
            };
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
        for (index, parameter) in query.parameters.iter().enumerate() {
            let name = &parameter.name;
            if seen.contains(name) {
                continue;
            }
            let node = read.node.find(&[Step::Key("parameters"), Step::Item(index)]);
            let message = format!("parameter \"{name}\" is not used");
            let hint = format!("Write ${name} in the SQL where its value goes, or remove it.");
            self.push(&read.file, Diagnostic::error(at(node, "name"), message).hint(hint));
        }
    }

    /// What the engine's parser finds in the SQL: links tables that are read by their names, and gives the places for values.
    fn sql_reads(
        &mut self,
        id: &NodeId,
        read: &Read<PublishedQuery>,
        node: &Node,
    ) -> BTreeSet<String> {
        let loaded = self.loaded;
        let Some(forms) = self.connectors.queries else { return BTreeSet::new() };
        let sql = &read.value.sql;
        if sql.trim().is_empty() {
            return BTreeSet::new();
        }
        let relation = |name: &str| -> Result<String> {
            Ok(loaded
                .models
                .get(name)
                .map_or_else(|| format!("{LEARNER_SCHEMA}.{name}"), |model| model.value.relation()))
        };
        let context = RenderContext {
            vars: &loaded.vars,
            incremental: false,
            this: String::new(),
            resolve_ref: &relation,
            resolve_source: &|source, table| Ok(format!("{source}.{table}")),
        };
        // What is wrong with a template was told before.
        let Ok(rendered) = template::render(sql, &context, &loaded.macros) else {
            return BTreeSet::new();
        };
        match (forms.reads)(&rendered) {
            Ok(reads) => {
                for table in &reads.tables {
                    if let Some(table) = self.table_called(table) {
                        self.checked.graph.link(&table, id);
                    }
                }
                reads.parameters
            }
            Err(error) => {
                let (message, place) = told(&error);
                let span = match place {
                    Some((line, column)) if line <= sql.lines().count() => {
                        inside(node, sql, Span::new(line, column, 1))
                    }
                    _ => node.span,
                };
                let hint = error.hint_text().map(str::to_owned);
                self.push(&read.file, Diagnostic { hint, ..Diagnostic::error(span, message) });
                BTreeSet::new()
            }
        }
    }

    /// The node of the table that SQL calls so, if a file declares it and no other one is called so.
    fn table_called(&self, called: &str) -> Option<NodeId> {
        let loaded = self.loaded;
        let mut found = Vec::new();
        for (name, model) in &loaded.models {
            if model.value.relation() == called || model.value.table() == called {
                found.push(NodeId::new(NodeKind::Model, name));
            }
        }
        for (relation, source) in &self.checked.sources {
            if relation == called || source.table == called {
                found.push(NodeId::new(NodeKind::Source, relation));
            }
        }
        let learner = called.strip_prefix(LEARNER_SCHEMA).and_then(|name| name.strip_prefix('.'));
        if let Some(learner) = learner.filter(|name| self.declared(NodeKind::Learner, name)) {
            found.push(NodeId::new(NodeKind::Learner, learner));
        }
        match found.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        }
    }
}

/// What an error says, and the line and column of the SQL that it names.
fn told(error: &Error) -> (String, Option<(usize, usize)>) {
    let Some(cause) = error.source().map(ToString::to_string) else {
        return (error.message().to_owned(), None);
    };
    let number = |word: &str| {
        let rest = cause.split(word).nth(1)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok().filter(|number| *number > 0)
    };
    let place = number("Line: ").zip(number("Column: "));
    // The place is that of the diagnostic, in the file.
    let said = match place {
        Some(_) => cause.split(" at Line: ").next().unwrap_or(&cause),
        None => &cause,
    };
    (format!("{}: {said}", error.message()), place)
}
