//! Who has got a message that others are still to get, in files of the project.
//!
//! A server may take a message for some receivers and put others off. The next attempt may be one of another process, so
//! who has got it is on disk before this attempt ends: an address a line, in one file for each message.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use flywheel_base::{Error, Result, digest};

use crate::output::replace_file;

/// Where the files are, in the project's folder.
const FOLDER: &str = ".flywheel/mail";

/// How long is known who has got a message that nobody tries to send any more.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What is known of one message.
pub(super) struct PartWay {
    file: PathBuf,
    got: Vec<String>,
}

impl PartWay {
    /// Looks up the message `key` that goes by the server at `place`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn of(project: &Path, place: &str, key: &str) -> Result<Self> {
        let name = digest::short(&[place.as_bytes(), key.as_bytes()]);
        let file = project.join(FOLDER).join(name);
        let got = match fs::read_to_string(&file) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read", &file, error)),
        };
        Ok(Self { file, got })
    }

    /// Whether a mailbox has got it.
    pub(super) fn has(&self, mailbox: &str) -> bool {
        self.got.iter().any(|got| got == mailbox)
    }

    /// Keeps durably that these have got it, too.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn keep(&mut self, mailboxes: Vec<String>) -> Result<()> {
        self.got.extend(mailboxes);
        self.tidy();
        replace_file(&self.file, self.got.join("\n").as_bytes())
    }

    /// Forgets it, once everybody has got it. A file that stays is removed later.
    pub(super) fn forget(&self) {
        if !self.got.is_empty() {
            drop(fs::remove_file(&self.file));
        }
    }

    /// Removes what is known of messages that were given up.
    fn tidy(&self) {
        let old = |about: fs::Metadata| {
            let age = about.modified().ok().and_then(|at| at.elapsed().ok());
            age.is_some_and(|age| age > KEPT)
        };
        let folder = self.file.parent().and_then(|folder| fs::read_dir(folder).ok());
        for entry in folder.into_iter().flatten().flatten() {
            if entry.metadata().is_ok_and(old) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}
