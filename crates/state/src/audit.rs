//! Who did what: a chain of rows in which each carries a digest of the one before.
//!
//! `audit.head` beside the database says how long the chain is and how it ends. It is written after the row
//! is, so a crash leaves it one row behind at most, and a chain that ends earlier than its head says was cut.
//! Who can change both files can forge both: to rely on the log against the machine's own administrator, keep
//! copies of the head elsewhere.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::PoisonError;

use flywheel_base::{Error, Result, Timestamp, digest};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

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

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditBreak {
    /// The first row that is not as it was written.
    pub number: i64,
    /// What is wrong with it.
    pub what: String,
}

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
        let row = self.write("add to the audit log", |db| {
            let last = last(db)?;
            let (number, before) =
                last.map_or((1, String::new()), |row| (row.number + 1, row.digest));
            let mut row = AuditRow {
                number,
                at,
                who: who.to_owned(),
                what: what.to_owned(),
                object: object.to_owned(),
                detail: detail.clone(),
                digest: String::new(),
            };
            row.digest = row.sealed(&before);
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
            )?;
            Ok(row)
        })?;
        write_head(&self.audit_head(), &row)
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

    /// Reads the whole chain; returns how many rows it has, or where it is broken.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn verify_audit(&self) -> Result<std::result::Result<i64, AuditBreak>> {
        let head = read_head(&self.audit_head())?;
        self.read("read the audit log", |db| {
            let mut statement =
                db.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY number"))?;
            let mut rows = statement.query([])?;
            let (mut number, mut before) = (0, String::new());
            let mut at_head = None;
            while let Some(row) = rows.next()? {
                let broken =
                    |number, what: &str| Ok(Err(AuditBreak { number, what: what.to_owned() }));
                let Ok(row) = row_from(row) else {
                    return broken(number + 1, "it cannot be read");
                };
                if row.number != number + 1 {
                    return broken(number + 1, "it is missing");
                }
                if row.sealed(&before) != row.digest {
                    return broken(row.number, "it is not as it was written");
                }
                (number, before) = (row.number, row.digest);
                if head.as_ref().is_some_and(|(length, _)| *length == number) {
                    at_head = Some(before.clone());
                }
            }
            Ok(match (head, at_head) {
                (None, _) if number <= 1 => Ok(number),
                (None, _) => Err(AuditBreak { number, what: "audit.head is missing".to_owned() }),
                (Some((length, _)), None) => Err(AuditBreak {
                    number: number + 1,
                    what: match length {
                        i64::MAX => "audit.head cannot be read".to_owned(),
                        _ => format!("{} rows at the end are missing", length - number),
                    },
                }),
                (Some((length, digest)), Some(found)) if digest != found => Err(AuditBreak {
                    number: length,
                    what: "it is not what audit.head says".to_owned(),
                }),
                // A crash leaves the head one row behind.
                (Some((length, _)), Some(_)) if length + 1 < number => Err(AuditBreak {
                    number: length + 1,
                    what: "audit.head does not know it".to_owned(),
                }),
                (Some(_), Some(_)) => Ok(number),
            })
        })
    }

    fn audit_head(&self) -> PathBuf {
        self.path().with_file_name("audit.head")
    }
}

fn last(db: &Connection) -> rusqlite::Result<Option<AuditRow>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM audit ORDER BY number DESC LIMIT 1"))?
        .query_row([], row_from)
        .optional()
}

fn row_from(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
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

/// Replaces the head at once: length and digest of the chain.
fn write_head(path: &std::path::Path, row: &AuditRow) -> Result<()> {
    let part = path.with_extension("head.part");
    let failed = |error| Error::io("write", &part, error);
    let mut file = File::create(&part).map_err(failed)?;
    writeln!(file, "{} {}", row.number, row.digest).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    fs::rename(&part, path).map_err(|error| Error::io("write", path, error))
}

fn read_head(path: &std::path::Path) -> Result<Option<(i64, String)>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let parts = text.trim().split_once(' ');
    let parsed = parts.and_then(|(n, digest)| Some((n.parse().ok()?, digest.to_owned())));
    // A head nobody can read fits no chain.
    Ok(Some(parsed.unwrap_or((i64::MAX, String::new()))))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use serde_json::json;

    use super::*;

    fn chain(dir: &std::path::Path) -> Store {
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
}
