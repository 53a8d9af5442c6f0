//! What changes the project: several things at a time where they touch different tables, else in the order in which they
//! were asked for. Syncs that are followed make way for all of it ([`crate::follow`]).

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flywheel_base::{Clock, Error, ErrorKind, Result, Timestamp};
use flywheel_project::Project;
use flywheel_project::resource::schedule::Runs;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::plan as runtime_plan;
use flywheel_runtime::quarantine::mend::Edit;
use flywheel_runtime::run_log::{self, LogLine};
use flywheel_runtime::schedule::{self as runtime_schedule, Job, claims};
use flywheel_runtime::task::build::blocked;
use flywheel_runtime::turn::{TurnReport, turn_without};
use flywheel_runtime::{Event, Observer, Workspace, compare, link, merge, quarantine, run};
use flywheel_state::{Cause, Claims, End, ScheduledRun};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::fault;
use crate::live::Live;
use crate::schedule;

/// How much may wait.
const WAITING_MAX: usize = 100;
/// How much of the past is kept in memory; all of it is in `system.runs`.
const KEPT_MAX: usize = 200;
/// Lines of the log of one piece of work; later ones are counted only.
const LINES_MAX: usize = 5_000;
/// How often a stop is looked for while nothing waits.
const LOOK: Duration = Duration::from_millis(200);
/// How long a sync is followed at least before it makes way for what a schedule runs; what somebody asks for does not wait.
const FOLLOWED_MIN: Duration = Duration::from_secs(10);

/// What turns of a virtual clock work for, and what is done between them; a demo's shop lives here.
pub trait Rhythm: Send {
    /// Makes the next moment and what the world has done until then.
    ///
    /// # Errors
    /// Whatever keeps the world from going on.
    fn before(&mut self) -> Result<Timestamp>;

    /// Is told what a turn did.
    ///
    /// # Errors
    /// As [`Rhythm::before`].
    fn after(&mut self, report: &TurnReport) -> Result<()>;
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Turn,
    Sync {
        name: String,
        restart: bool,
    },
    Build {
        select: Vec<String>,
        full_refresh: bool,
    },
    Learn {
        name: String,
    },
    Replay {
        sync: Option<String>,
    },
    Discard {
        name: String,
    },
    Quality {
        select: Vec<String>,
    },
    /// A link is run, or only planned.
    Link {
        name: String,
        plan: bool,
        approve: Option<String>,
    },
    /// A merge is run, only planned, or taken apart.
    Merge {
        name: String,
        verb: MergeVerb,
        who: String,
    },
    /// The tables of a sync are compared with their database.
    Reconcile {
        sync: String,
        streams: Vec<String>,
        skip: Vec<String>,
        repair: bool,
    },
    /// What a plan showed is built, in its environment.
    Apply {
        plan: String,
        environment: String,
    },
    /// Readers of an environment see what another one has.
    Promote {
        from: String,
        to: String,
    },
    /// The newest promotion to an environment is taken back.
    RollBack {
        environment: String,
    },
    /// Rows of the quarantine land with values that somebody gave.
    Mend {
        sync: String,
        edit: Edit,
    },
    /// Single rows of the quarantine are given up for a reason.
    Dismiss {
        /// The syncs and the topics that they are of.
        of: Vec<String>,
        rows: Vec<String>,
        reason: String,
        by: String,
    },
    /// An attempt at a run of a schedule.
    Scheduled(Box<ScheduledRun>),
}

/// What is done to a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MergeVerb {
    /// It is said what would be done.
    Plan,
    /// It is done.
    Run,
    /// The merged record of this key is taken apart; all are if there is none.
    Undo(Option<String>),
}

impl Task {
    fn scheduled(&self) -> Option<&ScheduledRun> {
        match self {
            Self::Scheduled(run) => Some(run),
            _ => None,
        }
    }

