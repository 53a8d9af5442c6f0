//! Published queries: listed, published, changed, unpublished, called by programs, and the keys that open one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flywheel_base::{Error, Result as BaseResult, entropy};
use flywheel_project::NodeKind;
use flywheel_project::resource::quantity::Duration;
use flywheel_project::resource::query::{PublishedQuery, QueryParameter, RESERVED};
use flywheel_project::resource::rule::Role;
use flywheel_runtime::published::{self, Called, Kept, Piece};
use flywheel_runtime::{Workspace, catalogue};
use flywheel_state::AuditCount;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::{shown_token, visible};
use super::{done, items, json_of};
use crate::app::App;
use crate::auth::{self, Caller, Link, QueryKey};
use crate::gate::{Access, Allows as _, Noted, Permission, Routes, refused};
use crate::input::{Asked, Input, Place, Takes, schema_of};
use crate::live::Live;
use crate::problem::{Problem, Result};
use crate::rows;
use crate::work::reload;

/// The route by which queries are called.
const ROWS: &str = "/v1/queries/{query}/rows";
/// Days of which calls are counted.
const DAYS: i64 = 7;
const DAY_US: i64 = 86_400_000_000;

const KEY_DAYS_DEFAULT: u16 = 30;
const KEY_DAYS_MAX: u16 = 365;

pub(super) fn routes(routes: &mut Routes) {
    let (view, author) = (Access::Needs(Permission::View), Access::Needs(Permission::Author));
    routes.get(
        "/v1/queries",
        view,
        "Lists published queries, with how often each was called",
        list,
    );
    routes.get(
        "/v1/queries/{query}",
        view,
        "Shows a published query; its ETag is the version of its file",
        one,
    );
    routes.put::<Publication, _, _>(
        "/v1/queries/{query}",
        author,
        "Publishes a query, or changes one that has the version of If-Match: writes its file; takes query, too",
        publish,
    );
    routes.delete(
        "/v1/queries/{query}",
        author,
        "Unpublishes a query: removes its file, which has the version of If-Match, and takes its keys back",
        unpublish,
    );
    routes.get(
        ROWS,
        Access::Published,
        "Calls a published query; the values of its parameters stand after the ?",
        call,
    );
    routes.get(
        "/v1/queries/{query}/keys",
        author,
        "Lists keys to a published query: the caller's, an administrator sees all",
        keys,
    );
    routes.post::<NewKey, _, _>(
        "/v1/queries/{query}/keys",
        author,
        "Makes a key that calls this query, and does nothing else; takes query, too",
        add_key,
    );
}

fn named(workspace: &Workspace, name: &str) -> Result<PublishedQuery> {
    match workspace.project.queries.get(name) {
        Some(found) => Ok(found.value.clone()),
        None => Err(published::unknown(&workspace.project, name).into()),
    }
}

/// How often queries were called, by their names.
fn calls(workspace: &Workspace) -> BaseResult<BTreeMap<String, AuditCount>> {
    let since = workspace.machine.now().plus_micros(-DAYS * DAY_US);
    let (before, after) = ROWS.split_once("{query}").unwrap_or_default();
    let counts = workspace.store.audit_counts(&format!("GET {ROWS}"), since)?;
    let named = counts.into_iter().filter_map(|count| {
        let name = count.object.strip_prefix(before)?.strip_suffix(after)?.to_owned();
        Some((name, count))
    });
    Ok(named.collect())
}

