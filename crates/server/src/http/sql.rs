//! Queries, and statements that change rows, tables, views and schemas.

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::writer::StreamWriter;
use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use flywheel_base::{Error, ErrorKind, Result as BaseResult, entropy};
use flywheel_runtime::{Workspace, edit};
use flywheel_warehouse::check_chains;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{done, json_of};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Noted, Permission, Routes, refused};
use crate::input::{Input, Place};
use crate::live::Live;
use crate::problem::{Problem, Result};
use crate::quota;
use crate::rows;

pub(super) fn routes(routes: &mut Routes) {
    let query = Access::Needs(Permission::Query);
    routes.post::<Query, _, _>("/v1/sql", query, "Runs a query", run);
    routes.act("/v1/sql/{query}/cancel", query, "Stops a query of the caller", cancel);
    routes.post::<Query, _, _>("/v1/sql/csv", query, "Runs a query and answers in CSV", csv);
    routes.post::<Query, _, _>(
        "/v1/sql/arrow",
        query,
        "Runs a query and answers in Arrow's stream format",
        arrow,
    );
    routes.post::<Statement, _, _>(
        "/v1/sql/write",
        Access::Needs(Permission::Write),
        "Runs a statement that changes rows, tables, views or schemas",
        write,
    );
    routes.get(
        "/v1/sql/schema",
        Access::Needs(Permission::View),
        "Lists tables with their columns",
        schema,
    );
}

/// A query.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// One SELECT.
    sql: String,
    /// Rows of the answer at most; 1,000 if absent, 100,000 at most.
    #[serde(default)]
    limit: Option<usize>,
    /// How long it may take; 30 seconds if absent, 10 minutes at most.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// A name of the caller's for this query, to cancel it by.
    #[serde(default)]
    query_id: Option<String>,
}

/// A statement that changes something.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    /// One INSERT, UPDATE, DELETE, MERGE, TRUNCATE, CREATE, ALTER or DROP. It is one commit.
    sql: String,
    /// How long it may take; 10 minutes if absent, and at most.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// A name of the caller's for this statement, to cancel it by.
    #[serde(default)]
    query_id: Option<String>,
}

const ROWS_DEFAULT: usize = 1_000;
const TIME_DEFAULT_MS: u64 = 30_000;
const TIME_MAX_MS: u64 = 600_000;
/// The longest query.
const SQL_BYTES_MAX: usize = 256 << 10;
/// The longest statement that changes something: it may bring rows.
const STATEMENT_BYTES_MAX: usize = 768 << 10;

impl Query {
    fn check(&self) -> Result<()> {
        if self.sql.len() > SQL_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "the query is longer than {SQL_BYTES_MAX} bytes"
            )));
        }
        check_chains(&self.sql)?;
        if edit::is_change(&self.sql) {
            return Err(Problem::invalid(
                "this statement changes something, and queries only read",
            )
            .hint("Send it to /v1/sql/write, which takes the permission \"write\"."));
        }
        Ok(())
    }

    fn rows(&self) -> usize {
        self.limit.unwrap_or(ROWS_DEFAULT).min(rows::ANSWER_ROWS_MAX)
    }
}

