//! Runs of the past, work of the present, and asking for more.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flywheel_base::{Error, ErrorKind, Result as BaseResult};
use flywheel_project::NodeKind;
use flywheel_project::grant::{Deed, Governed};
use flywheel_runtime::access::Reading;
use flywheel_runtime::access::granted::Granted;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::run_log::{self, LogLine};
use flywheel_runtime::{Workspace, compare};
use flywheel_state::{Piece, Run, Task as TaskRow};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{items, json_of, piece, unknown};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Input, Place, counted, cut};
use crate::problem::{Problem, Result};
use crate::schedule;
use crate::work::{Task, Work, reload};

pub(super) fn routes(routes: &mut Routes) {
    let (view, operate) = (Access::Needs(Permission::View), Access::Needs(Permission::Operate));
    routes.get("/v1/runs", view, "Lists runs, newest first", runs);
    routes.get("/v1/runs/{run}", view, "Shows a run with its tasks and its log", run);
    routes.get("/v1/runs/{run}/log", view, "Shows the log of a run, from a line on", log);
    routes.get("/v1/work", view, "Lists what was asked for since the server was started", work);
    routes.get("/v1/work/{work}", view, "Shows what became of something that was asked for", one);
    routes.act(
        "/v1/work/{work}/cancel",
        operate,
        "Takes something out of the queue, or stops it",
        cancel,
    );
    routes.act("/v1/turns", operate, "Asks for a turn", turn);
    routes.post::<Sync, _, _>("/v1/syncs/{sync}/run", operate, "Asks for a sync", sync);
    routes.post::<Reconcile, _, _>(
        "/v1/syncs/{sync}/reconcile",
        operate,
        "Asks for the tables of a sync to be compared with their database, and mended if asked to",
        reconcile,
    );
    routes.post::<Build, _, _>(
        "/v1/models/build",
        operate,
        "Asks for models to be built and tested",
        build,
    );
    routes.act("/v1/learners/{learner}/learn", operate, "Asks for a learner to be fitted", learn);
    routes.post::<Replay, _, _>(
        "/v1/quarantine/replay",
        operate,
        "Asks for rows of the quarantine to be tried again",
        replay,
    );
    routes.post::<Replay, _, _>(
        "/v1/quarantine/discard",
        operate,
        "Asks for open rows of the quarantine to be marked as not wanted",
        discard,
    );
    routes.act("/v1/project/reload", operate, "Reads the project's files anew", reload_files);
}

/// Which runs.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    kind: Option<String>,
    status: Option<String>,
    /// Runs of the answer at most; 100 if absent, 1,000 at most.
    limit: Option<u32>,
    /// `next` of the piece before; the newest runs if absent.
    cursor: Option<String>,
}

async fn runs(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(which): Asked<Which>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.blocking(move |app| {
        let workspace = app.workspace();
        let said = reading.said(&workspace.project);
        let count = counted(which.limit);
        let piece = Piece { after: which.cursor.as_deref(), limit: count + 1 };
        let (kind, status) = (which.kind.as_deref(), which.status.as_deref());
        let runs = workspace.store.runs_of(kind, status, piece)?;
        let (mut runs, next) = cut(runs, count, |run| run.run_id.clone());
        if let Some(granted) = reading.granted(&workspace.project) {
            let mut seen = Vec::with_capacity(runs.len());
            for run in runs {
                let tasks = workspace.store.run(&run.run_id)?.map(|(_, tasks)| tasks);
                if tells_of_seen(&workspace, &granted, &tasks.unwrap_or_default()) {
                    seen.push(run);
                }
            }
            runs = seen;
        }
        Ok((runs.iter().map(|run| shown(run, said)).collect::<Vec<_>>(), next))
    });
    let (found, next) = found.await?;
    piece(&found, next)
}

