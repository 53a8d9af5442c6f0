//! Files that declare something: listed, read, checked as drafts, written and removed; and the schemas of what they may hold.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use flywheel_base::{Error, Result as BaseResult, digest};
use flywheel_connect::action::ACTIONS;
use flywheel_connect::destination::DESTINATIONS;
use flywheel_connect::source::SOURCES;
use flywheel_project::NodeKind;
use flywheel_runtime::approval;
use flywheel_runtime::declaration::{
    self, Kept, Kind, Mistake, Outcome, Reach, References, Wanted, Write,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::syncs::{found_at, tested};
use super::{dashboards, done, json_of, queries};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Noted, Permission, Routes, refused};
use crate::input::{Asked, Input, Place};
use crate::live::Live;
use crate::problem::{Problem, Result};
use crate::work::reload;

pub(super) fn routes(routes: &mut Routes) {
    let (view, author) = (Access::Needs(Permission::View), Access::Needs(Permission::Author));
    routes.get(
        "/v1/files",
        author,
        "Lists the kinds of files that the caller may change, and what is declared in them",
        list,
    );
    routes.get(
        "/v1/files/{kind}/{name}",
        author,
        "Shows the file of a declaration: its text and what it says; its ETag is its version",
        one,
    );
    routes.put::<Declaration, _, _>(
        "/v1/files/{kind}/{name}",
        author,
        "Writes the file of a declaration, a new one or the one that has the version of If-Match, unless it has mistakes",
        write,
    );
    routes.delete(
        "/v1/files/{kind}/{name}",
        author,
        "Removes the file of a declaration, which has the version of If-Match, unless something needs it",
        remove,
    );
    routes.post::<Draft, _, _>(
        CHECK,
        author,
        "Says what the file of a declaration would be, and what is wrong with it",
        check,
    );
    routes.post::<Draft, _, _>(
        "/v1/files/test",
        Access::Needs(Permission::Operate),
        "Connects as the draft of a connection says, and says what is found there; takes administer, too",
        test,
    );
    routes.get(
        "/v1/schemas/{kind}",
        view,
        "Shows the JSON Schema of a kind of file, and of the options of each type",
        schema,
    );
}

/// The route by which drafts are checked. It changes nothing and is asked at every pause of whoever writes.
pub(crate) const CHECK: &str = "/v1/files/check";

/// Refuses who may not change files of a kind: what runs for the project is changed by who may operate and sees all rows, and
/// what leads outside, or says who sees what, by who may administer.
fn check_kind(app: &App, caller: &Caller, kind: Kind) -> Result<()> {
    let needed = match kind.reach() {
        Reach::Reader => [Permission::Author, Permission::Query],
        Reach::Project => [Permission::Operate, Permission::Query],
        Reach::Outside => [Permission::Administer, Permission::Query],
    };
    if let Some(missing) = needed.into_iter().find(|permission| !caller.may(*permission)) {
        return Err(refused(caller, missing));
    }
    let project = &app.workspace().project;
    if kind.reach() == Reach::Reader || caller.reading(project).sees_everything(project) {
        return Ok(());
    }
    let detail = format!(
        "files of the kind \"{}\" are for who sees every row, and rules hide some from {}",
        kind.resource.name,
        caller.who()
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint("What they declare reads without rules. Ask whoever keeps the rules in access/."))
}

/// Which kind.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// The kind: `connection`, `schedule`, `learner` …; all if absent.
    #[serde(default)]
    kind: Option<String>,
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(which): Asked<Which>,
) -> Result<Response> {
    let kinds: Vec<Kind> = match &which.kind {
        Some(word) => {
            let kind = Kind::named(word)?;
            check_kind(&app, &caller, kind)?;
            vec![kind]
        }
        None => Kind::all().filter(|kind| check_kind(&app, &caller, *kind).is_ok()).collect(),
    };
    let workspace = app.workspace();
    let mut all = Vec::new();
    for kind in &kinds {
        for (name, file) in declaration::list(&workspace, *kind) {
            all.push(json!({"kind": kind.resource.name, "name": name, "file": file}));
        }
    }
    let words: Vec<&str> = kinds.iter().map(|kind| kind.resource.name).collect();
    json_of(&json!({"kinds": words, "items": all}))
}

async fn one(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let kind = Kind::named(place.at(0))?;
    check_kind(&app, &caller, kind)?;
    shown(&app, kind, place.at(1).to_owned()).await
}

/// The file of a declaration, with its version as the ETag.
async fn shown(app: &Arc<App>, kind: Kind, name: String) -> Result<Response> {
    let found = app.blocking(move |app| declaration::read(&app.workspace(), kind, &name));
    let Kept { name, file, text, value, problems, version } = found.await?;
    let word = kind.resource.name;
    let mut response = json_of(&json!({
        "kind": word, "name": name, "file": file, "text": text, "value": value, "version": version,
        "problems": problems,
    }))?;
    tag(&mut response, &version);
    Ok(response)
}

