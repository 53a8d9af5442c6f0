//! What a bandit is made from: the algorithm and its numbers.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::VALUE_MAX;

/// How actions are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Algorithm {
    /// The action of the best expected reward; `explore` gives the rest a chance and must be above 0.
    EpsilonGreedy,
    /// Thompson sampling from Beta posteriors: no context, rewards from 0 to 1.
    BetaThompson,
    /// The action whose reward may be best: expectation plus `width` deviations of it. Sure of itself: without
    /// `explore` every propensity is 1 and nothing can be learnt about other policies afterwards.
    LinUcb {
        /// Deviations added to the expectation.
        width: f64,
    },
    /// Thompson sampling from the posteriors of linear regressions.
    LinThompson {
        /// By how much the deviation of a posterior is stretched.
        width: f64,
    },
    /// Thompson sampling from the posteriors of logistic regressions: rewards from 0 to 1.
    LogisticThompson {
        /// By how much the deviation of a posterior is stretched.
        width: f64,
    },
    /// Chances fall with the gap to the best expected reward, ever more sharply: every action keeps a chance.
    SquareCb {
        /// The weight of a gap is this times the root of the number of learnt rewards.
        sharpness: f64,
    },
}

impl Algorithm {
    /// The name in files and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EpsilonGreedy => "epsilon-greedy",
            Self::BetaThompson => "beta-thompson",
            Self::LinUcb { .. } => "lin-ucb",
            Self::LinThompson { .. } => "lin-thompson",
            Self::LogisticThompson { .. } => "logistic-thompson",
            Self::SquareCb { .. } => "square-cb",
        }
    }

    /// Whether rewards must lie from 0 to 1.
    #[must_use]
    pub fn wants_shares(self) -> bool {
        matches!(self, Self::BetaThompson | Self::LogisticThompson { .. })
    }
}

/// What a bandit is made from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// How actions are chosen.
    pub algorithm: Algorithm,
    /// The share of decisions that are drawn evenly from the candidates.
    #[serde(default)]
    pub explore: f64,
    /// Rewards, of any action, after which a reward counts half; `None` never forgets. An action that is not chosen
    /// keeps its expectation and becomes doubtful again.
    #[serde(default)]
    pub half_life_rewards: Option<f64>,
    /// The pull of weights towards 0, in rewards.
    #[serde(default = "one_reward")]
    pub ridge: f64,
}

fn one_reward() -> f64 {
    1.0
}

impl Options {
    /// The algorithm alone: no extra exploration, no forgetting, a ridge of one reward.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, explore: 0.0, half_life_rewards: None, ridge: 1.0 }
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.explore) {
            return Err(Error::invalid(format!("explore is {}", self.explore))
                .hint("Give a share from 0 to 1, for example 0.02."));
        }
        if self.algorithm == Algorithm::EpsilonGreedy && self.explore == 0.0 {
            return Err(Error::invalid(
                "epsilon-greedy has explore 0 and would never try anything",
            )
            .hint("Give explore a share above 0, for example 0.02."));
        }
        let (what, value) = match self.algorithm {
            Algorithm::LinUcb { width }
            | Algorithm::LinThompson { width }
            | Algorithm::LogisticThompson { width } => ("width", width),
            Algorithm::SquareCb { sharpness } => ("sharpness", sharpness),
            Algorithm::EpsilonGreedy | Algorithm::BetaThompson => ("ridge", self.ridge),
        };
        for (what, value) in [(what, value), ("ridge", self.ridge)] {
            if !(value.is_finite() && value > 0.0 && value <= VALUE_MAX) {
                return Err(Error::invalid(format!("{what} is {value}"))
                    .hint(format!("Give a number above 0 and up to {VALUE_MAX:e}.")));
            }
        }
        self.keep().map(drop)
    }

    /// The share of a reward's weight that is left after one more reward.
    pub(super) fn keep(&self) -> Result<f64> {
        match self.half_life_rewards {
            None => Ok(1.0),
            Some(rewards) if rewards.is_finite() && rewards >= 1.0 => Ok((-1.0 / rewards).exp2()),
            Some(rewards) => Err(Error::invalid(format!("half_life_rewards is {rewards}"))
                .hint("Give at least 1 reward, or leave it out to never forget.")),
        }
    }
}
