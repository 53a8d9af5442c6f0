//! Who did what: a chain of rows in which each carries a digest of the one before.
//!
//! `audit.head` beside the database says how long the chain is and how it ends:
//!
//! ```text
//! head: N ──▶ head: N, then N+1 (on disk) ──▶ row N+1 (on disk) ──▶ head: N+1
//! ```
//! So at rest the chain ends as its head says, neither earlier nor later. A crash leaves a head that names two ends, of
//! which the chain has one. Where it does not end so, the next row is one that says so: what was done to the log in
//! between, or from another folder with the same PostgreSQL, stays visible when the head goes on. Who can change both
//! files can forge both: to rely on the log against the machine's own administrator, keep copies of the head elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use flywheel_base::{Error, Result, Timestamp, digest};
use serde_json::{Value, json};

use crate::engine::{self, Connection, OptionalExtension, Row, params};
use crate::{Store, runs};

/// One thing that somebody did.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Its number, from 1 without gaps.
    pub number: i64,
    /// When, by the machine's clock.
    pub at: Timestamp,
    /// Who: a user's name, or a token's as `user/token`.
    pub who: String,
    /// What was done: `policy.pause`.
    pub what: String,
    /// To what.
    pub object: String,
    /// More about it.
    pub detail: Value,
    /// A digest of all of this and of the row before.
    pub digest: String,
}

impl AuditRow {
    fn sealed(&self, before: &str) -> String {
        digest::hex(&[
            before.as_bytes(),
            &self.number.to_le_bytes(),
            &self.at.micros().to_le_bytes(),
            self.who.as_bytes(),
            self.what.as_bytes(),
            self.object.as_bytes(),
            self.detail.to_string().as_bytes(),
        ])
    }
}

/// How often something was done to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCount {
    /// The object.
    pub object: String,
    /// How often.
    pub count: u64,
    /// How often of these it failed or was not waited for.
    pub failed: u64,
    /// The last time.
    pub last_at: Timestamp,
}

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditBreak {
    /// The first row that is not as it was written.
    pub number: i64,
    /// What is wrong with it.
    pub what: String,
}

/// Beside the database.
const HEAD_FILE: &str = "audit.head";

/// Who notes what nobody asked for.
const OURSELVES: &str = "flywheel";

/// What is noted before the next entry where the log did not end as `audit.head` says: entries were removed, changed or added by
/// somebody else, or the head is that of another folder. Its detail has how many there were and which were named as the last.
pub const AUDIT_HEAD_PASSED: &str = "audit.head-passed";

/// How often a log that is being written is looked at before it counts as broken.
const LOOKS_MAX: u32 = 10;

const COLUMNS: &str = "number, at, who, what, object, detail, digest";

