//! Approvals: deliveries that leave only after a person has looked.
//!
//! ```text
//! waiting ──approve──▶ approved: the delivery is pending
//!    │ ▲
//!    │ └─ edit (another quantity; the first payload is kept)
//!    ├── reject ──────▶ rejected: the delivery is discarded
//!    └── time is over ▶ expired: the delivery is discarded
//! ```
//! An approval and its delivery change in one transaction. With four eyes nobody approves what they had a hand in: who
//! wrote the policy, let it go on or changed who decides for it last, and who edited the delivery.

use std::collections::{BTreeMap, HashMap};

use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::{self, Connection, OptionalExtension, Row, params};
use crate::outbox::insert;
use crate::runs::json as json_at;
use crate::{OutboxEntry, Piece, Store};

/// How long what has ended is kept, in microseconds.
const KEPT_US: i64 = 400 * 86_400_000_000;

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalStatus {
    /// Nobody has decided.
    Waiting,
    /// It leaves, or has left.
    Approved,
    /// A person has refused it.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

impl ApprovalStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Approved, Self::Rejected, Self::Expired];

    /// The word in tables and in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// The status of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// What of a delivery can be edited before it is approved: how much is ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderLine {
    /// How much is ordered.
    pub quantity: f64,
    /// What it costs.
    pub cost: f64,
    /// Where the payload has the quantity, as JSON pointers.
    pub quantity_at: Vec<String>,
    /// Where the payload has the cost, as JSON pointers.
    pub cost_at: Vec<String>,
}

/// One edit of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineEdit {
    /// Who edited it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The quantity before.
    pub before: f64,
    /// The quantity after.
    pub after: f64,
    /// Why.
    pub reason: Option<String>,
}

/// A delivery that waits for a person, or waited.
#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    /// The delivery's key.
    pub key: String,
    /// The policy that decided.
    pub policy: String,
    /// The turn that decided.
    pub turn: i64,
    /// The unit that was decided for.
    pub unit: String,
    /// What was compared with the bound; none if everything waits or there is no number.
    pub amount: Option<f64>,
    /// The column or value it is of.
    pub of: Option<String>,
    /// Whether somebody else has to approve than who had a hand in it.
    pub by_other: bool,
    /// When it began to wait, by the logical clock.
    pub asked_at: Timestamp,
    /// When it ends unapproved.
    pub expires_at: Option<Timestamp>,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// What can be edited.
    pub line: Option<OrderLine>,
    /// What is sent, as it stands.
    pub payload: Value,
    /// What was decided to be sent.
    pub original: Value,
    /// Who edited it, oldest first.
    pub edits: Vec<LineEdit>,
}

impl Approval {
    /// How often it was edited: who approves says which of them was seen.
    #[must_use]
    pub fn revision(&self) -> usize {
        self.edits.len()
    }
}

/// What somebody wants to decide about: a key, and how often it was edited when they saw it, if they say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenApproval {
    /// The delivery's key.
    pub key: String,
    /// The revision that was seen.
    pub revision: Option<usize>,
}

/// Another quantity for a delivery that waits.
#[derive(Clone, Copy, Debug)]
pub struct NewQuantity<'a> {
    /// Units to order.
    pub quantity: f64,
    /// Why.
    pub reason: Option<&'a str>,
}

/// Who had a hand in a policy last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyHand {
    /// What they did: written, resumed or promoted.
    pub what: String,
    /// The user.
    pub user: String,
    /// When.
    pub at: Timestamp,
}

const COLUMNS: &str = "key, policy, turn, unit, amount, of_value, by_other, asked_at, expires_at, status, decided_by, decided_at, reason, line, payload, original, edits";

