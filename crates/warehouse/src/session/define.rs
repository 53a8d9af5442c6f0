//! Statements that make, change, rename and remove schemas, views and tables: what they ask for.
//!
//! Only [`Session::alter`] does something here, because columns are the lake's own business. Which names
//! there are, and whose they are, is known above.

use datafusion::common::TableReference;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ColumnDef, ColumnOption, CreateView,
    DataType, ObjectName, ObjectType, RenameTableNameKind, SchemaName, Statement as Sql,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use flywheel_base::{Error, ErrorKind, Result};

use super::edit::lower::target::{normal, quoted};
use super::{Entry, Session, check_chains};
use crate::TableName;
use crate::engine::CATALOG;
use crate::failure::from_engine;
use crate::lane::unknown_column;
use crate::write::{Commit, Write, WriteMode};

/// What a statement asks to be made, changed or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Definition {
    /// `CREATE SCHEMA`.
    CreateSchema {
        /// Its name.
        schema: String,
        /// Whether one that is there is left alone.
        or_nothing: bool,
    },
    /// `DROP SCHEMA`.
    DropSchema {
        /// Its name.
        schema: String,
        /// Whether it may be missing.
        if_exists: bool,
        /// Whether what is in it goes, too.
        cascade: bool,
    },
    /// `CREATE VIEW`.
    CreateView {
        /// Its name.
        name: TableName,
        /// Its query.
        sql: String,
        /// Whether it takes the place of a view of its name.
        or_replace: bool,
        /// Whether a view that is there is left alone.
        or_nothing: bool,
    },
    /// `DROP TABLE` or `DROP VIEW`.
    Drop {
        /// Its name.
        name: TableName,
        /// Whether it has to be a view; else it has to be a table.
        view: bool,
        /// Whether it may be missing.
        if_exists: bool,
    },
    /// `ALTER TABLE … RENAME TO`, also of a view.
    Rename {
        /// What it is called.
        from: TableName,
        /// What it shall be called.
        to: TableName,
    },
    /// `ALTER TABLE` of columns.
    Alter {
        /// The table.
        name: TableName,
        /// What becomes of its columns, in this order.
        changes: Vec<ColumnChange>,
    },
}

/// What becomes of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnChange {
    /// It is new; rows that are there have NULL.
    Add {
        /// Its name.
        column: String,
        /// Its type, as SQL has it.
        sql_type: String,
        /// Whether one of that name is left alone.
        or_nothing: bool,
    },
    /// It goes.
    Drop {
        /// Its name.
        column: String,
        /// Whether it may be missing.
        if_exists: bool,
    },
    /// It gets another type.
    Retype {
        /// Its name.
        column: String,
        /// Its type, as SQL has it.
        sql_type: String,
    },
    /// It gets another name.
    Rename {
        /// Its name.
        column: String,
        /// What it shall be called.
        to: String,
    },
}

/// Whether `sql` is a statement that makes, changes or removes a schema, a view or a table's columns, or
/// removes or renames a table. What cannot be parsed is none.
#[must_use]
pub fn is_definition(sql: &str) -> bool {
    if check_chains(sql).is_err() {
        return false;
    }
    let parsed = DFParser::parse_sql_with_dialect(sql, &GenericDialect {});
    parsed.is_ok_and(|statements| statements.iter().any(defines))
}

/// Whether a parsed statement is such a one.
pub(super) fn defines(statement: &Statement) -> bool {
    let Statement::Statement(sql) = statement else { return false };
    matches!(
        sql.as_ref(),
        Sql::CreateSchema { .. }
            | Sql::CreateView(_)
            | Sql::AlterTable(_)
            | Sql::Drop {
                object_type: ObjectType::Schema | ObjectType::Table | ObjectType::View,
                ..
            }
    )
}

