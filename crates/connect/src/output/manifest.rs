//! The manifest beside the files: which of them are committed, with which checkpoint.
//!
//! Renaming it into place (in a store: writing it over the one that was read) is the commit. A part that it lists and that still lies in our folder is
//! renamed to its own name by whoever opens the target next, so a crash between the two is only a
//! delay; a part that it does not list was never committed and is removed.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::store::Sealed;
use crate::destination::{Checkpoint, Progress};
use crate::objects::Version;

/// The form of manifests that this program writes.
const VERSION: u32 = 1;

/// How many files a manifest lists; older ones are counted.
const FILES_LISTED_MAX: usize = 1_000;

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
    /// Takes note of a part, which is kept as `part`.
    pub(crate) fn new(
        name: String,
        part: String,
        sequence: i64,
        rows: u64,
        sealed: &Sealed,
    ) -> Self {
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
    /// How many writers made themselves known; one that came later keeps the earlier from committing.
    #[serde(default, skip_serializing_if = "is_zero")]
    writers: u64,
    /// What it takes to replace the manifest that was read.
    #[serde(skip)]
    version_read: Version,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Manifest {
    /// Reads the manifest of a place; an empty one if there is none.
    pub(crate) fn load(place: &Place, app: &str) -> Result<Self> {
        let Some((bytes, version_read)) = place.load()? else {
            return Ok(Self { version: VERSION, app: app.to_owned(), ..Self::default() });
        };
        let damaged = |why: String| {
            Error::corrupt(format!("the manifest {} {why}", place.manifest_shown())).hint(
                "Restore it from a backup; without it nobody knows which files are committed.",
            )
        };
        let found: Self = serde_json::from_slice(&bytes)
            .map_err(|error| damaged("is damaged".to_owned()).caused_by(error))?;
        if found.version > VERSION {
            return Err(damaged(format!("has the newer form {}", found.version))
                .hint("Write with the newer program that made it."));
        }
        Ok(Self { version_read, ..found })
    }

    /// Makes a writer known, so that an earlier one which is still at work cannot commit any more.
    pub(crate) fn enter(&mut self, place: &Place) -> Result<()> {
        if !place.shared() {
            return Ok(());
        }
        self.writers += 1;
        self.save(place)
    }

    /// How far the writes have come.
    pub(crate) fn progress(&self) -> Progress {
        Progress { committed: self.committed.clone(), staged: self.staged.clone() }
    }

    /// Forgets a replacement that is not continued; its parts are swept away by the next writer.
    pub(crate) fn forget_staged(&mut self) {
        self.staged = None;
        self.parts.clear();
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
        self.version_read = place.save(&bytes, &self.version_read)?;
        Ok(())
    }

    /// Completes the newest commit: gives its parts their own names and removes what it made
    /// obsolete. Does nothing if that was done.
    pub(crate) fn publish(&mut self, place: &Place) -> Result<()> {
        let mut moved = false;
        let newest = self.committed.as_ref().map(|checkpoint| checkpoint.sequence);
        for file in self.files.iter().filter(|file| Some(file.sequence) == newest) {
            moved |= place.give_name(&file.part, &file.name)?;
        }
        for name in &self.obsolete {
            moved |= place.has(name)?;
            place.remove(name)?;
        }
        if moved {
            place.flush_names()?;
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
        let staged: BTreeSet<&str> = self.parts.iter().map(|part| part.part.as_str()).collect();
        for name in place.parts()? {
            if !staged.contains(name.as_str()) {
                place.remove_part(&name)?;
            }
        }
        Ok(())
    }
}
