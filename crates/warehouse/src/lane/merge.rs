//! Merging keyed rows into a table, copy-on-write.
//!
//! Files whose statistics exclude every key are not opened; of the others only the key columns are
//! read first, and only files that hold one of the keys are rewritten. The order is fixed: rows that
//! stay, then the given rows, each as they came.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, new_null_array,
};
use arrow::compute::{filter_record_batch, interleave};
use arrow::datatypes::{Schema, SchemaRef};
use flywheel_base::Result;
use futures::TryStreamExt;

use super::keep::{Kept, rewrite};
use super::staged::Staged;
use super::{Change, Surroundings, Waits};
use crate::data_file::{self, DataWriter};
use crate::failure::from_arrow;
use crate::shape::{self, Fit};
use crate::snapshot::{DataFile, Snapshot};
use crate::write::{Commit, Duplicates};

/// From this many rows that stay on, they get a file of their own.
const KEPT_ROWS_APART: u64 = 8_192;

/// What identifies a row.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub(crate) key: Vec<String>,
    pub(crate) duplicates: Duplicates,
    pub(crate) deleted: Option<String>,
    /// Whether rows that a later one with the same key replaces are found again.
    pub(crate) chained: bool,
}

/// Values of columns the given rows lack, taken from the rows they replace.
#[derive(Debug, Default)]
struct Patches {
    /// Table columns the given rows lack.
    columns: Vec<usize>,
    batches: Vec<RecordBatch>,
    /// Batch and row by the number of the given row.
    places: HashMap<u64, (usize, usize)>,
}

/// What was found in the table.
#[derive(Debug)]
struct Found {
    kept: Vec<Kept>,
    matched: Vec<bool>,
    rows_deleted: u64,
}

/// Merges on top of `head`.
pub(crate) async fn decide(
    around: &Surroundings,
    staged: &Staged,
    fit: Fit,
    head: Option<&Arc<Snapshot>>,
    writer: &mut DataWriter,
) -> Result<Change> {
    let mut found =
        Found { kept: Vec::new(), matched: vec![false; staged.deletes.len()], rows_deleted: 0 };
    let mut patches = Patches::default();
    if let Some(head) = head {
        head.require_not_append_only()?;
        found = probe(around, staged, &fit, head).await?;
        patches.columns =
            (0..fit.sources.len()).filter(|index| fit.sources[*index].is_none()).collect();
        rewrite(&around.store, &fit.schema, &found.kept, writer, |batch, lost| {
            patches.take(staged, batch, lost)
        })
        .await?;
    }
    if writer.rows >= KEPT_ROWS_APART {
        // Rows that stay lie apart from those that come: if keys grow with time, the next merge finds
        // its rows in the small new file and leaves the large old one alone.
        writer.end_file().await?;
    }
    let wins = staged.winning_rows();
    let rows_written = emit(staged, &fit, &patches, &wins, writer).await?;
    let updated = (0..wins.len()).filter(|row| found.matched[*row] && !staged.deletes[*row]);
    let marked = (0..wins.len()).filter(|row| wins[*row] && staged.deletes[*row]);
    let commit = Commit {
        rows_written,
        rows_marked: marked.count() as u64,
        rows_updated: updated.count() as u64,
        rows_superseded: staged.superseded,
        rows_deleted: found.rows_deleted,
        ..Commit::default()
    };
    Ok(Change {
        adds: writer.finish().await?,
        removes: found.kept.into_iter().map(|kept| kept.file).collect(),
        schema: (fit.changed || head.is_none()).then(|| Arc::clone(&fit.schema)),
        commit,
        delta_operation: "MERGE",
        data_change: true,
        always: false,
        waiting: Waits::Same,
    })
}

