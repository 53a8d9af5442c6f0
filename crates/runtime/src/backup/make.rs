//! Making a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flywheel_base::{Clock as _, Error, ErrorKind, Result, SystemClock, Timestamp, task};
use flywheel_project::Choices;
use flywheel_state::{Shared, Store, copy_database};
use flywheel_warehouse::{Frozen, Lake, LakeOptions, Location};

use super::copy::{self, Copied, Wanted};
use super::manifest::{Entry, MANIFEST_FILE, Manifest, Table};
use super::walk::{Found, walk};
use super::{LAKE, PROJECT, Watch};
use crate::metadata;

/// What a backup is called until it is whole.
const UNFINISHED: &str = ".unfinished";
/// What one that is removed is called, with its name behind it.
const REMOVED: &str = ".removed-";
/// Held by whoever makes a backup.
const LOCK: &str = ".lock";
/// How often a moment is looked for at which nothing is committed.
const MOMENTS_MAX: usize = 5;
/// How long is waited for the next one, in milliseconds.
const MOMENT_MS: u64 = 200;
/// How often everything is frozen anew because files went away meanwhile.
const ATTEMPTS_MAX: usize = 5;
/// What the lake may hold in memory: nothing is queried.
const MEMORY_BYTES: u64 = 64 << 20;

/// How a backup is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Making {
    /// Take files that are damaged already as they are, and say so, instead of giving up.
    pub allow_damage: bool,
    /// How many backups of this project are kept in the folder, this one included; older ones are removed. All, if
    /// absent.
    pub keep: Option<usize>,
}

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its folder.
    pub folder: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
    /// Bytes that an earlier backup in the folder had already.
    pub shared_bytes: u64,
    /// Earlier backups that were removed, oldest first.
    pub removed: Vec<String>,
}

/// The whole backups in `folder`, oldest first: their names and what they say of themselves, or what is wrong.
///
/// # Errors
/// Those of the file system.
pub fn backups(folder: &Path) -> Result<Vec<(String, Result<Manifest>)>> {
    let mut found = Vec::new();
    let failed = |error| Error::io("list", folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with('.') && entry.path().join(MANIFEST_FILE).is_file() {
            found.push((name, Manifest::read(&entry.path())));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Makes a backup of the project in `dir` in the folder `into`, which may hold earlier ones. It can go on beside a
/// server and beside any command.
///
/// # Errors
/// [`ErrorKind::Invalid`] if `into` lies inside the project, [`ErrorKind::Conflict`] if another backup is being made
/// there, [`ErrorKind::Corrupt`] with every file that is damaged, [`ErrorKind::Exhausted`] if the disk is full. The
/// backup has no name then; the next one goes on with what is there.
pub async fn make(
    dir: &Path,
    choices: &Choices,
    into: &Path,
    making: Making,
    program: &str,
    watch: Watch,
) -> Result<Made> {
    let file = flywheel_project::Project::file_of(dir, choices)?;
    let lake_dir = dir.join(&file.lake);
    let store = metadata::shared(dir, &file)?;
    refuse_inside(dir, &lake_dir, into)?;
    fs::create_dir_all(into).map_err(|error| Error::io("create", into, error))?;
    let _lock = lock(into)?;
    let lake = open_lake(dir, &lake_dir).await?;
    let earlier = backups(into)?.into_iter().rev().find_map(|(name, read)| {
        let manifest = read.ok()?;
        (manifest.project == file.name).then(|| (into.join(name), manifest))
    });
    let earlier = Arc::new(earlier);
    let staged = into.join(UNFINISHED);
    // One that was killed just before it got its name: what it says is not so while files are replaced.
    remove_if_there(&staged.join(MANIFEST_FILE))?;
    let mut attempt = 0;
    let (mut manifest, copied) = loop {
        attempt += 1;
        let mut manifest =
            Manifest::new(file.name.clone(), file.lake.clone(), SystemClock.now(), program);
        let frozen = freeze(dir, lake.as_ref(), store.as_ref(), &staged, &mut manifest).await?;
        // After the lake: a position in it may not be beyond the end of the journal it is about.
        let Found { mut files, left_out } = walk(dir, &lake_dir)?;
        manifest.left_out = left_out;
        let tables = frozen.iter().flat_map(lake_files).collect::<Vec<_>>();
        let in_lake: BTreeSet<String> = tables.iter().map(|file| file.path.clone()).collect();
        files.extend(tables);
        files.extend(copied_before(&staged)?);
        let (known, to, watch) = (Arc::clone(&earlier), staged.clone(), Arc::clone(&watch));
        let done = task::compute(move || {
            let known = known.as_ref().as_ref();
            let known = known.map(|(folder, known)| (folder.as_path(), &*known.files));
            copy::all(&files, &to, known, &watch)
        })
        .await?;
        let lost = done.iter().any(|file| match file {
            Copied::Gone(path) => in_lake.contains(path),
            _ => false,
        });
        let gone: Vec<String> = frozen.iter().flat_map(gone_from).collect();
        // A newer version may not need them.
        let lost = lost || (!gone.is_empty() && attempt < ATTEMPTS_MAX);
        match lost {
            false => {
                manifest.damaged = gone;
                break (manifest, done);
            }
            // Maintenance removed files of versions that were frozen: freeze what is there now.
            true if attempt < ATTEMPTS_MAX => {}
            true => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "tables are removed from the lake all the time",
                )
                .hint("Try again when nothing is cleaned up."));
            }
        }
    };
    for file in copied {
        match file {
            Copied::Done(entry) => manifest.files.push(entry),
            Copied::Damaged(entry) => {
                manifest.damaged.push(entry.path.clone());
                manifest.files.push(entry);
            }
            Copied::Gone(_) => {}
        }
    }
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    if !manifest.damaged.is_empty() && !making.allow_damage {
        return Err(damage(&manifest.damaged));
    }
    let known = earlier.as_ref().as_ref();
    let shared_bytes = known.map_or(0, |(_, known)| shared(&manifest.files, &known.files));
    let named = into.to_owned();
    let (folder, manifest) = task::compute(move || finish(&staged, &named, manifest)).await?;
    let removed = match making.keep {
        Some(keep) => forget(into, &file.name, keep.max(1))?,
        None => Vec::new(),
    };
    Ok(Made { folder, manifest, shared_bytes, removed })
}

