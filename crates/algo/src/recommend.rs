//! Recommenders: from who bought what, a ranked list for anybody, with a reason beside each item.
//!
//! ```text
//! triples ─► Interactions ─► Algorithm::fit ─► Recommender ─► score(UserHistory) ─► serve ─► list
//!                                    │
//!                                    └─► to_bytes ─► artifact ─► Algorithm::load
//! ```
//!
//! Invariants: items are dense indexes (`Vocabulary` gives them their names); a fitted model holds
//! no user, so that anybody with a history can be served, and the next click changes the next
//! answer without a refit; an item without evidence is absent from the scores, never scored 0; ties
//! go to the lower item index; results do not depend on the number of threads.
//!
//! A new algorithm is one file with an [`Algorithm`] constant and one line in [`RECOMMENDERS`].

pub mod blend;
pub mod bpr;
pub mod choose;
pub mod codec;
pub mod ease;
pub mod embeddings;
pub mod evaluate;
pub mod filter;
pub mod gf_cf;
pub mod history;
mod holders;
pub mod hybrid;
pub mod ials;
pub mod interactions;
pub mod neighbours;
pub mod nmf;
pub mod popularity;
pub mod rank;
pub mod repeat;
pub mod rp3beta;
pub mod rules;
pub mod seeds;
pub mod serve;
pub mod sessions;
pub mod sparse;
pub mod tfidf;
pub mod together;
mod vector;

use std::fmt;

use flywheel_base::{Error, Result, suggest};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::codec::Reader;
use self::history::UserHistory;
use self::interactions::Interactions;

/// An item and how strongly a model is for it; scores of different models are not comparable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Dense index of the item.
    pub item: u32,
    /// The larger the better; finite.
    pub score: f64,
}

/// Why an item is recommended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The source that speaks most for it.
    pub source: &'static str,
    /// The owned item that speaks most for it, if there is one.
    pub because: Option<u32>,
}

/// What an algorithm is fitted on.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// Who had to do with what, and when.
    pub interactions: &'a Interactions,
    /// One text per item, for the algorithms that read content; `None` if there is none.
    pub texts: Option<&'a [String]>,
    /// One embedding per item, empty for an item without one; `None` if there is none.
    pub vectors: Option<&'a [Vec<f32>]>,
    /// The moment of fitting in microseconds; `None` means the latest interaction.
    pub now: Option<i64>,
}

impl<'a> Training<'a> {
    /// Takes interactions alone: no texts, and the time is that of the latest interaction.
    #[must_use]
    pub fn new(interactions: &'a Interactions) -> Self {
        Self { interactions, texts: None, vectors: None, now: None }
    }

    /// The moment of fitting: the given one, else the latest interaction, else `None`.
    #[must_use]
    pub fn moment(&self) -> Option<i64> {
        self.now.or_else(|| self.interactions.latest())
    }
}

/// A fitted model. Called once per answer from many threads; holds no user and never changes.
pub trait Recommender: Send + Sync + fmt::Debug {
    /// The name of its [`Algorithm`].
    fn algorithm(&self) -> &'static str;

    /// How many items it knows; every scored item is below.
    fn item_count(&self) -> usize;

    /// Scores all items there is evidence for, owned ones included, by ascending item index.
    ///
    /// An empty answer means "no evidence for this history": fall back to popularity.
    fn score(&self, history: &UserHistory) -> Vec<Scored>;

    /// [`Recommender::score`] of each of several people: the same numbers. Models that go through all of their items for each
    /// answer go through them once for all of these.
    ///
    /// # Cost
    /// Memory for the scores of all of them at once.
    fn score_all(&self, histories: &[UserHistory]) -> Vec<Vec<Scored>> {
        histories.iter().map(|history| self.score(history)).collect()
    }

