//! Syncs whose files say `followed: true`: each is followed by a thread of its own, beside the work of the queue.
//!
//! ```text
//! files, pauses, migrations ──every second──▶ who shall be followed ──▶ a thread for each ──▶ what is told of it
//!                                                      ▲                     │
//!                                                      └──── it has ended ◀──┘
//! ```
//! Invariants: what is followed makes way for all work that touches the same tables ([`crate::work::Queue::follow`]), commits
//! what has come before it does, and goes on behind it; the position of each stream is in the commits of its rows, so that
//! nothing told here decides where it goes on from. What a system that does not answer ends is tried again, and so, after a
//! longer time, is what a limit ends. Any other error sets one way of a sync aside, also over what it makes way for; what ends
//! all of its ways ends the following of the sync until its files are mended or somebody resumes it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flywheel_base::{Error, ErrorKind, Result};
use flywheel_project::resource::sync::Sync;
use flywheel_runtime::follow::followed::{
    Failing, FileTimes, Followed, FollowedState, Held, fingerprint, held, kept,
};
use flywheel_runtime::follow::{Beat, Options, Rest, follow, is_waited_for, streams, wait_after};
use flywheel_runtime::schedule::claims;
use flywheel_runtime::{Event, Observer, Workspace};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::WORK_STACK_BYTES;
use crate::app::App;
use crate::live::Live;
use crate::{fault, heavy};

/// How often it is looked for what nobody told of, such as a sync that a command line has paused.
const TICK: Duration = Duration::from_secs(1);
/// How often what comes is told of while nothing else changes.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// How long a sync that shall end may take to commit what has come; what takes longer is read again.
const GRACE: Duration = Duration::from_secs(15);
/// How many syncs are followed at once; more wait.
const FOLLOWED_MAX: usize = 64;
/// The first wait after a beginning that failed, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));
/// How long a sync is followed until what failed before does not count any more.
const STEADY: Duration = Duration::from_secs(60);
/// How often what a sync refers to is read although its files seem to be as they were.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(30);

