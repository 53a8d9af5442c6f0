//! Bandits: choose among actions, see the reward of the chosen one only, and choose better next time.
//!
//! One seam for every algorithm. [`Bandit::chances`] gives the probability of each candidate *before* anything is
//! drawn, [`Bandit::choose`] draws from exactly these probabilities with a number that the caller brings, and
//! [`Bandit::learn`] takes a reward whenever it arrives. So a propensity is never estimated: Thompson sampling
//! integrates its posteriors instead of sampling them. Nothing here holds a generator of random numbers; the same
//! state, context and draw give the same choice, and a state that was written and read goes on bit for bit.
//!
//! ```text
//! context, candidates ──► chances ──► choose(draw) ──► Choice { action, propensity } ──► the decision log
//!                            ▲                                                              │ days may pass
//!                            └────────────── learn(context, action, reward) ◄───────────────┘
//! ```
//! Every action has a model of its own over the context and an intercept, which is added here. Bring features of
//! about unit size. A bandit without features learns one number an action.

mod belief;
mod chances;
mod counts;
mod options;
mod state;
mod triangle;

pub use self::options::{Algorithm, Options};

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use self::belief::Belief;
use self::counts::Counts;
use crate::stats::finite;
use crate::wide::{Work, widest_of};

/// The most actions of one bandit.
pub const ACTIONS_MAX: usize = 1000;

/// The most features: each action keeps two triangles of the square of their number.
pub const FEATURES_MAX: usize = 512;

/// The most numbers that the models of all actions may keep together (1 GiB).
const NUMBERS_MAX: usize = 1 << 27;

/// The largest size of a feature or reward; sums of squares stay exact enough to invert.
pub const VALUE_MAX: f64 = 1e6;

/// A drawn action.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The action, counted from 0 over all actions of the bandit.
    pub action: usize,
    /// Its probability before the draw.
    pub propensity: f64,
    /// Its expected reward.
    pub expected: f64,
}

/// What a bandit knows of its actions.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    Counted(Vec<Counts>),
    Believed(Vec<Belief>),
}

/// A bandit: options and what was learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Bandit {
    options: Options,
    features: usize,
    /// Rewards learnt, of all actions.
    rewards: u64,
    known: Known,
}

impl Bandit {
    /// Starts without rewards; contexts have `features` numbers (0: there is no context).
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for no action, too many actions or features, a context for
    /// `beta-thompson`, or an option out of range.
    pub fn new(actions: usize, features: usize, options: Options) -> Result<Self> {
        options.check()?;
        check_size(actions, features)?;
        let known = if options.algorithm == Algorithm::BetaThompson {
            if features > 0 {
                return Err(Error::invalid(format!("beta-thompson is given {features} features"))
                    .hint(
                        "It knows no context: give 0, or take lin-thompson or logistic-thompson.",
                    ));
            }
            Known::Counted(vec![Counts::default(); actions])
        } else {
            Known::Believed(vec![Belief::new(features + 1, options.ridge); actions])
        };
        Ok(Self { options, features, rewards: 0, known })
    }

    /// The probability with which each candidate would be chosen, in the order of `candidates`; they sum to 1.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for a context of another width or with a number that is not finite or
    /// too large (its position is named), no candidate, an unknown one, or the same one twice.
    /// # Cost
    /// O(candidates · features²); Thompson sampling adds about 25 · candidates² values of a distribution.
    /// # Source
    /// Li et al. 2010 (LinUCB), Agrawal & Goyal 2013 (linear Thompson), Russo et al. 2018 (Beta and logistic
    /// Thompson), Foster & Rakhlin 2020 (SquareCB); against numpy and scipy in `tests/parity/bandit.json`.
    pub fn chances(&self, context: &[f64], candidates: &[usize]) -> Result<Vec<f64>> {
        self.check(context, candidates)?;
        Ok(self.spread(&with_intercept(context), candidates))
    }

    fn spread(&self, row: &[f64], candidates: &[usize]) -> Vec<f64> {
        let mut made = match &self.known {
            Known::Counted(known) => {
                let posteriors: Vec<(f64, f64)> = candidates
                    .iter()
                    .map(|at| known[*at].posterior(self.left(known[*at].at)))
                    .collect();
                chances::largest_beta(&posteriors)
            }
            Known::Believed(known) => self.believed(row, known, candidates),
        };
        chances::mix(&mut made, self.options.explore);
        made
    }

