//! EASE: each item predicted from all others by one ridge regression, solved in closed form.

use faer::linalg::solvers::DenseSolveCore;
use faer::{Mat, Side};
use flywheel_base::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer};
use super::history::UserHistory;
use super::interactions::Interactions;
use super::sparse::{SparseRows, non_zero, strongest};
use super::{Algorithm, Recommender, Scored, options};

/// The most items: the dense matrix takes 4·n² bytes, three of them live at once (4.8 GB at the limit).
pub const ITEMS_MAX: usize = 20_000;

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "ease",
    summary: "Item-to-item regression in closed form; the strongest single source for new items",
    fit: |training, value| Ok(Box::new(Ease::fit(training.interactions, &options(value)?)?)),
    load: |reader| Ok(Box::new(Ease::read(reader)?)),
};

/// How the regression is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The ridge penalty λ; larger for fewer or noisier interactions.
    pub penalty: f64,
    /// How many coefficients are kept per owned item, the largest first.
    pub kept_per_item: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { penalty: 300.0, kept_per_item: 500 }
    }
}

/// The item × item coefficients; row = owned item, column = candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Ease {
    coefficients: SparseRows,
}

impl Ease {
    /// Solves `min ‖X − X·B‖² + λ‖B‖²` with a zero diagonal, X being 1 where a cell is filled.
    ///
    /// # Shape
    /// B is items × items; per row the `kept_per_item` coefficients of largest magnitude are kept
    /// (an approximation; keep as many as there are items for the exact model).
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] above [`ITEMS_MAX`] items,
    /// [`flywheel_base::ErrorKind::Invalid`] if λ is not positive or nothing is to be kept.
    /// # Cost
    /// O(n³) for n items and O(Σ cells²) over users; see `examples/online_retail.rs` for seconds.
    /// # Source
    /// Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", eq. 8; parity with numpy
    /// in `tests/parity/recommend.json` to 1e-4.
    pub fn fit(data: &Interactions, options: &Options) -> Result<Self> {
        if !options.penalty.is_finite() || options.penalty <= 0.0 || options.kept_per_item == 0 {
            return Err(Error::invalid(format!(
                "penalty {} with {} kept coefficients makes no model",
                options.penalty, options.kept_per_item
            ))
            .hint(
                "Give a positive penalty (300 is a good start) and keep at least 1 coefficient.",
            ));
        }
        let count = data.item_count();
        if count > ITEMS_MAX {
            return Err(Error::exhausted(format!("{count} items are too many for ease"))
                .hint(format!("It takes at most {ITEMS_MAX}; use item-neighbours or hybrid.")));
        }
        let factor = gram(data, options.penalty as f32).llt(Side::Lower).map_err(|error| {
            Error::internal("the item matrix is not positive definite")
                .caused_by(format!("{error:?}"))
                .hint("Raise the penalty.")
        })?;
        let inverse = factor.inverse();
        let rows = (0..count)
            .into_par_iter()
            .map(|item| strongest(coefficients(&inverse, item), options.kept_per_item))
            .collect();
        Ok(Self { coefficients: SparseRows::new(count, rows) })
    }

    /// The coefficient with which owning `owned` speaks for `item`.
    #[must_use]
    pub fn coefficient(&self, owned: u32, item: u32) -> f32 {
        self.coefficients.value(owned as usize, item)
    }

    /// Adds the scores of a history to a dense vector.
    pub(super) fn add_scores(&self, history: &UserHistory, dense: &mut [f64]) {
        for owned in history.owned() {
            self.coefficients.add_row(owned.item as usize, 1.0, dense);
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.coefficients.write(writer);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { coefficients: SparseRows::read(reader)? })
    }
}

/// XᵀX + λI, lower triangle and diagonal mirrored; X is 1 where a cell is filled.
fn gram(data: &Interactions, penalty: f32) -> Mat<f32> {
    let count = data.item_count();
    let mut gram = Mat::<f32>::zeros(count, count);
    for user in 0..data.user_count() {
        let items = data.items(user);
        for column in items {
            let mut column = gram.col_mut(*column as usize);
            for row in items {
                column[*row as usize] += 1.0;
            }
        }
    }
    for item in 0..count {
        gram[(item, item)] += penalty;
    }
    gram
}

/// Row `owned` of B = −P / diag(P), without the diagonal.
fn coefficients(inverse: &Mat<f32>, owned: usize) -> Vec<(u32, f32)> {
    // P is symmetric, and its columns lie together in memory: read column `owned` for row `owned`.
    let column = inverse.col(owned);
    (0..inverse.nrows())
        .filter(|item| *item != owned)
        .map(|item| (item as u32, -column[item] / inverse[(item, item)]))
        .filter(|(_, value)| value.is_finite() && *value != 0.0)
        .collect()
}

impl Recommender for Ease {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.coefficients.column_count()
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        let mut dense = vec![0.0; self.item_count()];
        self.add_scores(history, &mut dense);
        non_zero(&dense)
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        strongest_owned(history, item, |owned| f64::from(self.coefficient(owned, item)))
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        self.write(&mut writer);
        Ok(writer.finish())
    }
}

/// The owned item (not `item` itself) with the largest positive support, ties to the lower index.
pub(super) fn strongest_owned(
    history: &UserHistory,
    item: u32,
    support: impl Fn(u32) -> f64,
) -> Option<u32> {
    let mut found: Option<(f64, u32)> = None;
    for owned in history.owned().iter().filter(|owned| owned.item != item) {
        let value = support(owned.item);
        if value > 0.0 && found.is_none_or(|(best, _)| value > best) {
            found = Some((value, owned.item));
        }
    }
    found.map(|(_, owned)| owned)
}

#[cfg(test)]
mod tests {
    use flywheel_base::ErrorKind;

    use super::super::interactions::Interaction;
    use super::*;

    #[test]
    fn a_catalogue_above_the_limit_is_refused_before_any_memory_is_taken() {
        let data = Interactions::new(1, ITEMS_MAX + 1, []).unwrap();
        let error = Ease::fit(&data, &Options::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert!(error.hint_text().unwrap().contains("item-neighbours"));
    }

    #[test]
    fn items_bought_together_speak_for_each_other() {
        let pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 0)];
        let event = |(user, item)| Interaction { user, item, weight: 1.0, at: None };
        let data = Interactions::new(5, 4, pairs.map(event)).unwrap();
        let options = Options { penalty: 1.0, ..Options::default() };
        let model = Ease::fit(&data, &options).unwrap();
        let history = data.history(4, None);
        let scores = model.score(&history);
        assert_eq!(super::super::sparse::best(scores, 1)[0].item, 1);
        assert_eq!(model.because(&history, 1), Some(0));
        assert_eq!(model.because(&history, 3), None);
        assert!(Ease::fit(&data, &Options { penalty: 0.0, ..options }).is_err());
    }

    #[test]
    fn an_empty_shop_is_no_error() {
        let data = Interactions::new(0, 0, []).unwrap();
        let model = Ease::fit(&data, &Options::default()).unwrap();
        assert!(model.score(&UserHistory::empty(None)).is_empty());
    }
}
