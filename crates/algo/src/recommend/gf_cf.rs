//! GF-CF: collaborative filtering as a graph filter, in closed form and without training.
//!
//! A history is a signal on the items. Two filters smooth it: a linear one (items that the same
//! people have, each person and item divided by how much they have) and an ideal low-pass one (what
//! the leading singular directions of the same matrix keep). Both are linear in the history, so
//! what is stored is one sparse item × item matrix: the strongest weights of each item among the
//! items that somebody has together with it. The singular directions themselves are not needed
//! any more once the weights are made.
//!
//! **When to use it.** The strongest single model for new items on large catalogues: no epochs, no
//! learning rate, and answers as fast as neighbours. **When not.** Ratings whose value matters (it
//! sees presence alone); buying again (an owned item scores high, but frequency and recency do
//! better: `repeat`); catalogues where most items have one or two people, where a spectrum is
//! noise and `item-neighbours` or `content` are as good for less.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer};
use super::ease::strongest_owned;
use super::history::UserHistory;
use super::holders::Holders;
use super::interactions::Interactions;
use super::sparse::{SparseRows, check_items, check_kept, strongest};
use super::{Algorithm, Recommender, Scored, options};
use crate::wide::widest_of;

mod dense;
mod spectrum;

use spectrum::{LowPass, Normalised, Spectrum};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "gf-cf",
    summary: "Graph filter in closed form: the best quality for new items on large catalogues",
    fit: |training, value| Ok(Box::new(GfCf::fit(training.interactions, &options(value)?)?)),
    load: |reader| Ok(Box::new(GfCf::read(reader)?)),
};

/// How the signal is filtered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The power of a candidate's popularity by which the linear filter divides, 1 − beta being that
    /// of the owned item's: 0.5 is the paper's, less lets popular items come forward.
    pub beta: f64,
    /// How many singular directions the ideal low-pass filter keeps.
    pub factors: usize,
    /// How much the ideal low-pass filter weighs beside the linear one; 0 leaves it out.
    pub low_pass: f64,
    /// How many weights are kept per owned item, the largest first.
    pub kept_per_item: usize,
    /// How often the random subspace is improved; more is nearer to the exact directions.
    pub sweeps: usize,
    /// The seed of the random subspace.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { beta: 0.5, factors: 256, low_pass: 0.3, kept_per_item: 500, sweeps: 4, seed: 0 }
    }
}

/// The most singular directions; the square matrices of them are solved on one thread.
pub const FACTORS_MAX: usize = 1024;
/// The most numbers of a tall matrix of items × factors (800 MB, three of them live at once).
const NUMBERS_MAX: usize = 200_000_000;
/// The most rounds over the random subspace.
const SWEEPS_MAX: usize = 100;

/// Item × item weights; row = owned item, column = candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct GfCf {
    weights: SparseRows,
}

