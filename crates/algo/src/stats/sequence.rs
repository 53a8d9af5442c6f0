//! Always-valid intervals: an experiment may be looked at every minute and stopped at any look.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::lift::Arm;
use super::{Interval, finite};

/// At how many units the interval is tightest, unless told.
pub const TUNED_FOR_UNITS: f64 = 5000.0;

/// How an always-valid interval is made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The probability that the interval covers the truth at *all* looks together.
    pub confidence: f64,
    /// The number of units (both arms) at which the interval is tightest.
    pub tuned_for_units: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { confidence: 0.95, tuned_for_units: TUNED_FOR_UNITS }
    }
}

/// The interval for `treatment − holdout` that stays valid however often one looks.
///
/// `None` while an arm has fewer than two units.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if an option is out of range.
/// # Cost
/// O(1).
/// # Source
/// Waudby-Smith et al. 2021, asymptotic confidence sequence from a Gaussian mixture, eq. 24, as
/// GrowthBook applies it to two arms; agrees with its published fixtures to 5 decimals.
pub fn difference(treatment: &Arm, holdout: &Arm, options: &Options) -> Result<Option<Interval>> {
    let rates = treatment.rate().zip(holdout.rate());
    let variances = treatment.rate_variance().zip(holdout.rate_variance());
    let units = treatment.units() + holdout.units();
    let (Some((a, b)), Some((from_a, from_b))) = (rates, variances) else {
        check(options)?;
        return Ok(None);
    };
    let margin = margin((from_a + from_b).sqrt(), units as f64, options)?;
    Ok(Some(Interval::around(a - b, margin)))
}

/// As [`difference`], but an arm whose units are all alike is taken to vary as the other one does: without an effect it
/// would, and without any spread the interval would have no width.
///
/// `None` also while neither arm shows a spread: nothing is known then of how much units vary.
///
/// # Errors
/// As [`difference`].
/// # Cost
/// O(1).
pub fn careful_difference(
    treatment: &Arm,
    holdout: &Arm,
    options: &Options,
) -> Result<Option<Interval>> {
    let Some(plain) = difference(treatment, holdout, options)? else { return Ok(None) };
    let per_unit = |arm: &Arm| {
        let variance = arm.rate_variance().filter(|_| arm.shows_spread());
        variance.map(|variance| variance * arm.units() as f64)
    };
    let (a, b) = (treatment.units() as f64, holdout.units() as f64);
    let variance = match (per_unit(treatment), per_unit(holdout)) {
        (Some(_), Some(_)) => return Ok(Some(plain)),
        (Some(one), None) | (None, Some(one)) => one / a + one / b,
        (None, None) => return Ok(None),
    };
    let margin = margin(variance.sqrt(), a + b, options)?;
    Ok(Some(Interval::around(plain.estimate, margin)))
}

/// Half the width of the always-valid interval of an estimate with this standard error from `units` units.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if an argument or option is out of range.
pub fn margin(standard_error: f64, units: f64, options: &Options) -> Result<f64> {
    check(options)?;
    finite::all_finite("standard error and units", &[standard_error, units])?;
    if units <= 0.0 || standard_error < 0.0 {
        return Err(Error::invalid(format!(
            "a standard error of {standard_error} from {units} units"
        ))
        .hint("Give a positive number of units and a standard error of 0 or more."));
    }
    let alpha = 1.0 - options.confidence;
    let rho_square = rho_square(options);
    let scaled = units * rho_square + 1.0;
    let factor = 2.0 * scaled / (units * rho_square) * (scaled.sqrt() / alpha).ln();
    Ok(standard_error * factor.sqrt())
}

/// The always-valid p-value that belongs to an interval of [`margin`] from `units` units, made with these options: at
/// whichever look one stops, it is below any level with at most that probability if there is no effect. It is below
/// `1 − confidence` exactly where the interval leaves out 0.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if an argument or option is out of range.
/// # Source
/// Waudby-Smith et al. 2021: one over the mixture martingale that the interval is made of.
pub fn p_value(interval: &Interval, units: f64, options: &Options) -> Result<f64> {
    check(options)?;
    let margin = (interval.high - interval.low) / 2.0;
    finite::all_finite("estimate, margin and units", &[interval.estimate, margin, units])?;
    if units <= 0.0 || margin <= 0.0 {
        return Err(Error::invalid(format!("a margin of {margin} from {units} units"))
            .hint("Give a positive number of units and an interval that has a width."));
    }
    let alpha = 1.0 - options.confidence;
    let root = (units * rho_square(options) + 1.0).sqrt();
    let distance = (interval.estimate / margin).powi(2);
    Ok((root * (-distance * (root / alpha).ln()).exp()).min(1.0))
}

/// The scale of the mixture, squared: what makes the interval tightest at `tuned_for_units`.
fn rho_square(options: &Options) -> f64 {
    let log = -2.0 * (1.0 - options.confidence).ln();
    (log + (log + 1.0).ln()) / options.tuned_for_units
}

fn check(options: &Options) -> Result<()> {
    finite::open_unit("confidence", options.confidence)?;
    if options.tuned_for_units.is_finite() && options.tuned_for_units > 0.0 {
        return Ok(());
    }
    Err(Error::invalid(format!("tuned_for_units is {}", options.tuned_for_units))
        .hint("Give about the number of units you expect to decide at, for example 5000."))
}