/// A published query, as the API has it.
fn shown(
    workspace: &Workspace,
    name: &str,
    problem: Option<&String>,
    calls: Option<&AuditCount>,
) -> Value {
    let Some(query) = workspace.project.queries.get(name) else { return Value::Null };
    let parameters = query.parameters.iter().map(|one| {
        json!({
            "name": one.name, "type": one.column_type, "required": one.is_required(), "default": one.default,
            "description": one.description,
        })
    });
    let calls = json!({
        "days": DAYS, "count": calls.map_or(0, |calls| calls.count), "failed": calls.map_or(0, |calls| calls.failed),
        "last_at": calls.map(|calls| calls.last_at.to_string()),
    });
    json!({
        "name": name, "description": query.description, "owner": query.owner, "sql": query.sql,
        "parameters": parameters.collect::<Vec<_>>(), "rows": query.rows_max(), "timeout_ms": query.timeout_ms(),
        "file": query.file, "problem": problem, "calls": calls,
    })
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let all = app.with(move |workspace| async move {
        let granted = reading.granted(&workspace.project);
        let seen = |name: &&String| {
            granted.as_ref().is_none_or(|granted| granted.shows_one(NodeKind::Query, name))
        };
        let names: Vec<String> = workspace.project.queries.keys().filter(seen).cloned().collect();
        let problems = published::problems(&workspace, &names, &reading).await?;
        let calls = calls(&workspace)?;
        let shown =
            names.iter().map(|name| shown(&workspace, name, problems.get(name), calls.get(name)));
        Ok(shown.collect::<Vec<Value>>())
    });
    json_of(&json!({"queries": all.await?}))
}

async fn one(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    shown_one(&app, &caller, place.name()).await
}

async fn shown_one(app: &Arc<App>, caller: &Caller, name: String) -> Result<Response> {
    named(&app.workspace(), &name)?;
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let kept = published::kept(&workspace, &name)?;
        let names = [name];
        let problems = published::problems(&workspace, &names, &reading).await?;
        let calls = calls(&workspace)?;
        let [name] = &names;
        let shown = shown(&workspace, name, problems.get(name), calls.get(name));
        Ok((shown, kept))
    });
    let (mut shown, Kept { version, comments, .. }) = found.await?;
    if let Value::Object(shown) = &mut shown {
        shown.insert("version".to_owned(), json!(version));
        shown.insert("comments".to_owned(), json!(comments));
    }
    let mut response = json_of(&shown)?;
    // Digits and letters are the value of a header.
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// The version that a request says it knows.
pub(super) fn known_version(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(header::IF_MATCH)?.to_str().ok()?.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    Some(tag.trim_matches('"').to_owned())
}

/// Which text is meant, where no If-Match says it.
#[derive(Deserialize, JsonSchema)]
struct Version {
    /// The version that was read, if no If-Match says it.
    #[serde(default)]
    version: Option<String>,
}

/// A query to be published.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Publication {
    /// What it answers.
    #[serde(default)]
    description: Option<String>,
    /// Who answers for it; who did before if absent.
    #[serde(default)]
    owner: Option<String>,
    /// One SELECT, with `$name` where the value of a parameter goes.
    sql: String,
    /// What callers give.
    #[serde(default)]
    parameters: Vec<QueryParameter>,
    /// Rows of one answer at most; 1,000 if absent, 100,000 at most.
    #[serde(default)]
    rows: Option<u32>,
    /// How long an answer may take; 30 seconds if absent, 10 minutes at most.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// The version that was read, if no If-Match says it.
    #[serde(default)]
    version: Option<String>,
}

impl Publication {
    fn query(self, name: &str, owner: Option<String>) -> PublishedQuery {
        let said = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let micros = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        PublishedQuery {
            query: name.to_owned(),
            description: said(self.description),
            owner: said(self.owner).or(owner),
            sql: self.sql,
            parameters: self
                .parameters
                .into_iter()
                .map(|one| QueryParameter { description: said(one.description), ..one })
                .collect(),
            rows: self.rows,
            timeout: self.timeout_ms.map(|ms| Duration { micros: micros(ms) }),
        }
    }
}

/// Refuses who may not read rows: what is published is written by somebody who may.
fn check_query(caller: &Caller) -> Result<()> {
    match caller.may(Permission::Query) {
        true => Ok(()),
        false => Err(refused(caller, Permission::Query)),
    }
}

