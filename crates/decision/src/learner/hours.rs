//! `hours`: at which hour each unit is there, so that what is sent to them is seen.

use flywheel_algo::hours::{DAY_HOURS, Event, Hours as Learned, Judged, Options, WEEK_HOURS};
use flywheel_base::calendar::{time_zone, wall_hour};
use flywheel_base::{Error, Result, Timestamp, task};
use flywheel_project::resource::learner::Hours;
use flywheel_warehouse::WriteMode;
use serde::Serialize;
use serde_json::json;

use super::recommend::EVERYBODY;
use super::{ARTIFACT, Fitted, LearnerEntry, Measure, write_scores};
use crate::context::Context;
use crate::table::ColumnType::{Integer, Moment, Number, Text};

/// Its entry.
pub(super) const ENTRY: LearnerEntry = LearnerEntry {
    name: "hours",
    about: "At which hour each unit is there: the best hour to send to them; unit_id \"*\" is for everybody of whom nothing is known.",
    columns: &[
        ("unit_id", Text, "the unit, or * for everybody else"),
        (
            "hour",
            Integer,
            "the hour at which the best window begins, 0 to 23, on clocks of the time zone",
        ),
        (
            "weekday",
            Integer,
            "its day of the week, 1 for Monday to 7; none unless days are told apart",
        ),
        ("window_hours", Integer, "how many hours are meant"),
        ("share", Number, "the share of the unit's events that is expected in the window"),
        ("share_everybody", Number, "the share that is expected in everybody's best window"),
        ("events", Number, "the unit's events, older ones for less"),
        ("scored_at", Moment, "the logical moment"),
        ARTIFACT,
    ],
};

/// How many hours a window has unless the file says it.
const WINDOW_HOURS: usize = 3;
const DAY_US: f64 = 86_400_000_000.0;

#[derive(Serialize)]
struct Row {
    unit_id: String,
    hour: i64,
    weekday: Option<i64>,
    window_hours: i64,
    share: f64,
    share_everybody: f64,
    events: f64,
    scored_at: Timestamp,
    artifact: String,
}

/// Learns each unit's hours, and judges them by the newest events.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Hours,
) -> Result<(Fitted, String, u64)> {
    let what = format!("learner \"{name}\": events");
    let frame = ctx.frame(&what, &settings.events).await?;
    let events: Vec<(String, i64)> =
        frame.ids("unit_id")?.into_iter().zip(frame.moments("at")?).collect();
    let (owned, now) = (settings.clone(), ctx.now);
    let (learned, judged, rows_in) = task::compute(move || fit(events, &owned, now)).await?;
    let bytes = serde_json::to_vec(&learned)
        .map_err(|e| Error::internal("hours are no JSON").caused_by(e))?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let rows = rows(&learned, settings, ctx.now, &artifact);
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let detail = json!({
        "units": rows.len().saturating_sub(1), "pull": learned.pull,
        "everybody": learned.everybody(), "time_zone": settings.time_zone.as_deref().unwrap_or("UTC"),
    });
    let measures = judged.map(|judged| Measure {
        name: "share of later events in the window",
        value: Some(judged.own),
        baseline: Some(judged.everybody),
        count: judged.units,
    });
    let measures = measures.into_iter().collect();
    Ok((Fitted { bytes, rows_in: rows_in as u64, detail, measures }, artifact, count))
}

fn fit(
    events: Vec<(String, i64)>,
    settings: &Hours,
    now: Timestamp,
) -> Result<(Learned, Option<Judged>, usize)> {
    let zone = time_zone(settings.time_zone.as_deref().unwrap_or("UTC"))?;
    let options = Options {
        hours: if settings.by_weekday { WEEK_HOURS } else { DAY_HOURS },
        window: settings.window_hours.unwrap_or(WINDOW_HOURS),
        half_life_days: Some(settings.half_life.in_days()),
    };
    let event = |(unit, at): (String, i64)| {
        let (weekday, hour) = wall_hour(Timestamp::from_micros(at), zone);
        let hour = if settings.by_weekday { weekday * DAY_HOURS + hour } else { hour };
        Event { unit, hour, age_days: now.micros().saturating_sub(at) as f64 / DAY_US }
    };
    // What is to come yet says nothing.
    let known = events.into_iter().filter(|(_, at)| *at <= now.micros());
    let known: Vec<Event<String>> = known.map(event).collect();
    let held = settings.holdout.in_days();
    let (before, later): (Vec<_>, Vec<_>) =
        known.iter().cloned().partition(|event| event.age_days >= held);
    let before: Vec<Event<String>> = before
        .into_iter()
        .map(|event| Event { age_days: event.age_days - held, ..event })
        .collect();
    let judged = match before.is_empty() || later.is_empty() {
        true => None,
        false => Learned::fit(&before, &options)?.judge(&later),
    };
    Ok((Learned::fit(&known, &options)?, judged, known.len()))
}

