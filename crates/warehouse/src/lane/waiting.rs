//! Changes that wait: rows that are new, changed or gone, in files beside a table's data files.
//!
//! A commit adds such a file without touching a data file, so that it costs as much as the changes and not as much as the
//! files they fall into. Which files of changes there are is in our own part of each commit, with the checkpoints: a
//! version is its data files and its changes, and never changes. Of one key the newest change holds; rows of data files
//! with a key that a change has are hidden by it.
//!
//! ```text
//! data files ◄── fold: one commit removes the changes and writes what they amount to
//!    ▲  hidden by key
//! changes, oldest … newest ◄── append: one commit with the checkpoint behind them
//! ```
//!
//! Whatever else writes the table merges the changes first, so that no row lies above a change that is older. To other
//! Delta programs the table is what it was at the last merge; they neither list this folder nor sweep it, as its name
//! begins with an underscore.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use flywheel_base::{Error, ErrorKind, Result};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use super::decide::Prepared;
use super::keep::changed;
use super::merge::Keyed;
use super::staged::{Staged, digests};
use super::{Change, Label, Lane, Surroundings, Waits, locked};
use crate::RowStream;
use crate::data_file::{self, DataWriter};
use crate::failure::{from_arrow, from_engine};
use crate::log::Log;
use crate::log::action::{Add, DIGEST_TAG, Waiting, WaitingFile};
use crate::log::stats::FileStats;
use crate::shape::{self, Fit};
use crate::snapshot::{DataFile, Snapshot};
use crate::write::{Commit, Duplicates, Write, WriteMode};

/// Where a table's files of changes lie, inside its folder.
const FOLDER: &str = "_changes";
/// The column of a file of changes that says whether the row with the key is gone. A column of the table itself cannot
/// have this name: Delta allows no spaces.
const GONE: &str = "flywheel gone";
/// How a merge of changes is called in the history.
const MERGED: &str = "merge changes";
/// What a key costs in memory: its digest and the table around it.
const KEY_BYTES: usize = 40;
/// From so many files of changes on, small ones become one: every commit names all of them, and every reader opens them.
const FILES_MAX: usize = 32;
/// Files join the newer ones up to this many times the size of those together, so that a change is written anew a
/// logarithm of times.
const FILE_SHARE_MAX: i64 = 2;

/// The newest change of each key.
#[derive(Debug)]
pub(crate) struct Newest {
    key: Vec<String>,
    key_types: Vec<DataType>,
    keys: HashSet<u128>,
    /// The files of changes, the oldest first, and which of their rows are the newest with their key.
    files: Vec<(Arc<DataFile>, BooleanBuffer)>,
    reservation: MemoryReservation,
}

impl Newest {
    /// Looks at the keys of `files`, the oldest first, of a table with these columns.
    ///
    /// # Errors
    /// Those of the store; [`ErrorKind::Exhausted`] if the keys do not fit into memory.
    pub(crate) async fn find(
        store: &Arc<dyn ObjectStore>,
        memory: &Arc<dyn MemoryPool>,
        table: &Schema,
        key: &[String],
        files: Vec<Arc<DataFile>>,
    ) -> Result<Self> {
        let field = |name: &String| match table.field_with_name(name) {
            Ok(field) => Ok(field.clone()),
            Err(_) => Err(without_key(name)),
        };
        let fields = key.iter().map(field).collect::<Result<Vec<Field>>>()?;
        let mut newest = Self {
            key: key.to_vec(),
            key_types: fields.iter().map(|field| field.data_type().clone()).collect(),
            keys: HashSet::new(),
            files: Vec::with_capacity(files.len()),
            reservation: MemoryConsumer::new("keys of changes").register(memory),
        };
        let columns: SchemaRef = Arc::new(Schema::new(fields));
        for file in files.into_iter().rev() {
            let mut mask = BooleanBufferBuilder::new(0);
            let mut batches = data_file::read(store, &file, &columns).await?;
            while let Some(batch) = batches.try_next().await? {
                let bytes = batch.num_rows() * KEY_BYTES;
                newest.reservation.try_grow(bytes).map_err(from_engine)?;
                for digest in digests(&newest.key_types, batch.columns())? {
                    mask.append(newest.keys.insert(digest));
                }
            }
            newest.files.push((file, mask.finish()));
        }
        newest.files.reverse();
        Ok(newest)
    }

