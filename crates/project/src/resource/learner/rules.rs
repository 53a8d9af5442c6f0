//! `rules:` and `tune:` of a recommender.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::quantity::Duration;

/// What happens to a ranked list before anybody sees it, the same for tables, SQL, HTTP and policies. What a rule did to an
/// item is said in its `reason`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// How much variety counts beside relevance, from 0, not at all, to 1, alone; 0.2 to 0.5 is usual. An item is held back
    /// by how much it is like the most alike of those before it, by `similar_by` (MMR).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub diversity: Option<f64>,
    /// What makes items alike: `content` (the column `text` of `items`), `embedding` (its column of that name),
    /// `co-occurrence` (who had both), or a column of `items` such as `category`, where items of one value are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar_by: Option<String>,
    /// How many items of one value of a column of `items` a list has at most, such as `{category: 2, brand: 3}`. An item
    /// without a value is not limited.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub at_most: BTreeMap<String, usize>,
    /// Items that a user had within this time are left out, though `repeats` lets others come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bought_within: Option<Duration>,
    /// Items that are never listed, as in `item_id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Only items for which this holds are listed: conditions on columns of `items` such as `category:shoes|boots,brand!=acme,price<50`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Items that come first for everybody who may have them, in this order; an id that no item has yet waits for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub pin: Vec<String>,
    /// Items that count for more or less than they are ranked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub boost: Vec<Boost>,
}

/// Items that count for more or less.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Boost {
    /// Which items, as in `only`.
    pub items: String,
    /// What their relevance is multiplied by, at least 0: above 1 raises, below lowers. Relevance falls evenly from 1 for the
    /// first of the ranked items to 0 after the last that is looked at.
    #[schemars(range(min = 0, max = 1000))]
    pub by: f64,
}

/// Words of `similar_by` that are no columns.
pub(crate) const SIMILAR: [&str; 3] = ["content", "embedding", "co-occurrence"];

impl Rules {
    /// The column of `items` that makes them alike, if it is a column that does.
    #[must_use]
    pub fn similar_column(&self) -> Option<&str> {
        self.similar_by.as_deref().filter(|by| !SIMILAR.contains(by))
    }

    /// The columns of `items` that the rules look at by name; those within conditions are not among them.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.at_most.keys().map(String::as_str).chain(self.similar_column())
    }

    /// The conditions on columns of `items`, each with its place in the file.
    pub fn conditions(&self) -> impl Iterator<Item = (String, &str)> {
        let only = self.only.as_deref().map(|only| ("only".to_owned(), only));
        let boost = self.boost.iter().enumerate();
        let boost =
            boost.map(|(at, one)| (format!("boost, number {}", at + 1), one.items.as_str()));
        only.into_iter().chain(boost)
    }
}

/// How `algorithm: auto` compares recommenders, and how much that may cost.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tune {
    /// By which measure of lists of the newest interactions.
    #[serde(default)]
    pub by: TuneMeasure,
    /// After so many seconds no further candidate is tried; what was left out is said. The first is always tried.
    #[serde(default = "seconds_default")]
    #[schemars(range(min = 1, max = 86400))]
    pub seconds: u64,
    /// Users whose lists are judged at most, drawn by `seed`; the whole catalogue is ranked for each.
    #[serde(default = "users_default")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub users: usize,
    /// Interactions that are looked at, the newest ones.
    #[serde(default = "rows_default")]
    #[schemars(range(min = 1))]
    pub rows: usize,
    /// Draws the users.
    #[serde(default)]
    pub seed: u64,
}

impl Default for Tune {
    fn default() -> Self {
        Self {
            by: TuneMeasure::default(),
            seconds: seconds_default(),
            users: users_default(),
            rows: rows_default(),
            seed: 0,
        }
    }
}

/// What recommenders are compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TuneMeasure {
    /// Discounted gain of the first ten places.
    #[default]
    #[serde(rename = "ndcg@10")]
    Ndcg,
    /// The share of what was sought that is in the first twenty.
    #[serde(rename = "recall@20")]
    Recall,
    /// The share of users who find something in the first twenty.
    #[serde(rename = "hit-rate@20")]
    HitRate,
}

fn seconds_default() -> u64 {
    120
}

fn users_default() -> usize {
    2_000
}

fn rows_default() -> usize {
    2_000_000
}
