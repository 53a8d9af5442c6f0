//! STL: splits a series into season, trend and rest by local regression.

use flywheel_base::{Error, Result};

use crate::stats::finite;

/// Inner rounds: seasons and trend settle long before the last one.
const ROUNDS: usize = 5;

/// A weight within this share of the window is 1, and beyond the other one it is 0.
const NEAR: f64 = 0.001;
const FAR: f64 = 0.999;

/// The longest loop that a low-pass filter needs beside the season: three periods.
const LAST_AVERAGE: usize = 3;

/// A series, split.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// The season, period by period.
    pub season: Vec<f64>,
    /// The trend.
    pub trend: Vec<f64>,
}

/// How straight a local regression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Degree {
    Level,
    Line,
}

/// Splits a series; `window` is how many seasons are looked at together, odd and at least 7.
///
/// # Shape
/// At least two seasons of at least two periods.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite, or there are too few.
/// # Cost
/// O(values · (windows of season and trend)) a round, five rounds.
/// # Source
/// Cleveland et al. 1990, with a locally constant season and no robustness weights; parity with
/// statsmodels 0.15 `STL(seasonal_deg=0)` in `tests/parity/forecast_ets.json` to 1e-8.
pub fn split(values: &[f64], period: usize, window: usize) -> Result<Parts> {
    finite::all_finite("series value", values)?;
    if period < 2 || values.len() < 2 * period {
        let length = values.len();
        return Err(Error::invalid(format!(
            "a series of {length} values has no season of {period} periods to split off"
        ))
        .hint("Give at least two seasons of at least two periods."));
    }
    let n = values.len();
    let window = window.max(7) | 1;
    let trend_window = trend_window(period, window);
    let low_window = (period + 1) | 1;
    let (mut trend, mut season) = (vec![0.0; n], vec![0.0; n]);
    for _ in 0..ROUNDS {
        let rest: Vec<f64> = values.iter().zip(&trend).map(|(v, t)| v - t).collect();
        let cycles = cycles(&rest, period, window);
        let averaged = average(&average(&average(&cycles, period), period), LAST_AVERAGE);
        let low = smooth(&averaged, low_window, Degree::Line);
        let own = cycles.iter().skip(period);
        season.iter_mut().zip(own.zip(&low)).for_each(|(s, (cycle, low))| *s = cycle - low);
        let adjusted: Vec<f64> = values.iter().zip(&season).map(|(v, s)| v - s).collect();
        trend = smooth(&adjusted, trend_window, Degree::Line);
    }
    Ok(Parts { season, trend })
}

/// The least odd window that keeps the season out of the trend.
fn trend_window(period: usize, window: usize) -> usize {
    let least = 1.5 * period as f64 / (1.0 - 1.5 / window as f64);
    least.ceil() as usize | 1
}

/// Each period of the season smoothed over the seasons, from one season before to one after.
fn cycles(values: &[f64], period: usize, window: usize) -> Vec<f64> {
    let mut made = vec![0.0; values.len() + 2 * period];
    for first in 0..period {
        let one: Vec<f64> = values.iter().skip(first).step_by(period).copied().collect();
        let k = one.len();
        let inner = smooth(&one, window, Degree::Level);
        let before = at(&one, -1.0, 0..window.min(k), window, Degree::Level);
        let after = at(&one, k as f64, k.saturating_sub(window)..k, window, Degree::Level);
        made[first] = before.unwrap_or(inner[0]);
        made.iter_mut().skip(first + period).step_by(period).zip(&inner).for_each(|(m, i)| *m = *i);
        made[first + (k + 1) * period] = after.unwrap_or(inner[k - 1]);
    }
    made
}

fn average(values: &[f64], length: usize) -> Vec<f64> {
    let mut sum: f64 = values[..length].iter().sum();
    let mut made = vec![sum / length as f64];
    for (new, old) in values[length..].iter().zip(values) {
        sum += new - old;
        made.push(sum / length as f64);
    }
    made
}

/// Local regression at every value.
fn smooth(values: &[f64], window: usize, degree: Degree) -> Vec<f64> {
    let n = values.len();
    let used = window.min(n);
    let ahead = window.div_ceil(2);
    let value = |index: usize| {
        let from = if window >= n { 0 } else { (index + 1).saturating_sub(ahead).min(n - used) };
        at(values, index as f64, from..from + used, window, degree).unwrap_or(values[index])
    };
    (0..n).map(value).collect()
}

/// The regression at `x` over the values in `near`; `None` if none of them has a weight.
fn at(
    values: &[f64],
    x: f64,
    near: std::ops::Range<usize>,
    window: usize,
    degree: Degree,
) -> Option<f64> {
    let (left, right) = (near.start as f64, near.end as f64 - 1.0);
    let beyond = window.saturating_sub(values.len()) / 2;
    let reach = (x - left).max(right - x) + beyond as f64;
    let weight = |index: usize| {
        let distance = (index as f64 - x).abs();
        if distance > FAR * reach {
            0.0
        } else if distance <= NEAR * reach {
            1.0
        } else {
            (1.0 - (distance / reach).powi(3)).powi(3)
        }
    };
    let mut weights: Vec<f64> = near.clone().map(weight).collect();
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return None;
    }
    weights.iter_mut().for_each(|weight| *weight /= total);
    let places = || near.clone().map(|index| index as f64);
    if degree == Degree::Line && reach > 0.0 {
        let middle: f64 = weights.iter().zip(places()).map(|(w, place)| w * place).sum();
        let square: f64 =
            weights.iter().zip(places()).map(|(w, place)| w * (place - middle).powi(2)).sum();
        if square.sqrt() > NEAR * (values.len() as f64 - 1.0) {
            let tilt = (x - middle) / square;
            weights.iter_mut().zip(places()).for_each(|(w, place)| {
                *w *= 1.0 + tilt * (place - middle);
            });
        }
    }
    Some(weights.iter().zip(&values[near]).map(|(w, value)| w * value).sum())
}
