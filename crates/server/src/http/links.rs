//! Records that two systems hold: what keeps them alike, what it did, and what people decide.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult, suggest};
use flywheel_project::NodeKind;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::{Workspace, link};
use flywheel_state::LinkQuestion;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{declared, items, json_of, runs, unknown};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Input, Limit, Place};
use crate::live::Live;
use crate::problem::{Problem, Result};
use crate::rows;
use crate::work::Task;

/// Runs that are shown with a link.
const RUNS_SHOWN: u32 = 50;

pub(super) fn routes(routes: &mut Routes) {
    let (view, operate) = (Access::Needs(Permission::View), Access::Needs(Permission::Operate));
    routes.get("/v1/links", view, "Lists links between two systems with their last run", list);
    routes.get("/v1/links/{link}", view, "Shows a link with its newest runs", one);
    routes.get(
        "/v1/links/{link}/questions",
        Access::Needs(Permission::Query),
        "Shows what a person has to decide for a link, with the values of both sides",
        questions,
    );
    routes.post::<Run, _, _>(
        "/v1/links/{link}/run",
        operate,
        "Asks for a link to be run, or for what a run would do",
        run,
    );
    routes.post::<Decision, _, _>(
        "/v1/links/{link}/answer",
        operate,
        "Decides a question of a link; the next run does what it says",
        answer,
    );
}

/// The link of the path, if there is one.
fn known(app: &App, place: Place) -> Result<String> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.links.contains_key(&name) {
        return Err(unknown("link", &name, workspace.project.links.keys()));
    }
    Ok(name)
}

/// A link, as lists show it to whoever is told as much as `said`.
fn shown(
    workspace: &Workspace,
    name: &str,
    asked: &[LinkQuestion],
    said: Said,
) -> BaseResult<Value> {
    let Some(located) = workspace.project.links.get(name) else { return Ok(Value::Null) };
    let file = &located.value;
    let open = asked.iter().filter(|question| question.link == name && question.open);
    let open: Vec<&LinkQuestion> = open.collect();
    let answered = open.iter().filter(|question| question.answer.is_some()).count();
    let newest = |kind: &str| -> BaseResult<Option<Value>> {
        let tasks = workspace.store.tasks_named(kind, name, 1)?;
        Ok(tasks.first().map(|task| runs::task(task, said)))
    };
    Ok(json!({
        "name": name, "description": file.description, "file": located.file,
        "left": file.left.connection, "right": file.right.connection,
        "fields": file.fields.iter().map(|field| &field.name).collect::<Vec<_>>(),
        "questions": open.len() - answered, "answered": answered,
        "last": newest(link::KIND)?, "plan": newest(link::PLAN)?,
    }))
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.blocking(move |app| {
        let workspace = app.workspace();
        let (project, said) = (&workspace.project, reading.said(&workspace.project));
        let asked = workspace.store.link_questions(None)?;
        let granted = reading.granted(project);
        let seen = |name: &&String| {
            granted.as_ref().is_none_or(|granted| granted.shows_one(NodeKind::Link, name))
        };
        let names = project.links.keys().filter(seen);
        names.map(|name| shown(&workspace, name, &asked, said)).collect::<BaseResult<Vec<_>>>()
    });
    items(&found.await?)
}

async fn one(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let name = known(&app, place)?;
    let said = caller.said(&app.workspace().project);
    let found = app.blocking(move |app| {
        let workspace = app.workspace();
        let asked = workspace.store.link_questions(Some(&name))?;
        let mut answer = shown(&workspace, &name, &asked, said)?;
        let recent = workspace.store.tasks_named(link::KIND, &name, RUNS_SHOWN)?;
        let recent: Vec<Value> = recent.iter().map(|task| runs::task(task, said)).collect();
        if let (Value::Object(answer), Some(located)) =
            (&mut answer, workspace.project.links.get(&name))
        {
            answer.insert("recent".to_owned(), json!(recent));
            answer.insert("declared".to_owned(), declared(&located.value)?);
        }
        Ok(answer)
    });
    json_of(&found.await?)
}

