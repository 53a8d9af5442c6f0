//! Which fill rate to ask for so that the one that is wanted is reached.
//!
//! A level that is right for the past falls short when demand grows, when the few errors that are known miss the worst
//! ones, and because a level chosen on a sample is better on that sample than later; where demand fades it is too much.
//! All items of a shop share this. So the levels that would have been chosen at the last looks, each from what was known
//! then, are tried on the demand that came, and the rate is asked for that would have served the wanted share.

use flywheel_base::{Error, Result};
use rayon::prelude::*;

use super::reorder::{Situation, fill_rate_levels};
use crate::forecast::Forecast;
use crate::stats::finite;

/// The shares of demand that may be missed for which levels are worked out.
const MISSED: [f64; 14] =
    [0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.065, 0.05, 0.04, 0.03, 0.02, 0.012, 0.006, 0.002];

/// The parts of what a unit costs to hold that it may fail to save, for which levels of a pool are tried.
const UNSAVED: [f64; 20] = [
    0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.065, 0.05, 0.04, 0.03, 0.02,
    0.012, 0.006, 0.002,
];

/// The levels of one item at one look, by the fill rate that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder(Rungs);

#[derive(Clone, Debug, PartialEq)]
enum Rungs {
    /// The level of each rate, in the order of [`MISSED`], so rising.
    ByRate([f64; MISSED.len()]),
    /// The rate from which on each further `unit` is held, rising.
    ByUnit { unit: f64, rates: Vec<f64> },
}

impl Ladder {
    /// Works out the levels from what is known at the look.
    ///
    /// # Errors
    /// As [`super::reorder::propose`].
    /// # Cost
    /// Two simulations of the lead-time demand, as for one proposal with a fill rate.
    pub fn new(situation: &Situation, forecast: &Forecast) -> Result<Self> {
        let rates = MISSED.iter().map(|missed| 1.0 - missed);
        let levels = fill_rate_levels(situation, forecast, rates)?;
        let levels = levels.try_into().map_err(|_| Error::internal("a ladder lacks a rung"))?;
        Ok(Self(Rungs::ByRate(levels)))
    }

    /// A ladder whose level for a rate is as many units as have theirs at or below it.
    pub(super) fn by_unit(unit: f64, rates: Vec<f64>) -> Self {
        Self(Rungs::ByUnit { unit, rates })
    }

    /// The level for a rate. Of levels that were worked out for some rates: on the line between the two nearest, and the
    /// last of them beyond.
    #[must_use]
    pub fn level(&self, rate: f64) -> f64 {
        match &self.0 {
            Rungs::ByRate(levels) => Self::between(levels, rate),
            Rungs::ByUnit { unit, rates } => {
                unit * rates.partition_point(|from| *from <= rate) as f64
            }
        }
    }

    fn between(levels: &[f64; MISSED.len()], rate: f64) -> f64 {
        let missed = 1.0 - rate;
        let next = MISSED.partition_point(|one| *one > missed);
        let rung = |at: usize| MISSED.get(at).copied().zip(levels.get(at).copied());
        match (next.checked_sub(1).and_then(rung), rung(next)) {
            (Some((more, low)), Some((less, high))) => {
                low + (high - low) * (more - missed) / (more - less)
            }
            (Some((_, level)), None) | (None, Some((_, level))) => level,
            (None, None) => 0.0,
        }
    }
}

/// One look at one item in the past.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The levels as they would have been chosen then.
    pub ladder: Ladder,
    /// The demand of each step from this look until the next.
    pub came: Vec<f64>,
}

/// How the past is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The share of demand that shall be served from the shelf, inside (0, 1), on average over items.
    pub fill_rate: f64,
    /// Steps of [`Look::came`] until an order arrives.
    pub lead_steps: usize,
    /// Looks at the beginning that only fill the pipeline and are not counted.
    pub looks_uncounted: usize,
    /// Orders are multiples of this many units.
    pub pack_size: f64,
}

/// The fill rate to ask for so that the wanted one would have been reached at the last looks; `None` if no demand came
/// in those that count.
///
/// # Shape
/// One list of looks an item, oldest first. An item begins with its first level on the shelf; what is ordered at a look
/// arrives `lead_steps` later, before the demand of the step; demand that cannot be served waits.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the rate is not inside (0, 1), the pack size not above 0, or a demand not
/// finite or negative.
/// # Cost
/// O(items · looks · 14), in parallel over items.
/// # Source
/// The share missed is a risk that is controlled on past data, as in Angelopoulos et al. 2022 (conformal risk control),
/// pooled over items since one has too few cycles, over a window that moves since demand drifts (Barber et al. 2023).
pub fn rate_to_ask(items: &[Vec<Look>], options: &Options) -> Result<Option<f64>> {
    finite::open_unit("fill rate", options.fill_rate)?;
    if !(options.pack_size.is_finite() && options.pack_size > 0.0) {
        return Err(Error::invalid(format!("pack size is {}", options.pack_size))
            .hint("Give a finite number above 0."));
    }
    for (position, looks) in items.iter().enumerate() {
        let demand = looks.iter().flat_map(|look| &look.came);
        if let Some(wrong) = demand.into_iter().find(|one| !one.is_finite() || **one < 0.0) {
            return Err(Error::invalid(format!("a demand of item {position} is {wrong}"))
                .hint("Give what was asked for in each step, 0 or more."));
        }
    }
    let mut before: Option<(f64, f64)> = None;
    let of_a_pool = |look: &Look| matches!(look.ladder.0, Rungs::ByUnit { .. });
    let tried: &[f64] = if items.iter().flatten().all(of_a_pool) { &UNSAVED } else { &MISSED };
    for missed in tried.iter().copied() {
        let Some(served) = served(items, 1.0 - missed, options) else { return Ok(None) };
        if served >= options.fill_rate {
            let part = match before {
                // What falls short and what suffices are neighbours: the answer lies between.
                Some((more, less)) if served > less => {
                    more + (missed - more) * (options.fill_rate - less) / (served - less)
                }
                _ => missed,
            };
            return Ok(Some(1.0 - part));
        }
        before = Some((missed, served));
    }
    Ok(before.map(|(missed, _)| 1.0 - missed))
}

