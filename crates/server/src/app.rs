//! What all requests share.

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::http::StatusCode;
use flywheel_base::{Clock, Error, Result, SystemClock, Timestamp, task};
use flywheel_connect::JournalEvents;
use flywheel_runtime::Workspace;
use flywheel_state::Reader;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::auth::{self, Brake};
use crate::feedback::Fresh;
use crate::heavy::Heavy;
use crate::http::recommend::{self, Decisions, Lists};
use crate::live::Live;
use crate::rate::Rates;
use crate::set_aside::{self, SetAside};
use crate::sign_in::SignIns;
use crate::telemetry::Telemetry;
use crate::ticket::Tickets;
use crate::work::Queue;

/// Queries that run at once; more wait.
const QUERIES_AT_ONCE: usize = 4;
/// Passwords that are hashed at once, 19 MiB each.
const HASHED_AT_ONCE: usize = 2;
/// The most things that are done to a project at once.
const WORKERS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);
/// Messages a slow listener may be behind before it misses some.
const LIVE_BEHIND_MAX: usize = 1_024;

/// The logical clock of a server: the machine's, but that it stands still while a turn works for its moment, and
/// where somebody else moves it, as a demo does.
#[derive(Debug)]
pub struct WheelClock {
    held: AtomicI64,
    virtual_time: bool,
}

/// No moment is held.
const FREE: i64 = i64::MIN;

impl WheelClock {
    /// The machine's clock.
    #[must_use]
    pub fn real() -> Self {
        Self { held: AtomicI64::new(FREE), virtual_time: false }
    }

    /// A clock that stands at `at` until it is moved.
    #[must_use]
    pub fn standing(at: Timestamp) -> Self {
        Self { held: AtomicI64::new(at.micros()), virtual_time: true }
    }

    /// Stands still at `at`.
    pub fn hold(&self, at: Timestamp) {
        self.held.store(at.micros(), Ordering::SeqCst);
    }

    /// Goes on with the machine's time, unless time is virtual.
    pub fn release(&self) {
        if !self.virtual_time {
            self.held.store(FREE, Ordering::SeqCst);
        }
    }
}

impl Clock for WheelClock {
    fn now(&self) -> Timestamp {
        match self.held.load(Ordering::SeqCst) {
            FREE => SystemClock.now(),
            held => Timestamp::from_micros(held),
        }
    }
}

/// Counts for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) requests: AtomicU64,
    pub(crate) by_class: [AtomicU64; 5],
    pub(crate) busy_us: AtomicU64,
    pub(crate) latency: [Latency; Door::ALL.len()],
    pub(crate) events: AtomicU64,
    pub(crate) events_rejected: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) postgres_connections: AtomicU64,
    pub(crate) postgres_statements: AtomicU64,
}

/// The upper bounds of the classes of durations, in microseconds; the last class has none.
pub(crate) const LATENCY_US: [u64; 11] = [
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// How long requests at one door took.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// How many of each class.
    pub(crate) counts: [AtomicU64; LATENCY_US.len() + 1],
    pub(crate) sum_us: AtomicU64,
}

/// What a request is for, as far as it says how long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Pages and their files.
    Pages,
    /// Events and outcomes that come in.
    Events,
    /// Decisions and recommendations.
    Decisions,
    /// Rows that are asked for: SQL, metrics, published queries, dashboards.
    Rows,
    /// A stream of what happens, measured until it begins.
    Live,
    /// Everything else of the API.
    Other,
}

impl Door {
    pub(crate) const ALL: [Self; 6] =
        [Self::Pages, Self::Events, Self::Decisions, Self::Rows, Self::Live, Self::Other];

    /// The door of an address.
    pub(crate) fn of(path: &str) -> Self {
        let mut parts = path.split('/').skip(1);
        match (parts.next(), parts.next()) {
            (Some("v1"), Some("events" | "outcomes" | "exposures" | "topics")) => Self::Events,
            (Some("v1"), Some("decide" | "recommend")) => Self::Decisions,
            (
                Some("v1"),
                Some("sql" | "metrics" | "queries" | "dashboards" | "dashboard-preview"),
            ) => Self::Rows,
            (Some("v1"), Some("live")) => Self::Live,
            (Some("v1" | "livez" | "readyz" | "metrics"), _) => Self::Other,
            _ => Self::Pages,
        }
    }

