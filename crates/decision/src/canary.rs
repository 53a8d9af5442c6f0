//! Challengers on trial: judged by the log, tried on a share of units, promoted or taken back by evidence.
//!
//! [`advance`] runs once a turn, before anything is decided. Every move is a row of `system.canaries`; a turn that is
//! cut off and run again makes none twice. The state is in those rows alone: the newest one of a policy says whether a
//! trial runs and for which share of units.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_algo::canary::{Advice, Options, Stage, Standing, advise, first_share, units_planned};
use flywheel_base::{Error, ErrorKind, Result};
use flywheel_project::resource::policy::{Canary, Choose, ChooseBandit};
use flywheel_state::{CanaryMove, Move, Promotion, Store};
use serde_json::{Value, json};

use crate::challenge::{Challenge, judge};
use crate::champion::{bandit, champion};
use crate::context::Context;
use crate::learner::bandit::reward;
use crate::learner::last_fit;
use crate::log;
use crate::outcome::Through;

/// Moments before a trial whose decisions say how many units there are at one.
const AUDIENCE_MOMENTS: usize = 7;

/// A trial that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Its moves, oldest first: one for each stage.
    pub stages: Vec<CanaryMove>,
    /// The newest of them.
    pub last: CanaryMove,
}

/// Who is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Challenger<'a> {
    /// The learner.
    pub(crate) learner: &'a str,
    /// The artifact it is held at; none if it goes on learning.
    pub(crate) artifact: Option<&'a str>,
}

/// The trial of a policy whose file names the learner `declared`, if one runs.
///
/// # Errors
/// Those of the metadata.
pub fn running(store: &Store, policy: &str, declared: &str) -> Result<Option<Running>> {
    let mut moves = store.canaries_of(policy)?;
    let Some(last) = moves.last().cloned() else { return Ok(None) };
    if !last.kind.runs() || last.declared != declared {
        return Ok(None);
    }
    moves.retain(|one| one.canary == last.canary);
    Ok(Some(Running { stages: moves, last }))
}

/// Moves the canaries of all policies on, one step at most each; returns the moves that were made. While the outcomes of a
/// policy cannot be read, its trial stays as it is: it has the share that it had, and its patience does not end.
///
/// # Errors
/// Those of lake, metadata and artifacts.
/// # Cost
/// Each trial reads its decisions once; each challenger of a policy without a trial costs as much as
/// [`crate::challenge::judge`].
pub async fn advance(ctx: &Context<'_>) -> Result<Vec<CanaryMove>> {
    let mut made = Vec::new();
    let through = Through::load(ctx).await?;
    for (name, policy) in &ctx.project.policies {
        let Choose::Bandit(settings) = &policy.choose else { continue };
        let moves = ctx.store.canaries_of(name)?;
        if settings.canary.is_none() && moves.is_empty() {
            continue;
        }
        // This turn's move was made by an attempt that was cut off.
        if moves.last().is_some_and(|last| last.at >= ctx.now) {
            continue;
        }
        let running = running(ctx.store, name, &settings.learner)?;
        let moved = match (&settings.canary, running) {
            // What cannot be known moves nothing: neither on, nor back, nor out of patience.
            (Some(_), Some(_)) if through.is_behind(name) => None,
            (Some(canary), Some(running)) => weigh(ctx, name, settings, canary, &running).await?,
            (None, Some(running)) => {
                let reason = "its policy's file declares no canary any more".to_owned();
                Some(end(ctx, &running.last, reason, json!({}))?)
            }
            (_, None) if moves.last().is_some_and(|last| last.kind.runs()) => {
                // Declared for another learner: the file has the last word.
                let reason = "its policy's file names another learner".to_owned();
                moves.last().map(|last| end(ctx, last, reason, json!({}))).transpose()?
            }
            (Some(canary), None) if !through.is_behind(name) && !stopped(ctx, name)? => {
                consider(ctx, name, settings, canary, &moves).await?
            }
            (_, None) => None,
        };
        if let Some(number) = moved {
            let all = ctx.store.canaries_of(name)?;
            made.extend(all.into_iter().filter(|one| one.number == number));
        }
    }
    for CanaryMove { policy, learner, kind, share, reason, .. } in &made {
        tracing::info!(policy, learner, kind = kind.name(), share, reason, "canary moved");
    }
    Ok(made)
}

/// Whether a policy decides for nobody.
fn stopped(ctx: &Context<'_>, name: &str) -> Result<bool> {
    let declared = ctx.project.policies.get(name).is_some_and(|policy| policy.paused);
    Ok(declared || ctx.store.policy(name)?.paused)
}