    /// The columns that identify a row.
    pub(crate) fn key(&self) -> &[String] {
        &self.key
    }

    /// How many files of changes there are.
    pub(crate) fn files(&self) -> usize {
        self.files.len()
    }

    /// Which rows of data files no change takes the place of; they need the columns of the key.
    pub(crate) fn shown(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let column = |(name, kind): (&String, &DataType)| {
            let column = batch.column_by_name(name).ok_or_else(|| without_key(name))?;
            arrow::compute::cast(column, kind).map_err(from_arrow)
        };
        let columns = self.key.iter().zip(&self.key_types).map(column);
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let digests = digests(&self.key_types, &columns)?;
        Ok(digests.iter().map(|digest| Some(!self.keys.contains(digest))).collect())
    }

    /// The rows that hold now, as columns of `schema`.
    pub(crate) fn rows(
        &self,
        store: &Arc<dyn ObjectStore>,
        schema: &SchemaRef,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let target = SchemaRef::clone(schema);
        self.changes(store, schema).map(move |batch| there(&target, &batch?)).boxed()
    }

    /// The changes themselves, the oldest first, as columns of `schema` and the one that says which rows are gone.
    fn changes(
        &self,
        store: &Arc<dyn ObjectStore>,
        schema: &SchemaRef,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let (store, wanted) = (Arc::clone(store), with_gone(schema));
        stream::iter(self.files.clone())
            .then(move |(file, newest)| {
                let (store, wanted) = (Arc::clone(&store), SchemaRef::clone(&wanted));
                async move {
                    let rows = data_file::read(&store, &file, &wanted).await?;
                    let mut at = 0;
                    Ok::<_, Error>(rows.map(move |batch| {
                        let batch = batch?;
                        if at + batch.num_rows() > newest.len() {
                            return Err(changed(&file));
                        }
                        let mask = BooleanArray::new(newest.slice(at, batch.num_rows()), None);
                        at += batch.num_rows();
                        filter_record_batch(&batch, &mask).map_err(from_arrow)
                    }))
                }
            })
            .try_flatten()
            .boxed()
    }
}

fn without_key(name: &str) -> Error {
    Error::internal(format!("changes wait by the key column \"{name}\", which the rows lack"))
}

/// The rows of a batch of changes that are not gone.
fn there(schema: &SchemaRef, changes: &RecordBatch) -> Result<RecordBatch> {
    let gone = changes.column_by_name(GONE).and_then(|column| column.as_boolean_opt());
    let gone = gone.ok_or_else(|| Error::internal("changes do not say which rows are gone"))?;
    let there = not(gone).map_err(from_arrow)?;
    let rows = filter_record_batch(changes, &there).map_err(from_arrow)?;
    shape::conform(schema, &rows)
}

/// The columns of a file of changes: of rows that are gone only the key is there.
fn with_gone(schema: &Schema) -> SchemaRef {
    let open = |field: &FieldRef| Field::new(field.name(), field.data_type().clone(), true);
    let mut fields: Vec<Field> = schema.fields().iter().map(open).collect();
    fields.push(Field::new(GONE, DataType::Boolean, false));
    Arc::new(Schema::new(fields))
}

/// A writer of files of changes for the commit after `head`.
pub(super) fn writer(
    around: &Surroundings,
    log: &Log,
    head: &Snapshot,
    schema: &Schema,
) -> DataWriter {
    DataWriter::new(
        Arc::clone(&around.store),
        log.folder.clone().join(FOLDER),
        with_gone(schema),
        head.version + 1,
        around.clock.now(),
    )
}

/// Whether changes can wait beside the files of `head`: by the key of those that wait there, with a value for every column.
pub(super) fn takes(head: &Snapshot, staged: &Staged, fit: &Fit) -> bool {
    let same = head.waiting.as_ref().is_none_or(|waiting| waiting.key == staged.key);
    same && fit.sources.iter().all(Option::is_some)
}

