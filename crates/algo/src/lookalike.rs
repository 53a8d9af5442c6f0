//! Look-alike audiences: who of everybody else is most like some seeds.
//!
//! A seed is known to belong, of all others nothing is known. Every unit is scored by a fit that has not seen it: the
//! units fall into [`FOLDS`] parts by their ids, and each part is scored by what was learned of the others. So a seed
//! that was held back is ranked among strangers exactly as an unknown unit is, and how high it comes is an honest
//! measure of the list ([`Judged`]).
//!
//! # Source
//! Seeds against everybody else rank as members against others would, if seeds are drawn among members by chance
//! (Elkan & Noto 2008).

mod nearest;

use flywheel_base::{Error, Result, digest};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::score::logistic::Logistic;
use crate::score::quality::auc;
use crate::score::trees::{Examples, Loss, Options, Trees};
use crate::stats::Interval;
use crate::stats::proportion::wilson;

pub use self::nearest::Nearest;

/// Parts of the units, each scored by what was learned of the others.
pub const FOLDS: usize = 5;
/// Seeds below which there is nothing to learn.
pub const SEEDS_MIN: usize = 10;
/// The shares of the list of which is told how many held-back seeds would be in them.
pub const SHARES: [f64; 3] = [0.05, 0.1, 0.2];
/// Others that a fit is given for each seed at most; more of them change the ranking little and take long.
const OTHERS_PER_SEED: usize = 20;
/// Others that a fit is given if there are as many, however few the seeds.
const OTHERS_MIN: usize = 10_000;
/// The pull on the weights of logistic regression, on standardised columns.
const PENALTY: f64 = 1.0;
/// Boosted trees.
const ROUNDS: usize = 100;
const CONFIDENCE: f64 = 0.95;

/// How likeness is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// By the distance to the nearest seeds.
    Nearest,
    /// By logistic regression, seeds against others.
    Logistic,
    /// By boosted trees, seeds against others.
    BoostedTrees,
}

impl Method {
    /// Every method, the simpler first.
    pub const ALL: [Self; 3] = [Self::Logistic, Self::Nearest, Self::BoostedTrees];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Logistic => "logistic",
            Self::BoostedTrees => "boosted-trees",
        }
    }
}

/// Everybody.
///
/// # Shape
/// One id, one flag and `width` features a unit; a feature that is not known is NaN.
#[derive(Clone, Copy, Debug)]
pub struct Units<'a> {
    /// Who; no id comes twice.
    pub ids: &'a [String],
    /// Row after row.
    pub features: &'a [f64],
    /// Features of a unit.
    pub width: usize,
    /// Whether it is a seed.
    pub seeds: &'a [bool],
}

/// What the fits give.
#[derive(Clone, Debug)]
pub struct Alike {
    /// How likeness was learned.
    pub method: Method,
    /// A score for each unit, seeds included, by the fit that has not seen it: the larger the more alike. No probability.
    pub scores: Vec<f64>,
    /// What moved each score, feature by feature, row after row; empty if the method cannot tell.
    pub contributions: Vec<f64>,
    /// What it is worth; none if no seed could be held back.
    pub judged: Option<Judged>,
    /// The fits, one a part.
    pub fits: Vec<Fit>,
}

/// How high seeds that were held back come.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// How many seeds were held back.
    pub seeds: usize,
    /// Among how many others.
    pub others: usize,
    /// How often a seed that was held back is ranked above another unit; .5 is chance.
    pub auc: Interval,
    /// The best ranked.
    pub tops: Vec<Top>,
}

/// The best of the list of those who are no seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Top {
    /// Which share of the list; also the share of seeds that chance would find in it.
    pub share: f64,
    /// Which share of the held-back seeds would be among them. Of units who belong and are no seeds it is the same, if
    /// seeds are drawn among those who belong by chance.
    pub recall: Interval,
    /// The same if units are ranked by their distance to the mean seed.
    pub by_distance: f64,
}

/// What was learned of all parts but one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// The seeds themselves.
    Nearest(Nearest),
    /// Weights.
    Logistic(Logistic),
    /// Trees.
    BoostedTrees(Trees),
}

impl Fit {
    fn of(method: Method, units: &Units<'_>, rows: &[usize]) -> Result<Self> {
        let features: Vec<f64> = rows.iter().flat_map(|row| units.row(*row)).copied().collect();
        let flag = |row: &usize| f64::from(u8::from(units.seeds[*row]));
        let targets: Vec<f64> = rows.iter().map(flag).collect();
        let examples = Examples { features: &features, width: units.width, targets: &targets };
        Ok(match method {
            Method::Nearest => Self::Nearest(Nearest::fit(&examples)),
            Method::Logistic => Self::Logistic(Logistic::fit(&examples, PENALTY)?),
            Method::BoostedTrees => {
                let options = Options { rounds: ROUNDS, ..Options::default() };
                Self::BoostedTrees(Trees::fit(&examples, Loss::Logistic, &options)?)
            }
        })
    }