/// Runs `work` within the time of a query, so that it can be cancelled by its id and by leaving.
pub(super) async fn limited<T, F, W>(
    app: &Arc<App>,
    caller: &Caller,
    id: &str,
    timeout_ms: Option<u64>,
    work: W,
) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = BaseResult<T>>,
    W: FnOnce(Arc<Workspace>) -> F + Send + 'static,
{
    let time = Duration::from_millis(timeout_ms.unwrap_or(TIME_DEFAULT_MS).clamp(1, TIME_MAX_MS));
    let key = (caller.user.clone(), id.to_owned());
    let cancel = CancellationToken::new();
    let number = {
        let mut queries = app.queries.lock().unwrap_or_else(PoisonError::into_inner);
        let number = queries.values().map(|(number, _)| number + 1).max().unwrap_or_default();
        if queries.insert(key.clone(), (number, cancel.clone())).is_some() {
            tracing::debug!(id, "two queries have the same id; the newer one can be cancelled");
        }
        number
    };
    // Who leaves drops this, and the query ends.
    let _guard = Under { app: Arc::clone(app), key, number, cancel: cancel.clone() };
    // A statement waits for the others of its user before it takes a turn that somebody else could have.
    let _place = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            return Err(Problem::new(StatusCode::CONFLICT, "cancelled", CANCELLED));
        }
        place = quota::enter(app, caller, time) => place?,
    };
    let running = async {
        let _turn = app.querying.acquire().await.map_err(|_| crate::app::ended("querying"))?;
        let stop = cancel.clone();
        app.behind(move |workspace| async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(Error::new(ErrorKind::Conflict, CANCELLED)),
                done = work(workspace) => done,
            }
        })
        .await
    };
    match tokio::time::timeout(time, running).await {
        Ok(Err(error)) if error.message() == CANCELLED => {
            Err(Problem::new(StatusCode::CONFLICT, "cancelled", CANCELLED))
        }
        Ok(done) => Ok(done?),
        Err(_) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "timeout",
            format!("the query takes longer than {} ms", time.as_millis()),
        )
        .hint("Ask for less, or give it more time with timeout_ms.")),
    }
}

const CANCELLED: &str = "the query was cancelled";

/// A query under way.
struct Under {
    app: Arc<App>,
    key: (String, String),
    number: u64,
    cancel: CancellationToken,
}

impl Drop for Under {
    fn drop(&mut self) {
        self.cancel.cancel();
        let mut queries = self.app.queries.lock().unwrap_or_else(PoisonError::into_inner);
        // A newer one of the same id goes on.
        if queries.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            queries.remove(&self.key);
        }
    }
}

/// What the audit log says about a query: its text, as far as it is short.
fn noted(sql: &str) -> Noted {
    const SHOWN: usize = 2_000;
    Noted(Value::String(sql.chars().take(SHOWN).collect()))
}

fn id_of(query_id: Option<&String>) -> Result<String> {
    match query_id {
        Some(id) if id.is_empty() || id.len() > 100 => {
            Err(Problem::invalid("query_id has to have 1 to 100 characters"))
        }
        Some(id) => Ok(id.clone()),
        None => Ok(entropy::token("q-")?.chars().take(14).collect()),
    }
}

async fn run(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(query): Input<Query>,
) -> Result<Response> {
    query.check()?;
    let id = id_of(query.query_id.as_ref())?;
    let (sql, limit) = (query.sql.clone(), query.rows());
    let reading = caller.reading(&app.workspace().project);
    let table = limited(&app, &caller, &id, query.timeout_ms, move |workspace| async move {
        let sql = workspace.expanded_for(&sql, &reading)?;
        rows::query(&workspace.session_for(&sql, &reading).await?, &sql, limit).await
    });
    let mut answer = json!(table.await?);
    if let Value::Object(answer) = &mut answer {
        answer.insert("query_id".to_owned(), json!(id));
    }
    let mut response = json_of(&answer)?;
    response.extensions_mut().insert(noted(&query.sql));
    Ok(response)
}

async fn write(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(statement): Input<Statement>,
) -> Response {
    // What was refused or failed is noted with its text, too.
    let text = noted(&statement.sql);
    let mut response = match written(&app, &caller, statement).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    response.extensions_mut().insert(text);
    response
}

