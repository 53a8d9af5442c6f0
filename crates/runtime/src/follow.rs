//! Syncs that go on for ever: logs are followed, everything else is read again and again.
//!
//! ```text
//! streams with `read: cdc`, per sync ─► one log, commits every half second ─┐
//! all other streams ──────────────────► read in turn, every so often ───────┴─► until stopped
//! ```
//! Invariants: a system that does not answer, or still holds our last connection for alive, is waited
//! for, and so is a limit that is used up, such as the requests of a day, though longer; any other error
//! sets its own way (the log to one destination, or one stream to it) aside, which is tried again later
//! while the others go on; once every way is set aside, all of it ends; when told to stop, what has come
//! is committed first. A table whose log cannot be followed further stops alone, and the others of its log go on.

pub mod followed;

use std::collections::BTreeMap;
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
use crate::task::changes::{self, Each, Live};
use crate::task::sync::{Landed, Synced, Work, named, one, outcome, works};
use crate::{Workspace, migrate};

/// How long a stream without a log rests before it is read again, unless something else is said.
const EVERY: Duration = Duration::from_secs(10);
/// The first wait for a system that does not answer; it doubles with each further one.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The first wait after a limit was used up, and the longest; it doubles with each further one.
const LIMIT_WAIT: (Duration, Duration) =
    (Duration::from_secs(15 * 60), Duration::from_secs(6 * 60 * 60));

/// The first wait after an error that no waiting mends, such as a table that a destination has lost, and the longest; it
/// doubles with each further one.
const ASIDE_WAIT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60 * 60));

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
    /// It failed with an error that no waiting mends: it is set aside and tried again later, while others go on.
    Aside {
        /// How often that failed in a row.
        attempt: u32,
        /// How long it is waited.
        wait: Duration,
        /// What was said.
        error: String,
    },
    /// Its log cannot be followed further until it is read whole again, while other streams of the log go on.
    Stopped {
        /// What was said.
        error: String,
    },
}

/// A way that was set aside when it was last followed, so that it is not tried again before its time.
#[derive(Clone, Debug)]
pub struct Rest {
    /// How often it had failed in a row.
    pub attempt: u32,
    /// When it is tried again.
    pub due: Instant,
    /// What was said, as a person reads it.
    pub error: String,
}

impl Rest {
    /// What was said, as an error.
    fn to_error(&self) -> Error {
        let text = self.error.strip_prefix("error: ").unwrap_or(&self.error);
        match text.split_once("\nhint: ") {
            Some((message, hint)) => Error::blocked(message).hint(hint),
            None => Error::blocked(text),
        }
    }

    /// How long it still rests.
    fn left(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }
}

/// How syncs are followed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How long a stream without a log rests before it is read again; if absent, what its sync says.
    pub every: Option<Duration>,
    /// What was set aside before, by the names of streams in tasks.
    pub rests: BTreeMap<String, Rest>,
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
    if is_limit(error) {
        LIMIT_WAIT
    } else if error.kind().retryable() {
        (WAIT_MIN, WAIT_MAX)
    } else {
        ASIDE_WAIT
    }
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
    /// The first wait of that sort, and the longest.
    waits: (Duration, Duration),
}

impl Attempts {
    /// Those of what was set aside before.
    fn of(rest: &Rest) -> Self {
        Self { count: rest.attempt, waits: ASIDE_WAIT }
    }

    /// Counts one more; says how many there are, and how long it is waited.
    fn count(&mut self, name: &str, error: &Error) -> (u32, Duration) {
        let waits = limits(error);
        let before = if waits == self.waits { self.count } else { 0 };
        *self = Self { count: before.saturating_add(1), waits };
        (self.count, wait_after(name, self.count, error))
    }
}

/// How many ways go on or are tried just now. Once none does, all of it is over, also for those that would be tried later.
struct Going {
    ways: watch::Sender<Ways>,
}

#[derive(Clone, Copy)]
struct Ways {
    going: usize,
    over: bool,
}

impl Going {
    fn new(going: usize) -> Self {
        Self { ways: watch::Sender::new(Ways { going, over: false }) }
    }

