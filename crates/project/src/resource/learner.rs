//! `learners/*.yaml`.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Duration, Share};

mod bandit;
mod hierarchy;
mod hours;
mod recommend;
mod rules;

pub use bandit::{Bandit, BanditAlgorithm, Feature, Reward};
pub use hierarchy::Reconciliation;
pub use hours::Hours;
pub use recommend::{
    BprOptions, CellValue, EmbeddingOptions, Feedback, GfCfOptions, IalsOptions, ItemKnnOptions,
    Missing, Rank, RankAlgorithm, Recommend, RecommendAlgorithm, Rp3BetaOptions, SessionOptions,
    SessionOrder, UserKnnOptions, Vote, Weighting,
};
pub(crate) use rules::SIMILAR;
pub use rules::{Boost, Rules, Tune, TuneMeasure};

/// Something to be learned from SQL, fitted into a versioned artifact and scored back into tables;
/// exactly one of `recommend`, `segment`, `forecast`, `score`, `value`, `uplift`, `lookalike`, `hours`, `onnx` and `bandit` says what.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {"required": ["recommend"]},
    {"required": ["segment"]},
    {"required": ["forecast"]},
    {"required": ["score"]},
    {"required": ["value"]},
    {"required": ["uplift"]},
    {"required": ["lookalike"]},
    {"required": ["hours"]},
    {"required": ["onnx"]},
    {"required": ["bandit"]},
]))]
pub struct Learner {
    /// The learner's name; its scores appear as `learn.<name>`.
    pub learner: String,
    /// What is learned for.
    #[serde(default)]
    pub description: Option<String>,
    /// How often it is fitted again; `1d` if absent. A turn that comes a twentieth of it too soon, at most five minutes,
    /// is on time.
    #[serde(default)]
    pub refit: Option<Duration>,
    /// What follows when its answers get worse in reality: hit rate of a recommendation, error or coverage of a forecast,
    /// error of a score that learns row by row, reward of a bandit. Whatever it is, the worsening is told and is a row of
    /// `system.drift`.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// Which items each user wants next.
    #[serde(default)]
    pub recommend: Option<Recommend>,
    /// Which groups customers fall into, and at which stage of their life they are.
    #[serde(default)]
    pub segment: Option<Segment>,
    /// How much of each series comes next.
    #[serde(default)]
    pub forecast: Option<Forecast>,
    /// A number or probability for each row, learned row by row.
    #[serde(default)]
    pub score: Option<Score>,
    /// Whether each customer is still one, how often they will buy, and for how much.
    #[serde(default)]
    pub value: Option<Value>,
    /// By how much a treatment changes each unit's chance, learned from units that chance treated or left alone.
    #[serde(default)]
    pub uplift: Option<Uplift>,
    /// Who of everybody else is most like some seeds.
    #[serde(default)]
    pub lookalike: Option<Lookalike>,
    /// At which hour each unit is there: the best hour to send to them.
    #[serde(default)]
    pub hours: Option<Hours>,
    /// What a model of your own, brought as an ONNX file, says of each row.
    #[serde(default)]
    pub onnx: Option<Onnx>,
    /// Which action is best for whom, learned from the rewards of decisions.
    #[serde(default)]
    pub bandit: Option<Bandit>,
}

/// What follows when a learner's answers get worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// It is told, and nothing else is done.
    #[default]
    Tell,
    /// It is fitted again in the same turn, though it is not due.
    Retrain,
    /// The artifact from before it got worse is served again, and held until `flywheel learn unpin`.
    LastGood,
}

