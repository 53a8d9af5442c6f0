//! What a schedule's file says, as far as its runs go.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::calendar::Timing;

use super::Claims;

/// Schedules by name.
pub type SchedulePlans = BTreeMap<String, SchedulePlan>;

/// What a schedule's file says.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulePlan {
    /// Its name.
    pub name: String,
    /// What its runs do, as a digest: another fingerprint makes another run of the same moment.
    pub fingerprint: String,
    /// When it is due by itself.
    pub timing: Option<Timing>,
    /// What becomes of moments that passed while no server was running.
    pub catch_up: CatchUp,
    /// What becomes of a moment that comes while a run is under way.
    pub overlap: Overlap,
    /// How often a run is tried, the first time included.
    pub attempts: u32,
    /// The classes of errors after which a run is tried again.
    pub retry_on: BTreeSet<String>,
    /// The wait before the second attempt, in microseconds; it doubles with each further one.
    pub wait_us: i64,
    /// The longest wait, in microseconds.
    pub wait_max_us: i64,
    /// How long an attempt may take, in microseconds.
    pub timeout_us: Option<i64>,
    /// How long after its moment a run shall have ended, in microseconds.
    pub deadline_us: Option<i64>,
    /// Who goes first: the larger.
    pub priority: i32,
    /// How many of its runs may be under way at once, those for the past aside.
    pub concurrency: usize,
    /// How many of its runs for moments of the past may be.
    pub backfill_concurrency: usize,
    /// The places it shares with other schedules.
    pub pool: Option<Pool>,
    /// What its runs touch.
    pub claims: Claims,
    /// Whether its own file pauses it.
    pub paused: bool,
    /// The actions by which alerts leave.
    pub alert_actions: Vec<String>,
    /// What is told.
    pub alert_on: BTreeSet<AlertKind>,
}

/// Places that runs of several schedules share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How many of their runs may be under way at once.
    pub slots: usize,
}

/// What becomes of moments that passed while no server was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// They are left out.
    None,
    /// The last one of them is made up for.
    Latest,
    /// Each of them is, oldest first.
    All,
}

/// What becomes of a moment that comes while another run of the schedule has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It is left out.
    Skip,
    /// It waits.
    Queue,
    /// It takes the other one's place.
    Cancel,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertKind {
    /// A run was given up, the first one after those that succeeded.
    Failed,
    /// A run has not ended by its deadline.
    Late,
    /// The first run that succeeded after those that failed.
    Recovered,
}

impl AlertKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Failed, Self::Late, Self::Recovered];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Late => "late",
            Self::Recovered => "recovered",
        }
    }
}
