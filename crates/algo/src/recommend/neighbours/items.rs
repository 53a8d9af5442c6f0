//! Item neighbours: "people who took this also took that", as a sparse top-k matrix.

use flywheel_base::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Columns, Missing, Overlap, Value, check, columns, rows};
use crate::recommend::codec::{Reader, Writer};
use crate::recommend::ease::strongest_owned;
use crate::recommend::history::UserHistory;
use crate::recommend::interactions::Interactions;
use crate::recommend::sparse::{SparseRows, non_zero, strongest};
use crate::recommend::{Algorithm, Recommender, Scored, options};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "item-neighbours",
    summary: "People who took this also took that: cosine or BM25, any catalogue size",
    fit: |training, value| {
        Ok(Box::new(ItemNeighbours::fit(training.interactions, &options(value)?)?))
    },
    load: |reader| Ok(Box::new(ItemNeighbours::read(reader)?)),
};

/// How a cell is weighted before items are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// Cosine of the plain cells.
    Cosine,
    /// Dot product of BM25-weighted cells: an indiscriminate user counts less, a frequent item is
    /// held back (k1 1.2, b 0.75).
    Bm25,
}

/// How item neighbours are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many neighbours are kept per item.
    pub neighbours: usize,
    /// How cells are weighted.
    pub weighting: Weighting,
    /// Which number of a cell is compared.
    pub value: Value,
    /// What an empty cell means (cosine only). Purchases say [`Missing::Zero`]; ratings should say
    /// `unknown`.
    pub missing: Missing,
    /// The number of shared users at which a similarity counts half.
    pub shrink: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            neighbours: 100,
            weighting: Weighting::Bm25,
            value: Value::Presence,
            missing: Missing::Zero,
            shrink: 0.0,
        }
    }
}

/// BM25's saturation of repeated events.
const BM25_K1: f64 = 1.2;
/// BM25's correction for popular items.
const BM25_B: f64 = 0.75;

/// The nearest items of every item, itself left out.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemNeighbours {
    similar: SparseRows,
}

impl ItemNeighbours {
    /// Compares all items with shared users and keeps the nearest.
    ///
    /// # Shape
    /// Items × items, at most `neighbours` entries a row, 8 bytes each. An item is never its own
    /// neighbour: buying again is the business of the repeat source.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for no neighbours or a negative shrinkage.
    /// # Cost
    /// O(Σ cells²) over users, in parallel over items.
    /// # Source
    /// Sarwar et al. 2001 (cosine); Robertson & Zaragoza 2009 (BM25) with users as terms, as
    /// `implicit` does; parity with scikit-learn's `cosine_similarity` to 1e-6.
    pub fn fit(data: &Interactions, options: &Options) -> Result<Self> {
        check(options.neighbours, options.shrink)?;
        let mut rows = rows(data, options.value);
        if options.weighting == Weighting::Bm25 {
            weigh_bm25(&mut rows, data.item_count());
        }
        let columns = columns(&rows, data.item_count());
        let squares: Vec<f64> = (0..data.item_count())
            .map(|item| columns.column(item).map(|(_, value)| value * value).sum())
            .collect();
        let nearest = (0..data.item_count())
            .into_par_iter()
            .map_init(
                || (vec![Overlap::default(); data.item_count()], Vec::new()),
                |(overlaps, touched), item| {
                    compare(&rows, &columns, item, overlaps, touched);
                    let row = touched
                        .drain(..)
                        .filter_map(|other: u32| {
                            let overlap = std::mem::take(&mut overlaps[other as usize]);
                            let squares = (squares[item], squares[other as usize]);
                            let value = similarity(overlap, squares, options);
                            (other as usize != item && value > 0.0).then_some((other, value as f32))
                        })
                        .collect();
                    strongest(row, options.neighbours)
                },
            )
            .collect();
        Ok(Self { similar: SparseRows::new(data.item_count(), nearest) })
    }

    /// How near two items are; 0 if neither kept the other.
    #[must_use]
    pub fn similarity(&self, item: u32, other: u32) -> f32 {
        self.similar.value(item as usize, other)
    }

    /// The neighbours of `item`, the nearest first.
    #[must_use]
    pub fn neighbours(&self, item: u32) -> Vec<Scored> {
        let row = self.similar.row(item as usize);
        let scores = row.map(|(item, value)| Scored { item, score: f64::from(value) }).collect();
        crate::recommend::sparse::best(scores, usize::MAX)
    }

    /// Adds the scores of a history to a dense vector.
    pub(in crate::recommend) fn add_scores(&self, history: &UserHistory, dense: &mut [f64]) {
        for owned in history.owned() {
            self.similar.add_row(owned.item as usize, 1.0, dense);
        }
    }

