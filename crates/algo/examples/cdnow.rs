//! The lifetimes of 2,357 customers of a music shop beside the published parameters, and their purchases foretold.
//!
//! ```text
//! FLYWHEEL_DATA=FOLDER cargo run --release -p flywheel-algo --example cdnow
//! ```
//! Reads `cdnow/cdnow_customers_summary.csv` (frequency, recency and age in weeks) and `cdnow/CDNOW_sample.txt` (purchases).
//! Parameters are those of the papers and of Hardie's notes on them. Prints `name, figure, CPU seconds`, tab-separated.

#[path = "common/cpu.rs"]
mod cpu;

use std::io::Write as _;
use std::path::Path;

use cpu::cpu_s;
use flywheel_algo::lifetime::{Estimate, Fit, History, Model, Spend, choose, customers};
use flywheel_algo::segment::rfm::Purchase;
use flywheel_base::{Error, Result, Timestamp};

/// The published parameters of each model, in the order of [`Fit::parameters`].
const PUBLISHED: [(Model, [f64; 4]); 3] = [
    (Model::BgNbd, [0.2426, 4.4135, 0.7929, 2.4258]),
    (Model::MbgNbd, [0.525, 6.183, 0.891, 1.614]),
    (Model::ParetoNbd, [0.5533, 10.5775, 0.6062, 11.6687]),
];

/// The published parameters of what a purchase is worth.
const PUBLISHED_SPEND: [f64; 3] = [6.2488, 3.7446, 15.4477];

/// Where the purchases end that the models learn from, where those end that are foretold, and the days between them.
const LEARNED_UNTIL: &str = "1997-09-30";
const FORETOLD_UNTIL: &str = "1998-06-30";
const FORETOLD_DAYS: i64 = 273;

fn main() -> Result<()> {
    let root = flywheel_base::env::optional("FLYWHEEL_DATA").ok_or_else(|| {
        Error::invalid("FLYWHEEL_DATA is not set")
            .hint("Set it to the folder that holds cdnow/CDNOW_sample.txt.")
    })?;
    let folder = Path::new(&root).join("cdnow");
    let histories = summary(&folder.join("cdnow_customers_summary.csv"))?;
    print("cdnow customers", histories.len() as f64, 0.0)?;
    for (model, published) in PUBLISHED {
        let before = cpu_s()?;
        let fit = Fit::new(model, &histories, None)?;
        let name = format!("cdnow {}: parameters off by, percent", model.name());
        print(&name, off(&fit.parameters, &published), cpu_s()? - before)?;
    }
    let purchases = purchases(&folder.join("CDNOW_sample.txt"))?;
    let before = cpu_s()?;
    let known = customers(&purchases, Timestamp::parse(LEARNED_UNTIL)?)?;
    let frequency: Vec<f64> = known.iter().map(|customer| customer.history.frequency).collect();
    let spend: Vec<f64> = known.iter().map(|customer| customer.spend).collect();
    let fit = Spend::fit(&frequency, &spend, None)?;
    let miss = off(&fit.parameters, &PUBLISHED_SPEND);
    print("cdnow gamma-gamma: parameters off by, percent", miss, cpu_s()? - before)?;
    let before = cpu_s()?;
    let end = Timestamp::parse(FORETOLD_UNTIL)?;
    let (choice, _) = choose(&purchases, end, FORETOLD_DAYS, &Model::CONTINUOUS)?;
    let seconds = cpu_s()? - before;
    for trial in &choice.trials {
        let name = format!("cdnow {}: held-back purchases, mean error", trial.model.name());
        print(&name, trial.error.unwrap_or(f64::NAN), seconds)?;
    }
    let chosen = choice.trials.iter().find(|trial| trial.model == choice.fit.model);
    let error = chosen.and_then(|trial| trial.error).unwrap_or(f64::NAN);
    print("cdnow chosen: held-back purchases, mean error", error, seconds)?;
    let naive = choice.naive_error.unwrap_or(f64::NAN);
    print("cdnow own rate: held-back purchases, mean error", naive, seconds)?;
    out(&format!("# {}", choice.reason))
}

/// The largest distance from a published parameter, in percent of it; infinite if there are more or fewer.
fn off(ours: &[Estimate], published: &[f64]) -> f64 {
    if ours.len() != published.len() {
        return f64::INFINITY;
    }
    let miss = |(ours, published): (&Estimate, &f64)| (ours.value / published - 1.0).abs();
    100.0 * ours.iter().zip(published).map(miss).fold(0.0, f64::max)
}

/// Frequency, recency and age of each customer.
fn summary(path: &Path) -> Result<Vec<History>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    let mut made = Vec::new();
    for (number, line) in (1..).zip(text.lines()).skip(1).filter(|(_, line)| !line.is_empty()) {
        let cells: Vec<Option<f64>> =
            line.split(',').map(|cell| cell.trim().parse().ok()).collect();
        let [_, Some(frequency), Some(recency), Some(age)] = cells[..] else {
            return Err(wrong(path, number, "ID, frequency, recency and T"));
        };
        made.push(History { frequency, recency, age });
    }
    Ok(made)
}

/// Who bought when for how much.
fn purchases(path: &Path) -> Result<Vec<Purchase>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    let mut made = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let purchase = purchase(line);
        let wanted = "two numbers of the customer, a date, a count and a value";
        made.push(purchase.ok_or_else(|| wrong(path, number, wanted))?);
    }
    Ok(made)
}

fn purchase(line: &str) -> Option<Purchase> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[_, customer, date, _, value] = &words[..] else { return None };
    let date = format!("{}-{}-{}", date.get(0..4)?, date.get(4..6)?, date.get(6..8)?);
    let at = Timestamp::parse(&date).ok()?;
    Some(Purchase { customer: customer.to_owned(), at, value: value.parse().ok()? })
}

fn wrong(path: &Path, line: usize, wanted: &str) -> Error {
    Error::invalid(format!("{} does not hold {wanted} in line {line}", path.display()))
        .hint("Take the file as its publisher wrote it.")
}

fn print(what: &str, figure: f64, seconds: f64) -> Result<()> {
    out(&format!("{what}\t{figure:.6}\t{seconds:.2}"))
}

fn out(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}
