//! Page and Hinkley's test: the sum of deviations from the running mean leaves its lowest (or highest) point.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::finite;

/// Which change rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// A mean that rises.
    Rise,
    /// A mean that falls.
    Fall,
    /// Both.
    Both,
}

/// How the test is set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Values before the first alarm.
    pub values_min: u64,
    /// A deviation that is tolerated, in the values' unit.
    pub tolerance: f64,
    /// How far the sum may leave its extreme, in the values' unit.
    pub threshold: f64,
    /// The share of the sum that is kept at each value.
    pub keep: f64,
    /// Which change rings.
    pub side: Side,
}

impl Default for Options {
    fn default() -> Self {
        Self { values_min: 30, tolerance: 0.005, threshold: 50.0, keep: 0.9999, side: Side::Both }
    }
}

/// A detector of changes of the mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    options: Options,
    count: u64,
    mean: f64,
    rise: f64,
    rise_least: f64,
    fall: f64,
    fall_most: f64,
    alarms: u64,
}

impl PageHinkley {
    /// Starts without values.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if an option is out of range.
    pub fn new(options: Options) -> Result<Self> {
        let Options { tolerance, threshold, keep, .. } = options;
        finite::all_finite("option of page-hinkley", &[tolerance, threshold, keep])?;
        if tolerance < 0.0 || threshold <= 0.0 || !(keep > 0.0 && keep <= 1.0) {
            return Err(Error::invalid(format!(
                "tolerance is {tolerance}, threshold {threshold} and keep {keep}"
            ))
            .hint("Give a tolerance of 0 or more, a threshold above 0 and a keep above 0 and up to 1."));
        }
        Ok(Self::fresh(options, 0))
    }

    fn fresh(options: Options, alarms: u64) -> Self {
        let (rise_least, fall_most) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mean, rise, fall) = (0.0, 0.0, 0.0);
        Self { options, count: 0, mean, rise, rise_least, fall, fall_most, alarms }
    }

    /// Takes a value in; true if the mean has changed, after which the test starts anew.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the value is not finite; it is not taken in then.
    /// # Cost
    /// O(1).
    /// # Source
    /// Page 1954, with the forgetting of river's `PageHinkley`; the same alarms in `tests/parity/drift.json`.
    pub fn push(&mut self, value: f64) -> Result<bool> {
        finite::all_finite("value", &[value])?;
        let Options { values_min, tolerance, threshold, keep, side } = self.options;
        self.count += 1;
        self.mean += (value - self.mean) / self.count as f64;
        let gap = value - self.mean;
        self.rise = self.rise * keep + gap - tolerance;
        self.fall = self.fall * keep + gap + tolerance;
        self.rise_least = self.rise_least.min(self.rise);
        self.fall_most = self.fall_most.max(self.fall);
        let rises = self.rise - self.rise_least > threshold && side != Side::Fall;
        let falls = self.fall_most - self.fall > threshold && side != Side::Rise;
        let changed = self.count >= values_min && (rises || falls);
        if changed {
            *self = Self::fresh(self.options, self.alarms + 1);
        }
        Ok(changed)
    }

    /// The mean since the last change; `None` right after it.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// How many changes were found.
    #[must_use]
    pub fn alarms(&self) -> u64 {
        self.alarms
    }
}