/// Puts changes beside the files of `head`, the last of each key.
pub(super) async fn append(
    staged: &Staged,
    fit: &Fit,
    head: &Snapshot,
    writer: &mut DataWriter,
) -> Result<Change> {
    let columns = with_gone(&fit.schema);
    let wins = staged.winning_rows();
    let mut rows = staged.replay()?;
    let mut at = 0;
    while let Some(batch) = rows.try_next().await? {
        let range = at..at + batch.num_rows();
        at += batch.num_rows();
        let mask = BooleanArray::from_iter(range.clone().map(|row| Some(wins[row])));
        let gone = BooleanArray::from_iter(range.map(|row| Some(staged.deletes[row])));
        let full = shape::convert(fit, &batch)?;
        let mut values = full.columns().to_vec();
        values.push(Arc::new(gone));
        let full = RecordBatch::try_new(SchemaRef::clone(&columns), values).map_err(from_arrow)?;
        writer.write(filter_record_batch(&full, &mask).map_err(from_arrow)?).await?;
    }
    let gone = wins.iter().zip(&staged.deletes).filter(|(wins, gone)| **wins && **gone);
    let rows_marked = gone.count() as u64;
    let added = files_of(writer.finish().await?, &columns);
    let waiting = match added.is_empty() {
        true => Waits::Same,
        false => {
            let before = head.waiting.iter().flat_map(|waiting| &waiting.files).cloned();
            Waits::Now(Waiting { key: staged.key.clone(), files: before.chain(added).collect() })
        }
    };
    Ok(Change {
        schema: fit.changed.then(|| Arc::clone(&fit.schema)),
        commit: Commit {
            rows_written: writer.rows.saturating_sub(rows_marked),
            rows_superseded: staged.superseded,
            rows_marked,
            ..Commit::default()
        },
        delta_operation: "WRITE",
        data_change: true,
        waiting,
        ..Change::default()
    })
}

/// What the log is to say of files that were just written.
fn files_of(adds: Vec<Add>, columns: &SchemaRef) -> Vec<WaitingFile> {
    let file = |add: Add| WaitingFile {
        path: format!("{FOLDER}/{}", add.path),
        size: add.size,
        rows: FileStats::parse(add.stats.as_deref(), columns).rows.unwrap_or_default(),
        digest: add.tags.and_then(|mut tags| tags.remove(DIGEST_TAG)).flatten(),
    };
    adds.into_iter().map(file).collect()
}

/// What waits on `head` once the changes in `files` are merged, which were the oldest; none if they wait there no more.
pub(super) fn without(head: &Snapshot, files: &[String]) -> Option<Waits> {
    let waiting = head.waiting.as_ref()?;
    let (merged, rest) = waiting.files.split_at_checked(files.len())?;
    if !merged.iter().map(|file| &file.path).eq(files) {
        return None;
    }
    Some(match rest.is_empty() {
        true => Waits::Nothing,
        false => Waits::Now(Waiting { key: waiting.key.clone(), files: rest.to_vec() }),
    })
}

/// How many of the newest files are to become one.
fn gathered(sizes: &[i64]) -> usize {
    let (mut total, mut count) = (0_i64, 0);
    for size in sizes.iter().rev() {
        if count >= 2 && *size > total.saturating_mul(FILE_SHARE_MAX) {
            break;
        }
        total = total.saturating_add(*size);
        count += 1;
    }
    count
}

