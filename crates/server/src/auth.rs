//! Who is asking: passwords, sessions, tokens, and the brake on guessing.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use axum::http::{HeaderMap, StatusCode, header};
use flywheel_base::{Error, Timestamp, digest, entropy, task};
use flywheel_project::Project;
use flywheel_project::resource::project_file::asker;
use flywheel_project::resource::rule::Role;
use flywheel_runtime::access::said::Said;
use flywheel_runtime::access::{Reader, Reading};
use flywheel_state::{ApiToken, Grant, GrantKind, LoginSession, User};
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::gate::{Allows as _, Permission, refused};
use crate::http::extensions;
use crate::page_key::{self, PageKey};
use crate::problem::{Problem, Result};
use crate::site;
use crate::ticket;
use crate::wire::Peer;

/// What a token begins with.
const TOKEN_PREFIX: &str = "fwt_";
/// The cookie of a session.
const COOKIE: &str = "flywheel_session";
/// The header that proves that a page of ours asks.
const CSRF: &str = "x-csrf-token";

/// How long a session lasts, used or not.
const SESSION_DAYS: i64 = 7;
/// How long a session lasts that is not used.
const SESSION_IDLE_HOURS: i64 = 24;
/// How long a set-up link can be used.
const INVITATION_DAYS: i64 = 3;
/// How often it is noted that a session or token is used.
const SEEN_EVERY_US: i64 = 60_000_000;
const HOUR_US: i64 = 3_600_000_000;

/// The shortest password.
pub(crate) const PASSWORD_MIN: usize = 10;
/// The longest password: hashing more would only cost time.
const PASSWORD_MAX: usize = 256;
/// The longest name of a user or token.
const NAME_MAX: usize = 64;

/// Wrong passwords a minute that one name or one address may have.
const FAILURES_MAX: usize = 10;
const FAILURES_WINDOW: Duration = Duration::from_secs(60);
/// Names and addresses that are watched at once.
const WATCHED_MAX: usize = 10_000;

/// What a link shows, and to whom.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The public id of the link.
    pub(crate) id: String,
    /// The dashboard.
    pub(crate) board: String,
    /// The one tile of it that is shown, as it is declared.
    pub(crate) tile: Option<String>,
    /// As which role rows are read; as its maker reads them if absent.
    pub(crate) role: Option<Role>,
    /// The sites whose pages it may stand in; all if empty.
    pub(crate) sites: Vec<String>,
}

impl Link {
    /// The scope of a dashboard, before its name.
    pub(crate) const BOARD: &str = "dashboard:";
    /// The scope of a tile, before its name.
    pub(crate) const TILE: &str = "tile:";
    /// The scope of a role, before its word.
    pub(crate) const ROLE: &str = "as:";

    /// The link that a token is; none for tokens of programs.
    pub(crate) fn of(token: &ApiToken) -> Option<Self> {
        let of = |prefix: &str| token.scopes.iter().find_map(|scope| scope.strip_prefix(prefix));
        let board = of(Self::BOARD)?.to_owned();
        // A role that nobody knows reads nothing.
        let role = of(Self::ROLE).map(|word| Role::of(word).unwrap_or(Role::Agent));
        let (tile, sites) = (of(Self::TILE).map(str::to_owned), site::among(&token.scopes));
        Some(Self { id: token.id.clone(), board, tile, role, sites })
    }
}

/// Whether a reader has a permission, by their role or beside it. Who is only in a group of the project has no role that
/// anybody knows, and may have it; a role that is none has nothing.
pub(crate) fn may_be(reader: &Reader, permission: Permission) -> bool {
    let of_role = |word: &str| Role::of(word).is_some_and(|role| role.may(permission));
    reader.role.as_deref().is_none_or(of_role) || reader.permissions.contains(permission.word())
}

/// What a key calls, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct QueryKey {
    /// The public id of the key.
    pub(crate) id: String,
    /// The published query.
    pub(crate) query: String,
    /// As which role rows are read; as its maker reads them if absent.
    pub(crate) role: Option<Role>,
}

impl QueryKey {
    /// The scope of a published query, before its name.
    pub(crate) const QUERY: &str = "query:";

