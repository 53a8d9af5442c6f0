//! The read that goes from one answer of an API to the next and makes pages of their records.

use std::cmp::Ordering;
use std::collections::VecDeque;

use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result, digest};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cursor, Rank, RecordTable};
use crate::column::Misfit;
use crate::http::JsonPath;
use crate::marks::{Marks, mark};
use crate::page::{Page, Position};
use crate::source::{ReadMode, ReadRequest};

/// Records that are looked at to find the types of columns.
const SAMPLE_RECORDS: usize = 1_000;

/// Answers that are looked at for that.
const SAMPLE_ANSWERS_MAX: usize = 10;

/// Bytes of records that are held for that.
const SAMPLE_BYTES_MAX: usize = 64 << 20;

/// Answers that one page is made of, so that a crash repeats few requests.
const PAGE_ANSWERS_MAX: usize = 50;

/// Answers of one read; more means that the paging goes in circles.
const ANSWERS_MAX: u64 = 10_000_000;

/// Records with the last cursor value that are remembered, so that they are not read twice.
const EDGE_MAX: usize = 1_000;

/// What one answer brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetched {
    /// The records, as JSON texts.
    pub(crate) records: Vec<String>,
    /// Where the next answer is found; nothing at the end.
    pub(crate) next: Option<Value>,
    /// What a person should know of how they are read: a code and words.
    pub(crate) notice: Option<(&'static str, String)>,
}

/// Asks an API for records.
#[async_trait]
pub(crate) trait Fetch: Send + Sync {
    /// The records at `at`, or the first ones; those not before `since` if the API can tell.
    async fn fetch(&self, since: Option<&Cursor>, at: Option<&Value>) -> Result<Fetched>;
}

/// What a read is about.
#[derive(Clone, Debug)]
pub(crate) struct RecordStream {
    /// The source's name.
    pub(crate) source: &'static str,
    /// What is read, for people: a path or an object.
    pub(crate) label: String,
    /// The field an incremental read follows if the request names none.
    pub(crate) cursor: Option<String>,
}

/// Where a read stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Stored {
    /// The field the read follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// Up to which value an earlier read came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Cursor>,
    /// From which value on this read asks, which is earlier if it looks back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Cursor>,
    /// The records with the value `since` that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    since_edge: Vec<String>,
    /// The greatest value so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<Cursor>,
    /// The records with that value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    edge: Vec<String>,
    /// Whether there were more of them than are remembered.
    #[serde(default)]
    edge_full: bool,
    /// The records of earlier reads whose value says nothing about whether they are new.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    aside: Marks,
    /// Those of this read.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    aside_now: Marks,
    /// Where the answer is found that is read next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Value>,
    /// Its number.
    answer: u64,
    /// Whether the last answer is read in full, so that nothing is left but the end.
    #[serde(default)]
    drained: bool,
    /// How many of its records are read.
    skip: usize,
    /// The columns and their types.
    schema: Vec<(String, String)>,
    /// Whether the read came to its end.
    complete: bool,
}

impl Stored {
    /// Remembers a record at the edge.
    fn remember(&mut self, mark: String) {
        if self.edge.contains(&mark) {
            return;
        }
        if self.edge.len() < EDGE_MAX {
            self.edge.push(mark);
        } else {
            self.edge_full = true;
        }
    }

    /// Remembers a record that does not move the read, because its value cannot be ordered.
    fn set_aside(&mut self, mark: &str) {
        self.aside_now.insert(mark);
    }

    /// Puts those of this read with the earlier ones, at its end; says whether there were new ones.
    fn settle_aside(&mut self) -> bool {
        self.aside.renew(std::mem::take(&mut self.aside_now))
    }

    /// Takes note of a record's value.
    fn see(&mut self, value: Cursor, mark: String) {
        let order = self.seen.as_ref().map_or(Ordering::Greater, |seen| value.compare(seen));
        let seen = self.seen.as_ref().map(Cursor::rank);
        if order == Ordering::Less {
            // The next read cannot tell that it is none of the new ones.
            if seen.is_some_and(|seen| value.rank() < seen) {
                self.set_aside(&mark);
            }
            return;
        }
        if order == Ordering::Greater {
            let edge = std::mem::take(&mut self.edge);
            if seen.is_some_and(|seen| seen < value.rank()) {
                edge.iter().for_each(|mark| self.set_aside(mark));
            }
            self.seen = Some(value);
            self.edge_full = false;
        }
        self.remember(mark);
    }
}

