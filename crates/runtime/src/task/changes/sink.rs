//! Where the changes of one table go: a lake table, or a table of another system.
//!
//! What holds for both: rows are visible only with the position after them. A table that is read
//! whole takes the place of what is there at once, where the target can do that.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use flywheel_base::{Error, Result, Timestamp};
use flywheel_connect::Position;
use flywheel_connect::destination::{
    Checkpoint as OutsideCheckpoint, Destination, DestinationEntry, Refused,
    WriteMode as OutsideMode, WriteRequest, Writer,
};
use flywheel_project::resource::sync::{
    Changes, FirstWrite, LAKE, Stream, Sync, Write as WriteDeclared,
};
use flywheel_warehouse::{
    Checkpoint, DELETED, Duplicates, Load, Location, RowStream, Write, WriteMode, dated,
};

use super::super::deliver::{CHECKPOINT_BYTES, CHECKPOINT_ROWS, open, write_request};
use super::super::share::Share;
use super::super::source_types::{Types, app_of};
use super::super::sync::{GATHERED_BYTES_MAX, conform, destination, location_of, union};
use crate::Workspace;

/// Rows of small transactions are put together up to this many: each batch costs more than its rows.
const TOGETHER_ROWS: usize = 256;

/// What a page says of its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// Whether they are part of a table that is read whole.
    pub(super) whole: bool,
    /// When the source committed them, if that is known yet.
    pub(super) at: Option<Timestamp>,
    /// Whether their transaction ends with them.
    pub(super) ends: bool,
}

/// What a commit did.
#[derive(Debug, Default)]
pub(super) struct Did {
    pub(super) rows_written: u64,
    pub(super) rows_superseded: u64,
    /// Rows that only said that their row is gone.
    pub(super) rows_marked: u64,
    pub(super) rows_deleted: u64,
    /// Whether it was made before, so that nothing was done.
    pub(super) skipped: bool,
    /// The table's version, if it has any.
    pub(super) version: Option<i64>,
    /// The number of the commit.
    pub(super) sequence: i64,
}

/// The target of one table's changes.
pub(super) enum Sink<'a> {
    /// A table of the lake; an open load is large.
    Lake(Box<LakeSink<'a>>),
    /// A table of another system.
    Outside(Box<OutsideSink<'a>>),
}

/// Where a target stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The position after the last commit.
    pub(super) position: Option<Position>,
    /// The number of the last commit.
    pub(super) sequence: i64,
}

impl<'a> Sink<'a> {
    /// Opens the target and tells where it stands.
    pub(super) async fn open(
        workspace: &'a Workspace,
        name: &str,
        sync: &Sync,
        stream: &'a Stream,
        to: &str,
    ) -> Result<(Self, Standing)> {
        if to == LAKE {
            let at = location_of(&destination(stream)?)?;
            let app = format!("sync/{name}/{}", stream.stream);
            let head = workspace.lake.head(&at).await?;
            let last = head.and_then(|head| head.checkpoints.get(&app).cloned());
            let standing = Standing {
                sequence: last.as_ref().map_or(0, |last| last.sequence),
                position: last.map(|last| Position(last.position)),
            };
            let operation = format!("sync {name}.{}", stream.stream);
            let sink = LakeSink {
                workspace,
                at,
                app,
                operation,
                key: &stream.key,
                swaps: stream.first_write == FirstWrite::Replace
                    && stream.write != WriteDeclared::History,
                keeps_history: stream.write == WriteDeclared::History,
                waits: stream.changes == Changes::Table,
                changed_at: None,
                dates: Dates::default(),
                gathered: Vec::new(),
                bytes: 0,
                share: Share::of(sync)?,
                load: None,
            };
            return Ok((Self::Lake(Box::new(sink)), standing));
        }
        let (sink, standing) = OutsideSink::open(workspace, name, sync, stream, to).await?;
        Ok((Self::Outside(Box::new(sink)), standing))
    }

    /// Under which name positions without rows are kept.
    pub(super) fn app(&self, name: &str, stream: &Stream, to: &str) -> String {
        match self {
            Self::Lake(lake) => lake.app.clone(),
            Self::Outside(_) => app_of(name, stream, to),
        }
    }

    /// The lake table.
    pub(super) fn location(&self) -> Option<&Location> {
        match self {
            Self::Lake(lake) => Some(&lake.at),
            Self::Outside(_) => None,
        }
    }

    /// Whether rows of a table that is read whole take the place of all that are there.
    pub(super) fn swaps(&self) -> bool {
        match self {
            Self::Lake(lake) => lake.swaps,
            Self::Outside(outside) => outside.swaps,
        }
    }

