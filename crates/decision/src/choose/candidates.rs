//! One of the listed candidates, at random with the declared weights.

use flywheel_base::{Error, Result, Rng};
use flywheel_project::resource::policy::Candidate;
use serde_json::{Map, Value, json};

use super::{Choice, digest_of};
use crate::limit::shelf::Shelf;

/// Candidates and their probabilities.
pub(crate) struct Candidates {
    list: Vec<Candidate>,
    weights: Vec<f64>,
    total: f64,
    digest: String,
    chances: Map<String, Value>,
}

impl Candidates {
    /// Takes the declared list.
    pub(crate) fn new(policy: &str, list: &[Candidate]) -> Result<Self> {
        let weights: Vec<f64> = list.iter().map(|candidate| candidate.weight).collect();
        let total: f64 = weights.iter().sum();
        if weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0) || total <= 0.0 {
            return Err(Error::invalid(format!(
                "policy \"{policy}\": candidates have no usable weights"
            ))
            .hint("Give at least one candidate a weight above 0, and none a weight below 0."));
        }
        let digest = digest_of(list.iter().map(|candidate| candidate.name.as_str()));
        let chances = list.iter().map(|one| (one.name.clone(), json!(one.weight / total)));
        let chances = chances.collect();
        Ok(Self { list: list.to_vec(), weights, total, digest, chances })
    }

    /// Draws one of those that are left; none if that leaves none that could be drawn.
    pub(crate) fn choose_left(&self, shelf: &Shelf, rng: &mut Rng) -> Result<Option<Choice>> {
        let left = self.list.iter().filter(|candidate| shelf.has(&candidate.name)).cloned();
        let left: Vec<Candidate> = left.collect();
        if left.len() == self.list.len() {
            return Ok(self.choose(rng));
        }
        if !left.iter().any(|candidate| candidate.weight > 0.0) {
            return Ok(None);
        }
        Ok(Self::new("", &left)?.choose(rng))
    }

    /// Draws one.
    pub(crate) fn choose(&self, rng: &mut Rng) -> Option<Choice> {
        let index = rng.weighted(&self.weights)?;
        let candidate = self.list.get(index)?;
        Some(Choice {
            action: candidate.name.clone(),
            propensity: candidate.weight / self.total,
            candidates: self.list.len(),
            candidates_digest: self.digest.clone(),
            chances: Some(self.chances.clone()),
            payload: candidate.payload.clone(),
            ..Choice::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, weight: f64) -> Candidate {
        Candidate { name: name.into(), weight, payload: Default::default() }
    }

    #[test]
    fn draws_follow_the_weights_and_say_so() {
        let candidates = Candidates::new("p", &[candidate("a", 3.0), candidate("b", 1.0)]).unwrap();
        let mut rng = Rng::new(1);
        let draws: Vec<Choice> = (0..4_000).filter_map(|_| candidates.choose(&mut rng)).collect();
        let a = draws.iter().filter(|c| c.action == "a").count();
        assert!((2_900..3_100).contains(&a), "{a}");
        assert!(draws.iter().all(|c| c.propensity == if c.action == "a" { 0.75 } else { 0.25 }));
        assert!(draws.iter().all(|c| {
            c.chances.as_ref().is_some_and(|chances| chances[&c.action] == json!(c.propensity))
        }));
    }

    #[test]
    fn weights_that_cannot_be_drawn_from_are_refused() {
        for weights in [[0.0, 0.0], [-1.0, 2.0], [f64::NAN, 1.0]] {
            let list = [candidate("a", weights[0]), candidate("b", weights[1])];
            assert!(Candidates::new("p", &list).is_err(), "{weights:?}");
        }
    }
}
