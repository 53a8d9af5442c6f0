//! The log of changes of an org: whole reads first, then what its change events say.
//!
//! An event tells which records changed, and of an update only the fields that did; formulas and large
//! transactions (gap events) bring none at all. So the records that events name are read again, a page of
//! them at once, and a row is always whole: no field is overwritten because an event did not name it. A
//! record that is not found any more, or no longer meets the stream's `filter`, is gone.
//!
//! The position is the replay id of the last event, and the moment up to which everything was heard. The
//! org keeps events for 72 hours. What is older, and an overflow, is lost: the object has to be read anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::BooleanArray;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flywheel_base::{Error, Result, Timestamp};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::{ALL, Change, Event, Opened, Session};
use super::{Org, Prepared, SalesforceStream, checked_name, stripped};
use crate::column::{ColumnType, DeclaredColumn, Misfit};
use crate::http::{Call, JsonPath};
use crate::page::{Column, DELETED_COLUMN, Page, Position};
use crate::records::RecordTable;
use crate::source::jsonl::object::members;
use crate::source::{ChangesPage, ChangesRequest, ReadMode, ReadRequest};

/// How long the org keeps events, with an hour to spare.
const KEPT_US: i64 = 71 * 3_600 * 1_000_000;

/// How far the org's clock and ours may be apart, and a transaction may be told after its commit.
const SKEW_US: i64 = 600 * 1_000_000;

/// How long a connect waits for events where the end of the log is looked for.
const QUIET: Duration = Duration::from_secs(5);

/// The same in microseconds: a table of which nothing came for so long has whole transactions only.
const QUIET_US: i64 = QUIET.as_micros() as i64;

/// So many connects in a row without an event, and everything was heard.
const QUIET_CONNECTS: u32 = 2;

/// Sessions in a row that end before they brought anything.
const SESSIONS_MAX: u32 = 6;

/// How often a follower that hears nothing notes that nothing was missed.
const NOTE_EVERY_US: i64 = 3_600 * 1_000_000;

/// Records that one query asks for at most.
const IDS_MAX: usize = 200;

/// The longest query that fits into a URL, and what an id takes in it.
const QUERY_BYTES_MAX: usize = 12_000;
const ID_BYTES: usize = 27;

/// Where a stream stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// The object.
    changes_of: String,
    /// The last event that is in the rows; nothing if there has been none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<i64>,
    /// Up to which moment nothing can have been missed.
    at_us: i64,
    /// How far the whole read has come, while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<Value>,
    /// Whether the whole read is over.
    complete: bool,
}

/// One object that is followed.
struct Table {
    stream: usize,
    request: ReadRequest,
    settings: SalesforceStream,
    channel: String,
    stored: Stored,
    /// Whether all events that are kept are asked for.
    all: bool,
    rows: RecordTable,
    /// Columns that a record needs a value for; one that is gone has none.
    required: Vec<String>,
    /// Events whose records are still to be read.
    waiting: Vec<Event>,
    /// When the newest event of it came.
    heard_us: i64,
    /// Events so far.
    line: u64,
    /// The moment that was told last.
    told_us: i64,
}

/// A pass over the log.
struct Follow<'a> {
    org: &'a Org,
    tables: Vec<Table>,
    reading: Option<BoxStream<'a, Result<Page>>>,
    session: Option<Session<'a>>,
    follow: bool,
    /// When listening began: a pass that does not follow ends with an event that was committed later.
    until_us: Option<i64>,
    quiet: u32,
    failures: u32,
    ready: VecDeque<ChangesPage>,
    finished: bool,
}

/// The changes of the streams of a request.
pub(super) fn changes<'a>(
    org: &'a Org,
    request: &'a ChangesRequest,
) -> BoxStream<'a, Result<ChangesPage>> {
    stream::try_unfold(None::<Box<Follow<'a>>>, move |follow| async move {
        let mut follow = match follow {
            Some(follow) => follow,
            None => Box::new(Box::pin(Follow::start(org, request)).await?),
        };
        Ok(Box::pin(follow.next()).await?.map(|page| (page, Some(follow))))
    })
    .boxed()
}

