//! Landing: pages of a source and the position after them, in one commit.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_connect::source::{
    ChangesRequest, PAGE_BYTES_DEFAULT, PAGE_ROWS_DEFAULT, ReadMode, ReadRequest, Source,
};
use flywheel_connect::{DeclaredColumn, Mapping, Notice, Page, Position, Rejected};
use flywheel_project::resource::sync::{
    Column, Errors, LAKE, OnBadRow, Read, Stream, Sync, Write as WriteModeDeclared,
};
use flywheel_state::TaskOutcome;
use flywheel_warehouse::{
    Checkpoint, Commit, Duplicates, Load, Location, Reading, RowStream, TableName, Write, WriteMode,
};
use futures::channel::mpsc;
use futures::future::try_join;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::balance;
use super::changes;
use super::deliver::deliver;
use super::new_columns;
use super::null_keys;
use super::resume::{self, Pace};
use super::share::{Lane, Share, lanes};
use crate::erase::Suppression;
use crate::lake_source::LakeSource;
use crate::mapping::mapping;
use crate::quarantine::Origin;
use crate::{Workspace, migrate, quality, quarantine, recorder::Recorder};

/// What a read is at most gathered to before it is written; more is streamed into data files.
pub(super) const GATHERED_BYTES_MAX: usize = 32 << 20;
/// Rows that are merged with none need not be gathered: from here on they go into data files.
const STREAMED_BYTES_MIN: usize = 8 << 20;
/// Pages that wait between reading and writing.
const PAGES_WAITING_MAX: usize = 1;
/// A share of bad rows is judged during the run only after this many rows.
const RATIO_ROWS_MIN: u64 = 1_000;

/// What came of one stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Landed {
    /// The lake table.
    pub table: String,
    /// Rows read, good and bad.
    pub rows_in: u64,
    /// Rows written.
    pub rows_out: u64,
    /// Rows set aside.
    pub rows_rejected: u64,
    /// Rows that did not land because they do not meet the stream's condition.
    pub rows_filtered: u64,
    /// Rows that a later row with the same key replaced within the run.
    pub rows_superseded: u64,
    /// Rows that were removed because the source has them no longer.
    pub rows_deleted: u64,
    /// Rows read that only said that a row is gone.
    #[serde(skip)]
    pub rows_marked: u64,
    /// Rows read that were there already, as the source had nothing new.
    #[serde(skip)]
    pub rows_unchanged: u64,
    /// Whether what became of every row was counted, so that the numbers have to add up.
    #[serde(skip)]
    pub counted: bool,
    /// The table version readers see after it; none if there was nothing to commit.
    pub version: Option<i64>,
    /// What a person should know.
    pub notices: Vec<String>,
    /// Why readers do not see what landed: it breaks a promise of a quality file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

/// What came of syncs: one stream's error does not hide what others brought.
#[derive(Debug, Default)]
pub struct Synced {
    /// What landed.
    pub landed: Vec<Landed>,
    /// Everything that went wrong, in the order of the files.
    pub errors: Vec<Error>,
    /// Why single tables of a log stand while the others of it went on, where that is told apart from the errors.
    pub alone: Vec<Error>,
}

impl Synced {
    /// What landed, if nothing went wrong.
    ///
    /// # Errors
    /// The first of the errors.
    pub fn all(self) -> Result<Vec<Landed>> {
        self.errors.into_iter().chain(self.alone).next().map_or(Ok(self.landed), Err)
    }
}

impl From<Result<Self>> for Synced {
    fn from(result: Result<Self>) -> Self {
        result.unwrap_or_else(|error| Self { errors: vec![error], ..Self::default() })
    }
}

/// What of a sync is read from its start, whatever the positions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Restart<'a> {
    /// Nothing.
    Nothing,
    /// All streams of changes; where there are none, all streams.
    Sync,
    /// The streams of these names.
    Streams(&'a [String]),
}

impl Restart<'_> {
    /// Everything that can be, or nothing.
    fn of(restart: bool) -> Self {
        if restart { Self::Sync } else { Self::Nothing }
    }

    /// Whether a stream is among it.
    pub(crate) fn has(self, stream: &Stream) -> bool {
        match self {
            Self::Nothing => false,
            Self::Sync => true,
            Self::Streams(names) => names.contains(&stream.stream),
        }
    }
}

/// Runs every stream of the sync `name`, unless its migration says that it stands still; each is
/// committed on its own. With `restart`, streams of changes are read whole again; where there are none,
/// incremental streams are read from their start, and whole reads that were cut off are not gone on with.
///
/// # Errors
/// The first error, after the other streams and destinations have been tried; what a stream read
/// before it failed is not published.
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    restart: bool,
) -> Result<Vec<Landed>> {
    Box::pin(run_each(workspace, recorder, name, restart)).await?.all()
}

/// As [`run`], with what landed beside what failed.
///
/// # Errors
/// What keeps every stream from being tried.
pub(crate) async fn run_each(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    restart: bool,
) -> Result<Synced> {
    Box::pin(run_from(workspace, recorder, name, Restart::of(restart))).await
}

/// As [`run_each`], with what is read from its start.
///
/// # Errors
/// What keeps every stream from being tried.
pub(crate) async fn run_from(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    restart: Restart<'_>,
) -> Result<Synced> {
    if let Some(why) = migrate::stands_still(workspace, name)? {
        recorder.notice(why);
        return Ok(Synced::default());
    }
    each_now(workspace, recorder, name, restart).await
}

