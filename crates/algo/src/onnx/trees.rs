//! Ensembles of decision trees as ONNX writes them.
//!
//! The runtime's own operator follows the numbers of nodes in the file without looking, and has neither regressors nor the
//! one base value that scikit-learn writes for two classes.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::internal::bail;

/// An ensemble whose every way down ends in a leaf.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ensemble {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    votes: Vec<Vote>,
    /// Numbers that a row must have.
    pub(super) width: usize,
    /// Numbers that are made of a row.
    pub(super) outputs: usize,
    base: Vec<u32>,
    aggregate: Aggregate,
    transform: Transform,
    /// One sum decides between two classes.
    single: bool,
    /// All votes are above 0, so that the sum is a probability.
    positive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    feature: usize,
    threshold: u32,
    test: Test,
    yes: usize,
    no: usize,
    missing_yes: bool,
    votes: (usize, usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Vote {
    output: usize,
    weight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Test {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
    Leaf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Transform {
    None,
    Logistic,
    Softmax,
}

impl Ensemble {
    /// Reads and checks the attributes of a `TreeEnsembleClassifier` or `TreeEnsembleRegressor`.
    pub(super) fn parse(node: &NodeProto) -> TractResult<Self> {
        let classifier = node.op_type == "TreeEnsembleClassifier";
        let prefix = if classifier { "class" } else { "target" };
        let outputs = match classifier {
            true => super::read::labels(node).len(),
            false => usize::try_from(int(node, "n_targets").unwrap_or(1)).unwrap_or(0),
        };
        if outputs == 0 || outputs > super::WIDTH_MAX {
            bail!("{} has {outputs} classes or targets", node.op_type);
        }
        let (nodes, roots) = nodes(node)?;
        let mut made = Self {
            width: nodes.iter().map(|node| node.feature + 1).max().unwrap_or(1),
            nodes,
            roots,
            votes: Vec::new(),
            outputs,
            base: floats(node, "base_values").iter().map(|value| value.to_bits()).collect(),
            aggregate: aggregate(node)?,
            transform: transform(node)?,
            single: false,
            positive: false,
        };
        made.vote(node, prefix)?;
        if classifier && outputs == 2 {
            let mut named = made.votes.iter().map(|vote| vote.output);
            let first = named.next();
            made.single = named.all(|output| Some(output) == first);
        }
        made.positive = made.votes.iter().all(|vote| f32::from_bits(vote.weight) >= 0.0);
        let bases = made.base.len();
        if bases != 0 && bases != outputs && !(made.single && bases == 1) {
            bail!("{} has {bases} base values for {outputs} outputs", node.op_type);
        }
        Ok(made)
    }

    /// Gives the leaves what they vote for.
    fn vote(&mut self, node: &NodeProto, prefix: &str) -> TractResult<()> {
        let key = |name: &str| format!("{prefix}_{name}");
        let weights = floats(node, &key("weights"));
        let (ids, trees, leaves) =
            (ints(node, &key("ids")), ints(node, &key("treeids")), ints(node, &key("nodeids")));
        if [ids.len(), trees.len(), leaves.len()].iter().any(|count| *count != weights.len()) {
            bail!("{}: the lists of votes have different lengths", node.op_type);
        }
        let places = places(node)?;
        let mut all = Vec::with_capacity(weights.len());
        for (((id, tree), leaf), weight) in ids.iter().zip(trees).zip(leaves).zip(weights) {
            let output = usize::try_from(*id).ok().filter(|output| *output < self.outputs);
            let place = places.get(&(*tree, *leaf)).copied();
            let (Some(output), Some(place)) = (output, place) else {
                bail!(
                    "{}: a vote of tree {tree} names a node or class that is not there",
                    node.op_type
                );
            };
            all.push((place, Vote { output, weight: weight.to_bits() }));
        }
        // In the order of the file within a leaf, so that sums are the same each time.
        all.sort_by_key(|(place, _)| *place);
        for (at, (place, vote)) in all.into_iter().enumerate() {
            if let Some(node) = self.nodes.get_mut(place) {
                if node.votes.0 == node.votes.1 {
                    node.votes.0 = at;
                }
                node.votes.1 = at + 1;
            }
            self.votes.push(vote);
        }
        Ok(())
    }

    /// Appends what the ensemble makes of a row, which has at least `width` numbers.
    pub(super) fn score(&self, row: &[f32], into: &mut Vec<f32>) {
        let mut sums: Vec<Option<f64>> = vec![None; self.outputs];
        for root in &self.roots {
            let Some(leaf) = self.leaf(*root, row) else { continue };
            for vote in self.votes.get(leaf.votes.0..leaf.votes.1).unwrap_or_default() {
                let weight = f64::from(f32::from_bits(vote.weight));
                if let Some(sum) = sums.get_mut(vote.output) {
                    *sum = Some(match (self.aggregate, *sum) {
                        (_, None) => weight,
                        (Aggregate::Sum | Aggregate::Average, Some(sum)) => sum + weight,
                        (Aggregate::Min, Some(sum)) => sum.min(weight),
                        (Aggregate::Max, Some(sum)) => sum.max(weight),
                    });
                }
            }
        }
        let count = self.roots.len().max(1) as f64;
        let of = |sum: Option<f64>| match self.aggregate {
            Aggregate::Average => sum.unwrap_or_default() / count,
            _ => sum.unwrap_or_default(),
        };
        let base = |place: usize| {
            self.base.get(place).map_or(0.0, |bits| f64::from(f32::from_bits(*bits)))
        };
        if self.single {
            // As onnxruntime does: of two base values the second one counts.
            let sum: f64 = sums.iter().copied().flatten().sum();
            let sum = sum + base(self.base.len().saturating_sub(1));
            into.extend(self.of_two(sum).map(|value| value as f32));
            return;
        }
        let sums: Vec<f64> =
            sums.into_iter().enumerate().map(|(place, sum)| of(sum) + base(place)).collect();
        into.extend(self.transformed(&sums).into_iter().map(|value| value as f32));
    }

    fn leaf(&self, root: usize, row: &[f32]) -> Option<&Node> {
        let mut at = root;
        loop {
            let node = self.nodes.get(at)?;
            if node.test == Test::Leaf {
                return Some(node);
            }
            let value = row.get(node.feature).copied().unwrap_or(f32::NAN);
            let threshold = f32::from_bits(node.threshold);
            let yes = match node.test {
                _ if value.is_nan() => node.missing_yes,
                Test::LessOrEqual => value <= threshold,
                Test::Less => value < threshold,
                Test::GreaterOrEqual => value >= threshold,
                Test::Greater => value > threshold,
                Test::Equal => value == threshold,
                Test::NotEqual | Test::Leaf => value != threshold,
            };
            at = if yes { node.yes } else { node.no };
        }
    }

    /// What one sum says of two classes.
    fn of_two(&self, sum: f64) -> [f64; 2] {
        match self.transform {
            _ if self.positive => [1.0 - sum, sum],
            Transform::Logistic => [logistic(-sum), logistic(sum)],
            Transform::None => [-sum, sum],
            Transform::Softmax => [logistic(-2.0 * sum), logistic(2.0 * sum)],
        }
    }

    fn transformed(&self, sums: &[f64]) -> Vec<f64> {
        match self.transform {
            Transform::None => sums.to_vec(),
            Transform::Logistic => sums.iter().copied().map(logistic).collect(),
            Transform::Softmax => {
                let top = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = sums.iter().map(|sum| (sum - top).exp()).collect();
                let all: f64 = powers.iter().sum();
                powers.into_iter().map(|power| power / all).collect()
            }
        }
    }
}

fn logistic(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}

/// The place of each node by the numbers of its tree and itself.
fn places(node: &NodeProto) -> TractResult<std::collections::HashMap<(i64, i64), usize>> {
    let (trees, ids) = (ints(node, "nodes_treeids"), ints(node, "nodes_nodeids"));
    let pairs = trees.iter().copied().zip(ids.iter().copied());
    let places: std::collections::HashMap<_, _> =
        pairs.enumerate().map(|(at, id)| (id, at)).collect();
    if places.len() != ids.len() || trees.len() != ids.len() || ids.is_empty() {
        bail!("{}: nodes are missing or there twice", node.op_type);
    }
    Ok(places)
}

/// The nodes, and where each tree begins. Every way down ends in a leaf.
fn nodes(node: &NodeProto) -> TractResult<(Vec<Node>, Vec<usize>)> {
    let places = places(node)?;
    let trees = ints(node, "nodes_treeids");
    let (features, yes, no) = (
        ints(node, "nodes_featureids"),
        ints(node, "nodes_truenodeids"),
        ints(node, "nodes_falsenodeids"),
    );
    let (thresholds, modes) = (floats(node, "nodes_values"), strings(node, "nodes_modes"));
    let missing = ints(node, "nodes_missing_value_tracks_true");
    let count = trees.len();
    let lengths = [features.len(), yes.len(), no.len(), thresholds.len(), modes.len()];
    if lengths.iter().any(|length| *length != count)
        || !(missing.is_empty() || missing.len() == count)
    {
        bail!("{}: the lists of nodes have different lengths", node.op_type);
    }
    let mut made = Vec::with_capacity(count);
    let mut above = vec![false; count];
    for at in 0..count {
        let test = test(&modes[at])?;
        let feature =
            usize::try_from(features[at]).ok().filter(|feature| *feature < super::WIDTH_MAX);
        let Some(feature) = feature else {
            bail!("{}: a node asks feature {}", node.op_type, features[at])
        };
        let child = |id: i64| places.get(&(trees[at], id)).copied();
        let (mut down, leaf) = ((at, at), test == Test::Leaf);
        if !leaf {
            let (Some(yes), Some(no)) = (child(yes[at]), child(no[at])) else {
                bail!("{}: a node of tree {} leads to none", node.op_type, trees[at]);
            };
            // Where two ways lead to a node, rows could go round for ever.
            for next in [yes, no] {
                if std::mem::replace(&mut above[next], true) {
                    bail!("{}: tree {} is no tree, two nodes lead to one", node.op_type, trees[at]);
                }
            }
            down = (yes, no);
        }
        made.push(Node {
            feature: if leaf { 0 } else { feature },
            threshold: thresholds[at].to_bits(),
            test,
            yes: down.0,
            no: down.1,
            missing_yes: missing.get(at).is_some_and(|flag| *flag != 0),
            votes: (0, 0),
        });
    }
    let roots: Vec<usize> = (0..count).filter(|at| !above[*at]).collect();
    let mut named: Vec<i64> = trees.to_vec();
    named.sort_unstable();
    named.dedup();
    if roots.len() != named.len() {
        bail!("{}: {} trees have {} roots", node.op_type, named.len(), roots.len());
    }
    // Nodes that lead to each other in a circle are below no root.
    let (mut open, mut reached) = (roots.clone(), 0);
    while let Some(at) = open.pop() {
        reached += 1;
        if let Some(node) = made.get(at).filter(|node| node.test != Test::Leaf) {
            open.extend([node.yes, node.no]);
        }
    }
    if reached != count {
        bail!(
            "{}: {} nodes are of no tree, they lead to each other",
            node.op_type,
            count - reached
        );
    }
    Ok((made, roots))
}

fn test(mode: &str) -> TractResult<Test> {
    Ok(match mode {
        "BRANCH_LEQ" => Test::LessOrEqual,
        "BRANCH_LT" => Test::Less,
        "BRANCH_GTE" => Test::GreaterOrEqual,
        "BRANCH_GT" => Test::Greater,
        "BRANCH_EQ" => Test::Equal,
        "BRANCH_NEQ" => Test::NotEqual,
        "LEAF" => Test::Leaf,
        other => bail!("a tree has a node of mode {other:?}"),
    })
}

fn aggregate(node: &NodeProto) -> TractResult<Aggregate> {
    Ok(match strings(node, "aggregate_function").first().map_or("SUM", String::as_str) {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => bail!("{} has the aggregate function {other:?}", node.op_type),
    })
}

fn transform(node: &NodeProto) -> TractResult<Transform> {
    Ok(match strings(node, "post_transform").first().map_or("NONE", String::as_str) {
        "NONE" => Transform::None,
        "LOGISTIC" => Transform::Logistic,
        "SOFTMAX" => Transform::Softmax,
        other => bail!(
            "{} ends in {other}, which is not run here: NONE, LOGISTIC and SOFTMAX are",
            node.op_type
        ),
    })
}

pub(super) fn floats<'n>(node: &'n NodeProto, name: &str) -> &'n [f32] {
    node.attribute
        .iter()
        .find(|one| one.name == name)
        .map(|one| one.floats.as_slice())
        .unwrap_or_default()
}

pub(super) fn ints<'n>(node: &'n NodeProto, name: &str) -> &'n [i64] {
    node.attribute
        .iter()
        .find(|one| one.name == name)
        .map(|one| one.ints.as_slice())
        .unwrap_or_default()
}

pub(super) fn int(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|one| one.name == name).map(|one| one.i)
}

/// Texts of a list, or the one text of an attribute.
pub(super) fn strings(node: &NodeProto, name: &str) -> Vec<String> {
    let Some(found) = node.attribute.iter().find(|one| one.name == name) else { return Vec::new() };
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    match found.strings.is_empty() && !found.s.is_empty() {
        true => vec![text(&found.s)],
        false => found.strings.iter().map(text).collect(),
    }
}
