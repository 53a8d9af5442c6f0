//! The world and its days.
//!
//! Every draw comes from a stream named after what is drawn (`buy/<day>/<customer>`), so that one
//! more message to one customer changes nothing for anybody else: two runs that differ in their
//! deliveries can be compared customer by customer.

mod mailbox;
mod market;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use flywheel_base::{Error, Result, Rng};

use crate::basket;
use crate::catalog::{self, Product};
use crate::customer::{Customer, Stage};
use crate::delivery::Delivery;
use crate::export::{self, Calendar, DataFile, DayFiles, Reaction};
use crate::person::FIRST_ID;
use crate::sale::{CANCEL_DAYS, Invoice};
use crate::settings::Settings;
use crate::shelf::Shelf;
use crate::truth::{self, DayTruth, PolicySums, StockTruth, Truth};
use crate::website::WebVisit;

/// The share of customers who join during the simulation.
const NEWCOMERS: f64 = 0.3;

/// How long before the history the first customers joined, at most.
const KNOWN_DAYS: usize = 400;

/// How many pieces a day are expected of all products together, per customer, before any sale, in a shop that trades as usual.
const PIECES_PER_CUSTOMER: f64 = 0.34;

/// How many products a visitor of the website looks at, at most.
const VIEWED_MAX: usize = 3;

/// The number of the first invoice.
const FIRST_INVOICE: u32 = 540_001;

/// A shop and everybody in it.
#[derive(Clone, Debug)]
pub struct World {
    seed: u64,
    settings: Settings,
    calendar: Calendar,
    products: Vec<Product>,
    /// The place of each product by its code.
    codes: BTreeMap<String, usize>,
    customers: Vec<Customer>,
    /// Each customer's line in the customer table.
    customer_lines: Vec<String>,
    shelves: Vec<Shelf>,
    /// The day that is lived next.
    today: i64,
    next_invoice: u32,
    recent: Vec<Invoice>,
    wake_streams: Streams,
    buy_streams: Streams,
    seen_decisions: BTreeSet<String>,
    sums: BTreeMap<String, PolicySums>,
    stock: StockTruth,
    days: Vec<DayTruth>,
    returned: u64,
}

/// What one day collects while it is lived.
#[derive(Debug, Default)]
struct Today {
    invoices: Vec<Invoice>,
    reactions: Vec<Reaction>,
    messages: u64,
    opened: u64,
    lost_pieces: u64,
}

/// One stream of draws for each day and customer, all under one name. A digest for each of the
/// 200,000 streams of a demo would cost more than everything else.
#[derive(Clone, Copy, Debug)]
struct Streams(u64);

impl Streams {
    fn new(seed: u64, name: &str) -> Self {
        Self(Rng::stream(seed, name).next_u64())
    }

