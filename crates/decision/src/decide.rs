//! Deciding: one row per unit of the audience, committed before anything leaves.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use flywheel_base::{Error, ErrorKind, Result, Rng, Timestamp, digest, statement};
use flywheel_project::resource::policy::{Choose, Policy, column_of};
use flywheel_project::resource::project_file::GlobalHoldout;
use flywheel_state::{Approval, OutboxEntry, OutboxStatus};
use flywheel_warehouse::Checkpoint;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::act::REMEMBERED_US;
use crate::approval;
use crate::choose::reorder::Classes;
use crate::choose::{Choice, Chooser};
use crate::constraint::{Asked, Barred, Bars, Names, held_by_all, quiet_until};
use crate::context::{Context, Pending, due_after, location};
use crate::feedback::FreshList;
use crate::frame::Frame;
use crate::limit::purse::cost_of;
use crate::limit::{self, Limits};
use crate::outcome::literal;
use crate::table::{DecisionRow, SuppressedRow, SystemTable};
use crate::verify::policy_text;

/// The arm that gets the chosen action.
pub const TREATMENT: &str = "treatment";
/// The arm that gets nothing, so that the effect can be measured.
pub const HOLDOUT: &str = "holdout";
/// The arm of units that no policy treats; they are in neither arm of a policy's lift.
pub const GLOBAL_HOLDOUT: &str = "global_holdout";
/// The action of the holdouts.
const NONE: &str = "none";

/// How many units are chosen for at once at least.
const UNITS_AT_ONCE: usize = 512;

/// What came of asking a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The policy.
    pub policy: String,
    /// Whether and why it decided or not.
    pub status: Status,
    /// Decisions of this turn.
    pub decisions: usize,
    /// Those in the holdout.
    pub held_out: usize,
    /// Actions queued by this call; 0 when it repeats a call that was cut off after queueing.
    pub queued: usize,
    /// Units of a reorder policy's audience for which its learner has no forecast, so that nothing is ordered; 0 where this
    /// call did not ask the audience.
    pub without_forecast: usize,
}

/// Whether and why a policy decided or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It decided, now or in an earlier attempt of this turn.
    Decided,
    /// Its interval has not passed yet.
    NotDue,
    /// It is paused, for this reason, and did not decide in an earlier attempt of this turn.
    Paused(String),
}

/// One unit of an audience.
pub(crate) struct Unit {
    pub(crate) id: String,
    pub(crate) columns: Map<String, Value>,
}

/// Asks the policy `name` to decide, if it is due, and queues what shall leave.
///
/// A policy that is paused decides nothing. What it decided in an attempt of this turn that was cut off before the pause
/// is queued, and waits in the outbox with everything else of that policy.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown policy, [`flywheel_base::ErrorKind::Invalid`]
/// if its audience or payload does not fit, else those of lake and metadata.
pub async fn decide(ctx: &Context<'_>, name: &str) -> Result<Decided> {
    let policy = ctx
        .project
        .policies
        .get(name)
        .ok_or_else(|| Error::not_found(format!("no policy \"{name}\"")))?;
    let decided = |status, rows: &[DecisionRow], queued| Decided {
        policy: name.to_owned(),
        status,
        decisions: rows.len(),
        held_out: rows.iter().filter(|row| row.arm == HOLDOUT).count(),
        queued,
        without_forecast: 0,
    };
    let mut without_forecast = 0;
    let last = last_decided(ctx, name).await?;
    // What an earlier attempt of this turn decided is queued all the same: no later turn would, and the outbox keeps it
    // until the policy goes on.
    let begun = last.as_ref().is_some_and(|last| last.sequence == ctx.now.micros());
    if !begun && let Some(reason) = paused(ctx, name, policy)? {
        return Ok(decided(Status::Paused(reason), &[], 0));
    }
    let table = SystemTable::named("decisions")?;
    let rows = match last {
        Some(last) if last.sequence >= ctx.now.micros() => {
            decisions_of_moment(ctx, name).await.map_err(|e| not_queued(name, e))?
        }
        Some(last) if !due(ctx.now, &last, policy) => return Ok(decided(Status::NotDue, &[], 0)),
        _ => {
            let what = audience_of(name);
            let audience = Audience::ask(ctx, name, policy, &what).await?;
            let planned = audience.plan(ctx, name, policy).await?;
            policy_version(ctx, policy)?;
            // A large audience takes its time, and somebody may have stopped everything meanwhile.
            if let Some(reason) = halted(ctx)? {
                return Ok(decided(Status::Paused(reason), &[], 0));
            }
            let position = json!({ "at": ctx.now.micros() });
            let checkpoint = Checkpoint { sequence: ctx.now.micros(), position };
            // Before the decisions, which end the attempt: one that is cut off between the two finds this done.
            log_suppressed(ctx, name, &planned, &checkpoint).await?;
            without_forecast = planned.without_forecast;
            let rows = planned.rows;
            table.append(ctx.lake, &rows, Some((app_of(name), checkpoint))).await?;
            rows
        }
    };
    let queue = || {
        let mut entries = entries(policy, &rows, ctx.now)?;
        let asks = approval::asked(policy, &rows, &mut entries);
        ctx.store.enqueue_asking(&entries, &asks)
    };
    let queued = queue().map_err(|e| not_queued(name, e))?;
    Ok(Decided { without_forecast, ..decided(Status::Decided, &rows, queued) })
}

