//! The read of one stream: lines and messages of the program become pages.
//!
//! ```text
//! schema, batch ─► page that waits ─┬─ position line ─► the page has this position
//!                                   └─ batch or end ──► the page is handed over
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use arrow::ipc::reader::StreamDecoder;
use flywheel_base::{Error, ErrorKind, Result, task};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Asked, PROTOCOL, ProgramStream, not_spoken};
use crate::column::Misfit;
use crate::files::{fit, plain_type, row_text, without};
use crate::page::{Column, Page, PageBuilder, Position, TableSchema, raw};
use crate::process::{Line, Part, Program, Running};
use crate::source::{ReadMode, ReadRequest, StreamInfo};

/// The source's name.
const SOURCE: &str = "program";

/// Rows and notices without a batch that a page gathers.
const ASIDE_MAX: u64 = 10_000;

/// What a line of JSON says.
#[derive(Debug)]
pub(crate) enum Words {
    /// The greeting.
    Hello,
    /// A stream that can be read.
    Stream(Listed),
    /// All rows so far are before this position.
    Position(Value),
    /// A row that the program could not read.
    Rejected(SetAside),
    /// Something a person should know.
    Notice(Told),
    /// The rows of a commit are stored.
    Stored(Value),
    /// The program failed.
    Failed(Error),
    /// Nothing that is known here.
    Nothing,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    flywheel: Option<u64>,
    #[serde(default)]
    stream: Option<Listed>,
    #[serde(default)]
    rejected: Option<SetAside>,
    #[serde(default)]
    notice: Option<Told>,
    #[serde(default)]
    error: Option<Failure>,
    // A position may be null, which is another thing than none.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// A stream that a program lists.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed {
    name: String,
    #[serde(default)]
    options: Map<String, Value>,
    #[serde(default)]
    key: Vec<String>,
    #[serde(default)]
    cursors: Vec<String>,
    #[serde(default)]
    rows: Option<u64>,
}

/// A row that a program sets aside.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SetAside {
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    line: Option<u64>,
    #[serde(default)]
    column: Option<String>,
    reason: String,
    #[serde(default)]
    raw: String,
}

/// What a program wants to be known.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Told {
    message: String,
}

#[derive(Deserialize)]
struct Failure {
    message: String,
    /// `config` if trying again is of no use.
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    hint: Option<String>,
}

