//! Reading the records of one CSV file into pages.

mod blame;

use std::collections::BTreeSet;
use std::sync::Arc;

use flywheel_base::{Error, Result};

use self::blame::{Blamed, Pushed};
use super::dialect;
use super::record::{Dialect, Fault, Record, Scan, scan, unescape};
use super::{Format, HeaderSetting};
use crate::column::{ColumnType, Kind, Misfit};
use crate::files::{
    FileReader, FileState, Fill, Input, Resume, Sample, VisibleFile, Window, column_names,
};
use crate::page::{Column, PageBuilder, TableSchema, raw};

/// Text looked at to find out how a file is written.
const SNIFF_BYTES: usize = 64 << 10;

/// The first rows, by which a header is told from values.
const HEADER_ROWS: usize = 20;

/// Reads one CSV file.
pub(super) struct CsvReader {
    format: Arc<Format>,
    file: String,
    window: Window,
    dialect: Dialect,
    header: Option<Vec<u8>>,
    names: Vec<String>,
    /// Bit `length % 64` is set for every name, a quick test for "is this field a column name".
    name_lengths: u64,
    record: Record,
    scratch: String,
    binding: Binding,
    started: bool,
    open: bool,
}

/// Which field goes into which column.
#[derive(Debug, Default)]
struct Binding {
    /// How many columns the table had.
    columns: Option<usize>,
    /// The column of each field; none if the field is left out.
    places: Vec<Option<usize>>,
    /// The columns the file does not have.
    missing: Vec<usize>,
}

impl CsvReader {
    /// Opens a file where an earlier read ended, or behind its header.
    pub(super) fn open(
        format: &Arc<Format>,
        file: &VisibleFile,
        resume: Option<Resume>,
    ) -> Result<Self> {
        let input = Input::open(file, format.encoding, None)?;
        let form = resume.as_ref().and_then(|resume| resume.state.form.as_deref());
        let mut reader = Self::start(format, &file.name, input, form)?;
        if let Some(resume) = resume
            && resume.state.offset > reader.window.offset()
        {
            let input = Input::open(file, format.encoding, Some(&resume))?;
            let FileState { offset, line, .. } = resume.state;
            reader.window = Window::new(input, format.line_bytes_max, offset, line)?;
            reader.started = true;
        }
        Ok(reader)
    }

    /// Finds out how a text is written and reads its header.
    pub(super) fn start(
        format: &Arc<Format>,
        file: &str,
        input: Input,
        form: Option<&str>,
    ) -> Result<Self> {
        let mut window = Window::new(input, format.line_bytes_max, 0, 1)?;
        while window.data().len() < SNIFF_BYTES && !window.is_full() && window.fill()? {}
        let mut reader = Self {
            format: Arc::clone(format),
            file: file.to_owned(),
            window,
            dialect: Dialect::default(),
            header: None,
            names: Vec::new(),
            name_lengths: 0,
            record: Record::default(),
            scratch: String::new(),
            binding: Binding::default(),
            started: false,
            open: false,
        };
        for _ in 0..format.skip_lines {
            let terminator = dialect::sniff_terminator(reader.window.data());
            reader.window.skip_line(terminator)?;
        }
        let header = reader.sniff(form);
        reader.read_header(header)?;
        for name in &reader.names {
            reader.name_lengths |= 1 << (name.len() % 64);
        }
        Ok(reader)
    }

    /// Settles the dialect; says whether there is a header.
    fn sniff(&mut self, form: Option<&str>) -> bool {
        let (head, ended) = (self.window.data(), self.window.ended());
        let format = &self.format;
        let mut dialect = Dialect {
            quote: format.quote,
            escape: format.escape,
            comment: format.comment,
            terminator: dialect::sniff_terminator(head),
            delimiter: format.delimiter.unwrap_or(b','),
        };
        if let Some((delimiter, terminator, header)) = form.and_then(parse_form) {
            self.dialect = Dialect { delimiter, terminator, ..dialect };
            return header;
        }
        if format.delimiter.is_none() {
            dialect.delimiter = dialect::sniff_delimiter(head, ended, &dialect);
        }
        let header = match format.header {
            HeaderSetting::Known(header) => header,
            HeaderSetting::Word(_) => {
                let rows = dialect::first_rows(head, ended, &dialect, HEADER_ROWS);
                let declared: Vec<&str> = format.declared.iter().map(String::as_str).collect();
                dialect::has_header(&rows, &declared, &format.parsing)
            }
        };
        self.dialect = dialect;
        header
    }

