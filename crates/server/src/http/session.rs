//! Setting up, logging in and out, and who one is.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flywheel_project::resource::project_file::LocalSignIn;
use flywheel_project::resource::rule::Role;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FEATURES, OF_THE_WHOLE, done, json_of};
use crate::app::App;
use crate::auth::{self, Caller};
use crate::gate::{Access, Allows as _, Noted, Routes};
use crate::input::Input;
use crate::problem::{Problem, Result};
use crate::sign_in;
use crate::wire::Peer;

pub(super) fn routes(routes: &mut Routes) {
    use Access::{Public, SignedIn};
    routes.get(
        "/v1/session",
        Public,
        "Says whether somebody is logged in, and what pages need to begin",
        session,
    );
    routes.post::<Setup, _, _>(
        "/v1/setup",
        Public,
        "Uses a set-up link: makes the first owner, or chooses an invited user's password",
        setup,
    );
    routes.post::<Login, _, _>("/v1/login", Public, "Begins a session", login);
    routes.act("/v1/logout", SignedIn, "Ends the session", logout);
    routes.get("/v1/me", SignedIn, "Says who asks and what they may do", me);
    routes.post::<Change, _, _>(
        "/v1/me/password",
        SignedIn,
        "Changes the caller's password",
        password,
    );
}

async fn session(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let caller = auth::caller(&app, &headers).await.ok();
    let workspace = app.workspace();
    let users = app.blocking(|app| app.workspace().store.users()).await?;
    let sign_in = workspace.project.file.sign_in.as_ref();
    let sign_in = sign_in.map(|declared| {
        json!({"name": declared.name, "address": sign_in::start(declared), "local": declared.local.word()})
    });
    json_of(&json!({
        "sign_in": sign_in,
        "project": workspace.project.file.name, "version": env!("CARGO_PKG_VERSION"),
        "simulated": workspace.project.file.simulated, "demo": app.demo, "setup_needed": users.is_empty(),
        "csrf": caller.as_ref().filter(|caller| caller.session.is_some()).and_then(|_| auth::csrf(&headers)),
        "user": caller.map(|caller| caller.about()),
    }))
}

/// A set-up link and what is chosen with it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Setup {
    /// What the link has after `token=`.
    token: String,
    /// The user's name; for an invited user, the name the user was invited under.
    name: String,
    /// A password of at least 10 characters.
    password: String,
}

async fn setup(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Input(input): Input<Setup>,
) -> Result<Response> {
    auth::check_name(&input.name)?;
    auth::check_password(&input.password)?;
    let peer = peer.map(|Extension(peer)| peer);
    let encrypted = auth::is_encrypted(&app, peer, &headers);
    let address = peer.map(|Peer(peer)| auth::address_of(&app, peer, &headers));
    app.brake.check(&input.name, address)?;
    // The link of the first owner is for a name that nobody has.
    let asked = input.name.clone();
    let invited = app.blocking(move |app| app.workspace().store.user(&asked)).await?;
    if invited.is_none() {
        auth::check_user_name(&input.name)?;
    }
    if invited.is_some_and(|user| check_local(&app, &user.role).is_err()) {
        app.brake.failed(&input.name, address);
        return Err(no_link(&app));
    }
    let hash = auth::hash(&app, input.password).await?;
    let (key, name, now) =
        (auth::invitation_digest(&input.token), input.name.clone(), app.machine_now());
    let user =
        app.blocking(move |app| app.workspace().store.accept(&key, &name, &hash, now)).await?;
    let Some(user) = user else {
        app.brake.failed(&input.name, address);
        return Err(no_link(&app));
    };
    let detail = json!({"role": user.role});
    app.audit(user.name.clone(), "setup".to_owned(), user.name.clone(), detail).await?;
    begin(&app, (&user.name, &user.role), StatusCode::CREATED, encrypted).await
}

/// A name and a password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// The user's name.
    name: String,
    /// The user's password.
    password: String,
}

