//! Intervals that adapt to the truths that came: what is kept of them beside a fit.
//!
//! ```text
//! last fit: series, states ─► the intervals that were published ─► truths since ─► states of this fit ─► its intervals
//! ```
//! Everything is made from the last artifact and the days that came since, and is stored in this one: a fit that was cut off
//! is done again with the same result, and a replay gives the same bits. A day that is corrected later is not judged anew.
//! A series of which few truths were seen takes part in one state with its like. The groups of a hierarchy are series of
//! their own here, with states apart from those of what they add up.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_algo::forecast::Fitted as Series;
use flywheel_algo::forecast::adaptive::{Adaptive, Asked, Steps};
use flywheel_base::Result;
use flywheel_project::resource::learner::Forecast;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{History, Measure, ends};

/// Truths from which a series has a level of its own: below, one missed by chance would count for too much.
const OWN_MIN: u64 = 28;

/// What intervals are asked for now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Adapted {
    /// The share that was to be held; with another one everything begins anew.
    inside: f64,
    /// Of all series that have seen fewer than [`OWN_MIN`] truths, together.
    pooled: Adaptive,
    /// Of each series.
    series: BTreeMap<String, Adaptive>,
}

/// What a fit published: intervals for the days after its last one.
pub(super) struct Published<'a> {
    /// Each series' model.
    pub(super) series: BTreeMap<String, &'a Series>,
    /// What the intervals were made with.
    pub(super) adapted: Option<&'a Adapted>,
    /// The last day that was fitted, in days since the epoch.
    pub(super) through: i64,
}

/// An end of an interval, if there is one.
type End = Option<f64>;

/// One day ahead: its mean and the ends of its interval.
pub(super) type AheadDay = (f64, End, End);

/// The days ahead of a series, with intervals that are asked for as its state says.
pub(super) fn ahead(series: &Series, days: usize, asked: Asked) -> Result<Vec<AheadDay>> {
    let forecast = series.forecast(days, &[asked.tail, 1.0 - asked.tail])?;
    let mut made = Vec::with_capacity(forecast.mean.len());
    for (step, mean) in forecast.mean.iter().copied().enumerate() {
        let (lower, upper) = ends(&forecast, step, mean);
        let end = |quantile: f64| {
            let end = asked.end(mean, quantile);
            if forecast.clip_at_zero { end.max(0.0) } else { end }
        };
        made.push((mean, lower.map(end), upper.map(end)));
    }
    Ok(made)
}

/// What intervals of a series are made with if nothing adapts, or as its state says.
pub(super) fn asked(stored: Option<&Adapted>, settings: &Forecast, id: &str) -> Asked {
    let outside = 1.0 - settings.interval.value();
    stored.map_or_else(|| Asked::plain(outside), |adapted| adapted.asked(id))
}

impl Adapted {
    fn asked(&self, id: &str) -> Asked {
        self.series.get(id).filter(|own| own.seen() >= OWN_MIN).unwrap_or(&self.pooled).asked()
    }

    /// The states of this fit: those of the last one, and what its intervals held and missed since. None if the file says
    /// that nothing adapts.
    ///
    /// # Errors
    /// Those of forecasting by the last fit.
    pub(super) fn learn(
        before: Option<&Published<'_>>,
        histories: &[History],
        through: i64,
        settings: &Forecast,
    ) -> Result<Option<Self>> {
        if settings.interval_gamma <= 0.0 {
            return Ok(None);
        }
        let inside = settings.interval.value();
        let steps = Steps::new(inside, settings.interval_gamma)?;
        let kept = before.and_then(|before| before.adapted);
        let kept = kept.filter(|kept| kept.inside == inside);
        let none = || Self { inside, pooled: steps.start(), series: BTreeMap::new() };
        let mut made = kept.cloned().unwrap_or_else(none);
        // What intervals of another share missed says nothing of these.
        let same =
            |before: &&Published<'_>| before.adapted.is_none_or(|adapted| adapted.inside == inside);
        if let Some(before) = before.filter(same) {
            let days = usize::try_from(through - before.through).unwrap_or_default();
            let days = days.min(settings.horizon_days);
            let missed = histories
                .par_iter()
                .map(|history| missed(before, history, days, (through, settings)))
                .collect::<Result<Vec<_>>>()?;
            for day in 0..days {
                made.learn_day(day, &missed, &steps);
            }
        }
        // A series that is gone would be kept for ever.
        let known: BTreeSet<&str> = histories.iter().map(|history| history.id.as_str()).collect();
        made.series.retain(|id, _| known.contains(id.as_str()));
        Ok(Some(made))
    }

    fn learn_day(&mut self, day: usize, missed: &[Missed<'_>], steps: &Steps) {
        let (mut of_few, mut missed_of_few) = (0, 0);
        let mut grown: Vec<&str> = Vec::new();
        for one in missed {
            let Some(Some(miss)) = one.days.get(day).copied() else { continue };
            let own = self.series.entry(one.id.to_owned()).or_insert_with(|| steps.start());
            if own.seen() < OWN_MIN {
                of_few += 1;
                missed_of_few += usize::from(miss);
                if own.seen() + 1 == OWN_MIN {
                    grown.push(one.id);
                }
            }
            own.learn(miss, steps);
        }
        self.pooled.learn_pooled(missed_of_few, of_few, steps);
        for id in grown {
            if let Some(own) = self.series.get_mut(id) {
                *own = own.at_level_of(&self.pooled);
            }
        }
    }

    /// How many of all truths so far the published intervals held, under a name.
    pub(super) fn measure(&self, name: &'static str) -> Option<Measure> {
        let seen: u64 = self.series.values().map(Adaptive::seen).sum();
        let missed: u64 = self.series.values().map(Adaptive::missed).sum();
        (seen > 0).then(|| Measure {
            name,
            value: Some(1.0 - missed as f64 / seen as f64),
            baseline: Some(self.inside),
            count: usize::try_from(seen).unwrap_or(usize::MAX),
        })
    }

    /// What a fit tells of it.
    pub(super) fn detail(&self, settings: &Forecast) -> Value {
        let own = self.series.values().filter(|own| own.seen() >= OWN_MIN).count();
        json!({
            "gamma": settings.interval_gamma, "series_with_own_level": own,
            "asked_outside": {"wanted": 1.0 - self.inside, "pooled": self.pooled.level()},
        })
    }
}

/// Which of the days since the last fit its interval of a series missed; none of days without an interval.
struct Missed<'a> {
    id: &'a str,
    days: Vec<Option<bool>>,
}

fn missed<'a>(
    before: &Published<'_>,
    history: &'a History,
    days: usize,
    (through, settings): (i64, &Forecast),
) -> Result<Missed<'a>> {
    let id = history.id.as_str();
    let none = Missed { id, days: Vec::new() };
    let Some(series) = before.series.get(id).filter(|_| days > 0) else { return Ok(none) };
    let asked = asked(before.adapted, settings, id);
    // The first value of a series is of the day that makes it so long through the last one.
    let length = i64::try_from(history.values.len()).unwrap_or(i64::MAX);
    let first = through + 1 - length;
    let of_day = |day: i64| usize::try_from(day - first).ok().and_then(|at| history.values.get(at));
    let missed = (before.through + 1..).zip(ahead(series, days, asked)?);
    let missed = missed.map(|(day, (_, lower, upper))| {
        let (came, lower, upper) = (*of_day(day)?, lower?, upper?);
        Some(!(lower..=upper).contains(&came))
    });
    Ok(Missed { id, days: missed.collect() })
}

#[cfg(test)]
mod tests;
