//! Power: how many units an experiment needs, and what it can find with those it has.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{finite, normal};

/// The most units that are proposed; beyond it an experiment is hopeless.
const UNITS_MAX: f64 = 1e15;

/// Steps of the bisections.
const STEPS_MAX: usize = 200;

/// An experiment that compares the means of two arms, two-sided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// The standard deviation of a treated unit's outcome.
    pub deviation_treatment: f64,
    /// The standard deviation of another unit's outcome.
    pub deviation_holdout: f64,
    /// Units left alone for each treated one.
    #[serde(default = "one")]
    pub ratio: f64,
    /// The probability to find a difference where there is none.
    #[serde(default = "twentieth")]
    pub error: f64,
}

fn one() -> f64 {
    1.0
}

fn twentieth() -> f64 {
    0.05
}

impl Design {
    /// Two arms of equal size whose outcomes have this deviation, at an error of 5 %.
    #[must_use]
    pub fn of_means(deviation: f64) -> Self {
        Self {
            deviation_treatment: deviation,
            deviation_holdout: deviation,
            ratio: one(),
            error: twentieth(),
        }
    }

    /// Two arms of equal size in which something happens to these shares of the units, at an error of 5 %.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a share is not inside (0, 1).
    pub fn of_shares(treatment: f64, holdout: f64) -> Result<Self> {
        finite::open_unit("share of the treatment", treatment)?;
        finite::open_unit("share of the holdout", holdout)?;
        let deviation = |share: f64| (share * (1.0 - share)).sqrt();
        Ok(Self {
            deviation_treatment: deviation(treatment),
            deviation_holdout: deviation(holdout),
            ratio: one(),
            error: twentieth(),
        })
    }

    /// The probability to find a difference of `effect` with so many treated units.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a number is out of range.
    /// # Source
    /// Both tails of the z-test; equals statsmodels' `NormalIndPower` in `tests/parity/experiments.json`.
    pub fn power(&self, effect: f64, treated: f64) -> Result<f64> {
        self.check()?;
        finite::all_finite("effect and units", &[effect, treated])?;
        if treated <= 0.0 {
            return Err(Error::invalid(format!("the power of {treated} units is asked for"))
                .hint("Give a number of treated units above 0."));
        }
        Ok(self.power_at(effect, treated))
    }

    fn power_at(&self, effect: f64, treated: f64) -> f64 {
        let z = normal::quantile(1.0 - self.error / 2.0);
        let away = effect.abs() / (self.variance() / treated).sqrt();
        normal::cdf(away - z) + normal::cdf(-away - z)
    }

    /// The variance of the difference, times the treated units.
    fn variance(&self) -> f64 {
        self.deviation_treatment.powi(2) + self.deviation_holdout.powi(2) / self.ratio
    }

    /// How many treated units find a difference of `effect` with this probability; rounded up.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a number is out of range, or if no sensible number of units suffices.
    pub fn treated_units(&self, effect: f64, power: f64) -> Result<u64> {
        self.check_wish(power)?;
        finite::all_finite("effect", &[effect])?;
        let found = |treated: f64| self.power_at(effect, treated) >= power;
        if effect == 0.0 || !found(UNITS_MAX) {
            return Err(Error::invalid(format!("no number of units finds an effect of {effect}"))
                .hint("Give the smallest effect that would matter; it is not 0."));
        }
        Ok(bisect(0.0, UNITS_MAX, found).ceil() as u64)
    }

    /// The smallest difference that so many treated units find with this probability.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a number is out of range.
    pub fn smallest_effect(&self, treated: f64, power: f64) -> Result<f64> {
        self.check_wish(power)?;
        self.power(0.0, treated)?;
        // A normal tail is negligible forty deviations out.
        let most = 40.0 * (self.variance() / treated).sqrt();
        Ok(bisect(0.0, most, |effect| self.power_at(effect, treated) >= power))
    }

    fn check_wish(&self, power: f64) -> Result<()> {
        self.check()?;
        if power > self.error && power < 1.0 {
            return Ok(());
        }
        Err(Error::invalid(format!("a power of {power} is asked for"))
            .hint(format!("Give a number between the error, {}, and 1; 0.8 is usual.", self.error)))
    }

    fn check(&self) -> Result<()> {
        finite::open_unit("error", self.error)?;
        let numbers = [self.deviation_treatment, self.deviation_holdout, self.ratio];
        finite::all_finite("deviation and ratio", &numbers)?;
        if numbers.iter().all(|number| *number > 0.0) {
            return Ok(());
        }
        Err(Error::invalid("a deviation or the ratio of an experiment is not above 0").hint(
            "Take the deviation from past outcomes; outcomes that never vary need no experiment.",
        ))
    }
}

/// The least number between the ends from which on `found` holds.
fn bisect(mut low: f64, mut high: f64, found: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..STEPS_MAX {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if found(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}