impl Learner {
    /// What is learned.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] unless exactly one kind is given; a loaded project's
    /// learners have one.
    pub fn kind(&self) -> Result<LearnerKind<'_>> {
        let Self {
            recommend,
            segment,
            forecast,
            score,
            value,
            uplift,
            lookalike,
            hours,
            onnx,
            bandit,
            ..
        } = self;
        let given = [
            recommend.as_ref().map(LearnerKind::Recommend),
            segment.as_ref().map(LearnerKind::Segment),
            forecast.as_ref().map(LearnerKind::Forecast),
            score.as_ref().map(LearnerKind::Score),
            value.as_ref().map(LearnerKind::Value),
            uplift.as_ref().map(LearnerKind::Uplift),
            lookalike.as_ref().map(LearnerKind::Lookalike),
            hours.as_ref().map(LearnerKind::Hours),
            onnx.as_ref().map(LearnerKind::Onnx),
            bandit.as_ref().map(LearnerKind::Bandit),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(kind), None) => Ok(kind),
            _ => Err(Error::invalid(format!(
                "learner \"{}\" does not have exactly one kind",
                self.learner
            ))
            .hint(
                "Give one of recommend, segment, forecast, score, value, uplift, lookalike, hours, onnx and bandit.",
            )),
        }
    }
}

/// What is learned.
#[derive(Clone, Copy, Debug)]
pub enum LearnerKind<'a> {
    /// Which items each user wants next.
    Recommend(&'a Recommend),
    /// Which groups customers fall into, and at which stage of their life they are.
    Segment(&'a Segment),
    /// How much of each series comes next.
    Forecast(&'a Forecast),
    /// A number or probability for each row, learned row by row.
    Score(&'a Score),
    /// Whether each customer is still one, how often they will buy, and for how much.
    Value(&'a Value),
    /// By how much a treatment changes each unit's chance.
    Uplift(&'a Uplift),
    /// Who of everybody else is most like some seeds.
    Lookalike(&'a Lookalike),
    /// At which hour each unit is there.
    Hours(&'a Hours),
    /// What a model of the user's own says of each row.
    Onnx(&'a Onnx),
    /// Which action is best for whom, learned from the rewards of decisions.
    Bandit(&'a Bandit),
}

impl<'a> LearnerKind<'a> {
    /// The kind's key in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recommend(_) => "recommend",
            Self::Segment(_) => "segment",
            Self::Forecast(_) => "forecast",
            Self::Score(_) => "score",
            Self::Value(_) => "value",
            Self::Uplift(_) => "uplift",
            Self::Lookalike(_) => "lookalike",
            Self::Hours(_) => "hours",
            Self::Onnx(_) => "onnx",
            Self::Bandit(_) => "bandit",
        }
    }

    /// The kind's SQL texts, each with its key, in the order of the struct.
    #[must_use]
    pub fn queries(self) -> Vec<(&'static str, &'a str)> {
        let (first, second) = match self {
            Self::Recommend(kind) => {
                let more =
                    [("items", kind.items.as_deref()), ("available", kind.available.as_deref())];
                let more = more.into_iter().filter_map(|(key, sql)| Some((key, sql?)));
                return std::iter::once(("interactions", kind.interactions.as_str()))
                    .chain(more)
                    .collect();
            }
            Self::Segment(kind) => {
                (("events", kind.events.as_str()), ("units", kind.units.as_deref()))
            }
            Self::Forecast(kind) => (("series", kind.series.as_str()), ("", None)),
            Self::Score(kind) => {
                (("examples", kind.examples.as_str()), ("score", kind.score.as_deref()))
            }
            Self::Value(kind) => (("events", kind.events.as_str()), ("", None)),
            Self::Uplift(kind) => {
                (("experiment", kind.experiment.as_str()), ("score", kind.score.as_deref()))
            }
            Self::Lookalike(kind) => {
                (("seeds", kind.seeds.as_str()), ("units", Some(kind.units.as_str())))
            }
            Self::Hours(kind) => (("events", kind.events.as_str()), ("", None)),
            Self::Onnx(kind) => (("rows", kind.rows.as_str()), ("truth", kind.truth.as_deref())),
            // Its rows are decisions and outcomes of its policy.
            Self::Bandit(_) => return Vec::new(),
        };
        [Some(first), second.1.map(|sql| (second.0, sql))].into_iter().flatten().collect()
    }
}

/// Customer segments and lifecycle stages.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// SQL with columns `unit_id`, `at` (timestamp) and `value`: one row per purchase.
    pub events: String,
    /// SQL with columns `unit_id` and `since` (timestamp): everyone known, also without purchase.
    #[serde(default)]
    pub units: Option<String>,
    /// How many clusters.
    #[serde(default = "clusters_default")]
    #[schemars(range(min = 1, max = 100))]
    pub clusters: usize,
    /// A customer is `new` for this long after the first purchase.
    #[serde(default)]
    pub new_for: Option<Duration>,
}

/// Who of everybody else is most like some seeds: an audience made from one that is known.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookalike {
    /// SQL with a column `unit_id`: those to be found more of, ten at least.
    pub seeds: String,
    /// SQL with columns `unit_id` and the features, numbers or texts: everybody, seeds included, one row a unit. What makes
    /// a unit a seed must not be a feature.
    pub units: String,
    /// How likeness is learned.
    #[serde(default)]
    pub algorithm: LookalikeAlgorithm,
}

/// How likeness is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LookalikeAlgorithm {
    /// The one by which half of the seeds, held back, come highest; the other half says what it is worth.
    #[default]
    Auto,
    /// Logistic regression of seeds against others: one weight a column.
    Logistic,
    /// The distance to the five nearest seeds, in columns of like scale: for seeds that are several kinds of units.
    Nearest,
    /// Boosted trees of seeds against others: thresholds, and columns that matter only together.
    BoostedTrees,
}

/// A model that was fitted elsewhere and is brought as an ONNX file: it scores rows here, in batches and by
/// `predict('name', *)` in SQL, and is judged by what came true. It is not fitted here.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Onnx {
    /// The file, from the project's folder and inside it, such as `models/churn.onnx`; 64 MiB at most, weights included.
    pub model: String,
    /// SQL with columns `unit_id` and what the model reads: the rows that are scored.
    pub rows: String,
    /// Which columns each input of the file reads, in the order in which the model was fitted. Absent, a lone input reads all
    /// columns beside `unit_id` in the order of `rows`, and each of several inputs the column of its own name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Vec<String>>,
    /// The output that is the score; may be left out if only one holds numbers with fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Of an output with a number for each class, the class whose number is the score: its label if the file has labels,
    /// else its place from 0. The last one if absent, which is the positive one of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassName>,
    /// SQL with the columns of `rows` as they were known before, `at` (timestamp), and `target`: rows whose outcome is known
    /// by now. The model is judged by them at each `flywheel learn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<String>,
    /// `probability` if the score is one, and `target` 0 or 1; `number` otherwise. Only `truth` reads it.
    #[serde(default)]
    pub predict: Predict,
}

/// A class of a model: a label, or a number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassName {
    /// A label that is a whole number, or a place.
    Number(i64),
    /// A label.
    Label(String),
}

impl std::fmt::Display for ClassName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Label(label) => label.fmt(f),
        }
    }
}

