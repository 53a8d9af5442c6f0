//! What deliveries do: messages reach customers, purchase orders reach suppliers.

use flywheel_base::Rng;

use super::{Today, World};
use crate::basket;
use crate::customer::Opened;
use crate::delivery::{Content, Delivery};
use crate::export::Reaction;
use crate::response::{self, Message};

/// When customers read their messages, in minutes of the day.
const READING_MINUTES: (u32, u32) = (6 * 60 + 30, 60);

/// How likely an opened message is clicked when it shows nothing of interest.
const CLICK_LEAST: f64 = 0.08;

/// How much likelier it is when everything in it is.
const CLICK_GAIN: f64 = 0.5;

impl World {
    /// Takes in what left the project since the day before.
    pub(super) fn receive_deliveries(
        &mut self,
        day: i64,
        deliveries: &[Delivery],
        today: &mut Today,
    ) {
        for delivery in deliveries {
            if !self.seen_decisions.insert(delivery.decision_id.clone()) {
                self.returned += 1;
                continue;
            }
            let taken = match delivery.content() {
                Ok(Content::PurchaseOrder(pieces)) => self.receive_order(day, delivery, pieces),
                Ok(Content::Recommendation(codes)) => self.recommend(day, delivery, &codes, today),
                Ok(Content::WinBack(discount)) => {
                    let message = Message::WinBack { discount: discount > 0 };
                    self.send(day, delivery, (message, Vec::new(), discount), today)
                }
                Err(_) => false,
            };
            self.returned += u64::from(!taken);
        }
    }

    fn receive_order(&mut self, day: i64, delivery: &Delivery, pieces: i64) -> bool {
        let Some(item) = self.codes.get(&delivery.unit_id).copied() else { return false };
        self.shelves[item].order(&self.products[item], pieces, day);
        self.stock.purchase_orders += u64::from(pieces > 0);
        true
    }

    fn recommend(
        &mut self,
        day: i64,
        delivery: &Delivery,
        codes: &[String],
        today: &mut Today,
    ) -> bool {
        let known = |code: &String| self.codes.get(code).copied();
        let items: Vec<usize> = codes.iter().filter_map(known).collect();
        let Some(customer) = self.find_customer(&delivery.unit_id) else { return false };
        if items.is_empty() {
            return false;
        }
        let matched = self.mean_match(customer, &items);
        let message = Message::Recommendation { matched };
        self.compare(day, delivery, customer, (matched, items.len()));
        self.send(day, delivery, (message, items, 0), today)
    }

    /// Writes down what random and perfect products would have done in the same message.
    fn compare(
        &mut self,
        day: i64,
        delivery: &Delivery,
        customer: usize,
        (matched, count): (f64, usize),
    ) {
        let person = &self.customers[customer];
        let mut matches: Vec<f64> = self
            .products
            .iter()
            .filter(|product| product.introduced <= day)
            .map(|product| basket::matched(person, product))
            .collect();
        let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len().max(1) as f64;
        let random = mean(&matches);
        let count = count.clamp(1, matches.len().max(1));
        if count < matches.len() {
            matches.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        }
        let best = mean(matches.get(..count).unwrap_or(&matches));
        let lift = |matched: f64| {
            let message = Message::Recommendation { matched };
            let (with, without) = response::week_rates(person, message, day);
            with - without
        };
        let (random, oracle) = (lift(random), lift(best));
        self.sums.entry(delivery.policy.clone()).or_default().compare(matched, random, oracle);
    }

    fn mean_match(&self, customer: usize, items: &[usize]) -> f64 {
        let customer = &self.customers[customer];
        let sum: f64 =
            items.iter().map(|item| basket::matched(customer, &self.products[*item])).sum();
        sum / items.len().max(1) as f64
    }

    /// Puts a message before a customer; false if there is no such customer.
    fn send(
        &mut self,
        day: i64,
        delivery: &Delivery,
        (message, items, discount): (Message, Vec<usize>, i64),
        today: &mut Today,
    ) -> bool {
        let Some(index) = self.find_customer(&delivery.unit_id) else { return false };
        let customer = &mut self.customers[index];
        let rates = response::week_rates(customer, message, day);
        self.sums.entry(delivery.policy.clone()).or_default().add(rates);
        today.messages += 1;
        let name = format!("read/{day}/{}/{}", customer.person.id, delivery.policy);
        let mut rng = Rng::stream(self.seed, &name);
        let effect = response::effect(message, customer.stage);
        let opens = rng.chance(response::open_rate(customer.fatigue));
        customer.fatigue += effect.fatigue;
        let minute = READING_MINUTES.0 + rng.below(READING_MINUTES.1 as usize - 2) as u32;
        let (clicks, wakes) = (rng.uniform(), rng.chance(effect.wakes));
        if !opens {
            return true;
        }
        today.opened += 1;
        let interest = match message {
            Message::Recommendation { matched } => response::relevance(matched),
            Message::WinBack { .. } => f64::from(u8::from(wakes)),
        };
        let react = |event, minute| Reaction {
            key: delivery.decision_id.clone(),
            policy: delivery.policy.clone(),
            customer: customer.person.id,
            event,
            minute,
        };
        today.reactions.push(react("opened", minute));
        if clicks < CLICK_LEAST + CLICK_GAIN * interest {
            today.reactions.push(react("clicked", minute + 1));
        }
        if wakes {
            customer.stage = crate::customer::Stage::Active;
        }
        customer.opened.push(Opened {
            day,
            gain: effect.gain,
            key: delivery.decision_id.clone(),
            policy: delivery.policy.clone(),
            items,
            discount,
            woke: wakes,
        });
        true
    }
}