impl Store {
    /// Adds to the chain what somebody did; durable when it returns.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn audit(
        &self,
        at: Timestamp,
        who: &str,
        what: &str,
        object: &str,
        detail: &Value,
    ) -> Result<()> {
        // Heads are written in the order of their rows.
        let _order = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        // A command beside a server adds to the same chain.
        let path = self.audit_head();
        let mut head = HeadFile::open(&path)?;
        let said = read_head(&path)?;
        let last = self.read("read the audit log", last)?;
        let mut before = last.as_ref().map(End::of);
        let row = |who: &str, what: &str, object: &str, detail: &Value| AuditRow {
            number: 0,
            at,
            who: who.to_owned(),
            what: what.to_owned(),
            object: object.to_owned(),
            detail: detail.clone(),
            digest: String::new(),
        };
        if !said.knows(before.as_ref()) {
            // Whoever changed the log, or added to it from another folder, is not covered up by what comes next.
            let rows = before.as_ref().map_or(0, |end| end.number);
            let detail = json!({"rows": rows, "head": said.numbers()});
            let noted = row(OURSELVES, AUDIT_HEAD_PASSED, HEAD_FILE, &detail);
            before = Some(self.append(&mut head, before.as_ref(), noted)?);
        }
        self.append(&mut head, before.as_ref(), row(who, what, object, detail)).map(drop)
    }

    /// Adds a row after `before`; returns how the chain ends with it.
    fn append(&self, head: &mut HeadFile, before: Option<&End>, mut row: AuditRow) -> Result<End> {
        row.number = before.map_or(1, |end| end.number + 1);
        row.digest = row.sealed(before.map_or("", |end| &end.digest));
        let end = End::of(&row);
        head.announce(before, &end)?;
        self.write("add to the audit log", |db| {
            db.execute(
                &format!("INSERT INTO audit ({COLUMNS}) VALUES (?,?,?,?,?,?,?)"),
                params![
                    row.number,
                    row.at.micros(),
                    row.who,
                    row.what,
                    row.object,
                    row.detail.to_string(),
                    row.digest
                ],
            )
        })?;
        head.settle(&end)?;
        Ok(end)
    }

    /// The newest `limit` rows before the number `before`, newest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn audit_rows(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>> {
        self.read("read the audit log", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM audit WHERE number < ? ORDER BY number DESC LIMIT ?"
            ))?
            .query_map(params![before.unwrap_or(i64::MAX), limit], row_from)?
            .collect()
        })
    }

    /// The newest `limit` rows that say that `what` was done, newest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn audit_rows_of(&self, what: &str, limit: u32) -> Result<Vec<AuditRow>> {
        self.read("read the audit log", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM audit WHERE what = ? ORDER BY number DESC LIMIT ?"
            ))?
            .query_map(params![what, limit], row_from)?
            .collect()
        })
    }

    /// How often `what` was done since a moment, by its object. It failed if its status, where its detail has one, is 400 or
    /// more or not known.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn audit_counts(&self, what: &str, since: Timestamp) -> Result<Vec<AuditCount>> {
        self.read("count what the audit log has", |db| {
            db.prepare_cached(
                "SELECT object, count(*), count(*) FILTER (WHERE coalesce(json_extract(detail, '$.status'), 400) >= 400), max(at)
                 FROM audit
                 WHERE what = ? AND at >= ? GROUP BY object ORDER BY object",
            )?
            .query_map(params![what, since.micros()], |row| {
                Ok(AuditCount {
                    object: row.get(0)?,
                    count: row.get::<_, i64>(1)?.unsigned_abs(),
                    failed: row.get::<_, i64>(2)?.unsigned_abs(),
                    last_at: Timestamp::from_micros(row.get(3)?),
                })
            })?
            .collect()
        })
    }

    /// Reads the whole chain; returns how many rows it has, or where it is broken.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn verify_audit(&self) -> Result<std::result::Result<i64, AuditBreak>> {
        let mut looks = 0;
        loop {
            let head = read_head(&self.audit_head())?;
            let verified = self.verify_against(&head)?;
            looks += 1;
            // A server goes on writing: a head that has moved meanwhile says nothing about what was read after it.
            if verified.is_ok() || looks == LOOKS_MAX || read_head(&self.audit_head())? == head {
                return Ok(verified);
            }
        }
    }

    fn verify_against(&self, head: &Head) -> Result<std::result::Result<i64, AuditBreak>> {
        self.read("read the audit log", |db| {
            let mut statement =
                db.prepare_cached(&format!("SELECT {COLUMNS} FROM audit ORDER BY number"))?;
            let (mut number, mut before) = (0, String::new());
            let broken = |number, what: &str| Ok(Err(AuditBreak { number, what: what.to_owned() }));
            for row in statement.query_map([], |row| Ok(row_from(row)))? {
                let Ok(row) = row? else {
                    return broken(number + 1, "it cannot be read");
                };
                if row.number != number + 1 {
                    return broken(number + 1, "it is missing");
                }
                if row.sealed(&before) != row.digest {
                    return broken(row.number, "it is not as it was written");
                }
                (number, before) = (row.number, row.digest);
            }
            let ends = match head {
                Head::Ends(ends) => ends,
                Head::Missing if number == 0 => return Ok(Ok(0)),
                Head::Missing => return broken(number, "audit.head is missing"),
                Head::Unreadable => return broken(number + 1, "audit.head cannot be read"),
            };
            // A crash may have left the one before the last row.
            if ends.iter().any(|end| (end.number, &end.digest) == (number, &before)) {
                return Ok(Ok(number));
            }
            let (least, most) = ends.iter().fold((i64::MAX, 0), |(least, most), end| {
                (least.min(end.number), most.max(end.number))
            });
            if number < least {
                let what = format!("{} rows at the end are missing", least - number);
                return broken(number + 1, &what);
            }
            if number > most {
                return broken(most + 1, "audit.head does not know it");
            }
            broken(number, "it is not what audit.head says")
        })
    }

    fn audit_head(&self) -> PathBuf {
        self.path().with_file_name(HEAD_FILE)
    }
}

