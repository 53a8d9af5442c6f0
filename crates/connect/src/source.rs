//! The source seam: what every source can do, and the list of them.
//!
//! Who calls it: a sync builds the source once from its connection, then reads each stream page by
//! page and commits every page with its position. What holds after a crash: the pages after the last
//! committed position are read again, exactly as before.

pub mod adbc;
pub mod airbyte;
pub mod avro;
pub mod csv;
pub mod excel;
pub mod hubspot;
pub mod journal;
pub mod jsonl;
pub mod kafka;
pub mod mysql;
pub mod odbc;
pub mod parquet;
pub mod postgres;
pub mod program;
pub mod rest;
pub mod salesforce;
pub mod singer;
pub mod sqlite;

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod mutated;
#[cfg(test)]
pub(crate) mod replica;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, Result, Timestamp, suggest};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use schemars::{JsonSchema, Schema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::column::DeclaredColumn;
use crate::connections::Connections;
use crate::fit::fit;
use crate::health::Health;
use crate::page::{Page, Position};

/// How many rows a page has unless the reader asks for another number.
pub const PAGE_ROWS_DEFAULT: usize = 20_000;

/// About how many bytes a page has unless the reader asks for another number.
pub const PAGE_BYTES_DEFAULT: usize = 64 << 20;

/// Every source, in the order the docs list them. A new source adds its module and one line.
pub const SOURCES: &[SourceEntry] = &[
    source::<csv::Csv>("csv"),
    source::<jsonl::JsonLines>("jsonl"),
    source::<parquet::Parquet>("parquet"),
    source::<avro::Avro>("avro"),
    source::<excel::Excel>("excel"),
    source::<sqlite::Sqlite>("sqlite"),
    source::<mysql::MySql>("mysql"),
    source::<postgres::Postgres>("postgres"),
    source::<odbc::Odbc>("odbc"),
    source::<adbc::Adbc>("adbc"),
    source::<kafka::Kafka>("kafka"),
    source::<journal::Journal>("journal"),
    source::<rest::Rest>("rest"),
    source::<hubspot::HubSpot>("hubspot"),
    source::<salesforce::Salesforce>("salesforce"),
    source::<singer::Singer>("singer"),
    source::<airbyte::Airbyte>("airbyte"),
    source::<program::ArrowProgram>("program"),
];

/// One kind of source: its name, what it is for, its settings, and how one is built.
#[derive(Clone, Copy, Debug)]
pub struct SourceEntry {
    /// The `type` of a connection.
    pub name: &'static str,
    /// What it reads, in a sentence.
    pub about: &'static str,
    /// Whether it can follow the system's log of changes.
    pub cdc: bool,
    /// Whether [`SourceContext::connections`] is kept to.
    pub capped: bool,
    /// Whether this build of the program has it; [`how_to_get`] says what to do if not.
    pub in_build: bool,
    /// The JSON Schema of a connection's settings.
    pub connection_schema: fn() -> Schema,
    /// The JSON Schema of a stream's settings.
    pub stream_schema: fn() -> Schema,
    build: fn(Value, &SourceContext) -> Result<Box<dyn Source>>,
    check_stream: fn(Value) -> Result<()>,
}

impl SourceEntry {
    /// Builds the source from a connection's settings; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the settings are not of this source's schema.
    pub fn build(&self, connection: Value, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        (self.build)(connection, ctx)
            .map_err(|error| error.context(format!("{} source", self.name)))
    }

    /// Proves that a stream's settings are of this source's schema; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] that names the key.
    pub fn check_stream(&self, stream: Value) -> Result<()> {
        (self.check_stream)(stream).map_err(|error| error.context(format!("{} source", self.name)))
    }

    /// The entry of that name.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no source of that name.
    pub fn named(name: &str) -> Result<&'static Self> {
        SOURCES.iter().find(|entry| entry.name == name).ok_or_else(|| {
            Error::not_found(format!("there is no source type \"{name}\""))
                .hint(suggest::hint(name, SOURCES.iter().map(|entry| entry.name)))
        })
    }
}

/// How to get a build of the program that has the connector `name`, which this build lacks.
#[must_use]
pub fn how_to_get(name: &str) -> String {
    format!(
        "Build it with its feature: `cargo build --release --features {name}`; the guide \
         connect-drivers says what else it needs."
    )
}

