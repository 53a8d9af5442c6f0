//! Customers who answer to one of four offers by a known law that changes on a day: the truth that a bandit, its
//! challengers and their guards are judged by.
//!
//! Nobody in this world is influenced by earlier offers, so the best offer for each customer and day is known and so is
//! what any policy earns with its probabilities.

use flywheel_base::{Rng, digest};

/// What can be offered.
pub const OFFERS: [&str; 4] = ["reminder", "discount", "voucher", "bundle"];

/// The segments of customers.
pub const SEGMENTS: [&str; 4] = ["new", "regular", "loyal", "lapsed"];

/// How likely somebody answers to the offer that suits the segment, to the next best one, and to the others.
const ANSWERS: [f64; 4] = [0.34, 0.18, 0.12, 0.08];

/// How much of the chance depends on how lively the customer is.
const LIVELINESS: f64 = 0.5;

/// The share of answers that come in the first day after the offer; the others come in the second one.
const FIRST_DAY: f64 = 0.8;

/// One customer.
#[derive(Clone, Debug, PartialEq)]
pub struct Customer {
    /// The customer's id.
    pub id: String,
    /// The place of the segment in [`SEGMENTS`].
    pub segment: usize,
    /// From 0 (sleepy) to 1 (lively).
    pub lively: f64,
}

/// An answer to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How many seconds after the offer it comes, less than two days.
    pub after_s: i64,
}

/// The world: customers, and the day from which on other offers suit them.
#[derive(Clone, Debug)]
pub struct Offers {
    seed: u64,
    customers: Vec<Customer>,
    drift_day: i64,
}

impl Offers {
    /// Makes so many customers; from `drift_day` on another offer suits each segment.
    #[must_use]
    pub fn new(seed: u64, customers: usize, drift_day: i64) -> Self {
        let mut rng = Rng::stream(seed, "offers");
        let customer = |number| Customer {
            id: format!("c{number:06}"),
            segment: rng.below(SEGMENTS.len()),
            lively: rng.uniform(),
        };
        Self { seed, customers: (0..customers).map(customer).collect(), drift_day }
    }

    /// Everybody.
    #[must_use]
    pub fn customers(&self) -> &[Customer] {
        &self.customers
    }

    /// The probability that a customer answers to an offer made on `day`; 0 for an offer that is none.
    #[must_use]
    pub fn chance(&self, customer: &Customer, offer: &str, day: i64) -> f64 {
        let Some(offer) = OFFERS.iter().position(|known| *known == offer) else { return 0.0 };
        // Before the drift the offer of the segment's own number is the best; after it the one two further on.
        let shift = if day < self.drift_day { 0 } else { 2 };
        let rank =
            (offer + OFFERS.len() - (customer.segment + shift) % OFFERS.len()) % OFFERS.len();
        let liveliness = 1.0 + LIVELINESS * (2.0 * customer.lively - 1.0);
        ANSWERS.get(rank).copied().unwrap_or_default() * liveliness
    }

    /// The probability that a customer answers to the offer that suits best on `day`.
    #[must_use]
    pub fn best(&self, customer: &Customer, day: i64) -> f64 {
        OFFERS.iter().map(|offer| self.chance(customer, offer, day)).fold(0.0, f64::max)
    }

    /// Whether and when a customer answers to the offer of a decision; the same decision is answered the same way.
    #[must_use]
    pub fn answer(
        &self,
        customer: &Customer,
        offer: &str,
        day: i64,
        decision: &str,
    ) -> Option<Answer> {
        let seed = self.seed.to_le_bytes();
        let mut rng = Rng::new(digest::hash64(&[b"answer", &seed, decision.as_bytes()]));
        if !rng.chance(self.chance(customer, offer, day)) {
            return None;
        }
        let first = rng.chance(FIRST_DAY);
        let within = 3_600.0 + rng.uniform() * 80_000.0;
        Some(Answer { after_s: within as i64 + if first { 0 } else { 86_400 } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_segment_has_its_best_offer_and_another_one_after_the_drift() {
        let world = Offers::new(3, 400, 15);
        for customer in world.customers() {
            let best = |day| {
                let chance = |offer: &&&str| world.chance(customer, offer, day);
                let best = OFFERS.iter().max_by(|a, b| chance(a).total_cmp(&chance(b))).unwrap();
                assert!(
                    (world.best(customer, day) - world.chance(customer, best, day)).abs() < 1e-12
                );
                *best
            };
            assert_eq!(best(14), OFFERS[customer.segment]);
            assert_eq!(best(15), OFFERS[(customer.segment + 2) % 4]);
            assert_eq!(world.chance(customer, "none", 3), 0.0);
        }
    }

    #[test]
    fn answers_come_as_often_as_the_law_says_and_repeat() {
        let world = Offers::new(5, 1, 15);
        let customer = &world.customers()[0];
        let answered: Vec<Answer> = (0..20_000)
            .filter_map(|n| world.answer(customer, "discount", 2, &format!("d{n}")))
            .collect();
        let share = answered.len() as f64 / 20_000.0;
        assert!((share - world.chance(customer, "discount", 2)).abs() < 0.01, "{share}");
        assert!(answered.iter().all(|answer| (3_600..172_800).contains(&answer.after_s)));
        let late = answered.iter().filter(|answer| answer.after_s >= 86_400).count();
        assert!((0.15..0.25).contains(&(late as f64 / answered.len() as f64)), "{late}");
        assert_eq!(
            world.answer(customer, "discount", 2, "d7"),
            world.answer(customer, "discount", 2, "d7")
        );
    }
}
