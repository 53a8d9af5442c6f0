//! Metrics: what there is, and questions about them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_project::Project;
use flywheel_runtime::Workspace;
use flywheel_runtime::metrics::described;
use flywheel_transform::{MetricQuery, compile_metrics};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{items, json_of};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::Input;
use crate::problem::Result;
use crate::rows;

pub(super) fn routes(routes: &mut Routes) {
    routes.get(
        "/v1/metrics",
        Access::Needs(Permission::View),
        "Lists metrics and what they can be grouped by",
        metrics,
    );
    routes.post::<Question, _, _>(
        "/v1/metrics/query",
        Access::Needs(Permission::Query),
        "Answers a question about metrics",
        query,
    );
}

async fn metrics(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let workspace = app.workspace();
    let narrowed = narrowed(&workspace, &caller);
    let project = narrowed.as_deref().unwrap_or(&workspace.project);
    let semantics = project.semantics();
    let mut all = Vec::new();
    for metric in semantics.metrics() {
        let mut one = json!(described(project, &semantics, metric)?);
        if let Value::Object(one) = &mut one {
            one.insert("name".to_owned(), json!(metric.name));
            one.insert("view".to_owned(), json!(metric.view.semantic));
        }
        all.push(one);
    }
    items(&all)
}

/// The project with what the caller sees of metrics; none if they see them all.
pub(super) fn narrowed(workspace: &Workspace, caller: &Caller) -> Option<Box<Project>> {
    let reading = caller.reading(&workspace.project);
    reading.granted(&workspace.project).map(|granted| Box::new(granted.measured()))
}

/// A question about metrics, in the words of `flywheel metric query`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Metrics: names, labels or synonyms.
    metrics: Vec<String>,
    /// Dimensions, times (`time:month`) or grains to group by.
    #[serde(default)]
    by: Vec<String>,
    /// A grain of the metrics' own time to group by as well.
    #[serde(default)]
    grain: Option<String>,
    /// Conditions on dimensions, all of which have to hold.
    #[serde(default, rename = "where")]
    filter: Vec<String>,
    /// A condition on columns of the answer.
    #[serde(default)]
    having: Option<String>,
    /// The first moment that counts.
    #[serde(default)]
    from: Option<String>,
    /// The first moment that no longer counts.
    #[serde(default)]
    to: Option<String>,
    /// The period that counts: `2024-Q1`.
    #[serde(default)]
    during: Option<String>,
    /// Adds what each metric was before: `previous`, `year` or a span.
    #[serde(default)]
    compare: Option<String>,
    /// Shows periods without rows, too.
    #[serde(default)]
    fill: bool,
    /// Columns to sort by; `-revenue` begins with the largest.
    #[serde(default)]
    order: Vec<String>,
    /// Rows at most; 1,000 if absent.
    #[serde(default)]
    limit: Option<u64>,
}

impl From<Question> for MetricQuery {
    fn from(question: Question) -> Self {
        let Question {
            metrics,
            mut by,
            grain,
            filter,
            having,
            from,
            to,
            during,
            compare,
            fill,
            order,
            limit,
        } = question;
        if let Some(grain) = grain {
            by.insert(0, format!("{}:{grain}", flywheel_project::metric::TIME));
        }
        let filter = (!filter.is_empty())
            .then(|| filter.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" and "));
        Self {
            metrics,
            by,
            filter,
            having,
            from,
            to,
            during,
            compare,
            fill,
            order,
            limit: Some(limit.unwrap_or(1_000)),
        }
    }
}

async fn query(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(question): Input<Question>,
) -> Result<Response> {
    let workspace = app.workspace();
    let narrowed = narrowed(&workspace, &caller);
    let project = narrowed.as_deref().unwrap_or(&workspace.project);
    let compiled = compile_metrics(project, &question.into())?;
    let (labels, sql, notes) = (compiled.labels(), compiled.sql, compiled.notes);
    let id: String = flywheel_base::entropy::token("q-")?.chars().take(14).collect();
    let reading = caller.reading(&app.workspace().project);
    let table = super::sql::limited(&app, &caller, &id, None, move |workspace| async move {
        rows::query(&workspace.session_for(&sql, &reading).await?, &sql, rows::ANSWER_ROWS_MAX)
            .await
    });
    let mut answer = json!(table.await?);
    if let Value::Object(answer) = &mut answer {
        answer.insert("notes".to_owned(), json!(notes));
        // Beside the rows, whose values stay those of the table.
        answer.insert("labels".to_owned(), json!(labels));
    }
    json_of(&answer)
}
