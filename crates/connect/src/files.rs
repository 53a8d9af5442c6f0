//! What all sources of files share: which files there are, which of them are new, and the read that
//! goes through them in name order.
//!
//! ```text
//! listing → standing (new, unchanged, grown, changed) → reader of the format → pages
//! ```
//! Types are inferred once, from the first 10,000 rows spread over the files, and kept in the position:
//! the columns of a table do not change because a later file looks different. A later value that does
//! not fit is set aside with the advice to declare the column as text. A read in full that starts
//! anew infers again.
//!
//! The position keeps size, time and digest of every file read, so that a file is never read twice
//! unless it changed, and a grown one from its old end.

mod discover;
mod drive;
mod input;
mod listing;
mod memory;
mod mend;
mod names;
mod root;
mod sample;
mod state;
mod tail;
mod typed;
mod window;

pub use mend::mended;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use flywheel_base::{Result, task};
use futures::StreamExt;
use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use drive::{FileReader, FilesRead, Fill};
pub(crate) use input::{Input, encoding, hash_all, read_all};
pub(crate) use listing::VisibleFile;
pub(crate) use memory::{InMemory, decode};
pub(crate) use names::column_names;
pub(crate) use root::{Root, Way};
pub(crate) use sample::Sample;
pub(crate) use state::{FileState, Resume};
pub(crate) use tail::check as check_tail;
#[cfg(any(feature = "odbc", feature = "adbc"))]
pub(crate) use typed::whole_row_text;
pub(crate) use typed::{TypedReader, column_type, fit, plain_type, row_text, without};
pub(crate) use window::Window;

use crate::objects::FilePlace;
use crate::page::Page;
use crate::source::{ReadRequest, Source, SourceContext, StreamInfo, settings};

/// What happens to a column that a file has and the table does not know yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NewColumns {
    /// The table gains it; earlier rows have no value in it.
    #[default]
    Add,
    /// It is left out, with a notice. With declared columns, only those are read.
    Ignore,
    /// The read stops at that file.
    Fail,
}

/// What the driver needs of a stream's settings.
#[derive(Clone, Debug)]
pub(crate) struct FileSettings {
    /// The glob of the files.
    pub(crate) path: String,
    /// The pattern of dates in file names.
    pub(crate) dated: Option<String>,
    /// What happens to unknown columns.
    pub(crate) new_columns: NewColumns,
    /// Whether rows carry their file and line.
    pub(crate) lineage: bool,
    /// Whether the files are logs that grow and are rotated.
    pub(crate) tail: bool,
}

/// A file format: how a file of it is sampled and read.
pub(crate) trait Format: Sized + Send + Sync + 'static {
    /// The stream settings.
    type Stream: DeserializeOwned + JsonSchema;

    /// The source's name.
    const NAME: &'static str;

    /// The extensions of its files, without compression.
    const EXTENSIONS: &'static [&'static str];

    /// Whether rows are lines, so that a file may grow at its end.
    const GROWS: bool;

    /// The setting, and its value, that reads each part of a file by itself, as the sheets of a workbook are read; none
    /// if a file is one table.
    fn parts(file: &VisibleFile) -> Result<Vec<(&'static str, String)>> {
        let _ = file;
        Ok(Vec::new())
    }

    /// Makes the format from the settings of one stream.
    fn new(stream: Self::Stream, request: &ReadRequest) -> Result<Self>;

    /// What the driver needs of the settings.
    fn settings(&self) -> FileSettings;

    /// Adds the first `rows` rows of a file to a sample.
    fn sample(&self, file: &VisibleFile, rows: usize, sample: &mut Sample) -> Result<()>;

    /// Opens a file, at its start or where an earlier read ended.
    fn open(&self, file: &VisibleFile, resume: Option<Resume>) -> Result<Box<dyn FileReader>>;

    /// What stood under each name in a row of the file whose text was kept; none where it was kept otherwise.
    fn apart(&self, file: &VisibleFile, raw: &str) -> Result<Option<Vec<(String, String)>>> {
        let _ = (file, raw);
        Ok(None)
    }
}

/// A folder of files of one format.
pub(crate) struct Files<F> {
    ctx: SourceContext,
    root: Root,
    format: PhantomData<fn() -> F>,
}

impl<F: Format> Files<F> {
    /// Makes the source of a folder or a store.
    pub(crate) fn new(ctx: &SourceContext, place: FilePlace) -> Result<Self> {
        let root = Root::new(place, &ctx.base_dir)?;
        Ok(Self { ctx: ctx.clone(), root, format: PhantomData })
    }

    fn start(&self, request: &ReadRequest) -> Result<FilesRead<F>> {
        let stream: F::Stream = settings("stream", request.stream.clone())?;
        let format = Arc::new(F::new(stream, request)?);
        FilesRead::new(format, self.root.clone(), request.clone())
    }
}

#[async_trait]
impl<F: Format> Source for Files<F> {
    async fn check(&self) -> Result<()> {
        let root = self.root.clone();
        task::compute(move || root.check()).await
    }

    fn position_tells_content(&self) -> bool {
        true
    }

    async fn is_as_read(&self, request: &ReadRequest) -> Result<bool> {
        let read = self.start(request)?;
        task::compute(move || read.is_as_read()).await
    }

    async fn apart(
        &self,
        request: &ReadRequest,
        file: &str,
        raw: &str,
    ) -> Result<Option<Vec<(String, String)>>> {
        let stream: F::Stream = settings("stream", request.stream.clone())?;
        let format = F::new(stream, request)?;
        let (root, now) = (self.root.clone(), request.now);
        let (file, raw) = (file.to_owned(), raw.to_owned());
        task::compute(move || {
            let FileSettings { path, dated, .. } = format.settings();
            let found = listing::list(&root, &path, dated.as_deref(), now)?.files;
            match found.iter().find(|one| one.name == file) {
                Some(found) => format.apart(found, &raw),
                None => Ok(None),
            }
        })
        .await
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let (ctx, root) = (self.ctx.clone(), self.root.clone());
        task::compute(move || discover::discover::<F>(&ctx, &root)).await
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        pages(self.start(request))
    }
}

/// Something that is read page by page on a blocking thread.
pub(crate) trait PageRead: Send + 'static {
    /// The next page, or nothing at the end.
    fn next_page(&mut self) -> Result<Option<Page>>;
}

/// The pages of a read, each made away from the async threads; an error is the last item.
pub(crate) fn pages<'a, R: PageRead>(start: Result<R>) -> BoxStream<'a, Result<Page>> {
    let read = match start {
        Ok(read) => read,
        Err(error) => return futures::stream::once(async move { Err(error) }).boxed(),
    };
    futures::stream::try_unfold(read, |mut read| {
        task::compute(move || Ok(read.next_page()?.map(|page| (page, read))))
    })
    .boxed()
}
