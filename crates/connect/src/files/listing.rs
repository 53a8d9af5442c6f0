//! Which files a stream is made of.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use chrono::NaiveDate;
use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use tempfile::TempPath;

use super::input::compressed;
use super::root::Root;
use crate::objects::{Object, ObjectReader};

/// A file that can be read now.
#[derive(Clone, Debug)]
pub(crate) struct VisibleFile {
    /// Where it is; the address of an object, unless this is its copy on the disk.
    pub(crate) path: PathBuf,
    /// Its path relative to the project, with `/`, or its address: its name in positions and
    /// messages.
    pub(crate) name: String,
    /// Under which it is remembered: its name, or the log that it is a part of.
    pub(crate) key: String,
    /// Its size now; later growth belongs to the next read.
    pub(crate) size: u64,
    /// When it was last written, in microseconds.
    pub(crate) mtime: i64,
    /// What tells its content from any other, if the store says so.
    pub(crate) etag: Option<String>,
    /// Its node on the disk, if it is followed as a log.
    pub(crate) node: Option<String>,
    /// The log that is open, so that it is read even when it is renamed or removed.
    held: Option<Arc<File>>,
    /// The object, if it is one and has to be read from its store.
    object: Option<Object>,
    /// What removes the copy when it is not needed any more.
    copy: Option<Arc<TempPath>>,
}

impl PartialEq for VisibleFile {
    fn eq(&self, other: &Self) -> bool {
        let of = |file: &Self| (file.name.clone(), file.size, file.mtime, file.etag.clone());
        of(self) == of(other)
    }
}

impl VisibleFile {
    /// Looks at one file.
    pub(crate) fn at(base_dir: &Path, path: PathBuf) -> Result<Self> {
        let metadata =
            std::fs::metadata(&path).map_err(|error| Error::io("read the file", &path, error))?;
        let mtime = modified(&metadata);
        let name =
            path.strip_prefix(base_dir).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        Ok(Self {
            key: name.clone(),
            path,
            name,
            size: metadata.len(),
            mtime,
            etag: None,
            node: None,
            held: None,
            object: None,
            copy: None,
        })
    }

    /// An object as a file.
    pub(crate) fn of(object: Object) -> Self {
        let name = object.url();
        Self {
            path: PathBuf::from(&name),
            key: name.clone(),
            name,
            size: object.size,
            mtime: object.mtime(),
            etag: object.etag().map(str::to_owned),
            node: None,
            held: None,
            object: Some(object),
            copy: None,
        }
    }

    /// The object, if it has to be read from its store.
    pub(crate) fn object(&self) -> Option<&Object> {
        self.object.as_ref()
    }

    /// Its bytes from byte `from` on.
    pub(crate) fn bytes(&self, from: u64) -> Result<Box<dyn Read + Send>> {
        if let Some(object) = &self.object {
            return Ok(Box::new(ObjectReader::new(object, from)));
        }
        if let Some(file) = &self.held {
            return Ok(Box::new(Placed { file: Arc::clone(file), at: from }));
        }
        let mut file = File::open(&self.path).map_err(|error| self.fail(error))?;
        self.check_node(&file)?;
        if from > 0 {
            file.seek(SeekFrom::Start(from)).map_err(|error| self.fail(error))?;
        }
        Ok(Box::new(file))
    }

    /// The same as a log: known by its node, with the size that it has now; none if it is gone.
    pub(super) fn followed(mut self) -> Result<Option<Self>> {
        if self.object.is_some() {
            return Ok(Some(self));
        }
        match std::fs::metadata(&self.path) {
            Ok(metadata) => {
                self.size = metadata.len();
                self.mtime = modified(&metadata);
                self.node = Some(format!("{}:{}", metadata.dev(), metadata.ino()));
                Ok(Some(self))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Keeps a log open.
    pub(super) fn hold(&mut self) -> Result<()> {
        let file = File::open(&self.path).map_err(|error| self.fail(error))?;
        self.check_node(&file)?;
        self.held = Some(Arc::new(file));
        Ok(())
    }

    fn check_node(&self, file: &File) -> Result<()> {
        let Some(node) = &self.node else { return Ok(()) };
        let metadata = file.metadata().map_err(|error| self.fail(error))?;
        if *node == format!("{}:{}", metadata.dev(), metadata.ino()) {
            return Ok(());
        }
        let what = format!("the log {} was rotated just now", self.name);
        Err(Error::new(ErrorKind::Conflict, what)
            .hint("Run it again; it goes on where it stopped."))
    }

    /// Whether it is compressed.
    pub(super) fn packed(&self) -> Result<bool> {
        let mut head = Vec::new();
        self.bytes(0)?.take(4).read_to_end(&mut head).map_err(|error| self.fail(error))?;
        Ok(compressed(&head))
    }

    /// The same on the disk, for formats that do not read from start to end.
    pub(crate) fn on_disk(&self) -> Result<Self> {
        let Some(object) = &self.object else { return Ok(self.clone()) };
        object.store().copied(self, || {
            let copy = Arc::new(object.copy()?);
            let path = copy.to_path_buf();
            Ok(Self { path, object: None, copy: Some(copy), ..self.clone() })
        })
    }

    /// The error of a failed read.
    pub(crate) fn fail(&self, error: io::Error) -> Error {
        unwrapped(error, |error| Error::io("read the file", self.shown(), error))
    }

    /// Where it is, for people.
    pub(crate) fn shown(&self) -> &Path {
        if self.copy.is_some() { Path::new(&self.name) } else { &self.path }
    }
}

/// An open file that is read from a place of its own.
struct Placed {
    file: Arc<File>,
    at: u64,
}

impl Read for Placed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// When a file was last written, in microseconds.
fn modified(metadata: &std::fs::Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// An error of ours that came through a reader as it was, or any other as `otherwise` says.
pub(crate) fn unwrapped(error: io::Error, otherwise: impl FnOnce(io::Error) -> Error) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => otherwise(error),
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
    root: &Root,
    pattern: &str,
    dated: Option<&str>,
    now: Timestamp,
) -> Result<Listing> {
    let mut listing = Listing::default();
    for file in root.find(pattern)? {
        if let Some(dated) = dated {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let Ok(date) = NaiveDate::parse_from_str(&name, dated) else {
                listing.undated.push(name.into_owned());
                continue;
            };
            if date > now.datetime().date_naive() {
                continue;
            }
        }
        listing.files.push(file);
    }
    listing.files.sort_by(|a, b| a.name.cmp(&b.name));
    listing.undated.sort();
    Ok(listing)
}

/// The files that a glob matches; a plain name that does not exist is an error.
pub(super) fn matches(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
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
