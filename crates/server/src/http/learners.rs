//! Learners: their artifacts, and how good they were.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::Result as BaseResult;
use flywheel_runtime::Workspace;
use flywheel_runtime::access::Reading;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::status::{LearnerStatus, learners as collect};
use serde_json::{Value, json};

use super::{declared, items, json_of, unknown};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::Place;
use crate::problem::Result;
use crate::rows;

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get("/v1/learners", view, "Lists learners with their newest measures", learners);
    routes.get(
        "/v1/learners/{learner}",
        view,
        "Shows a learner with its artifacts and evaluations",
        learner,
    );
}

/// Evaluations that are shown at most, the newest.
const EVALUATIONS_MAX: usize = 5_000;

fn shown(workspace: &Workspace, status: &LearnerStatus) -> BaseResult<Value> {
    let mut answer = declared(status)?;
    if let (Value::Object(answer), Some(learner)) =
        (&mut answer, workspace.project.learners.get(&status.learner))
    {
        answer.insert("name".to_owned(), json!(status.learner));
        answer.insert("kind".to_owned(), json!(learner.kind()?.name()));
        answer.insert("file".to_owned(), json!(learner.file));
        answer.insert("description".to_owned(), json!(learner.description));
    }
    Ok(answer)
}

/// Leaves as much as `said` tells of why learners could not be fitted.
pub(super) fn withhold(learners: &mut [LearnerStatus], said: Said) {
    for one in learners {
        one.failed = said.of(one.failed.take());
    }
}

async fn learners(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let said = caller.said(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let mut all = collect(&workspace).await?;
        withhold(&mut all, said);
        all.iter().map(|one| shown(&workspace, one)).collect::<BaseResult<Vec<_>>>()
    });
    items(&found.await?)
}

async fn learner(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (name, workspace) = (place.name(), app.workspace());
    let said = caller.said(&workspace.project);
    if !workspace.project.learners.contains_key(&name) {
        return Err(unknown("learner", &name, workspace.project.learners.keys()));
    }
    let found = app.with(move |workspace| async move {
        let mut all = collect(&workspace).await?;
        withhold(&mut all, said);
        let mut answer = match all.iter().find(|one| one.learner == name) {
            Some(one) => shown(&workspace, one)?,
            None => json!({}),
        };
        let artifacts = workspace.store.artifacts()?;
        let artifacts = artifacts.iter().filter(|artifact| artifact.learner == name).map(|artifact| {
            json!({
                "digest": artifact.digest, "turn": artifact.turn, "kind": artifact.kind,
                "fitted_at": artifact.fitted_at.to_string(), "detail": artifact.detail,
            })
        });
        let sql = format!(
            "select turn, at, against, measure, value, baseline, count from system.evaluations where learner = {}
             order by at desc limit {EVALUATIONS_MAX}",
            rows::literal(&name)
        );
        let evaluations = rows::query(&workspace.session_for(&sql, &Reading::Owner).await?, &sql, EVALUATIONS_MAX).await?;
        let names: Vec<String> = evaluations.columns.iter().map(|column| column.name.clone()).collect();
        let mut evaluations: Vec<Value> = evaluations
            .rows
            .into_iter()
            .map(|row| Value::Object(names.iter().cloned().zip(row).collect()))
            .collect();
        evaluations.reverse();
        let recent = workspace.store.tasks_named("learn", &name, 50)?;
        let recent: Vec<Value> = recent.iter().map(|task| super::runs::task(task, said)).collect();
        if let (Value::Object(answer), Some(learner)) = (&mut answer, workspace.project.learners.get(&name)) {
            answer.insert("artifacts".to_owned(), artifacts.collect());
            answer.insert("evaluations".to_owned(), json!(evaluations));
            answer.insert("recent".to_owned(), json!(recent));
            answer.insert("declared".to_owned(), declared(&learner.value)?);
        }
        Ok(answer)
    });
    json_of(&found.await?)
}
