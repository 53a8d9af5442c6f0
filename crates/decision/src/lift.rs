//! Lift: what a policy changed, measured against its holdout, and the guardrail that stops harm.
//!
//! Only decisions whose window has closed are measured, units are clusters, and both arms contain
//! every unit that was decided for, whether the action was delivered or not: what is measured is
//! the effect of the policy, not that of a message that happened to arrive. Only decisions under the present share of
//! the holdout are: under another one each arm has another mixture of times, which would look like an effect.

pub(crate) mod sums;
mod together;

use std::collections::BTreeMap;

use flywheel_algo::stats::lift::{Arm, lift};
use flywheel_algo::stats::{Interval, sequence, srm};
use flywheel_base::{Error, Result, Timestamp};
use flywheel_project::resource::policy::{Choose, Guardrails, Outcome, Policy};
use flywheel_state::PolicyState;
use flywheel_warehouse::Checkpoint;
use serde_json::json;

pub use self::sums::Found;
use self::sums::{Sum, Sums, share_now};
pub use self::together::ALL;

use crate::champion::{champion, roll_back};
use crate::context::{Context, Pending, is_its_own, location};
use crate::decide::HOLDOUT;
use crate::frame::Frame;
use crate::outcome::Through;
use crate::table::{LiftRow, SystemTable};

/// Who moves the checkpoint of the rows.
const APP: &str = "lift";
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
    /// How many of the measured decisions are in treatment.
    treated_decisions: i64,
}

/// What a measurement found.
#[derive(Default)]
pub struct Measured {
    /// One row for each policy, and one for all of them together where some units are kept from all.
    pub rows: Vec<LiftRow>,
    /// The sums they were made from.
    pub sums: Found,
    /// Why what all policies bring together was not measured, if so.
    pub errors: Vec<Error>,
}

/// Measures every policy that says what counts as success, records the rows in one commit, takes promotions back
/// that do harm and pauses the policies that do. A policy whose outcomes cannot be read stands as it stood when they could
/// be, and what all policies bring together is not measured then.
///
/// # Errors
/// Those of lake and metadata.
pub async fn measure(ctx: &Context<'_>) -> Result<Measured> {
    let policies = ctx.project.policies.iter().filter(|(_, policy)| policy.outcome.is_some());
    let policies: BTreeMap<&str, &Policy> =
        policies.map(|(name, policy)| (name.as_str(), &**policy)).collect();
    if policies.is_empty() {
        return Ok(Measured::default());
    }
    let through = Through::load(ctx).await?;
    let sums = Sums::load(ctx, &policies).await?;
    let until = policies.iter();
    let until = until.map(|(name, policy)| {
        ((*name).to_owned(), closed_for(through.known(name, ctx.now), policy))
    });
    let decided = decided_this_turn(ctx);
    let measured = sums.up_to(ctx, &until.collect()).await?;
    let found = measured.sums();
    let mut all_arms = arms(&found, &shares_now(&policies))?;
    let mut promoted = since_promotions(ctx, &policies, &through).await?;
    let mut decided = counts_of(&decided.frame().await?)?;
    let all_decided = decided.values().map(|(count, _)| *count).sum();
    let mut rows = Vec::with_capacity(policies.len() + 1);
    for (name, policy) in policies {
        let arms = all_arms.remove(name).unwrap_or_default();
        let (decisions, artifact) = decided.remove(name).unwrap_or_default();
        let row = LiftRow { decisions, artifact, ..row(ctx, name, policy, &arms)? };
        match promoted.remove(name) {
            Some(since) if demoted(ctx, name, policy, &since)? => {}
            _ => guard(ctx, name, policy, &arms)?,
        }
        rows.push(row);
    }
    let mut errors = Vec::new();
    if through.behind().is_empty() {
        match Box::pin(together::row(ctx, all_decided)).await {
            Ok(row) => rows.extend(row),
            Err(error) if is_its_own(&error) => errors.push(error.context(together::WHAT)),
            Err(error) => return Err(error),
        }
    }
    let last = ctx.checkpoint(&location("system/lift")?, APP).await?;
    if last.is_none_or(|last| last.sequence < ctx.now.micros()) {
        let checkpoint = Checkpoint { sequence: ctx.now.micros(), position: json!({}) };
        let table = SystemTable::named("lift")?;
        table.append(ctx.lake, &rows, Some((APP.to_owned(), checkpoint))).await?;
    }
    sums.settle(ctx, found.iter().map(|sum| sum.ripe).sum()).await?;
    Ok(Measured { rows, sums: measured, errors })
}

