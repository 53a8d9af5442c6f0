//! Reading one object: in ranges, each of which has to be of the same object.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use flywheel_base::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tempfile::TempPath;

use super::{Objects, wait};

/// Bytes that are asked for first; often the first rows are all that is looked at.
const RANGE_BYTES_FIRST: u64 = 256 << 10;

/// Bytes that are asked for at once at most.
const RANGE_BYTES_MAX: u64 = 8 << 20;

/// How often a range that broke off is asked for again, beyond what the client tries itself.
const CUTS_MAX: usize = 2;

/// The largest object that is copied to the disk to be read.
const COPY_BYTES_MAX: u64 = 64 << 30;

/// One object as it was when it was listed.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    store: Arc<Objects>,
    key: Path,
    etag: Option<String>,
    modified: DateTime<Utc>,
    /// Its bytes.
    pub(crate) size: u64,
}

impl Object {
    pub(super) fn new(store: Arc<Objects>, meta: ObjectMeta) -> Self {
        let ObjectMeta { location, last_modified, size, e_tag, .. } = meta;
        Self { store, key: location, etag: e_tag, modified: last_modified, size }
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.store.url(&self.key)
    }

    /// What tells this content from any other.
    pub(crate) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// When it was written, in microseconds.
    pub(crate) fn mtime(&self) -> i64 {
        self.modified.timestamp_micros()
    }

    /// The store it is in.
    pub(crate) fn store(&self) -> &Arc<Objects> {
        &self.store
    }

    /// Some of its bytes.
    pub(crate) fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        wait(self.fetch_range(range))?
    }

    async fn fetch_range(&self, range: Range<u64>) -> Result<Bytes> {
        let fail = |error| {
            let error: object_store::Error = error;
            if matches!(error, object_store::Error::Precondition { .. }) {
                return self.changed();
            }
            self.store.failing.explain("read the object", &self.url(), &error)
        };
        let whole = range == (0..self.size);
        let mut cuts = 0;
        loop {
            let options = GetOptions {
                // A weak tag never matches; it is compared with the answer's below.
                if_match: self.etag.clone().filter(|tag| !tag.starts_with("W/")),
                range: (!whole).then(|| GetRange::Bounded(range.clone())),
                ..GetOptions::default()
            };
            let answer = self.store.store.get_opts(&self.key, options).await.map_err(fail)?;
            let meta = &answer.meta;
            let same = match (&self.etag, &meta.e_tag) {
                (Some(before), Some(now)) => before == now,
                _ => self.etag.is_some() || meta.last_modified == self.modified,
            };
            if !same || meta.size != self.size {
                return Err(self.changed());
            }
            match answer.bytes().await {
                Ok(bytes) if bytes.len() as u64 == range.end - range.start => return Ok(bytes),
                Ok(_) => {
                    return Err(Error::corrupt(format!(
                        "the store sent other bytes of {} than it was asked for",
                        self.url()
                    ))
                    .hint("A proxy between here and the store may break range requests."));
                }
                Err(error) if cuts < CUTS_MAX => {
                    cuts += 1;
                    tracing::debug!(object = %self.url(), cuts, error = %error, "a read broke off");
                }
                Err(error) => return Err(fail(error)),
            }
        }
    }

    fn changed(&self) -> Error {
        Error::new(ErrorKind::Conflict, format!("{} was changed while it was read", self.url()))
            .hint("Run it again; write objects once, under names of their own.")
    }

    /// A copy on the disk, which is removed with the last that uses it.
    pub(crate) fn copy(&self) -> Result<TempPath> {
        if self.size > COPY_BYTES_MAX {
            return Err(Error::exhausted(format!("{} is too large to be read", self.url()))
                .hint("Files of this format are copied to the disk first: write smaller ones."));
        }
        let folder = std::env::temp_dir();
        let fail = |error| Error::io("copy an object into the folder", &folder, error);
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(fail)?;
        let mut at = 0;
        while at < self.size {
            let end = (at + RANGE_BYTES_MAX).min(self.size);
            file.write_all(&self.fetch(at..end)?).map_err(fail)?;
            at = end;
        }
        file.flush().map_err(fail)?;
        Ok(file.into_temp_path())
    }
}

/// The bytes of an object from some place on.
#[derive(Debug)]
pub(crate) struct ObjectReader {
    object: Object,
    at: u64,
    ready: Bytes,
    want: u64,
}

impl ObjectReader {
    /// Begins at byte `from`.
    pub(crate) fn new(object: &Object, from: u64) -> Self {
        // Not every web server knows ranges; what fits is asked for as a whole.
        let want = if object.store.web { RANGE_BYTES_MAX } else { RANGE_BYTES_FIRST };
        Self { object: object.clone(), at: from, ready: Bytes::new(), want }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() && self.at < self.object.size {
            let end = (self.at + self.want).min(self.object.size);
            // The error keeps its kind and its hint on the way through decoders.
            self.ready = self.object.fetch(self.at..end).map_err(io::Error::other)?;
            self.at = end;
            self.want = (self.want * 2).min(RANGE_BYTES_MAX);
        }
        let count = self.ready.len().min(buffer.len());
        let part = self.ready.split_to(count);
        buffer[..count].copy_from_slice(&part);
        Ok(count)
    }
}

impl Length for Object {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Object {
    type T = ObjectReader;

    fn get_read(&self, start: u64) -> parquet::errors::Result<ObjectReader> {
        Ok(ObjectReader::new(self, start))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = (start + length as u64).min(self.size);
        self.fetch(start..end).map_err(|error| ParquetError::External(Box::new(error)))
    }
}
