//! The `openlineage:` of `flywheel.yaml`: the action it names.

use super::Check;
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::NodeKind;
use crate::yaml::Step;

/// The types of action that events are sent by.
const SENDERS: [&str; 2] = ["webhook", "kafka"];

impl Check<'_> {
    pub(super) fn openlineage(&mut self) {
        let loaded = self.loaded;
        let Some(read) = &loaded.project else { return };
        let Some(declared) = &read.value.openlineage else { return };
        let span = |key: &str| read.node.find(&[Step::Key("openlineage"), Step::Key(key)]).span;
        if declared.action.is_none() && declared.file.is_none() {
            let place = read.node.find(&[Step::Key("openlineage")]).span;
            let mistake = Diagnostic::error(place, "openlineage names nobody who is told").hint(
                "Give `action`, the name of an action of type webhook or kafka, or `file`, a path, or both.",
            );
            self.push(&read.file, mistake);
        }
        if let Some(name) = &declared.action {
            let place = span("action");
            self.events_action(read, name, place);
        }
        if declared.file.as_deref().is_some_and(|file| file.is_empty() || file.ends_with('/')) {
            let mistake = Diagnostic::error(span("file"), "this is no path of a file")
                .hint("Write a file such as lineage/events.jsonl.");
            self.push(&read.file, mistake);
        }
        if declared.namespace.as_deref().is_some_and(|name| name.trim().is_empty()) {
            let mistake = Diagnostic::error(span("namespace"), "the namespace is empty")
                .hint("Leave it out to use the project's name.");
            self.push(&read.file, mistake);
        }
    }

    fn events_action(
        &mut self,
        read: &crate::load::Read<crate::resource::project_file::ProjectFile>,
        name: &str,
        span: Span,
    ) {
        let mistake = match self.loaded.actions.get(name) {
            Some(action) if !SENDERS.contains(&action.value.connector.as_str()) => Diagnostic::error(
                span,
                format!(
                    "action \"{name}\" is of type {}, which sends no events",
                    action.value.connector
                ),
            )
            .hint("Name an action of type webhook or kafka, or write the events into a file with `file`."),
            Some(action) if action.value.options.get("batch").is_some_and(|batch| batch != 1) => {
                Diagnostic::error(
                    span,
                    format!("action \"{name}\" sends several deliveries in one request"),
                )
                .hint("Receivers of OpenLineage take one event a request: leave out `batch`.")
            }
            Some(_) => return,
            None if self.declared(NodeKind::Action, name) => return,
            None => Diagnostic::error(span, format!("no action is named \"{name}\""))
                .hint(self.near(&[NodeKind::Action], name)),
        };
        self.push(&read.file, mistake);
    }
}
