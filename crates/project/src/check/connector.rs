//! Connections, actions and everything else whose options a connector reads.

use std::collections::BTreeMap;

use flywheel_base::suggest;
use schemars::Schema;

use super::Check;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::secret::{self, Part};
use crate::validate::{self, Rules};
use crate::yaml::{Node, Style, Value};

/// The shortest wait before a delivery is tried again, in microseconds.
const BACKOFF_MIN_US: i64 = 1_000_000;

/// The setting that lets a connector call addresses of the own network.
const ALLOWS: &str = "allow_private";
/// Settings that say where a connector calls.
const PLACES: [&str; 5] = ["url", "base_url", "instance_url", "token_url", "host"];

impl Check<'_> {
    pub(super) fn connections(&mut self) {
        let loaded = self.loaded;
        let known = self.connectors.connections.keys().map(String::as_str);
        let schemas: BTreeMap<&str, &Schema> = known
            .clone()
            .zip(self.connectors.connections.values().map(|schemas| &schemas.connection))
            .collect();
        for read in loaded.connections.values() {
            let connector = &read.value.connector;
            if !self.known_type(connector, &schemas, &read.file, &read.node) {
                continue;
            }
            let subject = format!("the options of connection \"{}\"", read.value.connection);
            let schema = schemas.get(connector.as_str()).copied();
            self.options(&read.file, &read.node, schema, &subject);
            self.private_places(&read.file, &read.node, schema, &subject);
        }
    }

    pub(super) fn actions(&mut self) {
        let loaded = self.loaded;
        let schemas: BTreeMap<&str, &Schema> =
            self.connectors.actions.iter().map(|(name, schema)| (name.as_str(), schema)).collect();
        for read in loaded.actions.values() {
            let connector = &read.value.connector;
            if read.value.backoff.micros < BACKOFF_MIN_US {
                let span = read.node.get("backoff").map_or(read.node.span, |node| node.span);
                let name = &read.value.action;
                let message = format!("the `backoff` of action \"{name}\" is too short");
                let hint = "Give at least a second, such as `backoff: 10s`.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
            if !self.known_type(connector, &schemas, &read.file, &read.node) {
                continue;
            }
            let subject = format!("the options of action \"{}\"", read.value.action);
            let schema = schemas.get(connector.as_str()).copied();
            self.options(&read.file, &read.node, schema, &subject);
            self.private_places(&read.file, &read.node, schema, &subject);
            self.records(read);
        }
    }

    /// Whether the connector exists; with no connectors at all nothing is checked.
    fn known_type(
        &mut self,
        connector: &str,
        schemas: &BTreeMap<&str, &Schema>,
        file: &SourceFile,
        node: &Node,
    ) -> bool {
        if schemas.is_empty() || schemas.contains_key(connector) {
            return true;
        }
        let span = node.get("type").map_or(node.span, |node| node.span);
        let hint = suggest::hint(connector, schemas.keys().copied());
        let message = format!("no connector is of type \"{connector}\"");
        self.push(file, Diagnostic::error(span, message).hint(hint));
        false
    }

    /// Checks `options` below `node` against the connector's schema, and its secrets.
    pub(super) fn options(
        &mut self,
        file: &SourceFile,
        node: &Node,
        schema: Option<&Schema>,
        subject: &str,
    ) {
        self.settings(file, node, "options", schema, subject);
    }

    /// Warns of addresses of the own network in `options` of a connector that calls these only if it is allowed to: whatever
    /// leaves by it would be refused.
    fn private_places(
        &mut self,
        file: &SourceFile,
        node: &Node,
        schema: Option<&Schema>,
        subject: &str,
    ) {
        let Some(private) = self.connectors.private else { return };
        let properties = schema.and_then(|schema| schema.get("properties"));
        let asks = properties.is_some_and(|properties| properties.get(ALLOWS).is_some());
        let Some(options) = node.get("options").filter(|_| asks) else { return };
        if options.get(ALLOWS).is_some_and(|node| node.value == Value::Bool(true)) {
            return;
        }
        let places = std::iter::once(options).chain(options.get("auth"));
        let places = places
            .flat_map(|node| PLACES.iter().filter_map(move |key| Some((*key, node.get(key)?))));
        let mut found = Vec::new();
        for (key, place) in places {
            let Value::Text(text) = &place.value else { continue };
            // What a reference stands for is not known here.
            let literal = secret::parts(text)
                .is_ok_and(|parts| parts.iter().all(|part| matches!(part, Part::Text(_))));
            if literal && private(text) {
                let message = format!(
                    "the `{key}` in {subject} is an address of the own network or of this machine, which is not called"
                );
                let hint = format!("Write `{ALLOWS}: true` beside it if this service is meant.");
                found.push(Diagnostic::warning(place.span, message).hint(hint));
            }
        }
        for warning in found {
            // A URL may hold a key.
            self.checked.out.push_hidden(file, warning);
        }
    }

    /// Checks the settings under `key` of `node` against the connector's schema, and their secrets.
    pub(super) fn settings(
        &mut self,
        file: &SourceFile,
        node: &Node,
        key: &str,
        schema: Option<&Schema>,
        subject: &str,
    ) {
        let start = match &node.value {
            Value::Map(entries) => entries.first().map_or(node.span, |(key, _)| key.span),
            _ => node.span,
        };
        let none = Node { value: Value::Map(Vec::new()), span: start, style: Style::Plain };
        let options = node.get(key).unwrap_or(&none);
        if let Some(schema) = schema {
            let rules = Rules { subject, schema, secrets: true };
            validate::validate(file, options, rules, &mut self.checked.out);
        }
        self.secrets(file, None, options);
    }

    /// Refuses references that are wrong, and secrets that stand in the file themselves.
    pub(super) fn secrets(&mut self, file: &SourceFile, name: Option<(&str, Span)>, node: &Node) {
        match &node.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    self.secrets(file, Some((&key.name, key.span)), value);
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.secrets(file, name, item)),
            Value::Text(text) => match secret::parts(text) {
                Err(error) => {
                    let mut diagnostic = Diagnostic::error(node.span, error.message());
                    diagnostic.hint = error.hint_text().map(str::to_owned);
                    self.checked.out.push_hidden(file, diagnostic);
                }
                Ok(parts) if parts.iter().all(|part| matches!(part, Part::Text(_))) => {
                    if !parts.is_empty() {
                        self.literal(file, name);
                    }
                }
                Ok(_) => {}
            },
            Value::Int(_) | Value::Float(_) => self.literal(file, name),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn literal(&mut self, file: &SourceFile, name: Option<(&str, Span)>) {
        if let Some((name, span)) = name
            && secret::is_secret_name(name)
        {
            let message = format!("\"{name}\" holds a secret in clear text");
            let hint = "Write ${secret:NAME}, ${env:NAME} or ${file:path} and keep the value out of the \
                        folder; if it was ever committed, replace it.";
            self.checked.out.push_hidden(file, Diagnostic::error(span, message).hint(hint));
        }
    }
}
