//! A ranker learned from what was shown: the second stage, between the sources and the rules.
//!
//! ```text
//! sources ─► best items ─► [`facts`] of each ─► Ranker ─► the same items in another order ─► rules
//!                                                 ▲
//!              exposures: one place, drawn with known chances, answered or not
//! ```
//! Invariants: one exposure is one place of a list, filled by a draw whose chances are known. So neither the place nor
//! what the old order thought of an item is mistaken for what people like: an example counts as much as its item was
//! unlikely to be drawn. A ranker is handed out only if it earns more than the order of the sources on the newest
//! exposures, which it has not seen, with an interval over units that lies above 0; else [`Learned::refusals`] says why.

mod item_facts;
mod refusal;

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use self::item_facts::FACTS;
pub use self::item_facts::{columns, facts};
pub use self::refusal::Refusal;
use super::serve::List;
use crate::offpolicy::verdict::{Refusal as Weak, Rules, verdict};
use crate::offpolicy::{self, Modelled, Row};
use crate::score::logistic::Logistic;
use crate::score::trees::{Examples, Loss, Options as TreeOptions, Trees};
use crate::stats::{Interval, finite, normal};

/// The share of exposures, the newest ones, that judge a ranker.
const HELD_SHARE: f64 = 0.3;

/// The share of the exposures learned from, the newest ones, that choose the algorithm.
const CHOSEN_SHARE: f64 = 0.2;

/// Exposures at least, learned from and held back each.
pub const EXPOSURES_MIN: usize = 500;

/// Answers at least, learned from and held back each.
pub const ANSWERS_MIN: usize = 30;

/// Held-back answers at least to what the ranker would have shown itself.
const OWN_ANSWERS_MIN: usize = 10;

/// To how many of the ranker's own decisions the held-back ones must amount.
const EFFECTIVE_MIN: f64 = 100.0;

/// How many times as much as under an even draw an example counts at most: rarer ones are cut.
const WEIGHT_MAX: f64 = 20.0;

/// The pull on the weights of logistic regression, on standardised columns.
const PENALTY: f64 = 1.0;

/// How many trees are tried.
const ROUNDS: [usize; 3] = [30, 100, 300];

/// The confidence of every interval.
const CONFIDENCE: f64 = 0.95;

/// How a ranker is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// The one that foretells the newest of the learned exposures better.
    #[default]
    Auto,
    /// Boosted trees.
    BoostedTrees,
    /// Logistic regression.
    Logistic,
}

/// One place of a list that was filled by a draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposure {
    /// Whose list it was, as any number.
    pub unit: u32,
    /// The facts of each item that could have been drawn, one item after the other.
    pub facts: Vec<f64>,
    /// The probability of each item; that of the first is the one that the best item gets.
    pub chances: Vec<f64>,
    /// Which item the order of the sources puts first.
    pub first: usize,
    /// Which item was drawn.
    pub shown: usize,
    /// Whether it was answered.
    pub answered: bool,
}

/// A fitted ranker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranker {
    columns: Vec<String>,
    model: Model,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Model {
    BoostedTrees(Trees),
    Logistic(Logistic),
}

/// One way to learn.
#[derive(Clone, Copy, Debug)]
enum Way {
    Trees(usize),
    Logistic,
}