/// What keeps decisions that are made from being queued is never a fault of their policy, which a turn would go on
/// without: the next turn has another moment and does not queue them any more. The turn has to end here, and to be
/// completed.
fn not_queued(name: &str, error: Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Blocked => {
            ErrorKind::Unavailable
        }
        kind => kind,
    };
    let hint = error
        .hint_text()
        .unwrap_or("Mend the cause and run the turn again: it completes what it began.")
        .to_owned();
    let what = format!("policy \"{name}\": its decisions are made, and not queued yet");
    Error::new(kind, format!("{what}: {}", error.message())).hint(hint).caused_by(error)
}

/// A question for one unit, outside of the turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The policy.
    pub policy: String,
    /// The unit, as in `unit_id` of its audience.
    pub unit: String,
    /// The asker's name for the question: asked again, it gets the same decision.
    pub key: Option<String>,
    /// What the policy's recommender makes of all that the unit did until now; none where nothing came since the fit.
    pub fresh: Option<FreshList>,
}

/// A question that was not decided yet, under the id that its decision gets.
struct Open<'a> {
    id: String,
    question: &'a Question,
}

/// Decides for single units now, outside of the turns, and queues what shall leave. All decisions are committed
/// together when this returns, and each question is answered on its own: one that cannot be, fails alone. The same
/// question with the same key gets the same decision, also one of earlier; one without key is another question at
/// each moment.
///
/// The limit `caps.per_unit_every`, consent and the contacts of all policies hold as in a turn; `caps.per_turn` counts
/// decisions of turns only. Budget and stock are those of the moment, each question after those before it.
///
/// # Errors
/// Per question: [`flywheel_base::ErrorKind::NotFound`] for an unknown policy and for a unit that its audience does
/// not hold, [`flywheel_base::ErrorKind::Blocked`] if it is paused, if the unit was decided for too recently, or if
/// there is nothing to choose; else those of [`decide`].
/// # Cost
/// At most three queries and a choice per policy, two more for a budget and a stock each, and one commit to lake and
/// metadata each for all of them.
pub async fn decide_each(ctx: &Context<'_>, questions: &[Question]) -> Vec<Result<DecisionRow>> {
    let mut of_policy: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, question) in questions.iter().enumerate() {
        of_policy.entry(&question.policy).or_default().push(place);
    }
    let mut answers: Vec<Option<Result<DecisionRow>>> = questions.iter().map(|_| None).collect();
    let (mut fresh, mut leaving, mut asks) = (Vec::new(), Vec::new(), Vec::new());
    for (name, places) in of_policy {
        let asked: Vec<&Question> =
            places.iter().filter_map(|place| questions.get(*place)).collect();
        let of_policy = match answer(ctx, name, &asked, &mut fresh).await {
            Ok(answers) => answers,
            Err(error) => asked.iter().map(|_| Err(error.again())).collect(),
        };
        for (place, answered) in places.into_iter().zip(of_policy) {
            // Entries that are there already, as after an answer that got lost, are left as they are. Of a decision
            // that is older than what the outbox remembers nobody knows whether it left.
            let answered = answered.and_then(|row| {
                let known = row.decided_at.plus_micros(REMEMBERED_US) > ctx.now;
                if let Some(policy) = ctx.project.policies.get(name).filter(|_| known) {
                    let rows = std::slice::from_ref(&row);
                    let mut entries = entries(policy, rows, ctx.now)?;
                    asks.extend(approval::asked(policy, rows, &mut entries));
                    leaving.extend(entries);
                }
                Ok(row)
            });
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answered);
            }
        }
    }
    let failed = commit(ctx, &fresh, (&leaving, &asks)).await.err();
    let unanswered = || Err(Error::internal("a question was left out"));
    let answers = answers.into_iter().map(|answered| answered.unwrap_or_else(unanswered));
    answers
        .map(|answered| match (&failed, answered) {
            (Some(error), Ok(_)) => Err(error.again()),
            (_, answered) => answered,
        })
        .collect()
}

async fn commit(
    ctx: &Context<'_>,
    rows: &[DecisionRow],
    (leaving, asks): (&[OutboxEntry], &[Approval]),
) -> Result<()> {
    if !rows.is_empty() {
        if let Some(reason) = halted(ctx)? {
            return Err(Error::blocked(reason).hint(HALT_HINT));
        }
        SystemTable::named("decisions")?.append(ctx.lake, rows, None).await?;
    }
    ctx.store.enqueue_asking(leaving, asks).map(|_| ())
}

