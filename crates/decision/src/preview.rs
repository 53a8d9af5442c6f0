//! Looking before something leaves: what a policy would decide if it were asked now, by the very code that decides.
//!
//! Invariant: nothing is written, neither decisions nor outbox, checkpoint or artifact. At the same moment a turn that
//! finds the same tables decides exactly this for a policy that is due and not paused.

use std::collections::{BTreeMap, HashMap};

use flywheel_base::{Error, Result, statement};
use flywheel_connect::action::{ActionEntry, Delivery};
use flywheel_project::resource::policy::{Choose, Outcome, Policy};
use flywheel_state::Approval;
use serde::Serialize;
use serde_json::Value;

use crate::approval;
use crate::choose::reorder;
use crate::constraint;
use crate::context::Context;
use crate::decide::{
    Audience, GLOBAL_HOLDOUT, HOLDOUT, Planned, TREATMENT, audience_of, entries, is_due, paused,
};
use crate::experiment;
use crate::learner::awaited;
use crate::limit;
use crate::outcome::{events_of, events_query, placed};
use crate::table::DecisionRow;

/// How many decisions are shown unless it is said.
pub const SAMPLE_DEFAULT: usize = 20;
/// How many decisions are shown at most.
pub const SAMPLE_MAX: usize = 200;
/// How many actions are counted by their names at most.
const ACTIONS_MAX: usize = 50;

/// What a policy would decide if it were asked now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preview {
    /// The policy.
    pub policy: String,
    /// The logical moment it was asked at.
    pub at: String,
    /// Whether a turn at this moment would ask it.
    pub due: bool,
    /// Why it is paused; none if it is not.
    pub paused: Option<String>,
    /// Rows of its audience.
    pub audience: usize,
    /// Rows without a `unit_id`: a turn fails while there are any.
    pub without_unit: usize,
    /// Units that occur more than once: a turn fails while there are any.
    pub repeated: usize,
    /// Units that are not decided for, by why.
    pub left_out: Vec<LeftOut>,
    /// Decisions.
    pub decisions: usize,
    /// Those in the holdout.
    pub held_out: usize,
    /// Those in the holdout of all policies.
    pub globally_held: usize,
    /// Those that get an action.
    pub treated: usize,
    /// What those get, the most frequent first.
    pub actions: Vec<ActionCount>,
    /// Where they would leave.
    pub delivery: Leaving,
    /// The first decisions, by unit.
    pub sample: Vec<Sampled>,
    /// What should be known about it, in sentences.
    pub notes: Vec<String>,
}

/// Units that are not decided for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Why: `per_unit_every` or `per_turn` for the caps, `consent` where there is none, `quiet_hours` where the unit's time
    /// zone is not known, `contact` for the limit of all policies, `budget` for that of the policy or of a purchase proposal,
    /// `stock` where what could be chosen is used up or expired, `nothing` where there is nothing to choose. Whoever is left out for several reasons is counted under the first of them.
    pub reason: &'static str,
    /// How many.
    pub units: usize,
}

/// How often an action is chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActionCount {
    /// The action as it would be logged.
    pub action: String,
    /// Units that get it.
    pub units: usize,
    /// Their share of those that get any.
    pub share: f64,
}

/// Where decisions would leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leaving {
    /// The name of the action; none if decisions are only logged.
    pub action: Option<String>,
    /// Its type, such as `email`.
    #[serde(rename = "type")]
    pub connector: Option<String>,
    /// Whether somebody has to let the policy go on before anything leaves.
    pub approval: bool,
    /// How many deliveries would be queued.
    pub leaves: usize,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sampled {
    /// Whom it is about.
    pub unit_id: String,
    /// `treatment`, `holdout` or `global_holdout`.
    pub arm: String,
    /// What is chosen; `none` in the holdouts.
    pub action: String,
    /// How likely this choice was before the draw.
    pub propensity: f64,
    /// Chosen items with their scores, reasons and propensities.
    pub items: Option<Value>,
    /// What would be sent.
    pub payload: Option<Value>,
    /// What the action would make of it, if that is more: the record of a CRM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<Value>,
    /// What is known of the unit.
    pub features: Value,
}

