//! How far each route reaches into what grants may close, asked of every request by the gate.
//!
//! ```text
//! One(kind, deed) ─► the thing that the path names is granted, or is not there
//! Narrowed ────────► the handler leaves out what is hidden and refuses what was not granted
//! Free ────────────► grants are not about it
//! Whole ───────────► only for whom nothing is closed
//! ```
//! A route that is not named here reaches the whole project, so that one which forgets to be narrowed is refused to
//! everybody from whom something is hidden, and shows nothing.

use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::http::{Response, StatusCode};
use flywheel_project::grant::{Deed, Governed, name_of};
use flywheel_project::{Model, NodeId, NodeKind, Project};
use flywheel_runtime::access::granted::Granted;
use serde_json::Value;

use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, RouteInfo};
use crate::problem::{Problem, Result};

/// How far a route reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Grants are not about it.
    Free,
    /// Its handler leaves out what is hidden, and refuses what was not granted.
    Narrowed,
    /// It is about the one thing that the first place of its path names.
    One(NodeKind, Deed),
    /// It is about the table, or the asset of another kind, that the first place of its path names.
    Called,
    /// It tells of everything, or does something to everything.
    Whole,
}

/// Routes whose handlers leave out what is hidden.
const NARROWED: &[(&str, &str)] = &[
    ("GET", "/v1/actions"),
    ("GET", "/v1/actions/counts"),
    ("GET", "/v1/approvals"),
    ("PATCH", "/v1/approvals/{approval}"),
    ("POST", "/v1/approvals/approve"),
    ("POST", "/v1/approvals/reject"),
    ("GET", "/v1/assets"),
    ("GET", "/v1/column-lineage"),
    ("GET", "/v1/connections"),
    ("GET", "/v1/dashboards"),
    ("POST", "/v1/dashboards"),
    ("POST", "/v1/dashboard-preview"),
    ("POST", "/v1/decide"),
    ("GET", "/v1/decisions/{decision}/replay"),
    ("GET", "/v1/experiments"),
    ("GET", "/v1/learners"),
    ("GET", "/v1/lineage"),
    ("GET", "/v1/links"),
    ("GET", "/v1/live"),
    ("GET", "/v1/merges"),
    ("GET", "/v1/metrics"),
    ("POST", "/v1/metrics/query"),
    ("GET", "/v1/models"),
    ("POST", "/v1/models/build"),
    ("GET", "/v1/policies"),
    ("POST", "/v1/policies"),
    ("POST", "/v1/policy-preview"),
    ("GET", "/v1/quality"),
    ("GET", "/v1/quarantine"),
    ("GET", "/v1/queries"),
    ("GET", "/v1/recommend"),
    ("GET", "/v1/runs"),
    ("GET", "/v1/runs/{run}"),
    ("GET", "/v1/runs/{run}/log"),
    ("GET", "/v1/schedules"),
    ("GET", "/v1/search"),
    ("POST", "/v1/sql"),
    ("POST", "/v1/sql/arrow"),
    ("POST", "/v1/sql/csv"),
    ("GET", "/v1/sql/schema"),
    ("POST", "/v1/sql/write"),
    ("GET", "/v1/status"),
    ("GET", "/v1/syncs"),
    ("GET", "/v1/trust"),
    ("GET", "/v1/work"),
    ("GET", "/v1/work/{work}"),
    ("POST", "/v1/work/{work}/cancel"),
];

/// Routes that tell of no thing and change none.
const FREE: &[(&str, &str)] = &[
    ("GET", "/v1/halt"),
    ("GET", "/v1/schemas/{kind}"),
    ("POST", "/v1/sql/{query}/cancel"),
    ("GET", "/v1/turns"),
];

/// What the first place of a path names.
const PLACES: [(&str, NodeKind); 10] = [
    ("{connection}", NodeKind::Connection),
    ("{dashboard}", NodeKind::Dashboard),
    ("{learner}", NodeKind::Learner),
    ("{link}", NodeKind::Link),
    ("{merge}", NodeKind::Merge),
    ("{model}", NodeKind::Model),
    ("{policy}", NodeKind::Policy),
    ("{quality}", NodeKind::Quality),
    ("{query}", NodeKind::Query),
    ("{schedule}", NodeKind::Schedule),
];

