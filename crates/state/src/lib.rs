//! Metadata of one project, and the project's lock: `.flywheel/meta.db`, a SQLite database, or a schema of a PostgreSQL
//! where `flywheel.yaml` says so.
//!
//! What is here: runs and their tasks, turns, the publication map (which version of a model readers
//! see), artifacts of learners, the outbox and who approved of it, schedules with their runs and alerts, the state of policies and who decides for them, links between the records of
//! two systems, views and schemas that statements made, and what the catalogue knows about tables and who reads them. What is not here: rows of the
//! user, and positions of sources; those are committed with the rows in the lake, so that losing this
//! file loses no data.
//!
//! Invariants: every method is one transaction, durable when it returns (WAL, `synchronous=FULL`; with PostgreSQL
//! `synchronous_commit`), and sees all that was committed before it; one process at a time writes (see [`ProjectLock`]);
//! readers need no lock.

mod approvals;
mod artifacts;
mod audit;
mod canaries;
mod catalogue;
mod copy;
mod databases;
mod drift;
mod engine;
mod environments;
mod erasures;
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
mod moved;
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flywheel_base::{Error, Result};

use crate::engine::Connection;

pub use approvals::{
    Approval, ApprovalStatus, LineEdit, NewQuantity, OrderLine, PolicyHand, SeenApproval,
};
pub use artifacts::Artifact;
pub use audit::{AUDIT_HEAD_PASSED, AuditBreak, AuditCount, AuditRow};
pub use canaries::{CanaryMove, Move};
pub use catalogue::{Profile, READ_DAYS_MAX, Read, Retirement, WorkSum};
pub use copy::{check_database, copy_database};
pub use databases::DatabaseState;
pub use drift::Drift;
pub use engine::{Dial, Dialed, Dialing, Shared};
pub use environments::{Environment, EnvironmentMove, PRODUCTION, Reads};
pub use erasures::{Blanked, Erasure, ErasureStatus};
pub use faults::Fault;
pub use follows::{FollowPause, FollowState};
pub use halt::Halt;
pub use health::{HEALTH_DAYS_MAX, HealthScore};
pub use holds::Hold;
pub use links::{LinkAudit, LinkChanges, LinkQuestion, LinkRow};
pub use lock::ProjectLock;
pub use made::{Made, MadeKind};
pub use migrations::{Migration, Phase};
pub use moved::Copied;
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
    /// Where it is if it is in no file.
    shared: Option<Shared>,
    /// What has to be held for a write.
    lock: Option<Arc<ProjectLock>>,
    /// Whose publications and builds are meant.
    environment: String,
}

impl Store {
    /// Opens `path`, creates it or brings it to the present layout.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Denied`] in a read-only folder, [`flywheel_base::ErrorKind::Corrupt`] if the file is no
    /// database, [`flywheel_base::ErrorKind::Invalid`] if a newer Flywheel wrote it, [`flywheel_base::ErrorKind::Conflict`] if
    /// an older one wrote it and a process that has the project works with it. With PostgreSQL
    /// [`flywheel_base::ErrorKind::Unavailable`] if it does not answer or the connection breaks: nothing half-done is kept,
    /// and the next call connects anew.
    pub fn open(path: &Path) -> Result<Self> {
        #[cfg(test)]
        if let Some(shared) = testing::shared(path) {
            return Self::open_shared(&shared, path);
        }
        Self::open_file(path)
    }

