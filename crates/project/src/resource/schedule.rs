//! `schedules/*.yaml`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Duration;
use super::rule::Role;

/// What `flywheel serve` runs by itself, and when.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The schedule's name.
    pub schedule: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// What is run, as the command of that name does. A schedule has this, or `tasks`.
    #[serde(default)]
    pub run: Option<Runs>,
    /// Of what: names of syncs, learners, links or dashboards, selectors of models as in `flywheel build --select` or of
    /// quality files as in `flywheel quality run --select`; all if empty, but for dashboards, which are named.
    #[serde(default)]
    pub select: Vec<String>,
    /// Builds incremental tables anew; only of `run: build`.
    #[serde(default)]
    pub full_refresh: bool,
    /// Makes landed tables equal to their sources where they differ; only of `run: reconcile`.
    #[serde(default)]
    pub repair: bool,
    /// To whom dashboards go and how; only of `run: dashboard`.
    #[serde(default)]
    pub send: Option<Sending>,
    /// What a run does step by step, instead of `run`: each task begins when those it comes after have succeeded, and those
    /// that touch different tables run side by side. What has succeeded is not done again when the run is tried again.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// When it is run by itself; a schedule without it waits until somebody asks.
    #[serde(default)]
    pub when: When,
    /// What becomes of moments that passed while no server was running.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// What becomes of a moment that comes while the run before has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// When a run that failed is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// How long one attempt may take before it is stopped, such as `1h`; without it, as long as it takes.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// How long after its moment a run shall have ended, such as `3h`: one that has not is told of as late, and goes on.
    #[serde(default)]
    pub deadline: Option<Duration>,
    /// Who goes first if several wait: the larger number.
    #[serde(default)]
    #[schemars(range(min = -100, max = 100))]
    pub priority: i32,
    /// How many of its runs may be under way at once. Runs that write the same table wait for each other all the same.
    #[serde(default = "one")]
    pub concurrency: NonZeroU32,
    /// How many of its runs for moments of the past may be under way at once, beside those for the present.
    #[serde(default = "one")]
    pub backfill_concurrency: NonZeroU32,
    /// The pool of `flywheel.yaml` of whose slots each run takes one.
    #[serde(default)]
    pub pool: Option<String>,
    /// Keeps the schedule from running by itself.
    #[serde(default)]
    pub paused: bool,
    /// Who is told when runs fail, are late, or work again.
    #[serde(default)]
    pub alert: Alerts,
}

impl Schedule {
    /// What its runs are called: the word of what they run, or `tasks`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.run.map_or(TASKS, Runs::word)
    }
}

/// What runs of several tasks are called.
pub const TASKS: &str = "tasks";

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The task's name, once in the schedule.
    pub task: String,
    /// What it runs, anything but `turn`; a task without it only waits for those it comes after.
    #[serde(default)]
    pub run: Option<Runs>,
    /// Of what, as in a schedule.
    #[serde(default)]
    pub select: Vec<String>,
    /// Builds incremental tables anew; only of `run: build`.
    #[serde(default)]
    pub full_refresh: bool,
    /// Makes landed tables equal to their sources where they differ; only of `run: reconcile`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repair: bool,
    /// To whom dashboards go and how; only of `run: dashboard`.
    // Left out where it is absent: what a schedule does is known by its tasks as they are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Sending>,
    /// Tasks that must have succeeded before.
    #[serde(default)]
    pub after: Vec<String>,
}

/// To whom dashboards go, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sending {
    /// The actions by which they leave: files of `actions/` of type `email`, `chat`, `webhook` or `file`.
    pub actions: Vec<String>,
    /// What goes with the figures, where an action can carry it.
    #[serde(default)]
    pub attach: Attach,
    /// The language of our own words and of the titles; English if absent.
    #[serde(default)]
    pub language: Language,
    /// As which role rows are read, by the rules of `access/`; without rules, as the project itself reads them. It has to be
    /// said once there are rules: nobody is signed in when a schedule runs.
    #[serde(default)]
    pub role: Option<Role>,
}

/// What goes with the figures of a dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    /// All rows as a workbook (xlsx): a part of e-mails, and what files of such a name are made of.
    #[default]
    Workbook,
    /// Nothing.
    None,
}

/// A language that people read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

/// What a schedule runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Runs {
    /// The whole wheel once, as `flywheel turn`.
    Turn,
    /// Syncs, as `flywheel sync`.
    Sync,
    /// Models and their tests, as `flywheel build`.
    Build,
    /// Learners, as `flywheel learn`.
    Learn,
    /// Rows that were set aside are tried again, as `flywheel quarantine replay`.
    Quarantine,
    /// Dashboards are sent to people.
    Dashboard,
    /// Links, as `flywheel link run`.
    Link,
    /// Merges of systems, as `flywheel merge run`; those whose keys others follow come first.
    Merge,
    /// Landed tables are compared with their databases, as `flywheel reconcile`; what differs fails the run.
    Reconcile,
    /// Actions that are due leave, as with `flywheel act`.
    Act,
    /// What is promised about tables is judged, as `flywheel quality run`; promises that are not kept fail the run.
    Quality,
}

