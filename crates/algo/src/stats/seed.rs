//! One row of the table that compares our numbers with those the seed documents print.

use serde::{Deserialize, Serialize};

/// A number that a seed document or its reference library gives, and ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedCheck {
    /// What is compared.
    pub name: String,
    /// What the reference gives.
    pub expected: String,
    /// What this build gives.
    pub ours: String,
    /// The largest absolute difference between the two; 1 or more stands for a wrong structure.
    pub difference: f64,
    /// The largest difference that passes.
    pub tolerance: f64,
    /// Whether `difference` is within `tolerance`.
    pub passed: bool,
}

impl SeedCheck {
    /// Compares lists of numbers.
    #[must_use]
    pub fn numbers(name: &str, expected: &[f64], ours: &[f64], tolerance: f64) -> Self {
        let difference = if expected.len() == ours.len() {
            expected.iter().zip(ours).map(|(a, b)| (a - b).abs()).fold(0.0, worse)
        } else {
            f64::INFINITY
        };
        Self {
            name: name.to_owned(),
            expected: join(expected),
            ours: join(ours),
            difference,
            tolerance,
            passed: difference <= tolerance,
        }
    }

    /// Compares texts, which are equal or not.
    #[must_use]
    pub fn text(name: &str, expected: &str, ours: &str) -> Self {
        let difference = if expected == ours { 0.0 } else { 1.0 };
        Self {
            name: name.to_owned(),
            expected: expected.to_owned(),
            ours: ours.to_owned(),
            difference,
            tolerance: 0.0,
            passed: expected == ours,
        }
    }

    /// The row for a computation that failed.
    #[must_use]
    pub fn failed(name: &str, expected: &str, error: &flywheel_base::Error) -> Self {
        Self {
            name: name.to_owned(),
            expected: expected.to_owned(),
            ours: error.message().to_owned(),
            difference: f64::INFINITY,
            tolerance: 0.0,
            passed: false,
        }
    }
}

/// The larger difference, where NaN counts as infinitely wrong.
fn worse(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}

fn join(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.10}")).collect::<Vec<_>>().join(", ")
}