/// What a line says.
///
/// # Errors
/// [`ErrorKind::Invalid`] if it is not a line of the protocol.
pub(crate) fn said(line: &str, program: &Program) -> Result<Words> {
    if line.trim().is_empty() {
        return Ok(Words::Nothing);
    }
    let mask = program.mask();
    let envelope: Envelope = serde_json::from_str(line).map_err(|_| {
        let start: String = line.chars().take(80).collect();
        Error::invalid(format!(
            "{} writes a line that is not one of the protocol: {}",
            program.name(),
            mask.cut_end(mask.apply(&start))
        ))
        .hint("Write nothing but Arrow streams and lines of JSON to stdout; what people shall read belongs on stderr.")
    })?;
    let Envelope { flywheel, stream, rejected, notice, error, mut more } = envelope;
    if let Some(Failure { message, kind, hint }) = error {
        let kind = match kind.as_deref() {
            Some("config") => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        let error = Error::new(kind, format!("the program failed: {}", mask.apply(&message)));
        return Ok(Words::Failed(match hint {
            Some(hint) => error.hint(mask.apply(&hint)),
            None => error,
        }));
    }
    Ok(match (flywheel, stream, rejected, notice) {
        (Some(PROTOCOL), ..) => Words::Hello,
        (Some(other), ..) => Words::Failed(
            Error::invalid(format!(
                "{} speaks version {other} of the protocol, not {PROTOCOL}",
                program.name()
            ))
            .hint("Use a version of the program that speaks this one."),
        ),
        (_, Some(stream), ..) => Words::Stream(stream),
        (_, _, Some(mut rejected), _) => {
            rejected.reason = mask.apply(&rejected.reason);
            rejected.raw = mask.apply(&rejected.raw);
            Words::Rejected(rejected)
        }
        (.., Some(notice)) => Words::Notice(Told { message: mask.apply(&notice.message) }),
        _ => match (more.remove("position"), more.remove("stored")) {
            (Some(position), _) => Words::Position(position),
            (None, Some(stored)) => Words::Stored(stored),
            (None, None) => Words::Nothing,
        },
    })
}

/// Decodes the messages of streams that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Decoder(StreamDecoder);

impl Decoder {
    /// Takes a whole message; a schema begins a new stream. Returns the batches that are complete.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it cannot be decoded.
    pub(crate) async fn take(
        &mut self,
        part: Part,
        message: Vec<u8>,
        name: &str,
    ) -> Result<Vec<RecordBatch>> {
        let mut decoder = match part {
            Part::Schema => StreamDecoder::new(),
            _ => std::mem::take(&mut self.0),
        };
        let wrong = |why: String| {
            Error::invalid(format!("{name} sends an Arrow message that cannot be decoded: {why}"))
        };
        // A message that is damaged can make the library panic, which ends only this computation.
        let done = task::compute(move || {
            let (mut bytes, mut batches) = (Buffer::from_vec(message), Vec::new());
            while !bytes.is_empty() {
                match decoder.decode(&mut bytes) {
                    Ok(batch) => batches.extend(batch),
                    Err(error) => return Ok(Err(error.to_string())),
                }
            }
            Ok(Ok((decoder, batches)))
        })
        .await;
        match done {
            Ok(Ok((decoder, batches))) => {
                self.0 = decoder;
                Ok(batches)
            }
            Ok(Err(why)) => Err(wrong(why)),
            Err(_) => Err(wrong("it is damaged".to_owned())),
        }
    }

    /// The columns of the stream.
    pub(crate) fn schema(&self) -> Option<SchemaRef> {
        self.0.schema()
    }
}

/// The columns as the lake keeps them.
///
/// # Errors
/// [`ErrorKind::Invalid`] if a type has no place there.
fn columns(schema: &Schema, name: &str) -> Result<Vec<Column>> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let kept = match plain_type(field.data_type()) {
            // A column without any value may be of any type later.
            DataType::Null => continue,
            DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
            DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
            DataType::UInt8 | DataType::UInt16 => DataType::Int32,
            DataType::UInt32 => DataType::Int64,
            DataType::UInt64 => DataType::Decimal128(20, 0),
            DataType::Float16 => DataType::Float32,
            DataType::Date64 => DataType::Date32,
            DataType::Timestamp(_, zone) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.map(|_| Arc::from("UTC")))
            }
            DataType::Dictionary(_, value) => match *value {
                DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
                other => other,
            },
            other @ (DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Duration(_)
            | DataType::Interval(_)
            | DataType::Union(..)
            | DataType::RunEndEncoded(..)
            | DataType::Decimal256(..)) => {
                let column = field.name();
                return Err(Error::invalid(format!(
                    "{name} sends the column \"{column}\" as {other}, which has no place in a table"
                ))
                .hint("Let the program send it as text, a number or a timestamp."));
            }
            other => other,
        };
        columns.push(Column::arrow(field.name(), kept));
    }
    Ok(columns)
}

/// The batch without columns that never have a value, which have no type.
fn typed(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let fields = schema.fields().iter().enumerate();
    let kept = fields.filter(|(_, field)| field.data_type() != &DataType::Null);
    let kept: Vec<usize> = kept.map(|(at, _)| at).collect();
    batch
        .project(&kept)
        .map_err(|error| Error::internal("columns cannot be left out").caused_by(error))
}

/// What comes next in the output of a program.
enum Heard {
    Words(Words),
    Message(Part),
    End,
}

/// A program that was asked and answers.
struct Talk<'a> {
    running: Running,
    program: &'a Program,
    greeted: bool,
}

impl<'a> Talk<'a> {
    /// Starts the program, sends the request, and ends its input.
    async fn begin(asked: &'a Asked, verb: &str, request: Value) -> Result<Self> {
        let (mut running, request) = asked.start(verb, request)?;
        running.send(&request).await?;
        running.end_input();
        Ok(Self { running, program: &asked.program, greeted: false })
    }

