//! What SQL asks of learners: `predict('learner', …)` and `recommend('learner', unit)`.
//!
//! This crate knows neither how a learner is fitted nor where its artifact lies. Whoever opens a lake lends it its
//! [`Learners`] by [`crate::Lake::lend`]; from then on every session of the lake can ask them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Float64Array};
use flywheel_base::{Error, Result};

/// Finds what learners have learned.
pub trait Learners: fmt::Debug + Send + Sync {
    /// What is served of the learner now; none before its first fit, and of a learner that does not exist.
    ///
    /// It is asked while a statement is planned and once more when it runs, so it has to be quick when nothing
    /// was fitted in between.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if the artifact is not what was stored or holds no sound model,
    /// else those of the metadata.
    fn served(&self, learner: &str) -> Result<Option<Served>>;
}

/// What a learner serves.
#[derive(Clone, Debug)]
pub enum Served {
    /// A score for each row.
    Scores(Arc<dyn Scorer>),
    /// Lists of items in `learn.<learner>`, each of at most so many; none if that is not known.
    Lists(Option<usize>),
    /// Something that is only read from its table; its kind, as in the learner's file.
    Table(String),
}

/// Scores rows with one artifact.
pub trait Scorer: fmt::Debug + Send + Sync {
    /// What it is given of each row, in the order of [`Scorer::score`].
    fn features(&self) -> &[Feature];

    /// A score for each of `rows` rows.
    ///
    /// # Shape
    /// `columns` has one column for each feature, in their order, each `rows` long: `Float64` where it holds numbers,
    /// `Utf8` where it holds texts. A missing value is what it was to the learner when it was fitted.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a row cannot be scored.
    fn score(&self, columns: &[ArrayRef], rows: usize) -> Result<Float64Array>;
}

/// What a scorer is given of each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The column of the examples.
    pub name: String,
    /// What its values are.
    pub kind: FeatureKind,
}

/// What the values of a feature are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// Numbers, or what is true or false.
    Number,
    /// Texts.
    Text,
    /// Whichever the column holds.
    Either,
}

/// Where a lake keeps the learners it was lent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lent(Arc<OnceLock<Arc<dyn Learners>>>);

impl Lent {
    /// Keeps the first learners; the others of a lake would be the same.
    pub(crate) fn keep(&self, learners: Arc<dyn Learners>) {
        drop(self.0.set(learners));
    }

    /// What is served of the learner now.
    ///
    /// # Errors
    /// Those of [`Learners::served`].
    pub(crate) fn served(&self, learner: &str) -> Result<Option<Served>> {
        self.0.get().map_or(Ok(None), |learners| learners.served(learner))
    }

    /// The scorer of the learner; none before its first fit.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it scores no rows, else those of [`Learners::served`].
    pub(crate) fn scorer(&self, learner: &str) -> Result<Option<Arc<dyn Scorer>>> {
        match self.served(learner)? {
            None => Ok(None),
            Some(Served::Scores(scorer)) => Ok(Some(scorer)),
            Some(Served::Lists(_)) => Err(Error::invalid(format!(
                "learner \"{learner}\" recommends items and predicts no number"
            ))
            .hint(format!("Write `from recommend('{learner}', unit)`."))),
            Some(Served::Table(kind)) => Err(Error::invalid(format!(
                "learner \"{learner}\" is of kind {kind}, and predict asks learners of kind score and onnx"
            ))
            .hint(format!("Read what it learned from the table learn.{learner}."))),
        }
    }
}

impl PartialEq for Lent {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Lent {}

impl std::hash::Hash for Lent {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// That a learner was not fitted yet.
pub(crate) fn unfitted(learner: &str) -> Error {
    Error::not_found(format!("learner \"{learner}\" was not fitted yet"))
        .hint(format!("Run `flywheel learn {learner}` first."))
}
