//! Schedules: from files to plans, from a scheduled run to what it does, what they look at, and whom they tell.

pub mod claims;

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use flywheel_base::calendar::Timing;
use flywheel_base::{Error, ErrorKind, Result, Timestamp, digest, suggest};
use flywheel_connect::action::{Action, Delivery, Outcome};
use flywheel_decision::act::built;
use flywheel_project::Project;
use flywheel_project::graph::Known;
use flywheel_project::resource::schedule::{
    AlertOn, Attach, CatchUp, Overlap, Runs, Schedule, Sending, Task,
};
use flywheel_state::{
    Alert, AlertKind, AlertStatus, Asked, Cause, Pool, ScheduleEffect, ScheduleEvent, SchedulePlan,
    SchedulePlans, ScheduledRun,
};
use flywheel_transform::{BuildOptions, BuildReport};
use flywheel_warehouse::TableName;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::dashboard::{self, Errand, SEND};
use crate::lag::StreamLag;
use crate::recorder::Observer;
use crate::task::sync::location_of;
use crate::{Workspace, compare, lag, link, merge, openlineage, outbox, quality, run};

/// How often tables, files and lag are looked at, in microseconds, unless a schedule says otherwise.
const LOOK_US: i64 = 30_000_000;
/// How many files a pattern may match.
const FILES_MAX: usize = 100_000;
/// How many alerts are sent in one go.
const ALERTS_AT_ONCE: u32 = 100;
/// The wait before an alert is tried again, in microseconds; it doubles with each further time.
const ALERT_WAIT_US: i64 = 15_000_000;
/// The longest such wait, in microseconds.
const ALERT_WAIT_MAX_US: i64 = 3_600_000_000;
/// The most moments that can be asked for at once.
const BACKFILL_MAX: usize = 1_000;

/// What the scheduler follows, from the project's files.
///
/// # Errors
/// [`ErrorKind::Invalid`] if a timing cannot be read, which a checked project rules out.
pub fn plans(project: &Project) -> Result<SchedulePlans> {
    let mut plans = SchedulePlans::new();
    for (name, located) in &project.schedules {
        plans.insert(name.clone(), plan(project, &located.value)?);
    }
    Ok(plans)
}

fn plan(project: &Project, schedule: &Schedule) -> Result<SchedulePlan> {
    let full = if schedule.full_refresh { "full" } else { "" };
    let select = schedule.select.join("\n");
    let tasks = match schedule.tasks.is_empty() {
        true => String::new(),
        false => serde_json::to_string(&schedule.tasks)
            .map_err(|error| Error::internal("tasks cannot be written").caused_by(error))?,
    };
    let mut parts = vec![schedule.word().as_bytes(), select.as_bytes(), full.as_bytes()];
    // Runs of schedules without tasks are known as they were before there were any.
    parts.extend((!tasks.is_empty()).then_some(tasks.as_bytes()));
    let send = schedule.send.as_ref().map(serde_json::to_vec).transpose();
    let send =
        send.map_err(|error| Error::internal("`send` cannot be written").caused_by(error))?;
    parts.extend(send.as_deref());
    parts.extend(schedule.repair.then_some("repair".as_bytes()));
    let fingerprint = digest::short(&parts);
    let pool = schedule.pool.as_ref().and_then(|name| {
        let slots = project.file.pools.get(name)?.get() as usize;
        Some(Pool { name: name.clone(), slots })
    });
    Ok(SchedulePlan {
        name: schedule.schedule.clone(),
        fingerprint,
        timing: timing(schedule)?,
        catch_up: match schedule.catch_up {
            CatchUp::None => flywheel_state::CatchUp::None,
            CatchUp::Latest => flywheel_state::CatchUp::Latest,
            CatchUp::All => flywheel_state::CatchUp::All,
        },
        overlap: match schedule.overlap {
            Overlap::Skip => flywheel_state::Overlap::Skip,
            Overlap::Queue => flywheel_state::Overlap::Queue,
            Overlap::Cancel => flywheel_state::Overlap::Cancel,
        },
        attempts: schedule.retry.attempts,
        retry_on: schedule.retry.on.iter().map(|on| on.word().to_owned()).collect(),
        wait_us: schedule.retry.wait.micros,
        wait_max_us: schedule.retry.wait_max.micros,
        timeout_us: schedule.timeout.map(|timeout| timeout.micros),
        deadline_us: schedule.deadline.map(|deadline| deadline.micros),
        priority: schedule.priority,
        concurrency: schedule.concurrency.get() as usize,
        backfill_concurrency: schedule.backfill_concurrency.get() as usize,
        pool,
        claims: claims::of(project, schedule),
        paused: schedule.paused,
        alert_actions: schedule.alert.actions.clone(),
        alert_on: schedule.alert.on.iter().map(|on| kind_of(*on)).collect(),
    })
}

