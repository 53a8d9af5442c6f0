//! Keeping every version of a row: the open version of a key is closed when another one comes.
//!
//! A version is open from `valid_from` on, and until `valid_to` if that is not NULL. A row that is given
//! and equals its open version changes nothing, so that a whole read costs no version of any row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use flywheel_base::{Error, Result, Timestamp, digest};
use futures::{StreamExt, TryStreamExt};

use super::merge::may_hold;
use super::staged::Staged;
use super::{Change, Surroundings};
use crate::data_file::{self, DataWriter};
use crate::failure::from_arrow;
use crate::shape::{self, Fit};
use crate::snapshot::{DataFile, Snapshot};
use crate::write::Commit;
use crate::{Location, RowStream};

/// The column with the moment from which a version holds.
pub const VALID_FROM: &str = "valid_from";
/// The column with the moment until which a version held; NULL while it holds.
pub const VALID_TO: &str = "valid_to";

/// How versions are told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Versions {
    /// The moment of the change.
    pub(crate) at: Timestamp,
    /// Whether keys that are not given have ended.
    pub(crate) complete: bool,
}

/// The rows with the two columns of a version that begins at `at`.
pub(crate) fn begun(location: &Location, rows: RowStream, at: Timestamp) -> Result<RowStream> {
    let given = rows.schema();
    if let Some(name) = [VALID_FROM, VALID_TO].iter().find(|n| given.field_with_name(n).is_ok()) {
        return Err(Error::invalid(format!(
            "rows for table \"{location}\" have a column \"{name}\", which a history keeps for itself"
        ))
        .hint("Give the column another name in the sync."));
    }
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields: Vec<_> = given.fields().iter().map(Arc::clone).collect();
    for name in [VALID_FROM, VALID_TO] {
        fields.push(Arc::new(Field::new(name, utc.clone(), true)));
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let wanted = SchemaRef::clone(&schema);
    let batches = rows.map(move |batch| {
        let batch = batch?;
        let mut columns = batch.columns().to_vec();
        columns.push(moments(at, batch.num_rows()));
        columns.push(new_null_array(&utc, batch.num_rows()));
        RecordBatch::try_new(SchemaRef::clone(&wanted), columns).map_err(from_arrow)
    });
    Ok(RowStream::new(schema, batches))
}

fn moments(at: Timestamp, rows: usize) -> ArrayRef {
    let values = TimestampMicrosecondArray::from_value(at.micros(), rows);
    Arc::new(values.with_timezone("UTC"))
}

/// A file and what becomes of its rows.
struct Touched {
    file: Arc<DataFile>,
    /// Versions that are closed.
    closed: BooleanBuffer,
    /// Versions that began at this very moment and are given anew.
    gone: BooleanBuffer,
}

/// Brings the given versions in on top of `head`.
pub(crate) async fn decide(
    around: &Surroundings,
    staged: &Staged,
    versions: Versions,
    fit: Fit,
    head: Option<&Arc<Snapshot>>,
    writer: &mut DataWriter,
) -> Result<Change> {
    let compared = Compared::new(&fit)?;
    let mut given = compared.of_staged(staged, &fit).await?;
    let mut touched = Vec::new();
    let mut commit = Commit { rows_superseded: staged.superseded, ..Commit::default() };
    if let Some(head) = head {
        head.require_not_append_only()?;
        let search = Search { around, staged, versions, fit: &fit, compared: &compared };
        touched = search.all(head, &mut given, &mut commit).await?;
        for touched in &touched {
            rewrite(around, touched, versions.at, &fit.schema, writer).await?;
        }
    }
    commit.rows_written = emit(staged, &fit, &given, writer).await?;
    Ok(Change {
        adds: writer.finish().await?,
        removes: touched.into_iter().map(|touched| touched.file).collect(),
        schema: (fit.changed || head.is_none()).then(|| Arc::clone(&fit.schema)),
        commit,
        delta_operation: "MERGE",
        data_change: true,
        always: false,
    })
}

/// The values by which two versions differ: all columns that are given, apart from the moments.
struct Compared {
    places: Vec<usize>,
    converter: RowConverter,
}

impl Compared {
    fn new(fit: &Fit) -> Result<Self> {
        let own =
            |at: &usize| [VALID_FROM, VALID_TO].contains(&fit.schema.field(*at).name().as_str());
        let places: Vec<usize> =
            (0..fit.sources.len()).filter(|at| fit.sources[*at].is_some() && !own(at)).collect();
        let sorts =
            places.iter().map(|at| SortField::new(fit.schema.field(*at).data_type().clone()));
        let converter = RowConverter::new(sorts.collect()).map_err(from_arrow)?;
        Ok(Self { places, converter })
    }

    fn digests(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        let columns: Vec<ArrayRef> =
            self.places.iter().map(|at| Arc::clone(batch.column(*at))).collect();
        let rows = self.converter.convert_columns(&columns).map_err(from_arrow)?;
        Ok(rows.iter().map(|row| digest::hash128(row.as_ref())).collect())
    }

    async fn of_staged(&self, staged: &Staged, fit: &Fit) -> Result<Given> {
        let mut digests = Vec::with_capacity(staged.deletes.len());
        let mut rows = staged.replay()?;
        while let Some(batch) = rows.try_next().await? {
            digests.extend(self.digests(&shape::convert(fit, &batch)?)?);
        }
        let mut wanted = staged.winning_rows();
        for (wanted, deleted) in wanted.iter_mut().zip(&staged.deletes) {
            *wanted &= !deleted;
        }
        Ok(Given { digests, wanted })
    }
}

/// The given rows by their number.
struct Given {
    digests: Vec<u128>,
    /// Whether the row begins a version.
    wanted: Vec<bool>,
}

/// Looks for open versions that end.
struct Search<'a> {
    around: &'a Surroundings,
    staged: &'a Staged,
    versions: Versions,
    fit: &'a Fit,
    compared: &'a Compared,
}

