//! The graph of columns: what every column of the project is made of and what is made of it.
//!
//! Nodes are kept by number, edges once with lists of them in both directions, so that a question costs
//! what its answer is long, whichever way it goes. Circles are allowed: what a decision brings about
//! is landed again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use flywheel_base::{Error, Result, suggest};
use serde::Serialize;

use super::trace::{Influence, Transform};

/// How many nodes an answer may have.
const PART_NODES_MAX: usize = 100_000;

/// What a column belongs to, in the order of the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssetKind {
    /// A stream of a connection, a seed's file, or a target outside.
    Outside,
    /// A data set that another tool told us of.
    Foreign,
    /// A landed table, or one of our own.
    Source,
    /// An SQL model.
    Model,
    /// A test or a quality check.
    Test,
    /// A dimension of a semantic view.
    Dimension,
    /// A measure of a semantic view.
    Measure,
    /// A metric.
    Metric,
    /// A published query.
    Query,
    /// A learner's inputs, and its tables.
    Learner,
    /// A policy's audience, choice and outcome.
    Policy,
    /// What an action sends.
    Action,
    /// What reads models outside of the project.
    Exposure,
}

impl AssetKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Outside,
        Self::Foreign,
        Self::Source,
        Self::Model,
        Self::Test,
        Self::Dimension,
        Self::Measure,
        Self::Metric,
        Self::Query,
        Self::Learner,
        Self::Policy,
        Self::Action,
        Self::Exposure,
    ];

    /// The kind's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Foreign => "foreign",
            Self::Source => "source",
            Self::Model => "model",
            Self::Test => "test",
            Self::Dimension => "dimension",
            Self::Measure => "measure",
            Self::Metric => "metric",
            Self::Query => "query",
            Self::Learner => "learner",
            Self::Policy => "policy",
            Self::Action => "action",
            Self::Exposure => "exposure",
        }
    }

    /// Whether its name alone says what it is, as that of a table in SQL does.
    fn is_table(self) -> bool {
        matches!(self, Self::Source | Self::Model | Self::Learner)
    }
}

/// What happens on the way from one column to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeKind {
    /// The value is passed on as it is.
    Identity,
    /// The value goes into an expression of one row.
    Transform,
    /// The value goes into a window function.
    Window,
    /// The value goes into an aggregate of many rows.
    Aggregate,
    /// The value is learned from.
    Learn,
    /// It decides which rows there are, in a `WHERE`, `HAVING` or `FILTER`.
    Filter,
    /// It decides which rows are brought together.
    Join,
    /// Rows are grouped by it.
    Group,
    /// Rows are sorted by it.
    Sort,
    /// Windows are divided by it.
    Partition,
    /// It decides between values, in a `CASE`.
    Condition,
    /// It is tested, or read by something outside whose columns are not known.
    Check,
}

impl EdgeKind {
    /// The kind's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Transform => "transform",
            Self::Window => "window",
            Self::Aggregate => "aggregate",
            Self::Learn => "learn",
            Self::Filter => "filter",
            Self::Join => "join",
            Self::Group => "group",
            Self::Sort => "sort",
            Self::Partition => "partition",
            Self::Condition => "condition",
            Self::Check => "check",
        }
    }

    /// Whether values flow, rather than decide.
    #[must_use]
    pub fn is_direct(self) -> bool {
        self <= Self::Learn
    }
}

impl From<Transform> for EdgeKind {
    fn from(transform: Transform) -> Self {
        match transform {
            Transform::Identity => Self::Identity,
            Transform::Computed => Self::Transform,
            Transform::Window => Self::Window,
            Transform::Aggregate => Self::Aggregate,
        }
    }
}

impl From<Influence> for EdgeKind {
    fn from(influence: Influence) -> Self {
        match influence {
            Influence::Filter => Self::Filter,
            Influence::Join => Self::Join,
            Influence::Group => Self::Group,
            Influence::Sort => Self::Sort,
            Influence::Window => Self::Partition,
            Influence::Condition => Self::Condition,
        }
    }
}

/// What identifies a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ColumnKey {
    /// What it belongs to.
    pub kind: AssetKind,
    /// The asset: `schema.name` for a table, `connection/stream` for what is outside, else its name.
    pub asset: String,
    /// The column; none for an asset that is one value, as a metric is.
    pub column: Option<String>,
}

impl ColumnKey {
    /// A column of an asset.
    pub fn new(kind: AssetKind, asset: impl Into<String>, column: impl Into<String>) -> Self {
        Self { kind, asset: asset.into(), column: Some(column.into()) }
    }

    /// An asset that is one value.
    pub fn whole(kind: AssetKind, asset: impl Into<String>) -> Self {
        Self { kind, asset: asset.into(), column: None }
    }

    /// The asset, with its kind unless it is a table: `mart.orders`, `metric:revenue`.
    #[must_use]
    pub fn asset_shown(&self) -> String {
        match self.kind.is_table() {
            true => self.asset.clone(),
            false => format!("{}:{}", self.kind.word(), self.asset),
        }
    }
}

impl fmt::Display for ColumnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "{}.{column}", self.asset_shown()),
            None => write!(f, "{}", self.asset_shown()),
        }
    }
}