/// Starts a trial; returns its number and its first share: the smallest one that gives the challenger the units of a stage
/// at one moment in nearly every draw, as far as the moments before tell.
///
/// # Errors
/// [`ErrorKind::Invalid`] if one runs already or the challenger has learned nothing yet, else those of the lake.
pub(crate) async fn start(
    ctx: &Context<'_>,
    policy: &str,
    settings: &ChooseBandit,
    challenger: Challenger<'_>,
    reason: String,
    evidence: Value,
) -> Result<(i64, f64)> {
    if let Some(running) = running(ctx.store, policy, &settings.learner)? {
        return Err(Error::invalid(format!(
            "policy \"{policy}\" tries learner \"{}\" already",
            running.last.learner
        ))
        .hint(format!("Wait for its end, or end it: flywheel policy rollback {policy}")));
    }
    let Challenger { learner, artifact } = challenger;
    if artifact.is_none() && last_fit(ctx, learner)?.is_none() {
        return Err(Error::invalid(format!("learner \"{learner}\" was never fitted"))
            .hint(format!("Fit it: flywheel learn {learner}")));
    }
    let share = match &settings.canary {
        None => 0.0,
        Some(canary) => {
            let shares = declared_shares(canary);
            let audience = log::audience(ctx, policy, ctx.now, AUDIENCE_MOMENTS).await?;
            let place = first_share(&shares, audience, canary.min_units);
            shares.get(place).copied().unwrap_or_default()
        }
    };
    let number = ctx.store.record_canary(&CanaryMove {
        policy: policy.to_owned(),
        number: 0,
        at: ctx.now,
        canary: 0,
        kind: Move::Started,
        declared: settings.learner.clone(),
        learner: learner.to_owned(),
        artifact: artifact.map(str::to_owned),
        share,
        reason,
        evidence,
    })?;
    Ok((number, share))
}

/// Ends a trial without promotion; returns the number of the move.
pub(crate) fn end(
    ctx: &Context<'_>,
    last: &CanaryMove,
    reason: String,
    evidence: Value,
) -> Result<i64> {
    record(ctx, last, Move::RolledBack, 0.0, reason, evidence)
}

fn record(
    ctx: &Context<'_>,
    last: &CanaryMove,
    kind: Move,
    share: f64,
    reason: String,
    evidence: Value,
) -> Result<i64> {
    let last = last.clone();
    ctx.store.record_canary(&CanaryMove { at: ctx.now, kind, share, reason, evidence, ..last })
}

/// Tries the first challenger whose logged evidence suffices. One that was tried before is judged by what was
/// decided since its trial ended.
async fn consider(
    ctx: &Context<'_>,
    name: &str,
    settings: &ChooseBandit,
    canary: &Canary,
    moves: &[CanaryMove],
) -> Result<Option<i64>> {
    let deciding = champion(ctx.store, name, &settings.learner)?;
    for learner in canary.challengers.iter().filter(|one| **one != deciding.learner) {
        if last_fit(ctx, learner)?.is_none() {
            continue;
        }
        let ended = moves.iter().rev().find(|one| one.learner == *learner && !one.kind.runs());
        let challenge = Challenge {
            policy: name.to_owned(),
            against: format!("learner:{learner}"),
            since: ended.map(|ended| ended.at),
            gain_min: canary.gain_min,
        };
        let judgement = match judge(ctx, &challenge).await {
            Ok(judgement) => judgement,
            // No decision says anything about it yet.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                tracing::debug!(policy = name, learner, error = %error, "challenger not judged");
                continue;
            }
            Err(error) => return Err(error),
        };
        if !judgement.verdict.promotes() {
            continue;
        }
        let (estimate, best) = judgement.verdict.estimates.best();
        let gain = best.gain;
        let reason = format!(
            "the log promises {:+.5} a decision by {estimate} ({:+.5} to {:+.5})",
            gain.estimate, gain.low, gain.high
        );
        let evidence = as_json(&judgement.verdict)?;
        let artifact = judgement.artifact.as_deref();
        let challenger = Challenger { learner, artifact };
        let (number, _) = start(ctx, name, settings, challenger, reason, evidence).await?;
        return Ok(Some(number));
    }
    Ok(None)
}

