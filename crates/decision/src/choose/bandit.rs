//! One of a bandit's actions, drawn with the probabilities that are logged.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, Rng, digest};
use flywheel_project::resource::policy::{BanditCandidate, ChooseBandit};
use serde_json::{Map, Value, json};

use super::{Choice, digest_of};
use crate::canary::running;
use crate::champion::{self, champion};
use crate::context::Context;
use crate::decide::Unit;
use crate::learner::bandit::Stored;
use crate::learner::last_fit;
use crate::limit::shelf::Shelf;

/// Who decides, and what may be chosen.
pub(crate) struct Draws {
    policy: String,
    champion: Seat,
    canary: Option<Trial>,
    candidates: Vec<BanditCandidate>,
    digest: String,
}

/// A bandit and the numbers that the candidates have in it.
struct Seat {
    stored: Stored,
    artifact: Option<String>,
    numbers: Vec<usize>,
}

/// A challenger that decides for a share of the units.
struct Trial {
    number: i64,
    share: f64,
    seat: Seat,
}

impl Draws {
    /// Reads the artifacts that decide; before the first fit every candidate is as likely as the others.
    pub(crate) fn load(ctx: &Context<'_>, policy: &str, settings: &ChooseBandit) -> Result<Self> {
        let champion = champion(ctx.store, policy, &settings.learner)?;
        let declared = champion::bandit(ctx, &champion.learner)
            .map_err(|error| error.context(format!("policy \"{policy}\"")))?;
        let artifact = match champion.artifact {
            Some(held) => Some(held),
            None => last_fit(ctx, &champion.learner)?.map(|newest| newest.digest),
        };
        let stored = match &artifact {
            Some(artifact) => Stored::load(ctx, artifact)?,
            None => Stored::fresh(declared)?,
        };
        let candidates = settings.candidates.clone().unwrap_or_else(|| {
            let all = declared.actions.iter().cloned();
            all.map(|name| BanditCandidate { name, payload: BTreeMap::new() }).collect()
        });
        let mut draws = Self::new(policy, stored, artifact, candidates)?;
        if settings.canary.is_some()
            && let Some(running) = running(ctx.store, policy, &settings.learner)?
        {
            let artifact = match running.last.artifact.clone() {
                Some(held) => Some(held),
                None => last_fit(ctx, &running.last.learner)?.map(|one| one.digest),
            };
            // Without an artifact there is nothing to try: the champion decides for everybody.
            if let Some(artifact) = artifact {
                let seat = draws.seat(Stored::load(ctx, &artifact)?, Some(artifact))?;
                let (number, share) = (running.last.canary, running.last.share);
                draws.canary = Some(Trial { number, share, seat });
            }
        }
        Ok(draws)
    }

    /// One champion alone, which decides for everybody.
    pub(crate) fn new(
        policy: &str,
        stored: Stored,
        artifact: Option<String>,
        candidates: Vec<BanditCandidate>,
    ) -> Result<Self> {
        let digest = digest_of(candidates.iter().map(|candidate| candidate.name.as_str()));
        let champion = seat(policy, &candidates, stored, artifact)?;
        Ok(Self { policy: policy.to_owned(), champion, canary: None, candidates, digest })
    }

    fn seat(&self, stored: Stored, artifact: Option<String>) -> Result<Seat> {
        seat(&self.policy, &self.candidates, stored, artifact)
    }

    /// Draws one; the probabilities are those of the candidates before the draw, given who decides for the unit.
    pub(crate) fn choose(&self, unit: &Unit, rng: &mut Rng) -> Result<Choice> {
        let all: Vec<usize> = (0..self.candidates.len()).collect();
        self.choose_among(&all, &self.digest, unit, rng)
    }

    /// Draws one of those that are left, with the probabilities that these have without the others; none if none is left.
    pub(crate) fn choose_left(
        &self,
        unit: &Unit,
        shelf: &Shelf,
        rng: &mut Rng,
    ) -> Result<Option<Choice>> {
        let named = self.candidates.iter().enumerate();
        let left: Vec<usize> = named
            .filter(|(_, candidate)| shelf.has(&candidate.name))
            .map(|(place, _)| place)
            .collect();
        if left.is_empty() {
            return Ok(None);
        }
        let names = left.iter().filter_map(|place| self.candidates.get(*place));
        let digest = digest_of(names.map(|candidate| candidate.name.as_str()));
        self.choose_among(&left, &digest, unit, rng).map(Some)
    }

    fn choose_among(
        &self,
        places: &[usize],
        digest: &str,
        unit: &Unit,
        rng: &mut Rng,
    ) -> Result<Choice> {
        let canary = self.canary.as_ref().filter(|trial| {
            let salt = format!("canary/{}/{}", self.policy, trial.number);
            digest::unit_interval(&salt, &unit.id) < trial.share
        });
        let seat = canary.map_or(&self.champion, |trial| &trial.seat);
        let offered = places.iter().filter_map(|place| self.candidates.get(*place));
        let names = offered.map(|candidate| candidate.name.as_str());
        let numbers: Vec<usize> =
            places.iter().filter_map(|place| seat.numbers.get(*place).copied()).collect();
        let drawn = draw(&seat.stored, names, &numbers, &unit.columns, rng)
            .map_err(|error| error.context(format!("policy \"{}\"", self.policy)))?;
        let candidate = places
            .get(drawn.position)
            .and_then(|place| self.candidates.get(*place))
            .ok_or_else(|| Error::internal("a bandit chose no candidate"))?;
        Ok(Choice {
            action: candidate.name.clone(),
            propensity: drawn.propensity,
            candidates: places.len(),
            candidates_digest: digest.to_owned(),
            chances: Some(drawn.chances),
            artifact: seat.artifact.clone(),
            canary: canary.map(|trial| trial.number),
            values: BTreeMap::from([("expected_reward".to_owned(), json!(drawn.expected))]),
            payload: candidate.payload.clone(),
            ..Choice::default()
        })
    }
}

