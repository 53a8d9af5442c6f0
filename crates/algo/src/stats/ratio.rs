//! Ratios of sums: revenue an order, clicks a visit, with what was known of each unit before taken out.
//!
//! A unit may have many orders, which are not independent: what varies is the unit. The ratio of an arm is one number,
//! so each unit counts with what it moves that number by (the delta method's linear part); from there on it is a mean
//! like any other, and everything that is known about means holds.

use flywheel_base::{Error, Result};

use super::cuped::Pairs;
use super::finite;
use super::lift::Arm;

/// One unit of a ratio.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    /// What is divided, summed up over the unit.
    pub numerator: f64,
    /// What it is divided by, summed up over the unit; 0 or more.
    pub denominator: f64,
    /// A number of the unit from before the experiment.
    pub covariate: f64,
}

/// The arm whose rate is the ratio, and whose variance is that of the delta method over units.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a number is not finite or a denominator is negative.
pub fn arm(units: &[Part]) -> Result<Arm> {
    let mut arm = Arm::default();
    for unit in units {
        not_negative(unit.denominator)?;
        arm.add(unit.numerator, unit.denominator)?;
    }
    Ok(arm)
}

/// The linear parts of an arm's ratio with each unit's covariate: their mean is the ratio, their variance over the number
/// of units is that of the delta method. `None` while the arm has no ratio.
///
/// # Errors
/// As [`arm`].
/// # Cost
/// Two passes over the units.
/// # Source
/// Deng et al. 2018, §3, for the linear part; Budylin et al. 2018 for CUPED on it. Parity with numpy in
/// `tests/parity/experiments.json`.
pub fn pairs(units: &[Part]) -> Result<Option<Pairs>> {
    let sums = arm(units)?;
    let Some(ratio) = sums.rate() else { return Ok(None) };
    let total: f64 = units.iter().map(|unit| unit.denominator).sum();
    let mean = total / units.len().max(1) as f64;
    let mut pairs = Pairs::default();
    for unit in units {
        let moved = (unit.numerator - ratio * unit.denominator) / mean;
        pairs.add(ratio + moved, unit.covariate)?;
    }
    Ok(Some(pairs))
}

fn not_negative(denominator: f64) -> Result<()> {
    finite::all_finite("denominator", &[denominator])?;
    if denominator >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(format!("the denominator of a unit is {denominator}"))
        .hint("Count in the denominator only what is 0 or more, such as orders or visits."))
}