impl Definition {
    /// Takes one statement apart. Nothing is done.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is none, several, or has a form that is not supported.
    pub fn parse(sql: &str) -> Result<Self> {
        check_chains(sql)?;
        let parsed = DFParser::parse_sql_with_dialect(sql, &GenericDialect {});
        let mut statements = parsed.map_err(from_engine)?;
        let (Some(Statement::Statement(statement)), None) =
            (statements.pop_front(), statements.pop_front())
        else {
            return Err(Error::invalid("this is not one statement")
                .hint("Send one statement at a time, such as CREATE VIEW or DROP TABLE."));
        };
        match *statement {
            Sql::CreateSchema { schema_name, if_not_exists, with, options, .. } => {
                let SchemaName::Simple(name) = schema_name else {
                    return Err(refused("AUTHORIZATION", "Users and roles are the server's."));
                };
                if with.is_some() || options.is_some() {
                    return Err(refused("a schema with options", "Write CREATE SCHEMA name."));
                }
                Ok(Self::CreateSchema { schema: schema(&name)?, or_nothing: if_not_exists })
            }
            Sql::CreateView(view) => created_view(&view),
            Sql::AlterTable(alter) => altered(alter),
            Sql::Drop { object_type, if_exists, names, cascade, temporary, .. } => {
                let [name] = names.as_slice() else {
                    return Err(refused("DROP of several things", "Drop one at a time."));
                };
                if temporary {
                    return Err(refused("a temporary table", "Tables here are there for all."));
                }
                match object_type {
                    ObjectType::Schema => {
                        Ok(Self::DropSchema { schema: schema(name)?, if_exists, cascade })
                    }
                    ObjectType::Table | ObjectType::View => Ok(Self::Drop {
                        name: full(name)?,
                        view: object_type == ObjectType::View,
                        if_exists,
                    }),
                    other => Err(refused(format!("DROP {other}"), "Drop a schema, view or table.")),
                }
            }
            other => {
                let text = other.to_string();
                let word = text.split_whitespace().next().unwrap_or("this").to_uppercase();
                Err(Error::invalid(format!("{word} defines nothing here")).hint(
                    "Write CREATE SCHEMA, CREATE VIEW, ALTER TABLE, or DROP of a schema, view or table.",
                ))
            }
        }
    }

    /// Its first words, for messages and records.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::CreateSchema { .. } => "create schema",
            Self::DropSchema { .. } => "drop schema",
            Self::CreateView { .. } => "create view",
            Self::Drop { view: true, .. } => "drop view",
            Self::Drop { view: false, .. } => "drop table",
            Self::Rename { .. } => "rename",
            Self::Alter { .. } => "alter table",
        }
    }

    /// What it is about: `schema` or `schema.name`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::CreateSchema { schema, .. } | Self::DropSchema { schema, .. } => schema.clone(),
            Self::CreateView { name, .. } | Self::Drop { name, .. } | Self::Alter { name, .. } => {
                name.to_string()
            }
            Self::Rename { from, .. } => from.to_string(),
        }
    }
}

fn refused(what: impl std::fmt::Display, hint: &str) -> Error {
    Error::invalid(format!("{what} is not supported")).hint(hint)
}

/// A name with its schema.
pub(super) fn full(name: &ObjectName) -> Result<TableName> {
    let reference = object_name_to_table_reference(name.clone(), true).map_err(from_engine)?;
    named(&reference)
}

/// A name with its schema, in the only catalog there is.
pub(super) fn named(reference: &TableReference) -> Result<TableName> {
    let ours = reference.catalog().is_none_or(|catalog| catalog == CATALOG);
    match reference.schema() {
        Some(schema) if ours => Ok(TableName::new(schema, reference.table())),
        Some(_) => Err(Error::invalid(format!("\"{reference}\" names another database"))
            .hint(format!("Leave the database out, or write {CATALOG}."))),
        None => Err(Error::invalid(format!("table \"{reference}\" has no schema"))
            .hint("Write schema.name, for example raw.corrections.")),
    }
}

fn schema(name: &ObjectName) -> Result<String> {
    // Read as a table of a database, a schema's name has the same two forms.
    match object_name_to_table_reference(name.clone(), true).map_err(from_engine)? {
        TableReference::Bare { table } => Ok(table.to_string()),
        TableReference::Partial { schema, table } if schema.as_ref() == CATALOG => {
            Ok(table.to_string())
        }
        other => Err(Error::invalid(format!("\"{other}\" is no schema"))
            .hint("Write one name, for example analytics.")),
    }
}

