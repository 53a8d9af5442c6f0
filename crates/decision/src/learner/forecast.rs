//! `forecast`: how much of each series comes next, with intervals.

mod asked;
mod levels;
mod marks;

use std::collections::{BTreeMap, BTreeSet};

use flywheel_algo::forecast::days::{Effects, Judged, judge};
use flywheel_algo::forecast::{AUTO, Fitted as Series, Options, backtest, find, fit};
use flywheel_base::{Error, Result, Timestamp, task};
use flywheel_project::Located;
use flywheel_project::resource::learner::{Forecast, ForecastMethod};
use flywheel_project::resource::policy::{Choose, Policy, Reorder};
use flywheel_warehouse::WriteMode;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ARTIFACT, Fitted, LearnerEntry, Measure, last_fit, write_scores};
use crate::context::Context;
use crate::table::ColumnType::{Day, Moment, Number, Text};

pub(crate) use self::asked::Asked;
use self::levels::Levels;
pub(super) use self::levels::{COLUMNS as LEVEL_COLUMNS, table_of as levels_of};
use self::marks::Marks;

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
/// With a calendar so many are read: a day that comes once a year has then come three times or four.
const HISTORY_DAYS_WITH_CALENDAR: i64 = 4 * 365 + 1;
/// For so many days ahead it is known at least what named days do, as orders look further than the table.
const AHEAD_DAYS_MIN: usize = 120;
/// How many past moments are forecast again to measure the errors of the chosen method.
const ORIGINS_MAX: usize = 10;
/// How many past moments the methods are compared on; the comparison is what costs.
const ORIGINS_COMPARED: usize = 3;
/// How many past demands of the days that an order covers are forecast again, where a policy orders by the forecast. In
/// simulations 12 of them and fewer leave the service two points below what is asked for, more than 16 add nothing.
const PATHS: usize = 16;
/// An order may be made so many days after the fit, and covers days from then on.
const AGE_DAYS: usize = 7;
/// How many series, the largest, the fit is judged on.
const JUDGED_MAX: usize = 30;
/// The methods of a series are compared anew after so many days; in between the chosen one is fitted
/// again, because which method suits a series changes more slowly than its level.
const COMPARE_EVERY_DAYS: i64 = 28;

/// How long before its end a day counts as whole, in microseconds: turns that are replayed are at the last second of theirs.
const BEFORE_MIDNIGHT_US: i64 = 1_000_000;

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
    /// Whose named days were looked at, and those that move each series.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    calendar: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    days: BTreeMap<String, BTreeSet<String>>,
    /// The fill rate that each calibrated policy asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) asked: BTreeMap<String, Asked>,
    /// The groups above the series, where the file names any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    levels: Option<Levels>,
}

impl Stored {
    /// The method a series keeps.
    fn kept(&self, series: &str, through: i64) -> Option<Kept<'_>> {
        let day = self.compared.get(series).copied()?;
        Kept::of(self.series.get(series)?, day, self.days.get(series), through)
    }
}

/// What is kept of the last fit of a series.
struct Kept<'a> {
    /// Its method.
    method: &'a str,
    /// The day it was chosen on.
    compared: i64,
    /// The named days that move it.
    days: Option<&'a BTreeSet<String>>,
}

impl<'a> Kept<'a> {
    /// The method that was chosen on the day `compared`, as long as that is not too long ago.
    fn of(
        series: &'a Series,
        compared: i64,
        days: Option<&'a BTreeSet<String>>,
        through: i64,
    ) -> Option<Self> {
        let fresh = (compared..compared + COMPARE_EVERY_DAYS).contains(&through);
        fresh.then_some(Self { method: series.algorithm.as_str(), compared, days })
    }
}

/// One series: its values day by day up to the last whole day.
struct History {
    id: String,
    values: Vec<f64>,
    /// The groups it belongs to, the coarsest first.
    labels: Vec<String>,
}

/// The last day that is over at a moment, in days since the epoch. What a day that goes on has seen so far is no value
/// of it: at noon it would look like a fall by half.
pub(crate) fn last_whole_day(at: Timestamp) -> i64 {
    at.plus_micros(BEFORE_MIDNIGHT_US).day() - 1
}

