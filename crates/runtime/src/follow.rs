//! Syncs that go on for ever: logs are followed, everything else is read again and again.
//!
//! ```text
//! streams with `read: cdc`, per sync ─► one log, commits every half second ─┐
//! all other streams ──────────────────► read in turn, every so often ───────┴─► until stopped
//! ```
//! Invariants: a system that does not answer, or still holds our last connection for alive, is waited
//! for; any other error ends its own streams only; when told to stop, what has come is committed first.

use std::time::Duration;

use flywheel_base::{Error, Result};
use flywheel_project::resource::sync::{Read, Stream, Sync};
use flywheel_state::TaskOutcome;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;

use crate::quality::Gate;
use crate::recorder::{Event, Observer, Timer};
use crate::run::{chosen, start};
use crate::task::changes::{self, Live};
use crate::task::sync::{Landed, Synced, Work, named, one, outcome, works};
use crate::{Workspace, migrate};

/// The first wait for a system that does not answer; it doubles with each further one.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Who stops following, and who is told what comes.
pub(crate) struct Watch<'a> {
    stop: watch::Receiver<bool>,
    observer: &'a dyn Observer,
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

    /// Waits; says whether it is time to stop.
    async fn wait(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => false,
            () = self.stopped() => true,
        }
    }
}

/// Follows the syncs `names`, all if none is named, until `stop` becomes true. Streams without a log
/// are read again after `every`.
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
    let watch = Watch { stop, observer };
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
    }
    recorder.finish(all.errors.first())?;
    Ok(all)
}

/// What a strand of work brought until it ended.
struct Came {
    /// Per stream, with what ended it.
    landed: Vec<(Landed, Option<String>)>,
    /// What ended streams.
    errors: Vec<Error>,
}

/// Follows the log of one sync; a system that does not answer is tried again.
async fn log(live: Live<'_>, name: &str, sync: &Sync, streams: Vec<&Stream>, to: &str) -> Came {
    let mut landed = vec![Landed::default(); streams.len()];
    let mut wait = WAIT_MIN;
    let error = loop {
        let before: u64 = landed.iter().map(|one| one.rows_in).sum();
        let Err(error) = Box::pin(changes::live(live, name, sync, &streams, to, &mut landed)).await
        else {
            break None;
        };
        let error = error.context(format!("sync \"{name}\", changes to {to}"));
        live.watch.say(error.report());
        if !error.kind().retryable() {
            break Some(error);
        }
        let moved = landed.iter().map(|one| one.rows_in).sum::<u64>() > before;
        wait = if moved { WAIT_MIN } else { wait };
        if live.watch.wait(wait).await {
            break None;
        }
        wait = (wait * 2).min(WAIT_MAX);
    };
    let why = error.as_ref().map(Error::report);
    let landed = landed.into_iter().map(|one| (one, why.clone())).collect();
    Came { landed, errors: error.into_iter().collect() }
}

/// A stream that is read again and again.
struct Repeated<'a> {
    name: &'a str,
    sync: &'a Sync,
    work: Work<'a>,
}

/// Reads the streams in turn, again and again; one that fails for good is left out from then on.
async fn repeat(live: Live<'_>, streams: Vec<Repeated<'_>>, every: Duration) -> Came {
    let mut landed: Vec<(Landed, Option<String>)> = vec![Default::default(); streams.len()];
    let mut errors = Vec::new();
    loop {
        for (stream, (sum, why)) in streams.iter().zip(&mut landed) {
            if why.is_some() || live.watch.is_over() {
                continue;
            }
            let Repeated { name, sync, work } = stream;
            match one(live.workspace, live.run_id, name, sync, *work).await {
                Ok(came) => {
                    let named = work.named(name);
                    for notice in &came.notices {
                        live.watch.say(format!("{named}: {notice}"));
                    }
                    if came.rows_out > 0 {
                        live.watch
                            .say(format!("{named}: {} rows in {}", came.rows_out, came.table));
                    }
                    sum.add(came);
                }
                Err(error) => {
                    live.watch.say(error.report());
                    if !error.kind().retryable() {
                        *why = Some(error.report());
                        errors.push(error);
                    }
                }
            }
        }
        let over = landed.iter().all(|(_, why)| why.is_some());
        if over || live.watch.wait(every).await {
            return Came { landed, errors };
        }
    }
}