fn seat(
    policy: &str,
    candidates: &[BanditCandidate],
    stored: Stored,
    artifact: Option<String>,
) -> Result<Seat> {
    let numbers = stored
        .candidates(candidates.iter().map(|candidate| candidate.name.as_str()))
        .map_err(|error| error.context(format!("policy \"{policy}\"")))?;
    Ok(Seat { stored, artifact, numbers })
}

/// What a draw gave.
pub(crate) struct Drawn {
    /// Which candidate.
    pub(crate) position: usize,
    /// Its probability.
    pub(crate) propensity: f64,
    /// Its expected reward.
    pub(crate) expected: f64,
    /// The probability of every candidate, by name and in their order.
    pub(crate) chances: Map<String, Value>,
}

/// Draws one of the candidates for a unit: what decides and what proves a decision again.
pub(crate) fn draw<'n>(
    stored: &Stored,
    names: impl Iterator<Item = &'n str>,
    numbers: &[usize],
    columns: &Map<String, Value>,
    rng: &mut Rng,
) -> Result<Drawn> {
    let context = stored.context(columns)?;
    let chances = stored.bandit().chances(&context, numbers)?;
    let choice = stored.bandit().choose(&context, numbers, rng.uniform())?;
    let position = numbers.iter().position(|number| *number == choice.action).unwrap_or_default();
    let chances = names.zip(chances).map(|(name, chance)| (name.to_owned(), json!(chance)));
    Ok(Drawn {
        position,
        propensity: choice.propensity,
        expected: choice.expected,
        chances: chances.collect(),
    })
}

#[cfg(test)]
mod tests {
    use flywheel_project::resource::learner::Bandit;

    use super::*;

    fn draws(explore: f64) -> Draws {
        let settings: Bandit = serde_json::from_value(json!({
            "policy": "p", "actions": ["a", "b", "c"], "context": [{"column": "x"}], "explore": explore,
        }))
        .unwrap();
        let mut stored = Stored::fresh(&settings).unwrap();
        for step in 0..300 {
            let x = f64::from(step % 20) / 10.0 - 1.0;
            let action = (step % 3) as usize;
            let best = if x > 0.0 { 0 } else { 1 };
            stored.learn(&[x], action, f64::from(u8::from(action == best))).unwrap();
        }
        let candidate =
            |name: &str| BanditCandidate { name: name.into(), payload: BTreeMap::new() };
        Draws::new("p", stored, None, vec![candidate("b"), candidate("a")]).unwrap()
    }

    #[test]
    fn logged_chances_sum_to_1_have_the_floor_and_are_the_frequencies() {
        let draws = draws(0.1);
        let unit = Unit { id: "u".into(), columns: json!({"x": 0.1}).as_object().unwrap().clone() };
        let mut rng = Rng::new(4);
        let (mut seen, total) = (BTreeMap::<String, f64>::new(), 10_000);
        let mut chances = Map::new();
        for _ in 0..total {
            let choice = draws.choose(&unit, &mut rng).unwrap();
            chances = choice.chances.unwrap();
            assert_eq!(chances[&choice.action].as_f64(), Some(choice.propensity));
            *seen.entry(choice.action).or_default() += 1.0 / f64::from(total);
        }
        assert_eq!(chances.keys().collect::<Vec<_>>(), ["b", "a"], "in the order of the file");
        let sum: f64 = chances.values().filter_map(Value::as_f64).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{chances:?}");
        for (name, chance) in chances.iter().map(|(name, chance)| (name, chance.as_f64().unwrap()))
        {
            assert!(chance >= 0.05, "{name}: {chance}");
            let frequency = seen.get(name).copied().unwrap_or_default();
            assert!((frequency - chance).abs() < 0.015, "{name}: {frequency} {chance}");
        }
    }

    #[test]
    fn a_canary_decides_for_its_share_of_units_and_keeps_them_when_it_grows() {
        let mut draws = draws(0.1);
        let seat = draws.seat(draws.champion.stored.clone(), Some("c".into())).unwrap();
        draws.canary = Some(Trial { number: 7, share: 0.05, seat });
        let tried = |draws: &Draws| -> Vec<usize> {
            let tried = (0..4_000).filter(|id| {
                let columns = json!({"x": 0.1}).as_object().unwrap().clone();
                let unit = Unit { id: format!("u{id}"), columns };
                let choice = draws.choose(&unit, &mut Rng::new(1)).unwrap();
                assert_eq!(choice.canary.is_some(), choice.artifact.is_some());
                choice.canary == Some(7)
            });
            tried.collect()
        };
        let few = tried(&draws);
        assert!((140..260).contains(&few.len()), "{}", few.len());
        draws.canary.as_mut().unwrap().share = 0.25;
        let more = tried(&draws);
        assert!((900..1100).contains(&more.len()), "{}", more.len());
        assert!(few.iter().all(|id| more.contains(id)));
    }

    #[test]
    fn a_unit_without_the_context_is_refused_by_name() {
        let unit = Unit { id: "u".into(), columns: Map::new() };
        let error = draws(0.1).choose(&unit, &mut Rng::new(1)).err().unwrap();
        assert!(error.message().contains("\"p\"") && error.message().contains("\"x\""), "{error}");
    }
}
