//! The server's log of changes: inserts, updates, deletes and DDL in the order of commits.
//!
//! Who calls it: a reader opens the log behind a [`LogPosition`] and takes events; when it has stored
//! everything up to a [`LogEvent::Commit`], it stores that event's position, too. What holds after a
//! crash: opened at a stored position, the log goes on with the first transaction after it, also
//! after a restart of the server and in another file of the log, because positions are GTIDs.
//!
//! The server needs `binlog_format=ROW` and `binlog_row_metadata=FULL`, so that rows come with the
//! names of their columns, whatever DDL happened since.

mod gtid;
mod row;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use flywheel_base::{Error, ErrorKind, Result};
use futures::StreamExt as _;
use mysql_async::binlog::events::{Event, EventData, RowsEventData};
use mysql_async::{BinlogStream, BinlogStreamRequest};
use serde::{Deserialize, Serialize};

use self::gtid::{MariaGtids, MySqlGtids};
pub use self::row::{LogRow, LogValue};
use super::MySql;
use super::connection::{Connection, Purpose, Server};
use crate::connections::Admitted;

/// The event with which MariaDB begins a transaction: sequence, domain, flags.
const MARIADB_GTID: u8 = 162;

/// MariaDB's events of compressed rows and statements.
const MARIADB_COMPRESSED: std::ops::RangeInclusive<u8> = 165..=171;

/// The flag of a MariaDB transaction that is one statement without a COMMIT of its own.
const STANDALONE: u8 = 1;

/// How often an idle server says that it is there, in nanoseconds.
const HEARTBEAT_NS: u64 = 10_000_000_000;

/// The error number of a position whose log the server has purged.
const PURGED: u16 = 1236;

/// How far a log was read; opaque, and JSON, so that it can be stored with the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogPosition {
    /// The last transaction of each domain, `0-1-42`.
    MariaDb(String),
    /// The transactions of each server, `3e11fa47-…:1-42`.
    MySql(String),
}

impl LogPosition {
    /// The transactions in words.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::MariaDb(text) | Self::MySql(text) => text,
        }
    }
}

/// Something that happened on the server.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEvent {
    /// Rows of one table changed.
    Change {
        /// The database.
        database: String,
        /// The table.
        table: String,
        /// What changed.
        change: Change,
    },
    /// Rows of one table changed, and what the log has of them cannot be read.
    Unreadable {
        /// The database.
        database: String,
        /// The table.
        table: String,
        /// Why not.
        message: String,
        /// How that is mended, if known.
        hint: Option<String>,
    },
    /// A statement that is no change of rows: DDL, and `TRUNCATE`.
    Statement {
        /// The database it was run in.
        database: String,
        /// The statement.
        sql: String,
    },
    /// Everything since the last of these is committed.
    Commit {
        /// Where to go on after it.
        position: LogPosition,
        /// When it was committed, in seconds since the epoch.
        at_s: u32,
    },
}

/// A change of one row. With `binlog_row_image=MINIMAL` a row holds only some of the columns.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A row was added.
    Insert(LogRow),
    /// A row became another.
    Update {
        /// The row as it was.
        before: LogRow,
        /// The row as it is.
        after: LogRow,
    },
    /// A row was removed.
    Delete(LogRow),
}

impl Change {
    /// Whether the log left out some of the columns of its rows.
    pub(super) fn is_partial(&self) -> bool {
        match self {
            Self::Insert(row) | Self::Delete(row) => row.partial,
            Self::Update { before, after } => before.partial || after.partial,
        }
    }
}

/// Transactions of a log.
#[derive(Clone, Debug)]
pub(super) enum Gtids {
    MariaDb(MariaGtids),
    MySql(MySqlGtids),
}

impl Gtids {
    /// Reads a position.
    pub(super) fn of(position: &LogPosition) -> Result<Self> {
        Ok(match position {
            LogPosition::MariaDb(text) => Self::MariaDb(text.parse()?),
            LogPosition::MySql(text) => Self::MySql(text.parse()?),
        })
    }

    /// The position behind them.
    pub(super) fn position(&self) -> LogPosition {
        match self {
            Self::MariaDb(gtids) => LogPosition::MariaDb(gtids.to_string()),
            Self::MySql(gtids) => LogPosition::MySql(gtids.to_string()),
        }
    }

