//! Copying files so that they are whole, proven and on disk, or not there.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flywheel_base::{Error, Result, Timestamp};

use super::Watch;
use super::manifest::Entry;
use super::walk::FILE_SYSTEM;

/// Files that are copied beside each other: each waits for the disk most of the time.
const WORKERS: usize = 4;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;
/// How often a file that is changed while it is read is read again.
const READS_MAX: usize = 8;
/// What a file is called until it is whole.
const PART_ENDING: &str = "fw-part";

/// A file to copy.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Where it is.
    pub(super) from: PathBuf,
    /// Its path in the backup.
    pub(super) path: String,
    /// Its size when it was found.
    pub(super) bytes: u64,
    /// The digest it should have.
    pub(super) digest: Option<String>,
    /// Whether a file of this name never changes.
    pub(super) fixed: bool,
    /// What it points at, if it is a symbolic link.
    pub(super) link: Option<String>,
}

/// What became of a file.
#[derive(Debug)]
pub(super) enum Copied {
    /// It is there.
    Done(Entry),
    /// It was removed before it was read.
    Gone(String),
    /// It is there, and it is not what was committed.
    Damaged(Entry),
}

/// Copies files below `to`. A file that is there already and is the same is left; one that `known` (the files of an
/// earlier backup in the folder beside it) has is linked.
pub(super) fn all(
    wanted: &[Wanted],
    to: &Path,
    known: Option<(&Path, &[Entry])>,
    watch: &Watch,
) -> Result<Vec<Copied>> {
    let known = known.map(|(folder, entries)| {
        let entries: std::collections::HashMap<&str, &Entry> =
            entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
        (folder, entries)
    });
    let total: u64 = wanted.iter().map(|file| file.bytes).sum();
    let seen = AtomicU64::new(0);
    side_by_side(wanted, |file| {
        let earlier = known.as_ref().and_then(|(folder, entries)| {
            entries.get(file.path.as_str()).map(|entry| (*folder, *entry))
        });
        let copied = one(file, to, earlier)?;
        watch(seen.fetch_add(file.bytes, Ordering::Relaxed) + file.bytes, total);
        Ok(copied)
    })
}

/// Does `work` for every item, some beside each other; answers come in the order of the items. After an error
/// nothing new is begun.
pub(super) fn side_by_side<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let made: Mutex<Vec<(usize, T)>> = Mutex::default();
    let failed: Mutex<Option<Error>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS.min(items.len()) {
            scope.spawn(|| {
                while failed.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    match work(item) {
                        Ok(done) => {
                            made.lock().unwrap_or_else(PoisonError::into_inner).push((at, done));
                        }
                        Err(error) => {
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_by_key(|(at, _)| *at);
    Ok(made.into_iter().map(|(_, done)| done).collect())
}

fn one(file: &Wanted, to: &Path, earlier: Option<(&Path, &Entry)>) -> Result<Copied> {
    let target = to.join(&file.path);
    if let Some(link) = &file.link {
        make_link(link, &target)?;
        return Ok(Copied::Done(Entry {
            path: file.path.clone(),
            bytes: 0,
            digest: hex_of(link.as_bytes()),
            modified: Timestamp::default(),
            mode: 0,
            link: Some(link.clone()),
        }));
    }
    let failed = |error| Error::io("read", &file.from, error);
    let mut meta = match fs::metadata(&file.from) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Copied::Gone(file.path.clone()));
        }
        Err(error) => return Err(failed(error)),
    };
    let entry = |meta: &fs::Metadata, bytes, digest| Entry {
        path: file.path.clone(),
        bytes,
        digest,
        modified: modified(meta),
        mode: meta.mode() & 0o7777,
        link: None,
    };
    if let Some((folder, known)) = earlier.filter(|_| file.fixed) {
        let same = known.bytes == meta.len()
            && match &file.digest {
                Some(digest) => *digest == known.digest,
                None => known.modified == modified(&meta),
            };
        // Another file system, or too many links: it is copied then.
        if same && link_to(&folder.join(&file.path), &target).is_ok() {
            return Ok(Copied::Done(entry(&meta, known.bytes, known.digest.clone())));
        }
    }
    // What an earlier attempt left is taken if it is what was committed.
    if let Some(digest) = &file.digest
        && let Ok(there) = fs::metadata(&target)
        && there.len() == meta.len()
        && hex_of_file(&target)? == *digest
    {
        return Ok(Copied::Done(entry(&meta, meta.len(), digest.clone())));
    }
    // What is committed in a journal stays as it is; its writer may be at what comes after.
    let committed = flywheel_connect::journal_committed_bytes(&file.from);
    let most = committed.unwrap_or(u64::MAX);
    let mut reads = 0;
    loop {
        reads += 1;
        let (mode, before) = (meta.mode() & 0o7777, modified(&meta));
        let (bytes, digest) = match through(&file.from, most, &target, (mode, before)) {
            Ok(done) => done,
            Err(error) if error.kind() == flywheel_base::ErrorKind::NotFound => {
                return Ok(Copied::Gone(file.path.clone()));
            }
            Err(error) => return Err(error),
        };
        if let Some(expected) = &file.digest {
            let whole = *expected == digest;
            let entry = entry(&meta, bytes, digest);
            return Ok(if whole { Copied::Done(entry) } else { Copied::Damaged(entry) });
        }
        // What only grows is right up to any byte; what is written anew is read again.
        let after = match fs::metadata(&file.from) {
            Ok(after) => after,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Copied::Gone(file.path.clone()));
            }
            Err(error) => return Err(failed(error)),
        };
        let calm = after.ino() == meta.ino() && modified(&after) == before;
        if calm
            || committed.is_some()
            || reads >= READS_MAX
            || (after.ino() == meta.ino() && after.len() > bytes)
        {
            return Ok(Copied::Done(entry(&meta, bytes, digest)));
        }
        meta = after;
    }
}

