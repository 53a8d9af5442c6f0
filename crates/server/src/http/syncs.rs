//! Connections, syncs, and the rows that were set aside.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult, Timestamp, quantity};
use flywheel_project::resource::sync::{LAKE, Sync};
use flywheel_project::{NodeId, NodeKind};
use flywheel_runtime::access::granted::Granted;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::follow::followed::{self, Followed};
use flywheel_runtime::status::Rows;
use flywheel_runtime::{Workspace, compare, draft};
use flywheel_state::Task;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ordered, declared, done, items, json_of, unknown, with_next};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Input, Place, counted};
use crate::live::Live;
use crate::problem::{Problem, Result};
use crate::rows;
use crate::work::reload;

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get("/v1/syncs", view, "Lists syncs with their last run", syncs);
    routes.get("/v1/syncs/{sync}", view, "Shows a sync with its runs", sync);
    routes.get(
        "/v1/syncs/{sync}/lag",
        Access::Needs(Permission::Operate),
        "Asks the source how far each stream is behind it",
        lag,
    );
    routes.post::<Pause, _, _>(
        "/v1/syncs/{sync}/pause",
        Access::Needs(Permission::Operate),
        "Keeps a sync from being followed until it is resumed; what has come is committed first",
        pause,
    );
    routes.act(
        "/v1/syncs/{sync}/resume",
        Access::Needs(Permission::Operate),
        "Lets a paused sync be followed again, and one that failed",
        resume,
    );
    routes.get(
        "/v1/quarantine",
        Access::Needs(Permission::Query),
        "Shows rows that were set aside, with their reason",
        quarantine,
    );
    routes.get("/v1/connections", view, "Lists connections, without secrets", connections);
    routes.act(
        "/v1/connections/{connection}/test",
        Access::Needs(Permission::Operate),
        "Connects, and says what is found there",
        test,
    );
    routes.post::<NewSync, _, _>(
        "/v1/connections/{connection}/draft",
        Access::Needs(Permission::Operate),
        "Writes a sync file for what a connection holds; keeps it if asked to",
        draft_of,
    );
}

/// How many runs are looked at for the tasks of syncs.
const RUNS_LOOKED_AT: u32 = 500;

/// Why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pause {
    /// The reason, for those who find it paused.
    #[serde(default)]
    reason: Option<String>,
}

async fn pause(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Pause>,
) -> Result<Response> {
    let (name, who) = (place.name(), caller.who());
    let reason = input.reason.unwrap_or_else(|| format!("paused by {who}"));
    app.blocking(move |app| followed::pause(&app.workspace(), &name, &reason, &who)).await?;
    app.follower.notify_one();
    Ok(done())
}

async fn resume(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (name, who) = (place.name(), caller.who());
    app.blocking(move |app| followed::resume(&app.workspace(), &name, &who)).await?;
    app.follower.notify_one();
    Ok(done())
}

/// How a followed sync is doing, to whoever is told as much as `said`.
fn following(one: &Followed, now: Timestamp, said: Said) -> Value {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let since = |at: Timestamp| (now.micros() - at.micros()).max(0) as f64 / 1e6;
    let failing = one.failing();
    let streams = one.streams.iter().map(|(name, stream)| {
        json!({
            "name": name, "reached": text(stream.reached), "behind_s": stream.reached.map(since), "rows": stream.rows,
            "error": said.of(stream.failing.as_ref().map(|failing| failing.error.clone())),
            "aside": stream.failing.as_ref().is_some_and(|failing| failing.aside),
        })
    });
    json!({
        "state": one.state, "since": text(one.since), "run_id": one.run_id, "committed_at": text(one.committed_at),
        "reached": text(one.reached()), "behind_s": one.reached().map(since), "rows": one.rows(),
        "rows_per_second": one.rows_per_second, "attempt": failing.map(|failing| failing.attempt),
        "next_at": text(failing.and_then(|failing| failing.next_at)), "reason": one.reason, "by": one.by,
        "error": said.of(one.trouble().map(str::to_owned)), "streams": streams.collect::<Vec<_>>(),
    })
}

/// Tasks are named after a sync and its stream.
pub(super) fn is_of(task: &Task, sync: &str) -> bool {
    task.kind == "sync"
        && task
            .name
            .strip_prefix(sync)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ' ']))
}

