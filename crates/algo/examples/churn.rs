//! Who leaves a telephone company: boosted trees and logistic regression on 7,043 contracts, in five folds.
//!
//! ```text
//! FLYWHEEL_DATA=FOLDER cargo run --release -p flywheel-algo --example churn [ROUNDS RATE LEAVES ROWS RIDGE]
//! ```
//! Reads `telco_churn/telco.csv`; the row number modulo 5 is the fold, for the peer as well
//! (`tests/parity/peer_churn.py`). How many trees there are is found within the rows that are learned from. Prints
//! `name, mean AUC, CPU seconds`, tab-separated.

#[path = "common/cpu.rs"]
mod cpu;

use std::io::Write as _;
use std::path::Path;

use cpu::cpu_s;
use flywheel_algo::score::encode::{Encoder, Values};
use flywheel_algo::score::logistic::Logistic;
use flywheel_algo::score::quality::auc;
use flywheel_algo::score::trees::{Examples, Loss, Options, Trees, rounds};
use flywheel_algo::stats::calibration::log_loss;
use flywheel_base::{Error, Result};

const FOLDS: usize = 5;

/// Columns that are numbers; the others are texts.
const NUMBERS: [&str; 4] = ["SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"];

fn main() -> Result<()> {
    let folder = flywheel_base::env::optional("FLYWHEEL_DATA").ok_or_else(|| {
        Error::invalid("FLYWHEEL_DATA is not set")
            .hint("Set it to the folder that holds telco_churn/telco.csv.")
    })?;
    let (columns, targets) = read(&Path::new(&folder).join("telco_churn/telco.csv"))?;
    let encoder = Encoder::fit(&columns)?;
    let features = encoder.rows(&columns)?;
    let all = Table { width: encoder.width(), features, targets };
    let mut options = Options::default();
    let mut fixed = None;
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<f64>().ok());
    if let Some(count) = arguments.next() {
        fixed = (count > 0.0).then_some(count as usize);
        options.learning_rate = arguments.next().unwrap_or(options.learning_rate);
        options.leaves_max = arguments.next().map_or(options.leaves_max, |n| n as usize);
        options.leaf_rows_min = arguments.next().map_or(options.leaf_rows_min, |n| n as usize);
        options.ridge = arguments.next().unwrap_or(options.ridge);
    }
    folds("churn: boosted trees", &all, |learned| {
        let count = match fixed {
            Some(count) => count,
            None => rounds(
                &learned.examples(),
                Loss::Logistic,
                &Options { rounds: 1_000, ..options },
                FOLDS,
            )?,
        };
        let trees =
            Trees::fit(&learned.examples(), Loss::Logistic, &Options { rounds: count, ..options })?;
        Ok(Box::new(move |row: &[f64]| trees.predict(row)))
    })?;
    folds("churn: logistic regression", &all, |learned| {
        let fit = Logistic::fit(&learned.examples(), 1.0)?;
        Ok(Box::new(move |row: &[f64]| fit.predict(row)))
    })
}

struct Table {
    width: usize,
    features: Vec<f64>,
    targets: Vec<f64>,
}

impl Table {
    fn examples(&self) -> Examples<'_> {
        Examples { features: &self.features, width: self.width, targets: &self.targets }
    }

    fn part(&self, keep: impl Fn(usize) -> bool) -> Self {
        let rows = self.features.chunks_exact(self.width).zip(&self.targets).enumerate();
        let (mut features, mut targets) = (Vec::new(), Vec::new());
        for (_, (row, target)) in rows.filter(|(at, _)| keep(*at)) {
            features.extend_from_slice(row);
            targets.push(*target);
        }
        Self { width: self.width, features, targets }
    }
}

/// Named columns of values.
type Columns = Vec<(String, Values)>;

type Model = Box<dyn Fn(&[f64]) -> Result<f64>>;

fn folds(name: &str, all: &Table, fit: impl Fn(&Table) -> Result<Model>) -> Result<()> {
    let before = cpu_s()?;
    let (mut sum, mut lost) = (0.0, 0.0);
    for fold in 0..FOLDS {
        let model = fit(&all.part(|at| at % FOLDS != fold))?;
        let held = all.part(|at| at % FOLDS == fold);
        let rows = held.features.chunks_exact(held.width);
        let scores = rows.map(&model).collect::<Result<Vec<_>>>()?;
        let found = auc(&scores, &held.targets, 0.95)?;
        sum += found.map_or(f64::NAN, |found| found.estimate);
        let came_true: Vec<bool> = held.targets.iter().map(|target| *target > 0.5).collect();
        lost += log_loss(&scores, &came_true)?;
    }
    let seconds = cpu_s()? - before;
    let (auc, lost) = (sum / FOLDS as f64, lost / FOLDS as f64);
    let text = format!("# {name}: log loss {lost:.5}\n{name}\t{auc:.5}\t{seconds:.2}\n");
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Error::internal("stdout is closed").caused_by(error))
}

/// The columns but the customer's number, and who left. No value has a comma.
fn read(path: &Path) -> Result<(Columns, Vec<f64>)> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    let mut lines = text.lines().map(|line| line.trim_end_matches('\r'));
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let column = |at: usize| rows.iter().map(move |row| row.get(at).copied().unwrap_or_default());
    let mut columns = Vec::new();
    let mut targets = Vec::new();
    for (at, name) in names.iter().enumerate() {
        match *name {
            "customerID" => {}
            "Churn" => {
                targets = column(at).map(|text| f64::from(u8::from(text == "Yes"))).collect();
            }
            name if NUMBERS.contains(&name) => {
                let values = column(at).map(|text| text.trim().parse().unwrap_or(f64::NAN));
                columns.push((name.to_owned(), Values::Numbers(values.collect())));
            }
            name => {
                let texts = column(at).map(|text| Some(text.to_owned()));
                columns.push((name.to_owned(), Values::Texts(texts.collect())));
            }
        }
    }
    if targets.is_empty() {
        return Err(Error::invalid(format!("{} has no column Churn", path.display())));
    }
    Ok((columns, targets))
}