/// Answers the questions for one policy; rows that are not logged yet go to `fresh`.
async fn answer(
    ctx: &Context<'_>,
    name: &str,
    asked: &[&Question],
    fresh: &mut Vec<DecisionRow>,
) -> Result<Vec<Result<DecisionRow>>> {
    let policies = &ctx.project.policies;
    let policy = policies.get(name).ok_or_else(|| {
        Error::not_found(format!("no policy \"{name}\""))
            .hint(flywheel_base::suggest::hint(name, policies.keys().map(String::as_str)))
    })?;
    let id_of = |question: &Question| match &question.key {
        Some(key) => {
            let parts = [name.as_bytes(), key.as_bytes(), question.unit.as_bytes()];
            digest::short(&[b"asked", parts[0], parts[1], parts[2]])
        }
        // A turn may be deciding for the same unit at the same moment: its decisions have ids of their own.
        None => digest::short(&[b"asked-at", decision_id(ctx, name, &question.unit).as_bytes()]),
    };
    let ids: Vec<String> = asked.iter().map(|question| id_of(question)).collect();
    let mut conditions = Vec::new();
    for (keyed, when) in
        [(true, String::new()), (false, format!("decided_at = {} and ", literal(ctx.now)))]
    {
        let of_kind = asked.iter().zip(&ids).filter(|(one, _)| one.key.is_some() == keyed);
        let list = list_of(of_kind.map(|(_, id)| id.as_str()));
        if !list.is_empty() {
            conditions.push(format!("({when}decision_id in ({list}))"));
        }
    }
    let known = decisions_where(ctx, name, &format!("({})", conditions.join(" or "))).await?;
    let mut rows: BTreeMap<String, Result<DecisionRow>> =
        known.into_iter().map(|row| (row.decision_id.clone(), Ok(row))).collect();
    let mut open: Vec<Open<'_>> = Vec::new();
    for (question, id) in asked.iter().zip(&ids) {
        if !rows.contains_key(id) && !open.iter().any(|earlier| earlier.id == *id) {
            open.push(Open { id: id.clone(), question });
        }
    }
    // What was decided stays so while the policy is paused; nothing new is decided.
    let paused = match open.is_empty() {
        true => None,
        false => paused(ctx, name, policy)?,
    };
    if let Some(reason) = paused {
        let hint = match ctx.store.halt()? {
            Some(_) => HALT_HINT.to_owned(),
            None => format!("`flywheel policy resume {name}` lets it go on."),
        };
        let blocked =
            || Error::blocked(format!("policy \"{name}\" is paused: {reason}")).hint(hint.clone());
        rows.extend(open.into_iter().map(|one| (one.id, Err(blocked()))));
    } else if !open.is_empty() {
        let made = decide_now(ctx, (name, policy), &open, fresh).await?;
        for (id, row) in made {
            fresh.extend(row.as_ref().ok().cloned());
            rows.insert(id, row);
        }
    }
    let of_id = |id: &String| match rows.get(id) {
        Some(Ok(row)) => Ok(row.clone()),
        Some(Err(error)) => Err(error.again()),
        None => Err(Error::internal(format!("policy \"{name}\" left a question out"))),
    };
    Ok(ids.iter().map(of_id).collect())
}

