//! The distribution of demand over a lead time.

use flywheel_base::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

use crate::forecast::Forecast;
use crate::stats::{finite, normal};

/// Draws of the lead-time demand; enough for a 99.9 % quantile.
const DRAWS: usize = 8_000;

/// Past error paths needed to draw whole lead times from; with fewer the forecast's quantiles are drawn from.
pub const PATHS_MIN: usize = 12;

/// The correlation of demand errors between periods when only quantiles are known. A forecast that is
/// too low today is mostly too low tomorrow; independence would understate the stock needed.
const CORRELATION: f64 = 0.3;

/// What a lead-time distribution was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Whole paths of past forecast errors, which keep the dependence between periods.
    ErrorPaths,
    /// The forecast's quantiles, drawn with a fixed correlation between periods.
    Quantiles,
    /// No spread was known: independent Poisson demand around the mean.
    Poisson,
}

/// Demand over a lead time, as equally likely outcomes.
#[derive(Clone, Debug, PartialEq)]
pub struct LeadTimeDemand {
    /// Ascending.
    draws: Vec<f64>,
    /// The sum of each draw and all larger ones.
    tails: Vec<f64>,
    mean: f64,
    /// What it was made from.
    pub source: Source,
}

/// How long an order takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeadTime {
    /// The mean, in periods of the forecast; may be fractional.
    pub periods: f64,
    /// Its standard deviation, in periods; 0 if suppliers are punctual.
    #[serde(default)]
    pub deviation: f64,
}

impl LeadTimeDemand {
    /// Draws the sum of demand over the lead time from a forecast's distribution.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the lead time is not finite or negative, or the forecast
    /// is shorter than the lead time with three deviations.
    /// # Cost
    /// 20,000 draws of the horizon: about 1 ms for a lead time of 7 periods.
    /// # Source
    /// Bootstrap of forecast-error paths (Thombs & Schucany 1990; Willemain et al. 2004 for stock);
    /// one-factor Gaussian copula over quantiles otherwise, moved to the mean of the forecast.
    pub fn simulate(forecast: &Forecast, lead: LeadTime, seed: u64) -> Result<Self> {
        let needed = check(forecast, lead)?;
        let mut rng = Rng::stream(seed, "lead-time demand");
        let paths: Vec<&[f64]> =
            forecast.errors.iter().filter_map(|path| path.get(..needed)).collect();
        let source = if paths.len() >= PATHS_MIN && needed > 0 {
            Source::ErrorPaths
        } else if forecast.quantiles.is_empty() {
            Source::Poisson
        } else {
            Source::Quantiles
        };
        let scores: Vec<f64> =
            forecast.levels.iter().map(|level| normal::quantile(*level)).collect();
        let mut expected = 0.0;
        let mut draws: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let periods =
                    (lead.periods + lead.deviation * rng.normal()).clamp(0.0, needed as f64);
                expected += over(periods, |step| forecast.mean[step].max(0.0)) / DRAWS as f64;
                match source {
                    Source::ErrorPaths => along_path(forecast, &paths, periods, &mut rng),
                    Source::Quantiles => along_quantiles(forecast, &scores, periods, &mut rng),
                    Source::Poisson => poisson(forecast, periods, &mut rng),
                }
            })
            .collect();
        if source == Source::Quantiles {
            centre(&mut draws, expected);
        }
        let mean = mean_of(&draws);
        if source == Source::ErrorPaths {
            smooth(&mut draws, mean, paths.len(), &mut rng);
        }
        draws.sort_by(f64::total_cmp);
        let mut tails = draws.clone();
        for place in (1..tails.len()).rev() {
            tails[place - 1] += tails[place];
        }
        Ok(Self { draws, tails, mean, source })
    }

    /// The demand that is not exceeded with probability `level`.
    #[must_use]
    pub fn quantile(&self, level: f64) -> f64 {
        let rank = level.clamp(0.0, 1.0) * (self.draws.len() - 1) as f64;
        let low = rank.floor() as usize;
        let high = (low + 1).min(self.draws.len() - 1);
        self.draws[low] + (self.draws[high] - self.draws[low]) * rank.fract()
    }

    /// The expected demand.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The coefficient of variation: the standard deviation as a share of the mean; 0 without demand.
    #[must_use]
    pub fn variation(&self) -> f64 {
        if self.mean <= 0.0 || self.draws.is_empty() {
            return 0.0;
        }
        let squares: f64 = self.draws.iter().map(|draw| (draw - self.mean).powi(2)).sum();
        (squares / self.draws.len() as f64).sqrt() / self.mean
    }

    /// The probability that demand exceeds `stock`.
    #[must_use]
    pub fn share_above(&self, stock: f64) -> f64 {
        let within = self.draws.partition_point(|draw| *draw <= stock);
        (self.draws.len() - within) as f64 / self.draws.len() as f64
    }

    /// The expected demand beyond `stock`.
    #[must_use]
    pub fn expected_shortage(&self, stock: f64) -> f64 {
        let within = self.draws.partition_point(|draw| *draw <= stock);
        let over = (self.draws.len() - within) as f64;
        let sum = self.tails.get(within).copied().unwrap_or_default();
        (sum - over * stock).max(0.0) / self.draws.len().max(1) as f64
    }
}

