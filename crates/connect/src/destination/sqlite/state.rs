//! The table of checkpoints, in the same database and so in the same transactions as the rows.

use flywheel_base::{Error, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use crate::destination::{Checkpoint, Progress};
use crate::page::Position;
use crate::source::sqlite::Database;

/// One row per writer, table and kind: `committed`, or `staged` while a replacement is not swapped in.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS _flywheel_sync_state (\
    app TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, sequence INTEGER NOT NULL, \
    position TEXT NOT NULL, updated_at TEXT NOT NULL, PRIMARY KEY (app, target, kind)) WITHOUT ROWID";

/// What a checkpoint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rows that are visible.
    Committed,
    /// Rows of a replacement that is not swapped in.
    Staged,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Staged => "staged",
        }
    }
}

/// How far the writes of `app` into `table` have come.
pub(super) fn progress(
    database: &Database,
    connection: &Connection,
    app: &str,
    table: &str,
) -> Result<Progress> {
    let there = "SELECT count(*) FROM sqlite_schema WHERE name = '_flywheel_sync_state'";
    let count: i64 =
        connection.query_row(there, [], |row| row.get(0)).map_err(|error| database.fail(error))?;
    if count == 0 {
        return Ok(Progress::default());
    }
    Ok(Progress {
        committed: load(database, connection, app, table, Kind::Committed)?,
        staged: load(database, connection, app, table, Kind::Staged)?,
    })
}

fn load(
    database: &Database,
    connection: &Connection,
    app: &str,
    table: &str,
    kind: Kind,
) -> Result<Option<Checkpoint>> {
    let sql = "SELECT sequence, position FROM _flywheel_sync_state \
               WHERE app = ?1 AND target = ?2 AND kind = ?3";
    let found: Option<(i64, String)> = connection
        .query_row(sql, (app, table, kind.name()), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(|error| database.fail(error))?;
    let Some((sequence, text)) = found else { return Ok(None) };
    let position = serde_json::from_str(&text).map_err(|error| {
        Error::corrupt(format!("the stored position of {app} in {} is not JSON", database.name))
            .caused_by(error)
            .hint("Somebody changed _flywheel_sync_state; delete that row to start anew.")
    })?;
    Ok(Some(Checkpoint { sequence, position: Position(position) }))
}

/// Stores a checkpoint within the open transaction.
pub(super) fn store(
    database: &Database,
    connection: &Connection,
    (app, table, kind): (&str, &str, Kind),
    checkpoint: &Checkpoint,
    now: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO _flywheel_sync_state VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
               ON CONFLICT DO UPDATE SET sequence = excluded.sequence, \
               position = excluded.position, updated_at = excluded.updated_at";
    let position = checkpoint.position.0.to_string();
    let values = (app, table, kind.name(), checkpoint.sequence, position, now.to_string());
    connection
        .execute_batch(CREATE)
        .and_then(|()| connection.execute(sql, values))
        .map(drop)
        .map_err(|error| database.fail(error))
}

/// Forgets the staged checkpoint: within the transaction, if one is open.
pub(super) fn forget_staged(
    database: &Database,
    connection: &Connection,
    app: &str,
    table: &str,
) -> Result<()> {
    let sql = "DELETE FROM _flywheel_sync_state WHERE app = ?1 AND target = ?2 AND kind = 'staged'";
    connection.execute(sql, (app, table)).map(drop).map_err(|error| database.fail(error))
}
