//! Where the paths of a connection start: a folder, or a place in an object store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flywheel_base::{Error, Result};

use super::VisibleFile;
use super::listing::matches;
use crate::objects::{Address, FilePlace, Objects};

/// The start of all paths of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    base_dir: PathBuf,
    folder: PathBuf,
    place: Arc<FilePlace>,
    objects: Option<Arc<Objects>>,
}

/// Where one path leads.
pub(crate) enum Way {
    /// Into a folder.
    Folder(PathBuf),
    /// Into a store; the path is relative to its folder.
    Objects(Arc<Objects>, String),
}

impl Root {
    /// Takes the settings of a connection; does no I/O.
    pub(crate) fn new(place: FilePlace, base_dir: &Path) -> Result<Self> {
        let objects = match &place.root {
            Some(root) if place.folder.is_some() => {
                return Err(Error::invalid(format!(
                    "the connection has a `folder` and the root {root}"
                ))
                .hint("Write one of them; a folder within a store is part of `root`."));
            }
            Some(root) => Some(Objects::open(&Address::parse(root)?, &place)?),
            None => None,
        };
        let folder = place.folder.as_ref();
        let folder = folder.map_or_else(|| base_dir.to_owned(), |folder| base_dir.join(folder));
        Ok(Self { base_dir: base_dir.to_owned(), folder, place: Arc::new(place), objects })
    }

    /// The folder, if it is one.
    pub(crate) fn folder(&self) -> Way {
        match &self.objects {
            Some(objects) => Way::Objects(Arc::clone(objects), String::new()),
            None => Way::Folder(self.folder.clone()),
        }
    }

    /// The project's folder, that names of files are relative to.
    pub(crate) fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    /// Where a path or a pattern leads.
    pub(crate) fn way(&self, path: &str) -> Result<Way> {
        if Address::is_one(path) {
            let address = Address::parse(path)?;
            let whole = Address { path: String::new(), ..address.clone() };
            return Ok(Way::Objects(Objects::open(&whole, &self.place)?, address.path));
        }
        Ok(match &self.objects {
            Some(objects) => Way::Objects(Arc::clone(objects), path.to_owned()),
            None => Way::Folder(self.folder.clone()),
        })
    }

    /// The files that a path or a pattern names.
    pub(crate) fn find(&self, pattern: &str) -> Result<Vec<VisibleFile>> {
        match self.way(pattern)? {
            Way::Folder(folder) => {
                let paths = matches(&folder, pattern)?;
                // A folder that is not there is a mistake, not a source without rows.
                if paths.is_empty() && !Path::new(pattern).is_absolute() {
                    self.check()?;
                }
                paths.into_iter().map(|path| VisibleFile::at(&self.base_dir, path)).collect()
            }
            Way::Objects(objects, pattern) => {
                Ok(objects.find(&pattern)?.into_iter().map(VisibleFile::of).collect())
            }
        }
    }

    /// Proves that the folder can be read.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.objects {
            Some(objects) => objects.check(),
            None => std::fs::read_dir(&self.folder).map(drop).map_err(|error| {
                Error::io("read the folder", &self.folder, error)
                    .hint("Set the connection's `folder` to a folder that exists and is readable.")
            }),
        }
    }
}
