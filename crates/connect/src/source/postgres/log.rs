//! Changes from the server's log, by logical replication with the output plugin `pgoutput`.
//!
//! ```text
//! slot and publication ──► whole read of each new table ──► the log from the oldest position on
//! ```
//! Positions are places in the log where no transaction is under way. A table that is read whole
//! keeps the place from before its read: what changed meanwhile comes again, so that a target with
//! one row for each key ends equal to the table.
//!
//! A table whose log does not tell what it lacks, such as one that was truncated, is left behind with the reason in its position,
//! and the others go on. What its log has from there on is not for it until it is read whole again.

mod identity;
mod lookup;
mod mapping;
mod message;
mod partitions;
mod position;
mod publication;
mod readers;
mod setup;
mod snapshot;
mod table;
mod value;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use self::message::{Message, message};
use self::position::{Lsn, Stored};
pub(super) use self::readers::{Readers, acknowledge, forget, lag};
use self::setup::{busy, check_server, check_table, lost, set_up, slot_name};
use self::snapshot::Snapshots;
use self::table::Table;
use super::PostgresStream;
use super::relation::Relation;
use crate::page::Position;
use crate::postgres::{Log, LogPart, LogRequest, Server, Session, field};
use crate::source::{ChangesPage, ChangesRequest, PAGE_BYTES_DEFAULT, ReadRequest, settings};
use crate::stop::{Fate, Stop};

/// Connections that are open at once: one of the log or a whole read, and one that looks things up.
const LOG_CONNECTIONS: usize = 2;

/// How long changes wait for others before they are handed over, when the log is followed.
const GATHER: Duration = Duration::from_millis(200);

/// How long positions may stay behind a log without changes of the tables.
const IDLE: Duration = Duration::from_secs(10);

/// How long the server may send nothing before it is asked how far it is.
const QUIET: Duration = Duration::from_millis(50);

/// How often it is asked until a log that ends in the middle of an entry is pushed on.
const ASKED_MAX: u32 = 20;

/// How often a slot that is in use is tried again, and how long until then.
const BUSY_TRIES: u32 = 30;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The pages of changes.
pub(super) fn changes<'a>(
    server: &'a Server,
    readers: &'a Readers,
    request: &'a ChangesRequest,
) -> BoxStream<'a, Result<ChangesPage>> {
    futures::stream::try_unfold(None::<Box<Reader>>, move |reader| async move {
        let mut reader = match reader {
            Some(reader) => reader,
            None => Box::pin(Reader::start(server, readers, request)).await?,
        };
        Ok(Box::pin(reader.next()).await?.map(|page| (page, Some(reader))))
    })
    .boxed()
}

/// Proves that the server writes a log that can be followed.
pub(super) async fn check(server: &Server) -> Result<()> {
    check_server(&server.connect().await?).await
}

/// A transaction under way.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    commit: Lsn,
    at_us: i64,
}

enum Phase {
    Whole(Snapshots),
    Log(Box<Log>),
    Over,
}

/// A read of the log under way.
struct Reader {
    server: Server,
    session: Session,
    name: String,
    follow: bool,
    /// The tables that were followed as the read began; some may have been left behind since.
    tables: Vec<Table>,
    /// The places of those that are followed, by their numbers.
    places: HashMap<u32, usize>,
    phase: Phase,
    readers: Readers,
    ready: VecDeque<ChangesPage>,
    /// Where the read ends unless it follows.
    target: Lsn,
    /// Everything committed before has arrived.
    reached: Lsn,
    transaction: Option<Transaction>,
    /// The tables of the transaction under way.
    touched: Vec<usize>,
    /// When the first of the waiting changes came.
    gathered_at: Option<Instant>,
    told_at: Instant,
    asked: u32,
}

