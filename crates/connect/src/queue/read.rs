//! The read of a topic from its position up to where it ends now.

use std::collections::{BTreeMap, VecDeque};

use flywheel_base::{Error, Result};

use super::plan::{Plan, Stored, plan, shown};
use super::record::{Outcome, Recorder, Taken};
use super::stream::{Start, TopicStream};
use super::{Queue, Span, TopicReader, check_topic_name};
use crate::column::Parsing;
use crate::files::PageRead;
use crate::page::{Column, Page};
use crate::records::RecordTable;
use crate::source::{ReadMode, ReadRequest, settings};

/// Messages that are taken together; as many are looked at to find the types of columns.
const CHUNK_MESSAGES: usize = 1_000;

/// Bytes of messages that are taken together.
const CHUNK_BYTES: usize = 16 << 20;

/// A read of one topic.
pub(crate) struct TopicRead {
    queue: Box<dyn Queue>,
    stream: TopicStream,
    request: ReadRequest,
    recorder: Recorder,
    /// Where the read stands.
    stored: Stored,
    /// Where it stood before.
    before: Option<Stored>,
    table: RecordTable,
    open: Option<Open>,
    ready: VecDeque<Page>,
    finished: bool,
}

struct Open {
    reader: Box<dyn TopicReader>,
    /// What is still to be read.
    spans: VecDeque<Span>,
    current: Option<Span>,
}

/// What comes out of the partitions, in order.
enum Item {
    Message(Taken),
    /// A partition is read up to this offset.
    End(i32, i64),
}

impl TopicRead {
    /// Prepares a read; does no I/O.
    pub(crate) fn new(queue: Box<dyn Queue>, request: &ReadRequest) -> Result<Self> {
        let stream: TopicStream = settings("stream", request.stream.clone())?;
        check_topic_name(&stream.topic)?;
        if let ReadMode::Incremental { cursor, lag } = &request.mode
            && (cursor.is_some() || lag.is_some())
        {
            let kind = queue.kind();
            return Err(Error::invalid(format!("a {kind} stream has no `cursor` and no `lag`"))
                .hint("It follows the offsets of the topic: leave both out."));
        }
        let before = request.from.as_ref().map(Stored::of).transpose()?;
        if let Some(before) = &before
            && before.topic != stream.topic
        {
            return Err(Error::invalid(format!(
                "the stored position is one of the topic \"{}\", not of \"{}\"",
                before.topic, stream.topic
            ))
            .hint("The stream's topic was changed: read it from its start with `flywheel sync NAME --restart`."));
        }
        let mut stored = before.clone().unwrap_or_default();
        if request.mode == ReadMode::Full && stored.complete {
            stored = Stored::default();
        }
        stored.topic.clone_from(&stream.topic);
        let recorder = Recorder::new(&stream);
        let columns = recorder.columns(&request.columns);
        let parsing = Parsing { base64: stream.base64 || recorder.base64(), ..Parsing::default() };
        let table = RecordTable::new(queue.kind(), &columns, &stored.schema, request.page_rows)
            .with_parsing(parsing)
            .limited(request.page_bytes);
        Ok(Self {
            queue,
            stream,
            request: request.clone(),
            recorder,
            stored,
            before,
            table,
            open: None,
            ready: VecDeque::new(),
            finished: false,
        })
    }

    /// The columns found so far.
    pub(crate) fn columns(&self) -> &[Column] {
        self.table.schema().columns()
    }

    /// Connects and decides what to read.
    fn start(&mut self) -> Result<Open> {
        let topic = &self.stream.topic;
        let mut reader = self.queue.open(&self.stream)?;
        let extents = reader.extents()?;
        let fresh = self.stored.next.is_empty() && self.request.mode != ReadMode::Full;
        let first = match self.stream.start {
            Start::Latest if fresh => {
                extents.iter().map(|(partition, extent)| (*partition, extent.high)).collect()
            }
            Start::At(moment) if fresh => {
                let partitions: Vec<i32> = extents.keys().copied().collect();
                reader.at_moment(&partitions, moment.micros().div_euclid(1_000))?
            }
            _ => BTreeMap::new(),
        };
        let Plan { spans, gaps } =
            plan(topic, &self.stored.next, &first, &extents, self.stream.on_gap)?;
        for gap in &gaps {
            let message =
                format!("retention removed messages before they were read: {}", shown(gap));
            tracing::warn!(topic, partition = gap.partition, from = gap.from, to = gap.to, "gap");
            self.table.page().notice("messages-lost", topic, message);
        }
        self.stored.next = spans.iter().map(|span| (span.partition, span.from)).collect();
        self.stored.complete = false;
        let spans = spans.into_iter().filter(|span| span.from < span.to).collect();
        Ok(Open { reader, spans, current: None })
    }

