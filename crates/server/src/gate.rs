//! The one gate: a route is made by naming what it takes to use it, or it does not compile.
//!
//! [`Routes`] is the only way to a handler, and each of its methods has an [`Access`] among its arguments
//! that has no default; the examples of [`Routes`] prove it. The list of routes is kept: the reference of the API
//! and the test of every role at every route are made from it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::handler::Handler;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};
use flywheel_project::resource::rule::Role;
use flywheel_runtime::access::Reader;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::app::App;
use crate::auth::{self, Caller, Link};
use crate::cors;
use crate::http::{NextPiece, access, files};
use crate::input::{Takes, schema_of};
use crate::page_key;
use crate::problem::Problem;
use crate::quota;
use crate::rate::Left;
use crate::reach;
use crate::wire::Peer;

/// What somebody may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// See states, declarations and names.
    View,
    /// Read rows.
    Query,
    /// Call published queries.
    Call,
    /// Change rows by SQL, and make, change and drop schemas, views and tables that no file declares.
    Write,
    /// Make, change and share dashboards, and make policies that wait until somebody lets them go on; change files of other
    /// declarations, for which it takes `query` and `operate` or `administer`, too.
    Author,
    /// Run, cancel, replay, retry, pause, resume, test connections.
    Operate,
    /// Let a challenger decide, or an older artifact be served, and take that back.
    Promote,
    /// Hand in events and outcomes.
    Ingest,
    /// Ask for decisions and recommendations.
    Decide,
    /// Manage users, and tokens of others.
    Administer,
    /// Read the audit log.
    Audit,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::View,
        Self::Query,
        Self::Call,
        Self::Write,
        Self::Author,
        Self::Operate,
        Self::Promote,
        Self::Ingest,
        Self::Decide,
        Self::Administer,
        Self::Audit,
    ];

    /// The word in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Query => "query",
            Self::Call => "call",
            Self::Write => "write",
            Self::Author => "author",
            Self::Operate => "operate",
            Self::Promote => "promote",
            Self::Ingest => "ingest",
            Self::Decide => "decide",
            Self::Administer => "administer",
            Self::Audit => "audit",
        }
    }

    /// The permission of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.word() == word)
    }
}

/// What a role may do.
pub trait Allows {
    /// All that it may do.
    fn permissions(self) -> &'static [Permission];

    /// Whether it may do that.
    fn may(self, permission: Permission) -> bool;
}

impl Allows for Role {
    fn permissions(self) -> &'static [Permission] {
        use Permission::{Author, Call, Decide, Ingest, Operate, Promote, Query, View, Write};
        match self {
            Self::Owner | Self::Admin => &Permission::ALL,
            Self::Engineer => &[View, Query, Call, Write, Author, Operate, Promote, Ingest, Decide],
            Self::Analyst => &[View, Query, Call, Author],
            Self::Operator => &[View, Operate],
            Self::Viewer => &[View, Call],
            Self::Agent => &[Call, Ingest, Decide],
        }
    }

    fn may(self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }
}

/// What it takes to use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// To be somebody.
    SignedIn,
    /// The permission to view, or a link to the very dashboard that the path names first.
    Board,
    /// The permission to call, or a key to the very query that the path names first.
    Published,
    /// A ticket in the path, to the files of the extension that it names first.
    Ticket,
    /// A permission.
    Needs(Permission),
}

/// A route, as the reference and the tests know it.
#[derive(Clone, Copy, Debug)]
pub struct RouteInfo {
    /// The method.
    pub method: &'static str,
    /// The path, with places in braces.
    pub path: &'static str,
    /// What it takes.
    pub access: Access,
    /// What it does, in a line.
    pub about: &'static str,
    /// Whether what it does is noted in the audit log.
    pub audited: bool,
    /// The schema of what it takes as JSON.
    pub input: Option<fn() -> schemars::Schema>,
    /// The schema of what may stand after the `?` of its address.
    pub question: fn() -> Option<schemars::Schema>,
    /// Whether it takes a body as it comes.
    pub whole_body: bool,
}

/// Routes under the gate.
///
/// A route that names what it takes:
/// ```no_run
/// use flywheel_server::{Access, Permission, Routes};
///
/// fn routes(routes: &mut Routes) {
///     routes.get("/v1/x", Access::Needs(Permission::View), "Shows x", async || "x");
/// }
/// ```
/// The same route without it does not compile:
/// ```compile_fail,E0061
/// use flywheel_server::{Access, Permission, Routes};
///
/// fn routes(routes: &mut Routes) {
///     routes.get("/v1/x", "Shows x", async || "x");
/// }
/// ```
pub struct Routes {
    app: Arc<App>,
    router: Router<Arc<App>>,
    list: Vec<RouteInfo>,
}

