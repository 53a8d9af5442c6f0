//! User neighbours: what people of the same taste rated well, for a history given at answer time.

use flywheel_base::Result;
use serde::{Deserialize, Serialize};

use super::{Columns, Missing, Overlap, Value, check, columns, rows};
use crate::recommend::codec::{Reader, Writer, damaged};
use crate::recommend::history::UserHistory;
use crate::recommend::interactions::Interactions;
use crate::recommend::sparse::{best, non_zero};
use crate::recommend::{Algorithm, Recommender, Scored, options};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "user-neighbours",
    summary: "What people of the same taste rated well; for ratings of up to a few thousand people",
    fit: |training, value| {
        Ok(Box::new(UserNeighbours::fit(training.interactions, &options(value)?)?))
    },
    load: |reader| Ok(Box::new(UserNeighbours::read(reader)?)),
};

/// How neighbours vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vote {
    /// The mean of the neighbours who know the item, weighted by similarity and pulled to the
    /// overall mean by `damping`: a predicted rating.
    WeightedMean,
    /// The sum of similarity × value: a strength, right for purchases.
    Sum,
    /// The plain mean over all neighbours, an empty cell counting 0, as in the textbook code.
    MeanWithZeros,
}

/// How user neighbours are found and heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many neighbours vote.
    pub neighbours: usize,
    /// Which number of a cell is compared.
    pub value: Value,
    /// What an empty cell means when two users are compared.
    pub missing: Missing,
    /// The number of shared items at which a similarity counts half.
    pub shrink: f64,
    /// How votes become a score.
    pub vote: Vote,
    /// The summed similarity of neighbours at which a predicted rating counts half.
    pub damping: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            neighbours: 50,
            value: Value::Weight,
            missing: Missing::Unknown,
            shrink: 2.0,
            vote: Vote::WeightedMean,
            damping: 0.5,
        }
    }
}

impl Options {
    /// The textbook code: missing is 0 in the cosine and in the mean of `neighbours` users.
    #[must_use]
    pub fn compat(neighbours: usize) -> Self {
        Self {
            neighbours,
            value: Value::Weight,
            missing: Missing::Zero,
            shrink: 0.0,
            vote: Vote::MeanWithZeros,
            damping: 0.0,
        }
    }
}

/// The matrix, by user and by item.
#[derive(Clone, Debug)]
pub struct UserNeighbours {
    options: Options,
    item_count: usize,
    rows: Vec<Vec<(u32, f64)>>,
    squares: Vec<f64>,
    columns: Columns,
    mean: f64,
}

impl UserNeighbours {
    /// Keeps the matrix; all comparing happens per answer.
    ///
    /// # Shape
    /// The model holds every cell (12 bytes in the artifact), by row number and without user ids.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for no neighbours or a negative shrinkage or damping.
    /// # Cost
    /// O(cells) to fit; an answer reads the cells of everybody who shares an item.
    /// # Source
    /// Resnick et al. 1994; parity with scikit-learn's `cosine_similarity` to 1e-9.
    pub fn fit(data: &Interactions, options: &Options) -> Result<Self> {
        check(options.neighbours, options.shrink)?;
        check(options.neighbours, options.damping)?;
        Ok(Self::from_rows(options.clone(), data.item_count(), rows(data, options.value)))
    }

    fn from_rows(options: Options, item_count: usize, rows: Vec<Vec<(u32, f64)>>) -> Self {
        let squares = rows.iter().map(|row| row.iter().map(|(_, v)| v * v).sum()).collect();
        let columns = columns(&rows, item_count);
        let filled = rows.iter().map(Vec::len).sum::<usize>();
        let total: f64 = rows.iter().flatten().map(|(_, value)| value).sum();
        let mean = if filled == 0 { 0.0 } else { total / filled as f64 };
        Self { options, item_count, rows, squares, columns, mean }
    }