    /// Takes the next messages, those of one partition after those of the other.
    fn chunk(&mut self) -> Result<Vec<Item>> {
        let Some(open) = &mut self.open else { return Ok(Vec::new()) };
        let (mut items, mut messages, mut bytes) = (Vec::new(), 0, 0);
        // A page that ends with a chunk makes a crash repeat less.
        let room = self.request.page_rows.clamp(1, CHUNK_MESSAGES);
        let most = if self.stored.schema.is_empty() { CHUNK_MESSAGES } else { room };
        while messages < most && bytes < CHUNK_BYTES {
            let span = match open.current {
                Some(span) => span,
                None => match open.spans.pop_front() {
                    Some(span) => {
                        open.reader.begin(span)?;
                        open.current = Some(span);
                        span
                    }
                    None => break,
                },
            };
            let more = open.reader.next(&mut |message| {
                let taken = self.recorder.take(message);
                messages += 1;
                bytes += taken.size;
                items.push(Item::Message(taken));
            })?;
            if !more {
                items.push(Item::End(span.partition, span.to));
                open.current = None;
            }
        }
        Ok(items)
    }

    /// Makes rows of what was taken.
    fn take(&mut self, items: Vec<Item>) -> Result<()> {
        let records = items.iter().filter_map(|item| match item {
            Item::Message(Taken { outcome: Outcome::Record { record, .. }, .. }) => {
                Some(record.as_str())
            }
            _ => None,
        });
        let new = self.table.unknown(records);
        if !new.is_empty() {
            if !self.table.page().is_empty() {
                self.emit()?;
            }
            self.table.widen(new);
        }
        for item in items {
            match item {
                Item::Message(taken) => self.row(taken)?,
                Item::End(partition, to) => {
                    self.stored.next.insert(partition, to);
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, taken: Taken) -> Result<()> {
        if self.table.page().is_full() {
            self.emit()?;
        }
        let place = format!("{}/{}", self.stream.topic, taken.partition);
        let line = u64::try_from(taken.offset).unwrap_or(0);
        match taken.outcome {
            Outcome::Record { record, read } => {
                let read = read.as_ref().unwrap_or(&record);
                self.table.push_made(&place, line, &record, read)?;
            }
            Outcome::Rejected { column, misfit, read } => {
                self.table.reject(&place, line, column.as_deref(), misfit, &read);
            }
            Outcome::Skipped => {}
        }
        self.stored.next.insert(taken.partition, taken.offset + 1);
        Ok(())
    }

    /// Puts the page so far among those that are ready.
    fn emit(&mut self) -> Result<()> {
        self.stored.schema = self.remembered();
        let page = self.table.finish(self.stored.position()?)?;
        self.ready.push_back(page);
        Ok(())
    }

    /// The columns that the position keeps: those that messages showed.
    fn remembered(&self) -> Vec<(String, String)> {
        self.table.remembered()
    }

    /// The last page, if there is anything to say.
    fn end(&mut self) -> Result<()> {
        self.finished = true;
        self.open = None;
        self.stored.complete = true;
        let mut now = self.stored.clone();
        now.schema = self.remembered();
        let moved = self.before.as_ref() != Some(&now);
        let anew = self.before.as_ref().is_some_and(|before| before.complete)
            && self.request.mode == ReadMode::Full;
        if !self.table.page().is_empty() || moved || anew {
            self.emit()?;
        }
        Ok(())
    }
}

impl PageRead for TopicRead {
    fn next_page(&mut self) -> Result<Option<Page>> {
        loop {
            if let Some(page) = self.ready.pop_front() {
                return Ok(Some(page));
            }
            if self.finished {
                return Ok(None);
            }
            if self.open.is_none() {
                self.open = Some(self.start()?);
            }
            let items = self.chunk()?;
            if items.is_empty() {
                self.end()?;
            } else {
                self.take(items)?;
            }
        }
    }
}
