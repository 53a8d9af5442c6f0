//! Signing in with the company's identity provider: what is under way, and who somebody is in the end.
//!
//! ```text
//! begin ─► flow (state, nonce, verifier; a cookie for the browser) ─► the provider ─► end ─► user ─► session
//! ```
//! A flow is taken once, within ten minutes, and only by the browser that began it. Flows are in memory: after a restart
//! whoever was on the way signs in again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use flywheel_base::{Error, ErrorKind, Timestamp, digest, entropy};
use flywheel_connect::identity::{Person, Provider, ProviderSettings, SignInRequest};
use flywheel_project::resource::project_file::SignIn;
use flywheel_state::{SignedIn, Visit};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::auth;
use crate::problem::{Problem, Result};

/// Where a sign-in begins.
pub(crate) const START_PATH: &str = "/v1/sign-in";

/// How long somebody may take at the provider.
const FLOW_MINUTES: i64 = 10;
const MINUTE_US: i64 = 60_000_000;
/// Sign-ins that are under way; of more, the oldest have to begin anew.
const FLOWS_MAX: usize = 10_000;
/// Codes that are exchanged at once; more wait.
const EXCHANGED_AT_ONCE: usize = 8;
/// How long a provider may take altogether, which has three addresses.
const PROVIDER_TIME: Duration = Duration::from_secs(25);

/// Sign-ins under way, and the provider with what is known of it.
#[derive(Debug)]
pub(crate) struct SignIns {
    flows: Mutex<BTreeMap<String, Flow>>,
    provider: Mutex<Option<Arc<Provider>>>,
    exchanging: Semaphore,
}

impl Default for SignIns {
    fn default() -> Self {
        Self {
            flows: Mutex::default(),
            provider: Mutex::default(),
            exchanging: Semaphore::new(EXCHANGED_AT_ONCE),
        }
    }
}

/// A sign-in that is under way.
#[derive(Clone, Debug)]
struct Flow {
    request: SignInRequest,
    /// The digest of the browser's cookie.
    browser: String,
    return_to: String,
    ends_at: Timestamp,
}

/// Where a browser goes, with the cookie that it gets.
pub(crate) struct Begun {
    pub(crate) address: String,
    pub(crate) cookie: String,
}

/// A user who has signed in.
pub(crate) struct Ended {
    pub(crate) user: String,
    pub(crate) return_to: String,
}

/// Why somebody is not let in, as the page is told: no more than whoever sees it may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The sign-in was not begun in this browser, has ended already, or took too long.
    Expired,
    /// The provider did not let them in, or they did not want to.
    Provider,
    /// No role of theirs is one here.
    NoRole,
    /// The user may do nothing.
    Disabled,
    /// Another user has the name.
    NameTaken,
    /// The provider gives a name that no user can have.
    BadName,
    /// There would be no owner who may log in.
    NoOwner,
    /// The provider gives no answer.
    Unavailable,
    /// What the provider says cannot be believed, or is not set up.
    Failed,
}

impl Refused {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Provider => "provider",
            Self::NoRole => "no-role",
            Self::Disabled => "disabled",
            Self::NameTaken => "name-taken",
            Self::BadName => "bad-name",
            Self::NoOwner => "no-owner",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }

    fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Unavailable,
            _ => Self::Failed,
        }
    }
}

/// The problem of a server without a provider.
pub(crate) fn none() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "this server has no identity provider")
        .hint("Declare one under `sign_in` in flywheel.yaml.")
}

/// The address at which a sign-in begins: it ends there, too, and cookies are not for other servers.
pub(crate) fn start(declared: &SignIn) -> String {
    format!("{}{START_PATH}", declared.address.trim_end_matches('/'))
}

/// The cookie that binds a sign-in to a browser; under https it can be written by no other server of the same domain.
fn cookie_name(declared: &SignIn) -> &'static str {
    match declared.address.starts_with("https://") {
        true => "__Host-flywheel_sign_in",
        false => "flywheel_sign_in",
    }
}

/// The line of that cookie. The browser comes back from another site, so it is not a strict one.
fn cookie_line(declared: &SignIn, secret: &str, age: i64) -> String {
    let only = if declared.address.starts_with("https://") { "; Secure" } else { "" };
    let name = cookie_name(declared);
    format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{only}")
}

/// The line that ends it.
pub(crate) fn gone(declared: &SignIn) -> String {
    cookie_line(declared, "", 0)
}

/// Refuses to send a browser to another server when it has signed in.
pub(crate) fn check_return(path: &str) -> Result<()> {
    // A browser takes `//` and `/\` for another server, and leaves tabs and line ends out.
    let plain = path.chars().all(|c| c.is_ascii_graphic() && c != '\\');
    if plain && path.starts_with('/') && !path.starts_with("//") && path.len() <= 2_000 {
        return Ok(());
    }
    Err(Problem::invalid("`return_to` is not an address of a page of this server")
        .hint("Give a path such as /runs."))
}