    fn score(&self, row: &[f64]) -> Result<f64> {
        match self {
            Self::Nearest(fit) => Ok(fit.score(row)),
            Self::Logistic(fit) => fit.predict(row),
            Self::BoostedTrees(fit) => fit.predict(row),
        }
    }

    fn contributions(&self, row: &[f64]) -> Result<Vec<f64>> {
        match self {
            Self::Nearest(_) => Ok(Vec::new()),
            Self::Logistic(fit) => fit.contributions(row),
            Self::BoostedTrees(fit) => fit.contributions(row),
        }
    }
}

impl Units<'_> {
    fn row(&self, at: usize) -> &[f64] {
        self.features.get(at * self.width..(at + 1) * self.width).unwrap_or_default()
    }

    fn check(&self) -> Result<()> {
        let Self { ids, features, width, seeds } = self;
        if *width == 0 || features.len() != ids.len() * width || seeds.len() != ids.len() {
            return Err(Error::invalid(format!(
                "{} values and {} flags are no {} units of {width} features",
                features.len(),
                seeds.len(),
                ids.len()
            ))
            .hint("Give every unit a flag and the same number of features, at least one."));
        }
        if let Some(at) = features.iter().position(|value| value.is_infinite()) {
            return Err(Error::invalid(format!(
                "unit \"{}\": feature {} is infinite",
                ids[at / width],
                at % width
            ))
            .hint("Give a finite number, or NaN where it is not known."));
        }
        let count = seeds.iter().filter(|seed| **seed).count();
        if count < SEEDS_MIN || count == seeds.len() {
            return Err(Error::invalid(format!("{count} of {} units are seeds", seeds.len()))
                .hint(format!("Give at least {SEEDS_MIN} seeds, and others to be ranked.")));
        }
        Ok(())
    }
}

/// Ranks everybody by likeness to the seeds, by the method that is asked for or by the one that ranks best.
///
/// Where the method is chosen, half of the seeds choose it and the others judge it.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] for ragged lengths, an infinite feature, fewer than [`SEEDS_MIN`] seeds, or
/// nobody but seeds.
/// # Cost
/// [`FOLDS`] fits of the seeds and at most 20 others for each of them (10,000 if there are few), and one score a unit:
/// by distance that is units times seeds times features.
pub fn rank(units: &Units<'_>, method: Option<Method>) -> Result<Alike> {
    units.check()?;
    let hashes: Vec<u64> =
        units.ids.iter().map(|id| digest::hash64(&[b"lookalike", id.as_bytes()])).collect();
    let Some(method) = method else {
        let mut best: Option<(f64, Alike)> = None;
        for method in Method::ALL {
            let made = rank_by(units, method, &hashes)?;
            let chosen_by = judged(units, &made.scores, &hashes, |hash| hash & CHOOSING == 0)?;
            let worth = chosen_by.map_or(0.0, |judged| judged.auc.estimate);
            // Of equal ones the first, which is the simpler.
            if best.as_ref().is_none_or(|(most, _)| worth > *most) {
                best = Some((worth, made));
            }
        }
        let (_, mut made) = best.ok_or_else(|| Error::internal("there is no method"))?;
        made.judged = judged(units, &made.scores, &hashes, |hash| hash & CHOOSING != 0)?;
        return Ok(made);
    };
    let mut made = rank_by(units, method, &hashes)?;
    made.judged = judged(units, &made.scores, &hashes, |_| true)?;
    Ok(made)
}

/// The bit of a hash that says whether a seed chooses the method or judges it; parts follow from the others.
const CHOOSING: u64 = 1 << 63;

fn part_of(hash: u64) -> usize {
    // Below FOLDS, so it fits.
    ((hash & !CHOOSING) % FOLDS as u64) as usize
}

