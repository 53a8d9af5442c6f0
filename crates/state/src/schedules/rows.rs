//! The board in `meta.db`.

use flywheel_base::{Result, Timestamp};

use super::{
    Attempt, Board, Cause, RunStatus, ScheduleEffect, ScheduleEvent, SchedulePlans, ScheduleState,
    ScheduledRun, Stopping, alerts, step,
};
use crate::engine::{self, Connection, OptionalExtension, Row, params};
use crate::runs::json;
use crate::{Piece, Store};

/// How long runs that have ended and alerts are kept, in microseconds.
const KEPT_US: i64 = 400 * 86_400_000_000;

const COLUMNS: &str = "id, schedule, moment, cause, status, attempt, failures, interruptions, due_at, asked_by, asked_at, \
     started_at, ended_at, lease_until, stopping, run_id, goes_on_from, error_class, error, told_late, attempts";

impl Store {
    /// Takes a step of the scheduler: what it decides is durable when this returns, alerts included.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn schedule_step(
        &self,
        plans: &SchedulePlans,
        event: ScheduleEvent,
        now: Timestamp,
    ) -> Result<Vec<ScheduleEffect>> {
        self.write("take a step of the scheduler", |db| {
            let before = load(db, &event)?;
            let (after, effects) = step(before.clone(), plans, event, now);
            save(db, &before, &after)?;
            for effect in &effects {
                if let ScheduleEffect::Alert(alert) = effect {
                    alerts::insert(db, alert)?;
                }
            }
            Ok(effects)
        })
    }

    /// The schedules that are known, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn schedules(&self) -> Result<Vec<ScheduleState>> {
        self.read("list schedules", |db| Ok(schedules(db)?.into_values().collect()))
    }

    /// The newest `limit` runs of schedules, of one schedule if asked for, newest moment first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn schedule_runs(&self, schedule: Option<&str>, limit: u32) -> Result<Vec<ScheduledRun>> {
        self.schedule_runs_of(schedule, None, Piece::first(limit))
    }

    /// A piece of the runs of schedules, of one schedule or status if asked for, newest moment first; `after` is the id of a
    /// run of a schedule.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there is no run `after`, else as every method: see [`Store::open`].
    pub fn schedule_runs_of(
        &self,
        schedule: Option<&str>,
        status: Option<RunStatus>,
        piece: Piece<'_>,
    ) -> Result<Vec<ScheduledRun>> {
        self.check_place("schedule_runs", "id", piece.after)?;
        self.read("list runs of schedules", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM schedule_runs AS one
                 WHERE (?1 IS NULL OR schedule = ?1) AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL OR EXISTS (
                   SELECT 1 FROM schedule_runs AS place WHERE place.id = ?3 AND (
                     (one.moment, one.asked_at) < (place.moment, place.asked_at)
                     OR (one.moment = place.moment AND one.asked_at = place.asked_at AND one.id > place.id))))
                 ORDER BY moment DESC, asked_at DESC, id LIMIT ?4"
            ))?
            .query_map(
                params![schedule, status.map(RunStatus::name), piece.after, piece.limit],
                run_from,
            )?
            .collect()
        })
    }

    /// The runs of a schedule for one moment, newest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn schedule_runs_for(
        &self,
        schedule: &str,
        moment: Timestamp,
    ) -> Result<Vec<ScheduledRun>> {
        self.read("list runs of schedules for a moment", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM schedule_runs WHERE schedule = ? AND moment = ?
                 ORDER BY asked_at DESC, id"
            ))?
            .query_map(params![schedule, moment.micros()], run_from)?
            .collect()
        })
    }

    /// One run of a schedule.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn schedule_run(&self, id: &str) -> Result<Option<ScheduledRun>> {
        self.read("look up a run of a schedule", |db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM schedule_runs WHERE id = ?"))?
                .query_row([id], run_from)
                .optional()
        })
    }

    /// Drops runs of schedules and alerts that ended 400 days before `now`. Returns how many.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn forget_schedule_runs(&self, now: Timestamp) -> Result<usize> {
        let before = now.plus_micros(-KEPT_US).micros();
        self.write("forget old runs of schedules", |db| {
            let runs = db.execute("DELETE FROM schedule_runs WHERE ended_at < ?", [before])?;
            let alerts = db.execute("DELETE FROM alerts WHERE ended_at < ?", [before])?;
            Ok(runs + alerts)
        })
    }
}

