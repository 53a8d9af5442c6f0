//! The lake: a folder of Delta tables with one writer lane each and one engine for all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use deltalake::logstore::{ObjectStoreFactory, StorageConfig, object_store_factories};
use flywheel_base::{Clock, Error, Result, Timestamp, task};
use object_store::ObjectStore;
use object_store::path::{Path, PathPart};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use url::Url;

use crate::engine::Engine;
use crate::failure::from_engine;
use crate::lane::{Lane, Load, Surroundings, sweep};
use crate::log::{LOG_FOLDER, Log, torn};
use crate::store::{Disk, DurableStore, RealDisk, create_folders};
use crate::{
    Catalog, Commit, CommitRecord, Frozen, Learners, Location, Maintain, Maintained, Notice,
    RowStream, Session, TableName, TableState, Write, WriteMode,
};

/// How a lake is opened.
#[derive(Clone, Debug)]
pub struct LakeOptions {
    /// What all queries and merges together may hold in memory.
    pub memory_bytes: u64,
    /// Where rows wait that do not fit.
    pub spill_dir: PathBuf,
    /// How many partitions a query runs in; the number of cores is a good one.
    pub partitions: usize,
    /// Where commit times and `now()` come from.
    pub clock: Arc<dyn Clock>,
    /// Whether SQL divides whole numbers exactly, so that `7 / 2` is 3.5.
    pub exact_division: bool,
}

/// A folder of Delta tables; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lake {
    shared: Arc<Shared>,
    /// Where `now()` of its sessions comes from, if not from the clock it was opened with.
    clock: Option<Arc<dyn Clock>>,
}

/// What a lake and its sessions share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) options: LakeOptions,
    pub(crate) engine: Arc<Engine>,
    base: Path,
    around: Surroundings,
    lanes: Mutex<BTreeMap<Location, Arc<Lane>>>,
    notices: Vec<Notice>,
    /// Names whose meaning a statement changes now, or waits to.
    named: Mutex<BTreeMap<TableName, Arc<AsyncMutex<()>>>>,
}

impl Shared {
    /// The table's lane, made when it is first asked for.
    pub(crate) fn lane(&self, at: &Location) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(at.clone()).or_insert_with(|| {
            let parts = at.as_str().split('/');
            // As it is: encoded, a name in Chinese would be a folder that nobody finds again.
            let part = |part| PathPart::parse(part).unwrap_or_else(|_| PathPart::from(part));
            let folder = parts.fold(self.base.clone(), |folder, name| folder.join(part(name)));
            let log = Log::new(Arc::clone(&self.around.store), folder, at.clone());
            Arc::new(Lane::new(log, self.around.clone()))
        });
        Arc::clone(lane)
    }

    /// A table inside another table's folder would be swept away with that table's old files.
    pub(crate) fn refuse_nesting(&self, at: &Location) -> Result<()> {
        let above = FilePath::new(at.as_str()).ancestors().skip(1);
        let table = above
            .filter(|above| !above.as_os_str().is_empty())
            .find(|above| self.root.join(above).join(LOG_FOLDER).is_dir());
        match table {
            None => Ok(()),
            Some(table) => Err(Error::invalid(format!(
                "location \"{at}\" lies inside table \"{}\"",
                table.display()
            ))
            .hint("Choose a folder beside it.")),
        }
    }
}