/// As [`run`], whatever a migration says.
pub(crate) async fn run_now(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    restart: bool,
) -> Result<Vec<Landed>> {
    Box::pin(each_now(workspace, recorder, name, Restart::of(restart))).await?.all()
}

async fn each_now(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    restart: Restart<'_>,
) -> Result<Synced> {
    let sync = workspace
        .project
        .syncs
        .get(name)
        .ok_or_else(|| Error::not_found(format!("no sync \"{name}\"")))?;
    let mut landed = Vec::new();
    let (mut errors, mut alone) = (Vec::new(), Vec::new());
    let gate = quality::Gate::close(workspace, sync).await?;
    let of_log: Vec<&Stream> =
        sync.streams.iter().filter(|stream| stream.read == Read::Cdc).collect();
    let anew = match restart {
        Restart::Sync if !of_log.is_empty() => Restart::Nothing,
        other => other,
    };
    let read_on: Vec<&Stream> =
        sync.streams.iter().filter(|stream| stream.read == Read::Incremental).collect();
    let added = read_on.iter().filter(|stream| stream.write == WriteModeDeclared::Append);
    for stream in added.filter(|stream| anew.has(stream)) {
        recorder.notice(format!(
            "sync {name}.{}: rows that are appended from the start again are there twice; empty \
             the table first, or write with `merge`",
            stream.stream
        ));
    }
    let logs = if of_log.is_empty() { &[] } else { sync.destination.names() };
    for to in logs {
        let pass = changes::run(workspace, recorder, name, sync, &of_log, to, restart);
        match Box::pin(pass).await {
            Ok(all) => {
                landed.extend(all.landed);
                let doing =
                    |error: Error| error.context(format!("sync \"{name}\", changes to {to}"));
                errors.extend(all.errors.into_iter().map(doing));
                alone.extend(all.alone.into_iter().map(doing));
            }
            Err(error) => errors.push(error.context(format!("sync \"{name}\", changes to {to}"))),
        }
    }
    let reads = Box::pin(reads(workspace, recorder, name, sync, anew)).await;
    for one in reads.unwrap_or_else(|error| vec![Err(error)]) {
        match one {
            Ok(one) => landed.push(one),
            Err(error) => errors.push(error),
        }
    }
    // Whatever failed, tables that did land are judged, and the others are given back to their readers.
    if let Err(error) = Box::pin(gate.settle(recorder, &mut landed)).await {
        errors.push(error);
    }
    let lost = landed.iter().filter_map(balance::lost);
    errors.extend(lost.map(|error| error.context(format!("sync \"{name}\""))));
    Ok(Synced { landed, errors, alone })
}

/// The error of tables that landed and that readers do not see; none if there are none.
pub(crate) fn blocked(landed: &[Landed]) -> Option<Error> {
    let why: Vec<&str> = landed.iter().filter_map(|one| one.blocked.as_deref()).collect();
    (!why.is_empty()).then(|| {
        Error::blocked(why.join("; ")).hint(
            "Readers keep the last good version. Mend the source and sync again, or change the promise and run `flywheel quality run`.",
        )
    })
}

/// Runs what does not follow a log, as many streams at once as the sync may; the results are in the
/// order of the file. What is among `anew` is read again, whatever was read before.
async fn reads(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    sync: &Sync,
    anew: Restart<'_>,
) -> Result<Vec<Result<Landed>>> {
    let workers = Share::of(sync)?.workers;
    let mut lanes: VecDeque<Lane<'_>> = lanes(workspace, sync).await?.into();
    let run_id = recorder.run_id().to_owned();
    let mut running = FuturesUnordered::new();
    let mut done: Vec<(usize, Result<Landed>)> = Vec::new();
    loop {
        while running.len() < workers
            && let Some(lane) = lanes.pop_front()
        {
            let mut lane = VecDeque::from(lane);
            let Some(work) = lane.pop_front() else { continue };
            let work = Work { anew: anew.has(work.stream), ..work };
            let timer = recorder.started("sync", &work.named(name));
            let read = Box::pin(one(workspace, &run_id, name, sync, work));
            running.push(async move { (work, timer, read.await, lane) });
        }
        let Some((work, timer, result, rest)) = running.next().await else { break };
        let told = |landed: &Landed| (balance::status(landed).to_owned(), outcome(landed));
        let result = recorder.settled(timer, result, told);
        for notice in result.iter().flat_map(|one| &one.notices) {
            recorder.notice(format!("sync {}: {notice}", work.named(name)));
        }
        for notice in result.iter().filter_map(balance::notice) {
            recorder.notice(format!("sync {}: {notice}", work.named(name)));
        }
        done.push((work.place, result));
        // What writes the same target goes on before others begin.
        lanes.push_front(rest.into());
    }
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// One stream on its way to one destination.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) stream: &'a Stream,
    destination: &'a str,
    /// Its place in the file.
    place: usize,
    /// Whether it is read from its start, whatever its position.
    anew: bool,
}

impl Work<'_> {
    /// How it is called in runs and notices.
    pub(crate) fn named(&self, sync: &str) -> String {
        named(sync, self.stream, self.destination)
    }

    /// The same, with what landed in the lake landing again even if the source stands still.
    pub(crate) fn again(self) -> Self {
        Self { anew: self.destination == LAKE, ..self }
    }

    /// What it writes; two that write the same are not done at once.
    pub(crate) fn target(&self) -> String {
        match self.destination {
            LAKE => self.stream.table(),
            other => format!("{other}: {}", Value::Object(self.stream.target_of(other).clone())),
        }
    }
}

