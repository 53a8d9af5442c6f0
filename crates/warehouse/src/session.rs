//! SQL over a catalog of tables, in UTC, within the lake's memory limit: queries, which only read,
//! edits, which change the rows of one table, and definitions, which make and remove what names mean.
//!
//! Names without quotes are folded to lower case. A name without a schema means the one table of that
//! name in any schema. Tables are pinned when a session first reads them, so that two queries of one
//! session see the same versions. `now()` is the lake's clock.

mod aliases;
mod allowance;
pub(crate) mod asked_groups;
mod chain;
pub(crate) mod clocks;
pub(crate) mod constants;
pub(crate) mod decimals;
mod define;
mod dialect;
pub(crate) mod division;
mod durations;
mod edit;
pub(crate) mod filled;
mod guard;
pub(crate) mod join_order;
pub(crate) mod latest;
mod learned;
pub(crate) mod marks;
pub(crate) mod mode;
pub(crate) mod moment_texts;
pub(crate) mod moments;
pub(crate) mod multisets;
mod names;
pub(crate) mod namesakes;
mod outputs;
pub(crate) mod overflow;
mod parameters;
mod pass;
mod postgres;
mod query;
mod scalars;
mod sight;
pub(crate) mod sorted;
mod tables;
mod texts;
mod unpivot;
mod using;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::sql::parser::Statement;
use flywheel_base::{Clock, Error, Result};
use tokio::task::JoinSet;
use tracing::Instrument;

use self::tables::{Resolved, Resolver};
use crate::lake::Shared;
use crate::{Location, TableName};

pub use self::allowance::{Allowance, Places};
pub use self::chain::check_chains;
pub use self::define::{ColumnChange, Definition, is_definition};
pub use self::edit::{Edit, Edited, is_edit};
pub use self::guard::check_expression;
pub use self::moment_texts::as_cast;
pub use self::parameters::{Parameter, Parameters, Reads, reads};
pub use self::query::Query;
pub use self::sight::{ColumnMask, Expression, MaskValues, Seen, Sight};

/// What names mean in a session.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<TableName, Entry>,
    /// Schemas that may have no names in them.
    schemas: BTreeSet<String>,
    /// What its reader may see of some of them; all of the others.
    sights: BTreeMap<TableName, Sight>,
    /// Names that are not there for its reader.
    concealed: BTreeSet<TableName>,
    /// Views whose queries find those all the same.
    through: BTreeSet<TableName>,
    /// What queries of its reader may take; no more than the lake's limits say if absent.
    allowance: Option<Arc<Allowance>>,
    /// Whether predictions of learners that were not fitted yet are NULL.
    unfitted_is_null: bool,
}

/// What a name means.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A table of the lake, at a version or at its head.
    Table { location: Location, version: Option<i64> },
    /// A query, expanded where it is used.
    View(String),
    /// Rows in memory.
    Memory { schema: SchemaRef, batches: Vec<RecordBatch> },
}

impl Catalog {
    /// A catalog without names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `name` mean the table at `location`, at `version` or, with `None`, at its newest version
    /// when a session first reads it. A name that exists is replaced.
    pub fn table(
        &mut self,
        name: &TableName,
        location: Location,
        version: Option<i64>,
    ) -> &mut Self {
        self.entries.insert(name.clone(), Entry::Table { location, version });
        self
    }

    /// Lets `name` mean a query, which may read other names of the catalog, views included.
    pub fn view(&mut self, name: &TableName, sql: impl Into<String>) -> &mut Self {
        self.entries.insert(name.clone(), Entry::View(sql.into()));
        self
    }

