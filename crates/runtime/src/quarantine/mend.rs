//! Rows that somebody mends by hand: taken apart into their columns, tried, landed with the values that were given, or
//! given up for a reason.
//!
//! ```text
//! raw ─► columns ─► values of a person in their place ─► decode ─► map ─► key ─► land ─► marked, with who and what
//! ```
//! What was kept of a row stays as it is. A value that a mask hid before it was stored is no longer there to be read: it
//! lands if the mask leaves it as it is, or has to be given anew. What is given for a column with a mask is masked like any other,
//! and is kept nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field as ArrowField, Int64Type, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, ErrorKind, Result, digest, suggest};
use flywheel_connect::source::csv::{self, CsvStream, HeaderSetting};
use flywheel_connect::source::jsonl::{self, JsonLinesStream};
use flywheel_connect::{
    ColumnType, DeclaredColumn, KeptValue, Page, RAW_BYTES_MAX, ROW_MASKED, Rejected,
};
use flywheel_project::resource::sync::{LAKE, Read, Stream, Sync, Write as Writes};
use flywheel_state::TaskOutcome;
use flywheel_warehouse::{Catalog, TableName};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Ending, Landed, QuarantineRow, Replayed, TABLE, end, mark_landed, rows_of};
use crate::quality::Gate;
use crate::recorder::Recorder;
use crate::task::null_keys;
use crate::task::sync::{self as sync_task, Job};
use crate::{Workspace, migrate};

/// Rows that are mended or given up together at most.
pub const ROWS_MAX: usize = 1_000;
/// Rows that are tried for one answer at most.
pub const TRIED_MAX: usize = 100;
/// Rows that do not fit and are named in the log of a run.
const NAMED_MAX: usize = 20;
/// The longest id of a row.
const ID_MAX: usize = 64;
/// The longest reason for giving rows up, in characters.
const REASON_MAX: usize = 1_000;
/// The code of rows without a key. They were mapped before they were set aside: their columns are those of the table.
const NULL_KEY: &str = "null-key";
/// The code of rows with a column that the table does not have: it takes a declaration, not another value.
const NEW_COLUMN: &str = "new-column";
/// The code of rows whose key has a newer row in the table.
const NEWER_ROW: &str = "newer-row";
/// The column that tells for which row a row of the table was found.
const ASKED: &str = "flywheel_mended_row";
/// What is kept of a value that was given for a column with a mask.
const MASKED: &str = "[masked]";

/// Values that somebody gives for rows of the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The rows, by their ids: of one stream, and of one kind of mistake if there are several.
    pub rows: Vec<String>,
    /// The values by the names of the columns; none stands for no value.
    pub set: BTreeMap<String, Option<String>>,
    /// Who gives them.
    pub by: String,
    /// Whether they take the place of newer rows of their keys.
    pub force: bool,
}

/// A column of a row that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name: in the source, or in the table for a row that was mapped before it was set aside.
    pub column: String,
    /// Its value as it was kept, as text; none if it has none or it is not known.
    pub value: Option<String>,
    /// Whether a mask hides its values.
    pub masked: bool,
    /// Whether what was kept of it can land: else a value has to be given.
    pub known: bool,
    /// Its declared type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Whether it needs a value.
    pub required: bool,
}

/// A row that was set aside, by its columns.
#[derive(Clone, Debug, Serialize)]
pub struct Opened {
    /// The row.
    pub row: QuarantineRow,
    /// Its columns.
    pub fields: Vec<Field>,
    /// Why it cannot be mended here.
    pub why_not: Option<String>,
}

/// What would become of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// The row.
    pub quarantine_id: String,
    /// Whether it would land.
    pub fits: bool,
    /// The column that does not fit.
    pub column: Option<String>,
    /// What is wrong, kebab-case.
    pub code: Option<String>,
    /// What is wrong, for a person.
    pub reason: Option<String>,
    /// What would land, as text by the columns of the table.
    pub lands: Map<String, Value>,
}

/// Why a row does not land.
struct Refusal {
    column: Option<String>,
    code: String,
    reason: String,
}

impl Refusal {
    fn new(column: Option<&str>, code: &str, reason: impl Into<String>) -> Self {
        Self { column: column.map(str::to_owned), code: code.to_owned(), reason: reason.into() }
    }

    fn of(rejected: &Rejected) -> Self {
        Self {
            column: rejected.column.clone(),
            code: rejected.code.to_string(),
            reason: rejected.reason.clone(),
        }
    }
}

/// Rows of a table, as text, by which row of an edit they have the key of.
type Held = BTreeMap<i64, BTreeSet<String>>;

/// What a row becomes: a batch of one row, or why it does not land.
type Became = std::result::Result<RecordBatch, Refusal>;