fn rows(learned: &Learned, settings: &Hours, at: Timestamp, artifact: &str) -> Vec<Row> {
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let row = |unit: &str| {
        let best = learned.best(unit);
        Row {
            unit_id: unit.to_owned(),
            hour: whole(best.hour % DAY_HOURS),
            weekday: settings.by_weekday.then(|| whole(best.hour / DAY_HOURS + 1)),
            window_hours: whole(settings.window_hours.unwrap_or(WINDOW_HOURS)),
            share: best.share,
            share_everybody: best.everybody,
            events: best.events,
            scored_at: at,
            artifact: artifact.to_owned(),
        }
    };
    learned.units().filter(|unit| *unit != EVERYBODY).chain([EVERYBODY]).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const DAY: i64 = 24 * HOUR;

    fn settings(text: &str) -> Hours {
        serde_json::from_str(text).unwrap()
    }

    /// Two people of Shanghai over sixty days: one at 21:00 each day, one at 08:00 on Saturdays.
    fn events() -> Vec<(String, i64)> {
        // A Monday at midnight in Shanghai.
        let monday = Timestamp::parse("2026-06-01T00:00:00+08:00").unwrap().micros();
        let daily = (0..60).map(|day| ("late".to_owned(), monday + day * DAY + 21 * HOUR));
        let weekly =
            (0..8).map(|week| ("early".to_owned(), monday + (7 * week + 5) * DAY + 8 * HOUR));
        daily.chain(weekly).collect()
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-07-31T00:00:00+08:00").unwrap()
    }

    #[test]
    fn hours_are_those_of_the_clocks_of_the_zone() {
        let plain =
            settings(r#"{"events": "select 1", "time_zone": "Asia/Shanghai", "window_hours": 1}"#);
        let (learned, judged, count) = fit(events(), &plain, now()).unwrap();
        let rows = rows(&learned, &plain, now(), "a");
        let of = |id: &str| rows.iter().find(|row| row.unit_id == id).unwrap();
        assert_eq!((of("late").hour, of("early").hour, of("late").weekday), (21, 8, None));
        assert!(of("late").share > 0.8 && of("*").events == 0.0);
        assert_eq!((rows.len(), count), (3, 68));
        let judged = judged.unwrap();
        assert_eq!((judged.own, judged.everybody, judged.units), (1.0, 0.5, 2));
        let utc = settings(r#"{"events": "select 1", "window_hours": 1}"#);
        let (learned, ..) = fit(events(), &utc, now()).unwrap();
        assert_eq!((learned.best("late").hour, learned.best("early").hour), (13, 0));
    }

    #[test]
    fn days_of_the_week_are_told_apart_where_it_is_asked_for() {
        let weekly = settings(
            r#"{"events": "select 1", "time_zone": "Asia/Shanghai", "window_hours": 1, "by_weekday": true}"#,
        );
        let (learned, ..) = fit(events(), &weekly, now()).unwrap();
        let rows = rows(&learned, &weekly, now(), "a");
        let early = rows.iter().find(|row| row.unit_id == "early").unwrap();
        assert_eq!((early.weekday, early.hour), (Some(6), 8));
    }

    #[test]
    fn events_to_come_are_left_out_and_none_at_all_is_no_error() {
        let plain = settings(r#"{"events": "select 1"}"#);
        let later = vec![("late".to_owned(), now().micros() + DAY)];
        let (learned, judged, count) = fit(later, &plain, now()).unwrap();
        assert_eq!((learned.units().count(), judged, count), (0, None, 0));
        assert_eq!(rows(&learned, &plain, now(), "a").len(), 1);
        let nowhere = settings(r#"{"events": "select 1", "time_zone": "Asia/Shanghay"}"#);
        assert!(fit(Vec::new(), &nowhere, now()).unwrap_err().report().contains("Asia/Shanghai"));
    }
}
