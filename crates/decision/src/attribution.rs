//! Attribution: successes of a policy credited to the actions before them.
//!
//! ```text
//! events, decisions ─► credit ─► system.credits ─┐
//!                          lift, decisions ──────┴─► summarise ─► system.attribution
//! ```
//! [`credit`] shares each new success among the decisions in treatment about the same unit that lie before it and less
//! than the outcome's window back, by every descriptive method. A success of a unit counts once, by its id, in the turn
//! that first sees it, as long as outcomes know it, whatever moment it is said to be of later; late ones are looked for
//! as long as outcomes are. No decision is made after the fact, so what was credited stays. Deliveries that were given
//! up are no touches. [`summarise`] adds new credits to the sums of before, and spreads what lift shows to be caused
//! over the decisions in treatment that lift is measured by: their window has closed, and they were made under the
//! present share of the holdout. The checkpoint of `system.attribution` says up to which moment credits are in the
//! sums; a turn that is run again does the same.

mod credit;

use std::collections::{BTreeMap, HashMap, HashSet};

use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_project::resource::policy::{Attribution, CreditMethod, Outcome};
use flywheel_warehouse::{Checkpoint, WriteMode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::credit::{Shares, counts, shares};
use crate::context::{Context, is_its_own};
use crate::decide::{HOLDOUT, TREATMENT};
use crate::lift::closed_until;
use crate::lift::sums::{share_now, shares_of};
use crate::outcome::{
    CORRECTED_US, Event, Through, events_of, events_query, final_before, handed_in, literal,
    placed, together,
};
use crate::table::{AttributionRow, CreditRow, LiftRow, SystemTable};

/// Who moves the checkpoints.
const APP: &str = "attribution";
/// What the queries are called in messages.
const WHAT: &str = "attribution of policies";

/// A decision that may get credit.
struct Touch {
    at: i64,
    /// When it could leave: later than it was decided where a person had to approve it.
    since: i64,
    decision: String,
    policy: String,
    action: String,
}

/// The policies with an attribution, by name.
fn declared<'a>(ctx: &'a Context<'_>) -> Vec<(&'a str, &'a Outcome, &'a Attribution)> {
    let policies = ctx.project.policies.iter();
    let declared = policies.filter_map(|(name, policy)| {
        let outcome = policy.outcome.as_ref()?;
        Some((name.as_str(), outcome, outcome.attribution.as_ref()?))
    });
    declared.collect()
}

/// The policies whose actions share the credit of `name`.
fn among<'a>(name: &'a str, attribution: &'a Attribution) -> Vec<&'a str> {
    match attribution.among.is_empty() {
        true => vec![name],
        false => attribution.among.iter().map(String::as_str).collect(),
    }
}

/// What came of crediting: policies whose events cannot be read keep no other one from it.
#[derive(Debug, Default)]
pub struct Credited {
    /// How many successes are new.
    pub successes: usize,
    /// Why some of the policies whose events were joined could not be credited; once they can be, all is made up for.
    pub errors: Vec<Error>,
}

