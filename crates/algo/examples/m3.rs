//! Forecasts the 3,003 series of the M3 competition and the monthly sales of 2,324 car parts.
//!
//! ```text
//! FLYWHEEL_DATA=FOLDER cargo run --release -p flywheel-algo --example m3 [FORECASTER…]
//! ```
//! Reads `m3/m3.csv` (series_id, period, part, t, value) and `m3/carparts.csv` (a column a part). Prints
//! `forecaster, set, sMAPE, MASE, CPU seconds` of M3, `forecaster, carparts, RMSSE, mean |error of the
//! total|, CPU seconds` of the parts with at least three sales, and the coverage of intervals as
//! `forecaster, set, covered 80, covered 95`; tab-separated. Means are over series, as the competition counts.

#[path = "common/cpu.rs"]
mod cpu;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use cpu::cpu_s;
use flywheel_algo::forecast::backtest::accuracy;
use flywheel_algo::forecast::{AUTO, Options, fit};
use flywheel_base::{Error, Result};

/// The forecasters of M3 and of the parts, if the command line names none.
const OF_M3: [&str; 5] = ["theta-dynamic", "theta-optimised", "ets", "blend", AUTO];
const OF_PARTS: [&str; 6] = ["croston", "sba", "tsb", "adida", "imapa", "fading"];

/// The forecasters whose intervals are measured.
const INTERVALS: [&str; 2] = ["blend", AUTO];

/// Held-back months of a part, and the sales before them that it must have.
const PARTS_HORIZON: usize = 6;
const PARTS_SALES_MIN: usize = 3;

/// One series, split as the competition did.
struct Series {
    set: String,
    train: Vec<f64>,
    test: Vec<f64>,
}

fn main() -> Result<()> {
    let folder = flywheel_base::env::optional("FLYWHEEL_DATA").ok_or_else(|| {
        Error::invalid("FLYWHEEL_DATA is not set")
            .hint("Set it to the folder that holds m3/m3.csv.")
    })?;
    let folder = Path::new(&folder).join("m3");
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |name: &&&str| wanted.is_empty() || wanted.iter().any(|w| w == **name);
    let series = m3(&read(&folder.join("m3.csv"))?)?;
    for name in OF_M3.iter().filter(chosen) {
        points(name, &series)?;
    }
    for name in INTERVALS.iter().filter(chosen) {
        intervals(name, &series)?;
    }
    let parts = parts(&read(&folder.join("carparts.csv"))?)?;
    for name in OF_PARTS.iter().filter(chosen) {
        demand(name, &parts)?;
    }
    Ok(())
}

/// The season and horizon of a set.
fn shape(set: &str) -> (usize, usize) {
    match set {
        "yearly" => (1, 6),
        "quarterly" => (4, 8),
        "monthly" => (12, 18),
        _ => (1, 8),
    }
}

/// sMAPE and MASE of each set and of all series; errors of the past are not measured.
fn points(name: &str, series: &[Series]) -> Result<()> {
    let mut totals = (0.0, 0.0, 0.0);
    for set in ["yearly", "quarterly", "monthly", "other"] {
        let before = cpu_s()?;
        let (season, horizon) = shape(set);
        let compared = if name == AUTO { Options::default().origins_max } else { 0 };
        let options = Options { season, horizon, origins_max: compared, ..Options::default() };
        let (mut smape, mut mase, mut count) = (0.0, 0.0, 0.0);
        for one in series.iter().filter(|one| one.set == set) {
            let said = fit(name, &one.train, &options)?.forecast(one.test.len(), &[])?;
            let made = accuracy(&said.mean, &one.test, &one.train, season)?;
            smape += made.smape;
            mase += made.mase.unwrap_or_default();
            count += 1.0;
        }
        let seconds = cpu_s()? - before;
        print(&format!("{name}\t{set}\t{:.3}\t{:.4}\t{seconds:.2}", smape / count, mase / count))?;
        totals = (totals.0 + smape, totals.1 + mase, totals.2 + seconds);
    }
    let count = series.len() as f64;
    let (smape, mase, seconds) = (totals.0 / count, totals.1 / count, totals.2);
    print(&format!("{name}\ttotal\t{smape:.3}\t{mase:.4}\t{seconds:.2}"))
}