/// Decides for units that were not decided for under these ids; `made` are decisions that are not logged yet.
async fn decide_now(
    ctx: &Context<'_>,
    (name, policy): (&str, &Policy),
    open: &[Open<'_>],
    made: &[DecisionRow],
) -> Result<Vec<(String, Result<DecisionRow>)>> {
    let what = audience_of(name);
    let audience = ctx.render(&policy.audience).map_err(|e| e.context(&what))?;
    let audience = statement::one(&what, &audience)?;
    let wanted: BTreeSet<&str> = open.iter().map(|one| one.question.unit.as_str()).collect();
    let list = list_of(wanted.into_iter());
    let sql = format!(
        "select * from (\n{audience}\n) as audience where cast(unit_id as varchar) in ({list})"
    );
    let caps = caps_of(name);
    let recent = recently_decided(ctx, name, policy, &caps, &format!(" and unit_id in ({list})"));
    let names = Names::of(name);
    let asked = Asked::ask(ctx, name, policy, &names, Some(&list))?;
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let ids = frame.ids("unit_id")?;
    let mut bars = asked.bars(ctx, (name, policy), ids_of(recent).await?, made).await?;
    let barred = bars.of(policy, &frame, &ids)?;
    let mut held: BTreeMap<String, Vec<Held>> = BTreeMap::new();
    for ((id, mut columns), barred) in ids.into_iter().zip(frame.objects()?).zip(barred) {
        columns.remove("unit_id");
        held.entry(id).or_default().push(Held { columns, barred });
    }
    let mut decided: Vec<(String, Result<DecisionRow>)> = Vec::with_capacity(open.len());
    let (mut units, mut of_units) = (Vec::new(), Vec::new());
    for Open { id, question } in open {
        let unit = question.unit.as_str();
        match eligible_now(name, unit, held.get(unit)) {
            Ok(columns) => {
                units.push(Unit { id: unit.to_owned(), columns });
                of_units.push((id.clone(), question.fresh.as_ref()));
            }
            Err(error) => decided.push((id.clone(), Err(error))),
        }
    }
    if units.is_empty() {
        return Ok(decided);
    }
    let chooser = Chooser::load(ctx, name, policy, &units).await?;
    let version = policy_version(ctx, policy)?;
    let mut limits = Box::pin(Limits::open(ctx, name, policy, made)).await?;
    let draw = Draw::of(ctx, name, policy, &version);
    for (unit, (id, fresh)) in units.iter().zip(of_units) {
        let made = bars
            .once_more(name, policy, &unit.id)
            .and_then(|()| one_now(&draw, &chooser, &limits, (unit, id.as_str(), fresh)));
        // Whoever is refused, as by a budget, has used up nothing.
        if let Ok(row) = &made {
            limits.give(row);
            bars.count(&unit.id);
        }
        decided.push((id, made));
    }
    Ok(decided)
}

/// Decides for one unit that may be decided for.
fn one_now(
    draw: &Draw<'_>,
    chooser: &Chooser,
    limits: &Limits,
    (unit, id, fresh): (&Unit, &str, Option<&FreshList>),
) -> Result<DecisionRow> {
    let (name, policy) = (draw.name, draw.policy);
    if !limits.affords(name, policy, unit)? {
        return Err(limit::spent(name, &unit.id));
    }
    let seed = seed_of(name, draw.at, &unit.id);
    let nothing =
        || Error::blocked(format!("policy \"{name}\" has nothing for the unit \"{}\"", unit.id));
    let choice = match limits.shelf() {
        Some(shelf) => match chooser.choose_left(unit, fresh, shelf, &mut Rng::new(seed))? {
            Some(choice) => choice,
            None if chooser.choose_now(unit, fresh, &mut Rng::new(seed))?.is_some() => {
                return Err(limit::used_up(name, &unit.id));
            }
            None => return Err(nothing()),
        },
        None => {
            let choice = chooser.choose_now(unit, fresh, &mut Rng::new(seed))?;
            choice.filter(|choice| chooser.affords(choice, &mut 0.0)).ok_or_else(nothing)?
        }
    };
    draw.row(unit, choice, seed, id.to_owned())
}

/// A row of an audience: its columns, and what stands against deciding for its unit.
struct Held {
    columns: Map<String, Value>,
    barred: Option<Barred>,
}

/// The columns of a unit that nothing stood against deciding for when it was asked for.
fn eligible_now(name: &str, unit: &str, held: Option<&Vec<Held>>) -> Result<Map<String, Value>> {
    let what = audience_of(name);
    let held = match held.map(Vec::as_slice).unwrap_or_default() {
        [held] => held,
        [] => {
            return Err(Error::not_found(format!("{what} does not hold the unit \"{unit}\"")).hint(
                "Units are found in tables as they were built last; see the policy's `audience`.",
            ));
        }
        _ => {
            return Err(Error::invalid(format!("{what}: unit \"{unit}\" occurs more than once"))
                .hint("One row per unit: add `group by unit_id` or `select distinct`."));
        }
    };
    if let Some(barred) = held.barred {
        return Err(barred.refusal(name, unit));
    }
    Ok(held.columns.clone())
}

/// Texts as SQL has them in a list.
pub(crate) fn list_of<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let quoted = texts.map(|text| format!("'{}'", text.replace('\'', "''")));
    quoted.collect::<Vec<_>>().join(", ")
}

/// Why a policy neither decides nor delivers; none if nothing stops it.
pub(crate) fn paused(ctx: &Context<'_>, name: &str, policy: &Policy) -> Result<Option<String>> {
    if let Some(reason) = halted(ctx)? {
        return Ok(Some(reason));
    }
    if policy.paused {
        return Ok(Some("its file says paused: true".to_owned()));
    }
    let state = ctx.store.policy(name)?;
    Ok(state.paused.then(|| state.reason.unwrap_or_else(|| "paused".to_owned())))
}

/// What lets policies go on that were all stopped.
const HALT_HINT: &str = "`flywheel policy resume --all` lets all policies go on.";

/// Why all policies are stopped, if they are.
fn halted(ctx: &Context<'_>) -> Result<Option<String>> {
    let halt = ctx.store.halt()?;
    Ok(halt.map(|halt| format!("all policies are stopped by {}: {}", halt.by, halt.reason)))
}

fn due(now: Timestamp, last: &Checkpoint, policy: &Policy) -> bool {
    let Some(at) = last.position.get("at").and_then(Value::as_i64) else { return true };
    let every = policy.every.map_or(86_400_000_000, |every| every.micros);
    now.micros() >= at.saturating_add(due_after(every))
}

/// Who moves the checkpoint of a policy's decisions.
fn app_of(name: &str) -> String {
    format!("decide/{name}")
}

/// When a policy last decided in a turn.
async fn last_decided(ctx: &Context<'_>, name: &str) -> Result<Option<Checkpoint>> {
    ctx.checkpoint(&location("system/decisions")?, &app_of(name)).await
}

/// Whether a policy that nothing stops would decide anew at this moment.
pub(crate) async fn is_due(ctx: &Context<'_>, name: &str, policy: &Policy) -> Result<bool> {
    let last = last_decided(ctx, name).await?;
    Ok(last.is_none_or(|last| last.sequence < ctx.now.micros() && due(ctx.now, &last, policy)))
}

/// What the query for a policy's audience is called in messages.
pub(crate) fn audience_of(name: &str) -> String {
    format!("policy \"{name}\": audience")
}

/// The answer of a policy's audience, and what stands against deciding for its units.
pub(crate) struct Audience<'w> {
    frame: Frame<'w>,
    bars: Bars,
}

