//! Several seasons at once: each is split off by STL and repeated, the rest is smoothed.

mod stl;

use flywheel_base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ets::Ets;
use super::{Forecaster, Model, Options, Spread, load, save};
use crate::stats::finite;
pub use stl::{Parts, split};

/// Several seasons, each repeated, around an exponential smoothing of the rest.
pub const MSTL: Forecaster = Forecaster {
    name: "mstl",
    about: "one or several seasons of slowly changing shape, each repeated, around a smoothed level and trend",
    length_min: |options| {
        let shortest = seasons(options, usize::MAX).first().copied().unwrap_or(1);
        (2 * shortest).max(5)
    },
    fit: |values, options| Ok(Box::new(Mstl::fit(values, options)?)),
    load: load::<Mstl>,
};

/// Rounds over all seasons if there are several, so that none keeps what belongs to another.
const ROUNDS: usize = 2;

/// Seasons that are looked at together for the shortest season, and how many more for each longer one.
const WINDOW: usize = 11;
const WINDOW_MORE: usize = 4;

/// A fitted model of several seasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mstl {
    /// The last season of each length, from the next period on.
    seasons: Vec<Vec<f64>>,
    rest: Ets,
}

impl Mstl {
    /// Splits off every season of which the series has two, and smooths the rest.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite or the series is too short.
    /// # Source
    /// Bandara, Hyndman & Bergmeir 2021; parity with statsforecast 2.1.1 `MSTL` in
    /// `tests/parity/forecast_ets.json`.
    pub fn fit(values: &[f64], options: &Options) -> Result<Self> {
        finite::all_finite("series value", values)?;
        let periods = seasons(options, values.len());
        let (parts, rest) = decompose(values, &periods)?;
        let last = |(part, period): (&Vec<f64>, &usize)| part[part.len() - period..].to_vec();
        let seasons = parts.iter().zip(&periods).map(last).collect();
        Ok(Self { seasons, rest: Ets::fit(&rest, 1)? })
    }
}

impl Model for Mstl {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        let mut made = self.rest.mean(horizon);
        for season in &self.seasons {
            made.iter_mut().zip(season.iter().cycle()).for_each(|(m, s)| *m += s);
        }
        made
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        self.rest.spread(horizon)
    }

    fn save(&self) -> Result<Value> {
        save(self)
    }
}

/// The seasons that `length` values show twice, shortest first.
fn seasons(options: &Options, length: usize) -> Vec<usize> {
    let mut made: Vec<usize> = std::iter::once(options.season)
        .chain(options.longer_seasons.iter().copied())
        .filter(|period| *period > 1 && *period <= length / 2)
        .collect();
    made.sort_unstable();
    made.dedup();
    made
}

/// The part of each season, and the series without them.
pub(super) fn decompose(values: &[f64], periods: &[usize]) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
    let mut parts = vec![vec![0.0; values.len()]; periods.len()];
    let mut rest = values.to_vec();
    let rounds = if periods.len() > 1 { ROUNDS } else { 1 };
    for _ in 0..rounds {
        for (at, (part, period)) in parts.iter_mut().zip(periods).enumerate() {
            rest.iter_mut().zip(part.iter()).for_each(|(r, p)| *r += p);
            *part = split(&rest, *period, WINDOW + WINDOW_MORE * at)?.season;
            rest.iter_mut().zip(part.iter()).for_each(|(r, p)| *r -= p);
        }
    }
    Ok((parts, rest))
}
