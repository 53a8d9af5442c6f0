//! From a statement that changes rows to the query that finds them.
//!
//! ```text
//! MERGE INTO x USING s ON x.id = s.id              SELECT file, row,
//!   WHEN MATCHED THEN UPDATE SET v = s.v             CASE WHEN row IS NOT NULL THEN 0 WHEN row IS NULL THEN 1 END,
//!   WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)  s.v, s.id
//!                                                  FROM s LEFT JOIN x ON x.id = s.id ORDER BY file, row
//! ```
//! Each part of the statement stays the text it was, so names, subqueries and types mean what they mean
//! in any other query.

mod merge;
pub(in crate::session) mod target;

use std::fmt::{Display, Write as _};

use datafusion::common::TableReference;
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    ColumnOption, CreateTable, Delete, Expr, FromTable, Ident, Insert, Merge, MergeAction,
    ObjectName, SetExpr, Statement as Sql, TableFactor, TableObject, TableWithJoins, Truncate,
    Update, UpdateTableFromKind, With,
};
use flywheel_base::{Error, Result};

use self::target::{Target, normal, quoted};
use crate::TableName;
use crate::failure::from_engine;
use crate::lake_table::{FILE, ROW};
use crate::lane::{Clause, Verb};
use crate::snapshot::Snapshot;

/// What `RETURNING` is answered with.
const RETURNING_HINT: &str = "Run a SELECT after it; the result says how many rows changed.";

/// What becomes of a table that has the name of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    /// The statement is refused.
    Refuse,
    /// It is left alone.
    Keep,
    /// The new one is its next version.
    Replace,
}

/// A statement that changes rows.
pub(super) struct Parsed {
    with: Option<With>,
    body: Body,
}

enum Body {
    Create(Box<CreateTable>),
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Merge(Box<Merge>),
    Truncate(Box<Truncate>),
}

/// What a statement means for a table at one version.
pub(super) enum Lowered {
    /// All rows go.
    Empty,
    /// The query gives the values of these columns.
    Insert {
        /// The query.
        sql: String,
        /// The columns, in the order of their values.
        columns: Vec<String>,
    },
    /// The query gives places, clauses and values.
    Change {
        /// The query.
        sql: String,
        /// Queries that must have a plan and are not run: what a clause may not read, they cannot.
        checks: Vec<String>,
        /// By number.
        clauses: Vec<Clause>,
        /// Columns that name a row in a message.
        named: Vec<String>,
        /// Whether a row must not be found twice.
        once: bool,
    },
}

/// Whether a statement changes rows or makes a table.
pub(super) fn is_edit(statement: &Statement) -> bool {
    let Statement::Statement(sql) = statement else { return false };
    match sql.as_ref() {
        Sql::Query(query) => matches!(
            query.body.as_ref(),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        ),
        Sql::CreateTable(_)
        | Sql::Insert(_)
        | Sql::Update(_)
        | Sql::Delete(_)
        | Sql::Merge(_)
        | Sql::Truncate(_) => true,
        _ => false,
    }
}

impl Parsed {
    /// Takes a statement apart.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is another one.
    pub(super) fn new(statement: Statement) -> Result<Self> {
        let other = |statement: &dyn Display| {
            let text = statement.to_string();
            let word = text.split_whitespace().next().unwrap_or("this").to_uppercase();
            Error::invalid(format!("{word} changes no rows"))
                .hint("Write INSERT, UPDATE, DELETE, MERGE, TRUNCATE or CREATE TABLE.")
        };
        let sql = match statement {
            Statement::Statement(sql) => *sql,
            statement => return Err(other(&statement)),
        };
        let (with, sql) = match sql {
            Sql::Query(query) => match *query.body {
                SetExpr::Insert(inner)
                | SetExpr::Update(inner)
                | SetExpr::Delete(inner)
                | SetExpr::Merge(inner) => (query.with, inner),
                body => return Err(other(&body)),
            },
            sql => (None, sql),
        };
        let body = match sql {
            Sql::CreateTable(create) => Body::Create(Box::new(create)),
            Sql::Insert(insert) => Body::Insert(Box::new(insert)),
            Sql::Update(update) => Body::Update(Box::new(update)),
            Sql::Delete(delete) => Body::Delete(Box::new(delete)),
            Sql::Merge(merge) => Body::Merge(Box::new(merge)),
            Sql::Truncate(truncate) => Body::Truncate(Box::new(truncate)),
            sql => return Err(other(&sql)),
        };
        Ok(Self { with, body })
    }