    /// Whether it is a turn, also one of a schedule.
    fn is_turn(&self, project: &Project) -> bool {
        match self {
            Self::Turn => true,
            Self::Scheduled(run) => project
                .schedules
                .get(&run.schedule)
                .is_some_and(|schedule| schedule.run == Some(Runs::Turn)),
            _ => false,
        }
    }

    /// What it touches.
    fn claims(&self, project: &Project) -> Claims {
        let one = std::slice::from_ref::<String>;
        match self {
            Self::Turn => Claims::everything(),
            Self::Sync { name, .. } | Self::Discard { name } | Self::Mend { sync: name, .. } => {
                claims::of_sync(project, name)
            }
            Self::Dismiss { of, .. } => {
                let mut all = Claims::default();
                for name in of {
                    all.join(&claims::of_sync(project, name));
                }
                all
            }
            Self::Apply { .. } | Self::Promote { .. } | Self::RollBack { .. } => {
                claims::of_work(project, Runs::Build, &[])
            }
            Self::Build { select, .. } => claims::of_work(project, Runs::Build, select),
            Self::Learn { name } => claims::of_work(project, Runs::Learn, one(name)),
            Self::Replay { sync } => {
                claims::of_work(project, Runs::Quarantine, sync.as_ref().map_or(&[], one))
            }
            Self::Quality { .. } => claims::of_quality(project),
            Self::Link { name, .. } => claims::of_link(project, name),
            Self::Merge { name, .. } => claims::of_merge(project, name),
            Self::Reconcile { sync, .. } => claims::of_work(project, Runs::Reconcile, one(sync)),
            Self::Scheduled(run) => claims::of_schedule(project, &run.schedule),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Sync { .. } => "sync",
            Self::Build { .. } => "build",
            Self::Learn { .. } => "learn",
            Self::Replay { .. } => "quarantine",
            Self::Mend { .. } => "mend",
            Self::Discard { .. } | Self::Dismiss { .. } => "discard",
            Self::Apply { .. } => "build",
            Self::Promote { .. } => "promote",
            Self::RollBack { .. } => "rollback",
            Self::Quality { .. } => "quality",
            Self::Link { plan: true, .. } => link::PLAN,
            Self::Link { .. } => link::KIND,
            Self::Merge { verb: MergeVerb::Plan, .. } => merge::PLAN,
            Self::Merge { .. } => merge::KIND,
            Self::Reconcile { .. } => compare::KIND,
            Self::Scheduled(_) => "schedule",
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Turn => String::new(),
            Self::Sync { name, .. }
            | Self::Learn { name }
            | Self::Discard { name }
            | Self::Link { name, .. }
            | Self::Merge { name, .. } => name.clone(),
            Self::Reconcile { sync, .. } | Self::Mend { sync, .. } => sync.clone(),
            Self::Dismiss { of, .. } => of.join(" "),
            Self::Apply { plan, environment } => format!("{environment} {plan}"),
            Self::Promote { from, to } => format!("{from} → {to}"),
            Self::RollBack { environment } => environment.clone(),
            Self::Build { select, .. } | Self::Quality { select } => select.join(" "),
            Self::Replay { sync } => sync.clone().unwrap_or_default(),
            Self::Scheduled(run) => run.schedule.clone(),
        }
    }
}

/// A piece of work and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Work {
    work: String,
    kind: &'static str,
    what: String,
    status: &'static str,
    asked_by: String,
    asked_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    run_id: Option<String>,
    error: Option<String>,
    hint: Option<String>,
    log: Vec<LogLine>,
}

impl Work {
    /// Whether somebody of that name asked for it.
    pub(crate) fn is_of(&self, who: &str) -> bool {
        self.asked_by == who
    }

    /// The same, with as much of what it said as `said` tells.
    pub(crate) fn told(mut self, said: Said) -> Self {
        self.hint = self.hint.filter(|_| said == Said::Whole);
        self.error = said.of(self.error);
        for line in &mut self.log {
            line.text = said.line(&line.level, std::mem::take(&mut line.text));
        }
        self
    }
}

