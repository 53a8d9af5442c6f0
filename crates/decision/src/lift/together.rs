//! What all policies bring together: the units that no policy treats beside everybody else.
//!
//! A unit is followed from its first decision under the present global holdout on, by whichever policy: one that is in
//! the holdout of a policy, and may be treated by another, belongs to everybody else. Its time is divided into windows of
//! the longest `outcome.window` of all policies; each that is over counts once, as a decision of a policy does, and units
//! are the clusters. Any event that a policy counts as success is one, each event of a unit once. Whether and when a unit
//! is decided for first never depends on the arm, so the windows of both arms are alike.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use flywheel_algo::stats::srm;
use flywheel_base::{Error, Result, Timestamp, statement};
use flywheel_project::resource::project_file::GlobalHoldout;

use super::{Arms, rate_interval, value_interval};
use crate::context::Context;
use crate::decide::{GLOBAL_HOLDOUT, global_text};
use crate::outcome::{Event, events_of, literal};
use crate::reported::TAKEN;
use crate::table::LiftRow;

/// What the row of all policies together has in the place of a policy's name.
pub const ALL: &str = "*";
/// How far back units are followed at most, in microseconds: 400 days. What happened before is neither read nor counted.
const FOLLOWED_US: i64 = 400 * 86_400_000_000;
/// What the queries are called in messages.
pub(super) const WHAT: &str = "lift of all policies together";

/// A unit that any policy decided for.
#[derive(Clone, Debug, PartialEq)]
struct Followed {
    held: bool,
    since: i64,
    /// The windows with an outcome.
    hit: BTreeSet<i64>,
    value: f64,
}

/// The row of all policies together; none without a holdout of all policies, or without a policy that has an outcome.
///
/// # Errors
/// Those of the outcomes' SQL and of the lake.
/// # Cost
/// The success events of all policies since the first unit that is followed, at most of 400 days, at each turn; policies that
/// count by the same SQL share one reading.
pub(super) async fn row(ctx: &Context<'_>, decisions: i64) -> Result<Option<LiftRow>> {
    let Some(global) = &ctx.project.file.holdout else { return Ok(None) };
    let outcomes = ctx.project.policies.values().filter_map(|policy| policy.outcome.as_ref());
    let Some(window) = outcomes.map(|outcome| outcome.window.micros).max() else {
        return Ok(None);
    };
    let window = window.max(1);
    let mut units = followed(ctx, global).await?;
    // Whose first window is not over is not measured yet.
    units.retain(|_, unit| whole_windows(unit.since, ctx.now, window) > 0);
    if let Some(since) = units.values().map(|unit| unit.since).min() {
        let events = events(ctx, since).await?;
        count(&mut units, &events, ctx.now, window);
    }
    let arms = arms(&units, ctx.now, window)?;
    let difference = arms.treated.rate().zip(arms.held.rate()).map(|(a, b)| a - b);
    let interval = rate_interval(&arms)?;
    let value = value_interval(&arms)?;
    Ok(Some(LiftRow {
        turn: ctx.turn,
        at: ctx.now,
        policy: ALL.to_owned(),
        decisions,
        measured: arms.measured,
        treated_units: i64::try_from(arms.treated.units()).unwrap_or(i64::MAX),
        holdout_units: i64::try_from(arms.held.units()).unwrap_or(i64::MAX),
        treated_rate: arms.treated.rate(),
        holdout_rate: arms.held.rate(),
        lift: difference.filter(|_| interval.is_some()),
        lower: interval.map(|interval| interval.low),
        upper: interval.map(|interval| interval.high),
        value_lift: value.map(|interval| interval.estimate),
        value_lower: value.map(|interval| interval.low),
        value_upper: value.map(|interval| interval.high),
        split_p: split_p(global.share.value(), &arms)?,
        artifact: None,
    }))
}

/// How many windows are over since a moment.
fn whole_windows(since: i64, now: Timestamp, window: i64) -> i64 {
    now.micros().saturating_sub(since).div_euclid(window).max(0)
}

/// Everybody who was decided for under the present holdout of all policies.
async fn followed(ctx: &Context<'_>, global: &GlobalHoldout) -> Result<BTreeMap<String, Followed>> {
    let table = ctx.frame_of_sql(WHAT, "select * from system.decisions limit 0").await?;
    if !table.has("global_holdout") {
        return Ok(BTreeMap::new());
    }
    let text = global_text(global)?.replace('\'', "''");
    let sql = format!(
        "select unit_id, max(case when arm = '{GLOBAL_HOLDOUT}' then 1 else 0 end) as held, min(decided_at) as since
         from system.decisions where global_holdout = '{text}' and decided_at <= {} group by unit_id",
        literal(ctx.now)
    );
    let frame = ctx.frame_of_sql(WHAT, &sql).await?;
    let earliest = ctx.now.plus_micros(-FOLLOWED_US).micros();
    let rows = frame.ids("unit_id")?.into_iter().zip(frame.integers("held")?);
    let unit = |((id, held), since): ((String, Option<i64>), i64)| {
        let (held, since) = (held == Some(1), since.max(earliest));
        (id, Followed { held, since, hit: BTreeSet::new(), value: 0.0 })
    };
    Ok(rows.zip(frame.moments("since")?).map(unit).collect())
}

