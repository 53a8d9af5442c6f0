//! Recency, frequency and monetary value of customers as of a moment.

use flywheel_base::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::stats::finite;

/// Microseconds in a day.
const DAY_US: f64 = 86_400_000_000.0;

/// The most score classes.
const CLASSES_MAX: u8 = 10;

/// One purchase; `C` is a text, owned or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Purchase<C = String> {
    /// Who bought.
    pub customer: C,
    /// When.
    pub at: Timestamp,
    /// For how much; a return is negative.
    pub value: f64,
}

/// What one customer's purchases say.
///
/// # Shape
/// One row a customer with at least one purchase at or before the as-of moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    /// Who.
    pub customer: String,
    /// Days since the last purchase.
    pub recency_days: f64,
    /// The number of purchases of positive value.
    pub frequency: u64,
    /// The sum of values, returns taken off.
    pub monetary: f64,
    /// Days since the first purchase.
    pub age_days: f64,
    /// The median number of days between two days with purchases; `None` below two such days.
    pub rhythm_days: Option<f64>,
}

/// Quantile scores of one customer, 1 worst.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    /// Who.
    pub customer: String,
    /// 5 of 5: bought most recently.
    pub recency: u8,
    /// 5 of 5: buys most often.
    pub frequency: u8,
    /// 5 of 5: spends most.
    pub monetary: u8,
}

/// Sums up purchases up to and including `as_of`; later ones are ignored, so a past day can be redone.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming the first purchase whose value is not finite.
/// # Cost
/// O(n log n) in the purchases.
pub fn customers<C: AsRef<str>>(
    purchases: &[Purchase<C>],
    as_of: Timestamp,
) -> Result<Vec<Customer>> {
    let mut known: Vec<&Purchase<C>> = Vec::with_capacity(purchases.len());
    for (position, purchase) in purchases.iter().enumerate() {
        if !purchase.value.is_finite() {
            return Err(finite::not_finite("purchase value", position, purchase.value));
        }
        if purchase.at <= as_of {
            known.push(purchase);
        }
    }
    // In order already as a rule, which the sort finds out in one pass.
    known.sort_by(|a, b| (a.customer.as_ref(), a.at).cmp(&(b.customer.as_ref(), b.at)));
    let of_one = known.chunk_by(|a, b| a.customer.as_ref() == b.customer.as_ref());
    Ok(of_one.filter_map(|events| summary(events, as_of)).collect())
}

/// `None` for a customer who only ever returned goods.
fn summary<C: AsRef<str>>(events: &[&Purchase<C>], as_of: Timestamp) -> Option<Customer> {
    let bought: Vec<Timestamp> = events.iter().filter(|e| e.value > 0.0).map(|e| e.at).collect();
    let (first, last) = (bought.first()?, bought.last()?);
    let days_to = |at: &Timestamp| (as_of.micros() - at.micros()) as f64 / DAY_US;
    let mut days: Vec<i64> = bought.iter().map(|at| at.day()).collect();
    days.dedup();
    Some(Customer {
        customer: events.first()?.customer.as_ref().to_owned(),
        recency_days: days_to(last),
        frequency: bought.len() as u64,
        monetary: events.iter().map(|e| e.value).sum(),
        age_days: days_to(first),
        rhythm_days: median_gap(&days),
    })
}

fn median_gap(days: &[i64]) -> Option<f64> {
    let mut gaps: Vec<i64> = days.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let middle = gaps.len() / 2;
    let high = *gaps.get(middle)?;
    let low = if gaps.len().is_multiple_of(2) { gaps[middle - 1] } else { high };
    Some(f64::midpoint(low as f64, high as f64))
}

/// Scores each measure by quantile into `classes` classes, 1 (worst) to `classes` (best).
///
/// Customers with equal values get equal scores: the share of customers strictly below decides.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if `classes` is not 2 to 10.
pub fn scores(customers: &[Customer], classes: u8) -> Result<Vec<Scores>> {
    if !(2..=CLASSES_MAX).contains(&classes) {
        return Err(Error::invalid(format!("{classes} score classes are asked for"))
            .hint(format!("Ask for 2 to {CLASSES_MAX} classes; 5 is usual.")));
    }
    let by = |measure: fn(&Customer) -> f64| {
        let values: Vec<f64> = customers.iter().map(measure).collect();
        classify(&values, classes)
    };
    let recency = by(|customer| -customer.recency_days);
    let frequency = by(|customer| customer.frequency as f64);
    let monetary = by(|customer| customer.monetary);
    let made = customers.iter().enumerate().map(|(at, customer)| Scores {
        customer: customer.customer.clone(),
        recency: recency[at],
        frequency: frequency[at],
        monetary: monetary[at],
    });
    Ok(made.collect())
}

fn classify(values: &[f64], classes: u8) -> Vec<u8> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len().max(1);
    let class = |value: &f64| {
        let below = sorted.partition_point(|other| other < value);
        let slot = below * usize::from(classes) / n;
        1 + u8::try_from(slot).unwrap_or(classes).min(classes - 1)
    };
    values.iter().map(class).collect()
}