/// Writes the file and reads the project with it; what it cannot be read with is not left in it.
async fn publish(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    headers: HeaderMap,
    Input(input): Input<Publication>,
) -> Result<Response> {
    check_query(&caller)?;
    let name = place.name();
    let known = known_version(&headers).or_else(|| input.version.clone());
    let owner = app.workspace().project.queries.get(&name).and_then(|one| one.owner.clone());
    let query = input.query(&name, owner);
    let reading = caller.reading(&app.workspace().project);
    let (shared, wanted) = (Arc::clone(&app), known.clone());
    let kept = app.with(move |_| async move {
        // Held here, since the work goes on when whoever asked has left.
        let _turn = shared.writing.lock().await;
        let workspace = shared.workspace();
        let saving = published::save(&workspace, &query, wanted.as_deref(), &reading);
        let saved = Box::pin(saving).await?;
        if let Err(error) = reload(&shared).await {
            saved.undo()?;
            return Err(error.context(
                "the query was not published, because the project cannot be read with it",
            ));
        }
        // A query whose file went in another way left its keys.
        let revoked = match wanted {
            None => take_back(&shared.workspace(), &query.query)?,
            Some(_) => Vec::new(),
        };
        Ok((published::kept(&shared.workspace(), &query.query)?, revoked))
    });
    let (kept, revoked) = kept.await?;
    app.tell(Live::new("changed", json!({"what": ["assets", "queries"]})));
    let mut response = shown_one(&app, &caller, name).await?;
    if known.is_none() {
        *response.status_mut() = StatusCode::CREATED;
    }
    let mut noted = json!({"file": kept.file, "before": known, "after": kept.version});
    if let (Value::Object(noted), false) = (&mut noted, revoked.is_empty()) {
        noted.insert("revoked".to_owned(), json!(revoked));
    }
    let noted = Noted(noted);
    response.extensions_mut().insert(noted);
    Ok(response)
}

async fn unpublish(
    State(app): State<Arc<App>>,
    place: Place,
    headers: HeaderMap,
    Asked(asked): Asked<Version>,
) -> Result<Response> {
    let (name, shared) = (place.name(), Arc::clone(&app));
    named(&app.workspace(), &name)?;
    let Some(known) = known_version(&headers).or(asked.version) else {
        return Err(Problem::invalid("which version is removed is not said")
            .hint("Send If-Match with the ETag of GET, or ?version=. Nothing was removed."));
    };
    let done_with = app.with(move |_| async move {
        let _turn = shared.writing.lock().await;
        let workspace = shared.workspace();
        let removed = published::remove(&workspace, &name, &known)?;
        if let Err(error) = reload(&shared).await {
            removed.undo()?;
            return Err(error.context(
                "the query was not unpublished, because the project cannot be read without it",
            ));
        }
        Ok((removed.file, take_back(&shared.workspace(), &name)?))
    });
    let (file, revoked) = done_with.await?;
    app.tell(Live::new("changed", json!({"what": ["assets", "queries"]})));
    let mut response = done();
    response.extensions_mut().insert(Noted(json!({"file": file, "revoked": revoked})));
    Ok(response)
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Format {
    /// Columns and rows.
    #[default]
    Json,
    /// CSV with a header.
    Csv,
    /// Arrow's stream format.
    Arrow,
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
        }
    }
}

/// What is asked of the answer of any query, beside the values of its parameters.
#[derive(Debug, Deserialize, JsonSchema)]
struct Form {
    /// Rows of the answer at most; as many as the query gives at once if absent.
    #[serde(default)]
    limit: Option<usize>,
    /// Rows that come before; the query has to say in which order they come.
    #[serde(default)]
    offset: Option<usize>,
    /// The form of the answer; `json` if absent.
    #[serde(default)]
    format: Option<Format>,
}

/// What stands after the `?`.
struct Given {
    form: Form,
    /// The values of parameters, as they stand there.
    values: Vec<(String, String)>,
}

/// A request that can be read and does not fit the query.
fn unfit(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
}

impl<S: Send + Sync> FromRequestParts<S> for Given {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let refuse = |error: QueryRejection| {
            unfit(format!("limit, offset or format does not fit: {error}"))
                .hint("Write limit and offset as whole numbers and format as json, csv or arrow, each once.")
        };
        let Query(form) = Query::<Form>::try_from_uri(&parts.uri).map_err(refuse)?;
        let all = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(refuse)?;
        let mut values = all.0;
        values.retain(|(name, _)| !RESERVED.contains(&name.as_str()));
        Ok(Self { form, values })
    }
}

