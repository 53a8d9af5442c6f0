//! Where tables and columns come from, and what they lead to.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flywheel_base::{Error, ErrorKind};
use flywheel_project::NodeId;
use flywheel_runtime::access::Reading;
use flywheel_runtime::access::granted::Granted;
use flywheel_runtime::lineage::{Answer, Found, Question, ask};
use flywheel_runtime::{Workspace, openlineage, run};
use flywheel_transform::{Direction, Lineage, Mark, lineage as whole};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::assets::asset_name;
use super::json_of;
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{self, Asked, Place};
use crate::problem::{Problem, Result};

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get("/v1/lineage", view, "Shows the graph of the whole project", graph);
    routes.get("/v1/lineage/{table}", view, "Shows the graph around a table", table);
    routes.get("/v1/lineage/{table}/{column}", view, "Shows where a column comes from", column);
    let about = "Shows what a column or asset is made of and what is made of it: ?of=, &direction=, &depth=, &columns=";
    routes.get("/v1/column-lineage", view, about, columns);
    let ingest = Access::Needs(Permission::Ingest);
    let about = "Takes an event of OpenLineage, an array of them, or one a line; a part of the graph when it answers";
    routes.act("/v1/lineage", ingest, about, take);
    // Where clients of OpenLineage send unless they are told otherwise.
    routes.act("/api/v1/lineage", ingest, about, take);
}

/// Bytes of one request with events.
const EVENTS_BYTES_MAX: usize = 16 << 20;

/// Requests with events that may wait for each other.
const WAITING_MAX: usize = 64;

/// How long a client is asked to wait while too many do.
const BUSY_S: u64 = 1;

static WAITING: Semaphore = Semaphore::const_new(WAITING_MAX);

/// What events tell is compared with what is known, so they are taken one request after another.
static TAKING: Semaphore = Semaphore::const_new(1);

async fn take(State(app): State<Arc<App>>, body: Body) -> Result<Response> {
    let Ok(_waiting) = WAITING.try_acquire() else {
        let detail = format!("{WAITING_MAX} requests with events wait already");
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail)
            .hint("Send it again after a moment.");
        problem.retry_after_s = Some(BUSY_S);
        return Err(problem);
    };
    let bytes = input::read(body, EVENTS_BYTES_MAX).await?;
    let text = String::from_utf8(bytes.to_vec()).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        Problem::invalid(format!("the body is not UTF-8: byte {at} begins no character"))
    })?;
    if text.trim().is_empty() {
        return Err(Problem::invalid("the body is empty")
            .hint("Send an event of OpenLineage as JSON, such as a RunEvent."));
    }
    let _turn = TAKING.acquire().await.map_err(|_| crate::app::ended("taking events"))?;
    let taken = app
        .with(move |workspace| async move {
            Box::pin(openlineage::import(&workspace, &[("line".to_owned(), text)])).await
        })
        .await?;
    let mut response = json_of(&taken)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// What is asked about columns.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct About {
    /// What is asked for: `mart.orders.revenue`, `metric:revenue`, …
    of: String,
    /// One way; both if absent.
    #[serde(default)]
    direction: Option<Way>,
    /// How many steps are followed.
    #[serde(default)]
    depth: Option<usize>,
    /// Whether columns are shown where a whole asset is asked for.
    #[serde(default)]
    columns: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Way {
    Upstream,
    Downstream,
}

async fn columns(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(about): Asked<About>,
) -> Result<Response> {
    let directions = match about.direction {
        None => Vec::new(),
        Some(Way::Upstream) => vec![Direction::Upstream],
        Some(Way::Downstream) => vec![Direction::Downstream],
    };
    let About { of, depth, columns, .. } = about;
    let question = Question { of: of.clone(), directions, depth, columns };
    let reading = caller.reading(&app.workspace().project);
    let answer = app.with(move |workspace| async move {
        let answer = ask(&workspace, &question).await?;
        match reading.granted(&workspace.project) {
            None => Ok(answer),
            Some(granted) => narrowed(answer, &granted).ok_or_else(|| {
                Error::not_found(format!("no column and no asset is called \"{}\"", question.of))
            }),
        }
    });
    let answer = answer.await.map_err(|error| match closed_to(&app, &caller) {
        // What is not there and what is hidden are told in the same words.
        true if error.kind() == ErrorKind::NotFound => {
            Problem::not_found(format!("no column and no asset is called \"{of}\""))
        }
        _ => error.into(),
    })?;
    json_of(&answer)
}