    /// The key that a token is; none for others.
    pub(crate) fn of(token: &ApiToken) -> Option<Self> {
        let of = |prefix: &str| token.scopes.iter().find_map(|scope| scope.strip_prefix(prefix));
        let query = of(Self::QUERY)?.to_owned();
        // One that nobody knows any more sees what an agent does, and no more than its maker.
        let role = of(Link::ROLE).map(|word| Role::of(word).unwrap_or(Role::Agent));
        Some(Self { id: token.id.clone(), query, role })
    }
}

/// Somebody who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) role: Role,
    /// The groups that an identity provider says they are in.
    provider_groups: Arc<[String]>,
    /// What they were given beside the role, as far as it holds now.
    grants: Arc<[Grant]>,
    /// What a token may do at most; everything its user may, if it is a session.
    scopes: Option<Arc<[Permission]>>,
    token: Option<Arc<str>>,
    /// What is all there is to a link.
    pub(crate) link: Option<Arc<Link>>,
    /// What is all there is to a key of a published query.
    pub(crate) key: Option<Arc<QueryKey>>,
    /// The key of a page, which hands in events and nothing else.
    pub(crate) page_key: Option<Arc<PageKey>>,
    /// The extension that asks for the user.
    extension: Option<Arc<str>>,
    /// The public id of the token.
    pub(crate) token_id: Option<Arc<str>>,
    /// The digest of the session, and what a page has to send to prove that it is ours.
    pub(crate) session: Option<Arc<str>>,
    csrf: Option<Arc<str>>,
    /// As whom the caller reads, if it is somebody else.
    viewed: Option<Reader>,
}

impl Caller {
    /// On whose behalf rows are read for this caller.
    pub(crate) fn reading(&self, project: &Project) -> Reading {
        let own = self.reader(project);
        // Neither a link nor a key shows more than its maker sees, whatever the role is shown.
        let role = self.link.as_ref().and_then(|link| link.role);
        let role = role.or_else(|| self.key.as_ref().and_then(|key| key.role));
        let role = role.map(|role| Reader::new(project, None, Some(role.word()), &[]));
        match self.viewed.clone().or(role) {
            None => Reading::As(own),
            Some(reader) => Reading::Viewed { reader, by: own },
        }
    }

    /// Whether grants close something to the caller, or to the one as whom they read.
    pub(crate) fn is_closed_to(&self, project: &Project) -> bool {
        !project.grants.is_empty() && self.reading(project).granted(project).is_some()
    }

    /// How much of what runs and tasks said the caller is told.
    pub(crate) fn said(&self, project: &Project) -> Said {
        self.reading(project).said(project)
    }

    /// The caller, as rules know them.
    pub(crate) fn reader(&self, project: &Project) -> Reader {
        let reader =
            Reader::new(project, Some(&self.user), Some(self.role.word()), &self.provider_groups);
        // A token of an administrator may be for less.
        let (audits, operates) = (self.may(Permission::Audit), self.may(Permission::Operate));
        let reader = Reader { audits, operates, ..reader };
        // Those that are over were left out when the caller was looked up.
        reader.with_grants(&self.grants, Timestamp::from_micros(i64::MIN))
    }

    /// The same caller, who reads as somebody else does.
    pub(crate) fn viewing(mut self, reader: Reader) -> Self {
        self.viewed = Some(reader);
        self
    }

    /// Whether the user has a permission, whatever a token of theirs is for.
    pub(crate) fn has(&self, permission: Permission) -> bool {
        let given = self
            .grants
            .iter()
            .any(|grant| grant.kind == GrantKind::Permission && grant.what == permission.word());
        self.role.may(permission) || given
    }