impl Ranker {
    /// `boosted-trees` or `logistic`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.model {
            Model::BoostedTrees(_) => "boosted-trees",
            Model::Logistic(_) => "logistic",
        }
    }

    /// What it reads of an item.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Checks a ranker that was read from somewhere.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if its model is none, or is not one of its columns.
    pub fn check(&self) -> Result<()> {
        let width = match &self.model {
            Model::BoostedTrees(trees) => trees.check().map(|()| trees.width()),
            Model::Logistic(fit) => fit.check().map(|()| fit.width()),
        }?;
        let named = self.columns.iter().zip(FACTS).all(|(name, fact)| name == fact);
        if width == self.columns.len() && width >= FACTS.len() && named {
            return Ok(());
        }
        Err(Error::corrupt("a ranker reads other columns than it learned"))
    }

    /// The probability of an answer to each item.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if `facts` are not rows of its columns, or one is infinite.
    pub fn expected(&self, facts: &[f64]) -> Result<Vec<f64>> {
        let width = self.columns.len().max(1);
        if !facts.len().is_multiple_of(width) {
            return Err(Error::invalid(format!(
                "{} facts are no rows of {width} columns",
                facts.len()
            ))
            .hint("Give the facts that were learned, in their order."));
        }
        let predict = |row: &[f64]| match &self.model {
            Model::BoostedTrees(trees) => trees.predict(row),
            Model::Logistic(fit) => fit.predict(row),
        };
        facts.chunks_exact(width).map(predict).collect()
    }

    /// Puts the items of a list in its order, with the probability of an answer as their score; ties stay in the order of
    /// the sources.
    ///
    /// # Errors
    /// As [`Ranker::expected`], for facts of other items than the list's.
    pub fn rank(&self, list: &mut List, facts: &[f64]) -> Result<()> {
        let expected = self.expected(facts)?;
        if expected.len() != list.items.len() {
            return Err(Error::invalid(format!(
                "a list of {} items is ranked by the facts of {}",
                list.items.len(),
                expected.len()
            ))
            .hint("Give the facts of each item of the list, in its order."));
        }
        list.items.iter_mut().zip(expected).for_each(|(item, score)| item.score = score);
        list.items.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(())
    }

    fn fit(exposures: &[Exposure], columns: &[String], way: Way) -> Result<Self> {
        let width = columns.len();
        let (mut features, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for exposure in exposures {
            features.extend_from_slice(exposure.row(width)?);
            targets.push(f64::from(u8::from(exposure.answered)));
            weights.push(exposure.weight());
        }
        let examples = Examples { features: &features, width, targets: &targets };
        let model = match way {
            Way::Trees(rounds) => {
                let options = TreeOptions { rounds, ..TreeOptions::default() };
                let fit = Trees::fit_weighted(&examples, &weights, Loss::Logistic, &options)?;
                Model::BoostedTrees(fit)
            }
            Way::Logistic => Model::Logistic(Logistic::fit_weighted(&examples, &weights, PENALTY)?),
        };
        Ok(Self { columns: columns.to_vec(), model })
    }

    /// How wrong it is about exposures, by the weights they are learned with.
    fn loss(&self, exposures: &[Exposure]) -> Result<f64> {
        let mut sum = 0.0;
        for exposure in exposures {
            let expected = self.expected(exposure.row(self.columns.len())?)?;
            let chance = expected.first().copied().unwrap_or(0.5).clamp(1e-9, 1.0 - 1e-9);
            sum -= exposure.weight()
                * if exposure.answered { chance.ln() } else { (1.0 - chance).ln() };
        }
        Ok(sum)
    }
}

impl Exposure {
    /// The facts of the item that was shown.
    fn row(&self, width: usize) -> Result<&[f64]> {
        let from = self.shown.saturating_mul(width);
        self.facts
            .get(from..from.saturating_add(width))
            .ok_or_else(|| Error::internal("an exposure without the facts of its item"))
    }

    fn propensity(&self) -> f64 {
        self.chances.get(self.shown).copied().unwrap_or_default()
    }

    /// How much it counts: as much as its item was less likely than under an even draw, up to a limit.
    fn weight(&self) -> f64 {
        (1.0 / (self.chances.len() as f64 * self.propensity())).min(WEIGHT_MAX)
    }

    fn check(&self, width: usize) -> Result<()> {
        let count = self.chances.len();
        finite::all_finite("chance", &self.chances)?;
        let sum: f64 = self.chances.iter().sum();
        let proper = self.chances.iter().all(|chance| *chance > 0.0)
            && (sum - 1.0).abs() <= offpolicy::SUM_TOLERANCE;
        if !(proper
            && self.shown < count
            && self.first < count
            && self.facts.len() == count * width)
        {
            return Err(Error::invalid(format!(
                "an exposure has {count} chances that sum to {sum}, and {} facts of {width} columns",
                self.facts.len()
            ))
            .hint("Give each item that could have been drawn its chance above 0 and its facts."));
        }
        Ok(())
    }