impl Routes {
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self { app: Arc::clone(app), router: Router::new(), list: Vec::new() }
    }

    /// A route that reads.
    pub fn get<H, T>(&mut self, path: &'static str, access: Access, about: &'static str, handler: H)
    where
        H: Handler<T, Arc<App>>,
        T: Takes + 'static,
    {
        self.add("GET", path, access, about, None, handler);
    }

    /// A route that does something with a JSON input of type `I`.
    pub fn post<I, H, T>(
        &mut self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) where
        I: schemars::JsonSchema,
        H: Handler<T, Arc<App>>,
        T: Takes + 'static,
    {
        self.add("POST", path, access, about, Some(schema_of::<I>), handler);
    }

    /// A route that does something and needs no input.
    pub fn act<H, T>(&mut self, path: &'static str, access: Access, about: &'static str, handler: H)
    where
        H: Handler<T, Arc<App>>,
        T: Takes + 'static,
    {
        self.add("POST", path, access, about, None, handler);
    }

    /// A route that makes something, or puts it in the place of what is there.
    pub fn put<I, H, T>(
        &mut self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) where
        I: schemars::JsonSchema,
        H: Handler<T, Arc<App>>,
        T: Takes + 'static,
    {
        self.add("PUT", path, access, about, Some(schema_of::<I>), handler);
    }

    /// A route that changes something.
    pub fn patch<I, H, T>(
        &mut self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) where
        I: schemars::JsonSchema,
        H: Handler<T, Arc<App>>,
        T: Takes + 'static,
    {
        self.add("PATCH", path, access, about, Some(schema_of::<I>), handler);
    }

    /// A route that removes something.
    pub fn delete<H, T>(
        &mut self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) where
        H: Handler<T, Arc<App>>,
        T: Takes + 'static,
    {
        self.add("DELETE", path, access, about, None, handler);
    }

    fn add<H, T>(
        &mut self,
        method: &'static str,
        path: &'static str,
        access: Access,
        about: &'static str,
        input: Option<fn() -> schemars::Schema>,
        handler: H,
    ) where
        H: Handler<T, Arc<App>>,
        T: Takes + 'static,
    {
        // Events and decisions are rows of their own tables.
        let busy = matches!(access, Access::Needs(Permission::Ingest | Permission::Decide));
        // A draft is checked while it is written, and nothing comes of it.
        let drafts = path == files::CHECK;
        let changes = method != "GET" && access != Access::Public && !busy && !drafts;
        // What leaves by a published query is noted, since a program takes it and no person.
        let audited = changes || access == Access::Published;
        let (question, whole_body) = (T::question as fn() -> _, T::whole_body());
        let info = RouteInfo { method, path, access, about, audited, input, question, whole_body };
        let filter = match method {
            "POST" => MethodFilter::POST,
            "PUT" => MethodFilter::PUT,
            "PATCH" => MethodFilter::PATCH,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        let gate = middleware::from_fn_with_state((Arc::clone(&self.app), info), gate);
        let router = std::mem::take(&mut self.router);
        self.router = router.route(path, on(filter, handler).layer(gate));
        self.list.push(info);
    }

    /// The router and the list of its routes.
    pub(crate) fn finish(self) -> (Router<Arc<App>>, Vec<RouteInfo>) {
        (self.router, self.list)
    }
}

/// What is said about a request in the audit log beside its address, put there by a handler.
#[derive(Clone, Debug)]
pub(crate) struct Noted(pub(crate) Value);