    /// Whether the caller may do something here and now: also by the token that they use, and by the one as whom they read.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.has(permission)
            && self.scopes.as_ref().is_none_or(|scopes| scopes.contains(&permission))
            && self.viewed.as_ref().is_none_or(|reader| may_be(reader, permission))
    }

    pub(crate) fn permissions(&self) -> Vec<&'static str> {
        let all = Permission::ALL.into_iter().filter(|permission| self.may(*permission));
        all.map(Permission::word).collect()
    }

    /// Whether the caller reads as somebody else: what is kept for everybody is not made then.
    pub(crate) fn is_viewing(&self) -> bool {
        self.viewed.is_some()
    }

    /// The name for records.
    pub(crate) fn who(&self) -> String {
        match (&self.token, &self.extension) {
            (Some(token), _) => format!("{}/{token}", self.user),
            // No token is called so: names have no colon.
            (None, Some(extension)) => format!("{}/extension:{extension}", self.user),
            (None, None) => self.user.clone(),
        }
    }

    /// What kind of caller it is, for messages.
    pub(crate) fn kind(&self) -> String {
        if let Some(reader) = &self.viewed {
            return reader.title();
        }
        let role = self.role.word();
        match (&self.token, &self.extension) {
            (Some(_), _) => format!("this token of a user with the role \"{role}\""),
            (None, Some(extension)) => {
                format!("extension \"{extension}\" for a user with the role \"{role}\"")
            }
            (None, None) => format!("the role \"{role}\""),
        }
    }

    /// Whether a request that changes something comes from a page of ours.
    pub(crate) fn check_csrf(&self, headers: &HeaderMap) -> Result<()> {
        let Some(expected) = &self.csrf else { return Ok(()) };
        let given = headers.get(CSRF).map(header::HeaderValue::as_bytes).unwrap_or_default();
        // Both are digests of secrets: how long comparing takes tells nothing that could be guessed on.
        if digest::hex(&[given]) == digest::hex(&[expected.as_bytes()]) {
            return Ok(());
        }
        Err(not_ours())
    }

    pub(crate) fn about(&self) -> About {
        About { name: self.user.clone(), role: self.role.word(), permissions: self.permissions() }
    }
}

/// A user, as the API shows the one who asks.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct About {
    name: String,
    role: &'static str,
    permissions: Vec<&'static str>,
}

/// Whether a browser says that a page of another site makes the request.
///
/// Every browser says so to a server that it trusts, and most name the page's origin to others. Programs say neither.
pub(crate) fn is_of_another_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let place = origin.split_once("://").map(|(_, place)| place);
            place.is_none() || place != text("host")
        }
        (None, None) => false,
    }
}

/// The problem of a request that may be the wish of another page.
pub(crate) fn not_ours() -> Problem {
    let detail = "the request does not prove that it comes from a page of this server";
    Problem::new(StatusCode::FORBIDDEN, "csrf", detail)
        .hint("Send the header x-csrf-token with the value of `csrf` from GET /v1/session.")
}

/// What looking up a caller is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// A request, which is noted as use.
    Request,
    /// To know whether an answer that goes on may go on.
    Again,
}

/// The caller of a request that is still being answered, as they are now; none if they may not have the answer any more.
pub(crate) async fn still(
    app: &Arc<App>,
    headers: &HeaderMap,
    before: &Caller,
    permission: Permission,
) -> Option<Caller> {
    let caller = looked_up(app, headers, Look::Again).await.ok()?;
    let caller = match before.viewed.clone() {
        Some(reader) => caller.viewing(reader),
        None => caller,
    };
    caller.may(permission).then_some(caller)
}

/// The caller of a request.
pub(crate) async fn caller(app: &Arc<App>, headers: &HeaderMap) -> Result<Caller> {
    looked_up(app, headers, Look::Request).await
}

async fn looked_up(app: &Arc<App>, headers: &HeaderMap, look: Look) -> Result<Caller> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let Some(token) = token else {
            return Err(unauthenticated("the Authorization header is not \"Bearer fwt_…\""));
        };
        let token = token.trim();
        return match token.starts_with(ticket::PREFIX) {
            true => of_extension(app, token),
            false => of_token(app, token, look).await,
        };
    }
    match cookie(headers) {
        Some(secret) => of_session(app, secret, look).await,
        None => Err(unauthenticated("nobody is logged in")),
    }
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
        .hint("Log in, or send a token: Authorization: Bearer fwt_…")
}

/// The secret of the session in the cookies.
fn cookie(headers: &HeaderMap) -> Option<String> {
    cookie_named(headers, COOKIE)
}