/// Credits new successes to the actions before them, by every descriptive method and in one commit. What could not be
/// joined to decisions is not credited either, until it can be.
///
/// # Errors
/// What is not about the events of one policy: those of lake and metadata.
/// # Cost
/// Nothing without a policy that has an attribution with a descriptive method. Else each such policy reads its events
/// over twice its window, and its decisions over three times as long.
pub async fn credit(ctx: &Context<'_>) -> Result<Credited> {
    let descriptive =
        |of: &Attribution| of.methods.iter().any(|one| *one != CreditMethod::Incremental);
    let mut declared = declared(ctx);
    declared.retain(|(_, _, attribution)| descriptive(attribution));
    let table = SystemTable::named("credits")?;
    // Before the first time everything is new, as far back as it is looked for.
    let (committed, through) = Through::of(ctx.lake, ctx.store, &table.location()?, APP).await?;
    let mut done = Credited::default();
    if declared.is_empty() || committed >= ctx.now.micros() {
        return Ok(done);
    }
    let unread = Through::load(ctx).await?;
    let touches = touches(ctx, &declared, &through).await?;
    let known = known(ctx, &declared, &through).await?;
    let outcomes: Vec<_> = declared.iter().map(|(name, outcome, _)| (*name, *outcome)).collect();
    let mut handed_in = handed_in(ctx, &outcomes, &through).await?;
    let mut events: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    let mut behind: BTreeMap<String, i64> = BTreeMap::new();
    let mut rows = Vec::new();
    for &(name, outcome, attribution) in &declared {
        let since = through.joined(name, ctx.now);
        if unread.is_behind(name) {
            behind.insert(name.to_owned(), since.micros());
            continue;
        }
        let sql = match queried(ctx, (name, outcome), since, &mut events).await {
            Ok(sql) => sql,
            Err(error) if is_its_own(&error) => {
                behind.insert(name.to_owned(), since.micros());
                done.errors.push(placed(ctx, name, error));
                continue;
            }
            Err(error) => return Err(error),
        };
        let found = sql.and_then(|sql| events.get(&sql)).map_or(&[][..], Vec::as_slice);
        let found = together(found, handed_in.remove(name).unwrap_or_default());
        let among = among(name, attribution);
        let known = known.get(name);
        let mut counted: HashSet<(&str, &str)> = HashSet::new();
        for event in found.iter() {
            if known.is_some_and(|known| known.contains(&(event.unit.clone(), event.id.clone()))) {
                continue;
            }
            let of_event = credited(event, &touches, &among, outcome, attribution);
            // Of one that is there twice for a unit the earliest counts that has a touch before it.
            if of_event.is_empty() || !counted.insert((event.unit.as_str(), event.id.as_str())) {
                continue;
            }
            done.successes += 1;
            rows.extend(
                of_event.into_iter().map(|(touch, share)| row(ctx, name, event, touch, share)),
            );
        }
    }
    let position = Through::position(ctx.now, &behind);
    if rows.is_empty() {
        ctx.store.record_idle_position(APP, committed, &position)?;
    } else {
        let checkpoint = Checkpoint { sequence: ctx.now.micros(), position };
        table.append(ctx.lake, &rows, Some((APP.to_owned(), checkpoint))).await?;
    }
    Ok(done)
}

/// Reads the events of a policy, and returns by which query; none if only those count that programs hand in.
async fn queried(
    ctx: &Context<'_>,
    (name, outcome): (&str, &Outcome),
    since: Timestamp,
    events: &mut BTreeMap<String, Vec<Event>>,
) -> Result<Option<String>> {
    let Some((what, sql)) = events_query(ctx, name, outcome, since)? else { return Ok(None) };
    if !events.contains_key(&sql) {
        events.insert(sql.clone(), events_of(ctx, &what, &sql).await?);
    }
    Ok(Some(sql))
}

/// The touches of an event with what each gets of it, oldest first.
fn credited<'t>(
    event: &Event,
    touches: &'t HashMap<String, Vec<Touch>>,
    among: &[&str],
    outcome: &Outcome,
    attribution: &Attribution,
) -> Vec<(&'t Touch, Shares)> {
    let of_unit = touches.get(&event.unit).map_or(&[][..], Vec::as_slice);
    let counted = of_unit.iter().filter(|touch| {
        counts(touch.since, event.at, outcome.window.micros)
            && among.contains(&touch.policy.as_str())
    });
    let counted: Vec<&Touch> = counted.collect();
    let moments: Vec<i64> = counted.iter().map(|touch| touch.since).collect();
    counted.into_iter().zip(shares(&moments, attribution)).collect()
}