fn damage(damaged: &[String]) -> Error {
    Error::corrupt(format!(
        "{} of the lake's files {} not there or not what was committed:\n  {}",
        damaged.len(),
        if damaged.len() == 1 { "is" } else { "are" },
        damaged.join("\n  ")
    ))
    .hint(
        "Restore those tables from an earlier backup or make them again. With --allow-damage the backup is made of what \
         is there.",
    )
}

/// A backup inside what it is a backup of would be lost with it, and grow with each one.
fn refuse_inside(dir: &Path, lake: &Path, into: &Path) -> Result<()> {
    // The folder may not be there yet: its nearest one that is there decides.
    let real = into.ancestors().find_map(|above| {
        let real = fs::canonicalize(above).ok()?;
        Some(real.join(into.strip_prefix(above).ok()?))
    });
    let into = real.unwrap_or_else(|| into.to_owned());
    for inside in [dir, lake] {
        if fs::canonicalize(inside).is_ok_and(|real| into.starts_with(real)) {
            return Err(Error::invalid(format!(
                "{} lies inside of what it would be a backup of",
                into.display()
            ))
            .hint("Choose a folder outside of the project, better on another disk."));
        }
    }
    Ok(())
}

fn lock(into: &Path) -> Result<File> {
    let path = into.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| Error::io("write", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Conflict,
            format!("another backup is being made in {}", into.display()),
        )
        .hint("Wait until it ends.")),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", &path, error)),
    }
}

/// The lake, to be looked at only; none if nothing has landed yet.
async fn open_lake(dir: &Path, lake: &Path) -> Result<Option<Lake>> {
    if !lake.is_dir() {
        return Ok(None);
    }
    let options = LakeOptions {
        memory_bytes: MEMORY_BYTES,
        spill_dir: dir.join(".flywheel/spill"),
        partitions: 1,
        clock: Arc::new(SystemClock),
        exact_division: false,
    };
    Lake::open(lake, options).await.map(Some)
}

/// Copies the metadata and finds out which versions of the tables belong to it.
async fn freeze(
    dir: &Path,
    lake: Option<&Lake>,
    shared: Option<&Shared>,
    staged: &Path,
    manifest: &mut Manifest,
) -> Result<Vec<Frozen>> {
    let ours = dir.join(".flywheel");
    let target = staged.join(PROJECT).join(".flywheel");
    fs::create_dir_all(&target).map_err(|error| Error::io("create", &target, error))?;
    let mut versions = BTreeMap::new();
    for moment in 1..=MOMENTS_MAX {
        let before = heads(lake).await?;
        manifest.at = SystemClock.now();
        copy_metadata(&ours, shared, &target).await?;
        versions = heads(lake).await?;
        manifest.exact = before == versions;
        if manifest.exact {
            break;
        }
        if moment < MOMENTS_MAX {
            tokio::time::sleep(Duration::from_millis(MOMENT_MS)).await;
        }
    }
    let mut tables = Vec::new();
    if let Some(lake) = lake {
        for (location, version) in versions {
            // A table that is removed meanwhile is not in the backup; no name of the metadata led to it.
            if let Some(frozen) = lake.frozen(&location, version).await? {
                manifest.tables.push(Table { location: location.to_string(), version });
                tables.push(frozen);
            }
        }
    }
    Ok(tables)
}

