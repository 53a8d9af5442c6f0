//! How well scores rank rows that were not learned from. Whether probabilities are true: [`crate::stats::calibration`].

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
