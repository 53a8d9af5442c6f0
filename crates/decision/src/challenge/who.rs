//! Who challenges: what a name on the command line means.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, suggest};
use flywheel_project::resource::learner::{Bandit, LearnerKind};
use flywheel_project::resource::policy::Choose;

use crate::champion::{bandit, champion};
use crate::context::Context;
use crate::learner::last_fit;

/// The challenger that draws evenly.
const EVEN: &str = "even";

/// Who challenges.
pub(super) enum Challenger<'a> {
    Even,
    /// Fixed weights by action.
    Weights(BTreeMap<&'a str, f64>),
    /// A learner that learns along with the log.
    Learning(&'a str, &'a Bandit),
    /// A learner held at an artifact.
    Held(&'a str, &'a Bandit, String),
}

impl<'a> Challenger<'a> {
    /// What a name means.
    pub(super) fn find(ctx: &'a Context<'_>, policy: &str, against: &'a str) -> Result<Self> {
        if against == EVEN {
            return Ok(Self::Even);
        }
        let (kind, name) = match against.split_once(':') {
            Some((kind @ ("learner" | "policy"), name)) => (Some(kind), name),
            _ => (None, against),
        };
        let (name, start) = match name.split_once('@') {
            Some((name, start)) => (name, Some(start)),
            None => (name, None),
        };
        let is_learner = ctx.project.learners.contains_key(name) && kind != Some("policy");
        let is_policy =
            ctx.project.policies.contains_key(name) && kind != Some("learner") && start.is_none();
        match (is_learner, is_policy) {
            (true, true) => Err(Error::invalid(format!("\"{name}\" is a learner and a policy"))
                .hint(format!("Write learner:{name} or policy:{name}."))),
            (true, false) => Self::learner(ctx, policy, name, start),
            (false, true) => Self::policy(ctx, policy, name),
            (false, false) => {
                let bandits =
                    ctx.project.learners.iter().filter(|(_, learner)| {
                        matches!(learner.kind(), Ok(LearnerKind::Bandit(_)))
                    });
                let known = bandits.map(|(name, _)| name.as_str()).chain([EVEN]);
                Err(Error::not_found(format!("no learner or policy \"{name}\" to judge"))
                    .hint(suggest::hint(name, known)))
            }
        }
    }

    fn learner(
        ctx: &'a Context<'_>,
        policy: &str,
        name: &str,
        start: Option<&str>,
    ) -> Result<Self> {
        let (name, _) = ctx
            .project
            .learners
            .get_key_value(name)
            .ok_or_else(|| Error::internal("a learner that was found is gone"))?;
        let settings = bandit(ctx, name)?;
        if let Some(start) = start {
            let mut found: Vec<String> = ctx
                .store
                .artifacts_of(name, start)?
                .into_iter()
                .map(|artifact| artifact.digest)
                .collect();
            found.sort();
            found.dedup();
            return match found.as_slice() {
                [one] if !start.is_empty() => Ok(Self::Held(name, settings, one.clone())),
                [] => Err(Error::not_found(format!(
                    "learner \"{name}\" has no artifact \"{start}\""
                ))
                .hint("See `flywheel sql \"select learner, fitted_at, digest from system.artifacts\"`.")),
                _ => Err(Error::invalid(format!(
                    "{} artifacts of learner \"{name}\" begin with \"{start}\"",
                    found.len()
                ))
                .hint("Give more of the digest.")),
            };
        }
        if settings.policy == policy {
            return Ok(Self::Learning(name, settings));
        }
        // What it learned from another policy's decisions says nothing about these ones' outcomes.
        let newest = last_fit(ctx, name)?.ok_or_else(|| {
            Error::invalid(format!("learner \"{name}\" was never fitted"))
                .hint(format!("Fit it: flywheel learn {name}"))
        })?;
        Ok(Self::Held(name, settings, newest.digest))
    }

    fn policy(ctx: &'a Context<'_>, judged: &str, name: &str) -> Result<Self> {
        let policy = ctx
            .project
            .policies
            .get(name)
            .ok_or_else(|| Error::internal("a policy that was found is gone"))?;
        let list = match &policy.choose {
            Choose::Candidates(list) => list,
            Choose::Experiment(experiment) => &experiment.variants,
            Choose::Bandit(settings) => {
                let who = champion(ctx.store, name, &settings.learner)?;
                let (learner, _) =
                    ctx.project.learners.get_key_value(&who.learner).ok_or_else(|| {
                        Error::not_found(format!("no learner \"{}\"", who.learner))
                    })?;
                return Self::learner(ctx, judged, learner, who.artifact.as_deref());
            }
            Choose::Recommend(_) | Choose::Reorder(_) => {
                return Err(Error::invalid(format!(
                    "policy \"{name}\" chooses items, which cannot be judged by actions"
                ))
                .hint("Name a policy with candidates, a bandit or an experiment."));
            }
        };
        Ok(Self::Weights(list.iter().map(|one| (one.name.as_str(), one.weight)).collect()))
    }

    /// What it learns by, if it does.
    pub(super) fn settings(&self) -> Option<&'a Bandit> {
        match self {
            Self::Learning(_, settings) | Self::Held(_, settings, _) => Some(settings),
            Self::Even | Self::Weights(_) => None,
        }
    }
}
