//! Mean and deviation of each feature, kept up to date event by event.

use flywheel_base::Result;
use serde::{Deserialize, Serialize};

use super::{check, check_width, decay, sound};

/// The most features a scaler keeps.
const FEATURES_MAX: usize = 1 << 20;

/// Running moments that may forget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    decay: f64,
    weight: f64,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Scaler {
    /// Starts without events; with a half-life, old events count less and less.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for 0 or over a million features, or a half-life below 1.
    pub fn new(features: usize, half_life_events: Option<f64>) -> Result<Self> {
        check_width(features, FEATURES_MAX)?;
        let (mean, variance) = (vec![0.0; features], vec![0.0; features]);
        Ok(Self { decay: decay(half_life_events)?, weight: 0.0, mean, variance })
    }

    /// Takes one event in.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a feature is not finite (its position is named) or the
    /// width differs; the moments are then unchanged.
    /// # Source
    /// West 1979 (weighted Welford update); equals numpy's mean and variance to 1e-12 without forgetting.
    pub fn learn(&mut self, features: &[f64]) -> Result<()> {
        check(features, self.mean.len())?;
        self.push(features);
        Ok(())
    }

    /// As [`Self::learn`], for features that were checked.
    pub(super) fn push(&mut self, features: &[f64]) {
        self.weight = self.weight * self.decay + 1.0;
        let share = 1.0 / self.weight;
        let moments = self.mean.iter_mut().zip(&mut self.variance);
        for ((mean, variance), value) in moments.zip(features) {
            let gap = value - *mean;
            *mean += share * gap;
            *variance = (1.0 - share) * (*variance + share * gap * gap);
        }
    }

    /// A feature in deviations from its mean; 0 while it has not varied.
    #[must_use]
    pub fn scaled(&self, at: usize, value: f64) -> f64 {
        let (mean, variance) = (self.mean[at], self.variance[at]);
        if variance > (f64::EPSILON * mean).powi(2) {
            return (value - mean) / variance.sqrt();
        }
        0.0
    }

    /// Refuses a model that was read back and cannot have been learned: of ragged lengths, or not finite.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`].
    pub fn check(&self) -> Result<()> {
        let alike = self.mean.len() == self.variance.len();
        sound(alike, self.mean.iter().chain(&self.variance))
    }

    /// The means.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The population variances.
    #[must_use]
    pub fn variance(&self) -> &[f64] {
        &self.variance
    }

    /// How many features an event has.
    #[must_use]
    pub fn features(&self) -> usize {
        self.mean.len()
    }

    /// The weight of all events: their number, or less with forgetting.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weight
    }
}
