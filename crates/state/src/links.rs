//! Links between records of two systems: which belong together, what both agreed on, what was
//! written, and what people are asked.
//!
//! The state of a link is made durable before the writes it plans leave, so that after a crash the
//! plan is known; an audit row is named by the tag of its write, so that it is there once.

use flywheel_base::{Result, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::engine::{self, Row, params};
use crate::runs::json;

/// Two records that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkRow {
    /// Its key within the link resource.
    pub key: String,
    /// The record's id on the left side, once it is known.
    pub left_id: Option<String>,
    /// The record's id on the right side, once it is known.
    pub right_id: Option<String>,
    /// Whether it is kept alike, or was cut: one side stays and is left alone.
    pub cut: bool,
    /// What is known of both records.
    pub state: Value,
}

/// One field of one write.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkAudit {
    /// The link resource.
    pub link: String,
    /// The run that wrote.
    pub run_id: String,
    /// When, by the logical clock.
    pub at: Timestamp,
    /// The tag of the write.
    pub tag: String,
    /// The link's key.
    pub record: String,
    /// The record's id on that side, if it was known.
    pub id: Option<String>,
    /// The side that was written to.
    pub side: String,
    /// The field.
    pub field: String,
    /// What the side had.
    pub before: Value,
    /// What it got.
    pub after: Value,
    /// Why.
    pub rule: String,
}

/// Something a person has to decide.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkQuestion {
    /// Names the question, the same as long as what it is about is the same.
    pub id: String,
    /// The link resource.
    pub link: String,
    /// `conflict`, `match` or `delete`.
    pub kind: String,
    /// The record or records it is about.
    pub record: String,
    /// What it is about.
    pub detail: Value,
    /// When it was asked first, by the logical clock.
    pub asked_at: Timestamp,
    /// What the person said.
    pub answer: Option<Value>,
    /// Whether it is still to be answered, or answered and still needed.
    pub open: bool,
}

/// What one step of a link resource changes, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct LinkChanges {
    /// Links that are new or changed.
    pub rows: Vec<LinkRow>,
    /// Keys of links that are gone.
    pub removed: Vec<String>,
    /// What was written; a row that is there already stays.
    pub audit: Vec<LinkAudit>,
    /// Every question that is open now; others of the link are closed. `None` leaves them as they are.
    pub questions: Option<Vec<LinkQuestion>>,
}

impl LinkChanges {
    /// Whether there is nothing to record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.removed.is_empty()
            && self.audit.is_empty()
            && self.questions.is_none()
    }
}

impl Store {
    /// Every link of the resource `link`, by key.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn links(&self, link: &str) -> Result<Vec<LinkRow>> {
        self.read("read links", |db| {
            db.prepare_cached(
                "SELECT key, left_id, right_id, cut, state FROM links WHERE link = ? ORDER BY key",
            )?
            .query_map([link], |row| {
                Ok(LinkRow {
                    key: row.get(0)?,
                    left_id: row.get(1)?,
                    right_id: row.get(2)?,
                    cut: row.get(3)?,
                    state: json(row, 4)?,
                })
            })?
            .collect()
        })
    }

    /// Records what a step of the resource `link` changes.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_links(&self, link: &str, changes: &LinkChanges) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write("record links", |db| {
            let mut remove = db.prepare_cached("DELETE FROM links WHERE link = ? AND key = ?")?;
            for key in &changes.removed {
                remove.execute([link, key])?;
            }
            let mut clear = db.prepare_cached(
                "DELETE FROM links WHERE link = ?1 AND key <> ?2 AND (left_id = ?3 OR right_id = ?4)",
            )?;
            let mut put = db.prepare_cached(
                "INSERT OR REPLACE INTO links (link, key, left_id, right_id, cut, state) VALUES (?,?,?,?,?,?)",
            )?;
            for row in &changes.rows {
                let state = row.state.to_string();
                // A record is in one link only: the newest one.
                if db.replaces_by_key() {
                    clear.execute(params![link, row.key, row.left_id, row.right_id])?;
                }
                put.execute(params![link, row.key, row.left_id, row.right_id, row.cut, state])?;
            }
            let mut note = db.prepare_cached(
                "INSERT OR IGNORE INTO link_audit (link, run_id, at, tag, record, id, side, field, before, after, rule)
                 VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            )?;
            for row in &changes.audit {
                note.execute(params![
                    link,
                    row.run_id,
                    row.at.micros(),
                    row.tag,
                    row.record,
                    row.id,
                    row.side,
                    row.field,
                    row.before.to_string(),
                    row.after.to_string(),
                    row.rule
                ])?;
            }
            let Some(questions) = &changes.questions else { return Ok(()) };
            db.execute("UPDATE link_questions SET open = 0 WHERE link = ?", [link])?;
            let mut ask = db.prepare_cached(
                "INSERT INTO link_questions (link, id, kind, record, detail, asked_at, open) VALUES (?,?,?,?,?,?,1)
                 ON CONFLICT (link, id) DO UPDATE SET open = 1, detail = excluded.detail",
            )?;
            for q in questions {
                let detail = q.detail.to_string();
                ask.execute(params![link, q.id, q.kind, q.record, detail, q.asked_at.micros()])?;
            }
            Ok(())
        })
    }

    /// What was written, oldest first; of one link resource or of all.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn link_audit(&self, link: Option<&str>) -> Result<Vec<LinkAudit>> {
        self.read("read the audit of links", |db| {
            db.prepare_cached(
                "SELECT link, run_id, at, tag, record, id, side, field, before, after, rule FROM link_audit
                 WHERE ?1 IS NULL OR link = ?1 ORDER BY number",
            )?
            .query_map([link], audit_from)?
            .collect()
        })
    }

    /// Questions, oldest first, closed ones included; of one link resource or of all.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn link_questions(&self, link: Option<&str>) -> Result<Vec<LinkQuestion>> {
        self.read("read the questions of links", |db| {
            db.prepare_cached(
                "SELECT link, id, kind, record, detail, asked_at, answer, open FROM link_questions
                 WHERE ?1 IS NULL OR link = ?1 ORDER BY asked_at, link, id",
            )?
            .query_map([link], question_from)?
            .collect()
        })
    }

    /// Answers a question; false if there is none of this id.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn answer_link(&self, link: &str, id: &str, answer: &Value, at: Timestamp) -> Result<bool> {
        let changed = self.write("answer a question", |db| {
            db.execute(
                "UPDATE link_questions SET answer = ?, answered_at = ? WHERE link = ? AND id = ?",
                params![answer.to_string(), at.micros(), link, id],
            )
        })?;
        Ok(changed > 0)
    }
}

