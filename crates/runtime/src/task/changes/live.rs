//! Following a log for ever: commits as often as they pay off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_connect::source::{ChangesRequest, Source};
use flywheel_project::resource::sync::{Stream, Sync};
use flywheel_warehouse::{Commit, Location};
use futures::StreamExt;
use tokio::task::JoinSet;

use super::following::Following;
use super::{Landed, Pass, named, take};
use crate::Workspace;
use crate::follow::{Beat, Watch, wait_after};
use crate::upkeep::{self, Due};

/// How long a change waits at most for its commit into a lake table while commits are cheap.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// The same for tables of another system, where a commit is one small transaction.
const COMMIT_EVERY_OUTSIDE: Duration = Duration::from_millis(100);
/// A commit is followed by this many times its own duration of reading, so that a large table,
/// whose files a merge writes anew, is not merged without a pause.
const REST_SHARE: u32 = 4;
/// Changes that wait are merged in silence not before so many times the duration of the last merge,
const MERGE_SHARE: u32 = 30;
/// and not before this.
const MERGE_REST_MIN: Duration = Duration::from_secs(60);
/// Commits of a table between two looks at its files.
const MAINTAIN_EVERY: u64 = 32;
/// How long nothing comes before the source is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(5);
/// The same for a source whose requests are counted.
const QUIET_COUNTED: Duration = Duration::from_secs(120);
/// How long its answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What following needs besides the sync.
#[derive(Clone, Copy)]
pub(crate) struct Live<'a> {
    /// The project.
    pub(crate) workspace: &'a Workspace,
    /// The run all of it belongs to.
    pub(crate) run_id: &'a str,
    /// Who stops it, and who is told.
    pub(crate) watch: &'a Watch<'a>,
}

/// What comes of one stream that is followed.
#[derive(Debug, Default)]
pub(crate) struct Each {
    /// What it brought.
    pub(crate) landed: Landed,
    /// Why it has stopped while others go on.
    pub(crate) stopped: Option<Error>,
    /// How often in a row it was left waiting.
    attempts: u32,
}

/// Catches up with the log and follows it until told to stop. What comes of each stream is added to `each`, in the order of
/// `streams`. For those that wait until something is mended, the log is opened anew now and then.
///
/// # Errors
/// As [`super::run`]; what was committed before stays. Once all streams have stopped, why the first one has.
pub(crate) async fn live(
    live: Live<'_>,
    name: &str,
    sync: &Sync,
    streams: &[&Stream],
    to: &str,
    each: &mut [Each],
) -> Result<()> {
    let names: Vec<String> = streams.iter().map(|stream| named(name, stream, to)).collect();
    let called = Called { sync: name, streams: &names };
    loop {
        let mut pass = Pass::open(live.workspace, live.run_id, name, sync, streams, to).await?;
        for (table, one) in pass.tables.iter_mut().zip(&*each) {
            table.attempts = one.attempts;
        }
        let ended = Box::pin(pass.caught_up(live, called)).await;
        if ended.is_err() {
            for table in &mut pass.tables {
                table.keep().await;
            }
        }
        for (one, table) in each.iter_mut().zip(pass.tables) {
            one.landed.add(table.landed);
            one.attempts = if table.waits { table.attempts } else { 0 };
            one.stopped = table.stopped;
        }
        if matches!(ended?, Ended::Told) {
            return Ok(());
        }
    }
}

/// Why a pass that follows a log has ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// It was told to stop.
    Told,
    /// It is time to try again what waits.
    Due,
}

/// How what is followed is called.
#[derive(Clone, Copy)]
struct Called<'a> {
    /// The sync.
    sync: &'a str,
    /// Its streams, as in tasks, in the order of the tables.
    streams: &'a [String],
}