/// An answer that waits for its records to become rows.
struct Waiting {
    at: Option<Value>,
    number: u64,
    fetched: Fetched,
}

struct RecordRead<'a> {
    fetch: Box<dyn Fetch + 'a>,
    stream: RecordStream,
    request: ReadRequest,
    cursor: Option<JsonPath>,
    stored: Stored,
    was_complete: bool,
    table: RecordTable,
    waiting: VecDeque<Waiting>,
    /// Where the next answer is found and its number, unless the last one is here.
    next: Option<(Option<Value>, u64)>,
    last_digest: String,
    answers_in_page: usize,
    started: bool,
    finished: bool,
    ready: VecDeque<Page>,
}

/// The pages of a read; an error is the last item.
pub(crate) fn records<'a>(
    stream: RecordStream,
    request: &ReadRequest,
    fetch: Box<dyn Fetch + 'a>,
) -> BoxStream<'a, Result<Page>> {
    let read = match RecordRead::new(stream, request.clone(), fetch) {
        Ok(read) => read,
        Err(error) => return stream::once(async move { Err(error) }).boxed(),
    };
    stream::try_unfold(read, |mut read| async move {
        Ok(read.next_page().await?.map(|page| (page, read)))
    })
    .boxed()
}

/// What becomes of a record in an incremental read.
enum Verdict {
    /// It is read; it moves the position to its value unless its column cannot hold that.
    Take(Option<(Cursor, String)>),
    LeaveOut,
    /// Whether it is new cannot be told, because this is not in its cursor.
    Lacks(&'static str),
}

impl<'a> RecordRead<'a> {
    fn new(stream: RecordStream, request: ReadRequest, fetch: Box<dyn Fetch + 'a>) -> Result<Self> {
        let mut stored = match &request.from {
            None => Stored::default(),
            Some(position) => serde_json::from_value(position.0.clone()).map_err(|error| {
                let source = stream.source;
                Error::corrupt(format!("the stored position is not one of a {source} source"))
                    .caused_by(error)
            })?,
        };
        if request.mode == ReadMode::Full && stored.complete {
            stored = Stored::default();
        }
        let was_complete = stored.complete;
        let cursor = prepare(&stream, &request, &mut stored)?;
        let table =
            RecordTable::new(stream.source, &request.columns, &stored.schema, request.page_rows)
                .limited(request.page_bytes);
        Ok(Self {
            next: (!stored.drained).then(|| (stored.at.clone(), stored.answer)),
            fetch,
            stream,
            request,
            cursor,
            stored,
            was_complete,
            table,
            waiting: VecDeque::new(),
            last_digest: String::new(),
            answers_in_page: 0,
            started: false,
            finished: false,
            ready: VecDeque::new(),
        })
    }

    async fn next_page(&mut self) -> Result<Option<Page>> {
        loop {
            if let Some(page) = self.ready.pop_front() {
                return Ok(Some(page));
            }
            if self.finished {
                return Ok(None);
            }
            if !self.started {
                self.started = true;
                self.sample().await?;
                self.stored.complete = false;
            }
            if self.waiting.is_empty() && self.next.is_some() {
                self.ask().await?;
            }
            match self.waiting.pop_front() {
                Some(waiting) => self.take(&waiting)?,
                None => self.end()?,
            }
        }
    }

    /// Reads the first answers and settles the columns, unless the position knows them.
    async fn sample(&mut self) -> Result<()> {
        if !self.stored.schema.is_empty() {
            return Ok(());
        }
        let (mut records, mut bytes) = (0, 0);
        while self.next.is_some()
            && records < SAMPLE_RECORDS
            && bytes < SAMPLE_BYTES_MAX
            && self.waiting.len() < SAMPLE_ANSWERS_MAX
        {
            self.ask().await?;
            if let Some(waiting) = self.waiting.back() {
                records += waiting.fetched.records.len();
                bytes += waiting.fetched.records.iter().map(String::len).sum::<usize>();
            }
        }
        let all = self.waiting.iter().flat_map(|waiting| &waiting.fetched.records);
        let columns = self.table.unknown(all.map(String::as_str));
        self.table.widen(columns);
        Ok(())
    }