/// Has syncs followed until the server is stopped, and ends when none is any more; for a thread of its own, because it may
/// block.
pub(crate) fn keep(app: &Arc<App>, handle: &Handle) {
    let mut keeper = Keeper::default();
    while !app.stop.is_cancelled() {
        if let Err(error) = keeper.step(app, handle) {
            tracing::error!(error = %error.report(), "it is not known which syncs shall be followed");
        }
        handle.block_on(async {
            tokio::select! {
                () = app.stop.cancelled() => {}
                () = app.follower.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        });
    }
    keeper.end();
}

/// What is followed, and what is not just now.
#[derive(Default)]
struct Keeper {
    followers: BTreeMap<String, Follower>,
    /// What ended for good, with what its files and people said then.
    failed: BTreeMap<String, String>,
    /// What is begun again later.
    later: BTreeMap<String, Later>,
    /// What was set aside of those that made way, with what their files and people said then.
    aside: BTreeMap<String, (String, BTreeMap<String, Rest>)>,
    /// What the files of each said when they were last read.
    prints: BTreeMap<String, Print>,
    /// As what others rest and why, and when that was told.
    resting: BTreeMap<String, (FollowedState, String, Instant)>,
}

/// A sync that is begun again later.
struct Later {
    /// How often it failed in a row.
    attempt: u32,
    due: Instant,
    /// What its files and people said when it failed; once they say something else, it is not waited any longer.
    said: String,
    /// Who says meanwhile that it waits.
    told: Option<Arc<Told>>,
}

/// What the files of a sync said.
struct Print {
    workspace: Arc<Workspace>,
    times: FileTimes,
    read_at: Instant,
    text: String,
}

/// A sync that is followed.
struct Follower {
    /// What its files said when it began.
    fingerprint: String,
    /// The same, with when a person last said something of it.
    said: String,
    began: Instant,
    /// Ends it.
    end: CancellationToken,
    /// Has it make way; ending it does, too.
    way: CancellationToken,
    told: Arc<Told>,
    thread: JoinHandle<Result<()>>,
}

impl Keeper {
    /// Begins and ends what has to be.
    fn step(&mut self, app: &Arc<App>, handle: &Handle) -> Result<()> {
        self.reap(app);
        let workspace = app.workspace();
        let syncs = || workspace.project.syncs.iter().filter(|(_, sync)| sync.followed);
        let mut wanted = BTreeMap::new();
        for (name, sync) in syncs() {
            let print = self.print(&workspace, name, sync);
            wanted.insert(name.clone(), (print, held(&workspace, name)?));
        }
        for (name, one) in &self.followers {
            match wanted.get(name) {
                Some((print, held)) if *print == one.fingerprint && held.rests.is_none() => {
                    // Somebody lets it go on: what is set aside is tried at once, by beginning anew.
                    if one.said != said_of(print, held) && one.told.has_aside() {
                        one.way.cancel();
                    }
                    one.told.change(|_| false);
                }
                _ => one.end.cancel(),
            }
        }
        self.failed.retain(|name, _| wanted.contains_key(name));
        self.later.retain(|name, _| wanted.contains_key(name));
        self.aside.retain(|name, _| wanted.contains_key(name));
        self.prints.retain(|name, _| wanted.contains_key(name));
        self.resting.retain(|name, _| wanted.contains_key(name));
        for state in workspace.store.follows()? {
            let name = &state.sync;
            if !wanted.contains_key(name) && !self.followers.contains_key(name) {
                workspace.store.forget_follow(name)?;
            }
        }
        for (name, sync) in syncs() {
            let Some((print, held)) = wanted.remove(name) else { continue };
            if self.followers.contains_key(name) {
                continue;
            }
            let said = said_of(&print, &held);
            if let Some((state, why)) = held.rests {
                self.rest(app, name, state, why)?;
                continue;
            }
            let waits = |later: &&Later| later.due > Instant::now() && later.said == said;
            if let Some(later) = self.later.get(name).filter(waits) {
                // So that nobody takes it for one that no server follows.
                if let Some(told) = &later.told {
                    told.change(|_| false);
                }
                continue;
            }
            if self.failed.get(name) == Some(&said) {
                continue;
            }
            let print = (print, said.clone());
            if let Err(error) = self.begin(app, handle, &workspace, (name, &sync.value), print) {
                tracing::warn!(sync = %name, error = %error.report(), "a sync is followed later");
                self.put_off(name, said, None);
            }
        }
        Ok(())
    }

    /// What the files of a sync say. What they refer to is read only if one of them is not as it was, or now and then.
    fn print(&mut self, workspace: &Arc<Workspace>, name: &str, sync: &Sync) -> String {
        let times = FileTimes::of(&workspace.project, sync);
        let known = self.prints.get(name).filter(|known| {
            Arc::ptr_eq(&known.workspace, workspace)
                && known.times == times
                && known.read_at.elapsed() < READ_AGAIN_EVERY
        });
        if let Some(known) = known {
            return known.text.clone();
        }
        let text = fingerprint(&workspace.project, sync);
        let workspace = Arc::clone(workspace);
        let print = Print { workspace, times, read_at: Instant::now(), text: text.clone() };
        self.prints.insert(name.to_owned(), print);
        text
    }

    /// Begins to follow a sync, unless something else works on its tables.
    fn begin(
        &mut self,
        app: &Arc<App>,
        handle: &Handle,
        workspace: &Arc<Workspace>,
        (name, sync): (&String, &Sync),
        (fingerprint, said): (String, String),
    ) -> Result<()> {
        if self.followers.len() >= FOLLOWED_MAX {
            let why = format!("{FOLLOWED_MAX} syncs are followed already");
            return self.rest(app, name, FollowedState::Waiting, why);
        }
        let mut followed = kept(&workspace.store, name)?;
        let end = app.stop.child_token();
        let way = end.child_token();
        let claims = claims::of_sync(&workspace.project, name);
        followed.begin(&streams(name, sync), app.machine_now());
        let first = Arc::new(AtomicBool::new(followed.reads_first()));
        if !app.queue.follow(name, claims.clone(), way.clone(), Arc::clone(&first)) {
            let what = app.queue.in_the_way(&claims);
            let what = what.unwrap_or_else(|| "something else".to_owned());
            let why = format!("{what} works on the same tables");
            return self.rest(app, name, FollowedState::Waiting, why);
        }
        let rests = self.aside.remove(name).filter(|(before, _)| *before == said);
        let options = Options {
            rests: rests.map(|(_, rests)| rests).unwrap_or_default(),
            ..Options::default()
        };
        let told = Arc::new(Told::new(app, followed, first));
        told.change(|_| true);
        tracing::info!(sync = %name, "a sync is followed");
        let (ours, theirs) = (Arc::clone(&told), Arc::clone(workspace));
        let (handle, ends, makes_way) = (handle.clone(), end.clone(), way.clone());
        let thread = thread::Builder::new()
            .name("flywheel-follow".to_owned())
            .stack_size(WORK_STACK_BYTES)
            .spawn(move || {
                heavy::stand_behind();
                let work = || handle.block_on(one(&theirs, &ours, &options, &ends, &makes_way));
                let ended = catch_unwind(AssertUnwindSafe(work));
                let ended = ended.unwrap_or_else(|_| Err(ours.panicked()));
                ours.leave();
                ended
            });
        let thread = thread.map_err(|error| {
            app.queue.unfollow(name);
            Error::exhausted("no thread to follow a sync").caused_by(error)
        })?;
        self.resting.remove(name);
        let began = Instant::now();
        let follower = Follower { fingerprint, said, began, end, way, told, thread };
        self.followers.insert(name.clone(), follower);
        Ok(())
    }

    /// Says that a sync is not followed now, when that is new or was said long ago.
    fn rest(&mut self, app: &App, name: &str, state: FollowedState, why: String) -> Result<()> {
        let told = self.resting.get(name);
        let known = told.is_some_and(|(of, reason, _)| *of == state && *reason == why);
        if known && told.is_some_and(|(.., at)| at.elapsed() < TOLD_EVERY) {
            return Ok(());
        }
        let workspace = app.workspace();
        let mut followed = kept(&workspace.store, name)?;
        followed.rest(state, Some(why.clone()));
        followed.keep(&workspace.store, app.machine_now())?;
        self.resting.insert(name.to_owned(), (state, why, Instant::now()));
        if !known {
            app.tell(Live::new("changed", json!({"what": ["syncs", "status"]})));
        }
        Ok(())
    }

    /// Has a sync begun again later, a good while later after a limit that is used up; how often that failed in a row, and how
    /// long it is waited.
    fn put_off(&mut self, name: &str, said: String, error: Option<&Error>) -> (u32, Duration) {
        let attempt = self.later.get(name).map_or(0, |later| later.attempt).saturating_add(1);
        let wait = match error {
            Some(error) if error.kind() == ErrorKind::Exhausted => wait_after(name, attempt, error),
            _ => {
                let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1).min(16));
                AGAIN.0.saturating_mul(doubled).min(AGAIN.1)
            }
        };
        let later = Later { attempt, due: Instant::now() + wait, said, told: None };
        self.later.insert(name.to_owned(), later);
        (attempt, wait)
    }

    /// Takes leave of what has ended.
    fn reap(&mut self, app: &App) {
        let ended = self.followers.iter().filter(|(_, one)| one.thread.is_finished());
        let ended: Vec<String> = ended.map(|(name, _)| name.clone()).collect();
        for name in ended {
            let Some(follower) = self.followers.remove(&name) else { continue };
            let Follower { said, began, way, told, thread, .. } = follower;
            if began.elapsed() >= STEADY {
                self.later.remove(&name);
            }
            // It has done so itself, unless a panic ended it at its very end.
            app.queue.unfollow(&name);
            let outcome = thread.join().unwrap_or_else(|_| {
                Err(Error::internal("a thread that followed a sync stopped unexpectedly"))
            });
            match outcome {
                // Why it was stopped is told when it is looked at next.
                Ok(()) if way.is_cancelled() => {
                    self.later.remove(&name);
                    self.aside.insert(name, (said, told.rests()));
                }
                Ok(()) => {
                    self.put_off(&name, said, None);
                }
                Err(error) if is_waited_for(&error) => {
                    let (attempt, wait) = self.put_off(&name, said, Some(&error));
                    told.wait(attempt, wait, &error);
                    if let Some(later) = self.later.get_mut(&name) {
                        later.told = Some(told);
                    }
                }
                Err(error) => {
                    tracing::error!(sync = %name, error = %error.report(), "a sync is not followed any more");
                    self.later.remove(&name);
                    self.failed.insert(name, said);
                    told.change(|one| {
                        one.fail(&error);
                        true
                    });
                }
            }
            app.alerts.notify_one();
            app.scheduler.notify_one();
        }
    }

    /// Waits for all to end, which they do as the server is stopped.
    fn end(self) {
        for (name, Follower { told, thread, .. }) in self.followers {
            let ended = thread.join().unwrap_or_else(|_| {
                Err(Error::internal("a thread that followed a sync stopped unexpectedly"))
            });
            told.change(|one| {
                match &ended {
                    Err(error) if !is_waited_for(error) => one.fail(error),
                    _ => one.rest(FollowedState::Stopped, None),
                }
                true
            });
            if let Err(error) = ended {
                tracing::warn!(sync = %name, error = %error.report(), "a sync that was followed ended badly");
            }
        }
    }
}

