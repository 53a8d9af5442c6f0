//! `forecast`: how much of each series comes next, with intervals.

mod asked;

use std::collections::BTreeMap;

use flywheel_algo::forecast::{AUTO, Fitted as Series, Options, backtest, find, fit};
use flywheel_base::{Error, Result, Timestamp, task};
use flywheel_project::Located;
use flywheel_project::resource::learner::{Forecast, ForecastMethod};
use flywheel_project::resource::policy::{Choose, Policy, Reorder};
use flywheel_warehouse::WriteMode;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ARTIFACT, Fitted, LearnerEntry, Measure, write_scores};
use crate::context::Context;
use crate::table::ColumnType::{Day, Moment, Number, Text};

pub(crate) use self::asked::Asked;

/// Its entry.
pub(super) const ENTRY: LearnerEntry = LearnerEntry {
    name: "forecast",
    about: "How much of each series comes next, one row per series and day ahead.",
    columns: &[
        ("series_id", Text, "the series"),
        ("day", Day, "the day ahead"),
        ("mean", Number, "the expected value"),
        ("lower", Number, "lower end of the interval; none if the history is too short to say"),
        ("upper", Number, "upper end of the interval"),
        ("method", Text, "the method that was used"),
        ("made_at", Moment, "the logical moment of the forecast"),
        ARTIFACT,
    ],
};

/// Days without a value are zeros only between a series' first day and now; at most so many are fitted.
const HISTORY_DAYS_MAX: i64 = 730;
/// How many past moments are forecast again to measure the errors of the chosen method.
const ORIGINS_MAX: usize = 10;
/// How many past moments the methods are compared on; the comparison is what costs.
const ORIGINS_COMPARED: usize = 3;
/// How many series, the largest, the fit is judged on.
const JUDGED_MAX: usize = 30;
/// The methods of a series are compared anew after so many days; in between the chosen one is fitted
/// again, because which method suits a series changes more slowly than its level.
const COMPARE_EVERY_DAYS: i64 = 28;

/// What a series gets that is too short for anything else.
const TOO_SHORT: &str = "mean";

#[derive(Serialize)]
struct Row {
    series_id: String,
    day: String,
    mean: f64,
    lower: Option<f64>,
    upper: Option<f64>,
    method: String,
    made_at: Timestamp,
    artifact: String,
}

/// What is stored of a fit.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    /// The last day that was fitted, in days since the epoch.
    pub(crate) through: i64,
    /// Each series' model.
    pub(crate) series: BTreeMap<String, Series>,
    /// The day on which the methods of each series were last compared.
    #[serde(default)]
    compared: BTreeMap<String, i64>,
    /// The fill rate that each calibrated policy asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) asked: BTreeMap<String, Asked>,
}

impl Stored {
    /// The method a series keeps, and the day it was chosen on.
    fn kept(&self, series: &str, through: i64) -> Option<(&str, i64)> {
        let day = self.compared.get(series).copied()?;
        let fresh = (day..day + COMPARE_EVERY_DAYS).contains(&through);
        let method = self.series.get(series).filter(|_| fresh)?.algorithm.as_str();
        Some((method, day))
    }
}

/// One series: its values day by day up to the last whole day.
struct History {
    id: String,
    values: Vec<f64>,
}

/// Fits each series, backtests, and forecasts the days after now.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Forecast,
) -> Result<(Fitted, String, u64)> {
    let through = ctx.now.day();
    let histories = read(ctx, name, settings, through).await?;
    let days: usize = histories.iter().map(|history| history.values.len()).sum();
    let owned = settings.clone();
    let last = ctx.store.newest_artifact(name)?.filter(|last| last.fitted_at < ctx.now);
    let before = last.map(|last| load(ctx, &last.digest)).transpose()?;
    let policies = calibrated(ctx, name);
    let (stored, measures) =
        task::compute(move || fit_all(&histories, &owned, before.as_ref(), through, &policies))
            .await?;
    let bytes = serde_json::to_vec(&stored)
        .map_err(|e| Error::internal("a forecast is no JSON").caused_by(e))?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let rows = rows(&stored, settings, ctx.now, &artifact)?;
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let mut methods: BTreeMap<&str, usize> = BTreeMap::new();
    stored
        .series
        .values()
        .for_each(|series| *methods.entry(series.algorithm.as_str()).or_default() += 1);
    let rates: BTreeMap<&str, f64> =
        stored.asked.iter().map(|(policy, asked)| (policy.as_str(), asked.rate)).collect();
    let detail = match rates.is_empty() {
        true => json!({"series": stored.series.len(), "methods": methods}),
        false => {
            json!({"series": stored.series.len(), "methods": methods, "fill_rates_to_ask": rates})
        }
    };
    Ok((Fitted { bytes, rows_in: days as u64, detail, measures }, artifact, count))
}