/// What `audit.head` beside a database says, as it is written there; none if there is none.
pub(crate) fn head_of(database: &Path) -> Result<Option<Vec<u8>>> {
    let path = database.with_file_name(HEAD_FILE);
    match fs::read(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

/// Puts the head beside another database as it is beside this one.
pub(crate) fn copy_head(from: &Path, to: &Path) -> Result<()> {
    let Some(head) = head_of(from)? else { return Ok(()) };
    let path = to.with_file_name(HEAD_FILE);
    fs::write(&path, head).map_err(|error| Error::io("write", &path, error))
}

/// Puts the head beside a copy of the database. Where the rows go on from an end that `head` names, the last row
/// becomes the head; where they do not, `head` stays as it is, so that what is missing is still found.
pub(crate) fn put_head(copy: &Connection, database: &Path, head: Option<Vec<u8>>) -> Result<()> {
    let Some(head) = head else { return Ok(()) };
    let failed = |error| crate::sql_error("read the audit log", database, error);
    // A copy of an old layout may have no log yet.
    let tables: i64 = copy
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'audit'", [], |row| row.get(0))
        .map_err(failed)?;
    if tables == 0 {
        return Ok(());
    }
    let ends = match std::str::from_utf8(&head).map(parsed) {
        Ok(Head::Ends(ends)) => ends,
        Ok(Head::Missing | Head::Unreadable) | Err(_) => Vec::new(),
    };
    let mut known = 0;
    for end in &ends {
        known += copy
            .query_row(
                "SELECT count(*) FROM audit WHERE number = ? AND digest = ?",
                params![end.number, end.digest],
                |row| row.get::<_, i64>(0),
            )
            .map_err(failed)?;
    }
    let path = database.with_file_name(HEAD_FILE);
    let last = last(copy).map_err(failed)?.filter(|_| known > 0);
    let Some(row) = last else {
        return fs::write(&path, head).map_err(|error| Error::io("write", &path, error));
    };
    let mut file = HeadFile::open(&path)?;
    file.settle(&End::of(&row))?;
    file.file.sync_all().map_err(|error| Error::io("write", &path, error))
}

fn last(db: &Connection) -> engine::Result<Option<AuditRow>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM audit ORDER BY number DESC LIMIT 1"))?
        .query_row([], row_from)
        .optional()
}

fn row_from(row: &Row<'_>) -> engine::Result<AuditRow> {
    Ok(AuditRow {
        number: row.get(0)?,
        at: Timestamp::from_micros(row.get(1)?),
        who: row.get(2)?,
        what: row.get(3)?,
        object: row.get(4)?,
        detail: runs::json(row, 5)?,
        digest: row.get(6)?,
    })
}

/// How a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    number: i64,
    digest: String,
}

impl End {
    fn of(row: &AuditRow) -> Self {
        Self { number: row.number, digest: row.digest.clone() }
    }

    /// As a line of the head, whatever the number as long as every other.
    fn line(end: Option<&Self>) -> String {
        let (number, digest) = end.map_or((0, ""), |end| (end.number, end.digest.as_str()));
        format!("{number:019} {digest:64}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let (number, digest) = line.split_once(' ')?;
        Some(Self { number: number.parse().ok()?, digest: digest.trim().to_owned() })
    }
}

/// What the head says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Head {
    /// The chain has one of these ends.
    Ends(Vec<End>),
    /// It is not there.
    Missing,
    /// It is not as it was written.
    Unreadable,
}

impl Head {
    /// Whether the chain may end like this; none if it has no row.
    fn knows(&self, end: Option<&End>) -> bool {
        match (self, end) {
            (Self::Missing, None) => true,
            (Self::Ends(ends), Some(end)) => ends.contains(end),
            // The very first row was announced and not written.
            (Self::Ends(ends), None) => ends.iter().any(|end| end.number == 0),
            (Self::Missing | Self::Unreadable, _) => false,
        }
    }

    /// The numbers of the rows it names as the last one.
    fn numbers(&self) -> Vec<i64> {
        match self {
            Self::Ends(ends) => ends.iter().map(|end| end.number).collect(),
            Self::Missing | Self::Unreadable => Vec::new(),
        }
    }
}

/// `audit.head`, open to be written: two lines of one length, each with an end; once they are alike, the row is there.
struct HeadFile {
    file: File,
    path: PathBuf,
}

