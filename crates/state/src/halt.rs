//! The switch that stops all policies at once. It is apart from the pause of each policy, so that lifting it lets nothing go
//! on that was paused before.

use flywheel_base::{Result, Timestamp};

use crate::Store;
use crate::engine::{self, Connection, OptionalExtension, params};

/// That all policies are stopped: nothing is decided and nothing leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// Why.
    pub reason: String,
    /// Who stopped them.
    pub by: String,
    /// When, by the machine's clock.
    pub at: Timestamp,
}

impl Store {
    /// Whether all policies are stopped, and why.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn halt(&self) -> Result<Option<Halt>> {
        self.read("look for a halt", |db| {
            db.prepare_cached("SELECT reason, by_whom, at FROM halt")?
                .query_row([], |row| {
                    Ok(Halt {
                        reason: row.get(0)?,
                        by: row.get(1)?,
                        at: Timestamp::from_micros(row.get(2)?),
                    })
                })
                .optional()
        })
    }

    /// Stops all policies. If they are stopped already, who did it first and why stays. Returns whether they went on before.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_halt(&self, halt: &Halt) -> Result<bool> {
        self.write("halt all policies", |db| {
            let added = db.execute(
                "INSERT OR IGNORE INTO halt (only_row, reason, by_whom, at) VALUES (0, ?, ?, ?)",
                params![halt.reason, halt.by, halt.at.micros()],
            )?;
            Ok(added > 0)
        })
    }

    /// Lets policies go on, but for those that are paused each by itself. Returns whether they were stopped.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn lift_halt(&self) -> Result<bool> {
        self.write("lift the halt", |db| Ok(db.execute("DELETE FROM halt", [])? > 0))
    }
}

/// Whether all policies are stopped, within a transaction.
pub(crate) fn is_halted(db: &Connection) -> engine::Result<bool> {
    db.prepare_cached("SELECT 1 FROM halt LIMIT 1")?.exists([])
}
