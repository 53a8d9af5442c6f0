//! The files of a day, as the shop's systems would export them.

use chrono::{Days, NaiveDate};
use flywheel_base::Rng;

use crate::catalog::Product;
use crate::customer::Customer;
use crate::dirt;
use crate::sale::Invoice;
use crate::shelf::Shelf;

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// The path relative to the data folder, with `/` between the parts: `orders/2025-03-03.csv`.
    pub path: String,
    /// The whole content; a file of the same path is replaced.
    pub bytes: Vec<u8>,
}

/// What one day leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayFiles {
    /// The day.
    pub date: NaiveDate,
    /// Its files, sorted by path.
    pub files: Vec<DataFile>,
    /// How many rows of the order file cannot be read, on purpose.
    pub bad_rows: u64,
}

/// Something a customer did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reaction {
    pub(crate) key: String,
    pub(crate) policy: String,
    pub(crate) customer: u32,
    pub(crate) event: &'static str,
    /// The minute of the day.
    pub(crate) minute: u32,
}

/// Turns days of the world into dates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calendar {
    pub(crate) first: NaiveDate,
}

impl Calendar {
    /// The date of `day`; days before the first one are negative.
    pub(crate) fn date(self, day: i64) -> NaiveDate {
        let distance = Days::new(day.unsigned_abs());
        let moved = if day < 0 {
            self.first.checked_sub_days(distance)
        } else {
            self.first.checked_add_days(distance)
        };
        moved.unwrap_or(self.first)
    }

    fn moment(self, day: i64, minute: u32) -> String {
        format!("{} {:02}:{:02}:00", self.date(day), minute / 60, minute % 60)
    }
}

/// Makes a CSV text of `header` and `rows`.
fn csv(header: &str, rows: impl IntoIterator<Item = Vec<String>>) -> Vec<u8> {
    let mut text = format!("{header}\n");
    for row in rows {
        push_row(&mut text, &row);
    }
    text.into_bytes()
}

fn push_row(text: &mut String, row: &[String]) {
    for (place, field) in row.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        if field.contains([',', '"', '\n', '\r']) {
            text.push('"');
            text.push_str(&field.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(field);
        }
    }
    text.push('\n');
}

/// Cents as a decimal number, as short as UCI writes it: `2.5`, `10.0`.
fn money(cents: i64) -> String {
    let text = format!("{}.{:02}", cents / 100, cents % 100);
    match text.strip_suffix('0') {
        Some(short) => short.to_owned(),
        None => text,
    }
}

/// The order file of a day in UCI's columns, and how many of its rows are unreadable.
pub(crate) fn orders(
    calendar: Calendar,
    invoices: &[Invoice],
    products: &[Product],
    rng: &mut Rng,
) -> (Vec<u8>, u64) {
    let mut rows = Vec::new();
    let mut bad = 0;
    for invoice in invoices {
        let mut own: Vec<Vec<String>> = invoice
            .lines
            .iter()
            .map(|line| {
                vec![
                    invoice.number.clone(),
                    products[line.product].code.clone(),
                    products[line.product].name.to_uppercase(),
                    line.pieces.to_string(),
                    calendar.moment(invoice.day, invoice.minute),
                    money(line.price_cents),
                    invoice.customer.map_or_else(String::new, |id| format!("{id}.0")),
                    invoice.country.to_owned(),
                ]
            })
            .collect();
        bad += dirt::spoil(&mut own, rng);
        rows.append(&mut own);
    }
    let header =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
    (csv(header, rows), bad)
}

/// The catalogue as of `day`.
pub(crate) fn products(calendar: Calendar, day: i64, products: &[Product]) -> Vec<u8> {
    let rows = products.iter().filter(|product| product.introduced <= day).map(|product| {
        vec![
            product.code.clone(),
            product.name.clone(),
            product.name_zh.clone(),
            product.category.to_owned(),
            product.description.clone(),
            money(product.price_cents),
            calendar.date(product.introduced).to_string(),
        ]
    });
    csv("product_id,name,name_zh,category,description,list_price,introduced_on", rows)
}

/// The customer's line in the customer table, which never changes.
pub(crate) fn customer_line(calendar: Calendar, customer: &Customer) -> String {
    let person = &customer.person;
    let mut line = String::new();
    let row = [
        person.id.to_string(),
        person.name.clone(),
        person.email.clone(),
        person.city.to_owned(),
        person.country.to_owned(),
        calendar.date(customer.joined).to_string(),
        person.consent.to_string(),
    ];
    push_row(&mut line, &row);
    line
}

/// The customer table of the given lines.
pub(crate) fn customers<'a>(lines: impl Iterator<Item = &'a String>) -> Vec<u8> {
    let mut text = "customer_id,name,email,city,country,signed_up_on,consent\n".to_owned();
    text.extend(lines.map(String::as_str));
    text.into_bytes()
}

/// The stock at the end of `day`.
pub(crate) fn stock(
    calendar: Calendar,
    day: i64,
    products: &[Product],
    shelves: &[Shelf],
) -> Vec<u8> {
    let sold = products.iter().zip(shelves).filter(|(product, _)| product.introduced <= day);
    let rows = sold.map(|(product, shelf)| {
        vec![
            product.code.clone(),
            calendar.date(day).to_string(),
            shelf.on_hand.to_string(),
            shelf.on_order().to_string(),
            product.lead_time_days.to_string(),
            product.pack_size.to_string(),
            money(product.cost_cents),
        ]
    });
    csv("product_id,day,on_hand,on_order,lead_time_days,pack_size,unit_cost", rows)
}

/// What customers did with messages on `day`.
pub(crate) fn responses(calendar: Calendar, day: i64, reactions: &[Reaction]) -> Vec<u8> {
    let rows = reactions.iter().map(|reaction| {
        vec![
            reaction.key.clone(),
            reaction.policy.clone(),
            reaction.customer.to_string(),
            reaction.event.to_owned(),
            calendar.moment(day, reaction.minute),
        ]
    });
    csv("message_key,policy,customer_id,event,at", rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_as_the_real_files_write_it() {
        assert_eq!(
            [money(255), money(250), money(1000), money(5)],
            ["2.55", "2.5", "10.0", "0.05"]
        );
    }

    #[test]
    fn fields_with_commas_and_quotes_survive() {
        let rows = vec![vec!["a,b".to_owned(), "say \"hi\"".to_owned(), "plain".to_owned()]];
        assert_eq!(csv("x,y,z", rows), b"x,y,z\n\"a,b\",\"say \"\"hi\"\"\",plain\n");
    }

    #[test]
    fn the_calendar_reaches_before_the_first_day() {
        let first = NaiveDate::from_ymd_opt(2025, 1, 2).unwrap();
        assert_eq!(Calendar { first }.date(-2).to_string(), "2024-12-31");
        assert_eq!(Calendar { first }.moment(30, 61), "2025-02-01 01:01:00");
    }
}
