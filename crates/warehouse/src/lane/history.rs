//! Keeping every version of a row: the open version of a key is closed when another one comes.
//!
//! A version is open from `valid_from` on, and until `valid_to` if that is not NULL. A row that is given
//! and equals its open version changes nothing, so that a whole read costs no version of any row.
//!
//! Rows can tell when they changed. Then all changes of a key have their part, each with its own moment,
//! although they come in one commit.

mod given;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use flywheel_base::{Error, Result, Timestamp, digest};
use futures::{StreamExt, TryStreamExt};

use self::given::{Fate, Given};
use super::merge::may_hold;
use super::staged::Staged;
use super::{Change, Surroundings, Waits};
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
    /// The moment of the change, where rows do not tell theirs.
    pub(crate) at: Timestamp,
    /// Whether keys that are not given have ended.
    pub(crate) complete: bool,
    /// Whether rows tell the moment of their change in [`VALID_FROM`].
    pub(crate) dated: bool,
}

/// The rows with the moment of their change, as a [`crate::WriteMode::History`] that is `dated` takes
/// them. Without one they have that of the next row that has one.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if they have a column that a history keeps for itself.
pub fn dated(
    location: &Location,
    rows: &RecordBatch,
    at: Option<Timestamp>,
) -> Result<RecordBatch> {
    require_free(location, rows.schema_ref(), &[VALID_FROM, VALID_TO])?;
    let mut fields: Vec<_> = rows.schema_ref().fields().iter().map(Arc::clone).collect();
    fields.push(Arc::new(Field::new(VALID_FROM, utc(), true)));
    let mut columns = rows.columns().to_vec();
    columns.push(match at {
        Some(at) => moments(at, rows.num_rows()),
        None => new_null_array(&utc(), rows.num_rows()),
    });
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(from_arrow)
}

/// The rows with the two columns of a version.
pub(crate) fn begun(location: &Location, rows: RowStream, versions: Versions) -> Result<RowStream> {
    let given = rows.schema();
    let Versions { at, dated, .. } = versions;
    if dated && given.field_with_name(VALID_FROM).is_err() {
        return Err(Error::internal(format!(
            "rows for table \"{location}\" do not tell when they changed"
        )));
    }
    let own: &[&str] = if dated { &[VALID_TO] } else { &[VALID_FROM, VALID_TO] };
    require_free(location, &given, own)?;
    let mut fields: Vec<_> = given.fields().iter().map(Arc::clone).collect();
    for name in own {
        fields.push(Arc::new(Field::new(*name, utc(), true)));
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let wanted = SchemaRef::clone(&schema);
    let batches = rows.map(move |batch| {
        let batch = batch?;
        let mut columns = batch.columns().to_vec();
        if !dated {
            columns.push(moments(at, batch.num_rows()));
        }
        columns.push(new_null_array(&utc(), batch.num_rows()));
        RecordBatch::try_new(SchemaRef::clone(&wanted), columns).map_err(from_arrow)
    });
    Ok(RowStream::new(schema, batches))
}

fn require_free(location: &Location, given: &SchemaRef, own: &[&str]) -> Result<()> {
    let Some(name) = own.iter().find(|name| given.field_with_name(name).is_ok()) else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "rows for table \"{location}\" have a column \"{name}\", which a history keeps for itself"
    ))
    .hint("Give the column another name in the sync."))
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn moments(at: Timestamp, rows: usize) -> ArrayRef {
    let values = TimestampMicrosecondArray::from_value(at.micros(), rows);
    Arc::new(values.with_timezone("UTC"))
}