    /// The kind of target, for rows it refuses.
    pub(super) fn connector(&self) -> &'static str {
        match self {
            Self::Lake(_) => LAKE,
            Self::Outside(outside) => outside.connector,
        }
    }

    /// The connection that is written, if it is not the lake.
    pub(super) fn connection(&self) -> Option<&str> {
        match self {
            Self::Lake(_) => None,
            Self::Outside(outside) => Some(&outside.connection),
        }
    }

    /// Learns that columns of the rows from `batch` on hold more than before. A lake table sees that from
    /// the types of its rows.
    pub(super) async fn widen(
        &mut self,
        columns: &[String],
        batch: &RecordBatch,
        whole: bool,
    ) -> Result<()> {
        match self {
            Self::Outside(outside) if !columns.is_empty() => {
                outside.widen(columns, batch, whole).await
            }
            Self::Outside(_) | Self::Lake(_) => Ok(()),
        }
    }

    /// Takes rows for the next commit; returns those the target will not take.
    pub(super) async fn add(&mut self, batch: &RecordBatch, told: Told) -> Result<Vec<Refused>> {
        match self {
            Self::Lake(lake) => lake.add(batch, told).map(|()| Vec::new()),
            Self::Outside(outside) => outside.add(batch, told.whole).await,
        }
    }

    /// Whether what waits is worth a commit.
    pub(super) fn is_much(&self) -> bool {
        match self {
            Self::Lake(lake) => {
                lake.bytes >= lake.share.gathered(GATHERED_BYTES_MAX) || lake.load.is_some()
            }
            Self::Outside(outside) => {
                outside.rows >= CHECKPOINT_ROWS
                    || outside.bytes >= outside.share.gathered(CHECKPOINT_BYTES)
            }
        }
    }

    /// Makes room although it is too early for a commit.
    pub(super) async fn relieve(&mut self, whole: bool) -> Result<()> {
        match self {
            Self::Lake(lake) => lake.stream_on(whole).await,
            // What is written waits in the target already.
            Self::Outside(_) => Ok(()),
        }
    }

    /// Commits what waits together with the checkpoint; none if there is nothing to commit.
    pub(super) async fn commit(
        &mut self,
        whole: bool,
        sequence: i64,
        position: &Position,
    ) -> Result<Option<Did>> {
        match self {
            Self::Lake(lake) => lake.commit(whole, sequence, position).await,
            Self::Outside(outside) => outside.commit(whole, position).await,
        }
    }

    /// Gives up what is not committed.
    pub(super) async fn discard(&mut self) {
        match self {
            Self::Lake(lake) => {
                lake.gathered.clear();
                if let Some(load) = lake.load.take() {
                    load.discard().await;
                }
            }
            Self::Outside(outside) => outside.writer = None,
        }
    }
}

/// A lake table.
pub(super) struct LakeSink<'a> {
    workspace: &'a Workspace,
    at: Location,
    app: String,
    /// How its commits are called in the table's history.
    operation: String,
    key: &'a [String],
    /// Whether a table that is read whole takes the place of all rows.
    swaps: bool,
    /// Whether every version of a row is kept.
    keeps_history: bool,
    /// Whether changes are put beside the files and merged later.
    waits: bool,
    /// When the source committed the newest of the rows that wait.
    changed_at: Option<Timestamp>,
    /// When the versions of its transactions begin.
    dates: Dates,
    gathered: Vec<RecordBatch>,
    bytes: usize,
    share: Share,
    /// Rows that are too many to be gathered.
    load: Option<Load>,
}

/// When the versions of transactions begin. Sources tell moments coarsely: of two transactions of one
/// moment the versions of the later one begin a microsecond after those of the other.
#[derive(Debug, Default)]
struct Dates {
    /// What the source told of the last transaction, and when its versions begin.
    last: Option<(Timestamp, Timestamp)>,
    /// Whether more rows of it come.
    open: bool,
}

impl Dates {
    /// When the versions begin of rows that the source committed at `told`; `ends` says that their
    /// transaction ends with them.
    fn begin(&mut self, told: Timestamp, ends: bool) -> Timestamp {
        let begin = match self.last {
            Some((last, begun)) if self.open && last == told => begun,
            Some((last, begun)) if last <= told && told <= begun => begun.plus_micros(1),
            _ => told,
        };
        self.last = Some((told, begin));
        self.open = !ends;
        begin
    }
}

