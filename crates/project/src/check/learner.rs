//! Learners: their SQL.

use super::Check;
use crate::graph::{NodeId, NodeKind};
use crate::yaml::Step;

impl Check<'_> {
    pub(super) fn learners(&mut self) {
        let loaded = self.loaded;
        for (name, read) in &loaded.learners {
            let id = NodeId::new(NodeKind::Learner, name);
            let Ok(kind) = read.value.kind() else { continue };
            for (key, sql) in kind.queries() {
                let node = read.node.find(&[Step::Key(kind.name()), Step::Key(key)]);
                self.query(&id, sql, &read.file, node);
            }
        }
    }
}
