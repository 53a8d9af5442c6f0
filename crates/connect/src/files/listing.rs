//! Which files a stream is made of.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use chrono::NaiveDate;
use flywheel_base::{Error, Result, Timestamp};

/// A file that can be read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VisibleFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its path relative to the project, with `/`: its name in positions and messages.
    pub(crate) name: String,
    /// Its size now; later growth belongs to the next read.
    pub(crate) size: u64,
    /// When it was last written, in microseconds.
    pub(crate) mtime: i64,
}

impl VisibleFile {
    /// Looks at one file.
    pub(crate) fn at(base_dir: &Path, path: PathBuf) -> Result<Self> {
        let metadata =
            std::fs::metadata(&path).map_err(|error| Error::io("read the file", &path, error))?;
        let modified = metadata.modified().ok();
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mtime = since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        let name =
            path.strip_prefix(base_dir).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        Ok(Self { path, name, size: metadata.len(), mtime })
    }
}

/// The files of a stream, in name order, and those that a date pattern hides.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// What can be read now.
    pub(crate) files: Vec<VisibleFile>,
    /// Files whose name does not have the declared date form.
    pub(crate) undated: Vec<String>,
}

/// Lists the files of `pattern` below `folder` that are visible at `now`.
pub(crate) fn list(
    base_dir: &Path,
    folder: &Path,
    pattern: &str,
    dated: Option<&str>,
    now: Timestamp,
) -> Result<Listing> {
    let mut listing = Listing::default();
    for path in matches(folder, pattern)? {
        if let Some(dated) = dated {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Ok(date) = NaiveDate::parse_from_str(&name, dated) else {
                listing.undated.push(name.into_owned());
                continue;
            };
            if date > now.datetime().date_naive() {
                continue;
            }
        }
        listing.files.push(VisibleFile::at(base_dir, path)?);
    }
    listing.files.sort_by(|a, b| a.name.cmp(&b.name));
    listing.undated.sort();
    Ok(listing)
}

/// The files that a glob matches; a plain name that does not exist is an error.
fn matches(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let plain = !pattern.contains(['*', '?', '[']);
    if plain {
        let path = folder.join(pattern);
        if path.is_dir() {
            return Err(Error::invalid(format!("the path \"{pattern}\" is a folder")).hint(
                format!("Write \"{}/*\" to read all its files.", pattern.trim_end_matches('/')),
            ));
        }
        return Ok(vec![path]);
    }
    let text = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        format!("{}/{pattern}", glob::Pattern::escape(&folder.to_string_lossy()))
    };
    let found = glob::glob(&text).map_err(|error| {
        Error::invalid(format!("the path \"{pattern}\" is not a valid pattern"))
            .caused_by(error)
            .hint("Use * for any text within a name, ** for any folders, ? for one character.")
    })?;
    let mut paths = Vec::new();
    for path in found {
        let path = path.map_err(|error| {
            let path = error.path().to_owned();
            Error::io("list", &path, error.into())
        })?;
        if !path.is_dir() {
            paths.push(path);
        }
    }
    Ok(paths)
}
