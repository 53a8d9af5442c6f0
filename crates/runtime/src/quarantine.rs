//! Rows that were set aside: `system.quarantine`.

pub mod mend;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array, new_null_array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int64Type};
use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_connect::source::ReadMode;
use flywheel_connect::{RAW_BYTES_MAX, Rejected, mended};
use flywheel_decision::table::ColumnType::{Integer, Moment, Text};
use flywheel_decision::table::SystemTable;
use flywheel_project::resource::sync::{LAKE, Read, Stream, Sync};
use flywheel_state::TaskOutcome;
use flywheel_warehouse::{Duplicates, Location, RowStream, Write, WriteMode};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::quality::Gate;
use crate::recorder::Recorder;
use crate::topic::Misfit;
use crate::{Workspace, migrate, task};

/// One row that was set aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuarantineRow {
    /// Follows from sync, stream, place, content and the destination that refused it, so that the same
    /// bad row is set aside once.
    pub quarantine_id: String,
    /// The sync.
    pub sync: String,
    /// The stream.
    pub stream: String,
    /// The run that set it aside.
    pub run_id: String,
    /// The connector.
    pub source: String,
    /// The file or table.
    pub file: String,
    /// The line, from 1.
    pub line: Option<i64>,
    /// The column that does not fit.
    pub column: Option<String>,
    /// The kind of mistake, kebab-case.
    pub code: String,
    /// What is wrong.
    pub reason: String,
    /// The row as it was read.
    pub raw: String,
    /// `open`, `replayed`, `discarded`, or `superseded` by a read of the whole stream that did not set it aside again.
    pub status: String,
    /// The logical moment it was set aside.
    pub first_at: Timestamp,
    /// The logical moment its status last changed.
    pub changed_at: Timestamp,
    /// What somebody gave for its columns before it landed, as a JSON object; values with a mask are not kept.
    #[serde(default)]
    pub edited: Option<String>,
    /// Who mended it by hand or gave it up.
    #[serde(default)]
    pub ended_by: Option<String>,
    /// Why it was given up.
    #[serde(default)]
    pub ended_why: Option<String>,
}

/// The source of events that do not fit their topic: the topic is their stream, and they have no sync.
pub const EVENTS: &str = "events";
/// The sync of events, a name that none can have.
const NO_SYNC: &str = "";
/// Events of one topic that are open at most; who sends more of them is told the same, and they are not kept.
const EVENTS_OPEN_MAX: usize = 10_000;

/// The definition of `system.quarantine`.
pub const TABLE: SystemTable = SystemTable {
    name: "quarantine",
    about: "One row per source row that could not be decoded or mapped. Key: quarantine_id.",
    columns: &[
        ("quarantine_id", Text, "follows from sync, stream, place, content and who refused it"),
        ("sync", Text, "the sync; empty for an event that was handed in"),
        ("stream", Text, "the stream, or the topic of an event"),
        ("run_id", Text, "the run that set it aside; empty for an event"),
        ("source", Text, "the connector, or events"),
        ("file", Text, "the file, table or topic"),
        ("line", Integer, "the line, from 1"),
        ("column", Text, "the column that does not fit"),
        ("code", Text, "the kind of mistake"),
        ("reason", Text, "what is wrong"),
        ("raw", Text, "the row as it was read"),
        (
            "status",
            Text,
            "open, replayed, discarded, or superseded: its stream was read from the start since, and it was not bad again",
        ),
        ("first_at", Moment, "the logical moment it was set aside"),
        ("changed_at", Moment, "the logical moment its status last changed"),
        (
            "edited",
            Text,
            "what somebody gave for its columns before it landed, as JSON; not what a mask hides",
        ),
        ("ended_by", Text, "who mended it by hand, or gave it up for a reason"),
        ("ended_why", Text, "why it was given up"),
    ],
};

/// Whose rows are set aside.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The sync.
    pub(crate) sync: &'a str,
    /// The stream.
    pub(crate) stream: &'a str,
}

impl Origin<'_> {
    /// What names a rejected row: the same bad row has the same id in each run.
    fn id(self, row: &Rejected) -> String {
        self.id_at(row, row.destination.as_deref())
    }

    /// The id of a row that `destination` refused: each one that refuses it has a reason of its own.
    fn id_at(self, row: &Rejected, destination: Option<&str>) -> String {
        let line = row.line.map_or_else(String::new, |line| line.to_string());
        let parts = [self.sync, self.stream, &row.file, &line, &row.code, &row.raw];
        let parts = parts.into_iter().chain(destination);
        digest::short(&parts.map(str::as_bytes).collect::<Vec<_>>())
    }
}

