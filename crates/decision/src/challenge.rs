//! Challengers: what somebody else would have earned with the decisions that a policy has logged.
//!
//! A learner is judged as it would have known the world at each moment: it learns the log from its beginning, each
//! decision when its window had closed, and is asked about the later ones. So it is never judged by what it has
//! learned. One held at an artifact is judged by the decisions after those in it.

mod rows;
mod who;

use std::collections::{BTreeMap, VecDeque};

use flywheel_algo::offpolicy::verdict::{Rules, Verdict, verdict};
use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_project::resource::learner::Bandit;
use flywheel_project::resource::policy::{Choose, Policy};
use rayon::prelude::*;
use serde::Serialize;

use self::rows::{FOLDS, Sample, rows};
use self::who::Challenger;
use crate::champion::bandit;
use crate::context::Context;
use crate::learner::bandit::{Stored, context, reward};
use crate::log::{self, Logged};

/// The most decisions that count; older ones are left out.
const DECISIONS_MAX: usize = 1_000_000;

/// A question about a challenger.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// The policy whose decisions are the evidence.
    pub policy: String,
    /// `even`, a learner, a learner `@` the beginning of an artifact's digest, or a policy with fixed weights;
    /// `learner:` or `policy:` before it where a name is both.
    pub against: String,
    /// Only decisions from this moment on count.
    pub since: Option<Timestamp>,
    /// The gain a decision that the lower end of its interval must exceed.
    pub gain_min: f64,
}

/// The answer, with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The policy.
    pub policy: String,
    /// The challenger as it was named.
    pub against: String,
    /// The learner that it is.
    pub learner: Option<String>,
    /// The artifact that it is held at.
    pub artifact: Option<String>,
    /// What a decision's reward is.
    pub reward: String,
    /// The moment of the oldest decision that counts.
    pub first: Option<String>,
    /// The moment of the newest one.
    pub last: Option<String>,
    /// Decisions that do not count because their probabilities were not logged.
    pub without_chances: u64,
    /// Decisions that do not count because their features do not have the challenger's context.
    pub without_context: u64,
    /// Whether it may be promoted, why not, and all estimates.
    pub verdict: Verdict,
}

/// A context, and the probability of each action in it.
type Asked = (Vec<f64>, Vec<(String, f64)>);

/// The names of actions, numbered as they are met.
#[derive(Default)]
struct Names(BTreeMap<String, usize>);

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.0.get(name) {
            return *number;
        }
        let number = self.0.len();
        self.0.insert(name.to_owned(), number);
        number
    }
}

/// A decision that the learner will learn once its window has closed.
struct Pending {
    at: i64,
    context: Vec<f64>,
    action: usize,
    reward: f64,
}

/// Judges a challenger by the logged decisions of a policy.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] or [`flywheel_base::ErrorKind::Invalid`] for a policy or challenger that
/// is none, or without a decision that counts; else those of the lake.
/// # Cost
/// Every closed decision of the policy is read once; a learner costs as much as fitting it anew.
pub async fn judge(ctx: &Context<'_>, challenge: &Challenge) -> Result<Judgement> {
    let name = &challenge.policy;
    let (policy, outcome) = log::policy(ctx, name)?;
    if !policy.choose.names_actions() {
        return Err(Error::invalid(format!(
            "policy \"{name}\" logs items, not actions, so no challenger can be judged"
        ))
        .hint("Judge a policy with candidates, a bandit or an experiment."));
    }
    let challenger = Challenger::find(ctx, name, &challenge.against)?;
    let own = match &policy.choose {
        Choose::Bandit(settings) => Some(bandit(ctx, &settings.learner)?),
        _ => None,
    };
    let rewards = own.or_else(|| challenger.settings());
    let settle = rewards.and_then(|rewards| rewards.settle).map_or(0, |settle| settle.micros);
    let mut walk = Walk::start(ctx, policy, &challenger, rewards, challenge)?;
    if let Some(until) = log::closed_until(ctx, (name.as_str(), outcome), settle).await? {
        let after = walk.after;
        for span in log::spans(ctx, name, after, until).await? {
            let decisions = log::decisions(ctx, name, span).await?;
            for moment in decisions.chunk_by(|a, b| a.at == b.at) {
                walk.moment(moment, outcome.window.micros)?;
            }
        }
    }
    walk.judged(challenge, &challenger)
}

