//! The best hour for each unit: when somebody is there, by what they did before.
//!
//! ```text
//! events ─► counts by hour ─┐
//! everybody's hours ────────┴─► Dirichlet posterior ─► the window of hours with the largest share
//! ```
//! One person's events are few, so their hours are pulled towards everybody's, the more the fewer there are. How strong the
//! pull is, is estimated from how much people differ: where they hardly do, everybody gets the same hour.
//!
//! **When to use it.** For events that people begin themselves: visits, orders, calls. **When not.** For opens of messages and
//! clicks in them: these follow the hour at which the messages were sent, and would only repeat it.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::finite;
use crate::stats::special::ln_gamma;

/// Hours of a day.
pub const DAY_HOURS: usize = 24;
/// Hours of a week.
pub const WEEK_HOURS: usize = 7 * DAY_HOURS;

/// Pulls that are looked at, as the number of events that everybody's hours count for.
const PULL: (f64, f64) = (0.1, 1e5);
/// What each hour counts of everybody's beside the events, so that none is impossible.
const EVENTS_OF_NOBODY: f64 = 1.0;
/// Steps of the golden section, each 0.618 of the one before.
const STEPS: usize = 60;

/// One event of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<U> {
    /// Who.
    pub unit: U,
    /// The hour, from 0: of the day, or of the week from Monday.
    pub hour: usize,
    /// Days since it happened, which is what makes it fade.
    pub age_days: f64,
}

/// How hours are told apart and counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// [`DAY_HOURS`] or [`WEEK_HOURS`].
    pub hours: usize,
    /// How many hours from the best one on are meant.
    pub window: usize,
    /// After so many days an event counts for half; `None` if all count the same.
    pub half_life_days: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { hours: DAY_HOURS, window: 3, half_life_days: Some(90.0) }
    }
}

/// What was learned of everybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hours {
    options: Options,
    /// Everybody's share of each hour, each unit counting the same.
    shares: Vec<f64>,
    /// How many events these count for beside a unit's own.
    pub pull: f64,
    /// What each unit did in each hour, faded.
    units: BTreeMap<String, Vec<f64>>,
}

/// The best hour of a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// The hour, from 0, at which the window begins.
    pub hour: usize,
    /// The expected share of the unit's events in the window.
    pub share: f64,
    /// The expected share in everybody's best window.
    pub everybody: f64,
    /// The unit's events, faded.
    pub events: f64,
}

impl Hours {
    /// Counts events by unit and hour, and finds how much units differ.
    ///
    /// # Shape
    /// A unit's hours are a draw from a Dirichlet distribution around everybody's, with `pull` as its concentration, which is
    /// chosen by the likelihood of all counts.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for senseless options, an hour beyond them, or an age that is no number.
    /// # Cost
    /// O(events + units · hours · 60).
    /// # Source
    /// Minka 2000, "Estimating a Dirichlet distribution" (the Dirichlet-multinomial likelihood); parity with
    /// `scipy.stats.dirichlet_multinomial` in `tests/parity/hours.json`.
    pub fn fit<U: AsRef<str>>(events: &[Event<U>], options: &Options) -> Result<Self> {
        check(options)?;
        let mut units: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (position, event) in events.iter().enumerate() {
            if event.hour >= options.hours {
                return Err(Error::invalid(format!(
                    "event {position} is of hour {} of {}",
                    event.hour, options.hours
                ))
                .hint("Hours count from 0."));
            }
            if !event.age_days.is_finite() {
                return Err(finite::not_finite("age of an event", position, event.age_days));
            }
            let left = match options.half_life_days {
                Some(days) => (-event.age_days.max(0.0) / days).exp2(),
                None => 1.0,
            };
            let counts = units
                .entry(event.unit.as_ref().to_owned())
                .or_insert_with(|| vec![0.0; options.hours]);
            counts[event.hour] += left;
        }
        let shares = shares(units.values(), options.hours);
        let mut made = Self { options: *options, shares, pull: PULL.1, units };
        made.pull = made.likeliest_pull();
        Ok(made)
    }

    /// The log-likelihood of all counts, up to what does not depend on the pull.
    fn likelihood(&self, pull: f64) -> f64 {
        let of_unit = |counts: &Vec<f64>| {
            let total: f64 = counts.iter().sum();
            let hours = counts.iter().zip(&self.shares).filter(|(count, _)| **count > 0.0);
            let each =
                hours.map(|(count, share)| ln_gamma(count + pull * share) - ln_gamma(pull * share));
            ln_gamma(pull) - ln_gamma(total + pull) + each.sum::<f64>()
        };
        self.units.values().map(of_unit).sum()
    }

