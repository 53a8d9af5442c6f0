//! Who decides for a policy: the learner that its file names, or one that was promoted in its place.
//!
//! Promotions are a pile: the newest one that was not taken back and was made under the same file decides. A
//! changed `learner:` in the file begins a new pile, so the file always has the last word; the next turn takes the old
//! pile back, so that nothing of it decides again when the file names its old learner again.

use std::fmt;

use flywheel_base::{Error, Result, Timestamp, suggest};
use flywheel_project::Project;
use flywheel_project::resource::learner::{Bandit, LearnerKind};
use flywheel_project::resource::policy::{Choose, ChooseBandit};
use flywheel_state::{Promotion, Store};
use serde_json::json;

use crate::canary;
use crate::challenge::{Challenge, Judgement, judge};
use crate::conclude;
use crate::context::Context;

/// Who decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Champion {
    /// The learner.
    pub learner: String,
    /// The artifact it is held at; none if it goes on learning.
    pub artifact: Option<String>,
    /// The promotion by which it decides; none if the file names it.
    pub promotion: Option<i64>,
    /// When the policy last changed who decides; none if it never did.
    pub since: Option<Timestamp>,
}

impl fmt::Display for Champion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "learner \"{}\"", self.learner)?;
        match &self.artifact {
            None => Ok(()),
            Some(artifact) => write!(f, " at artifact {artifact:.12}"),
        }
    }
}

/// Who decides for `policy`, whose file names the learner `declared`.
///
/// # Errors
/// Those of the metadata.
pub fn champion(store: &Store, policy: &str, declared: &str) -> Result<Champion> {
    let all = store.promotions_of(policy)?;
    let since = all.last().map(|last| last.at);
    Ok(pile(&all, declared).last().map_or_else(
        || Champion { learner: declared.to_owned(), artifact: None, promotion: None, since },
        |top| Champion {
            learner: top.learner.clone(),
            artifact: top.artifact.clone(),
            promotion: Some(top.number),
            since,
        },
    ))
}

/// Takes back, for good, promotions that were made while a policy's file named another learner, or declared another
/// experiment, than it does now; returns what was recorded.
///
/// # Errors
/// Those of the metadata.
pub fn end_old_piles(project: &Project, store: &Store, now: Timestamp) -> Result<Vec<Promotion>> {
    let mut ended = Vec::new();
    for (name, policy) in &project.policies {
        let all = store.promotions_of(name)?;
        let ends = match &policy.choose {
            Choose::Bandit(settings) => ends(&all, &settings.learner, now),
            Choose::Experiment(experiment) => {
                let ends = ends(&all, &conclude::declared(name, experiment), now);
                let nobody = |end: Promotion| Promotion {
                    learner: String::new(),
                    reason: "its policy's file declares another experiment".to_owned(),
                    ..end
                };
                ends.into_iter().map(nobody).collect()
            }
            _ => continue,
        };
        for end in ends {
            store.record_promotion(&end)?;
            ended.push(end);
        }
    }
    Ok(ended)
}

/// What takes back the promotions that were made under another file than one that names `declared`.
fn ends(all: &[Promotion], declared: &str, now: Timestamp) -> Vec<Promotion> {
    let end = |one: &Promotion| Promotion {
        policy: one.policy.clone(),
        number: 0,
        at: now,
        declared: declared.to_owned(),
        learner: declared.to_owned(),
        artifact: None,
        undoes: Some(one.number),
        reason: "its policy's file names another learner".to_owned(),
        evidence: json!({}),
    };
    let old = in_force(all).into_iter().filter(|one| one.declared != declared);
    old.map(end).collect()
}

/// The promotions that are in force under a file that names `declared`, oldest first.
pub(crate) fn pile<'a>(all: &'a [Promotion], declared: &str) -> Vec<&'a Promotion> {
    let mut pile = in_force(all);
    pile.retain(|one| one.declared == declared);
    pile
}

/// The promotions that were not taken back, oldest first.
fn in_force(all: &[Promotion]) -> Vec<&Promotion> {
    let mut pile: Vec<&Promotion> = Vec::new();
    for promotion in all {
        match promotion.undoes {
            Some(undone) => pile.retain(|one| one.number != undone),
            None => pile.push(promotion),
        }
    }
    pile
}

