//! Acting: what the outbox holds leaves, once per idempotency key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result, Timestamp, digest};
use flywheel_connect::action::{
    Action, ActionContext, ActionEntry, Delivery, NamedConnection, Outcome,
};
use flywheel_project::Project;
use flywheel_project::resource::action::{Action as Declared, Guarantee};
use flywheel_state::{Fence, OutboxEntry, OutboxStatus};
use flywheel_warehouse::{Duplicates, WriteMode};
use serde_json::Value;

use crate::constraint::{Held, held};
use crate::context::Context;
use crate::table::{ActionRow, SystemTable};

/// How many deliveries one call takes from the outbox.
const DELIVERIES_MAX: u32 = 100_000;
/// How many times what is under way at once is leased together, where sending again is harmless.
const LEASED_AT_ONCE: usize = 8;
/// The longest wait between two attempts, in microseconds.
const BACKOFF_MAX_US: i64 = 3_600_000_000;

/// How long the outbox remembers what was delivered, in microseconds: far longer than a turn can stay open. Nobody adds
/// an entry of an older decision again, since the outbox no longer knows that it was delivered.
pub(crate) const REMEMBERED_US: i64 = 30 * 86_400_000_000;

/// What came of emptying the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acted {
    /// Deliveries the receiver now has.
    pub delivered: usize,
    /// Deliveries to be tried again.
    pub retried: usize,
    /// Deliveries given up.
    pub dead: usize,
    /// How many of those were given up because their policy is not declared any more, by policy.
    pub gone: BTreeMap<String, usize>,
    /// How many of those were given up because their receiver refused them, or was not reached by the last attempt, by
    /// policy.
    pub given_up: BTreeMap<String, usize>,
    /// How many of those were cut off before and may be sent only once.
    pub uncertain: usize,
    /// How many deliveries wait because their action is not declared any more, by action.
    pub waiting: BTreeMap<String, usize>,
    /// How many were given up for good because consent was withdrawn, or because they waited for too long, by policy.
    pub withheld: BTreeMap<String, usize>,
    /// How many wait for the end of their policy's quiet hours, by policy.
    pub quiet: BTreeMap<String, usize>,
    /// Why consent or quiet hours of policies cannot be looked up, as a person reads it; what is due of them waits.
    pub not_looked_up: Vec<String>,
    /// Why actions cannot be set up, as a person reads it; what is due of them waits.
    pub not_set_up: Vec<String>,
    /// Why all policies are stopped, if they are: nothing leaves.
    pub halted: Option<String>,
    /// Deliveries that nobody approved in time and that have ended.
    pub expired: usize,
}

/// Delivers everything that is due and shows what ended in `system.actions`.
///
/// Deliveries are leased before they leave. If the process dies between sending and recording, a receiver may see a
/// delivery twice with the same idempotency key (the file action writes the same file again); one whose action is
/// declared at-most-once is given up instead, and at most as many as are under way at once can be cut off.
///
/// What has to wait for the end of quiet hours becomes due then. What has lost its consent, or waited for too long, is given
/// up for good. What is due of a policy that is not declared any more is given up; what is due of an action that is not
/// declared any more, or cannot be set up, waits.
///
/// # Errors
/// Those of lake and metadata; a delivery that fails is no error.
/// [`flywheel_base::ErrorKind::Conflict`] if another process has begun to deliver meanwhile.
pub async fn act(ctx: &Context<'_>) -> Result<Acted> {
    act_until(ctx, &|| false).await
}

