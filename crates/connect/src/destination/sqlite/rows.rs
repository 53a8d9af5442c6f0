//! Rows on their way into a table, one statement each.

use arrow::record_batch::RecordBatch;
use flywheel_base::{Error, Result};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement};

use super::shape::Table;
use crate::column::Misfit;
use crate::destination::Refused;
use crate::output::{
    Cell, Cells, column_error, date_text, decimal_text, moment_text, push_json, refused,
};
use crate::source::sqlite::{Database, quoted};

/// Digits that SQLite's numbers keep.
const NUMBER_DIGITS_MAX: u32 = 15;

/// The largest whole number up to which every one is a double.
const WHOLE_MAX: u64 = 1 << 53;

/// What is done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// It is added.
    Insert,
    /// It takes the place of the row with its key, or is added.
    Merge,
    /// The row with its key is removed.
    Delete,
}

/// What a row did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effect {
    /// Rows added.
    pub(super) inserted: u64,
    /// Rows changed.
    pub(super) updated: u64,
    /// Rows removed.
    pub(super) deleted: u64,
}

/// The rows of one batch.
pub(super) struct Rows<'a> {
    database: &'a Database,
    connection: &'a Connection,
    columns: Vec<Written<'a>>,
    /// The places of the key among the columns, in the key's order.
    key: Vec<usize>,
    insert: Statement<'a>,
    merge: Option<(Statement<'a>, Statement<'a>)>,
}

struct Written<'a> {
    name: &'a str,
    cells: Cells,
    /// Whether the column makes numbers of texts, or doubles of whole numbers.
    affinity: Affinity,
}

/// What SQLite does to values of a column with that declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affinity {
    /// Nothing that loses digits of a text.
    Kept,
    /// A text that is a number becomes one.
    Number,
    /// Every number becomes a double.
    Double,
}

/// The affinity by the rules of SQLite's documentation, in their order.
fn affinity(declaration: &str) -> Affinity {
    let text = declaration.to_ascii_uppercase();
    let has = |part: &str| text.contains(part);
    if has("INT") {
        return Affinity::Number;
    }
    if has("CHAR") || has("CLOB") || has("TEXT") || has("BLOB") || text.is_empty() || text == "ANY"
    {
        return Affinity::Kept;
    }
    if has("REAL") || has("FLOA") || has("DOUB") {
        return Affinity::Double;
    }
    Affinity::Number
}

impl<'a> Rows<'a> {
    /// Prepares the statements for the columns at `places`.
    pub(super) fn new(
        database: &'a Database,
        connection: &'a Connection,
        table: &Table,
        key: &[String],
        batch: &'a RecordBatch,
        places: &[usize],
    ) -> Result<Self> {
        let fail = |error| database.fail(error);
        let mut columns = Vec::with_capacity(places.len());
        let sql = "SELECT coalesce(max(type), '') FROM pragma_table_info(?1) \
                   WHERE name = ?2 COLLATE NOCASE";
        let mut types = connection.prepare(sql).map_err(fail)?;
        for place in places {
            let name = batch.schema_ref().field(*place).name().as_str();
            let cells =
                Cells::of(batch.column(*place)).map_err(|error| column_error(name, error))?;
            let declared: String =
                types.query_row([table.name.as_str(), name], |row| row.get(0)).map_err(fail)?;
            columns.push(Written { name, cells, affinity: affinity(&declared) });
        }
        let into = quoted(&table.name);
        let names: Vec<String> = columns.iter().map(|column| quoted(column.name)).collect();
        let marks: Vec<String> = (1..=names.len()).map(|at| format!("?{at}")).collect();
        let insert = if names.is_empty() {
            format!("INSERT INTO {into} DEFAULT VALUES")
        } else {
            format!("INSERT INTO {into} ({}) VALUES ({})", names.join(", "), marks.join(", "))
        };
        let place = |name: &String| columns.iter().position(|column| column.name == name);
        let key_places: Vec<usize> = key.iter().filter_map(place).collect();
        let pair = |at: usize| Some(format!("{} = {}", names.get(at)?, marks.get(at)?));
        let list = |places: &[usize], between: &str| {
            places.iter().filter_map(|at| pair(*at)).collect::<Vec<_>>().join(between)
        };
        let merge = if key_places.is_empty() {
            None
        } else {
            let others: Vec<usize> =
                (0..names.len()).filter(|at| !key_places.contains(at)).collect();
            let set = if others.is_empty() { &key_places } else { &others };
            let found = list(&key_places, " AND ");
            let update = format!("UPDATE {into} SET {} WHERE {found}", list(set, ", "));
            let keys: Vec<String> = (1..=key_places.len()).map(|at| format!("?{at}")).collect();
            let found = key_places.iter().zip(&keys);
            let found = found
                .filter_map(|(at, mark)| Some(format!("{} = {mark}", names.get(*at)?)))
                .collect::<Vec<_>>();
            let delete = format!("DELETE FROM {into} WHERE {}", found.join(" AND "));
            let update = connection.prepare(&update).map_err(fail)?;
            Some((update, connection.prepare(&delete).map_err(fail)?))
        };
        let insert = connection.prepare(&insert).map_err(fail)?;
        Ok(Self { database, connection, columns, key: key_places, insert, merge })
    }