/// The bandit that the learner `name` is.
pub(crate) fn bandit<'a>(ctx: &'a Context<'_>, name: &str) -> Result<&'a Bandit> {
    let learners = &ctx.project.learners;
    let found = learners.get(name).ok_or_else(|| {
        Error::not_found(format!("no learner \"{name}\""))
            .hint(suggest::hint(name, learners.keys().map(String::as_str)))
    })?;
    match found.kind()? {
        LearnerKind::Bandit(bandit) => Ok(bandit),
        other => {
            Err(Error::invalid(format!("learner \"{name}\" is a {} one, no bandit", other.name()))
                .hint("Name a learner with `bandit:`."))
        }
    }
}

/// How the policy `name` chooses, if a bandit chooses for it.
fn chosen_by_bandit<'a>(ctx: &'a Context<'_>, name: &str) -> Result<&'a ChooseBandit> {
    let (policy, _) = crate::log::policy(ctx, name)?;
    match &policy.choose {
        Choose::Bandit(settings) => Ok(settings),
        _ => Err(Error::invalid(format!("no bandit chooses for policy \"{name}\"")).hint(
            "Write `choose: {bandit: {learner: …}}` in its file; after that, challengers can be promoted.",
        )),
    }
}

/// A promotion that was made.
#[derive(Clone, Debug)]
pub struct Promoted {
    /// Its number among those of the policy.
    pub number: i64,
    /// Who decided until now.
    pub before: Champion,
    /// Who decides from the next turn on.
    pub now: Champion,
    /// The share of units it decides for at first, if the policy tries challengers before they are promoted; then
    /// `number` is that of the canary.
    pub share: Option<f64>,
    /// What it rests on.
    pub judgement: Judgement,
}

/// Lets the challenger decide for a policy, if logged decisions prove that it earns more. With `despite`, a
/// reason for the record, it is promoted without that proof. Where the policy's file declares a canary, it is tried on
/// a first share of units instead, whatever the proof.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] with every reason against it; [`flywheel_base::ErrorKind::Invalid`] if it
/// decides already, or cannot choose what the policy offers; else those of [`judge`].
pub async fn promote(
    ctx: &Context<'_>,
    challenge: &Challenge,
    despite: Option<&str>,
) -> Result<Promoted> {
    let name = &challenge.policy;
    let settings = chosen_by_bandit(ctx, name)?;
    let judgement = judge(ctx, challenge).await?;
    let Some(learner) = judgement.learner.clone() else {
        return Err(Error::invalid(format!(
            "\"{}\" is no learner, so it cannot be promoted",
            challenge.against
        ))
        .hint("Write it into the policy's file under choose:."));
    };
    let before = champion(ctx.store, name, &settings.learner)?;
    if before.learner == learner && before.artifact == judgement.artifact {
        return Err(Error::invalid(format!(
            "\"{}\" decides for policy \"{name}\" already",
            challenge.against
        ))
        .hint("`select * from system.promotions` says since when."));
    }
    let declared = bandit(ctx, &learner)?;
    let offered = settings.candidates.iter().flatten().map(|candidate| &candidate.name);
    if let Some(missing) = offered.into_iter().find(|offered| !declared.actions.contains(offered)) {
        return Err(Error::invalid(format!(
            "learner \"{learner}\" knows no action \"{missing}\", which policy \"{name}\" offers"
        ))
        .hint("Add it to the learner's actions; it is learned anew from the log."));
    }
    if despite.is_none() && !judgement.verdict.promotes() {
        let reasons: Vec<String> =
            judgement.verdict.refusals.iter().map(ToString::to_string).collect();
        return Err(Error::blocked(format!(
            "\"{}\" is not promoted for policy \"{name}\": {}",
            challenge.against,
            reasons.join("; ")
        ))
        .hint(
            "Wait for more decisions, or let it decide despite this with --despite \"the reason\".",
        ));
    }
    let estimate = judgement.verdict.estimates.best();
    let gain = estimate.1.gain;
    let reason = despite.map_or_else(
        || {
            format!(
                "gains {:+.5} a decision by {} ({:+.5} to {:+.5})",
                gain.estimate, estimate.0, gain.low, gain.high
            )
        },
        |despite| format!("despite the evidence: {despite}"),
    );
    let evidence = serde_json::to_value(&judgement.verdict)
        .map_err(|e| Error::internal("a verdict is no JSON").caused_by(e))?;
    if settings.canary.is_some() {
        let challenger =
            canary::Challenger { learner: &learner, artifact: judgement.artifact.as_deref() };
        let (number, share) =
            canary::start(ctx, name, settings, challenger, reason, evidence).await?;
        return Ok(Promoted { number, now: before.clone(), before, share: Some(share), judgement });
    }
    let number = ctx.store.record_promotion(&Promotion {
        policy: name.clone(),
        number: 0,
        at: ctx.now,
        declared: settings.learner.clone(),
        learner,
        artifact: judgement.artifact.clone(),
        undoes: None,
        reason,
        evidence,
    })?;
    let now = champion(ctx.store, name, &settings.learner)?;
    Ok(Promoted { number, before, now, share: None, judgement })
}