impl Runs {
    /// The word in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Sync => "sync",
            Self::Build => "build",
            Self::Learn => "learn",
            Self::Quarantine => "quarantine",
            Self::Dashboard => "dashboard",
            Self::Link => "link",
            Self::Merge => "merge",
            Self::Reconcile => "reconcile",
            Self::Act => "act",
            Self::Quality => "quality",
        }
    }

    /// Whether a run that succeeded may still hold something for a person to do, so that a run that may have ended is done
    /// again: it neither loses nor doubles a row.
    #[must_use]
    pub fn is_judged_anew(self) -> bool {
        matches!(self, Self::Link | Self::Reconcile | Self::Quality | Self::Act)
    }
}

/// When a schedule runs by itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// A cron expression: minute, hour, day of the month, month and day of the week, such as `30 2 * * mon-fri`;
    /// `L` is the last day of the month.
    #[serde(default)]
    pub cron: Option<String>,
    /// The time zone of the cron expression, such as `Asia/Shanghai`; UTC if absent.
    #[serde(default)]
    pub zone: Option<String>,
    /// An interval, such as `15m`, counted from midnight UTC of 1 January 1970.
    #[serde(default)]
    pub every: Option<Duration>,
    /// Tables, `schema.table`: a new version of one of them starts a run.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Files of the project's folder, such as `inbox/*.csv`: one that is new or has changed starts a run.
    #[serde(default)]
    pub files: Vec<String>,
    /// Syncs: rows that wait in the source of one of them start a run, where the source can tell (databases that are
    /// followed, Kafka, journals). Any sync with `read: incremental` or `cdc` that never landed is started as well.
    #[serde(default)]
    pub lag: Vec<String>,
    /// How often tables, files and lag are looked at, `30s` if absent.
    #[serde(default)]
    pub look: Option<Duration>,
    /// Lets another system start a run by `POST /v1/hooks/NAME`, signed with this secret: `${env:NAME}`.
    #[serde(default)]
    pub webhook: Option<String>,
}

impl When {
    /// Whether what there is decides, beside the time.
    #[must_use]
    pub fn looks(&self) -> bool {
        !(self.tables.is_empty() && self.files.is_empty() && self.lag.is_empty())
    }
}

/// What becomes of moments that passed while no server was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CatchUp {
    /// They are left out, but for the last one if it is at most five minutes old.
    None,
    /// The last one of them is made up for.
    #[default]
    Latest,
    /// Each of them is made up for, oldest first.
    All,
}

/// What becomes of a moment that comes while the run before has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It waits.
    Queue,
    /// The run before is stopped for it.
    Cancel,
}

/// When a run that failed is tried again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How often a run is tried, the first time included.
    #[serde(default = "attempts_default")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// The wait before the second attempt, `30s` if absent; it doubles with each further one.
    #[serde(default = "wait_default")]
    pub wait: Duration,
    /// The longest wait, `30m` if absent.
    #[serde(default = "wait_max_default")]
    pub wait_max: Duration,
    /// After which errors. What a person must mend is not mended by trying again.
    #[serde(default = "on_default")]
    pub on: Vec<RetryOn>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: attempts_default(),
            wait: wait_default(),
            wait_max: wait_max_default(),
            on: on_default(),
        }
    }
}

fn attempts_default() -> u32 {
    3
}

fn wait_default() -> Duration {
    Duration { micros: 30_000_000 }
}

fn wait_max_default() -> Duration {
    Duration { micros: 1_800_000_000 }
}

fn on_default() -> Vec<RetryOn> {
    vec![RetryOn::Unavailable, RetryOn::Conflict, RetryOn::Timeout]
}

/// A class of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// An outside system did not answer.
    Unavailable,
    /// Somebody else changed the same thing.
    Conflict,
    /// The attempt took longer than `timeout`.
    Timeout,
    /// Memory, disk or another limit was reached.
    Exhausted,
}

impl RetryOn {
    /// The word in files, which is the name of the kind of error.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Timeout => "timeout",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Who is told what.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alerts {
    /// The actions by which alerts leave: files of `actions/`, such as one of type `chat` or `webhook`.
    #[serde(default)]
    pub actions: Vec<String>,
    /// What is told of; everything if absent.
    #[serde(default = "alert_on_default")]
    pub on: Vec<AlertOn>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { actions: Vec::new(), on: alert_on_default() }
    }
}

fn alert_on_default() -> Vec<AlertOn> {
    vec![AlertOn::Failed, AlertOn::Late, AlertOn::Recovered]
}

/// What is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertOn {
    /// A run was given up, the first one after those that succeeded.
    Failed,
    /// A run has not ended by its deadline.
    Late,
    /// The first run that succeeded after those that failed.
    Recovered,
}
