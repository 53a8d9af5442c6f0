//! All rows of one store into another, whatever databases they are in: to move a project to PostgreSQL or back, and to
//! back up metadata that is in no file.

use std::fs;
use std::path::Path;

use flywheel_base::{Error, Result};

use crate::engine::{self, Cell, Connection, Kind, Row, Value};
use crate::{Store, audit, copy_database, schema};

/// How many rows one statement adds.
const ROWS_AT_ONCE: usize = 50;

/// The only table with a row from the beginning; it is replaced.
const BORN_FULL: &str = "outbox_fence";

/// How many rows of a table were copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
}

/// A value that outlives its row.
enum Owned {
    Null(Kind),
    Int(i64),
    Real(f64),
    Text(String),
}

impl Owned {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null(kind) => Value::Null(*kind),
            Self::Int(number) => Value::Int(*number),
            Self::Real(number) => Value::Real(*number),
            Self::Text(text) => Value::Text(text),
        }
    }
}

impl Store {
    /// Whether nothing was ever recorded here.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn is_empty(&self) -> Result<bool> {
        let tables = tables()?;
        self.read("look whether it is empty", |db| {
            for table in tables.iter().filter(|table| table.name != BORN_FULL) {
                let name = &table.name;
                if db.prepare_cached(&format!("SELECT 1 FROM {name} LIMIT 1"))?.exists([])? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Copies all rows of `from`, as they are at one moment, into this store in one transaction, and counts them on both
    /// sides. Returns how many rows each table has; all or nothing is there.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Blocked`] if this store is not empty, [`flywheel_base::ErrorKind::Corrupt`] if the counts
    /// differ, else as every method: see [`Store::open`].
    /// # Cost
    /// Time by the number of rows; the rows of one table at a time are in memory if `from` is in PostgreSQL.
    pub fn copy_rows_from(&self, from: &Self) -> Result<Vec<Copied>> {
        if !self.is_empty()? {
            return Err(Error::blocked(format!("metadata: {} is not empty", self.place())).hint(
                "Only an empty store is filled: nothing is mixed and nothing is overwritten.",
            ));
        }
        let tables = tables()?;
        let mut wrong = None;
        let copied = self.write("copy all rows", |to| {
            let source = from.lock();
            source.snapshot(|source| {
                let mut copied = Vec::with_capacity(tables.len());
                for table in &tables {
                    let rows = copy_table(source, to, table)?;
                    let there: i64 =
                        to.query_row(&format!("SELECT count(*) FROM {}", table.name), [], |row| {
                            row.get(0)
                        })?;
                    if there.unsigned_abs() != rows {
                        wrong = Some((table.name.clone(), rows, there));
                        return Err(engine::Error::Undone);
                    }
                    copied.push(Copied { table: table.name.clone(), rows });
                }
                to.numbers_go_on()?;
                Ok(copied)
            })
        });
        if let Some((table, rows, there)) = wrong {
            return Err(Error::corrupt(format!(
                "metadata: {rows} rows of the table {table} were copied, and {there} arrived"
            ))
            .hint("Nothing was kept; please report it."));
        }
        copied
    }

    /// Writes the metadata as it is at one moment into the file `to`, which must not exist: a database of SQLite, whatever
    /// this one is, with the head of the audit log beside it. Writers go on meanwhile.
    ///
    /// # Errors
    /// As [`copy_database`].
    pub fn copy_to(&self, to: &Path) -> Result<()> {
        if self.shared().is_none() {
            return copy_database(self.path(), to);
        }
        let folder = to.with_extension("export");
        let made = self.export(&folder, to);
        // What is left of an export that failed is in the way of the next one.
        let removed = fs::remove_dir_all(&folder);
        made?;
        removed.map_err(|error| Error::io("remove", &folder, error))
    }

    fn export(&self, folder: &Path, to: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|error| Error::io("remove", folder, error))?;
        }
        fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
        let between = folder.join("meta.db");
        // A head is written after its row: read first, it says nothing that the copy does not hold.
        audit::copy_head(self.path(), &between)?;
        let file = Self::open_file(&between)?;
        file.copy_rows_from(self)?;
        drop(file);
        copy_database(&between, to)
    }
}

struct Table {
    name: String,
    columns: Vec<(String, Kind)>,
}

/// The tables of the layout, such that one comes after those it refers to.
fn tables() -> Result<Vec<Table>> {
    let tables = schema::tables().map_err(|error| {
        Error::internal("the layout of the metadata cannot be made").caused_by(error)
    })?;
    let kind = |of: &str| match of {
        "INTEGER" => Kind::Int,
        "REAL" => Kind::Real,
        _ => Kind::Text,
    };
    let table = |(name, columns): (String, Vec<(String, String)>)| {
        let columns = columns.into_iter().map(|(name, of)| (name, kind(&of))).collect();
        Table { name, columns }
    };
    Ok(tables.into_iter().map(table).collect())
}

fn copy_table(from: &Connection, to: &Connection, table: &Table) -> engine::Result<u64> {
    let name = &table.name;
    if name == BORN_FULL {
        to.execute(&format!("DELETE FROM {name}"), [])?;
    }
    let columns: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    let columns = columns.join(", ");
    // Runs are listed in the order in which they were added.
    let order = if name == "runs" { " ORDER BY rowid" } else { "" };
    let mut statement = from.prepare_cached(&format!("SELECT {columns} FROM {name}{order}"))?;
    let rows = statement.query_map([], |row| owned(row, table))?;
    let (mut count, mut waiting) = (0_u64, Vec::new());
    for row in rows {
        waiting.push(row?);
        count += 1;
        if waiting.len() == ROWS_AT_ONCE {
            add(to, name, &columns, &waiting)?;
            waiting.clear();
        }
    }
    add(to, name, &columns, &waiting)?;
    Ok(count)
}

fn add(to: &Connection, name: &str, columns: &str, rows: &[Vec<Owned>]) -> engine::Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let one = format!("({})", vec!["?"; first.len()].join(","));
    let all = vec![one.as_str(); rows.len()].join(",");
    let values: Vec<Value<'_>> = rows.iter().flatten().map(Owned::value).collect();
    to.prepare_cached(&format!("INSERT INTO {name} ({columns}) VALUES {all}"))?
        .execute(values)
        .map(drop)
}

fn owned(row: &Row<'_>, table: &Table) -> engine::Result<Vec<Owned>> {
    let cell = |(at, (_, kind)): (usize, &(String, Kind))| -> engine::Result<Owned> {
        Ok(match row.cell(at)? {
            Cell::Null => Owned::Null(*kind),
            Cell::Int(number) => Owned::Int(number),
            Cell::Real(number) => Owned::Real(number),
            Cell::Text(text) => Owned::Text(text.to_owned()),
        })
    };
    table.columns.iter().enumerate().map(cell).collect()
}

#[cfg(test)]
mod tests;