/// Why a column's values are not for everyone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "mark", content = "why")]
pub enum Mark {
    /// It is masked as it lands, by this mask.
    Masked(String),
    /// `flywheel.yaml` says that it is masked, or its asset has the tag `pii`.
    Sensitive(String),
    /// It is made of a marked column, the nearest one.
    Derived(String),
}

/// A column.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnNode {
    /// What identifies it.
    #[serde(flatten)]
    pub key: ColumnKey,
    /// What it is computed by, if that can be told in one expression.
    pub expression: Option<String>,
    /// Whether its values are not for everyone.
    #[serde(flatten)]
    pub mark: Option<Mark>,
}

/// An edge, in the direction data flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnEdge {
    /// What is read, by its number.
    pub from: usize,
    /// What it goes into, by its number.
    pub to: usize,
    /// What happens on the way.
    pub kind: EdgeKind,
}

/// Which way a question goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// What it is made of.
    Upstream,
    /// What is made of it.
    Downstream,
}

/// A part of the graph: what one question found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The nodes by number, each with the steps to it; nearest first.
    pub nodes: Vec<(usize, usize)>,
    /// The edges by number, in the order they were found.
    pub edges: Vec<usize>,
    /// Whether more lies behind the depth that was asked for.
    pub cut: bool,
}

/// Every column, and how one leads to another.
#[derive(Clone, Debug, Default)]
pub struct ColumnGraph {
    nodes: Vec<ColumnNode>,
    edges: Vec<ColumnEdge>,
    numbers: HashMap<ColumnKey, usize>,
    /// Edges by their ends; those that values flow by have no kind here, since there is only one.
    known: HashMap<(usize, usize, Option<EdgeKind>), usize>,
    into: Vec<Vec<usize>>,
    out_of: Vec<Vec<usize>>,
    /// What could not be found out.
    pub notes: Vec<String>,
}

impl ColumnGraph {
    /// Every node, in the order they were added.
    #[must_use]
    pub fn nodes(&self) -> &[ColumnNode] {
        &self.nodes
    }

    /// Every edge, in the order they were added.
    #[must_use]
    pub fn edges(&self) -> &[ColumnEdge] {
        &self.edges
    }

    /// The number of a node, if it is there.
    #[must_use]
    pub fn number(&self, key: &ColumnKey) -> Option<usize> {
        self.numbers.get(key).copied()
    }

    /// The number of a node; one that is not there is added.
    pub fn add(&mut self, key: ColumnKey) -> usize {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = self.nodes.len();
        self.numbers.insert(key.clone(), number);
        self.nodes.push(ColumnNode { key, expression: None, mark: None });
        self.into.push(Vec::new());
        self.out_of.push(Vec::new());
        number
    }

    /// Adds an edge. Of several ways that values flow the stronger counts; a column never leads to itself.
    pub fn link(&mut self, from: usize, to: usize, kind: EdgeKind) {
        if from == to || from >= self.nodes.len() || to >= self.nodes.len() {
            return;
        }
        let ends = (from, to, (!kind.is_direct()).then_some(kind));
        if let Some(known) = self.known.get(&ends) {
            if let Some(edge) = self.edges.get_mut(*known) {
                edge.kind = edge.kind.max(kind);
            }
            return;
        }
        let number = self.edges.len();
        self.known.insert(ends, number);
        self.edges.push(ColumnEdge { from, to, kind });
        if let (Some(out), Some(into)) = (self.out_of.get_mut(from), self.into.get_mut(to)) {
            out.push(number);
            into.push(number);
        }
    }

