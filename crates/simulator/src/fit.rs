//! How a real shop trades, fitted to its orders, so that a simulated one can trade alike.
//!
//! Only figures of the whole shop are kept, never a row, a customer or a product. What is fitted, by moments:
//!
//! | figure | of what |
//! |---|---|
//! | rate | days with an order after a customer's first one, over the days since; those who have left count as slow, so it is raised by how much customers of this world drift away in that time |
//! | basket | different products of an order beyond the first |
//! | prices | the median price of each product |
//! | popularity | lines of each product |
//! | week, hours | orders by day of the week and hour of the day |
//! | cancellations | cancelled invoices, as a share of the others |

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, NaiveDate};
use flywheel_base::{Error, Result};

use crate::customer::activity;
use crate::sale::CANCEL_DAYS;
use crate::trade::{HOURS_OPEN, SPREAD_MAX, Spread, Trade};

/// The least number of orders and of customers that tell anything.
const ORDERS_MIN: usize = 50;

/// For how many days a customer is known at least, to be asked how often orders come.
const KNOWN_DAYS_MIN: i64 = 30;

/// The least mean of what is counted, so that a shop of which every order has one line can be made, too.
const MEAN_MIN: f64 = 1e-4;

/// What the orders of a shop told, and how it trades.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// How it trades.
    pub trade: Trade,
    /// Orders that were read.
    pub orders: usize,
    /// Customers who gave them.
    pub customers: usize,
    /// Products that were sold.
    pub products: usize,
    /// Invoices that take others back, as a share of the orders.
    pub cancelled: f64,
    /// Rows that could not be read or are no sales.
    pub passed_over: u64,
}

/// An order while it is read.
#[derive(Debug)]
struct Order {
    customer: String,
    date: NaiveDate,
    hour: usize,
    products: BTreeSet<u32>,
}

/// Reads orders in the columns of Online Retail: `InvoiceNo`, `StockCode`, `Quantity`, `InvoiceDate`, `UnitPrice` and
/// `CustomerID`.
#[derive(Debug, Default)]
pub struct Fitting {
    orders: BTreeMap<String, Order>,
    cancelled: BTreeSet<String>,
    /// The number of each product.
    codes: BTreeMap<String, u32>,
    /// The prices of each product's lines, in cents.
    prices: BTreeMap<u32, Vec<f64>>,
    passed_over: u64,
}

/// Where the columns stand.
struct Columns {
    invoice: usize,
    code: usize,
    quantity: usize,
    date: usize,
    price: usize,
    customer: usize,
}

impl Columns {
    fn of(file: &str, header: &[String]) -> Result<Self> {
        let find = |names: &[&str]| {
            let is = |field: &String| names.contains(&field.trim().trim_start_matches('\u{feff}'));
            header.iter().position(is).ok_or_else(|| {
                let wanted = names.first().copied().unwrap_or_default();
                Error::invalid(format!("{file}: line 1 has no column \"{wanted}\"")).hint(
                    "Orders need the columns InvoiceNo, StockCode, Quantity, InvoiceDate, UnitPrice and CustomerID, as Online Retail has them.",
                )
            })
        };
        Ok(Self {
            invoice: find(&["InvoiceNo", "Invoice"])?,
            code: find(&["StockCode"])?,
            quantity: find(&["Quantity"])?,
            date: find(&["InvoiceDate"])?,
            price: find(&["UnitPrice", "Price"])?,
            customer: find(&["CustomerID", "Customer ID"])?,
        })
    }
}

impl Fitting {
    /// Reads one file of orders. Rows that cannot be read, and postage and fees, whose codes have no digit, are passed over.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a column is missing.
    pub fn add(&mut self, file: &str, text: &str) -> Result<()> {
        let mut records = Records { rest: text };
        let Some(header) = records.next() else {
            return Err(Error::invalid(format!("{file} is empty"))
                .hint("Leave it out, or write the header of its columns into it."));
        };
        let columns = Columns::of(file, &header)?;
        for record in records {
            if self.row(&columns, &record).is_none() {
                self.passed_over += 1;
            }
        }
        Ok(())
    }