/// Takes a row apart into its columns, for a person to mend it. Nothing is written.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no such row; those of the source, whose file may be asked for the names of columns.
pub async fn open(workspace: &Workspace, id: &str) -> Result<Opened> {
    let rows = named(workspace, std::slice::from_ref(&id.to_owned())).await?;
    let row = rows.into_iter().next().ok_or_else(|| missing(id))?;
    let mut why_not = why_not(workspace, &row)?;
    if row.status != "open" {
        why_not = Some(format!("it is {} already", row.status));
    }
    let mut fields = Vec::new();
    if why_not.is_none() {
        let desk = Desk::of(workspace, "", &row).await?;
        fields = desk.fields(&row).await?;
        if fields.is_empty() {
            why_not = Some("nothing tells which columns it has; mend it in its file".to_owned());
        }
    }
    Ok(Opened { row, fields, why_not })
}

/// What would become of rows with other values, by the declaration as it is now. Nothing is written.
///
/// # Errors
/// As [`crate::run::quarantine_edit`], but that nothing lands.
pub async fn attempt(workspace: &Workspace, edit: &Edit) -> Result<Vec<Tried>> {
    if edit.rows.len() > TRIED_MAX {
        return Err(Error::invalid(format!("{} rows are too many to be tried", edit.rows.len()))
            .hint(format!("Try at most {TRIED_MAX} of them.")));
    }
    let rows = chosen(workspace, edit).await?;
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let desk = Desk::of(workspace, "", first).await?;
    let became = Box::pin(desk.all_of(workspace, &rows, edit)).await?;
    let mut tried = Vec::with_capacity(rows.len());
    for (row, became) in rows.iter().zip(became) {
        let id = row.quarantine_id.clone();
        tried.push(match became {
            Ok(batch) => Tried {
                quarantine_id: id,
                fits: true,
                column: None,
                code: None,
                reason: None,
                lands: texts(&batch)?,
            },
            Err(Refusal { column, code, reason }) => Tried {
                quarantine_id: id,
                fits: false,
                column,
                code: Some(code),
                reason: Some(reason),
                lands: Map::new(),
            },
        });
    }
    Ok(tried)
}