async fn gate(
    State((app, info)): State<(Arc<App>, RouteInfo)>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    // Also where nobody has to be logged in: a page that logs a visitor in as somebody else learns what is done then.
    // The frame of an extension is another site to browsers; what it proves itself by no other page has.
    let framed = info.access != Access::Public && cors::is_of_extension(request.headers());
    // A page of another site hands in events by a key that is checked against that site.
    let key = page_key::of(request.uri()).filter(|_| !safe).map(str::to_owned);
    if !safe && !framed && key.is_none() && auth::is_of_another_site(request.headers()) {
        return auth::not_ours().into_response();
    }
    let caller = match info.access {
        Access::Public => None,
        Access::Ticket => {
            let ticket = place_of(&info, &request, "{ticket}").unwrap_or_default();
            let extension = place_of(&info, &request, "{extension}").unwrap_or_default();
            match auth::check_ticket(&app, extension, ticket) {
                Ok(()) => None,
                Err(problem) => return problem.into_response(),
            }
        }
        Access::SignedIn | Access::Board | Access::Published | Access::Needs(_) => {
            let page = key.as_deref().map(|key| page_key::check(&app, &request, key));
            let caller = match page {
                Some(Ok(page)) => auth::of_page(&app, page).await,
                Some(Err(problem)) => Err(problem),
                None => auth::caller(&app, request.headers()).await,
            };
            match caller {
                Ok(caller) => Some(caller),
                Err(problem) => return problem.into_response(),
            }
        }
    };
    let (uri, mut rate) = (request.uri().clone(), None);
    if let Some(caller) = &caller {
        match quota::count(&app, caller) {
            Ok(left) => rate = left,
            Err(refused) => {
                let (problem, left) = *refused;
                return told(&app, &uri, Some(left), problem.into_response()).await;
            }
        }
        let permission = match info.access {
            Access::Needs(permission) => Some(permission),
            Access::Board => Some(Permission::View),
            Access::Published => Some(Permission::Call),
            Access::SignedIn | Access::Public | Access::Ticket => None,
        };
        if let Some(key) = &caller.key {
            let own = info.access == Access::Published && is_of(&info, &request, &key.query);
            let taken = match own {
                false => Err(of_other_query(&key.query)),
                // A key does no more than its maker may.
                true if !caller.has(Permission::Call) => Err(refused(caller, Permission::Call)),
                true => app.rates.take(&format!("key {}", key.id), 1, KEY_ASKS_MAX),
            };
            if let Err(problem) = taken {
                return problem.into_response();
            }
        }
        match &caller.link {
            Some(link) if info.access != Access::Board || !is_of(&info, &request, &link.board) => {
                return elsewhere(&link.board).into_response();
            }
            Some(link) => {
                if let Err(problem) = check_link(&app, &request, link) {
                    return problem.into_response();
                }
            }
            None => {
                if let Some(permission) = permission
                    && caller.key.is_none()
                    && !caller.may(permission)
                {
                    return refused(caller, permission).into_response();
                }
            }
        }
        if !safe && let Err(problem) = caller.check_csrf(request.headers()) {
            return problem.into_response();
        }
    }
    let viewed = match viewed(request.uri()) {
        Ok(viewed) => viewed,
        Err(problem) => return problem.into_response(),
    };
    let reader = match (&caller, &viewed) {
        (Some(caller), Some(name)) => match view_as(&app, &info, caller, name).await {
            Ok(reader) => Some(reader),
            Err(problem) => return problem.into_response(),
        },
        _ => None,
    };
    let mut closed = false;
    if let Some(caller) = &caller {
        let caller = match reader {
            Some(reader) => caller.clone().viewing(reader),
            None => caller.clone(),
        };
        if let Err(problem) = reach::check(&app, &info, &mut request, &caller).await {
            return problem.into_response();
        }
        closed = caller.is_closed_to(&app.workspace().project);
        request.extensions_mut().insert(caller);
    }
    if caller.is_some() && viewed.is_some() {
        match without_reader(request.uri()) {
            Ok(uri) => *request.uri_mut() = uri,
            Err(problem) => return problem.into_response(),
        }
    }
    let path = request.uri().path().to_owned();
    // Who looks through the eyes of somebody else leaves a trace, also where reading leaves none.
    let audited = info.audited || viewed.is_some();
    let Some(caller) = caller.filter(|_| audited) else {
        let response = answered(&info, closed, request, next).await;
        return told(&app, &uri, rate, response).await;
    };
    let what = format!("{} {}", info.method, info.path);
    let mut trail = Trail { app: Arc::clone(&app), entry: Some((caller.who(), what, path)) };
    let response = answered(&info, closed, request, next).await;
    let response = told(&app, &uri, rate, response).await;
    let Some((who, what, path)) = trail.entry.take() else { return response };
    let noted = response.extensions().get::<Noted>().map_or(Value::Null, |noted| noted.0.clone());
    let mut detail = json!({"status": response.status().as_u16(), "more": noted});
    if let (Some(name), Value::Object(detail)) = (viewed, &mut detail) {
        detail.insert("as".to_owned(), json!(name));
    }
    match app.audit(who, what, path, detail).await {
        Ok(()) => response,
        // What cannot be noted must not go unnoticed.
        Err(error) => {
            let done = (!safe && response.status().is_success()).then(|| response.status());
            unnoted(Problem::from(error), done).into_response()
        }
    }
}

