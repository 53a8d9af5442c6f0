//! The variant of an experiment: the same one for a unit at every moment.

use flywheel_base::{Result, Rng, digest};
use flywheel_project::resource::policy::{Candidate, Experiment};

use super::Choice;
use super::candidates::Candidates;
use crate::decide::Unit;

/// Variants, their shares, and what assigns them.
pub(crate) struct Assignment {
    variants: Candidates,
    salt: String,
    split: String,
}

impl Assignment {
    /// Takes what is declared.
    pub(crate) fn new(policy: &str, experiment: &Experiment) -> Result<Self> {
        Ok(Self {
            variants: Candidates::new(policy, &experiment.variants)?,
            salt: salt(policy, experiment).to_owned(),
            split: split_of(policy, experiment),
        })
    }

    /// One variant for everybody: the experiment is concluded.
    pub(crate) fn kept(policy: &str, experiment: &Experiment, variant: &str) -> Result<Self> {
        let kept = experiment.variants.iter().find(|one| one.name == variant);
        let kept = kept.map(|one| Candidate { weight: 1.0, ..one.clone() });
        Ok(Self {
            variants: Candidates::new(policy, kept.as_slice())?,
            salt: salt(policy, experiment).to_owned(),
            split: kept_split(policy, experiment, variant),
        })
    }

    /// What decided under the split that is named `split`: a kept variant, or the assignment.
    pub(crate) fn of_split(policy: &str, experiment: &Experiment, split: &str) -> Result<Self> {
        let mut variants = experiment.variants.iter().map(|one| one.name.as_str());
        match variants.find(|variant| kept_split(policy, experiment, variant) == split) {
            Some(variant) => Self::kept(policy, experiment, variant),
            None => Self::new(policy, experiment),
        }
    }

    /// The variant of a unit; it follows from salt and unit alone.
    pub(crate) fn choose(&self, unit: &Unit) -> Option<Choice> {
        let seed = digest::hash64(&[b"experiment", self.salt.as_bytes(), unit.id.as_bytes()]);
        let choice = self.variants.choose(&mut Rng::new(seed))?;
        Some(Choice { candidates_digest: self.split.clone(), ..choice })
    }
}

/// What assigns units, besides their id.
pub(crate) fn salt<'a>(policy: &'a str, experiment: &'a Experiment) -> &'a str {
    experiment.salt.as_deref().unwrap_or(policy)
}

/// What names a split: salt, variants and weights. Decisions of another split belong to another comparison.
pub(crate) fn split_of(policy: &str, experiment: &Experiment) -> String {
    let variants = experiment.variants.iter().map(|v| format!("{}={}", v.name, v.weight));
    let parts: Vec<String> =
        [salt(policy, experiment).to_owned()].into_iter().chain(variants).collect();
    digest::short(&parts.iter().map(String::as_bytes).collect::<Vec<_>>())
}

/// What names the decisions of a concluded experiment: they belong to no comparison.
fn kept_split(policy: &str, experiment: &Experiment, variant: &str) -> String {
    digest::short(&[split_of(policy, experiment).as_bytes(), b"kept", variant.as_bytes()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Map, json};

    use super::*;

    fn experiment(salt: Option<&str>) -> Experiment {
        serde_json::from_value(json!({
            "variants": [{"name": "a", "weight": 3}, {"name": "b", "weight": 1}], "salt": salt,
        }))
        .unwrap()
    }

    fn assigned(experiment: &Experiment) -> BTreeMap<String, String> {
        let assignment = Assignment::new("p", experiment).unwrap();
        let unit = |n: usize| Unit { id: format!("u{n}"), columns: Map::new() };
        (0..4_000).map(|n| (format!("u{n}"), assignment.choose(&unit(n)).unwrap().action)).collect()
    }

    #[test]
    fn a_unit_keeps_its_variant_and_another_salt_assigns_anew() {
        let (first, again) = (assigned(&experiment(None)), assigned(&experiment(None)));
        assert_eq!(first, again);
        let share = first.values().filter(|variant| *variant == "b").count();
        assert!((900..1_100).contains(&share), "{share}");
        let other = assigned(&experiment(Some("two")));
        let both = first.iter().filter(|(unit, v)| *v == "b" && other[*unit] == "b").count();
        assert!((190..310).contains(&both), "salts are independent: {both}");
        assert_ne!(split_of("p", &experiment(None)), split_of("p", &experiment(Some("two"))));
    }

    #[test]
    fn a_kept_variant_is_everybodys_and_is_told_from_what_was_compared() {
        let declared = experiment(None);
        let kept = Assignment::kept("p", &declared, "b").unwrap();
        let split = split_of("p", &declared);
        let unit = |n: usize| Unit { id: format!("u{n}"), columns: Map::new() };
        for choice in (0..100).map(|n| kept.choose(&unit(n)).unwrap()) {
            assert_eq!((choice.action.as_str(), choice.propensity), ("b", 1.0));
            assert_ne!(choice.candidates_digest, split);
            let again = Assignment::of_split("p", &declared, &choice.candidates_digest).unwrap();
            assert_eq!(again.choose(&unit(7)).unwrap().action, "b");
        }
        let before = Assignment::of_split("p", &declared, &split).unwrap();
        let variants: Vec<_> = (0..100).map(|n| before.choose(&unit(n)).unwrap().action).collect();
        assert!(variants.iter().any(|variant| variant == "a"), "each unit had its own");
        assert!(Assignment::kept("p", &declared, "c").is_err(), "there is no such variant");
    }
}
