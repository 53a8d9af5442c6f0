//! Outcomes: events of the outside world, joined to the decisions they are counted for.
//!
//! An event that names its decision is counted for it; any other is counted for the latest decision
//! of the policy about the same unit whose window it falls into. Both arms are treated alike. Events
//! are looked for over the window and as long again, so that late ones are found.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Result, Timestamp, digest};
use flywheel_project::resource::policy::Outcome;
use flywheel_warehouse::Checkpoint;
use serde_json::json;

use crate::context::{Context, location};
use crate::table::{OutcomeRow, SystemTable};

/// One decision, as far as outcomes need it.
#[derive(Clone, Debug)]
struct Decision {
    id: String,
    at: i64,
}

/// One event.
#[derive(Clone, Debug)]
struct Event {
    id: String,
    unit: String,
    at: i64,
    value: Option<f64>,
    decision: Option<String>,
}

/// Joins new events to the decisions of the policy `name`; returns how many outcomes are new.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the policy's events do not have the columns they need,
/// else those of the lake.
pub async fn join(ctx: &Context<'_>, name: &str, outcome: &Outcome) -> Result<usize> {
    let app = format!("outcome/{name}");
    let last = ctx.checkpoint(&location("system/outcomes")?, &app).await?;
    if last.is_some_and(|last| last.sequence >= ctx.now.micros()) {
        return Ok(0);
    }
    let window = outcome.window.micros;
    let since = ctx.now.plus_micros(window.saturating_mul(-2));
    let decisions = decisions_since(ctx, name, since).await?;
    let mut rows = Vec::new();
    if !decisions.is_empty() {
        let events = events_since(ctx, name, outcome, since).await?;
        let known = known_since(ctx, name, since).await?;
        for mut row in attribute(&decisions, &events, window, ctx.now) {
            if !known.contains(&row.outcome_id) {
                name.clone_into(&mut row.policy);
                row.turn = ctx.turn;
                rows.push(row);
            }
        }
    }
    let checkpoint =
        Checkpoint { sequence: ctx.now.micros(), position: json!({ "at": ctx.now.micros() }) };
    SystemTable::named("outcomes")?.append(ctx.lake, &rows, Some((app, checkpoint))).await?;
    Ok(rows.len())
}

/// Decisions about each unit since `since`, oldest first.
async fn decisions_since(
    ctx: &Context<'_>,
    name: &str,
    since: Timestamp,
) -> Result<BTreeMap<String, Vec<Decision>>> {
    let sql = format!(
        "select decision_id, unit_id, decided_at from system.decisions
         where policy = '{name}' and decided_at >= {} order by unit_id, decided_at, decision_id",
        literal(since)
    );
    let what = format!("policy \"{name}\": decisions");
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let mut by_unit: BTreeMap<String, Vec<Decision>> = BTreeMap::new();
    let rows = frame
        .ids("decision_id")?
        .into_iter()
        .zip(frame.ids("unit_id")?)
        .zip(frame.moments("decided_at")?);
    for ((id, unit), at) in rows {
        by_unit.entry(unit).or_default().push(Decision { id, at });
    }
    Ok(by_unit)
}

