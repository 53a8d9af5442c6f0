//! The scheduler's driver: it tells the scheduler what happens, and does what follows.
//!
//! What is decided is decided by [`flywheel_state::schedule_step`] and is durable before anything is done here. As many
//! runs are begun as there are workers without work, and none that touches what something else changes or waits to change.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flywheel_base::{Result, Timestamp};
use flywheel_runtime::{Workspace, schedule};
use flywheel_state::{End, ScheduleEffect, ScheduleEvent, ScheduledRun};
use serde_json::json;

use crate::app::App;
use crate::live::Live;
use crate::work::{Task, reload};

/// How often the time is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How many steps follow each other at once: one adds runs, the next one starts one.
const STEPS_MAX: usize = 4;
/// How often files with mistakes are read again: what mends them may be in any file, not only where a change is looked for.
const MENDED_EVERY: Duration = Duration::from_secs(3);
/// How many times as long as it took to read them is waited at least.
const MENDED_REST: u32 = 20;
/// How often old runs and alerts are dropped.
const FORGET_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// Keeps the schedules until the server is stopped.
pub(crate) async fn keep(app: &Arc<App>) {
    let mut known = state_of(app.workspace().dir());
    let mut forgotten = tokio::time::Instant::now();
    let mut mistakes: Option<Mistakes> = None;
    loop {
        let found = state_of(app.workspace().dir());
        let again = mistakes.as_ref().is_some_and(|had| had.read.elapsed() >= had.rest);
        if found != known || again {
            known = found;
            let begun = tokio::time::Instant::now();
            // What is wrong in the files is told, and what was read before stays.
            let said = reloaded(app).await.err().map(|error| error.report());
            if let Some(said) = &said
                && mistakes.as_ref().is_none_or(|had| had.said != *said)
            {
                tracing::error!(error = %said, "files were changed, but have mistakes");
            }
            if said.is_none() || !again {
                app.follower.notify_one();
            }
            let rest = MENDED_EVERY.max(begun.elapsed().saturating_mul(MENDED_REST));
            let read = tokio::time::Instant::now();
            mistakes = said.map(|said| Mistakes { said, read, rest });
        }
        if let Err(error) = app.blocking(tick).await {
            tracing::error!(error = %error.report(), "the scheduler could not take a step");
        }
        if forgotten.elapsed() > FORGET_EVERY {
            forgotten = tokio::time::Instant::now();
            let dropped =
                app.blocking(|app| app.workspace().store.forget_schedule_runs(app.machine_now()));
            if let Err(error) = dropped.await {
                tracing::warn!(%error, "old runs of schedules are not dropped");
            }
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.scheduler.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Why files cannot be read.
struct Mistakes {
    said: String,
    /// When they were read last, and how long not again.
    read: tokio::time::Instant,
    rest: Duration,
}

async fn reloaded(app: &Arc<App>) -> Result<()> {
    let shared = Arc::clone(app);
    app.with(move |_| async move { reload(&shared).await.map(|_| ()) }).await
}

/// The files of what is done without being asked for, with their sizes and times: schedules, alerts, topics, and syncs with
/// their connections.
fn state_of(dir: &Path) -> BTreeMap<String, (u64, Option<std::time::SystemTime>)> {
    let folders = ["schedules", "alerts", "topics", "syncs", "connections"];
    let folders = folders.into_iter().map(|folder| dir.join(folder));
    let files =
        folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let state = files.filter_map(|file| {
        let about = file.metadata().ok()?;
        Some((file.path().to_string_lossy().into_owned(), (about.len(), about.modified().ok())))
    });
    state.collect()
}

fn tick(app: &App) -> Result<()> {
    for _ in 0..STEPS_MAX {
        let (scheduled, free, held) = app.queue.scheduled();
        let alive = scheduled.into_iter().map(|run| run.id).collect();
        let free = if app.stop.is_cancelled() { 0 } else { free };
        if !take(app, ScheduleEvent::Tick { free, alive, held })? {
            break;
        }
    }
    Ok(())
}

/// Takes a step and does what follows. Whether runs were added that a next step may start.
fn take(app: &App, event: ScheduleEvent) -> Result<bool> {
    let effects = schedule::step(&app.workspace(), event)?;
    let mut added = false;
    for effect in effects {
        match effect {
            ScheduleEffect::Start(run) => start(app, *run)?,
            ScheduleEffect::Stop { id, why } => {
                let work = app.queue.work_of(&id);
                if let Some(work) = work.filter(|work| !app.queue.is_stopping(work)) {
                    tracing::info!(run = %id, why = why.name(), "a run of a schedule is stopped");
                    // One that ends just now needs no stop.
                    if let Err(error) = app.queue.cancel(app, &work) {
                        tracing::debug!(%error, "a run of a schedule had ended");
                    }
                }
            }
            ScheduleEffect::Alert(alert) => {
                tracing::warn!(kind = %alert.kind, schedule = %alert.schedule, "an alert was made");
                app.tell(Live::new("changed", json!({"what": ["alerts"]})));
            }
            ScheduleEffect::Added { ids } => {
                added = true;
                tracing::debug!(count = ids.len(), "runs of schedules were added");
                app.tell(Live::new("changed", json!({"what": ["schedules"]})));
            }
        }
    }
    Ok(added)
}

fn start(app: &App, run: ScheduledRun) -> Result<()> {
    tracing::info!(schedule = %run.schedule, run = %run.id, moment = %run.moment, attempt = run.attempt, "an attempt starts");
    let who = match run.asked_by.as_str() {
        "schedule" => format!("schedule {}", run.schedule),
        by => by.to_owned(),
    };
    let (id, attempt) = (run.id.clone(), run.attempt);
    if let Err(error) = app.queue.ask(app, Task::Scheduled(Box::new(run)), who) {
        tracing::warn!(%error, "an attempt waits until there is room");
        let end = End::Stopped;
        schedule::step(&app.workspace(), ScheduleEvent::Ended { id, attempt, end })?;
    }
    Ok(())
}

/// Notes which run an attempt is.
pub(crate) fn began(app: &App, run: &ScheduledRun, run_id: &str) {
    let event = ScheduleEvent::Began {
        id: run.id.clone(),
        attempt: run.attempt,
        run_id: run_id.to_owned(),
    };
    if let Err(error) = take(app, event) {
        tracing::warn!(%error, "the run of an attempt is not noted");
    }
}

/// Tells the scheduler how an attempt ended. What cannot be written now is found out by its lease.
pub(crate) fn ended(app: &App, run: &ScheduledRun, end: End) {
    let event = ScheduleEvent::Ended { id: run.id.clone(), attempt: run.attempt, end };
    if let Err(error) = take(app, event) {
        tracing::error!(error = %error.report(), run = %run.id, "how an attempt ended is not noted");
    }
    app.scheduler.notify_one();
}

/// Stops a run of a schedule, or takes it back before it begins.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown run, [`flywheel_base::ErrorKind::Conflict`] for one that has
/// ended.
pub(crate) async fn cancel(app: &Arc<App>, id: String) -> Result<ScheduledRun> {
    app.blocking(move |app| {
        let workspace = app.workspace();
        let run = schedule::scheduled(&workspace, &id)?;
        if !run.status.is_open() {
            let message = format!("run {id} of \"{}\" is {}", run.schedule, run.status.name());
            return Err(flywheel_base::Error::new(flywheel_base::ErrorKind::Conflict, message)
                .hint("Only what waits or is under way can be cancelled."));
        }
        take(app, ScheduleEvent::Cancel { id: id.clone() })?;
        schedule::scheduled(&workspace, &id)
    })
    .await
}

/// Looks at tables, files and sources of schedules until the server is stopped.
pub(crate) async fn watch(app: &Arc<App>) {
    let mut due: BTreeMap<String, Timestamp> = BTreeMap::new();
    loop {
        let now = app.machine_now();
        let names: Vec<String> = {
            let workspace = app.workspace();
            let schedules = workspace.project.schedules.iter();
            let looking = schedules.filter(|(_, one)| one.when.looks());
            looking.map(|(name, _)| name.clone()).collect()
        };
        due.retain(|name, _| names.contains(name));
        for name in names {
            if due.get(&name).is_some_and(|at| *at > now && at.micros() - now.micros() < DUE_MAX_US)
            {
                continue;
            }
            let shared = Arc::clone(app);
            let asked = name.clone();
            let next =
                app.with(move |workspace| async move { look(&shared, &workspace, &asked).await });
            // A source that does not answer holds up no stop.
            let next = tokio::select! {
                () = app.stop.cancelled() => return,
                next = next => next,
            };
            match next {
                Ok(wait_us) => due.insert(name, now.plus_micros(wait_us)),
                Err(error) => {
                    tracing::warn!(schedule = %name, error = %error.report(), "what a schedule looks at cannot be seen");
                    due.insert(name, now.plus_micros(FAILED_WAIT_US))
                }
            };
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// A look that is further away than this was planned by a clock that has gone back since.
const DUE_MAX_US: i64 = 7 * 86_400_000_000;
/// How soon what could not be looked at is looked at again, in microseconds.
const FAILED_WAIT_US: i64 = 60_000_000;

/// Looks once, and says after how many microseconds to look again.
async fn look(app: &App, workspace: &Workspace, name: &str) -> Result<i64> {
    let one = schedule::named(&workspace.project, name)?;
    if !(one.when.tables.is_empty() && one.when.files.is_empty()) {
        let versions = schedule::versions(workspace, one).await?;
        take(app, ScheduleEvent::Seen { schedule: name.to_owned(), versions })?;
    }
    if schedule::is_behind(workspace, one).await? {
        take(app, ScheduleEvent::Behind { schedule: name.to_owned() })?;
    }
    app.scheduler.notify_one();
    Ok(schedule::look_us(one))
}

/// Sends alerts until the server is stopped.
pub(crate) async fn tell(app: &Arc<App>) {
    loop {
        let told = tokio::select! {
            () = app.stop.cancelled() => return,
            told = app.with(|workspace| async move { schedule::tell(&workspace).await }) => told,
        };
        match told {
            Ok(0) => {}
            Ok(_) => app.tell(Live::new("changed", json!({"what": ["alerts"]}))),
            Err(error) => tracing::warn!(error = %error.report(), "alerts are not sent"),
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}