fn created_view(view: &CreateView) -> Result<Definition> {
    if view.materialized {
        return Err(refused("a materialized view", "Make a table: CREATE TABLE … AS SELECT …."));
    }
    let special = view.or_alter
        || view.secure
        || view.temporary
        || view.with_no_schema_binding
        || view.copy_grants
        || view.comment.is_some()
        || view.to.is_some()
        || view.params.is_some()
        || !view.columns.is_empty()
        || !view.cluster_by.is_empty();
    if special {
        return Err(refused(
            "this form of CREATE VIEW",
            "Write CREATE [OR REPLACE] VIEW schema.name AS SELECT …, and name columns in the query.",
        ));
    }
    if view.or_replace && view.if_not_exists {
        return Err(refused("OR REPLACE with IF NOT EXISTS", "Choose one of both."));
    }
    Ok(Definition::CreateView {
        name: full(&view.name)?,
        sql: view.query.to_string(),
        or_replace: view.or_replace,
        or_nothing: view.if_not_exists,
    })
}

fn altered(alter: AlterTable) -> Result<Definition> {
    if alter.if_exists || alter.only || alter.location.is_some() || alter.on_cluster.is_some() {
        return Err(refused("this form of ALTER TABLE", "Write ALTER TABLE schema.name …."));
    }
    let name = full(&alter.name)?;
    if let [AlterTableOperation::RenameTable { table_name }] = alter.operations.as_slice() {
        let (RenameTableNameKind::As(to) | RenameTableNameKind::To(to)) = table_name;
        // As elsewhere, a name without a schema stays in the schema.
        let to = match object_name_to_table_reference(to.clone(), true).map_err(from_engine)? {
            TableReference::Bare { table } => TableName::new(&name.schema, table.as_ref()),
            other => named(&other)?,
        };
        return Ok(Definition::Rename { from: name, to });
    }
    let mut changes = Vec::with_capacity(alter.operations.len());
    for operation in alter.operations {
        match operation {
            AlterTableOperation::AddColumn {
                if_not_exists,
                column_def,
                column_position: None,
                ..
            } => changes.push(ColumnChange::Add {
                column: column_of(&column_def)?,
                sql_type: type_of(&column_def.data_type)?,
                or_nothing: if_not_exists,
            }),
            AlterTableOperation::DropColumn { column_names, if_exists, .. } => {
                changes.extend(
                    column_names
                        .iter()
                        .map(|column| ColumnChange::Drop { column: normal(column), if_exists }),
                );
            }
            AlterTableOperation::AlterColumn {
                column_name,
                op: AlterColumnOperation::SetDataType { data_type, using: None, .. },
            } => changes.push(ColumnChange::Retype {
                column: normal(&column_name),
                sql_type: type_of(&data_type)?,
            }),
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                changes.push(ColumnChange::Rename {
                    column: normal(&old_column_name),
                    to: normal(&new_column_name),
                });
            }
            other => {
                return Err(refused(
                    format!("ALTER TABLE … {other}"),
                    "Write ADD COLUMN, DROP COLUMN, RENAME COLUMN, ALTER COLUMN … TYPE, or RENAME TO.",
                ));
            }
        }
    }
    Ok(Definition::Alter { name, changes })
}

/// A type as SQL has it. It becomes part of a query, so it has to mean there what it meant here: some types carry
/// texts between their brackets, which could end the type and go on with anything.
fn type_of(of: &DataType) -> Result<String> {
    let text = of.to_string();
    let same = Parser::new(&GenericDialect {}).try_with_sql(&text).is_ok_and(|mut parser| {
        parser.parse_data_type().is_ok_and(|again| again == *of)
            && parser.peek_token().token == Token::EOF
    });
    match same {
        true => Ok(text),
        false => Err(Error::invalid(format!("\"{text}\" is no type here")).hint(
            "Write a type such as text, bigint, double, decimal(18, 2), boolean, date or timestamp.",
        )),
    }
}

