//! Actions that write records: the connection they go by, how a record is found again, and what fills its fields.

use std::collections::BTreeSet;

use flywheel_base::suggest;
use serde_json::Value;

use super::Check;
use super::sync::at;
use crate::diagnostic::Diagnostic;
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::resource::action::{Action, Guarantee};
use crate::resource::policy::{Choose, Policy};
use crate::validate::{self, Rules};
use crate::yaml::Step;

/// What every payload has.
const ALWAYS: [&str; 3] = ["decision_id", "unit_id", "action"];

impl Check<'_> {
    /// A connection that takes records, a target that it knows, and something by which a repetition is told.
    pub(super) fn records(&mut self, read: &Read<Action>) {
        let action = &read.value;
        let Some(name) = action.connection() else { return };
        let options = read.node.find(&[Step::Key("options")]);
        let of = format!("action \"{}\"", action.action);
        let span = at(options, "connection");
        if !self.declared(NodeKind::Connection, name) {
            let message = format!("{of} names unknown connection \"{name}\"");
            let hint = self.near(&[NodeKind::Connection], name);
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return;
        }
        let to = NodeId::new(NodeKind::Action, &action.action);
        self.checked.graph.link(&NodeId::new(NodeKind::Connection, name), &to);
        self.told_apart(read);
        if let Err(error) = action.fields() {
            let mistake =
                Diagnostic::error(at(options, "fields"), format!("{of}: {}", error.message()));
            let hint = error.hint_text().unwrap_or_default();
            self.push(&read.file, mistake.hint(hint));
        }
        let (loaded, connectors) = (self.loaded, &self.connectors.connections);
        let Some(connection) = loaded.connections.get(name) else { return };
        let connector = &connection.value.connector;
        let Some(schemas) = connectors.get(connector) else { return };
        let Some((schema, _)) = schemas.target.as_ref().filter(|_| schemas.upserts) else {
            let takes = connectors.iter().filter(|(_, one)| one.upserts);
            let takes: Vec<&str> = takes.map(|(connector, _)| connector.as_str()).collect();
            let message = format!(
                "connection \"{name}\" of type \"{connector}\" takes no records from actions"
            );
            let hint = format!("Name a connection of type {}.", takes.join(", "));
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return;
        };
        if let Some(target) = options.get("target") {
            let subject = format!("the target of {of}");
            let rules = Rules { subject: &subject, schema, secrets: true };
            validate::validate(&read.file, target, rules, &mut self.checked.out);
        }
    }

    /// Records that are written again are the same ones, or are written once.
    fn told_apart(&mut self, read: &Read<Action>) {
        let action = &read.value;
        let target = action.options.get("target");
        let said = |key: &str| {
            let said = target.and_then(|target| target.get(key));
            said.is_some_and(|said| !matches!(said, Value::Null | Value::Bool(false)))
        };
        let keyed = action.options.contains_key("key");
        if keyed || said("idempotency_header") || said("repeatable") {
            return;
        }
        if action.guarantee == Guarantee::AtMostOnce {
            return;
        }
        let name = &action.action;
        let message = format!("a record that action \"{name}\" writes again would be there twice");
        let hint = "Set `key` to a field with unique values, such as an external id, or `guarantee: at-most-once`.";
        let options = read.node.find(&[Step::Key("options")]);
        self.push(&read.file, Diagnostic::error(at(options, "key"), message).hint(hint));
    }

    /// Whether the payloads of a policy have what fills the records of its action.
    pub(super) fn filled(&mut self, id: &NodeId, read: &Read<Policy>, action: &str) {
        let loaded = self.loaded;
        let Some(declared) = loaded.actions.get(action) else { return };
        // A place that is not closed is told at the action.
        let Ok(fields) = declared.value.fields() else { return };
        let policy = &read.value;
        let mut known: BTreeSet<&str> = ALWAYS.into();
        known.extend(policy.payload.keys().map(String::as_str));
        known.extend(of_candidates(policy));
        let mut told = BTreeSet::new();
        for (field, places) in &fields {
            for place in places {
                if known.contains(place.as_str()) || !told.insert(place) {
                    continue;
                }
                let message = format!(
                    "{id} sends no \"{place}\", which the field \"{field}\" of action \"{action}\" is filled with"
                );
                let near = suggest::hint(place, known.iter().copied());
                let hint = format!("{near} What is missing is added by `payload`.");
                let span = at(&read.node, "action");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
        }
    }
}

/// What the candidates of a policy add to its payload.
fn of_candidates(policy: &Policy) -> Vec<&str> {
    let keys: Vec<&String> = match &policy.choose {
        Choose::Candidates(all) => all.iter().flat_map(|one| one.payload.keys()).collect(),
        Choose::Experiment(experiment) => {
            experiment.variants.iter().flat_map(|one| one.payload.keys()).collect()
        }
        Choose::Bandit(bandit) => {
            bandit.candidates.iter().flatten().flat_map(|one| one.payload.keys()).collect()
        }
        Choose::Recommend(_) | Choose::Reorder(_) => Vec::new(),
    };
    keys.into_iter().map(String::as_str).collect()
}
