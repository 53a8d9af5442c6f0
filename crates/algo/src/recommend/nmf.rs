//! Non-negative matrix factorisation: each rating a sum of a few non-negative tastes.

use flywheel_base::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, damaged};
use super::history::UserHistory;
use super::interactions::Interactions;
use super::neighbours::Missing;
use super::sparse::non_zero;
use super::{Algorithm, Recommender, Scored, options};

mod descent;

use descent::{Factors, Side, gram};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "nmf",
    summary: "Ratings as sums of a few non-negative tastes; missing ratings are left out, not 0",
    fit: |training, value| Ok(Box::new(Nmf::fit(training.interactions, &options(value)?)?.0)),
    load: |reader| Ok(Box::new(Nmf::read(reader)?)),
};

/// How the matrix is factored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many tastes.
    pub rank: usize,
    /// What an empty cell means.
    pub missing: Missing,
    /// The L2 penalty on both factors; with `missing: unknown` it must be positive, or the few
    /// ratings of a user determine nothing.
    pub penalty: f64,
    /// The most sweeps over both factors.
    pub sweeps_max: usize,
    /// Stop when a sweep moves less than this share of the first one.
    pub tolerance: f64,
    /// The seed of the starting point.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rank: 16,
            missing: Missing::Unknown,
            penalty: 0.1,
            sweeps_max: 500,
            tolerance: 1e-5,
            seed: 0,
        }
    }
}

impl Options {
    /// As scikit-learn's `NMF(n_components=rank)`: empty cells are zeros, no penalty, run to the
    /// optimum.
    #[must_use]
    pub fn compat(rank: usize) -> Self {
        Self {
            rank,
            missing: Missing::Zero,
            penalty: 0.0,
            sweeps_max: 5_000,
            tolerance: 1e-10,
            seed: 0,
        }
    }
}

/// Sweeps over one user's taste when a history is folded in.
const FOLD_IN_SWEEPS: usize = 200;

/// The item factor; a user's own factor is solved when the history comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Nmf {
    options: Options,
    item_count: usize,
    /// Items × rank, item by item.
    items: Vec<f64>,
    /// itemsᵀ · items, rank × rank.
    gram: Vec<f64>,
}

/// The user factor of the training rows and how well both fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Users × rank, user by user.
    pub users: Vec<f64>,
    /// ‖R − users · itemsᵀ‖ over the cells that count (all cells, or the filled ones).
    pub error: f64,
    /// Sweeps made.
    pub sweeps: usize,
}

impl Nmf {
    /// Factors the weights into non-negative users × rank and rank × items by coordinate descent.
    ///
    /// # Shape
    /// Gives the model (items × rank) and the factor of the training users. Ratings of 0 are empty
    /// cells. The matrix is never made dense.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the rank or the sweeps are 0, the penalty is
    /// negative, or it is 0 while empty cells are unknown.
    /// # Cost
    /// O(sweeps · rank · (cells + rank · (users + items))); half of it again for unknown cells.
    /// # Source
    /// Cichocki & Phan 2009 (fast HALS), as scikit-learn's `solver="cd"`; parity to 1e-6 in error
    /// and 1e-3 in entries in `tests/parity/recommend.json`.
    pub fn fit(data: &Interactions, options: &Options) -> Result<(Self, Fitted)> {
        check(options)?;
        let mut factors = start(data, options);
        let mut first = 0.0;
        let mut sweeps = 0;
        while sweeps < options.sweeps_max {
            let moved = match options.missing {
                Missing::Zero => factors.sweep_zero(options.penalty),
                Missing::Unknown => factors.sweep_unknown(options.penalty),
            };
            sweeps += 1;
            if sweeps == 1 {
                first = moved;
            }
            if moved <= options.tolerance * first {
                break;
            }
        }
        let error = match options.missing {
            Missing::Zero => factors.error_zero(),
            Missing::Unknown => factors.error_unknown(),
        };
        let Factors { users, items, .. } = factors;
        let model = Self::new(options.clone(), data.item_count(), items.factor);
        Ok((model, Fitted { users: users.factor, error, sweeps }))
    }