async fn questions(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Asked(limit): Asked<Limit>,
) -> Result<Response> {
    let name = known(&app, place)?;
    let reading = caller.reading(&app.workspace().project);
    let count = limit.count() as usize;
    let found = app.with(move |workspace| async move {
        let sql = format!(
            "select id, kind, record, detail, asked_at, answer from system.link_questions \
             where open and link = {} order by answer is not null, asked_at, id limit {count}",
            rows::literal(&name)
        );
        rows::query(&workspace.session_for_us(&sql, &reading).await?, &sql, count).await
    });
    let table = found.await?;
    let (sql, truncated) = (table.sql.clone(), table.truncated);
    json_of(&json!({"items": objects(table), "sql": sql, "truncated": truncated}))
}

/// Rows as objects; what a question is about and what was answered are kept as JSON.
fn objects(table: rows::Table) -> Vec<Map<String, Value>> {
    let names: Vec<String> = table.columns.into_iter().map(|column| column.name).collect();
    let cell = |(name, value): (String, Value)| {
        let parsed = match (name.as_str(), &value) {
            ("detail" | "answer", Value::String(text)) => serde_json::from_str(text).ok(),
            _ => None,
        };
        (name, parsed.unwrap_or(value))
    };
    let row = |row: Vec<Value>| -> Map<String, Value> {
        names.iter().cloned().zip(row).map(cell).collect()
    };
    table.rows.into_iter().map(row).collect()
}

/// How a link is run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Run {
    /// Only says what would be created, changed, deleted and asked.
    #[serde(default)]
    plan: bool,
    /// The token that a plan shows, for a run that changes or deletes more than the limits allow.
    #[serde(default)]
    approve: Option<String>,
}

async fn run(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Run>,
) -> Result<Response> {
    let name = known(&app, place)?;
    if input.plan && input.approve.is_some() {
        return Err(Problem::invalid("a plan writes nothing, so there is nothing to approve")
            .hint("Leave out `plan` or `approve`."));
    }
    runs::ask(&app, &caller, Task::Link { name, plan: input.plan, approve: input.approve })
}

/// What a person says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Decision {
    /// The question.
    id: String,
    /// For a conflict `left`, `right` or `base`; for a match `same` or `different`; for a deletion `delete` or `keep`.
    #[serde(default)]
    answer: Option<String>,
    /// The value that both sides get, of a conflict.
    #[serde(default)]
    value: Option<Value>,
}

async fn answer(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Decision>,
) -> Result<Response> {
    let name = known(&app, place)?;
    let text = match (input.answer, input.value) {
        (Some(answer), None) => answer,
        // As JSON, so that a value which is the word of an answer stays a value.
        (None, Some(value)) => value.to_string(),
        _ => {
            return Err(Problem::invalid("a question is answered with `answer` or `value`")
                .hint("Say {\"id\": …, \"answer\": \"left\"}, or give a conflict a `value`."));
        }
    };
    let reading = caller.reading(&app.workspace().project);
    let id = input.id;
    let shared = Arc::clone(&app);
    let found = app.with(move |workspace| async move {
        // Nobody decides about what they do not see.
        let sql = format!(
            "select id from system.link_questions where open and link = {}",
            rows::literal(&name)
        );
        let session = workspace.session_for(&sql, &reading).await?;
        let open = rows::query(&session, &sql, rows::ANSWER_ROWS_MAX).await?;
        let open: Vec<&str> =
            open.rows.iter().filter_map(|row| row.first().and_then(Value::as_str)).collect();
        if !open.contains(&id.as_str()) {
            return Err(Error::not_found(format!("link \"{name}\" has no open question \"{id}\""))
                .hint(suggest::hint(&id, open)));
        }
        link::answer(&workspace, &name, &id, &text)?;
        shared.tell(Live::new("changed", json!({"what": ["runs"]})));
        Ok(json!({"link": name, "id": id, "answered": true}))
    });
    json_of(&found.await?)
}