impl RouteInfo {
    /// How far it reaches into what grants may close.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let (method, path) = (self.method, self.path);
        let is = |known: &[(&str, &str)]| known.contains(&(method, path));
        // Who one is, what one may ask for, and what one hands in.
        let own = matches!(self.access, Access::Public | Access::SignedIn | Access::Ticket)
            || self.access == Access::Needs(Permission::Ingest);
        if own || is(FREE) {
            return Reach::Free;
        }
        if is(NARROWED) {
            return Reach::Narrowed;
        }
        let first = path.split('/').find(|part| part.starts_with('{')).unwrap_or_default();
        match (first, method) {
            ("{asset}", _) | ("{table}", "GET") => return Reach::Called,
            ("{sync}", "GET") => return Reach::One(NodeKind::Sync, Deed::Read),
            ("{sync}", _) => return Reach::One(NodeKind::Sync, Deed::Act),
            _ => {}
        }
        let Some((_, kind)) = PLACES.into_iter().find(|(place, _)| *place == first) else {
            return Reach::Whole;
        };
        let deed = match (kind, method) {
            (_, "GET") => Deed::Read,
            // A draft of a sync is made of all that the connection holds.
            (NodeKind::Connection, _) if path.ends_with("/draft") => return Reach::Whole,
            // A key calls a query for whoever made it, and no more.
            (NodeKind::Query, "POST") => Deed::Read,
            (NodeKind::Dashboard, "POST") => Deed::Change,
            (_, "PUT" | "PATCH" | "DELETE") => Deed::Change,
            _ => Deed::Act,
        };
        match Governed::of(kind) {
            // What no grant can name is only looked at by those from whom something is hidden.
            None if deed != Deed::Read => Reach::Whole,
            _ => Reach::One(kind, deed),
        }
    }
}

/// Lets a caller from whom something is hidden ask, or refuses: what they do not see is told of as what is not there.
pub(crate) async fn check(
    app: &App,
    info: &RouteInfo,
    request: &mut Request,
    caller: &Caller,
) -> Result<()> {
    let workspace = app.workspace();
    let project = &workspace.project;
    if project.grants.is_empty() {
        return Ok(());
    }
    let Some(granted) = caller.reading(project).granted(project) else { return Ok(()) };
    match info.reach() {
        Reach::Free | Reach::Narrowed => Ok(()),
        Reach::Whole => Err(too_far(caller)),
        Reach::One(kind, deed) => {
            let name = first_place(request).await?;
            check_one(project, &granted, (kind, deed), &name, info.method)
        }
        Reach::Called => {
            let name = first_place(request).await?;
            match granted.shows_called(&name) {
                true => Ok(()),
                false => Err(Problem::not_found(format!("no asset \"{name}\""))),
            }
        }
    }
}

/// Where names come from what the caller sees already.
const OF_THE_CATALOGUE: &str = "unknown table";

/// Takes the hints from the problem of an answer, which are made of all names there are.
pub(crate) fn hush(info: &RouteInfo, response: &mut Response<Body>) {
    let Some(problem) = response.extensions_mut().get_mut::<Problem>() else { return };
    let sql = info.path.starts_with("/v1/sql");
    let told = match problem.status {
        StatusCode::NOT_FOUND => sql && problem.detail.starts_with(OF_THE_CATALOGUE),
        StatusCode::BAD_REQUEST => sql,
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => false,
        _ => true,
    };
    if told {
        return;
    }
    problem.hint = None;
    for one in problem.rejected.iter_mut().filter_map(Value::as_object_mut) {
        one.remove("hint");
    }
}

/// The first place of the path, as it was written before it was put into an address.
async fn first_place(request: &mut Request) -> Result<String> {
    let (mut parts, body) = std::mem::take(request).into_parts();
    let places = RawPathParams::from_request_parts(&mut parts, &()).await;
    let name = places.map(|places| places.iter().next().map(|(_, value)| value.to_owned()));
    *request = Request::from_parts(parts, body);
    let name = name.map_err(|_| Problem::invalid("the address is not UTF-8"))?;
    Ok(name.unwrap_or_default())
}

fn check_one(
    project: &Project,
    granted: &Granted<'_>,
    (kind, deed): (NodeKind, Deed),
    name: &str,
    method: &str,
) -> Result<()> {
    let id = match kind {
        // A model goes by its name and by that of its table.
        NodeKind::Model => {
            let models = &project.models;
            let named = |model: &&Model| model.name == name || model.relation() == name;
            let found = models.values().find(named);
            NodeId::new(kind, found.map_or_else(|| name.to_owned(), |model| model.name.clone()))
        }
        _ => NodeId::new(kind, name),
    };
    let there = match kind {
        NodeKind::Schedule => project.schedules.contains_key(name),
        _ => project.graph.info(&id).is_some(),
    };
    let seen = there && granted.shows(&id);
    // What is made need not be there; whether something hidden is, is not told.
    if !seen && method != "PUT" {
        let known: Vec<String> = known(project, kind);
        return Err(granted
            .unknown(word(kind), kind, name, known.iter().map(String::as_str))
            .into());
    }
    match Governed::of(kind) {
        Some(governed) => Ok(granted.require(governed, &name_of(project, &id), deed)?),
        None => Ok(()),
    }
}

fn known(project: &Project, kind: NodeKind) -> Vec<String> {
    match kind {
        NodeKind::Schedule => project.schedules.keys().cloned().collect(),
        _ => {
            let nodes = project.graph.nodes().map(|(id, _)| id).filter(|id| id.kind == kind);
            nodes.map(|id| id.name.clone()).collect()
        }
    }
}

/// What handlers call what is not there.
fn word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Quality => "quality file",
        NodeKind::Query => "published query",
        other => other.word(),
    }
}

fn too_far(caller: &Caller) -> Problem {
    let detail =
        format!("this is about the whole project, of which grants show a part to {}", caller.who());
    Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint("Ask somebody to whom nothing is closed, such as an owner or admin.")
}
