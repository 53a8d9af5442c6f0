//! Finds what a statement reads: tables are opened and views planned when they are first named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Sql;
use flywheel_base::{Clock, Error, ErrorKind, Result, suggest};

use super::learned::{self, Asked};
use super::sight::{self, Seen, Sight};
use super::{Catalog, Entry, Owner, guard};
use crate::TableName;
use crate::engine::{CATALOG, DEFAULT_SCHEMA, EDITED};
use crate::failure::from_engine;
use crate::lake::Shared;
use crate::lake_table::{self, LakeTable};

/// The schema the engine itself fills.
const INFORMATION_SCHEMA: &str = "information_schema";
/// Its table of schemas, which needs none of their tables.
const SCHEMATA: &str = "schemata";
/// How deep views may be nested.
const VIEWS_MAX: usize = 64;

/// What was found so far, by the name SQL uses.
#[derive(Default)]
pub(super) struct Resolved(RwLock<BTreeMap<TableName, Found>>);

#[derive(Clone)]
pub(super) struct Found {
    pub(super) provider: Arc<dyn TableProvider>,
    /// For a view, everything below it.
    pub(super) below: BTreeSet<TableName>,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolved")
    }
}

impl Resolved {
    /// The table of that name, if a statement of the session has named it.
    pub(super) fn provider(&self, name: &TableName) -> Option<Arc<dyn TableProvider>> {
        self.found(name).map(|found| found.provider)
    }

    fn found(&self, name: &TableName) -> Option<Found> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Keeps the first provider of a name, so that a session reads one version of a table.
    fn keep(&self, name: TableName, found: Found) -> Found {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.entry(name).or_insert(found).clone()
    }
}

/// Resolves the names of one statement.
pub(super) struct Resolver<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) clock: &'a dyn Clock,
    pub(super) catalog: &'a Catalog,
    pub(super) resolved: &'a Resolved,
    /// What names mean without limits; there if some of the catalog's have one.
    pub(super) owner: Option<&'a Owner>,
    /// What names mean in views that see through what is concealed; there if something is.
    pub(super) through: Option<&'a Owner>,
    /// What resolves the names around such a view, so that both read one version of a table.
    pub(super) outer: Option<&'a Resolver<'a>>,
    pub(super) state: &'a SessionState,
}

type Pending<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'f>>;

