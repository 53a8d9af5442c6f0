//! From observations with gaps to the regular, finite series that every forecaster takes.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::finite;

/// What a missing period means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gap {
    /// It is a mistake: refuse it and name the period.
    #[default]
    Refuse,
    /// Nothing happened: 0 (sales of an item that was on offer).
    Zero,
    /// It was not measured: the straight line between its neighbours.
    Interpolate,
}

/// Fills gaps as told; leading and trailing gaps take the nearest value when interpolated.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming the first gap if gaps are refused, the first value
/// that is not finite, or a series that has nothing but gaps.
pub fn regular(values: &[Option<f64>], gap: Gap) -> Result<Vec<f64>> {
    for (position, value) in values.iter().enumerate() {
        match value {
            Some(value) if !value.is_finite() => {
                return Err(finite::not_finite("series value", position, *value));
            }
            None if gap == Gap::Refuse => {
                return Err(Error::invalid(format!("the series has a gap at position {position}"))
                    .hint("Set gap to zero or interpolate, whichever is true of the data."));
            }
            _ => {}
        }
    }
    if gap == Gap::Interpolate {
        return interpolate(values);
    }
    Ok(values.iter().map(|value| value.unwrap_or(0.0)).collect())
}

fn interpolate(values: &[Option<f64>]) -> Result<Vec<f64>> {
    let known: Vec<(usize, f64)> =
        values.iter().enumerate().filter_map(|(at, value)| Some((at, (*value)?))).collect();
    let (Some(&first), Some(&last)) = (known.first(), known.last()) else {
        return Err(Error::invalid(format!("the series has {} gaps and no value", values.len()))
            .hint("Check the filter of its query."));
    };
    let mut filled = vec![first.1; values.len()];
    for pair in known.windows(2) {
        let ((from, a), (to, b)) = (pair[0], pair[1]);
        for (at, value) in filled.iter_mut().enumerate().take(to).skip(from) {
            *value = a + (b - a) * (at - from) as f64 / (to - from) as f64;
        }
    }
    filled.iter_mut().skip(last.0).for_each(|value| *value = last.1);
    Ok(filled)
}