    fn believed(&self, row: &[f64], known: &[Belief], candidates: &[usize]) -> Vec<f64> {
        let values = |width: f64| {
            let values = widest_of(Values { bandit: self, row, known, candidates, width });
            values.into_iter()
        };
        let means = || values(0.0).map(|(mean, _)| mean).collect::<Vec<_>>();
        match self.options.algorithm {
            Algorithm::LinUcb { width } => {
                let hopes: Vec<f64> = values(width).map(|(mean, spread)| mean + spread).collect();
                chances::best(&hopes)
            }
            Algorithm::LinThompson { width } | Algorithm::LogisticThompson { width } => {
                let posteriors: Vec<(f64, f64)> = values(width).collect();
                chances::largest_normal(&posteriors)
            }
            Algorithm::SquareCb { sharpness } => {
                chances::inverse_gap(&means(), sharpness * (self.rewards as f64).sqrt())
            }
            Algorithm::EpsilonGreedy | Algorithm::BetaThompson => chances::best(&means()),
        }
    }

    /// Chooses one of the candidates: `draw` in `[0, 1)` decides, along their chances in the given order.
    ///
    /// # Errors
    /// As [`Self::chances`]; also if `draw` lies outside of `[0, 1)`.
    pub fn choose(&self, context: &[f64], candidates: &[usize], draw: f64) -> Result<Choice> {
        self.check(context, candidates)?;
        if !(0.0..1.0).contains(&draw) {
            return Err(Error::invalid(format!("the draw is {draw}"))
                .hint("Bring a random number from 0 to below 1."));
        }
        let row = with_intercept(context);
        let spread = self.spread(&row, candidates);
        let (position, propensity) = chances::drawn(&spread, draw)
            .ok_or_else(|| Error::internal("a bandit has no chance above 0"))?;
        let action = candidates.get(position).copied().unwrap_or_default();
        Ok(Choice { action, propensity, expected: self.expectation(&row, action) })
    }

    /// The expected reward of every candidate, in the order of `candidates`; what a doubly robust estimate asks for.
    ///
    /// # Errors
    /// As [`Self::chances`].
    pub fn expected(&self, context: &[f64], candidates: &[usize]) -> Result<Vec<f64>> {
        self.check(context, candidates)?;
        let row = with_intercept(context);
        Ok(candidates.iter().map(|action| self.expectation(&row, *action)).collect())
    }

    fn expectation(&self, row: &[f64], action: usize) -> f64 {
        match &self.known {
            Known::Counted(known) => {
                let (yes, no) = known[action].posterior(self.left(known[action].at));
                yes / (yes + no)
            }
            Known::Believed(known) => {
                let mean = known[action].mean(row);
                if self.logistic() { belief::logistic(mean) } else { mean }
            }
        }
    }

    /// Takes the reward of an action that was chosen in this context, now or long ago.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for an unknown action, a context as in [`Self::chances`], or a reward
    /// that is not finite, too large, or outside of 0 to 1 where the algorithm wants shares; nothing is learnt then.
    /// # Cost
    /// O(features²), and O(features³ / 3) once in about a thousand rewards of an action.
    pub fn learn(&mut self, context: &[f64], action: usize, reward: f64) -> Result<()> {
        self.check(context, &[action])?;
        let shares = self.options.algorithm.wants_shares();
        let fits = if shares { (0.0..=1.0).contains(&reward) } else { reward.abs() <= VALUE_MAX };
        if !fits {
            let (low, high) = if shares { (0.0, 1.0) } else { (-VALUE_MAX, VALUE_MAX) };
            return Err(Error::invalid(format!("the reward of action {action} is {reward}")).hint(
                format!("{} takes rewards from {low} to {high}.", self.options.algorithm.name()),
            ));
        }
        let row = with_intercept(context);
        self.rewards += 1;
        let (logistic, now, ridge) = (self.logistic(), self.rewards, self.options.ridge);
        let keep = self.options.keep()?;
        match &mut self.known {
            Known::Counted(known) => known[action].learn(reward, now, keep),
            Known::Believed(known) => {
                let one = &mut known[action];
                one.age(now, keep, ridge);
                if logistic {
                    one.learn_share(&row, reward);
                } else {
                    one.learn(&row, reward);
                }
                one.refresh(ridge);
            }
        }
        Ok(())
    }

    /// Adds an action that nothing is known of, and gives its number.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there are too many.
    pub fn add_action(&mut self) -> Result<usize> {
        let number = self.actions();
        check_size(number + 1, self.features)?;
        match &mut self.known {
            Known::Counted(known) => known.push(Counts::default()),
            Known::Believed(known) => {
                known.push(Belief::new(self.features + 1, self.options.ridge));
            }
        }
        Ok(number)
    }

