//! `bandit`: which action is best for whom, learned from the rewards of a policy's own decisions.
//!
//! A decision is learned once, after its window has closed (and has settled), in the order of moment and id. The
//! artifact holds what was learned and the moment it was learned through, so a fit that is cut off anywhere is
//! done again from the artifact before it: nothing is learned twice or left out. An event that arrives after its
//! decision was learned counts in `system.outcomes` and the lift and is not learned, unless the learner's file
//! changes: then everything is learned anew from the log.

use flywheel_algo::bandit::{Algorithm, Bandit as Learnt, Options};
use flywheel_base::{Error, Result, Timestamp, digest, suggest};
use flywheel_project::resource::learner::{Bandit, BanditAlgorithm, Feature, Reward};
use flywheel_warehouse::WriteMode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ARTIFACT, Fitted, LearnerEntry, Measure, last_fit, write_scores};
use crate::context::Context;
use crate::log::{self, Logged};
use crate::table::ColumnType::{Integer, Moment, Number, Text};

/// Its entry.
pub(super) const ENTRY: LearnerEntry = LearnerEntry {
    name: "bandit",
    about: "Which action is best for whom, learned from the rewards of a policy's decisions; one row per action.",
    columns: &[
        ("action", Text, "the action"),
        ("decisions", Integer, "decisions for it that were learned"),
        ("reward", Number, "their mean reward; none before the first"),
        ("expected", Number, "the reward expected of it for a unit of mean context"),
        ("chance", Number, "the probability that such a unit gets it, among all actions"),
        ("as_of", Moment, "the logical moment"),
        ARTIFACT,
    ],
};

/// The `width` of an algorithm that reads it, unless told.
const WIDTH_LINEAR: f64 = 0.3;
/// The same for `logistic-thompson`.
const WIDTH_LOGISTIC: f64 = 1.0;
/// The `sharpness` of `square-cb`, unless told.
const SHARPNESS: f64 = 10.0;

#[derive(Serialize)]
struct Row<'a> {
    action: &'a str,
    decisions: i64,
    reward: Option<f64>,
    expected: f64,
    chance: f64,
    as_of: Timestamp,
    artifact: &'a str,
}

/// What is stored beside the bandit itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    /// A digest of what the file says about learning; with another one everything is learned anew.
    declared: String,
    actions: Vec<String>,
    context: Vec<Feature>,
    /// The moment of the newest decision that was read, learned or not.
    through: Option<i64>,
    /// Learned decisions and the sum of their rewards, by action.
    learned: Vec<(u64, f64)>,
    /// The sum of all learned contexts.
    contexts: Vec<f64>,
}

/// A bandit with the names of its actions and how it reads a unit.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    head: Head,
    bandit: Learnt,
}

impl Stored {
    /// One that has learned nothing.
    pub(crate) fn fresh(settings: &Bandit) -> Result<Self> {
        let width = settings.context.iter().map(Feature::width).sum();
        let head = Head {
            declared: declared(settings)?,
            actions: settings.actions.clone(),
            context: settings.context.clone(),
            through: None,
            learned: vec![(0, 0.0); settings.actions.len()],
            contexts: vec![0.0; width],
        };
        let bandit = Learnt::new(settings.actions.len(), width, options(settings))?;
        Ok(Self { head, bandit })
    }

    /// Reads an artifact.
    pub(crate) fn load(ctx: &Context<'_>, artifact: &str) -> Result<Self> {
        let damaged = || {
            Error::corrupt(format!("artifact {artifact} is no bandit")).hint(
                "Remove the file from .flywheel/artifacts; the next fit learns anew from the log.",
            )
        };
        let bytes = ctx.artifacts.get(artifact)?;
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let (head, state) = bytes.split_at(end);
        let head: Head =
            serde_json::from_slice(head).map_err(|error| damaged().caused_by(error))?;
        let state = state.get(1..).unwrap_or_default();
        let bandit = Learnt::from_bytes(state)
            .map_err(|error| error.context(format!("artifact {artifact}")))?;
        let width: usize = head.context.iter().map(Feature::width).sum();
        let fits = bandit.actions() == head.actions.len()
            && head.learned.len() == head.actions.len()
            && bandit.features() == width
            && head.contexts.len() == width;
        if fits { Ok(Self { head, bandit }) } else { Err(damaged()) }
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(&self.head)
            .map_err(|e| Error::internal("the head of a bandit is no JSON").caused_by(e))?;
        bytes.push(b'\n');
        bytes.extend(self.bandit.to_bytes()?);
        Ok(bytes)
    }

