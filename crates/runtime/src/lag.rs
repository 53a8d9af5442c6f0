//! How far behind its source each stream is.

use flywheel_base::Result;
use flywheel_connect::Position;
use flywheel_connect::source::{ChangesRequest, Lag};
use flywheel_project::resource::sync::{LAKE, Read, Stream, Sync};
use serde::Serialize;

use crate::Workspace;
use crate::mapping::mapping;
use crate::run::chosen;
use crate::task::changes::reader;
use crate::task::deliver::{open, write_request};
use crate::task::sync::{destination, location_of, named, read_request, source};

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
    /// When it last came to its end without an error.
    pub last_at: Option<String>,
    /// Seconds since then.
    pub age_s: Option<f64>,
    /// Why it cannot be told.
    pub error: Option<String>,
}

/// Asks the sources of the syncs `names`, all if none is named.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown sync, else those of the metadata; a source
/// that does not answer is told of in its streams.
pub async fn lag(workspace: &Workspace, names: &[String]) -> Result<Vec<StreamLag>> {
    let names = chosen(names, workspace.project.syncs.keys(), "sync")?;
    let mut all = Vec::new();
    for (name, sync) in &workspace.project.syncs {
        if names.contains(name) {
            for to in sync.destination.names() {
                of_sync(workspace, name, sync, to, &mut all).await?;
            }
        }
    }
    Ok(all)
}

async fn of_sync(
    workspace: &Workspace,
    name: &str,
    sync: &Sync,
    to: &str,
    all: &mut Vec<StreamLag>,
) -> Result<()> {
    for stream in &sync.streams {
        let task = named(name, stream, to);
        let last_at = workspace.store.last_success("sync", &task)?;
        let now = workspace.machine.now();
        let mut one = StreamLag {
            name: task,
            read: match stream.read {
                Read::Full => "full",
                Read::Incremental => "incremental",
                Read::Cdc => "cdc",
            }
            .to_owned(),
            behind: None,
            unit: None,
            last_at: last_at.map(|at| at.to_string()),
            age_s: last_at.map(|at| (now.micros() - at.micros()).max(0) as f64 / 1e6),
            error: None,
        };
        if stream.read != Read::Full {
            match ask(workspace, name, sync, stream, to).await {
                Ok(Some(lag)) => {
                    (one.behind, one.unit) = (Some(lag.behind), Some(lag.unit.to_owned()));
                }
                Ok(None) => {}
                Err(error) => one.error = Some(error.to_string()),
            }
        }
        all.push(one);
    }
    Ok(())
}

async fn ask(
    workspace: &Workspace,
    name: &str,
    sync: &Sync,
    stream: &Stream,
    to: &str,
) -> Result<Option<Lag>> {
    let Some(from) = position(workspace, name, sync, stream, to).await? else { return Ok(None) };
    let mapping = mapping(workspace, sync, stream)?;
    let request = ChangesRequest {
        name: reader(&workspace.project.file.name, name, to),
        streams: vec![read_request(stream, &mapping, Some(from), workspace.now())],
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
        let progress = target.progress(&write_request(workspace, name, sync, stream, to)).await?;
        let Some(last) = progress.committed else { return Ok(None) };
        (format!("sync/{name}/{} → {to}", stream.stream), last.sequence, last.position)
    };
    let idle = workspace.store.idle_position(&app, sequence)?;
    Ok(Some(idle.map_or(position, Position)))
}