/// Fits each series, backtests, and forecasts the days after the last whole one.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Forecast,
) -> Result<(Fitted, String, u64)> {
    let through = last_whole_day(ctx.now);
    let histories = read(ctx, name, settings, through).await?;
    let longest = histories.iter().map(|history| history.values.len()).max().unwrap_or(0);
    let marks = Marks::of(
        &settings.calendar,
        &ctx.project.file.calendar.days,
        through - i64::try_from(longest).unwrap_or_default() + 1,
        through + i64::try_from(settings.horizon_days.max(AHEAD_DAYS_MIN)).unwrap_or_default(),
    )?;
    let days: usize = histories.iter().map(|history| history.values.len()).sum();
    let owned = settings.clone();
    let last = last_fit(ctx, name)?.filter(|last| last.fitted_at < ctx.now);
    let before = last.map(|last| load(ctx, &last.digest)).transpose()?;
    let policies = ordering(ctx, name);
    let (stored, measures) = task::compute(move || {
        let asked = Question { settings: &owned, marks: &marks, through };
        fit_all(&histories, &asked, before.as_ref(), &policies)
    })
    .await?;
    let bytes = serde_json::to_vec(&stored)
        .map_err(|e| Error::internal("a forecast is no JSON").caused_by(e))?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let rows = rows(&stored, settings, ctx.now, &artifact)?;
    levels::write(ctx, name, settings, &stored, &artifact).await?;
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let mut methods: BTreeMap<&str, usize> = BTreeMap::new();
    stored
        .series
        .values()
        .for_each(|series| *methods.entry(series.algorithm.as_str()).or_default() += 1);
    let rates: BTreeMap<&str, f64> =
        stored.asked.iter().map(|(policy, asked)| (policy.as_str(), asked.rate)).collect();
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for day in stored.days.values().flatten() {
        *named.entry(day.as_str()).or_default() += 1;
    }
    let mut detail = json!({"series": stored.series.len(), "methods": methods});
    if let Some(detail) = detail.as_object_mut() {
        if !rates.is_empty() {
            detail.insert("fill_rates_to_ask".to_owned(), json!(rates));
        }
        if !settings.calendar.is_empty() {
            detail.insert("series_moved_by".to_owned(), json!(named));
        }
        if let Some(levels) = &stored.levels {
            detail.insert("adding_up".to_owned(), levels.detail());
        }
    }
    Ok((Fitted { bytes, rows_in: days as u64, detail, measures }, artifact, count))
}

