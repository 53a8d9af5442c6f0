//! `recommend:` of a learner, and what can be said about single algorithms.
//!
//! Of `gf_cf:`, `rp3beta:`, `ials:` and their like, what is left out is left to the algorithm, so that its
//! defaults stand in one place. A description is also the hint beside a value that cannot be, hence
//! the figures in it.

use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::super::quantity::Duration;
use super::rules::{Rules, Tune};

/// A recommender.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recommend {
    /// SQL with columns `user_id`, `item_id`, `at` (timestamp) and optionally `weight`: one row per interaction.
    pub interactions: String,
    /// The time zone whose clocks `at` shows, such as `Asia/Shanghai`, where rows were landed with times of day and no zone:
    /// they are kept as if they were of UTC, and the newest ones would seem to be of later than now. UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// SQL with columns `item_id`, and optionally `text` (for content), `embedding` (a list of numbers or its JSON, for
    /// embeddings), `available` (boolean) and `name` (what pages call it).
    #[serde(default)]
    pub items: Option<String>,
    /// Columns of `items`, numbers or texts, by which `GET /v1/recommend` may be filtered. Whoever may ask for
    /// recommendations can learn them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub attributes: Vec<String>,
    /// SQL with a column `item_id`: what can be had now, such as `select item_id from {{ ref('stock') }} where on_hand > 0`.
    /// Policies ask it when they decide, `GET /v1/recommend` at most half a minute ago, and each fit for its table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<String>,
    /// The algorithm; `hybrid` blends sources and is the default.
    #[serde(default)]
    pub algorithm: RecommendAlgorithm,
    /// Options of `algorithm: gf-cf`.
    #[serde(default)]
    pub gf_cf: Option<GfCfOptions>,
    /// Options of `algorithm: rp3beta`.
    #[serde(default)]
    pub rp3beta: Option<Rp3BetaOptions>,
    /// Options of `algorithm: ials`.
    #[serde(default)]
    pub ials: Option<IalsOptions>,
    /// Options of `algorithm: bpr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpr: Option<BprOptions>,
    /// Options of `algorithm: item-knn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_knn: Option<ItemKnnOptions>,
    /// Options of `algorithm: user-knn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_knn: Option<UserKnnOptions>,
    /// Options of `algorithm: sessions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionOptions>,
    /// Options of `algorithm: embeddings`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<EmbeddingOptions>,
    /// How many items per user are kept.
    #[serde(default = "top_default")]
    #[schemars(range(min = 1, max = 10000))]
    pub top: usize,
    /// Whether items the user already has may be recommended.
    #[serde(default)]
    pub repeats: bool,
    /// The newest interactions held back to judge the fit.
    #[serde(default)]
    pub holdout: Option<Duration>,
    /// How the order of each list is learned anew from what a policy showed and what came of it; without it the order is
    /// the algorithm's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<Rank>,
    /// Rules for the lists that come of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// How `algorithm: auto` chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<Tune>,
    /// Events that a server takes into account at once, before a sync lands them and the next fit learns them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

/// A ranker: the second stage, which puts the items that were found in the order that people answer to. It is used from
/// the first fit at which it is shown to be better than the algorithm's own order, by decisions it was not learned from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rank {
    /// The policy whose decisions and outcomes are learned from: one with `choose: {recommend: …}` of this learner, an
    /// `outcome`, and `explore` above 0. Only the slot that exploration draws says what another order would have brought.
    pub from: String,
    /// How it is learned.
    #[serde(default)]
    pub algorithm: RankAlgorithm,
    /// Columns of `items` with numbers that it reads beside what the algorithm says of an item, such as a price.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub features: Vec<String>,
}

/// How a ranker is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RankAlgorithm {
    /// The one that foretells the newest of the learned decisions better.
    #[default]
    Auto,
    /// Boosted trees: thresholds, and facts that matter only together.
    BoostedTrees,
    /// Logistic regression: one weight a fact.
    Logistic,
}

/// Which events say what a user did, by keys of their JSON; an event without one of them says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// The topic that `POST /v1/events` names.
    #[serde(default = "topic_default")]
    pub topic: String,
    /// The key with the user, as in `user_id` of `interactions`.
    pub user: String,
    /// The key with the item, as in `item_id`.
    pub item: String,
    /// The key with the moment, as in `at`; without it, an event is of the moment when it arrives. It is by item and
    /// moment that an event is known again once `interactions` has it.
    #[serde(default)]
    pub at: Option<String>,
    /// The key with the weight, as in `weight`; 1 without it.
    #[serde(default)]
    pub weight: Option<String>,
}

fn topic_default() -> String {
    "events".to_owned()
}