    /// Says what a column is computed by.
    pub fn explain(&mut self, node: usize, expression: Option<String>) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.expression = expression;
        }
    }

    /// Marks a column whose values are not for everyone; the first mark stays.
    pub fn mark(&mut self, node: usize, mark: Mark) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.mark.get_or_insert(mark);
        }
    }

    /// Marks everything that is made of a marked column. What only decides, as a filter does, passes no mark on.
    pub fn spread_marks(&mut self) {
        for node in &mut self.nodes {
            node.mark.take_if(|mark| matches!(mark, Mark::Derived(_)));
        }
        let marked = self.nodes.iter().enumerate().filter(|(_, node)| node.mark.is_some());
        let mut open: VecDeque<(usize, String)> =
            marked.map(|(number, node)| (number, node.key.to_string())).collect();
        while let Some((at, why)) = open.pop_front() {
            for edge in self.out_of.get(at).into_iter().flatten() {
                let Some(edge) = self.edges.get(*edge).filter(|edge| edge.kind.is_direct()) else {
                    continue;
                };
                let Some(next) = self.nodes.get_mut(edge.to).filter(|next| next.mark.is_none())
                else {
                    continue;
                };
                next.mark = Some(Mark::Derived(why.clone()));
                open.push_back((edge.to, why.clone()));
            }
        }
    }

    /// The nodes that a person means: `mart.orders`, `mart.orders.amount`, `orders.amount`, `metric:revenue`,
    /// `revenue`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name; [`flywheel_base::ErrorKind::Invalid`] if several
    /// assets are called so.
    pub fn find(&self, text: &str) -> Result<Vec<usize>> {
        let mut assets: BTreeMap<Name<'_>, Vec<usize>> = BTreeMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            assets.entry((node.key.kind, &node.key.asset)).or_default().push(number);
        }
        let nearest = called(&assets, text).into_iter().find(|found| !found.is_empty());
        if let Some(asset) = only(&nearest.unwrap_or_default(), text)? {
            return Ok(assets.get(&asset).cloned().unwrap_or_default());
        }
        for (at, _) in text.rmatch_indices('.') {
            let (name, column) = (text.get(..at).unwrap_or(""), text.get(at + 1..).unwrap_or(""));
            let ranks = called(&assets, name);
            // Of assets that are called alike the one that has the column is meant.
            let key = |asset: &Name<'_>| ColumnKey::new(asset.0, asset.1, column);
            for found in &ranks {
                let has = |asset: &Name<'_>| self.number(&key(asset)).is_some();
                let fitting: Vec<Name<'_>> = found.iter().copied().filter(has).collect();
                if let Some(asset) = only(&fitting, text)? {
                    return Ok(self.number(&key(&asset)).into_iter().collect());
                }
            }
            let known: Vec<&str> = ranks
                .iter()
                .flatten()
                .filter_map(|asset| assets.get(asset))
                .flatten()
                .filter_map(|number| self.nodes.get(*number)?.key.column.as_deref())
                .collect();
            if ranks.iter().any(|found| !found.is_empty()) {
                return Err(Error::not_found(format!("\"{name}\" has no column \"{column}\""))
                    .hint(suggest::hint(column, known)));
            }
        }
        let known: Vec<String> = assets
            .keys()
            .map(|(kind, asset)| ColumnKey::whole(*kind, *asset).asset_shown())
            .collect();
        Err(Error::not_found(format!("nothing in the project is called \"{text}\""))
            .hint(suggest::hint(text, known.iter().map(String::as_str))))
    }

    /// What the nodes are made of or lead to, at most `depth` steps away.
    ///
    /// # Cost
    /// What the answer is long.
    #[must_use]
    pub fn around(&self, start: &[usize], direction: Direction, depth: usize) -> Part {
        let mut part = Part::default();
        let mut seen = vec![false; self.nodes.len()];
        let mut open: VecDeque<(usize, usize)> = VecDeque::new();
        for at in start {
            if let Some(flag) = seen.get_mut(*at)
                && !std::mem::replace(flag, true)
            {
                open.push_back((*at, 0));
            }
        }
        while let Some((at, steps)) = open.pop_front() {
            part.nodes.push((at, steps));
            let edges = match direction {
                Direction::Upstream => self.into.get(at),
                Direction::Downstream => self.out_of.get(at),
            };
            let edges = edges.map(Vec::as_slice).unwrap_or_default();
            if steps >= depth || part.nodes.len() >= PART_NODES_MAX {
                part.cut |= !edges.is_empty();
                continue;
            }
            for number in edges {
                let Some(edge) = self.edges.get(*number) else { continue };
                part.edges.push(*number);
                let next = match direction {
                    Direction::Upstream => edge.from,
                    Direction::Downstream => edge.to,
                };
                if let Some(flag) = seen.get_mut(next)
                    && !std::mem::replace(flag, true)
                {
                    open.push_back((next, steps + 1));
                }
            }
        }
        part
    }

    /// The edges that lead into a node.
    pub fn inputs(&self, node: usize) -> impl Iterator<Item = ColumnEdge> + '_ {
        let edges = self.into.get(node).into_iter().flatten();
        edges.filter_map(|number| self.edges.get(*number).copied())
    }
}

/// An asset by its kind and name.
type Name<'a> = (AssetKind, &'a str);

/// The assets that are called so, the likeliest first: by a table's full name or with a kind, by the last part of a
/// table's name, by the bare name of anything else.
fn called<'a>(assets: &BTreeMap<Name<'a>, Vec<usize>>, text: &str) -> [Vec<Name<'a>>; 3] {
    let with_kind = text.split_once(':');
    let mut ranks = [Vec::new(), Vec::new(), Vec::new()];
    for (kind, asset) in assets.keys().copied() {
        let last = asset.rsplit('.').next().unwrap_or(asset);
        let rank = match kind.is_table() {
            _ if with_kind == Some((kind.word(), asset)) => 0,
            true if asset == text => 0,
            true if last == text => 1,
            false if asset == text => 2,
            _ => continue,
        };
        if let Some(found) = ranks.get_mut(rank) {
            found.push((kind, asset));
        }
    }
    ranks
}

/// The one asset that was found, if any.
fn only<'a>(found: &[Name<'a>], text: &str) -> Result<Option<Name<'a>>> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => {
            let shown = |(kind, asset): &Name<'a>| ColumnKey::whole(*kind, *asset).asset_shown();
            let names: Vec<String> = several.iter().map(shown).collect();
            Err(Error::invalid(format!("\"{text}\" may mean {}", names.join(", ")))
                .hint("Write its full name."))
        }
    }
}

#[cfg(test)]
mod tests;
