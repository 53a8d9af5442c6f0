//! Files that are there after a crash, or not at all: fsync, rename, and the digest on the way.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flywheel_base::{Error, Result};

/// Bytes that are collected before they go to the file.
const BUFFER_BYTES: usize = 256 << 10;

/// How often a lock is tried, and how long each wait for it lasts.
const LOCK_TRIES: u32 = 25;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Locks a file, or says that somebody else holds it.
///
/// A program that is just being started holds all our files for a moment, also those that are closed
/// meanwhile; so a lock is tried a few times.
pub(crate) fn try_lock(file: &File) -> std::result::Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_WAIT),
            done => return done,
        }
    }
    file.try_lock()
}

/// A name as one part of a path: whatever could leave the folder, or be taken for another name, is
/// written as its code.
pub(crate) fn safe_name(name: &str) -> String {
    let mut out = String::new();
    for (at, char) in name.chars().enumerate() {
        if char.is_alphanumeric() || matches!(char, '-' | '_') || (char == '.' && at > 0) {
            out.push(char);
        } else {
            out.push_str(&format!("%{:02X}", u32::from(char)));
        }
    }
    if out.is_empty() { "none".to_owned() } else { out }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("flush the folder", folder, error))
}

/// Creates a folder and those above it, durably.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let created: Vec<&Path> = folder.ancestors().take_while(missing).collect();
    fs::create_dir_all(folder).map_err(|error| Error::io("create the folder", folder, error))?;
    // A new folder is only there after a crash if the folder above it was flushed.
    for folder in created {
        if let Some(above) = folder.parent() {
            sync_folder(above)?;
        }
    }
    Ok(())
}

/// Puts `bytes` in the place of a file so that a crash leaves the old or the new content.
///
/// # Errors
/// The file system's own.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |error| Error::io("write the file", path, error);
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    create_folder(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.tmp"));
    let mut file = File::create(&beside).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    drop(file);
    fs::rename(&beside, path).map_err(fail)?;
    sync_folder(folder)
}

/// Removes a file that may be gone already.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove the file", path, error))
        }
        _ => Ok(()),
    }
}

/// A new file that is hashed while it is written, and removed unless it is sealed.
pub(crate) struct Sink {
    file: BufWriter<Hashed>,
    path: PathBuf,
    sealed: bool,
}

struct Hashed {
    file: File,
    hasher: blake3::Hasher,
    size: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that was written to its end and is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its bytes.
    pub(crate) size: u64,
    /// Their BLAKE3 digest.
    pub(crate) digest: String,
}

impl Sink {
    /// Creates the file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let opened = File::create(path);
        let file = opened.map_err(|error| Error::io("create the file", path, error))?;
        let hashed = Hashed { file, hasher: blake3::Hasher::new(), size: 0 };
        let file = BufWriter::with_capacity(BUFFER_BYTES, hashed);
        Ok(Self { file, path: path.to_owned(), sealed: false })
    }

    /// The error of a failed write into it.
    pub(crate) fn fail(path: &Path, error: impl Into<io::Error>) -> Error {
        Error::io("write the file", path, error.into())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes it to the disk.
    pub(crate) fn seal(mut self) -> Result<Sealed> {
        let path = self.path.clone();
        self.file.flush().map_err(|error| Self::fail(&path, error))?;
        let hashed = self.file.get_mut();
        hashed.file.sync_all().map_err(|error| Self::fail(&path, error))?;
        let sealed = Sealed {
            path,
            size: hashed.size,
            digest: hashed.hasher.finalize().to_hex().to_string(),
        };
        self.sealed = true;
        Ok(sealed)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // What stays behind is removed when the target is opened again.
        if !self.sealed
            && let Err(error) = remove_file(&self.path)
        {
            tracing::debug!(error = %error, "an unfinished file stays");
        }
    }
}
