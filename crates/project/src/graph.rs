//! One graph of everything that depends on something: connections, syncs, links, splits, merges, source tables,
//! models, semantic views, metrics, dashboards, published queries, learners, policies, actions and schedules, with edges in the direction
//! data flows.

mod select;

pub use select::{Known, glob};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use serde::Serialize;

use crate::model::ModelConfig;

/// The kind of a node, in the order of the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// An outside system.
    Connection,
    /// Streams that land.
    Sync,
    /// Events that are handed in.
    Topic,
    /// Records kept alike on two systems.
    Link,
    /// A system that is taken apart.
    Split,
    /// Several systems that are made one.
    Merge,
    /// A landed table, named `schema.table`.
    Source,
    /// An SQL model.
    Model,
    /// What a table means.
    Semantic,
    /// A data standard.
    Dictionary,
    /// What is promised about a table's rows.
    Quality,
    /// A figure of the business.
    Metric,
    /// Figures that are looked at together.
    Dashboard,
    /// Rows that programs call for.
    Query,
    /// Something learned.
    Learner,
    /// Decisions.
    Policy,
    /// A way out.
    Action,
    /// What is run by itself.
    Schedule,
    /// What somebody is told of.
    Alert,
    /// Who sees which rows and columns.
    Rule,
    /// Who may see, change or run what.
    Grant,
    /// Pages and panels of one's own.
    Extension,
    /// What reads models outside of the project, dbt's word.
    Exposure,
}

impl NodeKind {
    /// Every kind, in the order of the wheel.
    pub const ALL: [Self; 23] = [
        Self::Connection,
        Self::Sync,
        Self::Topic,
        Self::Link,
        Self::Split,
        Self::Merge,
        Self::Source,
        Self::Model,
        Self::Semantic,
        Self::Dictionary,
        Self::Quality,
        Self::Metric,
        Self::Dashboard,
        Self::Query,
        Self::Learner,
        Self::Policy,
        Self::Action,
        Self::Schedule,
        Self::Alert,
        Self::Rule,
        Self::Grant,
        Self::Extension,
        Self::Exposure,
    ];

    /// The kind's word, as in messages and selectors.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Sync => "sync",
            Self::Topic => "topic",
            Self::Link => "link",
            Self::Split => "split",
            Self::Merge => "merge",
            Self::Source => "source",
            Self::Model => "model",
            Self::Semantic => "semantic",
            Self::Dictionary => "dictionary",
            Self::Quality => "quality",
            Self::Metric => "metric",
            Self::Dashboard => "dashboard",
            Self::Query => "query",
            Self::Learner => "learner",
            Self::Policy => "policy",
            Self::Action => "action",
            Self::Schedule => "schedule",
            Self::Alert => "alert",
            Self::Rule => "rule",
            Self::Grant => "grant",
            Self::Extension => "extension",
            Self::Exposure => "exposure",
        }
    }
}

/// What identifies a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeId {
    /// The kind.
    pub kind: NodeKind,
    /// The name, unique within the kind.
    pub name: String,
}

impl NodeId {
    /// Names a node.
    pub fn new(kind: NodeKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.kind.word(), self.name)
    }
}

/// What the graph knows about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// The file that declares it, relative to the project folder; none for tables nobody declares.
    pub file: Option<String>,
    /// Its tags, for `tag:`.
    pub tags: Vec<String>,
    /// The source a table belongs to, for `source:`.
    pub source: Option<String>,
    /// How a model is built, for `config.materialized:` and the like.
    pub config: Option<ModelConfig>,
}

#[derive(Clone, Debug, Default)]
struct Links {
    info: NodeInfo,
    upstream: BTreeSet<NodeId>,
    downstream: BTreeSet<NodeId>,
}

/// The reference graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<NodeId, Links>,
    order: Vec<NodeId>,
}

impl Graph {
    /// Adds a node, or what is known about it.
    pub(crate) fn add(&mut self, id: NodeId, info: NodeInfo) {
        self.nodes.entry(id).or_default().info = info;
    }

    /// Notes the source that a table belongs to.
    pub(crate) fn note_source(&mut self, id: &NodeId, source: &str) {
        self.nodes.entry(id.clone()).or_default().info.source = Some(source.to_owned());
    }

    /// Adds a node of which nothing is known, unless it is there.
    pub(crate) fn touch(&mut self, id: &NodeId) {
        self.nodes.entry(id.clone()).or_default();
    }

    /// Adds an edge in the direction data flows; a node not yet known is added.
    pub(crate) fn link(&mut self, from: &NodeId, to: &NodeId) {
        self.nodes.entry(from.clone()).or_default().downstream.insert(to.clone());
        self.nodes.entry(to.clone()).or_default().upstream.insert(from.clone());
    }

