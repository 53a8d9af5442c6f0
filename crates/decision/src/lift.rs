//! Lift: what a policy changed, measured against its holdout, and the guardrail that stops harm.
//!
//! Only decisions whose window has closed are measured, units are clusters, and both arms contain
//! every unit that was decided for, whether the action was delivered or not: what is measured is
//! the effect of the policy, not that of a message that happened to arrive.

use flywheel_algo::stats::lift::{Arm, lift};
use flywheel_algo::stats::{sequence, srm};
use flywheel_base::Result;
use flywheel_project::resource::policy::Policy;
use flywheel_state::PolicyState;
use flywheel_warehouse::Checkpoint;
use serde_json::json;

use crate::context::{Context, location};
use crate::decide::HOLDOUT;
use crate::outcome::literal;
use crate::table::{LiftRow, SystemTable};

/// The confidence of every interval.
const CONFIDENCE: f64 = 0.95;

/// The arms of one policy, summed up over units.
#[derive(Default)]
struct Arms {
    treated: Arm,
    held: Arm,
    treated_value: Arm,
    held_value: Arm,
    measured: i64,
}

/// Measures the policy `name` at this turn, records the row and pauses the policy if it does harm.
///
/// # Errors
/// Those of lake and metadata.
pub async fn measure(ctx: &Context<'_>, name: &str, policy: &Policy) -> Result<Option<LiftRow>> {
    let Some(outcome) = &policy.outcome else { return Ok(None) };
    let arms = arms(ctx, name, outcome.window.micros).await?;
    let row = row(ctx, name, policy, &arms).await?;
    guard(ctx, name, policy, &row, &arms)?;
    let app = format!("lift/{name}");
    let last = ctx.checkpoint(&location("system/lift")?, &app).await?;
    if last.is_none_or(|last| last.sequence < ctx.now.micros()) {
        let checkpoint = Checkpoint { sequence: ctx.now.micros(), position: json!({}) };
        SystemTable::named("lift")?
            .append(ctx.lake, std::slice::from_ref(&row), Some((app, checkpoint)))
            .await?;
    }
    Ok(Some(row))
}

async fn arms(ctx: &Context<'_>, name: &str, window: i64) -> Result<Arms> {
    let sql = format!(
        "select d.unit_id, d.arm, count(*) as decisions, count(o.decision_id) as converted, sum(o.value) as value
         from system.decisions d
         left join (select decision_id, sum(value) as value from system.outcomes where policy = '{name}' group by decision_id) o
           on o.decision_id = d.decision_id
         where d.policy = '{name}' and d.decided_at <= {}
         group by d.unit_id, d.arm order by d.unit_id",
        literal(ctx.now.plus_micros(-window))
    );
    let what = format!("policy \"{name}\": lift");
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let columns = (
        frame.ids("arm")?,
        frame.integers("decisions")?,
        frame.integers("converted")?,
        frame.numbers("value")?,
    );
    let mut arms = Arms::default();
    for (((arm, decisions), converted), value) in
        columns.0.into_iter().zip(columns.1).zip(columns.2).zip(columns.3)
    {
        let decisions = decisions.unwrap_or_default();
        let (size, hits) = (decisions as f64, converted.unwrap_or_default() as f64);
        arms.measured += decisions;
        let (rate, worth) = if arm == HOLDOUT {
            (&mut arms.held, &mut arms.held_value)
        } else {
            (&mut arms.treated, &mut arms.treated_value)
        };
        rate.add(hits, size)?;
        worth.add(value.unwrap_or_default(), size)?;
    }
    Ok(arms)
}

async fn row(ctx: &Context<'_>, name: &str, policy: &Policy, arms: &Arms) -> Result<LiftRow> {
    let rate = lift(&arms.treated, &arms.held, CONFIDENCE)?;
    let value = lift(&arms.treated_value, &arms.held_value, CONFIDENCE)?;
    let (decisions, artifact) = this_turn(ctx, name).await?;
    Ok(LiftRow {
        turn: ctx.turn,
        at: ctx.now,
        policy: name.to_owned(),
        decisions,
        measured: arms.measured,
        treated_units: i64::try_from(arms.treated.units()).unwrap_or(i64::MAX),
        holdout_units: i64::try_from(arms.held.units()).unwrap_or(i64::MAX),
        treated_rate: arms.treated.rate(),
        holdout_rate: arms.held.rate(),
        lift: rate.absolute.map(|interval| interval.estimate),
        lower: rate.absolute.map(|interval| interval.low),
        upper: rate.absolute.map(|interval| interval.high),
        value_lift: value.absolute.map(|interval| interval.estimate),
        value_lower: value.absolute.map(|interval| interval.low),
        value_upper: value.absolute.map(|interval| interval.high),
        split_p: split_p(policy, arms)?,
        artifact,
    })
}

/// The sample ratio check: do units fall into the arms as declared?
fn split_p(policy: &Policy, arms: &Arms) -> Result<Option<f64>> {
    let share = policy.holdout.value();
    let units = [arms.treated.units(), arms.held.units()];
    if share <= 0.0 || share >= 1.0 || units.iter().sum::<u64>() == 0 {
        return Ok(None);
    }
    Ok(Some(srm::mismatch(&units, &[1.0 - share, share])?.p_value))
}

async fn this_turn(ctx: &Context<'_>, name: &str) -> Result<(i64, Option<String>)> {
    let sql = format!(
        "select count(*) as n, max(artifact) as artifact from system.decisions where policy = '{name}' and turn = {}",
        ctx.turn
    );
    let what = format!("policy \"{name}\": decisions");
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let n = frame.integers("n")?.first().copied().flatten().unwrap_or_default();
    Ok((n, frame.text("artifact")?.pop().flatten()))
}

/// Pauses a policy whose lift lies wholly below zero, once there is enough to say so.
///
/// The interval here stays valid however often one looks, which a policy that is looked at each turn
/// needs; it is wider than the one reported.
fn guard(ctx: &Context<'_>, name: &str, policy: &Policy, row: &LiftRow, arms: &Arms) -> Result<()> {
    let guardrails = &policy.guardrails;
    let enough = i64::try_from(guardrails.min_units).unwrap_or(i64::MAX);
    let always = sequence::difference(&arms.treated, &arms.held, &sequence::Options::default())?;
    let Some(always) = always.filter(|interval| interval.high < 0.0) else { return Ok(()) };
    if !guardrails.pause_when_harmful || row.treated_units < enough || row.holdout_units < enough {
        return Ok(());
    }
    let state = ctx.store.policy(name)?;
    if state.paused {
        return Ok(());
    }
    let reason = format!(
        "guardrail: lift {:+.2} points, always-valid 95 % interval [{:+.2}, {:+.2}], lies below 0",
        100.0 * always.estimate,
        100.0 * always.low,
        100.0 * always.high
    );
    tracing::warn!(policy = name, %reason, "policy paused");
    ctx.store.record_policy(
        name,
        &PolicyState { paused: true, reason: Some(reason), ..state },
        ctx.now,
    )
}
