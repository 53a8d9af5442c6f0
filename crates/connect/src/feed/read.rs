//! The read that goes from line to line and makes pages.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::str::FromStr as _;

use flywheel_base::{Error, ErrorKind, Result, digest};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use super::stored::{Start, Stored};
use super::{FeedStream, Message, Protocol, TypedField, selected};
use crate::column::{ColumnType, DeclaredColumn, Misfit};
use crate::http::JsonPath;
use crate::page::{Column, Page};
use crate::process::{Line, Running};
use crate::records::{Cursor, RecordTable};
use crate::source::jsonl::object;
use crate::source::{ReadMode, ReadRequest};

/// Hex digits of a remembered record.
const MARK_DIGITS: usize = 12;

/// The code of a line that is longer than allowed.
const TOO_LONG: &str = "line-too-long";

/// Different notices of one read.
const NOTICES_MAX: usize = 100;

/// Lines that are no message before the first one that is; more of them come from another program.
const FOREIGN_LINES_MAX: u64 = 100;

struct FeedRead<'a> {
    protocol: Box<dyn Protocol + 'a>,
    stream: FeedStream,
    request: ReadRequest,
    cursor: Option<JsonPath>,
    stored: Stored,
    start: Start,
    /// The objects that declared columns lie in.
    opened: BTreeSet<String>,
    /// Whether records that come again would go unnoticed and be appended.
    unsure: bool,
    table: RecordTable,
    running: Option<Running>,
    /// Records that this run may send once more, by how often.
    resent: HashMap<String, usize>,
    /// How many records are passed over, and their digest.
    pass: Option<(u64, String)>,
    /// Records since the last state of this run.
    after: u64,
    hasher: blake3::Hasher,
    /// Whether a message was understood, and how many lines were none.
    understood: bool,
    foreign: u64,
    noticed: BTreeSet<String>,
    failed: Option<Error>,
    finished: bool,
    ready: VecDeque<Page>,
}

/// The pages of a feed; an error is the last item.
pub(crate) fn feed<'a>(
    stream: FeedStream,
    request: &ReadRequest,
    protocol: Box<dyn Protocol + 'a>,
) -> Result<BoxStream<'a, Result<Page>>> {
    let read = FeedRead::new(stream, request.clone(), protocol)?;
    Ok(stream::try_unfold(read, |mut read| async move {
        Ok(Box::pin(read.next_page()).await?.map(|page| (page, read)))
    })
    .boxed())
}

impl<'a> FeedRead<'a> {
    fn new(
        stream: FeedStream,
        request: ReadRequest,
        protocol: Box<dyn Protocol + 'a>,
    ) -> Result<Self> {
        let stored = Stored::begin(&stream, &request)?;
        let remembered = stored.schema.iter().map(|(name, kind)| {
            DeclaredColumn::new(name, ColumnType::from_str(kind).unwrap_or(ColumnType::Text))
        });
        let columns = remembered.map(|column| Column::declared(&column)).collect();
        let table = RecordTable::typed(stream.source, &request.columns, columns, request.page_rows)
            .limited(request.page_bytes);
        Ok(Self {
            protocol,
            cursor: stream
                .cursor
                .as_ref()
                .map(|name| JsonPath::parse(&pointer(name)))
                .transpose()?,
            start: Start::of(&stored),
            opened: object::nested(&request.columns),
            unsure: request.write_appends
                && request.from.is_some()
                && request.mode != ReadMode::Full
                && stream.cursor.is_none(),
            resent: stored.resent(),
            pass: (stored.after > 0).then(|| (stored.after, stored.digest.clone())),
            stored,
            stream,
            request,
            table,
            running: None,
            after: 0,
            hasher: blake3::Hasher::new(),
            understood: false,
            foreign: 0,
            noticed: BTreeSet::new(),
            failed: None,
            finished: false,
            ready: VecDeque::new(),
        })
    }

    async fn next_page(&mut self) -> Result<Option<Page>> {
        let mut line = Vec::new();
        loop {
            if let Some(page) = self.ready.pop_front() {
                return Ok(Some(page));
            }
            if let Some(error) = self.failed.take() {
                self.finished = true;
                return Err(error.context(&self.stream.label));
            }
            if self.finished {
                return Ok(None);
            }
            let stepped = self.step(&mut line).await;
            if let Err(error) = stepped {
                self.fail(error)?;
            }
        }
    }