/// Lands rows with the values that were given, in one commit; those that still do not fit stay as they are.
///
/// What holds after a crash: the commit says which rows it landed and what was given for them, so that what landed before it
/// was marked is marked so, whatever is given now, and does not land again. A row of a stream with a key stays if a newer
/// row of its key is in the table, unless it is forced.
///
/// # Errors
/// [`ErrorKind::NotFound`] for a row or a column that is not there, [`ErrorKind::Conflict`] if a row is not open any
/// more, [`ErrorKind::Invalid`] if the rows do not belong together, [`ErrorKind::Blocked`] if they cannot be mended here;
/// else those of source and lake.
pub(crate) async fn edit(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    edit: &Edit,
) -> Result<Replayed> {
    let rows = chosen(workspace, edit).await?;
    let Some(first) = rows.first() else { return Ok(Replayed::default()) };
    let desk = Desk::of(workspace, recorder.run_id(), first).await?;
    let gate = Gate::close(workspace, desk.sync).await?;
    let timer = recorder.started("quarantine", &format!("{}.{}", first.sync, first.stream));
    let result = Box::pin(land(workspace, recorder, &desk, &rows, edit)).await;
    let result = recorder.settled(timer, result, |done| {
        let outcome = TaskOutcome {
            rows_in: Some(done.landed + done.still_bad),
            rows_out: Some(done.landed),
            rows_rejected: Some(done.still_bad),
            ..TaskOutcome::default()
        };
        ("succeeded".to_owned(), outcome)
    });
    let mut landed = Vec::new();
    let settled = Box::pin(gate.settle(recorder, &mut landed)).await;
    let done = result?;
    settled?;
    match sync_task::blocked(&landed) {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

async fn land(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    desk: &Desk<'_>,
    rows: &[QuarantineRow],
    edit: &Edit,
) -> Result<Replayed> {
    let rows = rows.to_vec();
    let (rows, marked) = Box::pin(mark_landed(workspace, &desk.job.at, rows)).await?;
    if marked > 0 {
        recorder.notice(format!(
            "{marked} rows landed before, in an attempt that was cut off: they are marked with what was given then, and did \
             not land again"
        ));
    }
    let became = Box::pin(desk.all_of(workspace, &rows, edit)).await?;
    let (mut batches, mut good, mut bad) = (Vec::new(), Vec::new(), 0_u64);
    for (row, became) in rows.into_iter().zip(became) {
        match became {
            Ok(batch) => {
                batches.push(batch);
                good.push(row);
            }
            Err(Refusal { column, code, reason }) => {
                bad += 1;
                if bad <= NAMED_MAX as u64 {
                    let line = row.line.map_or_else(String::new, |line| format!(":{line}"));
                    let column = column.map_or_else(String::new, |column| format!(" ({column})"));
                    recorder.notice(match code == NEWER_ROW {
                        true => format!("{}{line} stays: {reason}", row.file),
                        false => format!("{}{line} still does not fit: {code}{column}", row.file),
                    });
                }
            }
        }
    }
    if good.is_empty() {
        return Ok(Replayed { landed: marked, still_bad: bad });
    }
    let ids: Vec<&[u8]> = good.iter().map(|row| row.quarantine_id.as_bytes()).collect();
    let edited = desk.told(&edit.set)?;
    let ending = Ending {
        status: "replayed",
        edited: (!edit.set.is_empty()).then_some(edited.as_str()),
        by: Some(&edit.by),
        why: None,
    };
    let said = Landed::said(&good, ending)?;
    let replay = digest::short(&ids);
    Box::pin(sync_task::land_replayed(&desk.job, batches, None, &replay, said)).await?;
    end(workspace, &good, ending).await?;
    Ok(Replayed { landed: marked + good.len() as u64, still_bad: bad })
}

/// Gives single rows up for a reason, events among them: they are not wanted, and stay with who said so and why.
///
/// # Errors
/// [`ErrorKind::Invalid`] without a reason, [`ErrorKind::NotFound`] for a row that is not there, [`ErrorKind::Conflict`]
/// if one is not open any more; else those of the lake.
pub(crate) async fn dismiss(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    ids: &[String],
    reason: &str,
    by: &str,
) -> Result<usize> {
    let reason = reasoned(reason)?;
    let rows = named(workspace, ids).await?;
    still_open(&rows)?;
    let mut of: BTreeMap<String, Vec<QuarantineRow>> = BTreeMap::new();
    for row in rows {
        let name = match row.sync.is_empty() {
            true => row.stream.clone(),
            false => format!("{}.{}", row.sync, row.stream),
        };
        of.entry(name).or_default().push(row);
    }
    let mut count = 0;
    for (name, rows) in of {
        let timer = recorder.started("discard", &name);
        let ending = Ending { status: "discarded", edited: None, by: Some(by), why: Some(reason) };
        let result = end(workspace, &rows, ending).await;
        // Each row that goes in is told where it stays, as in every task.
        recorder.settled(timer, result, |()| {
            let all = Some(rows.len() as u64);
            let outcome = TaskOutcome {
                rows_in: all,
                rows_out: Some(0),
                rows_rejected: all,
                ..TaskOutcome::default()
            };
            ("succeeded".to_owned(), outcome)
        })?;
        count += rows.len();
    }
    Ok(count)
}

/// The reason that was given, if it is one.
///
/// # Errors
/// [`ErrorKind::Invalid`] if it is empty or longer than 1,000 characters.
pub fn reasoned(reason: &str) -> Result<&str> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Error::invalid("no reason is given why the rows are not wanted")
            .hint("Say why: it is kept with each row."));
    }
    if reason.chars().count() > REASON_MAX {
        return Err(Error::invalid(format!("the reason is longer than {REASON_MAX} characters")));
    }
    Ok(reason)
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("no row \"{id}\" was set aside"))
        .hint("`flywheel quarantine list` and the page of the sync show the ids.")
}