    /// Orders the nodes; returns one cycle for each knot that cannot be ordered.
    pub(crate) fn finish(&mut self) -> Vec<Vec<NodeId>> {
        let mut cycles = Vec::new();
        let mut left: BTreeMap<&NodeId, usize> =
            self.nodes.iter().map(|(id, links)| (id, links.upstream.len())).collect();
        let mut ready: BTreeSet<&NodeId> =
            left.iter().filter(|(_, open)| **open == 0).map(|(id, _)| *id).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while !left.is_empty() {
            let Some(id) = ready.pop_first() else {
                // Only knots and what hangs behind them is left: report one, cut it out, go on.
                let Some(cycle) = left.keys().find_map(|id| self.cycle(id, &left)) else { break };
                for id in &cycle {
                    if let Some((id, open)) = left.get_key_value(id).map(|(id, open)| (*id, *open))
                        && open > 0
                    {
                        left.insert(id, 0);
                        ready.insert(id);
                    }
                }
                cycles.push(cycle);
                continue;
            };
            if left.remove(id).is_none() {
                continue;
            }
            order.push(id.clone());
            for next in self.nodes.get(id).into_iter().flat_map(|links| &links.downstream) {
                if let Some(open) = left.get_mut(next)
                    && *open > 0
                {
                    *open -= 1;
                    if *open == 0 {
                        ready.insert(next);
                    }
                }
            }
        }
        self.order = order;
        cycles
    }

    /// The shortest way from `start` back to itself through nodes in `left`.
    fn cycle(&self, start: &NodeId, left: &BTreeMap<&NodeId, usize>) -> Option<Vec<NodeId>> {
        let mut came_from: BTreeMap<&NodeId, &NodeId> = BTreeMap::new();
        let mut queue = VecDeque::from([self.nodes.get_key_value(start)?.0]);
        while let Some(id) = queue.pop_front() {
            for next in self.nodes.get(id).into_iter().flat_map(|links| &links.downstream) {
                if next == start {
                    let mut path = vec![id.clone()];
                    let mut at = id;
                    while let Some(before) = came_from.get(at).filter(|_| at != start) {
                        path.push((*before).clone());
                        at = before;
                    }
                    path.reverse();
                    return Some(path);
                }
                if left.contains_key(next) && !came_from.contains_key(next) {
                    came_from.insert(next, id);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    /// Every node, sorted.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &NodeInfo)> {
        self.nodes.iter().map(|(id, links)| (id, &links.info))
    }

    /// Every edge, sorted, in the direction data flows.
    pub fn edges(&self) -> impl Iterator<Item = (&NodeId, &NodeId)> {
        self.nodes.iter().flat_map(|(id, links)| links.downstream.iter().map(move |to| (id, to)))
    }

    /// What is known about a node.
    #[must_use]
    pub fn info(&self, id: &NodeId) -> Option<&NodeInfo> {
        self.nodes.get(id).map(|links| &links.info)
    }

    /// Every node after all it depends on; nodes that do not depend on each other by kind and name.
    #[must_use]
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// What the node reads directly, sorted.
    pub fn upstream(&self, id: &NodeId) -> impl Iterator<Item = &NodeId> {
        self.nodes.get(id).into_iter().flat_map(|links| &links.upstream)
    }

    /// What reads the node directly, sorted.
    pub fn downstream(&self, id: &NodeId) -> impl Iterator<Item = &NodeId> {
        self.nodes.get(id).into_iter().flat_map(|links| &links.downstream)
    }

    /// Everything the node depends on, without itself.
    #[must_use]
    pub fn ancestors(&self, id: &NodeId) -> BTreeSet<NodeId> {
        self.reach(id, |links| &links.upstream, usize::MAX)
    }

    /// Everything that depends on the node, without itself.
    #[must_use]
    pub fn descendants(&self, id: &NodeId) -> BTreeSet<NodeId> {
        self.reach(id, |links| &links.downstream, usize::MAX)
    }

    fn reach(
        &self,
        start: &NodeId,
        next: fn(&Links) -> &BTreeSet<NodeId>,
        steps: usize,
    ) -> BTreeSet<NodeId> {
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([(start, 0)]);
        while let Some((id, step)) = queue.pop_front() {
            if step >= steps {
                continue;
            }
            for other in self.nodes.get(id).into_iter().flat_map(next) {
                if other != start && seen.insert(other.clone()) {
                    queue.push_back((other, step + 1));
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests;