/// The value of a cookie.
pub(crate) fn cookie_named(headers: &HeaderMap, wanted: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|one| one.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
}

fn role_of(user: &User) -> Result<Role> {
    Role::of(&user.role).ok_or_else(|| {
        Problem::from(Error::corrupt(format!(
            "user \"{}\" has the unknown role \"{}\"",
            user.name, user.role
        )))
    })
}

/// What a user was given that holds now.
fn grants_of(user: &User, now: Timestamp) -> Arc<[Grant]> {
    user.grants.iter().filter(|grant| grant.holds(now)).cloned().collect()
}

async fn of_token(app: &Arc<App>, token: &str, look: Look) -> Result<Caller> {
    of_digest(app, &token_digest(token), look).await
}

async fn of_digest(app: &Arc<App>, digest: &str, look: Look) -> Result<Caller> {
    let now = app.machine_now();
    let found = app.reader.token(digest)?;
    let Some(found) = found else { return Err(unauthenticated("the token is unknown")) };
    let (token, user) = &*found;
    let due = |last: Timestamp| now.micros() - last.micros() >= SEEN_EVERY_US;
    if look == Look::Request && token.last_used_at.is_none_or(due) {
        let id = token.id.clone();
        app.blocking(move |app| app.workspace().store.token_used(&id, now)).await?;
    }
    if token.revoked {
        return Err(unauthenticated("the token was taken back"));
    }
    if token.expires_at <= now {
        return Err(unauthenticated("the token has expired"));
    }
    if user.disabled {
        return Err(unauthenticated("the user of the token is disabled"));
    }
    if page_key::sites(token).is_some() {
        return Err(unauthenticated("a key for pages hands in events of pages and nothing else"));
    }
    let link = Link::of(token).map(Arc::new);
    if let Some(link) = &link
        && look == Look::Request
        && token.last_used_at.is_none_or(|last| now.micros() - last.micros() >= HOUR_US)
    {
        // Reading is no entry of the log; that a link is in use is one, once an hour at most.
        let (who, object) =
            (format!("{}/{}", user.name, token.name), format!("/embed/{}", link.board));
        app.audit(who, "link opened".to_owned(), object, json!({"link": link.id})).await?;
    }
    Ok(Caller {
        role: role_of(user)?,
        user: user.name.clone(),
        provider_groups: user.provider_groups.as_slice().into(),
        grants: grants_of(user, now),
        scopes: Some(token.scopes.iter().filter_map(|scope| Permission::of(scope)).collect()),
        token: Some(token.name.as_str().into()),
        link,
        key: QueryKey::of(token).map(Arc::new),
        token_id: Some(token.id.as_str().into()),
        page_key: None,
        extension: None,
        session: None,
        csrf: None,
        viewed: None,
    })
}

/// What a client of PostgreSQL proved who it is by. It is asked again at each statement.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// The digest of a token.
    Token(String),
    /// A user's password, by its hash at that time.
    Password {
        /// The user.
        user: String,
        /// The hash that the password fitted.
        hash: String,
    },
}

/// Lets in a client that says a name and a password, which may be a token of that user.
pub(crate) async fn prove(
    app: &Arc<App>,
    name: &str,
    password: String,
    address: Option<IpAddr>,
) -> Result<Proof> {
    let proof = if password.starts_with(TOKEN_PREFIX) {
        app.brake.check(name, address)?;
        let digest = token_digest(&password);
        match of_digest(app, &digest, Look::Again).await {
            Ok(caller) if caller.user == name => {}
            Err(problem) if problem.code != "unauthenticated" => return Err(problem),
            _ => {
                app.brake.failed(name, address);
                return Err(not_proved(app).await?);
            }
        }
        Proof::Token(digest)
    } else {
        let asked = name.to_owned();
        let user = app.blocking(move |app| app.workspace().store.user(&asked)).await?;
        let hash = user.filter(|user| !user.disabled).and_then(|user| user.password);
        if !verify(app, (name, address), password, hash.clone()).await? {
            return Err(not_proved(app).await?);
        }
        let Some(hash) = hash else { return Err(not_proved(app).await?) };
        Proof::Password { user: name.to_owned(), hash }
    };
    let caller = match proved(app, &proof).await {
        Ok(caller) => caller,
        Err(problem) => {
            let detail = json!({"at": "postgres", "reason": problem.code});
            let name = name.to_owned();
            app.audit(name.clone(), "login refused".to_owned(), name, detail).await?;
            return Err(problem);
        }
    };
    app.audit(caller.who(), "login".to_owned(), "postgres".to_owned(), serde_json::Value::Null)
        .await?;
    Ok(proof)
}

