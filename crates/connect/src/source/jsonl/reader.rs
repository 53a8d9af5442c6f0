//! Reading the lines of one JSON Lines file into pages.

use std::collections::BTreeSet;
use std::sync::Arc;

use flywheel_base::{Error, Result};

use super::Lines;
use super::object::{self, Leaf};
use crate::column::{Inference, Misfit};
use crate::files::{FileReader, FileState, Fill, Input, Resume, Sample, VisibleFile, Window};
use crate::page::{Column, PageBuilder, TableSchema, raw};

/// Columns a table can gain from keys; a row with more is set aside.
const COLUMNS_MAX: usize = 5_000;

/// Reads one JSON Lines file.
pub(super) struct LinesReader {
    lines: Arc<Lines>,
    file: String,
    window: Window,
    /// For each column the number of the last row that had a value for it.
    filled: Vec<u64>,
    row: u64,
    open: bool,
}

/// What became of one line.
enum Taken {
    Row,
    New(Vec<Column>),
    Misfit(Option<usize>, Misfit),
    /// The bytes are no text; the key whose value it is, as far as there is one.
    Broken(Option<String>, Misfit),
}

impl LinesReader {
    /// Opens a file at its start or where an earlier read ended.
    pub(super) fn open(
        lines: &Arc<Lines>,
        file: &VisibleFile,
        resume: Option<Resume>,
    ) -> Result<Self> {
        let input = Input::open(file, lines.encoding, resume.as_ref())?;
        let (offset, line) =
            resume.map_or((0, 1), |resume| (resume.state.offset, resume.state.line));
        Self::start(lines, &file.name, input, offset, line.max(1))
    }

    /// Reads lines from an input that stands at `offset`.
    pub(super) fn start(
        lines: &Arc<Lines>,
        file: &str,
        input: Input,
        offset: u64,
        line: u64,
    ) -> Result<Self> {
        let mut window = Window::new(input, lines.line_bytes_max, offset, line)?;
        while window.data().is_empty() && window.fill()? {}
        if offset == 0 && is_array(window.data()) {
            return Err(Error::invalid(format!(
                "the file {file} is one JSON list, not JSON Lines"
            ))
            .hint("Write one object per line, for example with `jq -c '.[]'`."));
        }
        let file = file.to_owned();
        Ok(Self { lines: Arc::clone(lines), file, window, filled: Vec::new(), row: 0, open: false })
    }

    /// The length of the next line with its end, and whether it has one; none at the end of the file
    /// or, if the window is full, when the line is too long.
    fn next_line(&mut self) -> Result<Option<(usize, bool)>> {
        let mut searched = 0;
        loop {
            let data = self.window.data();
            let rest = data.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', rest) {
                return Ok(Some((searched + at + 1, true)));
            }
            searched = data.len();
            if self.window.ended() {
                return Ok((searched > 0).then_some((searched, false)));
            }
            if self.window.is_full() {
                return Ok(None);
            }
            self.window.fill()?;
        }
    }

    /// Looks at the next rows for a sample.
    pub(super) fn sample(&mut self, rows: usize, sample: &mut Sample) -> Result<()> {
        let mut seen = 0;
        while seen < rows {
            let Some((length, _)) = self.next_line()? else {
                if self.window.ended() {
                    break;
                }
                self.window.skip_line(b'\n')?;
                continue;
            };
            let line = self.window.data().get(..length).unwrap_or_default();
            if let Ok(line) = std::str::from_utf8(line)
                && let Ok(leaves) = object::leaves(line, &self.lines.nested)
                && leaves.len() <= COLUMNS_MAX
            {
                for (path, value) in &leaves {
                    let place = sample.place(path);
                    sample.see(place, object::kind(value, &self.lines.parsing));
                }
                seen += 1;
            }
            self.window.consume(length, 1);
        }
        sample.rows += seen;
        Ok(())
    }

    fn take(
        &mut self,
        length: usize,
        schema: &TableSchema,
        ignored: &BTreeSet<String>,
        page: &mut PageBuilder,
    ) -> Result<Taken> {
        let bytes = self.window.data().get(..length).unwrap_or_default();
        let line = match std::str::from_utf8(bytes) {
            Ok(line) => line,
            Err(error) => {
                let at = self.window.offset() + error.valid_up_to() as u64;
                let reason = format!(
                    "invalid UTF-8 at byte {at} of the file; declare the file's `encoding`, for \
                     example windows-1252 or gbk, or mend the bytes"
                );
                let key = self.first_with(&marked(bytes), BROKEN);
                return Ok(Taken::Broken(key, Misfit::new("invalid-utf8", reason)));
            }
        };
        if self.window.transcoded() && line.contains(char::REPLACEMENT_CHARACTER) {
            let reason = "a character is not of the file's encoding; mend it, or declare another \
                          `encoding`";
            let key = self.first_with(line, char::REPLACEMENT_CHARACTER);
            return Ok(Taken::Broken(key, Misfit::new("invalid-encoding", reason)));
        }
        let leaves = match object::leaves(line, &self.lines.nested) {
            Ok(leaves) => leaves,
            Err(misfit) => return Ok(Taken::Misfit(None, misfit)),
        };
        let unknown = |leaf: &&Leaf<'_>| {
            schema.place(&leaf.0).is_none() && !ignored.contains(&*leaf.0) && leaf.1 != "null"
        };
        if leaves.iter().any(|leaf| unknown(&leaf)) {
            let new: Vec<Column> = leaves
                .iter()
                .filter(unknown)
                .map(|(path, value)| self.column(path, value))
                .collect();
            if schema.columns().len() + new.len() > COLUMNS_MAX {
                let reason = format!("its keys would make more than {COLUMNS_MAX} columns");
                return Ok(Taken::Misfit(None, Misfit::new("too-many-columns", reason)));
            }
            return Ok(Taken::New(new));
        }
        self.row += 1;
        self.filled.resize(schema.columns().len(), 0);
        for (path, value) in &leaves {
            let Some(place) = schema.place(path) else { continue };
            let Some(column) = schema.columns().get(place) else { continue };
            let Some(builder) = page.columns.get_mut(place) else { continue };
            if let Err(misfit) = object::push(column, builder, value, &self.lines.parsing) {
                return Ok(Taken::Misfit(Some(place), misfit));
            }
            if let Some(filled) = self.filled.get_mut(place) {
                *filled = self.row;
            }
        }
        for (place, filled) in self.filled.iter().enumerate() {
            if *filled == self.row {
                continue;
            }
            if schema.columns().get(place).is_some_and(|column| column.not_null) {
                let misfit = Misfit::new("null-value", "no value in a column that is required");
                return Ok(Taken::Misfit(Some(place), misfit));
            }
            if let Some(builder) = page.columns.get_mut(place) {
                builder.push_null();
            }
        }
        Ok(Taken::Row)
    }

    /// A column for a key that the sample did not show.
    fn column(&self, path: &str, value: &str) -> Column {
        let mut inference = Inference::default();
        inference.see(object::kind(value, &self.lines.parsing));
        Column::inferred(path, inference.resolve())
    }

    fn reject(&self, page: &mut PageBuilder, length: usize, column: Option<&str>, misfit: Misfit) {
        let line = self.window.data().get(..length).unwrap_or_default();
        let text = String::from_utf8_lossy(line.get(..RAW_LOOK.min(length)).unwrap_or(line));
        page.reject(&self.file, Some(self.window.line()), column, misfit, raw(text.trim_end()));
    }

    /// The first key whose value has a character; none if it is in a key, or the line is no object.
    fn first_with(&self, line: &str, character: char) -> Option<String> {
        let leaves = object::leaves(line, &self.lines.nested).ok()?;
        let (key, _) = leaves
            .into_iter()
            .find(|(key, value)| key.contains(character) || value.contains(character))?;
        (!key.contains(character)).then(|| key.into_owned())
    }
}

