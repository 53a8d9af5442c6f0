//! `forecast`: how much of each series comes next, with intervals.

mod adapted;
mod asked;
mod levels;
mod marks;

use std::collections::{BTreeMap, BTreeSet};

use flywheel_algo::forecast::auto::Moments;
use flywheel_algo::forecast::days::{Effects, Judged, judge};
use flywheel_algo::forecast::{
    AUTO, Fitted as Series, Forecast as Ahead, Options, backtest, choose, find, fit,
};
use flywheel_base::{Error, Result, Timestamp, task};
use flywheel_project::Located;
use flywheel_project::resource::learner::{Forecast, ForecastMethod};
use flywheel_project::resource::policy::{Choose, Policy, Reorder};
use flywheel_project::resource::quantity::Duration;
use flywheel_warehouse::WriteMode;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ARTIFACT, Fitted, LearnerEntry, Measure, last_fit, write_scores};
use crate::context::Context;
use crate::table::ColumnType::{Day, Moment, Number, Text};

use self::adapted::{Adapted, Published};
pub(crate) use self::asked::Asked;
pub(super) use self::levels::{COLUMNS as LEVEL_COLUMNS, table_of as levels_of};
use self::levels::{Last, Levels};
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
/// Days without a row of any series that are said: no rhythm of a shop is as long.
const SILENT_DAYS: i64 = 14;
/// The share of days below 0 from which a series is said to be none of demand.
const BELOW_ZERO: f64 = 0.1;
/// With a calendar so many are read: a day that comes once a year has then come three times or four.
const HISTORY_DAYS_WITH_CALENDAR: i64 = 4 * 365 + 1;
/// For so many days ahead it is known at least what named days do, as orders look further than the table.
const AHEAD_DAYS_MIN: usize = 120;
/// How many past moments are forecast again to measure the errors of the chosen method.
const ORIGINS_MAX: usize = 10;
/// On how many past windows the methods are compared; the comparison is what costs. Each is as long as the horizon and
/// begins half of one after the one before: a choice by the last three days alone, which costs the same, takes the naive
/// methods for one steady series in ten, and errs by a third more on the sums of four weeks of real items.
const WINDOWS_COMPARED: usize = 3;
/// Windows are at least as long as this, as a shorter horizon of three says little of a method.
const WINDOW_DAYS_MIN: usize = 14;
/// Fewer last errors say nothing of how far a method is off.
const RECENT_MIN: usize = 3;
/// How many past demands of the days that an order covers are forecast again, where a policy orders by the forecast. In
/// simulations 12 of them and fewer leave the service two points below what is asked for, more than 16 add nothing.
const PATHS: usize = 16;
/// An order may be made by a fit of so many days ago, and covers days from then on: as many as lie between two fits, at
/// least a week, as a fit may fail. Beyond the most, quantiles stand in for whole paths: every day more is one number more
/// in each stored path, and one day less that the oldest paths can begin on.
const AGE_DAYS_MIN: usize = 7;
const AGE_DAYS_MAX: usize = 60;
/// So many whole paths at least reach the days of an order that is made as late as that: more than the 12 that are needed.
const PATHS_REACHING: usize = 13;
/// How many series, the largest, the fit is judged on.
const JUDGED_MAX: usize = 30;
/// The methods of a series are compared anew after so many days; in between the chosen one is fitted
/// again, because which method suits a series changes more slowly than its level. Sooner, if the series has grown by half
/// since, or if the method errs this many times as much on the last days as it did then.
const COMPARE_EVERY_DAYS: i64 = 28;
const STRAYED: f64 = 2.0;

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
    /// When the methods of each series were last compared.
    #[serde(default)]
    compared: BTreeMap<String, Compared>,
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
    /// What intervals are asked for by the truths that came, unless the file says that nothing adapts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapted: Option<Adapted>,
}

impl Stored {
    /// The method a series keeps.
    fn kept(&self, series: &str, through: i64) -> Option<Kept<'_>> {
        let compared = self.compared.get(series).copied()?;
        Kept::of(self.series.get(series)?, compared, self.days.get(series), through)
    }

    /// What was published of the series.
    fn published(&self) -> Published<'_> {
        Published {
            series: self.series.iter().map(|(id, series)| (id.clone(), series)).collect(),
            adapted: self.adapted.as_ref(),
            through: self.through,
        }
    }
}

