//! Where the search starts.

use super::form::{Form, Seasonal};
use crate::forecast::season::Season;
use crate::forecast::smoothing::State;

/// Values that the first line is drawn through, at least; two seasons if those are more.
const LINE_VALUES: usize = 10;

/// Seasons from which the classical decomposition has two values of each period.
const SEASONS_DECOMPOSED: usize = 3;

/// The least factor of a season.
const FACTOR_MIN: f64 = 0.01;

/// A line through the start of the seasonally adjusted series.
///
/// # Source
/// Hyndman et al. 2008, §2.6.1.
pub(super) fn state(values: &[f64], form: Form) -> State {
    let season = effects(values, form);
    let adjusted: Vec<f64> = match form.season {
        Seasonal::None => values.to_vec(),
        Seasonal::Additive => {
            values.iter().zip(season.iter().cycle()).map(|(v, e)| v - e).collect()
        }
        Seasonal::Multiplicative => {
            values.iter().zip(season.iter().cycle()).map(|(v, f)| v / f).collect()
        }
    };
    let used = LINE_VALUES.max(2 * form.period).min(adjusted.len());
    let (mean, slope) = line(&adjusted[..used]);
    if !form.trending() {
        return State { level: mean, trend: 0.0, season };
    }
    let level = mean - slope * f64::midpoint(used as f64, 1.0);
    State { level, trend: slope, season }
}

/// Effects or factors of each period, from the first value on.
fn effects(values: &[f64], form: Form) -> Vec<f64> {
    let m = form.period;
    let factors = match form.season {
        Seasonal::None => return Vec::new(),
        Seasonal::Additive => false,
        Seasonal::Multiplicative => true,
    };
    let decomposed = values.len() >= SEASONS_DECOMPOSED * m;
    let mut made = match (decomposed, factors) {
        (true, true) => Season::factors(values, m),
        (true, false) => Season::effects(values, m),
        (false, _) => from_line(values, m, factors),
    };
    if factors {
        made.iter_mut().for_each(|factor| *factor = factor.max(FACTOR_MIN));
        let mean = made.iter().sum::<f64>() / m as f64;
        made.iter_mut().for_each(|factor| *factor /= mean);
    }
    made
}

/// The mean distance of each period to a line through all values.
fn from_line(values: &[f64], m: usize, factors: bool) -> Vec<f64> {
    let (mean, slope) = line(values);
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let mut sums = vec![(0.0, 0.0); m];
    for (at, value) in values.iter().enumerate() {
        let trend = mean + slope * (at as f64 - middle);
        let part = if factors { value / trend.max(FACTOR_MIN * mean) } else { value - trend };
        sums[at % m].0 += part;
        sums[at % m].1 += 1.0;
    }
    let neutral = f64::from(u8::from(factors));
    let mut made: Vec<f64> =
        sums.iter().map(|(sum, count)| if *count > 0.0 { sum / count } else { neutral }).collect();
    let excess = made.iter().sum::<f64>() / m as f64 - neutral;
    made.iter_mut().for_each(|part| *part -= excess);
    made
}

/// Mean and slope of the least-squares line.
fn line(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let middle = (n - 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / n;
    let (mut product, mut square) = (0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let x = index as f64 - middle;
        product += x * (value - mean);
        square += x * x;
    }
    (mean, if square > 0.0 { product / square } else { 0.0 })
}
