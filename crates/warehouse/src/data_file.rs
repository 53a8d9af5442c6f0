//! Writing and reading a table's Parquet files.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use datafusion::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use datafusion::parquet::arrow::{ArrowSchemaConverter, ProjectionMask};
use datafusion::parquet::basic::{Compression, Encoding, Type as PhysicalType, ZstdLevel};
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use datafusion::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use flywheel_base::{Error, Result, Timestamp, task};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;

use crate::failure::{from_parquet, from_store, from_writer};
use crate::log::action::{Add, DIGEST_TAG};
use crate::log::stats;
use crate::shape;
use crate::snapshot::DataFile;

/// A file is closed when it has grown to this size.
const FILE_BYTES_MAX: usize = 128 << 20;
/// Rows of a row group: what is held in memory while writing.
const GROUP_ROWS_MAX: usize = 262_144;
/// Encoded bytes are handed to the store in pieces of this size.
const PIECE_BYTES: usize = 2 << 20;
/// Pieces are not smaller than this, however little memory there is.
const PIECE_BYTES_MIN: usize = 64 << 10;
/// Pieces on their way to the store at once: one is written while the next is encoded.
const PIECES_AT_ONCE: usize = 2;
/// Distinct numbers of a row group are kept in a dictionary up to this many bytes. Beyond it the time
/// spent on looking each of them up buys nothing: differences between neighbours are smaller.
const DICTIONARY_BYTES_NUMBERS: usize = 32 << 10;
/// Distinct texts of a row group are kept in a dictionary up to this many bytes.
const DICTIONARY_BYTES_TEXTS: usize = 256 << 10;
/// Rows of a file's first batch that are looked at to see whether the texts of a column repeat themselves; of a shorter
/// batch a dictionary costs little either way.
const LOOK_ROWS: usize = 2_048;
/// How many of them may say what another one says in a column of distinct texts. Such a column has so many that a
/// dictionary grows too large, or is as long as the column: looking each of them up buys nothing.
const REPEATS_MAX: usize = 8;
/// Compression of large data files: the level that costs little more than Snappy.
const ZSTD_LEVEL: i32 = 1;
/// A file whose rows take less memory than this is small, and compressed with Snappy: reader and writer make a codec for
/// each column of a file, and to make one of ZSTD asks the processor what it can do, for which a virtual machine stops.
/// A turn reads and writes many columns of small files, and that was a twelfth of its processor time. Small files become
/// large ones by and by.
const SMALL_BYTES: usize = 4 << 20;
/// Bytes read from a file's end at once, in the hope that its footer is in them.
const FOOTER_BYTES: usize = 64 << 10;
/// Rows of a batch when reading.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// A random name in the form of a UUID; only its being unique matters.
pub(crate) fn unique() -> String {
    let half = || RandomState::new().build_hasher().finish();
    let hex = format!("{:016x}{:016x}", half(), half());
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Writes rows into files of a table's folder; nothing refers to them until they are committed.
#[derive(Debug)]
pub(crate) struct DataWriter {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    schema: SchemaRef,
    version: i64,
    at: Timestamp,
    /// Bytes of a row group in memory at most; it ends there, however few its rows are.
    group_bytes: usize,
    piece_bytes: usize,
    small_bytes: usize,
    /// The first rows of a file, until it is known whether it is a small one, and the bytes they take.
    held: (Vec<RecordBatch>, usize),
    open: Option<OpenFile>,
    done: Vec<Add>,
    /// Rows written so far.
    pub(crate) rows: u64,
}

struct OpenFile {
    name: String,
    parquet: ArrowWriter<Vec<u8>>,
    upload: BufWriter,
    digest: blake3::Hasher,
    size: usize,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl DataWriter {
    /// Files for the commit that will make `version`.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        folder: Path,
        schema: SchemaRef,
        version: i64,
        at: Timestamp,
    ) -> Self {
        Self {
            store,
            folder,
            schema,
            version,
            at,
            group_bytes: usize::MAX,
            piece_bytes: PIECE_BYTES,
            small_bytes: SMALL_BYTES,
            held: (Vec::new(), 0),
            open: None,
            done: Vec::new(),
            rows: 0,
        }
    }

    /// The writer with buffers of about `bytes` at most: half for the row group, half for pieces that are
    /// encoded, handed over and on their way.
    pub(crate) fn within(mut self, bytes: Option<usize>) -> Self {
        if let Some(bytes) = bytes {
            self.group_bytes = (bytes / 2).max(PIECE_BYTES_MIN);
            self.piece_bytes = (bytes / 8).clamp(PIECE_BYTES_MIN, PIECE_BYTES);
            self.small_bytes = (bytes / 8).min(SMALL_BYTES);
        }
        self
    }

    /// Adds rows, which must have the writer's schema.
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        if self.open.is_some() {
            return self.append(batch).await;
        }
        let (held, bytes) = &mut self.held;
        *bytes += batch.get_array_memory_size();
        held.push(batch);
        match *bytes < self.small_bytes {
            true => Ok(()),
            false => self.begin(zstd()?).await,
        }
    }

    /// Begins a file with the rows that were held for it.
    async fn begin(&mut self, compression: Compression) -> Result<()> {
        let (held, _) = mem::take(&mut self.held);
        if let Some(first) = held.first() {
            self.open = Some(self.start(first, compression)?);
        }
        for batch in held {
            self.append(batch).await?;
        }
        Ok(())
    }

    async fn append(&mut self, batch: RecordBatch) -> Result<()> {
        let file = match self.open.take() {
            Some(file) => file,
            None => self.start(&batch, zstd()?)?,
        };
        let mut file = encode(file, batch, self.group_bytes).await?;
        if file.parquet.inner().len() >= self.piece_bytes {
            file = hand_over(file).await?;
        }
        if file.size + file.parquet.in_progress_size() >= FILE_BYTES_MAX {
            return self.close(file).await;
        }
        self.open = Some(file);
        Ok(())
    }

    /// Closes the file being written; further rows begin another one.
    pub(crate) async fn end_file(&mut self) -> Result<()> {
        self.begin(Compression::SNAPPY).await?;
        match self.open.take() {
            Some(file) => self.close(file).await,
            None => Ok(()),
        }
    }

    /// Takes over files that another writer has completed, with their rows.
    pub(crate) fn take_over(&mut self, files: Vec<Add>, rows: u64) {
        self.done.extend(files);
        self.rows += rows;
    }

    /// Whether every row lies in a file that is complete.
    pub(crate) fn is_between_files(&self) -> bool {
        self.open.is_none() && self.held.0.is_empty()
    }

    /// Closes the file being written, so that the next one has other columns.
    pub(crate) async fn change_columns(&mut self, schema: SchemaRef) -> Result<()> {
        self.end_file().await?;
        self.schema = schema;
        Ok(())
    }

    /// Begins a file, whose first rows are those of `first`.
    fn start(&self, first: &RecordBatch, compression: Compression) -> Result<OpenFile> {
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
            .set_created_by(concat!("flywheel ", env!("CARGO_PKG_VERSION")).to_owned());
        let properties = with_encodings(properties, &self.schema, first)?.build();
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let schema = SchemaRef::clone(&self.schema);
        let parquet = ArrowWriter::try_new_with_options(Vec::new(), schema, options)
            .map_err(|error| Error::internal("a data file cannot be started").caused_by(error))?;
        let (version, index) = (self.version, self.done.len());
        let packed = if compression == Compression::SNAPPY { "snappy" } else { "zstd" };
        let name = format!("part-{version:020}-{index:05}-{}.{packed}.parquet", unique());
        let path = self.folder.clone().join(name.as_str());
        let upload = BufWriter::with_capacity(Arc::clone(&self.store), path, self.piece_bytes)
            .with_max_concurrency(PIECES_AT_ONCE);
        Ok(OpenFile { name, parquet, upload, digest: blake3::Hasher::new(), size: 0 })
    }

    async fn close(&mut self, file: OpenFile) -> Result<()> {
        let (mut file, footer) = task::compute(move || {
            let mut file = file;
            let footer = file.parquet.finish().map_err(unencodable)?;
            Ok((file, footer))
        })
        .await?;
        file = hand_over(file).await?;
        file.upload.shutdown().await.map_err(|error| from_writer("write a data file", error))?;
        let digest = file.digest.finalize().to_hex().to_string();
        self.done.push(Add {
            path: file.name,
            partition_values: BTreeMap::new(),
            size: file.size as i64,
            modification_time: self.at.micros() / 1_000,
            data_change: true,
            stats: Some(stats::collect(&footer, &self.schema)),
            tags: Some(BTreeMap::from([(DIGEST_TAG.to_owned(), Some(digest))])),
            deletion_vector: None,
        });
        Ok(())
    }

    /// Closes the last file and returns what to commit.
    pub(crate) async fn finish(&mut self) -> Result<Vec<Add>> {
        self.end_file().await?;
        Ok(self.done.clone())
    }

    /// Removes what was written for a commit that does not happen; what stays is swept later.
    pub(crate) async fn discard(&mut self) {
        self.discard_behind(0).await;
    }

    /// As [`DataWriter::discard`], but for the first `kept` files, which another writer may take over.
    pub(crate) async fn discard_behind(&mut self, kept: usize) {
        self.held = (Vec::new(), 0);
        if let Some(mut file) = self.open.take()
            && let Err(error) = file.upload.abort().await
        {
            tracing::debug!(error = %error, "unfinished data file stays until it is swept");
        }
        for add in self.done.split_off(kept.min(self.done.len())) {
            let path = self.folder.clone().join(add.path.as_str());
            if let Err(error) = self.store.delete(&path).await {
                tracing::debug!(error = %error, "uncommitted data file stays until it is swept");
            }
        }
    }
}

