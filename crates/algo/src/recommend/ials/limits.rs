//! Which options and which data iALS refuses.

use flywheel_base::{Error, Result};

use super::super::interactions::Interactions;
use super::{FACTORS_MAX, Options};

/// The most numbers of a side (1.6 GB).
const NUMBERS_MAX: usize = 400_000_000;
/// The most sweeps, and the most steps of one.
const ROUNDS_MAX: usize = 1000;

/// Refuses options that make no model.
pub(super) fn check(options: &Options) -> Result<()> {
    if !(1..=FACTORS_MAX).contains(&options.factors) {
        return Err(Error::invalid(format!("factors is {}", options.factors))
            .hint(format!("Choose 1 to {FACTORS_MAX} factors; 64 to 256 is usual.")));
    }
    for (name, rounds) in [("sweeps", options.sweeps), ("steps", options.steps)] {
        if !(1..=ROUNDS_MAX).contains(&rounds) {
            return Err(Error::invalid(format!("{name} is {rounds}"))
                .hint(format!("Choose 1 to {ROUNDS_MAX}; 15 sweeps of 3 steps are usual.")));
        }
    }
    for (name, value) in [("confidence", options.confidence), ("penalty", options.penalty)] {
        if !value.is_finite() || value <= 0.0 {
            return Err(Error::invalid(format!("{name} is {value}"))
                .hint("Give a positive number; confidence 10 and penalty 1 are a good start."));
        }
    }
    if !(0.0..=2.0).contains(&options.penalty_exponent) {
        return Err(Error::invalid(format!("penalty_exponent is {}", options.penalty_exponent))
            .hint("Give 0 (the same penalty for all) to 2; 1 grows in proportion."));
    }
    Ok(())
}

/// Refuses data without a cell and factors that take too much memory.
pub(super) fn check_size(data: &Interactions, options: &Options) -> Result<()> {
    if data.cell_count() == 0 {
        return Err(Error::invalid("there is no interaction to learn from")
            .hint("Check the query of the learner: it gives no row with a weight above 0."));
    }
    let rows = data.user_count().max(data.item_count());
    if rows.saturating_mul(options.factors) > NUMBERS_MAX {
        return Err(Error::exhausted(format!(
            "{rows} rows with {} factors take too much memory for ials",
            options.factors
        ))
        .hint(format!("Choose at most {} factors.", (NUMBERS_MAX / rows).max(1))));
    }
    Ok(())
}