fn row(ctx: &Context<'_>, name: &str, event: &Event, touch: &Touch, share: Shares) -> CreditRow {
    let parts = [name.as_bytes(), event.id.as_bytes(), touch.decision.as_bytes()];
    CreditRow {
        credit_id: digest::short(&[b"credit", parts[0], parts[1], parts[2]]),
        policy: name.to_owned(),
        event_id: event.id.clone(),
        unit_id: event.unit.clone(),
        occurred_at: Timestamp::from_micros(event.at),
        value: event.value.filter(|value| value.is_finite()),
        decision_id: touch.decision.clone(),
        touched_policy: touch.policy.clone(),
        action: touch.action.clone(),
        channel: channel(ctx, &touch.policy),
        touched_at: Timestamp::from_micros(touch.at),
        last_touch: share.last_touch,
        first_touch: share.first_touch,
        linear: share.linear,
        time_decay: share.time_decay,
        position: share.position,
        turn: ctx.turn,
        recorded_at: ctx.now,
    }
}

/// The action resource by which what a policy decides leaves.
fn channel(ctx: &Context<'_>, policy: &str) -> Option<String> {
    ctx.project.policies.get(policy)?.action.clone()
}

/// Policies as a condition of SQL.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

/// The decisions in treatment that a new success may be credited to, by unit, what left first before what left later.
async fn touches(
    ctx: &Context<'_>,
    declared: &[(&str, &Outcome, &Attribution)],
    through: &Through,
) -> Result<HashMap<String, Vec<Touch>>> {
    let policies = listed(declared.iter().flat_map(|(name, _, of)| among(name, of)));
    let earliest = declared.iter().map(|(name, outcome, _)| {
        let before = final_before(through.joined(name, ctx.now), outcome);
        before.plus_micros(outcome.window.micros.saturating_neg())
    });
    let earliest = literal(earliest.min().unwrap_or(ctx.now));
    // A delivery that was given up and is delivered later is one that was delivered.
    let sql = format!(
        "select d.policy, d.decision_id, d.unit_id, d.decided_at, d.action from system.decisions d
         left join (select decision_id from system.actions where policy in ({policies})
                    group by decision_id
                    having max(case when status = 'delivered' then 1 else 0 end) = 0) a
           on a.decision_id = d.decision_id
         where d.policy in ({policies}) and d.arm = '{TREATMENT}' and d.decided_at >= {earliest}
           and a.decision_id is null
         order by d.decided_at, d.decision_id"
    );
    let frame = ctx.frame_of_sql(WHAT, &sql).await?;
    let approved = ctx.store.approval_moments()?;
    let rows = frame.ids("unit_id")?.into_iter().zip(frame.moments("decided_at")?);
    let rows = rows.zip(frame.ids("decision_id")?).zip(frame.ids("policy")?);
    let rows = rows.zip(frame.ids("action")?);
    let mut touches: HashMap<String, Vec<Touch>> = HashMap::new();
    for ((((unit, at), decision), policy), action) in rows {
        // What waits for a person has touched nobody yet.
        let since = match approved.get(&decision) {
            None => at,
            Some(Some(approved)) => at.max(approved.micros()),
            Some(None) => continue,
        };
        touches.entry(unit).or_default().push(Touch { at, since, decision, policy, action });
    }
    for of_unit in touches.values_mut() {
        of_unit.sort_by(|a, b| (a.since, &a.decision).cmp(&(b.since, &b.decision)));
    }
    Ok(touches)
}

/// The successes that are credited already, of those that may be seen again: unit and event, by policy.
///
/// As for outcomes, what counts is when they were recorded, which is never before they happened: one whose time is corrected
/// later is known all the same, wherever it was moved to, and as long as its outcome is.
async fn known(
    ctx: &Context<'_>,
    declared: &[(&str, &Outcome, &Attribution)],
    through: &Through,
) -> Result<HashMap<String, HashSet<(String, String)>>> {
    let since = declared
        .iter()
        .map(|(name, outcome, _)| final_before(through.joined(name, ctx.now), outcome))
        .min();
    let sql = format!(
        "select distinct policy, unit_id, event_id from system.credits where recorded_at >= {}",
        literal(since.unwrap_or(ctx.now).plus_micros(-CORRECTED_US))
    );
    let frame = ctx.frame_of_sql(WHAT, &sql).await?;
    let events = frame.ids("unit_id")?.into_iter().zip(frame.ids("event_id")?);
    let mut known: HashMap<String, HashSet<(String, String)>> = HashMap::new();
    for (policy, event) in frame.ids("policy")?.into_iter().zip(events) {
        known.entry(policy).or_default().insert(event);
    }
    Ok(known)
}