/// A demand forecast.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// SQL with columns `series_id`, `day` (date) and `value`: one row per series and day with a value.
    pub series: String,
    /// How many days ahead.
    #[serde(default = "horizon_default")]
    #[schemars(range(min = 1, max = 3650))]
    pub horizon_days: usize,
    /// The length of a season in days; 7 if absent, 1 for none.
    #[serde(default = "season_default")]
    #[schemars(range(min = 1, max = 3650))]
    pub season_days: usize,
    /// Longer seasons in days, such as `[365]` beside a week; `mstl` takes them all, the others only `season_days`.
    #[serde(default)]
    #[schemars(inner(range(min = 2, max = 3650)))]
    pub longer_seasons_days: Vec<usize>,
    /// The method; `auto` backtests and takes the best for each series.
    #[serde(default)]
    pub method: ForecastMethod,
    /// How much of the future the interval covers.
    #[serde(default = "interval_default")]
    pub interval: Share,
    /// How far each truth that comes moves the interval of later days: one that was missed widens it, one that was held narrows
    /// it, so that over time `interval` of them lie inside. From 0, which adapts nothing, to 1; 0.01 if absent.
    #[serde(default = "interval_gamma_default")]
    #[schemars(range(min = 0, max = 1))]
    pub interval_gamma: f64,
    /// Only series with at least this many days are fitted; the others, and those too short for the method, get the mean.
    #[serde(default = "min_history_default")]
    #[schemars(range(min = 1))]
    pub min_history_days: usize,
    /// Whose named days may move a series: `cn`, `us` and `uk` for holidays, `own` for `calendar: {days: …}` of
    /// `flywheel.yaml`. What each does is learned from the last four years, with three days before and two after it, and kept
    /// only where past windows of it are forecast better with it.
    #[serde(default)]
    pub calendar: Vec<ForecastCalendar>,
    /// Columns of the query that group the series, the finest first, such as `[category, department]`; the total stands above
    /// them. Each level is forecast too, and all are made to add up: the table then has the columns `level`, `label` and `own_mean`.
    #[serde(default)]
    pub hierarchy: Vec<String>,
    /// How forecasts are made to add up, with a `hierarchy`; `auto` if absent.
    #[serde(default)]
    pub reconciliation: Option<Reconciliation>,
}

