//! The outbox: what shall leave, and whether it did. It never sends twice and never forgets.
//!
//! ```text
//! pending ──lease──▶ sending ──delivered──▶ delivered
//!    ▲                 │  │
//!    └─ retry (due_at) ┘  └── refused, or attempts used up ──▶ dead ──a person──▶ discarded
//! ```
//! A person may discard what is dead, and what is pending and cannot leave; it ends there, and is not tried again.
//! What waits for approval is `waiting` before it is pending, or ends as discarded: see [`crate::Approval`].
//!
//! An entry's key is derived from its decision, so adding it again changes nothing.
//!
//! Whoever delivers takes the outbox first and gets the next number of its fence. Leases and results that carry an
//! older number change nothing, so a deliverer that was thought dead can neither send what another one sends nor
//! overwrite what it found out. What the one before it left in `sending` may have been received: it is sent again
//! with its key, or given up if it must be sent at most once.

use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use serde_json::Value;

use crate::engine::{self, Connection, Params, Row, params};
use crate::halt::is_halted;
use crate::runs::json;
use crate::{Piece, Store};

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
    /// What it shares with those that it was leased with to leave in one request; none before, or if it leaves alone.
    pub bundle: Option<String>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxStatus {
    /// To be sent once a person has approved it.
    Waiting,
    /// To be sent.
    Pending,
    /// Leased by whoever delivers now, or did when it was cut off: the receiver may have it.
    Sending,
    /// The receiver has it.
    Delivered,
    /// Given up; a person must look.
    Dead,
    /// Given up for good: a person has looked.
    Discarded,
}

impl OutboxStatus {
    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}

/// The right to deliver what the outbox holds, until somebody else takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence(i64);

/// What taking the outbox found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The right to deliver.
    pub fence: Fence,
    /// Deliveries that were cut off and are sent again.
    pub again: usize,
    /// Deliveries that were cut off and may be sent only once: given up.
    pub uncertain: usize,
}

/// How many deliveries of a policy stand where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDeliveries {
    /// The policy, which may be gone.
    pub policy: String,
    /// Those that wait for approval.
    pub waiting: u64,
    /// Those that are pending or being sent.
    pub pending: u64,
    /// Those that the receiver has, as far as they are not forgotten.
    pub delivered: u64,
    /// Those that are given up; a person must look.
    pub dead: u64,
    /// Those that are given up for good, as far as they are not forgotten.
    pub discarded: u64,
}

/// Why a delivery that was cut off is given up.
const CUT_OFF: &str = "sent once and cut off before an answer; at-most-once, so it is not sent again, and whether it took effect is not known";