/// Every event that a policy counts as success, since a moment.
async fn events(ctx: &Context<'_>, since: i64) -> Result<Vec<Event>> {
    let mut queries: BTreeMap<String, String> = BTreeMap::new();
    let within =
        format!("at >= {} and at <= {}", literal(Timestamp::from_micros(since)), literal(ctx.now));
    for (name, policy) in &ctx.project.policies {
        let Some(events) = policy.outcome.as_ref().and_then(|outcome| outcome.events.as_ref())
        else {
            continue;
        };
        let what = format!("policy \"{name}\": outcome events");
        let events = ctx.render(events).map_err(|e| e.context(&what))?;
        let events = statement::one(&what, &events)?;
        let sql = format!("select * from (\n{events}\n) as events where {within}");
        // Policies often count the same events: they are read once.
        queries.entry(sql).or_insert(what);
    }
    let handed_in = format!(
        "select event_id, unit_id, at, value, decision_id from system.reported_outcomes
         where status = '{TAKEN}' and {within}"
    );
    queries.insert(handed_in, "reported outcomes".to_owned());
    let mut all = Vec::new();
    for (sql, what) in &queries {
        all.extend(events_of(ctx, what, sql).await?);
    }
    Ok(all)
}

/// Counts the windows with an event, and what events within whole windows are worth.
fn count(units: &mut BTreeMap<String, Followed>, events: &[Event], now: Timestamp, window: i64) {
    let mut counted: HashSet<(&str, &str)> = HashSet::new();
    for event in events {
        let Some(unit) = units.get_mut(&event.unit) else { continue };
        let place = event.at.saturating_sub(unit.since).div_euclid(window);
        if !(0..whole_windows(unit.since, now, window)).contains(&place) {
            continue;
        }
        if counted.insert((event.unit.as_str(), event.id.as_str())) {
            unit.hit.insert(place);
            unit.value += event.value.filter(|value| value.is_finite()).unwrap_or_default();
        }
    }
}

fn arms(units: &BTreeMap<String, Followed>, now: Timestamp, window: i64) -> Result<Arms> {
    let mut arms = Arms::default();
    for unit in units.values() {
        let windows = whole_windows(unit.since, now, window);
        let (size, hits) = (windows as f64, unit.hit.len() as f64);
        arms.measured = arms.measured.saturating_add(windows);
        let (rate, worth) = if unit.held {
            (&mut arms.held, &mut arms.held_value)
        } else {
            arms.treated_decisions = arms.treated_decisions.saturating_add(windows);
            (&mut arms.treated, &mut arms.treated_value)
        };
        rate.add(hits, size)?;
        worth.add(unit.value, size)?;
    }
    Ok(arms)
}

/// The sample ratio check: is as large a share held back as declared?
fn split_p(share: f64, arms: &Arms) -> Result<Option<f64>> {
    let units = [arms.treated.units(), arms.held.units()];
    if share <= 0.0 || share >= 1.0 || units.iter().sum::<u64>() == 0 {
        return Ok(None);
    }
    let mismatch = srm::mismatch(&units, &[1.0 - share, share]);
    Ok(Some(mismatch.map_err(|error: Error| error.context(WHAT))?.p_value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(held: bool, since: i64) -> Followed {
        Followed { held, since, hit: BTreeSet::new(), value: 0.0 }
    }

    #[test]
    fn a_window_counts_once_it_is_over_and_an_event_once_whoever_counts_it() {
        let mut units =
            BTreeMap::from([("t".to_owned(), unit(false, 100)), ("h".to_owned(), unit(true, 150))]);
        let event = |id: &str, unit: &str, at| Event::seen(id, unit, at, Some(2.0));
        let events = [
            event("before", "t", 99),
            event("first", "t", 100),
            event("first", "t", 100),
            event("again", "t", 109),
            event("third", "t", 120),
            event("open", "t", 181),
            event("held", "h", 151),
            event("nobody", "x", 151),
        ];
        let now = Timestamp::from_micros(185);
        count(&mut units, &events, now, 10);
        let of =
            |name: &str| (units[name].hit.iter().copied().collect::<Vec<_>>(), units[name].value);
        assert_eq!(of("t"), (vec![0, 2], 6.0));
        assert_eq!(of("h"), (vec![0], 2.0));
        let arms = arms(&units, now, 10).unwrap();
        assert_eq!((arms.measured, arms.treated_decisions), (8 + 3, 8));
        assert_eq!((arms.treated.rate(), arms.held.rate()), (Some(0.25), Some(1.0 / 3.0)));
        assert_eq!(split_p(0.0, &arms).unwrap(), None);
        assert!(split_p(0.5, &arms).unwrap().is_some_and(|p| p > 0.9));
    }
}