    /// The next line or message; its bytes are put into `bytes`. At the end the program has ended well.
    async fn next(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Heard>> {
        loop {
            let heard = match self.running.part(bytes).await? {
                None => {
                    self.running.finish().await?;
                    return if self.greeted { Ok(None) } else { Err(not_spoken(self.program)) };
                }
                Some(Part::End) => Heard::End,
                Some(part @ (Part::Schema | Part::Message)) => Heard::Message(part),
                Some(Part::Line(Line::TooLong)) => {
                    let name = self.program.name();
                    return Err(Error::exhausted(format!("{name} writes a line that is too long"))
                        .hint(
                            "Raise `line_bytes_max` of the connection, or write shorter lines.",
                        ));
                }
                Some(Part::Line(Line::Whole)) => {
                    match said(&String::from_utf8_lossy(bytes), self.program)? {
                        Words::Failed(error) => return Err(error),
                        Words::Hello => {
                            self.greeted = true;
                            continue;
                        }
                        Words::Nothing => continue,
                        words => Heard::Words(words),
                    }
                }
            };
            if !self.greeted {
                return Err(not_spoken(self.program));
            }
            return Ok(Some(heard));
        }
    }
}

/// What the program lists.
pub(super) async fn streams(asked: &Asked) -> Result<Vec<StreamInfo>> {
    let name = asked.program.name();
    let mut talk = Talk::begin(asked, "describe", json!({})).await?;
    let (mut bytes, mut decoder) = (Vec::new(), Decoder::default());
    let mut found = Vec::<StreamInfo>::new();
    while let Some(heard) = talk.next(&mut bytes).await? {
        match heard {
            Heard::Words(Words::Stream(listed)) => found.push(listed.info()?),
            Heard::Words(_) | Heard::End => {}
            Heard::Message(part) => {
                decoder.take(part, std::mem::take(&mut bytes), name).await?;
                if let (Some(schema), Some(info)) = (decoder.schema(), found.last_mut()) {
                    let table = TableSchema::new(columns(&schema, name)?, false);
                    info.schema = Arc::clone(table.arrow());
                    info.columns = table.columns().iter().filter_map(Column::declarable).collect();
                }
            }
        }
    }
    Ok(found)
}

impl Listed {
    fn info(self) -> Result<StreamInfo> {
        let stream = ProgramStream { stream: self.name.clone(), options: self.options };
        Ok(StreamInfo {
            name: self.name,
            stream: serde_json::to_value(stream)
                .map_err(|error| Error::internal("a stream cannot be written").caused_by(error))?,
            schema: Arc::new(Schema::empty()),
            columns: Vec::new(),
            primary_key: self.key,
            cursors: self.cursors,
            rows: self.rows,
            bytes: None,
            unread: None,
        })
    }
}

/// Where a read stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stored {
    /// How the stream was read.
    way: String,
    /// The last position, in the program's own words.
    #[serde(default)]
    state: Option<Value>,
    /// Rows up to it, those set aside included: their number is what a row is traced to.
    rows: u64,
    /// Whether the read came to its end.
    complete: bool,
}

impl Stored {
    /// Where a read begins.
    fn begin(request: &ReadRequest, label: &str) -> Result<Self> {
        let way = match request.mode {
            ReadMode::Full => "full",
            ReadMode::Incremental { .. } => "incremental",
        };
        let fresh = Self { way: way.to_owned(), ..Self::default() };
        let Some(position) = &request.from else { return Ok(fresh) };
        let stored: Self = serde_json::from_value(position.0.clone()).map_err(|error| {
            Error::corrupt("the stored position is not one of a program source").caused_by(error)
        })?;
        if request.mode == ReadMode::Full {
            let other = stored.complete || stored.way != way;
            return Ok(if other { fresh } else { stored });
        }
        if stored.way != way {
            return Err(Error::invalid(format!(
                "the stored position of {label} is of another way to read it"
            ))
            .hint("The read mode was changed: read it from its start with `flywheel sync NAME --restart`."));
        }
        Ok(stored)
    }

    fn position(&self) -> Result<Position> {
        serde_json::to_value(self)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))
    }
}

