//! Invoices, as the shop's till writes them.

use flywheel_base::Rng;

use crate::trade::{HOURS_OPEN, Trade};

/// For how many days an invoice can be cancelled.
pub(crate) const CANCEL_DAYS: i64 = 4;

/// When the shop opens and closes, in minutes of the day.
const OPEN_MINUTES: (u32, u32) = (7 * 60 + 30, 20 * 60);

/// One line of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) product: usize,
    pub(crate) pieces: i64,
    pub(crate) price_cents: i64,
}

/// One invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invoice {
    /// The number, with a leading C if it cancels another one.
    pub(crate) number: String,
    pub(crate) day: i64,
    /// The minute of the day.
    pub(crate) minute: u32,
    /// The customer's number; none for guests.
    pub(crate) customer: Option<u32>,
    pub(crate) country: &'static str,
    pub(crate) lines: Vec<Line>,
}

impl Invoice {
    /// What the invoice is worth.
    pub(crate) fn cents(&self) -> i64 {
        self.lines.iter().map(|line| line.pieces * line.price_cents).sum()
    }

    /// The invoice that takes one line of this one back.
    fn cancellation(&self, number: u32, day: i64, trade: &Trade, rng: &mut Rng) -> Option<Self> {
        let line = *self.lines.get(rng.below(self.lines.len()))?;
        Some(Self {
            number: format!("C{number}"),
            day,
            minute: minute(trade, rng),
            lines: vec![Line { pieces: -line.pieces, ..line }],
            ..self.clone()
        })
    }
}

/// Cancellations on `day` among `recent` invoices.
pub(crate) fn cancellations(
    recent: &[Invoice],
    day: i64,
    trade: &Trade,
    next_number: &mut u32,
    rng: &mut Rng,
) -> Vec<Invoice> {
    let mut made = Vec::new();
    for invoice in recent {
        if rng.chance(trade.cancel_rate)
            && let Some(cancellation) = invoice.cancellation(*next_number, day, trade, rng)
        {
            *next_number += 1;
            made.push(cancellation);
        }
    }
    made
}

/// A minute within the opening hours, of a busy hour sooner.
pub(crate) fn minute(trade: &Trade, rng: &mut Rng) -> u32 {
    if let Some(hours) = &trade.hours
        && let Some(hour) = rng.weighted(hours)
    {
        return (hour.clamp(HOURS_OPEN.0, HOURS_OPEN.1) * 60 + rng.below(60)) as u32;
    }
    let (open, close) = OPEN_MINUTES;
    open + rng.below((close - open) as usize) as u32
}

/// The price of a line: a dozen or more is a seventh cheaper, and a discount comes off the rest.
pub(crate) fn price(list_cents: i64, pieces: i64, discount_percent: i64) -> i64 {
    let wholesale = if pieces >= 12 { list_cents * 6 / 7 } else { list_cents };
    (wholesale * (100 - discount_percent) / 100).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_fall_with_quantity_and_discount_and_never_to_nothing() {
        assert_eq!((price(700, 1, 0), price(700, 12, 0), price(700, 12, 10)), (700, 600, 540));
        assert_eq!(price(1, 1, 100), 1);
    }

    #[test]
    fn a_cancellation_takes_back_a_line_that_was_bought() {
        let invoice = Invoice {
            number: "5".into(),
            day: 1,
            minute: 600,
            customer: Some(7),
            country: "EIRE",
            lines: vec![Line { product: 3, pieces: 6, price_cents: 100 }],
        };
        let recent = vec![invoice; 2_000];
        let made = cancellations(&recent, 2, &Trade::default(), &mut 10, &mut Rng::new(1));
        assert!((5..40).contains(&made.len()), "{}", made.len());
        assert_eq!((made[0].number.as_str(), made[0].cents(), made[0].day), ("C10", -600, 2));
    }
}
