//! Figures of bandits, online learning, drift, off-policy estimates, experiments and uplift.
//!
//! ```text
//! python tests/parity/peer_bandits.py digits FOLDER
//! FLYWHEEL_DATA=../shared/data cargo run --release -p flywheel-algo --example bandits FOLDER
//! ```
//! Reads `digits.csv` from FOLDER and real data from `FLYWHEEL_DATA`; writes `events.bin` into FOLDER, so that a
//! peer can learn the identical events. Prints `name, figure, CPU seconds`, tab-separated.

mod digits;
mod hillstrom;
mod logged;
mod published;
mod simulated;
mod stream;

#[path = "../common/cpu.rs"]
mod cpu;

use std::io::Write as _;
use std::path::Path;

use cpu::{TICKS, cpu_s};
use flywheel_base::{Error, Result};

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| {
        Error::invalid("no folder is named")
            .hint("Name the folder in which `peer_bandits.py digits FOLDER` wrote digits.csv.")
    })?;
    let data =
        flywheel_base::env::optional("FLYWHEEL_DATA").unwrap_or_else(|| "../shared/data".into());
    let (folder, data) = (Path::new(&folder), Path::new(&data));
    digits::run(&folder.join("digits.csv"))?;
    stream::run(&folder.join("events.bin"))?;
    logged::run(&data.join("open_bandit"))?;
    published::run()?;
    simulated::run()?;
    hillstrom::run(&data.join("hillstrom/hillstrom.csv"))
}

/// Prints a figure and the processor seconds that it took.
fn timed(name: &str, work: impl FnOnce() -> Result<f64>) -> Result<()> {
    let before = cpu_s()?;
    let figure = work()?;
    print(name, figure, cpu_s()? - before)
}

/// Prints how many of something were done in a processor second.
fn rate(name: &str, count: usize, work: impl FnOnce() -> Result<f64>) -> Result<()> {
    let before = cpu_s()?;
    let check = work()?;
    let seconds = (cpu_s()? - before).max(1.0 / TICKS);
    if !check.is_finite() {
        return Err(Error::internal(format!("{name} came to {check}")));
    }
    print(name, count as f64 / seconds, seconds)
}

fn print(name: &str, figure: f64, seconds: f64) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{name}\t{figure:.6}\t{seconds:.2}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}

/// Prints a line that is for people.
fn remark(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "# {line}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}

/// The cells of a file of simple CSV, without its header.
fn cells(path: &Path) -> Result<Vec<Vec<String>>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    let cell = |cell: &str| cell.trim().trim_matches('"').to_owned();
    Ok(text.lines().skip(1).map(|line| line.split(',').map(cell).collect()).collect())
}

/// A cell as a number.
fn number(path: &Path, row: &[String], column: usize) -> Result<f64> {
    let cell = row.get(column).map_or("", String::as_str);
    cell.parse().map_err(|_| {
        Error::invalid(format!("{} has \"{cell}\" in column {column}", path.display()))
            .hint("Take the file as its publisher wrote it; the first line is a header.")
    })
}
