//! Reads that were cut off: what they had brought into the lake stays, and the next attempt goes on behind it.
//!
//! ```text
//! pages ─► load ─► data files ─── every minute, or when a file is full: park (files, position, counts)
//!                                     │ kill, or the source went away
//!                                     ▼
//! next run of the same stream: the load takes the files over, the source reads from that position on
//! ```
//! Nothing is published before the read is complete. Only reads whose rows are appended or replace all others go on: a
//! merge has to see every row. Nor does a read go on behind rows that were set aside, for those are noted at its end.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use flywheel_base::{Error, ErrorKind, Result, digest};
use flywheel_connect::source::ReadRequest;
use flywheel_connect::{Position, Source};
use flywheel_project::resource::sync::{Read, Stream, Sync};
use flywheel_warehouse::{Load, Reading, WriteMode};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sync::{Job, Landed, Tally, load_all};
use crate::Workspace;
use crate::erase::Suppression;

/// How often rows become durable on their way, unless the sync says otherwise.
const EVERY: Duration = Duration::from_secs(60);

/// Sources that may number their pages: rows that came or went meanwhile would be read twice, or not at all.
const BY_PAGES: &[&str] = &["rest"];

/// Sources of which the same holds for a full read, or whose program may not look at where it shall go on then.
const ONLY_INCREMENTAL: &[&str] = &["hubspot", "singer", "airbyte", "program"];

/// How far a read had come.
#[derive(Debug, Deserialize, Serialize)]
struct Reached {
    position: Value,
    rows: u64,
    filtered: u64,
}

/// What a load keeps of how far the read behind its rows had come; none if no read can go on there.
pub(super) fn reached(read: Read, position: &Position, rows: u64, filtered: u64) -> Option<Value> {
    leads_on(read, position)
        .then(|| json!(Reached { position: position.0.clone(), rows, filtered }))
}

/// Whether the rest of the read lies behind the position: not behind null, which a source says that cannot go on there; nor
/// behind the end, from where a full read begins anew; nor behind a number of rows in no order, as where there is no key.
fn leads_on(read: Read, Position(position): &Position) -> bool {
    let complete = position.get("complete").and_then(Value::as_bool) == Some(true);
    let ended = complete && read == Read::Full;
    let unordered = position.get("order").and_then(Value::as_array).is_some_and(Vec::is_empty);
    !position.is_null() && !ended && !unordered
}

/// Whether a read may go by numbered pages, which say nothing of the rows on them once time has passed.
fn by_pages(connector: &str, read: Read) -> bool {
    BY_PAGES.contains(&connector) || (read == Read::Full && ONLY_INCREMENTAL.contains(&connector))
}

/// Whether a read of a stream can go on from where `request` says, behind rows that an attempt that was cut off had kept.
///
/// # Errors
/// Those of the source, which has to be asked, that say nothing of this place.
pub(super) async fn leads_on_still(
    source: &dyn Source,
    connector: &str,
    read: Read,
    request: &ReadRequest,
) -> Result<bool> {
    let Some(from) = &request.from else { return Ok(true) };
    if !leads_on(read, from) || by_pages(connector, read) {
        return Ok(false);
    }
    if !is_as_read(source, read, request).await? {
        return Ok(false);
    }
    // Its first page says whether the source knows the place at all: a key may be another one since, a topic made anew.
    match source.read(request).next().await {
        Some(Err(error)) if is_about_the_place(&error) => Ok(false),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Ok(true),
    }
}

/// Whether an error says that a read cannot go on there. One that may pass, or that credentials bring, says nothing of it,
/// and what was kept stays.
fn is_about_the_place(error: &Error) -> bool {
    use ErrorKind::{Blocked, Corrupt, Invalid, NotFound};
    matches!(error.kind(), Invalid | NotFound | Corrupt | Blocked)
}

/// As [`Source::is_as_read`] for full reads; the rows of others are told apart by what they go by.
async fn is_as_read(source: &dyn Source, read: Read, request: &ReadRequest) -> Result<bool> {
    if read != Read::Full {
        return Ok(true);
    }
    match source.is_as_read(request).await {
        Err(error) if is_about_the_place(&error) => Ok(false),
        stands => stands,
    }
}

/// When rows become durable.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    last: Instant,
}

impl Pace {
    pub(super) fn of(sync: &Sync) -> Self {
        let every = sync.checkpoint_every.map_or(EVERY, |every| {
            Duration::from_micros(u64::try_from(every.micros).unwrap_or_default())
        });
        Self { every, last: Instant::now() }
    }

    pub(super) fn is_due(&self) -> bool {
        self.last.elapsed() >= self.every
    }

    /// Parks the load if it is time, or costs nothing, and the read could go on from here.
    pub(super) async fn park(&mut self, load: &mut Load, reached: Option<Value>) -> Result<()> {
        let Some(reached) = reached.filter(|_| self.is_due() || load.is_between_files()) else {
            return Ok(());
        };
        load.park(reached).await?;
        self.last = Instant::now();
        Ok(())
    }
}

