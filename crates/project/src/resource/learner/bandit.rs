//! `bandit:` of a learner.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::quantity::{Duration, Share};

/// Learns from the rewards of past decisions which action is best for whom.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bandit {
    /// The policy whose decisions and outcomes it learns from. Often it is the policy that also chooses with this
    /// learner; a challenger learns from the same decisions without choosing.
    pub policy: String,
    /// The actions it can tell apart, by the names that decisions log.
    #[schemars(length(min = 1, max = 1000))]
    pub actions: Vec<String>,
    /// Columns of that policy's audience that the best action may depend on; none if it is the same for everybody.
    #[serde(default)]
    pub context: Vec<Feature>,
    /// How actions are chosen.
    #[serde(default)]
    pub algorithm: BanditAlgorithm,
    /// By how many deviations `lin-ucb` hopes, or by how much the doubt of `lin-thompson` and `logistic-thompson` is
    /// stretched; 0.3 for the linear ones and 1 for the logistic one if absent.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub width: Option<f64>,
    /// How sharply `square-cb` turns to the best action; 10 if absent.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub sharpness: Option<f64>,
    /// The share of decisions drawn evenly from all candidates. It keeps every probability above 0, without which
    /// nothing can be said later about another policy.
    #[serde(default = "explore_default")]
    pub explore: Share,
    /// Rewards, of any action, after which an old one counts half; absent: nothing is forgotten.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub half_life_rewards: Option<f64>,
    /// How many made-up decisions without reward each action starts with, which pulls early estimates towards 0.
    #[serde(default = "ridge_default")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub ridge: f64,
    /// What a decision earns.
    #[serde(default)]
    pub reward: Reward,
    /// With `reward: value`: the value that counts as a reward of 1. More counts as 1, less than 0 as 0.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub value_max: Option<f64>,
    /// How long after its window has closed a decision is learned, so that events that arrive late still count;
    /// absent: at once.
    #[serde(default)]
    pub settle: Option<Duration>,
}

impl Bandit {
    /// The keys that belong to some algorithms only and are given, each with whether the chosen one reads it.
    #[must_use]
    pub fn given_options(&self) -> Vec<(&'static str, bool)> {
        let width = matches!(
            self.algorithm,
            BanditAlgorithm::LinUcb
                | BanditAlgorithm::LinThompson
                | BanditAlgorithm::LogisticThompson
        );
        [
            ("width", self.width.is_some(), width),
            ("sharpness", self.sharpness.is_some(), self.algorithm == BanditAlgorithm::SquareCb),
        ]
        .into_iter()
        .filter_map(|(key, given, read)| given.then_some((key, read)))
        .collect()
    }
}

/// A column of the audience as the learner reads it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// The column: a number or a truth value, or a text if `values` are listed.
    pub column: String,
    /// What is taken off the number first; 0 if absent. A missing number counts as this one.
    #[serde(default)]
    pub centre: f64,
    /// What the number is divided by, so that it is about 1 in size; 1 if absent.
    #[serde(default = "scale_default")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub scale: f64,
    /// For a text: the values to tell apart. All others, and a missing one, count alike.
    #[serde(default)]
    pub values: Vec<String>,
}

impl Feature {
    /// How many numbers it becomes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.values.len().max(1)
    }
}

/// How a bandit chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BanditAlgorithm {
    /// Thompson sampling from linear regressions: each action gets the probability that it is the best.
    #[default]
    LinThompson,
    /// Thompson sampling from logistic regressions.
    LogisticThompson,
    /// Thompson sampling from counts, without context.
    BetaThompson,
    /// The action that may be best: expectation plus some deviations of it.
    LinUcb,
    /// Probabilities that fall with the gap to the best expectation.
    SquareCb,
    /// The best expectation, and an even draw for the share `explore`.
    EpsilonGreedy,
}

impl BanditAlgorithm {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LinThompson => "lin-thompson",
            Self::LogisticThompson => "logistic-thompson",
            Self::BetaThompson => "beta-thompson",
            Self::LinUcb => "lin-ucb",
            Self::SquareCb => "square-cb",
            Self::EpsilonGreedy => "epsilon-greedy",
        }
    }
}

/// What a decision earns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reward {
    /// 1 if there was an outcome within the window, else 0.
    #[default]
    Outcome,
    /// The value of all its outcomes, as a share of `value_max`.
    Value,
}

fn explore_default() -> Share {
    Share::of(0.05)
}
fn ridge_default() -> f64 {
    1.0
}
fn scale_default() -> f64 {
    1.0
}
