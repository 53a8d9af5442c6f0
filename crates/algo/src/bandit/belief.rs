//! What is believed of one action's weights: a normal distribution kept as its precision and covariance.
//!
//! A reward changes both by rank one (Sherman–Morrison for the covariance). Rounding in the covariance is undone
//! every [`REFRESH_AFTER`] rewards, when it is made anew from the precision by Cholesky's method; the precision is
//! a plain sum and does not drift. Forgetting scales the precision down and with it the ridge, which is put back
//! before it has lost a tenth, so that directions nobody looks into cannot grow without bound.

use serde::{Deserialize, Serialize};

use super::triangle::{add_scaled, add_square, dot, inverse, product, quadratic, triangle};
use crate::wide::{Work, widest_of};

/// Rewards after which the covariance is made anew from the precision.
const REFRESH_AFTER: u32 = 1024;

/// The share of the ridge below which forgetting has it put back.
const RIDGE_LEFT_MIN: f64 = 0.9;

/// A share of older rewards that counts as nothing.
const LEFT_MIN: f64 = 1e-12;

/// The least weight of a logistic observation, so that a sure belief can still be changed.
const CURVE_MIN: f64 = 1e-4;

/// The belief in the weights of one action.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Belief {
    /// Ridge and sum of `x·xᵀ`: the lower triangle row by row.
    pub(super) precision: Vec<f64>,
    /// Its inverse, laid out alike.
    pub(super) covariance: Vec<f64>,
    /// The precision times the weights: for linear beliefs the sum of `x·reward`.
    pub(super) moment: Vec<f64>,
    /// The expected weights.
    pub(super) weights: Vec<f64>,
    pub(super) pace: Pace,
}

/// Where a belief stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    /// The ridge at the start.
    pub(super) ridge: f64,
    /// The ridge that is in the precision.
    pub(super) ridge_left: f64,
    /// Rewards since the covariance was made from the precision.
    pub(super) since: u32,
    /// The number of the reward, over all actions, up to which the belief is aged.
    pub(super) at: u64,
}

impl Belief {
    pub(super) fn new(width: usize, ridge: f64) -> Self {
        let mut precision = vec![0.0; triangle(width)];
        let mut covariance = vec![0.0; triangle(width)];
        for at in 0..width {
            precision[triangle(at) + at] = ridge;
            covariance[triangle(at) + at] = 1.0 / ridge;
        }
        let pace = Pace { ridge, ridge_left: ridge, since: 0, at: 0 };
        Self { precision, covariance, moment: vec![0.0; width], weights: vec![0.0; width], pace }
    }

    pub(super) fn at(&self) -> u64 {
        self.pace.at
    }

    /// The expected value at `row`: a reward, or its log-odds.
    #[inline(always)]
    pub(super) fn mean(&self, row: &[f64]) -> f64 {
        dot(&self.weights, row)
    }

    /// The variance of the value at `row`, when `left` of all evidence is not forgotten; never above the ridge's.
    #[inline(always)]
    pub(super) fn variance(&self, row: &[f64], left: f64) -> f64 {
        let prior = dot(row, row) / self.pace.ridge;
        (quadratic(&self.covariance, row).max(0.0) / left.max(LEFT_MIN)).min(prior)
    }

    /// Forgets up to reward number `now`, at a share of `keep` a reward.
    pub(super) fn age(&mut self, now: u64, keep: f64, ridge: f64) {
        let passed = now.saturating_sub(self.pace.at);
        self.pace.at = now;
        if keep >= 1.0 || passed == 0 {
            return;
        }
        let left = keep.powf(passed as f64);
        if left < LEFT_MIN {
            let mut fresh = Self::new(self.weights.len(), ridge);
            fresh.pace.at = now;
            *self = fresh;
            return;
        }
        self.precision.iter_mut().for_each(|value| *value *= left);
        self.covariance.iter_mut().for_each(|value| *value /= left);
        self.moment.iter_mut().for_each(|value| *value *= left);
        self.pace.ridge_left *= left;
        if self.pace.ridge_left < RIDGE_LEFT_MIN * ridge {
            self.rebuild(ridge);
        }
    }

