//! A table's Delta log: reading a version of it, following its head, and adding a commit.
//!
//! The log is read here and not through `deltalake`, so that a commit costs one small file and not
//! the whole log, and so that the newest commit's own part (time, checkpoints) is at hand.

pub(crate) mod action;
pub(crate) mod stats;
pub(crate) mod torn;

mod checkpoint;
mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::sync::Arc;

use bytes::Bytes;
use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use self::action::{Add, Line, WaitingFile};
use self::replay::Replay;
use crate::failure::from_store;
use crate::snapshot::Snapshot;
use crate::{CommitRecord, Location};

/// The folder of the log inside a table's folder.
pub(crate) const LOG_FOLDER: &str = "_delta_log";
/// How many commits are read beside each other.
const READS_MAX: usize = 8;

/// A table's log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    store: Arc<dyn ObjectStore>,
    /// The table's folder in the store.
    pub(crate) folder: Path,
    pub(crate) location: Location,
}

/// What lies in the log's folder.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Commits by version.
    pub(crate) commits: BTreeMap<i64, ObjectMeta>,
    /// Checkpoint files by version; several if it was written in parts.
    pub(crate) checkpoints: BTreeMap<i64, Vec<ObjectMeta>>,
}

impl Listing {
    /// The newest version.
    pub(crate) fn head(&self) -> Option<i64> {
        let commit = self.commits.keys().next_back();
        let checkpoint = self.checkpoints.keys().next_back();
        commit.max(checkpoint).copied()
    }

    /// The size of the commits that are read to know the newest version: those since the last checkpoint.
    pub(crate) fn bytes_to_replay(&self) -> u64 {
        let first = self.checkpoints.keys().next_back().map_or(0, |version| version + 1);
        self.commits.range(first..).map(|(_, meta)| meta.size).sum()
    }
}

/// A commit's lines and the identity of its file.
#[derive(Debug)]
struct CommitFile {
    lines: Vec<Line>,
    meta: ObjectMeta,
}

