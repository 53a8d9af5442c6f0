//! Forecasts of regular series, each with the distribution around it.
//!
//! ```text
//! values ── fit(name, …) ──► Fitted (serialisable) ── forecast(horizon, levels) ──► Forecast
//!              │ "auto": every candidate is backtested, the report stays in Fitted::choice
//! ```
//! A new algorithm is one file with a [`Forecaster`] and one line in [`FORECASTERS`]. Intervals come
//! from the errors the same algorithm made on its own past (split-conformal over rolling origins)
//! and, when the series is too short for that, from the model's own variance.

pub mod adaptive;
pub mod aggregate;
pub mod auto;
pub mod backtest;
pub mod blend;
pub mod croston;
pub mod days;
pub mod ets;
pub mod hierarchy;
pub mod interval;
pub mod mstl;
pub mod naive;
pub mod seeds;
pub mod series;
pub mod smoothing;
pub mod theta;

pub(crate) mod simplex;

mod season;

use std::fmt;

use flywheel_base::{Error, Result, suggest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stats::finite;
use auto::{Choice, Moments};
use days::Moved;
use interval::Basis;
use smoothing::Initialization;

/// The name that lets a backtest choose among [`FORECASTERS`].
pub const AUTO: &str = "auto";

/// The longest horizon that may be asked for.
pub const HORIZON_MAX: usize = 10_000;

/// The share of its past level to which demand must have fallen before the errors of that past are scaled.
const FALLEN: f64 = 0.5;

/// The largest size of a value; squares of larger ones, summed, go beyond what a number holds.
pub const VALUE_MAX: f64 = 1e100;

/// Every algorithm by name; simpler ones first, which is also how ties are broken.
pub const FORECASTERS: &[Forecaster] = &[
    naive::LAST,
    naive::MEAN,
    naive::SEASONAL,
    croston::CROSTON,
    croston::SBA,
    croston::TSB,
    aggregate::ADIDA,
    aggregate::IMAPA,
    aggregate::FADING,
    smoothing::SIMPLE,
    theta::THETA,
    smoothing::HOLT,
    smoothing::DAMPED,
    smoothing::HOLT_WINTERS,
    smoothing::HOLT_WINTERS_DAMPED,
    theta::OPTIMISED,
    theta::DYNAMIC,
    ets::ETS,
    mstl::MSTL,
    blend::BLEND,
];

/// A fitted algorithm of any kind.
pub type Made = Box<dyn Model>;

/// One forecasting algorithm.
#[derive(Clone, Copy)]
pub struct Forecaster {
    /// The name in a learner's file, kebab-case.
    pub name: &'static str,
    /// What it assumes, in one sentence.
    pub about: &'static str,
    /// How many values it needs under these options.
    pub length_min: fn(&Options) -> usize,
    /// Fits a finite series of at least `length_min` values.
    pub fit: fn(&[f64], &Options) -> Result<Made>,
    /// Reads back what [`Model::save`] wrote.
    pub load: fn(&Value) -> Result<Made>,
}

impl fmt::Debug for Forecaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forecaster").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A fitted algorithm; called from [`Fitted::forecast`], pure and deterministic.
pub trait Model: fmt::Debug + Send + Sync {
    /// The expected values of the next `horizon` periods.
    fn mean(&self, horizon: usize) -> Vec<f64>;

    /// The model's own spread of the next `horizon` periods; `None` if the series was too short.
    fn spread(&self, horizon: usize) -> Option<Spread>;

    /// Fits a slightly longer or shorter version of the series, starting where this model's search
    /// ended; `None` if the algorithm has no search to save.
    fn refit(&self, values: &[f64], options: &Options) -> Option<Result<Made>> {
        let _ = (values, options);
        None
    }

    /// The state as JSON, from which [`Forecaster::load`] makes an equal model.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if it cannot be written.
    fn save(&self) -> Result<Value>;
}

/// A model's own statement of how wrong it will be.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// The standard deviation of the error at each step.
    pub deviation: Vec<f64>,
    /// The degrees of freedom it was estimated from.
    pub freedom: f64,
}

