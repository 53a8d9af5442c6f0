//! Alerts on their way out: written with what they tell of, and delivered until they are acknowledged or given up.

use std::collections::BTreeMap;

use flywheel_base::{Result, Timestamp};
use serde_json::Value;

use super::{AlertKind, ScheduledRun};
use crate::engine::{self, Connection, Row, params};
use crate::runs::json;
use crate::{Piece, Store};

/// One alert for one action.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The idempotency key: one per run, kind and action.
    pub key: String,
    /// `failed`, `late` or `recovered` of a schedule; `raised` or `recovered` of an alert's file.
    pub kind: String,
    /// The schedule; empty if an alert's file says what is told.
    pub schedule: String,
    /// The run of the schedule; empty if an alert's file says what is told.
    pub scheduled_run: String,
    /// The alert whose file says what is told; none of a schedule.
    pub alert: Option<String>,
    /// What that alert tells of.
    pub subject: Option<String>,
    /// The action it leaves by.
    pub action: String,
    /// What is sent.
    pub payload: Value,
    /// Where it stands.
    pub status: AlertStatus,
    /// How often delivery was tried.
    pub attempts: u32,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it may be tried next.
    pub due_at: Timestamp,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
    /// What the receiver answered.
    pub receipt: Option<String>,
    /// Why it is not delivered.
    pub error: Option<String>,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertStatus {
    /// To be sent.
    Pending,
    /// The receiver has it.
    Delivered,
    /// Given up.
    Dead,
}

impl AlertStatus {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

impl Alert {
    pub(super) fn new(
        key: String,
        kind: AlertKind,
        run: &ScheduledRun,
        action: &str,
        payload: Value,
        now: Timestamp,
    ) -> Self {
        Self {
            key,
            kind: kind.name().to_owned(),
            schedule: run.schedule.clone(),
            scheduled_run: run.id.clone(),
            alert: None,
            subject: None,
            action: action.to_owned(),
            payload,
            status: AlertStatus::Pending,
            attempts: 0,
            made_at: now,
            due_at: now,
            ended_at: None,
            receipt: None,
            error: None,
        }
    }
}

const COLUMNS: &str = "key, kind, schedule, scheduled_run, action, payload, status, attempts, made_at, due_at, ended_at, receipt, error, alert, subject";

/// Adds an alert unless it is known.
pub(super) fn insert(db: &Connection, alert: &Alert) -> engine::Result<()> {
    db.prepare_cached(&format!(
        "INSERT OR IGNORE INTO alerts ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
    ))?
    .execute(params![
        alert.key,
        alert.kind,
        alert.schedule,
        alert.scheduled_run,
        alert.action,
        alert.payload.to_string(),
        alert.status.name(),
        alert.attempts,
        alert.made_at.micros(),
        alert.due_at.micros(),
        alert.ended_at.map(Timestamp::micros),
        alert.receipt,
        alert.error,
        alert.alert,
        alert.subject
    ])?;
    Ok(())
}

impl Store {
    /// Pending alerts due at `now`, oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn due_alerts(&self, now: Timestamp, limit: u32) -> Result<Vec<Alert>> {
        self.read("look for alerts", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM alerts WHERE status = 'pending' AND due_at <= ? ORDER BY made_at, key LIMIT ?"
            ))?
            .query_map(params![now.micros(), limit], alert_from)?
            .collect()
        })
    }

    /// Records what became of an alert.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn settle_alert(&self, alert: &Alert) -> Result<()> {
        self.write("settle an alert", |db| {
            db.prepare_cached(
                "UPDATE alerts SET status = ?, attempts = ?, due_at = ?, ended_at = ?, receipt = ?, error = ?
                 WHERE key = ?",
            )?
            .execute(params![
                alert.status.name(),
                alert.attempts,
                alert.due_at.micros(),
                alert.ended_at.map(Timestamp::micros),
                alert.receipt,
                alert.error,
                alert.key
            ])
            .map(|_| ())
        })
    }

    /// The newest `limit` alerts, newest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn alerts(&self, limit: u32) -> Result<Vec<Alert>> {
        self.alerts_of(Piece::first(limit))
    }

    /// A piece of all alerts, newest first; `after` is the key of an alert.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there is no alert `after`, else as every method: see [`Store::open`].
    pub fn alerts_of(&self, piece: Piece<'_>) -> Result<Vec<Alert>> {
        self.check_place("alerts", "key", piece.after)?;
        self.read("list alerts", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM alerts AS one WHERE ?1 IS NULL OR EXISTS (
                   SELECT 1 FROM alerts AS place WHERE place.key = ?1
                     AND (one.made_at < place.made_at OR (one.made_at = place.made_at AND one.key > place.key)))
                 ORDER BY made_at DESC, key LIMIT ?2"
            ))?
            .query_map(params![piece.after, piece.limit], alert_from)?
            .collect()
        })
    }

    /// How many alerts are pending, delivered and dead.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn alert_counts(&self) -> Result<(u64, u64, u64)> {
        self.read("count alerts", |db| {
            db.query_row(
                "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'delivered'),
                        count(*) FILTER (WHERE status = 'dead') FROM alerts",
                [],
                |row| {
                    let count = |i| row.get::<_, i64>(i).map(i64::unsigned_abs);
                    Ok((count(0)?, count(1)?, count(2)?))
                },
            )
        })
    }

    /// The newest `limit` alerts that did not arrive: those that were tried and are tried again, and those that were given up
    /// if none arrived by the same action since; newest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn undelivered_alerts(&self, limit: u32) -> Result<Vec<Alert>> {
        self.read("look for alerts that did not arrive", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM alerts AS lost WHERE (status = 'pending' AND attempts > 0)
                   OR (status = 'dead' AND NOT EXISTS
                     (SELECT 1 FROM alerts AS heard WHERE heard.action = lost.action
                      AND heard.status = 'delivered' AND heard.ended_at > lost.ended_at))
                 ORDER BY made_at DESC, key LIMIT ?"
            ))?
            .query_map(params![limit], alert_from)?
            .collect()
        })
    }

    /// How many alerts were given up for each action by which none arrived since.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn lost_alerts(&self) -> Result<BTreeMap<String, u64>> {
        self.read("count alerts that were given up", |db| {
            db.prepare_cached(
                "SELECT action, count(*) FROM alerts AS lost WHERE status = 'dead' AND NOT EXISTS
                   (SELECT 1 FROM alerts AS heard WHERE heard.action = lost.action
                    AND heard.status = 'delivered' AND heard.ended_at > lost.ended_at)
                 GROUP BY action",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
            .collect()
        })
    }
}

fn alert_from(row: &Row<'_>) -> engine::Result<Alert> {
    let status: String = row.get(6)?;
    Ok(Alert {
        key: row.get(0)?,
        kind: row.get(1)?,
        schedule: row.get(2)?,
        scheduled_run: row.get(3)?,
        action: row.get(4)?,
        payload: json(row, 5)?,
        status: match status.as_str() {
            "delivered" => AlertStatus::Delivered,
            "dead" => AlertStatus::Dead,
            _ => AlertStatus::Pending,
        },
        attempts: row.get(7)?,
        made_at: Timestamp::from_micros(row.get(8)?),
        due_at: Timestamp::from_micros(row.get(9)?),
        ended_at: row.get::<_, Option<i64>>(10)?.map(Timestamp::from_micros),
        receipt: row.get(11)?,
        error: row.get(12)?,
        alert: row.get(13)?,
        subject: row.get(14)?,
    })
}
