//! Syncs that go on for ever: logs are followed, everything else is read again and again.
//!
//! ```text
//! streams with `read: cdc`, per sync ─► one log, commits every half second ─┐
//! all other streams ──────────────────► read in turn, every so often ───────┴─► until stopped
//! ```
//! Invariants: a system that does not answer, or still holds our last connection for alive, is waited
//! for, and so is a limit that is used up, such as the requests of a day, though longer; any other error
//! ends its own streams only; when told to stop, what has come is committed first.

pub mod followed;

use std::time::{Duration, Instant};

use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_project::resource::sync::{Read, Stream, Sync};
use flywheel_state::TaskOutcome;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;

use self::followed::backoff;
use crate::quality::Gate;
use crate::recorder::{Event, Observer, Timer};
use crate::run::{chosen, start};
use crate::task::changes::{self, Live};
use crate::task::sync::{Landed, Synced, Work, named, one, outcome, works};
use crate::{Workspace, migrate};

/// How long a stream without a log rests before it is read again, unless something else is said.
pub const EVERY: Duration = Duration::from_secs(10);
/// The first wait for a system that does not answer; it doubles with each further one.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The first wait after a limit was used up, and the longest; it doubles with each further one.
const LIMIT_WAIT: (Duration, Duration) =
    (Duration::from_secs(15 * 60), Duration::from_secs(6 * 60 * 60));

/// What is told of one stream on its way to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Everything is committed that was there at a moment.
    Reached {
        /// The moment.
        reached: Timestamp,
        /// Rows read since the last time.
        rows: u64,
        /// Whether any of them were committed just now.
        committed: bool,
    },
    /// A system does not answer, and is tried again.
    Waits {
        /// How often that failed in a row.
        attempt: u32,
        /// How long it is waited.
        wait: Duration,
        /// What was said.
        error: String,
    },
    /// It ended with an error that trying again does not mend.
    Ended {
        /// The error.
        error: String,
    },
}

/// Is told of each stream, by its name in tasks, as it comes.
pub type Beats<'a> = dyn Fn(&str, &Beat) + Send + std::marker::Sync + 'a;

/// Whether what is followed waits after an error and tries again: a system that does not answer may do so later, and a limit
/// that is used up, of a day's requests, of memory or of a disk, may be free again.
#[must_use]
pub fn is_waited_for(error: &Error) -> bool {
    error.kind().retryable() || is_limit(error)
}

/// Whether a limit is used up, which takes longer than until a system answers.
fn is_limit(error: &Error) -> bool {
    error.kind() == ErrorKind::Exhausted
}

/// The first wait after an error, and the longest.
fn limits(error: &Error) -> (Duration, Duration) {
    if is_limit(error) { LIMIT_WAIT } else { (WAIT_MIN, WAIT_MAX) }
}

/// How long a followed sync waits that could not begin, or that ended, with an error after `attempt` failures in a row.
#[must_use]
pub fn wait_after(name: &str, attempt: u32, error: &Error) -> Duration {
    backoff(name, attempt, limits(error))
}

/// How often something failed in a row, of one sort: what a limit stops is not tried as soon as what does not answer.
#[derive(Default)]
struct Attempts {
    count: u32,
    limited: bool,
}

impl Attempts {
    /// Counts one more; says how many there are, and how long it is waited.
    fn count(&mut self, name: &str, error: &Error) -> (u32, Duration) {
        let limited = is_limit(error);
        let before = if limited == self.limited { self.count } else { 0 };
        *self = Self { count: before.saturating_add(1), limited };
        (self.count, wait_after(name, self.count, error))
    }
}

/// Who stops following, and who is told what comes.
pub(crate) struct Watch<'a> {
    stop: watch::Receiver<bool>,
    observer: &'a dyn Observer,
    beats: &'a Beats<'a>,
}

impl Watch<'_> {
    /// Ends when it is time to stop; a sender that is gone stops, too.
    pub(crate) async fn stopped(&self) {
        // An error says that nobody is left who could ask to go on.
        let _gone = self.stop.clone().wait_for(|stop| *stop).await.is_err();
    }

    /// Whether it is time to stop.
    fn is_over(&self) -> bool {
        *self.stop.borrow()
    }

    /// Tells whoever watches.
    pub(crate) fn say(&self, text: String) {
        self.observer.event(&Event::Notice(text));
    }

    /// Tells of a stream.
    pub(crate) fn beat(&self, stream: &str, beat: &Beat) {
        (self.beats)(stream, beat);
    }

    /// Waits; says whether it is time to stop.
    async fn wait(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => false,
            () = self.stopped() => true,
        }
    }
}