impl Pass<'_> {
    /// Why the first table has stopped, once all of them have.
    fn nobody_left(&self) -> Option<Error> {
        let all = self.tables.iter().all(|table| table.stopped.is_some());
        let first = self.tables.iter().find_map(|table| table.stopped.as_ref());
        first.filter(|_| all).map(Error::again)
    }

    /// Catches up with the log and follows it.
    async fn caught_up(&mut self, live: Live<'_>, called: Called<'_>) -> Result<Ended> {
        let began = live.workspace.machine.now();
        self.catch_up().await?;
        self.tell(live, called, Some(began), true);
        match self.nobody_left() {
            Some(error) => Err(error),
            None => Box::pin(self.follow(live, called)).await,
        }
    }

    async fn follow(&mut self, live: Live<'_>, called: Called<'_>) -> Result<Ended> {
        let request = ChangesRequest { follow: true, ..self.request.clone() };
        let source = Arc::clone(&self.source);
        let mut pages = source.changes(&request);
        let lands = self.tables.iter().any(|table| table.location().is_some());
        let mut pace = Pace::new(if lands { COMMIT_EVERY } else { COMMIT_EVERY_OUTSIDE });
        let mut merges = Merges::new();
        loop {
            let due = self.tables.iter().filter_map(|table| table.due).min();
            let next = tokio::select! {
                page = pages.next() => page.map(Some),
                () = pace.due() => Some(None),
                () = until(due) => {
                    self.settle(live, called, &mut pace).await?;
                    return Ok(Ended::Due);
                }
                at = asked(live.workspace, source.as_ref(), &request), if pace.is_idle() => {
                    // Silence of a source that does not answer says nothing of how far it was heard.
                    if at.is_some() {
                        self.tell(live, called, at, false);
                    }
                    let (tables, least) = (self.locations(), merges.due_in_silence());
                    merges.begin(live.workspace, tables, least).await?;
                    continue;
                }
                merged = merges.ended(live.workspace), if merges.is_under_way() => {
                    merged?;
                    continue;
                }
                () = live.watch.stopped() => None,
            };
            match next {
                Some(Some(page)) => {
                    take(called.sync, &mut self.tables, page).await?;
                    pace.waits();
                    if let Some(error) = self.nobody_left() {
                        self.settle(live, called, &mut pace).await?;
                        return Err(error);
                    }
                }
                Some(None) => {
                    self.settle(live, called, &mut pace).await?;
                    if let Some(error) = self.nobody_left() {
                        return Err(error);
                    }
                    let tables = self.locations();
                    merges.begin(live.workspace, tables, Due::Large).await?;
                }
                None => {
                    self.settle(live, called, &mut pace).await?;
                    return Ok(Ended::Told);
                }
            }
        }
    }

    /// The lake tables among those that are followed.
    fn locations(&self) -> Vec<Location> {
        self.tables.iter().filter_map(Following::location).cloned().collect()
    }

    /// Commits what waits, tells of it, and lets the source forget it.
    async fn settle(&mut self, live: Live<'_>, called: Called<'_>, pace: &mut Pace) -> Result<()> {
        let watch = Instant::now();
        let mut changed = false;
        for table in &mut self.tables {
            let settled = match table.settle().await {
                Ok(settled) => settled,
                Err(error) => {
                    table.refuse(error).await?;
                    continue;
                }
            };
            if settled {
                changed = true;
                pace.commits += 1;
                if let Some(at) = table.location()
                    && pace.commits.is_multiple_of(MAINTAIN_EVERY)
                {
                    upkeep::compact(live.workspace, at).await?;
                }
            }
        }
        self.tell(live, called, None, changed);
        self.acknowledge().await?;
        pace.settled(if changed { watch.elapsed() } else { Duration::ZERO });
        Ok(())
    }

    /// Says what was committed since it was last said: up to `reached`, or to the newest change that has come. Of the middle
    /// of a transaction it is not said how far that is.
    fn tell(
        &mut self,
        live: Live<'_>,
        called: Called<'_>,
        reached: Option<Timestamp>,
        committed: bool,
    ) {
        let now = live.workspace.machine.now();
        let whole = self.tables.iter().all(Following::is_between);
        // Of a way on which nobody goes on it is told as a whole.
        let some_go_on = self.nobody_left().is_none();
        let newest = self.tables.iter().filter_map(|table| table.newest).max();
        let reached = reached.unwrap_or_else(|| newest.map_or(now, |newest| newest.min(now)));
        for (table, stream) in self.tables.iter_mut().zip(called.streams) {
            for notice in table.landed.notices.drain(..) {
                live.watch.say(format!("{}, {}: {notice}", called.sync, table.landed.table));
            }
            if some_go_on
                && let Some(error) = &table.stopped
                && !std::mem::replace(&mut table.stop_told, true)
            {
                let again = error.again().context(format!("sync \"{}\"", called.sync));
                let report = again.report();
                live.watch.say(report.clone());
                if table.waits {
                    table.attempts = table.attempts.saturating_add(1);
                    let (attempt, wait) =
                        (table.attempts, wait_after(stream, table.attempts, error));
                    table.due = Some(Instant::now() + wait);
                    live.watch.beat(stream, &Beat::Aside { attempt, wait, error: report });
                } else {
                    live.watch.beat(stream, &Beat::Stopped { error: report });
                }
            }
            let rows = table.landed.rows_in - table.told;
            table.told = table.landed.rows_in;
            if rows > 0 {
                let behind = table.newest.map_or_else(String::new, |newest| {
                    let seconds = (now.micros() - newest.micros()).max(0) as f64 / 1e6;
                    format!(", {seconds:.1} s after the source")
                });
                let (sync, landed) = (called.sync, &table.landed.table);
                live.watch.say(format!("{sync}: {rows} rows in {landed}{behind}"));
            }
            if whole && table.stopped.is_none() {
                let committed = committed && rows > 0;
                live.watch.beat(stream, &Beat::Reached { reached, rows, committed });
            }
        }
    }
}

