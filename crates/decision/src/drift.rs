//! Drift: whether what learners say got worse in reality, and what follows from it.
//!
//! [`watch`] runs once a turn, after the last answers were judged. Each measure of a learner is a series with one value a
//! turn, and the tests of [`flywheel_algo::online::drift::watch`] are run over all of it: what they have seen needs no
//! place of its own, since it follows from `system.evaluations` alone, and comes out the same after a crash and in a
//! replay. A worsening is a row of `system.drift`, once; what its learner's file asks for is done before that row is
//! written, and can be done twice.

use std::collections::BTreeMap;

use flywheel_algo::online::drift::watch::{Watch, Worse, Worsening};
use flywheel_base::{ErrorKind, Result, Timestamp};
use flywheel_project::resource::learner::{LearnerKind, OnDrift};
use flywheel_state::Drift;

use crate::context::Context;
use crate::learner::{held, last_fit};
use crate::pin;

/// Users, days or rows that a value must be taken over to be evidence.
const COUNT_MIN: i64 = 5;

/// The largest size of a value that is told apart from a larger one.
const VALUE_MAX: f64 = 1e100;

/// One value of a measure.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    at: Timestamp,
    artifact: Option<String>,
    value: f64,
}

/// A worsening that the newest reading proves.
#[derive(Debug, PartialEq)]
struct Found {
    worsening: Worsening,
    since: Timestamp,
    until: Timestamp,
    /// The artifact of the last reading that was good.
    good: Option<String>,
}

/// Looks whether a measure of a learner got worse with its newest reading, and answers as the learner's file says.
///
/// # Errors
/// Those of lake and metadata.
pub async fn watch(ctx: &Context<'_>) -> Result<Vec<Drift>> {
    let mut all = Vec::new();
    for ((name, measure), (worse, readings)) in readings(ctx).await? {
        let Some(found) = found(worse, &readings)? else { continue };
        if ctx.store.knows_drift(&name, &measure, found.until)? {
            continue;
        }
        let Some(drift) = answer(ctx, &name, &measure, &found).await? else { continue };
        if ctx.store.record_drift(&drift)? {
            all.push(drift);
        }
    }
    Ok(all)
}

/// A worsening as a person reads it.
#[must_use]
pub fn told(drift: &Drift) -> String {
    format!(
        "learner \"{}\" got worse: {} was {:.4} and is {:.4} in the last {} readings, since {}; {}",
        drift.learner,
        drift.measure,
        drift.before,
        drift.after,
        drift.values,
        drift.since,
        drift.reason
    )
}

type Series = BTreeMap<(String, String), (Worse, Vec<Reading>)>;

/// The readings of every measure that is watched, by learner and measure, oldest first.
async fn readings(ctx: &Context<'_>) -> Result<Series> {
    let sql = format!(
        "select at, learner, artifact, against, measure, value from system.evaluations
         where value is not null and count >= {COUNT_MIN} order by at"
    );
    let frame = ctx.frame_of_sql("system.evaluations", &sql).await?;
    let (at, learners, artifacts) =
        (frame.moments("at")?, frame.ids("learner")?, frame.text("artifact")?);
    let (against, measures, values) =
        (frame.ids("against")?, frame.ids("measure")?, frame.numbers("value")?);
    let mut series = Series::new();
    let rows = at.into_iter().zip(learners).zip(artifacts).zip(against).zip(measures).zip(values);
    for (((((at, learner), artifact), against), measure), value) in rows {
        let Some(declared) = ctx.project.learners.get(&learner) else { continue };
        let Some(worse) = worse(declared.kind()?, &against, &measure) else { continue };
        let Some(value) = value.filter(|value| value.is_finite()) else { continue };
        let reading = Reading {
            at: Timestamp::from_micros(at),
            artifact,
            value: value.clamp(-VALUE_MAX, VALUE_MAX),
        };
        series.entry((learner, measure)).or_insert_with(|| (worse, Vec::new())).1.push(reading);
    }
    Ok(series)
}

/// Which values of a measure are the worse ones; none if it says nothing about how answers came true.
///
/// A score that learns row by row foretells each row before it learns it, and a bandit's reward is what its decisions
/// earned: both are recorded by fits and are reality. What is measured on held-back rows is not: from fit to fit they are
/// mostly the same ones, and the tests want values that are independent of each other.
fn worse(kind: LearnerKind<'_>, against: &str, measure: &str) -> Option<Worse> {
    let is_of = |starts: &[&str]| starts.iter().any(|start| measure.starts_with(start));
    match (kind, against) {
        (LearnerKind::Recommend(_), "reality") if is_of(&["hit rate"]) => Some(Worse::Smaller),
        (LearnerKind::Forecast(_), "reality") if is_of(&["wape"]) => Some(Worse::Larger),
        (LearnerKind::Forecast(_), "reality") if is_of(&["coverage"]) => Some(Worse::Smaller),
        (LearnerKind::Score(_), "fit") if measure.ends_with("before learning") => {
            Some(Worse::Larger)
        }
        (LearnerKind::Bandit(_), "fit") if is_of(&["reward"]) => Some(Worse::Smaller),
        _ => None,
    }
}