    fn open_file(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        }
        let connection = Connection::file(path).map_err(|error| sql_error("open", path, error))?;
        Self::ready(connection, path, None)
    }

    /// Opens the metadata in a schema of a PostgreSQL, makes it or brings it to the present layout. `path` is where the file
    /// would be that a project has otherwise: what is kept beside the database, such as the head of the audit log, is there.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_shared(shared: &Shared, path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        }
        Self::ready(Connection::shared(shared), path, Some(shared.clone()))
    }

    fn ready(connection: Connection, path: &Path, shared: Option<Shared>) -> Result<Self> {
        let store = Self {
            connection: Mutex::new(connection),
            audit: Mutex::default(),
            path: path.to_owned(),
            shared,
            lock: None,
            environment: PRODUCTION.to_owned(),
        };
        let version = store.read("read the layout", Connection::layout)?;
        if version > schema::known_version() {
            return Err(Error::invalid(format!(
                "metadata: {} was written by a newer Flywheel",
                store.place()
            ))
            .hint("Use that newer version, or restore a backup made before the upgrade."));
        }
        if version < schema::known_version() {
            // Who works with the layout there is must not lose it. Where there is none yet, nobody does.
            let alone =
                if version == 0 { None } else { lock::alone(&store.path.with_file_name("lock"))? };
            store.read("migrate", Connection::migrate)?;
            drop(alone);
        }
        Ok(store)
    }

    /// Opens the same metadata once more, for the same environment and under the same lock.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn another(&self) -> Result<Self> {
        let store = match &self.shared {
            Some(shared) => Self::open_shared(shared, &self.path)?,
            None => Self::open(&self.path)?,
        };
        Ok(Self { lock: self.lock.clone(), environment: self.environment.clone(), ..store })
    }

    /// Lets this store write only as long as `lock` is held. A lock on a file is held as long as its process lives; one in
    /// PostgreSQL can be lost with its connection.
    #[must_use]
    pub fn under(self, lock: &Arc<ProjectLock>) -> Self {
        Self { lock: Some(Arc::clone(lock)), ..self }
    }

    /// Whether a schema has no metadata yet, and opening it would make it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn is_new(shared: &Shared) -> Result<bool> {
        let layout = Connection::shared(shared).layout();
        Ok(layout.map_err(|error| error.of_store("read the layout", &shared.place()))? == 0)
    }

    /// Where the database lies, or would if it were a file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The schema the metadata is in, if it is in no file.
    #[must_use]
    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// Where the metadata is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.shared.as_ref().map_or_else(|| self.path.display().to_string(), Shared::place)
    }

    /// Gives what is here another name, with `word` behind that of a schema and before that of a file, so that it is kept and
    /// nobody takes it for the project's metadata any more. Returns where it is now.
    ///
    /// # Errors
    /// As [`Store::open`], and [`flywheel_base::ErrorKind::Conflict`] if there is something of that name.
    pub fn set_aside(self, word: &str) -> Result<String> {
        if let Some(shared) = &self.shared {
            let name = format!("{}_{word}", shared.schema());
            self.read("set it aside", |db| db.rename(&name))?;
            return Ok(format!("the schema \"{name}\""));
        }
        let Self { connection, path, .. } = self;
        // What is in the log comes into the file.
        drop(connection);
        let named = |path: &Path, end: &str| {
            let mut name = path.to_owned().into_os_string();
            name.push(end);
            PathBuf::from(name)
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!("{word}-{name}"));
        if aside.exists() {
            return Err(Error::new(
                flywheel_base::ErrorKind::Conflict,
                format!("metadata: {} is there already", aside.display()),
            )
            .hint("Move it elsewhere, or remove it."));
        }
        for end in ["", "-wal", "-shm"] {
            let (from, to) = (named(&path, end), named(&aside, end));
            match std::fs::rename(&from, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("rename", &from, error));
                }
                _ => {}
            }
        }
        Ok(aside.display().to_string())
    }

    /// Brings what was committed last, and lies in a log beside the database, into its file, as far as no reader holds it. In
    /// PostgreSQL there is nothing to do.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn write_out(&self) -> Result<()> {
        self.read("bring its log into the file", Connection::checkpoint)
    }

    /// How large the database is, in bytes, with what was committed last.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn size_bytes(&self) -> Result<u64> {
        if self.shared.is_some() {
            let bytes: i64 = self.read("ask how large it is", |db| {
                db.query_row(
                    "SELECT coalesce(CAST(sum(pg_total_relation_size(c.oid)) AS bigint), 0) FROM pg_class AS c
                     JOIN pg_namespace AS n ON n.oid = c.relnamespace
                     WHERE n.nspname = current_schema() AND c.relkind = 'r'",
                    [],
                    |row| row.get(0),
                )
            })?;
            return Ok(bytes.unsigned_abs());
        }
        let mut bytes = 0_u64;
        for end in ["", "-wal"] {
            let mut name = self.path.clone().into_os_string();
            name.push(end);
            match std::fs::metadata(&name) {
                Ok(about) => bytes = bytes.saturating_add(about.len()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at", Path::new(&name), error)),
            }
        }
        Ok(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while holding the lock leaves at most an open transaction, which the next one rolls back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one durable transaction.
    fn write<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Connection) -> engine::Result<T>,
    ) -> Result<T> {
        let connection = self.lock();
        let epoch = self.lock.as_ref().map_or(Ok(None), |lock| lock.epoch());
        epoch
            .and_then(|epoch| connection.write(epoch, work))
            .map_err(|error| error.of_store(doing, &self.place()))
    }

    /// Runs `work` on one consistent view.
    fn read<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&Connection) -> engine::Result<T>,
    ) -> Result<T> {
        let connection = self.lock();
        work(&connection).map_err(|error| error.of_store(doing, &self.place()))
    }
}

fn sql_error(doing: &str, path: &Path, error: engine::Error) -> Error {
    error.of_store(doing, &path.display().to_string())
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
