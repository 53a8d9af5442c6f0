//! Lift: what a policy changed, measured against units that were left alone.
//!
//! A unit (customer, store) is the cluster: it may have many orders or sessions, which are not
//! independent, so variance is taken over units and never over rows.

use serde::{Deserialize, Serialize};

use flywheel_base::{Error, Result};

use super::{Interval, finite, student};

/// Units an arm needs before a spread can be estimated.
const UNITS_MIN: u64 = 2;

/// The spread of units as a share of their rate below which it is what rounding leaves of none.
const SPREAD_MIN: f64 = 1e-6;

/// Running sums of one arm; mergeable, so that partitions and days can be added up.
///
/// # Shape
/// One `(outcome, size)` pair a unit: outcome is the unit's total (revenue, conversions), size what
/// it is divided by (1 for "per unit", sessions for "per session").
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    units: u64,
    mean_outcome: f64,
    mean_size: f64,
    square_outcome: f64,
    square_size: f64,
    product: f64,
}

impl Arm {
    /// Sums up an arm from one outcome a unit.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the first outcome that is not finite.
    pub fn per_unit(outcomes: &[f64]) -> Result<Self> {
        finite::all_finite("outcome", outcomes)?;
        let mut arm = Self::default();
        outcomes.iter().for_each(|outcome| arm.push(*outcome, 1.0));
        Ok(arm)
    }

    /// Sums up an arm from `(outcome, size)` pairs, one a unit.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the first pair that is not finite or whose size is negative.
    pub fn per_size(units: &[(f64, f64)]) -> Result<Self> {
        let mut arm = Self::default();
        for (position, &(outcome, size)) in units.iter().enumerate() {
            arm.add(outcome, size).map_err(|error| error.context(format!("unit {position}")))?;
        }
        Ok(arm)
    }

    /// Takes an arm's published moments: `units` outcomes of this mean and sample standard deviation.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a moment is not finite or the deviation is negative.
    pub fn from_moments(units: u64, mean: f64, deviation: f64) -> Result<Self> {
        finite::all_finite("moment", &[mean, deviation])?;
        if deviation < 0.0 {
            return Err(Error::invalid(format!("standard deviation is {deviation}"))
                .hint("Give the sample standard deviation, which is 0 or more."));
        }
        let square_outcome = deviation * deviation * units.saturating_sub(1) as f64;
        Ok(Self {
            units,
            mean_outcome: mean,
            mean_size: 1.0,
            square_outcome,
            square_size: 0.0,
            product: 0.0,
        })
    }

    /// Adds one unit.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a number is not finite or `size` is negative.
    pub fn add(&mut self, outcome: f64, size: f64) -> Result<()> {
        finite::all_finite("outcome and size", &[outcome, size])?;
        if size < 0.0 {
            return Err(Error::invalid(format!("size is {size}"))
                .hint("A unit's size (sessions, orders, 1) is 0 or more."));
        }
        self.push(outcome, size);
        Ok(())
    }

    fn push(&mut self, outcome: f64, size: f64) {
        self.units += 1;
        let n = self.units as f64;
        let (from_outcome, from_size) = (outcome - self.mean_outcome, size - self.mean_size);
        self.mean_outcome += from_outcome / n;
        self.mean_size += from_size / n;
        self.square_outcome += from_outcome * (outcome - self.mean_outcome);
        self.square_size += from_size * (size - self.mean_size);
        self.product += from_outcome * (size - self.mean_size);
    }

    /// Adds the units of another arm, as if they had been added one by one.
    pub fn merge(&mut self, other: &Self) {
        if other.units == 0 {
            return;
        }
        let (a, b) = (self.units as f64, other.units as f64);
        let weight = a * b / (a + b);
        let outcome = other.mean_outcome - self.mean_outcome;
        let size = other.mean_size - self.mean_size;
        self.units += other.units;
        self.mean_outcome += outcome * b / (a + b);
        self.mean_size += size * b / (a + b);
        self.square_outcome += other.square_outcome + outcome * outcome * weight;
        self.square_size += other.square_size + size * size * weight;
        self.product += other.product + outcome * size * weight;
    }

    /// How many units were added.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Outcome per size; `None` without units or if all sizes are 0.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        (self.units > 0 && self.mean_size > 0.0).then(|| self.mean_outcome / self.mean_size)
    }

    /// The variance of [`Self::rate`] by the delta method; `None` below two units.
    #[must_use]
    pub fn rate_variance(&self) -> Option<f64> {
        let rate = self.rate()?;
        if self.units < UNITS_MIN {
            return None;
        }
        let n = self.units as f64;
        let squares =
            self.square_outcome - 2.0 * rate * self.product + rate * rate * self.square_size;
        Some(squares.max(0.0) / (n - 1.0) / n / (self.mean_size * self.mean_size))
    }

    /// Whether its units differ. Few units without an event do not, and taking that for no spread would be wrong.
    #[must_use]
    pub fn shows_spread(&self) -> bool {
        let rate = self.rate().unwrap_or_default();
        let least = (SPREAD_MIN * rate).powi(2);
        self.rate_variance().is_some_and(|variance| variance * self.units as f64 > least)
    }

    /// The arm with two units more of the mean size, one of which has success each time and one never: how an arm of
    /// shares is judged while its units are all alike.
    ///
    /// # Source
    /// Agresti and Caffo 2000, who add one success and one failure to each sample.
    #[must_use]
    pub fn with_two_more(&self) -> Self {
        let mut more = *self;
        if self.units > 0 {
            more.push(self.mean_size, self.mean_size);
            more.push(0.0, self.mean_size);
        }
        more
    }
}

