//! The yardsticks: last value, mean, and the same period of the last season.

use flywheel_base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Forecaster, Model, Options, Spread, load, save};

/// The last value stays.
pub const LAST: Forecaster = Forecaster {
    name: "naive",
    about: "the last value stays",
    length_min: |_| 1,
    fit: |values, _| Ok(Box::new(Naive::seasonal(values, 1))),
    load: load::<Naive>,
};

/// The mean of all values.
pub const MEAN: Forecaster = Forecaster {
    name: "mean",
    about: "every period is a draw around the mean of all",
    length_min: |_| 1,
    fit: |values, _| Ok(Box::new(Mean::fit(values))),
    load: load::<Mean>,
};

/// The same period of the last season.
pub const SEASONAL: Forecaster = Forecaster {
    name: "seasonal-naive",
    about: "the same period of the last season comes again",
    length_min: |options| options.season.max(1),
    fit: |values, options| Ok(Box::new(Naive::seasonal(values, options.season.max(1)))),
    load: load::<Naive>,
};

/// The last season, repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Naive {
    last: Vec<f64>,
    deviation: Option<f64>,
    freedom: f64,
}

impl Naive {
    /// Keeps the last `season` values; the spread is that of the season's differences.
    fn seasonal(values: &[f64], season: usize) -> Self {
        let last = values[values.len() - season..].to_vec();
        let steps = values.len() - season;
        let squares: f64 = values[season..].iter().zip(values).map(|(b, a)| (b - a).powi(2)).sum();
        let deviation = (steps > 0).then(|| (squares / steps as f64).sqrt());
        Self { last, deviation, freedom: steps as f64 }
    }
}

impl Model for Naive {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        self.last.iter().cycle().take(horizon).copied().collect()
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        let one = self.deviation?;
        let seasons = |step: usize| (step / self.last.len() + 1) as f64;
        let deviation = (0..horizon).map(|step| one * seasons(step).sqrt()).collect();
        Some(Spread { deviation, freedom: self.freedom })
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}

/// The mean of all values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    mean: f64,
    deviation: Option<f64>,
    freedom: f64,
}

impl Mean {
    fn fit(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (n - 1.0) * (1.0 + 1.0 / n)).sqrt());
        Self { mean, deviation, freedom: n - 1.0 }
    }
}

impl Model for Mean {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        vec![self.mean; horizon]
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        Some(Spread { deviation: vec![self.deviation?; horizon], freedom: self.freedom })
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}

/// Whether `options` ask for a season at all.
pub(super) fn seasonal(options: &Options) -> bool {
    options.season > 1
}