/// Gives an answer its ETag.
fn tag(response: &mut Response, version: &str) {
    // Digits and letters are the value of a header.
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
}

/// What a file shall say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Declaration {
    /// The text: YAML.
    #[serde(default)]
    text: Option<String>,
    /// Its values: put into the text or, without one, into the file as it is, whose comments and order stay.
    #[serde(default)]
    value: Option<Value>,
    /// The version that was read, if no If-Match says it.
    #[serde(default)]
    version: Option<String>,
}

async fn write(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    headers: HeaderMap,
    Input(input): Input<Declaration>,
) -> Result<Response> {
    let kind = Kind::named(place.at(0))?;
    check_kind(&app, &caller, kind)?;
    let name = place.at(1).to_owned();
    let Declaration { text, value, version } = input;
    let known = queries::known_version(&headers).or(version);
    let references = match caller.may(Permission::Administer) {
        true => References::Any,
        false => References::Kept,
    };
    let reading = caller.reading(&app.workspace().project);
    let (shared, wanted) = (Arc::clone(&app), Wanted { text, value });
    let (called, read, author) = (name.clone(), known.clone(), caller.user);
    let written = app.with(move |_| async move {
        // Held here, since the work goes on when whoever asked has left.
        let _turn = shared.writing.lock().await;
        let workspace = shared.workspace();
        let write =
            Write { kind, name: &called, wanted: &wanted, known: read.as_deref(), references };
        let saved = match Box::pin(declaration::save(&workspace, write, &reading)).await? {
            Outcome::Done(saved) => saved,
            refused @ Outcome::Refused(_) => return Ok((refused, Vec::new())),
        };
        if let Err(error) = reload(&shared).await {
            saved.undo(&workspace)?;
            return Err(
                error.context("nothing was written, because the project cannot be read with it")
            );
        }
        let mut revoked = Vec::new();
        if kind.node == NodeKind::Policy {
            let (store, now) = (&workspace.store, workspace.now());
            store.record_hand(&called, approval::WRITTEN, &author, now)?;
        }
        // A query whose file went in another way left its keys.
        if kind.node == NodeKind::Query && saved.is_new() {
            revoked = queries::take_back(&shared.workspace(), &called)?;
        }
        // So does a dashboard with its links.
        if kind.node == NodeKind::Dashboard && saved.is_new() {
            revoked = dashboards::take_back(&shared.workspace(), &called)?;
        }
        Ok((Outcome::Done(saved), revoked))
    });
    let (outcome, revoked) = written.await.map_err(|error| precondition(error, known.as_ref()))?;
    let saved = match outcome {
        Outcome::Done(saved) => saved,
        Outcome::Refused(mistakes) => return Err(mistaken(kind, &name, &mistakes)),
    };
    told(&app);
    let mut response = shown(&app, kind, name.clone()).await?;
    if saved.is_new() {
        *response.status_mut() = StatusCode::CREATED;
    }
    response.extensions_mut().insert(Noted(json!({
        "kind": kind.resource.name, "name": name, "file": saved.file, "before": known, "after": saved.version,
        "digest": saved.digest, "revoked": revoked,
    })));
    Ok(response)
}

/// Says that a file changed to whoever listens, and looks at what is due by it.
fn told(app: &App) {
    let what = ["assets", "status", "schedules", "alerts", "policies", "files"];
    app.tell(Live::new("changed", json!({"what": what})));
    app.scheduler.notify_one();
    app.alerts.notify_one();
}

/// The problem of a version that is no longer there, if one was named.
fn precondition(error: Error, known: Option<&String>) -> Problem {
    let problem = Problem::from(error);
    match known {
        Some(_) if problem.status == StatusCode::CONFLICT && problem.code == "conflict" => {
            Problem { status: StatusCode::PRECONDITION_FAILED, ..problem }
        }
        _ => problem,
    }
}

/// The problem of a text with mistakes, each with its place.
fn mistaken(kind: Kind, name: &str, mistakes: &[Mistake]) -> Problem {
    let word = kind.resource.name;
    let detail = match mistakes.first() {
        Some(first) => {
            format!("{word} \"{name}\": {}:{}: {}", first.file, first.line, first.message)
        }
        None => format!("{word} \"{name}\" has mistakes"),
    };
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
        .hint("Mend what \"rejected\" names; nothing was written.");
    problem.rejected = mistakes.iter().map(|one| json!(one)).collect();
    problem
}

/// Which text is meant, where no If-Match says it.
#[derive(Deserialize, JsonSchema)]
struct Version {
    /// The version that was read, if no If-Match says it.
    #[serde(default)]
    version: Option<String>,
}