    /// Whether all of `other` is in it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MariaDb(mine), Self::MariaDb(theirs)) => mine.covers(theirs),
            (Self::MySql(mine), Self::MySql(theirs)) => mine.covers(theirs),
            _ => false,
        }
    }

    /// Whether `seen` can have been read from a log that ends here; of another kind of server it is told
    /// once the log is opened.
    pub(super) fn continues(&self, seen: &Self) -> bool {
        match (self, seen) {
            (Self::MariaDb(end), Self::MariaDb(seen)) => end.continues(seen),
            (Self::MySql(end), Self::MySql(seen)) => end.covers(seen),
            _ => true,
        }
    }

    /// How many transactions of `other` are not in it, as far as their numbers tell.
    pub(super) fn missing(&self, other: &Self) -> Option<u64> {
        match (self, other) {
            (Self::MariaDb(mine), Self::MariaDb(theirs)) => Some(mine.missing(theirs)),
            (Self::MySql(mine), Self::MySql(theirs)) => Some(mine.missing(theirs)),
            _ => None,
        }
    }

    /// What is in both; nothing if they are of different kinds of servers.
    pub(super) fn both(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MariaDb(mine), Self::MariaDb(theirs)) => Self::MariaDb(mine.both(theirs)),
            (Self::MySql(mine), Self::MySql(theirs)) => Self::MySql(mine.both(theirs)),
            (Self::MariaDb(_), _) => Self::MariaDb(MariaGtids::default()),
            (Self::MySql(_), _) => Self::MySql(MySqlGtids::default()),
        }
    }

    /// What is in one of them.
    pub(super) fn either(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MariaDb(mine), Self::MariaDb(theirs)) => Self::MariaDb(mine.either(theirs)),
            (Self::MySql(mine), Self::MySql(theirs)) => Self::MySql(mine.either(theirs)),
            _ => self.clone(),
        }
    }

    fn contains(&self, transaction: &Transaction) -> bool {
        match (self, transaction) {
            (Self::MariaDb(gtids), Transaction::MariaDb { domain, sequence, .. }) => {
                gtids.contains(*domain, *sequence)
            }
            (Self::MySql(gtids), Transaction::MySql { server, number }) => {
                gtids.contains(server, *number)
            }
            _ => false,
        }
    }
}

/// The transaction whose events came last.
#[derive(Clone, Debug)]
enum Transaction {
    MariaDb { domain: u32, server: u32, sequence: u64, standalone: bool },
    MySql { server: String, number: u64 },
}

/// An open log.
pub struct ChangeLog {
    stream: BinlogStream,
    server: Server,
    gtids: Gtids,
    transaction: Option<Transaction>,
    charsets: Arc<BTreeMap<u16, String>>,
    /// The databases and tables whose rows are wanted; none for those of all.
    followed: Option<HashSet<(String, String)>>,
    ready: std::collections::VecDeque<LogEvent>,
    _admitted: Admitted,
}

impl fmt::Debug for ChangeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeLog").field("gtids", &self.gtids).finish_non_exhaustive()
    }
}

impl ChangeLog {
    /// Where the log ends at the moment.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the server writes no log that can be read, with the setting to change;
    /// what is wrong with the connection.
    pub async fn end(settings: &MySql, base_dir: &Path) -> Result<LogPosition> {
        Self::end_of(&Server::new(settings, base_dir, Purpose::Read)?).await
    }

    /// As [`ChangeLog::end`], of a server.
    pub(super) async fn end_of(server: &Server) -> Result<LogPosition> {
        let mut connection = server.connect().await?;
        check_settings(&mut connection).await?;
        let sql = if connection.mariadb {
            "SELECT @@global.gtid_binlog_pos"
        } else {
            "SELECT @@global.gtid_executed"
        };
        let text: Option<String> = connection.first(sql, ()).await?;
        let text = text.unwrap_or_default().replace(char::is_whitespace, "");
        let position =
            if connection.mariadb { LogPosition::MariaDb(text) } else { LogPosition::MySql(text) };
        connection.close().await;
        Ok(position)
    }

    /// Opens the log behind `from`. `server_id` has to differ from that of every other reader and of
    /// every server.
    ///
    /// # Errors
    /// As [`ChangeLog::end`]; [`ErrorKind::Corrupt`] if the position is not one of this kind of server.
    pub async fn open(
        settings: &MySql,
        base_dir: &Path,
        from: &LogPosition,
        server_id: u32,
    ) -> Result<Self> {
        Self::open_on(Server::new(settings, base_dir, Purpose::Read)?, from, server_id).await
    }

