//! iALS: implicit feedback as confidence, factored by alternating least squares.
//!
//! Every cell counts: an empty one says "not wanted" with confidence 1, a filled one "wanted" with
//! `confidence` · its value. Users and items get `factors` numbers each, by turns solved exactly
//! enough by a few steps of conjugate gradients from where they were. The model keeps the items
//! alone; the numbers of a person are solved when the history comes, so that the next event changes
//! the next answer.
//!
//! **When to use it.** When compact models and embeddings are wanted (64 to 256 numbers an item),
//! when amounts or counts matter, and as one voice of several. **When not.** As the only source on
//! sparse catalogues: `gf-cf` and `rp3beta` rank better there and cost less. Ratings that can say
//! "disliked" belong to `nmf`: here each value above 0 is a wish.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, damaged};
use super::history::UserHistory;
use super::holders::Holders;
use super::interactions::Interactions;
use super::neighbours::Value;
use super::vector::{Products, dot, products_of_all};
use super::{Algorithm, Reason, Recommender, Scored, options};
use crate::wide::{Work, widest_of};

mod limits;
mod solve;
mod sweep;

use limits::{check, check_size};
use solve::Row;
use sweep::{Cells, Side};

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "ials",
    summary: "Implicit feedback factored into a few numbers per item; small models, any catalogue",
    fit: |training, value| Ok(Box::new(Ials::fit(training.interactions, &options(value)?)?)),
    load: |reader| Ok(Box::new(Ials::read(reader)?)),
};

/// How the matrix is factored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many numbers per item and per user.
    pub factors: usize,
    /// What a filled cell of value 1 counts beside an empty one; more for sparser data.
    pub confidence: f64,
    /// Which number of a cell is its value.
    pub value: Value,
    /// The L2 penalty on the numbers of an average user and an average item.
    pub penalty: f64,
    /// How the penalty grows with how much a row has: 0 the same for all, 1 in proportion.
    pub penalty_exponent: f64,
    /// How often both sides are solved.
    pub sweeps: usize,
    /// Steps of conjugate gradients per row and sweep.
    pub steps: usize,
    /// The seed of the starting point.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            factors: 64,
            confidence: 10.0,
            value: Value::Presence,
            penalty: 1.0,
            penalty_exponent: 0.0,
            sweeps: 15,
            steps: 3,
            seed: 0,
        }
    }
}

impl Options {
    /// As `implicit`'s `AlternatingLeastSquares(factors, regularization, alpha)`: 15 sweeps of three
    /// steps, one penalty for all rows.
    #[must_use]
    pub fn compat(factors: usize, regularization: f64, alpha: f64) -> Self {
        Self { factors, confidence: alpha, penalty: regularization, ..Self::default() }
    }

    /// The confidence in a cell.
    fn confidence_in(&self, weight: f64, occasions: u32) -> f32 {
        let value = match self.value {
            Value::Presence => 1.0,
            Value::Weight => weight,
            Value::Occasions => f64::from(occasions),
        };
        (self.confidence * value) as f32
    }

    /// How much a row with `cells` cells beside `others` possible ones weighs in the loss.
    fn mass(&self, cells: usize, others: usize) -> f64 {
        cells as f64 + others as f64 / self.confidence
    }

    /// The penalty of a row of that mass when rows weigh `mean` on average.
    fn penalty_of(&self, mass: f64, mean: f64) -> f32 {
        (self.penalty * (mass / mean).powf(self.penalty_exponent)) as f32
    }
}

/// The most numbers per item.
pub const FACTORS_MAX: usize = 1024;
/// Steps by which a history is folded in at most; each is exact in one more direction.
const FOLD_IN_STEPS_MAX: usize = 200;
/// A history is folded in when the residual has shrunk to this share.
const FOLD_IN_TOLERANCE: f32 = 1e-5;

/// The numbers of the items; those of a user are solved when the history comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Ials {
    options: Options,
    /// The mean mass of the training users.
    user_mass: f64,
    /// Items × factors, item by item; 0 for an item nobody has.
    items: Vec<f32>,
    /// itemsᵀ · items, factors × factors.
    gram: Vec<f32>,
}

