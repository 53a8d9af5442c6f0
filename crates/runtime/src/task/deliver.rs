//! Delivering: pages of a source into a destination other than the lake.
//!
//! What holds after a crash: the destination itself tells the last checkpoint it has committed, and
//! the read goes on after it. A replacement that was staged to its end is only swapped in: the
//! checkpoint says whether its read had ended, since reading on from the end would read all again. A row that is set aside, by the source or by the destination, is in the
//! quarantine before a checkpoint passes it. The budget of bad rows is judged before each commit, so
//! that a run that goes wrong stops at its last checkpoint.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Schema, SchemaRef};
use flywheel_base::{Error, Result};
use flywheel_connect::destination::{
    Checkpoint, Destination, Guarantee, NewTargetColumns, Progress, Refused, WriteMode,
    WriteRequest, Writer, Written,
};
use flywheel_connect::source::ReadRequest;
use flywheel_connect::{
    DestinationContext, DestinationEntry, Mapping, Page, Position, RAW_BYTES_MAX, Rejected,
};
use flywheel_project::resource::sync::{LAKE, NewColumns, Read, Stream, Sync, Write};
use flywheel_warehouse::DELETED;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::changes::reader;
use super::repeated::Repeated;
use super::resume;
use super::share::Share;
use super::source_types::{Types, app_of};
use super::sync::{
    Landed, Tally, lands_already, lost, read_request, resolved, source, tell_source,
};
use crate::Workspace;
use crate::mapping::mapping;
use crate::quarantine;

/// Rows between two commits.
pub(crate) const CHECKPOINT_ROWS: u64 = 100_000;
/// Rows between two commits of a target that commits in a transaction, which costs it next to nothing: what waits is
/// read again after a crash, with the pages that are on their way.
const TRANSACTION_ROWS: u64 = 50_000;
/// Bytes of rows between two commits.
pub(crate) const CHECKPOINT_BYTES: usize = 64 << 20;

