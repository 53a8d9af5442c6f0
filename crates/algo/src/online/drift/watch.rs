//! Watching a measure from turn to turn: does it get worse?
//!
//! A measure has one value a turn, so that a test must live with few of them and without knowing their mean or spread.
//! Each value is held against those before it: its chance under them is known exactly (Student's t), and becomes a standard
//! normal number. Two tests read these numbers: Page's, which rings after a few turns of a large worsening, and
//! [`Adwin`], which finds a small one that stays. After an alarm everything starts anew, so that a level that is worse and
//! stays so rings once.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::adwin::Adwin;
use crate::stats::{normal, student};

/// Values that are looked at before the first one is judged.
pub const VALUES_MIN: u64 = 10;

/// How much worse than usual a value may be in every turn, in standard deviations, without the sum growing.
const TOLERANCE: f64 = 0.5;

/// How far the sum of what is worse may grow, in standard deviations.
const THRESHOLD: f64 = 6.0;

/// A single value counts as no further off than so many standard deviations: one odd day does not ring.
const FAR: f64 = 3.0;

/// The chance of a false alarm that [`Adwin`] is given.
const DELTA: f64 = 0.002;

/// The largest size of a value; sums of squares stay finite.
const VALUE_MAX: f64 = 1e100;

/// Which values are the worse ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worse {
    /// Larger ones, as of an error.
    Larger,
    /// Smaller ones, as of a hit rate or a reward.
    Smaller,
}

/// Which test rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detector {
    /// Page's, for a large worsening.
    PageHinkley,
    /// [`Adwin`], for a small one that stays.
    Adwin,
}

impl Detector {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PageHinkley => "page-hinkley",
            Self::Adwin => "adwin",
        }
    }
}

/// A worsening that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worsening {
    /// The test that rang.
    pub detector: Detector,
    /// How many of the newest values are worse, the one that rang included.
    pub values: u64,
    /// The mean of the values before them.
    pub before: f64,
    /// The mean of those that are worse.
    pub after: f64,
}

/// Watches one measure.
#[derive(Clone, Debug)]
pub struct Watch {
    worse: Worse,
    /// All values since the last alarm, oldest first.
    values: Vec<f64>,
    mean: f64,
    /// The sum of squared deviations from the mean.
    square: f64,
    /// By how much values were worse than tolerated, since they began to be.
    excess: f64,
    /// How many values were there when they began to be.
    began: usize,
    slow: Adwin,
}

impl Watch {
    /// Starts without values.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] never: the settings are constants.
    pub fn new(worse: Worse) -> Result<Self> {
        let slow = Adwin::new(DELTA)?;
        let (mean, square, excess) = (0.0, 0.0, 0.0);
        Ok(Self { worse, values: Vec::new(), mean, square, excess, began: 0, slow })
    }

    /// Takes the value of a turn in; the worsening that it proves, after which everything starts anew.
    ///
    /// Of values without any change one in about 2,500 rings, if they are independent of each other and roughly normal;
    /// none of the first [`VALUES_MIN`] ever does.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the value is not finite or too large; it is not taken in then.
    /// # Cost
    /// O(1) amortised, O(n) at an alarm.
    /// # Source
    /// Page 1954 with the self-starting numbers of Hawkins 1987 (ARL by Siegmund 1985: 2,570); Bifet & Gavaldà 2007.
    pub fn push(&mut self, value: f64) -> Result<Option<Worsening>> {
        if !(value.is_finite() && value.abs() <= VALUE_MAX) {
            return Err(Error::invalid(format!("a value is {value}"))
                .hint(format!("Bring finite values up to a size of {VALUE_MAX:e}.")));
        }
        let score = self.score(value);
        self.values.push(value);
        let gap = value - self.mean;
        self.mean += gap / self.values.len() as f64;
        self.square += gap * (value - self.mean);
        let Some(score) = score else { return Ok(None) };
        self.excess = (self.excess + score - TOLERANCE).max(0.0);
        if self.excess == 0.0 {
            self.began = self.values.len();
        }
        if self.excess > THRESHOLD {
            let worse = self.values.len() - self.began;
            return self.ring(Detector::PageHinkley, worse);
        }
        let usual = self.slow.mean();
        // Between 0 and 1, evenly so as long as nothing changes.
        let changed = self.slow.push(normal::cdf(score))?;
        let rises = usual.zip(self.slow.mean()).is_some_and(|(usual, now)| now > usual);
        if changed && rises {
            let worse = usize::try_from(self.slow.window()).unwrap_or(usize::MAX);
            return self.ring(Detector::Adwin, worse);
        }
        Ok(None)
    }

