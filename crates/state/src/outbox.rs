//! The outbox: what shall leave, and whether it did. It never sends twice and never forgets.
//!
//! ```text
//! pending ──delivered──▶ delivered
//!    │  ▲
//!    │  └─ retry (due_at moves)
//!    └──── refused, or attempts used up ──▶ dead
//! ```
//! An entry's key is derived from its decision, so adding it again changes nothing.

use flywheel_base::{Result, Timestamp};
use rusqlite::{Row, params};
use serde_json::Value;

use crate::Store;
use crate::runs::json;

/// One delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// The idempotency key, one per decision and action.
    pub key: String,
    /// The policy that decided.
    pub policy: String,
    /// The turn that decided.
    pub turn: i64,
    /// The decision.
    pub decision_id: String,
    /// The action resource it leaves through.
    pub action: String,
    /// What is sent.
    pub payload: Value,
    /// Where it stands.
    pub status: OutboxStatus,
    /// How often delivery was tried.
    pub attempts: u32,
    /// When it may be tried next, by the logical clock.
    pub due_at: Timestamp,
    /// When it was delivered or given up, by the logical clock.
    pub ended_at: Option<Timestamp>,
    /// What the receiver answered.
    pub receipt: Option<String>,
    /// Why it is not delivered.
    pub error: Option<String>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxStatus {
    /// To be sent.
    Pending,
    /// The receiver has it.
    Delivered,
    /// Given up; a person must look.
    Dead,
}

impl OutboxStatus {
    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

const COLUMNS: &str = "key, policy, turn, decision_id, action, payload, status, attempts, due_at, ended_at, receipt, error";

impl Store {
    /// Adds entries; those whose key is known stay as they are. Returns how many were new.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn enqueue(&self, entries: &[OutboxEntry]) -> Result<usize> {
        if entries.is_empty() {
            return Ok(0);
        }
        self.write("enqueue actions", |db| {
            let mut insert = db.prepare_cached(&format!(
                "INSERT OR IGNORE INTO outbox ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
            ))?;
            let mut added = 0;
            for e in entries {
                added += insert.execute(params![
                    e.key,
                    e.policy,
                    e.turn,
                    e.decision_id,
                    e.action,
                    e.payload.to_string(),
                    e.status.name(),
                    e.attempts,
                    e.due_at.micros(),
                    e.ended_at.map(Timestamp::micros),
                    e.receipt,
                    e.error
                ])?;
            }
            Ok(added)
        })
    }

    /// Pending entries due at `now`, in the order of their keys within each turn.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxEntry>> {
        self.outbox_where(
            "WHERE status = 'pending' AND due_at <= ? ORDER BY turn, policy, key LIMIT ?",
            params![now.micros(), limit],
        )
    }

    /// Records what became of deliveries.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn settle(&self, entries: &[OutboxEntry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.write("settle deliveries", |db| {
            let mut update = db.prepare_cached(
                "UPDATE outbox SET status = ?, attempts = ?, due_at = ?, ended_at = ?, receipt = ?, error = ?
                 WHERE key = ? AND status = 'pending'",
            )?;
            for e in entries {
                update.execute(params![
                    e.status.name(),
                    e.attempts,
                    e.due_at.micros(),
                    e.ended_at.map(Timestamp::micros),
                    e.receipt,
                    e.error,
                    e.key
                ])?;
            }
            Ok(())
        })
    }

    /// Ended entries that `system.actions` does not show yet, oldest turn first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn unlogged(&self) -> Result<Vec<OutboxEntry>> {
        self.outbox_where("WHERE logged = 0 AND status <> 'pending' ORDER BY turn, policy, key", [])
    }

    /// Marks entries as shown by `system.actions`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn mark_logged(&self, keys: &[String]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.write("mark deliveries as logged", |db| {
            let mut update = db.prepare_cached("UPDATE outbox SET logged = 1 WHERE key = ?")?;
            for key in keys {
                update.execute([key])?;
            }
            Ok(())
        })
    }

    /// Drops delivered entries that `system.actions` shows and that ended before `before`: the outbox holds what is
    /// on its way, and what it keeps of the past makes every later entry dearer. Returns how many.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn forget_delivered(&self, before: Timestamp) -> Result<usize> {
        self.write("forget old deliveries", |db| {
            db.prepare_cached(
                "DELETE FROM outbox WHERE status = 'delivered' AND logged = 1 AND ended_at < ?",
            )?
            .execute([before.micros()])
        })
    }

    /// Entries that are pending or dead, oldest turn first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn undelivered(&self) -> Result<Vec<OutboxEntry>> {
        self.outbox_where("WHERE status <> 'delivered' ORDER BY turn, policy, key", [])
    }

    /// The newest `limit` entries, of one status or policy if asked for, newest turn first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn outbox(
        &self,
        status: Option<OutboxStatus>,
        policy: Option<&str>,
        limit: u32,
    ) -> Result<Vec<OutboxEntry>> {
        self.outbox_where(
            "WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR policy = ?2)
             ORDER BY turn DESC, policy, key LIMIT ?3",
            rusqlite::params![status.map(OutboxStatus::name), policy, limit],
        )
    }

    /// How many entries stand where: (pending, delivered, dead).
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn outbox_counts(&self) -> Result<(u64, u64, u64)> {
        self.read("count the outbox", |db| {
            db.query_row(
                "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'delivered'),
                        count(*) FILTER (WHERE status = 'dead') FROM outbox",
                [],
                |row| {
                    let count = |i| row.get::<_, i64>(i).map(i64::unsigned_abs);
                    Ok((count(0)?, count(1)?, count(2)?))
                },
            )
        })
    }

    /// Makes dead entries of `policy` pending again, due at `now`. Returns how many.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn revive(&self, policy: &str, now: Timestamp) -> Result<usize> {
        self.write("revive dead letters", |db| {
            db.execute(
                "UPDATE outbox SET status = 'pending', attempts = 0, due_at = ?, ended_at = NULL, logged = 0
                 WHERE status = 'dead' AND policy = ?",
                params![now.micros(), policy],
            )
        })
    }

    fn outbox_where(&self, clause: &str, bound: impl rusqlite::Params) -> Result<Vec<OutboxEntry>> {
        self.read("read the outbox", |db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM outbox {clause}"))?
                .query_map(bound, entry_from)?
                .collect()
        })
    }
}

fn entry_from(row: &Row<'_>) -> rusqlite::Result<OutboxEntry> {
    let status: String = row.get(6)?;
    Ok(OutboxEntry {
        key: row.get(0)?,
        policy: row.get(1)?,
        turn: row.get(2)?,
        decision_id: row.get(3)?,
        action: row.get(4)?,
        payload: json(row, 5)?,
        status: match status.as_str() {
            "delivered" => OutboxStatus::Delivered,
            "dead" => OutboxStatus::Dead,
            _ => OutboxStatus::Pending,
        },
        attempts: row.get(7)?,
        due_at: Timestamp::from_micros(row.get(8)?),
        ended_at: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_micros),
        receipt: row.get(10)?,
        error: row.get(11)?,
    })
}