/// How a stream's way to a destination is called in runs and notices.
pub(crate) fn named(sync: &str, stream: &Stream, destination: &str) -> String {
    let to = match destination {
        LAKE => String::new(),
        other => format!(" → {other}"),
    };
    format!("{sync}.{}{to}", stream.stream)
}

/// Everything a sync does apart from following a log.
pub(crate) fn works(sync: &Sync) -> impl Iterator<Item = Work<'_>> {
    let streams = sync.streams.iter().filter(|stream| stream.read != Read::Cdc);
    let all = streams.flat_map(|stream| {
        sync.destination.names().iter().map(move |destination| (stream, destination))
    });
    all.enumerate().map(|(place, (stream, destination))| Work {
        stream,
        destination,
        place,
        anew: false,
    })
}

/// What a sync writes: tables of the lake, and targets of other destinations.
pub(crate) fn targets(sync: &Sync) -> impl Iterator<Item = String> {
    let of = |stream| {
        let names = sync.destination.names().iter();
        names.map(move |destination| Work { stream, destination, place: 0, anew: false }.target())
    };
    sync.streams.iter().flat_map(of)
}

/// Brings one stream to one destination.
///
/// # Errors
/// Those of source and destination, with the stream's name.
pub(crate) async fn one(
    workspace: &Workspace,
    run_id: &str,
    name: &str,
    sync: &Sync,
    work: Work<'_>,
) -> Result<Landed> {
    let result = match work.destination {
        LAKE => Box::pin(land(workspace, run_id, name, sync, work)).await,
        other => {
            Box::pin(deliver(workspace, run_id, (name, sync), work.stream, other, work.anew)).await
        }
    };
    result.map_err(|error| error.context(format!("sync {}", work.named(name))))
}

pub(crate) fn outcome(landed: &Landed) -> TaskOutcome {
    TaskOutcome {
        rows_in: Some(landed.rows_in),
        rows_out: Some(landed.rows_out),
        rows_rejected: Some(landed.rows_rejected),
        error: balance::lost(landed).map(|error| error.report()),
        detail: json!({
            "table": landed.table, "version": landed.version,
            "superseded": landed.rows_superseded, "deleted": landed.rows_deleted,
            "filtered": landed.rows_filtered, "marked": landed.rows_marked,
            "unchanged": landed.rows_unchanged, "balance": balance::verdict(landed),
        }),
    }
}

/// The lake table a stream lands in.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if its name is no `schema.table`.
pub fn destination(stream: &Stream) -> Result<TableName> {
    let name = stream.to.clone().unwrap_or_else(|| format!("raw.{}", stream.stream));
    TableName::parse(&name)
}

/// Everything about one stream that the steps of a sync share.
pub(crate) struct Job<'a> {
    pub(super) workspace: &'a Workspace,
    run_id: &'a str,
    sync_name: &'a str,
    sync: &'a Sync,
    /// The source's type.
    pub(super) connector: &'a str,
    errors: &'a Errors,
    pub(crate) stream: &'a Stream,
    pub(crate) source: Box<dyn Source>,
    pub(crate) request: ReadRequest,
    pub(crate) mapping: Mapping,
    share: Share,
    pub(crate) at: Location,
    /// The columns of the table before the read.
    there: Option<SchemaRef>,
    app: String,
    sequence: i64,
    /// How the rows of a full read are declared, as a digest.
    declared: Option<String>,
    /// Whether it lands again what landed already.
    anew: bool,
    /// Who was erased and is kept out.
    pub(super) kept_out: Option<Suppression>,
    /// Rows that were left out before the read was cut off behind which this one goes on.
    pub(super) filtered_before: u64,
}

impl Job<'_> {
    /// How its rows are written.
    pub(super) fn mode(&self) -> WriteMode {
        mode(self.stream, self.workspace.now())
    }

    /// An open load into its table.
    pub(super) async fn load(&self) -> Result<Load> {
        let load = self.workspace.lake.load(&self.at, self.mode()).await?;
        Ok(load.within(self.share.buffer_bytes))
    }

    /// What tells its read from others, by a digest of what is read.
    pub(super) fn reading(&self, digest: String) -> Reading {
        Reading { app: self.app.clone(), sequence: self.sequence, digest }
    }

    /// Rows that do not meet the stream's condition, or are about somebody who was erased.
    fn filtered(&self) -> u64 {
        let kept_out = self.kept_out.as_ref().map_or(0, Suppression::left_out);
        self.filtered_before + self.mapping.filtered() + kept_out
    }

    /// The rows of a page as they land; those that cannot land are among those set aside.
    pub(crate) fn mapped(&self, page: Page) -> Result<Page> {
        let gone: Vec<&str> =
            gone(&self.request.columns, &page).map(|column| column.name.as_str()).collect();
        let mut page = self.mapping.apply(page)?;
        if let Some(kept_out) = &self.kept_out {
            kept_out.sift(&mut page)?;
        }
        if replaces(self.stream) && !gone.is_empty() {
            page.batch = with_gone(self.stream, &page.batch, &gone, |name| {
                let there = self.there.as_ref()?.field_with_name(name).ok()?;
                Some(there.data_type().clone())
            })?;
        }
        let (table, key) = (self.stream.table(), written_by(self.stream));
        null_keys::set_aside(&mut page, self.connector, &table, key)?;
        new_columns::set_aside(&mut page, self.connector, self.stream, self.there.as_deref())?;
        Ok(page)
    }

    /// Ends what was set aside by earlier reads and not by this one, which has landed, if it began at the start.
    async fn superseded(&self, met: &BTreeSet<String>) -> Result<Option<String>> {
        if self.request.from.is_some() {
            return Ok(None);
        }
        let whole = quarantine::Whole {
            sync: (self.sync_name, self.sync),
            stream: self.stream,
            destination: LAKE,
            run_id: self.run_id,
        };
        Box::pin(quarantine::supersede(self.workspace, whole, met)).await
    }

    /// Tells the source what is stored; returns what a person should know.
    async fn told(&self, stored: Position) -> Option<String> {
        let reader = changes::reader(&self.workspace.project.file.name, self.sync_name, LAKE);
        tell_source(self.source.as_ref(), reader, &self.request, stored).await
    }

    /// How its commits are called in the table's history.
    fn operation(&self) -> String {
        format!("sync {}.{}", self.sync_name, self.stream.stream)
    }
}