impl Store {
    /// As [`Store::enqueue`], of deliveries of which some wait for approval; both are there or neither is. Approvals that
    /// ended long ago are forgotten.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn enqueue_asking(&self, entries: &[OutboxEntry], asks: &[Approval]) -> Result<usize> {
        if entries.is_empty() {
            return Ok(0);
        }
        let asked: BTreeMap<&str, &Approval> =
            asks.iter().map(|ask| (ask.key.as_str(), ask)).collect();
        self.write("enqueue actions", |db| {
            let mut added = 0;
            for entry in entries {
                let new = insert(db, entry)?;
                added += new;
                // What is queued already waits, or did, or was queued before its policy asked for approval.
                if new > 0
                    && let Some(ask) = asked.get(entry.key.as_str())
                {
                    add(db, ask)?;
                }
            }
            if let Some(newest) = asks.iter().map(|ask| ask.asked_at).max() {
                db.execute(
                    "DELETE FROM approvals WHERE status <> 'waiting' AND decided_at < ?",
                    [newest.plus_micros(-KEPT_US).micros()],
                )?;
            }
            Ok(added)
        })
    }

    /// Approvals, newest turn first: those of one status or policy if asked for.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn approvals(
        &self,
        status: Option<ApprovalStatus>,
        policy: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Approval>> {
        self.approvals_of(status, policy, Piece::first(limit))
    }

    /// A piece of the approvals, of one status or policy if asked for, newest turn first; `after` is the key of a delivery.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there is no approval `after`, else as every method: see [`Store::open`].
    pub fn approvals_of(
        &self,
        status: Option<ApprovalStatus>,
        policy: Option<&str>,
        piece: Piece<'_>,
    ) -> Result<Vec<Approval>> {
        self.check_place("approvals", "key", piece.after)?;
        self.read("list approvals", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM approvals AS one WHERE (?1 IS NULL OR status = ?1)
                   AND (?2 IS NULL OR policy = ?2) AND (?3 IS NULL OR EXISTS (
                     SELECT 1 FROM approvals AS place WHERE place.key = ?3 AND (one.turn < place.turn
                       OR (one.turn = place.turn AND (one.policy, one.key) > (place.policy, place.key)))))
                 ORDER BY turn DESC, policy, key LIMIT ?4"
            ))?
            .query_map(
                params![status.map(ApprovalStatus::word), policy, piece.after, piece.limit],
                approval_from,
            )?
            .collect()
        })
    }

    /// The approval of the delivery `key`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn approval(&self, key: &str) -> Result<Option<Approval>> {
        self.read("look up an approval", |db| approval_of(db, key))
    }

    /// How many deliveries of each policy wait for approval, by policy.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn approvals_waiting(&self) -> Result<Vec<(String, u64)>> {
        self.read("count what waits for approval", |db| {
            db.prepare_cached(
                "SELECT policy, count(*) FROM approvals WHERE status = 'waiting' GROUP BY policy ORDER BY policy",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
            .collect()
        })
    }

    /// When deliveries that a person was asked about were let go, by their keys: none while they wait. What was rejected,
    /// or not decided about in time, is not among them.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn approval_moments(&self) -> Result<HashMap<String, Option<Timestamp>>> {
        self.read("look up when deliveries were approved", |db| {
            db.prepare_cached(
                "SELECT key, CASE status WHEN 'approved' THEN decided_at END FROM approvals
                 WHERE status IN ('waiting', 'approved')",
            )?
            .query_map([], |row| {
                let at = row.get::<_, Option<i64>>(1)?;
                Ok((row.get(0)?, at.map(Timestamp::from_micros)))
            })?
            .collect()
        })
    }

    /// Lets deliveries leave: all of them, or none if one cannot be approved.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown key, [`ErrorKind::Conflict`] for one that does not wait any more or was
    /// edited since it was seen, [`ErrorKind::Denied`] for who had a hand in it where another one has to approve.
    pub fn approve(
        &self,
        seen: &[SeenApproval],
        by: &str,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Approval>> {
        self.write("approve deliveries", |db| {
            let mut found = Vec::with_capacity(seen.len());
            // Nothing is written before all are looked at.
            for one in seen {
                let mut approval = match waiting(db, one, now)? {
                    Ok(approval) => approval,
                    Err(error) => return Ok(Err(error)),
                };
                if let Some(hand) = hand_of(db, &approval, by)? {
                    return Ok(Err(own(&approval, by, &hand)));
                }
                approval.status = ApprovalStatus::Approved;
                (approval.decided_by, approval.decided_at) = (Some(by.to_owned()), Some(now));
                approval.reason = reason.map(str::to_owned);
                found.push(approval);
            }
            for approval in &found {
                db.prepare_cached(
                    "UPDATE outbox SET status = 'pending' WHERE key = ? AND status = 'waiting'",
                )?
                .execute([&approval.key])?;
                update(db, approval)?;
            }
            Ok(Ok(found))
        })?
    }

    /// Ends deliveries that wait, for a reason: all of them, or none.
    ///
    /// # Errors
    /// As [`Store::approve`], but for who had a hand in it: anybody may stop what they proposed.
    pub fn reject(
        &self,
        seen: &[SeenApproval],
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<Approval>> {
        self.write("reject deliveries", |db| {
            let mut found = Vec::with_capacity(seen.len());
            for one in seen {
                match waiting(db, one, now)? {
                    Ok(mut approval) => {
                        approval.status = ApprovalStatus::Rejected;
                        (approval.decided_by, approval.decided_at) =
                            (Some(by.to_owned()), Some(now));
                        approval.reason = Some(reason.to_owned());
                        found.push(approval);
                    }
                    Err(error) => return Ok(Err(error)),
                }
            }
            for approval in &found {
                let why = format!("not approved: rejected by {by}: {reason}");
                discard(db, &approval.key, &why, now)?;
                update(db, approval)?;
            }
            Ok(Ok(found))
        })?
    }

    /// Orders another quantity than was proposed; the first payload is kept.
    ///
    /// # Errors
    /// As [`Store::reject`]; [`ErrorKind::Invalid`] if the delivery is no order whose quantity is sent, or the quantity
    /// is not above 0.
    pub fn edit_approval(
        &self,
        seen: &SeenApproval,
        by: &str,
        new: NewQuantity<'_>,
        now: Timestamp,
    ) -> Result<Approval> {
        if !(new.quantity.is_finite() && new.quantity > 0.0) {
            return Err(Error::invalid(format!(
                "delivery \"{}\" cannot order {}",
                seen.key, new.quantity
            ))
            .hint("Give a quantity above 0, or reject the delivery."));
        }
        self.write("edit a delivery", |db| {
            let mut approval = match waiting(db, seen, now)? {
                Ok(approval) => approval,
                Err(error) => return Ok(Err(error)),
            };
            let Some(line) = approval.line.as_mut().filter(|line| !line.quantity_at.is_empty())
            else {
                return Ok(Err(Error::invalid(format!(
                    "delivery \"{}\" of policy \"{}\" sends no quantity that could be edited",
                    approval.key, approval.policy
                ))
                .hint("Approve or reject it; quantities of `choose: reorder` whose payload has $order_quantity can be edited.")));
            };
            let before = line.quantity;
            let each = if before > 0.0 { line.cost / before } else { 0.0 };
            (line.quantity, line.cost) = (new.quantity, each * new.quantity);
            for (places, value) in
                [(&line.quantity_at, line.quantity), (&line.cost_at, line.cost)]
            {
                for place in places {
                    if let Some(at) = approval.payload.pointer_mut(place) {
                        *at = json!(value);
                    }
                }
            }
            match approval.of.as_deref() {
                Some("cost") => approval.amount = Some(line.cost),
                Some("order_quantity") => approval.amount = Some(line.quantity),
                _ => {}
            }
            approval.edits.push(LineEdit {
                by: by.to_owned(),
                at: now,
                before,
                after: new.quantity,
                reason: new.reason.map(str::to_owned),
            });
            db.prepare_cached("UPDATE outbox SET payload = ? WHERE key = ? AND status = 'waiting'")?
                .execute(params![approval.payload.to_string(), approval.key])?;
            update(db, &approval)?;
            Ok(Ok(approval))
        })?
    }

    /// Ends what nobody approved in time. Returns how many ended.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn expire_approvals(&self, now: Timestamp) -> Result<usize> {
        let over = self.read("look for what nobody approved", |db| {
            db.prepare_cached(
                "SELECT key FROM approvals WHERE status = 'waiting' AND expires_at <= ? ORDER BY key",
            )?
            .query_map([now.micros()], |row| row.get::<_, String>(0))?
            .collect::<engine::Result<Vec<_>>>()
        })?;
        if over.is_empty() {
            return Ok(0);
        }
        self.write("end what nobody approved", |db| {
            let mut ended = 0;
            for key in &over {
                let changed = db.execute(
                    "UPDATE approvals SET status = 'expired', decided_at = ?1 WHERE key = ?2 AND status = 'waiting'",
                    params![now.micros(), key],
                )?;
                if changed > 0 {
                    discard(db, key, "not approved: nobody approved it in time", now)?;
                }
                ended += changed;
            }
            Ok(ended)
        })
    }

    /// Notes who did something last that a policy's decisions follow from.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_hand(&self, policy: &str, what: &str, user: &str, at: Timestamp) -> Result<()> {
        self.write("note who changed a policy", |db| {
            db.execute(
                "INSERT INTO policy_hands (policy, what, user, at) VALUES (?,?,?,?)
                 ON CONFLICT (policy, what) DO UPDATE SET user = excluded.user, at = excluded.at",
                params![policy, what, user, at.micros()],
            )
        })
        .map(|_| ())
    }

    /// Who had a hand in a policy last, by what they did.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn hands_of(&self, policy: &str) -> Result<Vec<PolicyHand>> {
        self.read("look up who changed a policy", |db| {
            db.prepare_cached(
                "SELECT what, user, at FROM policy_hands WHERE policy = ? ORDER BY what",
            )?
            .query_map([policy], |row| {
                Ok(PolicyHand {
                    what: row.get(0)?,
                    user: row.get(1)?,
                    at: Timestamp::from_micros(row.get(2)?),
                })
            })?
            .collect()
        })
    }
}