    /// The moment of the newest decision it has read, in microseconds since the epoch.
    pub(crate) fn through(&self) -> Option<i64> {
        self.head.through
    }

    /// The number of an action.
    pub(crate) fn action(&self, name: &str) -> Option<usize> {
        self.head.actions.iter().position(|action| action == name)
    }

    /// The names of its actions, in their order.
    pub(crate) fn actions(&self) -> impl Iterator<Item = &str> {
        self.head.actions.iter().map(String::as_str)
    }

    /// The numbers of actions that are to be candidates.
    pub(crate) fn candidates<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Vec<usize>> {
        let number = |name: &'n str| {
            self.action(name).ok_or_else(|| {
                Error::invalid(format!("the artifact knows no action \"{name}\"")).hint(
                    "Fit the learner anew with `flywheel learn`, or take back the promotion of this artifact.",
                )
            })
        };
        names.into_iter().map(number).collect()
    }

    /// What it reads of a unit.
    pub(crate) fn context(&self, features: &Map<String, Value>) -> Result<Vec<f64>> {
        context(&self.head.context, features)
    }

    /// The bandit.
    pub(crate) fn bandit(&self) -> &Learnt {
        &self.bandit
    }

    /// Learns what one decision earned.
    pub(crate) fn learn(&mut self, context: &[f64], action: usize, reward: f64) -> Result<()> {
        self.bandit.learn(context, action, reward)?;
        if let Some((count, sum)) = self.head.learned.get_mut(action) {
            *count += 1;
            *sum += reward;
        }
        for (sum, number) in self.head.contexts.iter_mut().zip(context) {
            *sum += number;
        }
        Ok(())
    }

    fn rows<'a>(&'a self, now: Timestamp, artifact: &'a str) -> Result<Vec<Row<'a>>> {
        let all: Vec<usize> = (0..self.head.actions.len()).collect();
        let count = self.head.learned.iter().map(|(count, _)| count).sum::<u64>().max(1) as f64;
        let mean: Vec<f64> = self.head.contexts.iter().map(|sum| sum / count).collect();
        let expected = self.bandit.expected(&mean, &all)?;
        let chances = self.bandit.chances(&mean, &all)?;
        let known = self.head.actions.iter().zip(&self.head.learned).zip(expected).zip(chances);
        Ok(known
            .map(|(((action, (count, sum)), expected), chance)| Row {
                action,
                decisions: i64::try_from(*count).unwrap_or(i64::MAX),
                reward: (*count > 0).then(|| sum / *count as f64),
                expected,
                chance,
                as_of: now,
                artifact,
            })
            .collect())
    }
}

/// What the algorithm is made from.
fn options(settings: &Bandit) -> Options {
    let width = |default| settings.width.unwrap_or(default);
    let algorithm = match settings.algorithm {
        BanditAlgorithm::LinThompson => Algorithm::LinThompson { width: width(WIDTH_LINEAR) },
        BanditAlgorithm::LogisticThompson => {
            Algorithm::LogisticThompson { width: width(WIDTH_LOGISTIC) }
        }
        BanditAlgorithm::BetaThompson => Algorithm::BetaThompson,
        BanditAlgorithm::LinUcb => Algorithm::LinUcb { width: width(WIDTH_LINEAR) },
        BanditAlgorithm::SquareCb => {
            Algorithm::SquareCb { sharpness: settings.sharpness.unwrap_or(SHARPNESS) }
        }
        BanditAlgorithm::EpsilonGreedy => Algorithm::EpsilonGreedy,
    };
    Options {
        algorithm,
        explore: settings.explore.value(),
        half_life_rewards: settings.half_life_rewards,
        ridge: settings.ridge,
    }
}

/// A digest of everything that changes what is learned.
pub(crate) fn declared(settings: &Bandit) -> Result<String> {
    let settings = Bandit { settle: None, ..settings.clone() };
    let text = serde_json::to_vec(&settings)
        .map_err(|e| Error::internal("a learner is no JSON").caused_by(e))?;
    Ok(digest::short(&[&text]))
}

/// What a decision earned, from 0 to 1.
pub(crate) fn reward(settings: &Bandit, outcomes: i64, value: f64) -> f64 {
    match settings.reward {
        Reward::Outcome => f64::from(u8::from(outcomes > 0)),
        Reward::Value => (value / settings.value_max.unwrap_or(1.0)).clamp(0.0, 1.0),
    }
}

