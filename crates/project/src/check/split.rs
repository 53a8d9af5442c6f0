//! Splits: the system that is taken apart, its parts, and whether every table's rows have a place.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::suggest;

use super::Check;
use super::column::type_problem;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::project::ConnectorSchemas;
use crate::resource::split::{OnCrossing, Place, Split, SplitReference, SplitTable};
use crate::yaml::{Node, Step};

/// How many parts there are.
const PARTS: usize = 2;

impl Check<'_> {
    pub(super) fn splits(&mut self) {
        let loaded = self.loaded;
        for read in loaded.splits.values() {
            let source = self.split_connection(read, &read.node, &read.value.connection, false);
            let targets = self.split_parts(read);
            self.split_tables(read, source.as_ref(), &targets);
            self.split_circles(read);
        }
    }

    fn split_says(&mut self, read: &Read<Split>, span: Span, message: String, hint: &str) {
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// Checks a connection that the split reads or writes; returns what its connector allows.
    fn split_connection(
        &mut self,
        read: &Read<Split>,
        node: &Node,
        name: &str,
        written: bool,
    ) -> Option<ConnectorSchemas> {
        let span = at(node, "connection");
        let split = &read.value.split;
        if !self.declared(NodeKind::Connection, name) {
            let message = format!("split \"{split}\" names unknown connection \"{name}\"");
            let hint = self.near(&[NodeKind::Connection], name);
            self.split_says(read, span, message, &hint);
            return None;
        }
        let connection = NodeId::new(NodeKind::Connection, name);
        let id = NodeId::new(NodeKind::Split, split);
        if !written {
            self.checked.graph.link(&connection, &id);
        }
        let connector = &self.loaded.connections.get(name)?.value.connector;
        let schemas = self.connectors.connections.get(connector)?.clone();
        if schemas.stream.is_none() {
            let message = format!("connection \"{name}\" of type \"{connector}\" cannot be read");
            let hint = "The parts are read, too: what stands in them is proved row by row.";
            self.split_says(read, span, message, hint);
        }
        let word = read.value.write.word();
        match &schemas.target {
            _ if !written => {}
            None => {
                let message =
                    format!("connection \"{name}\" of type \"{connector}\" cannot be written");
                self.split_says(
                    read,
                    span,
                    message,
                    "See `flywheel connectors` for those that can.",
                );
            }
            Some((_, modes)) if !modes.iter().any(|mode| mode == word) => {
                let message =
                    format!("connection \"{name}\" of type \"{connector}\" cannot {word}");
                let hint = format!(
                    "It can: {}. A split needs `write: replace` or `write: merge`.",
                    modes.join(", ")
                );
                self.split_says(read, span, message, &hint);
            }
            Some(_) => {}
        }
        Some(schemas)
    }

    /// Checks the parts; returns what the connector of each allows, by the parts' names.
    fn split_parts(&mut self, read: &Read<Split>) -> BTreeMap<String, ConnectorSchemas> {
        let split = &read.value;
        let mut allowed = BTreeMap::new();
        if split.parts.len() != PARTS {
            let message = format!("split \"{}\" has {} parts", split.split, split.parts.len());
            let hint = "A system is taken apart into two; take a part apart again for a third one.";
            self.split_says(read, at(&read.node, "parts"), message, hint);
        }
        let mut names = BTreeSet::new();
        for (index, part) in split.parts.iter().enumerate() {
            let node = read.node.find(&[Step::Key("parts"), Step::Item(index)]);
            if !names.insert(part.part.as_str()) {
                let message = format!("two parts are named \"{}\"", part.part);
                self.split_says(read, at(node, "part"), message, "Rename one of them.");
            }
            let before = split.parts.iter().take(index);
            let systems = before.map(|part| (part.connection.as_str(), "the other part"));
            let systems =
                systems.chain([(split.connection.as_str(), "the system that is taken apart")]);
            for (system, whose) in systems {
                if self.same_system(system, &part.connection) {
                    let message = format!(
                        "part \"{}\" is written into connection \"{}\", which is that of {whose}",
                        part.part, part.connection
                    );
                    let hint =
                        "Give each part a system of its own: another database, schema or folder.";
                    self.split_says(read, at(node, "connection"), message, hint);
                    break;
                }
            }
            if let Some(schemas) = self.split_connection(read, node, &part.connection, true) {
                allowed.insert(part.part.clone(), schemas);
            }
        }
        allowed
    }

    /// Whether two connections are the same system, as far as their files tell.
    fn same_system(&self, one: &str, other: &str) -> bool {
        let of = |name: &str| self.loaded.connections.get(name).map(|read| &read.value);
        let alike = |(one, other): (
            &crate::resource::connection::Connection,
            &crate::resource::connection::Connection,
        )| {
            one.connector == other.connector
                && !one.options.is_empty()
                && one.options == other.options
        };
        one == other || of(one).zip(of(other)).is_some_and(alike)
    }

    fn split_tables(
        &mut self,
        read: &Read<Split>,
        source: Option<&ConnectorSchemas>,
        targets: &BTreeMap<String, ConnectorSchemas>,
    ) {
        let split = &read.value;
        if split.tables.is_empty() {
            let message = format!("split \"{}\" has no tables", split.split);
            let hint = "List the tables with their keys and where their rows go: tables: [{table: accounts, key: id, place: both}].";
            self.split_says(read, at(&read.node, "tables"), message, hint);
        }
        let mut names = BTreeSet::new();
        for (index, table) in split.tables.iter().enumerate() {
            let node = read.node.find(&[Step::Key("tables"), Step::Item(index)]);
            let name = &table.table;
            if !names.insert(name.as_str()) {
                let message = format!("table \"{name}\" is listed twice");
                self.split_says(read, at(node, "table"), message, "Remove one of them.");
            }
            self.split_settings(read, node, table, source, targets);
            self.split_key(read, node, table);
            for (column, column_type) in &table.types {
                if let Some(hint) = type_problem(column_type) {
                    let message =
                        format!("column \"{column}\" cannot have the type \"{column_type}\"");
                    let span = node.get("types").map_or(node.span, |types| at(types, column));
                    self.split_says(read, span, message, &hint);
                }
            }
            self.split_references(read, node, table);
            self.split_place(read, node, table);
        }
    }

    fn split_settings(
        &mut self,
        read: &Read<Split>,
        node: &Node,
        table: &SplitTable,
        source: Option<&ConnectorSchemas>,
        targets: &BTreeMap<String, ConnectorSchemas>,
    ) {
        let name = &table.table;
        let span = at(node, "table");
        // What is absent is `{table: <name>}`, which not every connector knows.
        let named =
            |schema: &schemars::Schema| schema.as_value().pointer("/properties/table").is_some();
        let missing = |key: &str| {
            let message = format!("table \"{name}\" has no {key}");
            let hint =
                format!("The connector names no tables: add {key} with its path, object or sheet.");
            (message, hint)
        };
        if let Some(schema) = source.and_then(|schemas| schemas.stream.as_ref()) {
            let subject = format!("the options of table \"{name}\"");
            if table.options.is_empty() && !named(schema) {
                let (message, hint) = missing("options");
                self.split_says(read, span, message, &hint);
            } else if !table.options.is_empty() {
                self.settings(&read.file, node, "options", Some(schema), &subject);
            }
        }
        for (part, schemas) in targets {
            let Some((schema, _)) = &schemas.target else { continue };
            let subject = format!("the target of table \"{name}\" in part \"{part}\"");
            if let Some(of_one) = node.get("targets").filter(|targets| targets.get(part).is_some())
            {
                self.settings(&read.file, of_one, part, Some(schema), &subject);
            } else if !table.target.is_empty() {
                self.settings(&read.file, node, "target", Some(schema), &subject);
            } else if !named(schema) {
                let (message, hint) = missing("target");
                self.split_says(read, span, message, &hint);
            }
        }
        let known: Vec<&str> = read.value.parts.iter().map(|part| part.part.as_str()).collect();
        for part in table.targets.keys().filter(|part| !known.contains(&part.as_str())) {
            let span = node.get("targets").map_or(node.span, |targets| at(targets, part));
            let message = format!("table \"{name}\" has a target for \"{part}\", which is no part");
            let hint = suggest::hint(part, known.iter().copied());
            self.split_says(read, span, message, &hint);
        }
    }

    fn split_key(&mut self, read: &Read<Split>, node: &Node, table: &SplitTable) {
        let mut seen = BTreeSet::new();
        let twice = table.key.iter().find(|column| !seen.insert(column.as_str()));
        let (message, hint) = match twice {
            Some(column) => (
                format!("key column \"{column}\" of table \"{}\" is given twice", table.table),
                "Remove one of them.",
            ),
            None if table.key.is_empty() => (
                format!("table \"{}\" has no key", table.table),
                "Name the column that identifies a row: key: id.",
            ),
            None => return,
        };
        self.split_says(read, at(node, "key"), message, hint);
    }

    fn split_references(&mut self, read: &Read<Split>, node: &Node, table: &SplitTable) {
        let mut seen = BTreeSet::new();
        for (index, reference) in table.references.iter().enumerate() {
            let node = node.find(&[Step::Key("references"), Step::Item(index)]);
            let column = &reference.column;
            let name = format!("{}.{column}", table.table);
            if !seen.insert(column.as_str()) {
                let message = format!("reference \"{name}\" is listed twice");
                self.split_says(read, at(node, "column"), message, "Remove one of them.");
            }
            self.split_parent(read, node, &name, reference);
            let why = match (reference.required, table.key.contains(column)) {
                (true, _) => "is required",
                (false, true) => "is part of the key",
                (false, false) => continue,
            };
            if reference.crossing == OnCrossing::Clear {
                let message = format!("reference \"{name}\" {why}, so it cannot be cleared");
                let hint = "Place the table with this reference, or share the table it leads to.";
                self.split_says(read, at(node, "crossing"), message, hint);
            }
        }
    }

    /// The table a reference leads to.
    fn split_parent(
        &mut self,
        read: &Read<Split>,
        node: &Node,
        name: &str,
        reference: &SplitReference,
    ) {
        let tables = &read.value.tables;
        let to = &reference.to;
        match tables.iter().find(|table| table.table == *to) {
            None => {
                let message = format!(
                    "reference \"{name}\" leads to \"{to}\", which is no table of the split"
                );
                let known = tables.iter().map(|table| table.table.as_str());
                let hint = suggest::hint(to, known.collect::<Vec<_>>());
                self.split_says(read, at(node, "to"), message, &hint);
            }
            Some(parent) if parent.key.len() > 1 => {
                let message = format!(
                    "reference \"{name}\" leads to \"{to}\", whose key has several columns"
                );
                let hint = "A reference is one column; leave this one out, or give that table a key of one column.";
                self.split_says(read, at(node, "to"), message, hint);
            }
            Some(_) => {}
        }
    }

    fn split_place(&mut self, read: &Read<Split>, node: &Node, table: &SplitTable) {
        let place = node.find(&[Step::Key("place")]);
        let name = &table.table;
        if let Some((variant, key, part)) = table.place.parts() {
            let known: Vec<&str> = read.value.parts.iter().map(|part| part.part.as_str()).collect();
            if !known.contains(&part) {
                let span = at(place.find(&[Step::Key(variant)]), key);
                let message = format!("rows of \"{name}\" go to \"{part}\", which is no part");
                let hint = suggest::hint(part, known);
                self.split_says(read, span, message, &hint);
            }
        }
        match &table.place {
            Place::Divided { condition, .. } => {
                let inside = place.find(&[Step::Key("divided")]);
                let what = format!("the condition of table \"{name}\"");
                self.expression(&read.file, inside, "where", condition, &what);
            }
            Place::With { reference, .. } => {
                let span = at(place.find(&[Step::Key("with")]), "reference");
                let known = table.references.iter().find(|known| known.column == *reference);
                let Some(known) = known else {
                    let message = format!(
                        "rows of \"{name}\" go with \"{reference}\", which is none of its references"
                    );
                    let columns = table.references.iter().map(|known| known.column.as_str());
                    let hint = match table.references.is_empty() {
                        true => "List it under references: [{column: …, to: …}].".to_owned(),
                        false => suggest::hint(reference, columns.collect::<Vec<_>>()),
                    };
                    self.split_says(read, span, message, &hint);
                    return;
                };
                let parent = read.value.tables.iter().find(|parent| parent.table == known.to);
                if parent.is_some_and(|parent| parent.place.is_shared()) {
                    let message = format!(
                        "rows of \"{name}\" go with rows of \"{}\", which is shared",
                        known.to
                    );
                    let hint = "Rows can only go with rows that are in one part; choose another reference, or share this table, too.";
                    self.split_says(read, span, message, hint);
                }
            }
            Place::WhereNeeded { .. } | Place::Both | Place::Only { .. } => {}
        }
    }

    /// Tables whose rows go with each other have no place.
    fn split_circles(&mut self, read: &Read<Split>) {
        let tables = &read.value.tables;
        let owner = |name: &str| {
            let table = tables.iter().find(|table| table.table == name)?;
            let Place::With { reference, .. } = &table.place else { return None };
            let reference = table.references.iter().find(|known| known.column == *reference)?;
            Some(reference.to.as_str())
        };
        let mut told = BTreeSet::new();
        for (index, table) in tables.iter().enumerate() {
            let mut path = vec![table.table.as_str()];
            while let Some(next) = path.last().copied().and_then(owner) {
                if next == table.table {
                    break;
                }
                if path.contains(&next) {
                    path.clear();
                } else {
                    path.push(next);
                }
            }
            let circle = path.last().copied().and_then(owner) == Some(table.table.as_str());
            if !circle || path.iter().any(|name| told.contains(name)) {
                continue;
            }
            told.extend(path.iter().copied());
            let shown = path.iter().chain(path.first()).copied().collect::<Vec<_>>().join(" → ");
            let message = match path.len() {
                1 => format!("rows of \"{}\" go with rows of the same table", table.table),
                _ => format!("the tables go with each other: {shown}"),
            };
            let node =
                read.node.find(&[Step::Key("tables"), Step::Item(index), Step::Key("place")]);
            let hint = "Divide one of them by a condition: place: {divided: {where: region = 'east', to: …}}.";
            self.split_says(read, at(node, "with"), message, hint);
        }
    }
}