impl Lake {
    /// Opens the lake in `root`, creating the folder durably if it is missing, and sets aside newest
    /// commits a power cut has torn (see [`Lake::notices`]).
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Denied`] if the folder cannot be created or a torn commit cannot be
    /// moved, [`flywheel_base::ErrorKind::Corrupt`] if a table has no whole commit near its head.
    pub async fn open(root: &FilePath, options: LakeOptions) -> Result<Self> {
        register_store();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let store = Arc::new(DurableStore::new(Arc::clone(&disk)));
        Self::open_with(root, options, disk, store).await
    }

    /// Opens the lake on a disk and a store of the caller's.
    pub(crate) async fn open_with(
        root: &FilePath,
        options: LakeOptions,
        disk: Arc<dyn Disk>,
        store: Arc<dyn ObjectStore>,
    ) -> Result<Self> {
        let now = options.clock.now();
        let wanted = root.to_owned();
        let (root, notices) = task::compute(move || prepare(disk.as_ref(), &wanted, now)).await?;
        let base = Path::from_absolute_path(&root).map_err(|error| {
            Error::invalid(format!("lake folder {} cannot be used", root.display()))
                .caused_by(error)
                .hint("Choose a folder whose name has plain characters.")
        })?;
        let engine = Arc::new(Engine::new(
            Arc::clone(&store),
            options.memory_bytes,
            &options.spill_dir,
            options.partitions,
            options.exact_division,
        )?);
        let around = Surroundings {
            store,
            root: root.clone(),
            clock: Arc::clone(&options.clock),
            engine: Arc::clone(&engine),
        };
        let lanes = Mutex::new(BTreeMap::new());
        let named = Mutex::default();
        let shared = Shared { root, options, engine, base, around, lanes, notices, named };
        Ok(Self { shared: Arc::new(shared), clock: None })
    }

    /// The same lake, with the same lanes and memory, in whose sessions `now()` is what `clock` says. Commits keep the
    /// time at which they are made.
    #[must_use]
    pub fn by(&self, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::clone(&self.shared), clock: Some(clock) }
    }

    /// Lets the sessions of this lake, and of its clones, ask `learners`; those that were lent first stay.
    pub fn lend(&self, learners: Arc<dyn Learners>) {
        self.shared.engine.learners().keep(learners);
    }

    /// What was found and mended when the lake was opened; show it to a person.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.shared.notices.clone()
    }

    /// Every table folder below the root, in order.
    ///
    /// # Errors
    /// The file system's own.
    pub async fn locations(&self) -> Result<Vec<Location>> {
        let root = self.shared.root.clone();
        task::compute(move || tables_below(&root)).await
    }

    /// The table at its newest version, other processes' commits included; `None` if there is none.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if the log is damaged.
    pub async fn head(&self, at: &Location) -> Result<Option<TableState>> {
        Ok(self.shared.lane(at).head().await?.map(|snapshot| snapshot.state()))
    }

    /// The table at `version`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such table or version, or it is no longer
    /// kept.
    pub async fn state_at(&self, at: &Location, version: i64) -> Result<TableState> {
        Ok(self.shared.lane(at).at(Some(version)).await?.state())
    }

    /// The newest version committed at or before `time`, by the clock of the lake that wrote it, or by
    /// Delta's timestamp for other programs' commits; `None` if all are younger.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such table.
    pub async fn version_at(&self, at: &Location, time: Timestamp) -> Result<Option<i64>> {
        let history = self.shared.lane(at).history().await?;
        let known = history.iter().filter(|record| record.at <= time);
        Ok(known.map(|record| record.version).max())
    }

    /// Every commit that is still kept, oldest first.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such table.
    pub async fn history(&self, at: &Location) -> Result<Vec<CommitRecord>> {
        self.shared.lane(at).history().await
    }

    /// Every file that the table is read from at `version` and at the kept versions before it; none if there is no such
    /// table (any more). It takes no lock: later commits add files beside these.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if the version is no longer kept.
    pub async fn frozen(&self, at: &Location, version: i64) -> Result<Option<Frozen>> {
        Box::pin(self.shared.lane(at).frozen(version)).await
    }

    /// Writes rows and their checkpoint as one commit, durable when this returns. Writers of one table
    /// queue in this process; against another process the write is decided again a few times.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the rows do not fit the table,
    /// [`flywheel_base::ErrorKind::Exhausted`] if memory or disk are full,
    /// [`flywheel_base::ErrorKind::Denied`] if the folder is read-only,
    /// [`flywheel_base::ErrorKind::Conflict`] if another program commits all the time. Nothing is
    /// published then.
    pub async fn write(&self, at: &Location, write: Write) -> Result<Commit> {
        self.shared.refuse_nesting(at)?;
        // Boxed, so that callers' futures stay small.
        Box::pin(self.shared.lane(at).write(write)).await
    }

    /// Starts a write whose rows may be more than memory holds and whose position is known at its end.
    ///
    /// # Errors
    /// As [`Lake::write`].
    pub async fn load(&self, at: &Location, mode: WriteMode) -> Result<Load> {
        self.shared.refuse_nesting(at)?;
        Load::start(self.shared.lane(at), mode).await
    }

    /// Merges the changes that wait beside a table's data files into them, in one commit that changes no row; what it came
    /// to, if any waited.
    ///
    /// # Errors
    /// As [`Lake::write`]; the changes wait on then, and nothing is lost.
    pub async fn merge_changes(&self, at: &Location) -> Result<Option<Commit>> {
        Box::pin(self.shared.lane(at).merge_changes()).await
    }

    /// The rows of `new` that `old` lacks or has otherwise, then the keys that only `old` has, marked in
    /// the column [`crate::DELETED`]; all rows if there is no `old`. The order is always the same for
    /// the same two versions. The two may be different tables with the same columns.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if `key` is not in both tables or not unique,
    /// [`flywheel_base::ErrorKind::NotFound`] if a version is no longer kept,
    /// [`flywheel_base::ErrorKind::Exhausted`] if the rewritten rows' digests do not fit in memory.
    pub async fn changes(
        &self,
        old: Option<(&Location, i64)>,
        new: (&Location, i64),
        key: &[String],
    ) -> Result<RowStream> {
        let before = match old {
            Some((at, version)) => Some(self.shared.lane(at).at(Some(version)).await?),
            None => None,
        };
        let after = self.shared.lane(new.0).at(Some(new.1)).await?;
        crate::lane::changes(&self.shared.around, before, after, key).await
    }

    /// Compacts, checkpoints and vacuums a table as `options` say.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such table; the store's own.
    pub async fn maintain(&self, at: &Location, options: Maintain) -> Result<Maintained> {
        Box::pin(self.shared.lane(at).maintain(&options)).await
    }

    /// Removes a table with all its versions, in one step; says how many bytes of rows are free. None if
    /// there is no such table, or a query of this process still reads it. Nobody else may need it.
    ///
    /// # Errors
    /// The file system's own; the table is whole or gone then.
    pub async fn remove(&self, at: &Location) -> Result<Option<u64>> {
        self.shared.lane(at).remove().await
    }

    /// Deletes what is left of tables whose removal was cut off, which the next removal does as well.
    ///
    /// # Errors
    /// The file system's own.
    pub async fn finish_removals(&self) -> Result<()> {
        let root = self.shared.root.clone();
        task::compute(move || sweep::finish_removals(&root)).await
    }

    /// Moves a table with all its versions to another place, in one step. False if a query of this process
    /// still reads it.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such table,
    /// [`flywheel_base::ErrorKind::Invalid`] if something is at `to`; the file system's own. The table is
    /// at one of both places then.
    pub async fn rename(&self, from: &Location, to: &Location) -> Result<bool> {
        self.shared.refuse_nesting(to)?;
        let (from, to) = (self.shared.lane(from), self.shared.lane(to));
        Box::pin(from.move_to(&to)).await
    }

    /// Waits until no other statement of this process that asked for it changes what these names mean; until
    /// the guards are dropped none does.
    pub async fn alone(&self, names: &[&TableName]) -> Vec<OwnedMutexGuard<()>> {
        // In one order and each once, so that two statements never wait for each other.
        let names: BTreeSet<&TableName> = names.iter().copied().collect();
        let mut guards = Vec::with_capacity(names.len());
        for name in names {
            let one = {
                let mut all = self.shared.named.lock().unwrap_or_else(PoisonError::into_inner);
                all.retain(|_, held| Arc::strong_count(held) > 1);
                Arc::clone(all.entry(name.clone()).or_default())
            };
            guards.push(one.lock_owned().await);
        }
        guards
    }

    /// The value of an SQL expression for every row; it can name the rows' columns and no table.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is no expression over these columns.
    pub fn evaluate(&self, sql: &str, rows: &RecordBatch) -> Result<ArrayRef> {
        let expression = self.shared.engine.expression(sql, &rows.schema())?;
        let value = expression.evaluate(rows).map_err(from_engine)?;
        value.into_array(rows.num_rows()).map_err(from_engine)
    }

    /// A session over the names of `catalog`.
    ///
    /// # Errors
    /// None today; a catalog that cannot be used is refused here.
    pub fn session(&self, catalog: Catalog) -> Result<Session> {
        let clock = self.clock.as_ref().unwrap_or(&self.shared.options.clock);
        Ok(Session::new(Arc::clone(&self.shared), catalog, Arc::clone(clock)))
    }
}

fn prepare(disk: &dyn Disk, root: &FilePath, now: Timestamp) -> Result<(PathBuf, Vec<Notice>)> {
    create_folders(disk, root).map_err(|error| Error::io("create the lake", root, error))?;
    let root = fs::canonicalize(root).map_err(|error| Error::io("open the lake", root, error))?;
    let mut notices = Vec::new();
    for table in tables_below(&root)? {
        notices.extend(torn::set_aside(disk, &root, &table, now)?);
    }
    Ok((root, notices))
}

/// Folders with a log; what lies inside a table is not looked at.
fn tables_below(root: &FilePath) -> Result<Vec<Location>> {
    let mut found = Vec::new();
    let mut waiting = vec![(root.to_owned(), String::new())];
    while let Some((folder, name)) = waiting.pop() {
        if !name.is_empty() && folder.join(LOG_FOLDER).is_dir() {
            found.extend(Location::new(name).ok());
            continue;
        }
        let failed = |error| Error::io("list", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(part) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if part.starts_with(['_', '.']) || !entry.path().is_dir() {
                continue;
            }
            let below = if name.is_empty() { part } else { format!("{name}/{part}") };
            waiting.push((entry.path(), below));
        }
    }
    found.sort();
    Ok(found)
}

/// Makes `deltalake` write through the store that fsyncs, wherever it opens a `file://` table.
fn register_store() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Ok(scheme) = Url::parse("file://") {
            object_store_factories().insert(scheme, Arc::new(DurableFactory));
        }
    });
}

struct DurableFactory;

impl ObjectStoreFactory for DurableFactory {
    fn parse_url_opts(
        &self,
        url: &Url,
        _config: &StorageConfig,
    ) -> deltalake::DeltaResult<(Arc<dyn ObjectStore>, Path)> {
        let path = Path::from_url_path(url.path())
            .map_err(|error| deltalake::DeltaTableError::Generic(error.to_string()))?;
        Ok((Arc::new(DurableStore::new(Arc::new(RealDisk))), path))
    }
}

#[cfg(test)]
mod tests;