/// As [`act`], until `stops` says that it is time to stop: what is under way then ends, and what is still due stays due.
///
/// # Errors
/// As [`act`].
pub async fn act_until(ctx: &Context<'_>, stops: &(dyn Fn() -> bool + Sync)) -> Result<Acted> {
    let mut acted = Acted { expired: ctx.store.expire_approvals(ctx.now)?, ..Acted::default() };
    if let Some(halt) = ctx.store.halt()? {
        acted.halted = Some(halt.reason);
        log(ctx).await?;
        return Ok(acted);
    }
    match empty(ctx, stops, &mut acted).await {
        // Somebody has stopped all policies meanwhile.
        Err(error) if error.kind() == ErrorKind::Blocked => match ctx.store.halt()? {
            Some(halt) => acted.halted = Some(halt.reason),
            None => return Err(error),
        },
        Err(error) if error.kind() == ErrorKind::Conflict => return Err(error),
        Err(error) => {
            log(ctx).await?;
            return Err(error);
        }
        Ok(()) => {}
    }
    log(ctx).await?;
    Ok(acted)
}

/// Delivers what is due.
async fn empty(
    ctx: &Context<'_>,
    stops: &(dyn Fn() -> bool + Sync),
    acted: &mut Acted,
) -> Result<()> {
    // What waits for a policy to go on is not even read: it would take the place of what can leave.
    let waiting = waiting(ctx)?;
    let mut due = ctx.store.due_but(ctx.now, DELIVERIES_MAX, &waiting)?;
    if due.is_empty() && !ctx.store.sending()? {
        return Ok(());
    }
    let taken = ctx.store.take_outbox(ctx.now)?;
    acted.dead += taken.uncertain;
    acted.uncertain = taken.uncertain;
    if taken.again > 0 || taken.uncertain > 0 {
        tracing::warn!(again = taken.again, uncertain = taken.uncertain, "deliveries were cut off");
        due = ctx.store.due_but(ctx.now, DELIVERIES_MAX, &waiting)?;
    }
    let mut by_policy: BTreeMap<String, Vec<OutboxEntry>> = BTreeMap::new();
    let mut waits: BTreeMap<String, bool> = BTreeMap::new();
    let mut gone = Vec::new();
    for entry in due {
        if !ctx.project.policies.contains_key(&entry.policy) {
            gone.push(entry);
            continue;
        }
        let waits = match waits.get(&entry.policy) {
            Some(known) => *known,
            None => *waits.entry(entry.policy.clone()).or_insert(stopped(ctx, &entry.policy)?),
        };
        if !waits {
            by_policy.entry(entry.policy.clone()).or_default().push(entry);
        }
    }
    let mut by_action: BTreeMap<String, Vec<OutboxEntry>> = BTreeMap::new();
    for (name, entries) in by_policy {
        for entry in constrained(ctx, taken.fence, &name, entries, acted).await? {
            by_action.entry(entry.action.clone()).or_default().push(entry);
        }
    }
    for entries in by_action.values_mut() {
        entries.sort_by(|a, b| (a.turn, &a.policy, &a.key).cmp(&(b.turn, &b.policy, &b.key)));
    }
    give_up(ctx, taken.fence, gone, acted)?;
    // An action that fails holds up no other one, and is told in the end.
    let mut failed = None;
    for (name, mut entries) in by_action {
        let Some(declared) = ctx.project.actions.get(&name) else {
            acted.waiting.insert(name, entries.len());
            continue;
        };
        let way = match build(ctx, &name, declared) {
            Ok(action) => Way { name: &name, declared, action },
            Err(error) => {
                acted.not_set_up.push(error.report());
                continue;
            }
        };
        match deliver(ctx, &way, taken.fence, (entries.as_mut_slice(), stops), acted).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Blocked) => {
                return Err(error);
            }
            Err(error) => failed = failed.or(Some(error)),
            Ok(()) => {}
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Those of a policy's deliveries that may leave now; what has to wait becomes due later, and what must not leave any more
/// is given up for good.
async fn constrained(
    ctx: &Context<'_>,
    fence: Fence,
    name: &str,
    entries: Vec<OutboxEntry>,
    acted: &mut Acted,
) -> Result<Vec<OutboxEntry>> {
    let Some(policy) = ctx.project.policies.get(name) else { return Ok(entries) };
    let mut against = match held(ctx, name, policy, &entries).await {
        Ok(against) => against,
        // One policy's query holds up no other one's deliveries, and nothing leaves without an answer.
        Err(error) => {
            acted.not_looked_up.push(error.report());
            return Ok(Vec::new());
        }
    };
    let (mut free, mut changed) = (Vec::with_capacity(entries.len()), Vec::new());
    for mut entry in entries {
        match against.remove(&entry.key) {
            None => {
                free.push(entry);
                continue;
            }
            Some(Held::Until(until)) => {
                entry.due_at = until;
                *acted.quiet.entry(name.to_owned()).or_default() += 1;
            }
            Some(Held::Never(reason)) => {
                entry.status = OutboxStatus::Discarded;
                entry.ended_at = Some(ctx.now);
                entry.error = Some(reason);
                *acted.withheld.entry(name.to_owned()).or_default() += 1;
            }
        }
        changed.push(entry);
    }
    if !changed.is_empty() {
        // Nothing is sent: what is cut off here is pending again.
        ctx.store.lease(fence, &changed, false)?;
        ctx.store.settle(fence, &changed)?;
    }
    Ok(free)
}

/// Gives up what is due of policies that are not declared any more; a person may let it leave once they are back.
fn give_up(
    ctx: &Context<'_>,
    fence: Fence,
    mut entries: Vec<OutboxEntry>,
    acted: &mut Acted,
) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    // Nothing is sent: what is cut off here is pending again.
    ctx.store.lease(fence, &entries, false)?;
    for entry in &mut entries {
        entry.status = OutboxStatus::Dead;
        entry.ended_at = Some(ctx.now);
        entry.error = Some(format!("not sent: its policy \"{}\" is gone", entry.policy));
        *acted.gone.entry(entry.policy.clone()).or_default() += 1;
    }
    acted.dead += entries.len();
    ctx.store.settle(fence, &entries)?;
    Ok(())
}

