//! The destination seam: outside systems that rows are written into, and the list of them.
//!
//! Who calls it: a sync opens a [`Writer`] for each stream and target, hands over batches in order,
//! stores the rows the target refuses, and then commits everything since the last commit together
//! with the checkpoint that is true from then on. What holds after a crash: [`Destination::progress`]
//! tells the last committed checkpoint, and rows handed over after it have had no effect, or have an
//! effect that writing them again does not repeat ([`Guarantee`] says which).

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

use std::fmt;
use std::path::PathBuf;

use arrow::datatypes::{Schema as RowSchema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, Result, Timestamp, suggest};
use schemars::{JsonSchema, Schema, schema_for};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::page::Position;
use crate::source::{self, settings};
use crate::upsert::{UpsertRequest, Upserts};

/// Every destination, in the order the docs list them. A new destination adds its module and one line.
pub const DESTINATIONS: &[DestinationEntry] = &[
    destination::<source::csv::Csv>("csv"),
    destination::<source::jsonl::JsonLines>("jsonl"),
    destination::<source::parquet::Parquet>("parquet"),
    destination::<source::avro::Avro>("avro"),
    destination::<source::excel::Excel>("excel"),
    destination::<source::sqlite::Sqlite>("sqlite"),
    destination::<source::mysql::MySql>("mysql"),
    destination::<postgres::Postgres>("postgres"),
    destination::<odbc::Odbc>("odbc"),
    destination::<kafka::Kafka>("kafka"),
    destination::<journal::Journal>("journal"),
    destination::<source::rest::Rest>("rest"),
    destination::<source::hubspot::HubSpot>("hubspot"),
    destination::<source::salesforce::Salesforce>("salesforce"),
    destination::<source::singer::Singer>("singer"),
    destination::<source::airbyte::Airbyte>("airbyte"),
    destination::<source::program::ArrowProgram>("program"),
];

/// One kind of destination: its name, what it is for, what it can do, and how one is built.
#[derive(Clone, Copy, Debug)]
pub struct DestinationEntry {
    /// The `type` of a connection.
    pub name: &'static str,
    /// What it writes, in a sentence.
    pub about: &'static str,
    /// The write modes it can do.
    pub modes: &'static [WriteMode],
    /// What a crash leaves behind.
    pub guarantee: Guarantee,
    /// Whether an action can write records into it.
    pub upserts: bool,
    /// The JSON Schema of a connection's settings.
    pub connection_schema: fn() -> Schema,
    /// The JSON Schema of a target's settings.
    pub target_schema: fn() -> Schema,
    build: fn(Value, &DestinationContext) -> Result<Box<dyn Destination>>,
    check_target: fn(Value) -> Result<()>,
}

impl DestinationEntry {
    /// Builds the destination from a connection's settings; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the settings are not of this destination's schema.
    pub fn build(
        &self,
        connection: Value,
        ctx: &DestinationContext,
    ) -> Result<Box<dyn Destination>> {
        (self.build)(connection, ctx)
            .map_err(|error| error.context(format!("{} destination", self.name)))
    }

    /// Proves that a target's settings are of this destination's schema; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] that names the key.
    pub fn check_target(&self, target: Value) -> Result<()> {
        (self.check_target)(target)
            .map_err(|error| error.context(format!("{} destination", self.name)))
    }

    /// The entry of that name.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no destination of that name.
    pub fn named(name: &str) -> Result<&'static Self> {
        DESTINATIONS.iter().find(|entry| entry.name == name).ok_or_else(|| {
            Error::not_found(format!("there is no destination type \"{name}\""))
                .hint(suggest::hint(name, DESTINATIONS.iter().map(|entry| entry.name)))
        })
    }
}

/// The settings of a destination; the doc comments are its reference page, the schemas the editor's
/// help. A system that can be read and written has one settings type for both seams.
pub trait DestinationConfig: DeserializeOwned + JsonSchema {
    /// The settings of one of its targets: table, path, sheet, object.
    type Target: DeserializeOwned + JsonSchema;

    /// What it writes, in a sentence.
    const ABOUT: &'static str;
    /// The write modes it can do.
    const MODES: &'static [WriteMode];
    /// What a crash leaves behind.
    const GUARANTEE: Guarantee;
    /// Whether [`Destination::upserts`] is there.
    const UPSERTS: bool = false;

    /// Builds the destination; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a setting is impossible.
    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>>;
}

const fn destination<C: DestinationConfig>(name: &'static str) -> DestinationEntry {
    DestinationEntry {
        name,
        about: C::ABOUT,
        modes: C::MODES,
        guarantee: C::GUARANTEE,
        upserts: C::UPSERTS,
        connection_schema: || schema_for!(C),
        target_schema: || schema_for!(C::Target),
        build: |connection, ctx| settings::<C>("connection", connection)?.build(ctx),
        check_target: |target| settings::<C::Target>("target", target).map(drop),
    }
}