    /// Takes one more line.
    async fn step(&mut self, line: &mut Vec<u8>) -> Result<()> {
        if self.running.is_none() {
            let fields = self.protocol.fields().to_vec();
            self.fields(&fields)?;
        }
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                self.stored.complete = false;
                let started = self.protocol.start(self.stored.state.as_deref()).await?;
                self.running.insert(started)
            }
        };
        match running.line(line).await? {
            Some(kind) => self.take(line, kind),
            None => {
                running.finish().await?;
                self.end()
            }
        }
    }

    /// Keeps what was read before an error.
    fn fail(&mut self, error: Error) -> Result<()> {
        self.running = None;
        if !self.table.page().is_empty() {
            self.emit()?;
        }
        self.failed = Some(error);
        Ok(())
    }

    fn take(&mut self, line: &[u8], kind: Line) -> Result<()> {
        if kind == Line::TooLong {
            let misfit = Misfit::new(TOO_LONG, "the line is longer than `line_bytes_max`");
            return self.foreign(line, misfit);
        }
        let Ok(text) = std::str::from_utf8(line) else {
            return self.foreign(line, Misfit::new("invalid-text", "the line is not UTF-8"));
        };
        if text.trim().is_empty() {
            return Ok(());
        }
        let message = self.protocol.message(text);
        self.understood |= !matches!(message, Message::Garbage(_));
        match message {
            Message::Fields(fields) => self.fields(&fields),
            Message::Record(record) => self.record(record),
            Message::State(state) => self.state(state),
            Message::Notice(code, text) => {
                self.notice(code, &text);
                Ok(())
            }
            Message::Nothing => Ok(()),
            Message::Garbage(misfit) => self.foreign(line, misfit),
            Message::Failed(error) => Err(error),
        }
    }

    /// Takes over the fields that are new.
    fn fields(&mut self, fields: &[TypedField]) -> Result<()> {
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for (name, kind) in selected(fields, self.stream.select.as_ref()) {
            // An object that is opened has columns of its own.
            if self.opened.contains(name) {
                continue;
            }
            let schema = self.table.schema();
            let known = schema.place(name).and_then(|place| schema.columns().get(place));
            let Some(known) = known.map(|column| column.kind) else {
                new.push(Column::declared(&DeclaredColumn::new(name, kind)));
                continue;
            };
            if known != kind && !self.request.columns.iter().any(|column| column.name == name) {
                changed.push(format!(
                    "\"{name}\" is {kind} now and was {known}; values that do not fit are set aside"
                ));
            }
        }
        changed.iter().for_each(|told| self.notice("type-changed", told));
        self.widen(new)
    }

    fn widen(&mut self, new: Vec<Column>) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        if !self.table.page().is_empty() {
            self.emit()?;
        }
        self.table.widen(new);
        Ok(())
    }

    fn record(&mut self, record: &str) -> Result<()> {
        let value = self.cursor.as_ref().and_then(|path| path.plain(record).ok().flatten());
        let mark = value.as_ref().map(|_| {
            let mut mark = digest::short(&[record.as_bytes()]);
            mark.truncate(MARK_DIGITS);
            mark
        });
        if let Some(times) = mark.as_ref().and_then(|mark| self.resent.get_mut(mark))
            && *times > 0
        {
            *times -= 1;
            return Ok(());
        }
        if self.pass.is_some() {
            return self.pass_over(record.as_bytes());
        }
        let mut new = self.table.unknown(std::iter::once(record));
        new.retain(|column| self.wanted(&column.name));
        new.iter_mut().for_each(loosen);
        self.widen(new)?;
        self.room()?;
        if std::mem::take(&mut self.unsure) {
            let told = "the read follows no known field, so that rows the program sends again are appended again; write with `merge` and a key";
            self.notice("rows-may-repeat", told);
        }
        self.count(record.as_bytes());
        let before = self.table.page().rejected();
        self.table.push(&self.stream.label, self.stored.rows, record)?;
        if let (Some(value), Some(mark)) = (value, mark) {
            let name = self.stream.cursor.as_deref().unwrap_or_default();
            if self.table.page().rejected() > before && !self.table.reads(record, name) {
                // A program that sends the record again sends it as another one of its rows.
                let number = format!("record {}", self.stored.rows);
                self.table.page().name_last(&self.stream.label, &number, record);
                self.stored.set_aside(mark);
            } else {
                self.stored.see(Cursor(value), mark);
            }
        }
        Ok(())
    }

    /// Sets a line aside that is no message.
    fn foreign(&mut self, line: &[u8], misfit: Misfit) -> Result<()> {
        self.foreign += 1;
        if !self.understood && self.foreign > FOREIGN_LINES_MAX {
            return self.not_spoken();
        }
        if self.pass.is_some() {
            return self.pass_over(line);
        }
        self.room()?;
        self.count(line);
        let mask = self.protocol.mask();
        let mut text = mask.apply(&String::from_utf8_lossy(line));
        if misfit.code == TOO_LONG {
            text = mask.cut_end(text);
        }
        self.table.reject(&self.stream.label, self.stored.rows, None, misfit, &text);
        Ok(())
    }

    /// Makes room for one more row. A full page waits for what comes next: it may be a state.
    fn room(&mut self) -> Result<()> {
        if self.table.page().is_full() { self.emit() } else { Ok(()) }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.hash(bytes);
        self.stored.rows += 1;
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
        self.after += 1;
    }

    /// Passes over what an earlier read has taken, if it is that.
    fn pass_over(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash(bytes);
        match &self.pass {
            Some((count, digest)) if self.after == *count => {
                if self.hasher.finalize().to_hex().as_str() != digest {
                    return self.again();
                }
                self.pass = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Starts the program once more, because it does not repeat itself.
    fn again(&mut self) -> Result<()> {
        if self.request.write_appends {
            return Err(Error::new(
                ErrorKind::Blocked,
                "the program sends other records than before after the same state, so that some would be appended twice",
            )
            .hint("Write with `merge` and a key, or read it from its start with `flywheel sync NAME --restart`."));
        }
        let told = "the program sends other records than before after the same state: those since the state are read again";
        self.notice("rows-again", told);
        self.running = None;
        self.pass = None;
        self.resent = self.stored.resent();
        self.after = 0;
        self.hasher.reset();
        Ok(())
    }

    fn state(&mut self, state: &str) -> Result<()> {
        // While records are passed over, the position's own state holds.
        if self.pass.is_some() {
            return Ok(());
        }
        self.stored.state = Some(state.to_owned());
        self.stored.known.clone_from(&self.stored.edge);
        self.stored.known.extend_from_slice(&self.stored.aside);
        self.after = 0;
        self.hasher.reset();
        let rows = self.table.page().rows();
        if rows > 0 && rows * 2 >= self.request.page_rows { self.emit() } else { Ok(()) }
    }

    fn notice(&mut self, code: &'static str, text: &str) {
        if self.noticed.len() < NOTICES_MAX && self.noticed.insert(format!("{code} {text}")) {
            let text = self.protocol.mask().apply(text);
            self.table.page().notice(code, &self.stream.label, text);
        }
    }

    fn wanted(&self, name: &str) -> bool {
        self.stream.select.as_ref().is_none_or(|names| names.contains(name))
    }

    fn emit(&mut self) -> Result<()> {
        self.stored.schema = self.table.remembered();
        // What is passed over stays what it was until all of it has come.
        if self.pass.is_none() {
            self.stored.after = self.after;
            let counted = self.after > 0;
            self.stored.digest =
                if counted { self.hasher.finalize().to_hex().to_string() } else { String::new() };
        }
        let page = self.table.finish(self.stored.position()?)?;
        self.ready.push_back(page);
        Ok(())
    }

    /// Forgets the lines: they are of a program that was not meant.
    fn not_spoken(&mut self) -> Result<()> {
        drop(self.table.finish(self.stored.position()?)?);
        Err(Error::invalid(format!(
            "the program does not write {} messages: none of its first {} lines is one",
            self.stream.source, self.foreign
        ))
        .hint("Check `command`: its output must be one JSON message a line; logs go to stderr."))
    }

    /// The last page, if there is anything to say.
    fn end(&mut self) -> Result<()> {
        if self.pass.is_some() {
            return self.again();
        }
        if !self.understood && self.foreign > 0 {
            return self.not_spoken();
        }
        self.running = None;
        self.finished = true;
        self.stored.after = self.after;
        self.stored.complete = true;
        if self.start == Start::of(&self.stored)
            && self.table.page().is_empty()
            && self.ready.is_empty()
        {
            return Ok(());
        }
        let mut empty = self.table.never_filled();
        empty.retain(|column| self.wanted(&column.name));
        self.stored.complete = false;
        self.widen(empty)?;
        self.stored.complete = true;
        self.emit()
    }
}

/// The way to a member, whatever letters its name has.
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A field the program did not announce is typed by one value only: a text that looks like a date
/// may be anything tomorrow.
fn loosen(column: &mut Column) {
    if matches!(column.kind, ColumnType::Date | ColumnType::Timestamp) {
        *column = Column::inferred(&column.name, ColumnType::Text);
    }
}