    /// As [`ChangeLog::open`], of a server.
    pub(super) async fn open_on(
        server: Server,
        from: &LogPosition,
        server_id: u32,
    ) -> Result<Self> {
        let mut connection = server.connect().await?;
        check_settings(&mut connection).await?;
        let sql = "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS \
                   WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL";
        let charsets: Vec<(u16, String)> = connection.all(sql, ()).await?;
        let request = BinlogStreamRequest::new(server_id);
        let gtids = match (from, connection.mariadb) {
            (LogPosition::MariaDb(text), true) => {
                let gtids: MariaGtids = text.parse()?;
                for statement in [
                    "SET @mariadb_slave_capability = 4".to_owned(),
                    format!("SET @slave_connect_state = '{gtids}'"),
                    "SET @slave_gtid_strict_mode = 1".to_owned(),
                    "SET @slave_gtid_ignore_duplicates = 0".to_owned(),
                ] {
                    connection.run(&statement).await?;
                }
                Gtids::MariaDb(gtids)
            }
            (LogPosition::MySql(text), false) => Gtids::MySql(text.parse()?),
            _ => {
                return Err(Error::corrupt("the stored position is one of another kind of server")
                    .hint(
                        "MariaDB and MySQL number transactions differently: load the tables anew.",
                    ));
            }
        };
        connection.run(&format!("SET @master_heartbeat_period = {HEARTBEAT_NS}")).await?;
        let request = match &gtids {
            Gtids::MariaDb(_) => request,
            Gtids::MySql(set) => request.with_gtid().with_gtid_set(set.sids()?),
        };
        let (conn, admitted) = connection.into_conn()?;
        let stream = Connection::answered(&server, conn.get_binlog_stream(request)).await?;
        let charsets = Arc::new(charsets.into_iter().collect());
        let ready = std::collections::VecDeque::new();
        Ok(Self {
            stream,
            server,
            gtids,
            transaction: None,
            charsets,
            followed: None,
            ready,
            _admitted: admitted,
        })
    }

    /// Leaves out the rows of all other tables, unread: what cannot be read in them stops nobody.
    pub(super) fn follow_only(&mut self, tables: HashSet<(String, String)>) {
        self.followed = Some(tables);
    }

