//! Quantiles of values that belong to units: the waiting time that one order in ten exceeds, where a unit has many orders.
//!
//! Values of one unit are not independent, so the share of values below the quantile varies with units. From that share's
//! standard error follow the ranks between which the quantile lies, and from the values of these ranks its standard error
//! (the outer interval of Deng, Knoblich & Lu). Nothing is assumed of the distribution, and nothing is drawn.

use flywheel_base::{Error, Result};

use super::lift::Arm;
use super::{Interval, finite, normal, sequence};

/// The confidence of the outer interval from which a standard error is taken.
const OUTER: f64 = 0.95;

/// The values of one arm in order, with the number of the unit of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clustered {
    values: Vec<(f64, usize)>,
    /// How many values each unit has.
    counts: Vec<usize>,
}

impl Clustered {
    /// Takes the values of each unit; units without any do not count.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the first value that is not finite.
    pub fn new<'v>(units: impl IntoIterator<Item = &'v [f64]>) -> Result<Self> {
        let mut made = Self::default();
        for values in units.into_iter().filter(|values| !values.is_empty()) {
            finite::all_finite("value", values)?;
            let unit = made.counts.len();
            made.counts.push(values.len());
            made.values.extend(values.iter().map(|value| (*value, unit)));
        }
        made.values.sort_by(|(a, one), (b, other)| a.total_cmp(b).then(one.cmp(other)));
        Ok(made)
    }

    /// How many units have values.
    #[must_use]
    pub fn units(&self) -> usize {
        self.counts.len()
    }

    /// The value below which a share `share` of all values lies, between neighbours by straight line; `None` without values.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if `share` is not inside (0, 1).
    /// # Source
    /// Hyndman & Fan 1996, type 7; equals numpy's `quantile`.
    pub fn quantile(&self, share: f64) -> Result<Option<f64>> {
        finite::open_unit("share", share)?;
        if self.values.is_empty() {
            return Ok(None);
        }
        let place = share * (self.values.len() - 1) as f64;
        let (low, part) = (place.floor(), place.fract());
        let Some(at) = self.rank(low + 1.0) else {
            return Err(Error::internal("a quantile without a value"));
        };
        let next = self.rank(low + 2.0).unwrap_or(at);
        Ok(Some(if part == 0.0 { at } else { at + part * (next - at) }))
    }

    /// The standard error of the quantile; `None` if there are too few values for the ranks that it takes, fewer than two
    /// units, or if the values around the quantile are all alike, which says nothing of how far it may be off.
    ///
    /// # Errors
    /// As [`Clustered::quantile`].
    /// # Cost
    /// One pass over the values.
    /// # Source
    /// Deng, Knoblich & Lu 2018, §4.2; parity with numpy in `tests/parity/experiments.json`, where the bootstrap over
    /// units agrees, too.
    pub fn error(&self, share: f64) -> Result<Option<f64>> {
        let Some(quantile) = self.quantile(share)? else { return Ok(None) };
        let mut below = vec![0_usize; self.counts.len()];
        let under = self.values.iter().take_while(|(value, _)| *value <= quantile);
        for (_, unit) in under {
            if let Some(count) = below.get_mut(*unit) {
                *count += 1;
            }
        }
        let mut arm = Arm::default();
        for (below, all) in below.iter().zip(&self.counts) {
            arm.add(*below as f64, *all as f64)?;
        }
        let Some(variance) = arm.rate_variance() else { return Ok(None) };
        let z = normal::quantile(f64::midpoint(1.0, OUTER));
        let reach = z * variance.sqrt();
        let count = self.values.len() as f64;
        let ends = self
            .rank((count * (share - reach)).floor())
            .zip(self.rank((count * (share + reach)).floor() + 1.0));
        Ok(ends.map(|(low, high)| (high - low) / (2.0 * z)).filter(|error| *error > 0.0))
    }

    /// The value of a rank, counted from 1.
    fn rank(&self, rank: f64) -> Option<f64> {
        if rank < 1.0 || rank > self.values.len() as f64 {
            return None;
        }
        self.values.get(rank as usize - 1).map(|(value, _)| *value)
    }
}

/// The quantile of `treatment` less that of `holdout`, with an interval that stays valid however often one looks; `None`
/// while an arm says nothing of its error.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if `share` is not inside (0, 1) or an option is out of range.
/// # Source
/// Standard errors of [`Clustered::error`] in the confidence sequence of [`sequence::margin`]: a sample quantile is a mean
/// but for a remainder that vanishes (Bahadur 1966), which is what that sequence asks for.
pub fn difference(
    treatment: &Clustered,
    holdout: &Clustered,
    share: f64,
    options: &sequence::Options,
) -> Result<Option<Interval>> {
    let quantiles = treatment.quantile(share)?.zip(holdout.quantile(share)?);
    let errors = treatment.error(share)?.zip(holdout.error(share)?);
    let (Some((a, b)), Some((from_a, from_b))) = (quantiles, errors) else { return Ok(None) };
    let units = (treatment.units() + holdout.units()) as f64;
    Ok(Some(Interval::around(a - b, sequence::margin(from_a.hypot(from_b), units, options)?)))
}
