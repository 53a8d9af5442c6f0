//! Proving a backup, and bringing a project back from it.
//!
//! A restore writes the project's own file last: until then the folder is no project, and a restore that was cut off
//! goes on where it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flywheel_base::{Error, Result, task};
use flywheel_state::check_database;

use super::manifest::{Entry, MANIFEST_FILE, Manifest};
use super::walk::FILE_SYSTEM;
use super::{PROJECT, Watch, copy, make};

/// Says of which backup an unfinished restore is; gone when it is finished.
const MARKER: &str = ".flywheel/restoring";
/// Files that make a folder a project.
const PROJECT_FILES: &[&str] = &["flywheel.yaml", "dbt_project.yml"];

/// A project that was brought back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup it was brought back from.
    pub backup: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
    /// Where the lake is.
    pub lake: PathBuf,
    /// How many files were there already, from a restore that was cut off.
    pub kept: usize,
}

/// The backup that `path` means: it, or the newest one in it.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is none, [`flywheel_base::ErrorKind::Invalid`] if there are those of
/// several projects, else as [`Manifest::read`].
fn pick(path: &Path) -> Result<(PathBuf, Manifest)> {
    // A backup may hold a project with a file of the manifest's name.
    let inside = match path.is_dir() && !path.join(MANIFEST_FILE).is_file() {
        true => make::backups(path)?,
        false => Vec::new(),
    };
    refuse_several(path, &inside)?;
    match inside.into_iter().next_back() {
        Some((name, manifest)) => Ok((path.join(name), manifest?)),
        None => Ok((path.to_owned(), Manifest::read(path)?)),
    }
}

/// The newest backup of several projects is that of any of them.
fn refuse_several(path: &Path, inside: &[(String, Result<Manifest>)]) -> Result<()> {
    let mut newest = BTreeMap::new();
    for (name, read) in inside {
        if let Ok(manifest) = read {
            newest.insert(manifest.project.as_str(), name.as_str());
        }
    }
    if newest.len() < 2 {
        return Ok(());
    }
    let projects: Vec<&str> = newest.keys().copied().collect();
    let mut named = Vec::with_capacity(newest.len());
    for (project, name) in &newest {
        named.push(format!("{} ({project})", path.join(name).display()));
    }
    Err(Error::invalid(format!(
        "{} holds backups of several projects: {}",
        path.display(),
        projects.join(", ")
    ))
    .hint(format!("Name the backup that is meant. The newest ones: {}.", named.join(", "))))
}

/// Reads all of a backup, or of the newest one in a folder, and finds out whether every byte is as it was.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] with every file that is not, else as [`Manifest::read`].
pub async fn verify(path: &Path, watch: Watch) -> Result<(PathBuf, Manifest)> {
    let path = path.to_owned();
    task::compute(move || prove(&path, &watch)).await
}

fn prove(path: &Path, watch: &Watch) -> Result<(PathBuf, Manifest)> {
    let (folder, manifest) = pick(path)?;
    let total = manifest.bytes();
    let seen = AtomicU64::new(0);
    let faults = copy::side_by_side(&manifest.files, |entry| {
        let fault = fault_of(&folder.join(&entry.path), entry)?;
        watch(seen.fetch_add(entry.bytes, Ordering::Relaxed) + entry.bytes, total);
        Ok(fault.map(|fault| format!("{}: {fault}", entry.path)))
    })?;
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    if !faults.is_empty() {
        return Err(damaged(&folder, &faults));
    }
    let database = folder.join(PROJECT).join(".flywheel/meta.db");
    if database.is_file() {
        check_database(&database)?;
    }
    Ok((folder, manifest))
}

fn damaged(folder: &Path, faults: &[String]) -> Error {
    Error::corrupt(format!(
        "{} files of the backup {} are not as they were written:\n  {}",
        faults.len(),
        folder.display(),
        faults.join("\n  ")
    ))
    .hint("Use another backup; `flywheel backup FOLDER --list` shows them.")
}

/// What is wrong with a file of a backup.
fn fault_of(path: &Path, entry: &Entry) -> Result<Option<&'static str>> {
    if let Some(link) = &entry.link {
        let same = fs::read_link(path).is_ok_and(|there| there == Path::new(link));
        return Ok((!same).then_some("it points elsewhere"));
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Some("it is gone")),
        Err(error) => Err(Error::io("read", path, error)),
        Ok(meta) if !meta.is_file() => Ok(Some("it is no file")),
        Ok(meta) if meta.len() != entry.bytes => Ok(Some("it has another size")),
        Ok(_) => Ok((copy::hex_of_file(path)? != entry.digest).then_some("its bytes changed")),
    }
}

/// Brings a project back into `dir`, from the backup `from` or the newest one in the folder `from`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if something is in `dir` or where the lake belongs, or if several projects have
/// backups in the folder `from`,
/// [`flywheel_base::ErrorKind::Corrupt`] with every file of the backup that is damaged. The folder is no project then,
/// and the same restore goes on where it was.
pub async fn restore(from: &Path, dir: &Path, watch: Watch) -> Result<Restored> {
    let (from, dir) = (from.to_owned(), dir.to_owned());
    task::compute(move || bring_back(&from, &dir, &watch)).await
}

