//! Intervals for shares: conversion rates and their differences.

use flywheel_base::{Error, Result};

use super::{Interval, finite, normal};

/// The Wilson score interval for `successes` out of `trials`.
///
/// Unlike the textbook `p ± z·se` it stays inside `[0, 1]` and keeps its coverage at 0 and at few
/// trials, which is where a new campaign starts.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] without trials, with more successes than trials, or if
/// `confidence` is not inside (0, 1).
/// # Source
/// Wilson 1927; parity with statsmodels `proportion_confint(method="wilson")` to 1e-12.
pub fn wilson(successes: u64, trials: u64, confidence: f64) -> Result<Interval> {
    finite::open_unit("confidence", confidence)?;
    check(successes, trials)?;
    let n = trials as f64;
    let share = successes as f64 / n;
    let z = normal::quantile(f64::midpoint(1.0, confidence));
    let scale = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / scale;
    let margin = z / scale * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let low = if successes == 0 { 0.0 } else { (centre - margin).max(0.0) };
    let high = if successes == trials { 1.0 } else { (centre + margin).min(1.0) };
    Ok(Interval { estimate: share, low, high })
}

/// Newcombe's hybrid score interval for the difference `a − b` of two shares, each given as
/// `(successes, trials)`.
///
/// # Errors
/// As [`wilson`], for either share.
/// # Source
/// Newcombe 1998, method 10; parity with statsmodels
/// `confint_proportions_2indep(method="newcomb", compare="diff")` to 1e-12.
pub fn newcombe(a: (u64, u64), b: (u64, u64), confidence: f64) -> Result<Interval> {
    let a = wilson(a.0, a.1, confidence)?;
    let b = wilson(b.0, b.1, confidence)?;
    let estimate = a.estimate - b.estimate;
    Ok(Interval {
        estimate,
        low: estimate - (a.estimate - a.low).hypot(b.high - b.estimate),
        high: estimate + (a.high - a.estimate).hypot(b.estimate - b.low),
    })
}

fn check(successes: u64, trials: u64) -> Result<()> {
    if trials == 0 {
        return Err(Error::invalid("a share of 0 trials is asked for")
            .hint("Wait for the first trial, or show \"no data yet\"."));
    }
    if successes > trials {
        return Err(Error::invalid(format!("{successes} successes out of {trials} trials"))
            .hint("Count each trial once; a success is a trial too."));
    }
    Ok(())
}