impl Landed {
    /// Adds what a later read of the same stream did.
    pub(crate) fn add(&mut self, later: Self) {
        self.table = later.table;
        self.rows_in += later.rows_in;
        self.rows_out += later.rows_out;
        self.rows_rejected += later.rows_rejected;
        self.rows_filtered += later.rows_filtered;
        self.rows_superseded += later.rows_superseded;
        self.rows_deleted += later.rows_deleted;
        self.rows_marked += later.rows_marked;
        self.rows_unchanged += later.rows_unchanged;
        // What is not known of one part is not known of the sum.
        self.counted &= later.counted;
        self.version = later.version.or(self.version);
        self.blocked = later.blocked.or_else(|| self.blocked.take());
    }

    /// Takes over what a commit did.
    pub(super) fn take(&mut self, commit: &Commit) {
        self.rows_out += commit.rows_written;
        self.rows_superseded += commit.rows_superseded;
        self.rows_marked += commit.rows_marked;
        // A commit that was made before wrote these rows then.
        self.counted &= !commit.skipped;
        self.version = Some(commit.version);
    }
}

/// Tells a source that shows its readers' progress to others, a broker, what is stored. Nothing rests
/// on it, so a failure is only said.
pub(super) async fn tell_source(
    source: &dyn Source,
    reader: String,
    request: &ReadRequest,
    stored: Position,
) -> Option<String> {
    if !source.hears_of_reads() {
        return None;
    }
    let stream = ReadRequest { from: Some(stored), ..request.clone() };
    let request = ChangesRequest { name: reader, streams: vec![stream], follow: false };
    let told = source.acknowledge(&request).await;
    told.err().map(|error| format!("the source does not hear what is stored: {error}"))
}

/// Builds the source and the request of one stream, from its last committed position.
pub(crate) async fn job<'a>(
    workspace: &'a Workspace,
    run_id: &'a str,
    name: &'a str,
    sync: &'a Sync,
    stream: &'a Stream,
) -> Result<Job<'a>> {
    let share = Share::of(sync)?;
    let source = source(workspace, sync, stream).await?;
    let mapping = mapping(workspace, sync, stream)?;
    let declared = match stream.read {
        Read::Full => Some(resume::declared(workspace, stream)?),
        Read::Incremental | Read::Cdc => None,
    };
    let at = location_of(&destination(stream)?)?;
    let app = format!("sync/{name}/{}", stream.stream);
    let head = workspace.lake.head(&at).await?;
    let last = head.as_ref().and_then(|head| head.checkpoints.get(&app).cloned());
    let from = match stream.read {
        Read::Full => None,
        Read::Incremental | Read::Cdc => last.as_ref().map(|last| Position(last.position.clone())),
    };
    let mut request = share.limit(read_request(workspace, stream, &mapping, from)?);
    if let Some(head) = &head {
        let there = |column: &Column| head.schema.field_with_name(&column.name).is_ok();
        lands_already(stream, &mut request.columns, there);
    }
    let connection = workspace.project.connections.get(&sync.connection);
    Ok(Job {
        workspace,
        run_id,
        sync_name: name,
        sync,
        connector: connection.map_or(LAKE, |connection| connection.connector.as_str()),
        errors: &sync.errors,
        stream,
        source,
        request,
        share,
        mapping,
        at,
        there: head.map(|head| SchemaRef::clone(&head.schema)),
        app,
        sequence: last.map_or(0, |last| last.sequence) + 1,
        declared,
        anew: false,
        kept_out: Suppression::of(workspace, stream)?,
        filtered_before: 0,
    })
}

/// Builds the source of one stream.
pub(crate) async fn source(
    workspace: &Workspace,
    sync: &Sync,
    stream: &Stream,
) -> Result<Box<dyn Source>> {
    let source: Box<dyn Source> = if sync.reads_lake() {
        Box::new(LakeSource::open(workspace, stream).await?)
    } else {
        workspace.source_of(sync)?.1
    };
    workspace.limited(sync, source)
}

/// The settings of a stream or a target with the values of their references.
///
/// # Errors
/// As [`flywheel_project::Project::resolve_settings`].
pub(crate) fn resolved(
    workspace: &Workspace,
    stream: &Stream,
    settings: &Map<String, Value>,
) -> Result<Value> {
    let resolved = workspace.project.resolve_settings(settings);
    let named = |error: Error| error.context(format!("stream \"{}\"", stream.stream));
    resolved.map(Value::Object).map_err(named)
}

