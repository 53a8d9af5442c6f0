//! Gradient boosted decision trees over binned columns.

mod bins;
mod grow;

use flywheel_base::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::bins::Binned;
use self::grow::Grower;
use crate::stats::finite;

/// The most columns.
pub const COLUMNS_MAX: usize = 4096;

/// The most leaves of a tree.
const LEAVES_MAX: usize = 1024;

/// The most trees.
const ROUNDS_MAX: usize = 10_000;

/// How far from 0 and 1 a base rate is taken to be.
const RATE_MIN: f64 = 1e-6;

/// What is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// A probability; targets are 0 and 1.
    Logistic,
    /// A number.
    Squared,
}

impl Loss {
    /// What `raw` scores stand for: the probability, or the number itself.
    #[must_use]
    pub fn value(self, raw: f64) -> f64 {
        match self {
            Self::Logistic => 1.0 / (1.0 + (-raw).exp()),
            Self::Squared => raw,
        }
    }

    /// How wrong a raw score is: minus the log-likelihood, or the square.
    #[must_use]
    pub fn of(self, raw: f64, target: f64) -> f64 {
        match self {
            Self::Logistic => {
                let margin = if target > 0.5 { raw } else { -raw };
                (-margin.abs()).exp().ln_1p() + (-margin).max(0.0)
            }
            Self::Squared => (raw - target).powi(2),
        }
    }

    /// First and second derivative by the raw score.
    fn slopes(self, raw: f64, target: f64) -> (f64, f64) {
        match self {
            Self::Logistic => {
                let chance = self.value(raw);
                (chance - target, chance * (1.0 - chance))
            }
            Self::Squared => (raw - target, 1.0),
        }
    }

    /// The best constant.
    fn base(self, targets: &[f64], weight: impl Fn(usize) -> f64) -> f64 {
        let sum: f64 = targets.iter().enumerate().map(|(at, target)| weight(at) * target).sum();
        let all: f64 = (0..targets.len()).map(weight).sum();
        let mean = if all > 0.0 { sum / all } else { 0.0 };
        match self {
            Self::Logistic => {
                let rate = mean.clamp(RATE_MIN, 1.0 - RATE_MIN);
                (rate / (1.0 - rate)).ln()
            }
            Self::Squared => mean,
        }
    }
}

/// How trees are grown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many trees.
    pub rounds: usize,
    /// By how much each tree moves the score.
    pub learning_rate: f64,
    /// The most leaves of a tree.
    pub leaves_max: usize,
    /// The fewest rows of a leaf.
    pub leaf_rows_min: usize,
    /// The pull of leaves towards 0.
    pub ridge: f64,
}

impl Default for Options {
    /// Small trees and small steps: on tables of a few thousand customers they beat large ones.
    fn default() -> Self {
        Self { rounds: 200, learning_rate: 0.05, leaves_max: 6, leaf_rows_min: 20, ridge: 5.0 }
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        finite::open_unit("learning_rate", self.learning_rate.min(1.0 - f64::EPSILON))?;
        let whole = |name: &str, value: usize, least: usize, most: usize| {
            (least..=most).contains(&value).then_some(()).ok_or_else(|| {
                Error::invalid(format!("{name} is {value}"))
                    .hint(format!("Give a number from {least} to {most}."))
            })
        };
        whole("rounds", self.rounds, 1, ROUNDS_MAX)?;
        whole("leaves_max", self.leaves_max, 2, LEAVES_MAX)?;
        whole("leaf_rows_min", self.leaf_rows_min, 1, usize::MAX)?;
        if !(self.ridge.is_finite() && self.ridge >= 0.0) {
            return Err(Error::invalid(format!("ridge is {}", self.ridge))
                .hint("Give 0 or a positive number."));
        }
        Ok(())
    }
}