fn shown(
    workspace: &Workspace,
    name: &str,
    tasks: &[Task],
    quarantined: i64,
    all_followed: &[Followed],
    said: Said,
) -> Option<Value> {
    let sync = workspace.project.syncs.get(name)?;
    let follows = all_followed.iter().find(|one| one.sync == name);
    let streams = sync.streams.iter().map(|stream| {
        let table = stream.to.clone().unwrap_or_else(|| format!("raw.{}", stream.stream));
        json!({
            "stream": stream.stream, "read": stream.read, "write": stream.write, "key": stream.key,
            "table": sync.lands().then_some(table),
        })
    });
    let mine: Vec<&Task> = tasks.iter().filter(|task| is_of(task, name)).collect();
    // The newest run's tasks together are what the sync last did.
    let last = mine.last().map(|newest| {
        let run: Vec<&&Task> = mine.iter().filter(|task| task.run_id == newest.run_id).collect();
        let sum = |count: fn(&Task) -> Option<u64>| run.iter().filter_map(|task| count(task)).sum::<u64>();
        let failed = run.iter().find(|task| task.status == "failed");
        json!({
            "run_id": newest.run_id, "status": failed.unwrap_or(&newest).status,
            "started_at": run.first().map(|task| task.started_at.to_string()),
            "duration_ms": run.iter().filter_map(|task| task.duration_ms).sum::<f64>(),
            "rows_in": sum(|task| task.outcome.rows_in), "rows_out": sum(|task| task.outcome.rows_out),
            "rows_rejected": sum(|task| task.outcome.rows_rejected), "error": said.of(failed.and_then(|task| task.outcome.error.clone())),
        })
    });
    let others: Vec<&String> =
        sync.destination.names().iter().filter(|name| *name != LAKE).collect();
    Some(json!({
        "name": name, "description": sync.description, "from": sync.connection, "to": others.first(),
        "destinations": sync.destination.names(), "file": sync.file, "streams": streams.collect::<Vec<_>>(), "last": last,
        "quarantined": quarantined, "following": follows.map(|one| following(one, workspace.machine.now(), said)),
    }))
}

async fn set_aside(workspace: &Workspace) -> BaseResult<std::collections::BTreeMap<String, i64>> {
    let sql = "select sync, count(*) from system.quarantine where status = 'open' group by sync";
    let rows = Rows::query(workspace, sql).await?;
    let row = |row| {
        Ok((rows.text(row, 0)?.unwrap_or_default(), rows.integer(row, 1)?.unwrap_or_default()))
    };
    (0..rows.len()).map(row).collect()
}

async fn syncs(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let said = reading.said(&workspace.project);
        let counts = set_aside(&workspace).await?;
        let tasks = workspace.store.tasks(RUNS_LOOKED_AT)?;
        let follows = followed::followed(&workspace)?;
        let granted = reading.granted(&workspace.project);
        let seen = |name: &&String| {
            granted.as_ref().is_none_or(|granted| granted.shows_one(NodeKind::Sync, name))
        };
        let names = workspace.project.syncs.keys().filter(seen);
        let of = |name: &String| {
            let count = counts.get(name).copied().unwrap_or_default();
            let answer = shown(&workspace, name, &tasks, count, &follows, said);
            answer.map(|answer| narrowed(answer, granted.as_ref()))
        };
        Ok(names.filter_map(of).collect::<Vec<_>>())
    });
    items(&found.await?)
}

async fn sync(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    let reading = caller.reading(&workspace.project);
    let said = reading.said(&workspace.project);
    if !workspace.project.syncs.contains_key(&name) {
        return Err(unknown("sync", &name, workspace.project.syncs.keys()));
    }
    let found = app.with(move |workspace| async move {
        let counts = set_aside(&workspace).await?;
        let tasks = workspace.store.tasks(RUNS_LOOKED_AT)?;
        let count = counts.get(&name).copied().unwrap_or_default();
        let follows = followed::followed(&workspace)?;
        let answer = shown(&workspace, &name, &tasks, count, &follows, said);
        let granted = reading.granted(&workspace.project);
        let mut answer = narrowed(answer.unwrap_or_default(), granted.as_ref());
        let recent: Vec<Value> = tasks
            .iter()
            .rev()
            .filter(|task| is_of(task, &name))
            .map(|task| super::runs::task(task, said))
            .take(100)
            .collect();
        if let (Value::Object(answer), Some(sync)) =
            (&mut answer, workspace.project.syncs.get(&name))
        {
            answer.insert("recent".to_owned(), json!(recent));
            answer.insert("compared".to_owned(), json!(compared(&workspace, &name, sync, said)?));
            let id = NodeId::new(NodeKind::Sync, name.as_str());
            // What it reads is named in its text.
            if granted.is_none_or(|granted| granted.shows_inputs(&id)) {
                answer.insert("declared".to_owned(), declared(&sync.value)?);
            }
        }
        Ok(answer)
    });
    json_of(&found.await?)
}

