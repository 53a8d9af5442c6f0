//! Rolling-origin backtests and the measures of their errors.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Fitted, Forecaster, Made, Options, check, fit};
use crate::stats::finite;

/// Values before the first origin, whatever the algorithm could do with fewer.
const TRAIN_MIN: usize = 3;

/// Errors over which methods for demand with many zeros are compared at least, as far as the series reaches.
const WIDE_ERRORS: usize = 28;

/// Accuracy of point forecasts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Mean absolute error.
    pub mae: f64,
    /// Root mean squared error.
    pub rmse: f64,
    /// Mean absolute percentage error in percent; `None` if an actual value is 0.
    pub mape: Option<f64>,
    /// Symmetric MAPE in percent, 0 to 200; a pair of zeros counts as no error.
    pub smape: f64,
    /// MAE over the in-sample MAE of the seasonal naive forecast; `None` if that is 0.
    pub mase: Option<f64>,
    /// RMSE over the in-sample RMSE of the one-step naive forecast; `None` if that is 0.
    pub rmsse: Option<f64>,
}

/// Accuracy of the quantiles of a forecast.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The quantile level.
    pub level: f64,
    /// The mean pinball loss; smaller is better.
    pub pinball: f64,
    /// The share of actual values at or below the quantile; equals `level` if honest.
    pub covered: f64,
}

/// A forecast of the last values of a series from those before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holdout {
    /// The algorithm that was used (after `auto` chose).
    pub algorithm: String,
    /// The forecast values.
    pub forecast: Vec<f64>,
    /// The values that came.
    pub actual: Vec<f64>,
    /// How far they are apart.
    pub accuracy: Accuracy,
    /// How honest the quantiles were.
    pub calibration: Vec<Calibration>,
}

/// Fits all but the last `horizon` values with `name` and forecasts those.
///
/// # Errors
/// As [`fit`] on the shortened series; [`flywheel_base::ErrorKind::Invalid`] if nothing is left to fit.
pub fn holdout(
    name: &str,
    values: &[f64],
    horizon: usize,
    levels: &[f64],
    options: &Options,
) -> Result<Holdout> {
    check(values, options)?;
    if horizon == 0 || horizon >= values.len() {
        return Err(Error::invalid(format!(
            "a holdout of {horizon} is asked of a series of {} values",
            values.len()
        ))
        .hint("Hold out at least 1 value and leave at least 1 to fit."));
    }
    let (train, actual) = values.split_at(values.len() - horizon);
    let fitted: Fitted = fit(name, train, options)?;
    let forecast = fitted.forecast(horizon, levels)?;
    let calibration = levels_of(&forecast.levels, &forecast.quantiles, actual)?;
    Ok(Holdout {
        algorithm: fitted.algorithm,
        accuracy: accuracy(&forecast.mean, actual, train, options.season)?,
        forecast: forecast.mean,
        actual: actual.to_vec(),
        calibration,
    })
}

/// Compares point forecasts with what came; `train` is what was known and scales MASE and RMSSE.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] on empty or unequal input or a value that is not finite.
/// # Source
/// Hyndman & Koehler 2006 (MASE); M5 competition guide (RMSSE); M3 (sMAPE).
pub fn accuracy(
    forecast: &[f64],
    actual: &[f64],
    train: &[f64],
    season: usize,
) -> Result<Accuracy> {
    pairs(forecast, actual)?;
    finite::all_finite("training value", train)?;
    let n = actual.len() as f64;
    let over = |f: &dyn Fn(f64, f64) -> f64| {
        forecast.iter().zip(actual).map(|(f_t, a_t)| f(*f_t, *a_t)).sum::<f64>() / n
    };
    let mae = over(&|f, a| (a - f).abs());
    let rmse = over(&|f, a| (a - f).powi(2)).sqrt();
    let smape = 100.0
        * over(&|f, a| {
            let size = f.abs() + a.abs();
            if size == 0.0 { 0.0 } else { 2.0 * (a - f).abs() / size }
        });
    let mape = (!actual.contains(&0.0)).then(|| 100.0 * over(&|f, a| ((a - f) / a).abs()));
    let mase = naive_error(train, season.max(1), f64::abs).map(|scale| mae / scale);
    let rmsse = naive_error(train, 1, |d| d * d).map(|scale| rmse / scale.sqrt());
    Ok(Accuracy { mae, rmse, mape, smape, mase, rmsse })
}

/// The mean of `loss` over the differences at lag `season`; `None` if there is none or it is 0.
fn naive_error(train: &[f64], season: usize, loss: impl Fn(f64) -> f64) -> Option<f64> {
    if train.len() <= season {
        return None;
    }
    let sum: f64 = train[season..].iter().zip(train).map(|(b, a)| loss(b - a)).sum();
    let mean = sum / (train.len() - season) as f64;
    (mean > 0.0).then_some(mean)
}

/// The mean pinball loss of one quantile level.
///
/// # Errors
/// As [`accuracy`], and if `level` is not inside (0, 1).
pub fn pinball(quantile: &[f64], actual: &[f64], level: f64) -> Result<f64> {
    finite::open_unit("level", level)?;
    pairs(quantile, actual)?;
    let losses = quantile.iter().zip(actual).map(|(q, a)| {
        let miss = a - q;
        if miss >= 0.0 { level * miss } else { (level - 1.0) * miss }
    });
    Ok(losses.sum::<f64>() / actual.len() as f64)
}

