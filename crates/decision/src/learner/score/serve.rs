//! Scoring rows by an artifact that was stored: what `predict('learner', …)` asks.
//!
//! Rows come as columns of a query and are scored by the same functions as the rows that the learner scores itself, so
//! both give the same bits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use flywheel_algo::score::encode::Values;
use flywheel_base::{Error, Result};
use flywheel_warehouse::{Feature, FeatureKind, Scorer};

use super::whole::Whole;
use super::{Cell, Model, Stored};

/// Reads the bytes of an artifact.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if they are no model, or none that can have been learned.
pub(crate) fn scorer(bytes: &[u8]) -> Result<Arc<dyn Scorer>> {
    if let Ok(whole) = serde_json::from_slice::<Whole>(bytes) {
        return Ok(Arc::new(OfAll::new(whole)?));
    }
    Ok(Arc::new(Online::new(restored(bytes)?)))
}

/// Reads a model that was learned row by row.
pub(super) fn restored(bytes: &[u8]) -> Result<Stored> {
    let broken = || {
        Error::corrupt("the artifact of a score is not as it was written")
            .hint("Fit the learner again: `flywheel learn`.")
    };
    let stored: Stored =
        serde_json::from_slice(bytes).map_err(|error| broken().caused_by(error))?;
    stored.check().map_err(|error| broken().caused_by(error))?;
    Ok(stored)
}

impl Stored {
    /// Refuses a model that does not have the width of its features, or cannot have been learned.
    fn check(&self) -> Result<()> {
        let (width, checked) = match &self.model {
            Model::Probability(model) => (model.weights().len(), model.check()),
            Model::Number(model) => (model.weights().len(), model.check()),
            Model::Hashed(model) => (model.scaler.features(), model.check()),
        };
        checked?;
        if width == self.features.len() {
            return Ok(());
        }
        Err(Error::corrupt(format!("a model of {width} features has {}", self.features.len())))
    }
}

impl super::HashedModel {
    fn check(&self) -> Result<()> {
        self.hashing.check()?;
        self.scaler.check()?;
        self.ftrl.check()?;
        if self.ftrl.weights().len() == self.hashing.places() {
            return Ok(());
        }
        Err(Error::corrupt("the table of weights has another size"))
    }
}

/// Of a model learned row by row.
struct Online {
    stored: Stored,
    features: Vec<Feature>,
}

impl std::fmt::Debug for Online {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Online").field("features", &self.features).finish_non_exhaustive()
    }
}

impl Online {
    fn new(stored: Stored) -> Self {
        let kind = match stored.model {
            Model::Hashed(_) => FeatureKind::Either,
            Model::Probability(_) | Model::Number(_) => FeatureKind::Number,
        };
        let feature = |name: &String| Feature { name: name.clone(), kind };
        let features = stored.features.iter().map(feature).collect();
        Self { stored, features }
    }
}

impl Scorer for Online {
    fn features(&self) -> &[Feature] {
        &self.features
    }

    fn score(&self, columns: &[ArrayRef], rows: usize) -> Result<Float64Array> {
        let hashed = matches!(self.stored.model, Model::Hashed(_));
        let cell = |column: &ArrayRef, row: usize| {
            if *column.data_type() == DataType::Utf8 {
                let texts = column.as_string::<i32>();
                return texts
                    .is_valid(row)
                    .then(|| texts.value(row).to_owned())
                    .map_or(Cell::Missing, Cell::Text);
            }
            let numbers = column.as_primitive::<Float64Type>();
            Cell::of(numbers.is_valid(row).then(|| numbers.value(row)), hashed)
        };
        let mut scores = Vec::with_capacity(rows);
        for row in 0..rows {
            let cells: Vec<Cell> = columns.iter().map(|column| cell(column, row)).collect();
            scores.push(self.stored.score(&cells)?);
        }
        Ok(scores.into())
    }
}

/// Of a model learned from all examples at once.
struct OfAll {
    whole: Whole,
    features: Vec<Feature>,
}

impl std::fmt::Debug for OfAll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfAll").field("features", &self.features).finish_non_exhaustive()
    }
}

impl OfAll {
    fn new(whole: Whole) -> Result<Self> {
        whole.check().map_err(|error| {
            Error::corrupt("the artifact of a score is not as it was written")
                .hint("Fit the learner again: `flywheel learn`.")
                .caused_by(error)
        })?;
        let feature = |(name, text): (&str, bool)| Feature {
            name: name.to_owned(),
            kind: if text { FeatureKind::Text } else { FeatureKind::Number },
        };
        let features = whole.encoder.columns().map(feature).collect();
        Ok(Self { whole, features })
    }
}

impl Scorer for OfAll {
    fn features(&self) -> &[Feature] {
        &self.features
    }

    fn score(&self, columns: &[ArrayRef], rows: usize) -> Result<Float64Array> {
        let values = self.features.iter().zip(columns).map(|(feature, column)| {
            let values = match feature.kind {
                FeatureKind::Text => {
                    let texts = column.as_string::<i32>().iter();
                    Values::Texts(texts.map(|text| text.map(str::to_owned)).collect())
                }
                FeatureKind::Number | FeatureKind::Either => {
                    super::whole::numbers(column.as_primitive::<Float64Type>().iter())
                }
            };
            (feature.name.clone(), values)
        });
        let values: Vec<(String, Values)> = values.collect();
        self.whole.scores(&values, rows).map(Float64Array::from)
    }
}

#[cfg(test)]
mod tests;
