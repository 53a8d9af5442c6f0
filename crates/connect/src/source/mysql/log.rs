//! Changes from the server's binary log, in pages like those of a full read.
//!
//! ```text
//! where the log ends now ──► whole read of each new table ──► the log from the oldest position on
//! ```
//! Positions are sets of transactions (GTIDs). A table that is read whole keeps the place from before
//! its read: what changed meanwhile comes again, so that a target with one row for each key ends
//! equal to the table.
//!
//! A table whose log does not tell what it lacks, such as one that was truncated, is left behind with the reason in its position,
//! and the others go on. What its log has from there on is not for it until it is read whole again.

mod cascade;
mod statement;
mod table;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use flywheel_base::{Error, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;

use self::cascade::cascades;
use self::statement::{Effect, effect};
use self::table::{Stored, Table};
use super::binlog::{Change, ChangeLog, Gtids, LogEvent, LogPosition};
use super::connection::{Connection, Server};
use super::read::MySqlRead;
use super::relation::Relation;
use super::{MySqlStream, ZeroDates};
use crate::column::DeclaredColumn;
use crate::page::{DELETED_COLUMN, Position};
use crate::source::{
    ChangesPage, ChangesRequest, Lag, PAGE_BYTES_DEFAULT, ReadMode, ReadRequest, settings,
};
use crate::stop::Fate;

/// Connections that are open at once: one of the log or a whole read, and one that looks things up.
const LOG_CONNECTIONS: usize = 2;

/// How long changes wait for others before they are handed over, when the log is followed.
const GATHER: Duration = Duration::from_millis(200);

/// How long positions may stay behind a log without changes of the tables.
const IDLE: Duration = Duration::from_secs(10);

/// How often it is looked whether a log has what was read of it, and how long until then: a server can send
/// a transaction a moment before it counts it.
const HISTORY_TRIES: u32 = 20;
const HISTORY_PAUSE: Duration = Duration::from_millis(100);

/// The pages of changes.
pub(super) fn changes<'a>(
    server: &'a Server,
    zero: ZeroDates,
    request: &'a ChangesRequest,
) -> BoxStream<'a, Result<ChangesPage>> {
    futures::stream::try_unfold(None::<Box<Reader>>, move |reader| async move {
        let mut reader = match reader {
            Some(reader) => reader,
            None => Box::pin(Reader::start(server, zero, request)).await?,
        };
        Ok(Box::pin(reader.next()).await?.map(|page| (page, Some(reader))))
    })
    .boxed()
}

/// How many transactions of the log come after each position.
pub(super) async fn lag(server: &Server, request: &ChangesRequest) -> Result<Vec<Option<Lag>>> {
    let end = Gtids::of(&ChangeLog::end_of(server).await?)?;
    let behind = |stream: &ReadRequest| {
        // Positions of reads that follow a column are of another kind.
        let stored = Stored::of(stream.from.as_ref()?).ok()?;
        let seen = Gtids::of(stored.place()).ok()?;
        Some(Lag { behind: seen.missing(&end)?, unit: "transactions" })
    };
    Ok(request.streams.iter().map(behind).collect())
}

enum Phase {
    /// Whole reads: the table, and its read if it has begun.
    Whole(usize, Option<Box<MySqlRead>>),
    Log(Box<ChangeLog>),
    Over,
}

/// A read of the log under way.
struct Reader {
    server: Server,
    connection: Connection,
    server_id: u32,
    follow: bool,
    /// The tables that were followed as the read began; some may have been left behind since.
    tables: Vec<Table>,
    /// The places of those that are followed, by database and name.
    places: HashMap<(String, String), usize>,
    phase: Phase,
    ready: VecDeque<ChangesPage>,
    target: Gtids,
    /// Everything in it has arrived.
    reached: Gtids,
    gathered_at: Option<Instant>,
    told_at: Instant,
}