    /// The statement.
    pub(super) fn verb(&self) -> Verb {
        match &self.body {
            Body::Create(_) => Verb::Create,
            Body::Insert(_) => Verb::Insert,
            Body::Update(_) => Verb::Update,
            Body::Delete(_) => Verb::Delete,
            Body::Merge(_) => Verb::Merge,
            Body::Truncate(_) => Verb::Truncate,
        }
    }

    /// Whether rows that are there may change or go.
    pub(super) fn changes_rows(&self) -> bool {
        match &self.body {
            Body::Create(_) | Body::Insert(_) => false,
            Body::Merge(merge) => {
                merge.clauses.iter().any(|clause| !matches!(clause.action, MergeAction::Insert(_)))
            }
            Body::Update(_) | Body::Delete(_) | Body::Truncate(_) => true,
        }
    }

    /// The name of the table it changes, as it is written.
    pub(super) fn target(&self) -> Result<TableReference> {
        let name = match &self.body {
            Body::Create(create) => create.name.clone(),
            Body::Insert(insert) => match &insert.table {
                TableObject::TableName(name) => name.clone(),
                other => return Err(refused(other, "Name a table.")),
            },
            Body::Update(update) => named(&update.table)?.0.clone(),
            Body::Delete(delete) => named(deleted_from(delete)?)?.0.clone(),
            Body::Merge(merge) => factor(&merge.table)?.0.clone(),
            Body::Truncate(truncate) => match truncate.table_names.as_slice() {
                [one] => one.name.clone(),
                _ => {
                    return Err(refused("TRUNCATE of several tables", "Truncate one at a time."));
                }
            },
        };
        object_name_to_table_reference(name, true).map_err(from_engine)
    }

    /// Whether it only adds rows that it names itself.
    pub(super) fn inserts_values(&self) -> bool {
        let Body::Insert(insert) = &self.body else { return false };
        let source = insert.source.as_deref();
        source.is_some_and(|query| match query.body.as_ref() {
            SetExpr::Values(values) => {
                query.with.is_none() && values.rows.iter().flat_map(|row| row.iter()).all(is_plain)
            }
            _ => false,
        })
    }

    /// The query whose answer a new table has, and what becomes of a table that is there.
    pub(super) fn creation(&self) -> Result<(String, There)> {
        let Body::Create(create) = &self.body else {
            return Err(Error::internal("the statement makes no table"));
        };
        let special = (create.or_replace && create.if_not_exists)
            || create.temporary
            || create.external
            || create.location.is_some()
            || create.partition_by.is_some()
            || create.like.is_some()
            || create.clone.is_some();
        if special {
            let hint = "Write CREATE TABLE schema.name (column type, …) or CREATE TABLE schema.name AS SELECT ….";
            return Err(refused("this form of CREATE TABLE", hint));
        }
        let constrained = create.columns.iter().flat_map(|column| &column.options);
        let constrained = constrained.filter(|option| !matches!(option.option, ColumnOption::Null));
        if let Some(what) = constrained
            .map(|option| option.option.to_string())
            .chain(create.constraints.iter().map(ToString::to_string))
            .next()
        {
            return Err(refused(
                format!("{what} of a table in the lake"),
                "Leave it out; test the table in a model's properties, with not_null or unique.",
            ));
        }
        let sql = match (&create.query, create.columns.is_empty()) {
            (Some(query), true) => query.to_string(),
            (None, false) => {
                let columns = create.columns.iter().map(|column| {
                    format!(
                        "CAST(NULL AS {}) AS {}",
                        column.data_type,
                        quoted(&normal(&column.name))
                    )
                });
                format!("SELECT {} WHERE false", columns.collect::<Vec<_>>().join(", "))
            }
            _ => {
                let hint = "Either name columns with their types, or give a query.";
                return Err(refused("CREATE TABLE with columns and a query, or neither", hint));
            }
        };
        let there = match (create.or_replace, create.if_not_exists) {
            (true, _) => There::Replace,
            (false, true) => There::Keep,
            (false, false) => There::Refuse,
        };
        Ok((sql, there))
    }

