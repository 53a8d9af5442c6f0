//! Customers: what they like, how often they come, and how they drift away.

use std::collections::BTreeMap;

use flywheel_base::Rng;

use crate::catalog::Topics;
use crate::person::Person;
use crate::response::{SHAPE, WOKEN_RATE, patience, rested};
use crate::trade::Trade;
use crate::vocabulary::TOPIC_COUNT;

/// The chance per day that an active customer lapses.
const LAPSE_RATE: f64 = 0.004;

/// The chance per day that a lapsed customer comes back unasked.
const RETURN_RATE: f64 = 0.002;

/// What is left of the purchase rate after lapsing.
const LAPSED_FACTOR: f64 = 0.12;

/// What is left of it once a customer is lost.
const LOST_FACTOR: f64 = 0.03;

/// Days from lapsed to lost.
const LOST_AFTER_DAYS: i64 = 75;

/// The share of the first customers who have already lapsed.
const LAPSED_AT_FIRST: f64 = 0.22;

/// How likely a newcomer orders on the day of signing up.
const FIRST_ORDER: f64 = 0.9;

/// The largest relative gain that messages can add up to.
const GAIN_MAX: f64 = 3.0;

/// Where a customer stands. Nobody but this world knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Buys at the usual rate.
    Active,
    /// Rarely buys since that day.
    Lapsed { since: i64 },
    /// Hardly ever buys.
    Lost,
}

/// An opened message that still works.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// The day on which it first works.
    pub(crate) day: i64,
    /// What it adds to the purchase rate, relative to it.
    pub(crate) gain: f64,
    /// The decision it carries.
    pub(crate) key: String,
    /// The policy it came from.
    pub(crate) policy: String,
    /// The products it showed.
    pub(crate) items: Vec<usize>,
    /// The discount in percent.
    pub(crate) discount: i64,
    /// Whether it woke the customer.
    pub(crate) woke: bool,
}

/// One customer.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) person: Person,
    /// The day of the first visit, which may lie before the history.
    pub(crate) joined: i64,
    pub(crate) taste: Topics,
    pub(crate) rate: f64,
    /// How many lines an order has beyond the first, on average.
    pub(crate) basket: f64,
    pub(crate) stage: Stage,
    pub(crate) fatigue: f64,
    pub(crate) opened: Vec<Opened>,
    /// How often each product was bought.
    pub(crate) bought: BTreeMap<usize, u32>,
}

impl Customer {
    /// Makes customer number `index` of a shop that trades so, who joins on day `joined`.
    pub(crate) fn make(seed: u64, index: usize, joined: i64, trade: &Trade) -> Self {
        let mut rng = Rng::stream(seed, &format!("customer/{index}"));
        let lapsed = joined < 0 && rng.chance(LAPSED_AT_FIRST);
        Self {
            person: Person::make(seed, index),
            joined,
            taste: taste(&mut rng),
            rate: trade.rate.draw(&mut rng),
            basket: trade.basket.draw(&mut rng),
            stage: if lapsed {
                Stage::Lapsed { since: -(rng.below(LOST_AFTER_DAYS as usize) as i64) }
            } else {
                Stage::Active
            },
            fatigue: 0.0,
            opened: Vec::new(),
            bought: BTreeMap::new(),
        }
    }

    /// Lives through the night before `day`: forgets messages, rests, drifts away or comes back.
    pub(crate) fn wake_up(&mut self, day: i64, rng: &mut Rng) {
        self.fatigue = rested(self.fatigue);
        self.opened.retain(|opened| day - opened.day < SHAPE.len() as i64);
        let turn = rng.uniform();
        self.stage = match self.stage {
            Stage::Active if turn < LAPSE_RATE => Stage::Lapsed { since: day },
            Stage::Lapsed { .. } | Stage::Lost if turn < RETURN_RATE => Stage::Active,
            Stage::Lapsed { since } if day - since > LOST_AFTER_DAYS => Stage::Lost,
            stage => stage,
        };
    }

    /// The purchase rate per day without messages.
    pub(crate) fn base_rate(&self) -> f64 {
        match self.stage {
            Stage::Active => self.rate,
            Stage::Lapsed { .. } => self.rate * LAPSED_FACTOR,
            Stage::Lost => self.rate * LOST_FACTOR,
        }
    }

