//! What a reader of the log has on the server: a publication that names the tables, and a replication
//! slot that keeps the log.
//!
//! ```text
//! no stream has a position ──► a new slot, behind all transactions under way ──► its place
//! some have, a table is new ──► added to the publication; transactions under way are waited for
//! all have                  ──► slot and publication have to be as they were left
//! ```

use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result};
use tokio_postgres::error::SqlState;

use super::position::Lsn;
use super::publication::{self, Publication, alter, note, published};
use super::table::Table;
use crate::page::DELETED_COLUMN;
use crate::postgres::{Session, fail, field, literal, quoted};
use crate::stop::Fate;

/// What the names of slots and publications begin with.
const PREFIX: &str = "flywheel_";

/// The longest name of a reader.
const NAME_MAX: usize = 48;

/// The first version that tells what it has given up, and changes of partitions as their table's.
const VERSION_MIN: i32 = 130_000;

/// How long a slot may stay in use by a session that ends.
const BUSY_TRIES: u32 = 30;

/// How long until a busy slot, or a transaction under way, is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

/// How often transactions under way are looked at.
const WRITER_TRIES: u32 = 600;

/// The reader's slot and publication, which have one name.
///
/// # Errors
/// [`ErrorKind::Invalid`] if the reader's name has other characters than it may.
pub(super) fn slot_name(reader: &str) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if reader.is_empty() || reader.len() > NAME_MAX || !reader.bytes().all(fits) {
        return Err(Error::invalid(format!("\"{reader}\" cannot name a reader of a log"))
            .hint("Use at most 48 lower-case letters, digits and `_`."));
    }
    Ok(format!("{PREFIX}{reader}"))
}

/// A slot as the server knows it.
struct Slot {
    lost: bool,
    ours: bool,
    confirmed: Lsn,
}

