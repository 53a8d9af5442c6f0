//! Statements that change a table's rows: `INSERT`, `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`, and
//! `CREATE [OR REPLACE] TABLE`, which makes one.
//!
//! A statement becomes a query over the table with the places of its rows ([`lower`]); the table's lane
//! runs it on the head, rewrites the files that hold such rows and commits. After a commit of another
//! process the query runs again, so a statement changes exactly the rows it has read.

pub(super) mod lower;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use flywheel_base::{Error, ErrorKind, Result};

use self::lower::{Lowered, Parsed, There};
use super::chain::check_chains;
use super::dialect::translate;
use super::tables::{Resolved, Resolver};
use super::{Catalog, Entry, Query, Session, define, guard, names};
use crate::failure::from_engine;
use crate::lake_table::LakeTable;
use crate::lane::{Editing, Steps, Verb};
use crate::snapshot::Snapshot;
use crate::write::{Commit, Write, WriteMode};
use crate::{Location, TableName};

/// Whether `sql` is a statement that changes rows or makes a table. What cannot be parsed is none.
#[must_use]
pub fn is_edit(sql: &str) -> bool {
    if check_chains(sql).is_err() {
        return false;
    }
    let parsed = DFParser::parse_sql_with_dialect(sql, &GenericDialect {});
    parsed.is_ok_and(|statements| statements.iter().any(lower::is_edit))
}

/// Whether a parsed statement changes rows or makes a table.
pub(super) fn changes(statement: &Statement) -> bool {
    lower::is_edit(statement)
}

/// A statement that changes the rows of one table.
#[derive(Clone)]
pub struct Edit {
    session: Session,
    parsed: Arc<Parsed>,
    table: TableName,
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What became of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The statement.
    pub verb: Verb,
    /// The table it changed.
    pub table: TableName,
    /// Its commit. If no row was found, none was made, and `version` is what it was.
    pub commit: Commit,
}

impl Edited {
    /// How many rows are new.
    #[must_use]
    pub fn rows_inserted(&self) -> u64 {
        self.commit.rows_written.saturating_sub(self.commit.rows_updated)
    }
}

impl Session {
    /// Takes one statement that changes rows: `INSERT`, `UPDATE`, `DELETE`, `MERGE` or `TRUNCATE` of a
    /// table at its head, or `CREATE TABLE`. Nothing is changed before [`Edit::run`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it cannot be parsed or is another statement,
    /// [`ErrorKind::NotFound`] if it names an unknown table, [`ErrorKind::Denied`] if the session's reader
    /// sees the table only in part.
    pub fn edit(&self, sql: &str) -> Result<Edit> {
        let state = self.state();
        let dialect = state.config_options().sql_parser.dialect;
        check_chains(sql)?;
        let mut statement = state.sql_to_statement(sql, &dialect).map_err(from_engine)?;
        translate(&mut statement)?;
        let parsed = Parsed::new(statement)?;
        let reference = parsed.target()?;
        let table = match parsed.verb() {
            Verb::Create => define::named(&reference)?,
            _ => self.resolver(&state).find(&reference)?,
        };
        // What its writer does not see, a condition or a replacement would tell of or destroy.
        if !self.catalog.concealed.contains(&table)
            && let Some(sight) = self.catalog.sights.get(&table)
        {
            return Err(
                sight.refusal(&format!("every row of table {table}, which it takes to change it"))
            );
        }
        Ok(Edit { session: self.clone(), parsed: Arc::new(parsed), table })
    }
}