    /// What it does to the table `name` at `head`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a column is unknown or a clause is not supported.
    pub(super) fn lower(&self, name: &TableName, head: &Snapshot) -> Result<Lowered> {
        let target = |alias: Option<&Ident>| Target { name, alias: alias.cloned(), head };
        match &self.body {
            Body::Create(_) => Err(Error::internal("a table is made, not changed")),
            Body::Insert(insert) => self.insert(insert, &target(None)),
            Body::Update(update) => self.update(update, &target(named(&update.table)?.1)),
            Body::Delete(delete) => self.delete(delete, &target(named(deleted_from(delete)?)?.1)),
            Body::Merge(merge) => {
                merge::lower(merge, &self.with(), &target(factor(&merge.table)?.1))
            }
            Body::Truncate(truncate) => {
                if truncate.partitions.is_some()
                    || truncate.cascade.is_some()
                    || truncate.identity.is_some()
                {
                    return Err(refused(truncate, "Write TRUNCATE TABLE schema.name."));
                }
                Ok(match head.rows() {
                    Some(_) => Lowered::Empty,
                    None => self.rows(&target(None), "", "", &[], false),
                })
            }
        }
    }

    fn with(&self) -> String {
        self.with.as_ref().map(|with| format!("{with} ")).unwrap_or_default()
    }

    fn insert(&self, insert: &Insert, target: &Target<'_>) -> Result<Lowered> {
        if insert.on.is_some() || insert.or.is_some() || insert.ignore || insert.replace_into {
            return Err(refused(
                "INSERT that replaces or skips rows",
                "Write MERGE INTO … USING … ON … WHEN MATCHED … WHEN NOT MATCHED THEN INSERT ….",
            ));
        }
        if insert.returning.is_some() || insert.output.is_some() {
            return Err(refused("RETURNING", RETURNING_HINT));
        }
        if insert.overwrite {
            return Err(refused("INSERT OVERWRITE", "TRUNCATE the table first, then INSERT."));
        }
        let special = insert.partitioned.is_some()
            || !insert.after_columns.is_empty()
            || !insert.assignments.is_empty()
            || insert.table_alias.is_some()
            || insert.insert_alias.is_some()
            || insert.settings.is_some()
            || insert.format_clause.is_some()
            || insert.multi_table_insert_type.is_some();
        let Some(query) = insert.source.as_ref().filter(|_| !special) else {
            let hint = "Write INSERT INTO schema.name (columns) VALUES (…) or INSERT INTO schema.name SELECT ….";
            return Err(refused("this form of INSERT", hint));
        };
        let columns = match insert.columns.is_empty() {
            true => target.columns(),
            false => target.listed(&insert.columns)?,
        };
        let sql = match &self.with {
            Some(with) if query.with.is_some() => {
                format!("{with} SELECT * FROM ({query}) AS \"flywheel rows\"")
            }
            _ => format!("{}{query}", self.with()),
        };
        Ok(Lowered::Insert { sql, columns })
    }

    fn update(&self, update: &Update, target: &Target<'_>) -> Result<Lowered> {
        if update.returning.is_some() || update.output.is_some() {
            return Err(refused("RETURNING", RETURNING_HINT));
        }
        if update.or.is_some() || update.limit.is_some() || !update.order_by.is_empty() {
            let hint = "Choose the rows by a condition, for instance id IN (SELECT …).";
            return Err(refused("UPDATE with OR, ORDER BY or LIMIT", hint));
        }
        let from = match &update.from {
            Some(UpdateTableFromKind::AfterSet(from) | UpdateTableFromKind::BeforeSet(from)) => {
                listed(from)
            }
            None => String::new(),
        };
        let mut values = Vec::new();
        let mut assigned = Vec::new();
        for (column, value) in target.assignments(&update.assignments)? {
            assigned.push((column, values.len()));
            values.push(value.to_string());
        }
        let condition = condition(update.selection.as_ref());
        let mut lowered = self.rows(target, &from, &condition, &values, !from.is_empty());
        if let Lowered::Change { clauses, named, .. } = &mut lowered {
            *clauses = vec![Clause::Update(assigned)];
            *named = update.selection.iter().flat_map(|on| target.named_in(on)).collect();
        }
        Ok(lowered)
    }