    fn row(&mut self, columns: &Columns, record: &[String]) -> Option<()> {
        let field = |at: usize| record.get(at).map(|field| field.trim());
        let (invoice, code) = (field(columns.invoice)?, field(columns.code)?);
        if invoice.is_empty() || !code.contains(|c: char| c.is_ascii_digit()) {
            return None;
        }
        if invoice.starts_with(['C', 'c']) {
            self.cancelled.insert(invoice.to_owned());
            return Some(());
        }
        let quantity: f64 = field(columns.quantity)?.parse().ok()?;
        let cents = field(columns.price)?.parse::<f64>().ok()? * 100.0;
        let moment = field(columns.date)?;
        let date: NaiveDate = moment.get(..10)?.parse().ok()?;
        let hour: usize = moment.get(11..13)?.parse().ok()?;
        let sold = quantity > 0.0 && cents > 0.0 && cents.is_finite() && hour < 24;
        if !sold {
            return None;
        }
        let next = u32::try_from(self.codes.len()).ok()?;
        let product = *self.codes.entry(code.to_owned()).or_insert(next);
        self.prices.entry(product).or_default().push(cents);
        let order = self.orders.entry(invoice.to_owned()).or_insert_with(|| Order {
            customer: field(columns.customer).unwrap_or_default().to_owned(),
            date,
            hour,
            products: BTreeSet::new(),
        });
        order.products.insert(product);
        Some(())
    }

    /// How the shop trades whose orders were read.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there are too few of them.
    pub fn finish(self) -> Result<Fitted> {
        let known = self.orders.values().filter(|order| !order.customer.is_empty());
        let mut days: BTreeMap<&str, BTreeSet<NaiveDate>> = BTreeMap::new();
        let mut beyond = Vec::new();
        for order in known {
            days.entry(&order.customer).or_default().insert(order.date);
            beyond.push((order.products.len() - 1) as f64);
        }
        let (customers, dates) = (days.len(), self.orders.values().map(|order| order.date));
        let too_few = || {
            let count = self.orders.len();
            Error::invalid(format!(
                "{count} orders of {customers} customers do not tell how a shop trades, with {} rows passed over",
                self.passed_over
            ))
            .hint(format!(
                "It takes at least {ORDERS_MIN} orders and {ORDERS_MIN} customers who are known for {KNOWN_DAYS_MIN} days; dates are written as 2011-12-09 12:50:00."
            ))
        };
        let Some((first, last)) = dates.clone().min().zip(dates.max()) else {
            return Err(too_few());
        };
        let trade = Trade {
            rate: rate(days.values(), last).ok_or_else(too_few)?,
            basket: counted(&beyond).ok_or_else(too_few)?,
            prices: Some(self.prices().ok_or_else(too_few)?),
            popularity_spread: self.popularity().ok_or_else(too_few)?,
            week: self.week(first, last),
            hours: Some(self.hours()),
            cancel_rate: self.cancel_rate(),
        };
        if self.orders.len() < ORDERS_MIN {
            return Err(too_few());
        }
        trade.check()?;
        Ok(Fitted {
            trade,
            orders: self.orders.len(),
            customers,
            products: self.codes.len(),
            cancelled: self.cancelled_share(),
            passed_over: self.passed_over,
        })
    }

    fn cancelled_share(&self) -> f64 {
        self.cancelled.len() as f64 / self.orders.len().max(1) as f64
    }

    /// The chance per day by which that share comes to be within the days in which an invoice can be cancelled.
    fn cancel_rate(&self) -> f64 {
        let share = self.cancelled_share().min(0.9);
        1.0 - (1.0 - share).powf(1.0 / CANCEL_DAYS as f64)
    }

    fn prices(&self) -> Option<Spread> {
        let median = |prices: &Vec<f64>| {
            let mut sorted = prices.clone();
            sorted.sort_by(f64::total_cmp);
            sorted.get(sorted.len() / 2).map(|price| price.ln())
        };
        let logs: Vec<f64> = self.prices.values().filter_map(median).collect();
        let (mean, variance) = moments(&logs)?;
        Some(Spread { median: mean.exp(), spread: variance.sqrt().min(SPREAD_MAX) })
    }

    fn popularity(&self) -> Option<f64> {
        let lines: Vec<f64> = self.prices.values().map(|lines| lines.len() as f64).collect();
        counted(&lines).map(|spread| spread.spread)
    }

    /// How busy each day of the week is, over all days from the first order to the last.
    fn week(&self, first: NaiveDate, last: NaiveDate) -> [f64; 7] {
        let (mut orders, mut days) = ([0.0; 7], [0.0; 7]);
        for order in self.orders.values() {
            add(&mut orders, order.date.weekday().num_days_from_monday() as usize);
        }
        for date in first.iter_days().take_while(|date| *date <= last) {
            add(&mut days, date.weekday().num_days_from_monday() as usize);
        }
        let mut busy = orders;
        for (busy, days) in busy.iter_mut().zip(days) {
            *busy /= f64::max(days, 1.0);
        }
        let mean = busy.iter().sum::<f64>() / 7.0;
        busy.map(|one| one / mean)
    }