/// The number of whole periods that may be touched.
fn check(forecast: &Forecast, lead: LeadTime) -> Result<usize> {
    finite::all_finite("lead time", &[lead.periods, lead.deviation])?;
    finite::all_finite("forecast mean", &forecast.mean)?;
    for (step, row) in forecast.quantiles.iter().enumerate() {
        finite::all_finite(&format!("forecast quantile of step {}", step + 1), row)?;
    }
    if lead.periods < 0.0 || lead.deviation < 0.0 {
        return Err(Error::invalid(format!(
            "lead time is {} periods with deviation {}",
            lead.periods, lead.deviation
        ))
        .hint("Give 0 or more for both."));
    }
    let needed = (lead.periods + 3.0 * lead.deviation).ceil() as usize;
    if needed > forecast.mean.len() {
        return Err(Error::invalid(format!(
            "a forecast of {} periods does not cover a lead time of up to {needed}",
            forecast.mean.len()
        ))
        .hint(format!("Forecast at least {needed} periods.")));
    }
    Ok(needed)
}

/// Spreads draws that come from a few paths only into a continuous distribution of nearly the same
/// variance, so that a level beyond the worst path seen asks for more than that path.
///
/// # Source
/// Smoothed bootstrap with Silverman's bandwidth and variance correction (Silverman & Young 1987),
/// times √((n + 1)/(n − 1)) for the uncertainty of a spread known from n paths.
fn smooth(draws: &mut [f64], mean: f64, paths: usize, rng: &mut Rng) {
    let n = paths as f64;
    let square = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
    let width = 0.9 * n.powf(-0.2);
    let factor = ((n + 1.0) / (n - 1.0) / (1.0 + width * width)).sqrt();
    let noise = width * square.sqrt();
    for draw in draws {
        *draw = (mean + factor * (*draw - mean + noise * rng.normal())).max(0.0);
    }
}

fn mean_of(draws: &[f64]) -> f64 {
    draws.iter().sum::<f64>() / draws.len().max(1) as f64
}

/// Moves draws to the mean that is forecast. Each of their days was kept at or above 0, which makes the sum of many days
/// of rare demand far larger than what is expected; where nothing is expected, nothing is drawn.
fn centre(draws: &mut [f64], expected: f64) {
    let excess = mean_of(draws) - expected;
    draws.iter_mut().for_each(|draw| *draw = (*draw - excess).max(0.0));
    let moved = mean_of(draws);
    if moved > 0.0 {
        draws.iter_mut().for_each(|draw| *draw *= expected / moved);
    }
}

/// Sums `value(step)` over the periods, the last one in part.
fn over(periods: f64, mut value: impl FnMut(usize) -> f64) -> f64 {
    let whole = periods.floor() as usize;
    let full: f64 = (0..whole).map(&mut value).sum();
    let rest = periods.fract();
    if rest > 0.0 { full + rest * value(whole) } else { full }
}

fn along_path(forecast: &Forecast, paths: &[&[f64]], periods: f64, rng: &mut Rng) -> f64 {
    let path = paths[rng.below(paths.len())];
    over(periods, |step| (forecast.mean[step] + path[step]).max(0.0))
}

fn along_quantiles(forecast: &Forecast, scores: &[f64], periods: f64, rng: &mut Rng) -> f64 {
    let (shared, own) = (CORRELATION.sqrt() * rng.normal(), (1.0 - CORRELATION).sqrt());
    over(periods, |step| {
        let z = shared + own * rng.normal();
        inverse(forecast, scores, step, z).max(0.0)
    })
}

fn poisson(forecast: &Forecast, periods: f64, rng: &mut Rng) -> f64 {
    over(periods, |step| rng.poisson(forecast.mean[step].max(0.0)) as f64)
}

/// The quantile at the normal score `z`: linear in the score between known levels, whose scores are
/// given, and along the line through the mean and the outermost known quantile beyond them.
fn inverse(forecast: &Forecast, scores: &[f64], step: usize, z: f64) -> f64 {
    let row = &forecast.quantiles[step];
    let after = scores.partition_point(|known| *known < z);
    if after > 0 && after < scores.len() {
        let (z0, z1) = (scores[after - 1], scores[after]);
        return row[after - 1] + (row[after] - row[after - 1]) * (z - z0) / (z1 - z0);
    }
    let Some(edge) = (if after == 0 { Some(0) } else { scores.len().checked_sub(1) }) else {
        return forecast.mean[step];
    };
    match row.get(edge) {
        Some(quantile) if scores[edge].abs() > 0.01 => {
            let slope = (quantile - forecast.mean[step]) / scores[edge];
            quantile + slope.max(0.0) * (z - scores[edge])
        }
        _ => forecast.mean[step],
    }
}
