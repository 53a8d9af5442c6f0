//! Reading a relation page by page, each page a query of its own behind the last key.
//!
//! The position is the pair (cursor, key) of the last row, however many rows share a cursor value.
//! Between pages no lock is held, except where a read without key, or a database in WAL mode, allows
//! or needs one view of the data.

use flywheel_base::{Error, Result};
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, Row};
use serde_json::Value;

use super::relation::Relation;
use super::value::{back, from_json, scalar, shown, to_json};
use super::{Database, SqliteStream};
use crate::column::{ColumnBuilder, Misfit, Parsing};
use crate::files::PageRead;
use crate::keyset::Keyset;
use crate::marks::{Marks, mark};
use crate::missing::Missing;
use crate::page::{Page, PageBuilder, TableSchema, raw, without_line};
use crate::source::{ReadMode, ReadRequest, settings};

/// A read of one table or query.
pub(super) struct SqliteRead {
    database: Database,
    stream: SqliteStream,
    request: ReadRequest,
    open: Option<Open>,
    finished: bool,
}

struct Open {
    connection: Connection,
    relation: Relation,
    schema: TableSchema,
    page: PageBuilder,
    stored: Keyset<Value>,
    /// The first row of a read that looks back.
    from: Option<SqlValue>,
    cursor: bool,
    /// How far the read is in the rows without a value in the cursor that it begins with, if it is.
    missing: Option<Vec<Value>>,
    /// Whether rows without a value in the cursor may be read by more than one read.
    comes_again: bool,
    /// Which of the columns is the cursor, if there is one.
    cursor_place: Option<usize>,
    /// The rows without a readable cursor that earlier reads set aside.
    known: Marks,
    /// Those of them and the new ones that this read met.
    met: Marks,
    /// Whether this read meets all of them again that still count, because it continues none.
    whole: bool,
}

impl SqliteRead {
    /// Prepares a read; does no I/O.
    pub(super) fn new(database: Database, request: ReadRequest) -> Result<Self> {
        let stream = settings("stream", request.stream.clone())?;
        Ok(Self { database, stream, request, open: None, finished: false })
    }

    fn start(&self) -> Result<Open> {
        let connection = self.database.open()?;
        let relation =
            Relation::of(&self.database, &connection, &self.stream, &self.request.columns)?;
        let (order, cursor) = self.order(&relation)?;
        let mut columns = relation.columns.iter();
        let cursor_place = columns
            .position(|(expression, _)| order.first() == Some(expression))
            .filter(|_| cursor);
        let mut stored =
            Keyset::<Value>::of(&self.request, "sqlite")?.ordered(order, &relation.name)?;
        let missing = match cursor {
            true => self.without_cursor(&connection, &relation, &mut stored)?,
            false => None,
        };
        let from = self.look_back(&stored)?;
        let wal: String = connection
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .map_err(|error| self.database.fail(error))?;
        if relation.key.is_empty() || wal == "wal" {
            connection.execute_batch("BEGIN").map_err(|error| self.database.fail(error))?;
        }
        let columns = relation.columns.iter().map(|(_, column)| column.clone()).collect();
        let schema = TableSchema::new(columns, false);
        let mut page = PageBuilder::new("sqlite", &schema, self.request.page_rows)
            .limited(self.request.page_bytes);
        if let Some(missing) = &missing {
            page.notice(missing.code, &relation.name, missing.message.clone());
        }
        let missing = missing.filter(|missing| missing.again).map(|_| Vec::new());
        let known = stored.aside.clone();
        let (met, whole) = (Marks::default(), stored.complete);
        Ok(Open {
            connection,
            relation,
            schema,
            page,
            stored,
            from,
            cursor,
            missing,
            comes_again: cursor && !self.request.write_appends,
            cursor_place,
            known,
            met,
            whole,
        })
    }

