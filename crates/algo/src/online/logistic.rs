//! Logistic regression event by event: the probability that something happens.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::scaler::Scaler;
use super::{check, decay, sound, unlearned};

/// How far a scaled feature may lie from its mean; one wild value must not undo a day of learning.
const SCALED_MAX: f64 = 10.0;

/// What the sum of squared gradients starts from, so that the first step is not the largest.
const SQUARES_START: f64 = 1.0;

/// How the learner behaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The step size, relative to what the gradients of a feature have been.
    pub rate: f64,
    /// Events after which old gradients and moments count half, so that it follows a drift; `None` never forgets.
    pub half_life_events: Option<f64>,
    /// The pull of scaled weights towards 0 at each event.
    pub penalty: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 0.5, half_life_events: Some(10_000.0), penalty: 1e-6 }
    }
}

/// An online logistic regression on standardised features with AdaGrad steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    options: Options,
    decay: f64,
    scaler: Scaler,
    weights: Vec<f64>,
    squares: Vec<f64>,
    bias: f64,
    bias_squares: f64,
    events: u64,
}

impl Logistic {
    /// Starts without events.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for 0 or over a million features or an option out of range.
    pub fn new(features: usize, options: Options) -> Result<Self> {
        let Options { rate, penalty, half_life_events } = options;
        if !(rate.is_finite() && rate > 0.0 && (0.0..1.0).contains(&penalty)) {
            return Err(Error::invalid(format!("rate is {rate} and penalty is {penalty}"))
                .hint("Give a rate above 0 (0.5) and a penalty from 0 to below 1 (0.000001)."));
        }
        Ok(Self {
            options,
            decay: decay(half_life_events)?,
            scaler: Scaler::new(features, half_life_events)?,
            weights: vec![0.0; features],
            squares: vec![SQUARES_START; features],
            bias: 0.0,
            bias_squares: SQUARES_START,
            events: 0,
        })
    }

    /// Takes one event in and says what was predicted just before, for honest running scores.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a feature is not finite (its position is named) or the
    /// width differs; nothing is learnt then.
    /// # Cost
    /// O(features), no allocation: about 20 ns a feature.
    /// # Source
    /// Duchi, Hazan & Singer 2011 (AdaGrad) with exponentially forgotten squares; compared with river's
    /// scaler and logistic regression in `tests/parity/online.json`.
    pub fn learn(&mut self, features: &[f64], happened: bool) -> Result<f64> {
        check(features, self.weights.len())?;
        self.scaler.push(features);
        self.events += 1;
        let predicted = self.raw(features);
        let slope = predicted - f64::from(u8::from(happened));
        let keep = 1.0 - self.options.penalty;
        for (at, value) in features.iter().enumerate() {
            let gradient = slope * self.scaled(at, *value);
            self.squares[at] = self.squares[at] * self.decay + gradient * gradient;
            let step = self.options.rate * gradient / self.squares[at].max(SQUARES_START).sqrt();
            self.weights[at] = self.weights[at] * keep - step;
        }
        self.bias_squares = self.bias_squares * self.decay + slope * slope;
        self.bias -= self.options.rate * slope / self.bias_squares.max(SQUARES_START).sqrt();
        Ok(predicted)
    }

    /// The probability that it happens.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a feature is not finite or the width differs; `NotFound`
    /// before the first event.
    pub fn predict(&self, features: &[f64]) -> Result<f64> {
        check(features, self.weights.len())?;
        if self.events == 0 {
            return Err(unlearned());
        }
        Ok(self.raw(features))
    }

    fn raw(&self, features: &[f64]) -> f64 {
        let products =
            features.iter().enumerate().map(|(at, x)| self.weights[at] * self.scaled(at, *x));
        let score = self.bias + products.sum::<f64>();
        1.0 / (1.0 + (-score).exp())
    }

    fn scaled(&self, at: usize, value: f64) -> f64 {
        self.scaler.scaled(at, value).clamp(-SCALED_MAX, SCALED_MAX)
    }

    /// Refuses a model that was read back and cannot have been learned: of ragged lengths, or not finite.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`].
    pub fn check(&self) -> Result<()> {
        self.scaler.check()?;
        let width = self.weights.len();
        let alike = self.squares.len() == width && self.scaler.features() == width;
        let values = self.weights.iter().chain(&self.squares);
        sound(alike, values.chain([&self.bias, &self.bias_squares]))
    }

    /// The weights, in log-odds per deviation of each feature.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// How many events were taken in.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }
}