    /// Golden section on the logarithm of the pull; the strongest if nothing tells units apart.
    fn likeliest_pull(&self) -> f64 {
        let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (PULL.0.ln(), PULL.1.ln());
        let of = |point: f64| self.likelihood(point.exp());
        let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
        let (mut at_left, mut at_right) = (of(left), of(right));
        for _ in 0..STEPS {
            if at_left > at_right {
                high = right;
                (right, at_right) = (left, at_left);
                left = high - ratio * (high - low);
                at_left = of(left);
            } else {
                low = left;
                (left, at_left) = (right, at_right);
                right = low + ratio * (high - low);
                at_right = of(right);
            }
        }
        f64::midpoint(low, high).exp()
    }

    /// The expected share of each hour: of a unit, or of somebody of whom nothing is known.
    #[must_use]
    pub fn shares_of(&self, unit: &str) -> Vec<f64> {
        let Some(counts) = self.units.get(unit) else { return self.shares.clone() };
        let total: f64 = counts.iter().sum();
        let mean = |(count, share): (&f64, &f64)| (count + self.pull * share) / (total + self.pull);
        counts.iter().zip(&self.shares).map(mean).collect()
    }

    /// The units that did something, ascending.
    pub fn units(&self) -> impl Iterator<Item = &str> {
        self.units.keys().map(String::as_str)
    }

    /// The window of hours with the largest share; ties go to the earliest.
    #[must_use]
    pub fn best(&self, unit: &str) -> Best {
        let (own, common) = (self.shares_of(unit), self.everybody());
        let hour = best_window(&own, self.options.window);
        let events = self.units.get(unit).map_or(0.0, |counts| counts.iter().sum());
        let share = |from| window(&own, from, self.options.window);
        Best { hour, share: share(hour), everybody: share(common), events }
    }

    /// The hour that is best for somebody of whom nothing is known.
    #[must_use]
    pub fn everybody(&self) -> usize {
        best_window(&self.shares, self.options.window)
    }

    /// Which share of later events fell into each unit's window, and which into everybody's; each unit counts the same.
    /// `None` if none of the units did anything later.
    #[must_use]
    pub fn judge<U: AsRef<str>>(&self, later: &[Event<U>]) -> Option<Judged> {
        let mut of_unit: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
        let common = self.everybody();
        for event in later.iter().filter(|event| self.units.contains_key(event.unit.as_ref())) {
            let (count, own, everybody) = of_unit.entry(event.unit.as_ref()).or_default();
            let inside = |from: usize| {
                let after = (event.hour + self.options.hours - from) % self.options.hours;
                f64::from(u8::from(after < self.options.window))
            };
            *count += 1.0;
            *own += inside(self.best(event.unit.as_ref()).hour);
            *everybody += inside(common);
        }
        let units = of_unit.len();
        let mean = |pick: fn(&(f64, f64, f64)) -> f64| {
            of_unit.values().map(|sums| pick(sums) / sums.0).sum::<f64>() / units as f64
        };
        (units > 0).then(|| Judged {
            own: mean(|(_, own, _)| *own),
            everybody: mean(|(_, _, everybody)| *everybody),
            units,
        })
    }
}

/// How the hours did on events that they were not learned from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The mean share of a unit's events in its window.
    pub own: f64,
    /// The mean share in everybody's window.
    pub everybody: f64,
    /// The units.
    pub units: usize,
}

fn check(options: &Options) -> Result<()> {
    if ![DAY_HOURS, WEEK_HOURS].contains(&options.hours) {
        return Err(Error::invalid(format!("{} hours are no day and no week", options.hours))
            .hint("Ask for 24 or 168 hours."));
    }
    if options.window == 0 || options.window > DAY_HOURS {
        return Err(Error::invalid(format!("a window of {} hours", options.window))
            .hint("Ask for 1 to 24 hours; 3 is usual."));
    }
    if let Some(days) = options.half_life_days
        && (!days.is_finite() || days <= 0.0)
    {
        return Err(Error::invalid(format!("a half-life of {days} days"))
            .hint("Give the days after which an event counts for half, such as 90."));
    }
    Ok(())
}

/// Everybody's share of each hour, each unit counting the same however much it does.
fn shares<'a>(units: impl Iterator<Item = &'a Vec<f64>>, hours: usize) -> Vec<f64> {
    let mut sums = vec![EVENTS_OF_NOBODY / hours as f64; hours];
    let mut all = EVENTS_OF_NOBODY;
    for counts in units {
        let total: f64 = counts.iter().sum();
        if total > 0.0 {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count / total);
            all += 1.0;
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= all);
    sums
}

/// The sum of a window that begins at `from`; the last hour is followed by the first.
fn window(shares: &[f64], from: usize, length: usize) -> f64 {
    shares.iter().cycle().skip(from).take(length.min(shares.len())).sum()
}

fn best_window(shares: &[f64], length: usize) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for hour in 0..shares.len() {
        let sum = window(shares, hour, length);
        // Sums of the same shares in another order differ in their last digits.
        if sum > best.1 + 1e-12 {
            best = (hour, sum);
        }
    }
    best.0
}

#[cfg(test)]
mod tests;