/// Brings one stream of a sync to one destination; with `anew`, from its start.
///
/// # Errors
/// Those of source and destination; [`flywheel_base::ErrorKind::Blocked`] beyond the budget of bad
/// rows. What was committed before stays, and the next run goes on from there.
pub(crate) async fn deliver(
    workspace: &Workspace,
    run_id: &str,
    (name, sync): (&str, &Sync),
    stream: &Stream,
    destination: &str,
    anew: bool,
) -> Result<Landed> {
    let (entry, target) = open(workspace, destination)?;
    let source = source(workspace, sync, stream).await?;
    let request = write_request(workspace, name, sync, stream, destination)?;
    let mut progress = target.progress(&request).await?;
    let declared = resume::declared(workspace, stream)?;
    // Rows of another declaration do not go with those that are still to be read.
    let stale = |staged: &Checkpoint| {
        let before = Staged::of(staged).declared;
        anew || before.is_some_and(|before| before != declared)
    };
    if progress.staged.as_ref().is_some_and(stale) {
        target.forget_staged(&request).await?;
        progress.staged = None;
    }
    if progress.staged.as_ref().is_some_and(|staged| Staged::of(staged).complete) {
        target.writer(&request).await?.finish().await?;
        progress = target.progress(&request).await?;
    }
    let mapping = mapping(workspace, sync, stream)?;
    let share = Share::of(sync)?;
    let types = Types::open(workspace, app_of(name, stream, destination), request.new_columns)?;
    let from = start(stream, &progress).filter(|_| !anew);
    let asked =
        |from| Ok::<_, Error>(share.limit(read_request(workspace, stream, &mapping, from)?));
    let mut read = asked(from)?;
    if stream.replaces()
        && progress.staged.is_some()
        && !resume::leads_on_still(source.as_ref(), connector(workspace, sync), stream.read, &read)
            .await?
    {
        tracing::info!(
            "a replacement that broke off begins anew, as what it had read is not as it was"
        );
        target.forget_staged(&request).await?;
        progress.staged = None;
        read = asked(None)?;
    }
    if progress.committed.is_some() {
        lands_already(stream, &mut read.columns, |_| true);
    }
    // What is merged is not counted apart by key, a swap counts what an earlier run staged as well, and
    // a request that was sent before a crash is not sent again.
    let counted = matches!(request.mode, WriteMode::Append | WriteMode::Replace)
        && progress.staged.is_none()
        && entry.guarantee != Guarantee::IdempotentByKey;
    let (mode, key) = (request.mode, request.key.clone());
    let mut delivery = Delivery {
        workspace,
        run_id,
        name,
        sync,
        stream,
        mapping,
        declared,
        destination,
        connector: entry.name,
        target: target.as_ref(),
        sequence: newest_sequence(&progress),
        committed: committed(&progress),
        reached: None,
        request,
        writer: None,
        columns: None,
        types,
        tally: Tally::default(),
        repeated: repeated(stream, mode, key),
        waiting: Waiting::default(),
        checkpoint_rows: match entry.guarantee {
            Guarantee::Transaction => TRANSACTION_ROWS,
            _ => CHECKPOINT_ROWS,
        },
        checkpoint_bytes: share.gathered(CHECKPOINT_BYTES),
        landed: Landed {
            table: format!("{destination}.{}", stream.stream),
            counted,
            ..Landed::default()
        },
    };
    delivery.all(source.as_ref(), &read).await?;
    // What an earlier run had staged is not read again, nor are its bad rows.
    if begins_anew(stream, read.from.as_ref()) && delivery.committed.is_some() {
        let (sync, met) = ((name, sync), delivery.tally.met());
        let whole = quarantine::Whole { sync, stream, destination, run_id };
        let closed = Box::pin(quarantine::supersede(workspace, whole, met)).await?;
        delivery.landed.notices.extend(closed);
    }
    if let Some(stored) = delivery.committed.take() {
        let reader = reader(&workspace.project.file.name, name, destination);
        delivery.landed.notices.extend(tell_source(source.as_ref(), reader, &read, stored).await);
    }
    Ok(delivery.landed)
}

/// The connector a sync reads by.
fn connector<'a>(workspace: &'a Workspace, sync: &Sync) -> &'a str {
    let connection = workspace.project.connections.get(&sync.connection);
    connection.map_or(LAKE, |connection| &connection.connector)
}

/// Builds the destination of a connection.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is no such connection or it cannot be written.
pub(crate) fn open(
    workspace: &Workspace,
    name: &str,
) -> Result<(&'static DestinationEntry, Box<dyn Destination>)> {
    let connection = workspace
        .project
        .connections
        .get(name)
        .ok_or_else(|| Error::not_found(format!("no connection \"{name}\"")))?;
    let entry = DestinationEntry::named(&connection.connector)?;
    let options = workspace.project.resolve_secrets(&connection.options)?;
    let context =
        DestinationContext { base_dir: workspace.dir().to_owned(), connection: name.to_owned() };
    let built = entry.build(Value::Object(options), &context)?;
    Ok((entry, built))
}