/// The answer to a request that cannot be noted. If it was done, with this status, who asked must not take it for one that
/// was not, and ask again.
fn unnoted(mut problem: Problem, done: Option<StatusCode>) -> Problem {
    let Some(status) = done else { return problem };
    problem.detail = format!(
        "what was asked for was taken ({}), but the audit log could not note it: {}",
        status.as_u16(),
        problem.detail
    );
    let first = "Look at what came of it before you ask again.";
    problem.hint = Some(match problem.hint {
        Some(hint) => format!("{first} {hint}"),
        None => first.to_owned(),
    });
    // Nobody is to ask again by themselves.
    problem.retry_after_s = None;
    problem
}

/// What the handler answers, without hints of names that the caller does not see if something is closed to them.
async fn answered(info: &RouteInfo, closed: bool, request: Request, next: Next) -> Response<Body> {
    let mut response = next.run(request).await;
    if closed {
        reach::hush(info, &mut response);
    }
    response
}

/// The answer with what is left of the minute and where its list goes on, once the audit log has the quotas that were
/// exceeded.
async fn told(
    app: &Arc<App>,
    uri: &Uri,
    rate: Option<Left>,
    mut response: Response<Body>,
) -> Response<Body> {
    if let Some(rate) = rate {
        rate.tell(response.headers_mut());
    }
    if let Some(link) = response.extensions().get::<NextPiece>().and_then(|next| link_to(uri, next))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    match quota::note(app).await {
        Ok(()) => response,
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Where the next piece of a list is: the same address with another cursor.
fn link_to(uri: &Uri, NextPiece(cursor): &NextPiece) -> Option<HeaderValue> {
    let cursor: String = cursor.bytes().fold(String::from("cursor="), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
        text
    });
    let others = uri.query().unwrap_or_default().split('&').filter(|one| {
        !one.is_empty() && !matches!(one.split('=').next(), Some("cursor" | "before"))
    });
    let query: Vec<&str> = others.chain([cursor.as_str()]).collect();
    HeaderValue::try_from(format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))).ok()
}

/// As whom the address asks to read: `?as=anna`.
#[derive(Deserialize)]
struct Viewed {
    #[serde(rename = "as")]
    reader: Option<String>,
}

fn viewed(uri: &Uri) -> Result<Option<String>, Problem> {
    let asked = Query::<Viewed>::try_from_uri(uri);
    let Query(asked) =
        asked.map_err(|error| Problem::invalid(format!("the address does not fit: {error}")))?;
    Ok(asked.reader)
}

/// The address without what the gate took from it, so that routes which know all of their parameters do not refuse it.
fn without_reader(uri: &Uri) -> Result<Uri, Problem> {
    let others = uri.query().unwrap_or_default().split('&');
    let others = others.filter(|one| one.split('=').next() != Some("as"));
    let others = others.collect::<Vec<&str>>().join("&");
    let path = uri.path();
    let text = if others.is_empty() { path.to_owned() } else { format!("{path}?{others}") };
    let unfit = |error: String| Problem::invalid(format!("the address does not fit: {error}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query =
        Some(PathAndQuery::try_from(text).map_err(|error| unfit(error.to_string()))?);
    Uri::from_parts(parts).map_err(|error| unfit(error.to_string()))
}

/// The reader as whom somebody wants to look, if they may and if that reader could ask the same.
async fn view_as(
    app: &Arc<App>,
    info: &RouteInfo,
    caller: &Caller,
    name: &str,
) -> Result<Reader, Problem> {
    if !caller.may(Permission::Administer) {
        return Err(refused(caller, Permission::Administer));
    }
    let permission = match info.access {
        Access::Needs(permission @ (Permission::Query | Permission::View)) => Some(permission),
        Access::Board => Some(Permission::View),
        Access::Published => Some(Permission::Call),
        _ => None,
    };
    let Some(permission) = permission else {
        return Err(Problem::invalid("only what is read can be looked at as somebody else")
            .hint("Leave out ?as=."));
    };
    let asked = name.to_owned();
    let reader = app.blocking(move |app| Reader::named(&app.workspace(), &asked)).await?;
    if auth::may_be(&reader, permission) {
        return Ok(reader);
    }
    let detail = format!(
        "{name} could not ask this: it takes the permission \"{}\", which the role \"{}\" does not have",
        permission.word(),
        reader.role.as_deref().unwrap_or_default()
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail))
}

/// Whether the first place of the path is `name`.
fn is_of(info: &RouteInfo, request: &Request, name: &str) -> bool {
    let first = info.path.split('/').find(|part| part.starts_with('{'));
    // Names of dashboards and queries have no letters that addresses write otherwise.
    first.and_then(|first| place_of(info, request, first)) == Some(name)
}

/// What stands in a place of the path, as the address writes it.
fn place_of<'a>(info: &RouteInfo, request: &'a Request, place: &str) -> Option<&'a str> {
    let at = info.path.split('/').position(|part| part == place)?;
    request.uri().path().split('/').nth(at)
}