fn zstd() -> Result<Compression> {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|e| from_parquet("to be written", e))?;
    Ok(Compression::ZSTD(level))
}

/// How each column is encoded when its values are too many for a dictionary, and which have none at all. Both encodings
/// are read by DuckDB, Polars and by Spark since 3.3.
fn with_encodings(
    mut properties: WriterPropertiesBuilder,
    schema: &SchemaRef,
    first: &RecordBatch,
) -> Result<WriterPropertiesBuilder> {
    let columns = ArrowSchemaConverter::new().convert(schema).map_err(unencodable)?;
    for column in columns.columns() {
        let (encoding, dictionary) = match column.physical_type() {
            PhysicalType::INT32 | PhysicalType::INT64 => {
                (Encoding::DELTA_BINARY_PACKED, DICTIONARY_BYTES_NUMBERS)
            }
            PhysicalType::BYTE_ARRAY => (Encoding::DELTA_LENGTH_BYTE_ARRAY, DICTIONARY_BYTES_TEXTS),
            _ => (Encoding::PLAIN, DICTIONARY_BYTES_NUMBERS),
        };
        properties = properties
            .set_column_encoding(column.path().clone(), encoding)
            .set_column_dictionary_page_size_limit(column.path().clone(), dictionary);
        // A column within another one has a path of several parts.
        let [name] = column.path().parts() else { continue };
        if first.column_by_name(name).is_some_and(|values| is_distinct(values)) {
            properties = properties.set_column_dictionary_enabled(column.path().clone(), false);
        }
    }
    Ok(properties)
}

