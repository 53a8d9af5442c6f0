//! Sample ratio mismatch: did the split deliver the shares that were asked for?

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::finite;
use super::special::gamma_pq;

/// A p-value below this says that the assignment is broken, whatever the outcome looks like.
pub const ALARM_BELOW: f64 = 0.001;

/// The outcome of a mismatch check.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mismatch {
    /// Pearson's chi-square statistic.
    pub statistic: f64,
    /// Degrees of freedom: arms with a positive share, less one.
    pub freedom: usize,
    /// The probability of a split at least as uneven if the assignment works.
    pub p_value: f64,
    /// Whether `p_value` is below [`ALARM_BELOW`]; then no lift of this experiment may be believed.
    pub alarm: bool,
}

/// Compares how many units each arm got with the `shares` that were asked for (they need not sum to 1).
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the lengths differ, fewer than two shares are positive,
/// a share is negative or not finite, a unit sits in an arm of share 0, or no unit was assigned.
/// # Source
/// Pearson's chi-square test; parity with `scipy.stats.chisquare` to 1e-10. Threshold of Fabijan
/// et al. 2019.
pub fn mismatch(units: &[u64], shares: &[f64]) -> Result<Mismatch> {
    finite::all_finite("share", shares)?;
    if units.len() != shares.len() {
        return Err(Error::invalid(format!(
            "{} arms have units and {} have shares",
            units.len(),
            shares.len()
        ))
        .hint("Give one share for each arm."));
    }
    let positive = shares.iter().filter(|share| **share > 0.0).count();
    if positive < 2 || shares.iter().any(|share| *share < 0.0) {
        return Err(Error::invalid("shares name fewer than two arms of positive share")
            .hint("Give at least two shares above 0 and none below."));
    }
    let total: u64 = units.iter().sum();
    if total == 0 {
        return Err(Error::invalid("no unit is assigned yet").hint("Wait for the first unit."));
    }
    let share_sum: f64 = shares.iter().sum();
    let mut statistic = 0.0;
    for (arm, (&count, &share)) in units.iter().zip(shares).enumerate() {
        if share == 0.0 {
            if count > 0 {
                return Err(Error::invalid(format!("arm {arm} has share 0 and {count} units"))
                    .hint("Leave out units that were assigned before the shares changed."));
            }
            continue;
        }
        let expected = total as f64 * share / share_sum;
        statistic += (count as f64 - expected).powi(2) / expected;
    }
    let freedom = positive - 1;
    let (_, p_value) = gamma_pq(freedom as f64 / 2.0, statistic / 2.0);
    Ok(Mismatch { statistic, freedom, p_value, alarm: p_value < ALARM_BELOW })
}