/// The share of the held-back months that lie inside the intervals, over all months of all series.
fn intervals(name: &str, series: &[Series]) -> Result<()> {
    let (season, horizon) = shape("monthly");
    let options = Options { season, horizon, ..Options::default() };
    let (mut inside, mut all) = ([0_usize; 2], 0_usize);
    for one in series.iter().filter(|one| one.set == "monthly") {
        let said = fit(name, &one.train, &options)?.forecast(horizon, &[0.025, 0.1, 0.9, 0.975])?;
        for (row, actual) in said.quantiles.iter().zip(&one.test) {
            if let [low, lower, upper, high] = row[..] {
                inside[0] += usize::from((lower..=upper).contains(actual));
                inside[1] += usize::from((low..=high).contains(actual));
            }
            all += 1;
        }
    }
    let share = |count: usize| 100.0 * count as f64 / all as f64;
    print(&format!("{name} intervals\tmonthly\t{:.2}\t{:.2}", share(inside[0]), share(inside[1])))
}

/// RMSSE and the absolute error of the total over the horizon.
fn demand(name: &str, parts: &[Vec<f64>]) -> Result<()> {
    let before = cpu_s()?;
    let horizon = PARTS_HORIZON;
    let options = Options { horizon, origins_max: 0, clip_at_zero: true, ..Options::default() };
    let (mut rmsse, mut total, mut count) = (0.0, 0.0, 0.0);
    for part in parts {
        let (train, test) = part.split_at(part.len() - horizon);
        let said = fit(name, train, &options)?.forecast(horizon, &[])?;
        rmsse += accuracy(&said.mean, test, train, 1)?.rmsse.unwrap_or_default();
        total += (said.mean.iter().sum::<f64>() - test.iter().sum::<f64>()).abs();
        count += 1.0;
    }
    let seconds = cpu_s()? - before;
    print(&format!("{name}\tcarparts\t{:.4}\t{:.3}\t{seconds:.2}", rmsse / count, total / count))
}

/// The series in the order of the file, whose rows are in the order of time.
fn m3(text: &str) -> Result<Vec<Series>> {
    let mut made: BTreeMap<&str, Series> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let wrong = || Error::invalid(format!("m3.csv has no series value in line {}", number + 1));
        let &[id, set, part, _, value] = &cells[..] else { return Err(wrong()) };
        let value: f64 = value.trim().parse().map_err(|_| wrong())?;
        let empty = || Series { set: set.to_owned(), train: Vec::new(), test: Vec::new() };
        let series = made.entry(id).or_insert_with(empty);
        if part == "train" { series.train.push(value) } else { series.test.push(value) }
    }
    Ok(made.into_values().collect())
}

/// The parts whose every month is known and that had enough sales before the held-back months.
fn parts(text: &str) -> Result<Vec<Vec<f64>>> {
    let mut lines = text.lines();
    let count = lines.next().map_or(0, |head| head.split(',').count());
    let mut made: Vec<Option<Vec<f64>>> = vec![Some(Vec::new()); count];
    for line in lines {
        for (part, cell) in made.iter_mut().zip(line.split(',')) {
            match (part.as_mut(), cell.trim().parse()) {
                (Some(values), Ok(value)) => values.push(value),
                _ => *part = None,
            }
        }
    }
    let sold = |part: &Vec<f64>| {
        let known = &part[..part.len() - PARTS_HORIZON];
        known.iter().filter(|value| **value != 0.0).count() >= PARTS_SALES_MIN
    };
    Ok(made.into_iter().flatten().filter(sold).collect())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::not_found(format!("cannot read {}", path.display()))
            .hint("Set FLYWHEEL_DATA to the folder that holds m3/m3.csv and m3/carparts.csv.")
            .caused_by(error)
    })
}

fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}