/// Makes or checks what the reader has on the server, and gives tables without position theirs. A table whose changes are lost
/// is marked as refused. `kept` says that slot and publication are for another table as well, one that waits at its position.
pub(super) async fn set_up(
    session: &Session,
    name: &str,
    tables: &mut [Table],
    kept: bool,
) -> Result<()> {
    let slot = slot(session, name).await?;
    let published = published(session, name).await?;
    if !kept && tables.iter().all(|table| table.stored.lsn == Lsn::default()) {
        let place = begin(session, name, tables, slot.is_some(), published).await?;
        tables.iter_mut().for_each(|table| table.start_at(place));
        return note(session, name, tables).await;
    }
    let slot = check_slot(session, name, slot, tables).await?;
    let Some(published) = published else {
        return Err(lost(format!("the publication \"{name}\" is gone")));
    };
    published.check(name, tables)?;
    if !tables.iter().any(Table::goes_on) {
        return Ok(());
    }
    for table in tables.iter_mut() {
        if !table.goes_on() || published.has(table) {
            continue;
        }
        let from = &table.relation.from;
        let sql = format!("ALTER PUBLICATION {} ADD TABLE {from}", quoted(name));
        match alter(session, &sql).await {
            Ok(()) => {}
            // Such as a table of another owner.
            Err(error) if Fate::of(&error, false).is_some() => table.refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    if tables.iter().any(|table| table.goes_on() && table.stored.lsn == Lsn::default()) {
        let place = behind_writers(session).await?.max(slot.confirmed);
        let new = tables.iter_mut().filter(|table| table.stored.lsn == Lsn::default());
        new.for_each(|table| table.start_at(place));
    }
    note(session, name, tables).await
}

/// Lets the server forget its log before `place`.
pub(super) async fn advance(session: &Session, name: &str, place: Lsn) -> Result<()> {
    let Some(slot) = slot(session, name).await? else {
        return Err(lost(format!("the replication slot \"{name}\" is gone")));
    };
    if slot.confirmed >= place {
        return Ok(());
    }
    let sql = format!(
        "SELECT pg_catalog.pg_replication_slot_advance({}, '{place}'::pg_lsn)",
        literal(name)
    );
    when_free(session, name, &sql).await.map(drop)
}

/// Removes slot and publication, if they are there.
pub(super) async fn remove(session: &Session, name: &str) -> Result<()> {
    if slot(session, name).await?.is_some() {
        drop_slot(session, name).await?;
    }
    session.execute(&format!("DROP PUBLICATION IF EXISTS {}", quoted(name))).await
}

/// The error for a log that is not there any more.
pub(super) fn lost(message: impl Into<String>) -> Error {
    Error::blocked(message).hint(
        "Changes in between are lost: delete the positions of the streams to read them whole again.",
    )
}

/// The error for a slot that somebody else reads.
pub(super) fn busy(name: &str, text: &str) -> Error {
    let message = format!("the replication slot \"{name}\" is in use: {text}");
    Error::new(ErrorKind::Conflict, message).hint(
        "Only one process can read it; end the other, or run SELECT pg_terminate_backend(PID).",
    )
}

/// Proves that the server writes a log that can be followed.
pub(super) async fn check_server(session: &Session) -> Result<()> {
    let sql = "SELECT pg_catalog.current_setting('wal_level'), pg_catalog.pg_is_in_recovery(), \
               pg_catalog.current_setting('server_version_num')::int4";
    let row = session.row(sql, &[]).await?;
    let (level, standby): (String, bool) = (field(&row, 0)?, field(&row, 1)?);
    let server = session.server().name();
    if field::<i32>(&row, 2)? < VERSION_MIN {
        return Err(Error::invalid(format!("the log of {server} cannot be followed"))
            .hint("Use PostgreSQL 13 or newer, or `read: incremental`."));
    }
    if level != "logical" {
        return Err(Error::invalid(format!(
            "the log of {server} has no changes of rows: `wal_level` is {level}"
        ))
        .hint("Run ALTER SYSTEM SET wal_level = logical, and restart the server."));
    }
    if standby {
        return Err(Error::invalid(format!("{server} is a standby, which cannot be followed"))
            .hint("Connect to the primary server."));
    }
    Ok(())
}

/// Proves that the log tells the key of every changed row.
pub(super) async fn check_table(session: &Session, table: &Table) -> Result<()> {
    let relation = &table.relation;
    let name = &relation.name;
    let refused = |why: &str| Error::invalid(format!("{name} {why}"));
    let Some(known) = &relation.table else {
        return Err(Error::invalid("a query has no log of changes")
            .hint("Set `table`, or read it with `read: full` or `read: incremental`."));
    };
    if !matches!(known.form.as_str(), "r" | "p") {
        return Err(refused("is a view or lies elsewhere, so that no log has its changes")
            .hint("Follow the tables behind it, or use `read: full` or `read: incremental`."));
    }
    if relation.columns.iter().any(|column| column.column.name == DELETED_COLUMN) {
        return Err(refused("has a column `_deleted`, which tells the rows that are gone here")
            .hint("Rename the column, or use `read: incremental`."));
    }
    let sql = "
        SELECT c.relreplident::text, c.relpersistence::text,
               c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i
                                           WHERE i.inhparent = c.oid),
               (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_index i
                JOIN pg_catalog.pg_attribute a
                  ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[])
                WHERE i.indrelid = c.oid AND CASE c.relreplident
                    WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)
        FROM pg_catalog.pg_class c WHERE c.oid = $1";
    let row = session.row(sql, &[&known.oid]).await?;
    let (identity, persistence): (String, String) = (field(&row, 0)?, field(&row, 1)?);
    let (parent, told): (bool, Option<Vec<String>>) = (field(&row, 2)?, field(&row, 3)?);
    if persistence != "p" {
        return Err(refused("is not in the log, because it is unlogged or temporary")
            .hint(format!("Run ALTER TABLE {} SET LOGGED.", relation.from)));
    }
    if parent {
        return Err(refused("has tables that inherit from it")
            .hint("Follow each of them, or make it a partitioned table."));
    }
    if identity == "f" {
        return Ok(());
    }
    let told = told.unwrap_or_default();
    let key = relation.key.iter().filter_map(|at| relation.columns.get(*at));
    let whole = key.into_iter().all(|column| told.contains(&column.name));
    if !relation.key.is_empty() && whole {
        return Ok(());
    }
    let why = "has no key in the log: rows that change or are gone could not be told apart";
    if !told.is_empty() {
        return Err(refused(why).hint(format!(
            "Its replica identity has the columns {}: name them as the stream's option `primary_key` \
             and as its `key`, or run ALTER TABLE {} REPLICA IDENTITY FULL.",
            told.join(", "),
            relation.from
        )));
    }
    Err(refused(why).hint(format!(
        "Give it a primary key, run ALTER TABLE {} REPLICA IDENTITY FULL, or read it with `read: full`.",
        relation.from
    )))
}

async fn slot(session: &Session, name: &str) -> Result<Option<Slot>> {
    let sql = "SELECT coalesce(wal_status, '') = 'lost', \
                      coalesce(plugin = 'pgoutput' AND database = current_database(), false), \
                      confirmed_flush_lsn::text \
               FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
    let Some(row) = session.rows(sql, &[&name]).await?.into_iter().next() else { return Ok(None) };
    let confirmed: Option<String> = field(&row, 2)?;
    let confirmed = confirmed.map(Lsn::try_from).transpose()?.unwrap_or_default();
    Ok(Some(Slot { lost: field(&row, 0)?, ours: field(&row, 1)?, confirmed }))
}