impl Reader {
    async fn start(
        server: &Server,
        readers: &Readers,
        request: &ChangesRequest,
    ) -> Result<Box<Self>> {
        let name = slot_name(&request.name)?;
        if request.streams.is_empty() {
            return Err(Error::invalid("there is no stream to follow"));
        }
        server.require_connections(LOG_CONNECTIONS, "following a database's log of changes")?;
        let session = server.connect().await?;
        check_server(&session).await?;
        let mut tables = Vec::with_capacity(request.streams.len());
        let mut places = HashMap::new();
        let mut ready = VecDeque::new();
        // Whether what is kept on the server is for a table that waits, too.
        let mut kept = false;
        for (at, stream) in request.streams.iter().enumerate() {
            let table = match begin(&session, at, stream).await? {
                Begun::Follows(table) => *table,
                Begun::Over(page) => {
                    let known = stream.from.as_ref().is_some_and(|from| Stored::of(from).is_ok());
                    kept |= known && page.page.position.0.is_null();
                    ready.push_back(*page);
                    continue;
                }
            };
            if places.insert(table.oid(), tables.len()).is_some() {
                let name = &table.relation.name;
                return Err(Error::invalid(format!("two streams follow {name}"))
                    .hint("Leave one of them out, or give it a connection of its own."));
            }
            tables.push(table);
        }
        if !tables.is_empty() {
            set_up(&session, &name, &mut tables, kept).await?;
        }
        let mut reader = Box::new(Self {
            server: server.clone(),
            session,
            name,
            follow: request.follow,
            tables,
            places,
            phase: Phase::Whole(Snapshots::default()),
            readers: readers.clone(),
            ready,
            target: Lsn::default(),
            reached: Lsn::default(),
            transaction: None,
            touched: Vec::new(),
            gathered_at: None,
            told_at: Instant::now(),
            asked: 0,
        });
        Box::pin(reader.leave_refused()).await?;
        Ok(reader)
    }

    /// How many bytes of changes wait at most, of all tables together.
    fn bytes_max(&self) -> usize {
        let most = self.tables.iter().map(|table| table.request.page_bytes).max();
        most.unwrap_or(PAGE_BYTES_DEFAULT)
    }

    async fn next(&mut self) -> Result<Option<ChangesPage>> {
        loop {
            if let Some(page) = self.ready.pop_front() {
                return Ok(Some(page));
            }
            match &mut self.phase {
                Phase::Over => return Ok(None),
                Phase::Whole(snapshots) => {
                    let next = snapshots.next(&self.server, &self.session, &mut self.tables).await;
                    match next {
                        Ok(Some(page)) => return Ok(Some(page)),
                        Ok(None) => self.open_log().await?,
                        Err(error) => {
                            let at = snapshots.give_up();
                            Box::pin(self.leave(at, error)).await?;
                        }
                    }
                }
                Phase::Log(log) => {
                    let wait = if self.follow { GATHER } else { QUIET };
                    let parts = tokio::time::timeout(wait, log.next()).await;
                    self.proceed(parts.ok().transpose()?).await?;
                }
            }
        }
    }

    /// Takes what has arrived, or reacts to silence.
    async fn proceed(&mut self, parts: Option<Vec<LogPart>>) -> Result<()> {
        match parts {
            None if self.follow => {}
            None => self.ask().await?,
            Some(parts) => {
                for part in parts {
                    self.take(part).await?;
                    if matches!(self.phase, Phase::Over) {
                        return Ok(());
                    }
                }
            }
        }
        if self.tables.iter().map(Table::bytes).sum::<usize>() > self.bytes_max() {
            self.flush_all().await?;
        }
        if self.follow {
            self.keep_time().await?;
        }
        Ok(())
    }