    /// Lets `name` mean rows in memory.
    pub fn memory(
        &mut self,
        name: &TableName,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> &mut Self {
        self.entries.insert(name.clone(), Entry::Memory { schema, batches });
        self
    }

    /// Lets `name` mean nothing.
    pub fn forget(&mut self, name: &TableName) -> &mut Self {
        self.entries.remove(name);
        self
    }

    /// Lets `name` mean nothing to the catalog's reader, as if there were no such thing, but in the queries of views that see
    /// [through](Catalog::see_through). A name that means nothing is left alone.
    pub fn conceal(&mut self, name: &TableName) -> &mut Self {
        if self.entries.contains_key(name) {
            self.concealed.insert(name.clone());
        }
        self
    }

    /// Lets what is concealed and fits mean what it did.
    pub fn reveal(&mut self, fits: impl Fn(&TableName) -> bool) -> &mut Self {
        self.concealed.retain(|name| !fits(name));
        self
    }

    /// Lets the query of the view `name` find what is concealed from its reader. What of it the query does not select stays
    /// out of plans and errors.
    pub fn see_through(&mut self, name: &TableName) -> &mut Self {
        self.through.insert(name.clone());
        self
    }

    /// Lets there be no schema that has no names in it, but for those that `keep` says.
    pub fn keep_schemas(&mut self, keep: impl Fn(&str) -> bool) -> &mut Self {
        self.schemas.retain(|schema| keep(schema));
        self
    }

    /// Lets there be a schema, also without names in it.
    pub fn schema(&mut self, schema: impl Into<String>) -> &mut Self {
        self.schemas.insert(schema.into());
        self
    }

    /// Lets a reader see no more of `name` than `sight`, however it is read: by itself, in a view, as it
    /// was. A session of such a catalog does not change it.
    pub fn limit(&mut self, name: &TableName, sight: Sight) -> &mut Self {
        self.sights.insert(name.clone(), sight);
        self
    }

    /// Lets queries of its reader take no more than that.
    pub fn within(&mut self, allowance: Arc<Allowance>) -> &mut Self {
        self.allowance = Some(allowance);
        self
    }

    /// Lets predictions of learners that were not fitted yet be NULL, and their lists empty; otherwise they are refused.
    pub fn allow_unfitted(&mut self) -> &mut Self {
        self.unfitted_is_null = true;
        self
    }

    /// Whether `name` is a query that is expanded where it is read.
    #[must_use]
    pub fn is_view(&self, name: &TableName) -> bool {
        !self.concealed.contains(name) && matches!(self.entries.get(name), Some(Entry::View(_)))
    }

    /// Whether there is a schema of that name, empty or not.
    #[must_use]
    pub fn has_schema(&self, schema: &str) -> bool {
        self.schemas.contains(schema) || self.names().any(|name| name.schema == schema)
    }

    /// The queries of all views.
    pub fn views(&self) -> impl Iterator<Item = &str> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::View(sql) => Some(sql.as_str()),
            _ => None,
        })
    }

    /// Every name, in order.
    pub fn names(&self) -> impl Iterator<Item = &TableName> + Clone {
        self.entries.keys().filter(|name| !self.concealed.contains(*name))
    }

    /// Whether there is such a name.
    #[must_use]
    pub fn contains(&self, name: &TableName) -> bool {
        self.entries.contains_key(name) && !self.concealed.contains(name)
    }

    pub(crate) fn entry(&self, name: &TableName) -> Option<&Entry> {
        self.entries.get(name)
    }
}

/// Plans and runs queries over a [`Catalog`]; cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<Shared>,
    catalog: Arc<Catalog>,
    resolved: Arc<Resolved>,
    clock: Arc<dyn Clock>,
    /// What the names mean without what limits their reader: rules read by it.
    owner: Option<Arc<Owner>>,
    /// What they mean in views that see through; there if something is concealed.
    through: Option<Arc<Owner>>,
}

