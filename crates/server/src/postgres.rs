//! The door for clients of PostgreSQL: BI tools, `psql` and drivers read the lake as a database, and change nothing.
//!
//! ```text
//! accept ─► beginning (TLS, cancel) ─► login (as at HTTP) ─► session (messages) ─► running (a statement) ─► runtime
//! ```
//! Invariants: a password is asked for only where nobody can listen; who asks is looked up again at every statement, and rows
//! come from the session of that reader, as at every other door; rows leave as they are found, and what nobody reads is
//! dropped; who has not logged in holds few connections, and each for half a minute at most
//! ([decision 0024](../../../docs/decisions/0024-postgres-wire.md)).

mod frame;
mod refusal;
mod running;
mod session;
mod settings;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BufMut;
use flywheel_base::{Result as BaseResult, entropy};
use futures::FutureExt;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::frame::{Body, PASSWORD_BYTES_MAX, Stop, Wire, broken};
use self::refusal::Refusal;
use self::running::Seen;
use self::session::Session;
use crate::app::{self, App};
use crate::auth::{self, Proof};
use crate::{PAUSE, STOP_TIME, is_private};

/// Connections that are open at once, logged in or not; more wait.
const CONNECTIONS_MAX: usize = 256;
/// Sessions at once; more are refused.
const SESSIONS_MAX: usize = 100;
/// Of these, how many one user may have.
const USER_SESSIONS_MAX: usize = 32;
/// Connections from one network that have not logged in; more are refused.
const WAITING_MAX: usize = 16;
/// How long logging in may take, from the first byte to the last.
const LOGIN_TIME: Duration = Duration::from_secs(30);
/// After which silence it is asked whether a client is still there, and how often then.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How often one address may ask for something to be stopped, within a minute.
const CANCELS_MAX: u64 = 120;
/// How often a client may ask for encryption before it begins.
const ASKS_MAX: usize = 2;

/// Version 3.0 of the protocol.
const VERSION_3: u32 = 3 << 16;
const ASKS_TLS: u32 = 80_877_103;
const ASKS_GSS: u32 = 80_877_104;
const CANCELS: u32 = 80_877_102;

/// The sessions that are open, so that what they do can be stopped from beside them, and what they share.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<BTreeMap<i32, Open>>,
    /// How many connections have not logged in, by the network they come from.
    waiting: Mutex<BTreeMap<IpAddr, usize>>,
    /// What their readers saw a moment ago.
    seen: Seen,
}

#[derive(Debug)]
struct Open {
    user: String,
    secret: i32,
    cancel: CancellationToken,
}

/// A session's place among those that are open; it is free again when this is dropped.
struct Place {
    app: Arc<App>,
    number: i32,
    secret: i32,
}

impl Place {
    fn take(app: &Arc<App>, user: &str) -> Result<Self, Refusal> {
        let mut open = app.postgres.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().filter(|one| one.user == user).count() >= USER_SESSIONS_MAX {
            let message = format!("user \"{user}\" has {USER_SESSIONS_MAX} connections already");
            return Err(Refusal::fatal("53300", message)
                .hint("Close connections that are not used, or let the tool keep fewer of them."));
        }
        if open.len() >= SESSIONS_MAX {
            return Err(Refusal::fatal("53300", "too many clients are connected already")
                .hint("Close connections that are not used, or let the tool keep fewer of them."));
        }
        loop {
            let [a, b, c, d, e, f, g, h] = entropy::bytes::<8>()?;
            let number = i32::from_be_bytes([a & 0x7f, b, c, d]);
            let secret = i32::from_be_bytes([e, f, g, h]);
            if number == 0 || open.contains_key(&number) {
                continue;
            }
            let cancel = CancellationToken::new();
            open.insert(number, Open { user: user.to_owned(), secret, cancel });
            return Ok(Self { app: Arc::clone(app), number, secret });
        }
    }

    /// What stops the statement that begins now.
    fn fresh(&self) -> CancellationToken {
        // Who stops the server stops what is asked.
        let cancel = self.app.stop.child_token();
        let mut open = self.app.postgres.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = open.get_mut(&self.number) {
            one.cancel = cancel.clone();
        }
        cancel
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.app.postgres.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.number);
    }
}

/// Somebody who has not logged in: they have until then, and few others of their network beside them.
struct Guest {
    app: Arc<App>,
    peer: SocketAddr,
    until: Instant,
}