/// The names under which the streams of a sync are told of.
#[must_use]
pub fn streams(name: &str, sync: &Sync) -> Vec<String> {
    let to = sync.destination.names().iter();
    to.flat_map(|to| sync.streams.iter().map(move |stream| named(name, stream, to))).collect()
}

/// Follows the syncs `names`, all if none is named, until `stop` becomes true. Streams without a log
/// are read again after `every`; `beats` is told of each.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown sync. What ended a stream is among the errors of what is returned
/// once everything has ended, beside what was committed.
pub async fn follow(
    workspace: &Workspace,
    names: &[String],
    every: Duration,
    stop: watch::Receiver<bool>,
    observer: &dyn Observer,
    beats: &Beats<'_>,
) -> Result<Synced> {
    let names = chosen(names, workspace.project.syncs.keys(), "sync")?;
    let mut moved: Vec<&str> = Vec::new();
    for name in &names {
        if let Some(why) = migrate::stands_still(workspace, name)? {
            observer.event(&Event::Notice(why));
            moved.push(name);
        }
    }
    let syncs = || {
        let all = workspace.project.syncs.iter();
        all.filter(|(name, _)| names.contains(name) && !moved.contains(&name.as_str()))
    };
    for (name, sync) in syncs() {
        if Gate::closes(&workspace.project, sync)? {
            observer.event(&Event::Notice(format!(
                "sync \"{name}\": rows are seen as they come while it is followed; `flywheel quality run` judges them"
            )));
        }
    }
    let recorder = start(workspace, observer, "sync")?;
    let run_id = recorder.run_id().to_owned();
    let watch = Watch { stop, observer, beats };
    let live = Live { workspace, run_id: &run_id, watch: &watch };
    let mut timers: Vec<Vec<Timer>> = Vec::new();
    let mut strands: Vec<BoxFuture<'_, Came>> = Vec::new();
    for (name, sync) in syncs() {
        let streams: Vec<&Stream> = sync.streams.iter().filter(|s| s.read == Read::Cdc).collect();
        let logs = if streams.is_empty() { &[] } else { sync.destination.names() };
        for to in logs {
            let names = streams.iter().map(|stream| named(name, stream, to));
            timers.push(names.map(|name| recorder.started("sync", &name)).collect());
            strands.push(log(live, name, sync, streams.clone(), to).boxed());
        }
    }
    let rest: Vec<Repeated<'_>> = syncs()
        .flat_map(|(name, sync)| works(sync).map(move |work| Repeated { name, sync, work }))
        .collect();
    if !rest.is_empty() {
        let names = rest.iter().map(|one| one.work.named(one.name));
        timers.push(names.map(|name| recorder.started("sync", &name)).collect());
        strands.push(repeat(live, rest, every).boxed());
    }
    let mut all = Synced::default();
    let mut unanswered = None;
    for (came, timers) in join_all(strands).await.into_iter().zip(timers) {
        for ((landed, why), timer) in came.landed.into_iter().zip(timers) {
            let status = if why.is_some() { "failed" } else { "succeeded" };
            recorder.ended(timer, status, TaskOutcome { error: why, ..outcome(&landed) });
            // One that never came to its table has nothing to show.
            if !landed.table.is_empty() {
                all.landed.push(landed);
            }
        }
        all.errors.extend(came.errors);
        unanswered = unanswered.or(came.unanswered);
    }
    // Whoever stopped it did nothing wrong, and yet it was not up to date.
    recorder.finish(all.errors.first().or(unanswered.as_ref()))?;
    Ok(all)
}

/// What a strand of work brought until it ended.
struct Came {
    /// Per stream, with what ended it.
    landed: Vec<(Landed, Option<String>)>,
    /// What ended streams.
    errors: Vec<Error>,
    /// What was waited for when it was told to stop.
    unanswered: Option<Error>,
}

