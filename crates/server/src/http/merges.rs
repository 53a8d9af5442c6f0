//! Systems that are made one: what was merged, what people decide, and taking it apart.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult, suggest};
use flywheel_project::NodeKind;
use flywheel_runtime::access::Reading;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::{Workspace, merge};
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
use crate::work::{MergeVerb, Task};

/// Runs that are shown with a merge.
const RUNS_SHOWN: u32 = 50;

pub(super) fn routes(routes: &mut Routes) {
    let (view, operate) = (Access::Needs(Permission::View), Access::Needs(Permission::Operate));
    routes.get("/v1/merges", view, "Lists merges of systems with their last run", list);
    routes.get("/v1/merges/{merge}", view, "Shows a merge with its newest runs", one);
    routes.get(
        "/v1/merges/{merge}/questions",
        Access::Needs(Permission::Query),
        "Shows the pairs that a person has to decide for a merge, with both records",
        questions,
    );
    routes.post::<Run, _, _>(
        "/v1/merges/{merge}/run",
        operate,
        "Asks for a merge to be run, or for what a run would do",
        run,
    );
    routes.post::<Decision, _, _>(
        "/v1/merges/{merge}/answer",
        operate,
        "Says of a pair whether it is the same; the next run does what it says",
        answer,
    );
    routes.post::<Apart, _, _>(
        "/v1/merges/{merge}/undo",
        operate,
        "Asks for merged records to be taken apart",
        undo,
    );
}

/// The merge of the path, if there is one.
fn known(app: &App, place: Place) -> Result<String> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.merges.contains_key(&name) {
        return Err(unknown("merge", &name, workspace.project.merges.keys()));
    }
    Ok(name)
}

/// A merge, as lists show it to whoever is told as much as `said`.
fn shown(workspace: &Workspace, name: &str, said: Said) -> BaseResult<Value> {
    let Some(located) = workspace.project.merges.get(name) else { return Ok(Value::Null) };
    let file = &located.value;
    let newest = |kind: &str| -> BaseResult<Option<Value>> {
        let tasks = workspace.store.tasks_named(kind, name, 1)?;
        Ok(tasks.first().map(|task| runs::task(task, said)))
    };
    let sources = file.sources.iter();
    let sources = sources.map(|source| json!({"name": source.name, "table": source.table}));
    Ok(json!({
        "name": name, "description": file.description, "file": located.file,
        "target": file.target, "key": file.key, "sources": sources.collect::<Vec<_>>(),
        "fields": file.fields.iter().map(|field| &field.name).collect::<Vec<_>>(),
        "children": file.children.iter().map(|child| &child.target).collect::<Vec<_>>(),
        "crosswalk": file.crosswalk(), "review": file.review(), "history": file.history(),
        "last": newest(merge::KIND)?, "plan": newest(merge::PLAN)?,
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
        let granted = reading.granted(project);
        let seen = |name: &&String| {
            granted.as_ref().is_none_or(|granted| granted.shows_one(NodeKind::Merge, name))
        };
        let names = project.merges.keys().filter(seen);
        names.map(|name| shown(&workspace, name, said)).collect::<BaseResult<Vec<_>>>()
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
        let mut answer = shown(&workspace, &name, said)?;
        let recent = workspace.store.tasks_named(merge::KIND, &name, RUNS_SHOWN)?;
        let recent: Vec<Value> = recent.iter().map(|task| runs::task(task, said)).collect();
        if let (Value::Object(answer), Some(located)) =
            (&mut answer, workspace.project.merges.get(&name))
        {
            answer.insert("recent".to_owned(), json!(recent));
            answer.insert("declared".to_owned(), declared(&located.value)?);
        }
        Ok(answer)
    });
    json_of(&found.await?)
}

/// Rows of the pairs that wait for a person, as far as the reader sees the tables they are made of; refused if they do not.
async fn open_pairs(
    workspace: &Workspace,
    name: &str,
    reading: &Reading,
    columns: &str,
    count: usize,
) -> BaseResult<rows::Table> {
    let table = merge::review_table(workspace, name)?;
    let sql = match merge::is_reviewed(workspace, name).await? {
        true => format!(
            "select {columns} from {table} where \"open\" order by score desc, pair_id limit {count}"
        ),
        // Before the first run there is nothing to see.
        false => "select 1 as pair_id where false".to_owned(),
    };
    rows::query(&workspace.session_for_us(&sql, reading).await?, &sql, count).await
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
        let columns =
            "pair_id, a_source, a_key, b_source, b_key, score, why, a, b, asked_at, answer";
        open_pairs(&workspace, &name, &reading, columns, count).await
    });
    let table = found.await?;
    let (sql, truncated) = (table.sql.clone(), table.truncated);
    json_of(&json!({"items": objects(table), "sql": sql, "truncated": truncated}))
}