/// The walk through the log.
struct Walk<'a> {
    policy: &'a Policy,
    rewards: Option<&'a Bandit>,
    /// Where a learner stands, if there is one.
    stored: Option<Stored>,
    /// How it learns, if it goes on doing so.
    learning: Option<&'a Bandit>,
    weights: Option<&'a BTreeMap<&'a str, f64>>,
    /// Decisions up to here are not asked about.
    after: Option<i64>,
    since: i64,
    pending: VecDeque<Pending>,
    names: Names,
    samples: VecDeque<Sample>,
    /// The smallest probability above 0 of a candidate that was logged.
    least: f64,
    without_chances: u64,
    without_context: u64,
    fault: Option<Error>,
}

impl<'a> Walk<'a> {
    fn start(
        ctx: &Context<'_>,
        policy: &'a Policy,
        challenger: &'a Challenger<'a>,
        rewards: Option<&'a Bandit>,
        challenge: &Challenge,
    ) -> Result<Self> {
        let mut walk = Self {
            policy,
            rewards,
            stored: None,
            learning: None,
            weights: None,
            after: None,
            since: challenge.since.map_or(i64::MIN, Timestamp::micros),
            pending: VecDeque::new(),
            names: Names::default(),
            samples: VecDeque::new(),
            least: 1.0,
            without_chances: 0,
            without_context: 0,
            fault: None,
        };
        match challenger {
            Challenger::Even => {}
            Challenger::Weights(weights) => walk.weights = Some(weights),
            Challenger::Learning(_, settings) => {
                walk.stored = Some(Stored::fresh(settings)?);
                walk.learning = Some(settings);
            }
            Challenger::Held(_, settings, artifact) => {
                let stored = Stored::load(ctx, artifact)?;
                walk.after = stored.through().filter(|_| settings.policy == challenge.policy);
                walk.stored = Some(stored);
            }
        }
        Ok(walk)
    }

    /// Takes the decisions of one moment.
    fn moment(&mut self, decisions: &[Logged], window_us: i64) -> Result<()> {
        let Some(at) = decisions.first().map(|first| first.at) else { return Ok(()) };
        if let (Some(stored), Some(settings)) = (&mut self.stored, self.learning) {
            let settle = settings.settle.map_or(0, |settle| settle.micros);
            let wait = window_us.saturating_add(settle).max(1);
            while let Some(next) =
                self.pending.pop_front_if(|next| next.at.saturating_add(wait) <= at)
            {
                stored.learn(&next.context, next.action, next.reward)?;
            }
        }
        let this = &*self;
        let asked = decisions.par_iter().map(|logged| this.ask(logged)).collect::<Vec<_>>();
        for (logged, asked) in decisions.iter().zip(asked) {
            let (context, chances) = match asked {
                Ok(asked) => asked,
                Err(error) => {
                    self.without_context += 1;
                    self.fault.get_or_insert(error);
                    continue;
                }
            };
            if let (Some(stored), Some(settings)) = (&self.stored, self.learning)
                && let Some(action) = stored.action(&logged.action)
            {
                let reward = reward(settings, logged.outcomes, logged.value);
                let context = context.clone();
                self.pending.push_back(Pending { at, context, action, reward });
            }
            if at >= self.since {
                self.count(logged, context, &chances);
            }
        }
        Ok(())
    }

    /// What the challenger reads of a decision, and the probability of each action with which it would have chosen.
    fn ask(&self, logged: &Logged) -> Result<Asked> {
        let logged_names =
            || logged.chances.iter().flat_map(|chances| chances.keys().map(String::as_str));
        let Some(stored) = &self.stored else {
            let features = self.rewards.map(|rewards| rewards.context.as_slice());
            let read = context(features.unwrap_or_default(), &logged.features)?;
            let weights: Vec<(String, f64)> = match self.weights {
                Some(weights) => {
                    weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
                }
                None => logged_names().map(|name| (name.to_owned(), 1.0)).collect(),
            };
            let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
            let chances = weights.into_iter().map(|(name, weight)| (name, weight / total));
            return Ok((read, chances.collect()));
        };
        let read = stored.context(&logged.features)?;
        let names: Vec<&str> = match &self.policy.choose {
            Choose::Bandit(settings) => match &settings.candidates {
                Some(list) => list.iter().map(|candidate| candidate.name.as_str()).collect(),
                None => stored.actions().collect(),
            },
            _ => logged_names().filter(|name| stored.action(name).is_some()).collect(),
        };
        if names.is_empty() {
            return Ok((read, Vec::new()));
        }
        let numbers = stored.candidates(names.iter().copied())?;
        let chances = stored.bandit().chances(&read, &numbers)?;
        let named = names.into_iter().zip(chances).map(|(name, chance)| (name.to_owned(), chance));
        Ok((read, named.collect()))
    }