/// What a person had to do with a delivery; none if they may approve it.
fn hand_of(db: &Connection, approval: &Approval, by: &str) -> engine::Result<Option<String>> {
    if !approval.by_other {
        return Ok(None);
    }
    if approval.edits.iter().any(|edit| edit.by == by) {
        return Ok(Some("edited it".to_owned()));
    }
    let what: Option<String> = db
        .prepare_cached(
            "SELECT what FROM policy_hands WHERE policy = ? AND user = ? ORDER BY what LIMIT 1",
        )?
        .query_row([approval.policy.as_str(), by], |row| row.get(0))
        .optional()?;
    Ok(what.map(|what| match what.as_str() {
        "written" => "wrote its policy".to_owned(),
        "resumed" => "let its policy go on".to_owned(),
        _ => "changed who decides for its policy".to_owned(),
    }))
}

fn own(approval: &Approval, by: &str, hand: &str) -> Error {
    Error::new(
        ErrorKind::Denied,
        format!(
            "\"{by}\" {hand}, so somebody else has to approve delivery \"{}\" of policy \"{}\"",
            approval.key, approval.policy
        ),
    )
    .hint("Ask another user who may operate; `approve: {by: anyone}` in the policy's file needs no second person.")
}

/// An approval that waits as it was seen, or why it cannot be decided about.
fn waiting(
    db: &Connection,
    seen: &SeenApproval,
    now: Timestamp,
) -> engine::Result<Result<Approval>> {
    let key = &seen.key;
    let conflict = |what: String, hint: &str| Err(Error::new(ErrorKind::Conflict, what).hint(hint));
    let Some(approval) = approval_of(db, key)? else {
        return Ok(Err(Error::not_found(format!("no delivery \"{key}\" waits for approval"))
            .hint("`flywheel approvals list` shows those that do.")));
    };
    if approval.status != ApprovalStatus::Waiting {
        let what = format!("delivery \"{key}\" is {} already", approval.status.word());
        return Ok(conflict(what, "Look at the list again; somebody may have been faster."));
    }
    if approval.expires_at.is_some_and(|end| end <= now) {
        let what = format!("the time to decide about delivery \"{key}\" is over");
        return Ok(conflict(
            what,
            "It ends at the next turn; `approve: {within: …}` in the policy's file gives more time.",
        ));
    }
    if seen.revision.is_some_and(|revision| revision != approval.revision()) {
        let what = format!("delivery \"{key}\" was edited since it was looked at");
        return Ok(conflict(what, "Look at the list again."));
    }
    Ok(Ok(approval))
}