/// Refuses a write mode that the destination `name` cannot do.
pub(crate) fn check_mode(name: &str, modes: &[WriteMode], mode: WriteMode) -> Result<()> {
    if modes.contains(&mode) {
        return Ok(());
    }
    let known: Vec<String> = modes.iter().map(WriteMode::to_string).collect();
    Err(Error::invalid(format!("the {name} destination cannot write with mode {mode}"))
        .hint(format!("It can {}.", known.join(", "))))
}

/// The error where a table would have to get wider types by `sql`, and does not.
pub(crate) fn cannot_widen(table: &str, columns: &[String], sql: &str) -> Error {
    Error::blocked(format!(
        "the source has widened \"{}\", and the table \"{table}\" has narrower types",
        columns.join("\", \"")
    ))
    .hint(format!(
        "Run it there: {sql}; or set `new_columns: ignore`, and values that do not fit are set aside."
    ))
}

/// What a destination knows of the project.
#[derive(Clone, Debug)]
pub struct DestinationContext {
    /// The project's folder; relative paths start here.
    pub base_dir: PathBuf,
    /// The connection's name, which tells what is kept for it from what is kept for others.
    pub connection: String,
}

impl DestinationContext {
    /// Where a destination keeps what its target cannot keep for it.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.base_dir.join(".flywheel")
    }
}

/// An outside system that rows are written into.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Proves that the system answers and the credentials allow writing, without writing rows.
    ///
    /// # Errors
    /// What is wrong with the system, with a hint.
    async fn check(&self) -> Result<()>;

    /// How far the writes of `request.app` into `request.target` have come; read from the target
    /// itself, which alone knows what it has.
    ///
    /// # Errors
    /// As [`Destination::check`].
    async fn progress(&self, request: &WriteRequest) -> Result<Progress>;

    /// Throws away the rows of a replacement that an earlier run staged and that [`Destination::progress`] tells of: the next
    /// writer begins without them. Readers of the target see no difference.
    ///
    /// # Errors
    /// As [`Destination::check`].
    async fn forget_staged(&self, request: &WriteRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }

    /// Proves that a table that is there can find rows by the key of `request`, where that is known before the
    /// first row. Makes nothing.
    ///
    /// # Errors
    /// As [`Destination::writer`].
    async fn ready(&self, request: &WriteRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }

    /// Opens a writer. Only one is open for one target at a time.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the rows do not fit the target and
    /// [`WriteRequest::new_columns`] does not allow to change it; as [`Destination::check`].
    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>>;

    /// About how many requests a write of so many rows takes; none if the system is not written by requests
    /// that are counted. Sends nothing.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the target's settings are not of this destination's schema.
    fn requests(&self, request: &WriteRequest, rows: Estimate) -> Result<Option<u64>> {
        let _ = (request, rows);
        Ok(None)
    }

    /// The way of an action's records into a target; sends nothing.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the system takes no records by themselves, the target's settings are wrong,
    /// or a record written again would be there twice.
    fn upserts(&self, request: &UpsertRequest) -> Result<Upserts> {
        let _ = request;
        let known = DESTINATIONS.iter().filter(|one| one.upserts).map(|one| one.name);
        let known: Vec<&str> = known.collect();
        Err(Error::invalid("actions write no records there")
            .hint(format!("Name a connection of type {}.", known.join(", "))))
    }
}

/// About how many rows a write is to handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Rows to put there.
    pub put: u64,
    /// Rows to remove.
    pub removed: u64,
}

impl Estimate {
    /// How many requests it takes, if one takes so many rows at most to put and to remove.
    pub(crate) fn requests(self, put_max: usize, removed_max: usize) -> u64 {
        let of = |rows: u64, most: usize| rows.div_ceil(most.max(1) as u64);
        of(self.put, put_max).saturating_add(of(self.removed, removed_max))
    }
}

/// An open write into one target. Dropped without a commit, it leaves nothing behind that a reader
/// of the target would see.
#[async_trait]
pub trait Writer: Send {
    /// Takes rows; nothing is visible before the commit. Returns the rows the target will not take,
    /// found by bisecting the batch, so that one bad row costs neither its neighbours nor the run.
    ///
    /// A batch can have more columns than the one before it, and wider types, never others; a column of
    /// the target that a merged batch lacks keeps its value in rows that exist.
    ///
    /// # Errors
    /// System errors only (connection, disk, quota); nothing since the last commit is visible then.
    async fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>>;

