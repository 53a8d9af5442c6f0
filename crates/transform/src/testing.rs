//! Tests of models and sources: what is tested, and running many of them with few queries.
//!
//! Checks that look at one row at a time (`not_null`, `accepted_values`) share one scan of the table;
//! the others share one query with a branch for each. Only a check that fails costs queries of its
//! own, for the count in dbt's sense and a sample of the rows. When a shared query cannot be planned
//! (a mistake in one `where`), each check runs alone, so that the mistake is put to its test.

mod run;
mod statement;
mod unit;

use std::collections::BTreeSet;

use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_project::resource::properties::Severity;
use flywheel_project::{
    Failures, Model, ModelTest, NodeId, NodeKind, Project, RunContext, SingularTest, TestKind,
    Threshold,
};
use serde_json::Value as Json;

pub(crate) use run::{Kept, Subject, not_run, run, texts};
pub(crate) use statement::{quoted, quoted_table};
pub(crate) use unit::Unit;

use crate::names;

/// A test, with the names SQL uses.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// The name, unique in the project.
    pub(crate) name: String,
    /// The tested model or source, `schema.name`.
    pub(crate) subject: Option<String>,
    /// The models that are not published if the test fails, `schema.name`.
    pub(crate) blames: BTreeSet<String>,
    /// What is tested.
    pub(crate) kind: CheckKind,
    /// What a failure does.
    pub(crate) severity: Severity,
    /// How many failures it takes.
    pub(crate) threshold: Threshold,
    /// What is done with failing rows.
    pub(crate) failures: Failures,
    /// Only rows that fulfil this SQL condition are tested.
    pub(crate) condition: Option<String>,
    /// Everything the test reads besides its subject, `schema.name`.
    pub(crate) reads: BTreeSet<String>,
    /// Whether its template asks the database: then `kind` has the query as dbt parses it, and [`Check::render`] the one
    /// that is run.
    pub(crate) asks: bool,
}

/// What a test demands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CheckKind {
    /// No value is missing.
    NotNull { column: String },
    /// No value occurs twice.
    Unique { column: String },
    /// Only these values occur.
    AcceptedValues { column: String, values: Vec<Json> },
    /// Every value occurs in the column `field` of `to`.
    Relationships { column: String, to: String, field: String },
    /// The query returns no row.
    Singular { sql: String },
}

impl Check {
    /// Takes a generic test.
    fn generic(project: &Project, test: &ModelTest, moment: Timestamp) -> Result<Self> {
        let column = || {
            test.column.clone().ok_or_else(|| {
                Error::invalid(format!("test \"{}\" is on no column", test.name))
                    .hint("Put it under the column's `tests:`.")
            })
        };
        let subject = names::relation(project, &test.target);
        let mut reads = BTreeSet::new();
        let mut asks = false;
        let kind = match &test.kind {
            TestKind::NotNull => CheckKind::NotNull { column: column()? },
            TestKind::Unique => CheckKind::Unique { column: column()? },
            TestKind::AcceptedValues { values } => {
                CheckKind::AcceptedValues { column: column()?, values: values.clone() }
            }
            TestKind::Relationships { to, field } => {
                let to = names::relation(project, to);
                if to != subject {
                    reads.insert(to.clone());
                }
                CheckKind::Relationships { column: column()?, to, field: field.clone() }
            }
            TestKind::Custom(custom) => {
                reads = names::read_by(project, &custom.refs, &custom.sources)?;
                reads.remove(&subject);
                let render = |run: &RunContext<'_>| names::render_custom_in(project, custom, run);
                let (sql, asked) = names::render_unasked(moment, |_| true, render)?;
                asks = asked;
                CheckKind::Singular { sql }
            }
        };
        // The query of a test that is a macro already looks at those rows only.
        let whole = matches!(kind, CheckKind::Singular { .. });
        let condition = if whole { None } else { test.condition.clone() };
        Ok(Self {
            name: test.name.clone(),
            blames: BTreeSet::from([subject.clone()]),
            subject: Some(subject),
            kind,
            severity: test.severity,
            threshold: test.threshold.clone(),
            failures: test.failures.clone(),
            condition,
            reads,
            asks,
        })
    }

    /// Takes a singular test. It belongs to those of the models it reads that no
    /// other of them reads, or, if it reads no model, to the sources.
    fn singular(project: &Project, test: &SingularTest, moment: Timestamp) -> Result<Self> {
        let render = |run: &RunContext<'_>| names::render_test_in(project, test, run);
        let (sql, asks) = names::render_unasked(moment, |_| true, render)?;
        let mut reads = names::read_by(project, &test.refs, &test.sources)?;
        let mut blames = furthest(project, &test.refs);
        if blames.is_empty() {
            blames.clone_from(&reads);
        }
        let subject = blames.last().cloned();
        if let Some(subject) = &subject {
            reads.remove(subject);
        }
        let kind = CheckKind::Singular { sql };
        let (name, severity) = (test.name.clone(), test.severity);
        let (threshold, failures) = (test.threshold.clone(), test.failures.clone());
        let condition = None;
        Ok(Self {
            name,
            subject,
            blames,
            kind,
            severity,
            threshold,
            failures,
            condition,
            reads,
            asks,
        })
    }

    /// The query of a test whose template asks the database.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the template is wrong, and those of whoever answers.
    pub(crate) fn render(&self, project: &Project, run: &RunContext<'_>) -> Result<String> {
        if let Some(test) = project.singular_tests.get(&self.name) {
            return names::render_test_in(project, test, run);
        }
        let of_models = project.model_tests().find(|test| test.name == self.name);
        match of_models.map(|test| &test.kind) {
            Some(TestKind::Custom(custom)) => names::render_custom_in(project, custom, run),
            _ => Err(Error::internal(format!("test \"{}\" has no template", self.name))),
        }
    }

    /// Identifies what the test demands.
    pub(crate) fn digest(&self) -> String {
        digest::short(&[format!("{self:?}").as_bytes()])
    }
}

/// Every test of the project, by name, in a run that began at `moment`. One that tells it demands something else in each
/// run, so that it is never taken for one that has passed.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a singular test's template is wrong.
pub(crate) fn checks(project: &Project, moment: Timestamp) -> Result<Vec<Check>> {
    let enabled = |test: &&ModelTest| {
        project.models.get(&test.target.name).is_none_or(|model| model.config.enabled)
    };
    let generic = project.model_tests().filter(enabled);
    let mut checks: Vec<Check> =
        generic.map(|test| Check::generic(project, test, moment)).collect::<Result<_>>()?;
    for test in project.singular_tests.values() {
        checks.push(Check::singular(project, test, moment)?);
    }
    checks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(checks)
}

/// Those of several models that are upstream of no other of them.
fn furthest(project: &Project, refs: &BTreeSet<String>) -> BTreeSet<String> {
    let node = |model: &Model| NodeId::new(NodeKind::Model, &model.name);
    let models: Vec<&Model> = refs.iter().filter_map(|name| project.models.get(name)).collect();
    let above: BTreeSet<NodeId> =
        models.iter().flat_map(|model| project.graph.ancestors(&node(model))).collect();
    let last = models.into_iter().filter(|model| !above.contains(&node(model)));
    last.map(Model::relation).collect()
}