/// The condition that a row is one of these.
///
/// # Errors
/// [`ErrorKind::Invalid`] if none or too many are named, [`ErrorKind::NotFound`] for what is no id.
pub fn where_named(ids: &[String]) -> Result<String> {
    if ids.is_empty() {
        return Err(Error::invalid("no row is named").hint("Name rows by their ids."));
    }
    if ids.len() > ROWS_MAX {
        return Err(Error::invalid(format!("{} rows are too many at once", ids.len()))
            .hint(format!("Take at most {ROWS_MAX}.")));
    }
    let fits = |id: &&String| {
        !id.is_empty() && id.len() <= ID_MAX && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if let Some(bad) = ids.iter().find(|id| !fits(id)) {
        return Err(missing(bad));
    }
    let all: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    Ok(format!("quarantine_id in ({})", all.join(", ")))
}

/// The rows of these ids, whatever their status, by file and line.
async fn named(workspace: &Workspace, ids: &[String]) -> Result<Vec<QuarantineRow>> {
    let condition = where_named(ids)?;
    let there = workspace.lake.head(&TABLE.location()?).await?.is_some_and(|head| head.files > 0);
    let mut rows = Vec::new();
    if there {
        let sql = format!("select * from system.quarantine where {condition} order by file, line");
        let query = workspace.lake_session().await?.query(&sql).await?;
        for batch in query.collect().await? {
            rows.extend(rows_of(&batch)?);
        }
    }
    let is_there = |id: &String| rows.iter().any(|row| row.quarantine_id == *id);
    let lost = ids.iter().find(|id| !is_there(id));
    match lost {
        Some(id) => Err(missing(id)),
        None => Ok(rows),
    }
}

fn still_open(rows: &[QuarantineRow]) -> Result<()> {
    match rows.iter().find(|row| row.status != "open") {
        Some(row) => Err(Error::new(
            ErrorKind::Conflict,
            format!("the row {} is {} already", row.quarantine_id, row.status),
        )
        .hint("Look at the list again; somebody else was there before.")),
        None => Ok(()),
    }
}

/// The rows of an edit: open ones of one stream, and of one kind of mistake if there are several.
async fn chosen(workspace: &Workspace, edit: &Edit) -> Result<Vec<QuarantineRow>> {
    let rows = named(workspace, &edit.rows).await?;
    still_open(&rows)?;
    let Some(first) = rows.first() else { return Ok(rows) };
    let alike = |row: &&QuarantineRow| {
        (&row.sync, &row.stream, &row.code) == (&first.sync, &first.stream, &first.code)
    };
    if let Some(other) = rows.iter().find(|row| !alike(row)) {
        return Err(Error::invalid(format!(
            "rows {} and {} are not of one stream and one kind of mistake",
            first.quarantine_id, other.quarantine_id
        ))
        .hint("Mend those of one kind together, and the others after them."));
    }
    if let Some(why) = why_not(workspace, first)? {
        return Err(Error::blocked(format!(
            "the row {} cannot be mended here: {why}",
            first.quarantine_id
        ))
        .hint("Mend it where it comes from, or give it up with a reason."));
    }
    if let Some(why) = migrate::stands_still(workspace, &first.sync)? {
        return Err(Error::blocked(why));
    }
    Ok(rows)
}

/// Why a row cannot be mended by hand; none if it can.
fn why_not(workspace: &Workspace, row: &QuarantineRow) -> Result<Option<String>> {
    if row.sync.is_empty() {
        let again = "it is an event; whoever sent it sends it again as it should be";
        return Ok(Some(again.to_owned()));
    }
    let Ok((sync, stream)) = declared(workspace, row) else {
        return Ok(Some("its stream is not declared any more".to_owned()));
    };
    let connection = workspace.project.connections.get(&sync.connection);
    let connector = connection.map_or(LAKE, |connection| connection.connector.as_str());
    if !sync.lands() || row.source != connector {
        return Ok(Some("a destination refused it after it was read well".to_owned()));
    }
    let kept_alike = matches!(stream.write, Writes::Mirror | Writes::History);
    let whole = stream.read == Read::Full && kept_alike && stream.deleted.is_none();
    if sync_task::replaces(stream) || whole {
        let gone = "each read of its stream brings the whole table anew, so it would be gone again with the next one";
        return Ok(Some(gone.to_owned()));
    }
    if row.code == NEW_COLUMN {
        let declare =
            "nobody has declared its column; declare it under `columns` of its stream and replay";
        return Ok(Some(declare.to_owned()));
    }
    if row.raw.len() + 4 > RAW_BYTES_MAX && row.raw != ROW_MASKED {
        return Ok(Some("only its beginning was kept".to_owned()));
    }
    Ok(None)
}

/// The sync and the stream of a row.
fn declared<'a>(workspace: &'a Workspace, row: &QuarantineRow) -> Result<(&'a Sync, &'a Stream)> {
    let sync = workspace.project.syncs.get(&row.sync);
    let stream = sync.and_then(|sync| {
        let stream = sync.streams.iter().find(|stream| stream.stream == row.stream)?;
        Some((&**sync, stream))
    });
    stream.ok_or_else(|| {
        Error::not_found(format!("the stream {}.{} is not declared", row.sync, row.stream))
    })
}

/// What it takes to mend rows of one stream.
struct Desk<'a> {
    sync: &'a Sync,
    job: Job<'a>,
    /// The columns of the table, if it is there.
    there: Option<SchemaRef>,
    connector: &'a str,
}

impl<'a> Desk<'a> {
    async fn of(workspace: &'a Workspace, run_id: &'a str, row: &QuarantineRow) -> Result<Self> {
        let (sync, stream) = declared(workspace, row)?;
        let name =
            workspace.project.syncs.get_key_value(&row.sync).map_or("", |(name, _)| name.as_str());
        let job = Box::pin(sync_task::job(workspace, run_id, name, sync, stream)).await?;
        let head = workspace.lake.head(&job.at).await?;
        let connection = workspace.project.connections.get(&sync.connection);
        Ok(Self {
            sync,
            job,
            there: head.map(|head| SchemaRef::clone(&head.schema)),
            connector: connection.map_or(LAKE, |connection| connection.connector.as_str()),
        })
    }