/// What a policy decides at a moment, and how many units it leaves out.
#[derive(Default)]
pub(crate) struct Planned {
    /// The decisions, by unit.
    pub(crate) rows: Vec<DecisionRow>,
    /// Units that may not be decided for, by why.
    pub(crate) barred: BTreeMap<Barred, usize>,
    /// Units for which there is nothing to choose.
    pub(crate) nothing: usize,
    /// Units that the budget does not cover.
    pub(crate) budget: usize,
    /// Units for which nothing is left of what could be chosen.
    pub(crate) stock: usize,
    /// Units beyond `caps.per_turn`.
    pub(crate) beyond: usize,
    /// Units of the audience of which a reorder policy's learner has no forecast.
    pub(crate) without_forecast: usize,
}

impl Planned {
    /// Units that are not decided for, by why: whoever is left out for several reasons is counted under the first.
    pub(crate) fn left_out(&self) -> Vec<(&'static str, usize)> {
        let barred = Barred::ALL
            .into_iter()
            .map(|reason| (reason.name(), self.barred.get(&reason).copied().unwrap_or_default()));
        let others = [
            ("per_turn", self.beyond),
            ("budget", self.budget),
            ("stock", self.stock),
            ("nothing", self.nothing),
        ];
        barred.chain(others).filter(|(_, units)| *units > 0).collect()
    }
}

