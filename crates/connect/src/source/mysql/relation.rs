//! What is read: a table or a query, its columns, and the key that orders it.

use flywheel_base::{Error, ErrorKind, Result, statement, suggest};

use super::MySqlStream;
use super::connection::{Connection, Server, quoted};
use super::value::{self, Wire};
use crate::column::{ColumnType, DeclaredColumn};
use crate::files::column_names;
use crate::page::Column;

/// A column of a relation.
#[derive(Clone, Debug)]
pub(super) struct SourceColumn {
    /// Its quoted name on the server.
    pub(super) sql: String,
    /// What the server sends.
    pub(super) wire: Wire,
    /// The column it lands in.
    pub(super) column: Column,
}

/// A table or query, ready to be read.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// Its name in messages.
    pub(super) name: String,
    /// What stands behind FROM.
    pub(super) from: String,
    /// The condition that the stream sets.
    pub(super) condition: Option<String>,
    /// Its columns.
    pub(super) columns: Vec<SourceColumn>,
    /// The columns that identify a row and order the read; none if there is no key.
    pub(super) key: Vec<usize>,
    /// The names of the key's columns.
    pub(super) primary_key: Vec<String>,
    /// Whether the key is one whole number that grows with new rows.
    pub(super) growing_key: bool,
    /// About how many rows there are.
    pub(super) rows: Option<u64>,
    /// About how many bytes they take.
    pub(super) bytes: Option<u64>,
}

impl Relation {
    /// Finds out about the table or query of a stream.
    pub(super) async fn of(
        connection: &mut Connection,
        server: &Server,
        stream: &MySqlStream,
        declared: &[DeclaredColumn],
    ) -> Result<Self> {
        let mut relation = match (&stream.table, &stream.query) {
            (Some(table), None) => Self::table(connection, server, stream, table).await?,
            (None, Some(_)) if stream.condition.is_some() => {
                return Err(Error::invalid("a mysql stream has a query and a condition")
                    .hint("Write the condition into the query, or set `table` instead."));
            }
            (None, Some(query)) => Self::query(connection, query).await?,
            _ => {
                return Err(Error::invalid("a mysql stream reads either a table or a query")
                    .hint("Set `table`, or `query`, not both."));
            }
        };
        // A column that is declared and not there is not a table that is not there.
        let wrong = |error: Error| {
            let hint = error.hint_text().unwrap_or_default().to_owned();
            Error::invalid(error.message().to_owned()).hint(hint)
        };
        if !stream.primary_key.is_empty() {
            let wanted = stream.primary_key.iter().map(|name| relation.place(name));
            relation.key = wanted.collect::<Result<Vec<usize>>>().map_err(wrong)?;
            relation.primary_key.clone_from(&stream.primary_key);
            relation.growing_key = false;
        }
        for place in &relation.key {
            relation.order(*place)?;
        }
        for column in declared {
            let place = match relation.place(&column.name) {
                Ok(place) => place,
                Err(_) if column.may_be_gone() => continue,
                Err(error) => return Err(wrong(error)),
            };
            if let Some(known) = relation.columns.get_mut(place) {
                known.column = Column::declared(column);
            }
        }
        Ok(relation)
    }