/// What is wrong with a row, and which destination says so.
fn reason(row: &Rejected) -> Cow<'_, str> {
    match &row.destination {
        Some(name) => Cow::Owned(format!("{}{}", row.reason, refused_by(name))),
        None => Cow::Borrowed(&row.reason),
    }
}

/// What stands behind the reason of a row that a destination refused.
fn refused_by(destination: &str) -> String {
    format!(" (refused by the destination \"{destination}\")")
}

/// Sets what a source rejected aside, rows that are there already only once; committed before the position passes them. Gives
/// the ids under which they are, or were before destinations were told apart.
pub(crate) async fn set_aside(
    workspace: &Workspace,
    run_id: &str,
    origin: Origin<'_>,
    rejected: Vec<Rejected>,
) -> Result<BTreeSet<String>> {
    if rejected.is_empty() {
        return Ok(BTreeSet::new());
    }
    let head = workspace.lake.head(&TABLE.location()?).await?;
    let empty = head.is_none_or(|head| head.files == 0);
    let Origin { sync, stream } = origin;
    let there = format!("from system.quarantine where sync = '{sync}' and stream = '{stream}'");
    let known = match empty {
        true => BTreeSet::new(),
        false => system_ids(workspace, &format!("select quarantine_id {there}")).await?,
    };
    // Rows that a destination refused were once known without its name, only by its type.
    let unnamed = match empty || rejected.iter().all(|row| row.destination.is_none()) {
        true => BTreeSet::new(),
        false => {
            let sql = format!("select concat(quarantine_id, ' ', source) {there}");
            system_ids(workspace, &sql).await?
        }
    };
    let is_known = |id: &str, row: &Rejected| {
        let before = || format!("{} {}", origin.id_at(row, None), row.source);
        known.contains(id) || (row.destination.is_some() && unnamed.contains(&before()))
    };
    let mut seen = HashSet::with_capacity(rejected.len());
    let ids: Vec<String> = rejected.iter().map(|row| origin.id(row)).collect();
    let rows: Vec<(&str, &Rejected)> = ids
        .iter()
        .map(String::as_str)
        .zip(&rejected)
        .filter(|(id, row)| !is_known(id, row) && seen.insert(*id))
        .collect();
    if !rows.is_empty() {
        let batch = batch(run_id, origin, workspace.now(), &rows)?;
        TABLE.append_batch(&workspace.lake, batch).await?;
    }
    let refused = rejected.iter().filter(|row| row.destination.is_some());
    let older = refused.map(|row| origin.id_at(row, None)).collect::<Vec<_>>();
    let met: BTreeSet<String> = ids.into_iter().chain(older).collect();
    if !empty {
        Box::pin(open_again(workspace, &there, &met)).await?;
    }
    Ok(met)
}

/// Opens rows that are bad again after a read had superseded them.
async fn open_again(workspace: &Workspace, there: &str, met: &BTreeSet<String>) -> Result<()> {
    let ended = format!("select * {there} and status = 'superseded'");
    let query = workspace.lake_session().await?.query(&ended).await?;
    let mut again = Vec::new();
    for batch in query.collect().await? {
        again.extend(rows_of(&batch)?.into_iter().filter(|row| met.contains(&row.quarantine_id)));
    }
    mark(workspace, &again, "open").await
}

/// Connectors whose messages are gone some time after they came: that a read from the start does not meet one says nothing.
const COME_ONCE: &[&str] = &["kafka", "journal"];

/// Whose rows a read from the start of a stream ends.
#[derive(Clone, Copy)]
pub(crate) struct Whole<'a> {
    /// The sync's name and what it declares.
    pub(crate) sync: (&'a str, &'a Sync),
    /// The stream.
    pub(crate) stream: &'a Stream,
    /// Where it was brought.
    pub(crate) destination: &'a str,
    /// The run.
    pub(crate) run_id: &'a str,
}