/// More than enough bytes of a line to cut its raw text from.
const RAW_LOOK: usize = crate::page::RAW_BYTES_MAX + 8;

/// What stands for bytes that are no text, while their place is looked for: a character that no text
/// has.
const BROKEN: char = '\u{fdd0}';

/// The text of bytes with [`BROKEN`] where they are none.
fn marked(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(BROKEN);
        }
    }
    text
}

/// Whether a file begins like one large list.
fn is_array(head: &[u8]) -> bool {
    let first = head.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let first = first.unwrap_or_default().trim_ascii();
    first.starts_with(b"[") && !first.ends_with(b"]")
}

impl FileReader for LinesReader {
    fn fill(
        &mut self,
        schema: &TableSchema,
        ignored: &BTreeSet<String>,
        page: &mut PageBuilder,
    ) -> Result<Fill> {
        if self.window.offset() == 0 && self.window.ended() && self.window.data().is_empty() {
            page.notice("empty-file", &self.file, "the file is empty");
        }
        while !page.is_full() {
            let Some((length, ended)) = self.next_line()? else {
                if self.window.ended() {
                    return Ok(Fill::FileEnd);
                }
                let line = self.window.line();
                let bytes = self.window.skip_line(b'\n')?;
                let limit = self.lines.line_bytes_max;
                let misfit =
                    Misfit::new("line-too-long", format!("the line is longer than {limit} bytes"));
                let text = String::from_utf8_lossy(&bytes);
                page.reject(&self.file, Some(line), None, misfit, raw(&text));
                continue;
            };
            let blank =
                self.window.data().get(..length).unwrap_or_default().trim_ascii().is_empty();
            if !blank {
                match self.take(length, schema, ignored, page)? {
                    Taken::Row => page.commit(&self.file, self.window.line(), length)?,
                    Taken::New(columns) => return Ok(Fill::NewColumns(columns)),
                    Taken::Misfit(place, misfit) => {
                        page.rollback();
                        let column = place.and_then(|place| schema.columns().get(place));
                        let misfit = match column {
                            Some(column) => column.explain(misfit),
                            None => misfit,
                        };
                        let name = column.map(|column| column.name.as_str());
                        self.reject(page, length, name, misfit);
                    }
                    Taken::Broken(key, misfit) => {
                        self.reject(page, length, key.as_deref(), misfit);
                    }
                }
            }
            self.open = !ended;
            self.window.consume(length, 1);
        }
        Ok(Fill::PageFull)
    }

    fn state(&self, done: bool) -> Result<FileState> {
        Ok(FileState { open: self.open, ..self.window.state(done)? })
    }
}