/// The name of a new column, which has nothing but a type.
fn column_of(column: &ColumnDef) -> Result<String> {
    let mut options = column.options.iter().map(|option| &option.option);
    // Without a default of its own, a row that leaves the column out has NULL there anyway.
    let plain = |option: &ColumnOption| match option {
        ColumnOption::Null => true,
        ColumnOption::Default(value) => value.to_string().eq_ignore_ascii_case("null"),
        _ => false,
    };
    match options.find(|option| !plain(option)) {
        None => Ok(normal(&column.name)),
        Some(option) => Err(refused(
            format!("{option} of a column in the lake"),
            "Leave it out; rows that are there get NULL.",
        )),
    }
}

impl Session {
    /// Changes the columns of a table in one commit. Columns that are only added cost nothing; else the
    /// rows are written anew. Whoever calls keeps other writers of the table away meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a column is unknown, there already or cannot be converted,
    /// [`ErrorKind::Denied`] if the table is none that can be changed; else as [`Session::query`].
    pub async fn alter(&self, name: &TableName, changes: &[ColumnChange]) -> Result<Commit> {
        let location = match self.catalog.entry(name) {
            Some(Entry::Table { location, version: None }) => location.clone(),
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!("\"{name}\" is no table whose columns can be changed"),
                )
                .hint("Change the query of a view with CREATE OR REPLACE VIEW."));
            }
            None => return Err(Error::not_found(format!("unknown table \"{name}\""))),
        };
        let lane = self.shared.lane(&location);
        let head = lane.at(None).await?;
        let mut columns: Vec<(String, String)> = Vec::new();
        for field in head.schema.fields() {
            columns.push((field.name().clone(), quoted(field.name())));
        }
        let mut added = Vec::new();
        let mut anew = false;
        for change in changes {
            let place = |column: &String| columns.iter().position(|(name, _)| name == column);
            let known =
                |column: &String| place(column).ok_or_else(|| unknown_column(&head, column));
            match change {
                ColumnChange::Add { column, sql_type, or_nothing } => match place(column) {
                    Some(_) if *or_nothing => {}
                    Some(_) => return Err(there_already(name, column)),
                    None => {
                        let value = format!("CAST(NULL AS {sql_type})");
                        added.push(format!("{value} AS {}", quoted(column)));
                        columns.push((column.clone(), value));
                    }
                },
                ColumnChange::Drop { column, if_exists } => match place(column) {
                    None if *if_exists => {}
                    _ => {
                        columns.remove(known(column)?);
                        anew = true;
                    }
                },
                ColumnChange::Retype { column, sql_type } => {
                    let place = known(column)?;
                    if let Some((_, value)) = columns.get_mut(place) {
                        *value = format!("CAST({value} AS {sql_type})");
                    }
                    anew = true;
                }
                ColumnChange::Rename { column, to } => {
                    let from = known(column)?;
                    if place(to).is_some() {
                        return Err(there_already(name, to));
                    }
                    if let Some((name, _)) = columns.get_mut(from) {
                        name.clone_from(to);
                    }
                    anew = true;
                }
            }
        }
        if columns.is_empty() {
            return Err(Error::invalid(format!("table \"{name}\" would have no column"))
                .hint("Drop the table instead."));
        }
        if !anew && added.is_empty() {
            return Ok(Commit { version: head.version, ..Commit::default() });
        }
        let (sql, mode) = match anew {
            false => (format!("SELECT {} WHERE false", added.join(", ")), WriteMode::Append),
            true => {
                let list: Vec<String> = columns
                    .iter()
                    .map(|(name, value)| format!("{value} AS {}", quoted(name)))
                    .collect();
                let table = format!("{}.{}", quoted(&name.schema), quoted(&name.name));
                (format!("SELECT {} FROM {table}", list.join(", ")), WriteMode::Replace)
            }
        };
        let rows = self.query(&sql).await?.stream().await?;
        Box::pin(lane.write(Write::new(mode, rows, "alter").add_columns())).await
    }
}

fn there_already(name: &TableName, column: &str) -> Error {
    Error::invalid(format!("table \"{name}\" has a column \"{column}\" already"))
        .hint("Choose another name, or write ADD COLUMN IF NOT EXISTS.")
}