/// Copies the first `most` bytes of a file, durably, under its name only once they are whole; says how many bytes it
/// has and their digest.
pub(super) fn through(
    from: &Path,
    most: u64,
    to: &Path,
    (mode, modified): (u32, Timestamp),
) -> Result<(u64, String)> {
    let source = File::open(from).map_err(|error| Error::io("read", from, error))?;
    let mut source = source.take(most);
    let part = part_of(to);
    let failed = |error| Error::io("write", to, error);
    make_folder_of(to)?;
    let mut target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        let read = match source.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("read", from, error)),
        };
        let taken = piece.get(..read).unwrap_or_default();
        hasher.update(taken);
        target.write_all(taken).map_err(failed)?;
        bytes += read as u64;
    }
    target.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
    target.set_times(times(modified)).map_err(failed)?;
    target.sync_all().map_err(failed)?;
    drop(target);
    fs::rename(&part, to).map_err(failed)?;
    Ok((bytes, hasher.finalize().to_hex().to_string()))
}

/// Gives a file of a backup back its permissions and its time.
pub(super) fn dress(path: &Path, entry: &Entry) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    let file = File::open(path).map_err(failed)?;
    file.set_times(times(entry.modified)).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(entry.mode)).map_err(failed)
}

fn times(modified: Timestamp) -> FileTimes {
    let since = Duration::from_micros(u64::try_from(modified.micros()).unwrap_or(0));
    FileTimes::new().set_modified(UNIX_EPOCH + since)
}

/// Writes a small file, durably, at once.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<()> {
    make_folder_of(path)?;
    let part = part_of(path);
    let failed = |error| Error::io("write", path, error);
    let mut file = File::create(&part).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&part, path).map_err(failed)?;
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Makes a symbolic link, in the place of another one.
pub(super) fn make_link(link: &str, at: &Path) -> Result<()> {
    make_folder_of(at)?;
    let failed = |error| Error::io("link", at, error);
    match std::os::unix::fs::symlink(link, at) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let same = fs::read_link(at).is_ok_and(|there| there == Path::new(link));
            if same {
                return Ok(());
            }
            fs::remove_file(at).map_err(failed)?;
            std::os::unix::fs::symlink(link, at).map_err(failed)
        }
        done => done.map_err(failed),
    }
}

fn link_to(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(to)?;
            fs::hard_link(from, to)
        }
        done => done,
    }
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{PART_ENDING}"));
    name.into()
}

fn make_folder_of(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => {
            fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))
        }
        None => Ok(()),
    }
}

/// Forces the entries of a folder to the device.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::io("sync", folder, error))
}

/// Forces the entries of a folder and of all below it to the device.
pub(super) fn sync_tree(root: &Path) -> Result<()> {
    let mut folders = vec![root.to_owned()];
    let mut at = 0;
    while let Some(folder) = folders.get(at).cloned() {
        at += 1;
        let failed = |error| Error::io("list", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() && entry.file_name() != FILE_SYSTEM {
                folders.push(entry.path());
            }
        }
    }
    side_by_side(&folders, |folder| sync_folder(folder)).map(drop)
}

/// When a file was last modified, as precisely as a manifest has it.
pub(super) fn modified(meta: &fs::Metadata) -> Timestamp {
    let time: SystemTime = meta.modified().unwrap_or(UNIX_EPOCH);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn hex_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The digest of a file.
pub(super) fn hex_of_file(path: &Path) -> Result<String> {
    let failed = |error| Error::io("read", path, error);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).map_err(failed)?).map_err(failed)?;
    Ok(hasher.finalize().to_hex().to_string())
}