fn audit_from(row: &Row<'_>) -> engine::Result<LinkAudit> {
    Ok(LinkAudit {
        link: row.get(0)?,
        run_id: row.get(1)?,
        at: Timestamp::from_micros(row.get(2)?),
        tag: row.get(3)?,
        record: row.get(4)?,
        id: row.get(5)?,
        side: row.get(6)?,
        field: row.get(7)?,
        before: json(row, 8)?,
        after: json(row, 9)?,
        rule: row.get(10)?,
    })
}

fn question_from(row: &Row<'_>) -> engine::Result<LinkQuestion> {
    let answered: Option<String> = row.get(6)?;
    Ok(LinkQuestion {
        link: row.get(0)?,
        id: row.get(1)?,
        kind: row.get(2)?,
        record: row.get(3)?,
        detail: json(row, 4)?,
        asked_at: Timestamp::from_micros(row.get(5)?),
        answer: answered.map(|_| json(row, 6)).transpose()?,
        open: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(id: &str) -> LinkQuestion {
        LinkQuestion {
            id: id.to_owned(),
            link: "people".to_owned(),
            kind: "conflict".to_owned(),
            record: "r1".to_owned(),
            detail: json!({"field": "phone"}),
            asked_at: Timestamp::from_micros(5),
            answer: None,
            open: true,
        }
    }

    #[test]
    fn a_question_is_asked_once_keeps_its_answer_and_closes_when_nobody_asks() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        let ask = |questions: Vec<LinkQuestion>| {
            let changes = LinkChanges { questions: Some(questions), ..LinkChanges::default() };
            store.record_links("people", &changes).unwrap();
        };
        ask(vec![question("a"), question("b")]);
        assert!(store.answer_link("people", "a", &json!("x"), Timestamp::from_micros(9)).unwrap());
        assert!(!store.answer_link("people", "c", &json!("x"), Timestamp::from_micros(9)).unwrap());
        ask(vec![question("a")]);
        let all = store.link_questions(Some("people")).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].answer.clone(), all[0].open), (Some(json!("x")), true));
        assert!(!all[1].open);
        assert!(store.link_questions(Some("other")).unwrap().is_empty());
    }

    #[test]
    fn links_are_replaced_by_key_and_a_write_is_audited_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        let row = |right: Option<&str>| LinkRow {
            key: "k".to_owned(),
            left_id: Some("1".to_owned()),
            right_id: right.map(str::to_owned),
            cut: false,
            state: json!({"n": 1}),
        };
        let audit = LinkAudit {
            link: "people".to_owned(),
            run_id: "run".to_owned(),
            at: Timestamp::from_micros(7),
            tag: "fw:1".to_owned(),
            record: "k".to_owned(),
            id: Some("1".to_owned()),
            side: "left".to_owned(),
            field: "phone".to_owned(),
            before: json!(null),
            after: json!("+86"),
            rule: "copy".to_owned(),
        };
        for right in [None, Some("2")] {
            let changes = LinkChanges {
                rows: vec![row(right)],
                audit: vec![audit.clone()],
                ..LinkChanges::default()
            };
            store.record_links("people", &changes).unwrap();
        }
        assert_eq!(store.links("people").unwrap(), [row(Some("2"))]);
        assert_eq!(store.link_audit(None).unwrap(), [audit]);
        let gone = LinkChanges { removed: vec!["k".to_owned()], ..LinkChanges::default() };
        store.record_links("people", &gone).unwrap();
        assert!(store.links("people").unwrap().is_empty());
    }

    crate::testing::also_on_postgres!(
        a_question_is_asked_once_keeps_its_answer_and_closes_when_nobody_asks,
        links_are_replaced_by_key_and_a_write_is_audited_once,
    );
}