/// Something that waits for a worker, and for what is under way to end if it touches the same.
struct Waiting {
    work: String,
    task: Task,
    claims: Claims,
    /// Whether it is a turn: it goes on without syncs that are read whole for the first time while they are followed.
    turn: bool,
}

/// What a worker is given to do.
struct Given {
    work: String,
    task: Task,
    stop: CancellationToken,
    /// The syncs that it leaves out, as they are read whole for the first time while they are followed.
    without: Vec<String>,
}

/// Something that is under way.
struct Running {
    stop: CancellationToken,
    claims: Claims,
}

/// A sync that is followed.
struct Following {
    stop: CancellationToken,
    claims: Claims,
    since: Instant,
    /// Whether it is read whole for the first time.
    first: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    next: u64,
    waiting: VecDeque<Waiting>,
    all: BTreeMap<u64, Work>,
    running: BTreeMap<u64, Running>,
    /// What is followed, by the names of syncs; it makes way for work that touches the same.
    following: BTreeMap<String, Following>,
    /// The attempts at runs of schedules that wait or are under way, by the number of their work.
    scheduled: BTreeMap<u64, ScheduledRun>,
}

/// The queue.
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    /// How many things may be under way at once.
    workers: NonZeroUsize,
}

fn number(work: &str) -> Option<u64> {
    work.strip_prefix("w-")?.parse().ok()
}