/// What a stream asks a destination for.
///
/// # Errors
/// As [`resolved`].
pub(crate) fn write_request(
    workspace: &Workspace,
    name: &str,
    sync: &Sync,
    stream: &Stream,
    destination: &str,
) -> Result<WriteRequest> {
    let mode = match stream.write {
        _ if stream.replaces() => WriteMode::Replace,
        Write::Append => WriteMode::Append,
        Write::Replace => WriteMode::Replace,
        Write::Merge => WriteMode::Merge,
        // Nothing says which rows are gone, as in the lake.
        Write::Mirror
            if stream.read == Read::Incremental
                && stream.deleted.is_none()
                && !sync.reads_lake() =>
        {
            WriteMode::Merge
        }
        // No destination offers to keep a history; the project's check says so before.
        Write::Mirror | Write::History => WriteMode::Mirror,
    };
    let new_columns = match stream.new_columns {
        NewColumns::Add => NewTargetColumns::Add,
        NewColumns::Ignore => NewTargetColumns::Ignore,
        NewColumns::Fail => NewTargetColumns::Fail,
        // The project's check says so before.
        NewColumns::Quarantine => {
            return Err(Error::invalid(format!(
                "stream \"{}\" sets rows with new columns aside, which only the lake does",
                stream.stream
            ))
            .hint("Use new_columns: add, ignore or fail for other destinations."));
        }
    };
    let changes = sync.reads_lake() && stream.read == Read::Incremental;
    let deleted = stream.deleted.clone().or_else(|| changes.then(|| DELETED.to_owned()));
    Ok(WriteRequest {
        target: resolved(workspace, stream, stream.target_of(destination))?,
        app: format!("{name}/{}", stream.stream),
        schema: Arc::new(Schema::empty()),
        mode,
        key: stream.key.clone(),
        deleted: deleted.filter(|_| mode == WriteMode::Mirror),
        new_columns,
        now: workspace.now(),
    })
}

/// Where the read goes on: a replacement from what is staged, everything else from what is committed.
fn start(stream: &Stream, progress: &Progress) -> Option<Position> {
    if stream.replaces() {
        return progress.staged.as_ref().map(|staged| Staged::of(staged).read);
    }
    // It is a replacement's if the stream was written that way before.
    progress.committed.as_ref().map(|checkpoint| Staged::of(checkpoint).read)
}

/// Whether a read from there reads the whole stream: a full read does behind the end of an earlier one, too.
fn begins_anew(stream: &Stream, from: Option<&Position>) -> bool {
    let ended = |Position(position): &Position| {
        position.get("complete").and_then(Value::as_bool) == Some(true)
    };
    from.is_none_or(|from| stream.read == Read::Full && ended(from))
}

/// What finds rows of one key in a read of a whole stream that is merged by it. Where rows tell which are gone, or rows come
/// by what changed, a key may come again.
fn repeated(stream: &Stream, mode: WriteMode, key: Vec<String>) -> Option<Repeated> {
    let merged = mode == WriteMode::Merge && stream.read == Read::Full;
    (merged && !key.is_empty()).then(|| Repeated::new(key))
}

/// The position of the rows a reader of the target sees.
fn committed(progress: &Progress) -> Option<Position> {
    progress.committed.as_ref().map(|checkpoint| Staged::of(checkpoint).read)
}

/// The position of a replacement in its checkpoints.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Staged {
    /// Where the read stood.
    read: Position,
    /// Whether it had ended there, so that the rows only wait to be swapped in.
    complete: bool,
    /// How the rows are declared, as a digest; earlier versions did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    declared: Option<String>,
}

impl Staged {
    /// What a checkpoint says; one that another mode wrote says nothing of an end.
    fn of(checkpoint: &Checkpoint) -> Self {
        serde_json::from_value(checkpoint.position.0.clone()).unwrap_or_else(|_| Self {
            read: checkpoint.position.clone(),
            complete: false,
            declared: None,
        })
    }
}

fn newest_sequence(progress: &Progress) -> i64 {
    let known = progress.committed.iter().chain(&progress.staged);
    known.map(|checkpoint| checkpoint.sequence).max().unwrap_or(0)
}

/// What waits for the next commit.
#[derive(Default)]
struct Waiting {
    rows: u64,
    bytes: usize,
    position: Option<Position>,
}

impl Waiting {
    /// Whether it is enough for a commit.
    fn is_much(&self, rows: u64, bytes: usize) -> bool {
        self.rows >= rows || self.bytes >= bytes
    }
}

