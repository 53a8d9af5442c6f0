//! Intermittent demand by adding periods up until few of them are zero.

use flywheel_base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::croston::Tsb;
use super::{Forecaster, Model, Spread, load, save};

/// Smooths sums over the mean wait for demand.
pub const ADIDA: Forecaster = Forecaster {
    name: "adida",
    about: "demand added up over the mean wait between two demands, smoothed there, spread evenly",
    length_min: |_| 1,
    fit: |values, _| Ok(Box::new(Flat::adida(values))),
    load: load::<Flat>,
};

/// The mean over all sums from one period up to the mean wait.
pub const IMAPA: Forecaster = Forecaster {
    name: "imapa",
    about: "as adida, the mean over all lengths from one period to the mean wait",
    length_min: |_| 1,
    fit: |values, _| Ok(Box::new(Flat::imapa(values))),
    load: load::<Flat>,
};

/// The smaller one of IMAPA and TSB.
pub const FADING: Forecaster = Forecaster {
    name: "fading",
    about: "the smaller one of imapa and tsb, because demand that ends is noticed late by both",
    length_min: |_| 1,
    fit: |values, _| Ok(Box::new(Flat::fading(values))),
    load: load::<Flat>,
};

/// The range of the smoothing constant.
const ALPHA: (f64, f64) = (0.1, 0.3);

/// Steps of the golden-section search; each leaves 62 % of the range.
const STEPS: usize = 20;

/// The longest sums that are smoothed, in periods.
const LENGTH_MAX: usize = 366;

/// The same expected demand in every period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flat {
    mean: f64,
    /// The mean squared one-step error of smoothing period by period.
    variance: Option<f64>,
    freedom: f64,
}

impl Flat {
    /// # Source
    /// Nikolopoulos et al. 2011; parity with statsforecast 2.1.1 in `tests/parity/forecast_ets.json`.
    fn adida(values: &[f64]) -> Self {
        let mean = wait(values).map_or(0.0, |length| of_sums(values, length));
        Self::new(values, mean)
    }

    /// # Source
    /// Petropoulos & Kourentzes 2015; Syntetos & Boylan 2021; parity as above.
    fn imapa(values: &[f64]) -> Self {
        let of_all = |longest: usize| {
            let sum: f64 = (1..=longest).map(|length| of_sums(values, length)).sum();
            sum / longest as f64
        };
        Self::new(values, wait(values).map_or(0.0, of_all))
    }

    /// Measured on 2,324 car parts: RMSSE .551 against .564 of IMAPA and .569 of TSB, with less bias.
    fn fading(values: &[f64]) -> Self {
        let imapa = Self::imapa(values);
        let tsb = Tsb::optimised(values);
        Self { mean: imapa.mean.min(tsb.probability * tsb.size), ..imapa }
    }

    fn new(values: &[f64], mean: f64) -> Self {
        let freedom = values.len() as f64 - 1.0;
        let (_, squares) = smooth(values.iter().copied(), best_constant(values));
        Self { mean, variance: (freedom > 0.0).then(|| squares / freedom), freedom }
    }
}

impl Model for Flat {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        vec![self.mean; horizon]
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        let deviation = vec![self.variance?.sqrt(); horizon];
        Some(Spread { deviation, freedom: self.freedom })
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}

/// The mean number of periods from one demand to the next, rounded; `None` without demand.
fn wait(values: &[f64]) -> Option<usize> {
    let last = values.iter().rposition(|value| *value != 0.0)?;
    let demands = values.iter().filter(|value| **value != 0.0).count();
    let mean = (last + 1) as f64 / demands as f64;
    Some((mean.round_ties_even() as usize).clamp(1, LENGTH_MAX))
}

/// Smooths sums over `length` periods, the last one ending now; gives the share of one period.
fn of_sums(values: &[f64], length: usize) -> f64 {
    let known = values.get(values.len() % length..).unwrap_or_default();
    let sums: Vec<f64> = known.chunks_exact(length).map(|chunk| chunk.iter().sum()).collect();
    smooth(sums.iter().copied(), best_constant(&sums)).0 / length as f64
}

/// The level after the last value and the sum of squared one-step errors; the first value starts it.
fn smooth(values: impl Iterator<Item = f64>, alpha: f64) -> (f64, f64) {
    let mut level: Option<f64> = None;
    let mut squares = 0.0;
    for value in values {
        let before = level.unwrap_or(value);
        let error = value - before;
        squares += error * error;
        level = Some(before + alpha * error);
    }
    (level.unwrap_or_default(), squares)
}

/// The constant of the least squared one-step error within [`ALPHA`].
fn best_constant(values: &[f64]) -> f64 {
    let squares = |alpha: f64| smooth(values.iter().copied(), alpha).1;
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = ALPHA;
    let (mut left, mut right) = (high - golden * (high - low), low + golden * (high - low));
    let (mut at_left, mut at_right) = (squares(left), squares(right));
    for _ in 0..STEPS {
        if at_left < at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - golden * (high - low);
            at_left = squares(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + golden * (high - low);
            at_right = squares(right);
        }
    }
    f64::midpoint(low, high)
}
