//! SQL inside resources, and what `ref` and `source` mean.

use std::collections::BTreeSet;

use flywheel_base::suggest;

use super::Check;
use super::semantic::Asks;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeInfo, NodeKind};
use crate::metric::table::{self, asked_learners};
use crate::model::Vars;
use crate::source::Source;
use crate::template::{self, LEARNER_SCHEMA, Reference};
use crate::yaml::{Node, Style};

/// The schema syncs land in unless they say otherwise.
const LANDING_SCHEMA: &str = "raw";

/// The schema of the platform's own tables, which are not declared anywhere.
const SYSTEM_SCHEMA: &str = "system";

impl Check<'_> {
    /// Checks an SQL text of a resource and links what it reads to `reader`.
    pub(super) fn query(&mut self, reader: &NodeId, sql: &str, file: &SourceFile, node: &Node) {
        let loaded = self.loaded;
        self.query_with(reader, sql, file, node, &loaded.vars);
    }

    /// As [`Self::query`], with other variables than the project's.
    pub(super) fn query_with(
        &mut self,
        reader: &NodeId,
        sql: &str,
        file: &SourceFile,
        node: &Node,
        vars: &Vars,
    ) {
        if sql.trim().is_empty() {
            let hint = "Write a SELECT, for instance after `|`.";
            self.push(file, Diagnostic::error(node.span, "the SQL is empty").hint(hint));
            return;
        }
        let scan = match template::scan(sql, vars, &self.loaded.macros) {
            Ok(scan) => scan,
            Err(fault) => {
                let diagnostic = fault.into_diagnostic(|span| inside(node, sql, span));
                self.push(file, diagnostic);
                return;
            }
        };
        let text = SourceFile::new(&file.path, sql);
        if let Some((name, _)) = scan.config.iter().next() {
            let span =
                sql.find("config").map_or(node.span, |at| inside(node, sql, text.span(at, 6)));
            let message = format!("config({name}=…) has no meaning here");
            let hint = "Only models and tests are configured in SQL.";
            self.push(file, Diagnostic::error(span, message).hint(hint));
        }
        if !scan.metrics.is_empty() {
            let place = scan.metrics.views.iter().find_map(|view| table::place(sql, view));
            let span = place.map(|(at, length)| inside(node, sql, text.span(at, length)));
            self.asks.push(Asks {
                reader: reader.clone(),
                reads: scan.metrics,
                file: file.clone(),
                span: span.unwrap_or(node.span),
            });
        }
        for reference in &scan.references {
            let span = locate(&text, reference).map_or(node.span, |span| inside(node, sql, span));
            self.refer(reader, reference, file, span);
        }
    }

    /// Links what `reference` means to `reader`; reports it if it means nothing.
    pub(super) fn refer(
        &mut self,
        reader: &NodeId,
        reference: &Reference,
        file: &SourceFile,
        span: Span,
    ) {
        if let Some(id) = self.resolve(reference, file, span) {
            self.checked.graph.link(&id, reader);
        }
    }

    /// The node a reference means; reports it if it means nothing.
    pub(super) fn resolve(
        &mut self,
        reference: &Reference,
        file: &SourceFile,
        span: Span,
    ) -> Option<NodeId> {
        match reference {
            Reference::Ref(name) => self.resolve_ref(name, file, span),
            Reference::Source(source, table) if source == LEARNER_SCHEMA => {
                self.resolve_learner(table, file, span)
            }
            Reference::Source(source, table) => self.resolve_source(source, table, file, span),
        }
    }

    fn resolve_ref(&mut self, name: &str, file: &SourceFile, span: Span) -> Option<NodeId> {
        if self.declared(NodeKind::Model, name) {
            let model = self.loaded.models.get(name);
            if model.is_some_and(|read| !read.value.config.enabled) {
                let message = format!("ref('{name}') reads a model that is not enabled");
                let hint = "Enable it, or read something else.";
                self.push(file, Diagnostic::error(span, message).hint(hint));
            }
            return Some(NodeId::new(NodeKind::Model, name));
        }
        if self.declared(NodeKind::Learner, name) {
            return Some(NodeId::new(NodeKind::Learner, name));
        }
        let landed = self.checked.sources.values().find(|source| source.table == name);
        let hint = match landed {
            Some(source) => {
                format!("That is a landed table: write source('{}', '{name}').", source.schema)
            }
            None => self.near(&[NodeKind::Model, NodeKind::Learner], name),
        };
        let message = format!("ref('{name}') names no model or learner");
        self.push(file, Diagnostic::error(span, message).hint(hint));
        None
    }

    fn resolve_learner(&mut self, name: &str, file: &SourceFile, span: Span) -> Option<NodeId> {
        if self.declared(NodeKind::Learner, name) {
            return Some(NodeId::new(NodeKind::Learner, name));
        }
        let message = match asked_learners(&file.text).contains(name) {
            true => format!("no learner is called \"{name}\""),
            false => format!("source('{LEARNER_SCHEMA}', '{name}') names no learner"),
        };
        let hint = self.near(&[NodeKind::Learner], name);
        self.push(file, Diagnostic::error(span, message).hint(hint));
        None
    }

    fn resolve_source(
        &mut self,
        source: &str,
        table: &str,
        file: &SourceFile,
        span: Span,
    ) -> Option<NodeId> {
        let schema = self.checked.source_schemas.get(source).cloned();
        let schema = schema.filter(|schema| self.shows_schema(schema));
        let Some(schema) = schema.or_else(|| built_in(source)) else {
            let known = self.checked.source_schemas.keys().map(String::as_str);
            let known: BTreeSet<&str> = known.chain([LANDING_SCHEMA, SYSTEM_SCHEMA]).collect();
            let hint = suggest::hint(source, known.iter().copied());
            let message = format!("source('{source}', '{table}') names an unknown source");
            self.push(file, Diagnostic::error(span, message).hint(hint));
            return None;
        };
        let own = self.checked.identifiers.get(&(source.to_owned(), table.to_owned()));
        let relation = format!("{schema}.{}", own.map_or(table, String::as_str));
        let id = NodeId::new(NodeKind::Source, &relation);
        if schema == SYSTEM_SCHEMA || self.checked.sources.contains_key(&relation) {
            self.checked.graph.touch(&id);
            return Some(id);
        }
        let known = self.checked.sources.values().filter(|known| known.schema == schema);
        let near = suggest::nearest(table, known.map(|known| known.table.as_str()));
        let hint = match near {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None => {
                "Add a stream that lands it, or declare it under `sources:` in a property file."
                    .to_owned()
            }
        };
        let message = format!(
            "source('{source}', '{table}'): no sync lands {relation} and no file declares it"
        );
        self.push(file, Diagnostic::warning(span, message).hint(hint));
        self.checked.graph.add(id.clone(), NodeInfo::default());
        self.checked.sources.insert(relation, Source::new(&schema, table));
        Some(id)
    }

    /// Whether whoever is told of the mistakes sees one of a schema's tables.
    fn shows_schema(&self, schema: &str) -> bool {
        let Some(hides) = self.hides else { return true };
        let within = |source: &Source| source.schema == schema;
        let mut tables = self.checked.sources.iter().filter(|(_, source)| within(source));
        tables.any(|(relation, _)| !hides(&NodeId::new(NodeKind::Source, relation)))
    }
}

