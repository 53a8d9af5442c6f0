//! Logistic regression for many sparse features: FTRL-proximal, one event at a time.
//!
//! Each weight has a step size of its own, which falls with the gradients it has seen, and a weight that does not
//! earn its place stays exactly 0. Without `lasso` and `ridge` the steps are those of AdaGrad. Features come dense,
//! or as `(place, value)` pairs, which [`super::hashing`] makes from names. Bring values of about unit size.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{check, check_width, sound, unlearned};
use crate::stats::finite;

/// The most weights.
pub const FEATURES_MAX: usize = 1 << 24;

/// The largest size of a value; squares of gradients stay finite.
const VALUE_MAX: f64 = 1e6;

/// How the learner behaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The step size, relative to what the gradients of a feature have been.
    pub rate: f64,
    /// What the root of the squared gradients starts from; larger means a calmer start.
    pub start: f64,
    /// The pull that makes weights exactly 0.
    pub lasso: f64,
    /// The pull of weights towards 0.
    pub ridge: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 0.3, start: 1.0, lasso: 0.0, ridge: 0.0 }
    }
}

/// What is kept of one weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cell {
    weight: f64,
    /// The sum of gradients, less what the weight's own moves took.
    pull: f64,
    /// The root of the sum of squared gradients.
    root: f64,
}

/// An online logistic regression by FTRL-proximal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ftrl {
    options: Options,
    weights: Vec<f64>,
    pulls: Vec<f64>,
    roots: Vec<f64>,
    intercept: Cell,
    events: u64,
}

impl Ftrl {
    /// Starts with all weights 0.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for 0 or over 2²⁴ features, or an option out of range.
    pub fn new(features: usize, options: Options) -> Result<Self> {
        check_width(features, FEATURES_MAX)?;
        let Options { rate, start, lasso, ridge } = options;
        finite::all_finite("option of ftrl", &[rate, start, lasso, ridge])?;
        if rate <= 0.0 || start <= 0.0 || lasso < 0.0 || ridge < 0.0 {
            return Err(Error::invalid(format!(
                "rate is {rate}, start {start}, lasso {lasso} and ridge {ridge}"
            ))
            .hint(
                "Give a rate (0.3) and a start (1) above 0, and a lasso and a ridge of 0 or more.",
            ));
        }
        let zeros = || vec![0.0; features];
        Ok(Self {
            options,
            weights: zeros(),
            pulls: zeros(),
            roots: zeros(),
            intercept: Cell::default(),
            events: 0,
        })
    }

    /// Takes a dense event in and says what was predicted just before, for honest running scores.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a feature is not finite or too large, or the width differs; nothing
    /// is learnt then.
    /// # Cost
    /// O(features), no allocation: about 10 ns a feature.
    /// # Source
    /// McMahan et al. 2013, algorithm 1; against numpy in `tests/parity/ftrl.json` to 1e-12.
    pub fn learn(&mut self, features: &[f64], happened: bool) -> Result<f64> {
        self.check_dense(features)?;
        let predicted = self.raw(features);
        let slope = self.learn_intercept(predicted, happened);
        let options = self.options;
        let cells = self.weights.iter_mut().zip(&mut self.pulls).zip(&mut self.roots);
        for (((weight, pull), root), value) in cells.zip(features) {
            let cell = Cell { weight: *weight, pull: *pull, root: *root };
            let cell = moved(cell, slope * value, &options);
            (*weight, *pull, *root) = (cell.weight, cell.pull, cell.root);
        }
        Ok(predicted)
    }

    /// Takes a sparse event in; a place that comes twice counts twice.
    ///
    /// # Errors
    /// As [`Self::learn`]; also for a place that does not exist.
    /// # Cost
    /// O(pairs), no allocation.
    pub fn learn_sparse(&mut self, event: &[(u32, f64)], happened: bool) -> Result<f64> {
        self.check_sparse(event)?;
        let predicted = self.raw_sparse(event);
        let slope = self.learn_intercept(predicted, happened);
        for (place, value) in event {
            let at = *place as usize;
            let places = (self.weights.get_mut(at), self.pulls.get_mut(at), self.roots.get_mut(at));
            let (Some(weight), Some(pull), Some(root)) = places else { continue };
            let cell = Cell { weight: *weight, pull: *pull, root: *root };
            let cell = moved(cell, slope * value, &self.options);
            (*weight, *pull, *root) = (cell.weight, cell.pull, cell.root);
        }
        Ok(predicted)
    }

