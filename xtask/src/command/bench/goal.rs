//! Goals: what a figure must not exceed, or must reach.

use std::path::Path;

use crate::Result;
use crate::process::Cost;
use crate::tally::Tally;

/// Prints and records that a figure is at most `most`.
pub(super) fn at_most(tally: &mut Tally, what: &str, reached: f64, most: f64) {
    judge(tally, what, reached, "at most", most, reached <= most);
}

/// Prints and records that a figure is at least `least`.
pub(super) fn at_least(tally: &mut Tally, what: &str, reached: f64, least: f64) {
    judge(tally, what, reached, "at least", least, reached >= least);
}

fn judge(tally: &mut Tally, what: &str, reached: f64, word: &str, goal: f64, holds: bool) {
    let said = if holds { "holds" } else { "falls short" };
    println!("{what}: {reached:.2}, {word} {goal}: {said}");
    tally.record(what, holds);
}

/// Processor seconds for a million of something.
pub(super) fn per_million(cost: &Cost, count: u64) -> f64 {
    cost.cpu_s / (count as f64 / 1e6)
}

/// Peak memory in MiB.
pub(super) fn mebibytes(cost: &Cost) -> f64 {
    cost.peak_bytes as f64 / 1_048_576.0
}

/// Writes the files of a project.
pub(super) fn write_files(project: &Path, files: &[(&str, String)]) -> Result<()> {
    for (name, text) in files {
        let path = project.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}
