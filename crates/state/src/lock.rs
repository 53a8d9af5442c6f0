//! One writer per project.
//!
//! The lock is a file, held as long as its process lives. Where the metadata is in PostgreSQL the schema is locked besides,
//! for processes on other machines: by an advisory lock, which the server gives back when the connection ends. Each holder
//! has a number, and writes carry it: one whose connection broke takes the lock again if nobody had it since, and is refused
//! if somebody did.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flywheel_base::{Error, ErrorKind, Result};

use crate::Store;
use crate::engine::{self, Epoch, Session, Shared, taken_over};

/// The lock files that this process holds. What stands in a file does not say so: a process in another container may have the
/// same number.
static OURS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The exclusive right to change one project; given back when dropped, also by `kill -9`.
#[derive(Debug)]
pub struct ProjectLock {
    // It goes before the file is free for others.
    _ours: Ours,
    file: File,
    path: PathBuf,
    held: Option<Held>,
}

/// That this process holds a lock file.
#[derive(Debug)]
struct Ours(PathBuf);

/// The lock of a schema.
#[derive(Debug)]
struct Held {
    session: Mutex<Session>,
    shared: Shared,
    epoch: Epoch,
    /// The machine, for whoever is refused.
    host: String,
}

impl ProjectLock {
    /// Takes the lock file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another process holds it (the message names its process id),
    /// [`ErrorKind::Denied`] in a read-only folder.
    pub fn take(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| Error::io("open", path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (who, address) = holder(&mut file);
                if let Some(address) = address {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("{who} keeps this project"),
                    )
                    .hint(format!("Do it there: open {address}, or use its API. Commands that only read work beside it; to run this one, stop the server first.")));
                }
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{who} is changing this project"),
                )
                .hint("Wait until it ends, or stop it; `flywheel sql` and `flywheel status` work meanwhile."));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, error)),
        }
        let held = Ours::note(place_of(path)?);
        let lock = Self { _ours: held, file, path: path.to_owned(), held: None };
        lock.write(&std::process::id().to_string())?;
        Ok(lock)
    }

    /// Takes the lock file at `path`, and the metadata in a schema of a PostgreSQL; `database` is as with
    /// [`Store::open_shared`].
    ///
    /// # Errors
    /// As [`ProjectLock::take`], and [`ErrorKind::Conflict`] if a process on another machine holds it; else as
    /// [`Store::open`].
    pub fn take_shared(path: &Path, shared: &Shared, database: &Path) -> Result<Self> {
        let lock = Self::take(path)?;
        // Who holds it is noted in the layout, so there has to be one.
        drop(Store::open_shared(shared, database)?);
        let host = host();
        let session = Session::new(shared);
        let holder = format!("{} {host}", std::process::id());
        let taken = session
            .hold(&holder)
            .map_err(|error| error.of_store("lock the project", &shared.place()))?;
        match taken {
            Ok(epoch) => {
                let (session, shared) = (Mutex::new(session), shared.clone());
                Ok(Self { held: Some(Held { session, shared, epoch, host }), ..lock })
            }
            Err(holder) => Err(refused(&holder, shared)),
        }
    }

    /// Which holder of the metadata this is; none where the lock is a file alone. What broke off is taken again.
    pub(crate) fn epoch(&self) -> engine::Result<Option<Epoch>> {
        let Some(held) = &self.held else { return Ok(None) };
        let session = held.session();
        if !session.is_open() && !session.hold_again(held.epoch)? {
            return Err(engine::Error::ours(taken_over(&held.shared)));
        }
        Ok(Some(held.epoch))
    }

    /// Lets whoever is refused know at which address this process serves the project.
    ///
    /// # Errors
    /// Those of the file system, and as [`Store::open`].
    pub fn serves_at(&self, address: &str) -> Result<()> {
        self.write(&format!("{} {address}", std::process::id()))?;
        let Some(held) = &self.held else { return Ok(()) };
        let holder = format!("{} {} {address}", std::process::id(), held.host);
        held.session()
            .held_by(held.epoch, &holder)
            .map_err(|error| error.of_store("say who serves the project", &held.shared.place()))
    }

    fn write(&self, text: &str) -> Result<()> {
        let failed = |e| Error::io("write", &self.path, e);
        let mut file = &self.file;
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)
    }
}

impl Ours {
    fn note(place: PathBuf) -> Self {
        ours().insert(place.clone());
        Self(place)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        ours().remove(&self.0);
    }
}