fn kind_of(on: AlertOn) -> AlertKind {
    match on {
        AlertOn::Failed => AlertKind::Failed,
        AlertOn::Late => AlertKind::Late,
        AlertOn::Recovered => AlertKind::Recovered,
    }
}

/// When a schedule is due by itself.
///
/// # Errors
/// As [`plans`].
pub fn timing(schedule: &Schedule) -> Result<Option<Timing>> {
    let when = &schedule.when;
    match (&when.cron, when.every) {
        (Some(cron), _) => Timing::cron(cron, when.zone.as_deref().unwrap_or("UTC")).map(Some),
        (None, Some(every)) => Timing::every(every.micros).map(Some),
        (None, None) => Ok(None),
    }
}

/// When a schedule is due, as a person reads it.
#[must_use]
pub fn shown(schedule: &Schedule) -> String {
    let when = &schedule.when;
    let mut parts = Vec::new();
    if let Some(cron) = &when.cron {
        parts.push(format!("{cron} {}", when.zone.as_deref().unwrap_or("UTC")));
    }
    if let Some(every) = when.every {
        parts.push(format!("every {}", length(every.micros)));
    }
    for (word, names) in [("tables", &when.tables), ("files", &when.files), ("lag", &when.lag)] {
        if !names.is_empty() {
            parts.push(format!("{word} {}", names.join(" ")));
        }
    }
    if when.webhook.is_some() {
        parts.push("webhook".to_owned());
    }
    if parts.is_empty() { "when asked".to_owned() } else { parts.join(", ") }
}

/// A length of time in the largest unit that fits.
fn length(micros: i64) -> String {
    for (unit, factor) in
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)]
    {
        if micros % factor == 0 {
            return format!("{}{unit}", micros / factor);
        }
    }
    format!("{}ms", micros / 1_000)
}

/// A dashboard that a schedule sends.
#[derive(Clone, Debug, Serialize)]
pub struct Sent<'a> {
    /// The dashboard.
    pub dashboard: &'a str,
    /// The actions by which it leaves.
    pub actions: &'a [String],
    /// What goes with the figures.
    pub attach: Attach,
    /// The role as which its rows are read, if the file says one.
    pub role: Option<&'static str>,
}

/// The dashboards that a schedule sends, itself or by its tasks.
#[must_use]
pub fn sends(schedule: &Schedule) -> Vec<Sent<'_>> {
    let own = std::iter::once((&schedule.select, &schedule.send));
    let tasks = schedule.tasks.iter().map(|task| (&task.select, &task.send));
    let mut all = Vec::new();
    for (select, send) in own.chain(tasks) {
        let Some(send) = send else { continue };
        all.extend(select.iter().map(|dashboard| Sent {
            dashboard,
            actions: &send.actions,
            attach: send.attach,
            role: send.role.map(|role| role.word()),
        }));
    }
    all
}

/// What a scheduled run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// The whole wheel.
    Turn,
    /// These syncs; all if none is named.
    Sync(Vec<String>),
    /// Models.
    Build {
        /// Their selectors; all if there are none.
        select: Vec<String>,
        /// Whether incremental tables are built anew.
        full_refresh: bool,
    },
    /// These learners; those that are due if none is named.
    Learn(Vec<String>),
    /// Rows of the quarantine, of one sync if it is named.
    Quarantine(Option<String>),
    /// Dashboards are sent.
    Dashboard {
        /// Their names.
        names: Vec<String>,
        /// To whom they go, and how.
        sending: Sending,
        /// For what, and what was done of it.
        occasion: Occasion,
    },
    /// These links; all if none is named.
    Link(Vec<String>),
    /// These merges; all if none is named.
    Merge(Vec<String>),
    /// Landed tables are compared with their databases.
    Reconcile {
        /// Their syncs; all that can be compared if none is named.
        syncs: Vec<String>,
        /// Whether they are made equal.
        repair: bool,
    },
    /// Quality files by their selectors; all if there are none.
    Quality(Vec<String>),
    /// Actions that are due leave.
    Act,
    /// Several tasks, but for those that are done.
    Tasks {
        /// All tasks.
        tasks: Vec<Task>,
        /// The names of those that are done.
        done: BTreeSet<String>,
        /// For what they send dashboards, and what was done of it.
        occasion: Occasion,
    },
}