fn load(db: &Connection, event: &ScheduleEvent) -> engine::Result<Board> {
    let mut runs = std::collections::BTreeMap::new();
    let mut open = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM schedule_runs WHERE status IN ('waiting', 'running')"
    ))?;
    for run in open.query_map([], run_from)? {
        let run = run?;
        runs.insert(run.id.clone(), run);
    }
    // What is said of a run that has ended is judged by how it ended.
    if let ScheduleEvent::Ended { id, .. } | ScheduleEvent::Cancel { id } = event
        && !runs.contains_key(id)
    {
        let ended = db
            .prepare_cached(&format!("SELECT {COLUMNS} FROM schedule_runs WHERE id = ?"))?
            .query_row([id], run_from)
            .optional()?;
        runs.extend(ended.map(|run| (run.id.clone(), run)));
    }
    Ok(Board { schedules: schedules(db)?, runs })
}

fn schedules(db: &Connection) -> engine::Result<std::collections::BTreeMap<String, ScheduleState>> {
    db.prepare_cached("SELECT name, paused, reason, cursor, seen, failing_since FROM schedules")?
        .query_map([], |row| {
            let name: String = row.get(0)?;
            let state = ScheduleState {
                name: name.clone(),
                paused: row.get(1)?,
                reason: row.get(2)?,
                cursor: Timestamp::from_micros(row.get(3)?),
                seen: json(row, 4)?,
                failing_since: moment(row, 5)?,
            };
            Ok((name, state))
        })?
        .collect()
}

/// Writes what differs; a board without changes costs no write.
fn save(db: &Connection, before: &Board, after: &Board) -> engine::Result<()> {
    for state in after.schedules.values() {
        if before.schedules.get(&state.name) == Some(state) {
            continue;
        }
        db.prepare_cached(
            "INSERT OR REPLACE INTO schedules (name, paused, reason, cursor, seen, failing_since)
             VALUES (?,?,?,?,?,?)",
        )?
        .execute(params![
            state.name,
            state.paused,
            state.reason,
            state.cursor.micros(),
            state.seen.to_string(),
            state.failing_since.map(Timestamp::micros)
        ])?;
    }
    for name in before.schedules.keys().filter(|name| !after.schedules.contains_key(*name)) {
        db.prepare_cached("DELETE FROM schedules WHERE name = ?")?.execute([name])?;
    }
    for run in after.runs.values() {
        match before.runs.get(&run.id) {
            Some(known) if known == run => {}
            Some(_) => write(db, run, "REPLACE")?,
            // One of the same identity that has ended stays as it is.
            None => write(db, run, "IGNORE")?,
        }
    }
    Ok(())
}

fn write(db: &Connection, run: &ScheduledRun, or: &str) -> engine::Result<()> {
    let attempts = serde_json::to_string(&run.attempts)
        .map_err(|error| engine::Error::Unwritable(Box::new(error)))?;
    db.prepare_cached(&format!(
        "INSERT OR {or} INTO schedule_runs ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
    ))?
    .execute(params![
        run.id,
        run.schedule,
        run.moment.micros(),
        run.cause.name(),
        run.status.name(),
        run.attempt,
        run.failures,
        run.interruptions,
        run.due_at.micros(),
        run.asked_by,
        run.asked_at.micros(),
        run.started_at.map(Timestamp::micros),
        run.ended_at.map(Timestamp::micros),
        run.lease_until.map(Timestamp::micros),
        run.stopping.map(Stopping::name),
        run.run_id,
        run.goes_on_from,
        run.error_class,
        run.error,
        run.told_late,
        attempts
    ])?;
    Ok(())
}

fn moment(row: &Row<'_>, index: usize) -> engine::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_micros))
}

fn run_from(row: &Row<'_>) -> engine::Result<ScheduledRun> {
    let attempts: Vec<Attempt> = serde_json::from_value(json(row, 20)?)
        .map_err(|error| engine::Error::unreadable(20, error))?;
    Ok(ScheduledRun {
        id: row.get(0)?,
        schedule: row.get(1)?,
        moment: Timestamp::from_micros(row.get(2)?),
        cause: Cause::of(&row.get::<_, String>(3)?),
        status: RunStatus::of(&row.get::<_, String>(4)?),
        attempt: row.get(5)?,
        failures: row.get(6)?,
        interruptions: row.get(7)?,
        due_at: Timestamp::from_micros(row.get(8)?),
        asked_by: row.get(9)?,
        asked_at: Timestamp::from_micros(row.get(10)?),
        started_at: moment(row, 11)?,
        ended_at: moment(row, 12)?,
        lease_until: moment(row, 13)?,
        stopping: row.get::<_, Option<String>>(14)?.and_then(|name| Stopping::of(&name)),
        run_id: row.get(15)?,
        goes_on_from: row.get(16)?,
        error_class: row.get(17)?,
        error: row.get(18)?,
        told_late: row.get(19)?,
        attempts,
    })
}