impl LakeSink<'_> {
    fn add(&mut self, batch: &RecordBatch, told: Told) -> Result<()> {
        self.changed_at = self.changed_at.max(told.at);
        if !self.keeps_history || told.whole {
            self.bytes += batch.get_array_memory_size();
            self.gathered.push(batch.clone());
            return Ok(());
        }
        let begin = told.at.map(|at| self.dates.begin(at, told.ends));
        let mut batch = dated(&self.at, batch, begin)?;
        if let Some(last) = self.gathered.last()
            && last.schema_ref() == batch.schema_ref()
            && last.num_rows() + batch.num_rows() <= TOGETHER_ROWS
        {
            let bytes = last.get_array_memory_size();
            batch = concat_batches(batch.schema_ref(), [last, &batch]).map_err(|error| {
                Error::internal("changes cannot be put together").caused_by(error)
            })?;
            self.bytes = self.bytes.saturating_sub(bytes);
            self.gathered.pop();
        }
        self.bytes += batch.get_array_memory_size();
        self.gathered.push(batch);
        Ok(())
    }

    fn mode(&self, whole: bool) -> WriteMode {
        if self.keeps_history {
            return WriteMode::History {
                key: self.key.to_vec(),
                deleted: Some(DELETED.to_owned()),
                at: self.changed_at.unwrap_or_else(|| self.workspace.now()),
                complete: whole,
                dated: !whole,
            };
        }
        if whole && self.swaps {
            return WriteMode::Replace;
        }
        if !whole && self.waits {
            return WriteMode::Changes { key: self.key.to_vec(), deleted: DELETED.to_owned() };
        }
        WriteMode::MergeChanges {
            key: self.key.to_vec(),
            duplicates: Duplicates::KeepLast,
            deleted: DELETED.to_owned(),
        }
    }

    /// Moves what is gathered into data files that nobody sees yet.
    async fn stream_on(&mut self, whole: bool) -> Result<()> {
        let mode = self.mode(whole);
        let load = match &mut self.load {
            Some(load) => load,
            none => {
                let load = self.workspace.lake.load(&self.at, mode).await?;
                none.insert(load.within(self.share.buffer_bytes))
            }
        };
        for batch in self.gathered.drain(..) {
            load.write(&batch).await?;
        }
        self.bytes = 0;
        Ok(())
    }

    async fn commit(
        &mut self,
        whole: bool,
        sequence: i64,
        position: &Position,
    ) -> Result<Option<Did>> {
        let checkpoint = Checkpoint { sequence, position: position.0.clone() };
        let commit = if self.load.is_some() {
            self.stream_on(whole).await?;
            let Some(load) = self.load.take() else { return Ok(None) };
            Box::pin(load.commit(&self.operation, &self.app, checkpoint)).await?
        } else {
            let rows: usize = self.gathered.iter().map(RecordBatch::num_rows).sum();
            if self.gathered.is_empty() || (rows == 0 && !whole) {
                self.gathered.clear();
                return Ok(None);
            }
            let batches = std::mem::take(&mut self.gathered);
            let schema = union(&batches)?;
            let rows = RowStream::from_batches(Arc::clone(&schema), conform(&schema, batches)?);
            let write = Write::new(self.mode(whole), rows, self.operation.clone())
                .checkpoint(self.app.clone(), checkpoint)
                .add_columns();
            Box::pin(self.workspace.lake.write(&self.at, write)).await?
        };
        self.bytes = 0;
        Ok(Some(Did {
            rows_written: commit.rows_written,
            rows_superseded: commit.rows_superseded,
            rows_marked: commit.rows_marked,
            rows_deleted: 0,
            skipped: commit.skipped,
            version: Some(commit.version),
            sequence,
        }))
    }
}

/// A table of another system.
pub(super) struct OutsideSink<'a> {
    target: Box<dyn Destination>,
    /// The connection that is written.
    connection: String,
    connector: &'static str,
    request: WriteRequest,
    swaps: bool,
    /// The number of the last commit.
    sequence: i64,
    writer: Option<Box<dyn Writer>>,
    /// Whether columns were widened since the last commit.
    widened: bool,
    /// The types of the rows: what a table that is read whole again was before its log was lost.
    types: Types<'a>,
    rows: u64,
    bytes: usize,
    share: Share,
}

impl<'a> OutsideSink<'a> {
    async fn open(
        workspace: &'a Workspace,
        name: &str,
        sync: &Sync,
        stream: &Stream,
        to: &str,
    ) -> Result<(Self, Standing)> {
        let (entry, target): (&DestinationEntry, _) = open(workspace, to)?;
        let mut request = write_request(workspace, name, sync, stream, to)?;
        request.deleted = Some(DELETED.to_owned());
        let swaps = stream.first_write == FirstWrite::Replace
            && entry.modes.contains(&OutsideMode::Replace);
        let types = Types::open(workspace, app_of(name, stream, to), request.new_columns)?;
        let mut sink = Self {
            target,
            connection: to.to_owned(),
            connector: entry.name,
            request,
            swaps,
            sequence: 0,
            writer: None,
            widened: false,
            types,
            rows: 0,
            bytes: 0,
            share: Share::of(sync)?,
        };
        let mut progress = sink.target.progress(&sink.request).await?;
        // A table that was read whole is committed once, at its end: what is staged is complete.
        if progress.staged.is_some() {
            sink.target.writer(&sink.request_for(true)).await?.finish().await?;
            progress = sink.target.progress(&sink.request).await?;
        }
        let standing = progress.committed.map_or_else(Standing::default, |committed| Standing {
            position: Some(committed.position).filter(|position| !position.0.is_null()),
            sequence: committed.sequence,
        });
        sink.sequence = standing.sequence;
        Ok((sink, standing))
    }