    /// Writes one row, or says why the table does not take it.
    pub(super) fn run(&mut self, row: usize, verb: Verb) -> Result<Result<Effect, Refused>> {
        let mut effect = Effect::default();
        if verb != Verb::Insert
            && let Some(name) = self.missing_key(row)
        {
            let misfit = Misfit::new("null-key", "no value in a column of the key");
            return Ok(Err(refused(row, name, misfit)));
        }
        let columns = &self.columns;
        let all = || columns.iter();
        let outcome = match (verb, &mut self.merge) {
            (Verb::Delete, Some((_, delete))) => {
                let key = self.key.iter().filter_map(|at| columns.get(*at));
                execute(delete, key, row).map(|rows| effect.deleted = rows)
            }
            (Verb::Merge, Some((update, _))) => match execute(update, all(), row) {
                Ok(0) => execute(&mut self.insert, all(), row).map(|rows| effect.inserted = rows),
                outcome => outcome.map(|_| effect.updated = 1),
            },
            _ => execute(&mut self.insert, all(), row).map(|rows| effect.inserted = rows),
        };
        match outcome {
            Ok(()) => Ok(Ok(effect)),
            Err(Failure::Misfit(name, misfit)) => Ok(Err(refused(row, name, misfit))),
            Err(Failure::Sqlite(error)) => self.explain(row, error).map(Err),
        }
    }

    fn missing_key(&self, row: usize) -> Option<&'a str> {
        let columns = self.key.iter().filter_map(|at| self.columns.get(*at));
        let mut missing = columns.filter(|c| matches!(c.cells.cell(row), Ok(Cell::Null)));
        missing.next().map(|column| column.name)
    }

    /// Tells a row that the table refuses from an error of the system.
    fn explain(&self, row: usize, error: rusqlite::Error) -> Result<Refused> {
        let rusqlite::Error::SqliteFailure(failure, message) = &error else {
            return Err(self.database.fail(error));
        };
        let code = match (failure.code, failure.extended_code) {
            (_, rusqlite::ffi::SQLITE_CONSTRAINT_NOTNULL) => "null-value",
            (_, rusqlite::ffi::SQLITE_CONSTRAINT_CHECK) => "check-failed",
            (_, rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => "unknown-reference",
            (
                _,
                rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                | rusqlite::ffi::SQLITE_CONSTRAINT_ROWID,
            ) => "duplicate-key",
            (_, rusqlite::ffi::SQLITE_CONSTRAINT_DATATYPE) | (ErrorCode::TypeMismatch, _) => {
                "type-mismatch"
            }
            (ErrorCode::ConstraintViolation, _) => "refused-by-target",
            (ErrorCode::TooBig, _) => "value-too-large",
            _ => return Err(self.database.fail(error)),
        };
        if self.connection.is_autocommit() {
            return Err(Error::blocked("a trigger of the table rolled the whole transaction back")
                .caused_by(error)
                .hint(
                    "Let the trigger RAISE(ABORT) instead of ROLLBACK, then only the row is lost.",
                ));
        }
        let reason = message.clone().unwrap_or_else(|| failure.to_string());
        // "NOT NULL constraint failed: table.column"; a list of columns names none of them alone.
        let column = reason
            .rsplit_once(": ")
            .filter(|(_, names)| code != "check-failed" && !names.contains(", "))
            .and_then(|(_, name)| name.rsplit_once('.'))
            .map(|(_, name)| name.to_owned());
        Ok(Refused { row, column, code: code.to_owned(), reason })
    }
}

