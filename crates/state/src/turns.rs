//! Turns of the wheel: numbered, one per logical moment, either complete or to be completed.

use flywheel_base::{Result, Timestamp};

use crate::Store;
use crate::engine::{self, OptionalExtension, Row, params};

/// One turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its number, from 1.
    pub turn: i64,
    /// The moment it works for.
    pub logical_at: Timestamp,
    /// Whether it is complete.
    pub status: TurnStatus,
}

/// Whether a turn is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnStatus {
    /// It was begun and not completed: the next turn completes it first.
    Open,
    /// Everything it does has been done.
    Complete,
}

impl Store {
    /// The turn that was begun and not completed, if any.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn open_turn(&self) -> Result<Option<Turn>> {
        self.read("look for an open turn", |db| {
            db.query_row(
                "SELECT turn, logical_at, status FROM turns WHERE status = 'open'",
                [],
                turn_from,
            )
            .optional()
        })
    }

    /// The newest turn, open or complete.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn last_turn(&self) -> Result<Option<Turn>> {
        self.read("look for the last turn", |db| {
            db.query_row(
                "SELECT turn, logical_at, status FROM turns ORDER BY turn DESC LIMIT 1",
                [],
                turn_from,
            )
            .optional()
        })
    }

    /// Begins the next turn, for the moment `logical_at`, and gives it its number.
    ///
    /// # Errors
    /// As every method: see [`Store::open`]. Two turns of one moment are refused by the database.
    pub fn begin_turn(&self, logical_at: Timestamp) -> Result<Turn> {
        self.write("begin a turn", |db| {
            let turn: i64 =
                db.query_row("SELECT coalesce(max(turn), 0) + 1 FROM turns", [], |row| row.get(0))?;
            db.execute(
                "INSERT INTO turns VALUES (?, ?, 'open')",
                params![turn, logical_at.micros()],
            )?;
            Ok(Turn { turn, logical_at, status: TurnStatus::Open })
        })
    }

    /// Marks a turn complete.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn complete_turn(&self, turn: i64) -> Result<()> {
        self.write("complete a turn", |db| {
            db.execute("UPDATE turns SET status = 'complete' WHERE turn = ?", [turn]).map(|_| ())
        })
    }

    /// All turns, oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn turns(&self) -> Result<Vec<Turn>> {
        self.read("list turns", |db| {
            db.prepare_cached("SELECT turn, logical_at, status FROM turns ORDER BY turn")?
                .query_map([], turn_from)?
                .collect()
        })
    }
}

fn turn_from(row: &Row<'_>) -> engine::Result<Turn> {
    let status: String = row.get(2)?;
    let status = if status == "complete" { TurnStatus::Complete } else { TurnStatus::Open };
    Ok(Turn { turn: row.get(0)?, logical_at: Timestamp::from_micros(row.get(1)?), status })
}