/// The problem of a wrong name or password, which is noted.
async fn not_proved(app: &Arc<App>) -> Result<Problem> {
    // What was typed as a name may be a password.
    let detail = json!({"at": "postgres"});
    app.audit("nobody".to_owned(), "login refused".to_owned(), String::new(), detail).await?;
    Ok(Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "name or password is wrong")
        .hint("The password is that of the user, or a token of theirs with the scope \"query\"."))
}

/// Who a client is now, if they may still read rows.
pub(crate) async fn proved(app: &Arc<App>, proof: &Proof) -> Result<Caller> {
    let caller = match proof {
        Proof::Token(digest) => of_digest(app, digest, Look::Request).await?,
        Proof::Password { user, hash } => {
            let asked = user.clone();
            let user = app.blocking(move |app| app.workspace().store.user(&asked)).await?;
            let user = user.filter(|user| !user.disabled && user.password.as_ref() == Some(hash));
            let user = user.ok_or_else(|| unauthenticated("the user may not log in any more"))?;
            crate::http::session::check_local(app, &user.role)?;
            of_user(&user, app.machine_now())?
        }
    };
    // What a link or a key shows is shown elsewhere.
    if caller.link.is_some() || caller.key.is_some() || !caller.may(Permission::Query) {
        return Err(refused(&caller, Permission::Query));
    }
    Ok(caller)
}

fn of_user(user: &User, now: Timestamp) -> Result<Caller> {
    Ok(Caller {
        role: role_of(user)?,
        user: user.name.clone(),
        provider_groups: user.provider_groups.as_slice().into(),
        grants: grants_of(user, now),
        scopes: None,
        token: None,
        link: None,
        key: None,
        token_id: None,
        page_key: None,
        extension: None,
        session: None,
        csrf: None,
        viewed: None,
    })
}

/// The caller of an extension: whoever looks at it, within what it asks for, as long as their session lasts.
fn of_extension(app: &App, token: &str) -> Result<Caller> {
    let now = app.machine_now();
    let over = |detail: &str| {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            .hint("The page around the extension hands over another token.")
    };
    let Some(ticket) = app.tickets.read_token(token, now) else {
        return Err(over("the token of the extension has expired, or is not of this server"));
    };
    let found = in_session(app, &ticket.session)?;
    let (_, user) = &*found;
    let workspace = app.workspace();
    // What its file no longer asks for is over at once.
    let Some(declared) = workspace.project.extensions.get(&ticket.extension) else {
        return Err(over(&format!("extension \"{}\" is not there any more", ticket.extension)));
    };
    let asked = extensions::scopes(declared);
    let scopes = ticket.scopes.into_iter().filter(|scope| asked.contains(scope)).collect();
    Ok(Caller {
        role: role_of(user)?,
        user: user.name.clone(),
        provider_groups: user.provider_groups.as_slice().into(),
        grants: grants_of(user, now),
        scopes: Some(scopes),
        token: None,
        link: None,
        key: None,
        // It is none of the user's tokens, so it sees and takes back none of them.
        token_id: Some(format!("extension:{}", ticket.extension).into()),
        page_key: None,
        extension: Some(ticket.extension.into()),
        session: None,
        csrf: None,
        viewed: None,
    })
}

