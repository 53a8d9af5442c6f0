//! RP3β: where a random walk of three steps ends, with popular ends held back.
//!
//! From an owned item to somebody who has it, to another item of that person. The chance of ending
//! at an item is divided by a power of how many have it; without that, the walk ends at what is
//! popular anyway.
//!
//! **When to use it.** A strong first model for any catalogue size: one pass over the pairs, two
//! numbers to tune, reasons that are true ("because you bought X"). **When not.** Ratings whose
//! value matters (it sees presence alone), histories of one item in a long tail (the walk sees few
//! people), and when what is bought again matters most: an owned item is never its own neighbour.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer};
use super::ease::strongest_owned;
use super::history::UserHistory;
use super::holders::Holders;
use super::interactions::Interactions;
use super::sparse::{SparseRows, check_items, check_kept, strongest};
use super::{Algorithm, Recommender, Scored, options};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "rp3beta",
    summary: "A random walk over three steps, popular ends held back: strong, fast, any size",
    fit: |training, value| Ok(Box::new(Rp3Beta::fit(training.interactions, &options(value)?)?)),
    load: |reader| Ok(Box::new(Rp3Beta::read(reader)?)),
};

/// How the walk goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The power α of each step's chance: above 1 likely steps count more, 1 is the plain walk.
    pub alpha: f64,
    /// The power β of an item's popularity by which its score is divided: 0 holds nothing back.
    pub beta: f64,
    /// How many items are kept per owned item, the likeliest first.
    pub kept_per_item: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 0.3, kept_per_item: 500 }
    }
}

/// The largest power of a chance or of a popularity that makes sense in single precision.
const POWER_MAX: f64 = 4.0;

/// Item × item weights; row = owned item, column = where the walk ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Rp3Beta {
    weights: SparseRows,
}

impl Rp3Beta {
    /// Computes where walks from every item end and keeps the likeliest ends.
    ///
    /// # Shape
    /// The weight from i to j is Σ (1/dᵢ)^α (1/dᵤ)^α / dⱼ^β over the users u that have both, d being
    /// how many users have an item and how many items a user has. At most `kept_per_item` entries a
    /// row, 8 bytes each; the item itself is left out.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a power is negative, not finite or above 4, or if
    /// nothing or more than [`KEPT_PER_ITEM_MAX`](super::sparse::KEPT_PER_ITEM_MAX) is to be kept; [`flywheel_base::ErrorKind::Exhausted`] above
    /// [`ROWS_MAX`](super::sparse::ROWS_MAX) items.
    /// # Cost
    /// O(Σ cells²) over users, in parallel over items.
    /// # Source
    /// Paudel et al. 2017, "Updatable, Accurate, Diverse, and Scalable Recommendations for
    /// Interactive Applications", RP³β; parity with scipy in `tests/parity/recommend.json`.
    pub fn fit(data: &Interactions, options: &Options) -> Result<Self> {
        check(options)?;
        check_items(data.item_count(), ALGORITHM.name)?;
        let holders = Holders::new(data);
        let step = |degree: usize| (degree.max(1) as f64).powf(-options.alpha);
        let user_steps: Vec<f32> =
            (0..data.user_count()).map(|user| step(data.items(user).len()) as f32).collect();
        let held_back: Vec<f64> = (0..data.item_count())
            .map(|item| (holders.degree(item).max(1) as f64).powf(-options.beta))
            .collect();
        let rows = holders.map_pairs(&user_steps, |item, pairs| {
            let from = step(holders.degree(item));
            let mut ends = Vec::with_capacity(pairs.len());
            for (end, sum) in pairs.iter().filter(|(end, _)| *end as usize != item) {
                let weight = from * f64::from(*sum) * held_back[*end as usize];
                ends.push((*end, weight as f32));
            }
            strongest(ends, options.kept_per_item)
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
    for (name, power) in [("alpha", options.alpha), ("beta", options.beta)] {
        if !power.is_finite() || !(0.0..=POWER_MAX).contains(&power) {
            return Err(Error::invalid(format!("{name} is {power}"))
                .hint("Give a power from 0 to 4; alpha 1 and beta 0.3 are a good start."));
        }
    }
    check_kept(options.kept_per_item)
}

impl Recommender for Rp3Beta {
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
mod tests {
    use flywheel_base::ErrorKind;

    use super::super::interactions::Interaction;
    use super::super::sparse::{KEPT_PER_ITEM_MAX, best};
    use super::*;

    /// Item 0 is bought with the popular item 1 twice and with the rare item 2 once.
    fn shop() -> Interactions {
        let pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2), (3, 1), (4, 1), (5, 1)];
        let event = |(user, item)| Interaction { user, item, weight: 1.0, at: None };
        Interactions::new(6, 4, pairs.map(event)).unwrap()
    }

    #[test]
    fn beta_holds_the_popular_end_back() {
        let first = |beta| {
            let model = Rp3Beta::fit(&shop(), &Options { beta, ..Options::default() }).unwrap();
            let mut history = UserHistory::empty(None);
            history.push(0, 1.0, None);
            let scores = best(model.score(&history), 2);
            assert_eq!((scores.len(), model.because(&history, 1)), (2, Some(0)));
            scores[0].item
        };
        assert_eq!((first(0.0), first(1.0)), (1, 2));
    }

    #[test]
    fn an_item_nobody_has_is_no_evidence_and_is_never_listed() {
        let model = Rp3Beta::fit(&shop(), &Options::default()).unwrap();
        let mut history = UserHistory::empty(None);
        history.push(3, 1.0, None);
        assert!(model.score(&history).is_empty());
        assert!((0..3).all(|owned| model.weight(owned, 3) == 0.0));
    }

    #[test]
    fn senseless_powers_and_sizes_are_refused_by_name() {
        for (options, word) in [
            (Options { alpha: f64::NAN, ..Options::default() }, "alpha"),
            (Options { beta: -0.1, ..Options::default() }, "beta"),
            (Options { alpha: 9.0, ..Options::default() }, "alpha"),
            (Options { kept_per_item: 0, ..Options::default() }, "kept_per_item"),
            (
                Options { kept_per_item: KEPT_PER_ITEM_MAX + 1, ..Options::default() },
                "kept_per_item",
            ),
        ] {
            let error = Rp3Beta::fit(&shop(), &options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains(word) && error.hint_text().is_some(), "{error}");
        }
    }
}
