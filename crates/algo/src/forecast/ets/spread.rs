//! How the variance grows with the horizon.

use super::Ets;
use super::form::{Noise, Seasonal};

/// The standard deviation of each step for one-step errors of this variance.
///
/// # Source
/// Hyndman et al. 2008, ch. 6: exact for additive errors (class 1) and for multiplicative ones without
/// multiplicative season (class 2), the approximation of eq. 6.3 for a multiplicative season (class 3).
pub(super) fn deviations(model: &Ets, variance: f64, horizon: usize) -> Vec<f64> {
    let constants = model.constants;
    let period = model.form.period.max(1);
    let multiplied = model.form.season == Seasonal::Multiplicative;
    let effect = |step: usize| {
        let season = &model.last.season;
        if season.is_empty() { None } else { season.get(step % season.len()).copied() }
    };
    // What one unit of error adds to the mean `j` steps later.
    let (mut power, mut damping) = (1.0, 0.0);
    let mut weights = Vec::with_capacity(horizon);
    let mut bases = Vec::with_capacity(horizon);
    for step in 1..=horizon {
        power *= constants.phi;
        damping += power;
        let seasonal = model.form.season == Seasonal::Additive && step % period == 0;
        let gamma = if seasonal { constants.gamma } else { 0.0 };
        weights.push(constants.alpha + constants.beta * damping + gamma);
        let plain = model.last.level + damping * model.last.trend;
        let added = if multiplied { 0.0 } else { effect(step - 1).unwrap_or_default() };
        bases.push(plain + added);
    }
    if model.form.noise == Noise::Additive {
        let mut sum = 1.0;
        return weights
            .iter()
            .map(|weight| {
                let deviation = (variance * sum).sqrt();
                sum += weight * weight;
                deviation
            })
            .collect();
    }
    let mut thetas: Vec<f64> = Vec::with_capacity(horizon);
    let mut made = Vec::with_capacity(horizon);
    for (step, base) in bases.iter().enumerate() {
        let past = weights.iter().zip(thetas.iter().rev());
        let theta = base * base + variance * past.map(|(w, theta)| w * w * theta).sum::<f64>();
        thetas.push(theta);
        let cycles = i32::try_from(step / period).unwrap_or(i32::MAX);
        let (season, factor) = if multiplied {
            let growth = (1.0 + constants.gamma.powi(2) * variance).powi(cycles);
            (growth, effect(step).unwrap_or(1.0))
        } else {
            (1.0, 1.0)
        };
        let of_base = ((1.0 + variance) * season * theta - base * base).max(0.0);
        made.push(of_base.sqrt() * factor.abs());
    }
    made
}