/// The caller of a page that hands in events by a key in its address.
pub(crate) async fn of_page(
    app: &Arc<App>,
    (key, found): (PageKey, Arc<(ApiToken, User)>),
) -> Result<Caller> {
    let now = app.machine_now();
    let (token, user) = &*found;
    if token.last_used_at.is_none_or(|last| now.micros() - last.micros() >= SEEN_EVERY_US) {
        let id = token.id.clone();
        app.blocking(move |app| app.workspace().store.token_used(&id, now)).await?;
    }
    Ok(Caller {
        role: role_of(user)?,
        user: user.name.clone(),
        provider_groups: user.provider_groups.as_slice().into(),
        grants: grants_of(user, now),
        scopes: Some([Permission::Ingest].into()),
        token: Some(token.name.as_str().into()),
        link: None,
        key: None,
        token_id: Some(token.id.as_str().into()),
        page_key: Some(Arc::new(key)),
        extension: None,
        session: None,
        csrf: None,
        viewed: None,
    })
}

/// Refuses a ticket that does not open the files of that extension.
pub(crate) fn check_ticket(app: &App, extension: &str, ticket: &str) -> Result<()> {
    let refused = |detail: &str| {
        Problem::new(StatusCode::FORBIDDEN, "denied", detail)
            .hint("Open the extension from the menu again.")
    };
    let read = app.tickets.read_files(ticket, app.machine_now());
    let Some(read) = read.filter(|read| read.extension == extension) else {
        return Err(refused("the address of the file has expired, or is not of this server"));
    };
    if in_session(app, &read.session).is_err() {
        return Err(refused("the session in which the extension was opened has ended"));
    }
    if !app.workspace().project.extensions.contains_key(extension) {
        return Err(refused("the extension is not there any more"));
    }
    Ok(())
}

/// A session that goes on, and its user.
fn in_session(app: &App, key: &str) -> Result<Arc<(LoginSession, User)>> {
    let Some(found) = app.reader.session(key)? else {
        return Err(unauthenticated("the session is unknown"));
    };
    let (session, user) = &*found;
    if !lives(session, app.machine_now()) || user.disabled {
        return Err(unauthenticated("the session has ended"));
    }
    Ok(found)
}

async fn of_session(app: &Arc<App>, secret: String, look: Look) -> Result<Caller> {
    let now = app.machine_now();
    let (key, csrf) = (session_digest(&secret), csrf_of(&secret));
    let found = in_session(app, &key)?;
    let (session, user) = &*found;
    if look == Look::Request && now.micros() - session.seen_at.micros() >= SEEN_EVERY_US {
        let (digest, name) = (session.digest.clone(), user.name.clone());
        app.blocking(move |app| app.workspace().store.session_seen(&digest, &name, now)).await?;
    }
    Ok(Caller {
        role: role_of(user)?,
        user: user.name.clone(),
        provider_groups: user.provider_groups.as_slice().into(),
        grants: grants_of(user, now),
        scopes: None,
        token: None,
        link: None,
        key: None,
        token_id: None,
        page_key: None,
        extension: None,
        session: Some(key.into()),
        csrf: Some(csrf.into()),
        viewed: None,
    })
}

fn lives(session: &LoginSession, now: Timestamp) -> bool {
    session.expires_at > now && session.seen_at.plus_micros(SESSION_IDLE_HOURS * HOUR_US) > now
}

/// The digest under which a token is known.
pub(crate) fn token_digest(secret: &str) -> String {
    digest::hex(&[b"token", secret.as_bytes()])
}

/// A token that lasts so many days, and its secret, which is kept nowhere.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Unavailable`] if the system gives no random bytes.
pub(crate) fn new_token(
    name: String,
    owner: String,
    scopes: Vec<String>,
    now: Timestamp,
    days: u16,
) -> Result<(String, ApiToken), Error> {
    let in_pages = scopes.iter().any(|scope| scope.starts_with(page_key::TOPIC_SCOPE));
    let secret = entropy::token(if in_pages { page_key::PREFIX } else { TOKEN_PREFIX })?;
    let token = ApiToken {
        id: entropy::token("t-")?.chars().take(14).collect(),
        digest: token_digest(&secret),
        name,
        owner,
        scopes,
        created_at: now,
        expires_at: now.plus_days(days.into()),
        last_used_at: None,
        revoked: false,
    };
    Ok((secret, token))
}

fn session_digest(secret: &str) -> String {
    digest::hex(&[b"session", secret.as_bytes()])
}

fn csrf_of(secret: &str) -> String {
    digest::hex(&[b"csrf", secret.as_bytes()])
}

