//! Maintenance of a table: fewer files, a shorter log, no files nobody can read any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_base::{Clock as _, Error, ErrorKind, Result, SystemClock, Timestamp, task};
use futures::TryStreamExt;
use object_store::path::Path;

use super::{Change, Lane, Waits, locked};
use crate::data_file::{self, DataWriter};
use crate::log::LOG_FOLDER;
use crate::maintain::{Maintain, Maintained};
use crate::snapshot::{DataFile, Snapshot};
use crate::store::{RealDisk, move_file};
use crate::write::Commit;

/// A file that no commit names is an unfinished write until it is this old, by the machine's clock.
const ORPHAN_AGE_US: i64 = 24 * 3_600 * 1_000_000;

/// Where a table is moved before it is deleted; nothing in it is a table.
const REMOVED_FOLDER: &str = ".removed";
/// Held while that folder is used.
static REMOVING: Mutex<()> = Mutex::new(());

/// A file in a table's folder.
#[derive(Debug)]
pub(super) struct Stored {
    path: PathBuf,
    /// Relative to the table's folder, with `/`.
    pub(super) name: String,
    pub(super) bytes: u64,
    written: Timestamp,
}

impl Lane {
    /// Does what `options` ask for, while no writer of this process is in between.
    pub(crate) async fn maintain(&self, options: &Maintain) -> Result<Maintained> {
        let _lane = self.queue.lock().await;
        let mut done = Maintained::default();
        let head = self.head().await?.ok_or_else(|| self.missing())?;
        if options.compact {
            self.compact(&head, options, &mut done).await?;
        }
        let head = self.head().await?.ok_or_else(|| self.missing())?;
        done.version = head.version;
        if let Some(bytes_min) = options.checkpoint_bytes_min
            && !options.dry_run
            && self.log.list().await?.bytes_to_replay() >= bytes_min.max(1)
        {
            self.checkpoint(head.version).await?;
            done.checkpointed = true;
        }
        if let Some(oldest) = options.oldest_version {
            self.vacuum(&head, oldest, options, &mut done).await?;
        }
        Ok(done)
    }

    /// Removes the table, while no writer of this process is in between; says how many bytes are free. None
    /// if a query of this process still reads it, or there is none.
    ///
    /// It is first moved aside in one step, so that a kill leaves the whole table or none.
    pub(crate) async fn remove(&self) -> Result<Option<u64>> {
        let _lane = self.queue.lock().await;
        self.forget();
        if locked(&self.handed_out).iter().any(|snapshot| snapshot.strong_count() > 0) {
            return Ok(None);
        }
        let root = self.around.root.clone();
        let location = self.location().as_str().to_owned();
        task::compute(move || remove(&root, &location)).await
    }

    /// Moves the table to the place of `to`, in one step, while no writer of this process is in between. False
    /// if a query of this process still reads it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Invalid`] if something is there; the file system's own.
    pub(crate) async fn move_to(&self, to: &Self) -> Result<bool> {
        // Always in the same order, so that two moves never wait for each other.
        let (first, second) = if self.location() < to.location() { (self, to) } else { (to, self) };
        let _first = first.queue.lock().await;
        let _second = second.queue.lock().await;
        self.forget();
        to.forget();
        let read = |lane: &Self| locked(&lane.handed_out).iter().any(|one| one.strong_count() > 0);
        if read(self) || read(to) {
            return Ok(false);
        }
        let from = self.around.root.join(self.location().as_str());
        let target = self.around.root.join(to.location().as_str());
        let (missing, taken) = (self.missing(), to.location().clone());
        task::compute(move || {
            if !from.join(LOG_FOLDER).is_dir() {
                return Err(missing);
            }
            if target.exists() {
                return Err(Error::invalid(format!("\"{taken}\" is there already"))
                    .hint("Choose another name, or drop it first."));
            }
            move_file(&RealDisk, &from, &target)
                .map_err(|error| Error::io("rename", &from, error))?;
            Ok(true)
        })
        .await
    }

    /// Writes many small files as few large ones.
    async fn compact(
        &self,
        head: &Arc<Snapshot>,
        options: &Maintain,
        done: &mut Maintained,
    ) -> Result<()> {
        let small: Vec<Arc<DataFile>> = head
            .files
            .iter()
            .filter(|file| bytes_of(file) < options.small_file_bytes)
            .map(Arc::clone)
            .collect();
        if small.len() < options.small_files_min.max(2) || head.require_writable().is_err() {
            return Ok(());
        }
        let small = lighter(small);
        let mut writer = DataWriter::new(
            Arc::clone(&self.around.store),
            self.log.folder.clone(),
            Arc::clone(&head.schema),
            head.version + 1,
            self.now(),
        );
        let outcome = self.rewrite_small(head, &small, &mut writer).await;
        match outcome {
            Ok(files) => {
                done.files_compacted = small.len();
                done.files_written = files;
                Ok(())
            }
            Err(error) => {
                writer.discard().await;
                match error.kind() {
                    // Another program was faster; the next maintenance finds the files again.
                    ErrorKind::Conflict => Ok(()),
                    _ => Err(error),
                }
            }
        }
    }

