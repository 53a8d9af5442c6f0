//! Quantiles around a forecast: from its own past errors if there are enough, else from the model.
//!
//! Past errors alone cover too little on short, growing series (measured on the M3 competition), hence
//! [`ERRORS_TRUSTED`].

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::Spread;
use crate::stats::{normal, student};

/// Past errors that a horizon needs before they stand for its distribution.
pub const ERRORS_MIN: usize = 8;

/// Past errors from which they are trusted alone.
pub const ERRORS_TRUSTED: usize = 50;

/// Where the answer lies between the narrower and the wider of the two. On the M3 competition's months the
/// wider one alone covers 84 and 95.4 % where 80 and 95 % are asked, the middle 75 and 93.3 %.
const WIDER_SHARE: f64 = 0.75;

/// What the quantiles of a forecast rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The errors of rolling-origin forecasts of the same series (split-conformal); below
    /// [`ERRORS_TRUSTED`] of them, together with the model's own quantile.
    PastErrors,
    /// The variance the model derives from its one-step residuals.
    Model,
    /// The series is too short for either: there are no quantiles.
    Unknown,
}

/// Makes `quantiles[step][level]` and says what they rest on.
///
/// # Shape
/// `errors` is ragged: one row an origin, `errors[origin][step] = actual − forecast`.
/// # Source
/// Vovk et al. 2005 (split-conformal), per horizon as in Stankevičiūtė et al. 2021; horizons with too few
/// errors take the last good horizon's, widened by the model's own growth of the deviation.
pub(super) fn quantiles(
    mean: &[f64],
    spread: Option<&Spread>,
    errors: &[Vec<f64>],
    levels: &[f64],
) -> (Vec<Vec<f64>>, Basis) {
    let reach = (1..=mean.len())
        .take_while(|step| errors.iter().filter(|path| path.len() >= *step).count() >= ERRORS_MIN)
        .count();
    if reach > 0 {
        let made = mean.iter().enumerate().map(|(step, mean)| {
            let from = step.min(reach - 1);
            let sorted = sorted_errors(errors, from);
            let factor = growth(spread, from, step);
            let own = spread.filter(|_| sorted.len() < ERRORS_TRUSTED);
            let model = own.map(|spread| (spread.deviation[step], spread.freedom));
            let offset = |level: &f64| between(factor * conformal(&sorted, *level), model, *level);
            levels.iter().map(|level| mean + offset(level)).collect()
        });
        return (made.collect(), Basis::PastErrors);
    }
    let Some(spread) = spread else {
        return (Vec::new(), Basis::Unknown);
    };
    let z: Vec<f64> =
        levels.iter().map(|level| student::quantile(*level, spread.freedom)).collect();
    let row = |(mean, deviation): (&f64, &f64)| z.iter().map(|z| mean + z * deviation).collect();
    (mean.iter().zip(&spread.deviation).map(row).collect(), Basis::Model)
}

/// While past errors are few, they come from a time when the series was mostly smaller and calmer, and
/// the model's own quantile is another guess: the answer lies between, nearer to the wider one.
fn between(offset: f64, model: Option<(f64, f64)>, level: f64) -> f64 {
    let Some((deviation, freedom)) = model else { return offset };
    let own = student::quantile(level, freedom) * deviation;
    let (narrow, wide) = match level.total_cmp(&0.5) {
        Ordering::Less => (offset.max(own), offset.min(own)),
        Ordering::Equal => (offset, offset),
        Ordering::Greater => (offset.min(own), offset.max(own)),
    };
    narrow + WIDER_SHARE * (wide - narrow)
}

fn sorted_errors(errors: &[Vec<f64>], step: usize) -> Vec<f64> {
    let mut column: Vec<f64> = errors.iter().filter_map(|path| path.get(step).copied()).collect();
    column.sort_by(f64::total_cmp);
    column
}

/// How much wider step `to` is than step `from`.
fn growth(spread: Option<&Spread>, from: usize, to: usize) -> f64 {
    if from == to {
        return 1.0;
    }
    let of_model = spread.map(|spread| spread.deviation[to] / spread.deviation[from]);
    match of_model {
        Some(factor) if factor.is_finite() => factor.max(1.0),
        _ => ((to + 1) as f64 / (from + 1) as f64).sqrt(),
    }
}

/// The `level` quantile of a next error, given `n` exchangeable ones in ascending order: the value of
/// rank `level · (n + 1)`. Beyond the extremes, where no distribution-free statement exists, the normal
/// tail takes over if it is wider.
pub(super) fn conformal(sorted: &[f64], level: f64) -> f64 {
    let n = sorted.len();
    let rank = level * (n + 1) as f64;
    if rank >= 1.0 && rank <= n as f64 {
        let below = rank.floor() as usize;
        let low = sorted[below - 1];
        let high = sorted[below.min(n - 1)];
        return low + (high - low) * (rank - rank.floor());
    }
    let square = sorted.iter().map(|error| error * error).sum::<f64>() / n as f64;
    let tail = normal::quantile(level) * square.sqrt();
    if rank < 1.0 { sorted[0].min(tail) } else { sorted[n - 1].max(tail) }
}
