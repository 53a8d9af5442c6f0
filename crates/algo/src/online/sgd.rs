//! Plain stochastic gradient descent, step for step as scikit-learn does it.
//!
//! This is the compatibility mode, for moving an existing model over. On features that are not scaled
//! it diverges as theirs does; [`super::linear`] is the learner to use.

use flywheel_base::Result;
use serde::{Deserialize, Serialize};

use super::{check, check_width};
use crate::stats::finite;

/// The most features.
const FEATURES_MAX: usize = 1 << 20;

/// scikit-learn's limit on the slope of the loss.
const SLOPE_MAX: f64 = 1e12;

/// scikit-learn's parameters of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The first step size.
    pub eta0: f64,
    /// The step size falls with the event number to this power.
    pub power_t: f64,
    /// The L2 penalty.
    pub alpha: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { eta0: 0.01, power_t: 0.25, alpha: 1e-4 }
    }
}

/// A linear regression by `SGDRegressor.partial_fit`, one row a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sgd {
    options: Options,
    weights: Vec<f64>,
    intercept: f64,
    events: u64,
}

impl Sgd {
    /// Starts with all weights 0.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for 0 or over a million features or an option that is not finite.
    pub fn new(features: usize, options: Options) -> Result<Self> {
        check_width(features, FEATURES_MAX)?;
        finite::all_finite("sgd option", &[options.eta0, options.power_t, options.alpha])?;
        Ok(Self { options, weights: vec![0.0; features], intercept: 0.0, events: 0 })
    }

    /// Takes one event in.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a number is not finite or the width differs; nothing is
    /// learnt then.
    /// # Source
    /// scikit-learn `SGDRegressor(loss="squared_error", learning_rate="invscaling")`; parity in
    /// `tests/parity/online.json` to 1e-9.
    pub fn learn(&mut self, features: &[f64], target: f64) -> Result<()> {
        check(features, self.weights.len())?;
        finite::all_finite("target", &[target])?;
        self.events += 1;
        let eta = self.options.eta0 / (self.events as f64).powf(self.options.power_t);
        let slope = (self.raw(features) - target).clamp(-SLOPE_MAX, SLOPE_MAX);
        let keep = (1.0 - eta * self.options.alpha).max(0.0);
        for (weight, feature) in self.weights.iter_mut().zip(features) {
            *weight = *weight * keep - eta * slope * feature;
        }
        self.intercept -= eta * slope;
        Ok(())
    }

    /// The prediction for an event.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a feature is not finite or the width differs.
    pub fn predict(&self, features: &[f64]) -> Result<f64> {
        check(features, self.weights.len())?;
        Ok(self.raw(features))
    }

    fn raw(&self, features: &[f64]) -> f64 {
        let products = self.weights.iter().zip(features).map(|(weight, feature)| weight * feature);
        self.intercept + products.sum::<f64>()
    }

    /// The weight of each feature.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The intercept.
    #[must_use]
    pub fn intercept(&self) -> f64 {
        self.intercept
    }
}