impl<'w> Audience<'w> {
    /// Asks for the audience under the name `what`, and beside it for who may not be decided for.
    pub(crate) async fn ask(
        ctx: &Context<'_>,
        name: &str,
        policy: &Policy,
        what: &'w str,
    ) -> Result<Self> {
        let caps = caps_of(name);
        let recent = recently_decided(ctx, name, policy, &caps, "");
        let names = Names::of(name);
        let asked = Asked::ask(ctx, name, policy, &names, None)?;
        let audience = ctx.render(&policy.audience).map_err(|e| e.context(what))?;
        let frame = ctx.frame_of_sql(what, statement::one(what, &audience)?).await?;
        let bars = asked.bars(ctx, (name, policy), ids_of(recent).await?, &[]).await?;
        Ok(Self { frame, bars })
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> usize {
        self.frame.rows()
    }

    /// The unit of each row, where it has one.
    pub(crate) fn units(&self) -> Result<Vec<Option<String>>> {
        self.frame.text("unit_id")
    }

    /// Decides for every eligible unit, and writes nothing; the result depends on declared files, tables and moment
    /// alone.
    pub(crate) async fn plan(
        &self,
        ctx: &Context<'_>,
        name: &str,
        policy: &Policy,
    ) -> Result<Planned> {
        let (eligible, barred) = eligible(ctx, (name, policy), &self.frame, &self.bars)?;
        let version = version_of(policy)?;
        let draw = Draw::of(ctx, name, policy, &version);
        let most = policy.caps.per_turn.unwrap_or(usize::MAX);
        let mut planned = Planned { barred, ..Planned::default() };
        let mut spent = 0.0;
        // An item's class follows from all items.
        let classes = match &policy.choose {
            Choose::Reorder(settings) if !eligible.is_empty() => {
                Some(Classes::of(ctx, settings, &self.frame)?)
            }
            _ => None,
        };
        let mut limits = Box::pin(Limits::open(ctx, name, policy, &[])).await?;
        // No more is read and chosen than the cap lets through, give or take a part; but what there is goes to the best
        // of all.
        let at_once = match limits.shelf() {
            Some(_) => eligible.len().max(1),
            None => {
                policy.caps.per_turn.map_or(eligible.len(), |most| most.max(UNITS_AT_ONCE)).max(1)
            }
        };
        for (nth, part) in eligible.chunks(at_once).enumerate() {
            let mut units = units_of(&self.frame, part)?;
            if let Some(classes) = &classes {
                units.iter_mut().for_each(|unit| classes.add(&unit.id, &mut unit.columns));
            }
            let units = &units;
            let chooser = Chooser::load(ctx, name, policy, units).await?;
            if let (0, Chooser::Reorder(proposals)) = (nth, &chooser) {
                planned.without_forecast = proposals.without_forecast(&self.units()?);
            }
            let draw_of = |unit: &Unit| {
                let seed = seed_of(name, ctx.now, &unit.id);
                chooser.choose(unit, &mut Rng::new(seed))
            };
            // Where what is left depends on who chose before, one chooses after the other.
            let (order, mut drawn) = match limits.shelf() {
                Some(shelf) => (chooser.best_first(units, shelf), Vec::new()),
                None => {
                    let drawn = units.par_iter().map(draw_of).collect::<Result<Vec<_>>>()?;
                    ((0..units.len()).collect(), drawn)
                }
            };
            for place in order {
                if planned.rows.len() >= most {
                    break;
                }
                let Some(unit) = units.get(place) else { continue };
                let seed = seed_of(name, ctx.now, &unit.id);
                let choice = match limits.shelf() {
                    Some(shelf) => {
                        let left = chooser.choose_left(unit, None, shelf, &mut Rng::new(seed))?;
                        if left.is_none() && draw_of(unit)?.is_some() {
                            planned.stock += 1;
                            continue;
                        }
                        left
                    }
                    None => drawn.get_mut(place).and_then(Option::take),
                };
                let Some(choice) = choice else {
                    planned.nothing += 1;
                    continue;
                };
                let covered = limits.affords(name, policy, unit)?;
                if !covered || !chooser.affords(&choice, &mut spent) {
                    planned.budget += 1;
                    continue;
                }
                let id = decision_id(ctx, name, &unit.id);
                let row = draw.row(unit, choice, seed, id)?;
                limits.give(&row);
                planned.rows.push(row);
            }
            if planned.rows.len() >= most {
                break;
            }
        }
        let settled = planned.rows.len() + planned.nothing + planned.budget + planned.stock;
        planned.beyond = eligible.len().saturating_sub(settled);
        planned.rows.sort_by(|a, b| a.unit_id.cmp(&b.unit_id));
        Ok(planned)
    }
}

/// The seed of one unit's draws at a moment.
pub(crate) fn seed_of(name: &str, at: Timestamp, unit: &str) -> u64 {
    let moment = at.micros().to_le_bytes();
    digest::hash64(&[b"decide", name.as_bytes(), &moment, unit.as_bytes()])
}

/// A seed as it is logged.
pub(crate) fn seed_text(seed: u64) -> String {
    format!("{seed:016x}")
}

/// A unit that may be decided for: its place in the order of this moment, its id, and its row in the audience.
type Eligible = (u64, String, usize);

/// Units that may be decided for now, in an order that is random but the same in every attempt, so
/// that a cap on the turn takes a fair sample of all arms; and how many may not, by why.
fn eligible(
    ctx: &Context<'_>,
    (name, policy): (&str, &Policy),
    audience: &Frame<'_>,
    bars: &Bars,
) -> Result<(Vec<Eligible>, BTreeMap<Barred, usize>)> {
    let ids = audience.ids("unit_id")?;
    let mut seen = HashSet::with_capacity(ids.len());
    if let Some(id) = ids.iter().find(|id| !seen.insert(id.as_str())) {
        return Err(Error::invalid(format!(
            "{}: unit \"{id}\" occurs more than once",
            audience_of(name)
        ))
        .hint("One row per unit: add `group by unit_id` or `select distinct`."));
    }
    let order = format!("order/{name}/{}", ctx.now.micros());
    let all = bars.of(policy, audience, &ids)?;
    let mut barred: BTreeMap<Barred, usize> = BTreeMap::new();
    let mut eligible: Vec<Eligible> = Vec::with_capacity(ids.len());
    for ((place, id), reason) in ids.into_iter().enumerate().zip(all) {
        match reason {
            Some(reason) => *barred.entry(reason).or_default() += 1,
            // A number between 0 and 1 has bits in its own order.
            None => eligible.push((digest::unit_interval(&order, &id).to_bits(), id, place)),
        }
    }
    eligible.sort_unstable();
    Ok((eligible, barred))
}

/// Logs how many units a turn leaves out, once per moment.
async fn log_suppressed(
    ctx: &Context<'_>,
    name: &str,
    planned: &Planned,
    checkpoint: &Checkpoint,
) -> Result<()> {
    let row = |(reason, units): (&'static str, usize)| SuppressedRow {
        turn: ctx.turn,
        at: ctx.now,
        policy: name.to_owned(),
        reason: reason.to_owned(),
        units: i64::try_from(units).unwrap_or(i64::MAX),
    };
    let rows: Vec<SuppressedRow> = planned.left_out().into_iter().map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let mark = (format!("suppress/{name}"), checkpoint.clone());
    SystemTable::named("suppressed")?.append(ctx.lake, &rows, Some(mark)).await?;
    Ok(())
}

/// The units of a part of those that may be decided for.
fn units_of(audience: &Frame<'_>, part: &[Eligible]) -> Result<Vec<Unit>> {
    let places: Vec<usize> = part.iter().map(|(_, _, place)| *place).collect();
    let objects = audience.at(&places)?.objects()?;
    let unit = |((_, id, _), mut columns): (&Eligible, Map<String, Value>)| {
        columns.remove("unit_id");
        Unit { id: id.clone(), columns }
    };
    Ok(part.iter().zip(objects).map(unit).collect())
}

/// What the query for a policy's caps is called in messages.
fn caps_of(name: &str) -> String {
    format!("policy \"{name}\": caps")
}

/// Asks which units may not be decided for again yet, of those of `condition`; nothing to ask if the policy has no
/// such cap.
fn recently_decided<'w>(
    ctx: &Context<'_>,
    name: &str,
    policy: &Policy,
    what: &'w str,
    condition: &str,
) -> Option<Pending<'w>> {
    let every = policy.caps.per_unit_every?;
    // Whoever is decided for at each of a policy's moments is decided for at one that comes a little sooner, too.
    let since = ctx.now.plus_micros(-due_after(every.micros));
    let sql = format!(
        "select distinct unit_id from system.decisions where policy = '{name}' and decided_at > {}{condition}",
        literal(since)
    );
    Some(ctx.begin(what, sql))
}