/// The rate of one arm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// How many units the arm has.
    pub units: u64,
    /// Outcome per size, with its interval if there are at least two units.
    pub rate: Option<f64>,
    /// The interval of the rate.
    pub interval: Option<Interval>,
}

/// What a treatment changed against its holdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lift {
    /// The treated units.
    pub treatment: Rate,
    /// The units left alone.
    pub holdout: Rate,
    /// Treatment rate less holdout rate; `None` if an arm has fewer than two units.
    pub absolute: Option<Interval>,
    /// Treatment rate over holdout rate, less 1; `None` also if the holdout rate is 0 or negative.
    pub relative: Option<Interval>,
    /// The probability of a difference at least this large if there is none.
    pub p_value: Option<f64>,
    /// The confidence of every interval here.
    pub confidence: f64,
    /// Why something is `None`, or why the relative interval deserves caution.
    pub notes: Vec<String>,
}

/// Compares two arms.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if `confidence` is not inside (0, 1). An arm that is too
/// small is no error: the fields are `None` and a note says why.
/// # Cost
/// O(1) from the sums.
/// # Source
/// Delta method over units (Deng et al. 2018) with Welch's degrees of freedom; parity with
/// statsmodels `CompareMeans(usevar="unequal")` in `tests/parity/stats.json` to 1e-9.
pub fn lift(treatment: &Arm, holdout: &Arm, confidence: f64) -> Result<Lift> {
    finite::open_unit("confidence", confidence)?;
    let mut made = Lift {
        treatment: summary(treatment, confidence),
        holdout: summary(holdout, confidence),
        absolute: None,
        relative: None,
        p_value: None,
        confidence,
        notes: Vec::new(),
    };
    for (name, arm) in [("treatment", treatment), ("holdout", holdout)] {
        if arm.rate_variance().is_none() {
            let units = arm.units();
            made.notes.push(format!(
                "{name} has {units} units with a size; {UNITS_MIN} are needed for an interval"
            ));
        }
    }
    let (Some(a), Some(b)) = (measured(treatment), measured(holdout)) else {
        return Ok(made);
    };
    let variance = a.variance + b.variance;
    let t = student::quantile(f64::midpoint(1.0, confidence), welch(&a, &b));
    made.absolute = Some(Interval::around(a.rate - b.rate, t * variance.sqrt()));
    made.p_value = p_value(&a, &b);
    if variance == 0.0 {
        made.notes.push("no unit differs from another, so the interval has no width".to_owned());
    }
    relative(&a, &b, t, &mut made);
    Ok(made)
}

struct Measured {
    units: f64,
    rate: f64,
    variance: f64,
}

fn measured(arm: &Arm) -> Option<Measured> {
    Some(Measured { units: arm.units as f64, rate: arm.rate()?, variance: arm.rate_variance()? })
}

fn summary(arm: &Arm, confidence: f64) -> Rate {
    let interval = measured(arm).map(|arm| {
        let t = student::quantile(f64::midpoint(1.0, confidence), arm.units - 1.0);
        Interval::around(arm.rate, t * arm.variance.sqrt())
    });
    Rate { units: arm.units, rate: arm.rate(), interval }
}

fn relative(a: &Measured, b: &Measured, t: f64, made: &mut Lift) {
    if b.rate <= 0.0 {
        made.notes.push("the holdout rate is not above 0, so there is no relative lift".to_owned());
        return;
    }
    let ratio = a.rate / b.rate;
    let variance = (a.variance + ratio * ratio * b.variance) / (b.rate * b.rate);
    made.relative = Some(Interval::around(ratio - 1.0, t * variance.sqrt()));
    if b.rate <= t * b.variance.sqrt() {
        made.notes.push(
            "the holdout rate is not clearly above 0, so read the absolute lift, not the relative"
                .to_owned(),
        );
    }
}

fn p_value(a: &Measured, b: &Measured) -> Option<f64> {
    let variance = a.variance + b.variance;
    if variance == 0.0 {
        return None;
    }
    let t = (a.rate - b.rate) / variance.sqrt();
    Some(2.0 * student::cdf(-t.abs(), welch(a, b)))
}

/// Welch–Satterthwaite degrees of freedom.
fn welch(a: &Measured, b: &Measured) -> f64 {
    let spread = a.variance.powi(2) / (a.units - 1.0) + b.variance.powi(2) / (b.units - 1.0);
    if spread == 0.0 {
        return a.units + b.units - 2.0;
    }
    (a.variance + b.variance).powi(2) / spread
}