    /// The chances if another item were the best one.
    fn with_best(&self, best: usize) -> Vec<f64> {
        let mut chances = self.chances.clone();
        if best < chances.len() {
            chances.swap(0, best);
        }
        chances
    }
}

/// What came of learning.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The ranker, learned from all exposures; `None` if the order of the sources stays.
    pub ranker: Option<Ranker>,
    /// Every reason against it; empty if there is a ranker.
    pub refusals: Vec<Refusal>,
    /// What it rests on; `None` if there were too few exposures to learn anything.
    pub judged: Option<Judged>,
}

/// What the held-back exposures say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// How many there are.
    pub exposures: usize,
    /// Answers a place in the order of the sources.
    pub sources: f64,
    /// Answers a place in the ranker's order.
    pub ranked: f64,
    /// The gain, with its interval over units.
    pub gain: Interval,
    /// To how many decisions of the ranker's own the evidence amounts.
    pub effective: f64,
}

/// Learns a ranker from exposures, the oldest first, and judges it by the newest.
///
/// An example counts by the inverse of its item's chance, relative to an even draw and cut at 20, so that what the old
/// order favoured does not look liked because it was shown. The judgement is doubly robust, with the logged chances, and
/// compares the two orders exposure by exposure, each with the exploration that was logged; exposures of one unit count as
/// one in the interval.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if an exposure is not whole: a chance of 0, chances that do not sum to 1, or
/// facts of other columns.
/// # Cost
/// That of at most seven fits on as many rows as there are exposures.
/// # Source
/// Joachims, Swaminathan & Schnabel 2017 (weights by inverse propensity, cut); Schnabel et al. 2016; Dudík, Langford &
/// Li 2011 (doubly robust). Weighted fits against scikit-learn in `tests/parity/trees.json`.
pub fn learn(exposures: &[Exposure], columns: &[String], algorithm: Algorithm) -> Result<Learned> {
    for exposure in exposures {
        exposure.check(columns.len())?;
    }
    let held_from = (exposures.len() as f64 * (1.0 - HELD_SHARE)) as usize;
    let (known, held) = exposures.split_at(held_from.min(exposures.len()));
    let answers = |part: &[Exposure]| part.iter().filter(|one| one.answered).count();
    let mut refusals = Vec::new();
    let fewer = known.len().min(held.len());
    if fewer < EXPOSURES_MIN {
        refusals.push(Refusal::FewExposures { exposures: fewer, least: EXPOSURES_MIN });
    }
    let fewer = answers(known).min(answers(held));
    if fewer < ANSWERS_MIN {
        refusals.push(Refusal::FewAnswers { answers: fewer, least: ANSWERS_MIN });
    }
    if !refusals.is_empty() {
        return Ok(Learned { ranker: None, refusals, judged: None });
    }
    let way = choose(known, columns, algorithm)?;
    let ranker = Ranker::fit(known, columns, way)?;
    let judged = judge(&ranker, held, &mut refusals)?;
    let ranker = refusals.is_empty().then(|| Ranker::fit(exposures, columns, way)).transpose()?;
    Ok(Learned { ranker, refusals, judged: Some(judged) })
}

/// The way that is asked for, and how many trees, by the newest of the exposures that are learned from.
fn choose(known: &[Exposure], columns: &[String], algorithm: Algorithm) -> Result<Way> {
    let mut ways = Vec::new();
    if algorithm != Algorithm::BoostedTrees {
        ways.push(Way::Logistic);
    }
    if algorithm != Algorithm::Logistic {
        ways.extend(ROUNDS.map(Way::Trees));
    }
    let from = (known.len() as f64 * (1.0 - CHOSEN_SHARE)) as usize;
    let (older, newer) = known.split_at(from.min(known.len()));
    let mut best: Option<(Way, f64)> = None;
    for way in ways {
        let loss = Ranker::fit(older, columns, way)?.loss(newer)?;
        if best.is_none_or(|(_, least)| loss < least) {
            best = Some((way, loss));
        }
    }
    best.map(|(way, _)| way).ok_or_else(|| Error::internal("no way to learn a ranker"))
}