/// The share that is served of each item's demand when a rate is asked for, on average over items that had any; `None`
/// if none had.
///
/// # Shape
/// As [`rate_to_ask`], which tries rates by it.
#[must_use]
pub fn served(items: &[Vec<Look>], rate: f64, options: &Options) -> Option<f64> {
    let shares: Vec<f64> =
        items.par_iter().filter_map(|looks| served_of(looks, rate, options)).collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

fn served_of(looks: &[Look], rate: f64, options: &Options) -> Option<f64> {
    let pack = options.pack_size;
    let packed = |units: f64| (units / pack - 1e-9).ceil().max(0.0) * pack;
    let mut coming: std::collections::VecDeque<f64> = vec![0.0; options.lead_steps].into();
    let (mut shelf, mut waiting) = (packed(looks.first()?.ladder.level(rate)), 0.0_f64);
    let (mut asked, mut given) = (0.0, 0.0);
    for (place, look) in looks.iter().enumerate() {
        let position = shelf + coming.iter().sum::<f64>() - waiting;
        let mut order = packed(look.ladder.level(rate) - position);
        for demand in &look.came {
            coming.push_back(std::mem::take(&mut order));
            shelf += coming.pop_front().unwrap_or_default();
            let late = waiting.min(shelf);
            shelf -= late;
            waiting -= late;
            let now = demand.min(shelf);
            shelf -= now;
            waiting += demand - now;
            if place >= options.looks_uncounted {
                asked += demand;
                given += now;
            }
        }
    }
    (asked > 0.0).then(|| given / asked)
}

#[cfg(test)]
mod tests {
    use flywheel_base::{ErrorKind, Rng};

    use super::*;
    use crate::forecast::interval::Basis;

    const OPTIONS: Options =
        Options { fill_rate: 0.95, lead_steps: 2, looks_uncounted: 2, pack_size: 1.0 };

    /// A forecast of Poisson demand, `factor` of what will come.
    fn forecast(factor: f64) -> Forecast {
        let mut rng = Rng::new(4);
        let mut path = || (0..3).map(|_| rng.poisson(20.0) as f64 - 20.0).collect();
        Forecast {
            mean: vec![20.0 * factor; 3],
            levels: Vec::new(),
            quantiles: Vec::new(),
            basis: Basis::Unknown,
            errors: (0..40).map(|_| path()).collect(),
            clip_at_zero: true,
        }
    }

    fn looks(factor: f64, items: u64) -> Vec<Vec<Look>> {
        let situation = Situation { lead_time_days: 2.0, ..Situation::default() };
        let ladder = Ladder::new(&situation, &forecast(factor)).unwrap();
        (0..items)
            .map(|item| {
                let mut rng = Rng::new(item);
                (0..20)
                    .map(|_| Look { ladder: ladder.clone(), came: vec![rng.poisson(20.0) as f64] })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn a_forecast_that_is_too_low_is_asked_for_more_and_one_that_is_too_high_for_less() {
        let rate = |factor| rate_to_ask(&looks(factor, 60), &OPTIONS).unwrap().unwrap();
        let (low, right, high) = (rate(0.9), rate(1.0), rate(1.1));
        assert!(
            low > 0.985 && (0.92..0.965).contains(&right) && high < 0.9,
            "{low} {right} {high}"
        );
        for (factor, rate) in [(0.9, low), (1.0, right), (1.1, high)] {
            let reached = served(&looks(factor, 60), rate, &OPTIONS).unwrap();
            assert!((reached - 0.95).abs() < 0.01, "{factor}: {reached}");
        }
    }

    #[test]
    fn levels_rise_with_the_rate_and_end_with_the_ladder() {
        let ladder = &looks(1.0, 1)[0][0].ladder;
        let levels =
            [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.999, 1.0].map(|rate| ladder.level(rate));
        assert!(levels.is_sorted() && levels[0] == levels[2] && levels[7] == levels[8]);
        let situation =
            Situation { lead_time_days: 2.0, fill_rate: Some(0.95), ..Situation::default() };
        let proposal = super::super::reorder::propose(&situation, &forecast(1.0)).unwrap();
        assert!(
            (proposal.reorder_point - levels[5]).abs() < 1e-6,
            "it is the proposal's own level"
        );
    }

    #[test]
    fn without_demand_there_is_no_rate_and_what_cannot_be_is_refused() {
        let mut quiet = looks(1.0, 2);
        quiet.iter_mut().flatten().for_each(|look| look.came = vec![0.0]);
        assert_eq!(rate_to_ask(&quiet, &OPTIONS).unwrap(), None);
        assert_eq!(rate_to_ask(&[], &OPTIONS).unwrap(), None);
        assert_eq!(rate_to_ask(&[Vec::new()], &OPTIONS).unwrap(), None);
        quiet[1][3].came = vec![-1.0];
        let error = rate_to_ask(&quiet, &OPTIONS).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Invalid && error.message().contains("item 1"),
            "{error}"
        );
        for options in
            [Options { fill_rate: 1.0, ..OPTIONS }, Options { pack_size: 0.0, ..OPTIONS }]
        {
            assert_eq!(rate_to_ask(&[], &options).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