/// The settings of a source; the doc comments are its reference page, the schemas the editor's help.
pub trait SourceConfig: DeserializeOwned + JsonSchema {
    /// The settings of one of its streams.
    type Stream: DeserializeOwned + JsonSchema;

    /// What it reads, in a sentence.
    const ABOUT: &'static str;
    /// Whether [`Source::changes`] works.
    const CDC: bool = false;
    /// Whether it keeps to [`SourceContext::connections`].
    const CAPPED: bool = false;
    /// Whether this build of the program has it.
    const IN_BUILD: bool = true;

    /// Builds the source; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a setting is impossible.
    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>>;
}

const fn source<C: SourceConfig>(name: &'static str) -> SourceEntry {
    SourceEntry {
        name,
        about: C::ABOUT,
        cdc: C::CDC,
        capped: C::CAPPED,
        in_build: C::IN_BUILD,
        connection_schema: || schema_for!(C),
        stream_schema: || schema_for!(C::Stream),
        build: |connection, ctx| settings::<C>("connection", connection)?.build(ctx),
        check_stream: |stream| settings::<C::Stream>("stream", stream).map(drop),
    }
}

/// What a source knows of the project.
#[derive(Clone, Debug)]
pub struct SourceContext {
    /// The project's folder; relative paths start here.
    pub base_dir: PathBuf,
    /// The present moment, for dated files that are only discovered.
    pub now: Timestamp,
    /// How many connections may be open at once.
    pub connections: Connections,
}

/// An outside system that rows are read from.
#[async_trait]
pub trait Source: Send + Sync {
    /// Proves that the system answers and the credentials work, without reading rows.
    ///
    /// # Errors
    /// What is wrong with the system, with a hint.
    async fn check(&self) -> Result<()>;

    /// Lists what can be read; each stream's settings can be put into a [`ReadRequest`] as they are.
    ///
    /// # Errors
    /// As [`Source::check`].
    async fn discover(&self) -> Result<Vec<StreamInfo>>;

    /// Reads the stream of `request` after its position, in order, and ends when caught up.
    ///
    /// A row that cannot be decoded is in [`Page::rejected`] and the read goes on. A system error
    /// (I/O, wrong password, a file cut off) is an `Err` and the last item; the pages before it stay
    /// true, and a later read may start from the last of their positions.
    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>>;

    /// Reads what has changed in several streams from the system's log, in one pass over it.
    ///
    /// A stream without position is read whole first; its changes since then follow, some of them
    /// perhaps again, so that a target that keeps one row for each key ends equal to the source. A
    /// stream with position gets exactly the changes after it. Rows of a stream come in the order of
    /// the log, as they are after the change; the column [`crate::page::DELETED_COLUMN`] tells those that are gone.
    ///
    /// What keeps one stream from going on is in its last page ([`ChangesPage::stopped`]); the others go on. Errors are items as
    /// in [`Source::read`] and end all of it. [`flywheel_base::ErrorKind::Blocked`] if the log between a position and now is
    /// lost: the streams have to be read anew.
    fn changes<'a>(&'a self, request: &'a ChangesRequest) -> BoxStream<'a, Result<ChangesPage>> {
        let names = request.name.clone();
        let error = Error::invalid(format!("{names}: this source has no log of changes to read"))
            .hint("Use `read: full` or `read: incremental`.");
        futures::stream::once(async { Err(error) }).boxed()
    }

    /// Proves that the system writes a log that [`Source::changes`] can follow, without following it.
    ///
    /// # Errors
    /// As [`Source::check`]; [`flywheel_base::ErrorKind::Invalid`] with the setting to change.
    async fn check_log(&self) -> Result<()> {
        Ok(())
    }

