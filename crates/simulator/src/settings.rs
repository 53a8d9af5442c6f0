//! How large the shop is and when it opens.

use chrono::{Days, NaiveDate};
use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::trade::Trade;

/// The most customers a world may have.
const CUSTOMERS_MAX: usize = 100_000;

/// The most days a world may live, history included.
const DAYS_MAX: u32 = 3_650;

/// The size and the calendar of a world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The first day that is asked for with [`crate::World::day`]; the history lies before it.
    pub start: NaiveDate,
    /// How many days of the past [`crate::World::history`] returns.
    pub history_days: u32,
    /// How many days follow the history; newcomers are spread over both.
    pub days: u32,
    /// How many customers there are at the end.
    pub customers: usize,
    /// How many products the catalogue has at the end.
    pub products: usize,
    /// How it trades.
    pub trade: Trade,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start: NaiveDate::from_ymd_opt(2025, 3, 3).unwrap_or_default(),
            history_days: 60,
            days: 30,
            customers: 3_000,
            products: 184,
            trade: Trade::default(),
        }
    }
}

impl Settings {
    /// Refuses sizes that a world cannot have.
    pub(crate) fn check(&self) -> Result<()> {
        self.trade.check()?;
        let products = crate::vocabulary::TOPICS.len()..=crate::vocabulary::products_max();
        if !products.contains(&self.products) {
            return Err(out_of_range("products", self.products, products));
        }
        if !(1..=CUSTOMERS_MAX).contains(&self.customers) {
            return Err(out_of_range("customers", self.customers, 1..=CUSTOMERS_MAX));
        }
        let days = self.history_days.saturating_add(self.days);
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(out_of_range("days", days as usize, 1..=DAYS_MAX as usize));
        }
        if self.first_day().is_none()
            || self.start.checked_add_days(Days::new(days.into())).is_none()
        {
            return Err(Error::invalid(format!(
                "the simulated shop cannot start on {}",
                self.start
            ))
            .hint("Take a date of our time, such as 2025-03-03."));
        }
        Ok(())
    }

    /// The first day of the history.
    pub(crate) fn first_day(&self) -> Option<NaiveDate> {
        self.start.checked_sub_days(Days::new(self.history_days.into()))
    }
}

fn out_of_range(what: &str, found: usize, range: std::ops::RangeInclusive<usize>) -> Error {
    let (least, most) = range.into_inner();
    Error::invalid(format!("a simulated shop cannot have {found} {what}"))
        .hint(format!("Take between {least} and {most} {what}."))
}
