//! What is read: a table or a query, its columns, and the key that orders it.

use flywheel_base::{Error, Result, statement, suggest};
use rusqlite::Connection;

use super::value::declared_type;
use super::{Database, SqliteStream};
use crate::column::{ColumnType, DeclaredColumn, Inference};
use crate::files::column_names;
use crate::page::Column;

/// Rows looked at to find the type of a column without declaration.
const SAMPLE_ROWS: usize = 1_000;

/// Names under which the hidden row number can be reached.
const ROWIDS: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// A table or query, ready to be read.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// Its name in messages.
    pub(super) name: String,
    /// What stands behind FROM.
    pub(super) from: String,
    /// Its columns as SQL expressions and as columns of the table they land in.
    pub(super) columns: Vec<(String, Column)>,
    /// The expressions that identify a row and order the read; none if there is no key.
    pub(super) key: Vec<String>,
    /// The columns that identify a row, without the hidden row number.
    pub(super) primary_key: Vec<String>,
    /// Whether the key is one whole number that grows with new rows.
    pub(super) growing_key: bool,
}

/// `name` as an SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

struct TableColumn {
    name: String,
    declaration: String,
    not_null: bool,
    key_place: i64,
}

impl Relation {
    /// Finds out about the table or query of a stream.
    pub(super) fn of(
        database: &Database,
        connection: &Connection,
        stream: &SqliteStream,
        declared: &[DeclaredColumn],
    ) -> Result<Self> {
        let mut relation = match (&stream.table, &stream.query) {
            (Some(table), None) => Self::table(database, connection, table, &stream.primary_key)?,
            (None, Some(query)) => Self::query(database, connection, query, &stream.primary_key)?,
            _ => {
                return Err(Error::invalid("a sqlite stream reads either a table or a query")
                    .hint("Set `table`, or `query`, not both."));
            }
        };
        for column in declared {
            let names = || relation.columns.iter().map(|(_, column)| column.name.as_str());
            if !names().any(|name| name == column.name) {
                if column.may_be_gone() {
                    continue;
                }
                let hint = suggest::hint(&column.name, names().collect::<Vec<_>>());
                return Err(Error::invalid(format!(
                    "{} has no column \"{}\"",
                    relation.name, column.name
                ))
                .hint(hint));
            }
            for (_, known) in &mut relation.columns {
                if known.name == column.name {
                    *known = Column::declared(column);
                }
            }
        }
        Ok(relation)
    }

    fn table(
        database: &Database,
        connection: &Connection,
        table: &str,
        wanted_key: &[String],
    ) -> Result<Self> {
        let fail = |error| database.fail(error);
        let sql =
            "SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1";
        let mut statement = connection.prepare(sql).map_err(fail)?;
        let rows = statement.query_map([table], |row| {
            Ok(TableColumn {
                name: row.get(0)?,
                declaration: row.get(1)?,
                not_null: row.get(2)?,
                key_place: row.get(3)?,
            })
        });
        let columns: Vec<TableColumn> =
            rows.and_then(Iterator::collect).map_err(|error| database.fail(error))?;
        if columns.is_empty() {
            return Err(no_table(database, connection, table)?);
        }
        let from = quoted(table);
        let view = table_kind(database, connection, table)? == "view";
        // For an expression of a view SQLite answers BLOB, whatever its values are.
        let declared = |column: &&TableColumn| !(view && column.declaration == "BLOB");
        let kinds = columns.iter().map(|column| {
            Some(column).filter(declared).and_then(|column| declared_type(&column.declaration))
        });
        let kinds = kinds.collect();
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let found = land(database, connection, &from, &names, kinds)?;
        let mut relation = Self {
            name: format!("table \"{table}\""),
            from,
            columns: found,
            key: Vec::new(),
            primary_key: Vec::new(),
            growing_key: false,
        };
        relation.find_key(connection, view, &columns);
        relation.choose_key(wanted_key)?;
        Ok(relation)
    }

    /// The primary key if its values are never missing, else the hidden row number.
    fn find_key(&mut self, connection: &Connection, view: bool, columns: &[TableColumn]) {
        let mut key: Vec<&TableColumn> = columns.iter().filter(|c| c.key_place > 0).collect();
        key.sort_by_key(|column| column.key_place);
        self.primary_key = key.iter().map(|column| column.name.clone()).collect();
        let expressions: Vec<String> = key.iter().map(|column| quoted(&column.name)).collect();
        let rowid = ROWIDS.iter().find(|rowid| {
            let taken = columns.iter().any(|column| column.name.eq_ignore_ascii_case(rowid));
            !taken && probe(connection, &format!("SELECT {rowid} FROM {} LIMIT 0", self.from))
        });
        let alias = match key.as_slice() {
            [only] => only.declaration.eq_ignore_ascii_case("INTEGER") && rowid.is_some(),
            _ => false,
        };
        if alias {
            self.growing_key = true;
            self.key = expressions;
        } else if !key.is_empty() && (rowid.is_none() || key.iter().all(|c| c.not_null)) {
            self.key = expressions;
        } else if let Some(rowid) = rowid.filter(|_| !view) {
            self.key = vec![(*rowid).to_owned()];
        }
    }