/// How a series is forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Periods in a season (12 for months in a year); 0 or 1 for none.
    pub season: usize,
    /// The lengths of further, longer seasons (365 beside 7 for days), which only `mstl` knows.
    pub longer_seasons: Vec<usize>,
    /// The horizon up to which errors are measured for the intervals.
    pub horizon: usize,
    /// How many past moments are forecast again to measure errors; 0 turns that off.
    pub origins_max: usize,
    /// How many earlier moments are forecast again for whole paths of `path_length` periods, each half a path before the
    /// next; 0 for none.
    pub paths_max: usize,
    /// The periods that a whole path must reach, such as those that an order covers; at most `horizon`.
    pub path_length: usize,
    /// Whether demand cannot be negative: means, quantiles and sums are then at least 0.
    pub clip_at_zero: bool,
    /// Where exponential smoothing starts from.
    pub initialization: Initialization,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            season: 1,
            longer_seasons: Vec::new(),
            horizon: 12,
            origins_max: 24,
            paths_max: 0,
            path_length: 0,
            clip_at_zero: false,
            initialization: Initialization::Estimated,
        }
    }
}

/// A fitted forecast, ready to be stored and asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// The algorithm, never `auto`.
    pub algorithm: String,
    /// What `auto` compared, if it chose.
    pub choice: Option<Choice>,
    /// How many values were fitted.
    pub length: usize,
    clip_at_zero: bool,
    state: Value,
    errors: Vec<Vec<f64>>,
    /// What named days do to the steps ahead; the values were fitted without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<Moved>,
    /// What is added to each step so that the forecast adds up with others; later steps take the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shift: Vec<f64>,
    /// How large the errors of each whole path would be at today's demand; none where it is much as it was at all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scales: Vec<f64>,
}

/// The distribution of the next periods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The expected value of each step.
    pub mean: Vec<f64>,
    /// The asked levels, ascending.
    pub levels: Vec<f64>,
    /// `quantiles[step][level]`, non-decreasing in the level; empty if the basis is unknown.
    pub quantiles: Vec<Vec<f64>>,
    /// What the quantiles rest on.
    pub basis: Basis,
    /// The errors of past forecasts by origin, actual less forecast, one value a step; only origins
    /// that reach the whole horizon. Sums over a lead time are drawn from these. Whole paths of a time of more than twice
    /// today's demand (see [`Options::paths_max`]) are scaled to it.
    pub errors: Vec<Vec<f64>>,
    /// Whether the values were kept at or above 0.
    pub clip_at_zero: bool,
}

/// Finds an algorithm by its name.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] with the nearest known name.
pub fn find(name: &str) -> Result<&'static Forecaster> {
    FORECASTERS.iter().find(|forecaster| forecaster.name == name).ok_or_else(|| {
        let names = std::iter::once(AUTO).chain(FORECASTERS.iter().map(|f| f.name));
        Error::not_found(format!("forecaster \"{name}\" does not exist"))
            .hint(suggest::hint(name, names.collect::<Vec<_>>()))
    })
}

/// Fits the algorithm `name`, or the best on past data if `name` is `auto`.
///
/// # Shape
/// `values` is regular in time, oldest first, without gaps (see [`series::regular`]).
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite (its position is named), the
/// series is empty, too short for the algorithm, or holds one beyond [`VALUE_MAX`]; `NotFound` for an unknown name.
/// # Cost
/// Two fits and a cheaper one per origin (`origins_max`, `paths_max`); for `auto` a fit and the origins per candidate.
/// # Source
/// Hyndman & Athanasopoulos, *Forecasting: principles and practice*, 3rd edition, ch. 5 and 8.
pub fn fit(name: &str, values: &[f64], options: &Options) -> Result<Fitted> {
    check(values, options)?;
    let (forecaster, errors, choice) = if name == AUTO {
        let (forecaster, errors, choice) = auto::choose(values, options)?;
        (forecaster, errors, Some(choice))
    } else {
        let forecaster = find(name)?;
        long_enough(forecaster, values.len(), options)?;
        (forecaster, backtest::errors(forecaster, values, options)?, None)
    };
    let model = (forecaster.fit)(values, options)?;
    let scales = scales(forecaster, values, &errors, (model.as_ref(), options));
    Ok(Fitted {
        algorithm: forecaster.name.to_owned(),
        choice,
        length: values.len(),
        clip_at_zero: options.clip_at_zero,
        state: model.save()?,
        errors,
        days: None,
        shift: Vec::new(),
        scales,
    })
}

