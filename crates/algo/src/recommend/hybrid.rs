//! Hybrid: the served default. Repeat, association and demand as one score with learned weights.
//!
//! ```text
//! demand (7 d, 30 d, all) ─┐
//! EASE, BM25 neighbours  ──┼─► features ─► Σ weight · feature ─► one ranking of owned and new items
//! own frequency, hazard  ──┘                 ▲
//!      the same sources fitted on earlier periods, and what was bought right after them
//! ```
//! The weights are learned inside the training data: the sources are fitted on the past of a border,
//! and a logistic regression finds which of their evidence foretold the purchases after it. One
//! model thus serves a list of new items and a list with repeats; the filter is the only difference.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, damaged};
use super::history::UserHistory;
use super::{Algorithm, Recommender, Scored, Training, ease, options};

mod features;
mod learning;
mod logistic;

pub use features::FEATURES;

use features::{Row, Sources};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "hybrid",
    summary: "The default: repeat, association and recent demand weighed by what foretold purchases",
    fit: |training, value| Ok(Box::new(Hybrid::fit(training, &options(value)?)?)),
    load: |reader| Ok(Box::new(Hybrid::read(reader)?)),
};

/// How the hybrid is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The window of "of late", also the period whose purchases the weights are learned on.
    pub window_days: f64,
    /// The window of "right now".
    pub recent_days: f64,
    /// An occasion of one's own counts half after so many days.
    pub half_life_days: f64,
    /// The ridge penalty of EASE.
    pub penalty: f64,
    /// How many neighbours are kept per item.
    pub neighbours: usize,
    /// Above so many items EASE is left out and neighbours carry the association alone.
    pub ease_items_max: usize,
    /// On how many past borders the weights are learned.
    pub borders: usize,
    /// The seed of the sampling of users and of items not bought.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window_days: 30.0,
            recent_days: 7.0,
            half_life_days: 180.0,
            penalty: 300.0,
            neighbours: 100,
            ease_items_max: 8_000,
            borders: 2,
            seed: 0,
        }
    }
}

/// The most past borders weights are learned on.
const BORDERS_MAX: usize = 12;

/// The weights for data too short, too small or without times to learn them on, in the order of
/// [`FEATURES`]: rounded from those learned on UCI Online Retail.
const DEFAULT_WEIGHTS: [f64; FEATURES.len()] =
    [0.5, 0.25, 0.5, 0.7, -0.75, 1.2, 0.6, 0.3, 0.1, -0.35, 0.2, -0.5, 0.0, 0.25];

/// The features of demand, in [`FEATURES`].
const DEMAND: std::ops::Range<usize> = 2..5;

/// Fitted sources and the weights of their evidence.
#[derive(Clone, Debug)]
pub struct Hybrid {
    options: Options,
    weights: Vec<f64>,
    learned: bool,
    sources: Sources,
}

/// What is stored of a hybrid beside its sources.
#[derive(Serialize, Deserialize)]
struct Head {
    options: Options,
    learned: bool,
}

impl Hybrid {
    /// Fits the sources, and the weights on what followed past borders.
    ///
    /// # Shape
    /// Holds three demands per item, EASE and neighbour coefficients (at most 500 and `neighbours`
    /// an item) and a hazard per item. Without times, or with fewer than 200 purchases after the
    /// past borders, documented default weights are used and [`Hybrid::learned`] is false.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for senseless options.
    /// # Cost
    /// The sources are fitted once per border and once more; EASE is O(items³) each time.
    /// # Source
    /// Our own; figures against its parts: `examples/online_retail.rs`.
    pub fn fit(training: &Training<'_>, options: &Options) -> Result<Self> {
        check(options)?;
        let learned = learning::learn(training, options)?;
        let sources = Sources::fit(training, options)?;
        Ok(Self {
            options: options.clone(),
            learned: learned.is_some(),
            weights: learned.unwrap_or_else(|| DEFAULT_WEIGHTS.to_vec()),
            sources,
        })
    }

    /// Whether the weights were learned on this data, not taken from [`Options`]' defaults.
    #[must_use]
    pub fn learned(&self) -> bool {
        self.learned
    }

    /// The weight of each of [`FEATURES`].
    pub fn weights(&self) -> impl Iterator<Item = (&'static str, f64)> {
        FEATURES.iter().copied().zip(self.weights.iter().copied())
    }

    /// The weights for one of whom nothing is known. Those of demand are learned beside what a history tells, where less
    /// demand may speak for an item; alone they would begin the list with what nobody wants.
    fn cold_weights(&self) -> Vec<f64> {
        let mut weights = self.weights.clone();
        for weight in &mut weights[DEMAND] {
            *weight = weight.max(0.0);
        }
        if weights[DEMAND].iter().all(|weight| *weight == 0.0) {
            for (weight, default) in weights[DEMAND].iter_mut().zip(&DEFAULT_WEIGHTS[DEMAND]) {
                *weight = default.max(0.0);
            }
        }
        weights
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let Head { options, learned } = reader.json()?;
        let weights = reader.f64s()?;
        if weights.len() != FEATURES.len() {
            return Err(damaged("has another number of weights"));
        }
        let sources = Sources::read(reader)?;
        Ok(Self { options, weights, learned, sources })
    }
}

fn check(options: &Options) -> Result<()> {
    let days = [
        ("window_days", options.window_days),
        ("recent_days", options.recent_days),
        ("half_life_days", options.half_life_days),
    ];
    for (name, value) in days {
        if !value.is_finite() || value <= 0.0 {
            return Err(Error::invalid(format!("{name} is {value}"))
                .hint("Give a positive number of days, or leave the key out."));
        }
    }
    if options.borders > BORDERS_MAX || options.ease_items_max > ease::ITEMS_MAX {
        return Err(Error::invalid("borders or ease_items_max is above its limit").hint(format!(
            "At most {BORDERS_MAX} borders and {} items for ease.",
            ease::ITEMS_MAX
        )));
    }
    Ok(())
}

impl Recommender for Hybrid {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.sources.item_count()
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        let view = self.sources.view(history);
        let cold = history.is_empty().then(|| self.cold_weights());
        let weights = cold.as_ref().unwrap_or(&self.weights);
        let score = |row: &Row| row.iter().zip(weights).map(|(f, w)| f * w).sum::<f64>();
        (0..self.item_count() as u32)
            .filter(|item| view.evidence(*item))
            .map(|item| Scored { item, score: score(&view.row(item)) })
            .collect()
    }

    fn source(&self, history: &UserHistory, item: u32) -> &'static str {
        self.sources.leader(history, item)
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        self.sources.because(history, item)
    }

    fn evidence_names(&self) -> &'static [&'static str] {
        &FEATURES
    }

    fn evidence(&self, history: &UserHistory, items: &[u32]) -> Vec<Vec<f64>> {
        let view = self.sources.view(history);
        items.iter().map(|item| view.row(*item).to_vec()).collect()
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.json(&Head { options: self.options.clone(), learned: self.learned })?;
        writer.f64s(&self.weights);
        self.sources.write(&mut writer)?;
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests;
