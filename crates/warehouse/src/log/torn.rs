//! Sets aside the newest commit of a table if a power cut tore it.
//!
//! Commits of this crate are fsynced before they get their name, so only another program's commits
//! tear. A torn newest commit makes a table unreadable; the version before it is whole.

use std::fs;
use std::path::Path as FilePath;

use flywheel_base::{Error, Result, Timestamp};
use serde_json::Value;

use super::LOG_FOLDER;
use crate::store::{Disk, move_file};
use crate::{Location, Notice};

/// Where torn commits are kept, below the log's folder.
const TORN_FOLDER: &str = "_torn";
/// A log whose newest commits are all torn is not repaired beyond this many.
const TORN_MAX: usize = 8;

/// Looks at the newest commit below `root` at `location` and sets it aside if it is torn, until the
/// newest one is whole.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if the only commit is torn or more than [`TORN_MAX`] are,
/// and the file system's own errors.
pub(crate) fn set_aside(
    disk: &dyn Disk,
    root: &FilePath,
    location: &Location,
    now: Timestamp,
) -> Result<Vec<Notice>> {
    let folder = root.join(location.as_str()).join(LOG_FOLDER);
    let mut notices = Vec::new();
    while let Some(head) = newest(&folder)? {
        let path = folder.join(format!("{head:020}.json"));
        let bytes = fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        let Some(fault) = fault(&bytes) else { break };
        if notices.len() >= TORN_MAX {
            return Err(Error::corrupt(format!(
                "the newest {TORN_MAX} commits of table \"{location}\" are damaged"
            ))
            .caused_by(fault)
            .hint("Restore the table's folder from a backup."));
        }
        let name = format!("{head:020}.json.{}", now.micros());
        let aside = folder.join(TORN_FOLDER).join(&name);
        move_file(disk, &path, &aside).map_err(|error| Error::io("set aside", &path, error))?;
        let moved = format!("{location}/{LOG_FOLDER}/{TORN_FOLDER}/{name}");
        tracing::error!(table = %location, version = head, moved_to = %moved, error = %fault,
            "torn commit set aside");
        notices.push(notice(location, head, bytes.len(), moved));
    }
    Ok(notices)
}

fn notice(location: &Location, version: i64, bytes: usize, moved: String) -> Notice {
    let next = match version {
        0 => "The table did not exist before it.".to_owned(),
        _ => format!("The table continues from version {}.", version - 1),
    };
    Notice {
        table: location.clone(),
        what: format!(
            "commit {version} of table \"{location}\" was torn ({bytes} bytes, not a Delta commit)"
        ),
        moved_to: Some(moved),
        meaning: format!(
            "A power cut or a crash hit the program that wrote it. {next} Rows of that commit are not \
             in the table; a sync writes them again from its last committed position."
        ),
    }
}

/// Why these bytes are no commit: empty, or a line that is no JSON object. An action we do not know
/// is no fault.
fn fault(bytes: &[u8]) -> Option<Error> {
    let mut lines = 0;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(line) {
            return Some(Error::corrupt("a line is not a JSON object").caused_by(error));
        }
        lines += 1;
    }
    (lines == 0).then(|| Error::corrupt("the commit is empty"))
}

/// The newest commit's version.
fn newest(folder: &FilePath) -> Result<Option<i64>> {
    let failed = |error| Error::io("list", folder, error);
    let mut head = None;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let version = name.to_str().and_then(|name| name.strip_suffix(".json"));
        let version = version.and_then(|digits| digits.parse::<i64>().ok());
        head = head.max(version);
    }
    Ok(head)
}
