//! Which way of adding up would have erred least in the past, and how far it would have erred.
//!
//! ```text
//! moments   0 … half …… count
//!           └ weights ┘└ judged: forecasts made from `half` on ┘
//! ```
//! A method is judged by weights from errors that were known before the first forecast it is judged on. The forecasts of
//! what is ahead have weights from all errors.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::Fitted;
use super::{Hierarchy, MINT_NODES_MAX, Method, Reconciler};

/// Fewer past forecasts than this on either side choose nothing.
const ORIGINS_MIN: usize = 4;

/// How much better (relative) a method must be than a simpler one.
const MARGIN: f64 = 1e-9;

/// What every node forecast at the same past moments, and what came.
///
/// # Shape
/// `actual[node][moment]`, of moments that follow each other, oldest first; `errors[node][origin][step]` is what came at moment
/// `origin + step` less what had been forecast for it from all moments before `origin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    actual: Vec<Vec<f64>>,
    errors: Vec<Vec<Vec<f64>>>,
    /// How many of a node's last origins are its own; at those before it was too short to be forecast.
    own: Vec<usize>,
}

impl Past {
    /// Collects what the nodes' fits measured on their own pasts.
    ///
    /// A node that was too short for its method at an early moment counts as forecast by the mean of what was known of it then,
    /// and as forecast to be 0 before it began.
    /// # Shape
    /// `nodes[node]` is a node's values, which all end at the same moment, and its fit; in the order of [`Hierarchy::nodes`]. The
    /// first, the total, is the longest and says how many moments there are.
    #[must_use]
    pub fn of(nodes: &[(&[f64], &Fitted)]) -> Self {
        let count = nodes.first().map_or(0, |(_, fitted)| fitted.past_errors().len());
        let horizon =
            nodes.first().and_then(|(_, fitted)| fitted.past_errors().first()).map_or(0, Vec::len);
        let (mut actual, mut errors, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for (values, fitted) in nodes {
            let begin = values.len().saturating_sub(count);
            let missing = count.saturating_sub(values.len());
            let mut came = vec![0.0; missing];
            came.extend_from_slice(values.get(begin..).unwrap_or_default());
            let paths = fitted.past_errors();
            let paths = paths.get(paths.len().saturating_sub(count)..).unwrap_or_default();
            let early = (0..count - paths.len()).map(|origin| {
                let known = values.get(..(values.len() + origin).saturating_sub(count));
                let known = known.unwrap_or_default();
                let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
                came.iter().skip(origin).take(horizon).map(|value| value - mean).collect()
            });
            errors.push(early.chain(paths.iter().cloned()).collect::<Vec<Vec<f64>>>());
            own.push(paths.len());
            actual.push(came);
        }
        Self { actual, errors, own }
    }

    /// How many moments there are, which is also how many origins.
    #[must_use]
    pub fn len(&self) -> usize {
        self.actual.first().map_or(0, Vec::len)
    }

    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The errors of the next step and what came, at the moments before `end`.
    fn known(&self, end: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let next = |paths: &Vec<Vec<f64>>| {
            paths.iter().take(end).filter_map(|path| path.first().copied()).collect()
        };
        let came = |row: &Vec<f64>| row.iter().take(end).copied().collect();
        (self.errors.iter().map(next).collect(), self.actual.iter().map(came).collect())
    }

    /// The errors of every node at one origin and step, before and after its forecasts were made to add up.
    fn both(
        &self,
        reconciler: &Reconciler<'_>,
        origin: usize,
        step: usize,
    ) -> (Vec<f64>, Vec<f64>) {
        let of = |paths: &Vec<Vec<f64>>| {
            paths.get(origin).and_then(|path| path.get(step)).copied().unwrap_or_default()
        };
        let came: Vec<f64> = self
            .actual
            .iter()
            .map(|row| row.get(origin + step).copied().unwrap_or_default())
            .collect();
        let before: Vec<f64> = self.errors.iter().map(of).collect();
        let said: Vec<f64> = came.iter().zip(&before).map(|(came, error)| came - error).collect();
        let made = reconciler.apply(&said, true);
        let after = came.iter().zip(made).map(|(came, made)| came - made).collect();
        (before, after)
    }

    /// The steps that were forecast from each origin.
    fn steps(&self, origin: usize) -> usize {
        self.errors.first().and_then(|paths| paths.get(origin)).map_or(0, Vec::len)
    }

    /// The errors that every node would have made with this way of adding up, at its own origins.
    ///
    /// # Shape
    /// `[node][origin][step]`, as [`Fitted::with_adding_up`] takes them.
    #[must_use]
    pub fn reconciled(&self, reconciler: &Reconciler<'_>) -> Vec<Vec<Vec<f64>>> {
        let count = self.len();
        let by_origin: Vec<Vec<Vec<f64>>> = (0..count)
            .into_par_iter()
            .map(|origin| {
                (0..self.steps(origin)).map(|step| self.both(reconciler, origin, step).1).collect()
            })
            .collect();
        let path = |node: usize, steps: &Vec<Vec<f64>>| -> Vec<f64> {
            steps.iter().filter_map(|nodes| nodes.get(node).copied()).collect()
        };
        self.own
            .iter()
            .enumerate()
            .map(|(node, own)| {
                by_origin.iter().skip(count - own).map(|steps| path(node, steps)).collect()
            })
            .collect()
    }

    /// How far forecasts from the later origins were off on each level, with and without adding up.
    fn judge(&self, hierarchy: &Hierarchy, reconciler: &Reconciler<'_>) -> BTreeMap<String, Off> {
        let half = self.len() / 2;
        let pairs: Vec<(usize, usize)> = (half..self.len())
            .flat_map(|origin| (0..self.steps(origin)).map(move |step| (origin, step)))
            .collect();
        let errors: Vec<(Vec<f64>, Vec<f64>)> =
            pairs.par_iter().map(|(origin, step)| self.both(reconciler, *origin, *step)).collect();
        let mut off: BTreeMap<String, Off> = BTreeMap::new();
        for ((before, after), (origin, step)) in errors.iter().zip(&pairs) {
            for (place, node) in hierarchy.nodes.iter().enumerate() {
                let of = |row: &[f64]| row.get(place).copied().unwrap_or_default();
                let came = self.actual.get(place).map_or(0.0, |row| of_moment(row, origin + step));
                let sums = off.entry(node.level.clone()).or_default();
                sums.before += of(before).abs();
                sums.after += of(after).abs();
                sums.actual += came.abs();
                sums.count += 1;
            }
        }
        off
    }
}

fn of_moment(row: &[f64], moment: usize) -> f64 {
    row.get(moment).copied().unwrap_or_default()
}

/// Sums of sizes of errors.
#[derive(Clone, Copy, Debug, Default)]
struct Off {
    before: f64,
    after: f64,
    actual: f64,
    count: usize,
}

/// How far one level was off: the sum of the sizes of errors over the sum of what came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelScore {
    /// The level.
    pub level: String,
    /// With adding up; `None` if nothing came.
    pub wape: Option<f64>,
    /// Of the same nodes' own forecasts, which do not add up.
    pub own: Option<f64>,
    /// How many forecasts were judged.
    pub count: usize,
}

