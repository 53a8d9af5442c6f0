//! The history of Online Retail as a stock keeper reads it: one CSV a day.

use std::collections::BTreeMap;
use std::path::Path;

use flywheel_base::{Error, Result, Timestamp};

/// Lines of a day by item: a quantity, which is negative for what came back, and a price.
pub(crate) type OfDay = BTreeMap<String, Vec<(f64, f64)>>;

/// Every day by its number since the epoch; there is at least one.
///
/// # Errors
/// Those of reading the files, and one for a folder without any.
pub(crate) fn days(folder: &Path) -> Result<BTreeMap<i64, OfDay>> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .and_then(|all| all.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| Error::io("list", folder, error))?;
    names.sort();
    let mut days: BTreeMap<i64, OfDay> = BTreeMap::new();
    for path in names.iter().filter(|path| path.extension().is_some_and(|end| end == "csv")) {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let day = Timestamp::parse(stem)?.day();
        for cells in text.lines().skip(1).map(cells) {
            let [invoice, code, _, quantity, _, price, ..] = cells.as_slice() else { continue };
            let (Ok(quantity), Ok(price)) = (quantity.parse::<f64>(), price.parse::<f64>()) else {
                continue;
            };
            // Postage, samples and write-offs have no stock code of five digits or no price.
            let stocked = code.len() >= 5 && code.as_bytes()[..5].iter().all(u8::is_ascii_digit);
            if stocked && price > 0.0 && !invoice.starts_with('A') {
                let of_day = days.entry(day).or_default();
                of_day.entry(code.to_uppercase()).or_default().push((quantity, price));
            }
        }
    }
    if days.is_empty() {
        return Err(Error::not_found(format!("{} has no day", folder.display())));
    }
    Ok(days)
}

/// What was asked for on a day, with its prices: an order that was cancelled on the same day was a slip, not demand.
pub(crate) fn asked(lines: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut left: Vec<f64> = lines
        .iter()
        .filter(|(quantity, _)| *quantity < 0.0)
        .map(|(quantity, _)| -quantity)
        .collect();
    let mut asked = Vec::new();
    for line in lines.iter().filter(|(quantity, _)| *quantity > 0.0) {
        match left.iter().position(|back| *back == line.0) {
            Some(found) => {
                left.swap_remove(found);
            }
            None => asked.push(*line),
        }
    }
    asked
}

/// The cells of a line of CSV; quotes around a cell are taken off.
fn cells(line: &str) -> Vec<String> {
    let mut made = vec![String::new()];
    let mut quoted = false;
    for sign in line.chars() {
        match sign {
            '"' => quoted = !quoted,
            ',' if !quoted => made.push(String::new()),
            _ => {
                if let Some(cell) = made.last_mut() {
                    cell.push(sign);
                }
            }
        }
    }
    made
}