    /// Why the log does not tell the changes of tables that [`Source::discover`] lists, by their names there, to stand
    /// after "it"; a table that is not among them can be followed if it has a key.
    ///
    /// # Errors
    /// As [`Source::check`].
    async fn unfollowed(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    /// The columns that the system fills by itself, by the names of tables that [`Source::discover`] lists; a table that is not
    /// among them has none, or the system does not tell.
    ///
    /// # Errors
    /// As [`Source::check`].
    async fn fills(&self) -> Result<BTreeMap<String, Vec<Filled>>> {
        Ok(BTreeMap::new())
    }

    /// Tells the system that all changes up to the positions of `request` are stored, so that it
    /// need not keep its log before them. For a stream that has stopped it need not keep anything.
    ///
    /// # Errors
    /// As [`Source::check`].
    async fn acknowledge(&self, request: &ChangesRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }

    /// Whether [`Source::acknowledge`] is of use after reads that follow no log, too.
    fn hears_of_reads(&self) -> bool {
        false
    }

    /// About how many rows of a stream one request brings; none if the system is not read by requests that are
    /// counted, or nobody says.
    fn rows_per_request(&self, stream: &Value) -> Option<u64> {
        let _ = stream;
        None
    }

    /// Whether two full reads that end at the same position found the same rows, as those of files do, whose position
    /// tells every file that was read by its content. The last key of a database tells nothing of the rows before it.
    fn position_tells_content(&self) -> bool {
        false
    }

    /// Whether what a full read had seen when it broke off at the position of `request` is as it was. If not, going on
    /// there would bring rows twice, or rows that are gone.
    ///
    /// # Errors
    /// As [`Source::check`].
    async fn is_as_read(&self, request: &ReadRequest) -> Result<bool> {
        let _ = request;
        Ok(true)
    }

    /// Takes a row that was set aside, and of which the text is kept as it stood in its file, apart: what stood under each
    /// name, in the order of the file. None where rows are kept as JSON objects, or if nothing tells any more.
    ///
    /// # Errors
    /// As [`Source::check`].
    async fn apart(
        &self,
        request: &ReadRequest,
        file: &str,
        raw: &str,
    ) -> Result<Option<Vec<(String, String)>>> {
        let _ = (request, file, raw);
        Ok(None)
    }

    /// How far the position of each stream of `request` is behind the system; none where the system
    /// cannot tell. A stream without position stands before everything if the system counts that.
    ///
    /// # Errors
    /// As [`Source::check`].
    async fn lag(&self, request: &ChangesRequest) -> Result<Vec<Option<Lag>>> {
        Ok(vec![None; request.streams.len()])
    }

    /// Removes what [`Source::changes`] made on the system for the reader `name`.
    ///
    /// # Errors
    /// As [`Source::check`].
    async fn forget(&self, name: &str) -> Result<()> {
        let _ = name;
        Ok(())
    }

    /// How the system does, if it is one that tells such things; asked every few minutes, so it has to be cheap.
    ///
    /// # Errors
    /// As [`Source::check`].
    async fn health(&self) -> Result<Option<Health>> {
        Ok(None)
    }
}

/// A column that a system fills by itself, whatever a new row brings for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Its name there.
    pub column: String,
    /// Whether it is computed from other columns and takes no value at all; otherwise the system numbers new rows.
    pub computed: bool,
}

/// How far a position is behind a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// How much there is between the position and now.
    pub behind: u64,
    /// Of what: `bytes of log`, `transactions`, `messages`.
    pub unit: &'static str,
}

/// What to read from a log of changes.
#[derive(Clone, Debug)]
pub struct ChangesRequest {
    /// Who reads: lower-case letters, digits and `_`, at most 48; the same in every run, and
    /// nobody else's. The system keeps its log for this reader.
    pub name: String,
    /// The streams; their positions are those of earlier pages of [`Source::changes`], and their
    /// mode is [`ReadMode::Full`].
    pub streams: Vec<ReadRequest>,
    /// Whether to wait for changes for ever instead of ending when caught up.
    pub follow: bool,
}

/// A page of one stream's changes.
#[derive(Debug)]
pub struct ChangesPage {
    /// The stream, as its place in [`ChangesRequest::streams`].
    pub stream: usize,
    /// The rows. A position of null says that a transaction goes on: the rows are only to be
    /// committed together with those up to the stream's next position.
    pub page: Page,
    /// When the source committed the newest of the rows, if they come from the log; a transaction that goes on
    /// may tell it only at its end.
    pub committed_at: Option<Timestamp>,
    /// Columns, by their names in the source, that hold more values from this page on than before, because
    /// the source widened their types. They come again until a position from then on is stored.
    pub widened: Vec<String>,
    /// Why nothing more comes of the stream, while the others go on; then this is its last page, even if the log is followed. Its
    /// position is either to be stored, as any other, and every read from it says the same until the stream is read whole
    /// again; or it is null: what has come since the last position is to be given up, and the next read tries again from there.
    pub stopped: Option<Error>,
}

