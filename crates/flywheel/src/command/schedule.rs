//! `flywheel schedule`.

use std::sync::Arc;

use clap::{Args, Subcommand};
use flywheel_base::calendar::{Timing, on_the_wall};
use flywheel_base::{Clock, Error, ErrorKind, FixedClock, Result, SystemClock, Timestamp};
use flywheel_project::resource::schedule::Schedule as Declared;
use flywheel_runtime::schedule::{self, Job};
use flywheel_runtime::turn::turn;
use flywheel_runtime::{Access, Event, Observer, Workspace, run_log};
use flywheel_state::{Asked, Cause, End, RunStatus, ScheduleEffect, ScheduleEvent, ScheduledRun};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::Grid;
use crate::progress::Progress;

/// What is said where a span needs no runs.
const NOTHING: &str = "each moment of the span has its run; nothing to do";

/// Options of `flywheel schedule`.
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists schedules: what they run, when they are due next, and how the last run ended
    List,
    /// Shows when schedules are due next
    Next {
        /// The schedule; all if none is named
        name: Option<String>,
        /// How many moments of each
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        count: u32,
    },
    /// Lists runs of schedules, newest moment first
    Runs {
        /// The schedule; all if none is named
        name: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Shows the log of the newest attempt at a run
    Log {
        /// The run's id, as `flywheel schedule runs` shows it
        id: String,
    },
    /// Keeps a schedule from running by itself until it is resumed
    Pause {
        /// The schedule
        name: String,
        /// Why, for the record
        #[arg(long, default_value = "paused by hand")]
        reason: String,
    },
    /// Lets a paused schedule run by itself again; what passed meanwhile is left out
    Resume {
        /// The schedule
        name: String,
    },
    /// Runs a schedule now, or for each moment of a span of the past that has no run yet; a server does it if one
    /// keeps the project
    Run {
        /// The schedule
        name: String,
        /// The first moment of the span on the schedule's clocks: 2024-05-01, or with a time
        #[arg(long, value_name = "MOMENT")]
        from: Option<String>,
        /// The last moment of the span, a day being a whole one; now if absent
        #[arg(long, value_name = "MOMENT", requires = "from")]
        to: Option<String>,
    },
    /// Runs the moment of a run again that failed, was stopped or left out; what it has done is not done again
    Rerun {
        /// The run's id, as `flywheel schedule runs` shows it
        id: String,
    },
    /// Stops a run that a server has under way, or takes back one that waits
    Cancel {
        /// The run's id, as `flywheel schedule runs` shows it
        id: String,
    },
}

impl Runs for Schedule {
    const ABOUT: &'static str = "Lists, runs, pauses and resumes what the server runs by itself";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::List => list(&app).await,
            Verb::Next { name, count } => next(&app, name.as_deref(), count).await,
            Verb::Runs { name, limit } => runs(&app, name.as_deref(), limit).await,
            Verb::Log { id } => log(&app, &id).await,
            Verb::Pause { name, reason } => {
                let workspace = app.open(Access::Read).await?;
                schedule::pause(&workspace, &name, &reason)?;
                app.output.message(&format!("{name} does not run by itself: {reason}"));
                Ok(Exit::Done)
            }
            Verb::Resume { name } => {
                let workspace = app.open(Access::Read).await?;
                schedule::resume(&workspace, &name)?;
                app.output.message(&format!("{name} runs by itself again"));
                Ok(Exit::Done)
            }
            Verb::Run { name, from, to } => {
                Box::pin(ask(&app, |workspace| match &from {
                    None => {
                        let asked = Asked {
                            schedule: name.clone(),
                            cause: Cause::Manual,
                            moment: None,
                            by: "command line".to_owned(),
                            mark: None,
                            goes_on_from: None,
                        };
                        Ok(vec![schedule::ask(workspace, asked)?.id])
                    }
                    Some(from) => {
                        let span = (from.as_str(), to.as_deref());
                        let runs = schedule::backfill(workspace, &name, span, "command line")?;
                        Ok(runs.into_iter().map(|run| run.id).collect())
                    }
                }))
                .await
            }
            Verb::Rerun { id } => {
                Box::pin(ask(&app, |workspace| {
                    Ok(vec![schedule::rerun(workspace, &id, "command line")?.id])
                }))
                .await
            }
            Verb::Cancel { id } => {
                let workspace = app.open(Access::Read).await?;
                schedule::scheduled(&workspace, &id)?;
                schedule::step(&workspace, ScheduleEvent::Cancel { id: id.clone() })?;
                let run = schedule::scheduled(&workspace, &id)?;
                let stands = match run.status {
                    RunStatus::Running => "under way, and its server stops it now",
                    status => status.name(),
                };
                app.output.message(&format!("run {id} of {} is {stands}", run.schedule));
                Ok(Exit::Done)
            }
        }
    }
}