/// Labelled rows.
///
/// # Shape
/// `features` holds the rows one after the other, each `width` wide; NaN is a missing value.
#[derive(Clone, Copy, Debug)]
pub struct Examples<'a> {
    /// The values.
    pub features: &'a [f64],
    /// How many a row has.
    pub width: usize,
    /// What came of each row.
    pub targets: &'a [f64],
}

impl Examples<'_> {
    pub(super) fn check(&self, loss: Loss) -> Result<()> {
        let ragged = self.features.len() != self.width * self.targets.len();
        if self.targets.is_empty() || self.width == 0 || ragged {
            return Err(Error::invalid(format!(
                "{} values are no {} rows of {} columns",
                self.features.len(),
                self.targets.len(),
                self.width
            ))
            .hint("Give at least one row and one column, and as many values as they have."));
        }
        if self.width > COLUMNS_MAX {
            return Err(Error::invalid(format!("rows have {} columns", self.width))
                .hint(format!("At most {COLUMNS_MAX} are taken.")));
        }
        if let Some(at) = self.features.iter().position(|value| value.is_infinite()) {
            return Err(Error::invalid(format!(
                "row {}, column {}: a feature is infinite",
                at / self.width,
                at % self.width
            ))
            .hint("Give a finite number, or NaN where it is not known."));
        }
        finite::all_finite("target", self.targets)?;
        let other = self.targets.iter().position(|target| *target != 0.0 && *target != 1.0);
        match other.filter(|_| loss == Loss::Logistic) {
            Some(at) => {
                Err(Error::invalid(format!("row {at}: the target is {}", self.targets[at]))
                    .hint("A probability is learned from targets 0 and 1."))
            }
            None => Ok(()),
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.features.chunks_exact(self.width)
    }
}

/// Refuses weights that are not one positive number for each row.
pub(super) fn check_weights(weights: &[f64], rows: usize) -> Result<()> {
    if let Some(at) = weights.iter().position(|weight| !(weight.is_finite() && *weight > 0.0)) {
        return Err(Error::invalid(format!("row {at}: the weight is {}", weights[at]))
            .hint("Give a number above 0; leave out rows that shall not count."));
    }
    if weights.len() == rows {
        return Ok(());
    }
    Err(Error::invalid(format!("{} weights are given for {rows} rows", weights.len()))
        .hint("Give one weight for each row."))
}

/// A place in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    /// What rows that come here get, were it a leaf.
    value: f64,
    /// Where they go on; `None` at a leaf.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    split: Option<Split>,
}

/// Where rows part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Split {
    column: u32,
    /// Values up to this go left.
    threshold: f64,
    missing_left: bool,
    left: u32,
    right: u32,
}

/// A tree; its first node is the root, and every node stands behind its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// The nodes that a row passes, from the root to a leaf, each with the column of its split.
    fn path<'a>(&'a self, row: &'a [f64]) -> impl Iterator<Item = &'a Node> {
        let mut at = self.nodes.first();
        std::iter::from_fn(move || {
            let node = at?;
            at = node.split.and_then(|split| {
                let value = row.get(split.column as usize).copied().unwrap_or(f64::NAN);
                let left =
                    if value.is_nan() { split.missing_left } else { value <= split.threshold };
                self.nodes.get(if left { split.left } else { split.right } as usize)
            });
            Some(node)
        })
    }

    fn value(&self, row: &[f64]) -> f64 {
        self.path(row).last().map_or(0.0, |leaf| leaf.value)
    }
}

/// Trees whose values add up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trees {
    loss: Loss,
    width: usize,
    base: f64,
    trees: Vec<Tree>,
    /// By how much the splits by each column lowered the loss.
    gains: Vec<f64>,
}

impl Trees {
    /// Grows trees over all rows.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if an option is out of range, values and rows do not fit, a feature is
    /// infinite, or a target is not finite or, for probabilities, neither 0 nor 1.
    /// # Cost
    /// O(rows · columns · depth) a tree, on all processors; the result does not depend on their number.
    /// # Source
    /// Friedman 2001; second-order gains as Chen & Guestrin 2016, histograms and growth by the best leaf as Ke et al.
    /// 2017. Equals scikit-learn's `HistGradientBoosting` with the same options in `tests/parity/trees.json`.
    pub fn fit(examples: &Examples<'_>, loss: Loss, options: &Options) -> Result<Self> {
        Self::grow(examples, None, loss, options, |_| true)
    }