impl Log {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, folder: Path, location: Location) -> Self {
        Self { store, folder, location }
    }

    /// The log's folder in the store.
    pub(crate) fn log_folder(&self) -> Path {
        self.folder.clone().join(LOG_FOLDER)
    }

    /// The path of a commit.
    pub(crate) fn commit_path(&self, version: i64) -> Path {
        self.log_folder().join(format!("{version:020}.json"))
    }

    /// Lists commits and checkpoints.
    pub(crate) async fn list(&self) -> Result<Listing> {
        let folder = self.log_folder();
        let mut listing = Listing::default();
        let found = self.store.list_with_delimiter(Some(&folder)).await;
        for meta in found.map_err(|error| self.failed("list the log of", error))?.objects {
            let name = meta.location.filename().unwrap_or_default();
            let Some((digits, rest)) = name.split_once('.') else { continue };
            let Ok(version) = digits.parse::<i64>() else { continue };
            if rest == "json" {
                listing.commits.insert(version, meta);
            } else if rest.starts_with("checkpoint.") && rest.ends_with("parquet") {
                listing.checkpoints.entry(version).or_default().push(meta);
            }
        }
        Ok(listing)
    }

    /// Reads the table at `version`, or at its head; `None` if there is no table.
    pub(crate) async fn load(&self, version: Option<i64>) -> Result<Option<Snapshot>> {
        let listing = self.list().await?;
        let Some(head) = listing.head() else { return Ok(None) };
        let target = version.unwrap_or(head);
        if target > head || target < 0 {
            return Err(Error::not_found(format!(
                "table \"{}\" has no version {target}",
                self.location.table()
            ))
            .hint(format!("Its newest version is {head}.")));
        }
        let (mut replay, from) = self.start(&listing, target).await?;
        let wanted: Vec<i64> = (from..=target).collect();
        let mut commits = stream::iter(wanted)
            .map(|version| async move { Ok::<_, Error>((version, self.read(version).await?)) })
            .buffered(READS_MAX);
        while let Some((version, commit)) = commits.try_next().await? {
            let Some(commit) = commit else { return Err(self.gone(target, version)) };
            replay.apply(version, commit.lines, &commit.meta)?;
        }
        drop(commits);
        if !replay.marked() {
            self.find_mark(&mut replay, from - 1).await?;
        }
        replay.finish(self, target).map(Some)
    }

    /// The newest usable checkpoint at or before `target`, and the first commit to read after it.
    async fn start(&self, listing: &Listing, target: i64) -> Result<(Replay, i64)> {
        let first = listing.commits.keys().next().copied();
        let complete = (0..=target).all(|version| listing.commits.contains_key(&version));
        for (version, files) in listing.checkpoints.range(..=target).rev() {
            match checkpoint::read(self.store.as_ref(), files).await {
                Ok(lines) => {
                    let mut replay = Replay::new(self);
                    replay.restore(*version, lines)?;
                    return Ok((replay, version + 1));
                }
                Err(error) if complete && error.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(table = %self.location, version, error = %error,
                        "checkpoint cannot be read, older log is used");
                }
                Err(error) => return Err(error.context(format!("table \"{}\"", self.location))),
            }
        }
        match complete {
            true => Ok((Replay::new(self), 0)),
            false => Err(self.gone(target, first.unwrap_or(target))),
        }
    }

    fn gone(&self, version: i64, oldest: i64) -> Error {
        Error::not_found(format!(
            "version {version} of table \"{}\" is no longer kept",
            self.location.table()
        ))
        .hint(format!("The log lacks commit {oldest} or an older one; read a newer version. keep_versions in flywheel.yaml says how long versions stay."))
    }

    /// Walks back to the newest commit of ours, for the positions only such a commit tells.
    async fn find_mark(&self, replay: &mut Replay, from: i64) -> Result<()> {
        for version in (0..=from).rev() {
            let Some(commit) = self.read(version).await? else { return Ok(()) };
            if replay.adopt_mark(&commit.lines, &commit.meta) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The snapshot's successor, or the same one if the table has not moved; `None` if it is gone.
    pub(crate) async fn follow(&self, last: &Arc<Snapshot>) -> Result<Option<Arc<Snapshot>>> {
        let mut newer: Vec<(i64, CommitFile)> = Vec::new();
        let mut next = last.version + 1;
        while let Some(commit) = self.read(next).await? {
            newer.push((next, commit));
            next += 1;
        }
        if newer.is_empty() {
            return match self.identity(last.version).await? {
                Some(identity) if identity == last.identity => Ok(Some(Arc::clone(last))),
                _ => Ok(self.load(None).await?.map(Arc::new)),
            };
        }
        let mut replay = Replay::from_snapshot(last);
        let mut target = last.version;
        for (version, commit) in newer {
            replay.apply(version, commit.lines, &commit.meta)?;
            target = version;
        }
        replay.finish(self, target).map(|snapshot| Some(Arc::new(snapshot)))
    }

    /// What tells a commit's file from another one of the same name; `None` if there is none.
    pub(crate) async fn identity(&self, version: i64) -> Result<Option<String>> {
        match self.store.head(&self.commit_path(version)).await {
            Ok(meta) => Ok(Some(identity_of(&meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look at the head of", error)),
        }
    }

    async fn read(&self, version: i64) -> Result<Option<CommitFile>> {
        let path = self.commit_path(version);
        let found = match self.store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("read the log of", error)),
        };
        let meta = found.meta.clone();
        let bytes = found.bytes().await.map_err(|error| self.failed("read the log of", error))?;
        let lines = parse(&bytes).map_err(|error| {
            Error::corrupt(format!("commit {version} of table \"{}\" is damaged", self.location))
                .caused_by(error)
                .hint(
                    "If it is the newest commit, open the lake again and it is set aside; else \
                     restore the table's folder from a backup.",
                )
        })?;
        Ok(Some(CommitFile { lines, meta }))
    }

    /// Publishes a commit as `version`; `Conflict` if somebody else has published that version.
    pub(crate) async fn publish(&self, version: i64, lines: &[Line]) -> Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|error| Error::internal("a commit cannot be encoded").caused_by(error))?;
            text.push(b'\n');
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(Bytes::from(text));
        self.store
            .put_opts(&self.commit_path(version), payload, options)
            .await
            .map(|_| ())
            .map_err(|error| self.failed("commit to", error))
    }

    /// Every commit that is still kept, after `known`, in order.
    pub(crate) async fn records(&self, known: &BTreeSet<i64>) -> Result<Vec<CommitRecord>> {
        let listing = self.list().await?;
        let wanted: Vec<i64> =
            listing.commits.keys().filter(|version| !known.contains(version)).copied().collect();
        let found: Vec<Option<CommitRecord>> = stream::iter(wanted)
            .map(|version| async move {
                let commit = self.read(version).await?;
                Ok::<_, Error>(commit.map(|commit| record(version, &commit)))
            })
            .buffered(READS_MAX)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The files, relative to the table's folder, that commits after `version` added, or that wait there with changes.
    pub(crate) async fn added_after(&self, version: i64) -> Result<Vec<String>> {
        let mut added = Vec::new();
        self.each_commit(version + 1.., |_, line| {
            added.extend(waiting(&line).into_iter().flatten().map(|file| file.path));
            added.extend(line.add.map(|add| add.path));
        })
        .await?;
        Ok(added.into_iter().map(|path| plain_path(&path)).collect())
    }

    /// When files, relative to the table's folder, were removed by commits that are still kept. Changes are removed when
    /// they wait no more.
    pub(crate) async fn removals(&self) -> Result<BTreeMap<String, Timestamp>> {
        let mut removed = BTreeMap::new();
        let mut waited = BTreeSet::<String>::new();
        self.each_commit(0.., |at, line| {
            if let Some(files) = waiting(&line) {
                let waits: BTreeSet<String> = files.into_iter().map(|file| file.path).collect();
                removed.extend(waited.difference(&waits).map(|path| (plain_path(path), at)));
                waited = waits;
            }
            removed.extend(line.remove.map(|remove| (plain_path(&remove.path), at)));
        })
        .await?;
        Ok(removed)
    }

    /// What kept commits up to `version` added, files of changes among it.
    pub(crate) async fn added_until(&self, version: i64) -> Result<Vec<Add>> {
        let mut added = Vec::new();
        self.each_commit(..=version, |_, line| {
            added.extend(waiting(&line).into_iter().flatten().map(|file| file.add()));
            added.extend(line.add);
        })
        .await?;
        Ok(added)
    }

    async fn each_commit(
        &self,
        versions: impl RangeBounds<i64>,
        mut see: impl FnMut(Timestamp, Line),
    ) -> Result<()> {
        let listing = self.list().await?;
        for (version, meta) in listing.commits.range(versions) {
            let Some(commit) = self.read(*version).await? else { continue };
            let info = commit.lines.iter().find_map(|line| line.commit_info.as_ref());
            let at = info.and_then(action::time_of).unwrap_or_else(|| modified(meta));
            for line in commit.lines {
                see(at, line);
            }
        }
        Ok(())
    }

    /// Deletes files of the log, in order.
    pub(crate) async fn delete(&self, paths: Vec<Path>) -> Result<()> {
        for path in paths {
            self.store
                .delete(&path)
                .await
                .map_err(|error| self.failed("shorten the log of", error))?;
        }
        Ok(())
    }

    fn failed(&self, doing: &str, error: object_store::Error) -> Error {
        from_store(&format!("{doing} table \"{}\"", self.location), error)
    }
}

/// The files of changes that wait from a commit of ours on, if the line is its own part.
fn waiting(line: &Line) -> Option<Vec<WaitingFile>> {
    line.commit_info.as_ref().and_then(action::waiting_files)
}

fn identity_of(meta: &ObjectMeta) -> String {
    let tag = meta.e_tag.clone().unwrap_or_default();
    format!("{tag} {} {}", meta.last_modified.timestamp_micros(), meta.size)
}

/// Parses a commit; an empty one is damaged, as every writer states at least what it did.
fn parse(bytes: &[u8]) -> Result<Vec<Line>> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let lines: Vec<Line> = lines
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::corrupt("a line is not a Delta action").caused_by(error))?;
    if lines.is_empty() {
        return Err(Error::corrupt("the commit is empty"));
    }
    Ok(lines)
}

