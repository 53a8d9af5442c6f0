//! What changed between two table versions: the rows that are new or different, and the keys that are
//! gone.
//!
//! Files that both versions name are never opened. Of the others, the older ones are read once into a
//! digest per key and row, the newer ones are compared with it, and what is left over is deleted. A
//! merge or a compaction that rewrites a file without changing a row therefore yields nothing.
//!
//! Where changes wait beside the files of a version, its rows are those of both, and of files that both versions name the
//! rows matter that only one of them hides.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{concat_batches, filter_record_batch, not};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use flywheel_base::{Error, Result};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;

use super::{Newest, Surroundings};
use crate::RowStream;
use crate::data_file;
use crate::failure::{from_arrow, from_engine};
use crate::snapshot::{DataFile, Snapshot};

/// The column that marks a row of [`crate::Lake::changes`] as deleted.
pub const DELETED: &str = "_deleted";

/// What a remembered row costs in memory: two digests and the table around them.
const ROW_BYTES: usize = 40;

/// The rows of `new` that `old` lacks or has otherwise, then the keys only `old` has.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a key column is missing, NULL, or a key is there twice.
pub(crate) async fn changes(
    around: &Surroundings,
    old: Option<Arc<Snapshot>>,
    new: Arc<Snapshot>,
    key: &[String],
) -> Result<RowStream> {
    let mut fields: Vec<_> = new.schema.fields().iter().map(Arc::clone).collect();
    fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, false)));
    let marked: SchemaRef = Arc::new(Schema::new(fields));
    let schema = SchemaRef::clone(&new.schema);
    let store = Arc::clone(&around.store);
    let (before, after) = sides(around, old.as_ref(), &new).await?;
    let digester = Digester::new(&schema, key)?;
    let reservation = MemoryConsumer::new("table changes").register(around.engine.memory());
    let mut compare = Compare { digester, rows: HashMap::new(), reservation };
    let mut batches = before.read(&store, &schema);
    while let Some(batch) = batches.try_next().await? {
        compare.remember(&batch)?;
    }
    let newer = after.read(&store, &schema);
    let before = Some(before);
    let state = State { compare, store, schema, marked: SchemaRef::clone(&marked), before };
    Ok(RowStream::new(marked, emit(state, newer)))
}

struct State {
    compare: Compare,
    store: Arc<dyn ObjectStore>,
    schema: SchemaRef,
    marked: SchemaRef,
    before: Option<Side>,
}

/// What one of the two versions has that the other may not have.
#[derive(Debug, Default)]
struct Side {
    /// Files that only this version names.
    own: Vec<Arc<DataFile>>,
    /// Files that both name, if one of them has changes that wait.
    common: Vec<Arc<DataFile>>,
    /// The changes that wait in this version.
    newest: Option<Arc<Newest>>,
    /// Those that wait in the other one.
    other: Option<Arc<Newest>>,
}

/// What the older and the newer version have that the other one may not have.
async fn sides(
    around: &Surroundings,
    old: Option<&Arc<Snapshot>>,
    new: &Arc<Snapshot>,
) -> Result<(Side, Side)> {
    let (store, memory) = (&around.store, around.engine.memory());
    let newer = new.newest(store, memory).await?;
    let older = match old {
        Some(old) => old.newest(store, memory).await?,
        None => None,
    };
    let known: BTreeSet<_> =
        old.iter().flat_map(|old| &old.files).map(|file| file.path.clone()).collect();
    let kept: BTreeSet<_> = new.files.iter().map(|file| file.path.clone()).collect();
    let (common, after): (Vec<Arc<DataFile>>, Vec<Arc<DataFile>>) =
        new.files.iter().map(Arc::clone).partition(|file| known.contains(&file.path));
    let before = old.iter().flat_map(|old| &old.files);
    let before = before.filter(|file| !kept.contains(&file.path)).map(Arc::clone).collect();
    let waits = newer.is_some() || older.is_some();
    let common = if waits { common } else { Vec::new() };
    let side = |own: Vec<Arc<DataFile>>, newest: &Option<Arc<Newest>>, other| Side {
        own,
        common: common.clone(),
        newest: newest.clone(),
        other,
    };
    let before = side(before, &older, newer.clone());
    Ok((before, side(after, &newer, older)))
}

