//! Quantiles: the waiting time that one in twenty exceeds, with an interval, and how it differs between two arms.
//!
//! Intervals come from order statistics, so nothing is assumed of the distribution. One value a unit: values of
//! one unit are not independent.

use flywheel_base::{Error, Result};

use super::special::beta_regularised;
use super::{Interval, finite, normal};

/// Steps of the search for a rank.
const STEPS_MAX: usize = 128;

/// Values in order, ready to be asked for quantiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Sorted {
    values: Vec<f64>,
}

impl Sorted {
    /// Sorts the values.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] without values or naming the first one that is not finite.
    pub fn new(mut values: Vec<f64>) -> Result<Self> {
        finite::all_finite("value", &values)?;
        if values.is_empty() {
            return Err(Error::invalid("a quantile of no value is asked for")
                .hint("Wait for the first value, or show \"no data yet\"."));
        }
        values.sort_by(f64::total_cmp);
        Ok(Self { values })
    }

    /// The value below which a share `share` lies, between neighbours by straight line.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if `share` is not inside (0, 1).
    /// # Source
    /// Hyndman & Fan 1996, type 7; equals numpy's `quantile`.
    pub fn quantile(&self, share: f64) -> Result<f64> {
        finite::open_unit("share", share)?;
        let place = share * (self.values.len() - 1) as f64;
        let (low, part) = (place.floor(), place.fract());
        let at = |place: f64| self.rank(place as usize + 1).unwrap_or(f64::NAN);
        if part == 0.0 {
            return Ok(at(low));
        }
        Ok(at(low) + part * (at(low + 1.0) - at(low)))
    }

    /// The quantile with its interval; `None` if there are too few values for one of this confidence.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if `share` or `confidence` is not inside (0, 1).
    /// # Source
    /// Ranks from the binomial distribution (Hahn & Meeker 1991, §5.2); ranks equal scipy's in
    /// `tests/parity/experiments.json`.
    pub fn interval(&self, share: f64, confidence: f64) -> Result<Option<Interval>> {
        let estimate = self.quantile(share)?;
        finite::open_unit("confidence", confidence)?;
        let tail = (1.0 - confidence) / 2.0;
        let low = binomial_quantile(tail, self.values.len(), share);
        let high = binomial_quantile(1.0 - tail, self.values.len(), share) + 1;
        let ends = self.rank(low).zip(self.rank(high));
        Ok(ends.map(|(low, high)| Interval { estimate, low, high }))
    }

    /// The standard error that the interval's width stands for.
    fn error(&self, share: f64, confidence: f64) -> Result<Option<f64>> {
        let z = normal::quantile(f64::midpoint(1.0, confidence));
        Ok(self.interval(share, confidence)?.map(|found| (found.high - found.low) / (2.0 * z)))
    }

    /// The value of a rank, counted from 1.
    fn rank(&self, rank: usize) -> Option<f64> {
        rank.checked_sub(1).and_then(|at| self.values.get(at)).copied()
    }
}

/// The quantile of `treatment` less that of `holdout`; `None` if either has too few values.
///
/// # Errors
/// As [`Sorted::interval`].
/// # Source
/// Standard errors from order statistics (Deng, Knoblich & Lu 2018, §4.2), normal interval of the difference.
pub fn difference(
    treatment: &Sorted,
    holdout: &Sorted,
    share: f64,
    confidence: f64,
) -> Result<Option<Interval>> {
    let errors = treatment.error(share, confidence)?.zip(holdout.error(share, confidence)?);
    let estimate = treatment.quantile(share)? - holdout.quantile(share)?;
    let z = normal::quantile(f64::midpoint(1.0, confidence));
    Ok(errors.map(|(a, b)| Interval::around(estimate, z * a.hypot(b))))
}

/// The smallest number of successes up to which the distribution reaches `p`.
fn binomial_quantile(p: f64, trials: usize, share: f64) -> usize {
    let reaches = |successes: usize| {
        successes >= trials
            || 1.0 - beta_regularised(successes as f64 + 1.0, (trials - successes) as f64, share)
                >= p
    };
    let (mut low, mut high) = (0, trials);
    for _ in 0..STEPS_MAX {
        if low >= high {
            break;
        }
        let middle = usize::midpoint(low, high);
        if reaches(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    high
}