    /// The expressions that order the read, and whether the first is a cursor.
    fn order(&self, relation: &Relation) -> Result<(Vec<String>, bool)> {
        let ReadMode::Incremental { cursor, .. } = &self.request.mode else {
            return Ok((relation.key.clone(), false));
        };
        if relation.key.is_empty() {
            return Err(Error::invalid(format!(
                "{} has no key to read it by steps",
                relation.name
            ))
            .hint("Set the stream's `primary_key`, or read it with mode full."));
        }
        let Some(cursor) = cursor else {
            if relation.growing_key {
                return Ok((relation.key.clone(), false));
            }
            let names: Vec<&str> = relation.columns.iter().map(|(_, c)| c.name.as_str()).collect();
            return Err(Error::invalid(format!(
                "an incremental read of {} needs a cursor",
                relation.name
            ))
            .hint(format!(
                "Set `cursor` to a column that grows with every change, one of: {}.",
                names.join(", ")
            )));
        };
        let cursor = relation.column(cursor)?;
        let mut order = vec![cursor.clone()];
        order.extend(relation.key.iter().filter(|key| **key != cursor).cloned());
        Ok((order, true))
    }

    /// What becomes of the rows without a value in the cursor; a key that is the cursor has one in each row.
    fn without_cursor(
        &self,
        connection: &Connection,
        relation: &Relation,
        stored: &mut Keyset<Value>,
    ) -> Result<Option<Missing>> {
        let ReadMode::Incremental { cursor: Some(cursor), .. } = &self.request.mode else {
            return Ok(None);
        };
        let [first, _, ..] = stored.order.as_slice() else { return Ok(None) };
        let sql = format!("SELECT count(*) FROM {} WHERE {first} IS NULL", relation.from);
        let count: i64 = connection
            .query_row(&sql, [], |row| row.get(0))
            .map_err(|error| self.database.fail(error))?;
        let count = u64::try_from(count).unwrap_or_default();
        Ok(stored.meet(count, cursor, self.request.write_appends))
    }

    /// Where a read begins that looks back before the last cursor value.
    fn look_back(&self, stored: &Keyset<Value>) -> Result<Option<SqlValue>> {
        let ReadMode::Incremental { lag: Some(lag), .. } = &self.request.mode else {
            return Ok(None);
        };
        if self.request.write_appends {
            return Err(Error::invalid("a read that looks back cannot be appended")
                .hint("Rows would be there twice: write with `merge`, or leave out `lag`."));
        }
        match stored.after.first() {
            Some(last) if stored.complete => back(&from_json(last)?, lag).map(Some),
            _ => Ok(None),
        }
    }
}

impl Open {
    /// The query of the next page and its arguments.
    fn query(&self, limit: usize) -> Result<(String, Vec<SqlValue>)> {
        let columns = self.relation.columns.iter().map(|(expression, _)| expression.as_str());
        let order = &self.stored.order;
        let list: Vec<&str> = columns.chain(order.iter().map(String::as_str)).collect();
        let (condition, arguments) = self.condition()?;
        let mut sql = format!("SELECT {} FROM {}{condition}", list.join(", "), self.relation.from);
        if !order.is_empty() {
            sql.push_str(" ORDER BY ");
            sql.push_str(&order.join(", "));
        }
        sql.push_str(&format!(" LIMIT {limit}"));
        if order.is_empty() {
            sql.push_str(&format!(" OFFSET {}", self.stored.rows));
        }
        Ok((sql, arguments))
    }