/// Whether all that a run did is about what is seen. A run of many things at once, such as a turn, is for whom nothing is
/// closed.
fn tells_of_seen(workspace: &Workspace, granted: &Granted<'_>, tasks: &[TaskRow]) -> bool {
    let seen = |task: &TaskRow| match task.kind.as_str() {
        "sync" => {
            let syncs = workspace.project.syncs.keys();
            // Of two syncs, one of which begins as the other one, the longer name is meant.
            let of =
                syncs.filter(|name| super::syncs::is_of(task, name)).max_by_key(|one| one.len());
            of.is_some_and(|name| granted.shows_one(NodeKind::Sync, name))
        }
        "learn" => granted.shows_one(NodeKind::Learner, &task.name),
        _ => false,
    };
    !tasks.is_empty() && tasks.iter().all(seen)
}

/// A run with its tasks, if there is one that is seen.
fn seen_run(
    workspace: &Workspace,
    reading: &Reading,
    id: &str,
) -> BaseResult<Option<(Run, Vec<TaskRow>)>> {
    let Some((run, tasks)) = workspace.store.run(id)? else { return Ok(None) };
    let granted = reading.granted(&workspace.project);
    let seen = granted.is_none_or(|granted| tells_of_seen(workspace, &granted, &tasks));
    Ok(seen.then_some((run, tasks)))
}

/// Whether a piece of work is told to the caller: others' only if nothing is closed to them.
fn is_told(app: &App, caller: &Caller, work: &Work) -> bool {
    work.is_of(&caller.who()) || !caller.is_closed_to(&app.workspace().project)
}

/// A piece of work that is told to the caller.
fn told_work(app: &App, caller: &Caller, id: &str) -> Result<Work> {
    match app.queue.get(id) {
        Ok(work) if is_told(app, caller, &work) => Ok(work),
        // As of what is not there.
        Ok(_) => Err(Problem::not_found(format!("no work \"{id}\" since the server was started"))),
        Err(error) => Err(error.into()),
    }
}

/// How long a run took, in milliseconds.
pub(super) fn duration_ms(run: &Run) -> Option<f64> {
    run.ended_at.map(|end| (end.micros() - run.started_at.micros()) as f64 / 1_000.0)
}

fn shown(run: &Run, said: Said) -> Value {
    json!({
        "run_id": run.run_id, "kind": run.kind, "turn": run.turn, "logical_at": run.logical_at.to_string(),
        "status": run.status, "started_at": run.started_at.to_string(),
        "ended_at": run.ended_at.map(|at| at.to_string()), "duration_ms": duration_ms(run),
        "error": said.of(run.error.clone()),
    })
}

/// A task, as lists show it to whoever is told as much as `said`.
pub(super) fn task(task: &TaskRow, said: Said) -> Value {
    let outcome = &task.outcome;
    let mut detail = outcome.detail.clone();
    if let (Said::Withheld, Value::Object(detail)) = (said, &mut detail) {
        // What a receiver answers may quote what it was sent.
        detail.remove("receipt");
    }
    json!({
        "run_id": task.run_id, "position": task.position, "kind": task.kind, "name": task.name, "status": task.status,
        "started_at": task.started_at.to_string(), "duration_ms": task.duration_ms, "rows_in": outcome.rows_in,
        "rows_out": outcome.rows_out, "rows_rejected": outcome.rows_rejected, "error": said.of(outcome.error.clone()),
        "detail": detail,
    })
}

/// The log of a run from a line on, with as much of it as `said` tells.
fn lines(
    workspace: &Workspace,
    run_id: &str,
    after: usize,
    said: Said,
) -> BaseResult<Vec<LogLine>> {
    let mut lines = run_log::read(&workspace.ours(), run_id, after)?;
    for line in &mut lines {
        line.text = said.line(&line.level, std::mem::take(&mut line.text));
    }
    Ok(lines)
}

