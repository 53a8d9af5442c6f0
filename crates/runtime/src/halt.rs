//! The switch that stops all policies at once. It takes neither the project's lock nor files without mistakes: who pulls it
//! is in a hurry.

use std::path::Path;

use flywheel_base::{Clock, Error, Result, SystemClock};
use flywheel_state::{Halt, Store};
use serde_json::json;

use crate::metadata;

/// What is told of a halt.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Halted {
    /// Why.
    pub reason: String,
    /// Who stopped the policies.
    pub by: String,
    /// When.
    pub at: String,
}

impl From<Halt> for Halted {
    fn from(halt: Halt) -> Self {
        Self { reason: halt.reason, by: halt.by, at: halt.at.to_string() }
    }
}

/// Stops all policies: nothing is decided and nothing leaves until they are let go on. Returns what stops them, which is an
/// earlier halt if there is one, and whether they went on before.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] without a reason, else those of the metadata.
pub fn stop(store: &Store, reason: &str, by: &str) -> Result<(Halted, bool)> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Error::invalid("no reason is given why all policies are stopped")
            .hint("Say why: everybody is shown it."));
    }
    let halt = Halt { reason: reason.to_owned(), by: by.to_owned(), at: SystemClock.now() };
    let new = store.record_halt(&halt)?;
    Ok((store.halt()?.unwrap_or(halt).into(), new))
}

/// Lets policies go on, but for those that are paused each by itself. Returns whether they were stopped.
///
/// # Errors
/// Those of the metadata.
pub fn lift(store: &Store) -> Result<bool> {
    store.lift_halt()
}

/// As [`stop`] from a command line in the project's folder, with an entry in the audit log.
///
/// # Errors
/// As [`stop`].
pub fn stop_in(dir: &Path, reason: &str) -> Result<(Halted, bool)> {
    let store = store(dir)?;
    let (halted, new) = stop(&store, reason, COMMAND_LINE)?;
    let detail = json!({"reason": halted.reason, "new": new});
    store.audit(SystemClock.now(), COMMAND_LINE, "policy.pause", ALL, &detail)?;
    Ok((halted, new))
}

/// As [`lift`] from a command line in the project's folder, with an entry in the audit log.
///
/// # Errors
/// As [`lift`].
pub fn lift_in(dir: &Path) -> Result<bool> {
    let store = store(dir)?;
    let lifted = lift(&store)?;
    let detail = json!({"new": lifted});
    store.audit(SystemClock.now(), COMMAND_LINE, "policy.resume", ALL, &detail)?;
    Ok(lifted)
}

/// Who asked, where nobody is signed in.
pub const COMMAND_LINE: &str = "command line";
/// What is stopped, in the audit log.
const ALL: &str = "all policies";

fn store(dir: &Path) -> Result<Store> {
    metadata::open_in(dir)
}