impl Lane {
    /// Merges the changes that wait into the data files; none if none wait. Writers do not wait for it but for its commit,
    /// and changes that come meanwhile wait on.
    ///
    /// # Errors
    /// As [`crate::Lake::write`]; the changes wait on then.
    pub(crate) async fn merge_changes(&self) -> Result<Option<Commit>> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let _held = Held::new(self, &head);
        let Some(Folding { mut prepared, files }) = Box::pin(self.folding(&head)).await? else {
            return Ok(None);
        };
        let change = match Box::pin(prepared.decide(Some(&head))).await {
            Ok(change) => change,
            Err(error) => {
                prepared.discard().await;
                return Err(error);
            }
        };
        let _lane = self.queue.lock().await;
        let now = self.head().await?;
        let after = now.as_ref().filter(|now| has_files_of(now, &head));
        let after = after.and_then(|now| Some((now, without(now, &files)?)));
        let Some((now, waiting)) = after else {
            // More than changes came in between: nobody does while it is decided again.
            prepared.discard().await;
            return Box::pin(self.fold()).await;
        };
        let change = Change { waiting, ..change };
        match self.publish_upkeep(now, &change, MERGED).await {
            Ok(version) => Ok(Some(Commit {
                version,
                files_added: change.adds.len() as u64,
                files_removed: change.removes.len() as u64,
                files_kept: now.files.len().saturating_sub(change.removes.len()) as u64,
                ..change.commit
            })),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                prepared.discard().await;
                Box::pin(self.fold()).await
            }
            Err(error) => {
                // A commit that failed after it got its name is visible: its files must stay.
                if matches!(self.log.identity(now.version + 1).await, Ok(None)) {
                    prepared.discard().await;
                }
                Err(error)
            }
        }
    }

    /// Makes the table ready for `write`: changes that wait are merged before anything that would lie above them, and
    /// changes that cannot wait are to be merged at once. Returns the head after it. The caller holds the queue.
    pub(super) async fn make_way(
        &self,
        head: Option<Arc<Snapshot>>,
        write: &mut Write,
    ) -> Result<Option<Arc<Snapshot>>> {
        if let WriteMode::Changes { key, deleted } = &write.mode
            && head.as_ref().is_none_or(|head| lacks_columns(&head.schema, &write.rows.schema()))
        {
            write.mode = WriteMode::MergeChanges {
                key: key.clone(),
                duplicates: Duplicates::KeepLast,
                deleted: deleted.clone(),
            };
        }
        let waiting = head.as_ref().and_then(|head| head.waiting.as_ref());
        let (Some(now), Some(waiting)) = (&head, waiting) else { return Ok(head) };
        match &write.mode {
            WriteMode::Replace => return Ok(head),
            WriteMode::Changes { key, .. } if *key == waiting.key => {
                let fixed = self.fixed(waiting);
                if waiting.files.len() - fixed < FILES_MAX {
                    return Ok(head);
                }
                Box::pin(self.gather(now, waiting, fixed)).await?;
            }
            _ => {
                Box::pin(self.fold()).await?;
            }
        }
        self.head().await
    }

    /// As [`Lane::merge_changes`], for a caller that holds the queue.
    pub(super) async fn fold(&self) -> Result<Option<Commit>> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let folding = Box::pin(self.folding(&head)).await?;
        let Some(Folding { prepared, .. }) = folding else { return Ok(None) };
        let label = Label { operation: MERGED.to_owned(), properties: BTreeMap::new() };
        Box::pin(self.publish_or_discard(prepared, None, &label)).await.map(Some)
    }

    /// The changes that wait on `head`, ready to be merged; none if none wait.
    async fn folding(&self, head: &Arc<Snapshot>) -> Result<Option<Folding>> {
        let Some(waiting) = &head.waiting else { return Ok(None) };
        head.require_writable()?;
        let (store, memory) = (&self.around.store, self.around.engine.memory());
        let Some(newest) = head.newest(store, memory).await? else { return Ok(None) };
        let rows = RowStream::new(with_gone(&head.schema), newest.changes(store, &head.schema));
        let duplicates = Duplicates::KeepLast;
        let mode = WriteMode::MergeChanges {
            key: waiting.key.clone(),
            duplicates,
            deleted: GONE.to_owned(),
        };
        let write = Write::new(mode, rows, MERGED);
        let keyed = Keyed {
            key: waiting.key.clone(),
            duplicates,
            deleted: Some(GONE.to_owned()),
            chained: false,
        };
        let files: Vec<String> = waiting.files.iter().map(|file| file.path.clone()).collect();
        let prepared = Box::pin(Prepared::fold(self, head, write, keyed, files.clone())).await?;
        Ok(Some(Folding { prepared, files }))
    }

    /// How many of the files of changes, the oldest, are being merged.
    fn fixed(&self, waiting: &Waiting) -> usize {
        let merging = locked(&self.merging);
        waiting.files.iter().take_while(|file| merging.contains(&file.path)).count()
    }

    /// Writes the newest files of changes as one, with the last change of each key; the first `fixed` stay. The caller
    /// holds the queue.
    async fn gather(&self, head: &Arc<Snapshot>, waiting: &Waiting, fixed: usize) -> Result<()> {
        head.require_writable()?;
        let sizes: Vec<i64> = waiting.files.iter().skip(fixed).map(|file| file.size).collect();
        let (stay, small) = waiting.files.split_at(waiting.files.len() - gathered(&sizes));
        let small = small.iter().map(|file| DataFile::new(&head.folder, file.add()).map(Arc::new));
        let small = small.collect::<Result<Vec<_>>>()?;
        let (store, memory) = (&self.around.store, self.around.engine.memory());
        let newest = Newest::find(store, memory, &head.schema, &waiting.key, small).await?;
        let mut writer = writer(&self.around, &self.log, head, &head.schema);
        let written = copy(newest.changes(store, &head.schema), &mut writer).await;
        let added = match written {
            Ok(adds) => files_of(adds, &with_gone(&head.schema)),
            Err(error) => {
                writer.discard().await;
                return Err(error.context(format!("table \"{}\"", head.location)));
            }
        };
        let files = stay.iter().cloned().chain(added).collect();
        let change = Change {
            delta_operation: "OPTIMIZE",
            waiting: Waits::Now(Waiting { key: waiting.key.clone(), files }),
            ..Change::default()
        };
        match self.publish_upkeep(head, &change, "gather changes").await {
            Ok(_) => Ok(()),
            // Another program was faster; the next write finds the files again.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                writer.discard().await;
                Ok(())
            }
            Err(error) => {
                // A commit that failed after it got its name is visible: its files must stay.
                if matches!(self.log.identity(head.version + 1).await, Ok(None)) {
                    writer.discard().await;
                }
                Err(error)
            }
        }
    }
}

