//! Tables as they are and as rows need them: columns, keys, declarations, and copies of a table.

use arrow::datatypes::{DataType, Schema};
use flywheel_base::{Error, Result};
use rusqlite::{Connection, OptionalExtension as _};

use crate::source::sqlite::{Database, quoted};

/// Digits that SQLite's numbers keep.
const NUMBER_DIGITS_MAX: u8 = 15;

/// A table of the database.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// Its columns that can be written.
    pub(super) columns: Vec<String>,
    /// Its columns that SQLite computes.
    computed: Vec<String>,
}

impl Table {
    /// Looks at a table; none if there is no such table.
    pub(super) fn load(
        database: &Database,
        connection: &Connection,
        name: &str,
    ) -> Result<Option<Self>> {
        let fail = |error| database.fail(error);
        let kind: Option<String> = connection
            .query_row(
                "SELECT type FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE \
                 AND type IN ('table', 'view')",
                [name],
                |row| row.get(0),
            )
            .optional()
            .map_err(fail)?;
        match kind.as_deref() {
            None => return Ok(None),
            Some("view") => {
                return Err(Error::invalid(format!("\"{name}\" in {} is a view", database.name))
                    .hint("Write into a table."));
            }
            Some(_) => {}
        }
        let of = |sql: &str| names(connection, sql, name).map_err(fail);
        let columns = of("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0")?;
        let computed = of("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden IN (2, 3)")?;
        Ok(Some(Self { name: name.to_owned(), columns, computed }))
    }

    /// Whether SQLite computes the column, so that it takes no value.
    pub(super) fn computes(&self, column: &str) -> bool {
        self.computed.iter().any(|known| known.eq_ignore_ascii_case(column))
    }

    /// Whether it has the column, which SQLite compares without case.
    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.eq_ignore_ascii_case(column))
    }

    /// Proves that the key identifies one row: by the primary key or a unique index over just it.
    pub(super) fn check_key(
        &self,
        database: &Database,
        connection: &Connection,
        key: &[String],
    ) -> Result<()> {
        let fail = |error| database.fail(error);
        let sql = "SELECT name FROM pragma_table_info(?1) WHERE pk > 0";
        let mut keys = vec![names(connection, sql, &self.name).map_err(fail)?];
        let sql = "SELECT name FROM pragma_index_list(?1) WHERE \"unique\" AND NOT partial";
        for index in names(connection, sql, &self.name).map_err(fail)? {
            let sql = "SELECT coalesce(name, '') FROM pragma_index_info(?1)";
            keys.push(names(connection, sql, &index).map_err(fail)?);
        }
        let sorted = |names: &[String]| {
            let mut names: Vec<String> =
                names.iter().map(|name| name.to_ascii_lowercase()).collect();
            names.sort();
            names
        };
        let wanted = sorted(key);
        if keys.iter().any(|known| sorted(known) == wanted) {
            return Ok(());
        }
        let list = key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let name = &self.name;
        Err(Error::invalid(format!("the table \"{name}\" is not unique by {list}")).hint(format!(
            "Run CREATE UNIQUE INDEX {} ON {} ({list}), or choose another key.",
            quoted(&format!("{name}_key")),
            quoted(name)
        )))
    }
}

fn names(connection: &Connection, sql: &str, of: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    statement.query_map([of], |row| row.get(0))?.collect()
}

/// How a column of that type is declared.
pub(super) fn declaration(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => "INTEGER".to_owned(),
        DataType::UInt64 => "DECIMAL_TEXT(20,0)".to_owned(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "REAL".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => {
            let word = if is_number(*precision) { "DECIMAL" } else { "DECIMAL_TEXT" };
            // A scale below 0 means zeros before the point.
            let zeros = u8::try_from(-i16::from(*scale)).unwrap_or(0);
            format!("{word}({},{})", precision.saturating_add(zeros), (*scale).max(0))
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "BLOB".to_owned(),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::Dictionary(_, value) => declaration(value),
        nested if nested.is_nested() => "JSON".to_owned(),
        _ => "TEXT".to_owned(),
    }
}

/// Whether decimals of that many digits are stored as numbers.
fn is_number(precision: u8) -> bool {
    precision <= NUMBER_DIGITS_MAX
}

/// The statement that creates a table for rows of a schema.
pub(super) fn create(name: &str, schema: &Schema, key: &[String]) -> String {
    let mut parts = Vec::with_capacity(schema.fields().len() + 1);
    for field in schema.fields() {
        let declared = declaration(field.data_type());
        let not_null = if key.contains(field.name()) { " NOT NULL" } else { "" };
        parts.push(format!("{} {declared}{not_null}", quoted(field.name())));
    }
    if !key.is_empty() {
        let key = key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        parts.push(format!("PRIMARY KEY ({key})"));
    }
    format!("CREATE TABLE {} ({})", quoted(name), parts.join(", "))
}

/// The statement that created `table`, for a table of another name: constraints, defaults and all.
pub(super) fn create_like(
    database: &Database,
    connection: &Connection,
    table: &str,
    name: &str,
) -> Result<String> {
    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
    let found: String = connection
        .query_row(sql, [table], |row| row.get(0))
        .map_err(|error| database.fail(error))?;
    let rest = found.strip_prefix("CREATE TABLE ").and_then(behind_name).ok_or_else(|| {
        Error::invalid(format!("the table \"{table}\" in {} is virtual", database.name))
            .hint("Write with mode append or merge, or into a plain table.")
    })?;
    Ok(format!("CREATE TABLE {}{rest}", quoted(name)))
}

/// What stands behind the identifier that a text begins with.
fn behind_name(text: &str) -> Option<&str> {
    let close = match text.as_bytes().first()? {
        b'"' => '"',
        b'`' => '`',
        b'\'' => '\'',
        b'[' => ']',
        _ => {
            let end = text.find(|char: char| char.is_ascii_whitespace() || char == '(')?;
            return text.get(end..);
        }
    };
    let mut at = 1;
    loop {
        let found = at + text.get(at..)?.find(close)?;
        // A doubled sign stands for itself, except for the bracket.
        if close != ']' && text.get(found + 1..)?.starts_with(close) {
            at = found + 2;
            continue;
        }
        return text.get(found + 1..);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_a_statement_ends_where_sqlite_ends_it() {
        for (text, rest) in [
            ("t(a)", "(a)"),
            ("t (a)", " (a)"),
            ("\"a \"\"b\"(c)", "(c)"),
            ("[x\"y](c)", "(c)"),
            ("`a``b` (c)", " (c)"),
        ] {
            assert_eq!(behind_name(text), Some(rest), "{text}");
        }
        assert_eq!(behind_name("\"open"), None);
    }

    #[test]
    fn wide_decimals_are_not_left_to_numbers() {
        assert_eq!(declaration(&DataType::Decimal128(15, 2)), "DECIMAL(15,2)");
        assert_eq!(declaration(&DataType::Decimal128(16, 2)), "DECIMAL_TEXT(16,2)");
        assert_eq!(declaration(&DataType::UInt64), "DECIMAL_TEXT(20,0)");
    }
}