/// Whose named days may move a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForecastCalendar {
    /// Public holidays of mainland China, and the weekend days that are worked instead.
    Cn,
    /// Federal holidays of the United States, and Black Friday.
    Us,
    /// Bank holidays of England and Wales, and Black Friday.
    Uk,
    /// Days of the project's own.
    Own,
}

/// How a series is continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForecastMethod {
    /// The best of the others in a rolling backtest; the blend if none is clearly better.
    #[default]
    Auto,
    /// The last value.
    Naive,
    /// The value one season ago.
    SeasonalNaive,
    /// Simple exponential smoothing.
    Simple,
    /// Holt's linear trend.
    Holt,
    /// Holt–Winters with additive season.
    HoltWinters,
    /// Exponential smoothing whose form (error, trend, season) is chosen by the corrected Akaike criterion.
    Ets,
    /// Simple smoothing plus half of the long-run slope, seasonally adjusted.
    Theta,
    /// Theta with the share of the slope that fits best.
    ThetaOptimised,
    /// Theta with a slope that each value moves.
    ThetaDynamic,
    /// The mean of `theta-dynamic` and `ets`.
    Blend,
    /// Several seasons, each split off and repeated.
    Mstl,
    /// Croston's method; biased upwards, for comparison.
    Croston,
    /// Croston's method without its bias.
    Sba,
    /// Teunter–Syntetos–Babai, for demand with many zeros.
    Tsb,
    /// Demand added up over the mean wait for it.
    Adida,
    /// The mean over several lengths of such sums.
    Imapa,
    /// The smaller one of `imapa` and `tsb`, for items that may run out of demand.
    Fading,
}

impl ForecastMethod {
    /// Every method, in the order of the documentation.
    pub const ALL: [Self; 18] = [
        Self::Auto,
        Self::Naive,
        Self::SeasonalNaive,
        Self::Simple,
        Self::Holt,
        Self::HoltWinters,
        Self::Ets,
        Self::Theta,
        Self::ThetaOptimised,
        Self::ThetaDynamic,
        Self::Blend,
        Self::Mstl,
        Self::Croston,
        Self::Sba,
        Self::Tsb,
        Self::Adida,
        Self::Imapa,
        Self::Fading,
    ];
}

/// An online model of a number or of a probability.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// SQL with columns `row_id`, `at` (timestamp), the features and the target; new rows are learned once, in time order,
    /// or all of them at each fit, as `algorithm` says. `at` is the moment at which the target became known: `online` passes
    /// over a row that is not later than the newest one it has learned.
    pub examples: String,
    /// SQL with columns `unit_id` and the features: the rows that are scored after each fit.
    #[serde(default)]
    pub score: Option<String>,
    /// The column to predict.
    pub target: String,
    /// `probability` for targets of 0 and 1, or false and true; `number` for all others.
    #[serde(default)]
    pub predict: Predict,
    /// How it is learned.
    #[serde(default)]
    pub algorithm: ScoreAlgorithm,
    /// Takes text features as well, and learns them by FTRL-proximal: for codes, names and places of many values. Only
    /// with `predict: probability` and `algorithm: online`. Without it features are numbers: `null` counts as 0, and a text that
    /// is no number is refused.
    #[serde(default)]
    pub hashed: Option<Hashed>,
}