    /// One of them is set aside.
    fn sets_aside(&self) {
        self.ways.send_modify(|ways| {
            ways.going = ways.going.saturating_sub(1);
            ways.over |= ways.going == 0;
        });
    }

    /// One that was set aside is tried again; says whether it may be.
    fn tries(&self) -> bool {
        self.ways.send_if_modified(|ways| {
            if !ways.over {
                ways.going += 1;
            }
            !ways.over
        })
    }

    /// Whether none goes on.
    fn is_over(&self) -> bool {
        self.ways.borrow().over
    }

    /// Ends once none goes on.
    async fn over(&self) {
        // An error says that nobody is left who goes on.
        let _gone = self.ways.subscribe().wait_for(|ways| ways.over).await.is_err();
    }
}

/// Who stops following, and who is told what comes.
pub(crate) struct Watch<'a> {
    stop: watch::Receiver<bool>,
    observer: &'a dyn Observer,
    beats: &'a Beats<'a>,
    going: Going,
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
            biased;
            () = self.stopped() => true,
            () = self.going.over() => true,
            () = tokio::time::sleep(time) => false,
        }
    }

    /// Leaves a way set aside for so long; says whether it is to end.
    async fn rests(&self, time: Duration) -> bool {
        self.wait(time).await || !self.going.tries()
    }
}

/// The names under which the streams of a sync are told of.
#[must_use]
pub fn streams(name: &str, sync: &Sync) -> Vec<String> {
    let to = sync.destination.names().iter();
    to.flat_map(|to| sync.streams.iter().map(move |stream| named(name, stream, to))).collect()
}