/// Ends the open rows of a stream that was read from its start and landed, but for those that were set aside again, which
/// are `met`. Tells how many, in words, if there were any.
///
/// Of several destinations each ends the rows that it refused; what was wrong with rows before they came to one is ended by the
/// lake, or else by the first, and not if the run set it aside itself on the way to another.
pub(crate) async fn supersede(
    workspace: &Workspace,
    whole: Whole<'_>,
    met: &BTreeSet<String>,
) -> Result<Option<String>> {
    let (name, sync) = whole.sync;
    let connection = workspace.project.connections.get(&sync.connection);
    let comes_once = connection.is_some_and(|one| COME_ONCE.contains(&one.connector.as_str()));
    let head = workspace.lake.head(&TABLE.location()?).await?;
    if head.is_none_or(|head| head.files == 0)
        || (comes_once && !task::sync::replaces(whole.stream))
    {
        return Ok(None);
    }
    let names = sync.destination.names();
    let speaks = match names.iter().any(|name| name == LAKE) {
        true => whole.destination == LAKE,
        false => names.first().is_some_and(|first| first == whole.destination),
    };
    let own = refused_by(whole.destination);
    // The rows of a first read are all of its own run: they are not fetched to be left out.
    let (stream, run_id) = (&whole.stream.stream, whole.run_id);
    let before = format!("sync = '{name}' and stream = '{stream}' and run_id <> '{run_id}'");
    let mut ended: Vec<QuarantineRow> =
        open_where(workspace, &before).await?.into_values().collect();
    ended.retain(|row| {
        let by_another = names.iter().any(|name| row.reason.ends_with(&refused_by(name)));
        let ends = row.reason.ends_with(&own) || (speaks && !by_another);
        ends && !met.contains(&row.quarantine_id)
    });
    mark(workspace, &ended, "superseded").await?;
    Ok((!ended.is_empty()).then(|| {
        format!(
            "{} rows that were set aside before are closed in the quarantine as superseded: the stream was read from its \
             start, and they were not bad again, or not there",
            ended.len()
        )
    }))
}

/// Sets events aside that do not fit their topic, each with why; those that are there already only once. Tells of each
/// whether it is there, durably: beyond a number of open ones, none of a topic are added.
///
/// # Errors
/// Those of the lake.
pub async fn set_aside_events(
    workspace: &Workspace,
    topic: &str,
    events: Vec<(Misfit, String)>,
) -> Result<Vec<bool>> {
    let rows: Vec<Rejected> =
        events.into_iter().map(|(why, raw)| event(topic, why, &raw)).collect();
    let head = workspace.lake.head(&TABLE.location()?).await?;
    let (mut known, mut open) = (BTreeSet::new(), 0);
    if head.is_some_and(|head| head.files > 0) {
        let sql = format!(
            "select quarantine_id from system.quarantine where sync = '{NO_SYNC}' and stream = '{}'",
            topic.replace('\'', "''")
        );
        known = system_ids(workspace, &sql).await?;
        open = system_ids(workspace, &format!("{sql} and status = 'open'")).await?.len();
    }
    let origin = Origin { sync: NO_SYNC, stream: topic };
    let ids: Vec<String> = rows.iter().map(|row| origin.id(row)).collect();
    let mut room = EVENTS_OPEN_MAX.saturating_sub(open);
    let mut added: Vec<(&str, &Rejected)> = Vec::new();
    let mut there = Vec::with_capacity(rows.len());
    for (id, row) in ids.iter().zip(&rows) {
        if !known.contains(id) && room > 0 {
            room -= 1;
            known.insert(id.clone());
            added.push((id.as_str(), row));
        }
        there.push(known.contains(id));
    }
    if !added.is_empty() {
        let batch = batch("", origin, workspace.now(), &added)?;
        TABLE.append_batch(&workspace.lake, batch).await?;
    }
    Ok(there)
}

/// The row of an event. Of a long one that keeps only the beginning, a digest tells those apart that begin alike.
fn event(topic: &str, why: Misfit, raw: &str) -> Rejected {
    let mut end = raw.len().min(RAW_BYTES_MAX);
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    let kept = raw.get(..end).unwrap_or_default();
    let (file, raw) = match end == raw.len() {
        true => (topic.to_owned(), kept.to_owned()),
        false => (format!("{topic} #{}", digest::short(&[raw.as_bytes()])), format!("{kept}…")),
    };
    Rejected {
        source: EVENTS.into(),
        file,
        line: None,
        column: why.field,
        code: why.code.into(),
        reason: why.reason,
        raw,
        destination: None,
    }
}