/// What a stream asks its source for, from a position on.
///
/// # Errors
/// As [`resolved`].
pub(crate) fn read_request(
    workspace: &Workspace,
    stream: &Stream,
    mapping: &Mapping,
    from: Option<Position>,
) -> Result<ReadRequest> {
    let mode = match stream.read {
        Read::Full | Read::Cdc => ReadMode::Full,
        Read::Incremental => ReadMode::Incremental {
            cursor: stream.cursor.clone(),
            lag: stream.lag.map(|lag| format!("{}us", lag.micros)),
        },
    };
    let mut columns = mapping.declared();
    if from.is_some() {
        lands_already(stream, &mut columns, |_| true);
    }
    Ok(ReadRequest {
        stream: resolved(workspace, stream, &stream.options)?,
        columns,
        mode,
        from,
        write_appends: stream.write == WriteModeDeclared::Append,
        page_rows: PAGE_ROWS_DEFAULT,
        page_bytes: PAGE_BYTES_DEFAULT,
        parallel: None,
        by_transaction: false,
        now: workspace.now(),
    })
}

/// Notes which of the columns that a source is asked for are in the target already, as `there` says of
/// the columns of the file: where the source lost one of them, the read goes on without it. It does
/// not without a key, or without what has to have a value.
pub(crate) fn lands_already(
    stream: &Stream,
    asked: &mut [DeclaredColumn],
    there: impl Fn(&Column) -> bool,
) {
    for one in asked {
        let mut made = stream
            .columns
            .iter()
            .filter(|column| column.value.is_none() && column.source_name() == one.name)
            .peekable();
        let spare = |column: &Column| {
            let marks = stream.deleted.as_deref() == Some(column.name.as_str());
            !column.required && !marks && !stream.key.contains(&column.name) && there(column)
        };
        one.landed = made.peek().is_some() && made.all(spare);
    }
}

/// What a person should know of columns that landed before and that a page of the source lacks.
pub(crate) fn lost(asked: &[DeclaredColumn], page: &Page) -> Vec<String> {
    let text = |column: &DeclaredColumn| {
        format!(
            "the source has no column \"{}\" any more; it stays and is empty from here on (remove \
             it under `columns` once nothing needs it)",
            column.name
        )
    };
    gone(asked, page).map(text).collect()
}

/// Rows of a table that is replaced, with the declared columns that the source lost, of the types that
/// `kind` tells: what reads the table relies on them.
pub(crate) fn with_gone(
    stream: &Stream,
    batch: &RecordBatch,
    gone: &[&str],
    kind: impl Fn(&str) -> Option<DataType>,
) -> Result<RecordBatch> {
    let schema = batch.schema();
    let mut fields = schema.fields().to_vec();
    let mut columns = batch.columns().to_vec();
    for column in stream.columns.iter().filter(|column| gone.contains(&column.source_name())) {
        if schema.field_with_name(&column.name).is_err()
            && let Some(kind) = kind(&column.name)
        {
            columns.push(new_null_array(&kind, batch.num_rows()));
            fields.push(Arc::new(Field::new(&column.name, kind, true)));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal("columns cannot be added").caused_by(error))
}

/// The columns that landed before and that a page of the source lacks.
pub(crate) fn gone<'a>(
    asked: &'a [DeclaredColumn],
    page: &Page,
) -> impl Iterator<Item = &'a DeclaredColumn> {
    let schema = page.batch.schema();
    asked.iter().filter(move |column| {
        let lacks = schema.field_with_name(&column.name).is_err();
        column.may_be_gone() && lacks && !schema.fields().is_empty()
    })
}

/// Whether each read replaces all rows of the table.
pub(crate) fn replaces(stream: &Stream) -> bool {
    written_by(stream).is_empty() && stream.write != WriteModeDeclared::Append
}

/// The columns by which rows find those they replace; none where they replace all, or nothing.
pub(crate) fn written_by(stream: &Stream) -> &[String] {
    match stream.write {
        WriteModeDeclared::Append | WriteModeDeclared::Replace => &[],
        WriteModeDeclared::Mirror if stream.deleted.is_none() && stream.read == Read::Full => &[],
        WriteModeDeclared::Merge | WriteModeDeclared::Mirror | WriteModeDeclared::History => {
            &stream.key
        }
    }
}

async fn land(
    workspace: &Workspace,
    run_id: &str,
    name: &str,
    sync: &Sync,
    work: Work<'_>,
) -> Result<Landed> {
    let stream = work.stream;
    let mut job = job(workspace, run_id, name, sync, stream).await?;
    if work.anew {
        job.request.from = None;
        job.anew = true;
    }
    let reading = resume::reading(&job, sync)?;
    let mut pace = Pace::of(sync);
    if let Some(reading) = reading.clone().filter(|_| !work.anew)
        && let Some(landed) = Box::pin(resume::go_on(&mut job, reading, &mut pace)).await?
    {
        return Ok(landed);
    }
    let tally = Mutex::new(Tally::default());
    let mut pages = job.source.read(&job.request);
    let mut gathered: Vec<Taken> = Vec::new();
    let mut bytes = 0;
    let much = match stream.write {
        WriteModeDeclared::Append | WriteModeDeclared::Replace => STREAMED_BYTES_MIN,
        WriteModeDeclared::Merge | WriteModeDeclared::Mirror | WriteModeDeclared::History => {
            GATHERED_BYTES_MAX
        }
    };
    let much = job.share.gathered(much);
    // What comes slowly is made durable on its way, too, if it can be taken up later.
    while bytes < much && !(bytes > 0 && reading.is_some() && pace.is_due()) {
        let Some(page) = pages.next().await else {
            drop(pages);
            let rows = gathered.into_iter().map(|(batch, _)| batch).collect();
            return commit(&job, rows, &tally).await;
        };
        let Some((batch, reached)) = take(&job, &tally, page?)? else { continue };
        bytes += batch.get_array_memory_size();
        // Positions can be large: only the last of those that are gathered is of use.
        if let Some((_, before)) = gathered.last_mut() {
            *before = None;
        }
        gathered.push((batch, reached.filter(|_| reading.is_some())));
    }
    let mut load = job.load().await?;
    if let Some(reading) = reading {
        load = load.anew(reading);
    }
    Box::pin(load_all(&job, load, (gathered, pages), &tally, &mut pace)).await
}

