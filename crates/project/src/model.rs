//! SQL models, their configuration and their tests, in dbt's words.

mod config;
mod seed;
mod snapshot;
mod test;
mod threshold;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flywheel_base::Result;
use serde_json::Value as Json;

pub use config::{BatchSize, IncrementalStrategy, ModelConfig, OnSchemaChange};
pub(crate) use config::{OneOrMany, Settings, SettingsOf};
pub use seed::{Seed, SeedRows};
pub use snapshot::{HardDeletes, Snapshot, SnapshotStrategy};
pub(crate) use test::test_name;
pub use test::{CustomTest, Failures, ModelTest, SingularTest, TestKind};
pub use threshold::{Condition, Threshold, Verdict};
pub use unit::{Given, UnitRows, UnitTest};
pub(crate) use unit::{unit_rows, unit_test};

use crate::graph::NodeId;
use crate::metric::table::MetricReads;
use crate::resource::properties::{ColumnProperties, Constraint};
use crate::template::{self, Columns, Macros, Reference, RenderContext, RunContext};

/// The schema of models that lie directly in `models/`.
pub const SCHEMA_DEFAULT: &str = "main";

/// A model: one `SELECT` that becomes one table or view.
#[derive(Clone, Debug)]
pub struct Model {
    /// The model's name, that of its file.
    pub name: String,
    /// The schema it appears under.
    pub schema: String,
    /// The file, relative to the project folder.
    pub path: String,
    /// The file's text, with its template.
    pub sql_template: String,
    /// How it is built.
    pub config: ModelConfig,
    /// The models and learners it reads with `ref()`.
    pub refs: BTreeSet<String>,
    /// The tables it reads with `source()`: source name and table.
    pub sources: BTreeSet<(String, String)>,
    /// The semantic views it reads as `metrics.<name>`.
    pub metrics: MetricReads,
    /// The tables that stand behind what it reads of them.
    pub metric_tables: BTreeSet<NodeId>,
    /// What one row means.
    pub description: Option<String>,
    /// Columns described in property files.
    pub columns: Vec<ColumnProperties>,
    /// Generic tests declared in property files, in their order.
    pub tests: Vec<ModelTest>,
    /// Tests of its query on rows that are given, in their order.
    pub unit_tests: Vec<UnitTest>,
    /// Constraints on the whole table, declared in property files.
    pub constraints: Vec<Constraint>,
    /// The CSV file it is made of, if it is a seed.
    pub seed: Option<Seed>,
    /// How it keeps the past, if it is a snapshot.
    pub snapshot: Option<Snapshot>,
    /// The project's macros, which the template may call.
    pub macros: Arc<Macros>,
}

impl Model {
    /// What the table is called in its schema.
    #[must_use]
    pub fn table(&self) -> &str {
        self.config.alias.as_deref().unwrap_or(&self.name)
    }

    /// The SQL name, `schema.table`.
    #[must_use]
    pub fn relation(&self) -> String {
        format!("{}.{}", self.schema, self.table())
    }

    /// The model's SQL for a unit test: with the rows that are given, and what the test overrides.
    ///
    /// # Errors
    /// As [`Model::render`].
    pub fn render_unit(&self, context: &RenderContext<'_>, test: &UnitTest) -> Result<String> {
        let overrides =
            template::Overrides { macros: test.macros.clone(), env: test.env_vars.clone() };
        template::render_overridden(&self.sql_template, context, &overrides, &self.macros)
            .map_err(|fault| fault.into_error(&self.path))
    }

    /// A hook's statement with every template expression replaced.
    ///
    /// # Errors
    /// As [`Model::render`].
    pub fn render_hook(
        &self,
        hook: &str,
        context: &RenderContext<'_>,
        given: &RunContext<'_>,
    ) -> Result<String> {
        template::render_given(hook, context, given, &self.macros)
            .map_err(|fault| fault.into_error(&format!("a hook of {}", self.path)))
    }

    /// The model's SQL with every template expression replaced.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] with file, line and column if the template is wrong or
    /// takes too long; the kind and hint of a resolver's own error.
    pub fn render(&self, context: &RenderContext<'_>) -> Result<String> {
        self.render_with(context, &Columns::new())
    }

    /// As [`Model::render`], with the columns of the tables it reads, for macros that ask for them.
    ///
    /// # Errors
    /// As [`Model::render`].
    pub fn render_with(&self, context: &RenderContext<'_>, columns: &Columns) -> Result<String> {
        self.render_given(context, &RunContext { columns, ..RunContext::default() })
    }

    /// As [`Model::render_with`], with all that a run knows.
    ///
    /// # Errors
    /// As [`Model::render`]; those of whoever answers what it asks the database.
    pub fn render_given(
        &self,
        context: &RenderContext<'_>,
        given: &RunContext<'_>,
    ) -> Result<String> {
        template::render_given(&self.sql_template, context, given, &self.macros)
            .map_err(|fault| fault.into_error(&self.path))
    }

    /// Whether its template may ask for the moment of the run.
    #[must_use]
    pub fn asks_for_moment(&self) -> bool {
        let says = |words: &[&str]| self.macros.mentions_any(&self.sql_template, words);
        // `modules` may have another name there, or be asked as `modules['datetime']`.
        self.macros.dbt.is_some()
            && (says(&["run_started_at", "modules.datetime"])
                || (says(&["modules"]) && says(&["now(", "today("])))
    }

    /// Whether its template may ask for columns of what it reads.
    #[must_use]
    pub fn asks_for_columns(&self) -> bool {
        self.macros.mentions(&self.sql_template, "get_columns_in_relation")
    }

    /// What the model reads, sorted.
    pub fn references(&self) -> impl Iterator<Item = Reference> {
        let refs = self.refs.iter().cloned().map(Reference::Ref);
        refs.chain(self.sources.iter().cloned().map(|(s, t)| Reference::Source(s, t)))
    }
}

impl SingularTest {
    /// The test's SQL with every template expression replaced; each row it returns is a failure.
    ///
    /// # Errors
    /// As [`Model::render`].
    pub fn render(&self, context: &RenderContext<'_>) -> Result<String> {
        self.render_given(context, &RunContext::default())
    }

    /// As [`SingularTest::render`], with all that a run knows.
    ///
    /// # Errors
    /// As [`Model::render`]; those of whoever answers what it asks the database.
    pub fn render_given(
        &self,
        context: &RenderContext<'_>,
        given: &RunContext<'_>,
    ) -> Result<String> {
        template::render_given(&self.sql, context, given, &self.macros)
            .map_err(|fault| fault.into_error(&self.path))
    }
}

/// Splits what a template reads into names for `ref` and pairs for `source`.
pub(crate) fn split(
    references: impl IntoIterator<Item = Reference>,
) -> (BTreeSet<String>, BTreeSet<(String, String)>) {
    let mut refs = BTreeSet::new();
    let mut sources = BTreeSet::new();
    for reference in references {
        match reference {
            Reference::Ref(name) => {
                refs.insert(name);
            }
            Reference::Source(source, table) => {
                sources.insert((source, table));
            }
        }
    }
    (refs, sources)
}

/// The project's variables, as templates see them.
pub(crate) type Vars = BTreeMap<String, Json>;