/// When and on what the methods of a series were last compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
struct Compared {
    /// The day, in days since the epoch.
    day: i64,
    /// How many days the series had.
    days: Option<usize>,
    /// How far the chosen method was off on the last days.
    error: Option<f64>,
}

/// [`Compared`] as it is stored; older fits stored the day alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Day(i64),
    All { day: i64, days: Option<usize>, error: Option<f64> },
}

impl From<Written> for Compared {
    fn from(written: Written) -> Self {
        match written {
            Written::Day(day) => Self { day, days: None, error: None },
            Written::All { day, days, error } => Self { day, days, error },
        }
    }
}

impl Compared {
    /// Whether a series of so many days knows half as much again as it did then.
    fn outgrown(&self, length: usize) -> bool {
        self.days.is_some_and(|days| 2 * length >= 3 * days)
    }

    /// Whether the method errs far more on the last days than it did then.
    fn strayed(&self, series: &Series) -> bool {
        let errors = self.error.zip(recent_error(series));
        errors.is_some_and(|(then, now)| now > STRAYED * then)
    }
}

/// How far the last forecasts of the next day were off on average; none if there are too few to tell.
fn recent_error(series: &Series) -> Option<f64> {
    let last = series.past_errors().iter().rev().take(ORIGINS_MAX);
    let last: Vec<f64> = last.filter_map(|path| path.first().map(|error| error.abs())).collect();
    (last.len() >= RECENT_MIN).then(|| last.iter().sum::<f64>() / last.len() as f64)
}

/// What is kept of the last fit of a series.
struct Kept<'a> {
    /// Its method.
    method: &'a str,
    /// When it was chosen.
    compared: Compared,
    /// The named days that move it.
    days: Option<&'a BTreeSet<String>>,
}