impl HeadFile {
    /// Opens the head, and waits until nobody else writes to it.
    fn open(path: &Path) -> Result<Self> {
        let is_new = !path.exists();
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|error| Error::io("write", path, error))?;
        // Where files cannot be locked, it is written as before.
        #[cfg(unix)]
        drop(file.lock());
        if let Some(folder) = path.parent().filter(|_| is_new) {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| Error::io("write", folder, error))?;
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// Says on disk that the chain is about to get another end.
    fn announce(&mut self, before: Option<&End>, next: &End) -> Result<()> {
        self.write(&format!("{}{}", End::line(before), End::line(Some(next))))?;
        self.file.sync_all().map_err(|error| Error::io("write", &self.path, error))
    }

    /// Says that it has it. It need not be on disk: until it is, the head says what a crash leaves.
    fn settle(&mut self, end: &End) -> Result<()> {
        let line = End::line(Some(end));
        self.write(&format!("{line}{line}"))
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let written = self.file.rewind().and_then(|()| self.file.write_all(text.as_bytes()));
        // Heads of earlier versions were of another length.
        let written = written.and_then(|()| self.file.set_len(text.len() as u64));
        written.map_err(|error| Error::io("write", &self.path, error))
    }
}

fn read_head(path: &Path) -> Result<Head> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(parsed(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Head::Missing),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(Head::Unreadable),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn parsed(text: &str) -> Head {
    // A crash can leave one that is empty.
    if text.is_empty() {
        return Head::Missing;
    }
    let ends: Option<Vec<End>> = text.lines().map(End::parse).collect();
    match ends {
        Some(ends) if matches!(ends.len(), 1 | 2) => Head::Ends(ends),
        _ => Head::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params};
    use serde_json::json;

    use super::*;

    fn chain(dir: &Path) -> Store {
        let store = Store::open(&dir.join("meta.db")).unwrap();
        for n in 0..5 {
            let at = Timestamp::from_micros(n);
            store.audit(at, "ada", "policy.pause", "welcome", &json!({"n": n})).unwrap();
        }
        assert_eq!(store.verify_audit().unwrap(), Ok(5));
        store
    }

    #[test]
    fn every_kind_of_tampering_is_found_where_it_begins() {
        for (sql, number) in [
            ("UPDATE audit SET who = 'eve' WHERE number = 3", 3),
            ("UPDATE audit SET at = at + 1 WHERE number = 1", 1),
            ("UPDATE audit SET detail = '{\"n\":9}' WHERE number = 5", 5),
            ("UPDATE audit SET detail = 'no json' WHERE number = 2", 2),
            ("DELETE FROM audit WHERE number = 2", 2),
            ("DELETE FROM audit WHERE number >= 4", 4),
            ("DELETE FROM audit WHERE number = 5", 5),
            ("DELETE FROM audit", 1),
            (
                "INSERT INTO audit SELECT 6, at, who, what, object, detail, digest FROM audit WHERE number = 5",
                6,
            ),
            (
                "UPDATE audit SET number = 9 WHERE number = 3; UPDATE audit SET number = 3 WHERE number = 4; UPDATE audit SET number = 4 WHERE number = 9",
                3,
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let store = chain(dir.path());
            Connection::open(store.path()).unwrap().execute_batch(sql).unwrap();
            let broken = store.verify_audit().unwrap().unwrap_err();
            assert_eq!(broken.number, number, "{sql}: {}", broken.what);
        }
    }

    /// A digest that fits, as who knows how they are made would write it.
    fn forged(dir: &Path, mut row: AuditRow, before: &str) {
        row.digest = row.sealed(before);
        let db = Connection::open(dir.join("meta.db")).unwrap();
        db.execute(
            &format!("INSERT OR REPLACE INTO audit ({COLUMNS}) VALUES (?,?,?,?,?,?,?)"),
            params![
                row.number,
                row.at.micros(),
                row.who,
                row.what,
                row.object,
                row.detail.to_string(),
                row.digest
            ],
        )
        .unwrap();
    }

    #[test]
    fn what_was_done_is_counted_by_its_object_since_a_moment() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let at = Timestamp::from_micros;
        for (moment, what, object, detail) in [
            (1, "call", "a", json!({"status": 200})),
            (5, "call", "a", json!({"status": 200})),
            (6, "call", "a", json!({"status": 422})),
            (7, "call", "a", json!({"status": null})),
            (8, "call", "b", json!({"status": 200})),
            (9, "other", "b", json!({})),
        ] {
            store.audit(at(moment), "ada", what, object, &detail).unwrap();
        }
        let found = store.audit_counts("call", at(5)).unwrap();
        let count = |object: &str, count, failed, moment| AuditCount {
            object: object.to_owned(),
            count,
            failed,
            last_at: at(moment),
        };
        assert_eq!(found, [count("a", 3, 2, 7), count("b", 1, 0, 8)]);
    }

    #[test]
    fn a_thousand_tamperings_are_all_found() {
        const ROWS: i64 = 40;
        let dir = tempfile::tempdir().unwrap();
        let original = Store::open(&dir.path().join("meta.db")).unwrap();
        for n in 0..ROWS {
            let what = ["POST /v1/sql", "login", "DELETE /v1/users/{user}"][n as usize % 3];
            let detail = json!({"status": 200, "more": format!("select {n}")});
            original.audit(Timestamp::from_micros(n), "ada", what, "/v1/x", &detail).unwrap();
        }
        let rows = original.audit_rows(None, 1_000).unwrap();
        assert_eq!(original.verify_audit().unwrap(), Ok(ROWS));
        drop(original);
        let image = fs::read(dir.path().join("meta.db")).unwrap();
        let head = fs::read(dir.path().join("audit.head")).unwrap();
        let (mut rng, mut kinds) = (flywheel_base::Rng::new(11), [0; 7]);
        for round in 0..1_000_usize {
            let other = tempfile::tempdir().unwrap();
            let path = other.path().join("meta.db");
            fs::write(&path, &image).unwrap();
            fs::write(other.path().join("audit.head"), &head).unwrap();
            let row = 1 + rng.below(ROWS as usize) as i64;
            let another = 1 + (row + rng.below(ROWS as usize - 1) as i64) % ROWS;
            let known =
                |number: i64| rows.iter().find(|row| row.number == number).cloned().unwrap();
            let kind = round % kinds.len();
            kinds[kind] += 1;
            let sql = match kind {
                // A cell is changed.
                0 => {
                    let change = [
                        "who = 'eve'",
                        "what = what || ' '",
                        "object = '/v1/y'",
                        "at = at + 1",
                        "detail = '{\"status\":403}'",
                        "digest = upper(digest)",
                    ];
                    format!("UPDATE audit SET {} WHERE number = {row}", change[rng.below(6)])
                }
                // A row is taken out, with or without closing the gap.
                1 if rng.below(2) == 0 => format!("DELETE FROM audit WHERE number = {row}"),
                1 => format!(
                    "DELETE FROM audit WHERE number = {row};
                     UPDATE audit SET number = -number WHERE number > {row};
                     UPDATE audit SET number = -number - 1 WHERE number < 0"
                ),
                // One is put in: a copy of another, all later ones moved on.
                2 => format!(
                    "UPDATE audit SET number = -number WHERE number >= {row};
                     UPDATE audit SET number = -number + 1 WHERE number < 0;
                     INSERT INTO audit SELECT {row}, at, who, what, object, detail, digest
                     FROM audit WHERE number = {}",
                    if row == 1 { 2 } else { 1 }
                ),
                // Two change places.
                3 => format!(
                    "UPDATE audit SET number = -1 WHERE number = {row};
                     UPDATE audit SET number = {row} WHERE number = {another};
                     UPDATE audit SET number = {another} WHERE number = -1"
                ),
                // The end is cut off.
                4 => format!("DELETE FROM audit WHERE number >= {row}"),
                // One is added at the end with a digest that fits.
                5 => {
                    let last = known(ROWS);
                    let more = AuditRow { number: ROWS + 1, who: "eve".to_owned(), ..last.clone() };
                    forged(other.path(), more, &last.digest);
                    String::new()
                }
                // All from one row on are written anew with digests that fit.
                _ => {
                    let mut before = if row == 1 { String::new() } else { known(row - 1).digest };
                    for number in row..=ROWS {
                        let one = AuditRow { who: "eve".to_owned(), ..known(number) };
                        let digest = one.sealed(&before);
                        forged(other.path(), one, &before);
                        before = digest;
                    }
                    String::new()
                }
            };
            Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
            let store = Store::open(&path).unwrap();
            let found = store.verify_audit().unwrap();
            assert!(found.is_err(), "round {round}, kind {kind}, row {row}: {sql}");
        }
        assert!(kinds.iter().all(|count| *count > 100), "{kinds:?}");
    }

    #[test]
    fn a_crash_at_any_moment_leaves_a_chain_that_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = chain(dir.path());
        let path = dir.path().join("audit.head");
        let last = store.audit_rows(None, 1).unwrap().remove(0);
        // Announced and not written: the next entry takes its place.
        let next = End { number: 6, digest: "d".repeat(64) };
        HeadFile::open(&path).unwrap().announce(Some(&End::of(&last)), &next).unwrap();
        assert_eq!(store.verify_audit().unwrap(), Ok(5));
        store.audit(Timestamp::from_micros(9), "ada", "login", "", &Value::Null).unwrap();
        assert_eq!(store.verify_audit().unwrap(), Ok(6));
        // Written and not settled.
        let newest = store.audit_rows(None, 1).unwrap().remove(0);
        HeadFile::open(&path).unwrap().announce(Some(&End::of(&last)), &End::of(&newest)).unwrap();
        assert_eq!(store.verify_audit().unwrap(), Ok(6));
        // The very first entry, cut off before it was written.
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let head = dir.path().join("audit.head");
        HeadFile::open(&head).unwrap().announce(None, &next).unwrap();
        assert_eq!(store.verify_audit().unwrap(), Ok(0));
        // A head as earlier versions wrote it.
        let dir = tempfile::tempdir().unwrap();
        let store = chain(dir.path());
        let last = store.audit_rows(None, 1).unwrap().remove(0);
        fs::write(store.audit_head(), format!("{} {}\n", last.number, last.digest)).unwrap();
        assert_eq!(store.verify_audit().unwrap(), Ok(5));
    }

    #[test]
    fn what_was_done_to_the_log_is_not_covered_up_by_what_comes_next() {
        let head = |dir: &Path| fs::read(dir.join("audit.head")).unwrap();
        for (sql, detail) in [
            ("DELETE FROM audit WHERE number > 3", json!({"rows": 3, "head": [5, 5]})),
            ("DELETE FROM audit", json!({"rows": 0, "head": [5, 5]})),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let store = chain(dir.path());
            Connection::open(store.path()).unwrap().execute_batch(sql).unwrap();
            store.audit(Timestamp::from_micros(9), "eve", "login", "", &Value::Null).unwrap();
            let noted = store.audit_rows_of(AUDIT_HEAD_PASSED, 9).unwrap();
            let [one] = noted.as_slice() else { panic!("{sql}: {noted:?}") };
            assert_eq!((one.who.as_str(), &one.detail), ("flywheel", &detail), "{sql}");
            let after = store.audit_rows(None, 1).unwrap().remove(0);
            assert_eq!((after.number, after.who.as_str()), (one.number + 1, "eve"));
            assert_eq!(store.verify_audit().unwrap(), Ok(after.number));
        }
        // Another folder with the same rows takes over, and this one takes it back.
        let dir = tempfile::tempdir().unwrap();
        let store = chain(dir.path());
        let own = head(dir.path());
        fs::remove_file(dir.path().join("audit.head")).unwrap();
        let add = |who: &str| store.audit(Timestamp::from_micros(9), who, "login", "", &json!({}));
        (0..2).for_each(|_| add("bo").unwrap());
        assert_eq!(store.verify_audit().unwrap(), Ok(8));
        fs::write(dir.path().join("audit.head"), own).unwrap();
        assert_eq!(store.verify_audit().unwrap().unwrap_err().number, 6);
        add("ada").unwrap();
        assert_eq!(store.verify_audit().unwrap(), Ok(10));
        let noted = store.audit_rows_of(AUDIT_HEAD_PASSED, 9).unwrap();
        let numbers: Vec<i64> = noted.iter().map(|row| row.number).collect();
        assert_eq!(numbers, [9, 6]);
    }

    #[test]
    fn a_head_that_is_gone_or_changed_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let store = chain(dir.path());
        let head = dir.path().join("audit.head");
        fs::write(&head, "5 0000").unwrap();
        assert!(store.verify_audit().unwrap().is_err());
        fs::remove_file(&head).unwrap();
        assert!(store.verify_audit().unwrap().is_err());
    }

    crate::testing::also_on_postgres!(
        what_was_done_is_counted_by_its_object_since_a_moment,
        a_crash_at_any_moment_leaves_a_chain_that_is_whole,
        a_head_that_is_gone_or_changed_is_found,
    );
}