impl Ials {
    /// Factors the matrix by alternating least squares.
    ///
    /// # Shape
    /// Minimises Σ c (1 − x·y)² over filled cells + Σ (x·y)² over empty ones + Σ λₓ|x|² + Σ λᵧ|y|²,
    /// c = `confidence` · value. λ of a row is `penalty` · (mass / mean mass)^`penalty_exponent`, the
    /// mass of a row being its cells + the rows of the other side / `confidence`.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for senseless options or data without a cell,
    /// [`flywheel_base::ErrorKind::Exhausted`] if a side has more than 400 million numbers.
    /// # Cost
    /// O(sweeps · (steps + 1) · (cells · factors + rows · factors²)), in parallel over rows; memory
    /// 4 · rows · factors bytes. An answer takes O(factors · (items + steps · (history + factors))).
    /// # Source
    /// Hu, Koren & Volinsky 2008; Takács, Pilászy & Tikk 2011 (conjugate gradients); Rendle et al.
    /// 2021, "Revisiting the Performance of iALS" (penalty by frequency). Parity with `implicit`
    /// 0.7.3: one sweep and one exact solution in `tests/parity/recommend.json`.
    pub fn fit(data: &Interactions, options: &Options) -> Result<Self> {
        check(options)?;
        check_size(data, options)?;
        let (users, items) = cells(data, options);
        let mut user_side = Side::new(users, data.item_count(), options);
        let mut item_side = Side::new(items, data.user_count(), options);
        item_side.start(options.seed);
        for _ in 0..options.sweeps {
            user_side.improve(&item_side, options.steps);
            item_side.improve(&user_side, options.steps);
        }
        if !item_side.finite() {
            return Err(Error::invalid("the factors grew beyond all numbers")
                .hint("Raise the penalty, lower the confidence, or use value: presence."));
        }
        Ok(Self::new(options.clone(), user_side.mean_mass, item_side.into_rows()))
    }

    /// A model of given items.
    pub(super) fn new(options: Options, user_mass: f64, items: Vec<f32>) -> Self {
        let gram = sweep::gram(&items, options.factors);
        Self { options, user_mass, items, gram }
    }

    /// The numbers of an item: its embedding; empty outside the catalogue.
    #[must_use]
    pub fn item(&self, item: u32) -> &[f32] {
        let from = item as usize * self.options.factors;
        self.items.get(from..from + self.options.factors).unwrap_or(&[])
    }

    /// The numbers of a person with this history, solved against the fixed items; all 0 without
    /// evidence.
    #[must_use]
    pub fn fold_in(&self, history: &UserHistory) -> Vec<f32> {
        widest_of(FoldIn(&self.row(history)))
    }

    /// The equations of one history.
    fn row(&self, history: &UserHistory) -> Row<'_> {
        let known = history.owned().iter().filter(|owned| !self.item(owned.item).is_empty());
        let cells: Vec<(f32, &[f32])> = known
            .map(|owned| {
                let confidence = self.options.confidence_in(owned.weight, owned.occasions);
                (confidence, self.item(owned.item))
            })
            .collect();
        let mass = self.options.mass(cells.len(), self.item_count());
        Row { gram: &self.gram, penalty: self.options.penalty_of(mass, self.user_mass), cells }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let options = reader.json::<Options>()?;
        check(&options)?;
        let (user_mass, items) = (reader.f64s()?, reader.f32s()?);
        match *user_mass.as_slice() {
            [user_mass] if user_mass > 0.0 && items.len().is_multiple_of(options.factors) => {
                Ok(Self::new(options, user_mass, items))
            }
            _ => Err(damaged("holds factors that do not fit its options")),
        }
    }
}

/// The users after one half of a sweep from `start` against fixed items.
#[cfg(test)]
pub(super) fn half_sweep(
    data: &Interactions,
    options: &Options,
    start: &[f32],
    items: &[f32],
) -> Vec<f32> {
    let (of_users, of_items) = cells(data, options);
    let mut side = Side::new(of_users, data.item_count(), options);
    side.place(start);
    let mut fixed = Side::new(of_items, data.user_count(), options);
    fixed.place(items);
    side.improve(&fixed, options.steps);
    side.into_rows()
}