/// The best of the expected rewards; of equal ones the first in the order of the sources among the logged candidates.
fn best_of(expected: &[f64], first: usize) -> usize {
    let most = expected.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if expected.get(first).is_some_and(|value| *value >= most) {
        return first;
    }
    expected.iter().position(|value| *value >= most).unwrap_or(first)
}

fn judge(ranker: &Ranker, held: &[Exposure], refusals: &mut Vec<Refusal>) -> Result<Judged> {
    let mut rows = Vec::with_capacity(held.len());
    let mut of_unit: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    let (mut own_answers, mut sources) = (0, 0.0);
    for one in held {
        let expected = ranker.expected(&one.facts)?;
        let best = best_of(&expected, one.first);
        let (theirs, ours) = (one.with_best(one.first), one.with_best(best));
        let reward = f64::from(u8::from(one.answered));
        own_answers += usize::from(one.answered && one.shown == best);
        let model = Modelled::new(one.shown, &expected, &ours)?;
        let of_theirs = Modelled::new(one.shown, &expected, &theirs)?;
        let at = |chances: &[f64]| chances.get(one.shown).copied().unwrap_or_default();
        let missed = (reward - model.chosen) / one.propensity();
        let gain = model.challenger - of_theirs.challenger + (at(&ours) - at(&theirs)) * missed;
        sources += of_theirs.challenger + at(&theirs) * missed;
        let sum = of_unit.entry(one.unit).or_default();
        *sum = (sum.0 + gain, sum.1 + 1.0);
        rows.push(Row {
            reward,
            propensity: one.propensity(),
            challenger: at(&ours),
            model: Some(model),
        });
    }
    let mut rules = Rules::default();
    rules.estimates.weight_max = None;
    (rules.rows_min, rules.effective_min, rules.rewarded_min) =
        (EXPOSURES_MIN, EFFECTIVE_MIN, ANSWERS_MIN);
    let verdict = verdict(&rows, &rules)?;
    // The gain over the policy that decided is another question, as that may have been an earlier ranker.
    let weak = verdict.refusals.into_iter().filter(|why| !matches!(why, Weak::NoGain { .. }));
    refusals.extend(weak.map(|why| Refusal::Weak { why }));
    if own_answers < OWN_ANSWERS_MIN {
        refusals.push(Refusal::FewOwnAnswers { answers: own_answers, least: OWN_ANSWERS_MIN });
    }
    let gain = clustered(&of_unit);
    if gain.low <= 0.0 || gain.low.is_nan() {
        refusals.push(Refusal::NoGain { gain });
    }
    let sources = sources / held.len().max(1) as f64;
    Ok(Judged {
        exposures: held.len(),
        sources,
        ranked: sources + gain.estimate,
        gain,
        effective: verdict.estimates.effective,
    })
}

/// The mean over exposures with a normal interval in which those of one unit go together.
fn clustered(of_unit: &BTreeMap<u32, (f64, f64)>) -> Interval {
    let (sum, count) =
        of_unit.values().fold((0.0, 0.0), |(sum, count), one| (sum + one.0, count + one.1));
    let mean = sum / f64::max(count, 1.0);
    let units = of_unit.len() as f64;
    if units < 2.0 {
        return Interval { estimate: mean, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let squares: f64 = of_unit.values().map(|(sum, n)| (sum - n * mean).powi(2)).sum();
    let error = (squares * units / (units - 1.0)).sqrt() / count;
    Interval::around(mean, normal::quantile(f64::midpoint(1.0, CONFIDENCE)) * error)
}

#[cfg(test)]
mod tests;