    /// Starts with the log where the table begins that is furthest behind.
    async fn open_log(&mut self) -> Result<()> {
        let followed = self.tables.iter().filter(|table| table.goes_on());
        let Some(from) = followed.map(|table| table.stored.lsn).min() else {
            self.phase = Phase::Over;
            return Ok(());
        };
        let sql = "SELECT pg_catalog.pg_current_wal_lsn()::text, \
                          pg_catalog.current_setting('server_encoding')";
        let row = self.session.row(sql, &[]).await?;
        self.target = Lsn::try_from(field::<String>(&row, 0)?)?;
        // A database without an encoding would refuse to send a text that is not UTF-8.
        let encoding: String = field(&row, 1)?;
        let encoding = if encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
        let mut tries = 0;
        let log = loop {
            let stored = self.readers.begin(&self.name);
            let (slot, publication) = (&self.name, &self.name);
            let request = LogRequest { slot, publication, from: from.0, encoding, stored };
            let (state, error) = match self.server.read_log(request).await? {
                Ok(log) => break log,
                Err(refused) => refused,
            };
            if state != SqlState::OBJECT_IN_USE {
                return Err(self.explain(&state, error));
            }
            tries += 1;
            if tries > BUSY_TRIES {
                return Err(busy(&self.name, error.message()));
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        };
        self.reached = from;
        self.told_at = Instant::now();
        self.phase = Phase::Log(Box::new(log));
        Ok(())
    }

    /// Says what it means that the server does not let its log be read.
    fn explain(&self, state: &SqlState, error: Error) -> Error {
        let name = &self.name;
        let gone = [SqlState::UNDEFINED_OBJECT, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE];
        if gone.contains(state) {
            return lost(format!("the replication slot \"{name}\" cannot be read"))
                .caused_by(error);
        }
        if error.kind() == ErrorKind::Denied {
            return error
                .hint("Run ALTER ROLE … REPLICATION for the user, and let pg_hba.conf admit it.");
        }
        error
    }

    /// Asks the server how far it is. An entry that is not yet whole is only completed by the next
    /// one, so after a while an empty transaction makes one.
    async fn ask(&mut self) -> Result<()> {
        self.asked += 1;
        if self.asked.is_multiple_of(ASKED_MAX) {
            self.session.row("SELECT pg_catalog.txid_current()", &[]).await?;
        }
        if let Phase::Log(log) = &self.phase {
            log.ask().await;
        }
        Ok(())
    }

    async fn take(&mut self, part: LogPart) -> Result<()> {
        let data = match part {
            LogPart::Message(data) => data,
            LogPart::Sent(place) => {
                if self.transaction.is_none() {
                    self.reached = self.reached.max(Lsn(place));
                    return self.end_if_reached().await;
                }
                return Ok(());
            }
        };
        match message(&data)? {
            Message::Begin { commit, at_us } => {
                self.transaction = Some(Transaction { commit: Lsn(commit), at_us });
            }
            Message::Commit { end } => {
                self.commit(Lsn(end)).await?;
                // Between two transactions everything can be handed over.
                if self.follow {
                    self.keep_time().await?;
                }
                self.end_if_reached().await?;
            }
            Message::Relation(described) => {
                if let Some(at) = self.places.get(&described.table).copied()
                    && let Some(table) = self.tables.get_mut(at)
                    && let Err(error) = table.describe(&self.session, described).await
                {
                    return Box::pin(self.leave(at, error)).await;
                }
            }
            Message::Insert { table, new } => self.change(table, None, Some(new)).await?,
            Message::Update { table, old, new } => self.change(table, old, Some(new)).await?,
            Message::Delete { table, old } => self.change(table, Some(old), None).await?,
            Message::Truncate(tables) => self.truncate(&tables).await?,
            Message::Other => {}
        }
        Ok(())
    }

    /// Gathers a changed row.
    async fn change(
        &mut self,
        number: u32,
        old: Option<message::Old>,
        new: Option<message::Tuple>,
    ) -> Result<()> {
        let Some(transaction) = self.transaction else {
            return Err(Error::corrupt("the log has a change outside of a transaction"));
        };
        let Some(at) = self.places.get(&number).copied() else { return Ok(()) };
        let Some(table) = self.tables.get_mut(at) else { return Ok(()) };
        if transaction.commit < table.stored.lsn {
            return Ok(());
        }
        for row in table.rows_of(old, new) {
            if self.tables.get(at).is_some_and(Table::full) {
                self.hand_over(at).await?;
            }
            let table = self.tables.get_mut(at).filter(|table| table.goes_on());
            let Some(table) = table else { return Ok(()) };
            table.gather(row, transaction.at_us);
        }
        if self.touched.last() != Some(&at) && !self.touched.contains(&at) {
            self.touched.push(at);
        }
        self.gathered_at.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Ends the transaction; pages that are full, and the rests of pages, are handed over.
    async fn commit(&mut self, end: Lsn) -> Result<()> {
        self.transaction = None;
        self.reached = self.reached.max(end);
        for at in std::mem::take(&mut self.touched) {
            let Some(table) = self.tables.get_mut(at).filter(|table| table.goes_on()) else {
                continue;
            };
            if table.commit() || table.full() || table.ends_pages() {
                self.hand_over(at).await?;
            }
        }
        Ok(())
    }

    /// Leaves tables behind that were emptied: what is left of them is not told by the log.
    async fn truncate(&mut self, numbers: &[u32]) -> Result<()> {
        let Some(transaction) = self.transaction else { return Ok(()) };
        let places: Vec<usize> = numbers
            .iter()
            .filter_map(|number| self.places.get(number).copied())
            .filter(|at| {
                self.tables.get(*at).is_some_and(|table| transaction.commit >= table.stored.lsn)
            })
            .collect();
        for at in places {
            let Some(table) = self.tables.get_mut(at) else { continue };
            table.truncated();
            let message = format!("{} was truncated", table.relation.name);
            let error = Error::blocked(message).hint(
                "Its log does not tell which rows are gone: empty the target and delete the \
                 stream's position to read it whole again.",
            );
            Box::pin(self.leave(at, error)).await?;
        }
        Ok(())
    }

    /// Follows a table no further, because of `error`: what was committed before is handed over with it, and the others go on.
    ///
    /// # Errors
    /// `error`, if it is not one of this table alone.
    async fn leave(&mut self, at: usize, error: Error) -> Result<()> {
        self.places.retain(|_, place| *place != at);
        let Some(table) = self.tables.get_mut(at) else { return Err(error) };
        let page = table.last_page(&self.session, error, self.reached).await?;
        self.ready.push_back(page);
        if self.tables.iter().any(Table::goes_on) || !matches!(self.phase, Phase::Log(_)) {
            return Ok(());
        }
        if let Phase::Log(log) = std::mem::replace(&mut self.phase, Phase::Over) {
            log.end().await?;
        }
        Ok(())
    }

    /// Leaves tables behind that a look at all of them has refused.
    async fn leave_refused(&mut self) -> Result<()> {
        for at in 0..self.tables.len() {
            let refused = self.tables.get_mut(at).and_then(|table| table.refused.take());
            if let Some(error) = refused {
                Box::pin(self.leave(at, error)).await?;
            }
        }
        Ok(())
    }

    /// Hands over what is gathered of a table.
    async fn hand_over(&mut self, at: usize) -> Result<()> {
        let Some(table) = self.tables.get_mut(at) else { return Ok(()) };
        match table.page(&self.session, self.reached).await {
            Ok(page) => {
                self.ready.push_back(page);
                Ok(())
            }
            // What the rows lack could not be looked up.
            Err(error) if Fate::of(&error, true).is_some() => {
                self.session.execute("ROLLBACK").await?;
                Box::pin(self.leave(at, error)).await
            }
            Err(error) => Err(error),
        }
    }

    /// The places of the tables that are followed and of which `what` is true.
    fn those(&self, what: impl Fn(&Table) -> bool) -> Vec<usize> {
        let all = self.tables.iter().enumerate();
        all.filter(|(_, table)| table.goes_on() && what(table)).map(|(at, _)| at).collect()
    }

    async fn end_if_reached(&mut self) -> Result<()> {
        if self.follow || self.transaction.is_some() || self.reached < self.target {
            return Ok(());
        }
        self.flush_all().await?;
        self.tell().await?;
        if let Phase::Log(log) = std::mem::replace(&mut self.phase, Phase::Over) {
            log.end().await?;
        }
        Ok(())
    }

    /// Hands over what is due by the clock.
    async fn keep_time(&mut self) -> Result<()> {
        if self.gathered_at.is_some_and(|at| at.elapsed() >= GATHER) {
            self.flush_settled().await?;
        }
        if self.told_at.elapsed() >= IDLE {
            for at in self.those(|_| true) {
                let Some(table) = self.tables.get_mut(at) else { continue };
                let checked =
                    partitions::check(&self.session, &table.relation, &mut table.stored).await;
                if let Err(error) = checked {
                    Box::pin(self.leave(at, error)).await?;
                }
            }
            publication::check(&self.session, &self.name, &mut self.tables).await?;
            self.leave_refused().await?;
            self.tell().await?;
        }
        Ok(())
    }

    /// Hands over everything that is gathered.
    async fn flush_all(&mut self) -> Result<()> {
        self.gathered_at = None;
        for at in self.those(Table::waits) {
            self.hand_over(at).await?;
        }
        Ok(())
    }

    /// Hands over what no transaction under way has a part in.
    async fn flush_settled(&mut self) -> Result<()> {
        for at in self.those(|table| table.waits() && table.settled()) {
            self.hand_over(at).await?;
        }
        if self.those(Table::waits).is_empty() {
            self.gathered_at = None;
        }
        Ok(())
    }

    /// Hands over newer positions of tables that had no changes.
    async fn tell(&mut self) -> Result<()> {
        self.told_at = Instant::now();
        let reached = self.reached;
        let behind = |table: &Table| table.settled() && !table.waits() && table.told < reached;
        for at in self.those(behind) {
            self.hand_over(at).await?;
        }
        Ok(())
    }
}

/// What becomes of a stream as the read begins.
enum Begun {
    Follows(Box<Table>),
    /// Its last page.
    Over(Box<ChangesPage>),
}

/// Begins with a stream, unless it has stopped before or its table cannot be followed.
async fn begin(session: &Session, at: usize, request: &ReadRequest) -> Result<Begun> {
    let over = |position: Position, error: Error| {
        Ok(Begun::Over(Box::new(ChangesPage::last(at, position, error))))
    };
    let stored = request.from.as_ref().map(Stored::of).transpose();
    if let (Ok(Some(Stored { stopped: Some(stop), .. })), Some(position)) = (&stored, &request.from)
    {
        return over(position.clone(), stop.error());
    }
    let known = stored.as_ref().ok().cloned().flatten();
    let opened = match stored {
        Ok(stored) => Box::pin(open(session, at, request, stored.unwrap_or_default())).await,
        Err(error) => Err(error),
    };
    let (error, fate) = match opened {
        Ok(table) => match check_table(session, &table).await {
            Ok(()) => return Ok(Begun::Follows(Box::new(table))),
            // What the log lacks of it from then on is lost, whatever becomes of the table.
            Err(error) if error.kind() == ErrorKind::Invalid && known.is_some() => {
                (error, Some(Fate::Stops))
            }
            Err(error) => {
                let fate = Fate::of(&error, known.is_some());
                (error, fate)
            }
        },
        Err(error) => {
            let fate = Fate::of(&error, known.is_some());
            (error, fate)
        }
    };
    match (fate, known) {
        (Some(Fate::Stops), Some(stored)) => {
            let stop = Stop::at(&stored.lsn.to_string(), &error);
            let error = stop.first(error);
            over(Stored { stopped: Some(stop), ..stored }.position()?, error)
        }
        (Some(_), _) => over(Position(serde_json::Value::Null), error),
        (None, _) => Err(error),
    }
}

/// Finds out about the table of a stream.
async fn open(
    session: &Session,
    at: usize,
    request: &ReadRequest,
    stored: Stored,
) -> Result<Table> {
    let stream: PostgresStream = settings("stream", request.stream.clone())?;
    if stream.query.is_some() {
        return Err(Error::invalid("a query has no log of changes")
            .hint("Set `table`, or read it with `read: full` or `read: incremental`."));
    }
    let relation = Relation::of(session, &stream, &request.columns).await?;
    if stream.condition.is_some() {
        let name = &relation.name;
        return Err(Error::invalid(format!(
            "the log of {name} has all rows, not those of `where`"
        ))
        .hint("Leave out `where` and choose the rows in a model, or use `read: incremental`."));
    }
    let mut table = Table::new(at, stream, request, relation, stored);
    if request.from.is_some() {
        partitions::check(session, &table.relation, &mut table.stored).await?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
