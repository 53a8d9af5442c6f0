//! Embeddings: items near to what somebody has, by numbers that the user of this program brings.
//!
//! Another model has put every item into a space where what is alike is near: of its picture, its text, or how it is used.
//! A person stands where their items are, the newer the more, and wants what is near.
//!
//! **When to use it.** When such numbers exist, above all for items that nobody has had yet. **When not.** As the only source
//! where people's own behaviour is known: what is alike is often what is not needed a second time.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, damaged};
use super::history::{Owned, UserHistory};
use super::vector::{add_scaled, dot, each_product};
use super::{Algorithm, Recommender, Scored, Training, options};
use crate::wide::{Work, widest_of};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "embeddings",
    summary: "Items near to what somebody has, by vectors of another model; for items nobody has had yet",
    fit: |training, value| Ok(Box::new(Embeddings::fit(training, &options(value)?)?)),
    load: |reader| Ok(Box::new(Embeddings::read(reader)?)),
};

/// What counts of a history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// After so many days an item counts for half; `None` if all count the same.
    pub half_life_days: Option<f64>,
}

const DAY_US: f64 = 86_400_000_000.0;
/// The most numbers per item.
pub const WIDTH_MAX: usize = 4096;
/// The most numbers altogether.
const NUMBERS_MAX: usize = 400_000_000;

/// The items' directions; of an item without one all numbers are 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    options: Options,
    fitted_at: Option<i64>,
    width: usize,
    /// Items × width, item by item, of length 1.
    items: Vec<f32>,
}

impl Embeddings {
    /// Takes the vectors of the items, each as a direction.
    ///
    /// # Shape
    /// [`Training::vectors`] has one vector an item, of one width, or an empty one. The score of an item is the cosine between
    /// it and the sum of the owned items' directions, each by what is left of it after its half-life.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there are no vectors, two have different widths, one holds a number that is
    /// not finite, or the half-life is not above 0; [`flywheel_base::ErrorKind::Exhausted`] above [`WIDTH_MAX`] numbers an
    /// item or 400 million in all.
    /// # Cost
    /// 4 · items · width bytes; an answer takes O(width · (items + history)).
    /// # Source
    /// Salton & McGill 1983 (cosine); Rocchio 1971 (a person as the mean of what they have).
    pub fn fit(training: &Training<'_>, options: &Options) -> Result<Self> {
        if let Some(days) = options.half_life_days
            && (!days.is_finite() || days <= 0.0)
        {
            return Err(Error::invalid(format!("half_life_days is {days}"))
                .hint("Give the days after which an item counts for half, such as 90."));
        }
        let vectors = training.vectors.unwrap_or_default();
        let width = vectors.iter().map(Vec::len).find(|width| *width > 0).unwrap_or_default();
        if width == 0 {
            return Err(Error::invalid("no item has an embedding").hint(
                "Add a column `embedding` to the query `items`: a list of numbers, or its JSON.",
            ));
        }
        let count = training.interactions.item_count();
        if width > WIDTH_MAX || count.saturating_mul(width) > NUMBERS_MAX {
            return Err(Error::exhausted(format!("{count} items of {width} numbers are too many"))
                .hint(format!(
                    "Bring at most {WIDTH_MAX} numbers an item, {NUMBERS_MAX} in all."
                )));
        }
        let mut items = vec![0.0_f32; count * width];
        for (item, (vector, row)) in vectors.iter().zip(items.chunks_exact_mut(width)).enumerate() {
            if vector.is_empty() {
                continue;
            }
            if vector.len() != width {
                return Err(Error::invalid(format!(
                    "the embedding of item {item} has {} numbers, others have {width}",
                    vector.len()
                ))
                .hint("Bring vectors of one model, all of the same width."));
            }
            if !vector.iter().all(|number| number.is_finite()) {
                return Err(Error::invalid(format!(
                    "the embedding of item {item} holds no number"
                ))
                .hint("Leave the embedding of such an item out."));
            }
            let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
            if length > 0.0 {
                for (number, given) in row.iter_mut().zip(vector) {
                    *number = (f64::from(*given) / length) as f32;
                }
            }
        }
        Ok(Self { options: options.clone(), fitted_at: training.moment(), width, items })
    }

    /// The direction of an item; empty outside the catalogue.
    #[must_use]
    pub fn item(&self, item: u32) -> &[f32] {
        let from = item as usize * self.width;
        self.items.get(from..from + self.width).unwrap_or(&[])
    }

    /// What is left of an owned item.
    fn left(&self, owned: &Owned, now: Option<i64>) -> f32 {
        match (self.options.half_life_days, now, owned.times.last()) {
            (Some(days), Some(now), Some(last)) => {
                let age = now.saturating_sub(*last).max(0) as f64 / DAY_US;
                (-age / days).exp2() as f32
            }
            _ => 1.0,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (options, fitted_at) = (reader.json()?, reader.json()?);
        let (width, items) = (reader.u32s()?, reader.f32s()?);
        match *width.as_slice() {
            [width] if width > 0 && items.len().is_multiple_of(width as usize) => {
                Ok(Self { options, fitted_at, width: width as usize, items })
            }
            _ => Err(damaged("holds embeddings of no width")),
        }
    }
}

/// The cosine of every item that has a direction with that of a history.
struct Near<'a> {
    model: &'a Embeddings,
    history: &'a UserHistory,
}

impl Work for Near<'_> {
    type Made = Vec<Scored>;

    #[inline(always)]
    fn work(self) -> Vec<Scored> {
        let Self { model, history } = self;
        let now = history.moment(model.fitted_at);
        let mut person = vec![0.0_f32; model.width];
        for owned in history.owned() {
            let direction = model.item(owned.item);
            if !direction.is_empty() {
                add_scaled(&mut person, model.left(owned, now), direction);
            }
        }
        let length = dot(&person, &person).sqrt();
        let mut scores = Vec::new();
        if length > 0.0 {
            person.iter_mut().for_each(|number| *number /= length);
            each_product(&model.items, &person, |item, product| {
                if product != 0.0 && product.is_finite() {
                    scores.push(Scored { item: item as u32, score: f64::from(product) });
                }
            });
        }
        scores
    }
}

impl Recommender for Embeddings {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.items.len() / self.width
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        widest_of(Near { model: self, history })
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        let (wanted, now) = (self.item(item), history.moment(self.fitted_at));
        let mut found: Option<(f32, u32)> = None;
        for owned in history.owned().iter().filter(|owned| owned.item != item) {
            let other = self.item(owned.item);
            if wanted.is_empty() || other.is_empty() {
                continue;
            }
            let part = self.left(owned, now) * dot(wanted, other);
            if part > 0.0 && found.is_none_or(|(best, _)| part > best) {
                found = Some((part, owned.item));
            }
        }
        found.map(|(_, owned)| owned)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.json(&self.options)?;
        writer.json(&self.fitted_at)?;
        writer.u32s(&[self.width as u32]);
        writer.f32s(&self.items);
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests;