impl Takes for Given {
    fn question() -> Option<Schema> {
        Some(schema_of::<Form>())
    }
}

/// What leaves.
struct Body {
    bytes: Vec<u8>,
    row_count: usize,
}

/// Calls a query. The audit log has who did, which parameters were given, how much left and how long it took; what was given
/// for them is left out, since names and numbers of people may be among it.
async fn call(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    given: Given,
) -> Response {
    let (watch, name) = (Instant::now(), place.name());
    let format = given.form.format.unwrap_or_default();
    // What a query does not have may be anything, and a value in the wrong place.
    let workspace = app.workspace();
    let declared = workspace.project.queries.get(&name);
    let names = declared.into_iter().flat_map(|query| &query.parameters).map(|one| &one.name);
    let names: Vec<&String> =
        names.filter(|name| given.values.iter().any(|(one, _)| one == *name)).collect();
    let mut noted = json!({
        "query": name, "parameters": names, "format": format.word(), "rows": null, "token": caller.token_id.as_deref(),
    });
    let answer = answered(&app, &caller, &name, given).await;
    if let Value::Object(noted) = &mut noted {
        let ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
        noted.insert("ms".to_owned(), json!(ms));
        if let Ok(body) = &answer {
            noted.insert("rows".to_owned(), json!(body.row_count));
        }
    }
    let mut response = match answer {
        Ok(body) => sent(body.bytes, &name, format),
        Err(problem) => problem.into_response(),
    };
    response.extensions_mut().insert(Noted(noted));
    response
}

async fn answered(app: &Arc<App>, caller: &Caller, name: &str, given: Given) -> Result<Body> {
    let query = named(&app.workspace(), name)?;
    let Given { form, values } = given;
    let values = published::values(&query, &values).map_err(|error| {
        unfit(error.message()).hint(error.hint_text().unwrap_or_default().to_owned())
    })?;
    let most = usize::try_from(query.rows_max()).unwrap_or(rows::ANSWER_ROWS_MAX);
    let limit = form.limit.unwrap_or(most).min(most);
    let piece = Piece { limit, offset: form.offset.unwrap_or_default() };
    let format = form.format.unwrap_or_default();
    let id: String = entropy::token("q-")?.chars().take(14).collect();
    let (reading, who) = (caller.reading(&app.workspace().project), caller.who());
    let timeout = Some(query.timeout_ms());
    let body = super::sql::limited(app, caller, &id, timeout, move |workspace| async move {
        let calling = published::call(&workspace, &query, &values, &reading, piece);
        let called = Box::pin(calling).await?;
        catalogue::note_reads(&workspace, &called.tables, &who, "query");
        let bytes = written(&query.query, &called, piece, format)?;
        Ok(Body { bytes, row_count: called.row_count() })
    });
    body.await.map_err(|mut problem| {
        // The address is right: it is the query that cannot be answered, such as after a table of it went.
        if matches!(problem.code, "invalid" | "not-found") {
            (problem.status, problem.code) = (StatusCode::UNPROCESSABLE_ENTITY, "invalid");
        }
        problem
    })
}

fn written(query: &str, called: &Called, piece: Piece, format: Format) -> BaseResult<Vec<u8>> {
    match format {
        Format::Csv => Ok(rows::csv(&called.schema, &called.batches)?.into_bytes()),
        Format::Arrow => super::sql::arrow_stream(&called.schema, &called.batches),
        Format::Json => {
            let (columns, rows) = called.cells()?;
            let answer = json!({
                "query": query, "columns": columns, "rows": rows, "limit": piece.limit, "offset": piece.offset,
                "more": called.more,
            });
            serde_json::to_vec(&answer)
                .map_err(|e| Error::internal("an answer is no JSON").caused_by(e))
        }
    }
}

