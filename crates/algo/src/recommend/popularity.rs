//! Popularity with a memory: what most people took, counted so that old demand fades.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, damaged};
use super::history::UserHistory;
use super::interactions::Interactions;
use super::sparse::non_zero;
use super::{Algorithm, Recommender, Scored, Training, options};

/// Microseconds in a day.
pub(super) const DAY_US: f64 = 86_400_000_000.0;

/// The entry in the list of recommenders.
pub const ALGORITHM: Algorithm = Algorithm {
    name: "popularity",
    summary: "What most people took, with a window or a half-life; the answer for a cold user",
    fit: |training, value| {
        Ok(Box::new(Popularity::fit(training.interactions, training.moment(), &options(value)?)?))
    },
    load: |reader| Ok(Box::new(Popularity::read(reader)?)),
};

/// How demand is counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Count only people whose latest event with the item is at most so many days old.
    pub window_days: Option<f64>,
    /// A person counts half after so many days.
    pub half_life_days: Option<f64>,
}

/// How many people took each item.
#[derive(Clone, Debug, PartialEq)]
pub struct Popularity {
    demand: Vec<f64>,
}

impl Popularity {
    /// Counts each person once per item, at the time of their latest event with it, so that one
    /// heavy buyer does not make an item popular.
    ///
    /// # Shape
    /// `now` in microseconds; events after `now` do not count. Without times every person counts 1.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a window or half-life is not positive, or is asked
    /// for on interactions without times.
    /// # Cost
    /// O(cells).
    pub fn fit(data: &Interactions, now: Option<i64>, options: &Options) -> Result<Self> {
        for (name, days) in
            [("window_days", options.window_days), ("half_life_days", options.half_life_days)]
        {
            let Some(days) = days else { continue };
            if !days.is_finite() || days <= 0.0 {
                return Err(Error::invalid(format!("{name} is {days}"))
                    .hint("Give a positive number of days, or leave the key out."));
            }
            if !data.timed() && data.cell_count() > 0 {
                return Err(Error::invalid(format!("{name} needs interactions with times"))
                    .hint("Name the time column of the learner, or leave the key out."));
            }
        }
        let weight = |age: f64| {
            if age < 0.0 || options.window_days.is_some_and(|days| age > days) {
                return 0.0;
            }
            options.half_life_days.map_or(1.0, |days| 0.5_f64.powf(age / days))
        };
        Ok(Self { demand: demand(data, now, weight) })
    }

    /// People per item, by item index.
    #[must_use]
    pub fn demand(&self) -> &[f64] {
        &self.demand
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let demand = reader.f64s()?;
        if demand.iter().any(|people| *people < 0.0) {
            return Err(damaged("holds a negative demand"));
        }
        Ok(Self { demand })
    }
}

/// Sums `weight(age in days)` of each person's latest event before `now`, per item.
pub(super) fn demand(
    data: &Interactions,
    now: Option<i64>,
    weight: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let mut sums = vec![0.0; data.item_count()];
    for user in 0..data.user_count() {
        for cell in data.cells(user) {
            let known = cell.times.iter().rev().find(|at| now.is_none_or(|now| **at <= now));
            let age = match (known, now) {
                (Some(at), Some(now)) => (now - at) as f64 / DAY_US,
                (None, Some(_)) if data.timed() => continue,
                _ => 0.0,
            };
            if let Some(sum) = sums.get_mut(cell.item as usize) {
                *sum += weight(age);
            }
        }
    }
    sums
}

impl Recommender for Popularity {
    fn algorithm(&self) -> &'static str {
        ALGORITHM.name
    }

    fn item_count(&self) -> usize {
        self.demand.len()
    }

    fn score(&self, _history: &UserHistory) -> Vec<Scored> {
        non_zero(&self.demand)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new(ALGORITHM.name);
        writer.f64s(&self.demand);
        Ok(writer.finish())
    }
}

/// Fits popularity for `training` over a window that fits its length; all time without times.
pub(super) fn recent(training: &Training<'_>, window_days: f64) -> Result<Popularity> {
    let window = training.interactions.timed().then_some(window_days);
    let options = Options { window_days: window, half_life_days: None };
    Popularity::fit(training.interactions, training.moment(), &options)
}

/// Reads options for the tests of this module and of the registry.
#[cfg(test)]
fn parsed(value: &serde_json::Value) -> Result<Options> {
    options(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::interactions::Interaction;
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn shop() -> Interactions {
        let event =
            |user, item, day: i64| Interaction { user, item, weight: 1.0, at: Some(day * DAY) };
        // Item 0 was loved by four people long ago, item 1 by two of late, item 2 thrice by one.
        Interactions::new(
            4,
            4,
            [
                (0, 0, 0),
                (1, 0, 0),
                (2, 0, 0),
                (3, 0, 0),
                (0, 1, 99),
                (1, 1, 98),
                (2, 2, 97),
                (2, 2, 98),
                (2, 2, 99),
            ]
            .map(|(user, item, day)| event(user, item, day)),
        )
        .unwrap()
    }

    fn order(options: &serde_json::Value) -> Vec<u32> {
        let model = Popularity::fit(&shop(), Some(100 * DAY), &parsed(options).unwrap()).unwrap();
        let scores = model.score(&UserHistory::empty(None));
        super::super::sparse::best(scores, 9).iter().map(|scored| scored.item).collect()
    }

    #[test]
    fn old_demand_fades_and_one_heavy_buyer_is_one_person() {
        assert_eq!(order(&json!({})), [0, 1, 2]);
        assert_eq!(order(&json!({"half_life_days": 10})), [1, 2, 0]);
        assert_eq!(order(&json!({"window_days": 30})), [1, 2]);
    }

    #[test]
    fn senseless_or_impossible_options_are_refused() {
        for days in [0.0, -1.0, f64::NAN] {
            let options = Options { window_days: Some(days), half_life_days: None };
            assert!(Popularity::fit(&shop(), None, &options).is_err());
        }
        let event = Interaction { user: 0, item: 0, weight: 1.0, at: None };
        let untimed = Interactions::new(1, 1, [event]).unwrap();
        let options = Options { half_life_days: Some(5.0), window_days: None };
        assert!(Popularity::fit(&untimed, None, &options).is_err());
        assert!(parsed(&json!({"half_live": 3})).is_err());
    }
}