fn ours() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one name of a file that is there.
fn place_of(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(|e| Error::io("look at", path, e))
}

/// Keeps everybody from taking the lock at `path` as long as what is returned lives; nothing if this process has it, or nobody
/// ever had. Several may do so at once.
///
/// # Errors
/// [`ErrorKind::Conflict`] if another process has it, else those of the file system.
pub(crate) fn alone(path: &Path) -> Result<Option<File>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    if ours().contains(&place_of(path)?) {
        return Ok(None);
    }
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(in_use(&holder(&mut file).0)),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
    }
}

/// The error of a program that would bring metadata to its layout while another one works with them.
pub(crate) fn in_use(who: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("the metadata have the layout of an older Flywheel, and {who} uses them"),
    )
    .hint("Ask with the program that runs there, or stop that first: this one is newer and would change the layout under it. Before an upgrade, back up with the older one.")
}

/// Who holds the lock of a file, in words, and the address if it is a server.
fn holder(file: &mut File) -> (String, Option<String>) {
    let mut text = String::new();
    if file.read_to_string(&mut text).is_err() {
        text.clear();
    }
    match text.trim().split_once(' ') {
        Some((process, address)) => {
            (format!("the server at {address} (process {process})"), Some(address.to_owned()))
        }
        None if text.trim().is_empty() => ("another flywheel".to_owned(), None),
        None => (format!("another flywheel (process {})", text.trim()), None),
    }
}

impl Held {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Where the server does not answer, it gives the lock back by itself.
        drop(self.session().let_go());
    }
}

/// The error of who comes second; `holder` is a process, its machine and where it serves the project.
fn refused(holder: &str, shared: &Shared) -> Error {
    let mut words = holder.split(' ');
    let (process, host, address) = (words.next(), words.next(), words.next());
    let (process, host) = (process.unwrap_or("unknown"), host.unwrap_or("an unknown machine"));
    let place = shared.place();
    if let Some(address) = address {
        return Error::new(
            ErrorKind::Conflict,
            format!("the server at {address} (process {process} on {host}) keeps the project in {place}"),
        )
        .hint(format!("Do it there: open {address}, or use its API. Commands that only read work beside it; to run this one, stop the server first."));
    }
    Error::new(
        ErrorKind::Conflict,
        format!("another flywheel (process {process} on {host}) is changing the project in {place}"),
    )
    .hint("Wait until it ends, or stop it; `flywheel sql` and `flywheel status` work meanwhile. Each project needs a `schema` of its own.")
}

/// The name of this machine, as its system tells it.
fn host() -> String {
    let names = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = names.iter().find_map(|file| std::fs::read_to_string(file).ok());
    let name = name.as_deref().and_then(|text| text.split_whitespace().next());
    name.unwrap_or("this-machine").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = ProjectLock::take(&path).unwrap();
        let error = ProjectLock::take(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains(&std::process::id().to_string()), "{error}");
        first.serves_at("http://127.0.0.1:8700").unwrap();
        let error = ProjectLock::take(&path).unwrap_err();
        assert!(error.message().contains("http://127.0.0.1:8700"), "{error}");
        drop(first);
        ProjectLock::take(&path).unwrap();
    }

    #[test]
    fn a_newer_program_that_only_reads_leaves_the_layout_to_who_works_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta.db");
        let older = rusqlite::Connection::open(&path).unwrap();
        let (_, before) = crate::schema::MIGRATIONS.split_last().unwrap();
        for migration in before {
            older.execute_batch(migration).unwrap();
        }
        older.pragma_update(None, "user_version", i64::try_from(before.len()).unwrap()).unwrap();
        let layout =
            || -> i64 { older.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap() };
        let was = layout();

        // As another process would hold it.
        let mut server = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(folder.path().join("lock"))
            .unwrap();
        server.lock().unwrap();
        server.write_all(b"17 http://127.0.0.1:8700").unwrap();
        let error = Store::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("the server at http://127.0.0.1:8700"), "{error}");
        assert_eq!(layout(), was);

        drop(server);
        let lock = ProjectLock::take(&folder.path().join("lock")).unwrap();
        drop(Store::open(&path).unwrap());
        assert_eq!(layout(), was + 1, "whoever has the project brings it to its layout");
        drop(lock);
        Store::open(&path).unwrap();
    }
}
