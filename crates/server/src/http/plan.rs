//! What a build would change and for whom, environments, and moving readers from one to another.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult, suggest};
use flywheel_runtime::access::Reading;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::{BuildOptions, Changes, Workspace, environment, plan};
use flywheel_state::PRODUCTION;
use flywheel_transform::ModelChange;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::sql::limited;
use super::{items, json_of, runs};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Input, Place};
use crate::problem::{Problem, Result};
use crate::work::{Task, in_environment};

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    let promote = Access::Needs(Permission::Promote);
    routes.get(
        "/v1/plan",
        view,
        "Shows what a build would change, why, and whom it touches",
        planned,
    );
    routes.get(
        "/v1/plan/differences",
        Access::Needs(Permission::Query),
        "Compares the rows a model would have with those of production",
        differences,
    );
    routes.post::<Apply, _, _>(
        "/v1/plan/apply",
        Access::Needs(Permission::Operate),
        "Asks for what a plan showed to be built, if nothing moved since",
        apply,
    );
    routes.get(
        "/v1/environments",
        view,
        "Lists environments and how many models of production promoting each would change",
        environments,
    );
    routes.post::<Promote, _, _>(
        "/v1/environments/{environment}/promote",
        promote,
        "Asks for readers of production to see what an environment has",
        promoted,
    );
    routes.act(
        "/v1/environments/{environment}/rollback",
        promote,
        "Asks for the newest promotion to an environment to be taken back",
        rolled_back,
    );
}

/// How long rows are compared for one answer, in milliseconds.
const DIFFERENCES_MS: u64 = 60_000;
/// Rows of each kind of difference, unless something else is asked for.
const SAMPLES: usize = 10;
/// The longest digest of a plan that is looked for.
const DIGEST_MAX: usize = 64;

/// Which plan.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// The environment; `prod` if absent.
    environment: Option<String>,
}

async fn planned(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(which): Asked<Which>,
) -> Result<Response> {
    let said = caller.said(&app.workspace().project);
    // A query holds what its template was told by the database: values of rows.
    let queries = caller.may(Permission::Query) && said == Said::Whole;
    let name = which.environment.unwrap_or_else(|| PRODUCTION.to_owned());
    let found = app.with(move |workspace| async move {
        let own = in_environment(&workspace, &name)?;
        let changes = Box::pin(plan::plan(&own, BuildOptions::default())).await;
        let changes = changes.map_err(|error| said.error(error, "the plan"))?;
        Ok(shown(&changes, said, queries))
    });
    json_of(&found.await?)
}

fn shown(changes: &Changes, said: Said, queries: bool) -> Value {
    let models = changes.models.iter().map(|model| changed(model, said, queries));
    let models: Vec<Value> = models.collect();
    let dependents = changes.dependents.iter().map(|touched| {
        json!({
            "kind": touched.node.kind.word(), "name": touched.node.name, "file": touched.file, "reads": touched.reads,
            "columns": touched.columns, "breaks": said.of(touched.breaks.clone()),
        })
    });
    json!({
        "environment": changes.environment, "digest": changes.digest, "unchanged": changes.unchanged,
        "models": models, "dependents": dependents.collect::<Vec<_>>(),
        "breaks": !changes.breaks().is_empty(),
        "tasks": changes.models.iter().filter(|model| model.selected).count(),
        "queries_withheld": !queries,
    })
}

fn changed(model: &ModelChange, said: Said, queries: bool) -> Value {
    let query = |sql: &Option<String>| sql.clone().filter(|_| queries);
    json!({
        "name": model.name, "file": model.file, "change": model.change, "impact": model.impact,
        "selected": model.selected, "columns_added": model.columns_added,
        "columns_removed": model.columns_removed, "columns_changed": model.columns_changed,
        "rows_changed": model.rows_changed, "through": model.through,
        "error": said.of(model.error.clone()), "sql_before": query(&model.sql_before),
        "sql_after": query(&model.sql_after),
    })
}

/// Which rows are compared.
#[derive(Debug, Deserialize, JsonSchema)]
struct Compared {
    /// The model, `schema.name`.
    model: String,
    /// The environment; `prod` if absent.
    environment: Option<String>,
    /// Rows of each kind of difference at most; 10 if absent, 50 at most.
    samples: Option<usize>,
}