/// A unit's columns as the numbers a bandit reads.
pub(crate) fn context(features: &[Feature], columns: &Map<String, Value>) -> Result<Vec<f64>> {
    let mut numbers = Vec::with_capacity(features.iter().map(Feature::width).sum());
    for feature in features {
        let column = &feature.column;
        let value = columns.get(column).ok_or_else(|| {
            Error::invalid(format!("the audience has no column \"{column}\" for the context"))
                .hint(suggest::hint(column, columns.keys().map(String::as_str)))
        })?;
        if !feature.values.is_empty() {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            numbers.extend(feature.values.iter().map(|known| f64::from(u8::from(*known == text))));
            continue;
        }
        let number = match value {
            Value::Null => feature.centre,
            Value::Bool(flag) => f64::from(u8::from(*flag)),
            Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
            _ => {
                return Err(Error::invalid(format!(
                    "column \"{column}\" of the context is no number"
                ))
                .hint("Cast it to double in the audience, or list the texts to tell apart under values:."));
            }
        };
        let scaled = (number - feature.centre) / feature.scale;
        if scaled.is_nan() || scaled.abs() > flywheel_algo::bandit::VALUE_MAX {
            return Err(Error::invalid(format!(
                "column \"{column}\" of the context is too large a number"
            ))
            .hint("Give its feature a scale:, so that usual values are about 1."));
        }
        numbers.push(scaled);
    }
    Ok(numbers)
}

/// What a fit met.
#[derive(Default)]
struct Progress {
    read: u64,
    learned: usize,
    /// Decisions for actions that the learner does not have.
    foreign: u64,
    /// Decisions whose features do not have the context, and the first such fault.
    unreadable: u64,
    fault: Option<Error>,
    earned: f64,
    /// Sums for what an even choice would have earned, by weights.
    weights: f64,
    weighted: f64,
    squared: f64,
    squared_naive: f64,
}

/// Learns the decisions whose window has closed since the last fit.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Bandit,
) -> Result<(Fitted, String, u64)> {
    let (_, outcome) = log::policy(ctx, &settings.policy)?;
    let mut stored = match newest(ctx, name)? {
        Some(before) if before.head.declared == declared(settings)? => before,
        _ => Stored::fresh(settings)?,
    };
    let settle = settings.settle.map_or(0, |settle| settle.micros);
    let mut progress = Progress::default();
    let policy = settings.policy.as_str();
    if let Some(until) = log::closed_until(ctx, (policy, outcome), settle).await? {
        for span in log::spans(ctx, &settings.policy, stored.through(), until).await? {
            for logged in log::decisions(ctx, &settings.policy, span).await? {
                take(settings, &mut stored, &logged, &mut progress)?;
            }
        }
    }
    if let Some(fault) = progress.fault.take().filter(|_| progress.unreadable == progress.read) {
        return Err(fault.context(format!(
            "none of {} decisions of policy \"{}\" can be learned",
            progress.read, settings.policy
        )));
    }
    let bytes = stored.bytes()?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let rows = stored.rows(ctx.now, &artifact)?;
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let detail = json!({
        "declared": stored.head.declared,
        "algorithm": settings.algorithm.name(),
        "policy": settings.policy,
        "through": stored.through().map(|at| Timestamp::from_micros(at).to_string()),
        "learned": stored.bandit.rewards(),
        "newly_learned": progress.learned,
        "other_actions": progress.foreign,
        "without_context": progress.unreadable,
    });
    let measures = measures(&progress);
    Ok((Fitted { bytes, rows_in: progress.read, detail, measures }, artifact, count))
}