/// A way for deliveries to leave.
struct Way<'a> {
    name: &'a str,
    declared: &'a Declared,
    action: Box<dyn Action>,
}

/// Delivers what is due of one action, part by part: leased, sent, settled.
async fn deliver(
    ctx: &Context<'_>,
    way: &Way<'_>,
    fence: Fence,
    (entries, stops): (&mut [OutboxEntry], &(dyn Fn() -> bool + Sync)),
    acted: &mut Acted,
) -> Result<()> {
    let Way { name, declared, action } = way;
    let rules = Rules {
        attempts_max: declared.attempts,
        guarantee: declared.guarantee,
        backoff_us: declared.backoff.micros,
    };
    let once = rules.guarantee == Guarantee::AtMostOnce;
    let under_way = action.under_way().max(1);
    let at_once = if once { under_way } else { under_way.saturating_mul(LEASED_AT_ONCE) };
    bundle(entries, action.together());
    let mut rest = entries;
    while !rest.is_empty() && !stops() {
        let count = whole_bundles(rest, at_once);
        let (part, others) = std::mem::take(&mut rest).split_at_mut(count);
        rest = others;
        let leased = ctx.store.lease(fence, part, once)?;
        if leased != part.len() {
            // Nothing of it has left: what was leased is free again, and not taken for cut off.
            ctx.store.settle(fence, part)?;
            return Err(Error::internal(format!(
                "action \"{name}\": {leased} of {} deliveries could be leased",
                part.len()
            )));
        }
        let requests: Vec<Vec<Delivery>> = part
            .chunk_by(is_bundled)
            .map(|request| request.iter().map(delivery).collect())
            .collect();
        let outcomes = action.deliver_together(&requests).await;
        if outcomes.len() != part.len() {
            return Err(Error::internal(format!(
                "action \"{name}\" answered for {} of {} deliveries",
                outcomes.len(),
                part.len()
            )));
        }
        for (entry, outcome) in part.iter_mut().zip(outcomes) {
            settle(entry, outcome, &rules, ctx.now, acted);
        }
        ctx.store.settle(fence, part)?;
    }
    Ok(())
}

