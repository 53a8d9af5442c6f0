//! Gamma-Gamma: what the purchases of each customer are worth on the mean.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::history::{History, Table};
use super::maximum;
use super::{BUYERS_MIN, Estimate, SAMPLE_ROWS};
use crate::stats::finite;
use crate::stats::special::ln_gamma;

/// A fitted Gamma-Gamma model.
///
/// Purchases of a customer vary around the customer's own mean; these means vary around that of all. A
/// customer's mean of few purchases is drawn towards everybody's, that of many is left as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spend {
    /// `p`, `q` and `v`; `v` is in the unit of the values.
    pub parameters: Vec<Estimate>,
    /// The log-likelihood of all customers.
    pub log_likelihood: f64,
    /// The number of customers with repeat purchases it was fitted on.
    pub customers: f64,
    /// How purchases and their mean value go together, −1 to 1. The model takes them as independent: beyond
    /// about ±0.3 do not trust it. `None` where one of them does not vary.
    pub correlation: Option<f64>,
    /// Whether the search ended at a top.
    pub converged: bool,
    pub(super) covariance: Option<Vec<Vec<f64>>>,
}

impl Spend {
    /// Fits the values of repeat purchases: `frequency` purchases of mean value `spend` a customer.
    /// Customers without repeat purchase, or whose repeat purchases were all free, are passed over.
    ///
    /// # Shape
    /// One entry a customer; `weights` says how many customers have this entry, 1 if `None`.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the lengths differ, a number is not finite or negative, a repeat
    /// buyer's spend is below 0, or fewer than [`BUYERS_MIN`] customers have repeat purchases.
    /// # Cost
    /// About 1,000 passes over at most 5,000 customers and 150 over all different ones.
    /// # Source
    /// Fader & Hardie 2013, "The Gamma-Gamma Model of Monetary Value"; parity with lifetimes in
    /// `tests/parity/lifetime.json`.
    pub fn fit(frequency: &[f64], spend: &[f64], weights: Option<&[f64]>) -> Result<Self> {
        super::same_length(frequency.len(), spend.len(), "spends")?;
        super::check_weights(frequency.len(), weights)?;
        finite::all_finite("frequency", frequency)?;
        finite::all_finite("spend", spend)?;
        let (mut histories, mut counts) = (Vec::new(), Vec::new());
        for (at, (x, m)) in frequency.iter().zip(spend).enumerate() {
            if *x <= 0.0 || *m == 0.0 {
                continue;
            }
            if *m < 0.0 {
                return Err(Error::invalid(format!(
                    "spend is {m} at position {at}, with {x} repeat purchases"
                ))
                .hint("Leave out purchases that were returned."));
            }
            // A table of (frequency, mean): the mean stands where a history has its recency.
            histories.push(History { frequency: *x, recency: *m, age: 0.0 });
            counts.push(weights.and_then(|w| w.get(at)).copied().unwrap_or(1.0));
        }
        let buyers: f64 = counts.iter().sum();
        if buyers < BUYERS_MIN {
            return Err(super::few_buyers("a model of spend", buyers));
        }
        let scale = histories.iter().map(|history| history.recency).fold(0.0, f64::max);
        let table = Table::new(&histories, Some(&counts), scale);
        let on = |table: &Table, logs: &[f64]| likelihood(table, &super::exp(logs));
        let starts = [vec![1.0, 1.0, 0.5], vec![2.0, 1.5, 0.0], vec![0.0, 0.5, 0.5]];
        let sample = table.sample(SAMPLE_ROWS);
        let coarse = |logs: &[f64]| on(sample.as_ref().unwrap_or(&table), logs);
        let hill = maximum::climb(&coarse, &maximum::explore(&coarse, &starts));
        let whole = |logs: &[f64]| on(&table, logs);
        let top = maximum::climb(&whole, &hill.logs);
        let (parameters, covariance) =
            super::estimates(&top, &["p", "q", "v"], &[2], scale, table.weight);
        // The density of a value in other units carries the unit once a customer.
        let log_likelihood = (top.value - scale.ln()) * table.weight;
        Ok(Self {
            parameters,
            log_likelihood,
            customers: buyers,
            correlation: correlation(&table),
            converged: top.converged,
            covariance,
        })
    }

    /// The expected value of a purchase of a customer with `frequency` repeat purchases of mean `spend`.
    ///
    /// `None` if it has no mean: for customers without repeat purchase where `q` is not above 1.
    #[must_use]
    pub fn expected(&self, frequency: f64, spend: f64) -> Option<f64> {
        expected(&super::values(&self.parameters), frequency, spend)
    }

    /// The standard error of the logarithm of [`Self::expected`] that the parameters' uncertainty brings.
    pub(super) fn log_error(&self, frequency: f64, spend: f64) -> Option<f64> {
        let value = |parameters: &[f64]| expected(parameters, frequency, spend);
        super::log_error(&self.parameters, self.covariance.as_deref(), &value)
    }
}

fn expected(parameters: &[f64], x: f64, m: f64) -> Option<f64> {
    let &[p, q, v] = parameters else { return None };
    let below = p * x + q - 1.0;
    (below > 0.0 && x >= 0.0 && m.is_finite()).then(|| p * (v + x * m.max(0.0)) / below)
}

/// Pearson's correlation of frequency and mean value.
fn correlation(table: &Table) -> Option<f64> {
    let x = table.mean(|row| row.frequency);
    let m = table.mean(|row| row.recency);
    let of = |f: &(dyn Fn(f64, f64) -> f64 + Sync)| {
        table.mean(|row| f(row.frequency - x, row.recency - m))
    };
    let spread = (of(&|x, _| x * x) * of(&|_, m| m * m)).sqrt();
    (spread > 0.0).then(|| of(&|x, m| x * m) / spread)
}

/// The mean log-likelihood of `[p, q, v]`.
fn likelihood(table: &Table, parameters: &[f64]) -> f64 {
    let &[p, q, v] = parameters else { return f64::NAN };
    let head = table.by_level(|x| {
        ln_gamma(p * x + q) - ln_gamma(p * x) - ln_gamma(q) + q * v.ln() + p * x * x.ln()
    });
    table.mean(|row| {
        let (x, m) = (row.frequency, row.recency);
        head[row.level] + (p * x - 1.0) * m.ln() - (p * x + q) * (x * m + v).ln()
    })
}