/// Finds the files that hold one of the keys.
async fn probe(
    around: &Surroundings,
    staged: &Staged,
    fit: &Fit,
    head: &Arc<Snapshot>,
) -> Result<Found> {
    let mut found =
        Found { kept: Vec::new(), matched: vec![false; staged.deletes.len()], rows_deleted: 0 };
    let fields: Vec<_> = staged
        .key
        .iter()
        .filter_map(|name| fit.schema.field_with_name(name).ok().cloned())
        .collect();
    let keys: SchemaRef = Arc::new(Schema::new(fields));
    for file in head.files.iter().filter(|file| may_hold(staged, head, file)) {
        let mut mask = BooleanBufferBuilder::new(0);
        let mut batches = data_file::read(&around.store, file, &keys).await?;
        let mut hit = false;
        while let Some(batch) = batches.try_next().await? {
            for digest in staged.digests(batch.columns())? {
                let Some(ordinal) = staged.winner(digest) else {
                    mask.append(true);
                    continue;
                };
                mask.append(false);
                hit = true;
                let ordinal = ordinal as usize;
                found.matched[ordinal] = true;
                found.rows_deleted += u64::from(staged.deletes[ordinal]);
            }
        }
        if hit {
            found.kept.push(Kept { file: Arc::clone(file), rows: mask.finish() });
        }
    }
    Ok(found)
}

/// Whether a file's statistics leave room for one of the keys.
pub(super) fn may_hold(staged: &Staged, head: &Snapshot, file: &DataFile) -> bool {
    let stats = file.stats(&head.schema);
    staged.key.iter().zip(&staged.bounds).all(|(name, bounds)| {
        let Some((low, high)) = bounds else { return false };
        let Ok(index) = head.schema.index_of(name) else { return false };
        if low.data_type().is_floating() {
            return true;
        }
        let Some(column) = stats.columns.get(index) else { return true };
        let below = column.max.as_ref().is_some_and(|max| max < low);
        let above = column.min.as_ref().is_some_and(|min| min > high);
        !below && !above
    })
}

/// Writes the winning rows that are not deletions.
async fn emit(
    staged: &Staged,
    fit: &Fit,
    patches: &Patches,
    wins: &[bool],
    writer: &mut DataWriter,
) -> Result<u64> {
    let mut rows = staged.replay()?;
    let (mut at, mut written) = (0, 0);
    while let Some(batch) = rows.try_next().await? {
        let range = at..at + batch.num_rows();
        let mask =
            BooleanArray::from_iter(range.map(|row| Some(wins[row] && !staged.deletes[row])));
        let full = shape::convert(fit, &batch)?;
        let full = patches.apply(full, at as u64)?;
        at += batch.num_rows();
        written += mask.true_count() as u64;
        writer.write(filter_record_batch(&full, &mask).map_err(from_arrow)?).await?;
    }
    Ok(written)
}

impl Patches {
    /// Remembers what rows that are replaced held in columns the given rows lack.
    fn take(&mut self, staged: &Staged, batch: &RecordBatch, lost: &BooleanArray) -> Result<()> {
        if self.columns.is_empty() || lost.true_count() == 0 {
            return Ok(());
        }
        let lost = filter_record_batch(batch, lost).map_err(from_arrow)?;
        let keys: Vec<ArrayRef> = staged
            .key
            .iter()
            .filter_map(|name| lost.column_by_name(name))
            .map(Arc::clone)
            .collect();
        for (row, digest) in staged.digests(&keys)?.into_iter().enumerate() {
            if let Some(ordinal) = staged.winner(digest) {
                self.places.insert(ordinal, (self.batches.len(), row));
            }
        }
        self.batches.push(lost.project(&self.columns).map_err(from_arrow)?);
        Ok(())
    }

    /// Puts the remembered values into given rows that begin with row number `first`.
    fn apply(&self, batch: RecordBatch, first: u64) -> Result<RecordBatch> {
        if self.places.is_empty() {
            return Ok(batch);
        }
        let rows = batch.num_rows();
        let places: Vec<(usize, usize)> = (first..first + rows as u64)
            .map(|ordinal| self.places.get(&ordinal).map_or((0, 0), |(b, row)| (b + 1, *row)))
            .collect();
        let mut columns = batch.columns().to_vec();
        for (position, index) in self.columns.iter().enumerate() {
            let null = new_null_array(columns[*index].data_type(), 1);
            let mut sources: Vec<&dyn Array> = vec![null.as_ref()];
            sources.extend(self.batches.iter().map(|patch| patch.column(position).as_ref()));
            columns[*index] = interleave(&sources, &places).map_err(from_arrow)?;
        }
        RecordBatch::try_new(batch.schema(), columns).map_err(from_arrow)
    }
}
