//! What a build did, for people and programs.

use std::error::Error as StdError;
use std::time::Duration;

use flywheel_base::Error;
use flywheel_project::resource::properties::Severity;
use serde::{Serialize, Serializer};

/// What became of a build.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BuildReport {
    /// Every selected model, in the order in which they were built.
    pub models: Vec<ModelOutcome>,
    /// Tests that belong to no model: those of sources, and singular tests that read only sources.
    pub tests: Vec<TestOutcome>,
    /// Models whose readers moved to another version, by name.
    pub published: Vec<String>,
    /// Models that are no longer declared and that readers no longer see, by name.
    pub removed: Vec<String>,
    /// Models whose readers keep the last good version because of an error, by name.
    pub blocked: Vec<String>,
    /// What a person should know about the statements around the build.
    pub notes: Vec<String>,
    /// Why a statement after everything (`on-run-end`) failed. What was built is published all the same.
    pub error: Option<Failure>,
}

impl BuildReport {
    /// Whether no model failed or was skipped, no test of severity `error` failed, and no statement at the end.
    #[must_use]
    pub fn passed(&self) -> bool {
        let failed = |test: &TestOutcome| test.status == TestStatus::Failed;
        self.blocked.is_empty()
            && self.error.is_none()
            && !self.tests.iter().any(failed)
            && !self.models.iter().flat_map(|model| &model.tests).any(failed)
    }

    /// The outcome of the model `schema.name`.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&ModelOutcome> {
        self.models.iter().find(|model| model.name == name)
    }
}

/// What became of one model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelOutcome {
    /// The model, `schema.name`.
    pub name: String,
    /// What was done.
    pub status: ModelStatus,
    /// The rows that were written; none for a view or if nothing was written.
    pub rows: Option<u64>,
    /// How long planning, writing and testing took.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// Why it failed or was skipped.
    pub error: Option<Failure>,
    /// The tests that were run, unit tests first; none if nothing changed since they passed.
    pub tests: Vec<TestOutcome>,
    /// What a person should know, such as a hook that is not run.
    pub notes: Vec<String>,
}

/// What was done with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelStatus {
    /// It was built.
    Built,
    /// Neither it nor what it reads changed; at most its tests were run.
    Unchanged,
    /// It could not be built, or a test of severity `error` failed.
    Failed,
    /// A model or source it reads failed.
    Skipped,
}

impl ModelStatus {
    /// The word for tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What became of one test.
#[derive(Clone, Debug, Serialize)]
pub struct TestOutcome {
    /// The test: `not_null_orders_id`, or the file of a singular test.
    pub name: String,
    /// The model or source it belongs to, `schema.name`; none for a singular test on several sources.
    pub subject: Option<String>,
    /// What a failure does.
    pub severity: Severity,
    /// Whether it passed.
    pub status: TestStatus,
    /// How many rows (or values, for `unique` and `accepted_values`) fail.
    pub failures: u64,
    /// A few of the failing rows.
    pub sample: Sample,
    /// The query that finds the failing rows; of a unit test, the query that was tested.
    pub sql: String,
    /// The table that keeps the failing rows, `schema.name`, if the test says so.
    pub stored: Option<String>,
    /// Which rows were looked at.
    pub scope: TestScope,
    /// Why the test could not be run.
    pub error: Option<Failure>,
}

impl TestOutcome {
    /// Whether it tested a query on rows that were given.
    #[must_use]
    pub fn is_unit(&self) -> bool {
        self.scope == TestScope::Given
    }
}

/// Whether a test passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestStatus {
    /// No row fails.
    Passed,
    /// Rows fail, and the test's severity is `warn`.
    Warned,
    /// Rows fail and the test's severity is `error`, or the test itself cannot be run.
    Failed,
}

impl TestStatus {
    /// The word for tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::Failed => "failed",
        }
    }
}

/// Which rows a test looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestScope {
    /// The whole table.
    Table,
    /// The rows an incremental build added or changed; the others passed before.
    NewRows,
    /// The rows that a unit test gives.
    Given,
}

/// A few rows as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows; a missing value is an empty text.
    pub rows: Vec<Vec<String>>,
}

/// An error as it is kept in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The error's kind, as in `system` tables.
    pub kind: &'static str,
    /// What is wrong.
    pub message: String,
    /// What it comes from, as the engine or the system below says it.
    pub cause: Option<String>,
    /// How to mend it.
    pub hint: Option<String>,
    /// The message with its causes and the hint, as a person reads them.
    pub report: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind().name(),
            message: error.message().to_owned(),
            cause: StdError::source(error).map(ToString::to_string),
            hint: error.hint_text().map(str::to_owned),
            report: error.report(),
        }
    }
}

/// What happens during a build, as it happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// How many models will be looked at.
    Planned {
        /// The number of models.
        models: usize,
    },
    /// A model is being built; models that are unchanged never start.
    Started {
        /// The model, `schema.name`.
        model: String,
    },
    /// A model was built, failed, was skipped or did not need to be built.
    Finished(Box<ModelOutcome>),
    /// Readers moved to other versions.
    Published {
        /// The models, by name.
        models: Vec<String>,
    },
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}
