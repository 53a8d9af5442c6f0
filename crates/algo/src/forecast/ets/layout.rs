//! The numbers of a model in one row, as the search moves them.
//!
//! ```text
//! alpha | beta / alpha | gamma / (1 − alpha) | phi | level | trend | effects of all but the last period
//! ```
//! Shares instead of constants make the admissible region a box. The effects sum to 0 (factors to the
//! period), which gives the last one.

use super::form::{Form, Seasonal, Trend};
use crate::forecast::smoothing::{Constants, State};

/// Seasons longer than this keep the effects of the decomposition: searched, they would cost more than
/// they are worth.
pub(super) const SEARCHED_SEASON_MAX: usize = 24;

/// The most numbers that are searched.
pub(super) const WIDTH_MAX: usize = 32;

/// The range of `alpha` and of the shares.
const SHARE: (f64, f64) = (1e-4, 0.9999);

/// The most that one error may move the trend, over the periods of a season. The likelihood alone lets
/// the trend of a short series follow its last values: on the M3 competition a bound of 1 costs 0.4
/// points of sMAPE, one of 0.2 (statsforecast's) 0.1.
const BETA_MAX: f64 = 0.1;

/// The range of what is left of the trend each period.
const PHI: (f64, f64) = (0.8, 0.98);

/// Where each number stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) form: Form,
    pub(super) beta: Option<usize>,
    pub(super) gamma: Option<usize>,
    pub(super) phi: Option<usize>,
    pub(super) level: usize,
    pub(super) trend: Option<usize>,
    /// The first effect and how many are searched.
    pub(super) effects: (usize, usize),
    pub(super) count: usize,
    /// The most that `beta` may be.
    pub(super) beta_max: f64,
}

impl Layout {
    pub(super) fn new(form: Form) -> Self {
        let mut count = 1;
        let mut place = |wanted: bool| {
            let at = count;
            count += usize::from(wanted);
            wanted.then_some(at)
        };
        let seasonal = form.season != Seasonal::None;
        let beta = place(form.trending());
        let gamma = place(seasonal);
        let phi = place(form.trend == Trend::Damped);
        let level = place(true).unwrap_or_default();
        let trend = place(form.trending());
        let searched = seasonal && form.period <= SEARCHED_SEASON_MAX;
        let free = if searched { form.period - 1 } else { 0 };
        let effects = (count, free);
        Self {
            form,
            beta,
            gamma,
            phi,
            level,
            trend,
            effects,
            count: count + free,
            beta_max: BETA_MAX / form.period as f64,
        }
    }

    /// The range of the number at `at`; the states have none.
    pub(super) fn range(&self, at: usize) -> (f64, f64) {
        if Some(at) == self.phi {
            PHI
        } else if at < self.level {
            SHARE
        } else {
            (f64::NEG_INFINITY, f64::INFINITY)
        }
    }

    /// The row of these constants and this first state.
    pub(super) fn row(&self, constants: Constants, first: &State) -> Vec<f64> {
        let Constants { alpha, beta, gamma, phi } = constants;
        let mut row = vec![0.0; self.count];
        row[0] = alpha;
        if let Some(at) = self.beta {
            row[at] = beta / alpha.clamp(SHARE.0, self.beta_max);
        }
        if let Some(at) = self.gamma {
            row[at] = gamma / (1.0 - alpha).max(SHARE.0);
        }
        if let Some(at) = self.phi {
            row[at] = phi;
        }
        row[self.level] = first.level;
        if let Some(at) = self.trend {
            row[at] = first.trend;
        }
        let (from, free) = self.effects;
        row[from..].copy_from_slice(first.season.get(..free).unwrap_or_default());
        for (at, value) in row.iter_mut().enumerate() {
            let (low, high) = self.range(at);
            *value = value.clamp(low, high);
        }
        row
    }

    /// The constants of a row.
    pub(super) fn constants(&self, row: &[f64]) -> Constants {
        let alpha = row[0];
        Constants {
            alpha,
            beta: self.beta.map_or(0.0, |at| alpha.min(self.beta_max) * row[at]),
            gamma: self.gamma.map_or(0.0, |at| (1.0 - alpha) * row[at]),
            phi: self.phi.map_or(1.0, |at| row[at]),
        }
    }

    /// The first state of a row; effects that are not searched come from `kept`.
    pub(super) fn first(&self, row: &[f64], kept: &[f64]) -> State {
        let (from, free) = self.effects;
        let mut season = kept.to_vec();
        if free > 0 {
            season.truncate(0);
            season.extend_from_slice(&row[from..]);
            let total: f64 = season.iter().sum();
            let whole = if self.form.season == Seasonal::Multiplicative {
                self.form.period as f64
            } else {
                0.0
            };
            season.push(whole - total);
        }
        State { level: row[self.level], trend: self.trend.map_or(0.0, |at| row[at]), season }
    }
}