/// One stream on its way to one destination.
struct Delivery<'a> {
    workspace: &'a Workspace,
    run_id: &'a str,
    name: &'a str,
    sync: &'a Sync,
    mapping: Mapping,
    /// How its rows are declared, as a digest.
    declared: String,
    stream: &'a Stream,
    /// The connection that is written.
    destination: &'a str,
    connector: &'static str,
    target: &'a dyn Destination,
    request: WriteRequest,
    writer: Option<Box<dyn Writer>>,
    /// The columns of the newest page that had any.
    columns: Option<SchemaRef>,
    types: Types<'a>,
    sequence: i64,
    committed: Option<Position>,
    /// Where the read stands.
    reached: Option<Position>,
    tally: Tally,
    /// The keys so far of a whole stream that is merged.
    repeated: Option<Repeated>,
    waiting: Waiting,
    /// Rows between two commits.
    checkpoint_rows: u64,
    /// Bytes of rows between two commits.
    checkpoint_bytes: usize,
    landed: Landed,
}

impl Delivery<'_> {
    async fn all(
        &mut self,
        source: &dyn flywheel_connect::Source,
        read: &ReadRequest,
    ) -> Result<()> {
        let mut pages = source.read(read);
        while let Some(page) = pages.next().await {
            let page = page?;
            self.tally.tell(lost(&read.columns, &page));
            self.page(page).await?;
        }
        drop(pages);
        if self.replaces() {
            self.waiting.position = self.reached.clone();
        }
        if self.waiting.rows > 0 || self.waiting.position.is_some() {
            self.commit(true).await?;
        }
        if let Some(writer) = self.writer.take() {
            let written = writer.finish().await?;
            self.count(&written);
        }
        self.landed.notices.extend(self.repeated.as_ref().and_then(Repeated::notice));
        // A replacement gives the target its types only now that it is swapped in.
        self.types.store()
    }

    async fn page(&mut self, page: Page) -> Result<()> {
        let filtered = self.mapping.filtered();
        let mut page = self.mapping.apply(page)?;
        let filtered = self.mapping.filtered() - filtered;
        // Only a row that follows proves that the read has not ended at the position before it.
        if page.batch.num_rows() > 0
            && self.waiting.is_much(self.checkpoint_rows, self.checkpoint_bytes)
        {
            self.commit(false).await?;
        }
        self.landed.rows_filtered += filtered;
        self.landed.rows_in += (page.batch.num_rows() + page.rejected.len()) as u64 + filtered;
        self.tally.take(&mut page, &self.sync.errors)?;
        if self.request.mode != WriteMode::Mirror {
            let there = without_deletions(&page.batch)?;
            self.landed.rows_marked += (page.batch.num_rows() - there.num_rows()) as u64;
            page.batch = there;
        }
        let batch = page.batch.clone();
        if batch.num_columns() > 0 {
            self.columns = Some(batch.schema());
        }
        if let Some(repeated) = &mut self.repeated {
            repeated.take(&batch)?;
        }
        if batch.num_rows() > 0 || (self.replaces() && batch.num_columns() > 0) {
            let widened = self.types.widened(&batch.schema());
            let writer = self.writer(&batch.schema()).await?;
            if !widened.is_empty() {
                writer.widen(&widened, &batch.schema()).await?;
            }
            let refused = writer.write(&batch).await?;
            self.types.learn(&batch.schema());
            let rejected = refused
                .iter()
                .map(|row| {
                    let row = rejected(self.connector, &self.landed.table, &page, row)?;
                    Ok(row.refused_by(self.destination))
                })
                .collect::<Result<Vec<_>>>()?;
            self.tally.refuse(rejected, &self.sync.errors)?;
            self.waiting.rows += batch.num_rows() as u64;
            self.waiting.bytes += batch.get_array_memory_size();
        }
        // A source that cannot go on from here says so by a position of null.
        if page.position.0.is_null() {
            return Ok(());
        }
        self.reached = Some(page.position.clone());
        self.waiting.position = Some(page.position).filter(|at| self.moves(at));
        Ok(())
    }

    fn replaces(&self) -> bool {
        self.request.mode == WriteMode::Replace
    }

    /// Whether a position says something new; rows that wait always make it new.
    fn moves(&self, position: &Position) -> bool {
        self.waiting.rows > 0 || self.committed.as_ref() != Some(position)
    }

    async fn writer(&mut self, schema: &SchemaRef) -> Result<&mut Box<dyn Writer>> {
        if self.writer.is_none() {
            self.request.schema = Arc::clone(schema);
            self.writer = Some(self.target.writer(&self.request).await?);
        }
        self.writer.as_mut().ok_or_else(|| Error::internal("a writer that was opened is gone"))
    }

    /// Commits what waits; `complete` says that the read has ended.
    async fn commit(&mut self, complete: bool) -> Result<()> {
        let sync = (self.name, &self.sync.errors);
        self.tally.pass(self.workspace, self.run_id, sync, self.stream, &mut self.landed).await?;
        let waiting = std::mem::take(&mut self.waiting);
        let Some(position) = waiting.position else { return Ok(()) };
        // Without columns there is no target yet; the next run reads from the old position again.
        let Some(schema) = self.columns.clone() else { return Ok(()) };
        self.sequence += 1;
        let stored = match self.replaces() {
            true => {
                let declared = Some(self.declared.clone());
                let staged = Staged { read: position.clone(), complete, declared };
                let failed = |error| Error::internal("a position is no JSON").caused_by(error);
                Position(serde_json::to_value(staged).map_err(failed)?)
            }
            false => position.clone(),
        };
        let checkpoint = Checkpoint { sequence: self.sequence, position: stored };
        let written = self.writer(&schema).await?.commit(&checkpoint).await?;
        self.count(&written);
        self.committed = Some(position);
        if self.replaces() {
            return Ok(());
        }
        self.types.store()
    }

    fn count(&mut self, written: &Written) {
        self.landed.rows_out += written.rows_written;
        self.landed.rows_deleted += written.rows_deleted;
        self.landed.counted &= !written.skipped;
    }
}

