//! Writing objects: whole or in parts, under another name, and only over what was read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use flywheel_base::{Error, ErrorKind, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};

use super::{Object, Objects, wait};

/// The largest object that is sent as a whole, and the least size of the parts of others.
const PART_BYTES: u64 = if cfg!(test) { 5 << 20 } else { 16 << 20 };

/// The most parts of an object; Amazon takes 10,000.
const PARTS_MAX: u64 = 9_000;

/// The largest object that stores copy by themselves.
const COPY_BYTES_MAX: u64 = 5 << 30;

/// The largest object that is read into memory.
const SMALL_BYTES_MAX: u64 = 64 << 20;

/// What a conditional write has to find: an object as it was read, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version(Option<UpdateVersion>);

impl Objects {
    /// Whether objects can be written.
    pub(crate) fn writable(&self) -> bool {
        !self.web
    }

    /// Proves that objects can be written and removed below the folder.
    pub(crate) fn check_write(&self, path: &str) -> Result<()> {
        let key = self.key(path)?;
        let put = wait(self.store.put(&key, PutPayload::new()))?;
        put.map_err(|error| self.failing.explain("write the object", &self.url(&key), &error))?;
        self.remove(path)
    }

    /// A small object with what it takes to replace it; none if there is no such object.
    pub(crate) fn read_small(&self, path: &str) -> Result<Option<(Bytes, Version)>> {
        let key = self.key(path)?;
        let explain = |error| self.failing.explain("read the object", &self.url(&key), &error);
        let answer = match wait(self.store.get(&key))? {
            Ok(answer) => answer,
            Err(object_store::Error::NotFound { .. }) => {
                let error = self.no_bucket(&key)?;
                return error.map_or(Ok(None), Err);
            }
            Err(error) => return Err(explain(error)),
        };
        let ObjectMeta { e_tag, version, size, .. } = answer.meta.clone();
        if size > SMALL_BYTES_MAX {
            return Err(Error::corrupt(format!("{} is too large to be ours", self.url(&key))));
        }
        let bytes = wait(answer.bytes())?.map_err(explain)?;
        Ok(Some((bytes, Version(Some(UpdateVersion { e_tag, version })))))
    }

    /// The error of a bucket that does not exist, which some answers do not tell from a lack of the
    /// object.
    fn no_bucket(&self, key: &Path) -> Result<Option<Error>> {
        let first = wait(async { self.store.list(Some(key)).try_next().await })?;
        let error = first.err().map(|error| self.failing.explain("list", &self.root(), &error));
        Ok(error.filter(|error| error.kind() == ErrorKind::NotFound))
    }

    /// Writes a small object over what was read, or in the place of none.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if somebody else wrote it meanwhile; nothing was written then.
    pub(crate) fn replace_small(
        &self,
        path: &str,
        bytes: &[u8],
        over: &Version,
    ) -> Result<Version> {
        let key = self.key(path)?;
        let mode = match &over.0 {
            Some(version) => PutMode::Update(version.clone()),
            None => PutMode::Create,
        };
        let payload = PutPayload::from(bytes.to_vec());
        let options = PutOptions { mode, ..PutOptions::default() };
        match wait(self.store.put_opts(&key, payload, options))? {
            Ok(put) => Ok(Version(Some(put.into()))),
            Err(
                error @ (object_store::Error::Precondition { .. }
                | object_store::Error::AlreadyExists { .. }
                | object_store::Error::NotFound { .. }
                | object_store::Error::Generic { .. }),
            ) => {
                // The answer to a write of ours may have been lost before it was sent again.
                match self.read_small(path) {
                    Ok(Some((found, version))) if found == bytes => Ok(version),
                    _ => Err(self.failing.explain("write the object", &self.url(&key), &error)),
                }
            }
            Err(error) => Err(self.failing.explain("write the object", &self.url(&key), &error)),
        }
    }

