//! Schedules and their runs: what is to be run when, what was, and what is said about it.
//!
//! ```text
//! waiting ──start──▶ running ──▶ succeeded
//!    ▲                 │  │ └──▶ failed, blocked
//!    └── retry, cut off ┘  └───▶ cancelled            (skipped: never begun)
//! ```
//! What happens is decided by [`step`], a pure function, over a [`Board`]: the schedules and the runs that have not
//! ended. [`Store::schedule_step`] reads the board, steps, and writes what changed, alerts included, in one
//! transaction, so that two processes cannot undo each other's steps, and what was decided outlives a crash.
//!
//! A run is known by its schedule, what the schedule does (a fingerprint) and its moment: a second run of the same is
//! never added. Each attempt has a number, which is its fence: what is said about an attempt that is not the newest
//! one changes nothing. An attempt under way holds a lease; whoever does the work renews it, and one that runs out,
//! or whose server is gone, goes back to waiting.

mod alerts;
mod claims;
mod plan;
mod rows;
mod step;
mod watch;

use flywheel_base::Timestamp;
use serde_json::Value;

pub use alerts::{Alert, AlertStatus};
pub use claims::Claims;
pub use plan::{AlertKind, CatchUp, Overlap, Pool, SchedulePlan, SchedulePlans};
pub use step::step;
pub use watch::{Found, ITSELF, Looked, WatchPlan, WatchState, watch_step};

/// What is known of a schedule beside its file.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleState {
    /// Its name.
    pub name: String,
    /// Whether it was paused by hand.
    pub paused: bool,
    /// Why.
    pub reason: Option<String>,
    /// Up to which moment runs were made.
    pub cursor: Timestamp,
    /// The versions of tables that runs were made for; null if none were looked at.
    pub seen: Value,
    /// Since when its runs fail.
    pub failing_since: Option<Timestamp>,
}

/// Why a run was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A moment of its cron expression or interval.
    Time,
    /// A table has a new version.
    Change,
    /// A source has rows that have not landed.
    Lag,
    /// Somebody asked for it.
    Manual,
    /// Another system asked for it.
    Webhook,
    /// A moment of the past was asked for.
    Backfill,
}

impl Cause {
    const ALL: [Self; 6] =
        [Self::Time, Self::Change, Self::Lag, Self::Manual, Self::Webhook, Self::Backfill];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Change => "change",
            Self::Lag => "lag",
            Self::Manual => "manual",
            Self::Webhook => "webhook",
            Self::Backfill => "backfill",
        }
    }

    /// Whether nobody asked for it: a pause keeps such runs from starting.
    #[must_use]
    pub fn is_automatic(self) -> bool {
        matches!(self, Self::Time | Self::Change | Self::Lag)
    }

    fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|cause| cause.name() == name).unwrap_or(Self::Manual)
    }
}

/// Where a run of a schedule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// To be started.
    Waiting,
    /// Under way.
    Running,
    /// Ended well.
    Succeeded,
    /// Given up.
    Failed,
    /// A contract, test or guardrail forbade to go on.
    Blocked,
    /// Stopped by somebody, or by a newer run.
    Cancelled,
    /// Never begun, because another run of the schedule was under way.
    Skipped,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Blocked,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// Whether there is more to come.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }

    fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|status| status.name() == name).unwrap_or(Self::Failed)
    }
}

/// Why an attempt under way is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// It takes longer than its schedule allows.
    Timeout,
    /// Somebody asked for it.
    Cancel,
    /// A newer run takes its place.
    Newer,
}

impl Stopping {
    const ALL: [Self; 3] = [Self::Timeout, Self::Cancel, Self::Newer];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Cancel => "cancel",
            Self::Newer => "newer",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stopping| stopping.name() == name)
    }
}

/// One attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// The run of `system.runs` that it was, if it came so far.
    pub run_id: Option<String>,
    /// When it started, in microseconds.
    pub started_at: i64,
    /// When it ended, in microseconds.
    pub ended_at: i64,
    /// `succeeded`, `cancelled`, or the class of its error.
    pub result: String,
}

