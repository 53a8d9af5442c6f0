//! A build on its way: what each name means by now, what failed, and what readers will see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use flywheel_base::{Error, Result};
use flywheel_project::Model;
use flywheel_state::{Build, Publication};
use flywheel_warehouse::{Location, Session};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};

use super::job::{Candidate, Job};
use super::past::Past;
use super::plan::Plan;
use super::{BuildOptions, hook};
use crate::catalog::holds;
use crate::report::{
    BuildReport, Event, Failure, ModelOutcome, ModelStatus, TestOutcome, TestStatus,
};
use crate::shelf::{Item, Shelf};
use crate::{World, inputs, names, order};

/// How many models of a wave are built at once, so that one waits for the disk while another computes.
const MODELS_AT_ONCE: usize = 4;

/// How many tables are looked up at once.
const LOOKUPS_AT_ONCE: usize = 16;

/// A name and what it means.
type Named = (String, Option<Item>);

/// The state of one build.
pub(super) struct Progress<'a> {
    pub(super) world: World<'a>,
    pub(super) plan: &'a Plan<'a>,
    pub(super) options: BuildOptions<'a>,
    /// Earlier builds that passed.
    builds: BTreeMap<String, Build>,
    /// What readers see.
    published: BTreeMap<String, Publication>,
    /// What names mean to the models that come next.
    pub(super) shelf: Shelf,
    /// What was made of each model so far.
    pub(super) candidates: BTreeMap<String, Candidate>,
    /// What is known of each model so far.
    pub(super) outcomes: BTreeMap<String, ModelOutcome>,
    /// Models in the order in which they were looked at.
    sequence: Vec<String>,
    /// Models and sources nobody may build on.
    pub(super) blocked: BTreeSet<String>,
    /// Results of tests, by what they tested.
    pub(super) tried: BTreeMap<Option<String>, Vec<TestOutcome>>,
    /// What a person should know about the statements around the build.
    pub(super) notes: Vec<String>,
    /// Results of unit tests, by model.
    pub(super) units: BTreeMap<String, Vec<TestOutcome>>,
    /// Builds to be recorded for sources, whose tests passed.
    pub(super) sources_passed: Vec<Build>,
}

impl<'a> Progress<'a> {
    /// Starts with what readers see and with the heads of landed tables.
    pub(super) async fn new(
        world: World<'a>,
        plan: &'a Plan<'a>,
        options: BuildOptions<'a>,
    ) -> Result<Self> {
        let published = world.store.publications()?;
        let published: BTreeMap<String, Publication> =
            published.into_iter().map(|seen| (seen.name.clone(), seen)).collect();
        let builds = world.store.builds()?;
        let builds = builds.into_iter().map(|build| (build.name.clone(), build)).collect();
        let mut progress = Self {
            world,
            plan,
            options,
            builds,
            published,
            shelf: Shelf::default(),
            candidates: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            sequence: Vec::new(),
            blocked: BTreeSet::new(),
            tried: BTreeMap::new(),
            units: BTreeMap::new(),
            notes: Vec::new(),
            sources_passed: Vec::new(),
        };
        for (name, model) in &plan.models {
            let item = match names::is_ephemeral(model) {
                true => Some(progress.ephemeral_item(name, model)?),
                false => progress.published_item(name)?,
            };
            progress.shelf.put(name, item);
        }
        progress.look_up_heads().await?;
        progress.open_published_views().await?;
        Ok(progress)
    }

    /// What readers see under a model's name.
    pub(super) fn published_item(&self, name: &str) -> Result<Option<Item>> {
        let Some(seen) = self.published.get(name) else { return Ok(None) };
        if let (Some(location), Some(version)) = (&seen.location, seen.version) {
            let location = Location::new(location.as_str())?;
            return Ok(Some(Item::Table { location, version }));
        }
        let Some(sql) = seen.view_sql.clone() else { return Ok(None) };
        let reads = self.plan.reads.get(name).cloned().unwrap_or_default();
        Ok(Some(Item::View { sql, fingerprint: seen.fingerprint.clone(), reads }))
    }

    /// What an ephemeral model means to its tests, whether it is built now or not.
    fn ephemeral_item(&self, name: &str, model: &Model) -> Result<Item> {
        let sql = names::render_model(self.world.project, model, false)?;
        let reads = self.plan.reads.get(name).cloned().unwrap_or_default();
        Ok(Item::View { fingerprint: inputs::of([&sql]), sql, reads })
    }

