//! A check that looks where no effect can be: at what units did before their first decision.
//!
//! Variants are drawn by chance, so before anything was decided they are alike. Where they are not, the units of one
//! variant were chosen by something else, or lost, and what comes after tells of that as much as of the variant.

use std::collections::{BTreeMap, HashSet};

use flywheel_algo::stats::lift::Arm;
use flywheel_algo::stats::{Interval, sequence, srm};
use flywheel_base::{Result, Timestamp, statement};
use flywheel_project::resource::policy::Outcome;

use super::persons::Persons;
use super::{Compared, Line, Unit};
use crate::context::Context;
use crate::outcome::{events_of, literal};

/// At how many units the check is sharpest: what is grossly wrong shall be told early.
const TUNED_FOR_UNITS: f64 = 1_000.0;

/// Adds what each unit did in a window before its first decision.
///
/// # Errors
/// Those of the outcome's SQL.
pub(super) async fn count(
    ctx: &Context<'_>,
    name: &str,
    outcome: &Outcome,
    persons: &Persons,
    units: &mut BTreeMap<String, Unit>,
) -> Result<bool> {
    let firsts = units.values().filter_map(|unit| unit.since);
    let (Some(least), Some(most)) = (firsts.clone().min(), firsts.max()) else { return Ok(false) };
    let Some(events) = &outcome.events else { return Ok(false) };
    let window = outcome.window.micros;
    let what = format!("experiment \"{name}\": events before the first decision");
    let events = ctx.render(events).map_err(|e| e.context(&what))?;
    let events = statement::one(&what, &events)?;
    let sql = format!(
        "select * from (\n{events}\n) as events where at >= {} and at < {}",
        literal(Timestamp::from_micros(least.saturating_sub(window))),
        literal(Timestamp::from_micros(most))
    );
    let found = events_of(ctx, &what, &sql).await?;
    let mut counted: HashSet<(&str, &str)> = HashSet::new();
    for event in &found {
        let Some(unit) = units.get_mut(persons.of(&event.unit)) else { continue };
        let Some(first) = unit.since else { continue };
        let within = event.at < first && event.at >= first.saturating_sub(window);
        if within && counted.insert((event.unit.as_str(), event.id.as_str())) {
            unit.hit_before = true;
            unit.value_before += event.value.filter(|value| value.is_finite()).unwrap_or_default();
        }
    }
    Ok(true)
}

/// What is compared of the time before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Whether a unit had an outcome.
    Outcome,
    /// What its outcomes were worth.
    Value,
}

/// How two variants stood before anything was decided. It is looked at in every turn, so both the interval and the p-value
/// are always valid: all looks together cry wolf with a probability of [`srm::ALARM_BELOW`].
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a sum is not finite.
pub(super) fn compare(
    of: Of,
    units: &BTreeMap<String, Unit>,
    (variant, control): (usize, usize),
) -> Result<Line> {
    let arm = |wanted: usize| {
        let mut arm = Arm::default();
        for unit in units.values().filter(|unit| unit.variant == wanted && unit.since.is_some()) {
            let figure = match of {
                Of::Outcome => f64::from(u8::from(unit.hit_before)),
                Of::Value => unit.value_before,
            };
            arm.add(figure, 1.0)?;
        }
        Ok::<Arm, flywheel_base::Error>(arm)
    };
    let (side, held) = (arm(variant)?, arm(control)?);
    let options =
        sequence::Options { confidence: 1.0 - srm::ALARM_BELOW, tuned_for_units: TUNED_FOR_UNITS };
    // Both sides of shares count with two units more (Agresti and Caffo 2000), so that a side without any event is judged
    // too, and few events are not overrated.
    let (a, b, interval) = match of {
        Of::Outcome => {
            let (a, b) = (side.with_two_more(), held.with_two_more());
            let interval = sequence::difference(&a, &b, &options)?;
            (a, b, interval.filter(|_| !all_alike(&side, &held)))
        }
        Of::Value => (side, held, sequence::careful_difference(&side, &held, &options)?),
    };
    let all = (a.units() + b.units()) as f64;
    let p_value = interval.map(|interval| sequence::p_value(&interval, all, &options));
    let p_value = p_value.transpose()?;
    let interval = interval.zip(side.rate()).zip(held.rate());
    let interval = interval.map(|((interval, a), b)| Interval { estimate: a - b, ..interval });
    let standing = match p_value {
        Some(p) if p < srm::ALARM_BELOW => "biased",
        Some(_) => "balanced",
        None => "open",
    };
    let compared = Compared { interval, variance_saved: None, standing };
    Ok(Line { rate: side.rate(), control_rate: held.rate(), compared, p_value })
}