async fn run(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (id, reading) = (place.name(), caller.reading(&app.workspace().project));
    let asked = id.clone();
    let found = app.blocking(move |app| {
        let workspace = app.workspace();
        let said = reading.said(&workspace.project);
        let Some((run, tasks)) = seen_run(&workspace, &reading, &asked)? else { return Ok(None) };
        let mut answer = shown(&run, said);
        if let Value::Object(object) = &mut answer {
            let tasks = tasks.iter().map(|one| task(one, said)).collect();
            object.insert("tasks".to_owned(), tasks);
            object.insert("log".to_owned(), json!(lines(&workspace, &run.run_id, 0, said)?));
        }
        Ok(Some(answer))
    });
    match found.await? {
        Some(found) => json_of(&found),
        None => {
            Err(Problem::not_found(format!("no run \"{id}\"")).hint("GET /v1/runs lists them."))
        }
    }
}

/// Which lines.
#[derive(Debug, Deserialize, JsonSchema)]
struct Lines {
    /// How many lines are known already.
    #[serde(default)]
    after: usize,
    limit: Option<usize>,
}

/// Lines of a log in one answer.
const LINES_MAX: usize = 10_000;

/// The log of a run, those under way included: who follows one asks again with the `next` of the last answer.
async fn log(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Asked(asked): Asked<Lines>,
) -> Result<Response> {
    let (id, reading) = (place.name(), caller.reading(&app.workspace().project));
    let run_id = id.clone();
    let found = app.blocking(move |app| {
        let workspace = app.workspace();
        let said = reading.said(&workspace.project);
        let Some((run, _)) = seen_run(&workspace, &reading, &run_id)? else { return Ok(None) };
        let mut lines = lines(&workspace, &run.run_id, asked.after, said)?;
        lines.truncate(asked.limit.unwrap_or(LINES_MAX).clamp(1, LINES_MAX));
        let next = asked.after.saturating_add(lines.len());
        let ended = run.status != "running";
        Ok(Some(json!({"run_id": run.run_id, "status": run.status, "ended": ended, "next": next, "items": lines})))
    });
    match found.await? {
        Some(found) => json_of(&found),
        None => {
            Err(Problem::not_found(format!("no run \"{id}\"")).hint("GET /v1/runs lists them."))
        }
    }
}

async fn work(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let said = caller.said(&app.workspace().project);
    let all = app.queue.list().into_iter().filter(|work| is_told(&app, &caller, work));
    let all: Vec<Work> = all.map(|work| work.told(said)).collect();
    items(&all)
}

async fn one(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let said = caller.said(&app.workspace().project);
    json_of(&told_work(&app, &caller, place.at(0))?.told(said))
}

async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let said = caller.said(&app.workspace().project);
    told_work(&app, &caller, place.at(0))?;
    // A run of a schedule that somebody stops is not begun again.
    if let Some(run) = app.queue.scheduled_of(place.at(0)) {
        schedule::cancel(&app, run.id).await?;
        return accepted(&app.queue.get(place.at(0))?.told(said));
    }
    accepted(&app.queue.cancel(&app, place.at(0))?.told(said))
}

fn accepted(work: &Work) -> Result<Response> {
    let mut response = json_of(work)?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

pub(super) fn ask(app: &App, caller: &Caller, task: Task) -> Result<Response> {
    let work = app.queue.ask(app, task, caller.who()).map_err(too_many)?;
    accepted(&work)
}

/// The problem of what is not taken because too much waits: it is the caller who asks for too much.
pub(super) fn too_many(error: Error) -> Problem {
    let metadata = error.message().starts_with("metadata: ");
    let waits = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Exhausted) && !metadata;
    let mut problem = Problem::from(error);
    if waits {
        problem.status = StatusCode::TOO_MANY_REQUESTS;
        problem.retry_after_s = Some(1);
    }
    problem
}

async fn turn(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    ask(&app, &caller, Task::Turn)
}

/// How a sync is run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sync {
    /// Whether streams of changes are read whole again.
    #[serde(default)]
    restart: bool,
}

async fn sync(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Sync>,
) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.syncs.contains_key(&name) {
        return Err(unknown("sync", &name, workspace.project.syncs.keys()));
    }
    ask(&app, &caller, Task::Sync { name, restart: input.restart })
}

