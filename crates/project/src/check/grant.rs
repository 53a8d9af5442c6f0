//! Grants: whose they are, and whether what they name is there.

use std::collections::BTreeSet;

use flywheel_base::suggest;

use super::Check;
use super::sync::at;
use crate::diagnostic::Diagnostic;
use crate::grant::{Deed, Governed};
use crate::graph::{NodeKind, glob};
use crate::load::Read;
use crate::resource::grant::Grant;
use crate::yaml::Step;

/// The schema of our own tables.
const OURS: &str = "system.";

impl Check<'_> {
    pub(super) fn grants(&mut self) {
        let loaded = self.loaded;
        for read in loaded.grants.values() {
            self.grant_holders(read);
            let names = Governed::ALL.into_iter().any(|kind| read.value.governs(kind));
            if !names {
                let message = format!("grant \"{}\" grants nothing", read.value.grant);
                let diagnostic = Diagnostic::error(at(&read.node, "grant"), message);
                let hint =
                    "Say what: `read`, `change` or `act`, such as `read: {tables: [marts.*]}`.";
                self.push(&read.file, diagnostic.hint(hint));
            }
            for kind in Governed::ALL {
                let known = self.names_of(kind);
                for deed in Deed::ALL {
                    self.grant_things(read, deed, kind, &known);
                }
            }
        }
    }

    fn grant_holders(&mut self, read: &Read<Grant>) {
        let (name, to) = (&read.value.grant, &read.value.to);
        if to.is_empty() {
            let message = format!("grant \"{name}\" is nobody's");
            let hint = "Say whose: `everybody: true`, `roles`, `groups` or `users`.";
            let diagnostic = Diagnostic::error(at(&read.node, "to"), message);
            self.push(&read.file, diagnostic.hint(hint));
        }
        let declared = self.loaded.project.as_ref().map(|project| &project.value.groups);
        let known: Vec<&str> =
            declared.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let nodes = read.node.find(&[Step::Key("to"), Step::Key("groups")]);
        let mut unknown = Vec::new();
        for (group, item) in to.groups.iter().zip(nodes.items()) {
            if !known.contains(&group.as_str()) {
                let message = format!("grant \"{name}\" names unknown group \"{group}\"");
                let hint = match known.is_empty() {
                    true => "Declare it under `groups:` in flywheel.yaml.".to_owned(),
                    false => suggest::hint(group, known.iter().copied()),
                };
                unknown.push(Diagnostic::error(item.span, message).hint(hint));
            }
        }
        for diagnostic in unknown {
            self.push(&read.file, diagnostic);
        }
    }

    /// What grants of a kind can mean.
    fn names_of(&self, kind: Governed) -> BTreeSet<String> {
        let of = |kind: NodeKind| {
            let declared = self.loaded.declared.keys().filter(move |id| id.kind == kind);
            declared.map(|id| id.name.clone()).collect()
        };
        match kind {
            Governed::Tables => self.relations(),
            // Metrics are declared within semantic views.
            Governed::Metrics => {
                let nodes = self.checked.graph.nodes();
                let metrics = nodes.filter(|(id, _)| id.kind == NodeKind::Metric);
                metrics.map(|(id, _)| id.name.clone()).collect()
            }
            Governed::Dashboards => of(NodeKind::Dashboard),
            Governed::Queries => of(NodeKind::Query),
            Governed::Learners => of(NodeKind::Learner),
            Governed::Policies => of(NodeKind::Policy),
            Governed::Syncs => of(NodeKind::Sync),
            Governed::Connections => of(NodeKind::Connection),
            Governed::Schedules => of(NodeKind::Schedule),
        }
    }

    fn grant_things(
        &mut self,
        read: &Read<Grant>,
        deed: Deed,
        kind: Governed,
        known: &BTreeSet<String>,
    ) {
        let name = &read.value.grant;
        let patterns = read.value.things(deed).of(kind);
        let nodes = read.node.find(&[Step::Key(deed.word()), Step::Key(kind.word())]);
        let mut found = Vec::new();
        for (pattern, item) in patterns.iter().zip(nodes.items()) {
            let ours = kind == Governed::Tables && pattern.starts_with(OURS);
            if ours && pattern.contains('*') {
                let message = format!(
                    "grant \"{name}\" names \"{pattern}\", and a star does not reach our own tables"
                );
                let hint = "Name each in full, such as system.runs; docs/reference/system-tables.md lists them.";
                found.push(Diagnostic::error(item.span, message).hint(hint));
                continue;
            }
            if ours || known.iter().any(|one| glob(pattern, one)) {
                continue;
            }
            // A star may wait for what comes, and a statement makes tables that no file declares; what is misspelt grants
            // nothing to anybody.
            let message =
                format!("grant \"{name}\" names {} that are not there: \"{pattern}\"", kind.word());
            let hint = suggest::hint(pattern, known.iter().map(String::as_str));
            found.push(Diagnostic::warning(item.span, message).hint(hint));
        }
        for diagnostic in found {
            self.push(&read.file, diagnostic);
        }
    }
}
