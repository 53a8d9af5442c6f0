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
mod login;
mod place;
mod refusal;
mod running;
mod session;
mod settings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flywheel_base::Result as BaseResult;
use futures::FutureExt;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use self::frame::{Stop, Wire};
use self::login::{Beginning, Guest, begin, log_in};
use self::refusal::Refusal;
use self::session::Session;
use crate::app::{self, App};
use crate::{PAUSE, STOP_TIME, is_private};

pub(crate) use self::place::Sessions;

/// Connections that are open at once, logged in or not; more wait.
const CONNECTIONS_MAX: usize = 256;
/// After which silence it is asked whether a client is still there, and how often then.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

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
    let guest = match Guest::take(app, peer) {
        Ok(guest) => guest,
        Err(refusal) => return leave(&mut wire, refusal).await,
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