fn record(version: i64, commit: &CommitFile) -> CommitRecord {
    let info = commit.lines.iter().find_map(|line| line.commit_info.as_ref());
    let at = info.and_then(action::time_of).unwrap_or_else(|| modified(&commit.meta));
    let rows = |add: &Add| -> Option<u64> {
        let stats: serde_json::Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
        stats.get("numRecords")?.as_u64()
    };
    match info.and_then(action::mark_of) {
        Some(mark) => CommitRecord {
            version,
            at,
            operation: mark.operation,
            rows_in: mark.rows_in,
            rows_out: mark.rows_out,
            metadata: mark.properties,
        },
        None => CommitRecord {
            version,
            at,
            operation: info
                .and_then(|info| info.get("operation")?.as_str())
                .unwrap_or("unknown")
                .to_lowercase(),
            rows_in: commit.lines.iter().filter_map(|line| line.add.as_ref()).map(rows).sum(),
            rows_out: commit.lines.iter().all(|line| line.remove.is_none()).then_some(0),
            metadata: BTreeMap::new(),
        },
    }
}

/// A path as the file system has it.
pub(crate) fn plain_path(encoded: &str) -> String {
    Path::from_url_path(encoded).map_or_else(|_| encoded.to_owned(), |path| path.to_string())
}

/// When a commit's file was written: the time of last resort.
fn modified(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_micros(meta.last_modified.timestamp_micros())
}

#[cfg(test)]
mod tests;
