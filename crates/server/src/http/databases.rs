//! How databases do: those that connections lead to, and our own stores.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use flywheel_runtime::databases::{self, Database};
use serde_json::{Value, json};

use super::items;
use crate::app::App;
use crate::gate::{Access, Permission, Routes};
use crate::problem::Result;

pub(super) fn routes(routes: &mut Routes) {
    let operate = Access::Needs(Permission::Operate);
    routes.get(
        "/v1/databases",
        operate,
        "Shows how the databases of connections and our own stores were when they were asked last",
        known,
    );
    routes.act(
        "/v1/databases/check",
        operate,
        "Asks all databases how they do, and keeps what was found",
        check,
    );
}

async fn known(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.blocking(|app| databases::known(&app.workspace())).await?;
    items(&found.iter().map(shown).collect::<Vec<_>>())
}

async fn check(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.with(|workspace| async move { databases::check(&workspace).await }).await?;
    items(&found.iter().map(shown).collect::<Vec<_>>())
}

fn shown(one: &Database) -> Value {
    let error = one.error.as_ref().map(
        |error| json!({"kind": error.kind, "text": error.text, "hint": error.hint, "at": error.at}),
    );
    json!({
        "own": one.own, "name": one.name, "kind": one.kind, "reachable": one.reachable, "error": error,
        "took_ms": one.took_ms, "checked_at": one.checked_at.map(|at| at.to_string()), "health": one.health, "tables": one.tables,
        "files": one.files, "free_bytes": one.free_bytes,
    })
}