/// How large the errors of each whole path would be at today's demand, as a share of what they were: less than 1 only where
/// demand has fallen to less than [`FALLEN`] of what was expected at the path's origin, by the forecast and by what came in
/// the last periods; either alone may be low by chance. Empty if that is so nowhere.
///
/// # Source
/// Counts vary with the root of their mean (Poisson), and so do the errors of their forecasts.
fn scales(
    forecaster: &Forecaster,
    values: &[f64],
    errors: &[Vec<f64>],
    (model, options): (&dyn Model, &Options),
) -> Vec<f64> {
    let length = options.path_length;
    if options.paths_max == 0 || length == 0 || !options.clip_at_zero {
        return Vec::new();
    }
    let expected: f64 = model.mean(length).iter().map(|mean| mean.max(0.0)).sum();
    let came: f64 = values.iter().rev().take(length).sum();
    let today = expected.max(came).max(0.0);
    let origins = backtest::error_origins(forecaster, values.len(), options);
    let scale = |(origin, path): (usize, &Vec<f64>)| {
        let Some(path) = path.get(..length) else { return 1.0 };
        let actual: f64 = values.iter().skip(origin).take(length).sum();
        let then = actual - path.iter().sum::<f64>();
        if today < FALLEN * then { (today / then).sqrt() } else { 1.0 }
    };
    let scales: Vec<f64> = origins.into_iter().zip(errors).map(scale).collect();
    if scales.iter().all(|scale| *scale == 1.0) { Vec::new() } else { scales }
}

/// The errors of a path at the size that they have at today's demand, such that no day falls below 0 and their sum is what
/// it would be if only the sum were kept at or above 0: if each day were kept there, days of little demand added up to more
/// than is expected.
fn at_todays_demand(path: &[f64], mean: &[f64], scale: f64) -> Vec<f64> {
    let days: Vec<f64> = mean.iter().zip(path).map(|(mean, error)| mean + scale * error).collect();
    let sum = days.iter().sum::<f64>().max(0.0);
    let above: f64 = days.iter().map(|day| day.max(0.0)).sum();
    let part = if above > 0.0 { sum / above } else { 0.0 };
    days.iter().zip(mean).map(|(day, mean)| part * day.max(0.0) - mean).collect()
}

/// The algorithm that is best at past moments, without fitting it: for whoever fits it with other options. At the
/// [`Moments::Last`] ones it is what [`fit`] takes for [`AUTO`].
///
/// # Errors
/// As [`fit`].
/// # Cost
/// `origins_max` fits of every candidate, all but the first of them cheaper, and no more.
pub fn choose(values: &[f64], options: &Options, moments: Moments) -> Result<&'static str> {
    check(values, options)?;
    let (forecaster, _, _) = auto::compare(values, options, moments)?;
    Ok(forecaster.name)
}

impl Fitted {
    /// Moves the steps ahead by what named days do to them; for a series that was fitted without it.
    #[must_use]
    pub fn with_days(self, days: Moved) -> Self {
        Self { days: Some(days), ..self }
    }

    /// Moves the steps ahead so that they add up with other forecasts.
    ///
    /// # Shape
    /// `shift[step]` is added to what [`Self::forecast`] said before, later steps take the last; `errors[origin][step]` are the
    /// past errors of forecasts that added up, actual less forecast, from which the quantiles are made.
    #[must_use]
    pub fn with_adding_up(self, shift: Vec<f64>, errors: Vec<Vec<f64>>) -> Self {
        Self { shift, errors, scales: Vec::new(), ..self }
    }

    /// What [`Self::with_adding_up`] adds to a step, counted from 0.
    #[must_use]
    pub fn shift(&self, step: usize) -> f64 {
        self.shift.get(step).or_else(|| self.shift.last()).copied().unwrap_or_default()
    }

    /// The errors of past forecasts, actual less forecast, the oldest origin first.
    ///
    /// # Shape
    /// One row an origin, one value a step, up to the horizon of the fit; the last origin lies one step before the last value, so
    /// later rows are shorter. The origins follow each other, but for those of [`Options::paths_max`], which come first.
    #[must_use]
    pub fn past_errors(&self) -> &[Vec<f64>] {
        &self.errors
    }