/// Follows the syncs `names`, all if none is named, until `stop` becomes true or no way goes on any more; `beats` is told of
/// each stream.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown sync. What stays set aside is among the errors of what is returned
/// once everything has ended, beside what was committed.
pub async fn follow(
    workspace: &Workspace,
    names: &[String],
    options: &Options,
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
    let rest: Vec<Repeated<'_>> = syncs()
        .flat_map(|(name, sync)| {
            let every = every(sync, options);
            works(sync).map(move |work| Repeated { name, sync, work, every })
        })
        .collect();
    let mut logs: Vec<(&String, &Sync, Vec<&Stream>, &String)> = Vec::new();
    for (name, sync) in syncs() {
        let streams: Vec<&Stream> = sync.streams.iter().filter(|s| s.read == Read::Cdc).collect();
        if !streams.is_empty() {
            let to = sync.destination.names().iter();
            logs.extend(to.map(|to| (name, &**sync, streams.clone(), to)));
        }
    }
    let ways = logs.len() + rest.len();
    let of_log = |(name, _, streams, to): &(&String, &Sync, Vec<&Stream>, &String)| {
        // One that waits alone does not keep the others of its log.
        let rests = streams.iter().map(|stream| options.rests.get(&named(name, stream, to)));
        let all: Option<Vec<&Rest>> = rests.collect();
        all.and_then(|all| all.first().copied())
    };
    let resting = logs.iter().filter_map(of_log).count()
        + rest.iter().filter(|one| options.rests.contains_key(&one.work.named(one.name))).count();
    // If nothing else is left, what rests is tried at once.
    let (going, rested) = if resting < ways { (ways - resting, true) } else { (ways, false) };
    let watch = Watch { stop, observer, beats, going: Going::new(going) };
    let live = Live { workspace, run_id: &run_id, watch: &watch };
    let mut timers: Vec<Vec<Timer>> = Vec::new();
    let mut strands: Vec<BoxFuture<'_, Came>> = Vec::new();
    for one in logs {
        let before = of_log(&one).filter(|_| rested);
        let (name, sync, streams, to) = one;
        let names = streams.iter().map(|stream| named(name, stream, to));
        timers.push(names.map(|name| recorder.started("sync", &name)).collect());
        strands.push(log(live, (name, sync), streams, to, before).boxed());
    }
    if !rest.is_empty() {
        let names = rest.iter().map(|one| one.work.named(one.name));
        timers.push(names.map(|name| recorder.started("sync", &name)).collect());
        strands.push(repeat(live, rest, rested.then_some(&options.rests)).boxed());
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

/// How long the streams of a sync that have no log rest before they are read again.
fn every(sync: &Sync, options: &Options) -> Duration {
    let declared = sync
        .read_every
        .map(|every| Duration::from_micros(u64::try_from(every.micros).unwrap_or_default()));
    options.every.or(declared).unwrap_or(EVERY)
}

/// What a strand of work brought until it ended.
#[derive(Default)]
struct Came {
    /// Per stream, with what it failed with.
    landed: Vec<(Landed, Option<String>)>,
    /// What has set streams aside.
    errors: Vec<Error>,
    /// What was waited for when it was told to stop.
    unanswered: Option<Error>,
}

/// Follows the log of one sync to one destination, which rests at first if it was set aside before; what fails is tried again.
async fn log(
    live: Live<'_>,
    (name, sync): (&String, &Sync),
    streams: Vec<&Stream>,
    to: &str,
    rest: Option<&Rest>,
) -> Came {
    let mut each: Vec<Each> = streams.iter().map(|_| Each::default()).collect();
    let rows_out = |each: &[Each]| each.iter().map(|one| one.landed.rows_out).sum::<u64>();
    let names: Vec<String> = streams.iter().map(|stream| named(name, stream, to)).collect();
    let tell = |beat: &Beat| names.iter().for_each(|name| live.watch.beat(name, beat));
    let mut attempts = rest.map_or_else(Attempts::default, Attempts::of);
    // Why it is not followed now, and whether it is set aside for that.
    let mut said: Option<(Error, bool)> = None;
    let mut over = false;
    if let Some(rest) = rest {
        let (attempt, wait) = (rest.attempt, rest.left());
        tell(&Beat::Aside { attempt, wait, error: rest.error.clone() });
        said = Some((rest.to_error(), true));
        over = live.watch.rests(wait).await;
    }
    while !over {
        let before = rows_out(&each);
        let followed = changes::live(live, name, sync, &streams, to, &mut each).boxed();
        let Err(error) = followed.await else {
            said = None;
            break;
        };
        let error = error.context(format!("sync \"{name}\", changes to {to}"));
        live.watch.say(error.report());
        let moved = rows_out(&each) > before;
        if moved {
            attempts = Attempts::default();
        }
        let way = format!("{name} → {to}");
        let (attempt, wait) = attempts.count(&way, &error);
        let report = error.report();
        if is_waited_for(&error) {
            say_limit(live.watch, &format!("sync \"{name}\""), &error, wait);
            tell(&Beat::Waits { attempt, wait, error: report });
            said = Some((error, false));
            over = live.watch.wait(wait).await;
        } else {
            live.watch.going.sets_aside();
            // With the last one everything ends, and its error is told of all.
            if !live.watch.going.is_over() {
                say_aside(live.watch, &way, wait);
                tell(&Beat::Aside { attempt, wait, error: report });
            }
            said = Some((error, true));
            over = live.watch.rests(wait).await;
        }
    }
    let why = said.as_ref().map(|(error, _)| error.report());
    let mut stopped = Vec::new();
    let mut came = Came::default();
    for one in each {
        let of_one = one.stopped.as_ref().map(Error::report);
        came.landed.push((one.landed, of_one.or_else(|| why.clone())));
        stopped.extend(one.stopped);
    }
    match said {
        Some((error, true)) => came.errors.push(error),
        Some((error, false)) => came.unanswered = Some(error),
        None => {}
    }
    // If all have stopped, the first of them is why the way was set aside.
    if came.errors.is_empty() {
        let doing = |error: Error| error.context(format!("sync \"{name}\", changes to {to}"));
        came.errors.extend(stopped.into_iter().map(doing));
    }
    came
}

/// Says that a limit is waited for, and how long.
fn say_limit(watch: &Watch<'_>, what: &str, error: &Error, wait: Duration) {
    if is_limit(error) {
        let minutes = wait.as_secs().div_ceil(60);
        watch.say(format!("{what}: a limit is used up; it is tried again in {minutes} min"));
    }
}

/// Says that a way is set aside, and for how long.
fn say_aside(watch: &Watch<'_>, what: &str, wait: Duration) {
    let seconds = wait.as_secs().max(1);
    watch.say(format!("{what}: it is set aside and tried again in {seconds} s; the others go on"));
}

/// A stream that is read again and again.
struct Repeated<'a> {
    name: &'a str,
    sync: &'a Sync,
    work: Work<'a>,
    /// How long it rests in between.
    every: Duration,
}

/// What has become of a stream that is read again and again.
#[derive(Default)]
struct Standing {
    landed: Landed,
    /// Why it failed when it was last read.
    said: Option<Error>,
    /// Whether it is set aside for that.
    aside: bool,
    /// How often it failed in a row.
    failures: Attempts,
    /// When it is read again; at once, if absent.
    due: Option<Instant>,
}

impl Standing {
    /// How long it still rests.
    fn left(&self) -> Duration {
        self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()))
    }
}