/// One method on past moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The method.
    pub method: Method,
    /// Each level, the total first.
    pub levels: Vec<LevelScore>,
}

impl Score {
    /// The mean over the levels, each counting the same; `None` if nothing came.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let known: Option<Vec<f64>> = self.levels.iter().map(|level| level.wape).collect();
        known.filter(|all| !all.is_empty()).map(|all| all.iter().sum::<f64>() / all.len() as f64)
    }

    /// As [`Self::mean`], of the same nodes' own forecasts, which do not add up.
    #[must_use]
    pub fn own(&self) -> Option<f64> {
        let known: Option<Vec<f64>> = self.levels.iter().map(|level| level.own).collect();
        known.filter(|all| !all.is_empty()).map(|all| all.iter().sum::<f64>() / all.len() as f64)
    }
}

/// A method that was chosen, or kept, and what was compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// The method.
    pub method: Method,
    /// Why, as a sentence for people.
    pub reason: String,
    /// Every method that was judged, the simplest first.
    pub scores: Vec<Score>,
}

impl Chosen {
    /// What the past says of the method.
    #[must_use]
    pub fn score(&self) -> Option<&Score> {
        self.scores.iter().find(|score| score.method == self.method)
    }
}

/// Takes the `wanted` method, or the one of the least mean error over the levels.
///
/// A past too short for the wanted method, or to compare any, takes [`Method::BottomUp`], and the reason says so.
/// # Errors
/// As [`Hierarchy::reconciler`]: among others [`flywheel_base::ErrorKind::Invalid`] if MinT is wanted of more than
/// [`MINT_NODES_MAX`] nodes.
/// # Cost
/// One reconciler a method and one [`Reconciler::apply`] for each of its steps from each later origin.
pub fn choose(hierarchy: &Hierarchy, past: &Past, wanted: Option<Method>) -> Result<Chosen> {
    let half = past.len() / 2;
    if half < ORIGINS_MIN {
        return too_short(past, wanted);
    }
    let fits = |method: &Method| *method != Method::Mint || hierarchy.nodes.len() <= MINT_NODES_MAX;
    let methods: Vec<Method> = match wanted {
        Some(method) => vec![method],
        None => Method::ALL.into_iter().filter(fits).collect(),
    };
    let (errors, actual) = past.known(half);
    let mut scores = Vec::with_capacity(methods.len());
    for method in methods {
        let reconciler = hierarchy.reconciler(method, &errors, &actual)?;
        let off = past.judge(hierarchy, &reconciler);
        scores.push(Score { method, levels: levels(hierarchy, &off) });
    }
    let judged = past.len() - half;
    let (method, reason) = match wanted {
        Some(method) => (method, format!("{} is what the learner's file says", method.name())),
        None => best(&scores, judged),
    };
    Ok(Chosen { method, reason, scores })
}