/// Puts side by side what leaves in one request of at most `together`: what did so before, so that the receiver sees the
/// same request again, and else what is new of one policy. Whatever becomes of a request becomes of all in it.
fn bundle(entries: &mut [OutboxEntry], together: usize) {
    if together <= 1 {
        entries.iter_mut().for_each(|entry| entry.bundle = None);
        return;
    }
    // Those that were tried as often become due, or are given up, at one moment.
    let tries = |entry: &OutboxEntry| if entry.bundle.is_some() { 0 } else { entry.attempts };
    let alike = |a: &OutboxEntry, b: &OutboxEntry| {
        (&a.policy, &a.bundle, tries(a)).cmp(&(&b.policy, &b.bundle, tries(b)))
    };
    entries.sort_by(alike);
    for group in entries.chunk_by_mut(|a, b| alike(a, b).is_eq()) {
        let new = group.iter().any(|entry| entry.bundle.is_none());
        if !new && group.len() <= together {
            continue;
        }
        for request in group.chunks_mut(together) {
            let keys: Vec<&[u8]> = request.iter().map(|entry| entry.key.as_bytes()).collect();
            let name = digest::short(&keys);
            request.iter_mut().for_each(|entry| entry.bundle = Some(name.clone()));
        }
    }
    // What was made first leaves first: a receiver that keeps the last it hears keeps the newest.
    let mut oldest: BTreeMap<Option<String>, (i64, String)> = BTreeMap::new();
    for entry in &*entries {
        let made = (entry.turn, entry.key.clone());
        let first = oldest.entry(entry.bundle.clone()).or_insert_with(|| made.clone());
        if made < *first {
            *first = made;
        }
    }
    entries.sort_by_cached_key(|entry| {
        (oldest.get(&entry.bundle).cloned(), entry.bundle.clone(), entry.turn, entry.key.clone())
    });
}

/// Whether two deliveries, one beside the other, leave in one request.
fn is_bundled(a: &OutboxEntry, b: &OutboxEntry) -> bool {
    a.bundle.is_some() && a.bundle == b.bundle
}

/// How many of the first deliveries are at most `most` and divide no request; those of the first one in any case.
fn whole_bundles(entries: &[OutboxEntry], most: usize) -> usize {
    let mut count = 0;
    for request in entries.chunk_by(is_bundled) {
        if count > 0 && count + request.len() > most {
            break;
        }
        count += request.len();
    }
    count
}

/// What an action's file says about deliveries that do not succeed.
struct Rules {
    attempts_max: u32,
    guarantee: Guarantee,
    /// The wait before the second attempt, in microseconds; it doubles with each further one.
    backoff_us: i64,
}

/// The policies with something due that are declared and stopped.
fn waiting(ctx: &Context<'_>) -> Result<Vec<String>> {
    let ways = ctx.store.due_ways(ctx.now)?;
    let policies: BTreeSet<String> = ways.into_iter().map(|(policy, _)| policy).collect();
    let mut waiting = Vec::new();
    for policy in policies {
        if ctx.project.policies.contains_key(&policy) && stopped(ctx, &policy)? {
            waiting.push(policy);
        }
    }
    Ok(waiting)
}

/// Whether a policy is paused by itself: its deliveries wait.
fn stopped(ctx: &Context<'_>, policy: &str) -> Result<bool> {
    let declared = ctx.project.policies.get(policy).is_some_and(|policy| policy.paused);
    Ok(declared || ctx.store.policy(policy)?.paused)
}

/// Builds the action resource `name`.
fn build(ctx: &Context<'_>, name: &str, declared: &Declared) -> Result<Box<dyn Action>> {
    let project = ctx.project;
    built(project, &project.dir, declared)
        .map_err(|error| error.context(format!("action \"{name}\"")))
}

