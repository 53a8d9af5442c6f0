//! Exponential smoothing in all its forms, the form chosen by the corrected Akaike criterion.
//!
//! ```text
//! forms that suit the series ── search each (level, trend, season, constants) ──► least AICc ──► Ets
//! ```

mod form;
mod initial;
mod layout;
mod search;
mod spread;
mod walk;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::smoothing::{Constants, State};
use super::{Forecaster, Made, Model, Options, Spread, load, save};
use crate::stats::finite;
pub use form::{Form, Noise, Seasonal, Trend};
use layout::Layout;
use search::{Found, search, search_near};

/// Exponential smoothing whose form follows from the data.
pub const ETS: Forecaster = Forecaster {
    name: "ets",
    about: "level, trend and season of the form that fits best for its size (error A/M, trend N/A/Ad, season N/A/M)",
    length_min: |_| LENGTH_MIN,
    fit: |values, options| Ok(Box::new(Ets::fit(values, options.season)?)),
    load: load::<Ets>,
};

/// Values that a fit needs.
const LENGTH_MIN: usize = 5;

/// The constant level that follows a series that never changes.
const CONSTANT_ALPHA: f64 = 0.9999;

/// A fitted exponential smoothing model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ets {
    /// Which components it has.
    pub form: Form,
    /// The smoothing constants.
    pub constants: Constants,
    /// The state before the first value.
    pub initial: State,
    /// The state after the last value.
    pub last: State,
    /// The sum of squared one-step errors, relative ones if the noise is multiplicative.
    pub squares: f64,
    /// −2 log likelihood up to a constant that all forms share.
    pub deviance: f64,
    /// The corrected Akaike criterion.
    pub aicc: f64,
    /// How many values were fitted.
    pub length: usize,
}

impl Ets {
    /// Fits every form the series can have and keeps the one of the least AICc.
    ///
    /// # Shape
    /// At least five finite values; a season takes part from a season and some values on. Seasons of more
    /// than 24 periods keep the effects of the classical decomposition.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite or the series too short.
    /// # Cost
    /// Up to fifteen searches of some ten walks each: about 1 ms for 100 values with a season of 12.
    /// # Source
    /// Hyndman, Koehler, Snyder & Grose 2002; Hyndman et al. 2008; parity with statsforecast 2.1.1 `AutoETS`
    /// in `tests/parity/forecast_ets.json`: the same form or one of a better likelihood.
    pub fn fit(values: &[f64], season: usize) -> Result<Self> {
        check(values)?;
        if let Some(first) = values.first().filter(|first| values.iter().all(|v| v == *first)) {
            return Ok(Self::constant(*first, values.len()));
        }
        let positive = values.iter().all(|value| *value > 0.0);
        let season = if values.len() > season { season } else { 1 };
        let mut best: Option<Self> = None;
        for form in Form::admitted(positive, season) {
            let Some(made) = Self::searched(values, form) else { continue };
            if best.as_ref().is_none_or(|best| made.aicc < best.aicc) {
                best = Some(made);
            }
        }
        best.ok_or_else(|| too_wild(values.len()))
    }

    /// Fits one form.
    ///
    /// # Errors
    /// As [`Ets::fit`], and if the series has too few values for the form, or values that are not positive
    /// for a multiplicative one.
    pub fn fit_form(values: &[f64], form: Form) -> Result<Self> {
        check(values)?;
        let positive = values.iter().all(|value| *value > 0.0);
        if !Form::admitted(positive, form.period).contains(&form) {
            return Err(Error::invalid(format!("{form} does not suit the series"))
                .hint("Multiplicative forms need values above 0, and a multiplicative season such errors too."));
        }
        Self::searched(values, form).ok_or_else(|| {
            Error::invalid(format!("a series of {} values is too short for {form}", values.len()))
                .hint(format!("It needs more than {}.", form.parameters() + 1))
        })
    }

    fn searched(values: &[f64], form: Form) -> Option<Self> {
        let left = values.len().checked_sub(form.parameters() + 1).filter(|left| *left > 0)?;
        let found = search(values, &Layout::new(form))?;
        Some(Self::made(form, found, values.len(), left))
    }