async fn ids_of(recent: Option<Pending<'_>>) -> Result<HashSet<String>> {
    let Some(recent) = recent else { return Ok(HashSet::new()) };
    Ok(recent.frame().await?.ids("unit_id")?.into_iter().collect())
}

/// The digest of a policy as it is, under which its text is kept so that its decisions can be made again.
///
/// # Cost
/// Nothing is written but for a policy that never decided like this.
fn policy_version(ctx: &Context<'_>, policy: &Policy) -> Result<String> {
    let text = policy_text(policy)?;
    ctx.artifacts.put(&text)?;
    Ok(digest::short(&[&text]))
}

/// The digest of a policy as it is.
fn version_of(policy: &Policy) -> Result<String> {
    let text = policy_text(policy)?;
    Ok(digest::short(&[&text]))
}

/// The id of the decision for one unit at this moment.
fn decision_id(ctx: &Context<'_>, name: &str, unit: &str) -> String {
    let moment = ctx.now.micros().to_le_bytes();
    digest::short(&[b"decision", name.as_bytes(), &moment, unit.as_bytes()])
}

/// A digest of what was known of a unit, as it is logged.
pub(crate) fn features_digest(features: &str) -> String {
    digest::short(&[features.as_bytes()])
}

/// Whether a unit is in the holdout of a policy: at every moment or never.
fn held_out(name: &str, policy: &Policy, unit: &str) -> bool {
    digest::unit_interval(&format!("holdout/{name}"), unit) < policy.holdout.value()
}

/// Who decides, and when: what the rows of one moment have in common.
pub(crate) struct Draw<'a> {
    pub(crate) name: &'a str,
    pub(crate) policy: &'a Policy,
    pub(crate) version: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) turn: i64,
    /// The units that no policy treats, if there are any.
    pub(crate) global: Option<&'a GlobalHoldout>,
}

impl<'a> Draw<'a> {
    /// The draw of a policy at the moment.
    pub(crate) fn of(
        ctx: &'a Context<'_>,
        name: &'a str,
        policy: &'a Policy,
        version: &'a str,
    ) -> Self {
        let global = ctx.project.file.holdout.as_ref();
        Self { name, policy, version, at: ctx.now, turn: ctx.turn, global }
    }
}

impl Draw<'_> {
    /// The row of a unit for which `choice` was drawn with `seed`.
    pub(crate) fn row(
        &self,
        unit: &Unit,
        choice: Choice,
        seed: u64,
        id: String,
    ) -> Result<DecisionRow> {
        let Self { name, policy, .. } = *self;
        let holdout = policy.holdout.value();
        // What is in an arm of the policy was drawn among units outside of the global holdout: its propensity is that
        // of the choice given that.
        let held_by = self.global.filter(|global| held_by_all(global, &unit.id));
        let (arm, of_arm) = match held_by {
            Some(global) => (GLOBAL_HOLDOUT, global.share.value()),
            None if held_out(name, policy, &unit.id) => (HOLDOUT, holdout),
            None => (TREATMENT, 1.0 - holdout),
        };
        let held = arm != TREATMENT;
        let global_holdout = self.global.map(global_text).transpose()?;
        let features = Value::Object(unit.columns.clone()).to_string();
        let payload = (!held && policy.action.is_some())
            .then(|| payload(name, policy, unit, &choice, &id))
            .transpose()?;
        let cost = match &policy.budget {
            Some(budget) if !held => Some(cost_of(name, budget, unit)?),
            _ => None,
        };
        Ok(DecisionRow {
            decision_id: id,
            turn: self.turn,
            policy: name.to_owned(),
            policy_version: self.version.to_owned(),
            unit_id: unit.id.clone(),
            decided_at: self.at,
            arm: arm.to_owned(),
            action: if held { NONE.to_owned() } else { choice.action },
            propensity: if held { of_arm } else { of_arm * choice.propensity },
            items: choice.items.filter(|_| !held).map(|items| items.to_string()),
            candidates: i64::try_from(choice.candidates).unwrap_or(i64::MAX),
            candidates_digest: choice.candidates_digest,
            candidate_ids: choice.candidate_ids,
            chances: choice.chances.map(|chances| Value::Object(chances).to_string()),
            artifact: choice.artifact,
            canary: choice.canary,
            features_digest: features_digest(&features),
            features,
            seed: seed_text(seed),
            global_holdout,
            cost,
            payload: payload.map(|payload| payload.to_string()),
        })
    }
}

/// The global holdout as a decision keeps it, so that its arm can be drawn again.
pub(crate) fn global_text(global: &GlobalHoldout) -> Result<String> {
    serde_json::to_string(global)
        .map_err(|e| Error::internal("the holdout of all policies is no JSON").caused_by(e))
}

