//! What holidays and other named days do to a series: learned, judged on the past, taken out and put back.
//!
//! ```text
//! values, marks ─ learn ─► Effects ─ removed ─► values without them ─ fit, forecast ─► Moved by the marks of the days ahead
//!                    └─ judge: each named day's last windows, forecast from before them with and without ─► what is kept
//! ```
//! The effect at a place of a named day (so many days before, on, after) is the median distance of its past days from what
//! the same day of the week was around them, shrunk by what is noise. A day is kept only if forecasts of its own past windows
//! were better with it.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Options, find, fit};

/// Seasons that are looked at on either side for days without a mark.
const SEASONS_MAX: usize = 12;
/// Neighbours a day is compared with.
const NEIGHBOURS: usize = 4;
/// Fewer neighbours say nothing of a day.
const NEIGHBOURS_MIN: usize = 2;
/// Windows of one named day that are forecast again, the newest ones.
const WINDOWS_MAX: usize = 3;
/// Days that must be known before a window that is forecast again.
const KNOWN_MIN: usize = 28;
/// How much less error (relative) a named day must bring to be kept.
const GAIN_MIN: f64 = 0.02;
/// Effects below this share of the usual are not divided by: what is left there is noise.
const SHARE_MIN: f64 = 0.2;
/// The share of zeros among days without a mark from which effects are added instead of multiplied.
const ZEROS_MAX: f64 = 0.2;
/// The largest factor an effect may have.
const FACTOR_MAX: f64 = 50.0;
/// How many times its own variance an effect must exceed to be anything at all.
const VARIANCES: f64 = 2.0;
/// The median absolute deviation of a normal distribution is this much smaller than its standard deviation.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// Where a day lies in the run of a named day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// So many days before its first, from 1.
    Before(u32),
    /// So many days after its first, from 0.
    On(u32),
    /// So many days after its last, from 1.
    After(u32),
}

/// That a day belongs to a named day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The named day.
    pub day: String,
    /// Where in its run.
    pub place: Place,
}

/// What named days do: factors of what is usual less 1, or what is added to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effects {
    /// Whether effects are factors.
    multiplied: bool,
    days: BTreeMap<String, Vec<(Place, f64)>>,
}

/// How each step of a forecast is moved: `value · scale + shift`; later steps stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The factor of each step.
    pub scale: Vec<f64>,
    /// What is added to each step.
    pub shift: Vec<f64>,
}

/// How a named day's past windows were forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The named day.
    pub day: String,
    /// How many windows were forecast again.
    pub windows: usize,
    /// The sum of absolute errors with the effects, in the series' unit.
    pub with: f64,
    /// The same without.
    pub without: f64,
    /// The sum of the values that came.
    pub actual: f64,
}

impl Judged {
    /// Whether forecasts were better with the day.
    #[must_use]
    pub fn helps(&self) -> bool {
        self.with < self.without * (1.0 - GAIN_MIN)
    }
}

impl Effects {
    /// Learns the effects of every marked day.
    ///
    /// # Shape
    /// `values` is regular, oldest first; `marks` has an entry for each value, more are not looked at. `season` is the number of
    /// values in a week.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there are fewer marks than values or a value is not finite.
    /// # Source
    /// Positive-part James–Stein shrinkage (Efron & Morris 1973) of medians; simulated series in the tests.
    pub fn learn(values: &[f64], marks: &[Option<Mark>], season: usize) -> Result<Self> {
        crate::stats::finite::all_finite("series value", values)?;
        if marks.len() < values.len() {
            return Err(Error::invalid(format!(
                "{} days have {} entries in their calendar",
                values.len(),
                marks.len()
            ))
            .hint("Mark every day of the series."));
        }
        let marks = marks.get(..values.len()).unwrap_or_default();
        let multiplied = is_multiplied(values, marks);
        let mut noise = Vec::new();
        let mut seen: BTreeMap<(&str, Place), Vec<f64>> = BTreeMap::new();
        for (at, (value, mark)) in values.iter().zip(marks).enumerate() {
            let Some(usual) = usual(values, marks, season, at) else { continue };
            let distance = match multiplied {
                true if usual > 0.0 => value / usual - 1.0,
                true => continue,
                false => value - usual,
            };
            match mark {
                Some(mark) => seen.entry((&mark.day, mark.place)).or_default().push(distance),
                None => noise.push(distance),
            }
        }
        let variance = deviation(&mut noise).powi(2);
        let mut days: BTreeMap<String, Vec<(Place, f64)>> = BTreeMap::new();
        for ((day, place), mut distances) in seen {
            let count = distances.len() as f64;
            let median = median(&mut distances);
            let effect = if median == 0.0 {
                0.0
            } else {
                median * (1.0 - VARIANCES * variance / (count * median * median)).max(0.0)
            };
            let effect = if multiplied { effect.clamp(-1.0, FACTOR_MAX - 1.0) } else { effect };
            days.entry(day.to_owned()).or_default().push((place, effect));
        }
        days.retain(|_, places| places.iter().any(|(_, effect)| *effect != 0.0));
        Ok(Self { multiplied, days })
    }

