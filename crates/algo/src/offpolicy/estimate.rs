//! The estimates: by weights, by normalised weights, and doubly robust.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Modelled, Options, Row};
use crate::stats::{Interval, normal};

/// Decisions below which there is no interval.
const ROWS_MIN: usize = 2;

/// One estimate of the challenger's reward a decision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value with its interval; a single decision has none and gives an infinite one.
    pub value: Interval,
    /// The challenger's value less what was earned, decision by decision; doubly robust, less what the model says of the
    /// policy that decided, where it says so.
    pub gain: Interval,
}

/// What the logged decisions say of the challenger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimates {
    /// How many decisions there are.
    pub rows: usize,
    /// What was earned a decision.
    pub earned: Interval,
    /// The mean of weight · reward; unbiased while no weight is cut.
    pub ips: Estimate,
    /// The same over the sum of weights; steadier, slightly biased. `None` if all weights are 0.
    pub snips: Option<Estimate>,
    /// The model's word, corrected by weights; `None` unless every row has one.
    pub dr: Option<Estimate>,
    /// A lower bound of the value that needs no normal distribution, by the empirical Bernstein inequality. Without
    /// [`Options::weight_max`] the largest weight that was seen stands for the largest possible.
    pub bound: f64,
    /// To how many decisions of the challenger's own the evidence amounts.
    pub effective: f64,
    /// The mean weight: near 1 if propensities are right and every action of the challenger was tried.
    pub weight: Interval,
    /// The largest weight before cutting.
    pub weight_largest: f64,
    /// How many weights were cut.
    pub cut: usize,
}

impl Estimates {
    /// The estimate to go by: doubly robust where there is one, else by normalised weights, else by weights.
    #[must_use]
    pub fn best(&self) -> (&'static str, &Estimate) {
        let snips = self.snips.as_ref().map(|estimate| ("snips", estimate));
        let dr = self.dr.as_ref().map(|estimate| ("dr", estimate));
        dr.or(snips).unwrap_or(("ips", &self.ips))
    }
}

/// Estimates what the challenger would have earned.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if an option is out of range; without rows; or naming the position of the
/// first row whose propensity is not above 0, whose probabilities exceed 1, whose reward lies outside of
/// [`Options::rewards`], or that is not finite.
/// # Cost
/// O(rows).
/// # Source
/// Horvitz & Thompson 1952; Swaminathan & Joachims 2015 (SNIPS, with the delta method for its interval); Dudík,
/// Langford & Li 2011 (DR); Maurer & Pontil 2009, theorem 4 (bound); Kish 1965 (effective sample size). Against
/// numpy in `tests/parity/offpolicy.json` to 1e-12.
pub fn estimate(rows: &[Row], options: &Options) -> Result<Estimates> {
    options.check()?;
    if rows.is_empty() {
        return Err(Error::invalid("a policy is judged by no decision")
            .hint("Wait until decisions with propensity and outcome are logged."));
    }
    for (position, row) in rows.iter().enumerate() {
        row.check(position, options)?;
    }
    let z = normal::quantile(f64::midpoint(1.0, options.confidence));
    let most = options.weight_max.unwrap_or(f64::INFINITY);
    let raw = || rows.iter().map(|row| row.challenger / row.propensity);
    let weights: Vec<f64> = raw().map(|weight| weight.min(most)).collect();
    let pairs = || rows.iter().zip(&weights);
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
    let ips = Estimate {
        value: mean(pairs().map(|(row, weight)| weight * row.reward), z),
        gain: mean(pairs().map(|(row, weight)| (weight - 1.0) * row.reward), z),
    };
    Ok(Estimates {
        rows: rows.len(),
        earned: mean(rows.iter().map(|row| row.reward), z),
        bound: bernstein(rows, &weights, options),
        snips: (sum > 0.0).then(|| normalised(rows, &weights, z)),
        dr: doubly_robust(rows, &weights, z),
        ips,
        effective: if squares > 0.0 { sum * sum / squares } else { 0.0 },
        weight: mean(raw(), z),
        weight_largest: raw().fold(0.0, f64::max),
        cut: raw().filter(|weight| *weight > most).count(),
    })
}

/// The mean with its normal interval.
fn mean(values: impl Iterator<Item = f64> + Clone, z: f64) -> Interval {
    let count = values.clone().count();
    let mean = values.clone().sum::<f64>() / count as f64;
    if count < ROWS_MIN {
        return Interval { estimate: mean, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1) as f64;
    Interval::around(mean, z * (variance / count as f64).sqrt())
}

/// An interval from influences: what each row moves the estimate by, averaging to 0.
fn from_influence(
    estimate: f64,
    influences: impl Iterator<Item = f64> + Clone,
    z: f64,
) -> Interval {
    let Interval { low, high, .. } = mean(influences, z);
    Interval { estimate, low: estimate - (high - low) / 2.0, high: estimate + (high - low) / 2.0 }
}

fn normalised(rows: &[Row], weights: &[f64], z: f64) -> Estimate {
    let count = rows.len() as f64;
    let per_row = weights.iter().sum::<f64>() / count;
    let pairs = || rows.iter().zip(weights);
    let value = pairs().map(|(row, weight)| weight * row.reward).sum::<f64>() / count / per_row;
    let earned = rows.iter().map(|row| row.reward).sum::<f64>() / count;
    let influence = move |(row, weight): (&Row, &f64)| weight / per_row * (row.reward - value);
    let gain = pairs().map(move |pair| influence(pair) - (pair.0.reward - earned));
    Estimate {
        value: from_influence(value, pairs().map(influence), z),
        gain: from_influence(value - earned, gain, z),
    }
}

fn doubly_robust(rows: &[Row], weights: &[f64], z: f64) -> Option<Estimate> {
    let corrected: Option<Vec<f64>> = rows
        .iter()
        .zip(weights)
        .map(|(row, weight)| {
            row.model.map(|model| model.challenger + weight * (row.reward - model.chosen))
        })
        .collect();
    let corrected = corrected?;
    let gains = rows.iter().zip(weights).zip(&corrected).map(|((row, weight), value)| {
        // What the model is wrong by counts as far as the challenger chooses otherwise: both are corrected by it.
        let alike = |model: &Modelled| {
            let logged = model.logged?;
            Some(model.challenger - logged + (weight - 1.0) * (row.reward - model.chosen))
        };
        row.model.as_ref().and_then(alike).unwrap_or(value - row.reward)
    });
    Some(Estimate { value: mean(corrected.iter().copied(), z), gain: mean(gains, z) })
}

/// The lower bound: weighted rewards above the smallest one lie between 0 and the largest weight times the range.
///
/// One-sided at half of the interval's error, as the interval's lower end is.
fn bernstein(rows: &[Row], weights: &[f64], options: &Options) -> f64 {
    let (low, high) = options.rewards;
    let count = rows.len() as f64;
    if rows.len() < ROWS_MIN {
        return low;
    }
    let most = options.weight_max.unwrap_or_else(|| weights.iter().copied().fold(0.0, f64::max));
    let range = most * (high - low);
    let values = || rows.iter().zip(weights).map(|(row, weight)| weight * (row.reward - low));
    let mean = values().sum::<f64>() / count;
    let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let log = (4.0 / (1.0 - options.confidence)).ln();
    let slack = (2.0 * variance * log / count).sqrt() + 7.0 * range * log / (3.0 * (count - 1.0));
    low + (mean - slack).max(0.0)
}
