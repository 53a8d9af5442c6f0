//! The read that goes through the files of a stream in name order and makes pages of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::DataType;
use flywheel_base::{Error, ErrorKind, Result};

use super::listing::list;
use super::state::{Resume, Standing, Stored, standing};
use super::tail;
use super::{FileSettings, FileState, Format, NewColumns, PageRead, Root, Sample, VisibleFile};
use crate::column::ColumnType;
use crate::page::{Column, Page, PageBuilder, TableSchema};
use crate::source::{ReadMode, ReadRequest};

/// Rows that are looked at to find the types of columns, over all files.
pub(crate) const SAMPLE_ROWS: usize = 10_000;

/// Rows that are looked at in each file at least.
const SAMPLE_ROWS_PER_FILE: usize = 200;

/// Files that are looked at at most, evenly spread.
const SAMPLE_FILES_MAX: usize = 64;

/// How often logs are looked at again because one of them was rotated meanwhile.
const ROTATIONS_MAX: usize = 3;

/// Why a reader stopped filling a page.
#[derive(Debug)]
pub(crate) enum Fill {
    /// The page has no more room.
    PageFull,
    /// The file has no more rows.
    FileEnd,
    /// The file has columns the table does not know; nothing of the next row was taken.
    NewColumns(Vec<Column>),
    /// Columns of the file hold more than the table's, which therefore get these types; nothing of the
    /// next row was taken.
    WiderColumns(Vec<Column>),
}

/// Reads the rows of one file.
pub(crate) trait FileReader: Send {
    /// Adds rows to the page until it is full; columns in `ignored` are left out.
    fn fill(
        &mut self,
        schema: &TableSchema,
        ignored: &BTreeSet<String>,
        page: &mut PageBuilder,
    ) -> Result<Fill>;

    /// How far the rows came that were added so far.
    fn state(&self, done: bool) -> Result<FileState>;
}

/// A read of the files of one stream.
pub(crate) struct FilesRead<F> {
    format: Arc<F>,
    settings: FileSettings,
    request: ReadRequest,
    root: Root,
    stored: Stored,
    started: bool,
    finished: bool,
    changed: bool,
    files: VecDeque<VisibleFile>,
    /// Where logs go on.
    resumes: BTreeMap<String, Resume>,
    schema: TableSchema,
    ignored: BTreeSet<String>,
    page: PageBuilder,
    current: Option<(VisibleFile, Box<dyn FileReader>)>,
}

impl<F: Format> FilesRead<F> {
    /// Prepares a read; does no I/O.
    pub(crate) fn new(format: Arc<F>, root: Root, request: ReadRequest) -> Result<Self> {
        let mut stored = match &request.from {
            Some(position) => Stored::from_position(position)?,
            None => Stored::default(),
        };
        if request.mode == ReadMode::Full && stored.complete {
            stored = Stored::default();
        }
        let settings = format.settings();
        let schema = TableSchema::new(Vec::new(), settings.lineage);
        let page =
            PageBuilder::new(F::NAME, &schema, request.page_rows).limited(request.page_bytes);
        Ok(Self {
            format,
            settings,
            request,
            root,
            stored,
            started: false,
            finished: false,
            changed: false,
            files: VecDeque::new(),
            resumes: BTreeMap::new(),
            schema,
            ignored: BTreeSet::new(),
            page,
            current: None,
        })
    }

