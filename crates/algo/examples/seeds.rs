//! Prints the numbers of the seed article beside ours; ends with an error if one is out of tolerance.
//!
//! ```text
//! cargo run --release -p flywheel-algo --example seeds
//! ```
//! After the table comes a line for each anchor, which is a calculation of the article with all the rows that belong to it:
//! `anchor, share of its rows within tolerance, 0`, tab-separated.

use std::process::ExitCode;

use flywheel_algo::recommend::seeds::SeedCheck;
use flywheel_algo::{forecast, online, recommend, segment};
use flywheel_base::{Error, Result};

/// The anchors, each with what the names of its rows begin with.
const ANCHORS: &[(&str, &[&str])] = &[
    ("TF-IDF vocabulary", &["TF-IDF vocabulary", "TF-IDF idf"]),
    ("TF-IDF similarity", &["TF-IDF similarity"]),
    ("TF-IDF recommendations", &["TF-IDF list", "our default for Smartphone"]),
    ("user similarities", &["user similarities"]),
    ("recommendations to users", &["recommended to user"]),
    ("k-means raw", &["k-means raw"]),
    ("k-means standardised", &["k-means standardised"]),
    ("Holt", &["holt, as", "holt, exact minimum", "holt, sum of squared errors"]),
    ("Holt, other initialisations", &["holt, heuristic start", "holt, legacy heuristic start"]),
    ("Holt backtest", &["holt, fit 9 months", "holt, MAPE", "naive, MAPE"]),
    ("NMF matrix", &["NMF error", "NMF predicted ratings"]),
    ("NMF recommendations to user 0", &["NMF list for user 0", "our default for user 0"]),
    ("SGD stream", &["sgd, ", "default learner, "]),
];

#[expect(clippy::print_stdout, reason = "the table is the program's result")]
fn run() -> Result<bool> {
    let mut checks = recommend::seeds::seeds()?;
    checks.extend(segment::seeds::seeds());
    checks.extend(forecast::seeds::seeds());
    checks.extend(online::seeds::seeds());
    println!(
        "{:<44} {:<44} {:<44} {:>12} {:>10}  result",
        "number", "expected", "ours", "difference", "tolerance"
    );
    let cut = |text: &str| text.chars().take(43).collect::<String>();
    for check in &checks {
        let result = if check.passed { "ok" } else { "OUT OF TOLERANCE" };
        println!(
            "{:<44} {:<44} {:<44} {:>12.3e} {:>10.0e}  {result}",
            cut(check.name),
            cut(&check.expected),
            cut(&check.ours),
            check.difference,
            check.tolerance
        );
    }
    let passed = checks.iter().filter(|check| check.passed).count();
    println!("{passed} passed, {} failed", checks.len() - passed);
    for line in anchors(&checks)? {
        println!("{line}");
    }
    Ok(passed == checks.len())
}

/// Whether a row is of the anchor whose rows begin so.
fn belongs(check: &SeedCheck, rows: &[&str]) -> bool {
    rows.iter().any(|row| check.name.starts_with(row))
}

/// A line for each anchor; one without rows is not reproduced.
fn anchors(checks: &[SeedCheck]) -> Result<Vec<String>> {
    for check in checks {
        let anchors = ANCHORS.iter().filter(|(_, rows)| belongs(check, rows)).count();
        if anchors != 1 {
            return Err(Error::internal(format!(
                "the row \"{}\" belongs to {anchors} anchors instead of one",
                check.name
            )));
        }
    }
    let line = |(anchor, rows): &(&str, &[&str])| {
        let own: Vec<&SeedCheck> = checks.iter().filter(|check| belongs(check, rows)).collect();
        let passed = own.iter().filter(|check| check.passed).count();
        format!("anchor: {anchor}\t{:.4}\t0", passed as f64 / own.len().max(1) as f64)
    };
    Ok(ANCHORS.iter().map(line).collect())
}

#[expect(clippy::print_stderr, reason = "the error is for the person at the terminal")]
fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}", error.report());
            ExitCode::FAILURE
        }
    }
}
