//! The Theta method, the winner of the M3 competition, and its optimised forms.

mod optimised;

use flywheel_base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::season::Season;
use super::smoothing::{Initialization, Shape, Smoothing};
use super::{Forecaster, Made, Model, Options, Spread, load, save};
pub use optimised::{Line, Optimised};

/// Half the long-run slope on top of a moving level, seasonally adjusted if the season is real.
pub const THETA: Forecaster = Forecaster {
    name: "theta",
    about: "a level that moves plus half of the long-run slope, seasonally adjusted",
    length_min: |_| 3,
    fit: |values, options| Ok(Box::new(Theta::fit(values, options)?)),
    load: load::<Theta>,
};

/// As [`THETA`], with the share of the slope found from the data.
pub const OPTIMISED: Forecaster = Forecaster {
    name: "theta-optimised",
    about: "a level that moves plus the share of the long-run slope that fits best",
    length_min: |_| optimised::LENGTH_MIN,
    fit: |values, options| Ok(Box::new(Optimised::fit(values, options.season, Line::Whole)?)),
    load: load::<Optimised>,
};

/// As [`OPTIMISED`], with a slope that each value moves.
pub const DYNAMIC: Forecaster = Forecaster {
    name: "theta-dynamic",
    about: "a level that moves plus the best share of a slope that each value moves too",
    length_min: |_| optimised::LENGTH_MIN,
    fit: |values, options| Ok(Box::new(Optimised::fit(values, options.season, Line::Growing)?)),
    load: load::<Optimised>,
};

/// A fitted Theta model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Theta {
    level: Smoothing,
    /// Half the slope of the least-squares line.
    drift: f64,
    season: Season,
}

impl Theta {
    /// Fits a finite series of at least three values.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite.
    /// # Source
    /// Assimakopoulos & Nikolopoulos 2000 in the form of Hyndman & Billah 2003 (simple smoothing with a
    /// drift of half the slope); season by classical decomposition after the 90 % autocorrelation test.
    fn fit(values: &[f64], options: &Options) -> Result<Self> {
        Self::made(values, options, |adjusted| {
            Smoothing::fit(adjusted, Shape::default(), Initialization::Estimated)
        })
    }

    fn made(
        values: &[f64],
        options: &Options,
        level: impl Fn(&[f64]) -> Result<Smoothing>,
    ) -> Result<Self> {
        let season = Season::tested(values, options.season);
        let adjusted = season.removed(values);
        let level = level(&adjusted)?;
        let drift = slope(&adjusted) / 2.0;
        Ok(Self { level, drift, season: season.starting_after(values.len()) })
    }
}

impl Model for Theta {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        let alpha = self.level.constants.alpha;
        let n = self.level.length as f64;
        // The drift that the level has not caught up with; its limit for alpha towards 0 is n.
        let behind = if alpha > 1e-6 { (1.0 - (1.0 - alpha).powf(n)) / alpha } else { n };
        let level = self.level.last.level;
        let plain = (0..horizon).map(|step| level + self.drift * (step as f64 + behind));
        self.season.returned(plain)
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        let mut spread = self.level.spread(horizon)?;
        self.season.scale(&mut spread.deviation);
        Some(spread)
    }

    fn refit(&self, values: &[f64], options: &Options) -> Option<Result<Made>> {
        let near = |adjusted: &[f64]| self.level.fit_near(adjusted, Initialization::Estimated);
        let made = Self::made(values, options, near);
        Some(made.map(|model| Box::new(model) as Made))
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}

fn slope(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let middle = (n - 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / n;
    let (mut product, mut square) = (0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let x = index as f64 - middle;
        product += x * (value - mean);
        square += x * x;
    }
    if square > 0.0 { product / square } else { 0.0 }
}
