//! Signed tickets for extensions: short-lived, kept nowhere, void when the server starts again or the session ends.
//!
//! ```text
//! fwx_EXPIRES~EXTENSION~SCOPES~SESSION~SIGNATURE     asks the API          (a token)
//!     EXPIRES~EXTENSION~~SESSION~SIGNATURE           reads the files of it (a part of addresses)
//! ```
//! The signature is a keyed digest over all the rest and over what the ticket is for, so that one cannot be used as the
//! other. The key is drawn when the server starts. SESSION is the digest by which a session is known, which opens nothing.

use flywheel_base::{Result, Timestamp, digest, entropy};

use crate::gate::Permission;

/// How a token of an extension begins.
pub(crate) const PREFIX: &str = "fwx_";

/// How long an extension may use a token before its page has to ask for another one.
pub(crate) const TOKEN_MINUTES: i64 = 15;
/// How long the files of an extension can be read that somebody has opened.
const FILES_HOURS: i64 = 12;
const MINUTE_US: i64 = 60_000_000;

/// The longest ticket.
const TICKET_BYTES_MAX: usize = 512;

/// What a ticket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Api,
    Files,
}

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) extension: String,
    /// The session of whoever looks, by its digest.
    pub(crate) session: String,
    /// What it may ask at most.
    pub(crate) scopes: Vec<Permission>,
}

/// Signs tickets and reads them.
pub(crate) struct Tickets {
    key: [u8; 32],
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// Draws a key.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Unavailable`] if the system gives no random bytes.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { key: entropy::bytes()? })
    }

    /// A token by which an extension asks the API for whom the session belongs to.
    pub(crate) fn token(
        &self,
        extension: &str,
        session: &str,
        scopes: &[Permission],
        now: Timestamp,
    ) -> (String, Timestamp) {
        let expires_at = now.plus_micros(TOKEN_MINUTES * MINUTE_US);
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.word()).collect();
        let said = format!("{}~{extension}~{}~{session}", expires_at.micros(), scopes.join("+"));
        (format!("{PREFIX}{said}~{}", self.sign(Purpose::Api, &said)), expires_at)
    }

    /// What stands in the addresses of an extension's files.
    pub(crate) fn files(&self, extension: &str, session: &str, now: Timestamp) -> String {
        let expires_at = now.plus_micros(FILES_HOURS * 60 * MINUTE_US);
        let said = format!("{}~{extension}~~{session}", expires_at.micros());
        format!("{said}~{}", self.sign(Purpose::Files, &said))
    }

    /// Reads a token; none if it is not ours or too old.
    pub(crate) fn read_token(&self, token: &str, now: Timestamp) -> Option<Ticket> {
        self.read(Purpose::Api, token.strip_prefix(PREFIX)?, now)
    }

    /// Reads the ticket of an address.
    pub(crate) fn read_files(&self, ticket: &str, now: Timestamp) -> Option<Ticket> {
        self.read(Purpose::Files, ticket, now)
    }

    fn read(&self, purpose: Purpose, text: &str, now: Timestamp) -> Option<Ticket> {
        if text.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (said, signature) = text.rsplit_once('~')?;
        // Digests of both are compared: how long that takes tells nothing of the right one.
        let expected = self.sign(purpose, said);
        if digest::hex(&[signature.as_bytes()]) != digest::hex(&[expected.as_bytes()]) {
            return None;
        }
        let mut parts = said.split('~');
        let expires_at = Timestamp::from_micros(parts.next()?.parse().ok()?);
        let (extension, scopes, session) = (parts.next()?, parts.next()?, parts.next()?);
        if expires_at <= now {
            return None;
        }
        Some(Ticket {
            extension: extension.to_owned(),
            session: session.to_owned(),
            scopes: scopes.split('+').filter_map(Permission::of).collect(),
        })
    }

    /// BLAKE3 has no extension of lengths, so a key in front of the text signs it.
    fn sign(&self, purpose: Purpose, said: &str) -> String {
        let purpose: &[u8] = match purpose {
            Purpose::Api => b"extension api",
            Purpose::Files => b"extension files",
        };
        digest::hex(&[&self.key, purpose, said.as_bytes()])
    }
}