impl Resolver<'_> {
    /// Resolves every table a statement names, and gives what it asks of learners the form that is planned; `stack`
    /// holds the views being planned.
    pub(super) fn statement<'f>(
        &'f self,
        statement: &'f mut Statement,
        stack: &'f mut Vec<TableName>,
        read: &'f mut BTreeSet<TableName>,
    ) -> Pending<'f, Asked> {
        Box::pin(async move {
            let asked = learned::bind(
                statement,
                self.shared.engine.learners(),
                self.catalog,
                !stack.is_empty(),
            )?;
            for name in &asked.tables {
                self.name(name, stack).await?;
                read.insert(name.clone());
            }
            let statement: &Statement = statement;
            let references = self.state.resolve_table_references(statement).map_err(from_engine)?;
            let listing = lists_tables(statement)
                || references.iter().any(|reference| {
                    reference.schema() == Some(INFORMATION_SCHEMA) && reference.table() != SCHEMATA
                });
            if listing {
                for name in self.catalog.names() {
                    match self.name(name, stack).await {
                        // What a reader may not see, or sees nothing of because its rule does not fit, is not
                        // listed with its columns.
                        Err(error) if self.owner.is_some() && unseen(&error) => {}
                        // A view that no longer fits what it reads has no columns; whoever reads it learns why.
                        Err(error) if self.catalog.is_view(name) && misfits(&error) => {}
                        found => drop(found?),
                    }
                }
            }
            for reference in &references {
                if self.engine_knows(reference) {
                    continue;
                }
                let name = self.find(reference)?;
                let found = self.name(&name, stack).await?;
                let spoken = spoken(reference);
                if spoken != name {
                    self.resolved.keep(spoken, found.clone());
                }
                read.insert(name);
                read.extend(found.below);
            }
            Ok(asked)
        })
    }

    /// Tables of the engine itself, functions in the place of a table, and the table that is edited.
    fn engine_knows(&self, reference: &TableReference) -> bool {
        reference.schema() == Some(INFORMATION_SCHEMA)
            || reference.catalog() == Some(EDITED)
            || (reference.schema().is_none()
                && self.state.table_functions().contains_key(reference.table()))
    }

    /// The catalog's name for what SQL says.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is none, [`flywheel_base::ErrorKind::Invalid`] if
    /// there are several.
    pub(super) fn find(&self, reference: &TableReference) -> Result<TableName> {
        let table = reference.table();
        let own = reference.catalog().is_none_or(|catalog| catalog == CATALOG);
        if let Some(schema) = reference.schema() {
            let name = TableName::new(schema, table);
            return match own && self.catalog.contains(&name) {
                true => Ok(name),
                false => Err(self.unknown(&reference.to_string())),
            };
        }
        let mut named: Vec<&TableName> =
            self.catalog.names().filter(|name| name.name == table).collect();
        if let Some(plain) = named.iter().find(|name| name.schema == DEFAULT_SCHEMA) {
            return Ok((*plain).clone());
        }
        match (named.pop(), named.as_slice()) {
            (Some(only), []) => Ok(only.clone()),
            (Some(last), others) => {
                let names: Vec<String> =
                    others.iter().copied().chain([last]).map(ToString::to_string).collect();
                Err(Error::invalid(format!("table \"{table}\" is ambiguous"))
                    .hint(format!("Write its schema: {}.", names.join(" or "))))
            }
            (None, _) => Err(self.unknown(table)),
        }
    }

    fn unknown(&self, spoken: &str) -> Error {
        let names: Vec<String> = self.catalog.names().map(ToString::to_string).collect();
        let made = Error::not_found(format!("unknown table \"{spoken}\""));
        let lower = spoken.to_lowercase();
        let same = self.catalog.names().find(|name| {
            let full = name.to_string();
            full.to_lowercase() == lower || name.name.to_lowercase() == lower
        });
        if let Some(TableName { schema, name }) = same {
            return made.hint(format!("Write \"{schema}\".\"{name}\" with the double quotes."));
        }
        if is_file(&lower) {
            let hint =
                "A query reads tables, no files: land the file with a sync, or put it into seeds/.";
            return made.hint(hint);
        }
        let table = spoken.rsplit('.').next().unwrap_or(spoken);
        let elsewhere = self.catalog.names().find(|name| name.name == table);
        match elsewhere {
            Some(name) => made.hint(format!("Did you mean \"{name}\"?")),
            None => made.hint(suggest::hint(spoken, names.iter().map(String::as_str))),
        }
    }

    fn name<'f>(
        &'f self,
        name: &'f TableName,
        stack: &'f mut Vec<TableName>,
    ) -> Pending<'f, Found> {
        Box::pin(async move {
            if let Some(found) = self.resolved.found(name) {
                return Ok(found);
            }
            let limit = self.catalog.sights.get(name);
            if let Some(sight @ Sight { seen: Seen::Nothing, .. }) = limit {
                return Err(sight.refusal(&format!("table {name}")));
            }
            let entry = self.catalog.entry(name).ok_or_else(|| self.unknown(&name.to_string()))?;
            // Limits are the same there.
            if let Some(outer) = self.outer
                && !matches!(entry, Entry::View(_))
                && outer.catalog.contains(name)
            {
                let found = outer.name(name, stack).await?;
                return Ok(self.resolved.keep(name.clone(), found));
            }
            let found = match entry {
                Entry::Table { location, version } => {
                    let snapshot = self.shared.lane(location).at(*version).await?;
                    let provider: Arc<dyn TableProvider> = match snapshot.plain() {
                        true => Arc::new(LakeTable::new(snapshot)),
                        false => lake_table::foreign(&self.shared.root, &snapshot)
                            .await
                            .map_err(from_engine)?,
                    };
                    Found { provider, below: BTreeSet::new() }
                }
                Entry::Memory { schema, batches } => {
                    let table = MemTable::try_new(Arc::clone(schema), vec![batches.clone()])
                        .map_err(from_engine)?;
                    Found { provider: Arc::new(table), below: BTreeSet::new() }
                }
                Entry::View(sql) => match self.through {
                    Some(through) if self.catalog.through.contains(name) => {
                        self.seen_through(through, name, sql, stack).await?
                    }
                    // What it names and its reader does not is told by no name.
                    Some(_) => {
                        self.view(name, sql, stack).await.map_err(|error| match error.kind() {
                            ErrorKind::NotFound => unnamed(name),
                            _ => error,
                        })?
                    }
                    None => self.view(name, sql, stack).await?,
                },
            };
            let found = match limit {
                Some(sight) => self.seen(name, found, sight).await?,
                None => found,
            };
            Ok(self.resolved.keep(name.clone(), found))
        })
    }

    async fn view(&self, name: &TableName, sql: &str, stack: &mut Vec<TableName>) -> Result<Found> {
        let (plan, below) = self.view_plan(name, sql, stack).await?;
        let view = ViewTable::new(plan, Some(sql.to_owned()));
        Ok(Found { provider: Arc::new(view), below })
    }

    /// The plan of a view's query, and all that lies below it.
    pub(super) async fn view_plan(
        &self,
        name: &TableName,
        sql: &str,
        stack: &mut Vec<TableName>,
    ) -> Result<(LogicalPlan, BTreeSet<TableName>)> {
        if stack.contains(name) || stack.len() >= VIEWS_MAX {
            let path: Vec<String> = stack.iter().chain([name]).map(ToString::to_string).collect();
            return Err(Error::invalid(format!("view \"{name}\" reads itself"))
                .hint(format!("The circle is {}.", path.join(" → "))));
        }
        stack.push(name.clone());
        let mut below = BTreeSet::new();
        let planned = async {
            let mut statement = guard::parse(self.state, sql)?;
            let asked = self.statement(&mut statement, stack, &mut below).await?;
            let hidden = |column: &str| {
                let hidden = sight::told_of_hidden(&self.catalog.sights, &below, column);
                hidden.or_else(|| asked.told(column))
            };
            guard::plan_telling(self.state, statement, &hidden).await
        }
        .await;
        stack.pop();
        let plan = planned.map_err(|error| error.context(format!("view \"{name}\"")))?;
        Ok((plan, below))
    }
}