/// The sums of one policy over its decisions whose window has closed by now, whether its outcomes can be read or not.
///
/// # Errors
/// Those of lake and metadata.
pub(crate) async fn sums_of(ctx: &Context<'_>, name: &str, policy: &Policy) -> Result<Found> {
    let sums = Sums::load(ctx, &BTreeMap::from([(name, policy)])).await?;
    sums.up_to(ctx, &BTreeMap::from([(name.to_owned(), closed_for(ctx.now, policy))])).await
}

/// The moment up to which the windows of a policy's decisions have closed of which all is known up to `known`.
fn closed_for(known: Timestamp, policy: &Policy) -> Timestamp {
    policy.outcome.as_ref().map_or(known, |outcome| closed_until(known, outcome))
}

/// The moment up to which the windows of decisions have closed at `now`.
pub(crate) fn closed_until(now: Timestamp, outcome: &Outcome) -> Timestamp {
    now.plus_micros(outcome.window.micros.saturating_neg())
}

/// The arms of each policy for which a promoted learner decides, since it does.
async fn since_promotions(
    ctx: &Context<'_>,
    policies: &BTreeMap<&str, &Policy>,
    through: &Through,
) -> Result<BTreeMap<String, Arms>> {
    let mut periods = BTreeMap::new();
    for (name, policy) in policies {
        if let Choose::Bandit(settings) = &policy.choose {
            let champion = champion(ctx.store, name, &settings.learner)?;
            if let (Some(_), Some(since)) = (champion.promotion, champion.since) {
                let known = through.known(name, ctx.now);
                periods.insert((*name).to_owned(), (since, closed_for(known, policy)));
            }
        }
    }
    if periods.is_empty() {
        Ok(BTreeMap::new())
    } else {
        arms(&sums::between(ctx, &periods).await?.sums(), &shares_now(policies))
    }
}

/// The present share of each policy's holdout.
fn shares_now<'p>(policies: &BTreeMap<&'p str, &Policy>) -> BTreeMap<&'p str, f64> {
    policies.iter().map(|(name, policy)| (*name, share_now(policy))).collect()
}

