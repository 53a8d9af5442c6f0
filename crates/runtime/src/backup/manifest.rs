//! What a backup says of itself.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Component, Path, PathBuf};

use flywheel_base::{Error, Result, Timestamp, digest};
use serde::{Deserialize, Serialize};

use super::copy;
use super::{LAKE, PROJECT};

/// The file whose presence says that a backup is whole.
pub(super) const MANIFEST_FILE: &str = "backup.json";

/// The form of manifests this program writes; it reads no newer one.
const FORMAT: u32 = 1;

/// A whole backup: every file of it, and what is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this file.
    pub format: u32,
    /// When the metadata was copied and the lake was frozen, by the machine's clock.
    pub at: Timestamp,
    /// The version of the program that made it.
    pub program: String,
    /// The project's name.
    pub project: String,
    /// Where the project keeps its lake, as its file says.
    pub lake: String,
    /// Whether nothing was committed between the copy of the metadata and the freezing of the lake. Otherwise the lake
    /// is some commits ahead, as it is after a crash.
    pub exact: bool,
    /// The tables, by location.
    pub tables: Vec<Table>,
    /// The files, by path.
    pub files: Vec<Entry>,
    /// What of the project's folder is not in the backup.
    pub left_out: Vec<LeftOut>,
    /// Files that were damaged already when they were copied.
    pub damaged: Vec<String>,
    /// A digest of all of the above.
    pub seal: String,
}

/// A table of the lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its folder in the lake.
    pub location: String,
    /// The newest version in the backup.
    pub version: i64,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the backup, with `/` between the parts.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its BLAKE3 digest in hexadecimal digits; of a link that of what it points at.
    pub digest: String,
    /// When it was last modified.
    pub modified: Timestamp,
    /// Its permissions, as `chmod` has them.
    pub mode: u32,
    /// What it points at, if it is a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Something that is not in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its path below the project's folder.
    pub path: String,
    /// Why not.
    pub why: String,
}

impl Manifest {
    /// A manifest of this form without files.
    pub(super) fn new(project: String, lake: String, at: Timestamp, program: &str) -> Self {
        Self {
            format: FORMAT,
            at,
            program: program.to_owned(),
            project,
            lake,
            exact: false,
            tables: Vec::new(),
            files: Vec::new(),
            left_out: Vec::new(),
            damaged: Vec::new(),
            seal: String::new(),
        }
    }

    /// The size of all files in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn digest(&self) -> Result<String> {
        let open = Self { seal: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&open)
            .map_err(|error| Error::internal("a manifest is no JSON").caused_by(error))?;
        Ok(digest::hex(&[&text]))
    }

    /// Writes the manifest into `folder`, durably, once everything else there is durable.
    pub(super) fn write(&mut self, folder: &Path) -> Result<()> {
        self.seal = self.digest()?;
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::internal("a manifest is no JSON").caused_by(error))?;
        copy::write(&folder.join(MANIFEST_FILE), &text)
    }

    /// Reads the manifest of the backup in `folder`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if the folder is no backup, [`flywheel_base::ErrorKind::Corrupt`] if the
    /// manifest is not as it was written, [`flywheel_base::ErrorKind::Invalid`] if a newer program wrote it.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory) => {
                return Err(Error::not_found(format!("{} is no backup", folder.display())).hint(
                    "Name a folder that `flywheel backup` wrote into, or one of the backups in it.",
                ));
            }
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let damaged = || {
            Error::corrupt(format!("{} is not as it was written", path.display()))
                .hint("Use another backup; `flywheel backup FOLDER --list` shows them.")
        };
        let json: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| damaged().caused_by(error))?;
        let format = json.get("format").and_then(serde_json::Value::as_u64);
        if format.is_some_and(|format| format > u64::from(FORMAT)) {
            return Err(Error::invalid(format!(
                "{} was written by a newer Flywheel",
                path.display()
            ))
            .hint("Use that newer version."));
        }
        let manifest: Self =
            serde_json::from_value(json).map_err(|error| damaged().caused_by(error))?;
        if manifest.digest()? != manifest.seal {
            return Err(damaged());
        }
        manifest.check_paths()?;
        Ok(manifest)
    }

    /// A backup somebody else made must not write outside of the folder it is restored into.
    fn check_paths(&self) -> Result<()> {
        let links: Vec<&Path> = self
            .files
            .iter()
            .filter(|file| file.link.is_some())
            .map(|file| Path::new(&file.path))
            .collect();
        for file in &self.files {
            let path = Path::new(&file.path);
            let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
            let known = path.starts_with(PROJECT) || path.starts_with(LAKE);
            let through = path.ancestors().skip(1).any(|above| links.contains(&above));
            if !plain || !known || through {
                return Err(Error::invalid(format!(
                    "the backup holds the file \"{}\", which does not belong into a project",
                    file.path
                ))
                .hint("It was not made by `flywheel backup`; use another one."));
            }
        }
        Ok(())
    }

    /// Where an entry goes when the project is restored into `dir` and its lake into `lake`.
    pub(super) fn target(entry: &Entry, dir: &Path, lake: &Path) -> PathBuf {
        let path = Path::new(&entry.path);
        match path.strip_prefix(LAKE) {
            Ok(below) => lake.join(below),
            Err(_) => dir.join(path.strip_prefix(PROJECT).unwrap_or(path)),
        }
    }
}