/// Rows as objects; records are kept as JSON.
fn objects(table: rows::Table) -> Vec<Map<String, Value>> {
    let names: Vec<String> = table.columns.into_iter().map(|column| column.name).collect();
    let cell = |(name, value): (String, Value)| {
        let parsed = match (name.as_str(), &value) {
            ("a" | "b", Value::String(text)) => serde_json::from_str(text).ok(),
            _ => None,
        };
        (name, parsed.unwrap_or(value))
    };
    let row = |row: Vec<Value>| -> Map<String, Value> {
        names.iter().cloned().zip(row).map(cell).collect()
    };
    table.rows.into_iter().map(row).collect()
}

/// How a merge is run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Run {
    /// Only says what would be merged and asked.
    #[serde(default)]
    plan: bool,
}

async fn run(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Run>,
) -> Result<Response> {
    let name = known(&app, place)?;
    let verb = if input.plan { MergeVerb::Plan } else { MergeVerb::Run };
    runs::ask(&app, &caller, Task::Merge { name, verb, who: caller.who() })
}

/// What a person says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Decision {
    /// The pair.
    id: String,
    /// `same` or `different`.
    answer: String,
}

async fn answer(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Decision>,
) -> Result<Response> {
    let name = known(&app, place)?;
    let reading = caller.reading(&app.workspace().project);
    let (id, text, who) = (input.id, input.answer, caller.who());
    let shared = Arc::clone(&app);
    let found = app.with(move |workspace| async move {
        // Nobody decides about what they do not see.
        let most = rows::ANSWER_ROWS_MAX;
        let open = open_pairs(&workspace, &name, &reading, "pair_id", most).await?;
        let open: Vec<&str> =
            open.rows.iter().filter_map(|row| row.first().and_then(Value::as_str)).collect();
        if !open.contains(&id.as_str()) {
            return Err(Error::not_found(format!("merge \"{name}\" has no open pair \"{id}\""))
                .hint(suggest::hint(&id, open)));
        }
        Box::pin(merge::answer(&workspace, &name, &id, &text, &who)).await?;
        shared.tell(Live::new("changed", json!({"what": ["runs"]})));
        Ok(json!({"merge": name, "id": id, "answered": true}))
    });
    json_of(&found.await?)
}

/// What is taken apart.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Apart {
    /// The key of a merged record; or that of one of its rows, as `source:key`, which is then taken out of it.
    #[serde(default)]
    record: Option<String>,
    /// Takes every merged record apart.
    #[serde(default)]
    all: bool,
}

async fn undo(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Apart>,
) -> Result<Response> {
    let name = known(&app, place)?;
    if input.record.is_some() == input.all {
        return Err(Problem::invalid("a merge is taken apart by `record` or `all`")
            .hint("Say {\"record\": \"north:42\"}, or {\"all\": true}."));
    }
    let reading = caller.reading(&app.workspace().project);
    let asked = name.clone();
    let seen = app.with(move |workspace| async move {
        // Nobody takes apart what they do not see.
        open_pairs(&workspace, &asked, &reading, "pair_id", 1).await.map(|_| ())
    });
    seen.await?;
    let verb = MergeVerb::Undo(input.record);
    runs::ask(&app, &caller, Task::Merge { name, verb, who: caller.who() })
}
