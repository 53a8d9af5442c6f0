//! The last look: files of the project in which the bytes of a key still stand.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Every file below `root` that holds `needle`, relative to it, in order; what `skipped` says is not looked into. Links are
/// not followed, and a file that goes away meanwhile is none.
///
/// # Errors
/// The file system's own.
pub(super) fn files_with(
    root: &Path,
    needle: &[u8],
    skipped: &dyn Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        let failed = |error| Error::io("list", &folder, error);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
            if skipped(&relative) {
                continue;
            }
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() && holds(&path, needle)? {
                found.push(relative);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the bytes stand in a file.
fn holds(path: &Path, needle: &[u8]) -> Result<bool> {
    let failed = |error| Error::io("read", path, error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let (Some(first), mut window) = (needle.first(), Vec::with_capacity(2 * BUFFER_BYTES)) else {
        return Ok(false);
    };
    loop {
        let read =
            file.by_ref().take(BUFFER_BYTES as u64).read_to_end(&mut window).map_err(failed)?;
        if stands_in(&window, needle, *first) {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // What begins at the end may go on in the next piece.
        let keep = window.len().min(needle.len() - 1);
        window.drain(..window.len() - keep);
    }
}

/// Whether the bytes stand in others.
pub(super) fn stand_in(bytes: &[u8], needle: &[u8]) -> bool {
    needle.first().is_some_and(|first| stands_in(bytes, needle, *first))
}

fn stands_in(bytes: &[u8], needle: &[u8], first: u8) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        let here = rest.get(at..).unwrap_or_default();
        if here.starts_with(needle) {
            return true;
        }
        rest = here.get(1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_across_the_border_of_two_pieces_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut long = vec![b'c'; BUFFER_BYTES - 3];
        long.extend_from_slice(b"canary");
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/long"), &long).unwrap();
        fs::write(dir.path().join("near"), "canar canar y").unwrap();
        fs::write(dir.path().join("skipped"), "canary").unwrap();
        fs::write(dir.path().join("short"), "canary").unwrap();
        let skipped = |path: &Path| path == Path::new("skipped");
        let found = files_with(dir.path(), b"canary", &skipped).unwrap();
        assert_eq!(found, [PathBuf::from("a/long"), PathBuf::from("short")]);
        assert!(files_with(dir.path(), b"", &skipped).unwrap().is_empty());
    }
}
