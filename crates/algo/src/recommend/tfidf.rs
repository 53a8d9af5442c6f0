//! TF-IDF: items whose descriptions share rare words, for catalogues with text and for new items.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, damaged};
use super::history::UserHistory;
use super::sparse::{best, non_zero};
use super::{Algorithm, Recommender, Scored, options};

mod stop_words;
mod tokens;

pub use stop_words::ENGLISH;
pub use tokens::tokens;

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "content",
    summary: "Items whose texts share rare words (TF-IDF), English and Chinese; knows new items",
    fit: |training, value| {
        let options: Options = options(value)?;
        let texts = training.texts.ok_or_else(|| {
            Error::invalid("there are no item texts")
                .hint("Name the text columns of the learner, or choose an algorithm without texts.")
        })?;
        if texts.len() != training.interactions.item_count() {
            return Err(Error::invalid(format!(
                "{} texts for {} items",
                texts.len(),
                training.interactions.item_count()
            ))
            .hint("Give one text per item in the order of their indexes; it may be empty."));
        }
        Ok(Box::new(Tfidf::fit(texts, &options)?))
    },
    load: |reader| Ok(Box::new(Tfidf::read(reader)?)),
};

/// How texts are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Leave out English words that say nothing.
    pub stop_words: bool,
    /// Besides whole words, take each two neighbouring Chinese, Japanese or Korean characters as a
    /// word, and each that stands alone: these scripts put no spaces. Texts without such characters
    /// are read alike either way.
    pub cjk_bigrams: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { stop_words: true, cjk_bigrams: true }
    }
}

/// One unit-length row of term weights per item.
#[derive(Clone, Debug, PartialEq)]
pub struct Tfidf {
    terms: Vec<String>,
    rarity: Vec<f64>,
    rows: Vec<Vec<(u32, f64)>>,
    /// Per term: (item, weight).
    columns: Vec<Vec<(u32, f64)>>,
}

impl Tfidf {
    /// Learns the terms of `texts` and weighs each text.
    ///
    /// # Shape
    /// Items × terms, terms in byte order; rows of length 1, or empty for a text without terms.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] above 2³² texts.
    /// # Cost
    /// O(characters · log terms).
    /// # Source
    /// Term frequency × (ln((1+n)/(1+df)) + 1), then unit length, as scikit-learn's
    /// `TfidfVectorizer`; parity in `tests/parity/recommend.json` to 1e-9.
    pub fn fit(texts: &[String], options: &Options) -> Result<Self> {
        if u32::try_from(texts.len()).is_err() {
            return Err(Error::exhausted(format!("{} texts are too many", texts.len()))
                .hint("Split the catalogue and fit one learner each."));
        }
        let counts: Vec<BTreeMap<String, f64>> = texts
            .iter()
            .map(|text| {
                let mut counts = BTreeMap::new();
                for token in tokens(text, options) {
                    *counts.entry(token).or_insert(0.0) += 1.0;
                }
                counts
            })
            .collect();
        let mut frequency: BTreeMap<&str, f64> = BTreeMap::new();
        for token in counts.iter().flat_map(BTreeMap::keys) {
            *frequency.entry(token).or_insert(0.0) += 1.0;
        }
        let documents = texts.len() as f64;
        let rarity: Vec<f64> =
            frequency.values().map(|df| ((1.0 + documents) / (1.0 + df)).ln() + 1.0).collect();
        let index: BTreeMap<&str, u32> =
            frequency.keys().enumerate().map(|(i, term)| (*term, i as u32)).collect();
        let rows = counts.iter().map(|counts| weigh(counts, &index, &rarity)).collect();
        let terms = frequency.keys().map(|term| (*term).to_owned()).collect();
        Ok(Self::from_rows(terms, rarity, rows))
    }

    fn from_rows(terms: Vec<String>, rarity: Vec<f64>, rows: Vec<Vec<(u32, f64)>>) -> Self {
        let mut columns = vec![Vec::new(); terms.len()];
        for (item, row) in rows.iter().enumerate() {
            for (term, weight) in row {
                columns[*term as usize].push((item as u32, *weight));
            }
        }
        Self { terms, rarity, rows, columns }
    }