async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    headers: HeaderMap,
    Asked(asked): Asked<Version>,
) -> Result<Response> {
    let kind = Kind::named(place.at(0))?;
    check_kind(&app, &caller, kind)?;
    let name = place.at(1).to_owned();
    let Some(known) = queries::known_version(&headers).or(asked.version) else {
        return Err(Problem::invalid("which version is removed is not said")
            .hint("Send If-Match with the ETag of GET, or ?version=. Nothing was removed."));
    };
    let (shared, called, read) = (Arc::clone(&app), name.clone(), known.clone());
    let removed = app.with(move |_| async move {
        let _turn = shared.writing.lock().await;
        let workspace = shared.workspace();
        let saved = match declaration::remove(&workspace, kind, &called, &read)? {
            Outcome::Done(saved) => saved,
            needed @ Outcome::Refused(_) => return Ok((needed, Vec::new())),
        };
        if let Err(error) = reload(&shared).await {
            saved.undo(&workspace)?;
            return Err(
                error.context("nothing was removed, because the project cannot be read without it")
            );
        }
        let revoked = match kind.node {
            NodeKind::Query => queries::take_back(&shared.workspace(), &called)?,
            NodeKind::Dashboard => dashboards::take_back(&shared.workspace(), &called)?,
            _ => Vec::new(),
        };
        Ok((Outcome::Done(saved), revoked))
    });
    let (outcome, revoked) = removed.await.map_err(|error| precondition(error, Some(&known)))?;
    let saved = match outcome {
        Outcome::Done(saved) => saved,
        Outcome::Refused(needed) => return Err(needed_by(kind, &name, &needed)),
    };
    told(&app);
    let mut response = done();
    response.extensions_mut().insert(Noted(json!({
        "kind": kind.resource.name, "name": name, "file": saved.file, "before": known, "digest": saved.digest,
        "revoked": revoked,
    })));
    Ok(response)
}

/// The problem of something that others need.
fn needed_by(kind: Kind, name: &str, needed: &[Mistake]) -> Problem {
    let word = kind.resource.name;
    let places: Vec<String> =
        needed.iter().map(|one| format!("{}:{} ({})", one.file, one.line, one.message)).collect();
    let detail = format!("{word} \"{name}\" is needed: {}", places.join("; "));
    let mut problem = Problem::new(StatusCode::CONFLICT, "blocked", detail)
        .hint("Change these files first; nothing was removed.");
    problem.rejected = needed.iter().map(|one| json!(one)).collect();
    problem
}

/// A file as it would be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    /// The kind: `connection`, `schedule`, `learner` …
    kind: String,
    /// The name of what is changed; a new one if absent.
    #[serde(default)]
    name: Option<String>,
    /// The text: YAML.
    #[serde(default)]
    text: Option<String>,
    /// Its values: put into the text or, without one, into the file as it is.
    #[serde(default)]
    value: Option<Value>,
}

async fn check(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(draft): Input<Draft>,
) -> Result<Response> {
    let kind = Kind::named(&draft.kind)?;
    check_kind(&app, &caller, kind)?;
    let checked = app.blocking(move |app| {
        let wanted = Wanted { text: draft.text, value: draft.value };
        declaration::check(&app.workspace(), kind, draft.name.as_deref(), &wanted)
    });
    json_of(&checked.await?)
}

async fn test(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(draft): Input<Draft>,
) -> Result<Response> {
    let kind = Kind::named(&draft.kind)?;
    check_kind(&app, &caller, kind)?;
    if kind.node != NodeKind::Connection {
        return Err(Problem::invalid(format!("a {} cannot be tested", kind.resource.name))
            .hint("Test a connection."));
    }
    let watch = Instant::now();
    let found: BaseResult<Vec<String>> = app
        .with(move |workspace| async move {
            let wanted = Wanted { text: draft.text, value: draft.value };
            let known = draft.name.as_deref();
            let (name, drafted) = declaration::drafted(&workspace, kind, known, &wanted)?;
            Box::pin(found_at(&drafted, &name)).await
        })
        .await;
    tested(watch, found)
}

/// Schemas change with the program alone, so that browsers keep them.
async fn schema(place: Place, headers: HeaderMap) -> Result<Response> {
    let kind = Kind::named(place.at(0))?;
    let resource = kind.resource;
    let mut types = Vec::new();
    match kind.node {
        NodeKind::Connection => {
            for one in SOURCES {
                let schema = (one.connection_schema)();
                types.push(json!({"type": one.name, "about": one.about, "schema": schema}));
            }
            for one in DESTINATIONS {
                if SOURCES.iter().any(|source| source.name == one.name) {
                    continue;
                }
                let schema = (one.connection_schema)();
                types.push(json!({"type": one.name, "about": one.about, "schema": schema}));
            }
        }
        NodeKind::Action => {
            for one in ACTIONS {
                let schema = (one.schema)();
                types.push(json!({"type": one.name, "about": one.about, "schema": schema}));
            }
        }
        _ => {}
    }
    let answer = json!({
        "kind": resource.name, "folder": resource.folder, "about": resource.about, "schema": (resource.schema)(),
        "types": types,
    });
    let version = digest::short(&[answer.to_string().as_bytes()]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let mut response = match known.is_some_and(|known| known.trim_matches('"') == version) {
        true => {
            let mut response = done();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        false => json_of(&answer)?,
    };
    tag(&mut response, &version);
    let keep = HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, keep);
    Ok(response)
}
