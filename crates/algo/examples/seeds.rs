//! Prints the numbers of the seed article beside ours; ends with an error if one is out of tolerance.

use std::process::ExitCode;

use flywheel_algo::{forecast, online, recommend, segment};
use flywheel_base::Result;

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
    Ok(passed == checks.len())
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