/// Rows that are mapped, and how far the read had come behind them, if it could go on there.
pub(super) type Taken = (RecordBatch, Option<Value>);

/// Writes everything into a load and publishes it.
pub(super) async fn load_all(
    job: &Job<'_>,
    mut load: Load,
    (gathered, mut pages): (Vec<Taken>, BoxStream<'_, Result<Page>>),
    tally: &Mutex<Tally>,
    pace: &mut Pace,
) -> Result<Landed> {
    let loaded = stream_into(job, &mut load, gathered, &mut pages, tally, pace).await;
    drop(pages);
    match loaded {
        Ok(()) => Box::pin(commit_load(job, load, tally)).await,
        Err(error) => {
            match error.kind() {
                // The source went away: a later attempt goes on behind what is durable.
                ErrorKind::Unavailable => load.leave().await,
                _ => load.discard().await,
            }
            Err(error)
        }
    }
}

/// Maps a page and counts it; a page without columns only carries notices or a position.
fn take(job: &Job<'_>, tally: &Mutex<Tally>, page: Page) -> Result<Option<Taken>> {
    let lost = lost(&job.request.columns, &page);
    let mut page = job.mapped(page)?;
    let mut tally = lock(tally);
    tally.tell(lost);
    tally.take(&mut page, job.errors)?;
    let reached = match tally.is_clean() {
        true => resume::reached(job.stream.read, &page.position, tally.rows, job.filtered()),
        false => None,
    };
    Ok((page.batch.num_columns() > 0).then_some((page.batch, reached)))
}

/// Writes pages while the next ones are read; a few wait in between, so that memory stays small.
async fn stream_into(
    job: &Job<'_>,
    load: &mut Load,
    gathered: Vec<Taken>,
    pages: &mut BoxStream<'_, Result<Page>>,
    tally: &Mutex<Tally>,
    pace: &mut Pace,
) -> Result<()> {
    let (mut send, mut receive) = mpsc::channel(PAGES_WAITING_MAX);
    let read = async move {
        while let Some(page) = pages.next().await {
            let Some(taken) = take(job, tally, page?)? else { continue };
            if send.send(taken).await.is_err() {
                // The other side has failed and says why.
                return Ok(());
            }
        }
        Ok(())
    };
    let write = async move {
        for (batch, reached) in gathered {
            load.write(&batch).await?;
            pace.park(load, reached).await?;
        }
        while let Some((batch, reached)) = receive.next().await {
            load.write(&batch).await?;
            pace.park(load, reached).await?;
        }
        Ok(())
    };
    try_join(read, write).await.map(|((), ())| ())
}

/// Publishes a load and the position after it, after what was set aside.
async fn commit_load(job: &Job<'_>, load: Load, tally: &Mutex<Tally>) -> Result<Landed> {
    let settled = settle(job, tally).await;
    let (mut landed, position, met) = match settled {
        Ok(Settled { landed, position: Some(position), met }) => (landed, position, met),
        Ok(Settled { landed, position: None, .. }) => {
            load.discard().await;
            return Ok(landed);
        }
        Err(error) => {
            load.discard().await;
            return Err(error);
        }
    };
    let checkpoint = Checkpoint { sequence: job.sequence, position: position.0 };
    let stored = Position(checkpoint.position.clone());
    landed.take(&load.commit(&job.operation(), &job.app, checkpoint).await?);
    landed.notices.extend(job.superseded(&met).await?);
    landed.notices.extend(job.told(stored).await);
    Ok(landed)
}

/// Writes the rows and the position in one commit, after what was set aside.
pub(crate) async fn commit(
    job: &Job<'_>,
    batches: Vec<RecordBatch>,
    tally: &Mutex<Tally>,
) -> Result<Landed> {
    let Settled { mut landed, position, met } = settle(job, tally).await?;
    let Some(position) = position else { return Ok(landed) };
    let schema = if batches.is_empty() { known_schema(job).await? } else { Some(union(&batches)?) };
    let Some(schema) = schema else { return Ok(landed) };
    let stored = position.clone();
    let checkpoint = Checkpoint { sequence: job.sequence, position: position.0 };
    let rows = RowStream::from_batches(Arc::clone(&schema), conform(&schema, batches)?);
    let write = Write::new(mode(job.stream, job.workspace.now()), rows, job.operation())
        .checkpoint(job.app.clone(), checkpoint)
        .add_columns();
    landed.take(&job.workspace.lake.write(&job.at, write).await?);
    landed.notices.extend(job.superseded(&met).await?);
    landed.notices.extend(job.told(stored).await);
    Ok(landed)
}

/// What the position of a full read is kept with: how it landed. The same source makes other rows once its stream is declared
/// otherwise.
const LANDED_AS: &str = "landed_as";

/// What a read amounts to before its rows are committed.
struct Settled {
    landed: Landed,
    /// The position to commit; none if there is nothing to commit.
    position: Option<Position>,
    /// What was set aside, by its names in the quarantine.
    met: BTreeSet<String>,
}

/// Applies the budget to the whole run and sets bad rows aside, before the position passes them.
async fn settle(job: &Job<'_>, tally: &Mutex<Tally>) -> Result<Settled> {
    let tally = std::mem::take(&mut *lock(tally));
    tally.judge(job.errors, true)?;
    let mut landed = Landed {
        table: destination(job.stream)?.to_string(),
        rows_in: tally.rows + tally.rejected.len() as u64 + job.filtered(),
        rows_rejected: tally.rejected.len() as u64,
        rows_filtered: job.filtered(),
        // A history writes a row for what ends, and none for what stands.
        counted: job.stream.write != WriteModeDeclared::History,
        notices: tally.notices,
        ..Landed::default()
    };
    let nothing = BTreeSet::new();
    let Some(mut position) = tally.position else {
        return Ok(Settled { landed, position: None, met: nothing });
    };
    if let (Some(declared), Some(position)) = (&job.declared, position.0.as_object_mut()) {
        position.insert(LANDED_AS.to_owned(), declared.clone().into());
    }
    let head = job.workspace.lake.head(&job.at).await?;
    let known = head.as_ref().and_then(|head| head.checkpoints.get(&job.app));
    // Nothing new was read and the table stands: a commit would only wake the models above it.
    let unchanged = known.is_some_and(|last| last.position == position.0);
    let none_read = tally.rows == 0 && tally.rejected.is_empty();
    let stands = match job.stream.read {
        Read::Full => !job.anew && (none_read || job.source.position_tells_content()),
        Read::Incremental | Read::Cdc => tally.rows == 0,
    };
    if unchanged && stands {
        landed.rows_unchanged = tally.rows;
        landed.version = head.map(|head| head.version);
        return Ok(Settled { landed, position: None, met: nothing });
    }
    let origin = Origin { sync: job.sync_name, stream: &job.stream.stream };
    let met = quarantine::set_aside(job.workspace, job.run_id, origin, tally.rejected).await?;
    Ok(Settled { landed, position: Some(position), met })
}

/// The columns of a table into which nothing was read yet: those it has, or those that are declared.
async fn known_schema(job: &Job<'_>) -> Result<Option<SchemaRef>> {
    if let Some(head) = job.workspace.lake.head(&job.at).await? {
        return Ok(Some(head.schema));
    }
    let fields = job.mapping.fields();
    Ok((!fields.is_empty()).then(|| Arc::new(Schema::new(fields))))
}

/// Lands mended rows and their position, if the read of the source is told another one by it, once per `replay`, a digest of
/// what is mended. The commit says by `landed` which rows those are.
pub(crate) async fn land_replayed(
    job: &Job<'_>,
    batches: Vec<RecordBatch>,
    position: Option<Position>,
    replay: &str,
    landed: Value,
) -> Result<()> {
    let lake = &job.workspace.lake;
    let done = lake
        .history(&job.at)
        .await?
        .into_iter()
        .any(|commit| commit.metadata.get("replay").and_then(Value::as_str) == Some(replay));
    if done {
        return Ok(());
    }
    let schema = union(&batches)?;
    let rows = RowStream::from_batches(Arc::clone(&schema), conform(&schema, batches)?);
    let mode = match mode(job.stream, job.workspace.now()) {
        // The mended rows are only some of all.
        WriteMode::History { key, deleted, at, .. } => {
            WriteMode::History { key, deleted, at, complete: false, dated: false }
        }
        other => other,
    };
    let mut write =
        Write::new(mode, rows, format!("replay {}.{}", job.sync_name, job.stream.stream))
            .add_columns()
            .property("replay", replay.into())
            .property(quarantine::LANDED, landed);
    if let Some(Position(position)) = position {
        let checkpoint = Checkpoint { sequence: job.sequence, position };
        write = write.checkpoint(job.app.clone(), checkpoint);
    }
    lake.write(&job.at, write).await?;
    Ok(())
}

fn mode(stream: &Stream, now: Timestamp) -> WriteMode {
    match stream.write {
        WriteModeDeclared::History => WriteMode::History {
            key: stream.key.clone(),
            deleted: stream.deleted.clone(),
            at: now,
            complete: stream.read == Read::Full && stream.deleted.is_none(),
            dated: false,
        },
        WriteModeDeclared::Append => WriteMode::Append,
        WriteModeDeclared::Replace => WriteMode::Replace,
        WriteModeDeclared::Merge => {
            WriteMode::Merge { key: stream.key.clone(), duplicates: Duplicates::KeepLast }
        }
        WriteModeDeclared::Mirror => mirror(stream),
    }
}

/// A mirror removes rows that are marked; of a full read everything that is not there is gone.
fn mirror(stream: &Stream) -> WriteMode {
    match (&stream.deleted, stream.read) {
        (Some(deleted), _) => WriteMode::MergeChanges {
            key: stream.key.clone(),
            duplicates: Duplicates::KeepLast,
            deleted: deleted.clone(),
        },
        (None, Read::Full) => WriteMode::Replace,
        (None, Read::Incremental | Read::Cdc) => {
            WriteMode::Merge { key: stream.key.clone(), duplicates: Duplicates::KeepLast }
        }
    }
}

/// Where a landed table lies: the folder of its schema, then its own.
pub(crate) fn location_of(table: &TableName) -> Result<Location> {
    Location::new(format!("{}/{}", table.schema, table.name))
}

/// Gives every batch the columns of the whole run, missing ones empty.
pub(crate) fn conform(schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let one = |batch: RecordBatch| match batch.schema_ref() == schema {
        true => Ok(batch),
        false => flywheel_warehouse::conform(schema, &batch),
    };
    batches.into_iter().map(one).collect()
}

/// The columns of all batches, each with a type that holds its values in every one.
pub(crate) fn union(batches: &[RecordBatch]) -> Result<SchemaRef> {
    let mut schemas = batches.iter().map(RecordBatch::schema);
    let first = schemas.next().unwrap_or_else(|| Arc::new(Schema::empty()));
    schemas.try_fold(first, |known, more| flywheel_warehouse::union(&known, &more))
}

/// What a read gathered beside its rows.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    rows: u64,
    rejected: Vec<Rejected>,
    /// Rows that were set aside already.
    bad_before: u64,
    /// Their names in the quarantine.
    met: BTreeSet<String>,
    notices: Vec<String>,
    /// Notices that are said once in a run, whatever is committed in between.
    told: Vec<String>,
    position: Option<Position>,
}