async fn login(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Input(input): Input<Login>,
) -> Result<Response> {
    let peer = peer.map(|Extension(peer)| peer);
    let encrypted = auth::is_encrypted(&app, peer, &headers);
    let address = peer.map(|Peer(peer)| auth::address_of(&app, peer, &headers));
    let name = input.name.clone();
    let user = app.blocking(move |app| app.workspace().store.user(&name)).await?;
    // Whoever may do nothing has no password that is right.
    let user = user.filter(|user| !user.disabled);
    let hash = user.as_ref().and_then(|user| user.password.clone());
    let right = auth::verify(&app, (&input.name, address), input.password, hash).await?;
    match user.filter(|_| right) {
        Some(user) => {
            if let Err(problem) = check_local(&app, &user.role) {
                let (name, detail) = (user.name, json!({"reason": "owner-only"}));
                app.audit(name.clone(), "login refused".to_owned(), name, detail).await?;
                return Err(problem);
            }
            app.audit(user.name.clone(), "login".to_owned(), user.name.clone(), Value::Null)
                .await?;
            begin(&app, (&user.name, &user.role), StatusCode::OK, encrypted).await
        }
        None => {
            // What was typed as a name may be a password.
            app.audit("nobody".to_owned(), "login refused".to_owned(), String::new(), Value::Null)
                .await?;
            Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "name or password is wrong",
            )
            .hint("An owner or admin can make a link for a new password."))
        }
    }
}

/// The problem of a set-up link that does nothing: one for all reasons, so that nobody learns which names exist.
fn no_link(app: &App) -> Problem {
    let detail = "the set-up link is unknown, used, too old or for another name";
    let hint = "An owner or admin can make another one; without any user, start the server again for a new link.";
    let workspace = app.workspace();
    let only = workspace.project.file.sign_in.as_ref();
    let only = only.filter(|declared| declared.local == LocalSignIn::OwnerOnly);
    let hint = match only {
        Some(declared) => {
            format!(
                "{hint} Only owners have passwords here; others sign in with {}.",
                declared.name
            )
        }
        None => hint.to_owned(),
    };
    Problem::new(StatusCode::FORBIDDEN, "denied", detail).hint(hint)
}

/// Refuses a password where only owners have one.
pub(crate) fn check_local(app: &App, role: &str) -> Result<()> {
    let workspace = app.workspace();
    let Some(declared) = &workspace.project.file.sign_in else { return Ok(()) };
    if declared.local == LocalSignIn::Yes || role == Role::Owner.word() {
        return Ok(());
    }
    let detail = format!("everybody but owners signs in with {}", declared.name);
    Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint("So says `sign_in.local: owner-only` in flywheel.yaml."))
}

async fn begin(
    app: &Arc<App>,
    (name, role): (&str, &str),
    status: StatusCode,
    encrypted: bool,
) -> Result<Response> {
    let (cookie, csrf) = auth::begin(app, name.to_owned(), encrypted).await?;
    let role =
        Role::of(role).ok_or_else(|| Problem::invalid(format!("unknown role \"{role}\"")))?;
    let permissions: Vec<&str> = role.permissions().iter().map(|one| one.word()).collect();
    let user = json!({"name": name, "role": role.word(), "permissions": permissions});
    let mut response = json_of(&json!({"user": user, "csrf": csrf}))?;
    *response.status_mut() = status;
    set_cookie(&mut response, &cookie)?;
    Ok(response)
}

fn set_cookie(response: &mut Response, cookie: &str) -> Result<()> {
    let value = HeaderValue::from_str(cookie)
        .map_err(|_| Problem::invalid("the cookie has characters that are not allowed"))?;
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(())
}

async fn logout(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response> {
    let encrypted = auth::is_encrypted(&app, peer.map(|Extension(peer)| peer), &headers);
    if let Some(session) = caller.session {
        app.blocking(move |app| app.workspace().store.end_session(&session)).await?;
    }
    let mut response = done();
    set_cookie(&mut response, &auth::gone(encrypted))?;
    Ok(response)
}

async fn me(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Response> {
    let mut about = json!(caller.about());
    if let Value::Object(about) = &mut about {
        let closed = caller.is_closed_to(&app.workspace().project);
        let shown = |feature: &&&str| !closed || !OF_THE_WHOLE.contains(*feature);
        let features: Vec<&&str> = FEATURES.iter().filter(shown).collect();
        about.insert("features".to_owned(), json!(features));
    }
    json_of(&about)
}

/// A change of password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// The present password.
    old: String,
    /// The new password, of at least 10 characters.
    new: String,
}

async fn password(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Change>,
) -> Result<Response> {
    let Some(session) = caller.session.clone() else {
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", "a token changes no password"));
    };
    auth::check_password(&input.new)?;
    let name = caller.user.clone();
    let user = app.blocking(move |app| app.workspace().store.user(&name)).await?;
    let hash = user.and_then(|user| user.password);
    if !auth::verify(&app, (&caller.user, None), input.old, hash).await? {
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", "the present password is wrong"));
    }
    let hash = auth::hash(&app, input.new).await?;
    app.blocking(move |app| app.workspace().store.set_password(&caller.user, &hash, &session))
        .await?;
    let noted = Noted(json!("other sessions of the user are ended"));
    let mut response = done().into_response();
    response.extensions_mut().insert(noted);
    Ok(response)
}
