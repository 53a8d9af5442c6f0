//! Buying and selling.

use chrono::Datelike;
use flywheel_base::Rng;

use super::{Today, World, expected_pieces};
use crate::basket::{self, Wish};
use crate::export::Reaction;
use crate::sale::{self, Invoice, Line};

/// Visitors without account per day, per customer.
const GUESTS_PER_CUSTOMER: f64 = 0.0008;

/// Somebody who wants something today.
struct Visit {
    minute: u32,
    /// The place of the customer; none for guests.
    customer: Option<usize>,
    wishes: Vec<Wish>,
}

impl World {
    /// Lets everybody shop, in the order in which they come.
    pub(super) fn sell(&mut self, day: i64, today: &mut Today) {
        let mut visits = self.visits(day);
        visits.sort_by_key(|visit| (visit.minute, visit.customer));
        let counted = day >= i64::from(self.settings.history_days);
        for visit in visits {
            self.serve(day, &visit, counted, today);
        }
        let mut rng = Rng::stream(self.seed, &format!("cancel/{day}"));
        let (trade, number) = (&self.settings.trade, &mut self.next_invoice);
        let cancelled = sale::cancellations(&self.recent, day, trade, number, &mut rng);
        today.invoices.extend(cancelled);
        today.invoices.sort_by(|a, b| (a.minute, &a.number).cmp(&(b.minute, &b.number)));
        if counted {
            self.stock.empty_shelf_days += self.empty_shelves(day);
        }
    }

    fn visits(&self, day: i64) -> Vec<Visit> {
        let weekday = self.calendar.date(day).weekday().num_days_from_monday() as usize;
        let trade = &self.settings.trade;
        let busy = trade.week.get(weekday).copied().unwrap_or(1.0);
        let mut visits = Vec::new();
        for (place, customer) in self.customers.iter().enumerate() {
            if customer.joined > day {
                continue;
            }
            let mut rng = self.buy_streams.of(day, customer.person.id);
            if rng.chance(customer.order_chance(day, busy)) {
                let minute = sale::minute(trade, &mut rng);
                let wishes = basket::wishes(customer, &self.products, day, &mut rng);
                visits.push(Visit { minute, customer: Some(place), wishes });
            }
        }
        let mut rng = Rng::stream(self.seed, &format!("guests/{day}"));
        for _ in 0..rng.poisson(GUESTS_PER_CUSTOMER * self.customers.len() as f64 * busy) {
            let minute = sale::minute(trade, &mut rng);
            let wishes = basket::guest_wishes(&self.products, day, &mut rng);
            visits.push(Visit { minute, customer: None, wishes });
        }
        visits
    }

    /// Sells what is on the shelf; the rest of the wishes is lost.
    fn serve(&mut self, day: i64, visit: &Visit, counted: bool, today: &mut Today) {
        let discount = visit.customer.map_or(0, |place| {
            self.customers[place].opened.iter().map(|opened| opened.discount).max().unwrap_or(0)
        });
        let mut lines = Vec::new();
        for wish in &visit.wishes {
            let product = &self.products[wish.product];
            let pieces = self.shelves[wish.product].take(wish.pieces);
            let price_cents = sale::price(product.price_cents, wish.pieces, discount);
            if counted {
                let lost = wish.pieces - pieces;
                self.stock.wanted_pieces += wish.pieces as u64;
                self.stock.lost_pieces += lost as u64;
                self.stock.lost_lines += u64::from(lost > 0);
                self.stock.lost_revenue += (lost * price_cents) as f64 / 100.0;
                today.lost_pieces += lost as u64;
            }
            if pieces > 0 {
                lines.push(Line { product: wish.product, pieces, price_cents });
            }
        }
        if lines.is_empty() {
            self.stock.lost_orders += u64::from(counted);
            return;
        }
        let country = visit.customer.map_or("United Kingdom", |c| self.customers[c].person.country);
        let customer = visit.customer.map(|place| self.customers[place].person.id);
        let number = self.next_invoice.to_string();
        self.next_invoice += 1;
        let invoice = Invoice { number, day, minute: visit.minute, customer, country, lines };
        if let Some(place) = visit.customer {
            self.remember(place, &invoice, today);
        }
        today.invoices.push(invoice);
    }

    /// Lets a customer remember an order, and the shop see which message it answers.
    fn remember(&mut self, place: usize, invoice: &Invoice, today: &mut Today) {
        let customer = &mut self.customers[place];
        if let Some(opened) = customer.opened.last() {
            today.reactions.push(Reaction {
                key: opened.key.clone(),
                policy: opened.policy.clone(),
                customer: customer.person.id,
                event: "converted",
                minute: invoice.minute,
            });
        }
        for line in &invoice.lines {
            *customer.bought.entry(line.product).or_default() += 1;
        }
        customer.settle();
    }

    /// Lets the shop's own buyer refill the shelves; the project does that later.
    pub(super) fn house_orders(&mut self, day: i64) {
        let expected = expected_pieces(&self.products, &self.settings);
        for ((product, shelf), pieces) in self.products.iter().zip(&mut self.shelves).zip(expected)
        {
            shelf.house_order(product, pieces, day);
        }
    }
}