/// What `system.attribution` is made of so far.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Position {
    /// Credits recorded up to this moment are in the sums, in microseconds since the epoch (UTC).
    through: i64,
    /// Of each policy, what was declared and up to where decisions are counted.
    policies: BTreeMap<String, Counted>,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Counted {
    /// A digest of what is declared.
    declared: String,
    /// Decisions up to this moment are counted, in microseconds since the epoch (UTC).
    closed: i64,
}

/// What a row is about: policy, method, touched policy, action, channel, day.
type Key = (String, CreditMethod, String, String, Option<String>, String);

/// What a row sums up.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    touches: i64,
    outcomes: f64,
    value: Option<f64>,
}

/// Adds up what each method credits, with what `lift` shows to be caused, in one commit; returns how many rows there
/// are.
///
/// # Errors
/// Those of the lake.
/// # Cost
/// Nothing without a policy that has an attribution. Else new credits and newly closed decisions are read once; where the
/// declaration has changed, all of that policy.
pub async fn summarise(ctx: &Context<'_>, lift: &[LiftRow]) -> Result<usize> {
    let declared = declared(ctx);
    let table = SystemTable::named("attribution")?;
    let last = ctx.checkpoint(&table.location()?, APP).await?;
    if last.as_ref().is_some_and(|last| last.sequence >= ctx.now.micros()) {
        return Ok(0);
    }
    let position: Position = match last {
        Some(last) => serde_json::from_value(last.position).map_err(|e| {
            Error::corrupt("system.attribution: its checkpoint is not readable").caused_by(e)
        })?,
        None => Position::default(),
    };
    if declared.is_empty() && position.policies.is_empty() {
        return Ok(0);
    }
    let mut next = Position { through: ctx.now.micros(), policies: BTreeMap::new() };
    let through = Through::load(ctx).await?;
    // What goes on from the sums of before, and since when; all others are summed up anew.
    let mut same: BTreeMap<&str, Counted> = BTreeMap::new();
    for (name, outcome, attribution) in &declared {
        let among = among(name, attribution);
        let text = serde_json::to_vec(&(outcome.window, attribution, among, share(ctx, name)))
            .map_err(|e| Error::internal("an attribution is no JSON").caused_by(e))?;
        let closed = closed_until(through.known(name, ctx.now), outcome).micros();
        let counted = Counted { declared: digest::short(&[&text]), closed };
        let before = position.policies.get(*name).filter(|one| one.declared == counted.declared);
        if let Some(before) = before {
            same.insert(name, before.clone());
        }
        next.policies.insert((*name).to_owned(), counted);
    }
    let mut sums = sums_before(ctx, &same).await?;
    for (name, outcome, attribution) in &declared {
        let before = same.get(name);
        add_credits(ctx, (name, attribution), before.map(|_| position.through), &mut sums).await?;
        if attribution.methods.contains(&CreditMethod::Incremental) {
            let closed = closed_until(through.known(name, ctx.now), outcome);
            let closed = (before.map(|one| one.closed), closed);
            count_treated(ctx, name, closed, &mut sums).await?;
        }
    }
    let rows = rows(ctx, sums, lift);
    let position = serde_json::to_value(&next)
        .map_err(|e| Error::internal("a position is no JSON").caused_by(e))?;
    let checkpoint = Checkpoint { sequence: ctx.now.micros(), position };
    table.write(ctx.lake, WriteMode::Replace, &rows, Some((APP.to_owned(), checkpoint))).await?;
    Ok(rows.len())
}

