//! Where the files of one target go, and what can be done there: a folder, or a place in a store.
//!
//! A store has no rename. A part is uploaded under a name that follows from its content, and gets its
//! own name by a copy that the store makes; the manifest is replaced only over the one that was read.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flywheel_base::{Error, Result};
use tempfile::TempDir;

use super::store::{Sealed, create_folder, remove_file, replace_file, safe_name, sync_folder};
use crate::objects::{Objects, Version};

/// The folder beside the files that holds what is ours.
pub(crate) const FOLDER: &str = "_flywheel";

/// Hex digits of a digest in the name of a part.
const DIGEST_HEX: usize = 16;

/// Where the files of one target go.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    home: Home,
    /// The name of a replaced file, and what names of appended ones are made from.
    stem: String,
    /// What names end in, with its point.
    ending: String,
    /// The name of the manifest and of the folder of parts.
    id: String,
}

#[derive(Clone, Debug)]
enum Home {
    Folder(PathBuf),
    Objects {
        objects: Arc<Objects>,
        /// The folder of the files, relative to that of the store; ends in a slash unless empty.
        folder: String,
        /// Where parts are written before they are uploaded; it goes with the write.
        spool: Option<Arc<TempDir>>,
    },
}

impl Place {
    /// The place of the file `stem``ending` in `folder`, as far as `app` writes it.
    pub(crate) fn in_folder(folder: PathBuf, stem: &str, ending: &str, app: &str) -> Self {
        Self::new(Home::Folder(folder), stem, ending, app)
    }

