//! Metadata of one project: `.flywheel/meta.db`, a SQLite database, and the project's lock.
//!
//! What is here: runs and their tasks, turns, the publication map (which version of a model readers
//! see), artifacts of learners, the outbox and who approved of it, schedules with their runs and alerts, the state of policies and who decides for them, links between the records of
//! two systems, views and schemas that statements made, and what the catalogue knows about tables and who reads them. What is not here: rows of the
//! user, and positions of sources; those are committed with the rows in the lake, so that losing this
//! file loses no data.
//!
//! Invariants: every method is one transaction, durable when it returns (WAL, `synchronous=FULL`);
//! one process at a time writes (see [`ProjectLock`]); readers need no lock.

mod approvals;
mod artifacts;
mod audit;
mod canaries;
mod catalogue;
mod copy;
mod databases;
mod drift;
mod environments;
mod faults;
mod follows;
mod halt;
mod health;
mod holds;
mod idle;
mod links;
mod lock;
mod made;
mod migrations;
mod outbox;
mod piece;
mod pins;
mod policies;
mod promotions;
mod publications;
mod reader;
mod requests;
mod runs;
mod schedules;
mod schema;
mod source_types;
mod splits;
mod turns;
mod users;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flywheel_base::{Error, ErrorKind, Result};
use rusqlite::Connection;

pub use approvals::{
    Approval, ApprovalStatus, LineEdit, NewQuantity, OrderLine, PolicyHand, SeenApproval,
};
pub use artifacts::Artifact;
pub use audit::{AuditBreak, AuditCount, AuditRow};
pub use canaries::{CanaryMove, Move};
pub use catalogue::{Profile, READ_DAYS_MAX, Read, Retirement};
pub use copy::{check_database, copy_database};
pub use databases::DatabaseState;
pub use drift::Drift;
pub use environments::{Environment, EnvironmentMove, PRODUCTION, Reads};
pub use faults::Fault;
pub use follows::{FollowPause, FollowState};
pub use halt::Halt;
pub use health::{HEALTH_DAYS_MAX, HealthScore};
pub use holds::Hold;
pub use links::{LinkAudit, LinkChanges, LinkQuestion, LinkRow};
pub use lock::ProjectLock;
pub use made::{Made, MadeKind};
pub use migrations::{Migration, Phase};
pub use outbox::{Fence, OutboxEntry, OutboxStatus, PolicyDeliveries, Taken};
pub use piece::{Piece, no_place};
pub use pins::Pin;
pub use policies::PolicyState;
pub use promotions::Promotion;
pub use publications::{Build, Publication};
pub use reader::Reader;
pub use requests::{AccessRequest, Grant, GrantKind, RequestStatus, Verdict};
pub use runs::{Run, Task, TaskOutcome};
pub use schedules::{
    Alert, AlertKind, AlertStatus, Asked, Attempt, Board, CatchUp, Cause, Claims, End, Found,
    ITSELF, Looked, Overlap, Pool, RunStatus, ScheduleEffect, ScheduleEvent, SchedulePlan,
    SchedulePlans, ScheduleState, ScheduledRun, Stopping, WatchPlan, WatchState,
    step as schedule_step, watch_step,
};
pub use splits::{SplitPhase, SplitState};
pub use turns::{Turn, TurnStatus};
pub use users::{ApiToken, Identity, LoginSession, SignedIn, User, Visit};

/// How long a statement waits for another process before it gives up, in milliseconds.
const BUSY_TIMEOUT_MS: u64 = 10_000;

/// The open metadata of one project.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    audit: Mutex<()>,
    path: PathBuf,
    /// Whose publications and builds are meant.
    environment: String,
}

impl Store {
    /// Opens `path`, creates it or brings it to the present layout.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] in a read-only folder, [`ErrorKind::Corrupt`] if the file is no database,
    /// [`ErrorKind::Invalid`] if a newer Flywheel wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        }
        let failed = |error| sql_error("open", path, error);
        let connection = Connection::open(path).map_err(failed)?;
        connection
            .busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))
            .map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        let store = Self {
            connection: Mutex::new(connection),
            audit: Mutex::default(),
            path: path.to_owned(),
            environment: PRODUCTION.to_owned(),
        };
        let version: i64 = store.read("read the layout", |db| {
            db.pragma_query_value(None, "user_version", |row| row.get(0))
        })?;
        if version > schema::known_version() {
            return Err(Error::invalid(format!(
                "metadata: {} was written by a newer Flywheel",
                path.display()
            ))
            .hint("Use that newer version, or restore a backup made before the upgrade."));
        }
        if version < schema::known_version() {
            store.write("migrate", schema::migrate)?;
        }
        Ok(store)
    }

    /// Where the database lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while holding the lock leaves at most an open transaction, which the next one rolls back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one durable transaction.
    fn write<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let failed = |error| sql_error(doing, &self.path, error);
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(failed)?;
        let value = work(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(value)
    }

    /// Runs `work` on one consistent view.
    fn read<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let connection = self.lock();
        work(&connection).map_err(|error| sql_error(doing, &self.path, error))
    }
}

fn sql_error(doing: &str, path: &Path, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let (kind, hint) = match error.sqlite_error_code() {
        Some(Code::ReadOnly | Code::PermissionDenied | Code::CannotOpen) => {
            (ErrorKind::Denied, "Check the owner and the mode of the .flywheel folder.")
        }
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
            (ErrorKind::Unavailable, "Another program holds the database; end it or wait.")
        }
        Some(Code::DiskFull) => (ErrorKind::Exhausted, "Free space on that file system."),
        // SQLite says no more than this when a full disk has no room for its shared index either.
        Some(Code::SystemIoFailure) => {
            (ErrorKind::Exhausted, "Free space on that file system; if there is, check the disk.")
        }
        Some(Code::NotADatabase | Code::DatabaseCorrupt) => (
            ErrorKind::Corrupt,
            "Restore the file from a backup; rows of the lake are not affected.",
        ),
        _ => (ErrorKind::Internal, "This is a bug of Flywheel; please report it."),
    };
    Error::new(kind, format!("metadata: cannot {doing} in {}", path.display()))
        .hint(hint)
        .caused_by(error)
}

#[cfg(test)]
mod tests;