impl Queue {
    /// An empty queue, of which so many workers take.
    pub(crate) fn new(workers: NonZeroUsize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), workers }
    }

    /// How many workers take of it.
    pub(crate) fn workers(&self) -> NonZeroUsize {
        self.workers
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something into the queue.
    pub(crate) fn ask(&self, app: &App, task: Task, who: String) -> Result<Work> {
        let workspace = app.workspace();
        let claims = task.claims(&workspace.project);
        let turn = task.is_turn(&workspace.project);
        let mut state = self.state();
        if state.waiting.len() >= WAITING_MAX {
            return Err(Error::unavailable(format!(
                "{WAITING_MAX} things wait to be done already"
            ))
            .hint("Wait until some are done, or cancel some."));
        }
        state.next += 1;
        let key = state.next;
        let work = Work {
            work: format!("w-{key}"),
            kind: task.kind(),
            what: task.what(),
            status: "queued",
            asked_by: who,
            asked_at: app.machine_now().to_string(),
            started_at: None,
            ended_at: None,
            run_id: None,
            error: None,
            hint: None,
            log: Vec::new(),
        };
        if let Some(run) = task.scheduled() {
            state.scheduled.insert(key, run.clone());
        }
        state.waiting.push_back(Waiting { work: work.work.clone(), task, claims, turn });
        state.all.insert(key, work.clone());
        while state.all.len() > KEPT_MAX {
            // What waits or is under way can still be asked about and cancelled.
            let ended = state.all.iter().find(|(_, work)| work.ended_at.is_some());
            let Some(ended) = ended.map(|(key, _)| *key) else { break };
            state.all.remove(&ended);
        }
        drop(state);
        self.arrived.notify_all();
        app.tell(Live::new("work", json!(work)));
        Ok(work)
    }

    /// Asks for a turn unless one waits or runs.
    pub(crate) fn ask_for_turn(&self, app: &App, who: &str) {
        let state = self.state();
        let waits = state.waiting.iter().any(|waiting| waiting.task == Task::Turn);
        let mut running = state.running.keys().filter_map(|key| state.all.get(key));
        let busy = waits || running.any(|work| work.kind == "turn");
        drop(running);
        drop(state);
        if !busy && let Err(error) = self.ask(app, Task::Turn, who.to_owned()) {
            tracing::warn!(error = %error, "a turn is left out");
        }
    }

    /// All that is known, newest first.
    pub(crate) fn list(&self) -> Vec<Work> {
        self.state()
            .all
            .values()
            .rev()
            .cloned()
            .map(|work| Work { log: Vec::new(), ..work })
            .collect()
    }

    /// One of them, with its log.
    pub(crate) fn get(&self, work: &str) -> Result<Work> {
        let found = number(work).and_then(|key| self.state().all.get(&key).cloned());
        found.ok_or_else(|| {
            Error::not_found(format!("no work \"{work}\" since the server was started"))
                .hint("Runs of the past are at /v1/runs.")
        })
    }

    /// What is under way, the longest first.
    pub(crate) fn running(&self) -> Vec<Work> {
        let state = self.state();
        let running = state.running.keys().filter_map(|key| state.all.get(key));
        running.map(|work| Work { log: Vec::new(), ..work.clone() }).collect()
    }

    /// The attempts at runs of schedules that wait or are under way, how much more can be begun, and what all that waits
    /// or is under way touches.
    pub(crate) fn scheduled(&self) -> (Vec<ScheduledRun>, usize, Claims) {
        let state = self.state();
        let busy = state.waiting.len() + state.running.len();
        let mut held = Claims::default();
        for claims in state.waiting.iter().map(|waiting| &waiting.claims) {
            held.join(claims);
        }
        for claims in state.running.values().map(|running| &running.claims) {
            held.join(claims);
        }
        let free = self.workers.get().saturating_sub(busy);
        (state.scheduled.values().cloned().collect(), free, held)
    }

    /// The run of a schedule that a piece of work is an attempt at.
    pub(crate) fn scheduled_of(&self, work: &str) -> Option<ScheduledRun> {
        number(work).and_then(|key| self.state().scheduled.get(&key).cloned())
    }

    /// The work that is an attempt at a run of a schedule.
    pub(crate) fn work_of(&self, run: &str) -> Option<String> {
        let state = self.state();
        let found = state.scheduled.iter().find(|(_, scheduled)| scheduled.id == run);
        found.map(|(key, _)| format!("w-{key}"))
    }

    /// Whether something under way was told to stop.
    pub(crate) fn is_stopping(&self, work: &str) -> bool {
        let state = self.state();
        let running = number(work).and_then(|key| state.running.get(&key));
        running.is_some_and(|running| running.stop.is_cancelled())
    }

    /// Takes something out of the queue, or stops it.
    pub(crate) fn cancel(&self, app: &App, work: &str) -> Result<Work> {
        let found = self.get(work)?;
        let mut state = self.state();
        let before = state.waiting.len();
        state.waiting.retain(|waiting| waiting.work != work);
        let waited = state.waiting.len() < before;
        match number(work).and_then(|key| state.running.get(&key)) {
            Some(running) => running.stop.cancel(),
            None if waited => {}
            None => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{work} has ended: {}", found.status),
                ));
            }
        }
        drop(state);
        // What waited for it may go on.
        self.arrived.notify_all();
        if waited {
            self.change(app, work, |one| {
                one.status = "cancelled";
                one.ended_at = Some(app.machine_now().to_string());
            });
            if let Some(run) = self.forget_scheduled(work) {
                schedule::ended(app, &run, End::Stopped);
            }
        }
        self.get(work)
    }

    fn forget_scheduled(&self, work: &str) -> Option<ScheduledRun> {
        number(work).and_then(|key| self.state().scheduled.remove(&key))
    }

    fn change(&self, app: &App, work: &str, change: impl FnOnce(&mut Work)) {
        let mut state = self.state();
        let Some(one) = number(work).and_then(|key| state.all.get_mut(&key)) else { return };
        change(one);
        let told = Work { log: Vec::new(), ..one.clone() };
        drop(state);
        app.tell(Live::new("work", json!(told)));
    }

    /// The next thing to do; none if it is time to stop.
    fn next(&self, stop: &CancellationToken) -> Option<Given> {
        let mut state = self.state();
        loop {
            if stop.is_cancelled() {
                return None;
            }
            if let Some((Waiting { work, task, claims, .. }, without)) = state.first_free() {
                let cancel = stop.child_token();
                if let Some(key) = number(&work) {
                    state.running.insert(key, Running { stop: cancel.clone(), claims });
                }
                return Some(Given { work, task, stop: cancel, without });
            }
            state =
                self.arrived.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has a sync followed from now on, unless something waits or is under way that touches the same. When such a thing is
    /// asked for, `stop` is cancelled, and that waits until [`Queue::unfollow`]; but for a turn, which goes on without the sync
    /// while `first` says that it is read whole for the first time.
    pub(crate) fn follow(
        &self,
        name: &str,
        claims: Claims,
        stop: CancellationToken,
        first: Arc<AtomicBool>,
    ) -> bool {
        let mut state = self.state();
        let waiting = state.waiting.iter().map(|one| &one.claims);
        let met = waiting
            .chain(state.running.values().map(|one| &one.claims))
            .any(|one| one.meets(&claims));
        if !met {
            let following = Following { stop, claims, since: Instant::now(), first };
            state.following.insert(name.to_owned(), following);
        }
        !met
    }

    /// Notes that a sync is not followed any more.
    pub(crate) fn unfollow(&self, name: &str) {
        self.state().following.remove(name);
        // What touches the same may go on.
        self.arrived.notify_all();
    }

    /// What waits or is under way that touches the same, as it is called; none if nothing does.
    pub(crate) fn in_the_way(&self, claims: &Claims) -> Option<String> {
        let state = self.state();
        let running = state.running.iter().find(|(_, one)| one.claims.meets(claims));
        let waiting = || state.waiting.iter().find(|one| one.claims.meets(claims));
        let key = running.map(|(key, _)| *key).or_else(|| number(&waiting()?.work))?;
        let work = state.all.get(&key)?;
        Some(match work.what.as_str() {
            "" => format!("{} ({})", work.kind, work.work),
            what => format!("{} {what} ({})", work.kind, work.work),
        })
    }

    /// Notes that something is not under way any more.
    fn release(&self, work: &str) {
        if let Some(key) = number(work) {
            self.state().running.remove(&key);
        }
        // What touches the same may go on.
        self.arrived.notify_all();
    }
}

impl State {
    /// Takes the first thing that touches nothing that is touched by what is under way or waits before it. What is followed
    /// and touches the same is told to make way, and is waited for; a turn leaves out what is read whole for the first time, the
    /// names of which are returned beside it.
    fn first_free(&mut self) -> Option<(Waiting, Vec<String>)> {
        let mut held = Claims::default();
        for running in self.running.values() {
            held.join(&running.claims);
        }
        let following = &self.following;
        let mut without = Vec::new();
        let free = self.waiting.iter().position(|waiting| {
            let mut free = !held.meets(&waiting.claims);
            held.join(&waiting.claims);
            without.clear();
            if free {
                let scheduled = waiting.task.scheduled();
                let asked = scheduled.is_none_or(|run| run.cause == Cause::Manual);
                for (name, one) in
                    following.iter().filter(|(_, one)| one.claims.meets(&waiting.claims))
                {
                    if waiting.turn && one.first.load(Ordering::Relaxed) {
                        without.push(name.clone());
                        continue;
                    }
                    // Data-driven work follows each commit: it must not keep a sync from being followed.
                    if asked || one.since.elapsed() >= FOLLOWED_MIN {
                        one.stop.cancel();
                    }
                    free = false;
                }
            }
            free
        });
        free.and_then(|place| self.waiting.remove(place)).map(|waiting| (waiting, without))
    }
}

/// Does what is asked for until it is time to stop; for a thread of its own, because what it does may block.
pub(crate) fn work(app: &Arc<App>, handle: &Handle, mut rhythm: Option<Box<dyn Rhythm>>) {
    while let Some(Given { work, task, stop, without }) = app.queue.next(&app.stop) {
        app.queue.change(app, &work, |one| {
            one.status = "running";
            one.started_at = Some(app.machine_now().to_string());
        });
        let scheduled = task.scheduled().cloned();
        let watcher = Watcher { app: Arc::clone(app), work: work.clone(), scheduled };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            handle.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => Outcome::Cancelled,
                    done = perform(app, task, &without, &watcher, rhythm.as_deref_mut()) => Outcome::Done(done),
                }
            })
        }));
        settle(app, &work, outcome.unwrap_or(Outcome::Panicked));
    }
}