/// For what a run sends dashboards, and which deliveries arrived before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// The schedule.
    pub schedule: String,
    /// The moment that the run is for.
    pub moment: Timestamp,
    /// The time zone in which the schedule says when it is due, if it says any.
    pub zone: Option<String>,
    /// The names of the deliveries that arrived, of all attempts before.
    pub sent: BTreeSet<String>,
    /// The names of those that left in an attempt before and may have arrived, though nobody knows.
    pub unsure: BTreeSet<String>,
}

/// What `scheduled` does now: all that its schedule says, but what an earlier attempt has done; none if that is all.
///
/// # Errors
/// [`ErrorKind::NotFound`] if the schedule's file is gone, else those of the metadata.
pub fn job(workspace: &Workspace, scheduled: &ScheduledRun) -> Result<Option<Job>> {
    let schedule = named(&workspace.project, &scheduled.schedule)?;
    // A server that was killed between the end of the work and noting it has done all of it. Turns know by their moment.
    let counts = |run: Runs| run != Runs::Turn && !run.is_judged_anew();
    let attempts = scheduled.attempts.iter().filter(|_| schedule.run.is_none_or(counts));
    for attempt in attempts {
        let Some(run_id) = &attempt.run_id else { continue };
        let ended = workspace.store.run(run_id)?;
        if ended.is_some_and(|(run, _)| run.status == "succeeded" && run.kind == schedule.word()) {
            return Ok(None);
        }
    }
    let select = schedule.select.clone();
    let Some(run) = schedule.run else {
        let done = succeeded_before(workspace, scheduled, graph::KIND)?;
        let occasion = occasion(workspace, scheduled)?;
        return Ok(Some(Job::Tasks { tasks: schedule.tasks.clone(), done, occasion }));
    };
    Ok(Some(match run {
        Runs::Turn => Job::Turn,
        Runs::Sync => {
            let all = run::chosen(&select, workspace.project.syncs.keys(), "sync")?;
            let done = done_before(workspace, scheduled, "sync")?;
            // A sync is done if each of its streams is.
            let left = all.into_iter().filter(|name| {
                let mut own = done.iter().filter(|(task, _)| belongs(task, name)).peekable();
                own.peek().is_none() || own.any(|(_, succeeded)| !succeeded)
            });
            let left: Vec<String> = left.collect();
            if left.is_empty() { Job::Sync(select) } else { Job::Sync(left) }
        }
        // What is built and unchanged is not built again.
        Runs::Build => Job::Build { select, full_refresh: schedule.full_refresh },
        Runs::Learn if select.is_empty() => Job::Learn(select),
        Runs::Learn => {
            let done = done_before(workspace, scheduled, "learn")?;
            let left = select.iter().filter(|name| done.get(*name) != Some(&true));
            let left: Vec<String> = left.cloned().collect();
            if left.is_empty() { Job::Learn(select) } else { Job::Learn(left) }
        }
        Runs::Quarantine => Job::Quarantine(select.into_iter().next()),
        Runs::Dashboard => Job::Dashboard {
            names: select,
            sending: schedule.send.clone().ok_or_else(|| nowhere(&schedule.schedule))?,
            occasion: occasion(workspace, scheduled)?,
        },
        Runs::Link => Job::Link(select),
        Runs::Merge => Job::Merge(select),
        Runs::Reconcile => Job::Reconcile { syncs: select, repair: schedule.repair },
        Runs::Quality => Job::Quality(select),
        Runs::Act => Job::Act,
    }))
}

/// The error of dashboards that go to nobody, which a checked project rules out.
fn nowhere(name: &str) -> Error {
    Error::invalid(format!("\"{name}\" sends dashboards to nobody"))
        .hint("Name actions: `send: {actions: [NAME]}`.")
}

fn occasion(workspace: &Workspace, scheduled: &ScheduledRun) -> Result<Occasion> {
    Ok(Occasion {
        schedule: scheduled.schedule.clone(),
        moment: scheduled.moment,
        zone: named(&workspace.project, &scheduled.schedule)?.when.zone.clone(),
        sent: succeeded_before(workspace, scheduled, SEND)?,
        unsure: unsure_before(workspace, scheduled)?,
    })
}

