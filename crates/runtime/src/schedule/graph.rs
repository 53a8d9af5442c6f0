//! A run of several tasks: each begins when those it comes after have succeeded.
//!
//! What holds after a crash: a task that succeeded is durable before what comes after it begins, so an attempt that
//! follows leaves it out. One that was cut off, or whose end was not noted, is done again, which neither loses nor doubles
//! a row.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, ErrorKind, Result};
use flywheel_project::graph::Known;
use flywheel_project::resource::schedule::{Runs, TASKS, Task};
use flywheel_state::TaskOutcome;
use flywheel_transform::BuildOptions;
use serde_json::{Value, json};

use super::{Occasion, claims};
use crate::dashboard::{self, Errand};
use crate::recorder::{Observer, Recorder};
use crate::side_by_side::{self, Piece};
use crate::task::learn::When;
use crate::task::{build, learn};
use crate::{
    Workspace, compare, environment, link, merge, openlineage, outbox, quality, quarantine, run,
    upkeep,
};

/// What the tasks of a schedule are called in `system.tasks`, beside what each of them did.
pub(super) const KIND: &str = "task";

/// Does the tasks that are not among `done`.
///
/// # Errors
/// The first task's error in the order of the file, after everything that does not come after it was done. It is
/// [`ErrorKind::Blocked`] if nothing failed but data holds something back.
pub(super) async fn perform(
    workspace: &Workspace,
    (tasks, done): (&[Task], &BTreeSet<String>),
    occasion: &Occasion,
    observer: &dyn Observer,
) -> Result<()> {
    let recorder = run::start(workspace, observer, TASKS)?;
    let result = all(workspace, &recorder, (tasks, done), occasion).await;
    if recorder.tasks().iter().any(|task| task.kind == Runs::Build.word()) {
        environment::clean_up(workspace, &recorder).await;
    }
    upkeep::keep_up(workspace, &recorder, workspace.lake.locations().await).await;
    recorder.finish(result.as_ref().err())?;
    Box::pin(openlineage::settle(workspace)).await;
    result
}

async fn all(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    (tasks, done): (&[Task], &BTreeSet<String>),
    occasion: &Occasion,
) -> Result<()> {
    let left: Vec<&Task> = tasks.iter().filter(|task| !done.contains(&task.task)).collect();
    if left.len() < tasks.len() {
        let count = tasks.len() - left.len();
        recorder.notice(format!("{count} of {} tasks were done before", tasks.len()));
    }
    let places: BTreeMap<&str, usize> =
        left.iter().enumerate().map(|(place, task)| (task.task.as_str(), place)).collect();
    let piece = |task: &&Task| Piece {
        // What was done before is not waited for.
        after: task.after.iter().filter_map(|name| places.get(name.as_str()).copied()).collect(),
        claims: claims::of_task(&workspace.project, task),
    };
    let work = |place: usize| {
        let task = left.get(place).copied();
        async move {
            let result = match task {
                Some(task) => Box::pin(one(workspace, recorder, task, occasion)).await,
                None => Err(Error::internal("a task of a run is not there")),
            };
            (result.is_ok(), result)
        }
    };
    let left_out = |place: usize, because: usize| {
        if let (Some(task), Some(because)) = (left.get(place), left.get(because)) {
            let timer = recorder.started(KIND, &task.task);
            let detail = json!({"because": because.task});
            recorder.ended(timer, "skipped", TaskOutcome { detail, ..TaskOutcome::default() });
        }
    };
    let at_once = workspace.project.file.workers.get() as usize;
    let pieces = left.iter().map(piece).collect();
    let results = side_by_side::all(pieces, at_once, work, left_out).await;
    let mut errors: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
    // What failed weighs more than what data holds back.
    let first = errors.iter().position(|error| error.kind() != ErrorKind::Blocked).unwrap_or(0);
    if errors.is_empty() { Ok(()) } else { Err(errors.swap_remove(first)) }
}