    /// How much worse than those before it a value is, as a standard normal number; none as long as they are too few or
    /// all the same.
    fn score(&self, value: f64) -> Option<f64> {
        let count = self.values.len() as f64;
        let known = self.values.len() as u64 >= VALUES_MIN && self.square > 0.0;
        if !known {
            return None;
        }
        let spread = (self.square / (count - 1.0)).sqrt();
        let off = (count / (count + 1.0)).sqrt() * (value - self.mean) / spread;
        let off = match self.worse {
            Worse::Larger => off,
            Worse::Smaller => -off,
        };
        let score = normal::quantile(student::cdf(off, count - 1.0));
        (!score.is_nan()).then(|| score.clamp(-FAR, FAR))
    }

    fn ring(&mut self, detector: Detector, worse: usize) -> Result<Option<Worsening>> {
        let worse = worse.clamp(1, self.values.len().saturating_sub(1).max(1));
        let (before, after) = self.values.split_at(self.values.len() - worse);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let found =
            Worsening { detector, values: worse as u64, before: mean(before), after: mean(after) };
        *self = Self::new(self.worse)?;
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::{ErrorKind, Rng};

    use super::*;

    /// The alarms of a watch over these values, each with the place of its value.
    fn alarms(worse: Worse, values: impl IntoIterator<Item = f64>) -> Vec<(usize, Worsening)> {
        let mut watch = Watch::new(worse).unwrap();
        let mut all = Vec::new();
        for (place, value) in values.into_iter().enumerate() {
            all.extend(watch.push(value).unwrap().map(|found| (place, found)));
        }
        all
    }

    fn normals(seed: u64, mean: f64, spread: f64, count: usize) -> Vec<f64> {
        let mut rng = Rng::new(seed);
        (0..count).map(|_| mean + spread * rng.normal()).collect()
    }

    #[test]
    fn values_without_change_hardly_ever_ring() {
        for worse in [Worse::Larger, Worse::Smaller] {
            let found = alarms(worse, normals(5, 0.3, 0.05, 20_000));
            assert!(found.len() <= 30, "{worse:?}: {} alarms in 20,000 turns", found.len());
        }
    }

    #[test]
    fn a_worsening_rings_within_days_and_once() {
        for seed in 0..20 {
            let mut values = normals(seed, 0.20, 0.02, 14);
            values.extend(normals(seed + 100, 0.32, 0.02, 10));
            let found = alarms(Worse::Larger, values);
            assert_eq!(found.len(), 1, "seed {seed}: {found:?}");
            let (place, one) = found[0];
            assert!((14..21).contains(&place), "seed {seed}: at {place}");
            assert!(one.before < 0.25 && one.after > one.before, "seed {seed}: {one:?}");
        }
    }

    #[test]
    fn what_gets_better_does_not_ring() {
        for seed in 0..20 {
            let mut values = normals(seed, 0.20, 0.02, 14);
            values.extend(normals(seed + 100, 0.32, 0.02, 10));
            let found = alarms(Worse::Smaller, values);
            assert!(found.is_empty(), "seed {seed}: {found:?}");
        }
    }

    #[test]
    fn too_few_values_one_odd_one_and_values_all_alike_do_not_ring() {
        let few = [0.1, 0.1, 0.1, 0.2, 0.1, 9.0, 9.0, 9.0, 9.0, 9.0];
        assert!(alarms(Worse::Larger, few).is_empty());
        assert!(alarms(Worse::Larger, [0.5; 200]).is_empty());
        let mut odd = normals(3, 0.2, 0.02, 20);
        odd.push(50.0);
        odd.extend(normals(4, 0.2, 0.02, 20));
        assert!(alarms(Worse::Larger, odd).is_empty());
        let mut watch = Watch::new(Worse::Larger).unwrap();
        assert_eq!(watch.push(f64::NAN).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
