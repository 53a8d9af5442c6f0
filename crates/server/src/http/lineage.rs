//! Where tables and columns come from, and what they lead to.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use flywheel_runtime::lineage::{Question, ask};
use flywheel_runtime::{Workspace, run};
use flywheel_transform::{Direction, Lineage, lineage as whole};
use serde::Deserialize;
use serde_json::{Value, json};

use super::assets::asset_name;
use super::json_of;
use crate::app::App;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Place};
use crate::problem::Result;

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get("/v1/lineage", view, "Shows the graph of the whole project", graph);
    routes.get("/v1/lineage/{table}", view, "Shows the graph around a table", table);
    routes.get("/v1/lineage/{table}/{column}", view, "Shows where a column comes from", column);
    let about = "Shows what a column or asset is made of and what is made of it: ?of=, &direction=, &depth=, &columns=";
    routes.get("/v1/column-lineage", view, about, columns);
}

/// What is asked about columns.
#[derive(Debug, Deserialize)]
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

#[derive(Clone, Copy, Debug, Deserialize)]
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