impl Side {
    /// Its rows with these columns.
    fn read(
        &self,
        store: &Arc<dyn ObjectStore>,
        schema: &SchemaRef,
    ) -> stream::BoxStream<'static, Result<RecordBatch>> {
        let here = self.newest.clone();
        let own = read(store, self.own.clone(), schema);
        // A row that both hide is neither's, and one that none hides is the same in both.
        let files = match self.other.clone() {
            Some(there) => {
                let common = read(store, self.common.clone(), schema).map(move |batch| {
                    let batch: RecordBatch = batch?;
                    let hidden = not(&there.shown(&batch)?).map_err(from_arrow)?;
                    filter_record_batch(&batch, &hidden).map_err(from_arrow)
                });
                own.chain(common).boxed()
            }
            None => own,
        };
        let files = files.map(move |batch| {
            let batch: RecordBatch = batch?;
            let Some(here) = &here else { return Ok(batch) };
            filter_record_batch(&batch, &here.shown(&batch)?).map_err(from_arrow)
        });
        match &self.newest {
            Some(newest) => files.chain(newest.rows(store, schema)).boxed(),
            None => files.boxed(),
        }
    }
}

/// First the changed rows of the newer files, then the keys that are left over.
fn emit(
    state: State,
    newer: stream::BoxStream<'static, Result<RecordBatch>>,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    stream::try_unfold((newer, state), |(mut newer, mut state)| async move {
        while let Some(batch) = newer.try_next().await? {
            let mask = state.compare.differing(&batch)?;
            if mask.true_count() > 0 {
                let rows = filter_record_batch(&batch, &mask).map_err(from_arrow)?;
                let rows = mark(&state.marked, &rows, false)?;
                return Ok(Some((rows, (newer, state))));
            }
        }
        // The older files are read a second time for the keys that nothing took the place of.
        let Some(before) = state.before.take().filter(|_| !state.compare.rows.is_empty()) else {
            return Ok(None);
        };
        let mut gone = Vec::new();
        let mut older = before.read(&state.store, &state.schema);
        while let Some(batch) = older.try_next().await? {
            let mask = state.compare.left_over(&batch)?;
            if mask.true_count() > 0 {
                gone.push(filter_record_batch(&batch, &mask).map_err(from_arrow)?);
            }
        }
        let rows = concat_batches(&state.schema, &gone).map_err(from_arrow)?;
        let rows = mark(&state.marked, &state.compare.digester.only_keys(&rows)?, true)?;
        Ok(Some((rows, (newer, state))))
    })
}

fn read(
    store: &Arc<dyn ObjectStore>,
    files: Vec<Arc<DataFile>>,
    schema: &SchemaRef,
) -> stream::BoxStream<'static, Result<RecordBatch>> {
    let (store, schema) = (Arc::clone(store), SchemaRef::clone(schema));
    stream::iter(files)
        .then(move |file| {
            let (store, schema) = (Arc::clone(&store), SchemaRef::clone(&schema));
            async move { data_file::read(&store, &file, &schema).await }
        })
        .try_flatten()
        .boxed()
}

fn mark(marked: &SchemaRef, rows: &RecordBatch, deleted: bool) -> Result<RecordBatch> {
    let flags = BooleanArray::from(vec![deleted; rows.num_rows()]);
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(flags));
    RecordBatch::try_new(SchemaRef::clone(marked), columns).map_err(from_arrow)
}

/// Digests of keys and of whole rows.
struct Digester {
    key_places: Vec<usize>,
    keys: RowConverter,
    rows: RowConverter,
    names: Vec<String>,
}

