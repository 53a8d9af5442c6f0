//! Access that somebody asks for, and that somebody else gives for a time or refuses.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flywheel_base::entropy;
use flywheel_project::resource::rule::Rule;
use flywheel_runtime::access::granted::Granted;
use flywheel_state::{AccessRequest, GrantKind, RequestStatus, Verdict};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{done, json_of};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Noted, Permission, Routes};
use crate::input::{Input, Place};
use crate::live::Live;
use crate::problem::{Problem, Result};

/// The longest reason or answer, in characters.
const TEXT_MAX: usize = 500;
/// The longest time that may be asked for or given, in days.
const DAYS_MAX: u16 = 365;

pub(super) fn routes(routes: &mut Routes) {
    let administer = Access::Needs(Permission::Administer);
    routes.get(
        "/v1/access-requests",
        Access::SignedIn,
        "Lists what the caller asked for and may ask for, and everybody's requests for who may administer",
        list,
    );
    routes.post::<NewRequest, _, _>(
        "/v1/access-requests",
        Access::SignedIn,
        "Asks for a permission, to see what a rule hides, or for a grant, with a reason",
        ask,
    );
    routes.post::<Approval, _, _>(
        "/v1/access-requests/{request}/approve",
        administer,
        "Gives what somebody else asked for, for a time or for good",
        approve,
    );
    routes.post::<Refusal, _, _>(
        "/v1/access-requests/{request}/refuse",
        administer,
        "Refuses what somebody else asked for, with a reason",
        refuse,
    );
    routes.act(
        "/v1/access-requests/{request}/seen",
        Access::SignedIn,
        "Notes that the caller has seen what was decided about a request of theirs",
        seen,
    );
    routes.delete(
        "/v1/access-requests/{request}",
        Access::SignedIn,
        "Takes back the caller's own request, or ends what was given",
        end,
    );
}

/// Whether a permission can be asked for. Managing users and reading the audit log come with a role, which outlasts no
/// approval by mistake.
pub(crate) fn can_be_asked_for(permission: Permission) -> bool {
    !matches!(permission, Permission::Administer | Permission::Audit)
}

fn shown(request: &AccessRequest, app: &App) -> Value {
    let now = app.machine_now();
    let over = request.until.is_some_and(|until| until <= now);
    let status = match request.status {
        // Its time took it away.
        RequestStatus::Approved if over => "expired",
        status => status.word(),
    };
    json!({
        "id": request.id, "user": request.user, "kind": request.kind.word(), "what": request.what,
        "reason": request.reason, "days": request.days, "asked_at": request.asked_at.to_string(), "status": status,
        "decided_by": request.decided_by, "decided_at": request.decided_at.map(|at| at.to_string()),
        "answer": request.answer, "until": request.until.map(|at| at.to_string()), "seen": request.seen,
    })
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let whose = (!caller.may(Permission::Administer)).then(|| caller.user.clone());
    let all = app.blocking(move |app| app.workspace().store.access_requests(whose.as_deref()));
    let all: Vec<Value> = all.await?.iter().map(|request| shown(request, &app)).collect();
    let permissions: Vec<&str> = Permission::ALL
        .into_iter()
        .filter(|one| can_be_asked_for(*one) && !caller.may(*one))
        .map(Permission::word)
        .collect();
    let workspace = app.workspace();
    let reader = caller.reader(&workspace.project);
    let hiding = workspace.project.rules.values().filter(|rule| reader.is_limited_by(rule));
    let granted = caller.reading(&workspace.project).granted(&workspace.project);
    let seen = |table: &&String| granted.as_ref().is_none_or(|granted| granted.shows_table(table));
    let rules: Vec<Value> = hiding
        .filter(|rule| is_told(&rule.value, granted.as_ref()))
        .map(|rule| {
            let tables: Vec<&String> = rule.tables.iter().filter(seen).collect();
            json!({"rule": rule.rule, "description": rule.description, "tables": tables, "ask": rule.ask})
        })
        .collect();
    let held = reader.holding(&workspace.project);
    let lacked = workspace.project.grants.values().filter(|grant| {
        held.as_ref().is_some_and(|held| !held.grants().any(|one| one.grant == grant.grant))
    });
    // What it names may be hidden.
    let grants: Vec<Value> = lacked
        .map(|grant| json!({"grant": grant.grant, "description": grant.description, "ask": grant.ask}))
        .collect();
    json_of(&json!({
        "items": all, "askable": {"permissions": permissions, "rules": rules, "grants": grants},
    }))
}