async fn written(app: &Arc<App>, caller: &Caller, statement: Statement) -> Result<Response> {
    // A statement can carry what it reads to where its writer sees it.
    if !caller.may(Permission::Query) {
        return Err(refused(caller, Permission::Query));
    }
    if statement.sql.len() > STATEMENT_BYTES_MAX {
        return Err(Problem::invalid(format!(
            "the statement is longer than {STATEMENT_BYTES_MAX} bytes"
        ))
        .hint("Insert rows in several statements, or land them with a sync."));
    }
    check_chains(&statement.sql)?;
    let id = id_of(statement.query_id.as_ref())?;
    let (sql, who) = (statement.sql, caller.who());
    let reading = caller.reading(&app.workspace().project);
    let timeout_ms = statement.timeout_ms.or(Some(TIME_MAX_MS));
    let done = limited(app, caller, &id, timeout_ms, move |workspace| async move {
        let options = edit::Options { reading: &reading, who: &who, landed: false };
        Box::pin(edit::statement(&workspace, &sql, options)).await
    });
    let done = done.await.map_err(|problem| match problem.is_end() {
        true => {
            problem.hint("It may have been done just before that; look before you send it again.")
        }
        false => problem,
    })?;
    let mut answer = done.to_json();
    if let Value::Object(answer) = &mut answer {
        answer.insert("query_id".to_owned(), json!(id));
    }
    app.tell(Live::new("changed", json!({"what": ["assets"]})));
    json_of(&answer)
}

async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let key = (caller.user, place.name());
    let queries = app.queries.lock().unwrap_or_else(PoisonError::into_inner);
    match queries.get(&key) {
        Some((_, cancel)) => {
            cancel.cancel();
            Ok(done())
        }
        None => Err(Problem::not_found(format!("no query \"{}\" of yours is running", key.1))),
    }
}

async fn csv(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(query): Input<Query>,
) -> Result<Response> {
    query.check()?;
    let (id, sql, limit) = (id_of(query.query_id.as_ref())?, query.sql.clone(), query.rows());
    let reading = caller.reading(&app.workspace().project);
    let text = limited(&app, &caller, &id, query.timeout_ms, move |workspace| async move {
        let sql = workspace.expanded_for(&sql, &reading)?;
        let session = workspace.session_for(&sql, &reading).await?;
        let (schema, batches, _) = rows::batches(&session, &sql, limit).await?;
        rows::csv(&schema, &batches)
    });
    Ok(download(text.await?.into_bytes(), "text/csv; charset=utf-8", "answer.csv", &query.sql))
}

async fn arrow(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(query): Input<Query>,
) -> Result<Response> {
    query.check()?;
    let (id, sql, limit) = (id_of(query.query_id.as_ref())?, query.sql.clone(), query.rows());
    let reading = caller.reading(&app.workspace().project);
    let bytes = limited(&app, &caller, &id, query.timeout_ms, move |workspace| async move {
        let sql = workspace.expanded_for(&sql, &reading)?;
        let session = workspace.session_for(&sql, &reading).await?;
        let (schema, batches, _) = rows::batches(&session, &sql, limit).await?;
        arrow_stream(&schema, &batches)
    });
    Ok(download(bytes.await?, "application/vnd.apache.arrow.stream", "answer.arrow", &query.sql))
}

/// An answer in Arrow's stream format.
pub(super) fn arrow_stream(schema: &Schema, batches: &[RecordBatch]) -> BaseResult<Vec<u8>> {
    let broken = |e| Error::internal("the answer has no form in Arrow's format").caused_by(e);
    let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(broken)?;
    for batch in batches {
        writer.write(batch).map_err(broken)?;
    }
    writer.into_inner().map_err(broken)
}

fn download(bytes: Vec<u8>, kind: &'static str, name: &str, sql: &str) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let mut response = (
        [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)],
        bytes,
    )
        .into_response();
    response.extensions_mut().insert(noted(sql));
    response
}

async fn schema(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let tables = app.with(move |workspace| async move {
        let catalog = workspace.seen(&reading).await?;
        let names: Vec<String> = catalog.names().map(ToString::to_string).collect();
        let session = workspace.lake.session(catalog)?;
        let mut tables = Vec::new();
        for name in names {
            // A view that no longer fits its inputs has no columns; its model's last build says why. Nor has
            // a table of which the caller sees nothing.
            let Ok(query) = session.query(&format!("select * from {}", rows::quoted(&name))).await
            else {
                continue;
            };
            tables.push(json!({"name": name, "columns": rows::columns(&query.schema())}));
        }
        Ok(tables)
    });
    json_of(&json!({"tables": tables.await?}))
}
