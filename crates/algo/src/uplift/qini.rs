//! How well a ranking by uplift works, measured on a randomised experiment.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::arms;
use crate::stats::{Interval, finite, proportion};

/// The shares of units of which the curve is told.
const POINTS: usize = 10;

/// What a ranking is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Qini {
    /// The area between the curve and a random ranking's, a treated unit.
    pub area: f64,
    /// Outcomes gained by treating all, a treated unit: the average effect.
    pub effect: f64,
    /// Outcomes gained by treating the best tenth, two tenths, … of the units, a treated unit.
    pub curve: Vec<f64>,
}

/// Judges scores by the outcomes of an experiment that did not go into them.
///
/// Units of equal score enter together, so that their order cannot matter.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the lengths differ, a score is not finite, or an arm is empty.
/// # Cost
/// O(n log n).
/// # Source
/// Radcliffe 2007; against numpy in `tests/parity/uplift.json` to 1e-12.
pub fn qini(scores: &[f64], treated: &[bool], happened: &[bool]) -> Result<Qini> {
    let order = ranked(scores, treated, happened)?;
    let (with, without) = arms(treated)?;
    let mut sums = Sums::default();
    // (share of units, gain a treated unit) wherever the score changes
    let mut points = vec![(0.0, 0.0)];
    for (rank, unit) in order.iter().enumerate() {
        sums.add(treated[*unit], happened[*unit]);
        let last = order.get(rank + 1).is_none_or(|next| scores[*next] != scores[*unit]);
        if last {
            let share = (rank + 1) as f64 / order.len() as f64;
            points.push((share, sums.gain(with as f64 / without as f64) / with as f64));
        }
    }
    let effect = points.last().map_or(0.0, |(_, gain)| *gain);
    let pairs = || points.iter().zip(points.iter().skip(1));
    let area: f64 = pairs().map(|(a, b)| (b.0 - a.0) * f64::midpoint(a.1, b.1)).sum();
    let at = |share: f64| {
        let found = pairs().find(|(_, b)| share <= b.0);
        found.map_or(effect, |(a, b)| a.1 + (b.1 - a.1) * (share - a.0) / (b.0 - a.0))
    };
    let curve = (1..=POINTS).map(|point| at(point as f64 / POINTS as f64)).collect();
    Ok(Qini { area: area - effect / 2.0, effect, curve })
}

/// The effect among the best-ranked share of the units, with Newcombe's interval; `None` if an arm has nobody there.
///
/// # Errors
/// As [`qini`]; also if `share` is not inside (0, 1] or `confidence` not inside (0, 1).
pub fn effect_at(
    scores: &[f64],
    treated: &[bool],
    happened: &[bool],
    share: f64,
    confidence: f64,
) -> Result<Option<Interval>> {
    finite::open_unit("confidence", confidence)?;
    if !(share > 0.0 && share <= 1.0) {
        return Err(Error::invalid(format!("the effect at a share of {share} is asked for"))
            .hint("Give a share above 0 and up to 1, for example 0.3."));
    }
    let order = ranked(scores, treated, happened)?;
    let count = (share * order.len() as f64).round() as usize;
    let mut sums = Sums::default();
    order.iter().take(count).for_each(|unit| sums.add(treated[*unit], happened[*unit]));
    if sums.treated == 0 || sums.left == 0 {
        return Ok(None);
    }
    let (a, b) = ((sums.happened_treated, sums.treated), (sums.happened_left, sums.left));
    proportion::newcombe(a, b, confidence).map(Some)
}

/// Units from the highest score to the lowest, equal ones in their order.
fn ranked(scores: &[f64], treated: &[bool], happened: &[bool]) -> Result<Vec<usize>> {
    if scores.len() != treated.len() || treated.len() != happened.len() {
        return Err(Error::invalid(format!(
            "{} scores, {} treatments and {} outcomes are given",
            scores.len(),
            treated.len(),
            happened.len()
        ))
        .hint("Give one of each a unit."));
    }
    finite::all_finite("score", scores)?;
    arms(treated)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    Ok(order)
}

/// Counts of the units so far.
#[derive(Default)]
struct Sums {
    treated: u64,
    left: u64,
    happened_treated: u64,
    happened_left: u64,
}

impl Sums {
    fn add(&mut self, treated: bool, happened: bool) {
        let (units, outcomes) = if treated {
            (&mut self.treated, &mut self.happened_treated)
        } else {
            (&mut self.left, &mut self.happened_left)
        };
        *units += 1;
        *outcomes += u64::from(happened);
    }

    /// Outcomes of the treated beyond those the others had, scaled to as many units.
    fn gain(&self, ratio: f64) -> f64 {
        let scale = if self.left > 0 { self.treated as f64 / self.left as f64 } else { ratio };
        self.happened_treated as f64 - self.happened_left as f64 * scale
    }
}