/// A moment as the clocks of the schedule's place show it.
fn local(at: Timestamp, timing: Option<&Timing>) -> String {
    match timing {
        Some(Timing::Cron { zone, .. }) => on_the_wall(at, *zone),
        _ => at.to_string(),
    }
}

async fn list(app: &App) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let states = workspace.store.schedules()?;
    let now = workspace.machine.now();
    let mut grid = Grid::new(&["schedule", "runs", "when", "next", "last", "status", "error"]);
    for one in workspace.project.schedules.values() {
        let state = states.iter().find(|state| state.name == one.schedule);
        let paused = one.paused || state.is_some_and(|state| state.paused);
        let timing = schedule::timing(one)?;
        let next = match &timing {
            _ if paused => "paused".to_owned(),
            Some(timing) => timing.next(now).map_or_else(String::new, |at| local(at, Some(timing))),
            None => String::new(),
        };
        let last = workspace.store.schedule_runs(Some(&one.schedule), 1)?.into_iter().next();
        let text = |of: fn(&ScheduledRun) -> String| last.as_ref().map(of).unwrap_or_default();
        grid.row(vec![
            one.schedule.clone(),
            work(one),
            schedule::shown(one),
            next,
            last.as_ref().map_or_else(String::new, |run| local(run.moment, timing.as_ref())),
            text(|run| run.status.name().to_owned()),
            text(|run| run.error.as_deref().map(first_line).unwrap_or_default()),
        ]);
    }
    app.output.grid(&grid)?;
    if workspace.project.schedules.is_empty() {
        app.output.message("the project has no schedules: declare one in schedules/*.yaml");
    }
    Ok(Exit::Done)
}

fn work(one: &Declared) -> String {
    let mut words = vec![one.word()];
    words.extend(one.select.iter().map(String::as_str));
    words.extend(one.tasks.iter().map(|task| task.task.as_str()));
    words.join(" ")
}

fn first_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.lines().next().unwrap_or_default().to_owned()
}

async fn next(app: &App, name: Option<&str>, count: u32) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    if let Some(name) = name {
        schedule::named(&workspace.project, name)?;
    }
    let now = workspace.machine.now();
    let mut rows = Vec::new();
    for one in workspace.project.schedules.values() {
        if name.is_some_and(|name| name != one.schedule) {
            continue;
        }
        let Some(timing) = schedule::timing(one)? else { continue };
        let following = std::iter::successors(timing.next(now), |at| timing.next(*at));
        for at in following.take(count as usize) {
            rows.push((at, one.schedule.clone(), local(at, Some(&timing))));
        }
    }
    rows.sort();
    let mut grid = Grid::new(&["at", "local", "schedule"]);
    for (at, name, local) in rows {
        grid.row(vec![at.to_string(), local, name]);
    }
    app.output.grid(&grid)?;
    Ok(Exit::Done)
}

async fn runs(app: &App, name: Option<&str>, limit: u32) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    if let Some(name) = name {
        schedule::named(&workspace.project, name)?;
    }
    let columns =
        ["id", "schedule", "moment", "cause", "status", "#attempt", "started", "ended", "error"];
    let mut grid = Grid::new(&columns);
    for run in workspace.store.schedule_runs(name, limit)? {
        let text = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
        grid.row(vec![
            run.id.clone(),
            run.schedule.clone(),
            run.moment.to_string(),
            run.cause.name().to_owned(),
            run.status.name().to_owned(),
            run.attempt.to_string(),
            text(run.started_at),
            text(run.ended_at),
            run.error.as_deref().map(first_line).unwrap_or_default(),
        ]);
    }
    app.output.grid(&grid)?;
    Ok(Exit::Done)
}

async fn log(app: &App, id: &str) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let run = schedule::scheduled(&workspace, id)?;
    let before = run.attempts.last().and_then(|attempt| attempt.run_id.clone());
    let Some(run_id) = run.run_id.or(before) else {
        app.output.message(&format!(
            "run {id} of {} has no log yet: it is {}",
            run.schedule,
            run.status.name()
        ));
        return Ok(Exit::Done);
    };
    let mut grid = Grid::new(&["at", "level", "text"]);
    for line in run_log::read(&workspace.ours(), &run_id, 0)? {
        grid.row(vec![line.at, line.level, line.text]);
    }
    app.output.grid(&grid)?;
    Ok(Exit::Done)
}

