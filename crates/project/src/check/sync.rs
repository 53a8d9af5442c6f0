//! Syncs: what they read, where it lands and which pairs of modes make sense.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::suggest;
use schemars::Schema;

use super::Check;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeInfo, NodeKind};
use crate::load::Read;
use crate::names;
use crate::resource::sync::{Read as ReadMode, Stream, Sync, Write};
use crate::source::{Landing, Source};
use crate::yaml::{Node, Step};

/// The types a column may be declared with, besides `decimal(p,s)`.
const COLUMN_TYPES: &[&str] =
    &["text", "int64", "int32", "float64", "bool", "date", "timestamp", "json", "binary"];

/// The most digits of a decimal column.
const DECIMAL_DIGITS_MAX: u8 = 38;

impl Check<'_> {
    pub(super) fn syncs(&mut self) {
        let loaded = self.loaded;
        let mut landed: BTreeMap<String, String> = BTreeMap::new();
        for (name, read) in &loaded.syncs {
            let schema = self.sync_connection(read);
            let mut streams = BTreeSet::new();
            for (index, stream) in read.value.streams.iter().enumerate() {
                let node = read.node.find(&[Step::Key("streams"), Step::Item(index)]);
                if !streams.insert(stream.stream.as_str()) {
                    let message = format!("stream \"{}\" is declared twice", stream.stream);
                    let hint = "Rename one of them; positions are kept by this name.";
                    let span = at(node, "stream");
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                }
                let subject = format!("the options of stream \"{}\"", stream.stream);
                self.options(&read.file, node, schema.as_ref(), &subject);
                self.stream_modes(&read.file, node, stream);
                self.stream_columns(&read.file, node, stream);
                self.land(name, &read.file, node, stream, &mut landed);
            }
        }
    }

    /// Links the connection; returns what its connector allows in a stream's options.
    fn sync_connection(&mut self, read: &Read<Sync>) -> Option<Schema> {
        let name = &read.value.connection;
        let id = NodeId::new(NodeKind::Connection, name);
        if !self.declared(NodeKind::Connection, name) {
            let message =
                format!("sync \"{}\" reads unknown connection \"{name}\"", read.value.sync);
            let hint = self.near(&[NodeKind::Connection], name);
            let span = at(&read.node, "connection");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return None;
        }
        self.checked.graph.link(&id, &NodeId::new(NodeKind::Sync, &read.value.sync));
        let connector = &self.loaded.connections.get(name)?.value.connector;
        Some(self.connectors.connections.get(connector)?.stream.clone())
    }

    fn stream_modes(&mut self, file: &SourceFile, node: &Node, stream: &Stream) {
        let name = &stream.stream;
        let mut refuse = |key: &str, problem: &str, hint: &str| {
            let message = format!("stream \"{name}\" {problem}");
            self.push(file, Diagnostic::error(at(node, key), message).hint(hint));
        };
        match (stream.write, stream.read) {
            (Write::Append, ReadMode::Full) => refuse(
                "write",
                "appends what a full read returns, so every row lands again each time",
                "Use read: incremental with write: append, or read: full with write: replace.",
            ),
            (Write::Replace, ReadMode::Incremental) => refuse(
                "write",
                "replaces the table by the new rows only, so older ones are lost",
                "Use write: append or write: merge with read: incremental, or read: full.",
            ),
            _ => {}
        }
        if stream.write == Write::Merge && stream.key.is_empty() {
            refuse(
                "write",
                "merges without a key",
                "Add key: [column], the columns that identify a row.",
            );
        }
        if stream.write == Write::Append && stream.lag.is_some() {
            refuse(
                "lag",
                "appends rows that its lag reads again, so they land twice",
                "Use write: merge with a key, or leave out lag.",
            );
        }
        if stream.read == ReadMode::Full && (stream.cursor.is_some() || stream.lag.is_some()) {
            let key = if stream.cursor.is_some() { "cursor" } else { "lag" };
            let message = format!("stream \"{name}\" reads everything, so its {key} has no effect");
            let hint = "Add read: incremental, or remove it.";
            self.push(file, Diagnostic::warning(at(node, key), message).hint(hint));
        }
    }

    fn stream_columns(&mut self, file: &SourceFile, node: &Node, stream: &Stream) {
        let mut seen = BTreeSet::new();
        for (index, column) in stream.columns.iter().enumerate() {
            let node = node.find(&[Step::Key("columns"), Step::Item(index)]);
            if !seen.insert(column.name.as_str()) {
                let message = format!("column \"{}\" is declared twice", column.name);
                let hint = "Remove one of them.";
                self.push(file, Diagnostic::error(at(node, "name"), message).hint(hint));
            }
            if !is_column_type(&column.column_type) {
                let message = format!(
                    "column \"{}\" cannot have the type \"{}\"",
                    column.name, column.column_type
                );
                let known = COLUMN_TYPES.iter().copied().chain(["decimal(p,s)"]);
                let hint = suggest::hint(&column.column_type, known);
                self.push(file, Diagnostic::error(at(node, "type"), message).hint(hint));
            }
        }
        let mut keys = BTreeSet::new();
        for (index, key) in stream.key.iter().enumerate() {
            let node = node.find(&[Step::Key("key"), Step::Item(index)]);
            if !keys.insert(key) {
                let message = format!("key column \"{key}\" is given twice");
                self.push(file, Diagnostic::error(node.span, message).hint("Remove one of them."));
            }
        }
    }

    /// Notes the table a stream lands in.
    fn land(
        &mut self,
        sync: &str,
        file: &SourceFile,
        node: &Node,
        stream: &Stream,
        landed: &mut BTreeMap<String, String>,
    ) {
        let key = if stream.to.is_some() { "to" } else { "stream" };
        let span = at(node, key);
        let relation = stream.table();
        let Some((schema, table)) = relation.split_once('.') else {
            let message = format!("\"{relation}\" is not the name of a table");
            let hint = "Write schema.table, as in raw.orders.";
            self.push(file, Diagnostic::error(span, message).hint(hint));
            return;
        };
        for part in [schema, table] {
            if let Some(problem) = names::problem(part) {
                let message =
                    format!("\"{part}\" is not a good name for a schema or table: it {problem}");
                let hint = format!("{} Or give another name with `to: raw.name`.", names::HINT);
                self.push(file, Diagnostic::error(span, message).hint(hint));
                return;
            }
        }
        if names::RESERVED_SCHEMAS.contains(&schema) && schema != "raw" {
            let message = format!("stream \"{}\" lands in schema \"{schema}\"", stream.stream);
            let hint = "Land in raw; learn and system are written by the platform.";
            self.push(file, Diagnostic::error(span, message).hint(hint));
            return;
        }
        let place = format!("{}:{}", file.path, span.line);
        if let Some(other) = landed.get(&relation) {
            let message = format!("two streams land in {relation}");
            let hint = format!("Give one of them another `to`; the other is in {other}.");
            self.push(file, Diagnostic::error(span, message).hint(hint));
            return;
        }
        let id = NodeId::new(NodeKind::Source, &relation);
        self.checked
            .graph
            .add(id.clone(), NodeInfo { file: Some(file.path.clone()), tags: Vec::new() });
        self.checked.graph.link(&NodeId::new(NodeKind::Sync, sync), &id);
        self.checked.source_schemas.insert(schema.to_owned(), schema.to_owned());
        let mut source = Source::new(schema, table);
        source.landed_by = Some(Landing { sync: sync.to_owned(), stream: stream.stream.clone() });
        self.checked.sources.insert(relation.clone(), source);
        landed.insert(relation, place);
    }
}

/// Where the value under `key` stands, or the node itself.
pub(super) fn at(node: &Node, key: &str) -> Span {
    node.get(key).map_or_else(|| first(node), |node| node.span)
}

/// Where a mapping starts.
fn first(node: &Node) -> Span {
    match &node.value {
        crate::yaml::Value::Map(entries) => entries.first().map_or(node.span, |(key, _)| key.span),
        _ => node.span,
    }
}

fn is_column_type(text: &str) -> bool {
    if COLUMN_TYPES.contains(&text) {
        return true;
    }
    let inner = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
    let Some((precision, scale)) = inner.and_then(|inner| inner.split_once(',')) else {
        return false;
    };
    match (precision.trim().parse::<u8>(), scale.trim().parse::<u8>()) {
        (Ok(precision), Ok(scale)) => {
            (1..=DECIMAL_DIGITS_MAX).contains(&precision) && scale <= precision
        }
        _ => false,
    }
}