    /// Whether every file of the position is there, and has the bytes that were read. Of logs nobody can say: those that
    /// were rotated away are gone.
    pub(super) fn is_as_read(&self) -> Result<bool> {
        let FileSettings { path, dated, tail, .. } = &self.settings;
        if *tail {
            return Ok(false);
        }
        let listing = list(&self.root, path, dated.as_deref(), self.request.now)?;
        let there: BTreeMap<&str, &VisibleFile> =
            listing.files.iter().map(|file| (file.key.as_str(), file)).collect();
        for (key, state) in &self.stored.files {
            let Some(file) = there.get(key.as_str()) else { return Ok(false) };
            if matches!(standing(file, state, F::GROWS)?, Standing::Changed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lists the files and settles the columns.
    fn start(&mut self) -> Result<()> {
        self.started = true;
        let FileSettings { path, dated, .. } = &self.settings;
        let mut listing = list(&self.root, path, dated.as_deref(), self.request.now)?;
        let no_files = listing.files.is_empty();
        let mut notices = Vec::new();
        if self.settings.tail {
            let mut plan = tail::plan(&self.stored, std::mem::take(&mut listing.files));
            for _ in 0..ROTATIONS_MAX {
                // A log that was rotated while it was looked at has another name now.
                let Err(error) = &plan else { break };
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) {
                    break;
                }
                let files = list(&self.root, path, dated.as_deref(), self.request.now)?.files;
                plan = tail::plan(&self.stored, files);
            }
            let plan = plan?;
            for (file, resume) in plan.files {
                self.resumes.extend(resume.map(|resume| (file.key.clone(), resume)));
                listing.files.push(file);
            }
            self.stored = plan.stored;
            self.changed |= plan.changed;
            notices = plan.notices;
        }
        let columns = if self.stored.schema.is_empty() {
            self.found(&listing.files)?
        } else {
            self.remembered()
        };
        self.schema = TableSchema::new(columns, self.settings.lineage);
        self.page = PageBuilder::new(F::NAME, &self.schema, self.request.page_rows)
            .limited(self.request.page_bytes);
        for (code, file, message) in notices {
            self.page.notice(code, &file, message);
        }
        if self.request.from.is_none() {
            for name in listing.undated.iter().take(3) {
                self.page.notice(
                    "undated-file",
                    name,
                    "its name does not have the form of `dated`",
                );
            }
            if no_files {
                self.page.notice("no-files", path, "no file matches the path");
            }
        }
        self.files = listing.files.into();
        Ok(())
    }

    /// The columns as the first rows of the files show them.
    fn found(&self, files: &[VisibleFile]) -> Result<Vec<Column>> {
        let sample = sample(&*self.format, files)?;
        let declared = &self.request.columns;
        let only_declared = !declared.is_empty() && self.settings.new_columns != NewColumns::Add;
        let found = sample.columns().filter(|_| !only_declared).collect();
        Ok(self.with_declared(found))
    }

    /// The columns as the position remembers them.
    fn remembered(&self) -> Vec<Column> {
        let stored =
            self.stored.schema.iter().map(|(name, kind)| match ColumnType::from_str(kind) {
                Ok(kind) => Column::inferred(name, kind),
                Err(_) => Column::arrow(name, DataType::from_str(kind).unwrap_or(DataType::Utf8)),
            });
        self.with_declared(stored.collect())
    }

    /// Lets declared types win over found ones.
    fn with_declared(&self, mut columns: Vec<Column>) -> Vec<Column> {
        for declared in &self.request.columns {
            let declared = Column::declared(declared);
            match columns.iter_mut().find(|column| column.name == declared.name) {
                Some(column) => *column = declared,
                None => columns.push(declared),
            }
        }
        columns
    }

    /// Opens the next file that has something new; false if there is none.
    fn advance(&mut self) -> Result<bool> {
        while let Some(mut file) = self.files.pop_front() {
            if self.settings.tail {
                match file.hold() {
                    Ok(()) => {}
                    // It was rotated since it was listed: the next read finds it again.
                    Err(error)
                        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) =>
                    {
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                let resume = self.resumes.remove(&file.key);
                let reader = self.format.open(&file, resume)?;
                self.current = Some((file, reader));
                return Ok(true);
            }
            let resume = match self.stored.files.get(&file.key) {
                None => None,
                Some(state) => match standing(&file, state, F::GROWS)? {
                    Standing::Unchanged => {
                        self.touch(&file);
                        continue;
                    }
                    Standing::Continues(resume) => Some(*resume),
                    Standing::Changed => self.changed(&file)?,
                },
            };
            let reader = self.format.open(&file, resume)?;
            self.current = Some((file, reader));
            return Ok(true);
        }
        Ok(false)
    }

    /// Remembers a new time of the same bytes, so that they are not hashed again.
    fn touch(&mut self, file: &VisibleFile) {
        if let Some(state) = self.stored.files.get_mut(&file.key)
            && (state.mtime != file.mtime || state.etag != file.etag)
        {
            state.mtime = file.mtime;
            state.etag.clone_from(&file.etag);
            self.changed = true;
        }
    }

    /// Decides about a file whose committed part is not the same any more.
    fn changed(&mut self, file: &VisibleFile) -> Result<Option<Resume>> {
        let name = &file.name;
        if self.request.write_appends {
            return Err(Error::new(
                ErrorKind::Blocked,
                format!("the file {name} has changed since its rows were appended"),
            )
            .hint(
                "Appending it again would duplicate rows: write with `merge` or `replace`, \
                 give the new content a new file name, or empty the table and read all again \
                 with `flywheel sync NAME --restart`.",
            ));
        }
        self.page.notice("file-changed", name, "the file has changed and is read again as a whole");
        Ok(None)
    }

    /// Remembers how far the current file was read.
    fn save(&mut self, done: bool) -> Result<()> {
        if let Some((file, reader)) = &self.current {
            let mut state = reader.state(done)?;
            if self.settings.tail {
                state = tail::remember(file, state, self.stored.files.get(&file.key))?;
            }
            self.stored.files.insert(file.key.clone(), state);
            self.changed = true;
        }
        Ok(())
    }

    fn emit(&mut self) -> Result<Page> {
        let columns = self.schema.columns().iter();
        self.stored.schema = columns.map(|c| (c.name.clone(), c.type_text())).collect();
        self.page.finish(&self.schema, self.stored.to_position()?)
    }

    /// Decides about columns the table does not know; gives the page that must go out before.
    fn learn(&mut self, new: Vec<Column>) -> Result<Option<Page>> {
        let Some((file, _)) = &self.current else { return Ok(None) };
        let names = new.iter().map(|c| format!("\"{}\"", c.name)).collect::<Vec<_>>().join(", ");
        match self.settings.new_columns {
            NewColumns::Fail => Err(Error::new(
                ErrorKind::Blocked,
                format!("the file {} has a new column {names}", file.name),
            )
            .hint("Declare it, or set `new_columns` to add or ignore.")),
            NewColumns::Ignore => {
                let message = format!("left out new column {names}");
                self.page.notice("new-column-ignored", &file.name, message);
                self.ignored.extend(new.into_iter().map(|column| column.name));
                Ok(None)
            }
            NewColumns::Add => {
                let mut sample = Sample::default();
                self.format.sample(file, SAMPLE_ROWS, &mut sample)?;
                let known: Vec<Column> = sample.columns().collect();
                let best = |column: Column| {
                    known.iter().find(|known| known.name == column.name).cloned().unwrap_or(column)
                };
                let message = format!("found new column {names}");
                self.page.notice("new-column", &file.name, message);
                let wider = self.schema.extended(new.into_iter().map(best).collect());
                let before = self.before()?;
                self.schema = wider;
                self.page.widen(&self.schema);
                Ok(before)
            }
        }
    }

    /// Gives columns the types that the current file needs; gives the page that must go out before.
    fn widen(&mut self, wider: &[Column]) -> Result<Option<Page>> {
        let Some((file, _)) = &self.current else { return Ok(None) };
        for wide in wider {
            let name = &wide.name;
            let held = self.schema.columns().iter().find(|held| held.name == *name);
            let held = held.map_or(&wide.data_type, |held| &held.data_type);
            let message = format!(
                "the column \"{name}\" was widened: it holds {} from here on, and held {held}",
                wide.data_type
            );
            self.page.notice("column-widened", &file.name, message);
        }
        let before = self.before()?;
        self.schema = self.schema.widened(wider);
        Ok(before)
    }

    /// The rows so far as a page, before the columns change.
    fn before(&mut self) -> Result<Option<Page>> {
        if self.page.rows() == 0 {
            return Ok(None);
        }
        self.save(false)?;
        self.emit().map(Some)
    }

    /// The last page, if there is anything to say.
    fn finish(&mut self) -> Result<Option<Page>> {
        self.finished = true;
        if self.page.is_empty() && !self.changed && self.stored.complete {
            return Ok(None);
        }
        self.stored.complete = true;
        self.emit().map(Some)
    }
}

impl<F: Format> PageRead for FilesRead<F> {
    fn next_page(&mut self) -> Result<Option<Page>> {
        if !self.started {
            self.start()?;
            // Until the end is reached, the position says that it was not.
            if self.request.mode == ReadMode::Full {
                self.stored.complete = false;
            }
        }
        if self.finished {
            return Ok(None);
        }
        loop {
            if self.current.is_none() && !self.advance()? {
                return self.finish();
            }
            let Some((_, reader)) = &mut self.current else { continue };
            match reader.fill(&self.schema, &self.ignored, &mut self.page)? {
                Fill::PageFull => {
                    self.save(false)?;
                    return self.emit().map(Some);
                }
                Fill::FileEnd => {
                    self.save(true)?;
                    self.current = None;
                }
                Fill::NewColumns(new) => {
                    if let Some(page) = self.learn(new)? {
                        return Ok(Some(page));
                    }
                }
                Fill::WiderColumns(wider) => {
                    if let Some(page) = self.widen(&wider)? {
                        return Ok(Some(page));
                    }
                }
            }
        }
    }
}

/// Looks at the first rows of the files, evenly spread over them.
pub(crate) fn sample<F: Format>(format: &F, files: &[VisibleFile]) -> Result<Sample> {
    let mut sample = Sample::default();
    let step = files.len().div_ceil(SAMPLE_FILES_MAX).max(1);
    let looked_at = files.len().div_ceil(step).max(1);
    let rows = (SAMPLE_ROWS / looked_at).max(SAMPLE_ROWS_PER_FILE);
    for file in files.iter().step_by(step) {
        format.sample(file, rows, &mut sample)?;
    }
    Ok(sample)
}
