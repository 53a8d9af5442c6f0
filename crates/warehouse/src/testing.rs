//! What tests share: a lake in a temporary folder, rows written as text, disks and stores that watch
//! and fail.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use flywheel_base::{FixedClock, Timestamp};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use tempfile::TempDir;

use crate::store::{Disk, DurableStore, RealDisk};
use crate::{Catalog, Lake, LakeOptions, Location, RowStream, TableName};

/// A lake that is gone when the test ends.
#[derive(Debug)]
pub(crate) struct TestLake {
    pub(crate) lake: Lake,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) folder: TempDir,
}

impl TestLake {
    pub(crate) async fn new() -> Self {
        Self::with_memory(256 << 20).await
    }

    pub(crate) async fn with_memory(memory_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::new(Timestamp::parse("2024-01-01").unwrap()));
        let options = options(&folder, &clock, memory_bytes);
        let lake = Lake::open(&folder.path().join("lake"), options).await.unwrap();
        Self { lake, clock, folder }
    }

    /// The same folder as another process sees it.
    pub(crate) async fn other(&self) -> Lake {
        Lake::open(&self.root(), options(&self.folder, &self.clock, 256 << 20)).await.unwrap()
    }

    /// The same folder through a store and a disk of the test's.
    pub(crate) async fn through(&self, disk: Arc<dyn Disk>, store: Arc<dyn ObjectStore>) -> Lake {
        let options = options(&self.folder, &self.clock, 256 << 20);
        Lake::open_with(&self.root(), options, disk, store).await.unwrap()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    pub(crate) fn file(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }

    /// The rows of a query in which `t.x` means the table at `t/x`.
    pub(crate) async fn sql(&self, sql: &str) -> Vec<String> {
        rows_of(&self.lake, sql).await
    }
}

fn options(folder: &TempDir, clock: &Arc<FixedClock>, memory_bytes: u64) -> LakeOptions {
    let clock = Arc::clone(clock);
    LakeOptions {
        memory_bytes,
        spill_dir: folder.path().join("spill"),
        partitions: 2,
        clock,
        exact_division: false,
    }
}

/// Every table `a/b` of a lake as `a.b`.
pub(crate) async fn catalog_of(lake: &Lake) -> Catalog {
    let mut catalog = Catalog::new();
    for location in lake.locations().await.unwrap() {
        let (schema, name) = location.as_str().split_once('/').unwrap();
        catalog.table(&TableName::new(schema, name), location.clone(), None);
    }
    catalog
}

/// The answer's rows as text, values joined by `|`.
pub(crate) async fn rows_of(lake: &Lake, sql: &str) -> Vec<String> {
    let session = lake.session(catalog_of(lake).await).unwrap();
    let batches = session.query(sql).await.unwrap().collect().await.unwrap();
    text_of(&batches)
}

pub(crate) fn text_of(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch
                .columns()
                .iter()
                .map(|column| arrow::util::display::array_value_to_string(column, row).unwrap());
            rows.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

pub(crate) fn at(text: &str) -> Location {
    Location::new(text).unwrap()
}

/// Columns named by `names`, with `id`-like integers and everything else text.
pub(crate) fn batch(columns: &[(&str, Vec<Option<&str>>)]) -> RecordBatch {
    let integer = |name: &str| name == "id" || name == "n";
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, _)| {
            Field::new(*name, if integer(name) { DataType::Int64 } else { DataType::Utf8 }, true)
        })
        .collect();
    let arrays: Vec<ArrayRef> = columns
        .iter()
        .map(|(name, values)| match integer(name) {
            true => Arc::new(
                values.iter().map(|v| v.map(|v| v.parse::<i64>().unwrap())).collect::<Int64Array>(),
            ) as ArrayRef,
            false => Arc::new(values.iter().copied().collect::<StringArray>()),
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// Rows `id, v`.
pub(crate) fn pairs(pairs: &[(i64, &str)]) -> RowStream {
    let ids: ArrayRef = Arc::new(pairs.iter().map(|(id, _)| *id).collect::<Int64Array>());
    let values: ArrayRef = Arc::new(pairs.iter().map(|(_, v)| Some(*v)).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("v", values, true)]);
    stream(batch.unwrap())
}

pub(crate) fn stream(batch: RecordBatch) -> RowStream {
    RowStream::from_batches(batch.schema(), vec![batch])
}

pub(crate) fn pair_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("v", DataType::Utf8, true),
    ]))
}

/// Remembers what was fsynced, and fails when told to.
#[derive(Debug, Default)]
pub(crate) struct WatchedDisk {
    pub(crate) synced: Mutex<Vec<String>>,
    /// Calls whose line begins or ends with this fail as if the disk were full.
    pub(crate) refuse: Mutex<Option<String>>,
}

impl WatchedDisk {
    pub(crate) fn refuse(&self, part: Option<&str>) {
        *self.refuse.lock().unwrap() = part.map(str::to_owned);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.synced.lock().unwrap())
    }

    fn note(&self, kind: &str, path: &FilePath) -> io::Result<()> {
        let line = format!("{kind} {}", path.display());
        let refused = self.refuse.lock().unwrap().clone();
        let refused = refused.is_some_and(|part| line.starts_with(&part) || line.ends_with(&part));
        self.synced.lock().unwrap().push(line);
        match refused {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl Disk for WatchedDisk {
    fn sync_file(&self, file: &File, path: &FilePath) -> io::Result<()> {
        self.note("file", path)?;
        RealDisk.sync_file(file, path)
    }

    fn sync_folder(&self, path: &FilePath) -> io::Result<()> {
        self.note("folder", path)?;
        RealDisk.sync_folder(path)
    }
}

/// A store on which writes below a name fail as if the disk were full, and before whose commits
/// another writer may be let through.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: DurableStore,
    /// Writes of paths that contain a key fail with its kind.
    pub(crate) faults: Mutex<BTreeMap<String, io::ErrorKind>>,
}

impl FaultyStore {
    pub(crate) fn new() -> Self {
        Self { inner: DurableStore::new(Arc::new(RealDisk)), faults: Mutex::default() }
    }

    pub(crate) fn fail(&self, part: &str, kind: io::ErrorKind) {
        self.faults.lock().unwrap().insert(part.to_owned(), kind);
    }

    pub(crate) fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    fn check(&self, path: &Path) -> StoreResult<()> {
        for (part, kind) in self.faults.lock().unwrap().iter() {
            if path.as_ref().contains(part) {
                let source = Box::new(io::Error::from(*kind));
                return Err(object_store::Error::Generic { store: "FaultyStore", source });
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, at: &Path, data: PutPayload, o: PutOptions) -> StoreResult<PutResult> {
        self.check(at)?;
        self.inner.put_opts(at, data, o).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.check(at)?;
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