/// The deliveries of the attempts before of which nobody knows whether they arrived when they left last.
fn unsure_before(workspace: &Workspace, scheduled: &ScheduledRun) -> Result<BTreeSet<String>> {
    let mut unsure = BTreeSet::new();
    for run_id in attempts_before(workspace, scheduled)? {
        let tasks = workspace.store.run(&run_id)?.map(|(_, tasks)| tasks).unwrap_or_default();
        for task in tasks.into_iter().filter(|task| task.kind == SEND) {
            if dashboard::is_unsure(&task) {
                unsure.insert(task.name);
            } else {
                unsure.remove(&task.name);
            }
        }
    }
    Ok(unsure)
}

/// The tasks of the attempts before that had succeeded when they were last done.
fn succeeded_before(
    workspace: &Workspace,
    scheduled: &ScheduledRun,
    kind: &str,
) -> Result<BTreeSet<String>> {
    let done = done_before(workspace, scheduled, kind)?.into_iter();
    Ok(done.filter(|(_, succeeded)| *succeeded).map(|(name, _)| name).collect())
}

/// Whether a task of the name `sync.stream` is one of the sync `name`.
fn belongs(task: &str, name: &str) -> bool {
    task.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The tasks of the attempts before, and whether they succeeded when they were last done.
fn done_before(
    workspace: &Workspace,
    scheduled: &ScheduledRun,
    kind: &str,
) -> Result<BTreeMap<String, bool>> {
    let mut done = BTreeMap::new();
    for run_id in attempts_before(workspace, scheduled)? {
        let tasks = workspace.store.run(&run_id)?.map(|(_, tasks)| tasks).unwrap_or_default();
        let tasks = tasks.into_iter().filter(|task| task.kind == kind);
        done.extend(tasks.map(|task| (task.name, task.status == "succeeded")));
    }
    Ok(done)
}

/// The runs of all attempts before, oldest first: an attempt leaves out what the one before had done, so the last one alone
/// does not tell. A run that goes on from another one's attempt goes on from all of that one's.
fn attempts_before(workspace: &Workspace, scheduled: &ScheduledRun) -> Result<Vec<String>> {
    let of = |run: &ScheduledRun| -> Vec<String> {
        run.attempts.iter().filter_map(|attempt| attempt.run_id.clone()).collect()
    };
    let mut all = of(scheduled);
    let mut from = scheduled.goes_on_from.clone();
    let known = workspace.store.schedule_runs(Some(&scheduled.schedule), EARLIER_MAX)?;
    while let Some(run_id) = from.take().filter(|run_id| !all.contains(run_id)) {
        let earlier = known.iter().find(|run| of(run).contains(&run_id));
        let mut before = earlier.map_or_else(|| vec![run_id], of);
        from = earlier.and_then(|run| run.goes_on_from.clone());
        before.append(&mut all);
        all = before;
    }
    Ok(all)
}

/// How many runs of a schedule are looked through for the one that another goes on from.
const EARLIER_MAX: u32 = 1_000;

/// Does a job that is no turn; a reason if it ended well but data holds something back.
///
/// # Errors
/// Those of what is run.
pub async fn perform(
    workspace: &Workspace,
    job: Job,
    observer: &dyn Observer,
) -> Result<Option<String>> {
    match job {
        Job::Turn => Err(Error::internal("a turn moves the clock, so it is not performed here")),
        Job::Sync(names) => run::sync(workspace, &names, false, observer).await.map(|_| None),
        Job::Build { select, full_refresh } => {
            let known = Known::new();
            let options = BuildOptions {
                select: &select,
                known: Some(&known),
                full_refresh,
                ..BuildOptions::default()
            };
            let report = run::build(workspace, options, observer).await?;
            Ok((!report.passed()).then(|| held_back(&report)))
        }
        Job::Learn(names) => run::learn(workspace, &names, observer).await?.all().map(|_| None),
        Job::Quarantine(sync) => {
            let replayed = run::quarantine_replay(workspace, sync.as_deref(), observer).await?;
            tracing::info!(?replayed, "rows of the quarantine were tried again");
            Ok(None)
        }
        Job::Dashboard { names, sending, occasion } => {
            let recorder = run::start(workspace, observer, Runs::Dashboard.word())?;
            let errand = Errand {
                schedule: &occasion.schedule,
                task: None,
                moment: occasion.moment,
                zone: occasion.zone.as_deref(),
                boards: &names,
                sending: &sending,
                sent: &occasion.sent,
                unsure: &occasion.unsure,
            };
            let sent = Box::pin(dashboard::send(workspace, &recorder, &errand)).await;
            recorder.finish(sent.as_ref().err())?;
            Box::pin(openlineage::settle(workspace)).await;
            sent.map(|_| None)
        }
        Job::Link(names) => {
            let work = link::run(workspace, &names, link::Options::default(), observer);
            Ok(link::refused(&Box::pin(work).await?))
        }
        Job::Merge(names) => {
            let options = merge::Options { who: merge::BY_ITSELF, ..merge::Options::default() };
            Box::pin(merge::run_all(workspace, &names, options, observer)).await.map(|_| None)
        }
        Job::Reconcile { syncs, repair } => {
            let options = compare::Options {
                syncs: &syncs,
                repair,
                lenient: true,
                ..compare::Options::default()
            };
            let work = compare::compare(workspace, &options, observer);
            Ok(compare::differing(&Box::pin(work).await?))
        }
        Job::Quality(select) => {
            let options = quality::Options { select: &select, exclude: &[] };
            let work = quality::run(workspace, &options, observer);
            Ok(quality::not_kept(&Box::pin(work).await?))
        }
        Job::Act => Ok(outbox::held_back(&Box::pin(outbox::act(workspace, observer)).await?)),
        Job::Tasks { tasks, done, occasion } => {
            let work = graph::perform(workspace, (&tasks, &done), &occasion, observer);
            Box::pin(work).await.map(|()| None)
        }
    }
}

/// The moment that the turn of `scheduled` works for, the same for each of its attempts; none if that turn was made. A
/// turn that is open is to be completed before this is asked.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a moment of the past if a later turn was made: what a turn decides depends on the turns
/// before it.
pub fn turn_moment(workspace: &Workspace, scheduled: &ScheduledRun) -> Result<Option<Timestamp>> {
    let past = scheduled.cause == Cause::Backfill;
    let moment = if past { scheduled.moment } else { scheduled.first_started_at() };
    let turned = workspace.store.turns()?;
    if turned.iter().any(|turn| turn.logical_at == moment) {
        return Ok(None);
    }
    match turned.last().filter(|last| last.logical_at > moment) {
        None => Ok(Some(moment)),
        Some(_) if !past => Ok(Some(workspace.machine.now())),
        Some(last) => Err(Error::invalid(format!(
            "no turn can be made up for {moment}: turn {} has worked for {}",
            last.turn, last.logical_at
        ))
        .hint("What a turn decides depends on the turns before it, so turns only go forward.")),
    }
}

/// Why a build ended well and yet not all is published.
fn held_back(report: &BuildReport) -> String {
    if report.blocked.is_empty() {
        let ended = report.error.as_ref().map(|error| error.message.clone());
        return ended.unwrap_or_else(|| "tests failed; see the run".to_owned());
    }
    format!("models whose readers keep the last good version: {}", report.blocked.join(", "))
}

/// The schedule of that name.
///
/// # Errors
/// [`ErrorKind::NotFound`] with the nearest name.
pub fn named<'a>(project: &'a Project, name: &str) -> Result<&'a Schedule> {
    let known = &project.schedules;
    known.get(name).map(|located| &located.value).ok_or_else(|| {
        let hint = if known.is_empty() {
            "The project has no schedules: declare one in schedules/*.yaml.".to_owned()
        } else {
            suggest::hint(name, known.keys().map(String::as_str))
        };
        Error::not_found(format!("no schedule \"{name}\"")).hint(hint)
    })
}