/// The arms of policies over the sums of their units under the present share of the holdout.
fn arms(sums: &[Sum<'_>], shares: &BTreeMap<&str, f64>) -> Result<BTreeMap<String, Arms>> {
    let mut all: BTreeMap<String, Arms> = BTreeMap::new();
    for sum in sums {
        if sum.share.is_none() || sum.share != shares.get(sum.policy).copied() {
            continue;
        }
        if !all.contains_key(sum.policy) {
            all.insert(sum.policy.to_owned(), Arms::default());
        }
        let Some(arms) = all.get_mut(sum.policy) else { continue };
        let (size, hits) = (sum.decisions as f64, sum.converted as f64);
        arms.measured += sum.decisions;
        let (rate, worth) = if sum.arm == HOLDOUT {
            (&mut arms.held, &mut arms.held_value)
        } else {
            arms.treated_decisions += sum.decisions;
            (&mut arms.treated, &mut arms.treated_value)
        };
        rate.add(hits, size)?;
        worth.add(sum.value.unwrap_or_default(), size)?;
    }
    Ok(all)
}

/// The row of one policy, without what it decided this turn.
fn row(ctx: &Context<'_>, name: &str, policy: &Policy, arms: &Arms) -> Result<LiftRow> {
    let difference = lift(&arms.treated, &arms.held, CONFIDENCE)?.absolute;
    let interval = rate_interval(arms)?;
    let value = value_interval(arms)?;
    Ok(LiftRow {
        turn: ctx.turn,
        at: ctx.now,
        policy: name.to_owned(),
        decisions: 0,
        measured: arms.measured,
        treated_units: i64::try_from(arms.treated.units()).unwrap_or(i64::MAX),
        holdout_units: i64::try_from(arms.held.units()).unwrap_or(i64::MAX),
        treated_rate: arms.treated.rate(),
        holdout_rate: arms.held.rate(),
        lift: difference.map(|difference| difference.estimate),
        lower: interval.map(|interval| interval.low),
        upper: interval.map(|interval| interval.high),
        value_lift: value.map(|interval| interval.estimate),
        value_lower: value.map(|interval| interval.low),
        value_upper: value.map(|interval| interval.high),
        split_p: split_p(policy, arms)?,
        artifact: None,
    })
}

/// The interval of the difference of rates.
///
/// An arm whose units are all alike, as a small holdout without any success, shows no spread, and taking that for none
/// would make the interval far too narrow. Then both arms are counted with two units more, one of which has success each
/// time and one never.
/// # Source
/// Agresti and Caffo 2000, who add one success and one failure to each sample.
fn rate_interval(arms: &Arms) -> Result<Option<Interval>> {
    if shows_spread(&arms.treated) && shows_spread(&arms.held) {
        return Ok(lift(&arms.treated, &arms.held, CONFIDENCE)?.absolute);
    }
    let with_two_more = |arm: &Arm, decisions: i64| {
        let mut more = *arm;
        if arm.units() > 0 {
            let size = decisions as f64 / arm.units() as f64;
            more.add(size, size)?;
            more.add(0.0, size)?;
        }
        Ok::<Arm, Error>(more)
    };
    let treated = with_two_more(&arms.treated, arms.treated_decisions)?;
    let held = with_two_more(&arms.held, arms.measured - arms.treated_decisions)?;
    // Of one unit nothing is said, as always.
    let enough = arms.treated.rate_variance().is_some() && arms.held.rate_variance().is_some();
    Ok(lift(&treated, &held, CONFIDENCE)?.absolute.filter(|_| enough))
}

/// The difference in value with its interval; none while an arm shows no spread, because a value has no bounds by which
/// to judge what may have been missed.
fn value_interval(arms: &Arms) -> Result<Option<Interval>> {
    let (treated, held) = (&arms.treated_value, &arms.held_value);
    let known = shows_spread(treated) && shows_spread(held);
    Ok(lift(treated, held, CONFIDENCE)?.absolute.filter(|_| known))
}

/// Whether the units of an arm differ.
fn shows_spread(arm: &Arm) -> bool {
    arm.rate_variance().is_some_and(|variance| variance > 0.0)
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

/// What people are told of a policy whose arms are more uneven than chance allows, by the `split_p` of its lift; none if
/// they may well be as they are.
#[must_use]
pub fn split_broken(policy: &str, split_p: f64) -> Option<String> {
    (split_p < srm::ALARM_BELOW).then(|| {
        if policy == ALL {
            return format!(
                "the split into the holdout of all policies and everybody else is broken: arms this uneven come by \
                 chance with p = {split_p:.1e}; the lift of all policies together is not to be believed until you have \
                 found why"
            );
        }
        format!(
            "policy \"{policy}\": the split into treatment and holdout is broken: arms this uneven come by chance with \
             p = {split_p:.1e}; its lift is not to be believed until you have found why: units that come into only one \
             arm, logging that loses one of them, or rows changed by hand"
        )
    })
}

/// Asks how many decisions of this turn each policy has, and for the newest artifact they came from.
fn decided_this_turn(ctx: &Context<'_>) -> Pending<'static> {
    let sql = format!(
        "select policy, count(*) as n, max(artifact) as artifact from system.decisions where turn = {} group by policy",
        ctx.turn
    );
    ctx.begin("decisions of this turn", sql)
}

fn counts_of(frame: &Frame<'_>) -> Result<BTreeMap<String, (i64, Option<String>)>> {
    let counts = frame.integers("n")?.into_iter().map(Option::unwrap_or_default);
    let values = counts.zip(frame.text("artifact")?);
    Ok(frame.ids("policy")?.into_iter().zip(values).collect())
}

/// The lift's interval, if it lies wholly below zero and there is enough to say so.
///
/// The interval here stays valid however often one looks, which a policy that is looked at each turn
/// needs; it is wider than the one reported.
fn harm(guardrails: &Guardrails, arms: &Arms) -> Result<Option<Interval>> {
    let enough = [&arms.treated, &arms.held].iter().all(|arm| arm.units() >= guardrails.min_units);
    if !guardrails.pause_when_harmful || !enough {
        return Ok(None);
    }
    let always = sequence::difference(&arms.treated, &arms.held, &sequence::Options::default())?;
    Ok(always.filter(|interval| interval.high < 0.0))
}

fn words(harm: Interval) -> String {
    format!(
        "guardrail: lift {:+.2} points, always-valid 95 % interval [{:+.2}, {:+.2}], lies below 0",
        100.0 * harm.estimate,
        100.0 * harm.low,
        100.0 * harm.high
    )
}

/// Takes back a promotion since which the policy does harm; returns whether it did.
fn demoted(ctx: &Context<'_>, name: &str, policy: &Policy, since: &Arms) -> Result<bool> {
    let Some(harm) = harm(&policy.guardrails, since)? else { return Ok(false) };
    let reason = words(harm);
    tracing::warn!(policy = name, %reason, "promotion taken back");
    roll_back(ctx, name, &reason)?;
    Ok(true)
}

/// Pauses a policy that does harm.
fn guard(ctx: &Context<'_>, name: &str, policy: &Policy, arms: &Arms) -> Result<()> {
    let Some(harm) = harm(&policy.guardrails, arms)? else { return Ok(()) };
    let state = ctx.store.policy(name)?;
    if state.paused {
        return Ok(());
    }
    let reason = words(harm);
    tracing::warn!(policy = name, %reason, "policy paused");
    ctx.store.record_policy(
        name,
        &PolicyState { paused: true, reason: Some(reason), ..state },
        ctx.now,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::TREATMENT;

    /// Arms of so many units with one decision each, of which so many had success.
    fn arms((treated, hits): (i64, i64), (held, kept): (i64, i64)) -> Arms {
        let mut arms = Arms { treated_decisions: treated, ..Arms::default() };
        for (count, hits, rate, worth) in [
            (treated, hits, &mut arms.treated, &mut arms.treated_value),
            (held, kept, &mut arms.held, &mut arms.held_value),
        ] {
            for n in 0..count {
                let hit = f64::from(u8::from(n < hits));
                rate.add(hit, 1.0).unwrap();
                worth.add(7.0 * hit, 1.0).unwrap();
            }
            arms.measured += count;
        }
        arms
    }

    #[test]
    fn a_changed_holdout_begins_the_measurement_anew() {
        // Nothing has an effect: before the change half of all units had success, after it one in ten.
        let sum = |unit: &'static str, arm: &'static str, share, decisions, converted| Sum {
            policy: "p",
            unit,
            arm,
            variant: None,
            share,
            version: "",
            decisions,
            converted,
            value: None,
            ripe: 0,
        };
        let (half, tenth) = (Some(0.5), Some(0.1));
        let sums = [
            sum("a", TREATMENT, half, 10, 5),
            sum("b", HOLDOUT, half, 10, 5),
            sum("a", TREATMENT, tenth, 10, 1),
            sum("b", TREATMENT, tenth, 80, 8),
            sum("c", HOLDOUT, tenth, 10, 1),
            sum("c", TREATMENT, None, 10, 10),
        ];
        let mut found = super::arms(&sums, &BTreeMap::from([("p", 0.1)])).unwrap();
        let arms = found.remove("p").unwrap();
        assert_eq!((arms.measured, arms.treated_decisions), (100, 90));
        assert_eq!((arms.treated.units(), arms.held.units()), (2, 1));
        assert_eq!(arms.treated.rate(), arms.held.rate());
        // A share under which nothing was decided yet has measured nothing.
        assert!(super::arms(&sums, &BTreeMap::from([("p", 0.2)])).unwrap().is_empty());
        assert!(super::arms(&sums, &BTreeMap::new()).unwrap().is_empty());
    }

    #[test]
    fn a_holdout_without_success_is_no_proof_of_lift() {
        // Fisher's exact test gives p = 1 for 5 of 100 against 0 of 10.
        let found = rate_interval(&arms((100, 5), (10, 0))).unwrap().unwrap();
        assert!(found.low < 0.0 && found.high > 0.05, "{found:?}");
        assert_eq!(value_interval(&arms((100, 5), (10, 0))).unwrap(), None);
        // It gives p < 1e-15 for 50 of 100 against 0 of 100.
        let found = rate_interval(&arms((100, 50), (100, 0))).unwrap().unwrap();
        assert!(found.low > 0.35 && found.contains(0.5), "{found:?}");
    }

    #[test]
    fn no_success_at_all_is_not_known_to_be_no_effect() {
        let width = |n| {
            let found = rate_interval(&arms((n, 0), (n, 0))).unwrap().unwrap();
            assert!(found.contains(0.0));
            found.high - found.low
        };
        assert!(width(20) > 0.15 && width(2_000) < 0.005, "{} {}", width(20), width(2_000));
        assert_eq!(rate_interval(&arms((20, 0), (1, 0))).unwrap(), None);
        assert_eq!(rate_interval(&arms((20, 3), (0, 0))).unwrap(), None);
    }

    #[test]
    fn where_units_differ_the_interval_is_that_of_the_sums() {
        let arms = arms((400, 40), (100, 4));
        let plain = lift(&arms.treated, &arms.held, CONFIDENCE).unwrap().absolute;
        assert_eq!(rate_interval(&arms).unwrap(), plain);
        assert!(value_interval(&arms).unwrap().is_some());
    }
}
