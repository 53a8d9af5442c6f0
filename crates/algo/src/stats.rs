//! Statistics that decisions rest on: distributions, intervals, lift, mismatch alarms, calibration.
//!
//! Every interval here says nothing rather than something false: an empty arm, a single unit or a
//! zero base gives `None` and a note, never a made-up number.

pub mod calibration;
pub mod clustered;
pub mod cuped;
pub mod guardrail;
pub mod lift;
pub mod monitor;
pub mod multiple;
pub mod normal;
pub mod power;
pub mod proportion;
pub mod quantile;
pub mod ratio;
pub mod sequence;
pub mod srm;
pub mod student;

pub(crate) mod finite;
pub(crate) mod seed;
pub(crate) mod special;

use serde::{Deserialize, Serialize};

/// An estimate with the interval that covers the truth with the asked confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The point estimate.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside, ends included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// `estimate ± margin`.
    #[must_use]
    pub fn around(estimate: f64, margin: f64) -> Self {
        Self { estimate, low: estimate - margin, high: estimate + margin }
    }
}

#[cfg(test)]
mod tests;