/// The channel of an object's changes: `ContactChangeEvent`, `Invoice__ChangeEvent`.
fn channel_of(object: &str) -> String {
    let name = match object.strip_suffix("__c") {
        Some(own) => format!("{own}__"),
        None => object.to_owned(),
    };
    format!("/data/{name}ChangeEvent")
}

fn lost(object: &str, what: &str) -> Error {
    Error::blocked(format!("changes of {object} are lost: {what}"))
        .hint("Nothing says which records they were of, so the object has to be read anew.")
}

impl Table {
    async fn open(org: &Org, stream: usize, request: &ReadRequest) -> Result<Self> {
        let Prepared { stream: settings, request, .. } = org.prepared(request).await?;
        if settings.deleted {
            return Err(Error::invalid("a log of changes tells by itself which records are gone")
                .hint("Leave out `deleted`, or read with `read: incremental`."));
        }
        for field in &settings.fields {
            checked_name("a field", field)?;
        }
        let now_us = org.client.now().micros();
        let stored = match &request.from {
            None => Stored {
                changes_of: settings.object.clone(),
                replay: None,
                at_us: now_us,
                snapshot: None,
                complete: false,
            },
            Some(position) => serde_json::from_value(position.0.clone()).map_err(|error| {
                Error::corrupt("the stored position is not one of a log of change events")
                    .hint("Read it from its start with `flywheel sync NAME --restart`.")
                    .caused_by(error)
            })?,
        };
        if stored.changes_of != settings.object {
            return Err(Error::invalid(format!(
                "the stored position is one of {}, not of {}",
                stored.changes_of, settings.object
            ))
            .hint("Read it from its start with `flywheel sync NAME --restart`."));
        }
        let required = request.columns.iter().filter(|column| column.not_null);
        let required = required.map(|column| column.name.clone()).collect();
        let mut declared = request.columns.clone();
        declared.iter_mut().for_each(|column| column.not_null = false);
        let columns = columns(&settings, &declared);
        let rows = RecordTable::typed("salesforce", &declared, columns, request.page_rows.max(1));
        let channel = channel_of(&settings.object);
        let told_us = stored.at_us;
        Ok(Self {
            stream,
            request,
            settings,
            channel,
            stored,
            all: false,
            rows,
            required,
            waiting: Vec::new(),
            heard_us: 0,
            line: 0,
            told_us,
        })
    }

