//! Makes the rows of the table that compares our numbers with those the seed documents print.

use flywheel_base::Error;

use crate::recommend::seeds::SeedCheck;

/// Compares lists of numbers.
pub(crate) fn numbers(
    name: &'static str,
    expected: &[f64],
    ours: &[f64],
    tolerance: f64,
) -> SeedCheck {
    let difference = if expected.len() == ours.len() {
        expected.iter().zip(ours).map(|(a, b)| (a - b).abs()).fold(0.0, worse)
    } else {
        f64::INFINITY
    };
    SeedCheck {
        name,
        expected: join(expected),
        ours: join(ours),
        difference,
        tolerance,
        passed: difference <= tolerance,
    }
}

/// Compares texts, which are equal or not.
pub(crate) fn text(name: &'static str, expected: &str, ours: &str) -> SeedCheck {
    SeedCheck {
        name,
        expected: expected.to_owned(),
        ours: ours.to_owned(),
        difference: if expected == ours { 0.0 } else { f64::INFINITY },
        tolerance: 0.0,
        passed: expected == ours,
    }
}

/// The row for a computation that failed.
pub(crate) fn failed(name: &'static str, expected: &str, error: &Error) -> SeedCheck {
    SeedCheck {
        name,
        expected: expected.to_owned(),
        ours: error.message().to_owned(),
        difference: f64::INFINITY,
        tolerance: 0.0,
        passed: false,
    }
}

/// The larger difference, where NaN counts as infinitely wrong.
fn worse(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}

fn join(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.10}")).collect::<Vec<_>>().join(", ")
}
