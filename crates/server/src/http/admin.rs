//! Users, tokens, and who did what.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flywheel_decision::reported::Kind;
use flywheel_project::resource::rule::Role;
use flywheel_runtime::access::{self, granted};
use flywheel_state::{AUDIT_HEAD_PASSED, ApiToken, User};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{done, items, json_of, with_next};
use crate::app::App;
use crate::auth::{self, Caller};
use crate::gate::{Access, Noted, Permission, Routes};
use crate::input::{Asked, Input, Place, counted};
use crate::page_key;
use crate::problem::{Problem, Result};
use crate::quota;
use crate::sign_in;
use crate::site;

/// Notes of an audit log that did not end as its head said that are told, the newest ones.
const PASSED_MAX: u32 = 10;

pub(super) fn routes(routes: &mut Routes) {
    let (administer, audit) =
        (Access::Needs(Permission::Administer), Access::Needs(Permission::Audit));
    routes.get("/v1/users", administer, "Lists users", users);
    routes.post::<NewUser, _, _>(
        "/v1/users",
        administer,
        "Makes a user and a link to choose a password",
        add_user,
    );
    routes.patch::<UserChange, _, _>(
        "/v1/users/{user}",
        administer,
        "Changes the role of a user, or disables one",
        change_user,
    );
    routes.act(
        "/v1/users/{user}/reset",
        administer,
        "Makes a link to choose a new password",
        reset,
    );
    routes.post::<NewIdentity, _, _>(
        "/v1/users/{user}/identity",
        administer,
        "Says who a user is at the identity provider",
        link_identity,
    );
    routes.delete("/v1/users/{user}", administer, "Removes a user", remove_user);
    routes.get(
        "/v1/tokens",
        Access::SignedIn,
        "Lists the caller's tokens, or everybody's for who may administer",
        tokens,
    );
    routes.post::<NewToken, _, _>(
        "/v1/tokens",
        Access::SignedIn,
        "Makes a token that may do at most what the caller may",
        add_token,
    );
    routes.delete("/v1/tokens/{token}", Access::SignedIn, "Takes a token back", revoke);
    routes.get("/v1/rules", administer, "Lists rules with who sees which rows and columns", rules);
    routes.get(
        "/v1/grants",
        administer,
        "Lists grants with who holds them, and what every user may see, change and run",
        grants,
    );
    routes.get(
        "/v1/quotas",
        administer,
        "Lists what users of each role may take, and who wanted more, newest first",
        quotas,
    );
    routes.get("/v1/audit", audit, "Shows who did what, newest first", trail);
    routes.get("/v1/audit/verify", audit, "Proves that the audit log is as it was written", verify);
}

fn shown(user: &User) -> Value {
    json!({
        "name": user.name, "role": user.role, "disabled": user.disabled, "created_at": user.created_at.to_string(),
        "last_seen_at": user.last_seen_at.map(|at| at.to_string()), "has_password": user.password.is_some(),
    })
}

async fn users(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.blocking(|app| {
        let store = &app.workspace().store;
        Ok((store.users()?, store.identities()?))
    });
    let (all, identities) = found.await?;
    let shown = all.iter().map(|user| {
        let mut answer = shown(user);
        let own = identities.iter().filter(|one| one.user == user.name);
        let own: Vec<Value> =
            own.map(|one| json!({"issuer": one.issuer, "subject": one.subject})).collect();
        if let Value::Object(answer) = &mut answer {
            answer.insert("identities".to_owned(), json!(own));
        }
        answer
    });
    items(&shown.collect::<Vec<_>>())
}

/// Who a user is at the identity provider.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewIdentity {
    /// The provider's own name for them, the claim `sub`; the audit log has it of who was refused.
    subject: String,
}

async fn link_identity(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<NewIdentity>,
) -> Result<Response> {
    let user = named(&app, &caller, place.at(0)).await?;
    let Some(declared) = app.workspace().project.file.sign_in.clone() else {
        return Err(sign_in::none());
    };
    if input.subject.is_empty() {
        return Err(Problem::invalid("the subject is empty"));
    }
    let now = app.machine_now();
    let noted = Noted(json!({"user": user.name, "subject": input.subject}));
    let linked = app.blocking(move |app| {
        let identity = (declared.issuer.as_str(), input.subject.as_str());
        app.workspace().store.link_identity(identity, &user.name, now)
    });
    if !linked.await? {
        let detail = "whom the provider knows by that is another user here already";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", detail)
            .hint("GET /v1/users shows who; remove that user first."));
    }
    Ok(with(noted, done()))
}