/// Reads the streams in turn, again and again; one that is set aside rests while the others go on.
async fn repeat(
    live: Live<'_>,
    streams: Vec<Repeated<'_>>,
    rests: Option<&BTreeMap<String, Rest>>,
) -> Came {
    let mut standing: Vec<Standing> = Vec::new();
    for stream in &streams {
        let named = stream.work.named(stream.name);
        let Some(rest) = rests.and_then(|rests| rests.get(&named)) else {
            standing.push(Standing::default());
            continue;
        };
        let (attempt, wait) = (rest.attempt, rest.left());
        live.watch.beat(&named, &Beat::Aside { attempt, wait, error: rest.error.clone() });
        standing.push(Standing {
            said: Some(rest.to_error()),
            aside: true,
            failures: Attempts::of(rest),
            due: Some(rest.due),
            ..Standing::default()
        });
    }
    loop {
        for (stream, stands) in streams.iter().zip(&mut standing) {
            if live.watch.is_over() || !stands.left().is_zero() {
                continue;
            }
            if stands.aside && !live.watch.going.tries() {
                continue;
            }
            Box::pin(again(live, stream, stands)).await;
        }
        let next = standing.iter().map(Standing::left).min().unwrap_or_default();
        if live.watch.wait(next).await {
            break;
        }
    }
    let mut came = Came::default();
    for one in standing {
        let why = one.said.as_ref().map(Error::report);
        match one.said {
            Some(error) if one.aside => came.errors.push(error),
            said => came.unanswered = came.unanswered.or(said),
        }
        came.landed.push((one.landed, why));
    }
    came
}

/// Reads a stream once more.
async fn again(live: Live<'_>, stream: &Repeated<'_>, stands: &mut Standing) {
    let Repeated { name, sync, work, every } = stream;
    let (named, began) = (work.named(name), live.workspace.machine.now());
    match one(live.workspace, live.run_id, name, sync, *work).await {
        Ok(came) => {
            for notice in &came.notices {
                live.watch.say(format!("{named}: {notice}"));
            }
            if came.rows_out > 0 {
                live.watch.say(format!("{named}: {} rows in {}", came.rows_out, came.table));
            }
            (stands.failures, stands.said, stands.aside) = (Attempts::default(), None, false);
            stands.due = Some(Instant::now() + *every);
            let committed = came.rows_out > 0;
            live.watch
                .beat(&named, &Beat::Reached { reached: began, rows: came.rows_in, committed });
            stands.landed.add(came);
        }
        Err(error) => {
            let report = error.report();
            live.watch.say(report.clone());
            let (attempt, wait) = stands.failures.count(&named, &error);
            let wait = wait.max(*every);
            stands.due = Some(Instant::now() + wait);
            stands.aside = !is_waited_for(&error);
            if stands.aside {
                live.watch.going.sets_aside();
                if !live.watch.going.is_over() {
                    say_aside(live.watch, &named, wait);
                    live.watch.beat(&named, &Beat::Aside { attempt, wait, error: report });
                }
            } else {
                say_limit(live.watch, &named, &error, wait);
                live.watch.beat(&named, &Beat::Waits { attempt, wait, error: report });
            }
            stands.said = Some(error);
        }
    }
}
