//! Outcomes: events of the outside world, joined to the decisions they are counted for.
//!
//! An event that names its decision belongs to it; any other to the latest decision of the policy about the same
//! unit whose window it falls into. An event after the window of the decision it names is kept and not measured:
//! units in the holdout get nothing that could name a decision, so it would count in one arm only.
//!
//! Events are what a policy's query finds and what programs have handed in for its decisions (`reported`).
//!
//! Events are looked for over the window and as long again, so that late ones are found; how long ago that is counts
//! from the last time events were joined, so that nothing is missed between turns that lie further apart than a window.
//! An event without a unit is nobody's: it is left out and counted.
//!
//! An event of a unit counts once for a policy, as it was first seen: one whose time is corrected later stays where it was.
//!
//! A policy whose events cannot be read holds up no other one: nothing of it is joined, its clock of outcomes stands still
//! (`through`), and the next join that can read them makes up for it.

mod through;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

use flywheel_base::{Error, Result, Timestamp, digest, statement};
use flywheel_project::resource::policy::Outcome;
use flywheel_state::Store;
use flywheel_warehouse::{Checkpoint, Lake};

pub(crate) use self::through::Through;
use crate::context::{Context, Pending, is_its_own, location};
use crate::frame::Frame;
use crate::reported::TAKEN;
use crate::table::{OutcomeRow, SystemTable};

/// Who moves the checkpoint of the outcomes.
const APP: &str = "outcome";
/// How much longer than events are looked for those that were counted are known, in microseconds: clocks and time zones
/// are corrected by hours, whatever the window.
pub(crate) const CORRECTED_US: i64 = 2 * 86_400_000_000;

/// One decision, as far as outcomes need it.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) id: String,
    pub(crate) at: i64,
}

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) unit: String,
    pub(crate) at: i64,
    pub(crate) value: Option<f64>,
    decision: Option<String>,
}

impl Event {
    /// An event that names no decision.
    #[cfg(test)]
    pub(crate) fn seen(id: &str, unit: &str, at: i64, value: Option<f64>) -> Self {
        Self { id: id.to_owned(), unit: unit.to_owned(), at, value, decision: None }
    }
}

/// What a query for events finds.
struct Events {
    /// Those of a unit, by moment.
    events: Vec<Event>,
    /// How many are nobody's.
    without_unit: usize,
    /// Why some have no value although there is something in the column.
    unreadable: Option<String>,
}

/// What came of joining events.
#[derive(Debug, Default)]
pub struct Joined {
    /// How many outcomes are new, by policy.
    pub outcomes: BTreeMap<String, usize>,
    /// How many events were left out because they have no `unit_id`, of each policy with such events.
    pub without_unit: BTreeMap<String, usize>,
    /// Why events of a policy have no value although their column holds something: it is no number.
    pub unreadable: BTreeMap<String, String>,
    /// Policies whose events could not be read at all.
    pub unread: Vec<Unread>,
}

/// A policy whose events could not be read: nothing is learned, promoted, ramped or taken back by what they would have said.
#[derive(Debug)]
pub struct Unread {
    /// The policy.
    pub policy: String,
    /// Up to when its events are joined: its clock of outcomes stands still there.
    pub since: Timestamp,
    /// Why.
    pub error: Error,
}

/// The policies whose events the newest turn could not read, each with the moment up to which they are joined.
///
/// # Errors
/// Those of lake and metadata.
pub async fn unread(lake: &Lake, store: &Store) -> Result<BTreeMap<String, Timestamp>> {
    let (_, through) = Through::of(lake, store, &location("system/outcomes")?, APP).await?;
    let behind = through.behind().iter();
    Ok(behind.map(|(name, at)| (name.clone(), Timestamp::from_micros(*at))).collect())
}

/// Decisions of one policy about each unit, oldest first.
pub(crate) type ByUnit = HashMap<String, Vec<Decision>>;

