//! Blend: several sources with fixed weights as one list, each item with the source behind it.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::codec::{Reader, Writer, damaged};
use super::history::UserHistory;
use super::sparse::{best, non_zero};
use super::{Algorithm, Reason, Recommender, Scored, Training, algorithm, load, options};

/// The most sources of one blend.
pub const SOURCES_MAX: usize = 16;

/// How many of a source's best items take part in a blend.
const DEPTH: usize = 500;

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "blend",
    summary: "Several recommenders with fixed weights, by rank or by score, as one list",
    fit: |training, value| Ok(Box::new(Blend::fit(training, &options(value)?)?)),
    load: |reader| Ok(Box::new(Blend::read(reader)?)),
};

/// How scores of different sources are made comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// 1/(rank + 60): robust, needs no scores of one kind.
    #[default]
    Rank,
    /// The score over the source's best score for this user.
    Score,
}

/// One source of a blend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The name of its algorithm.
    pub algorithm: String,
    /// Its share; positive.
    pub weight: f64,
    /// The algorithm's own options.
    #[serde(default)]
    pub options: Value,
}

/// What is blended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The sources, at least one.
    pub sources: Vec<Source>,
    /// How their scores are made comparable.
    pub scale: Scale,
}

impl Default for Options {
    fn default() -> Self {
        let source = |algorithm: &str, weight| Source {
            algorithm: algorithm.to_owned(),
            weight,
            options: Value::Null,
        };
        let sources =
            vec![source("repeat", 1.0), source("item-neighbours", 1.0), source("popularity", 0.5)];
        Self { sources, scale: Scale::Rank }
    }
}

/// Reciprocal rank fusion's constant: how little the very first ranks differ.
const RANK_OFFSET: f64 = 60.0;

/// Fitted sources and their weights.
#[derive(Debug)]
pub struct Blend {
    scale: Scale,
    sources: Vec<(Box<dyn Recommender>, f64)>,
    item_count: usize,
}

impl Blend {
    /// Fits every source.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for no source, too many, one with a weight that is not
    /// positive, or a blend inside a blend; and every error of a source.
    /// # Cost
    /// That of the sources.
    /// # Source
    /// Cormack, Clarke & Büttcher 2009 (reciprocal rank fusion).
    pub fn fit(training: &Training<'_>, options: &Options) -> Result<Self> {
        let mut sources = Vec::new();
        for source in &options.sources {
            let found = algorithm(&source.algorithm)?;
            if found.name == ALGORITHM.name {
                return Err(Error::invalid("a blend is a source of itself")
                    .hint("List the inner sources in the outer blend."));
            }
            if !source.weight.is_finite() || source.weight <= 0.0 {
                return Err(Error::invalid(format!(
                    "source \"{}\" has weight {}",
                    source.algorithm, source.weight
                ))
                .hint("Give a positive weight, or leave the source out."));
            }
            let model = (found.fit)(training, &source.options)
                .map_err(|error| error.context(format!("source \"{}\"", source.algorithm)))?;
            sources.push((model, source.weight));
        }
        Self::new(sources, options.scale)
    }

    /// Blends fitted models.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for no source, more than [`SOURCES_MAX`], or sources
    /// over different catalogues.
    pub fn new(sources: Vec<(Box<dyn Recommender>, f64)>, scale: Scale) -> Result<Self> {
        let Some((first, _)) = sources.first() else {
            return Err(Error::invalid("a blend has no source").hint("Name at least one source."));
        };
        if sources.len() > SOURCES_MAX {
            return Err(Error::invalid(format!("a blend has {} sources", sources.len()))
                .hint(format!("Use at most {SOURCES_MAX}.")));
        }
        let item_count = first.item_count();
        if sources.iter().any(|(model, _)| model.item_count() != item_count) {
            return Err(Error::invalid("the sources of a blend know different catalogues")
                .hint("Fit all sources on the same interactions."));
        }
        Ok(Self { scale, sources, item_count })
    }

    /// What each source gives to each item, source by source.
    fn shares(
        &self,
        history: &UserHistory,
    ) -> impl Iterator<Item = (&dyn Recommender, Vec<Scored>)> {
        self.sources
            .iter()
            .map(move |(model, weight)| (&**model, self.share(model.score(history), *weight)))
    }

    /// What a source of that weight gives to each item by its scores.
    fn share(&self, scores: Vec<Scored>, weight: f64) -> Vec<Scored> {
        let ranked = best(scores, DEPTH);
        let top = ranked.first().map_or(1.0, |first| first.score.abs().max(f64::MIN_POSITIVE));
        let scaled = ranked.iter().enumerate().map(|(rank, scored)| Scored {
            item: scored.item,
            score: weight
                * match self.scale {
                    Scale::Rank => 1.0 / (RANK_OFFSET + 1.0 + rank as f64),
                    Scale::Score => scored.score / top,
                },
        });
        scaled.collect()
    }

    /// For each of `items` the place of the source with the largest share in it, ties to the earlier one.
    fn leaders(&self, history: &UserHistory, items: &[u32]) -> Vec<Option<usize>> {
        let mut found: Vec<Option<(f64, usize)>> = vec![None; items.len()];
        for (place, (_, shares)) in self.shares(history).enumerate() {
            for (item, found) in items.iter().zip(&mut found) {
                let share =
                    shares.iter().find(|scored| scored.item == *item).map_or(0.0, |s| s.score);
                if share > 0.0 && found.is_none_or(|(most, _)| share > most) {
                    *found = Some((share, place));
                }
            }
        }
        found.into_iter().map(|found| found.map(|(_, place)| place)).collect()
    }

