//! Bytes of fitted learners, and texts of policies as they decided, addressed by their content.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result, digest};

/// The folder `.flywheel/artifacts`.
#[derive(Clone, Debug)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// Uses `folder`, which is created when it is first written to.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Stores bytes durably and returns their address; the same bytes again cost nothing.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Denied`] or [`flywheel_base::ErrorKind::Exhausted`] of the file system.
    pub fn put(&self, bytes: &[u8]) -> Result<String> {
        let address = digest::hex(&[bytes]);
        let path = self.folder.join(&address);
        if path.exists() {
            return Ok(address);
        }
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io("create", &self.folder, e))?;
        let partial = self.folder.join(format!("{address}.partial"));
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(|e| Error::io("write", &partial, e))?;
        std::fs::rename(&partial, &path).map_err(|e| Error::io("rename", &partial, e))?;
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|e| Error::io("sync", &self.folder, e))?;
        Ok(address)
    }

    /// The address that begins with `start`, a digest of [`digest::short`]; none if there is none.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Denied`] if the folder cannot be listed.
    pub(crate) fn find(&self, start: &str) -> Result<Option<String>> {
        let unreadable = |e| Error::io("read", &self.folder, e);
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        for entry in entries {
            let name = entry.map_err(unreadable)?.file_name();
            let Some(name) = name.to_str() else { continue };
            // A file that a killed process left has another name.
            if name.starts_with(start) && !name.contains('.') {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    /// Reads the bytes at `address` and proves that they are what was stored.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`], or [`flywheel_base::ErrorKind::Corrupt`] if a byte changed.
    pub fn get(&self, address: &str) -> Result<Vec<u8>> {
        let path = self.folder.join(address);
        let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        if digest::hex(&[&bytes]) != address {
            return Err(Error::corrupt(format!(
                "artifact {} is not what was stored",
                path.display()
            ))
            .hint("Delete the file; the next `flywheel learn` fits the learner again."));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::ErrorKind;

    use super::*;

    #[test]
    fn a_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(folder.path());
        let address = artifacts.put(b"model").unwrap();
        assert_eq!(artifacts.put(b"model").unwrap(), address);
        assert_eq!(artifacts.get(&address).unwrap(), b"model");
        assert_eq!(artifacts.find(&digest::short(&[b"model"])).unwrap(), Some(address.clone()));
        assert_eq!(artifacts.find("0000000000000000").unwrap(), None);
        std::fs::write(folder.path().join(&address), b"modem").unwrap();
        assert_eq!(artifacts.get(&address).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(artifacts.get("absent").unwrap_err().kind(), ErrorKind::NotFound);
    }
}