impl Recommend {
    /// The keys that hold options of one algorithm and are given, each with that algorithm.
    #[must_use]
    pub fn given_options(&self) -> Vec<(&'static str, RecommendAlgorithm)> {
        let Self { gf_cf, rp3beta, ials, bpr, item_knn, user_knn, sessions, embeddings, .. } = self;
        [
            (gf_cf.is_some(), "gf_cf", RecommendAlgorithm::GfCf),
            (rp3beta.is_some(), "rp3beta", RecommendAlgorithm::Rp3Beta),
            (ials.is_some(), "ials", RecommendAlgorithm::Ials),
            (bpr.is_some(), "bpr", RecommendAlgorithm::Bpr),
            (item_knn.is_some(), "item_knn", RecommendAlgorithm::ItemKnn),
            (user_knn.is_some(), "user_knn", RecommendAlgorithm::UserKnn),
            (sessions.is_some(), "sessions", RecommendAlgorithm::Sessions),
            (embeddings.is_some(), "embeddings", RecommendAlgorithm::Embeddings),
        ]
        .into_iter()
        .filter_map(|(given, key, algorithm)| given.then_some((key, algorithm)))
        .collect()
    }

    /// The options of the algorithm as the recommenders read them; null if there are none.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if they cannot be written as JSON.
    pub fn options(&self) -> Result<Json> {
        let options = match self.algorithm {
            RecommendAlgorithm::GfCf => self.gf_cf.as_ref().map(serde_json::to_value),
            RecommendAlgorithm::Rp3Beta => self.rp3beta.as_ref().map(serde_json::to_value),
            RecommendAlgorithm::Ials => self.ials.as_ref().map(serde_json::to_value),
            RecommendAlgorithm::Bpr => self.bpr.as_ref().map(serde_json::to_value),
            RecommendAlgorithm::ItemKnn => self.item_knn.as_ref().map(serde_json::to_value),
            RecommendAlgorithm::UserKnn => self.user_knn.as_ref().map(serde_json::to_value),
            RecommendAlgorithm::Sessions => self.sessions.as_ref().map(serde_json::to_value),
            RecommendAlgorithm::Embeddings => self.embeddings.as_ref().map(serde_json::to_value),
            _ => None,
        };
        options
            .transpose()
            .map(Option::unwrap_or_default)
            .map_err(|error| Error::internal("the options are no JSON").caused_by(error))
    }
}

/// How items are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecommendAlgorithm {
    /// A blend of the others with reasons, and popularity where there is no evidence.
    #[default]
    Hybrid,
    /// Items bought by similar users.
    UserKnn,
    /// Items bought together.
    ItemKnn,
    /// Non-negative matrix factors.
    Nmf,
    /// The closed-form linear item model, up to 20,000 items.
    Ease,
    /// A graph filter in closed form: the best for new items on large catalogues.
    GfCf,
    /// A random walk of three steps, popular ends held back: strong and fast at any size.
    #[serde(rename = "rp3beta")]
    Rp3Beta,
    /// Implicit feedback factored into a few numbers per item; small artifacts at any size.
    Ials,
    /// Factors learned from pairs, one item had and one not: for the order of lists.
    Bpr,
    /// What was in one session together, or came next in it: follows what somebody is doing now.
    Sessions,
    /// Items near to what somebody has, by vectors of another model that `items` brings as `embedding`.
    Embeddings,
    /// Items whose text is similar.
    Content,
    /// What sells now.
    Popularity,
    /// What this user is due to buy again.
    Repeat,
    /// The one, with the options, whose lists would have been best for the newest fifth of the interactions; `tune` says by
    /// which measure, and what that may cost.
    Auto,
}

impl RecommendAlgorithm {
    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::UserKnn => "user-knn",
            Self::ItemKnn => "item-knn",
            Self::Nmf => "nmf",
            Self::Ease => "ease",
            Self::GfCf => "gf-cf",
            Self::Rp3Beta => "rp3beta",
            Self::Ials => "ials",
            Self::Bpr => "bpr",
            Self::Sessions => "sessions",
            Self::Embeddings => "embeddings",
            Self::Content => "content",
            Self::Popularity => "popularity",
            Self::Repeat => "repeat",
            Self::Auto => "auto",
        }
    }
}