fn too_short(past: &Past, wanted: Option<Method>) -> Result<Chosen> {
    let needed = match wanted {
        Some(Method::Mint) => 2,
        Some(Method::WlsVariance | Method::TopDownAverage) => 1,
        _ => 0,
    };
    let count = past.len();
    let (method, reason) = match wanted {
        Some(method) if count >= needed => {
            (method, format!("{} is what the learner's file says", method.name()))
        }
        Some(method) => (
            Method::BottomUp,
            format!(
                "{count} past forecasts are too few for {}, so the series were added up",
                method.name()
            ),
        ),
        None => (
            Method::BottomUp,
            format!(
                "{count} past forecasts are too few to compare methods, so the series were added up"
            ),
        ),
    };
    Ok(Chosen { method, reason, scores: Vec::new() })
}

/// Each level's score, the total first.
fn levels(hierarchy: &Hierarchy, off: &BTreeMap<String, Off>) -> Vec<LevelScore> {
    let mut names: Vec<&str> = hierarchy.nodes.iter().map(|node| node.level.as_str()).collect();
    names.dedup();
    let score = |level: &str| {
        let sums = off.get(level).copied().unwrap_or_default();
        let share = |error: f64| (sums.actual > 0.0).then(|| error / sums.actual);
        LevelScore {
            level: level.to_owned(),
            wape: share(sums.after),
            own: share(sums.before),
            count: sums.count,
        }
    };
    names.into_iter().map(score).collect()
}

fn best(scores: &[Score], judged: usize) -> (Method, String) {
    let mut best: Option<(&Score, f64)> = None;
    for score in scores {
        let Some(mean) = score.mean().filter(|mean| mean.is_finite()) else { continue };
        if best.is_none_or(|(_, least)| mean < least * (1.0 - MARGIN)) {
            best = Some((score, mean));
        }
    }
    let Some((score, mean)) = best else {
        let reason = "nothing came that methods could be compared on, so the series were added up";
        return (Method::BottomUp, reason.to_owned());
    };
    let own = score.own().unwrap_or_default();
    let reason = format!(
        "{} erred least when the last {judged} moments were forecast again: {mean:.4} on average over the levels, beside {own:.4} of forecasts that do not add up",
        score.method.name()
    );
    (score.method, reason)
}

/// What adding up does to forecasts of the steps ahead and to what is known of their errors.
#[derive(Clone, Debug, PartialEq)]
pub struct AddedUp {
    /// `shift[node][step]`.
    pub shift: Vec<Vec<f64>>,
    /// `errors[node][origin][step]`.
    pub errors: Vec<Vec<Vec<f64>>>,
}

/// Makes the forecasts of the steps ahead add up by `method`, with weights from the whole past; nothing is below 0.
///
/// # Shape
/// `means[node][step]`, in the order of [`Hierarchy::nodes`].
/// # Errors
/// As [`Hierarchy::reconciler`], and [`flywheel_base::ErrorKind::Invalid`] if the sizes of the nodes are too far apart for
/// the method to give numbers.
pub fn add_up(
    hierarchy: &Hierarchy,
    past: &Past,
    method: Method,
    means: &[Vec<f64>],
) -> Result<AddedUp> {
    let (errors, actual) = past.known(past.len());
    let reconciler = hierarchy.reconciler(method, &errors, &actual)?;
    let horizon = means.first().map_or(0, Vec::len);
    let mut shift = vec![Vec::with_capacity(horizon); means.len()];
    for step in 0..horizon {
        let said: Vec<f64> = means.iter().filter_map(|mean| mean.get(step).copied()).collect();
        let made = reconciler.apply(&said, true);
        if let Some(place) = made.iter().position(|value| !value.is_finite()) {
            let node = hierarchy.nodes.get(place);
            let (level, label) =
                node.map_or(("", ""), |node| (node.level.as_str(), node.label.as_str()));
            return Err(Error::invalid(format!(
                "{} makes no number of the forecast of {level} \"{label}\"",
                method.name()
            ))
            .hint("Values of very different size cannot be weighed; use bottom-up."));
        }
        for (row, (made, said)) in shift.iter_mut().zip(made.iter().zip(&said)) {
            row.push(made - said);
        }
    }
    Ok(AddedUp { shift, errors: past.reconciled(&reconciler) })
}

#[cfg(test)]
mod tests;