    /// `left` is the length less the parameters less 1.
    fn made(form: Form, found: Found, length: usize, left: usize) -> Self {
        let k = form.parameters() as f64;
        let aicc = found.deviance + 2.0 * k + 2.0 * k * (k + 1.0) / left as f64;
        let Found { constants, first, last, squares, deviance } = found;
        Self { form, constants, initial: first, last, squares, deviance, aicc, length }
    }

    /// One future path; `noise` gives its one-step errors.
    #[cfg(test)]
    pub(super) fn drawn(&self, horizon: usize, mut noise: impl FnMut() -> f64) -> Vec<f64> {
        let mut state = self.clone();
        let mut path = Vec::with_capacity(horizon);
        for _ in 0..horizon {
            let expected = state.mean(1).first().copied().unwrap_or_default();
            let share = if self.form.noise == Noise::Additive { 1.0 } else { expected };
            let value = expected + share * noise();
            path.push(value);
            if let Some((_, last)) =
                walk::run(&[value], self.form, self.constants, state.last.clone())
            {
                state.last = last;
            }
        }
        path
    }

    fn constant(value: f64, length: usize) -> Self {
        let form =
            Form { noise: Noise::Additive, trend: Trend::None, season: Seasonal::None, period: 1 };
        let constants = Constants { alpha: CONSTANT_ALPHA, beta: 0.0, gamma: 0.0, phi: 1.0 };
        let state = State { level: value, trend: 0.0, season: Vec::new() };
        let initial = state.clone();
        let last = state;
        Self { form, constants, initial, last, squares: 0.0, deviance: 0.0, aicc: 0.0, length }
    }
}

impl Model for Ets {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        let (mut power, mut damping) = (1.0, 0.0);
        let mut made = Vec::with_capacity(horizon);
        let mut effects = self.last.season.iter().cycle();
        for _ in 0..horizon {
            power *= self.constants.phi;
            damping += power;
            let base = self.last.level + damping * self.last.trend;
            made.push(match (self.form.season, effects.next()) {
                (Seasonal::Additive, Some(effect)) => base + effect,
                (Seasonal::Multiplicative, Some(factor)) => base * factor,
                _ => base,
            });
        }
        made
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        // The variance itself is no number that costs freedom.
        let estimated = self.form.parameters() - 1;
        let freedom = self.length.checked_sub(estimated).filter(|left| *left > 0)? as f64;
        let deviation = spread::deviations(self, self.squares / freedom, horizon);
        deviation.iter().all(|value| value.is_finite()).then_some(Spread { deviation, freedom })
    }

    fn refit(&self, values: &[f64], options: &Options) -> Option<Result<Made>> {
        if self.squares == 0.0 {
            // A series that never changed says nothing of the form.
            return None;
        }
        let near = check(values).map(|()| {
            let left = values.len().checked_sub(self.form.parameters() + 1).filter(|l| *l > 0)?;
            let layout = Layout::new(self.form);
            let found = search_near(values, &layout, self.constants, &self.initial)?;
            Some(Self::made(self.form, found, values.len(), left))
        });
        match near {
            Ok(Some(model)) => Some(Ok(Box::new(model) as Made)),
            // The form no longer suits: every one is tried again.
            Ok(None) => {
                Some(Self::fit(values, options.season).map(|model| Box::new(model) as Made))
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}

fn check(values: &[f64]) -> Result<()> {
    finite::all_finite("series value", values)?;
    if values.len() >= LENGTH_MIN {
        return Ok(());
    }
    Err(Error::invalid(format!("a series of {} values is too short for \"ets\"", values.len()))
        .hint(format!("It needs {LENGTH_MIN}; use \"auto\" or \"naive\".")))
}

fn too_wild(length: usize) -> Error {
    Error::invalid(format!(
        "no form of exponential smoothing follows the series of {length} values"
    ))
    .hint("Give the series in a larger unit: squares of its values go beyond what a number holds.")
}
