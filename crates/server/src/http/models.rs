//! SQL models.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Result as BaseResult, suggest};
use flywheel_project::graph::{NodeId, NodeKind};
use flywheel_project::model::Model;
use flywheel_runtime::Workspace;
use flywheel_runtime::access::Limits;
use flywheel_state::Task;
use flywheel_transform::{lineage, model_columns};
use serde_json::{Value, json};

use super::assets::{asset_name, last_outcome, newest_builds};
use super::{items, json_of};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::Place;
use crate::problem::{Problem, Result};
use crate::rows;

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get("/v1/models", view, "Lists models with what became of them", models);
    routes.get(
        "/v1/models/{model}",
        view,
        "Shows a model with its SQL, columns and neighbours",
        model,
    );
}

async fn shown(
    workspace: &Workspace,
    model: &Model,
    blocked: &[String],
    builds: &[Task],
    limits: &Limits,
) -> BaseResult<Value> {
    let name = model.relation();
    let build = workspace.store.build(&name)?;
    let rows = match build.as_ref().and_then(|build| build.location.clone().zip(build.version)) {
        Some((location, version)) => match flywheel_warehouse::Location::new(location) {
            Ok(location) => workspace.lake.state_at(&location, version).await?.rows,
            Err(_) => None,
        },
        None => None,
    };
    let rows = rows.filter(|_| !limits.uncounted.contains(&name));
    let status = match &build {
        _ if blocked.contains(&name) => "blocked",
        Some(_) => "published",
        None => "never built",
    };
    let declared = model.tests.len() + model.unit_tests.len();
    let ended = |status: &str| {
        let said = model.tests.iter().filter_map(|test| last_outcome(builds, &test.name));
        said.filter(|(outcome, _)| outcome.get("status").and_then(Value::as_str) == Some(status))
            .count()
    };
    let tests = json!({"declared": declared, "passed": ended("passed"), "failed": ended("failed")});
    Ok(json!({
        "name": name, "model": model.name, "file": model.path, "materialized": model.config.materialized,
        "description": model.description, "tags": model.config.tags, "status": status, "enabled": model.config.enabled,
        "built_at": build.as_ref().map(|build| build.built_at.to_string()), "tests": tests, "rows": rows,
    }))
}

async fn models(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let limits = reading.limits_now(&workspace).await?;
        let blocked = flywheel_runtime::status::blocked(&workspace)?;
        let builds = newest_builds(&workspace)?;
        let mut all = Vec::new();
        let granted = reading.granted(&workspace.project);
        let seen = |model: &&Model| {
            let id = NodeId::new(NodeKind::Model, model.name.clone());
            granted.as_ref().is_none_or(|granted| granted.shows_node(&id))
        };
        for model in workspace.project.models.values().filter(seen) {
            all.push(shown(&workspace, model, &blocked, &builds, &limits).await?);
        }
        Ok(all)
    });
    items(&found.await?)
}

async fn model(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (name, reading) = (place.name(), caller.reading(&app.workspace().project));
    let workspace = app.workspace();
    let models = &workspace.project.models;
    let found = models.values().find(|model| model.relation() == name || model.name == name);
    let Some(found) = found.cloned() else {
        let known: Vec<String> = models.values().map(Model::relation).collect();
        return Err(Problem::not_found(format!("no model \"{name}\""))
            .hint(suggest::hint(&name, known.iter().map(String::as_str))));
    };
    let answer = app.with(move |workspace| async move {
        let blocked = flywheel_runtime::status::blocked(&workspace)?;
        let builds = newest_builds(&workspace)?;
        let limits = reading.limits_now(&workspace).await?;
        let mut answer = shown(&workspace, &found, &blocked, &builds, &limits).await?;
        let id = NodeId::new(NodeKind::Model, found.name.clone());
        let graph = &workspace.project.graph;
        let compiled = lineage(&workspace.project)?
            .nodes
            .into_iter()
            .find(|node| node.id == id)
            .and_then(|node| node.sql);
        let world = flywheel_transform::World {
            project: &workspace.project,
            lake: &workspace.lake,
            store: &workspace.store,
            now: workspace.now(),
        };
        // A model that does not fit its inputs has no columns yet; its last build says why.
        let origins = model_columns(world, &found.relation()).await.ok();
        let names = |id: &NodeId| asset_name(&workspace, id);
        let granted = reading.granted(&workspace.project);
        let seen = |id: &&NodeId| granted.as_ref().is_none_or(|granted| granted.shows_node(id));
        // What it is made of is named in its text and by its columns.
        let told = granted.as_ref().is_none_or(|granted| granted.shows_inputs(&id));
        let (compiled, origins) = (compiled.filter(|_| told), origins.filter(|_| told));
        if let Value::Object(answer) = &mut answer {
            answer.insert("sql".to_owned(), json!(told.then_some(&found.sql_template)));
            answer.insert("compiled".to_owned(), json!(compiled));
            answer.insert(
                "upstream".to_owned(),
                json!(graph.upstream(&id).filter(seen).map(names).collect::<Vec<_>>()),
            );
            answer.insert(
                "downstream".to_owned(),
                json!(graph.downstream(&id).filter(seen).map(names).collect::<Vec<_>>()),
            );
            answer.insert(
                "columns".to_owned(),
                json!(origins.map(|origins| origins.columns).unwrap_or_default()),
            );
            answer.insert(
                "unit_tests".to_owned(),
                json!(found.unit_tests.iter().map(|test| &test.name).collect::<Vec<_>>()),
            );
            answer.insert("asset".to_owned(), json!(rows::quoted(&found.relation())));
        }
        Ok(answer)
    });
    json_of(&answer.await?)
}
