//! What one stream of a sync may use while it is read: a part of what `limits` allows the sync.
//!
//! ```text
//! memory ─┬─ half: pages under way, each connection has some ──► page_bytes
//!         └─ half: rows gathered, rows being encoded, encoded pieces on their way
//! ```
//! Streams that run at once divide everything evenly, so that their order never decides whether one of
//! them fits. Which streams run at once, and in which order, is [`lanes`].

use std::num::{NonZeroU64, NonZeroUsize};

use flywheel_base::{Error, Result};
use flywheel_connect::source::SourceEntry;
use flywheel_connect::{PAGE_BYTES_DEFAULT, PAGE_ROWS_DEFAULT, ReadRequest};
use flywheel_project::resource::sync::{Read, Stream, Sync};
use flywheel_reconcile::planner::{Chunk, Packing, WORKERS_MAX, pack};
use serde::Serialize;

use super::sync::{Work, resolved, works};
use crate::Workspace;

/// Connections with which a stream is read unless it says otherwise.
const CONNECTIONS_USUAL: usize = 2;

/// Pages that a connection has under way: one that is filled, one that waits, one that is handed over.
const PAGES_EACH: usize = 3;
/// Pages under way behind the connections, from the one held back to the one that is written.
const PAGES_BEHIND: usize = 5;
/// A page in memory is at most this many times the bytes at which it ends: buffers grow by doubling, and
/// the row that passes the limit is the page's last.
const PAGE_GROWTH: usize = 3;
/// No page is planned smaller than this; a row has to fit into it.
const PAGE_BYTES_MIN: usize = 64 << 10;
/// A page has at most one row for each of these bytes, so that narrow rows do not outgrow it.
const ROW_BYTES_MIN: usize = 64;

/// What one stream may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    /// Streams that run at once.
    pub(crate) workers: usize,
    /// How many connections read one of them at most.
    pub(crate) parallel: Option<NonZeroUsize>,
    /// Rows of a page at most.
    pub(crate) page_rows: usize,
    /// Bytes at which a page ends.
    pub(crate) page_bytes: usize,
    /// Bytes of a page that is still taken; beyond it the read stops.
    pub(crate) page_bytes_max: Option<usize>,
    /// Bytes of rows gathered before they are written at most.
    pub(crate) gathered_bytes: Option<usize>,
    /// Bytes of rows in the buffers of a data file at most.
    pub(crate) buffer_bytes: Option<usize>,
}

impl Share {
    /// The share of each stream of a sync.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a limit is impossible, with the smallest that is not.
    pub(crate) fn of(sync: &Sync) -> Result<Self> {
        let limits = sync.limits;
        let lanes = lanes_of(sync).len().max(1);
        let most = [limits.parallelism, limits.source_connections].into_iter().flatten().min();
        let workers = limits.parallelism.map_or(1, NonZeroUsize::get);
        let workers = workers.min(most.map_or(usize::MAX, NonZeroUsize::get)).min(lanes);
        let parallel = most.and_then(|most| NonZeroUsize::new(most.get() / workers));
        let rows = limits.rows_per_second.map_or(u64::MAX, NonZeroU64::get);
        let mut share = Self {
            workers,
            parallel,
            page_rows: PAGE_ROWS_DEFAULT.min(usize::try_from(rows).unwrap_or(usize::MAX)),
            page_bytes: PAGE_BYTES_DEFAULT,
            page_bytes_max: None,
            gathered_bytes: None,
            buffer_bytes: None,
        };
        if let Some(memory) = limits.memory {
            share.divide(sync, usize::try_from(memory.bytes).unwrap_or(usize::MAX))?;
        }
        Ok(share)
    }