/// The policies that buy by these forecasts and want the rate that reaches theirs.
fn calibrated(ctx: &Context<'_>, name: &str) -> Vec<(String, Reorder)> {
    let buys = |(policy, declared): (&String, &Located<Policy>)| match &declared.choose {
        Choose::Reorder(reorder)
            if reorder.learner == name && (reorder.calibrated || reorder.pooled) =>
        {
            Some((policy.clone(), reorder.clone()))
        }
        _ => None,
    };
    ctx.project.policies.iter().filter_map(buys).collect()
}

/// Reads back what a fit stored.
pub(crate) fn load(ctx: &Context<'_>, artifact: &str) -> Result<Stored> {
    serde_json::from_slice(&ctx.artifacts.get(artifact)?)
        .map_err(|e| Error::corrupt(format!("artifact {artifact} is no forecast")).caused_by(e))
}

async fn read(
    ctx: &Context<'_>,
    name: &str,
    settings: &Forecast,
    through: i64,
) -> Result<Vec<History>> {
    let what = format!("learner \"{name}\": series");
    let frame = ctx.frame(&what, &settings.series).await?;
    let (ids, days, values) =
        (frame.ids("series_id")?, frame.moments("day")?, frame.numbers("value")?);
    let mut by_series: BTreeMap<String, BTreeMap<i64, f64>> = BTreeMap::new();
    for ((id, day), value) in ids.into_iter().zip(days).zip(values) {
        let day = Timestamp::from_micros(day).day();
        if day <= through && day > through - HISTORY_DAYS_MAX {
            *by_series.entry(id).or_default().entry(day).or_default() += value.unwrap_or(0.0);
        }
    }
    let history = |(id, days): (String, BTreeMap<i64, f64>)| {
        let first = days.keys().next().copied()?;
        let values = (first..=through).map(|day| days.get(&day).copied().unwrap_or(0.0)).collect();
        Some(History { id, values })
    };
    Ok(by_series.into_iter().filter_map(history).collect())
}

fn options(settings: &Forecast) -> Options {
    Options {
        season: settings.season_days,
        longer_seasons: settings.longer_seasons_days.clone(),
        horizon: settings.horizon_days,
        origins_max: ORIGINS_MAX,
        clip_at_zero: true,
        ..Options::default()
    }
}

/// The method of a series of so many days; one that is too short for it gets the mean, as its rows say.
fn method(settings: &Forecast, days: usize) -> Result<&'static str> {
    let wanted = forecaster(settings.method);
    if days < settings.min_history_days {
        return Ok(TOO_SHORT);
    }
    let known = wanted == AUTO || (find(wanted)?.length_min)(&options(settings)) <= days;
    Ok(if known { wanted } else { TOO_SHORT })
}

/// The forecaster's name.
fn forecaster(method: ForecastMethod) -> &'static str {
    match method {
        ForecastMethod::Auto => AUTO,
        ForecastMethod::Naive => "naive",
        ForecastMethod::SeasonalNaive => "seasonal-naive",
        ForecastMethod::Simple => "ses",
        ForecastMethod::Holt => "holt",
        ForecastMethod::HoltWinters => "holt-winters",
        ForecastMethod::Ets => "ets",
        ForecastMethod::Theta => "theta",
        ForecastMethod::ThetaOptimised => "theta-optimised",
        ForecastMethod::ThetaDynamic => "theta-dynamic",
        ForecastMethod::Blend => "blend",
        ForecastMethod::Mstl => "mstl",
        ForecastMethod::Croston => "croston",
        ForecastMethod::Sba => "sba",
        ForecastMethod::Tsb => "tsb",
        ForecastMethod::Adida => "adida",
        ForecastMethod::Imapa => "imapa",
        ForecastMethod::Fading => "fading",
    }
}