impl<'a> Kept<'a> {
    /// The method that was chosen then, as long as that is not too long ago.
    fn of(
        series: &'a Series,
        compared: Compared,
        days: Option<&'a BTreeSet<String>>,
        through: i64,
    ) -> Option<Self> {
        let fresh = (compared.day..compared.day + COMPARE_EVERY_DAYS).contains(&through);
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
    let (histories, notices) = read(ctx, name, settings, through).await?;
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
    let refit = ctx.project.learners.get(name).and_then(|learner| learner.refit);
    let (stored, measures) = task::compute(move || {
        let age_days = age_days(refit);
        let asked = Question { settings: &owned, marks: &marks, through, age_days };
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
            let intervals = levels.intervals(settings);
            detail.extend(intervals.map(|of| ("intervals_of_groups".to_owned(), of)));
        }
        if let Some(adapted) = &stored.adapted {
            detail.insert("intervals".to_owned(), adapted.detail(settings));
        }
        if !notices.is_empty() {
            detail.insert("notices".to_owned(), json!(notices));
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

/// Reads the series, and what should be known of them before anybody believes a forecast.
async fn read(
    ctx: &Context<'_>,
    name: &str,
    settings: &Forecast,
    through: i64,
) -> Result<(Vec<History>, Vec<String>)> {
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
    let days: Vec<i64> = days.into_iter().map(|day| Timestamp::from_micros(day).day()).collect();
    let unlike = out_of_reach(&days, through, most).or_else(|| silent(&days, through));
    let rows = ids.into_iter().zip(days).zip(values);
    for (((id, day), value), labels) in rows.zip(labels) {
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
    let histories: Vec<History> = by_series.into_iter().filter_map(history).collect();
    let notices = unlike.into_iter().chain(below_zero(&histories)).collect();
    Ok((histories, notices))
}

/// What is to be said of days that end long before the forecast: all since then counts as a day without any demand.
fn silent(days: &[i64], through: i64) -> Option<String> {
    let newest = days.iter().filter(|day| **day <= through).max()?;
    let since = through - newest;
    (since >= SILENT_DAYS).then(|| {
        format!(
            "no series has a row since {}: each of the {since} days after it counts as 0, so little or nothing is forecast; of data \
             that have ended, replay their days",
            Timestamp::from_day(*newest).date(),
        )
    })
}

/// What is to be said of series that a forecast, which is never below 0, does not fit.
fn below_zero(histories: &[History]) -> Option<String> {
    let often = |history: &&History| {
        let below = history.values.iter().filter(|value| **value < 0.0).count();
        below as f64 >= BELOW_ZERO * history.values.len() as f64 && below > 0
    };
    let mut found = histories.iter().filter(often);
    let first = found.next()?;
    Some(format!(
        "{} of {} series, such as \"{}\", are below 0 on a tenth of their days or more; what is forecast never is: forecast what \
         comes in and what goes out apart",
        1 + found.count(),
        histories.len(),
        first.id,
    ))
}

/// What is to be said of days of which none is looked at, though there are some.
fn out_of_reach(days: &[i64], through: i64, most: i64) -> Option<String> {
    let (oldest, newest) = (days.iter().min()?, days.iter().max()?);
    let looked_at = through - most + 1..=through;
    if days.iter().any(|day| looked_at.contains(day)) {
        return None;
    }
    let date = |day: i64| Timestamp::from_day(day).date();
    Some(format!(
        "no series is forecast: days from {} to {} are looked at, and the oldest day read is {}, the newest day read {}; \
         check the column \"day\" and the moment of the turn",
        date(*looked_at.start()),
        date(through),
        date(*oldest),
        date(*newest),
    ))
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

/// How many days after a fit an order may be made by it.
fn age_days(refit: Option<Duration>) -> usize {
    let days = refit.map_or(0.0, Duration::in_days).ceil() as usize;
    days.clamp(AGE_DAYS_MIN, AGE_DAYS_MAX)
}

/// How many whole days ago the last day of a fit is, if orders are no longer made by one as old.
pub(crate) fn overdue(through: i64, now: Timestamp, refit: Option<Duration>) -> Option<usize> {
    let age = usize::try_from(last_whole_day(now) - through).ok()?;
    (age > age_days(refit)).then_some(age)
}

/// As [`options`], with past demands of the days that the policies' orders cover, made up to so many days after the fit:
/// what a day may be off tells little of how far the sum of many may be.
fn options_for(settings: &Forecast, policies: &[(String, Reorder)], age_days: usize) -> Options {
    let options = options(settings);
    let cover = |(_, reorder): &(String, Reorder)| reorder.lead_time_days + reorder.review_days;
    // A pooled policy orders by what all items tell.
    match policies.iter().filter(|(_, reorder)| !reorder.pooled).map(cover).max() {
        // A hierarchy makes errors of past days that follow each other add up.
        Some(cover) if settings.hierarchy.is_empty() => {
            // The newest paths end before the days of a late order; each begins half a cover before the next.
            let too_short = age_days.div_ceil(cover.div_ceil(2).max(1));
            Options {
                horizon: options.horizon.max(cover + age_days),
                paths_max: PATHS.max(PATHS_REACHING + too_short),
                path_length: cover,
                ..options
            }
        }
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
    /// How many days after the fit an order may be made by it.
    age_days: usize,
}

/// A series that was fitted.
struct Made {
    series: Series,
    /// When its methods were compared.
    compared: Option<Compared>,
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
    let options = options_for(settings, policies, asked.age_days);
    let published = before.map(Stored::published);
    let adapted = Adapted::learn(published.as_ref(), histories, asked.through, settings)?;
    let of_groups =
        before.and_then(|before| Some(before.levels.as_ref()?.published(before.through)));
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
        adapted,
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
    let held = |adapted: &Adapted| adapted.measure("coverage, all truths so far");
    measures.extend(stored.adapted.as_ref().and_then(held));
    let last = Last {
        levels: before.and_then(|before| before.levels.as_ref()),
        published: of_groups.as_ref(),
    };
    measures.extend(levels::add_up(histories, asked, &last, &options, &mut stored)?);
    Ok((stored, measures))
}

/// Fits one series by the method that is kept, or by one that is chosen anew where that was chosen on much less or errs
/// far more than it did.
fn fit_one(
    history: &History,
    asked: &Question<'_>,
    kept: Option<Kept<'_>>,
    options: &Options,
) -> Result<Made> {
    let length = history.values.len();
    let wanted = method(asked.settings, length)?;
    let kept = kept.filter(|kept| wanted == AUTO && !kept.compared.outgrown(length));
    let compared = kept.as_ref().map(|kept| kept.compared);
    let made = fit_by(history, asked, (wanted, kept), options)?;
    match compared {
        Some(compared) if compared.strayed(&made.series) => {
            fit_by(history, asked, (wanted, None), options)
        }
        _ => Ok(made),
    }
}

/// Fits one series by a method or the kept one: without what named days do, which is put back into its forecast.
fn fit_by(
    history: &History,
    asked: &Question<'_>,
    (wanted, kept): (&str, Option<Kept<'_>>),
    options: &Options,
) -> Result<Made> {
    let (values, through) = (&history.values, asked.through);
    let marks = asked.marks.through(through, values.len());
    let known = marks.get(..values.len()).unwrap_or_default();
    // Too short a series knows no named day twice, and its mean is no forecast to judge one by.
    let looks = !asked.marks.is_empty() && wanted != TOO_SHORT;
    let mut effects = match looks {
        true => Effects::learn(values, known, options.season)?,
        false => Effects::default(),
    };
    let (name, before) = match &kept {
        Some(kept) => (kept.method.to_owned(), Some(kept.compared)),
        None => {
            let plain = effects.removed(values, known, options.season);
            (chosen(wanted, &plain, options, asked.settings)?, None)
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
    let now = || Compared { day: through, days: Some(values.len()), error: recent_error(&series) };
    let compared = before.or_else(|| (wanted == AUTO).then(now));
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

/// The method itself, or the one that `auto` finds best on a few past windows.
fn chosen(method: &str, values: &[f64], options: &Options, settings: &Forecast) -> Result<String> {
    if method != AUTO {
        return Ok(method.to_owned());
    }
    let few = Options {
        // Not the days that late orders may cover.
        horizon: settings.horizon_days.max(WINDOW_DAYS_MIN),
        origins_max: WINDOWS_COMPARED,
        paths_max: 0,
        ..options.clone()
    };
    Ok(choose(values, &few, Moments::Whole)?.to_owned())
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
    let method = chosen(method(asked.settings, known.len())?, &plain, options, asked.settings)?;
    let forecast =
        fit(&method, &plain, options)?.with_days(effects.moved(ahead)).forecast(held, &levels)?;
    // Only how far it was off is looked at, not how far it would have been.
    let plain = Options { origins_max: 0, paths_max: 0, ..options.clone() };
    let naive = backtest::holdout("seasonal-naive", values, held, &[], &plain)
        .or_else(|_| backtest::holdout("naive", values, held, &[], &plain))?;
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

/// The ends of a day's interval, which holds the mean: errors that were all on one side, and rounding where forecasts were
/// made to add up, would leave it outside.
fn ends(forecast: &Ahead, step: usize, mean: f64) -> (Option<f64>, Option<f64>) {
    let ends = forecast.quantiles.get(step);
    let lower = ends.and_then(|ends| ends.first()).map(|lower| lower.min(mean));
    let upper = ends.and_then(|ends| ends.last()).map(|upper| upper.max(mean));
    (lower, upper)
}

fn rows(stored: &Stored, settings: &Forecast, now: Timestamp, artifact: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (id, series) in &stored.series {
        let asked = adapted::asked(stored.adapted.as_ref(), settings, id);
        let ahead = adapted::ahead(series, settings.horizon_days, asked)?;
        for (step, (mean, lower, upper)) in ahead.into_iter().enumerate() {
            rows.push(Row {
                series_id: id.clone(),
                day: Timestamp::from_day(
                    stored.through + 1 + i64::try_from(step).unwrap_or_default(),
                )
                .date(),
                mean,
                lower,
                upper,
                method: series.algorithm.clone(),
                made_at: now,
                artifact: artifact.to_owned(),
            });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