    /// Divides memory over the streams that run at once.
    fn divide(&mut self, sync: &Sync, memory: usize) -> Result<()> {
        let wanted = sync.streams.iter().map(connections).max().unwrap_or(1);
        let connections = self.parallel.map_or(wanted, |most| wanted.min(most.get()));
        let pages = connections * PAGES_EACH + PAGES_BEHIND;
        let needed = PAGE_BYTES_MIN * PAGE_GROWTH * pages * 2 * self.workers;
        if memory < needed {
            return Err(Error::invalid(format!(
                "the limit `memory` of the sync \"{}\" is too little for {} at once, each read by {}",
                sync.sync,
                counted(self.workers, "stream"),
                counted(connections, "connection"),
            ))
            .hint(format!(
                "Write at least {}KiB, or lower `parallelism` or the streams' `parallel`.",
                needed.div_ceil(1 << 10)
            )));
        }
        let of_stream = memory / self.workers;
        let page = of_stream / 2 / pages;
        self.page_bytes = (page / PAGE_GROWTH).min(PAGE_BYTES_DEFAULT);
        self.page_bytes_max = Some(page);
        self.page_rows = self.page_rows.min((self.page_bytes / ROW_BYTES_MIN).max(1));
        self.gathered_bytes = Some(of_stream / 8);
        self.buffer_bytes = Some(of_stream / 8 * 3);
        Ok(())
    }

    /// The request within the share.
    pub(crate) fn limit(&self, request: ReadRequest) -> ReadRequest {
        ReadRequest {
            page_rows: request.page_rows.min(self.page_rows),
            page_bytes: request.page_bytes.min(self.page_bytes),
            parallel: self.parallel,
            ..request
        }
    }

    /// The smaller of what is usual and what may be gathered.
    pub(crate) fn gathered(&self, usual: usize) -> usize {
        self.gathered_bytes.map_or(usual, |most| usual.min(most))
    }

    /// In words, for a plan.
    pub(crate) fn words(&self) -> String {
        let mut words = format!("{} at once", counted(self.workers, "stream"));
        if let Some(parallel) = self.parallel {
            words.push_str(&format!(", each by at most {}", counted(parallel.get(), "connection")));
        }
        words.push_str(&format!(", pages of at most {} rows", self.page_rows));
        if self.page_bytes_max.is_some() {
            words.push_str(&format!(" and {} KiB", self.page_bytes >> 10));
        }
        words
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// By how many connections a stream asks to be read.
fn connections(stream: &Stream) -> usize {
    let asked = stream.options.get("parallel").and_then(serde_json::Value::as_u64);
    let asked = asked.and_then(|asked| usize::try_from(asked).ok());
    match stream.read {
        Read::Full | Read::Cdc => asked.unwrap_or(CONNECTIONS_USUAL).clamp(1, WORKERS_MAX),
        Read::Incremental => 1,
    }
}

/// Refuses a cap on connections where nothing is counted.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] that names the kinds of connections that can be capped.
pub(crate) fn check_cap(sync: &Sync, entry: &SourceEntry) -> Result<()> {
    if sync.limits.source_connections.is_none() || entry.capped {
        return Ok(());
    }
    let known = flywheel_connect::SOURCES.iter().filter(|entry| entry.capped);
    let known: Vec<&str> = known.map(|entry| entry.name).collect();
    Err(Error::invalid(format!(
        "the sync \"{}\" limits `source_connections`, and connections of {} are not counted",
        sync.sync, entry.name
    ))
    .hint(format!("It works for {}; leave it out.", known.join(", "))))
}

/// Work that is done one after the other: streams that write the same target.
pub(crate) type Lane<'a> = Vec<Work<'a>>;

fn lanes_of(sync: &Sync) -> Vec<Lane<'_>> {
    let mut lanes: Vec<(String, Lane<'_>)> = Vec::new();
    for work in works(sync) {
        let target = work.target();
        match lanes.iter_mut().find(|(known, _)| *known == target) {
            Some((_, lane)) => lane.push(work),
            None => lanes.push((target, vec![work])),
        }
    }
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

/// The work of a sync in the order in which it is begun: the longest first if streams run at once, so
/// that the whole is not held up by one at its end; else as the file has it.
///
/// # Errors
/// Those of the source, which is asked for the sizes of its tables.
pub(crate) async fn lanes<'a>(workspace: &Workspace, sync: &'a Sync) -> Result<Vec<Lane<'a>>> {
    let mut lanes = lanes_of(sync);
    let share = Share::of(sync)?;
    if share.workers < 2 || lanes.len() <= share.workers || sync.reads_lake() {
        return Ok(lanes);
    }
    let (entry, source) = workspace.source_of(sync)?;
    if !entry.capped {
        return Ok(lanes);
    }
    let known = source.discover().await?;
    let rows = |stream: &Stream| {
        // What cannot be read says so when it is read.
        let options = resolved(workspace, stream, &stream.options).unwrap_or_default();
        let found = known.iter().find(|info| crate::migrate::same(&info.stream, &options));
        found.and_then(|info| info.rows).unwrap_or(0)
    };
    let cost = |lane: &Lane<'_>| lane.iter().map(|work| rows(work.stream)).sum::<u64>();
    lanes.sort_by_key(|lane| std::cmp::Reverse(cost(lane)));
    Ok(lanes)
}

/// Which of the streams that run at once does what, by rows.
///
/// # Errors
/// As [`pack`].
pub(crate) fn packed(sync: &Sync, rows: &[(String, u64)]) -> Result<Packing> {
    let share = Share::of(sync)?;
    let chunk = |(id, rows): &(String, u64)| Chunk {
        id: id.clone(),
        cost: *rows,
        calls: std::collections::BTreeMap::new(),
    };
    let chunks: Vec<Chunk> = rows.iter().map(chunk).collect();
    pack(&chunks, share.workers.min(WORKERS_MAX))
}

#[cfg(test)]
mod tests {
    use flywheel_project::resource::quantity::Size;