    pub(in crate::recommend) fn write(&self, writer: &mut Writer) {
        self.similar.write(writer);
    }

    pub(in crate::recommend) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { similar: SparseRows::read(reader)? })
    }
}

/// Gathers the overlap of `item` with every item that shares a user; `touched` names them.
fn compare(
    rows: &[Vec<(u32, f64)>],
    columns: &Columns,
    item: usize,
    overlaps: &mut [Overlap],
    touched: &mut Vec<u32>,
) {
    for (user, own) in columns.column(item) {
        for (other, value) in &rows[user as usize] {
            let overlap = &mut overlaps[*other as usize];
            if overlap.shared == 0 {
                touched.push(*other);
            }
            overlap.add(own, *value);
        }
    }
}

fn similarity(overlap: Overlap, squares: (f64, f64), options: &Options) -> f64 {
    match options.weighting {
        Weighting::Cosine => overlap.cosine(options.missing, squares, options.shrink),
        Weighting::Bm25 => {
            let shared = f64::from(overlap.shared);
            overlap.dot * (shared / (shared + options.shrink))
        }
    }
}

/// Weighs cells with items as documents and users as terms.
fn weigh_bm25(rows: &mut [Vec<(u32, f64)>], item_count: usize) {
    let mut lengths = vec![0.0; item_count];
    for (item, value) in rows.iter().flatten() {
        lengths[*item as usize] += value;
    }
    let average = lengths.iter().sum::<f64>() / (item_count.max(1)) as f64;
    for row in rows {
        let rarity = ((item_count as f64).ln() - (row.len() as f64).ln_1p()).max(0.0);
        for (item, value) in row {
            let length = 1.0 - BM25_B + BM25_B * lengths[*item as usize] / average;
            *value = *value * (BM25_K1 + 1.0) / (BM25_K1 * length + *value) * rarity;
        }
    }
}

impl Recommender for ItemNeighbours {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.similar.column_count()
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        let mut dense = vec![0.0; self.item_count()];
        self.add_scores(history, &mut dense);
        non_zero(&dense)
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        strongest_owned(history, item, |owned| f64::from(self.similarity(owned, item)))
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        self.write(&mut writer);
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::interactions::Interaction;
    use super::*;

    fn shop() -> Interactions {
        let pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2), (3, 3), (3, 2)];
        let event = |(user, item)| Interaction { user, item, weight: 1.0, at: None };
        Interactions::new(4, 4, pairs.map(event)).unwrap()
    }

    #[test]
    fn an_item_is_not_its_own_neighbour_and_the_nearest_is_bought_with_it() {
        for weighting in [Weighting::Cosine, Weighting::Bm25] {
            let options = Options { weighting, ..Options::default() };
            let model = ItemNeighbours::fit(&shop(), &options).unwrap();
            let near: Vec<u32> = model.neighbours(0).iter().map(|scored| scored.item).collect();
            assert_eq!(near.first(), Some(&1), "{weighting:?}");
            assert!(!near.contains(&0) && !near.contains(&3));
        }
    }

    #[test]
    fn a_new_event_changes_the_answer_without_a_refit() {
        let model = ItemNeighbours::fit(&shop(), &Options::default()).unwrap();
        let mut history = UserHistory::empty(None);
        assert!(model.score(&history).is_empty());
        history.push(3, 1.0, None);
        let scores = model.score(&history);
        assert_eq!(scores.iter().map(|scored| scored.item).collect::<Vec<_>>(), [2]);
        assert_eq!(model.because(&history, 2), Some(3));
    }

    #[test]
    fn ratings_seen_as_unknown_ignore_what_nobody_rated() {
        // Two people rated items 0 and 1 alike; item 0 has a third rater.
        let rating = |user, item, weight| Interaction { user, item, weight, at: None };
        let data = Interactions::new(
            3,
            2,
            [
                rating(0, 0, 5.0),
                rating(0, 1, 5.0),
                rating(1, 0, 2.0),
                rating(1, 1, 2.0),
                rating(2, 0, 5.0),
            ],
        )
        .unwrap();
        let near = |missing| {
            let options = Options {
                weighting: Weighting::Cosine,
                value: Value::Weight,
                missing,
                ..Options::default()
            };
            ItemNeighbours::fit(&data, &options).unwrap().similarity(0, 1)
        };
        assert!((near(Missing::Unknown) - 1.0).abs() < 1e-6);
        assert!(near(Missing::Zero) < 0.8);
    }
}