enum Failure<'a> {
    Misfit(&'a str, Misfit),
    Sqlite(rusqlite::Error),
}

/// Binds a row and runs the statement; gives the number of rows it changed.
fn execute<'c, 'a: 'c>(
    statement: &mut Statement<'_>,
    columns: impl Iterator<Item = &'c Written<'a>>,
    row: usize,
) -> Result<u64, Failure<'a>> {
    for (at, column) in columns.enumerate() {
        let value = column
            .cells
            .cell(row)
            .and_then(|cell| bound(cell, column.affinity))
            .map_err(|misfit| Failure::Misfit(column.name, misfit))?;
        statement.raw_bind_parameter(at + 1, value).map_err(Failure::Sqlite)?;
    }
    statement.raw_execute().map(|rows| rows as u64).map_err(Failure::Sqlite)
}

/// A value as SQLite takes it without a change.
fn bound(cell: Cell<'_>, affinity: Affinity) -> Result<ToSqlOutput<'_>, Misfit> {
    let lossy = |reason| Err(Misfit::new("out-of-range", reason));
    let text = |text: String| ToSqlOutput::Owned(Value::Text(text));
    Ok(match cell {
        Cell::Null => ToSqlOutput::Owned(Value::Null),
        Cell::Bool(value) => ToSqlOutput::Owned(Value::Integer(i64::from(value))),
        Cell::Int(value) if affinity == Affinity::Double && value.unsigned_abs() > WHOLE_MAX => {
            return lossy("the column holds doubles, which cannot hold this whole number");
        }
        Cell::Int(value) => ToSqlOutput::Owned(Value::Integer(value)),
        Cell::Float(value) if !value.is_finite() => {
            return Err(Misfit::new("not-finite", "SQLite does not keep NaN and infinities"));
        }
        Cell::Float(value) => ToSqlOutput::Owned(Value::Real(value)),
        Cell::Decimal(value, _)
            if affinity != Affinity::Kept
                && value.unsigned_abs() >= 10u128.pow(NUMBER_DIGITS_MAX) =>
        {
            return lossy("the column holds numbers, which cannot hold that many digits");
        }
        Cell::Decimal(value, scale) => text(decimal_text(value, scale)),
        Cell::Text(text) if affinity != Affinity::Kept && would_change(text) => {
            let reason = "the column holds numbers and would change this text";
            return Err(Misfit::new("type-mismatch", reason));
        }
        Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Cell::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        Cell::Date(days) => text(date_text(days)?),
        Cell::Moment(micros, _) => text(moment_text(micros, ' ', false)?),
        Cell::Nested(..) => {
            let mut json = Vec::new();
            push_json(cell, &mut json)?;
            text(String::from_utf8_lossy(&json).into_owned())
        }
    })
}

/// Whether a text is read as a number that is not written the same, as `00123` is.
fn would_change(text: &str) -> bool {
    let number = text.trim().parse::<f64>().is_ok();
    number && !text.parse::<i64>().is_ok_and(|value| value.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_have_the_affinity_that_sqlite_documents() {
        for (declaration, expected) in [
            ("INTEGER", Affinity::Number),
            ("FLOATING POINT", Affinity::Number),
            ("VARCHAR(9)", Affinity::Kept),
            ("DECIMAL_TEXT(38,2)", Affinity::Kept),
            ("", Affinity::Kept),
            ("DOUBLE", Affinity::Double),
            ("DECIMAL(10,2)", Affinity::Number),
            ("TIMESTAMP", Affinity::Number),
        ] {
            assert_eq!(affinity(declaration), expected, "{declaration}");
        }
    }
}
