//! Running the tests of a build: when they can run, which of them need to, and on which rows.
//!
//! A test runs as soon as everything it reads is settled. If neither the model nor what its tests read
//! changed since they passed, none runs. If only what its tests read changed, only those run that read
//! it. If rows were added to a table that passed, tests of single rows look at those rows only.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use flywheel_base::{Error, Result};
use flywheel_project::{IncrementalStrategy, RunContext};
use flywheel_state::Build;
use flywheel_warehouse::{Location, Session, TableName};
use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use super::ask::{Desk, Facts, Told};
use super::job::Candidate;
use super::past::{PASSED, UNTESTED, WARNED};
use super::progress::Progress;
use crate::inputs::{self, Inputs};
use crate::report::{ModelStatus, TestOutcome, TestStatus};
use crate::shelf::Item;
use crate::testing::{self, Check, CheckKind, Kept, Subject, Unit, quoted_table};

/// How many tables are tested at once.
const SUBJECTS_AT_ONCE: usize = 4;

/// The schema under which tests find the new rows of a model; no model can have it.
const NEW_ROWS_SCHEMA: &str = "_new_rows";

/// Which tests of a subject have to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// They passed on the same rows.
    None,
    /// The subject is the same, but not what tests read besides it.
    Readers,
    /// Rows were added to a table that passed.
    NewRows,
    /// All of them, on the whole table.
    All,
}