/// Whether these are texts that hardly repeat themselves.
fn is_distinct(values: &dyn Array) -> bool {
    let Some(texts) = values.as_string_opt::<i32>().filter(|texts| texts.len() >= LOOK_ROWS) else {
        return false;
    };
    let (mut seen, mut repeats) = (HashSet::with_capacity(LOOK_ROWS), 0);
    texts.iter().take(LOOK_ROWS).all(|text| {
        // A missing value repeats another one as well.
        let new = text.is_some_and(|text| seen.insert(text));
        repeats += usize::from(!new);
        repeats <= REPEATS_MAX
    })
}

/// Moves what is encoded so far to the store.
async fn hand_over(mut file: OpenFile) -> Result<OpenFile> {
    let piece = Bytes::from(mem::take(file.parquet.inner_mut()));
    file.size += piece.len();
    file.digest.update(&piece);
    file.upload.put(piece).await.map_err(|error| from_store("write a data file", error))?;
    Ok(file)
}

async fn encode(mut file: OpenFile, batch: RecordBatch, group_bytes: usize) -> Result<OpenFile> {
    task::compute(move || {
        file.parquet.write(&batch).map_err(unencodable)?;
        if file.parquet.memory_size() >= group_bytes {
            file.parquet.flush().map_err(unencodable)?;
        }
        Ok(file)
    })
    .await
}

fn unencodable(error: ParquetError) -> Error {
    Error::internal("rows cannot be encoded as Parquet").caused_by(error)
}

/// Streams a data file's rows with the table's present columns, or those of `schema`.
pub(crate) async fn read(
    store: &Arc<dyn ObjectStore>,
    file: &DataFile,
    schema: &SchemaRef,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let reader = StoreReader {
        store: Arc::clone(store),
        path: file.path.clone(),
        size: file.add.size.unsigned_abs(),
    };
    let name = file.add.path.clone();
    let builder = ParquetRecordBatchStreamBuilder::new(reader)
        .await
        .map_err(|error| from_parquet(&name, error))?;
    let columns = builder.schema().fields().iter().enumerate();
    let wanted: Vec<usize> = columns
        .filter(|(_, field)| schema.index_of(field.name()).is_ok())
        .map(|(index, _)| index)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let rows = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error| from_parquet(&name, error))?;
    let schema = SchemaRef::clone(schema);
    Ok(rows
        .map_err(move |error| from_parquet(&name, error))
        .and_then(move |batch| {
            let conformed = shape::conform(&schema, &batch);
            async move { conformed }
        })
        .boxed())
}

/// Reads ranges of a data file from the store.
struct StoreReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for StoreReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let read = self.store.get_range(&self.path, range);
        read.map_err(|error| ParquetError::External(Box::new(error))).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            let read = self.store.get_ranges(&self.path, &ranges).await;
            read.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            let options = options.map(|options| options.metadata_options().clone());
            let reader = ParquetMetaDataReader::new()
                .with_prefetch_hint(Some(FOOTER_BYTES))
                .with_metadata_options(options);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
