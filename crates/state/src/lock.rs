//! One writer per project.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use flywheel_base::{Error, ErrorKind, Result};

/// The exclusive right to change one project; given back when dropped, also by `kill -9`.
#[derive(Debug)]
pub struct ProjectLock {
    _file: File,
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
                let who =
                    if known { format!(" (process {})", holder.trim()) } else { String::new() };
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("another flywheel{who} is changing this project"),
                )
                .hint("Wait until it ends, or stop it; `flywheel sql` and `flywheel status` work meanwhile."));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, error)),
        }
        let failed = |e| Error::io("write", path, e);
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        write!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
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
        drop(first);
        ProjectLock::take(&path).unwrap();
    }
}
