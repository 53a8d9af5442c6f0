//! Runs and their tasks.

use flywheel_base::{Result, Timestamp};
use serde_json::Value;

use crate::engine::{self, Connection, OptionalExtension, Row, params};
use crate::{Piece, Store};

/// One run: a command or a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its id.
    pub run_id: String,
    /// `sync`, `build`, `turn`, …
    pub kind: String,
    /// The turn it belongs to.
    pub turn: Option<i64>,
    /// The moment it works for: the virtual clock of a replay.
    pub logical_at: Timestamp,
    /// `running`, `succeeded` or `failed`; `interrupted` if its process died.
    pub status: String,
    /// When it started, by the machine's clock.
    pub started_at: Timestamp,
    /// When it ended, by the machine's clock.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
    /// More about it.
    pub detail: Value,
}

/// One task of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its run.
    pub run_id: String,
    /// Its place within the run, from 0.
    pub position: i64,
    /// `sync`, `model`, `test`, `learner`, `policy`, …
    pub kind: String,
    /// The resource it worked on.
    pub name: String,
    /// `running`, `succeeded`, `failed`, `skipped` or `warned`.
    pub status: String,
    /// When it started, by the machine's clock.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<f64>,
    /// What came of it.
    pub outcome: TaskOutcome,
}

/// What came of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskOutcome {
    /// Rows read.
    pub rows_in: Option<u64>,
    /// Rows written.
    pub rows_out: Option<u64>,
    /// Rows set aside.
    pub rows_rejected: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// More about it.
    pub detail: Value,
}

impl Store {
    /// Records that a run started. Others may be under way beside it.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn start_run(&self, run: &Run) -> Result<()> {
        self.write("start a run", |db| {
            db.prepare_cached(
                "INSERT INTO runs (run_id, kind, turn, logical_at, status, started_at, detail) VALUES (?,?,?,?,?,?,?)",
            )?
            .execute(params![
                run.run_id,
                run.kind,
                run.turn,
                run.logical_at.micros(),
                run.status,
                run.started_at.micros(),
                run.detail.to_string()
            ])?;
            Ok(())
        })
    }

    /// Marks what still says `running` as cut off; the one process that writes calls it before it runs anything.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn interrupt_runs(&self) -> Result<()> {
        let cut_off = |db: &Connection| {
            db.prepare_cached("SELECT 1 FROM runs WHERE status = 'running' LIMIT 1")?.exists([])
        };
        if !self.read("look for runs that were cut off", cut_off)? {
            return Ok(());
        }
        self.write("mark runs that were cut off", |db| interrupt(db, None))
    }

    /// Marks one run as cut off, if it still says that it is running.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn interrupt_run(&self, run_id: &str) -> Result<()> {
        self.write("mark a run that was cut off", |db| interrupt(db, Some(run_id)))
    }

    /// Records tasks of a run that goes on.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_tasks(&self, tasks: &[Task]) -> Result<()> {
        if tasks.is_empty() {
            return Ok(());
        }
        self.write("record tasks", |db| tasks.iter().try_for_each(|task| insert_task(db, task)))
    }

    /// Records how a run ended, together with its tasks.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn end_run(&self, run: &Run, tasks: &[Task]) -> Result<()> {
        self.write("end a run", |db| {
            db.prepare_cached(
                "UPDATE runs SET status = ?, ended_at = ?, error = ?, detail = ? WHERE run_id = ?",
            )?
            .execute(params![
                run.status,
                run.ended_at.map(Timestamp::micros),
                run.error,
                run.detail.to_string(),
                run.run_id
            ])?;
            for task in tasks {
                insert_task(db, task)?;
            }
            Ok(())
        })
    }

    /// How many runs there are of each kind and status.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn run_counts(&self) -> Result<Vec<(String, String, u64)>> {
        self.read("count runs", |db| {
            db.prepare_cached(
                "SELECT kind, status, count(*) FROM runs GROUP BY kind, status ORDER BY kind, status",
            )?
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs()))
            })?
            .collect()
        })
    }

    /// The newest `limit` runs, newest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn runs(&self, limit: u32) -> Result<Vec<Run>> {
        self.read("list runs", |db| {
            db.prepare_cached("SELECT run_id, kind, turn, logical_at, status, started_at, ended_at, error, detail FROM runs ORDER BY started_at DESC, rowid DESC LIMIT ?")?
                .query_map([limit], run_from)?
                .collect()
        })
    }

    /// A piece of all runs, of one kind or status if asked for, newest first; `after` is the id of a run.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there is no run `after`, else as every method: see [`Store::open`].
    pub fn runs_of(
        &self,
        kind: Option<&str>,
        status: Option<&str>,
        piece: Piece<'_>,
    ) -> Result<Vec<Run>> {
        self.check_place("runs", "run_id", piece.after)?;
        self.read("list runs", |db| {
            db.prepare_cached(
                "SELECT run_id, kind, turn, logical_at, status, started_at, ended_at, error, detail FROM runs
                 WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL
                   OR (started_at, rowid) < (SELECT started_at, rowid FROM runs WHERE run_id = ?3))
                 ORDER BY started_at DESC, rowid DESC LIMIT ?4",
            )?
            .query_map(params![kind, status, piece.after, piece.limit], run_from)?
            .collect()
        })
    }

    /// One run with its tasks, in the order they ran.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn run(&self, run_id: &str) -> Result<Option<(Run, Vec<Task>)>> {
        self.read("look up a run", |db| {
            let run = db
                .prepare_cached("SELECT run_id, kind, turn, logical_at, status, started_at, ended_at, error, detail FROM runs WHERE run_id = ?")?
                .query_row([run_id], run_from)
                .optional()?;
            let Some(run) = run else { return Ok(None) };
            let tasks = db
                .prepare_cached(
                    "SELECT run_id, position, kind, name, status, started_at, duration_ms, rows_in, rows_out,
                            rows_rejected, error, detail FROM tasks WHERE run_id = ? ORDER BY position",
                )?
                .query_map([run_id], task_from)?
                .collect::<engine::Result<Vec<_>>>()?;
            Ok(Some((run, tasks)))
        })
    }

    /// The newest `limit` tasks of this kind and name, newest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn tasks_named(&self, kind: &str, name: &str, limit: u32) -> Result<Vec<Task>> {
        self.read("list tasks of a name", |db| {
            db.prepare_cached(
                "SELECT run_id, position, kind, name, status, started_at, duration_ms, rows_in, rows_out,
                        rows_rejected, error, detail FROM tasks WHERE kind = ? AND name = ?
                 ORDER BY started_at DESC, position DESC LIMIT ?",
            )?
            .query_map(params![kind, name, limit], task_from)?
            .collect()
        })
    }

    /// The tasks of the newest `limit` runs, in the order they ran.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn tasks(&self, limit: u32) -> Result<Vec<Task>> {
        self.read("list tasks", |db| {
            db.prepare_cached(
                "SELECT t.run_id, t.position, t.kind, t.name, t.status, t.started_at, t.duration_ms, t.rows_in, t.rows_out,
                        t.rows_rejected, t.error, t.detail
                 FROM tasks t JOIN (SELECT run_id, rowid AS r FROM runs ORDER BY started_at DESC, rowid DESC LIMIT ?) n
                   ON n.run_id = t.run_id ORDER BY n.r, t.position",
            )?
            .query_map([limit], task_from)?
            .collect()
        })
    }

    /// When a task of this kind and name last ended without an error.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn last_success(&self, kind: &str, name: &str) -> Result<Option<Timestamp>> {
        self.read("look up a task", |db| {
            db.prepare_cached(
                "SELECT started_at, duration_ms FROM tasks WHERE kind = ? AND name = ? AND status = 'succeeded'
                 ORDER BY started_at DESC LIMIT 1",
            )?
            .query_row(params![kind, name], |row| {
                let (at, ms): (i64, Option<f64>) = (row.get(0)?, row.get(1)?);
                Ok(Timestamp::from_micros(at).plus_micros((ms.unwrap_or_default() * 1e3) as i64))
            })
            .optional()
        })
    }
}