impl Tally {
    /// What an attempt that was cut off had read, behind which another one goes on.
    pub(super) fn behind(rows: u64, position: Position) -> Self {
        let notice = format!(
            "went on behind {rows} rows that an attempt which was cut off had read; they are as they were then"
        );
        Self { rows, position: Some(position), notices: vec![notice], ..Self::default() }
    }

    /// Whether no row was set aside: those that were are only noted with the commit, so no read may go on behind them.
    fn is_clean(&self) -> bool {
        self.rejected.is_empty() && self.bad_before == 0
    }

    /// Takes what a page has beside its rows.
    pub(crate) fn take(&mut self, page: &mut Page, errors: &Errors) -> Result<()> {
        self.rows += page.batch.num_rows() as u64;
        self.rejected.append(&mut page.rejected);
        let text = |notice: Notice| format!("{}: {}", notice.file, notice.message);
        self.notices.extend(page.notices.drain(..).map(text));
        self.position = Some(page.position.clone());
        self.judge(errors, false)
    }

    /// Notes what a person should know, once.
    pub(crate) fn tell(&mut self, notices: Vec<String>) {
        for notice in notices {
            if !self.told.contains(&notice) {
                self.told.push(notice.clone());
                self.notices.push(notice);
            }
        }
    }

    /// Counts rows that were read well and that a destination refused.
    pub(crate) fn refuse(&mut self, rejected: Vec<Rejected>, errors: &Errors) -> Result<()> {
        self.rows = self.rows.saturating_sub(rejected.len() as u64);
        self.rejected.extend(rejected);
        self.judge(errors, false)
    }