impl Guest {
    fn take(app: &Arc<App>, peer: SocketAddr) -> Option<Self> {
        let mut waiting = app.postgres.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(auth::network_of(peer.ip())).or_default();
        if *count >= WAITING_MAX {
            return None;
        }
        *count += 1;
        Some(Self { app: Arc::clone(app), peer, until: Instant::now() + LOGIN_TIME })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut waiting = self.app.postgres.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let network = auth::network_of(self.peer.ip());
        if let Some(count) = waiting.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&network);
            }
        }
    }
}

/// Lets clients in until the server stops.
pub(crate) async fn accept(
    app: &Arc<App>,
    listener: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
) -> BaseResult<()> {
    let Some(listener) = listener else { return Ok(()) };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = app.stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place.map_err(|_| app::ended("listening"))?,
        };
        let accepted = tokio::select! {
            () = app.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (app, tls) = (Arc::clone(app), tls.clone());
                connections.spawn(async move {
                    app.stats.postgres_connections.fetch_add(1, Ordering::Relaxed);
                    let serving = Box::pin(connection(&app, stream, peer, tls));
                    if AssertUnwindSafe(serving).catch_unwind().await.is_err() {
                        tracing::error!(
                            "a connection of PostgreSQL's protocol stopped unexpectedly"
                        );
                    }
                    app.stats.postgres_connections.fetch_sub(1, Ordering::Relaxed);
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_TIME, all).await.is_err() {
        tracing::warn!("statements under way are left");
    }
    Ok(())
}

/// What a connection begins with.
enum Beginning {
    /// It is to be encrypted.
    Tls,
    /// A session, with its parameters.
    Session(BTreeMap<String, String>),
    /// There is nothing more to do.
    Done,
}

/// Serves one connection until it ends.
async fn connection(app: &Arc<App>, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
    // Answers are written whole; waiting to make packets larger only delays them.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // A client that is gone without a word must not keep its session for hours.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "a connection is not kept alive");
    }
    let local = stream.local_addr().is_ok_and(|at| is_private(at.ip())) && is_private(peer.ip());
    let mut wire = Wire::new(stream);
    let Some(guest) = Guest::take(app, peer) else {
        let message = format!("{WAITING_MAX} connections from this address are logging in already");
        let refusal = Refusal::fatal("53300", message);
        return leave(&mut wire, refusal.hint("Log in with those, or close them.")).await;
    };
    let until = guest.until;
    let begun = timeout_at(until, begin(app, &mut wire, peer, tls.is_some())).await;
    match (begun, tls) {
        (Ok(Ok(Beginning::Session(parameters))), _) => {
            Box::pin(serve(app, wire, guest, &parameters, local)).await;
        }
        (Ok(Ok(Beginning::Tls)), Some(tls)) => {
            // What came before the handshake may be somebody else's.
            let Some(stream) = wire.into_bare() else { return };
            let Ok(Ok(stream)) = timeout_at(until, tls.accept(stream)).await else { return };
            let mut wire = Wire::new(stream);
            let begun = timeout_at(until, begin(app, &mut wire, peer, false)).await;
            match begun {
                Ok(Ok(Beginning::Session(parameters))) => {
                    Box::pin(serve(app, wire, guest, &parameters, true)).await;
                }
                Ok(Err(Stop::Refused(refusal))) => leave(&mut wire, refusal).await,
                _ => {}
            }
        }
        (Ok(Err(Stop::Refused(refusal))), _) => leave(&mut wire, refusal).await,
        _ => tracing::debug!(%peer, "a client left before it logged in"),
    }
}