/// A sync without the name of the connection that it reads, if that is hidden.
fn narrowed(mut answer: Value, granted: Option<&Granted<'_>>) -> Value {
    if let (Some(granted), Some(from)) = (granted, answer.get_mut("from")) {
        let hidden = |name: &str| name != LAKE && !granted.shows_one(NodeKind::Connection, name);
        if from.as_str().is_some_and(hidden) {
            *from = json!("");
        }
    }
    answer
}

/// Which streams can be compared with their source, and what the last comparison of each found.
fn compared(workspace: &Workspace, name: &str, sync: &Sync, said: Said) -> BaseResult<Vec<Value>> {
    let mut all = Vec::new();
    for stream in &sync.streams {
        let task = format!("{name}.{}", stream.stream);
        let last = workspace.store.tasks_named(compare::KIND, &task, 1)?;
        all.push(json!({
            "stream": stream.stream, "why_not": compare::why_not(&workspace.project, sync, stream),
            "last": last.first().map(|task| super::runs::task(task, said)),
        }));
    }
    Ok(all)
}

/// Which rows.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    sync: Option<String>,
    status: Option<String>,
    /// Rows of the answer at most; 100 if absent, 1,000 at most.
    limit: Option<u32>,
    /// `next` of the piece before; the newest rows if absent.
    cursor: Option<String>,
}

async fn quarantine(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(which): Asked<Which>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let status = which.status.as_deref().unwrap_or("open");
        let mut condition = format!("status = {}", rows::literal(status));
        if let Some(sync) = &which.sync {
            condition.push_str(&format!(" and sync = {}", rows::literal(sync)));
        }
        if let Some(granted) = reading.granted(&workspace.project) {
            let seen = workspace.project.syncs.keys();
            let seen = seen.filter(|name| granted.shows_rows_of(name));
            let seen: Vec<String> = seen.map(|name| rows::literal(name)).collect();
            // Events of topics, which are of no sync, are for whom nothing is closed.
            condition.push_str(&match seen.is_empty() {
                true => " and false".to_owned(),
                false => format!(" and sync in ({})", seen.join(", ")),
            });
        }
        let list = Ordered {
            table: "system.quarantine",
            condition,
            key: "quarantine_id",
            falling: "first_at",
            rising: &["coalesce(file, '')", "coalesce(line, -1)"],
        };
        Box::pin(list.read(&workspace, &reading, which.cursor.as_deref(), counted(which.limit)))
            .await
    });
    let (table, next) = found.await?;
    let mut answer = json!(table);
    if let Value::Object(answer) = &mut answer {
        answer.insert("next".to_owned(), json!(next));
    }
    Ok(with_next(json_of(&answer)?, next))
}

async fn connections(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let workspace = app.workspace();
    let project = &workspace.project;
    let granted = caller.reading(project).granted(project);
    let shows = |kind: NodeKind, name: &str| {
        granted.as_ref().is_none_or(|granted| granted.shows_one(kind, name))
    };
    let syncs = project.syncs.iter().filter(|(name, _)| shows(NodeKind::Sync, name));
    let syncs: Vec<_> = syncs.collect();
    let mut all = Vec::new();
    let seen = |(name, _): &(&String, _)| shows(NodeKind::Connection, name);
    for (name, connection) in project.connections.iter().filter(seen) {
        let reads =
            syncs.iter().filter(|(_, sync)| sync.connection == *name).map(|(name, _)| *name);
        let writes = syncs
            .iter()
            .filter(|(_, sync)| sync.destination.names().contains(name))
            .map(|(name, _)| *name);
        let (reads, writes): (BTreeSet<&String>, BTreeSet<&String>) =
            (reads.collect(), writes.collect());
        let role = match (reads.is_empty(), writes.is_empty()) {
            (_, true) => "source",
            (true, false) => "destination",
            (false, false) => "both",
        };
        all.push(json!({
            "name": name, "type": connection.connector, "description": connection.description, "file": connection.file,
            "role": role, "syncs": reads.union(&writes).collect::<Vec<_>>(), "settings": declared(&connection.options)?,
        }));
    }
    items(&all)
}

/// A sync to be written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewSync {
    /// The sync's name; the connection's if absent.
    #[serde(default)]
    sync: Option<String>,
    /// Streams, or patterns of their names with `*` for anything; all if empty.
    #[serde(default)]
    tables: Vec<String>,
    /// `full`, `incremental` or `cdc`; what suits each stream best if absent.
    #[serde(default)]
    read: Option<String>,
    /// How often it will run, such as `1h`, by which the best is chosen; an hour if absent.
    #[serde(default)]
    every: Option<String>,
    /// Where the rows go: a connection, or the lake if absent.
    #[serde(default)]
    destination: Option<String>,
    /// Whether the file is written into the project, where it must not be yet.
    #[serde(default)]
    save: bool,
}

/// How often a sync runs unless it is said.
const EVERY: &str = "1h";