/// Joins new events to the decisions of every policy that says what counts as success, in one commit. Policies whose
/// events cannot be read are told, and left as they are.
///
/// # Errors
/// What is not about the events of one policy: those of lake and metadata.
pub async fn join(ctx: &Context<'_>) -> Result<Joined> {
    let declared = ctx.project.policies.iter();
    let mut declared: Vec<(&str, &Outcome)> = declared
        .filter_map(|(name, policy)| Some((name.as_str(), policy.outcome.as_ref()?)))
        .collect();
    let outcomes = declared.iter().map(|(name, _)| ((*name).to_owned(), 0)).collect();
    let mut done = Joined { outcomes, ..Joined::default() };
    let table = location("system/outcomes")?;
    let (committed, through) = Through::of(ctx.lake, ctx.store, &table, APP).await?;
    if committed >= ctx.now.micros() {
        // An attempt that was cut off has joined; what it could not read is told again.
        let unread = declared.iter().filter(|(name, _)| through.is_behind(name));
        done.unread = unread.map(|(name, _)| unread_before(ctx, name, &through)).collect();
        return Ok(done);
    }
    if declared.is_empty() {
        return Ok(done);
    }
    // Decisions of a policy that is behind may be many: they are read once its events can be.
    let (mut late, on_time): (Vec<_>, Vec<_>) =
        declared.iter().copied().partition(|(name, _)| through.is_behind(name));
    let decisions = (!on_time.is_empty()).then(|| decisions_since(ctx, &on_time, &through));
    let mut events: BTreeMap<String, Events> = BTreeMap::new();
    let mut queries: BTreeMap<&str, String> = BTreeMap::new();
    let mut behind: BTreeMap<String, i64> = BTreeMap::new();
    for &(name, outcome) in &declared {
        let since = through.joined(name, ctx.now);
        match queried(ctx, (name, outcome), since, &mut events).await {
            Ok(Some(sql)) => drop(queries.insert(name, sql)),
            Ok(None) => {}
            Err(error) if is_its_own(&error) => {
                behind.insert(name.to_owned(), since.micros());
                let error = unread_error(placed(ctx, name, error));
                done.unread.push(Unread { policy: name.to_owned(), since, error });
            }
            Err(error) => return Err(placed(ctx, name, error)),
        }
    }
    declared.retain(|(name, _)| !behind.contains_key(*name));
    late.retain(|(name, _)| !behind.contains_key(*name));
    let mut handed_in = handed_in(ctx, &declared, &through).await?;
    let mut decisions = match decisions {
        Some(asked) => by_policy(&asked.frame().await?)?,
        None => HashMap::new(),
    };
    if !late.is_empty() {
        decisions.extend(by_policy(&decisions_since(ctx, &late, &through).frame().await?)?);
    }
    let earliest = declared
        .iter()
        .map(|(name, outcome)| final_before(through.joined(name, ctx.now), outcome))
        .min();
    let earliest = earliest.unwrap_or(ctx.now);
    let mut rows = Vec::new();
    for (name, outcome) in declared {
        let found = queries.get(name).and_then(|sql| events.get(sql));
        if let Some(count) = found.map(|found| found.without_unit).filter(|count| *count > 0) {
            done.without_unit.insert(name.to_owned(), count);
        }
        if let Some(why) = found.and_then(|found| found.unreadable.clone()) {
            done.unreadable.insert(name.to_owned(), why);
        }
        let Some(of_units) = decisions.get(name) else { continue };
        let found = found.map_or(&[][..], |found| found.events.as_slice());
        let found = together(found, handed_in.remove(name).unwrap_or_default());
        let of_policy = attribute(of_units, &found, outcome.window.micros, ctx.now);
        rows.extend(of_policy.into_iter().map(|row| OutcomeRow {
            policy: name.to_owned(),
            turn: ctx.turn,
            ..row
        }));
    }
    let rows = unrecorded(ctx, rows, earliest.plus_micros(-CORRECTED_US)).await?;
    for row in &rows {
        *done.outcomes.entry(row.policy.clone()).or_default() += 1;
    }
    let position = Through::position(ctx.now, &behind);
    if rows.is_empty() {
        ctx.store.record_idle_position(APP, committed, &position)?;
    } else {
        let checkpoint = Checkpoint { sequence: ctx.now.micros(), position };
        let table = SystemTable::named("outcomes")?;
        table.append(ctx.lake, &rows, Some((APP.to_owned(), checkpoint))).await?;
    }
    Ok(done)
}

/// Reads the events of a policy, and returns by which query; none if only those count that programs hand in. Policies often
/// count the same events: they are read once.
async fn queried(
    ctx: &Context<'_>,
    (name, outcome): (&str, &Outcome),
    since: Timestamp,
    events: &mut BTreeMap<String, Events>,
) -> Result<Option<String>> {
    let Some((what, sql)) = events_query(ctx, name, outcome, since)? else { return Ok(None) };
    if !events.contains_key(&sql) {
        events.insert(sql.clone(), read(ctx, &what, &sql).await?);
    }
    Ok(Some(sql))
}

