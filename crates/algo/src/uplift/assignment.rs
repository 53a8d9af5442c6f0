//! Whether chance chose who was treated.

use flywheel_base::{Error, Result};

use super::Experiment;
use crate::regression::logistic;
use crate::score::quality::auc;
use crate::stats::Interval;

/// How often features rank a treated unit of `judged` above one that was left alone, by a model of who was treated in `known`:
/// one half where chance chose.
///
/// Uplift is what the treatment changes only then. Where somebody chose whom to treat, or a feature follows from the
/// treatment, arms differ by more than it.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if lengths or widths do not fit, a number is not finite, or an arm is empty, and for a
/// confidence out of (0, 1).
/// # Cost
/// One logistic regression, O(units · features²).
/// # Source
/// Rosenbaum & Rubin 1983 (the propensity score); the interval is that of [`auc`].
pub fn foretold(
    known: &Experiment<'_>,
    judged: &Experiment<'_>,
    penalty: f64,
    confidence: f64,
) -> Result<Option<Interval>> {
    let (width, other) = (known.width()?, judged.width()?);
    if width != other {
        return Err(Error::invalid(format!("units have {width} features, and others {other}"))
            .hint("Give the same features of all units."));
    }
    let rows: Vec<&[f64]> = known.features.chunks_exact(width).collect();
    let score = logistic(&rows, known.treated, penalty);
    let scores: Vec<f64> =
        judged.features.chunks_exact(width).map(|row| score.value(row)).collect();
    let treated: Vec<f64> = judged.treated.iter().map(|arm| f64::from(u8::from(*arm))).collect();
    auc(&scores, &treated, confidence)
}