async fn draft_of(
    State(app): State<Arc<App>>,
    place: Place,
    Input(input): Input<NewSync>,
) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.connections.contains_key(&name) {
        return Err(unknown("connection", &name, workspace.project.connections.keys()));
    }
    let read = match input.read.as_deref() {
        None => None,
        Some("full") => Some(draft::Mode::Full),
        Some("incremental") => Some(draft::Mode::Incremental),
        Some("cdc") => Some(draft::Mode::Cdc),
        Some(other) => {
            return Err(Problem::invalid(format!("streams are not read \"{other}\""))
                .hint("Say full, incremental or cdc, or leave it out."));
        }
    };
    let every = input.every.as_deref().unwrap_or(EVERY);
    let every_us = quantity::duration_us(every).map_err(|e| e.context("every"))?;
    let wish = draft::Wish {
        sync: input.sync.unwrap_or_else(|| name.clone()),
        tables: input.tables,
        except: Vec::new(),
        read,
        every_s: every_us.unsigned_abs() / 1_000_000,
        destination: input.destination.unwrap_or_else(|| LAKE.to_owned()),
    };
    let file = draft::file_of(&wish.sync)?;
    let (sync, keep) = (wish.sync.clone(), input.save);
    let found = app.with(move |workspace| async move {
        let look = draft::draft(&workspace, &name, &wish);
        let text = tokio::time::timeout(TEST_TIME, look).await.unwrap_or_else(|_| {
            Err(Error::unavailable(format!(
                "the connection \"{name}\" does not answer within 30 seconds"
            )))
        })?;
        if keep {
            draft::save(&workspace, &wish.sync, &text)?;
        }
        Ok(text)
    });
    let text = found.await?;
    if keep {
        let shared = Arc::clone(&app);
        let made = workspace.dir().join(&file);
        app.with(move |_| async move {
            // What the project cannot be read with is not left in it.
            match reload(&shared).await {
                Ok(_) => Ok(()),
                Err(error) => {
                    std::fs::remove_file(&made).map_err(|e| Error::io("remove", &made, e))?;
                    Err(error.context(
                        "the sync was not kept, because the project cannot be read with it",
                    ))
                }
            }
        })
        .await?;
        app.tell(Live::new("changed", json!({"what": ["assets", "status"]})));
    }
    json_of(&json!({"sync": sync, "file": file, "yaml": text, "saved": keep}))
}

async fn lag(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    let said = caller.said(&workspace.project);
    if !workspace.project.syncs.contains_key(&name) {
        return Err(unknown("sync", &name, workspace.project.syncs.keys()));
    }
    let found = app.with(move |workspace| async move {
        let look = flywheel_runtime::lag::lag(&workspace, std::slice::from_ref(&name));
        tokio::time::timeout(TEST_TIME, look).await.unwrap_or_else(|_| {
            Err(Error::unavailable(format!(
                "the source of \"{name}\" does not answer within 30 seconds"
            )))
        })
    });
    let mut found = found.await?;
    for one in &mut found {
        (one.failure, one.error) = (said.of(one.failure.take()), said.of(one.error.take()));
    }
    items(&found)
}

/// How long a test of a connection may take.
const TEST_TIME: std::time::Duration = std::time::Duration::from_secs(30);

async fn test(State(app): State<Arc<App>>, place: Place) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.connections.contains_key(&name) {
        return Err(unknown("connection", &name, workspace.project.connections.keys()));
    }
    let watch = Instant::now();
    let found = app.with(move |workspace| async move { found_at(&workspace, &name).await });
    tested(watch, found.await)
}

/// Connects, and lists the streams that are found there.
pub(super) async fn found_at(workspace: &Workspace, name: &str) -> BaseResult<Vec<String>> {
    let (_, source) = workspace.source(name)?;
    let look = async {
        source.check().await?;
        source.discover().await
    };
    let found = tokio::time::timeout(TEST_TIME, look).await.unwrap_or_else(|_| {
        Err(Error::unavailable(format!(
            "the connection \"{name}\" does not answer within 30 seconds"
        )))
    })?;
    Ok(found.into_iter().map(|one| one.name).collect())
}

/// What a test of a connection found, as the API has it.
pub(super) fn tested(watch: Instant, found: BaseResult<Vec<String>>) -> Result<Response> {
    let elapsed_ms = watch.elapsed().as_secs_f64() * 1_000.0;
    json_of(&match found {
        Ok(streams) => json!({"ok": true, "elapsed_ms": elapsed_ms, "streams": streams}),
        Err(error) => {
            let problem = Problem::from(error);
            json!({"ok": false, "elapsed_ms": elapsed_ms, "code": problem.code, "detail": problem.detail, "hint": problem.hint})
        }
    })
}
