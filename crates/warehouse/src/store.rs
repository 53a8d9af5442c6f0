//! The `file://` store that keeps what it acknowledges.
//!
//! `object_store` 0.13 never calls fsync: after a power cut an acknowledged Delta commit can be an
//! empty file. This store writes to a temporary name, fsyncs the file, gives it its name and fsyncs
//! the folder, before it answers. New folders are fsynced into their parents.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};

/// The name in errors of this store.
const STORE: &str = "DurableStore";
/// How many temporary names are tried beside each other before giving up.
const STAGED_MAX: u32 = 10_000;

/// What makes bytes survive a power cut; a test records or refuses the calls.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Forces a file's content to the device.
    fn sync_file(&self, file: &File, path: &FilePath) -> io::Result<()>;
    /// Forces a folder's entries to the device.
    fn sync_folder(&self, path: &FilePath) -> io::Result<()>;
}

/// The machine's own disk.
#[derive(Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn sync_file(&self, file: &File, _path: &FilePath) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_folder(&self, path: &FilePath) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Creates `folder` and what is missing above it, durably.
pub(crate) fn create_folders(disk: &dyn Disk, folder: &FilePath) -> io::Result<()> {
    let missing: Vec<&FilePath> =
        folder.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    for made in missing.into_iter().rev() {
        if let Some(parent) = made.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_folder(parent)?;
        }
    }
    Ok(())
}

/// Moves a file within one file system, durably.
pub(crate) fn move_file(disk: &dyn Disk, from: &FilePath, to: &FilePath) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        create_folders(disk, parent)?;
    }
    fs::rename(from, to)?;
    sync_parent(disk, to)?;
    sync_parent(disk, from)
}

fn sync_parent(disk: &dyn Disk, path: &FilePath) -> io::Result<()> {
    match path.parent() {
        Some(parent) => disk.sync_folder(parent),
        None => Ok(()),
    }
}

/// A local file system whose acknowledged writes survive a power cut.
#[derive(Debug, Clone)]
pub(crate) struct DurableStore {
    inner: Arc<LocalFileSystem>,
    disk: Arc<dyn Disk>,
}

impl DurableStore {
    /// A store over the whole file system.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { inner: Arc::new(LocalFileSystem::new()), disk }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        path: PathBuf,
        work: impl FnOnce(&dyn Disk, &FilePath) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let disk = Arc::clone(&self.disk);
        tokio::task::spawn_blocking(move || {
            work(disk.as_ref(), &path).map_err(|error| from_io(&path, error))
        })
        .await?
    }
}

fn from_io(path: &FilePath, error: io::Error) -> Error {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path, source: Box::new(error) },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: Box::new(error) },
        _ => Error::Generic { store: STORE, source: Box::new(error) },
    }
}

/// Opens a temporary file beside `path`, under a name that listings leave out.
fn staged(disk: &dyn Disk, path: &FilePath) -> io::Result<(File, PathBuf)> {
    if let Some(parent) = path.parent() {
        create_folders(disk, parent)?;
    }
    for attempt in 1..=STAGED_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{attempt}"));
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(file) => return Ok((file, name.into())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn write_durably(
    disk: &dyn Disk,
    path: &FilePath,
    payload: &PutPayload,
    create: bool,
) -> io::Result<()> {
    if create && path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let (file, temporary) = staged(disk, path)?;
    let published = fill(disk, file, &temporary, payload)
        .and_then(|()| if create { link(&temporary, path) } else { fs::rename(&temporary, path) });
    match published {
        Ok(()) => sync_parent(disk, path),
        Err(error) => {
            // The first error tells what went wrong; a temporary file that stays is invisible.
            fs::remove_file(&temporary).ok();
            Err(error)
        }
    }
}

fn fill(disk: &dyn Disk, mut file: File, at: &FilePath, payload: &PutPayload) -> io::Result<()> {
    for part in payload {
        file.write_all(part)?;
    }
    disk.sync_file(&file, at)
}

/// Gives `temporary` its name only if nobody has it: the decision between two writers.
fn link(temporary: &FilePath, path: &FilePath) -> io::Result<()> {
    fs::hard_link(temporary, path)?;
    // The name is taken; a temporary file that stays is invisible.
    fs::remove_file(temporary).ok();
    Ok(())
}

impl fmt::Display for DurableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

#[async_trait]
impl ObjectStore for DurableStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) || !options.attributes.is_empty() {
            return Err(Error::NotImplemented {
                operation: "conditional update and attributes".to_owned(),
                implementer: STORE.to_owned(),
            });
        }
        let create = matches!(options.mode, PutMode::Create);
        let path = self.inner.path_to_filesystem(location)?;
        self.blocking(path, move |disk, path| write_durably(disk, path, &payload, create)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let path = self.inner.path_to_filesystem(location)?;
        if let Some(parent) = path.parent() {
            self.blocking(parent.to_owned(), create_folders).await?;
        }
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(DurableUpload { upload, store: self.clone(), path }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await?;
        self.blocking(self.inner.path_to_filesystem(to)?, sync_both).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        let from = self.inner.path_to_filesystem(from)?;
        self.blocking(self.inner.path_to_filesystem(to)?, sync_both).await?;
        self.blocking(from, sync_parent).await
    }
}

/// Forces a file that exists and its folder to the device.
fn sync_both(disk: &dyn Disk, path: &FilePath) -> io::Result<()> {
    disk.sync_file(&File::open(path)?, path)?;
    sync_parent(disk, path)
}

#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    store: DurableStore,
    path: PathBuf,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        self.store.blocking(self.path.clone(), sync_both).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests;
