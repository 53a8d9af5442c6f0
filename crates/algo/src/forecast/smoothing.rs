//! Exponential smoothing with additive errors: simple, Holt, damped Holt and Holt-Winters.
//!
//! All are one linear recursion (an innovations state-space model), so its initial state can be solved
//! exactly by least squares for any smoothing constants; only one to four constants are searched.

mod estimate;
mod initial;
mod state;

use flywheel_base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Forecaster, Made, Model, Options, Spread, load, save};
pub use state::{Constants, Shape, State};

/// Where the recursion starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initialization {
    /// The initial state with the least squared error, found together with the constants. On short
    /// series this prefers a straight line (constants of 0): let `auto` compare it with the naive ones.
    #[default]
    Estimated,
    /// A line through the first ten (seasonally adjusted) values.
    Heuristic,
    /// The first value and the first difference, as statsmodels did up to 0.11.
    LegacyHeuristic,
}

/// Seasons that Holt-Winters needs to tell a season from a trend.
const SEASONS_MIN: usize = 2;

/// Level only.
pub const SIMPLE: Forecaster = Forecaster {
    name: "ses",
    about: "a level that moves, no trend",
    length_min: |_| 1,
    fit: |values, options| fit(values, Shape::default(), options),
    load: load::<Smoothing>,
};

/// Level and trend.
pub const HOLT: Forecaster = Forecaster {
    name: "holt",
    about: "a level and a trend that move; the trend goes on for ever",
    length_min: |_| 3,
    fit: |values, options| fit(values, Shape { trend: true, ..Shape::default() }, options),
    load: load::<Smoothing>,
};

/// Level and a trend that fades.
pub const DAMPED: Forecaster = Forecaster {
    name: "holt-damped",
    about: "a level and a trend that fades out",
    length_min: |_| 5,
    fit: |values, options| {
        fit(values, Shape { trend: true, damped: true, ..Shape::default() }, options)
    },
    load: load::<Smoothing>,
};

/// Level, trend and additive season.
pub const HOLT_WINTERS: Forecaster = Forecaster {
    name: "holt-winters",
    about: "a level, a trend and an additive season that move",
    length_min: |options| SEASONS_MIN * options.season.max(2) + 1,
    fit: |values, options| {
        fit(values, Shape { trend: true, damped: false, season: options.season.max(2) }, options)
    },
    load: load::<Smoothing>,
};

/// Level, fading trend and additive season.
pub const HOLT_WINTERS_DAMPED: Forecaster = Forecaster {
    name: "holt-winters-damped",
    about: "a level, a trend that fades out and an additive season that move",
    length_min: |options| SEASONS_MIN * options.season.max(2) + 3,
    fit: |values, options| {
        fit(values, Shape { trend: true, damped: true, season: options.season.max(2) }, options)
    },
    load: load::<Smoothing>,
};

/// A fitted exponential smoothing model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoothing {
    /// Which components it has.
    pub shape: Shape,
    /// The smoothing constants.
    pub constants: Constants,
    /// The state before the first value.
    pub initial: State,
    /// The state after the last value.
    pub last: State,
    /// The sum of squared one-step errors.
    pub squares: f64,
    /// How many values were fitted.
    pub length: usize,
}

impl Smoothing {
    /// Fits constants and initial state to a finite, non-empty series.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite or the series is shorter than
    /// two seasons or, with a trend, than two values.
    /// # Cost
    /// Some hundred passes over the series, each O(n · states²); 0.05 ms for 12 values, about 5 ms for
    /// 100 values with a season of 12.
    /// # Source
    /// Hyndman et al. 2008, ETS(A,{N,A,Ad},{N,A}); parity with statsmodels 0.15 `ExponentialSmoothing`
    /// in `tests/parity/forecast.json`: forecasts to 1e-3, squared error never larger.
    pub fn fit(values: &[f64], shape: Shape, initialization: Initialization) -> Result<Self> {
        initial::check(values, shape)?;
        let (constants, initial) = estimate::search(values, shape, initialization);
        let (squares, last) = state::run(values, shape, constants, initial.clone());
        Ok(Self { shape, constants, initial, last, squares, length: values.len() })
    }

    /// Fits a slightly longer or shorter version of the series from the constants found before.
    ///
    /// # Errors
    /// As [`Smoothing::fit`].
    /// # Cost
    /// About a tenth of [`Smoothing::fit`].
    pub fn fit_near(&self, values: &[f64], initialization: Initialization) -> Result<Self> {
        let shape = self.shape;
        initial::check(values, shape)?;
        let (constants, initial) =
            estimate::search_near(values, shape, initialization, self.constants);
        let (squares, last) = state::run(values, shape, constants, initial.clone());
        Ok(Self { shape, constants, initial, last, squares, length: values.len() })
    }

    /// How many numbers were estimated: states and constants.
    fn estimated(&self) -> usize {
        self.shape.states() + self.shape.constants()
    }
}

fn fit(values: &[f64], shape: Shape, options: &Options) -> Result<Made> {
    Ok(Box::new(Smoothing::fit(values, shape, options.initialization)?))
}

impl Model for Smoothing {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        self.last.forecast(self.shape, self.constants, horizon)
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        let freedom = self.length.checked_sub(self.estimated()).filter(|left| *left > 0)? as f64;
        let variance = self.squares / freedom;
        let mut sum = 1.0;
        let mut damping = 0.0;
        let mut power = 1.0;
        let mut deviation = Vec::with_capacity(horizon);
        for step in 1..=horizon {
            deviation.push((variance * sum).sqrt());
            power *= self.constants.phi;
            damping += power;
            let season = self.shape.season > 1 && step % self.shape.season == 0;
            let gamma = if season { self.constants.gamma } else { 0.0 };
            sum += (self.constants.alpha + self.constants.beta * damping + gamma).powi(2);
        }
        Some(Spread { deviation, freedom })
    }

    fn refit(&self, values: &[f64], options: &Options) -> Option<Result<Made>> {
        let near = self.fit_near(values, options.initialization);
        Some(near.map(|model| Box::new(model) as Made))
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}
