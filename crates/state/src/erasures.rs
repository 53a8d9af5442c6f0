//! Who was erased: a token in the place of each key, and a salted digest by which the person is kept out.
//!
//! The key itself is never here: whoever goes on with an erasure that was cut off says it again, and its digest finds
//! the row. What else of a person stood in the metadata is blanked here, and counted where it still stands.

use flywheel_base::{Error, Result, Timestamp};
use serde_json::{Value, json};

use crate::Store;
use crate::engine::{self, Connection, OptionalExtension, Row, params};
use crate::runs::json;

/// The erasure of one person.
#[derive(Clone, Debug, PartialEq)]
pub struct Erasure {
    /// What stands in the place of the key from now on: random, so that it tells nothing of it.
    pub token: String,
    /// The digest of the salt and the key.
    pub digest: String,
    /// How far it is.
    pub status: ErasureStatus,
    /// Whether rows of the person that a source brings again do not land.
    pub suppressed: bool,
    /// Who asked for it.
    pub asked_by: String,
    /// Why, such as the number of the request.
    pub reason: String,
    /// When it was first asked for.
    pub asked_at: Timestamp,
    /// When it was last finished.
    pub ended_at: Option<Timestamp>,
    /// What was erased where, and what remains.
    pub detail: Value,
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasureStatus {
    /// It is under way, or was cut off: the same command goes on with it.
    Running,
    /// Every step was done, and something remains that was named.
    Incomplete,
    /// Every step was done, and the key is found nowhere any more.
    Done,
}

impl ErasureStatus {
    const ALL: [Self; 3] = [Self::Running, Self::Incomplete, Self::Done];

    /// The word in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Incomplete => "incomplete",
            Self::Done => "done",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// What of the metadata was blanked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blanked {
    /// Deliveries whose content was taken out.
    pub deliveries: usize,
    /// How many of them had not left, and are given up.
    pub given_up: usize,
    /// Approvals whose content was taken out.
    pub approvals: usize,
}

/// Columns of texts in which the key of a person may stand, by table.
const TEXTS: &[(&str, &[&str])] = &[
    ("runs", &["error", "detail"]),
    ("tasks", &["name", "error", "detail"]),
    ("outbox", &["payload", "receipt", "error"]),
    ("approvals", &["unit", "payload", "original", "edits", "line", "reason"]),
    ("alerts", &["payload", "receipt", "error"]),
    ("alert_states", &["text"]),
    ("audit", &["object", "detail"]),
    ("profiles", &["detail"]),
    ("links", &["key", "left_id", "right_id"]),
    ("link_audit", &["record", "id", "before", "after"]),
    ("link_questions", &["id", "record", "detail"]),
    ("made", &["sql"]),
    ("builds", &["sql"]),
    ("faults", &["error"]),
    ("schedule_runs", &["error", "attempts"]),
    ("idle_positions", &["position"]),
    ("promotions", &["evidence", "reason"]),
    ("canaries", &["evidence", "reason"]),
    ("policies", &["reason"]),
    ("follow_states", &["detail"]),
];

/// `undone` of a promotion to an environment that cannot be taken back any more, as `environments` has it.
const TOO_OLD: i64 = 2;

/// Who ends what waited for approval.
const ENDED_BY: &str = "erasure";

const COLUMNS: &str =
    "token, digest, status, suppressed, asked_by, reason, asked_at, ended_at, detail";

impl Store {
    /// The salt of the digests; none before the first erasure.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn erasure_salt(&self) -> Result<Option<String>> {
        self.read("read the salt of erasures", |db| {
            db.prepare_cached("SELECT salt FROM erasure_salt WHERE only_row = 0")?
                .query_row([], |row| row.get(0))
                .optional()
        })
    }