    async fn table(
        connection: &mut Connection,
        server: &Server,
        stream: &MySqlStream,
        table: &str,
    ) -> Result<Self> {
        let database = match &stream.database {
            Some(database) => database,
            None => server.database()?,
        };
        let from = format!("{}.{}", quoted(database), quoted(table));
        // `*` leaves out what is invisible, which the log has and which is lost in no copy.
        let hidden = invisible(connection, database, table).await?;
        let hidden: String = hidden.iter().map(|name| format!(", {}", quoted(name))).collect();
        let found = connection.columns(&format!("SELECT *{hidden} FROM {from} LIMIT 0")).await;
        let columns = match found {
            Ok(columns) => columns,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let names = tables(connection, database).await?;
                return Err(Error::not_found(format!(
                    "there is no table \"{table}\" in the database \"{database}\" of {}",
                    server.name()
                ))
                .caused_by(error)
                .hint(suggest::hint(table, names.iter().map(String::as_str))));
            }
            Err(error) => return Err(error.context(format!("table \"{table}\""))),
        };
        let mut relation = Self::new(format!("table \"{table}\""), from, &columns);
        relation.condition.clone_from(&stream.condition);
        relation.size(connection, database, table).await?;
        relation.find_key(connection, database, table).await?;
        relation.find_json(connection, database, table).await?;
        relation.find_bare(connection, database, table).await?;
        Ok(relation)
    }

    async fn query(connection: &mut Connection, query: &str) -> Result<Self> {
        // The line break ends a comment at the end of the query.
        let from = format!("({}\n) AS q", statement::bare_mysql(query));
        let sql = format!("SELECT * FROM {from} LIMIT 0");
        let columns = connection.columns(&sql).await.map_err(|error| {
            let error = error.context("the query of the stream");
            if error.kind() == ErrorKind::Invalid {
                return error.hint(
                    "The query has to be one SELECT with a name of its own for every column; try it in the `mysql` shell.",
                );
            }
            error
        })?;
        Ok(Self::new("the query".to_owned(), from, &columns))
    }

    fn new(name: String, from: String, columns: &[mysql_async::Column]) -> Self {
        let names: Vec<String> = columns.iter().map(|c| c.name_str().into_owned()).collect();
        let landed = column_names(&names);
        let columns = columns.iter().zip(&names).zip(landed).map(|((column, name), landed)| {
            let (wire, kind) = value::typed(column);
            SourceColumn { sql: quoted(name), wire, column: Column::inferred(landed, kind) }
        });
        Self {
            name,
            from,
            condition: None,
            columns: columns.collect(),
            key: Vec::new(),
            primary_key: Vec::new(),
            growing_key: false,
            rows: None,
            bytes: None,
        }
    }

    /// What the server keeps about the table's size.
    async fn size(
        &mut self,
        connection: &mut Connection,
        database: &str,
        table: &str,
    ) -> Result<()> {
        let sql = "SELECT TABLE_ROWS, DATA_LENGTH FROM information_schema.TABLES \
                   WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
        let found: Option<(Option<u64>, Option<u64>)> =
            connection.first(sql, (database, table)).await?;
        (self.rows, self.bytes) = found.unwrap_or_default();
        Ok(())
    }

    /// The primary key, or else the first unique index whose columns are never missing.
    async fn find_key(
        &mut self,
        connection: &mut Connection,
        database: &str,
        table: &str,
    ) -> Result<()> {
        let sql = "SELECT s.INDEX_NAME, s.COLUMN_NAME, s.NULLABLE = 'YES', \
                     coalesce(c.EXTRA LIKE '%auto_increment%', 0) \
                   FROM information_schema.STATISTICS s LEFT JOIN information_schema.COLUMNS c \
                     ON c.TABLE_SCHEMA = s.TABLE_SCHEMA AND c.TABLE_NAME = s.TABLE_NAME \
                     AND c.COLUMN_NAME = s.COLUMN_NAME \
                   WHERE s.TABLE_SCHEMA = ? AND s.TABLE_NAME = ? AND s.NON_UNIQUE = 0 \
                   ORDER BY s.INDEX_NAME = 'PRIMARY' DESC, s.INDEX_NAME, s.SEQ_IN_INDEX";
        let parts: Vec<(String, Option<String>, bool, bool)> =
            connection.all(sql, (database, table)).await?;
        for index in parts.chunk_by(|a, b| a.0 == b.0) {
            let places: Option<Vec<usize>> = index
                .iter()
                .map(|(_, column, nullable, _)| {
                    let place = self.place(column.as_deref()?).ok()?;
                    (!nullable && self.order(place).is_ok()).then_some(place)
                })
                .collect();
            let Some(places) = places else { continue };
            let names = index.iter().filter_map(|(_, column, ..)| column.clone());
            self.primary_key = names.collect();
            self.growing_key = matches!(index, [(_, _, _, true)]);
            self.key = places;
            return Ok(());
        }
        Ok(())
    }

    /// MariaDB's `JSON` is a text with a check.
    async fn find_json(
        &mut self,
        connection: &mut Connection,
        database: &str,
        table: &str,
    ) -> Result<()> {
        if !connection.mariadb {
            return Ok(());
        }
        let sql = "SELECT CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS \
                   WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ?";
        let checks: Vec<(String, String)> = connection.all(sql, (database, table)).await?;
        for (name, clause) in checks {
            let checked = clause == format!("json_valid({})", quoted(&name));
            let column = self.columns.iter_mut().find(|c| checked && c.column.name == name);
            if let Some(column) = column.filter(|column| column.wire == Wire::Text) {
                column.wire = Wire::Json;
                column.column = Column::inferred(name, ColumnType::Json);
            }
        }
        Ok(())
    }

    /// Columns that MariaDB prints as text and has as bytes in its log.
    async fn find_bare(
        &mut self,
        connection: &mut Connection,
        database: &str,
        table: &str,
    ) -> Result<()> {
        if !connection.mariadb {
            return Ok(());
        }
        let sql = "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS \
                   WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? \
                   AND DATA_TYPE IN ('uuid', 'inet4', 'inet6')";
        let found: Vec<(String, String)> = connection.all(sql, (database, table)).await?;
        for (name, kind) in found {
            let wire = match kind.to_ascii_lowercase().as_str() {
                "uuid" => Wire::Uuid,
                "inet4" => Wire::Inet4,
                "inet6" => Wire::Inet6,
                _ => continue,
            };
            let column = self.columns.iter_mut().find(|c| c.column.name == name);
            if let Some(column) = column.filter(|column| column.wire == Wire::Text) {
                column.wire = wire;
            }
        }
        Ok(())
    }

    /// Where a column stands.
    pub(super) fn place(&self, name: &str) -> Result<usize> {
        let found = self.columns.iter().position(|column| column.column.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|c| c.column.name.as_str()).collect();
            Error::not_found(format!("{} has no column \"{name}\"", self.name))
                .hint(suggest::hint(name, names))
        })
    }

    /// The expression that orders by a column as the server compares it.
    pub(super) fn order(&self, place: usize) -> Result<Order> {
        let column = self.columns.get(place).ok_or_else(|| Error::internal("no such column"))?;
        let sql = match column.wire {
            Wire::Json | Wire::Geometry => {
                return Err(Error::invalid(format!(
                    "{} cannot be ordered by its column \"{}\"",
                    self.name, column.column.name
                ))
                .hint("Follow a column of numbers, texts, dates or times."));
            }
            Wire::Choice | Wire::Bit => format!("CAST({} AS UNSIGNED)", column.sql),
            _ => column.sql.clone(),
        };
        Ok(Order { sql, wire: column.wire })
    }
}