    fn condition(&self) -> Result<(String, Vec<SqlValue>)> {
        let order = &self.stored.order;
        if let (Some(reached), Some(cursor)) = (&self.missing, order.first()) {
            let Some(keys) = reached.get(1..) else {
                return Ok((format!(" WHERE {cursor} IS NULL"), Vec::new()));
            };
            let names = order.get(1..).unwrap_or_default().join(", ");
            let marks: Vec<String> = (1..=keys.len()).map(|at| format!("?{at}")).collect();
            let condition =
                format!(" WHERE {cursor} IS NULL AND ({names}) > ({})", marks.join(", "));
            return Ok((condition, keys.iter().map(from_json).collect::<Result<_>>()?));
        }
        if let (Some(from), Some(cursor)) = (&self.from, order.first()) {
            return Ok(match from {
                SqlValue::Null => (String::new(), Vec::new()),
                from => (format!(" WHERE {cursor} >= ?1"), vec![from.clone()]),
            });
        }
        if self.stored.after.is_empty() || order.is_empty() {
            return Ok((String::new(), Vec::new()));
        }
        let after: Vec<SqlValue> =
            self.stored.after.iter().map(from_json).collect::<Result<_>>()?;
        let tuple = |from: usize| {
            let names = order.get(from..).unwrap_or_default().join(", ");
            let marks: Vec<String> = (from..order.len()).map(|at| format!("?{}", at + 1)).collect();
            format!("({names}) > ({})", marks.join(", "))
        };
        if !self.cursor {
            return Ok((format!(" WHERE {}", tuple(0)), after));
        }
        let cursor = order.first().map(String::as_str).unwrap_or_default();
        let unique = order.len() == 1;
        let condition = match after.first() {
            Some(SqlValue::Null) if unique => format!("{cursor} IS NOT NULL"),
            Some(SqlValue::Null) => {
                format!(
                    "(?1 IS NULL AND {cursor} IS NULL AND {}) OR {cursor} IS NOT NULL",
                    tuple(1)
                )
            }
            _ if unique => format!("{cursor} > ?1"),
            // The first part is what an index can be used for.
            _ => format!("{cursor} >= ?1 AND ({cursor} > ?1 OR {})", tuple(1)),
        };
        let arguments = match after.first() {
            Some(SqlValue::Null) if unique => Vec::new(),
            _ => after,
        };
        Ok((format!(" WHERE {condition}"), arguments))
    }

    /// Whether the next page is of rows without a value in the cursor that come again and move nothing.
    fn comes_back(&self) -> bool {
        self.missing.is_some() && !self.stored.after.first().is_some_and(Value::is_null)
    }

    /// Reads the rows of one page; says whether more may follow.
    fn fill(&mut self, database: &Database, limit: usize) -> Result<bool> {
        let (sql, arguments) = self.query(limit)?;
        let mut statement =
            self.connection.prepare_cached(&sql).map_err(|error| database.fail(error))?;
        let mut rows = statement
            .query(rusqlite::params_from_iter(arguments))
            .map_err(|error| database.fail(error))?;
        let (mut count, mut known) = (0, 0);
        while let Some(row) = rows.next().map_err(|error| database.fail(error))? {
            count += 1;
            let line = self.stored.rows + (count - known) as u64;
            let name = &self.relation.name;
            let mut readable = true;
            match push(&self.relation, row, &mut self.page) {
                Ok(bytes) => self.page.commit(name, line, bytes)?,
                Err((place, misfit)) => {
                    self.page.rollback();
                    let column = self.schema.columns().get(place);
                    let text = row_text(&self.relation, row);
                    readable = reads(&self.relation, self.cursor_place, row);
                    let mark = (!readable).then(|| mark(&text));
                    let before = mark.as_ref().is_some_and(|mark| self.known.contains(mark));
                    if let Some(mark) = &mark {
                        self.stored.aside.insert(mark);
                        self.met.insert(mark);
                    }
                    let misfit = match column {
                        Some(column) if !column.declared && misfit.code != "invalid-utf8" => {
                            let hint =
                                "the type is the column's in the database; declare it as text";
                            Misfit::new(misfit.code, format!("{} ({hint})", misfit.reason))
                        }
                        _ => misfit,
                    };
                    let column = column.map(|column| column.name.as_str());
                    match mark {
                        Some(_) if before => known += 1,
                        // A read that has forgotten the row meets it again, as another of its rows.
                        Some(_) => {
                            let name = without_line(name, &text);
                            self.page.reject(&name, None, column, misfit, raw(&text));
                        }
                        // The number that a row has in one of several reads that meet it says nothing.
                        None if self.comes_again && lacks_cursor(&self.relation, row) => {
                            let name = without_line(name, &text);
                            self.page.reject(&name, None, column, misfit, raw(&text));
                        }
                        None => self.page.reject(name, Some(line), column, misfit, raw(&text)),
                    }
                }
            }
            if readable {
                self.stored.readable = None;
            } else if self.stored.readable.is_none() {
                self.stored.readable = Some(self.stored.after.clone());
            }
            let width = self.relation.columns.len();
            let mut after = match self.missing {
                None => std::mem::take(&mut self.stored.after),
                Some(_) => Vec::with_capacity(self.stored.order.len()),
            };
            after.clear();
            for at in 0..self.stored.order.len() {
                let value = row.get_ref(width + at).map_err(|error| database.fail(error))?;
                after.push(to_json(value)?);
            }
            match &mut self.missing {
                None => self.stored.after = after,
                Some(reached) => {
                    // Rows without a cursor that come again move nothing unless there was no value yet.
                    if self.stored.after.first().is_some_and(Value::is_null) {
                        self.stored.after.clone_from(&after);
                    }
                    *reached = after;
                }
            }
            if self.page.is_full() {
                break;
            }
        }
        let more = count == limit || self.page.is_full();
        self.stored.rows += (count - known) as u64;
        if self.missing.is_some() {
            if !more {
                self.missing = None;
            }
            // What is behind the position follows.
            return Ok(true);
        }
        if count > 0 {
            self.from = None;
        }
        Ok(more)
    }
}

