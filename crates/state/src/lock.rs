//! One writer per project.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use flywheel_base::{Error, ErrorKind, Result};

/// The exclusive right to change one project; given back when dropped, also by `kill -9`.
#[derive(Debug)]
pub struct ProjectLock {
    file: File,
    path: PathBuf,
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
        let lock = Self { file, path: path.to_owned() };
        lock.write(&std::process::id().to_string())?;
        Ok(lock)
    }

    /// Lets whoever is refused know at which address this process serves the project.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn serves_at(&self, address: &str) -> Result<()> {
        self.write(&format!("{} {address}", std::process::id()))
    }

    fn write(&self, text: &str) -> Result<()> {
        let failed = |e| Error::io("write", &self.path, e);
        let mut file = &self.file;
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)
    }
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