/// What the policy `name`, which says `policy`, would decide if it were asked now; its first `sample` decisions are
/// shown. One that is not due, or paused, is asked all the same.
///
/// # Errors
/// As [`crate::decide::decide`], with the place of the policy's file; units that are missing or occur more than once are
/// counted and noted instead.
/// # Cost
/// That of deciding, but that nothing is written, and a look at the outcome's events.
pub async fn preview(
    ctx: &Context<'_>,
    name: &str,
    policy: &Policy,
    sample: usize,
) -> Result<Preview> {
    let placed = |error: Error| placed(ctx, name, error);
    let what = audience_of(name);
    let audience = Audience::ask(ctx, name, policy, &what).await.map_err(placed)?;
    let (without_unit, repeated) = faults(&audience.units().map_err(placed)?);
    let mut notes = Vec::new();
    let planned = match audience.plan(ctx, name, policy).await {
        Ok(planned) => planned,
        Err(error) if without_unit + repeated > 0 => {
            notes.push(sentence("A turn would fail", &error));
            Planned::default()
        }
        Err(error) => return Err(placed(error)),
    };
    notes.extend(notes_of(ctx, name, policy, &audience, &planned).await?);
    let paused = paused(ctx, name, policy)?;
    let rows = &planned.rows;
    let mut leaving = entries(policy, rows, ctx.now)?;
    let asks = approval::asked(policy, rows, &mut leaving);
    if !asks.is_empty() {
        notes.push(format!("{} of these wait until somebody approves them.", asks.len()));
    }
    notes.extend(not_compared(policy, &asks));
    let in_arm = |arm: &str| rows.iter().filter(|row| row.arm == arm).count();
    let action = policy.action.as_ref();
    let mut shown =
        rows.iter().take(sample.min(SAMPLE_MAX)).map(sampled).collect::<Result<Vec<_>>>()?;
    if let Err(error) = add_written(ctx, policy, rows, &mut shown) {
        notes.push(sentence("What the action would write cannot be shown", &error));
    }
    Ok(Preview {
        policy: name.to_owned(),
        at: ctx.now.to_string(),
        due: is_due(ctx, name, policy).await?,
        audience: audience.rows(),
        without_unit,
        repeated,
        left_out: left_out(&planned),
        decisions: rows.len(),
        held_out: in_arm(HOLDOUT),
        globally_held: in_arm(GLOBAL_HOLDOUT),
        treated: in_arm(TREATMENT),
        actions: actions(rows),
        delivery: Leaving {
            action: action.cloned(),
            connector: action
                .and_then(|action| ctx.project.actions.get(action))
                .map(|declared| declared.connector.clone()),
            approval: paused.is_some(),
            leaves: leaving.len(),
        },
        sample: shown,
        paused,
        notes,
    })
}

/// Whether turns could go on with the policy: its audience is planned, and the events of its outcome are read, which each
/// turn reads of a policy that is paused, too.
///
/// # Errors
/// Those with which a turn would fail, with the place of the policy's file.
pub async fn check(ctx: &Context<'_>, name: &str, policy: &Policy) -> Result<()> {
    let what = audience_of(name);
    let checked = async {
        let audience = ctx.render(&policy.audience).map_err(|e| e.context(&what))?;
        let audience = statement::one(&what, &audience)?;
        let sql = format!("select * from (\n{audience}\n) as audience limit 0");
        let frame = ctx.frame_of_sql(&what, &sql).await?;
        frame.text("unit_id")?;
        constraint::check(ctx, name, policy, &frame).await?;
        limit::check(ctx, name, policy, &frame).await?;
        match &policy.outcome {
            Some(outcome) => check_events(ctx, name, outcome).await,
            None => Ok(()),
        }
    };
    checked.await.map_err(|error| placed(ctx, name, error))
}