/// Reads what a connection begins with; `tls` says whether encryption is to be had.
async fn begin<S: AsyncRead + AsyncWrite + Unpin>(
    app: &App,
    wire: &mut Wire<S>,
    peer: SocketAddr,
    tls: bool,
) -> Result<Beginning, Stop> {
    for _ in 0..=ASKS_MAX {
        let (code, mut body) = wire.beginning().await?;
        match code {
            ASKS_TLS if tls => {
                wire.out.put_u8(b'S');
                wire.send().await?;
                return Ok(Beginning::Tls);
            }
            ASKS_TLS | ASKS_GSS => {
                wire.out.put_u8(b'N');
                wire.send().await?;
            }
            CANCELS => {
                cancel(app, peer, &mut body)?;
                return Ok(Beginning::Done);
            }
            version if version >> 16 == 3 => {
                let parameters = parameters(&mut body)?;
                let newer = parameters.keys().filter(|name| name.starts_with("_pq_.")).cloned();
                let newer: Vec<String> = newer.collect();
                if version != VERSION_3 || !newer.is_empty() {
                    // The client goes on in 3.0, without what it asked for beside.
                    wire.put(b'v', |out| {
                        out.put_i32(VERSION_3.cast_signed());
                        out.put_i32(i32::try_from(newer.len()).unwrap_or_default());
                        newer.iter().for_each(|name| frame::put_text(out, name));
                    });
                }
                return Ok(Beginning::Session(parameters));
            }
            _ => {
                let message = "this version of the protocol is not spoken here";
                return Err(Refusal::fatal("0A000", message).into());
            }
        }
    }
    Err(Stop::Gone)
}

fn parameters(body: &mut Body) -> Result<BTreeMap<String, String>, Stop> {
    let mut found = BTreeMap::new();
    while !body.is_done() {
        let name = body.text()?;
        if name.is_empty() {
            break;
        }
        found.insert(name, body.text()?);
    }
    Ok(found)
}

/// Stops what another session does, if its secret is known. Whoever asks is told nothing.
fn cancel(app: &App, peer: SocketAddr, body: &mut Body) -> Result<(), Stop> {
    let (number, secret) = (body.long()?, body.long()?);
    let name = format!("postgres cancel {}", auth::network_of(peer.ip()));
    if app.rates.take(&name, 1, CANCELS_MAX).is_err() {
        return Ok(());
    }
    let open = app.postgres.open.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(one) = open.get(&number).filter(|one| one.secret == secret) {
        one.cancel.cancel();
    }
    Ok(())
}

/// Tells a client why it has to go.
async fn leave<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>, refusal: Refusal) {
    wire.refuse(b'E', &refusal.and_leave());
    if wire.send().await.is_err() {
        tracing::debug!("a client left before it was told why");
    }
}

/// Logs a client in and answers it; `secret` says whether nobody can listen.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    app: &Arc<App>,
    mut wire: Wire<S>,
    guest: Guest,
    parameters: &BTreeMap<String, String>,
    secret: bool,
) {
    let login = log_in(app, &mut wire, guest.peer, parameters, secret);
    let login = timeout_at(guest.until, login).await;
    let served = match login {
        Ok(Ok((proof, place))) => {
            drop(guest);
            let mut session = Session::new(Arc::clone(app), place, proof, parameters);
            Box::pin(session.serve(&mut wire)).await
        }
        Ok(Err(stop)) => Err(stop),
        Err(_) => Err(Stop::Gone),
    };
    if let Err(Stop::Refused(refusal)) = served {
        leave(&mut wire, refusal).await;
    }
}

async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    app: &Arc<App>,
    wire: &mut Wire<S>,
    peer: SocketAddr,
    parameters: &BTreeMap<String, String>,
    secret: bool,
) -> Result<(Proof, Place), Stop> {
    if !secret {
        return Err(Refusal::fatal("28000", "passwords are taken over TLS only")
            .hint("Connect with sslmode=require, or from this machine.")
            .into());
    }
    let user = parameters.get("user").filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| Refusal::fatal("28000", "no user is named"))?;
    if parameters
        .get("replication")
        .is_some_and(|value| !matches!(value.as_str(), "false" | "off" | "0"))
    {
        return Err(Refusal::fatal("0A000", "there is no log to replicate from").into());
    }
    wire.put(b'R', |out| out.put_i32(3));
    wire.send().await?;
    let mut message = wire.message(PASSWORD_BYTES_MAX).await?;
    if message.kind != b'p' {
        return Err(broken("a password was asked for"));
    }
    let password = message.body.text()?;
    let proof = auth::prove(app, user, password, Some(peer.ip())).await;
    let proof = proof.map_err(|problem| match problem.code {
        "unauthenticated" => Refusal { code: "28P01", ..Refusal::from(problem) },
        _ => Refusal::from(problem),
    })?;
    let place = Place::take(app, user)?;
    wire.put(b'R', |out| out.put_i32(0));
    Ok((proof, place))
}
