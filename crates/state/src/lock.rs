//! One writer per project.
//!
//! The lock is a file, held as long as its process lives. Where the metadata is in PostgreSQL the schema is locked besides,
//! for processes on other machines: by an advisory lock, which the server gives back when the connection ends. Each holder
//! has a number, and writes carry it: one whose connection broke takes the lock again if nobody had it since, and is refused
//! if somebody did.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flywheel_base::{Error, ErrorKind, Result};

use crate::Store;
use crate::engine::{self, Epoch, Session, Shared, taken_over};

/// The exclusive right to change one project; given back when dropped, also by `kill -9`.
#[derive(Debug)]
pub struct ProjectLock {
    file: File,
    path: PathBuf,
    held: Option<Held>,
}

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
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = holder.trim();
                if let Some((process, address)) = holder.split_once(' ').filter(|_| known) {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("the server at {address} (process {process}) keeps this project"),
                    )
                    .hint(format!("Do it there: open {address}, or use its API. Commands that only read work beside it; to run this one, stop the server first.")));
                }
                let who = if known { format!(" (process {holder})") } else { String::new() };
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("another flywheel{who} is changing this project"),
                )
                .hint("Wait until it ends, or stop it; `flywheel sql` and `flywheel status` work meanwhile."));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, error)),
        }
        let lock = Self { file, path: path.to_owned(), held: None };
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
}