/// A page that waits for what comes after it.
struct Waiting {
    builder: PageBuilder,
    schema: TableSchema,
    /// Nothing if the read cannot go on behind it.
    position: Option<Stored>,
    /// Rows that were set aside, and notices.
    aside: u64,
    has_batch: bool,
}

/// One read.
pub(super) struct ProgramRead<'a> {
    asked: &'a Asked,
    stream: ProgramStream,
    request: ReadRequest,
    schema: TableSchema,
    /// Where the read stands, up to the last position.
    stored: Stored,
    /// Where it began.
    start: Stored,
    /// Rows so far, those behind the last position included.
    rows: u64,
    talk: Option<Talk<'a>>,
    decoder: Decoder,
    waiting: Option<Waiting>,
    ended: bool,
    failed: Option<Error>,
}

impl<'a> ProgramRead<'a> {
    pub(super) fn new(
        asked: &'a Asked,
        stream: ProgramStream,
        request: &ReadRequest,
    ) -> Result<Self> {
        let stored = Stored::begin(request, &stream.stream)?;
        let declared = request.columns.iter().map(Column::declared).collect();
        Ok(Self {
            asked,
            schema: TableSchema::new(declared, false),
            stream,
            request: request.clone(),
            start: stored.clone(),
            rows: stored.rows,
            stored: Stored { complete: false, ..stored },
            talk: None,
            decoder: Decoder::default(),
            waiting: None,
            ended: false,
            failed: None,
        })
    }

    pub(super) async fn next_page(&mut self) -> Result<Option<Page>> {
        let mut bytes = Vec::new();
        loop {
            if let Some(error) = self.failed.take() {
                self.ended = true;
                return Err(error.context(&self.stream.stream));
            }
            if self.ended {
                return Ok(None);
            }
            match self.step(&mut bytes).await {
                Ok(None) => {}
                Ok(Some(page)) => return Ok(Some(page)),
                Err(error) => {
                    self.talk = None;
                    self.failed = Some(error);
                    // What was read before stays true.
                    if let Some(waiting) = self.waiting.take() {
                        return finished(waiting).map(Some);
                    }
                }
            }
        }
    }

    async fn step(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Page>> {
        let talk = match &mut self.talk {
            Some(talk) => talk,
            None => {
                let request = self.request();
                self.talk.insert(Talk::begin(self.asked, "read", request).await?)
            }
        };
        match talk.next(bytes).await? {
            None => self.end(),
            Some(Heard::End) => Ok(None),
            Some(Heard::Message(part)) => {
                let name = self.asked.program.name();
                let batches = self.decoder.take(part, std::mem::take(bytes), name).await?;
                let mut page = None;
                for batch in batches {
                    page = self.batch(&batch)?.or(page);
                }
                Ok(page)
            }
            Some(Heard::Words(words)) => self.words(words),
        }
    }

    /// What the program is asked for.
    fn request(&self) -> Value {
        let cursor = match &self.request.mode {
            ReadMode::Incremental { cursor, .. } => cursor.clone(),
            ReadMode::Full => None,
        };
        json!({
            "stream": self.stream.stream, "options": self.stream.options,
            "read": self.stored.way, "cursor": cursor, "position": self.stored.state,
            "batch_rows": self.request.page_rows,
        })
    }

    /// Takes a batch; the page before it is handed over.
    fn batch(&mut self, batch: &RecordBatch) -> Result<Option<Page>> {
        let (label, name) = (&self.stream.stream, self.asked.program.name());
        let batch = &typed(batch)?;
        let names = batch.schema();
        let mut seen = BTreeSet::new();
        if let Some(twice) = names.fields().iter().find(|field| !seen.insert(field.name())) {
            let twice = twice.name();
            return Err(Error::invalid(format!("{name} sends the column \"{twice}\" twice"))
                .hint("Give each column a name of its own."));
        }
        let new = columns(&names, name)?;
        let new: Vec<Column> =
            new.into_iter().filter(|column| self.schema.place(&column.name).is_none()).collect();
        let before = match &self.waiting {
            Some(waiting) if !waiting.has_batch && new.is_empty() => None,
            _ => self.waiting.take().map(finished).transpose()?,
        };
        if !new.is_empty() {
            self.schema = self.schema.extended(new);
        }
        let (arrays, misfits) = fit(batch, &self.schema, label)?;
        let waiting = self.waiting.get_or_insert_with(|| Waiting::new(&self.schema));
        let mut lines = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let line = self.rows + row as u64 + 1;
            match misfits.get(&row) {
                None => lines.push(line),
                Some((column, misfit)) => {
                    let text = self.asked.program.mask().apply(&row_text(batch, row));
                    waiting.builder.reject(label, Some(line), Some(column), misfit.clone(), text);
                }
            }
        }
        let arrays = without(arrays, batch.num_rows(), &misfits)?;
        waiting.builder.take(&waiting.schema, arrays, label, &lines)?;
        waiting.has_batch = true;
        waiting.position = None;
        self.rows += batch.num_rows() as u64;
        Ok(before)
    }