    /// Takes a reward in, as one step of exact ridge regression.
    pub(super) fn learn(&mut self, row: &[f64], reward: f64) {
        let miss = reward - self.mean(row);
        add_scaled(&mut self.moment, row, reward);
        self.step(row, 1.0, miss);
    }

    /// Takes a share in, as one Newton step of logistic regression from the belief so far.
    pub(super) fn learn_share(&mut self, row: &[f64], share: f64) {
        let odds = self.mean(row);
        let expected = logistic(odds);
        let curve = (expected * (1.0 - expected)).max(CURVE_MIN);
        add_scaled(&mut self.moment, row, curve * odds + share - expected);
        self.step(row, curve, share - expected);
    }

    /// Adds `curve` · `row`·`rowᵀ` to the precision and moves the weights along the slope `miss`.
    fn step(&mut self, row: &[f64], curve: f64, miss: f64) {
        widest_of(Step { belief: self, row, curve, miss });
        self.pace.since += 1;
    }

    /// Makes the covariance anew if it is due.
    pub(super) fn refresh(&mut self, ridge: f64) {
        if self.pace.since >= REFRESH_AFTER {
            self.rebuild(ridge);
        }
    }

    fn rebuild(&mut self, ridge: f64) {
        let width = self.weights.len();
        let missing = ridge - self.pace.ridge_left;
        for at in 0..width {
            self.precision[triangle(at) + at] += missing;
        }
        self.pace.ridge_left = ridge;
        self.pace.since = 0;
        if let Some(covariance) = inverse(&self.precision, width) {
            self.covariance = covariance;
            self.weights = product(&self.covariance, &self.moment);
        }
    }

    /// Adds the evidence of other rewards; the ridge counts once.
    pub(super) fn merge(&mut self, other: &Self, ridge: f64, now: u64) {
        self.precision.iter_mut().zip(&other.precision).for_each(|(our, their)| *our += their);
        self.moment.iter_mut().zip(&other.moment).for_each(|(our, their)| *our += their);
        self.pace.ridge_left += other.pace.ridge_left;
        self.pace.at = now;
        self.rebuild(ridge);
    }
}

/// What an observation does to a belief, for the widest instructions.
struct Step<'a> {
    belief: &'a mut Belief,
    row: &'a [f64],
    curve: f64,
    miss: f64,
}

impl Work for Step<'_> {
    type Made = ();

    #[inline(always)]
    fn work(self) {
        let Self { belief, row, curve, miss } = self;
        let seen = product(&belief.covariance, row);
        let scale = 1.0 / (1.0 + curve * dot(&seen, row).max(0.0));
        add_scaled(&mut belief.weights, &seen, scale * miss);
        add_square(&mut belief.precision, row, curve);
        add_square(&mut belief.covariance, &seen, -curve * scale);
    }
}

/// The chance that log-odds stand for.
pub(super) fn logistic(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

#[cfg(test)]
mod tests {
    use flywheel_base::Rng;

    use super::*;

    #[test]
    fn the_covariance_stays_the_inverse_through_collinear_large_and_forgotten_rows() {
        for keep in [1.0, 0.99, 0.5] {
            let mut belief = Belief::new(5, 0.5);
            let mut rng = Rng::new(2);
            for now in 1..20_000_u64 {
                let x = 1000.0 * rng.normal();
                let row = [x, x + 1e-3 * rng.normal(), 2.0 * x, 0.0, 1.0];
                belief.age(now, keep, 0.5);
                belief.learn(&row, 1.0);
                belief.refresh(0.5);
            }
            let fresh = inverse(&belief.precision, 5).unwrap();
            for (ours, exact) in belief.covariance.iter().zip(&fresh) {
                assert!((ours - exact).abs() < 1e-3 * exact.abs().max(1.0), "{ours} {exact}");
            }
            let unseen = belief.variance(&[0.0, 0.0, 0.0, 1.0, 0.0], 1.0);
            assert!((1.9..=2.0).contains(&unseen), "an unseen direction keeps its prior: {unseen}");
        }
    }
}