fn built_in(source: &str) -> Option<String> {
    [LANDING_SCHEMA, SYSTEM_SCHEMA].contains(&source).then(|| source.to_owned())
}

/// Where a template names the reference, between quotes.
pub(super) fn locate(file: &SourceFile, reference: &Reference) -> Option<Span> {
    let name = match reference {
        Reference::Ref(name) | Reference::Source(_, name) => name,
    };
    let quoted = [format!("'{name}'"), format!("\"{name}\"")];
    let at = quoted.iter().filter_map(|quoted| file.text.find(quoted)).min()?;
    Some(file.span(at + 1, name.len()))
}

/// The place in the YAML file of a place in an SQL text that stands in it.
pub(super) fn inside(node: &Node, sql: &str, span: Span) -> Span {
    if span.line == 0 {
        return node.span;
    }
    match node.style {
        Style::Block => {
            let skipped = sql.chars().take_while(|c| *c == '\n').count();
            let line = node.span.line + span.line - 1;
            let line = line.saturating_sub(skipped).max(1);
            Span::new(line, node.span.column + span.column - 1, span.length)
        }
        Style::Plain | Style::Quoted if !sql.contains('\n') => {
            let quote = usize::from(node.style == Style::Quoted);
            let column = node.span.column + span.column - 1 + quote;
            Span::new(node.span.line, column, span.length)
        }
        _ => node.span,
    }
}