/// Ends at that moment; never if there is none.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Changes that wait beside files are merged while the log is followed, of one table at a time. It is a task of its own: a
/// merge holds what a commit waits for, so it has to go on while one is made.
struct Merges {
    under_way: JoinSet<(Location, Result<Option<Commit>>)>,
    began: Instant,
    /// Until when silence is no reason to merge.
    rests_until: Instant,
}

impl Merges {
    fn new() -> Self {
        let now = Instant::now();
        Self { under_way: JoinSet::new(), began: now, rests_until: now }
    }

    fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// What is merged while nothing comes: all that waits, unless that was done a moment ago.
    fn due_in_silence(&self) -> Due {
        if Instant::now() >= self.rests_until { Due::Waits } else { Due::Large }
    }

    /// Begins with the first of the tables of which at least as much waits as `least` says.
    async fn begin(
        &mut self,
        workspace: &Workspace,
        tables: Vec<Location>,
        least: Due,
    ) -> Result<()> {
        if self.is_under_way() {
            return Ok(());
        }
        for at in tables {
            if upkeep::changes_due(workspace, &at).await? < least {
                continue;
            }
            let lake = workspace.lake.clone();
            self.began = Instant::now();
            self.under_way.spawn(async move {
                let merged = lake.merge_changes(&at).await;
                (at, merged)
            });
            return Ok(());
        }
        Ok(())
    }

    /// Ends when what is under way does; never if nothing is.
    async fn ended(&mut self, workspace: &Workspace) -> Result<()> {
        let Some(ended) = self.under_way.join_next().await else {
            return std::future::pending().await;
        };
        let rest = MERGE_REST_MIN.max(self.began.elapsed().saturating_mul(MERGE_SHARE));
        self.rests_until = Instant::now() + rest;
        let (at, merged) = ended.map_err(|error| {
            Error::internal("a merge of changes stopped unexpectedly").caused_by(error)
        })?;
        match merged? {
            Some(commit) => upkeep::changes_merged(workspace, &at, &commit),
            None => Ok(()),
        }
    }
}

/// Asks a source that has been silent for a while whether it is there, and ends when it has answered or let too long pass;
/// when it was asked, if it answered. What comes meanwhile goes before.
async fn asked(
    workspace: &Workspace,
    source: &dyn Source,
    request: &ChangesRequest,
) -> Option<Timestamp> {
    let counted = request.streams.iter().any(|one| source.rows_per_request(&one.stream).is_some());
    tokio::time::sleep(if counted { QUIET_COUNTED } else { QUIET }).await;
    let at = workspace.machine.now();
    let answer =
        async { if counted { source.check().await } else { source.lag(request).await.map(drop) } };
    match tokio::time::timeout(ANSWER_MAX, answer).await {
        Ok(Ok(())) => Some(at),
        // It has no room for one connection more, or as many are open as the sync may have: it is not silent for that.
        Ok(Err(error)) if error.kind() == ErrorKind::Exhausted => Some(at),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a followed source is silent, and does not answer");
            None
        }
        Err(_) => {
            tracing::debug!("a followed source is silent, and lets its answer wait");
            None
        }
    }
}

/// When the next commit is due.
struct Pace {
    /// How long a change waits at most while commits are cheap.
    every: Duration,
    due: Option<Instant>,
    /// What the last commit took.
    cost: Duration,
    commits: u64,
}

impl Pace {
    fn new(every: Duration) -> Self {
        Self { every, due: None, cost: Duration::ZERO, commits: 0 }
    }

    /// Whether nothing waits to be committed.
    fn is_idle(&self) -> bool {
        self.due.is_none()
    }

    /// Something waits to be committed.
    fn waits(&mut self) {
        let rest = self.every.max(self.cost.saturating_mul(REST_SHARE));
        self.due.get_or_insert_with(|| Instant::now() + rest);
    }

    /// Ends when what waits is to be committed; never if nothing waits.
    async fn due(&self) {
        match self.due {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }

    fn settled(&mut self, cost: Duration) {
        (self.due, self.cost) = (None, cost);
    }
}