fn levels_of(levels: &[f64], quantiles: &[Vec<f64>], actual: &[f64]) -> Result<Vec<Calibration>> {
    if quantiles.is_empty() {
        return Ok(Vec::new());
    }
    let one = |(at, level): (usize, &f64)| {
        let column: Vec<f64> = quantiles.iter().map(|row| row[at]).collect();
        let below = column.iter().zip(actual).filter(|(q, a)| a <= q).count();
        Ok(Calibration {
            level: *level,
            pinball: pinball(&column, actual, *level)?,
            covered: below as f64 / actual.len() as f64,
        })
    };
    levels.iter().enumerate().map(one).collect()
}

fn pairs(forecast: &[f64], actual: &[f64]) -> Result<()> {
    finite::all_finite("forecast", forecast)?;
    finite::all_finite("actual value", actual)?;
    if forecast.len() == actual.len() && !actual.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("{} forecasts and {} actual values", forecast.len(), actual.len()))
        .hint("Compare the same periods, and at least one."))
}

/// The origins from which a series is forecast again: lengths of the known part, ascending.
///
/// They depend on the series and options only, so that every algorithm is judged at the same moments.
pub(super) fn origins(length: usize, train_min: usize, options: &Options) -> Vec<usize> {
    let first = train_min.max(TRAIN_MIN).max(length.saturating_sub(options.origins_max));
    (first..length).collect()
}

/// As [`origins`], each a whole horizon after the one before, so that demand with many zeros is judged over weeks: in
/// the last few days alone there may have been none.
pub(super) fn wide_origins(length: usize, train_min: usize, options: &Options) -> Vec<usize> {
    if options.origins_max == 0 {
        return Vec::new();
    }
    let step = options.horizon.min(length / 2).max(1);
    let wanted = options.origins_max.max(WIDE_ERRORS.div_ceil(step));
    let first = train_min.max(TRAIN_MIN).max(step);
    let mut origins: Vec<usize> = spaced(length, step, first).take(wanted).collect();
    origins.reverse();
    origins
}

/// As [`origins`], but only those from which a whole horizon has come since, each half a horizon after the one before: a
/// method is judged on what it is asked for, as the first few days alone flatter some.
pub(super) fn whole_origins(length: usize, train_min: usize, options: &Options) -> Vec<usize> {
    let mut origins = half_apart(length, train_min, options.horizon);
    origins.truncate(options.origins_max);
    origins.reverse();
    origins
}

/// The lengths before `length` that lie `step` apart, the longest first, down to `first`.
fn spaced(length: usize, step: usize, first: usize) -> impl Iterator<Item = usize> {
    let at = move |place: usize| length.checked_sub(place * step).filter(|origin| *origin >= first);
    (1..).map_while(at)
}

/// The errors (actual less forecast) of `forecaster` from each of its origins, up to the horizon: the last ones, and
/// before them those of the whole paths that `options` ask for.
pub(super) fn errors(
    forecaster: &Forecaster,
    values: &[f64],
    options: &Options,
) -> Result<Vec<Vec<f64>>> {
    errors_from(forecaster, values, &error_origins(forecaster, values.len(), options), options)
}

/// The origins of [`errors`], ascending.
pub(super) fn error_origins(
    forecaster: &Forecaster,
    length: usize,
    options: &Options,
) -> Vec<usize> {
    let needed = (forecaster.length_min)(options);
    let last = origins(length, needed, options);
    let mut from = match options.paths_max {
        0 => Vec::new(),
        _ => half_apart(length, needed, options.path_length),
    };
    let begin = last.first().copied().unwrap_or(length);
    from.retain(|origin| *origin < begin);
    from.truncate(options.paths_max);
    from.reverse();
    from.extend(last);
    from
}

/// The origins of whole paths, the newest first: each half a path before the one after it, as paths that begin a day
/// apart are nearly the same and tell too little of how far a sum may be off. Each knows at least as much as it foretells.
fn half_apart(length: usize, train_min: usize, path: usize) -> Vec<usize> {
    if path == 0 || path > length {
        return Vec::new();
    }
    let first = train_min.max(TRAIN_MIN).max(path);
    let newest = length - path;
    let earlier = spaced(newest, path.div_ceil(2), first);
    std::iter::once(newest).filter(|origin| *origin >= first).chain(earlier).collect()
}

/// As [`errors`], from given origins.
pub(super) fn errors_from(
    forecaster: &Forecaster,
    values: &[f64],
    origins: &[usize],
    options: &Options,
) -> Result<Vec<Vec<f64>>> {
    let kept = |value: f64| if options.clip_at_zero { value.max(0.0) } else { value };
    let mut last: Option<Made> = None;
    let mut paths = Vec::with_capacity(origins.len());
    for origin in origins {
        let (known, later) = values.split_at(*origin);
        // The next origin knows a little more, so its search starts where this one ended.
        let model = match last.as_ref().and_then(|last| last.refit(known, options)) {
            Some(refitted) => refitted?,
            None => (forecaster.fit)(known, options)?,
        };
        let mean = model.mean(later.len().min(options.horizon));
        paths.push(later.iter().zip(mean).map(|(actual, mean)| actual - kept(mean)).collect());
        last = Some(model);
    }
    Ok(paths)
}