    /// The word in `/metrics`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Events => "events",
            Self::Decisions => "decisions",
            Self::Rows => "rows",
            Self::Live => "live",
            Self::Other => "other",
        }
    }
}

impl Stats {
    pub(crate) fn answered(&self, door: Door, status: StatusCode, time: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        if let Some(count) = self.by_class.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.busy_us.fetch_add(micros, Ordering::Relaxed);
        let doors = Door::ALL.into_iter().zip(&self.latency);
        for (_, latency) in doors.filter(|(one, _)| *one == door) {
            let class = LATENCY_US.iter().position(|most| micros <= *most);
            if let Some(count) = latency.counts.get(class.unwrap_or(LATENCY_US.len())) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            latency.sum_us.fetch_add(micros, Ordering::Relaxed);
        }
    }
}

/// What all requests share.
pub struct App {
    workspace: RwLock<Arc<Workspace>>,
    /// What is asked at every request, without waiting for a write.
    pub(crate) reader: Reader,
    pub(crate) clock: Arc<WheelClock>,
    pub(crate) started_at: Timestamp,
    pub(crate) demo: bool,
    /// Whether connections are secret.
    pub(crate) secure: bool,
    /// The folder the web pages are read from, if not those inside the program.
    pub(crate) pages: Option<PathBuf>,
    pub(crate) queue: Queue,
    pub(crate) live: broadcast::Sender<Live>,
    pub(crate) events: JournalEvents,
    pub(crate) decisions: Decisions,
    /// What sets events aside that do not fit.
    pub(crate) set_aside: SetAside,
    pub(crate) stats: Stats,
    /// What tells a collector of requests, if there is one.
    pub(crate) telemetry: Option<Telemetry>,
    pub(crate) brake: Brake,
    pub(crate) rates: Rates,
    pub(crate) hashing: Semaphore,
    pub(crate) sign_ins: SignIns,
    pub(crate) tickets: Tickets,
    pub(crate) nobody: String,
    pub(crate) querying: Semaphore,
    pub(crate) heavy: Heavy,
    /// Queries under way, by the id of who asks and of the query, each with a number of its own.
    pub(crate) queries: Mutex<BTreeMap<(String, String), (u64, CancellationToken)>>,
    /// Sessions of clients of PostgreSQL.
    pub(crate) postgres: crate::postgres::Sessions,
    pub(crate) lists: Lists,
    /// Held while a page writes a file of the project.
    pub(crate) writing: tokio::sync::Mutex<()>,
    pub(crate) fresh: Fresh,
    pub(crate) next_turn_at: Mutex<Option<Timestamp>>,
    /// Wakes the scheduler before its time.
    pub(crate) scheduler: Notify,
    /// Has alerts looked at before their time.
    pub(crate) alerts: Notify,
    /// Wakes whoever delivers what is due.
    pub(crate) sender: Notify,
    /// Wakes whoever has syncs followed.
    pub(crate) follower: Notify,
    pub(crate) stop: CancellationToken,
    pub(crate) routes: std::sync::OnceLock<Vec<crate::gate::RouteInfo>>,
}

