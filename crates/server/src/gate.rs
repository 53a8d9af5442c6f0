//! The one gate: a route is made by naming what it takes to use it, or it does not compile.
//!
//! [`Routes`] is the only way to a handler, and each of its methods has an [`Access`] among its arguments
//! that has no default. The list of routes is kept: the reference of the API and the test of every role at every
//! route are made from it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{Method, Response, StatusCode};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{self, Caller};
use crate::problem::Problem;

/// What somebody may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// See states, declarations and names.
    View,
    /// Read rows.
    Query,
    /// Run, cancel, replay, retry, pause, resume, test connections.
    Operate,
    /// Let a challenger decide, and take that back.
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
    pub const ALL: [Self; 8] = [
        Self::View,
        Self::Query,
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

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// May do everything, and make owners.
    Owner,
    /// May do everything, but touch owners.
    Admin,
    /// Builds and runs the wheel.
    Engineer,
    /// Reads rows.
    Analyst,
    /// Keeps the wheel running, without reading rows.
    Operator,
    /// Sees states.
    Viewer,
    /// A program that hands in events and asks for decisions.
    Agent,
}

impl Role {
    /// All of them, from the most to the least.
    pub const ALL: [Self; 7] = [
        Self::Owner,
        Self::Admin,
        Self::Engineer,
        Self::Analyst,
        Self::Operator,
        Self::Viewer,
        Self::Agent,
    ];

    /// The word in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Engineer => "engineer",
            Self::Analyst => "analyst",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Agent => "agent",
        }
    }

    /// The role of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// What the role may do.
    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        use Permission::{Decide, Ingest, Operate, Promote, Query, View};
        match self {
            Self::Owner | Self::Admin => &Permission::ALL,
            Self::Engineer => &[View, Query, Operate, Promote, Ingest, Decide],
            Self::Analyst => &[View, Query],
            Self::Operator => &[View, Operate],
            Self::Viewer => &[View],
            Self::Agent => &[Ingest, Decide],
        }
    }

    /// Whether the role may do that.
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
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
}

/// Routes under the gate.
pub(crate) struct Routes {
    app: Arc<App>,
    router: Router<Arc<App>>,
    list: Vec<RouteInfo>,
}

impl Routes {
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self { app: Arc::clone(app), router: Router::new(), list: Vec::new() }
    }

    /// A route that reads.
    pub(crate) fn get<H, T>(
        &mut self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.add("GET", path, access, about, None, handler);
    }

    /// A route that does something with a JSON input of type `I`.
    pub(crate) fn post<I, H, T>(
        &mut self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) where
        I: schemars::JsonSchema,
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.add("POST", path, access, about, Some(schema::<I>), handler);
    }

    /// A route that does something and needs no input.
    pub(crate) fn act<H, T>(
        &mut self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.add("POST", path, access, about, None, handler);
    }

    /// A route that changes something.
    pub(crate) fn patch<I, H, T>(
        &mut self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) where
        I: schemars::JsonSchema,
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.add("PATCH", path, access, about, Some(schema::<I>), handler);
    }

    /// A route that removes something.
    pub(crate) fn delete<H, T>(
        &mut self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) where
        H: Handler<T, Arc<App>>,
        T: 'static,
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
        T: 'static,
    {
        // Events and decisions are rows of their own tables.
        let busy = matches!(access, Access::Needs(Permission::Ingest | Permission::Decide));
        let audited = method != "GET" && access != Access::Public && !busy;
        let info = RouteInfo { method, path, access, about, audited, input };
        let filter = match method {
            "POST" => MethodFilter::POST,
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

fn schema<I: schemars::JsonSchema>() -> schemars::Schema {
    schemars::schema_for!(I)
}

/// What is said about a request in the audit log beside its address, put there by a handler.
#[derive(Clone, Debug)]
pub(crate) struct Noted(pub(crate) Value);

async fn gate(
    State((app, info)): State<(Arc<App>, RouteInfo)>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let caller = match info.access {
        Access::Public => None,
        Access::SignedIn | Access::Needs(_) => match auth::caller(&app, request.headers()).await {
            Ok(caller) => Some(caller),
            Err(problem) => return problem.into_response(),
        },
    };
    if let Some(caller) = &caller {
        if let Access::Needs(permission) = info.access
            && !caller.may(permission)
        {
            return refused(caller, permission).into_response();
        }
        let safe = matches!(*request.method(), Method::GET | Method::HEAD);
        if !safe && let Err(problem) = caller.check_csrf(request.headers()) {
            return problem.into_response();
        }
        request.extensions_mut().insert(caller.clone());
    }
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let Some(caller) = caller.filter(|_| info.audited) else { return response };
    let noted = response.extensions().get::<Noted>().map_or(Value::Null, |noted| noted.0.clone());
    let detail = json!({"status": response.status().as_u16(), "more": noted});
    let what = format!("{} {}", info.method, info.path);
    match app.audit(caller.who(), what, path, detail).await {
        Ok(()) => response,
        // What cannot be noted must not go unnoticed.
        Err(error) => Problem::from(error).into_response(),
    }
}

fn refused(caller: &Caller, permission: Permission) -> Problem {
    let detail = format!(
        "{} may not do this: it takes the permission \"{}\", which {} does not have",
        caller.who(),
        permission.word(),
        caller.kind()
    );
    Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint("Ask an owner or admin for another role or for a token with that scope.")
}
