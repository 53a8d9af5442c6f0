//! Settings by folder: `models:`, `seeds:`, `snapshots:` and `data_tests:` of `dbt_project.yml`.

use std::sync::Arc;

use crate::file::SourceFile;
use crate::yaml::{Node, Style, Value};

/// The blocks of settings of a project.
#[derive(Clone, Debug)]
pub(crate) struct Configs {
    /// The file they are in.
    pub(crate) file: Arc<SourceFile>,
    project: String,
    models: Option<Node>,
    seeds: Option<Node>,
    snapshots: Option<Node>,
    tests: Option<Node>,
}

/// One of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    Models,
    Seeds,
    Snapshots,
    Tests,
}

impl Configs {
    pub(super) fn new(file: Arc<SourceFile>, project: &str, node: &Node) -> Self {
        let block = |key: &str| node.get(key).cloned();
        Self {
            file,
            project: project.to_owned(),
            models: block("models"),
            seeds: block("seeds"),
            snapshots: block("snapshots"),
            tests: block("data_tests").or_else(|| block("tests")),
        }
    }

    /// The settings for the file at `path`, whose first part is the folder of its kind: those of the
    /// outermost level first. A key is a setting if it has a plus sign, or is none of the parts.
    pub(crate) fn levels(&self, block: Block, path: &str) -> Vec<Node> {
        let root = match block {
            Block::Models => &self.models,
            Block::Seeds => &self.seeds,
            Block::Snapshots => &self.snapshots,
            Block::Tests => &self.tests,
        };
        let Some(root) = root else { return Vec::new() };
        let mut levels = vec![settings(root)];
        let Some(mut node) = root.get(&self.project) else { return levels };
        levels.push(settings(node));
        for part in path.split('/').skip(1) {
            let part = part.rsplit_once('.').map_or(part, |(name, _)| name);
            let Some(next) = node.get(part) else { break };
            levels.push(settings(next));
            node = next;
        }
        levels
    }
}

/// The settings of one level, without their plus signs and without the folders below.
fn settings(node: &Node) -> Node {
    let Value::Map(entries) = &node.value else {
        return Node { value: Value::Map(Vec::new()), span: node.span, style: Style::Plain };
    };
    let mut kept = Vec::new();
    for (key, value) in entries {
        let mut key = key.clone();
        match key.name.strip_prefix('+') {
            Some(bare) => key.name = bare.to_owned(),
            // A mapping without a plus sign is a folder.
            None if matches!(value.value, Value::Map(_) | Value::Null) => continue,
            None => {}
        }
        kept.push((key, value.clone()));
    }
    Node { value: Value::Map(kept), span: node.span, style: Style::Plain }
}