/// A file and what becomes of its rows.
struct Touched {
    file: Arc<DataFile>,
    /// When versions end, by the number of their row.
    ends: HashMap<usize, i64>,
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
    let mut given = compared.of_staged(staged, &fit, versions).await?;
    let mut touched = Vec::new();
    let mut commit = Commit::default();
    if let Some(head) = head {
        head.require_not_append_only()?;
        let search = Search { around, staged, versions, fit: &fit, compared: &compared };
        touched = search.all(head, &mut given, &mut commit).await?;
        for touched in &touched {
            rewrite(around, touched, &fit.schema, writer).await?;
        }
    }
    given.decide_rest(staged);
    commit.rows_superseded = given.superseded;
    commit.rows_written = emit(staged, &fit, &given, writer).await?;
    Ok(Change {
        adds: writer.finish().await?,
        removes: touched.into_iter().map(|touched| touched.file).collect(),
        schema: (fit.changed || head.is_none()).then(|| Arc::clone(&fit.schema)),
        commit,
        delta_operation: "MERGE",
        data_change: true,
        always: false,
        waiting: Waits::Same,
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

    async fn of_staged(&self, staged: &Staged, fit: &Fit, versions: Versions) -> Result<Given> {
        let begin = fit.schema.index_of(VALID_FROM).map_err(from_arrow)?;
        let mut digests = Vec::with_capacity(staged.deletes.len());
        let mut told = Vec::with_capacity(staged.deletes.len());
        let mut rows = staged.replay()?;
        while let Some(batch) = rows.try_next().await? {
            let batch = shape::convert(fit, &batch)?;
            digests.extend(self.digests(&batch)?);
            told.extend(batch.column(begin).as_primitive::<TimestampMicrosecondType>().iter());
        }
        Ok(Given::new(staged, digests, told, versions.at.micros(), versions.dated))
    }
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
        let first = given.first();
        for file in head.files.iter().filter(|file| self.may_matter(head, file, first)) {
            let mut ends = HashMap::new();
            let mut gone = BooleanBufferBuilder::new(0);
            let mut batches = data_file::read(&self.around.store, file, &self.fit.schema).await?;
            while let Some(batch) = batches.try_next().await? {
                self.batch(&batch, given, commit, &mut ends, &mut gone)?;
            }
            let gone = gone.finish();
            if !ends.is_empty() || gone.count_set_bits() > 0 {
                touched.push(Touched { file: Arc::clone(file), ends, gone });
            }
        }
        Ok(touched)
    }

    /// Whether a file can hold an open version that ends or is given again, or one that ended after the
    /// first change.
    fn may_matter(&self, head: &Snapshot, file: &DataFile, first: i64) -> bool {
        let stats = file.stats(&head.schema);
        let place = head.schema.index_of(VALID_TO).ok();
        let matters = place.and_then(|at| stats.columns.get(at)).is_none_or(|column| {
            let late = match &column.max {
                Some(ScalarValue::TimestampMicrosecond(Some(end), _)) => *end >= first,
                _ => true,
            };
            column.nulls != Some(0) || late
        });
        matters && (self.versions.complete || may_hold(self.staged, head, file))
    }

    fn batch(
        &self,
        batch: &RecordBatch,
        given: &mut Given,
        commit: &mut Commit,
        ends: &mut HashMap<usize, i64>,
        gone: &mut BooleanBufferBuilder,
    ) -> Result<()> {
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| Error::internal(format!("no column {name}")))
        };
        let ended = column(VALID_TO)?.as_primitive::<TimestampMicrosecondType>();
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
            let last = self.staged.winner(key).map(|ordinal| ordinal as usize);
            if ended.is_valid(row) {
                if let Some(last) = last {
                    given.remember(last, ended.value(row));
                }
                gone.append(false);
                continue;
            }
            let since = if begun.is_valid(row) { begun.value(row) } else { i64::MIN };
            let fate = match last {
                Some(last) => given.meet(self.staged, last, since, value),
                None if self.versions.complete => given.end(since, self.versions.at.micros()),
                None => Fate::Stays,
            };
            if fate != Fate::Stays {
                let succeeded = last.is_some_and(|last| {
                    !self.staged.deletes.get(last).copied().unwrap_or_default()
                });
                commit.rows_updated += u64::from(succeeded);
                commit.rows_deleted += u64::from(!succeeded);
            }
            if let Fate::Ends(at) = fate {
                ends.insert(gone.len(), at);
            }
            gone.append(fate == Fate::Goes);
        }
        Ok(())
    }
}

/// Writes a file's rows anew, with the versions that end closed.
async fn rewrite(
    around: &Surroundings,
    touched: &Touched,
    schema: &SchemaRef,
    writer: &mut DataWriter,
) -> Result<()> {
    let end = schema.index_of(VALID_TO).map_err(from_arrow)?;
    let mut batches = data_file::read(&around.store, &touched.file, schema).await?;
    let mut from = 0;
    while let Some(batch) = batches.try_next().await? {
        let rows = batch.num_rows();
        if from + rows > touched.gone.len() {
            return Err(Error::corrupt(format!(
                "data file {} gave different rows on a second read",
                touched.file.add.path
            ))
            .hint("Check the disk; then run it again."));
        }
        let gone = touched.gone.slice(from, rows);
        let mut columns = batch.columns().to_vec();
        let old = columns[end].as_primitive::<TimestampMicrosecondType>();
        let ends: TimestampMicrosecondArray = old
            .iter()
            .enumerate()
            .map(|(row, old)| touched.ends.get(&(from + row)).copied().or(old))
            .collect();
        from += rows;
        columns[end] = Arc::new(ends.with_timezone("UTC"));
        let batch = RecordBatch::try_new(batch.schema(), columns).map_err(from_arrow)?;
        let stay = BooleanArray::new(!&gone, None);
        writer.write(filter_record_batch(&batch, &stay).map_err(from_arrow)?).await?;
    }
    Ok(())
}

/// Writes the versions that begin.
async fn emit(staged: &Staged, fit: &Fit, given: &Given, writer: &mut DataWriter) -> Result<u64> {
    let begin = fit.schema.index_of(VALID_FROM).map_err(from_arrow)?;
    let end = fit.schema.index_of(VALID_TO).map_err(from_arrow)?;
    let mut rows = staged.replay()?;
    let (mut at, mut written) = (0, 0);
    while let Some(batch) = rows.try_next().await? {
        let range = at..at + batch.num_rows();
        at += batch.num_rows();
        let mask = BooleanArray::from(given.wanted(range.clone()).to_vec());
        written += mask.true_count() as u64;
        let full = shape::convert(fit, &batch)?;
        let begins = given.begins(range.clone()).iter().copied();
        let begins = TimestampMicrosecondArray::from_iter_values(begins);
        let ends: TimestampMicrosecondArray = range.map(|row| given.end_of(row)).collect();
        let mut columns = full.columns().to_vec();
        columns[begin] = Arc::new(begins.with_timezone("UTC"));
        columns[end] = Arc::new(ends.with_timezone("UTC"));
        let full = RecordBatch::try_new(full.schema(), columns).map_err(from_arrow)?;
        writer.write(filter_record_batch(&full, &mask).map_err(from_arrow)?).await?;
    }
    Ok(written)
}