/// What is compared.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reconcile {
    /// Only these streams; all that can be compared if none is named.
    #[serde(default)]
    streams: Vec<String>,
    /// Columns that are not compared.
    #[serde(default)]
    skip: Vec<String>,
    /// Makes the tables equal: reads rows that differ again, removes those the source does not have.
    #[serde(default)]
    repair: bool,
}

async fn reconcile(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Reconcile>,
) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    let Some(sync) = workspace.project.syncs.get(&name) else {
        return Err(unknown("sync", &name, workspace.project.syncs.keys()));
    };
    let why = |stream| compare::why_not(&workspace.project, sync, stream);
    if !sync.streams.iter().any(|stream| why(stream).is_none()) {
        let why = sync.streams.first().and_then(why).unwrap_or("has no streams");
        return Err(Problem::invalid(format!("sync \"{name}\" cannot be compared: it {why}"))
            .hint("Tables with a `key` that are read from PostgreSQL, MySQL or MariaDB can."));
    }
    let Reconcile { streams, skip, repair } = input;
    ask(&app, &caller, Task::Reconcile { sync: name, streams, skip, repair })
}

/// What is built.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Build {
    /// Models: `name`, `+name` and what it reads, `name+` and what reads it, `tag:x`; everything if empty.
    #[serde(default)]
    select: Vec<String>,
    /// Builds incremental tables anew.
    #[serde(default)]
    full_refresh: bool,
}

async fn build(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Build>,
) -> Result<Response> {
    let workspace = app.workspace();
    let project = &workspace.project;
    let granted = caller.reading(project).granted(project);
    if let Some(granted) = granted.filter(Granted::closes_tables) {
        // A selector may reach anything.
        if input.select.is_empty() {
            return Err(Problem::invalid("which models are built is not said")
                .hint("Name each of them: what is built beside them is not for you."));
        }
        for named in &input.select {
            let mut models = project.models.values();
            let found = models.find(|one| one.name == *named || one.relation() == *named);
            let may = found
                .is_some_and(|model| granted.may(Governed::Tables, &model.relation(), Deed::Act));
            if !may {
                // Whether there is such a model is not told.
                let detail = format!("no grant lets {} build \"{named}\"", caller.who());
                return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
                    .hint("Name models that you may build, each by its own name."));
            }
        }
    }
    ask(&app, &caller, Task::Build { select: input.select, full_refresh: input.full_refresh })
}

async fn learn(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.learners.contains_key(&name) {
        return Err(unknown("learner", &name, workspace.project.learners.keys()));
    }
    ask(&app, &caller, Task::Learn { name })
}

/// Whose rows are tried again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// The sync; all if absent.
    #[serde(default)]
    sync: Option<String>,
}

async fn replay(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Replay>,
) -> Result<Response> {
    let workspace = app.workspace();
    if let Some(name) =
        input.sync.as_ref().filter(|name| !workspace.project.syncs.contains_key(*name))
    {
        return Err(unknown("sync", name, workspace.project.syncs.keys()));
    }
    ask(&app, &caller, Task::Replay { sync: input.sync })
}

async fn discard(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Replay>,
) -> Result<Response> {
    let workspace = app.workspace();
    // All rows of a project are never given up by leaving something out.
    let Some(name) = input.sync else {
        return Err(Problem::invalid("it is not said which sync's rows are not wanted")
            .hint("Name it: {\"sync\": \"orders\"}."));
    };
    let project = &workspace.project;
    // Events have no sync: an empty name stands for all of them, that of a topic for its own.
    let events = name.is_empty() || project.topics.contains_key(&name);
    if !events && !project.syncs.contains_key(&name) {
        return Err(unknown("sync", &name, project.syncs.keys()));
    }
    ask(&app, &caller, Task::Discard { name })
}

async fn reload_files(State(app): State<Arc<App>>) -> Result<Response> {
    let shared = Arc::clone(&app);
    let warnings = app
        .with(move |_| async move {
            let workspace = reload(&shared).await?;
            Ok(workspace.project.warnings.clone())
        })
        .await?;
    let texts = warnings.to_string();
    json_of(&json!({"warnings": texts.lines().collect::<Vec<_>>()}))
}