async fn differences(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(asked): Asked<Compared>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let said = caller.said(&app.workspace().project);
    let name = asked.environment.unwrap_or_else(|| PRODUCTION.to_owned());
    let (model, samples) = (asked.model, asked.samples.unwrap_or(SAMPLES));
    let id = format!("plan {model}");
    // It is a query of a person like any other, and takes its turn among them.
    let found = limited(&app, &caller, &id, Some(DIFFERENCES_MS), move |workspace| async move {
        let own = in_environment(&workspace, &name)?;
        let done = Box::pin(compare(&own, &reading, &model, samples)).await;
        done.map_err(|error| said.error(error, "comparing rows"))
    });
    json_of(&Box::pin(found).await?)
}

/// How the rows of a model would differ, or why that is not told, as the API shows it.
async fn compare(
    own: &Workspace,
    reading: &Reading,
    model: &str,
    samples: usize,
) -> BaseResult<Value> {
    let options = BuildOptions::default();
    let changes = Box::pin(plan::plan(own, options)).await?;
    let known = own.project.models.values().any(|one| one.relation() == model)
        || changes.models.iter().any(|one| one.name == model);
    if !known {
        return Err(Error::not_found(format!("no model \"{model}\""))
            .hint("GET /v1/plan lists what a build would change."));
    }
    if Box::pin(plan::hides(own, &changes, reading, model)).await? {
        return Ok(json!({"model": model, "digest": changes.digest, "withheld": WITHHELD}));
    }
    let diff = Box::pin(plan::diff_of(own, &changes, options, model, samples)).await?;
    Ok(json!({"model": model, "digest": changes.digest, "diff": diff}))
}

/// Why nothing is told of how rows differ.
const WITHHELD: &str = "Rules hide rows or values of this model, or of what it reads, from you: neither counts nor rows \
                        of the comparison are shown. Ask somebody who sees all of it.";

/// A plan that is applied.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Apply {
    /// The digest of the plan, as it was shown.
    plan: String,
    /// Its environment; `prod` if absent.
    #[serde(default)]
    environment: Option<String>,
}

async fn apply(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Apply>,
) -> Result<Response> {
    let digest = input.plan;
    let fits = digest.len() <= DIGEST_MAX && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digest.is_empty() || !fits {
        return Err(Problem::invalid("this is no digest of a plan")
            .hint("GET /v1/plan gives the plan and its digest."));
    }
    let environment = input.environment.unwrap_or_else(|| PRODUCTION.to_owned());
    check(&app, vec![environment.clone()]).await?;
    runs::ask(&app, &caller, Task::Apply { plan: digest, environment })
}

/// Refuses environments that are not there.
async fn check(app: &Arc<App>, names: Vec<String>) -> Result<()> {
    let looked = app.blocking(move |app| {
        let workspace = app.workspace();
        let all = workspace.store.environments()?;
        for name in names {
            if !all.iter().any(|one| one.name == name) {
                let known = all.iter().map(|one| one.name.as_str());
                return Err(Error::not_found(format!("no environment \"{name}\""))
                    .hint(suggest::hint(&name, known)));
            }
        }
        Ok(())
    });
    Ok(looked.await?)
}

async fn environments(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.with(move |workspace| async move {
        let listed = environment::list(&workspace)?;
        Ok(listed
            .into_iter()
            .map(|one| {
                json!({
                    "name": one.environment.name, "made_from": one.environment.made_from,
                    "created_at": one.environment.created_at.map(|at| at.to_string()),
                    "models": one.environment.models, "differing": one.differing,
                })
            })
            .collect::<Vec<_>>())
    });
    items(&found.await?)
}

/// Whose readers are moved.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Promote {
    /// The environment whose readers get the models; `prod` if absent.
    #[serde(default)]
    to: Option<String>,
}

async fn promoted(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Promote>,
) -> Result<Response> {
    let (from, to) = (place.name(), input.to.unwrap_or_else(|| PRODUCTION.to_owned()));
    if from == to {
        return Err(Problem::invalid(format!("\"{from}\" cannot be promoted to itself"))
            .hint("Name the environment that has what readers shall see."));
    }
    check(&app, vec![from.clone(), to.clone()]).await?;
    runs::ask(&app, &caller, Task::Promote { from, to })
}

async fn rolled_back(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let environment = place.name();
    check(&app, vec![environment.clone()]).await?;
    runs::ask(&app, &caller, Task::RollBack { environment })
}