fn sent(bytes: Vec<u8>, name: &str, format: Format) -> Response {
    let (kind, ending) = match format {
        Format::Json => {
            return ([(header::CONTENT_TYPE, "application/json")], bytes).into_response();
        }
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
        Format::Arrow => ("application/vnd.apache.arrow.stream", "arrow"),
    };
    let disposition = format!("attachment; filename=\"{name}.{ending}\"");
    let headers =
        [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    (headers, bytes).into_response()
}

fn scope_of(name: &str) -> String {
    format!("{}{name}", QueryKey::QUERY)
}

/// Takes back all keys that were made of a query of this name before: they would open what is published under it now or
/// later. Says which.
pub(super) fn take_back(workspace: &Workspace, name: &str) -> BaseResult<Vec<String>> {
    take_back_all(workspace, &scope_of(name))
}

/// Takes back all tokens with a scope. Says which.
pub(super) fn take_back_all(workspace: &Workspace, scope: &str) -> BaseResult<Vec<String>> {
    let mut revoked = Vec::new();
    for token in workspace.store.tokens()? {
        if !token.revoked && token.scopes.iter().any(|one| one == scope) {
            workspace.store.revoke_token(&token.id)?;
            revoked.push(token.id);
        }
    }
    Ok(revoked)
}

async fn keys(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let name = place.name();
    named(&app.workspace(), &name)?;
    let scope = scope_of(&name);
    let all = visible(&app, &caller).await?;
    let of = all.iter().filter(|token| token.scopes.contains(&scope));
    items(&of.map(shown_token).collect::<Vec<_>>())
}

/// A key to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// How many days it works; 30 if absent, 365 at most.
    #[serde(default)]
    days: Option<u16>,
    /// As which role rows are read, and never more than its maker sees; as its maker reads them if absent.
    #[serde(default)]
    role: Option<Role>,
    /// For which program it is; the query's name if absent.
    #[serde(default)]
    label: Option<String>,
}

async fn add_key(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<NewKey>,
) -> Result<Response> {
    let name = place.name();
    named(&app.workspace(), &name)?;
    check_query(&caller)?;
    if caller.session.is_none() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", "a token makes no keys")
            .hint("Log in with name and password."));
    }
    if !caller.may(Permission::Call) {
        return Err(refused(&caller, Permission::Call));
    }
    let label = input.label.unwrap_or_else(|| name.clone());
    auth::check_name(&label)?;
    let days = input.days.unwrap_or(KEY_DAYS_DEFAULT);
    if !(1..=KEY_DAYS_MAX).contains(&days) {
        return Err(Problem::invalid(format!("a key lasts 1 to {KEY_DAYS_MAX} days")));
    }
    let mut scopes = vec![scope_of(&name)];
    if let Some(role) = input.role {
        if !role.may(Permission::Call) {
            let detail = format!("the role \"{}\" calls no published queries", role.word());
            return Err(
                Problem::invalid(detail).hint("Choose a role that does, such as viewer or agent.")
            );
        }
        scopes.push(format!("{}{}", Link::ROLE, role.word()));
    }
    let now = app.machine_now();
    let (secret, token) = auth::new_token(label, caller.user, scopes, now, days)?;
    let mut answer = shown_token(&token);
    if let Value::Object(answer) = &mut answer {
        answer.insert("key".to_owned(), json!(secret));
        answer.insert("url".to_owned(), json!(ROWS.replace("{query}", &name)));
    }
    let noted = Noted(json!({
        "key": token.id, "name": token.name, "scopes": token.scopes, "expires_at": token.expires_at.to_string(),
    }));
    let shared = Arc::clone(&app);
    let kept = app.with(move |_| async move {
        // Whoever unpublishes takes back the keys that are there then.
        let _turn = shared.writing.lock().await;
        let workspace = shared.workspace();
        match workspace.project.queries.contains_key(&name) {
            true => workspace.store.add_token(&token),
            false => Err(published::unknown(&workspace.project, &name)),
        }
    });
    kept.await?;
    let mut response = json_of(&answer)?;
    *response.status_mut() = StatusCode::CREATED;
    response.extensions_mut().insert(noted);
    Ok(response)
}