    /// Whether no named day does anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// The named days that do something, by name.
    pub fn days(&self) -> impl Iterator<Item = &str> {
        self.days.keys().map(String::as_str)
    }

    /// Only the effects of some named days.
    #[must_use]
    pub fn only(mut self, kept: &BTreeSet<String>) -> Self {
        self.days.retain(|day, _| kept.contains(day));
        self
    }

    /// The effect on a day: a factor, or what is added.
    ///
    /// A run that is longer than any before goes on as the longest one ended.
    #[must_use]
    pub fn of(&self, mark: &Mark) -> f64 {
        let neutral = if self.multiplied { 1.0 } else { 0.0 };
        let Some(places) = self.days.get(&mark.day) else { return neutral };
        let exact = places.iter().find(|(place, _)| *place == mark.place);
        let longest = || match mark.place {
            Place::On(_) => places.iter().rev().find(|(place, _)| matches!(place, Place::On(_))),
            Place::Before(_) | Place::After(_) => None,
        };
        exact.or_else(longest).map_or(neutral, |(_, effect)| neutral + effect)
    }

    /// The values as they would have been without the effects.
    #[must_use]
    pub fn removed(&self, values: &[f64], marks: &[Option<Mark>], season: usize) -> Vec<f64> {
        if self.is_empty() {
            return values.to_vec();
        }
        let without = |(at, (value, mark)): (usize, (&f64, &Option<Mark>))| {
            let Some(mark) = mark.as_ref().filter(|mark| self.days.contains_key(&mark.day)) else {
                return *value;
            };
            let effect = self.of(mark);
            match self.multiplied {
                true if effect > SHARE_MIN => value / effect,
                true => usual(values, marks, season, at).unwrap_or(*value),
                false => value - effect,
            }
        };
        values.iter().zip(marks).enumerate().map(without).collect()
    }

    /// How the steps with these marks are moved.
    #[must_use]
    pub fn moved(&self, marks: &[Option<Mark>]) -> Moved {
        let effects: Vec<Option<f64>> =
            marks.iter().map(|mark| mark.as_ref().map(|mark| self.of(mark))).collect();
        let (mut scale, mut shift) = (vec![1.0; effects.len()], vec![0.0; effects.len()]);
        let target = if self.multiplied { &mut scale } else { &mut shift };
        for (target, effect) in target.iter_mut().zip(effects) {
            *target = effect.unwrap_or(*target);
        }
        Moved { scale, shift }
    }
}

impl Moved {
    /// A value of a step, moved.
    #[must_use]
    pub fn of(&self, step: usize, value: f64) -> f64 {
        let scale = self.scale.get(step).copied().unwrap_or(1.0);
        value * scale + self.shift.get(step).copied().unwrap_or(0.0)
    }

    /// How much wider an error of a step is.
    #[must_use]
    pub fn width(&self, step: usize) -> f64 {
        self.scale.get(step).copied().unwrap_or(1.0)
    }
}

/// Forecasts the past windows of every named day again, from what was known before each, with and without the effects.
///
/// # Errors
/// As [`Effects::learn`] and [`fit`].
/// # Cost
/// Two fits a window, three windows for each named day that does something.
pub fn judge(
    method: &str,
    values: &[f64],
    marks: &[Option<Mark>],
    options: &Options,
) -> Result<Vec<Judged>> {
    let effects = Effects::learn(values, marks, options.season)?;
    let plain = Options { origins_max: 0, paths_max: 0, ..options.clone() };
    // A window that the method could not have been asked about tells nothing.
    let known_min = KNOWN_MIN.max((find(method)?.length_min)(&plain));
    let mut judged = Vec::new();
    for day in effects.days() {
        let (mut windows, mut with, mut without, mut actual) = (0, 0.0, 0.0, 0.0);
        for (from, to) in windows_of(day, marks.get(..values.len()).unwrap_or_default()) {
            if windows == WINDOWS_MAX || from < known_min {
                break;
            }
            let (Some(known), Some(came), Some(ahead)) =
                (values.get(..from), values.get(from..to), marks.get(from..to))
            else {
                continue;
            };
            let learned = Effects::learn(known, marks, options.season)?;
            // The first time a day comes nobody knows what it does.
            if !learned.days.contains_key(day) {
                continue;
            }
            let one = Options { horizon: came.len(), ..plain.clone() };
            let base = learned.removed(known, marks, options.season);
            let ours = moved_mean(method, &base, &learned.moved(ahead), &one)?;
            let theirs = moved_mean(method, known, &Moved::default(), &one)?;
            for ((came, ours), theirs) in came.iter().zip(ours).zip(theirs) {
                with += (came - ours).abs();
                without += (came - theirs).abs();
                actual += came;
            }
            windows += 1;
        }
        if windows > 0 {
            judged.push(Judged { day: day.to_owned(), windows, with, without, actual });
        }
    }
    Ok(judged)
}