fn rank_by(units: &Units<'_>, method: Method, hashes: &[u64]) -> Result<Alike> {
    let mut scores = vec![0.0; units.ids.len()];
    let told = if method == Method::Nearest { 0 } else { units.width };
    let mut contributions = vec![0.0; units.ids.len() * told];
    let mut fits = Vec::with_capacity(FOLDS);
    for part in 0..FOLDS {
        let (held, known): (Vec<usize>, Vec<usize>) =
            (0..units.ids.len()).partition(|row| part_of(hashes[*row]) == part);
        let fit = Fit::of(method, units, &sampled(units, hashes, known))?;
        let one = |row: &usize| {
            let features = units.row(*row);
            Ok((*row, fit.score(features)?, fit.contributions(features)?))
        };
        let found = held.par_iter().map(one).collect::<Result<Vec<_>>>()?;
        for (row, score, moved) in found {
            scores[row] = score;
            if let Some(cells) = contributions.get_mut(row * told..(row + 1) * told) {
                cells.iter_mut().zip(moved).for_each(|(cell, by)| *cell = by);
            }
        }
        fits.push(fit);
    }
    Ok(Alike { method, scores, contributions, judged: None, fits })
}

/// All seeds of some rows and as many others as a fit is given, those whose hashes are the smallest.
fn sampled(units: &Units<'_>, hashes: &[u64], rows: Vec<usize>) -> Vec<usize> {
    let (seeds, mut others): (Vec<usize>, Vec<usize>) =
        rows.into_iter().partition(|row| units.seeds[*row]);
    let most = (seeds.len() * OTHERS_PER_SEED).max(OTHERS_MIN);
    if others.len() > most {
        // The remainder says in which part a unit is; the quotient is another draw.
        others.sort_unstable_by_key(|row| (hashes[*row] / FOLDS as u64, *row));
        others.truncate(most);
    }
    let mut all = seeds;
    all.append(&mut others);
    all.sort_unstable();
    all
}

/// What scores are worth by the seeds whose hashes are `asked`; none if there are none.
fn judged(
    units: &Units<'_>,
    scores: &[f64],
    hashes: &[u64],
    asked: impl Fn(u64) -> bool,
) -> Result<Option<Judged>> {
    let pool: Vec<usize> =
        (0..units.ids.len()).filter(|row| !units.seeds[*row] || asked(hashes[*row])).collect();
    let is_seed = |row: &usize| units.seeds[*row];
    let seeds = pool.iter().filter(|row| is_seed(row)).count();
    let pick = |values: &[f64]| -> Vec<f64> { pool.iter().map(|row| values[*row]).collect() };
    let targets: Vec<f64> = pool.iter().map(|row| f64::from(u8::from(is_seed(row)))).collect();
    let Some(auc) = auc(&pick(scores), &targets, CONFIDENCE)? else { return Ok(None) };
    let plain = by_mean(units, hashes)?;
    let (ours, theirs) =
        (places(&pool, scores, hashes, is_seed), places(&pool, &plain, hashes, is_seed));
    let others = pool.len() - seeds;
    let top = |share: f64| {
        let most = (share * others as f64).ceil() as usize;
        let among = |places: &[usize]| places.iter().filter(|place| **place < most).count() as u64;
        let recall = wilson(among(&ours), seeds as u64, CONFIDENCE)?;
        Ok(Top { share, recall, by_distance: among(&theirs) as f64 / seeds as f64 })
    };
    let tops = SHARES.into_iter().map(top).collect::<Result<Vec<_>>>()?;
    Ok(Some(Judged { seeds, others, auc, tops }))
}

/// How many of the others each seed would have before it in the list of the others; ties are broken by chance, so that
/// they are worth what chance is.
fn places(
    pool: &[usize],
    scores: &[f64],
    hashes: &[u64],
    is_seed: impl Fn(&usize) -> bool,
) -> Vec<usize> {
    let (seeds, mut others): (Vec<usize>, Vec<usize>) =
        pool.iter().copied().partition(|row| is_seed(row));
    let before = |a: usize, b: usize| {
        scores[b]
            .total_cmp(&scores[a])
            .then_with(|| hashes[a].cmp(&hashes[b]))
            .then_with(|| a.cmp(&b))
    };
    others.sort_unstable_by(|a, b| before(*a, *b));
    let place = |seed: &usize| others.partition_point(|other| before(*other, *seed).is_lt());
    seeds.iter().map(place).collect()
}

/// The plainest ranking: by the distance to the mean seed, each part by the seeds of the others.
fn by_mean(units: &Units<'_>, hashes: &[u64]) -> Result<Vec<f64>> {
    let mut scores = vec![0.0; units.ids.len()];
    for part in 0..FOLDS {
        let (held, known): (Vec<usize>, Vec<usize>) =
            (0..units.ids.len()).partition(|row| part_of(hashes[*row]) == part);
        let fit = Fit::of(Method::Nearest, units, &sampled(units, hashes, known))?;
        let Fit::Nearest(fit) = fit else { return Err(Error::internal("distances have weights")) };
        let mean = fit.mean();
        for row in held {
            scores[row] = mean.score(units.row(row));
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests;