    /// Reads one more answer.
    async fn ask(&mut self) -> Result<()> {
        let Some((at, number)) = self.next.take() else { return Ok(()) };
        let label = &self.stream.label;
        if number >= ANSWERS_MAX {
            return Err(Error::invalid(format!("the paging of {label} does not end"))
                .hint("Check the stream's `paging` against the API's reference."));
        }
        let fetched = match self.fetch.fetch(self.stored.from.as_ref(), at.as_ref()).await {
            Ok(fetched) => fetched,
            Err(error) => {
                let page = number + 1;
                let lost = at.is_some()
                    && self.request.from.is_some()
                    && matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound);
                let error = error.context(format!("page {page} of {label}"));
                return Err(if lost {
                    error.hint("The API may have forgotten where the earlier read stopped: read it from its start with `flywheel sync NAME --restart`.")
                } else {
                    error
                });
            }
        };
        let parts: Vec<&[u8]> = fetched.records.iter().map(String::as_bytes).collect();
        let found = digest::hex(&parts);
        if !parts.is_empty() && found == self.last_digest {
            let page = number + 1;
            return Err(Error::invalid(format!("page {page} of {label} is the same as the one before"))
                .hint("The server does not look at the paging parameter: check its name in the stream's `paging`."));
        }
        self.last_digest = found;
        if let Some(next) = &fetched.next {
            if at.as_ref() == Some(next) {
                return Err(Error::invalid(format!("the paging of {label} goes in circles")).hint(
                    "The answer names itself as the next one: check the stream's `paging`.",
                ));
            }
            self.next = Some((Some(next.clone()), number + 1));
        }
        self.waiting.push_back(Waiting { at, number, fetched });
        Ok(())
    }

    /// Makes rows of an answer's records.
    fn take(&mut self, waiting: &Waiting) -> Result<()> {
        let records = &waiting.fetched.records;
        let skip = if waiting.number == self.stored.answer { self.stored.skip } else { 0 };
        let new = self.table.unknown(records.iter().map(String::as_str));
        if !new.is_empty() {
            self.emit()?;
            self.table.widen(new);
        }
        // A page that ends with an answer needs no part of it to be read again.
        let (rows, room) = (self.table.page().rows(), self.request.page_rows.max(1));
        if rows > 0 && rows + records.len().saturating_sub(skip) > room {
            self.emit()?;
        }
        self.stored.at.clone_from(&waiting.at);
        self.stored.answer = waiting.number;
        if let Some((code, told)) = &waiting.fetched.notice {
            self.table.page().notice(code, &self.stream.label, told.as_str());
        }
        let place = format!("{} page {}", self.stream.label, waiting.number + 1);
        for (at, record) in records.iter().enumerate().skip(skip) {
            self.row(&place, at as u64 + 1, record)?;
            self.stored.skip = at + 1;
            if self.table.page().is_full() && at + 1 < records.len() {
                self.emit()?;
            }
        }
        self.stored.skip = 0;
        self.stored.answer = waiting.number + 1;
        self.stored.at.clone_from(&waiting.fetched.next);
        self.answers_in_page += 1;
        let more = waiting.fetched.next.is_some();
        self.stored.drained = !more;
        if more && (self.table.page().is_full() || self.answers_in_page >= PAGE_ANSWERS_MAX) {
            self.emit()?;
        }
        Ok(())
    }

    /// Makes a row of a record, if it is one to read.
    fn row(&mut self, place: &str, line: u64, record: &str) -> Result<()> {
        let before = self.table.page().rejected();
        match self.judge(record) {
            Verdict::LeaveOut => return Ok(()),
            Verdict::Take(None) => self.table.push(place, line, record)?,
            Verdict::Take(Some((value, mark))) => {
                self.table.push(place, line, record)?;
                let name = self.stored.cursor.as_deref().unwrap_or_default();
                if self.table.page().rejected() == before || self.table.reads(record, name) {
                    self.stored.see(value, mark);
                    return Ok(());
                }
                self.stored.set_aside(&mark);
            }
            Verdict::Lacks(what) => {
                let name = self.stored.cursor.clone().unwrap_or_default();
                let reason = format!(
                    "no {what} in \"{name}\", which the read follows; read the stream in full to have it"
                );
                let misfit = Misfit::new("no-cursor", reason);
                self.table.reject(place, line, Some(&name), misfit, record);
            }
        }
        // A read that has forgotten the record meets it again, at another place.
        if self.cursor.is_some() && self.table.page().rejected() > before {
            let label = &self.stream.label;
            self.table.page().name_last(label, &format!("{place}, record {line}"), record);
        }
        Ok(())
    }