    /// What was found out, for the position.
    fn form(&self) -> String {
        let Dialect { delimiter, terminator, .. } = self.dialect;
        let header = u8::from(self.header.is_some());
        format!("{delimiter:02x}{terminator:02x}{header:02x}")
    }

    /// Reads the names of the columns, and moves behind the header.
    fn read_header(&mut self, header: bool) -> Result<()> {
        loop {
            match self.scan()? {
                Scan::End => return Ok(()),
                Scan::Complete if self.record.is_blank() => self.pass(),
                Scan::Complete => break,
                Scan::Incomplete => {
                    return Err(self.unusable("its first line is longer than `line_bytes_max`"));
                }
            }
        }
        let line = self.window.data().get(..self.record.content).unwrap_or_default();
        let fields = dialect::texts(self.window.data(), &self.record, &self.dialect);
        if !header {
            let declared: Vec<&str> = self.format.declared.iter().map(String::as_str).collect();
            self.names = dialect::numbered(fields.len(), &declared);
            return Ok(());
        }
        if std::str::from_utf8(line).is_err() {
            return Err(self
                .unusable("its header is not valid UTF-8")
                .hint("Declare the file's `encoding`, for example windows-1252 or gbk."));
        }
        if self.record.fault.is_some() {
            return Err(self.unusable("its header has a quote that is not closed"));
        }
        self.names = column_names(&fields);
        self.header = Some(line.to_vec());
        self.open = self.record.open;
        self.pass();
        Ok(())
    }

    fn unusable(&self, why: &str) -> Error {
        Error::invalid(format!("cannot read the columns of {}: {why}", self.file))
    }

    /// Finds the next record, reading more text as needed; `Incomplete` if the record is too long.
    fn scan(&mut self) -> Result<Scan> {
        loop {
            let (data, ended) = (self.window.data(), self.window.ended());
            let found = scan(data, ended, &self.dialect, &mut self.record);
            if found != Scan::Incomplete || self.window.is_full() {
                return Ok(found);
            }
            self.window.fill()?;
        }
    }

    /// Moves behind the current record.
    fn pass(&mut self) {
        self.window.consume(self.record.length, self.record.lines);
    }

    /// What stands under each name of the header in a record whose text was kept; nothing where it has too few fields.
    pub(super) fn apart(&self, raw: &str) -> Vec<(String, String)> {
        let mut record = Record::default();
        let fields = match scan(raw.as_bytes(), true, &self.dialect, &mut record) {
            Scan::End => Vec::new(),
            Scan::Complete | Scan::Incomplete => {
                dialect::texts(raw.as_bytes(), &record, &self.dialect)
            }
        };
        let mut fields = fields.into_iter();
        self.names.iter().map(|name| (name.clone(), fields.next().unwrap_or_default())).collect()
    }

    /// Looks at the next rows for a sample.
    pub(super) fn sample(&mut self, rows: usize, sample: &mut Sample) -> Result<()> {
        let places: Vec<usize> = self.names.iter().map(|name| sample.place(name)).collect();
        let mut seen = 0;
        while seen < rows {
            match self.scan()? {
                Scan::End => break,
                Scan::Incomplete => {
                    self.window.skip_line(self.dialect.terminator)?;
                    continue;
                }
                Scan::Complete => {}
            }
            let data = self.window.data();
            let text = std::str::from_utf8(data.get(..self.record.content).unwrap_or_default());
            let fits = self.record.fault.is_none() && self.record.fields.len() == places.len();
            if let (Ok(text), true) = (text, fits)
                && self.header.as_deref() != Some(text.as_bytes())
            {
                for (field, place) in self.record.fields.iter().zip(&places) {
                    let value = text.get(field.start..field.end).unwrap_or_default();
                    sample.see(*place, Kind::of_text(value, &self.format.parsing));
                }
                seen += usize::from(!self.record.is_blank());
            }
            self.pass();
        }
        sample.rows += seen;
        Ok(())
    }

    /// Settles which field goes where; gives the columns the table does not know.
    fn bind(
        &mut self,
        schema: &TableSchema,
        ignored: &BTreeSet<String>,
        page: &mut PageBuilder,
    ) -> Result<Vec<Column>> {
        let known = |name: &&String| schema.place(name).is_none() && !ignored.contains(*name);
        let new: Vec<Column> = self
            .names
            .iter()
            .filter(known)
            .map(|n| Column::inferred(n, ColumnType::Text))
            .collect();
        if !new.is_empty() {
            return Ok(new);
        }
        self.binding.places = self.names.iter().map(|name| schema.place(name)).collect();
        self.binding.columns = Some(schema.columns().len());
        self.binding.missing.clear();
        for (place, column) in schema.columns().iter().enumerate() {
            if self.names.contains(&column.name) {
                continue;
            }
            // A file without any columns has no row that could lack a value.
            if column.not_null && !self.names.is_empty() {
                return Err(Error::invalid(format!(
                    "the file {} has no column \"{}\", which is required",
                    self.file, column.name
                ))
                .hint("Mend the file, or declare the column without `required: true`."));
            }
            self.binding.missing.push(place);
            if !self.started && !self.names.is_empty() {
                let message =
                    format!("the file has no column \"{}\"; it is left empty", column.name);
                page.notice("missing-column", &self.file, message);
            }
        }
        self.started = true;
        Ok(new)
    }