fn moved_mean(method: &str, values: &[f64], moved: &Moved, options: &Options) -> Result<Vec<f64>> {
    let mean = fit(method, values, options)?.forecast(options.horizon, &[])?.mean;
    let kept = |value: f64| if options.clip_at_zero { value.max(0.0) } else { value };
    Ok(mean.iter().enumerate().map(|(step, value)| kept(moved.of(step, *value))).collect())
}

/// The runs of days that belong to a named day, the newest first: from and to, the latter not in it.
fn windows_of(day: &str, marks: &[Option<Mark>]) -> Vec<(usize, usize)> {
    let mut windows: Vec<(usize, usize)> = Vec::new();
    let mut before: Option<Place> = None;
    for (at, mark) in marks.iter().enumerate() {
        let Some(mark) = mark.as_ref().filter(|mark| mark.day == day) else {
            before = None;
            continue;
        };
        // Two runs can follow each other without a day between.
        let goes_on = before.is_some_and(|before| goes_on(before, mark.place));
        match windows.last_mut().filter(|_| goes_on) {
            Some(window) => window.1 = at + 1,
            None => windows.push((at, at + 1)),
        }
        before = Some(mark.place);
    }
    windows.reverse();
    windows
}

fn goes_on(before: Place, now: Place) -> bool {
    match (before, now) {
        (Place::Before(a), Place::Before(b)) => b < a,
        (Place::On(a), Place::On(b)) | (Place::After(a), Place::After(b)) => b > a,
        (Place::Before(_), Place::On(_) | Place::After(_)) | (Place::On(_), Place::After(_)) => {
            true
        }
        (Place::On(_) | Place::After(_), Place::Before(_)) | (Place::After(_), Place::On(_)) => {
            false
        }
    }
}

fn is_multiplied(values: &[f64], marks: &[Option<Mark>]) -> bool {
    let plain = values.iter().zip(marks).filter(|(_, mark)| mark.is_none());
    let mut plain: Vec<f64> = plain.map(|(value, _)| *value).collect();
    let zeros = plain.iter().filter(|value| **value == 0.0).count() as f64;
    let negative = values.iter().any(|value| *value < 0.0);
    !negative && zeros <= ZEROS_MAX * plain.len() as f64 && median(&mut plain) > 0.0
}

/// What the same day of the season was around a day, by the nearest days without a mark.
fn usual(values: &[f64], marks: &[Option<Mark>], season: usize, at: usize) -> Option<f64> {
    let season = season.max(1);
    let mut near = Vec::with_capacity(NEIGHBOURS + 1);
    for seasons in 1..=SEASONS_MAX {
        let before = at.checked_sub(seasons * season);
        for place in [before, Some(at + seasons * season)].into_iter().flatten() {
            if let (Some(value), Some(None)) = (values.get(place), marks.get(place)) {
                near.push(*value);
            }
        }
        if near.len() >= NEIGHBOURS {
            break;
        }
    }
    (near.len() >= NEIGHBOURS_MIN).then(|| median(&mut near))
}

/// The median; 0 of nothing.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle)) {
        (_, None) => 0.0,
        (1, Some(value)) => *value,
        (_, Some(value)) => values
            .get(middle.saturating_sub(1))
            .map_or(*value, |below| f64::midpoint(*below, *value)),
    }
}

/// A standard deviation that a few strange values do not move.
fn deviation(values: &mut [f64]) -> f64 {
    let centre = median(values);
    let mut distances: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    MAD_TO_DEVIATION * median(&mut distances)
}

#[cfg(test)]
mod tests;
