//! Object stores as places of files: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob
//! Storage, and plain web servers that are only read.
//!
//! An object is known by its entity tag: it is read in ranges that ask for this tag, so that an object
//! which is replaced while it is read is an error and never half of each. A read that breaks off goes
//! on where it stopped. Everything here blocks and is called from blocking threads.

mod access;
mod address;
mod build;
mod fail;
mod list;
mod read;
mod write;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_base::{Error, Result};
use object_store::ObjectStore;
use object_store::path::Path;

pub use access::{Credentials, FilePlace};
pub(crate) use address::Address;
pub(crate) use read::{Object, ObjectReader};
pub(crate) use write::Version;

use self::fail::Failing;
use crate::files::VisibleFile;

/// A bucket (container, web server) and the folder in it that paths are relative to.
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// `s3://bucket`, as it stands before keys in names and messages.
    base: String,
    /// The folder, without slashes at its ends.
    prefix: String,
    /// Whether it is a web server, whose names cannot be listed and which is not written to.
    web: bool,
    failing: Failing,
    /// The last object that was copied to the disk, for the reader that follows a sample.
    copied: Mutex<Option<VisibleFile>>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("base", &self.base).field("prefix", &self.prefix).finish()
    }
}

impl Objects {
    /// The key of a path relative to the folder.
    pub(crate) fn key(&self, path: &str) -> Result<Path> {
        let whole = match self.prefix.as_str() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        };
        Path::parse(&whole).map_err(|error| {
            Error::invalid(format!("\"{whole}\" cannot be the key of an object"))
                .caused_by(error)
                .hint("Leave out empty names, `.` and `..` between the slashes.")
        })
    }

    /// The whole address of a key.
    pub(crate) fn url(&self, key: &Path) -> String {
        format!("{}/{key}", self.base)
    }

    /// The copy of a file that was made last, or another.
    pub(crate) fn copied(
        &self,
        file: &VisibleFile,
        make: impl FnOnce() -> Result<VisibleFile>,
    ) -> Result<VisibleFile> {
        let mut last = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref().filter(|known| *known == file) {
            return Ok(known.clone());
        }
        let made = make()?;
        *last = Some(made.clone());
        Ok(made)
    }

    /// The address of the folder.
    pub(crate) fn root(&self) -> String {
        match self.prefix.as_str() {
            "" => self.base.clone(),
            prefix => format!("{}/{prefix}", self.base),
        }
    }
}

/// Waits for an answer on a blocking thread.
fn wait<T>(future: impl Future<Output = T>) -> Result<T> {
    let handle = tokio::runtime::Handle::try_current().map_err(|error| {
        Error::internal("an object store is used outside of the runtime").caused_by(error)
    })?;
    Ok(handle.block_on(future))
}