/// Takes a step of the scheduler, for now.
///
/// # Errors
/// Those of the metadata.
pub fn step(workspace: &Workspace, event: ScheduleEvent) -> Result<Vec<ScheduleEffect>> {
    let plans = workspace.schedule_plans()?;
    workspace.store.schedule_step(plans, event, workspace.machine.now())
}

/// Keeps a schedule from running by itself until it is resumed.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown schedule, else those of the metadata.
pub fn pause(workspace: &Workspace, name: &str, reason: &str) -> Result<()> {
    named(&workspace.project, name)?;
    let event = ScheduleEvent::Pause { schedule: name.to_owned(), reason: reason.to_owned() };
    step(workspace, event).map(|_| ())
}

/// Lets a paused schedule run by itself again; moments that passed meanwhile are not made up for.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown schedule, [`ErrorKind::Invalid`] if its own file pauses it.
pub fn resume(workspace: &Workspace, name: &str) -> Result<()> {
    if named(&workspace.project, name)?.paused {
        return Err(Error::invalid(format!("schedule \"{name}\" is paused by its own file"))
            .hint("Remove `paused: true` from the schedule's file."));
    }
    step(workspace, ScheduleEvent::Resume { schedule: name.to_owned() }).map(|_| ())
}

/// Adds a run of a schedule for now. Returns it, or the one of the same mark that was there before.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown schedule, [`ErrorKind::Exhausted`] if too many wait.
pub fn ask(workspace: &Workspace, asked: Asked) -> Result<ScheduledRun> {
    named(&workspace.project, &asked.schedule)?;
    let (name, moment) = (asked.schedule.clone(), asked.moment);
    let effects = step(workspace, ScheduleEvent::Asked(asked))?;
    let added = effects.into_iter().find_map(|effect| match effect {
        ScheduleEffect::Added { ids } => ids.into_iter().next(),
        _ => None,
    });
    let id = added.ok_or_else(|| too_many(&name))?;
    workspace.store.schedule_run(&id)?.ok_or_else(|| {
        let at = moment.map_or_else(String::new, |at| format!(" for {at}"));
        Error::internal(format!("the run of \"{name}\"{at} was added and is not there"))
    })
}