/// Does one task, and makes what became of it durable.
async fn one(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    task: &Task,
    occasion: &Occasion,
) -> Result<()> {
    let timer = recorder.started(KIND, &task.task);
    let result = match task.run {
        Some(run) => job(workspace, recorder, (run, task), occasion).await,
        None => Ok(Value::Null),
    };
    let (status, outcome) = match &result {
        Ok(detail) => {
            ("succeeded", TaskOutcome { detail: detail.clone(), ..TaskOutcome::default() })
        }
        Err(error) => {
            let error = Some(error.report());
            ("failed", TaskOutcome { error, ..TaskOutcome::default() })
        }
    };
    recorder.ended(timer, status, outcome);
    recorder.keep()?;
    result.map(|_| ()).map_err(|error| error.context(format!("task \"{}\"", task.task)))
}

/// Does what a task says; what it did, in a few words.
async fn job(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    (run, task): (Runs, &Task),
    occasion: &Occasion,
) -> Result<Value> {
    let select = &task.select;
    match run {
        Runs::Turn => Err(Error::internal("a turn is no task")),
        Runs::Sync => {
            let names = run::chosen(select, workspace.project.syncs.keys(), "sync")?;
            let landed = run::syncs(workspace, recorder, &names, false).await?;
            Ok(json!({"rows": landed.iter().map(|one| one.rows_out).sum::<u64>()}))
        }
        Runs::Build => {
            let known = Known::new();
            let options = BuildOptions {
                select,
                known: Some(&known),
                full_refresh: task.full_refresh,
                ..BuildOptions::default()
            };
            let report = build::run(workspace, recorder, options).await?;
            if report.passed() {
                Ok(json!({"published": report.published.len()}))
            } else {
                Err(build::blocked(&report))
            }
        }
        Runs::Learn => {
            let when = if select.is_empty() { When::Due } else { When::Now };
            let names = run::chosen(select, workspace.project.learners.keys(), "learner")?;
            let turn = workspace.store.last_turn()?.map_or(0, |turn| turn.turn);
            let learned = learn::run(workspace, recorder, turn, &names, when).await?.all()?;
            Ok(json!({"learned": learned.len()}))
        }
        Runs::Quarantine => {
            let sync = select.first().map(String::as_str);
            let replayed = quarantine::replay(workspace, recorder, sync).await?;
            Ok(json!({"landed": replayed.landed, "still_bad": replayed.still_bad}))
        }
        Runs::Dashboard => {
            let sending = task.send.as_ref().ok_or_else(|| super::nowhere(&task.task))?;
            let errand = Errand {
                schedule: &occasion.schedule,
                task: Some(&task.task),
                moment: occasion.moment,
                zone: occasion.zone.as_deref(),
                boards: select,
                sending,
                sent: &occasion.sent,
                unsure: &occasion.unsure,
            };
            Box::pin(dashboard::send(workspace, recorder, &errand)).await
        }
        Runs::Link => {
            let work = link::within(workspace, recorder, select, link::Options::default());
            let reports = Box::pin(work).await?;
            well(link::refused(&reports), json!({"links": reports.len()}))
        }
        Runs::Merge => {
            let options = merge::Options { who: merge::BY_ITSELF, ..merge::Options::default() };
            let reports = Box::pin(merge::each(workspace, recorder, select, options)).await?;
            Ok(json!({"merges": reports.len()}))
        }
        Runs::Reconcile => {
            let options = compare::Options {
                syncs: select,
                repair: task.repair,
                lenient: true,
                ..compare::Options::default()
            };
            let compared = Box::pin(compare::within(workspace, recorder, &options)).await?;
            let mended: u64 = compared.iter().map(|one| one.mended).sum();
            let detail = json!({"tables": compared.len(), "mended": mended});
            well(compare::differing(&compared), detail)
        }
        Runs::Act => {
            let acted = Box::pin(outbox::deliver(workspace, recorder)).await?;
            let detail = json!({"delivered": acted.delivered, "retried": acted.retried});
            well(outbox::held_back(&acted), detail)
        }
        Runs::Quality => {
            let options = quality::Options { select, exclude: &[] };
            let results = Box::pin(quality::within(workspace, recorder, &options)).await?;
            well(quality::not_kept(&results), json!({"promises": results.len()}))
        }
    }
}

/// What a task did, unless it ended well and data holds something back.
fn well(held_back: Option<String>, detail: Value) -> Result<Value> {
    held_back.map_or(Ok(detail), |why| Err(Error::blocked(why)))
}
