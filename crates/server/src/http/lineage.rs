//! Where tables and columns come from, and what they lead to.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flywheel_runtime::lineage::{Question, ask};
use flywheel_runtime::{Workspace, openlineage, run};
use flywheel_transform::{Direction, Lineage, lineage as whole};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::assets::asset_name;
use super::json_of;
use crate::app::App;
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

async fn columns(State(app): State<Arc<App>>, Asked(about): Asked<About>) -> Result<Response> {
    let directions = match about.direction {
        None => Vec::new(),
        Some(Way::Upstream) => vec![Direction::Upstream],
        Some(Way::Downstream) => vec![Direction::Downstream],
    };
    let About { of, depth, columns, .. } = about;
    let question = Question { of, directions, depth, columns };
    let answer = app.with(move |workspace| async move { ask(&workspace, &question).await }).await?;
    json_of(&answer)
}

fn shown(workspace: &Workspace, lineage: &Lineage) -> Value {
    let id = |id: &flywheel_project::graph::NodeId| format!("{}:{}", id.kind.word(), id.name);
    let nodes = lineage.nodes.iter().map(|node| {
        json!({
            "id": id(&node.id), "kind": node.id.kind.word(), "name": node.id.name, "table": node.table, "file": node.file,
            "asset": asset_name(workspace, &node.id), "materialized": node.materialized,
        })
    });
    let edges =
        lineage.edges.iter().map(|edge| json!({"from": id(&edge.from), "to": id(&edge.to)}));
    json!({"nodes": nodes.collect::<Vec<_>>(), "edges": edges.collect::<Vec<_>>()})
}

async fn graph(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.blocking(|app| {
        let workspace = app.workspace();
        Ok(shown(&workspace, &whole(&workspace.project)?))
    });
    json_of(&found.await?)
}

async fn table(State(app): State<Arc<App>>, place: Place) -> Result<Response> {
    let name = place.name();
    let found = app.blocking(move |app| {
        let workspace = app.workspace();
        Ok(shown(&workspace, &run::table_lineage(&workspace, &name)?))
    });
    json_of(&found.await?)
}

async fn column(State(app): State<Arc<App>>, place: Place) -> Result<Response> {
    let (table, column) = (place.at(0).to_owned(), place.at(1).to_owned());
    let steps =
        app.with(
            move |workspace| async move { run::column_lineage(&workspace, &table, &column).await },
        );
    let steps = steps.await?;
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
