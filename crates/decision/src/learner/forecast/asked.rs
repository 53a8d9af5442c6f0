//! Which fill rate a policy asks for, so that the one it wants is reached: found once a fit, for each policy that
//! buys by these forecasts and is `calibrated`.
//!
//! At each of the last looks a forecast is made from what was known then, by the method the series has now, and the levels
//! it leads to are tried on the demand that came. All of it was known when the learner was fitted. A `pooled` policy does
//! the same with levels that are shared between items, by what the pasts of all say of each.

use std::collections::BTreeMap;

use flywheel_algo::forecast::{Forecast, Options, find, fit};
use flywheel_algo::inventory::calibrate::{self, Ladder, Look, rate_to_ask};
use flywheel_algo::inventory::demand::PATHS_MIN;
use flywheel_algo::inventory::pool::{self, Belief, Times};
use flywheel_algo::inventory::reorder::Situation;
use flywheel_base::{Result, digest};
use flywheel_project::resource::policy::Reorder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{History, PATHS, Stored};

/// Looks that are counted.
const LOOKS: usize = 13;
/// Items that are tried: a fit at each look is what costs, and a rate that all share needs no more.
const ITEMS_MAX: usize = 100;
/// Fewer items with demand say nothing that holds for the others.
const ITEMS_MIN: usize = 5;
/// A series shorter than this before its first look is not tried.
const KNOWN_MIN: usize = 28;
/// Quantile levels where past errors are too few, as for proposals.
const LEVELS: [f64; 9] = [0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95];

/// What a policy asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The fill rate to ask for.
    pub(crate) rate: f64,
    /// How many items it was found on.
    pub(crate) items: usize,
    /// How many looks of each were counted.
    pub(crate) looks: usize,
    /// What each item will be asked for, by the pasts of all; empty if each is ordered for by itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) beliefs: BTreeMap<String, Belief>,
    /// The policy's own settings then.
    fill_rate: f64,
    lead_time_days: usize,
    review_days: usize,
    #[serde(default)]
    pooled: bool,
}

impl Asked {
    /// The fill rate that the policy wanted.
    pub(crate) fn wanted(&self) -> f64 {
        self.fill_rate
    }

    /// Whether it was found for what the policy says now.
    pub(crate) fn fits(&self, settings: &Reorder) -> bool {
        settings.fill_rate.is_some_and(|rate| rate.value() == self.fill_rate)
            && (settings.lead_time_days, settings.review_days, settings.pooled)
                == (self.lead_time_days, self.review_days, self.pooled)
    }
}

/// The rates of all policies that want one; without enough evidence a policy has none.
pub(super) fn all(
    histories: &[History],
    stored: &Stored,
    options: &Options,
    policies: &[(String, Reorder)],
) -> Result<BTreeMap<String, Asked>> {
    let mut asked = BTreeMap::new();
    for (name, settings) in policies {
        let found = of(histories, stored, options, settings)
            .map_err(|error| error.context(format!("policy \"{name}\": calibrated fill rate")))?;
        asked.extend(found.map(|found| (name.clone(), found)));
    }
    Ok(asked)
}