/// What tells the read of a stream from others; none if it cannot go on behind its rows.
pub(super) fn reading(job: &Job<'_>, sync: &Sync) -> Result<Option<Reading>> {
    let whole = matches!(job.mode(), WriteMode::Append | WriteMode::Replace);
    if !whole || by_pages(job.connector, job.stream.read) || sync.reads_lake() {
        return Ok(None);
    }
    let failed = |error| Error::internal("a stream cannot be described").caused_by(error);
    let declared = declared(job.workspace, job.stream)?;
    // With the values of its references: another database is another read.
    let settings = serde_json::to_vec(&job.request.stream).map_err(failed)?;
    let project = &job.workspace.project;
    let connection = project.connections.get(&sync.connection);
    let connection =
        connection.map(|connection| project.resolve_secrets(&connection.options)).transpose()?;
    let connection = serde_json::to_vec(&connection).map_err(failed)?;
    // Where it begins: one from the start is another one than one behind the last.
    let from = serde_json::to_vec(&job.request.from).map_err(failed)?;
    let program = env!("CARGO_PKG_VERSION").as_bytes();
    // What was read before somebody was erased has their rows.
    let kept_out = job.kept_out.as_ref().map(Suppression::mark).unwrap_or_default();
    let kept_out = kept_out.as_bytes();
    let digest =
        digest::short(&[declared.as_bytes(), &settings, &connection, &from, program, kept_out]);
    Ok(Some(job.reading(digest)))
}

/// A digest of what a project says of the rows of a stream: the same source makes other rows with another one. Where the
/// source is has no part in it, nor have the credentials for it, which may be new ones in each run.
pub(super) fn declared(workspace: &Workspace, stream: &Stream) -> Result<String> {
    let failed = |error| Error::internal("a stream cannot be described").caused_by(error);
    // Another key of a mask makes other values of the same ones.
    let masks = stream
        .columns
        .iter()
        .filter_map(|column| Some((column.name.clone(), Value::String(column.mask.clone()?))));
    let masks = workspace.project.resolve_secrets(&masks.collect())?;
    let masks = serde_json::to_vec(&masks).map_err(failed)?;
    let stream = serde_json::to_vec(stream).map_err(failed)?;
    Ok(digest::short(&[&stream, &masks]))
}

/// Reads on behind what an attempt that was cut off had read, if there is one; none if the stream has to be read as ever.
pub(super) async fn go_on(
    job: &mut Job<'_>,
    reading: Reading,
    pace: &mut Pace,
) -> Result<Option<Landed>> {
    let mut load = job.load().await?;
    let Some(kept) = load.resume(reading).await? else { return Ok(None) };
    let Ok(reached) = serde_json::from_value::<Reached>(kept) else {
        load.discard().await;
        return Ok(None);
    };
    let position = Position(reached.position);
    let own = job.request.from.replace(position.clone());
    job.filtered_before = reached.filtered;
    match is_as_read(job.source.as_ref(), job.stream.read, &job.request).await {
        Ok(true) => {}
        Err(error) => {
            load.leave().await;
            return Err(error);
        }
        Ok(false) => {
            tracing::info!(
                "a read that was cut off begins anew, as what it had read is not as it was"
            );
            load.discard().await;
            job.request.from = own;
            job.filtered_before = 0;
            return Ok(None);
        }
    }
    let mut pages = job.source.read(&job.request);
    let first = pages.next().await;
    if let Some(Err(error)) = &first
        && is_about_the_place(error)
    {
        tracing::info!(error = %error.report(), "a read that was cut off begins anew, as it cannot go on");
        drop(pages);
        load.discard().await;
        job.request.from = own;
        job.filtered_before = 0;
        return Ok(None);
    }
    let tally = Mutex::new(Tally::behind(reached.rows, position));
    let pages = stream::iter(first).chain(pages).boxed();
    Box::pin(load_all(job, load, (Vec::new(), pages), &tally, pace)).await.map(Some)
}

#[cfg(test)]
mod tests {
    use flywheel_connect::source::SOURCES;

    use super::*;

    #[test]
    fn a_read_goes_on_only_where_its_rest_lies_behind() {
        let of = |read, position: Value| reached(read, &Position(position), 3, 0).is_some();
        let leads = |position: Value| of(Read::Full, position);
        let ended = json!({ "order": ["id"], "after": [7], "rows": 3, "complete": true });
        assert!(leads(json!({ "order": ["id"], "after": [7], "rows": 3, "complete": false })));
        assert!(leads(json!({ "topic": "t", "next": { "0": 3 } })));
        assert!(of(Read::Incremental, ended.clone()), "the next one begins there, too");
        for position in
            [Value::Null, ended, json!({ "order": [], "after": [], "rows": 3, "complete": false })]
        {
            assert!(!leads(position.clone()), "{position}");
        }
    }

    #[test]
    fn sources_that_are_read_by_pages_are_known() {
        for name in BY_PAGES.iter().chain(ONLY_INCREMENTAL) {
            assert!(SOURCES.iter().any(|source| source.name == *name), "{name}");
        }
    }
}