/// New rows of the table: built column by column, because a bad file may have a hundred thousand of them.
fn batch(
    run_id: &str,
    Origin { sync, stream }: Origin<'_>,
    at: Timestamp,
    rows: &[(&str, &Rejected)],
) -> Result<RecordBatch> {
    let same = |text: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(repeat_n(text, rows.len())))
    };
    let texts = |of: fn(&Rejected) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, row)| of(row))))
    };
    let moment: ArrayRef = Arc::new(
        TimestampMicrosecondArray::from_value(at.micros(), rows.len()).with_timezone("UTC"),
    );
    let lines = rows.iter().map(|(_, row)| row.line.and_then(|line| i64::try_from(line).ok()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(id, _)| *id))),
        same(sync),
        same(stream),
        same(run_id),
        texts(|row| &row.source),
        texts(|row| &row.file),
        Arc::new(lines.collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(_, row)| row.column.as_deref()).collect::<StringArray>()),
        texts(|row| &row.code),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, row)| reason(row)))),
        texts(|row| &row.raw),
        same("open"),
        Arc::clone(&moment),
        moment,
        new_null_array(&DataType::Utf8, rows.len()),
        new_null_array(&DataType::Utf8, rows.len()),
        new_null_array(&DataType::Utf8, rows.len()),
    ];
    RecordBatch::try_new(TABLE.schema(), columns)
        .map_err(|e| Error::internal("rejected rows do not fit system.quarantine").caused_by(e))
}

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Rows that landed.
    pub landed: u64,
    /// Rows that are still bad.
    pub still_bad: u64,
}