    async fn rewrite_small(
        &self,
        head: &Snapshot,
        small: &[Arc<DataFile>],
        writer: &mut DataWriter,
    ) -> Result<usize> {
        for file in small {
            let mut batches = data_file::read(&self.around.store, file, &head.schema).await?;
            while let Some(batch) = batches.try_next().await? {
                writer.write(batch).await?;
            }
        }
        let adds = writer.finish().await?;
        let files = adds.len();
        let change = Change {
            adds,
            removes: small.to_vec(),
            schema: None,
            commit: Commit::default(),
            delta_operation: "OPTIMIZE",
            data_change: false,
            always: false,
            waiting: Waits::Same,
        };
        self.publish_upkeep(head, &change, "compact").await?;
        Ok(files)
    }

    /// Writes a checkpoint of a version, so that a fresh process need not read every commit before it.
    pub(crate) async fn checkpoint(&self, version: i64) -> Result<()> {
        let folder = self.around.root.join(self.location().as_str());
        let failed = |error: deltalake::DeltaTableError| {
            Error::internal(format!(
                "no checkpoint of table \"{}\" can be written",
                self.location()
            ))
            .caused_by(error)
        };
        let url = url::Url::from_directory_path(&folder).map_err(|()| {
            Error::internal(format!("folder {} has no file URL", folder.display()))
        })?;
        let version = u64::try_from(version)
            .map_err(|_| Error::internal(format!("a table has no version {version}")))?;
        let table = deltalake::DeltaTableBuilder::from_url(url).map_err(failed)?;
        let table = table.with_version(version);
        let table = table.load().await.map_err(failed)?;
        deltalake::checkpoints::create_checkpoint(&table, None).await.map_err(failed)
    }

    /// Deletes files that no version from `oldest` on needs, once they are old enough.
    async fn vacuum(
        &self,
        head: &Arc<Snapshot>,
        oldest: i64,
        options: &Maintain,
        done: &mut Maintained,
    ) -> Result<()> {
        let oldest = oldest.min(head.version);
        let needed = self.needed(oldest, head).await?;
        let removed_at = self.removal_times().await?;
        let before = self.now().plus_micros(-options.retention_us);
        let orphaned_before =
            SystemClock.now().plus_micros(-ORPHAN_AGE_US.max(options.retention_us));
        let folder = self.around.root.join(self.location().as_str());
        let stored = task::compute(move || stored_files(&folder)).await?;
        let useless = stored.into_iter().filter(|file| {
            let old = match removed_at.get(&file.name) {
                Some(at) => *at <= before,
                None => file.written <= orphaned_before,
            };
            old && !needed.contains(&file.name)
        });
        let useless: Vec<Stored> = useless.collect();
        let dry_run = options.dry_run;
        (done.files_deleted, done.bytes_freed) =
            task::compute(move || delete(&useless, dry_run)).await?;
        if options.dry_run {
            return Ok(());
        }
        let listing = self.log.list().await?;
        let commits = listing.commits.range(..oldest).count();
        if (done.files_deleted > 0 || commits >= options.log_commits_min.max(1)) && commits > 0 {
            if !listing.checkpoints.contains_key(&oldest) {
                // Then no version is left that can be named and not be read.
                self.checkpoint(oldest).await?;
            }
            done.log_files_deleted = self.shorten(oldest, before).await?;
        }
        Ok(())
    }

    /// The files of every version from `oldest` on, and of every version a session of this process reads.
    async fn needed(&self, oldest: i64, head: &Arc<Snapshot>) -> Result<BTreeSet<String>> {
        // What is only kept in case somebody travels there again is no query.
        locked(&self.pinned).clear();
        let first = self.at(Some(oldest)).await?;
        let mut needed = BTreeSet::new();
        let mut need = |snapshot: &Snapshot| {
            let changes = snapshot.waiting_files()?;
            let all = snapshot.files.iter().chain(&changes);
            needed.extend(all.map(|file| relative(snapshot, file)));
            Ok::<_, Error>(())
        };
        need(&first)?;
        need(head)?;
        let handed_out: Vec<Arc<Snapshot>> =
            locked(&self.handed_out).iter().filter_map(std::sync::Weak::upgrade).collect();
        handed_out.iter().try_for_each(|snapshot| need(snapshot))?;
        needed.extend(self.log.added_after(oldest).await?);
        Ok(needed)
    }

    async fn removal_times(&self) -> Result<BTreeMap<String, Timestamp>> {
        self.log.removals().await
    }

