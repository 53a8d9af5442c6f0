//! Are predicted probabilities true? Scores, a reliability table and the monotone correction.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::finite;

/// How far a probability is kept from 0 and 1 in the logarithmic loss.
const CLIP: f64 = 1e-15;

/// One bin of a reliability table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// How many predictions fell into the bin.
    pub count: usize,
    /// Their mean predicted probability.
    pub predicted: f64,
    /// The share that came true.
    pub observed: f64,
}

/// The mean squared error of the probabilities.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] on empty or unequal input, or a probability outside `[0, 1]`.
pub fn brier(predicted: &[f64], came_true: &[bool]) -> Result<f64> {
    check(predicted, came_true)?;
    let sum: f64 = pairs(predicted, came_true).map(|(p, y)| (p - y).powi(2)).sum();
    Ok(sum / predicted.len() as f64)
}

/// The mean negative log-likelihood, in nats.
///
/// # Errors
/// As [`brier`].
pub fn log_loss(predicted: &[f64], came_true: &[bool]) -> Result<f64> {
    check(predicted, came_true)?;
    let sum: f64 = pairs(predicted, came_true)
        .map(|(p, y)| {
            let p = p.clamp(CLIP, 1.0 - CLIP);
            -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())
        })
        .sum();
    Ok(sum / predicted.len() as f64)
}

/// Groups predictions into `bins` equal slices of `[0, 1]`; empty bins are left out.
///
/// # Errors
/// As [`brier`], and if `bins` is 0.
pub fn reliability(predicted: &[f64], came_true: &[bool], bins: usize) -> Result<Vec<Bin>> {
    check(predicted, came_true)?;
    if bins == 0 {
        return Err(
            Error::invalid("a reliability table of 0 bins is asked for").hint("Ask for 10 bins.")
        );
    }
    let mut sums = vec![(0_usize, 0.0, 0.0); bins];
    for (p, y) in pairs(predicted, came_true) {
        let slot = ((p * bins as f64) as usize).min(bins - 1);
        sums[slot].0 += 1;
        sums[slot].1 += p;
        sums[slot].2 += y;
    }
    let filled = sums.into_iter().filter(|(count, _, _)| *count > 0);
    Ok(filled
        .map(|(count, p, y)| Bin { count, predicted: p / count as f64, observed: y / count as f64 })
        .collect())
}

/// The mean gap between predicted and observed over the bins, weighted by count.
#[must_use]
pub fn calibration_error(bins: &[Bin]) -> f64 {
    let total: usize = bins.iter().map(|bin| bin.count).sum();
    if total == 0 {
        return 0.0;
    }
    let gaps: f64 =
        bins.iter().map(|bin| bin.count as f64 * (bin.predicted - bin.observed).abs()).sum();
    gaps / total as f64
}

/// A monotone map from a raw score to a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Isotonic {
    scores: Vec<f64>,
    probabilities: Vec<f64>,
}

impl Isotonic {
    /// Fits the non-decreasing map with the least squared error.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] on empty or unequal input or a score that is not finite.
    /// # Cost
    /// O(n log n).
    /// # Source
    /// Pool adjacent violators; parity with scikit-learn `IsotonicRegression` to 1e-12.
    pub fn fit(scores: &[f64], came_true: &[bool]) -> Result<Self> {
        finite::all_finite("score", scores)?;
        same_length(scores.len(), came_true.len())?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(a.cmp(b)));
        let mut blocks: Vec<Block> = Vec::new();
        for index in order {
            let (score, outcome) = (scores[index], f64::from(u8::from(came_true[index])));
            match blocks.last_mut() {
                Some(last) if last.low == score => last.absorb(score, outcome, 1.0),
                _ => blocks.push(Block { low: score, high: score, sum: outcome, weight: 1.0 }),
            }
        }
        let pooled = pool(blocks);
        let mut made = Self { scores: Vec::new(), probabilities: Vec::new() };
        for block in pooled {
            let probability = block.sum / block.weight;
            made.push(block.low, probability);
            if block.high > block.low {
                made.push(block.high, probability);
            }
        }
        Ok(made)
    }

    fn push(&mut self, score: f64, probability: f64) {
        self.scores.push(score);
        self.probabilities.push(probability);
    }

    /// The probability of `score`: linear between fitted points, constant outside; NaN for NaN.
    #[must_use]
    pub fn predict(&self, score: f64) -> f64 {
        if score.is_nan() {
            return score;
        }
        let after = self.scores.partition_point(|known| *known <= score);
        if after == 0 {
            return self.probabilities[0];
        }
        if after == self.scores.len() {
            return self.probabilities[after - 1];
        }
        let (x0, x1) = (self.scores[after - 1], self.scores[after]);
        let (y0, y1) = (self.probabilities[after - 1], self.probabilities[after]);
        y0 + (y1 - y0) * (score - x0) / (x1 - x0)
    }
}

struct Block {
    low: f64,
    high: f64,
    sum: f64,
    weight: f64,
}

impl Block {
    fn absorb(&mut self, high: f64, sum: f64, weight: f64) {
        self.high = high;
        self.sum += sum;
        self.weight += weight;
    }
}

fn pool(blocks: Vec<Block>) -> Vec<Block> {
    let mut pooled: Vec<Block> = Vec::with_capacity(blocks.len());
    for block in blocks {
        pooled.push(block);
        while let [.., before, last] = pooled.as_mut_slice() {
            if before.sum / before.weight < last.sum / last.weight {
                break;
            }
            before.absorb(last.high, last.sum, last.weight);
            pooled.pop();
        }
    }
    pooled
}

fn pairs<'a>(predicted: &'a [f64], came_true: &'a [bool]) -> impl Iterator<Item = (f64, f64)> + 'a {
    predicted.iter().zip(came_true).map(|(p, y)| (*p, f64::from(u8::from(*y))))
}

fn same_length(a: usize, b: usize) -> Result<()> {
    if a == b && a > 0 {
        return Ok(());
    }
    Err(Error::invalid(format!("{a} predictions and {b} outcomes"))
        .hint("Give one outcome for each prediction, and at least one."))
}

fn check(predicted: &[f64], came_true: &[bool]) -> Result<()> {
    finite::all_finite("probability", predicted)?;
    same_length(predicted.len(), came_true.len())?;
    match predicted.iter().position(|p| !(0.0..=1.0).contains(p)) {
        None => Ok(()),
        Some(position) => {
            let value = predicted[position];
            Err(Error::invalid(format!("probability is {value} at position {position}"))
                .hint("Give probabilities between 0 and 1."))
        }
    }
}