    fn request_for(&self, whole: bool) -> WriteRequest {
        if whole && self.swaps {
            let mode = OutsideMode::Replace;
            return WriteRequest { mode, deleted: None, ..self.request.clone() };
        }
        self.request.clone()
    }

    /// The open writer, for rows like those of `batch`.
    async fn open_writer(
        &mut self,
        batch: &RecordBatch,
        whole: bool,
    ) -> Result<&mut Box<dyn Writer>> {
        if self.writer.is_none() {
            if whole && self.swaps {
                self.make(batch).await?;
            }
            self.request.schema = batch.schema();
            self.writer = Some(self.target.writer(&self.request_for(whole)).await?);
        }
        self.writer.as_mut().ok_or_else(|| Error::internal("no writer is open"))
    }

    async fn widen(&mut self, columns: &[String], batch: &RecordBatch, whole: bool) -> Result<()> {
        self.open_writer(batch, whole).await?.widen(columns, &batch.schema()).await?;
        self.widened = true;
        Ok(())
    }

    async fn add(&mut self, batch: &RecordBatch, whole: bool) -> Result<Vec<Refused>> {
        let widened = self.types.widened(&batch.schema());
        let writer = self.open_writer(batch, whole).await?;
        if batch.num_rows() == 0 && !whole {
            return Ok(Vec::new());
        }
        if !widened.is_empty() {
            writer.widen(&widened, &batch.schema()).await?;
        }
        let refused = writer.write(batch).await?;
        self.types.learn(&batch.schema());
        self.rows += batch.num_rows() as u64;
        self.bytes += batch.get_array_memory_size();
        Ok(refused)
    }

    /// Makes the table with its key before it is replaced, so that changes can be merged afterwards; an
    /// existing one has to have the key. Its checkpoint says that nothing was read.
    async fn make(&mut self, batch: &RecordBatch) -> Result<()> {
        let request = WriteRequest {
            mode: OutsideMode::Merge,
            deleted: None,
            schema: batch.schema(),
            ..self.request.clone()
        };
        let mut writer = self.target.writer(&request).await?;
        writer.write(&batch.slice(0, 0)).await?;
        self.sequence += 1;
        let position = Position(serde_json::Value::Null);
        writer.commit(&OutsideCheckpoint { sequence: self.sequence, position }).await?;
        writer.finish().await.map(drop)
    }

    async fn commit(&mut self, whole: bool, position: &Position) -> Result<Option<Did>> {
        // A widened column is committed with the position behind which nobody tells of it again.
        if self.writer.is_none() || (self.rows == 0 && !whole && !self.widened) {
            return Ok(None);
        }
        let Some(mut writer) = self.writer.take() else { return Ok(None) };
        self.sequence += 1;
        let checkpoint = OutsideCheckpoint { sequence: self.sequence, position: position.clone() };
        let mut written = writer.commit(&checkpoint).await?;
        if whole {
            // Further rows are merged, by another writer.
            let swapped = writer.finish().await?;
            written.rows_written = written.rows_written.max(swapped.rows_written);
            written.rows_deleted += swapped.rows_deleted;
            self.request.schema = Arc::new(Schema::empty());
        } else {
            self.writer = Some(writer);
        }
        self.types.store()?;
        (self.rows, self.bytes, self.widened) = (0, 0, false);
        Ok(Some(Did {
            rows_written: written.rows_written,
            rows_superseded: written.rows_updated,
            rows_marked: 0,
            rows_deleted: written.rows_deleted,
            skipped: written.skipped,
            version: None,
            sequence: self.sequence,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_of_one_moment_begin_their_versions_one_after_another() {
        let mut dates = Dates::default();
        let mut begin =
            |told: i64, ends: bool| dates.begin(Timestamp::from_micros(told), ends).micros();
        // Two pages of one transaction, and two transactions of the same second.
        assert_eq!((begin(1_000_000, false), begin(1_000_000, true)), (1_000_000, 1_000_000));
        assert_eq!((begin(1_000_000, true), begin(1_000_000, true)), (1_000_001, 1_000_002));
        assert_eq!(begin(1_000_001, true), 1_000_003);
        assert_eq!(begin(2_000_000, true), 2_000_000);
        // A clock that was put back is told as it is.
        assert_eq!(begin(1_500_000, true), 1_500_000);
    }
}
