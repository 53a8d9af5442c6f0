//! Intermittent demand: most periods are zero, the rest vary.
//!
//! Croston's own method is biased and never lets an item die, and on the carparts data it is the worst
//! of all: it is here to be compared with. TSB decays the probability of demand every period.

use flywheel_base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Forecaster, Model, Spread, load, save};

/// Teunter, Syntetos and Babai's method.
pub const TSB: Forecaster = Forecaster {
    name: "tsb",
    about: "demand comes with a slowly changing probability, in slowly changing sizes",
    length_min: |_| 1,
    fit: |values, _| Ok(Box::new(Tsb::optimised(values))),
    load: load::<Tsb>,
};

/// Croston's method.
pub const CROSTON: Forecaster = Forecaster {
    name: "croston",
    about: "the smoothed size of demand over the smoothed wait for it; overestimates, and never fades",
    length_min: |_| 1,
    fit: |values, _| Ok(Box::new(Croston::smooth(values, 1.0))),
    load: load::<Croston>,
};

/// Croston's method without its bias.
pub const SBA: Forecaster = Forecaster {
    name: "sba",
    about: "as croston, less its bias (Syntetos and Boylan); never fades",
    length_min: |_| 1,
    fit: |values, _| Ok(Box::new(Croston::smooth(values, 1.0 - CROSTON_CONSTANT / 2.0))),
    load: load::<Croston>,
};

/// The published smoothing constant of Croston's method.
const CROSTON_CONSTANT: f64 = 0.1;

/// The smoothing constants tried; the published default is 0.1 for both.
const CONSTANTS: [f64; 5] = [0.02, 0.05, 0.1, 0.2, 0.3];

/// A fitted TSB model: demand is probability times size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tsb {
    /// The smoothed probability that a period has demand.
    pub probability: f64,
    /// The smoothed size of demand when there is any.
    pub size: f64,
    /// The smoothing constant of the size.
    pub size_constant: f64,
    /// The smoothing constant of the probability.
    pub probability_constant: f64,
    squares: f64,
    steps: usize,
}

impl Tsb {
    /// Smooths a series with fixed constants.
    ///
    /// # Shape
    /// The first demand starts the size; the probability starts at 1 over the length of the wait for it.
    /// # Source
    /// Teunter, Syntetos & Babai 2011; parity with its published recursion in
    /// `tests/parity/forecast.json` to 1e-12.
    #[must_use]
    pub fn smooth(values: &[f64], size_constant: f64, probability_constant: f64) -> Self {
        let first = values.iter().position(|value| *value != 0.0);
        let (mut probability, mut size) =
            first.map_or((0.0, 0.0), |at| (1.0 / (at + 1) as f64, values[at]));
        let mut squares = 0.0;
        for value in values {
            squares += (value - probability * size).powi(2);
            let came = f64::from(u8::from(*value != 0.0));
            probability += probability_constant * (came - probability);
            if *value != 0.0 {
                size += size_constant * (value - size);
            }
        }
        Self {
            probability,
            size,
            size_constant,
            probability_constant,
            squares,
            steps: values.len(),
        }
    }

    /// Smooths with the constants of the least squared one-step error.
    #[must_use]
    pub fn optimised(values: &[f64]) -> Self {
        let mut best: Option<Self> = None;
        for size_constant in CONSTANTS {
            for probability_constant in CONSTANTS {
                let made = Self::smooth(values, size_constant, probability_constant);
                if best.as_ref().is_none_or(|best| made.squares < best.squares) {
                    best = Some(made);
                }
            }
        }
        best.unwrap_or_else(|| Self::smooth(values, CONSTANTS[2], CONSTANTS[2]))
    }
}

impl Model for Tsb {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        vec![self.probability * self.size; horizon]
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        if self.steps < 2 {
            return None;
        }
        let freedom = (self.steps - 1) as f64;
        Some(Spread { deviation: vec![(self.squares / freedom).sqrt(); horizon], freedom })
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}

/// A fitted Croston model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Croston {
    /// The expected demand of a period.
    pub mean: f64,
    squares: f64,
    steps: usize,
}

impl Croston {
    /// Smooths sizes and waits with the published constant; `share` of their ratio is expected.
    ///
    /// # Source
    /// Croston 1972; Syntetos & Boylan 2005; parity with statsforecast 2.1.1 in
    /// `tests/parity/forecast_ets.json`.
    fn smooth(values: &[f64], share: f64) -> Self {
        let mut state: Option<(f64, f64)> = None;
        let (mut squares, mut waited) = (0.0, 0.0);
        for value in values {
            let mean = state.map_or(0.0, |(size, wait)| share * size / wait);
            squares += (value - mean).powi(2);
            waited += 1.0;
            if *value == 0.0 {
                continue;
            }
            let (size, wait) = state.unwrap_or((*value, waited));
            let moved = |from: f64, to: f64| from + CROSTON_CONSTANT * (to - from);
            state = Some((moved(size, *value), moved(wait, waited)));
            waited = 0.0;
        }
        let mean = state.map_or(0.0, |(size, wait)| share * size / wait);
        Self { mean, squares, steps: values.len() }
    }
}

impl Model for Croston {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        vec![self.mean; horizon]
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        let freedom = self.steps.checked_sub(1).filter(|left| *left > 0)? as f64;
        Some(Spread { deviation: vec![(self.squares / freedom).sqrt(); horizon], freedom })
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}