impl Edit {
    /// The table it changes.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// The statement.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.parsed.verb()
    }

    /// Changes the table and commits; the commit is durable when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the statement does not fit the table, a value does not fit its column,
    /// or one row would be changed twice; [`ErrorKind::Denied`] if the table is none that can be
    /// changed here; [`ErrorKind::Exhausted`] if memory or disk are full; [`ErrorKind::Conflict`] if
    /// another program commits all the time. Nothing is changed then.
    pub async fn run(&self) -> Result<Edited> {
        let commit = match self.verb() {
            Verb::Create => self.create().await?,
            _ => {
                let lane = self.session.shared.lane(&self.location()?);
                // Boxed, so that callers' futures stay small.
                Box::pin(lane.edit(Arc::new(self.clone()))).await?
            }
        };
        Ok(Edited { verb: self.verb(), table: self.table.clone(), commit })
    }

    /// Where the table lies.
    fn location(&self) -> Result<Location> {
        let denied =
            |what: &str| Error::new(ErrorKind::Denied, format!("\"{}\" {what}", self.table));
        match self.session.catalog.entry(&self.table) {
            Some(Entry::Table { location, version: None }) => Ok(location.clone()),
            Some(Entry::Table { version: Some(version), .. }) => Err(denied(&format!(
                "is read at its version {version}, which never changes"
            ))
            .hint("Leave out the version or the moment; only the newest one can be changed.")),
            Some(Entry::View(_)) => {
                Err(denied("is a view and has no rows of its own")
                    .hint("Change the tables it reads."))
            }
            Some(Entry::Memory { .. }) => {
                Err(denied("is made anew whenever it is read").hint("It can only be read."))
            }
            None => Err(Error::internal(format!("\"{}\" is not in the catalog", self.table))),
        }
    }

    /// Every table and view that the statement reads, at whatever remove, but for the table it changes.
    ///
    /// # Errors
    /// As [`Edit::run`]; nothing is changed.
    pub async fn reads(&self) -> Result<BTreeSet<TableName>> {
        let mut read = match self.verb() {
            Verb::Create => {
                let (sql, _) = self.parsed.creation()?;
                self.session.query(&sql).await?.tables()
            }
            _ if self.parsed.inserts_values() => BTreeSet::new(),
            _ => {
                let head = self.session.shared.lane(&self.location()?).at(None).await?;
                match self.parsed.lower(&self.table, &head)? {
                    Lowered::Empty => BTreeSet::new(),
                    Lowered::Insert { sql, .. } | Lowered::Change { sql, .. } => {
                        self.plan(&head, &sql).await?.tables()
                    }
                }
            }
        };
        read.remove(&self.table);
        Ok(read)
    }

    /// Whether rows that were there before are gone after it: those of a table that is replaced or emptied.
    #[must_use]
    pub fn replaces(&self) -> bool {
        match self.verb() {
            Verb::Create => self.parsed.creation().is_ok_and(|(_, there)| there == There::Replace),
            verb => verb == Verb::Truncate,
        }
    }

    async fn create(&self) -> Result<Commit> {
        let (sql, there) = self.parsed.creation()?;
        let exists = || {
            Error::invalid(format!("table \"{}\" exists already", self.table)).hint(
                "Choose another name, or write CREATE OR REPLACE TABLE, or CREATE TABLE IF NOT EXISTS.",
            )
        };
        let or_nothing = there == There::Keep;
        if self.session.catalog.contains(&self.table) {
            return match there {
                There::Keep => self.as_it_is().await,
                There::Refuse => Err(exists()),
                There::Replace => {
                    let location = self.location()?;
                    let rows = self.session.query(&sql).await?.of_steps().stream().await?;
                    let write = Write::new(WriteMode::Replace, rows, Verb::Create.name());
                    Box::pin(self.session.shared.lane(&location).write(write.add_columns())).await
                }
            };
        }
        let location = Location::new(format!("{}/{}", self.table.schema, self.table.name))?;
        self.session.shared.refuse_nesting(&location)?;
        let rows = self.session.query(&sql).await?.of_steps().stream().await?;
        let write = Write::new(WriteMode::Append, rows, Verb::Create.name());
        let lane = self.session.shared.lane(&location);
        match Box::pin(lane.create(write)).await? {
            Some(commit) => Ok(commit),
            None if or_nothing => self.as_it_is().await,
            None => Err(exists()),
        }
    }

    /// What it amounts to that nothing was to be done.
    async fn as_it_is(&self) -> Result<Commit> {
        let Some(Entry::Table { location, .. }) = self.session.catalog.entry(&self.table) else {
            return Ok(Commit::default());
        };
        let head = self.session.shared.lane(location).head().await?;
        let (version, files) = head.map_or((0, 0), |head| (head.version, head.files.len()));
        Ok(Commit { version, files_kept: files as u64, ..Commit::default() })
    }

    /// Plans a query over the table at `head`, with the places of its rows.
    async fn plan(&self, head: &Arc<Snapshot>, sql: &str) -> Result<Query> {
        let catalog = Arc::new(self.session.catalog.pinned(&head.location, head.version));
        let resolved = Arc::new(Resolved::default());
        let table: Arc<dyn TableProvider> = Arc::new(LakeTable::located(Arc::clone(head)));
        let names = names::CatalogNames::new(Arc::clone(&catalog), Arc::clone(&resolved));
        let list =
            names::CatalogList::new(names).with_edited(&self.table, table).map_err(from_engine)?;
        let state = super::state(&self.session.shared, self.session.clock.as_ref(), list);
        let mut statement = guard::parse(&state, sql)?;
        let mut read = BTreeSet::new();
        let resolver = Resolver {
            shared: &self.session.shared,
            clock: self.session.clock.as_ref(),
            catalog: &catalog,
            resolved: &resolved,
            owner: self.session.owner.as_deref(),
            through: self.session.through.as_deref(),
            outer: None,
            state: &state,
        };
        let asked = resolver.statement(&mut statement, &mut Vec::new(), &mut read).await?;
        let plan = guard::plan_telling(&state, statement, &|column| asked.told(column)).await?;
        let allowance = self.session.catalog.allowance.clone();
        Ok(Query::new(state, plan, read)?.within(allowance).of_steps())
    }
}

