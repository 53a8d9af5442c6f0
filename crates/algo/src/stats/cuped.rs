//! CUPED: lift with less noise, by what was known of each unit before the experiment.
//!
//! A unit that bought much before buys much after, treated or not. What the covariate explains is taken out of the
//! outcome; since it was fixed before the split, the difference of the arms stays what it was.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::lift::{Arm, Lift, lift};
use super::{Interval, finite, sequence};

/// Running sums of one arm with a covariate; mergeable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pairs {
    units: u64,
    outcome: f64,
    covariate: f64,
    square_outcome: f64,
    square_covariate: f64,
    product: f64,
}

impl Pairs {
    /// Adds one unit: its outcome, and its covariate from before the experiment.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a number is not finite.
    pub fn add(&mut self, outcome: f64, covariate: f64) -> Result<()> {
        finite::all_finite("outcome and covariate", &[outcome, covariate])?;
        self.units += 1;
        let count = self.units as f64;
        let (from_outcome, from_covariate) = (outcome - self.outcome, covariate - self.covariate);
        self.outcome += from_outcome / count;
        self.covariate += from_covariate / count;
        self.square_outcome += from_outcome * (outcome - self.outcome);
        self.square_covariate += from_covariate * (covariate - self.covariate);
        self.product += from_outcome * (covariate - self.covariate);
        Ok(())
    }

    /// Adds the units of another arm, as if they had been added one by one.
    pub fn merge(&mut self, other: &Self) {
        if other.units == 0 {
            return;
        }
        let (a, b) = (self.units as f64, other.units as f64);
        let weight = a * b / (a + b);
        let (outcome, covariate) = (other.outcome - self.outcome, other.covariate - self.covariate);
        self.units += other.units;
        self.outcome += outcome * b / (a + b);
        self.covariate += covariate * b / (a + b);
        self.square_outcome += other.square_outcome + outcome * outcome * weight;
        self.square_covariate += other.square_covariate + covariate * covariate * weight;
        self.product += other.product + outcome * covariate * weight;
    }

    /// How many units were added.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The arm without what a slope of `slope` around `centre` explains.
    fn adjusted(&self, slope: f64, centre: f64) -> Result<Arm> {
        let squares = self.square_outcome - 2.0 * slope * self.product
            + slope * slope * self.square_covariate;
        let freedom = self.units.saturating_sub(1).max(1) as f64;
        let mean = self.outcome - slope * (self.covariate - centre);
        Arm::from_moments(self.units, mean, (squares.max(0.0) / freedom).sqrt())
    }
}

/// A lift with the covariate taken out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adjusted {
    /// The lift; its rates are those of units with an average covariate.
    pub lift: Lift,
    /// How much of the outcome goes with one unit of the covariate.
    pub slope: f64,
    /// The share of the outcome's variance that the covariate took away, in both arms together.
    pub variance_saved: f64,
}

/// Compares two arms after taking the covariate out of both with one common slope.
///
/// A covariate that does not vary explains nothing: the lift is then the plain one.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if `confidence` is not inside (0, 1) or sums overflow.
/// # Cost
/// O(1) from the sums.
/// # Source
/// Deng, Xu, Kohavi & Walker 2013; parity with statsmodels on adjusted outcomes in `tests/parity/experiments.json`.
pub fn adjusted(treatment: &Pairs, holdout: &Pairs, confidence: f64) -> Result<Adjusted> {
    let (arms, slope, variance_saved) = without_covariate(treatment, holdout)?;
    Ok(Adjusted { lift: lift(&arms.0, &arms.1, confidence)?, slope, variance_saved })
}

/// The interval of the same difference that stays valid however often one looks, and the share of variance saved.
///
/// `None` while an arm has fewer than two units.
///
/// # Errors
/// As [`adjusted`]; also if an option is out of range.
/// # Cost
/// O(1) from the sums.
/// # Source
/// [`sequence::difference`] of the adjusted arms; the slope is estimated, as in Lin 2013, which asymptotically costs
/// nothing.
pub fn always_valid(
    treatment: &Pairs,
    holdout: &Pairs,
    options: &sequence::Options,
) -> Result<Option<(Interval, f64)>> {
    let (arms, _, variance_saved) = without_covariate(treatment, holdout)?;
    let interval = sequence::difference(&arms.0, &arms.1, options)?;
    Ok(interval.map(|interval| (interval, variance_saved)))
}

/// Both arms without what one common slope explains, that slope, and the share of variance it took away.
fn without_covariate(treatment: &Pairs, holdout: &Pairs) -> Result<((Arm, Arm), f64, f64)> {
    let product = treatment.product + holdout.product;
    let square = treatment.square_covariate + holdout.square_covariate;
    let outcome = treatment.square_outcome + holdout.square_outcome;
    let slope = if square > 0.0 { product / square } else { 0.0 };
    let units = (treatment.units + holdout.units).max(1) as f64;
    let centre = (treatment.covariate * treatment.units as f64
        + holdout.covariate * holdout.units as f64)
        / units;
    if !(slope.is_finite() && centre.is_finite()) {
        return Err(Error::invalid("outcomes and covariates are too large to be multiplied")
            .hint("Express both in a larger unit."));
    }
    let arms = (treatment.adjusted(slope, centre)?, holdout.adjusted(slope, centre)?);
    let variance_saved =
        if outcome > 0.0 && square > 0.0 { product * product / (square * outcome) } else { 0.0 };
    Ok((arms, slope, variance_saved))
}
