//! The rows of a merge, read once from the caller and kept until the commit: which of them win, and
//! where their keys lie. Rows beyond a part of the memory limit wait in a file of the spill folder.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::ScalarValue;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use datafusion::parquet::errors::ParquetError;
use flywheel_base::{Error, Result, task};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::Surroundings;
use super::decide::changed_meanwhile;
use super::merge::Keyed;
use crate::Location;
use crate::data_file::{BATCH_ROWS, unique};
use crate::failure::{from_arrow, from_engine, from_parquet};
use crate::shape::{self, Fit};
use crate::snapshot::Snapshot;
use crate::write::{Duplicates, SchemaChange, Write};

/// What a key costs in memory: digest, row number and the table around them.
const KEY_BYTES: usize = 56;
/// Rows in memory may use the memory limit divided by this.
const MEMORY_SHARE: u64 = 4;
/// Keys encoded in at most this many bytes are kept as they are, longer ones as a digest.
const KEY_BYTES_PLAIN_MAX: usize = 15;

/// Rows waiting to be merged.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The rows' columns in stored types, without the column that marks deletions.
    given: SchemaRef,
    change: SchemaChange,
    pub(crate) key: Vec<String>,
    key_types: Vec<DataType>,
    batches: Vec<RecordBatch>,
    spill: Option<Spill>,
    /// Row number of the winner by key.
    winners: HashMap<u128, u64>,
    /// Whether `earlier` is kept.
    chained: bool,
    /// Row number of the one before it with the same key, for those that are not the first with theirs.
    earlier: HashMap<u64, u64>,
    /// Whether a row deletes its key.
    pub(crate) deletes: Vec<bool>,
    pub(crate) superseded: u64,
    /// Smallest and largest value of every key column.
    pub(crate) bounds: Vec<Option<(ScalarValue, ScalarValue)>>,
    reservation: MemoryReservation,
}

/// A file of waiting rows, gone with the merge.
#[derive(Debug)]
struct Spill {
    path: PathBuf,
}

/// A spill file that is being written.
struct Spilling {
    spill: Spill,
    writer: ArrowWriter<File>,
}

impl Drop for Spill {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %error, "spill file stays");
        }
    }
}

impl Staged {
    /// Reads the rows of a merge to their end.
    pub(crate) async fn take(
        around: &Surroundings,
        location: &Location,
        head: Option<&Arc<Snapshot>>,
        mut write: Write,
        keyed: Keyed,
    ) -> Result<Self> {
        let raw = write.rows.schema();
        let marker = marker(location, &raw, keyed.deleted.as_deref())?;
        let columns: Vec<usize> =
            (0..raw.fields().len()).filter(|index| Some(*index) != marker).collect();
        let kept = raw.project(&columns).map_err(from_arrow)?;
        let table = head.map(|head| &head.schema);
        let fit = shape::fit(location, table, &kept, write.schema_change)?;
        let plain = shape::fit(location, None, &kept, write.schema_change)?;
        let key_types = key_types(location, &fit.schema, &plain.schema, &keyed.key)?;
        let mut staged = Self {
            given: Arc::clone(&plain.schema),
            change: write.schema_change,
            key: keyed.key,
            bounds: vec![None; key_types.len()],
            key_types,
            batches: Vec::new(),
            spill: None,
            winners: HashMap::new(),
            chained: keyed.chained,
            earlier: HashMap::new(),
            deletes: Vec::new(),
            superseded: 0,
            reservation: MemoryConsumer::new("merge keys").register(around.engine.memory()),
        };
        let limit =
            usize::try_from(around.engine.memory_bytes() / MEMORY_SHARE).unwrap_or(usize::MAX);
        let mut held = 0;
        let mut spilling: Option<Spilling> = None;
        while let Some(batch) = write.rows.next().await {
            let batch = batch?;
            let flags = marker.map(|index| Arc::clone(batch.column(index)));
            let batch = batch.project(&columns).map_err(from_arrow)?;
            let batch = shape::convert(&plain, &batch)?;
            staged.index(location, &batch, flags.as_ref(), keyed.duplicates)?;
            held += batch.get_array_memory_size();
            staged.batches.push(batch);
            if held > limit {
                let waiting = std::mem::take(&mut staged.batches);
                let file = match spilling.take() {
                    Some(file) => file,
                    None => Spilling::start(around, &staged.given)?,
                };
                spilling = Some(task::compute(move || file.write(&waiting)).await?);
            }
        }
        if let Some(file) = spilling {
            staged.spill = Some(task::compute(move || file.end()).await?);
        }
        Ok(staged)
    }

    /// How the rows fit the table as it is now.
    pub(crate) fn fit(&self, location: &Location, head: Option<&Arc<Snapshot>>) -> Result<Fit> {
        let fit = shape::fit(location, head.map(|head| &head.schema), &self.given, self.change)?;
        if fit.widens {
            return Err(changed_meanwhile(location));
        }
        let types = key_types(location, &fit.schema, &self.given, &self.key)?;
        if types != self.key_types {
            return Err(Error::unavailable(format!(
                "the key columns of table \"{location}\" were changed meanwhile"
            ))
            .hint("Run it again."));
        }
        Ok(fit)
    }

