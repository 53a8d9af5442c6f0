//! Merges: the tables they read and make, when records are the same, and whose values are kept.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::suggest;

use super::Check;
use super::column::type_problem;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{NodeId, NodeInfo, NodeKind};
use crate::load::Read;
use crate::names;
use crate::resource::link::MatchBy;
use crate::resource::merge::{KeepRule, Merge, MergeChild, RECORDS};
use crate::source::Source;
use crate::yaml::{Node, Step};

/// Schemas that a merge cannot write into, and why.
const NOT_OURS: &[(&str, &str)] = &[
    ("raw", "what syncs land"),
    ("learn", "what learners write"),
    ("system", "what the platform tells of itself"),
    ("metrics", "semantic views"),
    ("information_schema", "what the engine tells of itself"),
];

impl Check<'_> {
    /// Declares the tables that merges make, so that models, syncs and other merges can read them.
    pub(super) fn merged_tables(&mut self) {
        let loaded = self.loaded;
        let mut made: BTreeMap<String, String> = BTreeMap::new();
        for read in loaded.merges.values() {
            let merge = &read.value;
            let place = |span: Span| format!("{}:{}", read.file.path, span.line);
            for (table, span) in targets(read) {
                let Some((schema, name)) = self.merged_name(read, &table, span) else { continue };
                if let Some(other) = made.get(&table) {
                    let message =
                        format!("merge \"{}\" makes {table}, which is made already", merge.merge);
                    let hint =
                        format!("Give one of them another `target`; the other is in {other}.");
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    continue;
                }
                if let Some(owner) = self.owner_of(&table) {
                    let message =
                        format!("merge \"{}\" makes {table}, which {owner} writes", merge.merge);
                    let hint = "Give the merge another `target`.";
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    continue;
                }
                made.insert(table.clone(), place(span));
                let id = NodeId::new(NodeKind::Source, &table);
                let info = NodeInfo { file: Some(read.file.path.clone()), ..NodeInfo::default() };
                self.checked.graph.add(id.clone(), info);
                self.checked.graph.link(&NodeId::new(NodeKind::Merge, &merge.merge), &id);
                self.checked.source_schemas.insert(schema.clone(), schema.clone());
                self.checked.sources.insert(table, Source::new(&schema, &name));
            }
        }
    }

    /// Who else writes a table.
    fn owner_of(&self, table: &str) -> Option<String> {
        let landed = self.checked.sources.get(table).and_then(|source| source.landed_by.as_ref());
        if let Some(landed) = landed {
            return Some(format!("sync \"{}\"", landed.sync));
        }
        let mut models = self.loaded.models.values();
        let model = models.find(|model| model.value.relation() == table);
        model.map(|model| format!("model \"{}\"", model.value.name))
    }

    /// The schema and name of a table that a merge makes, if it can be made.
    fn merged_name(
        &mut self,
        read: &Read<Merge>,
        table: &str,
        span: Span,
    ) -> Option<(String, String)> {
        let Some((schema, name)) = table.split_once('.') else {
            let message = format!("\"{table}\" is not the name of a table");
            let hint = "Write schema.table, as in crm.customers.";
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return None;
        };
        for part in [schema, name] {
            if let Some(problem) = names::problem(part) {
                let message =
                    format!("\"{part}\" is not a good name for a schema or table: it {problem}");
                self.push(&read.file, Diagnostic::error(span, message).hint(names::HINT));
                return None;
            }
        }
        if let Some((_, whose)) = NOT_OURS.iter().find(|(ours, _)| *ours == schema) {
            let message =
                format!("a merge cannot make {table}: schema \"{schema}\" is for {whose}");
            let hint = "Choose another schema, such as crm.";
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return None;
        }
        Some((schema.to_owned(), name.to_owned()))
    }

    /// Checks merges, once every table is known.
    pub(super) fn merges(&mut self) {
        let loaded = self.loaded;
        for read in loaded.merges.values() {
            self.merge_sources(read);
            self.merge_fields(read);
            self.merge_matching(read);
            self.merge_children(read);
        }
    }

    fn merge_says(&mut self, read: &Read<Merge>, span: Span, message: String, hint: &str) {
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// Links a table that the merge reads.
    fn merge_reads(&mut self, read: &Read<Merge>, node: &Node, table: &str) {
        let merge = &read.value;
        let span = at(node, "table");
        if merge.written().any(|made| made == table) {
            let message = format!("merge \"{}\" reads {table}, which it makes", merge.merge);
            let hint = "A merge reads the tables of the systems and makes others.";
            self.merge_says(read, span, message, hint);
            return;
        }
        if table.starts_with("system.") {
            let message =
                format!("merge \"{}\" reads {table}, a table of the platform", merge.merge);
            let hint = "Merge tables that syncs land, or models.";
            self.merge_says(read, span, message, hint);
            return;
        }
        self.lake_table(&NodeId::new(NodeKind::Merge, &merge.merge), table, &read.file, span);
    }

    fn merge_sources(&mut self, read: &Read<Merge>) {
        let merge = &read.value;
        if merge.sources.is_empty() {
            let message = format!("merge \"{}\" has no sources", merge.merge);
            let hint = "List the tables that are merged: sources: [{name: north, table: raw.north_customers, key: id}].";
            self.merge_says(read, at(&read.node, "sources"), message, hint);
        }
        let mut seen = BTreeSet::new();
        for (index, source) in merge.sources.iter().enumerate() {
            let node = read.node.find(&[Step::Key("sources"), Step::Item(index)]);
            let name = &source.name;
            if let Some(problem) = names::problem(name) {
                let message = format!("source \"{name}\" has a bad name: it {problem}");
                self.merge_says(read, at(node, "name"), message, names::HINT);
            }
            if !seen.insert(name.as_str()) {
                let message = format!("two sources are named \"{name}\"");
                let hint = "Rename one of them: keys are told apart by this name.";
                self.merge_says(read, at(node, "name"), message, hint);
            }
            if !merge.fields.iter().any(|field| field.column_of(name).is_some()) {
                let message = format!("no field is in source \"{name}\"");
                let hint = "Leave the source out, or take its name into the `only` of a field.";
                self.merge_says(read, at(node, "name"), message, hint);
            }
            self.merge_reads(read, node, &source.table);
        }
    }

    /// Refuses a name that is no source of the merge.
    fn merge_source(&mut self, read: &Read<Merge>, span: Span, does: &str, name: &str) {
        let sources = &read.value.sources;
        if sources.iter().any(|source| source.name == name) {
            return;
        }
        let known: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let message = format!("{does} \"{name}\", which is no source of the merge");
        self.merge_says(read, span, message, &suggest::hint(name, known));
    }

    fn merge_fields(&mut self, read: &Read<Merge>) {
        let merge = &read.value;
        if merge.fields.is_empty() {
            let message = format!("merge \"{}\" has no fields", merge.merge);
            let hint = "List the columns of the merged table: fields: [{name: email}].";
            self.merge_says(read, at(&read.node, "fields"), message, hint);
        }
        if let Some(problem) = names::problem(&merge.key) {
            let message = format!("the key column \"{}\" has a bad name: it {problem}", merge.key);
            self.merge_says(read, at(&read.node, "key"), message, names::HINT);
        }
        if merge.key == RECORDS {
            let message = format!("the key column cannot be \"{RECORDS}\", which the merge adds");
            let hint = "Give it another name, such as customer_id.";
            self.merge_says(read, at(&read.node, "key"), message, hint);
        }
        let mut seen = BTreeSet::from([merge.key.as_str(), RECORDS]);
        for (index, field) in merge.fields.iter().enumerate() {
            let node = read.node.find(&[Step::Key("fields"), Step::Item(index)]);
            let name = &field.name;
            if !seen.insert(name.as_str()) {
                let (message, hint) = match *name == merge.key || name == RECORDS {
                    true => (
                        format!("field \"{name}\" has the name of a column that the merge adds"),
                        "Rename the field, or give the merge's `key` another name.",
                    ),
                    false => (format!("field \"{name}\" is declared twice"), "Remove one of them."),
                };
                self.merge_says(read, at(node, "name"), message, hint);
            }
            for source in field.from.keys() {
                let span = node.get("from").map_or(node.span, |from| at(from, source));
                self.merge_source(read, span, &format!("field \"{name}\" is taken from"), source);
            }
            for source in &field.only {
                let does = format!("field \"{name}\" is only in");
                self.merge_source(read, at(node, "only"), &does, source);
            }
            if let Some(column_type) = &field.column_type
                && let Some(hint) = type_problem(column_type)
            {
                let message = format!("field \"{name}\" cannot have the type \"{column_type}\"");
                self.merge_says(read, at(node, "type"), message, &hint);
            }
            self.clean(&read.file, node, &field.column(name));
            if let Some(other) = &field.refers_to {
                let does = format!("field \"{name}\" refers to");
                self.merge_other(read, at(node, "refers_to"), &does, other);
            }
            if let Some(keep) = &field.keep {
                self.merge_keep(read, keep, at(node, "keep"));
            }
        }
        self.merge_keep(read, &merge.keep, at(&read.node, "keep"));
    }

    /// Links another merge whose keys are followed.
    fn merge_other(&mut self, read: &Read<Merge>, span: Span, does: &str, other: &str) {
        let merge = &read.value;
        if other == merge.merge {
            let message = format!("{does} its own merge \"{other}\"");
            let hint =
                "Its keys are known once its records are matched; refer to it in `children`.";
            self.merge_says(read, span, message, hint);
            return;
        }
        if !self.declared(NodeKind::Merge, other) {
            let message = format!("{does} unknown merge \"{other}\"");
            let hint = self.near(&[NodeKind::Merge], other);
            self.merge_says(read, span, message, &hint);
            return;
        }
        let Some(followed) = self.loaded.merges.get(other) else { return };
        let theirs = &followed.value.sources;
        for source in &merge.sources {
            if !theirs.iter().any(|their| their.name == source.name) {
                let message =
                    format!("{does} merge \"{other}\", which has no source \"{}\"", source.name);
                let known: Vec<&str> = theirs.iter().map(|their| their.name.as_str()).collect();
                let hint = format!(
                    "Call the same system the same in both merges. {}",
                    suggest::hint(&source.name, known)
                );
                self.merge_says(read, span, message, &hint);
            }
        }
        let from = NodeId::new(NodeKind::Source, followed.value.crosswalk());
        self.checked.graph.link(&from, &NodeId::new(NodeKind::Merge, &merge.merge));
    }

    fn merge_keep(&mut self, read: &Read<Merge>, keep: &KeepRule, span: Span) {
        match keep {
            KeepRule::Latest => {
                for source in &read.value.sources {
                    if source.changed_at.is_none() {
                        let message = format!(
                            "the latest value cannot be kept: source \"{}\" has no changed_at",
                            source.name
                        );
                        let hint = "Name its column with the moment of the last change, or keep another value.";
                        self.merge_says(read, span, message, hint);
                    }
                }
            }
            KeepRule::Prefer { source } => {
                self.merge_source(read, span, "the value is preferred of", source);
            }
            KeepRule::Union { separator } if separator.trim().is_empty() => {
                let hint = "Write what stands between the members, such as \";\".";
                self.merge_says(read, span, "the separator is blank".to_owned(), hint);
            }
            KeepRule::MostRestrictive { order } => {
                let texts: BTreeSet<String> = order.iter().map(ToString::to_string).collect();
                if order.len() < 2 || texts.len() < order.len() {
                    let hint = "List every value the field can have once, the one that allows least first.";
                    let message = "the order has fewer than two values, or one of them twice";
                    self.merge_says(read, span, message.to_owned(), hint);
                }
            }
            KeepRule::Expression { sql } if sql.trim().is_empty() => {
                let hint = "Write SQL over the sources' names, such as coalesce(south, north).";
                self.merge_says(read, span, "the expression is empty".to_owned(), hint);
            }
            _ => {}
        }
    }

    fn merge_matching(&mut self, read: &Read<Merge>) {
        let matching = &read.value.matching;
        let node = read.node.find(&[Step::Key("match")]);
        if matching.exact.is_empty() && matching.alike.is_none() {
            let message = "nothing says when two records are the same".to_owned();
            let hint = "Add exact rules: exact: [{email: email}], or exact: [id].";
            self.merge_says(read, node.span, message, hint);
        }
        if let Some(code) = &matching.calling_code
            && !code.chars().all(|c| c.is_ascii_digit())
        {
            let message = format!("\"{code}\" is not a calling code");
            let hint = "Write its digits only, such as \"86\" or \"1\".";
            self.merge_says(read, at(node, "calling_code"), message, hint);
        }
        for (index, by) in matching.exact.iter().enumerate() {
            let span = node.find(&[Step::Key("exact"), Step::Item(index)]).span;
            let fields = match by {
                MatchBy::Id => &[][..],
                MatchBy::Email(field) | MatchBy::Phone(field) => std::slice::from_ref(field),
                MatchBy::Fields(fields) => fields,
            };
            if matches!(by, MatchBy::Fields(fields) if fields.is_empty()) {
                let hint = "Name the fields that identify a record together: fields: [name, city].";
                self.merge_says(read, span, "records are matched by no fields".to_owned(), hint);
            }
            for field in fields {
                self.merge_field(read, field, span, "records are matched by");
            }
        }
        if let Some(alike) = &matching.alike {
            let node = node.find(&[Step::Key("alike")]);
            if alike.parts.is_empty() {
                let hint =
                    "Name the fields that are compared: parts: [{field: name, measure: name}].";
                self.merge_says(read, at(node, "parts"), "nothing is compared".to_owned(), hint);
            }
            for (index, part) in alike.parts.iter().enumerate() {
                let node = node.find(&[Step::Key("parts"), Step::Item(index)]);
                self.merge_field(read, &part.field, at(node, "field"), "records are compared by");
                if !(part.weight > 0.0 && part.weight.is_finite()) {
                    let message =
                        format!("field \"{}\" has a weight of {}", part.field, part.weight);
                    let hint = "Write a weight greater than 0.";
                    self.merge_says(read, at(node, "weight"), message, hint);
                }
            }
            if alike.review.value() > alike.link.value() || alike.review.value() <= 0.0 {
                let message = "records are merged at less likeness than a person is asked at";
                let hint = "Write 0 < review <= link, such as review: 80% and link: 92%.";
                self.merge_says(read, at(node, "review"), message.to_owned(), hint);
            }
        }
        if let Some(unless) = &matching.unless {
            let span = at(node.find(&[Step::Key("unless")]), "field");
            self.merge_field(read, &unless.field, span, "a match is questioned by");
        }
    }

    fn merge_field(&mut self, read: &Read<Merge>, name: &str, span: Span, does: &str) {
        let fields = &read.value.fields;
        if fields.iter().any(|field| field.name == name) {
            return;
        }
        let message = format!("{does} \"{name}\", which is no field of the merge");
        let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        self.merge_says(read, span, message, &suggest::hint(name, known));
    }

    fn merge_children(&mut self, read: &Read<Merge>) {
        let merge = &read.value;
        let mut seen = BTreeSet::new();
        for (index, child) in merge.children.iter().enumerate() {
            let node = read.node.find(&[Step::Key("children"), Step::Item(index)]);
            let name = &child.name;
            if !seen.insert(name.as_str()) || *name == merge.merge {
                let message = format!("\"{name}\" names something of this merge already");
                self.merge_says(read, at(node, "name"), message, "Rename one of them.");
            }
            if child.tables.is_empty() {
                let message = format!("\"{name}\" has no tables");
                let hint = "List a table for each source that has such rows: tables: [{source: north, table: raw.north_orders}].";
                self.merge_says(read, at(node, "tables"), message, hint);
            }
            let mut sources = BTreeSet::new();
            for (index, table) in child.tables.iter().enumerate() {
                let node = node.find(&[Step::Key("tables"), Step::Item(index)]);
                let does = format!("a table of \"{name}\" is of");
                self.merge_source(read, at(node, "source"), &does, &table.source);
                if !sources.insert(table.source.as_str()) {
                    let message =
                        format!("\"{name}\" has two tables of source \"{}\"", table.source);
                    self.merge_says(read, at(node, "source"), message, "Remove one of them.");
                }
                self.merge_reads(read, node, &table.table);
            }
            self.merge_references(read, node, child);
        }
    }

    fn merge_references(&mut self, read: &Read<Merge>, node: &Node, child: &MergeChild) {
        let merge = &read.value;
        for (column, to) in &child.references {
            let span = node.get("references").map_or(node.span, |all| at(all, column));
            if child.key.as_ref() == Some(column) {
                let message = format!(
                    "column \"{column}\" is the key of \"{}\" and refers to \"{to}\"",
                    child.name
                );
                let hint = "A key gets its source before it; a reference gets the merged key. Name one of both.";
                self.merge_says(read, span, message, hint);
            }
            if *to == merge.merge {
                continue;
            }
            match merge.children.iter().find(|other| other.name == *to) {
                Some(other) if other.key.is_none() => {
                    let message =
                        format!("column \"{column}\" refers to \"{to}\", which has no key");
                    let hint = "Name the column that identifies its rows: key: order_id.";
                    self.merge_says(read, span, message, hint);
                }
                Some(_) => {}
                None if self.declared(NodeKind::Merge, to) => {
                    let does = format!("column \"{column}\" refers to");
                    self.merge_other(read, span, &does, to);
                }
                None => {
                    let known = merge.children.iter().map(|child| child.name.as_str());
                    let merges = self.loaded.merges.keys().map(String::as_str);
                    let known: BTreeSet<&str> =
                        known.chain(merges).chain([merge.merge.as_str()]).collect();
                    let message = format!("column \"{column}\" refers to unknown \"{to}\"");
                    self.merge_says(read, span, message, &suggest::hint(to, known));
                }
            }
        }
    }
}

/// The tables that a merge makes, with where the file says so.
fn targets(read: &Read<Merge>) -> Vec<(String, Span)> {
    let merge = &read.value;
    let own = at(&read.node, "target");
    let of_child =
        |index: usize| at(read.node.find(&[Step::Key("children"), Step::Item(index)]), "target");
    // A name that cannot be one is told once.
    let beside = match merge.target.contains('.') {
        true => vec![merge.crosswalk(), merge.review(), merge.history()],
        false => Vec::new(),
    };
    let mut all = vec![(merge.target.clone(), own)];
    all.extend(beside.into_iter().map(|table| (table, own)));
    let children = merge.children.iter().enumerate();
    all.extend(children.map(|(index, child)| (child.target.clone(), of_child(index))));
    all
}