fn of(
    histories: &[History],
    stored: &Stored,
    options: &Options,
    settings: &Reorder,
) -> Result<Option<Asked>> {
    if !(settings.calibrated || settings.pooled) {
        return Ok(None);
    }
    let Some(fill_rate) = settings.fill_rate.map(|rate| rate.value()) else { return Ok(None) };
    let (lead, review) = (settings.lead_time_days, settings.review_days.max(1));
    // The pipeline is as full as it stays once the first orders have arrived.
    let uncounted = (lead + review).div_ceil(review);
    let looks = LOOKS + uncounted;
    let tried = looks * review;
    let tries = calibrate::Options {
        fill_rate,
        lead_steps: lead,
        looks_uncounted: uncounted,
        pack_size: 1.0,
    };
    let found = |rate, items, beliefs| Asked {
        rate,
        items,
        looks: LOOKS,
        beliefs,
        fill_rate,
        lead_time_days: lead,
        review_days: review,
        pooled: settings.pooled,
    };
    if settings.pooled {
        let Some((made, beliefs)) = looks_at_all(histories, Times { lead, review }, looks)? else {
            return Ok(None);
        };
        return Ok(rate_to_ask(&made, &tries)?.map(|rate| found(rate, made.len(), beliefs)));
    }
    let mut items: Vec<(&History, &str)> = histories
        .iter()
        .filter(|history| {
            let begin = history.values.len().saturating_sub(tried);
            let (known, came) = history.values.split_at(begin);
            begin >= KNOWN_MIN
                && known.iter().any(|day| *day > 0.0)
                && came.iter().any(|day| *day > 0.0)
        })
        .filter_map(|history| {
            let method = stored.series.get(&history.id)?.algorithm.as_str();
            // A method that needs more days than were known at the first look tells nothing of its item.
            let known = history.values.len() - tried;
            let enough = find(method).is_ok_and(|found| (found.length_min)(options) <= known);
            enough.then_some((history, method))
        })
        .collect();
    items.sort_by_key(|(history, _)| digest::hash64(&[b"calibrate", history.id.as_bytes()]));
    items.truncate(ITEMS_MAX);
    if items.len() < ITEMS_MIN {
        return Ok(None);
    }
    let cover = lead + review;
    // Orders at a look are made on its day, so no path need reach further than they do.
    let ahead_of = Options {
        horizon: cover.max(options.horizon),
        paths_max: options.paths_max.min(PATHS),
        ..options.clone()
    };
    let looks_of = |(history, method): &(&History, &str)| -> Result<Vec<Look>> {
        let values = &history.values;
        let situation = Situation {
            lead_time_days: lead as f64,
            review_days: review as f64,
            seed: digest::hash64(&[b"reorder", history.id.as_bytes()]),
            ..Situation::default()
        };
        let begin = values.len() - tried;
        (0..looks)
            .map(|look| {
                let at = begin + look * review;
                let (known, rest) = values.split_at(at);
                let ahead = ahead(method, known, cover, &ahead_of)?;
                let came = rest.get(..review).unwrap_or(rest).to_vec();
                Ok(Look { ladder: Ladder::new(&situation, &ahead)?, came })
            })
            .collect()
    };
    let made = items.par_iter().map(looks_of).collect::<Result<Vec<Vec<Look>>>>()?;
    let rate = rate_to_ask(&made, &tries)?;
    Ok(rate.map(|rate| found(rate, made.len(), BTreeMap::new())))
}

/// What was ahead at a look, with what a ladder is made of.
///
/// # Cost
/// Where whole paths suffice, those alone are forecast again: past moments less than `cover` ago reach no whole order, and
/// quantiles are drawn from only where paths are too few. The ladder is the same bit for bit.
fn ahead(method: &str, known: &[f64], cover: usize, options: &Options) -> Result<Forecast> {
    if options.paths_max > 0 && cover > options.origins_max {
        let paths_only = Options { origins_max: 0, ..options.clone() };
        let ahead = fit(method, known, &paths_only)?.forecast(cover, &LEVELS)?;
        if ahead.errors.len() >= PATHS_MIN {
            return Ok(ahead);
        }
    }
    fit(method, known, options)?.forecast(cover, &LEVELS)
}

/// The looks of a pool, and what each of its items will be asked for; items whose past is too short to be tried are
/// believed in all the same.
type Pool = (Vec<Vec<Look>>, BTreeMap<String, Belief>);

/// The last looks at all items, each by what the pasts of all said then; `None` if that is too little.
fn looks_at_all(histories: &[History], times: Times, looks: usize) -> Result<Option<Pool>> {
    let tried = looks * times.review;
    let judged: Vec<bool> = histories
        .iter()
        .map(|history| {
            let begin = history.values.len().saturating_sub(tried);
            begin >= KNOWN_MIN && history.values[begin..].iter().any(|day| *day > 0.0)
        })
        .collect();
    if judged.iter().filter(|judged| **judged).count() < ITEMS_MIN {
        return Ok(None);
    }
    let mut made: Vec<Vec<Look>> = vec![Vec::with_capacity(looks); histories.len()];
    for look in 0..looks {
        let left = tried - look * times.review;
        let cut = |history: &History| history.values.len().saturating_sub(left);
        let pasts: Vec<&[f64]> =
            histories.iter().map(|history| &history.values[..cut(history)]).collect();
        let Some(beliefs) = pool::beliefs(&pasts, times)? else { return Ok(None) };
        let seen: Vec<Look> = beliefs
            .par_iter()
            .zip(histories)
            .map(|(belief, history)| {
                let rest = &history.values[cut(history)..];
                let came = rest.get(..times.review).unwrap_or(rest).to_vec();
                Look { ladder: belief.ladder(times), came }
            })
            .collect();
        made.iter_mut().zip(seen).for_each(|(looks, look)| looks.push(look));
    }
    let pasts: Vec<&[f64]> = histories.iter().map(|history| history.values.as_slice()).collect();
    let Some(beliefs) = pool::beliefs(&pasts, times)? else { return Ok(None) };
    let named = histories.iter().map(|history| history.id.clone()).zip(beliefs).collect();
    let tried = made.into_iter().zip(judged).filter_map(|(looks, judged)| judged.then_some(looks));
    Ok(Some((tried.collect(), named)))
}

#[cfg(test)]
mod tests;