#[async_trait]
impl Editing for Edit {
    fn verb(&self) -> Verb {
        self.parsed.verb()
    }

    fn changes_rows(&self) -> bool {
        self.parsed.changes_rows()
    }

    async fn steps(&self, head: &Arc<Snapshot>) -> Result<Steps> {
        match self.parsed.lower(&self.table, head)? {
            Lowered::Empty => Ok(Steps::Empty),
            Lowered::Insert { sql, columns } => {
                let query = self.plan(head, &sql).await?;
                let given = query.schema().fields().len();
                if given != columns.len() {
                    return Err(Error::invalid(format!(
                        "INSERT into \"{}\" has {} columns and {given} values",
                        self.table,
                        columns.len()
                    ))
                    .hint(format!("Give a value for each of {}.", columns.join(", "))));
                }
                let values = columns.into_iter().enumerate().map(|(at, name)| (name, at)).collect();
                Ok(Steps::Insert { values, rows: query.stream().await? })
            }
            Lowered::Change { sql, checks, clauses, named, once } => {
                for check in checks {
                    self.plan(head, &check).await?;
                }
                let query = self.plan(head, &sql).await?;
                refuse_chance(query.plan())?;
                Ok(Steps::Change { clauses, named, once, rows: query.stream().await? })
            }
        }
    }
}

/// Refuses conditions that choose between clauses by chance: they are asked several times for a row.
fn refuse_chance(plan: &LogicalPlan) -> Result<()> {
    let mut plan = plan;
    while let LogicalPlan::Sort(sort) = plan {
        plan = &sort.input;
    }
    let LogicalPlan::Projection(projection) = plan else { return Ok(()) };
    let chosen = projection.expr.get(2);
    if chosen.is_none_or(|clause: &Expr| !clause.is_volatile()) {
        return Ok(());
    }
    Err(Error::invalid("a WHEN condition has another value each time it is asked")
        .hint("Compute it in the source of the merge, as one of its columns."))
}

impl Catalog {
    /// The same names, where those of the table at `location` mean it at `version`.
    fn pinned(&self, at: &Location, at_version: i64) -> Self {
        let mut pinned = self.clone();
        for entry in pinned.entries.values_mut() {
            if let Entry::Table { location, version } = entry
                && location == at
            {
                *version = Some(at_version);
            }
        }
        pinned
    }
}