/// The error of a view whose query names what is not there, or is concealed from its reader.
pub(super) fn unnamed(view: &TableName) -> Error {
    Error::invalid(format!("view \"{view}\" reads what is not there, or not for you"))
        .hint("Ask whoever made it.")
}

/// Whether a table is not there for its reader, while others are.
fn unseen(error: &Error) -> bool {
    error.kind() == ErrorKind::Denied || misfits(error)
}

/// Whether what a name means does not fit what it is about.
fn misfits(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound)
}

/// Statements whose answer is the catalog.
fn lists_tables(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(sql) => {
            matches!(sql.as_ref(), Sql::ShowTables { .. } | Sql::ShowColumns { .. })
        }
        _ => false,
    }
}

/// The name under which the engine will ask for what SQL says.
fn spoken(reference: &TableReference) -> TableName {
    TableName::new(reference.schema().unwrap_or(DEFAULT_SCHEMA), reference.table())
}

/// Whether a name, in lower case, is DuckDB's for a file or for what reads one.
fn is_file(name: &str) -> bool {
    let bare = name.trim_matches('"');
    let readers = ["read_csv", "read_csv_auto", "read_parquet", "read_json", "read_json_auto"];
    let ends = [".csv", ".csv.gz", ".parquet", ".json", ".jsonl"];
    readers.contains(&bare) || ends.iter().any(|end| bare.ends_with(end))
}