impl SignIns {
    /// The provider as it is declared now, with what is known of it.
    fn provider(&self, declared: &SignIn) -> Result<Arc<Provider>, Error> {
        let settings = ProviderSettings {
            issuer: declared.issuer.clone(),
            client_id: declared.client_id.clone(),
            scopes: declared.scopes.clone(),
        };
        let mut kept = self.provider.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = kept.as_ref().filter(|one| *one.settings() == settings) {
            return Ok(Arc::clone(provider));
        }
        let provider = Arc::new(Provider::new(settings)?);
        *kept = Some(Arc::clone(&provider));
        Ok(provider)
    }

    fn keep(&self, flow: Flow, now: Timestamp) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if flows.len() >= FLOWS_MAX {
            flows.retain(|_, flow| flow.ends_at > now);
        }
        while flows.len() >= FLOWS_MAX {
            let oldest =
                flows.iter().min_by_key(|(_, flow)| flow.ends_at).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            flows.remove(&oldest);
        }
        flows.insert(flow_key(&flow.request.state), flow);
    }

    /// The flow that `state` names, if this browser began it; it is gone then. Who does not have the browser's cookie
    /// cannot end it for them.
    fn take(&self, state: &str, browser: &str, now: Timestamp) -> Option<Flow> {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = flow_key(state);
        if flows.get(&key)?.browser != browser_key(browser) {
            return None;
        }
        flows.remove(&key).filter(|flow| flow.ends_at > now)
    }
}

/// Both are digests of secrets: how long looking one up takes tells nothing that could be guessed on.
fn flow_key(state: &str) -> String {
    digest::hex(&[b"sign-in state", state.as_bytes()])
}

fn browser_key(secret: &str) -> String {
    digest::hex(&[b"sign-in browser", secret.as_bytes()])
}

/// Begins a sign-in.
pub(crate) async fn begin(
    app: &App,
    declared: &SignIn,
    return_to: String,
) -> Result<Begun, Refused> {
    let now = app.machine_now();
    let begun = async {
        let request = SignInRequest {
            redirect: declared.callback(),
            state: entropy::token("")?,
            nonce: entropy::token("")?,
            verifier: entropy::token("")?,
        };
        let browser = entropy::token("")?;
        let provider = app.sign_ins.provider(declared)?;
        let address = in_time(provider.address(&request, now)).await?;
        Ok((request, browser, address))
    };
    let (request, browser, address) = begun.await.map_err(|error: Error| {
        tracing::warn!(error = %error.report(), provider = declared.name, "no sign-in can begin");
        Refused::of(&error)
    })?;
    let flow = Flow {
        request,
        browser: browser_key(&browser),
        return_to,
        ends_at: now.plus_micros(FLOW_MINUTES * MINUTE_US),
    };
    app.sign_ins.keep(flow, now);
    Ok(Begun { address, cookie: cookie_line(declared, &browser, FLOW_MINUTES * 60) })
}

/// What comes back from the provider.
pub(crate) struct Back {
    pub(crate) state: String,
    pub(crate) code: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) issuer: Option<String>,
}

/// Ends a sign-in: finds or makes the user.
pub(crate) async fn end(
    app: &Arc<App>,
    declared: &SignIn,
    headers: &HeaderMap,
    back: Back,
) -> Result<Ended, Refused> {
    let now = app.machine_now();
    let browser = auth::cookie_named(headers, cookie_name(declared)).unwrap_or_default();
    let Some(flow) = app.sign_ins.take(&back.state, &browser, now) else {
        tracing::info!("a browser came back to a sign-in that is not under way in it");
        return Err(Refused::Expired);
    };
    let person = match (back.code, back.error) {
        (Some(code), None) => vouched(app, declared, &flow, (&code, back.issuer.as_deref())).await,
        (_, error) => {
            // Whatever the provider writes there came by the browser: of it only whether it is a known word is told.
            let known = ["access_denied", "login_required", "interaction_required", "server_error"];
            let error = error.unwrap_or_default();
            let word = known.into_iter().find(|word| *word == error).unwrap_or("no code");
            Err((
                Refused::Provider,
                Error::new(ErrorKind::Denied, format!("the provider says {word}")),
            ))
        }
    };
    let entered = match person {
        Ok(person) => entered(app, declared, &person).await,
        Err((refused, error)) => Err((refused, json!({}), error)),
    };
    match entered {
        Ok((user, detail)) => {
            audit(app, (user.clone(), "login"), &user, detail).await?;
            Ok(Ended { user, return_to: flow.return_to })
        }
        Err((refused, mut detail, error)) => {
            tracing::warn!(error = %error.report(), provider = declared.name, reason = refused.word(), "somebody is not let in");
            if let Value::Object(detail) = &mut detail {
                detail.insert("provider".to_owned(), json!(declared.name));
                detail.insert("reason".to_owned(), json!(refused.word()));
                detail.insert("error".to_owned(), json!(error.message()));
            }
            audit(app, ("nobody".to_owned(), "login refused"), "", detail).await?;
            Err(refused)
        }
    }
}