    /// Whether an empty line is a row without a value, because there is one column only.
    fn blank_is_row(&self) -> bool {
        self.format.stream.exact && self.names.len() == 1
    }

    /// Sets the current record aside and moves on.
    fn reject(&mut self, page: &mut PageBuilder, column: Option<&str>, misfit: Misfit) {
        page.reject(&self.file, Some(self.window.line()), column, misfit, self.text());
        self.leave();
    }

    /// The current record as it is kept when it is set aside.
    fn text(&self) -> String {
        let bytes = self.window.data().get(..self.record.content).unwrap_or_default();
        raw(&String::from_utf8_lossy(bytes.get(..RAW_LOOK.min(bytes.len())).unwrap_or(bytes)))
    }

    /// Moves on from a record that was set aside.
    fn leave(&mut self) {
        self.open = self.record.open;
        self.pass();
    }

    /// Sets the first line of a record aside whose quotes go wrong, and begins again at the next.
    fn reject_line(&mut self, page: &mut PageBuilder, misfit: Misfit) {
        let data = self.window.data();
        if let Some(end) = memchr::memchr(self.dialect.terminator, data) {
            self.record.content = end;
            self.record.length = end + 1;
            self.record.lines = 1;
            self.record.open = false;
        }
        self.reject(page, None, misfit);
    }

    /// Sets a record aside that does not fit into the window.
    fn reject_long(&mut self, page: &mut PageBuilder) -> Result<()> {
        let limit = self.format.line_bytes_max;
        let terminator = self.dialect.terminator;
        if memchr::memchr(terminator, self.window.data()).is_some() {
            let reason = format!("a quote is opened that is not closed within {limit} bytes");
            self.reject_line(page, Misfit::new("unclosed-quote", reason));
            return Ok(());
        }
        let line = self.window.line();
        let bytes = self.window.skip_line(terminator)?;
        let misfit = Misfit::new("line-too-long", format!("the line is longer than {limit} bytes"));
        page.reject(&self.file, Some(line), None, misfit, raw(&String::from_utf8_lossy(&bytes)));
        self.open = false;
        Ok(())
    }

    /// Adds the current record to the page, or sets it aside.
    fn take(&mut self, schema: &TableSchema, page: &mut PageBuilder) -> Result<()> {
        if let Some(fault) = self.record.fault {
            let misfit = match fault {
                Fault::Unclosed => {
                    Misfit::new("unclosed-quote", "a quote is opened and not closed")
                }
                Fault::TextAfterQuote => Misfit::new("bad-quote", "text follows a closing quote"),
            };
            self.reject_line(page, misfit);
            return Ok(());
        }
        match self.push(schema, page)? {
            Ok(()) => {
                page.commit(&self.file, self.window.line(), self.record.length)?;
                self.open = self.record.open;
                self.pass();
            }
            Err((blamed, misfit)) => {
                page.rollback();
                let column = match blamed {
                    Blamed::Column(place) => schema.columns().get(place),
                    Blamed::Field(_) | Blamed::Row => None,
                };
                let misfit = match column {
                    Some(column) => column.explain(misfit),
                    None => misfit,
                };
                let name = match blamed {
                    Blamed::Field(at) => self.names.get(at),
                    _ => column.map(|column| &column.name),
                };
                let line = Some(self.window.line());
                page.reject(&self.file, line, name.map(String::as_str), misfit, self.text());
                self.leave();
            }
        }
        Ok(())
    }