    /// Writes a file of the disk as an object.
    pub(crate) fn upload(&self, file: &FilePath, path: &str) -> Result<()> {
        let fail = |error| Error::io("read the file", file, error);
        let mut source = File::open(file).map_err(fail)?;
        let size = source.metadata().map_err(fail)?.len();
        self.put(&self.key(path)?, size, |range| {
            let length = range.end - range.start;
            source.seek(SeekFrom::Start(range.start)).map_err(fail)?;
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            Read::by_ref(&mut source).take(length).read_to_end(&mut bytes).map_err(fail)?;
            if bytes.len() as u64 == length {
                return Ok(bytes.into());
            }
            let what = format!("the file {} became shorter", file.display());
            Err(Error::new(ErrorKind::Conflict, what))
        })
    }

    /// Writes an object from its parts.
    fn put(
        &self,
        key: &Path,
        size: u64,
        mut part: impl FnMut(Range<u64>) -> Result<Bytes>,
    ) -> Result<()> {
        let explain = |error| self.failing.explain("write the object", &self.url(key), &error);
        if size <= PART_BYTES {
            let payload = PutPayload::from(part(0..size)?);
            return wait(self.store.put(key, payload))?.map(drop).map_err(explain);
        }
        let step = PART_BYTES.max(size.div_ceil(PARTS_MAX));
        let mut upload = wait(self.store.put_multipart(key))?.map_err(explain)?;
        let mut send = || {
            let mut at = 0;
            while at < size {
                let end = (at + step).min(size);
                let payload = PutPayload::from(part(at..end)?);
                wait(upload.put_part(payload))?.map_err(explain)?;
                at = end;
            }
            wait(upload.complete())?.map(drop).map_err(explain)
        };
        let outcome = send();
        if outcome.is_err()
            && let Err(error) = wait(upload.abort())?
        {
            tracing::warn!(object = %self.url(key), error = %error, "the parts of an upload stay");
        }
        outcome
    }

    /// Whether there is such an object.
    pub(crate) fn has(&self, path: &str) -> Result<bool> {
        Ok(self.look(path)?.is_some())
    }

    fn look(&self, path: &str) -> Result<Option<ObjectMeta>> {
        let key = self.key(path)?;
        match wait(self.store.head(&key))? {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.refused("look for the object", &key, &error)?),
        }
    }

    /// Gives an object another name; false if there is none. A crash between the two steps leaves
    /// both, and doing it again completes it.
    pub(crate) fn rename(self: &Arc<Self>, from: &str, to: &str) -> Result<bool> {
        let Some(meta) = self.look(from)? else { return Ok(false) };
        let target = self.key(to)?;
        if meta.size <= COPY_BYTES_MAX {
            let copied = wait(self.store.copy(&meta.location, &target))?;
            copied.map_err(|error| {
                self.failing.explain("write the object", &self.url(&target), &error)
            })?;
        } else {
            let object = Object::new(Arc::clone(self), meta);
            self.put(&target, object.size, |range| object.fetch(range))?;
        }
        self.remove(from)?;
        Ok(true)
    }

    /// Removes an object that may be gone already.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        let key = self.key(path)?;
        match wait(self.store.delete(&key))? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failing.explain("remove the object", &self.url(&key), &error)),
        }
    }

    /// The names of the objects directly in a folder.
    pub(crate) fn names(&self, folder: &str) -> Result<Vec<String>> {
        let key = self.key(folder)?;
        let found = wait(self.store.list_with_delimiter(Some(&key)))?;
        let found = found.map_err(|error| self.failing.explain("list", &self.url(&key), &error))?;
        let name = |meta: &ObjectMeta| meta.location.filename().map(str::to_owned);
        Ok(found.objects.iter().filter_map(name).collect())
    }

    /// An object, ready to be read.
    pub(crate) fn one(self: &Arc<Self>, path: &str) -> Result<Object> {
        let key = self.key(path)?;
        match wait(self.store.head(&key))? {
            Ok(meta) => Ok(Object::new(Arc::clone(self), meta)),
            Err(error) => Err(self.refused("read the object", &key, &error)?),
        }
    }
}