    /// The source that speaks most for `item`: the algorithm itself unless it is made of several.
    fn source(&self, _history: &UserHistory, _item: u32) -> &'static str {
        self.algorithm()
    }

    /// The owned item that speaks most for `item` ("because you bought X"), if there is one.
    fn because(&self, _history: &UserHistory, _item: u32) -> Option<u32> {
        None
    }

    /// What [`Recommender::source`] and [`Recommender::because`] say of each of `items`: for a whole list at once, as
    /// much of the work is the same for all of them.
    fn reasons(&self, history: &UserHistory, items: &[u32]) -> Vec<Reason> {
        let reason = |item: &u32| Reason {
            source: self.source(history, *item),
            because: self.because(history, *item),
        };
        items.iter().map(reason).collect()
    }

    /// What the numbers of [`Recommender::evidence`] are called; none unless a model is made of several sources.
    fn evidence_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// What each source says of each of `items`, for who weighs them anew: a row an item, as wide as there are names.
    fn evidence(&self, _history: &UserHistory, items: &[u32]) -> Vec<Vec<f64>> {
        vec![Vec::new(); items.len()]
    }

    /// The model as bytes; equal models give equal bytes. [`load`] reads them.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if the model cannot be written.
    fn to_bytes(&self) -> Result<Vec<u8>>;
}

/// How an [`Algorithm`] makes a model; the JSON object holds its options.
pub type Fit = fn(&Training<'_>, &Value) -> Result<Box<dyn Recommender>>;

/// How an [`Algorithm`] reads back what [`Recommender::to_bytes`] wrote.
pub type Load = fn(&mut Reader<'_>) -> Result<Box<dyn Recommender>>;

/// One entry of [`RECOMMENDERS`].
#[derive(Clone, Copy, Debug)]
pub struct Algorithm {
    /// The name a user writes, kebab-case.
    pub name: &'static str,
    /// What it is good for, one line.
    pub summary: &'static str,
    /// Fits a model.
    pub fit: Fit,
    /// Reads a model back.
    pub load: Load,
}

/// Every algorithm a learner can name, the default first.
pub const RECOMMENDERS: &[Algorithm] = &[
    hybrid::ALGORITHM,
    popularity::ALGORITHM,
    repeat::ALGORITHM,
    neighbours::items::ALGORITHM,
    neighbours::users::ALGORITHM,
    ease::ALGORITHM,
    gf_cf::ALGORITHM,
    rp3beta::ALGORITHM,
    ials::ALGORITHM,
    bpr::ALGORITHM,
    nmf::ALGORITHM,
    sessions::ALGORITHM,
    tfidf::ALGORITHM,
    embeddings::ALGORITHM,
    blend::ALGORITHM,
];

/// Finds an algorithm by name.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] with the nearest name if there is none.
pub fn algorithm(name: &str) -> Result<&'static Algorithm> {
    RECOMMENDERS.iter().find(|algorithm| algorithm.name == name).ok_or_else(|| {
        Error::not_found(format!("recommender \"{name}\" is unknown"))
            .hint(suggest::hint(name, RECOMMENDERS.iter().map(|algorithm| algorithm.name)))
    })
}

/// Fits the algorithm called `name` with `options` (`Value::Null` or `{}` for the defaults).
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown name,
/// [`flywheel_base::ErrorKind::Invalid`] for unknown or senseless options and unfit data,
/// [`flywheel_base::ErrorKind::Exhausted`] above a stated size limit.
pub fn fit(name: &str, training: &Training<'_>, options: &Value) -> Result<Box<dyn Recommender>> {
    (algorithm(name)?.fit)(training, options)
        .map_err(|error| error.context(format!("recommender \"{name}\"")))
}

/// Reads a model that [`Recommender::to_bytes`] wrote, whatever its algorithm.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if the bytes are cut, altered or of another version.
pub fn load(bytes: &[u8]) -> Result<Box<dyn Recommender>> {
    let (name, mut reader) = Reader::open(bytes)?;
    let found = algorithm(&name)?;
    let model = (found.load)(&mut reader)?;
    reader.finish()?;
    Ok(model)
}

/// Reads an options struct from JSON; null means all defaults.
fn options<T: DeserializeOwned + Default>(value: &Value) -> Result<T> {
    if value.is_null() {
        return Ok(T::default());
    }
    T::deserialize(value).map_err(|error| {
        Error::invalid("the options are not understood")
            .caused_by(error)
            .hint("Remove or correct the named key; the reference page lists the options.")
    })
}

#[cfg(test)]
mod tests;