/// Adds runs, and does them here unless a server keeps the project, which then does.
async fn ask(app: &App, add: impl Fn(&Workspace) -> Result<Vec<String>>) -> Result<Exit> {
    let clock = Arc::new(FixedClock::new(SystemClock.now()));
    match app.open_with(Access::Write, Arc::<FixedClock>::clone(&clock)).await {
        Ok(workspace) => {
            // Nobody else writes: what says that it runs was cut off.
            schedule::step(&workspace, ScheduleEvent::Restarted)?;
            let ids = add(&workspace)?;
            if ids.is_empty() {
                app.output.message(NOTHING);
            }
            let mut exit = Exit::Done;
            for id in ids {
                let ended = Box::pin(here(app, &workspace, &clock, &id)).await?;
                if ended != Exit::Done {
                    exit = ended;
                }
            }
            schedule::tell(&workspace).await?;
            Ok(exit)
        }
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let workspace = app.open(Access::Read).await?;
            let ids = add(&workspace)?;
            if ids.is_empty() {
                app.output.message(NOTHING);
                return Ok(Exit::Done);
            }
            app.output.message(&format!(
                "{} asked for; the server that keeps this project does it: follow it with `flywheel schedule runs`",
                match ids.len() {
                    1 => "a run is".to_owned(),
                    count => format!("{count} runs are"),
                }
            ));
            Ok(Exit::Done)
        }
        Err(error) => Err(error),
    }
}

/// Notes which run of `system.runs` an attempt is.
struct Noting<'a> {
    workspace: &'a Workspace,
    run: &'a ScheduledRun,
    progress: &'a Progress,
}

impl Observer for Noting<'_> {
    fn event(&self, event: &Event) {
        if let Event::Began { run_id, .. } = event {
            let (id, attempt) = (self.run.id.clone(), self.run.attempt);
            let began = ScheduleEvent::Began { id, attempt, run_id: run_id.clone() };
            if let Err(error) = schedule::step(self.workspace, began) {
                tracing::warn!(%error, "the run of an attempt is not noted");
            }
        }
        self.progress.event(event);
    }
}

/// Does one attempt at a run.
async fn here(app: &App, workspace: &Workspace, clock: &Arc<FixedClock>, id: &str) -> Result<Exit> {
    let effects = schedule::step(workspace, ScheduleEvent::Take { id: id.to_owned() })?;
    let run = effects.into_iter().find_map(|effect| match effect {
        ScheduleEffect::Start(run) => Some(*run),
        _ => None,
    });
    let Some(run) = run else {
        return Err(Error::new(ErrorKind::Conflict, format!("run {id} does not wait any more"))
            .hint("`flywheel schedule runs` shows what became of it."));
    };
    let progress = Progress::new(app.output, &run.schedule);
    let noting = Noting { workspace, run: &run, progress: &progress };
    let done = attempt(workspace, clock, &run, &noting).await;
    drop(progress);
    let failed =
        |kind: ErrorKind, error: String| End::Failed { class: kind.name().to_owned(), error };
    let end = match &done {
        Ok(None) => End::Succeeded,
        Ok(Some(why)) => failed(ErrorKind::Blocked, why.clone()),
        Err(error) => failed(error.kind(), error.report()),
    };
    let attempt = run.attempt;
    schedule::step(workspace, ScheduleEvent::Ended { id: id.to_owned(), attempt, end })?;
    let now = schedule::scheduled(workspace, id)?;
    match now.status {
        RunStatus::Waiting => app.output.message(&format!(
            "{} for {} is tried again by `flywheel serve` from {} on",
            now.schedule, now.moment, now.due_at
        )),
        status => {
            app.output.message(&format!("{} for {}: {}", now.schedule, now.moment, status.name()));
        }
    }
    match done {
        Ok(None) => Ok(Exit::Done),
        Ok(Some(why)) => {
            app.output.message(&why);
            Ok(Exit::Blocked)
        }
        Err(error) => {
            app.output.message(&error.report());
            Ok(if error.kind() == ErrorKind::Blocked { Exit::Blocked } else { Exit::Failed })
        }
    }
}

async fn attempt(
    workspace: &Workspace,
    clock: &FixedClock,
    run: &ScheduledRun,
    observer: &dyn Observer,
) -> Result<Option<String>> {
    let Some(job) = schedule::job(workspace, run)? else { return Ok(None) };
    if job != Job::Turn {
        // What was asked for of the past works for its moment.
        clock.move_to(if run.cause == Cause::Backfill { run.moment } else { SystemClock.now() });
        return schedule::perform(workspace, job, observer).await;
    }
    clock.move_to(SystemClock.now());
    if let Some(open) = workspace.store.open_turn()? {
        turn(&workspace.at(open.logical_at)?, observer).await?;
        clock.move_to(SystemClock.now());
    }
    let Some(moment) = schedule::turn_moment(workspace, run)? else { return Ok(None) };
    Ok(turn(&workspace.at(moment)?, observer).await?.blocked)
}