/// The sums of before, of policies whose declaration is the same; counts of decisions of days that go on are left out.
async fn sums_before(
    ctx: &Context<'_>,
    same: &BTreeMap<&str, Counted>,
) -> Result<BTreeMap<Key, Sum>> {
    let mut sums = BTreeMap::new();
    if same.is_empty() {
        return Ok(sums);
    }
    let frame = ctx.frame_of_sql(WHAT, "select * from system.attribution").await?;
    for mut object in frame.objects()? {
        // Moments are not needed, and are written otherwise there.
        object.insert("at".to_owned(), json!(ctx.now));
        let row: AttributionRow = serde_json::from_value(Value::Object(object)).map_err(|e| {
            Error::corrupt("system.attribution: a stored row is not readable").caused_by(e)
        })?;
        let Some(counted) = same.get(row.policy.as_str()) else { continue };
        let Some(method) = method(&row.method) else { continue };
        let open = Timestamp::from_micros(counted.closed).date();
        if method == CreditMethod::Incremental && row.day >= open {
            continue;
        }
        let sum = Sum {
            touches: row.touches,
            outcomes: row.outcomes.unwrap_or_default(),
            value: row.value,
        };
        let AttributionRow { policy, touched_policy, action, channel, day, .. } = row;
        sums.insert((policy, method, touched_policy, action, channel, day), sum);
    }
    Ok(sums)
}

/// The descriptive methods and their columns in `system.credits`.
const DESCRIPTIVE: [(CreditMethod, &str); 5] = [
    (CreditMethod::LastTouch, "last_touch"),
    (CreditMethod::FirstTouch, "first_touch"),
    (CreditMethod::Linear, "linear"),
    (CreditMethod::TimeDecay, "time_decay"),
    (CreditMethod::Position, "position"),
];

fn method(name: &str) -> Option<CreditMethod> {
    let descriptive = DESCRIPTIVE.map(|(method, _)| method).into_iter();
    descriptive.chain([CreditMethod::Incremental]).find(|method| method.name() == name)
}

