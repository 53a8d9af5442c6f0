//! How far behind its source each stream is.

use std::collections::BTreeMap;

use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_connect::Position;
use flywheel_connect::source::{ChangesRequest, Lag};
use flywheel_project::resource::sync::{LAKE, Read, Stream, Sync};
use flywheel_state::Task;
use serde::Serialize;

use crate::Workspace;
use crate::follow::followed;
use crate::mapping::mapping;
use crate::run::chosen;
use crate::task::changes::reader;
use crate::task::deliver::{open, write_request};
use crate::task::sync::{destination, location_of, named, read_request, source};

/// `read` of a stream that is read whole each time.
const FULL: &str = "full";

/// How far one stream is behind on its way to one destination.
#[derive(Clone, Debug, Serialize)]
pub struct StreamLag {
    /// The sync, the stream and, if it is not the lake, the destination.
    pub name: String,
    /// `full`, `incremental` or `cdc`.
    pub read: String,
    /// What there is between its position and now, if the source can tell.
    pub behind: Option<u64>,
    /// Of what.
    pub unit: Option<String>,
    /// When it last came to its end without an error; of one that a server follows, up to when it is committed.
    pub last_at: Option<String>,
    /// Seconds since then.
    pub age_s: Option<f64>,
    /// Why its last run failed; none if it did not. What is behind is then told of a place that it may not get on from.
    pub failure: Option<String>,
    /// Why it cannot be told.
    pub error: Option<String>,
}

impl StreamLag {
    /// Whether something waits in the source. Where the source cannot tell, everything waits until the stream has come
    /// to its end once; a stream that is read whole has no place to be behind of.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let never = self.read != FULL && self.last_at.is_none() && self.error.is_none();
        self.behind.map_or(never, |behind| behind > 0)
    }
}

/// Asks the sources of the syncs `names`, all if none is named.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown sync, else those of the metadata; a source
/// that does not answer is told of in its streams.
pub async fn lag(workspace: &Workspace, names: &[String]) -> Result<Vec<StreamLag>> {
    let names = chosen(names, workspace.project.syncs.keys(), "sync")?;
    let mut all = Vec::new();
    let mut asking = Asking { away: Away::new(), reached: followed::reached(workspace)? };
    for (name, sync) in &workspace.project.syncs {
        if names.contains(name) {
            for to in sync.destination.names() {
                of_sync(workspace, name, sync, to, &mut asking, &mut all).await?;
            }
        }
    }
    Ok(all)
}

/// When each stream of each sync last came to its end without an error, by its name as in [`StreamLag`], or up to when it is
/// committed if a server follows it; no source is asked.
///
/// # Errors
/// Those of the metadata.
pub fn last_successes(workspace: &Workspace) -> Result<Vec<LastSuccess>> {
    let mut all = Vec::new();
    let reached = followed::reached(workspace)?;
    for (sync, declared) in &workspace.project.syncs {
        for to in declared.destination.names() {
            for stream in &declared.streams {
                let stream = named(sync, stream, to);
                let at = workspace.store.last_success("sync", &stream)?;
                let at = at.max(reached.get(&stream).copied());
                all.push(LastSuccess { sync: sync.clone(), stream, at });
            }
        }
    }
    Ok(all)
}

/// When a stream last came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSuccess {
    /// The sync.
    pub sync: String,
    /// The sync, the stream and, if it is not the lake, the destination.
    pub stream: String,
    /// When it last came to its end without an error; none if it never did.
    pub at: Option<Timestamp>,
}

/// Connections that did not answer, and what was said: they are not waited for again.
type Away = BTreeMap<String, String>;

/// What is known while all streams are asked about.
struct Asking {
    away: Away,
    /// Up to when streams are committed that are followed.
    reached: BTreeMap<String, Timestamp>,
}

async fn of_sync(
    workspace: &Workspace,
    name: &str,
    sync: &Sync,
    to: &str,
    asking: &mut Asking,
    all: &mut Vec<StreamLag>,
) -> Result<()> {
    for stream in &sync.streams {
        let task = named(name, stream, to);
        let last_at = workspace.store.last_success("sync", &task)?;
        let reached = asking.reached.get(&task).copied();
        let last_at = last_at.max(reached);
        let tasks = workspace.store.tasks_named("sync", &task, TASKS_LOOKED_AT)?;
        let now = workspace.machine.now();
        let mut one = StreamLag {
            name: task.clone(),
            read: match stream.read {
                Read::Full => FULL,
                Read::Incremental => "incremental",
                Read::Cdc => "cdc",
            }
            .to_owned(),
            behind: None,
            unit: None,
            last_at: last_at.map(|at| at.to_string()),
            age_s: last_at.map(|at| (now.micros() - at.micros()).max(0) as f64 / 1e6),
            // One that is followed and has come further since has got over it.
            failure: failure(&tasks).filter(|_| reached.is_none() || reached <= newest_end(&tasks)),
            error: None,
        };
        if stream.read != Read::Full {
            match ask_once(workspace, name, sync, stream, to, &mut asking.away).await {
                Ok(Some(lag)) => {
                    (one.behind, one.unit) = (Some(lag.behind), Some(lag.unit.to_owned()));
                }
                Ok(None) => {}
                Err(error) => one.error = Some(error),
            }
        }
        all.push(one);
    }
    Ok(())
}

