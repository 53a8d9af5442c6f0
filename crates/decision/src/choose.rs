//! How a policy chooses: candidates at random, by a bandit or by an experiment, items of a recommender, or a
//! purchase proposal.

pub(crate) mod bandit;
pub(crate) mod candidates;
pub(crate) mod experiment;
pub(crate) mod recommend;
pub(crate) mod reorder;

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, Rng, digest};
use flywheel_project::resource::policy::{Choose, Policy};
use serde_json::{Map, Value};

use crate::conclude::concluded;
use crate::context::Context;
use crate::decide::Unit;
use crate::feedback::FreshList;
use crate::limit::shelf::Shelf;

/// What was chosen for one unit, before it is known whether the unit is in the holdout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// The action's name.
    pub(crate) action: String,
    /// Its probability among what could have been chosen.
    pub(crate) propensity: f64,
    /// The chosen items with score, reason and propensity.
    pub(crate) items: Option<Value>,
    /// How many candidates there were.
    pub(crate) candidates: usize,
    /// A digest of the candidates.
    pub(crate) candidates_digest: String,
    /// The ids of the candidates, best first, where each unit has its own, as a JSON array.
    pub(crate) candidate_ids: Option<String>,
    /// The probability of each candidate, by name, where candidates are actions.
    pub(crate) chances: Option<Map<String, Value>>,
    /// The artifact that scored.
    pub(crate) artifact: Option<String>,
    /// The canary in which a challenger chose; none if the champion did.
    pub(crate) canary: Option<i64>,
    /// Values the payload can name with `$`.
    pub(crate) values: BTreeMap<String, Value>,
    /// Fixed additions to the payload.
    pub(crate) payload: BTreeMap<String, Value>,
    /// What it costs, for budgets.
    pub(crate) cost: f64,
}

/// A way to choose, with everything it needs in memory.
pub(crate) enum Chooser {
    Candidates(candidates::Candidates),
    Recommend(recommend::Lists),
    Reorder(Box<reorder::Proposals>),
    Bandit(Box<bandit::Draws>),
    Experiment(experiment::Assignment),
}

impl Chooser {
    /// Loads what the policy's way of choosing needs for these units.
    pub(crate) async fn load(
        ctx: &Context<'_>,
        name: &str,
        policy: &Policy,
        units: &[Unit],
    ) -> Result<Self> {
        Ok(match &policy.choose {
            Choose::Candidates(list) => Self::Candidates(candidates::Candidates::new(name, list)?),
            Choose::Recommend(settings) => {
                Self::Recommend(recommend::Lists::load(ctx, name, settings, units).await?)
            }
            Choose::Reorder(settings) => {
                Self::Reorder(Box::new(reorder::Proposals::load(ctx, name, settings)?))
            }
            Choose::Bandit(settings) => {
                Self::Bandit(Box::new(bandit::Draws::load(ctx, name, settings)?))
            }
            Choose::Experiment(settings) => {
                Self::Experiment(match concluded(ctx.store, name, settings)? {
                    Some(kept) => experiment::Assignment::kept(name, settings, &kept.variant)?,
                    None => experiment::Assignment::new(name, settings)?,
                })
            }
        })
    }

    /// Chooses for one unit; none means that there is nothing to offer.
    pub(crate) fn choose(&self, unit: &Unit, rng: &mut Rng) -> Result<Option<Choice>> {
        match self {
            Self::Candidates(candidates) => Ok(candidates.choose(rng)),
            Self::Recommend(lists) => Ok(lists.choose(unit, None, rng)),
            Self::Reorder(proposals) => proposals.choose(unit),
            Self::Bandit(draws) => draws.choose(unit, rng).map(Some),
            Self::Experiment(assignment) => Ok(assignment.choose(unit)),
        }
    }

    /// As [`Chooser::choose`], from a list that knows what the unit did since the fit, where the policy chooses of a
    /// recommender and there is such a list.
    pub(crate) fn choose_now(
        &self,
        unit: &Unit,
        fresh: Option<&FreshList>,
        rng: &mut Rng,
    ) -> Result<Option<Choice>> {
        match (self, fresh) {
            (Self::Recommend(lists), Some(fresh)) => Ok(lists.choose_of(fresh, None, rng)),
            _ => self.choose(unit, rng),
        }
    }

    /// As [`Chooser::choose_now`], among what is left; none also if nothing is. The probabilities are those of a draw among
    /// just these candidates.
    pub(crate) fn choose_left(
        &self,
        unit: &Unit,
        fresh: Option<&FreshList>,
        shelf: &Shelf,
        rng: &mut Rng,
    ) -> Result<Option<Choice>> {
        match (self, fresh) {
            (Self::Candidates(candidates), _) => candidates.choose_left(shelf, rng),
            (Self::Bandit(draws), _) => draws.choose_left(unit, shelf, rng),
            (Self::Recommend(lists), Some(fresh)) => Ok(lists.choose_of(fresh, Some(shelf), rng)),
            (Self::Recommend(lists), None) => Ok(lists.choose(unit, Some(shelf), rng)),
            (Self::Reorder(_) | Self::Experiment(_), _) => {
                Err(Error::internal("a way to choose that cannot offer something else has a stock"))
            }
        }
    }

    /// The places of units in the order in which they choose among what is left: those with the best scores first, where
    /// there are scores, or else as they come.
    pub(crate) fn best_first(&self, units: &[Unit], shelf: &Shelf) -> Vec<usize> {
        let mut places: Vec<usize> = (0..units.len()).collect();
        if let Self::Recommend(lists) = self {
            let score = |unit: &Unit| lists.score(unit, shelf).unwrap_or(f64::NEG_INFINITY);
            let scores: Vec<f64> = units.iter().map(score).collect();
            let of = |place: &usize| scores.get(*place).copied().unwrap_or(f64::NEG_INFINITY);
            places.sort_by(|a, b| of(b).total_cmp(&of(a)));
        }
        places
    }

    /// Whether the turn's budget covers the choice after what was `spent`.
    pub(crate) fn affords(&self, choice: &Choice, spent: &mut f64) -> bool {
        let Self::Reorder(proposals) = self else { return true };
        proposals.affords(choice, spent)
    }
}

/// A digest of the names of candidates.
fn digest_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&[u8]> = names.map(str::as_bytes).collect();
    digest::short(&names)
}