/// Builds an action as it is declared, with its secrets and those of the connection that it names; relative paths start in
/// `base_dir`. Does no I/O but that of reading secrets.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is no action of its type, [`flywheel_base::ErrorKind::Invalid`] if its
/// settings are wrong, and those of a secret that is not there.
pub fn built(project: &Project, base_dir: &Path, declared: &Declared) -> Result<Box<dyn Action>> {
    let entry = ActionEntry::named(&declared.connector)?;
    let options = project.resolve_secrets(&declared.options)?;
    let named = declared.connection().and_then(|name| project.connections.get_key_value(name));
    let connection = match named {
        Some((name, connection)) => Some(NamedConnection {
            name: name.clone(),
            connector: connection.connector.clone(),
            settings: Value::Object(
                project
                    .resolve_secrets(&connection.options)
                    .map_err(|error| error.context(format!("connection \"{name}\"")))?,
            ),
        }),
        None => None,
    };
    let context = ActionContext {
        base_dir: base_dir.to_owned(),
        connection,
        once: declared.guarantee == Guarantee::AtMostOnce,
    };
    entry.build(Value::Object(options), &context)
}

fn delivery(entry: &OutboxEntry) -> Delivery {
    Delivery {
        key: entry.key.clone(),
        payload: entry.payload.clone(),
        group: format!("{}/{:05}", entry.policy, entry.turn),
    }
}

fn settle(
    entry: &mut OutboxEntry,
    outcome: Outcome,
    rules: &Rules,
    now: Timestamp,
    acted: &mut Acted,
) {
    let untried = matches!(outcome, Outcome::Waits { tried: false, .. });
    entry.attempts += u32::from(!untried);
    let left = untried || entry.attempts < rules.attempts_max;
    let (reason, after) = match outcome {
        Outcome::Delivered { receipt } => {
            entry.status = OutboxStatus::Delivered;
            entry.ended_at = Some(now);
            entry.receipt = Some(receipt);
            entry.error = None;
            acted.delivered += 1;
            return;
        }
        Outcome::Unreached { reason } => (reason, left.then_some(0)),
        Outcome::Waits { reason, after, .. } => (reason, left.then_some(micros_of(after))),
        Outcome::Retry { reason, .. } if rules.guarantee == Guarantee::AtMostOnce => {
            let why =
                "at-most-once, so it is not sent again, and whether it took effect is not known";
            (format!("sent once: {reason}; {why}"), None)
        }
        Outcome::Retry { reason, after } => (reason, left.then_some(after.map_or(0, micros_of))),
        Outcome::Rejected { reason } => (reason, None),
    };
    entry.error = Some(reason);
    match after {
        Some(asked) => {
            entry.status = OutboxStatus::Pending;
            // What left in one request is due at one moment again.
            let jitter = entry.bundle.as_deref().unwrap_or(&entry.key);
            entry.due_at =
                now.plus_micros(asked.max(backoff_us(rules.backoff_us, jitter, entry.attempts)));
            acted.retried += 1;
        }
        None => {
            entry.status = OutboxStatus::Dead;
            entry.ended_at = Some(now);
            acted.dead += 1;
            *acted.given_up.entry(entry.policy.clone()).or_default() += 1;
        }
    }
}

