//! What databases say differently.

use arrow::datatypes::DataType;
use flywheel_base::{Error, Result};

use super::Dialect;

impl Dialect {
    /// The dialect of a database or driver of that name.
    pub(crate) fn named(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let known = [
            ("postgres", Self::Postgres),
            ("redshift", Self::Postgres),
            ("maria", Self::Mysql),
            ("mysql", Self::Mysql),
            ("sqlite", Self::Sqlite),
            ("duckdb", Self::Duckdb),
            ("sql server", Self::SqlServer),
            ("mssql", Self::SqlServer),
            ("oracle", Self::Oracle),
        ];
        known
            .into_iter()
            .find_map(|(word, dialect)| name.contains(word).then_some(dialect))
            .unwrap_or(Self::Standard)
    }

    /// A name as an identifier.
    pub(crate) fn quoted(self, name: &str) -> String {
        match self {
            Self::Mysql => format!("`{}`", name.replace('`', "``")),
            Self::SqlServer => format!("[{}]", name.replace(']', "]]")),
            _ => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A table's name, of which a schema may be a part.
    pub(crate) fn table(self, name: &str) -> String {
        let parts: Vec<String> = name.split('.').map(|part| self.quoted(part)).collect();
        parts.join(".")
    }

    /// Whether a statement that changes a table's columns ends the transaction.
    pub(crate) fn ends_transactions(self) -> bool {
        matches!(self, Self::Mysql | Self::Oracle)
    }

    /// The statements that set, give up and forget a point to go back to.
    pub(crate) fn savepoint(self) -> [&'static str; 2] {
        match self {
            Self::SqlServer => {
                ["SAVE TRANSACTION flywheel_row", "ROLLBACK TRANSACTION flywheel_row"]
            }
            _ => ["SAVEPOINT flywheel_row", "ROLLBACK TO SAVEPOINT flywheel_row"],
        }
    }

    /// The statement that adds a column.
    pub(crate) fn add_column(self, table: &str, column: &str, declared: &str) -> String {
        let word = match self {
            Self::SqlServer | Self::Oracle => "ADD",
            _ => "ADD COLUMN",
        };
        format!("ALTER TABLE {table} {word} {} {declared}", self.quoted(column))
    }

    /// The place of the argument `number`, from 1, as a value of a type.
    pub(crate) fn place(self, numbered: bool, number: usize, kind: &DataType) -> String {
        let place = if numbered { format!("${number}") } else { "?".to_owned() };
        let cast = match (kind, self) {
            (DataType::Decimal128(precision, scale), _) => {
                format!("DECIMAL({precision},{scale})")
            }
            // SQLite compares dates as texts.
            (DataType::Date32 | DataType::Timestamp(..), Self::Sqlite) => return place,
            (DataType::Date32, _) => "DATE".to_owned(),
            (DataType::Timestamp(..), Self::Mysql) => "DATETIME(6)".to_owned(),
            (DataType::Timestamp(..), Self::SqlServer) => "DATETIME2(6)".to_owned(),
            (DataType::Timestamp(_, Some(_)), Self::Postgres | Self::Duckdb) => {
                "TIMESTAMPTZ".to_owned()
            }
            (DataType::Timestamp(..), _) => "TIMESTAMP".to_owned(),
            _ => return place,
        };
        format!("CAST({place} AS {cast})")
    }

    /// The type of a column for values of an Arrow type; `key` says that it is part of a key.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there is none.
    pub(crate) fn declared(self, kind: &DataType, key: bool) -> Result<String> {
        Ok(match kind {
            DataType::Boolean => match self {
                Self::SqlServer => "BIT".to_owned(),
                Self::Oracle => "NUMBER(1)".to_owned(),
                _ => "BOOLEAN".to_owned(),
            },
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::UInt8
            | DataType::UInt16 => match self {
                Self::Oracle => "NUMBER(10)".to_owned(),
                _ => "INTEGER".to_owned(),
            },
            DataType::Int64 | DataType::UInt32 => match self {
                Self::Oracle => "NUMBER(19)".to_owned(),
                _ => "BIGINT".to_owned(),
            },
            DataType::UInt64 => self.declared(&DataType::Decimal128(20, 0), key)?,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => match self {
                Self::SqlServer => "FLOAT(53)".to_owned(),
                Self::Oracle => "BINARY_DOUBLE".to_owned(),
                _ => "DOUBLE PRECISION".to_owned(),
            },
            // SQLite's numbers are exact up to 15 digits.
            DataType::Decimal128(precision @ 16.., scale) if self == Self::Sqlite => {
                format!("DECIMAL_TEXT({precision},{scale})")
            }
            DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
            DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
            DataType::Timestamp(..) => match self {
                Self::Mysql => "DATETIME(6)".to_owned(),
                Self::SqlServer => "DATETIME2(6)".to_owned(),
                _ => "TIMESTAMP".to_owned(),
            },
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => match self {
                Self::Postgres => "BYTEA".to_owned(),
                Self::Mysql => "LONGBLOB".to_owned(),
                Self::SqlServer => "VARBINARY(MAX)".to_owned(),
                _ => "BLOB".to_owned(),
            },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                self.text(key).to_owned()
            }
            DataType::Dictionary(_, value) => self.declared(value, key)?,
            kind if kind.is_nested() => match self {
                Self::Sqlite => "JSON".to_owned(),
                _ => self.text(false).to_owned(),
            },
            other => {
                return Err(Error::invalid(format!("a column of type {other} has no type in SQL"))
                    .hint("Cast it to text in the sync's mapping."));
            }
        })
    }

    /// The type of texts.
    pub(crate) fn text(self, key: bool) -> &'static str {
        match (self, key) {
            (Self::Mysql, true) => "VARCHAR(255)",
            (Self::Mysql, false) => "LONGTEXT",
            (Self::SqlServer, true) => "NVARCHAR(255)",
            (Self::SqlServer, false) => "NVARCHAR(MAX)",
            (Self::Oracle, true) => "VARCHAR2(255)",
            (Self::Oracle, false) => "VARCHAR2(4000)",
            (Self::Standard, true) => "VARCHAR(255)",
            (Self::Standard, false) => "VARCHAR(4000)",
            _ => "TEXT",
        }
    }

