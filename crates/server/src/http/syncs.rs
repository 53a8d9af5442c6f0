//! Connections, syncs, and the rows that were set aside.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult};
use flywheel_project::resource::sync::LAKE;
use flywheel_runtime::Workspace;
use flywheel_runtime::status::Rows;
use flywheel_state::Task;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{declared, items, json_of, unknown};
use crate::app::App;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Place, counted};
use crate::problem::Result;
use crate::rows;

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get("/v1/syncs", view, "Lists syncs with their last run", syncs);
    routes.get("/v1/syncs/{sync}", view, "Shows a sync with its runs", sync);
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
}

/// How many runs are looked at for the tasks of syncs.
const RUNS_LOOKED_AT: u32 = 500;

/// Tasks are named after a sync and its stream.
fn is_of(task: &Task, sync: &str) -> bool {
    task.kind == "sync"
        && task
            .name
            .strip_prefix(sync)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ' ']))
}

fn shown(workspace: &Workspace, name: &str, tasks: &[Task], quarantined: i64) -> Option<Value> {
    let sync = workspace.project.syncs.get(name)?;
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
            "rows_rejected": sum(|task| task.outcome.rows_rejected), "error": failed.and_then(|task| task.outcome.error.clone()),
        })
    });
    let others: Vec<&String> =
        sync.destination.names().iter().filter(|name| *name != LAKE).collect();
    Some(json!({
        "name": name, "description": sync.description, "from": sync.connection, "to": others.first(),
        "destinations": sync.destination.names(), "file": sync.file, "streams": streams.collect::<Vec<_>>(), "last": last,
        "quarantined": quarantined,
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

async fn syncs(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.with(|workspace| async move {
        let counts = set_aside(&workspace).await?;
        let tasks = workspace.store.tasks(RUNS_LOOKED_AT)?;
        let names = workspace.project.syncs.keys();
        let of = |name: &String| {
            shown(&workspace, name, &tasks, counts.get(name).copied().unwrap_or_default())
        };
        Ok(names.filter_map(of).collect::<Vec<_>>())
    });
    items(&found.await?)
}

async fn sync(State(app): State<Arc<App>>, place: Place) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.syncs.contains_key(&name) {
        return Err(unknown("sync", &name, workspace.project.syncs.keys()));
    }
    let found = app.with(move |workspace| async move {
        let counts = set_aside(&workspace).await?;
        let tasks = workspace.store.tasks(RUNS_LOOKED_AT)?;
        let count = counts.get(&name).copied().unwrap_or_default();
        let mut answer = shown(&workspace, &name, &tasks, count).unwrap_or_default();
        let recent: Vec<Value> = tasks
            .iter()
            .rev()
            .filter(|task| is_of(task, &name))
            .map(super::runs::task)
            .take(100)
            .collect();
        if let (Value::Object(answer), Some(sync)) =
            (&mut answer, workspace.project.syncs.get(&name))
        {
            answer.insert("recent".to_owned(), json!(recent));
            answer.insert("declared".to_owned(), declared(&sync.value)?);
        }
        Ok(answer)
    });
    json_of(&found.await?)
}

/// Which rows.
#[derive(Debug, Deserialize)]
struct Which {
    sync: Option<String>,
    status: Option<String>,
    limit: Option<u32>,
}

async fn quarantine(State(app): State<Arc<App>>, Asked(which): Asked<Which>) -> Result<Response> {
    let found = app.with(move |workspace| async move {
        let status = which.status.as_deref().unwrap_or("open");
        let mut sql =
            format!("select * from system.quarantine where status = {}", rows::literal(status));
        if let Some(sync) = &which.sync {
            sql.push_str(&format!(" and sync = {}", rows::literal(sync)));
        }
        let limit = counted(which.limit);
        sql.push_str(&format!(" order by first_at desc, file, line limit {limit}"));
        rows::query(&workspace.session().await?, &sql, limit as usize).await
    });
    json_of(&found.await?)
}

async fn connections(State(app): State<Arc<App>>) -> Result<Response> {
    let workspace = app.workspace();
    let project = &workspace.project;
    let mut all = Vec::new();
    for (name, connection) in &project.connections {
        let reads =
            project.syncs.iter().filter(|(_, sync)| sync.connection == *name).map(|(name, _)| name);
        let writes = project
            .syncs
            .iter()
            .filter(|(_, sync)| sync.destination.names().contains(name))
            .map(|(name, _)| name);
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

/// How long a test of a connection may take.
const TEST_TIME: std::time::Duration = std::time::Duration::from_secs(30);

async fn test(State(app): State<Arc<App>>, place: Place) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.connections.contains_key(&name) {
        return Err(unknown("connection", &name, workspace.project.connections.keys()));
    }
    let watch = Instant::now();
    let found = app.with(move |workspace| async move {
        let (_, source) = workspace.source(&name)?;
        let look = async {
            source.check().await?;
            source.discover().await
        };
        let found = tokio::time::timeout(TEST_TIME, look).await;
        found.unwrap_or_else(|_| {
            Err(Error::unavailable(format!(
                "the connection \"{name}\" does not answer within 30 seconds"
            )))
        })
    });
    let elapsed_ms = |watch: Instant| watch.elapsed().as_secs_f64() * 1_000.0;
    json_of(&match found.await {
        Ok(streams) => {
            json!({"ok": true, "elapsed_ms": elapsed_ms(watch), "streams": streams.iter().map(|one| &one.name).collect::<Vec<_>>()})
        }
        Err(error) => {
            let problem = crate::problem::Problem::from(error);
            json!({"ok": false, "elapsed_ms": elapsed_ms(watch), "code": problem.code, "detail": problem.detail, "hint": problem.hint})
        }
    })
}