/// An error of a policy with the place of its file.
pub(crate) fn placed(ctx: &Context<'_>, name: &str, error: Error) -> Error {
    match ctx.project.policies.get(name) {
        Some(located) => error.context(format!("{}:{}", located.file, located.line)),
        None => error,
    }
}

/// Why the events of a policy were not read, with what follows from that.
fn unread_error(error: Error) -> Error {
    let hint = error.hint_text().map(str::to_owned).unwrap_or_default();
    let until = "Until they can be read, no window of this policy closes, and nothing is learned, promoted or taken back by it; then all of them are joined.";
    error.hint(format!("{hint} {until}").trim_start().to_owned())
}

/// What is told of a policy whose events another attempt at this turn could not read.
fn unread_before(ctx: &Context<'_>, name: &str, through: &Through) -> Unread {
    let error = Error::invalid(format!("policy \"{name}\": outcome events could not be read"))
        .hint(format!("`flywheel policy preview {name}` says why."));
    let error = unread_error(placed(ctx, name, error));
    Unread { policy: name.to_owned(), since: through.known(name, ctx.now), error }
}

/// The moment before which no decision of a policy can gain an outcome any more, once those of `now` are joined.
pub(crate) fn final_before(now: Timestamp, outcome: &Outcome) -> Timestamp {
    now.plus_micros(outcome.window.micros.saturating_mul(-2))
}

/// Asks for the decisions of each policy that could still gain an outcome when events were last joined.
fn decisions_since(
    ctx: &Context<'_>,
    declared: &[(&str, &Outcome)],
    through: &Through,
) -> Pending<'static> {
    let start =
        |name: &str, outcome: &Outcome| final_before(through.joined(name, ctx.now), outcome);
    let starts = declared.iter().map(|(name, outcome)| (name, start(name, outcome)));
    let each = starts
        .clone()
        .map(|(name, since)| format!("(policy = '{name}' and decided_at >= {})", literal(since)));
    let each = each.collect::<Vec<_>>().join(" or ");
    let earliest = starts.map(|(_, since)| since).min().unwrap_or(ctx.now);
    // The bound on all of them is what spares the files of older decisions.
    let sql = format!(
        "select policy, decision_id, unit_id, decided_at from system.decisions
         where decided_at >= {} and ({each})",
        literal(earliest)
    );
    ctx.begin("decisions of policies", sql)
}

fn by_policy(frame: &Frame<'_>) -> Result<HashMap<String, ByUnit>> {
    let mut by_policy: HashMap<String, ByUnit> = HashMap::new();
    let policies = frame.texts("policy")?;
    let ids = frame.ids("decision_id")?.into_iter().zip(frame.ids("unit_id")?);
    let rows = policies.iter().zip(ids).zip(frame.moments("decided_at")?);
    for ((policy, (id, unit)), at) in rows {
        if !by_policy.contains_key(policy) {
            by_policy.insert(policy.to_owned(), ByUnit::new());
        }
        let Some(by_unit) = by_policy.get_mut(policy) else { continue };
        by_unit.entry(unit).or_default().push(Decision { id, at });
    }
    let each = by_policy.values_mut().flat_map(HashMap::values_mut);
    each.for_each(|decisions| decisions.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id))));
    Ok(by_policy)
}

/// What the query is called in messages, and the query for the events of a policy; none if only those count that programs
/// hand in.
pub(crate) fn events_query(
    ctx: &Context<'_>,
    name: &str,
    outcome: &Outcome,
    joined: Timestamp,
) -> Result<Option<(String, String)>> {
    let Some(events) = &outcome.events else { return Ok(None) };
    let what = format!("policy \"{name}\": outcome events");
    let events = ctx.render(events).map_err(|e| e.context(&what))?;
    let events = statement::one(&what, &events)?;
    // A comment at its end closes no bracket.
    let sql = format!(
        "select * from (\n{events}\n) as events where at > {} and at <= {}",
        literal(final_before(joined, outcome)),
        literal(ctx.now)
    );
    Ok(Some((what, sql)))
}