    /// Orders by the hour; those outside of what a simulated shop may be open are in the nearest hour.
    fn hours(&self) -> [f64; 24] {
        let mut hours = [0.0; 24];
        for order in self.orders.values() {
            add(&mut hours, order.hour.clamp(HOURS_OPEN.0, HOURS_OPEN.1));
        }
        let all = self.orders.len().max(1) as f64;
        hours.map(|one| one / all)
    }
}

/// Counts one more at a place.
fn add(counts: &mut [f64], place: usize) {
    if let Some(count) = counts.get_mut(place) {
        *count += 1.0;
    }
}

/// Mean and variance; none of fewer than two.
fn moments(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, squares / count))
}

/// The figure with this mean, whose variance is `more` than chance alone makes.
fn spread(mean: f64, more: f64) -> Spread {
    let mean = mean.max(MEAN_MIN);
    let variance = (1.0 + more.max(0.0) / (mean * mean)).ln().min(SPREAD_MAX * SPREAD_MAX);
    Spread { median: mean * (-variance / 2.0).exp(), spread: variance.sqrt() }
}

/// The figure whose Poisson counts these are.
fn counted(counts: &[f64]) -> Option<Spread> {
    let (mean, variance) = moments(counts)?;
    Some(spread(mean, variance - mean))
}

/// The rate of customers whose days with orders these are, as of the `last` day.
fn rate<'a>(
    customers: impl Iterator<Item = &'a BTreeSet<NaiveDate>>,
    last: NaiveDate,
) -> Option<Spread> {
    let known = customers.filter_map(|days| {
        let known = (last - *days.first()?).num_days();
        (known >= KNOWN_DAYS_MIN).then(|| ((days.len() - 1) as f64, known as f64))
    });
    let known: Vec<(f64, f64)> = known.collect();
    if known.len() < ORDERS_MIN {
        return None;
    }
    let orders: f64 = known.iter().map(|(orders, _)| orders).sum();
    let days: f64 = known.iter().map(|(_, days)| days).sum();
    let mean = orders / days;
    let squares: f64 = known.iter().map(|(orders, days)| (orders - mean * days).powi(2)).sum();
    let weight: f64 = known.iter().map(|(_, days)| days * days).sum();
    let all = spread(mean, (squares - orders) / weight);
    Some(Spread { median: all.median / activity(days / known.len() as f64), ..all })
}

/// The records of a CSV text: fields may be in quotes, and then hold commas, line ends and doubled quotes.
struct Records<'a> {
    rest: &'a str,
}