impl Search<'_> {
    async fn all(
        &self,
        head: &Arc<Snapshot>,
        given: &mut Given,
        commit: &mut Commit,
    ) -> Result<Vec<Touched>> {
        let mut touched = Vec::new();
        for file in head.files.iter().filter(|file| self.may_matter(head, file)) {
            let mut closed = BooleanBufferBuilder::new(0);
            let mut gone = BooleanBufferBuilder::new(0);
            let mut batches = data_file::read(&self.around.store, file, &self.fit.schema).await?;
            while let Some(batch) = batches.try_next().await? {
                self.batch(&batch, given, commit, &mut closed, &mut gone)?;
            }
            let (closed, gone) = (closed.finish(), gone.finish());
            if closed.count_set_bits() + gone.count_set_bits() > 0 {
                touched.push(Touched { file: Arc::clone(file), closed, gone });
            }
        }
        Ok(touched)
    }

    /// Whether a file can hold an open version that ends or is given again.
    fn may_matter(&self, head: &Snapshot, file: &DataFile) -> bool {
        let open = head.schema.index_of(VALID_TO).ok().is_none_or(|at| {
            let nulls = file.stats(&head.schema).columns.get(at).and_then(|column| column.nulls);
            nulls != Some(0)
        });
        open && (self.versions.complete || may_hold(self.staged, head, file))
    }

    fn batch(
        &self,
        batch: &RecordBatch,
        given: &mut Given,
        commit: &mut Commit,
        closed: &mut BooleanBufferBuilder,
        gone: &mut BooleanBufferBuilder,
    ) -> Result<()> {
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| Error::internal(format!("no column {name}")))
        };
        let ended = column(VALID_TO)?;
        let begun = column(VALID_FROM)?.as_primitive::<TimestampMicrosecondType>();
        let keys: Vec<ArrayRef> = self
            .staged
            .key
            .iter()
            .map(|name| column(name).map(Arc::clone))
            .collect::<Result<_>>()?;
        let keys = self.staged.digests(&keys)?;
        let values = self.compared.digests(batch)?;
        for (row, (key, value)) in keys.into_iter().zip(values).enumerate() {
            let ends = ended.is_null(row)
                && match self.staged.winner(key).map(|ordinal| ordinal as usize) {
                    None => self.versions.complete,
                    Some(at) if self.staged.deletes.get(at).copied().unwrap_or_default() => true,
                    Some(at) if given.digests.get(at) == Some(&value) => {
                        if let Some(wanted) = given.wanted.get_mut(at) {
                            *wanted = false;
                        }
                        false
                    }
                    Some(_) => {
                        commit.rows_updated += 1;
                        true
                    }
                };
            let now = ends && begun.is_valid(row) && begun.value(row) >= self.versions.at.micros();
            commit.rows_deleted += u64::from(
                ends && self.staged.winner(key).is_none_or(|at| {
                    self.staged.deletes.get(at as usize).copied().unwrap_or_default()
                }),
            );
            closed.append(ends && !now);
            gone.append(now);
        }
        Ok(())
    }
}

/// Writes a file's rows anew, with the versions that end closed.
async fn rewrite(
    around: &Surroundings,
    touched: &Touched,
    at: Timestamp,
    schema: &SchemaRef,
    writer: &mut DataWriter,
) -> Result<()> {
    let end = schema.index_of(VALID_TO).map_err(from_arrow)?;
    let mut batches = data_file::read(&around.store, &touched.file, schema).await?;
    let mut from = 0;
    while let Some(batch) = batches.try_next().await? {
        let rows = batch.num_rows();
        if from + rows > touched.closed.len() {
            return Err(Error::corrupt(format!(
                "data file {} gave different rows on a second read",
                touched.file.add.path
            ))
            .hint("Check the disk; then run it again."));
        }
        let closed = touched.closed.slice(from, rows);
        let gone = touched.gone.slice(from, rows);
        from += rows;
        let mut columns = batch.columns().to_vec();
        let old = columns[end].as_primitive::<TimestampMicrosecondType>();
        let ends: TimestampMicrosecondArray = old
            .iter()
            .zip(closed.iter())
            .map(|(old, closed)| if closed { Some(at.micros()) } else { old })
            .collect();
        columns[end] = Arc::new(ends.with_timezone("UTC"));
        let batch = RecordBatch::try_new(batch.schema(), columns).map_err(from_arrow)?;
        let stay = BooleanArray::new(!&gone, None);
        writer.write(filter_record_batch(&batch, &stay).map_err(from_arrow)?).await?;
    }
    Ok(())
}

/// Writes the versions that begin.
async fn emit(staged: &Staged, fit: &Fit, given: &Given, writer: &mut DataWriter) -> Result<u64> {
    let mut rows = staged.replay()?;
    let (mut at, mut written) = (0, 0);
    while let Some(batch) = rows.try_next().await? {
        let range = at..at + batch.num_rows();
        at += batch.num_rows();
        let mask = BooleanArray::from_iter(
            range.map(|row| Some(given.wanted.get(row).copied().unwrap_or_default())),
        );
        written += mask.true_count() as u64;
        let full = shape::convert(fit, &batch)?;
        writer.write(filter_record_batch(&full, &mask).map_err(from_arrow)?).await?;
    }
    Ok(written)
}