/// What programs have handed in for the decisions of policies, by policy and moment: as far back as events are looked for.
pub(crate) async fn handed_in(
    ctx: &Context<'_>,
    declared: &[(&str, &Outcome)],
    through: &Through,
) -> Result<HashMap<String, Vec<Event>>> {
    let mut by_policy = HashMap::new();
    let head = ctx.lake.head(&location("system/reported_outcomes")?).await?;
    if declared.is_empty() || head.is_none_or(|head| head.files == 0) {
        return Ok(by_policy);
    }
    let each = declared.iter().map(|(name, outcome)| {
        let since = final_before(through.joined(name, ctx.now), outcome);
        format!("(policy = '{name}' and at > {})", literal(since))
    });
    let sql = format!(
        "select policy, event_id, unit_id, at, value, decision_id from system.reported_outcomes
         where status = '{TAKEN}' and at <= {} and ({})",
        literal(ctx.now),
        each.collect::<Vec<_>>().join(" or ")
    );
    let frame = ctx.frame_of_sql("reported outcomes", &sql).await?;
    let policies = frame.texts("policy")?;
    for (name, _) in declared {
        let wanted: Vec<bool> = policies.iter().map(|policy| policy == *name).collect();
        let found = events_in(&frame.only(&wanted)?)?;
        by_policy.insert((*name).to_owned(), found.events);
    }
    Ok(by_policy)
}

/// Events of a query and those that were handed in, by moment.
pub(crate) fn together(found: &[Event], handed_in: Vec<Event>) -> Cow<'_, [Event]> {
    if handed_in.is_empty() {
        return Cow::Borrowed(found);
    }
    let mut all = handed_in;
    all.extend_from_slice(found);
    all.sort_by(by_moment);
    Cow::Owned(all)
}

fn by_moment(a: &Event, b: &Event) -> Ordering {
    (a.at, &a.id, &a.unit).cmp(&(b.at, &b.id, &b.unit))
}

/// The events of units that a query finds, by moment.
pub(crate) async fn events_of(ctx: &Context<'_>, what: &str, sql: &str) -> Result<Vec<Event>> {
    Ok(read(ctx, what, sql).await?.events)
}

async fn read(ctx: &Context<'_>, what: &str, sql: &str) -> Result<Events> {
    let found = events_in(&ctx.frame_of_sql(what, sql).await?)?;
    if found.without_unit > 0 {
        tracing::warn!(what, count = found.without_unit, "events without unit_id are left out");
    }
    if let Some(why) = &found.unreadable {
        tracing::warn!(what, why, "events have no value");
    }
    Ok(found)
}

fn events_in(frame: &Frame<'_>) -> Result<Events> {
    let rows = frame.rows();
    let ids = frame.ids("event_id")?;
    let units = frame.text("unit_id")?;
    let moments = frame.moments("at")?;
    let mut unreadable = None;
    let values = match frame.has("value") {
        false => vec![None; rows],
        // One that cannot be read is an event all the same.
        true => frame.numbers("value").or_else(|error| {
            unreadable = Some(error.to_string());
            frame.numbers_if_any("value")
        })?,
    };
    let named =
        if frame.has("decision_id") { frame.text("decision_id")? } else { vec![None; rows] };
    let joined = ids.into_iter().zip(units).zip(moments).zip(values).zip(named);
    let mut events: Vec<Event> = joined
        .filter_map(|((((id, unit), at), value), decision)| {
            // An empty cell of a file names no decision.
            let decision = decision.filter(|id| !id.is_empty());
            Some(Event { id, unit: unit?, at, value, decision })
        })
        .collect();
    events.sort_by(by_moment);
    Ok(Events { without_unit: rows - events.len(), events, unreadable })
}

/// Those of `rows` whose event is not recorded since `since` for the policy and the unit.
async fn unrecorded(
    ctx: &Context<'_>,
    mut rows: Vec<OutcomeRow>,
    since: Timestamp,
) -> Result<Vec<OutcomeRow>> {
    if rows.is_empty() {
        return Ok(rows);
    }
    // An event is recorded when it has happened, so this finds all that happened since then, and those that seemed to
    // have happened before.
    let sql = format!(
        "select policy, unit_id, event_id from system.outcomes where recorded_at >= {}",
        literal(since)
    );
    let frame = ctx.frame_of_sql("outcomes", &sql).await?;
    let policies = frame.texts("policy")?;
    let (units, events) = (frame.texts("unit_id")?, frame.texts("event_id")?);
    let known: HashSet<(&str, &str, &str)> = policies
        .iter()
        .zip(units.iter())
        .zip(events.iter())
        .map(|((policy, unit), event)| (policy, unit, event))
        .collect();
    rows.retain(|row| {
        !known.contains(&(row.policy.as_str(), row.unit_id.as_str(), row.event_id.as_str()))
    });
    Ok(rows)
}

