//! What probabilities are worth on rows that were not learned from.

use flywheel_base::{Error, Result};

use crate::stats::{Interval, finite, normal};

/// How often a row in which it happened is ranked above one in which it did not, a tie counting half; none unless there
/// are both.
///
/// # Shape
/// One score and one target a row; targets above one half happened.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if lengths differ or a score is not finite, and for a confidence out of (0, 1).
/// # Cost
/// O(rows · log rows).
/// # Source
/// DeLong, DeLong & Clarke-Pearson 1988, by ranks (Sun & Xu 2014); the interval is normal and cut at 0 and 1.
pub fn auc(scores: &[f64], targets: &[f64], confidence: f64) -> Result<Option<Interval>> {
    check(scores, targets)?;
    finite::open_unit("confidence", confidence)?;
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for (score, target) in scores.iter().zip(targets) {
        if *target > 0.5 { yes.push(*score) } else { no.push(*score) }
    }
    if yes.is_empty() || no.is_empty() {
        return Ok(None);
    }
    yes.sort_unstable_by(f64::total_cmp);
    no.sort_unstable_by(f64::total_cmp);
    // The share of the other class that each row is on the right side of.
    let above = |score: f64, others: &[f64]| {
        let below = others.partition_point(|other| *other < score);
        let upto = others.partition_point(|other| *other <= score);
        f64::midpoint(below as f64, upto as f64) / others.len() as f64
    };
    let of_yes: Vec<f64> = yes.iter().map(|score| above(*score, &no)).collect();
    let of_no: Vec<f64> = no.iter().map(|score| 1.0 - above(*score, &yes)).collect();
    let estimate = mean(&of_yes);
    let variance = |values: &[f64]| match values.len() {
        1 => 0.0,
        count => {
            let middle = mean(values);
            let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
            squares / (count - 1) as f64 / count as f64
        }
    };
    let z = normal::quantile(f64::midpoint(1.0, confidence));
    let half = z * (variance(&of_yes) + variance(&of_no)).sqrt();
    let low = (estimate - half).max(0.0);
    Ok(Some(Interval { estimate, low, high: (estimate + half).min(1.0) }))
}

/// Minus the mean log-likelihood of what happened, with a normal interval; none without rows.
///
/// # Errors
/// As [`auc`]; [`flywheel_base::ErrorKind::Invalid`] for a chance that is no probability.
pub fn log_loss(chances: &[f64], targets: &[f64], confidence: f64) -> Result<Option<Interval>> {
    check(chances, targets)?;
    finite::open_unit("confidence", confidence)?;
    if let Some(at) = chances.iter().position(|chance| !(0.0..=1.0).contains(chance)) {
        return Err(Error::invalid(format!("row {at}: {} is no probability", chances[at]))
            .hint("Give a number from 0 to 1."));
    }
    if chances.is_empty() {
        return Ok(None);
    }
    let losses: Vec<f64> = chances
        .iter()
        .zip(targets)
        .map(|(chance, target)| {
            let right = if *target > 0.5 { *chance } else { 1.0 - chance };
            -right.max(f64::EPSILON).ln()
        })
        .collect();
    let (count, middle) = (losses.len() as f64, mean(&losses));
    let squares: f64 = losses.iter().map(|loss| (loss - middle).powi(2)).sum();
    let z = normal::quantile(f64::midpoint(1.0, confidence));
    Ok(Some(Interval::around(middle, z * (squares / (count - 1.0).max(1.0) / count).sqrt())))
}

/// How far chances are from what happened on the mean of ten groups of like chances, weighted by their rows: 0 is
/// calibrated. None without rows.
///
/// # Errors
/// As [`auc`].
/// # Source
/// Naeini, Cooper & Hauskrecht 2015 (expected calibration error), with groups of equal size.
pub fn calibration_error(chances: &[f64], targets: &[f64]) -> Result<Option<f64>> {
    check(chances, targets)?;
    if chances.is_empty() {
        return Ok(None);
    }
    let mut rows: Vec<(f64, f64)> = chances.iter().copied().zip(targets.iter().copied()).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = rows.len().div_ceil(GROUPS);
    let off: f64 = rows
        .chunks(size)
        .map(|group| group.iter().map(|(chance, target)| chance - target).sum::<f64>().abs())
        .sum();
    Ok(Some(off / rows.len() as f64))
}

/// Groups of like chances.
const GROUPS: usize = 10;

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn check(scores: &[f64], targets: &[f64]) -> Result<()> {
    finite::all_finite("score", scores)?;
    finite::all_finite("target", targets)?;
    if scores.len() == targets.len() {
        return Ok(());
    }
    Err(Error::invalid(format!("{} scores are judged by {} targets", scores.len(), targets.len()))
        .hint("Give one target for each score."))
}