/// Whether no unit of either side differs from any other: nothing is known then.
fn all_alike(side: &Arm, held: &Arm) -> bool {
    let equal = side.rate().zip(held.rate()).is_none_or(|(a, b)| a.total_cmp(&b).is_eq());
    equal && !side.shows_spread() && !held.shows_spread()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_differed_before_are_told_and_others_are_balanced() {
        let line = |share: usize| {
            let mut units = BTreeMap::new();
            for n in 0..2_000_usize {
                let hit_before = n / 2 % 10 < if n % 2 == 1 { share } else { 3 };
                let unit = Unit {
                    variant: n % 2,
                    since: Some(1),
                    hit_before,
                    value_before: if hit_before { 5.0 } else { 0.0 },
                    ..Unit::default()
                };
                units.insert(n.to_string(), unit);
            }
            let both = [Of::Outcome, Of::Value].map(|of| compare(of, &units, (1, 0)).unwrap());
            let [outcome, value] = both;
            assert_eq!(outcome.compared.standing, value.compared.standing);
            (outcome.compared.standing, outcome.p_value)
        };
        let (standing, p) = line(3);
        assert!(standing == "balanced" && p.unwrap() > 0.99, "{standing} {p:?}");
        let (standing, p) = line(5);
        assert_eq!(standing, "biased");
        assert!(p.unwrap() < 1e-9);
        let (standing, p) = line(0);
        assert_eq!(standing, "biased", "a side without any event is the grossest bias");
        assert!(p.unwrap() < 1e-9);
    }

    #[test]
    fn nothing_and_little_is_no_bias() {
        let outcome = |all: [usize; 2], hit: [usize; 2]| {
            let mut units = BTreeMap::new();
            for (variant, (all, hit)) in all.into_iter().zip(hit).enumerate() {
                for n in 0..all {
                    let hit_before = n < hit;
                    let unit = Unit { variant, since: Some(1), hit_before, ..Unit::default() };
                    units.insert(format!("{variant}-{n}"), unit);
                }
            }
            compare(Of::Outcome, &units, (1, 0)).unwrap().compared.standing
        };
        assert_eq!(outcome([500, 500], [0, 0]), "open");
        assert_eq!(outcome([100, 900], [2, 0]), "balanced", "of few events chance does as much");
        assert_eq!(outcome([4, 4], [4, 0]), "balanced");
        assert_eq!(outcome([400, 400], [400, 0]), "biased");
    }

    #[test]
    fn looking_at_every_turn_cries_wolf_no_more_often_than_looking_once() {
        let mut alarms = 0;
        for seed in 0..200 {
            let mut rng = flywheel_base::Rng::new(seed);
            let mut units = BTreeMap::new();
            let mut told = false;
            for turn in 0..20 {
                for n in 0..40 {
                    let (variant, hit_before) = (usize::from(rng.chance(0.5)), rng.chance(0.2));
                    let unit = Unit { variant, since: Some(1), hit_before, ..Unit::default() };
                    units.insert(format!("{turn}-{n}"), unit);
                }
                let line = compare(Of::Outcome, &units, (1, 0)).unwrap();
                told |= line.compared.standing == "biased";
            }
            alarms += usize::from(told);
        }
        assert!(alarms <= 1, "{alarms} of 200");
    }
}