/// Looks at what a trial has shown, and raises, promotes or ends it.
async fn weigh(
    ctx: &Context<'_>,
    name: &str,
    settings: &ChooseBandit,
    canary: &Canary,
    running: &Running,
) -> Result<Option<i64>> {
    let share = running.last.share;
    let declared = declared_shares(canary);
    if declared.iter().all(|one| *one < share) {
        let reason = "its policy's file lists no share as large as the one it has".to_owned();
        return end(ctx, &running.last, reason, json!({})).map(Some);
    }
    // Those it has passed, whatever the file says now, and those that follow.
    let mut shares: Vec<f64> = running.stages.iter().map(|stage| stage.share).collect();
    shares.extend(declared.into_iter().filter(|one| *one > share));
    let start = running.stages.first().map_or(ctx.now, |first| first.at);
    let audience = log::audience(ctx, name, start, AUDIENCE_MOMENTS).await?;
    let options = Options {
        units_planned: units_planned(&shares, audience),
        shares,
        units_min: canary.min_units,
        gain_min: canary.gain_min,
        ..Options::default()
    };
    let standing = advise(&stages(ctx, name, settings, running).await?, &options)?;
    let evidence = as_json(&standing)?;
    let reason = standing.to_string();
    match standing.advice {
        Advice::TakeBack => end(ctx, &running.last, reason, evidence).map(Some),
        Advice::Promote => promote(ctx, running, &standing).map(Some),
        Advice::Raise { share } => {
            record(ctx, &running.last, Move::Raised, share, reason, evidence).map(Some)
        }
        Advice::TooFew { .. } | Advice::Leans | Advice::NotShown => {
            if ctx.now < start.plus_micros(canary.patience.micros) {
                return Ok(None);
            }
            let days = canary.patience.in_days();
            end(ctx, &running.last, format!("after {days} days {reason}"), evidence).map(Some)
        }
    }
}

/// The shares of the policy's file, in its order.
fn declared_shares(canary: &Canary) -> Vec<f64> {
    canary.shares.iter().map(|share| share.value()).collect()
}

/// Lets the challenger decide for everybody.
fn promote(ctx: &Context<'_>, running: &Running, standing: &Standing) -> Result<i64> {
    let CanaryMove { policy, declared, learner, artifact, .. } = &running.last;
    let evidence = as_json(standing)?;
    let reason = format!("canary {}: {standing}", running.last.canary);
    let deciding = champion(ctx.store, policy, declared)?;
    // An attempt that was cut off after the promotion has made it already.
    if deciding.learner != *learner || deciding.artifact != *artifact {
        ctx.store.record_promotion(&Promotion {
            policy: policy.clone(),
            number: 0,
            at: ctx.now,
            declared: declared.clone(),
            learner: learner.clone(),
            artifact: artifact.clone(),
            undoes: None,
            reason: reason.clone(),
            evidence: evidence.clone(),
        })?;
    }
    record(ctx, &running.last, Move::Promoted, 1.0, reason, evidence)
}

/// Rewards by unit in each stage, of decisions whose window has closed. Only moments count at which both learners
/// decided; within a stage a unit is one cluster however often it was decided for.
async fn stages(
    ctx: &Context<'_>,
    name: &str,
    settings: &ChooseBandit,
    running: &Running,
) -> Result<Vec<Stage>> {
    let (_, outcome) = log::policy(ctx, name)?;
    let learner = bandit(ctx, &settings.learner)?;
    let settle = learner.settle.map_or(0, |settle| settle.micros);
    let starts: Vec<i64> = running.stages.iter().map(|stage| stage.at.micros()).collect();
    let (Some(first), Some(until)) =
        (starts.first(), log::closed_until(ctx, (name, outcome), settle).await?)
    else {
        return Ok(vec![Stage::default(); starts.len()]);
    };
    // By stage and unit: whether the challenger decided, rewards, decisions.
    let mut units: BTreeMap<(usize, bool, String), (f64, f64)> = BTreeMap::new();
    for span in log::spans(ctx, name, Some(first - 1), until).await? {
        let decisions = log::decisions(ctx, name, span).await?;
        let tried: BTreeSet<i64> = decisions
            .iter()
            .filter(|one| one.canary == Some(running.last.canary))
            .map(|one| one.at)
            .collect();
        for one in decisions.iter().filter(|one| tried.contains(&one.at)) {
            let challenger = match one.canary {
                None => false,
                Some(canary) if canary == running.last.canary => true,
                Some(_) => continue,
            };
            let stage = starts.partition_point(|start| *start <= one.at).saturating_sub(1);
            let sums = units.entry((stage, challenger, one.unit.clone())).or_default();
            sums.0 += reward(learner, one.outcomes, one.value);
            sums.1 += 1.0;
        }
    }
    let mut stages = vec![Stage::default(); starts.len()];
    for ((stage, challenger, _), (rewards, decisions)) in units {
        let Some(stage) = stages.get_mut(stage) else { continue };
        let arm = if challenger { &mut stage.challenger } else { &mut stage.champion };
        arm.add(rewards, decisions)?;
    }
    Ok(stages)
}

fn as_json(evidence: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(evidence).map_err(|e| Error::internal("evidence is no JSON").caused_by(e))
}