/// Reads the events of a policy's outcome as the next turn does.
async fn check_events(ctx: &Context<'_>, name: &str, outcome: &Outcome) -> Result<()> {
    match events_query(ctx, name, outcome, ctx.now)? {
        Some((what, sql)) => events_of(ctx, &what, &sql).await.map(drop),
        None => Ok(()),
    }
}

/// How many rows have no unit, and how many units occur more than once.
fn faults(units: &[Option<String>]) -> (usize, usize) {
    let mut rows: HashMap<&str, usize> = HashMap::with_capacity(units.len());
    for unit in units.iter().flatten() {
        *rows.entry(unit.as_str()).or_default() += 1;
    }
    let without = units.iter().filter(|unit| unit.is_none()).count();
    (without, rows.values().filter(|rows| **rows > 1).count())
}

fn left_out(planned: &Planned) -> Vec<LeftOut> {
    let reasons = planned.left_out().into_iter();
    reasons.map(|(reason, units)| LeftOut { reason, units }).collect()
}

/// How often each action is chosen for those that get one.
fn actions(rows: &[DecisionRow]) -> Vec<ActionCount> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.arm == TREATMENT) {
        *counts.entry(row.action.as_str()).or_default() += 1;
    }
    let treated: usize = counts.values().sum();
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    // Those that are equally frequent stay in the order of their names.
    counts.sort_by_key(|(_, units)| std::cmp::Reverse(*units));
    let count = |(action, units): (&str, usize)| ActionCount {
        action: action.to_owned(),
        units,
        share: units as f64 / treated as f64,
    };
    counts.into_iter().take(ACTIONS_MAX).map(count).collect()
}

fn sampled(row: &DecisionRow) -> Result<Sampled> {
    let value = |text: &String| {
        serde_json::from_str::<Value>(text).map_err(|e| {
            Error::internal(format!("a decision for unit \"{}\" is no JSON", row.unit_id))
                .caused_by(e)
        })
    };
    Ok(Sampled {
        unit_id: row.unit_id.clone(),
        arm: row.arm.clone(),
        action: row.action.clone(),
        propensity: row.propensity,
        items: row.items.as_ref().map(value).transpose()?,
        payload: row.payload.as_ref().map(value).transpose()?,
        written: None,
        features: value(&row.features)?,
    })
}

/// Adds what the policy's action would make of each payload, if that is more than the payload itself.
fn add_written(
    ctx: &Context<'_>,
    policy: &Policy,
    rows: &[DecisionRow],
    sample: &mut [Sampled],
) -> Result<()> {
    let declared = policy.action.as_ref().and_then(|name| ctx.project.actions.get(name));
    let Some(declared) = declared else { return Ok(()) };
    let entry = ActionEntry::named(&declared.connector)?;
    for (row, shown) in rows.iter().zip(sample) {
        let Some(payload) = shown.payload.clone() else { continue };
        let delivery =
            Delivery { key: row.decision_id.clone(), payload, group: policy.policy.clone() };
        let options = Value::Object(declared.options.clone());
        shown.written = entry.written(options, &delivery)?;
    }
    Ok(())
}

/// What is told where nothing that waits has the number by which `approve` tells what has to wait.
fn not_compared(policy: &Policy, asks: &[Approval]) -> Option<String> {
    let approve = policy.approve.as_ref().filter(|approve| approve.above.is_some())?;
    (!asks.is_empty() && asks.iter().all(|ask| ask.amount.is_none())).then(|| {
        format!(
            "None of them has a number \"{}\", which `approve` compares, and what has none waits.",
            approve.of.as_deref().unwrap_or(approval::COST)
        )
    })
}

/// An error as a sentence of a note.
fn sentence(what: &str, error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{what}: {}. {hint}", error.message()),
        None => format!("{what}: {}.", error.message()),
    }
}

