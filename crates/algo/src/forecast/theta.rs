//! The Theta method, the winner of the M3 competition.

use flywheel_base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::smoothing::{Initialization, Shape, Smoothing};
use super::{Forecaster, Made, Model, Options, Spread, load, save};

/// Half the long-run slope on top of a moving level, seasonally adjusted if the season is real.
pub const THETA: Forecaster = Forecaster {
    name: "theta",
    about: "a level that moves plus half of the long-run slope, seasonally adjusted",
    length_min: |_| 3,
    fit: |values, options| Ok(Box::new(Theta::fit(values, options)?)),
    load: load::<Theta>,
};

/// The standard normal value of the 90 % test for a season.
const SEASON_TEST: f64 = 1.645;

/// A fitted Theta model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Theta {
    level: Smoothing,
    /// Half the slope of the least-squares line.
    drift: f64,
    season: Season,
}

/// The season that was taken out, from the next period on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Season {
    None,
    Factors(Vec<f64>),
    Effects(Vec<f64>),
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
        let season = season(values, options.season);
        let adjusted = adjust(values, &season);
        let level = level(&adjusted)?;
        let drift = slope(&adjusted) / 2.0;
        Ok(Self { level, drift, season: from_next(season, values.len()) })
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
        match &self.season {
            Season::None => plain.collect(),
            Season::Factors(f) => plain.zip(f.iter().cycle()).map(|(p, f)| p * f).collect(),
            Season::Effects(e) => plain.zip(e.iter().cycle()).map(|(p, e)| p + e).collect(),
        }
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        let mut spread = self.level.spread(horizon)?;
        if let Season::Factors(factors) = &self.season {
            for (deviation, factor) in spread.deviation.iter_mut().zip(factors.iter().cycle()) {
                *deviation *= factor;
            }
        }
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

/// The season by classical decomposition, from the first period on.
fn season(values: &[f64], m: usize) -> Season {
    if m < 2 || values.len() < 2 * m + 1 || !seasonal(values, m) {
        return Season::None;
    }
    let positive = values.iter().all(|value| *value > 0.0);
    let half = m / 2;
    let mut sums = vec![(0.0, 0_usize); m];
    for at in half..values.len() - half {
        let trend = centred_mean(values, at, m);
        let part = if positive { values[at] / trend } else { values[at] - trend };
        sums[at % m].0 += part;
        sums[at % m].1 += 1;
    }
    let mut parts: Vec<f64> =
        sums.iter().map(|(sum, count)| sum / (*count).max(1) as f64).collect();
    let mean = parts.iter().sum::<f64>() / m as f64;
    if positive && parts.iter().all(|part| *part > 0.0) {
        parts.iter_mut().for_each(|part| *part /= mean);
        return Season::Factors(parts);
    }
    if positive {
        return Season::None;
    }
    parts.iter_mut().for_each(|part| *part -= mean);
    Season::Effects(parts)
}

fn centred_mean(values: &[f64], at: usize, m: usize) -> f64 {
    let half = m / 2;
    let window = &values[at - half..=at + half];
    let sum: f64 = window.iter().sum();
    if m % 2 == 1 {
        return sum / m as f64;
    }
    (sum - f64::midpoint(window[0], window[m])) / m as f64
}

/// Whether the autocorrelation at lag `m` is significant at 90 %.
fn seasonal(values: &[f64], m: usize) -> bool {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if square == 0.0 {
        return false;
    }
    let correlation = |lag: usize| {
        let pairs = values[lag..].iter().zip(values);
        pairs.map(|(b, a)| (b - mean) * (a - mean)).sum::<f64>() / square
    };
    let before: f64 = (1..m).map(|lag| correlation(lag).powi(2)).sum();
    correlation(m).abs() > SEASON_TEST * ((1.0 + 2.0 * before) / n).sqrt()
}

fn adjust(values: &[f64], season: &Season) -> Vec<f64> {
    match season {
        Season::None => values.to_vec(),
        Season::Factors(f) => values.iter().zip(f.iter().cycle()).map(|(v, f)| v / f).collect(),
        Season::Effects(e) => values.iter().zip(e.iter().cycle()).map(|(v, e)| v - e).collect(),
    }
}

fn from_next(mut season: Season, length: usize) -> Season {
    if let Season::Factors(parts) | Season::Effects(parts) = &mut season {
        let next = length % parts.len();
        parts.rotate_left(next);
    }
    season
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
