//! What another policy would have earned, from the decisions of the one that ran.
//!
//! Each logged decision carries the probability it was drawn with. Weighted by how much more likely the challenger
//! policy is to choose the same, its reward stands for those the challenger would have seen. Nothing is guessed: a
//! decision without propensity is refused by row, and [`verdict`] says why the evidence is not enough.

mod estimate;
pub mod verdict;

pub use self::estimate::{Estimate, Estimates, estimate};

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::finite;

/// How far chances may add up to something other than 1.
pub const SUM_TOLERANCE: f64 = 1e-9;

/// One logged decision, seen from the challenger.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What the chosen action earned.
    pub reward: f64,
    /// The probability with which it was chosen, as logged.
    pub propensity: f64,
    /// The probability with which the challenger would have chosen it.
    pub challenger: f64,
    /// What a model of rewards says; with it in every row there is a doubly robust estimate.
    #[serde(default)]
    pub model: Option<Modelled>,
}

/// What a model of rewards says of one decision. Fit it on other rows than these.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modelled {
    /// The expected reward of the action that was chosen.
    pub chosen: f64,
    /// The expected reward of the challenger: over all actions, its chance times their expected reward.
    pub challenger: f64,
    /// The same of the policy that decided. With it a challenger is compared with that policy by the same model, so that
    /// one which chooses alike gains nothing, and not what chance gave; `None` if the log lacks the chances.
    #[serde(default)]
    pub logged: Option<f64>,
}

impl Modelled {
    /// Averages expected rewards over the challenger's chances.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the lengths differ, `chosen` is no position, a number is not
    /// finite, or the chances are negative or do not sum to 1.
    pub fn new(chosen: usize, expected: &[f64], chances: &[f64]) -> Result<Self> {
        finite::all_finite("expected reward", expected)?;
        finite::all_finite("chance", chances)?;
        let sum: f64 = chances.iter().sum();
        let proper =
            chances.iter().all(|chance| *chance >= 0.0) && (sum - 1.0).abs() <= SUM_TOLERANCE;
        if !proper {
            return Err(Error::invalid(format!("the chances of a challenger sum to {sum}")).hint(
                "Give the probability of every action; none is negative and they sum to 1.",
            ));
        }
        let of_chosen = expected.get(chosen).filter(|_| expected.len() == chances.len());
        let of_chosen = *of_chosen.ok_or_else(|| {
            Error::invalid(format!(
                "action {chosen} is chosen among {} expected rewards and {} chances",
                expected.len(),
                chances.len()
            ))
            .hint("Give one expected reward and one chance for each action.")
        })?;
        let challenger = expected.iter().zip(chances).map(|(reward, chance)| reward * chance).sum();
        Ok(Self { chosen: of_chosen, challenger, logged: None })
    }

    /// With the chances of the policy that decided, one for each of the actions in `expected`; without them if they do
    /// not sum to 1.
    #[must_use]
    pub fn beside(self, expected: &[f64], chances: &[f64]) -> Self {
        let proper = (chances.iter().sum::<f64>() - 1.0).abs() <= SUM_TOLERANCE;
        let mean = || expected.iter().zip(chances).map(|(reward, chance)| reward * chance).sum();
        Self { logged: (proper && expected.len() == chances.len()).then(mean), ..self }
    }
}

/// How estimates are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The largest weight a decision may have; larger ones are cut, which errs towards 0 rather than widely.
    /// `None` cuts nothing.
    pub weight_max: Option<f64>,
    /// The confidence of every interval.
    pub confidence: f64,
    /// The smallest and the largest reward possible, for the bound that assumes nothing else.
    pub rewards: (f64, f64),
}

impl Default for Options {
    fn default() -> Self {
        Self { weight_max: None, confidence: 0.95, rewards: (0.0, 1.0) }
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        finite::open_unit("confidence", self.confidence)?;
        let (low, high) = self.rewards;
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(Error::invalid(format!("rewards are said to lie from {low} to {high}"))
                .hint("Give the smallest and the largest reward possible, for example 0 and 1."));
        }
        match self.weight_max {
            Some(most) if !(most.is_finite() && most >= 1.0) => {
                Err(Error::invalid(format!("weight_max is {most}"))
                    .hint("Give at least 1, for example 50, or leave it out to cut nothing."))
            }
            _ => Ok(()),
        }
    }
}

impl Row {
    fn check(&self, position: usize, options: &Options) -> Result<()> {
        if !(self.propensity > 0.0 && self.propensity <= 1.0) {
            return Err(Error::invalid(format!("the propensity is {} at position {position}", self.propensity))
                .hint("A decision that was made had a probability above 0; leave out decisions without propensity."));
        }
        if !(0.0..=1.0).contains(&self.challenger) {
            return Err(Error::invalid(format!(
                "the challenger's probability is {} at position {position}",
                self.challenger
            ))
            .hint("Give the probability, from 0 to 1, with which the challenger chooses the logged action."));
        }
        let (low, high) = options.rewards;
        if !(low..=high).contains(&self.reward) {
            return Err(Error::invalid(format!(
                "the reward is {} at position {position}",
                self.reward
            ))
            .hint(format!(
                "Rewards are said to lie from {low} to {high}; widen `rewards` or mend the row."
            )));
        }
        match self.model {
            Some(model) => finite::all_finite("modelled reward", &[model.chosen, model.challenger])
                .map_err(|error| error.context(format!("decision {position}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