impl Iterator for Records<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let text = self.rest;
        let mut letters = text.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' if quoted && letters.peek().is_some_and(|(_, next)| *next == '"') => {
                    field.push('"');
                    letters.next();
                }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(std::mem::take(&mut field)),
                '\r' if !quoted => {}
                '\n' if !quoted => {
                    fields.push(field);
                    self.rest = text.get(at + 1..).unwrap_or_default();
                    return Some(fields);
                }
                other => field.push(other),
            }
        }
        self.rest = "";
        fields.push(field);
        Some(fields)
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::Rng;

    use super::*;

    const HEADER: &str =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    /// Orders of a shop whose figures are known: nobody drifts away, no Sunday, twice as busy on Monday.
    fn rows() -> String {
        let mut rng = Rng::new(5);
        let (rate, basket) =
            (Spread { median: 0.03, spread: 0.5 }, Spread { median: 5.0, spread: 0.4 });
        let prices = Spread { median: 300.0, spread: 0.8 };
        let products: Vec<(f64, f64)> =
            (0..400).map(|_| ((0.9 * rng.normal()).exp(), prices.draw(&mut rng))).collect();
        let popularity: Vec<f64> = products.iter().map(|(popularity, _)| *popularity).collect();
        let first = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
        let (mut text, mut number) = (HEADER.to_owned(), 0);
        for customer in 0..800 {
            let (own, lines) = (rate.draw(&mut rng), basket.draw(&mut rng));
            for date in first.iter_days().take(364) {
                let busy = [2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
                    [date.weekday().num_days_from_monday() as usize];
                if !rng.chance(1.0 - (-own * busy).exp()) {
                    continue;
                }
                number += 1;
                let hour = 9 + rng.below(3);
                for _ in 0..=rng.poisson(lines) {
                    let item = rng.weighted(&popularity).unwrap();
                    let price = products[item].1 / 100.0;
                    text.push_str(&format!(
                        "{number},{item}A,\"A \"\"fine\"\" thing, red\",2,{date} {hour:02}:30:00,{price:.2},{customer}.0,UK\n"
                    ));
                }
                if number % 10 == 0 {
                    text.push_str(&format!(
                        "C{number},1A,X,-1,{date} 12:00:00,1.0,{customer}.0,UK\n"
                    ));
                }
            }
        }
        text + "7,POST,POSTAGE,1,2024-01-02 09:00:00,5.0,1.0,UK\n8,9A,X,1,yesterday,5.0,1.0,UK\n"
    }

    fn is_near(name: &str, found: f64, expected: f64, within: f64) {
        let off = (found / expected - 1.0).abs();
        assert!(off < within, "{name}: {found} for {expected}");
    }

    #[test]
    fn the_figures_of_a_known_shop_are_found_again() {
        let mut fitting = Fitting::default();
        fitting.add("orders.csv", &rows()).unwrap();
        let fitted = fitting.finish().unwrap();
        let trade = &fitted.trade;
        // Nobody drifts away in this shop, which the rate is raised for; its week has a mean of 1.
        is_near("rate", trade.rate.median * activity(363.0), 0.03, 0.15);
        is_near("spread of rates", trade.rate.spread, 0.5, 0.25);
        is_near("basket", trade.basket.median, 5.0, 0.15);
        is_near("spread of baskets", trade.basket.spread, 0.4, 0.25);
        let prices = trade.prices.unwrap();
        is_near("prices", prices.median, 300.0, 0.2);
        is_near("spread of prices", prices.spread, 0.8, 0.2);
        is_near("popularity", trade.popularity_spread, 0.9, 0.25);
        is_near("Mondays", trade.week[0] / trade.week[2], 2.0, 0.15);
        assert!(trade.week[6] < f64::EPSILON, "{:?}", trade.week);
        let hours = trade.hours.unwrap();
        assert!(hours[8] < f64::EPSILON && hours[12] < f64::EPSILON, "{hours:?}");
        is_near("an hour", hours[10], 1.0 / 3.0, 0.1);
        is_near("cancelled", fitted.cancelled, 0.1, 0.05);
        is_near("cancelled again", 1.0 - (1.0 - trade.cancel_rate).powi(4), 0.1, 0.05);
        assert!((380..=400).contains(&fitted.products), "{} products", fitted.products);
        assert_eq!(fitted.passed_over, 2);
    }

    #[test]
    fn a_shop_that_trades_so_can_be_made_and_is_fitted_alike() {
        // As many customers as usual: a smaller shop orders whole packs seldom, and sells what it has.
        let settings = crate::Settings {
            history_days: 120,
            trade: Trade {
                basket: Spread { median: 8.0, spread: 0.3 },
                prices: Some(Spread { median: 900.0, spread: 0.5 }),
                week: [1.4, 1.4, 1.4, 1.4, 1.4, 0.0, 0.0],
                cancel_rate: 0.04,
                ..Trade::default()
            },
            ..crate::Settings::default()
        };
        let mut world = crate::World::new(3, settings).unwrap();
        let mut fitting = Fitting::default();
        for day in world.history() {
            for file in day.files.iter().filter(|file| file.path.starts_with("orders/")) {
                fitting.add(&file.path, &String::from_utf8_lossy(&file.bytes)).unwrap();
            }
        }
        let fitted = fitting.finish().unwrap();
        let trade = &fitted.trade;
        is_near("basket", trade.basket.mean(), 8.4, 0.35);
        is_near("prices", trade.prices.unwrap().median, 900.0, 0.25);
        is_near("rate", trade.rate.mean(), Trade::default().rate.mean(), 0.5);
        assert!(trade.week[5] < 0.3 && trade.week[0] > 1.1, "{:?}", trade.week);
        assert!((0.08..0.25).contains(&fitted.cancelled), "{}", fitted.cancelled);
    }

    #[test]
    fn what_tells_nothing_is_refused_with_a_hint() {
        let error = Fitting::default().add("a.csv", "InvoiceNo,Quantity\n1,2\n").unwrap_err();
        assert!(error.to_string().contains("a.csv: line 1 has no column \"StockCode\""), "{error}");
        assert!(error.hint_text().is_some());
        let mut few = Fitting::default();
        few.add("a.csv", &format!("{HEADER}1,2A,X,1,2024-01-02 09:00:00,5.0,1.0,UK\n")).unwrap();
        let error = few.finish().unwrap_err();
        assert!(error.to_string().contains("1 orders of 1 customers"), "{error}");
        assert!(Fitting::default().finish().is_err());
    }
}