impl Digester {
    fn new(schema: &SchemaRef, key: &[String]) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::invalid("the changes of a table need a key")
                .hint("Add key: [column], the columns that identify a row."));
        }
        let place = |name: &String| {
            schema.index_of(name).map_err(|_| {
                let known = schema.fields().iter().map(|field| field.name().as_str());
                Error::invalid(format!("key column \"{name}\" is not in the table"))
                    .hint(flywheel_base::suggest::hint(name, known.collect::<Vec<_>>()))
            })
        };
        let key_places = key.iter().map(place).collect::<Result<Vec<_>>>()?;
        let sorts = |places: &mut dyn Iterator<Item = usize>| -> Vec<SortField> {
            places.map(|at| SortField::new(schema.field(at).data_type().clone())).collect()
        };
        let keys = RowConverter::new(sorts(&mut key_places.iter().copied())).map_err(from_arrow)?;
        let rows = RowConverter::new(sorts(&mut (0..schema.fields().len()))).map_err(from_arrow)?;
        Ok(Self { key_places, keys, rows, names: key.to_vec() })
    }

    fn keys_of(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        let columns: Vec<ArrayRef> =
            self.key_places.iter().map(|at| Arc::clone(batch.column(*at))).collect();
        for (name, column) in self.names.iter().zip(&columns) {
            if column.null_count() > 0 {
                return Err(Error::invalid(format!(
                    "key column \"{name}\" is NULL in {} rows of a table whose changes are asked for",
                    column.null_count()
                ))
                .hint("Choose a key that is always there."));
            }
        }
        digests(&self.keys, &columns)
    }

    fn rows_of(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        digests(&self.rows, batch.columns())
    }

    /// The rows with everything but their key left out.
    fn only_keys(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().enumerate().map(|(at, column)| {
            match self.key_places.contains(&at) {
                true => Arc::clone(column),
                false => new_null_array(column.data_type(), batch.num_rows()),
            }
        });
        RecordBatch::try_new(batch.schema(), columns.collect()).map_err(from_arrow)
    }
}

fn digests(converter: &RowConverter, columns: &[ArrayRef]) -> Result<Vec<u128>> {
    let rows = converter.convert_columns(columns).map_err(from_arrow)?;
    let half = |row: &[u8]| {
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&blake3::hash(row).as_bytes()[..16]);
        u128::from_le_bytes(bytes)
    };
    Ok(rows.iter().map(|row| half(row.as_ref())).collect())
}

/// The older rows that no newer row has taken the place of yet.
struct Compare {
    digester: Digester,
    /// Digest of the row by digest of the key.
    rows: HashMap<u128, u128>,
    reservation: MemoryReservation,
}

impl Compare {
    fn remember(&mut self, batch: &RecordBatch) -> Result<()> {
        self.reservation.try_grow(batch.num_rows() * ROW_BYTES).map_err(from_engine)?;
        let rows = self.digester.rows_of(batch)?;
        for (key, row) in self.digester.keys_of(batch)?.into_iter().zip(rows) {
            if self.rows.insert(key, row).is_some() {
                return Err(self.twice());
            }
        }
        Ok(())
    }

    /// Which rows are new or differ from the older row with their key.
    fn differing(&mut self, batch: &RecordBatch) -> Result<BooleanArray> {
        let rows = self.digester.rows_of(batch)?;
        let keys = self.digester.keys_of(batch)?;
        let differ = keys.iter().zip(rows).map(|(key, row)| self.rows.remove(key) != Some(row));
        Ok(differ.map(Some).collect())
    }

    fn left_over(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let keys = self.digester.keys_of(batch)?;
        Ok(keys.iter().map(|key| Some(self.rows.contains_key(key))).collect())
    }

    fn twice(&self) -> Error {
        Error::invalid(format!(
            "the key {} is not unique in a table whose changes are asked for",
            self.digester.names.join(", ")
        ))
        .hint("Choose the columns that identify a row, and test them with `unique`.")
    }
}