/// Adds a run for each moment of a schedule in the span that has none yet. Returns those that were added and those that
/// have not ended, oldest first. The texts are read on the schedule's clocks; the span ends now if `to` is absent.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown schedule; [`ErrorKind::Invalid`] if it has no moments, the span has none or
/// too many, or reaches into the future; [`ErrorKind::Exhausted`] if too many wait, and then none is added.
pub fn backfill(
    workspace: &Workspace,
    name: &str,
    (from, to): (&str, Option<&str>),
    by: &str,
) -> Result<Vec<ScheduledRun>> {
    let schedule = named(&workspace.project, name)?;
    let timing = timing(schedule)?.ok_or_else(|| {
        Error::invalid(format!("schedule \"{name}\" has neither `cron` nor `every`"))
            .hint("Run it without a span: there are no moments to make up for.")
    })?;
    let now = workspace.machine.now();
    let (from, to) = timing.span(from, to, now)?;
    if to > now {
        return Err(Error::invalid(format!("the span ends in the future, at {to}"))
            .hint("Its moments will come by themselves; end it now or earlier."));
    }
    let following = std::iter::successors(timing.next(from.plus_micros(-1)), |at| timing.next(*at));
    let moments: Vec<Timestamp> =
        following.take_while(|at| *at <= to).take(BACKFILL_MAX + 1).collect();
    if moments.is_empty() {
        return Err(Error::invalid(format!(
            "schedule \"{name}\" has no moment from {from} to {to}"
        ))
        .hint("`flywheel schedule next` shows when it is due."));
    }
    if moments.len() > BACKFILL_MAX {
        return Err(Error::invalid(format!("the span has more than {BACKFILL_MAX} moments"))
            .hint("Ask for a part of it."));
    }
    let asked = |moment: &Timestamp| Asked {
        schedule: name.to_owned(),
        cause: Cause::Backfill,
        moment: Some(*moment),
        by: by.to_owned(),
        mark: None,
        goes_on_from: None,
    };
    let all = moments.iter().map(asked).collect();
    let effects = step(workspace, ScheduleEvent::AskedAll { all })?;
    let ids = effects.into_iter().find_map(|effect| match effect {
        ScheduleEffect::Added { ids } => Some(ids),
        _ => None,
    });
    let mut runs = Vec::new();
    for id in ids.ok_or_else(|| too_many(name))? {
        // One that was added may be over already.
        let asked_for = |run: &ScheduledRun| run.status.is_open() || run.asked_at >= now;
        runs.extend(workspace.store.schedule_run(&id)?.filter(asked_for));
    }
    runs.sort_by_key(|run| run.moment);
    Ok(runs)
}

fn too_many(schedule: &str) -> Error {
    Error::exhausted(format!("too many runs of schedule \"{schedule}\" wait already"))
        .hint("Wait until some have ended, or cancel some.")
}