impl ChangesPage {
    /// The last page of a stream, without rows.
    pub(crate) fn last(stream: usize, position: Position, error: Error) -> Self {
        let page = Page {
            batch: RecordBatch::new_empty(SchemaRef::new(arrow::datatypes::Schema::empty())),
            origin: Vec::new(),
            rejected: Vec::new(),
            notices: Vec::new(),
            position,
        };
        Self { stream, page, committed_at: None, widened: Vec::new(), stopped: Some(error) }
    }
}

/// A stream that can be read.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// Its name within the connection.
    pub name: String,
    /// The stream settings that read it.
    pub stream: Value,
    /// Its columns as they would be read.
    pub schema: SchemaRef,
    /// The same columns in words that can be declared, where they can be.
    pub columns: Vec<DeclaredColumn>,
    /// The columns that identify a row, if known.
    pub primary_key: Vec<String>,
    /// The columns an incremental read could follow.
    pub cursors: Vec<String>,
    /// About how many rows there are, if that is cheap to know.
    pub rows: Option<u64>,
    /// How many bytes there are, if known.
    pub bytes: Option<u64>,
    /// Why its columns are not known, where they could not be read, with what to do.
    pub unread: Option<String>,
}

/// Which rows a read is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// All rows. A position in the middle of an earlier full read continues it; without position,
    /// or with that of a finished one, the read starts anew.
    Full,
    /// Only what is new since the position.
    Incremental {
        /// The column that grows with every new or changed row; files need none.
        cursor: Option<String>,
        /// How far to look back before the last cursor value, as `2h` or, for numbers, `100`.
        lag: Option<String>,
    },
}

/// What to read, and from where on.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The source's stream settings: path, sheet, table or query, dialect.
    pub stream: Value,
    /// The columns whose type is declared; every other column's type is inferred.
    pub columns: Vec<DeclaredColumn>,
    /// Which rows.
    pub mode: ReadMode,
    /// The position of the last committed page.
    pub from: Option<Position>,
    /// Whether rows are only ever appended, so that reading a row twice would duplicate it.
    pub write_appends: bool,
    /// How many rows a page has at most.
    pub page_rows: usize,
    /// About how many bytes a page has at most; the row that passes it is the page's last.
    pub page_bytes: usize,
    /// How many connections read at once at most, whatever the stream says; as it says if not given.
    pub parallel: Option<NonZeroUsize>,
    /// Whether a page of a log has rows of one transaction only, so that it tells when they were committed.
    pub by_transaction: bool,
    /// The present moment; a dated file is visible from its date on.
    pub now: Timestamp,
}

impl ReadRequest {
    /// A full read of `stream` from its start, everything inferred.
    #[must_use]
    pub fn full(stream: Value, now: Timestamp) -> Self {
        Self {
            stream,
            columns: Vec::new(),
            mode: ReadMode::Full,
            from: None,
            write_appends: false,
            page_rows: PAGE_ROWS_DEFAULT,
            page_bytes: PAGE_BYTES_DEFAULT,
            parallel: None,
            by_transaction: false,
            now,
        }
    }

    /// An incremental read of `stream` without cursor, as files are read.
    #[must_use]
    pub fn incremental(stream: Value, now: Timestamp) -> Self {
        let mode = ReadMode::Incremental { cursor: None, lag: None };
        Self { mode, ..Self::full(stream, now) }
    }
}

/// Reads settings of type `T`, so that a mistake names the key. What references stand for is text, which
/// becomes the number or truth value that the settings ask for.
pub(crate) fn settings<T: DeserializeOwned + JsonSchema>(what: &str, value: Value) -> Result<T> {
    let mut value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
    // The schema is only made where something is wrong or a text stands for something else.
    if let Ok(read) = serde_json::from_value(value.clone()) {
        return Ok(read);
    }
    let wrong = fit(&mut value, &schema_for!(T));
    if !wrong.is_empty() {
        let wrong = wrong.join(", ");
        return Err(Error::invalid(format!("the {what} settings are wrong: {wrong}")).hint(
            "Write it without quotes and within its range; if it is a reference such as \
             ${env:NAME}, check what that stands for.",
        ));
    }
    serde_json::from_value(value)
        .map_err(|error| Error::invalid(format!("the {what} settings are wrong: {error}")))
}