/// An answer about which the audit log says more than its address.
fn with(noted: Noted, mut response: Response) -> Response {
    response.extensions_mut().insert(noted);
    response
}

fn role(word: &str) -> Result<Role> {
    Role::of(word).ok_or_else(|| {
        let known: Vec<&str> = Role::ALL.into_iter().map(Role::word).collect();
        Problem::invalid(format!("no role \"{word}\""))
            .hint(format!("Roles are {}.", known.join(", ")))
    })
}

/// Only owners make, change and remove owners.
fn check_owner(caller: &Caller, role: &str) -> Result<()> {
    if role == Role::Owner.word() && caller.role != Role::Owner {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "denied",
            "only an owner makes, changes or removes owners",
        ));
    }
    Ok(())
}

async fn named(app: &Arc<App>, caller: &Caller, name: &str) -> Result<User> {
    let asked = name.to_owned();
    let user = app.blocking(move |app| app.workspace().store.user(&asked)).await?;
    let user = user.ok_or_else(|| Problem::not_found(format!("no user \"{name}\"")))?;
    check_owner(caller, &user.role)?;
    Ok(user)
}

/// A user to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// The name.
    name: String,
    /// owner, admin, engineer, analyst, operator, viewer or agent.
    role: String,
}

async fn add_user(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<NewUser>,
) -> Result<Response> {
    auth::check_user_name(&input.name)?;
    let role = role(&input.role)?;
    check_owner(&caller, role.word())?;
    let user = User {
        name: input.name.clone(),
        role: role.word().to_owned(),
        password: None,
        disabled: false,
        provider_groups: Vec::new(),
        grants: Vec::new(),
        created_at: app.machine_now(),
        last_seen_at: None,
    };
    let answer = shown(&user);
    let noted = Noted(json!({"user": user.name, "role": user.role}));
    if !app.blocking(move |app| app.workspace().store.add_user(&user)).await? {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "conflict",
            format!("there is a user \"{}\" already", input.name),
        )
        .hint("Names that differ only in capitals are the same name."));
    }
    let link = auth::invite(&app, Some(input.name)).await?;
    let mut response = json_of(&json!({"user": answer, "setup_link": link}))?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(with(noted, response))
}

/// What is to be otherwise.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    /// Another role.
    #[serde(default)]
    role: Option<String>,
    /// Whether the user may do nothing at present.
    #[serde(default)]
    disabled: Option<bool>,
}

async fn change_user(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<UserChange>,
) -> Result<Response> {
    let user = named(&app, &caller, place.at(0)).await?;
    let role = role(input.role.as_deref().unwrap_or(&user.role))?;
    check_owner(&caller, role.word())?;
    let (name, disabled) = (user.name.clone(), input.disabled.unwrap_or(user.disabled));
    app.blocking(move |app| app.workspace().store.change_user(&name, role.word(), disabled))
        .await?;
    let noted = Noted(json!({
        "user": user.name,
        "before": {"role": user.role, "disabled": user.disabled},
        "after": {"role": role.word(), "disabled": disabled},
    }));
    let answer = json_of(&shown(&User { role: role.word().to_owned(), disabled, ..user }))?;
    Ok(with(noted, answer))
}

async fn reset(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let user = named(&app, &caller, place.at(0)).await?;
    let noted = Noted(json!({"user": user.name}));
    let answer = json_of(&json!({"setup_link": auth::invite(&app, Some(user.name)).await?}))?;
    Ok(with(noted, answer))
}

async fn remove_user(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let user = named(&app, &caller, place.at(0)).await?;
    let noted = Noted(json!({"user": user.name, "role": user.role}));
    app.blocking(move |app| app.workspace().store.remove_user(&user.name)).await?;
    Ok(with(noted, done()))
}

/// What the audit log says about a token: never what opens the door.
fn noted_token(token: &ApiToken) -> Noted {
    Noted(json!({
        "token": token.id, "name": token.name, "owner": token.owner, "scopes": token.scopes,
        "expires_at": token.expires_at.to_string(),
    }))
}

pub(super) fn shown_token(token: &ApiToken) -> Value {
    json!({
        "id": token.id, "name": token.name, "owner": token.owner, "scopes": token.scopes,
        "created_at": token.created_at.to_string(), "expires_at": token.expires_at.to_string(),
        "last_used_at": token.last_used_at.map(|at| at.to_string()), "revoked": token.revoked,
    })
}