/// How a score is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreAlgorithm {
    /// Row by row, once each: it follows what changes, and never sees an example again.
    #[default]
    Online,
    /// Logistic regression on all examples at each fit; only with `predict: probability`.
    Logistic,
    /// Boosted decision trees on all examples at each fit: they find thresholds and what matters only together.
    BoostedTrees,
    /// Logistic regression or boosted trees, whichever foretells the newest fifth of the examples better.
    Auto,
}

/// How features of many values are kept: each pair of a column and its text has a place in a table of weights, found by
/// hashing, so that new values need no dictionary.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hashed {
    /// The table has 2 to the power of this many weights; 18 suit a few thousand values.
    #[schemars(range(min = 1, max = 24))]
    pub bits: u32,
    /// The pull that makes weights exactly 0 that do not earn their place.
    #[schemars(range(min = 0))]
    pub lasso: f64,
    /// The pull of all weights towards 0.
    #[schemars(range(min = 0))]
    pub ridge: f64,
}

impl Default for Hashed {
    fn default() -> Self {
        Self { bits: 18, lasso: 0.0, ridge: 0.0 }
    }
}

/// What is predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Predict {
    /// Logistic regression.
    #[default]
    Probability,
    /// Linear regression.
    Number,
}

/// By how much a treatment changes each unit's chance. Not for data in which somebody chose whom to treat: then it learns
/// what they chose by.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uplift {
    /// SQL with columns `unit_id`, `treated` and `happened` (true or false, 1 or 0), and the features, which are numbers
    /// known before the treatment (`null` counts as 0, and so does what is not finite): one row per unit of an
    /// experiment. A policy with a holdout is one.
    pub experiment: String,
    /// SQL with columns `unit_id` and the features: the rows that are scored after each fit.
    #[serde(default)]
    pub score: Option<String>,
    /// How differences are learned.
    #[serde(default)]
    pub method: UpliftMethod,
}

/// How differences of two arms are learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpliftMethod {
    /// One model of both arms, with the treatment and its product with each feature beside the features: what the arms
    /// have in common is learned once.
    S,
    /// A model for each arm.
    #[default]
    T,
    /// Models of the differences that the models of `t` leave: for arms of very different size.
    X,
}

/// The value of each customer in the time ahead, for customers without a contract.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// SQL with columns `unit_id`, `at` (timestamp) and `value`: one row per purchase; a return is negative.
    pub events: String,
    /// How far ahead purchases and their value are expected; `90d` if absent.
    #[serde(default = "ahead_default")]
    pub horizon: Duration,
    /// How customers buy and leave; `auto` takes the model that foretold the newest purchases best.
    #[serde(default)]
    pub model: ValueModel,
    /// With `model: bg-bb`, the time from one chance to buy to the next, such as `30d` for a monthly appeal; a day at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opportunity: Option<Duration>,
    /// The newest purchases held back to judge the models; as long as the horizon if absent.
    #[serde(default)]
    pub holdout: Option<Duration>,
    /// How sure the interval of each expected value is.
    #[serde(default = "interval_default")]
    pub interval: Share,
}

/// How customers buy and leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ValueModel {
    /// The best of the first three others on the newest purchases.
    #[default]
    Auto,
    /// Customers may leave after each repeat purchase.
    BgNbd,
    /// Customers may leave after every purchase, also the first.
    MbgNbd,
    /// Customers may leave at any moment.
    ParetoNbd,
    /// Customers buy or do not at each `opportunity`, and may leave before the next: appeals, subscriptions renewed by hand,
    /// weekly markets.
    BgBb,
}

fn ahead_default() -> Duration {
    Duration::days(90)
}
fn clusters_default() -> usize {
    4
}
fn horizon_default() -> usize {
    14
}
fn season_default() -> usize {
    7
}
fn min_history_default() -> usize {
    14
}
fn interval_gamma_default() -> f64 {
    0.01
}

fn interval_default() -> Share {
    Share::new(0.9).unwrap_or_default()
}