/// Adds a run for the moment of one that has ended without success; what that one has done is not done again.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown run, [`ErrorKind::Conflict`] if it has not ended or succeeded, or if another
/// run of its moment is open or has succeeded since.
pub fn rerun(workspace: &Workspace, id: &str, by: &str) -> Result<ScheduledRun> {
    let run = scheduled(workspace, id)?;
    if run.status.is_open() || run.status == flywheel_state::RunStatus::Succeeded {
        let message = format!("run {id} of \"{}\" is {}", run.schedule, run.status.name());
        return Err(Error::new(ErrorKind::Conflict, message)
            .hint("Only a run that was given up, stopped or left out is run again."));
    }
    let of_moment = workspace.store.schedule_runs_for(&run.schedule, run.moment)?;
    let done = |one: &&ScheduledRun| {
        one.status == flywheel_state::RunStatus::Succeeded && one.asked_at >= run.asked_at
    };
    if let Some(other) = of_moment.iter().find(|one| one.status.is_open() || done(one)) {
        let message = format!(
            "run {} of \"{}\" is for the same moment and is {}",
            other.id,
            run.schedule,
            other.status.name()
        );
        let hint = match other.status.is_open() {
            true => "Wait until it has ended, or cancel it.",
            false => "There is nothing left to do for that moment.",
        };
        return Err(Error::new(ErrorKind::Conflict, message).hint(hint));
    }
    let newest = run.attempts.iter().rev().find_map(|attempt| attempt.run_id.clone());
    ask(
        workspace,
        Asked {
            schedule: run.schedule,
            cause: Cause::Manual,
            moment: Some(run.moment),
            by: by.to_owned(),
            // One more after each that has ended; two who ask at the same time get the same one.
            mark: of_moment.into_iter().next().map(|one| one.id),
            goes_on_from: newest.or(run.goes_on_from),
        },
    )
}

/// The run of a schedule with this id.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is none.
pub fn scheduled(workspace: &Workspace, id: &str) -> Result<ScheduledRun> {
    workspace.store.schedule_run(id)?.ok_or_else(|| {
        Error::not_found(format!("no run \"{id}\" of a schedule"))
            .hint("`flywheel schedule runs` lists them.")
    })
}

/// How often a schedule looks at what it looks at, in microseconds.
#[must_use]
pub fn look_us(schedule: &Schedule) -> i64 {
    schedule.when.look.map_or(LOOK_US, |look| look.micros)
}

/// The versions of the tables and the state of the files that a schedule looks at.
///
/// # Errors
/// Those of lake and metadata, and of the file system.
pub async fn versions(workspace: &Workspace, schedule: &Schedule) -> Result<Value> {
    let mut seen = Map::new();
    let published = if schedule.when.tables.is_empty() {
        Vec::new()
    } else {
        workspace.store.publications()?
    };
    for table in &schedule.when.tables {
        let version = match published.iter().find(|one| one.name == *table) {
            Some(one) => json!([one.version, one.fingerprint]),
            None => {
                let at = location_of(&TableName::parse(table)?)?;
                json!(workspace.lake.head(&at).await?.map(|head| head.version))
            }
        };
        seen.insert(table.clone(), version);
    }
    for pattern in &schedule.when.files {
        seen.insert(format!("files {pattern}"), json!(files(workspace, pattern)?));
    }
    Ok(Value::Object(seen))
}

/// A digest of the names, sizes and times of the files that match.
fn files(workspace: &Workspace, pattern: &str) -> Result<String> {
    let dir = glob::Pattern::escape(&workspace.dir().to_string_lossy());
    let found = glob::glob(&format!("{dir}/{pattern}")).map_err(|error| {
        Error::invalid(format!("\"{pattern}\" is not a pattern of files")).caused_by(error)
    })?;
    let mut parts = BTreeSet::new();
    for path in found.flatten() {
        // A file that went away meanwhile is not there.
        let Ok(about) = path.metadata() else { continue };
        if !about.is_file() {
            continue;
        }
        let changed = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let micros = changed.map_or(0, |at| at.as_micros());
        parts.insert(format!("{} {} {micros}", path.display(), about.len()));
        if parts.len() > FILES_MAX {
            return Err(Error::exhausted(format!(
                "\"{pattern}\" matches more than {FILES_MAX} files"
            ))
            .hint("Choose a narrower pattern."));
        }
    }
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    Ok(digest::short(&parts))
}