/// Names without limits.
#[derive(Debug)]
struct Owner {
    catalog: Arc<Catalog>,
    resolved: Arc<Resolved>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, catalog: Catalog, clock: Arc<dyn Clock>) -> Self {
        let owner = (!catalog.sights.is_empty()).then(|| {
            let (sights, concealed) = (BTreeMap::new(), BTreeSet::new());
            let whole = Catalog { sights, concealed, ..catalog.clone() };
            Arc::new(Owner { catalog: Arc::new(whole), resolved: Arc::default() })
        });
        let through = (!catalog.concealed.is_empty()).then(|| {
            // Rules hold there, too.
            let open = Catalog { concealed: BTreeSet::new(), ..catalog.clone() };
            Arc::new(Owner { catalog: Arc::new(open), resolved: Arc::default() })
        });
        let resolved = Arc::new(Resolved::default());
        Self { shared, catalog: Arc::new(catalog), resolved, clock, owner, through }
    }

    /// Plans and runs a query as a task of its own, so that several that are waited for together use several
    /// cores. It ends when nobody waits for it any more.
    ///
    /// # Errors
    /// Those of [`Session::query`] and [`Query::collect`].
    pub async fn collect_apart(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let (session, sql) = (self.clone(), sql.to_owned());
        let mut running = JoinSet::new();
        let answer = async move { session.query(&sql).await?.collect().await };
        running.spawn(answer.in_current_span());
        match running.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => {
                Err(Error::internal("a query stopped unexpectedly").caused_by(error))
            }
            None => Err(Error::internal("a query was not started")),
        }
    }

    /// Plans one statement that reads: `SELECT`, `WITH`, `VALUES`, `EXPLAIN`, `SHOW` or `DESCRIBE`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it cannot be parsed or planned,
    /// [`flywheel_base::ErrorKind::NotFound`] if it names an unknown table,
    /// [`flywheel_base::ErrorKind::Denied`] if it would change anything, or names what its reader may not
    /// see.
    pub async fn query(&self, sql: &str) -> Result<Query> {
        self.query_with(sql, &Parameters::new()).await
    }

    /// As [`Session::query`], with values where the statement says `$name`. A value is bound as what it is, whatever it
    /// holds.
    ///
    /// # Errors
    /// As [`Session::query`]; [`flywheel_base::ErrorKind::Invalid`] if there are values and one is missing.
    pub async fn query_with(&self, sql: &str, values: &Parameters) -> Result<Query> {
        let state = self.state();
        let statement = guard::parse(&state, sql)?;
        Box::pin(self.planned(state, statement, values)).await
    }

    /// Plans a statement that was parsed.
    async fn planned(
        &self,
        state: SessionState,
        mut statement: Statement,
        values: &Parameters,
    ) -> Result<Query> {
        let mut read = BTreeSet::new();
        let asked =
            self.resolver(&state).statement(&mut statement, &mut Vec::new(), &mut read).await?;
        // Nothing is written down and read again from here on.
        parameters::bind(&mut statement, values)?;
        let hidden = |column: &str| {
            let hidden = sight::told_of_hidden(&self.catalog.sights, &read, column);
            hidden.or_else(|| asked.told(column))
        };
        let plan = guard::plan_telling(&state, statement, &hidden).await?;
        Ok(Query::new(state, plan, read)?.within(self.catalog.allowance.clone()))
    }

    /// Finds what a statement names.
    fn resolver<'a>(&'a self, state: &'a SessionState) -> Resolver<'a> {
        Resolver {
            shared: &self.shared,
            clock: self.clock.as_ref(),
            catalog: &self.catalog,
            resolved: &self.resolved,
            owner: self.owner.as_deref(),
            through: self.through.as_deref(),
            outer: None,
            state,
        }
    }

    /// A state of its own for a query, so that its time and its settings are its own.
    fn state(&self) -> SessionState {
        let names = names::CatalogNames::new(Arc::clone(&self.catalog), Arc::clone(&self.resolved));
        state(&self.shared, self.clock.as_ref(), names::CatalogList::new(names))
    }
}

/// The state of one statement over these names.
fn state(shared: &Shared, clock: &dyn Clock, names: names::CatalogList) -> SessionState {
    let template = shared.engine.template().clone();
    let mut state =
        SessionStateBuilder::new_from_existing(template).with_catalog_list(Arc::new(names)).build();
    let now = clock.now().datetime();
    state.execution_props_mut().query_execution_start_time = Some(now);
    state
}

#[cfg(test)]
mod tests;
