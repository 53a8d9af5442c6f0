//! Acting: what the outbox holds leaves, once per idempotency key.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_connect::action::{ACTIONS, Action, ActionContext, Delivery, Outcome};
use flywheel_state::{OutboxEntry, OutboxStatus};

use crate::context::Context;
use crate::table::{ActionRow, SystemTable};

/// How many deliveries one call takes from the outbox.
const DELIVERIES_MAX: u32 = 100_000;
/// The wait before the second attempt, in microseconds; it doubles with each further one.
const BACKOFF_US: i64 = 30_000_000;
/// The longest wait between two attempts, in microseconds.
const BACKOFF_MAX_US: i64 = 3_600_000_000;

/// How long the outbox remembers what was delivered, in microseconds: far longer than a turn can stay open, after
/// which nobody adds the same entry again.
const REMEMBERED_US: i64 = 30 * 86_400_000_000;

/// What came of emptying the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acted {
    /// Deliveries the receiver now has.
    pub delivered: usize,
    /// Deliveries to be tried again.
    pub retried: usize,
    /// Deliveries given up.
    pub dead: usize,
}

/// Delivers everything that is due and shows what ended in `system.actions`.
///
/// A receiver may see a delivery twice if the process dies between sending and recording, with the
/// same idempotency key; the file action writes the same file again.
///
/// # Errors
/// Those of lake and metadata, and of an action that cannot be built; a delivery that fails is no error.
pub async fn act(ctx: &Context<'_>) -> Result<Acted> {
    let mut by_action: BTreeMap<String, Vec<OutboxEntry>> = BTreeMap::new();
    let mut waits: BTreeMap<String, bool> = BTreeMap::new();
    for entry in ctx.store.due(ctx.now, DELIVERIES_MAX)? {
        let waits = match waits.get(&entry.policy) {
            Some(known) => *known,
            None => *waits.entry(entry.policy.clone()).or_insert(stopped(ctx, &entry.policy)?),
        };
        if !waits {
            by_action.entry(entry.action.clone()).or_default().push(entry);
        }
    }
    let mut acted = Acted::default();
    for (name, mut entries) in by_action {
        let attempts_max = ctx.project.actions.get(&name).map_or(1, |action| action.attempts);
        let action = build(ctx, &name)?;
        let deliveries: Vec<Delivery> = entries.iter().map(delivery).collect();
        let outcomes = action.deliver(&deliveries).await;
        if outcomes.len() != entries.len() {
            return Err(Error::internal(format!(
                "action \"{name}\" answered for {} of {} deliveries",
                outcomes.len(),
                entries.len()
            )));
        }
        for (entry, outcome) in entries.iter_mut().zip(outcomes) {
            settle(entry, outcome, attempts_max, ctx.now, &mut acted);
        }
        ctx.store.settle(&entries)?;
    }
    log(ctx).await?;
    Ok(acted)
}

/// Whether a policy's kill switch is on: its deliveries wait.
fn stopped(ctx: &Context<'_>, policy: &str) -> Result<bool> {
    let declared = ctx.project.policies.get(policy).is_some_and(|policy| policy.paused);
    Ok(declared || ctx.store.policy(policy)?.paused)
}

/// Builds the action resource `name`.
fn build(ctx: &Context<'_>, name: &str) -> Result<Box<dyn Action>> {
    let declared = ctx.project.actions.get(name).ok_or_else(|| {
        Error::not_found(format!("the outbox holds deliveries for unknown action \"{name}\""))
            .hint("Restore actions/*.yaml, or rename it back: deliveries are kept until then.")
    })?;
    let entry = ACTIONS.iter().find(|entry| entry.name == declared.connector).ok_or_else(|| {
        Error::invalid(format!("action \"{name}\" has unknown type \"{}\"", declared.connector))
            .hint(flywheel_base::suggest::hint(
                &declared.connector,
                ACTIONS.iter().map(|entry| entry.name),
            ))
    })?;
    let options = ctx.project.resolve_secrets(&declared.options)?;
    let context = ActionContext { base_dir: ctx.project.dir.clone() };
    entry
        .build(serde_json::Value::Object(options), &context)
        .map_err(|e| e.context(format!("action \"{name}\"")))
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
    attempts_max: u32,
    now: Timestamp,
    acted: &mut Acted,
) {
    entry.attempts += 1;
    match outcome {
        Outcome::Delivered { receipt } => {
            entry.status = OutboxStatus::Delivered;
            entry.ended_at = Some(now);
            entry.receipt = Some(receipt);
            entry.error = None;
            acted.delivered += 1;
        }
        Outcome::Retry { reason, after } if entry.attempts < attempts_max => {
            let asked =
                after.map_or(0, |after| i64::try_from(after.as_micros()).unwrap_or(i64::MAX));
            entry.due_at = now.plus_micros(asked.max(backoff_us(&entry.key, entry.attempts)));
            entry.error = Some(reason);
            acted.retried += 1;
        }
        Outcome::Retry { reason, .. } | Outcome::Rejected { reason } => {
            entry.status = OutboxStatus::Dead;
            entry.ended_at = Some(now);
            entry.error = Some(reason);
            acted.dead += 1;
        }
    }
}

/// The wait after `attempts` tries: doubling, with jitter between half and all of it that depends on
/// the key alone, so that a replay waits the same.
fn backoff_us(key: &str, attempts: u32) -> i64 {
    let full =
        BACKOFF_US.saturating_mul(1 << (attempts.saturating_sub(1)).min(16)).min(BACKOFF_MAX_US);
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
    // A process that died after the append and before the mark left rows that are there already.
    let sql = format!("select key from system.actions where turn between {first} and {last}");
    let there: BTreeSet<String> =
        ctx.frame_of_sql("system.actions", &sql).await?.ids("key")?.into_iter().collect();
    let rows: Vec<ActionRow> =
        ended.iter().filter(|entry| !there.contains(&entry.key)).map(shown).collect();
    if !rows.is_empty() {
        SystemTable::named("actions")?.append(ctx.lake, &rows, None).await?;
    }
    let keys: Vec<String> = ended.into_iter().map(|entry| entry.key).collect();
    ctx.store.mark_logged(&keys)?;
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

    #[test]
    fn waits_double_stay_bounded_and_repeat() {
        for attempts in 1..40 {
            let wait = backoff_us("k", attempts);
            assert!((BACKOFF_US / 2..=BACKOFF_MAX_US).contains(&wait), "{attempts}: {wait}");
            assert_eq!(wait, backoff_us("k", attempts));
        }
        assert!(backoff_us("k", 6) > backoff_us("k", 1));
    }
}
