//! How far each application has come, kept beside its target in `_flywheel_sync_state`.

use flywheel_base::{Error, Result};

use super::target::TableName;
use crate::destination::{Checkpoint, Progress};
use crate::page::Position;
use crate::postgres::{STATE_TABLE, Session, field, quoted};

/// The state of one application's writes into one table.
#[derive(Clone, Debug)]
pub(super) struct State {
    table: String,
    app: String,
    target: String,
}

/// Sequences of the newest checkpoints, of visible rows and of a replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequences {
    pub(super) committed: Option<i64>,
    pub(super) staged: Option<i64>,
}

impl State {
    /// The state of `app` in the schema of its target.
    pub(super) fn new(app: &str, target: &TableName) -> Self {
        let table = format!("{}.{}", quoted(&target.schema), quoted(STATE_TABLE));
        Self { table, app: app.to_owned(), target: target.name.clone() }
    }

    async fn exists(&self, session: &Session) -> Result<bool> {
        let sql = "SELECT to_regclass($1) IS NOT NULL";
        field(&session.row(sql, &[&self.table]).await?, 0)
    }

    /// Makes the table and the application's rows in it, so that a reader of the state can wait for
    /// a commit that is under way.
    pub(super) async fn prepare(&self, session: &Session) -> Result<()> {
        if !self.exists(session).await? {
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {} (app text NOT NULL, target text NOT NULL, \
                 staged boolean NOT NULL, sequence bigint, position json, \
                 updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (app, target, staged))",
                self.table
            );
            if let Err(error) = session.execute(&sql).await {
                // Somebody else can make it at the same time.
                if !self.exists(session).await? {
                    return Err(error.context(format!("the table {STATE_TABLE} of positions")));
                }
            }
        }
        let sql = format!(
            "INSERT INTO {} (app, target, staged) VALUES ($1, $2, false), ($1, $2, true) \
             ON CONFLICT DO NOTHING",
            self.table
        );
        session.counted(&sql, &[&self.app, &self.target]).await.map(drop)
    }

    /// Reads the checkpoints; waits for a commit that is under way.
    pub(super) async fn progress(&self, session: &Session) -> Result<Progress> {
        let mut progress = Progress::default();
        if !self.exists(session).await? {
            return Ok(progress);
        }
        let sql = format!(
            "SELECT staged, sequence, position::text FROM {} \
             WHERE app = $1 AND target = $2 FOR SHARE",
            self.table
        );
        for row in session.rows(&sql, &[&self.app, &self.target]).await? {
            let Some(sequence) = field::<Option<i64>>(&row, 1)? else { continue };
            let text: String = field(&row, 2)?;
            let position = serde_json::from_str(&text).map(Position).map_err(|error| {
                Error::corrupt(format!("the position in {} is damaged", self.table))
                    .caused_by(error)
            })?;
            let checkpoint = Some(Checkpoint { sequence, position });
            if field(&row, 0)? {
                progress.staged = checkpoint;
            } else {
                progress.committed = checkpoint;
            }
        }
        Ok(progress)
    }

    /// Locks the state until the transaction ends and tells the newest sequences.
    pub(super) async fn lock(&self, session: &Session) -> Result<Sequences> {
        let sql = format!(
            "SELECT staged, sequence FROM {} WHERE app = $1 AND target = $2 FOR UPDATE",
            self.table
        );
        let mut sequences = Sequences::default();
        for row in session.rows(&sql, &[&self.app, &self.target]).await? {
            let sequence = field(&row, 1)?;
            if field(&row, 0)? {
                sequences.staged = sequence;
            } else {
                sequences.committed = sequence;
            }
        }
        Ok(sequences)
    }

    /// Writes a checkpoint.
    pub(super) async fn store(
        &self,
        session: &Session,
        checkpoint: &Checkpoint,
        staged: bool,
    ) -> Result<()> {
        let sql = format!(
            "INSERT INTO {} (app, target, staged, sequence, position) \
             VALUES ($1, $2, $3, $4, $5::text::json) \
             ON CONFLICT (app, target, staged) DO UPDATE SET sequence = EXCLUDED.sequence, \
             position = EXCLUDED.position, updated_at = now()",
            self.table
        );
        let position = checkpoint.position.0.to_string();
        let arguments: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
            &[&self.app, &self.target, &staged, &checkpoint.sequence, &position];
        session.counted(&sql, arguments).await.map(drop)
    }

    /// Makes the staged checkpoint the visible one.
    pub(super) async fn promote(&self, session: &Session) -> Result<()> {
        let sql = format!(
            "UPDATE {0} SET sequence = s.sequence, position = s.position, updated_at = now() \
             FROM {0} AS s WHERE {1}.app = $1 AND {1}.target = $2 AND NOT {1}.staged \
             AND s.app = $1 AND s.target = $2 AND s.staged",
            self.table,
            quoted(STATE_TABLE)
        );
        session.counted(&sql, &[&self.app, &self.target]).await?;
        self.forget_staged(session).await
    }

    /// Forgets a replacement that is not continued.
    pub(super) async fn forget_staged(&self, session: &Session) -> Result<()> {
        let sql = format!(
            "UPDATE {} SET sequence = NULL, position = NULL, updated_at = now() \
             WHERE app = $1 AND target = $2 AND staged",
            self.table
        );
        session.counted(&sql, &[&self.app, &self.target]).await.map(drop)
    }
}
