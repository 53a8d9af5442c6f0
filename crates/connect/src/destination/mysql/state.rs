//! Where writes into a database stand: a table beside the tables they go into.
//!
//! A row of stage `staged` means that a replacement is in the staging table, or, if there is no
//! staging table, that it was swapped in just before the program died: the swap is a rename, which
//! MySQL does not do within a transaction.

use flywheel_base::{Error, ErrorKind, Result};

use crate::destination::{Checkpoint, Progress};
use crate::page::Position;
use crate::source::mysql::{Connection, quoted, server_code};

/// The table of positions, in the database of the targets.
pub(super) const STATE_TABLE: &str = "_flywheel_sync_state";

/// The longest name of an application that the table holds.
const APP_CHARS_MAX: usize = 255;

/// The error number of a row whose key is there already.
const DUPLICATE_KEY: u16 = 1062;

/// What a checkpoint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Rows that readers see.
    Committed,
    /// Rows of a replacement that is not swapped in.
    Staged,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Staged => "staged",
        }
    }
}

/// The checkpoints of one application and target.
#[derive(Clone, Debug)]
pub(super) struct State {
    table: String,
    app: String,
    target: String,
}

impl State {
    /// Names them; does no I/O.
    pub(super) fn new(database: &str, app: &str, target: &str) -> Result<Self> {
        if app.chars().count() > APP_CHARS_MAX {
            return Err(Error::invalid(format!("the name \"{app}\" is too long for MySQL"))
                .hint(format!("Shorten sync and stream to {APP_CHARS_MAX} characters together.")));
        }
        let table = format!("{}.{}", quoted(database), quoted(STATE_TABLE));
        Ok(Self { table, app: app.to_owned(), target: target.to_owned() })
    }

    /// Makes the table if it is missing. DDL ends transactions, so none may be open.
    pub(super) async fn ensure(&self, connection: &mut Connection) -> Result<()> {
        let text = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL";
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (app VARCHAR({APP_CHARS_MAX}) {text}, \
             target VARCHAR(64) {text}, stage VARCHAR(16) {text}, sequence BIGINT NOT NULL, \
             position LONGTEXT {text}, updated_at DATETIME(6) NOT NULL, \
             PRIMARY KEY (app, target, stage)) ENGINE = InnoDB",
            self.table
        );
        connection.run(&sql).await
    }

    /// Proves that the user may write checkpoints, without writing one.
    pub(super) async fn check(&self, connection: &mut Connection) -> Result<()> {
        for verb in ["DELETE", "SELECT *"] {
            let sql = format!("{verb} FROM {} WHERE app = ?", self.table);
            connection.columns(&sql).await?;
        }
        let (table, values) = (&self.table, "('', '', '', 0, '', '2000-01-01')");
        connection.columns(&format!("INSERT INTO {table} VALUES {values}")).await.map(drop)
    }

    /// What was committed and what is staged.
    pub(super) async fn progress(&self, connection: &mut Connection) -> Result<Progress> {
        let sql = format!(
            "SELECT stage, sequence, position FROM {} WHERE app = ? AND target = ?",
            self.table
        );
        let found = connection.all(&sql, (&self.app, &self.target)).await;
        let rows: Vec<(String, i64, String)> = match found {
            Ok(rows) => rows,
            // Nothing was ever written into this database.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Progress::default()),
            Err(error) => return Err(error),
        };
        let mut progress = Progress::default();
        for (stage, sequence, position) in rows {
            let position = serde_json::from_str(&position).map(Position).map_err(|error| {
                Error::corrupt(format!("a position in {} is not JSON", self.table)).caused_by(error)
            })?;
            let checkpoint = Some(Checkpoint { sequence, position });
            if stage == Stage::Staged.name() {
                progress.staged = checkpoint;
            } else {
                progress.committed = checkpoint;
            }
        }
        Ok(progress)
    }

    /// The stored number of a stage, which nobody else changes until the transaction ends.
    ///
    /// Only one that is `known` is locked: of a row that is missing the server would lock the whole gap, and the first
    /// commits of two targets would wait for each other. Whoever comes second there is found by [`Self::store`].
    pub(super) async fn locked(
        &self,
        connection: &mut Connection,
        stage: Stage,
        known: bool,
    ) -> Result<Option<i64>> {
        let lock = if known { " FOR UPDATE" } else { "" };
        let sql = format!(
            "SELECT sequence FROM {} WHERE app = ? AND target = ? AND stage = ?{lock}",
            self.table
        );
        connection.first(&sql, (&self.app, &self.target, stage.name())).await
    }

    /// Stores a checkpoint within the open transaction: in the place of the one that is `known`, else the first. False if
    /// somebody else stored the first.
    pub(super) async fn store(
        &self,
        connection: &mut Connection,
        stage: Stage,
        checkpoint: &Checkpoint,
        known: bool,
    ) -> Result<bool> {
        let position = checkpoint.position.0.to_string();
        let (sequence, name) = (checkpoint.sequence, stage.name());
        let table = &self.table;
        if known {
            let sql = format!(
                "UPDATE {table} SET sequence = ?, position = ?, updated_at = UTC_TIMESTAMP(6) \
                 WHERE app = ? AND target = ? AND stage = ?"
            );
            let row = (sequence, position, &self.app, &self.target, name);
            connection.first::<mysql_async::Row>(&sql, row).await?;
            return Ok(true);
        }
        let sql = format!("INSERT INTO {table} VALUES (?, ?, ?, ?, ?, UTC_TIMESTAMP(6))");
        let row = (&self.app, &self.target, name, sequence, position);
        match connection.first::<mysql_async::Row>(&sql, row).await {
            Ok(_) => Ok(true),
            Err(error) if server_code(&error) == Some(DUPLICATE_KEY) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Forgets a replacement that is not continued.
    pub(super) async fn forget_staged(&self, connection: &mut Connection) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE app = ? AND target = ? AND stage = ?", self.table);
        let row = (&self.app, &self.target, Stage::Staged.name());
        connection.first::<mysql_async::Row>(&sql, row).await.map(drop)
    }

    /// Makes what was staged the committed checkpoint, in a transaction of its own.
    pub(super) async fn promote(
        &self,
        connection: &mut Connection,
        checkpoint: &Checkpoint,
    ) -> Result<()> {
        connection.run("START TRANSACTION").await?;
        let sql = format!(
            "INSERT INTO {} VALUES (?, ?, ?, ?, ?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE \
             sequence = VALUES(sequence), position = VALUES(position), \
             updated_at = VALUES(updated_at)",
            self.table
        );
        let (position, stage) = (checkpoint.position.0.to_string(), Stage::Committed.name());
        let row = (&self.app, &self.target, stage, checkpoint.sequence, position);
        connection.first::<mysql_async::Row>(&sql, row).await?;
        self.forget_staged(connection).await?;
        connection.run("COMMIT").await
    }
}