/// Ends the trial of a challenger, or takes the newest promotion of the policy `name` back if there is none; returns
/// who decided and who decides now.
///
/// # Errors
/// As [`roll_back`].
pub fn take_back(ctx: &Context<'_>, name: &str, reason: &str) -> Result<(Champion, Champion)> {
    let settings = chosen_by_bandit(ctx, name)?;
    let Some(running) = canary::running(ctx.store, name, &settings.learner)? else {
        return roll_back(ctx, name, reason);
    };
    canary::end(ctx, &running.last, reason.to_owned(), json!({}))?;
    let challenger = Champion {
        learner: running.last.learner,
        artifact: running.last.artifact,
        promotion: None,
        since: Some(running.last.at),
    };
    Ok((challenger, champion(ctx.store, name, &settings.learner)?))
}

/// Takes the newest promotion of the policy `name` back; returns who decided and who decides now.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if there is none to take back, or no bandit chooses for the policy.
pub fn roll_back(ctx: &Context<'_>, name: &str, reason: &str) -> Result<(Champion, Champion)> {
    let settings = chosen_by_bandit(ctx, name)?;
    let before = champion(ctx.store, name, &settings.learner)?;
    let Some(number) = before.promotion else {
        return Err(Error::invalid(format!(
            "policy \"{name}\" has no promotion to take back: its file's learner \"{}\" decides",
            settings.learner
        ))
        .hint("Name another learner in the policy's file, or pause the policy."));
    };
    let all = ctx.store.promotions_of(name)?;
    let back = pile(&all, &settings.learner);
    let under = back.iter().rev().find(|one| one.number != number);
    ctx.store.record_promotion(&Promotion {
        policy: name.to_owned(),
        number: 0,
        at: ctx.now,
        declared: settings.learner.clone(),
        learner: under.map_or_else(|| settings.learner.clone(), |under| under.learner.clone()),
        artifact: under.and_then(|under| under.artifact.clone()),
        undoes: Some(number),
        reason: reason.to_owned(),
        evidence: json!({}),
    })?;
    Ok((before, champion(ctx.store, name, &settings.learner)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promotion(number: i64, learner: &str, declared: &str, undoes: Option<i64>) -> Promotion {
        Promotion {
            policy: "p".into(),
            number,
            at: Timestamp::from_micros(number),
            declared: declared.into(),
            learner: learner.into(),
            artifact: None,
            undoes,
            reason: String::new(),
            evidence: json!({}),
        }
    }

    #[test]
    fn the_newest_promotion_in_force_decides_and_a_changed_file_wins() {
        let top = |all: &[Promotion], declared: &str| {
            pile(all, declared).last().map(|one| one.learner.clone())
        };
        let mut all = vec![promotion(1, "b", "a", None), promotion(2, "c", "a", None)];
        assert_eq!(top(&all, "a").as_deref(), Some("c"));
        assert_eq!(top(&all, "d"), None, "the file names another learner now");
        all.push(promotion(3, "b", "a", Some(2)));
        assert_eq!(top(&all, "a").as_deref(), Some("b"), "back to the one before");
        all.push(promotion(4, "a", "a", Some(1)));
        assert_eq!(top(&all, "a"), None, "back to the file's own");
        all.push(promotion(5, "c", "a", None));
        assert_eq!(top(&all, "a").as_deref(), Some("c"));
    }

    #[test]
    fn what_a_changed_file_has_ended_does_not_decide_again_when_the_file_is_as_before() {
        let now = Timestamp::from_micros(9);
        let mut all = vec![promotion(1, "b", "a", None), promotion(2, "c", "a", None)];
        assert_eq!(ends(&all, "a", now), [], "the file is as it was");
        let recorded = ends(&all, "d", now);
        let undone: Vec<_> = recorded.iter().map(|one| (one.undoes, &*one.learner)).collect();
        assert_eq!(undone, [(Some(1), "d"), (Some(2), "d")]);
        all.extend(recorded.into_iter().zip(3..).map(|(one, number)| Promotion { number, ..one }));
        assert_eq!(pile(&all, "a"), Vec::<&Promotion>::new());
        assert_eq!(ends(&all, "a", now), [], "and is ended once");
    }
}