/// Ends a delivery that waits.
fn discard(db: &Connection, key: &str, why: &str, now: Timestamp) -> engine::Result<usize> {
    db.prepare_cached(
        "UPDATE outbox SET status = 'discarded', ended_at = ?, logged = 0, error = ? WHERE key = ? AND status = 'waiting'",
    )?
    .execute(params![now.micros(), why, key])
}

fn add(db: &Connection, ask: &Approval) -> engine::Result<usize> {
    db.prepare_cached(&format!(
        "INSERT OR IGNORE INTO approvals ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
    ))?
    .execute(params![
        ask.key,
        ask.policy,
        ask.turn,
        ask.unit,
        ask.amount,
        ask.of,
        ask.by_other,
        ask.asked_at.micros(),
        ask.expires_at.map(Timestamp::micros),
        ask.status.word(),
        ask.decided_by,
        ask.decided_at.map(Timestamp::micros),
        ask.reason,
        ask.line.as_ref().map(|line| json!(line).to_string()),
        ask.payload.to_string(),
        ask.original.to_string(),
        json!(ask.edits).to_string()
    ])
}

fn update(db: &Connection, approval: &Approval) -> engine::Result<usize> {
    db.prepare_cached(
        "UPDATE approvals SET amount = ?, status = ?, decided_by = ?, decided_at = ?, reason = ?, line = ?, payload = ?,
           edits = ? WHERE key = ?",
    )?
    .execute(params![
        approval.amount,
        approval.status.word(),
        approval.decided_by,
        approval.decided_at.map(Timestamp::micros),
        approval.reason,
        approval.line.as_ref().map(|line| json!(line).to_string()),
        approval.payload.to_string(),
        json!(approval.edits).to_string(),
        approval.key
    ])
}