    fn new(options: Options, item_count: usize, items: Vec<f64>) -> Self {
        Self { gram: gram(&items, options.rank), options, item_count, items }
    }

    /// The prediction for a user factor and an item; 0 outside the catalogue.
    #[must_use]
    pub fn predict(&self, user: &[f64], item: u32) -> f64 {
        let from = item as usize * self.options.rank;
        let taste = self.items.get(from..from + self.options.rank).unwrap_or(&[]);
        user.iter().zip(taste).map(|(a, b)| a * b).sum()
    }

    /// The predictions for a user factor as scores: the items predicted above 0.
    #[must_use]
    pub fn score_factor(&self, user: &[f64]) -> Vec<Scored> {
        let dense: Vec<f64> =
            (0..self.item_count).map(|item| self.predict(user, item as u32)).collect();
        non_zero(&dense)
    }

    /// The taste of one history, solved against the fixed items.
    fn fold_in(&self, history: &UserHistory) -> Vec<f64> {
        let row: Vec<(u32, f64)> = history
            .owned()
            .iter()
            .filter(|owned| (owned.item as usize) < self.item_count)
            .map(|owned| (owned.item, owned.weight))
            .collect();
        let rank = self.options.rank;
        let mut user = Side { rank, rows: vec![row], factor: vec![0.0; rank] };
        let penalty = self.options.penalty;
        for _ in 0..FOLD_IN_SWEEPS {
            let moved = match self.options.missing {
                Missing::Zero => user.update_zero(&self.items, &self.gram, penalty),
                Missing::Unknown => user.update_unknown(&self.items, penalty),
            };
            if moved < self.options.tolerance {
                break;
            }
        }
        user.factor
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (options, items) = (reader.json::<Options>()?, reader.f64s()?);
        check(&options)?;
        if !items.len().is_multiple_of(options.rank) || items.iter().any(|value| *value < 0.0) {
            return Err(damaged("holds factors that do not fit its rank"));
        }
        Ok(Self::new(options.clone(), items.len() / options.rank, items))
    }
}

fn check(options: &Options) -> Result<()> {
    if options.rank == 0 || options.sweeps_max == 0 {
        return Err(Error::invalid("rank and sweeps_max are at least 1")
            .hint("A rank of 8 to 64 and 500 sweeps are usual."));
    }
    if !options.penalty.is_finite() || options.penalty < 0.0 || !options.tolerance.is_finite() {
        return Err(Error::invalid(format!("penalty is {}", options.penalty))
            .hint("Give a finite penalty of at least 0."));
    }
    if options.missing == Missing::Unknown && options.penalty == 0.0 {
        return Err(Error::invalid("penalty is 0 while empty cells are unknown").hint(
            "Without a penalty the few ratings of a user fit exactly and predict nothing; try 0.1.",
        ));
    }
    Ok(())
}

/// Random factors of the matrix's own size, as scikit-learn's `init="random"`.
fn start(data: &Interactions, options: &Options) -> Factors {
    let rows: Vec<Vec<(u32, f64)>> = (0..data.user_count())
        .map(|user| data.cells(user).map(|cell| (cell.item, cell.weight)).collect())
        .collect();
    let cells = match options.missing {
        Missing::Zero => data.user_count() * data.item_count(),
        Missing::Unknown => data.cell_count(),
    };
    let total: f64 = rows.iter().flatten().map(|(_, weight)| weight).sum();
    let scale = (total / cells.max(1) as f64 / options.rank as f64).sqrt();
    let mut rng = Rng::stream(options.seed, "nmf");
    let mut draw = |count: usize| -> Vec<f64> {
        (0..count * options.rank).map(|_| scale * rng.normal().abs()).collect()
    };
    let (items, users) = (draw(data.item_count()), draw(data.user_count()));
    Factors::new(rows, options.rank, users, items)
}

impl Recommender for Nmf {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.item_count
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        if history.is_empty() {
            return Vec::new();
        }
        self.score_factor(&self.fold_in(history))
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.json(&self.options)?;
        writer.f64s(&self.items);
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests;