impl Progress<'_> {
    /// Runs the tests of everything that is settled and was not tested yet.
    pub(super) async fn try_ready(&mut self) -> Result<()> {
        let subjects = self.plan.checks.keys();
        let ready: Vec<Option<String>> = subjects
            .filter(|subject| !self.tried.contains_key(*subject) && self.settled(subject))
            .cloned()
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        let mut work = Vec::new();
        for subject in &ready {
            let need = self.need(subject);
            let checks = self.plan.checks.get(subject).into_iter().flatten();
            let checks: Vec<&Check> = checks
                .filter(|check| need != Need::Readers || !check.reads.is_empty())
                .filter(|_| need != Need::None)
                .collect();
            work.push((subject, need, checks));
        }
        let session = self.session_with_new_rows(&ready)?;
        let tried: Vec<(Duration, Result<Vec<TestOutcome>>)> = {
            let mut works: Vec<BoxFuture<'_, (Duration, Result<Vec<TestOutcome>>)>> = Vec::new();
            for (subject, need, checks) in &work {
                works.push(Box::pin(self.timed(&session, subject.as_deref(), *need, checks)));
            }
            stream::iter(works).buffered(SUBJECTS_AT_ONCE).collect().await
        };
        for (subject, (duration, outcomes)) in ready.into_iter().zip(tried) {
            self.settle(subject, duration, outcomes?)?;
        }
        Ok(())
    }

    /// Whether everything the subject's tests read has been built, if it is to be.
    fn settled(&self, subject: &Option<String>) -> bool {
        let checks = self.plan.checks.get(subject).into_iter().flatten();
        let reads = checks.flat_map(|check| check.reads.union(&check.blames));
        let mut names = reads.chain(subject);
        names.all(|name| !self.plan.selected.contains(name) || self.outcomes.contains_key(name))
    }

    fn need(&self, subject: &Option<String>) -> Need {
        let Some(name) = subject else { return Need::All };
        let gone = self.blocked.contains(name) || self.shelf.item(name).is_none();
        let skipped = self.outcomes.get(name).is_some_and(|o| o.status == ModelStatus::Skipped);
        if gone || skipped {
            return Need::None;
        }
        let past = self.past(name);
        let (Some(build), Some(before)) = (past.build, past.inputs()) else { return Need::All };
        let same_tests = before.tests == self.definitions(subject) && build.tests == PASSED;
        if self.options.full_refresh || !same_tests {
            return Need::All;
        }
        let same_reads = before.reads == self.reads_of_tests(subject);
        let candidate = self.candidates.get(name);
        let data = candidate.map_or_else(|| self.source_data(name), |made| made.data.clone());
        let same_fingerprint = candidate.is_none_or(|made| made.fingerprint == build.fingerprint);
        let built = candidate.is_some_and(|made| made.built);
        match (same_fingerprint && before.data == data && !built, same_reads) {
            (true, true) => Need::None,
            (true, false) => Need::Readers,
            (false, _)
                if same_fingerprint && candidate.is_some_and(|made| made.batch.is_some()) =>
            {
                Need::NewRows
            }
            _ => Need::All,
        }
    }

    /// A digest of the definitions of a subject's tests.
    fn definitions(&self, subject: &Option<String>) -> String {
        let checks = self.plan.checks.get(subject).into_iter().flatten().map(Check::digest);
        let units = subject.as_ref().and_then(|name| self.plan.units.get(name));
        inputs::of(checks.chain(units.into_iter().flatten().map(Unit::digest)))
    }

    /// Whether the model's unit tests passed on the query that it has now.
    pub(super) fn units_passed(&self, name: &str) -> bool {
        let past = self.past(name);
        let (Some(build), Some(before)) = (past.build, past.inputs()) else { return false };
        let passed = build.tests == PASSED || build.tests == WARNED;
        passed
            && !self.options.full_refresh
            && before.tests == self.definitions(&Some(name.to_owned()))
    }

    /// A digest of the versions of what a subject's tests read besides it.
    fn reads_of_tests(&self, subject: &Option<String>) -> String {
        let checks = self.plan.checks.get(subject).into_iter().flatten();
        let reads: BTreeSet<&str> =
            checks.flat_map(|check| &check.reads).map(String::as_str).collect();
        inputs::of(self.shelf.versions(reads))
    }

    /// A digest of the version of a landed table.
    fn source_data(&self, name: &str) -> String {
        inputs::of(self.shelf.versions([name]))
    }

    fn session_with_new_rows(&self, subjects: &[Option<String>]) -> Result<Session> {
        let mut catalog = self.shelf.catalog()?;
        for name in subjects.iter().flatten() {
            let batch = self.candidates.get(name).and_then(|made| made.batch.as_ref());
            if let Some(batch) = batch {
                let schema = SchemaRef::clone(&batch.schema);
                catalog.memory(&new_rows(name), schema, batch.rows.clone());
            }
        }
        self.world.lake.session(catalog)
    }

    async fn timed(
        &self,
        session: &Session,
        subject: Option<&str>,
        need: Need,
        checks: &[&Check],
    ) -> (Duration, Result<Vec<TestOutcome>>) {
        let start = Instant::now();
        let outcomes = self.try_subject(session, subject, need, checks).await;
        (start.elapsed(), outcomes)
    }

    async fn try_subject(
        &self,
        session: &Session,
        subject: Option<&str>,
        need: Need,
        checks: &[&Check],
    ) -> Result<Vec<TestOutcome>> {
        if checks.iter().all(|check| !check.asks) {
            return Box::pin(self.try_checks(session, subject, need, checks)).await;
        }
        let (mut told, mut outcomes) = (Vec::with_capacity(checks.len()), Vec::new());
        for check in checks {
            match self.told(check).await {
                Ok(check) => told.push(check),
                Err(error) => outcomes.push(testing::not_run(check, error)),
            }
        }
        let checks: Vec<&Check> = told.iter().collect();
        outcomes.extend(Box::pin(self.try_checks(session, subject, need, &checks)).await?);
        Ok(outcomes)
    }

    /// The test with the query that its template writes once it is told what it asks.
    async fn told(&self, check: &Check) -> Result<Check> {
        let mut told = check.clone();
        if check.asks {
            let project = self.world.project;
            let reads = check.reads.iter().chain(&check.blames).chain(&check.subject);
            let reads: BTreeSet<String> = reads.cloned().collect();
            let desk = Desk::of_test(self.world, &self.shelf, &reads)?;
            let facts = Facts { moment: Some(self.world.now), ..Facts::default() };
            let render = |run: &RunContext<'_>| check.render(project, run);
            let mut answers = Told::default();
            let sql = Box::pin(desk.render(&mut answers, facts, render)).await?;
            told.kind = CheckKind::Singular { sql };
        }
        Ok(told)
    }

    async fn try_checks(
        &self,
        session: &Session,
        subject: Option<&str>,
        need: Need,
        checks: &[&Check],
    ) -> Result<Vec<TestOutcome>> {
        if checks.is_empty() {
            return Ok(Vec::new());
        }
        let Some(name) = subject else {
            let nothing = arrow::datatypes::Schema::empty();
            let kept = &Kept::new();
            let subject =
                Subject { table: "", schema: &nothing, batch: None, merge_key: &[], kept };
            return Ok(testing::run(self.world.lake, session, subject, checks).await);
        };
        let schema = match self.shelf.item(name) {
            Some(Item::Table { location, version }) => {
                self.world.lake.state_at(location, *version).await?.schema
            }
            _ => session.query(&format!("SELECT * FROM {}", quoted_table(name))).await?.schema(),
        };
        let batch = (need == Need::NewRows).then(|| new_rows(name).to_string());
        let merge_key = self.plan.models.get(name).map(|model| model.config.unique_key.as_slice());
        let subject = Subject {
            table: name,
            schema: &schema,
            batch: batch.as_deref(),
            merge_key: merge_key.unwrap_or_default(),
            kept: &self.kept(name),
        };
        Ok(testing::run(self.world.lake, session, subject, checks).await)
    }

    /// What the subject's tests read besides it and what lost nothing since they passed: tables that are the same
    /// and, of those that only got rows by a merge, the column that the merge goes by.
    fn kept(&self, subject: &str) -> Kept {
        let checks = self.plan.checks.get(&Some(subject.to_owned())).into_iter().flatten();
        let reads: BTreeSet<&str> =
            checks.flat_map(|check| &check.reads).map(String::as_str).collect();
        let mut kept = Kept::new();
        let mut then = self.shelf.clone();
        for name in &reads {
            let candidate = self.candidates.get(*name);
            if candidate.is_none_or(|made| !made.built) {
                // A view can lose rows when a table behind it changes.
                if let Some(Item::Table { .. }) = self.shelf.item(name) {
                    kept.insert((*name).to_owned(), None);
                }
                continue;
            }
            let (Some(made), Some(model)) = (candidate, self.plan.models.get(*name)) else {
                continue;
            };
            let Some(before) = self.past(name).build.filter(|_| made.batch.is_some()) else {
                continue;
            };
            let (Some(location), Some(version)) = (&before.location, before.version) else {
                continue;
            };
            let Ok(location) = Location::new(location.as_str()) else { continue };
            if made.fingerprint != before.fingerprint {
                continue;
            }
            then.put(name, Some(Item::Table { location, version }));
            match (&model.config.incremental_strategy, model.config.unique_key.as_slice()) {
                (IncrementalStrategy::Append, _) => _ = kept.insert((*name).to_owned(), None),
                (_, [key]) => _ = kept.insert((*name).to_owned(), Some(key.clone())),
                _ => {}
            }
        }
        // The tests passed on what was there before this build, or on something older.
        let passed_on = self.past(subject).inputs().map(|inputs| inputs.reads);
        let same =
            passed_on.is_some_and(|reads_then| reads_then == inputs::of(then.versions(reads)));
        if same { kept } else { Kept::new() }
    }

    /// Notes outcomes and blocks what failed.
    fn settle(
        &mut self,
        subject: Option<String>,
        duration: Duration,
        outcomes: Vec<TestOutcome>,
    ) -> Result<()> {
        let checks = self.plan.checks.get(&subject).into_iter().flatten();
        let failed = |check: &&Check| {
            let mut of_check = outcomes.iter().filter(|outcome| outcome.name == check.name);
            of_check.any(|outcome| outcome.status == TestStatus::Failed)
        };
        let blamed: BTreeSet<&String> =
            checks.filter(failed).flat_map(|check| &check.blames).collect();
        for name in blamed {
            if self.plan.selected.contains(name) || !self.plan.models.contains_key(name) {
                self.block(name)?;
            }
        }
        if let Some(name) = &subject {
            self.note_source(name, &outcomes);
            if let Some(outcome) = self.outcomes.get_mut(name) {
                outcome.duration += duration;
                let units = self.units.get(name).cloned().unwrap_or_default();
                outcome.tests = units.into_iter().chain(outcomes.iter().cloned()).collect();
                let told =
                    matches!(outcome.status, ModelStatus::Skipped) || outcome.error.is_some();
                if !told {
                    self.finished(name);
                }
            }
        }
        self.tried.insert(subject, outcomes);
        Ok(())
    }

    /// A landed table whose tests passed is not tested again until it changes.
    fn note_source(&mut self, name: &str, outcomes: &[TestOutcome]) {
        let passed = outcomes.iter().all(|outcome| outcome.status == TestStatus::Passed);
        let Some(Item::Table { location, version }) = self.shelf.item(name) else { return };
        if self.plan.models.contains_key(name) || outcomes.is_empty() || !passed {
            return;
        }
        let subject = Some(name.to_owned());
        let inputs = Inputs {
            data: self.source_data(name),
            tests: self.definitions(&subject),
            reads: self.reads_of_tests(&subject),
            ..Inputs::default()
        };
        self.sources_passed.push(Build {
            name: name.to_owned(),
            fingerprint: String::new(),
            inputs: inputs.to_string(),
            location: Some(location.to_string()),
            version: Some(*version),
            view_sql: None,
            tests: PASSED.to_owned(),
            built_at: self.world.now,
            sql: None,
            intervals: None,
        });
    }

    /// What is recorded of a model that passed, and of its tests.
    pub(super) fn inputs_of(&self, name: &str, candidate: &Candidate) -> (Inputs, String) {
        let subject = Some(name.to_owned());
        let mut inputs = Inputs {
            source: candidate.source.clone(),
            data: candidate.data.clone(),
            tests: self.definitions(&subject),
            reads: self.reads_of_tests(&subject),
            timed: candidate.timed,
        };
        let past = self.past(name);
        if !self.options.run_tests {
            let before = past.inputs().unwrap_or_default();
            let same = before.data == inputs.data && !candidate.built;
            (inputs.tests, inputs.reads) = (before.tests, before.reads);
            let tests = past.build.filter(|_| same).map(|build| build.tests.clone());
            return (inputs, tests.unwrap_or_else(|| UNTESTED.to_owned()));
        }
        let outcomes = self.tried.get(&subject).into_iter().flatten();
        let warned = outcomes.clone().any(|outcome| outcome.status == TestStatus::Warned);
        (inputs, if warned { WARNED } else { PASSED }.to_owned())
    }

    /// Runs all tests on what readers see.
    pub(super) async fn try_published(&self) -> Result<Vec<TestOutcome>> {
        let session = self.session()?;
        let mut all = Vec::new();
        for (subject, checks) in &self.plan.checks {
            let checks: Vec<&Check> = checks.iter().collect();
            let missing = subject.as_ref().filter(|name| self.shelf.item(name).is_none());
            if let Some(name) = missing {
                let error = || {
                    Error::not_found(format!("\"{name}\" has not been built"))
                        .hint("Run `flywheel build` first; a landed table needs `flywheel sync`.")
                };
                all.extend(checks.iter().map(|check| testing::not_run(check, error())));
                continue;
            }
            all.extend(self.try_subject(&session, subject.as_deref(), Need::All, &checks).await?);
        }
        for unit in self.plan.units.values().flatten() {
            let world = self.world;
            all.push(Box::pin(unit.run(world.lake, &session, world.project)).await);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

fn new_rows(name: &str) -> TableName {
    TableName::new(NEW_ROWS_SCHEMA, name.replace('.', "__"))
}