    /// The same in a store; `folder` is relative to that of the store.
    pub(crate) fn in_store(
        objects: Arc<Objects>,
        folder: &str,
        stem: &str,
        ending: &str,
        app: &str,
    ) -> Self {
        let folder = match folder.trim_matches('/') {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        Self::new(Home::Objects { objects, folder, spool: None }, stem, ending, app)
    }

    fn new(home: Home, stem: &str, ending: &str, app: &str) -> Self {
        let id = format!("{}@{}", safe_name(app), safe_name(&format!("{stem}{ending}")));
        Self { home, stem: stem.to_owned(), ending: ending.to_owned(), id }
    }

    /// The file that is replaced.
    pub(crate) fn whole(&self) -> String {
        format!("{}{}", self.stem, self.ending)
    }

    /// The file a commit appends; `number` counts the files of one commit from 0.
    pub(crate) fn appended(&self, sequence: i64, number: usize) -> String {
        let (stem, ending) = (&self.stem, &self.ending);
        match number {
            0 => format!("{stem}-{sequence:06}{ending}"),
            number => format!("{stem}-{sequence:06}-{}{ending}", number + 1),
        }
    }

    /// Whether two writers could meet, so that each has to make itself known.
    pub(crate) fn shared(&self) -> bool {
        matches!(self.home, Home::Objects { .. })
    }

    /// Creates the folders, durably.
    pub(crate) fn create(&mut self) -> Result<()> {
        match &mut self.home {
            Home::Folder(folder) => create_folder(&folder.join(FOLDER).join(&self.id)),
            Home::Objects { spool, .. } => {
                let above = std::env::temp_dir();
                let made = TempDir::new_in(&above)
                    .map_err(|error| Error::io("create a folder in", &above, error))?;
                *spool = Some(Arc::new(made));
                Ok(())
            }
        }
    }

    /// The manifest's name for people.
    pub(crate) fn manifest_shown(&self) -> String {
        match &self.home {
            Home::Folder(folder) => self.manifest(folder).display().to_string(),
            Home::Objects { objects, folder, .. } => {
                format!("{}/{}", objects.root(), self.own(folder, ".json"))
            }
        }
    }

    fn manifest(&self, folder: &Path) -> PathBuf {
        folder.join(FOLDER).join(format!("{}.json", self.id))
    }

    fn own(&self, folder: &str, rest: &str) -> String {
        format!("{folder}{FOLDER}/{}{rest}", self.id)
    }

    /// Reads the manifest, with what it takes to replace it.
    pub(crate) fn load(&self) -> Result<Option<(Vec<u8>, Version)>> {
        match &self.home {
            Home::Folder(folder) => {
                let path = self.manifest(folder);
                match fs::read(&path) {
                    Ok(bytes) => Ok(Some((bytes, Version::default()))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io("read the manifest", &path, error)),
                }
            }
            Home::Objects { objects, folder, .. } => {
                let found = objects.read_small(&self.own(folder, ".json"))?;
                Ok(found.map(|(bytes, version)| (bytes.to_vec(), version)))
            }
        }
    }

    /// Replaces the manifest, in a store only the one that was read.
    pub(crate) fn save(&self, bytes: &[u8], over: &Version) -> Result<Version> {
        match &self.home {
            Home::Folder(folder) => {
                replace_file(&self.manifest(folder), bytes)?;
                Ok(Version::default())
            }
            Home::Objects { objects, folder, .. } => objects
                .replace_small(&self.own(folder, ".json"), bytes, over)
                .map_err(|error| match error.kind() {
                    flywheel_base::ErrorKind::Conflict => error.hint(
                        "Another run writes the same target; this one has changed nothing. Let \
                         only one run at a time write it.",
                    ),
                    _ => error,
                }),
        }
    }

    /// Where a part of that name is written.
    pub(crate) fn part(&self, name: &str) -> PathBuf {
        match &self.home {
            Home::Folder(folder) => folder.join(FOLDER).join(&self.id).join(name),
            Home::Objects { spool, .. } => match spool {
                Some(spool) => spool.path().join(name),
                None => std::env::temp_dir().join(name),
            },
        }
    }

    /// Makes a part that was written durable, and gives the name it has from then on.
    pub(crate) fn keep(&self, sealed: &Sealed) -> Result<String> {
        let name = sealed.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Home::Objects { objects, folder, .. } = &self.home else { return Ok(name) };
        let digest = sealed.digest.get(..DIGEST_HEX).unwrap_or(&sealed.digest);
        let stem = name.strip_suffix(".part").unwrap_or(&name);
        let name = format!("{stem}-{digest}.part");
        objects.upload(&sealed.path, &self.own(folder, &format!("/{name}")))?;
        remove_file(&sealed.path)?;
        Ok(name)
    }

    /// Opens a part that was kept.
    pub(crate) fn open_part(&self, name: &str) -> Result<File> {
        let (path, _copy) = match &self.home {
            Home::Folder(_) => (self.part(name), None),
            Home::Objects { objects, folder, .. } => {
                let object = objects.one(&self.own(folder, &format!("/{name}")))?;
                let copy = object.copy()?;
                (copy.to_path_buf(), Some(copy))
            }
        };
        File::open(&path).map_err(|error| Error::io("read the staged rows", &path, error))
    }

    /// Gives a part its own name among the files; false if there is no such part.
    pub(crate) fn give_name(&self, part: &str, name: &str) -> Result<bool> {
        match &self.home {
            Home::Folder(folder) => {
                let (part, path) = (self.part(part), folder.join(name));
                match fs::rename(&part, &path) {
                    Ok(()) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                    Err(error) => Err(Error::io("rename a file to", &path, error)),
                }
            }
            Home::Objects { objects, folder, .. } => {
                let part = self.own(folder, &format!("/{part}"));
                objects.rename(&part, &format!("{folder}{name}"))
            }
        }
    }

    /// Whether a file of that name is there.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        match &self.home {
            Home::Folder(folder) => Ok(folder.join(name).exists()),
            Home::Objects { objects, folder, .. } => objects.has(&format!("{folder}{name}")),
        }
    }

    /// Removes a file that may be gone already.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match &self.home {
            Home::Folder(folder) => remove_file(&folder.join(name)),
            Home::Objects { objects, folder, .. } => objects.remove(&format!("{folder}{name}")),
        }
    }

    /// Removes a part that may be gone already.
    pub(crate) fn remove_part(&self, name: &str) -> Result<()> {
        match &self.home {
            Home::Folder(_) => remove_file(&self.part(name)),
            Home::Objects { objects, folder, .. } => {
                objects.remove(&self.own(folder, &format!("/{name}")))
            }
        }
    }

    /// The names of all parts.
    pub(crate) fn parts(&self) -> Result<Vec<String>> {
        match &self.home {
            Home::Folder(_) => {
                let folder = self.part("");
                let fail = |error| Error::io("read the folder", &folder, error);
                let mut names = Vec::new();
                for entry in fs::read_dir(&folder).map_err(fail)? {
                    names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
                }
                Ok(names)
            }
            Home::Objects { objects, folder, .. } => objects.names(&self.own(folder, "")),
        }
    }

    /// Makes the names of files durable.
    pub(crate) fn flush_names(&self) -> Result<()> {
        match &self.home {
            Home::Folder(folder) => sync_folder(folder),
            Home::Objects { .. } => Ok(()),
        }
    }
}
