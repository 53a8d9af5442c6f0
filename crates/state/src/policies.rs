//! What a policy remembers between turns.

use flywheel_base::{Result, Timestamp};

use crate::Store;
use crate::engine::{OptionalExtension, params};

/// The state of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyState {
    /// Whether a guardrail or a person stopped it.
    pub paused: bool,
    /// Why.
    pub reason: Option<String>,
    /// When it last decided, by the logical clock.
    pub last_decided_at: Option<Timestamp>,
}

impl Store {
    /// The state of `policy`; a policy never seen is not paused.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn policy(&self, policy: &str) -> Result<PolicyState> {
        let found = self.read("look up a policy", |db| {
            db.prepare_cached(
                "SELECT paused, reason, last_decided_at FROM policies WHERE policy = ?",
            )?
            .query_row([policy], |row| {
                Ok(PolicyState {
                    paused: row.get(0)?,
                    reason: row.get(1)?,
                    last_decided_at: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_micros),
                })
            })
            .optional()
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Records the state of `policy`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_policy(&self, policy: &str, state: &PolicyState, at: Timestamp) -> Result<()> {
        self.write("record a policy", |db| {
            db.execute(
                "INSERT OR REPLACE INTO policies (policy, paused, reason, changed_at, last_decided_at) VALUES (?,?,?,?,?)",
                params![policy, state.paused, state.reason, at.micros(), state.last_decided_at.map(Timestamp::micros)],
            )
            .map(|_| ())
        })
    }
}