fn approval_of(db: &Connection, key: &str) -> engine::Result<Option<Approval>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM approvals WHERE key = ?"))?
        .query_row([key], approval_from)
        .optional()
}

fn strange(index: usize, what: &str) -> engine::Error {
    let error = Error::corrupt(format!("{what} of an approval is not readable"));
    engine::Error::unreadable(index, error)
}

fn approval_from(row: &Row<'_>) -> engine::Result<Approval> {
    let status: String = row.get(9)?;
    let moment = |index| row.get::<_, Option<i64>>(index).map(|at| at.map(Timestamp::from_micros));
    let line: Option<String> = row.get(13)?;
    let line = line.map(|text| serde_json::from_str(&text)).transpose();
    let edits: String = row.get(16)?;
    Ok(Approval {
        key: row.get(0)?,
        policy: row.get(1)?,
        turn: row.get(2)?,
        unit: row.get(3)?,
        amount: row.get(4)?,
        of: row.get(5)?,
        by_other: row.get(6)?,
        asked_at: Timestamp::from_micros(row.get(7)?),
        expires_at: moment(8)?,
        status: ApprovalStatus::of(&status).ok_or_else(|| strange(9, "the status"))?,
        decided_by: row.get(10)?,
        decided_at: moment(11)?,
        reason: row.get(12)?,
        line: line.map_err(|_| strange(13, "the line"))?,
        payload: json_at(row, 14)?,
        original: json_at(row, 15)?,
        edits: serde_json::from_str(&edits).map_err(|_| strange(16, "an edit"))?,
    })
}

#[cfg(test)]
mod tests;