    /// Keeps `fresh` as the salt of the digests if there is none, and returns the one that is kept.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn keep_erasure_salt(&self, fresh: &str) -> Result<String> {
        self.write("keep the salt of erasures", |db| {
            db.execute(
                "INSERT INTO erasure_salt (only_row, salt) VALUES (0, ?) ON CONFLICT (only_row) DO NOTHING",
                params![fresh],
            )?;
            db.query_row("SELECT salt FROM erasure_salt WHERE only_row = 0", [], |row| row.get(0))
        })
    }

    /// Every erasure, oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn erasures(&self) -> Result<Vec<Erasure>> {
        self.read("list erasures", |db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM erasures ORDER BY asked_at, token"))?
                .query_map([], erasure_from)?
                .collect()
        })
    }

    /// The erasure of the person with this digest.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn erasure(&self, digest: &str) -> Result<Option<Erasure>> {
        self.read("look up an erasure", |db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM erasures WHERE digest = ?"))?
                .query_row(params![digest], erasure_from)
                .optional()
        })
    }

    /// The digests of those whose rows do not land.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn suppressed_digests(&self) -> Result<Vec<String>> {
        self.read("list who is kept out", |db| {
            db.prepare_cached("SELECT digest FROM erasures WHERE suppressed = 1 ORDER BY digest")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// Records an erasure, or how far it is now; its token and when it was asked for first stay.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_erasure(&self, erasure: &Erasure) -> Result<()> {
        self.write("record an erasure", |db| {
            db.execute(
                &format!(
                    "INSERT INTO erasures ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)
                     ON CONFLICT (digest) DO UPDATE SET status = excluded.status, suppressed = excluded.suppressed,
                       asked_by = excluded.asked_by, reason = excluded.reason, ended_at = excluded.ended_at,
                       detail = excluded.detail"
                ),
                params![
                    erasure.token,
                    erasure.digest,
                    erasure.status.word(),
                    i64::from(erasure.suppressed),
                    erasure.asked_by,
                    erasure.reason,
                    erasure.asked_at.micros(),
                    erasure.ended_at.map(Timestamp::micros),
                    erasure.detail.to_string()
                ],
            )
            .map(|_| ())
        })
    }

    /// Takes out what deliveries of `decisions`, and approvals for the unit `key`, hold of a person; what has not left is
    /// given up. Approvals of the policies `others` are about something else that is called alike.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn blank_deliveries(
        &self,
        decisions: &[String],
        (key, token): (&str, &str),
        others: &[String],
        now: Timestamp,
    ) -> Result<Blanked> {
        let blank = json!({"erased": token}).to_string();
        self.write("blank deliveries", |db| {
            let mut done = Blanked::default();
            let mut approvals: Vec<String> = Vec::new();
            for decision in decisions {
                let entries: Vec<(String, String)> = db
                    .prepare_cached("SELECT key, status FROM outbox WHERE decision_id = ?")?
                    .query_map(params![decision], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<engine::Result<_>>()?;
                for (entry, status) in entries {
                    done.deliveries += db.execute(
                        "UPDATE outbox SET payload = ?, receipt = NULL, error = NULL WHERE key = ?",
                        params![blank, entry],
                    )?;
                    if !matches!(status.as_str(), "delivered" | "discarded") {
                        done.given_up += db.execute(
                            "UPDATE outbox SET status = 'discarded', ended_at = ?, logged = 0, error = 'erased' WHERE key = ?",
                            params![now.micros(), entry],
                        )?;
                    }
                    approvals.push(entry);
                }
            }
            let of_unit: Vec<(String, String)> = db
                .prepare_cached("SELECT key, policy FROM approvals WHERE unit = ?")?
                .query_map(params![key], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<engine::Result<_>>()?;
            let of_unit = of_unit.into_iter().filter(|(_, policy)| !others.contains(policy));
            approvals.extend(of_unit.map(|(key, _)| key));
            approvals.sort();
            approvals.dedup();
            for entry in &approvals {
                db.execute(
                    "UPDATE approvals SET status = 'rejected', decided_by = ?, decided_at = ? WHERE key = ? AND status = 'waiting'",
                    params![ENDED_BY, now.micros(), entry],
                )?;
                done.approvals += db.execute(
                    "UPDATE approvals SET unit = ?, payload = ?, original = ?, edits = '[]', line = NULL, reason = NULL WHERE key = ?",
                    params![token, blank, blank, entry],
                )?;
            }
            Ok(done)
        })
    }

    /// Forgets profiles of assets, which show single values: those of the tables at `locations`, and of `tables`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn forget_profiles(&self, locations: &[String], tables: &[String]) -> Result<usize> {
        self.write("forget profiles", |db| {
            let mut gone = 0;
            for location in locations {
                gone += db.execute("DELETE FROM profiles WHERE location = ?", params![location])?;
            }
            for table in tables {
                gone += db.execute("DELETE FROM profiles WHERE asset = ?", params![table])?;
            }
            Ok(gone)
        })
    }

    /// Moves everybody who reads the table at `location` at version `before` to `after`, in every environment, rollbacks
    /// included.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn follow_version(&self, location: &str, before: i64, after: i64) -> Result<()> {
        self.write("follow a version", |db| {
            for table in ["publications", "builds", "environment_before"] {
                db.execute(
                    &format!("UPDATE {table} SET version = ? WHERE location = ? AND version = ?"),
                    params![after, location, before],
                )?;
            }
            Ok(())
        })
    }

    /// Gives up promotions that could be taken back to a version of the table at `location` older than `version`, and those
    /// before them; returns how many.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn cut_rollbacks(&self, location: &str, version: i64) -> Result<usize> {
        self.write("cut rollbacks", |db| {
            let moves: Vec<(i64, String)> = db
                .prepare_cached(
                    "SELECT DISTINCT m.number, m.environment FROM environment_moves m JOIN environment_before b
                       ON b.number = m.number WHERE b.location = ? AND b.version < ? ORDER BY m.number",
                )?
                .query_map(params![location, version], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<engine::Result<_>>()?;
            let mut cut = 0;
            for (number, environment) in moves {
                cut += db.execute(
                    "UPDATE environment_moves SET undone = ? WHERE environment = ? AND number <= ? AND undone = 0",
                    params![TOO_OLD, environment, number],
                )?;
                db.execute(
                    "DELETE FROM environment_before WHERE number IN
                       (SELECT number FROM environment_moves WHERE environment = ? AND number <= ?)",
                    params![environment, number],
                )?;
            }
            Ok(cut)
        })
    }

    /// In how many rows of the metadata a text stands that is `meant`, by table and column; only where it stands in some.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    /// # Cost
    /// One reading of all texts.
    pub fn mentions(&self, text: &str, meant: &dyn Fn(&str) -> bool) -> Result<Vec<(String, u64)>> {
        let mut pattern = String::from("%");
        for letter in text.chars() {
            if matches!(letter, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern.push('%');
        self.read("look for a text", |db| {
            let mut found = Vec::new();
            for (table, columns) in TEXTS {
                for column in *columns {
                    let sql =
                        format!("SELECT {column} FROM {table} WHERE {column} LIKE ? ESCAPE '\\'");
                    let texts: Vec<String> = db
                        .prepare_cached(&sql)?
                        .query_map(params![pattern], |row| row.get(0))?
                        .collect::<engine::Result<_>>()?;
                    let count = texts.iter().filter(|text| meant(text)).count() as u64;
                    if count > 0 {
                        found.push((format!("{table}.{column}"), count));
                    }
                }
            }
            Ok(found)
        })
    }

    /// Writes the whole database anew, so that no page of it holds what was deleted or changed before; of a file no log either.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Unavailable`] while another program reads an older state, and as every method.
    pub fn scrub(&self) -> Result<()> {
        match self.read("scrub", Connection::scrub)? {
            true => Ok(()),
            false => {
                Err(Error::unavailable("metadata: another program reads an older state of it")
                    .hint("End it, and run the same command again: it goes on where it was."))
            }
        }
    }
}

fn erasure_from(row: &Row<'_>) -> engine::Result<Erasure> {
    let status: String = row.get(2)?;
    Ok(Erasure {
        token: row.get(0)?,
        digest: row.get(1)?,
        // What a newer program wrote is not finished for this one.
        status: ErasureStatus::of(&status).unwrap_or(ErasureStatus::Running),
        suppressed: row.get::<_, i64>(3)? != 0,
        asked_by: row.get(4)?,
        reason: row.get(5)?,
        asked_at: Timestamp::from_micros(row.get(6)?),
        ended_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros),
        detail: json(row, 8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OutboxEntry, OutboxStatus, Publication};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        (folder, store)
    }

    fn erasure(digest: &str, token: &str) -> Erasure {
        Erasure {
            token: token.to_owned(),
            digest: digest.to_owned(),
            status: ErasureStatus::Running,
            suppressed: true,
            asked_by: "ada".to_owned(),
            reason: "request 7".to_owned(),
            asked_at: Timestamp::from_micros(1),
            ended_at: None,
            detail: json!({}),
        }
    }

    fn delivery(key: &str, decision: &str, status: OutboxStatus) -> OutboxEntry {
        OutboxEntry {
            key: key.to_owned(),
            policy: "welcome".to_owned(),
            turn: 1,
            decision_id: decision.to_owned(),
            action: "mail".to_owned(),
            payload: json!({"to": "canary-0123456789@example.org"}),
            status,
            attempts: 0,
            due_at: Timestamp::from_micros(5),
            ended_at: None,
            receipt: None,
            error: None,
            bundle: None,
        }
    }

    #[test]
    fn an_erasure_that_goes_on_keeps_its_token_and_a_salt_is_made_once() {
        let (_folder, store) = store();
        assert_eq!(store.erasure_salt().unwrap(), None);
        assert_eq!(store.keep_erasure_salt("one").unwrap(), "one");
        assert_eq!(store.keep_erasure_salt("two").unwrap(), "one");
        store.record_erasure(&erasure("d", "first")).unwrap();
        let done = Erasure { status: ErasureStatus::Done, ..erasure("d", "second") };
        store.record_erasure(&done).unwrap();
        let kept = store.erasure("d").unwrap().unwrap();
        assert_eq!((kept.token.as_str(), kept.status), ("first", ErasureStatus::Done));
        assert_eq!(store.suppressed_digests().unwrap(), ["d"]);
        store.record_erasure(&Erasure { suppressed: false, ..done }).unwrap();
        assert!(store.suppressed_digests().unwrap().is_empty());
    }

    #[test]
    fn what_was_to_leave_is_given_up_and_what_left_is_blank_and_no_byte_stays() {
        let (folder, store) = store();
        let entries = [
            delivery("a", "mine", OutboxStatus::Pending),
            delivery("b", "mine", OutboxStatus::Delivered),
            delivery("c", "other", OutboxStatus::Pending),
        ];
        store.enqueue(&entries).unwrap();
        let all = store.mentions("canary-0123456789", &|_| true).unwrap();
        assert_eq!(all, [("outbox.payload".to_owned(), 3)]);
        assert!(store.mentions("canary-0123456789", &|_| false).unwrap().is_empty());
        let of = ["mine".to_owned()];
        let key = ("canary-0123456789", "erased-1");
        let done = store.blank_deliveries(&of, key, &[], Timestamp::from_micros(9)).unwrap();
        assert_eq!((done.deliveries, done.given_up), (2, 1));
        let left = store.outbox_entry("a").unwrap().unwrap();
        assert_eq!(left.status, OutboxStatus::Discarded);
        assert_eq!(left.payload, json!({"erased": "erased-1"}));
        assert_eq!(store.outbox_entry("c").unwrap().unwrap().status, OutboxStatus::Pending);
        let rest = ["other".to_owned()];
        store.blank_deliveries(&rest, key, &[], Timestamp::from_micros(9)).unwrap();
        store.scrub().unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let needle = b"canary-0123456789";
            assert!(!bytes.windows(needle.len()).any(|part| part == needle));
        }
    }

    #[test]
    fn readers_follow_a_version_and_only_exact_texts_are_found() {
        let (_folder, store) = store();
        let seen = Publication {
            name: "mart.people".to_owned(),
            location: Some("mart/people".to_owned()),
            version: Some(3),
            view_sql: None,
            fingerprint: "f".to_owned(),
            published_at: Timestamp::from_micros(1),
            target: String::new(),
        };
        store.publish(std::slice::from_ref(&seen), &[]).unwrap();
        store.follow_version("mart/people", 2, 9).unwrap();
        assert_eq!(store.publications().unwrap()[0].version, Some(3), "another version is read");
        store.follow_version("mart/people", 3, 4).unwrap();
        assert_eq!(store.publications().unwrap()[0].version, Some(4));
        assert_eq!(store.cut_rollbacks("mart/people", 4).unwrap(), 0);
        store.enqueue(&[delivery("a", "mine", OutboxStatus::Pending)]).unwrap();
        assert!(
            store.mentions("canary_0123456789", &|_| true).unwrap().is_empty(),
            "_ is no wildcard"
        );
    }

    crate::testing::also_on_postgres!(
        an_erasure_that_goes_on_keeps_its_token_and_a_salt_is_made_once,
        what_was_to_leave_is_given_up_and_what_left_is_blank_and_no_byte_stays,
        readers_follow_a_version_and_only_exact_texts_are_found,
    );
}
