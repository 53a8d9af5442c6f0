//! Following a log for ever: commits as often as they pay off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flywheel_base::Result;
use flywheel_connect::source::ChangesRequest;
use flywheel_project::resource::sync::{Stream, Sync};
use futures::StreamExt;

use super::{Landed, Pass, take};
use crate::Workspace;
use crate::follow::Watch;
use crate::upkeep;

/// How long a change waits at most for its commit into a lake table while commits are cheap.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// The same for tables of another system, where a commit is one small transaction.
const COMMIT_EVERY_OUTSIDE: Duration = Duration::from_millis(100);
/// A commit is followed by this many times its own duration of reading, so that a large table,
/// whose files a merge writes anew, is not merged without a pause.
const REST_SHARE: u32 = 4;
/// Commits of a table between two looks at its files.
const MAINTAIN_EVERY: u64 = 32;

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

/// Catches up with the log and follows it until told to stop. What each stream brought is added to
/// `landed`, in the order of `streams`.
///
/// # Errors
/// As [`super::run`]; what was committed before stays.
pub(crate) async fn live(
    live: Live<'_>,
    name: &str,
    sync: &Sync,
    streams: &[&Stream],
    to: &str,
    landed: &mut [Landed],
) -> Result<()> {
    let mut pass = Pass::open(live.workspace, live.run_id, name, sync, streams, to).await?;
    let mut result = pass.catch_up().await;
    if result.is_ok() {
        pass.tell(live, name);
        result = pass.follow(live, name).await;
        if result.is_err() {
            for table in &mut pass.tables {
                table.keep().await;
            }
        }
    }
    for (sum, table) in landed.iter_mut().zip(pass.tables) {
        sum.add(table.landed);
    }
    result
}

impl Pass<'_> {
    async fn follow(&mut self, live: Live<'_>, name: &str) -> Result<()> {
        let request = ChangesRequest { follow: true, ..self.request.clone() };
        let source = Arc::clone(&self.source);
        let mut pages = source.changes(&request);
        let lands = self.tables.iter().any(|table| table.location().is_some());
        let mut pace = Pace::new(if lands { COMMIT_EVERY } else { COMMIT_EVERY_OUTSIDE });
        loop {
            let next = tokio::select! {
                page = pages.next() => page.map(Some),
                () = pace.due() => Some(None),
                () = live.watch.stopped() => None,
            };
            match next {
                Some(Some(page)) => {
                    take(name, &mut self.tables, page).await?;
                    pace.waits();
                }
                Some(None) => self.settle(live, name, &mut pace).await?,
                None => return self.settle(live, name, &mut pace).await,
            }
        }
    }

    /// Commits what waits, tells of it, and lets the source forget it.
    async fn settle(&mut self, live: Live<'_>, name: &str, pace: &mut Pace) -> Result<()> {
        let watch = Instant::now();
        let mut changed = false;
        for table in &mut self.tables {
            if table.settle().await? {
                changed = true;
                pace.commits += 1;
                if let Some(at) = table.location()
                    && pace.commits.is_multiple_of(MAINTAIN_EVERY)
                {
                    upkeep::compact(live.workspace, at).await?;
                }
            }
        }
        self.tell(live, name);
        self.acknowledge().await?;
        pace.settled(if changed { watch.elapsed() } else { Duration::ZERO });
        Ok(())
    }

    /// Says what was committed since it was last said.
    fn tell(&mut self, live: Live<'_>, name: &str) {
        let now = live.workspace.machine.now();
        for table in &mut self.tables {
            for notice in table.landed.notices.drain(..) {
                live.watch.say(format!("{name}, {}: {notice}", table.landed.table));
            }
            let rows = table.landed.rows_in - table.told;
            table.told = table.landed.rows_in;
            if rows > 0 {
                let behind = table.newest.map_or_else(String::new, |newest| {
                    let seconds = (now.micros() - newest.micros()).max(0) as f64 / 1e6;
                    format!(", {seconds:.1} s after the source")
                });
                live.watch.say(format!("{name}: {rows} rows in {}{behind}", table.landed.table));
            }
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