/// The policies that buy by these forecasts.
fn ordering(ctx: &Context<'_>, name: &str) -> Vec<(String, Reorder)> {
    let buys = |(policy, declared): (&String, &Located<Policy>)| match &declared.choose {
        Choose::Reorder(reorder) if reorder.learner == name => {
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
    let most = match settings.calendar.is_empty() {
        true => HISTORY_DAYS_MAX,
        false => HISTORY_DAYS_WITH_CALENDAR,
    };
    let labels = levels::labels(&frame, settings)?;
    let mut by_series: BTreeMap<String, BTreeMap<i64, f64>> = BTreeMap::new();
    // A series that has moved to another group belongs there.
    let mut groups: BTreeMap<String, (i64, Vec<String>)> = BTreeMap::new();
    let rows = ids.into_iter().zip(days).zip(values);
    for (((id, day), value), labels) in rows.zip(labels) {
        let day = Timestamp::from_micros(day).day();
        if day <= through && day > through - most {
            let newest = groups.entry(id.clone()).or_default();
            *newest = std::mem::take(newest).max((day, labels));
            *by_series.entry(id).or_default().entry(day).or_default() += value.unwrap_or(0.0);
        }
    }
    let history = |(id, days): (String, BTreeMap<i64, f64>)| {
        let first = days.keys().next().copied()?;
        let values = (first..=through).map(|day| days.get(&day).copied().unwrap_or(0.0)).collect();
        let labels = groups.get(&id).map(|(_, labels)| labels.clone()).unwrap_or_default();
        Some(History { id, values, labels })
    };
    Ok(by_series.into_iter().filter_map(history).collect())
}

fn options(settings: &Forecast) -> Options {
    Options {
        season: settings.season_days,
        longer_seasons: settings.longer_seasons_days.clone(),
        horizon: settings.horizon_days,
        origins_max: if settings.hierarchy.is_empty() { ORIGINS_MAX } else { levels::ORIGINS },
        clip_at_zero: true,
        ..Options::default()
    }
}

/// As [`options`], with past demands of the days that the policies' orders cover: what a day may be off tells little of
/// how far the sum of many may be.
fn options_for(settings: &Forecast, policies: &[(String, Reorder)]) -> Options {
    let options = options(settings);
    let cover = |(_, reorder): &(String, Reorder)| reorder.lead_time_days + reorder.review_days;
    // A pooled policy orders by what all items tell.
    match policies.iter().filter(|(_, reorder)| !reorder.pooled).map(cover).max() {
        // A hierarchy makes errors of past days that follow each other add up.
        Some(cover) if settings.hierarchy.is_empty() => Options {
            horizon: options.horizon.max(cover + AGE_DAYS),
            paths_max: PATHS,
            path_length: cover,
            ..options
        },
        _ => options,
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

/// What is asked of every series.
struct Question<'a> {
    settings: &'a Forecast,
    marks: &'a Marks,
    /// The last day that is known.
    through: i64,
}

/// A series that was fitted.
struct Made {
    series: Series,
    /// When its methods were compared.
    compared: Option<i64>,
    /// The named days that move it.
    days: BTreeSet<String>,
    judged: Vec<Judged>,
}

fn fit_all(
    histories: &[History],
    asked: &Question<'_>,
    before: Option<&Stored>,
    policies: &[(String, Reorder)],
) -> Result<(Stored, Vec<Measure>)> {
    let settings = asked.settings;
    let options = options_for(settings, policies);
    // With other named days a method is chosen anew.
    let before = before.filter(|before| before.calendar == asked.marks.names());
    let fitted = histories
        .par_iter()
        .map(|history| {
            let kept = before.and_then(|before| before.kept(&history.id, asked.through));
            let made = fit_one(history, asked, kept, &options)
                .map_err(|e| e.context(format!("series \"{}\"", history.id)))?;
            Ok((history.id.clone(), made))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut stored = Stored {
        through: asked.through,
        series: BTreeMap::new(),
        compared: BTreeMap::new(),
        calendar: asked.marks.names().to_vec(),
        days: BTreeMap::new(),
        asked: BTreeMap::new(),
        levels: None,
    };
    let mut judged = Vec::new();
    for (id, made) in fitted {
        stored.compared.extend(made.compared.map(|day| (id.clone(), day)));
        if !made.days.is_empty() {
            stored.days.insert(id.clone(), made.days);
        }
        judged.extend(made.judged);
        stored.series.insert(id, made.series);
    }
    stored.asked = asked::all(histories, &stored, &options, policies)?;
    let mut measures = backtest_all(histories, asked, &stored.days, &options)?;
    measures.extend(on_named_days(&judged));
    let levels = before.and_then(|before| before.levels.as_ref());
    measures.extend(levels::add_up(histories, asked, levels, &options, &mut stored)?);
    Ok((stored, measures))
}

/// Fits one series: without what named days do, which is put back into its forecast.
fn fit_one(
    history: &History,
    asked: &Question<'_>,
    kept: Option<Kept<'_>>,
    options: &Options,
) -> Result<Made> {
    let (values, through) = (&history.values, asked.through);
    let wanted = method(asked.settings, values.len())?;
    let kept = kept.filter(|_| wanted == AUTO);
    let marks = asked.marks.through(through, values.len());
    let known = marks.get(..values.len()).unwrap_or_default();
    // Too short a series knows no named day twice, and its mean is no forecast to judge one by.
    let looks = !asked.marks.is_empty() && wanted != TOO_SHORT;
    let mut effects = match looks {
        true => Effects::learn(values, known, options.season)?,
        false => Effects::default(),
    };
    let (name, compared) = match &kept {
        Some(kept) => (kept.method.to_owned(), Some(kept.compared)),
        None => {
            let plain = effects.removed(values, known, options.season);
            (chosen(wanted, &plain, options)?, (wanted == AUTO).then_some(through))
        }
    };
    let (days, judged) = match kept {
        Some(kept) => (kept.days.cloned().unwrap_or_default(), Vec::new()),
        None if effects.is_empty() => (BTreeSet::new(), Vec::new()),
        None => {
            let judged = judge(&name, values, known, options)?;
            let helpful = judged.iter().filter(|one| one.helps()).map(|one| one.day.clone());
            (helpful.collect(), judged)
        }
    };
    effects = effects.only(&days);
    let mut series = fit(&name, &effects.removed(values, known, options.season), options)?;
    if !effects.is_empty() {
        series = series.with_days(effects.moved(marks.get(values.len()..).unwrap_or_default()));
    }
    Ok(Made { series, compared, days, judged })
}

/// How well past windows of named days were forecast with those that are kept, beside without any.
fn on_named_days(judged: &[Judged]) -> Option<Measure> {
    let actual: f64 = judged.iter().map(|one| one.actual).sum();
    let with: f64 = judged.iter().map(|one| if one.helps() { one.with } else { one.without }).sum();
    let without: f64 = judged.iter().map(|one| one.without).sum();
    let share = |error: f64| (actual > 0.0).then(|| error / actual);
    (!judged.is_empty()).then(|| Measure {
        name: "wape_on_named_days",
        value: share(with),
        baseline: share(without),
        count: judged.iter().map(|one| one.windows).sum(),
    })
}

/// The method itself, or the one that `auto` finds best on a few past moments.
fn chosen(method: &str, values: &[f64], options: &Options) -> Result<String> {
    if method != AUTO {
        return Ok(method.to_owned());
    }
    let few = Options { origins_max: ORIGINS_COMPARED, paths_max: 0, ..options.clone() };
    Ok(fit(AUTO, values, &few)?.algorithm)
}

/// Forecasts the last season again from what was known before it, beside seasonal naive.
fn backtest_all(
    histories: &[History],
    asked: &Question<'_>,
    days: &BTreeMap<String, BTreeSet<String>>,
    options: &Options,
) -> Result<Vec<Measure>> {
    let settings = asked.settings;
    let held = settings.season_days.max(1).min(settings.horizon_days);
    let tail = (1.0 - settings.interval.value()) / 2.0;
    let mut long: Vec<&History> =
        histories.iter().filter(|h| h.values.len() >= settings.min_history_days + held).collect();
    let size = |history: &History| history.values.iter().sum::<f64>();
    long.sort_by(|a, b| size(b).total_cmp(&size(a)).then_with(|| a.id.cmp(&b.id)));
    long.truncate(JUDGED_MAX);
    let judged = long
        .par_iter()
        .map(|history| backtest_one(history, asked, days.get(&history.id), options, held, tail))
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
    asked: &Question<'_>,
    days: Option<&BTreeSet<String>>,
    options: &Options,
    held: usize,
    tail: f64,
) -> Result<Backtest> {
    let values = &history.values;
    let levels = [tail, 1.0 - tail];
    let (known, came) = values.split_at(values.len() - held);
    let marks = asked.marks.through(asked.through, values.len());
    let (before, ahead) = marks.split_at(known.len().min(marks.len()));
    let effects = match days {
        Some(days) => Effects::learn(known, before, options.season)?.only(days),
        None => Effects::default(),
    };
    let plain = effects.removed(known, before, options.season);
    let method = chosen(method(asked.settings, known.len())?, &plain, options)?;
    let forecast =
        fit(&method, &plain, options)?.with_days(effects.moved(ahead)).forecast(held, &levels)?;
    let naive = backtest::holdout("seasonal-naive", values, held, &[], options)
        .or_else(|_| backtest::holdout("naive", values, held, &[], options))?;
    let error = |(mean, came): (&f64, &f64)| (came - mean).abs();
    let covered = forecast.quantiles.iter().zip(came).filter(|(ends, came)| holds(ends, **came));
    let covered = covered.count();
    Ok(Backtest {
        error: forecast.mean.iter().zip(came).map(error).sum(),
        naive_error: naive.accuracy.mae * held as f64,
        actual: came.iter().sum(),
        covered: (!forecast.quantiles.is_empty()).then(|| covered as f64 / held as f64),
    })
}

/// Whether a value lies between the ends of its interval. Those belong to it: where demand has zeros the lower end is 0.
fn holds(ends: &[f64], came: f64) -> bool {
    matches!(ends, [low, .., high] if *low <= came && came <= *high)
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
    fn a_day_that_is_not_over_is_no_value_of_a_series() {
        let check = |at, expected: &str| {
            let day = last_whole_day(Timestamp::parse(at).unwrap());
            assert_eq!(Timestamp::from_day(day).date(), expected, "{at}");
        };
        check("2024-05-02 00:00:00", "2024-05-01");
        check("2024-05-02 12:00:00", "2024-05-01");
        check("2024-05-02 23:59:58", "2024-05-01");
        // The moment of a turn that is replayed.
        check("2024-05-02 23:59:59", "2024-05-02");
        assert_eq!(last_whole_day(Timestamp::from_micros(-1)), -1);
    }

    #[test]
    fn a_zero_is_inside_an_interval_that_begins_there() {
        let check = |came, inside| assert_eq!(holds(&[0.0, 1.0, 2.0], came), inside, "{came}");
        check(0.0, true);
        check(2.0, true);
        check(2.1, false);
        check(-0.1, false);
        assert!(!holds(&[], 0.0) && !holds(&[1.0], 1.0));
    }

    #[test]
    fn items_that_sell_on_few_days_are_not_forecast_to_sell_nothing() {
        let settings: Forecast = serde_json::from_value(json!({"series": "select 1"})).unwrap();
        let marks = Marks::default();
        let asked = Question { settings: &settings, marks: &marks, through: 200 };
        let items: Vec<History> = (0..12)
            .map(|item| {
                let id = format!("i{item}");
                let mut rng = flywheel_base::Rng::stream(item, "sales");
                let mut values: Vec<f64> = (0..196).map(|_| rng.poisson(0.5) as f64).collect();
                values.extend([0.0; 4]);
                History { id, values, labels: Vec::new() }
            })
            .collect();
        let (stored, _) = fit_all(&items, &asked, None, &[]).unwrap();
        let mut sum = 0.0;
        for (id, series) in &stored.series {
            let ahead = series.forecast(28, &[]).unwrap().mean.iter().sum::<f64>() / 28.0;
            assert!((0.05..1.2).contains(&ahead), "{id}: {ahead} by {}", series.algorithm);
            sum += ahead / 12.0;
        }
        assert!((0.28..0.65).contains(&sum), "{sum}");
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
            calendar: Vec::new(),
            hierarchy: Vec::new(),
            reconciliation: None,
        };
        assert_eq!(method(&settings, 59).unwrap(), TOO_SHORT);
        assert_eq!(method(&settings, 60).unwrap(), "mstl");
        let auto = Forecast { method: ForecastMethod::Auto, ..settings };
        assert_eq!((method(&auto, 13).unwrap(), method(&auto, 14).unwrap()), (TOO_SHORT, AUTO));
    }

    /// Sales of `days` days up to `through`, three times as much on 11 November if it is a day of sales.
    fn sales(id: &str, through: i64, days: i64, sale: bool) -> History {
        let mut rng = flywheel_base::Rng::stream(3, id);
        let value = |day: i64| {
            let is_sale = sale && Timestamp::from_day(day).date().ends_with("-11-11");
            let usual = 50.0 + 10.0 * (day.rem_euclid(7)) as f64;
            (usual * if is_sale { 3.0 } else { 1.0 } * (1.0 + 0.1 * rng.normal())).max(0.0)
        };
        let values = (through - days + 1..=through).map(value).collect();
        History { id: id.to_owned(), values, labels: Vec::new() }
    }

    #[test]
    fn a_day_of_sales_is_forecast_where_it_was_one_and_nowhere_else() {
        let settings: Forecast = serde_json::from_value(json!({
            "series": "select 1", "method": "seasonal-naive", "horizon_days": 21, "calendar": ["own", "cn"],
        }))
        .unwrap();
        let own = serde_json::from_value(json!({"double-eleven": {"on": ["11-11"]}})).unwrap();
        let through = Timestamp::parse("2025-11-01").unwrap().day();
        let days = HISTORY_DAYS_WITH_CALENDAR;
        let marks = Marks::of(&settings.calendar, &own, through - days + 1, through + 120).unwrap();
        let asked = Question { settings: &settings, marks: &marks, through };
        let histories = [
            sales("tea", through, days, true),
            sales("salt", through, days, false),
            sales("new", through, 20, true),
            sales("one", through, 1, true),
            History { id: "zeros".to_owned(), values: vec![0.0; 900], labels: Vec::new() },
        ];
        let (stored, measures) = fit_all(&histories, &asked, None, &[]).unwrap();
        assert!(stored.days["tea"].contains("double-eleven"), "{:?}", stored.days);
        for other in ["new", "one", "zeros"] {
            assert_eq!(stored.days.get(other), None, "{other} never saw a day of sales");
        }
        let salt = stored.series["salt"].forecast(21, &[]).unwrap().mean;
        let ratio = salt[9] / f64::midpoint(salt[2], salt[16]);
        assert!((0.85..=1.15).contains(&ratio), "{ratio}");
        let ahead = stored.series["tea"].forecast(21, &[0.05, 0.95]).unwrap();
        let usual = f64::midpoint(ahead.mean[2], ahead.mean[16]);
        let ratio = ahead.mean[9] / usual;
        assert!((2.4..=3.6).contains(&ratio), "{ratio}");
        let wide = |step: usize| ahead.quantiles[step][1] - ahead.quantiles[step][0];
        assert!(wide(9) > 2.0 * wide(2), "{} {}", wide(9), wide(2));
        let zeros = stored.series["zeros"].forecast(21, &[]).unwrap().mean;
        assert!(zeros.iter().all(|mean| *mean == 0.0));
        let judged = measures.iter().find(|one| one.name == "wape_on_named_days").unwrap();
        assert!(judged.value < judged.baseline && judged.count > 0, "{:?}", judged.value);
        // What was kept is kept by the bytes that are stored, and the same again.
        let again: Stored = serde_json::from_slice(&serde_json::to_vec(&stored).unwrap()).unwrap();
        assert_eq!(again.series["tea"].forecast(21, &[0.05, 0.95]).unwrap(), ahead);
    }
}
