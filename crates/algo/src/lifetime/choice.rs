//! Which model to use: the one that foretold the newest purchases best.

use flywheel_base::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Customer, Fit, History, Model, customers};
use crate::segment::rfm::Purchase;

/// How one model did on purchases that it had not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The model.
    pub model: Model,
    /// The mean distance of expected and actual purchases of a customer; `None` if it could not be fitted.
    pub error: Option<f64>,
    /// All expected purchases.
    pub expected: Option<f64>,
}

/// A chosen model, fitted on everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The fit.
    pub fit: Fit,
    /// What each model foretold, in the order of [`Model::CONTINUOUS`]; empty if there was nothing to hold back, or
    /// nobody bought in what was held back.
    pub trials: Vec<Trial>,
    /// The mean distance of a guess at everybody's own past rate.
    pub naive_error: Option<f64>,
    /// The purchases that were held back.
    pub actual: f64,
    /// The customers who were judged.
    pub judged: usize,
    /// Why this model, for people.
    pub reason: String,
}

/// Fits each of `models` on the purchases before `as_of − holdout_days`, compares what it foretells with the
/// purchases since, and fits the best again on all purchases.
///
/// With one model there is nothing to choose, but it is judged all the same. With too little before the holdout to
/// fit anything, the model of greatest likelihood is taken, and the reason says so. So it is if nobody bought since: then
/// the model that takes everybody for lost would win, whatever it is like.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if `holdout_days` is not above 0, `models` is empty or holds
/// [`Model::BgBb`] beside others (its days are [`opportunities`](super::opportunities)), and as [`customers`] and
/// [`Fit::new`].
/// # Cost
/// Two fits of each model at most.
pub fn choose(
    purchases: &[Purchase],
    as_of: Timestamp,
    holdout_days: i64,
    models: &[Model],
) -> Result<(Choice, Vec<Customer>)> {
    let mixed = models.len() > 1 && models.contains(&Model::BgBb);
    if holdout_days <= 0 || models.is_empty() || mixed {
        return Err(Error::invalid(format!(
            "a choice of {} models of lifetimes on {holdout_days} held-back days",
            models.len()
        ))
        .hint("Hold back at least a day, and compare bg-bb with no other model: its time is counted in opportunities."));
    }
    let now = customers(purchases, as_of)?;
    let histories: Vec<History> = now.iter().map(|customer| customer.history).collect();
    let then = Timestamp::from_day(as_of.day().saturating_sub(holdout_days).saturating_add(1));
    let before = customers(purchases, Timestamp::from_micros(then.micros().saturating_sub(1)))?;
    let pairs = pairs(&before, &now);
    let actual: f64 = pairs.iter().map(|(_, bought)| bought).sum();
    let trials: Vec<Trial> =
        models.iter().map(|model| trial(*model, &pairs, holdout_days as f64)).collect();
    let best = trials
        .iter()
        .filter_map(|trial| Some((trial.error?, trial)))
        .reduce(|best, next| if next.0 < best.0 { next } else { best });
    let unit = if models.contains(&Model::BgBb) { "opportunities" } else { "days" };
    let silent = !pairs.is_empty() && actual <= 0.0;
    let (fit, reason) = match best {
        _ if silent => {
            let since = newest(purchases, as_of).filter(|newest| *newest < then && unit == "days");
            let why = since.map_or_else(
                || format!("no customer bought again in the last {holdout_days} {unit}"),
                |newest| format!("there is no purchase since {}", newest.date()),
            );
            // Long after the last purchase some models cannot be reckoned with any more.
            let able: Vec<Model> = trials
                .iter()
                .filter(|trial| trial.error.is_some())
                .map(|trial| trial.model)
                .collect();
            let fit = likeliest(if able.is_empty() { models } else { &able }, &histories)?;
            let reason = likely(models, &fit, &format!("{why}, by which models could be judged"));
            (fit, reason)
        }
        Some((error, trial)) => {
            let fit = Fit::new(trial.model, &histories, None)?;
            let reason = format!(
                "{} was {error:.4} purchases off a customer in the last {holdout_days} {unit}, {}",
                trial.model.name(),
                if models.len() > 1 { "the least of all" } else { "as the only one asked for" }
            );
            (fit, reason)
        }
        None => {
            let fit = likeliest(models, &histories)?;
            let why =
                format!("there is too little history to hold its last {holdout_days} {unit} back");
            let reason = likely(models, &fit, &why);
            (fit, reason)
        }
    };
    let trials = if best_exists(&trials) && !silent { trials } else { Vec::new() };
    let naive_error = (!trials.is_empty()).then(|| naive(&pairs, holdout_days as f64));
    let judged = if trials.is_empty() { 0 } else { pairs.len() };
    Ok((Choice { fit, trials, naive_error, actual, judged, reason }, now))
}

/// The moment of the newest purchase up to `as_of`.
fn newest(purchases: &[Purchase], as_of: Timestamp) -> Option<Timestamp> {
    purchases.iter().map(|purchase| purchase.at).filter(|at| *at <= as_of).max()
}

fn best_exists(trials: &[Trial]) -> bool {
    trials.iter().any(|trial| trial.error.is_some())
}

/// Each customer known then, with the purchases made since. Both lists are in the order of names.
fn pairs(before: &[Customer], now: &[Customer]) -> Vec<(History, f64)> {
    let mut later = now.iter();
    before
        .iter()
        .filter_map(|customer| {
            let found = later.find(|later| later.customer == customer.customer)?;
            let bought = found.history.frequency - customer.history.frequency;
            Some((customer.history, bought.max(0.0)))
        })
        .collect()
}

fn trial(model: Model, pairs: &[(History, f64)], days: f64) -> Trial {
    let histories: Vec<History> = pairs.iter().map(|(history, _)| *history).collect();
    let none = Trial { model, error: None, expected: None };
    // Too little history is no fault here: the choice then falls to the others or to the likelihood.
    let Ok(fit) = Fit::new(model, &histories, None) else { return none };
    let (mut off, mut sum) = (0.0, 0.0);
    for (history, bought) in pairs {
        let Ok(expected) = fit.expected(history, days) else { return none };
        off += (expected - bought).abs();
        sum += expected;
    }
    let error = Some(off / pairs.len().max(1) as f64).filter(|error| error.is_finite());
    Trial { model, error, expected: Some(sum) }
}

/// The guess that everybody goes on at the own past rate of repeat purchases.
fn naive(pairs: &[(History, f64)], days: f64) -> f64 {
    let off = pairs.iter().map(|(history, bought)| {
        let rate = if history.age > 0.0 { history.frequency / history.age } else { 0.0 };
        (rate * days - bought).abs()
    });
    off.sum::<f64>() / pairs.len().max(1) as f64
}

/// The fit of greatest likelihood.
fn likeliest(models: &[Model], histories: &[History]) -> Result<Fit> {
    let fits: Result<Vec<Fit>> =
        models.iter().map(|model| Fit::new(*model, histories, None)).collect();
    let best = fits?
        .into_iter()
        .reduce(|best, next| if next.log_likelihood > best.log_likelihood { next } else { best });
    best.ok_or_else(|| Error::internal("no model of lifetimes was tried"))
}

/// The reason of a fit that was not chosen by what it foretells, because of `why`.
fn likely(models: &[Model], fit: &Fit, why: &str) -> String {
    let which =
        if models.len() > 1 { "has the greatest likelihood" } else { "is the only one asked for" };
    format!("{} {which}; {why}", fit.model.name())
}