impl Reader {
    async fn start(
        server: &Server,
        zero: ZeroDates,
        request: &ChangesRequest,
    ) -> Result<Box<Self>> {
        if request.streams.is_empty() {
            return Err(Error::invalid("there is no stream to follow"));
        }
        server.require_connections(LOG_CONNECTIONS, "following a server's log of changes")?;
        // Before the whole reads, so that nothing of them is missing in the log.
        let end = ChangeLog::end_of(server).await?;
        let mut connection = server.connect().await?;
        check_rows(&mut connection).await?;
        let end = place_of_snapshots(&mut connection, end).await?;
        let mut tables = Vec::with_capacity(request.streams.len());
        let mut places = HashMap::new();
        let mut ready = VecDeque::new();
        for (at, stream) in request.streams.iter().enumerate() {
            let begun = begin(&mut connection, server, zero, at, stream, &end).await?;
            let table = match begun {
                Begun::Follows(table) => *table,
                Begun::Over(page) => {
                    ready.push_back(*page);
                    continue;
                }
            };
            if places.insert(table.place(), tables.len()).is_some() {
                return Err(Error::invalid(format!("two streams follow {}", table.relation.name))
                    .hint("Leave one of them out, or give it a connection of its own."));
            }
            tables.push(table);
        }
        check_history(server, &tables).await?;
        let target = Gtids::of(&end)?;
        Ok(Box::new(Self {
            server: server.clone(),
            connection,
            server_id: server_id(&request.name),
            follow: request.follow,
            tables,
            places,
            phase: Phase::Whole(0, None),
            ready,
            reached: target.clone(),
            target,
            gathered_at: None,
            told_at: Instant::now(),
        }))
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
                Phase::Whole(at, read) => match self.tables.get_mut(*at) {
                    None => self.open_log().await?,
                    Some(table) => match whole(&self.server, table, read).await {
                        Ok(Some(page)) => return Ok(Some(page)),
                        Ok(None) => {
                            *read = None;
                            *at += 1;
                        }
                        Err(error) => {
                            *read = None;
                            let given_up = *at;
                            *at += 1;
                            self.leave(given_up, error)?;
                        }
                    },
                },
                Phase::Log(log) if self.follow => {
                    let event = tokio::time::timeout(GATHER, log.next()).await;
                    if let Ok(event) = event {
                        self.take(event?).await?;
                    }
                    self.keep_time()?;
                }
                Phase::Log(log) => {
                    let event = log.next().await?;
                    self.take(event).await?;
                }
            }
        }
    }

    /// Starts with the log where the table begins that is furthest behind.
    async fn open_log(&mut self) -> Result<()> {
        let mut from: Option<Gtids> = None;
        for table in self.tables.iter().filter(|table| table.goes_on()) {
            from = Some(from.map_or_else(|| table.seen.clone(), |from| from.both(&table.seen)));
        }
        if !self.follow {
            let end = ChangeLog::end_of(&self.server).await?;
            self.target = Gtids::of(&end)?;
        }
        let Some(from) = from else {
            self.phase = Phase::Over;
            return Ok(());
        };
        self.reached = from;
        self.told_at = Instant::now();
        if !self.follow && self.reached.covers(&self.target) {
            self.tell()?;
            self.phase = Phase::Over;
            return Ok(());
        }
        let position = self.reached.position();
        let mut log = ChangeLog::open_on(self.server.clone(), &position, self.server_id).await?;
        log.follow_only(self.places.keys().cloned().collect());
        self.phase = Phase::Log(Box::new(log));
        Ok(())
    }

    async fn take(&mut self, event: LogEvent) -> Result<()> {
        match event {
            LogEvent::Change { database, table, change } => {
                let Some(at) = self.places.get(&(database, table)).copied() else { return Ok(()) };
                self.change(at, change).await
            }
            LogEvent::Unreadable { database, table, message, hint } => {
                let Some(at) = self.places.get(&(database, table)).copied() else { return Ok(()) };
                let (Some(table), Phase::Log(log)) = (self.tables.get_mut(at), &self.phase) else {
                    return Ok(());
                };
                if log.is_in(&table.seen) {
                    return Ok(());
                }
                table.stopped("has a row in the log that cannot be read");
                let error = Error::blocked(message);
                self.leave(
                    at,
                    match hint {
                        Some(hint) => error.hint(hint),
                        None => error,
                    },
                )
            }
            LogEvent::Statement { database, sql } => self.statement(&database, &sql),
            LogEvent::Commit { position, at_s } => self.commit(&position, at_s),
        }
    }

    async fn change(&mut self, at: usize, change: Change) -> Result<()> {
        let (Some(table), Phase::Log(log)) = (self.tables.get_mut(at), &self.phase) else {
            return Ok(());
        };
        if log.is_in(&table.seen) {
            return Ok(());
        }
        if change.is_partial() {
            let why = "was changed by a session whose `binlog_row_image` is not FULL, so that the \
                       log does not have all columns of its rows";
            table.stopped(why);
            let message = format!("{} {why}", table.relation.name);
            let error = Error::blocked(message).hint(
                "Set `binlog_row_image = FULL` in that session. Empty the target and delete the \
                 stream's position to read it whole again.",
            );
            return self.leave(at, error);
        }
        let first = match &change {
            Change::Insert(row) | Change::Delete(row) => row,
            Change::Update { after, .. } => after,
        };
        if table.differs(first) {
            if table.waits() {
                let page = table.page(&self.reached)?;
                self.ready.push_back(page);
            }
            let (settings, server) = (&table.settings, &self.server);
            // The table has been read: a column that it lacks by now was dropped meanwhile.
            let read = |column: &DeclaredColumn| DeclaredColumn { landed: true, ..column.clone() };
            let declared: Vec<DeclaredColumn> = table.request.columns.iter().map(read).collect();
            let now = Relation::of(&mut self.connection, server, settings, &declared).await;
            if let Err(error) = now.and_then(|now| table.learn(first, now)) {
                table.stopped(error.message());
                return self.leave(at, error);
            }
        }
        for (deleted, row) in table.rows_of(change) {
            if table.full() {
                let page = table.page(&self.reached)?;
                self.ready.push_back(page);
            }
            table.gather(&row, deleted)?;
        }
        self.gathered_at.get_or_insert_with(Instant::now);
        if self.tables.iter().map(Table::bytes).sum::<usize>() > self.bytes_max() {
            return self.flush_all();
        }
        Ok(())
    }

    /// Reacts to a statement that changes more than rows.
    fn statement(&mut self, database: &str, sql: &str) -> Result<()> {
        let Phase::Log(log) = &self.phase else { return Ok(()) };
        let mut ended = Vec::new();
        for (at, table) in self.tables.iter_mut().enumerate() {
            if !table.goes_on() || log.is_in(&table.seen) {
                continue;
            }
            let why = match effect(sql, database, &table.place()) {
                Effect::None => continue,
                Effect::Columns(_) if table.has_read(log) => {
                    table.stale();
                    continue;
                }
                Effect::Columns(alter) => {
                    let Some(name) = table.altered(&alter) else { continue };
                    let why = format!("has another column under the name \"{name}\" than before");
                    let hint = "The log does not tell what rows have in it that did not change. \
                                Delete the stream's position to read it whole again.";
                    table.stopped(&why);
                    let message = format!("{} {why}", table.relation.name);
                    ended.push((at, Error::blocked(message).hint(hint)));
                    continue;
                }
                Effect::Emptied => "was truncated",
                Effect::Gone => "was dropped, renamed or made anew",
                Effect::Rows => "was changed by a statement whose rows are not in the log",
            };
            table.stopped(why);
            let error = Error::blocked(format!("{} {why}", table.relation.name)).hint(
                "The log does not tell which rows are gone: empty the target and delete the \
                 stream's position to read it whole again.",
            );
            ended.push((at, error));
        }
        for (at, error) in ended {
            self.leave(at, error)?;
        }
        if self.tables.iter().any(|table| table.goes_on() && table.waits()) {
            self.gathered_at.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Follows a table no further, because of `error`: what was committed before is handed over with it, and the others go on.
    ///
    /// # Errors
    /// `error`, if it is not one of this table alone.
    fn leave(&mut self, at: usize, error: Error) -> Result<()> {
        self.places.retain(|_, place| *place != at);
        let Some(table) = self.tables.get_mut(at) else { return Err(error) };
        let page = table.last_page(error, &self.reached)?;
        self.ready.push_back(page);
        if !self.tables.iter().any(Table::goes_on) && matches!(self.phase, Phase::Log(_)) {
            self.phase = Phase::Over;
        }
        Ok(())
    }

    fn commit(&mut self, position: &LogPosition, at_s: u32) -> Result<()> {
        self.reached = Gtids::of(position)?;
        for table in self.tables.iter_mut().filter(|table| table.goes_on()) {
            if table.commit(at_s) || table.full() || table.ends_pages() {
                let page = table.page(&self.reached)?;
                self.ready.push_back(page);
            }
        }
        if self.follow {
            return self.keep_time();
        }
        if self.reached.covers(&self.target) {
            self.flush_all()?;
            self.tell()?;
            self.phase = Phase::Over;
        }
        Ok(())
    }

    /// Hands over what is due by the clock.
    fn keep_time(&mut self) -> Result<()> {
        if self.gathered_at.is_some_and(|at| at.elapsed() >= GATHER) {
            self.flush_settled()?;
        }
        if self.told_at.elapsed() >= IDLE {
            self.tell()?;
        }
        Ok(())
    }

    /// Hands over everything that is gathered.
    fn flush_all(&mut self) -> Result<()> {
        self.gathered_at = None;
        for table in self.tables.iter_mut().filter(|table| table.goes_on() && table.waits()) {
            self.ready.push_back(table.page(&self.reached)?);
        }
        Ok(())
    }

    /// Hands over what no transaction under way has a part in.
    fn flush_settled(&mut self) -> Result<()> {
        let settled = |table: &&mut Table| table.goes_on() && table.waits() && table.settled();
        for table in self.tables.iter_mut().filter(settled) {
            self.ready.push_back(table.page(&self.reached)?);
        }
        if !self.tables.iter().any(|table| table.goes_on() && table.waits()) {
            self.gathered_at = None;
        }
        Ok(())
    }

    /// Hands over newer positions of tables that had no changes.
    fn tell(&mut self) -> Result<()> {
        self.told_at = Instant::now();
        for table in self.tables.iter_mut().filter(|table| table.goes_on()) {
            if table.settled() && !table.waits() && !table.told.covers(&self.reached) {
                self.ready.push_back(table.page(&self.reached)?);
            }
        }
        Ok(())
    }
}

/// The next page of a table that is read whole; none once the read is over.
async fn whole(
    server: &Server,
    table: &mut Table,
    read: &mut Option<Box<MySqlRead>>,
) -> Result<Option<ChangesPage>> {
    let Some(stored) = table.snapshot.clone() else { return Ok(None) };
    let read = match read {
        Some(read) => read,
        None => {
            if stored.is_null() {
                // The read keeps the columns as they are from its first row on.
                table.reads_from(Gtids::of(&ChangeLog::end_of(server).await?)?);
            }
            let from = Some(stored).filter(|stored| !stored.is_null()).map(Position);
            let request = ReadRequest { mode: ReadMode::Full, from, ..table.request.clone() };
            read.insert(Box::new(MySqlRead::new(server, table.zero, &request)?))
        }
    };
    match read.next_page().await? {
        Some(page) => table.whole_page(page, read.columns()).map(Some),
        None => Err(Error::internal("a whole read ended before its last page")),
    }
}

/// What becomes of a stream as the read begins.
enum Begun {
    Follows(Box<Table>),
    /// Its last page.
    Over(Box<ChangesPage>),
}

/// Begins with a stream, unless it has stopped before or its table cannot be followed.
async fn begin(
    connection: &mut Connection,
    server: &Server,
    zero: ZeroDates,
    at: usize,
    request: &ReadRequest,
    end: &LogPosition,
) -> Result<Begun> {
    let over = |position: Position, error: Error| {
        Ok(Begun::Over(Box::new(ChangesPage::last(at, position, error))))
    };
    let stored = request.from.as_ref().map(Stored::of).transpose();
    if let (Ok(Some(stored)), Some(position)) = (&stored, &request.from)
        && let Some(stop) = stored.stopped()
    {
        return over(position.clone(), stop.error());
    }
    let known = stored.as_ref().ok().cloned().flatten();
    let opened = match stored {
        Ok(stored) => {
            let stored = stored.unwrap_or_else(|| Stored::new(end.clone()));
            Box::pin(open(connection, server, zero, at, request, stored)).await
        }
        Err(error) => Err(error),
    };
    let error = match opened {
        Ok(table) => return Ok(Begun::Follows(Box::new(table))),
        Err(error) => error,
    };
    match (Fate::of(&error, known.is_some()), known) {
        (Some(Fate::Stops), Some(stored)) => {
            let (error, position) = stored.stop(error)?;
            over(position, error)
        }
        (Some(_), _) => over(Position(serde_json::Value::Null), error),
        (None, _) => Err(error),
    }
}

/// Finds out about the table of a stream.
async fn open(
    connection: &mut Connection,
    server: &Server,
    zero: ZeroDates,
    at: usize,
    request: &ReadRequest,
    stored: Stored,
) -> Result<Table> {
    let stream: MySqlStream = settings("stream", request.stream.clone())?;
    let (Some(name), None) = (&stream.table, &stream.query) else {
        return Err(Error::invalid("a query has no log of changes")
            .hint("Set `table`, or read it with `read: full` or `read: incremental`."));
    };
    let database = match &stream.database {
        Some(database) => database.clone(),
        None => server.database()?.to_owned(),
    };
    let place = (database, name.clone());
    let relation = Relation::of(connection, server, &stream, &request.columns).await?;
    let called = &relation.name;
    if stream.condition.is_some() {
        return Err(Error::invalid(format!(
            "the log of {called} has all rows, not those of `where`"
        ))
        .hint("Leave out `where` and choose the rows in a model, or use `read: incremental`."));
    }
    if relation.key.is_empty() {
        return Err(Error::invalid(format!(
            "{called} has no key: rows that change or are gone could not be told apart"
        ))
        .hint(format!("Give it one: ALTER TABLE {} ADD PRIMARY KEY (…).", relation.from)));
    }
    if relation.columns.iter().any(|column| column.column.name == DELETED_COLUMN) {
        return Err(Error::invalid(format!(
            "{called} has a column `_deleted`, which tells the rows that are gone here"
        ))
        .hint("Rename the column, or use `read: incremental`."));
    }
    let sql = "SELECT TABLE_TYPE FROM information_schema.TABLES \
               WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let kind: Option<String> = connection.first(sql, (place.0.as_str(), place.1.as_str())).await?;
    if kind.as_deref() == Some("VIEW") {
        return Err(Error::invalid(format!("{called} is a view, so that no log has its changes"))
            .hint("Follow the tables behind it, or use `read: full` or `read: incremental`."));
    }
    if kind.as_deref() == Some("SYSTEM VERSIONED") {
        return Err(Error::invalid(format!(
            "{called} is system-versioned: its log has rows of the past among those of now"
        ))
        .hint("Use `read: full` or `read: incremental`, which read the rows of now."));
    }
    let zero = stream.zero_dates.unwrap_or(zero);
    let found = cascades(connection, &relation.from).await?;
    let mut table = Table::new(at, place, stream, zero, request, relation, stored)?;
    table.warn(&found);
    Ok(table)
}

/// Proves that the log is the one that the positions are of. On another one its own transactions would be
/// taken for those that were read already, as long as their numbers are lower.
async fn check_history(server: &Server, tables: &[Table]) -> Result<()> {
    if tables.iter().all(|table| table.request.from.is_none()) {
        return Ok(());
    }
    let mut tries = 0;
    loop {
        let end = Gtids::of(&ChangeLog::end_of(server).await?)?;
        let mut read = tables.iter().filter(|table| table.request.from.is_some());
        let Some(ahead) = read.find(|table| !end.continues(&table.seen)) else { return Ok(()) };
        tries += 1;
        if tries == HISTORY_TRIES {
            return Err(Error::blocked(format!(
                "the log of {} does not have the transactions up to the position of {}: it is \
                 another server, was restored from a backup, or its log was reset",
                server.name(),
                ahead.relation.name
            ))
            .hint(
                "Check the connection's `host` and `port`; a replica that lags has them later. If \
                 it is the right server and no replica, the changes in between are not in its log: \
                 delete the positions of the streams to read them whole again.",
            ));
        }
        tokio::time::sleep(HISTORY_PAUSE).await;
    }
}

/// Proves that rows are in the log with all their columns.
async fn check_rows(connection: &mut Connection) -> Result<()> {
    let sql = "SELECT @@global.binlog_row_image";
    let image: Option<String> = connection.first(sql, ()).await?;
    let image = image.unwrap_or_default();
    if image.eq_ignore_ascii_case("FULL") {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the server's log has rows only in part: `binlog_row_image` is {image}"
    ))
    .hint("Set `binlog_row_image = FULL` on the server."))
}

