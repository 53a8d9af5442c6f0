//! Syncs: what they read, where it lands and which pairs of modes make sense.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::suggest;
use schemars::{Schema, schema_for};

use super::Check;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeInfo, NodeKind};
use crate::load::Read;
use crate::names;
use crate::resource::sync::{
    Changes, Destinations, FirstWrite, LAKE, LakeStream, NewColumns, Read as ReadMode, Stream,
    Sync, Write,
};
use crate::source::{Landing, Source};
use crate::template::Reference;
use crate::yaml::{Node, Step};

/// The least that streams without a log rest before they are read again.
const READ_EVERY_MIN_US: i64 = 1_000_000;

impl Check<'_> {
    pub(super) fn syncs(&mut self) {
        let loaded = self.loaded;
        let mut landed: BTreeMap<String, String> = BTreeMap::new();
        for (name, read) in &loaded.syncs {
            let schema = self.sync_connection(read);
            let targets = self.sync_destinations(read);
            self.sync_read_every(read);
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
                self.stream_is_followed(read, node, stream);
                if stream.read == ReadMode::Cdc {
                    self.stream_of_changes(read, node, stream);
                } else {
                    self.stream_without_log(&read.file, node, stream);
                }
                self.stream_columns(&read.file, node, stream);
                self.stream_targets(&read.file, node, stream, &targets);
                if read.value.lands() {
                    self.land(name, &read.file, node, stream, &mut landed);
                }
            }
        }
    }

    /// Checks what syncs read of the lake, once it is known what lands there.
    pub(super) fn lake_readers(&mut self) {
        let loaded = self.loaded;
        for (name, read) in loaded.syncs.iter().filter(|(_, read)| read.value.reads_lake()) {
            for (index, stream) in read.value.streams.iter().enumerate() {
                let node = read.node.find(&[Step::Key("streams"), Step::Item(index)]);
                self.lake_stream(name, &read.file, node, stream);
            }
        }
    }

    /// Links the connection; returns what its connector allows in a stream's options.
    fn sync_connection(&mut self, read: &Read<Sync>) -> Option<Schema> {
        let name = &read.value.connection;
        let span = at(&read.node, "connection");
        if read.value.reads_lake() {
            return Some(schema_for!(LakeStream));
        }
        let id = NodeId::new(NodeKind::Connection, name);
        if !self.declared(NodeKind::Connection, name) {
            let message =
                format!("sync \"{}\" reads unknown connection \"{name}\"", read.value.sync);
            let hint = self.near(&[NodeKind::Connection], name);
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return None;
        }
        self.checked.graph.link(&id, &NodeId::new(NodeKind::Sync, &read.value.sync));
        let connector = &self.loaded.connections.get(name)?.value.connector;
        let schemas = self.connectors.connections.get(connector)?;
        if schemas.stream.is_none() {
            let message = format!("connection \"{name}\" of type \"{connector}\" cannot be read");
            let hint = "It can only be a destination.";
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
        schemas.stream.clone()
    }

    /// Checks and links the destinations; returns those besides the lake and what they allow.
    fn sync_destinations(&mut self, read: &Read<Sync>) -> Vec<Target> {
        let sync = &read.value;
        let node = read.node.get("destination").unwrap_or(&read.node).clone();
        let mut seen = BTreeSet::new();
        let mut targets = Vec::new();
        if sync.destination.names().is_empty() {
            let message = format!("sync \"{}\" has no destination", sync.sync);
            let hint = "Name a connection, or leave `destination` out to land in the lake.";
            self.push(&read.file, Diagnostic::error(node.span, message).hint(hint));
        }
        for (index, name) in sync.destination.names().iter().enumerate() {
            let span = match &sync.destination {
                Destinations::One(_) => node.span,
                Destinations::Many(_) => node.find(&[Step::Item(index)]).span,
            };
            if !seen.insert(name) {
                let message = format!("destination \"{name}\" is named twice");
                let hint = "Remove one of them.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                continue;
            }
            if name == LAKE {
                if sync.reads_lake() {
                    let message = format!("sync \"{}\" reads the lake and writes it", sync.sync);
                    let hint = "A model does that; or name another destination.";
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                }
                continue;
            }
            targets.extend(self.sync_destination(read, name, span));
        }
        targets
    }

    fn sync_destination(&mut self, read: &Read<Sync>, name: &str, span: Span) -> Option<Target> {
        if !self.declared(NodeKind::Connection, name) {
            let message =
                format!("sync \"{}\" writes unknown connection \"{name}\"", read.value.sync);
            let hint = self.near(&[NodeKind::Connection], name);
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return None;
        }
        let connector = &self.loaded.connections.get(name)?.value.connector;
        let schemas = self.connectors.connections.get(connector)?;
        let Some((schema, modes)) = &schemas.target else {
            let message =
                format!("connection \"{name}\" of type \"{connector}\" cannot be written");
            let known = self.connectors.connections.iter();
            let known = known.filter(|(_, schemas)| schemas.target.is_some());
            let names: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
            let hint = format!("Destinations are of type {}.", names.join(", "));
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return None;
        };
        Some(Target { name: name.to_owned(), schema: schema.clone(), modes: modes.clone() })
    }

    /// Checks a stream's target and write mode against every destination besides the lake.
    fn stream_targets(
        &mut self,
        file: &SourceFile,
        node: &Node,
        stream: &Stream,
        targets: &[Target],
    ) {
        let word = stream.write.word();
        if stream.new_columns == NewColumns::Quarantine
            && let Some(target) = targets.first()
        {
            let message = format!(
                "stream \"{}\" sets rows with new columns aside, which destination \"{}\" does not do",
                stream.stream, target.name
            );
            let hint = "Only the lake does: use new_columns: add, ignore or fail, or a sync of its own for the lake.";
            self.push(file, Diagnostic::error(at(node, "new_columns"), message).hint(hint));
        }
        for target in targets {
            let subject =
                format!("the target of stream \"{}\" in \"{}\"", stream.stream, target.name);
            let of_one = node.get("targets").filter(|targets| targets.get(&target.name).is_some());
            match of_one {
                Some(targets) => {
                    self.settings(file, targets, &target.name, Some(&target.schema), &subject);
                }
                None => self.settings(file, node, "target", Some(&target.schema), &subject),
            }
            if !target.modes.iter().any(|mode| mode == word) {
                let message = format!(
                    "stream \"{}\" cannot {word} in destination \"{}\"",
                    stream.stream, target.name
                );
                let hint = format!("It can: {}.", target.modes.join(", "));
                self.push(file, Diagnostic::error(at(node, "write"), message).hint(hint));
            } else if stream.replaces() && !target.modes.iter().any(|mode| mode == "replace") {
                let message = format!(
                    "stream \"{}\" reads everything to mirror it, and destination \"{}\" cannot tell \
                     which rows are gone",
                    stream.stream, target.name
                );
                let hint = "Name the column that marks deleted rows as deleted: COLUMN, or use \
                            write: merge, which leaves them.";
                self.push(file, Diagnostic::error(at(node, "write"), message).hint(hint));
            }
        }
        for name in stream.targets.keys() {
            if !targets.iter().any(|target| target.name == *name) {
                let message = format!("stream \"{}\" has a target for \"{name}\"", stream.stream);
                let known = targets.iter().map(|target| target.name.as_str());
                let hint = format!(
                    "The sync has no such destination. {}",
                    suggest::hint(name, known.collect::<Vec<_>>())
                );
                self.push(file, Diagnostic::error(at(node, "targets"), message).hint(hint));
            }
        }
        if targets.is_empty() && !stream.target.is_empty() {
            let message = format!("stream \"{}\" has a target and no destination", stream.stream);
            let hint = "Name the destination of the sync, or use `to` for a table of the lake.";
            self.push(file, Diagnostic::error(at(node, "target"), message).hint(hint));
        }
    }

    /// Checks what is read of the lake and links it.
    fn lake_stream(&mut self, sync: &str, file: &SourceFile, node: &Node, stream: &Stream) {
        let span = at(node, "options");
        let name = &stream.stream;
        let text = |key: &str| stream.options.get(key).and_then(serde_json::Value::as_str);
        let mut refuse = |problem: &str, hint: &str| {
            let message = format!("stream \"{name}\" {problem}");
            self.push(file, Diagnostic::error(span, message).hint(hint));
        };
        if text("table").is_some() == text("query").is_some() {
            refuse(
                "reads the lake and needs either a table or a query",
                "Write options: {table: mart.customers}, or options: {query: select …}.",
            );
            return;
        }
        if stream.read == ReadMode::Incremental && text("query").is_some() {
            refuse(
                "reads what changed in a query",
                "Only a table has versions: make the query a model, or use read: full.",
            );
        }
        if stream.read == ReadMode::Incremental && stream.key.is_empty() {
            refuse(
                "reads what changed in a table and has no key",
                "Add key: [column], the columns that identify a row.",
            );
        }
        let reader = NodeId::new(NodeKind::Sync, sync);
        if let Some(query) = text("query") {
            let place = node.find(&[Step::Key("options"), Step::Key("query")]).clone();
            self.query(&reader, query, file, &place);
        }
        if let Some(table) = text("table") {
            self.lake_table(&reader, table, file, at(node, "options"));
        }
    }

    pub(super) fn lake_table(
        &mut self,
        reader: &NodeId,
        table: &str,
        file: &SourceFile,
        span: Span,
    ) {
        let Some((schema, name)) = table.split_once('.') else {
            let message = format!("\"{table}\" is not the name of a table");
            let hint = "Write schema.table, as in mart.customers.";
            self.push(file, Diagnostic::error(span, message).hint(hint));
            return;
        };
        let model = self.loaded.models.values().find(|read| read.value.relation() == table);
        match model {
            Some(model) => {
                let id = NodeId::new(NodeKind::Model, &model.value.name);
                self.checked.graph.link(&id, reader);
            }
            // Tables of the platform are not declared anywhere.
            None if schema == "system" => {}
            None => {
                let reference = Reference::Source(schema.to_owned(), name.to_owned());
                self.refer(reader, &reference, file, span);
            }
        }
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
        if stream.key.is_empty() {
            let problem = match stream.write {
                Write::Merge | Write::Mirror => "merges without a key",
                Write::History => "keeps a history without a key",
                Write::Append | Write::Replace => "",
            };
            if !problem.is_empty() {
                let hint = "Add key: [column], the columns that identify a row.";
                refuse("write", problem, hint);
            }
        }
        let ends_rows = matches!(stream.write, Write::Mirror | Write::History);
        if stream.deleted.is_some() && !ends_rows {
            refuse(
                "deleted",
                "marks deleted rows, which only a mirror removes and only a history ends",
                "Use write: mirror or write: history, or remove `deleted`.",
            );
        }
        // Sources of messages have this setting; without `deleted` the marks would do nothing.
        let marks = stream.options.get("tombstones").is_some_and(|how| how == "mark");
        if marks && ends_rows && stream.deleted.is_none() {
            refuse(
                "write",
                "marks messages without value, and does not say that the mark ends rows",
                "Add deleted: _deleted, or leave out tombstones: mark.",
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

    /// Checks how often streams without a log are read again.
    fn sync_read_every(&mut self, read: &Read<Sync>) {
        let Some(every) = read.value.read_every else { return };
        let (name, span) = (&read.value.sync, at(&read.node, "read_every"));
        let message = if every.micros < READ_EVERY_MIN_US {
            format!("sync \"{name}\" is read again more often than once a second")
        } else if read.value.streams.iter().all(|stream| stream.read == ReadMode::Cdc) {
            format!(
                "sync \"{name}\" says how often it is read again, and all of its streams follow a log"
            )
        } else {
            return;
        };
        let hint =
            "Write read_every: 1s or more, for streams with read: incremental; logs are kept open.";
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// Refuses to follow what has no place to go on from.
    fn stream_is_followed(&mut self, read: &Read<Sync>, node: &Node, stream: &Stream) {
        if !read.value.followed || stream.read != ReadMode::Full {
            return;
        }
        let message = format!(
            "sync \"{}\" is followed, and its stream \"{}\" is read whole each time",
            read.value.sync, stream.stream
        );
        let hint = "Only read: cdc and read: incremental can be followed. Move the stream into a sync \
                    of its own that a schedule runs, or remove `followed`.";
        let span =
            if node.get("read").is_some() { at(node, "read") } else { at(&read.node, "followed") };
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// Checks a stream that follows a log of changes.
    fn stream_of_changes(&mut self, read: &Read<Sync>, node: &Node, stream: &Stream) {
        let connection = self.loaded.connections.get(&read.value.connection);
        let connector = connection.map(|connection| connection.value.connector.as_str());
        let known = connector.and_then(|name| self.connectors.connections.get(name));
        let without_log = read.value.reads_lake() || known.is_some_and(|schemas| !schemas.cdc);
        let name = &stream.stream;
        let mut refuse = |key: &str, problem: &str, hint: &str| {
            let message = format!("stream \"{name}\" {problem}");
            self.push(&read.file, Diagnostic::error(at(node, key), message).hint(hint));
        };
        if without_log {
            let problem = match connector {
                Some(connector) => {
                    format!("reads changes, and type \"{connector}\" has no log of them")
                }
                None => "reads changes of the lake, which has no log of them".to_owned(),
            };
            refuse("read", &problem, "Use read: incremental, or read: full.");
        }
        if !matches!(stream.write, Write::Mirror | Write::History) {
            refuse(
                "write",
                "reads changes, removals among them, and does not mirror them",
                "Write write: mirror, and key: [column]; or write: history to keep what was.",
            );
        }
        if stream.changes == Changes::Table {
            if stream.write == Write::History {
                refuse(
                    "changes",
                    "keeps every version of a row, which is written with its commit",
                    "Remove `changes`, or write write: mirror.",
                );
            } else if !read.value.lands() {
                refuse(
                    "changes",
                    "puts changes into a table of the lake, and none of its destinations is the lake",
                    "Remove `changes`: it says nothing of other destinations.",
                );
            }
        }
        for (key, given) in [
            ("cursor", stream.cursor.is_some()),
            ("lag", stream.lag.is_some()),
            ("deleted", stream.deleted.is_some()),
        ] {
            if given {
                let problem = format!("reads changes, where {key} has no meaning");
                refuse(key, &problem, "Remove it: the log knows order and removals.");
            }
        }
    }

    /// Checks what only streams of changes have.
    fn stream_without_log(&mut self, file: &SourceFile, node: &Node, stream: &Stream) {
        if stream.first_write != FirstWrite::default() {
            let message = format!(
                "stream \"{}\" says how its first read is written, and reads no log",
                stream.stream
            );
            let hint = "Remove first_write, or write read: cdc.";
            self.push(file, Diagnostic::error(at(node, "first_write"), message).hint(hint));
        }
        if stream.changes != Changes::default() {
            let message =
                format!("stream \"{}\" puts changes into a table, and reads no log", stream.stream);
            let hint = "Remove changes, or write read: cdc.";
            self.push(file, Diagnostic::error(at(node, "changes"), message).hint(hint));
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
            .add(id.clone(), NodeInfo { file: Some(file.path.clone()), ..NodeInfo::default() });
        self.checked.graph.link(&NodeId::new(NodeKind::Sync, sync), &id);
        self.checked.source_schemas.insert(schema.to_owned(), schema.to_owned());
        let mut source = Source::new(schema, table);
        source.landed_by = Some(Landing { sync: sync.to_owned(), stream: stream.stream.clone() });
        self.checked.sources.insert(relation.clone(), source);
        landed.insert(relation, place);
    }
}

/// A destination besides the lake, and what it allows.
struct Target {
    name: String,
    schema: Schema,
    modes: Vec<String>,
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
