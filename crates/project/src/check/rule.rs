//! Rules: the tables, groups and attributes they name, and whether their masks and conditions can be read.

use std::collections::BTreeSet;

use flywheel_base::suggest;

use super::Check;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::glob;
use crate::load::Read;
use crate::resource::rule::{self, OtherMask, Readers, Rule, RuleMask};
use crate::secret;
use crate::yaml::{Node, Step};

/// The values that every reader has.
const ALWAYS: [&str; 3] = ["user", "role", "groups"];

impl Check<'_> {
    pub(super) fn rules(&mut self) {
        let loaded = self.loaded;
        for read in loaded.rules.values() {
            self.rule_tables(read);
            let mut all = false;
            for (index, readers) in read.value.readers.iter().enumerate() {
                let node = read.node.find(&[Step::Key("readers"), Step::Item(index)]);
                if all {
                    let message = "no reader is left for this entry".to_owned();
                    let hint = "Move it above the entry for everybody: the first that names a reader decides.";
                    self.rule_says(read, node.span, message, hint);
                }
                all |= readers.everybody;
                self.rule_readers(read, node, readers);
                self.rule_columns(read, node, readers);
            }
        }
    }

    fn rule_says(&mut self, read: &Read<Rule>, span: Span, message: String, hint: &str) {
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    fn rule_tables(&mut self, read: &Read<Rule>) {
        let rule = &read.value;
        let name = &rule.rule;
        if rule.tables.is_empty() && rule.tags.is_empty() {
            let message = format!("rule \"{name}\" is about no table");
            self.rule_says(
                read,
                at(&read.node, "rule"),
                message,
                "Name `tables`, or `tags` of models.",
            );
        }
        if rule.readers.is_empty() {
            let message =
                format!("rule \"{name}\" names no readers, so nobody would see the tables");
            let hint = "Name those who see everything first, such as `- roles: [owner, admin]`.";
            self.rule_says(read, at(&read.node, "readers"), message, hint);
        }
        let known = self.relations();
        for (key, tables) in [("tables", &rule.tables), ("cleared", &rule.cleared)] {
            let nodes = read.node.find(&[Step::Key(key)]);
            for (table, item) in tables.iter().zip(nodes.items()) {
                // The platform's own tables are declared nowhere.
                let found =
                    table.starts_with("system.") || known.iter().any(|one| glob(table, one));
                if found {
                    continue;
                }
                let message = format!("rule \"{name}\" names unknown table \"{table}\"");
                let hint = suggest::hint(table, known.iter().map(String::as_str));
                // A table that only a statement makes is not declared either; a slip would protect nothing.
                let schemas = known.iter().filter_map(|one| Some(one.split_once('.')?.0));
                let schemas: BTreeSet<&str> = schemas.collect();
                let made = table.split_once('.').is_some_and(|(schema, _)| {
                    suggest::nearest(schema, schemas.iter().copied()).is_none()
                });
                if made {
                    let diagnostic = Diagnostic::warning(item.span, message);
                    self.push(&read.file, diagnostic.hint(hint));
                } else {
                    self.rule_says(read, item.span, message, &hint);
                }
            }
        }
        let tags: BTreeSet<&str> = self
            .loaded
            .models
            .values()
            .flat_map(|model| model.value.config.tags.iter().map(String::as_str))
            .collect();
        let nodes = read.node.find(&[Step::Key("tags")]);
        for (tag, item) in rule.tags.iter().zip(nodes.items()) {
            if !tags.contains(tag.as_str()) {
                let message =
                    format!("rule \"{name}\" names the tag \"{tag}\", which no model has");
                let hint = suggest::hint(tag, tags.iter().copied());
                self.push(&read.file, Diagnostic::error(item.span, message).hint(hint));
            }
        }
    }

    fn rule_readers(&mut self, read: &Read<Rule>, node: &Node, readers: &Readers) {
        let name = &read.value.rule;
        let nobody = !readers.everybody
            && readers.roles.is_empty()
            && readers.groups.is_empty()
            && readers.users.is_empty();
        if nobody {
            let message = format!("an entry of rule \"{name}\" names nobody");
            let hint = "Say who: `everybody: true`, `roles`, `groups` or `users`.";
            self.rule_says(read, node.span, message, hint);
        }
        let declared = self.loaded.project.as_ref().map(|project| &project.value.groups);
        let known: Vec<&str> =
            declared.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let nodes = node.find(&[Step::Key("groups")]);
        let mut unknown = Vec::new();
        for (group, item) in readers.groups.iter().zip(nodes.items()) {
            if !known.contains(&group.as_str()) {
                let message = format!("rule \"{name}\" names unknown group \"{group}\"");
                let hint = match known.is_empty() {
                    true => "Declare it under `groups:` in flywheel.yaml.".to_owned(),
                    false => suggest::hint(group, known.iter().copied()),
                };
                unknown.push((item.span, message, hint));
            }
        }
        for (span, message, hint) in unknown {
            self.rule_says(read, span, message, &hint);
        }
        if readers.nothing
            && (readers.rows.is_some() || !readers.masks.is_empty() || !readers.hide.is_empty())
        {
            let message = "readers who see nothing have no rows and no columns".to_owned();
            self.rule_says(read, at(node, "nothing"), message, "Remove `nothing`, or all else.");
        }
    }

    fn rule_columns(&mut self, read: &Read<Rule>, node: &Node, readers: &Readers) {
        if let Some(rows) = &readers.rows {
            self.rule_expression(read, at(node, "rows"), node, "rows", rows);
        }
        let masks = node.find(&[Step::Key("masks")]);
        for (column, mask) in &readers.masks {
            let span = at(masks, column);
            if readers.hide.contains(column) {
                let message = format!("column \"{column}\" is masked and hidden");
                self.rule_says(read, span, message, "Remove it from one of them.");
            }
            match mask {
                None => {}
                Some(RuleMask::Form(text)) => self.rule_form(read, span, column, text),
                Some(RuleMask::Other(OtherMask::Constant(_))) => {}
                Some(RuleMask::Other(OtherMask::Sql(sql))) => {
                    self.rule_expression(
                        read,
                        span,
                        masks.get(column).unwrap_or(masks),
                        "sql",
                        sql,
                    );
                }
            }
        }
    }

    fn rule_form(&mut self, read: &Read<Rule>, span: Span, column: &str, text: &str) {
        // The line is not repeated: it may hold a key in clear.
        let mut hidden = |error: &flywheel_base::Error| {
            let message = format!("column \"{column}\": {}", error.message());
            let diagnostic = Diagnostic::error(span, message);
            let hint = error.hint_text().map(str::to_owned);
            self.checked.out.push_hidden(&read.file, Diagnostic { hint, ..diagnostic });
        };
        if let Err(error) = secret::parts(text) {
            hidden(&error);
            return;
        }
        if let Some(forms) = self.connectors.forms
            && let Err(error) = (forms.mask)(text)
        {
            hidden(&error);
        }
    }

    fn rule_expression(
        &mut self,
        read: &Read<Rule>,
        span: Span,
        node: &Node,
        key: &str,
        sql: &str,
    ) {
        self.expression(&read.file, node, key, sql, key);
        let declared = self.loaded.project.as_ref().map(|project| &project.value.groups);
        let attributes: BTreeSet<&str> = declared
            .into_iter()
            .flatten()
            .flat_map(|(_, group)| group.attributes.keys().map(String::as_str))
            .chain(ALWAYS)
            .collect();
        for name in rule::names(sql) {
            if !attributes.contains(name.as_str()) {
                let message = format!("no group has the attribute \"{name}\" that ${name} takes");
                let near = suggest::nearest(&name, attributes.iter().copied());
                let hint = match near {
                    Some(near) => format!("Did you mean ${near}?"),
                    None => "Give it to groups in flywheel.yaml, under `attributes`.".to_owned(),
                };
                self.rule_says(read, span, message, &hint);
            }
        }
    }
}