fn insert_task(db: &Connection, task: &Task) -> engine::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO tasks (run_id, position, kind, name, status, started_at, duration_ms, rows_in, rows_out,
                                       rows_rejected, error, detail) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
    )?
    .execute(params![
        task.run_id,
        task.position,
        task.kind,
        task.name,
        task.status,
        task.started_at.micros(),
        task.duration_ms,
        task.outcome.rows_in.map(|n| n as i64),
        task.outcome.rows_out.map(|n| n as i64),
        task.outcome.rows_rejected.map(|n| n as i64),
        task.outcome.error,
        task.outcome.detail.to_string()
    ])?;
    Ok(())
}

fn run_from(row: &Row<'_>) -> engine::Result<Run> {
    Ok(Run {
        run_id: row.get(0)?,
        kind: row.get(1)?,
        turn: row.get(2)?,
        logical_at: Timestamp::from_micros(row.get(3)?),
        status: row.get(4)?,
        started_at: Timestamp::from_micros(row.get(5)?),
        ended_at: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_micros),
        error: row.get(7)?,
        detail: json(row, 8)?,
    })
}

/// Reads a task from a row with all its columns.
pub(crate) fn task_from(row: &Row<'_>) -> engine::Result<Task> {
    let count = |index| -> engine::Result<Option<u64>> {
        Ok(row.get::<_, Option<i64>>(index)?.map(i64::unsigned_abs))
    };
    Ok(Task {
        run_id: row.get(0)?,
        position: row.get(1)?,
        kind: row.get(2)?,
        name: row.get(3)?,
        status: row.get(4)?,
        started_at: Timestamp::from_micros(row.get(5)?),
        duration_ms: row.get(6)?,
        outcome: TaskOutcome {
            rows_in: count(7)?,
            rows_out: count(8)?,
            rows_rejected: count(9)?,
            error: row.get(10)?,
            detail: json(row, 11)?,
        },
    })
}

/// Marks a run that says it is running as cut off, or all of them.
fn interrupt(db: &Connection, run_id: Option<&str>) -> engine::Result<()> {
    for table in ["runs", "tasks"] {
        db.execute(
            &format!("UPDATE {table} SET status = 'interrupted' WHERE status = 'running' AND run_id = coalesce(?, run_id)"),
            [run_id],
        )?;
    }
    Ok(())
}

/// Reads a column that holds JSON.
pub(crate) fn json(row: &Row<'_>, index: usize) -> engine::Result<Value> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text).map_err(|error| engine::Error::unreadable(index, error))
}