    /// The intercept is never pulled to 0: a rare event is rare whatever its features.
    fn learn_intercept(&mut self, predicted: f64, happened: bool) -> f64 {
        let slope = predicted - f64::from(u8::from(happened));
        let free = Options { lasso: 0.0, ridge: 0.0, ..self.options };
        self.intercept = moved(self.intercept, slope, &free);
        self.events += 1;
        slope
    }

    /// The probability that it happens.
    ///
    /// # Errors
    /// As [`Self::learn`]; `NotFound` before the first event.
    pub fn predict(&self, features: &[f64]) -> Result<f64> {
        self.check_dense(features)?;
        if self.events == 0 {
            return Err(unlearned());
        }
        Ok(self.raw(features))
    }

    /// Refuses a model that was read back and cannot have been learned: of ragged lengths, or not finite.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`].
    pub fn check(&self) -> Result<()> {
        let width = self.weights.len();
        let alike = self.pulls.len() == width && self.roots.len() == width;
        let cell = [&self.intercept.weight, &self.intercept.pull, &self.intercept.root];
        let values = self.weights.iter().chain(&self.pulls).chain(&self.roots);
        sound(alike && width > 0, values.chain(cell))
    }

    /// The probability that it happens, for a sparse event.
    ///
    /// # Errors
    /// As [`Self::learn_sparse`]; `NotFound` before the first event.
    pub fn predict_sparse(&self, event: &[(u32, f64)]) -> Result<f64> {
        self.check_sparse(event)?;
        if self.events == 0 {
            return Err(unlearned());
        }
        Ok(self.raw_sparse(event))
    }

    fn raw(&self, features: &[f64]) -> f64 {
        let products = self.weights.iter().zip(features).map(|(weight, value)| weight * value);
        logistic(self.intercept.weight + products.sum::<f64>())
    }

    fn raw_sparse(&self, event: &[(u32, f64)]) -> f64 {
        let weight = |place: u32| self.weights.get(place as usize).copied().unwrap_or_default();
        let products = event.iter().map(|(place, value)| weight(*place) * value);
        logistic(self.intercept.weight + products.sum::<f64>())
    }

    fn check_dense(&self, features: &[f64]) -> Result<()> {
        let fits = features.len() == self.weights.len();
        if fits && features.iter().all(|value| value.abs() <= VALUE_MAX) {
            return Ok(());
        }
        check(features, self.weights.len())?;
        Err(too_large())
    }

    fn check_sparse(&self, event: &[(u32, f64)]) -> Result<()> {
        for (position, (place, value)) in event.iter().enumerate() {
            if *place as usize >= self.weights.len() {
                return Err(Error::invalid(format!(
                    "a feature has place {place} at position {position}"
                ))
                .hint(format!(
                    "Places go up to {}; hash with as many bits.",
                    self.weights.len() - 1
                )));
            }
            if !value.is_finite() {
                return Err(finite::not_finite("feature", position, *value));
            }
            if value.abs() > VALUE_MAX {
                return Err(too_large());
            }
        }
        Ok(())
    }

    /// The weights.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The log-odds when all features are 0.
    #[must_use]
    pub fn intercept(&self) -> f64 {
        self.intercept.weight
    }

    /// How many events were taken in.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }
}

/// The cell after a gradient.
#[inline]
fn moved(cell: Cell, gradient: f64, options: &Options) -> Cell {
    let root = (cell.root * cell.root + gradient * gradient).sqrt();
    let pull = cell.pull + gradient - (root - cell.root) / options.rate * cell.weight;
    let size = (pull.abs() - options.lasso).max(0.0);
    let weight = -size.copysign(pull) / ((options.start + root) / options.rate + options.ridge);
    Cell { weight, pull, root }
}

fn logistic(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

fn too_large() -> Error {
    Error::invalid("a feature is too large")
        .hint(format!("Scale features to about 1; the largest size is {VALUE_MAX:e}."))
}

#[cfg(test)]
mod tests;