    fn index(
        &mut self,
        location: &Location,
        batch: &RecordBatch,
        flags: Option<&ArrayRef>,
        duplicates: Duplicates,
    ) -> Result<()> {
        let keys = self.key_columns(batch)?;
        for (name, column) in self.key.iter().zip(&keys) {
            if column.null_count() > 0 {
                return Err(Error::invalid(format!(
                    "key column \"{name}\" of rows for table \"{location}\" is NULL in {} rows",
                    column.null_count()
                ))
                .hint("Choose a key that is always there, or leave those rows out."));
            }
        }
        self.reservation.try_grow(batch.num_rows() * KEY_BYTES).map_err(from_engine)?;
        self.widen_bounds(&keys)?;
        let flags: Option<&BooleanArray> = flags.map(|flags| flags.as_boolean());
        for (row, digest) in self.digests(&keys)?.into_iter().enumerate() {
            let ordinal = self.deletes.len() as u64;
            self.deletes.push(flags.is_some_and(|flags| flags.is_valid(row) && flags.value(row)));
            if let Some(earlier) = self.winners.insert(digest, ordinal) {
                if duplicates == Duplicates::Refuse {
                    return Err(self.duplicate(location, &keys, row));
                }
                self.superseded += 1;
                if self.chained {
                    self.reservation.try_grow(KEY_BYTES).map_err(from_engine)?;
                    self.earlier.insert(ordinal, earlier);
                }
            }
        }
        Ok(())
    }

    fn duplicate(&self, location: &Location, keys: &[ArrayRef], row: usize) -> Error {
        let values = self.key.iter().zip(keys).map(|(name, column)| {
            let value = ScalarValue::try_from_array(column, row)
                .map_or_else(|_| "?".to_owned(), |value| value.to_string());
            format!("{name} = {value}")
        });
        let example = values.collect::<Vec<_>>().join(", ");
        Error::invalid(format!("rows for table \"{location}\" have the key {example} twice"))
            .hint("Make the key unique, or let the last row with a key win.")
    }

    fn key_columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let cast = |(name, data_type): (&String, &DataType)| {
            let column = batch.column_by_name(name).ok_or_else(|| {
                Error::internal(format!("key column \"{name}\" is missing in a batch"))
            })?;
            arrow::compute::cast(column, data_type).map_err(from_arrow)
        };
        self.key.iter().zip(&self.key_types).map(cast).collect()
    }

    /// A digest for every row's key, equal for equal keys.
    pub(crate) fn digests(&self, keys: &[ArrayRef]) -> Result<Vec<u128>> {
        digests(&self.key_types, keys)
    }

    /// The row that has this key.
    pub(crate) fn winner(&self, digest: u128) -> Option<u64> {
        self.winners.get(&digest).copied()
    }

    /// Whether a row is the winner of its key.
    pub(crate) fn winning_rows(&self) -> Vec<bool> {
        let mut wins = vec![false; self.deletes.len()];
        for ordinal in self.winners.values() {
            if let Some(win) = usize::try_from(*ordinal).ok().and_then(|at| wins.get_mut(at)) {
                *win = true;
            }
        }
        wins
    }

    /// All rows with the key of row `last`, the winner, in the order they came.
    pub(crate) fn rows_like(&self, last: usize) -> Vec<usize> {
        let mut rows = vec![last];
        let mut row = last as u64;
        while let Some(earlier) = self.earlier.get(&row) {
            row = *earlier;
            rows.push(row as usize);
        }
        rows.reverse();
        rows
    }

    fn widen_bounds(&mut self, keys: &[ArrayRef]) -> Result<()> {
        for ((column, data_type), bounds) in
            keys.iter().zip(&self.key_types).zip(self.bounds.iter_mut())
        {
            let converter =
                RowConverter::new(vec![SortField::new(data_type.clone())]).map_err(from_arrow)?;
            let rows = converter.convert_columns(&[Arc::clone(column)]).map_err(from_arrow)?;
            let Some((low, high)) = extremes(&rows) else { continue };
            let low = ScalarValue::try_from_array(column, low).map_err(from_engine)?;
            let high = ScalarValue::try_from_array(column, high).map_err(from_engine)?;
            *bounds = Some(match bounds.take() {
                None => (low, high),
                Some((l, h)) => (if low < l { low } else { l }, if high > h { high } else { h }),
            });
        }
        Ok(())
    }

    /// The rows again, in the order they came.
    pub(crate) fn replay(&self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Some(spill) = &self.spill else {
            return Ok(stream::iter(self.batches.clone()).map(Ok).boxed());
        };
        let file =
            File::open(&spill.path).map_err(|error| Error::io("read", &spill.path, error))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
            .map_err(|error| from_parquet("in the spill folder", error))?;
        Ok(stream::try_unfold(reader, next_batch).boxed())
    }
}