    fn words(&mut self, words: Words) -> Result<Option<Page>> {
        match words {
            Words::Position(state) => {
                self.stored.state = Some(state);
                self.stored.rows = self.rows;
                if let Some(waiting) = &mut self.waiting {
                    waiting.position = Some(self.stored.clone());
                }
                Ok(None)
            }
            Words::Rejected(set_aside) => {
                // It lies behind the position of what waits.
                let settled = self.waiting.take_if(|waiting| waiting.position.is_some());
                let before = settled.map(finished).transpose()?;
                self.rows += 1;
                let (line, label) = (set_aside.line.unwrap_or(self.rows), &self.stream.stream);
                let misfit = Misfit::new("rejected-by-program", set_aside.reason);
                let waiting = self.waiting.get_or_insert_with(|| Waiting::new(&self.schema));
                waiting.builder.reject(
                    set_aside.file.as_deref().unwrap_or(label),
                    Some(line),
                    set_aside.column.as_deref(),
                    misfit,
                    raw(&set_aside.raw),
                );
                if before.is_some() { Ok(before) } else { self.aside() }
            }
            Words::Notice(told) => {
                let waiting = self.waiting.get_or_insert_with(|| Waiting::new(&self.schema));
                waiting.builder.notice("program", &self.stream.stream, told.message);
                self.aside()
            }
            Words::Stream(_)
            | Words::Stored(_)
            | Words::Hello
            | Words::Failed(_)
            | Words::Nothing => Ok(None),
        }
    }

    /// Counts what is beside the rows; a page that has much of it is handed over.
    fn aside(&mut self) -> Result<Option<Page>> {
        let Some(waiting) = &mut self.waiting else { return Ok(None) };
        waiting.aside += 1;
        if waiting.aside < ASIDE_MAX {
            return Ok(None);
        }
        self.waiting.take().map(finished).transpose()
    }

    /// Takes note of the end.
    fn end(&mut self) -> Result<Option<Page>> {
        self.ended = true;
        self.talk = None;
        let open = self.rows > self.stored.rows;
        let incremental = self.request.mode != ReadMode::Full;
        if open && incremental {
            // Whatever came after the last position would be read again by the next run.
            self.waiting = None;
            let name = self.asked.program.name();
            return Err(Error::invalid(format!(
                "{name} ended without a position after its last rows, so that the next read would not know where to go on"
            ))
            .hint("Write a line {\"position\": …} after the last batch, or read with `read: full`.")
            .context(&self.stream.stream));
        }
        self.stored.rows = self.rows;
        self.stored.complete = true;
        if self.waiting.is_none() && self.stored == self.start {
            return Ok(None);
        }
        let waiting = self.waiting.take();
        let mut waiting = waiting.unwrap_or_else(|| Waiting::new(&self.schema));
        waiting.position = Some(self.stored.clone());
        finished(waiting).map(Some)
    }
}

impl Waiting {
    fn new(schema: &TableSchema) -> Self {
        Self {
            builder: PageBuilder::new(SOURCE, schema, 1),
            schema: schema.clone(),
            position: None,
            aside: 0,
            has_batch: false,
        }
    }
}

/// Hands a page over.
fn finished(mut waiting: Waiting) -> Result<Page> {
    let position = match &waiting.position {
        Some(stored) => stored.position()?,
        None => Position(Value::Null),
    };
    waiting.builder.finish(&waiting.schema, position)
}