/// What the tests say of a series, if the newest reading is the one that rings.
fn found(worse: Worse, readings: &[Reading]) -> Result<Option<Found>> {
    let mut watch = Watch::new(worse)?;
    let mut last = None;
    for reading in readings {
        last = watch.push(reading.value)?;
    }
    let (Some(worsening), Some(newest)) = (last, readings.last()) else { return Ok(None) };
    let bad = usize::try_from(worsening.values).unwrap_or(usize::MAX).min(readings.len());
    let (before, after) = readings.split_at(readings.len() - bad);
    Ok(Some(Found {
        worsening,
        since: after.first().unwrap_or(newest).at,
        until: newest.at,
        good: before.last().and_then(|reading| reading.artifact.clone()),
    }))
}

/// Does what the learner's file asks for; none if it is not declared or not fitted any more.
async fn answer(
    ctx: &Context<'_>,
    name: &str,
    measure: &str,
    found: &Found,
) -> Result<Option<Drift>> {
    let Some(learner) = ctx.project.learners.get(name) else { return Ok(None) };
    let Some(served) = last_fit(ctx, name)? else { return Ok(None) };
    let (answer, reason) = match learner.on_drift {
        OnDrift::Tell => ("told", "nothing else is done, as its file says".to_owned()),
        OnDrift::Retrain => match held(ctx, name)? {
            Some(_) => ("told", "it is pinned, so that it is not fitted again".to_owned()),
            None => ("retrain", "it is fitted again at once".to_owned()),
        },
        OnDrift::LastGood => last_good(ctx, name, &served.digest, measure, found).await?,
    };
    Ok(Some(Drift {
        learner: name.to_owned(),
        measure: measure.to_owned(),
        at: ctx.now,
        detector: found.worsening.detector.name().to_owned(),
        since: found.since,
        until: found.until,
        before: found.worsening.before,
        after: found.worsening.after,
        values: i64::try_from(found.worsening.values).unwrap_or(i64::MAX),
        artifact: served.digest,
        answer: answer.to_owned(),
        reason,
    }))
}

/// Holds the learner at the artifact that was served before it got worse.
async fn last_good(
    ctx: &Context<'_>,
    name: &str,
    served: &str,
    measure: &str,
    found: &Found,
) -> Result<(&'static str, String)> {
    let Some(good) = &found.good else {
        return Ok(("told", "no artifact from before is known".to_owned()));
    };
    let back = |good: &str| {
        (
            "last-good",
            format!("it is back at artifact {good:.12} until `flywheel learn unpin {name}`"),
        )
    };
    if let Some(pin) = held(ctx, name)? {
        // A turn that was cut off had got as far as this.
        let ours = pin.at == ctx.now && good == served;
        return Ok(if ours { back(good) } else { ("told", "it is pinned already".to_owned()) });
    }
    if good == served {
        return Ok(("told", "the artifact is the same as before it got worse".to_owned()));
    }
    let why = format!("{measure} got worse on {}", found.since);
    match Box::pin(pin::pin(ctx, name, Some(good), &why)).await {
        Ok(_) => Ok(back(good)),
        // Its file is gone, its rows are, or the learner is another one now: that is said, and the turn goes on.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
            Ok(("told", format!("it could not be taken back: {}", error.message())))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(values: &[f64]) -> Vec<Reading> {
        let reading = |(place, value): (usize, &f64)| Reading {
            at: Timestamp::from_day(i64::try_from(place).unwrap()),
            artifact: Some(format!("a{place}")),
            value: *value,
        };
        values.iter().enumerate().map(reading).collect()
    }

    /// Fourteen days of usual errors.
    const USUAL: [f64; 14] =
        [0.20, 0.22, 0.19, 0.21, 0.20, 0.18, 0.23, 0.21, 0.19, 0.20, 0.22, 0.20, 0.19, 0.21];

    #[test]
    fn a_worsening_rings_with_the_reading_that_proves_it_and_names_the_last_good_artifact() {
        let mut values = USUAL.to_vec();
        assert_eq!(found(Worse::Larger, &readings(&values)).unwrap(), None);
        let mut rang = Vec::new();
        for day in 14..22 {
            values.push(0.35);
            rang.extend(found(Worse::Larger, &readings(&values)).unwrap().map(|one| (day, one)));
        }
        let [(day, one)] = rang.as_slice() else { panic!("{rang:?}") };
        assert!((15..20).contains(day), "on day {day}");
        assert_eq!(one.until, Timestamp::from_day(*day));
        assert_eq!(one.since, Timestamp::from_day(14));
        assert_eq!(one.good.as_deref(), Some("a13"));
        assert!(
            (one.worsening.after - 0.35).abs() < 1e-9 && one.worsening.before < 0.21,
            "{one:?}"
        );
    }

    #[test]
    fn few_readings_and_better_ones_do_not_ring() {
        assert_eq!(found(Worse::Larger, &[]).unwrap(), None);
        assert_eq!(found(Worse::Larger, &readings(&[0.1, 0.2, 0.9, 0.9, 0.9, 0.9])).unwrap(), None);
        let mut values = USUAL.to_vec();
        for _ in 0..8 {
            values.push(0.35);
            assert_eq!(found(Worse::Smaller, &readings(&values)).unwrap(), None);
        }
    }
}
