//! What SQL statements of people made: schemas, views and tables that no file of the project declares.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, Timestamp};

use crate::Store;
use crate::engine::{self, Connection, Row, params};

/// What a statement made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeKind {
    /// A schema, which may be empty.
    Schema,
    /// A view: its query is kept here.
    View,
    /// A table: its rows are in the lake, and what they were made of is kept here.
    Table,
}

impl MadeKind {
    /// The word in SQL.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::View => "view",
            Self::Table => "table",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Schema, Self::View, Self::Table].into_iter().find(|kind| kind.word() == word)
    }
}

/// A schema, view or table made by a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// `schema` or `schema.name`.
    pub name: String,
    /// What it is.
    pub kind: MadeKind,
    /// A view's query.
    pub sql: Option<String>,
    /// Every table and view that its rows were made of, at whatever remove, `schema.name`.
    pub reads: BTreeSet<String>,
    /// Who made it.
    pub made_by: String,
    /// When, by the logical clock.
    pub made_at: Timestamp,
}

impl Store {
    /// All that statements made, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`]; [`flywheel_base::ErrorKind::Corrupt`] if a row is damaged.
    pub fn made(&self) -> Result<Vec<Made>> {
        let rows = self.read("list what statements made", all)?;
        rows.into_iter().map(Stored::read).collect()
    }

    /// Keeps what a statement made, in the place of what had its name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn make(&self, made: &Made) -> Result<()> {
        let reads = joined(&made.reads);
        self.write("keep what a statement made", |db| {
            db.execute(
                "INSERT OR REPLACE INTO made (name, kind, sql, reads, made_by, made_at) VALUES (?,?,?,?,?,?)",
                params![
                    made.name,
                    made.kind.word(),
                    made.sql,
                    reads,
                    made.made_by,
                    made.made_at.micros()
                ],
            )
            .map(|_| ())
        })
    }

    /// Forgets what had these names.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn unmake(&self, names: &[String]) -> Result<()> {
        self.write("forget what a statement made", |db| {
            for name in names {
                db.execute("DELETE FROM made WHERE name = ?", params![name])?;
            }
            Ok(())
        })
    }

    /// What tables and views had been made of that were replaced, renamed or dropped while others may have been made of
    /// them, by the names they had.
    ///
    /// # Errors
    /// As every method: see [`Store::open`]; [`flywheel_base::ErrorKind::Corrupt`] if a row is damaged.
    pub fn made_before(&self) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let rows: Vec<(String, String)> =
            self.read("list what statements had made before", |db| {
                db.prepare_cached("SELECT name, reads FROM made_before")?
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })?;
        let parsed = rows.into_iter().map(|(name, reads)| {
            let reads = parted(&name, &reads)?;
            Ok((name, reads))
        });
        parsed.collect()
    }

    /// Keeps what had that name before was made of, beside what is kept of it.
    ///
    /// # Errors
    /// As [`Store::made_before`].
    pub fn keep_made_before(&self, name: &str, reads: &BTreeSet<String>) -> Result<()> {
        let mut all = self.made_before()?.remove(name).unwrap_or_default();
        all.extend(reads.iter().cloned());
        let all = joined(&all);
        self.write("keep what a statement had made before", |db| {
            db.execute(
                "INSERT OR REPLACE INTO made_before (name, reads) VALUES (?,?)",
                params![name, all],
            )
            .map(|_| ())
        })
    }

    /// Gives a view or table another name, also where it is said that others read it. It goes on to be made of what had
    /// the name before.
    ///
    /// # Errors
    /// As every method: see [`Store::open`]; [`flywheel_base::ErrorKind::Corrupt`] if a row is damaged.
    pub fn rename_made(&self, from: &str, to: &str) -> Result<()> {
        let mut changed = Vec::new();
        for Made { name, kind, mut reads, .. } in self.made()? {
            if name == from {
                reads.remove(to);
                if kind == MadeKind::Table {
                    reads.insert(from.to_owned());
                }
                changed.push((name, joined(&reads)));
            } else if name != to && reads.contains(from) {
                reads.insert(to.to_owned());
                changed.push((name, joined(&reads)));
            }
        }
        self.write("rename what a statement made", |db| {
            for (name, reads) in &changed {
                db.execute("UPDATE made SET reads = ? WHERE name = ?", params![reads, name])?;
            }
            // What had the new name gives way, if there is something that takes it.
            db.execute(
                "DELETE FROM made WHERE name = ?1 AND name <> ?2 AND EXISTS (SELECT 1 FROM made AS taker WHERE taker.name = ?2)",
                params![to, from],
            )?;
            db.execute("UPDATE made SET name = ? WHERE name = ?", params![to, from]).map(|_| ())
        })
    }
}

/// A row as it is stored.
struct Stored {
    name: String,
    kind: String,
    sql: Option<String>,
    reads: String,
    made_by: String,
    made_at: i64,
}

impl Stored {
    fn read(self) -> Result<Made> {
        let kind = MadeKind::of(&self.kind).ok_or_else(|| broken(&self.name))?;
        let reads = parted(&self.name, &self.reads)?;
        Ok(Made {
            name: self.name,
            kind,
            sql: self.sql,
            reads,
            made_by: self.made_by,
            made_at: Timestamp::from_micros(self.made_at),
        })
    }
}

fn all(db: &Connection) -> engine::Result<Vec<Stored>> {
    let row = |row: &Row<'_>| {
        Ok(Stored {
            name: row.get(0)?,
            kind: row.get(1)?,
            sql: row.get(2)?,
            reads: row.get(3)?,
            made_by: row.get(4)?,
            made_at: row.get(5)?,
        })
    };
    db.prepare_cached("SELECT name, kind, sql, reads, made_by, made_at FROM made ORDER BY name")?
        .query_map([], row)?
        .collect()
}

/// Names as they are stored: a JSON array, as a name may have any character.
fn joined(names: &BTreeSet<String>) -> String {
    serde_json::Value::from_iter(names.iter().map(String::as_str)).to_string()
}

fn parted(name: &str, names: &str) -> Result<BTreeSet<String>> {
    serde_json::from_str(names).map_err(|error| broken(name).caused_by(error))
}

fn broken(name: &str) -> Error {
    Error::corrupt(format!("what is kept of \"{name}\" is damaged"))
        .hint("Restore the newest backup, or make it anew with its statement.")
}