    /// Grows trees over rows that count as much as their `weights` say; leaves still hold `leaf_rows_min` rows.
    ///
    /// # Errors
    /// As [`Trees::fit`]; [`flywheel_base::ErrorKind::Invalid`] unless there is a weight above 0 for each row.
    /// # Source
    /// As [`Trees::fit`]; scikit-learn's `sample_weight` in `tests/parity/trees.json`.
    pub fn fit_weighted(
        examples: &Examples<'_>,
        weights: &[f64],
        loss: Loss,
        options: &Options,
    ) -> Result<Self> {
        check_weights(weights, examples.targets.len())?;
        Self::grow(examples, Some(weights), loss, options, |_| true)
    }

    /// Grows one tree after another as long as `go_on` says so of what was grown.
    fn grow(
        examples: &Examples<'_>,
        weights: Option<&[f64]>,
        loss: Loss,
        options: &Options,
        mut go_on: impl FnMut(&Self) -> bool,
    ) -> Result<Self> {
        options.check()?;
        examples.check(loss)?;
        let binned = Binned::new(examples);
        let weight = |at: usize| weights.and_then(|all| all.get(at)).copied().unwrap_or(1.0);
        let base = loss.base(examples.targets, weight);
        let mut made = Self {
            loss,
            width: examples.width,
            base,
            trees: Vec::new(),
            gains: vec![0.0; examples.width],
        };
        let mut raw = vec![base; examples.targets.len()];
        let mut grower = Grower::new(&binned, *options);
        for _ in 0..options.rounds {
            let slopes: Vec<(f64, f64)> = raw
                .par_iter()
                .zip(examples.targets)
                .enumerate()
                .map(|(at, (raw, target))| {
                    let (first, second) = loss.slopes(*raw, *target);
                    (weight(at) * first, weight(at) * second)
                })
                .collect();
            let tree = grower.tree(&slopes, &mut raw, &mut made.gains);
            made.trees.push(tree);
            if !go_on(&made) {
                break;
            }
        }
        Ok(made)
    }

    /// How many trees there are.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.trees.len()
    }

    /// How many values a row has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The score of a row before it is made a probability.
    fn raw(&self, row: &[f64]) -> f64 {
        self.base + self.trees.iter().map(|tree| tree.value(row)).sum::<f64>()
    }

    /// The probability, or the number, for a row; NaN is a missing value.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the row has another width.
    pub fn predict(&self, row: &[f64]) -> Result<f64> {
        self.require(row)?;
        Ok(self.loss.value(self.raw(row)))
    }

    /// By how much each column moved the raw score of a row, summed over the splits on its way. They sum to the score less
    /// that of a row of which nothing is known.
    ///
    /// # Errors
    /// As [`Trees::predict`].
    /// # Source
    /// Saabas 2014; a split that comes late on the way gets less than a Shapley value would give it.
    pub fn contributions(&self, row: &[f64]) -> Result<Vec<f64>> {
        self.require(row)?;
        let mut sums = vec![0.0; self.width];
        for tree in &self.trees {
            let mut before: Option<&Node> = None;
            for node in tree.path(row) {
                let column = before.and_then(|before| Some((before, before.split?.column)));
                if let Some((before, column)) = column
                    && let Some(sum) = sums.get_mut(column as usize)
                {
                    *sum += node.value - before.value;
                }
                before = Some(node);
            }
        }
        Ok(sums)
    }

    /// The share of each column in what the splits lowered the loss by; all 0 if there is no split.
    #[must_use]
    pub fn importance(&self) -> Vec<f64> {
        let all: f64 = self.gains.iter().sum();
        self.gains.iter().map(|gain| if all > 0.0 { gain / all } else { 0.0 }).collect()
    }

    fn require(&self, row: &[f64]) -> Result<()> {
        if row.len() == self.width {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "a row of {} values is scored by trees over {} columns",
            row.len(),
            self.width
        ))
        .hint("Give the columns that were learned, in their order."))
    }

    /// Checks trees that were read from somewhere.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if a split leads backwards or out of its tree, or a number is not finite.
    pub fn check(&self) -> Result<()> {
        let node = |at: usize, node: &Node, count: usize| {
            node.value.is_finite()
                && node.split.is_none_or(|split| {
                    let within = |to: u32| (at + 1..count).contains(&(to as usize));
                    (split.column as usize) < self.width
                        && split.threshold.is_finite()
                        && within(split.left)
                        && within(split.right)
                })
        };
        let tree = |tree: &Tree| {
            let count = tree.nodes.len();
            count > 0 && tree.nodes.iter().enumerate().all(|(at, one)| node(at, one, count))
        };
        let sound = self.base.is_finite()
            && self.width <= COLUMNS_MAX
            && self.gains.len() == self.width
            && self.gains.iter().all(|gain| gain.is_finite())
            && self.trees.iter().all(tree);
        if sound { Ok(()) } else { Err(Error::corrupt("the trees lead nowhere")) }
    }
}