    fn position(&self) -> Result<Position> {
        let value = serde_json::to_value(&self.stored)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))?;
        Ok(Position(value))
    }

    /// Behind which event it has to be subscribed.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Blocked`] if events between then and now are not kept any more.
    fn behind(&self, now_us: i64) -> Result<i64> {
        match self.stored.replay {
            Some(replay) if !self.all => Ok(replay),
            _ if now_us - self.stored.at_us < KEPT_US => Ok(ALL),
            _ => {
                let at = Timestamp::from_micros(self.stored.at_us);
                let what =
                    format!("the org keeps them for 72 hours, and the last were read up to {at}");
                Err(lost(&self.settings.object, &what))
            }
        }
    }

    /// Takes an event, unless its records were read after it.
    fn take(&mut self, event: Event) -> Result<()> {
        let overflow = event.change == Change::Overflow;
        // A whole read that begins soon after an overflow must not be held up by it.
        let skew_us = if overflow { SKEW_US / 10 } else { SKEW_US };
        let known = match self.stored.replay {
            Some(replay) => event.replay <= replay,
            None => event.committed_us < self.stored.at_us - skew_us,
        };
        let waits = self.waiting.last().is_some_and(|last| event.replay <= last.replay);
        if known || waits {
            return Ok(());
        }
        if overflow {
            let what = "a transaction changed more records than the org tells one by one";
            return Err(lost(&self.settings.object, what));
        }
        self.waiting.push(event);
        Ok(())
    }

    /// The events whose transactions are over; all of them if nothing follows for now.
    fn settled(&mut self, all: bool) -> Vec<Event> {
        if all {
            return std::mem::take(&mut self.waiting);
        }
        let Some(last) = self.waiting.last().map(|last| last.transaction.clone()) else {
            return Vec::new();
        };
        let over = self.waiting.iter().rposition(|event| event.transaction != last);
        let rest = self.waiting.split_off(over.map_or(0, |over| over + 1));
        std::mem::replace(&mut self.waiting, rest)
    }

    /// The pages that events make: one or more, of which the last has the position.
    async fn pages(&mut self, org: &Org, events: &[Event]) -> Result<Vec<ChangesPage>> {
        let Some(last) = events.last() else { return Ok(Vec::new()) };
        let mut changed: BTreeMap<&str, (usize, Change)> = BTreeMap::new();
        let ids =
            events.iter().flat_map(|event| event.ids.iter().map(move |id| (id, event.change)));
        for (at, (id, change)) in ids.enumerate() {
            changed.insert(id, (at, change));
        }
        let mut changed: Vec<(&str, (usize, Change))> = changed.into_iter().collect();
        changed.sort_by_key(|(_, (at, _))| *at);
        self.stored.replay = Some(last.replay);
        self.all = false;
        let committed_at = Some(Timestamp::from_micros(last.committed_us));
        let place = format!("{} events", self.settings.object);
        let mut pages = Vec::new();
        let mut parts = changed.chunks(self.request.page_rows.max(1)).peekable();
        while let Some(part) = parts.next() {
            let there = part.iter().filter(|(_, (_, change))| *change == Change::Put);
            let there: Vec<&str> = there.map(|(id, _)| *id).collect();
            let found = org.by_ids(&self.settings, &there).await?;
            for (id, _) in part {
                self.line += 1;
                match found.get(*id) {
                    Some(record) => self.put(&place, record)?,
                    None => {
                        let row = format!("{{\"Id\":\"{id}\",\"{DELETED_COLUMN}\":true}}");
                        self.rows.push(&place, self.line, &row)?;
                    }
                }
            }
            // Until the last of them the transactions go on.
            let position = match parts.peek() {
                Some(_) => Position(Value::Null),
                None => self.position()?,
            };
            let page = self.rows.finish(position)?;
            pages.push(ChangesPage {
                stream: self.stream,
                page,
                committed_at,
                widened: Vec::new(),
                stopped: None,
            });
        }
        Ok(pages)
    }

    /// Adds a record that is there, or sets it aside.
    fn put(&mut self, place: &str, record: &str) -> Result<()> {
        let members = members(record).unwrap_or_default();
        let lacks = |name: &&String| {
            let value = members.iter().find(|(member, _)| member == name.as_str());
            value.is_none_or(|(_, value)| value.get() == "null")
        };
        if let Some(column) = self.required.iter().find(lacks).map(String::as_str) {
            let misfit = Misfit::new("null-value", "no value in a column that is required");
            self.rows.reject(place, self.line, Some(column), misfit, record);
            return Ok(());
        }
        self.rows.push(place, self.line, &with_mark(record))
    }

    /// A page that says only how far everything was heard.
    fn note(&mut self, at_us: i64) -> Result<ChangesPage> {
        self.stored.at_us = self.stored.at_us.max(at_us);
        self.told_us = self.stored.at_us;
        let position = self.position()?;
        let page = self.rows.finish(position)?;
        Ok(ChangesPage {
            stream: self.stream,
            page,
            committed_at: None,
            widened: Vec::new(),
            stopped: None,
        })
    }
}

/// The columns of rows, in the order of those of a whole read: the object's fields, an object for each
/// parent, and the mark.
fn columns(settings: &SalesforceStream, declared: &[DeclaredColumn]) -> Vec<Column> {
    let mut columns: Vec<Column> = declared.iter().map(Column::declared).collect();
    for field in &settings.fields {
        let Some((parent, _)) = field.split_once('.') else { continue };
        let opened =
            |name: &str| name.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'));
        if !columns.iter().any(|column| column.name == parent || opened(&column.name)) {
            columns.push(Column::inferred(parent, ColumnType::Json));
        }
    }
    columns.push(Column::inferred(DELETED_COLUMN, ColumnType::Bool));
    columns
}

/// A record with the mark that it is there.
fn with_mark(record: &str) -> String {
    match record.strip_suffix('}') {
        Some("{") | None => record.to_owned(),
        Some(open) => format!("{open},\"{DELETED_COLUMN}\":false}}"),
    }
}