    fn is_ephemeral(&self, name: &str) -> bool {
        self.plan.models.get(name).is_some_and(|model| names::is_ephemeral(model))
    }

    /// Puts every landed table that is declared or read on the shelf, at its newest version. Those that
    /// nobody reads are there so that a query that reads one undeclared is told so.
    async fn look_up_heads(&mut self) -> Result<()> {
        let of_models = self.plan.reads.values().flatten();
        let checks = self.plan.checks.iter();
        let of_tests = checks.flat_map(|(subject, checks)| {
            subject.iter().chain(checks.iter().flat_map(|check| check.blames.union(&check.reads)))
        });
        let names: BTreeSet<&String> = of_models
            .chain(of_tests)
            .chain(self.world.project.sources.keys())
            .filter(|name| !self.plan.models.contains_key(*name))
            .collect();
        let lake = self.world.lake;
        let holds = &holds(self.world)?;
        let mut lookups: Vec<BoxFuture<'_, Result<Named>>> = Vec::new();
        for name in names {
            lookups.push(Box::pin(async move {
                let location = names::plain_location(name)?;
                let version = match holds.get(name) {
                    Some(hold) => hold.version,
                    None => lake.head(&location).await?.map(|head| head.version),
                };
                let item = version.map(|version| Item::Table { location, version });
                Ok((name.clone(), item))
            }));
        }
        let lookups = stream::iter(lookups).buffered(LOOKUPS_AT_ONCE);
        let found: Vec<Named> = lookups.try_collect().await?;
        for (name, item) in found {
            self.shelf.put(&name, item);
        }
        Ok(())
    }

    /// A view that is not built now reads what its published query reads, which its file may no longer
    /// say.
    async fn open_published_views(&mut self) -> Result<()> {
        let session = self.session()?;
        let mut found = Vec::new();
        for (name, model) in &self.plan.models {
            let Some(Item::View { sql, .. }) = self.shelf.item(name) else { continue };
            let unbuilt = !self.plan.selected.contains(name);
            if !unbuilt || names::render_model(self.world.project, model, false)? == *sql {
                continue;
            }
            // A view that can no longer be planned fails where it is read.
            if let Ok(query) = session.query(sql).await {
                found
                    .push((name.clone(), query.tables().iter().map(ToString::to_string).collect()));
            }
        }
        for (name, behind) in found {
            if let Some(Item::View { reads, .. }) = self.shelf.item_mut(&name) {
                *reads = behind;
            }
        }
        Ok(())
    }