pub(super) async fn visible(app: &Arc<App>, caller: &Caller) -> Result<Vec<ApiToken>> {
    let mut all = app.blocking(|app| app.workspace().store.tokens()).await?;
    if !caller.may(Permission::Administer) {
        // A token knows itself: one that leaks takes back no other.
        all.retain(|token| match &caller.token_id {
            Some(id) => token.id == **id,
            None => token.owner == caller.user,
        });
    }
    Ok(all)
}

async fn tokens(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    items(&visible(&app, &caller).await?.iter().map(shown_token).collect::<Vec<_>>())
}

/// A token to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What it is for.
    name: String,
    /// What it may do: view, query, call, write, author, operate, promote, ingest, decide, administer, audit.
    scopes: Vec<String>,
    /// How many days it can be used; 90 if absent, 365 at most.
    #[serde(default)]
    days: Option<u16>,
    /// Makes it a key that stands in web pages: the sites whose pages hand in events by it, such as `https://shop.example`. Its
    /// only scope is ingest.
    #[serde(default)]
    sites: Vec<String>,
    /// The topic of the events of these pages; `web` if absent.
    #[serde(default)]
    topic: Option<String>,
}

/// The longest name of a topic of pages.
const TOPIC_BYTES_MAX: usize = 63;

const TOKEN_DAYS_DEFAULT: u16 = 90;
const TOKEN_DAYS_MAX: u16 = 365;

async fn add_token(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<NewToken>,
) -> Result<Response> {
    if caller.session.is_none() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", "a token makes no tokens")
            .hint("Log in first."));
    }
    auth::check_name(&input.name)?;
    if input.scopes.is_empty() {
        return Err(Problem::invalid("the token may do nothing")
            .hint("Name at least one scope, such as \"ingest\"."));
    }
    for scope in &input.scopes {
        let permission = Permission::of(scope).ok_or_else(|| {
            let known: Vec<&str> = Permission::ALL.into_iter().map(Permission::word).collect();
            Problem::invalid(format!("no scope \"{scope}\""))
                .hint(format!("Scopes are {}.", known.join(", ")))
        })?;
        if !caller.may(permission) {
            let detail = format!(
                "a token of yours cannot have the scope \"{scope}\", which you do not have"
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail));
        }
    }
    let days = input.days.unwrap_or(TOKEN_DAYS_DEFAULT);
    if !(1..=TOKEN_DAYS_MAX).contains(&days) {
        return Err(Problem::invalid(format!("a token lasts 1 to {TOKEN_DAYS_MAX} days")));
    }
    let scopes = match input.sites.is_empty() {
        true if input.topic.is_some() => {
            return Err(Problem::invalid("a topic belongs to a key for pages")
                .hint("Name the `sites` of the pages, or leave the topic out."));
        }
        true => input.scopes,
        false => in_pages(&input.scopes, &input.sites, input.topic.as_deref())?,
    };
    let now = app.machine_now();
    let (secret, token) = auth::new_token(input.name, caller.user, scopes, now, days)?;
    let noted = noted_token(&token);
    let mut answer = shown_token(&token);
    if let Value::Object(answer) = &mut answer {
        answer.insert("token".to_owned(), json!(secret));
    }
    app.blocking(move |app| app.workspace().store.add_token(&token)).await?;
    let mut response = json_of(&answer)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(with(noted, response))
}

/// The scopes of a key that everybody can read in a page.
fn in_pages(scopes: &[String], sites: &[String], topic: Option<&str>) -> Result<Vec<String>> {
    if scopes != [Permission::Ingest.word()] {
        return Err(Problem::invalid(
            "a key that stands in pages hands in events and does nothing else",
        )
        .hint("Give it the one scope \"ingest\"."));
    }
    let topic = topic.unwrap_or(page_key::TOPIC_DEFAULT);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = topic.starts_with(|c: char| c.is_ascii_lowercase());
    let of_programs = Kind::ALL.iter().any(|kind| kind.topic() == topic);
    if !starts || topic.len() > TOPIC_BYTES_MAX || !topic.chars().all(plain) || of_programs {
        return Err(Problem::invalid(format!("\"{topic}\" cannot be the topic of pages")).hint(
            "Use lower-case letters, digits and underscores; outcomes and exposures are handed in by programs.",
        ));
    }
    let mut all =
        vec![Permission::Ingest.word().to_owned(), format!("{}{topic}", page_key::TOPIC_SCOPE)];
    all.extend(site::checked(sites)?.iter().map(|site| format!("{}{site}", site::SITE_SCOPE)));
    Ok(all)
}