/// The rows with the column that says that none of them is gone.
fn none_deleted(batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().map(Arc::clone).collect();
    fields.push(Arc::new(Field::new(DELETED_COLUMN, DataType::Boolean, true)));
    let mut arrays = batch.columns().to_vec();
    arrays.push(Arc::new(BooleanArray::from(vec![false; rows])));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| Error::internal("a page's columns do not form a batch").caused_by(error))
}

impl<'a> Follow<'a> {
    async fn start(org: &'a Org, request: &ChangesRequest) -> Result<Self> {
        let mut tables = Vec::with_capacity(request.streams.len());
        for (at, stream) in request.streams.iter().enumerate() {
            tables.push(Table::open(org, at, stream).await?);
        }
        Ok(Self {
            org,
            tables,
            reading: None,
            session: None,
            follow: request.follow,
            until_us: None,
            quiet: 0,
            failures: 0,
            ready: VecDeque::new(),
            finished: false,
        })
    }

    async fn next(&mut self) -> Result<Option<ChangesPage>> {
        loop {
            if let Some(page) = self.ready.pop_front() {
                return Ok(Some(page));
            }
            if self.finished {
                return Ok(None);
            }
            match self.whole().await? {
                Some(page) => return Ok(Some(page)),
                None => self.hear().await?,
            }
        }
    }

    /// The next page of the whole reads that come first.
    async fn whole(&mut self) -> Result<Option<ChangesPage>> {
        let Some(table) = self.tables.iter_mut().find(|table| !table.stored.complete) else {
            return Ok(None);
        };
        if self.reading.is_none() {
            let from = table.stored.snapshot.clone().map(Position);
            let request = ReadRequest { mode: ReadMode::Full, from, ..table.request.clone() };
            self.reading = Some(self.org.pages(&request).await?);
        }
        let Some(reading) = &mut self.reading else {
            return Err(Error::internal("a whole read did not begin"));
        };
        let Some(page) = reading.next().await else {
            return Err(Error::internal("a whole read ended before its last page"));
        };
        let mut page = page?;
        let complete = page.position.0.get("complete").and_then(Value::as_bool);
        table.stored.complete = complete == Some(true);
        table.stored.snapshot = (!table.stored.complete).then_some(page.position.0);
        page.position = table.position()?;
        page.batch = none_deleted(&page.batch)?;
        let stream = table.stream;
        if table.stored.complete {
            self.reading = None;
        }
        Ok(Some(ChangesPage {
            stream,
            page,
            committed_at: None,
            widened: Vec::new(),
            stopped: None,
        }))
    }