    /// A query of all tables and views: their schemas and names.
    pub(crate) fn tables(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SELECT '' AS table_schema, name AS table_name FROM sqlite_master \
                 WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
            }
            Self::Oracle => {
                "SELECT '' AS table_schema, table_name FROM user_tables ORDER BY table_name"
            }
            _ => {
                "SELECT table_schema, table_name FROM information_schema.tables \
                 WHERE lower(table_schema) NOT IN ('information_schema', 'pg_catalog', 'mysql', \
                 'performance_schema', 'sys') ORDER BY table_schema, table_name"
            }
        }
    }

    /// A query of the columns of a table's primary key; its arguments are schema and table, or the table
    /// alone. None if the database tells it in no way that is known here.
    pub(crate) fn key(self, numbered: bool, schema: bool) -> Option<String> {
        let place = |number: usize| self.place(numbered, number, &DataType::Utf8);
        Some(match self {
            Self::Sqlite => format!(
                "SELECT name AS column_name FROM pragma_table_info({}) WHERE pk > 0 ORDER BY pk",
                place(1)
            ),
            Self::Oracle => format!(
                "SELECT c.column_name FROM user_constraints t JOIN user_cons_columns c \
                 ON c.constraint_name = t.constraint_name \
                 WHERE t.constraint_type = 'P' AND t.table_name = {} ORDER BY c.position",
                place(1)
            ),
            _ => {
                let of_schema = match (schema, self) {
                    (true, _) => format!(" AND t.table_schema = {}", place(2)),
                    (false, Self::Mysql) => " AND t.table_schema = database()".to_owned(),
                    (false, Self::Postgres | Self::Duckdb) => {
                        " AND t.table_schema = current_schema()".to_owned()
                    }
                    (false, Self::SqlServer) => " AND t.table_schema = schema_name()".to_owned(),
                    (false, _) => String::new(),
                };
                format!(
                    "SELECT k.column_name FROM information_schema.table_constraints t \
                     JOIN information_schema.key_column_usage k \
                     ON k.constraint_name = t.constraint_name \
                     AND k.table_schema = t.table_schema AND k.table_name = t.table_name \
                     WHERE t.constraint_type = 'PRIMARY KEY' AND t.table_name = {}{of_schema} \
                     ORDER BY k.ordinal_position",
                    place(1)
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_the_quotes_around_them() {
        assert_eq!(Dialect::Postgres.quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(Dialect::Mysql.quoted("a`b"), "`a``b`");
        assert_eq!(Dialect::SqlServer.quoted("a]b"), "[a]]b]");
        assert_eq!(Dialect::Standard.table("s.t"), "\"s\".\"t\"");
    }

    #[test]
    fn drivers_and_databases_are_known_by_their_names() {
        for (name, dialect) in [
            ("PostgreSQL", Dialect::Postgres),
            ("libadbc_driver_sqlite.so", Dialect::Sqlite),
            ("MariaDB", Dialect::Mysql),
            ("Microsoft SQL Server", Dialect::SqlServer),
            ("Snowflake", Dialect::Standard),
        ] {
            assert_eq!(Dialect::named(name), dialect, "{name}");
        }
    }
}
