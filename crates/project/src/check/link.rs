//! Links: both systems, the fields, and whether what is declared can be done.

use std::collections::BTreeSet;

use flywheel_base::suggest;

use super::Check;
use super::column::type_problem;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::resource::link::{Deletes, FieldRule, Link, LinkField, LinkSide, MatchBy};
use crate::yaml::{Node, Step};

/// One side of a link, as it is checked.
struct SideOf<'a> {
    /// `left` or `right`.
    word: &'static str,
    side: &'a LinkSide,
    node: &'a Node,
    /// Whether records are created there.
    creates: bool,
}

impl Check<'_> {
    pub(super) fn links(&mut self) {
        let loaded = self.loaded;
        for read in loaded.links.values() {
            let link = &read.value;
            for side in sides(read) {
                self.link_connection(read, &side);
                self.link_create(read, &side);
            }
            self.link_fields(read);
            self.link_matching(read);
            if let Deletes::Archive { set } = &link.deletes {
                let node = read.node.find(&[Step::Key("deletes")]);
                if set.is_empty() {
                    let message = "archiving sets no field";
                    let hint = "Name the field and value that mark an archived record: archive: {set: {archived: true}}.";
                    self.push(&read.file, Diagnostic::error(node.span, message).hint(hint));
                }
                for field in set.keys() {
                    self.link_field(read, field, node.span, "archiving sets");
                }
            }
        }
    }

    fn link_connection(&mut self, read: &Read<Link>, of: &SideOf<'_>) {
        let (link, name) = (&read.value, &of.side.connection);
        let span = at(of.node, "connection");
        if !self.declared(NodeKind::Connection, name) {
            let message = format!("link \"{}\" names unknown connection \"{name}\"", link.link);
            let hint = self.near(&[NodeKind::Connection], name);
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return;
        }
        let (from, to) =
            (NodeId::new(NodeKind::Connection, name), NodeId::new(NodeKind::Link, &link.link));
        self.checked.graph.link(&from, &to);
        let Some(connection) = self.loaded.connections.get(name) else { return };
        let connector = &connection.value.connector;
        let Some(schemas) = self.connectors.connections.get(connector) else { return };
        let (stream, target) = (schemas.stream.clone(), schemas.target.clone());
        let word = of.word;
        let mut cannot = |what: &str, hint: String| {
            let message = format!("connection \"{name}\" of type \"{connector}\" cannot {what}");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        };
        if stream.is_none() {
            cannot("be read", "Both sides of a link are read and written.".to_owned());
        }
        let needed = if link.deletes == Deletes::Propagate { "mirror" } else { "merge" };
        match &target {
            None => {
                cannot("be written", "Both sides of a link are read and written.".to_owned());
            }
            Some((_, modes)) if !modes.iter().any(|mode| mode == needed) => {
                let hint = format!("A link needs {needed}; it can: {}.", modes.join(", "));
                cannot(needed, hint);
            }
            Some(_) => {}
        }
        let subject = format!("the options of the {word} side of link \"{}\"", link.link);
        self.settings(&read.file, of.node, "options", stream.as_ref(), &subject);
        let subject = format!("the target of the {word} side of link \"{}\"", link.link);
        let schema = target.map(|(schema, _)| schema);
        self.settings(&read.file, of.node, "target", schema.as_ref(), &subject);
    }

    /// Whether a record that is created can be found again.
    fn link_create(&mut self, read: &Read<Link>, of: &SideOf<'_>) {
        let link = &read.value;
        let by_id = link.matching.exact.contains(&MatchBy::Id);
        if !of.creates || of.side.create_by.is_some() || by_id {
            return;
        }
        let column = |field: &LinkField| column_of(field, of.word) == of.side.id;
        if link.fields.iter().any(column) {
            return;
        }
        let word = of.word;
        let message = format!(
            "records are created on the {word} side, and nothing says what \"{}\" is then",
            of.side.id
        );
        let other = if word == "left" { "right" } else { "left" };
        let hint = format!(
            "Add create_by: a unique column such as an external id; or match by id; or create: {other}."
        );
        self.push(&read.file, Diagnostic::error(at(of.node, "id"), message).hint(hint));
    }

    fn link_fields(&mut self, read: &Read<Link>) {
        let link = &read.value;
        if link.fields.is_empty() {
            let message = format!("link \"{}\" has no fields", link.link);
            let hint = "List the fields that are kept alike: fields: [{name: email}].";
            self.push(&read.file, Diagnostic::error(at(&read.node, "fields"), message).hint(hint));
        }
        let (mut names, mut columns) = (BTreeSet::new(), BTreeSet::new());
        for (index, field) in link.fields.iter().enumerate() {
            let node = read.node.find(&[Step::Key("fields"), Step::Item(index)]);
            let file = &read.file;
            let name = &field.name;
            if !names.insert(name.as_str()) {
                let message = format!("field \"{name}\" is declared twice");
                let diagnostic = Diagnostic::error(at(node, "name"), message);
                self.push(file, diagnostic.hint("Remove one of them."));
            }
            for word in ["left", "right"] {
                let column = column_of(field, word);
                if !columns.insert((word, column)) {
                    let message = format!("two fields have the {word} column \"{column}\"");
                    let diagnostic = Diagnostic::error(at(node, word), message);
                    self.push(file, diagnostic.hint("Each column belongs to one field."));
                }
            }
            if let Some(column_type) = &field.column_type
                && let Some(hint) = type_problem(column_type)
            {
                let message = format!("field \"{name}\" cannot have the type \"{column_type}\"");
                self.push(file, Diagnostic::error(at(node, "type"), message).hint(hint));
            }
            self.clean(file, node, &field.column(name));
            if let Some(other) = &field.refers_to
                && !self.declared(NodeKind::Link, other)
            {
                let message = format!("field \"{name}\" refers to unknown link \"{other}\"");
                let hint = self.near(&[NodeKind::Link], other);
                self.push(file, Diagnostic::error(at(node, "refers_to"), message).hint(hint));
            }
            if let Some(rule) = &field.rule {
                self.link_rule(file, link, rule, at(node, "rule"));
            }
        }
        self.link_rule(&read.file, link, &link.rule, at(&read.node, "rule"));
    }

    fn link_rule(&mut self, file: &SourceFile, link: &Link, rule: &FieldRule, span: Span) {
        let mut wrong = |message: String, hint: &str| {
            self.push(file, Diagnostic::error(span, message).hint(hint));
        };
        match rule {
            FieldRule::Latest { .. } => {
                for (word, side) in [("left", &link.left), ("right", &link.right)] {
                    if side.changed_at.is_none() {
                        wrong(
                            format!(
                                "the later change cannot win: the {word} side has no changed_at"
                            ),
                            "Name the column with the moment of the last change, or choose another rule.",
                        );
                    }
                }
            }
            FieldRule::Union { separator: Some(text) } if text.trim().is_empty() => {
                wrong(
                    "the separator is blank".to_owned(),
                    "Write what stands between the members, such as \";\".",
                );
            }
            FieldRule::MostRestrictive { order } if order.len() < 2 => {
                wrong(
                    "the order has fewer than two values".to_owned(),
                    "List every value the field can have, the one that allows least first.",
                );
            }
            FieldRule::Expression { sql } if sql.trim().is_empty() => {
                wrong(
                    "the expression is empty".to_owned(),
                    "Write SQL over left, right and base, such as coalesce(left, right).",
                );
            }
            _ => {}
        }
    }

    fn link_matching(&mut self, read: &Read<Link>) {
        let matching = &read.value.matching;
        let node = read.node.find(&[Step::Key("match")]);
        if matching.exact.is_empty() && matching.alike.is_none() {
            let message = "nothing says when two records are the same";
            let hint = "Add exact rules: exact: [{email: email}], or exact: [id].";
            self.push(&read.file, Diagnostic::error(node.span, message).hint(hint));
        }
        for (index, by) in matching.exact.iter().enumerate() {
            let span = node.find(&[Step::Key("exact"), Step::Item(index)]).span;
            let fields = match by {
                MatchBy::Id => &[][..],
                MatchBy::Email(field) | MatchBy::Phone(field) => std::slice::from_ref(field),
                MatchBy::Fields(fields) => fields,
            };
            for field in fields {
                self.link_field(read, field, span, "records are matched by");
            }
        }
        if let Some(alike) = &matching.alike {
            let node = node.find(&[Step::Key("alike")]);
            for (index, part) in alike.parts.iter().enumerate() {
                let node = node.find(&[Step::Key("parts"), Step::Item(index)]);
                self.link_field(read, &part.field, at(node, "field"), "records are compared by");
            }
            if alike.review.value() > alike.link.value() || alike.review.value() <= 0.0 {
                let message = "records are linked at less likeness than a person is asked at";
                let hint = "Write 0 < review <= link, such as review: 80% and link: 92%.";
                self.push(&read.file, Diagnostic::error(at(node, "review"), message).hint(hint));
            }
        }
        if let Some(unless) = &matching.unless {
            let span = at(node.find(&[Step::Key("unless")]), "field");
            self.link_field(read, &unless.field, span, "a match is questioned by");
        }
    }

    fn link_field(&mut self, read: &Read<Link>, name: &str, span: Span, does: &str) {
        let fields = &read.value.fields;
        if fields.iter().any(|field| field.name == name) {
            return;
        }
        let message = format!("{does} \"{name}\", which is no field of the link");
        let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let diagnostic = Diagnostic::error(span, message);
        self.push(&read.file, diagnostic.hint(suggest::hint(name, known)));
    }
}

fn sides(read: &Read<Link>) -> [SideOf<'_>; 2] {
    let link = &read.value;
    let of = |word, side, creates| SideOf {
        word,
        side,
        node: read.node.find(&[Step::Key(word)]),
        creates,
    };
    [
        of("left", &link.left, link.create.on_left()),
        of("right", &link.right, link.create.on_right()),
    ]
}

fn column_of<'a>(field: &'a LinkField, word: &str) -> &'a str {
    if word == "left" { field.left() } else { field.right() }
}
