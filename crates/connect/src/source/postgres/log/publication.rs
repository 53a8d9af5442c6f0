//! Which changes of which tables the server tells a reader: its publication. One that was altered may have
//! left out changes that nobody can find afterwards.

use std::collections::HashMap;

use flywheel_base::Result;
use tokio_postgres::error::SqlState;

use super::position::Lsn;
use super::setup::lost;
use super::table::Table;
use crate::postgres::{Session, fail, field, quoted};

/// The changes that a publication tells or leaves out, as SQL names them.
const KINDS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// The settings of a publication that tells everything.
const EVERYTHING: &str =
    "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";

/// A publication as the server knows it.
pub(super) struct Publication {
    /// The changes that it leaves out.
    lacks: Vec<&'static str>,
    /// Whether changes of partitions are told as their table's.
    by_root: bool,
    /// Its number, the transaction that wrote its settings, and its owner's number.
    written: (u32, String, u32),
    /// Its tables, by their numbers.
    tables: HashMap<u32, Listed>,
}

/// A table in a publication.
struct Listed {
    /// What names the table in the publication, each by its number, which is another once it was taken
    /// out and put back, or had its rows or columns altered.
    entries: String,
    /// Whether only some of its rows or columns are told.
    in_part: bool,
}

impl Listed {
    /// Whether one of the entries that named the table then still does, so that it was never out.
    fn stayed(&self, known: &str) -> bool {
        let mut entries = self.entries.split(' ');
        entries.any(|entry| known.split(' ').any(|known| known == entry))
    }
}

impl Publication {
    /// Proves that it tells every change of the tables, and has done so since their positions; a table of which it does not is
    /// marked as refused.
    pub(super) fn check(&self, name: &str, tables: &mut [Table]) -> Result<()> {
        let mends = |message: String, sql: &str| {
            let error = lost(message);
            let hint = error.hint_text().unwrap_or_default().to_owned();
            error.hint(format!("{hint} Before that, its owner runs: {sql}."))
        };
        let set = format!("ALTER PUBLICATION {} SET ({EVERYTHING})", quoted(name));
        if !self.lacks.is_empty() {
            let kinds = self.lacks.join(", ");
            let why = format!("the publication \"{name}\" leaves out changes: {kinds}");
            return Err(mends(why, &set));
        }
        if self.hides_partitions(tables) {
            let why =
                format!("the publication \"{name}\" has changes of partitions under their names");
            return Err(mends(why, &set));
        }
        let whole = whole_tables(name, tables);
        let known = |table: &&mut Table| table.goes_on() && table.stored.lsn != Lsn::default();
        for table in tables.iter_mut().filter(known) {
            let relation = &table.relation.name;
            let Some(listed) = self.tables.get(&table.oid()) else {
                table.refused = Some(lost(format!(
                    "{relation} was taken out of the publication \"{name}\", or made anew"
                )));
                continue;
            };
            if listed.in_part {
                let why = format!(
                    "the publication \"{name}\" leaves out some rows or columns of {relation}"
                );
                table.refused = Some(mends(why, &whole));
                continue;
            }
            if table.stored.published.as_ref().is_some_and(|known| !listed.stayed(known)) {
                table.refused = Some(lost(format!(
                    "{relation} was taken out of the publication \"{name}\" and put back, or that \
                     was made anew"
                )));
            }
        }
        Ok(())
    }

    /// Tells of settings that were written again since the positions: they may have left out changes and
    /// were then restored, or were the same all the time. The server keeps no record of which, so that
    /// this stops nothing. Who owns it is no setting.
    fn warn(&self, name: &str, tables: &mut [Table]) {
        for table in tables.iter_mut().filter(|table| table.stored.lsn != Lsn::default()) {
            let Some((number, by, owner)) = table.stored.publication.replace(self.written.clone())
            else {
                continue;
            };
            let (number_now, by_now, owner_now) = &self.written;
            if number == *number_now && owner == *owner_now && by != *by_now {
                table.notice(
                    "publication-altered",
                    format!(
                        "the settings of the publication \"{name}\" were written again since the \
                         last read; if it left out kinds of changes meanwhile, those are missing \
                         here: `flywheel reconcile` shows whether, and `flywheel sync NAME --restart` \
                         reads the table whole again"
                    ),
                );
            }
        }
    }

    /// Whether the table is in it.
    pub(super) fn has(&self, table: &Table) -> bool {
        self.tables.contains_key(&table.oid())
    }

    /// Whether changes of a partitioned table among these are not told as the table's.
    fn hides_partitions(&self, tables: &[Table]) -> bool {
        let parted = |table: &Table| table.relation.table.as_ref().is_some_and(|t| t.form == "p");
        !self.by_root && tables.iter().any(parted)
    }

    /// Whether it tells only some rows or columns of one of the tables.
    fn has_in_part(&self, tables: &[Table]) -> bool {
        tables.iter().any(|table| self.tables.get(&table.oid()).is_some_and(|one| one.in_part))
    }
}