fn closed_to(app: &App, caller: &Caller) -> bool {
    caller.is_closed_to(&app.workspace().project)
}

/// What of an answer is seen; none if what was asked for is not.
fn narrowed(mut answer: Answer, granted: &Granted<'_>) -> Option<Answer> {
    let seen = |found: &Found| granted.shows_word(found.key.kind.word(), &found.key.asset);
    if !answer.nodes.iter().filter(|found| found.steps == 0).all(seen) {
        return None;
    }
    let before = answer.nodes.len();
    answer.nodes.retain(seen);
    if answer.nodes.len() < before {
        let kept: BTreeSet<&str> = answer.nodes.iter().map(|found| found.id.as_str()).collect();
        answer
            .edges
            .retain(|edge| kept.contains(edge.from.as_str()) && kept.contains(edge.to.as_str()));
        // Texts name what they are made of.
        for found in &mut answer.nodes {
            found.expression = None;
            if let Some(Mark::Derived(of)) = &mut found.mark {
                "what is not for you".clone_into(of);
            }
        }
        answer.notes.clear();
    }
    Some(answer)
}

fn shown(workspace: &Workspace, lineage: &Lineage, reading: &Reading) -> Value {
    let granted = reading.granted(&workspace.project);
    let seen = |id: &NodeId| granted.as_ref().is_none_or(|granted| granted.shows_node(id));
    let id = |id: &NodeId| format!("{}:{}", id.kind.word(), id.name);
    let nodes = lineage.nodes.iter().filter(|node| seen(&node.id)).map(|node| {
        json!({
            "id": id(&node.id), "kind": node.id.kind.word(), "name": node.id.name, "table": node.table, "file": node.file,
            "asset": asset_name(workspace, &node.id), "materialized": node.materialized,
        })
    });
    let edges = lineage.edges.iter().filter(|edge| seen(&edge.from) && seen(&edge.to));
    let edges = edges.map(|edge| json!({"from": id(&edge.from), "to": id(&edge.to)}));
    json!({"nodes": nodes.collect::<Vec<_>>(), "edges": edges.collect::<Vec<_>>()})
}

async fn graph(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let found = app.blocking(move |app| {
        let workspace = app.workspace();
        let reading = caller.reading(&workspace.project);
        Ok(shown(&workspace, &whole(&workspace.project)?, &reading))
    });
    json_of(&found.await?)
}

async fn table(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let name = place.name();
    let found = app.blocking(move |app| {
        let workspace = app.workspace();
        let reading = caller.reading(&workspace.project);
        Ok(shown(&workspace, &run::table_lineage(&workspace, &name)?, &reading))
    });
    json_of(&found.await?)
}

async fn column(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (table, column) = (place.at(0).to_owned(), place.at(1).to_owned());
    let steps =
        app.with(
            move |workspace| async move { run::column_lineage(&workspace, &table, &column).await },
        );
    let mut steps = steps.await?;
    let workspace = app.workspace();
    if let Some(granted) = caller.reading(&workspace.project).granted(&workspace.project) {
        let before = steps.len();
        steps.retain(|step| granted.shows_word(step.kind.word(), &step.node));
        // Texts name what they are made of.
        let told = steps.len() == before;
        for step in &mut steps {
            step.upstream.retain(|origin| granted.shows_called(&origin.from.table));
            step.expression = step.expression.take().filter(|_| told);
            step.influences.clear();
        }
    }
    let shown = steps.iter().map(|step| {
        let upstream = step.upstream.iter().map(|origin| {
            json!({"from": {"table": origin.from.table, "column": origin.from.column}, "transform": origin.transform})
        });
        json!({
            "node": step.node, "kind": step.kind, "column": step.column, "transform": step.transform,
            "expression": step.expression, "upstream": upstream.collect::<Vec<_>>(), "influences": step.influences,
        })
    });
    json_of(&json!({"steps": shown.collect::<Vec<_>>()}))
}