/// Rounds without gain after which more are not tried.
const PATIENCE: usize = 30;

/// How many trees do best on rows they were not grown on: the rows are divided into `folds` parts by their position, and
/// each part is foretold by trees over the others.
///
/// # Errors
/// As [`Trees::fit`]; [`flywheel_base::ErrorKind::Invalid`] for fewer than two folds or rows.
/// # Cost
/// That of `folds` fits and as many predictions.
pub fn rounds(
    examples: &Examples<'_>,
    loss: Loss,
    options: &Options,
    folds: usize,
) -> Result<usize> {
    if folds < 2 || examples.targets.len() < folds {
        return Err(Error::invalid(format!(
            "{} rows are divided into {folds} parts",
            examples.targets.len()
        ))
        .hint("Give at least two parts, and a row for each."));
    }
    examples.check(loss)?;
    // The loss of each part after each round.
    let mut sums: Vec<f64> = Vec::new();
    let mut counts: Vec<usize> = Vec::new();
    for fold in 0..folds {
        let (mut features, mut targets) = (Vec::new(), Vec::new());
        let mut held: Vec<(&[f64], f64, f64)> = Vec::new();
        for (at, (row, target)) in examples.rows().zip(examples.targets).enumerate() {
            if at % folds == fold {
                held.push((row, *target, 0.0));
            } else {
                features.extend_from_slice(row);
                targets.push(*target);
            }
        }
        let part = Examples { features: &features, width: examples.width, targets: &targets };
        let (mut round, mut best, mut stale) = (0, f64::INFINITY, 0);
        Trees::grow(&part, None, loss, options, |grown| {
            let tree = grown.trees.last();
            held.par_iter_mut().for_each(|(row, _, raw)| {
                *raw += tree.map_or(0.0, |tree| tree.value(row));
            });
            let lost: f64 =
                held.iter().map(|(_, target, raw)| loss.of(grown.base + raw, *target)).sum();
            if sums.len() == round {
                sums.push(0.0);
                counts.push(0);
            }
            sums[round] += lost;
            counts[round] += 1;
            round += 1;
            (best, stale) = if lost < best { (lost, 0) } else { (best, stale + 1) };
            stale < PATIENCE
        })?;
    }
    // Rounds that some part did not get to are worse for it than its best.
    let all = sums.iter().zip(&counts).enumerate().filter(|(_, (_, count))| **count == folds);
    let best = all.min_by(|a, b| a.1.0.total_cmp(b.1.0)).map_or(0, |(round, _)| round);
    Ok(best + 1)
}
