//! Learners: their SQL, and options that the chosen algorithm would not read.

use super::Check;
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::resource::learner::{Learner, LearnerKind, Recommend};
use crate::yaml::Step;

impl Check<'_> {
    pub(super) fn learners(&mut self) {
        let loaded = self.loaded;
        for (name, read) in &loaded.learners {
            let id = NodeId::new(NodeKind::Learner, name);
            let Ok(kind) = read.value.kind() else { continue };
            if let LearnerKind::Recommend(recommend) = kind {
                self.foreign_options(name, recommend, read);
            }
            for (key, sql) in kind.queries() {
                let node = read.node.find(&[Step::Key(kind.name()), Step::Key(key)]);
                self.query(&id, sql, &read.file, node);
            }
        }
    }

    /// Options of an algorithm that is not the chosen one have no effect, so they are a mistake.
    fn foreign_options(&mut self, name: &str, recommend: &Recommend, read: &Read<Learner>) {
        let chosen = recommend.algorithm;
        for (key, algorithm) in recommend.given_options() {
            if algorithm == chosen {
                continue;
            }
            let entry = read.node.get("recommend").and_then(|node| node.entry(key));
            let span = entry.map_or(Span::FILE, |(key, _)| key.span);
            let (chosen, meant) = (chosen.name(), algorithm.name());
            let message =
                format!("learner \"{name}\" has options of {meant}, but its algorithm is {chosen}");
            let hint = format!("Write algorithm: {meant}, or remove \"{key}\".");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
    }
}
