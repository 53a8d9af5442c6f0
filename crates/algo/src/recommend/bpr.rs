//! BPR: items factored so that what somebody has ranks before what they do not have.
//!
//! Pairs are drawn, one item a user has and one they do not have, and the numbers of the user and of both items take a
//! step that puts the first before the second. The model keeps the items alone; the numbers of a person are found by the
//! same steps against fixed items when the history comes, so that the next event changes the next answer.
//!
//! **When to use it.** When the order of a list matters and not how much of each item, on dense histories; as one voice of
//! several. **When not.** As the only source on sparse catalogues, where `gf-cf`, `rp3beta` and `ials` rank better and cost
//! less; for weights or ratings, which it does not see.

use flywheel_base::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, damaged};
use super::ease::strongest_owned;
use super::history::UserHistory;
use super::interactions::Interactions;
use super::vector::{Products, add_scaled, dot, products_of_all};
use super::{Algorithm, Recommender, Scored, options};
use crate::wide::{Work, widest_of};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "bpr",
    summary: "Factors learned from pairs, one item had and one not: for the order of lists, not for amounts",
    fit: |training, value| Ok(Box::new(Bpr::fit(training.interactions, &options(value)?)?)),
    load: |reader| Ok(Box::new(Bpr::read(reader)?)),
};

/// How pairs are learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many numbers per item and per user, beside one for how popular an item is.
    pub factors: usize,
    /// How far each step goes.
    pub learning_rate: f64,
    /// The L2 penalty on the numbers of each step.
    pub penalty: f64,
    /// How many pairs are drawn, as a multiple of the filled cells.
    pub epochs: usize,
    /// The seed of start and draws.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { factors: 64, learning_rate: 0.05, penalty: 0.01, epochs: 60, seed: 0 }
    }
}

/// The most numbers per item.
pub const FACTORS_MAX: usize = 1024;
/// The most numbers of one side.
const NUMBERS_MAX: usize = 400_000_000;
/// Draws of an item that a user does not have, before the pair is left out.
const DRAWS_MAX: usize = 16;
/// Pairs of one owned item that a history is found by.
const FOLD_IN_PAIRS: usize = 24;
/// The share of the learning rate that the last steps have.
const SHORTEST: f64 = 0.1;
/// How often these pairs are gone through.
const FOLD_IN_EPOCHS: usize = 8;

/// The numbers of the items; those of a user are found when the history comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Bpr {
    options: Options,
    /// Items × (factors + 1), item by item; the last number stands for popularity. 0 for an item nobody has.
    items: Vec<f32>,
}

/// One step: the user's numbers, those of an item they have and of one they do not have.
///
/// # Source
/// Rendle et al. 2009, figure 4: `Θ ← Θ + α (σ(−x) · ∂x/∂Θ − λ Θ)` with `x` by how much the first is before the second; all
/// three take the step from where they were. The last number of the user stays 1, as in `implicit`.
#[inline(always)]
fn step(user: &mut [f32], had: &mut [f32], other: &mut [f32], rate: f32, penalty: f32) {
    let ahead = dot(user, had) - dot(user, other);
    let pull = 1.0 / (1.0 + ahead.exp());
    let last = user.len().saturating_sub(1);
    for (place, ((u, i), j)) in
        user.iter_mut().zip(had.iter_mut()).zip(other.iter_mut()).enumerate()
    {
        let (before_u, before_i, before_j) = (*u, *i, *j);
        if place < last {
            *u += rate * (pull * (before_i - before_j) - penalty * before_u);
        }
        *i += rate * (pull * before_u - penalty * before_i);
        *j += rate * (-pull * before_u - penalty * before_j);
    }
}

