//! What GrowthBook, statsmodels and scipy publish or give for experiments, and how much of it ours agrees with.

use flywheel_algo::stats::lift::{Arm, lift};
use flywheel_algo::stats::{Interval, proportion, sequence, srm};
use flywheel_base::{Error, Result};
use serde_json::Value;

use crate::{print, remark};

/// Answers of statsmodels and scipy, which `tests/parity` makes anew.
const PARITY: &str = include_str!("../../../../tests/parity/stats.json");

pub(crate) fn run() -> Result<()> {
    agree("growthbook's fixtures within 1e-5", 1e-5, &growthbook()?)?;
    let parity: Value = serde_json::from_str(PARITY)
        .map_err(|error| Error::corrupt("tests/parity/stats.json is no JSON").caused_by(error))?;
    agree("welch's tests of scipy within 1e-9", 1e-9, &welch(&parity)?)?;
    agree("intervals of shares of statsmodels within 1e-12", 1e-12, &shares(&parity)?)?;
    agree("mismatches of scipy within 1e-10 of themselves", 1e-10, &mismatches(&parity)?)
}

/// Prints how many pairs of ours and theirs are as near as the name says.
fn agree(name: &str, tolerance: f64, pairs: &[(f64, f64)]) -> Result<()> {
    let within = pairs.iter().filter(|(ours, theirs)| (ours - theirs).abs() <= tolerance).count();
    remark(&format!("{name}: {within} of {} values", pairs.len()))?;
    print(&format!("{name}, share"), within as f64 / pairs.len().max(1) as f64, 0.0)
}

/// Both ends of an interval beside theirs.
fn ends(ours: Option<Interval>, low: f64, high: f64) -> [(f64, f64); 2] {
    let (our_low, our_high) =
        ours.map_or((f64::NAN, f64::NAN), |interval| (interval.low, interval.high));
    [(our_low, low), (our_high, high)]
}

/// The fixtures of GrowthBook's own tests of its lift, fixed and sequential.
fn growthbook() -> Result<Vec<(f64, f64)>> {
    let treatment = arm(2422.7, 134_698.29, 3461)?;
    let holdout = arm(1396.87, 52_377.976_7, 3407)?;
    let made = lift(&treatment, &holdout, 0.95)?;
    let mut pairs = ends(made.relative, -0.03526, 1.44989).to_vec();
    pairs.extend(ends(made.absolute, 0.04538, 0.53462));
    pairs.push((made.p_value.unwrap_or(f64::NAN), 0.02016));
    let smaller = arm(1396.87, 52_377.976_7, 3000)?;
    let relative = lift(&treatment, &smaller, 0.95)?.relative;
    let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
    let (a, b) = (known(treatment.rate()), known(smaller.rate()));
    let variances = [known(treatment.rate_variance()), known(smaller.rate_variance())];
    let error = ((variances[0] + (a / b).powi(2) * variances[1]) / (b * b)).sqrt();
    let options = sequence::Options { confidence: 0.95, tuned_for_units: 1000.0 };
    let margin = sequence::margin(error, 6461.0, &options)?;
    let wider = relative.map(|relative| Interval::around(relative.estimate, margin));
    pairs.extend(ends(wider, -0.55844, 1.56516));
    Ok(pairs)
}

/// An arm from the sums that the fixtures give.
fn arm(sum: f64, squares: f64, units: u64) -> Result<Arm> {
    let count = units as f64;
    let variance = (squares - sum * sum / count) / (count - 1.0);
    Arm::from_moments(units, sum / count, variance.sqrt())
}

fn welch(parity: &Value) -> Result<Vec<(f64, f64)>> {
    let mut pairs = Vec::new();
    for case in list(&parity["lift"]) {
        let arms = [Arm::per_unit(&numbers(&case["a"]))?, Arm::per_unit(&numbers(&case["b"]))?];
        let made = lift(&arms[0], &arms[1], 0.95)?;
        pairs.extend(ends(made.absolute, number(&case["low"]), number(&case["high"])));
        pairs.push((made.p_value.unwrap_or(f64::NAN), number(&case["p"])));
    }
    Ok(pairs)
}

fn shares(parity: &Value) -> Result<Vec<(f64, f64)>> {
    let mut pairs = Vec::new();
    for row in list(&parity["wilson"]).iter().map(numbers) {
        let [successes, trials, confidence, low, high] = row[..] else { return Err(shape()) };
        let made = proportion::wilson(successes as u64, trials as u64, confidence)?;
        pairs.extend(ends(Some(made), low, high));
    }
    for row in list(&parity["newcombe"]).iter().map(numbers) {
        let [a, of_a, b, of_b, low, high] = row[..] else { return Err(shape()) };
        let made = proportion::newcombe((a as u64, of_a as u64), (b as u64, of_b as u64), 0.95)?;
        pairs.extend(ends(Some(made), low, high));
    }
    Ok(pairs)
}

/// Ratios, as a p-value may be very small.
fn mismatches(parity: &Value) -> Result<Vec<(f64, f64)>> {
    let mut pairs = Vec::new();
    for case in list(&parity["srm"]) {
        let units: Vec<u64> = numbers(&case["units"]).iter().map(|units| *units as u64).collect();
        let made = srm::mismatch(&units, &numbers(&case["shares"]))?;
        pairs.push((made.statistic / number(&case["statistic"]), 1.0));
        pairs.push((made.p_value / number(&case["p"]), 1.0));
    }
    Ok(pairs)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn shape() -> Error {
    Error::corrupt("a row of tests/parity/stats.json has other cells than its heading says")
}