    fn count(&mut self, logged: &Logged, context: Vec<f64>, chances: &[(String, f64)]) {
        let Some(propensity) = logged.chance(&logged.action).filter(|chance| *chance > 0.0) else {
            self.without_chances += 1;
            return;
        };
        let all = logged.chances.iter().flat_map(|chances| chances.values());
        let above = all.filter_map(serde_json::Value::as_f64).filter(|chance| *chance > 0.0);
        self.least = above.fold(self.least, f64::min);
        let chances =
            chances.iter().map(|(name, chance)| (self.names.number(name), *chance)).collect();
        let logged_chances = logged.chances.iter().flatten();
        let logged_chances = logged_chances
            .filter_map(|(name, chance)| Some((self.names.number(name), chance.as_f64()?)))
            .collect();
        let sample = Sample {
            at: logged.at,
            fold: digest::hash64(&[b"fold", logged.unit.as_bytes()]) % FOLDS,
            context,
            action: self.names.number(&logged.action),
            reward: match self.rewards {
                Some(settings) => reward(settings, logged.outcomes, logged.value),
                None => f64::from(u8::from(logged.outcomes > 0)),
            },
            propensity,
            chances,
            logged: logged_chances,
        };
        if self.samples.len() == DECISIONS_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    fn judged(self, challenge: &Challenge, challenger: &Challenger<'_>) -> Result<Judgement> {
        let Challenge { policy, against, .. } = challenge;
        if self.samples.is_empty() {
            return Err(self.nothing(challenge));
        }
        let samples: Vec<&Sample> = self.samples.iter().collect();
        let rows = rows(&samples, self.names.0.len())?;
        let rules = self.rules(challenge.gain_min);
        let verdict = verdict(&rows, &rules)
            .map_err(|error| error.context(format!("\"{against}\" for policy \"{policy}\"")))?;
        let moment =
            |sample: Option<&Sample>| sample.map(|one| Timestamp::from_micros(one.at).to_string());
        let (learner, artifact) = match challenger {
            Challenger::Learning(name, _) => (Some((*name).to_owned()), None),
            Challenger::Held(name, _, artifact) => {
                (Some((*name).to_owned()), Some(artifact.clone()))
            }
            Challenger::Even | Challenger::Weights(_) => (None, None),
        };
        Ok(Judgement {
            policy: policy.clone(),
            against: against.clone(),
            learner,
            artifact,
            reward: self.rewards.map_or_else(|| "outcome".to_owned(), reward_words),
            first: moment(self.samples.front()),
            last: moment(self.samples.back()),
            without_chances: self.without_chances,
            without_context: self.without_context,
            verdict,
        })
    }

    /// What a promotion asks for. No weight can be larger than one over the smallest probability that was logged,
    /// which makes the bound as near as it can be.
    fn rules(&self, gain_min: f64) -> Rules {
        let mut rules = Rules { gain_min, ..Rules::default() };
        let usual = rules.estimates.weight_max.unwrap_or(f64::INFINITY);
        rules.estimates.weight_max = Some((1.0 / self.least).clamp(1.0, usual));
        rules
    }

    /// Why no decision counts.
    fn nothing(self, challenge: &Challenge) -> Error {
        let Challenge { policy, against, .. } = challenge;
        if let Some(fault) = self.fault {
            return fault.context(format!("\"{against}\" for policy \"{policy}\""));
        }
        let error = Error::invalid(format!(
            "no decision of policy \"{policy}\" says anything about \"{against}\""
        ));
        if self.without_chances > 0 {
            return error.hint(format!(
                "{} decisions were made before probabilities were logged; wait for newer ones.",
                self.without_chances
            ));
        }
        if self.after.is_some() {
            return error.hint("An artifact is judged by decisions after those it has learned, once their window has closed.");
        }
        error.hint("Wait until the window of the first decisions has closed and a turn has joined their outcomes.")
    }
}

fn reward_words(settings: &Bandit) -> String {
    match settings.value_max {
        Some(most) => format!("value, {most} counts as 1"),
        None => "outcome".to_owned(),
    }
}