impl Bpr {
    /// Learns the items from drawn pairs, one after the other: the same for any number of threads.
    ///
    /// # Shape
    /// A pair is a filled cell, each as likely, and an item its user does not have, each as likely. `epochs` × cells are
    /// drawn, and steps become shorter in proportion to what is left, down to a tenth.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for senseless options, data without a cell, or numbers that grow beyond all bounds;
    /// [`flywheel_base::ErrorKind::Exhausted`] if a side has more than 400 million numbers.
    /// # Cost
    /// O(epochs · cells · factors), on one thread; memory 4 · (users + items) · factors bytes. An answer takes
    /// O(factors · (items + 200 · history)).
    /// # Source
    /// Rendle, Freudenthaler, Gantner & Schmidt-Thieme 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback"; steps
    /// in parity with numpy, quality beside `implicit` 0.7.3, both in `tests/parity/bpr.json`.
    pub fn fit(data: &Interactions, options: &Options) -> Result<Self> {
        check(options)?;
        let width = options.factors + 1;
        let (users, items) = (data.user_count(), data.item_count());
        if data.cell_count() == 0 {
            return Err(Error::invalid("there is no interaction to learn from")
                .hint("Wait for the first rows, or check the filter of the query."));
        }
        if users.max(items).saturating_mul(width) > NUMBERS_MAX {
            return Err(Error::exhausted(format!(
                "{} rows of {width} numbers are too many",
                users.max(items)
            ))
            .hint("Ask for fewer factors."));
        }
        let mut cells = Vec::with_capacity(data.cell_count());
        let mut held = vec![false; items];
        for user in 0..users {
            for item in data.items(user) {
                cells.push((user as u32, *item));
                held[*item as usize] = true;
            }
        }
        let mut rng = Rng::new(options.seed);
        let mut of_users = started(users, width, &mut rng);
        let mut of_items = started(items, width, &mut rng);
        of_users.chunks_exact_mut(width).for_each(|row| row[options.factors] = 1.0);
        of_items.chunks_exact_mut(width).for_each(|row| row[options.factors] = 0.0);
        widest_of(Learning {
            data,
            options,
            cells: &cells,
            users: &mut of_users,
            items: &mut of_items,
            rng: &mut rng,
        });
        if !of_items.iter().chain(&of_users).all(|number| number.is_finite()) {
            return Err(Error::invalid("the factors grew beyond all numbers")
                .hint("Lower the learning rate, or raise the penalty."));
        }
        // What nobody has was only ever the worse one of a pair.
        for (row, _) in of_items.chunks_exact_mut(width).zip(held).filter(|(_, held)| !held) {
            row.fill(0.0);
        }
        Ok(Self { options: options.clone(), items: of_items })
    }

    /// The numbers of an item, the last one for its popularity; empty outside the catalogue.
    #[must_use]
    pub fn item(&self, item: u32) -> &[f32] {
        let width = self.options.factors + 1;
        self.items.get(item as usize * width..(item as usize + 1) * width).unwrap_or(&[])
    }

    /// The numbers of a person with this history, found by pairs against the fixed items; all 0 but the last without
    /// evidence.
    #[must_use]
    pub fn fold_in(&self, history: &UserHistory) -> Vec<f32> {
        widest_of(FoldIn { model: self, history })
    }

    fn known(&self, item: u32) -> bool {
        self.item(item).iter().any(|number| *number != 0.0)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let options = reader.json::<Options>()?;
        check(&options)?;
        let items = reader.f32s()?;
        if !items.len().is_multiple_of(options.factors + 1) {
            return Err(damaged("holds factors that do not fit its options"));
        }
        Ok(Self { options, items })
    }
}

/// The steps of a fit.
struct Learning<'a> {
    data: &'a Interactions,
    options: &'a Options,
    cells: &'a [(u32, u32)],
    users: &'a mut [f32],
    items: &'a mut [f32],
    rng: &'a mut Rng,
}

impl Work for Learning<'_> {
    type Made = ();

    #[inline(always)]
    fn work(self) {
        let Self { data, options, cells, users, items, rng } = self;
        let width = options.factors + 1;
        let draws = options.epochs.saturating_mul(cells.len());
        for drawn in 0..draws {
            let (user, had) = cells[rng.below(cells.len())];
            let has = data.items(user as usize);
            let Some(other) = not_had(has, data.item_count(), rng) else { continue };
            let rate = rate_of(options, drawn, draws);
            let person = &mut users[user as usize * width..][..width];
            let (had, other) = two_rows(items, had as usize, other as usize, width);
            step(person, had, other, rate, options.penalty as f32);
        }
    }
}

/// How far the step `taken` of so many goes.
#[inline(always)]
fn rate_of(options: &Options, taken: usize, steps: usize) -> f32 {
    let left = 1.0 - taken as f64 / steps.max(1) as f64;
    (options.learning_rate * left.max(SHORTEST)) as f32
}

/// Two different rows to be changed.
#[inline(always)]
fn two_rows(rows: &mut [f32], one: usize, two: usize, width: usize) -> (&mut [f32], &mut [f32]) {
    let (low, high) = rows.split_at_mut(one.max(two) * width);
    let (low, high) = (&mut low[one.min(two) * width..][..width], &mut high[..width]);
    if one < two { (low, high) } else { (high, low) }
}