    /// Learns that the source has widened `columns` of the rows, which have their new types in `schema`:
    /// the target's columns get types that hold those values as well. Called before the first rows of
    /// these types, again after a crash, and for a commit even if no rows come. A target whose columns
    /// have no types does nothing.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Blocked`] if the target has narrower types and
    /// [`WriteRequest::new_columns`] does not allow to change it, or the system refuses to.
    async fn widen(&mut self, columns: &[String], schema: &SchemaRef) -> Result<()> {
        let _ = (columns, schema);
        Ok(())
    }

    /// Makes everything since the last commit durable together with `checkpoint`, in one act as far
    /// as the destination's [`Guarantee`] goes. With [`WriteMode::Replace`] the rows are only staged,
    /// durably, until [`Writer::finish`]. A sequence that is committed already does nothing.
    ///
    /// # Errors
    /// As [`Writer::write`].
    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written>;

    /// Ends the write after its last commit: swaps replaced rows in, atomically; closes the rest.
    ///
    /// # Errors
    /// As [`Writer::write`].
    async fn finish(self: Box<Self>) -> Result<Written>;
}

/// What to write, where, and how.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// The destination's target settings.
    pub target: Value,
    /// Who writes, `<sync>/<stream>`: the key of the checkpoint in the target.
    pub app: String,
    /// The columns of the rows, as far as they are known before the first batch.
    pub schema: SchemaRef,
    /// How the rows meet what is there.
    pub mode: WriteMode,
    /// The columns that identify a row; needed by `merge` and `mirror`, and the primary key of a table that these or
    /// `replace` make.
    pub key: Vec<String>,
    /// The boolean column that marks deleted rows with [`WriteMode::Mirror`]; it is not stored.
    pub deleted: Option<String>,
    /// What to do about columns the target does not have.
    pub new_columns: NewTargetColumns,
    /// The present moment.
    pub now: Timestamp,
}

impl WriteRequest {
    /// The primary key of a table that is made for rows of `schema`: none where rows are added, which may have a key twice,
    /// nor for a replacement whose rows lack a column of the key, for which it needs none.
    pub(crate) fn made_key(&self, schema: &RowSchema) -> &[String] {
        let has = |name: &String| schema.field_with_name(name).is_ok();
        match self.mode {
            WriteMode::Append => &[],
            WriteMode::Replace if !self.key.iter().all(has) => &[],
            WriteMode::Replace | WriteMode::Merge | WriteMode::Mirror => &self.key,
        }
    }
}

/// How rows meet what is in the target. A target that does not exist is created by every mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WriteMode {
    /// The rows are added.
    Append,
    /// The rows take the place of everything, at once, when the write is finished.
    Replace,
    /// A row takes the place of the row with the same key, or is added.
    Merge,
    /// Like `merge`, and rows that are marked as deleted are removed.
    Mirror,
}

impl fmt::Display for WriteMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append => "append",
            Self::Replace => "replace",
            Self::Merge => "merge",
            Self::Mirror => "mirror",
        })
    }
}

/// What to do about columns the target does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NewTargetColumns {
    /// They are added to the target.
    #[default]
    Add,
    /// They are left out.
    Ignore,
    /// The write stops and names them.
    Fail,
}

/// What a crash can leave in a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Rows and checkpoint are one transaction of the target: each row has its effect exactly once.
    Transaction,
    /// Rows become visible by one atomic rename or manifest that also holds the checkpoint.
    AtomicFiles,
    /// Rows may be sent again after a crash, with the same key, so that the effect is the same.
    IdempotentByKey,
    /// Rows may be there twice after a crash.
    AtLeastOnce,
}

impl Guarantee {
    /// The guarantee in words for a table of the docs.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Transaction => "exactly once: rows and position are one transaction",
            Self::AtomicFiles => "exactly once: rows and position appear by one rename",
            Self::IdempotentByKey => "exactly once in effect: a repeated row has the same key",
            Self::AtLeastOnce => "at least once",
        }
    }
}

/// Where an application's writes into a target stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The newest checkpoint whose rows a reader sees.
    pub committed: Option<Checkpoint>,
    /// The newest checkpoint of a replacement that is staged and not yet swapped in.
    pub staged: Option<Checkpoint>,
}

/// A position and its number; the number grows with every commit of one application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Grows with every commit.
    pub sequence: i64,
    /// Where the source is read on.
    pub position: Position,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows that are now in the target, new and changed ones.
    pub rows_written: u64,
    /// Those of them that took the place of a row with the same key, if the target tells.
    pub rows_updated: u64,
    /// Rows that were removed.
    pub rows_deleted: u64,
    /// Whether the checkpoint was committed before, so that nothing was done.
    pub skipped: bool,
}

/// A row the target will not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the batch, from 0.
    pub row: usize,
    /// The column that does not fit, if the target tells.
    pub column: Option<String>,
    /// What went wrong, kebab-case, for counting.
    pub code: String,
    /// What the target says, without the values of the row.
    pub reason: String,
}
