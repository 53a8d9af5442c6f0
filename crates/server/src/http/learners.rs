//! Learners: their artifacts, and how good they were.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult};
use flywheel_decision::pin::Pinned;
use flywheel_project::{NodeId, NodeKind};
use flywheel_runtime::access::Reading;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::status::{LearnerStatus, learners as collect};
use flywheel_runtime::{Workspace, pin};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{declared, done, items, json_of, unknown};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Input, Place};
use crate::live::Live;
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
    let promotes = Access::Needs(Permission::Promote);
    routes.post::<Pinning, _, _>(
        "/v1/learners/{learner}/pin",
        promotes,
        "Serves one artifact of a learner until it is let go",
        hold,
    );
    routes.post::<Why, _, _>(
        "/v1/learners/{learner}/unpin",
        promotes,
        "Lets a pinned learner be fitted again",
        let_go,
    );
    routes.post::<Why, _, _>(
        "/v1/learners/{learner}/rollback",
        promotes,
        "Takes a learner back to the artifact before the one in use, and pins it",
        roll_back,
    );
}

/// Which artifact is served.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pinning {
    /// Its version or the beginning of its digest; the one in use if absent.
    #[serde(default)]
    artifact: Option<String>,
    /// Why, for the record.
    #[serde(default)]
    reason: Option<String>,
}

/// Why something is done.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Why {
    /// Why, for the record.
    #[serde(default)]
    reason: Option<String>,
}

/// The longest reason.
const REASON_MAX: usize = 1_000;

/// The name of a learner that there is.
fn known(app: &App, place: Place) -> Result<String> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.learners.contains_key(&name) {
        return Err(unknown("learner", &name, workspace.project.learners.keys()));
    }
    Ok(name)
}

fn reason(given: Option<String>, default: &str, caller: &Caller) -> Result<String> {
    let text = given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.chars().count() > REASON_MAX) {
        return Err(
            Error::invalid(format!("the reason is longer than {REASON_MAX} characters")).into()
        );
    }
    Ok(text.unwrap_or_else(|| format!("{default} by {}", caller.who())))
}

fn changed(app: &App) {
    app.tell(Live::new("changed", json!({"what": ["status", "learners", "policies"]})));
}

fn made(pinned: &Pinned) -> Value {
    json!({
        "learner": pinned.learner, "before": pinned.before.digest, "now": pinned.now.digest,
        "fitted_at": pinned.now.fitted_at.to_string(), "rows": pinned.rows,
    })
}

async fn hold(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Pinning>,
) -> Result<Response> {
    let (name, why) = (known(&app, place)?, reason(input.reason, "pinned", &caller)?);
    let pinned = app.with(move |workspace| async move {
        let pinned = pin::pin(&workspace, &name, input.artifact.as_deref(), &why).await?;
        Ok(made(&pinned))
    });
    let pinned = pinned.await?;
    changed(&app);
    json_of(&pinned)
}

async fn roll_back(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Why>,
) -> Result<Response> {
    let (name, why) = (known(&app, place)?, reason(input.reason, "taken back", &caller)?);
    let pinned = app.with(move |workspace| async move {
        Ok(made(&pin::roll_back(&workspace, &name, &why).await?))
    });
    let pinned = pinned.await?;
    changed(&app);
    json_of(&pinned)
}

async fn let_go(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Why>,
) -> Result<Response> {
    let (name, why) = (known(&app, place)?, reason(input.reason, "let go", &caller)?);
    let released =
        app.with(move |workspace| async move { pin::unpin(&workspace, &name, &why).await });
    released.await?;
    changed(&app);
    Ok(done())
}

/// Evaluations that are shown at most, the newest.
const EVALUATIONS_MAX: usize = 5_000;

/// Worsenings that are shown at most, the newest.
const DRIFTS_MAX: usize = 20;

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
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let mut all = collect(&workspace).await?;
        withhold(&mut all, reading.said(&workspace.project));
        if let Some(granted) = reading.granted(&workspace.project) {
            all.retain(|one| granted.shows_one(NodeKind::Learner, &one.learner));
        }
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
    let reading = caller.reading(&workspace.project);
    let said = reading.said(&workspace.project);
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
        let served = workspace.store.served_artifact(&name)?.map(|one| one.fitted_at);
        let held = workspace.store.pin(&name)?.filter(|pin| pin.held).map(|pin| pin.fitted_at);
        let artifacts = workspace.store.artifacts_of(&name, "")?;
        let artifacts = artifacts.iter().enumerate().map(|(place, artifact)| {
            json!({
                "digest": artifact.digest, "turn": artifact.turn, "kind": artifact.kind, "version": place + 1,
                "fitted_at": artifact.fitted_at.to_string(), "detail": artifact.detail,
                "champion": served == Some(artifact.fitted_at), "pinned": held == Some(artifact.fitted_at),
            })
        });
        let drifts = workspace.store.drifts()?;
        let drifts = drifts.iter().rev().filter(|one| one.learner == name).take(DRIFTS_MAX).map(|one| {
            json!({
                "at": one.at.to_string(), "measure": one.measure, "since": one.since.to_string(), "before": one.before,
                "after": one.after, "readings": one.values, "detector": one.detector, "answer": one.answer,
                "reason": one.reason,
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
            answer.insert("drifts".to_owned(), drifts.collect());
            answer.insert("evaluations".to_owned(), json!(evaluations));
            answer.insert("recent".to_owned(), json!(recent));
            let id = NodeId::new(NodeKind::Learner, name.as_str());
            let granted = reading.granted(&workspace.project);
            // What it reads is named in its text.
            if granted.is_none_or(|granted| granted.shows_inputs(&id)) {
                answer.insert("declared".to_owned(), declared(&learner.value)?);
            }
        }
        Ok(answer)
    });
    json_of(&found.await?)
}