    fn delete(&self, delete: &Delete, target: &Target<'_>) -> Result<Lowered> {
        if delete.returning.is_some() || delete.output.is_some() {
            return Err(refused("RETURNING", RETURNING_HINT));
        }
        if delete.limit.is_some() || !delete.order_by.is_empty() || !delete.tables.is_empty() {
            let hint = "Choose the rows by a condition, for instance id IN (SELECT …).";
            return Err(refused("DELETE with ORDER BY, LIMIT or several tables", hint));
        }
        let using = delete.using.as_deref().map(listed).unwrap_or_default();
        if delete.selection.is_none() && using.is_empty() && target.head.rows().is_some() {
            return Ok(Lowered::Empty);
        }
        let condition = condition(delete.selection.as_ref());
        Ok(self.rows(target, &using, &condition, &[], false))
    }

    /// Rows of the table that satisfy a condition, all with one clause; deletion, unless the caller
    /// knows better.
    fn rows(
        &self,
        target: &Target<'_>,
        others: &str,
        condition: &str,
        values: &[String],
        once: bool,
    ) -> Lowered {
        let with = self.with();
        let mut sql = format!("{with}SELECT \"{FILE}\", \"{ROW}\", 0 AS \"flywheel clause\"");
        for (at, value) in values.iter().enumerate() {
            push(&mut sql, format_args!(", {value} AS \"flywheel value {at}\""));
        }
        let target = target.from();
        push(&mut sql, format_args!(" FROM {others}{target}{condition} ORDER BY 1, 2"));
        let clauses = vec![Clause::Delete];
        Lowered::Change { sql, checks: Vec::new(), clauses, named: Vec::new(), once }
    }
}

/// Whether an expression is a value that stands there, so that it reads nothing.
fn is_plain(value: &Expr) -> bool {
    match value {
        Expr::Value(_) | Expr::TypedString(_) => true,
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::UnaryOp { expr, .. } => is_plain(expr),
        _ => false,
    }
}

fn refused(what: impl Display, hint: &str) -> Error {
    Error::invalid(format!("{what} is not supported")).hint(hint)
}

/// The only table that a statement changes, and its alias.
fn named(table: &TableWithJoins) -> Result<(&ObjectName, Option<&Ident>)> {
    if !table.joins.is_empty() {
        let hint = "Write UPDATE x SET … FROM y WHERE …, or DELETE FROM x USING y WHERE ….";
        return Err(refused("a change of joined tables", hint));
    }
    factor(&table.relation)
}

fn factor(table: &TableFactor) -> Result<(&ObjectName, Option<&Ident>)> {
    match table {
        TableFactor::Table { name, alias, args: None, version: None, sample: None, .. }
            if alias.as_ref().is_none_or(|alias| alias.columns.is_empty()) =>
        {
            Ok((name, alias.as_ref().map(|alias| &alias.name)))
        }
        other => Err(refused(format!("a change of \"{other}\""), "Name a table of the lake.")),
    }
}

fn deleted_from(delete: &Delete) -> Result<&TableWithJoins> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    match tables.as_slice() {
        [one] => Ok(one),
        _ => Err(refused("DELETE from several tables", "Delete from one at a time.")),
    }
}

/// Other tables, before the one that is changed.
fn listed(tables: &[TableWithJoins]) -> String {
    tables.iter().fold(String::new(), |mut list, table| {
        push(&mut list, format_args!("{table}, "));
        list
    })
}

fn condition(selection: Option<&Expr>) -> String {
    selection.map(|selection| format!(" WHERE {selection}")).unwrap_or_default()
}

/// Appends to a text, which cannot fail.
fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(more);
    debug_assert!(written.is_ok(), "a text takes everything");
}