impl GfCf {
    /// Filters the graph of who has what.
    ///
    /// # Shape
    /// With R̃ = D_U^-½ · R · D_I^-½ (R is 1 where a cell is filled, D holds how many cells a user and
    /// an item have) and V its `factors` leading right singular vectors, the weight from i to j is
    /// dᵢ^(β-½) (R̃ᵀR̃)ᵢⱼ dⱼ^(½-β) + low_pass · dᵢ^-½ (VVᵀ)ᵢⱼ dⱼ^½: the second is scaled by popularity
    /// in the paper too, the first there is not (β = ½). Of each row the `kept_per_item` weights of
    /// largest magnitude are kept, among the items that share a user with i: an approximation, exact
    /// when every pair of items shares a user and as many are kept as there are items.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for senseless options,
    /// [`flywheel_base::ErrorKind::Exhausted`] above [`ROWS_MAX`](super::sparse::ROWS_MAX) items,
    /// or if items × factors is above 200 million.
    /// # Cost
    /// For width w = factors + 16: O(sweeps · (cells · w + items · w²)), then O(Σ cells²) over users
    /// for the pairs and `factors` multiplications per pair. Memory 12·items·w bytes and
    /// 16·items·kept_per_item bytes.
    /// # Source
    /// Shen et al. 2021, "How Powerful is Graph Convolution for Recommendation?", eq. 12; parity with
    /// numpy in `tests/parity/recommend.json`.
    pub fn fit(data: &Interactions, options: &Options) -> Result<Self> {
        check(options)?;
        check_items(data.item_count(), ALGORITHM.name)?;
        check_size(data.item_count(), options)?;
        let holders = Holders::new(data);
        let user_squares: Vec<f32> =
            (0..data.user_count()).map(|user| 1.0 / data.items(user).len().max(1) as f32).collect();
        let power = |exponent: f64| -> Vec<f32> {
            let degree = |item| holders.degree(item).max(1) as f64;
            (0..data.item_count()).map(|item| degree(item).powf(exponent) as f32).collect()
        };
        let (items, roots) = (power(-0.5), power(0.5));
        let low_pass = if options.low_pass > 0.0 {
            let matrix =
                Normalised { data, holders: &holders, user_squares: &user_squares, items: &items };
            Some(Spectrum::leading(&matrix, options.factors, options.sweeps, options.seed)?)
        } else {
            None
        };
        let weight = options.low_pass as f32;
        let (owned, wanted) = (power(options.beta - 1.0), power(-options.beta));
        let rows = holders.map_pairs_together(&user_squares, |first, rows| {
            for (item, pairs) in (first..).zip(rows.iter_mut()) {
                for (other, sum) in pairs {
                    *sum = *sum * owned[item] * wanted[*other as usize];
                }
            }
            if let Some(spectrum) = &low_pass {
                let (items, roots) = (&items, &roots);
                widest_of(LowPass { spectrum, first, rows, weight, items, roots });
            }
            let weighed = rows.iter_mut().map(|pairs| {
                let mut weights = std::mem::take(pairs);
                weights.retain(|(_, value)| *value != 0.0 && value.is_finite());
                let mut kept = strongest(weights, options.kept_per_item);
                kept.shrink_to_fit();
                kept
            });
            weighed.collect()
        });
        Ok(Self { weights: SparseRows::new(data.item_count(), rows) })
    }

    /// The weight with which owning `owned` speaks for `item`.
    #[must_use]
    pub fn weight(&self, owned: u32, item: u32) -> f32 {
        self.weights.value(owned as usize, item)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { weights: SparseRows::read_square(reader)? })
    }
}

fn check(options: &Options) -> Result<()> {
    if !(1..=FACTORS_MAX).contains(&options.factors) {
        return Err(Error::invalid(format!("factors is {}", options.factors))
            .hint(format!("Choose 1 to {FACTORS_MAX} factors; 64 to 256 is usual.")));
    }
    if !(1..=SWEEPS_MAX).contains(&options.sweeps) {
        return Err(Error::invalid(format!("sweeps is {}", options.sweeps))
            .hint(format!("Choose 1 to {SWEEPS_MAX} sweeps; 4 is usual.")));
    }
    if !(0.0..=1.0).contains(&options.beta) {
        return Err(Error::invalid(format!("beta is {}", options.beta))
            .hint("Give a power from 0 to 1; 0.5 is the paper's; try 0.3 on large catalogues."));
    }
    if !options.low_pass.is_finite() || options.low_pass < 0.0 {
        return Err(Error::invalid(format!("low_pass is {}", options.low_pass))
            .hint("Give a weight of at least 0; 0.3 is a good start."));
    }
    check_kept(options.kept_per_item)
}

fn check_size(count: usize, options: &Options) -> Result<()> {
    if options.low_pass > 0.0 && count.saturating_mul(options.factors) > NUMBERS_MAX {
        return Err(Error::exhausted(format!(
            "{count} items with {} factors take too much memory for gf-cf",
            options.factors
        ))
        .hint(format!("Choose at most {} factors, or rp3beta.", (NUMBERS_MAX / count).max(1))));
    }
    Ok(())
}

impl Recommender for GfCf {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.weights.column_count()
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        self.weights.sum_of_owned(history)
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        strongest_owned(history, item, |owned| f64::from(self.weight(owned, item)))
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        self.weights.write(&mut writer);
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests;
