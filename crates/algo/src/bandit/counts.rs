//! Successes and failures of one action, for Beta posteriors.

use serde::{Deserialize, Serialize};

/// What a Beta posterior starts from: one success and one failure, all shares equally likely.
const PRIOR: f64 = 1.0;

/// Weighted counts of one action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) successes: f64,
    pub(super) failures: f64,
    /// The number of the reward, over all actions, up to which the counts are aged.
    pub(super) at: u64,
}

impl Counts {
    /// The parameters of the posterior, of which `left` is not forgotten.
    pub(super) fn posterior(&self, left: f64) -> (f64, f64) {
        (PRIOR + left * self.successes, PRIOR + left * self.failures)
    }

    /// Takes in reward number `now`; older ones keep the share `keep` for each reward since.
    pub(super) fn learn(&mut self, reward: f64, now: u64, keep: f64) {
        let left = keep.powf(now.saturating_sub(self.at) as f64);
        self.successes = left * self.successes + reward;
        self.failures = left * self.failures + (1.0 - reward);
        self.at = now;
    }

    /// Adds counts of other rewards.
    pub(super) fn merge(&mut self, other: &Self, now: u64) {
        self.successes += other.successes;
        self.failures += other.failures;
        self.at = now;
    }
}