impl Spilling {
    fn start(around: &Surroundings, schema: &SchemaRef) -> Result<Self> {
        let path = around.engine.spill_dir().join(format!("merge-{}.parquet", unique()));
        let file = File::create_new(&path).map_err(|error| Error::io("spill to", &path, error))?;
        let spill = Spill { path };
        let writer = ArrowWriter::try_new(file, Arc::clone(schema), None)
            .map_err(|error| unspillable(error, &spill.path))?;
        Ok(Self { spill, writer })
    }

    fn write(mut self, batches: &[RecordBatch]) -> Result<Self> {
        for batch in batches {
            self.writer.write(batch).map_err(|error| unspillable(error, &self.spill.path))?;
        }
        Ok(self)
    }

    fn end(self) -> Result<Spill> {
        self.writer.close().map_err(|error| unspillable(error, &self.spill.path))?;
        Ok(self.spill)
    }
}

async fn next_batch(
    mut reader: ParquetRecordBatchReader,
) -> Result<Option<(RecordBatch, ParquetRecordBatchReader)>> {
    task::compute(move || match reader.next() {
        Some(batch) => Ok(Some((batch.map_err(from_arrow)?, reader))),
        None => Ok(None),
    })
    .await
}

fn unspillable(error: ParquetError, path: &std::path::Path) -> Error {
    if let ParquetError::External(inner) = error {
        return match inner.downcast::<std::io::Error>() {
            Ok(io) => Error::io("spill to", path, *io),
            Err(inner) => Error::internal("rows cannot be spilled").caused_by(inner),
        };
    }
    Error::internal("rows cannot be spilled").caused_by(error)
}

/// The index of the column that marks deletions.
fn marker(location: &Location, schema: &Schema, name: Option<&str>) -> Result<Option<usize>> {
    let Some(name) = name else { return Ok(None) };
    let index = schema.index_of(name).ok();
    match index.filter(|index| *schema.field(*index).data_type() == DataType::Boolean) {
        Some(index) => Ok(Some(index)),
        None => Err(Error::invalid(format!(
            "rows for table \"{location}\" have no boolean column \"{name}\" that marks deletions"
        ))
        .hint("Name the column that is true for deleted rows.")),
    }
}

fn key_types(
    location: &Location,
    table: &Schema,
    given: &Schema,
    key: &[String],
) -> Result<Vec<DataType>> {
    if key.is_empty() {
        return Err(Error::invalid(format!("a merge into table \"{location}\" has no key"))
            .hint("Name the columns that identify a row."));
    }
    let mut types = Vec::with_capacity(key.len());
    for name in key {
        let (Ok(field), Ok(_)) = (table.field_with_name(name), given.field_with_name(name)) else {
            let names = given.fields().iter().map(|field| field.name().as_str());
            return Err(Error::invalid(format!(
                "key column \"{name}\" is missing in the rows for table \"{location}\""
            ))
            .hint(flywheel_base::suggest::hint(name, names.collect::<Vec<_>>())));
        };
        if field.data_type().is_nested() {
            return Err(Error::invalid(format!(
                "key column \"{name}\" of table \"{location}\" is {}",
                field.data_type()
            ))
            .hint("Choose numbers, text, dates or times as a key."));
        }
        types.push(field.data_type().clone());
    }
    Ok(types)
}

/// A digest for every row's key of these types, equal for equal keys.
pub(super) fn digests(types: &[DataType], keys: &[ArrayRef]) -> Result<Vec<u128>> {
    let fields = types.iter().map(|t| SortField::new(t.clone())).collect();
    let rows = RowConverter::new(fields)
        .and_then(|converter| converter.convert_columns(keys))
        .map_err(from_arrow)?;
    Ok(rows.iter().map(|row| digest(row.as_ref())).collect())
}

/// Short keys as they are with their length, long ones by the first half of their BLAKE3 digest.
fn digest(key: &[u8]) -> u128 {
    let mut bytes = [0_u8; 16];
    if key.len() <= KEY_BYTES_PLAIN_MAX {
        bytes[..key.len()].copy_from_slice(key);
        bytes[15] = key.len() as u8;
        return u128::from_le_bytes(bytes);
    }
    bytes.copy_from_slice(&blake3::hash(key).as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

/// The indices of the smallest and the largest row.
fn extremes(rows: &Rows) -> Option<(usize, usize)> {
    let mut found: Option<(usize, usize)> = None;
    for index in 0..rows.num_rows() {
        let (mut low, mut high) = found.unwrap_or((index, index));
        if rows.row(index) < rows.row(low) {
            low = index;
        }
        if rows.row(index) > rows.row(high) {
            high = index;
        }
        found = Some((low, high));
    }
    found
}