    /// Deletes commits and checkpoints that no version from `oldest` on is read from.
    async fn shorten(&self, oldest: i64, before: Timestamp) -> Result<usize> {
        let listing = self.log.list().await?;
        let Some((base, _)) = listing.checkpoints.range(..=oldest).next_back() else {
            return Ok(0);
        };
        let records = self.history().await?;
        // By version and not commit by commit: a table that was made by another clock than its rows, as in a replay of days that
        // have passed, begins with a commit that is never old.
        let old = records.iter().filter(|record| record.version < *base && record.at <= before);
        let Some(newest) = old.map(|record| record.version).max() else { return Ok(0) };
        let mut paths: Vec<Path> = Vec::new();
        for (version, meta) in listing.commits.range(..=newest) {
            paths.push(meta.location.clone());
            paths.extend(
                listing.checkpoints.get(version).into_iter().flatten().map(|m| m.location.clone()),
            );
        }
        let count = paths.len();
        self.log.delete(paths).await?;
        Ok(count)
    }
}

pub(super) fn relative(snapshot: &Snapshot, file: &DataFile) -> String {
    let parts = file.path.prefix_match(&snapshot.folder).into_iter().flatten();
    parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/")
}

/// Every file below a table's folder that is not the log's.
pub(super) fn stored_files(folder: &FilePath) -> Result<Vec<Stored>> {
    let mut found = Vec::new();
    let mut waiting = vec![(folder.to_owned(), String::new())];
    while let Some((at, prefix)) = waiting.pop() {
        let failed = |error| Error::io("list", &at, error);
        for entry in fs::read_dir(&at).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if name == LOG_FOLDER || name.starts_with('.') {
                continue;
            }
            let meta = entry.metadata().map_err(failed)?;
            if meta.is_dir() {
                waiting.push((entry.path(), format!("{prefix}{name}/")));
                continue;
            }
            let written = meta.modified().map_err(failed)?;
            let since = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
            found.push(Stored {
                path: entry.path(),
                name: format!("{prefix}{name}"),
                bytes: meta.len(),
                written: Timestamp::from_micros(micros),
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Deletes what removals have left that were cut off.
pub(crate) fn finish_removals(root: &FilePath) -> Result<()> {
    let _alone = REMOVING.lock().unwrap_or_else(PoisonError::into_inner);
    let aside = root.join(REMOVED_FOLDER);
    if aside.is_dir() {
        fs::remove_dir_all(&aside).map_err(|error| Error::io("delete", &aside, error))?;
    }
    Ok(())
}

/// Moves a table's folder aside and deletes it there, with what an earlier removal left.
fn remove(root: &FilePath, location: &str) -> Result<Option<u64>> {
    // Several tables may go at once, and one clears up what another has just moved.
    let _alone = REMOVING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = root.join(location);
    let aside = root.join(REMOVED_FOLDER);
    if aside.is_dir() {
        fs::remove_dir_all(&aside).map_err(|error| Error::io("delete", &aside, error))?;
    }
    if !folder.join(LOG_FOLDER).is_dir() {
        return Ok(None);
    }
    let bytes = stored_files(&folder)?.iter().map(|file| file.bytes).sum();
    let to = aside.join(location.replace('/', "."));
    move_file(&RealDisk, &folder, &to).map_err(|error| Error::io("move aside", &folder, error))?;
    fs::remove_dir_all(&aside).map_err(|error| Error::io("delete", &aside, error))?;
    Ok(Some(bytes))
}

fn delete(files: &[Stored], dry_run: bool) -> Result<(usize, u64)> {
    let mut bytes = 0;
    for file in files {
        if !dry_run {
            fs::remove_file(&file.path).map_err(|error| Error::io("delete", &file.path, error))?;
        }
        bytes += file.bytes;
    }
    Ok((files.len(), bytes))
}

/// The size of a data file.
fn bytes_of(file: &DataFile) -> u64 {
    file.add.size.unsigned_abs()
}

/// The files whose rewriting costs no more than what it spares: without those that weigh as much as all
/// lighter ones together. What was compacted before is thus written again only once as much has come
/// after it, so that a row is rewritten a logarithm of times and not with every compaction.
fn lighter(files: Vec<Arc<DataFile>>) -> Vec<Arc<DataFile>> {
    let mut sizes: Vec<u64> = files.iter().map(|file| bytes_of(file)).collect();
    sizes.sort_unstable();
    let mut total: u64 = sizes.iter().sum();
    // Two files are the least that can become one.
    while let Some(heaviest) = sizes.pop().filter(|_| sizes.len() >= 2) {
        total -= heaviest;
        if heaviest < total {
            return files.into_iter().filter(|file| bytes_of(file) <= heaviest).collect();
        }
    }
    files
}