/// The publication of that name, if there is one.
pub(super) async fn published(session: &Session, name: &str) -> Result<Option<Publication>> {
    let sql = "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, \
                      pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL, \
                      oid, xmin::text, pubowner \
               FROM pg_catalog.pg_publication WHERE pubname = $1";
    let Some(row) = session.rows(sql, &[&name]).await?.into_iter().next() else { return Ok(None) };
    let mut lacks = Vec::new();
    for (at, kind) in KINDS.into_iter().enumerate() {
        if !field::<bool>(&row, at)? {
            lacks.push(kind);
        }
    }
    let by_root = field(&row, KINDS.len())?;
    let written = (
        field(&row, KINDS.len() + 2)?,
        field(&row, KINDS.len() + 3)?,
        field(&row, KINDS.len() + 4)?,
    );
    // Only from version 15 on there are entries of schemas, and conditions and columns of tables.
    let schemas = if field::<bool>(&row, KINDS.len() + 1)? {
        "UNION ALL SELECT 'schema/' || s.oid FROM pg_catalog.pg_publication_namespace s
         WHERE s.pnpubid = p.oid
           AND s.pnnspid IN (SELECT relnamespace FROM pg_catalog.pg_class
                             WHERE oid IN (SELECT oid FROM told))"
    } else {
        ""
    };
    // A partition is told by the entries of the tables that it is a part of, too. The row of the
    // publication itself is another after harmless statements, such as those about its owner.
    let sql = format!(
        "SELECT c.oid, e.entries,
                pg_catalog.to_jsonb(r) ->> 'prqual' IS NOT NULL
                OR pg_catalog.to_jsonb(r) ->> 'prattrs' IS NOT NULL AND EXISTS (
                    SELECT FROM pg_catalog.pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum > 0
                      AND NOT a.attisdropped AND a.attgenerated = ''
                      AND NOT pg_catalog.to_jsonb(r) -> 'prattrs' @> pg_catalog.to_jsonb(a.attnum))
         FROM pg_catalog.pg_publication p
         JOIN pg_catalog.pg_publication_tables t ON t.pubname = p.pubname
         JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
         LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
         CROSS JOIN LATERAL (
             WITH told AS (
                 SELECT c.oid AS oid
                 UNION SELECT relid::oid FROM pg_catalog.pg_partition_ancestors(c.oid))
             SELECT coalesce(pg_catalog.string_agg(entry, ' ' ORDER BY entry), '') AS entries
             FROM (SELECT 'all/' || p.oid WHERE p.puballtables
                   UNION ALL SELECT 'table/' || one.oid FROM pg_catalog.pg_publication_rel one
                   WHERE one.prpubid = p.oid AND one.prrelid IN (SELECT oid FROM told)
                   {schemas}) found(entry)) e
         WHERE p.pubname = $1"
    );
    let mut tables = HashMap::new();
    for row in session.rows(&sql, &[&name]).await? {
        let listed = Listed { entries: field(&row, 1)?, in_part: field(&row, 2)? };
        tables.insert(field(&row, 0)?, listed);
    }
    Ok(Some(Publication { lacks, by_root, written, tables }))
}

/// Makes a publication of the tables, or has the one that is there tell all of their changes.
pub(super) async fn make(
    session: &Session,
    name: &str,
    tables: &[Table],
    known: Option<Publication>,
) -> Result<()> {
    let Some(mut known) = known else {
        let all: Vec<&str> = tables.iter().map(|table| table.relation.from.as_str()).collect();
        let sql = format!(
            "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
            quoted(name),
            all.join(", ")
        );
        return alter(session, &sql).await;
    };
    if !known.lacks.is_empty() || known.hides_partitions(tables) {
        let sql = format!("ALTER PUBLICATION {} SET ({EVERYTHING})", quoted(name));
        alter(session, &sql).await?;
        let Some(mended) = published(session, name).await? else {
            return Err(lost(format!("the publication \"{name}\" is gone")));
        };
        known = mended;
    }
    if known.has_in_part(tables) {
        return alter(session, &whole_tables(name, tables)).await;
    }
    let missing: Vec<&str> = tables
        .iter()
        .filter(|table| !known.has(table))
        .map(|table| table.relation.from.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let sql = format!("ALTER PUBLICATION {} ADD TABLE {}", quoted(name), missing.join(", "));
    alter(session, &sql).await
}

/// Proves, while the log is followed, that the publication is as it was.
pub(super) async fn check(session: &Session, name: &str, tables: &mut [Table]) -> Result<()> {
    match published(session, name).await? {
        Some(published) => {
            published.check(name, tables)?;
            published.warn(name, tables);
            Ok(())
        }
        None => Err(lost(format!("the publication \"{name}\" is gone"))),
    }
}

/// Keeps how the tables are published, so that it is noticed when that was another way meanwhile.
pub(super) async fn note(session: &Session, name: &str, tables: &mut [Table]) -> Result<()> {
    let Some(published) = published(session, name).await? else { return Ok(()) };
    published.warn(name, tables);
    for table in tables {
        table.stored.publication = Some(published.written.clone());
        let listed = published.tables.get(&table.oid());
        table.stored.published = listed.map(|listed| listed.entries.clone());
    }
    Ok(())
}

/// Runs a statement about the publication.
pub(super) async fn alter(session: &Session, sql: &str) -> Result<()> {
    match session.attempt(sql).await? {
        Ok(()) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            Err(fail(session.server(), error).hint(format!(
                "Own the tables and GRANT CREATE ON DATABASE to the user, or let an \
                 administrator run: {sql}"
            )))
        }
        Err(error) => Err(fail(session.server(), error)),
    }
}

/// The statement after which a publication has these tables with all their rows and columns.
fn whole_tables(name: &str, tables: &[Table]) -> String {
    let all: Vec<&str> = tables.iter().map(|table| table.relation.from.as_str()).collect();
    format!("ALTER PUBLICATION {} SET TABLE {}", quoted(name), all.join(", "))
}