    /// Forecasts the next `horizon` periods with a quantile at each level.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the horizon is 0 or over [`HORIZON_MAX`] or a level
    /// is not inside (0, 1); `Corrupt` if the stored state cannot be read.
    pub fn forecast(&self, horizon: usize, levels: &[f64]) -> Result<Forecast> {
        if horizon == 0 || horizon > HORIZON_MAX {
            return Err(Error::invalid(format!("horizon is {horizon}"))
                .hint(format!("Ask for 1 to {HORIZON_MAX} periods.")));
        }
        levels.iter().try_for_each(|level| finite::open_unit("level", *level))?;
        let model = (find(&self.algorithm)?.load)(&self.state)?;
        let mut levels = levels.to_vec();
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        let mut mean = model.mean(horizon);
        let mut spread = model.spread(horizon);
        let (mut quantiles, mut basis) =
            interval::quantiles(&mean, spread.as_ref(), &self.errors, &levels);
        let mut past = self.errors.clone();
        if let Some(days) = &self.days {
            let moved = |(step, value): (usize, &mut f64)| *value = days.of(step, *value);
            mean.iter_mut().enumerate().for_each(moved);
            for (step, quantiles) in quantiles.iter_mut().enumerate() {
                quantiles.iter_mut().for_each(|value| *value = days.of(step, *value));
            }
            let wider = |(step, value): (usize, &mut f64)| *value *= days.width(step);
            past.iter_mut().for_each(|path| path.iter_mut().enumerate().for_each(wider));
            if let Some(spread) = &mut spread {
                spread.deviation.iter_mut().enumerate().for_each(wider);
            }
        }
        if self.clip_at_zero {
            mean.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        if !self.shift.is_empty() {
            mean.iter_mut().enumerate().for_each(|(step, value)| *value += self.shift(step));
            (quantiles, basis) = interval::quantiles(&mean, spread.as_ref(), &past, &levels);
        }
        if self.clip_at_zero {
            mean.iter_mut().for_each(|value| *value = value.max(0.0));
            quantiles.iter_mut().flatten().for_each(|value| *value = value.max(0.0));
        }
        let reaching = |(at, path): (usize, &Vec<f64>)| {
            let path = path.get(..horizon)?;
            Some(match self.scales.get(at) {
                Some(scale) if *scale < 1.0 => at_todays_demand(path, &mean, *scale),
                _ => path.to_vec(),
            })
        };
        let errors = past.iter().enumerate().filter_map(reaching).collect();
        let clip_at_zero = self.clip_at_zero;
        Ok(Forecast { mean, levels, quantiles, basis, errors, clip_at_zero })
    }
}

/// Refuses what no algorithm can take.
fn check(values: &[f64], options: &Options) -> Result<()> {
    finite::all_finite("series value", values)?;
    if values.is_empty() {
        return Err(Error::invalid("the series is empty")
            .hint("Wait for the first period to close, or check the filter of its query."));
    }
    if let Some(position) = values.iter().position(|value| value.abs() > VALUE_MAX) {
        return Err(Error::invalid(format!(
            "series value is beyond {VALUE_MAX:e} at position {position}"
        ))
        .hint("Mend the value, or give the series in a larger unit."));
    }
    if options.horizon == 0 || options.horizon > HORIZON_MAX {
        return Err(Error::invalid(format!("horizon is {}", options.horizon))
            .hint(format!("Set horizon to 1 to {HORIZON_MAX} periods.")));
    }
    Ok(())
}

fn long_enough(forecaster: &Forecaster, length: usize, options: &Options) -> Result<()> {
    let needed = (forecaster.length_min)(options);
    if length >= needed {
        return Ok(());
    }
    let name = forecaster.name;
    Err(Error::invalid(format!("a series of {length} values is too short for \"{name}\""))
        .hint(format!("It needs {needed}; use \"{AUTO}\", which takes what the history allows.")))
}

/// Writes a model's state.
fn save<T: Serialize>(model: &T) -> Result<Value> {
    serde_json::to_value(model)
        .map_err(|error| Error::internal("forecast state cannot be written").caused_by(error))
}

/// Reads a model's state.
fn load<T: for<'de> Deserialize<'de> + Model + 'static>(state: &Value) -> Result<Made> {
    let model: T = serde_json::from_value(state.clone()).map_err(|error| {
        Error::corrupt("stored forecast state cannot be read")
            .caused_by(error)
            .hint("Fit the learner again; the stored version was written by another release.")
    })?;
    Ok(Box::new(model))
}

#[cfg(test)]
mod tests;