/// Adds the credits of a policy that were recorded after a moment.
async fn add_credits(
    ctx: &Context<'_>,
    (name, attribution): (&str, &Attribution),
    after: Option<i64>,
    sums: &mut BTreeMap<Key, Sum>,
) -> Result<()> {
    let asked: Vec<(CreditMethod, &str)> =
        DESCRIPTIVE.into_iter().filter(|(one, _)| attribution.methods.contains(one)).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let after = after.map_or_else(String::new, |after| {
        format!(" and recorded_at > {}", literal(Timestamp::from_micros(after)))
    });
    let columns: Vec<String> = asked
        .iter()
        .map(|(_, column)| {
            format!(
                "sum({column}) as {column}, sum({column} * value) as {column}_value,
                 sum(case when {column} > 0 then 1 else 0 end) as {column}_touches"
            )
        })
        .collect();
    let among = listed(among(name, attribution).into_iter());
    let sql = format!(
        "select touched_policy, action, channel, cast(cast(touched_at as date) as varchar) as day, {}
         from system.credits
         where policy = '{name}' and touched_policy in ({among}) and recorded_at <= {}{after}
         group by 1, 2, 3, 4 order by 1, 2, 3, 4",
        columns.join(", "),
        literal(ctx.now)
    );
    let frame = ctx.frame_of_sql(WHAT, &sql).await?;
    let keys = frame.ids("touched_policy")?.into_iter().zip(frame.ids("action")?);
    let keys: Vec<_> = keys.zip(frame.text("channel")?).zip(frame.ids("day")?).collect();
    for (method, column) in asked {
        let outcomes = frame.numbers(column)?.into_iter();
        let values = frame.numbers(&format!("{column}_value"))?;
        let touches = frame.integers(&format!("{column}_touches"))?;
        for ((key, (outcomes, value)), touches) in
            keys.iter().zip(outcomes.zip(values)).zip(touches)
        {
            let (((touched, action), channel), day) = key.clone();
            let touches = touches.unwrap_or_default();
            if touches == 0 {
                continue;
            }
            let key = (name.to_owned(), method, touched, action, channel, day);
            let sum = sums.entry(key).or_default();
            sum.touches += touches;
            sum.outcomes += outcomes.unwrap_or_default();
            sum.value = match (sum.value, value) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
    }
    Ok(())
}

/// The present share of a policy's holdout.
fn share(ctx: &Context<'_>, policy: &str) -> Option<f64> {
    ctx.project.policies.get(policy).map(|policy| share_now(policy))
}

/// Counts the decisions in treatment whose window has closed and that were made under the present share of the holdout,
/// from the day on at which they were counted up to `before`.
async fn count_treated(
    ctx: &Context<'_>,
    name: &str,
    (before, until): (Option<i64>, Timestamp),
    sums: &mut BTreeMap<Key, Sum>,
) -> Result<()> {
    let since = before.map_or_else(String::new, |before| {
        let day = Timestamp::from_day(Timestamp::from_micros(before).day());
        format!(" and decided_at >= {}", literal(day))
    });
    let sql = format!(
        "select policy, policy_version as version, action,
                cast(cast(decided_at as date) as varchar) as day,
                max(case when arm = '{HOLDOUT}' then propensity end) as held,
                sum(case when arm = '{TREATMENT}' then 1 else 0 end) as n
         from system.decisions
         where policy = '{name}' and decided_at <= {}{since}
         group by 1, 2, 3, 4 order by 1, 2, 3, 4",
        literal(until)
    );
    let frame = ctx.frame_of_sql(WHAT, &sql).await?;
    let present = share(ctx, name);
    let rows = frame.ids("action")?.into_iter().zip(frame.ids("day")?);
    for (((action, day), count), made) in
        rows.zip(frame.integers("n")?).zip(shares_of(ctx, &frame)?)
    {
        let count = count.unwrap_or_default();
        if count == 0 || made.is_none() || made != present {
            continue;
        }
        let key = (
            name.to_owned(),
            CreditMethod::Incremental,
            name.to_owned(),
            action,
            channel(ctx, name),
            day,
        );
        sums.entry(key).or_default().touches += count;
    }
    Ok(())
}

/// The rows of all sums: what is incremental is what a decision in treatment causes on average, times their number.
fn rows(ctx: &Context<'_>, sums: BTreeMap<Key, Sum>, lift: &[LiftRow]) -> Vec<AttributionRow> {
    let lift: HashMap<&str, &LiftRow> = lift.iter().map(|row| (row.policy.as_str(), row)).collect();
    let row = |(key, sum): (Key, Sum)| {
        let (policy, method, touched_policy, action, channel, day) = key;
        let descriptive = method != CreditMethod::Incremental;
        let caused = lift.get(policy.as_str()).filter(|_| !descriptive);
        let times = |each: Option<f64>| each.map(|each| each * sum.touches as f64);
        AttributionRow {
            turn: ctx.turn,
            at: ctx.now,
            method: method.name().to_owned(),
            descriptive,
            touches: sum.touches,
            outcomes: match descriptive {
                true => Some(sum.outcomes),
                false => times(caused.and_then(|row| row.lift)),
            },
            lower: times(caused.and_then(|row| row.lower)),
            upper: times(caused.and_then(|row| row.upper)),
            value: match descriptive {
                true => sum.value,
                false => times(caused.and_then(|row| row.value_lift)),
            },
            value_lower: times(caused.and_then(|row| row.value_lower)),
            value_upper: times(caused.and_then(|row| row.value_upper)),
            policy,
            touched_policy,
            action,
            channel,
            day,
        }
    };
    sums.into_iter().map(row).collect()
}