/// Fills the payload: `$name` is a value of the choice or a column of the audience.
fn payload(name: &str, policy: &Policy, unit: &Unit, choice: &Choice, id: &str) -> Result<Value> {
    let mut known: BTreeMap<&str, Value> =
        unit.columns.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    known.extend(choice.values.iter().map(|(k, v)| (k.as_str(), v.clone())));
    known.insert("unit_id", json!(unit.id));
    known.insert("decision_id", json!(id));
    known.insert("action", json!(choice.action));
    let mut filled = Map::new();
    for (key, value) in policy.payload.iter().chain(&choice.payload) {
        let value = filled_in(value, &known).map_err(|column| {
            Error::invalid(format!(
                "policy \"{name}\": payload \"{key}\" uses unknown column \"{column}\""
            ))
            .hint(format!(
                "{} A fixed text that begins with $ is written with $$.",
                flywheel_base::suggest::hint(column, known.keys().copied())
            ))
        })?;
        filled.insert(key.clone(), value);
    }
    filled.entry("decision_id").or_insert_with(|| json!(id));
    filled.entry("unit_id").or_insert_with(|| json!(unit.id));
    filled.entry("action").or_insert_with(|| json!(choice.action));
    Ok(Value::Object(filled))
}

/// A value with what `$name` means in it, and `$` for `$$`, at any depth; the first name that means nothing is the error.
fn filled_in<'v>(value: &'v Value, known: &BTreeMap<&str, Value>) -> Result<Value, &'v str> {
    Ok(match value {
        Value::String(text) => match column_of(text) {
            Some(column) => known.get(column).cloned().ok_or(column)?,
            None => json!(text.strip_prefix('$').unwrap_or(text)),
        },
        Value::Array(values) => {
            let values: Result<Vec<Value>, &str> =
                values.iter().map(|value| filled_in(value, known)).collect();
            Value::Array(values?)
        }
        Value::Object(fields) => {
            let mut filled = Map::new();
            for (key, value) in fields {
                filled.insert(key.clone(), filled_in(value, known)?);
            }
            Value::Object(filled)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// The decisions that an earlier attempt of this turn committed.
async fn decisions_of_moment(ctx: &Context<'_>, name: &str) -> Result<Vec<DecisionRow>> {
    decisions_where(ctx, name, &format!("decided_at = {}", literal(ctx.now))).await
}

/// Logged decisions of a policy that fulfil a condition, by unit.
pub(crate) async fn decisions_where(
    ctx: &Context<'_>,
    name: &str,
    condition: &str,
) -> Result<Vec<DecisionRow>> {
    let sql = format!(
        "select * from system.decisions where policy = '{name}' and {condition} order by unit_id"
    );
    let what = format!("policy \"{name}\": decisions");
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let moments = frame.moments("decided_at")?;
    let mut rows = Vec::with_capacity(moments.len());
    for (mut object, at) in frame.objects()?.into_iter().zip(moments) {
        object.insert("decided_at".to_owned(), json!(at));
        let row = serde_json::from_value(Value::Object(object)).map_err(|e| {
            Error::corrupt(format!("{what}: a stored row is not readable")).caused_by(e)
        })?;
        rows.push(row);
    }
    Ok(rows)
}

/// What leaves for these decisions.
pub(crate) fn entries(
    policy: &Policy,
    rows: &[DecisionRow],
    now: Timestamp,
) -> Result<Vec<OutboxEntry>> {
    let Some(action) = &policy.action else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for row in rows {
        let Some(payload) = &row.payload else { continue };
        let quiet = policy.quiet_hours.as_ref();
        // Whose zone is not known is told when it is due.
        let until = quiet.and_then(|quiet| quiet_until(quiet, &row.features, now).ok().flatten());
        let payload = serde_json::from_str(payload).map_err(|e| {
            Error::corrupt(format!("decision {}: payload is no JSON", row.decision_id)).caused_by(e)
        })?;
        entries.push(OutboxEntry {
            key: row.decision_id.clone(),
            policy: row.policy.clone(),
            turn: row.turn,
            decision_id: row.decision_id.clone(),
            action: action.clone(),
            payload,
            status: OutboxStatus::Pending,
            attempts: 0,
            due_at: until.unwrap_or(now),
            ended_at: None,
            receipt: None,
            error: None,
            bundle: None,
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_and_not_queued_ends_the_turn() {
        for (kind, expected) in [
            (ErrorKind::Denied, ErrorKind::Unavailable),
            (ErrorKind::NotFound, ErrorKind::Unavailable),
            (ErrorKind::Exhausted, ErrorKind::Exhausted),
        ] {
            let error = not_queued("p", Error::new(kind, "metadata: it is read-only"));
            assert_eq!(error.kind(), expected);
            let said = "policy \"p\": its decisions are made, and not queued yet: metadata: it is";
            assert!(error.message().starts_with(said), "{error:?}");
        }
    }

    #[test]
    fn a_column_is_filled_in_at_any_depth_of_a_payload() {
        let known = BTreeMap::from([("unit_id", json!("c1")), ("points", json!(7))]);
        let declared = json!({
            "to": [{"id": "$unit_id", "lines": ["hello", "$points"]}], "size": 3, "none": null,
        });
        let expected =
            json!({"to": [{"id": "c1", "lines": ["hello", 7]}], "size": 3, "none": null});
        assert_eq!(filled_in(&declared, &known), Ok(expected));
        assert_eq!(filled_in(&json!("$unit_id"), &known), Ok(json!("c1")));
        assert_eq!(filled_in(&json!({"to": ["$email"]}), &known), Err("email"));
        assert_eq!(filled_in(&json!(["$$5 off", "5$"]), &known), Ok(json!(["$5 off", "5$"])));
    }
}
