//! Tests: generic ones from property files, singular ones from `tests/`.

use std::collections::BTreeSet;
use std::sync::Arc;

use flywheel_base::{Result, digest};
use serde_json::Value as Json;

use super::Threshold;
use crate::graph::{NodeId, NodeKind};
use crate::resource::properties::Severity;
use crate::template::{self, Macros, RenderContext, RunContext};

/// The longest name of a test before it is shortened with a digest, as dbt does.
const NAME_MAX: usize = 63;

/// A generic test on a model's or a source table's column.
#[derive(Clone, Debug)]
pub struct ModelTest {
    /// The name, such as `unique_orders_order_id`; unique in the project.
    pub name: String,
    /// The tested model, or the tested source table as `schema.table`.
    pub model: String,
    /// The tested node.
    pub target: NodeId,
    /// The tested column.
    pub column: Option<String>,
    /// What is tested.
    pub kind: TestKind,
    /// What a failure does.
    pub severity: Severity,
    /// Only rows that fulfil this SQL condition are tested.
    pub condition: Option<String>,
    /// How many failures it takes.
    pub threshold: Threshold,
    /// What is done with failing rows.
    pub failures: Failures,
    /// The property file, relative to the project folder.
    pub file: String,
    /// The line of the test in that file.
    pub line: usize,
}

/// What is done with a test's failing rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// SQL over the failing rows that says how many failures they are; each row is one if absent.
    pub calc: Option<String>,
    /// The table that keeps them, `schema.name`.
    pub table: Option<String>,
}

/// What a generic test demands.
#[derive(Clone, Debug, PartialEq)]
pub enum TestKind {
    /// No value occurs twice.
    Unique,
    /// No value is missing.
    NotNull,
    /// Only these values occur.
    AcceptedValues {
        /// The values.
        values: Vec<Json>,
    },
    /// Every value occurs in another table's column.
    Relationships {
        /// The other model, learner or source table.
        to: NodeId,
        /// The other table's column.
        field: String,
    },
    /// A query that a test of the project or of a package writes; each row it returns is a failure.
    Custom(CustomTest),
}

/// A call of a test that is a macro.
#[derive(Clone, Debug)]
pub struct CustomTest {
    /// The test's name, such as `dbt_utils.accepted_range`.
    pub test: String,
    /// The template that calls it.
    pub sql: String,
    /// The models and learners it reads with `ref()`.
    pub refs: BTreeSet<String>,
    /// The tables it reads with `source()`: source name and table.
    pub sources: BTreeSet<(String, String)>,
    /// The project's macros, of which it is one.
    pub macros: Arc<Macros>,
}

impl PartialEq for CustomTest {
    fn eq(&self, other: &Self) -> bool {
        self.sql == other.sql
    }
}

impl CustomTest {
    /// The test's SQL with every template expression replaced.
    ///
    /// # Errors
    /// As [`super::Model::render`].
    pub fn render(&self, context: &RenderContext<'_>) -> Result<String> {
        self.render_given(context, &RunContext::default())
    }

    /// As [`CustomTest::render`], with all that a run knows.
    ///
    /// # Errors
    /// As [`super::Model::render`]; those of whoever answers what it asks the database.
    pub fn render_given(
        &self,
        context: &RenderContext<'_>,
        given: &RunContext<'_>,
    ) -> Result<String> {
        template::render_given(&self.sql, context, given, &self.macros)
            .map_err(|fault| fault.into_error(&format!("test \"{}\"", self.test)))
    }
}

/// A test that is a query: every row it returns is a failure.
#[derive(Clone, Debug)]
pub struct SingularTest {
    /// The name, that of its file.
    pub name: String,
    /// The file, relative to the project folder.
    pub path: String,
    /// The file's text, with its template.
    pub sql: String,
    /// What a failure does.
    pub severity: Severity,
    /// How many failures it takes.
    pub threshold: Threshold,
    /// What is done with failing rows.
    pub failures: Failures,
    /// Tags for selection with `tag:`, sorted.
    pub tags: Vec<String>,
    /// The models and learners it reads with `ref()`.
    pub refs: BTreeSet<String>,
    /// The tables it reads with `source()`: source name and table.
    pub sources: BTreeSet<(String, String)>,
    /// The project's macros, which the template may call.
    pub macros: Arc<Macros>,
}

impl TestKind {
    /// dbt's word for the kind.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Unique => "unique",
            Self::NotNull => "not_null",
            Self::AcceptedValues { .. } => "accepted_values",
            Self::Relationships { .. } => "relationships",
            Self::Custom(custom) => &custom.test,
        }
    }
}

/// The name dbt gives a generic test.
pub(crate) fn test_name(target: &NodeId, column: Option<&str>, kind: &TestKind) -> String {
    let prefix = if target.kind == NodeKind::Source { "source_" } else { "" };
    let mut name = format!("{prefix}{}_{}", kind.word(), target.name);
    if let Some(column) = column {
        name = format!("{name}_{column}");
    }
    match kind {
        TestKind::AcceptedValues { values } => {
            for value in values {
                name.push_str("__");
                name.push_str(
                    value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str(),
                );
            }
        }
        TestKind::Relationships { to, field } => {
            name = format!("{name}__{field}__ref_{}_", to.name);
        }
        TestKind::Custom(custom) => {
            // Two calls of one test differ in their arguments, which may be long.
            let differs = digest::short(&[custom.sql.as_bytes()]);
            name = format!("{name}_{}", differs.get(..6).unwrap_or(&differs));
        }
        TestKind::Unique | TestKind::NotNull => {}
    }
    let clean: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if clean.len() <= NAME_MAX {
        return clean;
    }
    format!("{}_{}", &clean[..NAME_MAX - 17], digest::short(&[name.as_bytes()]))
}