fn newest(ctx: &Context<'_>, name: &str) -> Result<Option<Stored>> {
    let Some(last) = last_fit(ctx, name)? else { return Ok(None) };
    match Stored::load(ctx, &last.digest) {
        Ok(stored) => Ok(Some(stored)),
        // The log has everything that the lost file had.
        Err(error) if error.kind() == flywheel_base::ErrorKind::NotFound => {
            tracing::warn!(learner = name, %error, "artifact is gone; learning anew from the log");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn take(
    settings: &Bandit,
    stored: &mut Stored,
    logged: &Logged,
    progress: &mut Progress,
) -> Result<()> {
    progress.read += 1;
    stored.head.through = stored.head.through.max(Some(logged.at));
    let Some(action) = stored.action(&logged.action) else {
        progress.foreign += 1;
        return Ok(());
    };
    let context = match stored.context(&logged.features) {
        Ok(context) => context,
        Err(error) => {
            progress.unreadable += 1;
            progress.fault.get_or_insert(error);
            return Ok(());
        }
    };
    let reward = reward(settings, logged.outcomes, logged.value);
    if let Some(expected) = stored.bandit.expected(&context, &[action])?.first() {
        let known = progress.learned.max(1) as f64;
        if progress.learned > 0 {
            progress.squared += (expected - reward).powi(2);
            progress.squared_naive += (progress.earned / known - reward).powi(2);
        }
    }
    if let Some(chance) = logged.chance(&logged.action).filter(|chance| *chance > 0.0) {
        let candidates = logged.chances.as_ref().map_or(1, Map::len) as f64;
        let weight = 1.0 / (candidates * chance);
        progress.weights += weight;
        progress.weighted += weight * reward;
    }
    progress.learned += 1;
    progress.earned += reward;
    stored.learn(&context, action, reward)
}

fn measures(progress: &Progress) -> Vec<Measure> {
    if progress.learned == 0 {
        return Vec::new();
    }
    let count = progress.learned as f64;
    let judged = progress.learned - 1;
    let mean = |sum: f64| (judged > 0).then(|| sum / judged as f64);
    vec![
        Measure {
            name: "reward, beside an even choice",
            value: Some(progress.earned / count),
            baseline: (progress.weights > 0.0).then(|| progress.weighted / progress.weights),
            count: progress.learned,
        },
        Measure {
            name: "mean squared error, before learning",
            value: mean(progress.squared),
            baseline: mean(progress.squared_naive),
            count: judged,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: Value) -> Bandit {
        serde_json::from_value(yaml).unwrap()
    }

    fn columns(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn numbers_are_scaled_texts_told_apart_and_missing_ones_are_the_centre() {
        let made = settings(json!({
            "policy": "p", "actions": ["a", "b"],
            "context": [{"column": "days", "centre": 10, "scale": 20}, {"column": "vip"}, {"column": "land", "values": ["de", "fr"]}],
        }));
        let read = |value: Value| context(&made.context, &columns(&value));
        let row = read(json!({"days": 30, "vip": true, "land": "fr", "more": 1})).unwrap();
        assert_eq!(row, [1.0, 1.0, 0.0, 1.0]);
        assert_eq!(
            read(json!({"days": null, "vip": false, "land": null})).unwrap(),
            [0.0, 0.0, 0.0, 0.0]
        );
        let fault = |value: Value| read(value).unwrap_err().message().to_owned();
        assert!(fault(json!({"day": 1, "vip": 0, "land": "de"})).contains("\"days\""));
        assert!(fault(json!({"days": "soon", "vip": 0, "land": "de"})).contains("no number"));
        assert!(fault(json!({"days": 1e9, "vip": 0, "land": "de"})).contains("too large"));
    }

    #[test]
    fn rewards_lie_between_0_and_1() {
        let outcome = settings(json!({"policy": "p", "actions": ["a"]}));
        assert_eq!([0, 1, 3].map(|n| reward(&outcome, n, 7.0)), [0.0, 1.0, 1.0]);
        let value =
            settings(json!({"policy": "p", "actions": ["a"], "reward": "value", "value_max": 50}));
        assert_eq!([-5.0, 0.0, 25.0, 99.0].map(|v| reward(&value, 1, v)), [0.0, 0.0, 0.5, 1.0]);
    }

    #[test]
    fn every_algorithm_is_made_with_its_defaults() {
        for name in [
            "lin-thompson",
            "logistic-thompson",
            "beta-thompson",
            "lin-ucb",
            "square-cb",
            "epsilon-greedy",
        ] {
            let made = settings(json!({"policy": "p", "actions": ["a", "b"], "algorithm": name}));
            let stored = Stored::fresh(&made).unwrap();
            assert_eq!(made.algorithm.name(), stored.bandit().options().algorithm.name());
            let chances = stored.bandit().chances(&[], &[0, 1]).unwrap();
            assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{name}: {chances:?}");
            assert!(chances.iter().all(|chance| *chance >= 0.025), "{name}: {chances:?}");
        }
    }

    #[test]
    fn only_what_changes_learning_begins_anew() {
        let plain = settings(json!({"policy": "p", "actions": ["a"]}));
        let later = settings(json!({"policy": "p", "actions": ["a"], "settle": "1d"}));
        let more = settings(json!({"policy": "p", "actions": ["a", "b"]}));
        assert_eq!(declared(&plain).unwrap(), declared(&later).unwrap());
        assert_ne!(declared(&plain).unwrap(), declared(&more).unwrap());
    }
}