/// Pushes a row into the columns; gives about how many bytes it has.
fn push(
    relation: &Relation,
    row: &Row<'_>,
    page: &mut PageBuilder,
) -> Result<usize, (usize, Misfit)> {
    let mut bytes = 0;
    for (place, (_, column)) in relation.columns.iter().enumerate() {
        let fail = |misfit| (place, misfit);
        let value = row
            .get_ref(place)
            .map_err(|error| fail(Misfit::new("type-mismatch", error.to_string())))?;
        bytes += match value.as_bytes_or_null() {
            Ok(Some(text)) => text.len(),
            _ => 8,
        };
        let scalar = scalar(value, column.kind).map_err(fail)?;
        if column.not_null && matches!(scalar, crate::column::Scalar::Null) {
            let reason = "no value in a column that is required";
            return Err(fail(Misfit::new("null-value", reason)));
        }
        if let Some(builder) = page.columns.get_mut(place) {
            builder.push(scalar, &Parsing::default()).map_err(fail)?;
        }
    }
    Ok(bytes)
}

/// Whether the row has no value in the cursor, which is selected behind the columns.
fn lacks_cursor(relation: &Relation, row: &Row<'_>) -> bool {
    row.get_ref(relation.columns.len()).is_ok_and(|value| value == ValueRef::Null)
}

/// Whether the cursor's column can hold the row's value.
fn reads(relation: &Relation, cursor: Option<usize>, row: &Row<'_>) -> bool {
    let column = cursor.and_then(|place| Some((place, &relation.columns.get(place)?.1)));
    let Some((place, column)) = column else { return true };
    let Ok(value) = row.get_ref(place) else { return false };
    scalar(value, column.kind).is_ok_and(|scalar| {
        ColumnBuilder::new(column.kind, 1).push(scalar, &Parsing::default()).is_ok()
    })
}

fn row_text(relation: &Relation, row: &Row<'_>) -> String {
    let mut object = serde_json::Map::new();
    for (place, (_, column)) in relation.columns.iter().enumerate() {
        let value = row.get_ref(place).map_or(Value::Null, shown);
        object.insert(column.name.clone(), value);
    }
    Value::Object(object).to_string()
}

impl PageRead for SqliteRead {
    fn next_page(&mut self) -> Result<Option<Page>> {
        if self.finished {
            return Ok(None);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.start()?,
        };
        let was_complete = open.stored.complete;
        let rows_before = open.stored.rows;
        let limit = self.request.page_rows.max(1);
        let mut comes_back = open.comes_back();
        let mut more = open.fill(&self.database, limit)?;
        // There may be nothing in it but rows that were set aside before.
        while more && open.page.is_empty() {
            comes_back = open.comes_back();
            more = open.fill(&self.database, limit)?;
        }
        self.finished = !more;
        // If it breaks off among rows that move nothing, the next read begins as this one did.
        open.stored.complete = !more || (comes_back && was_complete);
        if !more {
            // Rows that come later lie behind the last one whose cursor could be read.
            if let Some(readable) = open.stored.readable.take() {
                open.stored.after = readable;
            }
            if open.whole {
                open.stored.aside = std::mem::take(&mut open.met);
            }
        }
        if !more && open.stored.rows == rows_before && was_complete && open.page.is_empty() {
            return Ok(None);
        }
        let position = open.stored.position()?;
        let page = open.page.finish(&open.schema, position)?;
        self.open = Some(open);
        Ok(Some(page))
    }
}