/// Keeps files of changes as they are while they are merged.
struct Held<'a>(&'a Lane);

impl<'a> Held<'a> {
    fn new(lane: &'a Lane, head: &Snapshot) -> Self {
        let files = head.waiting.iter().flat_map(|waiting| &waiting.files);
        *locked(&lane.merging) = files.map(|file| file.path.clone()).collect();
        Self(lane)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        locked(&self.0.merging).clear();
    }
}

/// Changes on their way into the data files.
struct Folding {
    prepared: Prepared,
    /// The files they are in.
    files: Vec<String>,
}

/// Whether `now` has the data files and columns of `before`, so that only changes came in between.
fn has_files_of(now: &Snapshot, before: &Snapshot) -> bool {
    let paths = |snapshot: &Snapshot| -> Vec<_> {
        snapshot.files.iter().map(|file| file.path.clone()).collect()
    };
    now.metadata == before.metadata && paths(now) == paths(before)
}

async fn copy(
    mut rows: BoxStream<'static, Result<RecordBatch>>,
    writer: &mut DataWriter,
) -> Result<Vec<Add>> {
    while let Some(batch) = rows.try_next().await? {
        writer.write(batch).await?;
    }
    writer.finish().await
}

/// Whether rows have no value for a column of the table.
fn lacks_columns(table: &Schema, given: &Schema) -> bool {
    let names: HashSet<String> =
        given.fields().iter().map(|field| field.name().to_lowercase()).collect();
    table.fields().iter().any(|field| !names.contains(&field.name().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_changes_join_until_an_older_one_outweighs_them() {
        assert_eq!(gathered(&[]), 0);
        assert_eq!(gathered(&[1; 32]), 32);
        assert_eq!(gathered(&[93, 1, 1, 1]), 3, "a large one stays");
        assert_eq!(gathered(&[100, 6, 1, 1, 1]), 4, "one that is not much larger does not");
        assert_eq!(gathered(&[1, 50]), 2, "there are always fewer files afterwards");
    }
}