    /// Similarity of the history to every training row that shares an item, by row number.
    #[must_use]
    pub fn similarities(&self, history: &UserHistory) -> Vec<(u32, f64)> {
        let mut overlaps = vec![Overlap::default(); self.rows.len()];
        let own_square: f64 = history.owned().iter().map(|owned| self.value(owned).powi(2)).sum();
        for owned in history.owned() {
            for (user, value) in self.columns.column(owned.item as usize) {
                overlaps[user as usize].add(self.value(owned), value);
            }
        }
        let Options { missing, shrink, .. } = self.options;
        overlaps
            .iter()
            .enumerate()
            .filter(|(_, overlap)| overlap.shared > 0)
            .map(|(user, o)| {
                (user as u32, o.cosine(missing, (own_square, self.squares[user]), shrink))
            })
            .collect()
    }

    fn value(&self, owned: &crate::recommend::history::Owned) -> f64 {
        match self.options.value {
            Value::Presence => 1.0,
            Value::Weight => owned.weight,
            Value::Occasions => f64::from(owned.occasions),
        }
    }

    /// The nearest rows that can speak: those that know an item the history lacks, which the
    /// user's own row never does. The textbook code hears all but the user's own row.
    fn neighbours(&self, history: &UserHistory) -> Vec<Scored> {
        let textbook = self.options.vote == Vote::MeanWithZeros;
        let speaks = |user: u32| {
            let row = &self.rows[user as usize];
            let foreign = row.iter().any(|(item, _)| !history.owns(*item));
            foreign || (textbook && !self.same(row, history))
        };
        let near = self
            .similarities(history)
            .into_iter()
            .filter(|(user, similarity)| *similarity > 0.0 && speaks(*user))
            .map(|(user, score)| Scored { item: user, score })
            .collect();
        best(near, self.options.neighbours)
    }

    /// Whether a training row is the history itself.
    fn same(&self, row: &[(u32, f64)], history: &UserHistory) -> bool {
        let owned = history.owned();
        row.len() == owned.len()
            && row.iter().zip(owned).all(|(cell, owned)| *cell == (owned.item, self.value(owned)))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (options, sizes) = (reader.json::<Options>()?, reader.u32s()?);
        let (items, values) = (reader.u32s()?, reader.f64s()?);
        let (Some(item_count), lengths) = (sizes.first().copied(), sizes.get(1..).unwrap_or(&[]))
        else {
            return Err(damaged("has no size"));
        };
        let total: usize = lengths.iter().map(|length| *length as usize).sum();
        if total != items.len() || total != values.len() || items.iter().any(|i| *i >= item_count) {
            return Err(damaged("holds a matrix whose parts do not fit"));
        }
        let mut cells = items.into_iter().zip(values);
        let rows = lengths.iter().map(|length| cells.by_ref().take(*length as usize).collect());
        Ok(Self::from_rows(options, item_count as usize, rows.collect()))
    }
}

impl Recommender for UserNeighbours {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.item_count
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        let neighbours = self.neighbours(history);
        let mut sums = vec![0.0; self.item_count];
        let mut support = vec![0.0; self.item_count];
        for neighbour in &neighbours {
            let weight = match self.options.vote {
                Vote::MeanWithZeros => 1.0,
                Vote::WeightedMean | Vote::Sum => neighbour.score,
            };
            for (item, value) in &self.rows[neighbour.item as usize] {
                sums[*item as usize] += weight * value;
                support[*item as usize] += weight;
            }
        }
        let damping = self.options.damping;
        for (sum, support) in sums.iter_mut().zip(&support).filter(|(_, support)| **support > 0.0) {
            match self.options.vote {
                Vote::Sum => {}
                Vote::MeanWithZeros => *sum /= neighbours.len() as f64,
                Vote::WeightedMean => *sum = (*sum + damping * self.mean) / (support + damping),
            }
        }
        non_zero(&sums)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.json(&self.options)?;
        let mut sizes = vec![self.item_count as u32];
        sizes.extend(self.rows.iter().map(|row| row.len() as u32));
        writer.u32s(&sizes);
        writer.u32s(&self.rows.iter().flatten().map(|(item, _)| *item).collect::<Vec<_>>());
        writer.f64s(&self.rows.iter().flatten().map(|(_, value)| *value).collect::<Vec<_>>());
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests;