impl App {
    pub(crate) fn new(
        workspace: Workspace,
        clock: Arc<WheelClock>,
        events: JournalEvents,
        options: &crate::Options,
    ) -> Result<Self> {
        let declared = workspace.project.file.workers.try_into().unwrap_or(NonZeroUsize::MIN);
        let asked = options.workers.unwrap_or(declared).min(WORKERS_MAX);
        // Time that is moved from outside is one for all.
        let workers = if options.rhythm.is_some() { NonZeroUsize::MIN } else { asked };
        Ok(Self {
            reader: workspace.store.reader()?,
            workspace: RwLock::new(Arc::new(workspace)),
            clock,
            started_at: SystemClock.now(),
            demo: options.demo,
            secure: options.tls.is_some(),
            pages: options.pages.clone(),
            queue: Queue::new(workers),
            live: broadcast::Sender::new(LIVE_BEHIND_MAX),
            events,
            decisions: recommend::decisions()?,
            set_aside: set_aside::start()?,
            stats: Stats::default(),
            telemetry: options.telemetry.then(Telemetry::new),
            brake: Brake::default(),
            rates: Rates::default(),
            hashing: Semaphore::new(HASHED_AT_ONCE),
            sign_ins: SignIns::default(),
            tickets: Tickets::new()?,
            nobody: auth::hash_of_nobody()?,
            querying: Semaphore::new(QUERIES_AT_ONCE),
            heavy: Heavy::start()?,
            queries: Mutex::default(),
            postgres: crate::postgres::Sessions::default(),
            lists: Lists::default(),
            writing: tokio::sync::Mutex::default(),
            fresh: Fresh::default(),
            next_turn_at: Mutex::default(),
            scheduler: Notify::new(),
            alerts: Notify::new(),
            sender: Notify::new(),
            follower: Notify::new(),
            stop: CancellationToken::new(),
            routes: std::sync::OnceLock::new(),
        })
    }

    /// The workspace with the declarations as they were last read.
    pub(crate) fn workspace(&self) -> Arc<Workspace> {
        Arc::clone(&self.workspace.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes declarations that were read anew.
    pub(crate) fn replace(&self, workspace: Workspace) {
        let mut held = self.workspace.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(workspace);
    }

    /// The machine's time, for sessions and records.
    pub(crate) fn machine_now(&self) -> Timestamp {
        self.workspace().machine.now()
    }

    /// Does blocking work away from the async threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let app = Arc::clone(self);
        task::compute(move || work(&app)).await
    }

    /// Works with the workspace away from the threads that answer requests, so that a heavy question does not
    /// hold up the light ones.
    pub(crate) async fn with<T, F, W>(self: &Arc<Self>, work: W) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
        W: FnOnce(Arc<Workspace>) -> F + Send + 'static,
    {
        let (workspace, handle) = (self.workspace(), Handle::current());
        task::compute(move || handle.block_on(work(workspace))).await
    }

    /// As [`App::with`], behind everything that answers requests: for queries of people, which may be of any size.
    pub(crate) async fn behind<T, F, W>(self: &Arc<Self>, work: W) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
        W: FnOnce(Arc<Workspace>) -> F + Send + 'static,
    {
        let (workspace, handle) = (self.workspace(), self.heavy.handle()?);
        let inside = handle.clone();
        let done = handle.spawn_blocking(move || inside.block_on(work(workspace))).await;
        done.unwrap_or_else(|error| {
            Err(Error::internal("a query stopped unexpectedly").caused_by(error))
        })
    }

    /// Adds to the audit log.
    pub(crate) async fn audit(
        self: &Arc<Self>,
        who: String,
        what: String,
        object: String,
        detail: Value,
    ) -> Result<()> {
        self.blocking(move |app| app.note(&who, &what, &object, &detail)).await
    }

    /// As [`Self::audit`], for a thread that may wait for the disk.
    pub(crate) fn note(&self, who: &str, what: &str, object: &str, detail: &Value) -> Result<()> {
        self.workspace().store.audit(self.machine_now(), who, what, object, detail)
    }

    /// Tells whoever listens.
    pub(crate) fn tell(&self, live: Live) {
        // Nobody listening is no error.
        drop(self.live.send(live));
    }

    /// A turn that was asked for, unless one waits already.
    pub(crate) fn next_turn(&self) -> Option<Timestamp> {
        *self.next_turn_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error for a place that is poisoned or gone.
pub(crate) fn ended(what: &str) -> Error {
    Error::unavailable(format!("{what} has ended")).hint("The server is stopping; start it again.")
}