/// What a page of the caller has to send with changes; none for a token.
pub(crate) fn csrf(headers: &HeaderMap) -> Option<String> {
    cookie(headers).map(|secret| csrf_of(&secret))
}

/// Begins a session for `user`; returns the cookie line and the proof for changes. `encrypted` says whether the browser may be
/// told to send the cookie over TLS alone.
pub(crate) async fn begin(
    app: &Arc<App>,
    user: String,
    encrypted: bool,
) -> Result<(String, String)> {
    let secret = entropy::token("")?;
    let now = app.machine_now();
    let session = LoginSession {
        digest: session_digest(&secret),
        user,
        created_at: now,
        seen_at: now,
        expires_at: now.plus_days(SESSION_DAYS),
    };
    app.blocking(move |app| app.workspace().store.begin_session(&session)).await?;
    let age = SESSION_DAYS * 86_400;
    Ok((cookie_line(&secret, age, encrypted), csrf_of(&secret)))
}

/// The cookie line that ends a session in the browser.
pub(crate) fn gone(encrypted: bool) -> String {
    cookie_line("", 0, encrypted)
}

fn cookie_line(secret: &str, age: i64, encrypted: bool) -> String {
    let only = if encrypted { "; Secure" } else { "" };
    format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{only}")
}

/// Makes a set-up link for a user, or for the first owner.
pub(crate) async fn invite(app: &Arc<App>, user: Option<String>) -> Result<String, Error> {
    let token = entropy::token("fws_")?;
    let key = invitation_digest(&token);
    let expires_at = app.machine_now().plus_days(INVITATION_DAYS);
    app.blocking(move |app| app.workspace().store.invite(&key, user.as_deref(), expires_at))
        .await?;
    Ok(format!("/setup?token={token}"))
}

pub(crate) fn invitation_digest(token: &str) -> String {
    digest::hex(&[b"invitation", token.as_bytes()])
}

/// Refuses names that could be mistaken for one another or for something else.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '+');
    if name.is_empty() || name.chars().count() > NAME_MAX || !name.chars().all(plain) {
        return Err(Problem::invalid(format!("\"{name}\" cannot be a name"))
            .hint(format!("Use 1 to {NAME_MAX} letters, digits and . _ - @ +, without spaces.")));
    }
    Ok(())
}

/// Who stands in the audit log and at runs of schedules where nobody has a name.
const NOT_USERS: [&str; 5] = ["nobody", "schedule", "webhook", "lag", "change"];

/// Refuses what [`check_name`] refuses, and names that stand for no user.
pub(crate) fn check_user_name(name: &str) -> Result<()> {
    check_name(name)?;
    if NOT_USERS.iter().any(|taken| name.eq_ignore_ascii_case(taken)) {
        return Err(Problem::invalid(format!("no user can be called \"{name}\""))
            .hint("It stands for what no user did; choose another name."));
    }
    Ok(())
}

pub(crate) fn check_password(password: &str) -> Result<()> {
    let length = password.chars().count();
    if length < PASSWORD_MIN || password.len() > PASSWORD_MAX {
        return Err(Problem::invalid(format!(
            "the password has {length} characters; it needs {PASSWORD_MIN} to {PASSWORD_MAX}"
        ))
        .hint("A sentence of a few words is easy to remember and hard to guess."));
    }
    Ok(())
}

/// Hashes a password with argon2id and a salt of its own.
pub(crate) async fn hash(app: &Arc<App>, password: String) -> Result<String, Error> {
    let _turn =
        app.hashing.acquire().await.map_err(|e| Error::internal("hashing ended").caused_by(e))?;
    task::compute(move || {
        let broken = |e: argon2::password_hash::Error| {
            Error::internal("a password cannot be hashed").caused_by(e.to_string())
        };
        let salt = SaltString::encode_b64(&entropy::bytes::<16>()?).map_err(broken)?;
        Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(broken)?.to_string())
    })
    .await
}