const COLUMNS: &str = "key, policy, turn, decision_id, action, payload, status, attempts, due_at, ended_at, receipt, error, bundle";

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
            let mut added = 0;
            for entry in entries {
                added += insert(db, entry)?;
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

    /// As [`Store::due`], without those of the policies `waiting`: however many of these there are, they take nobody's place.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn due_but(
        &self,
        now: Timestamp,
        limit: u32,
        waiting: &[String],
    ) -> Result<Vec<OutboxEntry>> {
        self.outbox_where(
            "WHERE status = 'pending' AND due_at <= ? AND policy NOT IN (SELECT value FROM json_each(?))
             ORDER BY turn, policy, key LIMIT ?",
            params![now.micros(), serde_json::json!(waiting).to_string(), limit],
        )
    }

    /// Whether deliveries are leased: by another deliverer, or by one that was cut off.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn sending(&self) -> Result<bool> {
        self.read("look for leases", |db| {
            db.prepare_cached("SELECT 1 FROM outbox WHERE status = 'sending' LIMIT 1")?.exists([])
        })
    }

    /// Takes the right to deliver from whoever had it, and ends or frees what was cut off.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn take_outbox(&self, now: Timestamp) -> Result<Taken> {
        self.write("take the outbox", |db| {
            db.execute("UPDATE outbox_fence SET fence = fence + 1", [])?;
            let uncertain = db.execute(
                "UPDATE outbox SET status = 'dead', attempts = attempts + 1, ended_at = ?, error = ?
                 WHERE status = 'sending' AND once = 1",
                params![now.micros(), CUT_OFF],
            )?;
            let again =
                db.execute("UPDATE outbox SET status = 'pending' WHERE status = 'sending'", [])?;
            Ok(Taken { fence: Fence(fence(db)?), again, uncertain })
        })
    }

    /// When the first delivery becomes due that is not due yet at `now`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.read("look for what becomes due", |db| {
            db.prepare_cached(
                "SELECT min(due_at) FROM outbox WHERE status = 'pending' AND due_at > ?",
            )?
            .query_row([now.micros()], |row| {
                Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp::from_micros))
            })
        })
    }

    /// The policies and actions of what is due at `now`, each pair once.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn due_ways(&self, now: Timestamp) -> Result<Vec<(String, String)>> {
        self.read("look for what is due", |db| {
            db.prepare_cached(
                "SELECT DISTINCT policy, action FROM outbox WHERE status = 'pending' AND due_at <= ?",
            )?
            .query_map([now.micros()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
        })
    }

    /// Leases pending entries before they are sent, and keeps their bundles; `once` says that they must never be sent a
    /// second time. Entries that are not pending any more stay as they are. Returns how many are leased.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if somebody else has taken the outbox since, [`ErrorKind::Blocked`] if all policies are
    /// stopped; else see [`Store::open`].
    pub fn lease(&self, held: Fence, entries: &[OutboxEntry], once: bool) -> Result<usize> {
        let mut halted = false;
        let leased = self.write("lease deliveries", |db| {
            halted = is_halted(db)?;
            if halted || fence(db)? != held.0 {
                return Ok(None);
            }
            let mut update = db.prepare_cached(
                "UPDATE outbox SET status = 'sending', fence = ?, once = ?, bundle = ? WHERE key = ? AND status = 'pending'",
            )?;
            let mut leased = 0;
            for entry in entries {
                leased += update.execute(params![held.0, once, entry.bundle, entry.key])?;
            }
            Ok(Some(leased))
        })?;
        if halted {
            return Err(Error::blocked("all policies are stopped: nothing leaves")
                .hint("`flywheel policy resume --all` lets them go on."));
        }
        leased.ok_or_else(|| {
            Error::new(ErrorKind::Conflict, "another process has begun to deliver actions")
                .hint("Nothing is lost: it delivers what is due. Run the command again later.")
        })
    }

    /// Records what became of leased deliveries. Returns how many were still held; what somebody else has taken
    /// since stays as it is.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn settle(&self, held: Fence, entries: &[OutboxEntry]) -> Result<usize> {
        if entries.is_empty() {
            return Ok(0);
        }
        self.write("settle deliveries", |db| {
            let mut update = db.prepare_cached(
                "UPDATE outbox SET status = ?, attempts = ?, due_at = ?, ended_at = ?, receipt = ?, error = ?
                 WHERE key = ? AND status = 'sending' AND fence = ?",
            )?;
            let mut settled = 0;
            for e in entries {
                settled += update.execute(params![
                    e.status.name(),
                    e.attempts,
                    e.due_at.micros(),
                    e.ended_at.map(Timestamp::micros),
                    e.receipt,
                    e.error,
                    e.key,
                    held.0
                ])?;
            }
            Ok(settled)
        })
    }

    /// Ended entries that `system.actions` does not show yet, oldest turn first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn unlogged(&self) -> Result<Vec<OutboxEntry>> {
        self.outbox_where(
            "WHERE logged = 0 AND status IN ('delivered', 'dead', 'discarded') ORDER BY turn, policy, key",
            [],
        )
    }

    /// Marks entries as shown by `system.actions` with this status. One that has another by now, since a person has tried it
    /// again or discarded it meanwhile, is still to be shown.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn mark_logged(&self, shown: &[(String, OutboxStatus)]) -> Result<()> {
        if shown.is_empty() {
            return Ok(());
        }
        self.write("mark deliveries as logged", |db| {
            let mut update =
                db.prepare_cached("UPDATE outbox SET logged = 1 WHERE key = ? AND status = ?")?;
            for (key, status) in shown {
                update.execute(params![key, status.name()])?;
            }
            Ok(())
        })
    }

    /// Drops delivered and discarded entries that `system.actions` shows and that ended before `before`: the outbox holds
    /// what is on its way, and what it keeps of the past makes every later entry dearer. Returns how many.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn forget_delivered(&self, before: Timestamp) -> Result<usize> {
        self.write("forget old deliveries", |db| {
            let mut forgotten = 0;
            // Each has its own index: asked for together they would be looked for among all entries.
            for status in ["delivered", "discarded"] {
                forgotten += db
                    .prepare_cached(&format!(
                        "DELETE FROM outbox WHERE status = '{status}' AND logged = 1 AND ended_at < ?"
                    ))?
                    .execute([before.micros()])?;
            }
            Ok(forgotten)
        })
    }

    /// Entries that wait for approval, are pending, being sent or dead, and discarded ones that `system.actions` does not
    /// show yet, oldest turn first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn undelivered(&self) -> Result<Vec<OutboxEntry>> {
        self.outbox_where(
            "WHERE status IN ('waiting', 'pending', 'sending', 'dead') OR (status = 'discarded' AND logged = 0)
             ORDER BY turn, policy, key",
            [],
        )
    }

    /// The entry `key`; none if there is no such entry.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn outbox_entry(&self, key: &str) -> Result<Option<OutboxEntry>> {
        Ok(self.outbox_where("WHERE key = ?", [key])?.pop())
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
        self.outbox_of(status, policy, Piece::first(limit))
    }

    /// A piece of the entries, of one status or policy if asked for, newest turn first; `after` is the key of an entry.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there is no entry `after`, else as every method: see [`Store::open`].
    pub fn outbox_of(
        &self,
        status: Option<OutboxStatus>,
        policy: Option<&str>,
        piece: Piece<'_>,
    ) -> Result<Vec<OutboxEntry>> {
        self.check_place("outbox", "key", piece.after)?;
        self.outbox_where(
            "AS one WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR policy = ?2) AND (?3 IS NULL OR EXISTS (
               SELECT 1 FROM outbox AS place WHERE place.key = ?3 AND (one.turn < place.turn
                 OR (one.turn = place.turn AND (one.policy, one.key) > (place.policy, place.key)))))
             ORDER BY turn DESC, policy, key LIMIT ?4",
            params![status.map(OutboxStatus::name), policy, piece.after, piece.limit],
        )
    }

    /// How many entries stand where: (pending or being sent, delivered, dead).
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn outbox_counts(&self) -> Result<(u64, u64, u64)> {
        self.read("count the outbox", |db| {
            db.query_row(
                "SELECT count(*) FILTER (WHERE status IN ('pending', 'sending')), count(*) FILTER (WHERE status = 'delivered'),
                        count(*) FILTER (WHERE status = 'dead') FROM outbox",
                [],
                |row| {
                    let count = |i| row.get::<_, i64>(i).map(i64::unsigned_abs);
                    Ok((count(0)?, count(1)?, count(2)?))
                },
            )
        })
    }

    /// How many entries of each policy stand where, by policy.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn outbox_by_policy(&self) -> Result<Vec<PolicyDeliveries>> {
        self.read("count the outbox by policy", |db| {
            db.prepare_cached(
                "SELECT policy, count(*) FILTER (WHERE status IN ('pending', 'sending')),
                        count(*) FILTER (WHERE status = 'delivered'), count(*) FILTER (WHERE status = 'dead'),
                        count(*) FILTER (WHERE status = 'discarded'), count(*) FILTER (WHERE status = 'waiting')
                 FROM outbox GROUP BY policy ORDER BY policy",
            )?
            .query_map([], |row| {
                let count = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
                Ok(PolicyDeliveries {
                    policy: row.get(0)?,
                    waiting: count(5)?,
                    pending: count(1)?,
                    delivered: count(2)?,
                    dead: count(3)?,
                    discarded: count(4)?,
                })
            })?
            .collect()
        })
    }

    /// How many entries were discarded and are not forgotten yet.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn outbox_discarded(&self) -> Result<u64> {
        self.read("count what was discarded", |db| {
            let sql = "SELECT count(*) FROM outbox WHERE status = 'discarded'";
            db.query_row(sql, [], |row| row.get::<_, i64>(0).map(i64::unsigned_abs))
        })
    }

    /// Ends pending and dead entries for good, for a reason that stands before what was known of them. What is being sent,
    /// or has ended otherwise, stays as it is. Returns how many were ended.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn discard(&self, keys: &[String], reason: &str, now: Timestamp) -> Result<usize> {
        if keys.is_empty() {
            return Ok(0);
        }
        self.write("discard deliveries", |db| {
            let mut update = db.prepare_cached(
                "UPDATE outbox SET status = 'discarded', ended_at = ?, logged = 0,
                   error = 'discarded: ' || ? || coalesce('; before that: ' || error, '')
                 WHERE key = ? AND status IN ('pending', 'dead')",
            )?;
            let mut ended = 0;
            for key in keys {
                ended += update.execute(params![now.micros(), reason, key])?;
            }
            Ok(ended)
        })
    }

    /// Makes dead entries of `policy` pending again, due at `now`, or since they died where a replay's clock is
    /// behind. Returns how many.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn revive(&self, policy: &str, now: Timestamp) -> Result<usize> {
        self.write("revive dead letters", |db| {
            db.execute(
                "UPDATE outbox SET status = 'pending', attempts = 0, ended_at = NULL, logged = 0,
                   due_at = CASE WHEN ?1 < coalesce(ended_at, due_at) THEN ?1 ELSE coalesce(ended_at, due_at) END
                 WHERE status = 'dead' AND policy = ?2",
                params![now.micros(), policy],
            )
        })
    }

    fn outbox_where(&self, clause: &str, bound: impl Params) -> Result<Vec<OutboxEntry>> {
        self.read("read the outbox", |db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM outbox {clause}"))?
                .query_map(bound, entry_from)?
                .collect()
        })
    }
}

/// Adds an entry, unless its key is known. Returns whether it is new, as a number.
pub(crate) fn insert(db: &Connection, e: &OutboxEntry) -> engine::Result<usize> {
    db.prepare_cached(&format!(
        "INSERT OR IGNORE INTO outbox ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
    ))?
    .execute(params![
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
        e.error,
        e.bundle
    ])
}

/// The newest number of the fence.
fn fence(db: &Connection) -> engine::Result<i64> {
    db.query_row("SELECT fence FROM outbox_fence", [], |row| row.get(0))
}

fn entry_from(row: &Row<'_>) -> engine::Result<OutboxEntry> {
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
            "discarded" => OutboxStatus::Discarded,
            "sending" => OutboxStatus::Sending,
            "waiting" => OutboxStatus::Waiting,
            _ => OutboxStatus::Pending,
        },
        attempts: row.get(7)?,
        due_at: Timestamp::from_micros(row.get(8)?),
        ended_at: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_micros),
        receipt: row.get(10)?,
        error: row.get(11)?,
        bundle: row.get(12)?,
    })
}