fn fit_all(
    histories: &[History],
    settings: &Forecast,
    before: Option<&Stored>,
    through: i64,
    policies: &[(String, Reorder)],
) -> Result<(Stored, Vec<Measure>)> {
    let options = options(settings);
    let fitted = histories
        .par_iter()
        .map(|history| {
            let wanted = method(settings, history.values.len())?;
            let kept = before.and_then(|before| before.kept(&history.id, through));
            let (method, day) = match kept.filter(|_| wanted == AUTO) {
                Some((method, day)) => (method.to_owned(), Some(day)),
                None => (
                    chosen(wanted, &history.values, &options)?,
                    (wanted == AUTO).then_some(through),
                ),
            };
            let series = fit(&method, &history.values, &options)
                .map_err(|e| e.context(format!("series \"{}\"", history.id)))?;
            Ok((history.id.clone(), series, day))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut stored = Stored {
        through,
        series: BTreeMap::new(),
        compared: BTreeMap::new(),
        asked: BTreeMap::new(),
    };
    for (id, series, day) in fitted {
        stored.compared.extend(day.map(|day| (id.clone(), day)));
        stored.series.insert(id, series);
    }
    stored.asked = asked::all(histories, &stored, &options, policies)?;
    Ok((stored, backtest_all(histories, settings, &options)?))
}

/// The method itself, or the one that `auto` finds best on a few past moments.
fn chosen(method: &str, values: &[f64], options: &Options) -> Result<String> {
    if method != AUTO {
        return Ok(method.to_owned());
    }
    let few = Options { origins_max: ORIGINS_COMPARED, ..options.clone() };
    Ok(fit(AUTO, values, &few)?.algorithm)
}

/// Forecasts the last season again from what was known before it, beside seasonal naive.
fn backtest_all(
    histories: &[History],
    settings: &Forecast,
    options: &Options,
) -> Result<Vec<Measure>> {
    let held = settings.season_days.max(1).min(settings.horizon_days);
    let tail = (1.0 - settings.interval.value()) / 2.0;
    let mut long: Vec<&History> =
        histories.iter().filter(|h| h.values.len() >= settings.min_history_days + held).collect();
    let size = |history: &History| history.values.iter().sum::<f64>();
    long.sort_by(|a, b| size(b).total_cmp(&size(a)).then_with(|| a.id.cmp(&b.id)));
    long.truncate(JUDGED_MAX);
    let judged = long
        .par_iter()
        .map(|history| backtest_one(history, settings, options, held, tail))
        .collect::<Result<Vec<Backtest>>>()?;
    let total: f64 = judged.iter().map(|one| one.actual).sum();
    let share = |error: f64| (total > 0.0).then(|| error / total);
    let covered: Vec<f64> = judged.iter().filter_map(|one| one.covered).collect();
    let mean_covered =
        (!covered.is_empty()).then(|| covered.iter().sum::<f64>() / covered.len() as f64);
    Ok(vec![
        Measure {
            name: "wape",
            value: share(judged.iter().map(|one| one.error).sum()),
            baseline: share(judged.iter().map(|one| one.naive_error).sum()),
            count: judged.len(),
        },
        Measure {
            name: "coverage",
            value: mean_covered,
            baseline: Some(settings.interval.value()),
            count: covered.len(),
        },
    ])
}

/// What one series' held-back days say.
struct Backtest {
    error: f64,
    naive_error: f64,
    actual: f64,
    covered: Option<f64>,
}

fn backtest_one(
    history: &History,
    settings: &Forecast,
    options: &Options,
    held: usize,
    tail: f64,
) -> Result<Backtest> {
    let values = &history.values;
    let levels = [tail, 1.0 - tail];
    let known = values.len() - held;
    let method = method(settings, known)?;
    let method = chosen(method, values.get(..known).unwrap_or_default(), options)?;
    let ours = backtest::holdout(&method, values, held, &levels, options)?;
    let naive = backtest::holdout("seasonal-naive", values, held, &[], options)
        .or_else(|_| backtest::holdout("naive", values, held, &[], options))?;
    let ends = ours.calibration.first().zip(ours.calibration.last());
    Ok(Backtest {
        error: ours.accuracy.mae * held as f64,
        naive_error: naive.accuracy.mae * held as f64,
        actual: ours.actual.iter().sum(),
        covered: ends.map(|(low, high)| high.covered - low.covered),
    })
}

fn rows(stored: &Stored, settings: &Forecast, now: Timestamp, artifact: &str) -> Result<Vec<Row>> {
    let tail = (1.0 - settings.interval.value()) / 2.0;
    let mut rows = Vec::new();
    for (id, series) in &stored.series {
        let forecast = series.forecast(settings.horizon_days, &[tail, 1.0 - tail])?;
        for (step, mean) in forecast.mean.iter().enumerate() {
            let ends = forecast.quantiles.get(step);
            rows.push(Row {
                series_id: id.clone(),
                day: Timestamp::from_day(
                    stored.through + 1 + i64::try_from(step).unwrap_or_default(),
                )
                .date(),
                mean: *mean,
                lower: ends.and_then(|ends| ends.first().copied()),
                upper: ends.and_then(|ends| ends.last().copied()),
                method: series.algorithm.clone(),
                made_at: now,
                artifact: artifact.to_owned(),
            });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_a_file_is_a_forecaster() {
        for method in ForecastMethod::ALL {
            let name = forecaster(method);
            assert!(name == AUTO || find(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_series_too_short_for_its_method_gets_the_mean() {
        let settings = Forecast {
            series: String::new(),
            horizon_days: 14,
            season_days: 30,
            longer_seasons_days: Vec::new(),
            method: ForecastMethod::Mstl,
            interval: flywheel_project::resource::quantity::Share::new(0.9).unwrap(),
            min_history_days: 14,
        };
        assert_eq!(method(&settings, 59).unwrap(), TOO_SHORT);
        assert_eq!(method(&settings, 60).unwrap(), "mstl");
        let auto = Forecast { method: ForecastMethod::Auto, ..settings };
        assert_eq!((method(&auto, 13).unwrap(), method(&auto, 14).unwrap()), (TOO_SHORT, AUTO));
    }
}
