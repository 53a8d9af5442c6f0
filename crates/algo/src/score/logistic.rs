//! Ridge logistic regression over standardised columns.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::trees::{Examples, check_weights};
use crate::regression::{self, Score};

/// The most columns; the fit takes the square of their number.
pub const COLUMNS_MAX: usize = 512;

/// One weight for each column; a missing value counts as the column's mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    score: Score,
    /// What stands for a missing value.
    means: Vec<f64>,
}

impl Logistic {
    /// Fits weights to all rows; `penalty` · ½‖w‖² is put on the weights of standardised columns.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] as for [`super::trees::Trees::fit`], for more than [`COLUMNS_MAX`] columns,
    /// or for a penalty that is not above 0.
    /// # Cost
    /// O(rows · columns²) a step; about seven steps.
    /// # Source
    /// Hastie, Tibshirani & Friedman 2009, §4.4.1; equals scikit-learn's `LogisticRegression(C=1/penalty)` on
    /// standardised columns.
    pub fn fit(examples: &Examples<'_>, penalty: f64) -> Result<Self> {
        Self::weighed(examples, None, penalty)
    }

    /// Fits weights to rows that count as much as their `weights` say.
    ///
    /// # Errors
    /// As [`Logistic::fit`]; [`flywheel_base::ErrorKind::Invalid`] unless there is a weight above 0 for each row.
    /// # Source
    /// As [`Logistic::fit`]; scikit-learn's `sample_weight` in `tests/parity/trees.json`. Columns are standardised
    /// by all rows alike.
    pub fn fit_weighted(examples: &Examples<'_>, weights: &[f64], penalty: f64) -> Result<Self> {
        check_weights(weights, examples.targets.len())?;
        Self::weighed(examples, Some(weights), penalty)
    }

    fn weighed(examples: &Examples<'_>, weights: Option<&[f64]>, penalty: f64) -> Result<Self> {
        examples.check(super::trees::Loss::Logistic)?;
        if examples.width > COLUMNS_MAX {
            return Err(Error::invalid(format!("rows have {} columns", examples.width)).hint(
                format!(
                    "Logistic regression takes at most {COLUMNS_MAX}; boosted trees take more."
                ),
            ));
        }
        if !(penalty.is_finite() && penalty > 0.0) {
            return Err(Error::invalid(format!("the penalty is {penalty}"))
                .hint("Give a number above 0, for example 1."));
        }
        let mean = |at: usize| {
            let known = examples.rows().map(|row| row[at]).filter(|value| !value.is_nan());
            let (sum, count) =
                known.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            if count > 0.0 { sum / count } else { 0.0 }
        };
        let means: Vec<f64> = (0..examples.width).map(mean).collect();
        let filled: Vec<f64> = examples.rows().flat_map(|row| fill(row, &means)).collect();
        let rows: Vec<&[f64]> = filled.chunks_exact(examples.width).collect();
        let happened: Vec<bool> = examples.targets.iter().map(|target| *target > 0.5).collect();
        Ok(Self { score: regression::logistic_weighted(&rows, &happened, weights, penalty), means })
    }

    /// How many values a row has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.means.len()
    }

    /// The probability for a row; NaN is a missing value.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the row has another width or an infinite value.
    pub fn predict(&self, row: &[f64]) -> Result<f64> {
        self.require(row)?;
        Ok(self.score.chance(&fill(row, &self.means).collect::<Vec<_>>()))
    }

    /// By how much each column moves the log-odds of a row away from those of a row of means.
    ///
    /// # Errors
    /// As [`Logistic::predict`].
    pub fn contributions(&self, row: &[f64]) -> Result<Vec<f64>> {
        self.require(row)?;
        let moved = fill(row, &self.means).zip(&self.means).zip(self.score.weights());
        Ok(moved.map(|((value, mean), weight)| weight * (value - mean)).collect())
    }

    fn require(&self, row: &[f64]) -> Result<()> {
        if row.len() == self.means.len() && !row.iter().any(|value| value.is_infinite()) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "a row of {} values is scored by weights of {} columns, or one is infinite",
            row.len(),
            self.means.len()
        ))
        .hint("Give the columns that were learned, in their order, each finite or NaN."))
    }

    /// Checks weights that were read from somewhere.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if their numbers do not fit or one is not finite.
    pub fn check(&self) -> Result<()> {
        let weights = self.score.weights();
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let sound = weights.len() == self.means.len()
            && finite(weights)
            && finite(&self.means)
            && self.score.intercept().is_finite();
        if sound { Ok(()) } else { Err(Error::corrupt("the weights are no logistic regression")) }
    }
}

fn fill<'a>(row: &'a [f64], means: &'a [f64]) -> impl Iterator<Item = f64> + use<'a> {
    row.iter().zip(means).map(|(value, mean)| if value.is_nan() { *mean } else { *value })
}