/// The first column of a query, as a set of text.
pub(crate) async fn system_ids(workspace: &Workspace, sql: &str) -> Result<BTreeSet<String>> {
    let batches = workspace.lake_session().await?.query(sql).await?.collect().await?;
    let mut ids = BTreeSet::new();
    for batch in batches {
        let column = cast(batch.column(0), &DataType::Utf8)
            .map_err(|e| Error::internal("an id is no text").caused_by(e))?;
        ids.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}

/// A file and a line of it.
type Place = (String, u64);

/// The rows that may be mended, by where they were.
type Open = BTreeMap<Place, QuarantineRow>;

/// Reads files of open rows again and lands the rows that are good now; the others stay.
///
/// A row is known by its file and line, so a file is mended in place. What holds after a crash: each commit says which rows
/// it landed, so that a replay that is cut off before it marked them does not land them again, whatever else is mended then.
///
/// # Errors
/// The first error, after the rows of all other streams have been tried; further ones are told.
pub(crate) async fn replay(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    sync: Option<&str>,
) -> Result<Replayed> {
    let mut total = Replayed::default();
    let mut failed = None;
    for (name, declared) in &workspace.project.syncs {
        if sync.is_some_and(|sync| sync != name) {
            continue;
        }
        let result = replay_sync(workspace, recorder, name, declared, &mut total).await;
        keep_first(&mut failed, result, recorder);
    }
    failed.map_or(Ok(total), Err)
}

/// Keeps the first error and tells the others.
fn keep_first(failed: &mut Option<Error>, result: Result<()>, recorder: &Recorder<'_>) {
    match result {
        Ok(()) => {}
        Err(error) if failed.is_none() => *failed = Some(error),
        Err(error) => recorder.notice(error.to_string()),
    }
}

/// Lands the rows of one sync that can be read now, whatever becomes of single streams.
async fn replay_sync(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    declared: &Sync,
    total: &mut Replayed,
) -> Result<()> {
    let gate = Gate::close(workspace, declared).await?;
    let mut failed = None;
    for stream in &declared.streams {
        let result = replay_stream(workspace, recorder, name, declared, stream, total).await;
        keep_first(&mut failed, result, recorder);
    }
    let mut landed = Vec::new();
    let settled = Box::pin(gate.settle(recorder, &mut landed)).await;
    keep_first(&mut failed, settled, recorder);
    failed.or_else(|| task::sync::blocked(&landed)).map_or(Ok(()), Err)
}

/// Lands the rows of one stream that can be read now.
async fn replay_stream(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    declared: &Sync,
    stream: &Stream,
    total: &mut Replayed,
) -> Result<()> {
    let mut open = open_rows(workspace, name, &stream.stream).await?;
    let all = open.len();
    // A row that a destination refused was read well: reading it again mends nothing.
    let connection = workspace.project.connections.get(&declared.connection);
    open.retain(|_, row| declared.lands() && connection.is_some_and(|c| c.connector == row.source));
    if all > open.len() {
        recorder.notice(format!(
            "{} rows of {name}.{} were refused by a destination; mend them at the source and sync \
             again, then discard them here",
            all - open.len(),
            stream.stream
        ));
        total.still_bad += (all - open.len()) as u64;
    }
    if stream.read == Read::Cdc && !open.is_empty() {
        recorder.notice(format!(
            "{} rows of {name}.{} came from a log, which is not read again; a change of the row in \
             the source brings it back, then discard it here",
            open.len(),
            stream.stream
        ));
        total.still_bad += open.len() as u64;
        return Ok(());
    }
    if open.is_empty() {
        return Ok(());
    }
    let source = task::sync::source(workspace, declared, stream).await?;
    if stream.read == Read::Incremental && !source.position_tells_content() {
        recorder.notice(format!(
            "{} rows of {name}.{} lie behind the position of the stream, and no file has them; {}, \
             then discard them here",
            open.len(),
            stream.stream,
            mend_behind(name, stream)
        ));
        total.still_bad += open.len() as u64;
        return Ok(());
    }
    let timer = recorder.started("quarantine", &format!("{name}.{}", stream.stream));
    let result = if stream.read == Read::Full {
        replay_full(workspace, recorder, name, declared, stream, open).await
    } else {
        replay_lines(workspace, recorder.run_id(), name, declared, stream, open).await
    };
    let done = recorder.settled(timer, result, |done| {
        let outcome = TaskOutcome {
            rows_in: Some(done.landed + done.still_bad),
            rows_out: Some(done.landed),
            rows_rejected: Some(done.still_bad),
            ..TaskOutcome::default()
        };
        ("succeeded".to_owned(), outcome)
    })?;
    total.landed += done.landed;
    total.still_bad += done.still_bad;
    Ok(())
}

/// The property of a commit that says which rows of the quarantine it landed.
pub(crate) const LANDED: &str = "quarantined";
/// Rows that a commit lands and names at most; more are landed by several.
const LANDED_MAX: usize = mend::ROWS_MAX;

/// What a commit says of the rows of the quarantine that it landed.
#[derive(Debug, Serialize, Deserialize)]
struct Landed {
    /// Their ids.
    rows: Vec<String>,
    /// What was given for their columns, as it is kept.
    #[serde(default)]
    edited: Option<String>,
    /// Who gave it.
    #[serde(default)]
    by: Option<String>,
}

impl Landed {
    /// What a commit of these rows says.
    fn said(rows: &[QuarantineRow], ending: Ending<'_>) -> Result<Value> {
        let landed = Self {
            rows: rows.iter().map(|row| row.quarantine_id.clone()).collect(),
            edited: ending.edited.map(str::to_owned),
            by: ending.by.map(str::to_owned),
        };
        serde_json::to_value(landed)
            .map_err(|error| Error::internal("what landed is no JSON").caused_by(error))
    }
}

/// Rows that land together, and those of the quarantine that they were.
#[derive(Default)]
struct Part {
    batches: Vec<RecordBatch>,
    rows: Vec<QuarantineRow>,
}

/// Divides mended rows into parts that a commit can name, in the order in which they were read; `places` says where each
/// row of `batches` was. What was at one place stays together.
fn parts(batches: &[RecordBatch], places: &[Place], open: Open) -> Result<Vec<Part>> {
    let mut of: BTreeMap<Place, Vec<QuarantineRow>> = BTreeMap::new();
    for row in open.into_values() {
        of.entry(place(&row)).or_default().push(row);
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut part_of: BTreeMap<&Place, usize> = BTreeMap::new();
    for place in places {
        let Some(rows) = of.remove(place) else { continue };
        match parts.last_mut().filter(|part| part.rows.len() + rows.len() <= LANDED_MAX) {
            Some(part) => part.rows.extend(rows),
            None => parts.push(Part { rows, ..Part::default() }),
        }
        part_of.insert(place, parts.len() - 1);
    }
    let mut next = places.iter();
    for batch in batches {
        let mut by_part: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (row, place) in (0_u64..).zip(next.by_ref().take(batch.num_rows())) {
            if let Some(part) = part_of.get(place) {
                by_part.entry(*part).or_default().push(row);
            }
        }
        for (part, rows) in by_part {
            if let Some(part) = parts.get_mut(part) {
                part.batches.push(picked(batch, rows)?);
            }
        }
    }
    Ok(parts)
}

/// These rows of a batch.
fn picked(batch: &RecordBatch, rows: Vec<u64>) -> Result<RecordBatch> {
    take_record_batch(batch, &UInt64Array::from(rows))
        .map_err(|e| Error::internal("rows cannot be picked from a page").caused_by(e))
}

/// Marks those of open rows that landed already, in an attempt that was cut off before it marked them: with what was given
/// for them then. Returns the others, and how many these were.
async fn mark_landed(
    workspace: &Workspace,
    at: &Location,
    rows: Vec<QuarantineRow>,
) -> Result<(Vec<QuarantineRow>, u64)> {
    let (mut rest, mut count) = (rows, 0);
    if workspace.lake.head(at).await?.is_none() {
        return Ok((rest, count));
    }
    for mut commit in workspace.lake.history(at).await? {
        let said = commit.metadata.remove(LANDED);
        let Some(landed) = said.and_then(|said| serde_json::from_value::<Landed>(said).ok()) else {
            continue;
        };
        let ids: BTreeSet<&str> = landed.rows.iter().map(String::as_str).collect();
        let (done, open): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|row| ids.contains(row.quarantine_id.as_str()));
        rest = open;
        let (edited, by) = (landed.edited.as_deref(), landed.by.as_deref());
        end(workspace, &done, Ending { status: "replayed", edited, by, why: None }).await?;
        count += done.len() as u64;
    }
    Ok((rest, count))
}

/// How rows come again that a stream has passed and that are in no file.
fn mend_behind(sync: &str, stream: &Stream) -> String {
    if task::sync::written_by(stream).is_empty() {
        return "write them anew at the source, so that the next sync reads them".to_owned();
    }
    format!(
        "mend them at the source or in the declared columns and read the stream from its start with \
         `flywheel sync {sync} --restart`"
    )
}

/// Marks open rows as not wanted, of one sync if it is named, of events of a topic if no sync is called so, and of all
/// events if the name is empty; returns how many.
///
/// # Errors
/// Those of the lake.
pub async fn discard(workspace: &Workspace, sync: Option<&str>) -> Result<usize> {
    let mut rows = Vec::new();
    for (name, declared) in &workspace.project.syncs {
        for stream in declared.streams.iter().filter(|_| sync.is_none_or(|sync| sync == name)) {
            rows.extend(open_rows(workspace, name, &stream.stream).await?.into_values());
        }
    }
    if sync.is_none_or(|name| !workspace.project.syncs.contains_key(name)) {
        let events = open_where(workspace, &format!("sync = '{NO_SYNC}'")).await?.into_values();
        rows.extend(
            events.filter(|row| sync.is_none_or(|topic| topic.is_empty() || row.stream == topic)),
        );
    }
    mark(workspace, &rows, "discarded").await?;
    Ok(rows.len())
}

async fn open_rows(workspace: &Workspace, sync: &str, stream: &str) -> Result<Open> {
    open_where(workspace, &format!("sync = '{sync}' and stream = '{stream}'")).await
}

async fn open_where(workspace: &Workspace, whose: &str) -> Result<Open> {
    let sql = format!("select * from system.quarantine where {whose} and status = 'open'");
    let query = workspace.lake_session().await?.query(&sql).await?;
    let mut open = Open::new();
    for batch in query.collect().await? {
        for row in rows_of(&batch)? {
            let mut place = place(&row);
            if open.contains_key(&place) {
                // Rows that no line tells apart, and what several destinations say of one, are told apart
                // by their id.
                place.0 = format!("{} {}", row.file, row.quarantine_id);
            }
            open.insert(place, row);
        }
    }
    Ok(open)
}

/// The file and line of a row.
fn place(row: &QuarantineRow) -> (String, u64) {
    let line = row.line.and_then(|line| u64::try_from(line).ok()).unwrap_or_default();
    (row.file.clone(), line)
}

/// Reads rows back from a batch of the table.
fn rows_of(batch: &RecordBatch) -> Result<Vec<QuarantineRow>> {
    let unreadable = |what: &str| {
        Error::corrupt(format!("system.quarantine: column \"{what}\" is not readable"))
    };
    let text = |name: &str| -> Result<Vec<Option<String>>> {
        let column = batch.column_by_name(name).ok_or_else(|| unreadable(name))?;
        let column = cast(column, &DataType::Utf8).map_err(|e| unreadable(name).caused_by(e))?;
        Ok(column.as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect())
    };
    let number = |name: &str| -> Result<Vec<Option<i64>>> {
        let column = batch.column_by_name(name).ok_or_else(|| unreadable(name))?;
        let column = cast(column, &DataType::Int64).map_err(|e| unreadable(name).caused_by(e))?;
        Ok(column.as_primitive::<Int64Type>().iter().collect())
    };
    let names = [
        "quarantine_id",
        "sync",
        "stream",
        "run_id",
        "source",
        "file",
        "code",
        "reason",
        "raw",
        "status",
    ];
    let columns = names.iter().map(|name| text(name)).collect::<Result<Vec<_>>>()?;
    let (column, line, first) = (text("column")?, number("line")?, number("first_at")?);
    let changed = number("changed_at")?;
    // A table that was made before they were told does not have them until it is written again.
    let later = |name: &str| match batch.column_by_name(name) {
        Some(_) => text(name),
        None => Ok(Vec::new()),
    };
    let (edited, ended_by, ended_why) = (later("edited")?, later("ended_by")?, later("ended_why")?);
    let at = |which: usize, row: usize| -> String {
        columns.get(which).and_then(|values| values.get(row)).cloned().flatten().unwrap_or_default()
    };
    let row = |row: usize| QuarantineRow {
        quarantine_id: at(0, row),
        sync: at(1, row),
        stream: at(2, row),
        run_id: at(3, row),
        source: at(4, row),
        file: at(5, row),
        line: line.get(row).copied().flatten(),
        column: column.get(row).cloned().flatten(),
        code: at(6, row),
        reason: at(7, row),
        raw: at(8, row),
        status: at(9, row),
        first_at: Timestamp::from_micros(first.get(row).copied().flatten().unwrap_or_default()),
        changed_at: Timestamp::from_micros(changed.get(row).copied().flatten().unwrap_or_default()),
        edited: edited.get(row).cloned().flatten(),
        ended_by: ended_by.get(row).cloned().flatten(),
        ended_why: ended_why.get(row).cloned().flatten(),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

/// A stream that is read in full each time is simply read again; rows it no longer rejects are mended.
async fn replay_full(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    sync: &Sync,
    stream: &Stream,
    open: Open,
) -> Result<Replayed> {
    if let Some(why) = migrate::stands_still(workspace, name)? {
        recorder.notice(why);
        return Ok(Replayed { landed: 0, still_bad: open.len() as u64 });
    }
    // Only this stream: what is wrong with others is for their own run to say.
    for work in task::sync::works(sync).filter(|work| work.stream.stream == stream.stream) {
        let landed = task::sync::one(workspace, recorder.run_id(), name, sync, work.again());
        for notice in Box::pin(landed).await?.notices {
            recorder.notice(format!("sync {}: {notice}", work.named(name)));
        }
    }
    let job = task::sync::job(workspace, recorder.run_id(), name, sync, stream).await?;
    let origin = Origin { sync: name, stream: &stream.stream };
    let mut bad = BTreeSet::new();
    let mut pages = job.source.read(&job.request);
    while let Some(page) = pages.next().await {
        let page = job.mapped(page?)?;
        bad.extend(page.rejected.iter().map(|row| origin.id(row)));
    }
    let (still, mended): (Vec<_>, Vec<_>) =
        open.into_values().partition(|row| bad.contains(&row.quarantine_id));
    mark(workspace, &mended, "replayed").await?;
    Ok(Replayed { landed: mended.len() as u64, still_bad: still.len() as u64 })
}

/// Reads the files of open rows in full and lands only their lines.
async fn replay_lines(
    workspace: &Workspace,
    run_id: &str,
    name: &str,
    sync: &Sync,
    stream: &Stream,
    mut open: Open,
) -> Result<Replayed> {
    let mut job = task::sync::job(workspace, run_id, name, sync, stream).await?;
    let rows = open.values().cloned().collect();
    let (rest, marked) = Box::pin(mark_landed(workspace, &job.at, rows)).await?;
    if marked > 0 {
        let rest: BTreeSet<&str> = rest.iter().map(|row| row.quarantine_id.as_str()).collect();
        open.retain(|_, row| rest.contains(row.quarantine_id.as_str()));
        if open.is_empty() {
            return Ok(Replayed { landed: marked, still_bad: 0 });
        }
    }
    let before = job.request.from.take().ok_or_else(|| {
        Error::internal(format!(
            "stream \"{name}.{}\" has rows in quarantine and no position",
            stream.stream
        ))
    })?;
    job.request.mode = ReadMode::Full;
    job.request.write_appends = false;
    let places: BTreeSet<Place> = open.values().map(place).collect();
    let (mut batches, mut good, mut still_bad, mut last) = (Vec::new(), Vec::new(), 0, None);
    {
        let mut pages = job.source.read(&job.request);
        while let Some(page) = pages.next().await {
            let page = job.mapped(page?)?;
            let mut rows = Vec::new();
            for row in 0..page.batch.num_rows() {
                let place = page.trace(row).map(|(file, line)| (file.to_owned(), line));
                if let Some(place) = place.filter(|place| places.contains(place)) {
                    rows.push(u64::try_from(row).unwrap_or(u64::MAX));
                    good.push(place);
                }
            }
            let inside =
                |r: &&Rejected| places.contains(&(r.file.clone(), r.line.unwrap_or_default()));
            still_bad += page.rejected.iter().filter(inside).count() as u64;
            if !rows.is_empty() {
                batches.push(picked(&page.batch, rows)?);
            }
            last = Some(page.position);
        }
    }
    let Some(last) = last.filter(|_| !good.is_empty()) else {
        return Ok(Replayed { landed: marked, still_bad: open.len() as u64 });
    };
    let files: BTreeSet<String> = open.values().map(|row| row.file.clone()).collect();
    // With the first commit, so that files of which only a part has landed are not read as new ones.
    let mut position = Some(mended(&before, &last, &files)?);
    let ending = Ending { status: "replayed", edited: None, by: None, why: None };
    let mut landed = 0;
    for Part { batches, rows } in parts(&batches, &good, open)? {
        let ids: Vec<&[u8]> = rows.iter().map(|row| row.quarantine_id.as_bytes()).collect();
        let (replay, said) = (digest::short(&ids), Landed::said(&rows, ending)?);
        Box::pin(task::sync::land_replayed(&job, batches, position.take(), &replay, said)).await?;
        end(workspace, &rows, ending).await?;
        landed += rows.len() as u64;
    }
    Ok(Replayed { landed: marked + landed, still_bad })
}

/// How rows end.
#[derive(Clone, Copy)]
struct Ending<'a> {
    status: &'a str,
    /// What was given for their columns.
    edited: Option<&'a str>,
    by: Option<&'a str>,
    why: Option<&'a str>,
}

/// Gives rows another status.
async fn mark(workspace: &Workspace, rows: &[QuarantineRow], status: &str) -> Result<()> {
    end(workspace, rows, Ending { status, edited: None, by: None, why: None }).await
}

/// Ends rows, with who did it and why as far as it is known.
async fn end(workspace: &Workspace, rows: &[QuarantineRow], ending: Ending<'_>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let Ending { status, edited, by, why } = ending;
    let changed = |row: &QuarantineRow| QuarantineRow {
        status: status.to_owned(),
        changed_at: workspace.now(),
        edited: edited.map(str::to_owned),
        ended_by: by.map(str::to_owned),
        ended_why: why.map(str::to_owned),
        ..row.clone()
    };
    let changed: Vec<QuarantineRow> = rows.iter().map(changed).collect();
    let mode = WriteMode::Merge {
        key: vec!["quarantine_id".to_owned()],
        duplicates: Duplicates::KeepLast,
    };
    let batch = TABLE.batch(&changed)?;
    let write = Write::new(
        mode,
        RowStream::from_batches(TABLE.schema(), vec![batch]),
        format!("mark {status}"),
    )
    .add_columns();
    workspace.lake.write(&TABLE.location()?, write).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_one_id_for_each_destination_that_refuses_it_and_its_old_one_without() {
        let row = Rejected {
            source: "sqlite".into(),
            file: "1.csv".to_owned(),
            line: Some(4),
            column: None,
            code: "constraint".into(),
            reason: "too short".to_owned(),
            raw: "{}".to_owned(),
            destination: None,
        };
        let origin = Origin { sync: "out", stream: "people" };
        let parts = ["out", "people", "1.csv", "4", "constraint", "{}"].map(str::as_bytes);
        assert_eq!(origin.id(&row), digest::short(&parts), "as in projects that are there");
        assert_eq!(reason(&row), "too short");
        let (one, two) = (row.clone().refused_by("one"), row.clone().refused_by("two"));
        let ids = BTreeSet::from([origin.id(&row), origin.id(&one), origin.id(&two)]);
        assert_eq!(ids.len(), 3);
        assert_eq!(reason(&two), "too short (refused by the destination \"two\")");
    }
}
