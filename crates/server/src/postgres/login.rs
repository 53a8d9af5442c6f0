//! How a connection begins: whether it is encrypted, who it is of, and whether they are let in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::frame::{Body, PASSWORD_BYTES_MAX, Stop, Wire, broken, put_text};
use super::place::{Place, cancel};
use super::refusal::Refusal;
use crate::app::App;
use crate::auth::{self, Proof};

/// Connections from one network that have not logged in; more are refused.
const WAITING_MAX: usize = 16;
/// How long logging in may take, from the first byte to the last.
const LOGIN_TIME: Duration = Duration::from_secs(30);
/// How often a client may ask for encryption before it begins.
const ASKS_MAX: usize = 2;

/// Version 3.0 of the protocol.
const VERSION_3: u32 = 3 << 16;
const ASKS_TLS: u32 = 80_877_103;
const ASKS_GSS: u32 = 80_877_104;
const CANCELS: u32 = 80_877_102;

/// Somebody who has not logged in: they have until then, and few others of their network beside them.
pub(super) struct Guest {
    app: Arc<App>,
    pub(super) peer: SocketAddr,
    pub(super) until: Instant,
}

impl Guest {
    pub(super) fn take(app: &Arc<App>, peer: SocketAddr) -> Result<Self, Refusal> {
        let mut waiting = app.postgres.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(auth::network_of(peer.ip())).or_default();
        if *count >= WAITING_MAX {
            let message =
                format!("{WAITING_MAX} connections from this address are logging in already");
            let refusal = Refusal::fatal("53300", message);
            return Err(refusal.hint("Log in with those, or close them."));
        }
        *count += 1;
        Ok(Self { app: Arc::clone(app), peer, until: Instant::now() + LOGIN_TIME })
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

/// What a connection begins with.
pub(super) enum Beginning {
    /// It is to be encrypted.
    Tls,
    /// A session, with its parameters.
    Session(BTreeMap<String, String>),
    /// There is nothing more to do.
    Done,
}

/// Reads what a connection begins with; `tls` says whether encryption is to be had.
pub(super) async fn begin<S: AsyncRead + AsyncWrite + Unpin>(
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
                        newer.iter().for_each(|name| put_text(out, name));
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

/// Logs a client in; `secret` says whether nobody can listen.
pub(super) async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
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
