//! How customers answer to messages: the known law of this world.
//!
//! A message works only if it is opened. An opened recommendation raises the chance of a purchase
//! on the following days by a factor that grows with how well the items match the customer's hidden
//! taste. Each message tires the customer, a mismatched one more; a tired customer opens less and
//! in the end buys less. A win-back offer wakes a lapsed customer with a fixed probability.

use crate::customer::{Customer, Stage};

/// Days on which an opened message still works, the first day first; the mean is 1.
pub(crate) const SHAPE: [f64; 7] = [1.6, 1.5, 1.3, 1.0, 0.8, 0.5, 0.3];

/// How much an opened recommendation of perfect match adds to the purchase rate, relative to it.
const RECOMMENDATION_GAIN: f64 = 1.5;

/// The match of items picked at random, below which a recommendation does nothing.
const RANDOM_MATCH: f64 = 0.2;

/// How much an opened discount adds to the purchase rate of someone who did not need it.
const DISCOUNT_GAIN: f64 = 0.15;

/// The share of opened win-back offers with a discount that wake a lapsed customer.
const DISCOUNT_WAKES: f64 = 0.34;

/// The share of opened win-back reminders without a discount that wake a lapsed customer.
const REMINDER_WAKES: f64 = 0.12;

/// The purchase rate per day of a customer just woken, on top of the usual one.
pub(crate) const WOKEN_RATE: f64 = 0.18;

/// How likely a rested customer opens a message.
const OPEN_RATE: f64 = 0.62;

/// How much of the fatigue is left after a day.
const FATIGUE_KEPT: f64 = 0.87;

/// The fatigue that does no harm: about one message a week, or a little more.
const FATIGUE_FREE: f64 = 2.0;

/// How fast fatigue beyond that lowers the purchase rate.
const FATIGUE_HARM: f64 = 0.16;

/// How fast fatigue beyond that lowers the share of opened messages.
const FATIGUE_IGNORED: f64 = 0.35;

/// What a message offers, as its receiver sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Message {
    /// Products, with their mean match to the receiver's taste, from 0 to 1.
    Recommendation { matched: f64 },
    /// A reason to come back, with or without a discount.
    WinBack { discount: bool },
}

/// What an opened message does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Effect {
    /// What is added to the purchase rate, relative to it.
    pub(crate) gain: f64,
    /// The probability that a lapsed customer becomes active.
    pub(crate) wakes: f64,
    /// What is added to the fatigue, opened or not.
    pub(crate) fatigue: f64,
}

/// What `message` does to `stage`.
pub(crate) fn effect(message: Message, stage: Stage) -> Effect {
    match message {
        Message::Recommendation { matched } => Effect {
            gain: RECOMMENDATION_GAIN * relevance(matched),
            wakes: 0.0,
            fatigue: 1.0 + 0.5 * (1.0 - matched.clamp(0.0, 1.0)),
        },
        Message::WinBack { discount } => {
            let lapsed = stage != Stage::Active;
            let wakes = if discount { DISCOUNT_WAKES } else { REMINDER_WAKES };
            Effect {
                gain: if discount { DISCOUNT_GAIN } else { 0.0 },
                wakes: if lapsed { wakes } else { 0.0 },
                fatigue: 1.0,
            }
        }
    }
}

/// How relevant items of this match are: 0 at random and below, 1 for the best.
pub(crate) fn relevance(matched: f64) -> f64 {
    ((matched - RANDOM_MATCH) / (1.0 - RANDOM_MATCH)).clamp(0.0, 1.0)
}

/// How likely a message is opened by someone of this fatigue.
pub(crate) fn open_rate(fatigue: f64) -> f64 {
    OPEN_RATE * (-FATIGUE_IGNORED * (fatigue - FATIGUE_FREE).max(0.0)).exp()
}

/// The factor of the purchase rate of someone of this fatigue.
pub(crate) fn patience(fatigue: f64) -> f64 {
    (-FATIGUE_HARM * (fatigue - FATIGUE_FREE).max(0.0)).exp()
}

/// What is left of a fatigue after a night.
pub(crate) fn rested(fatigue: f64) -> f64 {
    fatigue * FATIGUE_KEPT
}

/// The probability that `customer` buys within the week after `message`, and without it, all else
/// unchanged, when it arrives on the morning of `day`. Empty shelves and the customer's own turns of life in that week are left out.
pub(crate) fn week_rates(customer: &Customer, message: Message, day: i64) -> (f64, f64) {
    let effect = effect(message, customer.stage);
    let opened = open_rate(customer.fatigue);
    let without = 1.0 - (-week_hazard(customer, day, customer.fatigue, 0.0)).exp();
    let tired = customer.fatigue + effect.fatigue;
    let ignored = 1.0 - (-week_hazard(customer, day, tired, 0.0)).exp();
    let read = 1.0 - (-week_hazard(customer, day, tired, effect.gain)).exp();
    let woken = 1.0 - (-(week_hazard(customer, day, tired, effect.gain) + WOKEN_RATE * 7.0)).exp();
    let with =
        (1.0 - opened) * ignored + opened * (effect.wakes * woken + (1.0 - effect.wakes) * read);
    (with, without)
}

fn week_hazard(customer: &Customer, day: i64, fatigue: f64, gain: f64) -> f64 {
    let mut fatigue = fatigue;
    let mut total = 0.0;
    for (night, shape) in SHAPE.iter().enumerate() {
        let earlier = customer.gain_on(day + night as i64);
        total += customer.base_rate() * (1.0 + earlier + gain * shape) * patience(fatigue);
        fatigue = rested(fatigue);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customer::tests::someone;

    fn lift(customer: &Customer, message: Message) -> f64 {
        let (with, without) = week_rates(customer, message, 0);
        with - without
    }

    #[test]
    fn a_better_match_sells_more_and_a_random_one_barely() {
        let customer = someone();
        let steps: Vec<f64> = (0..=10)
            .map(|m| lift(&customer, Message::Recommendation { matched: f64::from(m) / 10.0 }))
            .collect();
        assert!(steps.windows(2).all(|pair| pair[0] <= pair[1]), "{steps:?}");
        assert!(steps[2].abs() < 0.01, "random: {}", steps[2]);
        assert!((0.04..0.12).contains(&steps[9]), "good: {}", steps[9]);
    }

    #[test]
    fn a_discount_wakes_more_sleepers_than_a_reminder_and_hardly_sells_to_the_awake() {
        let mut customer = someone();
        let awake = lift(&customer, Message::WinBack { discount: true });
        customer.stage = Stage::Lapsed { since: 0 };
        let discount = lift(&customer, Message::WinBack { discount: true });
        let reminder = lift(&customer, Message::WinBack { discount: false });
        assert!(
            discount > reminder && reminder > 0.02 && awake < reminder,
            "{discount} {reminder} {awake}"
        );
    }

    #[test]
    fn too_many_messages_do_harm() {
        let mut customer = someone();
        customer.fatigue = 6.0;
        assert!(lift(&customer, Message::Recommendation { matched: 0.3 }) < 0.0);
        assert!(open_rate(6.0) < open_rate(1.0) && patience(6.0) < 1.0);
    }
}