/// The place in the log from which on a whole read misses nothing. MariaDB counts a transaction as
/// logged before others see it, but tells where the log stands for a snapshot; MySQL counts it after.
async fn place_of_snapshots(connection: &mut Connection, end: LogPosition) -> Result<LogPosition> {
    if !connection.mariadb {
        return Ok(end);
    }
    for statement in super::read::SNAPSHOT {
        connection.run(statement).await?;
    }
    let sql = "SHOW STATUS LIKE 'binlog_snapshot_%'";
    let found: Vec<(String, String)> = connection.all(sql, ()).await?;
    let value = |name: &str| {
        found.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let (Some(file), Some(place)) =
        (value("binlog_snapshot_file"), value("binlog_snapshot_position"))
    else {
        return Err(Error::internal("the server does not tell where its snapshots stand"));
    };
    let sql = "SELECT BINLOG_GTID_POS(?, CAST(? AS UNSIGNED))";
    let gtids: Option<Option<String>> =
        connection.first(sql, (file.as_str(), place.as_str())).await?;
    connection.run("COMMIT").await?;
    Ok(LogPosition::MariaDb(gtids.flatten().unwrap_or_default()))
}

/// The number by which the server knows the reader; the same for a name, different for others.
fn server_id(name: &str) -> u32 {
    let digest = blake3::hash(name.as_bytes());
    let [a, b, c, d, ..] = digest.as_bytes();
    // Far away from the small numbers that people give their servers.
    u32::from_be_bytes([*a, *b, *c, *d]) | 0x4000_0000
}

#[cfg(test)]
mod tests;
