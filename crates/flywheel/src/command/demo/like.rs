//! A simulated shop that trades as the orders of a real one say. Only figures are taken over, and it is said so.

use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result};
use flywheel_simulator::{Fitted, Fitting};

/// The largest file of orders that is read: it is held in memory while it is.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// The days of the week, Monday first.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Fits how a shop trades to the CSV files of a folder.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there are none, [`flywheel_base::ErrorKind::Invalid`] if they do not tell.
pub(super) fn fit(folder: &Path) -> Result<Fitted> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io("list", folder, e))?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::not_found(format!("no CSV file is in {}", folder.display())).hint(
            "Name a folder of orders in the columns of Online Retail, such as its files of single days.",
        ));
    }
    let mut fitting = Fitting::default();
    for file in files {
        let size = std::fs::metadata(&file).map_err(|e| Error::io("look at", &file, e))?.len();
        if size > FILE_BYTES_MAX {
            let limit = FILE_BYTES_MAX >> 20;
            return Err(Error::exhausted(format!("{} has more than {limit} MiB", file.display()))
                .hint("Split it, with the header in each part."));
        }
        let bytes = std::fs::read(&file).map_err(|e| Error::io("read", &file, e))?;
        fitting.add(&file.display().to_string(), &String::from_utf8_lossy(&bytes))?;
    }
    fitting.finish()
}

/// What was fitted, as a person reads it.
pub(super) fn tell(fitted: &Fitted, folder: &Path) -> String {
    let trade = &fitted.trade;
    let mut lines = vec![format!(
        "It trades as {} orders of {} customers in {} did ({} rows passed over). Only these figures are taken over: its \
         customers and products are simulated, and none of them is of that shop.",
        fitted.orders,
        fitted.customers,
        folder.display(),
        fitted.passed_over
    )];
    let gap = 1.0 / trade.rate.median;
    lines.push(format!(
        "  between orders     {gap:.0} days for the median active customer, spread {:.2}",
        trade.rate.spread
    ));
    lines.push(format!(
        "  lines of an order  1 + {:.1}, spread {:.2}",
        trade.basket.median, trade.basket.spread
    ));
    if let Some(prices) = trade.prices {
        lines.push(format!(
            "  prices             {:.2} at the median, spread {:.2}",
            prices.median / 100.0,
            prices.spread
        ));
    }
    lines.push(format!("  popularity         spread {:.2}", trade.popularity_spread));
    let week = DAYS.iter().zip(trade.week).map(|(day, busy)| format!("{day} {busy:.2}"));
    lines.push(format!("  days of the week   {}", week.collect::<Vec<_>>().join(", ")));
    if let Some(hours) = trade.hours {
        let open = hours.iter().enumerate().filter(|(_, share)| **share >= 0.01);
        let open = open.map(|(hour, share)| format!("{hour} h {:.0} %", share * 100.0));
        lines.push(format!("  hours of the day   {}", open.collect::<Vec<_>>().join(", ")));
    }
    lines.push(format!("  cancelled          {:.1} % of the orders", fitted.cancelled * 100.0));
    lines.join("\n")
}
