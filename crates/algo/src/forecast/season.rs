//! One season of fixed shape: found by classical decomposition, taken out, put back.

use serde::{Deserialize, Serialize};

/// The standard normal value of the 90 % test for a season.
const SEASON_TEST: f64 = 1.645;

/// A factor below this would blow up what it divides; effects are taken instead.
const FACTOR_MIN: f64 = 0.01;

/// The season that was taken out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Season {
    /// There is none.
    None,
    /// Factors around 1.
    Factors(Vec<f64>),
    /// Effects around 0.
    Effects(Vec<f64>),
}

impl Season {
    /// The season from the first period on, if the autocorrelation says that there is one.
    ///
    /// # Source
    /// Assimakopoulos & Nikolopoulos 2000: 90 % test at the season's lag, classical decomposition;
    /// factors if every value is positive, effects otherwise.
    pub(super) fn tested(values: &[f64], m: usize) -> Self {
        if m < 2 || values.len() < 2 * m || !seasonal(values, m) {
            return Self::None;
        }
        let positive = values.iter().all(|value| *value > 0.0);
        if positive {
            let factors = Self::factors(values, m);
            if factors.iter().all(|factor| *factor > FACTOR_MIN) {
                return Self::Factors(factors);
            }
        }
        Self::Effects(Self::effects(values, m))
    }

    /// The mean share of the trend of each period, with mean 1, for positive values of two seasons.
    pub(super) fn factors(values: &[f64], m: usize) -> Vec<f64> {
        let mut parts = parts(values, m, |value, trend| value / trend);
        let mean = parts.iter().sum::<f64>() / m as f64;
        parts.iter_mut().for_each(|part| *part /= mean);
        parts
    }

    /// The mean distance to the trend of each period, with mean 0, for values of two seasons.
    pub(super) fn effects(values: &[f64], m: usize) -> Vec<f64> {
        let mut parts = parts(values, m, |value, trend| value - trend);
        let mean = parts.iter().sum::<f64>() / m as f64;
        parts.iter_mut().for_each(|part| *part -= mean);
        parts
    }

    /// The values without the season.
    pub(super) fn removed(&self, values: &[f64]) -> Vec<f64> {
        match self {
            Self::None => values.to_vec(),
            Self::Factors(f) => values.iter().zip(f.iter().cycle()).map(|(v, f)| v / f).collect(),
            Self::Effects(e) => values.iter().zip(e.iter().cycle()).map(|(v, e)| v - e).collect(),
        }
    }

    /// Values with the season put back on.
    pub(super) fn returned(&self, plain: impl Iterator<Item = f64>) -> Vec<f64> {
        match self {
            Self::None => plain.collect(),
            Self::Factors(f) => plain.zip(f.iter().cycle()).map(|(p, f)| p * f).collect(),
            Self::Effects(e) => plain.zip(e.iter().cycle()).map(|(p, e)| p + e).collect(),
        }
    }

    /// Deviations of values without the season become those of values with it.
    pub(super) fn scale(&self, deviations: &mut [f64]) {
        if let Self::Factors(factors) = self {
            deviations.iter_mut().zip(factors.iter().cycle()).for_each(|(d, f)| *d *= f);
        }
    }

    /// The season from the period after `length` values on.
    pub(super) fn starting_after(mut self, length: usize) -> Self {
        if let Self::Factors(parts) | Self::Effects(parts) = &mut self {
            let next = length % parts.len();
            parts.rotate_left(next);
        }
        self
    }
}

/// The mean of `part(value, trend)` of each period of the season.
fn parts(values: &[f64], m: usize, part: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let half = m / 2;
    let mut sums = vec![(0.0, 0_usize); m];
    for at in half..values.len() - half {
        sums[at % m].0 += part(values[at], centred_mean(values, at, m));
        sums[at % m].1 += 1;
    }
    sums.iter().map(|(sum, count)| sum / (*count).max(1) as f64).collect()
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