/// How an event that names its decision is joined to it.
const BY_ID: &str = "decision-id";
/// How one is that names its decision and comes after the window of it.
const AFTER_WINDOW: &str = "after-window";
/// How one that names no decision is joined.
const BY_WINDOW: &str = "window";

/// The condition on `system.outcomes` under which rows are measured.
pub(crate) fn measured() -> String {
    format!("attribution <> '{AFTER_WINDOW}'")
}

/// Whether a row is measured.
pub(crate) fn is_measured(row: &OutcomeRow) -> bool {
    row.attribution != AFTER_WINDOW
}

/// Joins each event to at most one decision; of one that is there twice for a unit the earliest counts.
pub(crate) fn attribute(
    decisions: &ByUnit,
    events: &[Event],
    window: i64,
    now: Timestamp,
) -> Vec<OutcomeRow> {
    let mut rows = Vec::new();
    let mut counted: HashSet<(&str, &str)> = HashSet::new();
    for event in events {
        let Some(of_unit) = decisions.get(&event.unit) else { continue };
        let before_end = |decision: &Decision| event.at < decision.at.saturating_add(window);
        let decision = match &event.decision {
            Some(id) => of_unit.iter().find(|decision| decision.id == *id),
            None => of_unit.iter().rev().find(|one| one.at <= event.at && before_end(one)),
        };
        let Some(decision) = decision else { continue };
        if !counted.insert((event.unit.as_str(), event.id.as_str())) {
            continue;
        }
        let attribution = match &event.decision {
            None => BY_WINDOW,
            Some(_) if before_end(decision) => BY_ID,
            Some(_) => AFTER_WINDOW,
        };
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
    rows
}

/// A moment as SQL.
pub(crate) fn literal(at: Timestamp) -> String {
    format!("timestamp '{}'", at.datetime().format("%Y-%m-%dT%H:%M:%S%.6fZ"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn an_event_without_a_unit_is_left_out_and_counted() {
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["e1", "e2", "e3"]));
        let units: ArrayRef = Arc::new(StringArray::from(vec![Some("u"), None, Some("v")]));
        let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![30_i64, 20, 10]));
        let columns = [("event_id", ids), ("unit_id", units), ("at", at)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let found = events_in(&Frame::new("policy \"p\": outcome events", vec![batch])).unwrap();
        let pairs: Vec<_> = found.events.iter().map(|one| (&*one.id, &*one.unit)).collect();
        assert_eq!((pairs, found.without_unit), (vec![("e3", "v"), ("e1", "u")], 1));
    }

    fn decisions() -> ByUnit {
        let decision = |id: &str, at| Decision { id: id.into(), at };
        HashMap::from([("u".into(), vec![decision("d1", 100), decision("d2", 150)])])
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
        assert_eq!(counted(&[event("named", 160, Some("d1"))]), [pair("named", "d1")]);
        assert_eq!(counted(&[event("twice", 160, None), event("twice", 160, None)]).len(), 1);
        let moved = [event("moved", 120, None), event("moved", 160, None)];
        assert_eq!(counted(&moved), [pair("moved", "d1")], "as it was first seen");
    }

    #[test]
    fn what_is_found_and_handed_in_too_counts_once() {
        let found = [event("order", 120, None), event("other", 130, None)];
        let all = together(&found, vec![event("order", 125, Some("d1"))]);
        let ids: Vec<_> = all.iter().map(|one| (one.at, &*one.id)).collect();
        assert_eq!(ids, [(120, "order"), (125, "order"), (130, "other")]);
        assert_eq!(counted(&all).len(), 2);
        assert!(matches!(together(&found, Vec::new()), Cow::Borrowed(_)));
    }

    #[test]
    fn an_event_after_the_window_of_the_decision_it_names_is_kept_and_not_measured() {
        let how = |at| {
            let events = [event("e", at, Some("d1"))];
            let rows = attribute(&decisions(), &events, 100, Timestamp::from_micros(1_000));
            rows[0].attribution.clone()
        };
        assert_eq!([how(199), how(200), how(900)], [BY_ID, AFTER_WINDOW, AFTER_WINDOW]);
        assert_eq!(how(99), BY_ID, "clocks of others may be behind");
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
