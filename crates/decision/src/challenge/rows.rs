//! The rows that estimates are made from, with a model of rewards.

use flywheel_algo::bandit::{Algorithm, Bandit as Learnt, Options};
use flywheel_algo::offpolicy::{Modelled, Row};
use flywheel_base::{Error, Result};
use rayon::prelude::*;

/// Parts that units are divided into, so that the model of rewards is fitted on other units than it is used for.
pub(super) const FOLDS: u64 = 5;

/// One decision as far as estimates need it.
pub(super) struct Sample {
    pub(super) at: i64,
    pub(super) fold: u64,
    pub(super) context: Vec<f64>,
    pub(super) action: usize,
    pub(super) reward: f64,
    pub(super) propensity: f64,
    /// The challenger's probabilities, by the number of the action.
    pub(super) chances: Vec<(usize, f64)>,
    /// Those with which the action was chosen.
    pub(super) logged: Vec<(usize, f64)>,
}

/// The rows of the estimates, with a model of rewards fitted on other units.
pub(super) fn rows(samples: &[&Sample], actions: usize) -> Result<Vec<Row>> {
    let width = samples.first().map_or(0, |first| first.context.len());
    let all: Vec<usize> = (0..actions).collect();
    // Of this one only the expected rewards are asked: a regression for each action.
    let options = Options { explore: 1.0, ..Options::new(Algorithm::EpsilonGreedy) };
    let models = (0..FOLDS)
        .into_par_iter()
        .map(|fold| {
            let mut model = Learnt::new(actions, width, options)?;
            for sample in samples.iter().filter(|sample| sample.fold != fold) {
                model.learn(&sample.context, sample.action, sample.reward)?;
            }
            Ok(model)
        })
        .collect::<Result<Vec<_>>>()?;
    samples
        .par_iter()
        .map(|sample| {
            let chances = by_action(&sample.chances, actions);
            let model = usize::try_from(sample.fold).ok().and_then(|fold| models.get(fold));
            let model = model.filter(|_| !sample.chances.is_empty());
            let model = model
                .map(|model| {
                    let expected = model.expected(&sample.context, &all)?;
                    let logged = by_action(&sample.logged, actions);
                    let modelled = Modelled::new(sample.action, &expected, &chances)?;
                    Ok::<_, Error>(modelled.beside(&expected, &logged))
                })
                .transpose()?;
            Ok(Row {
                reward: sample.reward,
                propensity: sample.propensity,
                challenger: chances.get(sample.action).copied().unwrap_or_default().min(1.0),
                model,
            })
        })
        .collect()
}

/// Probabilities by the numbers of actions, 0 where there is none.
fn by_action(chances: &[(usize, f64)], actions: usize) -> Vec<f64> {
    let mut all = vec![0.0; actions];
    for (number, chance) in chances {
        if let Some(cell) = all.get_mut(*number) {
            *cell += chance;
        }
    }
    all
}