/// Somebody who is here in person: what a program asks for nobody would recognise.
fn check_person(caller: &Caller) -> Result<()> {
    if caller.session.is_some() {
        return Ok(());
    }
    let detail = "requests are made and taken back by people, not by tokens";
    Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint("Log in; a token may do at most what its user may, so ask for the user."))
}

fn text(what: &str, given: &str) -> Result<String> {
    let given = given.trim();
    let length = given.chars().count();
    if length == 0 || length > TEXT_MAX || given.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Problem::invalid(format!("the {what} has {length} characters"))
            .hint(format!("Write 1 to {TEXT_MAX} characters; somebody has to understand it.")));
    }
    Ok(given.to_owned())
}

fn check_days(days: Option<u16>) -> Result<()> {
    if days.is_none_or(|days| (1..=DAYS_MAX).contains(&days)) {
        return Ok(());
    }
    Err(Problem::invalid(format!("access is given for 1 to {DAYS_MAX} days"))
        .hint("Leave the days out for access without an end."))
}

fn rule_of(app: &App, caller: &Caller, name: &str) -> Result<Rule> {
    let workspace = app.workspace();
    let rules = &workspace.project.rules;
    let granted = caller.reading(&workspace.project).granted(&workspace.project);
    let told = |rule: &Rule| is_told(rule, granted.as_ref());
    let found = rules.get(name).map(|rule| rule.value.clone()).filter(told);
    found.ok_or_else(|| {
        let known = rules.iter().filter(|(_, rule)| told(&rule.value)).map(|(name, _)| name);
        super::unknown("rule", name, known)
    })
}

/// Whether somebody is told of a rule: not where all that it is about is hidden from them.
fn is_told(rule: &Rule, granted: Option<&Granted<'_>>) -> bool {
    let Some(granted) = granted else { return true };
    // A name with a star, or a tag, may mean something that they see.
    let seen = |table: &String| table.contains('*') || granted.shows_table(table);
    !rule.tags.is_empty() || rule.tables.iter().any(seen)
}

/// Whether a grant, which has to be there, gives the caller nothing that they do not have.
fn has_grant(app: &App, caller: &Caller, name: &str) -> Result<bool> {
    let workspace = app.workspace();
    let grants = &workspace.project.grants;
    if !grants.contains_key(name) {
        return Err(super::unknown("grant", name, grants.keys()));
    }
    let held = caller.reader(&workspace.project).holding(&workspace.project);
    Ok(held.is_none_or(|held| held.grants().any(|one| one.grant == name)))
}

/// What somebody asks for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRequest {
    /// `permission`, `rule` to see all that a rule hides, or `grant` to hold a grant.
    kind: String,
    /// The permission's word, or the name of the rule or grant.
    what: String,
    /// Why.
    reason: String,
    /// For how many days, 365 at most; for good if absent.
    #[serde(default)]
    days: Option<u16>,
}

async fn ask(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<NewRequest>,
) -> Result<Response> {
    check_person(&caller)?;
    check_days(input.days)?;
    let reason = text("reason", &input.reason)?;
    let Some(kind) = GrantKind::of(&input.kind) else {
        return Err(Problem::invalid(format!("no kind \"{}\" of request", input.kind))
            .hint("Kinds are permission, rule and grant."));
    };
    check_askable(&app, &caller, kind, &input.what)?;
    let request = AccessRequest {
        id: entropy::token("a-")?.chars().take(14).collect(),
        user: caller.user,
        kind,
        what: input.what,
        reason,
        days: input.days,
        asked_at: app.machine_now(),
        status: RequestStatus::Open,
        decided_by: None,
        decided_at: None,
        answer: None,
        until: None,
        seen: false,
    };
    let answer = shown(&request, &app);
    let noted = noted(&request);
    if !app.blocking(move |app| app.workspace().store.ask_for_access(&request)).await? {
        let detail = "you asked for that already, and nobody has decided yet";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", detail)
            .hint("Wait, or take the request back and ask again."));
    }
    tell(&app);
    let mut response = json_of(&answer)?;
    *response.status_mut() = StatusCode::CREATED;
    response.extensions_mut().insert(noted);
    Ok(response)
}