/// What should be known about a preview.
async fn notes_of(
    ctx: &Context<'_>,
    name: &str,
    policy: &Policy,
    audience: &Audience<'_>,
    planned: &Planned,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if audience.rows() == 0 {
        notes.push("The audience has no rows, so nobody is decided for.".to_owned());
    }
    if let Some(learner) = awaited(ctx, name)? {
        notes.push(format!(
            "The learner \"{learner}\" was never fitted, so there is nothing to choose yet: `flywheel learn {learner}`."
        ));
    }
    if planned.beyond > 0 {
        notes.push(format!(
            "{} units are beyond the limit of a turn; who is decided for is drawn anew at each moment.",
            planned.beyond
        ));
    }
    if let Some(contact) = &ctx.project.file.contact
        && policy.action.as_deref().is_some_and(|action| contact.covers(action))
    {
        notes.push(
            "Policies share the limit `contact` of flywheel.yaml and decide in the order of their names: one before it in the same turn may use contacts up that are counted as left here."
                .to_owned(),
        );
    }
    let waiting = entries(policy, &planned.rows, ctx.now)?;
    let waiting = waiting.iter().filter(|entry| entry.due_at > ctx.now).count();
    if waiting > 0 {
        notes.push(format!("{waiting} deliveries would wait for the end of quiet hours."));
    }
    let drawn = match &policy.choose {
        Choose::Candidates(list) => list.len() > 1,
        Choose::Recommend(items) => items.explore.value() > 0.0,
        Choose::Bandit(_) => true,
        Choose::Experiment(_) | Choose::Reorder(_) => false,
    };
    if drawn {
        notes.push(
            "What a unit gets is drawn anew at each moment; a turn at this very moment draws the same."
                .to_owned(),
        );
    }
    if let Choose::Bandit(bandit) = &policy.choose
        && bandit.canary.is_some()
    {
        notes.push(
            "The canary is where the last turn left it; the next turn may move it before it decides."
                .to_owned(),
        );
    }
    if let Choose::Experiment(experiment) = &policy.choose
        && let Err(error) = Box::pin(experiment::check(ctx, name, experiment)).await
    {
        notes.push(sentence(
            "What is compared cannot be read, so it would be neither compared nor watched",
            &error,
        ));
    }
    if let Choose::Reorder(settings) = &policy.choose {
        let doubts = reorder::doubts(ctx, settings, &audience.units()?)?;
        if doubts.without_forecast > 0 {
            notes.push(format!(
                "{} of {} units have no forecast by the learner \"{}\", so nothing is ordered for them: a unit is found by its `series_id`.",
                doubts.without_forecast,
                audience.rows(),
                settings.learner
            ));
        }
        if let Some((through, days)) = doubts.overdue {
            notes.push(format!(
                "The learner \"{0}\" knows nothing after {1}, {days} days ago, so orders are of a forecast of then: `flywheel learn {0}`.",
                settings.learner,
                through.date()
            ));
        }
    }
    if policy.holdout.value() <= 0.0 {
        notes.push("The holdout is 0 %, so the effect cannot be measured.".to_owned());
    }
    if policy.action.is_none() {
        notes.push("There is no action: decisions are only logged.".to_owned());
    }
    match &policy.outcome {
        None => notes.push("There is no outcome, so nothing says whether it helped.".to_owned()),
        Some(outcome) => notes.extend(without_events(ctx, name, outcome).await),
    }
    Ok(notes)
}

/// What is to be said of a query for events that finds nothing, or fails.
async fn without_events(ctx: &Context<'_>, name: &str, outcome: &Outcome) -> Option<String> {
    let events = outcome.events.as_ref()?;
    let what = format!("policy \"{name}\": outcome events");
    let found = async {
        check_events(ctx, name, outcome).await?;
        let events = ctx.render(events).map_err(|e| e.context(&what))?;
        let events = statement::one(&what, &events)?;
        let sql = format!("select 1 as event from (\n{events}\n) as events limit 1");
        Ok::<usize, Error>(ctx.frame_of_sql(&what, &sql).await?.rows())
    };
    match found.await {
        Ok(0) => Some("The outcome has no events yet.".to_owned()),
        Ok(_) => None,
        Err(error) => {
            Some(sentence("The outcome cannot be read, so no window of it would close", &error))
        }
    }
}

#[cfg(test)]
mod tests;