/// Whether `password` is the one of `hash`; a wrong one counts against `name` and `address`. Without a hash it takes as
/// long and is wrong, so that nobody learns which names exist.
pub(crate) async fn verify(
    app: &Arc<App>,
    (name, address): (&str, Option<IpAddr>),
    password: String,
    hash: Option<String>,
) -> Result<bool> {
    app.brake.check(name, address)?;
    let nobody = app.nobody.clone();
    let _turn =
        app.hashing.acquire().await.map_err(|e| Error::internal("hashing ended").caused_by(e))?;
    // Those who waited here beside others that were wrong are no better than they.
    app.brake.check(name, address)?;
    let right = task::compute(move || {
        let known = hash.is_some();
        let text = hash.unwrap_or(nobody);
        let parsed = PasswordHash::new(&text).map_err(|e| {
            Error::corrupt("a user's password hash is damaged").caused_by(e.to_string())
        })?;
        Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok() && known)
    })
    .await?;
    if !right {
        app.brake.failed(name, address);
    }
    Ok(right)
}

/// A hash of a password nobody has.
pub(crate) fn hash_of_nobody() -> Result<String, Error> {
    let broken = |e: argon2::password_hash::Error| {
        Error::internal("a password cannot be hashed").caused_by(e.to_string())
    };
    // The text of a hash of the usual settings, whose password is not known: it is only compared with.
    let params = Argon2::default();
    let settings = params.params();
    let salt = SaltString::encode_b64(&entropy::bytes::<16>()?).map_err(broken)?;
    let digest = argon2::password_hash::Output::new(&entropy::bytes::<32>()?).map_err(broken)?;
    Ok(format!(
        "$argon2id$v=19$m={},t={},p={}${salt}${digest}",
        settings.m_cost(),
        settings.t_cost(),
        settings.p_cost()
    ))
}

/// Wrong passwords of the last minute, by name and by address.
#[derive(Debug, Default)]
pub(crate) struct Brake(Mutex<BTreeMap<String, VecDeque<Instant>>>);

impl Brake {
    /// Refuses somebody who has guessed too often.
    pub(crate) fn check(&self, name: &str, address: Option<IpAddr>) -> Result<()> {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        failures.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < FAILURES_WINDOW);
            !times.is_empty()
        });
        let most = keys(name, address).into_iter().filter_map(|key| failures.get(&key));
        if most.map(VecDeque::len).max().unwrap_or_default() < FAILURES_MAX {
            return Ok(());
        }
        let detail = format!("more than {FAILURES_MAX} wrong passwords within a minute");
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail)
            .hint("Wait a minute and try again.");
        problem.retry_after_s = Some(FAILURES_WINDOW.as_secs());
        Err(problem)
    }

    /// Notes a wrong password.
    pub(crate) fn failed(&self, name: &str, address: Option<IpAddr>) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(name, address) {
            if failures.len() < WATCHED_MAX || failures.contains_key(&key) {
                failures.entry(key).or_default().push_back(Instant::now());
            }
        }
    }
}

/// The address that a request comes from: behind a proxy that `flywheel.yaml` names, that of whom the proxy asks for.
pub(crate) fn address_of(app: &App, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").iter();
    // A line that is no text names nobody, and is not passed over.
    let lines = lines.map(|line| line.to_str().unwrap_or_default());
    asker(&app.workspace().project.file.proxies, peer.ip(), lines)
}

/// Whether a browser asks over TLS: ours, or, as it says, that of a proxy that `flywheel.yaml` names.
pub(crate) fn is_encrypted(app: &App, peer: Option<Peer>, headers: &HeaderMap) -> bool {
    if app.secure {
        return true;
    }
    let said = headers.get("x-forwarded-proto").and_then(|said| said.to_str().ok());
    // The first of several is what the browser speaks.
    let first = said.and_then(|said| said.split(',').next()).map(str::trim);
    let workspace = app.workspace();
    let proxies = &workspace.project.file.proxies;
    let proxied = peer.is_some_and(|Peer(peer)| proxies.iter().any(|proxy| proxy.holds(peer.ip())));
    proxied && first.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

/// Who has an address of version 6 has some 2^64 of them.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn keys(name: &str, address: Option<IpAddr>) -> Vec<String> {
    let name: String = name.chars().take(NAME_MAX).collect();
    let address = address.map(|address| format!("address {}", network_of(address)));
    std::iter::once(format!("name {name}")).chain(address).collect()
}