/// Makes publication and slot anew; gives the place from which on the slot has all changes.
async fn begin(
    session: &Session,
    name: &str,
    tables: &[Table],
    slot: bool,
    known: Option<Publication>,
) -> Result<Lsn> {
    if slot {
        drop_slot(session, name).await?;
    }
    // Before the slot, because the log is read with the publications of its time.
    publication::make(session, name, tables, known).await?;
    let sql = format!(
        "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot({}, 'pgoutput')",
        literal(name)
    );
    let rows = match session.attempt_rows(&sql).await? {
        Ok(rows) => rows,
        Err(error) => {
            let state = error.code().cloned();
            let error = fail(session.server(), error);
            return Err(match state {
                Some(state) if state == SqlState::INSUFFICIENT_PRIVILEGE => error.hint(
                    "Run ALTER ROLE … REPLICATION for the user, or what the provider has instead.",
                ),
                Some(state) if state == SqlState::CONFIGURATION_LIMIT_EXCEEDED => error.hint(
                    "Raise `max_replication_slots` and restart the server, or drop a slot that is \
                     not used: SELECT pg_drop_replication_slot(NAME).",
                ),
                Some(state) if state == SqlState::LOCK_NOT_AVAILABLE => {
                    error.hint("A transaction that writes is open for long; see pg_stat_activity.")
                }
                _ => error,
            });
        }
    };
    let place: String = match rows.first() {
        Some(row) => field(row, 0)?,
        None => return Err(Error::internal("a new replication slot has no place")),
    };
    Lsn::try_from(place)
}

/// Proves that a slot still has all changes after the positions; a table of which it has not is marked as refused.
async fn check_slot(
    session: &Session,
    name: &str,
    slot: Option<Slot>,
    tables: &mut [Table],
) -> Result<Slot> {
    let Some(slot) = slot else {
        return Err(lost(format!("the replication slot \"{name}\" is gone")));
    };
    if slot.lost {
        return Err(lost(format!(
            "the replication slot \"{name}\" was given up by the server, because it kept too much \
             of the log (`max_slot_wal_keep_size`)"
        )));
    }
    if !slot.ours {
        return Err(Error::invalid(format!(
            "the replication slot \"{name}\" is of another database or another kind"
        ))
        .hint(format!("Run SELECT pg_drop_replication_slot('{name}').")));
    }
    let sql = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text";
    let now = Lsn::try_from(field::<String>(&session.row(sql, &[]).await?, 0)?)?;
    for table in tables.iter_mut().filter(|table| table.stored.lsn != Lsn::default()) {
        let (place, relation) = (table.stored.lsn, &table.relation.name);
        if slot.confirmed > place {
            table.refused = Some(lost(format!(
                "the replication slot \"{name}\" was made anew or moved: it begins at {}, behind \
                 the position {place} of {relation}",
                slot.confirmed
            )));
            continue;
        }
        if place > now {
            return Err(lost(format!(
                "the log of the server ends at {now}, before the position {place} of {relation}: \
                 it is another server, or was restored"
            )));
        }
    }
    Ok(slot)
}

/// Waits for all transactions that may have written before now; gives the place of now, which
/// everything seen from here on is in or behind.
async fn behind_writers(session: &Session) -> Result<Lsn> {
    let sql = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text";
    let place = Lsn::try_from(field::<String>(&session.row(sql, &[]).await?, 0)?)?;
    let snapshot = "pg_catalog.txid_current_snapshot()";
    let sql = format!("SELECT pg_catalog.txid_snapshot_xmax({snapshot})");
    let next: i64 = field(&session.row(&sql, &[]).await?, 0)?;
    let sql = format!("SELECT pg_catalog.txid_snapshot_xmin({snapshot})");
    for _ in 0..WRITER_TRIES {
        if field::<i64>(&session.row(&sql, &[]).await?, 0)? >= next {
            return Ok(place);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Error::new(ErrorKind::Conflict, "a transaction that writes is open for long")
        .hint("A new table can be followed once it ends; see pg_stat_activity."))
}

async fn drop_slot(session: &Session, name: &str) -> Result<()> {
    let sql = format!("SELECT pg_catalog.pg_drop_replication_slot({})", literal(name));
    when_free(session, name, &sql).await.map(drop)
}

/// Runs a statement about the slot; a session of ours that has just ended may still hold it.
async fn when_free(session: &Session, name: &str, sql: &str) -> Result<()> {
    let mut tries = 0;
    loop {
        match session.attempt_rows(sql).await? {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                let text = error.as_db_error().map(|error| error.message().to_owned());
                tries += 1;
                if tries > BUSY_TRIES {
                    return Err(busy(name, &text.unwrap_or_default()));
                }
            }
            Err(error) => return Err(fail(session.server(), error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