async fn revoke(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let id = place.name();
    // Whose token it is not shown, it does not exist for.
    let all = visible(&app, &caller).await?;
    let Some(token) = all.iter().find(|token| token.id == id) else {
        return Err(Problem::not_found(format!("no token \"{id}\"")));
    };
    let noted = noted_token(token);
    app.blocking(move |app| app.workspace().store.revoke_token(&id)).await?;
    Ok(with(noted, done()))
}

async fn rules(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.with(|workspace| async move {
        let (rules, misfits) = (access::listed(&workspace).await?, access::misfits(&workspace).await?);
        let closed = Box::pin(access::closed_views(&workspace)).await?;
        let groups: Vec<Value> = workspace
            .project
            .file
            .groups
            .iter()
            .map(|(name, group)| json!({"group": name, "users": group.users, "attributes": group.attributes}))
            .collect();
        Ok(json!({"items": rules, "misfits": misfits, "closed": closed, "groups": groups}))
    });
    json_of(&found.await?)
}

async fn grants(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.with(|workspace| async move {
        let (grants, users) = (granted::listed(&workspace)?, granted::effective(&workspace).await?);
        Ok(json!({"items": grants, "users": users}))
    });
    json_of(&found.await?)
}

/// Rows about who wanted more than their quota.
const HITS_SHOWN: u32 = 50;

async fn quotas(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let read = app.blocking(|app| {
        let store = &app.workspace().store;
        Ok((store.users()?, store.audit_rows_of(quota::EXCEEDED, HITS_SHOWN)?))
    });
    let (users, hits) = read.await?;
    let workspace = app.workspace();
    let quotas = &workspace.project.file.quotas;
    let roles = Role::ALL.map(|role| {
        let count = users.iter().filter(|user| user.role == role.word()).count();
        json!({
            "role": role.word(), "user_count": count, "quota": quota::shown(quotas.of(None, Some(role.word()))),
        })
    });
    let own = quotas.users.keys().map(|name| {
        let known = users.iter().find(|user| user.name == *name);
        let role = known.map(|user| user.role.as_str());
        json!({"user": name, "role": role, "quota": quota::shown(quotas.of(Some(name.as_str()), role))})
    });
    let own: Vec<Value> = own.collect();
    // Who wanted more is a part of the audit log, and for those who may read it.
    let hits = caller.may(Permission::Audit).then(|| {
        let shown = hits.iter().map(|row| {
            json!({
                "number": row.number, "at": row.at.to_string(), "who": row.who, "quota": row.object,
                "most": row.detail.pointer("/more/most"), "said": row.detail.pointer("/more/said"),
            })
        });
        shown.collect::<Vec<Value>>()
    });
    let memory = workspace.project.file.memory.bytes;
    json_of(&json!({"items": roles, "users": own, "hits": hits, "memory_bytes": memory}))
}

/// Which entries.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// `next` of the piece before; the newest entries if absent.
    cursor: Option<i64>,
    /// The same, as it was called before.
    before: Option<i64>,
    /// Entries of the answer at most; 100 if absent, 1,000 at most.
    limit: Option<u32>,
}

async fn trail(State(app): State<Arc<App>>, Asked(which): Asked<Which>) -> Result<Response> {
    let before = which.cursor.or(which.before);
    let limit = counted(which.limit);
    let rows = app.blocking(move |app| app.workspace().store.audit_rows(before, limit));
    let rows = rows.await?;
    let next = rows.last().filter(|row| row.number > 1).map(|row| row.number);
    let shown = rows.iter().map(|row| {
        json!({
            "number": row.number, "at": row.at.to_string(), "who": row.who, "what": row.what, "object": row.object,
            "detail": row.detail, "digest": row.digest,
        })
    });
    let answer = json_of(&json!({"items": shown.collect::<Vec<_>>(), "next": next}))?;
    Ok(with_next(answer, next.map(|number| number.to_string())))
}

async fn verify(State(app): State<Arc<App>>) -> Result<Response> {
    let verified = app.blocking(|app| {
        let workspace = app.workspace();
        let passed = workspace.store.audit_rows_of(AUDIT_HEAD_PASSED, PASSED_MAX)?;
        Ok((workspace.store.verify_audit()?, passed))
    });
    let (verified, passed) = verified.await?;
    let passed: Vec<i64> = passed.iter().map(|row| row.number).collect();
    json_of(&match verified {
        Ok(entries) => json!({"ok": true, "entries": entries, "passed": passed}),
        Err(broken) => json!({"ok": false, "number": broken.number, "detail": broken.what}),
    })
}