/// How a piece of work ended.
enum Outcome {
    /// By itself; with a reason if it ended well but data holds something back.
    Done(Result<Option<String>>),
    /// Somebody stopped it.
    Cancelled,
    /// A mistake of ours stopped it. The next one is done all the same.
    Panicked,
}

/// Records how a piece of work ended.
fn settle(app: &App, work: &str, outcome: Outcome) {
    let workspace = app.workspace();
    let run_id = app.queue.get(work).ok().and_then(|work| work.run_id);
    if !matches!(outcome, Outcome::Done(_))
        && let Some(run_id) = run_id
        && let Err(error) = workspace.store.interrupt_run(&run_id)
    {
        tracing::warn!(error = %error, "a run that was cut off still says that it is running");
    }
    let outcome = match outcome {
        Outcome::Done(Ok(held_back)) => Ok(held_back),
        Outcome::Done(Err(error)) => Err(Some(error)),
        Outcome::Cancelled => Err(None),
        Outcome::Panicked => {
            let id = fault::id_of_work(app, work);
            let kind = app.queue.get(work).map(|work| work.kind).unwrap_or_default();
            fault::keep(app, &id, "work", kind, &fault::taken());
            let error = Error::internal(format!("the work stopped unexpectedly, fault {id}"));
            let hint =
                "This is a bug of Flywheel: the fault is in the server's log and in system.errors.";
            Err(Some(error.hint(hint)))
        }
    };
    let end = end_of(&outcome);
    app.queue.change(app, work, |one| {
        one.ended_at = Some(app.machine_now().to_string());
        match outcome {
            Ok(None) => one.status = "succeeded",
            Ok(Some(why)) => {
                one.status = "blocked";
                one.error = Some(why);
            }
            Err(None) => one.status = "cancelled",
            Err(Some(error)) => {
                one.status = if error.kind() == ErrorKind::Blocked { "blocked" } else { "failed" };
                let report = error.report();
                let text = report.strip_prefix("error: ").unwrap_or(&report);
                one.error = text.split("\nhint: ").next().map(str::to_owned);
                one.hint = error.hint_text().map(str::to_owned);
            }
        }
    });
    app.queue.release(work);
    if let Some(run) = app.queue.forget_scheduled(work) {
        schedule::ended(app, &run, end);
    }
    app.follower.notify_one();
    // What it has queued or put off has a time of its own.
    app.sender.notify_one();
    app.alerts.notify_one();
    let what = ["status", "runs", "turns", "assets", "policies", "schedules"];
    app.tell(Live::new("changed", json!({"what": what})));
}