/// The header by which a page behind a link says which link it was opened by.
const LINK: &str = "x-flywheel-link";
/// How often one link may ask within a minute.
const LINK_ASKS_MAX: u64 = 600;
/// How often one key may call its query within a minute.
const KEY_ASKS_MAX: u64 = 1_200;
/// How often one address may ask by one link within a minute.
const LINK_ASKS_OF_ADDRESS_MAX: u64 = 120;

/// Lets a link ask: not too often, and only from a page that was allowed to stand where it stands.
///
/// Where a page may stand is told to the browser with the page, by the link that its address names. A page whose address
/// was cut short names none, and is told so here.
fn check_link(app: &App, request: &Request, link: &Link) -> Result<(), Problem> {
    let named = request.headers().get(LINK).and_then(|named| named.to_str().ok());
    if !link.sites.is_empty() && named != Some(link.id.as_str()) {
        let detail =
            "this link works in pages of the sites it was made for, and by its whole address";
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
            .hint("Use the address as it was given, with what stands after the ?."));
    }
    app.rates.take(&format!("link {}", link.id), 1, LINK_ASKS_MAX)?;
    if let Some(Peer(peer)) = request.extensions().get::<Peer>() {
        let address = auth::address_of(app, *peer, request.headers());
        let name = format!("link {} {}", link.id, auth::network_of(address));
        app.rates.take(&name, 1, LINK_ASKS_OF_ADDRESS_MAX)?;
    }
    Ok(())
}

fn of_other_query(query: &str) -> Problem {
    let detail = format!("this key calls the published query \"{query}\" and does nothing else");
    Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint(format!("Ask for GET /v1/queries/{query}/rows, or take a key of the other query."))
}

fn elsewhere(board: &str) -> Problem {
    let detail = format!("this link shows the dashboard \"{board}\" and nothing else");
    Problem::new(StatusCode::FORBIDDEN, "denied", detail).hint("Log in to see more.")
}

/// What is to be noted of a request under way: who, what, and where. A caller who leaves before the answer drops it, and
/// what was asked for may be done all the same, so it is noted then.
struct Trail {
    app: Arc<App>,
    entry: Option<(String, String, String)>,
}

impl Drop for Trail {
    fn drop(&mut self) {
        let Some((who, what, path)) = self.entry.take() else { return };
        let app = Arc::clone(&self.app);
        let note = move || {
            let detail = json!({"status": null, "more": "the caller left before the answer"});
            if let Err(error) = app.note(&who, &what, &path, &detail) {
                tracing::error!(error = %error.report(), who, what, "a request is not noted");
            }
        };
        match Handle::try_current() {
            // A runtime that ends waits for what it does off its threads.
            Ok(handle) => drop(handle.spawn_blocking(note)),
            Err(_) => note(),
        }
    }
}

pub(crate) fn refused(caller: &Caller, permission: Permission) -> Problem {
    let detail = format!(
        "{} may not do this: it takes the permission \"{}\", which {} does not have",
        caller.who(),
        permission.word(),
        caller.kind()
    );
    let mut problem = Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint("Ask an owner or admin for another role or for a token with that scope.");
    // A token lacks a scope, which nobody can approve.
    if caller.session.is_some() && access::can_be_asked_for(permission) {
        problem.ask = Some(permission.word());
        problem.hint = Some(
            "Ask for it: POST /v1/access-requests, or the page \"Access\"; an owner or admin decides.".to_owned(),
        );
    }
    problem
}