    use super::*;

    fn sync(limits: &str) -> Sync {
        let json = format!(
            r#"{{"sync": "s", "connection": "c", "limits": {limits}, "streams": [
                {{"stream": "a"}}, {{"stream": "b", "options": {{"parallel": 4}}}},
                {{"stream": "c", "to": "raw.a"}}]}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn without_limits_streams_are_read_one_after_the_other() {
        let share = Share::of(&sync("{}")).unwrap();
        assert_eq!((share.workers, share.parallel, share.page_bytes_max), (1, None, None));
        assert_eq!(share.page_rows, PAGE_ROWS_DEFAULT);
    }

    #[test]
    fn connections_are_divided_over_the_streams_that_run_at_once() {
        for (limits, workers, parallel) in [
            (r#"{"parallelism": 4}"#, 2, 2),
            (r#"{"parallelism": 4, "source_connections": 3}"#, 2, 1),
            (r#"{"parallelism": 9, "source_connections": 1}"#, 1, 1),
            (r#"{"source_connections": 5}"#, 1, 5),
        ] {
            let share = Share::of(&sync(limits)).unwrap();
            let found = (share.workers, share.parallel.map(NonZeroUsize::get));
            assert_eq!(found, (workers, Some(parallel)), "{limits}");
            assert!(share.workers * parallel <= 9);
        }
    }

    #[test]
    fn what_writes_one_table_is_one_lane() {
        let sync = sync(r#"{"parallelism": 4}"#);
        let lanes = lanes_of(&sync);
        let names: Vec<Vec<&str>> = lanes
            .iter()
            .map(|lane| lane.iter().map(|work| work.stream.stream.as_str()).collect())
            .collect();
        assert_eq!(names, [vec!["a", "c"], vec!["b"]]);
    }

    #[test]
    fn pages_and_buffers_together_fit_into_the_memory() {
        for (bytes, limits) in [(64_usize << 20, r#"{"parallelism": 2}"#), (1 << 30, "{}")] {
            let mut sync = sync(limits);
            sync.limits.memory = Some(Size { bytes: bytes as u64 });
            let share = Share::of(&sync).unwrap();
            let pages = share.parallel.map_or(4, |most| most.get().min(4)) * PAGES_EACH;
            let pages = (pages + PAGES_BEHIND) * share.page_bytes_max.unwrap();
            let buffers = share.gathered_bytes.unwrap() + share.buffer_bytes.unwrap();
            assert!((pages + buffers) * share.workers <= bytes, "{share:?}");
        }
    }

    #[test]
    fn too_little_memory_says_how_much_is_enough() {
        let mut sync = sync("{}");
        sync.limits.memory = Some(Size { bytes: 1 << 20 });
        let error = Share::of(&sync).unwrap_err();
        let hint = error.hint_text().unwrap().to_owned();
        let least: u64 =
            hint.split(|c: char| !c.is_ascii_digit()).find_map(|n| n.parse().ok()).unwrap();
        sync.limits.memory = Some(Size { bytes: least << 10 });
        assert!(Share::of(&sync).is_ok(), "{hint}");
    }
}
