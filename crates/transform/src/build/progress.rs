//! A build on its way: what each name means by now, what failed, and what readers will see.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use flywheel_base::{Error, Result};
use flywheel_project::{Model, NodeId, RunContext};
use flywheel_state::{Build, PRODUCTION, Publication};
use flywheel_warehouse::{Location, Session, TableName};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};

use super::job::{Candidate, Job};
use super::past::Past;
use super::plan::Plan;
use super::{BuildOptions, demand, hook};
use crate::catalog::holds;
use crate::intervals::Intervals;
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
    pub(super) sequence: Vec<String>,
    /// Models and sources nobody may build on.
    pub(super) blocked: BTreeSet<String>,
    /// Results of tests, by what they tested.
    pub(super) tried: BTreeMap<Option<String>, Vec<TestOutcome>>,
    /// What a person should know about the statements around the build.
    pub(super) notes: Vec<String>,
    /// Why a statement at the end failed.
    pub(super) error: Option<Failure>,
    /// Results of unit tests, by model.
    pub(super) units: BTreeMap<String, Vec<TestOutcome>>,
    /// Builds to be recorded for sources, whose tests passed.
    pub(super) sources_passed: Vec<Build>,
    /// What models mean that are not built here, in the words of what readers see of production.
    deferred: BTreeMap<String, Publication>,
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
            error: None,
            sources_passed: Vec::new(),
            deferred: BTreeMap::new(),
        };
        for (name, model) in &plan.models {
            let item = match names::is_ephemeral(model) {
                true => Some(progress.ephemeral_item(name, model)?),
                false => progress.published_item(name)?,
            };
            progress.shelf.put(name, item);
        }
        progress.look_up_heads().await?;
        progress.defer()?;
        progress.open_published_views().await?;
        Ok(progress)
    }

    /// Lets models that are not built here mean what production has, if that is asked for.
    fn defer(&mut self) -> Result<()> {
        let Some(elsewhere) = self.options.defer else { return Ok(()) };
        let production = self.world.store.publications_of(PRODUCTION)?;
        let mut known: BTreeMap<String, Publication> =
            production.into_iter().map(|seen| (seen.name.clone(), seen)).collect();
        // A dbt target of this environment can be the production that is meant.
        known.extend(self.published.iter().map(|(name, seen)| (name.clone(), seen.clone())));
        let unbuilt = self.plan.models.iter().filter(|(name, model)| {
            let built = self.builds.contains_key(*name);
            !built && !self.plan.selected.contains(*name) && !names::is_ephemeral(model)
        });
        let mut deferred = BTreeMap::new();
        for (name, _) in unbuilt {
            let there = elsewhere.get(name).unwrap_or(name);
            let Some(seen) = known.get(there) else { continue };
            deferred.insert(name.clone(), Publication { name: name.clone(), ..seen.clone() });
        }
        // A view of production reads what is called otherwise here.
        if deferred.values().any(|seen| seen.view_sql.is_some()) {
            for (name, seen) in known {
                if !self.plan.models.contains_key(&name) {
                    deferred.entry(name).or_insert(seen);
                }
            }
        }
        for (name, seen) in &deferred {
            let reads = self.plan.reads.get(name).cloned().unwrap_or_default();
            let item = item_of(seen, reads)?;
            self.shelf.put(name, item);
        }
        self.deferred = deferred;
        Ok(())
    }

    /// What readers see under a model's name.
    pub(super) fn published_item(&self, name: &str) -> Result<Option<Item>> {
        let Some(seen) = self.published.get(name) else { return Ok(None) };
        item_of(seen, self.plan.reads.get(name).cloned().unwrap_or_default())
    }

    /// What an ephemeral model means to its tests, whether it is built now or not.
    fn ephemeral_item(&self, name: &str, model: &Model) -> Result<Item> {
        let sql = names::render_model(self.world.project, model, false)?;
        let reads = self.plan.reads.get(name).cloned().unwrap_or_default();
        // One that is as it was last built is known by the same fingerprint, so that nothing seems new.
        let known =
            self.builds.get(name).filter(|build| build.sql.as_deref() == Some(sql.as_str()));
        let fingerprint =
            known.map_or_else(|| inputs::of([&sql]), |build| build.fingerprint.clone());
        Ok(Item::View { fingerprint, sql, reads })
    }

    fn is_ephemeral(&self, name: &str) -> bool {
        self.plan.models.get(name).is_some_and(|model| names::is_ephemeral(model))
    }

    /// Puts every landed table that is declared or read on the shelf, at its newest version, and every view of a
    /// person's statement that is, with what it reads. Those that nobody reads are there so that a query that reads one
    /// undeclared is told so.
    async fn look_up_heads(&mut self) -> Result<()> {
        let of_models = self.plan.reads.values().flatten();
        let checks = self.plan.checks.iter();
        let of_tests = checks.flat_map(|(subject, checks)| {
            subject.iter().chain(checks.iter().flat_map(|check| check.blames.union(&check.reads)))
        });
        let made = self.world.store.made()?.into_iter();
        let views: BTreeMap<String, (String, BTreeSet<String>)> =
            made.filter_map(|made| Some((made.name, (made.sql?, made.reads)))).collect();
        let read = of_models.chain(of_tests).chain(self.world.project.sources.keys());
        // What is kept of a view is all that it reads, at whatever remove.
        let names: BTreeSet<&String> = read
            .flat_map(|name| {
                let behind = views.get(name).into_iter().flat_map(|(_, reads)| reads);
                iter::once(name).chain(behind)
            })
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
        for name in self.left() {
            let item = self.published_item(&name)?;
            self.shelf.put(&name, item);
        }
        for (name, item) in found {
            if self.is_left(&name) {
                continue;
            }
            let view = || {
                let (sql, reads) = views.get(&name)?.clone();
                Some(Item::View { fingerprint: inputs::of([&sql]), sql, reads })
            };
            self.shelf.put(&name, item.or_else(view));
        }
        Ok(())
    }

    /// Models that are switched off now or whose files are gone, and that are read as landed tables: seeds that are loaded
    /// once, with a variable that says so, or from files that are deleted then. They mean what readers see of them.
    fn left(&self) -> Vec<String> {
        let published = self.published.keys();
        published.filter(|name| self.is_left(name)).cloned().collect()
    }

    fn is_left(&self, name: &str) -> bool {
        if !self.published.contains_key(name) || self.plan.models.contains_key(name) {
            return false;
        }
        let project = self.world.project;
        let source = project.sources.get(name);
        let landed = source.is_some_and(|source| source.landed_by.is_some());
        let left = match names::model(project, name) {
            Some(model) => !model.config.enabled,
            None => project.dbt.is_some() && !landed,
        };
        let read = || self.plan.reads.values().any(|reads| reads.contains(name));
        left && (source.is_some() || read())
    }

    /// A view that is not built now reads what its published query reads, which its file may no longer
    /// say.
    async fn open_published_views(&mut self) -> Result<()> {
        let session = self.session()?;
        let mut found = Vec::new();
        let others = self.deferred.keys().filter(|name| !self.plan.models.contains_key(*name));
        let left = self.left();
        for name in self.plan.models.keys().chain(others).chain(&left) {
            let Some(Item::View { sql, .. }) = self.shelf.item(name) else { continue };
            let unbuilt = !self.plan.selected.contains(name);
            let same = match self.plan.models.get(name) {
                Some(model) => names::render_model(self.world.project, model, false)? == *sql,
                None => false,
            };
            if !unbuilt || same {
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
        let started =
            |name: &str| (self.options.on_event)(Event::Started { model: name.to_owned() });
        let made = match self.job(session, name, &started) {
            Ok(job) => job.run().await,
            Err(error) => Err(error),
        };
        (start.elapsed(), made)
    }

    /// What building `name` needs to know.
    pub(super) fn job<'b>(
        &'b self,
        session: &'b Session,
        name: &str,
        started: &'b (dyn Fn(&str) + Sync),
    ) -> Result<Job<'b>> {
        let (Some(model), Some(reads)) = (self.plan.models.get(name), self.plan.reads.get(name))
        else {
            return Err(Error::internal(format!("model \"{name}\" is not planned")));
        };
        Ok(Job {
            world: self.world,
            model,
            reads,
            shelf: &self.shelf,
            session,
            past: self.past(name),
            full_refresh: self.options.full_refresh,
            interval: self.options.interval,
            started,
            told: Mutex::default(),
            asked: Mutex::default(),
        })
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
        let (world, project) = (self.world, self.world.project);
        let Some(dbt) = &project.dbt else { return Ok(()) };
        let first = word == "on-run-start";
        let statements = if first { &dbt.on_run_start } else { &dbt.on_run_end };
        if statements.is_empty() {
            return Ok(());
        }
        let results = (!first).then(|| self.results());
        for statement in statements {
            let render = |run: &RunContext<'_>| names::render_statement(project, statement, run);
            let results = results.as_ref();
            let stage = hook::Stage { world, shelf: &self.shelf, own: None, results };
            let notes = Box::pin(stage.run(word, render)).await?;
            self.notes.extend(notes);
        }
        if first {
            // Models read what was written before them.
            self.look_up_heads().await?;
            self.defer()?;
            self.open_published_views().await?;
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

    /// Blocks models whose new columns break something that works on what readers see now.
    pub(super) async fn guard_readers(&mut self) -> Result<()> {
        let project = self.world.project;
        let changed = self.sequence.iter().filter_map(|name| {
            let (model, made) = (self.plan.models.get(name)?, self.candidates.get(name)?);
            let seen = self.published.get(name)?;
            let other = made.fingerprint != seen.fingerprint && !self.blocked.contains(name);
            let readers = demand::readers(project, &model.name);
            (other && !readers.is_empty()).then(|| (name.clone(), readers))
        });
        let changed: Vec<(String, Vec<NodeId>)> = changed.collect();
        if changed.is_empty() {
            return Ok(());
        }
        let before = crate::catalog(self.world).await?;
        let mut after = before.clone();
        for name in self.plan.models.keys() {
            if let Some(item) = self.shelf.item(name) {
                item.put(&TableName::parse(name)?, &mut after);
            }
        }
        let before = self.world.lake.session(before)?;
        let after = self.world.lake.session(after)?;
        for (name, readers) in changed {
            for reader in readers {
                let Some(why) = demand::judge(project, &reader, &before, &after).await.broken
                else {
                    continue;
                };
                let error = Error::blocked(format!("it would break {reader}: {why}")).hint(
                    "Change both together, or keep what is read; until then readers keep the last good version.",
                );
                self.block(&name)?;
                if let Some(outcome) = self.outcomes.get_mut(&name) {
                    outcome.error.get_or_insert_with(|| Failure::from(&error));
                }
            }
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
            let seen = publication(&build, self.target());
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
        publications.extend(self.pointers(&publications));
        let dropped = self.dropped();
        // Recorded first: a crash in between leaves a build that the next one finds and publishes.
        self.world.store.record_builds(&builds)?;
        self.world.store.publish(&publications, &dropped)?;
        Ok(self.report(&publications, dropped))
    }

    /// What readers of this environment need to see of production, because what was built here reads it.
    fn pointers(&self, publications: &[Publication]) -> Vec<Publication> {
        let mut open: Vec<&str> = publications.iter().map(|seen| seen.name.as_str()).collect();
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        while let Some(name) = open.pop() {
            let item_reads = match self.shelf.item(name) {
                Some(Item::View { reads, .. }) => Some(reads),
                _ => None,
            };
            let reads = self.plan.reads.get(name).into_iter().chain(item_reads).flatten();
            for read in reads.filter(|read| seen.insert(read.as_str())) {
                open.push(read);
                let Some(pointer) = self.deferred.get(read) else { continue };
                let target = match self.plan.models.contains_key(read) {
                    true => self.target().to_owned(),
                    false => pointer.target.clone(),
                };
                let pointer = Publication { target, ..pointer.clone() };
                if self.published.get(read) != Some(&pointer) {
                    found.push(pointer);
                }
            }
        }
        found
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
            sql: Some(candidate.sql.clone()),
            intervals: candidate.intervals.as_ref().map(Intervals::to_string),
        }
    }

    /// Published models that are no longer declared; they go only if nothing readers keep needs them.
    fn dropped(&self) -> Vec<String> {
        if !self.blocked.is_empty() {
            return Vec::new();
        }
        self.undeclared()
    }

    /// Published models that a whole build no longer finds declared. Those of another dbt target are
    /// declared there.
    pub(super) fn undeclared(&self) -> Vec<String> {
        if !self.plan.whole {
            return Vec::new();
        }
        let schemas: BTreeSet<&str> =
            self.plan.models.values().map(|model| model.schema.as_str()).collect();
        let ours = |seen: &Publication| match seen.target.is_empty() && !self.target().is_empty() {
            // An older program did not note the target: what lies in our schemas is ours.
            true => seen.name.split('.').next().is_some_and(|schema| schemas.contains(schema)),
            false => seen.target == self.target(),
        };
        let gone = self.published.values().filter(|seen| {
            let name = &seen.name;
            let undeclared = !self.plan.models.contains_key(name) && !self.is_left(name);
            ours(seen) && (undeclared || self.is_ephemeral(name))
        });
        gone.map(|seen| seen.name.clone()).collect()
    }

    /// The dbt target of this build; empty where there is none.
    fn target(&self) -> &str {
        self.world.project.dbt.as_ref().map_or("", |dbt| dbt.target.as_str())
    }

    fn report(mut self, publications: &[Publication], dropped: Vec<String>) -> BuildReport {
        let (notes, error) = (std::mem::take(&mut self.notes), self.error.take());
        let mut report = BuildReport { removed: dropped, notes, error, ..BuildReport::default() };
        let own = publications.iter().filter(|seen| !self.deferred.contains_key(&seen.name));
        report.published = own.map(|seen| seen.name.clone()).collect();
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

/// What a name means to readers.
pub(super) fn item_of(seen: &Publication, reads: BTreeSet<String>) -> Result<Option<Item>> {
    if let (Some(location), Some(version)) = (&seen.location, seen.version) {
        let location = Location::new(location.as_str())?;
        return Ok(Some(Item::Table { location, version }));
    }
    let Some(sql) = seen.view_sql.clone() else { return Ok(None) };
    Ok(Some(Item::View { sql, fingerprint: seen.fingerprint.clone(), reads }))
}

/// What readers see of a build.
fn publication(build: &Build, target: &str) -> Publication {
    Publication {
        name: build.name.clone(),
        location: build.location.clone(),
        version: build.version,
        view_sql: build.view_sql.clone(),
        fingerprint: build.fingerprint.clone(),
        published_at: build.built_at,
        target: target.to_owned(),
    }
}