    /// Whether a column is masked or does not land: one of the source, or of the table.
    fn is_masked(&self, row: &QuarantineRow, column: &str) -> bool {
        match row.code == NULL_KEY {
            true => self.masks_of_table(column),
            false => self.job.mapping.kept_value(column, "") != KeptValue::Plain,
        }
    }

    /// Whether what was kept of a column can land as it is.
    fn is_usable(&self, row: &QuarantineRow, column: &str, value: &Value) -> bool {
        let Some(text) = text_of(value) else { return true };
        let mapping = &self.job.mapping;
        match row.code == NULL_KEY {
            true => mapping.lands_masked(column, &text),
            false => {
                matches!(mapping.kept_value(column, &text), KeptValue::Plain | KeptValue::Masked)
            }
        }
    }

    fn masks_of_table(&self, column: &str) -> bool {
        let mut columns = self.job.stream.columns.iter();
        columns.any(|one| one.name == column && one.mask.is_some())
    }

    /// What was kept of a row, by its columns; a value is none where nothing is known of it.
    async fn kept(&self, row: &QuarantineRow) -> Result<Vec<(String, Option<Value>)>> {
        if let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&row.raw) {
            let mut flat = Vec::new();
            flatten(object, None, &self.job.request.columns, &mut flat);
            return Ok(flat);
        }
        let hidden = row.raw == ROW_MASKED;
        let raw = if hidden { "" } else { row.raw.as_str() };
        let apart = self.job.source.apart(&self.job.request, &row.file, raw).await?;
        let apart = apart.unwrap_or_default().into_iter();
        Ok(apart.map(|(name, text)| (name, (!hidden).then_some(Value::String(text)))).collect())
    }

    /// The columns of a row: those that were kept, then those that are declared or that the table has.
    async fn fields(&self, row: &QuarantineRow) -> Result<Vec<Field>> {
        let mapped = row.code == NULL_KEY;
        let hidden = row.raw == ROW_MASKED;
        let mut kept = self.kept(row).await?;
        if kept.is_empty() && !hidden {
            return Ok(Vec::new());
        }
        let there = self.there.iter().flat_map(|there| there.fields().iter());
        let more: Vec<String> = match mapped {
            true => there.map(|field| field.name().clone()).collect(),
            false => self.job.request.columns.iter().map(|column| column.name.clone()).collect(),
        };
        for name in more {
            if !kept.iter().any(|(known, _)| *known == name) {
                kept.push((name, (!hidden).then_some(Value::Null)));
            }
        }
        // What does not land needs no value.
        let mapping = &self.job.mapping;
        kept.retain(|(name, _)| mapped || mapping.kept_value(name, "") != KeptValue::Left);
        let stream = self.job.stream;
        let field = |(column, value): (String, Option<Value>)| {
            let declared = self.job.request.columns.iter().find(|one| one.name == column);
            let kind = match mapped {
                true => self.type_of_table(&column),
                false => declared.map(|declared| declared.kind),
            };
            let masked = self.is_masked(row, &column);
            let known = value.as_ref().is_some_and(|value| self.is_usable(row, &column, value));
            Field {
                masked,
                known,
                kind: kind.map(|kind| kind.to_string()),
                required: match mapped {
                    true => stream.key.contains(&column),
                    false => declared.is_some_and(|declared| declared.not_null),
                },
                value: value.as_ref().and_then(text_of),
                column,
            }
        };
        Ok(kept.into_iter().map(field).collect())
    }

    fn type_of_table(&self, column: &str) -> Option<ColumnType> {
        let there = self.there.as_ref()?;
        ColumnType::of(there.field_with_name(column).ok()?.data_type())
    }

    /// What is kept of the values that were given: not what a mask hides.
    fn told(&self, set: &BTreeMap<String, Option<String>>) -> Result<String> {
        let told: BTreeMap<&str, Option<&str>> = set
            .iter()
            .map(|(column, value)| {
                let masked = self.masks_of_table(column)
                    || self.job.mapping.kept_value(column, "") != KeptValue::Plain;
                let value = value.as_deref().map(|value| if masked { MASKED } else { value });
                (column.as_str(), value)
            })
            .collect();
        serde_json::to_string(&told)
            .map_err(|error| Error::internal("what was given is no JSON").caused_by(error))
    }

    /// What becomes of rows, each with the values that are given, in their order.
    async fn all_of(
        &self,
        workspace: &Workspace,
        rows: &[QuarantineRow],
        edit: &Edit,
    ) -> Result<Vec<Became>> {
        let mut became = Vec::with_capacity(rows.len());
        for row in rows {
            became.push(self.become_of(row, &edit.set).await?);
        }
        if !edit.force {
            Box::pin(self.keep_newer(workspace, rows, &mut became)).await?;
        }
        Ok(became)
    }

    /// Refuses rows whose key has another row in the table than when they were set aside: it is newer, and would be lost.
    async fn keep_newer(
        &self,
        workspace: &Workspace,
        rows: &[QuarantineRow],
        became: &mut [Became],
    ) -> Result<()> {
        let Some((schema, keys)) = self.keys(became)? else { return Ok(()) };
        let held = |version| Box::pin(self.held(workspace, &schema, &keys, version));
        let now = held(None).await?;
        let history = workspace.lake.history(&self.job.at).await?;
        let whole = history.first().is_none_or(|first| first.version == 0);
        let version_of = |row: &QuarantineRow| {
            let earlier = history.iter().filter(|commit| commit.at < row.first_at);
            earlier.map(|commit| commit.version).max()
        };
        let versions: BTreeSet<i64> = rows.iter().filter_map(version_of).collect();
        // A version that is no longer kept is not among them.
        let mut before: BTreeMap<i64, Held> = BTreeMap::new();
        for version in versions {
            match held(Some(version)).await {
                Ok(found) => {
                    before.insert(version, found);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for (at, (row, one)) in (0_i64..).zip(rows.iter().zip(became.iter_mut())) {
            let version = version_of(row);
            let then = version.and_then(|version| before.get(&version));
            let known = then.is_some() || (version.is_none() && whole);
            let reason = match (now.get(&at), then.and_then(|then| then.get(&at))) {
                (now, then) if now == then => continue,
                (None, _) => "the row of this key was taken out of the table meanwhile",
                (Some(_), _) if known => "a newer row of this key is in the table",
                (Some(_), _) => {
                    "a row of this key is in the table, and whether it is newer is no longer known"
                }
            };
            let reason = format!("{reason}; dismiss this one, or force it to take its place");
            *one = Err(Refusal::new(None, NEWER_ROW, reason));
        }
        Ok(())
    }

    /// The keys of the rows that would land, each with which one it is; none if the table has no keys.
    fn keys(&self, became: &[Became]) -> Result<Option<(SchemaRef, Vec<RecordBatch>)>> {
        let key = sync_task::written_by(self.job.stream);
        let Some(there) = self.there.as_ref().filter(|_| !key.is_empty()) else { return Ok(None) };
        let mut fields = vec![ArrowField::new(ASKED, DataType::Int64, true)];
        for name in key {
            let Ok(field) = there.field_with_name(name) else { return Ok(None) };
            fields.push(ArrowField::new(name, field.data_type().clone(), true));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let mut keys = Vec::new();
        for (at, one) in (0_i64..).zip(became) {
            let Ok(batch) = one else { continue };
            let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![at]))];
            for name in key {
                let Some(column) = batch.column_by_name(name) else { return Ok(None) };
                columns.push(Arc::clone(column));
            }
            let row = RecordBatch::try_new(Arc::clone(&schema), columns)
                .map_err(|error| Error::internal("a key is no row").caused_by(error))?;
            keys.push(row);
        }
        Ok((!keys.is_empty()).then_some((schema, keys)))
    }

    /// The rows that the table has of these keys, at a version or now, by which one of the keys it is.
    async fn held(
        &self,
        workspace: &Workspace,
        schema: &SchemaRef,
        keys: &[RecordBatch],
        version: Option<i64>,
    ) -> Result<Held> {
        let mut catalog = Catalog::new();
        catalog.memory(&TableName::new("mend", "asked"), Arc::clone(schema), keys.to_vec());
        catalog.table(&TableName::new("mend", "held"), self.job.at.clone(), version);
        let same = sync_task::written_by(self.job.stream).iter().map(|name| {
            let name = format!("\"{}\"", name.replace('"', "\"\""));
            format!("asked.{name} = held.{name}")
        });
        let same = same.collect::<Vec<_>>().join(" and ");
        let sql = format!(
            "select asked.{ASKED}, held.* from mend.asked as asked join mend.held as held on {same}"
        );
        let query = Box::pin(workspace.lake.session(catalog)?.query(&sql)).await?;
        let mut held = Held::new();
        for batch in query.collect().await? {
            let asked = cast(batch.column(0), &DataType::Int64)
                .map_err(|error| Error::internal("a number is none").caused_by(error))?;
            for (at, asked) in asked.as_primitive::<Int64Type>().iter().enumerate() {
                let Some(asked) = asked else { continue };
                let row = texts(&batch.slice(at, 1))?.into_iter();
                // A column that came later has no value in what was there before.
                let row = row.filter(|(name, value)| name != ASKED && !value.is_null());
                let row: BTreeMap<String, Value> = row.collect();
                held.entry(asked).or_default().insert(format!("{row:?}"));
            }
        }
        Ok(held)
    }

    /// What a row becomes with the values of `set` in place of its own.
    async fn become_of(
        &self,
        row: &QuarantineRow,
        set: &BTreeMap<String, Option<String>>,
    ) -> Result<Became> {
        let fields = self.fields(row).await?;
        if let Some(unknown) = set.keys().find(|name| !fields.iter().any(|f| f.column == **name)) {
            let known: Vec<&str> = fields.iter().map(|field| field.column.as_str()).collect();
            return Err(Error::not_found(format!(
                "the row {} has no column \"{unknown}\"",
                row.quarantine_id
            ))
            .hint(suggest::hint(unknown, known)));
        }
        let kept: BTreeMap<String, Option<Value>> = self.kept(row).await?.into_iter().collect();
        let mut record: Vec<(String, Value)> = Vec::with_capacity(fields.len());
        for field in &fields {
            let name = field.column.as_str();
            if let Some(value) = set.get(name) {
                if row.code == NULL_KEY && field.masked {
                    let reason =
                        "its values are masked before they land, and the row was masked already";
                    return Ok(Err(Refusal::new(Some(name), "masked-value", reason)));
                }
                let value = match value {
                    None => Value::Null,
                    // A column of JSON takes what the text says, not the text.
                    Some(text) if field.kind.as_deref() == Some("json") => {
                        serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
                    }
                    Some(text) => Value::String(text.clone()),
                };
                record.push((field.column.clone(), value));
                continue;
            }
            if !field.known {
                let reason = match row.code == NULL_KEY {
                    true => {
                        "it was masked and mapped before, and its mask makes something else of it: mend the row where it comes from"
                    }
                    false => {
                        "a mask hides its value in what was kept of the row: give the value, which is masked as in every row"
                    }
                };
                return Ok(Err(Refusal::new(Some(name), "masked-value", reason)));
            }
            let value = kept.get(name).cloned().flatten().unwrap_or(Value::Null);
            record.push((field.column.clone(), value));
        }
        let page = match self.page(row, &record)? {
            Ok(page) => page,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Some(bad) = page.rejected.first() {
            return Ok(Err(Refusal::of(bad)));
        }
        if page.batch.num_rows() == 0 {
            let reason =
                "it does not meet the condition of the stream (`only`), so it would not land";
            return Ok(Err(Refusal::new(None, "filtered", reason)));
        }
        Ok(self.fitted(&page.batch))
    }

    /// Decodes a record as the source does, and makes of it what lands.
    fn page(
        &self,
        row: &QuarantineRow,
        record: &[(String, Value)],
    ) -> Result<std::result::Result<Page, Refusal>> {
        let mapped = row.code == NULL_KEY;
        let mut columns = match mapped {
            true => Vec::new(),
            false => self.job.request.columns.clone(),
        };
        for (name, _) in record {
            if columns.iter().any(|column| column.name == *name) {
                continue;
            }
            // What is not declared has the type that it has in the table.
            let landed = match mapped {
                true => vec![name.clone()],
                false => self.job.mapping.landing(name),
            };
            let kind = landed.iter().find_map(|name| self.type_of_table(name));
            columns.push(DeclaredColumn::new(name, kind.unwrap_or(ColumnType::Text)));
        }
        let pages = match self.connector == "csv" && !mapped {
            true => self.decode_csv(record, &columns)?,
            false => self.decode_json(record, &columns)?,
        };
        let mut found = None;
        for page in pages {
            if let Some(bad) = page.rejected.first() {
                return Ok(Err(Refusal::of(bad)));
            }
            if page.batch.num_rows() > 0 {
                found = Some(page);
            }
        }
        let Some(mut page) = found else {
            return Ok(Err(Refusal::new(None, "empty-row", "it has no value at all")));
        };
        if !mapped {
            return self.job.mapped(page).map(Ok);
        }
        let key = sync_task::written_by(self.job.stream);
        null_keys::set_aside(&mut page, self.connector, &self.job.stream.table(), key)?;
        Ok(Ok(page))
    }

    fn decode_csv(
        &self,
        record: &[(String, Value)],
        columns: &[DeclaredColumn],
    ) -> Result<Vec<Page>> {
        let stream: CsvStream = serde_json::from_value(self.job.request.stream.clone())
            .map_err(|error| Error::internal("settings of a stream are none").caused_by(error))?;
        let exact = stream.exact;
        let stream = CsvStream {
            delimiter: Some(",".to_owned()),
            quote: Some("\"".to_owned()),
            escape: None,
            comment: None,
            header: HeaderSetting::Known(true),
            skip_lines: 0,
            encoding: None,
            lineage_columns: false,
            tail: false,
            ..stream
        };
        let names: Vec<String> = record.iter().map(|(name, _)| field_text(name, false)).collect();
        let values = record.iter().map(|(_, value)| match text_of(value) {
            Some(text) => field_text(&text, exact),
            None => String::new(),
        });
        let mut line = values.collect::<Vec<_>>().join(",");
        // A line without anything is no row.
        if line.is_empty() {
            line.push_str("\"\"");
        }
        csv::decode(format!("{}\n{line}\n", names.join(",")).into_bytes(), stream, columns, 1)
    }

    fn decode_json(
        &self,
        record: &[(String, Value)],
        columns: &[DeclaredColumn],
    ) -> Result<Vec<Page>> {
        let stream = match self.connector {
            "jsonl" => serde_json::from_value::<JsonLinesStream>(self.job.request.stream.clone())
                .map_err(|error| {
                Error::internal("settings of a stream are none").caused_by(error)
            })?,
            _ => JsonLinesStream::default(),
        };
        let stream =
            JsonLinesStream { encoding: None, lineage_columns: false, tail: false, ..stream };
        let object: Map<String, Value> = record.iter().cloned().collect();
        jsonl::decode(format!("{}\n", Value::Object(object)).into_bytes(), stream, columns, 1)
    }

    /// The row with the types of the table.
    fn fitted(&self, batch: &RecordBatch) -> Became {
        let Some(there) = &self.there else { return Ok(batch.clone()) };
        let schema = batch.schema();
        let fields =
            schema.fields().iter().map(|field| match there.field_with_name(field.name()) {
                Ok(known) => ArrowField::new(field.name(), known.data_type().clone(), true),
                Err(_) => field.as_ref().clone(),
            });
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        flywheel_warehouse::conform(&schema, batch)
            .map_err(|error| Refusal::new(None, "type-mismatch", error.message()))
    }
}

/// The columns of an object; what is in an object of which a column is declared by its path is one of its own.
fn flatten(
    object: Map<String, Value>,
    path: Option<&str>,
    declared: &[DeclaredColumn],
    flat: &mut Vec<(String, Option<Value>)>,
) {
    for (name, value) in object {
        let path = path.map_or_else(|| name.clone(), |path| format!("{path}.{name}"));
        let below = format!("{path}.");
        match value {
            Value::Object(inner) if declared.iter().any(|one| one.name.starts_with(&below)) => {
                flatten(inner, Some(&path), declared, flat);
            }
            value => flat.push((path, Some(value))),
        }
    }
}

/// A value as text; none for no value.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A field of CSV; an empty text is told from no value by its quotes, where those are told apart.
fn field_text(text: &str, exact: bool) -> String {
    let quotes =
        text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ');
    match quotes || (exact && text.is_empty()) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// What a batch of one row holds, as text by its columns.
fn texts(batch: &RecordBatch) -> Result<Map<String, Value>> {
    let options = FormatOptions::default();
    let mut texts = Map::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let value = match column.is_null(0) {
            true => Value::Null,
            false => {
                let formatter = ArrayFormatter::try_new(column.as_ref(), &options)
                    .map_err(|error| Error::internal("a value has no text").caused_by(error))?;
                Value::String(formatter.value(0).to_string())
            }
        };
        texts.insert(field.name().clone(), value);
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_taken_apart_as_far_as_its_parts_are_declared() {
        let object = json!({"id": 1, "at": {"city": "x", "more": {"a": 1}}, "o": {"b": 2}});
        let object = object.as_object().unwrap().clone();
        let declared = [DeclaredColumn::new("at.city", ColumnType::Text)];
        let mut flat = Vec::new();
        flatten(object, None, &declared, &mut flat);
        flat.sort_by(|a, b| a.0.cmp(&b.0));
        let names: Vec<&str> = flat.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["at.city", "at.more", "id", "o"]);
        assert_eq!(flat[3].1, Some(json!({"b": 2})));
    }

    #[test]
    fn a_field_has_quotes_where_it_would_be_another_one_without() {
        assert_eq!(field_text("plain", false), "plain");
        assert_eq!(field_text("a,\"b\"", false), "\"a,\"\"b\"\"\"");
        assert_eq!(field_text(" x", false), "\" x\"");
        assert_eq!((field_text("", false).as_str(), field_text("", true).as_str()), ("", "\"\""));
    }

    #[test]
    fn only_ids_come_into_a_condition() {
        let named =
            |ids: &[&str]| where_named(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["0a", "1b"]).unwrap(), "quarantine_id in ('0a', '1b')");
        assert_eq!(named(&[]).unwrap_err().kind(), ErrorKind::Invalid);
        for bad in ["", "x' or 'a'='a", "0a'"] {
            assert_eq!(named(&[bad]).unwrap_err().kind(), ErrorKind::NotFound, "{bad}");
        }
        assert_eq!(reasoned("  twice ").unwrap(), "twice");
        assert_eq!(reasoned(" ").unwrap_err().kind(), ErrorKind::Invalid);
    }
}