/// How many of a stream's newest tasks are looked at for one that came to an end.
const TASKS_LOOKED_AT: u32 = 20;

/// When the newest task ended, the newest first.
fn newest_end(tasks: &[Task]) -> Option<Timestamp> {
    let task = tasks.first()?;
    let took_us = task.duration_ms.unwrap_or_default() * 1e3;
    Some(task.started_at.plus_micros(took_us as i64))
}

/// Why the newest task that came to an end failed, the newest first; one that runs or was passed over says nothing.
fn failure(tasks: &[Task]) -> Option<String> {
    let ended = |task: &&Task| !matches!(task.status.as_str(), "running" | "skipped");
    let last = tasks.iter().find(ended).filter(|task| task.status == "failed")?;
    Some(last.outcome.error.clone().unwrap_or_else(|| "it does not say why".to_owned()))
}

/// Asks destination and source for one stream, each unless it is away.
async fn ask_once(
    workspace: &Workspace,
    name: &str,
    sync: &Sync,
    stream: &Stream,
    to: &str,
    away: &mut Away,
) -> Result<Option<Lag>, String> {
    let asked = [to, sync.connection.as_str()];
    if let Some(error) = asked.into_iter().find_map(|one| away.get(one)) {
        return Err(error.clone());
    }
    let mut told = |connection: &str, error: Error| {
        let text = error.to_string();
        if error.kind() == ErrorKind::Unavailable {
            let again = format!("\"{connection}\" has not answered before: {text}");
            away.insert(connection.to_owned(), again);
        }
        text
    };
    let from = position(workspace, name, sync, stream, to).await;
    let from = from.map_err(|error| told(to, error))?;
    let asked = ask(workspace, name, sync, stream, to, from).await;
    asked.map_err(|error| told(&sync.connection, error))
}

async fn ask(
    workspace: &Workspace,
    name: &str,
    sync: &Sync,
    stream: &Stream,
    to: &str,
    from: Option<Position>,
) -> Result<Option<Lag>> {
    let mapping = mapping(workspace, sync, stream)?;
    let request = ChangesRequest {
        name: reader(&workspace.project.file.name, name, to),
        streams: vec![read_request(workspace, stream, &mapping, from)?],
        follow: false,
    };
    let lags = source(workspace, sync, stream).await?.lag(&request).await?;
    Ok(lags.into_iter().next().flatten())
}

/// Where the stream stands in its destination, which is only asked.
async fn position(
    workspace: &Workspace,
    name: &str,
    sync: &Sync,
    stream: &Stream,
    to: &str,
) -> Result<Option<Position>> {
    let (app, sequence, position) = if to == LAKE {
        let app = format!("sync/{name}/{}", stream.stream);
        let head = workspace.lake.head(&location_of(&destination(stream)?)?).await?;
        let Some(last) = head.and_then(|head| head.checkpoints.get(&app).cloned()) else {
            return Ok(None);
        };
        (app, last.sequence, Position(last.position))
    } else {
        let (_, target) = open(workspace, to)?;
        let progress = target.progress(&write_request(workspace, name, sync, stream, to)?).await?;
        let Some(last) = progress.committed else { return Ok(None) };
        (format!("sync/{name}/{} → {to}", stream.stream), last.sequence, last.position)
    };
    let idle = workspace.store.idle_position(&app, sequence)?;
    Ok(Some(idle.map_or(position, Position)))
}

#[cfg(test)]
mod tests {
    use flywheel_base::Timestamp;
    use flywheel_state::{Task, TaskOutcome};

    use super::{StreamLag, failure};

    #[test]
    fn the_last_run_that_ended_says_whether_it_failed() {
        let task = |status: &str| Task {
            run_id: "r".to_owned(),
            position: 0,
            kind: "sync".to_owned(),
            name: "till.orders".to_owned(),
            status: status.to_owned(),
            started_at: Timestamp::from_micros(0),
            duration_ms: None,
            outcome: TaskOutcome {
                error: Some("the log is lost".to_owned()),
                ..Default::default()
            },
        };
        let last = |statuses: &[&str]| {
            failure(&statuses.iter().map(|status| task(status)).collect::<Vec<_>>())
        };
        let lost = Some("the log is lost".to_owned());
        assert_eq!(last(&["failed", "succeeded"]), lost);
        assert_eq!(last(&["running", "skipped", "failed"]), lost);
        assert_eq!(last(&["succeeded", "failed"]), None);
        assert_eq!(last(&["warned", "failed"]), None);
        assert_eq!(last(&[]), None);
    }

    #[test]
    fn what_never_landed_is_behind() {
        let lag = |read: &str, behind: Option<u64>, landed: bool, error: Option<&str>| StreamLag {
            name: "till.orders".to_owned(),
            read: read.to_owned(),
            behind,
            unit: None,
            last_at: landed.then(|| "2024-05-01T00:00:00Z".to_owned()),
            age_s: None,
            failure: None,
            error: error.map(str::to_owned),
        };
        for (one, expected) in [
            (lag("incremental", Some(3), true, None), true),
            (lag("incremental", Some(0), true, None), false),
            (lag("incremental", Some(0), false, None), false),
            (lag("cdc", None, false, None), true),
            (lag("cdc", None, true, None), false),
            (lag("full", None, false, None), false),
            (lag("cdc", None, false, Some("no answer")), false),
        ] {
            assert_eq!(one.is_behind(), expected, "{one:?}");
        }
    }
}