    /// The terms in byte order.
    #[must_use]
    pub fn terms(&self) -> &[String] {
        &self.terms
    }

    /// How rare each term is: ln((1+n)/(1+df)) + 1.
    #[must_use]
    pub fn rarity(&self) -> &[f64] {
        &self.rarity
    }

    /// The (term, weight) row of an item; empty for an unknown one.
    #[must_use]
    pub fn row(&self, item: u32) -> &[(u32, f64)] {
        self.rows.get(item as usize).map_or(&[], Vec::as_slice)
    }

    /// The similarity of `item` to every item, itself included: 0 without a shared term.
    #[must_use]
    pub fn similarities(&self, item: u32) -> Vec<f64> {
        let mut dense = vec![0.0; self.rows.len()];
        self.add_similarities(self.row(item), 1.0, &mut dense);
        dense
    }

    /// The `count` most similar other items that share at least one term; none is "no evidence".
    #[must_use]
    pub fn neighbours(&self, item: u32, count: usize) -> Vec<Scored> {
        let mut scores = non_zero(&self.similarities(item));
        scores.retain(|scored| scored.item != item);
        best(scores, count)
    }

    /// The textbook code's list: all rows by similarity, ties in row order, the first one dropped in
    /// the belief that it is the item itself. It recommends at similarity 0; kept for parity only.
    #[must_use]
    pub fn neighbours_compat(&self, item: u32, count: usize) -> Vec<Scored> {
        let scores = self.similarities(item).into_iter().enumerate();
        let all = scores.map(|(item, score)| Scored { item: item as u32, score }).collect();
        best(all, count.saturating_add(1)).into_iter().skip(1).collect()
    }

    fn add_similarities(&self, row: &[(u32, f64)], scale: f64, dense: &mut [f64]) {
        for (term, weight) in row {
            for (item, other) in self.columns.get(*term as usize).into_iter().flatten() {
                dense[*item as usize] += scale * weight * other;
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (terms, rarity) = (reader.json::<Vec<String>>()?, reader.f64s()?);
        let (lengths, indexes, weights) = (reader.u32s()?, reader.u32s()?, reader.f64s()?);
        let total: usize = lengths.iter().map(|length| *length as usize).sum();
        let fits = terms.len() == rarity.len()
            && total == indexes.len()
            && total == weights.len()
            && indexes.iter().all(|term| (*term as usize) < terms.len());
        if !fits {
            return Err(damaged("holds texts whose parts do not fit"));
        }
        let mut cells = indexes.into_iter().zip(weights);
        let rows = lengths.iter().map(|length| cells.by_ref().take(*length as usize).collect());
        let rows = rows.collect();
        Ok(Self::from_rows(terms, rarity, rows))
    }
}

/// One text as a row of length 1.
fn weigh(
    counts: &BTreeMap<String, f64>,
    index: &BTreeMap<&str, u32>,
    rarity: &[f64],
) -> Vec<(u32, f64)> {
    let mut row: Vec<(u32, f64)> = counts
        .iter()
        .filter_map(|(token, count)| {
            let term = *index.get(token.as_str())?;
            Some((term, count * rarity.get(term as usize)?))
        })
        .collect();
    let length = row.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
    row.iter_mut().for_each(|(_, weight)| *weight /= length);
    row
}

impl Recommender for Tfidf {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.rows.len()
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        let mut dense = vec![0.0; self.rows.len()];
        for owned in history.owned() {
            self.add_similarities(self.row(owned.item), 1.0, &mut dense);
        }
        non_zero(&dense)
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        let similar = self.similarities(item);
        super::ease::strongest_owned(history, item, |owned| {
            similar.get(owned as usize).copied().unwrap_or(0.0)
        })
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.json(&self.terms)?;
        writer.f64s(&self.rarity);
        writer.u32s(&self.rows.iter().map(|row| row.len() as u32).collect::<Vec<_>>());
        writer.u32s(&self.rows.iter().flatten().map(|(term, _)| *term).collect::<Vec<_>>());
        writer.f64s(&self.rows.iter().flatten().map(|(_, weight)| *weight).collect::<Vec<_>>());
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests;