/// A row of `page` that the destination refused, with where it came from.
pub(super) fn rejected(
    connector: &str,
    table: &str,
    page: &Page,
    refused: &Refused,
) -> Result<Rejected> {
    let place = page.trace(refused.row);
    Ok(Rejected {
        source: connector.to_owned().into(),
        file: place.map_or_else(|| table.to_owned(), |(file, _)| file.to_owned()),
        line: place.map(|(_, line)| line),
        column: refused.column.clone(),
        code: refused.code.clone().into(),
        reason: refused.reason.clone(),
        raw: row_as_json(&page.batch, refused.row)?,
        destination: None,
    })
}

/// The rows of a lake table's changes that are still there, for targets that remove nothing.
pub(super) fn without_deletions(batch: &RecordBatch) -> Result<RecordBatch> {
    let Ok(place) = batch.schema().index_of(DELETED) else { return Ok(batch.clone()) };
    let failed = |error| Error::internal("deleted rows cannot be left out").caused_by(error);
    let deleted = batch.column(place).as_boolean_opt().map(not).transpose().map_err(failed)?;
    let rows = match &deleted {
        Some(there) => filter_record_batch(batch, there).map_err(failed)?,
        None => batch.clone(),
    };
    let kept: Vec<usize> = (0..rows.num_columns()).filter(|at| *at != place).collect();
    rows.project(&kept).map_err(failed)
}

/// One row as a JSON object, cut off at the length the quarantine keeps.
fn row_as_json(batch: &RecordBatch, row: usize) -> Result<String> {
    if row >= batch.num_rows() {
        return Err(Error::internal("a destination refused a row that was not given"));
    }
    let mut bytes = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut bytes);
    writer
        .write(&batch.slice(row, 1))
        .and_then(|()| writer.finish())
        .map_err(|error| Error::internal("a refused row is no JSON").caused_by(error))?;
    let mut text = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
    let mut end = text.len().min(RAW_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    Ok(text)
}