/// Refuses to ask for what is not there, what nobody is given, and what the caller has.
fn check_askable(app: &App, caller: &Caller, kind: GrantKind, what: &str) -> Result<()> {
    let has = match kind {
        GrantKind::Permission => {
            let permission = Permission::of(what).filter(|one| can_be_asked_for(*one));
            let permission = permission.ok_or_else(|| {
                let all = Permission::ALL.into_iter().filter(|one| can_be_asked_for(*one));
                let words: Vec<&str> = all.map(Permission::word).collect();
                Problem::invalid(format!("the permission \"{what}\" cannot be asked for"))
                    .hint(format!("Ask for one of {}; others come with a role.", words.join(", ")))
            })?;
            caller.may(permission)
        }
        GrantKind::Rule => {
            !caller.reader(&app.workspace().project).is_limited_by(&rule_of(app, caller, what)?)
        }
        GrantKind::Grant => has_grant(app, caller, what)?,
    };
    if has {
        let detail = format!("you have the {} \"{what}\" already", kind.word());
        let detail = match kind {
            GrantKind::Permission | GrantKind::Grant => detail,
            GrantKind::Rule => format!("rule \"{what}\" hides nothing from you"),
        };
        return Err(
            Problem::invalid(detail).hint("GET /v1/access-requests lists what you may ask for.")
        );
    }
    Ok(())
}

fn noted(request: &AccessRequest) -> Noted {
    Noted(json!({
        "request": request.id, "for": request.user, "kind": request.kind.word(), "what": request.what,
        "reason": request.reason, "days": request.days, "answer": request.answer,
        "until": request.until.map(|at| at.to_string()), "status": request.status.word(),
    }))
}

fn tell(app: &App) {
    app.tell(Live::new("changed", json!({"what": ["access"]})));
}

/// How something is given.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Approval {
    /// For how many days, 365 at most; as long as was asked for if absent.
    #[serde(default)]
    days: Option<u16>,
    /// Something to say to who asked.
    #[serde(default)]
    answer: Option<String>,
}

/// Why something is refused.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Refusal {
    /// Why, for who asked.
    reason: String,
}

async fn named(app: &Arc<App>, id: &str) -> Result<AccessRequest> {
    let asked = id.to_owned();
    let found = app.blocking(move |app| app.workspace().store.access_request(&asked)).await?;
    found.ok_or_else(|| {
        Problem::not_found(format!("no request \"{id}\""))
            .hint("GET /v1/access-requests lists those that there are.")
    })
}

async fn approve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Approval>,
) -> Result<Response> {
    check_days(input.days)?;
    let answer = input.answer.map(|answer| text("answer", &answer)).transpose()?;
    let request = named(&app, place.at(0)).await?;
    check_has(&app, &caller, &request)?;
    let at = app.machine_now();
    let until = input.days.or(request.days).map(|days| at.plus_days(days.into()));
    let approved = app.blocking(move |app| {
        let verdict = Verdict { by: &caller.user, at, answer: answer.as_deref(), until };
        app.workspace().store.approve_access(&request.id, verdict)
    });
    decided(&app, &approved.await?)
}

/// Nobody gives what they do not have.
fn check_has(app: &App, caller: &Caller, request: &AccessRequest) -> Result<()> {
    let what = &request.what;
    let has = match request.kind {
        GrantKind::Permission => {
            let permission = Permission::of(what).filter(|one| can_be_asked_for(*one));
            permission.is_some_and(|permission| caller.has(permission))
        }
        GrantKind::Rule => {
            !caller.reader(&app.workspace().project).is_limited_by(&rule_of(app, caller, what)?)
        }
        // Nothing is closed to those who decide.
        GrantKind::Grant => has_grant(app, caller, what)?,
    };
    if has {
        return Ok(());
    }
    let detail = format!(
        "{} cannot give the {} \"{what}\", which they do not have",
        caller.who(),
        request.kind.word()
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint("Leave it to somebody from whom the rule hides nothing."))
}

async fn refuse(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Refusal>,
) -> Result<Response> {
    let reason = text("reason", &input.reason)?;
    let (id, at) = (place.name(), app.machine_now());
    let refused = app.blocking(move |app| {
        let verdict = Verdict { by: &caller.user, at, answer: Some(&reason), until: None };
        app.workspace().store.refuse_access(&id, verdict)
    });
    decided(&app, &refused.await?)
}

fn decided(app: &App, request: &AccessRequest) -> Result<Response> {
    tell(app);
    let mut response = json_of(&shown(request, app))?;
    response.extensions_mut().insert(noted(request));
    Ok(response)
}

async fn seen(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let id = place.name();
    app.blocking(move |app| app.workspace().store.seen_access(&id, &caller.user)).await?;
    Ok(done())
}

async fn end(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let any = caller.may(Permission::Administer);
    if !any {
        check_person(&caller)?;
    }
    let (id, at) = (place.name(), app.machine_now());
    let ended =
        app.blocking(move |app| app.workspace().store.end_access(&id, &caller.user, any, at));
    decided(&app, &ended.await?)
}