/// An expression that orders a read.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The expression.
    pub(super) sql: String,
    /// What the server sends for the column it is made of.
    pub(super) wire: Wire,
}

/// The names of a table's invisible columns, in their order; those that the server keeps for itself are not told.
async fn invisible(
    connection: &mut Connection,
    database: &str,
    table: &str,
) -> Result<Vec<String>> {
    let sql = "SELECT COLUMN_NAME FROM information_schema.COLUMNS \
               WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND EXTRA LIKE '%INVISIBLE%' \
               ORDER BY ORDINAL_POSITION";
    connection.all(sql, (database, table)).await
}

/// The tables and views of a database that the user may see.
pub(super) async fn tables(connection: &mut Connection, database: &str) -> Result<Vec<String>> {
    let sql = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? \
               AND TABLE_TYPE IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') ORDER BY TABLE_NAME";
    connection.all(sql, (database,)).await
}

/// The columns of a database that the server computes, with their tables.
pub(super) async fn computed(
    connection: &mut Connection,
    database: &str,
) -> Result<Vec<(String, String)>> {
    let sql = "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS \
               WHERE TABLE_SCHEMA = ? AND (EXTRA LIKE '%VIRTUAL%' OR EXTRA LIKE '%STORED%' \
                 OR EXTRA LIKE '%PERSISTENT%') ORDER BY TABLE_NAME, ORDINAL_POSITION";
    connection.all(sql, (database,)).await
}

/// The names of a database's tables that keep rows of the past.
pub(super) async fn versioned(connection: &mut Connection, database: &str) -> Result<Vec<String>> {
    let sql = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? \
               AND TABLE_TYPE = 'SYSTEM VERSIONED' ORDER BY TABLE_NAME";
    connection.all(sql, (database,)).await
}