    /// The next event; waits until there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the connection broke: open the log again at the last position.
    /// [`ErrorKind::Blocked`] if the server has purged what comes next.
    pub async fn next(&mut self) -> Result<LogEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let next = async { self.stream.next().await.transpose() };
            let event = match Connection::answered(&self.server, next).await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    return Err(Error::unavailable(format!(
                        "the server {} ended its log",
                        self.server.name()
                    )));
                }
                Err(error) if error.message().contains(&format!("(error {PURGED})")) => {
                    return Err(Error::blocked(format!(
                        "the log of {} does not have what comes after the position",
                        self.server.name()
                    ))
                    .caused_by(error)
                    .hint("It was purged: load the tables anew, and keep the log longer (`binlog_expire_logs_seconds`)."));
                }
                Err(error) => return Err(error),
            };
            self.take(&event)?;
        }
    }

    /// Whether the transaction of the event that came last is in `seen`.
    pub(super) fn is_in(&self, seen: &Gtids) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| seen.contains(transaction))
    }

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::corrupt(format!("an event in the log of {} cannot be read", self.server.name()))
            .caused_by(error)
    }

    /// Turns an event of the server into ours.
    fn take(&mut self, event: &Event) -> Result<()> {
        let header = event.header();
        let kind = header.event_type_raw();
        if kind == MARIADB_GTID {
            return self.begin_mariadb(event);
        }
        if MARIADB_COMPRESSED.contains(&kind) {
            return Err(Error::invalid(format!("the log of {} is compressed", self.server.name()))
                .hint("Set `log_bin_compress = OFF` on the server."));
        }
        if header.event_type().is_err() {
            // Checkpoints, lists of GTIDs and annotations of MariaDB.
            return Ok(());
        }
        let data = event.read_data().map_err(|error| self.broken(error))?;
        match data {
            Some(EventData::GtidEvent(gtid)) => {
                let server = gtid::uuid(gtid.sid());
                self.transaction = Some(Transaction::MySql { server, number: gtid.gno() });
            }
            Some(EventData::XidEvent(_)) => self.commit(header.timestamp()),
            Some(EventData::QueryEvent(query)) => {
                let sql = query.query().into_owned();
                match sql.trim().to_ascii_uppercase().as_str() {
                    "BEGIN" => {}
                    "COMMIT" => self.commit(header.timestamp()),
                    "ROLLBACK" => self.transaction = None,
                    word if word.starts_with("SAVEPOINT") => {}
                    _ => {
                        let database = query.schema().into_owned();
                        self.ready.push_back(LogEvent::Statement { database, sql });
                        // DDL is a transaction of its own.
                        let alone = match &self.transaction {
                            Some(Transaction::MariaDb { standalone, .. }) => *standalone,
                            _ => true,
                        };
                        if alone {
                            self.commit(header.timestamp());
                        }
                    }
                }
            }
            Some(EventData::RowsEvent(rows)) => self.rows(&rows)?,
            Some(EventData::IncidentEvent(_)) => {
                return Err(Error::blocked(format!("the log of {} has a gap", self.server.name()))
                    .hint("The server lost events: load the tables anew."));
            }
            _ => {}
        }
        Ok(())
    }

    fn begin_mariadb(&mut self, event: &Event) -> Result<()> {
        let data = event.data();
        let (Some((sequence, rest)), server) =
            (data.split_first_chunk::<8>(), event.header().server_id())
        else {
            return Err(self.broken("a GTID that is too short"));
        };
        let Some((domain, rest)) = rest.split_first_chunk::<4>() else {
            return Err(self.broken("a GTID that is too short"));
        };
        let standalone = rest.first().is_some_and(|flags| flags & STANDALONE != 0);
        let (domain, sequence) = (u32::from_le_bytes(*domain), u64::from_le_bytes(*sequence));
        self.transaction = Some(Transaction::MariaDb { domain, server, sequence, standalone });
        Ok(())
    }

    fn commit(&mut self, at_s: u32) {
        // It stays until the next one begins: its statement may still wait to be handed over.
        match (self.transaction.clone(), &mut self.gtids) {
            (
                Some(Transaction::MariaDb { domain, server, sequence, .. }),
                Gtids::MariaDb(gtids),
            ) => {
                gtids.add(domain, server, sequence);
            }
            (Some(Transaction::MySql { server, number }), Gtids::MySql(gtids)) => {
                gtids.add(&server, number);
            }
            _ => {}
        }
        self.ready.push_back(LogEvent::Commit { position: self.gtids.position(), at_s });
    }

    fn rows(&mut self, rows: &RowsEventData<'_>) -> Result<()> {
        let Some(map) = self.stream.get_tme(rows.table_id()) else {
            return Err(self.broken("rows of a table that was not named"));
        };
        let (database, table) = (map.database_name().into_owned(), map.table_name().into_owned());
        let place = (database.clone(), table.clone());
        if self.followed.as_ref().is_some_and(|followed| !followed.contains(&place)) {
            return Ok(());
        }
        let read = || -> Result<Vec<Change>> {
            let kinds = row::Kinds::of(map, &self.charsets)
                .map_err(|error| error.context(format!("table \"{table}\"")))?;
            let mut changes = Vec::new();
            for pair in rows.rows(map) {
                let (before, after) = pair.map_err(|error| self.broken(error))?;
                let before = before.map(|row| kinds.row(row)).transpose()?;
                let after = after.map(|row| kinds.row(row)).transpose()?;
                changes.push(match (before, after) {
                    (Some(before), Some(after)) => Change::Update { before, after },
                    (None, Some(after)) => Change::Insert(after),
                    (Some(before), None) => Change::Delete(before),
                    (None, None) => continue,
                });
            }
            Ok(changes)
        };
        let changes = match read() {
            Ok(changes) => changes,
            Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Corrupt) => {
                let hint = error.hint_text().map(str::to_owned);
                let message = error.message().to_owned();
                self.ready.push_back(LogEvent::Unreadable { database, table, message, hint });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for change in changes {
            let (database, table) = (database.clone(), table.clone());
            self.ready.push_back(LogEvent::Change { database, table, change });
        }
        Ok(())
    }
}

/// Proves that the server writes a log that can be read.
async fn check_settings(connection: &mut Connection) -> Result<()> {
    let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
               ('log_bin', 'binlog_format', 'binlog_row_metadata', 'gtid_mode')";
    let found: Vec<(String, String)> = connection.all(sql, ()).await?;
    for (name, wanted) in [
        ("log_bin", "ON"),
        ("binlog_format", "ROW"),
        ("binlog_row_metadata", "FULL"),
        ("gtid_mode", "ON"),
    ] {
        let value = found.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if value.is_some_and(|(_, value)| !value.eq_ignore_ascii_case(wanted)) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("the server's `{name}` is not {wanted}, so its log cannot be read"),
            )
            .hint(format!("Set `{name} = {wanted}` on the server.")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