/// What the files of a sync and people say of it.
fn said_of(print: &str, held: &Held) -> String {
    format!("{print} {}", held.said_at.map_or(0, |at| at.micros()))
}

/// Follows one sync until it shall end or make way.
async fn one(
    workspace: &Workspace,
    told: &Told,
    options: &Options,
    end: &CancellationToken,
    way: &CancellationToken,
) -> Result<()> {
    let names = [told.name.clone()];
    let beats = |stream: &str, beat: &Beat| told.hear(stream, beat);
    let stop = told.stop.subscribe();
    let mut following = Box::pin(follow(workspace, &names, options, stop, told, &beats));
    let synced = tokio::select! {
        synced = &mut following => synced?,
        () = way.cancelled() => {
            told.stop.send_replace(true);
            // What only makes way is waited for: what it reads whole is not begun again and again.
            let too_long = async {
                end.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            return tokio::select! {
                // What is set aside stays so, and is told of in the run.
                synced = &mut following => synced.map(drop),
                () = too_long => told.cut_off(workspace),
            };
        }
    };
    synced.errors.into_iter().next().map_or(Ok(()), Err)
}

/// Keeps and tells how a followed sync is doing.
struct Told {
    app: Arc<App>,
    name: String,
    /// Has it end in good order.
    stop: watch::Sender<bool>,
    /// Whether it is read whole for the first time, which no turn waits for.
    first: Arc<AtomicBool>,
    state: Mutex<State>,
}

struct State {
    followed: Followed,
    /// When it was kept.
    kept: Option<Instant>,
    /// When rows were last counted for their rate, and how many there were.
    counted: (Instant, u64),
}

impl Told {
    fn new(app: &Arc<App>, followed: Followed, first: Arc<AtomicBool>) -> Self {
        let name = followed.sync.clone();
        let state = State { followed, kept: None, counted: (Instant::now(), 0) };
        let stop = watch::Sender::new(false);
        Self { app: Arc::clone(app), name, stop, first, state: Mutex::new(state) }
    }

    /// Changes what is told, and keeps it if `change` says so or it was not kept for long.
    fn change(&self, change: impl FnOnce(&mut Followed) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at_once = change(&mut state.followed);
        self.first.store(state.followed.reads_first(), Ordering::Relaxed);
        if !at_once && state.kept.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
            return;
        }
        let (since, before) = state.counted;
        let rows = state.followed.rows();
        if since.elapsed() >= TICK {
            let per_second = rows.saturating_sub(before) as f64 / since.elapsed().as_secs_f64();
            state.followed.rows_per_second = (per_second * 10.0).round() / 10.0;
            state.counted = (Instant::now(), rows);
        }
        state.kept = Some(Instant::now());
        let workspace = self.app.workspace();
        if let Err(error) = state.followed.keep(&workspace.store, self.app.machine_now()) {
            tracing::warn!(sync = %self.name, error = %error.report(), "how a followed sync is doing is not kept");
        }
        drop(state);
        let more = rows > before;
        if at_once {
            self.app.tell(Live::new("changed", json!({"what": ["syncs", "runs", "status"]})));
        } else if more {
            self.app.tell(Live::new("changed", json!({"what": ["syncs"]})));
        }
    }

    /// A stream said something.
    fn hear(&self, stream: &str, beat: &Beat) {
        match beat {
            Beat::Reached { .. } => {}
            Beat::Waits { attempt, wait, error } => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(stream = %stream, attempt, wait_ms, error = %error, "a followed stream is tried again");
            }
            Beat::Aside { attempt, wait, error } => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::error!(stream = %stream, attempt, wait_ms, error = %error, "a followed stream is set aside");
            }
            Beat::Stopped { error } => {
                tracing::error!(stream = %stream, error = %error, "the log of a followed stream has stopped");
            }
        }
        let now = self.app.machine_now();
        self.change(|one| one.hear(stream, beat, now));
    }

    /// It could not even begin, and is tried again.
    fn wait(&self, attempt: u32, wait: Duration, error: &Error) {
        let beat = Beat::Waits { attempt, wait, error: error.report() };
        let now = self.app.machine_now();
        self.change(|one| {
            let names: Vec<String> = one.streams.keys().cloned().collect();
            for name in names {
                one.hear(&name, &beat, now);
            }
            true
        });
    }

    /// Whether something is set aside now.
    fn has_aside(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.followed.aside().next().is_some()
    }

    /// What is set aside now, and when it is tried again; not what has stopped while the others of its log go on.
    fn rests(&self) -> BTreeMap<String, Rest> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.app.machine_now();
        let rest = |(name, one): (&String, &Failing)| {
            let left_us = one.next_at?.micros().saturating_sub(now.micros());
            let left = Duration::from_micros(u64::try_from(left_us).unwrap_or_default());
            let due = Instant::now() + left;
            Some((name.clone(), Rest { attempt: one.attempt, due, error: one.error.clone() }))
        };
        state.followed.aside().filter_map(rest).collect()
    }

    fn run_id(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.followed.run_id.clone()
    }

    /// What is under way is given up: what was not committed is read again.
    fn cut_off(&self, workspace: &Workspace) -> Result<()> {
        tracing::warn!(sync = %self.name, "a followed sync takes long to end, and is cut off");
        self.run_id().map_or(Ok(()), |run| workspace.store.interrupt_run(&run))
    }

    /// A mistake of ours stopped it.
    fn panicked(&self) -> Error {
        let work = format!("follow {} {}", self.name, self.app.machine_now());
        let id = fault::id_of_work(&self.app, &work);
        fault::keep(&self.app, &id, "work", "follow", &fault::taken());
        if let Some(run) = self.run_id()
            && let Err(error) = self.app.workspace().store.interrupt_run(&run)
        {
            tracing::warn!(%error, "a run that was cut off still says that it is running");
        }
        let hint =
            "This is a bug of Flywheel: the fault is in the server's log and in system.errors.";
        Error::internal(format!("following stopped unexpectedly, fault {id}")).hint(hint)
    }

    /// Lets work begin that waited for it.
    fn leave(&self) {
        self.app.queue.unfollow(&self.name);
        self.app.follower.notify_one();
    }
}

impl Observer for Told {
    fn event(&self, event: &Event) {
        match event {
            Event::Began { run_id, .. } => self.change(|one| {
                one.run_id = Some(run_id.clone());
                true
            }),
            Event::Notice(text) => tracing::debug!(sync = %self.name, "{text}"),
            Event::Started { .. } | Event::Ended(_) => {}
        }
    }
}
