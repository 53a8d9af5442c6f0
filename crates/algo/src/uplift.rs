//! Uplift: for whom a treatment changes the outcome, learnt from a randomised experiment.
//!
//! Who buys anyway needs no letter. The learners here foretell the *difference* a treatment makes to each unit, and
//! [`qini`] says on rows they have not seen whether treating the best-ranked first beats treating at random.

pub mod assignment;
mod learner;
pub mod qini;

pub use self::learner::{Kind, Uplift};

use flywheel_base::{Error, Result};

use crate::stats::finite;

/// The most features; the models take the square of their number.
pub const FEATURES_MAX: usize = 512;

/// An experiment: one row a unit.
///
/// # Shape
/// `features` holds the rows one after the other, each as wide as there are values for one unit.
#[derive(Clone, Copy, Debug)]
pub struct Experiment<'a> {
    /// What was known of each unit before the treatment.
    pub features: &'a [f64],
    /// Whether each unit was treated.
    pub treated: &'a [bool],
    /// Whether it happened.
    pub happened: &'a [bool],
}

impl Experiment<'_> {
    /// The numbers of one unit, after checking all of them.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the lengths do not fit, a number is not finite, or an arm is empty.
    fn width(&self) -> Result<usize> {
        let units = self.treated.len();
        let ragged = units == 0 || !self.features.len().is_multiple_of(units);
        if ragged || self.happened.len() != units {
            return Err(Error::invalid(format!(
                "an experiment of {units} units has {} outcomes and {} numbers",
                self.happened.len(),
                self.features.len()
            ))
            .hint(
                "Give one treatment and one outcome a unit, and equally many numbers for each.",
            ));
        }
        let width = self.features.len() / units;
        if !(1..=FEATURES_MAX).contains(&width) {
            return Err(Error::invalid(format!("an experiment has {width} features"))
                .hint(format!("Give 1 to {FEATURES_MAX} features.")));
        }
        finite::all_finite("feature", self.features)?;
        arms(self.treated)?;
        Ok(width)
    }
}

/// How many units are treated and how many are not; neither may be none.
fn arms(treated: &[bool]) -> Result<(usize, usize)> {
    let with = treated.iter().filter(|treated| **treated).count();
    let without = treated.len() - with;
    if with == 0 || without == 0 {
        return Err(Error::invalid(format!(
            "an experiment has {with} treated units and {without} others"
        ))
        .hint("Uplift needs both; take an experiment in which some units were left alone."));
    }
    Ok((with, without))
}

#[cfg(test)]
mod tests;
