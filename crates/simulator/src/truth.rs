//! What really happened, which no real shop ever knows.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// The truth of a world so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The seed everything follows from.
    pub seed: u64,
    /// The true effect of each policy that sent messages, by name.
    pub policies: Vec<PolicyTruth>,
    /// What empty shelves cost since the first day after the history.
    pub stock: StockTruth,
    /// Each day lived, history included.
    pub days: Vec<DayTruth>,
    /// Deliveries that nobody could receive: an unknown customer or product, or one sent twice.
    pub returned_deliveries: u64,
}

/// The true effect of a policy's messages on the probability of a purchase within 7 days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyTruth {
    /// The policy.
    pub policy: String,
    /// How many of its messages arrived.
    pub messages: u64,
    /// The mean probability of a purchase with the message.
    pub rate_with: f64,
    /// The mean probability of a purchase of the same customers without it.
    pub rate_without: f64,
    /// The difference: the lift that an experiment should find.
    pub lift: f64,
    /// The lift if the same customers had been shown products picked at random.
    pub lift_random: Option<f64>,
    /// The lift if each had been shown the products that fit best: no recommender can do better.
    pub lift_oracle: Option<f64>,
    /// How well the shown products matched, from 0 to 1.
    pub matched: Option<f64>,
}

/// What empty shelves cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StockTruth {
    /// Order lines that could not be served, or not in full.
    pub lost_lines: u64,
    /// Pieces wanted and not sold.
    pub lost_pieces: u64,
    /// What they would have brought, in the shop's currency.
    pub lost_revenue: f64,
    /// Orders lost because nothing in the basket was there.
    pub lost_orders: u64,
    /// Product-days that ended with an empty shelf.
    pub empty_shelf_days: u64,
    /// Pieces wanted.
    pub wanted_pieces: u64,
    /// Purchase orders that were delivered to suppliers.
    pub purchase_orders: u64,
}

impl StockTruth {
    /// The share of wanted pieces that were sold; 1 if none were wanted.
    #[must_use]
    pub fn fill_rate(&self) -> f64 {
        if self.wanted_pieces == 0 {
            return 1.0;
        }
        1.0 - self.lost_pieces as f64 / self.wanted_pieces as f64
    }
}

/// One day of the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayTruth {
    /// The day.
    pub date: NaiveDate,
    /// Orders of known customers and guests.
    pub orders: u64,
    /// Their lines.
    pub lines: u64,
    /// What they brought, in the shop's currency, before cancellations.
    pub revenue: f64,
    /// Messages that arrived.
    pub messages: u64,
    /// Messages that were opened.
    pub opened: u64,
    /// Pieces wanted and not sold.
    pub lost_pieces: u64,
    /// Products that ended the day with an empty shelf.
    pub empty_shelves: u64,
    /// Customers who are active, whether they bought or not.
    pub active_customers: u64,
    /// Customers who have signed up.
    pub customers: u64,
    /// Rows of the order file that cannot be read, on purpose.
    pub bad_rows: u64,
}

/// Sums of the true probabilities of one policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct PolicySums {
    messages: u64,
    with: f64,
    without: f64,
    recommendations: u64,
    random: f64,
    oracle: f64,
    matched: f64,
}

impl PolicySums {
    pub(crate) fn add(&mut self, (with, without): (f64, f64)) {
        self.messages += 1;
        self.with += with;
        self.without += without;
    }

    /// Adds what would have happened with random products and with the best ones.
    pub(crate) fn compare(&mut self, matched: f64, random: f64, oracle: f64) {
        self.recommendations += 1;
        self.matched += matched;
        self.random += random;
        self.oracle += oracle;
    }

    fn truth(&self, policy: &str) -> PolicyTruth {
        let count = self.messages.max(1) as f64;
        let shown =
            |sum: f64| (self.recommendations > 0).then(|| sum / self.recommendations as f64);
        PolicyTruth {
            policy: policy.to_owned(),
            messages: self.messages,
            rate_with: self.with / count,
            rate_without: self.without / count,
            lift: (self.with - self.without) / count,
            lift_random: shown(self.random),
            lift_oracle: shown(self.oracle),
            matched: shown(self.matched),
        }
    }
}

/// The truth of each policy, by name.
pub(crate) fn policies(sums: &BTreeMap<String, PolicySums>) -> Vec<PolicyTruth> {
    sums.iter().map(|(policy, sums)| sums.truth(policy)).collect()
}
