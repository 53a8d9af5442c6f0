//! What is known of each customer, checked, and equal histories counted once.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, Timestamp};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::segment::rfm::Purchase;
use crate::stats::finite;

/// The most purchases of one customer that a model takes.
pub const PURCHASES_MAX: f64 = 1e6;

/// Rows in one parallel piece; fixed, so that sums do not depend on the number of threads, and few enough that a shop of
/// some thousand customers is fitted on all of them.
const ROWS_PER_PIECE: usize = 256;

/// What a model needs to know of a customer.
///
/// # Units
/// `recency` and `age` are in any one unit of time (the learner uses days), or in opportunities for
/// [`super::Model::BgBb`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Repeat purchases: those after the first, at most one a day.
    pub frequency: f64,
    /// From the first purchase to the last; 0 without repeat purchase.
    pub recency: f64,
    /// From the first purchase to now.
    pub age: f64,
}

/// A customer as of a moment, in days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    /// Who.
    pub customer: String,
    /// The purchases, in days.
    pub history: History,
    /// The mean value of a day with a repeat purchase; 0 without any.
    pub spend: f64,
    /// The mean value of a day with a purchase, the first one too.
    pub spend_of_all: f64,
}

/// Sums up purchases up to and including `as_of`; later ones are ignored, so a past day can be redone.
///
/// Purchases of one day are one, free ones too. A day whose returns eat up its purchases is none; a
/// customer without any other day is left out.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming the first purchase whose value is not finite.
/// # Cost
/// O(n log n) in the purchases.
pub fn customers(purchases: &[Purchase], as_of: Timestamp) -> Result<Vec<Customer>> {
    let mut by_customer: BTreeMap<&str, BTreeMap<i64, Day>> = BTreeMap::new();
    for (position, purchase) in purchases.iter().enumerate() {
        if !purchase.value.is_finite() {
            return Err(finite::not_finite("purchase value", position, purchase.value));
        }
        if purchase.at <= as_of {
            let days = by_customer.entry(&purchase.customer).or_default();
            let day = days.entry(purchase.at.day()).or_default();
            day.value += purchase.value;
            day.returned |= purchase.value < 0.0;
        }
    }
    Ok(by_customer
        .into_iter()
        .filter_map(|(customer, days)| summary(customer, &days, as_of.day()))
        .collect())
}

/// Purchases and the moment to judge at, with an opportunity of `days` days where there was a day: what
/// [`super::Model::BgBb`] takes.
///
/// Opportunities are counted back from `as_of`, so that the last one is whole; a purchase after it is left out.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if an opportunity is not a day long at least.
pub fn opportunities(
    purchases: &[Purchase],
    as_of: Timestamp,
    days: f64,
) -> Result<(Vec<Purchase>, Timestamp)> {
    if !days.is_finite() || days < 1.0 {
        return Err(Error::invalid(format!("an opportunity of {days} days")).hint(
            "Give the time from one chance to buy to the next, such as 30d; it is a day at least.",
        ));
    }
    let today = as_of.day();
    let moved = purchases.iter().filter(|purchase| purchase.at <= as_of).map(|purchase| {
        let ago = ((today - purchase.at.day()) as f64 / days).floor();
        Purchase { at: Timestamp::from_day(-(ago as i64)), ..purchase.clone() }
    });
    Ok((moved.collect(), Timestamp::from_day(0)))
}

/// What a customer bought and returned on a day.
#[derive(Default)]
struct Day {
    value: f64,
    returned: bool,
}

fn summary(customer: &str, days: &BTreeMap<i64, Day>, today: i64) -> Option<Customer> {
    let left = days.iter().filter(|(_, day)| day.value > 0.0 || !day.returned);
    let mut bought = left.map(|(day, bought)| (*day, bought.value));
    let (first, first_value) = bought.next()?;
    let (mut last, mut count, mut sum) = (first, 0.0, 0.0);
    for (day, value) in bought {
        last = day;
        count += 1.0;
        sum += value;
    }
    let history =
        History { frequency: count, recency: (last - first) as f64, age: (today - first) as f64 };
    Some(Customer {
        customer: customer.to_owned(),
        history,
        spend: if count > 0.0 { sum / count } else { 0.0 },
        spend_of_all: (sum + first_value) / (count + 1.0),
    })
}