/// Somebody whom the provider vouches for.
async fn vouched(
    app: &Arc<App>,
    declared: &SignIn,
    flow: &Flow,
    code: (&str, Option<&str>),
) -> Result<Person, (Refused, Error)> {
    let found = async {
        let _turn =
            app.sign_ins.exchanging.acquire().await.map_err(|_| crate::app::ended("signing in"))?;
        let reference = declared.client_secret.clone();
        let secret = app.blocking(move |app| match reference {
            Some(reference) => app.workspace().project.resolve_secret(&reference).map(Some),
            None => Ok(None),
        });
        let secret =
            secret.await.map_err(|error| error.context("flywheel.yaml: sign_in.client_secret"))?;
        let provider = app.sign_ins.provider(declared)?;
        in_time(provider.person(code, &flow.request, secret.as_ref(), app.machine_now())).await
    };
    found.await.map_err(|error| (Refused::of(&error), error))
}

/// Who is not let in: why for the page, for the audit log, and for the server's log.
type Outside = (Refused, Value, Error);

/// The user that a person is, made at the first time, with what the audit log is told.
async fn entered(
    app: &Arc<App>,
    declared: &SignIn,
    person: &Person,
) -> Result<(String, Value), Outside> {
    let mut detail = json!({"provider": declared.name, "subject": person.subject});
    let failed = |error: Error| (Refused::Failed, detail.clone(), error);
    let denied = |refused: Refused, detail: Value, why: &str, hint: &str| {
        (refused, detail, Error::new(ErrorKind::Denied, why).hint(hint))
    };
    let roles = person.texts(&declared.roles.from).map_err(failed)?;
    let groups = person.texts(declared.groups_claim()).map_err(failed)?;
    let identity = (person.issuer.clone(), person.subject.clone());
    let Some(role) = declared.roles.role(&roles) else {
        let turned =
            app.blocking(move |app| app.workspace().store.turn_away(&identity.0, &identity.1));
        let user = turned.await.map_err(failed)?;
        detail["user"] = json!(user);
        return Err(denied(
            Refused::NoRole,
            detail,
            "no entry of `sign_in.roles.map` of flywheel.yaml names a group of theirs",
            "Map one of their groups, or let `sign_in.roles.default` be viewer.",
        ));
    };
    let name = person.text(&declared.user).map_err(failed)?;
    let name = name.unwrap_or_default();
    if auth::check_user_name(&name).is_err() {
        return Err(denied(
            Refused::BadName,
            detail,
            &format!("the claim `{}` is not a name that a user can have", declared.user),
            "Name a claim in `sign_in.user` of flywheel.yaml that has letters, digits and . _ - @ +.",
        ));
    }
    let (now, asked) = (app.machine_now(), name.clone());
    let signed_in = app.blocking(move |app| {
        let visit = Visit {
            issuer: &identity.0,
            subject: &identity.1,
            name: &asked,
            role: role.word(),
            groups: &groups,
        };
        app.workspace().store.sign_in(&visit, now)
    });
    match signed_in.await.map_err(failed)? {
        SignedIn::As { name, made } => {
            detail["role"] = json!(role.word());
            detail["made"] = json!(made);
            Ok((name, detail))
        }
        SignedIn::Disabled(user) => {
            detail["user"] = json!(user);
            let why = "the user is disabled";
            Err(denied(Refused::Disabled, detail, why, "An owner or admin can let them in again."))
        }
        SignedIn::NameTaken => {
            detail["user"] = json!(name);
            Err(denied(
                Refused::NameTaken,
                detail,
                "another user has their name",
                "If they are the same, say so by POST /v1/users/{user}/identity with the subject; otherwise name another claim in `sign_in.user`.",
            ))
        }
        SignedIn::NoOwner => Err(denied(
            Refused::NoOwner,
            detail,
            "with their role there would be no owner who may log in",
            "Use the set-up link, or make another user an owner first.",
        )),
    }
}

/// Notes who came and who did not; what cannot be noted does not happen.
async fn audit(
    app: &Arc<App>,
    (who, what): (String, &str),
    object: &str,
    detail: Value,
) -> Result<(), Refused> {
    let noted = app.audit(who, what.to_owned(), object.to_owned(), detail).await;
    noted.map_err(|error| {
        tracing::error!(error = %error.report(), what, "a sign-in is not noted");
        Refused::Failed
    })
}

async fn in_time<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PROVIDER_TIME, asked).await.unwrap_or_else(|_| {
        Err(Error::unavailable("the identity provider takes too long")
            .hint("Sign in again, or with a password if you have one."))
    })
}