/// An item that is not in `items`, ascending; none if they are all but a few.
#[inline(always)]
fn not_had(items: &[u32], count: usize, rng: &mut Rng) -> Option<u32> {
    (0..DRAWS_MAX).map(|_| rng.below(count) as u32).find(|item| items.binary_search(item).is_err())
}

/// Small numbers around 0, of a size by which a product is one too.
fn started(rows: usize, width: usize, rng: &mut Rng) -> Vec<f32> {
    (0..rows * width).map(|_| ((rng.uniform() - 0.5) / width as f64) as f32).collect()
}

fn check(options: &Options) -> Result<()> {
    let positive = |name: &str, value: f64, most: f64| {
        if value.is_finite() && value > 0.0 && value <= most {
            return Ok(());
        }
        Err(Error::invalid(format!("{name} is {value}"))
            .hint(format!("Give a number above 0, up to {most}.")))
    };
    positive("learning_rate", options.learning_rate, 1.0)?;
    if !options.penalty.is_finite() || !(0.0..=1.0).contains(&options.penalty) {
        return Err(Error::invalid(format!("penalty is {}", options.penalty))
            .hint("Give a number from 0 to 1; 0.01 is a good start."));
    }
    positive("factors", options.factors as f64, FACTORS_MAX as f64)?;
    positive("epochs", options.epochs as f64, 1000.0)
}

/// The numbers of the person of a history.
struct FoldIn<'a> {
    model: &'a Bpr,
    history: &'a UserHistory,
}

impl Work for FoldIn<'_> {
    type Made = Vec<f32>;

    #[inline(always)]
    fn work(self) -> Vec<f32> {
        let Self { model, history } = self;
        let options = &model.options;
        let mut person = vec![0.0; options.factors + 1];
        if let Some(last) = person.last_mut() {
            *last = 1.0;
        }
        let owned: Vec<u32> = history.owned().iter().map(|owned| owned.item).collect();
        // The same pairs for the same history, whoever asks.
        let mut rng = Rng::new(options.seed);
        let count = model.item_count();
        let mut pairs = Vec::with_capacity(owned.len() * FOLD_IN_PAIRS);
        for _ in 0..FOLD_IN_PAIRS {
            for had in owned.iter().filter(|item| model.known(**item)) {
                let other = not_had(&owned, count, &mut rng).filter(|item| model.known(*item));
                pairs.extend(other.map(|other| (*had, other)));
            }
        }
        let steps = pairs.len() * FOLD_IN_EPOCHS;
        let penalty = options.penalty as f32;
        for (taken, (had, other)) in pairs.iter().cycle().take(steps).enumerate() {
            let rate = rate_of(options, taken, steps);
            let (had, other) = (model.item(*had), model.item(*other));
            let ahead = dot(&person, had) - dot(&person, other);
            let pull = rate / (1.0 + ahead.exp());
            let (numbers, _) = person.split_at_mut(options.factors);
            numbers.iter_mut().for_each(|number| *number -= rate * penalty * *number);
            add_scaled(numbers, pull, &had[..options.factors]);
            add_scaled(numbers, -pull, &other[..options.factors]);
        }
        person
    }
}

impl Recommender for Bpr {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.items.len() / (self.options.factors + 1)
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        if !history.owned().iter().any(|owned| self.known(owned.item)) {
            return Vec::new();
        }
        let person = self.fold_in(history);
        widest_of(Products { items: &self.items, person: &person })
    }

    fn score_all(&self, histories: &[UserHistory]) -> Vec<Vec<Scored>> {
        let person = |history: &UserHistory| {
            let known = history.owned().iter().any(|owned| self.known(owned.item));
            known.then(|| self.fold_in(history))
        };
        let people: Vec<Option<Vec<f32>>> = histories.iter().map(person).collect();
        products_of_all(&self.items, self.options.factors + 1, &people)
    }

    /// The owned item whose numbers are nearest, popularity left out.
    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        let taste = |item: u32| self.item(item).split_last().map_or(&[][..], |(_, taste)| taste);
        let wanted = taste(item);
        strongest_owned(history, item, |owned| {
            let other = taste(owned);
            if other.is_empty() || wanted.is_empty() { 0.0 } else { f64::from(dot(wanted, other)) }
        })
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.json(&self.options)?;
        writer.f32s(&self.items);
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests;