/// How the graph filter smooths a history.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GfCfOptions {
    /// How far popular candidates are held back, from 0 to 1; 0.5 if absent, as in the paper. Try 0.3 on large catalogues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub beta: Option<f64>,
    /// How many leading directions of the graph are kept, 1 to 1024; 256 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub factors: Option<usize>,
    /// How much these directions weigh beside direct neighbours, at least 0; 0.3 if absent, 0 leaves them out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub low_pass: Option<f64>,
    /// How many weights are kept per item, 1 to 10000; 500 if absent. Each takes 8 bytes of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub kept_per_item: Option<usize>,
    /// How often the directions are improved, 1 to 100; 4 if absent, more is nearer to the exact ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub sweeps: Option<usize>,
    /// The seed of the directions' start, a whole number from 0; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// How the random walk goes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rp3BetaOptions {
    /// The power of each step's chance, from 0 to 4; 1 if absent, the plain walk. Above 1 likely steps count more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4))]
    pub alpha: Option<f64>,
    /// The power of a candidate's popularity by which it is held back, from 0 to 4; 0.3 if absent, 0 holds nothing back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4))]
    pub beta: Option<f64>,
    /// How many ends of the walk are kept per item, 1 to 10000; 500 if absent. Each takes 8 bytes of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub kept_per_item: Option<usize>,
}

/// How implicit feedback is factored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IalsOptions {
    /// How many numbers per item and per user, 1 to 1024; 64 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub factors: Option<usize>,
    /// What an interaction counts beside an absent one, more than 0; 10 if absent, more for sparser data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub confidence: Option<f64>,
    /// What raises the confidence: `presence` (the default), `weight` or `occasions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<CellValue>,
    /// The penalty on the numbers of an average user or item, more than 0; 1 if absent, more for noisier data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub penalty: Option<f64>,
    /// How the penalty grows with how much a user or item has, from 0 (not at all, if absent) to 2; 1 is in proportion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2))]
    pub penalty_exponent: Option<f64>,
    /// How often both sides are solved, 1 to 1000; 15 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub sweeps: Option<usize>,
    /// Steps towards each solution, 1 to 1000; 3 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub steps: Option<usize>,
    /// The seed of the starting point, a whole number from 0; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// How pairs of an item had and one not had are learned from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BprOptions {
    /// How many numbers per item and per user, 1 to 1024; 64 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub factors: Option<usize>,
    /// How far each step goes, more than 0 and up to 1; 0.05 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub learning_rate: Option<f64>,
    /// The penalty on the numbers of each step, from 0 to 1; 0.01 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub penalty: Option<f64>,
    /// How many pairs are drawn for each interaction, 1 to 1000; 60 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: Option<usize>,
    /// The seed of start and draws, a whole number from 0; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// How items are compared by the users they share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemKnnOptions {
    /// How many neighbours are kept per item, 1 to 10000; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub neighbours: Option<usize>,
    /// How interactions are weighted before items are compared: `bm25` (the default) or `cosine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighting: Option<Weighting>,
    /// Which number is compared: `presence` (the default), `weight` or `occasions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<CellValue>,
    /// What an absent interaction means to `cosine`: `zero` (the default), or `unknown` for ratings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// The number of shared users at which a similarity counts half, at least 0; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub shrink: Option<f64>,
}

/// How users are compared, and how those who are alike are heard.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserKnnOptions {
    /// How many neighbours are heard, 1 to 10000; 50 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub neighbours: Option<usize>,
    /// Which number is compared: `weight` (the default), `presence` or `occasions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<CellValue>,
    /// What an absent interaction means: `unknown` (the default), or `zero` for purchases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// The number of shared items at which a similarity counts half, at least 0; 2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub shrink: Option<f64>,
    /// How neighbours become a score: `weighted-mean` (the default), a foretold rating, or `sum`, a strength, for purchases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Vote>,
}

/// How interactions are weighted before items are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// The angle between the users of both.
    Cosine,
    /// An indiscriminate user counts less, and a frequent item is held back.
    Bm25,
}

/// What an absent interaction means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// Nothing: only what both have is compared. Right for ratings.
    Unknown,
    /// A no. Right for purchases.
    Zero,
}

/// How neighbours become a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Vote {
    /// The mean of the neighbours who know the item: a foretold rating.
    WeightedMean,
    /// The sum of likeness times value: a strength.
    Sum,
}

/// How sessions are told apart and counted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionOptions {
    /// A pause of more minutes than this begins a new session, more than 0; 30 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub gap_minutes: Option<f64>,
    /// Which items speak for each other: all of a session, `together` (the default), or each for what comes after it, `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<SessionOrder>,
    /// How many items are kept per item, 1 to 10000; 500 if absent. Each takes 8 bytes of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub kept_per_item: Option<usize>,
}

/// Which items of a session speak for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionOrder {
    /// All that are in it.
    Together,
    /// Each for what comes after it, the sooner the more.
    Next,
}

/// What counts of a history.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingOptions {
    /// After so many days an item of a history counts for half, more than 0; all count the same if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub half_life_days: Option<f64>,
}

/// Which number of a user and an item is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CellValue {
    /// Whether there was an interaction.
    Presence,
    /// The sum of their weights.
    Weight,
    /// How many there were.
    Occasions,
}

fn top_default() -> usize {
    20
}