/// One run of a schedule, for one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledRun {
    /// Its id.
    pub id: String,
    /// Its schedule.
    pub schedule: String,
    /// The moment it is for.
    pub moment: Timestamp,
    /// Why it was made.
    pub cause: Cause,
    /// Where it stands.
    pub status: RunStatus,
    /// The number of the newest attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts that failed by themselves.
    pub failures: u32,
    /// Attempts whose server was gone.
    pub interruptions: u32,
    /// When it may start.
    pub due_at: Timestamp,
    /// Who asked for it.
    pub asked_by: String,
    /// When it was made.
    pub asked_at: Timestamp,
    /// When the newest attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Until when the attempt under way counts as alive.
    pub lease_until: Option<Timestamp>,
    /// Why the attempt under way is being stopped.
    pub stopping: Option<Stopping>,
    /// The run of `system.runs` of the newest attempt.
    pub run_id: Option<String>,
    /// The first run of an earlier attempt: of it and of those that followed it, tasks that succeeded are not done again.
    pub goes_on_from: Option<String>,
    /// The class of the error.
    pub error_class: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Whether it was told that it is late.
    pub told_late: bool,
    /// Attempts that have ended.
    pub attempts: Vec<Attempt>,
}

impl ScheduledRun {
    /// When the first attempt started; when the run was made, if none has.
    #[must_use]
    pub fn first_started_at(&self) -> Timestamp {
        let first = self.attempts.first().map(|one| Timestamp::from_micros(one.started_at));
        first.or(self.started_at).unwrap_or(self.asked_at)
    }
}

/// Everything that a step looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// Schedules by name.
    pub schedules: std::collections::BTreeMap<String, ScheduleState>,
    /// Runs that have not ended, and those that ended in this step, by id.
    pub runs: std::collections::BTreeMap<String, ScheduledRun>,
}

/// A run that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The schedule.
    pub schedule: String,
    /// Why.
    pub cause: Cause,
    /// The moment it is for; now if absent.
    pub moment: Option<Timestamp>,
    /// Who asks.
    pub by: String,
    /// What makes it another run than those before: of two askings with the same mark, the second one adds nothing.
    pub mark: Option<String>,
    /// The run whose tasks that succeeded are not done again.
    pub goes_on_from: Option<String>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// As it should.
    Succeeded,
    /// With an error of this class: the name of an [`flywheel_base::ErrorKind`].
    Failed {
        /// The class.
        class: String,
        /// What is told.
        error: String,
    },
    /// It was stopped: by somebody, or because its server is.
    Stopped,
}

/// What a step is told.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleEvent {
    /// Time has passed. The runs `alive` are being worked on; `free` more can be begun, beside what is `held`.
    Tick {
        /// How many can be begun.
        free: usize,
        /// What is being worked on.
        alive: Vec<String>,
        /// What all work that is under way or waits for a worker touches, runs of schedules or not.
        held: Claims,
    },
    /// This run is begun now, whatever else waits.
    Take {
        /// The run.
        id: String,
    },
    /// A server begins: whatever says that it is running was cut off.
    Restarted,
    /// Somebody asks for a run.
    Asked(Asked),
    /// Somebody asks for several runs: they get all of them, or none if they are more than may wait.
    AskedAll {
        /// The runs.
        all: Vec<Asked>,
    },
    /// What there is of the tables a schedule looks at.
    Seen {
        /// The schedule.
        schedule: String,
        /// Their versions.
        versions: Value,
    },
    /// A source that a schedule looks at has rows that have not landed.
    Behind {
        /// The schedule.
        schedule: String,
    },
    /// The attempt under way is this run of `system.runs`.
    Began {
        /// The run.
        id: String,
        /// Its attempt.
        attempt: u32,
        /// The run of `system.runs`.
        run_id: String,
    },
    /// An attempt has ended.
    Ended {
        /// The run.
        id: String,
        /// Its attempt.
        attempt: u32,
        /// How.
        end: End,
    },
    /// A schedule shall not start runs by itself.
    Pause {
        /// The schedule.
        schedule: String,
        /// Why.
        reason: String,
    },
    /// It shall again.
    Resume {
        /// The schedule.
        schedule: String,
    },
    /// A run shall be stopped, or not begun.
    Cancel {
        /// The run.
        id: String,
    },
}

/// What follows of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleEffect {
    /// An attempt is to be begun.
    Start(Box<ScheduledRun>),
    /// The attempt under way is to be stopped.
    Stop {
        /// The run.
        id: String,
        /// Why.
        why: Stopping,
    },
    /// Somebody is to be told.
    Alert(Box<Alert>),
    /// Runs were added, which a next step may start; or asked for, and there already.
    Added {
        /// Their ids.
        ids: Vec<String>,
    },
}

#[cfg(test)]
mod tests;