async fn heads(lake: Option<&Lake>) -> Result<BTreeMap<Location, i64>> {
    let mut heads = BTreeMap::new();
    let Some(lake) = lake else { return Ok(heads) };
    for location in lake.locations().await? {
        if let Some(head) = lake.head(&location).await? {
            heads.insert(location, head.version);
        }
    }
    Ok(heads)
}

/// The metadata is a file in the backup, also if the project has it in PostgreSQL.
async fn copy_metadata(ours: &Path, shared: Option<&Shared>, target: &Path) -> Result<()> {
    let (from, to) = (ours.join("meta.db"), target.join("meta.db"));
    for stale in ["meta.db", "meta.db-journal", "meta.db-wal", "meta.db-shm", "audit.head"] {
        remove_if_there(&target.join(stale))?;
    }
    let shared = shared.cloned();
    task::compute(move || match shared {
        Some(shared) if Store::is_new(&shared)? => Ok(()),
        Some(shared) => Store::open_shared(&shared, &from)?.copy_to(&to),
        None if from.is_file() => copy_database(&from, &to),
        None => Ok(()),
    })
    .await
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// What was put in place before everything else: it is read where it is.
fn copied_before(staged: &Path) -> Result<Vec<Wanted>> {
    let mut files = Vec::new();
    for name in ["meta.db", "audit.head"] {
        let path = format!("{PROJECT}/.flywheel/{name}");
        let from = staged.join(&path);
        if let Ok(meta) = fs::metadata(&from) {
            let digest = Some(copy::hex_of_file(&from)?);
            let bytes = meta.len();
            files.push(Wanted { from, path, bytes, digest, fixed: false, link: None });
        }
    }
    Ok(files)
}

fn lake_files(table: &Frozen) -> impl Iterator<Item = Wanted> {
    table.files.iter().map(|file| Wanted {
        from: table.folder.join(&file.name),
        path: format!("{LAKE}/{}/{}", table.location, file.name),
        bytes: file.bytes,
        digest: file.digest.clone(),
        fixed: true,
        link: None,
    })
}

/// Files that the table should have and has not.
fn gone_from(table: &Frozen) -> impl Iterator<Item = String> {
    table.gone.iter().map(|name| format!("{LAKE}/{}/{name}", table.location))
}

fn shared(files: &[Entry], known: &[Entry]) -> u64 {
    let known: BTreeMap<&str, &str> =
        known.iter().map(|entry| (entry.path.as_str(), entry.digest.as_str())).collect();
    let same = files.iter().filter(|entry| {
        entry.path.starts_with(LAKE) && known.get(entry.path.as_str()) == Some(&&*entry.digest)
    });
    same.map(|entry| entry.bytes).sum()
}

/// Makes everything durable, writes the manifest, and gives the backup its name.
fn finish(staged: &Path, into: &Path, mut manifest: Manifest) -> Result<(PathBuf, Manifest)> {
    remove_strangers(staged, &manifest)?;
    copy::sync_tree(staged)?;
    manifest.write(staged)?;
    let name = name_of(manifest.at);
    let mut folder = into.join(&name);
    let mut number = 1;
    while folder.exists() {
        number += 1;
        folder = into.join(format!("{name}-{number}"));
    }
    fs::rename(staged, &folder).map_err(|error| Error::io("name", &folder, error))?;
    copy::sync_folder(into)?;
    Ok((folder, manifest))
}

/// `20240501T120000Z`: names in the order of time.
fn name_of(at: Timestamp) -> String {
    at.datetime().format("%Y%m%dT%H%M%SZ").to_string()
}

/// Removes what an earlier attempt left and this one does not have.
fn remove_strangers(staged: &Path, manifest: &Manifest) -> Result<()> {
    let ours: BTreeSet<&str> = manifest.files.iter().map(|entry| entry.path.as_str()).collect();
    let mut waiting = vec![(staged.to_owned(), String::new())];
    while let Some((folder, prefix)) = waiting.pop() {
        let failed = |error| Error::io("clean up", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let below = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().map_err(failed)?.is_dir() {
                waiting.push((entry.path(), format!("{below}/")));
            } else if !ours.contains(below.as_str()) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Removes the oldest backups of `project` until `keep` are left. One that is being removed has no name of a backup any
/// more; one that does not tell whose it is stays.
fn forget(into: &Path, project: &str, keep: usize) -> Result<Vec<String>> {
    let own = |read: Result<Manifest>| read.is_ok_and(|manifest| manifest.project == project);
    let mut names: Vec<String> =
        backups(into)?.into_iter().filter_map(|(name, read)| own(read).then_some(name)).collect();
    names.truncate(names.len().saturating_sub(keep));
    for name in &names {
        let aside = into.join(format!("{REMOVED}{name}"));
        fs::rename(into.join(name), &aside).map_err(|error| Error::io("remove", &aside, error))?;
    }
    let failed = |error| Error::io("clean up", into, error);
    for entry in fs::read_dir(into).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(REMOVED) {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(names)
}
