//! Times k-means on a million rows and the models of lifetimes on a million customers.
//!
//! ```text
//! cargo run --release -p flywheel-algo --example customers FOLDER
//! ```
//! Writes `rows.bin` (float32, row by row) and `centres.bin` into FOLDER, so that a peer can work on the
//! identical rows from the identical start (`tests/parity/peer_customers.py`). Prints
//! `name, figure, CPU seconds`, tab-separated; the figure is the inertia or the log-likelihood.

#[path = "common/cpu.rs"]
mod cpu;

use std::io::Write as _;
use std::path::Path;

use cpu::cpu_s;
use flywheel_algo::lifetime::{Fit, History, Model};
use flywheel_algo::segment::kmeans::{self, Options, Scaling};
use flywheel_base::{Error, Result, Rng};

/// The rows of k-means and the customers of the lifetimes.
const ROWS: usize = 1_000_000;
const COLUMNS: usize = 8;
const CLUSTERS: usize = 8;
const ITERATIONS: usize = 50;

fn main() -> Result<()> {
    let rows = rows();
    let centres: Vec<Vec<f64>> =
        rows.chunks_exact(COLUMNS).take(CLUSTERS).map(<[f64]>::to_vec).collect();
    if let Some(folder) = std::env::args_os().nth(1) {
        write(&Path::new(&folder).join("rows.bin"), &rows)?;
        write(&Path::new(&folder).join("centres.bin"), &centres.concat())?;
    }
    let options = Options {
        clusters: CLUSTERS,
        restarts: 0,
        iterations_max: ITERATIONS,
        scaling: Scaling::Raw,
        ..Options::default()
    };
    timed("k-means from given centres", || {
        Ok(kmeans::refit(&rows, COLUMNS, &centres, &options)?.inertia)
    })?;
    timed("k-means++", || {
        Ok(kmeans::fit(&rows, COLUMNS, &Options { restarts: 1, ..options })?.inertia)
    })?;
    drop(rows);
    let customers = customers();
    for model in Model::CONTINUOUS {
        timed(model.name(), || {
            Ok(Fit::new(model, &customers, None)?.log_likelihood.unwrap_or(f64::NAN))
        })?;
    }
    let fit = Fit::new(Model::BgNbd, &customers, None)?;
    timed("bg-nbd expected", || {
        customers.iter().map(|customer| fit.expected(customer, 90.0)).sum::<Result<f64>>()
    })
}

/// Rows around eight centres that overlap, rounded to 32 bits.
fn rows() -> Vec<f64> {
    let mut rng = Rng::stream(7, "rows");
    let centres: Vec<f64> = (0..CLUSTERS * COLUMNS).map(|_| 4.0 * rng.uniform() - 2.0).collect();
    let mut rows = Vec::with_capacity(ROWS * COLUMNS);
    for _ in 0..ROWS {
        let from = rng.below(CLUSTERS) * COLUMNS;
        let centre = &centres[from..from + COLUMNS];
        rows.extend(centre.iter().map(|value| f64::from((value + rng.normal()) as f32)));
    }
    rows
}

/// Customers of two years who buy at an own rate and leave at an own moment, in days.
fn customers() -> Vec<History> {
    let mut rng = Rng::stream(7, "customers");
    let customer = |_| {
        let age = 1 + rng.below(730);
        let rate = rng.exponential(60.0);
        let left = rng.exponential(0.003);
        let until = left.min(age as f64);
        let (mut at, mut count, mut last) = (0.0, 0.0, 0.0);
        loop {
            at += rng.exponential(rate.max(1e-9)).max(1.0);
            if at > until {
                return History { frequency: count, recency: last, age: age as f64 };
            }
            (count, last) = (count + 1.0, f64::floor(at));
        }
    };
    (0..ROWS).map(customer).collect()
}

fn timed(name: &str, work: impl FnOnce() -> Result<f64>) -> Result<()> {
    let before = cpu_s()?;
    let figure = work()?;
    let line = format!("{name}\t{figure:.6}\t{:.2}", cpu_s()? - before);
    writeln!(std::io::stdout().lock(), "{line}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}

fn write(path: &Path, values: &[f64]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
    std::fs::write(path, bytes).map_err(|error| {
        Error::invalid(format!("cannot write {}", path.display()))
            .hint("Name a folder that exists.")
            .caused_by(error)
    })
}