/// The confidences by user and by item.
fn cells(data: &Interactions, options: &Options) -> (Cells, Cells) {
    let mut users = Cells::default();
    for user in 0..data.user_count() {
        users.push(
            data.cells(user)
                .map(|cell| (cell.item, options.confidence_in(cell.weight, cell.occasions))),
        );
    }
    let holders = Holders::new(data);
    let mut next = users.offsets.clone();
    let mut items = Cells::default();
    for item in 0..data.item_count() {
        items.push(holders.users(item).iter().map(|user| {
            // Items come in ascending order, so the next cell of the user is the one of this item.
            let place = &mut next[*user as usize];
            *place += 1;
            (*user, users.confidences[*place - 1])
        }));
    }
    (users, items)
}

/// The numbers of the person whose equations these are.
struct FoldIn<'a>(&'a Row<'a>);

impl Work for FoldIn<'_> {
    type Made = Vec<f32>;

    #[inline(always)]
    fn work(self) -> Vec<f32> {
        let right = self.0.right_side();
        let mut numbers = vec![0.0; right.len()];
        self.0.descend(&right, &mut numbers, FOLD_IN_STEPS_MAX, FOLD_IN_TOLERANCE);
        numbers
    }
}

/// For each listed item the owned one with the largest positive part in its score.
struct Parts<'a> {
    row: &'a Row<'a>,
    /// What is owned, in the order of the row's cells.
    owned: &'a [u32],
    items: &'a [u32],
    /// The numbers of the items.
    listed: &'a [&'a [f32]],
}

impl Work for Parts<'_> {
    type Made = Vec<Option<u32>>;

    #[inline(always)]
    fn work(self) -> Vec<Option<u32>> {
        if self.owned.is_empty() {
            return vec![None; self.items.len()];
        }
        let triangle = self.row.factored();
        let mut below = Vec::with_capacity(self.owned.len());
        for (_, y) in &self.row.cells {
            below.push(triangle.below(y));
        }
        let mut made = Vec::with_capacity(self.items.len());
        for (item, y) in self.items.iter().zip(self.listed) {
            let turned = triangle.below(y);
            let mut found: Option<(f32, u32)> = None;
            for (owned, (other, (confidence, _))) in
                self.owned.iter().zip(below.iter().zip(&self.row.cells))
            {
                let part = confidence * dot(other, &turned);
                if owned != item && part > 0.0 && found.is_none_or(|(best, _)| part > best) {
                    found = Some((part, *owned));
                }
            }
            made.push(found.map(|(_, owned)| owned));
        }
        made
    }
}

impl Recommender for Ials {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.items.len() / self.options.factors
    }

    fn score(&self, history: &UserHistory) -> Vec<Scored> {
        let person = self.fold_in(history);
        if person.iter().all(|number| *number == 0.0) {
            return Vec::new();
        }
        widest_of(Products { items: &self.items, person: &person })
    }

    fn score_all(&self, histories: &[UserHistory]) -> Vec<Vec<Scored>> {
        let person = |history| {
            Some(self.fold_in(history)).filter(|person| person.iter().any(|number| *number != 0.0))
        };
        let people: Vec<Option<Vec<f32>>> = histories.iter().map(person).collect();
        products_of_all(&self.items, self.options.factors, &people)
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        self.reasons(history, &[item]).first().and_then(|reason| reason.because)
    }

    /// The score of an item is a sum over the history: confidence · y · A⁻¹ · y′ for each owned
    /// item y′ (Hu, Koren & Volinsky, §5); the largest part is the reason. A is factored once for all.
    fn reasons(&self, history: &UserHistory, items: &[u32]) -> Vec<Reason> {
        let row = self.row(history);
        let listed: Vec<&[f32]> = items.iter().map(|item| self.item(*item)).collect();
        let known = history.owned().iter().filter(|owned| !self.item(owned.item).is_empty());
        let owned: Vec<u32> = known.map(|owned| owned.item).collect();
        let largest = widest_of(Parts { row: &row, owned: &owned, items, listed: &listed });
        let reason = |because| Reason { source: ALGORITHM.name, because };
        largest.into_iter().map(reason).collect()
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.json(&self.options)?;
        writer.f64s(&[self.user_mass]);
        writer.f32s(&self.items);
        Ok(writer.finish())
    }
}

#[cfg(test)]
mod tests;
