//! Exposures: what reads models outside of the project, as nodes of the graph.

use super::Check;
use crate::graph::{NodeId, NodeInfo, NodeKind};
use crate::yaml::{Node, Value};

impl Check<'_> {
    pub(super) fn exposures(&mut self) {
        let loaded = self.loaded;
        for (file, extra) in &loaded.extras {
            for node in &extra.exposures {
                let Some(name) = node.get("name").and_then(Node::text) else { continue };
                let id = NodeId::new(NodeKind::Exposure, name);
                let tags =
                    node.get("tags").or_else(|| node.get("config").and_then(|c| c.get("tags")));
                let tags = match tags.map(|tags| &tags.value) {
                    Some(Value::Text(tag)) => vec![tag.clone()],
                    Some(Value::List(tags)) => {
                        tags.iter().filter_map(|tag| tag.text().map(str::to_owned)).collect()
                    }
                    _ => Vec::new(),
                };
                let info = NodeInfo { file: Some(file.path.clone()), tags, ..NodeInfo::default() };
                self.checked.graph.add(id.clone(), info);
                for read in node.get("depends_on").map(Node::items).unwrap_or_default() {
                    // What it names beside tables, such as metrics, is no matter of builds.
                    let Some(text) = read.text() else { continue };
                    let table = ["ref(", "source("].iter().any(|word| text.contains(word));
                    if table && let Some(from) = self.test_target(file, text, read.span) {
                        self.checked.graph.link(&from, &id);
                    }
                }
            }
        }
    }
}
