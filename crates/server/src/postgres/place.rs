//! The places of sessions: how many there are, and what stops what another one does.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_base::entropy;
use tokio_util::sync::CancellationToken;

use super::frame::{Body, Stop};
use super::refusal::Refusal;
use super::running::Seen;
use crate::app::App;
use crate::auth;

/// Sessions at once; more are refused.
const SESSIONS_MAX: usize = 100;
/// Of these, how many one user may have.
const USER_SESSIONS_MAX: usize = 32;
/// How often one address may ask for something to be stopped, within a minute.
const CANCELS_MAX: u64 = 120;

/// The sessions that are open, so that what they do can be stopped from beside them, and what they share.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<BTreeMap<i32, Open>>,
    /// How many connections have not logged in, by the network they come from.
    pub(super) waiting: Mutex<BTreeMap<IpAddr, usize>>,
    /// What their readers saw a moment ago.
    pub(super) seen: Seen,
}

#[derive(Debug)]
struct Open {
    user: String,
    secret: i32,
    cancel: CancellationToken,
}

/// A session's place among those that are open; it is free again when this is dropped.
pub(super) struct Place {
    app: Arc<App>,
    pub(super) number: i32,
    pub(super) secret: i32,
}

impl Place {
    pub(super) fn take(app: &Arc<App>, user: &str) -> Result<Self, Refusal> {
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
    pub(super) fn fresh(&self) -> CancellationToken {
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

/// Stops what another session does, if its secret is known. Whoever asks is told nothing.
pub(super) fn cancel(app: &App, peer: SocketAddr, body: &mut Body) -> Result<(), Stop> {
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