async fn events_since(
    ctx: &Context<'_>,
    name: &str,
    outcome: &Outcome,
    since: Timestamp,
) -> Result<Vec<Event>> {
    let what = format!("policy \"{name}\": outcome events");
    let events = ctx.render(&outcome.events).map_err(|e| e.context(&what))?;
    let sql = format!(
        "select * from ({events}) as events where at > {} and at <= {}",
        literal(since),
        literal(ctx.now)
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let rows = frame.rows();
    let ids = frame.ids("event_id")?;
    let units = frame.ids("unit_id")?;
    let moments = frame.moments("at")?;
    let values = if frame.has("value") { frame.numbers("value")? } else { vec![None; rows] };
    let named =
        if frame.has("decision_id") { frame.text("decision_id")? } else { vec![None; rows] };
    let joined = ids.into_iter().zip(units).zip(moments).zip(values).zip(named);
    let mut events: Vec<Event> = joined
        .map(|((((id, unit), at), value), decision)| Event { id, unit, at, value, decision })
        .collect();
    events.sort_by(|a, b| (a.at, &a.id, &a.unit).cmp(&(b.at, &b.id, &b.unit)));
    Ok(events)
}

async fn known_since(ctx: &Context<'_>, name: &str, since: Timestamp) -> Result<BTreeSet<String>> {
    let sql = format!(
        "select outcome_id from system.outcomes where policy = '{name}' and occurred_at > {}",
        literal(since)
    );
    let what = format!("policy \"{name}\": outcomes");
    Ok(ctx.frame_of_sql(&what, &sql).await?.ids("outcome_id")?.into_iter().collect())
}

/// Counts each event for at most one decision.
fn attribute(
    decisions: &BTreeMap<String, Vec<Decision>>,
    events: &[Event],
    window: i64,
    now: Timestamp,
) -> Vec<OutcomeRow> {
    let mut rows = Vec::new();
    for event in events {
        let Some(of_unit) = decisions.get(&event.unit) else { continue };
        let inside = |decision: &&Decision| {
            decision.at <= event.at && event.at < decision.at.saturating_add(window)
        };
        let (decision, attribution) = match &event.decision {
            Some(id) => (of_unit.iter().find(|decision| decision.id == *id), "decision-id"),
            None => (of_unit.iter().rev().find(inside), "window"),
        };
        let Some(decision) = decision else { continue };
        rows.push(OutcomeRow {
            outcome_id: digest::short(&[b"outcome", decision.id.as_bytes(), event.id.as_bytes()]),
            decision_id: decision.id.clone(),
            policy: String::new(),
            unit_id: event.unit.clone(),
            event_id: event.id.clone(),
            occurred_at: Timestamp::from_micros(event.at),
            value: event.value.filter(|value| value.is_finite()),
            attribution: attribution.to_owned(),
            turn: 0,
            recorded_at: now,
            late: now.micros() >= decision.at.saturating_add(window),
        });
    }
    rows.sort_by(|a, b| a.outcome_id.cmp(&b.outcome_id));
    rows.dedup_by(|a, b| a.outcome_id == b.outcome_id);
    rows
}

/// A moment as SQL.
pub(crate) fn literal(at: Timestamp) -> String {
    format!("timestamp '{}'", at.datetime().format("%Y-%m-%dT%H:%M:%S%.6fZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions() -> BTreeMap<String, Vec<Decision>> {
        let decision = |id: &str, at| Decision { id: id.into(), at };
        BTreeMap::from([("u".into(), vec![decision("d1", 100), decision("d2", 150)])])
    }

    fn event(id: &str, at: i64, decision: Option<&str>) -> Event {
        Event {
            id: id.into(),
            unit: "u".into(),
            at,
            value: Some(2.0),
            decision: decision.map(str::to_owned),
        }
    }

    fn counted(events: &[Event]) -> Vec<(String, String)> {
        let rows = attribute(&decisions(), events, 100, Timestamp::from_micros(1_000));
        let mut pairs: Vec<_> =
            rows.into_iter().map(|row| (row.event_id, row.decision_id)).collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn an_event_counts_once_for_the_latest_decision_whose_window_it_falls_into() {
        let pair = |e: &str, d: &str| (e.to_owned(), d.to_owned());
        assert_eq!(counted(&[event("before", 99, None)]), []);
        assert_eq!(counted(&[event("first", 120, None)]), [pair("first", "d1")]);
        assert_eq!(counted(&[event("both", 160, None)]), [pair("both", "d2")]);
        assert_eq!(counted(&[event("at-end", 250, None)]), [], "a window is half open");
        assert_eq!(counted(&[event("named", 900, Some("d1"))]), [pair("named", "d1")]);
        assert_eq!(counted(&[event("twice", 160, None), event("twice", 160, None)]).len(), 1);
    }

    #[test]
    fn an_event_seen_after_its_window_is_late_and_still_counts() {
        let rows =
            attribute(&decisions(), &[event("e", 160, None)], 100, Timestamp::from_micros(250));
        assert!(rows[0].late);
        let rows =
            attribute(&decisions(), &[event("e", 160, None)], 100, Timestamp::from_micros(249));
        assert!(!rows[0].late);
    }
}