/// Whether a source that a schedule looks at has rows that have not landed, or none ever landed.
///
/// # Errors
/// Those of the metadata; a source that does not answer is not behind.
pub async fn is_behind(workspace: &Workspace, schedule: &Schedule) -> Result<bool> {
    if schedule.when.lag.is_empty() {
        return Ok(false);
    }
    let lags = lag::lag(workspace, &schedule.when.lag).await?;
    for one in lags.iter().filter_map(|one| one.error.as_ref().map(|error| (&one.name, error))) {
        tracing::warn!(stream = %one.0, error = %one.1, "the lag is not known");
    }
    Ok(lags.iter().any(StreamLag::is_behind))
}

/// Sends the alerts that are due. Returns how many were tried.
///
/// An alert is sent at least once: one whose answer was cut off by a crash is sent again, with the same key.
///
/// # Errors
/// Those of the metadata; an alert that cannot be delivered is tried again, and given up in the end.
pub async fn tell(workspace: &Workspace) -> Result<usize> {
    let due = workspace.store.due_alerts(workspace.machine.now(), ALERTS_AT_ONCE)?;
    for alert in &due {
        let settled = match deliver(workspace, alert).await {
            Ok(settled) => settled,
            // An action that is gone or wrong may be mended.
            Err(error) => later(workspace, alert, error.report(), None),
        };
        workspace.store.settle_alert(&settled)?;
        if settled.status == AlertStatus::Dead {
            tracing::error!(
                schedule = %alert.schedule, alert = alert.alert.as_deref(), action = %alert.action, error = settled.error.as_deref(),
                "an alert was given up"
            );
        } else if let Some(error) = settled.error.as_deref() {
            tracing::warn!(
                schedule = %alert.schedule, alert = alert.alert.as_deref(), action = %alert.action, error,
                "an alert did not arrive, and is tried again"
            );
        }
    }
    Ok(due.len())
}

/// The action of that name, by which something leaves that is no decision.
pub(crate) fn action(workspace: &Workspace, name: &str) -> Result<Box<dyn Action>> {
    let project = &workspace.project;
    let declared = project.actions.get(name).ok_or_else(|| {
        Error::not_found(format!("no action \"{name}\""))
            .hint(suggest::hint(name, project.actions.keys().map(String::as_str)))
    })?;
    built(project, workspace.dir(), declared)
}

async fn deliver(workspace: &Workspace, alert: &Alert) -> Result<Alert> {
    let project = &workspace.project;
    let action = action(workspace, &alert.action)?;
    let mut payload = alert.payload.clone();
    if let Value::Object(payload) = &mut payload {
        payload.insert("project".to_owned(), json!(project.file.name));
    }
    let delivery = Delivery {
        key: alert.key.clone(),
        payload,
        group: format!("alerts/{}", alert.made_at.date()),
    };
    let outcome = action.deliver(std::slice::from_ref(&delivery)).await.into_iter().next();
    let now = workspace.machine.now();
    Ok(match outcome {
        Some(Outcome::Delivered { receipt }) => Alert {
            status: AlertStatus::Delivered,
            attempts: alert.attempts + 1,
            ended_at: Some(now),
            receipt: Some(receipt),
            error: None,
            ..alert.clone()
        },
        Some(Outcome::Rejected { reason }) => Alert {
            status: AlertStatus::Dead,
            attempts: alert.attempts + 1,
            ended_at: Some(now),
            error: Some(reason),
            ..alert.clone()
        },
        Some(Outcome::Unreached { reason }) => later(workspace, alert, reason, None),
        Some(Outcome::Waits { reason, after, .. }) => {
            later(workspace, alert, reason, Some(micros_of(after)))
        }
        Some(Outcome::Retry { reason, after }) => {
            later(workspace, alert, reason, after.map(micros_of))
        }
        None => return Err(Error::internal("an action did not answer for an alert")),
    })
}

fn micros_of(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

/// The alert, to be tried again; or given up, if it was tried as often as its action says.
fn later(workspace: &Workspace, alert: &Alert, reason: String, after: Option<i64>) -> Alert {
    let now = workspace.machine.now();
    let attempts = alert.attempts + 1;
    let declared = workspace.project.actions.get(&alert.action);
    let most = declared.map_or(8, |action| action.attempts);
    let error = Some(reason);
    if attempts >= most {
        let (status, ended_at) = (AlertStatus::Dead, Some(now));
        return Alert { status, attempts, ended_at, error, ..alert.clone() };
    }
    let doubled = ALERT_WAIT_US.saturating_mul(1 << (attempts - 1).min(16)).min(ALERT_WAIT_MAX_US);
    let due_at = now.plus_micros(doubled.max(after.unwrap_or_default()));
    Alert { attempts, due_at, error, ..alert.clone() }
}