    fn of(self, day: i64, customer: u32) -> Rng {
        let place = ((day as u64) << 32) | u64::from(customer);
        // The generator's own seeding mixes neighbouring places apart.
        Rng::new(self.0 ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

impl World {
    /// Makes the world of `seed`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the settings cannot make a shop.
    pub fn new(seed: u64, settings: Settings) -> Result<Self> {
        settings.check()?;
        let first = settings.first_day().unwrap_or(settings.start);
        let calendar = Calendar { first };
        let (history, after) = (i64::from(settings.history_days), i64::from(settings.days));
        let products = catalog::make(seed, settings.products, (history, after), &settings.trade);
        let codes = products.iter().enumerate().map(|(at, p)| (p.code.clone(), at)).collect();
        let customers = customers(seed, &settings, history + after);
        let shelves = shelves(&products, &settings);
        Ok(Self {
            seed,
            calendar,
            customer_lines: customers
                .iter()
                .map(|customer| export::customer_line(calendar, customer))
                .collect(),
            settings,
            products,
            codes,
            customers,
            shelves,
            today: 0,
            next_invoice: FIRST_INVOICE,
            recent: Vec::new(),
            wake_streams: Streams::new(seed, "wake"),
            buy_streams: Streams::new(seed, "buy"),
            seen_decisions: BTreeSet::new(),
            sums: BTreeMap::new(),
            stock: StockTruth::default(),
            days: Vec::new(),
            returned: 0,
        })
    }

    /// Lives the days before the first one, in which the shop buys by a rule of thumb and sends
    /// nothing, and returns their files, oldest first.
    pub fn history(&mut self) -> Vec<DayFiles> {
        let days = i64::from(self.settings.history_days);
        let mut files = Vec::new();
        while self.today < days {
            files.push(self.live(&[]));
        }
        files
    }

    /// Lives one day. `deliveries` is what left the project since the day before: messages are read
    /// in the morning, purchase orders reach the supplier. Everything in the files happens between
    /// 06:30 and 20:00 UTC of `date`, so a turn at 21:00 or later sees the whole day.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if `date` is not the next day or a payload cannot be
    /// read; the world is then as it was.
    pub fn day(&mut self, date: NaiveDate, deliveries: &[Delivery]) -> Result<DayFiles> {
        if self.today < i64::from(self.settings.history_days) {
            return Err(Error::invalid("the simulated shop has not lived its history yet")
                .hint("Ask for the history before the first day."));
        }
        let next = self.calendar.date(self.today);
        if date != next {
            return Err(Error::invalid(format!("the simulated shop cannot jump to {date}"))
                .hint(format!("Its next day is {next}.")));
        }
        for delivery in deliveries {
            delivery.content()?;
        }
        Ok(self.live(deliveries))
    }

    /// The date that is lived next.
    #[must_use]
    pub fn next_date(&self) -> NaiveDate {
        self.calendar.date(self.today)
    }

    /// What really happened so far.
    #[must_use]
    pub fn truth(&self) -> Truth {
        Truth {
            seed: self.seed,
            policies: truth::policies(&self.sums),
            stock: self.stock.clone(),
            days: self.days.clone(),
            returned_deliveries: self.returned,
        }
    }

    /// The lift that an experiment on `policy` should find: the mean difference that its messages
    /// made to the probability of a purchase within 7 days. `None` if it sent none.
    #[must_use]
    pub fn expected_lift(&self, policy: &str) -> Option<f64> {
        self.truth().policies.into_iter().find(|truth| truth.policy == policy).map(|t| t.lift)
    }

    /// The products that fit a customer's hidden taste best, best first; none for a stranger.
    #[must_use]
    pub fn oracle(&self, customer_id: &str, count: usize) -> Vec<String> {
        let Some(customer) = self.find_customer(customer_id) else { return Vec::new() };
        let best = self.best_items(&self.customers[customer], count);
        best.into_iter().map(|item| self.products[item].code.clone()).collect()
    }

    /// How well a product fits a customer's hidden taste, from 0 to 1; `None` for strangers.
    #[must_use]
    pub fn true_match(&self, customer_id: &str, product_id: &str) -> Option<f64> {
        let customer = self.find_customer(customer_id)?;
        let product = self.products.get(*self.codes.get(product_id)?)?;
        Some(basket::matched(&self.customers[customer], product))
    }

    /// At most `count` visits to the website at the end of the day that was lived last, by customers who have bought
    /// before, the lively ones sooner; none before the first day. Nothing of the world changes by them.
    #[must_use]
    pub fn web_visits(&self, count: usize) -> Vec<WebVisit> {
        let day = self.today - 1;
        if day < 0 {
            return Vec::new();
        }
        let mut rng = Rng::stream(self.seed, &format!("web/{day}"));
        let known = |customer: &Customer| customer.joined <= day && !customer.bought.is_empty();
        let weight = |one: &Customer| if known(one) { one.base_rate() } else { 0.0 };
        let mut weights: Vec<f64> = self.customers.iter().map(weight).collect();
        let mut visits = Vec::new();
        for _ in 0..count {
            let Some(place) = rng.weighted(&weights) else { break };
            weights[place] = 0.0;
            visits.push(self.web_visit(day, &self.customers[place], rng.next_u64()));
        }
        visits
    }

    fn web_visit(&self, day: i64, customer: &Customer, seed: u64) -> WebVisit {
        let mut wishes =
            basket::wishes(customer, &self.products, day, &mut Rng::stream(seed, "viewed"));
        wishes.truncate(VIEWED_MAX);
        let viewed = wishes.iter().map(|wish| self.products[wish.product].code.clone());
        let on_sale = self.products.iter().filter(|product| product.introduced <= day);
        let matches =
            on_sale.map(|product| (product.code.clone(), basket::matched(customer, product)));
        let id = customer.person.id;
        WebVisit::new(
            format!("simulated-{}-{id}", self.calendar.date(day)),
            id.to_string(),
            viewed.collect(),
            seed,
            matches.collect(),
        )
    }

    fn live(&mut self, deliveries: &[Delivery]) -> DayFiles {
        let day = self.today;
        for shelf in &mut self.shelves {
            shelf.receive(day);
        }
        for customer in self.customers.iter_mut().filter(|customer| customer.joined < day) {
            customer.wake_up(day, &mut self.wake_streams.of(day, customer.person.id));
        }
        let mut today = Today::default();
        self.receive_deliveries(day, deliveries, &mut today);
        self.sell(day, &mut today);
        if day < i64::from(self.settings.history_days) {
            self.house_orders(day);
        }
        self.today += 1;
        self.close(day, today)
    }

    /// Writes the day's files and its truth.
    fn close(&mut self, day: i64, mut today: Today) -> DayFiles {
        let date = self.calendar.date(day);
        today
            .reactions
            .sort_by(|a, b| (a.minute, &a.key, a.event).cmp(&(b.minute, &b.key, b.event)));
        let mut rng = Rng::stream(self.seed, &format!("dirt/{day}"));
        let (orders, bad_rows) =
            export::orders(self.calendar, &today.invoices, &self.products, &mut rng);
        self.record(date, &today, bad_rows);
        let file = |path: String, bytes| DataFile { path, bytes };
        let stock = export::stock(self.calendar, day, &self.products, &self.shelves);
        let mut files = vec![
            file("catalog/customers.csv".into(), self.customer_table(day)),
            file(format!("catalog/stock/{date}.csv"), stock),
            file(format!("orders/{date}.csv"), orders),
        ];
        if day == 0 || self.products.iter().any(|product| product.introduced == day) {
            let bytes = export::products(self.calendar, day, &self.products);
            files.push(file("catalog/products.csv".into(), bytes));
        }
        if !today.reactions.is_empty() {
            let bytes = export::responses(self.calendar, day, &today.reactions);
            files.push(file(format!("catalog/responses/{date}.csv"), bytes));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let known = today.invoices.into_iter().filter(|invoice| invoice.customer.is_some());
        self.recent.extend(known.filter(|invoice| !invoice.number.starts_with('C')));
        self.recent.retain(|invoice| day - invoice.day < CANCEL_DAYS);
        DayFiles { date, files, bad_rows }
    }

    fn customer_table(&self, day: i64) -> Vec<u8> {
        let all = self.customers.iter().zip(&self.customer_lines);
        let joined = all.filter(|(customer, _)| customer.joined <= day);
        export::customers(joined.map(|(_, line)| line))
    }

    fn record(&mut self, date: NaiveDate, today: &Today, bad_rows: u64) {
        let sold = today.invoices.iter().filter(|invoice| !invoice.number.starts_with('C'));
        let (mut orders, mut lines, mut cents) = (0, 0, 0);
        for invoice in sold {
            orders += 1;
            lines += invoice.lines.len() as u64;
            cents += invoice.cents();
        }
        let here = self.customers.iter().filter(|customer| customer.joined < self.today);
        self.days.push(DayTruth {
            date,
            orders,
            lines,
            revenue: cents as f64 / 100.0,
            messages: today.messages,
            opened: today.opened,
            lost_pieces: today.lost_pieces,
            empty_shelves: self.empty_shelves(self.today - 1),
            active_customers: here.clone().filter(|c| c.stage == Stage::Active).count() as u64,
            customers: here.count() as u64,
            bad_rows,
        });
    }

    fn empty_shelves(&self, day: i64) -> u64 {
        let sold = self.products.iter().zip(&self.shelves).filter(|(p, _)| p.introduced <= day);
        sold.filter(|(_, shelf)| shelf.on_hand == 0).count() as u64
    }

    /// The place of a customer who has joined, by number.
    fn find_customer(&self, id: &str) -> Option<usize> {
        let index = id.parse::<u32>().ok()?.checked_sub(FIRST_ID)? as usize;
        let customer = self.customers.get(index)?;
        (customer.joined <= self.today).then_some(index)
    }

    /// The places of the products on sale that fit `customer` best, best first.
    fn best_items(&self, customer: &Customer, count: usize) -> Vec<usize> {
        let mut items: Vec<(f64, usize)> = self
            .products
            .iter()
            .enumerate()
            .filter(|(_, product)| product.introduced <= self.today)
            .map(|(item, product)| (basket::matched(customer, product), item))
            .collect();
        items.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        items.truncate(count);
        items.into_iter().map(|(_, item)| item).collect()
    }
}

/// Everybody who will ever have joined, spread over the days.
fn customers(seed: u64, settings: &Settings, days: i64) -> Vec<Customer> {
    let count = settings.customers;
    let newcomers = (count as f64 * NEWCOMERS) as usize;
    let first = count - newcomers;
    (0..count)
        .map(|index| {
            let joined = if index < first {
                let mut rng = Rng::stream(seed, &format!("joined/{index}"));
                -1 - rng.below(KNOWN_DAYS) as i64
            } else {
                ((index - first) as i64 * days) / newcomers.max(1) as i64
            };
            Customer::make(seed, index, joined, &settings.trade)
        })
        .collect()
}

/// Shelves filled as the shop's own buyer expects sales.
fn shelves(products: &[Product], settings: &Settings) -> Vec<Shelf> {
    let expected = expected_pieces(products, settings);
    products.iter().zip(expected).map(|(product, pieces)| Shelf::filled(product, pieces)).collect()
}

/// Pieces expected per day and product, by popularity alone.
fn expected_pieces(products: &[Product], settings: &Settings) -> Vec<f64> {
    let total: f64 = products.iter().map(|product| product.popularity).sum();
    let pieces = PIECES_PER_CUSTOMER * settings.customers as f64 * settings.trade.load();
    products.iter().map(|product| pieces * product.popularity / total).collect()
}