/// Follows the log of one sync; a system that does not answer is tried again.
async fn log(live: Live<'_>, name: &str, sync: &Sync, streams: Vec<&Stream>, to: &str) -> Came {
    let mut landed = vec![Landed::default(); streams.len()];
    let names: Vec<String> = streams.iter().map(|stream| named(name, stream, to)).collect();
    let tell = |beat: &Beat| names.iter().for_each(|name| live.watch.beat(name, beat));
    let mut attempts = Attempts::default();
    let (error, unanswered) = loop {
        let before: u64 = landed.iter().map(|one| one.rows_in).sum();
        let Err(error) = Box::pin(changes::live(live, name, sync, &streams, to, &mut landed)).await
        else {
            break (None, None);
        };
        let error = error.context(format!("sync \"{name}\", changes to {to}"));
        live.watch.say(error.report());
        if !is_waited_for(&error) {
            tell(&Beat::Ended { error: error.report() });
            break (Some(error), None);
        }
        let moved = landed.iter().map(|one| one.rows_in).sum::<u64>() > before;
        if moved {
            attempts = Attempts::default();
        }
        let (attempt, wait) = attempts.count(&format!("{name} → {to}"), &error);
        say_limit(live.watch, &format!("sync \"{name}\""), &error, wait);
        tell(&Beat::Waits { attempt, wait, error: error.report() });
        if live.watch.wait(wait).await {
            break (None, Some(error));
        }
    };
    let why = error.as_ref().or(unanswered.as_ref()).map(Error::report);
    let landed = landed.into_iter().map(|one| (one, why.clone())).collect();
    Came { landed, errors: error.into_iter().collect(), unanswered }
}

/// Says that a limit is waited for, and how long.
fn say_limit(watch: &Watch<'_>, what: &str, error: &Error, wait: Duration) {
    if is_limit(error) {
        let minutes = wait.as_secs().div_ceil(60);
        watch.say(format!("{what}: a limit is used up; it is tried again in {minutes} min"));
    }
}

/// A stream that is read again and again.
struct Repeated<'a> {
    name: &'a str,
    sync: &'a Sync,
    work: Work<'a>,
}

/// What has become of a stream that is read again and again.
#[derive(Default)]
struct Standing {
    landed: Landed,
    /// What ended it.
    why: Option<String>,
    /// How often its system did not answer in a row.
    failures: Attempts,
    /// When it is asked again, after it did not answer, and what was said.
    due: Option<(Instant, Error)>,
}

impl Standing {
    /// Whether it is to be read now.
    fn is_due(&self) -> bool {
        self.why.is_none() && self.due.as_ref().is_none_or(|(due, _)| *due <= Instant::now())
    }
}

/// Reads the streams in turn, again and again; one that fails for good is left out from then on.
async fn repeat(live: Live<'_>, streams: Vec<Repeated<'_>>, every: Duration) -> Came {
    let mut standing: Vec<Standing> = streams.iter().map(|_| Standing::default()).collect();
    let mut errors = Vec::new();
    loop {
        for (stream, stands) in streams.iter().zip(&mut standing) {
            if live.watch.is_over() || !stands.is_due() {
                continue;
            }
            errors.extend(Box::pin(again(live, stream, every, stands)).await);
        }
        let over = standing.iter().all(|one| one.why.is_some());
        if over || live.watch.wait(every).await {
            let mut unanswered = None;
            let mut ended = |one: Standing| {
                let said = one.due.map(|(_, error)| error);
                let why = one.why.or_else(|| said.as_ref().map(Error::report));
                unanswered = unanswered.take().or(said);
                (one.landed, why)
            };
            let landed = standing.into_iter().map(&mut ended).collect();
            return Came { landed, errors, unanswered };
        }
    }
}

/// Reads a stream once more; the error that ends it.
async fn again(
    live: Live<'_>,
    stream: &Repeated<'_>,
    every: Duration,
    stands: &mut Standing,
) -> Option<Error> {
    let Repeated { name, sync, work } = stream;
    let (named, began) = (work.named(name), live.workspace.machine.now());
    match one(live.workspace, live.run_id, name, sync, *work).await {
        Ok(came) => {
            for notice in &came.notices {
                live.watch.say(format!("{named}: {notice}"));
            }
            if came.rows_out > 0 {
                live.watch.say(format!("{named}: {} rows in {}", came.rows_out, came.table));
            }
            (stands.failures, stands.due) = (Attempts::default(), None);
            let committed = came.rows_out > 0;
            live.watch
                .beat(&named, &Beat::Reached { reached: began, rows: came.rows_in, committed });
            stands.landed.add(came);
            None
        }
        Err(error) => {
            let report = error.report();
            live.watch.say(report.clone());
            if !is_waited_for(&error) {
                live.watch.beat(&named, &Beat::Ended { error: report.clone() });
                stands.why = Some(report);
                return Some(error);
            }
            let (attempt, wait) = stands.failures.count(&named, &error);
            let wait = wait.max(every);
            say_limit(live.watch, &named, &error, wait);
            stands.due = Some((Instant::now() + wait, error));
            live.watch.beat(&named, &Beat::Waits { attempt, wait, error: report });
            None
        }
    }
}