    fn judge(&mut self, record: &str) -> Verdict {
        let Some(path) = &self.cursor else { return Verdict::Take(None) };
        let found = path.plain(record);
        let stored = &mut self.stored;
        let mark = mark(record);
        let aside = stored.aside.contains(&mark);
        let known = aside || stored.from == stored.since && stored.since_edge.contains(&mark);
        let value = match found {
            Ok(Some(value)) => Cursor(value),
            found => {
                stored.set_aside(&mark);
                // What has no value is set aside once, not in every read.
                if known {
                    return Verdict::LeaveOut;
                }
                // What is no object is set aside as such.
                let object = found.is_ok() && record.starts_with('{');
                return if object { Verdict::Lacks("value") } else { Verdict::Take(None) };
            }
        };
        // What is no moment among moments is neither before them nor after them.
        if let Some(least) = stored.from.as_ref().map(Cursor::rank)
            && value.rank() < least
        {
            let name = stored.cursor.as_deref().unwrap_or_default();
            let readable = self.table.reads(record, name);
            if !readable || least == Rank::Moment {
                stored.set_aside(&mark);
                if known {
                    return Verdict::LeaveOut;
                }
                return if readable { Verdict::Lacks("date or time") } else { Verdict::Take(None) };
            }
        }
        if stored.from.as_ref().is_some_and(|from| value.compare(from) == Ordering::Less) {
            return Verdict::LeaveOut;
        }
        if aside {
            stored.set_aside(&mark);
            return Verdict::LeaveOut;
        }
        if known {
            return Verdict::LeaveOut;
        }
        Verdict::Take(Some((value, mark)))
    }

    /// Puts the page so far among those that are ready.
    fn emit(&mut self) -> Result<()> {
        self.answers_in_page = 0;
        if self.table.page().is_empty() {
            return Ok(());
        }
        self.emit_always()
    }

    fn emit_always(&mut self) -> Result<()> {
        self.stored.schema = self.table.remembered();
        let position = serde_json::to_value(&self.stored)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))?;
        let page = self.table.finish(position)?;
        self.ready.push_back(page);
        Ok(())
    }

    /// The last page, if there is anything to say.
    fn end(&mut self) -> Result<()> {
        self.finished = true;
        let moved = self.stored.settle_aside()
            || self.stored.seen != self.stored.since
            || self.stored.edge != self.stored.since_edge;
        if self.was_complete && self.table.page().is_empty() && !moved && self.ready.is_empty() {
            return Ok(());
        }
        let empty = self.table.never_filled();
        if !empty.is_empty() {
            self.emit()?;
            self.table.widen(empty);
        }
        self.stored.complete = true;
        (self.stored.at, self.stored.answer, self.stored.skip) = (None, 0, 0);
        self.stored.drained = false;
        self.stored.from = None;
        self.stored.since.clone_from(&self.stored.seen);
        self.stored.since_edge.clone_from(&self.stored.edge);
        self.emit_always()
    }
}

/// Settles which field the read follows and from which value on.
fn prepare(
    stream: &RecordStream,
    request: &ReadRequest,
    stored: &mut Stored,
) -> Result<Option<JsonPath>> {
    let label = &stream.label;
    let ReadMode::Incremental { cursor, lag } = &request.mode else {
        if stored.cursor.is_some() {
            *stored = Stored { schema: std::mem::take(&mut stored.schema), ..Stored::default() };
        }
        return Ok(None);
    };
    let Some(cursor) = cursor.as_ref().or(stream.cursor.as_ref()) else {
        return Err(Error::invalid(format!("an incremental read of {label} needs a cursor")).hint(
            "Set `cursor` to a field that grows with every change, or read it with mode full.",
        ));
    };
    if request.from.is_some() && stored.cursor.as_ref() != Some(cursor) {
        return Err(Error::invalid(format!(
            "the stored position of {label} follows another field"
        ))
        .hint(
            "The cursor was changed: read it from its start with `flywheel sync NAME --restart`.",
        ));
    }
    if lag.is_some() && request.write_appends {
        return Err(Error::invalid("a read that looks back cannot be appended")
            .hint("Rows would be there twice: write with `merge`, or leave out `lag`."));
    }
    stored.cursor = Some(cursor.clone());
    if stored.complete {
        if stored.edge_full && request.write_appends && lag.is_none() {
            return Err(Error::invalid(format!(
                "more than {EDGE_MAX} records of {label} have the last value of \"{cursor}\", so that some would be appended twice"
            ))
            .hint("Write with `merge` and a key."));
        }
        stored.from = match (&stored.since, lag) {
            (Some(since), Some(lag)) => Some(since.back(lag)?),
            (since, _) => since.clone(),
        };
    }
    JsonPath::parse(cursor).map(Some)
}