    /// What opened messages add to the rate on `day`, relative to it.
    pub(crate) fn gain_on(&self, day: i64) -> f64 {
        let gain = |opened: &Opened| {
            usize::try_from(day - opened.day)
                .ok()
                .and_then(|age| SHAPE.get(age))
                .map_or(0.0, |shape| shape * opened.gain)
        };
        self.opened.iter().map(gain).sum::<f64>().min(GAIN_MAX)
    }

    /// The probability of an order on `day`, when the shop is `busy` times as busy as on average.
    pub(crate) fn order_chance(&self, day: i64, busy: f64) -> f64 {
        if day == self.joined {
            return FIRST_ORDER;
        }
        let woken = self.opened.iter().any(|opened| opened.woke);
        let rate = self.base_rate() * (1.0 + self.gain_on(day)) * patience(self.fatigue);
        let rate = rate + if woken { WOKEN_RATE } else { 0.0 };
        1.0 - (-rate * busy).exp()
    }

    /// After an order, a win-back offer is used up.
    pub(crate) fn settle(&mut self) {
        for opened in &mut self.opened {
            opened.woke = false;
        }
        self.opened.retain(|opened| opened.discount == 0);
    }
}

/// Which share of the usual purchase rate is left on average over the first `days` of a customer who is active at first.
pub(crate) fn activity(days: f64) -> f64 {
    let speed = LAPSE_RATE + RETURN_RATE;
    let (at_last, passed) = (RETURN_RATE / speed, speed * days.max(1.0));
    let active = at_last + (1.0 - at_last) * (1.0 - (-passed).exp()) / passed;
    active + (1.0 - active) * LAPSED_FACTOR
}

/// A taste with one or two strong topics.
fn taste(rng: &mut Rng) -> Topics {
    let mut weights = [0.0; TOPIC_COUNT];
    for weight in &mut weights {
        *weight = 0.12 * rng.exponential(1.0);
    }
    let first = rng.below(TOPIC_COUNT);
    let second = (first + 1 + rng.below(TOPIC_COUNT - 1)) % TOPIC_COUNT;
    weights[first] += 2.2 + rng.uniform();
    weights[second] += 0.3 + 0.9 * rng.uniform();
    let total: f64 = weights.iter().sum();
    weights.map(|weight| weight / total)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A customer of average rhythm.
    pub(crate) fn someone() -> Customer {
        let mut customer = Customer::make(1, 0, 0, &Trade::default());
        customer.rate = 0.022;
        customer.stage = Stage::Active;
        customer
    }

    #[test]
    fn customers_drift_away_and_the_lapsed_become_lost() {
        let mut customers: Vec<Customer> =
            (0..2_000).map(|i| Customer::make(9, i, 0, &Trade::default())).collect();
        let mut rng = Rng::new(4);
        for day in 1..=150 {
            for customer in &mut customers {
                customer.wake_up(day, &mut rng);
            }
        }
        let active = customers.iter().filter(|c| c.stage == Stage::Active).count();
        let lost = customers.iter().filter(|c| c.stage == Stage::Lost).count();
        assert!((1_000..1_400).contains(&active) && lost > 200, "{active} {lost}");
    }

    #[test]
    fn tastes_sum_to_one_and_have_a_favourite() {
        for index in 0..200 {
            let taste = Customer::make(5, index, 0, &Trade::default()).taste;
            assert!((taste.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(taste.iter().copied().fold(0.0, f64::max) > 0.4);
        }
    }

    #[test]
    fn an_opened_message_fades_within_a_week() {
        let mut customer = someone();
        customer.opened.push(Opened {
            day: 10,
            gain: 1.0,
            key: "k".into(),
            policy: "p".into(),
            items: vec![],
            discount: 0,
            woke: false,
        });
        let chances: Vec<f64> = (10..18).map(|day| customer.order_chance(day, 1.0)).collect();
        assert!(chances.windows(2).all(|pair| pair[0] > pair[1]), "{chances:?}");
        assert!((chances[7] - (1.0 - (-0.022_f64).exp())).abs() < 1e-12);
    }
}