    /// Pushes the fields of the current record into their columns.
    fn push(&mut self, schema: &TableSchema, page: &mut PageBuilder) -> Result<Pushed> {
        let content = self.window.data().get(..self.record.content).unwrap_or_default();
        let text = match std::str::from_utf8(content) {
            Ok(text) => text,
            Err(error) => return Ok(Err(self.not_utf8(content, error.valid_up_to()))),
        };
        if self.window.transcoded() && text.contains(char::REPLACEMENT_CHARACTER) {
            return Ok(Err(self.not_decoded(text)));
        }
        if let Some(misfit) = self.header_again(text)? {
            return Ok(Err((Blamed::Row, misfit)));
        }
        if self.record.fields.len() != self.names.len() {
            return Ok(Err(self.ragged()));
        }
        for (field, place) in self.record.fields.iter().zip(&self.binding.places) {
            let Some(place) = *place else { continue };
            let Some(builder) = page.columns.get_mut(place) else { continue };
            let mut value = text.get(field.start..field.end).unwrap_or_default();
            if self.format.stream.exact && value.is_empty() && !quoted(text, field.end) {
                if schema.columns().get(place).is_some_and(|column| column.not_null) {
                    let reason = "no value in a column that is required";
                    return Ok(Err((Blamed::Column(place), Misfit::new("null-value", reason))));
                }
                builder.push_null();
                continue;
            }
            if field.escaped {
                unescape(value, &self.dialect, &mut self.scratch);
                value = &self.scratch;
            }
            if let Err(misfit) = builder.push_text(value, &self.format.parsing) {
                return Ok(Err((Blamed::Column(place), misfit)));
            }
            if schema.columns().get(place).is_some_and(|column| column.not_null)
                && self.format.parsing.null(value, builder.kind())
            {
                let misfit = Misfit::new("null-value", "no value in a column that is required");
                return Ok(Err((Blamed::Column(place), misfit)));
            }
        }
        for place in &self.binding.missing {
            if let Some(builder) = page.columns.get_mut(*place) {
                builder.push_null();
            }
        }
        Ok(Ok(()))
    }

    /// Whether the record is a header again: the same is set aside, another one stops the read,
    /// because the rows after it would land in the wrong columns.
    fn header_again(&self, text: &str) -> Result<Option<Misfit>> {
        let Some(header) = &self.header else { return Ok(None) };
        if self.format.stream.exact {
            return Ok(None);
        }
        let value = |at: usize| {
            let field = self.record.fields.get(at)?;
            text.get(field.start..field.end)
        };
        let is_name = |value: &str| {
            self.name_lengths >> (value.len() % 64) & 1 == 1
                && self.names.iter().any(|name| name == value)
        };
        if !value(0).is_some_and(is_name) && !value(1).is_some_and(is_name) {
            return Ok(None);
        }
        if text.as_bytes() == header {
            return Ok(Some(Misfit::new("repeated-header", "the header is repeated here")));
        }
        let fields = self.record.fields.len();
        let matching = (0..fields).filter(|at| value(*at).is_some_and(is_name)).count();
        if fields < 2 || matching < 2 || matching * 2 < fields {
            return Ok(None);
        }
        let line = self.window.line();
        Err(Error::invalid(format!("the file {} has a different header at line {line}", self.file))
            .hint("Split the file at that line; the rows after it have other columns."))
    }
}

/// Whether an empty field that ends at `end` has quotes around it.
fn quoted(text: &str, end: usize) -> bool {
    text.as_bytes().get(end).is_some_and(|sign| *sign == b'"')
}

/// More than enough bytes of a record to cut its raw text from.
const RAW_LOOK: usize = crate::page::RAW_BYTES_MAX + 8;

fn parse_form(form: &str) -> Option<(u8, u8, bool)> {
    let byte = |at: usize| u8::from_str_radix(form.get(at..at + 2)?, 16).ok();
    Some((byte(0)?, byte(2)?, byte(4)? == 1))
}

impl FileReader for CsvReader {
    fn fill(
        &mut self,
        schema: &TableSchema,
        ignored: &BTreeSet<String>,
        page: &mut PageBuilder,
    ) -> Result<Fill> {
        if self.binding.columns != Some(schema.columns().len()) {
            let new = self.bind(schema, ignored, page)?;
            if !new.is_empty() {
                return Ok(Fill::NewColumns(new));
            }
            if self.names.is_empty() {
                page.notice("empty-file", &self.file, "the file is empty");
            }
        }
        while !page.is_full() {
            match self.scan()? {
                Scan::End => return Ok(Fill::FileEnd),
                Scan::Incomplete => self.reject_long(page)?,
                Scan::Complete if self.record.is_blank() && !self.blank_is_row() => {
                    self.open = self.record.open;
                    self.pass();
                }
                Scan::Complete => self.take(schema, page)?,
            }
        }
        Ok(Fill::PageFull)
    }

    fn state(&self, done: bool) -> Result<FileState> {
        let form = (!self.names.is_empty()).then(|| self.form());
        Ok(FileState { open: self.open, form, ..self.window.state(done)? })
    }
}
