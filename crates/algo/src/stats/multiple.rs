//! Many comparisons at once: of twenty that find nothing, one "finds" something at 5 %.
//!
//! Both functions give adjusted p-values in the order of the input: compare each with the error you accept.

use flywheel_base::{Error, Result};

use super::finite;

/// Bounds the probability of *any* false finding (Holm).
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming the first p-value outside of 0 to 1.
/// # Source
/// Holm 1979; equals statsmodels' `multipletests(method="holm")` in `tests/parity/experiments.json`.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>> {
    let order = ordered(p_values)?;
    let mut made = vec![1.0; p_values.len()];
    let mut least: f64 = 0.0;
    for (rank, at) in order.iter().enumerate() {
        let left = (p_values.len() - rank) as f64;
        least = least.max((left * p_values[*at]).min(1.0));
        made[*at] = least;
    }
    Ok(made)
}

/// Bounds the *share* of false findings among all findings (Benjamini and Hochberg).
///
/// # Errors
/// As [`holm`].
/// # Source
/// Benjamini & Hochberg 1995; equals statsmodels' `multipletests(method="fdr_bh")`.
pub fn benjamini_hochberg(p_values: &[f64]) -> Result<Vec<f64>> {
    let order = ordered(p_values)?;
    let mut made = vec![1.0; p_values.len()];
    let mut most: f64 = 1.0;
    for (rank, at) in order.iter().enumerate().rev() {
        most = most.min(p_values.len() as f64 / (rank + 1) as f64 * p_values[*at]);
        made[*at] = most;
    }
    Ok(made)
}

/// The places of the p-values from the smallest on, equal ones in their order.
fn ordered(p_values: &[f64]) -> Result<Vec<usize>> {
    finite::all_finite("p-value", p_values)?;
    if let Some(position) = p_values.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(Error::invalid(format!(
            "a p-value is {} at position {position}",
            p_values[position]
        ))
        .hint("A p-value lies from 0 to 1."));
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    Ok(order)
}