    pub(super) fn past(&self, name: &str) -> Past<'_> {
        Past { build: self.builds.get(name), publication: self.published.get(name) }
    }

    /// A session in which names mean what is on the shelf.
    pub(super) fn session(&self) -> Result<Session> {
        self.world.lake.session(self.shelf.catalog()?)
    }

    /// Builds the models of one wave.
    pub(super) async fn build_wave(&mut self, wave: &[String]) -> Result<()> {
        let mut ready = Vec::new();
        for name in wave {
            self.sequence.push(name.clone());
            match self.culprit(name) {
                Some(culprit) => self.skip(name, &culprit),
                None => ready.push(name.as_str()),
            }
        }
        let session = self.session()?;
        let ready = self.try_units(&session, ready).await;
        let made: Vec<(Duration, Result<Candidate>)> = {
            let mut works: Vec<BoxFuture<'_, (Duration, Result<Candidate>)>> = Vec::new();
            for name in &ready {
                works.push(Box::pin(self.build_one(&session, name)));
            }
            stream::iter(works).buffered(MODELS_AT_ONCE).collect().await
        };
        for (name, (duration, made)) in ready.into_iter().zip(made) {
            self.take(name, duration, made);
        }
        Ok(())
    }

    async fn build_one(&self, session: &Session, name: &str) -> (Duration, Result<Candidate>) {
        let start = Instant::now();
        let (Some(model), Some(reads)) = (self.plan.models.get(name), self.plan.reads.get(name))
        else {
            return (
                start.elapsed(),
                Err(Error::internal(format!("model \"{name}\" is not planned"))),
            );
        };
        let started =
            |name: &str| (self.options.on_event)(Event::Started { model: name.to_owned() });
        let job = Job {
            world: self.world,
            model,
            reads,
            shelf: &self.shelf,
            session,
            past: self.past(name),
            full_refresh: self.options.full_refresh,
            started: &started,
        };
        let made = job.run().await;
        (start.elapsed(), made)
    }

    /// Notes what became of a model and lets its name mean the candidate.
    fn take(&mut self, name: &str, duration: Duration, made: Result<Candidate>) {
        let mut outcome = ModelOutcome {
            name: name.to_owned(),
            status: ModelStatus::Failed,
            rows: None,
            duration,
            error: None,
            tests: self.units.get(name).cloned().unwrap_or_default(),
            notes: Vec::new(),
        };
        match made {
            Ok(candidate) => {
                outcome.status =
                    if candidate.built { ModelStatus::Built } else { ModelStatus::Unchanged };
                outcome.rows = candidate.rows;
                outcome.notes.clone_from(&candidate.notes);
                self.shelf.put(name, Some(candidate.item.clone()));
                self.candidates.insert(name.to_owned(), candidate);
            }
            Err(error) => {
                outcome.error = Some(Failure::from(&error));
                self.blocked.insert(name.to_owned());
            }
        }
        let done = outcome.status == ModelStatus::Failed || !self.has_tests(name);
        self.outcomes.insert(name.to_owned(), outcome);
        if done {
            self.finished(name);
        }
    }

    /// Runs the unit tests of models that are ready; those whose tests fail are not built.
    async fn try_units<'n>(&mut self, session: &Session, ready: Vec<&'n str>) -> Vec<&'n str> {
        let mut good = Vec::with_capacity(ready.len());
        for name in ready {
            let start = Instant::now();
            let units = self.plan.units.get(name).map(Vec::as_slice).unwrap_or_default();
            let mut outcomes = Vec::new();
            if !units.is_empty() && !self.units_passed(name) {
                for unit in units {
                    let world = self.world;
                    outcomes.push(Box::pin(unit.run(world.lake, session, world.project)).await);
                }
            }
            let failed = outcomes.iter().any(|outcome| outcome.status == TestStatus::Failed);
            self.units.insert(name.to_owned(), outcomes.clone());
            if !failed {
                good.push(name);
                continue;
            }
            let outcome = ModelOutcome {
                name: name.to_owned(),
                status: ModelStatus::Failed,
                rows: None,
                duration: start.elapsed(),
                error: None,
                tests: outcomes,
                notes: Vec::new(),
            };
            self.outcomes.insert(name.to_owned(), outcome);
            self.blocked.insert(name.to_owned());
            self.finished(name);
        }
        good
    }

    fn has_tests(&self, name: &str) -> bool {
        self.plan.checks.contains_key(&Some(name.to_owned()))
    }

    /// The failed model or source that `name` depends on.
    fn culprit(&self, name: &str) -> Option<String> {
        let ancestors = order::ancestors(name, &self.plan.reads);
        ancestors.into_iter().find(|other| self.blocked.contains(*other)).map(str::to_owned)
    }

    fn skip(&mut self, name: &str, culprit: &str) {
        self.outcomes.insert(
            name.to_owned(),
            ModelOutcome {
                name: name.to_owned(),
                status: ModelStatus::Skipped,
                rows: None,
                duration: Duration::ZERO,
                error: Some(skipped_because(culprit)),
                tests: Vec::new(),
                notes: Vec::new(),
            },
        );
        self.finished(name);
    }

    pub(super) fn finished(&self, name: &str) {
        if let Some(outcome) = self.outcomes.get(name) {
            (self.options.on_event)(Event::Finished(Box::new(outcome.clone())));
        }
    }

    /// Runs the project's statements before or after everything.
    pub(super) async fn run_statements(&mut self, word: &str) -> Result<()> {
        let Some(dbt) = &self.world.project.dbt else { return Ok(()) };
        let statements = match word {
            "on-run-start" => dbt.on_run_start.clone(),
            _ => dbt.on_run_end.clone(),
        };
        if statements.is_empty() {
            return Ok(());
        }
        let session = self.session()?;
        for statement in statements {
            let sql = names::render_statement(self.world.project, &statement)?;
            self.notes.extend(hook::run(&session, word, &sql).await?);
        }
        Ok(())
    }

    /// Takes back a candidate whose tests failed: its name means again what readers see.
    pub(super) fn block(&mut self, name: &str) -> Result<()> {
        if !self.blocked.insert(name.to_owned()) {
            return Ok(());
        }
        if let Some(outcome) = self.outcomes.get_mut(name) {
            outcome.status = ModelStatus::Failed;
        }
        if self.plan.models.contains_key(name) {
            let item = self.published_item(name)?;
            self.shelf.put(name, item);
        }
        Ok(())
    }

    /// Blocks what was built on a model before a later test of that model failed.
    fn block_late(&mut self) {
        for name in self.sequence.clone() {
            let Some(culprit) = self.culprit(&name) else { continue };
            if let Some(outcome) = self.outcomes.get_mut(&name)
                && matches!(outcome.status, ModelStatus::Built | ModelStatus::Unchanged)
            {
                outcome.status = ModelStatus::Skipped;
                outcome.error = Some(skipped_because(&culprit));
            }
        }
    }

    /// Records what passed, moves readers to it, and reports.
    pub(super) fn publish(mut self) -> Result<BuildReport> {
        self.block_late();
        let passed: Vec<&String> = self
            .sequence
            .iter()
            .filter(|name| {
                let status = self.outcomes.get(*name).map(|outcome| outcome.status);
                matches!(status, Some(ModelStatus::Built | ModelStatus::Unchanged))
            })
            .collect();
        let mut builds = self.sources_passed.clone();
        let mut publications = Vec::new();
        for name in passed {
            let Some(candidate) = self.candidates.get(name) else { continue };
            let build = self.build_record(name, candidate);
            let seen = publication(&build);
            let same = |old: &Publication| {
                Publication { published_at: seen.published_at, ..old.clone() } == seen
            };
            // Readers see what an ephemeral model gives inside of what reads it.
            if !self.is_ephemeral(name) && !self.published.get(name).is_some_and(same) {
                publications.push(seen);
            }
            let same = |old: &Build| Build { built_at: build.built_at, ..old.clone() } == build;
            if !self.builds.get(name).is_some_and(same) {
                builds.push(build);
            }
        }
        let dropped = self.dropped();
        // Recorded first: a crash in between leaves a build that the next one finds and publishes.
        self.world.store.record_builds(&builds)?;
        self.world.store.publish(&publications, &dropped)?;
        Ok(self.report(&publications, dropped))
    }

    /// What the metadata keeps of a build that passed.
    fn build_record(&self, name: &str, candidate: &Candidate) -> Build {
        let (location, version, view_sql) = match &candidate.item {
            Item::Table { location, version } => (Some(location.to_string()), Some(*version), None),
            Item::View { sql, .. } => (None, None, Some(sql.clone())),
        };
        let (inputs, tests) = self.inputs_of(name, candidate);
        Build {
            name: name.to_owned(),
            fingerprint: candidate.fingerprint.clone(),
            inputs: inputs.to_string(),
            location,
            version,
            view_sql,
            tests,
            built_at: self.world.now,
        }
    }

    /// Published models that are no longer declared; they go only if nothing readers keep needs them.
    fn dropped(&self) -> Vec<String> {
        if !self.plan.whole || !self.blocked.is_empty() {
            return Vec::new();
        }
        let declared =
            |name: &&String| !self.plan.models.contains_key(*name) || self.is_ephemeral(name);
        self.published.keys().filter(declared).cloned().collect()
    }

    fn report(mut self, publications: &[Publication], dropped: Vec<String>) -> BuildReport {
        let notes = std::mem::take(&mut self.notes);
        let mut report = BuildReport { removed: dropped, notes, ..BuildReport::default() };
        report.published = publications.iter().map(|seen| seen.name.clone()).collect();
        report.published.sort();
        for name in &self.sequence {
            let Some(outcome) = self.outcomes.remove(name) else { continue };
            if matches!(outcome.status, ModelStatus::Failed | ModelStatus::Skipped) {
                report.blocked.push(name.clone());
            }
            report.models.push(outcome);
        }
        report.blocked.sort();
        report.tests = std::mem::take(&mut self.tried)
            .into_iter()
            .filter(|(subject, _)| {
                subject.as_ref().is_none_or(|name| !self.plan.selected.contains(name))
            })
            .flat_map(|(_, outcomes)| outcomes)
            .collect();
        if !report.published.is_empty() {
            (self.options.on_event)(Event::Published { models: report.published.clone() });
        }
        report
    }
}

fn skipped_because(culprit: &str) -> Failure {
    let error = Error::blocked(format!("skipped, because \"{culprit}\" failed"))
        .hint("Readers keep the last good version.");
    Failure::from(&error)
}

/// What readers see of a build.
fn publication(build: &Build) -> Publication {
    Publication {
        name: build.name.clone(),
        location: build.location.clone(),
        version: build.version,
        view_sql: build.view_sql.clone(),
        fingerprint: build.fingerprint.clone(),
        published_at: build.built_at,
    }
}