fn micros_of(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

/// The wait after `attempts` tries: doubling, with jitter between half and all of it that depends on
/// the key alone, so that a replay waits the same.
fn backoff_us(first_us: i64, key: &str, attempts: u32) -> i64 {
    let full =
        first_us.saturating_mul(1 << (attempts.saturating_sub(1)).min(16)).min(BACKOFF_MAX_US);
    let jitter = digest::unit_interval(&format!("backoff/{attempts}"), key);
    full / 2 + (full as f64 / 2.0 * jitter) as i64
}

/// Shows ended deliveries in `system.actions`, each once.
async fn log(ctx: &Context<'_>) -> Result<()> {
    let ended = ctx.store.unlogged()?;
    let (Some(first), Some(last)) = (ended.first().map(|e| e.turn), ended.last().map(|e| e.turn))
    else {
        return Ok(());
    };
    // A process that died after the append and before the mark left rows that are there already. One that a person has
    // made due again is there as it ended before.
    let sql = format!(
        "select key, status, attempts, ended_at from system.actions where turn between {first} and {last}"
    );
    let frame = ctx.frame_of_sql("system.actions", &sql).await?;
    let ends = frame.ids("status")?.into_iter().zip(frame.integers("attempts")?);
    let ends = ends.zip(frame.times("ended_at")?);
    let there: BTreeMap<String, _> = frame.ids("key")?.into_iter().zip(ends).collect();
    let end_of = |entry: &OutboxEntry| {
        let at = entry.ended_at.map(Timestamp::micros);
        ((entry.status.name().to_owned(), Some(i64::from(entry.attempts))), at)
    };
    let rows: Vec<ActionRow> = ended
        .iter()
        .filter(|entry| there.get(&entry.key) != Some(&end_of(entry)))
        .map(shown)
        .collect();
    if !rows.is_empty() {
        let again = rows.iter().any(|row| there.contains_key(&row.key));
        let mode = if again {
            let (key, duplicates) = (vec!["key".to_owned()], Duplicates::Refuse);
            WriteMode::Merge { key, duplicates }
        } else {
            WriteMode::Append
        };
        SystemTable::named("actions")?.write(ctx.lake, mode, &rows, None).await?;
    }
    let shown: Vec<_> = ended.into_iter().map(|entry| (entry.key, entry.status)).collect();
    ctx.store.mark_logged(&shown)?;
    ctx.store.forget_delivered(ctx.now.plus_micros(-REMEMBERED_US))?;
    Ok(())
}

fn shown(entry: &OutboxEntry) -> ActionRow {
    ActionRow {
        key: entry.key.clone(),
        decision_id: entry.decision_id.clone(),
        policy: entry.policy.clone(),
        turn: entry.turn,
        action: entry.action.clone(),
        status: entry.status.name().to_owned(),
        attempts: i64::from(entry.attempts),
        ended_at: entry.ended_at,
        receipt: entry.receipt.clone(),
        error: entry.error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF_US: i64 = 30_000_000;

    fn entry(attempts: u32) -> OutboxEntry {
        OutboxEntry {
            key: "k".into(),
            policy: "p".into(),
            turn: 1,
            decision_id: "k".into(),
            action: "a".into(),
            payload: Value::Null,
            status: OutboxStatus::Pending,
            attempts,
            due_at: Timestamp::default(),
            ended_at: None,
            receipt: None,
            error: None,
            bundle: None,
        }
    }

    #[test]
    fn what_left_in_one_request_leaves_in_it_again_and_new_ones_beside_it() {
        let of = |policy: &str, keys: &[&str]| -> Vec<OutboxEntry> {
            let new = |key: &&str| OutboxEntry {
                key: (*key).to_owned(),
                policy: policy.to_owned(),
                ..entry(0)
            };
            keys.iter().map(new).collect()
        };
        let requests = |entries: &[OutboxEntry]| -> Vec<String> {
            let keys = entries.chunk_by(is_bundled).map(|request| {
                request.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>().join("+")
            });
            keys.collect()
        };
        let mut entries = of("p", &["b", "d", "f"]);
        bundle(&mut entries, 2);
        assert_eq!(requests(&entries), ["b+d", "f"]);
        let guarantee = Guarantee::AtLeastOnce;
        let rules = Rules { attempts_max: 3, guarantee, backoff_us: BACKOFF_US };
        for one in &mut entries {
            let outcome = Outcome::Retry { reason: "500".into(), after: None };
            settle(one, outcome, &rules, Timestamp::default(), &mut Acted::default());
        }
        assert_eq!(entries[0].due_at, entries[1].due_at);

        entries.extend(of("p", &["a", "c", "e"]));
        entries.extend(of("q", &["g"]));
        bundle(&mut entries, 2);
        let mut all = requests(&entries);
        all.sort();
        assert_eq!(all, ["a+c", "b+d", "e", "f", "g"]);
        assert_eq!(whole_bundles(&entries, 1), 2, "a request is not divided");
        assert_eq!(whole_bundles(&entries, 100), 7);
        bundle(&mut entries, 1);
        assert_eq!(requests(&entries).len(), 7);

        // One that was tried more often would be given up before the others.
        let mut mixed = of("p", &["x", "y", "z"]);
        mixed[0].attempts = 2;
        bundle(&mut mixed, 3);
        assert_eq!(requests(&mixed), ["x", "y+z"]);
    }

    #[test]
    fn only_what_cannot_have_arrived_is_sent_again_where_once_is_promised() {
        let retry = || Outcome::Retry { reason: "500".into(), after: None };
        let unreached = || Outcome::Unreached { reason: "refused".into() };
        let delivered = || Outcome::Delivered { receipt: "200".into() };
        let rejected = || Outcome::Rejected { reason: "400".into() };
        let check = |outcome, guarantee, attempts, expected| {
            let mut entry = entry(attempts);
            let rules = Rules { attempts_max: 3, guarantee, backoff_us: BACKOFF_US };
            let mut acted = Acted::default();
            settle(&mut entry, outcome, &rules, Timestamp::default(), &mut acted);
            assert_eq!(entry.status, expected, "{entry:?}");
            let dead = usize::from(expected == OutboxStatus::Dead);
            assert_eq!((acted.dead, acted.given_up.get("p").copied().unwrap_or(0)), (dead, dead));
            assert_eq!(entry.ended_at.is_some(), expected != OutboxStatus::Pending);
            entry
        };
        for guarantee in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
            check(delivered(), guarantee, 0, OutboxStatus::Delivered);
            check(rejected(), guarantee, 0, OutboxStatus::Dead);
            check(unreached(), guarantee, 0, OutboxStatus::Pending);
            check(unreached(), guarantee, 2, OutboxStatus::Dead);
        }
        let waits =
            |tried| Outcome::Waits { reason: "429".into(), after: Duration::from_secs(90), tried };
        for guarantee in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
            let waiting = check(waits(true), guarantee, 0, OutboxStatus::Pending);
            assert!(waiting.due_at.micros() >= 90_000_000 && waiting.attempts == 1);
            check(waits(true), guarantee, 2, OutboxStatus::Dead);
            let held_back = check(waits(false), guarantee, 2, OutboxStatus::Pending);
            assert_eq!(held_back.attempts, 2, "what was not sent was not tried");
        }
        check(retry(), Guarantee::AtLeastOnce, 0, OutboxStatus::Pending);
        check(retry(), Guarantee::AtLeastOnce, 2, OutboxStatus::Dead);
        let given_up = check(retry(), Guarantee::AtMostOnce, 0, OutboxStatus::Dead);
        assert!(given_up.error.unwrap().contains("sent once: 500; at-most-once"));
    }

    #[test]
    fn waits_double_stay_bounded_and_repeat() {
        for attempts in 1..40 {
            for first in [1_000_000, BACKOFF_US] {
                let wait = backoff_us(first, "k", attempts);
                assert!((first / 2..=BACKOFF_MAX_US).contains(&wait), "{attempts}: {wait}");
                assert_eq!(wait, backoff_us(first, "k", attempts));
            }
        }
        assert!(backoff_us(BACKOFF_US, "k", 6) > backoff_us(BACKOFF_US, "k", 1));
        assert!(backoff_us(1_000_000, "k", 1) <= 1_000_000);
    }
}
