//! Syncs: what they read, where it lands and which pairs of modes make sense.

use std::collections::{BTreeMap, BTreeSet};

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
