//! Rows that were set aside, mended by hand: opened, tried with other values, landed, or given up for a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, ErrorKind};
use flywheel_runtime::access::Reading;
use flywheel_runtime::quarantine::mend::{self, Edit, reasoned, where_named};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::runs::ask;
use super::{items, json_of};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Noted, Permission, Routes, refused};
use crate::input::{Input, Place};
use crate::problem::{Problem, Result};
use crate::rows;
use crate::work::Task;

pub(super) fn routes(routes: &mut Routes) {
    let operate = Access::Needs(Permission::Operate);
    routes.get(
        "/v1/quarantine/{row}",
        Access::Needs(Permission::Query),
        "Shows a row that was set aside, by its columns",
        aside,
    );
    routes.post::<Mend, _, _>(
        "/v1/quarantine/try",
        operate,
        "Says what would land of rows that were set aside with other values, or why they still do not fit",
        attempt,
    );
    routes.post::<Mend, _, _>(
        "/v1/quarantine/mend",
        operate,
        "Asks for rows that were set aside to land with other values",
        land,
    );
    routes.post::<Dismiss, _, _>(
        "/v1/quarantine/dismiss",
        operate,
        "Asks for single rows that were set aside to be given up, for a reason",
        dismiss,
    );
}

/// Rows that are named in the audit log.
const NOTED_MAX: usize = 50;

/// Rows that were set aside, and values for their columns.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mend {
    /// The rows by their `quarantine_id`, 1 000 at most; of one stream, and of one kind of mistake if there are several.
    rows: Vec<String>,
    /// Values by the names of columns, null for no value. Columns that are not named keep what they have.
    #[serde(default)]
    set: BTreeMap<String, Option<String>>,
    /// Whether they take the place of newer rows of their keys; otherwise those stay, and so do the rows.
    #[serde(default)]
    force: bool,
}

/// Rows that are given up.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Dismiss {
    /// The rows by their `quarantine_id`, 1 000 at most.
    rows: Vec<String>,
    /// Why, for the record.
    reason: String,
}

/// The syncs and topics of rows, if the caller sees all of them; what they do not see is not there.
async fn seen(app: &Arc<App>, caller: &Caller, ids: &[String]) -> Result<BTreeSet<String>> {
    // What was set aside are rows of data.
    if !caller.may(Permission::Query) {
        return Err(refused(caller, Permission::Query));
    }
    let condition = where_named(ids)?;
    let wanted: BTreeSet<String> = ids.iter().cloned().collect();
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let sql = format!(
            "select quarantine_id, coalesce(nullif(sync, ''), stream) as name, raw, reason from system.quarantine where {condition}"
        );
        let session = workspace.session_for(&sql, &reading).await?;
        let found = rows::query(&session, &sql, rows::ANSWER_ROWS_MAX).await?;
        // A rule may mask what was kept of a row, which is taken apart as the project has it.
        if !reading.sees_everything(&workspace.project) {
            let whole = workspace.session_for(&sql, &Reading::Owner).await?;
            let whole = rows::query(&whole, &sql, rows::ANSWER_ROWS_MAX).await?;
            if found.rows.iter().any(|row| !whole.rows.contains(row)) {
                let hidden = "rules hide from you what was kept of these rows";
                return Err(Error::new(ErrorKind::Denied, hidden).hint("Ask somebody who sees it."));
            }
        }
        let text = |row: &[Value], at: usize| {
            row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Ok(found.rows.iter().map(|row| (text(row, 0), text(row, 1))).collect::<Vec<_>>())
    });
    let found = found.await?;
    let there: BTreeSet<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    if let Some(id) = wanted.iter().find(|id| !there.contains(id.as_str())) {
        return Err(Problem::not_found(format!("no row \"{id}\" was set aside"))
            .hint("GET /v1/quarantine lists what you see of them."));
    }
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// What is noted of rows in the audit log: which, and which columns were given, not with which values.
fn noted(
    mut response: Response,
    rows: &[String],
    columns: &[String],
    how: (&str, Value),
) -> Response {
    let shown: Vec<&String> = rows.iter().take(NOTED_MAX).collect();
    let (name, value) = how;
    response.extensions_mut().insert(Noted(json!({
        "rows": shown, "count": rows.len(), "columns": columns, name: value,
    })));
    response
}

async fn aside(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let id = place.name();
    seen(&app, &caller, std::slice::from_ref(&id)).await?;
    let opened =
        app.with(move |workspace| async move { Box::pin(mend::open(&workspace, &id)).await });
    let opened = opened.await?;
    let row = &opened.row;
    json_of(&json!({
        "quarantine_id": row.quarantine_id, "sync": row.sync, "stream": row.stream, "run_id": row.run_id,
        "source": row.source, "file": row.file, "line": row.line, "column": row.column, "code": row.code,
        "reason": row.reason, "raw": row.raw, "status": row.status, "first_at": row.first_at.to_string(),
        "changed_at": row.changed_at.to_string(), "edited": row.edited, "ended_by": row.ended_by,
        "ended_why": row.ended_why, "fields": opened.fields, "why_not": opened.why_not,
    }))
}

async fn attempt(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Mend>,
) -> Result<Response> {
    seen(&app, &caller, &input.rows).await?;
    let edit = Edit { rows: input.rows, set: input.set, by: caller.who(), force: input.force };
    let tried =
        app.with(move |workspace| async move { Box::pin(mend::attempt(&workspace, &edit)).await });
    items(&tried.await?)
}

async fn land(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Mend>,
) -> Result<Response> {
    // Rows of several syncs are refused when they are mended.
    let sync = seen(&app, &caller, &input.rows).await?.into_iter().next().unwrap_or_default();
    let columns: Vec<String> = input.set.keys().cloned().collect();
    let (rows, force) = (input.rows.clone(), input.force);
    let edit = Edit { rows, set: input.set, by: caller.who(), force };
    let response = ask(&app, &caller, Task::Mend { sync, edit })?;
    Ok(noted(response, &input.rows, &columns, ("force", json!(force))))
}

async fn dismiss(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Dismiss>,
) -> Result<Response> {
    let of = seen(&app, &caller, &input.rows).await?.into_iter().collect();
    let reason = reasoned(&input.reason)?.to_owned();
    let task =
        Task::Dismiss { of, rows: input.rows.clone(), reason: reason.clone(), by: caller.who() };
    let response = ask(&app, &caller, task)?;
    Ok(noted(response, &input.rows, &[], ("reason", json!(reason))))
}