    /// Listens once, and makes pages of what it hears.
    async fn hear(&mut self) -> Result<()> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open().await?,
        };
        let began_us = self.org.client.now().micros();
        let until_us = *self.until_us.get_or_insert(began_us);
        let waits = self.tables.iter().any(|table| !table.waiting.is_empty());
        let hold = (!self.follow || waits).then_some(QUIET);
        let heard = session.listen(hold).await?;
        let now_us = self.org.client.now().micros();
        let silent = heard.events.is_empty() && heard.over.is_none();
        let later = heard.events.iter().any(|event| event.committed_us > until_us);
        for event in heard.events {
            self.failures = 0;
            for table in self.tables.iter_mut().filter(|table| table.channel == event.channel) {
                table.take(event.clone())?;
                table.heard_us = now_us;
            }
        }
        self.flush(silent, now_us).await?;
        if let Some(why) = heard.over {
            self.quiet = 0;
            self.failures += 1;
            if self.failures > SESSIONS_MAX {
                return Err(Error::unavailable(format!(
                    "change events are not to be had, {SESSIONS_MAX} sessions in a row: {why}"
                )));
            }
            tracing::debug!(
                why,
                failures = self.failures,
                "listening for change events begins anew"
            );
            self.org.client.sleep(Duration::from_secs(1 << (self.failures - 1))).await;
            return Ok(());
        }
        self.failures = 0;
        if !silent {
            self.quiet = 0;
            if later && !self.follow {
                // Objects that never rest would keep a pass from its end: what comes from now on is for the next one.
                self.finished = true;
                session.close().await;
                return Ok(());
            }
            self.session = Some(session);
            return Ok(());
        }
        self.quiet += 1;
        if self.follow {
            let old = began_us - NOTE_EVERY_US;
            let tables = self.tables.iter_mut().filter(|table| table.told_us < old);
            let notes: Vec<ChangesPage> =
                tables.map(|table| table.note(began_us)).collect::<Result<_>>()?;
            self.ready.extend(notes);
        } else if self.quiet >= QUIET_CONNECTS {
            let notes: Vec<ChangesPage> =
                self.tables.iter_mut().map(|table| table.note(began_us)).collect::<Result<_>>()?;
            self.ready.extend(notes);
            self.finished = true;
            session.close().await;
            return Ok(());
        }
        self.session = Some(session);
        Ok(())
    }

    /// Begins to listen behind what every table has.
    async fn open(&mut self) -> Result<Session<'a>> {
        // Each table can turn to all that is kept once.
        for _ in 0..=self.tables.len() {
            let now_us = self.org.client.now().micros();
            let mut channels: BTreeMap<String, i64> = BTreeMap::new();
            for table in &self.tables {
                // What waits is not lost with the session: it is heard again behind what is told.
                let behind = table.behind(now_us)?;
                let known = channels.entry(table.channel.clone()).or_insert(behind);
                *known = (*known).min(behind);
            }
            for table in &mut self.tables {
                table.waiting.clear();
            }
            let channels: Vec<(String, i64)> = channels.into_iter().collect();
            match Opened::start(self.org, &channels).await? {
                Opened::Session(session) => return Ok(session),
                Opened::TooOld(channel) => {
                    let of = self.tables.iter_mut().filter(|table| table.channel == channel);
                    of.for_each(|table| table.all = true);
                }
            }
        }
        Err(Error::unavailable("the org takes no replay id of its change events")
            .hint("Read the objects anew with `flywheel sync NAME --restart`."))
    }

    /// Makes pages of the events whose transactions are over.
    async fn flush(&mut self, all: bool, now_us: i64) -> Result<()> {
        for table in &mut self.tables {
            // Others may go on and on while nothing more comes of this one.
            let quiet = now_us - table.heard_us >= QUIET_US;
            let events = table.settled(all || quiet);
            let by_transaction = table.request.by_transaction;
            let same = |a: &Event, b: &Event| !by_transaction || a.transaction == b.transaction;
            for events in events.chunk_by(same) {
                self.ready.extend(table.pages(self.org, events).await?);
            }
        }
        Ok(())
    }
}

impl Org {
    /// The records with these ids as they are now, by id; those that a stream does not read are left out.
    async fn by_ids(
        &self,
        stream: &SalesforceStream,
        ids: &[&str],
    ) -> Result<BTreeMap<String, String>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answered<'r> {
            #[serde(borrow)]
            records: Vec<&'r serde_json::value::RawValue>,
            next_records_url: Option<String>,
        }
        let fields = stream.fields.join(", ");
        let filter =
            stream.filter.as_ref().map_or_else(String::new, |filter| format!(" AND ({filter})"));
        let head = format!("SELECT {fields} FROM {} WHERE Id IN ", stream.object);
        let room = QUERY_BYTES_MAX.saturating_sub(head.len() + filter.len()) / ID_BYTES;
        if room == 0 {
            let count = stream.fields.len();
            return Err(Error::invalid(format!(
                "a query for {count} fields of {} is too long",
                stream.object
            ))
            .hint("Name the ones you need in `fields`."));
        }
        let id_of = JsonPath::parse("Id")?;
        let mut found = BTreeMap::new();
        for ids in ids.chunks(room.min(IDS_MAX)) {
            let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
            let query = format!("{head}({}){filter}", list.join(","));
            let mut call = Call::get(&format!("{}/query", self.data)).param("q", query);
            loop {
                let answer = self.send(&call).await?;
                let answered: Answered<'_> =
                    serde_json::from_str(answer.json()?).map_err(|error| {
                        Error::invalid(
                            "the answer is not a list of records as Salesforce writes it",
                        )
                        .caused_by(error)
                    })?;
                for record in answered.records {
                    if let Some(id) = id_of.plain(record.get()).ok().flatten() {
                        found.insert(id, stripped(record.get()));
                    }
                }
                let Some(url) = answered.next_records_url else { break };
                call = Call::get(&self.client.named("", &url)?);
            }
        }
        Ok(found)
    }
}