/// Refuses a history that no customer can have.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming the position, from 0, and what contradicts itself.
pub(super) fn check(position: usize, history: &History) -> Result<()> {
    let History { frequency, recency, age } = *history;
    for (what, value) in [("frequency", frequency), ("recency", recency), ("age", age)] {
        if !value.is_finite() {
            return Err(finite::not_finite(what, position, value));
        }
    }
    let wrong = if frequency < 0.0 || recency < 0.0 || age < 0.0 {
        "has a negative number"
    } else if frequency.fract() != 0.0 || frequency > PURCHASES_MAX {
        "has a frequency that is no count up to 1000000"
    } else if recency > age {
        "bought last after the moment it is judged at"
    } else if (frequency == 0.0) != (recency == 0.0) {
        "has a recency without repeat purchase or a repeat purchase without recency"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "customer at position {position} {wrong}: frequency {frequency}, recency {recency}, age {age}"
    ))
    .hint(
        "Count purchases after the first one, and time from the first to the last (recency) and to now (age).",
    ))
}

/// Different histories, each with how many customers have it.
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// The different frequencies, ascending.
    pub(super) levels: Vec<f64>,
    /// How many customers there are.
    pub(super) weight: f64,
}

/// Customers with one history.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) frequency: f64,
    pub(super) recency: f64,
    pub(super) age: f64,
    pub(super) weight: f64,
    /// Where the frequency stands in the table's levels.
    pub(super) level: usize,
}

impl Row {
    pub(super) fn history(&self) -> History {
        History { frequency: self.frequency, recency: self.recency, age: self.age }
    }
}

impl Table {
    /// Counts equal histories once; times are divided by `scale`.
    pub(super) fn new(histories: &[History], weights: Option<&[f64]>, scale: f64) -> Self {
        let weight = |at: usize| weights.and_then(|w| w.get(at)).copied().unwrap_or(1.0);
        let mut rows: Vec<Row> = histories
            .iter()
            .enumerate()
            .map(|(at, h)| Row {
                frequency: h.frequency,
                recency: h.recency / scale,
                age: h.age / scale,
                weight: weight(at),
                level: 0,
            })
            .collect();
        let key = |a: &Row, b: &Row| {
            let first = a.frequency.total_cmp(&b.frequency);
            first.then(a.recency.total_cmp(&b.recency)).then(a.age.total_cmp(&b.age))
        };
        // Weights with fraction add up to the same bits in any order of the input.
        rows.par_sort_unstable_by(|a, b| key(a, b).then(a.weight.total_cmp(&b.weight)));
        rows.dedup_by(|later, kept| {
            let same = key(later, kept).is_eq();
            if same {
                kept.weight += later.weight;
            }
            same
        });
        let mut levels: Vec<f64> = Vec::new();
        for row in &mut rows {
            if levels.last() != Some(&row.frequency) {
                levels.push(row.frequency);
            }
            row.level = levels.len() - 1;
        }
        let weight = rows.iter().map(|row| row.weight).sum();
        Self { rows, levels, weight }
    }

    /// Every n-th row, so that at most `most` are left: enough to find the right hill.
    pub(super) fn sample(&self, most: usize) -> Option<Self> {
        if self.rows.len() <= most {
            return None;
        }
        let step = self.rows.len().div_ceil(most);
        let rows: Vec<Row> = self.rows.iter().step_by(step).copied().collect();
        let weight = rows.iter().map(|row| row.weight).sum();
        Some(Self { rows, levels: self.levels.clone(), weight })
    }

    /// The weighted mean of `f`; the same bits on any number of threads.
    pub(super) fn mean(&self, f: impl Fn(&Row) -> f64 + Sync) -> f64 {
        let [mean] = self.means(|rows| [rows.iter().map(|row| row.weight * f(row)).sum()]);
        mean
    }

    /// The weighted means of several numbers, whose weighted sums over some rows are `sums`; the same bits on any number of
    /// threads.
    pub(super) fn means<const COUNT: usize>(
        &self,
        sums: impl Fn(&[Row]) -> [f64; COUNT] + Sync,
    ) -> [f64; COUNT] {
        let pieces: Vec<[f64; COUNT]> = self.rows.par_chunks(ROWS_PER_PIECE).map(&sums).collect();
        std::array::from_fn(|at| pieces.iter().map(|piece| piece[at]).sum::<f64>() / self.weight)
    }

    /// `f` of each different frequency.
    pub(super) fn by_level<T>(&self, f: impl Fn(f64) -> T) -> Vec<T> {
        self.levels.iter().map(|level| f(*level)).collect()
    }
}