/// How an attempt at a run of a schedule ended.
fn end_of(outcome: &Result<Option<String>, Option<Error>>) -> End {
    let failed =
        |kind: ErrorKind, error: String| End::Failed { class: kind.name().to_owned(), error };
    match outcome {
        Ok(None) => End::Succeeded,
        Ok(Some(why)) => failed(ErrorKind::Blocked, why.clone()),
        Err(None) => End::Stopped,
        Err(Some(error)) => failed(error.kind(), error.report()),
    }
}

/// Does one thing; a reason if it ended well but data holds something back.
async fn perform(
    app: &Arc<App>,
    task: Task,
    without: &[String],
    watcher: &Watcher,
    rhythm: Option<&mut (dyn Rhythm + '_)>,
) -> Result<Option<String>> {
    // Files may have been edited since.
    let workspace = reload(app).await?;
    match task {
        Task::Turn => turns(app, &workspace, without, (watcher, rhythm), None).await,
        Task::Sync { name, restart } => {
            run::sync(&workspace, &[name], restart, watcher).await.map(|_| None)
        }
        Task::Build { select, full_refresh } => {
            runtime_schedule::perform(&workspace, Job::Build { select, full_refresh }, watcher)
                .await
        }
        Task::Learn { name } => {
            runtime_schedule::perform(&workspace, Job::Learn(vec![name]), watcher).await
        }
        Task::Replay { sync } => {
            runtime_schedule::perform(&workspace, Job::Quarantine(sync), watcher).await
        }
        Task::Scheduled(scheduled) => {
            let Some(job) = runtime_schedule::job(&workspace, &scheduled)? else { return Ok(None) };
            if job == Job::Turn {
                let by = (watcher, rhythm);
                return turns(app, &workspace, without, by, Some(&scheduled)).await;
            }
            // What was asked for of the past works for its moment, beside what works for the present.
            if scheduled.cause == Cause::Backfill {
                let past = workspace.at(scheduled.moment)?;
                return runtime_schedule::perform(&past, job, watcher).await;
            }
            runtime_schedule::perform(&workspace, job, watcher).await
        }
        Task::Discard { name } => {
            let count = quarantine::discard(&workspace, Some(&name)).await?;
            tracing::info!(sync = %name, count, "rows of the quarantine are not wanted");
            Ok(None)
        }
        Task::Mend { sync: _, edit } => {
            let mended = Box::pin(run::quarantine_edit(&workspace, &edit, watcher)).await?;
            Ok((mended.still_bad > 0).then(|| {
                format!("{} rows landed, {} still do not fit", mended.landed, mended.still_bad)
            }))
        }
        Task::Dismiss { of: _, rows, reason, by } => {
            run::quarantine_dismiss(&workspace, &rows, &reason, &by, watcher).await.map(|_| None)
        }
        Task::Apply { plan, environment } => {
            let workspace = in_environment(&workspace, &environment)?;
            let report = Box::pin(runtime_plan::apply(&workspace, &plan, watcher)).await?;
            Ok((!report.passed()).then(|| blocked(&report).message().to_owned()))
        }
        Task::Promote { from, to } => run::promote(&workspace, &from, &to, watcher).map(|_| None),
        Task::RollBack { environment } => {
            run::roll_back(&workspace, &environment, watcher).map(|_| None)
        }
        Task::Quality { select } => {
            runtime_schedule::perform(&workspace, Job::Quality(select), watcher).await
        }
        Task::Link { name, plan, approve } => {
            let options = link::Options { plan_only: plan, approval: approve.as_deref() };
            let names = std::slice::from_ref(&name);
            let work = link::run(&workspace, names, options, watcher);
            Ok(link::refused(&Box::pin(work).await?))
        }
        Task::Merge { name, verb, who } => {
            let plan_only = verb == MergeVerb::Plan;
            let options = merge::Options { plan_only, who: &who, ..merge::Options::default() };
            let done = match &verb {
                MergeVerb::Plan | MergeVerb::Run => {
                    Box::pin(merge::run(&workspace, &name, options, watcher)).await
                }
                MergeVerb::Undo(record) => {
                    let what = record.as_deref().map_or(merge::Undo::All, merge::Undo::Record);
                    Box::pin(merge::undo(&workspace, &name, what, options, watcher)).await
                }
            };
            done.map(|_| None)
        }
        Task::Reconcile { sync, streams, skip, repair } => {
            let syncs = std::slice::from_ref(&sync);
            let (streams, skip) = (streams.as_slice(), skip.as_slice());
            let lenient = streams.is_empty();
            let options = compare::Options { syncs, streams, skip, repair, lenient };
            let work = compare::compare(&workspace, &options, watcher);
            Ok(compare::differing(&Box::pin(work).await?))
        }
    }
}

/// The workspace as an environment sees it and builds its models.
///
/// # Errors
/// As [`Workspace::in_environment`].
pub(crate) fn in_environment(workspace: &Workspace, environment: &str) -> Result<Workspace> {
    workspace.at(workspace.now())?.in_environment(environment)
}

/// Turns the wheel once; a turn that was cut off is completed first.
async fn turns(
    app: &App,
    workspace: &Workspace,
    without: &[String],
    (watcher, rhythm): (&Watcher, Option<&mut (dyn Rhythm + '_)>),
    scheduled: Option<&ScheduledRun>,
) -> Result<Option<String>> {
    if let Some(rhythm) = rhythm {
        if let Some(open) = workspace.store.open_turn()? {
            app.clock.hold(open.logical_at);
            turn_without(workspace, without, watcher).await?;
        }
        app.clock.hold(rhythm.before()?);
        let report = turn_without(workspace, without, watcher).await?;
        rhythm.after(&report)?;
        return Ok(report.blocked);
    }
    if let Some(open) = workspace.store.open_turn()? {
        turn_without(&workspace.at(open.logical_at)?, without, watcher).await?;
    }
    let moment = match scheduled {
        None => Some(app.clock.now()),
        Some(scheduled) => runtime_schedule::turn_moment(workspace, scheduled)?,
    };
    let Some(moment) = moment else { return Ok(None) };
    Ok(turn_without(&workspace.at(moment)?, without, watcher).await?.blocked)
}

/// The workspace with the files as they are now.
///
/// # Errors
/// Every mistake in them; what was read before stays.
pub(crate) async fn reload(app: &App) -> Result<Arc<Workspace>> {
    let fresh = app.workspace().reloaded().await?;
    app.replace(fresh);
    Ok(app.workspace())
}

/// Keeps and tells what a run does.
struct Watcher {
    app: Arc<App>,
    work: String,
    scheduled: Option<ScheduledRun>,
}

impl Watcher {
    fn line(&self, level: &str, text: String) {
        let line =
            LogLine { at: self.app.machine_now().to_string(), level: level.to_owned(), text };
        let mut told = json!(line);
        if let Value::Object(object) = &mut told {
            object.insert("work".to_owned(), json!(self.work));
        }
        let mut state = self.app.queue.state();
        if let Some(one) = number(&self.work).and_then(|key| state.all.get_mut(&key)) {
            if let Value::Object(object) = &mut told {
                object.insert("run_id".to_owned(), json!(one.run_id));
            }
            if one.log.len() < LINES_MAX {
                one.log.push(line);
            }
        }
        drop(state);
        self.app.tell(Live::new("log", told));
    }

    fn task(&self, phase: &str, mut data: Value) {
        if let Value::Object(object) = &mut data {
            object.insert("work".to_owned(), json!(self.work));
            object.insert("phase".to_owned(), json!(phase));
        }
        self.app.tell(Live::new("task", data));
    }
}

impl Observer for Watcher {
    fn event(&self, event: &Event) {
        match event {
            Event::Began { run_id, .. } => {
                self.app
                    .queue
                    .change(&self.app, &self.work, |one| one.run_id = Some(run_id.clone()));
                if let Some(run) = &self.scheduled {
                    schedule::began(&self.app, run, run_id);
                }
            }
            Event::Started { kind, name } => {
                self.task("started", json!({"kind": kind, "name": name}));
            }
            Event::Ended(task) => {
                let outcome = &task.outcome;
                self.task(
                    "ended",
                    json!({
                        "kind": task.kind, "name": task.name, "status": task.status, "duration_ms": task.duration_ms,
                        "rows_out": outcome.rows_out, "error": outcome.error,
                    }),
                );
            }
            Event::Notice(_) => {}
        }
        let (level, text) = run_log::said(event);
        self.line(level, text);
    }
}