fn bring_back(from: &Path, dir: &Path, watch: &Watch) -> Result<Restored> {
    let (backup, manifest) = pick(from)?;
    let lake = dir.join(&manifest.lake);
    let marker = dir.join(MARKER);
    let resumed = claim(dir, &lake, &marker, &manifest)?;
    let total = manifest.bytes();
    let seen = AtomicU64::new(0);
    let (last, first): (Vec<&Entry>, Vec<&Entry>) =
        manifest.files.iter().partition(|entry| is_project_file(entry));
    let put = |entry: &&Entry| {
        let done = bring(&backup, entry, &Manifest::target(entry, dir, &lake), resumed);
        watch(seen.fetch_add(entry.bytes, Ordering::Relaxed) + entry.bytes, total);
        done
    };
    // Links come last, so that no file is written through one.
    let (links, files): (Vec<&Entry>, Vec<&Entry>) =
        first.into_iter().partition(|entry| entry.link.is_some());
    let mut outcomes = copy::side_by_side(&files, put)?;
    outcomes.extend(copy::side_by_side(&links, put)?);
    let kept = outcomes.iter().filter(|outcome| matches!(outcome, Brought::Kept)).count();
    let faults: Vec<String> = outcomes
        .into_iter()
        .filter_map(|outcome| match outcome {
            Brought::Damaged(path) => Some(path),
            _ => None,
        })
        .collect();
    if !faults.is_empty() {
        return Err(damaged(&backup, &faults));
    }
    let database = dir.join(".flywheel/meta.db");
    if database.is_file() {
        check_database(&database)?;
    }
    copy::sync_tree(dir)?;
    if !lake.starts_with(dir) && lake.is_dir() {
        copy::sync_tree(&lake)?;
    }
    for entry in last {
        if let Brought::Damaged(path) = put(&entry)? {
            return Err(damaged(&backup, &[path]));
        }
    }
    copy::sync_folder(dir)?;
    fs::remove_file(&marker).map_err(|error| Error::io("remove", &marker, error))?;
    copy::sync_folder(&dir.join(".flywheel"))?;
    Ok(Restored { backup, manifest, lake, kept })
}

fn is_project_file(entry: &Entry) -> bool {
    let below = entry.path.strip_prefix(PROJECT).and_then(|path| path.strip_prefix('/'));
    below.is_some_and(|name| PROJECT_FILES.contains(&name))
}

/// Makes sure that nothing is overwritten; says whether an earlier restore of the same backup was cut off here.
fn claim(dir: &Path, lake: &Path, marker: &Path, manifest: &Manifest) -> Result<bool> {
    match fs::read_to_string(marker) {
        Ok(seal) if seal.trim() == manifest.seal => return Ok(true),
        Ok(_) => {
            return Err(Error::invalid(format!(
                "{} holds an unfinished restore of another backup",
                dir.display()
            ))
            .hint("Finish that one, or remove the folder."));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {}
        Err(error) => return Err(Error::io("read", marker, error)),
    }
    for taken in [dir, lake] {
        match fs::read_dir(taken) {
            Ok(mut entries) => {
                let own = |entry: &fs::DirEntry| entry.file_name() == FILE_SYSTEM;
                if entries.any(|entry| !entry.is_ok_and(|entry| own(&entry))) {
                    return Err(Error::invalid(format!("{} is not empty", taken.display())).hint(
                        "A restore overwrites nothing: name a new folder, or move this one aside first.",
                    ));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("restore into", taken, error)),
        }
    }
    copy::write(marker, manifest.seal.as_bytes())?;
    Ok(false)
}

/// What became of a file.
enum Brought {
    /// It was there already.
    Kept,
    /// It was written.
    Written,
    /// The backup does not have it as it was.
    Damaged(String),
}

fn bring(backup: &Path, entry: &Entry, target: &Path, resumed: bool) -> Result<Brought> {
    if let Some(link) = &entry.link {
        copy::make_link(link, target)?;
        return Ok(Brought::Written);
    }
    if resumed && fault_of(target, entry)?.is_none() {
        copy::dress(target, entry)?;
        return Ok(Brought::Kept);
    }
    let from = backup.join(&entry.path);
    if !from.is_file() {
        return Ok(Brought::Damaged(format!("{}: it is gone", entry.path)));
    }
    let (bytes, digest) = copy::through(&from, u64::MAX, target, (entry.mode, entry.modified))?;
    if bytes != entry.bytes || digest != entry.digest {
        fs::remove_file(target).map_err(|error| Error::io("remove", target, error))?;
        return Ok(Brought::Damaged(format!("{}: its bytes changed", entry.path)));
    }
    Ok(Brought::Written)
}
