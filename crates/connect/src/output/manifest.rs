//! The manifest beside the files: which of them are committed, with which checkpoint.
//!
//! Renaming it into place is the commit. A part that it lists and that still lies in our folder is
//! renamed to its own name by whoever opens the target next, so a crash between the two is only a
//! delay; a part that it does not list was never committed and is removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::store::{Sealed, create_folder, remove_file, replace_file, safe_name, sync_folder};
use crate::destination::{Checkpoint, Progress};

/// The folder beside the files that holds what is ours.
pub(crate) const FOLDER: &str = "_flywheel";

/// The form of manifests that this program writes.
const VERSION: u32 = 1;

/// How many files a manifest lists; older ones are counted.
const FILES_LISTED_MAX: usize = 1_000;

/// Where the files of one target go.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The folder of the files.
    pub(crate) folder: PathBuf,
    /// The name of a replaced file, and what names of appended ones are made from.
    pub(crate) stem: String,
    /// What names end in, with its point.
    pub(crate) ending: String,
    /// The manifest.
    manifest: PathBuf,
    /// The folder of parts that are not committed or not swapped in.
    parts: PathBuf,
}

impl Place {
    /// The place of the file `stem``ending` in `folder`, as far as `app` writes it.
    pub(crate) fn new(folder: PathBuf, stem: &str, ending: &str, app: &str) -> Self {
        let id = format!("{}@{}", safe_name(app), safe_name(&format!("{stem}{ending}")));
        let own = folder.join(FOLDER);
        Self {
            stem: stem.to_owned(),
            ending: ending.to_owned(),
            manifest: own.join(format!("{id}.json")),
            parts: own.join(id),
            folder,
        }
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

    /// Where a part is while it is ours.
    pub(crate) fn part(&self, name: &str) -> PathBuf {
        self.parts.join(name)
    }

    /// Creates the folders, durably.
    pub(crate) fn create(&self) -> Result<()> {
        create_folder(&self.parts)
    }

    /// The folder of parts.
    pub(crate) fn parts(&self) -> &Path {
        &self.parts
    }
}

/// A file that is committed, or a part that is staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Its name in the folder of the files.
    pub(crate) name: String,
    /// Its name among the parts.
    pub(crate) part: String,
    /// The commit it belongs to.
    pub(crate) sequence: i64,
    /// Its rows.
    pub(crate) rows: u64,
    /// Its bytes.
    pub(crate) size_bytes: u64,
    /// Their digest.
    pub(crate) blake3: String,
}

impl Listed {
    /// Takes note of a part.
    pub(crate) fn new(name: String, sequence: i64, rows: u64, sealed: &Sealed) -> Self {
        let part = sealed.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (size_bytes, blake3) = (sealed.size, sealed.digest.clone());
        Self { name, part, sequence, rows, size_bytes, blake3 }
    }
}

/// What is committed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    /// Who writes.
    pub(crate) app: String,
    /// The newest checkpoint whose rows are visible.
    pub(crate) committed: Option<Checkpoint>,
    /// The newest checkpoint of a replacement that is not swapped in.
    pub(crate) staged: Option<Checkpoint>,
    /// The columns of the target and their types.
    pub(crate) columns: Vec<(String, String)>,
    /// The newest files.
    pub(crate) files: Vec<Listed>,
    /// How many older files there are.
    pub(crate) files_earlier: u64,
    /// The parts of a replacement that is not swapped in.
    pub(crate) parts: Vec<Listed>,
    /// How many parts were made: no committed part has a higher number.
    pub(crate) parts_made: u64,
    /// Files that a replacement has made obsolete.
    pub(crate) obsolete: Vec<String>,
}

impl Manifest {
    /// Reads the manifest of a place; an empty one if there is none.
    pub(crate) fn load(place: &Place, app: &str) -> Result<Self> {
        let path = &place.manifest;
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, app: app.to_owned(), ..Self::default() });
            }
            Err(error) => return Err(Error::io("read the manifest", path, error)),
        };
        let damaged = |why: String| {
            Error::corrupt(format!("the manifest {} {why}", path.display())).hint(
                "Restore it from a backup; without it nobody knows which files are committed.",
            )
        };
        let found: Self = serde_json::from_slice(&bytes)
            .map_err(|error| damaged("is damaged".to_owned()).caused_by(error))?;
        if found.version > VERSION {
            return Err(damaged(format!("has the newer form {}", found.version))
                .hint("Write with the newer program that made it."));
        }
        Ok(found)
    }

    /// How far the writes have come.
    pub(crate) fn progress(&self) -> Progress {
        Progress { committed: self.committed.clone(), staged: self.staged.clone() }
    }

    /// Whether a checkpoint is committed or staged already.
    pub(crate) fn has(&self, checkpoint: &Checkpoint) -> bool {
        [&self.committed, &self.staged]
            .into_iter()
            .flatten()
            .any(|known| checkpoint.sequence <= known.sequence)
    }

    /// Commits: what is listed from now on is true.
    pub(crate) fn save(&mut self, place: &Place) -> Result<()> {
        let over = self.files.len().saturating_sub(FILES_LISTED_MAX);
        self.files.drain(..over);
        self.files_earlier += over as u64;
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::internal("a manifest cannot be written").caused_by(error))?;
        replace_file(&place.manifest, &bytes)
    }

    /// Completes the newest commit: gives its parts their own names and removes what it made
    /// obsolete. Does nothing if that was done.
    pub(crate) fn publish(&mut self, place: &Place) -> Result<()> {
        let mut moved = false;
        let newest = self.committed.as_ref().map(|checkpoint| checkpoint.sequence);
        for file in self.files.iter().filter(|file| Some(file.sequence) == newest) {
            let (part, path) = (place.part(&file.part), place.folder.join(&file.name));
            match fs::rename(&part, &path) {
                Ok(()) => moved = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("rename a file to", &path, error)),
            }
        }
        for name in &self.obsolete {
            let path = place.folder.join(name);
            moved |= path.exists();
            remove_file(&path)?;
        }
        if moved {
            sync_folder(&place.folder)?;
        }
        if !self.obsolete.is_empty() {
            // Later files of those names are not ours to remove.
            self.obsolete.clear();
            self.save(place)?;
        }
        Ok(())
    }

    /// Removes parts that were never committed.
    pub(crate) fn sweep(&self, place: &Place) -> Result<()> {
        let fail = |error| Error::io("read the folder", place.parts(), error);
        let staged: BTreeSet<&str> = self.parts.iter().map(|part| part.part.as_str()).collect();
        for entry in fs::read_dir(place.parts()).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if !staged.contains(&*entry.file_name().to_string_lossy()) {
                remove_file(&entry.path())?;
            }
        }
        Ok(())
    }
}