    /// Adds what another bandit learnt from other rewards, as if one had learnt both.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the two are not alike, or if the sum would not be exact: with
    /// forgetting, and for `logistic-thompson`, where the order of rewards matters.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let alike = (self.options, self.features, self.actions())
            == (other.options, other.features, other.actions());
        if !alike {
            return Err(Error::invalid("two bandits of different options or sizes are merged")
                .hint("Merge bandits made with the same actions, features and options."));
        }
        if self.options.half_life_rewards.is_some() || self.logistic() {
            let name = self.options.algorithm.name();
            return Err(Error::invalid(format!("a {name} that depends on the order of rewards is merged"))
                .hint("Learn its rewards in one place, or take a linear algorithm without half_life_rewards."));
        }
        self.rewards += other.rewards;
        let now = self.rewards;
        match (&mut self.known, &other.known) {
            (Known::Counted(ours), Known::Counted(theirs)) => {
                ours.iter_mut().zip(theirs).for_each(|(our, their)| our.merge(their, now));
            }
            (Known::Believed(ours), Known::Believed(theirs)) => {
                let ridge = self.options.ridge;
                ours.iter_mut().zip(theirs).for_each(|(our, their)| our.merge(their, ridge, now));
            }
            _ => return Err(Error::internal("two bandits of one algorithm differ in kind")),
        }
        Ok(())
    }

    /// How many actions there are.
    #[must_use]
    pub fn actions(&self) -> usize {
        match &self.known {
            Known::Counted(known) => known.len(),
            Known::Believed(known) => known.len(),
        }
    }

    /// How many features a context has.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many rewards were learnt.
    #[must_use]
    pub fn rewards(&self) -> u64 {
        self.rewards
    }

    /// The options it was made from.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn logistic(&self) -> bool {
        matches!(self.options.algorithm, Algorithm::LogisticThompson { .. })
    }

    /// The share that is left of what was learnt up to reward number `at`.
    fn left(&self, at: u64) -> f64 {
        match self.options.half_life_rewards {
            None => 1.0,
            Some(half) => (-(self.rewards.saturating_sub(at) as f64) / half).exp2(),
        }
    }

    fn check(&self, context: &[f64], candidates: &[usize]) -> Result<()> {
        if context.len() != self.features {
            return Err(Error::invalid(format!(
                "a context has {} features where the bandit has {}",
                context.len(),
                self.features
            ))
            .hint("Send the features the bandit was made for, in the same order."));
        }
        finite::all_finite("context feature", context)?;
        if let Some(position) = context.iter().position(|value| value.abs() > VALUE_MAX) {
            return Err(Error::invalid(format!(
                "the context feature at position {position} is too large"
            ))
            .hint(format!("Scale features to about 1; the largest size is {VALUE_MAX:e}.")));
        }
        if candidates.is_empty() {
            return Err(Error::invalid("a choice among no action is asked for")
                .hint("Give at least one candidate."));
        }
        let actions = self.actions();
        for (position, action) in candidates.iter().enumerate() {
            if *action >= actions {
                return Err(Error::invalid(format!("action {action} is unknown"))
                    .hint(format!("Actions are numbered from 0; the bandit has {actions}.")));
            }
            if candidates.iter().take(position).any(|other| other == action) {
                return Err(Error::invalid(format!("action {action} is a candidate twice"))
                    .hint("Give each candidate once."));
            }
        }
        Ok(())
    }
}

/// The expected value of each candidate and `width` times its deviation, for the widest instructions.
struct Values<'a> {
    bandit: &'a Bandit,
    row: &'a [f64],
    known: &'a [Belief],
    candidates: &'a [usize],
    width: f64,
}

impl Work for Values<'_> {
    type Made = Vec<(f64, f64)>;

    #[inline(always)]
    fn work(self) -> Self::Made {
        let Self { bandit, row, known, candidates, width } = self;
        let mut values = Vec::with_capacity(candidates.len());
        for action in candidates {
            let one = &known[*action];
            let mut spread = 0.0;
            if width > 0.0 {
                spread = width * one.variance(row, bandit.left(one.at())).sqrt();
            }
            values.push((one.mean(row), spread));
        }
        values
    }
}

fn check_size(actions: usize, features: usize) -> Result<()> {
    if !(1..=ACTIONS_MAX).contains(&actions) {
        return Err(Error::invalid(format!("a bandit of {actions} actions is asked for"))
            .hint(format!("Give 1 to {ACTIONS_MAX} actions.")));
    }
    let numbers = actions * (features.min(FEATURES_MAX) + 1) * (features.min(FEATURES_MAX) + 2);
    if features > FEATURES_MAX || numbers > NUMBERS_MAX {
        return Err(Error::invalid(format!(
            "a bandit of {actions} actions and {features} features is asked for"
        ))
        .hint(format!("Give at most {FEATURES_MAX} features, fewer if there are many actions.")));
    }
    Ok(())
}

fn with_intercept(context: &[f64]) -> Vec<f64> {
    let mut row = Vec::with_capacity(context.len() + 1);
    row.extend_from_slice(context);
    row.push(1.0);
    row
}

#[cfg(test)]
mod tests;