    /// Applies the budget and sets bad rows aside, before a position of `landed` passes them; they stay
    /// counted.
    pub(super) async fn pass(
        &mut self,
        workspace: &Workspace,
        run_id: &str,
        (name, errors): (&str, &Errors),
        stream: &Stream,
        landed: &mut Landed,
    ) -> Result<()> {
        self.judge(errors, true)?;
        let rejected = std::mem::take(&mut self.rejected);
        self.bad_before += rejected.len() as u64;
        landed.rows_rejected += rejected.len() as u64;
        let origin = Origin { sync: name, stream: &stream.stream };
        self.met.append(&mut quarantine::set_aside(workspace, run_id, origin, rejected).await?);
        landed.notices.append(&mut self.notices);
        Ok(())
    }

    /// The names in the quarantine of what was set aside on the way.
    pub(super) fn met(&self) -> &BTreeSet<String> {
        &self.met
    }

    /// Forgets them, where only rows that are bad now matter.
    pub(super) fn forget_met(&mut self) {
        self.met.clear();
    }

    /// Applies the budget of bad rows, counted over the whole run.
    pub(crate) fn judge(&self, errors: &Errors, at_end: bool) -> Result<()> {
        let bad = self.bad_before + self.rejected.len() as u64;
        let Some(first) = self.rejected.first() else { return Ok(()) };
        let place =
            first.line.map_or_else(|| first.file.clone(), |line| format!("{}:{line}", first.file));
        let stop = |why: String| {
            let column = first
                .column
                .as_ref()
                .map_or_else(String::new, |column| format!(", column \"{column}\""));
            Err(Error::blocked(format!("{why}; nothing was published; the first is {place}{column}: {}", first.reason))
                .hint("Mend the source or the declared columns, or raise the budget under `errors:` in the sync."))
        };
        if errors.on_bad_row == OnBadRow::Fail {
            return stop("a row is bad and the sync says on_bad_row: fail".to_owned());
        }
        if errors.max_bad_rows.is_some_and(|most| bad > most) {
            return stop(format!("{bad} rows are bad, more than max_bad_rows allows"));
        }
        let all = self.rows + bad;
        if let Some(most) = errors.max_bad_ratio.filter(|_| at_end || all >= RATIO_ROWS_MIN) {
            let ratio = bad as f64 / all as f64;
            if ratio > most.value() {
                return stop(format!(
                    "{bad} of {all} rows are bad ({:.2} %), more than max_bad_ratio allows",
                    100.0 * ratio
                ));
            }
        }
        Ok(())
    }
}

pub(crate) fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