    fn query(
        database: &Database,
        connection: &Connection,
        query: &str,
        wanted_key: &[String],
    ) -> Result<Self> {
        // The line break ends a comment at the end of the query.
        let from = format!("({}\n)", statement::bare(query));
        let sql = format!("SELECT * FROM {from} LIMIT 0");
        let statement = connection.prepare(&sql).map_err(|error| {
            database
                .fail(error)
                .context("the query of the stream")
                .hint("The query has to be one SELECT; try it in the sqlite3 shell.")
        })?;
        let columns: Vec<_> = statement.columns().collect();
        let kinds = columns.iter().map(|c| c.decl_type().and_then(declared_type)).collect();
        let names: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
        let found = land(database, connection, &from, &names, kinds)?;
        let mut relation = Self {
            name: "the query".to_owned(),
            from,
            columns: found,
            key: Vec::new(),
            primary_key: Vec::new(),
            growing_key: false,
        };
        relation.choose_key(wanted_key)?;
        Ok(relation)
    }

    /// Takes the key that the stream declares, if it does.
    fn choose_key(&mut self, wanted: &[String]) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.key = wanted.iter().map(|name| self.column(name)).collect::<Result<_>>()?;
        self.primary_key = wanted.to_vec();
        self.growing_key = false;
        Ok(())
    }

    /// The SQL expression of a column.
    pub(super) fn column(&self, name: &str) -> Result<String> {
        let found = self.columns.iter().find(|(_, column)| column.name == name);
        found.map(|(expression, _)| expression.clone()).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|(_, c)| c.name.as_str()).collect();
            Error::not_found(format!("{} has no column \"{name}\"", self.name))
                .hint(suggest::hint(name, names))
        })
    }
}

/// The columns with the types they land in; values tell where no declaration does.
fn land(
    database: &Database,
    connection: &Connection,
    from: &str,
    names: &[String],
    kinds: Vec<Option<ColumnType>>,
) -> Result<Vec<(String, Column)>> {
    let mut inferences: Vec<Inference> = names.iter().map(|_| Inference::default()).collect();
    if kinds.iter().any(Option::is_none) {
        let list = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {list} FROM {from} LIMIT {SAMPLE_ROWS}");
        let mut statement = connection.prepare(&sql).map_err(|error| database.fail(error))?;
        let mut rows = statement.query([]).map_err(|error| database.fail(error))?;
        while let Some(row) = rows.next().map_err(|error| database.fail(error))? {
            for (at, inference) in inferences.iter_mut().enumerate() {
                let value = row.get_ref(at).map_err(|error| database.fail(error))?;
                inference.see(super::value::kind(value));
            }
        }
    }
    let landed = column_names(names);
    let columns = names.iter().zip(landed).zip(kinds).zip(inferences);
    Ok(columns
        .map(|(((name, landed), kind), inference)| {
            let kind = kind.unwrap_or_else(|| inference.resolve());
            (quoted(name), Column::inferred(landed, kind))
        })
        .collect())
}

/// Whether a statement can be prepared.
fn probe(connection: &Connection, sql: &str) -> bool {
    connection.prepare(sql).is_ok()
}

fn table_kind(database: &Database, connection: &Connection, table: &str) -> Result<String> {
    let sql = "SELECT coalesce(max(type), '') FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE \
               AND type IN ('table', 'view')";
    connection.query_row(sql, [table], |row| row.get(0)).map_err(|error| database.fail(error))
}

/// The tables and views of a database, without those in which a destination keeps its state.
pub(super) fn tables(database: &Database, connection: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
               AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
               AND name NOT LIKE '\\_flywheel\\_%' ESCAPE '\\' ORDER BY name";
    let mut statement = connection.prepare(sql).map_err(|error| database.fail(error))?;
    let rows = statement.query_map([], |row| row.get(0));
    rows.and_then(Iterator::collect).map_err(|error| database.fail(error))
}

fn no_table(database: &Database, connection: &Connection, table: &str) -> Result<Error> {
    let names = tables(database, connection)?;
    Ok(Error::not_found(format!("there is no table \"{table}\" in {}", database.name))
        .hint(suggest::hint(table, names.iter().map(String::as_str))))
}