    /// The source with the largest share in `item`.
    fn leader(&self, history: &UserHistory, item: u32) -> Option<&dyn Recommender> {
        let place = self.leaders(history, &[item]).into_iter().next().flatten()?;
        self.sources.get(place).map(|(model, _)| &**model)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (scale, weights) = (reader.json::<Scale>()?, reader.f64s()?);
        let mut sources = Vec::new();
        for weight in weights.into_iter().take(SOURCES_MAX) {
            let model = load(reader.raw()?)?;
            if model.algorithm() == ALGORITHM.name {
                return Err(damaged("holds a blend inside a blend"));
            }
            sources.push((model, weight));
        }
        Self::new(sources, scale)
    }
}

/// Adds shares to the sums of their items.
fn add(sums: &mut [f64], shares: &[Scored]) {
    for Scored { item, score } in shares {
        if let Some(sum) = sums.get_mut(*item as usize) {
            *sum += score;
        }
    }
}

impl Recommender for Blend {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.item_count
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        let mut sums = vec![0.0; self.item_count];
        self.shares(history).for_each(|(_, shares)| add(&mut sums, &shares));
        non_zero(&sums)
    }

    fn score_all(&self, histories: &[UserHistory]) -> Vec<Vec<Scored>> {
        let mut sums = vec![vec![0.0; self.item_count]; histories.len()];
        for (model, weight) in &self.sources {
            for (sums, scores) in sums.iter_mut().zip(model.score_all(histories)) {
                add(sums, &self.share(scores, *weight));
            }
        }
        sums.iter().map(|sums| non_zero(sums)).collect()
    }

    fn source(&self, history: &UserHistory, item: u32) -> &'static str {
        self.leader(history, item).map_or(ALGORITHM.name, |model| model.source(history, item))
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        self.leader(history, item)?.because(history, item)
    }

    /// Every source scores once, and is asked once for the reasons of what it leads.
    fn reasons(&self, history: &UserHistory, items: &[u32]) -> Vec<Reason> {
        let mut made = vec![Reason { source: ALGORITHM.name, because: None }; items.len()];
        let leaders = self.leaders(history, items);
        for (place, (model, _)) in self.sources.iter().enumerate() {
            let (at, led): (Vec<usize>, Vec<u32>) = (0..items.len())
                .filter(|at| leaders[*at] == Some(place))
                .map(|at| (at, items[at]))
                .unzip();
            if led.is_empty() {
                continue;
            }
            for (at, reason) in at.into_iter().zip(model.reasons(history, &led)) {
                made[at] = reason;
            }
        }
        made
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.json(&self.scale)?;
        writer.f64s(&self.sources.iter().map(|(_, weight)| *weight).collect::<Vec<_>>());
        for (model, _) in &self.sources {
            writer.raw(&model.to_bytes()?);
        }
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::interactions::{Interaction, Interactions};
    use super::super::serve::{OwnedItems, Request, serve};
    use super::super::{fit, load};
    use super::*;

    fn shop() -> Interactions {
        let pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (3, 2), (4, 2), (5, 1), (5, 1)];
        let event = |(user, item)| Interaction { user, item, weight: 1.0, at: None };
        Interactions::new(7, 4, pairs.map(event)).unwrap()
    }

    #[test]
    fn each_item_names_the_source_that_lifted_it() {
        let data = shop();
        for scale in ["rank", "score"] {
            let options = json!({"scale": scale, "sources": [
                {"algorithm": "repeat", "weight": 2.0},
                {"algorithm": "item-neighbours", "weight": 1.0},
                {"algorithm": "popularity", "weight": 0.1}]});
            let model = fit("blend", &Training::new(&data), &options).unwrap();
            let request = Request { owned: OwnedItems::Include, ..Request::new(4) };
            let list = serve(&[&*model], &data.history(5, None), &request);
            let seen: Vec<(u32, &str, Option<u32>)> =
                list.items.iter().map(|l| (l.item, l.source.as_str(), l.because)).collect();
            let expected =
                [(1, "repeat", Some(1)), (0, "item-neighbours", Some(1)), (2, "popularity", None)];
            assert_eq!(seen, expected, "{scale}");
        }
    }

    #[test]
    fn a_stored_blend_answers_as_before_and_bad_ones_are_refused() {
        let data = shop();
        let model = fit("blend", &Training::new(&data), &Value::Null).unwrap();
        let bytes = model.to_bytes().unwrap();
        let again = load(&bytes).unwrap();
        assert_eq!(again.to_bytes().unwrap(), bytes);
        let history = data.history(0, None);
        assert_eq!(again.score(&history), model.score(&history));
        for sources in [
            json!([]),
            json!([{"algorithm": "blend", "weight": 1}]),
            json!([{"algorithm": "populrity", "weight": 1}]),
            json!([{"algorithm": "repeat", "weight": 0}]),
        ] {
            assert!(fit("blend", &Training::new(&data), &json!({"sources": sources})).is_err());
        }
    }
}
